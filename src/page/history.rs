//! The losses of a training, kept short enough to draw, and the geometry of their curves.

use crate::protocol::Losses;

/// The four curves that are drawn, each for both directions.
pub const CURVES: [&str; 4] = ["Adversarial", "Cycle", "Identity", "Discriminator"];

/// More points than this are never kept: neighbours are averaged and the spacing doubles.
const MOST_POINTS: usize = 1024;

/// Losses at one step, or the mean over some steps: for each of [`CURVES`] one value a direction.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    /// The last step in it.
    pub step: u64,
    /// `[curve][direction]`.
    pub values: [[f64; 2]; 4],
}

/// Losses from the first step to now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    points: Vec<Point>,
    /// Steps in the last point, and how many make it full.
    filled: u32,
    spacing: u32,
}

impl History {
    /// Adds the losses of one step.
    pub fn push(&mut self, step: u64, losses: &Losses) {
        let pair = |a: f32, b: f32| [f64::from(a), f64::from(b)];
        let values = [
            pair(losses.adversarial_ab, losses.adversarial_ba),
            pair(losses.cycle_a, losses.cycle_b),
            pair(losses.identity_b, losses.identity_a),
            pair(losses.discriminator_b, losses.discriminator_a),
        ];
        self.spacing = self.spacing.max(1);
        match self.points.last_mut() {
            Some(last) if self.filled < self.spacing => {
                self.filled += 1;
                *last = Point { step, values: mix(&last.values, &values, 1.0 / f64::from(self.filled)) };
            }
            _ => {
                self.points.push(Point { step, values });
                self.filled = 1;
            }
        }
        if self.points.len() > MOST_POINTS && self.filled == self.spacing {
            self.halve();
        }
    }

    fn halve(&mut self) {
        let merged = self.points.chunks(2).map(|pair| match pair {
            [first, second] => Point { step: second.step, values: mix(&first.values, &second.values, 0.5) },
            rest => rest[0],
        });
        let odd = !self.points.len().is_multiple_of(2);
        self.points = merged.collect();
        self.filled = if odd { self.spacing } else { self.spacing * 2 };
        self.spacing *= 2;
    }

    /// Whether there is nothing to draw.
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// The steps and values of one curve in one direction, smoothed: each value is `smoothing` times the
    /// one before plus the rest of itself, with the start corrected as in Adam (so that it is no slope from 0).
    pub fn curve(&self, curve: usize, direction: usize, smoothing: f64) -> Vec<(f64, f64)> {
        let (mut mean, mut weight) = (0.0, 0.0);
        let finite = self.points.iter().filter(|point| point.values[curve][direction].is_finite());
        finite
            .map(|point| {
                mean = smoothing * mean + (1.0 - smoothing) * point.values[curve][direction];
                weight = smoothing * weight + (1.0 - smoothing);
                (point.step as f64, mean / weight)
            })
            .collect()
    }
}

fn mix(a: &[[f64; 2]; 4], b: &[[f64; 2]; 4], share: f64) -> [[f64; 2]; 4] {
    std::array::from_fn(|curve| std::array::from_fn(|way| a[curve][way] * (1.0 - share) + b[curve][way] * share))
}

/// Round tick values from at most `least` to at least `largest` (three to seven), 0 among them.
pub fn ticks(least: f64, largest: f64) -> Vec<f64> {
    let [least, largest] = [least.min(0.0), largest.max(0.0)];
    let span = largest - least;
    if !span.is_finite() || span <= 0.0 {
        return vec![0.0, 1.0];
    }
    let rough = span / 4.0;
    let mut unit = 1.0;
    while unit * 10.0 <= rough {
        unit *= 10.0;
    }
    while unit > rough {
        unit /= 10.0;
    }
    let step = [1.0, 2.0, 2.5, 5.0, 10.0].map(|factor| factor * unit).into_iter().find(|step| *step >= rough);
    let step = step.unwrap_or(unit * 10.0);
    let count = |bound: f64| (bound / step - 1e-9).ceil() as i64;
    (-count(-least)..=count(largest)).map(|tick| tick as f64 * step).collect()
}

/// Decimals that tell numbers this far apart exactly.
pub fn decimals(step: f64) -> u32 {
    let mut scaled = step.abs();
    for digits in 0..9 {
        if (scaled - scaled.round()).abs() <= 1e-6 * scaled {
            return digits;
        }
        scaled *= 10.0;
    }
    9
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cycle(value: f32) -> Losses {
        Losses { cycle_a: value, ..Losses::default() }
    }

    #[test]
    fn a_long_training_stays_short_and_keeps_its_shape() {
        let mut history = History::default();
        for step in 1..=50_000_u64 {
            history.push(step, &cycle(step as f32));
        }
        let curve = history.curve(1, 0, 0.0);
        assert!(curve.len() <= MOST_POINTS + 1 && curve.len() > MOST_POINTS / 3, "{}", curve.len());
        // Means over neighbours of a straight line lie on it, half a spacing behind.
        let spacing = f64::from(history.spacing);
        for (step, value) in &curve[..curve.len() - 1] {
            assert!((step - value).abs() <= spacing, "{value} at {step}");
        }
        assert!(curve.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert_eq!(curve.last().map(|last| last.0), Some(50_000.0));
    }

    #[test]
    fn smoothing_starts_at_the_first_value_and_calms_the_rest() {
        let mut history = History::default();
        for step in 1..=100 {
            history.push(step, &cycle(if step % 2 == 0 { 1.0 } else { 3.0 }));
        }
        let raw = history.curve(1, 0, 0.0);
        assert_eq!((raw[0].1, raw[1].1), (3.0, 1.0));
        let calm = history.curve(1, 0, 0.9);
        assert!((calm[0].1 - 3.0).abs() < 1e-12);
        assert!((calm[99].1 - 2.0).abs() < 0.1, "{}", calm[99].1);
    }

    #[test]
    fn values_that_are_no_numbers_are_left_out() {
        let mut history = History::default();
        history.push(1, &cycle(f32::NAN));
        history.push(2, &cycle(1.0));
        assert_eq!(history.curve(1, 0, 0.5), [(2.0, 1.0)]);
    }

    #[test]
    fn directions_are_those_of_the_generators() {
        let mut history = History::default();
        let losses = Losses { discriminator_b: 7.0, identity_a: 5.0, ..Losses::default() };
        history.push(1, &losses);
        assert_eq!(history.curve(3, 0, 0.0)[0].1, 7.0);
        assert_eq!(history.curve(2, 1, 0.0)[0].1, 5.0);
    }

    #[test]
    fn ticks_are_round_and_cover_the_values() {
        assert_eq!(ticks(0.0, 0.9), [0.0, 0.25, 0.5, 0.75, 1.0]);
        assert_eq!(ticks(0.0, 4.0), [0.0, 1.0, 2.0, 3.0, 4.0]);
        assert_eq!(ticks(0.0, 600.0), [0.0, 200.0, 400.0, 600.0]);
        assert_eq!(ticks(0.0, f64::NAN), [0.0, 1.0]);
        assert_eq!(ticks(-3.0, 5.0), [-4.0, -2.0, 0.0, 2.0, 4.0, 6.0]);
        assert_eq!(ticks(-2.0, -1.0), [-2.0, -1.5, -1.0, -0.5, 0.0]);
        for largest in [1e-4, 0.013, 0.37, 1.0, 7.7, 99.0, 12_000.0] {
            let ticks = ticks(0.0, largest);
            assert!((3..=7).contains(&ticks.len()), "{largest}: {ticks:?}");
            assert!(ticks.last().is_some_and(|last| *last >= largest * 0.999 && *last < largest * 2.0));
        }
    }

    #[test]
    fn numbers_beside_an_axis_are_as_far_apart_as_its_lines() {
        let told = |largest: f64| {
            let ticks = ticks(0.0, largest);
            let digits = decimals(ticks[1] - ticks[0]);
            ticks.iter().map(|tick| crate::page::format::decimal(*tick, digits)).collect::<Vec<_>>()
        };
        assert_eq!(told(10.0), ["0.0", "2.5", "5.0", "7.5", "10.0"]);
        assert_eq!(told(0.9), ["0.00", "0.25", "0.50", "0.75", "1.00"]);
        assert_eq!(told(0.1), ["0.000", "0.025", "0.050", "0.075", "0.100"]);
        assert_eq!(told(600.0), ["0", "200", "400", "600"]);
        assert_eq!(decimals(1e-30), 9);
    }
}
