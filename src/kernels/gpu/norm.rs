//! Instance normalisation on a GPU.
//!
//! A cube has a plane, or a chunk of it where planes are large: then a first launch sums the chunks. Launches cost more
//! than arithmetic, so that is one launch where others take three, with two barriers. The forward pass keeps mean and
//! 1/σ of every plane for the backward pass. Floor: the input is read twice (in the gradient both inputs are), the
//! output written once: 12 bytes a value, 20 in the gradient; the second reading comes from the cache for planes that fit
//! into it.

use burn::tensor::TensorMetadata;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeRuntime, cubecl};
use cubecl::prelude::*;

use super::{cube_sums, empty};
use crate::kernels::NORM_EPSILON;

/// The most pixels of a chunk, unless there would be more than [`CHUNKS`].
const CHUNK: usize = 4096;

/// The most chunks of a plane: every unit of the second launch adds up their sums.
const CHUNKS: usize = 64;

/// The root of a cube's units: a software adapter takes them over a barrier one after the other, and with 64 of them a
/// plane of 16×16 pixels takes 2.5 times as long.
const SIDE: u32 = 4;

/// The two sums of a plane's chunks, `sums[plane, chunk, 2]`.
#[cube]
fn chunk_sums(sums: &Array<f32>, plane: u32, chunks: u32) -> (f32, f32) {
    let mut first = 0.0f32;
    let mut second = 0.0f32;
    for chunk in 0..chunks {
        let at = 2 * (plane * chunks + chunk);
        first += sums[at as usize];
        second += sums[(at + 1) as usize];
    }
    (first, second)
}

/// A cube's number. There may be a few more cubes than chunks in all, which do the last one's work again: a condition
/// around a barrier would have to be proven uniform.
#[cube]
fn cube_number(count: u32) -> u32 {
    min(CUBE_POS_Y * CUBE_COUNT_X + CUBE_POS_X, count - 1)
}

/// Sums of a chunk's values and of their squares, both counted from the plane's first value, without which a large
/// mean would cost the variance its digits.
#[cube]
fn value_sums(input: &Array<f32>, plane: u32, start: u32, end: u32, pixels: u32) -> (f32, f32) {
    let origin = plane * pixels;
    let shift = input[origin as usize];
    let mut sum = 0.0f32;
    let mut squares = 0.0f32;
    let mut pixel = start + UNIT_POS_X;
    while pixel < end {
        let value = input[(origin + pixel) as usize] - shift;
        sum += value;
        squares += value * value;
        pixel += SIDE * SIDE;
    }
    cube_sums(sum, squares, SIDE)
}

/// Sums of a chunk's gradient before the activation, alone and times the normalised value.
#[cube]
fn grad_sums(
    input: &Array<f32>,
    grad: &Array<f32>,
    moments: &Array<f32>,
    plane: u32,
    start: u32,
    end: u32,
    pixels: u32,
    slope: f32,
) -> (f32, f32) {
    let origin = plane * pixels;
    let mean = moments[(2 * plane) as usize];
    let scale = moments[(2 * plane + 1) as usize];
    let mut sum = 0.0f32;
    let mut along = 0.0f32;
    let mut pixel = start + UNIT_POS_X;
    while pixel < end {
        let place = (origin + pixel) as usize;
        let unit = (input[place] - mean) * scale;
        let grad = if unit > 0.0f32 { grad[place] } else { grad[place] * slope };
        sum += grad;
        along += grad * unit;
        pixel += SIDE * SIDE;
    }
    cube_sums(sum, along, SIDE)
}

/// [`value_sums`] of every chunk, `sums[plane, chunk, 2]`.
#[cube(launch_unchecked)]
fn sum_values(input: &Array<f32>, sums: &mut Array<f32>, planes: u32, pixels: u32, chunks: u32, chunk: u32) {
    let number = cube_number(planes * chunks);
    let start = number % chunks * chunk;
    let (sum, squares) = value_sums(input, number / chunks, start, min(start + chunk, pixels), pixels);
    if UNIT_POS_X == 0 {
        sums[(2 * number) as usize] = sum;
        sums[(2 * number + 1) as usize] = squares;
    }
}

/// `(input − mean) / σ`, then leaky ReLU, and what is skipped added; and every plane's mean and 1/σ,
/// `moments[plane, 2]`. With `whole` a chunk is a plane, and `sums` is not read.
#[cube(launch_unchecked)]
fn normalise(
    input: &Array<f32>,
    skipped: &Array<f32>,
    sums: &Array<f32>,
    moments: &mut Array<f32>,
    output: &mut Array<f32>,
    planes: u32,
    pixels: u32,
    chunks: u32,
    chunk: u32,
    slope: f32,
    epsilon: f32,
    #[comptime] skips: bool,
    #[comptime] whole: bool,
) {
    let number = cube_number(planes * chunks);
    let plane = number / chunks;
    let start = number % chunks * chunk;
    let end = min(start + chunk, pixels);
    let (sum, squares) =
        if comptime!(whole) { value_sums(input, plane, start, end, pixels) } else { chunk_sums(sums, plane, chunks) };
    let origin = plane * pixels;
    let count = f32::cast_from(pixels);
    let from_shift = sum / count;
    let variance = max(squares / count - from_shift * from_shift, 0.0f32);
    let mean = from_shift + input[origin as usize];
    let scale = 1.0f32 / (variance + epsilon).sqrt();
    if UNIT_POS_X == 0 && start == 0 {
        moments[(2 * plane) as usize] = mean;
        moments[(2 * plane + 1) as usize] = scale;
    }
    let mut pixel = start + UNIT_POS_X;
    while pixel < end {
        let place = (origin + pixel) as usize;
        let unit = (input[place] - mean) * scale;
        let mut value = if unit > 0.0f32 { unit } else { unit * slope };
        if comptime!(skips) {
            value += skipped[place];
        }
        output[place] = value;
        pixel += SIDE * SIDE;
    }
}

/// [`grad_sums`] of every chunk, `sums[plane, chunk, 2]`.
#[cube(launch_unchecked)]
fn sum_grads(
    input: &Array<f32>,
    grad: &Array<f32>,
    moments: &Array<f32>,
    sums: &mut Array<f32>,
    planes: u32,
    pixels: u32,
    chunks: u32,
    chunk: u32,
    slope: f32,
) {
    let number = cube_number(planes * chunks);
    let start = number % chunks * chunk;
    let end = min(start + chunk, pixels);
    let (sum, along) = grad_sums(input, grad, moments, number / chunks, start, end, pixels, slope);
    if UNIT_POS_X == 0 {
        sums[(2 * number) as usize] = sum;
        sums[(2 * number + 1) as usize] = along;
    }
}

/// The gradient of the input: `(g − mean(g) − unit · mean(g · unit)) / σ`. With `whole` a chunk is a plane, and `sums`
/// is not read.
#[cube(launch_unchecked)]
fn normalise_grad(
    input: &Array<f32>,
    grad: &Array<f32>,
    moments: &Array<f32>,
    sums: &Array<f32>,
    output: &mut Array<f32>,
    planes: u32,
    pixels: u32,
    chunks: u32,
    chunk: u32,
    slope: f32,
    #[comptime] whole: bool,
) {
    let number = cube_number(planes * chunks);
    let plane = number / chunks;
    let start = number % chunks * chunk;
    let end = min(start + chunk, pixels);
    let (sum, along) = if comptime!(whole) {
        grad_sums(input, grad, moments, plane, start, end, pixels, slope)
    } else {
        chunk_sums(sums, plane, chunks)
    };
    let count = f32::cast_from(pixels);
    let (mean_grad, mean_along) = (sum / count, along / count);
    let origin = plane * pixels;
    let mean = moments[(2 * plane) as usize];
    let scale = moments[(2 * plane + 1) as usize];
    let mut pixel = start + UNIT_POS_X;
    while pixel < end {
        let place = (origin + pixel) as usize;
        let unit = (input[place] - mean) * scale;
        let grad = if unit > 0.0f32 { grad[place] } else { grad[place] * slope };
        output[place] = (grad - mean_grad - unit * mean_along) * scale;
        pixel += SIDE * SIDE;
    }
}

/// How a normalisation is cut up.
struct Planes {
    count: usize,
    pixels: usize,
    chunks: usize,
    /// Pixels of a chunk; the last one may have fewer.
    chunk: usize,
}

impl Planes {
    fn of<R: CubeRuntime>(input: &CubeTensor<R>) -> Self {
        let [batch, channels, height, width] = input.shape().dims();
        let pixels = height * width;
        let chunk = pixels.div_ceil(pixels.div_ceil(CHUNK).clamp(1, CHUNKS)).max(1);
        Self { count: batch * channels, pixels, chunks: pixels.div_ceil(chunk).max(1), chunk }
    }

    /// One cube a chunk, in rows: a row has at most 65,535 of them in WebGPU.
    fn cubes(&self) -> CubeCount {
        let cubes = (self.count * self.chunks) as u32;
        let rows = cubes.div_ceil(1 << 15).max(1);
        CubeCount::Static(cubes.div_ceil(rows), rows, 1)
    }

    fn whole(&self) -> bool {
        self.chunks == 1
    }

    fn sums<R: CubeRuntime>(&self, like: &CubeTensor<R>) -> CubeTensor<R> {
        empty(like, [self.count, self.chunks, 2])
    }
}

/// See [`crate::kernels::Kernels::instance_norm`].
pub fn instance_norm<R: CubeRuntime>(
    input: CubeTensor<R>,
    skipped: Option<CubeTensor<R>>,
    slope: f32,
) -> (CubeTensor<R>, CubeTensor<R>) {
    let planes = Planes::of(&input);
    let input = into_contiguous(input);
    let (moments, output) = (empty(&input, [planes.count, 2]), empty(&input, input.shape().dims::<4>()));
    let (count, pixels) = (planes.count as u32, planes.pixels as u32);
    let (chunks, chunk) = (planes.chunks as u32, planes.chunk as u32);
    let client = input.client.clone();
    let skips = skipped.is_some();
    let skipped = skipped.map_or_else(|| input.clone(), into_contiguous);
    #[allow(unsafe_code, reason = "the kernels keep to their chunk, which ends with its plane")]
    unsafe {
        let sums = if planes.whole() {
            input.clone()
        } else {
            let sums = planes.sums(&input);
            sum_values::launch_unchecked::<R>(
                &client,
                planes.cubes(),
                CubeDim::new_1d(SIDE * SIDE),
                input.clone().into_array_arg(),
                sums.clone().into_array_arg(),
                count,
                pixels,
                chunks,
                chunk,
            );
            sums
        };
        normalise::launch_unchecked::<R>(
            &client,
            planes.cubes(),
            CubeDim::new_1d(SIDE * SIDE),
            input.into_array_arg(),
            skipped.into_array_arg(),
            sums.into_array_arg(),
            moments.clone().into_array_arg(),
            output.clone().into_array_arg(),
            count,
            pixels,
            chunks,
            chunk,
            slope,
            NORM_EPSILON as f32,
            skips,
            planes.whole(),
        );
    }
    (output, moments)
}

/// See [`crate::kernels::Kernels::instance_norm_grad`].
pub fn instance_norm_grad<R: CubeRuntime>(
    input: CubeTensor<R>,
    moments: CubeTensor<R>,
    grad: CubeTensor<R>,
    slope: f32,
) -> CubeTensor<R> {
    let planes = Planes::of(&input);
    let [input, moments, grad] = [input, moments, grad].map(into_contiguous);
    let output = empty(&input, input.shape().dims::<4>());
    let (count, pixels) = (planes.count as u32, planes.pixels as u32);
    let (chunks, chunk) = (planes.chunks as u32, planes.chunk as u32);
    let client = input.client.clone();
    #[allow(unsafe_code, reason = "the kernels keep to their chunk, which ends with its plane")]
    unsafe {
        let sums = if planes.whole() {
            moments.clone()
        } else {
            let sums = planes.sums(&input);
            sum_grads::launch_unchecked::<R>(
                &client,
                planes.cubes(),
                CubeDim::new_1d(SIDE * SIDE),
                input.clone().into_array_arg(),
                grad.clone().into_array_arg(),
                moments.clone().into_array_arg(),
                sums.clone().into_array_arg(),
                count,
                pixels,
                chunks,
                chunk,
                slope,
            );
            sums
        };
        normalise_grad::launch_unchecked::<R>(
            &client,
            planes.cubes(),
            CubeDim::new_1d(SIDE * SIDE),
            input.into_array_arg(),
            grad.into_array_arg(),
            moments.into_array_arg(),
            sums.into_array_arg(),
            output.clone().into_array_arg(),
            count,
            pixels,
            chunks,
            chunk,
            slope,
            planes.whole(),
        );
    }
    output
}
