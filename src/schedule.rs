//! The learning rate over a training, as a function of the step; [`Plateau`] also looks at the losses.

use crate::config::{LrPolicy, TrainConfig};

/// What a stepped learning rate is multiplied with (official `StepLR(gamma=0.1)`).
const STEP_FACTOR: f64 = 0.1;

/// The learning rate of step `step`, counted from 0. `plateau` is [`Plateau::factor`], which only the policy of that
/// name looks at. A warm-up multiplies whatever the policy says: step 0 has 1/`warmup_steps` of it.
///
/// The policies are the official ones (`models/networks.py`, `get_scheduler`) with a step in the place of an epoch.
pub fn rate(config: &TrainConfig, step: u64, plateau: f64) -> f64 {
    let TrainConfig { learning_rate, steps, decay_from, end_at_zero, lr_decay_steps, warmup_steps, .. } = *config;
    let rate = match config.lr_policy {
        LrPolicy::Linear if end_at_zero => linear_to_zero(learning_rate, step, steps, decay_from),
        LrPolicy::Linear => linear(learning_rate, step, steps, decay_from),
        LrPolicy::Step => learning_rate * STEP_FACTOR.powf((step / lr_decay_steps.max(1)) as f64),
        LrPolicy::Plateau => learning_rate * plateau,
        LrPolicy::Cosine => {
            let past = (step as f64 / steps.max(1) as f64).min(1.0);
            learning_rate * (1.0 + (std::f64::consts::PI * past).cos()) / 2.0
        }
    };
    if step < warmup_steps { rate * (step + 1) as f64 / warmup_steps as f64 } else { rate }
}

/// The discriminators' learning rate, as [`rate`]: of the same course, whatever their heights.
pub fn of_discriminators(config: &TrainConfig, step: u64, plateau: f64) -> f64 {
    if config.lr_d == 0.0 {
        return rate(config, step, plateau);
    }
    rate(&TrainConfig { learning_rate: config.lr_d, ..config.clone() }, step, plateau)
}

/// The configuration with the loss weights of step `step`, counted from 0: those of the cycle-consistency losses (and of
/// the identity losses, which are relative to them) go in a line from their own to `lambda_decay_to` of it in the last
/// step (Wang and Lin 2024, <https://arxiv.org/abs/2408.15374>).
pub fn weights(config: &TrainConfig, step: u64) -> TrainConfig {
    let TrainConfig { steps, lambda_decay_to, lambda_a, lambda_b, .. } = *config;
    let past = (step as f64 / steps.saturating_sub(1).max(1) as f64).min(1.0);
    let share = 1.0 - past * (1.0 - f64::from(lambda_decay_to));
    let of = |lambda: f32| (f64::from(lambda) * share) as f32;
    TrainConfig { lambda_a: of(lambda_a), lambda_b: of(lambda_b), ..config.clone() }
}

/// Constant until `decay_from` (a fraction of all steps), then linear to near zero: the last
/// step's rate is one decay step above 0, as in the paper (section 4: 100 epochs constant, 100
/// epochs of linear decay) and in the official code before 2020, whose last epoch has 2e-6.
pub fn linear(base: f64, step: u64, steps: u64, decay_from: f32) -> f64 {
    let first = (steps as f64 * f64::from(decay_from)).floor();
    let falling = steps as f64 - first;
    let past = step as f64 - first;
    if past <= 0.0 || falling <= 0.0 { base } else { base * (1.0 - past / falling).max(0.0) }
}

/// The same by the official `lambda_rule` as it is used since 2020, when `update_learning_rate` moved to the beginning
/// of an epoch: the fall begins one step earlier, and the last step has a rate of exactly 0.
fn linear_to_zero(base: f64, step: u64, steps: u64, decay_from: f32) -> f64 {
    let first = (steps as f64 * f64::from(decay_from)).floor();
    let falling = steps as f64 - first;
    let past = (step + 2) as f64 - first;
    base * (1.0 - past.max(0.0) / (falling + 1.0)).max(0.0)
}

/// PyTorch's `ReduceLROnPlateau` with the official code's arguments: the rate falls to a fifth when the loss was not
/// one percent below its best for more than five windows. (The official code feeds it a constant 0; here it
/// hears the mean of the generators' total loss over each window.)
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plateau {
    /// What the learning rate is multiplied with.
    pub factor: f64,
    /// The smallest loss so far; infinite before the first.
    pub best: f64,
    /// Windows in a row that were no better.
    pub bad: u32,
}

impl Default for Plateau {
    fn default() -> Self {
        Self { factor: 1.0, best: f64::INFINITY, bad: 0 }
    }
}

impl Plateau {
    const FACTOR: f64 = 0.2;
    const THRESHOLD: f64 = 0.01;
    const PATIENCE: u32 = 5;
    /// A fall of the rate by less than this is none (PyTorch's `eps`).
    const SMALLEST_FALL: f64 = 1e-8;

    /// Takes in the mean loss of one window; `base` is the learning rate that the factor is for.
    pub fn hear(&mut self, loss: f64, base: f64) {
        if loss < self.best * (1.0 - Self::THRESHOLD) {
            (self.best, self.bad) = (loss, 0);
        } else {
            self.bad += 1;
        }
        if self.bad > Self::PATIENCE {
            self.bad = 0;
            let lower = self.factor * Self::FACTOR;
            if base * (self.factor - lower) > Self::SMALLEST_FALL {
                self.factor = lower;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// Written by PyTorch: see `tests/reference/optimisation.py`.
    fn golden() -> Value {
        serde_json::from_str(include_str!("../tests/fixtures/golden/optimisation.json")).expect("committed")
    }

    fn config(golden: &Value) -> TrainConfig {
        TrainConfig {
            learning_rate: golden["base"].as_f64().expect("a number"),
            steps: golden["steps"].as_u64().expect("a number"),
            decay_from: golden["decay_from"].as_f64().expect("a number") as f32,
            lr_decay_steps: golden["lr_decay_steps"].as_u64().expect("a number"),
            ..TrainConfig::default()
        }
    }

    #[test]
    fn every_policy_is_pytorchs() {
        let golden = golden();
        let base = config(&golden);
        let warmup_steps = golden["warmup_steps"].as_u64().expect("a number");
        let kinds = [
            ("linear", base.clone()),
            ("linear_end_at_zero", TrainConfig { end_at_zero: true, ..base.clone() }),
            ("step", TrainConfig { lr_policy: LrPolicy::Step, ..base.clone() }),
            ("cosine", TrainConfig { lr_policy: LrPolicy::Cosine, ..base.clone() }),
            ("linear_warm", TrainConfig { warmup_steps, ..base.clone() }),
            ("cosine_warm", TrainConfig { warmup_steps, lr_policy: LrPolicy::Cosine, ..base.clone() }),
        ];
        assert_eq!(golden["schedules"].as_object().expect("an object").len(), kinds.len());
        for (name, config) in kinds {
            let expected = golden["schedules"][name].as_array().expect("a list");
            assert_eq!(expected.len() as u64, config.steps);
            for (step, expected) in expected.iter().enumerate() {
                let (found, expected) = (rate(&config, step as u64, 1.0), expected.as_f64().expect("a number"));
                assert!((found - expected).abs() <= 1e-9 * base.learning_rate, "{name} {step}: {found}, {expected}");
            }
        }
    }

    #[test]
    fn a_plateau_is_pytorchs() {
        let golden = golden();
        let config = TrainConfig { lr_policy: LrPolicy::Plateau, ..config(&golden) };
        let [metrics, rates] = ["metrics", "rates"].map(|key| golden["plateau"][key].as_array().expect("a list"));
        let mut plateau = Plateau::default();
        for (window, (metric, expected)) in metrics.iter().zip(rates).enumerate() {
            plateau.hear(metric.as_f64().unwrap_or(f64::NAN), config.learning_rate);
            let (found, expected) = (rate(&config, 0, plateau.factor), expected.as_f64().expect("a number"));
            assert!((found - expected).abs() <= 1e-9 * expected, "window {window}: {found}, not {expected}");
        }
        assert!(plateau.factor < 0.05, "it fell twice: {plateau:?}");
    }

    #[test]
    fn cycle_weights_go_in_a_line_and_the_discriminators_follow_the_generators_course() {
        let config = TrainConfig {
            steps: 11,
            lambda_a: 10.0,
            lambda_b: 4.0,
            lambda_decay_to: 0.25,
            learning_rate: 2e-4,
            lr_d: 4e-4,
            ..TrainConfig::default()
        };
        let at = |step| [weights(&config, step).lambda_a, weights(&config, step).lambda_b];
        assert_eq!([at(0), at(5), at(10), at(99)], [[10.0, 4.0], [6.25, 2.5], [2.5, 1.0], [2.5, 1.0]]);
        let constant = TrainConfig { lambda_decay_to: 1.0, lambda_a: 0.1, ..config.clone() };
        assert_eq!(weights(&constant, 7), constant, "to the bit");
        for step in [0, 7, 10] {
            let rate = rate(&config, step, 0.2);
            assert_eq!(of_discriminators(&config, step, 0.2), 2.0 * rate);
            assert_eq!(of_discriminators(&TrainConfig { lr_d: 0.0, ..config.clone() }, step, 0.2), rate);
        }
    }

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
