//! Grid energy: how much a set of pictures repeats itself every two or four pixels, which is what a checkerboard of
//! transposed convolutions looks like in a spectrum (Odena et al. 2016, <https://distill.pub/2016/deconv-checkerboard/>).

use std::f64::consts::TAU;

use super::EvaluateError;
use crate::image::Picture;

/// The smallest side that is looked at: below, a frequency's neighbourhood would reach the next one.
const SMALLEST: u32 = 32;

/// The periods' frequencies along one side, in quarters of a cycle per pixel. Of frequencies that mirror each other one
/// is enough.
const PEAKS: [[i64; 2]; 9] = [[0, 1], [0, 2], [1, 0], [2, 0], [1, 1], [1, -1], [1, 2], [2, 1], [2, 2]];

/// Power of a set that is rounding alone.
const NOTHING: f64 = 1e-9;

/// The neighbourhood of a frequency: between these distances, in bins. A Hann window spreads a line over one bin either way.
const NEAR: [i64; 2] = [2, 4];

/// Power at the periods of 2 and 4 pixels (along either side or both) over that of the frequencies around them: a mean over the nine
/// frequencies, of luminance on white, each power summed over the set. 1 is no grid. Natural pictures have about 1, and
/// pictures that were enlarged or compressed have more or less: compare with a set of real ones.
///
/// # Errors
/// When there are no pictures, or one is smaller than 32×32.
pub fn grid_energy(pictures: &[Picture]) -> Result<f64, EvaluateError> {
    if pictures.is_empty() {
        return Err(EvaluateError::NoPictures);
    }
    let mut sums = [[0.0; 2]; PEAKS.len()];
    for picture in pictures {
        if picture.width.min(picture.height) < SMALLEST {
            return Err(EvaluateError::TooSmall { window: SMALLEST });
        }
        let spectrum = Spectrum::of(picture);
        for (peak, sum) in PEAKS.iter().zip(&mut sums) {
            let found = spectrum.around(*peak);
            sum.iter_mut().zip(found).for_each(|(sum, found)| *sum += found);
        }
    }
    // Pictures without any detail have no power, and so no grid.
    let ratio = |[peak, around]: [f64; 2]| if around > NOTHING { peak / around } else { 1.0 };
    Ok(sums.map(ratio).iter().sum::<f64>() / PEAKS.len() as f64)
}

/// Some frequencies of a picture: bins of a discrete Fourier transform over sides that are multiples of 4.
struct Spectrum {
    sides: [usize; 2],
    /// For each bin along the rows that is asked for, the transform of every row there.
    rows: Vec<(usize, Vec<[f64; 2]>)>,
}

impl Spectrum {
    fn of(picture: &Picture) -> Self {
        let sides = [picture.height, picture.width].map(|side| side as usize / 4 * 4);
        let [height, width] = sides;
        let luminance = luminance(picture, sides);
        let mut bins: Vec<usize> = PEAKS.iter().flat_map(|peak| bins(peak[1], width)).collect();
        bins.sort_unstable();
        bins.dedup();
        let rows = bins.into_iter().map(|bin| {
            let wave = wave(bin, width);
            let row = |row: &[f64]| transform(row.iter().map(|value| [*value, 0.0]), &wave);
            (bin, luminance[..height * width].chunks_exact(width).map(row).collect())
        });
        Self { sides, rows: rows.collect() }
    }

    /// Power of a frequency, and mean power of those around it.
    fn around(&self, peak: [i64; 2]) -> [f64; 2] {
        let [height, width] = self.sides;
        let centre = [bins(peak[0], height)[NEAR[1] as usize], bins(peak[1], width)[NEAR[1] as usize]];
        let (mut found, mut sum, mut count) = (0.0, 0.0, 0.0);
        for (down, row_bin) in bins(peak[0], height).into_iter().enumerate() {
            let wave = wave(row_bin, height);
            for (right, column_bin) in bins(peak[1], width).into_iter().enumerate() {
                let distance = [down, right].map(|place| (place as i64 - NEAR[1]).abs());
                let distance = distance[0].max(distance[1]);
                if distance != 0 && !(NEAR[0]..=NEAR[1]).contains(&distance) {
                    continue;
                }
                let Some((_, rows)) = self.rows.iter().find(|(bin, _)| *bin == column_bin) else { continue };
                let [re, im] = transform(rows.iter().copied(), &wave);
                let power = re * re + im * im;
                if [row_bin, column_bin] == centre {
                    found = power;
                } else {
                    (sum, count) = (sum + power, count + 1.0);
                }
            }
        }
        [found, if count > 0.0 { sum / count } else { 0.0 }]
    }
}

/// The bins around so many quarters of a cycle per pixel.
fn bins(quarters: i64, side: usize) -> Vec<usize> {
    let side = side as i64;
    (-NEAR[1]..=NEAR[1]).map(|offset| (quarters * side / 4 + offset).rem_euclid(side) as usize).collect()
}

/// One cycle of a bin's wave over a side.
fn wave(bin: usize, side: usize) -> Vec<[f64; 2]> {
    let angle = |place: usize| TAU * (bin * place % side) as f64 / side as f64;
    (0..side).map(|place| [libm::cos(angle(place)), -libm::sin(angle(place))]).collect()
}

fn transform(values: impl Iterator<Item = [f64; 2]>, wave: &[[f64; 2]]) -> [f64; 2] {
    let product = |([a, b], [c, d]): ([f64; 2], &[f64; 2])| [a * c - b * d, a * d + b * c];
    values.zip(wave).map(product).fold([0.0; 2], |[re, im], [more_re, more_im]| [re + more_re, im + more_im])
}

/// Luminance (ITU-R BT.601) on white without its mean, under a Hann window, so that the picture's edges are no detail.
fn luminance(picture: &Picture, [height, width]: [usize; 2]) -> Vec<f64> {
    let planes = picture.to_planes();
    let (stride, plane) = (picture.width as usize, planes.len() / 3);
    let hann = |place: usize, side: usize| 0.5 - 0.5 * libm::cos(TAU * (place as f64 + 0.5) / side as f64);
    let [tall, wide] = [height, width].map(|side| (0..side).map(|place| hann(place, side)).collect::<Vec<f64>>());
    let at = |row: usize, column: usize| {
        let value = |channel: usize| f64::from(planes[channel * plane + row * stride + column]);
        0.299 * value(0) + 0.587 * value(1) + 0.114 * value(2)
    };
    let values: Vec<f64> = (0..height * width).map(|index| at(index / width, index % width)).collect();
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let windowed = |(index, value): (usize, f64)| (value - mean) * tall[index / width] * wide[index % width];
    values.into_iter().enumerate().map(windowed).collect()
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;
    use crate::random;

    /// Noise of ±40 levels, and a pattern on it.
    fn noisy(index: u64, [width, height]: [u32; 2], pattern: impl Fn(u32, u32) -> f64) -> Picture {
        let mut stream = random::stream(1, "grid", index);
        let mut level = |at: u32| {
            let noise = 80.0 * stream.random::<f64>() - 40.0;
            (128.0 + noise + pattern(at % width, at / width)).clamp(0.0, 255.0) as u8
        };
        let pixels = (0..width * height).flat_map(|at| { let level = level(at); [level, level, level, 255] });
        Picture { width, height, pixels: pixels.collect() }
    }

    fn of(pattern: impl Fn(u32, u32) -> f64 + Copy) -> f64 {
        let set: Vec<Picture> = (0..40).map(|index| noisy(index, [61, 50], pattern)).collect();
        grid_energy(&set).expect("large enough")
    }

    #[test]
    fn white_noise_has_no_grid_and_a_checkerboard_has_what_theory_says() {
        let none = of(|_, _| 0.0);
        assert!((none - 1.0).abs() < 0.1, "{none}");
        // A checkerboard of amplitude a adds a²·(Σw)² at one of nine frequencies to the noise's σ²·Σw² everywhere;
        // σ² is 40²/3, and for a Hann window (Σw)²/Σw² is 2/3 of the pixels a side.
        let pixels: f64 = 60.0 * 48.0 * (2.0_f64 / 3.0).powi(2);
        let expected = 1.0 + 4.0 * 4.0 * pixels / (1600.0 / 3.0) / 9.0;
        let board = of(|x, y| if (x + y) % 2 == 0 { 4.0 } else { -4.0 });
        assert!((board / expected - 1.0).abs() < 0.15, "{board} instead of {expected}");
        let stripes = of(|x, _| if x % 4 < 2 { 4.0 } else { -4.0 });
        assert!(stripes > 2.0, "{stripes}");
        let slow = of(|x, _| if x % 12 < 6 { 30.0 } else { -30.0 });
        assert!(slow < 2.0, "a coarse pattern is no grid: {slow}");
    }

    #[test]
    fn flat_pictures_have_no_grid_and_small_ones_are_refused() {
        let flat = |side| [Picture::filled(side, side, [9, 99, 200, 255])];
        let energy = grid_energy(&flat(64)).expect("large enough");
        assert!((energy - 1.0).abs() < 1e-9, "{energy}");
        assert_eq!(grid_energy(&[]), Err(EvaluateError::NoPictures));
        assert_eq!(grid_energy(&flat(31)), Err(EvaluateError::TooSmall { window: 32 }));
    }
}
