//! How good translations are: picture against picture where there is one to compare with (the truth, or the input
//! after a way there and back: SSIM, PSNR, L1, and a distance between a network's features), set against set where there
//! is none (sliced Wasserstein distance, and the kernel distance between features).
//!
//! All of it looks at the pictures as they appear on white, and is the same on every machine:
//! what is random is a function of a seed.

mod bootstrap;
mod features;
mod grid_energy;
mod kernel_distance;
mod report;
mod sliced_wasserstein;
mod ssim;

use serde::{Deserialize, Serialize};

pub use bootstrap::Interval;
pub use features::{EXTRACTOR, Extractor};
pub use grid_energy::grid_energy;
pub use kernel_distance::kernel_distance;
pub use report::{Distances, FeatureReport, GridEnergy, KernelDistances, Paired, PairedDistance, Report, Sample};
pub use sliced_wasserstein::{sliced_wasserstein, sliced_wasserstein_interval};
pub use ssim::ssim;

use crate::image::Picture;

/// PSNR of a picture that equals the truth, in dB, where a mean is taken: the true value is infinite.
pub const PSNR_OF_EQUALS: f64 = 100.0;

/// Why pictures could not be compared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvaluateError {
    /// Nothing to compare.
    #[error("There are no pictures to compare.")]
    NoPictures,
    /// Not every picture has its counterpart.
    #[error("{produced} pictures cannot be compared with {real}: each needs its counterpart.")]
    Unpaired {
        /// Pictures on one side.
        produced: usize,
        /// Pictures on the other.
        real: usize,
    },
    /// The two have different sizes.
    #[error("A picture of {0}×{1} pixels cannot be compared with one of {2}×{3}.")]
    Sizes(u32, u32, u32, u32),
    /// What computes the features failed.
    #[error("The device was lost while pictures were looked at: {reason}")]
    Device {
        /// Its own words.
        reason: String,
    },
    /// Too small for the window of a measure.
    #[error("The pictures are smaller than the {window}×{window} pixels that the measure looks at.")]
    TooSmall {
        /// Side of the window.
        window: u32,
    },
}

/// How near pictures come to those at the same positions of another list.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Pairs compared.
    pub pictures: usize,
    /// Structural similarity, mean over the pairs; 1 is equal, higher is better.
    pub ssim: Interval,
    /// Peak signal-to-noise ratio in dB, mean over the pairs; higher is better.
    pub psnr: Interval,
    /// Mean absolute difference in levels of 0 to 255, mean over the pairs; lower is better.
    pub l1: Interval,
}

impl Scores {
    /// Compares produced pictures with the real ones at the same positions.
    ///
    /// # Errors
    /// When there are none, their numbers or sizes differ, or they are smaller than 11×11.
    pub fn of(produced: &[Picture], real: &[Picture], seed: u64) -> Result<Self, EvaluateError> {
        if produced.len() != real.len() {
            return Err(EvaluateError::Unpaired { produced: produced.len(), real: real.len() });
        }
        let each = |measure: fn(&Picture, &Picture) -> Result<f64, EvaluateError>| {
            let scores: Result<Vec<f64>, _> = produced.iter().zip(real).map(|(a, b)| measure(a, b)).collect();
            scores.and_then(|scores| Interval::of_mean(&scores, seed).ok_or(EvaluateError::NoPictures))
        };
        Ok(Self {
            pictures: real.len(),
            ssim: each(ssim)?,
            psnr: each(|a, b| Ok(psnr(a, b)?.min(PSNR_OF_EQUALS)))?,
            l1: each(l1)?,
        })
    }
}

/// Peak signal-to-noise ratio in dB: 10 log₁₀(255² / mean squared error over all pixels and colours).
/// Infinite for equal pictures.
///
/// # Errors
/// When the sizes differ or there are no pixels.
pub fn psnr(a: &Picture, b: &Picture) -> Result<f64, EvaluateError> {
    let (a, b) = levels(a, b)?;
    let squares: f64 = a.iter().zip(&b).map(|(a, b)| (a - b).powi(2)).sum();
    Ok(10.0 * (255.0 * 255.0 * a.len() as f64 / squares).log10())
}

/// Mean absolute difference over all pixels and colours, in levels of 0 to 255.
///
/// # Errors
/// When the sizes differ or there are no pixels.
pub fn l1(a: &Picture, b: &Picture) -> Result<f64, EvaluateError> {
    let (a, b) = levels(a, b)?;
    Ok(a.iter().zip(&b).map(|(a, b)| (a - b).abs()).sum::<f64>() / a.len() as f64)
}

/// Planes R, G, B of both pictures in levels of 0 to 255, on white.
fn levels(a: &Picture, b: &Picture) -> Result<(Vec<f64>, Vec<f64>), EvaluateError> {
    if (a.width, a.height) != (b.width, b.height) {
        return Err(EvaluateError::Sizes(a.width, a.height, b.width, b.height));
    }
    if a.pixels.is_empty() {
        return Err(EvaluateError::NoPictures);
    }
    let of = |picture: &Picture| picture.to_planes().into_iter().map(|v| (f64::from(v) + 1.0) * 127.5).collect();
    Ok((of(a), of(b)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::data::UnpairedDataset;

    /// Written by tests/reference/make_metrics.py with scikit-image and NumPy.
    #[derive(Deserialize)]
    struct Golden {
        /// Stem of a held-out emoji: PSNR and SSIM of its flat against its 3D picture.
        pairs: BTreeMap<String, [f64; 2]>,
        mean_psnr: f64,
        mean_ssim: f64,
        /// Over every patch there is.
        sliced_wasserstein: f64,
    }

    fn emoji() -> (Vec<String>, Vec<Picture>, Vec<Picture>) {
        let zip = include_bytes!("../../static/data/emoji.zip").to_vec();
        let dataset = UnpairedDataset::from_zip(zip).expect("the built-in data set can be read");
        let pairs = dataset.test_pairs();
        let stems = pairs.iter().map(|(a, _)| a.stem().to_owned()).collect();
        let decoded = pairs.iter().map(|(a, b)| Ok((a.picture()?, b.picture()?)));
        let decoded: Result<Vec<_>, crate::data::DataError> = decoded.collect();
        let (flat, solid) = decoded.expect("every emoji can be read").into_iter().unzip();
        (stems, flat, solid)
    }

    #[test]
    fn the_measures_agree_with_scikit_image_on_the_held_out_emoji() {
        let golden = include_bytes!("../../tests/fixtures/metrics.json");
        let golden: Golden = serde_json::from_slice(golden).expect("metrics.json is what the script writes");
        let (stems, flat, solid) = emoji();
        assert!(golden.pairs.len() >= 10);
        for (stem, [expected_psnr, expected_ssim]) in &golden.pairs {
            let at = stems.iter().position(|other| other == stem).expect("a held-out name");
            let psnr = psnr(&flat[at], &solid[at]).expect("equal sizes");
            let ssim = ssim(&flat[at], &solid[at]).expect("equal sizes");
            assert!((psnr - expected_psnr).abs() < 1e-3, "{stem}: {psnr} dB instead of {expected_psnr}");
            assert!((ssim - expected_ssim).abs() < 1e-5, "{stem}: {ssim} instead of {expected_ssim}");
        }
        let scores = Scores::of(&flat, &solid, 0).expect("pairs of equal sizes");
        assert_eq!(scores.pictures, 202);
        assert!((scores.psnr.mean - golden.mean_psnr).abs() < 1e-3, "{scores:?}");
        assert!((scores.ssim.mean - golden.mean_ssim).abs() < 1e-5, "{scores:?}");
        // A sample of the patches and other projections than NumPy's.
        let (expected, distance) = (golden.sliced_wasserstein, sliced_wasserstein(&flat, &solid, 0).expect("64×64"));
        assert!((distance / expected - 1.0).abs() < 0.06, "{distance} instead of {expected}");
    }

    #[test]
    fn equal_sets_are_perfect_and_a_score_is_the_same_each_time() {
        let (_, flat, solid) = emoji();
        let (flat, solid) = (&flat[..20], &solid[..20]);
        let perfect = Scores::of(solid, solid, 0).expect("pairs of equal sizes");
        assert_eq!((perfect.ssim.mean, perfect.psnr.mean, perfect.l1.mean), (1.0, PSNR_OF_EQUALS, 0.0));
        assert_eq!(sliced_wasserstein(solid, solid, 0), Ok(0.0));
        assert_eq!(Scores::of(flat, solid, 7), Scores::of(flat, solid, 7));
    }

    #[test]
    fn what_cannot_be_compared_is_refused() {
        let of = |side| Picture::filled(side, side, [9, 9, 9, 255]);
        assert_eq!(Scores::of(&[], &[], 0), Err(EvaluateError::NoPictures));
        assert_eq!(Scores::of(&[of(16)], &[], 0), Err(EvaluateError::Unpaired { produced: 1, real: 0 }));
        assert_eq!(Scores::of(&[of(16)], &[of(20)], 0), Err(EvaluateError::Sizes(16, 16, 20, 20)));
        assert_eq!(Scores::of(&[of(10)], &[of(10)], 0), Err(EvaluateError::TooSmall { window: 11 }));
        assert_eq!(psnr(&of(4), &Picture::filled(4, 4, [9, 9, 10, 255])).map(f64::round), Ok(53.0));
        assert_eq!(l1(&of(4), &Picture::filled(4, 4, [9, 9, 12, 255])).map(|l1| (l1 * 1e3).round()), Ok(1e3));
        assert_eq!(psnr(&of(0), &of(0)), Err(EvaluateError::NoPictures));
    }
}
