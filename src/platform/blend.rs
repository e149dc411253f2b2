//! How much of a translation is shown: the same arithmetic in the page and on the command line.

/// Mixes a translation with its original, both RGBA8 of one size: `strength` 1 leaves the translation, 0 makes it the
/// original. What is beyond 0 to 1, or no number, counts as the nearer end (no number as 0).
pub fn blend(original: &[u8], translation: &mut [u8], strength: f32) {
    let of_translation = (strength.clamp(0.0, 1.0) * 256.0).round() as u32;
    let of_original = 256 - of_translation;
    for (level, original) in translation.iter_mut().zip(original) {
        let mixed = u32::from(*level) * of_translation + u32::from(*original) * of_original;
        *level = ((mixed + 128) >> 8) as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_are_exact_and_the_middle_is_between() {
        let original: Vec<u8> = (0..=255).collect();
        let translation: Vec<u8> = (0..=255).rev().collect();
        let at = |strength| {
            let mut mixed = translation.clone();
            blend(&original, &mut mixed, strength);
            mixed
        };
        assert_eq!(at(1.0), translation);
        assert_eq!(at(7.0), translation);
        assert_eq!(at(0.0), original);
        assert_eq!(at(f32::NAN), original);
        assert!(at(0.5).iter().all(|level| [127, 128].contains(level)));
        assert_eq!(at(0.25)[0], 64, "a quarter of 255, three quarters of 0");
    }
}
