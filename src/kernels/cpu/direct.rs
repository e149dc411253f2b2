//! Convolutions of stride 1 into a few channels, such as a generator's last: by the definition.
//!
//! With three output channels a matrix product would gather 49 copies of every input to use each
//! three times. Here a strip of one input channel stays in the first-level cache while all taps
//! and all outputs read it. Floor: as [`super::super::Kernels::convolve`]; the input is read once.

use super::lanes::{LANES, Lanes, each};
use super::{Border, Geometry, Shape};
use crate::platform::parallel;
use crate::platform::simd::{multiply_add, vectorised};

/// Most output channels this is for.
const FEW: usize = 4;
/// Vectors of neighbouring pixels that are summed at a time, to keep the multipliers busy.
const WIDTH: usize = 4 * LANES;
/// Output rows of a strip.
const STRIP: usize = 8;

/// Whether a convolution is one of those this module is for.
pub fn suits(shape: Shape, geometry: Geometry) -> bool {
    geometry.stride == 1 && shape.outputs <= FEW && shape.inputs > shape.outputs
}

/// Convolution forward.
pub fn conv2d(input: &[f32], weight: &[f32], bias: Option<&[f32]>, shape: Shape, geometry: Geometry) -> Vec<f32> {
    let [height, width] = shape.size.map(|side| geometry.output(side));
    let (plane, image) = (shape.size[0] * shape.size[1], shape.inputs * shape.size[0] * shape.size[1]);
    // Rows are rounded up to whole steps; what is too much is never copied out.
    let pitch = width.next_multiple_of(WIDTH) + geometry.kernel;
    let strips: Vec<(usize, usize)> =
        (0..shape.batch).flat_map(|image| (0..height).step_by(STRIP).map(move |row| (image, row))).collect();
    let sums = parallel::map(&strips, |&(index, row)| {
        let rows = STRIP.min(height - row);
        let mut padded = vec![0.0; (rows + geometry.kernel - 1) * pitch];
        let mut sums = vec![0.0; shape.outputs * rows * pitch];
        for output in 0..shape.outputs {
            sums[output * rows * pitch..][..rows * pitch].fill(bias.map_or(0.0, |bias| bias[output]));
        }
        for channel in 0..shape.inputs {
            let plane = &input[index * image + channel * plane..][..plane];
            for (offset, line) in padded.chunks_exact_mut(pitch).enumerate() {
                pad_row(plane, shape.size, row + offset, geometry, line);
            }
            let taps = geometry.kernel * geometry.kernel;
            let filter = |output: usize| &weight[(output * shape.inputs + channel) * taps..][..taps];
            vectorised(
                #[inline(always)]
                || match shape.outputs {
                    1 => add_channel(&padded, each::<_, 1>(filter), geometry.kernel, pitch, &mut sums),
                    2 => add_channel(&padded, each::<_, 2>(filter), geometry.kernel, pitch, &mut sums),
                    3 => add_channel(&padded, each::<_, 3>(filter), geometry.kernel, pitch, &mut sums),
                    _ => add_channel(&padded, each::<_, FEW>(filter), geometry.kernel, pitch, &mut sums),
                },
            );
        }
        sums
    });
    let mut output = vec![0.0; shape.batch * shape.outputs * height * width];
    for ((image, row), sums) in strips.into_iter().zip(sums) {
        let rows = STRIP.min(height - row);
        for (channel, sums) in sums.chunks_exact(rows * pitch).enumerate() {
            let to = &mut output[((image * shape.outputs + channel) * height + row) * width..][..rows * width];
            for (to, from) in to.chunks_exact_mut(width).zip(sums.chunks_exact(pitch)) {
                to.copy_from_slice(&from[..width]);
            }
        }
    }
    output
}

/// One row of the padded picture.
fn pad_row(plane: &[f32], [height, width]: [usize; 2], row: usize, geometry: Geometry, to: &mut [f32]) {
    let Some(row) = geometry.source(row, height) else {
        to.fill(0.0);
        return;
    };
    let from = &plane[row * width..][..width];
    let padding = geometry.padding;
    to[padding..padding + width].copy_from_slice(from);
    if geometry.border == Border::Reflect {
        for column in (0..padding).chain(padding + width..2 * padding + width) {
            to[column] = geometry.source(column, width).map_or(0.0, |column| from[column]);
        }
    }
}

/// Adds one input channel's share to `sums[output][row][column]`.
#[inline(always)]
fn add_channel<const N: usize>(padded: &[f32], filters: [&[f32]; N], kernel: usize, pitch: usize, sums: &mut [f32]) {
    let rows = sums.len() / (N * pitch);
    for row in 0..rows {
        for start in (0..pitch - kernel).step_by(WIDTH) {
            let at = |output: usize| (output * rows + row) * pitch + start;
            let mut totals: [[Lanes; WIDTH / LANES]; N] = each(
                #[inline(always)]
                |output| {
                    each(
                        #[inline(always)]
                        |part| Lanes::whole(&sums[at(output) + part * LANES..]),
                    )
                },
            );
            for vertical in 0..kernel {
                let line = &padded[(row + vertical) * pitch + start..][..WIDTH + kernel];
                for horizontal in 0..kernel {
                    let values: [Lanes; WIDTH / LANES] = each(
                        #[inline(always)]
                        |part| Lanes::whole(&line[horizontal + part * LANES..]),
                    );
                    for (totals, filter) in totals.iter_mut().zip(filters) {
                        let factor = filter[vertical * kernel + horizontal];
                        for (total, value) in totals.iter_mut().zip(values) {
                            *total = Lanes(each(
                                #[inline(always)]
                                |lane| multiply_add(value.0[lane], factor, total.0[lane]),
                            ));
                        }
                    }
                }
            }
            for (output, totals) in totals.into_iter().enumerate() {
                for (part, total) in totals.into_iter().enumerate() {
                    total.store_whole(&mut sums[at(output) + part * LANES..]);
                }
            }
        }
    }
}
