//! Instance normalisation by a cube a plane, for GPUs with fast workgroup memory: one launch each way.
//!
//! The forward pass keeps mean and 1/σ of every plane for the backward pass. Floor: a plane is read once from memory and again
//! from the cache, and written once: 8 bytes a value, 12 with a sum and in the gradient.

use burn::tensor::TensorMetadata;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeRuntime, cubecl};
use cubecl::prelude::*;

use super::empty;
use crate::kernels::NORM_EPSILON;

/// Units of a cube for a small plane, which WebGPU grants everywhere, and for a large one where the adapter has them: powers of
/// two.
const TEAMS: [u32; 2] = [256, 1024];

/// Pixels of a large plane.
const LARGE: usize = 1 << 14;

/// Most planes of a launch: WebGPU's limit of cubes in a row.
const MOST_PLANES: usize = 65_535;

/// The sums of two numbers over a cube, in an order that never changes.
#[cube]
fn total(first: f32, second: f32, #[comptime] team: u32) -> (f32, f32) {
    let mut sums = SharedMemory::<f32>::new(comptime!(2 * team as usize));
    sums[UNIT_POS_X as usize] = first;
    sums[(UNIT_POS_X + team) as usize] = second;
    let mut apart = comptime!(team / 2).runtime();
    sync_cube();
    while apart > 0 {
        if UNIT_POS_X < apart {
            let (own, other) = (UNIT_POS_X as usize, (UNIT_POS_X + apart) as usize);
            sums[own] += sums[other];
            sums[own + comptime!(team as usize)] += sums[other + comptime!(team as usize)];
        }
        sync_cube();
        apart /= 2;
    }
    (sums[0], sums[comptime!(team as usize)])
}

/// The sum of a vector's lanes.
#[cube]
fn lanes<N: Size>(vector: Vector<f32, N>, #[comptime] width: u32) -> f32 {
    let mut sum = 0.0f32;
    #[unroll]
    for lane in 0..width {
        sum += vector[lane as usize];
    }
    sum
}

/// Mean and 1/σ of a plane. Squares are counted from its first value, without which a large mean would cost the
/// variance its digits.
#[cube]
fn moments<N: Size>(
    input: &Array<Vector<f32, N>>,
    start: u32,
    vectors: u32,
    epsilon: f32,
    #[comptime] width: u32,
    #[comptime] team: u32,
) -> (f32, f32) {
    let shift = input[start as usize][0];
    let mut sum = Vector::<f32, N>::new(0.0);
    let mut squares = Vector::<f32, N>::new(0.0);
    let mut at = UNIT_POS_X;
    while at < vectors {
        let value = input[(start + at) as usize] - Vector::new(shift);
        sum += value;
        squares += value * value;
        at += team;
    }
    let (sum, squares) = total(lanes::<N>(sum, width), lanes::<N>(squares, width), team);
    let count = f32::cast_from(vectors * width);
    let mean = sum / count;
    let variance = max(squares / count - mean * mean, 0.0f32);
    (mean + shift, 1.0f32 / (variance + epsilon).sqrt())
}

/// `(input − mean) / σ`, then leaky ReLU, and what is skipped added; and every plane's mean and 1/σ, `moments[plane, 2]`.
#[cube(launch_unchecked)]
fn normalise<N: Size>(
    input: &Array<Vector<f32, N>>,
    skipped: &Array<Vector<f32, N>>,
    output: &mut Array<Vector<f32, N>>,
    kept: &mut Array<f32>,
    vectors: u32,
    epsilon: f32,
    slope: f32,
    #[comptime] skips: bool,
    #[comptime] width: u32,
    #[comptime] team: u32,
) {
    let start = CUBE_POS_X * vectors;
    let (mean, scale) = moments::<N>(input, start, vectors, epsilon, width, team);
    if UNIT_POS_X == 0 {
        kept[(2 * CUBE_POS_X) as usize] = mean;
        kept[(2 * CUBE_POS_X + 1) as usize] = scale;
    }
    let mut at = UNIT_POS_X;
    while at < vectors {
        let mut units = (input[(start + at) as usize] - Vector::new(mean)) * Vector::new(scale);
        #[unroll]
        for lane in 0..width {
            let unit = units[lane as usize];
            units[lane as usize] = select(unit > 0.0f32, unit, unit * slope);
        }
        if comptime!(skips) {
            units += skipped[(start + at) as usize];
        }
        output[(start + at) as usize] = units;
        at += team;
    }
}

/// The gradient of the input: `(g − mean(g) − unit · mean(g · unit)) / σ`, where `g` is the one before the activation.
#[cube(launch_unchecked)]
fn normalise_grad<N: Size>(
    input: &Array<Vector<f32, N>>,
    grad: &Array<Vector<f32, N>>,
    kept: &Array<f32>,
    output: &mut Array<Vector<f32, N>>,
    vectors: u32,
    slope: f32,
    #[comptime] width: u32,
    #[comptime] team: u32,
) {
    let start = CUBE_POS_X * vectors;
    let mean = kept[(2 * CUBE_POS_X) as usize];
    let scale = kept[(2 * CUBE_POS_X + 1) as usize];
    let mut sum = Vector::<f32, N>::new(0.0);
    let mut along = Vector::<f32, N>::new(0.0);
    let mut at = UNIT_POS_X;
    while at < vectors {
        let place = (start + at) as usize;
        let units = (input[place] - Vector::new(mean)) * Vector::new(scale);
        let grads = activated::<N>(grad[place], units, slope, width);
        sum += grads;
        along += grads * units;
        at += team;
    }
    let (sum, along) = total(lanes::<N>(sum, width), lanes::<N>(along, width), team);
    let count = f32::cast_from(vectors * width);
    let (sum, along) = (sum / count, along / count);
    let mut at = UNIT_POS_X;
    while at < vectors {
        let place = (start + at) as usize;
        let units = (input[place] - Vector::new(mean)) * Vector::new(scale);
        let grads = activated::<N>(grad[place], units, slope, width);
        output[place] = (grads - Vector::new(sum) - units * Vector::new(along)) * Vector::new(scale);
        at += team;
    }
}

/// The gradient in front of leaky ReLU.
#[cube]
fn activated<N: Size>(
    grad: Vector<f32, N>,
    units: Vector<f32, N>,
    slope: f32,
    #[comptime] width: u32,
) -> Vector<f32, N> {
    let mut grads = grad;
    #[unroll]
    for lane in 0..width {
        let grad = grads[lane as usize];
        grads[lane as usize] = select(units[lane as usize] > 0.0f32, grad, grad * slope);
    }
    grads
}

/// A launch: planes, vectors of one, and how many units work on it.
struct Launch {
    planes: u32,
    vectors: u32,
    width: u32,
    team: u32,
}

impl Launch {
    fn of<R: CubeRuntime>(maps: &CubeTensor<R>) -> Self {
        let [batch, channels, height, width] = maps.shape().dims();
        let pixels = height * width;
        let granted = maps.client.properties().hardware.max_units_per_cube;
        let large = pixels >= LARGE && granted >= TEAMS[1];
        let width = if pixels.is_multiple_of(4) { 4 } else { 1 };
        Self {
            planes: (batch * channels) as u32,
            vectors: (pixels / width) as u32,
            width: width as u32,
            team: TEAMS[usize::from(large)],
        }
    }
}

/// Whether maps have as many planes as one launch can take.
pub fn suits<R: CubeRuntime>(maps: &CubeTensor<R>) -> bool {
    let [batch, channels, ..] = maps.shape().dims::<4>();
    batch * channels <= MOST_PLANES
}

/// See [`crate::kernels::Kernels::instance_norm`].
pub fn instance_norm<R: CubeRuntime>(
    input: CubeTensor<R>,
    skipped: Option<CubeTensor<R>>,
    slope: f32,
) -> (CubeTensor<R>, CubeTensor<R>) {
    let Launch { planes, vectors, width, team } = Launch::of(&input);
    let input = into_contiguous(input);
    let skips = skipped.is_some();
    let skipped = skipped.map_or_else(|| input.clone(), into_contiguous);
    let (output, kept) = (empty(&input, input.shape().dims::<4>()), empty(&input, [planes as usize, 2]));
    let client = input.client.clone();
    #[allow(unsafe_code, reason = "a cube reads and writes the vectors of its own plane, of which there are as many")]
    unsafe {
        normalise::launch_unchecked::<R>(
            &client,
            CubeCount::Static(planes, 1, 1),
            CubeDim::new_1d(team),
            width as usize,
            input.into_array_arg(),
            skipped.into_array_arg(),
            output.clone().into_array_arg(),
            kept.clone().into_array_arg(),
            vectors,
            NORM_EPSILON as f32,
            slope,
            skips,
            width,
            team,
        );
    }
    (output, kept)
}

/// See [`crate::kernels::Kernels::instance_norm_grad`].
pub fn instance_norm_grad<R: CubeRuntime>(
    input: CubeTensor<R>,
    moments: CubeTensor<R>,
    grad: CubeTensor<R>,
    slope: f32,
) -> CubeTensor<R> {
    let Launch { planes, vectors, width, team } = Launch::of(&input);
    let [input, moments, grad] = [input, moments, grad].map(into_contiguous);
    let output = empty(&input, input.shape().dims::<4>());
    let client = input.client.clone();
    #[allow(unsafe_code, reason = "a cube reads and writes the vectors of its own plane, of which there are as many")]
    unsafe {
        normalise_grad::launch_unchecked::<R>(
            &client,
            CubeCount::Static(planes, 1, 1),
            CubeDim::new_1d(team),
            width as usize,
            input.into_array_arg(),
            grad.into_array_arg(),
            moments.into_array_arg(),
            output.clone().into_array_arg(),
            vectors,
            slope,
            width,
            team,
        );
    }
    output
}
