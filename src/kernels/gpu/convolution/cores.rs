//! Products of slices on tensor cores, which CUDA has.

use std::marker::PhantomData;

use burn_cubecl::cubecl;
use cubecl::prelude::*;

use super::Channels;
use super::tile::{Multiplier, SIDE, Slices, Tile, place};

/// Side of a fragment's outputs, and how many of them a plane of 32 units has down and across.
const FRAGMENT: u32 = 16;
const DOWN: u32 = 4;
const ACROSS: u32 = 2;
const PLANE: u32 = 32;

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
