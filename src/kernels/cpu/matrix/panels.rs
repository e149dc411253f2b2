//! Matrix products in a browser, where vectors are four floats, an adder and a multiplier are apart, and sixteen registers are
//! few: a kernel of 4 rows and 8 columns keeps its sums, its factors and a product there. The gemm crate's, 4 and 12, has to
//! put some of them away and takes 1.4 times as long (V8 on a Xeon: 20 and 28 GFLOP/s, packing included).
//!
//! Floor: `2·m·n·k` operations, no two of them in one instruction; packing moves `k·(m + n)` floats.

use wide::f32x8;

use super::{Factor, Sums, View};
use crate::platform::scratch;

/// Rows of a kernel's block.
const ROWS: usize = 4;
/// Columns of a kernel's block.
const COLUMNS: usize = 8;
/// Terms of the sums that are packed at a time: with them a panel of either factor stays in the first cache.
const DEPTH: usize = 256;

/// As [`super::multiply`], whose checks have been made.
pub fn multiply([m, n, k]: [usize; 3], (to, to_view): Sums, keep: bool, (a, a_view): Factor, (b, b_view): Factor) {
    let deepest = DEPTH.min(k);
    let sizes = [m.next_multiple_of(ROWS) * deepest, n.next_multiple_of(COLUMNS) * deepest];
    scratch::with(sizes, |[left, right]| {
        for start in (0..k).step_by(DEPTH) {
            let depth = DEPTH.min(k - start);
            let left = pack::<ROWS>(&a[start * a_view.column..], [a_view.row, a_view.column], [m, depth], left);
            let right = pack::<COLUMNS>(&b[start * b_view.row..], [b_view.column, b_view.row], [n, depth], right);
            for (columns, right) in right.chunks_exact(depth).enumerate() {
                for (rows, left) in left.chunks_exact(depth).enumerate() {
                    let place = [rows * ROWS, columns * COLUMNS];
                    let to = &mut to[place[0] * to_view.row + place[1] * to_view.column..];
                    write(block(left, right), to, to_view, [m - place[0], n - place[1]], keep || start > 0);
                }
            }
        }
    });
}

/// Lines of a matrix, `count` of `depth` values each, as panels of `WIDTH` lines whose values lie side by side: `[panel][value]`,
/// zeros for lines that there are not. `across` is the way from line to line, `along` from value to value.
fn pack<'a, const WIDTH: usize>(
    from: &[f32],
    [across, along]: [usize; 2],
    [count, depth]: [usize; 2],
    to: &'a mut [f32],
) -> &'a [[f32; WIDTH]] {
    let (packed, _) = to.as_chunks_mut::<WIDTH>();
    let packed = &mut packed[..count.div_ceil(WIDTH) * depth];
    for (panel, to) in packed.chunks_exact_mut(depth).enumerate() {
        let width = WIDTH.min(count - panel * WIDTH);
        for (value, to) in to.iter_mut().enumerate() {
            let from = &from[panel * WIDTH * across + value * along..];
            if across == 1 && width == WIDTH {
                to.copy_from_slice(&from[..WIDTH]);
            } else {
                let lines = from.iter().step_by(across.max(1)).take(width).copied();
                to.iter_mut().zip(lines.chain(std::iter::repeat(0.0))).for_each(|(to, from)| *to = from);
            }
        }
    }
    packed
}

/// The product of two panels.
#[inline(always)]
fn block(left: &[[f32; ROWS]], right: &[[f32; COLUMNS]]) -> [f32x8; ROWS] {
    let mut sums = [f32x8::ZERO; ROWS];
    for (left, right) in left.iter().zip(right) {
        let right = f32x8::new(*right);
        for row in 0..ROWS {
            sums[row] += right * f32x8::splat(left[row]);
        }
    }
    sums
}

/// Puts as much of a block as there is room for into a matrix or, to `keep` what is there, adds it.
#[inline(always)]
fn write(block: [f32x8; ROWS], to: &mut [f32], view: View, [rows, columns]: [usize; 2], keep: bool) {
    for (row, sums) in block.into_iter().enumerate().take(rows) {
        let to = &mut to[row * view.row..];
        match to.first_chunk_mut::<COLUMNS>() {
            Some(to) if columns >= COLUMNS && view.column == 1 => {
                let sums = if keep { f32x8::new(*to) + sums } else { sums };
                *to = sums.to_array();
            }
            _ => {
                let places = to.iter_mut().step_by(view.column).take(columns);
                places.zip(sums.to_array()).for_each(|(to, sum)| *to = if keep { *to + sum } else { sum });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::cpu::values;

    #[test]
    fn products_are_those_of_the_gemm_crate() {
        let sides = [(1, 1, 1), (4, 8, 256), (5, 9, 257), (3, 7, 5), (33, 17, 600), (8, 64, 512), (2, 40, 1)];
        for (m, n, k) in sides {
            // Row by row and column by column, with room between them.
            let left = [View::rows(k + 3), View::columns(m + 1)];
            let right = [View::rows(n + 2), View::columns(k)];
            let to = [View::rows(n + 1), View::columns(m + 2)];
            for (choice, keep) in (0..8).flat_map(|choice| [(choice, false), (choice, true)]) {
                let (a_view, b_view, to_view) = (left[choice & 1], right[choice >> 1 & 1], to[choice >> 2]);
                let (a, b) = (values(m * (k + 3) + k * (m + 1), 1), values(k * (n + 2) + n * k, 2));
                let before = values(m * (n + 1) + n * (m + 2), 3);
                let (mut found, mut expected) = (before.clone(), before);
                multiply([m, n, k], (&mut found, to_view), keep, (&a, a_view), (&b, b_view));
                super::super::multiply([m, n, k], (&mut expected, to_view), keep, (&a, a_view), (&b, b_view));
                for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
                    let what = format!("{m} × {n} × {k}, views {choice}, keep {keep}, at {index}");
                    assert!((found - expected).abs() < 1e-6 * (k + 10) as f32, "{what}: {found}, not {expected}");
                }
            }
        }
    }
}
