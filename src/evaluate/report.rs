//! All that is measured of one generator on held-out pictures, with or without a ground truth.

use burn::tensor::backend::Backend;
use serde::{Deserialize, Serialize};

use super::{
    EvaluateError, Extractor, Interval, Scores, grid_energy, kernel_distance, sliced_wasserstein, sliced_wasserstein_interval,
};
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
    /// How sure `translated` is; `None` with fewer than four pictures.
    pub translated_interval: Option<Interval>,
    /// How sure `doing_nothing` is.
    pub doing_nothing_interval: Option<Interval>,
}

/// Kernel distances between features of pictures and of the set of real ones: see [`kernel_distance`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct KernelDistances {
    /// Of the translated pictures.
    pub translated: Interval,
    /// Of the inputs as they are.
    pub doing_nothing: Interval,
    /// Between every other real picture and the rest; `None` with fewer than eight.
    pub two_halves: Option<Interval>,
}

/// Distances between features of pictures and of the truth: see [`Extractor::distance`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PairedDistance {
    /// Of the translated pictures, mean over the pairs.
    pub translated: Interval,
    /// Of the inputs as they are.
    pub doing_nothing: Interval,
}

/// What a network that recognises things sees in them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct FeatureReport {
    /// Whether the translated set looks like the real one; `None` with fewer than four pictures of either.
    pub kernel_distance: Option<KernelDistances>,
    /// Where the truth is known.
    pub paired_distance: Option<PairedDistance>,
}

/// Scores against the truth.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Paired {
    /// Of the translated pictures.
    pub translated: Scores,
    /// Of the inputs as they are.
    pub doing_nothing: Scores,
}

/// Grid energies over that of the set of real pictures: see [`grid_energy`]. 1 is no grid.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct GridEnergy {
    /// Of the translated pictures.
    pub translated: f64,
    /// Of the inputs as they are.
    pub doing_nothing: f64,
}

/// How good a generator is on held-out pictures.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Whether the translated set looks like the real one.
    pub sliced_wasserstein: Distances,
    /// Whether the translated pictures have a checkerboard; `None` where a picture is smaller than 32×32.
    pub grid_energy: Option<GridEnergy>,
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
        let grid_energy = match [translated, inputs, real].map(|set| grid_energy(set)) {
            [Ok(translated), Ok(inputs), Ok(real)] => {
                Some(GridEnergy { translated: translated / real, doing_nothing: inputs / real })
            }
            _ => None,
        };
        Ok(Report {
            grid_energy,
            sliced_wasserstein: Distances {
                translated: to_real(translated)?,
                doing_nothing: to_real(inputs)?,
                two_halves: halves,
                translated_interval: sliced_wasserstein_interval(translated, real, seed)?,
                doing_nothing_interval: sliced_wasserstein_interval(inputs, real, seed)?,
            },
            cycle: against(reconstructed, inputs)?,
            identity: against(identity, real)?,
            paired: paired(translated)?
                .zip(paired(inputs)?)
                .map(|(translated, doing_nothing)| Paired { translated, doing_nothing }),
        })
    }

    /// Pictures that [`measure_features`](Self::measure_features) looks at.
    pub fn looks(&self) -> usize {
        self.inputs.len() + self.translated.len() + self.real.len() + 2 * self.pairs.len()
    }

    /// Measures what takes a look with a network; `looked` is called after each of the [`looks`](Self::looks).
    ///
    /// # Errors
    /// When pictures of a pair differ in size, or the device is lost.
    pub async fn measure_features<B: Backend>(
        &self,
        extractor: &Extractor<B>,
        seed: u64,
        looked: impl Fn(),
    ) -> Result<FeatureReport, EvaluateError> {
        let Self { inputs, translated, real, pairs, .. } = self;
        let mut sets = [Vec::new(), Vec::new(), Vec::new()];
        for (pictures, features) in [inputs, translated, real].into_iter().zip(&mut sets) {
            for picture in pictures {
                features.push(extractor.features(picture).await?);
                looked();
            }
        }
        let [of_inputs, of_translated, of_real] = sets;
        let mut distances = [Vec::new(), Vec::new()];
        for (pictures, distances) in [translated, inputs].into_iter().zip(&mut distances) {
            for &(a, b) in pairs {
                if let (Some(picture), Some(truth)) = (pictures.get(a), real.get(b)) {
                    distances.push(extractor.distance(picture, truth).await?);
                }
                looked();
            }
        }
        let half = |odd: usize| of_real.iter().skip(odd).step_by(2).cloned().collect::<Vec<_>>();
        let kernel = [of_translated, of_inputs].map(|features| kernel_distance(&features, &of_real, pairs, seed));
        let paired = distances.map(|distances| Interval::of_mean(&distances, seed));
        Ok(FeatureReport {
            kernel_distance: kernel[0].zip(kernel[1]).map(|(translated, doing_nothing)| KernelDistances {
                translated,
                doing_nothing,
                two_halves: kernel_distance(&half(0), &half(1), &[], seed),
            }),
            paired_distance: paired[0]
                .zip(paired[1])
                .map(|(translated, doing_nothing)| PairedDistance { translated, doing_nothing }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::features::tests::extractor;
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
        let Distances { translated, doing_nothing, two_halves, .. } = report.sliced_wasserstein;
        assert!(translated < doing_nothing / 3.0, "{report:?}");
        assert!(two_halves.is_some_and(|halves| halves < doing_nothing / 3.0), "{report:?}");
        let (cycle, identity) = (report.cycle.expect("measured"), report.identity.expect("measured"));
        assert!(cycle.pictures == 4 && (cycle.l1.mean - 4.0 / 3.0).abs() < 1e-4 && cycle.ssim.mean > 0.9, "{cycle:?}");
        assert_eq!((identity.pictures, identity.ssim.mean, identity.l1.mean), (6, 1.0, 0.0));
        let paired = report.paired.expect("two pairs");
        assert_eq!((paired.translated.pictures, paired.doing_nothing.pictures), (2, 2));
        assert!(paired.translated.ssim.mean > paired.doing_nothing.ssim.mean, "{paired:?}");
        assert_eq!(sample.measure(0), Ok(report));
        let interval = report.sliced_wasserstein.translated_interval.expect("four pictures");
        assert!(interval.mean == translated && interval.low <= translated && translated <= interval.high, "{interval}");
        let other = report.sliced_wasserstein.doing_nothing_interval.expect("four pictures");
        assert!(interval.high < other.low, "{interval}, {other}");

        let looks = std::cell::Cell::new(0);
        let extractor = extractor();
        let measured = sample.measure_features(&extractor, 0, || looks.set(looks.get() + 1));
        let features = pollster::block_on(measured).expect("pairs of one size");
        assert_eq!(looks.get(), sample.looks());
        let kernel = features.kernel_distance.expect("four pictures");
        assert!(kernel.translated.mean < kernel.doing_nothing.mean / 3.0, "{kernel:?}");
        assert_eq!(kernel.two_halves, None, "three each");
        let paired = features.paired_distance.expect("two pairs");
        assert!(paired.translated.mean < paired.doing_nothing.mean / 3.0, "{paired:?}");
    }

    #[test]
    fn what_there_is_nothing_for_is_left_out() {
        let one = vec![striped(3, 25, 0)];
        let sample = Sample { inputs: one.clone(), translated: one.clone(), real: one, ..Sample::default() };
        let report = sample.measure(0).expect("one picture each");
        assert_eq!((report.cycle, report.identity, report.paired), (None, None, None));
        assert_eq!(report.sliced_wasserstein.two_halves, None);
        assert_eq!(report.sliced_wasserstein.translated_interval, None);
        let features = pollster::block_on(sample.measure_features(&extractor(), 0, || ())).expect("one picture each");
        assert_eq!(features, FeatureReport { kernel_distance: None, paired_distance: None });
        assert_eq!(Sample::default().measure(0), Err(EvaluateError::NoPictures));
    }
}
