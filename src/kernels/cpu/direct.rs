//! Convolutions of stride 1 into a few channels, such as a generator's last: by the definition.
//!
//! With three output channels a matrix product would gather 49 copies of every input to use each
//! three times. Here a strip of one input channel stays in the first-level cache while all taps
//! and all outputs read it. Floor: as [`super::super::Kernels::convolve`]; the input is read once.

use super::lanes::{LANES, Lanes, each};
use super::{Filters, Layer};
use crate::platform::parallel;
use crate::platform::simd::{multiply_add, vectorised};

/// Most output channels this is for.
const FEW: usize = 4;
/// Vectors of neighbouring pixels that are summed at a time, to keep the multipliers busy.
const WIDTH: usize = 4 * LANES;
/// Output rows of a strip.
const STRIP: usize = 8;

/// Whether a convolution is one of those this module is for.
pub fn suits(layer: Layer) -> bool {
    layer.geometry.stride == 1 && layer.outputs <= FEW && layer.inputs > layer.outputs
}

/// Convolution forward.
pub fn conv2d(input: &[f32], filters: Filters, layer: Layer) -> Vec<f32> {
    let [down, across] = layer.axes();
    let (height, width, kernel, taps) = (down.output, across.output, layer.geometry.kernel, layer.taps());
    let plane = down.input * across.input;
    // Rows are rounded up to whole steps; what is too much is never copied out.
    let pitch = width.next_multiple_of(WIDTH) + kernel;
    let strips: Vec<(usize, usize)> =
        (0..layer.batch).flat_map(|image| (0..height).step_by(STRIP).map(move |row| (image, row))).collect();
    let sums = parallel::map(&strips, |&(image, row)| {
        let rows = STRIP.min(height - row);
        let mut padded = vec![0.0; (rows + kernel - 1) * pitch];
        let mut sums = vec![0.0; layer.outputs * rows * pitch];
        for (output, sums) in sums.chunks_exact_mut(rows * pitch).enumerate() {
            sums.fill(filters.bias(output));
        }
        for channel in 0..layer.inputs {
            let plane = &input[(image * layer.inputs + channel) * plane..][..plane];
            for (offset, line) in padded.chunks_exact_mut(pitch).enumerate() {
                match down.source(row + offset) {
                    Some(source) => across.pad(&plane[source * across.input..][..across.input], line),
                    None => line.fill(0.0),
                }
            }
            let filter = |output: usize| &filters.weight[(output * layer.inputs + channel) * taps..][..taps];
            vectorised(
                #[inline(always)]
                || match layer.outputs {
                    1 => add_channel(&padded, each::<_, 1>(filter), kernel, pitch, &mut sums),
                    2 => add_channel(&padded, each::<_, 2>(filter), kernel, pitch, &mut sums),
                    3 => add_channel(&padded, each::<_, 3>(filter), kernel, pitch, &mut sums),
                    _ => add_channel(&padded, each::<_, FEW>(filter), kernel, pitch, &mut sums),
                },
            );
        }
        sums
    });
    let mut output = vec![0.0; layer.batch * layer.outputs * height * width];
    for ((image, row), sums) in strips.into_iter().zip(sums) {
        let rows = STRIP.min(height - row);
        for (channel, sums) in sums.chunks_exact(rows * pitch).enumerate() {
            let to = &mut output[((image * layer.outputs + channel) * height + row) * width..][..rows * width];
            for (to, from) in to.chunks_exact_mut(width).zip(sums.chunks_exact(pitch)) {
                to.copy_from_slice(&from[..width]);
            }
        }
    }
    output
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
