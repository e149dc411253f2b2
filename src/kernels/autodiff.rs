//! The backward passes, once for all backends.

use burn::backend::Autodiff;
use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::tensor::Tensor;
use burn::tensor::TensorMetadata;
use burn::tensor::ops::FloatTensor;

use super::{Geometry, Kernels, Precision, float, portable, primitive};

/// Sum over everything but the channels: the gradient of a bias.
fn channel_sum<B: Kernels>(grad: FloatTensor<B>) -> FloatTensor<B> {
    let grad: Tensor<B, 4> = float(grad);
    let [batch, channels, height, width] = grad.dims();
    primitive(grad.reshape([batch, channels, height * width]).sum_dim(2).sum_dim(0).reshape([channels]))
}

/// Both directions of a convolution share one record of what backward needs.
#[derive(Debug, Clone)]
struct ConvState {
    input: NodeId,
    weight: NodeId,
    geometry: Geometry,
    input_size: [usize; 2],
}

#[derive(Debug)]
struct Conv;

#[derive(Debug)]
struct ConvTranspose;

/// Gradients of (input, weight); the bias is the third parent where there is one.
fn register<B: Kernels, const N: usize>(
    ops: Ops<ConvState, N>,
    grads: &mut Gradients,
    checkpointer: &mut Checkpointer,
    input_grad: impl FnOnce(FloatTensor<B>, FloatTensor<B>, &ConvState) -> FloatTensor<B>,
    weight_grad: impl FnOnce(FloatTensor<B>, FloatTensor<B>, FloatTensor<B>, &ConvState) -> FloatTensor<B>,
) {
    let grad = grads.consume::<B>(&ops.node);
    let state = ops.state;
    let input: FloatTensor<B> = checkpointer.retrieve_node_output(state.input);
    let weight: FloatTensor<B> = checkpointer.retrieve_node_output(state.weight);
    let mut parents = ops.parents.into_iter();
    let [to_input, to_weight, to_bias] = [(); 3].map(|()| parents.next().flatten());
    if let Some(node) = to_bias {
        grads.register::<B>(node.id, channel_sum::<B>(grad.clone()));
    }
    if let Some(node) = to_input {
        grads.register::<B>(node.id, input_grad(grad.clone(), weight.clone(), &state));
    }
    if let Some(node) = to_weight {
        grads.register::<B>(node.id, weight_grad(input, grad, weight, &state));
    }
}

macro_rules! backward_of_convolutions {
    ($parents:literal) => {
        impl<B: Kernels> Backward<B, $parents> for Conv {
            type State = ConvState;

            fn backward(self, ops: Ops<ConvState, $parents>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
                register::<B, $parents>(
                    ops,
                    grads,
                    checkpointer,
                    |grad, weight, state| B::convolve_input_grad(grad, weight, None, state.input_size, state.geometry),
                    |input, grad, weight, state| B::convolve_weight_grad(input, grad, weight, state.geometry),
                );
            }
        }

        impl<B: Kernels> Backward<B, $parents> for ConvTranspose {
            type State = ConvState;

            fn backward(self, ops: Ops<ConvState, $parents>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
                register::<B, $parents>(
                    ops,
                    grads,
                    checkpointer,
                    |grad, weight, state| B::convolve(grad, weight, None, state.geometry),
                    |input, grad, weight, state| B::convolve_weight_grad(grad, input, weight, state.geometry),
                );
            }
        }
    };
}
backward_of_convolutions!(2);
backward_of_convolutions!(3);

#[derive(Debug)]
struct Depthwise;

impl<B: Kernels> Backward<B, 2> for Depthwise {
    type State = ConvState;

    fn backward(self, ops: Ops<ConvState, 2>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        register::<B, 2>(
            ops,
            grads,
            checkpointer,
            |grad, weight, state| portable::depthwise_input_grad::<B>(grad, weight, state.geometry),
            |input, grad, _, state| portable::depthwise_weight_grad::<B>(input, grad, state.geometry),
        );
    }
}

#[derive(Debug)]
struct InstanceNorm;

impl<B: Kernels> Backward<B, 1> for InstanceNorm {
    type State = (NodeId, f32);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let (input, slope) = ops.state;
        let input = checkpointer.retrieve_node_output(input);
        let [node] = ops.parents;
        if let Some(node) = node {
            grads.register::<B>(node.id, B::instance_norm_grad(input, grad, slope));
        }
    }
}

/// Records a convolution in the graph, with or without a bias as its third parent.
macro_rules! record {
    ($step:expr, [$input:ident, $weight:ident $(, $bias:ident)?], $geometry:ident, $input_size:expr, $output:expr) => {
        match $step.prepare::<C>([$input.node.clone(), $weight.node.clone() $(, $bias.node.clone())?]).compute_bound().stateful() {
            OpsKind::Tracked(mut prep) => {
                let state = ConvState {
                    input: prep.checkpoint(&$input),
                    weight: prep.checkpoint(&$weight),
                    geometry: $geometry,
                    input_size: $input_size,
                };
                prep.finish(state, $output)
            }
            OpsKind::UnTracked(prep) => prep.finish($output),
        }
    };
}

impl<B: Kernels, C: CheckpointStrategy> Kernels for Autodiff<B, C> {
    fn convolve(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: Option<FloatTensor<Self>>,
        geometry: Geometry,
    ) -> FloatTensor<Self> {
        let size = plane_size::<B>(&input.primitive);
        let output = |bias| B::convolve(input.primitive.clone(), weight.primitive.clone(), bias, geometry);
        match bias {
            Some(bias) => record!(Conv, [input, weight, bias], geometry, size, output(Some(bias.primitive))),
            None => record!(Conv, [input, weight], geometry, size, output(None)),
        }
    }

    fn convolve_input_grad(
        output_grad: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: Option<FloatTensor<Self>>,
        input_size: [usize; 2],
        geometry: Geometry,
    ) -> FloatTensor<Self> {
        let input = output_grad;
        let output = |bias| {
            B::convolve_input_grad(input.primitive.clone(), weight.primitive.clone(), bias, input_size, geometry)
        };
        match bias {
            Some(bias) => {
                record!(ConvTranspose, [input, weight, bias], geometry, input_size, output(Some(bias.primitive)))
            }
            None => record!(ConvTranspose, [input, weight], geometry, input_size, output(None)),
        }
    }

    fn convolve_depthwise(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        geometry: Geometry,
    ) -> FloatTensor<Self> {
        let size = plane_size::<B>(&input.primitive);
        let output = B::convolve_depthwise(input.primitive.clone(), weight.primitive.clone(), geometry);
        record!(Depthwise, [input, weight], geometry, size, output)
    }

    fn instance_norm(input: FloatTensor<Self>, slope: f32) -> FloatTensor<Self> {
        match InstanceNorm.prepare::<C>([input.node.clone()]).compute_bound().stateful() {
            OpsKind::Tracked(mut prep) => {
                let state = (prep.checkpoint(&input), slope);
                prep.finish(state, B::instance_norm(input.primitive, slope))
            }
            OpsKind::UnTracked(prep) => prep.finish(B::instance_norm(input.primitive, slope)),
        }
    }

    // Second derivatives would need these recorded too. Nothing asks for them: the gradient penalty does without
    // (see `loss/penalty.rs`).
    fn multiplies_in(precision: Precision, device: &Self::Device) -> bool {
        B::multiplies_in(precision, device)
    }

    fn convolve_weight_grad(
        _input: FloatTensor<Self>,
        _output_grad: FloatTensor<Self>,
        _weight: FloatTensor<Self>,
        _geometry: Geometry,
    ) -> FloatTensor<Self> {
        panic!("a weight gradient cannot be differentiated again")
    }

    fn instance_norm_grad(
        _input: FloatTensor<Self>,
        _output_grad: FloatTensor<Self>,
        _slope: f32,
    ) -> FloatTensor<Self> {
        panic!("the gradient of an instance norm cannot be differentiated again")
    }
}

fn plane_size<B: Kernels>(input: &FloatTensor<B>) -> [usize; 2] {
    let dims = input.shape().dims::<4>();
    [dims[2], dims[3]]
}
