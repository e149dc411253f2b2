//! What the losses say when a training is in trouble, in words.

use crate::protocol::Losses;

/// Reports before anything is said: every training begins with wild losses.
const WARM_UP: u32 = 300;
/// Weight of the newest report in the running means.
const SHARE: f32 = 0.01;

/// Listens to the losses and speaks up, each thing once.
#[derive(Clone, Debug, Default)]
pub struct Advice {
    heard: u32,
    /// Running means.
    means: Losses,
    /// The smallest that the running mean of the generators' total was.
    best: f32,
    told: [bool; 3],
}

impl Advice {
    /// Takes in the losses of a report; what there is to say about them, in whole sentences.
    /// `lambda` is what the cycle losses are weighted with.
    pub fn hear(&mut self, losses: &Losses, lambda: f32, domains: [&str; 2]) -> Option<String> {
        self.heard = self.heard.saturating_add(1);
        let share = if self.heard == 1 { 1.0 } else { SHARE };
        let mix = |mean: &mut f32, new: f32| *mean += (new - *mean) * share;
        let means = &mut self.means;
        mix(&mut means.adversarial_ab, losses.adversarial_ab);
        mix(&mut means.adversarial_ba, losses.adversarial_ba);
        mix(&mut means.cycle_a, losses.cycle_a);
        mix(&mut means.cycle_b, losses.cycle_b);
        mix(&mut means.identity_a, losses.identity_a);
        mix(&mut means.identity_b, losses.identity_b);
        mix(&mut means.discriminator_a, losses.discriminator_a);
        mix(&mut means.discriminator_b, losses.discriminator_b);
        let total = means.generators();
        if self.heard < WARM_UP {
            self.best = total;
            return None;
        }
        self.best = self.best.min(total);
        // Least squares: a discriminator that is sure has 0, and its generator 1; one that cannot tell has 0.25 each.
        let beaten = [(means.discriminator_b, means.adversarial_ab), (means.discriminator_a, means.adversarial_ba)]
            .iter()
            .position(|(judge, generator)| *judge < 0.01 && *generator > 0.8);
        let unchanged = means.cycle_a.max(means.cycle_b) < 0.01 * lambda && lambda > 0.0;
        let rising = total > 2.0 * self.best && self.best > 0.0;
        let [a, b] = domains;
        if let Some(way) = beaten
            && !std::mem::replace(&mut self.told[0], true)
        {
            let fake = [b, a][way];
            return Some(format!(
                "The discriminator tells every generated {fake} from a real one, so the generator learns little from \
                 it. More pictures, a lower learning rate or a narrower discriminator may help."
            ));
        }
        if unchanged && !std::mem::replace(&mut self.told[1], true) {
            return Some(
                "The pictures come back almost unchanged: the generators may be doing next to nothing. \
                 A lower cycle or identity weight gives them more freedom."
                    .into(),
            );
        }
        if rising && !std::mem::replace(&mut self.told[2], true) {
            return Some(
                "The generators' losses have doubled since their best: the training may be coming apart. \
                 A lower learning rate is steadier."
                    .into(),
            );
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(losses: impl Fn(u32) -> Losses) -> Vec<(u32, String)> {
        let mut advice = Advice::default();
        (0..3000).filter_map(|report| Some((report, advice.hear(&losses(report), 10.0, ["cat", "dog"])?))).collect()
    }

    const GOOD: Losses = Losses {
        adversarial_ab: 0.4,
        adversarial_ba: 0.4,
        cycle_a: 1.2,
        cycle_b: 1.2,
        identity_a: 0.5,
        identity_b: 0.5,
        discriminator_a: 0.2,
        discriminator_b: 0.2,
    };

    #[test]
    fn a_healthy_training_is_left_alone_and_so_is_a_wild_start() {
        assert_eq!(said(|report| if report < 100 { Losses { cycle_a: 50.0, ..GOOD } } else { GOOD }), []);
    }

    #[test]
    fn each_trouble_is_named_once() {
        let won = said(
            |report| if report < 500 { GOOD } else { Losses { discriminator_a: 0.0, adversarial_ba: 1.0, ..GOOD } },
        );
        assert!(matches!(&won[..], [(report, text)] if *report > 500 && text.contains("generated cat")), "{won:?}");
        let idle = said(|_| Losses { cycle_a: 0.01, cycle_b: 0.02, ..GOOD });
        assert!(matches!(&idle[..], [(_, text)] if text.contains("unchanged")), "{idle:?}");
        let rising = said(|report| Losses { cycle_a: if report < 1000 { 1.2 } else { 12.0 }, ..GOOD });
        assert!(matches!(&rising[..], [(_, text)] if text.contains("doubled")), "{rising:?}");
    }
}
