//! What one sees of a training while it runs: a live view on a terminal, a line now and then in a pipe.

use std::time::{Duration, Instant};

use indicatif::{FormattedDuration, ProgressBar, ProgressStyle};

use crate::config::UNSIZED;
use crate::protocol::Losses;

/// Seconds between lines where there is no terminal.
const SECONDS: u64 = 30;

/// A step as it is told.
pub struct Step {
    /// Steps made.
    pub step: u64,
    /// Epochs begun.
    pub epoch: u32,
    /// The loss terms.
    pub losses: Losses,
    /// The learning rate.
    pub learning_rate: f64,
    /// Steps a second.
    pub steps_per_second: f32,
}

/// The view.
pub struct Progress {
    bar: ProgressBar,
    steps: u64,
    /// Images of both domains that a step sees.
    images_per_step: u64,
    told: Option<Instant>,
}

impl Progress {
    /// A view of a training whose steps see so many images of both domains together.
    pub fn new(images_per_step: u64) -> Self {
        let style = ProgressStyle::with_template("{bar:40} {pos}/{len} steps\n{msg}");
        let bar = ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { bar, steps: 0, images_per_step, told: None }
    }

    /// It goes from one step to another.
    pub fn begin(&mut self, step: u64, steps: u64) {
        self.length(steps);
        self.bar.set_position(step);
    }

    /// It goes to another step than was thought.
    pub fn length(&mut self, steps: u64) {
        self.steps = steps;
        self.bar.set_length(steps);
    }

    /// A line that stays.
    pub fn say(&self, line: &str) {
        self.bar.suspend(|| eprintln!("{line}"));
    }

    /// A line of results.
    pub fn result(&self, line: &str) {
        self.bar.suspend(|| println!("{line}"));
    }

    /// A step was made.
    pub fn step(&mut self, step: &Step) {
        self.bar.set_position(step.step);
        if !self.bar.is_hidden() {
            self.bar.set_message(self.lines(step, memory()).join("\n"));
        } else if self.told.is_none_or(|told| told.elapsed().as_secs() >= SECONDS) {
            self.told = Some(Instant::now());
            eprintln!("step {}/{}  {}", step.step, self.steps, self.lines(step, memory()).join("  "));
        }
    }

    /// The view is over.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }

    fn lines(&self, step: &Step, memory: Option<u64>) -> [String; 3] {
        let Step { losses: l, steps_per_second: speed, .. } = step;
        let left = self.steps.saturating_sub(step.step) as f64 / f64::from(*speed);
        let known = Duration::try_from_secs_f64(left).ok().filter(|_| self.steps != UNSIZED);
        let left = known.map_or(String::new(), |left| {
            // Whole seconds are enough.
            format!("  {} left", FormattedDuration(Duration::from_secs(left.as_secs())))
        });
        let memory = memory.map_or(String::new(), |bytes| format!("  {} MB", bytes >> 20));
        let pace = format!(
            "epoch {}  {speed:.2} steps/s  {:.1} images/s  learning rate {:.1e}{memory}{left}",
            step.epoch,
            f64::from(*speed) * self.images_per_step as f64,
            step.learning_rate,
        );
        if let Some(nce) = l.nce {
            let of_b = l.nce_y.map_or(String::new(), |nce_y| format!("  NCE_Y {nce_y:.3}"));
            let generator = format!("G {:.3}: G_GAN {:.3}  NCE {nce:.3}{of_b}", l.generators(), l.adversarial_ab);
            return [pace, generator, format!("D {:.3}", l.discriminator_b)];
        }
        let generators = format!(
            "generators {:.3}: adversarial {:.3} {:.3}  cycle {:.3} {:.3}  identity {:.3} {:.3}",
            l.generators(),
            l.adversarial_ab,
            l.adversarial_ba,
            l.cycle_a,
            l.cycle_b,
            l.identity_a,
            l.identity_b
        );
        [pace, generators, format!("discriminators: A {:.3}  B {:.3}", l.discriminator_a, l.discriminator_b)]
    }
}

/// What the process holds in memory, in bytes, where the system tells.
fn memory() -> Option<u64> {
    memory_stats::memory_stats().map(|stats| stats.physical_mem as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_told_in_three_short_lines() {
        let mut progress = Progress::new(4);
        progress.begin(100, 1000);
        let losses = Losses { adversarial_ab: 0.25, cycle_a: 1.5, discriminator_b: 0.125, ..Losses::default() };
        let step = Step { step: 400, epoch: 3, losses, learning_rate: 2e-4, steps_per_second: 2.5 };
        let lines = progress.lines(&step, Some(300 << 20));
        assert_eq!(lines[0], "epoch 3  2.50 steps/s  10.0 images/s  learning rate 2.0e-4  300 MB  00:04:00 left");
        assert!(lines[1].starts_with("generators 1.750: adversarial 0.250 0.000  cycle 1.500 0.000"), "{}", lines[1]);
        assert!(lines[2].ends_with("B 0.125"), "{}", lines[2]);
        assert!(lines.iter().all(|line| line.len() <= 100));
        let losses = Losses { nce: Some(7.0), nce_y: Some(3.0), ..losses };
        let one_sided = progress.lines(&Step { losses, ..step }, None);
        assert_eq!(one_sided[1..], ["G 5.250: G_GAN 0.250  NCE 7.000  NCE_Y 3.000", "D 0.125"]);
        let unknown = progress.lines(&Step { steps_per_second: 0.0, ..step }, None);
        assert!(!unknown[0].contains("left") && !unknown[0].contains("MB"), "{}", unknown[0]);
    }

    #[test]
    fn the_process_takes_memory() {
        let bytes = memory().expect("known on every system that is tested on");
        assert!((1 << 20..1 << 40).contains(&bytes), "{bytes}");
    }
}
