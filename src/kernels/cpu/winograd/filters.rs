//! The way of a weight into the filters' spectra and back: `G·w·Gᵀ` and its adjoint.
//!
//! Both go column by column first and keep one output's `PATCH × 3` values of every input in the first cache, so that spectra,
//! which have only room in the second, are written and read in long runs. Floor: 36/9 (16/9) of the weight's bytes, 72 (28)
//! operations a filter.

use std::ops::Range;

use super::super::Layer;
use super::super::lanes::{LANES, Lanes, each};
use super::transforms::{F, Transforms};
use super::{SIDE, TAPS};
use crate::platform::simd::vectorised;
use crate::platform::{parallel, scratch};

/// `[output][frequency][input]` of some outputs and inputs, from a weight `[output][input][3 × 3]`.
pub fn filter_spectra<const TILE: usize, const PATCH: usize>(
    weight: &[f32],
    layer: Layer,
    outputs: Range<usize>,
    inputs: Range<usize>,
    spectra: &mut [f32],
) where
    F<TILE, PATCH>: Transforms<TILE, PATCH>,
{
    let count = inputs.len();
    let pitch = count.next_multiple_of(LANES);
    scratch::with([PATCH * SIDE * pitch], |[half]| {
        for (output, to) in outputs.zip(spectra.chunks_exact_mut(PATCH * PATCH * count)) {
            let from = &weight[(output * layer.inputs + inputs.start) * TAPS..][..count * TAPS];
            vectorised(
                #[inline(always)]
                || {
                    for start in vectors(count) {
                        let taps = Lanes::deinterleave::<TAPS>(&from[start * TAPS..]);
                        for column in 0..SIDE {
                            let values = F::<TILE, PATCH>::filter(each(
                                #[inline(always)]
                                |row| taps[row * SIDE + column],
                            ));
                            for (row, values) in values.into_iter().enumerate() {
                                values.store_whole(&mut half[(row * SIDE + column) * pitch + start..]);
                            }
                        }
                    }
                    for (from, to) in half.chunks_exact(SIDE * pitch).zip(to.chunks_exact_mut(PATCH * count)) {
                        along(from, to, count, F::<TILE, PATCH>::filter);
                    }
                },
            );
        }
    });
}

/// The adjoint of [`filter_spectra`].
pub fn filter_spectra_adjoint<const TILE: usize, const PATCH: usize>(spectra: &[f32], layer: Layer) -> Vec<f32>
where
    F<TILE, PATCH>: Transforms<TILE, PATCH>,
{
    let inputs = layer.inputs;
    let pitch = inputs.next_multiple_of(LANES);
    let mut weight = vec![0.0; layer.outputs * inputs * TAPS];
    parallel::chunks_mut(&mut weight, inputs * TAPS, |output, to| {
        let from = &spectra[output * PATCH * PATCH * inputs..][..PATCH * PATCH * inputs];
        scratch::with([PATCH * SIDE * pitch], |[half]| {
            vectorised(
                #[inline(always)]
                || {
                    for (from, to) in from.chunks_exact(PATCH * inputs).zip(half.chunks_exact_mut(SIDE * pitch)) {
                        along(from, to, inputs, F::<TILE, PATCH>::filter_adjoint);
                    }
                    for start in vectors(inputs) {
                        let columns: [[Lanes; SIDE]; SIDE] = each(
                            #[inline(always)]
                            |column| {
                                F::<TILE, PATCH>::filter_adjoint(each(
                                    #[inline(always)]
                                    |row| Lanes::whole(&half[(row * SIDE + column) * pitch + start..]),
                                ))
                            },
                        );
                        let taps: [Lanes; TAPS] = each(
                            #[inline(always)]
                            |tap| columns[tap % SIDE][tap / SIDE],
                        );
                        Lanes::interleave(taps, &mut to[start * TAPS..]);
                    }
                },
            );
        });
    });
    weight
}

/// Where the vectors of so many filters begin.
fn vectors(filters: usize) -> impl Iterator<Item = usize> {
    (0..filters).step_by(LANES)
}

/// A transform of the first `count` of every `N` rows of equal length into those of `M` rows.
#[inline(always)]
fn along<const N: usize, const M: usize>(
    from: &[f32],
    to: &mut [f32],
    count: usize,
    transform: impl Fn([Lanes; N]) -> [Lanes; M],
) {
    let (pitch, places) = (from.len() / N, to.len() / M);
    for start in vectors(count) {
        let values = transform(each(
            #[inline(always)]
            |row| Lanes::load(&from[row * pitch..][start..count]),
        ));
        for row in 0..M {
            values[row].store(&mut to[row * places..][start..count]);
        }
    }
}
