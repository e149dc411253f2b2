//! Activations on a GPU: one launch each way.

use burn::tensor::TensorMetadata;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeRuntime, cubecl};
use cubecl::prelude::*;

use super::{UNITS, elementwise, empty, position};
use crate::kernels::Activation;

/// Leaky ReLU or the hyperbolic tangent of every value: 4 bytes read, 4 written.
#[cube(launch_unchecked)]
fn activated(input: &Array<f32>, output: &mut Array<f32>, slope: f32, #[comptime] tanh: bool) {
    let at = position() as usize;
    if at < output.len() {
        let value = input[at];
        if comptime!(tanh) {
            // From e^−2|v|, which overflows nowhere.
            let small = (-2.0f32 * value.abs()).exp();
            let size = (1.0f32 - small) / (1.0f32 + small);
            output[at] = if value > 0.0f32 { size } else { -size };
        } else {
            output[at] = if value > 0.0f32 { value } else { value * slope };
        }
    }
}

/// Its gradient, from the output: 8 bytes read, 4 written.
#[cube(launch_unchecked)]
fn activated_grad(
    output: &Array<f32>,
    output_grad: &Array<f32>,
    input_grad: &mut Array<f32>,
    slope: f32,
    #[comptime] tanh: bool,
) {
    let at = position() as usize;
    if at < input_grad.len() {
        let (value, grad) = (output[at], output_grad[at]);
        if comptime!(tanh) {
            input_grad[at] = grad * (1.0f32 - value * value);
        } else {
            input_grad[at] = if value > 0.0f32 { grad } else { grad * slope };
        }
    }
}

/// The slope, and whether it is none but the hyperbolic tangent.
fn numbers(activation: Activation) -> (f32, bool) {
    match activation {
        Activation::LeakyRelu(slope) => (slope, false),
        Activation::Tanh => (0.0, true),
    }
}

/// See [`crate::kernels::Kernels::activate`].
pub fn activate<R: CubeRuntime>(input: CubeTensor<R>, activation: Activation) -> CubeTensor<R> {
    let input = into_contiguous(input);
    let output = empty(&input, input.shape().dims::<4>());
    let client = input.client.clone();
    let (slope, tanh) = numbers(activation);
    #[allow(unsafe_code, reason = "the kernel checks its position against the buffer it writes")]
    unsafe {
        activated::launch_unchecked::<R>(
            &client,
            elementwise(output.shape().num_elements()),
            CubeDim::new_1d(UNITS),
            input.into_array_arg(),
            output.clone().into_array_arg(),
            slope,
            tanh,
        );
    }
    output
}

/// See [`crate::kernels::Kernels::activate_grad`].
pub fn activate_grad<R: CubeRuntime>(
    output: CubeTensor<R>,
    output_grad: CubeTensor<R>,
    activation: Activation,
) -> CubeTensor<R> {
    let [output, output_grad] = [output, output_grad].map(into_contiguous);
    let input_grad = empty(&output, output.shape().dims::<4>());
    let client = output.client.clone();
    let (slope, tanh) = numbers(activation);
    #[allow(unsafe_code, reason = "the kernel checks its position against the buffer it writes")]
    unsafe {
        activated_grad::launch_unchecked::<R>(
            &client,
            elementwise(input_grad.shape().num_elements()),
            CubeDim::new_1d(UNITS),
            output.into_array_arg(),
            output_grad.into_array_arg(),
            input_grad.clone().into_array_arg(),
            slope,
            tanh,
        );
    }
    input_grad
}
