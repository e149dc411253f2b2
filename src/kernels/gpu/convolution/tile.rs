//! Products of matrices by tiles in workgroup memory: what a real GPU wants.
//!
//! A cube computes a tile of `rows × columns` outputs as a sum of outer products of slices a few lines deep, which all its
//! units bring into workgroup memory together; then each unit ([`Units`]) or each plane of units ([`Cores`]) multiplies its share.
//! Floor of a cube's work a line: `2 · rows · columns` operations for `4 · (rows + columns)` bytes from memory. Software
//! adapters, which punish barriers, use the kernels of [`super::gather`] and [`super::correlate`] instead.

use std::marker::PhantomData;

use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeRuntime, cubecl};
use cubecl::prelude::*;

use super::{Channels, zeros};
use crate::kernels::gpu::empty;

/// A unit's outputs down and across.
const SIDE: u32 = 8;

/// Side of a fragment's outputs on tensor cores, and how many of them a plane of 32 units has down and across.
const FRAGMENT: u32 = 16;
const DOWN: u32 = 4;
const ACROSS: u32 = 2;
const PLANE: u32 = 32;

/// Units that a large GPU should have at work: 500 for each of its 130 multiprocessors.
const BUSY: usize = 1 << 16;

/// A part's lines should be many more than the sums that are added up afterwards.
const LINES_A_PART: usize = 128;

/// The slices of a [`Multiplier`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slices {
    /// Lines of a slice.
    pub depth: u32,
    /// Vectors left empty after each line, for lines to begin in other banks.
    pub gap: u32,
    /// Lines that one instruction multiplies.
    pub step: u32,
}

/// The outputs of a cube, multiples of 64, and the slices of both operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tile {
    pub rows: u32,
    pub columns: u32,
    pub slices: Slices,
}

impl Tile {
    /// For so many rows and columns: half as long where they fit into half.
    pub fn of(rows: usize, columns: usize, slices: Slices) -> Self {
        let side = |length| if length > 64 { 128 } else { 64 };
        Self { rows: side(rows), columns: side(columns), slices }
    }

    /// Units of a cube.
    pub const fn units(self) -> u32 {
        self.rows * self.columns / (SIDE * SIDE)
    }

    /// Cubes along the columns, and along the rows.
    pub fn cubes(self, rows: usize, columns: usize) -> [u32; 2] {
        [columns.div_ceil(self.columns as usize) as u32, rows.div_ceil(self.rows as usize) as u32]
    }

    /// Into how many parts to split sums over `lines`, for a GPU to have enough units at work, and the lines of each.
    pub fn parts(self, rows: usize, columns: usize, lines: usize) -> [u32; 2] {
        let [across, down] = self.cubes(rows, columns).map(|cubes| cubes as usize);
        let units = across * down * self.units() as usize;
        let depth = self.slices.depth as usize;
        let most = lines.div_ceil(LINES_A_PART).max(1);
        let lines_a_part = lines.div_ceil((BUSY / units.max(1)).clamp(1, most)).next_multiple_of(depth).max(depth);
        [lines.div_ceil(lines_a_part).max(1) as u32, lines_a_part as u32]
    }
}

/// How a cube's slices are multiplied.
///
/// A unit's outputs are 8 rows of 8 columns, in two groups of 4 either way that lie half a tile apart.
#[cube]
pub trait Multiplier: Send + Sync + 'static {
    /// Four values of a slice.
    type Values: CubePrimitive;
    /// Sums in registers.
    type Sums: CubeType;

    /// Four values as they lie in a slice.
    fn values(values: Channels) -> Self::Values;

    /// Sums that are zero.
    fn zeros(#[comptime] tile: Tile) -> Self::Sums;

    /// Adds the product of two slices.
    fn multiply(
        left: &SharedMemory<Self::Values>,
        right: &SharedMemory<Self::Values>,
        sums: &mut Self::Sums,
        #[comptime] tile: Tile,
    );

    /// A unit's outputs in the order of [`place`].
    fn outputs(sums: &Self::Sums, #[comptime] tile: Tile) -> Array<Channels>;
}

/// Slices of [`Units`].
pub const IN_F32: Slices = Slices { depth: 8, gap: 0, step: 1 };

/// Every unit multiplies in f32: it reads 4 vectors from workgroup memory for 64 multiply-adds.
pub struct Units;

#[cube]
impl Multiplier for Units {
    type Values = Channels;
    type Sums = Array<Channels>;

    fn values(values: Channels) -> Channels {
        values
    }

    fn zeros(#[comptime] _tile: Tile) -> Array<Channels> {
        let mut sums = Array::<Channels>::new(comptime!(2 * SIDE as usize));
        #[unroll]
        for number in 0..comptime!(2 * SIDE as usize) {
            sums[number] = zeros();
        }
        sums
    }

    fn multiply(
        left: &SharedMemory<Channels>,
        right: &SharedMemory<Channels>,
        sums: &mut Array<Channels>,
        #[comptime] tile: Tile,
    ) {
        let (rows, columns) = comptime!(((tile.rows / 4) as usize, (tile.columns / 4) as usize));
        let gap = comptime!(tile.slices.gap as usize);
        let unit = UNIT_POS_X as usize;
        let (row, column) = (unit / comptime!(columns / 2), unit % comptime!(columns / 2));
        #[unroll]
        for line in 0..comptime!(tile.slices.depth as usize) {
            let (l, r) = (line * comptime!(rows + gap) + row, line * comptime!(columns + gap) + column);
            let (upper, lower) = (left[l], left[l + comptime!(rows / 2)]);
            let (near, far) = (right[r], right[r + comptime!(columns / 2)]);
            #[unroll]
            for lane in 0..4usize {
                let (first, second) = (Channels::new(upper[lane]), Channels::new(lower[lane]));
                sums[2 * lane] = fma(first, near, sums[2 * lane]);
                sums[2 * lane + 1] = fma(first, far, sums[2 * lane + 1]);
                sums[2 * lane + 8] = fma(second, near, sums[2 * lane + 8]);
                sums[2 * lane + 9] = fma(second, far, sums[2 * lane + 9]);
            }
        }
    }

    fn outputs(sums: &Array<Channels>, #[comptime] _tile: Tile) -> Array<Channels> {
        let mut outputs = Array::<Channels>::new(comptime!(2 * SIDE as usize));
        #[unroll]
        for number in 0..comptime!(2 * SIDE as usize) {
            outputs[number] = sums[number];
        }
        outputs
    }
}

/// Slices of [`Cores`] in each of their types.
pub const IN_TF32: Slices = Slices { depth: 32, gap: 1, step: 8 };
pub const IN_BF16: Slices = Slices { depth: 32, gap: 2, step: 16 };

/// Tensor cores multiply values rounded to `E` and add up in f32.
pub struct Cores<E: Scalar> {
    _values: PhantomData<E>,
}

#[cube]
impl<E: Scalar> Multiplier for Cores<E> {
    type Values = Vector<E, Const<4>>;
    type Sums = Sequence<cmma::Matrix<f32>>;

    fn values(values: Channels) -> Vector<E, Const<4>> {
        Vector::cast_from(values)
    }

    fn zeros(#[comptime] tile: Tile) -> Sequence<cmma::Matrix<f32>> {
        let mut sums = Sequence::new();
        #[unroll]
        for _fragment in 0..comptime!(DOWN * ACROSS) {
            sums.push(cmma::Matrix::<f32>::from_value(
                cmma::MatrixIdent::Accumulator,
                comptime!(FRAGMENT as usize),
                comptime!(FRAGMENT as usize),
                comptime!(tile.slices.step as usize),
                cmma::MatrixLayout::Undefined,
                0.0f32,
            ));
        }
        sums
    }

    fn multiply(
        left: &SharedMemory<Vector<E, Const<4>>>,
        right: &SharedMemory<Vector<E, Const<4>>>,
        sums: &mut Sequence<cmma::Matrix<f32>>,
        #[comptime] tile: Tile,
    ) {
        let rows = comptime!(tile.rows / 4 + tile.slices.gap);
        let columns = comptime!(tile.columns / 4 + tile.slices.gap);
        let step = comptime!(tile.slices.step);
        let (row, column) = plane_place(tile);
        #[unroll]
        for number in 0..comptime!(tile.slices.depth / tile.slices.step) {
            let (l, r) = (number * step * rows + row / 4, number * step * columns + column / 4);
            let mut lefts = Sequence::<cmma::Matrix<E>>::new();
            #[unroll]
            for down in 0..DOWN {
                let fragment = fragment::<E>(cmma::MatrixIdent::A, cmma::MatrixLayout::ColMajor, step);
                let at = (l + down * comptime!(FRAGMENT / 4)) as usize;
                cmma::load(&fragment, &left.slice(at, at + comptime!((step * rows) as usize)), comptime!(4 * rows));
                lefts.push(fragment);
            }
            #[unroll]
            for across in 0..ACROSS {
                let fragment = fragment::<E>(cmma::MatrixIdent::B, cmma::MatrixLayout::RowMajor, step);
                let at = (r + across * comptime!(FRAGMENT / 4)) as usize;
                cmma::load(
                    &fragment,
                    &right.slice(at, at + comptime!((step * columns) as usize)),
                    comptime!(4 * columns),
                );
                #[unroll]
                for down in 0..DOWN {
                    let sum = sums.index((down * ACROSS + across) as usize);
                    cmma::execute::<E, E, f32, f32>(lefts.index(down as usize), &fragment, sum, sum);
                }
            }
        }
    }

    fn outputs(sums: &Sequence<cmma::Matrix<f32>>, #[comptime] tile: Tile) -> Array<Channels> {
        let columns = comptime!(tile.columns / 4);
        let mut all = SharedMemory::<Channels>::new(comptime!((tile.rows * tile.columns / 4) as usize));
        let (row, column) = plane_place(tile);
        #[unroll]
        for down in 0..DOWN {
            #[unroll]
            for across in 0..ACROSS {
                let at = ((row + down * FRAGMENT) * columns + column / 4 + across * comptime!(FRAGMENT / 4)) as usize;
                cmma::store(
                    &mut all.slice_mut(at, at + comptime!((FRAGMENT * columns) as usize)),
                    sums.index((down * ACROSS + across) as usize),
                    comptime!(tile.columns),
                    cmma::MatrixLayout::RowMajor,
                );
            }
        }
        sync_cube();
        let mut outputs = Array::<Channels>::new(comptime!(2 * SIDE as usize));
        #[unroll]
        for number in 0..comptime!(2 * SIDE) {
            let (row, column) = place(number, tile);
            outputs[number as usize] = all[(row * columns + column) as usize];
        }
        outputs
    }
}

/// Row and column of the first output of a unit's plane in its tile.
#[cube]
fn plane_place(#[comptime] tile: Tile) -> (u32, u32) {
    let planes = comptime!(tile.columns / (ACROSS * FRAGMENT));
    let plane = UNIT_POS_X / PLANE;
    (plane / planes * comptime!(DOWN * FRAGMENT), plane % planes * comptime!(ACROSS * FRAGMENT))
}

/// An operand of the tensor cores.
#[cube]
fn fragment<E: Scalar>(
    #[comptime] ident: cmma::MatrixIdent,
    #[comptime] layout: cmma::MatrixLayout,
    #[comptime] step: u32,
) -> cmma::Matrix<E> {
    #[allow(unsafe_code, reason = "it is loaded before anything reads it")]
    unsafe {
        cmma::Matrix::<E>::uninitialized(
            ident,
            comptime!(FRAGMENT as usize),
            comptime!(FRAGMENT as usize),
            comptime!(step as usize),
            layout,
        )
    }
}

/// Row and vector of columns of a unit's output `number` of 16 in its tile.
#[cube]
pub fn place(number: u32, #[comptime] tile: Tile) -> (u32, u32) {
    let (rows, columns) = comptime!((tile.rows / 2, tile.columns / 4 / 2));
    let index = number / 2;
    let row = UNIT_POS_X / columns * 4 + index / 4 * rows + index % 4;
    (row, UNIT_POS_X % columns + number % 2 * columns)
}

/// A unit's share of a slice: vectors of the lines from `line` on and from vector `first` on of a matrix with `width` vectors a line,
/// zeros from line `end` on.
#[cube]
pub fn bring(
    matrix: &Array<Channels>,
    share: &mut Array<Channels>,
    line: u32,
    end: u32,
    first: u32,
    width: u32,
    #[comptime] across: u32,
    #[comptime] tile: Tile,
) {
    #[unroll]
    for number in 0..comptime!(tile.slices.depth * across / tile.units()) {
        let at = UNIT_POS_X + number * comptime!(tile.units());
        let (k, place) = (line + at / across, first + at % across);
        let mut value = zeros();
        if k < end && place < width {
            value = matrix[(k * width + place) as usize];
        }
        share[number as usize] = value;
    }
}

/// Puts a unit's share of a slice into workgroup memory.
#[cube]
pub fn put<M: Multiplier>(
    share: &Array<Channels>,
    slice: &mut SharedMemory<M::Values>,
    #[comptime] across: u32,
    #[comptime] tile: Tile,
) {
    #[unroll]
    for number in 0..comptime!(tile.slices.depth * across / tile.units()) {
        let at = UNIT_POS_X + number * comptime!(tile.units());
        let at = at / across * comptime!(across + tile.slices.gap) + at % across;
        slice[at as usize] = M::values(share[number as usize]);
    }
}

/// The matrices' sizes.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub struct Sizes {
    /// Vectors of 4 rows.
    pub rows: u32,
    /// Vectors of 4 columns.
    pub columns: u32,
    pub lines: u32,
    /// Parts that a sum is split into, and lines of each.
    pub parts: u32,
    pub lines_a_part: u32,
}

/// `output[matrix, part, m, n] = Σ left[matrix, k, m] · right[matrix, k, n]` over a part of the lines `k`.
#[cube(launch_unchecked)]
fn products(
    left: &Array<Channels>,
    right: &Array<Channels>,
    output: &mut Array<Channels>,
    sizes: Sizes,
    #[comptime] tile: Tile,
) {
    let (tile_rows, tile_columns) = comptime!((tile.rows / 4, tile.columns / 4));
    let (row0, column0) = (CUBE_POS_Y * tile_rows, CUBE_POS_X * tile_columns);
    let start = CUBE_POS_Z / sizes.parts * sizes.lines;
    let first = CUBE_POS_Z % sizes.parts * sizes.lines_a_part;
    let end = start + min(first + sizes.lines_a_part, sizes.lines);
    let mut line = start + first;

    let depth = comptime!(tile.slices.depth);
    let mut left_slice = SharedMemory::<Channels>::new(comptime!((depth * tile_rows) as usize));
    let mut right_slice = SharedMemory::<Channels>::new(comptime!((depth * tile_columns) as usize));
    let mut left_share = Array::<Channels>::new(comptime!((depth * tile_rows / tile.units()) as usize));
    let mut right_share = Array::<Channels>::new(comptime!((depth * tile_columns / tile.units()) as usize));
    let mut sums = Units::zeros(tile);

    bring(left, &mut left_share, line, end, row0, sizes.rows, tile_rows, tile);
    bring(right, &mut right_share, line, end, column0, sizes.columns, tile_columns, tile);
    while line < end {
        sync_cube();
        put::<Units>(&left_share, &mut left_slice, tile_rows, tile);
        put::<Units>(&right_share, &mut right_slice, tile_columns, tile);
        sync_cube();
        // The next slice is on its way while this one is multiplied.
        line += depth;
        bring(left, &mut left_share, line, end, row0, sizes.rows, tile_rows, tile);
        bring(right, &mut right_share, line, end, column0, sizes.columns, tile_columns, tile);
        Units::multiply(&left_slice, &right_slice, &mut sums, tile);
    }

    #[unroll]
    for number in 0..comptime!(2 * SIDE) {
        let (row, column) = place(number, tile);
        let (m, n) = (4 * row0 + row, column0 + column);
        if m < 4 * sizes.rows && n < sizes.columns {
            output[((CUBE_POS_Z * 4 * sizes.rows + m) * sizes.columns + n) as usize] = sums[number as usize];
        }
    }
}

/// Launches [`products`]: `[matrices, lines, rows]` times `[matrices, lines, columns]` gives `[matrices, parts, rows, columns]`, and
/// how many parts there are; rows and columns are multiples of 4.
pub fn multiplied<R: CubeRuntime>(
    left: CubeTensor<R>,
    right: CubeTensor<R>,
    [matrices, rows, columns, lines]: [usize; 4],
    splits: bool,
) -> (CubeTensor<R>, usize) {
    let tile = Tile::of(rows, columns, IN_F32);
    let [across, down] = tile.cubes(rows, columns);
    let [parts, lines_a_part] = if splits { tile.parts(matrices * rows, columns, lines) } else { [1, lines as u32] };
    let output = empty(&left, [matrices, parts as usize, rows, columns]);
    let client = left.client.clone();
    let sizes = SizesLaunch::new(rows as u32 / 4, columns as u32 / 4, lines as u32, parts, lines_a_part);
    #[allow(unsafe_code, reason = "the kernel checks every index against the sizes it is given")]
    unsafe {
        products::launch_unchecked::<R>(
            &client,
            CubeCount::Static(across, down, matrices as u32 * parts),
            CubeDim::new_1d(tile.units()),
            left.into_array_arg(),
            right.into_array_arg(),
            output.clone().into_array_arg(),
            sizes,
            tile,
        );
    }
    (output, parts as usize)
}
