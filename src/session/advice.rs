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
    /// The smallest that the running mean of the generators' total was.
    best: f32,
    told: [bool; 3],
}

impl Advice {
    /// Takes in the losses of a report of the training `config`; what there is to say about them, in whole sentences.
    pub fn hear(&mut self, losses: &Losses, config: &TrainConfig) -> Option<String> {
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
        // What a discriminator that is sure has at most, and its generator at least.
        let (judge_has, generator_has) = match config.gan_mode {
            // 0 and 1; one that cannot tell has 0.25 each.
            GanMode::Lsgan => (0.01, 0.8),
            // 0 and any number; one that cannot tell has ln 2 each.
            GanMode::Vanilla => (0.02, 4.0),
            // 0 and 1 or more; one that cannot tell has 1 and 0.
            GanMode::Hinge => (0.04, 0.9),
            // A critic's scores have no end, and a sure one does no harm.
            GanMode::Wgangp => (f32::NEG_INFINITY, f32::INFINITY),
        };
        let beaten = [(means.discriminator_b, means.adversarial_ab), (means.discriminator_a, means.adversarial_ba)]
            .iter()
            .position(|(judge, generator)| *judge < judge_has && *generator > generator_has);
        let (lambda_a, lambda_b) = (config.lambda_a, config.lambda_b);
        let idle = |cycle: f32, lambda: f32| cycle < 0.01 * lambda;
        let unchanged = idle(means.cycle_a, lambda_a) && idle(means.cycle_b, lambda_b);
        // Scores without an end may rise.
        let rising = config.gan_mode != GanMode::Wgangp && total > 2.0 * self.best && self.best > 0.0;
        let [a, b] = [&config.domain_a, &config.domain_b];
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

    fn said_of(gan_mode: GanMode, losses: impl Fn(u32) -> Losses) -> Vec<(u32, String)> {
        let mut advice = Advice::default();
        let config = TrainConfig { gan_mode, domain_a: "cat".into(), domain_b: "dog".into(), ..TrainConfig::default() };
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
    fn what_a_sure_discriminator_has_depends_on_the_loss() {
        let losses = |adversarial_ba| Losses { discriminator_a: 0.0, adversarial_ba, ..GOOD };
        for (mode, generator, is_beaten) in [
            (GanMode::Lsgan, 1.0, true),
            (GanMode::Vanilla, 1.0, false),
            (GanMode::Vanilla, 9.0, true),
            (GanMode::Hinge, 0.5, false),
            (GanMode::Hinge, 1.2, true),
            (GanMode::Wgangp, 900.0, false),
        ] {
            let said = said_of(mode, |_| losses(generator));
            assert_eq!(said.iter().any(|(_, text)| text.contains("generated cat")), is_beaten, "{mode:?} {said:?}");
        }
    }
}
