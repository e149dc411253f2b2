//! A generator of any kind.

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::unet::UnetGenerator;
use super::{Dropout, ResnetGenerator};
use crate::kernels::Kernels;

/// A generator of any kind, behind one interface.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant, reason = "there are four generators at most; they are not moved about")]
pub enum Generator<B: Backend> {
    /// With residual blocks.
    Resnet(ResnetGenerator<B>),
    /// With skip connections.
    Unet(UnetGenerator<B>),
}

impl<B: Backend> From<ResnetGenerator<B>> for Generator<B> {
    fn from(generator: ResnetGenerator<B>) -> Self {
        Self::Resnet(generator)
    }
}

impl<B: Backend> Generator<B> {
    /// The same, but one with a skip from input to output hands pictures through.
    pub fn starting_as_identity(self) -> Self {
        match self {
            Self::Resnet(generator) => Self::Resnet(generator.starting_as_identity()),
            unet @ Self::Unet(_) => unet,
        }
    }
}

impl<B: Kernels> Generator<B> {
    /// # Shapes
    /// - input: `[N, in_channels, H, W]` in [-1, 1]; H and W multiples of [`Generator::multiple`]
    /// - output: `[N, out_channels, H, W]` in [-1, 1]
    pub fn forward(&self, input: Tensor<B, 4>) -> Tensor<B, 4> {
        self.forward_with(input, None)
    }

    /// [`Generator::forward`] while training, with the dropout of this pass.
    pub fn forward_with(&self, input: Tensor<B, 4>, dropout: Option<Dropout>) -> Tensor<B, 4> {
        let stage = |planes, stage| self.stage_with(stage, planes, dropout);
        let planes = (0..self.stages()).fold(input.clone(), stage);
        self.finish(planes, input)
    }

    /// The output, from what the last part gave and the input of the first: see [`ResnetGenerator::finish`].
    ///
    /// # Shapes
    /// - both and the result: `[N, channels, H, W]`
    pub fn finish(&self, planes: Tensor<B, 4>, input: Tensor<B, 4>) -> Tensor<B, 4> {
        match self {
            Self::Resnet(generator) => generator.finish(planes, input),
            Self::Unet(_) => planes,
        }
    }

    /// Channels of the pictures that it reads and writes.
    pub fn channels(&self) -> [usize; 2] {
        match self {
            Self::Resnet(generator) => generator.channels(),
            Self::Unet(generator) => generator.channels(),
        }
    }

    /// What the sides of a picture have to be multiples of.
    pub fn multiple(&self) -> usize {
        match self {
            Self::Resnet(_) => 4,
            Self::Unet(generator) => 1 << generator.halvings(),
        }
    }

    /// Parts of a forward pass that can be run one after the other: a residual generator's layers; a U-Net is one part.
    pub fn stages(&self) -> usize {
        match self {
            Self::Resnet(generator) => generator.stages(),
            Self::Unet(_) => 1,
        }
    }

    /// Part number `stage` alone.
    ///
    /// # Shapes
    /// - input: the output of the part before, or the image
    pub fn stage(&self, stage: usize, input: Tensor<B, 4>) -> Tensor<B, 4> {
        self.stage_with(stage, input, None)
    }

    /// [`Generator::stage`] while training, with the dropout of this pass.
    pub fn stage_with(&self, stage: usize, input: Tensor<B, 4>, dropout: Option<Dropout>) -> Tensor<B, 4> {
        match self {
            Self::Resnet(generator) => generator.stage_with(stage, input, dropout),
            Self::Unet(generator) => generator.forward(input, dropout),
        }
    }
}
