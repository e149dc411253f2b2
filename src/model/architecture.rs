//! Which network a set of weights belongs to: the two architectures of the paper, their
//! parameters' names and shapes.
//!
//! Names and order are those of the official PyTorch `state_dict`
//! (<https://github.com/junyanz/pytorch-CycleGAN-and-pix2pix>, `models/networks.py`): each
//! network is one `nn.Sequential` called `model`, so a name holds the position of a layer among
//! *all* layers, paddings and activations included.

use serde::{Deserialize, Serialize};

/// A parameter's name and shape.
pub type Parameter = (String, Vec<usize>);

/// Bounds of [`Architecture::infer`]: far above any real network, low enough for any arithmetic.
const MAX_CHANNELS: usize = 1 << 13;
const MAX_BLOCKS: usize = 1 << 10;

/// A network, up to the values of its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Architecture {
    /// The generator of Johnson et al. 2016, as in the CycleGAN paper's appendix 7.2.
    Resnet {
        /// Channels of the images it reads; 3 for RGB.
        in_channels: usize,
        /// Channels of the images it writes; 3 for RGB.
        out_channels: usize,
        /// Channels after the first convolution; 64 in the paper.
        ngf: usize,
        /// Residual blocks; 9 in the paper for images of 256 pixels, 6 for 128.
        n_blocks: usize,
        /// Whether the instance norms scale and shift; not in the paper's networks.
        affine: bool,
    },
    /// The PatchGAN discriminator of Isola et al. 2017.
    Patch {
        /// Channels of the images it judges; 3 for RGB.
        in_channels: usize,
        /// Channels after the first convolution; 64 in the paper.
        ndf: usize,
        /// Layers before the last two; 3 gives the 70×70 PatchGAN.
        n_layers: usize,
    },
}

impl Architecture {
    /// A short name: the official code's `resnet_9blocks` for a generator, `patch_3layers` for a
    /// discriminator (the official `basic`).
    pub fn name(&self) -> String {
        match self {
            Self::Resnet { n_blocks, .. } => format!("resnet_{n_blocks}blocks"),
            Self::Patch { n_layers, .. } => format!("patch_{n_layers}layers"),
        }
    }

    /// Whether it is a generator.
    pub fn is_generator(&self) -> bool {
        matches!(self, Self::Resnet { .. })
    }

    /// Every parameter in the official order.
    ///
    /// # Shapes
    /// Convolution `[out, in, k, k]`, transposed convolution `[in, out, k, k]`, bias and norm `[channels]`.
    pub fn parameters(&self) -> Vec<Parameter> {
        let mut list = List::default();
        match *self {
            Self::Resnet { in_channels, out_channels, ngf, n_blocks, affine } => {
                list.convolution("model.1", ngf, in_channels, 7).norm("model.2", ngf, affine);
                list.convolution("model.4", 2 * ngf, ngf, 3).norm("model.5", 2 * ngf, affine);
                list.convolution("model.7", 4 * ngf, 2 * ngf, 3).norm("model.8", 4 * ngf, affine);
                let width = 4 * ngf;
                for block in 10..10 + n_blocks {
                    // [pad, conv, norm, relu, pad, conv, norm]
                    for (conv, norm) in [(1, 2), (5, 6)] {
                        list.convolution(&format!("model.{block}.conv_block.{conv}"), width, width, 3);
                        list.norm(&format!("model.{block}.conv_block.{norm}"), width, affine);
                    }
                }
                let up = 10 + n_blocks;
                list.transposed(&format!("model.{up}"), 4 * ngf, 2 * ngf, 3);
                list.norm(&format!("model.{}", up + 1), 2 * ngf, affine);
                list.transposed(&format!("model.{}", up + 3), 2 * ngf, ngf, 3);
                list.norm(&format!("model.{}", up + 4), ngf, affine);
                list.convolution(&format!("model.{}", up + 7), out_channels, ngf, 7);
            }
            Self::Patch { in_channels, ndf, n_layers } => {
                list.convolution("model.0", ndf, in_channels, 4);
                let width = |layer: usize| ndf * (1 << layer.min(3));
                for layer in 1..=n_layers {
                    // [conv, norm, leaky relu]
                    list.convolution(&format!("model.{}", 3 * layer - 1), width(layer), width(layer - 1), 4);
                }
                list.convolution(&format!("model.{}", 3 * n_layers + 2), 1, width(n_layers), 4);
            }
        }
        list.0
    }

    /// Number of parameters: 11,378,179 for the paper's generator with 9 blocks, 7,837,699 with 6,
    /// 2,764,737 for its discriminator.
    pub fn parameter_count(&self) -> u64 {
        self.parameters().iter().map(|(_, shape)| shape.iter().map(|&n| n as u64).product::<u64>()).sum()
    }

    /// A generator within the bounds of [`Self::infer`].
    pub fn resnet(in_channels: usize, out_channels: usize, ngf: usize, n_blocks: usize, affine: bool) -> Option<Self> {
        let channels = [in_channels, out_channels, ngf].iter().all(|n| (1..=MAX_CHANNELS).contains(n));
        let sound = channels && (1..=MAX_BLOCKS).contains(&n_blocks);
        sound.then_some(Self::Resnet { in_channels, out_channels, ngf, n_blocks, affine })
    }

    /// A discriminator within the bounds of [`Self::infer`].
    pub fn patch(in_channels: usize, ndf: usize, n_layers: usize) -> Option<Self> {
        let channels = [in_channels, ndf].iter().all(|n| (1..=MAX_CHANNELS).contains(n));
        (channels && (1..=MAX_BLOCKS).contains(&n_layers)).then_some(Self::Patch { in_channels, ndf, n_layers })
    }

    /// The one architecture that tensors of these names and shapes can belong to, judged by the
    /// few that tell; the others are not looked at. `None` when it is neither network.
    pub fn infer(tensors: &[(&str, &[usize])]) -> Option<Self> {
        let shape = |name: &str| tensors.iter().find(|(other, _)| *other == name).map(|(_, shape)| *shape);
        if let Some(&[ngf, in_channels, 7, 7]) = shape("model.1.weight") {
            let is_block = |index: usize| shape(&format!("model.{index}.conv_block.1.weight")).is_some();
            let n_blocks = (0..=MAX_BLOCKS).find(|block| !is_block(10 + block)).filter(|&n| n > 0)?;
            let out_channels = match shape(&format!("model.{}.weight", 17 + n_blocks)) {
                Some(&[out_channels, ..]) => out_channels,
                _ => 3,
            };
            return Self::resnet(in_channels, out_channels, ngf, n_blocks, shape("model.2.weight").is_some());
        }
        if let Some(&[ndf, in_channels, 4, 4]) = shape("model.0.weight") {
            let is_layer = |layer: usize| shape(&format!("model.{}.weight", 3 * layer - 1)).is_some();
            let layers = (1..=MAX_BLOCKS).find(|&layer| !is_layer(layer))? - 1;
            // The last of them is the map itself.
            let n_layers = layers.checked_sub(1).filter(|&n| n > 0)?;
            return Self::patch(in_channels, ndf, n_layers);
        }
        None
    }
}

/// The parameters so far.
#[derive(Default)]
struct List(Vec<Parameter>);

impl List {
    fn convolution(&mut self, layer: &str, out_channels: usize, in_channels: usize, kernel: usize) -> &mut Self {
        self.weight_and_bias(layer, vec![out_channels, in_channels, kernel, kernel], out_channels)
    }

    fn transposed(&mut self, layer: &str, in_channels: usize, out_channels: usize, kernel: usize) -> &mut Self {
        self.weight_and_bias(layer, vec![in_channels, out_channels, kernel, kernel], out_channels)
    }

    fn norm(&mut self, layer: &str, channels: usize, affine: bool) -> &mut Self {
        if affine { self.weight_and_bias(layer, vec![channels], channels) } else { self }
    }

    fn weight_and_bias(&mut self, layer: &str, weight: Vec<usize>, bias: usize) -> &mut Self {
        self.0.push((format!("{layer}.weight"), weight));
        self.0.push((format!("{layer}.bias"), vec![bias]));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GENERATOR: Architecture =
        Architecture::Resnet { in_channels: 3, out_channels: 3, ngf: 64, n_blocks: 9, affine: false };
    const DISCRIMINATOR: Architecture = Architecture::Patch { in_channels: 3, ndf: 64, n_layers: 3 };

    fn inferred(parameters: &[Parameter]) -> Option<Architecture> {
        let tensors: Vec<_> = parameters.iter().map(|(name, shape)| (name.as_str(), shape.as_slice())).collect();
        Architecture::infer(&tensors)
    }

    #[test]
    fn parameter_counts_are_those_of_the_paper() {
        let six = Architecture::Resnet { in_channels: 3, out_channels: 3, ngf: 64, n_blocks: 6, affine: false };
        assert_eq!(GENERATOR.parameter_count(), 11_378_179);
        assert_eq!(six.parameter_count(), 7_837_699);
        assert_eq!(DISCRIMINATOR.parameter_count(), 2_764_737);
    }

    #[test]
    fn names_are_those_of_the_official_code() {
        let names = |architecture: Architecture| -> Vec<String> {
            architecture
                .parameters()
                .into_iter()
                .map(|(name, _)| name)
                .filter(|name| name.ends_with("weight"))
                .collect()
        };
        let generator = names(GENERATOR);
        assert_eq!(generator.len(), 24);
        assert_eq!(generator[3], "model.10.conv_block.1.weight");
        assert_eq!(generator[20], "model.18.conv_block.5.weight");
        assert_eq!(generator[21..], ["model.19.weight", "model.22.weight", "model.26.weight"]);
        let expected = ["model.0.weight", "model.2.weight", "model.5.weight", "model.8.weight", "model.11.weight"];
        assert_eq!(names(DISCRIMINATOR), expected);
        assert_eq!(GENERATOR.name(), "resnet_9blocks");
        assert_eq!(DISCRIMINATOR.name(), "patch_3layers");
    }

    #[test]
    fn every_architecture_is_inferred_from_its_own_parameters() {
        for n_blocks in [1, 2, 6, 9, 12] {
            for affine in [false, true] {
                let resnet = Architecture::Resnet { in_channels: 1, out_channels: 4, ngf: 5, n_blocks, affine };
                assert_eq!(inferred(&resnet.parameters()), Some(resnet));
            }
        }
        for n_layers in 1..6 {
            let patch = Architecture::Patch { in_channels: 6, ndf: 7, n_layers };
            assert_eq!(inferred(&patch.parameters()), Some(patch));
        }
    }

    #[test]
    fn other_networks_and_absurd_sizes_are_not_inferred() {
        assert_eq!(inferred(&[]), None);
        assert_eq!(inferred(&[("conv1.weight".into(), vec![64, 3, 7, 7])]), None);
        assert_eq!(inferred(&[("model.0.weight".into(), vec![64, 3, 4, 4])]), None);
        let mut huge = GENERATOR.parameters();
        huge[0].1 = vec![usize::MAX, 0, 7, 7];
        assert_eq!(inferred(&huge), None);
    }

    #[test]
    fn channels_of_the_discriminator_stop_at_eight_times_ndf() {
        let deep = Architecture::Patch { in_channels: 3, ndf: 8, n_layers: 5 }.parameters();
        let weights: Vec<_> = deep.iter().filter(|(name, _)| name.ends_with("weight")).map(|(_, s)| s[0]).collect();
        assert_eq!(weights, [8, 16, 32, 64, 64, 64, 1]);
    }
}
