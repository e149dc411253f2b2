//! The learning rate over a training.

/// Constant until `decay_from` (a fraction of all steps), then linear to near zero: the last
/// step's rate is one decay step above 0, as in the paper (section 4: 100 epochs constant, 100
/// epochs of linear decay).
pub fn linear(base: f64, step: u64, steps: u64, decay_from: f32) -> f64 {
    let first = (steps as f64 * f64::from(decay_from)).floor();
    let falling = steps as f64 - first;
    let past = step as f64 - first;
    if past <= 0.0 || falling <= 0.0 { base } else { base * (1.0 - past / falling).max(0.0) }
}

#[cfg(test)]
mod tests {
    use super::linear;

    #[test]
    fn constant_then_linear_to_near_zero() {
        let rate = |step| linear(2e-4, step, 200, 0.5);
        assert_eq!(rate(0), 2e-4);
        assert_eq!(rate(100), 2e-4);
        assert!((rate(150) - 1e-4).abs() < 1e-12);
        assert!((rate(199) - 2e-6).abs() < 1e-12);
        assert_eq!(rate(200), 0.0);
        assert_eq!(linear(1.0, 5, 10, 1.0), 1.0);
    }
}
