//! Convolutions on a GPU.
//!
//! A convolution and its adjoint are the same sum, read at other places: a [`gather`]. The weight's
//! gradient is a [`correlate`].

mod axis;
mod correlate;
mod gather;
mod layout;

use burn::tensor::TensorMetadata;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeRuntime, cubecl};
use cubecl::prelude::*;

pub use self::correlate::convolve_weight_grad;

use self::axis::Axis;
use self::gather::Sum;
use self::layout::{folded, packed};
use super::empty;
use crate::kernels::{Border, Geometry};

/// Channels of a vector.
const WIDTH: usize = 4;

type Channels = Vector<f32, Const<4>>;

#[cube]
fn zeros() -> Channels {
    Channels::new(0.0)
}

/// Two vectors of output channels a unit where they divide evenly.
fn vectors(outputs: usize) -> u32 {
    if outputs.div_ceil(WIDTH).is_multiple_of(2) { 2 } else { 1 }
}

/// See [`crate::kernels::Kernels::convolve`].
pub fn convolve<R: CubeRuntime>(
    input: CubeTensor<R>,
    weight: CubeTensor<R>,
    bias: Option<CubeTensor<R>>,
    geometry: Geometry,
) -> CubeTensor<R> {
    let [batch, channels, height, width] = input.shape().dims();
    let [outputs, ..] = weight.shape().dims::<4>();
    let taps = geometry.kernel * geometry.kernel;
    let filters = packed(weight, [taps, channels, outputs], [1, taps, channels * taps]);
    let axes = [height, width].map(|side| Axis::forward(geometry, side));
    let input = into_contiguous(input);
    let output = empty(&input, [batch, outputs, axes[0].output as usize, axes[1].output as usize]);
    let sum = Sum { batch, channels, outputs, kernel: geometry.kernel, border: geometry.border };
    sum.launch(&input, &filters, bias.map(into_contiguous).as_ref(), &output, axes);
    output
}

/// See [`crate::kernels::Kernels::convolve_input_grad`]; a reflecting one has no bias.
pub fn convolve_input_grad<R: CubeRuntime>(
    output_grad: CubeTensor<R>,
    weight: CubeTensor<R>,
    bias: Option<CubeTensor<R>>,
    input_size: [usize; 2],
    geometry: Geometry,
) -> CubeTensor<R> {
    let [batch, channels, height, width] = output_grad.shape().dims();
    let [_, outputs, ..] = weight.shape().dims::<4>();
    let taps = geometry.kernel * geometry.kernel;
    let filters = packed(weight, [taps, channels, outputs], [1, outputs * taps, taps]);
    let reflect = geometry.border == Border::Reflect;
    // With reflection first the gradient of the padded picture, then its margin folded back.
    let (margin, padding) = if reflect { (geometry.padding, 0) } else { (0, geometry.padding) };
    let size = input_size.map(|side| side + 2 * margin);
    let output_grad = into_contiguous(output_grad);
    let output = empty(&output_grad, [batch, outputs, size[0], size[1]]);
    let sum = Sum { batch, channels, outputs, kernel: geometry.kernel, border: Border::Zero };
    let bias = bias.map(into_contiguous);
    for down in 0..geometry.stride {
        for across in 0..geometry.stride {
            let rows = Axis::adjoint(geometry, height, size[0], padding, down);
            let columns = Axis::adjoint(geometry, width, size[1], padding, across);
            sum.launch(&output_grad, &filters, bias.as_ref(), &output, [rows, columns]);
        }
    }
    if reflect { folded(output, input_size, geometry.padding) } else { output }
}
