//! Adam on a GPU: as many parameters a launch as the device binds buffers.

use burn::tensor::TensorMetadata;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeRuntime, cubecl};
use cubecl::prelude::*;

use super::{UNITS, elementwise, empty, part, position};
use crate::kernels::{AdamStep, Learned};

/// The most parameters of a launch: every unit looks for its own among them.
const PARAMETERS: usize = 16;

/// The most values of a launch of several parameters: three times as many have to fit into one binding, of which
/// WebGPU promises 128 MiB.
const VALUES: usize = 8 << 20;

/// Algorithm 1 of Kingma & Ba 2015 on every value of some parameters: 16 bytes read, 12 written. The values of all lie
/// one after the other, those of a parameter between two `starts`; `output` takes the new parameters, then the first
/// moments, then the second ones, each `apart`.
#[cube(launch_unchecked)]
fn adam_step(
    parameters: &Sequence<Array<f32>>,
    grads: &Sequence<Array<f32>>,
    firsts: &Sequence<Array<f32>>,
    seconds: &Sequence<Array<f32>>,
    output: &mut Array<f32>,
    starts: Sequence<u32>,
    counts: Sequence<u32>,
    apart: u32,
    keep_first: f32,
    keep_second: f32,
    rate: f32,
    scale: f32,
    epsilon: f32,
    #[comptime] number: usize,
) {
    let at = position();
    #[unroll]
    for which in 0..number {
        if at >= starts[which] && at < starts[which] + counts[which] {
            let place = (at - starts[which]) as usize;
            let slope = grads[which][place];
            let mean = firsts[which][place] * keep_first + slope * (1.0f32 - keep_first);
            let square = seconds[which][place] * keep_second + slope * slope * (1.0f32 - keep_second);
            output[at as usize] = parameters[which][place] - rate * mean / (square.sqrt() * scale + epsilon);
            output[(apart + at) as usize] = mean;
            output[(2 * apart + at) as usize] = square;
        }
    }
}

/// See [`crate::kernels::Kernels::adam`].
pub fn adam<R: CubeRuntime>(
    all: Vec<(Learned<CubeTensor<R>>, CubeTensor<R>)>,
    step: AdamStep,
) -> Vec<Learned<CubeTensor<R>>> {
    let Some(properties) = all.first().map(|(one, _)| one.parameter.client.properties().clone()) else {
        return Vec::new();
    };
    let most = ((properties.hardware.max_bindings as usize).saturating_sub(1) / 4).clamp(1, PARAMETERS);
    // Parts of a buffer have to begin at multiples of so many values.
    let alignment = (properties.memory.alignment as usize / 4).max(1);
    let mut stepped = Vec::with_capacity(all.len());
    let mut rest = all.into_iter().peekable();
    while rest.peek().is_some() {
        let mut values = 0;
        let mut group = Vec::new();
        while let Some(one) = rest.next_if(|(one, _)| {
            values += one.parameter.shape().num_elements();
            group.is_empty() || (group.len() < most && values <= VALUES)
        }) {
            group.push(one);
        }
        stepped.extend(together(group, step, alignment));
    }
    stepped
}

/// One launch.
fn together<R: CubeRuntime>(
    group: Vec<(Learned<CubeTensor<R>>, CubeTensor<R>)>,
    step: AdamStep,
    alignment: usize,
) -> impl Iterator<Item = Learned<CubeTensor<R>>> {
    let counts: Vec<usize> = group.iter().map(|(one, _)| one.parameter.shape().num_elements()).collect();
    let mut apart = 0;
    let mut starts = Vec::with_capacity(group.len());
    for count in &counts {
        starts.push(apart);
        apart += count.next_multiple_of(alignment);
    }
    let output = empty(&group[0].1, [3 * apart]);
    let client = output.client.clone();
    let [correct_first, correct_second] = step.corrections();
    let (mut parameters, mut grads) = (SequenceArg::new(), SequenceArg::new());
    let (mut firsts, mut seconds) = (SequenceArg::new(), SequenceArg::new());
    let number = group.len();
    for (Learned { parameter, moments: [first, second] }, grad) in group {
        parameters.push(into_contiguous(parameter).into_array_arg());
        grads.push(into_contiguous(grad).into_array_arg());
        firsts.push(into_contiguous(first).into_array_arg());
        seconds.push(into_contiguous(second).into_array_arg());
    }
    let numbers = |values: &[usize]| values.iter().map(|value| *value as u32).collect();
    #[allow(unsafe_code, reason = "the kernel writes only where it finds a value, and its parts lie apart")]
    unsafe {
        adam_step::launch_unchecked::<R>(
            &client,
            elementwise(apart),
            CubeDim::new_1d(UNITS),
            parameters,
            grads,
            firsts,
            seconds,
            output.clone().into_array_arg(),
            numbers(&starts),
            numbers(&counts),
            apart as u32,
            step.betas[0] as f32,
            step.betas[1] as f32,
            (step.rate / correct_first) as f32,
            correct_second.sqrt().recip() as f32,
            step.epsilon as f32,
            number,
        );
    }
    starts.into_iter().zip(counts).map(move |(start, count)| {
        let [parameter, first, second] = [0, 1, 2].map(|which| part(&output, which * apart + start, [count]));
        Learned { parameter, moments: [first, second] }
    })
}
