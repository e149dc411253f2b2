//! The U-Net generator of pix2pix (Isola et al. 2017, <https://arxiv.org/abs/1611.07004>, appendix 6.1.1; official
//! `UnetGenerator` in `models/networks.py`): halvings down to one pixel and doublings back up, each doubling beside
//! the map of its size on the way down.

use burn::config::Config;
use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::Dropout;
use super::layers::{Conv, ConvNorm, NormStyle};
use crate::config::Norm;
use crate::kernels::{self, Activation, Geometry, Kernels};

/// Every layer of a U-Net.
const GEOMETRY: Geometry = Geometry::zero(4, 2, 1);
/// Slope of the leaky ReLUs on the way down.
const SLOPE: f32 = 0.2;

/// The generator's shape; the defaults are the official `unet_256`.
#[derive(Config, Debug, PartialEq, Copy)]
pub struct UnetGeneratorConfig {
    /// Channels in.
    #[config(default = 3)]
    pub in_channels: usize,
    /// Channels out.
    #[config(default = 3)]
    pub out_channels: usize,
    /// Channels after the first convolution.
    #[config(default = 64)]
    pub ngf: usize,
    /// Halvings of the size, at least 5: 8 for pictures of 256 pixels, 7 for 128.
    #[config(default = 8)]
    pub halvings: usize,
    /// The normalisation layers.
    #[config(default = "Norm::Instance")]
    pub norm: Norm,
    /// Whether the instance norms have a scale and a shift.
    #[config(default = false)]
    pub affine: bool,
}

impl UnetGeneratorConfig {
    /// Channels after so many halvings.
    pub fn channels(&self, halvings: usize) -> usize {
        self.ngf << (halvings - 1).min(3)
    }

    /// The generator with all weights zero; see [`super::parameters::init`].
    pub fn init<B: Backend>(&self, device: &B::Device) -> UnetGenerator<B> {
        let style = NormStyle { norm: self.norm, affine: self.affine };
        let biased = style.leaves_bias();
        let last = self.halvings;
        let down = (1..=last).map(|level| {
            let inputs = if level == 1 { self.in_channels } else { self.channels(level - 1) };
            let conv = Conv::new(inputs, self.channels(level), GEOMETRY, device).with_bias(biased);
            // The outermost and the innermost have no norm; only the innermost goes straight up again.
            let style = if level == 1 || level == last { NormStyle::NONE } else { style };
            ConvNorm::new(conv, self.channels(level), style, if level == last { 0.0 } else { SLOPE }, device)
        });
        let up = (2..=last).rev().map(|level| {
            let inputs = if level == last { self.channels(level) } else { 2 * self.channels(level) };
            let conv = Conv::transposed(inputs, self.channels(level - 1), GEOMETRY, device).with_bias(biased);
            ConvNorm::new(conv, self.channels(level - 1), style, 0.0, device)
        });
        UnetGenerator {
            down: down.collect(),
            up: up.collect(),
            head: Conv::transposed(2 * self.ngf, self.out_channels, GEOMETRY, device),
        }
    }
}

/// Maps an image of one domain to the other.
///
/// The fields stand in the order of the official `state_dict`, whose modules lie one inside the other.
#[derive(Module, Debug)]
pub struct UnetGenerator<B: Backend> {
    /// From the outermost to the innermost.
    down: Vec<ConvNorm<B>>,
    /// From the innermost to the outermost but one.
    up: Vec<ConvNorm<B>>,
    head: Conv<B>,
}

impl<B: Kernels> UnetGenerator<B> {
    /// Halvings of the size.
    pub fn halvings(&self) -> usize {
        self.down.len()
    }

    /// Channels of the pictures that it reads and writes.
    pub fn channels(&self) -> [usize; 2] {
        [self.down.first().map_or(0, ConvNorm::inputs), self.head.weight.dims()[1]]
    }

    /// # Shapes
    /// - input: `[N, in_channels, H, W]` in [-1, 1]; H and W multiples of 2^halvings
    /// - output: `[N, out_channels, H, W]` in [-1, 1]
    pub fn forward(&self, input: Tensor<B, 4>, dropout: Option<Dropout>) -> Tensor<B, 4> {
        let mut planes = input;
        let mut skipped = Vec::with_capacity(self.down.len());
        for layer in &self.down {
            planes = layer.forward(planes);
            skipped.push(planes.clone());
        }
        // The innermost map goes straight up.
        skipped.pop();
        for (level, layer) in self.up.iter().enumerate() {
            planes = layer.forward(planes);
            // Dropout in the blocks of 8 · ngf channels on both sides, but the innermost.
            if let Some(dropout) = dropout.filter(|_| (1..=self.down.len() - 5).contains(&level)) {
                planes = dropout.apply(planes, level);
            }
            if let Some(skip) = skipped.pop() {
                planes = Tensor::cat(vec![kernels::activate(skip, Activation::LeakyRelu(0.0)), planes], 1);
            }
        }
        kernels::activate(self.head.forward(planes), Activation::Tanh)
    }
}
