//! The gradient of a bias on a GPU: one launch, two for large maps.

use burn::tensor::TensorMetadata;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeRuntime, cubecl};
use cubecl::prelude::*;

use super::{cube_sums, empty};

/// The root of a cube's units: 256 units, the most that WebGPU promises.
const SIDE: u32 = 16;

/// Values of a channel that are worth a cube.
const CHUNK: usize = 4096;

/// The most cubes of a channel.
const CHUNKS: usize = 256;

/// The sum of every chunk of every channel: `sums[channel, chunk]`. Floor: 4 bytes read a value.
#[cube(launch_unchecked)]
fn sum_chunks(
    grad: &Array<f32>,
    sums: &mut Array<f32>,
    channels: u32,
    pixels: u32,
    count: u32,
    chunks: u32,
    chunk: u32,
) {
    let (channel, number) = (CUBE_POS_Y, CUBE_POS_X);
    let end = min((number + 1) * chunk, count);
    let mut sum = 0.0f32;
    let mut at = number * chunk + UNIT_POS_X;
    while at < end {
        let plane = at / pixels * channels + channel;
        sum += grad[(plane * pixels + at % pixels) as usize];
        at += comptime!(SIDE * SIDE);
    }
    let (sum, _) = cube_sums(sum, 0.0f32, SIDE);
    if UNIT_POS_X == 0 {
        sums[(channel * chunks + number) as usize] = sum;
    }
}

/// See [`crate::kernels::Kernels::bias_grad`].
pub fn bias_grad<R: CubeRuntime>(grad: CubeTensor<R>) -> CubeTensor<R> {
    let [batch, channels, height, width] = grad.shape().dims();
    let (pixels, count) = (height * width, batch * height * width);
    let chunk = count.div_ceil(count.div_ceil(CHUNK).clamp(1, CHUNKS)).max(1);
    let chunks = count.div_ceil(chunk).max(1);
    let grad = into_contiguous(grad);
    let sums = if chunks == 1 { empty(&grad, [channels]) } else { empty(&grad, [1, channels, chunks, 1]) };
    let client = grad.client.clone();
    #[allow(unsafe_code, reason = "the kernel keeps to its chunk, which ends with its channel")]
    unsafe {
        sum_chunks::launch_unchecked::<R>(
            &client,
            CubeCount::Static(chunks as u32, channels as u32, 1),
            CubeDim::new_1d(SIDE * SIDE),
            grad.into_array_arg(),
            sums.clone().into_array_arg(),
            channels as u32,
            pixels as u32,
            count as u32,
            chunks as u32,
            chunk as u32,
        );
    }
    if chunks == 1 { sums } else { bias_grad(sums) }
}
