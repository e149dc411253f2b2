//! What a configuration says of a one-sided training.

use super::{Choice, Downsample, ModelKind, NetG, TrainConfig, Upsample};

impl TrainConfig {
    /// Whether there is one generator, from A to B, and no way back.
    pub fn is_one_sided(&self) -> bool {
        self.model != ModelKind::CycleGan
    }

    /// The numbers of the maps that a one-sided training compares.
    ///
    /// # Errors
    /// A sentence, when they are no growing list of places in the generator.
    pub fn feature_layers(&self) -> Result<Vec<usize>, String> {
        let down = if self.downsample == Downsample::Blurred { 4 } else { 3 };
        let up = if self.upsample == Upsample::Blurred { 4 } else { 3 };
        let end = 4 + 2 * (down + up) + self.n_blocks as usize;
        let layers: Result<Vec<usize>, _> = self.nce_layers.split(',').map(|layer| layer.trim().parse()).collect();
        let is_good =
            |layers: &Vec<usize>| layers.windows(2).all(|pair| pair[0] < pair[1]) && layers.iter().all(|&n| n < end);
        layers.ok().filter(is_good).ok_or_else(|| {
            let last = (end - 1).to_string();
            ["nce_layers must be a growing list of numbers up to ", &last, " such as 0,4,8,12,16."].concat()
        })
    }

    /// Whether what is particular to it can be trained; the error is a sentence.
    pub(super) fn check_one_sided(&self) -> Result<(), String> {
        self.feature_layers()?;
        let name = self.model.as_str();
        let is_residual = matches!(self.net_g, NetG::Resnet | NetG::MobileResnet);
        if !is_residual || self.checkpoint_activations {
            let wrong = if is_residual { "checkpoint_activations" } else { self.net_g.as_str() };
            return Err([name, " has a residual generator and keeps its activations: not with ", wrong, "."].concat());
        }
        if !self.init_ba.is_empty() || !self.init_da.is_empty() {
            return Err(
                [name, " has no generator from B and no discriminator of A: leave init_ba and init_da away."].concat()
            );
        }
        let is_good = self.nce_t.is_finite() && self.nce_t > 0.0 && (1..=4096).contains(&self.num_patches);
        if !is_good {
            return Err("nce_t must be over 0, num_patches between 1 and 4096.".into());
        }
        Ok(())
    }
}
