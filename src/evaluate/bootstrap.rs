//! How sure a mean is.

use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::random;

/// Times that the pictures are drawn anew.
const RESAMPLES: usize = 2_000;

/// Pictures that a set needs for [`half_samples`]: a half of two is the smallest with a distance between its own.
pub(super) const FEWEST: usize = 4;

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
        let means: Vec<f64> = (0..RESAMPLES).map(|_| resample()).collect();
        Some(Self::of_samples(values.iter().sum::<f64>() / count as f64, means))
    }

    /// A value with the middle 95 % of what it came to in samples, of which there must be at least one.
    pub(super) fn of_samples(mean: f64, mut samples: Vec<f64>) -> Self {
        samples.sort_unstable_by(f64::total_cmp);
        let at = |fraction: f64| samples[(fraction * (samples.len() - 1) as f64).round() as usize];
        Self { mean, low: at(0.025), high: at(0.975) }
    }
}

/// Random halves of `0..count`, without replacement, as many as wanted. An odd one is left out.
pub(super) fn half_samples(count: usize, seed: u64, name: &str, wanted: usize) -> impl Iterator<Item = Vec<usize>> {
    let mut stream = random::stream(seed, name, 0);
    let mut all: Vec<usize> = (0..count).collect();
    (0..wanted).map(move |_| {
        // The first half of a Fisher–Yates shuffle; where it starts from makes no difference.
        let half = count / 2;
        for place in 0..half {
            all.swap(place, stream.random_range(place..count));
        }
        all[..half].to_vec()
    })
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
    fn half_samples_are_halves_and_fair() {
        let halves: Vec<Vec<usize>> = half_samples(9, 1, "x", 900).collect();
        let mut counts = [0; 9];
        for half in &halves {
            assert_eq!(half.len(), 4);
            for at in half {
                counts[*at] += 1;
            }
            assert_eq!(half.iter().collect::<std::collections::HashSet<_>>().len(), 4);
        }
        // 400 each, with a deviation of 15.
        assert!(counts.iter().all(|count| (330..470).contains(count)), "{counts:?}");
    }

    #[test]
    fn equal_values_are_certain_and_none_have_no_mean() {
        assert_eq!(Interval::of_mean(&[2.5; 9], 0), Some(Interval { mean: 2.5, low: 2.5, high: 2.5 }));
        assert_eq!(Interval::of_mean(&[], 0), None);
    }
}
