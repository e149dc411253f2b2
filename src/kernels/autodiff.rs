//! The backward passes, once for all backends.

use burn::backend::Autodiff;
use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::tensor::TensorMetadata;
use burn::tensor::ops::FloatTensor;

use super::{Activation, Geometry, Goal, Kernels, Precision, portable};

/// Both directions of a convolution share one record of what backward needs.
#[derive(Debug, Clone)]
struct ConvState {
    /// Kept for the gradient of a weight that is learned: a judge that is fixed and a blur keep no maps.
    input: Option<NodeId>,
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
    let input: Option<FloatTensor<B>> = state.input.map(|input| checkpointer.retrieve_node_output(input));
    let weight: FloatTensor<B> = checkpointer.retrieve_node_output(state.weight);
    let mut parents = ops.parents.into_iter();
    let [to_input, to_weight, to_bias] = [(); 3].map(|()| parents.next().flatten());
    if let Some(node) = to_bias {
        grads.register::<B>(node.id, B::bias_grad(grad.clone()));
    }
    if let Some(node) = to_input {
        grads.register::<B>(node.id, input_grad(grad.clone(), weight.clone(), &state));
    }
    if let (Some(node), Some(input)) = (to_weight, input) {
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

/// Its second parent, where there is one, is what was skipped.
#[derive(Debug)]
struct InstanceNorm;

/// What the backward pass of an instance norm needs.
#[derive(Debug, Clone)]
struct NormState<B: Kernels> {
    input: NodeId,
    moments: Option<FloatTensor<B>>,
    slope: f32,
}

macro_rules! backward_of_norms {
    ($parents:literal) => {
        impl<B: Kernels> Backward<B, $parents> for InstanceNorm {
            type State = NormState<B>;

            fn backward(
                self,
                ops: Ops<NormState<B>, $parents>,
                grads: &mut Gradients,
                checkpointer: &mut Checkpointer,
            ) {
                let grad = grads.consume::<B>(&ops.node);
                let NormState { input, moments, slope } = ops.state;
                let input = checkpointer.retrieve_node_output(input);
                let mut parents = ops.parents.into_iter();
                let [to_input, to_skipped] = [(); 2].map(|()| parents.next().flatten());
                if let Some(node) = to_skipped {
                    grads.register::<B>(node.id, grad.clone());
                }
                if let Some(node) = to_input {
                    grads.register::<B>(node.id, B::instance_norm_grad(input, moments, grad, slope));
                }
            }
        }
    };
}
backward_of_norms!(1);
backward_of_norms!(2);

#[derive(Debug)]
struct Activate;

impl<B: Kernels> Backward<B, 1> for Activate {
    /// The output.
    type State = (FloatTensor<B>, Activation);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let (output, activation) = ops.state;
        let [node] = ops.parents;
        if let Some(node) = node {
            grads.register::<B>(node.id, B::activate_grad(output, grad, activation));
        }
    }
}

#[derive(Debug)]
struct Distance;

impl<B: Kernels> Backward<B, 1> for Distance {
    /// The values, and the goal and the weight.
    type State = (NodeId, Goal<FloatTensor<B>>, f32);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let (values, goal, weight) = ops.state;
        let values = checkpointer.retrieve_node_output(values);
        let [node] = ops.parents;
        if let Some(node) = node {
            grads.register::<B>(node.id, B::distance_grad(values, goal, weight, grad));
        }
    }
}

/// Records a convolution in the graph, with or without a bias as its third parent.
macro_rules! record {
    ($step:expr, [$input:ident, $weight:ident $(, $bias:ident)?], $geometry:ident, $input_size:expr, $output:expr) => {
        match $step.prepare::<C>([$input.node.clone(), $weight.node.clone() $(, $bias.node.clone())?]).compute_bound().stateful() {
            OpsKind::Tracked(mut prep) => {
                let state = ConvState {
                    input: $weight.is_tracked().then(|| prep.checkpoint(&$input)),
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
    fn multiplies_in(precision: Precision, device: &Self::Device) -> bool {
        B::multiplies_in(precision, device)
    }

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

    fn instance_norm(
        input: FloatTensor<Self>,
        skipped: Option<FloatTensor<Self>>,
        slope: f32,
    ) -> (FloatTensor<Self>, Option<FloatTensor<Self>>) {
        macro_rules! recorded {
            ([$($parent:ident),+], $skipped:expr) => {
                match InstanceNorm.prepare::<C>([$($parent.node.clone()),+]).compute_bound().stateful() {
                    OpsKind::Tracked(mut prep) => {
                        let checkpoint = prep.checkpoint(&input);
                        let (output, moments) = B::instance_norm(input.primitive, $skipped, slope);
                        prep.finish(NormState { input: checkpoint, moments, slope }, output)
                    }
                    OpsKind::UnTracked(prep) => prep.finish(B::instance_norm(input.primitive, $skipped, slope).0),
                }
            };
        }
        let output = match skipped {
            Some(skipped) => recorded!([input, skipped], Some(skipped.primitive)),
            None => recorded!([input], None),
        };
        (output, None)
    }

    fn activate(input: FloatTensor<Self>, activation: Activation) -> FloatTensor<Self> {
        let output = B::activate(input.primitive, activation);
        match Activate.prepare::<C>([input.node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((output.clone(), activation), output),
            OpsKind::UnTracked(prep) => prep.finish(output),
        }
    }

    fn distance(values: FloatTensor<Self>, goal: Goal<FloatTensor<Self>>, weight: f32) -> FloatTensor<Self> {
        let goal = goal.map(|planes| planes.primitive);
        match Distance.prepare::<C>([values.node.clone()]).compute_bound().stateful() {
            OpsKind::Tracked(mut prep) => {
                let state = (prep.checkpoint(&values), goal.clone(), weight);
                prep.finish(state, B::distance(values.primitive, goal, weight))
            }
            OpsKind::UnTracked(prep) => prep.finish(B::distance(values.primitive, goal, weight)),
        }
    }

    // Second derivatives would need these recorded too. Nothing asks for them: the gradient penalty does without
    // (see `loss/penalty.rs`).
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
        _moments: Option<FloatTensor<Self>>,
        _output_grad: FloatTensor<Self>,
        _slope: f32,
    ) -> FloatTensor<Self> {
        panic!("the gradient of an instance norm cannot be differentiated again")
    }

    fn activate_grad(
        _output: FloatTensor<Self>,
        _output_grad: FloatTensor<Self>,
        _activation: Activation,
    ) -> FloatTensor<Self> {
        panic!("the gradient of an activation cannot be differentiated again")
    }

    fn distance_grad(
        _values: FloatTensor<Self>,
        _goal: Goal<FloatTensor<Self>>,
        _weight: f32,
        _distance_grad: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        panic!("the gradient of a distance cannot be differentiated again")
    }
}

fn plane_size<B: Kernels>(input: &FloatTensor<B>) -> [usize; 2] {
    let dims = input.shape().dims::<4>();
    [dims[2], dims[3]]
}
