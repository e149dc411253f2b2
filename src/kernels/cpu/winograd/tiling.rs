//! How a convolution's outputs are cut into tiles, and the way of a picture's rows into the tiles' spectra and back.
//!
//! A row is sorted into as many phases as a tile is wide (of four, every fourth pixel), so that the same place of neighbouring tiles
//! lies side by side and [`LANES`] tiles are transformed at once.

use std::ops::Range;

use super::super::Layer;
use super::super::axis::Axis;
use super::super::lanes::{LANES, Lanes, each};
use super::transforms::{F, Transforms};
use crate::platform::simd::vectorised;
use crate::platform::{parallel, scratch};

/// Tiles of a block aim at this many columns of the matrix products: enough to use a weight
/// well once it is in a register, few enough to stay in the caches.
const COLUMNS: usize = 256;

/// A convolution's tiles. A line is one row of them in one image.
pub struct Tiling<const TILE: usize, const PATCH: usize> {
    rows: Axis,
    columns: Axis,
    layer: Layer,
    /// Tiles from top to bottom.
    down: usize,
    /// Tiles from left to right.
    across: usize,
    /// Lines of a block.
    block: usize,
    /// Floats of one phase of a row, with room for whole vectors.
    phase: usize,
}

impl<const TILE: usize, const PATCH: usize> Tiling<TILE, PATCH>
where
    F<TILE, PATCH>: Transforms<TILE, PATCH>,
{
    pub fn new(layer: Layer) -> Self {
        let [down, across] = layer.output_size().map(|side| side.div_ceil(TILE));
        let axis = |side, tiles| Axis::reaching(layer.geometry, side, tiles * TILE + 2);
        let block = (COLUMNS / across.max(1)).clamp(1, (layer.batch * down).max(1));
        let phase = across.next_multiple_of(LANES) + LANES;
        let (rows, columns) = (axis(layer.size[0], down), axis(layer.size[1], across));
        Self { rows, columns, layer, down, across, block, phase }
    }

    /// All lines of all images, in blocks.
    pub fn blocks(&self) -> impl Iterator<Item = Range<usize>> {
        let lines = self.layer.batch * self.down;
        (0..lines).step_by(self.block).map(move |start| start..(start + self.block).min(lines))
    }

    pub fn tiles(&self, lines: &Range<usize>) -> usize {
        lines.len() * self.across
    }

    /// Floats from one frequency to the next: whole vectors may be stored past the last tile.
    pub fn pitch(&self) -> usize {
        self.block * self.across + LANES
    }

    /// Floats of all frequencies of one channel.
    pub fn spectrum(&self) -> usize {
        PATCH * PATCH * self.pitch()
    }

    /// Floats of a padded row, in whole tiles.
    fn padded(&self) -> usize {
        self.columns.reach().next_multiple_of(TILE)
    }

    pub fn input_plane(&self) -> usize {
        self.rows.input * self.columns.input
    }

    pub fn output_plane(&self) -> usize {
        self.rows.output * self.columns.output
    }

    /// `(image, row of tiles)` of a line.
    fn place(&self, line: usize) -> (usize, usize) {
        (line / self.down, line % self.down)
    }

    /// The output rows of a row of tiles.
    fn outputs(&self, tile: usize) -> Range<usize> {
        tile * TILE..((tile + 1) * TILE).min(self.rows.output)
    }

    /// Where a line's vectors are stored: `(first tile of its vector, its index in a spectrum)`.
    fn vectors(&self, index: usize) -> impl Iterator<Item = (usize, usize)> {
        (0..self.across).step_by(LANES).map(move |tile| (tile, index * self.across + tile))
    }

    /// Sorts a row into its phases.
    fn sort(&self, row: &[f32], phases: &mut [f32]) {
        let (tiles, rest) = row.as_chunks::<TILE>();
        for (phase, to) in phases.chunks_exact_mut(self.phase).take(TILE).enumerate() {
            for (to, tile) in to.iter_mut().zip(tiles) {
                *to = tile[phase];
            }
        }
        for (phase, value) in rest.iter().enumerate() {
            phases[phase * self.phase + tiles.len()] = *value;
        }
    }

    /// The inverse of [`Tiling::sort`].
    fn unsort(&self, phases: &[f32], row: &mut [f32]) {
        for (tile, pixels) in row.chunks_mut(TILE).enumerate() {
            for (phase, value) in pixels.iter_mut().enumerate() {
                *value = phases[phase * self.phase + tile];
            }
        }
    }

    /// `Bᵀ·d·B` of every tile of some lines: `[channel][frequency][tile]`.
    pub fn input_spectra(&self, input: &[f32], lines: &Range<usize>, spectra: &mut [f32]) {
        let plane = self.input_plane();
        parallel::chunks_mut(spectra, self.spectrum(), |channel, spectrum| {
            scratch::with([self.padded(), PATCH * TILE * self.phase], |[padded, phases]| {
                padded.fill(0.0);
                for (index, line) in lines.clone().enumerate() {
                    let (image, tile) = self.place(line);
                    let plane = &input[(image * self.layer.inputs + channel) * plane..][..plane];
                    for (row, phases) in phases.chunks_exact_mut(TILE * self.phase).enumerate() {
                        match self.rows.source(tile * TILE + row) {
                            Some(source) => {
                                self.columns.pad(&plane[source * self.columns.input..][..self.columns.input], padded);
                                self.sort(padded, phases);
                            }
                            None => phases.fill(0.0),
                        }
                    }
                    vectorised(
                        #[inline(always)]
                        || self.transform_line(phases, index, spectrum),
                    );
                }
            });
        });
    }

    #[inline(always)]
    fn transform_line(&self, phases: &mut [f32], index: usize, spectrum: &mut [f32]) {
        let row = TILE * self.phase;
        for start in (0..row).step_by(LANES) {
            let values = F::<TILE, PATCH>::input(each(
                #[inline(always)]
                |i| Lanes::whole(&phases[i * row + start..]),
            ));
            for (i, values) in values.into_iter().enumerate() {
                values.store_whole(&mut phases[i * row + start..]);
            }
        }
        for (i, phases) in phases.chunks_exact(row).enumerate() {
            for (tile, place) in self.vectors(index) {
                let pixel = |column: usize| Lanes::whole(&phases[column % TILE * self.phase + column / TILE + tile..]);
                for (j, values) in F::<TILE, PATCH>::input(each(pixel)).into_iter().enumerate() {
                    values.store_whole(&mut spectrum[(i * PATCH + j) * self.pitch() + place..]);
                }
            }
        }
    }

    /// The adjoint of [`Tiling::input_spectra`]: adds onto the planes of one channel in every image.
    pub fn add_input_adjoint(&self, spectrum: &[f32], lines: &Range<usize>, planes: &mut [f32]) {
        scratch::with([self.padded(), PATCH * TILE * self.phase], |[padded, phases]| {
            for (index, line) in lines.clone().enumerate() {
                let (image, tile) = self.place(line);
                vectorised(
                    #[inline(always)]
                    || self.adjoint_line(spectrum, index, phases),
                );
                let plane = &mut planes[image * self.input_plane()..][..self.input_plane()];
                for (row, phases) in phases.chunks_exact(TILE * self.phase).enumerate() {
                    let Some(target) = self.rows.source(tile * TILE + row) else { continue };
                    self.unsort(phases, padded);
                    self.columns.fold(padded, &mut plane[target * self.columns.input..][..self.columns.input]);
                }
            }
        });
    }

    #[inline(always)]
    fn adjoint_line(&self, spectrum: &[f32], index: usize, phases: &mut [f32]) {
        let row = TILE * self.phase;
        for (i, phases) in phases.chunks_exact_mut(row).enumerate() {
            phases.fill(0.0);
            for (tile, place) in self.vectors(index) {
                let frequency = |j: usize| Lanes::whole(&spectrum[(i * PATCH + j) * self.pitch() + place..]);
                // What lies past the line's last tile belongs to the next line.
                let values =
                    F::<TILE, PATCH>::input_adjoint(each(frequency)).map(|values| values.first(self.across - tile));
                for (column, values) in values.into_iter().enumerate() {
                    let to = &mut phases[column % TILE * self.phase + column / TILE + tile..];
                    (Lanes::whole(to) + values).store_whole(to);
                }
            }
        }
        for start in (0..row).step_by(LANES) {
            let values = F::<TILE, PATCH>::input_adjoint(each(
                #[inline(always)]
                |i| Lanes::whole(&phases[i * row + start..]),
            ));
            for (i, values) in values.into_iter().enumerate() {
                values.store_whole(&mut phases[i * row + start..]);
            }
        }
    }

    /// `Aᵀ·m·A` of every tile of some lines of one channel, plus its bias.
    pub fn write_outputs(&self, spectrum: &[f32], lines: &Range<usize>, bias: f32, planes: &mut [f32]) {
        scratch::with([TILE * TILE * self.phase], |[pixels]| {
            for (index, line) in lines.clone().enumerate() {
                let (image, tile) = self.place(line);
                vectorised(
                    #[inline(always)]
                    || {
                        for (tile, place) in self.vectors(index) {
                            let mut rows = [[Lanes::default(); PATCH]; TILE];
                            for j in 0..PATCH {
                                let column = F::<TILE, PATCH>::output(each(
                                    #[inline(always)]
                                    |i| Lanes::whole(&spectrum[(i * PATCH + j) * self.pitch() + place..]),
                                ));
                                for row in 0..TILE {
                                    rows[row][j] = column[row];
                                }
                            }
                            for (row, values) in rows.into_iter().enumerate() {
                                for (column, values) in F::<TILE, PATCH>::output(values).into_iter().enumerate() {
                                    let to = &mut pixels[(row * TILE + column) * self.phase + tile..];
                                    (values + Lanes::splat(bias)).store_whole(to);
                                }
                            }
                        }
                    },
                );
                let plane = &mut planes[image * self.output_plane()..][..self.output_plane()];
                for (row, phases) in self.outputs(tile).zip(pixels.chunks_exact(TILE * self.phase)) {
                    self.unsort(phases, &mut plane[row * self.columns.output..][..self.columns.output]);
                }
            }
        });
    }

    /// `A·y·Aᵀ` of every tile of some lines, the adjoint of [`Tiling::write_outputs`]: `[channel][frequency][tile]`.
    pub fn output_spectra(&self, grad: &[f32], lines: &Range<usize>, spectra: &mut [f32]) {
        let plane = self.output_plane();
        parallel::chunks_mut(spectra, self.spectrum(), |channel, spectrum| {
            scratch::with([TILE * TILE * self.phase], |[pixels]| {
                for (index, line) in lines.clone().enumerate() {
                    let (image, tile) = self.place(line);
                    let plane = &grad[(image * self.layer.outputs + channel) * plane..][..plane];
                    pixels.fill(0.0);
                    for (row, phases) in self.outputs(tile).zip(pixels.chunks_exact_mut(TILE * self.phase)) {
                        self.sort(&plane[row * self.columns.output..][..self.columns.output], phases);
                    }
                    vectorised(
                        #[inline(always)]
                        || {
                            for (tile, place) in self.vectors(index) {
                                let mut columns = [[Lanes::default(); TILE]; PATCH];
                                for row in 0..TILE {
                                    let values = F::<TILE, PATCH>::output_adjoint(each(
                                        #[inline(always)]
                                        |column| Lanes::whole(&pixels[(row * TILE + column) * self.phase + tile..]),
                                    ));
                                    for j in 0..PATCH {
                                        columns[j][row] = values[j];
                                    }
                                }
                                for (j, values) in columns.into_iter().enumerate() {
                                    for (i, values) in F::<TILE, PATCH>::output_adjoint(values).into_iter().enumerate()
                                    {
                                        values.store_whole(&mut spectrum[(i * PATCH + j) * self.pitch() + place..]);
                                    }
                                }
                            }
                        },
                    );
                }
            });
        });
    }
}
