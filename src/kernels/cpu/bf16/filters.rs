//! Filters as the left operands of products of tiles.

use half::bf16;

use super::avx512;
use super::plan::{Line, Plan};
use super::unit::{BLOCK, DEPTH, TILE, Unit};
use crate::platform::parallel;

/// How the filters lie in memory: `[outputs][inputs][k × k]`, read in either direction.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Side of a filter.
    pub kernel: usize,
    /// From one channel that is written to the next.
    pub row: usize,
    /// From one channel that is read to the next.
    pub channel: usize,
}

/// Where in the filters of the first written channel the factors of each step are; −1 where there is a zero.
pub fn places(plan: &Plan, [down, across]: [&Line; 2], layout: Layout) -> Vec<[i32; DEPTH]> {
    let steps = plan.steps([down.taps.len(), across.taps.len()]);
    let of_step = |step| {
        let mut places = [-1; DEPTH];
        for (to, element) in places.iter_mut().zip(plan.places(step)) {
            let Some(element) = element else { continue };
            if let (Some(row), Some(column)) = (down.taps.get(element.place[0]), across.taps.get(element.place[1])) {
                *to = (element.channel * layout.channel + row * layout.kernel + column) as i32;
            }
        }
        places
    };
    steps.into_iter().map(of_step).collect()
}

/// Halves of a number of 32 bits that `rows` filters take, packed for so many steps.
pub fn packed(rows: usize, steps: usize) -> usize {
    rows.next_multiple_of(BLOCK) * DEPTH * steps
}

/// The furthest place in the weight.
pub fn furthest(starts: &[usize], places: &[[i32; DEPTH]]) -> Option<usize> {
    let place = places.iter().flatten().filter_map(|place| usize::try_from(*place).ok()).max()?;
    Some(starts.iter().max()? + place)
}

/// Fills `[tile of 16 filters][step][filter of the tile][factor]` for filters that begin at `starts`, zeros where there is
/// no filter.
///
/// # Panics
/// Where a place is outside the weight.
pub fn pack(unit: Unit, weight: &[f32], starts: &[usize], places: &[[i32; DEPTH]], to: &mut [u16]) {
    assert!(furthest(starts, places).is_none_or(|furthest| furthest < weight.len()));
    parallel::chunks_mut(to, TILE * DEPTH * places.len(), |tile, to| {
        let (steps, _) = to.as_chunks_mut::<{ TILE * DEPTH }>();
        for (step, places) in steps.iter_mut().zip(places) {
            let (lines, _) = step.as_chunks_mut::<DEPTH>();
            for (row, line) in lines.iter_mut().enumerate() {
                let Some(start) = starts.get(tile * TILE + row) else {
                    line.fill(0);
                    continue;
                };
                let filter = &weight[*start..];
                if unit.has_vectors() {
                    #[allow(unsafe_code, reason = "gathers of the processor")]
                    // SAFETY: the unit has vectors, and the assertion above keeps the places inside.
                    unsafe {
                        avx512::gather(filter.as_ptr(), places, line);
                    }
                } else {
                    for (to, place) in line.iter_mut().zip(places) {
                        *to = usize::try_from(*place).map_or(0, |place| bf16::from_f32(filter[place]).to_bits());
                    }
                }
            }
        }
    });
}
