//! How sure a mean is.

use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::random;

/// Times that the pictures are drawn anew.
const RESAMPLES: usize = 2_000;

/// A mean with its 95 % confidence interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The mean.
    pub mean: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

impl Interval {
    /// The mean of values, with the percentile bootstrap's interval (Efron and Tibshirani 1993,
    /// chapter 13): the middle 95 % of the means of as many values drawn with replacement.
    /// `None` without values.
    pub fn of_mean(values: &[f64], seed: u64) -> Option<Self> {
        let count = values.len();
        if count == 0 {
            return None;
        }
        let mut stream = random::stream(seed, "bootstrap", 0);
        let mut resample = || (0..count).map(|_| values[stream.random_range(0..count)]).sum::<f64>() / count as f64;
        let mut means: Vec<f64> = (0..RESAMPLES).map(|_| resample()).collect();
        means.sort_unstable_by(f64::total_cmp);
        let at = |fraction: f64| means[(fraction * (RESAMPLES - 1) as f64).round() as usize];
        Some(Self { mean: values.iter().sum::<f64>() / count as f64, low: at(0.025), high: at(0.975) })
    }
}

impl std::fmt::Display for Interval {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digits = f.precision().unwrap_or(3);
        write!(f, "{:.digits$} ({:.digits$} to {:.digits$})", self.mean, self.low, self.high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_as_wide_as_the_normal_one() {
        let values: Vec<f64> = (0..400).map(|index| f64::from(index % 20)).collect();
        let interval = Interval::of_mean(&values, 1).expect("there are values");
        assert_eq!(interval.mean, 9.5);
        // Standard deviation √33.25 over √400, times 1.96 each way.
        let half = 1.96 * 33.25_f64.sqrt() / 20.0;
        assert!((interval.high - interval.mean - half).abs() < 0.08, "{interval}");
        assert!((interval.mean - interval.low - half).abs() < 0.08, "{interval}");
    }

    #[test]
    fn equal_values_are_certain_and_none_have_no_mean() {
        assert_eq!(Interval::of_mean(&[2.5; 9], 0), Some(Interval { mean: 2.5, low: 2.5, high: 2.5 }));
        assert_eq!(Interval::of_mean(&[], 0), None);
    }
}
