//! The kernels on a processor, over plain slices of f32, NCHW.
//!
//! Every convolution goes to the one of three algorithms that its shape asks for: [`winograd`] for
//! the 3×3 blocks, [`direct`] for a few output channels, [`im2col`] for the rest. Every sum has an
//! order that does not depend on the number of threads: the same bits on one thread and on sixteen.

mod direct;
mod im2col;
mod lanes;
mod matrix;
mod pointwise;
mod winograd;

pub use pointwise::{adam, instance_norm, instance_norm_grad};

use super::{Border, Geometry};
use crate::platform::parallel;

/// Sides of one convolution's input and output.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Images.
    pub batch: usize,
    /// Input channels.
    pub inputs: usize,
    /// Output channels.
    pub outputs: usize,
    /// Input height and width.
    pub size: [usize; 2],
}

impl Shape {
    /// The convolution from the output's channels to the input's, on a plane of another size.
    fn reversed(self, size: [usize; 2]) -> Self {
        Self { inputs: self.outputs, outputs: self.inputs, size, ..self }
    }
}

/// Convolution forward; see [`super::Kernels::convolve`] for the shapes.
pub fn conv2d(input: &[f32], weight: &[f32], bias: Option<&[f32]>, shape: Shape, geometry: Geometry) -> Vec<f32> {
    if winograd::suits(shape, geometry) {
        winograd::conv2d(input, weight, bias, shape, geometry)
    } else if direct::suits(shape, geometry) {
        direct::conv2d(input, weight, bias, shape, geometry)
    } else {
        im2col::conv2d(input, weight, bias, shape, geometry)
    }
}

/// Gradient of the input; see [`super::Kernels::convolve_input_grad`]. `shape` is the convolution's,
/// so `shape.inputs` are the channels written here.
pub fn conv2d_input_grad(
    output_grad: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    shape: Shape,
    geometry: Geometry,
) -> Vec<f32> {
    if winograd::suits(shape, geometry) {
        return winograd::conv2d_input_grad(output_grad, weight, bias, shape, geometry);
    }
    if !direct::suits(shape, geometry) {
        return im2col::conv2d_input_grad(output_grad, weight, bias, shape, geometry);
    }
    // A few channels spread over many: a convolution of the gradient with the filters turned
    // round gives the padded input's gradient, whose margin then folds back onto its sources.
    let wide = Geometry::zero(geometry.kernel, 1, geometry.kernel - 1);
    let [height, width] = shape.size.map(|side| geometry.output(side));
    let turned = turned(weight, shape, geometry.kernel);
    let padded = conv2d(output_grad, &turned, None, shape.reversed([height, width]), wide);
    fold(&padded, bias, shape, geometry)
}

/// Gradient of the weight; see [`super::Kernels::convolve_weight_grad`].
pub fn conv2d_weight_grad(input: &[f32], output_grad: &[f32], shape: Shape, geometry: Geometry) -> Vec<f32> {
    if winograd::suits(shape, geometry) {
        return winograd::conv2d_weight_grad(input, output_grad, shape, geometry);
    }
    if !direct::suits(shape, geometry) {
        return im2col::conv2d_weight_grad(input, output_grad, shape, geometry);
    }
    // The roles change: the few channels of the gradient are gathered, not the many of the input.
    let wide = Geometry::zero(geometry.kernel, 1, geometry.kernel - 1);
    let reversed = shape.reversed(shape.size.map(|side| geometry.output(side)));
    turned(
        &im2col::conv2d_weight_grad(output_grad, &pad(input, shape, geometry), reversed, wide),
        reversed,
        geometry.kernel,
    )
}

/// Filters `[outputs][inputs][k × k]` as `[inputs][outputs][k × k]`, each turned by half a turn.
fn turned(weight: &[f32], shape: Shape, kernel: usize) -> Vec<f32> {
    let taps = kernel * kernel;
    let mut turned = Vec::with_capacity(weight.len());
    for input in 0..shape.inputs {
        for output in 0..shape.outputs {
            turned.extend(weight[(output * shape.inputs + input) * taps..][..taps].iter().rev());
        }
    }
    turned
}

/// The input with its padding around it.
fn pad(input: &[f32], shape: Shape, geometry: Geometry) -> Vec<f32> {
    let [height, width] = shape.size;
    let [rows, columns] = shape.size.map(|side| side + 2 * geometry.padding);
    let mut padded = vec![0.0; input.len() / (height * width) * rows * columns];
    parallel::chunks_mut(&mut padded, rows * columns, |plane, padded| {
        let plane = &input[plane * height * width..][..height * width];
        for (row, to) in padded.chunks_exact_mut(columns).enumerate() {
            let Some(row) = geometry.source(row, height) else { continue };
            for (column, to) in to.iter_mut().enumerate() {
                *to = geometry.source(column, width).map_or(0.0, |column| plane[row * width + column]);
            }
        }
    });
    padded
}

/// The adjoint of [`pad`], onto a bias.
fn fold(padded: &[f32], bias: Option<&[f32]>, shape: Shape, geometry: Geometry) -> Vec<f32> {
    let [height, width] = shape.size;
    let [rows, columns] = shape.size.map(|side| side + 2 * geometry.padding);
    let mut planes = vec![0.0; shape.batch * shape.inputs * height * width];
    parallel::chunks_mut(&mut planes, height * width, |index, plane| {
        let padded = &padded[index * rows * columns..][..rows * columns];
        plane.fill(bias.map_or(0.0, |bias| bias[index % shape.inputs]));
        for (row, from) in padded.chunks_exact(columns).enumerate() {
            let Some(row) = geometry.source(row, height) else { continue };
            for (column, from) in from.iter().enumerate() {
                if let Some(column) = geometry.source(column, width) {
                    plane[row * width + column] += from;
                }
            }
        }
    });
    planes
}

impl Geometry {
    /// Where a padded row or column of a picture with `side` of them comes from: `None` is a zero.
    fn source(&self, padded: usize, side: usize) -> Option<usize> {
        let (position, last) = (padded as isize - self.padding as isize, side as isize - 1);
        match self.border {
            _ if (0..=last).contains(&position) => Some(position as usize),
            Border::Zero => None,
            Border::Reflect if position < 0 => Some((-position) as usize),
            Border::Reflect => (padded < side + 2 * self.padding).then_some((2 * last - position) as usize),
        }
    }
}
