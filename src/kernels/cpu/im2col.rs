//! Any convolution as a matrix product.
//!
//! A convolution is a matrix product `W[Cout × K] · columns[K × P]` with `K = Cin·k²` and `P`
//! output pixels. The columns are gathered for a few output rows at a time, so that they stay in
//! the second-level cache; padding is part of the gather. Floor: as [`super::super::Kernels::convolve`], and every
//! input written and read `k²/stride²` times within that cache.

use std::ops::Range;

use super::axis::Axis;
use super::matrix::{View, multiply};
use super::{Filters, Layer};
use crate::platform::{parallel, scratch};

/// Floats of gathered columns a block aims at: 1 MiB, a second-level cache.
const BLOCK: usize = 1 << 18;

/// A weight gradient is summed in at most this many parts, so that threads can share it.
const PARTS: usize = 4;

/// One convolution's index arithmetic.
struct Plan {
    rows: Axis,
    columns: Axis,
    layer: Layer,
    /// Output rows gathered at a time.
    block: usize,
}

impl Plan {
    fn new(layer: Layer) -> Self {
        let [rows, columns] = layer.axes();
        let row = layer.inputs * layer.taps() * columns.output;
        let block = (BLOCK / row.max(1)).clamp(1, rows.output.max(1));
        Self { rows, columns, layer, block }
    }

    fn depth(&self) -> usize {
        self.layer.inputs * self.layer.taps()
    }

    fn pixels(&self) -> usize {
        self.rows.output * self.columns.output
    }

    fn plane(&self) -> usize {
        self.rows.input * self.columns.input
    }

    fn image(&self) -> usize {
        self.layer.inputs * self.plane()
    }

    /// The output rows in blocks.
    fn blocks(&self) -> Vec<Range<usize>> {
        let rows = self.rows.output;
        (0..rows).step_by(self.block).map(|start| start..(start + self.block).min(rows)).collect()
    }

    /// The input row that an output row reads with a vertical tap, `None` where it is zero.
    fn source(&self, row: usize, vertical: usize) -> Option<Range<usize>> {
        let source = self.rows.source(row * self.layer.geometry.stride + vertical)?;
        Some(source * self.columns.input..(source + 1) * self.columns.input)
    }

    /// Writes `matrix[depth × pixels of the block]`, every element.
    fn gather(&self, image: &[f32], rows: Range<usize>, matrix: &mut [f32]) {
        let (kernel, stride, width) = (self.layer.geometry.kernel, self.layer.geometry.stride, self.columns.output);
        let pixels = rows.len() * width;
        scratch::with([self.columns.reach()], |[padded]| {
            let planes = image.chunks_exact(self.plane()).zip(matrix.chunks_exact_mut(self.layer.taps() * pixels));
            for (plane, taps) in planes {
                for (vertical, taps) in taps.chunks_exact_mut(kernel * pixels).enumerate() {
                    for (index, row) in rows.clone().enumerate() {
                        match self.source(row, vertical) {
                            Some(source) => self.columns.pad(&plane[source], padded),
                            None => padded.fill(0.0),
                        }
                        for (horizontal, tap) in taps.chunks_exact_mut(pixels).enumerate() {
                            let line = &mut tap[index * width..][..width];
                            if stride == 1 {
                                line.copy_from_slice(&padded[horizontal..][..width]);
                            } else {
                                let values = padded[horizontal..].iter().step_by(stride);
                                line.iter_mut().zip(values).for_each(|(to, from)| *to = *from);
                            }
                        }
                    }
                }
            }
        });
    }

    /// The adjoint of [`Plan::gather`]: adds `matrix` onto the planes of some channels.
    fn scatter(&self, planes: &mut [f32], rows: Range<usize>, matrix: &[f32]) {
        let (kernel, stride, width) = (self.layer.geometry.kernel, self.layer.geometry.stride, self.columns.output);
        let pixels = rows.len() * width;
        scratch::with([self.columns.reach()], |[padded]| {
            let planes = planes.chunks_exact_mut(self.plane()).zip(matrix.chunks_exact(self.layer.taps() * pixels));
            for (plane, taps) in planes {
                for (vertical, taps) in taps.chunks_exact(kernel * pixels).enumerate() {
                    for (index, row) in rows.clone().enumerate() {
                        let Some(source) = self.source(row, vertical) else { continue };
                        padded.fill(0.0);
                        for (horizontal, tap) in taps.chunks_exact(pixels).enumerate() {
                            let line = &tap[index * width..][..width];
                            if stride == 1 {
                                padded[horizontal..].iter_mut().zip(line).for_each(|(to, from)| *to += *from);
                            } else {
                                let values = padded[horizontal..].iter_mut().step_by(stride);
                                values.zip(line).for_each(|(to, from)| *to += *from);
                            }
                        }
                        self.columns.fold(padded, &mut plane[source]);
                    }
                }
            }
        });
    }
}

/// Convolution forward; see [`super::super::Kernels::convolve`] for the shapes.
pub fn conv2d(input: &[f32], filters: Filters, layer: Layer) -> Vec<f32> {
    let plan = Plan::new(layer);
    let (depth, pixels, width) = (plan.depth(), plan.pixels(), plan.columns.output);
    let mut output = vec![0.0; layer.batch * layer.outputs * pixels];
    let blocks = plan.blocks();
    for (image, planes) in input.chunks_exact(plan.image()).zip(output.chunks_exact_mut(layer.outputs * pixels)) {
        // Each thread takes neighbouring blocks and gives back their pixels, channel by channel.
        let shares = parallel::shares(blocks.len());
        let parts = parallel::map(&shares, |share| {
            let rows = blocks[share.start].start..blocks[share.end - 1].end;
            let mut part = vec![0.0; layer.outputs * rows.len() * width];
            scratch::with([depth * plan.block * width], |[matrix]| {
                for block in &blocks[share.clone()] {
                    let columns = block.len() * width;
                    plan.gather(image, block.clone(), &mut matrix[..depth * columns]);
                    multiply(
                        [layer.outputs, columns, depth],
                        (&mut part[(block.start - rows.start) * width..], View::rows(rows.len() * width)),
                        false,
                        (filters.weight, View::rows(depth)),
                        (matrix, View::rows(columns)),
                    );
                }
            });
            (rows, part)
        });
        for (rows, part) in parts {
            for (plane, values) in planes.chunks_exact_mut(pixels).zip(part.chunks_exact(rows.len() * width)) {
                plane[rows.start * width..rows.end * width].copy_from_slice(values);
            }
        }
    }
    add_bias(&mut output, filters.bias, pixels);
    output
}

fn add_bias(planes: &mut [f32], bias: Option<&[f32]>, pixels: usize) {
    let Some(bias) = bias else { return };
    for (plane, bias) in planes.chunks_exact_mut(pixels).zip(bias.iter().cycle()) {
        plane.iter_mut().for_each(|value| *value += bias);
    }
}

/// Gradient of the input; see [`super::super::Kernels::convolve_input_grad`].
pub fn conv2d_input_grad(output_grad: &[f32], filters: Filters, layer: Layer) -> Vec<f32> {
    let plan = Plan::new(layer);
    let (depth, pixels, width, taps) = (plan.depth(), plan.pixels(), plan.columns.output, layer.taps());
    let mut input_grad = vec![0.0; layer.batch * plan.image()];
    let blocks = plan.blocks();
    for (grad, image) in output_grad.chunks_exact(layer.outputs * pixels).zip(input_grad.chunks_exact_mut(plan.image()))
    {
        // Threads take channels: each plane is summed by one thread, in one order.
        let share = layer.inputs.div_ceil(parallel::threads());
        parallel::chunks_mut(image, share * plan.plane(), |thread, planes| {
            let rows = planes.len() / plan.plane() * taps;
            scratch::with([rows * plan.block * width], |[matrix]| {
                for block in &blocks {
                    let columns = block.len() * width;
                    multiply(
                        [rows, columns, layer.outputs],
                        (matrix, View::rows(columns)),
                        false,
                        (&filters.weight[thread * share * taps..], View::columns(depth)),
                        (&grad[block.start * width..], View::rows(pixels)),
                    );
                    plan.scatter(planes, block.clone(), &matrix[..rows * columns]);
                }
            });
        });
    }
    add_bias(&mut input_grad, filters.bias, plan.plane());
    input_grad
}

/// Gradient of the weight; see [`super::super::Kernels::convolve_weight_grad`].
pub fn conv2d_weight_grad(input: &[f32], output_grad: &[f32], layer: Layer) -> Vec<f32> {
    let plan = Plan::new(layer);
    let (depth, pixels, width) = (plan.depth(), plan.pixels(), plan.columns.output);
    let blocks = plan.blocks();
    let work: Vec<(usize, Range<usize>)> =
        (0..layer.batch).flat_map(|image| blocks.iter().map(move |block| (image, block.clone()))).collect();
    let shares: Vec<_> = work.chunks(work.len().div_ceil(PARTS).max(1)).collect();
    let parts = parallel::map(&shares, |share| {
        let mut sum = vec![0.0; layer.outputs * depth];
        scratch::with([depth * plan.block * width], |[matrix]| {
            for (index, (image, block)) in share.iter().enumerate() {
                let columns = block.len() * width;
                let image_grad = &output_grad[image * layer.outputs * pixels..];
                plan.gather(
                    &input[image * plan.image()..][..plan.image()],
                    block.clone(),
                    &mut matrix[..depth * columns],
                );
                multiply(
                    [layer.outputs, depth, columns],
                    (&mut sum, View::rows(depth)),
                    index > 0,
                    (&image_grad[block.start * width..], View::rows(pixels)),
                    (matrix, View::columns(columns)),
                );
            }
        });
        sum
    });
    let mut parts = parts.into_iter();
    let mut total = parts.next().unwrap_or_else(|| vec![0.0; layer.outputs * depth]);
    for part in parts {
        total.iter_mut().zip(part).for_each(|(to, from)| *to += from);
    }
    total
}
