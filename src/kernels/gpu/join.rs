//! Tensors one after the other in one, on a GPU: as many a launch as the device binds buffers.

use burn::tensor::TensorMetadata;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeRuntime, cubecl};
use cubecl::prelude::*;

use super::{UNITS, elementwise, empty, position};

/// The most tensors of a launch: every unit looks for its own among them.
const PARTS: usize = 16;

/// Copies values to their places from `first` on: 4 bytes read, 4 written.
#[cube(launch_unchecked)]
fn copy_parts(
    parts: &Sequence<Array<f32>>,
    output: &mut Array<f32>,
    ends: Sequence<u32>,
    first: u32,
    #[comptime] number: usize,
) {
    let at = position();
    let mut start = 0u32;
    #[unroll]
    for which in 0..number {
        let end = ends[which];
        if at >= start && at < end {
            output[(first + at) as usize] = parts[which][(at - start) as usize];
        }
        start = end;
    }
}

/// See [`crate::kernels::Kernels::join`].
pub fn join<R: CubeRuntime>(parts: Vec<CubeTensor<R>>) -> CubeTensor<R> {
    let counts: Vec<usize> = parts.iter().map(|part| part.shape().num_elements()).collect();
    let output = empty(&parts[0], [counts.iter().sum()]);
    let client = output.client.clone();
    let most = (client.properties().hardware.max_bindings as usize).saturating_sub(1).clamp(1, PARTS);
    let mut first = 0;
    let mut rest = parts.into_iter();
    for counts in counts.chunks(most) {
        let mut end = 0;
        let mut ends = SequenceArg::new();
        for count in counts {
            end += count;
            ends.push(end as u32);
        }
        let parts = rest.by_ref().take(most).map(|part| into_contiguous(part).into_array_arg()).collect();
        #[allow(unsafe_code, reason = "the kernel writes only where a part has a value")]
        unsafe {
            copy_parts::launch_unchecked::<R>(
                &client,
                elementwise(end),
                CubeDim::new_1d(UNITS),
                parts,
                output.clone().into_array_arg(),
                ends,
                first as u32,
                counts.len(),
            );
        }
        first += end;
    }
    output
}
