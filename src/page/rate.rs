//! How many frames a second are shown.

use std::collections::VecDeque;

/// Milliseconds over which frames are counted.
const WINDOW: f64 = 2_000.0;

/// Counts frames.
#[derive(Clone, Debug, Default)]
pub struct Rate(VecDeque<(f64, u32)>);

impl Rate {
    /// Takes note that `count` frames have been shown by `now`, in milliseconds.
    pub fn note(&mut self, now: f64, count: u32) {
        if self.0.back().is_some_and(|(_, last)| *last > count) {
            // It began anew.
            self.0.clear();
        }
        if self.0.back().is_none_or(|(_, last)| *last < count) {
            self.0.push_back((now, count));
        }
        while self.0.len() > 2 && self.0.front().is_some_and(|(then, _)| now - then > WINDOW) {
            self.0.pop_front();
        }
    }

    /// Frames a second, once there were two.
    pub fn per_second(&self) -> Option<f64> {
        let ((then, first), (now, last)) = (self.0.front()?, self.0.back()?);
        (now > then).then(|| f64::from(last - first) * 1e3 / (now - then))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_seconds_count() {
        let mut rate = Rate::default();
        assert_eq!(rate.per_second(), None);
        rate.note(0.0, 1);
        assert_eq!(rate.per_second(), None);
        for frame in 1..=10 {
            rate.note(f64::from(frame) * 500.0, frame + 1);
            rate.note(f64::from(frame) * 500.0 + 9.0, frame + 1);
        }
        assert_eq!(rate.per_second(), Some(2.0), "the same frame shown twice is one");
        for frame in 1..=50 {
            rate.note(5_000.0 + f64::from(frame) * 100.0, 11 + frame);
        }
        assert_eq!(rate.per_second(), Some(10.0), "what was long ago is forgotten");
        rate.note(20_000.0, 1);
        assert_eq!(rate.per_second(), None, "a new camera begins anew");
    }

    #[test]
    fn frames_rarer_than_the_window_still_have_a_rate() {
        let mut rate = Rate::default();
        for frame in 0..4 {
            rate.note(f64::from(frame) * 4_000.0, frame);
        }
        assert_eq!(rate.per_second(), Some(0.25));
    }
}
