//! The networks that a configuration describes.

use burn::module::Module;
use burn::tensor::backend::Backend;

use crate::config::{Choice, Downsample, NetD, NetF, NetG, SAME, TrainConfig};
use crate::model::architecture::{PatchStyle, ResnetStyle};
use crate::model::{Architecture, Generator, Heads, PatchDiscriminator, Spot, parameters};
use crate::protocol::{Direction, ModelInfo};

/// Pictures are RGB.
const CHANNELS: usize = 3;

impl TrainConfig {
    /// The generators' architecture.
    pub fn generator_architecture(&self) -> Architecture {
        let Self { affine, norm, upsample, skip, .. } = *self;
        let (ngf, n_blocks) = (self.ngf as usize, self.n_blocks as usize);
        let resnet = |separable| {
            let (downsample, upsample) = (self.downsample.into(), upsample.into());
            let style = ResnetStyle { separable, downsample, upsample, norm, skip };
            Architecture::Resnet { in_channels: CHANNELS, out_channels: CHANNELS, ngf, n_blocks, affine, style }
        };
        let unet = |halvings| Architecture::Unet {
            in_channels: CHANNELS,
            out_channels: CHANNELS,
            ngf,
            halvings,
            norm,
            affine,
        };
        match self.net_g {
            NetG::Resnet => resnet(false),
            NetG::MobileResnet => resnet(true),
            NetG::Unet128 => unet(7),
            NetG::Unet256 => unet(8),
        }
    }

    /// The discriminators' architecture.
    pub fn discriminator_architecture(&self) -> Architecture {
        let style = PatchStyle {
            pixel: self.net_d == NetD::Pixel,
            norm: self.norm,
            affine: self.affine,
            spectral: self.spectral_norm,
            blurred: self.downsample == Downsample::Blurred && self.net_d != NetD::Pixel,
        };
        let n_layers = self.patch_layers().unwrap_or(1) as usize;
        Architecture::Patch { in_channels: CHANNELS, ndf: self.ndf as usize, n_layers, style }
    }

    /// One of the generators, with all weights zero.
    pub fn generator<B: Backend>(&self, device: &B::Device) -> Generator<B> {
        let Some(generator) = self.generator_architecture().generator(device) else {
            unreachable!("a generator's architecture is one")
        };
        generator
    }

    /// One of the discriminators, with all weights zero.
    pub fn discriminator<B: Backend>(&self, device: &B::Device) -> PatchDiscriminator<B> {
        let Some(discriminator) = self.discriminator_architecture().discriminator(device) else {
            unreachable!("a discriminator's architecture is one")
        };
        discriminator
    }

    /// A network with its initial weights; networks of different names get different ones.
    pub fn initialised<B: Backend, M: Module<B>>(&self, network: M, name: &str) -> M {
        parameters::init(network, self.init_type, self.init_gain.into(), self.seed, name)
    }

    /// What the weight file of one of the generators says about itself after `step` steps.
    pub fn model_info(&self, direction: Direction, step: u64) -> ModelInfo {
        let architecture = self.generator_architecture();
        let (from, to) = match direction {
            Direction::AtoB => (&self.domain_a, &self.domain_b),
            Direction::BtoA => (&self.domain_b, &self.domain_a),
        };
        ModelInfo {
            architecture: architecture.name(),
            parameters: architecture.parameter_count(),
            channels: [CHANNELS as u32; 2],
            domain_from: from.clone(),
            domain_to: to.clone(),
            size: self.size,
            step,
            data: self.data.clone(),
            licence: self.licence.clone(),
            model: if self.is_one_sided() { self.model.as_str().into() } else { String::new() },
            started_from: self.started_from(direction),
            notes: Vec::new(),
            settings: Vec::new(),
        }
    }

    /// The name of the file whose weights a generator began with, without its folder; empty for new weights.
    fn started_from(&self, direction: Direction) -> String {
        let (own, other) = match direction {
            Direction::AtoB => (&self.init_ab, &self.init_ba),
            Direction::BtoA => (&self.init_ba, &self.init_ab),
        };
        let path = if own == SAME { other } else { own };
        path.rsplit(['/', '\\']).next().unwrap_or_default().to_owned()
    }

    /// Where a one-sided training takes the features that it compares.
    pub(super) fn spots(&self) -> Vec<Spot> {
        let architecture = self.generator_architecture();
        let layers = self.feature_layers().unwrap_or_default();
        layers.into_iter().filter_map(|layer| architecture.spot(layer)).collect()
    }

    /// Channels of the features that heads project; `None` without heads.
    pub(super) fn head_channels(&self) -> Option<Vec<usize>> {
        let has_heads = self.is_one_sided() && self.net_f == NetF::MlpSample;
        has_heads.then(|| self.spots().into_iter().map(|spot| spot.channels).collect())
    }

    /// The projection heads, with all weights zero; `None` where there are none.
    pub(super) fn heads<B: Backend>(&self, device: &B::Device) -> Option<Heads<B>> {
        Some(Heads::new(&self.head_channels()?, self.net_f_nc as usize, device))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Changes, Norm, Upsample};

    #[test]
    fn the_settings_of_an_architecture_make_it_again() {
        let base = TrainConfig { ngf: 5, n_blocks: 3, ndf: 7, n_layers: 2, ..TrainConfig::default() };
        let configs = [
            base.clone(),
            TrainConfig { upsample: Upsample::Resize, net_d: NetD::Pixel, affine: true, ..base.clone() },
            TrainConfig { upsample: Upsample::Blurred, downsample: Downsample::Blurred, ..base.clone() },
            TrainConfig { net_g: NetG::MobileResnet, norm: Norm::None, spectral_norm: true, ..base.clone() },
            TrainConfig { net_g: NetG::Unet128, net_d: NetD::Basic, ..base.clone() },
            TrainConfig { net_g: NetG::Unet256, norm: Norm::None, ..base },
        ];
        for config in configs {
            let mut again = TrainConfig::default();
            for architecture in [config.generator_architecture(), config.discriminator_architecture()] {
                let mut changes = Changes::default();
                for (name, value) in architecture.settings().expect("of three channels") {
                    changes.add(name, &value).expect("an option");
                }
                again.apply(&changes);
            }
            assert_eq!(again.generator_architecture(), config.generator_architecture());
            assert_eq!(again.discriminator_architecture(), config.discriminator_architecture());
        }
    }
}
