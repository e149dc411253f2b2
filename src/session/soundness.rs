//! Whether a checkpoint holds numbers only: one that does not must never take the place of one that does.

/// Whether every value of a safetensors file of 32-bit floats is a finite number: the length of the header in 8 bytes,
/// the header, the values (<https://huggingface.co/docs/safetensors>).
pub fn is_sound(checkpoint: &[u8]) -> bool {
    let values = checkpoint.split_first_chunk().and_then(|(length, rest)| {
        let header = usize::try_from(u64::from_le_bytes(*length)).ok()?;
        rest.get(header..)
    });
    values.is_some_and(|values| values.as_chunks().0.iter().all(|bytes| f32::from_le_bytes(*bytes).is_finite()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_value_that_is_no_number_makes_it_unsound() {
        // The header itself would be no number.
        let file = |values: &[f32]| {
            let header = [255_u8; 8];
            let values = values.iter().flat_map(|value| value.to_le_bytes());
            [8_u64.to_le_bytes().as_slice(), &header, &values.collect::<Vec<u8>>()].concat()
        };
        assert!(is_sound(&file(&[0.0, -1.5, f32::MAX])));
        assert!(!is_sound(&file(&[0.0, f32::NAN, 1.0])));
        assert!(!is_sound(&file(&[f32::INFINITY])));
        assert!(!is_sound(b"short"));
        assert!(!is_sound(&[&900_u64.to_le_bytes()[..], &[0; 8]].concat()));
    }
}
