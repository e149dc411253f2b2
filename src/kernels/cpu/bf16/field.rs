//! Planes rounded to bf16 with their padding around them, as products of tiles read them.

use half::bf16;

use super::super::axis::Axis;
use super::plan::{Element, Plan};
use super::unit::{BLOCK, DEPTH, TILE};
use crate::platform::simd::vectorised;
use crate::platform::{parallel, scratch};

/// Values of 32 bits on a cache line.
pub const CACHE_LINE: usize = 16;

/// To the nearest bf16, ties to the even one, in the upper 16 bits; the others are rubbish.
#[inline(always)]
fn rounded(value: f32) -> u32 {
    let bits = value.to_bits();
    if value.is_nan() { u32::from(bf16::NAN.to_bits()) << 16 } else { bits + (0x7fff + (bits >> 16 & 1)) }
}

/// Two neighbours of one product, the first one lower.
#[inline(always)]
pub fn pair(first: f32, second: f32) -> u32 {
    rounded(first) >> 16 | rounded(second) & 0xffff_0000
}

/// Where the planes of a field lie.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Positions from one row to the next.
    pub pitch: usize,
    /// Rows that are written.
    pub rows: usize,
    /// Numbers of 32 bits from one plane to the next.
    pub plane: usize,
    /// Planes of an image.
    pub planes: usize,
}

impl Field {
    /// Pairs of elements side by side: a number of 32 bits a position.
    pub fn of_pairs(plan: &Plan, rows: usize, pitch: usize) -> Self {
        Self { pitch, rows, plane: odd_lines(rows * pitch + BLOCK), planes: plan.elements.len() / 2 }
    }

    /// Elements by themselves: half a number of 32 bits a position.
    pub fn of_elements(plan: &Plan, rows: usize, pitch: usize) -> Self {
        Self { pitch, rows, plane: odd_lines((rows * pitch + 2 * DEPTH).div_ceil(2)), planes: plan.elements.len() }
    }

    /// Numbers of 32 bits of an image.
    pub fn image(&self) -> usize {
        self.planes * self.plane
    }

    /// Zeros behind the rows of a plane.
    #[inline(always)]
    fn fill_rest(&self, of_pairs: bool, to: &mut [u32]) {
        if of_pairs {
            to[self.rows * self.pitch..].fill(0);
        } else {
            bytemuck::cast_slice_mut::<u32, u16>(to)[self.rows * self.pitch..].fill(0);
        }
    }

    /// Fills the planes of all images from `[image][channel][plane]`.
    pub fn fill(&self, input: &[f32], channels: usize, plan: &Plan, axes: &[Axis; 2], to: &mut [u32]) {
        let [down, across] = axes;
        let plane = down.input * across.input;
        let of_pairs = self.planes < plan.elements.len();
        let source = |image: usize, element: Option<Element>, row: usize| {
            let Element { channel, place } = element?;
            let row = down.source_within(row * plan.stride + place[0])?;
            let line = &input[(image * channels + channel) * plane + row * across.input..][..across.input];
            Some((line, place[1]))
        };
        let reach = across.reach().max(self.pitch * plan.stride) + places(plan);
        parallel::chunks_mut(to, self.plane, |index, to| {
            let (image, number) = (index / self.planes, index % self.planes);
            let elements = if of_pairs {
                [plan.elements[2 * number], plan.elements[2 * number + 1]]
            } else {
                [plan.elements[number], None]
            };
            if elements == [None, None] {
                to.fill(0);
                return;
            }
            // Rows of whole channels are rounded on their way, without a padded copy.
            if let [Some(first), second] = elements
                && plan.stride == 1
                && across.inside().end <= self.pitch
                && elements.iter().flatten().all(|element| element.place == [first.place[0], 0])
            {
                let zeros = if second.is_none() { vec![0.0; across.input] } else { Vec::new() };
                vectorised(
                    #[inline(always)]
                    || {
                        for row in 0..self.rows {
                            let lines = source(image, Some(first), row).map(|(line, _)| {
                                [line, source(image, second, row).map_or(&zeros[..], |(line, _)| line)]
                            });
                            if of_pairs {
                                let to = &mut to[row * self.pitch..][..self.pitch];
                                padded(
                                    lines,
                                    across,
                                    to,
                                    #[inline(always)]
                                    |[first, second]| pair(first, second),
                                );
                            } else {
                                let to = bytemuck::cast_slice_mut::<u32, u16>(to);
                                let to = &mut to[row * self.pitch..][..self.pitch];
                                padded(
                                    lines,
                                    across,
                                    to,
                                    #[inline(always)]
                                    |[first, _]| (rounded(first) >> 16) as u16,
                                );
                            }
                        }
                        self.fill_rest(of_pairs, to);
                    },
                );
                return;
            }
            scratch::with([reach, reach], |[first, second]| {
                vectorised(
                    #[inline(always)]
                    || {
                        first.fill(0.0);
                        second.fill(0.0);
                        let lines = [first, second];
                        let mut filled = [false; 2];
                        for row in 0..self.rows {
                            let mut starts = [0; 2];
                            for which in 0..2 {
                                match source(image, elements[which], row) {
                                    Some((line, start)) => {
                                        across.pad(line, lines[which]);
                                        (starts[which], filled[which]) = (start, true);
                                    }
                                    None if filled[which] => {
                                        lines[which].fill(0.0);
                                        filled[which] = false;
                                    }
                                    None => {}
                                }
                            }
                            let [first, second] = [&lines[0][starts[0]..], &lines[1][starts[1]..]];
                            if of_pairs {
                                pairs(first, second, plan.stride, &mut to[row * self.pitch..][..self.pitch]);
                            } else {
                                let to: &mut [u16] = bytemuck::cast_slice_mut(to);
                                halves(first, plan.stride, &mut to[row * self.pitch..][..self.pitch]);
                            }
                        }
                        self.fill_rest(of_pairs, to);
                    },
                );
            });
        });
    }
}

/// One row with its padding, zeros behind it; zeros where there is no row.
#[inline(always)]
fn padded<T: Copy + Default>(
    lines: Option<[&[f32]; 2]>,
    across: &Axis,
    to: &mut [T],
    number: impl Fn([f32; 2]) -> T + Copy,
) {
    let Some([first, second]) = lines else {
        to.fill(T::default());
        return;
    };
    let inside = across.inside();
    let (first, second) = (&first[..inside.len()], &second[..inside.len()]);
    to[inside.clone()].iter_mut().zip(first.iter().zip(second)).for_each(
        #[inline(always)]
        |(to, (first, second))| *to = number([*first, *second]),
    );
    for position in (0..inside.start).chain(inside.end..to.len()) {
        let source = across.source_within(position);
        to[position] = source.map_or(T::default(), |source| number([first[source], second[source]]));
    }
}

/// The furthest column of an element.
fn places(plan: &Plan) -> usize {
    plan.elements.iter().flatten().map(|element| element.place[1]).max().unwrap_or(0)
}

/// So many numbers of 32 bits or a few more: an odd number of cache lines, so that the rows of a tile, a plane each, do not
/// meet in a few sets of the cache.
fn odd_lines(numbers: usize) -> usize {
    let lines = numbers.div_ceil(CACHE_LINE);
    (lines | 1) * CACHE_LINE
}

#[inline(always)]
fn pairs(first: &[f32], second: &[f32], stride: usize, to: &mut [u32]) {
    match stride {
        1 => to.iter_mut().zip(first.iter().zip(second)).for_each(
            #[inline(always)]
            |(to, (first, second))| *to = pair(*first, *second),
        ),
        2 => {
            let count = 2 * to.len() - 1;
            // The last one of a pair may not be there any more.
            let (first, second) = (&first[..count], &second[..count]);
            for (index, to) in to.iter_mut().enumerate() {
                *to = pair(first[2 * index], second[2 * index]);
            }
        }
        _ => {
            for (index, to) in to.iter_mut().enumerate() {
                *to = pair(first[stride * index], second[stride * index]);
            }
        }
    }
}

#[inline(always)]
fn halves(from: &[f32], stride: usize, to: &mut [u16]) {
    if stride == 1 {
        to.iter_mut().zip(from).for_each(
            #[inline(always)]
            |(to, from)| *to = (rounded(*from) >> 16) as u16,
        );
    } else {
        for (index, to) in to.iter_mut().enumerate() {
            *to = (rounded(from[stride * index]) >> 16) as u16;
        }
    }
}

/// A column of a product: a channel of planes, so many positions further on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Column {
    pub channel: usize,
    pub shift: usize,
}

/// Fills `[block of 32 columns][image][pair of positions][column of the block]` from planes `[image][channel][rows][columns]`,
/// rows `pitch` positions apart, which is even, with zeros between them and up to `positions`.
pub fn fill_columns(
    planes: &[f32],
    batch: usize,
    columns: &[Column],
    [rows, width]: [usize; 2],
    [pitch, positions]: [usize; 2],
    to: &mut [u32],
) {
    let plane = rows * width;
    let channels = planes.len() / (batch * plane);
    parallel::chunks_mut(to, positions / 2 * BLOCK, |index, to| {
        let (block, image) = (index / batch, index % batch);
        let columns = &columns[block * BLOCK..];
        let columns = &columns[..columns.len().min(BLOCK)];
        let planes = &planes[image * channels * plane..];
        // Room for a whole vector at the end.
        scratch::with([pitch + 2 * TILE], |[line]| {
            vectorised(
                #[inline(always)]
                || {
                    line.fill(0.0);
                    for (row, to) in to.chunks_mut(pitch / 2 * BLOCK).enumerate() {
                        if row >= rows || columns.len() < BLOCK {
                            to.fill(0);
                        }
                        if row >= rows {
                            continue;
                        }
                        for (place, Column { channel, shift }) in columns.iter().enumerate() {
                            let from = &planes[channel * plane + row * width..][..width];
                            line[..*shift].fill(0.0);
                            line[*shift..][..width].copy_from_slice(from);
                            line[shift + width..][..TILE].fill(0.0);
                            column_of_pairs(line, &mut to[place..]);
                        }
                    }
                },
            );
        });
    });
}

/// Pairs of neighbours, a column's worth apart.
#[inline(always)]
fn column_of_pairs(line: &[f32], to: &mut [u32]) {
    for (line, to) in line.chunks_exact(2 * TILE).zip(to.chunks_mut(TILE * BLOCK)) {
        let mut numbers = [0; TILE];
        for (number, halves) in numbers.iter_mut().zip(line.chunks_exact(2)) {
            *number = pair(halves[0], halves[1]);
        }
        if to.len() > (TILE - 1) * BLOCK {
            for (place, number) in numbers.iter().enumerate() {
                to[place * BLOCK] = *number;
            }
        } else {
            to.iter_mut().step_by(BLOCK).zip(numbers).for_each(
                #[inline(always)]
                |(to, number)| *to = number,
            );
        }
    }
}
