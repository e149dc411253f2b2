//! Convolutions whose factors are rounded to bf16, on the processor's instructions for that; sums are f32.
//!
//! A convolution is a correlation of a *field* (the input, rounded, with its padding, a plane for every place that the stride
//! distinguishes) with filters: nothing is gathered a second time, since the tap next to another one reads the same field one
//! position on. An input gradient, and a transposed convolution, is a correlation of the gradient's field for every phase
//! of the stride; a weight gradient sums over positions instead of channels ([`weight_grad`]).
//!
//! Floor: as [`super::super::Kernels::convolve`], at 16 times the operations a cycle of f32's AVX-512 with AMX and twice
//! with `vdpbf16ps`. With AMX that is so little that most of the time goes into rounding what comes in and writing what goes
//! out, 4 bytes read and 2 written a value there and 4 written here. Winograd's transforms would cost more than they save,
//! and their rounding would add to that of the factors.
//!
//! Every sum is added up in one order by one thread: the number of threads does not change a bit.

#[cfg(target_os = "linux")]
mod amx;
mod avx512;
mod correlate;
mod field;
mod filters;
mod plan;
mod shared;
#[cfg(test)]
mod tests;
mod unit;
mod weight_grad;

use self::correlate::{Correlation, Planes};
use self::field::{CACHE_LINE, Field, fill_columns};
use self::filters::Layout;
use self::plan::{Line, Plan};
use self::shared::Shared;
pub use self::unit::Unit;
use self::unit::{BLOCK, DEPTH, TILE};
use self::weight_grad::Gradient;
use super::axis::Axis;
use super::{Filters, Layer, fold};
use crate::kernels::{Border, Geometry};
use crate::platform::scratch;

/// Convolution forward; see [`super::super::Kernels::convolve`].
pub fn conv2d(unit: Unit, input: &[f32], filters: Filters, layer: Layer) -> Vec<f32> {
    let size = layer.output_size();
    let lines = size.map(|outputs| vec![Line::forward(layer.geometry.kernel, outputs)]);
    let layout = Layout { row: layer.inputs * layer.taps(), channel: layer.taps(), kernel: layer.geometry.kernel };
    let pass = Pass {
        unit,
        batch: layer.batch,
        channels: [layer.inputs, layer.outputs],
        stride: layer.geometry.stride,
        lines,
        axes: layer.axes(),
        size,
        layout,
    };
    pass.run(input, filters)
}

/// Gradient of the input; see [`super::super::Kernels::convolve_input_grad`].
pub fn conv2d_input_grad(unit: Unit, output_grad: &[f32], filters: Filters, layer: Layer) -> Vec<f32> {
    let Geometry { kernel, stride, padding, border } = layer.geometry;
    // What is reflected goes back to where it came from: first the gradient of the padded input, then that.
    let folds = border == Border::Reflect && padding > 0;
    let (size, skipped) = if folds { (layer.size.map(|side| side + 2 * padding), 0) } else { (layer.size, padding) };
    let lines = size.map(|written| Line::adjoint(kernel, stride, skipped, written));
    let grad_size = layer.output_size();
    let axis = |side: usize| Axis::new(Geometry::zero(1, 1, lines[side].1), grad_size[side]);
    let axes = [axis(0), axis(1)];
    let layout = Layout { row: layer.taps(), channel: layer.inputs * layer.taps(), kernel };
    let channels = [layer.outputs, layer.inputs];
    let lines = lines.map(|(lines, _)| lines);
    let pass = Pass { unit, batch: layer.batch, channels, stride: 1, lines, axes, size, layout };
    if folds {
        fold(&pass.run(output_grad, Filters { bias: None, ..filters }), filters, layer)
    } else {
        pass.run(output_grad, filters)
    }
}

/// Gradient of the weight; see [`super::super::Kernels::convolve_weight_grad`].
pub fn conv2d_weight_grad(unit: Unit, input: &[f32], output_grad: &[f32], layer: Layer) -> Vec<f32> {
    let Geometry { kernel, stride, .. } = layer.geometry;
    let Layer { batch, inputs, outputs, .. } = layer;
    let size = layer.output_size();
    let mut weight = vec![0.0; outputs * inputs * layer.taps()];
    if size.contains(&0) || batch == 0 {
        return weight;
    }
    let [down, across] = size.map(|outputs| Line::forward(kernel, outputs));
    let plan = Plan::new(inputs, [kernel; 2], stride, outputs.div_ceil(TILE));
    // Even, so that no pair of positions is part of two rows.
    let pitch = across.reach(stride).next_multiple_of(2);
    let field = Field::of_elements(&plan, down.reach(stride), pitch);
    let positions = ((size[0] - 1) * pitch + size[1]).next_multiple_of(DEPTH);
    let layout = Layout { row: inputs * layer.taps(), channel: layer.taps(), kernel };
    let (steps, places) = (plan.steps([kernel; 2]), filters::places(&plan, [&down, &across], layout));
    let lengths = [batch * field.image(), outputs.div_ceil(BLOCK) * batch * positions / 2 * BLOCK];
    scratch::with(lengths.map(|length| length + CACHE_LINE), |buffers| {
        let mut buffers = buffers.into_iter().zip(lengths).map(|(buffer, length)| aligned(buffer, length));
        let [fields, columns] = std::array::from_fn(|_| buffers.next().unwrap_or_default());
        field.fill(input, inputs, &plan, &layer.axes(), fields);
        fill_columns(output_grad, [batch, outputs], size, [pitch, positions], columns);
        let gradient = Gradient { unit, field, batch, positions, outputs, layout };
        gradient.run(fields, columns, &steps, &places, &Shared::new(&mut weight));
    });
    weight
}

/// A forward pass or an input gradient.
struct Pass {
    unit: Unit,
    batch: usize,
    /// That are read and that are written.
    channels: [usize; 2],
    /// Of the places in the field.
    stride: usize,
    /// Down and across, for every phase of what is written.
    lines: [Vec<Line>; 2],
    /// What is read, with its padding.
    axes: [Axis; 2],
    /// Of the planes that are written.
    size: [usize; 2],
    layout: Layout,
}

impl Pass {
    fn run(&self, planes: &[f32], filters: Filters) -> Vec<f32> {
        let [read, written] = self.channels;
        let mut output = vec![0.0; self.batch * written * self.size[0] * self.size[1]];
        let most = |lines: &[Line], of: fn(&Line, usize) -> usize| {
            lines.iter().map(|line| of(line, self.stride)).max().unwrap_or(0)
        };
        let places = [0, 1].map(|side| most(&self.lines[side], |line, _| line.taps.len()));
        let [rows, pitch] = [0, 1].map(|side| most(&self.lines[side], Line::reach));
        let plan = Plan::new(read, places, self.stride, written.div_ceil(TILE));
        let field = Field::of_pairs(&plan, rows, pitch);
        let (fields, all_steps) = (self.batch * field.image(), plan.steps(places).len());
        let packed = filters::packed(written, all_steps) / 2;
        let planes_out =
            Planes { values: Shared::new(&mut output), channels: written, size: self.size, bias: filters.bias };
        scratch::with([fields + CACHE_LINE, packed + CACHE_LINE], |[left, right]| {
            let (fields, packed) = (aligned(left, fields), aligned(right, packed));
            field.fill(planes, read, &plan, &self.axes, fields);
            for down in &self.lines[0] {
                for across in &self.lines[1] {
                    let places = filters::places(&plan, [down, across], self.layout);
                    let packed: &mut [u16] = bytemuck::cast_slice_mut(packed);
                    let packed = &mut packed[..filters::packed(written, places.len())];
                    filters::pack(self.unit, filters.weight, self.layout, written, &places, packed);
                    let lines = [down, across];
                    let correlation = Correlation { unit: self.unit, plan: &plan, field, lines, batch: self.batch };
                    correlation.run(fields, packed, &planes_out);
                }
            }
        });
        output
    }
}

/// So many numbers of a buffer with a cache line to spare, from the start of a line.
fn aligned(buffer: &mut [f32], length: usize) -> &mut [u32] {
    let numbers: &mut [u32] = bytemuck::cast_slice_mut(buffer);
    let misplaced = numbers.as_ptr() as usize % (4 * CACHE_LINE) / 4;
    let start = (CACHE_LINE - misplaced) % CACHE_LINE;
    &mut numbers[start..][..length]
}
