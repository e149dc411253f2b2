//! The ResNet generator of CycleGAN (Zhu et al. 2017, <https://arxiv.org/abs/1703.10593>,
//! appendix 7.2): c7s1-64, d128, d256, R256 × 9, u128, u64, c7s1-3.

use burn::config::Config;
use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::Dropout;
use super::architecture::{Doubling, Downsample};
use super::layers::{Conv, ConvNorm, NormStyle, ResidualBlock};
use crate::config::Norm;
use crate::kernels::{self, Activation, Geometry, Kernels};

/// The generator's shape; the defaults are the official `resnet_9blocks` with 11,378,179 parameters.
#[derive(Config, Debug, PartialEq, Copy)]
pub struct ResnetGeneratorConfig {
    /// Channels in.
    #[config(default = 3)]
    pub in_channels: usize,
    /// Channels out.
    #[config(default = 3)]
    pub out_channels: usize,
    /// Channels after the first convolution.
    #[config(default = 64)]
    pub ngf: usize,
    /// Residual blocks.
    #[config(default = 9)]
    pub n_blocks: usize,
    /// Whether the instance norms have a scale and a shift.
    #[config(default = false)]
    pub affine: bool,
    /// Whether the residual blocks are depthwise separable (`mobile-resnet`).
    #[config(default = false)]
    pub separable: bool,
    /// How the size is halved.
    #[config(default = "Downsample::Strided")]
    pub downsample: Downsample,
    /// How the size is doubled.
    #[config(default = "Doubling::Transposed")]
    pub upsample: Doubling,
    /// The normalisation layers.
    #[config(default = "Norm::Instance")]
    pub norm: Norm,
    /// Whether the input is added to the output; then there is no tanh, and channels in and out are the same.
    #[config(default = false)]
    pub skip: bool,
}

impl ResnetGeneratorConfig {
    /// The generator with all weights zero (affine scales one); see [`super::parameters::init`].
    pub fn init<B: Backend>(&self, device: &B::Device) -> ResnetGenerator<B> {
        let Self { in_channels, out_channels, ngf, n_blocks, affine, separable, downsample, upsample, norm, skip } =
            *self;
        let style = NormStyle { norm, affine };
        let relu =
            |conv: Conv<B>, outputs| ConvNorm::new(conv.with_bias(style.leaves_bias()), outputs, style, 0.0, device);
        let down = |factor: usize| {
            let outputs = 2 * factor * ngf;
            let geometry = match downsample {
                Downsample::Strided => Geometry::zero(3, 2, 1),
                Downsample::Mirrored => Geometry { stride: 2, ..Geometry::reflect(3) },
                Downsample::Blurred => Geometry::zero(3, 1, 1),
            };
            let layer = relu(Conv::new(factor * ngf, outputs, geometry, device), outputs);
            if downsample == Downsample::Blurred { layer.with_blur(outputs, device) } else { layer }
        };
        let up =
            |factor: usize| relu(Conv::doubling(factor * ngf, factor * ngf / 2, upsample, device), factor * ngf / 2);
        ResnetGenerator {
            stem: relu(Conv::new(in_channels, ngf, Geometry::reflect(7), device), ngf),
            down: vec![down(1), down(2)],
            blocks: (0..n_blocks).map(|_| ResidualBlock::new(4 * ngf, separable, style, device)).collect(),
            up: vec![up(4), up(2)],
            head: Conv::new(ngf, out_channels, Geometry::reflect(7), device),
            skip,
        }
    }
}

/// Maps an image of one domain to the other.
///
/// The fields stand in the order of the official `state_dict`, which is also the order in which
/// Burn visits parameters: the names of a weight file are matched by position.
#[derive(Module, Debug)]
pub struct ResnetGenerator<B: Backend> {
    stem: ConvNorm<B>,
    down: Vec<ConvNorm<B>>,
    blocks: Vec<ResidualBlock<B>>,
    up: Vec<ConvNorm<B>>,
    head: Conv<B>,
    #[module(skip)]
    skip: bool,
}

impl<B: Backend> ResnetGenerator<B> {
    /// Whether the input is added to the output.
    pub fn has_skip(&self) -> bool {
        self.skip
    }

    /// The same, but one with a skip hands pictures through: its last convolution is zero.
    pub fn starting_as_identity(self) -> Self {
        if self.skip { Self { head: self.head.zeroed(), ..self } } else { self }
    }
}

impl<B: Kernels> ResnetGenerator<B> {
    /// # Shapes
    /// - input: `[N, in_channels, H, W]` in [-1, 1]; H and W multiples of 4, at least 8
    /// - output: `[N, out_channels, H, W]` in [-1, 1]
    pub fn forward(&self, input: Tensor<B, 4>) -> Tensor<B, 4> {
        let planes = (0..self.stages()).fold(input.clone(), |planes, stage| self.stage(stage, planes));
        self.finish(planes, input)
    }

    /// The output, from what the last stage gave and the input of the first (or the same rows of both): with a skip
    /// their sum within [-1, 1], else what the last stage gave.
    ///
    /// # Shapes
    /// - both and the result: `[N, channels, H, W]`
    pub fn finish(&self, planes: Tensor<B, 4>, input: Tensor<B, 4>) -> Tensor<B, 4> {
        if self.skip { (planes + input).clamp(-1.0, 1.0) } else { planes }
    }

    /// What follows the last convolution, of all rows or some.
    pub fn activate(&self, planes: Tensor<B, 4>) -> Tensor<B, 4> {
        if self.skip { planes } else { kernels::activate(planes, Activation::Tanh) }
    }

    /// Stages of a forward pass: one a layer or residual block.
    pub fn stages(&self) -> usize {
        1 + self.down.len() + self.blocks.len() + self.up.len() + 1
    }

    /// Stage number `stage` alone, so that a long translation can report progress and be cancelled.
    ///
    /// # Shapes
    /// - input: the output of the stage before, or the image
    pub fn stage(&self, stage: usize, input: Tensor<B, 4>) -> Tensor<B, 4> {
        self.stage_with(stage, input, None)
    }

    /// [`ResnetGenerator::stage`] while training, with the dropout of this pass.
    pub fn stage_with(&self, stage: usize, input: Tensor<B, 4>, dropout: Option<Dropout>) -> Tensor<B, 4> {
        let [down, blocks, up] = [self.down.len(), self.blocks.len(), self.up.len()];
        match stage {
            0 => self.stem.forward(input),
            layer if layer <= down => self.down[layer - 1].forward(input),
            layer if layer <= down + blocks => self.blocks[layer - 1 - down].forward(input, dropout, layer),
            layer if layer <= down + blocks + up => self.up[layer - 1 - down - blocks].forward(input),
            _ => self.activate(self.head.forward(input)),
        }
    }

    /// The stages before the residual blocks, which shrink the picture to a quarter of its sides.
    pub fn encoder(&self) -> Vec<&ConvNorm<B>> {
        std::iter::once(&self.stem).chain(&self.down).collect()
    }

    /// The layer of a stage, where that is one.
    pub fn layer(&self, stage: usize) -> Option<&ConvNorm<B>> {
        let decoder = 1 + self.down.len() + self.blocks.len();
        match stage.checked_sub(decoder) {
            Some(layer) => self.up.get(layer),
            None => self.encoder().get(stage).copied(),
        }
    }

    /// The residual blocks between encoder and decoder.
    pub fn blocks(&self) -> &[ResidualBlock<B>] {
        &self.blocks
    }

    /// The stages after the residual blocks but the last, [`ResnetGenerator::head`].
    pub fn decoder(&self) -> Vec<&ConvNorm<B>> {
        self.up.iter().collect()
    }

    /// Channels of the pictures that it reads and writes.
    pub fn channels(&self) -> [usize; 2] {
        [self.stem.inputs(), self.head.weight.dims()[0]]
    }

    /// The last convolution; [`ResnetGenerator::activate`] follows.
    pub fn head(&self) -> &Conv<B> {
        &self.head
    }
}
