//! What multiplies: the products of tiles on the instructions that the processor has.
//!
//! All of them compute the same sums from the same layout. They add in slightly different orders, so a processor
//! repeats its own bits and comes within a rounding of another kind's.

use std::sync::OnceLock;

#[cfg(target_os = "linux")]
use super::amx;
use super::avx512;

/// Rows and columns of a tile of sums.
pub const TILE: usize = 16;
/// Factors of a sum that one product of tiles adds: 16 pairs.
pub const DEPTH: usize = 32;
/// Sums of a [`Unit::multiply`]: two tiles by two.
pub const SUMS: usize = 4 * TILE * TILE;
/// Rows, or columns, of those.
pub const BLOCK: usize = 2 * TILE;

/// The instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Tiles of Intel's Advanced Matrix Extensions.
    #[cfg(target_os = "linux")]
    Amx,
    /// `vdpbf16ps` on vectors of 512 bits.
    Avx512,
    /// None: the same sums one by one.
    #[cfg(test)]
    Scalar,
}

/// Two tiles of one operand. Row `r` of tile `t` at step `s` are the 64 bytes at `tiles[t] + offset(s) + r · stride`.
#[derive(Clone, Copy, Debug)]
pub struct Operand {
    /// Where the tiles are at offset 0.
    pub tiles: [*const u8; 2],
    /// Bytes from one row to the next.
    pub stride: usize,
}

/// Bytes by which the left and the right operand lie on at one step.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offsets {
    pub left: usize,
    pub right: usize,
}

impl Unit {
    /// The fastest that the processor has and the system grants; asked once.
    pub fn here() -> Option<Self> {
        static HERE: OnceLock<Option<Unit>> = OnceLock::new();
        *HERE.get_or_init(|| Self::all().first().copied())
    }

    /// All that there are here, the fastest first.
    pub fn all() -> Vec<Self> {
        let vectors = avx512::is_there();
        let mut all = Vec::new();
        #[cfg(target_os = "linux")]
        if vectors && amx::is_granted() {
            all.push(Self::Amx);
        }
        if vectors {
            all.push(Self::Avx512);
        }
        #[cfg(test)]
        all.push(Self::Scalar);
        all
    }

    /// Whether weights can be gathered and rounded by [`avx512`].
    pub fn has_vectors(self) -> bool {
        #[cfg(test)]
        return self != Self::Scalar;
        #[cfg(not(test))]
        true
    }

    /// Prepares this thread for [`Unit::multiply`] while `work` runs.
    pub fn with<R>(self, work: impl FnOnce() -> R) -> R {
        match self {
            #[cfg(target_os = "linux")]
            Self::Amx => amx::with_tiles(work),
            _ => work(),
        }
    }

    /// `sums[t][u][m][n]`, or what is added to them, are for the rows `m` of left tile `t` and the columns `n` of right
    /// tile `u` the sum over all steps and 16 pairs `k` of `left[m][k] · right[k][n]`, both numbers of a pair multiplied
    /// with their like.
    ///
    /// # Safety
    /// Rows of both operands must lie in memory that may be read, at every step. Called within [`Unit::with`].
    #[allow(unsafe_code, reason = "tiles are read through pointers, as rows overlap and lie apart")]
    #[inline(always)]
    pub unsafe fn multiply(self, left: Operand, right: Operand, steps: &[Offsets], adds: bool, sums: &mut Sums) {
        if !adds && steps.is_empty() {
            sums.0.fill(0.0);
        }
        if steps.is_empty() {
            return;
        }
        match self {
            // SAFETY: what the caller promises.
            #[cfg(target_os = "linux")]
            Self::Amx => unsafe { amx::multiply(left, right, steps, adds, sums) },
            // SAFETY: what the caller promises; the unit is only handed out where the instructions are.
            Self::Avx512 => unsafe { avx512::multiply(left, right, steps, adds, sums) },
            // SAFETY: what the caller promises.
            #[cfg(test)]
            Self::Scalar => unsafe { scalar(left, right, steps, adds, sums) },
        }
    }
}

/// `[left tile][right tile][row][column]`, on a cache line.
#[repr(C, align(64))]
#[derive(Clone, Debug)]
pub struct Sums(pub [f32; SUMS]);

impl Default for Sums {
    fn default() -> Self {
        Self([0.0; SUMS])
    }
}

#[cfg(test)]
#[allow(unsafe_code, reason = "as Unit::multiply")]
unsafe fn scalar(left: Operand, right: Operand, steps: &[Offsets], adds: bool, sums: &mut Sums) {
    if !adds {
        sums.0.fill(0.0);
    }
    let wide = |half: u16| f32::from_bits(u32::from(half) << 16);
    for offsets in steps {
        for (place, sum) in sums.0.iter_mut().enumerate() {
            let (tiles, row, column) = (place / (TILE * TILE), place / TILE % TILE, place % TILE);
            for pair in 0..DEPTH / 2 {
                for half in 0..2 {
                    // SAFETY: rows are 64 bytes that the caller says may be read.
                    let [left, right] = unsafe {
                        [
                            left.tiles[tiles / 2].add(offsets.left + row * left.stride + pair * 4 + half * 2),
                            right.tiles[tiles % 2].add(offsets.right + pair * right.stride + column * 4 + half * 2),
                        ]
                        .map(|at| wide(at.cast::<u16>().read_unaligned()))
                    };
                    *sum += left * right;
                }
            }
        }
    }
}
