//! The kernels on a processor, over plain slices of f32, NCHW.
//!
//! Every convolution goes to the one of three algorithms that its shape asks for: [`winograd`] for
//! the 3×3 blocks, [`direct`] for a few output channels, [`im2col`] for the rest. One number of threads
//! gives the same bits every time; another one changes the last of them, as matrix products are blocked otherwise.

mod axis;
#[cfg(target_arch = "x86_64")]
mod bf16;
mod direct;
mod im2col;
mod lanes;
mod matrix;
mod pointwise;
#[cfg_attr(
    not(target_family = "wasm"),
    allow(dead_code, reason = "a page takes shares; natively only their test does")
)]
mod shares;
mod winograd;

pub use pointwise::{adam, instance_norm, instance_norm_grad};
#[cfg(target_family = "wasm")]
pub use shares::help;

use self::axis::Axis;
use self::shares::{Job, Pass};
use super::{Geometry, Precision};
use crate::platform::parallel;

/// A convolution: the sides of its input and output, and its index arithmetic.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Layer {
    /// Images.
    pub batch: usize,
    /// Input channels.
    pub inputs: usize,
    /// Output channels.
    pub outputs: usize,
    /// Input height and width.
    pub size: [usize; 2],
    /// Kernel, stride and padding.
    pub geometry: Geometry,
}

/// What a convolution multiplies with and adds.
#[derive(Clone, Copy, Debug)]
pub struct Filters<'a> {
    /// `[outputs][inputs][k × k]`.
    pub weight: &'a [f32],
    /// One value a channel that is written.
    pub bias: Option<&'a [f32]>,
}

impl Layer {
    /// Output height and width.
    pub fn output_size(&self) -> [usize; 2] {
        self.size.map(|side| self.geometry.output(side))
    }

    /// Rows and columns.
    fn axes(&self) -> [Axis; 2] {
        self.size.map(|side| Axis::new(self.geometry, side))
    }

    fn taps(&self) -> usize {
        self.geometry.kernel * self.geometry.kernel
    }

    /// The stride-1 convolution from the output, with zeros around it, to the padded input.
    fn reversed(self) -> Self {
        let geometry = Geometry::zero(self.geometry.kernel, 1, self.geometry.kernel - 1);
        Self { inputs: self.outputs, outputs: self.inputs, size: self.output_size(), geometry, ..self }
    }
}

impl Filters<'_> {
    fn bias(&self, channel: usize) -> f32 {
        self.bias.map_or(0.0, |bias| bias[channel])
    }
}

/// Whether convolutions can be computed in a precision here.
pub fn multiplies_in(precision: Precision) -> bool {
    match precision {
        Precision::F32 => true,
        Precision::Tf32 => false,
        #[cfg(target_arch = "x86_64")]
        Precision::Bf16 => bf16::Unit::here().is_some(),
        #[cfg(not(target_arch = "x86_64"))]
        Precision::Bf16 => false,
    }
}

/// What multiplies in bf16, where this thread's convolutions are computed in that.
#[cfg(target_arch = "x86_64")]
fn unit() -> Option<bf16::Unit> {
    if super::precision() == Precision::Bf16 { bf16::Unit::here() } else { None }
}

/// Convolution forward; see [`super::Kernels::convolve`] for the shapes.
pub fn conv2d(input: &[f32], filters: Filters, layer: Layer) -> Vec<f32> {
    #[cfg(target_arch = "x86_64")]
    if let Some(unit) = unit() {
        return bf16::conv2d(unit, input, filters, layer);
    }
    Job { pass: Pass::Forward, layer }.run([input, filters.weight, filters.bias.unwrap_or_default()])
}

/// Gradient of the input; see [`super::Kernels::convolve_input_grad`]. `layer.inputs` are the channels
/// written here.
pub fn conv2d_input_grad(output_grad: &[f32], filters: Filters, layer: Layer) -> Vec<f32> {
    #[cfg(target_arch = "x86_64")]
    if let Some(unit) = unit() {
        return bf16::conv2d_input_grad(unit, output_grad, filters, layer);
    }
    Job { pass: Pass::InputGrad, layer }.run([output_grad, filters.weight, filters.bias.unwrap_or_default()])
}

/// Gradient of the weight; see [`super::Kernels::convolve_weight_grad`].
pub fn conv2d_weight_grad(input: &[f32], output_grad: &[f32], layer: Layer) -> Vec<f32> {
    #[cfg(target_arch = "x86_64")]
    if let Some(unit) = unit() {
        return bf16::conv2d_weight_grad(unit, input, output_grad, layer);
    }
    Job { pass: Pass::WeightGrad, layer }.run([input, output_grad, &[]])
}

fn forward(input: &[f32], filters: Filters, layer: Layer) -> Vec<f32> {
    if winograd::suits(layer) {
        winograd::conv2d(input, filters, layer)
    } else if direct::suits(layer) {
        direct::conv2d(input, filters, layer)
    } else {
        im2col::conv2d(input, filters, layer)
    }
}

fn input_grad(output_grad: &[f32], filters: Filters, layer: Layer) -> Vec<f32> {
    if winograd::suits(layer) {
        return winograd::conv2d_input_grad(output_grad, filters, layer);
    }
    if !direct::suits(layer) {
        return im2col::conv2d_input_grad(output_grad, filters, layer);
    }
    // A few channels spread over many: a convolution of the gradient with the filters turned
    // round gives the padded input's gradient, whose margin then folds back onto its sources.
    let turned = Filters { weight: &turned(filters.weight, layer), bias: None };
    fold(&forward(output_grad, turned, layer.reversed()), filters, layer)
}

fn weight_grad(input: &[f32], output_grad: &[f32], layer: Layer) -> Vec<f32> {
    if winograd::suits(layer) {
        return winograd::conv2d_weight_grad(input, output_grad, layer);
    }
    if !direct::suits(layer) {
        return im2col::conv2d_weight_grad(input, output_grad, layer);
    }
    // The roles change: the few channels of the gradient are gathered, not the many of the input.
    let reversed = layer.reversed();
    turned(&im2col::conv2d_weight_grad(output_grad, &pad(input, layer), reversed), reversed)
}

/// Filters `[outputs][inputs][k × k]` as `[inputs][outputs][k × k]`, each turned by half a turn.
fn turned(weight: &[f32], layer: Layer) -> Vec<f32> {
    let taps = layer.taps();
    let mut turned = Vec::with_capacity(weight.len());
    for input in 0..layer.inputs {
        for output in 0..layer.outputs {
            turned.extend(weight[(output * layer.inputs + input) * taps..][..taps].iter().rev());
        }
    }
    turned
}

/// The input with its padding around it.
fn pad(input: &[f32], layer: Layer) -> Vec<f32> {
    let [rows, columns] = layer.axes();
    let plane = rows.reach() * columns.reach();
    let mut padded = vec![0.0; layer.batch * layer.inputs * plane];
    parallel::chunks_mut(&mut padded, plane, |index, padded| {
        let plane = &input[index * rows.input * columns.input..][..rows.input * columns.input];
        for (row, to) in padded.chunks_exact_mut(columns.reach()).enumerate() {
            if let Some(row) = rows.source(row) {
                columns.pad(&plane[row * columns.input..][..columns.input], to);
            }
        }
    });
    padded
}

/// The adjoint of [`pad`], onto a bias.
fn fold(padded: &[f32], filters: Filters, layer: Layer) -> Vec<f32> {
    let [rows, columns] = layer.axes();
    let plane = rows.reach() * columns.reach();
    let mut planes = vec![0.0; layer.batch * layer.inputs * rows.input * columns.input];
    parallel::chunks_mut(&mut planes, rows.input * columns.input, |index, to| {
        to.fill(filters.bias(index % layer.inputs));
        for (row, from) in padded[index * plane..][..plane].chunks_exact(columns.reach()).enumerate() {
            if let Some(row) = rows.source(row) {
                columns.fold(from, &mut to[row * columns.input..][..columns.input]);
            }
        }
    });
    planes
}

/// Values in [-1, 1] for tests, others for every seed.
#[cfg(test)]
fn values(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|index| ((index * 7919 + seed * 104_729) % 1009) as f32 / 504.0 - 1.0).collect()
}
