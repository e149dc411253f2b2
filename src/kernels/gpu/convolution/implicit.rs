//! Convolutions as products of tiles (see [`super::tile`]) whose right-hand slices are gathered from pictures, never stored.

use burn::tensor::TensorMetadata;
use burn_cubecl::ops::reshape;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeRuntime, cubecl};
use cubecl::prelude::*;

use super::axis::{Axis, source};
use super::gather::Sum;
use super::layout::packed;
use super::tile::{Cores, IN_BF16, IN_F32, IN_TF32, Multiplier, Slices, Tile, Units, bring, place, put};
use super::{Channels, WIDTH, zeros};
use crate::kernels::gpu::{UNITS, elementwise, empty, position};
use crate::kernels::{Border, Geometry, Precision, precision};

/// Four places of a picture, by pixel, and 1 for each that counts: see [`patch`].
#[derive(CubeType)]
struct Places {
    at: Array<u32>,
    counts: Channels,
}

/// Where the four outputs from `first` on read their tap (`down`, `across`). Outputs are counted over all pictures of a batch.
#[cube]
fn patch(
    first: u32,
    down: i32,
    across: i32,
    picture: u32,
    batch: u32,
    rows: &Axis,
    columns: &Axis,
    #[comptime] reflect: bool,
) -> Places {
    let grid = rows.grid * columns.grid;
    let mut at = Array::<u32>::new(4usize);
    let mut counts = zeros();
    #[unroll]
    for lane in 0..4usize {
        let output = first + lane as u32;
        let inside = output < batch * grid;
        let output = select(inside, output, 0u32);
        let pixel = output % grid;
        let row = (pixel / columns.grid) as i32 * rows.step + rows.offset + down;
        let column = (pixel % columns.grid) as i32 * columns.step + columns.offset + across;
        let place = source(row, rows.input, reflect) * columns.input + source(column, columns.input, reflect);
        at[lane] = output / grid * picture + place as u32;
        let mut counted = inside;
        if comptime!(!reflect) {
            counted = counted && row >= 0 && row < rows.input && column >= 0 && column < columns.input;
        }
        counts[lane] = f32::cast_from(counted);
    }
    Places { at, counts }
}

/// A unit's share of a slice of the picture: channels of its four places.
#[cube]
fn bring_pixels(
    input: &Array<f32>,
    share: &mut Array<Channels>,
    places: &Places,
    channel: u32,
    channels: u32,
    plane: u32,
    #[comptime] tile: Tile,
) {
    let lines = comptime!(tile.units() / (tile.columns / 4));
    #[unroll]
    for number in 0..comptime!(tile.slices.depth / (tile.units() / (tile.columns / 4))) {
        let channel = channel + UNIT_POS_X / comptime!(tile.columns / 4) + number * lines;
        let mut value = zeros();
        if channel < channels {
            let start = channel * plane;
            #[unroll]
            for lane in 0..4usize {
                value[lane] = input[(places.at[lane] + start) as usize];
            }
            value *= places.counts;
        }
        share[number as usize] = value;
    }
}

/// `output[part, n, o, q] = Σ input[n, c, source(q, tap)] · filter[tap, c, o]` over a part of the taps and channels: as
/// [`super::gather`], by tiles of output channels × pixels. Floor: 2 operations a tap, input channel and output.
#[cube(launch_unchecked)]
fn gather_tiles<M: Multiplier>(
    input: &Array<f32>,
    filters: &Array<Channels>,
    bias: &Array<f32>,
    output: &mut Array<f32>,
    batch: u32,
    channels: u32,
    outputs: u32,
    slices_a_part: u32,
    first_rows: Axis,
    first_columns: Axis,
    #[comptime] kernel: u32,
    #[comptime] phases: u32,
    #[comptime] reflect: bool,
    #[comptime] has_bias: bool,
    #[comptime] tile: Tile,
) {
    let phase = CUBE_POS_Z % comptime!(phases * phases);
    let part = CUBE_POS_Z / comptime!(phases * phases);
    let rows = first_rows.of_phase(phase / phases, kernel, phases);
    let columns = first_columns.of_phase(phase % phases, kernel, phases);
    let depth = comptime!(tile.slices.depth);
    let (tile_rows, tile_columns) = comptime!((tile.rows / 4, tile.columns / 4));
    let (row0, column0) = (CUBE_POS_Y * tile_rows, CUBE_POS_X * tile_columns);
    let groups = outputs.div_ceil(4);
    let plane = (rows.input * columns.input) as u32;
    let slices = channels.div_ceil(depth);
    let first = part * slices_a_part;
    let count = min(slices_a_part, rows.taps * columns.taps * slices - min(first, rows.taps * columns.taps * slices));
    let mine = 4 * (column0 + UNIT_POS_X % tile_columns);

    let gap = comptime!(tile.slices.gap);
    let mut left_slice = SharedMemory::<M::Values>::new(comptime!((depth * (tile_rows + gap)) as usize));
    let mut right_slice = SharedMemory::<M::Values>::new(comptime!((depth * (tile_columns + gap)) as usize));
    let mut left_share = Array::<Channels>::new(comptime!((depth * tile_rows / tile.units()) as usize));
    let mut right_share = Array::<Channels>::new(comptime!((depth * tile_columns / tile.units()) as usize));
    let mut sums = M::zeros(tile);

    for number in 0..count + 1 {
        // Slice `number` is on its way while the one before it is multiplied.
        if number > 0 {
            sync_cube();
            put::<M>(&left_share, &mut left_slice, tile_rows, tile);
            put::<M>(&right_share, &mut right_slice, tile_columns, tile);
            sync_cube();
        }
        if number < count {
            let slice = first + number;
            let (tap, channel) = (slice / slices, slice % slices * depth);
            let (down, across) = (tap / columns.taps, tap % columns.taps);
            let (down_by, across_by) = (down as i32 * rows.tap_step, across as i32 * columns.tap_step);
            let filter = (rows.tap + down * rows.taps_apart) * kernel + columns.tap + across * columns.taps_apart;
            let (line, end) = (filter * channels + channel, (filter + 1) * channels);
            bring(filters, &mut left_share, line, end, row0, groups, tile_rows, tile);
            let places = patch(mine, down_by, across_by, channels * plane, batch, &rows, &columns, reflect);
            bring_pixels(input, &mut right_share, &places, channel, channels, plane, tile);
        }
        if number > 0 {
            M::multiply(&left_slice, &right_slice, &mut sums, tile);
        }
    }

    let grid = rows.grid * columns.grid;
    let target = rows.output * columns.output;
    let sums = M::outputs(&sums, tile);
    #[unroll]
    for number in 0..16u32 {
        let (row, column) = place(number, tile);
        let (at, first) = (4 * row0 + row, 4 * (column0 + column));
        if at < outputs {
            let mut values = sums[number as usize];
            if comptime!(has_bias) {
                values += Channels::new(bias[at as usize]);
            }
            #[unroll]
            for lane in 0..4usize {
                let output_at = first + lane as u32;
                if output_at < batch * grid {
                    let (picture, pixel) = (output_at / grid, output_at % grid);
                    let row = pixel / columns.grid * rows.spread + rows.phase;
                    let column = pixel % columns.grid * columns.spread + columns.phase;
                    let map = (part * batch + picture) * outputs + at;
                    output[(map * target + row * columns.output + column) as usize] = values[lane];
                }
            }
        }
    }
}

/// Runs code with the multiplier `M` of a precision and its `slices`.
macro_rules! with_multiplier {
    ($M:ident, $slices:ident, $body:expr) => {
        match precision() {
            Precision::F32 => {
                type $M = Units;
                let $slices = IN_F32;
                $body
            }
            Precision::Tf32 => {
                type $M = Cores<tf32>;
                let $slices = IN_TF32;
                $body
            }
            Precision::Bf16 => {
                type $M = Cores<half::bf16>;
                let $slices = IN_BF16;
                $body
            }
        }
    };
}

impl Sum {
    /// Computes the sum for outputs of `size`; `axes` are those of the first of `phases` × `phases` grids that they fall into.
    pub fn by_tiles<R: CubeRuntime>(
        self,
        input: &CubeTensor<R>,
        filters: &CubeTensor<R>,
        bias: Option<&CubeTensor<R>>,
        size: [usize; 2],
        axes: [Axis; 2],
        phases: usize,
    ) -> CubeTensor<R> {
        with_multiplier!(M, slices, self.by_tiles_of::<R, M>(input, filters, bias, size, axes, phases, slices))
    }

    #[allow(clippy::too_many_arguments, reason = "those of `by_tiles`, and what a type parameter cannot carry")]
    fn by_tiles_of<R: CubeRuntime, M: Multiplier>(
        self,
        input: &CubeTensor<R>,
        filters: &CubeTensor<R>,
        bias: Option<&CubeTensor<R>>,
        size: [usize; 2],
        [rows, columns]: [Axis; 2],
        phases: usize,
        slices: Slices,
    ) -> CubeTensor<R> {
        let Self { batch, channels, outputs, kernel, border } = self;
        let shape = [batch, outputs, size[0], size[1]];
        // The first grid is the largest.
        let pixels = batch * (rows.grid * columns.grid) as usize;
        let lines = kernel.div_ceil(phases).pow(2) * channels.next_multiple_of(slices.depth as usize);
        let tile = Tile::of(outputs, pixels, slices);
        let [across, down] = tile.cubes(outputs, pixels);
        let grids = phases * phases;
        let [parts, lines_a_part] = tile.parts(outputs * grids, pixels, lines);
        let bias_now = bias.filter(|_| parts == 1);
        let output = empty(input, [parts as usize, shape.iter().product()]);
        #[allow(unsafe_code, reason = "the kernel clamps what it reads to the input and checks what it writes")]
        unsafe {
            gather_tiles::launch_unchecked::<M, R>(
                &input.client,
                CubeCount::Static(across, down, parts * grids as u32),
                CubeDim::new_1d(tile.units()),
                input.clone().into_array_arg(),
                filters.clone().into_array_arg(),
                bias_now.unwrap_or(filters).clone().into_array_arg(),
                output.clone().into_array_arg(),
                batch as u32,
                channels as u32,
                outputs as u32,
                lines_a_part / slices.depth,
                rows.launch(),
                columns.launch(),
                kernel as u32,
                phases as u32,
                border == Border::Reflect,
                bias_now.is_some(),
                tile,
            );
        }
        summed(output, parts as usize, bias.filter(|_| parts > 1), shape)
    }
}

/// `output[part, o, tap, c] = Σ grad[q, o] · input[source(q, tap), c]` over a part of the outputs `q` of all pictures. Both are
/// read as vectors of channels; columns of the product are taps × channels. Floor: 2 operations a tap, output and pair of
/// channels.
#[cube(launch_unchecked)]
fn correlate_tiles<M: Multiplier>(
    input: &Array<Channels>,
    grad: &Array<Channels>,
    output: &mut Array<Channels>,
    channel_groups: u32,
    output_groups: u32,
    batch: u32,
    lines_a_part: u32,
    rows: Axis,
    columns: Axis,
    #[comptime] kernel: u32,
    #[comptime] reflect: bool,
    #[comptime] tile: Tile,
) {
    let depth = comptime!(tile.slices.depth);
    let (tile_rows, tile_columns) = comptime!((tile.rows / 4, tile.columns / 4));
    let (row0, column0) = (CUBE_POS_Y * tile_rows, CUBE_POS_X * tile_columns);
    let width = channel_groups * comptime!(kernel * kernel);
    let grid = rows.grid * columns.grid;
    let mut line = CUBE_POS_Z * lines_a_part;
    let end = min(line + lines_a_part, batch * grid);
    let mine = column0 + UNIT_POS_X % tile_columns;
    let (tap, channel) = (mine / channel_groups, mine % channel_groups);
    let (down, across) = ((tap / kernel) as i32 + rows.offset, (tap % kernel) as i32 + columns.offset);

    let gap = comptime!(tile.slices.gap);
    let mut left_slice = SharedMemory::<M::Values>::new(comptime!((depth * (tile_rows + gap)) as usize));
    let mut right_slice = SharedMemory::<M::Values>::new(comptime!((depth * (tile_columns + gap)) as usize));
    let mut left_share = Array::<Channels>::new(comptime!((depth * tile_rows / tile.units()) as usize));
    let mut right_share = Array::<Channels>::new(comptime!((depth * tile_columns / tile.units()) as usize));
    let mut sums = M::zeros(tile);

    let mut is_first = true;
    while line < end + depth {
        if !is_first {
            sync_cube();
            put::<M>(&left_share, &mut left_slice, tile_rows, tile);
            put::<M>(&right_share, &mut right_slice, tile_columns, tile);
            sync_cube();
        }
        bring(grad, &mut left_share, line, end, row0, output_groups, tile_rows, tile);
        #[unroll]
        for number in 0..comptime!(depth * tile_columns / tile.units()) {
            let q = line + UNIT_POS_X / tile_columns + number * comptime!(tile.units() / tile_columns);
            let mut value = zeros();
            if q < end && mine < width {
                let (picture, pixel) = (q / grid, q % grid);
                let row = (pixel / columns.grid) as i32 * rows.step + down;
                let column = (pixel % columns.grid) as i32 * columns.step + across;
                if comptime!(reflect) || (row >= 0 && row < rows.input && column >= 0 && column < columns.input) {
                    let (row, column) = (source(row, rows.input, reflect), source(column, columns.input, reflect));
                    let place = (picture * rows.input as u32 + row as u32) * columns.input as u32 + column as u32;
                    value = input[(place * channel_groups + channel) as usize];
                }
            }
            right_share[number as usize] = value;
        }
        if !is_first {
            M::multiply(&left_slice, &right_slice, &mut sums, tile);
        }
        is_first = false;
        line += depth;
    }

    let sums = M::outputs(&sums, tile);
    #[unroll]
    for number in 0..16u32 {
        let (row, column) = place(number, tile);
        let (m, n) = (4 * row0 + row, column0 + column);
        if m < 4 * output_groups && n < width {
            output[((CUBE_POS_Z * 4 * output_groups + m) * width + n) as usize] = sums[number as usize];
        }
    }
}

/// The weight's gradient `[o, c, tap]` from parts `[part, o, tap, c]` with more, empty channels.
#[cube(launch_unchecked)]
fn collect(
    parts: &Array<f32>,
    sum: &mut Array<f32>,
    count: u32,
    part: u32,
    channels: u32,
    padded: u32,
    #[comptime] taps: u32,
) {
    let at = position();
    if (at as usize) < sum.len() {
        let (tap, rest) = (at % taps, at / taps);
        let (channel, output) = (rest % channels, rest / channels);
        let place = (output * taps + tap) * padded + channel;
        let mut total = 0.0f32;
        for number in 0..count {
            total += parts[(number * part + place) as usize];
        }
        sum[at as usize] = total;
    }
}

/// See [`crate::kernels::Kernels::convolve_weight_grad`].
pub fn weight_grad<R: CubeRuntime>(
    input: CubeTensor<R>,
    output_grad: CubeTensor<R>,
    geometry: Geometry,
) -> CubeTensor<R> {
    with_multiplier!(M, slices, weight_grad_of::<R, M>(input, output_grad, geometry, slices))
}

fn weight_grad_of<R: CubeRuntime, M: Multiplier>(
    input: CubeTensor<R>,
    output_grad: CubeTensor<R>,
    geometry: Geometry,
    slices: Slices,
) -> CubeTensor<R> {
    let [batch, channels, height, width] = input.shape().dims();
    let [_, outputs, rows, columns] = output_grad.shape().dims::<4>();
    let last = |tensor, channels, plane| packed(tensor, [batch, plane, channels], [channels * plane, 1, plane]);
    let input = last(input, channels, height * width);
    let grad = last(output_grad, outputs, rows * columns);
    let kernel = geometry.kernel;
    let taps = kernel * kernel;
    let [padded, padded_outputs] = [channels, outputs].map(|count| count.next_multiple_of(WIDTH));
    let tile = Tile::of(outputs, taps * padded, slices);
    let [across, down] = tile.cubes(outputs, taps * padded);
    let [parts, lines_a_part] = tile.parts(outputs, taps * padded, batch * rows * columns);
    let sums = empty(&input, [parts as usize, padded_outputs * taps * padded]);
    let weight = empty(&input, [outputs, channels, kernel, kernel]);
    let axes = [height, width].map(|side| Axis::forward(geometry, side));
    let client = input.client.clone();
    #[allow(unsafe_code, reason = "the kernels clamp what they read to the input and check what they write")]
    unsafe {
        correlate_tiles::launch_unchecked::<M, R>(
            &client,
            CubeCount::Static(across, down, parts),
            CubeDim::new_1d(tile.units()),
            input.into_array_arg(),
            grad.into_array_arg(),
            sums.clone().into_array_arg(),
            (padded / WIDTH) as u32,
            (padded_outputs / WIDTH) as u32,
            batch as u32,
            lines_a_part,
            axes[0].launch(),
            axes[1].launch(),
            kernel as u32,
            geometry.border == Border::Reflect,
            tile,
        );
        collect::launch_unchecked::<R>(
            &client,
            elementwise(outputs * channels * taps),
            CubeDim::new_1d(UNITS),
            sums.into_array_arg(),
            weight.clone().into_array_arg(),
            parts,
            (padded_outputs * taps * padded) as u32,
            channels as u32,
            padded as u32,
            taps as u32,
        );
    }
    weight
}

/// Adds up the parts of an output, and the bias.
#[cube(launch_unchecked)]
fn add_parts(
    parts: &Array<f32>,
    bias: &Array<f32>,
    sum: &mut Array<f32>,
    count: u32,
    plane: u32,
    outputs: u32,
    #[comptime] has_bias: bool,
) {
    let at = position();
    if (at as usize) < sum.len() {
        let mut total = 0.0f32;
        if comptime!(has_bias) {
            total = bias[(at / plane % outputs) as usize];
        }
        for part in 0..count {
            total += parts[part as usize * sum.len() + at as usize];
        }
        sum[at as usize] = total;
    }
}

/// The sum of `count` parts of an output of this shape, plus a bias.
pub fn summed<R: CubeRuntime>(
    parts: CubeTensor<R>,
    count: usize,
    bias: Option<&CubeTensor<R>>,
    shape: [usize; 4],
) -> CubeTensor<R> {
    if count == 1 {
        return reshape(parts, shape.into());
    }
    let sum = empty(&parts, shape);
    let client = parts.client.clone();
    #[allow(unsafe_code, reason = "the kernel checks its position against the buffer it writes")]
    unsafe {
        add_parts::launch_unchecked::<R>(
            &client,
            elementwise(shape.iter().product()),
            CubeDim::new_1d(UNITS),
            parts.clone().into_array_arg(),
            bias.unwrap_or(&parts).clone().into_array_arg(),
            sum.clone().into_array_arg(),
            count as u32,
            (shape[2] * shape[3]) as u32,
            shape[1] as u32,
            bias.is_some(),
        );
    }
    sum
}
