//! Intel's Advanced Matrix Extensions, which stable Rust has no functions for.

use std::arch::asm;
use std::arch::x86_64::__cpuid_count;

use super::unit::{Offsets, Operand, Sums};

/// `ARCH_REQ_XCOMP_PERM` of arch_prctl(2): asks for a part of the processor's state that is off at first.
const REQUEST: libc::c_long = 0x1023;
/// The tiles' data in that state.
const TILE_DATA: libc::c_long = 18;
/// Bits of CPUID's leaf 7, EDX: products of bf16, and tiles.
const BF16_AND_TILES: u32 = 1 << 22 | 1 << 24;

/// Whether the processor has tiles and the system lets this process use them, on all its threads.
#[allow(
    unsafe_code,
    unused_unsafe,
    reason = "CPUID and a system call with numbers; newer compilers call the first safe"
)]
pub fn is_granted() -> bool {
    // SAFETY: every 64-bit processor has CPUID; leaves that it lacks are zeros or those of the last one.
    let there = unsafe { __cpuid_count(0, 0).eax >= 7 && __cpuid_count(7, 0).edx & BF16_AND_TILES == BF16_AND_TILES };
    // SAFETY: it takes two numbers and touches no memory of ours.
    there && unsafe { libc::syscall(libc::SYS_arch_prctl, REQUEST, TILE_DATA) } == 0
}

/// What LDTILECFG reads: all eight tiles of 16 rows of 64 bytes.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    bytes_a_row: [u16; 16],
    rows: [u8; 16],
}

static CONFIGURATION: Configuration = Configuration {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    bytes_a_row: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
    rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
};

/// Gives the tiles back, after a panic, too.
struct Release;

impl Drop for Release {
    #[allow(unsafe_code, reason = "the instruction clears the tiles, which nothing but this module uses")]
    fn drop(&mut self) {
        // SAFETY: see above.
        unsafe {
            asm!("tilerelease", out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _, out("tmm4") _,
                out("tmm5") _, out("tmm6") _, out("tmm7") _, options(nostack, nomem, preserves_flags));
        }
    }
}

/// Sets the tiles up while `work` runs on this thread.
#[allow(unsafe_code, reason = "the instruction reads one constant of 64 bytes")]
pub fn with_tiles<R>(work: impl FnOnce() -> R) -> R {
    // SAFETY: the constant is what the instruction wants; [`is_granted`] was asked before.
    unsafe {
        asm!("ldtilecfg [{}]", in(reg) &raw const CONFIGURATION, out("tmm0") _, out("tmm1") _, out("tmm2") _,
            out("tmm3") _, out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack, readonly, preserves_flags));
    }
    let _release = Release;
    work()
}

/// See [`super::unit::Unit::multiply`]. Measured on a Xeon of 2.7 GHz, operands in the first-level cache: 1.9 TFLOP/s.
///
/// # Safety
/// As [`super::unit::Unit::multiply`], with a step at least.
#[allow(unsafe_code, reason = "instructions that the compiler does not know")]
#[inline(always)]
pub unsafe fn multiply(left: Operand, right: Operand, steps: &[Offsets], adds: bool, sums: &mut Sums) {
    let [left0, left1] = left.tiles;
    let [right0, right1] = right.tiles;
    // SAFETY: tiles are read where the caller says that they are, and the sums fill their array.
    unsafe {
        asm!(
            "test {offset}, {offset}",
            "jz 2f",
            "tileloadd tmm0, [{sums} + {row}]",
            "tileloadd tmm1, [{sums} + {row} + 1024]",
            "tileloadd tmm2, [{sums} + {row} + 2048]",
            "tileloadd tmm3, [{sums} + {row} + 3072]",
            "jmp 3f",
            "2:",
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "3:",
            "mov {offset}, [{steps}]",
            "lea {at}, [{left0} + {offset}]",
            "tileloadd tmm4, [{at} + {left_row}]",
            "lea {at}, [{left1} + {offset}]",
            "mov {offset}, [{steps} + 8]",
            "tileloadd tmm5, [{at} + {left_row}]",
            "lea {at}, [{right0} + {offset}]",
            "tileloadd tmm6, [{at} + {right_row}]",
            "lea {at}, [{right1} + {offset}]",
            "tileloadd tmm7, [{at} + {right_row}]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "add {steps}, 16",
            "cmp {steps}, {end}",
            "jne 3b",
            "tilestored [{sums} + {row}], tmm0",
            "tilestored [{sums} + {row} + 1024], tmm1",
            "tilestored [{sums} + {row} + 2048], tmm2",
            "tilestored [{sums} + {row} + 3072], tmm3",
            // First whether to add; registers are scarce.
            offset = inout(reg) usize::from(adds) => _,
            at = out(reg) _,
            steps = inout(reg) steps.as_ptr() => _,
            end = in(reg) steps.as_ptr_range().end,
            left0 = in(reg) left0,
            left1 = in(reg) left1,
            left_row = in(reg) left.stride,
            right0 = in(reg) right0,
            right1 = in(reg) right1,
            right_row = in(reg) right.stride,
            row = in(reg) 64_usize,
            sums = in(reg) sums.0.as_mut_ptr(),
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}
