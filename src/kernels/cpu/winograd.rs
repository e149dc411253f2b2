//! Winograd's F(4×4, 3×3) for the 3×3 convolutions of stride 1, which are most of a generator's work.
//!
//! `Y = Aᵀ[(G·w·Gᵀ) ⊙ (Bᵀ·d·B)]A` for every tile of 4×4 outputs and the 6×6 inputs `d` under it
//! (Lavin & Gray 2016, <https://arxiv.org/abs/1509.09308>, with the points 0, ±1, ±2, ∞): 36
//! multiplications for 16 outputs where the definition has 144. Summed over input channels the
//! elementwise product is, for each of the 36 frequencies, one matrix product:
//! `M[f] = U[f] · V[f]` with `U[f]: [Cout × Cin]`, `V[f]: [Cin × tiles]`.
//!
//! The backward passes are the adjoints of the same three steps and share their transforms:
//! `∂V[f] = U[f]ᵀ·∂M[f]` and `∂U[f] = ∂M[f]·V[f]ᵀ` with `∂M = A·∂Y·Aᵀ`.
//!
//! Floor: `2·36/16·N·Cout·Hout·Wout·Cin` operations. Rounding grows with the size of the matrices'
//! entries: about 1e-6 of the largest output, against 1e-7 for the definition.

use std::ops::Range;

use super::lanes::{LANES, Lanes, each};
use super::matrix::{View, multiply};
use super::{Geometry, Shape};
use crate::platform::simd::vectorised;
use crate::platform::{parallel, scratch};

/// Side of a tile of outputs.
const TILE: usize = 4;
/// Side of the inputs under it.
const PATCH: usize = TILE + 2;
/// Products of a tile.
const FREQUENCIES: usize = PATCH * PATCH;
/// Weights of a filter.
const TAPS: usize = 9;
/// Tiles of a block aim at this many columns of the matrix products: enough to use a weight
/// well once it is in a register, few enough to stay in the caches.
const COLUMNS: usize = 256;

/// Whether a convolution is one of those this module is for: 3×3, stride 1, and channels enough
/// to pay for the transforms.
pub fn suits(shape: Shape, geometry: Geometry) -> bool {
    geometry.kernel == 3 && geometry.stride == 1 && shape.inputs.min(shape.outputs) >= 8
}

/// `Bᵀ·d`.
#[inline(always)]
fn input_transform(d: [Lanes; 6]) -> [Lanes; 6] {
    let (even, odd) = (d[4] - d[2] * 4.0, d[3] - d[1] * 4.0);
    let (near, far) = (d[4] - d[2], (d[3] - d[1]) * 2.0);
    [d[0] * 4.0 - d[2] * 5.0 + d[4], even + odd, even - odd, near + far, near - far, d[1] * 4.0 - d[3] * 5.0 + d[5]]
}

/// `B·v`, the adjoint.
#[inline(always)]
fn input_adjoint(v: [Lanes; 6]) -> [Lanes; 6] {
    let (ones, twos) = (v[1] + v[2], v[3] + v[4]);
    let (one, two) = (v[1] - v[2], (v[3] - v[4]) * 2.0);
    [
        v[0] * 4.0,
        v[5] * 4.0 - one * 4.0 - two,
        v[0] * -5.0 - ones * 4.0 - twos,
        one + two - v[5] * 5.0,
        v[0] + ones + twos,
        v[5],
    ]
}

/// `Aᵀ·m`.
#[inline(always)]
fn output_transform(m: [Lanes; 6]) -> [Lanes; 4] {
    let (ones, one) = (m[1] + m[2], m[1] - m[2]);
    let (twos, two) = (m[3] + m[4], m[3] - m[4]);
    [m[0] + ones + twos, one + two * 2.0, ones + twos * 4.0, one + two * 8.0 + m[5]]
}

/// `A·y`, the adjoint.
#[inline(always)]
fn output_adjoint(y: [Lanes; 4]) -> [Lanes; 6] {
    let (even, odd) = (y[0] + y[2], y[1] + y[3]);
    let (far_even, far_odd) = (y[0] + y[2] * 4.0, y[1] * 2.0 + y[3] * 8.0);
    [y[0], even + odd, even - odd, far_even + far_odd, far_even - far_odd, y[3]]
}

/// `G·w`.
#[inline(always)]
fn filter_transform(w: [Lanes; 3]) -> [Lanes; 6] {
    let (even, odd) = ((w[0] + w[2]) * (-1.0 / 6.0), w[1] * (-1.0 / 6.0));
    let (far_even, far_odd) = (w[0] * (1.0 / 24.0) + w[2] * (1.0 / 6.0), w[1] * (1.0 / 12.0));
    [w[0] * 0.25, even + odd, even - odd, far_even + far_odd, far_even - far_odd, w[2]]
}

/// `Gᵀ·u`, the adjoint.
#[inline(always)]
fn filter_adjoint(u: [Lanes; 6]) -> [Lanes; 3] {
    let ones = (u[1] + u[2]) * (1.0 / 6.0);
    let twos = u[3] + u[4];
    [
        u[0] * 0.25 - ones + twos * (1.0 / 24.0),
        (u[2] - u[1]) * (1.0 / 6.0) + (u[3] - u[4]) * (1.0 / 12.0),
        twos * (1.0 / 6.0) - ones + u[5],
    ]
}

/// `[output][frequency][input]`, from a weight `[output][input][3 × 3]`.
fn filter_spectra(weight: &[f32], shape: Shape, spectra: &mut [f32]) {
    let inputs = shape.inputs;
    parallel::chunks_mut(spectra, FREQUENCIES * inputs, |output, to| {
        let from = &weight[output * inputs * TAPS..][..inputs * TAPS];
        vectorised(
            #[inline(always)]
            || {
                for start in (0..inputs).step_by(LANES) {
                    let taps = Lanes::deinterleave::<TAPS>(&from[start * TAPS..]);
                    let rows: [[Lanes; 3]; 6] = transpose(each(
                        #[inline(always)]
                        |column| {
                            filter_transform(each(
                                #[inline(always)]
                                |row| taps[row * 3 + column],
                            ))
                        },
                    ));
                    for (row, values) in rows.into_iter().enumerate() {
                        for (column, values) in filter_transform(values).into_iter().enumerate() {
                            values.store(&mut to[(row * PATCH + column) * inputs..][start..inputs]);
                        }
                    }
                }
            },
        );
    });
}

/// The adjoint of [`filter_spectra`].
fn filter_spectra_adjoint(spectra: &[f32], shape: Shape) -> Vec<f32> {
    let inputs = shape.inputs;
    let mut weight = vec![0.0; shape.outputs * inputs * TAPS];
    parallel::chunks_mut(&mut weight, inputs * TAPS, |output, to| {
        let from = &spectra[output * FREQUENCIES * inputs..][..FREQUENCIES * inputs];
        vectorised(
            #[inline(always)]
            || {
                for start in (0..inputs).step_by(LANES) {
                    let rows: [[Lanes; 3]; 6] = each(
                        #[inline(always)]
                        |row| {
                            filter_adjoint(each(
                                #[inline(always)]
                                |column| Lanes::load(&from[(row * PATCH + column) * inputs..][start..inputs]),
                            ))
                        },
                    );
                    let columns: [[Lanes; 3]; 3] = transpose(rows).map(filter_adjoint);
                    let taps: [Lanes; TAPS] = each(
                        #[inline(always)]
                        |tap| columns[tap % 3][tap / 3],
                    );
                    Lanes::interleave(taps, &mut to[start * TAPS..]);
                }
            },
        );
    });
    weight
}

#[inline(always)]
fn transpose<const R: usize, const C: usize>(rows: [[Lanes; C]; R]) -> [[Lanes; R]; C] {
    let mut columns = [[Lanes::default(); R]; C];
    for (r, row) in rows.into_iter().enumerate() {
        for (c, value) in row.into_iter().enumerate() {
            columns[c][r] = value;
        }
    }
    columns
}

/// Where a padded row or column comes from, for one axis.
struct Axis {
    /// Per padded position: the input, `None` where there is a zero.
    source: Vec<Option<usize>>,
    padding: usize,
    input: usize,
    output: usize,
    tiles: usize,
}

impl Axis {
    fn new(geometry: Geometry, input: usize) -> Self {
        let output = geometry.output(input);
        let tiles = output.div_ceil(TILE);
        let source = (0..tiles * TILE + 2).map(|padded| geometry.source(padded, input)).collect();
        Self { source, padding: geometry.padding, input, output, tiles }
    }

    /// The padded positions that are neither mirrored nor zero.
    fn inside(&self) -> Range<usize> {
        self.padding..self.padding + self.input
    }

    /// The other padded positions that have a source, with it.
    fn mirrored(&self) -> impl Iterator<Item = (usize, usize)> {
        let outside = (0..self.padding).chain(self.inside().end..self.source.len());
        outside.filter_map(|padded| Some((padded, self.source[padded]?)))
    }

    /// The outputs of one tile.
    fn outputs(&self, tile: usize) -> Range<usize> {
        tile * TILE..((tile + 1) * TILE).min(self.output)
    }
}

/// A convolution's tiles. A line is one row of them in one image.
struct Tiling {
    rows: Axis,
    columns: Axis,
    shape: Shape,
    /// Lines of a block.
    block: usize,
    /// Floats of one of the four phases of a padded row (every fourth pixel), with room for whole vectors.
    phase: usize,
}

impl Tiling {
    fn new(shape: Shape, geometry: Geometry) -> Self {
        let rows = Axis::new(geometry, shape.size[0]);
        let columns = Axis::new(geometry, shape.size[1]);
        let across = columns.tiles;
        let block = (COLUMNS / across.max(1)).clamp(1, (shape.batch * rows.tiles).max(1));
        let phase = across.next_multiple_of(LANES) + LANES;
        Self { rows, columns, shape, block, phase }
    }

    /// All lines of all images, in blocks.
    fn blocks(&self) -> impl Iterator<Item = Range<usize>> {
        let lines = self.shape.batch * self.rows.tiles;
        (0..lines).step_by(self.block).map(move |start| start..(start + self.block).min(lines))
    }

    fn tiles(&self, lines: &Range<usize>) -> usize {
        lines.len() * self.columns.tiles
    }

    /// Floats from one frequency to the next: whole vectors may be stored past the last tile.
    fn pitch(&self) -> usize {
        self.block * self.columns.tiles + LANES
    }

    /// Floats of a padded row, in whole tiles.
    fn padded(&self) -> usize {
        self.columns.source.len().next_multiple_of(TILE)
    }

    /// Floats of all frequencies of one channel.
    fn spectrum(&self) -> usize {
        FREQUENCIES * self.pitch()
    }

    fn input_plane(&self) -> usize {
        self.rows.input * self.columns.input
    }

    fn output_plane(&self) -> usize {
        self.rows.output * self.columns.output
    }

    /// `(image, row of tiles)` of a line.
    fn place(&self, line: usize) -> (usize, usize) {
        (line / self.rows.tiles, line % self.rows.tiles)
    }

    /// Where a line's vectors are stored: `(first tile of its vector, its index in a spectrum)`.
    fn vectors(&self, index: usize) -> impl Iterator<Item = (usize, usize)> {
        let across = self.columns.tiles;
        (0..across).step_by(LANES).map(move |tile| (tile, index * across + tile))
    }

    /// `Bᵀ·d·B` of every tile of some lines: `[channel][frequency][tile]`.
    fn input_spectra(&self, input: &[f32], lines: &Range<usize>, spectra: &mut [f32]) {
        let plane = self.input_plane();
        parallel::chunks_mut(spectra, self.spectrum(), |channel, spectrum| {
            scratch::with([self.padded(), PATCH * TILE * self.phase], |[padded, phases]| {
                padded.fill(0.0);
                for (index, line) in lines.clone().enumerate() {
                    let (image, tile) = self.place(line);
                    let plane = &input[(image * self.shape.inputs + channel) * plane..][..plane];
                    for (row, phases) in phases.chunks_exact_mut(TILE * self.phase).enumerate() {
                        self.read_row(plane, tile * TILE + row, padded, phases);
                    }
                    vectorised(
                        #[inline(always)]
                        || self.transform_line(phases, index, spectrum),
                    );
                }
            });
        });
    }

    /// A padded row, sorted into its four phases.
    fn read_row(&self, plane: &[f32], row: usize, padded: &mut [f32], phases: &mut [f32]) {
        let Some(source) = self.rows.source[row] else {
            phases.fill(0.0);
            return;
        };
        let source = &plane[source * self.columns.input..][..self.columns.input];
        let inside = self.columns.inside();
        padded[inside].copy_from_slice(source);
        for (position, from) in self.columns.mirrored() {
            padded[position] = source[from];
        }
        let (left, right) = phases.split_at_mut(2 * self.phase);
        let (first, second) = left.split_at_mut(self.phase);
        let (third, fourth) = right.split_at_mut(self.phase);
        let quads = padded.chunks_exact(TILE);
        for ((((quad, first), second), third), fourth) in quads.zip(first).zip(second).zip(third).zip(fourth) {
            [*first, *second, *third, *fourth] = [quad[0], quad[1], quad[2], quad[3]];
        }
    }

    #[inline(always)]
    fn transform_line(&self, phases: &mut [f32], index: usize, spectrum: &mut [f32]) {
        let row = TILE * self.phase;
        for start in (0..row).step_by(LANES) {
            let values = input_transform(each(
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
                for (j, values) in input_transform(each(pixel)).into_iter().enumerate() {
                    values.store_whole(&mut spectrum[(i * PATCH + j) * self.pitch() + place..]);
                }
            }
        }
    }

    /// The adjoint of [`Tiling::input_spectra`]: adds onto the planes of one channel in every image.
    fn add_input_adjoint(&self, spectrum: &[f32], lines: &Range<usize>, planes: &mut [f32], stride: usize) {
        scratch::with([self.padded(), PATCH * TILE * self.phase], |[padded, phases]| {
            for (index, line) in lines.clone().enumerate() {
                let (image, tile) = self.place(line);
                vectorised(
                    #[inline(always)]
                    || self.adjoint_line(spectrum, index, phases),
                );
                let plane = &mut planes[image * stride..][..self.input_plane()];
                for (row, phases) in phases.chunks_exact(TILE * self.phase).enumerate() {
                    self.add_row(phases, tile * TILE + row, padded, plane);
                }
            }
        });
    }

    #[inline(always)]
    fn adjoint_line(&self, spectrum: &[f32], index: usize, phases: &mut [f32]) {
        let row = TILE * self.phase;
        let across = self.columns.tiles;
        for (i, phases) in phases.chunks_exact_mut(row).enumerate() {
            phases.fill(0.0);
            for (tile, place) in self.vectors(index) {
                let frequency = |j: usize| Lanes::whole(&spectrum[(i * PATCH + j) * self.pitch() + place..]);
                // What lies past the line's last tile belongs to the next line.
                let values = input_adjoint(each(frequency)).map(|values| values.first(across - tile));
                for (column, values) in values.into_iter().enumerate() {
                    let to = &mut phases[column % TILE * self.phase + column / TILE + tile..];
                    (Lanes::whole(to) + values).store_whole(to);
                }
            }
        }
        for start in (0..row).step_by(LANES) {
            let values = input_adjoint(each(
                #[inline(always)]
                |i| Lanes::whole(&phases[i * row + start..]),
            ));
            for (i, values) in values.into_iter().enumerate() {
                values.store_whole(&mut phases[i * row + start..]);
            }
        }
    }

    fn add_row(&self, phases: &[f32], row: usize, padded: &mut [f32], plane: &mut [f32]) {
        let Some(target) = self.rows.source[row] else { return };
        let target = &mut plane[target * self.columns.input..][..self.columns.input];
        for (tile, quad) in padded.chunks_exact_mut(TILE).enumerate() {
            for (phase, value) in quad.iter_mut().enumerate() {
                *value = phases[phase * self.phase + tile];
            }
        }
        let inside = self.columns.inside();
        target.iter_mut().zip(&padded[inside.start..]).for_each(
            #[inline(always)]
            |(to, from)| *to += from,
        );
        for (position, to) in self.columns.mirrored() {
            target[to] += padded[position];
        }
    }

    /// `Aᵀ·m·A` of every tile of some lines of one channel, plus its bias.
    fn write_outputs(&self, spectrum: &[f32], lines: &Range<usize>, bias: f32, planes: &mut [f32], stride: usize) {
        scratch::with([TILE * TILE * self.phase], |[pixels]| {
            for (index, line) in lines.clone().enumerate() {
                let (image, tile) = self.place(line);
                vectorised(
                    #[inline(always)]
                    || {
                        for (tile, place) in self.vectors(index) {
                            let columns: [[Lanes; 4]; 6] = each(
                                #[inline(always)]
                                |j| {
                                    output_transform(each(
                                        #[inline(always)]
                                        |i| Lanes::whole(&spectrum[(i * PATCH + j) * self.pitch() + place..]),
                                    ))
                                },
                            );
                            for (row, values) in transpose(columns).into_iter().enumerate() {
                                for (column, values) in output_transform(values).into_iter().enumerate() {
                                    let to = &mut pixels[(row * TILE + column) * self.phase + tile..];
                                    (values + Lanes::splat(bias)).store_whole(to);
                                }
                            }
                        }
                    },
                );
                let plane = &mut planes[image * stride..][..self.output_plane()];
                for (row, phases) in self.rows.outputs(tile).zip(pixels.chunks_exact(TILE * self.phase)) {
                    let to = &mut plane[row * self.columns.output..][..self.columns.output];
                    for (tile, quad) in to.chunks_mut(TILE).enumerate() {
                        for (phase, value) in quad.iter_mut().enumerate() {
                            *value = phases[phase * self.phase + tile];
                        }
                    }
                }
            }
        });
    }

    /// `A·y·Aᵀ` of every tile of some lines, the adjoint of [`Tiling::write_outputs`]: `[channel][frequency][tile]`.
    fn output_spectra(&self, grad: &[f32], lines: &Range<usize>, spectra: &mut [f32]) {
        let plane = self.output_plane();
        parallel::chunks_mut(spectra, self.spectrum(), |channel, spectrum| {
            scratch::with([TILE * TILE * self.phase], |[pixels]| {
                for (index, line) in lines.clone().enumerate() {
                    let (image, tile) = self.place(line);
                    let plane = &grad[(image * self.shape.outputs + channel) * plane..][..plane];
                    pixels.fill(0.0);
                    for (row, phases) in self.rows.outputs(tile).zip(pixels.chunks_exact_mut(TILE * self.phase)) {
                        let from = &plane[row * self.columns.output..][..self.columns.output];
                        for (tile, quad) in from.chunks(TILE).enumerate() {
                            for (phase, value) in quad.iter().enumerate() {
                                phases[phase * self.phase + tile] = *value;
                            }
                        }
                    }
                    vectorised(
                        #[inline(always)]
                        || {
                            for (tile, place) in self.vectors(index) {
                                let rows: [[Lanes; 6]; 4] = each(
                                    #[inline(always)]
                                    |row| {
                                        output_adjoint(each(
                                            #[inline(always)]
                                            |column| Lanes::whole(&pixels[(row * TILE + column) * self.phase + tile..]),
                                        ))
                                    },
                                );
                                for (j, values) in transpose(rows).into_iter().enumerate() {
                                    for (i, values) in output_adjoint(values).into_iter().enumerate() {
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

/// Convolution forward.
pub fn conv2d(input: &[f32], weight: &[f32], bias: Option<&[f32]>, shape: Shape, geometry: Geometry) -> Vec<f32> {
    let Shape { batch, inputs, outputs, .. } = shape;
    let tiling = Tiling::new(shape, geometry);
    let (spectrum, plane) = (tiling.spectrum(), tiling.output_plane());
    let share = outputs.div_ceil(parallel::threads()).max(1);
    // Channel by channel first, so that threads can share it; the images are put in order at the end.
    let mut output = vec![0.0; outputs * batch * plane];
    let sizes = [outputs * FREQUENCIES * inputs, inputs * spectrum, outputs * spectrum];
    scratch::with(sizes, |[filters, spectra, products]| {
        filter_spectra(weight, shape, filters);
        for lines in tiling.blocks() {
            tiling.input_spectra(input, &lines, spectra);
            parallel::zip_chunks_mut(
                (products, share * spectrum),
                (&mut output, share * batch * plane),
                |thread, products, planes| {
                    let count = products.len() / spectrum;
                    for frequency in 0..FREQUENCIES {
                        let from = (thread * share * FREQUENCIES + frequency) * inputs;
                        multiply(
                            [count, tiling.tiles(&lines), inputs],
                            (&mut products[frequency * tiling.pitch()..], View::rows(spectrum)),
                            false,
                            (&filters[from..], View::rows(FREQUENCIES * inputs)),
                            (&spectra[frequency * tiling.pitch()..], View::rows(spectrum)),
                        );
                    }
                    let channels = products.chunks_exact(spectrum).zip(planes.chunks_exact_mut(batch * plane));
                    for (channel, (product, planes)) in channels.enumerate() {
                        let bias = bias.map_or(0.0, |bias| bias[thread * share + channel]);
                        tiling.write_outputs(product, &lines, bias, planes, plane);
                    }
                },
            );
        }
    });
    images_first(output, batch, outputs, plane)
}

/// Gradient of the input; with a bias where it is the forward pass of a transposed convolution.
pub fn conv2d_input_grad(
    output_grad: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    shape: Shape,
    geometry: Geometry,
) -> Vec<f32> {
    let Shape { batch, inputs, outputs, .. } = shape;
    let tiling = Tiling::new(shape, geometry);
    let (spectrum, plane) = (tiling.spectrum(), tiling.input_plane());
    let share = inputs.div_ceil(parallel::threads()).max(1);
    let mut input_grad = vec![0.0; inputs * batch * plane];
    if let Some(bias) = bias {
        input_grad.chunks_exact_mut(batch * plane).zip(bias).for_each(
            #[inline(always)]
            |(planes, bias)| planes.fill(*bias),
        );
    }
    let sizes = [outputs * FREQUENCIES * inputs, outputs * spectrum, inputs * spectrum];
    scratch::with(sizes, |[filters, grads, products]| {
        filter_spectra(weight, shape, filters);
        for lines in tiling.blocks() {
            tiling.output_spectra(output_grad, &lines, grads);
            parallel::zip_chunks_mut(
                (products, share * spectrum),
                (&mut input_grad, share * batch * plane),
                |thread, products, planes| {
                    let count = products.len() / spectrum;
                    for frequency in 0..FREQUENCIES {
                        multiply(
                            [count, tiling.tiles(&lines), outputs],
                            (&mut products[frequency * tiling.pitch()..], View::rows(spectrum)),
                            false,
                            (&filters[frequency * inputs + thread * share..], View::columns(FREQUENCIES * inputs)),
                            (&grads[frequency * tiling.pitch()..], View::rows(spectrum)),
                        );
                    }
                    let channels = products.chunks_exact(spectrum).zip(planes.chunks_exact_mut(batch * plane));
                    for (product, planes) in channels {
                        tiling.add_input_adjoint(product, &lines, planes, plane);
                    }
                },
            );
        }
    });
    images_first(input_grad, batch, inputs, plane)
}

/// Gradient of the weight.
pub fn conv2d_weight_grad(input: &[f32], output_grad: &[f32], shape: Shape, geometry: Geometry) -> Vec<f32> {
    let Shape { inputs, outputs, .. } = shape;
    let tiling = Tiling::new(shape, geometry);
    let spectrum = tiling.spectrum();
    let share = outputs.div_ceil(parallel::threads()).max(1);
    let sizes = [outputs * FREQUENCIES * inputs, inputs * spectrum, outputs * spectrum];
    scratch::with(sizes, |[filters, spectra, grads]| {
        for (block, lines) in tiling.blocks().enumerate() {
            tiling.input_spectra(input, &lines, spectra);
            tiling.output_spectra(output_grad, &lines, grads);
            parallel::chunks_mut(filters, share * FREQUENCIES * inputs, |thread, filters| {
                let count = filters.len() / (FREQUENCIES * inputs);
                for frequency in 0..FREQUENCIES {
                    multiply(
                        [count, inputs, tiling.tiles(&lines)],
                        (&mut filters[frequency * inputs..], View::rows(FREQUENCIES * inputs)),
                        block > 0,
                        (&grads[thread * share * spectrum + frequency * tiling.pitch()..], View::rows(spectrum)),
                        (&spectra[frequency * tiling.pitch()..], View::columns(spectrum)),
                    );
                }
            });
        }
        filter_spectra_adjoint(filters, shape)
    })
}

/// `[channel][image][plane]` as `[image][channel][plane]`.
fn images_first(planes: Vec<f32>, batch: usize, channels: usize, plane: usize) -> Vec<f32> {
    if batch == 1 {
        return planes;
    }
    let mut ordered = Vec::with_capacity(planes.len());
    for image in 0..batch {
        for channel in 0..channels {
            ordered.extend_from_slice(&planes[(channel * batch + image) * plane..][..plane]);
        }
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values<const N: usize>(seed: f32) -> [Lanes; N] {
        each(
            #[inline(always)]
            |i| {
                Lanes(each(
                    #[inline(always)]
                    |lane| ((i * LANES + lane) as f32 * seed).sin(),
                ))
            },
        )
    }

    fn dot<const N: usize>(left: [Lanes; N], right: [Lanes; N]) -> f32 {
        left.into_iter()
            .zip(right)
            .map(|(left, right)| left.0.iter().zip(right.0).map(|(a, b)| a * b).sum::<f32>())
            .sum()
    }

    #[track_caller]
    fn adjoint<const N: usize, const M: usize>(
        forward: fn([Lanes; N]) -> [Lanes; M],
        back: fn([Lanes; M]) -> [Lanes; N],
    ) {
        let (x, y) = (values::<N>(0.7), values::<M>(1.3));
        let (left, right) = (dot(forward(x), y), dot(x, back(y)));
        assert!((left - right).abs() < 1e-4 * left.abs().max(1.0), "{left} and {right}");
    }

    #[test]
    fn every_transform_has_its_adjoint() {
        adjoint(input_transform, input_adjoint);
        adjoint(output_transform, output_adjoint);
        adjoint(filter_transform, filter_adjoint);
    }
}
