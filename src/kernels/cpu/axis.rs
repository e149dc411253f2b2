//! One axis of a padded picture.

use std::ops::Range;

use crate::kernels::{Border, Geometry};

/// Where the positions of a padded row or column come from.
pub struct Axis {
    /// Side of the picture itself.
    pub input: usize,
    /// Side of the convolution's output.
    pub output: usize,
    padding: usize,
    /// Per padded position: the input, `None` where there is a zero.
    source: Vec<Option<usize>>,
}

impl Axis {
    /// The picture with its padding.
    pub fn new(geometry: Geometry, input: usize) -> Self {
        Self::reaching(geometry, input, input + 2 * geometry.padding)
    }

    /// The picture with its padding and zeros behind it, `reach` positions in all.
    pub fn reaching(geometry: Geometry, input: usize, reach: usize) -> Self {
        let source = (0..reach).map(|padded| geometry.source(padded, input)).collect();
        Self { input, output: geometry.output(input), padding: geometry.padding, source }
    }

    /// Padded positions.
    pub fn reach(&self) -> usize {
        self.source.len()
    }

    /// The input under a padded position, `None` where there is a zero.
    pub fn source(&self, padded: usize) -> Option<usize> {
        self.source[padded]
    }

    /// The same for any position, outside the padding `None`.
    #[cfg(target_arch = "x86_64")]
    pub fn source_within(&self, padded: usize) -> Option<usize> {
        self.source.get(padded).copied().flatten()
    }

    /// The padded positions that are the picture itself.
    pub fn inside(&self) -> Range<usize> {
        self.padding..self.padding + self.input
    }

    /// The others.
    pub fn outside(&self) -> impl Iterator<Item = usize> {
        (0..self.padding).chain(self.inside().end..self.reach())
    }

    /// A row of the picture with its padding around it.
    pub fn pad(&self, row: &[f32], padded: &mut [f32]) {
        padded[self.inside()].copy_from_slice(row);
        for position in self.outside() {
            padded[position] = self.source[position].map_or(0.0, |from| row[from]);
        }
    }

    /// The adjoint of [`Axis::pad`]: adds every padded position onto its source.
    pub fn fold(&self, padded: &[f32], row: &mut [f32]) {
        row.iter_mut().zip(&padded[self.inside()]).for_each(
            #[inline(always)]
            |(to, from)| *to += from,
        );
        for position in self.outside() {
            if let Some(to) = self.source[position] {
                row[to] += padded[position];
            }
        }
    }
}

impl Geometry {
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
