//! The correlation: weight gradients. Floor: 2 operations a tap, output, and pair of channels; both operands once.

use burn::tensor::TensorMetadata;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeRuntime, cubecl};
use cubecl::prelude::*;

use super::axis::{Axis, source};
use super::layout::packed;
use super::{Channels, WIDTH, vectors, zeros};
use crate::kernels::gpu::{UNITS, elementwise, empty, position};
use crate::kernels::{Border, Geometry};

/// Units that a weight gradient should keep busy, by splitting its sum where it has too few: on a software adapter, whose
/// processors are few, and on a GPU.
pub const FEW_UNITS: usize = 1 << 10;
pub const MANY_UNITS: usize = 1 << 17;

/// The weight's gradient over some rows of the output: `part[o, c, tap] = Σ grad[o, q] · input[c, source(q, tap)]`.
/// Both operands are read as vectors of channels (see [`packed`]). A unit sums either `window` = 3 neighbouring taps of 4
/// outputs, for which the input slides past (2 vectors read for 48 operations), or one tap of 8 (3 for 32).
#[cube(launch_unchecked)]
fn correlate(
    input: &Array<Channels>,
    grad: &Array<Channels>,
    parts: &mut Array<f32>,
    channels: u32,
    outputs: u32,
    batch: u32,
    rows_a_part: u32,
    rows: Axis,
    columns: Axis,
    #[comptime] kernel: u32,
    #[comptime] reflect: bool,
    #[comptime] window: u32,
    #[comptime] vectors: u32,
) {
    let channel_groups = channels.div_ceil(4);
    let output_groups = outputs.div_ceil(4);
    let unit = CUBE_POS_X * CUBE_DIM_X + UNIT_POS_X;
    let taps = comptime!(kernel * kernel);
    if unit < channel_groups * comptime!(taps / window) {
        let channel = unit % channel_groups;
        let tap = unit / channel_groups * window;
        let down = (tap / kernel) as i32;
        let left = (tap % kernel) as i32 + columns.offset;
        let group = CUBE_POS_Y * vectors;

        let (mut a0, mut a1, mut a2, mut a3) = (zeros(), zeros(), zeros(), zeros());
        let (mut b0, mut b1, mut b2, mut b3) = (zeros(), zeros(), zeros(), zeros());
        let (mut c0, mut c1, mut c2, mut c3) = (zeros(), zeros(), zeros(), zeros());
        let start = CUBE_POS_Z * rows_a_part;
        let end = min(start + rows_a_part, batch * rows.grid);
        for line in start..end {
            let image = line / rows.grid;
            let position = (line % rows.grid) as i32 * rows.step + rows.offset + down;
            if comptime!(reflect) || (position >= 0 && position < rows.input) {
                let row = source(position, rows.input, reflect);
                let from = (image as i32 * rows.input + row) * columns.input;
                let mut at = (line * columns.grid * output_groups + group) as usize;
                if comptime!(window == 3) {
                    let mut first = pixel(input, from, left, &columns, channel, channel_groups, reflect);
                    let mut second = pixel(input, from, left + 1, &columns, channel, channel_groups, reflect);
                    for column in 0..columns.grid {
                        let position = column as i32 + left + 2;
                        let third = pixel(input, from, position, &columns, channel, channel_groups, reflect);
                        let grads = grad[at];
                        let (g0, g1) = (Vector::new(grads[0]), Vector::new(grads[1]));
                        let (g2, g3) = (Vector::new(grads[2]), Vector::new(grads[3]));
                        a0 += first * g0;
                        a1 += first * g1;
                        a2 += first * g2;
                        a3 += first * g3;
                        b0 += second * g0;
                        b1 += second * g1;
                        b2 += second * g2;
                        b3 += second * g3;
                        c0 += third * g0;
                        c1 += third * g1;
                        c2 += third * g2;
                        c3 += third * g3;
                        first = second;
                        second = third;
                        at += output_groups as usize;
                    }
                } else {
                    for column in 0..columns.grid {
                        let position = column as i32 * columns.step + left;
                        let values = pixel(input, from, position, &columns, channel, channel_groups, reflect);
                        let grads = grad[at];
                        a0 += values * Vector::new(grads[0]);
                        a1 += values * Vector::new(grads[1]);
                        a2 += values * Vector::new(grads[2]);
                        a3 += values * Vector::new(grads[3]);
                        if comptime!(vectors == 2) {
                            let grads = grad[at + 1];
                            b0 += values * Vector::new(grads[0]);
                            b1 += values * Vector::new(grads[1]);
                            b2 += values * Vector::new(grads[2]);
                            b3 += values * Vector::new(grads[3]);
                        }
                        at += output_groups as usize;
                    }
                }
            }
        }
        let (output, channel) = (group * 4, channel * 4);
        write_part(a0, output, channel, tap, outputs, channels, parts, taps);
        write_part(a1, output + 1, channel, tap, outputs, channels, parts, taps);
        write_part(a2, output + 2, channel, tap, outputs, channels, parts, taps);
        write_part(a3, output + 3, channel, tap, outputs, channels, parts, taps);
        if comptime!(window == 3) {
            write_part(b0, output, channel, tap + 1, outputs, channels, parts, taps);
            write_part(b1, output + 1, channel, tap + 1, outputs, channels, parts, taps);
            write_part(b2, output + 2, channel, tap + 1, outputs, channels, parts, taps);
            write_part(b3, output + 3, channel, tap + 1, outputs, channels, parts, taps);
            write_part(c0, output, channel, tap + 2, outputs, channels, parts, taps);
            write_part(c1, output + 1, channel, tap + 2, outputs, channels, parts, taps);
            write_part(c2, output + 2, channel, tap + 2, outputs, channels, parts, taps);
            write_part(c3, output + 3, channel, tap + 2, outputs, channels, parts, taps);
        }
        if comptime!(vectors == 2) {
            write_part(b0, output + 4, channel, tap, outputs, channels, parts, taps);
            write_part(b1, output + 5, channel, tap, outputs, channels, parts, taps);
            write_part(b2, output + 6, channel, tap, outputs, channels, parts, taps);
            write_part(b3, output + 7, channel, tap, outputs, channels, parts, taps);
        }
    }
}

/// Four channels of the input at a column of the row that begins at pixel `from`.
#[cube]
fn pixel(
    input: &Array<Channels>,
    from: i32,
    position: i32,
    columns: &Axis,
    channel: u32,
    channel_groups: u32,
    #[comptime] reflect: bool,
) -> Channels {
    let column = source(position, columns.input, reflect);
    let mut values = input[((from + column) as u32 * channel_groups + channel) as usize];
    if comptime!(!reflect) {
        values *= Vector::new(f32::cast_from(position >= 0 && position < columns.input));
    }
    values
}

#[cube]
fn write_part(
    values: Channels,
    output: u32,
    channel: u32,
    tap: u32,
    outputs: u32,
    channels: u32,
    parts: &mut Array<f32>,
    #[comptime] taps: u32,
) {
    if output < outputs {
        #[unroll]
        for lane in 0..4u32 {
            if channel + lane < channels {
                let filter = (CUBE_POS_Z * outputs + output) * channels + channel + lane;
                parts[(filter * taps + tap) as usize] = values[lane as usize];
            }
        }
    }
}

/// Adds up partial sums.
#[cube(launch_unchecked)]
fn sum_parts(parts: &Array<f32>, sum: &mut Array<f32>, count: u32) {
    let at = position() as usize;
    if at < sum.len() {
        let mut total = 0.0f32;
        for part in 0..count {
            total += parts[part as usize * sum.len() + at];
        }
        sum[at] = total;
    }
}

/// See [`crate::kernels::Kernels::convolve_weight_grad`].
pub fn convolve_weight_grad<R: CubeRuntime>(
    input: CubeTensor<R>,
    output_grad: CubeTensor<R>,
    geometry: Geometry,
    busy: usize,
) -> CubeTensor<R> {
    let [batch, channels, height, width] = input.shape().dims();
    let [_, outputs, rows, columns] = output_grad.shape().dims::<4>();
    let last = |tensor, channels, plane| packed(tensor, [batch, plane, channels], [channels * plane, 1, plane]);
    let input = last(input, channels, height * width);
    let grad = last(output_grad, outputs, rows * columns);
    let kernel = geometry.kernel;
    let (window, vectors) = if kernel == 3 && geometry.stride == 1 { (3, 1) } else { (1, vectors(outputs)) };
    let units = channels.div_ceil(WIDTH) * kernel * kernel / window as usize;
    let groups = outputs.div_ceil(WIDTH).div_ceil(vectors as usize);
    let lines = batch * rows;
    let lines_a_part = lines.div_ceil((busy / (units * groups)).clamp(1, lines.max(1))).max(1);
    let parts = lines.div_ceil(lines_a_part).max(1);
    let weight = [outputs, channels, kernel, kernel];
    let count = weight.iter().product();
    let sum = empty(&input, weight);
    let sums = if parts == 1 { sum.clone() } else { empty(&input, [parts, count]) };
    let axes = [height, width].map(|side| Axis::forward(geometry, side));
    let client = input.client.clone();
    #[allow(unsafe_code, reason = "the kernels clamp what they read to the input and check what they write")]
    unsafe {
        correlate::launch_unchecked::<R>(
            &client,
            CubeCount::Static((units as u32).div_ceil(UNITS), groups as u32, parts as u32),
            CubeDim::new_1d(UNITS),
            input.into_array_arg(),
            grad.into_array_arg(),
            sums.clone().into_array_arg(),
            channels as u32,
            outputs as u32,
            batch as u32,
            lines_a_part as u32,
            axes[0].launch(),
            axes[1].launch(),
            kernel as u32,
            geometry.border == Border::Reflect,
            window,
            vectors,
        );
        if parts > 1 {
            sum_parts::launch_unchecked::<R>(
                &client,
                elementwise(count),
                CubeDim::new_1d(UNITS),
                sums.into_array_arg(),
                sum.clone().into_array_arg(),
                parts as u32,
            );
        }
    }
    sum
}
