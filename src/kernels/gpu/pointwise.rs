//! Instance normalisation and Adam on a GPU.
//!
//! A plane is summed in slices by units of their own, the slices by one unit a plane: three launches
//! without a barrier. Floor: the input is read twice (in the gradient both inputs are), the output written once:
//! 12 bytes a value, 20 in the gradient.

use burn::tensor::TensorMetadata;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeRuntime, cubecl};
use cubecl::prelude::*;

use super::{UNITS, elementwise, empty, position};
use crate::kernels::{AdamStep, NORM_EPSILON};

/// Slices of a plane.
const SLICES: usize = 64;

/// Per slice of a plane: the sums of its values and of their squares, both counted from the plane's
/// first value, without which a large mean would cost the variance its digits.
#[cube(launch_unchecked)]
fn sum_slices(input: &Array<f32>, sums: &mut Array<f32>, pixels: u32, slices: u32) {
    let at = position();
    if 2 * at < sums.len() as u32 {
        let start = at / slices * pixels;
        let shift = input[start as usize];
        let mut sum = 0.0f32;
        let mut squares = 0.0f32;
        let mut pixel = at % slices;
        while pixel < pixels {
            let value = input[(start + pixel) as usize] - shift;
            sum += value;
            squares += value * value;
            pixel += slices;
        }
        sums[(2 * at) as usize] = sum;
        sums[(2 * at + 1) as usize] = squares;
    }
}

/// Per plane its mean and 1/σ, from its slices' sums.
#[cube(launch_unchecked)]
fn finish_moments(
    input: &Array<f32>,
    sums: &Array<f32>,
    moments: &mut Array<f32>,
    pixels: u32,
    slices: u32,
    epsilon: f32,
) {
    let plane = position();
    if 2 * plane < moments.len() as u32 {
        let mut sum = 0.0f32;
        let mut squares = 0.0f32;
        for slice in 0..slices {
            let at = 2 * (plane * slices + slice);
            sum += sums[at as usize];
            squares += sums[(at + 1) as usize];
        }
        let count = f32::cast_from(pixels);
        let mean = sum / count;
        let variance = max(squares / count - mean * mean, 0.0f32);
        moments[(2 * plane) as usize] = mean + input[(plane * pixels) as usize];
        moments[(2 * plane + 1) as usize] = 1.0f32 / (variance + epsilon).sqrt();
    }
}

/// `(input − mean) / σ`, then leaky ReLU.
#[cube(launch_unchecked)]
fn normalise(input: &Array<f32>, moments: &Array<f32>, output: &mut Array<f32>, pixels: u32, slope: f32) {
    let at = position();
    if at < output.len() as u32 {
        let plane = at / pixels;
        let unit = (input[at as usize] - moments[(2 * plane) as usize]) * moments[(2 * plane + 1) as usize];
        output[at as usize] = if unit > 0.0f32 { unit } else { unit * slope };
    }
}

/// Per slice of a plane: the sums of the gradient before the activation, alone and times the normalised value.
#[cube(launch_unchecked)]
fn sum_grad_slices(
    input: &Array<f32>,
    grad: &Array<f32>,
    moments: &Array<f32>,
    sums: &mut Array<f32>,
    pixels: u32,
    slices: u32,
    slope: f32,
) {
    let at = position();
    if 2 * at < sums.len() as u32 {
        let plane = at / slices;
        let mean = moments[(2 * plane) as usize];
        let scale = moments[(2 * plane + 1) as usize];
        let mut sum = 0.0f32;
        let mut along = 0.0f32;
        let mut pixel = at % slices;
        while pixel < pixels {
            let place = (plane * pixels + pixel) as usize;
            let unit = (input[place] - mean) * scale;
            let grad = if unit > 0.0f32 { grad[place] } else { grad[place] * slope };
            sum += grad;
            along += grad * unit;
            pixel += slices;
        }
        sums[(2 * at) as usize] = sum;
        sums[(2 * at + 1) as usize] = along;
    }
}

/// Per plane the means of what [`sum_grad_slices`] summed.
#[cube(launch_unchecked)]
fn finish_means(sums: &Array<f32>, means: &mut Array<f32>, pixels: u32, slices: u32) {
    let at = position();
    if at < means.len() as u32 {
        let mut sum = 0.0f32;
        for slice in 0..slices {
            sum += sums[(2 * (at / 2 * slices + slice) + at % 2) as usize];
        }
        means[at as usize] = sum / f32::cast_from(pixels);
    }
}

/// The gradient of the input: `(g − mean(g) − unit · mean(g · unit)) / σ`.
#[cube(launch_unchecked)]
fn normalise_grad(
    input: &Array<f32>,
    grad: &Array<f32>,
    moments: &Array<f32>,
    means: &Array<f32>,
    output: &mut Array<f32>,
    pixels: u32,
    slope: f32,
) {
    let at = position();
    if at < output.len() as u32 {
        let first = (2 * (at / pixels)) as usize;
        let scale = moments[first + 1];
        let unit = (input[at as usize] - moments[first]) * scale;
        let grad = if unit > 0.0f32 { grad[at as usize] } else { grad[at as usize] * slope };
        output[at as usize] = (grad - means[first] - unit * means[first + 1]) * scale;
    }
}

/// Algorithm 1 of Kingma & Ba 2015 on every value: 16 bytes read, 12 written.
#[cube(launch_unchecked)]
fn adam_step(
    parameter: &Array<f32>,
    grad: &Array<f32>,
    first: &Array<f32>,
    second: &Array<f32>,
    new_parameter: &mut Array<f32>,
    new_first: &mut Array<f32>,
    new_second: &mut Array<f32>,
    keep_first: f32,
    keep_second: f32,
    rate: f32,
    scale: f32,
    epsilon: f32,
) {
    let at = position() as usize;
    if at < new_parameter.len() {
        let slope = grad[at];
        let mean = first[at] * keep_first + slope * (1.0f32 - keep_first);
        let square = second[at] * keep_second + slope * slope * (1.0f32 - keep_second);
        new_first[at] = mean;
        new_second[at] = square;
        new_parameter[at] = parameter[at] - rate * mean / (square.sqrt() * scale + epsilon);
    }
}

/// Sides of a normalisation.
struct Planes {
    count: usize,
    pixels: usize,
    slices: usize,
}

impl Planes {
    fn of<R: CubeRuntime>(input: &CubeTensor<R>) -> Self {
        let [batch, channels, height, width] = input.shape().dims();
        let pixels = height * width;
        Self { count: batch * channels, pixels, slices: pixels.clamp(1, SLICES) }
    }

    /// Mean and 1/σ of every plane: `[planes, 2]`.
    fn moments<R: CubeRuntime>(&self, input: &CubeTensor<R>) -> CubeTensor<R> {
        let (sums, moments) = (empty(input, [self.count, self.slices, 2]), empty(input, [self.count, 2]));
        let (pixels, slices) = (self.pixels as u32, self.slices as u32);
        let units = CubeDim::new_1d(UNITS);
        #[allow(unsafe_code, reason = "the kernels check their position against the buffer they write")]
        unsafe {
            sum_slices::launch_unchecked::<R>(
                &input.client,
                elementwise(self.count * self.slices),
                units,
                input.clone().into_array_arg(),
                sums.clone().into_array_arg(),
                pixels,
                slices,
            );
            finish_moments::launch_unchecked::<R>(
                &input.client,
                elementwise(self.count),
                units,
                input.clone().into_array_arg(),
                sums.into_array_arg(),
                moments.clone().into_array_arg(),
                pixels,
                slices,
                NORM_EPSILON as f32,
            );
        }
        moments
    }
}

/// See [`crate::kernels::Kernels::instance_norm`].
pub fn instance_norm<R: CubeRuntime>(input: CubeTensor<R>, slope: f32) -> CubeTensor<R> {
    let planes = Planes::of(&input);
    let input = into_contiguous(input);
    let moments = planes.moments(&input);
    let output = empty(&input, input.shape().dims::<4>());
    let client = input.client.clone();
    #[allow(unsafe_code, reason = "the kernel checks its position against the buffer it writes")]
    unsafe {
        normalise::launch_unchecked::<R>(
            &client,
            elementwise(planes.count * planes.pixels),
            CubeDim::new_1d(UNITS),
            input.into_array_arg(),
            moments.into_array_arg(),
            output.clone().into_array_arg(),
            planes.pixels as u32,
            slope,
        );
    }
    output
}

/// See [`crate::kernels::Kernels::instance_norm_grad`].
pub fn instance_norm_grad<R: CubeRuntime>(input: CubeTensor<R>, grad: CubeTensor<R>, slope: f32) -> CubeTensor<R> {
    let planes = Planes::of(&input);
    let (input, grad) = (into_contiguous(input), into_contiguous(grad));
    let moments = planes.moments(&input);
    let (sums, means) = (empty(&input, [planes.count, planes.slices, 2]), empty(&input, [planes.count, 2]));
    let output = empty(&input, input.shape().dims::<4>());
    let (pixels, slices) = (planes.pixels as u32, planes.slices as u32);
    let client = input.client.clone();
    let units = CubeDim::new_1d(UNITS);
    #[allow(unsafe_code, reason = "the kernels check their position against the buffer they write")]
    unsafe {
        sum_grad_slices::launch_unchecked::<R>(
            &client,
            elementwise(planes.count * planes.slices),
            units,
            input.clone().into_array_arg(),
            grad.clone().into_array_arg(),
            moments.clone().into_array_arg(),
            sums.clone().into_array_arg(),
            pixels,
            slices,
            slope,
        );
        finish_means::launch_unchecked::<R>(
            &client,
            elementwise(2 * planes.count),
            units,
            sums.into_array_arg(),
            means.clone().into_array_arg(),
            pixels,
            slices,
        );
        normalise_grad::launch_unchecked::<R>(
            &client,
            elementwise(planes.count * planes.pixels),
            units,
            input.into_array_arg(),
            grad.into_array_arg(),
            moments.into_array_arg(),
            means.into_array_arg(),
            output.clone().into_array_arg(),
            pixels,
            slope,
        );
    }
    output
}

/// See [`crate::kernels::Kernels::adam`].
pub fn adam<R: CubeRuntime>(
    parameter: CubeTensor<R>,
    grad: CubeTensor<R>,
    moments: [CubeTensor<R>; 2],
    step: AdamStep,
) -> (CubeTensor<R>, [CubeTensor<R>; 2]) {
    let [count] = parameter.shape().dims();
    let [parameter, grad] = [parameter, grad].map(into_contiguous);
    let [first, second] = moments.map(into_contiguous);
    let [new_parameter, new_first, new_second] = [(); 3].map(|()| empty(&parameter, [count]));
    let [correct_first, correct_second] = step.corrections();
    let client = parameter.client.clone();
    #[allow(unsafe_code, reason = "the kernel checks its position against the buffer it writes")]
    unsafe {
        adam_step::launch_unchecked::<R>(
            &client,
            elementwise(count),
            CubeDim::new_1d(UNITS),
            parameter.into_array_arg(),
            grad.into_array_arg(),
            first.into_array_arg(),
            second.into_array_arg(),
            new_parameter.clone().into_array_arg(),
            new_first.clone().into_array_arg(),
            new_second.clone().into_array_arg(),
            step.betas[0] as f32,
            step.betas[1] as f32,
            (step.rate / correct_first) as f32,
            correct_second.sqrt().recip() as f32,
            step.epsilon as f32,
        );
    }
    (new_parameter, [new_first, new_second])
}
