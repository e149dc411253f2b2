//! Winograd's F(4×4, 3×3) for the 3×3 convolutions of stride 1, which are most of a generator's work, and F(2×2, 3×3) for the
//! smallest maps.
//!
//! `Y = Aᵀ[(G·w·Gᵀ) ⊙ (Bᵀ·d·B)]A` for every tile of 4×4 outputs and the 6×6 inputs `d` under it
//! (Lavin & Gray 2016, <https://arxiv.org/abs/1509.09308>): 36 multiplications for 16 outputs where the definition has 144
//! (16 for 4 where it has 36). Summed over input channels the elementwise product is, for each of the 36 (16) frequencies, one
//! matrix product: `M[f] = U[f] · V[f]` with `U[f]: [Cout × Cin]`, `V[f]: [Cin × tiles]`.
//!
//! The backward passes are the adjoints of the same three steps and share their transforms:
//! `∂V[f] = U[f]ᵀ·∂M[f]` and `∂U[f] = ∂M[f]·V[f]ᵀ` with `∂M = A·∂Y·Aᵀ`.
//!
//! Floor: `2·36/16·N·Cout·Hout·Wout·Cin` operations in the products (`16/4` in place of `36/16`); the spectra are written and
//! read once, 36/16 (16/4) of the input's and the output's bytes, and 36/9 (16/9) of the weight's for every picture. Rounding
//! grows with the size of the matrices' entries: about 1e-6 of the largest output, against 1e-7 for the definition.

mod filters;
mod tiling;
mod transforms;

use std::ops::Range;

use self::filters::{filter_spectra, filter_spectra_adjoint};
use self::tiling::Tiling;
use self::transforms::{F, Transforms};
use super::lanes::LANES;
use super::matrix::{View, multiply};
use super::{Filters, Layer};
use crate::platform::{parallel, scratch};

/// Side of a filter.
const SIDE: usize = 3;
/// Tiles of 4×4 in a picture up to which smaller ones are ahead. Measured on AVX-512, one thread, 256 × 256 channels, 16 of them:
/// forward pass and gradients take 0.8 of the time, in a batch of two 1.0 to 1.25.
const FEW: usize = 16;
/// Weights of a filter.
const TAPS: usize = SIDE * SIDE;
/// Written channels whose filters' spectra are made at a time: 1.2 MB of them for 256 read ones. 16 and 64 take up to a
/// twentieth longer.
const GROUP: usize = 32;

/// Whether a convolution is one of those this module is for: 3×3, stride 1, and channels enough
/// to pay for the transforms.
pub fn suits(layer: Layer) -> bool {
    layer.geometry.kernel == 3 && layer.geometry.stride == 1 && layer.inputs.min(layer.outputs) >= 8
}

/// Whether F(2×2, 3×3) is ahead, as on maps of 16×16: filters' spectra, made for each picture, cost as much there as the
/// products, and it has fewer of them and four times the tiles, which fill the registers of wide vectors. In a browser
/// vectors are narrow and always full. The batch has no say: a picture comes to the same whatever stands beside it.
fn small(layer: Layer) -> bool {
    let [down, across] = layer.output_size().map(|side| side.div_ceil(4));
    cfg!(not(target_family = "wasm")) && down * across <= FEW
}

/// Convolution forward.
pub fn conv2d(input: &[f32], filters: Filters, layer: Layer) -> Vec<f32> {
    let pass = Forward { input, filters, layer };
    if small(layer) { forward::<2, 4>(&pass) } else { forward::<4, 6>(&pass) }
}

/// Gradient of the input; with a bias where it is the forward pass of a transposed convolution.
pub fn conv2d_input_grad(output_grad: &[f32], filters: Filters, layer: Layer) -> Vec<f32> {
    let pass = Backward { output_grad, filters, layer };
    if small(layer) { backward::<2, 4>(&pass) } else { backward::<4, 6>(&pass) }
}

/// Gradient of the weight.
pub fn conv2d_weight_grad(input: &[f32], output_grad: &[f32], layer: Layer) -> Vec<f32> {
    if small(layer) {
        weight_grad::<2, 4>(input, output_grad, layer)
    } else {
        weight_grad::<4, 6>(input, output_grad, layer)
    }
}

fn forward<const TILE: usize, const PATCH: usize>(pass: &Forward) -> Vec<f32>
where
    F<TILE, PATCH>: Transforms<TILE, PATCH>,
{
    let tiling = Tiling::<TILE, PATCH>::new(pass.layer);
    let planes = vec![0.0; pass.layer.batch * pass.layer.outputs * tiling.output_plane()];
    run(&tiling, pass, planes)
}

fn backward<const TILE: usize, const PATCH: usize>(pass: &Backward) -> Vec<f32>
where
    F<TILE, PATCH>: Transforms<TILE, PATCH>,
{
    let tiling = Tiling::<TILE, PATCH>::new(pass.layer);
    let channel = pass.layer.batch * tiling.input_plane();
    let mut planes = vec![0.0; pass.layer.inputs * channel];
    for (input, planes) in planes.chunks_exact_mut(channel).enumerate() {
        planes.fill(pass.filters.bias(input));
    }
    run(&tiling, pass, planes)
}

fn weight_grad<const TILE: usize, const PATCH: usize>(input: &[f32], output_grad: &[f32], layer: Layer) -> Vec<f32>
where
    F<TILE, PATCH>: Transforms<TILE, PATCH>,
{
    let Layer { inputs, outputs, .. } = layer;
    let tiling = Tiling::<TILE, PATCH>::new(layer);
    let (spectrum, filter) = (tiling.spectrum(), PATCH * PATCH * inputs);
    let share = outputs.div_ceil(parallel::threads()).max(1);
    scratch::with([outputs * filter, inputs * spectrum, outputs * spectrum], |[filters, spectra, grads]| {
        for (block, lines) in tiling.blocks().enumerate() {
            tiling.input_spectra(input, &lines, spectra);
            tiling.output_spectra(output_grad, &lines, grads);
            parallel::chunks_mut(filters, share * filter, |thread, filters| {
                for frequency in 0..PATCH * PATCH {
                    multiply(
                        [filters.len() / filter, inputs, tiling.tiles(&lines)],
                        (&mut filters[frequency * inputs..], View::rows(filter)),
                        block > 0,
                        (&grads[thread * share * spectrum + frequency * tiling.pitch()..], View::rows(spectrum)),
                        (&spectra[frequency * tiling.pitch()..], View::columns(spectrum)),
                    );
                }
            });
        }
        filter_spectra_adjoint::<TILE, PATCH>(filters, layer)
    })
}

/// One way through the channels: spectra of what comes in, products, planes of what goes out.
trait Pass<const TILE: usize, const PATCH: usize>: Sync {
    /// The layer, and the channels that are read and that are written.
    fn sides(&self) -> (Layer, [usize; 2]);
    /// Makes the filters' spectra of some written channels; how far one frequency's lie from the next one's, and how
    /// they lie: `[written × read]`.
    fn filters(&self, channels: Range<usize>, spectra: &mut [f32]) -> (usize, View);
    /// Fills `[channel][frequency][tile]` for some lines.
    fn read(&self, tiling: &Tiling<TILE, PATCH>, lines: &Range<usize>, spectra: &mut [f32]);
    /// Takes one channel's products to its planes.
    fn write(
        &self,
        tiling: &Tiling<TILE, PATCH>,
        channel: usize,
        products: &[f32],
        lines: &Range<usize>,
        planes: &mut [f32],
    );
}

struct Forward<'a> {
    input: &'a [f32],
    filters: Filters<'a>,
    layer: Layer,
}

impl<const TILE: usize, const PATCH: usize> Pass<TILE, PATCH> for Forward<'_>
where
    F<TILE, PATCH>: Transforms<TILE, PATCH>,
{
    fn sides(&self) -> (Layer, [usize; 2]) {
        (self.layer, [self.layer.inputs, self.layer.outputs])
    }

    fn filters(&self, outputs: Range<usize>, spectra: &mut [f32]) -> (usize, View) {
        let inputs = self.layer.inputs;
        filter_spectra::<TILE, PATCH>(self.filters.weight, self.layer, outputs, 0..inputs, spectra);
        (inputs, View::rows(PATCH * PATCH * inputs))
    }

    fn read(&self, tiling: &Tiling<TILE, PATCH>, lines: &Range<usize>, spectra: &mut [f32]) {
        tiling.input_spectra(self.input, lines, spectra);
    }

    fn write(
        &self,
        tiling: &Tiling<TILE, PATCH>,
        output: usize,
        products: &[f32],
        lines: &Range<usize>,
        planes: &mut [f32],
    ) {
        tiling.write_outputs(products, lines, self.filters.bias(output), planes);
    }
}

struct Backward<'a> {
    output_grad: &'a [f32],
    filters: Filters<'a>,
    layer: Layer,
}

impl<const TILE: usize, const PATCH: usize> Pass<TILE, PATCH> for Backward<'_>
where
    F<TILE, PATCH>: Transforms<TILE, PATCH>,
{
    fn sides(&self) -> (Layer, [usize; 2]) {
        (self.layer, [self.layer.outputs, self.layer.inputs])
    }

    fn filters(&self, inputs: Range<usize>, spectra: &mut [f32]) -> (usize, View) {
        let count = inputs.len();
        filter_spectra::<TILE, PATCH>(self.filters.weight, self.layer, 0..self.layer.outputs, inputs, spectra);
        (count, View::columns(PATCH * PATCH * count))
    }

    fn read(&self, tiling: &Tiling<TILE, PATCH>, lines: &Range<usize>, spectra: &mut [f32]) {
        tiling.output_spectra(self.output_grad, lines, spectra);
    }

    fn write(
        &self,
        tiling: &Tiling<TILE, PATCH>,
        _: usize,
        products: &[f32],
        lines: &Range<usize>,
        planes: &mut [f32],
    ) {
        tiling.add_input_adjoint(products, lines, planes);
    }
}

/// Block by block; `planes` is `[channel][image][plane]`, so that threads can share the channels, and comes
/// back as `[image][channel][plane]`. The filters' spectra of a group of channels are made where they are used,
/// for every block anew: they stay in the cache, where those of a whole layer (9 MB at 256 × 256 channels) would
/// go to memory and back, and making them is a hundredth of a full block's products.
fn run<const TILE: usize, const PATCH: usize>(
    tiling: &Tiling<TILE, PATCH>,
    pass: &impl Pass<TILE, PATCH>,
    mut planes: Vec<f32>,
) -> Vec<f32>
where
    F<TILE, PATCH>: Transforms<TILE, PATCH>,
{
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
                    scratch::with([count * from * PATCH * PATCH], |[filters]| {
                        let (step, view) = pass.filters(first..first + count, filters);
                        for frequency in 0..PATCH * PATCH {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Geometry;
    use crate::kernels::cpu::values;

    fn dot(left: &[f32], right: &[f32]) -> f64 {
        assert_eq!(left.len(), right.len());
        left.iter().zip(right).map(|(left, right)| f64::from(*left) * f64::from(*right)).sum()
    }

    /// One output by the definition.
    fn definition(input: &[f32], weight: &[f32], layer: Layer, [image, output, y, x]: [usize; 4]) -> f64 {
        let [height, width] = layer.size;
        let [rows, columns] = layer.axes();
        let mut sum = 0.0;
        for channel in 0..layer.inputs {
            for tap in 0..TAPS {
                if let (Some(row), Some(column)) = (rows.source(y + tap / SIDE), columns.source(x + tap % SIDE)) {
                    let pixel = input[((image * layer.inputs + channel) * height + row) * width + column];
                    sum += f64::from(pixel) * f64::from(weight[(output * layer.inputs + channel) * TAPS + tap]);
                }
            }
        }
        sum
    }

    fn passes<const TILE: usize, const PATCH: usize>(layer: Layer)
    where
        F<TILE, PATCH>: Transforms<TILE, PATCH>,
    {
        let Layer { batch, inputs, outputs, size, .. } = layer;
        let [height, width] = layer.output_size();
        let input = values(batch * inputs * size[0] * size[1], 1);
        let (weight, grad) = (values(outputs * inputs * TAPS, 2), values(batch * outputs * height * width, 3));
        let filters = Filters { weight: &weight, bias: None };
        let what = format!("F({TILE}) of {layer:?}");

        let found = forward::<TILE, PATCH>(&Forward { input: &input, filters, layer });
        for (index, found) in found.iter().enumerate() {
            let (plane, place) = (index / (height * width), index % (height * width));
            let place = [plane / outputs, plane % outputs, place / width, place % width];
            let expected = definition(&input, &weight, layer, place);
            assert!((f64::from(*found) - expected).abs() < 3e-4, "{what} at {place:?}: {found}, not {expected}");
        }
        let (product, lengths) = (dot(&found, &grad), (dot(&found, &found) * dot(&grad, &grad)).sqrt());
        let back = backward::<TILE, PATCH>(&Backward { output_grad: &grad, filters, layer });
        let gradient = weight_grad::<TILE, PATCH>(&input, &grad, layer);
        for adjoint in [dot(&input, &back), dot(&weight, &gradient)] {
            assert!((product - adjoint).abs() < 1e-6 * lengths, "{what}: {product} and {adjoint}");
        }
    }

    #[test]
    fn both_tilings_compute_the_convolution_and_its_adjoints() {
        let channels = [(8, 8), (11, 40), (40, 9)];
        for (size, batch) in [([16, 16], 1), ([7, 13], 2), ([2, 3], 3), ([18, 5], 1), ([5, 37], 1)] {
            for (inputs, outputs) in channels {
                for geometry in [Geometry::reflect(3), Geometry::zero(3, 1, 1), Geometry::zero(3, 1, 2)] {
                    let layer = Layer { batch, inputs, outputs, size, geometry };
                    passes::<4, 6>(layer);
                    passes::<2, 4>(layer);
                }
            }
        }
    }
}
