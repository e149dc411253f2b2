//! The kernels on a processor, over plain slices of f32: implicit im2col + GEMM, and fused
//! instance normalisation.
//!
//! A convolution is a matrix product `W[Cout × K] · columns[K × P]` with `K = Cin·k²` and `P`
//! output pixels. The columns are gathered for a few output rows at a time, so that they stay in
//! the second-level cache; padding is part of the gather. Every sum has an order that does not
//! depend on the number of threads: the same bits on one thread and on sixteen.

use std::ops::Range;

use gemm::Parallelism;

use super::{AdamStep, Border, Geometry, NORM_EPSILON};
use crate::platform::parallel;
use crate::platform::simd::vectorised;

/// Floats of gathered columns a block aims at: 1 MiB, a second-level cache.
const BLOCK: usize = 1 << 18;

/// A weight gradient is summed in at most this many parts, so that threads can share it.
const PARTS: usize = 4;

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

/// For one axis: the input index of every (output, tap), `None` where it reads a zero.
struct Axis {
    source: Vec<Option<usize>>,
    kernel: usize,
    /// Per tap: the outputs whose input lies inside the picture, in one run of consecutive (strided) inputs.
    inside: Vec<Range<usize>>,
    stride: usize,
    padding: usize,
    outputs: usize,
}

impl Axis {
    fn new(geometry: Geometry, side: usize) -> Self {
        let Geometry { kernel, stride, padding, border } = geometry;
        let outputs = geometry.output(side);
        let index = |output: usize, tap: usize| {
            let position = (output * stride + tap) as isize - padding as isize;
            let last = side as isize - 1;
            match border {
                _ if (0..=last).contains(&position) => Some(position as usize),
                Border::Zero => None,
                Border::Reflect if position < 0 => Some((-position) as usize),
                Border::Reflect => Some((2 * last - position) as usize),
            }
        };
        let source = (0..outputs).flat_map(|output| (0..kernel).map(move |tap| (output, tap)));
        let source = source.map(|(output, tap)| index(output, tap)).collect();
        let inside = (0..kernel)
            .map(|tap| {
                let first = padding.saturating_sub(tap).div_ceil(stride);
                let end = (side + padding).saturating_sub(tap).div_ceil(stride).min(outputs);
                first.min(end)..end
            })
            .collect();
        Self { source, kernel, inside, stride, padding, outputs }
    }

    fn source(&self, output: usize, tap: usize) -> Option<usize> {
        self.source[output * self.kernel + tap]
    }

    /// The first input of tap `tap`'s inside run.
    fn start(&self, tap: usize) -> usize {
        self.inside[tap].start * self.stride + tap - self.padding
    }

    /// The outputs of tap `tap` at either end whose input is mirrored or zero.
    fn outside(&self, tap: usize) -> impl Iterator<Item = usize> {
        (0..self.inside[tap].start).chain(self.inside[tap].end..self.outputs)
    }
}

/// One convolution's index arithmetic.
struct Plan {
    rows: Axis,
    columns: Axis,
    shape: Shape,
    taps: usize,
    /// Output rows gathered at a time.
    block: usize,
}

impl Plan {
    fn new(shape: Shape, geometry: Geometry) -> Self {
        let rows = Axis::new(geometry, shape.size[0]);
        let columns = Axis::new(geometry, shape.size[1]);
        let taps = geometry.kernel * geometry.kernel;
        let row = shape.inputs * taps * columns.outputs;
        let block = (BLOCK / row.max(1)).clamp(1, rows.outputs.max(1));
        Self { rows, columns, shape, taps, block }
    }

    fn depth(&self) -> usize {
        self.shape.inputs * self.taps
    }

    fn pixels(&self) -> usize {
        self.rows.outputs * self.columns.outputs
    }

    fn plane(&self) -> usize {
        self.shape.size[0] * self.shape.size[1]
    }

    fn image(&self) -> usize {
        self.shape.inputs * self.plane()
    }

    /// The output rows in blocks.
    fn blocks(&self) -> Vec<Range<usize>> {
        let rows = self.rows.outputs;
        (0..rows).step_by(self.block).map(|start| start..(start + self.block).min(rows)).collect()
    }

    /// Calls `visit(row of the matrix, channel, vertical tap, horizontal tap)` for some channels.
    fn taps_of(&self, channels: Range<usize>, mut visit: impl FnMut(usize, usize, usize, usize)) {
        let kernel = self.rows.kernel;
        let mut depth = 0;
        for channel in channels {
            for vertical in 0..kernel {
                for horizontal in 0..kernel {
                    visit(depth, channel, vertical, horizontal);
                    depth += 1;
                }
            }
        }
    }

    /// Writes `matrix[depth × pixels of the block]`, every element.
    fn gather(&self, image: &[f32], rows: Range<usize>, matrix: &mut [f32]) {
        let width = self.columns.outputs;
        let pixels = rows.len() * width;
        let side = self.shape.size[1];
        self.taps_of(0..self.shape.inputs, |depth, channel, vertical, horizontal| {
            let plane = &image[channel * self.plane()..][..self.plane()];
            let lines = matrix[depth * pixels..][..pixels].chunks_exact_mut(width);
            for (line, row) in lines.zip(rows.clone()) {
                let Some(source) = self.rows.source(row, vertical) else {
                    line.fill(0.0);
                    continue;
                };
                let source = &plane[source * side..][..side];
                let inside = self.columns.inside[horizontal].clone();
                if !inside.is_empty() {
                    let run = &source[self.columns.start(horizontal)..];
                    if self.columns.stride == 1 {
                        line[inside.clone()].copy_from_slice(&run[..inside.len()]);
                    } else {
                        let values = run.iter().step_by(self.columns.stride);
                        line[inside.clone()].iter_mut().zip(values).for_each(|(to, from)| *to = *from);
                    }
                }
                for column in self.columns.outside(horizontal) {
                    line[column] = self.columns.source(column, horizontal).map_or(0.0, |index| source[index]);
                }
            }
        });
    }

    /// The adjoint of [`Plan::gather`] for some channels: adds `matrix` onto their planes.
    fn scatter(&self, planes: &mut [f32], channels: usize, rows: Range<usize>, matrix: &[f32]) {
        let width = self.columns.outputs;
        let pixels = rows.len() * width;
        let side = self.shape.size[1];
        self.taps_of(0..channels, |depth, channel, vertical, horizontal| {
            let plane = &mut planes[channel * self.plane()..][..self.plane()];
            let lines = matrix[depth * pixels..][..pixels].chunks_exact(width);
            for (line, row) in lines.zip(rows.clone()) {
                let Some(target) = self.rows.source(row, vertical) else { continue };
                let target = &mut plane[target * side..][..side];
                let inside = self.columns.inside[horizontal].clone();
                if !inside.is_empty() {
                    let run = &mut target[self.columns.start(horizontal)..];
                    let values = &line[inside];
                    if self.columns.stride == 1 {
                        run.iter_mut().zip(values).for_each(|(to, from)| *to += *from);
                    } else {
                        run.iter_mut().step_by(self.columns.stride).zip(values).for_each(|(to, from)| *to += *from);
                    }
                }
                for column in self.columns.outside(horizontal) {
                    if let Some(index) = self.columns.source(column, horizontal) {
                        target[index] += line[column];
                    }
                }
            }
        });
    }
}

/// A row-major view of a slice as a matrix.
#[derive(Clone, Copy)]
struct View {
    /// Elements between two rows.
    row: usize,
    /// Elements between two columns.
    column: usize,
}

/// `to[m × n] = keep · to + a[m × k] · b[k × n]` on this thread.
fn multiply(
    [m, n, k]: [usize; 3],
    (to, to_view): (&mut [f32], View),
    keep: bool,
    (a, a_view): (&[f32], View),
    (b, b_view): (&[f32], View),
) {
    let fits = |len: usize, rows: usize, columns: usize, view: View| {
        rows == 0 || columns == 0 || (rows - 1) * view.row + (columns - 1) * view.column < len
    };
    assert!(fits(to.len(), m, n, to_view) && fits(a.len(), m, k, a_view) && fits(b.len(), k, n, b_view));
    #[allow(unsafe_code, reason = "gemm takes pointers; the assertion above keeps every index inside its slice")]
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            to.as_mut_ptr(),
            to_view.column as isize,
            to_view.row as isize,
            keep,
            a.as_ptr(),
            a_view.column as isize,
            a_view.row as isize,
            b.as_ptr(),
            b_view.column as isize,
            b_view.row as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

const fn rows_of(length: usize) -> View {
    View { row: length, column: 1 }
}

const fn transposed(length: usize) -> View {
    View { row: 1, column: length }
}

/// Convolution forward; see [`super::Kernels::convolve`] for the shapes.
pub fn conv2d(input: &[f32], weight: &[f32], bias: Option<&[f32]>, shape: Shape, geometry: Geometry) -> Vec<f32> {
    let plan = Plan::new(shape, geometry);
    let (depth, pixels, width) = (plan.depth(), plan.pixels(), plan.columns.outputs);
    let mut output = vec![0.0; shape.batch * shape.outputs * pixels];
    let blocks = plan.blocks();
    for (image, planes) in input.chunks_exact(plan.image()).zip(output.chunks_exact_mut(shape.outputs * pixels)) {
        // Each thread takes neighbouring blocks and gives back their pixels, channel by channel.
        let shares = parallel::shares(blocks.len());
        let parts = parallel::map(&shares, |share| {
            let mut matrix = vec![0.0; depth * plan.block * width];
            let rows = blocks[share.start].start..blocks[share.end - 1].end;
            let mut part = vec![0.0; shape.outputs * rows.len() * width];
            for block in &blocks[share.clone()] {
                let columns = block.len() * width;
                plan.gather(image, block.clone(), &mut matrix[..depth * columns]);
                multiply(
                    [shape.outputs, columns, depth],
                    (&mut part[(block.start - rows.start) * width..], rows_of(rows.len() * width)),
                    false,
                    (weight, rows_of(depth)),
                    (&matrix, rows_of(columns)),
                );
            }
            (rows, part)
        });
        for (rows, part) in parts {
            for (plane, values) in planes.chunks_exact_mut(pixels).zip(part.chunks_exact(rows.len() * width)) {
                plane[rows.start * width..rows.end * width].copy_from_slice(values);
            }
        }
    }
    add_bias(&mut output, bias, pixels);
    output
}

fn add_bias(planes: &mut [f32], bias: Option<&[f32]>, pixels: usize) {
    let Some(bias) = bias else { return };
    for (plane, bias) in planes.chunks_exact_mut(pixels).zip(bias.iter().cycle()) {
        plane.iter_mut().for_each(|value| *value += bias);
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
    let plan = Plan::new(shape, geometry);
    let (depth, pixels, width, taps) = (plan.depth(), plan.pixels(), plan.columns.outputs, plan.taps);
    let mut input_grad = vec![0.0; shape.batch * plan.image()];
    let blocks = plan.blocks();
    for (grad, image) in output_grad.chunks_exact(shape.outputs * pixels).zip(input_grad.chunks_exact_mut(plan.image()))
    {
        // Threads take channels: each plane is summed by one thread, in one order.
        let per_thread = shape.inputs.div_ceil(parallel::threads());
        parallel::chunks_mut(image, per_thread * plan.plane(), |thread, planes| {
            let channels = planes.len() / plan.plane();
            let mut matrix = vec![0.0; channels * taps * plan.block * width];
            for block in &blocks {
                let columns = block.len() * width;
                multiply(
                    [channels * taps, columns, shape.outputs],
                    (&mut matrix, rows_of(columns)),
                    false,
                    (&weight[thread * per_thread * taps..], transposed(depth)),
                    (&grad[block.start * width..], rows_of(pixels)),
                );
                plan.scatter(planes, channels, block.clone(), &matrix[..channels * taps * columns]);
            }
        });
    }
    add_bias(&mut input_grad, bias, plan.plane());
    input_grad
}

/// Gradient of the weight; see [`super::Kernels::convolve_weight_grad`].
pub fn conv2d_weight_grad(input: &[f32], output_grad: &[f32], shape: Shape, geometry: Geometry) -> Vec<f32> {
    let plan = Plan::new(shape, geometry);
    let (depth, pixels, width) = (plan.depth(), plan.pixels(), plan.columns.outputs);
    let blocks = plan.blocks();
    let work: Vec<(usize, Range<usize>)> =
        (0..shape.batch).flat_map(|image| blocks.iter().map(move |block| (image, block.clone()))).collect();
    let shares: Vec<Range<usize>> = {
        let size = work.len().div_ceil(PARTS).max(1);
        (0..work.len()).step_by(size).map(|start| start..(start + size).min(work.len())).collect()
    };
    let parts = parallel::map(&shares, |share| {
        let mut matrix = vec![0.0; depth * plan.block * width];
        let mut sum = vec![0.0; shape.outputs * depth];
        for (index, (image, block)) in work[share.clone()].iter().enumerate() {
            let columns = block.len() * width;
            plan.gather(&input[image * plan.image()..][..plan.image()], block.clone(), &mut matrix[..depth * columns]);
            multiply(
                [shape.outputs, depth, columns],
                (&mut sum, rows_of(depth)),
                index > 0,
                (&output_grad[image * shape.outputs * pixels + block.start * width..], rows_of(pixels)),
                (&matrix, transposed(columns)),
            );
        }
        sum
    });
    let mut parts = parts.into_iter();
    let mut total = parts.next().unwrap_or_else(|| vec![0.0; shape.outputs * depth]);
    for part in parts {
        total.iter_mut().zip(part).for_each(|(to, from)| *to += from);
    }
    total
}

/// Sums of the `N` values of `term(i)` over a plane, in 16 lanes that the compiler keeps in vector registers.
#[inline(always)]
fn sums<const N: usize>(length: usize, term: impl Fn(usize) -> [f32; N]) -> [f64; N] {
    const LANES: usize = 16;
    let mut totals = [0.0f64; N];
    let whole = length / LANES * LANES;
    // A pause every 1,024 × 16 terms keeps rounding small on large pictures.
    for start in (0..whole).step_by(1024 * LANES) {
        let mut lanes = [[0.0f32; LANES]; N];
        for base in (start..(start + 1024 * LANES).min(whole)).step_by(LANES) {
            for lane in 0..LANES {
                let values = term(base + lane);
                for (sums, value) in lanes.iter_mut().zip(values) {
                    sums[lane] += value;
                }
            }
        }
        for (total, sums) in totals.iter_mut().zip(lanes) {
            *total += sums.iter().map(|sum| f64::from(*sum)).sum::<f64>();
        }
    }
    for index in whole..length {
        for (total, value) in totals.iter_mut().zip(term(index)) {
            *total += f64::from(value);
        }
    }
    totals
}

/// Mean and 1/σ of a plane.
#[inline(always)]
fn moments(plane: &[f32]) -> (f32, f32) {
    let count = plane.len() as f64;
    let mean = (sums(plane.len(), |i| [plane[i]])[0] / count) as f32;
    let variance = sums(plane.len(), |i| [(plane[i] - mean) * (plane[i] - mean)])[0] / count;
    (mean, ((variance + NORM_EPSILON).sqrt().recip()) as f32)
}

/// Instance normalisation of planes of `pixels` each, then leaky ReLU; see [`super::Kernels::instance_norm`].
pub fn instance_norm(input: &[f32], pixels: usize, slope: f32) -> Vec<f32> {
    let mut output = vec![0.0; input.len()];
    parallel::chunks_mut(&mut output, pixels, |index, to| {
        let from = &input[index * pixels..][..pixels];
        vectorised(
            #[inline(always)]
            || {
                let (mean, scale) = moments(from);
                for (to, from) in to.iter_mut().zip(from) {
                    let unit = (from - mean) * scale;
                    *to = unit * if unit > 0.0 { 1.0 } else { slope };
                }
            },
        );
    });
    output
}

/// The gradient of [`instance_norm`]'s input.
pub fn instance_norm_grad(input: &[f32], output_grad: &[f32], pixels: usize, slope: f32) -> Vec<f32> {
    let mut input_grad = vec![0.0; input.len()];
    parallel::chunks_mut(&mut input_grad, pixels, |index, to| {
        let from = &input[index * pixels..][..pixels];
        let grad = &output_grad[index * pixels..][..pixels];
        vectorised(
            #[inline(always)]
            || {
                let (mean, scale) = moments(from);
                let unit_and_grad = |i: usize| {
                    let unit = (from[i] - mean) * scale;
                    (unit, grad[i] * if unit > 0.0 { 1.0 } else { slope })
                };
                let [total, along] = sums(pixels, |i| {
                    let (unit, grad) = unit_and_grad(i);
                    [grad, grad * unit]
                });
                let count = pixels as f64;
                let (average, along) = ((total / count) as f32, (along / count) as f32);
                for (i, to) in to.iter_mut().enumerate() {
                    let (unit, grad) = unit_and_grad(i);
                    *to = (grad - average - unit * along) * scale;
                }
            },
        );
    });
    input_grad
}

/// One Adam step in place; see [`super::Kernels::adam`].
pub fn adam(parameter: &mut [f32], grad: &[f32], first: &mut [f32], second: &mut [f32], step: AdamStep) {
    let [keep_first, keep_second] = step.betas.map(|beta| beta as f32);
    let [take_first, take_second] = step.betas.map(|beta| (1.0 - beta) as f32);
    let [correct_first, correct_second] = step.corrections();
    let (rate, scale) = ((step.rate / correct_first) as f32, correct_second.sqrt().recip() as f32);
    let epsilon = step.epsilon as f32;
    vectorised(
        #[inline(always)]
        || {
            for (((parameter, grad), first), second) in parameter.iter_mut().zip(grad).zip(first).zip(second) {
                *first = *first * keep_first + grad * take_first;
                *second = *second * keep_second + grad * grad * take_second;
                *parameter -= rate * *first / (second.sqrt() * scale + epsilon);
            }
        },
    );
}
