//! The kernels on a GPU, written once in CubeCL for WGSL, SPIR-V and CUDA. f32 comes here, any other
//! type goes to the portable default.

mod convolution;
mod planes;
mod pointwise;

use std::cell::Cell;

use burn::tensor::{DType, Shape};
use burn_cubecl::element::{BoolElement, IntElement};
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeBackend, CubeRuntime, cubecl};
use cubecl::ir::features::MmaConfig;
use cubecl::ir::{ElemType, FloatKind};
use cubecl::prelude::*;

use super::{AdamStep, Border, Geometry, Kernels, Precision, portable};

thread_local! {
    static TILES: Cell<Option<bool>> = const { Cell::new(None) };
}

/// Says for this thread whether convolutions work by tiles in workgroup memory, which real GPUs want and software adapters
/// punish; `None` leaves it to the adapter.
pub fn set_tiles(choice: Option<bool>) {
    TILES.set(choice);
}

/// Whether to work by tiles where the tensor is: emulated GPUs tell subgroups of 4 to 16 units, real ones 32 and more.
fn by_tiles<R: CubeRuntime>(tensor: &CubeTensor<R>) -> bool {
    TILES.get().unwrap_or_else(|| tensor.client.properties().hardware.plane_size_max >= 32)
}

/// Units of a cube.
const UNITS: u32 = 64;

fn empty<R: CubeRuntime, const D: usize>(like: &CubeTensor<R>, shape: [usize; D]) -> CubeTensor<R> {
    empty_device_contiguous_dtype(like.client.clone(), like.device.clone(), Shape::from(shape), DType::F32)
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
        if input.dtype != DType::F32 {
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
        let folds = geometry.border == Border::Reflect && bias.is_some();
        if output_grad.dtype != DType::F32 || folds {
            return portable::conv2d_input_grad::<Self>(output_grad, weight, bias, input_size, geometry);
        }
        convolution::convolve_input_grad(output_grad, weight, bias, input_size, geometry)
    }

    fn convolve_weight_grad(
        input: CubeTensor<R>,
        output_grad: CubeTensor<R>,
        weight: CubeTensor<R>,
        geometry: Geometry,
    ) -> CubeTensor<R> {
        if input.dtype != DType::F32 {
            return portable::conv2d_weight_grad::<Self>(input, output_grad, weight, geometry);
        }
        convolution::convolve_weight_grad(input, output_grad, geometry)
    }

    fn instance_norm(input: CubeTensor<R>, slope: f32) -> CubeTensor<R> {
        if input.dtype != DType::F32 {
            return portable::instance_norm::<Self>(input, slope);
        }
        if by_tiles(&input) && planes::suits(&input) {
            return planes::instance_norm(input, slope);
        }
        pointwise::instance_norm(input, slope)
    }

    fn instance_norm_grad(input: CubeTensor<R>, output_grad: CubeTensor<R>, slope: f32) -> CubeTensor<R> {
        if input.dtype != DType::F32 {
            return portable::instance_norm_grad::<Self>(input, output_grad, slope);
        }
        if by_tiles(&input) && planes::suits(&input) {
            return planes::instance_norm_grad(input, output_grad, slope);
        }
        pointwise::instance_norm_grad(input, output_grad, slope)
    }

    fn adam(
        parameter: CubeTensor<R>,
        grad: CubeTensor<R>,
        moments: [CubeTensor<R>; 2],
        step: AdamStep,
    ) -> (CubeTensor<R>, [CubeTensor<R>; 2]) {
        if parameter.dtype != DType::F32 {
            return portable::adam::<Self>(parameter, grad, moments, step);
        }
        pointwise::adam(parameter, grad, moments, step)
    }
}
