//! Any convolution as a matrix product.
//!
//! A convolution is a matrix product `W[Cout × K] · columns[K × P]` with `K = Cin·k²` and `P`
//! output pixels. The columns are gathered for a few output rows at a time, so that they stay in
//! the second-level cache; padding is part of the gather.

use std::ops::Range;

use super::matrix::{View, multiply};
use super::{Geometry, Shape};
use crate::platform::parallel;

/// Floats of gathered columns a block aims at: 1 MiB, a second-level cache.
const BLOCK: usize = 1 << 18;

/// A weight gradient is summed in at most this many parts, so that threads can share it.
const PARTS: usize = 4;

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
        let Geometry { kernel, stride, padding, .. } = geometry;
        let outputs = geometry.output(side);
        let source = (0..outputs).flat_map(|output| (0..kernel).map(move |tap| (output, tap)));
        let source = source.map(|(output, tap)| geometry.source(output * stride + tap, side)).collect();
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
                    (&mut part[(block.start - rows.start) * width..], View::rows(rows.len() * width)),
                    false,
                    (weight, View::rows(depth)),
                    (&matrix, View::rows(columns)),
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
                    (&mut matrix, View::rows(columns)),
                    false,
                    (&weight[thread * per_thread * taps..], View::columns(depth)),
                    (&grad[block.start * width..], View::rows(pixels)),
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
                (&mut sum, View::rows(depth)),
                index > 0,
                (&output_grad[image * shape.outputs * pixels + block.start * width..], View::rows(pixels)),
                (&matrix, View::columns(columns)),
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
