//! Convolutions on a GPU.
//!
//! A convolution and its adjoint are the same sum, read at other places: [`gather`] computes
//! `output[o, q] = Σ input[c, source(q, tap)] · filter[tap, c, o]` for a grid of outputs `q`, a strided
//! grid for each phase of a transposed convolution. Every unit keeps a tile of 4 pixels × 8 channels
//! in registers; a filter is read as vectors of neighbouring output channels, pixels by neighbouring
//! units. There is no shared memory and no barrier, which software adapters punish.

use burn::tensor::TensorMetadata;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeRuntime, cubecl};
use cubecl::prelude::*;

use super::{UNITS, elementwise, empty, position};
use crate::kernels::{Border, Geometry};

/// Pixels of a unit's tile.
const PIXELS: usize = 4;
/// Channels of a vector.
const WIDTH: usize = 4;
/// Units that a weight gradient should keep busy, by splitting its sum where it has too few.
const BUSY: usize = 8192;

type Channels = Vector<f32, Const<4>>;

/// One axis of a [`gather`]: grid point `q` and tap `j` read input `q·step + offset + j·tap_step`, weigh
/// it by filter tap `tap + j·taps_apart`, and write output `q·spread + phase`.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
struct Axis {
    step: i32,
    offset: i32,
    tap_step: i32,
    input: i32,
    grid: u32,
    taps: u32,
    tap: u32,
    taps_apart: u32,
    spread: u32,
    phase: u32,
    output: u32,
}

/// Where a position outside the picture reads: mirrored, or anywhere inside if it counts as zero.
#[cube]
fn source(position: i32, size: i32, #[comptime] reflect: bool) -> i32 {
    let last = size - 1;
    if comptime!(reflect) {
        let mirrored = if position < 0 { -position } else { position };
        if mirrored > last { last + last - mirrored } else { mirrored }
    } else {
        clamp(position, 0, last)
    }
}

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
    rows: Axis,
    columns: Axis,
    #[comptime] kernel: u32,
    #[comptime] reflect: bool,
    #[comptime] has_bias: bool,
    #[comptime] vectors: u32,
) {
    let pixels = rows.grid * columns.grid;
    let first = CUBE_POS_X * (CUBE_DIM_X * 4) + UNIT_POS_X;
    let last = pixels - 1;
    let (p0, p1) = (first, first + CUBE_DIM_X);
    let (p2, p3) = (first + 2 * CUBE_DIM_X, first + 3 * CUBE_DIM_X);
    let (q0, q1, q2, q3) = (min(p0, last), min(p1, last), min(p2, last), min(p3, last));

    let group = CUBE_POS_Y * vectors;
    let groups = outputs.div_ceil(4);
    let plane = (rows.input * columns.input) as usize;
    let image = CUBE_POS_Z as usize * channels as usize * plane;

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
            let mut filter = (tap * channels * groups + group) as usize;
            for _channel in 0..channels {
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

    let channel = group * 4;
    write(a0, p0, channel, outputs, bias, output, &rows, &columns, has_bias);
    write(a1, p1, channel, outputs, bias, output, &rows, &columns, has_bias);
    write(a2, p2, channel, outputs, bias, output, &rows, &columns, has_bias);
    write(a3, p3, channel, outputs, bias, output, &rows, &columns, has_bias);
    if comptime!(vectors == 2) {
        let channel = channel + 4;
        write(b0, p0, channel, outputs, bias, output, &rows, &columns, has_bias);
        write(b1, p1, channel, outputs, bias, output, &rows, &columns, has_bias);
        write(b2, p2, channel, outputs, bias, output, &rows, &columns, has_bias);
        write(b3, p3, channel, outputs, bias, output, &rows, &columns, has_bias);
    }
}

#[cube]
fn zeros() -> Channels {
    Channels::new(0.0)
}

#[cube]
fn write(
    values: Channels,
    pixel: u32,
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
                output[(CUBE_POS_Z * outputs + at) as usize * plane + place] = value;
            }
        }
    }
}

/// The weight's gradient over some rows of the output: `part[o, c, tap] = Σ grad[o, q] · input[c, source(q, tap)]`.
/// Both operands are read as vectors of channels (see [`pack`]): 3 vectors for 64 operations.
#[cube(launch_unchecked)]
fn correlate(
    input: &Array<Channels>,
    grad: &Array<Channels>,
    parts: &mut Array<f32>,
    channels: u32,
    outputs: u32,
    batch: u32,
    rows_a_part: u32,
    rows: Axis,
    columns: Axis,
    #[comptime] kernel: u32,
    #[comptime] reflect: bool,
    #[comptime] vectors: u32,
) {
    let channel_groups = channels.div_ceil(4);
    let output_groups = outputs.div_ceil(4);
    let unit = CUBE_POS_X * CUBE_DIM_X + UNIT_POS_X;
    let taps = comptime!(kernel * kernel);
    if unit < channel_groups * taps {
        let channel = unit % channel_groups;
        let tap = unit / channel_groups;
        let down = (tap / kernel) as i32;
        let across = (tap % kernel) as i32;
        let group = CUBE_POS_Y * vectors;

        let (mut a0, mut a1, mut a2, mut a3) = (zeros(), zeros(), zeros(), zeros());
        let (mut b0, mut b1, mut b2, mut b3) = (zeros(), zeros(), zeros(), zeros());
        let start = CUBE_POS_Z * rows_a_part;
        let end = min(start + rows_a_part, batch * rows.grid);
        for line in start..end {
            let image = line / rows.grid;
            let position = (line % rows.grid) as i32 * rows.step + rows.offset + down;
            if comptime!(reflect) || (position >= 0 && position < rows.input) {
                let row = source(position, rows.input, reflect);
                let from = (image as i32 * rows.input + row) * columns.input;
                let mut at = (line * columns.grid * output_groups + group) as usize;
                for pixel in 0..columns.grid {
                    let position = pixel as i32 * columns.step + columns.offset + across;
                    let column = source(position, columns.input, reflect);
                    let mut values = input[((from + column) as u32 * channel_groups + channel) as usize];
                    if comptime!(!reflect) {
                        values *= Vector::new(f32::cast_from(position >= 0 && position < columns.input));
                    }
                    let grads = grad[at];
                    a0 += values * Vector::new(grads[0]);
                    a1 += values * Vector::new(grads[1]);
                    a2 += values * Vector::new(grads[2]);
                    a3 += values * Vector::new(grads[3]);
                    if comptime!(vectors == 2) {
                        let grads = grad[at + 1];
                        b0 += values * Vector::new(grads[0]);
                        b1 += values * Vector::new(grads[1]);
                        b2 += values * Vector::new(grads[2]);
                        b3 += values * Vector::new(grads[3]);
                    }
                    at += output_groups as usize;
                }
            }
        }
        let output = group * 4;
        write_part(a0, output, channel * 4, tap, outputs, channels, parts, taps);
        write_part(a1, output + 1, channel * 4, tap, outputs, channels, parts, taps);
        write_part(a2, output + 2, channel * 4, tap, outputs, channels, parts, taps);
        write_part(a3, output + 3, channel * 4, tap, outputs, channels, parts, taps);
        if comptime!(vectors == 2) {
            write_part(b0, output + 4, channel * 4, tap, outputs, channels, parts, taps);
            write_part(b1, output + 5, channel * 4, tap, outputs, channels, parts, taps);
            write_part(b2, output + 6, channel * 4, tap, outputs, channels, parts, taps);
            write_part(b3, output + 7, channel * 4, tap, outputs, channels, parts, taps);
        }
    }
}

#[cube]
fn write_part(
    values: Channels,
    output: u32,
    channel: u32,
    tap: u32,
    outputs: u32,
    channels: u32,
    parts: &mut Array<f32>,
    #[comptime] taps: u32,
) {
    if output < outputs {
        #[unroll]
        for lane in 0..4u32 {
            if channel + lane < channels {
                let filter = (CUBE_POS_Z * outputs + output) * channels + channel + lane;
                parts[(filter * taps + tap) as usize] = values[lane as usize];
            }
        }
    }
}

/// Reorders to `[a, b, channel]` with the channels rounded up to whole vectors by zeros.
#[cube(launch_unchecked)]
fn pack(
    from: &Array<f32>,
    to: &mut Array<f32>,
    middle: u32,
    channels: u32,
    outer_apart: u32,
    middle_apart: u32,
    channels_apart: u32,
) {
    let position = position();
    if (position as usize) < to.len() {
        let padded = channels.div_ceil(4) * 4;
        let channel = position % padded;
        let rest = position / padded;
        let mut value = 0.0f32;
        if channel < channels {
            let place = rest / middle * outer_apart + rest % middle * middle_apart + channel * channels_apart;
            value = from[place as usize];
        }
        to[position as usize] = value;
    }
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

/// Runs [`pack`] on `[outer, middle]` lines of channels; `apart` are the distances of all three in `from`.
fn packed<R: CubeRuntime>(
    from: CubeTensor<R>,
    [outer, middle, channels]: [usize; 3],
    apart: [usize; 3],
) -> CubeTensor<R> {
    let from = into_contiguous(from);
    let to = empty(&from, [outer, middle, channels.next_multiple_of(WIDTH)]);
    let elements = outer * middle * channels.next_multiple_of(WIDTH);
    let client = from.client.clone();
    let [outer_apart, middle_apart, channels_apart] = apart.map(|apart| apart as u32);
    #[allow(unsafe_code, reason = "the kernel checks its position against the buffer it writes")]
    unsafe {
        pack::launch_unchecked::<R>(
            &client,
            elementwise(elements),
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

/// Two vectors of output channels a unit where they divide evenly.
fn vectors(outputs: usize) -> u32 {
    if outputs.div_ceil(WIDTH).is_multiple_of(2) { 2 } else { 1 }
}

/// One axis of a gather on the host.
#[derive(Clone, Copy)]
struct AxisPlan {
    step: usize,
    offset: isize,
    tap_step: isize,
    input: usize,
    grid: usize,
    taps: usize,
    tap: usize,
    taps_apart: usize,
    spread: usize,
    phase: usize,
    output: usize,
}

impl AxisPlan {
    /// Of a convolution.
    fn forward(geometry: Geometry, input: usize) -> Self {
        let output = geometry.output(input);
        Self {
            step: geometry.stride,
            offset: -(geometry.padding as isize),
            tap_step: 1,
            input,
            grid: output,
            taps: geometry.kernel,
            tap: 0,
            taps_apart: 1,
            spread: 1,
            phase: 0,
            output,
        }
    }

    /// Of a convolution's adjoint, onto a picture of `output` pixels whose padding counts `padding` of
    /// them: the outputs `phase`, `phase + stride`, …, which are read through every `stride`-th tap.
    fn adjoint(geometry: Geometry, input: usize, output: usize, padding: usize, phase: usize) -> Self {
        let stride = geometry.stride;
        let tap = (phase + padding) % stride;
        Self {
            step: 1,
            offset: ((phase + padding - tap) / stride) as isize,
            tap_step: -1,
            input,
            grid: output.saturating_sub(phase).div_ceil(stride),
            taps: geometry.kernel.saturating_sub(tap).div_ceil(stride),
            tap,
            taps_apart: stride,
            spread: stride,
            phase,
            output,
        }
    }

    fn launch<R: CubeRuntime>(self) -> AxisLaunch<R> {
        AxisLaunch::new(
            self.step as i32,
            self.offset as i32,
            self.tap_step as i32,
            self.input as i32,
            self.grid as u32,
            self.taps as u32,
            self.tap as u32,
            self.taps_apart as u32,
            self.spread as u32,
            self.phase as u32,
            self.output as u32,
        )
    }
}

/// A gather from `[batch, channels, …]` to `[batch, outputs, …]`.
#[derive(Clone, Copy)]
struct Sum {
    batch: usize,
    channels: usize,
    outputs: usize,
    kernel: usize,
    border: Border,
}

impl Sum {
    fn launch<R: CubeRuntime>(
        self,
        input: &CubeTensor<R>,
        filters: &CubeTensor<R>,
        bias: Option<&CubeTensor<R>>,
        output: &CubeTensor<R>,
        [rows, columns]: [AxisPlan; 2],
    ) {
        let pixels = rows.grid * columns.grid;
        if pixels == 0 || self.batch == 0 {
            return;
        }
        let vectors = vectors(self.outputs);
        let cubes = CubeCount::Static(
            pixels.div_ceil(UNITS as usize * PIXELS) as u32,
            (self.outputs.div_ceil(WIDTH) as u32).div_ceil(vectors),
            self.batch as u32,
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

/// See [`crate::kernels::Kernels::convolve`].
pub fn convolve<R: CubeRuntime>(
    input: CubeTensor<R>,
    weight: CubeTensor<R>,
    bias: Option<CubeTensor<R>>,
    geometry: Geometry,
) -> CubeTensor<R> {
    let [batch, channels, height, width] = input.shape().dims();
    let [outputs, ..] = weight.shape().dims::<4>();
    let taps = geometry.kernel * geometry.kernel;
    let filters = packed(weight, [taps, channels, outputs], [1, taps, channels * taps]);
    let axes = [height, width].map(|side| AxisPlan::forward(geometry, side));
    let input = into_contiguous(input);
    let output = empty(&input, [batch, outputs, axes[0].output, axes[1].output]);
    let sum = Sum { batch, channels, outputs, kernel: geometry.kernel, border: geometry.border };
    sum.launch(&input, &filters, bias.map(into_contiguous).as_ref(), &output, axes);
    output
}

/// See [`crate::kernels::Kernels::convolve_input_grad`]; a reflecting one has no bias.
pub fn convolve_input_grad<R: CubeRuntime>(
    output_grad: CubeTensor<R>,
    weight: CubeTensor<R>,
    bias: Option<CubeTensor<R>>,
    input_size: [usize; 2],
    geometry: Geometry,
) -> CubeTensor<R> {
    let [batch, channels, height, width] = output_grad.shape().dims();
    let [_, outputs, ..] = weight.shape().dims::<4>();
    let taps = geometry.kernel * geometry.kernel;
    let filters = packed(weight, [taps, channels, outputs], [1, outputs * taps, taps]);
    let reflect = geometry.border == Border::Reflect;
    // With reflection first the gradient of the padded picture, then its margin folded back.
    let (margin, padding) = if reflect { (geometry.padding, 0) } else { (0, geometry.padding) };
    let size = input_size.map(|side| side + 2 * margin);
    let output_grad = into_contiguous(output_grad);
    let output = empty(&output_grad, [batch, outputs, size[0], size[1]]);
    let sum = Sum { batch, channels, outputs, kernel: geometry.kernel, border: Border::Zero };
    let bias = bias.map(into_contiguous);
    for down in 0..geometry.stride {
        for across in 0..geometry.stride {
            let rows = AxisPlan::adjoint(geometry, height, size[0], padding, down);
            let columns = AxisPlan::adjoint(geometry, width, size[1], padding, across);
            sum.launch(&output_grad, &filters, bias.as_ref(), &output, [rows, columns]);
        }
    }
    if reflect { folded(output, input_size, geometry.padding) } else { output }
}

fn folded<R: CubeRuntime>(padded: CubeTensor<R>, [height, width]: [usize; 2], padding: usize) -> CubeTensor<R> {
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

/// The partial sums `[parts, outputs, channels, k, k]` of [`crate::kernels::Kernels::convolve_weight_grad`].
pub fn weight_grad_parts<R: CubeRuntime>(
    input: CubeTensor<R>,
    output_grad: CubeTensor<R>,
    geometry: Geometry,
) -> CubeTensor<R> {
    let [batch, channels, height, width] = input.shape().dims();
    let [_, outputs, rows, columns] = output_grad.shape().dims::<4>();
    let last = |tensor, channels, plane| packed(tensor, [batch, plane, channels], [channels * plane, 1, plane]);
    let input = last(input, channels, height * width);
    let grad = last(output_grad, outputs, rows * columns);
    let vectors = vectors(outputs);
    let units = channels.div_ceil(WIDTH) * geometry.kernel * geometry.kernel;
    let groups = outputs.div_ceil(WIDTH).div_ceil(vectors as usize);
    let lines = batch * rows;
    let lines_a_part = lines.div_ceil((BUSY / (units * groups)).clamp(1, lines.max(1))).max(1);
    let parts = lines.div_ceil(lines_a_part).max(1);
    let sums = empty(&input, [parts, outputs, channels, geometry.kernel, geometry.kernel]);
    let axes = [height, width].map(|side| AxisPlan::forward(geometry, side));
    let client = input.client.clone();
    #[allow(unsafe_code, reason = "the kernel clamps what it reads to the input and checks what it writes")]
    unsafe {
        correlate::launch_unchecked::<R>(
            &client,
            CubeCount::Static((units as u32).div_ceil(UNITS), groups as u32, parts as u32),
            CubeDim::new_1d(UNITS),
            input.into_array_arg(),
            grad.into_array_arg(),
            sums.clone().into_array_arg(),
            channels as u32,
            outputs as u32,
            batch as u32,
            lines_a_part as u32,
            axes[0].launch(),
            axes[1].launch(),
            geometry.kernel as u32,
            geometry.border == Border::Reflect,
            vectors,
        );
    }
    sums
}
