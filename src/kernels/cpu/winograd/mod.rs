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
//! Floor: `2·36/16·N·Cout·Hout·Wout·Cin` operations in the products; the spectra are written and read once,
//! 36/16 of the input's and the output's bytes, and 36/9 of the weight's for every picture. Rounding grows
//! with the size of the matrices' entries: about 1e-6 of the largest output, against 1e-7 for the definition.

mod tiling;
mod transforms;

use std::ops::Range;

use self::tiling::Tiling;
use self::transforms::{filter_adjoint, filter_transform, transpose};
use super::lanes::{LANES, Lanes, each};
use super::matrix::{View, multiply};
use super::{Filters, Layer};
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
/// Written channels whose filters' spectra are made at a time: 1.2 MB of them for 256 read ones. 16 and 64 take up to a
/// twentieth longer.
const GROUP: usize = 32;

/// Whether a convolution is one of those this module is for: 3×3, stride 1, and channels enough
/// to pay for the transforms.
pub fn suits(layer: Layer) -> bool {
    layer.geometry.kernel == 3 && layer.geometry.stride == 1 && layer.inputs.min(layer.outputs) >= 8
}

/// Convolution forward.
pub fn conv2d(input: &[f32], filters: Filters, layer: Layer) -> Vec<f32> {
    let tiling = Tiling::new(layer);
    let planes = vec![0.0; layer.batch * layer.outputs * tiling.output_plane()];
    run(&tiling, &Forward { input, filters, layer }, planes)
}

/// Gradient of the input; with a bias where it is the forward pass of a transposed convolution.
pub fn conv2d_input_grad(output_grad: &[f32], filters: Filters, layer: Layer) -> Vec<f32> {
    let tiling = Tiling::new(layer);
    let channel = layer.batch * tiling.input_plane();
    let mut planes = vec![0.0; layer.inputs * channel];
    for (input, planes) in planes.chunks_exact_mut(channel).enumerate() {
        planes.fill(filters.bias(input));
    }
    run(&tiling, &Backward { output_grad, filters, layer }, planes)
}

/// Gradient of the weight.
pub fn conv2d_weight_grad(input: &[f32], output_grad: &[f32], layer: Layer) -> Vec<f32> {
    let Layer { inputs, outputs, .. } = layer;
    let tiling = Tiling::new(layer);
    let spectrum = tiling.spectrum();
    let share = outputs.div_ceil(parallel::threads()).max(1);
    let sizes = [outputs * layer.spectra(), inputs * spectrum, outputs * spectrum];
    scratch::with(sizes, |[filters, spectra, grads]| {
        for (block, lines) in tiling.blocks().enumerate() {
            tiling.input_spectra(input, &lines, spectra);
            tiling.output_spectra(output_grad, &lines, grads);
            parallel::chunks_mut(filters, share * layer.spectra(), |thread, filters| {
                let count = filters.len() / layer.spectra();
                for frequency in 0..FREQUENCIES {
                    multiply(
                        [count, inputs, tiling.tiles(&lines)],
                        (&mut filters[frequency * inputs..], View::rows(layer.spectra())),
                        block > 0,
                        (&grads[thread * share * spectrum + frequency * tiling.pitch()..], View::rows(spectrum)),
                        (&spectra[frequency * tiling.pitch()..], View::columns(spectrum)),
                    );
                }
            });
        }
        filter_spectra_adjoint(filters, layer)
    })
}

impl Layer {
    /// Floats of the spectra of one output channel's filters.
    fn spectra(&self) -> usize {
        FREQUENCIES * self.inputs
    }
}

/// One way through the channels: spectra of what comes in, products, planes of what goes out.
trait Pass: Sync {
    /// The layer, and the channels that are read and that are written.
    fn sides(&self) -> (Layer, [usize; 2]);
    /// Makes the filters' spectra of some written channels; how far one frequency's lie from the next one's, and how
    /// they lie: `[written × read]`.
    fn filters(&self, channels: Range<usize>, spectra: &mut [f32]) -> (usize, View);
    /// Fills `[channel][frequency][tile]` for some lines.
    fn read(&self, tiling: &Tiling, lines: &Range<usize>, spectra: &mut [f32]);
    /// Takes one channel's products to its planes.
    fn write(&self, tiling: &Tiling, channel: usize, products: &[f32], lines: &Range<usize>, planes: &mut [f32]);
}

struct Forward<'a> {
    input: &'a [f32],
    filters: Filters<'a>,
    layer: Layer,
}

impl Pass for Forward<'_> {
    fn sides(&self) -> (Layer, [usize; 2]) {
        (self.layer, [self.layer.inputs, self.layer.outputs])
    }

    fn filters(&self, outputs: Range<usize>, spectra: &mut [f32]) -> (usize, View) {
        let inputs = self.layer.inputs;
        filter_spectra(self.filters.weight, self.layer, outputs, 0..inputs, spectra);
        (inputs, View::rows(FREQUENCIES * inputs))
    }

    fn read(&self, tiling: &Tiling, lines: &Range<usize>, spectra: &mut [f32]) {
        tiling.input_spectra(self.input, lines, spectra);
    }

    fn write(&self, tiling: &Tiling, output: usize, products: &[f32], lines: &Range<usize>, planes: &mut [f32]) {
        tiling.write_outputs(products, lines, self.filters.bias(output), planes);
    }
}

struct Backward<'a> {
    output_grad: &'a [f32],
    filters: Filters<'a>,
    layer: Layer,
}

impl Pass for Backward<'_> {
    fn sides(&self) -> (Layer, [usize; 2]) {
        (self.layer, [self.layer.outputs, self.layer.inputs])
    }

    fn filters(&self, inputs: Range<usize>, spectra: &mut [f32]) -> (usize, View) {
        let count = inputs.len();
        filter_spectra(self.filters.weight, self.layer, 0..self.layer.outputs, inputs, spectra);
        (count, View::columns(FREQUENCIES * count))
    }

    fn read(&self, tiling: &Tiling, lines: &Range<usize>, spectra: &mut [f32]) {
        tiling.output_spectra(self.output_grad, lines, spectra);
    }

    fn write(&self, tiling: &Tiling, _: usize, products: &[f32], lines: &Range<usize>, planes: &mut [f32]) {
        tiling.add_input_adjoint(products, lines, planes);
    }
}

/// Block by block; `planes` is `[channel][image][plane]`, so that threads can share the channels, and comes
/// back as `[image][channel][plane]`. The filters' spectra of a group of channels are made where they are used,
/// for every block anew: they stay in the cache, where those of a whole layer (9 MB at 256 × 256 channels) would
/// go to memory and back, and making them is a hundredth of a full block's products.
fn run(tiling: &Tiling, pass: &impl Pass, mut planes: Vec<f32>) -> Vec<f32> {
    let (layer, [from, to]) = pass.sides();
    let (spectrum, pitch) = (tiling.spectrum(), tiling.pitch());
    let share = to.div_ceil(parallel::threads()).next_multiple_of(LANES).max(1);
    let channel = planes.len() / to.max(1);
    scratch::with([from * spectrum, to * spectrum], |[spectra, products]| {
        for lines in tiling.blocks() {
            pass.read(tiling, &lines, spectra);
            let (products, planes) = ((&mut *products, share * spectrum), (&mut *planes, share * channel));
            parallel::zip_chunks_mut(products, planes, |thread, products, planes| {
                let groups = products.chunks_mut(GROUP * spectrum).zip(planes.chunks_mut(GROUP * channel));
                for (index, (products, planes)) in groups.enumerate() {
                    let count = products.len() / spectrum;
                    let first = thread * share + index * GROUP;
                    scratch::with([count * from * FREQUENCIES], |[filters]| {
                        let (step, view) = pass.filters(first..first + count, filters);
                        for frequency in 0..FREQUENCIES {
                            multiply(
                                [count, tiling.tiles(&lines), from],
                                (&mut products[frequency * pitch..], View::rows(spectrum)),
                                false,
                                (&filters[frequency * step..], view),
                                (&spectra[frequency * pitch..], View::rows(spectrum)),
                            );
                        }
                    });
                    let channels = products.chunks_exact(spectrum).zip(planes.chunks_exact_mut(channel));
                    for (index, (products, planes)) in channels.enumerate() {
                        pass.write(tiling, first + index, products, &lines, planes);
                    }
                }
            });
        }
    });
    images_first(planes, layer.batch, to)
}

/// `[channel][image][plane]` as `[image][channel][plane]`.
fn images_first(planes: Vec<f32>, batch: usize, channels: usize) -> Vec<f32> {
    if batch == 1 {
        return planes;
    }
    let plane = planes.len() / (batch * channels).max(1);
    let mut ordered = Vec::with_capacity(planes.len());
    for image in 0..batch {
        for channel in 0..channels {
            ordered.extend_from_slice(&planes[(channel * batch + image) * plane..][..plane]);
        }
    }
    ordered
}

/// `[output][frequency][input]` of some outputs and inputs, from a weight `[output][input][3 × 3]`.
fn filter_spectra(weight: &[f32], layer: Layer, outputs: Range<usize>, inputs: Range<usize>, spectra: &mut [f32]) {
    let count = inputs.len();
    for (output, to) in outputs.zip(spectra.chunks_exact_mut(FREQUENCIES * count)) {
        let from = &weight[(output * layer.inputs + inputs.start) * TAPS..][..count * TAPS];
        vectorised(
            #[inline(always)]
            || {
                for start in (0..count).step_by(LANES) {
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
                            values.store(&mut to[(row * PATCH + column) * count..][start..count]);
                        }
                    }
                }
            },
        );
    }
}

/// The adjoint of [`filter_spectra`].
fn filter_spectra_adjoint(spectra: &[f32], layer: Layer) -> Vec<f32> {
    let inputs = layer.inputs;
    let mut weight = vec![0.0; layer.outputs * inputs * TAPS];
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
