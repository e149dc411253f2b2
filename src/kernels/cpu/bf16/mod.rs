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

use self::correlate::{Correlation, Margins, Phase, Planes};
use self::field::{CACHE_LINE, Column, Field, fill_columns};
use self::filters::Layout;
use self::plan::{Line, Plan};
use self::shared::Shared;
pub use self::unit::Unit;
use self::unit::{BLOCK, DEPTH, TILE};
use self::weight_grad::Gradient;
use super::axis::Axis;
use super::{Filters, Layer};
use crate::kernels::{Border, Geometry};
use crate::platform::simd::vectorised;
use crate::platform::{parallel, scratch};

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
        margin: 0,
        layout,
    };
    pass.run(input, filters, None)
}

/// Gradient of the input; see [`super::super::Kernels::convolve_input_grad`].
pub fn conv2d_input_grad(unit: Unit, output_grad: &[f32], filters: Filters, layer: Layer) -> Vec<f32> {
    let Geometry { kernel, stride, padding, border } = layer.geometry;
    // What is reflected goes back to where it came from: the lines reach over the planes.
    let margin = if border == Border::Reflect { padding } else { 0 };
    let size = layer.size.map(|side| side + 2 * margin);
    let skipped = padding - margin;
    let lines = size.map(|written| Line::adjoint(kernel, stride, skipped, written));
    let grad_size = layer.output_size();
    let axis = |side: usize| Axis::new(Geometry::zero(1, 1, lines[side].1), grad_size[side]);
    let axes = [axis(0), axis(1)];
    let layout = Layout { row: layer.taps(), channel: layer.inputs * layer.taps(), kernel };
    let channels = [layer.outputs, layer.inputs];
    let lines = lines.map(|(lines, _)| lines);
    let pass = Pass { unit, batch: layer.batch, channels, stride: 1, lines, axes, size: layer.size, margin, layout };
    pass.run(output_grad, filters, Some(&layer.axes()))
}

/// Gradient of the weight; see [`super::super::Kernels::convolve_weight_grad`].
pub fn conv2d_weight_grad(unit: Unit, input: &[f32], output_grad: &[f32], layer: Layer) -> Vec<f32> {
    let Geometry { kernel, stride, .. } = layer.geometry;
    let Layer { batch, inputs, outputs, .. } = layer;
    let size = layer.output_size();
    if size.contains(&0) || batch == 0 {
        return vec![0.0; outputs * inputs * layer.taps()];
    }
    let [down, across] = size.map(|outputs| Line::forward(kernel, outputs));
    // Few channels fill their tile together with the taps of a row: a column stands still and what it multiplies does not.
    let spreads = stride == 1 && spreads(outputs, kernel);
    let taps = if spreads { kernel } else { 1 };
    let columns: Vec<Column> =
        (0..outputs).flat_map(|channel| (0..taps).map(move |shift| Column { channel, shift })).collect();
    let read = if spreads { Line::forward(1, size[1] + kernel - 1) } else { across };
    let plan = Plan::new(inputs, [kernel, read.taps.len()], stride, columns.len().div_ceil(TILE));
    // Even, so that no pair of positions is part of two rows.
    let pitch = read.reach(stride).next_multiple_of(2);
    let field = Field::of_elements(&plan, down.reach(stride), pitch);
    let positions = ((size[0] - 1) * pitch + read.outputs).next_multiple_of(DEPTH);
    let layout = Layout { row: inputs * layer.taps(), channel: layer.taps(), kernel };
    let starts: Vec<usize> = columns.iter().map(|column| column.channel * layout.row + column.shift).collect();
    let (steps, places) = (plan.steps([kernel, read.taps.len()]), filters::places(&plan, [&down, &read], layout));
    let lengths = [batch * field.image(), columns.len().div_ceil(BLOCK) * batch * positions / 2 * BLOCK];
    let count = outputs * inputs * layer.taps();
    let mut weight: Vec<f32> = Vec::with_capacity(count);
    scratch::with(lengths.map(|length| length + CACHE_LINE), |buffers| {
        let mut buffers = buffers.into_iter().zip(lengths).map(|(buffer, length)| aligned(buffer, length));
        let [left, right] = std::array::from_fn(|_| buffers.next().unwrap_or_default());
        field.fill(input, inputs, &plan, &layer.axes(), left);
        fill_columns(output_grad, batch, &columns, size, [pitch, positions], right);
        let gradient = Gradient { unit, field, batch, positions, starts: &starts };
        gradient.run(left, right, &steps, &places, &Shared::room(&mut weight, count));
    });
    #[allow(unsafe_code, reason = "zeros that are written over at once would cost a pass through memory")]
    // SAFETY: every weight is the place of one step's element in one column.
    unsafe {
        weight.set_len(count);
    }
    weight
}

/// Whether so many channels that are written leave room in their tiles for every tap of a row.
fn spreads(written: usize, taps: usize) -> bool {
    taps > 2 && written * taps <= BLOCK
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
    /// Positions by which the lines reach over them on every side.
    margin: usize,
    layout: Layout,
}

impl Pass {
    /// What is read; a margin goes back to where these axes have it from.
    fn run(&self, planes: &[f32], filters: Filters, sources: Option<&[Axis; 2]>) -> Vec<f32> {
        let [read, written] = self.channels;
        let spread = self.spread();
        // Where each row of filters begins.
        let starts: Vec<usize> = match &spread {
            Some(_) => {
                let taps = &self.lines[1][0].taps;
                (0..written).flat_map(|row| taps.iter().map(move |tap| row * self.layout.row + tap)).collect()
            }
            None => (0..written).map(|row| row * self.layout.row).collect(),
        };
        let [downs, acrosses] = [&self.lines[0][..], spread.as_ref().map_or(&self.lines[1], std::slice::from_ref)];
        let most = |lines: &[Line], of: &dyn Fn(&Line) -> usize| lines.iter().map(of).max().unwrap_or(0);
        let places = [downs, acrosses].map(|lines| most(lines, &|line| line.taps.len()));
        let [rows, pitch] = [downs, acrosses].map(|lines| most(lines, &|line| line.reach(self.stride)));
        let plan = Plan::new(read, places, self.stride, starts.len().div_ceil(TILE));
        let field = Field::of_pairs(&plan, rows, pitch);
        let fields = self.batch * field.image();
        let packed = acrosses.len() * filters::packed(starts.len(), plan.steps(places).len());
        let around = self.batch * written * Margins::around(self.size, self.margin);
        let wide = spread.as_ref().map(|line| [downs[0].outputs, line.outputs]);
        let sums = wide.map_or(0, |[rows, columns]| self.batch * starts.len() * rows * columns);
        let length = self.batch * written * self.size[0] * self.size[1];
        let mut output: Vec<f32> = Vec::with_capacity(length);
        let lengths = [fields + CACHE_LINE, packed / 2 + CACHE_LINE, around, sums];
        scratch::with(lengths, |[left, right, around, sums]| {
            let (fields, packed) = (aligned(left, fields), aligned(right, packed / 2));
            field.fill(planes, read, &plan, &self.axes, fields);
            let planes = Planes {
                values: Shared::room(&mut output, length),
                channels: written,
                size: self.size,
                bias: filters.bias,
                margins: (self.margin > 0).then(|| Margins { values: Shared::new(around), width: self.margin }),
            };
            for down in downs {
                let mut rest: &mut [u16] = bytemuck::cast_slice_mut(packed);
                let phases: Vec<Phase> = acrosses
                    .iter()
                    .map(|across| {
                        let places = filters::places(&plan, [down, across], self.layout);
                        let (packed, behind) =
                            std::mem::take(&mut rest).split_at_mut(filters::packed(starts.len(), places.len()));
                        rest = behind;
                        filters::pack(self.unit, filters.weight, &starts, &places, packed);
                        Phase { across, filters: packed }
                    })
                    .collect();
                let correlation =
                    Correlation { unit: self.unit, plan: &plan, field, batch: self.batch, down, phases: &phases };
                match wide {
                    Some(size) => {
                        let values = Shared::new(sums);
                        let parts = Planes { values, channels: starts.len(), size, bias: None, margins: None };
                        correlation.run(fields, &parts);
                        self.gather(sums, size, &planes);
                    }
                    None => correlation.run(fields, &planes),
                }
            }
            #[allow(unsafe_code, reason = "zeros that are written over at once would cost a pass through memory")]
            // SAFETY: the lines of all phases together write every position of every plane.
            unsafe {
                output.set_len(length);
            }
            if let (true, Some(axes)) = (self.margin > 0, sources) {
                self.fold(&mut output, around, axes);
            }
        });
        output
    }

    /// Few channels fill their tiles together with the taps of a row: each tap's sums by themselves, over the outputs that
    /// any tap needs of them.
    fn spread(&self) -> Option<Line> {
        let ([_], [across], 1) = (&self.lines[0][..], &self.lines[1][..], self.stride) else { return None };
        let taps = across.taps.len();
        spreads(self.channels[1], taps).then(|| Line {
            taps: vec![0],
            outputs: across.outputs + taps - 1,
            ..across.clone()
        })
    }

    /// Adds up the taps' sums `[image][channel][tap][rows][columns]`, each tap's one position further on.
    fn gather(&self, sums: &[f32], [rows, columns]: [usize; 2], planes: &Planes) {
        let across = &self.lines[1][0];
        let (taps, written) = (across.taps.len(), self.channels[1]);
        let lines: Vec<[usize; 2]> =
            (0..self.batch * written).flat_map(|plane| (0..rows).map(move |row| [plane, row])).collect();
        let shares: Vec<&[[usize; 2]]> = lines.chunks(64).collect();
        parallel::map(&shares, |lines| {
            scratch::with([across.outputs], |[total]| {
                vectorised(
                    #[inline(always)]
                    || {
                        for [plane, row] in *lines {
                            for tap in 0..taps {
                                let line = &sums[((plane * taps + tap) * rows + row) * columns + tap..];
                                let pairs = total.iter_mut().zip(&line[..across.outputs]);
                                if tap == 0 {
                                    pairs.for_each(
                                        #[inline(always)]
                                        |(to, from)| *to = *from,
                                    );
                                } else {
                                    pairs.for_each(
                                        #[inline(always)]
                                        |(to, from)| *to += *from,
                                    );
                                }
                            }
                            let bias = planes.bias.map_or(0.0, |bias| bias[plane % written]);
                            planes.write([*plane, *row, 0], total, bias);
                        }
                    },
                );
            });
        });
    }

    /// Adds what is around the planes to where it came from.
    fn fold(&self, output: &mut [f32], around: &[f32], [down, across]: &[Axis; 2]) {
        let [height, width] = self.size;
        let (reach, margins) = (across.reach(), Margins::around(self.size, self.margin));
        parallel::chunks_mut(output, height * width, |index, plane| {
            let (rows, ends) = around[index * margins..][..margins].split_at(2 * self.margin * reach);
            for (row, line) in down.outside().zip(rows.chunks_exact(reach)) {
                if let Some(row) = down.source(row) {
                    across.fold(line, &mut plane[row * width..][..width]);
                }
            }
            for (line, ends) in plane.chunks_exact_mut(width).zip(ends.chunks_exact(2 * self.margin)) {
                for (column, value) in across.outside().zip(ends) {
                    if let Some(column) = across.source(column) {
                        line[column] += value;
                    }
                }
            }
        });
    }
}

/// So many numbers of a buffer with a cache line to spare, from the start of a line.
fn aligned(buffer: &mut [f32], length: usize) -> &mut [u32] {
    let numbers: &mut [u32] = bytemuck::cast_slice_mut(buffer);
    let misplaced = numbers.as_ptr() as usize % (4 * CACHE_LINE) / 4;
    let start = (CACHE_LINE - misplaced) % CACHE_LINE;
    &mut numbers[start..][..length]
}
