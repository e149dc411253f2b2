//! The one description of a training: defaults of the command line and of the page alike.
//!
//! Plain data, so that the page can show and change it without linking any of the networks.

use serde::{Deserialize, Serialize};

/// Everything that decides a training run. Defaults are the official ones of the CycleGAN
/// paper (Zhu et al. 2017, <https://arxiv.org/abs/1703.10593>, section 4 and appendix 7).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// Name of the preset it was made from.
    pub preset: String,
    /// Name of domain A, e.g. `horse`.
    pub domain_a: String,
    /// Name of domain B, e.g. `zebra`.
    pub domain_b: String,
    /// Name of the data set, for the weight files' metadata.
    pub data: String,
    /// Licence of the weights that come out, for their metadata.
    pub licence: String,
    /// Side in pixels of the square training images; a multiple of 4.
    pub size: u32,
    /// Side that images are resized to before a random `size` crop; equal to `size` for no crop.
    pub load_size: u32,
    /// Whether images are mirrored at random.
    pub flip: bool,
    /// Channels after the generator's first convolution.
    pub ngf: u32,
    /// Residual blocks of the generator.
    pub n_blocks: u32,
    /// Channels after the discriminator's first convolution.
    pub ndf: u32,
    /// Layers of the discriminator; 3 is the 70×70 PatchGAN.
    pub n_layers: u32,
    /// Training steps in all; one image of each domain a step.
    pub steps: u64,
    /// Fraction of the steps after which the learning rate begins to fall linearly to near zero.
    pub decay_from: f32,
    /// Learning rate of both Adam optimisers.
    pub learning_rate: f64,
    /// Weight of the cycle-consistency losses.
    pub lambda_cycle: f32,
    /// Weight of the identity losses, relative to `lambda_cycle` (0.5 × 10 = 5).
    pub lambda_identity: f32,
    /// Fakes remembered by each image pool.
    pub pool_size: u32,
    /// Seed of every random stream.
    pub seed: u64,
    /// A preview of the fixed samples every so many steps; 0 for none.
    pub preview_every: u64,
    /// A checkpoint every so many steps; 0 for none.
    pub checkpoint_every: u64,
    /// The generators are measured on held-out pictures every so many steps; 0 for never.
    pub evaluate_every: u64,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            preset: "official".into(),
            domain_a: "A".into(),
            domain_b: "B".into(),
            data: String::new(),
            licence: String::new(),
            size: 256,
            load_size: 286,
            flip: true,
            ngf: 64,
            n_blocks: 9,
            ndf: 64,
            n_layers: 3,
            steps: 200 * 1334,
            decay_from: 0.5,
            learning_rate: 2e-4,
            lambda_cycle: 10.0,
            lambda_identity: 0.5,
            pool_size: 50,
            seed: 0,
            preview_every: 200,
            checkpoint_every: 0,
            evaluate_every: 0,
        }
    }
}

/// A named starting point for [`TrainConfig`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preset {
    /// As typed in `--preset`.
    pub name: &'static str,
    /// As shown in the page.
    pub label: &'static str,
    /// One sentence for people.
    pub about: &'static str,
}

/// The presets, smallest first.
pub const PRESETS: [Preset; 4] = [
    Preset {
        name: "quick",
        label: "Quick look",
        about: "Tiny networks on 32-pixel images: see the parts move within a minute.",
    },
    Preset {
        name: "emoji-64",
        label: "Emoji, 64 px",
        about: "Small networks on 64-pixel images: an hour or two on a processor, minutes on a good GPU.",
    },
    Preset {
        name: "small-128",
        label: "Photos, 128 px",
        about: "Half-width networks with 6 blocks on 128-pixel photos: a day on a processor, an hour or two on a good GPU.",
    },
    Preset {
        name: "official",
        label: "The paper's, 256 px",
        about: "The networks and recipe of the paper: about a day on a good GPU.",
    },
];

impl TrainConfig {
    /// The preset of that name.
    pub fn preset(name: &str) -> Option<Self> {
        let official = Self::default();
        let config = match name {
            "official" => official,
            "small-128" => Self { size: 128, load_size: 143, ngf: 32, n_blocks: 6, ..official },
            "emoji-64" => Self {
                size: 64,
                load_size: 64,
                ngf: 24,
                n_blocks: 4,
                ndf: 32,
                steps: 12_000,
                preview_every: 100,
                ..official
            },
            "quick" => {
                Self { size: 32, load_size: 32, ngf: 8, n_blocks: 2, ndf: 8, steps: 600, preview_every: 20, ..official }
            }
            _ => return None,
        };
        Some(Self { preset: name.into(), ..config })
    }

    /// What is wrong with it, in one sentence; `Ok` when a training can start.
    pub fn check(&self) -> Result<(), String> {
        let positive = [("ngf", self.ngf), ("n_blocks", self.n_blocks), ("ndf", self.ndf), ("n_layers", self.n_layers)];
        if let Some((name, _)) = positive.iter().find(|(_, value)| *value == 0 || *value > 512) {
            return Err(format!("{name} must be between 1 and 512."));
        }
        if self.size < 32 || self.size > 1024 || !self.size.is_multiple_of(4) {
            return Err(format!("The training size must be a multiple of 4 between 32 and 1024, not {}.", self.size));
        }
        if self.load_size < self.size || self.load_size > 4096 {
            return Err(format!(
                "load_size must be between the training size {} and 4096, not {}.",
                self.size, self.load_size
            ));
        }
        // The PatchGAN halves n_layers times and then takes two 4×4 convolutions with pad 1.
        let map = (self.size >> self.n_layers.min(31)).saturating_sub(2);
        if map == 0 {
            return Err(format!(
                "Images of {} pixels are too small for {} discriminator layers.",
                self.size, self.n_layers
            ));
        }
        if self.steps == 0 {
            return Err("A training needs at least one step.".into());
        }
        if !(0.0..=1.0).contains(&self.decay_from) {
            return Err("decay_from must be between 0 and 1.".into());
        }
        let weights = [self.learning_rate as f32, self.lambda_cycle, self.lambda_identity];
        if weights.iter().any(|weight| !weight.is_finite() || *weight < 0.0) {
            return Err("Learning rate and loss weights must be numbers of 0 or more.".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_exists_and_can_start() {
        for preset in PRESETS {
            let config = TrainConfig::preset(preset.name).expect("listed presets exist");
            assert_eq!(config.preset, preset.name);
            assert_eq!(config.check(), Ok(()));
        }
        assert_eq!(TrainConfig::preset("no such"), None);
    }

    #[test]
    fn impossible_sizes_are_refused() {
        let config = |size, load_size| TrainConfig { size, load_size, ..TrainConfig::default() };
        assert!(config(254, 286).check().is_err());
        assert!(config(256, 200).check().is_err());
        assert!(config(16, 16).check().is_err());
        assert!(config(32, 32).check().is_ok());
    }
}
