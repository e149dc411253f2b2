//! Random decisions as functions of (seed, stream name, index).
//!
//! No random state is carried from one step to the next, so an exact resume has nothing to save:
//! step 1,000 draws the same numbers whether it follows step 999 or a restart.

use rand::SeedableRng;
use rand_pcg::Pcg64;

/// The random stream called `name` at `index` (a step, an epoch, a position), under `seed`.
/// Streams that differ in any of the three are independent of each other.
pub fn stream(seed: u64, name: &str, index: u64) -> Pcg64 {
    let mut state = mix(seed);
    for byte in name.bytes() {
        state = mix(state ^ u64::from(byte));
    }
    state = mix(state ^ index);
    Pcg64::seed_from_u64(state)
}

/// One round of SplitMix64 (Steele et al. 2014), a bijection that spreads every bit.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::stream;

    #[test]
    fn the_same_triple_draws_the_same_numbers_and_no_other_does() {
        let draw = |seed, name, index| stream(seed, name, index).random::<u64>();
        let first = draw(1, "crop_a", 7);
        assert_eq!(first, draw(1, "crop_a", 7));
        for other in [draw(2, "crop_a", 7), draw(1, "crop_b", 7), draw(1, "crop_a", 8)] {
            assert_ne!(first, other);
        }
    }
}
