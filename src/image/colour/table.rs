//! Profiles of printers and others whose colours are measured: a table of colours between curves.

use super::icc::{curve, fixed, u16_at, u32_at};
use super::{Curve, D50, FROM_XYZ, to_srgb, transformed};

/// Space of what comes out of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connection {
    Xyz,
    Lab,
    /// Lab in 16 bits as version 2 has it.
    OldLab,
}

/// ICC's lut8Type, lut16Type and lutAToBType.
#[derive(Debug)]
pub struct Table {
    first: Vec<Curve>,
    /// Points along each axis; none where there is no table.
    grid: Vec<usize>,
    /// Three values a point, the last axis running fastest.
    points: Vec<f32>,
    middle: Option<Middle>,
    last: Vec<Curve>,
    connection: Connection,
    /// The darkest XYZ, which becomes black.
    black: [f32; 3],
}

/// What lutAToBType has between its table and its last curves.
#[derive(Debug)]
struct Middle {
    curves: Vec<Curve>,
    matrix: [[f32; 3]; 3],
    offset: [f32; 3],
}

/// Black of version 4's perceptual intent.
const PERCEPTUAL_BLACK: [f32; 3] = [0.003_36, 0.003_473_1, 0.002_87];

impl Table {
    /// Reads a tag of so many inputs and three outputs.
    pub fn read(tag: &[u8], inputs: usize, connection: Connection, is_new: bool) -> Option<Self> {
        if usize::from(*tag.get(8)?) != inputs || *tag.get(9)? != 3 {
            return None;
        }
        let mut table = match tag.get(..4)? {
            b"mft1" => Self::simple(tag, inputs, 256, 256, 48, 1)?,
            b"mft2" => {
                let [before, after] = [48, 50].map(|at| u16_at(tag, at).map(usize::from));
                Self::simple(tag, inputs, before?, after?, 52, 2)?
            }
            b"mAB " => Self::new(tag, inputs)?,
            _ => return None,
        };
        let is_old = tag.starts_with(b"mft2") && connection == Connection::Lab;
        table.connection = if is_old { Connection::OldLab } else { connection };
        table.black = if is_new {
            PERCEPTUAL_BLACK
        } else {
            // All inks, or no light: as dark as it gets, and as a neutral colour (LittleCMS's cmsDetectBlackPoint).
            let darkest = if inputs == 4 { [1.0; 4] } else { [0.0; 4] };
            let xyz = table.xyz(&darkest[..inputs]);
            let dark = xyz[1].clamp(0.0, 0.184);
            D50.map(|white| white * dark)
        };
        Some(table)
    }

    fn simple(tag: &[u8], inputs: usize, before: usize, after: usize, at: usize, width: usize) -> Option<Self> {
        if before < 2 || after < 2 {
            return None;
        }
        let points = usize::from(*tag.get(10)?);
        let grid = vec![points; inputs];
        let size = size(&grid)?;
        let mut values = Values { tag, at, width };
        let first = (0..inputs).map(|_| Some(Curve::Samples(values.take(before)?))).collect::<Option<_>>()?;
        let points = values.take(size)?;
        let last = (0..3).map(|_| Some(Curve::Samples(values.take(after)?))).collect::<Option<_>>()?;
        Some(Self { first, grid, points, middle: None, last, connection: Connection::Xyz, black: [0.0; 3] })
    }

    fn new(tag: &[u8], inputs: usize) -> Option<Self> {
        let offset = |at: usize| u32_at(tag, at);
        let curves = |at: usize, count: usize| -> Option<Vec<Curve>> {
            let mut at = at;
            let next = |_| {
                let (curve, length) = curve(tag.get(at..)?)?;
                at += length.next_multiple_of(4);
                Some(curve)
            };
            (0..count).map(next).collect()
        };
        let last = curves(offset(12)?, 3)?;
        let middle = match (offset(16)?, offset(20)?) {
            (0, _) | (_, 0) => None,
            (matrix, middle) => {
                let number = |at: usize| fixed(tag, matrix + 4 * at);
                let mut rows = [[0.0; 3]; 3];
                for (at, value) in rows.as_flattened_mut().iter_mut().enumerate() {
                    *value = number(at)?;
                }
                Some(Middle {
                    curves: curves(middle, 3)?,
                    matrix: rows,
                    offset: [number(9)?, number(10)?, number(11)?],
                })
            }
        };
        let (mut grid, mut points, mut first) = (Vec::new(), Vec::new(), Vec::new());
        match offset(24)? {
            0 if inputs == 3 => {}
            0 => return None,
            at => {
                grid = tag.get(at..at.checked_add(inputs)?)?.iter().map(|points| usize::from(*points)).collect();
                let width = usize::from(*tag.get(at + 16)?);
                points = Values { tag, at: at + 20, width }.take(size(&grid)?)?;
                first = curves(offset(28)?, inputs)?;
            }
        }
        Some(Self { first, grid, points, middle, last, connection: Connection::Xyz, black: [0.0; 3] })
    }

    /// sRGB of a colour of 16 bits a channel.
    pub fn srgb(&self, colour: &[u16; 4]) -> [u8; 3] {
        let colour = colour.map(|level| f32::from(level) / 65_535.0);
        let inputs = if self.grid.is_empty() { 3 } else { self.grid.len() };
        let xyz = self.xyz(&colour[..inputs]);
        // Black point compensation: a line through both blacks and both whites.
        let scaled = |at: usize| (xyz[at] - self.black[at]) * D50[at] / (D50[at] - self.black[at]);
        transformed(&FROM_XYZ, [scaled(0), scaled(1), scaled(2)]).map(to_srgb)
    }

    fn xyz(&self, colour: &[f32]) -> [f32; 3] {
        let mut values = [0.0; 3];
        if self.grid.is_empty() {
            values.copy_from_slice(&colour[..3]);
        } else {
            let mut inputs = [0.0; 4];
            for ((input, value), curve) in inputs.iter_mut().zip(colour).zip(&self.first) {
                *input = curve.at(*value);
            }
            values = self.between(&inputs[..self.grid.len()], 0, &self.grid);
        }
        if let Some(Middle { curves, matrix, offset }) = &self.middle {
            let [x, y, z] = [0, 1, 2].map(|at| curves[at].at(values[at]));
            let [a, b, c] = transformed(matrix, [x, y, z]);
            values = [a + offset[0], b + offset[1], c + offset[2]];
        }
        let [x, y, z] = [0, 1, 2].map(|at| self.last[at].at(values[at]));
        match self.connection {
            Connection::Xyz => [x, y, z].map(|value| value * (1.0 + 32_767.0 / 32_768.0)),
            Connection::Lab => from_lab(x * 100.0, y * 255.0 - 128.0, z * 255.0 - 128.0),
            Connection::OldLab => {
                let [l, a, b] = [x, y, z].map(|value| value * 65_535.0);
                from_lab(l / 652.8, a / 256.0 - 128.0, b / 256.0 - 128.0)
            }
        }
    }

    /// Between the points of the table: linear along the first of four axes, along the other three in a tetrahedron.
    fn between(&self, inputs: &[f32], from: usize, grid: &[usize]) -> [f32; 3] {
        let place = |axis: usize| {
            let last = grid[axis] - 1;
            let exact = inputs[axis].clamp(0.0, 1.0) * last as f32;
            let at = (exact as usize).min(last);
            (at, exact - at as f32, usize::from(at < last))
        };
        let stride = |axis: usize| grid[axis + 1..].iter().product::<usize>() * 3;
        if grid.len() > 3 {
            let (at, part, step) = place(0);
            let base = from + at * stride(0);
            let low = self.between(&inputs[1..], base, &grid[1..]);
            let high = self.between(&inputs[1..], base + step * stride(0), &grid[1..]);
            return [0, 1, 2].map(|channel| low[channel] + part * (high[channel] - low[channel]));
        }
        let mut at = from;
        let mut steps = [(0.0, 0); 3];
        for (axis, step) in steps.iter_mut().enumerate() {
            let (cell, part, next) = place(axis);
            at += cell * stride(axis);
            *step = (part, next * stride(axis));
        }
        steps.sort_by(|one, other| other.0.total_cmp(&one.0));
        let point = |at: usize| [0, 1, 2].map(|channel| self.points.get(at + channel).copied().unwrap_or(0.0));
        let mut sum = point(at).map(|value| value * (1.0 - steps[0].0));
        for (index, (part, step)) in steps.into_iter().enumerate() {
            at += step;
            let weight = part - steps.get(index + 1).map_or(0.0, |next| next.0);
            for (sum, value) in sum.iter_mut().zip(point(at)) {
                *sum += weight * value;
            }
        }
        sum
    }
}

/// Values of three outputs in a table with so many points along its axes.
fn size(grid: &[usize]) -> Option<usize> {
    let points = grid.iter().try_fold(3_usize, |size, points| size.checked_mul(*points))?;
    (points > 0).then_some(points)
}

/// Numbers of one or two bytes, one after the other.
struct Values<'a> {
    tag: &'a [u8],
    at: usize,
    width: usize,
}

impl Values<'_> {
    fn take(&mut self, count: usize) -> Option<Vec<f32>> {
        let bytes = self.tag.get(self.at..self.at.checked_add(count.checked_mul(self.width)?)?)?;
        self.at += bytes.len();
        Some(match self.width {
            1 => bytes.iter().map(|level| f32::from(*level) / 255.0).collect(),
            2 => bytes.as_chunks().0.iter().map(|level| f32::from(u16::from_be_bytes(*level)) / 65_535.0).collect(),
            _ => return None,
        })
    }
}

/// XYZ under D50 of CIE L*a*b*.
pub fn from_lab(l: f32, a: f32, b: f32) -> [f32; 3] {
    let y = (l + 16.0) / 116.0;
    let linear = |t: f32| if t > 6.0 / 29.0 { t * t * t } else { (t - 16.0 / 116.0) * 108.0 / 841.0 };
    [linear(y + a / 500.0) * D50[0], linear(y), linear(y - b / 200.0) * D50[2]]
}
