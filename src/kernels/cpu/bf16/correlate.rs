//! Products of filters with fields: forward passes and input gradients.

use std::ops::Range;

use super::field::Field;
use super::filters;
use super::plan::{Line, Plan};
use super::shared::Shared;
use super::unit::{BLOCK, DEPTH, Offsets, Operand, Sums, TILE, Unit};
use crate::platform::parallel;
use crate::platform::simd::vectorised;

/// Bytes of packed filters that a thread goes through for every few outputs: most of a second-level cache.
const FILTERS: usize = 5 << 18;
/// Jobs a thread, so that none waits long for the last one.
const JOBS: usize = 4;

/// Planes `[image][channel][rows][columns]` that are written.
pub struct Planes<'a> {
    pub values: Shared<'a>,
    pub channels: usize,
    pub size: [usize; 2],
    /// Added to every value of a channel.
    pub bias: Option<&'a [f32]>,
    /// Where the lines reach over the planes on every side, what is written there.
    pub margins: Option<Margins<'a>>,
}

impl Planes<'_> {
    /// Writes neighbours in a row of a plane and its margin.
    #[inline(always)]
    pub fn write(&self, [plane, row, column]: [usize; 3], line: &[f32], bias: f32) {
        let [height, width] = self.size;
        let Some(Margins { values, width: margin }) = &self.margins else {
            self.values.write((plane * height + row) * width + column, line, bias);
            return;
        };
        let margin = *margin;
        let around = plane * Margins::around(self.size, margin);
        let over = if row < margin { Some(row) } else { row.checked_sub(height) };
        match over {
            Some(over) if over < 2 * margin && !(margin..margin + height).contains(&row) => {
                values.write(around + over * (width + 2 * margin) + column, line, 0.0);
            }
            _ => {
                let row = row - margin;
                let ends = around + 2 * margin * (width + 2 * margin) + row * 2 * margin;
                let end = column + line.len();
                let left = margin.clamp(column, end) - column;
                let right = (margin + width).clamp(column, end) - column;
                values.write(ends + column.min(2 * margin), &line[..left], 0.0);
                // A line that lies in the left margin alone has nothing to write here.
                let to = (plane * height + row) * width + (column + left).saturating_sub(margin);
                self.values.write(to, &line[left..right], bias);
                values.write(ends + (column + right).saturating_sub(width), &line[right..], 0.0);
            }
        }
    }
}

/// What lies around planes: `[image][channel]` rows over and under them with both ends, and the ends of the rows between.
pub struct Margins<'a> {
    pub values: Shared<'a>,
    /// Positions on every side.
    pub width: usize,
}

impl Margins<'_> {
    /// Values around one plane.
    pub fn around([height, width]: [usize; 2], margin: usize) -> usize {
        2 * margin * (width + 2 * margin) + height * 2 * margin
    }
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

/// Filters for the outputs of one phase across, as [`filters::pack`] packs them.
pub struct Phase<'a> {
    pub across: &'a Line,
    pub filters: &'a [u16],
}

/// A correlation of planes of some images.
pub struct Correlation<'a> {
    pub unit: Unit,
    pub plan: &'a Plan,
    pub field: Field,
    pub batch: usize,
    pub down: &'a Line,
    /// In the order in which their outputs alternate.
    pub phases: &'a [Phase<'a>],
}

impl Correlation<'_> {
    /// Writes the outputs of the lines; `fields` as [`Field::of_pairs`] packs them.
    pub fn run(&self, fields: &[u32], planes: &Planes) {
        let Field { pitch, plane, .. } = self.field;
        let offsets: Vec<Vec<Offsets>> = self
            .phases
            .iter()
            .map(|phase| {
                let steps = self.plan.steps([self.down.taps.len(), phase.across.taps.len()]);
                assert_eq!(phase.filters.len(), filters::packed(planes.channels, steps.len()));
                let offset = |(number, step): (usize, &super::plan::Step)| {
                    let [rows, columns] = [step.shift[0] + self.down.shift, step.shift[1] + phase.across.shift];
                    let right = 4 * (step.group * DEPTH / 2 * plane + rows * pitch + columns);
                    Offsets { left: number * 2 * TILE * DEPTH, right }
                };
                steps.iter().enumerate().map(offset).collect()
            })
            .collect();
        let tiles = self.tiles();
        assert_eq!(fields.len(), self.batch * self.field.image());
        let furthest = offsets.iter().flatten().map(|offsets| offsets.right).max().unwrap_or(0)
            + tiles.iter().map(|tile| tile.at).max().unwrap_or(0)
            + 4 * ((DEPTH / 2 - 1) * plane + TILE);
        assert!(tiles.is_empty() || offsets.iter().all(Vec::is_empty) || furthest <= 4 * fields.len());

        let blocks = planes.channels.div_ceil(BLOCK);
        let steps: usize = offsets.iter().map(Vec::len).sum();
        let most = (FILTERS / (2 * BLOCK * DEPTH * steps.max(1))).clamp(1, blocks.max(1));
        let groups = blocks.div_ceil(most);
        let group = blocks.div_ceil(groups.max(1));
        let pairs: Vec<&[Tile]> = tiles.chunks(2).collect();
        let share = pairs.len().div_ceil((JOBS * parallel::threads()).div_ceil(groups.max(1))).max(1);
        let jobs: Vec<_> = (0..groups).flat_map(|group| pairs.chunks(share).map(move |pairs| (group, pairs))).collect();
        parallel::map(&jobs, |&(number, pairs)| {
            let blocks = number * group..((number + 1) * group).min(blocks);
            self.unit.with(|| {
                vectorised(
                    #[inline(always)]
                    || self.job(fields, planes, &offsets, blocks.clone(), pairs),
                );
            });
        });
    }

    #[inline(always)]
    fn job(&self, fields: &[u32], planes: &Planes, offsets: &[Vec<Offsets>], blocks: Range<usize>, pairs: &[&[Tile]]) {
        let mut sums = vec![Sums::default(); self.phases.len()];
        let fields = fields.as_ptr().cast::<u8>();
        for tiles in pairs {
            let [first, last] = [tiles[0], tiles[tiles.len() - 1]];
            let right =
                Operand { tiles: [first.at, last.at].map(|at| fields.wrapping_add(at)), stride: 4 * self.field.plane };
            for block in blocks.clone() {
                for ((phase, offsets), sums) in self.phases.iter().zip(offsets).zip(&mut sums) {
                    let filters = phase.filters.as_ptr();
                    let left = [2 * block, 2 * block + 1]
                        .map(|tile| filters.wrapping_add(tile * TILE * DEPTH * offsets.len()).cast::<u8>());
                    let left = Operand { tiles: left, stride: 2 * DEPTH };
                    #[allow(unsafe_code, reason = "tiles are read through pointers")]
                    // SAFETY: `run` has compared the furthest tile with the field, and the filters' length with what
                    // all blocks take.
                    unsafe {
                        self.unit.multiply(left, right, offsets, false, sums);
                    }
                }
                for (number, tile) in tiles.iter().enumerate() {
                    self.store(&sums, number, *tile, block * BLOCK, planes);
                }
            }
        }
    }

    /// Writes the sums of one tile of positions for 32 channels, or as many as there are.
    #[inline(always)]
    fn store(&self, sums: &[Sums], number: usize, tile: Tile, first: usize, planes: &Planes) {
        let width: usize = self.phases.iter().map(|phase| phase.across.outputs).sum();
        for channel in first..(first + BLOCK).min(planes.channels) {
            let place = channel - first;
            let start = ((place / TILE * 2 + number) * TILE + place % TILE) * TILE;
            let plane = tile.image * planes.channels + channel;
            let bias = planes.bias.map_or(0.0, |bias| bias[channel]);
            match self.phases {
                [_] => {
                    let line = &sums[0].0[start..][..TILE];
                    self.segments(
                        tile,
                        self.phases[0].across,
                        #[inline(always)]
                        |row, column, lanes: Range<usize>| {
                            planes.write([plane, row, column], &line[lanes], bias);
                        },
                    );
                }
                [first, _] => {
                    let lines = [&sums[0].0[start..][..TILE], &sums[1].0[start..][..TILE]];
                    let mut both = [0.0; 2 * TILE];
                    for lane in 0..TILE {
                        both[2 * lane] = lines[0][lane];
                        both[2 * lane + 1] = lines[1][lane];
                    }
                    self.segments(
                        tile,
                        first.across,
                        #[inline(always)]
                        |row, column, lanes: Range<usize>| {
                            let count = (2 * lanes.len()).min(width - 2 * column);
                            let line = &both[2 * lanes.start..][..count];
                            planes.write([plane, row, 2 * column], line, bias);
                        },
                    );
                }
                _ => {
                    for (phase, sums) in self.phases.iter().zip(sums) {
                        let line = &sums.0[start..][..TILE];
                        self.segments(
                            tile,
                            phase.across,
                            #[inline(always)]
                            |row, column, lanes: Range<usize>| {
                                for lane in lanes.clone() {
                                    let column = phase.across.first + (column + lane - lanes.start) * self.phases.len();
                                    planes.write([plane, row, column], &line[lane..=lane], bias);
                                }
                            },
                        );
                    }
                }
            }
        }
    }

    /// The rows of outputs that a tile is part of: the row in the planes, the first output of the line and the lanes.
    #[inline(always)]
    fn segments(&self, tile: Tile, across: &Line, mut each: impl FnMut(usize, usize, Range<usize>)) {
        let (mut row, mut column, mut lane) = (tile.row, tile.column, 0);
        while lane < tile.lanes && row < self.down.outputs {
            let count = (tile.lanes - lane).min(across.outputs.saturating_sub(column));
            if count > 0 {
                each(self.down.first + row * self.down.spacing, column, lane..lane + count);
            }
            lane += self.field.pitch - column;
            (row, column) = (row + 1, 0);
        }
    }

    /// The positions of all outputs, row by row or through the ends of the rows, whichever takes fewer tiles.
    fn tiles(&self) -> Vec<Tile> {
        let rows = self.down.outputs;
        let columns = self.phases.iter().map(|phase| phase.across.outputs).max().unwrap_or(0);
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
