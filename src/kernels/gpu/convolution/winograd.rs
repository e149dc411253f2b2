//! 3×3 convolutions of stride 1 by Winograd's F(2×2, 3×3) (Lavin & Gray 2016, <https://arxiv.org/abs/1509.09308>):
//! `Y = Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A` on tiles of 2×2 outputs, in which a sum over channels is 16 products of matrices with 2.25
//! times fewer multiplications than the definition. The input's gradient is the same with the filter turned; the weight's is
//! `Gᵀ[(A dY Aᵀ) ⊙ (Bᵀ d B)]G`, summed over the tiles.
//!
//! Floor: `32 · outputs · channels · tiles` operations; spectra of four times the pictures' size are written and read once.

use burn::tensor::TensorMetadata;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeRuntime, cubecl};
use cubecl::prelude::*;

use super::axis::source;
use super::tile::multiplied;
use crate::kernels::gpu::{UNITS, empty};
use crate::kernels::{Border, Geometry, Precision, precision};

/// Values of a spectrum.
const POINTS: usize = 16;

/// What a unit transforms: a channel and a tile, of which neighbours make neighbouring units.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
struct Lines {
    channels: u32,
    /// Tiles of a picture, by rows.
    rows: u32,
    columns: u32,
    batch: u32,
    /// Channels and tiles of a spectrum, filled up to whole vectors.
    channels_apart: u32,
    tiles_apart: u32,
}

/// A channel and a tile among those of all pictures.
#[derive(CubeType, Clone, Copy)]
struct Share {
    channel: u32,
    tile: u32,
    counts: bool,
}

/// A unit's share: by rows of tiles, or by patches of 8 channels × 8 tiles where channels are written side by side.
#[cube]
fn share(lines: &Lines, #[comptime] channels_last: bool) -> Share {
    let tiles = lines.rows * lines.columns * lines.batch;
    let mut channel = CUBE_POS_Y;
    let mut tile = CUBE_POS_X * CUBE_DIM_X + UNIT_POS_X;
    if comptime!(channels_last) {
        channel = CUBE_POS_Y * 8 + UNIT_POS_X % 8;
        tile = CUBE_POS_X * 8 + UNIT_POS_X / 8;
    }
    Share { channel, tile, counts: channel < lines.channels && tile < tiles }
}

/// Where a share's first value lies in the spectra, and how far apart the 16 are.
#[cube]
fn spectrum(share: &Share, lines: &Lines, #[comptime] channels_last: bool) -> (u32, u32) {
    let mut at = share.channel * lines.tiles_apart + share.tile;
    if comptime!(channels_last) {
        at = share.tile * lines.channels_apart + share.channel;
    }
    (at, lines.channels_apart * lines.tiles_apart)
}

/// `G g Gᵀ` of every pair of channels, `[16, c, o]`; `turned`: of the filter turned around, whose inputs are the outputs.
#[cube(launch_unchecked)]
fn filters(
    weight: &Array<f32>,
    spectra: &mut Array<f32>,
    inputs: u32,
    outputs: u32,
    padded: u32,
    #[comptime] turned: bool,
) {
    let output = CUBE_POS_X * CUBE_DIM_X + UNIT_POS_X;
    let input = CUBE_POS_Y;
    if output < padded {
        let mut taps = Array::<f32>::new(9usize);
        #[unroll]
        for tap in 0..9usize {
            let mut value = 0.0f32;
            if output < outputs {
                let mut at = (output * inputs + input) * 9 + tap as u32;
                if comptime!(turned) {
                    at = (input * outputs + output) * 9 + 8 - tap as u32;
                }
                value = weight[at as usize];
            }
            taps[tap] = value;
        }
        // G g, 4 × 3.
        let mut half = Array::<f32>::new(12usize);
        #[unroll]
        for column in 0..3usize {
            let (first, middle, last) = (taps[column], taps[3 + column], taps[6 + column]);
            half[column] = first;
            half[3 + column] = 0.5f32 * (first + middle + last);
            half[6 + column] = 0.5f32 * (first - middle + last);
            half[9 + column] = last;
        }
        #[unroll]
        for row in 0..4usize {
            let (first, middle, last) = (half[3 * row], half[3 * row + 1], half[3 * row + 2]);
            let at = ((4 * row as u32 * inputs + input) * padded + output) as usize;
            let apart = (inputs * padded) as usize;
            spectra[at] = first;
            spectra[at + apart] = 0.5f32 * (first + middle + last);
            spectra[at + 2 * apart] = 0.5f32 * (first - middle + last);
            spectra[at + 3 * apart] = last;
        }
    }
}

/// `Bᵀ d B` of every tile: `[16, c, tile]` or `[16, tile, c]`.
#[cube(launch_unchecked)]
fn inputs(
    input: &Array<f32>,
    spectra: &mut Array<f32>,
    lines: Lines,
    height: i32,
    width: i32,
    padding: i32,
    #[comptime] reflect: bool,
    #[comptime] channels_last: bool,
) {
    let mine = share(&lines, channels_last);
    if mine.counts {
        let (picture, tile) = (mine.tile / (lines.rows * lines.columns), mine.tile % (lines.rows * lines.columns));
        let top = (tile / lines.columns) as i32 * 2 - padding;
        let left = (tile % lines.columns) as i32 * 2 - padding;
        let plane = (picture * lines.channels + mine.channel) * (height * width) as u32;
        let mut values = Array::<f32>::new(16usize);
        #[unroll]
        for place in 0..16usize {
            let (row, column) = (top + (place / 4) as i32, left + (place % 4) as i32);
            let at = source(row, height, reflect) * width + source(column, width, reflect);
            let mut value = input[(plane + at as u32) as usize];
            if comptime!(!reflect) {
                value *= f32::cast_from(row >= 0 && row < height && column >= 0 && column < width);
            }
            values[place] = value;
        }
        // Bᵀ d, in place.
        #[unroll]
        for column in 0..4usize {
            let (a, b) = (values[column], values[4 + column]);
            let (c, d) = (values[8 + column], values[12 + column]);
            values[column] = a - c;
            values[4 + column] = b + c;
            values[8 + column] = c - b;
            values[12 + column] = b - d;
        }
        let (at, apart) = spectrum(&mine, &lines, channels_last);
        #[unroll]
        for row in 0..4usize {
            let (a, b) = (values[4 * row], values[4 * row + 1]);
            let (c, d) = (values[4 * row + 2], values[4 * row + 3]);
            let start = at + 4 * row as u32 * apart;
            spectra[start as usize] = a - c;
            spectra[(start + apart) as usize] = b + c;
            spectra[(start + 2 * apart) as usize] = c - b;
            spectra[(start + 3 * apart) as usize] = b - d;
        }
    }
}

/// `Aᵀ m A` of every tile of spectra `[16, o, tile]`, plus a bias.
#[cube(launch_unchecked)]
fn outputs(
    spectra: &Array<f32>,
    bias: &Array<f32>,
    output: &mut Array<f32>,
    lines: Lines,
    height: u32,
    width: u32,
    #[comptime] has_bias: bool,
) {
    let mine = share(&lines, false);
    if mine.counts {
        let (at, apart) = spectrum(&mine, &lines, false);
        let mut half = Array::<f32>::new(8usize);
        #[unroll]
        for column in 0..4usize {
            let start = at + column as u32 * apart;
            let (a, b) = (spectra[start as usize], spectra[(start + 4 * apart) as usize]);
            let (c, d) = (spectra[(start + 8 * apart) as usize], spectra[(start + 12 * apart) as usize]);
            half[column] = a + b + c;
            half[4 + column] = b - c - d;
        }
        let mut added = 0.0f32;
        if comptime!(has_bias) {
            added = bias[mine.channel as usize];
        }
        let (picture, tile) = (mine.tile / (lines.rows * lines.columns), mine.tile % (lines.rows * lines.columns));
        let plane = (picture * lines.channels + mine.channel) * height;
        #[unroll]
        for row in 0..2usize {
            let (a, b, c, d) = (half[4 * row], half[4 * row + 1], half[4 * row + 2], half[4 * row + 3]);
            let (down, across) = (tile / lines.columns * 2 + row as u32, tile % lines.columns * 2);
            if down < height {
                let place = (plane + down) * width + across;
                output[place as usize] = a + b + c + added;
                if across + 1 < width {
                    output[(place + 1) as usize] = b - c - d + added;
                }
            }
        }
    }
}

/// `A dY Aᵀ` of every tile: `[16, tile, o]`.
#[cube(launch_unchecked)]
fn grads(grad: &Array<f32>, spectra: &mut Array<f32>, lines: Lines, height: u32, width: u32) {
    let mine = share(&lines, true);
    if mine.counts {
        let (picture, tile) = (mine.tile / (lines.rows * lines.columns), mine.tile % (lines.rows * lines.columns));
        let plane = (picture * lines.channels + mine.channel) * height;
        let (down, across) = (tile / lines.columns * 2, tile % lines.columns * 2);
        let mut half = Array::<f32>::new(8usize);
        #[unroll]
        for column in 0..2usize {
            let across = across + column as u32;
            let mut upper = 0.0f32;
            let mut lower = 0.0f32;
            if across < width {
                upper = grad[((plane + down) * width + across) as usize];
                if down + 1 < height {
                    lower = grad[((plane + down + 1) * width + across) as usize];
                }
            }
            half[column] = upper;
            half[2 + column] = upper + lower;
            half[4 + column] = upper - lower;
            half[6 + column] = 0.0f32 - lower;
        }
        let (at, apart) = spectrum(&mine, &lines, true);
        #[unroll]
        for row in 0..4usize {
            let (a, b) = (half[2 * row], half[2 * row + 1]);
            let start = at + 4 * row as u32 * apart;
            spectra[start as usize] = a;
            spectra[(start + apart) as usize] = a + b;
            spectra[(start + 2 * apart) as usize] = a - b;
            spectra[(start + 3 * apart) as usize] = 0.0f32 - b;
        }
    }
}

/// `Gᵀ u G` of every pair of channels, from parts `[16, part, o, c]` of `u`.
#[cube(launch_unchecked)]
fn weights(
    spectra: &Array<f32>,
    weight: &mut Array<f32>,
    parts: u32,
    inputs: u32,
    padded_inputs: u32,
    padded_outputs: u32,
) {
    let input = CUBE_POS_X * CUBE_DIM_X + UNIT_POS_X;
    let output = CUBE_POS_Y;
    if input < inputs {
        let part = padded_inputs * padded_outputs;
        let mut values = Array::<f32>::new(16usize);
        #[unroll]
        for point in 0..16usize {
            let mut at = point as u32 * parts * part + output * padded_inputs + input;
            let mut total = 0.0f32;
            for _part in 0..parts {
                total += spectra[at as usize];
                at += part;
            }
            values[point] = total;
        }
        let mut half = Array::<f32>::new(12usize);
        #[unroll]
        for column in 0..4usize {
            let (a, b) = (values[column], values[4 + column]);
            let (c, d) = (values[8 + column], values[12 + column]);
            half[column] = a + 0.5f32 * (b + c);
            half[4 + column] = 0.5f32 * (b - c);
            half[8 + column] = 0.5f32 * (b + c) + d;
        }
        let at = ((output * inputs + input) * 9) as usize;
        #[unroll]
        for row in 0..3usize {
            let (a, b, c, d) = (half[4 * row], half[4 * row + 1], half[4 * row + 2], half[4 * row + 3]);
            weight[at + 3 * row] = a + 0.5f32 * (b + c);
            weight[at + 3 * row + 1] = 0.5f32 * (b - c);
            weight[at + 3 * row + 2] = 0.5f32 * (b + c) + d;
        }
    }
}

/// Whether a convolution is one that this way is for: not with tensor cores, whose rounding its sums of filters would make larger.
pub fn suits(geometry: Geometry, channels: usize, outputs: usize) -> bool {
    precision() == Precision::F32 && geometry.kernel == 3 && geometry.stride == 1 && channels.min(outputs) >= 16
}

impl Lines {
    fn of(batch: usize, channels: usize, [height, width]: [usize; 2]) -> Self {
        let [rows, columns] = [height, width].map(|side| side.div_ceil(2));
        Self {
            channels: channels as u32,
            rows: rows as u32,
            columns: columns as u32,
            batch: batch as u32,
            channels_apart: channels.next_multiple_of(4) as u32,
            tiles_apart: (batch * rows * columns).next_multiple_of(4) as u32,
        }
    }

    fn tiles(&self) -> u32 {
        self.rows * self.columns * self.batch
    }

    /// Cubes for a unit a channel and tile, as [`share`] deals them out.
    fn cubes(&self, channels_last: bool) -> CubeCount {
        if channels_last {
            CubeCount::Static(self.tiles().div_ceil(8), self.channels.div_ceil(8), 1)
        } else {
            CubeCount::Static(self.tiles().div_ceil(UNITS), self.channels, 1)
        }
    }

    /// Uninitialised spectra.
    fn spectra<R: CubeRuntime>(&self, like: &CubeTensor<R>) -> CubeTensor<R> {
        empty(like, [POINTS, self.channels_apart as usize * self.tiles_apart as usize])
    }

    fn launch<R: CubeRuntime>(self) -> LinesLaunch<R> {
        let Self { channels, rows, columns, batch, channels_apart, tiles_apart } = self;
        LinesLaunch::new(channels, rows, columns, batch, channels_apart, tiles_apart)
    }
}

/// The spectra of a picture's tiles, `lines` of them.
fn input_spectra<R: CubeRuntime>(
    input: CubeTensor<R>,
    lines: Lines,
    padding: usize,
    border: Border,
    channels_last: bool,
) -> CubeTensor<R> {
    let input = into_contiguous(input);
    let [.., height, width] = input.shape().dims::<4>();
    let spectra = lines.spectra(&input);
    let client = input.client.clone();
    #[allow(unsafe_code, reason = "the kernel clamps what it reads to the input and writes only its own share")]
    unsafe {
        inputs::launch_unchecked::<R>(
            &client,
            lines.cubes(channels_last),
            CubeDim::new_1d(UNITS),
            input.into_array_arg(),
            spectra.clone().into_array_arg(),
            lines.launch(),
            height as i32,
            width as i32,
            padding as i32,
            border == Border::Reflect,
            channels_last,
        );
    }
    spectra
}

/// A convolution with `padding` pixels of `border` on every side; `turned`: with the filter `[inputs, outputs, 3, 3]` of
/// which it is the adjoint.
pub fn convolve<R: CubeRuntime>(
    input: CubeTensor<R>,
    weight: CubeTensor<R>,
    bias: Option<CubeTensor<R>>,
    padding: usize,
    border: Border,
    turned: bool,
) -> CubeTensor<R> {
    let [batch, channels, height, width] = input.shape().dims();
    let [first, second, ..] = weight.shape().dims::<4>();
    let count = if turned { second } else { first };
    let padded = count.next_multiple_of(4);
    let size = [height, width].map(|side| side + 2 * padding - 2);
    let weight = into_contiguous(weight);
    let filter_spectra = empty(&weight, [POINTS, channels * padded]);
    let client = input.client.clone();
    #[allow(unsafe_code, reason = "the kernel checks its position against the sizes it is given")]
    unsafe {
        filters::launch_unchecked::<R>(
            &client,
            CubeCount::Static((padded as u32).div_ceil(UNITS), channels as u32, 1),
            CubeDim::new_1d(UNITS),
            weight.into_array_arg(),
            filter_spectra.clone().into_array_arg(),
            channels as u32,
            count as u32,
            padded as u32,
            turned,
        );
    }
    // Between vectors of tiles nothing is left out, so channels need not be filled up.
    let tiles = Lines { channels_apart: channels as u32, ..Lines::of(batch, channels, size) };
    let spectra = input_spectra(input, tiles, padding, border, false);
    let sizes = [POINTS, padded, tiles.tiles_apart as usize, channels];
    let (spectra, _) = multiplied(filter_spectra, spectra, sizes, false);
    let output = empty(&spectra, [batch, count, size[0], size[1]]);
    let bias = bias.map(into_contiguous);
    let lines = Lines::of(batch, count, size);
    #[allow(unsafe_code, reason = "the kernel checks what it writes against the sizes it is given")]
    unsafe {
        outputs::launch_unchecked::<R>(
            &client,
            lines.cubes(false),
            CubeDim::new_1d(UNITS),
            spectra.clone().into_array_arg(),
            bias.as_ref().unwrap_or(&spectra).clone().into_array_arg(),
            output.clone().into_array_arg(),
            lines.launch(),
            size[0] as u32,
            size[1] as u32,
            bias.is_some(),
        );
    }
    output
}

/// See [`crate::kernels::Kernels::convolve_weight_grad`].
pub fn weight_grad<R: CubeRuntime>(
    input: CubeTensor<R>,
    output_grad: CubeTensor<R>,
    geometry: Geometry,
) -> CubeTensor<R> {
    let [_, channels, ..] = input.shape().dims::<4>();
    let [batch, count, height, width] = output_grad.shape().dims();
    let output_grad = into_contiguous(output_grad);
    let client = input.client.clone();
    // Tiles are lines of these matrices and need not be filled up.
    let of = |channels| {
        let lines = Lines::of(batch, channels, [height, width]);
        Lines { tiles_apart: lines.tiles(), ..lines }
    };
    let (lines, tiles) = (of(count), of(channels));
    let grad_spectra = lines.spectra(&output_grad);
    #[allow(unsafe_code, reason = "the kernel checks what it reads and writes against the sizes it is given")]
    unsafe {
        grads::launch_unchecked::<R>(
            &client,
            lines.cubes(true),
            CubeDim::new_1d(UNITS),
            output_grad.into_array_arg(),
            grad_spectra.clone().into_array_arg(),
            lines.launch(),
            height as u32,
            width as u32,
        );
    }
    let spectra = input_spectra(input, tiles, geometry.padding, geometry.border, true);
    let [padded_outputs, padded_inputs] = [lines.channels_apart, tiles.channels_apart];
    let depth = tiles.tiles() as usize;
    let sizes = [POINTS, padded_outputs as usize, padded_inputs as usize, depth];
    let (spectra, parts) = multiplied(grad_spectra, spectra, sizes, true);
    let weight = empty(&spectra, [count, channels, 3, 3]);
    #[allow(unsafe_code, reason = "the kernel checks its position against the sizes it is given")]
    unsafe {
        weights::launch_unchecked::<R>(
            &client,
            CubeCount::Static((channels as u32).div_ceil(UNITS), count as u32, 1),
            CubeDim::new_1d(UNITS),
            spectra.into_array_arg(),
            weight.clone().into_array_arg(),
            parts as u32,
            channels as u32,
            padded_inputs,
            padded_outputs,
        );
    }
    weight
}
