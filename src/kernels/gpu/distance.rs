//! Mean distances on a GPU: one launch for maps, two for pictures, one for the gradient.

use burn::tensor::TensorMetadata;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeRuntime, cubecl};
use cubecl::prelude::*;

use super::{UNITS, cube_sums, elementwise, empty, position};
use crate::kernels::Goal;

/// The root of the units of a cube that sums distances: 256 units, the most that WebGPU promises.
const SIDE: u32 = 16;

/// Values that are worth a cube.
const VALUES: usize = 4096;

/// The most cubes: a single one adds up what they found, a value a unit.
const CUBES: usize = 256;

/// The difference of a value from its goal.
#[cube]
fn difference(
    values: &Array<f32>,
    planes: &Array<f32>,
    at: u32,
    half: u32,
    first: f32,
    second: f32,
    #[comptime] to_planes: bool,
) -> f32 {
    let mut goal = if at < half { first } else { second };
    if comptime!(to_planes) {
        goal = planes[at as usize];
    }
    values[at as usize] - goal
}

/// The sum of the distances that a cube comes by, times `share`: `sums[cube]`. Floor: 4 or 8 bytes read a value.
#[cube(launch_unchecked)]
fn sum_distances(
    values: &Array<f32>,
    planes: &Array<f32>,
    sums: &mut Array<f32>,
    count: u32,
    first: f32,
    second: f32,
    share: f32,
    #[comptime] to_planes: bool,
) {
    let units = comptime!(SIDE * SIDE);
    let mut sum = 0.0f32;
    let mut at = CUBE_POS_X * units + UNIT_POS_X;
    while at < count {
        let difference = difference(values, planes, at, count / 2, first, second, to_planes);
        if comptime!(to_planes) {
            sum += difference.abs();
        } else {
            sum += difference * difference;
        }
        at += CUBE_COUNT_X * units;
    }
    let (sum, _) = cube_sums(sum, 0.0f32, SIDE);
    if UNIT_POS_X == 0 {
        sums[CUBE_POS_X as usize] = sum * share;
    }
}

/// The sum of at most as many values as a cube has units.
#[cube(launch_unchecked)]
fn add_up(values: &Array<f32>, sum: &mut Array<f32>, count: u32) {
    let mut value = 0.0f32;
    if UNIT_POS_X < count {
        value = values[UNIT_POS_X as usize];
    }
    let (total, _) = cube_sums(value, 0.0f32, SIDE);
    if UNIT_POS_X == 0 {
        sum[0] = total;
    }
}

/// The gradient of every value. Floor: 4 or 8 bytes read, 4 written a value.
#[cube(launch_unchecked)]
fn grad_distances(
    values: &Array<f32>,
    planes: &Array<f32>,
    distance_grad: &Array<f32>,
    output: &mut Array<f32>,
    first: f32,
    second: f32,
    share: f32,
    #[comptime] to_planes: bool,
) {
    let at = position();
    let count = output.len() as u32;
    if at < count {
        let difference = difference(values, planes, at, count / 2, first, second, to_planes);
        let factor = distance_grad[0] * share;
        if comptime!(to_planes) {
            let mut sign = 0.0f32;
            if difference > 0.0f32 {
                sign = 1.0f32;
            } else if difference < 0.0f32 {
                sign = -1.0f32;
            }
            output[at as usize] = sign * factor;
        } else {
            output[at as usize] = 2.0f32 * difference * factor;
        }
    }
}

/// The planes or what stands for them, the numbers, and whether it is planes.
fn parts<R: CubeRuntime>(values: &CubeTensor<R>, goal: Goal<CubeTensor<R>>) -> (CubeTensor<R>, [f32; 2], bool) {
    match goal {
        Goal::Planes(planes) => (into_contiguous(planes), [0.0; 2], true),
        Goal::Numbers(numbers) => (values.clone(), numbers, false),
    }
}

/// See [`crate::kernels::Kernels::distance`].
pub fn distance<R: CubeRuntime>(values: CubeTensor<R>, goal: Goal<CubeTensor<R>>, weight: f32) -> CubeTensor<R> {
    let values = into_contiguous(values);
    let (planes, [first, second], to_planes) = parts(&values, goal);
    let count = values.shape().num_elements();
    let cubes = count.div_ceil(VALUES).clamp(1, CUBES);
    let result = empty(&values, [1]);
    let sums = if cubes == 1 { result.clone() } else { empty(&values, [cubes]) };
    let client = values.client.clone();
    let units = CubeDim::new_1d(SIDE * SIDE);
    #[allow(unsafe_code, reason = "the kernels read as many values as there are and write one a cube")]
    unsafe {
        sum_distances::launch_unchecked::<R>(
            &client,
            CubeCount::Static(cubes as u32, 1, 1),
            units,
            values.into_array_arg(),
            planes.into_array_arg(),
            sums.clone().into_array_arg(),
            count as u32,
            first,
            second,
            weight / count as f32,
            to_planes,
        );
        if cubes > 1 {
            add_up::launch_unchecked::<R>(
                &client,
                CubeCount::Static(1, 1, 1),
                units,
                sums.into_array_arg(),
                result.clone().into_array_arg(),
                cubes as u32,
            );
        }
    }
    result
}

/// See [`crate::kernels::Kernels::distance_grad`].
pub fn distance_grad<R: CubeRuntime>(
    values: CubeTensor<R>,
    goal: Goal<CubeTensor<R>>,
    weight: f32,
    distance_grad: CubeTensor<R>,
) -> CubeTensor<R> {
    let values = into_contiguous(values);
    let (planes, [first, second], to_planes) = parts(&values, goal);
    let output = empty(&values, values.shape().dims::<4>());
    let count = values.shape().num_elements();
    let client = values.client.clone();
    #[allow(unsafe_code, reason = "the kernel checks its position against the buffer it writes")]
    unsafe {
        grad_distances::launch_unchecked::<R>(
            &client,
            elementwise(count),
            CubeDim::new_1d(UNITS),
            values.into_array_arg(),
            planes.into_array_arg(),
            into_contiguous(distance_grad).into_array_arg(),
            output.clone().into_array_arg(),
            first,
            second,
            weight / count as f32,
            to_planes,
        );
    }
    output
}
