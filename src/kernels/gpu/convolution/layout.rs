//! Tensors in the order that the convolutions read them, and the margin of reflection padding.

use burn::tensor::TensorMetadata;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeRuntime, cubecl};
use cubecl::prelude::*;

use super::{Channels, WIDTH, zeros};
use crate::kernels::gpu::{UNITS, elementwise, empty, position};

/// Reorders to `[a, b, channel]` with the channels rounded up to whole vectors by zeros. A unit writes a vector.
#[cube(launch_unchecked)]
fn pack(
    from: &Array<f32>,
    to: &mut Array<Channels>,
    middle: u32,
    channels: u32,
    outer_apart: u32,
    middle_apart: u32,
    channels_apart: u32,
) {
    let position = position();
    if (position as usize) < to.len() {
        let groups = channels.div_ceil(4);
        let channel = position % groups * 4;
        let rest = position / groups;
        let first = rest / middle * outer_apart + rest % middle * middle_apart + channel * channels_apart;
        let mut values = zeros();
        #[unroll]
        for lane in 0..4u32 {
            if channel + lane < channels {
                values[lane as usize] = from[(first + lane * channels_apart) as usize];
            }
        }
        to[position as usize] = values;
    }
}

/// Runs [`pack`] on `[outer, middle]` lines of channels; `apart` are the distances of all three in `from`.
pub fn packed<R: CubeRuntime>(
    from: CubeTensor<R>,
    [outer, middle, channels]: [usize; 3],
    apart: [usize; 3],
) -> CubeTensor<R> {
    let from = into_contiguous(from);
    let to = empty(&from, [outer, middle, channels.next_multiple_of(WIDTH)]);
    let vectors = outer * middle * channels.div_ceil(WIDTH);
    let client = from.client.clone();
    let [outer_apart, middle_apart, channels_apart] = apart.map(|apart| apart as u32);
    #[allow(unsafe_code, reason = "the kernel checks its position against the buffer it writes")]
    unsafe {
        pack::launch_unchecked::<R>(
            &client,
            elementwise(vectors),
            CubeDim::new_1d(UNITS),
            from.into_array_arg(),
            to.clone().into_array_arg(),
            middle as u32,
            channels as u32,
            outer_apart,
            middle_apart,
            channels_apart,
        );
    }
    to
}

/// The adjoint of reflection padding: the margin of every plane is added to the pixels it mirrors.
#[cube(launch_unchecked)]
fn fold(padded: &Array<f32>, output: &mut Array<f32>, height: u32, width: u32, #[comptime] padding: u32) {
    let position = position();
    if (position as usize) < output.len() {
        let (column, rest) = (position % width, position / width);
        let (row, plane) = (rest % height, rest / height);
        let mut sum = 0.0f32;
        #[unroll]
        for down in 0..3u32 {
            let y = mirrored(row, height, down, padding);
            #[unroll]
            for across in 0..3u32 {
                let x = mirrored(column, width, across, padding);
                if y >= 0 && x >= 0 {
                    let line = plane * (height + 2 * padding) + y as u32;
                    sum += padded[(line * (width + 2 * padding) + x as u32) as usize];
                }
            }
        }
        output[position as usize] = sum;
    }
}

/// The padded positions that read `position`: itself, then its mirror images at either end; -1 where there is none.
#[cube]
fn mirrored(position: u32, size: u32, #[comptime] which: u32, #[comptime] padding: u32) -> i32 {
    let mut place = (position + padding) as i32;
    if comptime!(which == 1) {
        place = padding as i32 - position as i32;
        if position == 0 {
            place = -1;
        }
    }
    if comptime!(which == 2) {
        place = (2 * (size - 1) + padding) as i32 - position as i32;
        if position == size - 1 || place >= (size + 2 * padding) as i32 {
            place = -1;
        }
    }
    place
}

/// The gradient of a picture from that of the picture with `padding` reflected pixels on every side.
pub fn folded<R: CubeRuntime>(padded: CubeTensor<R>, [height, width]: [usize; 2], padding: usize) -> CubeTensor<R> {
    let [batch, channels, ..] = padded.shape().dims::<4>();
    let output = empty(&padded, [batch, channels, height, width]);
    let client = padded.client.clone();
    #[allow(unsafe_code, reason = "the kernel checks its position against the buffer it writes")]
    unsafe {
        fold::launch_unchecked::<R>(
            &client,
            elementwise(batch * channels * height * width),
            CubeDim::new_1d(UNITS),
            padded.into_array_arg(),
            output.clone().into_array_arg(),
            height as u32,
            width as u32,
            padding as u32,
        );
    }
    output
}
