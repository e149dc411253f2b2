//! What the losses say when a training is in trouble, in words.

use crate::config::{GanMode, TrainConfig};
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
    /// The smallest that the running mean of the generators' [`effort`] was.
    best: f32,
    told: [bool; 3],
}

/// Below which loss a discriminator is sure of nearly everything while its generator's is above the second number;
/// `None` where losses do not say so.
fn sure(mode: GanMode) -> Option<(f32, f32)> {
    match mode {
        // A discriminator that is sure has 0, and its generator 1; one that cannot tell has 0.25 each.
        GanMode::Lsgan => Some((0.01, 0.8)),
        // −ln 0.97 and −ln 0.03: right with 97 % in both. One that cannot tell has ln 2 each.
        GanMode::Vanilla => Some((0.03, 3.5)),
        // Beyond its margin of 1 nearly everywhere; one that cannot tell has 1, and its generator 0.
        GanMode::Hinge => Some((0.04, 1.0)),
        // A distance has no end, and a better critic is a better teacher.
        GanMode::Wgangp => None,
    }
}

/// What the generators' losses come to, of those that mean the same at any time of a training: where a discriminator's
/// scale is its own, an adversarial loss drifts in either direction without telling anything.
fn effort(losses: &Losses, mode: GanMode) -> f32 {
    match mode {
        GanMode::Lsgan | GanMode::Vanilla => losses.generators(),
        GanMode::Wgangp | GanMode::Hinge => losses.cycle_a + losses.cycle_b + losses.identity_a + losses.identity_b,
    }
}

impl Advice {
    /// Takes in the losses of a report; what there is to say about them, in whole sentences.
    pub fn hear(&mut self, losses: &Losses, config: &TrainConfig) -> Option<String> {
        let &TrainConfig { gan_mode, lambda_a: lambda, .. } = config;
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
        let effort = effort(means, gan_mode);
        if self.heard < WARM_UP {
            self.best = effort;
            return None;
        }
        self.best = self.best.min(effort);
        let beaten = sure(gan_mode).and_then(|(below, above)| {
            [(means.discriminator_b, means.adversarial_ab), (means.discriminator_a, means.adversarial_ba)]
                .iter()
                .position(|(judge, generator)| *judge < below && *generator > above)
        });
        let unchanged = means.cycle_a.max(means.cycle_b) < 0.01 * lambda && lambda > 0.0;
        let rising = effort > 2.0 * self.best && self.best > 0.0;
        if let Some(way) = beaten
            && !std::mem::replace(&mut self.told[0], true)
        {
            let fake = [&config.domain_b, &config.domain_a][way];
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

    fn said_of(gan_mode: GanMode, losses: impl Fn(u32) -> Losses) -> Vec<(u32, String)> {
        let config = TrainConfig { gan_mode, domain_a: "cat".into(), domain_b: "dog".into(), ..TrainConfig::default() };
        let mut advice = Advice::default();
        (0..3000).filter_map(|report| Some((report, advice.hear(&losses(report), &config)?))).collect()
    }

    fn said(losses: impl Fn(u32) -> Losses) -> Vec<(u32, String)> {
        said_of(GanMode::Lsgan, losses)
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
        nce: None,
        nce_y: None,
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

    #[test]
    fn a_sure_discriminator_is_judged_by_its_own_loss() {
        let at = |judge, generator| move |_| Losses { discriminator_b: judge, adversarial_ab: generator, ..GOOD };
        // Sure of what is generated, undecided, and well on its way: for each mode.
        let cases = [
            (GanMode::Lsgan, (0.0, 1.0), (0.25, 0.25), (0.05, 0.7)),
            (GanMode::Vanilla, (0.01, 5.0), (0.69, 0.69), (0.2, 1.8)),
            (GanMode::Hinge, (0.0, 1.5), (1.0, 0.0), (0.3, 0.8)),
        ];
        for (mode, sure, undecided, better) in cases {
            let won = said_of(mode, at(sure.0, sure.1));
            assert!(matches!(&won[..], [(_, text)] if text.contains("generated dog")), "{mode:?} {won:?}");
            for (judge, generator) in [undecided, better] {
                assert_eq!(said_of(mode, at(judge, generator)), [], "{mode:?}");
            }
        }
    }

    #[test]
    fn losses_without_a_scale_are_no_reason_for_alarm() {
        // From −40 to 110 while the discriminators go on learning.
        let drifting = |report: u32| {
            let far = report as f32 / 20.0;
            Losses { adversarial_ab: far - 40.0, adversarial_ba: 2.0 * far, ..GOOD }
        };
        let growing = |report: u32| Losses { discriminator_a: report as f32 / -20.0, ..drifting(report) };
        assert_eq!(said_of(GanMode::Wgangp, growing), []);
        for mode in [GanMode::Wgangp, GanMode::Hinge] {
            assert_eq!(said_of(mode, drifting), [], "{mode:?}");
            let rising = said_of(mode, |report| Losses { cycle_a: if report < 1000 { 1.2 } else { 12.0 }, ..GOOD });
            assert!(matches!(&rising[..], [(_, text)] if text.contains("doubled")), "{rising:?}");
        }
    }
}
