//! The numbers of a training that can be set by hand.

use crate::config::TrainConfig;

/// A number that can be set by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// `TrainConfig::size`; the load size grows with it.
    Size,
    /// `TrainConfig::ngf`.
    Ngf,
    /// `TrainConfig::n_blocks`.
    Blocks,
    /// `TrainConfig::ndf`.
    Ndf,
    /// `TrainConfig::steps`.
    Steps,
    /// `TrainConfig::learning_rate`, in units of 0.0001.
    LearningRate,
    /// `TrainConfig::decay_from`, in percent.
    DecayFrom,
    /// `TrainConfig::lambda_a` and `lambda_b` alike.
    LambdaCycle,
    /// `TrainConfig::lambda_identity`.
    LambdaIdentity,
    /// `TrainConfig::seed`.
    Seed,
    /// `TrainConfig::preview_every`.
    PreviewEvery,
    /// `TrainConfig::flip`: 0 or 1.
    Flip,
}

impl Field {
    /// Every field, with the id of its control in the page.
    pub const ALL: [(Self, &'static str); 12] = [
        (Self::Size, "train-size"),
        (Self::Ngf, "train-ngf"),
        (Self::Blocks, "train-blocks"),
        (Self::Ndf, "train-ndf"),
        (Self::Steps, "train-steps"),
        (Self::LearningRate, "train-rate"),
        (Self::DecayFrom, "train-decay"),
        (Self::LambdaCycle, "train-cycle"),
        (Self::LambdaIdentity, "train-identity"),
        (Self::Seed, "train-seed"),
        (Self::PreviewEvery, "train-preview"),
        (Self::Flip, "train-flip"),
    ];

    /// Its value in `config`, in the field's unit.
    pub fn get(self, config: &TrainConfig) -> f64 {
        match self {
            Self::Size => config.size.into(),
            Self::Ngf => config.ngf.into(),
            Self::Blocks => config.n_blocks.into(),
            Self::Ndf => config.ndf.into(),
            Self::Steps => config.steps as f64,
            // Rounded, so that 2e-4 is 2 and not 2.0000000000000004.
            Self::LearningRate => (config.learning_rate * 1e8).round() / 1e4,
            Self::DecayFrom => (f64::from(config.decay_from) * 100.0).round(),
            Self::LambdaCycle => config.lambda_a.into(),
            Self::LambdaIdentity => config.lambda_identity.into(),
            Self::Seed => config.seed as f64,
            Self::PreviewEvery => config.preview_every as f64,
            Self::Flip => u8::from(config.flip).into(),
        }
    }

    /// Puts `value`, in the field's unit, into `config`.
    pub fn set(self, config: &mut TrainConfig, value: f64) {
        match self {
            Self::Size => {
                let load_size = f64::from(config.load_size) / f64::from(config.size.max(1)) * value;
                (config.size, config.load_size) = (value as u32, load_size.round() as u32);
            }
            Self::Ngf => config.ngf = value as u32,
            Self::Blocks => config.n_blocks = value as u32,
            Self::Ndf => config.ndf = value as u32,
            Self::Steps => config.steps = value as u64,
            Self::LearningRate => config.learning_rate = value * 1e-4,
            Self::DecayFrom => config.decay_from = (value / 100.0) as f32,
            Self::LambdaCycle => (config.lambda_a, config.lambda_b) = (value as f32, value as f32),
            Self::LambdaIdentity => config.lambda_identity = value as f32,
            Self::Seed => config.seed = value as u64,
            Self::PreviewEvery => config.preview_every = value as u64,
            Self::Flip => config.flip = value != 0.0,
        }
    }
}
