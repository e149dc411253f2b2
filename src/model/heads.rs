//! The projection heads of CUT (Park et al. 2020, <https://arxiv.org/abs/2007.15651>, section 3): what patches of
//! feature maps are compared by. They are `PatchSampleF` of its code.

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::architecture::Parameter;
use super::layers::Conv;
use crate::kernels::{self, Activation, Geometry, Kernels};

/// A layer of a head: a fully connected one is a convolution of single positions.
const POINT: Geometry = Geometry::zero(1, 1, 0);

/// A head for each feature: fully connected, ReLU, fully connected.
#[derive(Module, Debug)]
pub struct Heads<B: Backend> {
    heads: Vec<Head<B>>,
}

#[derive(Module, Debug)]
struct Head<B: Backend> {
    first: Conv<B>,
    second: Conv<B>,
}

impl<B: Backend> Heads<B> {
    /// Heads of `width` outputs for features of so many channels, with all weights zero; see
    /// [`super::parameters::init`].
    pub fn new(channels: &[usize], width: usize, device: &B::Device) -> Self {
        let layer = |inputs| Conv::new(inputs, width, POINT, device);
        Self { heads: channels.iter().map(|&inputs| Head { first: layer(inputs), second: layer(width) }).collect() }
    }
}

/// The parameters of heads in the order and under the names of CUT's `latest_net_F.pth`.
///
/// # Shapes
/// Weight `[out, in]`, bias `[out]`.
pub fn parameters(channels: &[usize], width: usize) -> Vec<Parameter> {
    let layer = |head: usize, part: usize, inputs: usize| {
        let name = |kind: &str| format!("mlp_{head}.{part}.{kind}");
        [(name("weight"), vec![width, inputs]), (name("bias"), vec![width])]
    };
    let heads = channels.iter().enumerate();
    heads.flat_map(|(head, &inputs)| layer(head, 0, inputs).into_iter().chain(layer(head, 2, width))).collect()
}

impl<B: Kernels> Heads<B> {
    /// What head number `head` makes of patches.
    ///
    /// # Shapes
    /// - patches: `[N, channels, patches, 1]`; output: `[N, width, patches, 1]`
    pub fn forward(&self, head: usize, patches: Tensor<B, 4>) -> Tensor<B, 4> {
        let Head { first, second } = &self.heads[head];
        second.forward(kernels::activate(first.forward(patches), Activation::LeakyRelu(0.0)))
    }
}
