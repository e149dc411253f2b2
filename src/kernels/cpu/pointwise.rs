//! Instance normalisation and Adam: one pass or two over memory, in the widest vectors at hand. The
//! floors stand at [`super::super::Kernels`]: bytes decide, not operations.

use crate::kernels::{AdamStep, NORM_EPSILON};
use crate::platform::parallel;
use crate::platform::simd::vectorised;

/// Sums of the `N` values of `term(i)` over a plane, in 16 lanes that the compiler keeps in vector registers.
#[inline(always)]
fn sums<const N: usize>(length: usize, term: impl Fn(usize) -> [f32; N]) -> [f64; N] {
    const LANES: usize = 16;
    let mut totals = [0.0f64; N];
    let whole = length / LANES * LANES;
    // A pause every 1,024 × 16 terms keeps rounding small on large pictures.
    for start in (0..whole).step_by(1024 * LANES) {
        let mut lanes = [[0.0f32; LANES]; N];
        for base in (start..(start + 1024 * LANES).min(whole)).step_by(LANES) {
            for lane in 0..LANES {
                let values = term(base + lane);
                for (sums, value) in lanes.iter_mut().zip(values) {
                    sums[lane] += value;
                }
            }
        }
        for (total, sums) in totals.iter_mut().zip(lanes) {
            *total += sums.iter().map(|sum| f64::from(*sum)).sum::<f64>();
        }
    }
    for index in whole..length {
        for (total, value) in totals.iter_mut().zip(term(index)) {
            *total += f64::from(value);
        }
    }
    totals
}

/// Mean and 1/σ of a plane.
#[inline(always)]
fn moments(plane: &[f32]) -> (f32, f32) {
    let count = plane.len() as f64;
    let mean = (sums(plane.len(), |i| [plane[i]])[0] / count) as f32;
    let variance = sums(plane.len(), |i| [(plane[i] - mean) * (plane[i] - mean)])[0] / count;
    (mean, ((variance + NORM_EPSILON).sqrt().recip()) as f32)
}

/// Instance normalisation of planes of `pixels` each, then leaky ReLU; see [`super::super::Kernels::instance_norm`].
/// Of the planes `from`, or in place.
pub fn instance_norm(planes: &mut [f32], from: Option<&[f32]>, pixels: usize, slope: f32) {
    parallel::chunks_mut(planes, pixels, |index, plane| {
        if let Some(from) = from {
            plane.copy_from_slice(&from[index * pixels..][..pixels]);
        }
        vectorised(
            #[inline(always)]
            || {
                let (mean, scale) = moments(plane);
                for value in plane.iter_mut() {
                    let unit = (*value - mean) * scale;
                    *value = unit * if unit > 0.0 { 1.0 } else { slope };
                }
            },
        );
    });
}

/// The gradient of [`instance_norm`]'s input.
pub fn instance_norm_grad(input: &[f32], output_grad: &[f32], pixels: usize, slope: f32) -> Vec<f32> {
    let mut input_grad = vec![0.0; input.len()];
    parallel::chunks_mut(&mut input_grad, pixels, |index, to| {
        let from = &input[index * pixels..][..pixels];
        let grad = &output_grad[index * pixels..][..pixels];
        vectorised(
            #[inline(always)]
            || {
                let (mean, scale) = moments(from);
                let unit_and_grad = |i: usize| {
                    let unit = (from[i] - mean) * scale;
                    (unit, grad[i] * if unit > 0.0 { 1.0 } else { slope })
                };
                let [total, along] = sums(pixels, |i| {
                    let (unit, grad) = unit_and_grad(i);
                    [grad, grad * unit]
                });
                let count = pixels as f64;
                let (average, along) = ((total / count) as f32, (along / count) as f32);
                for (i, to) in to.iter_mut().enumerate() {
                    let (unit, grad) = unit_and_grad(i);
                    *to = (grad - average - unit * along) * scale;
                }
            },
        );
    });
    input_grad
}

/// One Adam step in place; see [`super::Kernels::adam`].
pub fn adam(parameter: &mut [f32], grad: &[f32], first: &mut [f32], second: &mut [f32], step: AdamStep) {
    let [keep_first, keep_second] = step.betas.map(|beta| beta as f32);
    let [take_first, take_second] = step.betas.map(|beta| (1.0 - beta) as f32);
    let [correct_first, correct_second] = step.corrections();
    let (rate, scale) = ((step.rate / correct_first) as f32, correct_second.sqrt().recip() as f32);
    let epsilon = step.epsilon as f32;
    vectorised(
        #[inline(always)]
        || {
            for (((parameter, grad), first), second) in parameter.iter_mut().zip(grad).zip(first).zip(second) {
                *first = *first * keep_first + grad * take_first;
                *second = *second * keep_second + grad * grad * take_second;
                *parameter -= rate * *first / (second.sqrt() * scale + epsilon);
            }
        },
    );
}
