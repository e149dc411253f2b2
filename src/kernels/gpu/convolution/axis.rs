//! The index arithmetic of one axis, on the host and on the device.

use burn_cubecl::{CubeRuntime, cubecl};
use cubecl::prelude::*;

use crate::kernels::Geometry;

/// One axis of a gather: grid point `q` and tap `j` read input `q·step + offset + j·tap_step`, weigh
/// it by filter tap `tap + j·taps_apart`, and write output `q·spread + phase`.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub struct Axis {
    pub step: i32,
    pub offset: i32,
    pub tap_step: i32,
    pub input: i32,
    pub grid: u32,
    pub taps: u32,
    pub tap: u32,
    pub taps_apart: u32,
    pub spread: u32,
    pub phase: u32,
    pub output: u32,
}

impl Axis {
    /// Of a convolution.
    pub fn forward(geometry: Geometry, input: usize) -> Self {
        let output = geometry.output(input) as u32;
        Self {
            step: geometry.stride as i32,
            offset: -(geometry.padding as i32),
            tap_step: 1,
            input: input as i32,
            grid: output,
            taps: geometry.kernel as u32,
            tap: 0,
            taps_apart: 1,
            spread: 1,
            phase: 0,
            output,
        }
    }

    /// Of a convolution's adjoint, onto a picture of `output` pixels whose padding counts `padding` of
    /// them: the outputs `phase`, `phase + stride`, …, which are read through every `stride`-th tap.
    pub fn adjoint(geometry: Geometry, input: usize, output: usize, padding: usize, phase: usize) -> Self {
        let stride = geometry.stride;
        let tap = (phase + padding) % stride;
        Self {
            step: 1,
            offset: ((phase + padding - tap) / stride) as i32,
            tap_step: -1,
            input: input as i32,
            grid: output.saturating_sub(phase).div_ceil(stride) as u32,
            taps: geometry.kernel.saturating_sub(tap).div_ceil(stride) as u32,
            tap: tap as u32,
            taps_apart: stride as u32,
            spread: stride as u32,
            phase: phase as u32,
            output: output as u32,
        }
    }

    /// Of an adjoint at stride 1, the `grid` outputs from `phase` on, which read nothing but `taps` taps from `tap` on.
    pub fn band(self, phase: usize, grid: usize, tap: usize, taps: usize) -> Self {
        let offset = phase as i32 - tap as i32;
        Self { offset, grid: grid as u32, taps: taps as u32, tap: tap as u32, phase: phase as u32, ..self }
    }

    /// As an argument of a kernel.
    pub fn launch<R: CubeRuntime>(self) -> AxisLaunch<R> {
        let Self { step, offset, tap_step, input, grid, taps, tap, taps_apart, spread, phase, output } = self;
        AxisLaunch::new(step, offset, tap_step, input, grid, taps, tap, taps_apart, spread, phase, output)
    }
}

/// Where a position outside the picture reads: mirrored, or anywhere inside if it counts as zero.
#[cube]
pub fn source(position: i32, size: i32, #[comptime] reflect: bool) -> i32 {
    let last = size - 1;
    if comptime!(reflect) {
        let mirrored = if position < 0 { -position } else { position };
        if mirrored > last { last + last - mirrored } else { mirrored }
    } else {
        clamp(position, 0, last)
    }
}

#[cube]
impl Axis {
    /// Of another phase of the adjoint of a convolution whose stride is `phases`, from the first one; see [`Axis::adjoint`].
    pub fn of_phase(self, phase: u32, #[comptime] kernel: u32, #[comptime] phases: u32) -> Axis {
        if comptime!(phases == 1) {
            self
        } else {
            let shifted = phase + self.offset as u32 * phases + self.tap;
            let tap = shifted % phases;
            Axis {
                step: self.step,
                offset: (shifted / phases) as i32,
                tap_step: self.tap_step,
                input: self.input,
                grid: (self.output - phase).div_ceil(phases),
                taps: (kernel - tap).div_ceil(phases),
                tap,
                taps_apart: self.taps_apart,
                spread: self.spread,
                phase,
                output: self.output,
            }
        }
    }
}
