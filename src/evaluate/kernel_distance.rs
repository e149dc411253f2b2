//! Kernel distance between two sets of features (KID, Bińkowski et al. 2018, <https://arxiv.org/abs/1801.01401>).

use super::Interval;
use super::bootstrap::{FEWEST, half_samples};

/// Half-samples that the interval is made of.
const SUBSETS: usize = 500;

/// The unbiased estimate of the squared maximum mean discrepancy between what two sets of features are drawn from,
/// with the kernel (x·y / d + 1)³. 0 is alike (an estimate may fall below), lower is better. The interval is the
/// middle 95 % of the estimates from random halves of both sets: by the delete-half jackknife (Shao and Tu 1995,
/// section 2.3) those spread as estimates from whole sets would.
///
/// `pairs` are positions of pictures that show the same thing. They depend on each other, so their likeness says nothing
/// of the sets and is left out (Gretton et al. 2012, <https://jmlr.org/papers/v13/gretton12a.html>, equation 4).
///
/// `None` where a set has fewer than four.
pub fn kernel_distance(one: &[Vec<f64>], other: &[Vec<f64>], pairs: &[(usize, usize)], seed: u64) -> Option<Interval> {
    if one.len().min(other.len()) < FEWEST {
        return None;
    }
    let mut between: Vec<Vec<Option<f64>>> =
        gram(one, other).into_iter().map(|row| row.into_iter().map(Some).collect()).collect();
    for &(a, b) in pairs {
        between[a][b] = None;
    }
    let kernels = Kernels { one: gram(one, one), other: gram(other, other), between };
    let all = |set: &[Vec<f64>]| (0..set.len()).collect::<Vec<_>>();
    let whole = kernels.discrepancy(&all(one), &all(other));
    let subsets =
        half_samples(one.len(), seed, "kid_one", SUBSETS).zip(half_samples(other.len(), seed, "kid_other", SUBSETS));
    Some(Interval::of_samples(whole, subsets.map(|(one, other)| kernels.discrepancy(&one, &other)).collect()))
}

/// All values of the kernel.
struct Kernels {
    one: Vec<Vec<f64>>,
    other: Vec<Vec<f64>>,
    /// `None` for pairs.
    between: Vec<Vec<Option<f64>>>,
}

impl Kernels {
    /// Equation 4 of the paper for some of each set.
    fn discrepancy(&self, one: &[usize], other: &[usize]) -> f64 {
        let within = |gram: &[Vec<f64>], set: &[usize]| {
            let pairs = set.iter().flat_map(|a| set.iter().filter(move |b| a != *b).map(|b| gram[*a][*b]));
            pairs.sum::<f64>() / (set.len() * (set.len() - 1)) as f64
        };
        let across = one.iter().flat_map(|a| other.iter().filter_map(|b| self.between[*a][*b]));
        let (sum, count) = across.fold((0.0, 0), |(sum, count), value| (sum + value, count + 1));
        within(&self.one, one) + within(&self.other, other) - 2.0 * sum / f64::from(count)
    }
}

fn gram(one: &[Vec<f64>], other: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let kernel = |a: &[f64], b: &[f64]| {
        let product: f64 = a.iter().zip(b).map(|(a, b)| a * b).sum();
        (product / a.len().max(1) as f64 + 1.0).powi(3)
    };
    one.iter().map(|a| other.iter().map(|b| kernel(a, b)).collect()).collect()
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::super::features::tests::{Mmd, emoji, extractor, golden};
    use super::*;

    #[test]
    fn the_distance_is_numpys() {
        for Mmd { one, other, value } in golden().mmd {
            let found = kernel_distance(&one, &other, &[], 0).expect("five and seven");
            assert!((found.mean - value).abs() < 1e-9 * (1.0 + value.abs()), "{found} instead of {value}");
            assert!(found.low <= found.high);
            assert_eq!(kernel_distance(&one, &other, &[], 0), Some(found));
            assert_eq!(kernel_distance(&one[..3], &other, &[], 0), None);
        }
    }

    #[test]
    fn flat_and_solid_emoji_are_as_far_apart_as_pytorch_and_numpy_say() {
        let (golden, extractor) = (golden(), extractor());
        let (flat, solid) = emoji(&golden.stems);
        let features = |set: &[crate::image::Picture]| -> Vec<Vec<f64>> {
            set.iter().map(|picture| pollster::block_on(extractor.features(picture)).expect("a picture")).collect()
        };
        let (flat, solid) = (features(&flat), features(&solid));
        assert_eq!(flat.len(), 24);
        let pairs: Vec<(usize, usize)> = (0..24).map(|at| (at, at)).collect();
        let found = kernel_distance(&flat, &solid, &pairs, 0).expect("24 each");
        // Sums of kernel values around a thousand, which 16-bit weights move a little.
        assert!((found.mean - golden.kid).abs() < 0.25, "{found} instead of {}", golden.kid);
        assert!(found.low < found.mean && found.mean < found.high, "{found}");
        let itself = kernel_distance(&flat, &flat, &pairs, 0).expect("24 each");
        assert!(itself.mean.abs() < 1e-6, "{itself}");
    }

    /// The spread of half-samples is that of estimates from fresh samples.
    #[test]
    fn the_interval_is_as_wide_as_fresh_samples_spread() {
        let mut stream = crate::random::stream(1, "kid", 0);
        let mut sample = |middle: f64| -> Vec<Vec<f64>> {
            let mut value = || middle + (0..6).map(|_| stream.random::<f64>() - 0.5).sum::<f64>();
            (0..40).map(|_| (0..4).map(|_| value()).collect()).collect()
        };
        let found: Vec<Interval> =
            (0..120).map(|seed| kernel_distance(&sample(0.0), &sample(0.6), &[], seed).expect("40 each")).collect();
        let mut means: Vec<f64> = found.iter().map(|interval| interval.mean).collect();
        means.sort_unstable_by(f64::total_cmp);
        let spread = means[116] - means[3];
        let width = found.iter().map(|interval| interval.high - interval.low).sum::<f64>() / 120.0;
        assert!((0.7..1.4).contains(&(width / spread)), "{width} against {spread}");
    }
}
