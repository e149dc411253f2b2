//! The PatchGAN discriminator (Isola et al. 2017, <https://arxiv.org/abs/1611.07004>, appendix 6.1.2):
//! C64-C128-C256-C512 and a last convolution to one channel; each output sees 70×70 pixels.

use burn::config::Config;
use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::Dual;
use super::layers::{Conv, ConvNorm, NormStyle};
use crate::config::Norm;
use crate::kernels::{Geometry, Kernels};

/// Slope of every leaky ReLU.
const SLOPE: f32 = 0.2;

/// The discriminator's shape; the defaults are the official 70×70 one with 2,764,737 parameters.
#[derive(Config, Debug, PartialEq, Copy)]
pub struct PatchDiscriminatorConfig {
    /// Channels in.
    #[config(default = 3)]
    pub in_channels: usize,
    /// Channels after the first convolution.
    #[config(default = 64)]
    pub ndf: usize,
    /// Halvings of the size; 3 gives 70×70 patches. `None` for a discriminator of single pixels (official
    /// `PixelDiscriminator`): three 1×1 convolutions.
    #[config(default = "Some(3)")]
    pub n_layers: Option<usize>,
    /// The normalisation layers.
    #[config(default = "Norm::Instance")]
    pub norm: Norm,
    /// Whether the instance norms have a scale and a shift.
    #[config(default = false)]
    pub affine: bool,
    /// Whether every weight is divided by its largest singular value.
    #[config(default = false)]
    pub spectral: bool,
    /// Whether the size is halved by a blur after the activation, as in CUT's code, and not by a stride.
    #[config(default = false)]
    pub blurred: bool,
}

impl PatchDiscriminatorConfig {
    /// The discriminator with all weights zero; see [`super::parameters::init`].
    pub fn init<B: Backend>(&self, device: &B::Device) -> PatchDiscriminator<B> {
        let style = NormStyle { norm: self.norm, affine: self.affine };
        let layers = self.n_layers.unwrap_or(1);
        let channels = |layer: usize| self.ndf * (1 << layer.min(3));
        let is_blurred = self.blurred && self.n_layers.is_some();
        let geometry = |stride| match self.n_layers {
            Some(_) => Geometry::zero(4, if is_blurred { 1 } else { stride }, 1),
            None => Geometry::zero(1, 1, 0),
        };
        let conv = |inputs, outputs, stride| {
            Conv::new(inputs, outputs, geometry(stride), device).with_spectral_norm(self.spectral)
        };
        let layer = |conv, layer: usize, style| {
            let made = ConvNorm::new(conv, channels(layer), style, SLOPE, device);
            if is_blurred && layer < layers { made.with_blur(channels(layer), device) } else { made }
        };
        let middle = (1..=layers).map(|number| {
            let stride = if number == layers { 1 } else { 2 };
            let conv = conv(channels(number - 1), channels(number), stride).with_bias(style.leaves_bias());
            layer(conv, number, style)
        });
        // The official code leaves the bias out of the last layer of single pixels, too, where there is no norm.
        let head_bias = self.n_layers.is_some() || style.leaves_bias();
        PatchDiscriminator {
            stem: layer(conv(self.in_channels, self.ndf, 2), 0, NormStyle::NONE),
            middle: middle.collect(),
            head: conv(channels(layers), 1, 1).with_bias(head_bias),
        }
    }
}

/// Judges patches of an image: the higher the more real; near 1 for real and near 0 for fake in a least-squares GAN.
/// There is no sigmoid.
///
/// The fields stand in the order of the official `state_dict`.
#[derive(Module, Debug)]
pub struct PatchDiscriminator<B: Backend> {
    stem: ConvNorm<B>,
    middle: Vec<ConvNorm<B>>,
    head: Conv<B>,
}

impl<B: Backend> PatchDiscriminator<B> {
    /// The same after one power iteration of its spectral norms, where it has any: once before every step.
    pub fn iterate(self) -> Self {
        Self {
            stem: self.stem.iterate(),
            middle: self.middle.into_iter().map(ConvNorm::iterate).collect(),
            head: self.head.iterate(),
        }
    }
}

impl<B: Kernels> PatchDiscriminator<B> {
    /// # Shapes
    /// - input: `[N, in_channels, H, W]` in [-1, 1]
    /// - output: `[N, 1, H', W']`; 256² gives 30×30, single pixels `[N, 1, H, W]`
    pub fn forward(&self, input: Tensor<B, 4>) -> Tensor<B, 4> {
        let stem = self.stem.forward(input);
        let features = self.middle.iter().fold(stem, |planes, layer| layer.forward(planes));
        self.head.forward(features)
    }

    /// How the map changes as the input moves along `direction`: made of differentiable operations, so that its
    /// gradient in the parameters can be taken (see [`crate::loss::gradient_penalty`]).
    ///
    /// # Shapes
    /// - input, direction: `[N, in_channels, H, W]`
    /// - output: as [`PatchDiscriminator::forward`]
    pub fn derivative_along(&self, input: Tensor<B, 4>, direction: Tensor<B, 4>) -> Tensor<B, 4> {
        let stem = self.stem.dual(Dual { value: input, tangent: direction });
        let features = self.middle.iter().fold(stem, |planes, layer| layer.dual(planes));
        // The map itself is not needed, only its derivative.
        self.head.derivative(features.tangent)
    }
}
