//! Convolutions on a GPU.
//!
//! A convolution and its adjoint are the same sum, read at other places: a [`gather`]. The weight's
//! gradient is a [`correlate`]. A GPU with fast workgroup memory computes both by tiles ([`implicit`]), and 3×3 convolutions of
//! many channels by Winograd's algorithm ([`winograd`]).

mod axis;
#[cfg(feature = "cuda")]
mod cores;
mod correlate;
mod gather;
mod implicit;
mod layout;
mod tile;
mod winograd;

use burn::tensor::TensorMetadata;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeRuntime, cubecl};
use cubecl::prelude::*;

use self::axis::Axis;
use self::gather::Sum;
use self::layout::{folded, packed};
use super::{by_tiles, empty};
use crate::kernels::{Border, Geometry};

/// Fewest output channels for which tiles pay, unless pixels are fewer than [`FEW`].
const TILED: usize = 8;
const FEW: usize = 1 << 13;

/// Channels of a part where a sum of few outputs is split.
const FEW_CHANNELS: usize = 8;

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
    let tiles = by_tiles(&input);
    if tiles && winograd::suits(geometry, channels, outputs) {
        return winograd::convolve(input, weight, bias, geometry.padding, geometry.border, false);
    }
    let taps = geometry.kernel * geometry.kernel;
    let filters = packed(weight, [taps, channels, outputs], [1, taps, channels * taps]);
    let axes = [height, width].map(|side| Axis::forward(geometry, side));
    let input = into_contiguous(input);
    let sum = Sum { batch, channels, outputs, kernel: geometry.kernel, border: geometry.border };
    let (size, bias) = (axes.map(|axis| axis.output as usize), bias.map(into_contiguous));
    sum.compute(&input, &filters, bias.as_ref(), size, &[axes], 1, tiles)
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
    let reflect = geometry.border == Border::Reflect;
    // With reflection first the gradient of the padded picture, then its margin folded back.
    let (margin, padding) = if reflect { (geometry.padding, 0) } else { (0, geometry.padding) };
    let tiles = by_tiles(&output_grad);
    let bias = bias.map(into_contiguous);
    let output = if tiles && winograd::suits(geometry, channels, outputs) {
        winograd::convolve(output_grad, weight, bias, 2 - padding, Border::Zero, true)
    } else {
        let taps = geometry.kernel * geometry.kernel;
        let filters = packed(weight, [taps, channels, outputs], [1, outputs * taps, taps]);
        let size = input_size.map(|side| side + 2 * margin);
        let output_grad = into_contiguous(output_grad);
        let sum = Sum { batch, channels, outputs, kernel: geometry.kernel, border: Border::Zero };
        let rows = |phase| Axis::adjoint(geometry, height, size[0], padding, phase);
        let columns = |phase| Axis::adjoint(geometry, width, size[1], padding, phase);
        let phases = geometry.stride;
        let grids: Vec<_> = if reflect && phases == 1 && !tiles {
            framed([rows(0), columns(0)], input_size, geometry)
        } else {
            (0..phases).flat_map(|down| (0..phases).map(move |across| [rows(down), columns(across)])).collect()
        };
        sum.compute(&output_grad, &filters, bias.as_ref(), size, &grids, phases, tiles)
    };
    if reflect { folded(output, input_size, geometry.padding) } else { output }
}

/// See [`crate::kernels::Kernels::convolve_weight_grad`].
pub fn convolve_weight_grad<R: CubeRuntime>(
    input: CubeTensor<R>,
    output_grad: CubeTensor<R>,
    geometry: Geometry,
) -> CubeTensor<R> {
    let [_, channels, ..] = input.shape().dims::<4>();
    let [_, outputs, ..] = output_grad.shape().dims::<4>();
    if !by_tiles(&input) {
        correlate::convolve_weight_grad(input, output_grad, geometry, correlate::FEW_UNITS)
    } else if winograd::suits(geometry, channels, outputs) {
        winograd::weight_grad(input, output_grad, geometry)
    } else if outputs >= TILED {
        implicit::weight_grad(input, output_grad, geometry)
    } else {
        correlate::convolve_weight_grad(input, output_grad, geometry, correlate::MANY_UNITS)
    }
}

/// The outputs within a margin, and the margin itself in four strips, whose outputs are sums of far fewer taps. As one grid
/// they would be 1.27 times the work for 16×16 pixels and a margin of one; so they are 1.09 times.
fn framed([rows, columns]: [Axis; 2], input_size: [usize; 2], geometry: Geometry) -> Vec<[Axis; 2]> {
    let (kernel, margin) = (geometry.kernel, geometry.padding);
    let taps = margin.min(kernel);
    let bands = |axis: Axis, side: usize| {
        let far = axis.band(margin + side, margin, kernel - taps, taps);
        [axis.band(0, margin, 0, taps), axis.band(margin, side, 0, kernel), far]
    };
    let [top, middle, bottom] = bands(rows, input_size[0]);
    let [left, centre, right] = bands(columns, input_size[1]);
    vec![[middle, centre], [top, columns], [middle, left], [middle, right], [bottom, columns]]
}

impl Sum {
    /// The sum for outputs of `size` on each of the grids that they fall into: `phases` × `phases` where there is a stride, of
    /// which tiles derive the others from the first; all in one, or [`framed`].
    #[allow(clippy::too_many_arguments, reason = "three tensors, their sizes, and which way to go")]
    fn compute<R: CubeRuntime>(
        self,
        input: &CubeTensor<R>,
        filters: &CubeTensor<R>,
        bias: Option<&CubeTensor<R>>,
        size: [usize; 2],
        grids: &[[Axis; 2]],
        phases: usize,
        tiles: bool,
    ) -> CubeTensor<R> {
        let pixels = size[0] * size[1] * self.batch;
        if tiles && (self.outputs >= TILED || pixels < FEW) {
            return self.by_tiles(input, filters, bias, size, grids[0], phases);
        }
        // A GPU has more units than there are pixels: channels are dealt out, too.
        let most = if tiles { FEW_CHANNELS } else { self.channels };
        let parts = self.channels.div_ceil(self.channels.min(most));
        let shape = [self.batch, self.outputs, size[0], size[1]];
        let output = empty(input, [parts, shape.iter().product()]);
        let bias_now = bias.filter(|_| parts == 1);
        for &axes in grids {
            self.launch(input, filters, bias_now, &output, axes, parts);
        }
        implicit::summed(output, parts, bias.filter(|_| parts > 1), shape)
    }
}
