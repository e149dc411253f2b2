//! Products of fields with gradients: weight gradients.
//!
//! Here the sums run over positions: the left operand are the elements of a field as they lie, read further down and to the
//! right for every step of the plan, the right one pairs of positions of the output's gradient.

use std::ops::Range;

use super::avx512;
use super::field::Field;
use super::filters;
use super::plan::Step;
use super::shared::Shared;
use super::unit::{BLOCK, DEPTH, Offsets, Operand, SUMS, Sums, TILE, Unit};
use crate::platform::parallel;

/// Products of tiles that are added up before the next step's turn: what both operands read meanwhile stays in the cache.
const CHUNK: usize = 16;
/// Jobs a thread, so that none waits long for the last one.
const JOBS: usize = 4;

/// A weight gradient.
pub struct Gradient<'a> {
    pub unit: Unit,
    pub field: Field,
    pub batch: usize,
    /// Positions that are summed over, a multiple of 32.
    pub positions: usize,
    /// Where in the weight the filters of each column begin.
    pub starts: &'a [usize],
}

impl Gradient<'_> {
    /// Writes the weight: `fields` as [`Field::of_elements`] packs them, `columns` as [`super::field::fill_columns`].
    /// `steps` are the plan's and `places` theirs in the weight.
    pub fn run(&self, fields: &[u32], columns: &[u32], steps: &[Step], places: &[[i32; DEPTH]], weight: &Shared) {
        let blocks = self.starts.len().div_ceil(BLOCK);
        assert_eq!(columns.len(), blocks * self.batch * self.positions / 2 * BLOCK);
        assert_eq!(fields.len(), self.batch * self.field.image());
        let furthest = steps.iter().map(|step| self.offset(*step)).max().unwrap_or(0)
            + 4 * ((self.batch - 1) * self.field.image() + (DEPTH - 1) * self.field.plane)
            + 2 * self.positions;
        assert!(steps.is_empty() || furthest <= 4 * fields.len());
        assert!(filters::furthest(self.starts, places).is_none_or(|furthest| furthest < weight.len()));

        // Steps of one group read the same memory, unless threads would be idle.
        let mut shares: Vec<Range<usize>> = Vec::new();
        let wanted = (JOBS * parallel::threads()).div_ceil(blocks.max(1));
        let most = steps.len().div_ceil(wanted).max(1);
        let mut start = 0;
        for end in 1..=steps.len() {
            if end == steps.len() || end - start == most || steps[end].group != steps[start].group {
                shares.push(start..end);
                start = end;
            }
        }
        let jobs: Vec<_> =
            (0..blocks).flat_map(|block| shares.iter().map(move |share| (block, share.clone()))).collect();
        parallel::map(&jobs, |(block, share)| {
            let mut sums = vec![Sums::default(); share.len()];
            self.unit.with(|| self.sum(fields, columns, &steps[share.clone()], *block, &mut sums));
            self.store(&sums, &places[share.clone()], *block, weight);
        });
    }

    /// Bytes into an image's field.
    fn offset(&self, step: Step) -> usize {
        4 * step.group * DEPTH * self.field.plane + 2 * (step.shift[0] * self.field.pitch + step.shift[1])
    }

    fn sum(&self, fields: &[u32], columns: &[u32], steps: &[Step], block: usize, sums: &mut [Sums]) {
        let offsets: Vec<Offsets> =
            (0..CHUNK).map(|step| Offsets { left: step * 2 * DEPTH, right: step * DEPTH / 2 * BLOCK * 4 }).collect();
        let lines = self.positions / 2 * BLOCK;
        for image in 0..self.batch {
            let fields = &fields[image * self.field.image()..];
            let columns = &columns[(block * self.batch + image) * lines..][..lines];
            for start in (0..self.positions).step_by(CHUNK * DEPTH) {
                let count = CHUNK.min((self.positions - start) / DEPTH);
                for (step, sums) in steps.iter().zip(&mut *sums) {
                    let at = self.offset(*step) + 2 * start;
                    let left =
                        [0, TILE].map(|row| fields.as_ptr().cast::<u8>().wrapping_add(at + 4 * row * self.field.plane));
                    let right =
                        [0, TILE].map(|column| columns.as_ptr().wrapping_add(start / 2 * BLOCK + column).cast::<u8>());
                    let left = Operand { tiles: left, stride: 4 * self.field.plane };
                    let right = Operand { tiles: right, stride: 4 * BLOCK };
                    #[allow(unsafe_code, reason = "tiles are read through pointers")]
                    // SAFETY: `run` has compared the furthest position of both operands with their lengths.
                    unsafe {
                        self.unit.multiply(left, right, &offsets[..count], true, sums);
                    }
                }
            }
        }
    }

    /// Sums `[step][element, output]` go to their places in the weight.
    fn store(&self, sums: &[Sums], places: &[[i32; DEPTH]], block: usize, weight: &Shared) {
        for (column, start) in self.starts[block * BLOCK..].iter().take(BLOCK).enumerate() {
            let from = column / TILE * TILE * TILE + column % TILE;
            let to = weight.place(*start);
            for (sums, places) in sums.iter().zip(places) {
                if self.unit.has_vectors() {
                    #[allow(unsafe_code, reason = "scatters of the processor")]
                    // SAFETY: the unit has vectors; `run` has compared the furthest place with the weight's length, and
                    // no two threads have a place in common.
                    unsafe {
                        avx512::scatter(sums.0.as_ptr().add(from), places, to);
                    }
                } else {
                    for (element, place) in places.iter().enumerate().filter(|(_, place)| **place >= 0) {
                        let sum = sums.0[element / TILE * SUMS / 2 + element % TILE * TILE + from];
                        weight.write(start + *place as usize, &[sum], 0.0);
                    }
                }
            }
        }
    }
}
