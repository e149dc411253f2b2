//! Patch sliced Wasserstein distance: how far apart two sets of pictures are in their local texture,
//! with no need for pairs.

use rand::RngExt;
use rand_pcg::Pcg64;

use super::bootstrap::{FEWEST, half_samples};
use super::{EvaluateError, Interval};
use crate::image::Picture;
use crate::random;

/// Side of a patch.
const SIDE: usize = 7;
/// Values of a patch.
const VALUES: usize = 3 * SIDE * SIDE;
/// Most patches taken from each set; small sets have fewer places to take them from.
const PATCHES: usize = 16_384;
/// Directions that the patches are projected on.
const PROJECTIONS: usize = 256;
/// Halves of the sets that a confidence interval is made of.
const HALVES: usize = 24;

/// Patch sliced Wasserstein distance between two sets of pictures, 0 for equal ones.
///
/// After Karras et al. 2018 (<https://arxiv.org/abs/1710.10196>, section 5) and Rabin et al. 2011:
/// 7×7 patches of RGB values in [−1, 1] are projected on random unit vectors; the mean absolute
/// difference between the sorted projections of the two sets is averaged over the vectors.
/// Unlike Karras et al. the patches are neither taken from a Laplacian pyramid nor normalised, so that
/// a set with the right texture in the wrong colours does not pass. From sets of equal length patches
/// are taken at equal places, which keeps the choice of places out of the result.
///
/// # Errors
/// When a set is empty or has a picture below 7×7.
pub fn sliced_wasserstein(one: &[Picture], other: &[Picture], seed: u64) -> Result<f64, EvaluateError> {
    let all = |set: &'_ [Picture]| (0..set.len()).collect::<Vec<_>>();
    between((one, &all(one)), (other, &all(other)), [PATCHES, PROJECTIONS], seed)
}

/// The distance with its 95 % confidence interval over the pictures: 1.96 standard deviations either way, as distances
/// between random halves of both sets have them (the delete-half jackknife: Shao and Tu 1995, section 2.3).
/// `None` where a set has fewer than four pictures.
///
/// # Errors
/// As [`sliced_wasserstein`].
pub fn sliced_wasserstein_interval(
    one: &[Picture],
    other: &[Picture],
    seed: u64,
) -> Result<Option<Interval>, EvaluateError> {
    let mean = sliced_wasserstein(one, other, seed)?;
    if one.len().min(other.len()) < FEWEST {
        return Ok(None);
    }
    let halves =
        half_samples(one.len(), seed, "swd_one", HALVES).zip(half_samples(other.len(), seed, "swd_other", HALVES));
    let distances = halves.map(|(half, other_half)| {
        // Always the same directions: only the pictures make a difference.
        between((one, &half), (other, &other_half), [PATCHES / 2, PROJECTIONS / 4], seed)
    });
    let distances = distances.collect::<Result<Vec<f64>, _>>()?;
    let middle = distances.iter().sum::<f64>() / HALVES as f64;
    let variance = distances.iter().map(|distance| (distance - middle).powi(2)).sum::<f64>() / (HALVES - 1) as f64;
    let reach = 1.96 * variance.sqrt();
    Ok(Some(Interval { mean, low: (mean - reach).max(0.0), high: mean + reach }))
}

/// The distance between some pictures of two sets, over at most so many patches and so many projections.
fn between(
    (one, of_one): (&[Picture], &[usize]),
    (other, of_other): (&[Picture], &[usize]),
    [most, projections]: [usize; 2],
    seed: u64,
) -> Result<f64, EvaluateError> {
    let one: Vec<&Picture> = of_one.iter().map(|at| &one[*at]).collect();
    let other: Vec<&Picture> = of_other.iter().map(|at| &other[*at]).collect();
    let count = most.min(places(&one)?.max(places(&other)?));
    let (one, other) = (patches(&one, count, seed), patches(&other, count, seed));
    let mut stream = random::stream(seed, "projections", 0);
    let total: f64 = (0..projections).map(|_| distance(&one, &other, &direction(&mut stream))).sum();
    Ok(total / projections as f64)
}

/// Places of a set that a patch can be taken from.
fn places(set: &[&Picture]) -> Result<usize, EvaluateError> {
    if set.is_empty() {
        return Err(EvaluateError::NoPictures);
    }
    if set.iter().any(|picture| (picture.width.min(picture.height) as usize) < SIDE) {
        return Err(EvaluateError::TooSmall { window: SIDE as u32 });
    }
    let along = |side: u32| side as usize + 1 - SIDE;
    Ok(set.iter().map(|picture| along(picture.width) * along(picture.height)).sum())
}

/// Patches of a set, picture after picture in turns.
fn patches(set: &[&Picture], count: usize, seed: u64) -> Vec<[f32; VALUES]> {
    let mut places = random::stream(seed, "patches", 0);
    let mut place = |side: u32| {
        let places_there = side as usize + 1 - SIDE;
        ((places.random::<f64>() * places_there as f64) as usize).min(places_there - 1)
    };
    let planes: Vec<Vec<f32>> = set.iter().map(|picture| picture.to_planes()).collect();
    let take = |index: usize| {
        let (picture, planes) = (&set[index % set.len()], &planes[index % set.len()]);
        let (width, height) = (picture.width as usize, picture.height as usize);
        let (x, y) = (place(picture.width), place(picture.height));
        std::array::from_fn(|value| {
            let (channel, row, column) = (value / (SIDE * SIDE), value / SIDE % SIDE, value % SIDE);
            planes[(channel * height + y + row) * width + x + column]
        })
    };
    (0..count).map(take).collect()
}

/// A unit vector, every direction as likely: normal coordinates by Box and Muller, scaled.
fn direction(stream: &mut Pcg64) -> [f32; VALUES] {
    let normal: [f64; VALUES] = std::array::from_fn(|_| {
        let radius = (-2.0 * (1.0 - stream.random::<f64>()).ln()).sqrt();
        radius * (std::f64::consts::TAU * stream.random::<f64>()).cos()
    });
    let length = normal.iter().map(|value| value * value).sum::<f64>().sqrt();
    normal.map(|value| (value / length) as f32)
}

/// Wasserstein-1 distance between the two sets of patches along one direction.
fn distance(one: &[[f32; VALUES]], other: &[[f32; VALUES]], direction: &[f32; VALUES]) -> f64 {
    let project = |patches: &[[f32; VALUES]]| {
        let mut along: Vec<f32> = patches.iter().map(|patch| dot(patch, direction)).collect();
        along.sort_unstable_by(f32::total_cmp);
        along
    };
    let differences = project(one).into_iter().zip(project(other)).map(|(a, b)| f64::from((a - b).abs()));
    differences.sum::<f64>() / one.len() as f64
}

/// In seven sums at once: one running sum would wait for itself at each step.
fn dot(one: &[f32; VALUES], other: &[f32; VALUES]) -> f32 {
    let mut sums = [0.0; SIDE];
    for (one, other) in one.chunks_exact(SIDE).zip(other.chunks_exact(SIDE)) {
        for lane in 0..SIDE {
            sums[lane] += one[lane] * other[lane];
        }
    }
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn black_and_white_are_as_far_apart_as_theory_says() {
        let set = |level| vec![Picture::filled(9, 9, [level, level, level, 255]); 3];
        let distance = sliced_wasserstein(&set(0), &set(255), 1).expect("large enough");
        // |2·Σd| over unit vectors d of 147 dimensions, where Σd is close to standard normal: 2·√(2/π).
        let expected = 2.0 * (2.0 / std::f64::consts::PI).sqrt();
        assert!((distance / expected - 1.0).abs() < 0.15, "{distance} instead of {expected}");
    }

    #[test]
    fn order_does_not_matter_and_sets_may_differ_in_length() {
        let gradient = |shift: u32| {
            let pixels = (0..32 * 32).flat_map(|i| [(i % 32 * 8) as u8, ((i + shift) / 32 * 8) as u8, 90, 255]);
            Picture { width: 32, height: 32, pixels: pixels.collect() }
        };
        let set: Vec<Picture> = (0..8).map(|index| gradient(index * 32)).collect();
        let reversed: Vec<Picture> = set.iter().rev().cloned().collect();
        let same = sliced_wasserstein(&set, &reversed, 1).expect("large enough");
        let twice: Vec<Picture> = set.iter().chain(&set[..3]).cloned().collect();
        let longer = sliced_wasserstein(&set, &twice, 1).expect("large enough");
        let dark = vec![Picture::filled(32, 32, [0, 0, 0, 255]); 2];
        let far = sliced_wasserstein(&set, &dark, 1).expect("large enough");
        assert!(same < 0.01 && longer < 0.1 && far > 0.3, "{same} {longer} {far}");
    }
}
