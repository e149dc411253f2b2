//! Vectors of 512 bits with products of bf16.

use std::arch::x86_64::*;

use super::unit::{DEPTH, Offsets, Operand, Sums, TILE};

/// Rows of sums that are kept in registers beside both right tiles.
const ROWS: usize = 8;

/// Whether the processor has them.
pub fn is_there() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512bf16")
}

/// See [`super::unit::Unit::multiply`].
///
/// # Safety
/// As [`super::unit::Unit::multiply`], and [`is_there`].
#[allow(unsafe_code, reason = "rows are read through pointers")]
#[target_feature(enable = "avx512f,avx512bf16")]
pub unsafe fn multiply(left: Operand, right: Operand, steps: &[Offsets], adds: bool, sums: &mut Sums) {
    for (half, sums) in sums.0.chunks_exact_mut(2 * TILE * TILE).enumerate() {
        let (first, second) = sums.split_at_mut(TILE * TILE);
        let rows = first.chunks_exact_mut(ROWS * TILE).zip(second.chunks_exact_mut(ROWS * TILE));
        for (part, (first, second)) in rows.enumerate() {
            let from = left.tiles[half].wrapping_add(part * ROWS * left.stride);
            let mut totals = [[_mm512_setzero_ps(); 2]; ROWS];
            // SAFETY: there are ROWS rows of TILE sums; the operands' rows are as the caller says.
            unsafe {
                if adds {
                    for (row, totals) in totals.iter_mut().enumerate() {
                        *totals = [&*first, &*second].map(|sums| _mm512_loadu_ps(sums.as_ptr().add(row * TILE)));
                    }
                }
                for offsets in steps {
                    let from = from.add(offsets.left);
                    for pair in 0..DEPTH / 2 {
                        let columns = right.tiles.map(|tile| {
                            let at = tile.add(offsets.right + pair * right.stride);
                            as_bf16(_mm512_loadu_si512(at.cast()))
                        });
                        for (row, totals) in totals.iter_mut().enumerate() {
                            let factors = from.add(row * left.stride + pair * 4).cast::<i32>().read_unaligned();
                            let factors = as_bf16(_mm512_set1_epi32(factors));
                            totals[0] = _mm512_dpbf16_ps(totals[0], factors, columns[0]);
                            totals[1] = _mm512_dpbf16_ps(totals[1], factors, columns[1]);
                        }
                    }
                }
                for (row, totals) in totals.into_iter().enumerate() {
                    _mm512_storeu_ps(first.as_mut_ptr().add(row * TILE), totals[0]);
                    _mm512_storeu_ps(second.as_mut_ptr().add(row * TILE), totals[1]);
                }
            }
        }
    }
}

#[allow(unsafe_code, reason = "the same 64 bytes under another name")]
#[inline(always)]
fn as_bf16(bits: __m512i) -> __m512bh {
    // SAFETY: both are 512 bits, of which any are valid.
    unsafe { std::mem::transmute(bits) }
}

/// Rounds the values at `places` to bf16; zeros at negative ones.
///
/// # Safety
/// [`is_there`], and places lie inside the values.
#[allow(unsafe_code, reason = "the compiler does not make gathers of its own")]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub unsafe fn gather(values: *const f32, places: &[i32; DEPTH], to: &mut [u16; DEPTH]) {
    // SAFETY: the mask leaves out what is not there; places are as the caller says, and both arrays have 32 numbers.
    unsafe {
        let [low, high] = [0, TILE].map(|start| {
            let places = _mm512_loadu_si512(places.as_ptr().add(start).cast());
            let there = _mm512_cmpge_epi32_mask(places, _mm512_setzero_si512());
            _mm512_mask_i32gather_ps::<4>(_mm512_setzero_ps(), there, places, values)
        });
        let rounded: __m512i = std::mem::transmute(_mm512_cvtne2ps_pbh(high, low));
        _mm512_storeu_si512(to.as_mut_ptr().cast(), rounded);
    }
}

/// Writes one column of two tiles of sums, the second one 512 numbers behind the first, to places; negative ones are left out.
///
/// # Safety
/// [`is_there`]; both columns of 16 rows of 16 numbers are there from `column` on, and places may be written.
#[allow(unsafe_code, reason = "the compiler does not make scatters of its own")]
#[target_feature(enable = "avx512f")]
pub unsafe fn scatter(column: *const f32, places: &[i32; DEPTH], to: *mut f32) {
    let rows = _mm512_mullo_epi32(
        _mm512_set1_epi32(TILE as i32),
        _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
    );
    for tile in 0..2 {
        // SAFETY: as the caller says; the mask leaves out what has no place.
        unsafe {
            let values = _mm512_i32gather_ps::<4>(rows, column.add(tile * 2 * TILE * TILE));
            let places = _mm512_loadu_si512(places.as_ptr().add(tile * TILE).cast());
            let there = _mm512_cmpge_epi32_mask(places, _mm512_setzero_si512());
            _mm512_mask_i32scatter_ps::<4>(to, there, places, values);
        }
    }
}
