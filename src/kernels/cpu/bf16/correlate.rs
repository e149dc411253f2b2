//! Products of filters with fields: forward passes and input gradients.

use super::field::Field;
use super::filters;
use super::plan::{Line, Plan};
use super::shared::Shared;
use super::unit::{BLOCK, DEPTH, Offsets, Operand, Sums, TILE, Unit};
use crate::platform::parallel;
use crate::platform::simd::vectorised;

/// Bytes of packed filters that a thread goes through for every few outputs: half of a second-level cache.
const FILTERS: usize = 1 << 20;
/// Jobs a thread, so that none waits long for the last one.
const JOBS: usize = 4;

/// Planes `[image][channel][rows][columns]` that are written.
pub struct Planes<'a> {
    pub values: Shared<'a>,
    pub channels: usize,
    pub size: [usize; 2],
    /// Added to every value of a channel.
    pub bias: Option<&'a [f32]>,
}

/// 16 neighbouring positions of a field.
#[derive(Clone, Copy, Debug)]
struct Tile {
    /// Bytes into the field.
    at: usize,
    image: usize,
    /// The output of the first position, counted in outputs of the lines.
    row: usize,
    column: usize,
    /// Positions that count.
    lanes: usize,
}

/// A correlation of planes of some images.
pub struct Correlation<'a> {
    pub unit: Unit,
    pub plan: &'a Plan,
    pub field: Field,
    pub lines: [&'a Line; 2],
    pub batch: usize,
}

impl Correlation<'_> {
    /// Writes the outputs of the lines: `fields` as [`Field::of_pairs`] packs them, `filters` as [`filters::pack`].
    pub fn run(&self, fields: &[u32], filters: &[u16], planes: &Planes) {
        let [down, across] = self.lines;
        let steps = self.plan.steps([down.taps.len(), across.taps.len()]);
        let Field { pitch, plane, .. } = self.field;
        let offset = |(number, step): (usize, &super::plan::Step)| {
            let [rows, columns] = [step.shift[0] + down.shift, step.shift[1] + across.shift];
            let right = 4 * (step.group * DEPTH / 2 * plane + rows * pitch + columns);
            Offsets { left: number * 2 * TILE * DEPTH, right }
        };
        let offsets: Vec<Offsets> = steps.iter().enumerate().map(offset).collect();
        let tiles = self.tiles();
        assert_eq!(filters.len(), filters::packed(planes.channels, steps.len()));
        assert_eq!(fields.len(), self.batch * self.field.image());
        let furthest = offsets.iter().map(|offsets| offsets.right).max().unwrap_or(0)
            + tiles.iter().map(|tile| tile.at).max().unwrap_or(0)
            + 4 * ((DEPTH / 2 - 1) * plane + TILE);
        assert!(tiles.is_empty() || steps.is_empty() || furthest <= 4 * fields.len());

        let blocks = planes.channels.div_ceil(BLOCK);
        let group = (FILTERS / (2 * BLOCK * DEPTH * steps.len().max(1))).clamp(1, blocks.max(1));
        let groups = blocks.div_ceil(group);
        let pairs: Vec<&[Tile]> = tiles.chunks(2).collect();
        let share = pairs.len().div_ceil((JOBS * parallel::threads()).div_ceil(groups.max(1))).max(1);
        let jobs: Vec<_> = (0..groups).flat_map(|group| pairs.chunks(share).map(move |pairs| (group, pairs))).collect();
        parallel::map(&jobs, |&(number, pairs)| {
            let blocks = number * group..((number + 1) * group).min(blocks);
            self.unit.with(|| {
                vectorised(
                    #[inline(always)]
                    || self.job(fields, filters, planes, &offsets, blocks.clone(), pairs),
                );
            });
        });
    }

    #[inline(always)]
    fn job(
        &self,
        fields: &[u32],
        filters: &[u16],
        planes: &Planes,
        offsets: &[Offsets],
        blocks: std::ops::Range<usize>,
        pairs: &[&[Tile]],
    ) {
        let mut sums = Sums::default();
        let fields = fields.as_ptr().cast::<u8>();
        for tiles in pairs {
            let [first, last] = [tiles[0], tiles[tiles.len() - 1]];
            let right =
                Operand { tiles: [first.at, last.at].map(|at| fields.wrapping_add(at)), stride: 4 * self.field.plane };
            for block in blocks.clone() {
                let left = [2 * block, 2 * block + 1]
                    .map(|tile| filters.as_ptr().wrapping_add(tile * TILE * DEPTH * offsets.len()).cast::<u8>());
                let left = Operand { tiles: left, stride: 2 * DEPTH };
                #[allow(unsafe_code, reason = "tiles are read through pointers")]
                // SAFETY: `run` has compared the furthest tile with the field, and the filters' length with what all blocks take.
                unsafe {
                    self.unit.multiply(left, right, offsets, false, &mut sums);
                }
                for (number, tile) in tiles.iter().enumerate() {
                    self.store(&sums, number, *tile, block * BLOCK, planes);
                }
            }
        }
    }

    /// Writes the sums of one tile of positions for 32 channels, or as many as there are.
    #[inline(always)]
    fn store(&self, sums: &Sums, number: usize, tile: Tile, first: usize, planes: &Planes) {
        let [down, across] = self.lines;
        let [height, width] = planes.size;
        for channel in first..(first + BLOCK).min(planes.channels) {
            let place = channel - first;
            let line = &sums.0[((place / TILE * 2 + number) * TILE + place % TILE) * TILE..][..TILE];
            let bias = planes.bias.map_or(0.0, |bias| bias[channel]);
            let plane = (tile.image * planes.channels + channel) * height * width;
            let (mut row, mut column, mut lane) = (tile.row, tile.column, 0);
            while lane < tile.lanes && row < down.outputs {
                let count = (tile.lanes - lane).min(across.outputs.saturating_sub(column));
                let to = plane + (down.first + row * down.spacing) * width + across.first + column * across.spacing;
                if count == TILE && across.spacing == 1 {
                    planes.values.write_tile(to, line, bias);
                } else {
                    planes.values.write(to, across.spacing, &line[lane..lane + count], bias);
                }
                lane += count + (self.field.pitch - column - count);
                (row, column) = (row + 1, 0);
            }
        }
    }

    /// The positions of all outputs, row by row or through the ends of the rows, whichever takes fewer tiles.
    fn tiles(&self) -> Vec<Tile> {
        let [rows, columns] = self.lines.map(|line| line.outputs);
        let (pitch, image) = (self.field.pitch, 4 * self.field.image());
        if rows * columns == 0 {
            return Vec::new();
        }
        let grid = (rows - 1) * pitch + columns;
        let of_image = |number: usize| {
            let tile = move |row, column, lanes| Tile {
                at: number * image + 4 * (row * pitch + column),
                image: number,
                row,
                column,
                lanes,
            };
            let tiles: Vec<Tile> = if rows * columns.div_ceil(TILE) <= grid.div_ceil(TILE) {
                let starts = (0..rows).flat_map(|row| (0..columns).step_by(TILE).map(move |column| (row, column)));
                starts.map(|(row, column)| tile(row, column, TILE.min(columns - column))).collect()
            } else {
                let starts = (0..grid).step_by(TILE);
                starts.map(|at| tile(at / pitch, at % pitch, TILE.min(grid - at))).collect()
            };
            tiles
        };
        (0..self.batch).flat_map(of_image).collect()
    }
}
