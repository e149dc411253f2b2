//! All that is measured of one generator on held-out pictures, with or without a ground truth.

use serde::{Deserialize, Serialize};

use super::{EvaluateError, Scores, sliced_wasserstein};
use crate::image::Picture;

/// What a generator made of held-out pictures, and what that is compared with.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// Held-out pictures of the domain that the generator reads.
    pub inputs: Vec<Picture>,
    /// What it made of each input.
    pub translated: Vec<Picture>,
    /// Held-out pictures of the domain that it writes.
    pub real: Vec<Picture>,
    /// What it made of each picture of `real`, which it should leave alone; empty when not tried.
    pub identity: Vec<Picture>,
    /// What the other generator made of each translated picture; empty without one.
    pub reconstructed: Vec<Picture>,
    /// Positions in `inputs` and `real` of pictures that show the same thing.
    pub pairs: Vec<(usize, usize)>,
}

/// Patch sliced Wasserstein distances to the set of real pictures; 0 is alike, lower is better.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Distances {
    /// Of the translated pictures.
    pub translated: f64,
    /// Of the inputs as they are.
    pub doing_nothing: f64,
    /// Between every other real picture and the rest: what two samples of one domain differ by. `None` with one picture.
    pub two_halves: Option<f64>,
}

/// Scores against the truth.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Paired {
    /// Of the translated pictures.
    pub translated: Scores,
    /// Of the inputs as they are.
    pub doing_nothing: Scores,
}

/// How good a generator is on held-out pictures.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Whether the translated set looks like the real one.
    pub sliced_wasserstein: Distances,
    /// Inputs translated there and back, against the inputs: what the cycle-consistency loss asks for.
    pub cycle: Option<Scores>,
    /// Real pictures of the written domain after the generator, against themselves.
    pub identity: Option<Scores>,
    /// Where the truth is known.
    pub paired: Option<Paired>,
}

impl Sample {
    /// Measures everything there are pictures for.
    ///
    /// # Errors
    /// When a set is empty, counterparts differ in number or size, or a picture is smaller than 11×11.
    pub fn measure(&self, seed: u64) -> Result<Report, EvaluateError> {
        let Self { inputs, translated, real, identity, reconstructed, pairs } = self;
        let to_real = |set: &[Picture]| sliced_wasserstein(set, real, seed);
        let half = |odd: usize| real.iter().skip(odd).step_by(2).cloned().collect::<Vec<_>>();
        let halves = (real.len() > 1).then(|| sliced_wasserstein(&half(0), &half(1), seed)).transpose()?;
        let against = |pictures: &[Picture], others: &[Picture]| {
            (!pictures.is_empty()).then(|| Scores::of(pictures, others, seed)).transpose()
        };
        let paired = |pictures: &[Picture]| {
            let sides = pairs.iter().filter_map(|&(a, b)| Some((pictures.get(a)?.clone(), real.get(b)?.clone())));
            let (pictures, truths): (Vec<Picture>, Vec<Picture>) = sides.unzip();
            against(&pictures, &truths)
        };
        Ok(Report {
            sliced_wasserstein: Distances {
                translated: to_real(translated)?,
                doing_nothing: to_real(inputs)?,
                two_halves: halves,
            },
            cycle: against(reconstructed, inputs)?,
            identity: against(identity, real)?,
            paired: paired(translated)?
                .zip(paired(inputs)?)
                .map(|(translated, doing_nothing)| Paired { translated, doing_nothing }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vertical stripes of a width and shade, shifted.
    fn striped(width: u32, shade: u8, shift: u32) -> Picture {
        let level = |x: u32| if ((x + shift) / width).is_multiple_of(2) { shade } else { 255 - shade };
        let pixels = (0..24 * 24).flat_map(|index| [level(index % 24), level(index % 24), 100, 255]);
        Picture { width: 24, height: 24, pixels: pixels.collect() }
    }

    #[test]
    fn a_good_generator_comes_near_the_real_set_and_back() {
        let set = |width, shade, count| (0..count).map(|shift| striped(width, shade, shift)).collect::<Vec<_>>();
        let sample = Sample {
            inputs: set(12, 120, 4),
            translated: set(3, 30, 4),
            real: set(3, 25, 6),
            identity: set(3, 25, 6),
            reconstructed: set(12, 118, 4),
            pairs: vec![(0, 0), (3, 3)],
        };
        let report = sample.measure(0).expect("sets of one size");
        let Distances { translated, doing_nothing, two_halves } = report.sliced_wasserstein;
        assert!(translated < doing_nothing / 3.0, "{report:?}");
        assert!(two_halves.is_some_and(|halves| halves < doing_nothing / 3.0), "{report:?}");
        let (cycle, identity) = (report.cycle.expect("measured"), report.identity.expect("measured"));
        assert!(cycle.pictures == 4 && (cycle.l1.mean - 4.0 / 3.0).abs() < 1e-4 && cycle.ssim.mean > 0.9, "{cycle:?}");
        assert_eq!((identity.pictures, identity.ssim.mean, identity.l1.mean), (6, 1.0, 0.0));
        let paired = report.paired.expect("two pairs");
        assert_eq!((paired.translated.pictures, paired.doing_nothing.pictures), (2, 2));
        assert!(paired.translated.ssim.mean > paired.doing_nothing.ssim.mean, "{paired:?}");
        assert_eq!(sample.measure(0), Ok(report));
    }

    #[test]
    fn what_there_is_nothing_for_is_left_out() {
        let one = vec![striped(3, 25, 0)];
        let sample = Sample { inputs: one.clone(), translated: one.clone(), real: one, ..Sample::default() };
        let report = sample.measure(0).expect("one picture each");
        assert_eq!((report.cycle, report.identity, report.paired), (None, None, None));
        assert_eq!(report.sliced_wasserstein.two_halves, None);
        assert_eq!(Sample::default().measure(0), Err(EvaluateError::NoPictures));
    }
}
