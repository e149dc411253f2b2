//! The gather: forward pass, input gradient and transposed convolution.
//!
//! `output[o, q] = Σ input[c, source(q, tap)] · filter[tap, c, o]` for a grid of outputs `q`, a strided
//! grid for each phase of a transposed convolution. Every unit keeps a tile of 4 pixels × 8 channels
//! in registers; a filter is read as vectors of neighbouring output channels, pixels by neighbouring
//! units. There is no shared memory and no barrier, which software adapters punish.

use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeRuntime, cubecl};
use cubecl::prelude::*;

use super::axis::{Axis, source};
use super::{Channels, WIDTH, vectors, zeros};
use crate::kernels::Border;
use crate::kernels::gpu::UNITS;

/// Pixels of a unit's tile.
const PIXELS: usize = 4;

/// 1 for a position that counts, 0 for one outside a picture with zeros around it.
#[cube]
fn inside(row: i32, column: i32, rows: &Axis, columns: &Axis) -> f32 {
    let good = row >= 0 && row < rows.input && column >= 0 && column < columns.input;
    f32::cast_from(good)
}

/// The sum described at the top. Floor: 2 operations a tap, input channel and output; its reads are
/// 6 vectors or scalars for 64 operations.
#[cube(launch_unchecked)]
fn gather(
    input: &Array<f32>,
    filters: &Array<Channels>,
    bias: &Array<f32>,
    output: &mut Array<f32>,
    channels: u32,
    outputs: u32,
    channels_a_part: u32,
    rows: Axis,
    columns: Axis,
    #[comptime] kernel: u32,
    #[comptime] reflect: bool,
    #[comptime] has_bias: bool,
    #[comptime] vectors: u32,
) {
    let parts = channels.div_ceil(channels_a_part);
    let first = CUBE_POS_Z % parts * channels_a_part;
    let mine = min(channels_a_part, channels - first);
    let pixels = rows.grid * columns.grid;
    // A unit's pixels lie `units` apart, so that no more units have work than there are tiles.
    let units = pixels.div_ceil(4);
    let (p0, last) = (CUBE_POS_X * CUBE_DIM_X + UNIT_POS_X, pixels - 1);
    if p0 < units {
        let (p1, p2, p3) = (p0 + units, p0 + 2 * units, p0 + 3 * units);
        let (q0, q1, q2, q3) = (p0, min(p1, last), min(p2, last), min(p3, last));

        let group = CUBE_POS_Y * vectors;
        let groups = outputs.div_ceil(4);
        let plane = (rows.input * columns.input) as usize;
        let image = (CUBE_POS_Z / parts * channels + first) as usize * plane;

        let row0 = (q0 / columns.grid) as i32 * rows.step + rows.offset;
        let row1 = (q1 / columns.grid) as i32 * rows.step + rows.offset;
        let row2 = (q2 / columns.grid) as i32 * rows.step + rows.offset;
        let row3 = (q3 / columns.grid) as i32 * rows.step + rows.offset;
        let column0 = (q0 % columns.grid) as i32 * columns.step + columns.offset;
        let column1 = (q1 % columns.grid) as i32 * columns.step + columns.offset;
        let column2 = (q2 % columns.grid) as i32 * columns.step + columns.offset;
        let column3 = (q3 % columns.grid) as i32 * columns.step + columns.offset;

        let (mut a0, mut a1, mut a2, mut a3) = (zeros(), zeros(), zeros(), zeros());
        let (mut b0, mut b1, mut b2, mut b3) = (zeros(), zeros(), zeros(), zeros());

        for down in 0..rows.taps {
            let shift = down as i32 * rows.tap_step;
            let y0 = source(row0 + shift, rows.input, reflect);
            let y1 = source(row1 + shift, rows.input, reflect);
            let y2 = source(row2 + shift, rows.input, reflect);
            let y3 = source(row3 + shift, rows.input, reflect);
            for across in 0..columns.taps {
                let move_by = across as i32 * columns.tap_step;
                let x0 = source(column0 + move_by, columns.input, reflect);
                let x1 = source(column1 + move_by, columns.input, reflect);
                let x2 = source(column2 + move_by, columns.input, reflect);
                let x3 = source(column3 + move_by, columns.input, reflect);
                let mut i0 = image + (y0 * columns.input + x0) as usize;
                let mut i1 = image + (y1 * columns.input + x1) as usize;
                let mut i2 = image + (y2 * columns.input + x2) as usize;
                let mut i3 = image + (y3 * columns.input + x3) as usize;
                let mut k0 = 1.0f32;
                let mut k1 = 1.0f32;
                let mut k2 = 1.0f32;
                let mut k3 = 1.0f32;
                if comptime!(!reflect) {
                    k0 = inside(row0 + shift, column0 + move_by, &rows, &columns);
                    k1 = inside(row1 + shift, column1 + move_by, &rows, &columns);
                    k2 = inside(row2 + shift, column2 + move_by, &rows, &columns);
                    k3 = inside(row3 + shift, column3 + move_by, &rows, &columns);
                }
                let tap = (rows.tap + down * rows.taps_apart) * kernel + columns.tap + across * columns.taps_apart;
                let mut filter = ((tap * channels + first) * groups + group) as usize;
                for _channel in 0..mine {
                    let mut v0 = input[i0];
                    let mut v1 = input[i1];
                    let mut v2 = input[i2];
                    let mut v3 = input[i3];
                    if comptime!(!reflect) {
                        v0 *= k0;
                        v1 *= k1;
                        v2 *= k2;
                        v3 *= k3;
                    }
                    let weights = filters[filter];
                    a0 += weights * Vector::new(v0);
                    a1 += weights * Vector::new(v1);
                    a2 += weights * Vector::new(v2);
                    a3 += weights * Vector::new(v3);
                    if comptime!(vectors == 2) {
                        let weights = filters[filter + 1];
                        b0 += weights * Vector::new(v0);
                        b1 += weights * Vector::new(v1);
                        b2 += weights * Vector::new(v2);
                        b3 += weights * Vector::new(v3);
                    }
                    filter += groups as usize;
                    i0 += plane;
                    i1 += plane;
                    i2 += plane;
                    i3 += plane;
                }
            }
        }

        // Parts lie beside each other as pictures would.
        let picture = CUBE_POS_Z % parts * (CUBE_COUNT_Z / parts) + CUBE_POS_Z / parts;
        let channel = group * 4;
        write(a0, p0, picture, channel, outputs, bias, output, &rows, &columns, has_bias);
        write(a1, p1, picture, channel, outputs, bias, output, &rows, &columns, has_bias);
        write(a2, p2, picture, channel, outputs, bias, output, &rows, &columns, has_bias);
        write(a3, p3, picture, channel, outputs, bias, output, &rows, &columns, has_bias);
        if comptime!(vectors == 2) {
            let channel = channel + 4;
            write(b0, p0, picture, channel, outputs, bias, output, &rows, &columns, has_bias);
            write(b1, p1, picture, channel, outputs, bias, output, &rows, &columns, has_bias);
            write(b2, p2, picture, channel, outputs, bias, output, &rows, &columns, has_bias);
            write(b3, p3, picture, channel, outputs, bias, output, &rows, &columns, has_bias);
        }
    }
}

#[cube]
fn write(
    values: Channels,
    pixel: u32,
    picture: u32,
    channel: u32,
    outputs: u32,
    bias: &Array<f32>,
    output: &mut Array<f32>,
    rows: &Axis,
    columns: &Axis,
    #[comptime] has_bias: bool,
) {
    if pixel < rows.grid * columns.grid {
        let row = pixel / columns.grid * rows.spread + rows.phase;
        let column = pixel % columns.grid * columns.spread + columns.phase;
        let place = (row * columns.output + column) as usize;
        let plane = (rows.output * columns.output) as usize;
        #[unroll]
        for lane in 0..4u32 {
            let at = channel + lane;
            if at < outputs {
                let mut value = values[lane as usize];
                if comptime!(has_bias) {
                    value += bias[at as usize];
                }
                output[(picture * outputs + at) as usize * plane + place] = value;
            }
        }
    }
}

/// A gather from `[batch, channels, …]` to `[batch, outputs, …]`.
#[derive(Clone, Copy)]
pub struct Sum {
    pub batch: usize,
    pub channels: usize,
    pub outputs: usize,
    pub kernel: usize,
    pub border: Border,
}

impl Sum {
    /// Launches the sum for one grid of outputs, split into parts `[parts, batch, …]` of the channels.
    pub fn launch<R: CubeRuntime>(
        self,
        input: &CubeTensor<R>,
        filters: &CubeTensor<R>,
        bias: Option<&CubeTensor<R>>,
        output: &CubeTensor<R>,
        [rows, columns]: [Axis; 2],
        parts: usize,
    ) {
        let pixels = (rows.grid * columns.grid) as usize;
        if pixels == 0 || self.batch == 0 {
            return;
        }
        let vectors = vectors(self.outputs);
        let cubes = CubeCount::Static(
            pixels.div_ceil(PIXELS).div_ceil(UNITS as usize) as u32,
            (self.outputs.div_ceil(WIDTH) as u32).div_ceil(vectors),
            (self.batch * parts) as u32,
        );
        #[allow(unsafe_code, reason = "the kernel clamps what it reads to the input and checks what it writes")]
        unsafe {
            gather::launch_unchecked::<R>(
                &input.client,
                cubes,
                CubeDim::new_1d(UNITS),
                input.clone().into_array_arg(),
                filters.clone().into_array_arg(),
                bias.unwrap_or(filters).clone().into_array_arg(),
                output.clone().into_array_arg(),
                self.channels as u32,
                self.outputs as u32,
                self.channels.div_ceil(parts) as u32,
                rows.launch(),
                columns.launch(),
                self.kernel as u32,
                self.border == Border::Reflect,
                bias.is_some(),
                vectors,
            );
        }
    }
}
