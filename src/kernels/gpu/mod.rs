//! The kernels on a GPU, written once in CubeCL for WGSL, SPIR-V and CUDA. f32 comes here, any other
//! type goes to the portable default.

mod activation;
mod adam;
mod bias;
mod convolution;
mod distance;
mod join;
mod norm;
mod planes;
mod tune;

use std::cell::Cell;

use burn::tensor::{DType, Shape, TensorMetadata};
use burn_cubecl::element::{BoolElement, IntElement};
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeBackend, CubeRuntime, cubecl};
use cubecl::ir::features::MmaConfig;
use cubecl::ir::{ElemType, FloatKind};
use cubecl::prelude::*;

pub use tune::{Choice, tune};

use super::{Activation, AdamStep, Border, Geometry, Goal, Kernels, Learned, Precision, float, portable, primitive};

thread_local! {
    static TILES: Cell<Option<bool>> = const { Cell::new(None) };
}

/// Says for this thread whether convolutions work by tiles in workgroup memory, which real GPUs want and software adapters
/// punish; `None` leaves it to the adapter.
pub fn set_tiles(choice: Option<bool>) {
    TILES.set(choice);
}

/// Whether to work by tiles where the tensor is: emulated GPUs tell subgroups of 4 to 16 units, real ones 32 and more.
/// A browser tells nothing of that kind: there [`tune`] chooses.
fn by_tiles<R: CubeRuntime>(tensor: &CubeTensor<R>) -> bool {
    TILES.get().unwrap_or_else(|| tensor.client.properties().hardware.plane_size_max >= 32)
}

/// Whether the kernels are for it. A page computes in f32 alone: what else would do is not linked there.
fn is_f32<R: CubeRuntime>(tensor: &CubeTensor<R>) -> bool {
    cfg!(target_family = "wasm") || tensor.dtype == DType::F32
}

/// Whether a norm takes a launch for all planes.
fn by_planes<R: CubeRuntime>(maps: &CubeTensor<R>) -> bool {
    by_tiles(maps) && planes::suits(maps)
}

/// See [`Kernels::instance_norm`].
fn normalised<R: CubeRuntime>(
    input: CubeTensor<R>,
    skipped: Option<CubeTensor<R>>,
    slope: f32,
) -> (CubeTensor<R>, CubeTensor<R>) {
    let norm = if by_planes(&input) { planes::instance_norm } else { norm::instance_norm };
    norm(input, skipped, slope)
}

/// Units of a cube.
const UNITS: u32 = 64;

fn empty<R: CubeRuntime, const D: usize>(like: &CubeTensor<R>, shape: [usize; D]) -> CubeTensor<R> {
    empty_device_contiguous_dtype(like.client.clone(), like.device.clone(), Shape::from(shape), DType::F32)
}

/// Some values of a buffer, from a place that the device can bind.
fn part<R: CubeRuntime, const D: usize>(buffer: &CubeTensor<R>, start: usize, shape: [usize; D]) -> CubeTensor<R> {
    let (all, count) = (buffer.shape().num_elements(), shape.iter().product::<usize>());
    let handle = buffer.handle.clone().offset_start(4 * start as u64).offset_end(4 * (all - start - count) as u64);
    CubeTensor::new_contiguous(buffer.client.clone(), buffer.device.clone(), Shape::from(shape), handle, DType::F32)
}

/// A unit's number among those of [`elementwise`].
#[cube]
fn position() -> u32 {
    (CUBE_POS_Y * CUBE_COUNT_X + CUBE_POS_X) * CUBE_DIM_X + UNIT_POS_X
}

/// Cubes for one unit an element, in rows: a row has at most 65,535 of them in WebGPU.
fn elementwise(elements: usize) -> CubeCount {
    let cubes = elements.div_ceil(UNITS as usize) as u32;
    let rows = cubes.div_ceil(1 << 15).max(1);
    CubeCount::Static(cubes.div_ceil(rows), rows, 1)
}

/// The sums of two values over all `side`² units of a cube, for every one of them.
#[cube]
fn cube_sums(first: f32, second: f32, #[comptime] side: u32) -> (f32, f32) {
    let mut values = SharedMemory::<f32>::new(comptime!(2 * (side * side) as usize));
    let mut lines = SharedMemory::<f32>::new(comptime!(2 * side as usize));
    let unit = UNIT_POS_X;
    values[(2 * unit) as usize] = first;
    values[(2 * unit + 1) as usize] = second;
    sync_cube();
    if unit < 2 * side {
        let start = unit / 2 * (2 * side) + unit % 2;
        let mut sum = 0.0f32;
        for place in 0..side {
            sum += values[(start + 2 * place) as usize];
        }
        lines[unit as usize] = sum;
    }
    sync_cube();
    let mut all_first = 0.0f32;
    let mut all_second = 0.0f32;
    for line in 0..side {
        all_first += lines[(2 * line) as usize];
        all_second += lines[(2 * line + 1) as usize];
    }
    (all_first, all_second)
}

impl<R, I, BT> Kernels for CubeBackend<R, f32, I, BT>
where
    R: CubeRuntime,
    I: IntElement,
    BT: BoolElement,
{
    fn multiplies_in(precision: Precision, device: &Self::Device) -> bool {
        let factor = match precision {
            Precision::F32 => return true,
            Precision::Tf32 => FloatKind::TF32,
            Precision::Bf16 => FloatKind::BF16,
        };
        let has = |config: &MmaConfig| {
            let [a, b, sum] = [config.a_type, config.b_type, config.cd_type];
            [a, b] == [ElemType::Float(factor).into(); 2] && sum == ElemType::Float(FloatKind::F32).into()
        };
        R::client(device).properties().features.matmul.cmma.iter().any(has)
    }

    fn convolve(
        input: CubeTensor<R>,
        weight: CubeTensor<R>,
        bias: Option<CubeTensor<R>>,
        geometry: Geometry,
    ) -> CubeTensor<R> {
        if !is_f32(&input) {
            return portable::conv2d::<Self>(input, weight, bias, geometry);
        }
        convolution::convolve(input, weight, bias, geometry)
    }

    fn convolve_input_grad(
        output_grad: CubeTensor<R>,
        weight: CubeTensor<R>,
        bias: Option<CubeTensor<R>>,
        input_size: [usize; 2],
        geometry: Geometry,
    ) -> CubeTensor<R> {
        if !is_f32(&output_grad) {
            return portable::conv2d_input_grad::<Self>(output_grad, weight, bias, input_size, geometry);
        }
        // A border that is folded back would fold the bias, too.
        let (within, after) = if geometry.border == Border::Reflect { (None, bias) } else { (bias, None) };
        let output = convolution::convolve_input_grad(output_grad, weight, within, input_size, geometry);
        match after {
            Some(bias) => primitive(portable::biased::<Self>(float(output), Some(float(bias)))),
            None => output,
        }
    }

    fn convolve_weight_grad(
        input: CubeTensor<R>,
        output_grad: CubeTensor<R>,
        weight: CubeTensor<R>,
        geometry: Geometry,
    ) -> CubeTensor<R> {
        if !is_f32(&input) {
            return portable::conv2d_weight_grad::<Self>(input, output_grad, weight, geometry);
        }
        convolution::convolve_weight_grad(input, output_grad, geometry)
    }

    fn bias_grad(output_grad: CubeTensor<R>) -> CubeTensor<R> {
        if !is_f32(&output_grad) {
            return portable::bias_grad::<Self>(output_grad);
        }
        bias::bias_grad(output_grad)
    }

    fn instance_norm(
        input: CubeTensor<R>,
        skipped: Option<CubeTensor<R>>,
        slope: f32,
    ) -> (CubeTensor<R>, Option<CubeTensor<R>>) {
        if !is_f32(&input) {
            return (portable::instance_norm::<Self>(input, skipped, slope), None);
        }
        let (output, moments) = normalised(input, skipped, slope);
        (output, Some(moments))
    }

    fn instance_norm_grad(
        input: CubeTensor<R>,
        moments: Option<CubeTensor<R>>,
        output_grad: CubeTensor<R>,
        slope: f32,
    ) -> CubeTensor<R> {
        if !is_f32(&input) {
            return portable::instance_norm_grad::<Self>(input, output_grad, slope);
        }
        let moments = moments.unwrap_or_else(|| normalised(input.clone(), None, slope).1);
        let norm_grad = if by_planes(&input) { planes::instance_norm_grad } else { norm::instance_norm_grad };
        norm_grad(input, moments, output_grad, slope)
    }

    fn activate(input: CubeTensor<R>, activation: Activation) -> CubeTensor<R> {
        if !is_f32(&input) {
            return portable::activate::<Self>(input, activation);
        }
        activation::activate(input, activation)
    }

    fn activate_grad(output: CubeTensor<R>, output_grad: CubeTensor<R>, activation: Activation) -> CubeTensor<R> {
        if !is_f32(&output) {
            return portable::activate_grad::<Self>(output, output_grad, activation);
        }
        activation::activate_grad(output, output_grad, activation)
    }

    fn distance(values: CubeTensor<R>, goal: Goal<CubeTensor<R>>, weight: f32) -> CubeTensor<R> {
        if !is_f32(&values) {
            return portable::distance::<Self>(values, goal, weight);
        }
        distance::distance(values, goal, weight)
    }

    fn distance_grad(
        values: CubeTensor<R>,
        goal: Goal<CubeTensor<R>>,
        weight: f32,
        distance_grad: CubeTensor<R>,
    ) -> CubeTensor<R> {
        if !is_f32(&values) {
            return portable::distance_grad::<Self>(values, goal, weight, distance_grad);
        }
        distance::distance_grad(values, goal, weight, distance_grad)
    }

    fn join(parts: Vec<CubeTensor<R>>) -> CubeTensor<R> {
        if !parts.iter().all(is_f32) {
            return portable::join::<Self>(parts);
        }
        join::join(parts)
    }

    fn adam(all: Vec<(Learned<CubeTensor<R>>, CubeTensor<R>)>, step: AdamStep) -> Vec<Learned<CubeTensor<R>>> {
        if !all.iter().all(|(_, grad)| is_f32(grad)) {
            return portable::adam::<Self>(all, step);
        }
        adam::adam(all, step)
    }
}
