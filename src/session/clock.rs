//! A training by the clock: how many steps fit into its minutes.

use web_time::Instant;

use crate::config::TrainConfig;
use crate::training::trainer::Spent;

/// Steps that are not measured: the first ones set things up.
const SKIPPED: u64 = 3;
/// Steps that are measured at least, unless they are very slow.
const MEASURED: u64 = 5;
/// The share of the time that is measured, and the one after which one step has to do.
const MEASURED_SHARE: [f64; 2] = [0.04, 0.2];
/// When the number of steps is looked at again, as shares of the time and of the steps, whichever comes first.
const LOOKED_AT: [f64; 2] = [0.5, 0.85];
/// A pace that changes the number of steps by less is the same pace.
const SAME_PACE: f64 = 0.01;
/// Previews, checkpoints and measurements in the time.
const WRITTEN: [u64; 3] = [20, 10, 4];

/// The clock of a training by the clock. It stands still while the training does.
#[derive(Clone, Debug)]
pub struct Clock {
    /// When it was last looked at.
    last: Option<Instant>,
    /// Step and time from which the pace is measured.
    mark: Option<(u64, f64)>,
    /// The first step that it saw.
    first: Option<u64>,
    /// Which of [`LOOKED_AT`] comes next; `None` in a training that was resumed with its steps known: it has to come to
    /// what it would have come to.
    next: Option<usize>,
}

impl Clock {
    /// The clock of a training that begins or goes on.
    pub fn new(spent: Spent) -> Self {
        Self { last: None, mark: None, first: None, next: (!spent.is_sized).then_some(0) }
    }

    /// The training pauses.
    pub fn stop(&mut self) {
        self.last = None;
    }

    /// The training goes: adds the time since it last went.
    pub fn tick(&mut self, spent: &mut Spent) {
        let now = Instant::now();
        spent.seconds += self.last.map_or(0.0, |last| (now - last).as_secs_f64());
        self.last = Some(now);
    }

    /// Looks at the pace after step `step`; the number of steps in all, when that is another than in `config`.
    pub fn size(&mut self, step: u64, spent: &mut Spent, config: &TrainConfig) -> Option<u64> {
        let (total, now) = (60.0 * config.minutes, spent.seconds);
        let first = *self.first.get_or_insert(step);
        let next = self.next?;
        let Some((from, since)) = self.mark else {
            // Steps of the discriminators alone are faster.
            let is_usual = step >= (first + SKIPPED).max(config.warmup_d) || now > MEASURED_SHARE[1] * total;
            self.mark = is_usual.then_some((step, now));
            return None;
        };
        let (made, took) = (step.saturating_sub(from), now - since);
        if made == 0 || took <= 0.0 {
            return None;
        }
        let left = ((total - now).max(0.0) * made as f64 / took).floor() as u64;
        let steps = step + left.max(1);
        if !spent.is_sized {
            let [enough, much] = MEASURED_SHARE.map(|share| share * total);
            if took < enough || made < MEASURED && took < much {
                return None;
            }
            spent.is_sized = true;
        } else {
            let share = *LOOKED_AT.get(next)?;
            if now < share * total && (step as f64) < share * config.steps as f64 {
                return None;
            }
            self.next = Some(next + 1);
            if steps.abs_diff(config.steps) as f64 <= SAME_PACE * config.steps as f64 {
                return None;
            }
        }
        self.mark = Some((step, now));
        Some(steps)
    }
}

/// What is written so many times in a training of `steps` steps, where it is written at all.
pub fn spread(config: &mut TrainConfig, steps: u64) {
    let TrainConfig { preview_every, checkpoint_every, evaluate_every, .. } = config;
    for (every, times) in [preview_every, checkpoint_every, evaluate_every].into_iter().zip(WRITTEN) {
        if *every > 0 {
            *every = (steps / times).max(1);
        }
    }
    config.steps = steps;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::UNSIZED;

    /// Trains for a minute at a pace that is a function of the time; the seconds that it took, and every size.
    fn trained(seconds_a_step: impl Fn(f64) -> f64) -> (f64, Vec<u64>) {
        let mut config = TrainConfig { minutes: 1.0, steps: UNSIZED, ..TrainConfig::default() };
        let (mut clock, mut spent, mut sizes) = (Clock::new(Spent::default()), Spent::default(), Vec::new());
        let mut step = 0;
        while step < config.steps {
            // The first step takes long.
            spent.seconds += if step == 0 { 2.0 } else { seconds_a_step(spent.seconds) };
            step += 1;
            if let Some(steps) = clock.size(step, &mut spent, &config) {
                assert!(spent.is_sized && steps > step);
                config.steps = steps;
                sizes.push(steps);
            }
        }
        (spent.seconds, sizes)
    }

    #[test]
    fn it_ends_on_time_at_any_constant_pace() {
        for pace in [0.002, 0.05, 0.7] {
            let (seconds, sizes) = trained(|_| pace);
            assert!((57.0..=63.0).contains(&seconds), "{pace}: {seconds}");
            assert_eq!(sizes.len(), 1, "{pace}: {sizes:?}");
        }
    }

    #[test]
    fn a_change_of_pace_is_corrected() {
        for (before, after) in [(0.05, 0.1), (0.1, 0.04)] {
            let (seconds, sizes) = trained(|now| if now < 15.0 { before } else { after });
            assert!((57.0..=63.0).contains(&seconds), "{before} to {after}: {seconds}, {sizes:?}");
            assert!((2..=3).contains(&sizes.len()), "{sizes:?}");
        }
    }

    #[test]
    fn a_resumed_training_keeps_its_steps() {
        let spent = Spent { seconds: 20.0, is_sized: true };
        let config = TrainConfig { minutes: 1.0, steps: 100, ..TrainConfig::default() };
        let (mut clock, mut later) = (Clock::new(spent), spent);
        for step in 30..100 {
            later.seconds += 5.0;
            assert_eq!(clock.size(step, &mut later, &config), None);
        }
    }

    #[test]
    fn what_is_written_is_spread_over_the_steps() {
        let mut config =
            TrainConfig { preview_every: 200, checkpoint_every: 0, evaluate_every: 9, ..Default::default() };
        spread(&mut config, 1000);
        assert_eq!(
            (config.steps, config.preview_every, config.checkpoint_every, config.evaluate_every),
            (1000, 50, 0, 250)
        );
    }
}
