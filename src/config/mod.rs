//! The one description of a training: defaults of the command line and of the page alike.
//!
//! Plain data, so that the page can show and change it without linking any of the networks.

mod choice;
mod error;
mod one_sided;
mod options;
mod toml;

use serde::{Deserialize, Serialize};

pub use choice::{
    Choice, Downsample, GanMode, InitType, LrPolicy, ModelKind, NetD, NetF, NetG, Norm, Precision, Preprocess, Upsample,
};
pub use error::ConfigError;
use options::options;
pub use options::{Changes, Field, Kind, TOGETHER};

/// The options that say which weights the networks begin with: of the generators from A and from B, of the
/// discriminators of A and of B.
pub const INITS: [&str; 4] = ["init_ab", "init_ba", "init_da", "init_db"];

/// The value of one of the first two [`INITS`] that stands for the weights of the other.
pub const SAME: &str = "same";

/// The number of steps of a training by the clock before it is known: whole numbers up to it are exact in f32.
pub const UNSIZED: u64 = 1 << 24;

/// The smallest training size, in pixels.
const SMALLEST_SIZE: u32 = 32;

// One list for the fields, the flags of the command line and the keys of a TOML file (`options.rs`). Fields stand
// below their group's heading; their documentation is the help that people read.
options! {
/// Everything that decides a training run. Defaults are the official ones of the CycleGAN
/// paper (Zhu et al. 2017, <https://arxiv.org/abs/1703.10593>, section 4 and appendix 7).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    "Data":
    /// Name of the preset it was made from.
    pub preset: String,
    /// Name of domain A, e.g. `horse`.
    pub domain_a: String,
    /// Name of domain B, e.g. `zebra`.
    pub domain_b: String,
    /// Name of the data set, for the weight files' metadata.
    pub data: String,
    /// Licence of the weights that come out, for their metadata.
    pub licence: String,
    /// How pictures are brought to the training size.
    pub preprocess: Preprocess,
    /// Side in pixels of the square training images (official `crop_size`); a multiple of 4. Without cropping
    /// (`preprocess` none), the largest side that is trained on.
    #[serde(alias = "crop_size")]
    pub size: u32,
    /// Side that images are resized to before a random `size` crop; equal to `size` for no crop.
    pub load_size: u32,
    /// Whether images are mirrored at random.
    pub flip: bool,
    /// Images are turned at random by up to so many degrees either way; 0 for never.
    pub rotate: f32,
    /// Brightness, contrast and saturation change at random by up to this fraction; 0 for never.
    pub colour_jitter: f32,
    /// Whether the discriminators see real and fake images through random, differentiable changes of colour,
    /// place and missing parts (Zhao et al. 2020, <https://arxiv.org/abs/2006.10738>): for small sets.
    pub diff_augment: bool,

    "Networks":
    /// What is trained. `cut` and `fastcut` bring their own losses and networks along: `nce_idt`, `lambda_nce`,
    /// `flip_equivariance`, `downsample`, `upsample`, and `fastcut` `decay_from`.
    #[serde(alias = "CUT_mode")]
    pub model: ModelKind,
    /// The generators' kind; the official `resnet_9blocks` and `resnet_6blocks` set `n_blocks`, too.
    #[serde(alias = "netG")]
    pub net_g: NetG,
    /// Channels after the generator's first convolution.
    pub ngf: u32,
    /// Residual blocks of the generator.
    #[serde(alias = "blocks")]
    pub n_blocks: u32,
    /// How the networks halve their maps.
    pub downsample: Downsample,
    /// How the generators double their maps.
    pub upsample: Upsample,
    /// Whether the generators add their input to their output, without the tanh: they begin by handing pictures
    /// through and learn what to change. Their weight files say so; the official layout has no place for it.
    pub skip: bool,
    /// Whether the generators' blocks drop half of their values at random while training.
    pub dropout: bool,
    /// The discriminators' kind.
    #[serde(alias = "netD")]
    pub net_d: NetD,
    /// Channels after the discriminator's first convolution.
    pub ndf: u32,
    /// Layers of a discriminator of the kind `n_layers`; 3 is the 70×70 PatchGAN.
    #[serde(alias = "n_layers_D")]
    pub n_layers: u32,
    /// What `cut` compares patches by.
    #[serde(alias = "netF")]
    pub net_f: NetF,
    /// Numbers that make a patch there.
    #[serde(alias = "netF_nc")]
    pub net_f_nc: u32,
    /// Whether the discriminators' weights are divided by their largest singular value (Miyato et al. 2018).
    pub spectral_norm: bool,
    /// The normalisation layers of all networks.
    pub norm: Norm,
    /// Whether the norms have a scale and a shift that are learned.
    pub affine: bool,
    /// The distribution of the initial weights.
    pub init_type: InitType,
    /// Its scale: the standard deviation of `normal`.
    pub init_gain: f32,
    /// Weights that the generator from A to B begins with: a weight file (`FILE:NAME` for one of several networks in
    /// it), a checkpoint, a model of `static/models` by its name, or `same` for those of the other generator. The
    /// networks are then as the file says. Empty for new weights.
    pub init_ab: String,
    /// The same for the generator from B to A.
    pub init_ba: String,
    /// Weights that the discriminator of A begins with: a weight file or a checkpoint.
    pub init_da: String,
    /// The same for the discriminator of B.
    pub init_db: String,

    "Losses":
    /// The adversarial loss.
    pub gan_mode: GanMode,
    /// Weight of the gradient penalty of `wgangp`.
    pub lambda_gp: f32,
    /// Weight of the discriminators' zero-centred gradient penalty on real pictures, with any adversarial loss (R1,
    /// Mescheder et al. 2018; their γ/2), of the sum over all patches; 0 for none.
    pub lambda_r1: f32,
    /// Weight of the cycle-consistency loss A → B → A.
    #[serde(alias = "lambda_A", alias = "lambda_cycle")]
    pub lambda_a: f32,
    /// Weight of the cycle-consistency loss B → A → B.
    #[serde(alias = "lambda_B")]
    pub lambda_b: f32,
    /// Weight of the identity losses, relative to `lambda_a` and `lambda_b` (0.5 × 10 = 5).
    pub lambda_identity: f32,
    /// What the cycle weights, and the identity weights with them, have come to at the end, as a fraction; they go
    /// there in a line. 1 for constant weights.
    pub lambda_decay_to: f32,
    /// Weight of the adversarial loss of `cut`.
    #[serde(alias = "lambda_GAN")]
    pub lambda_gan: f32,
    /// Weight of its contrastive losses.
    #[serde(alias = "lambda_NCE")]
    pub lambda_nce: f32,
    /// Whether it compares pictures of B with their own translations, too.
    pub nce_idt: bool,
    /// The maps that it compares, by their places in the generator, from 0.
    pub nce_layers: String,
    /// The temperature of its comparisons.
    #[serde(alias = "nce_T")]
    pub nce_t: f32,
    /// Patches of a map that it compares.
    pub num_patches: u32,
    /// Whether patches of other pictures of a batch count as others, too.
    pub nce_includes_all_negatives_from_minibatch: bool,
    /// Whether it translates pictures mirrored at random and compares them with what they were.
    pub flip_equivariance: bool,
    /// Fakes remembered by each image pool; `cut` has none.
    pub pool_size: u32,

    "Optimisation":
    /// Images of each domain in one pass; 1 without cropping (`preprocess` none).
    pub batch_size: u32,
    /// Passes whose gradients are added up before the parameters change.
    pub accumulate: u32,
    /// Training steps in all; `batch_size × accumulate` images of each domain a step.
    pub steps: u64,
    /// Minutes to train, instead of a number of steps: steps, decay and what is written are sized by the measured
    /// speed. 0 for as many steps as said.
    pub minutes: f64,
    /// Learning rate of the generators' Adam, and of the discriminators' where they have none of their own.
    #[serde(alias = "lr")]
    pub learning_rate: f64,
    /// Learning rate of the discriminators; 0 for that of the generators.
    pub lr_d: f64,
    /// How the learning rate goes.
    pub lr_policy: LrPolicy,
    /// Fraction of the steps after which a linear learning rate begins to fall.
    pub decay_from: f32,
    /// Whether a linear learning rate is zero in the last step (the official code counts epochs: since 2020 its whole
    /// last one is at zero), and not one decay step above it, as in the paper and the older code (2e-6 at the end).
    pub end_at_zero: bool,
    /// Steps after which a stepped learning rate falls, and over which a plateau is looked for.
    pub lr_decay_steps: u64,
    /// Steps over which the learning rate rises from zero at the start.
    pub warmup_steps: u64,
    /// First steps in which only the discriminators learn: for generators that know something already.
    pub warmup_d: u64,
    /// Adam's decay of the first moment (official `beta1`).
    pub beta1: f64,
    /// Adam's decay of the second moment.
    pub beta2: f64,
    /// The largest norm of all gradients of an optimiser together; larger ones are scaled down. 0 for no limit.
    pub clip_grad: f32,
    /// Decay of an exponential moving average of the generators, which then is what translates; 0 for none.
    pub ema: f32,
    /// Whether the generators' activations are computed again in the backward pass instead of kept.
    pub checkpoint_activations: bool,
    /// What the products of convolutions are computed in; parameters, sums and everything else stay f32.
    pub precision: Precision,
    /// Seed of every random stream.
    pub seed: u64,

    "What is written":
    /// A preview of the fixed samples every so many steps; 0 for none.
    pub preview_every: u64,
    /// A checkpoint every so many steps; 0 for none.
    pub checkpoint_every: u64,
    /// The generators are measured on held-out pictures every so many steps; 0 for never.
    pub evaluate_every: u64,
}
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            preset: "official".into(),
            domain_a: "A".into(),
            domain_b: "B".into(),
            data: String::new(),
            licence: String::new(),
            preprocess: Preprocess::default(),
            size: 256,
            load_size: 286,
            flip: true,
            rotate: 0.0,
            colour_jitter: 0.0,
            diff_augment: false,
            model: ModelKind::default(),
            net_g: NetG::default(),
            ngf: 64,
            n_blocks: 9,
            downsample: Downsample::default(),
            upsample: Upsample::default(),
            skip: false,
            dropout: false,
            net_d: NetD::default(),
            ndf: 64,
            n_layers: 3,
            net_f: NetF::default(),
            net_f_nc: 256,
            spectral_norm: false,
            norm: Norm::default(),
            affine: false,
            init_type: InitType::default(),
            init_gain: 0.02,
            init_ab: String::new(),
            init_ba: String::new(),
            init_da: String::new(),
            init_db: String::new(),
            gan_mode: GanMode::default(),
            lambda_gp: 10.0,
            lambda_r1: 0.0,
            lambda_a: 10.0,
            lambda_b: 10.0,
            lambda_identity: 0.5,
            lambda_decay_to: 1.0,
            lambda_gan: 1.0,
            lambda_nce: 1.0,
            nce_idt: false,
            nce_layers: "0,4,8,12,16".into(),
            nce_t: 0.07,
            num_patches: 256,
            nce_includes_all_negatives_from_minibatch: false,
            flip_equivariance: false,
            pool_size: 50,
            batch_size: 1,
            accumulate: 1,
            steps: 200 * 1334,
            minutes: 0.0,
            learning_rate: 2e-4,
            lr_d: 0.0,
            lr_policy: LrPolicy::default(),
            decay_from: 0.5,
            end_at_zero: false,
            lr_decay_steps: 50 * 1334,
            warmup_steps: 0,
            warmup_d: 0,
            beta1: 0.5,
            beta2: 0.999,
            clip_grad: 0.0,
            ema: 0.0,
            checkpoint_activations: false,
            precision: Precision::default(),
            seed: 0,
            preview_every: 200,
            checkpoint_every: 0,
            evaluate_every: 0,
        }
    }
}

/// A named starting point for [`TrainConfig`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preset {
    /// As typed in `--preset`.
    pub name: &'static str,
    /// As shown in the page.
    pub label: &'static str,
    /// One sentence for people.
    pub about: &'static str,
}

/// The presets, smallest first.
pub const PRESETS: [Preset; 7] = [
    Preset {
        name: "demo",
        label: "One minute",
        about: "Tiny networks on 32-pixel images that begin by handing pictures through: something to see within a minute.",
    },
    Preset {
        name: "quick",
        label: "Quick look",
        about: "Tiny networks on 32-pixel images: see the parts move within a minute.",
    },
    Preset {
        name: "emoji-64",
        label: "Emoji, 64 px",
        about: "Small networks on 64-pixel images: an hour or two on a processor, minutes on a good GPU.",
    },
    Preset {
        name: "small-128",
        label: "Photos, 128 px",
        about: "Half-width networks with 6 blocks on 128-pixel photos: a day on a processor, an hour or two on a good GPU.",
    },
    Preset {
        name: "official",
        label: "The paper's, 256 px",
        about: "The networks and recipe of the paper: about a day on a good GPU.",
    },
    Preset {
        name: "fastcut",
        label: "FastCUT, 256 px",
        about: "From A to B alone, lighter and faster (Park et al. 2020).",
    },
    Preset { name: "cut", label: "CUT, 256 px", about: "From A to B alone (Park et al. 2020)." },
];

impl Preset {
    /// The preset of that name.
    ///
    /// # Errors
    /// When there is none.
    pub fn named(name: &str) -> Result<Self, ConfigError> {
        let found = PRESETS.iter().find(|preset| preset.name == name).copied();
        found.ok_or_else(|| ConfigError::Preset { name: name.to_owned() })
    }
}

impl TrainConfig {
    /// The preset of that name.
    pub fn preset(name: &str) -> Option<Self> {
        let official = Self::default();
        let config = match name {
            "official" => official,
            "small-128" => Self { size: 128, load_size: 143, ngf: 32, n_blocks: 6, ..official },
            "emoji-64" => Self {
                size: 64,
                load_size: 64,
                ngf: 24,
                n_blocks: 4,
                ndf: 32,
                steps: 12_000,
                preview_every: 100,
                ..official
            },
            // The cycle loss is L1, with a kink where these networks begin: its usual weight would keep them there.
            "demo" => Self {
                size: 32,
                load_size: 32,
                ngf: 8,
                n_blocks: 2,
                upsample: Upsample::Resize,
                skip: true,
                ndf: 16,
                lambda_a: 1.0,
                lambda_b: 1.0,
                lambda_identity: 0.0,
                ema: 0.99,
                steps: 600,
                preview_every: 20,
                ..official
            },
            "quick" => {
                Self { size: 32, load_size: 32, ngf: 8, n_blocks: 2, ndf: 8, steps: 600, preview_every: 20, ..official }
            }
            "cut" => Self { steps: 2 * official.steps, ..official.with_model("cut") },
            "fastcut" => official.with_model("fastcut"),
            _ => return None,
        };
        Some(Self { preset: name.into(), ..config })
    }

    /// The options that may change when a training goes on; all others are what it is.
    pub const MAY_CHANGE: [&'static str; 4] = ["steps", "preview_every", "checkpoint_every", "evaluate_every"];

    /// The first option, if any, in which `other` is another training and not the same one going on.
    pub fn differs(&self, other: &Self) -> Option<&'static Field> {
        let fixed = Self::FIELDS.iter().filter(|field| !Self::MAY_CHANGE.contains(&field.name));
        fixed.into_iter().find(|field| self.get(field.name) != other.get(field.name))
    }

    /// Layers of the discriminators, by their kind; `None` for the one of single pixels.
    pub fn patch_layers(&self) -> Option<u32> {
        match self.net_d {
            NetD::Basic => Some(3),
            NetD::NLayers => Some(self.n_layers),
            NetD::Pixel => None,
        }
    }

    /// What the sides of a training image have to be multiples of: the generator halves them so often.
    pub fn multiple(&self) -> u32 {
        match self.net_g {
            NetG::Unet128 => 128,
            NetG::Unet256 => 256,
            NetG::Resnet | NetG::MobileResnet => 4,
        }
    }

    /// The shortest side that both networks can work on, in pixels; at most `size` where [`check`](Self::check) is content.
    pub fn smallest_side(&self) -> u32 {
        // Three pixels behind the last halving leave one of the discriminator's map.
        let judged = self.patch_layers().map_or(1, |layers| 3 << layers.min(16));
        judged.max(SMALLEST_SIZE).next_multiple_of(self.multiple())
    }

    /// Side of the map that a discriminator makes of a training image; 0 when the image is too small.
    fn discriminator_map(&self) -> u32 {
        // A PatchGAN halves as often as it has layers and then takes two 4×4 convolutions with pad 1.
        self.patch_layers().map_or(self.size, |layers| (self.size >> layers.min(31)).saturating_sub(2))
    }

    /// The configuration in a checkpoint. Those of versions before 0.2 have one weight for both cycle-consistency losses.
    ///
    /// # Errors
    /// When it is not one as written by `serde_json`.
    pub fn from_json(json: &str) -> serde_json::Result<Self> {
        #[derive(Deserialize)]
        struct Cycle {
            lambda_cycle: Option<f32>,
            lambda_b: Option<f32>,
        }
        let config: Self = serde_json::from_str(json)?;
        // `lambda_a` reads it under that name; a name of its own counts before what another brings along.
        let Cycle { lambda_cycle, lambda_b } = serde_json::from_str(json)?;
        Ok(Self { lambda_b: lambda_b.or(lambda_cycle).unwrap_or(config.lambda_b), ..config })
    }

    /// What is wrong with it, in one sentence; `Ok` when a training can start.
    pub fn check(&self) -> Result<(), String> {
        let positive = [
            ("ngf", self.ngf),
            ("n_blocks", self.n_blocks),
            ("ndf", self.ndf),
            ("n_layers", self.n_layers),
            ("net_f_nc", self.net_f_nc),
        ];
        if let Some((name, _)) = positive.iter().find(|(_, value)| *value == 0 || *value > 512) {
            return Err(format!("{name} must be between 1 and 512."));
        }
        if self.size < SMALLEST_SIZE || self.size > 1024 || !self.size.is_multiple_of(4) {
            return Err(format!("The training size must be a multiple of 4 between 32 and 1024, not {}.", self.size));
        }
        let is_scaled = matches!(self.preprocess, Preprocess::ResizeAndCrop | Preprocess::ScaleWidthAndCrop);
        if is_scaled && (self.load_size < self.size || self.load_size > 4096) {
            return Err(format!(
                "load_size must be between the training size {} and 4096, not {}.",
                self.size, self.load_size
            ));
        }
        if self.discriminator_map() == 0 {
            return Err(format!(
                "Images of {} pixels are too small for {} discriminator layers.",
                self.size, self.n_layers
            ));
        }
        if self.steps == 0 {
            return Err("A training needs at least one step.".into());
        }
        if !(0.0..=1.0).contains(&self.decay_from) {
            return Err("decay_from must be between 0 and 1.".into());
        }
        let weights = [
            self.learning_rate as f32,
            self.lr_d as f32,
            self.lambda_r1,
            self.lambda_decay_to,
            self.minutes as f32,
            self.lambda_a,
            self.lambda_b,
            self.lambda_identity,
            self.lambda_gp,
            self.lambda_gan,
            self.lambda_nce,
            self.init_gain,
            self.clip_grad,
        ];
        if weights.iter().any(|weight| !weight.is_finite() || *weight < 0.0) {
            return Err(
                "Learning rates, minutes, loss weights, init_gain and clip_grad must be numbers of 0 or more.".into()
            );
        }
        if [self.beta1, self.beta2, self.ema.into()].iter().any(|decay| !(0.0..1.0).contains(decay)) {
            return Err("beta1, beta2 and ema must be at least 0 and below 1.".into());
        }
        if self.warmup_d >= self.steps {
            return Err("warmup_d must be less than the steps: in them the generators do not learn.".into());
        }
        if [&self.init_da, &self.init_db].into_iter().any(|init| init == SAME) {
            return Err("Only generators can begin with the same weights.".into());
        }
        for (one, other) in [(&self.init_ab, &self.init_ba), (&self.init_ba, &self.init_ab)] {
            if one == SAME && (other.is_empty() || other == SAME) {
                return Err("same stands for the weights of the other generator, which has none.".into());
            }
        }
        if !(0.0..=180.0).contains(&self.rotate) || !(0.0..=1.0).contains(&self.colour_jitter) {
            return Err("rotate must be between 0 and 180 degrees, colour_jitter between 0 and 1.".into());
        }
        if !(1..=64).contains(&self.batch_size) || !(1..=1024).contains(&self.accumulate) {
            return Err("batch_size must be between 1 and 64, accumulate between 1 and 1024.".into());
        }
        if self.preprocess == Preprocess::None && self.batch_size != 1 {
            return Err("Without cropping, pictures differ in size: batch_size must be 1.".into());
        }
        if matches!(self.lr_policy, LrPolicy::Step | LrPolicy::Plateau) && self.lr_decay_steps == 0 {
            return Err("lr_decay_steps must be at least 1.".into());
        }
        if self.skip && !matches!(self.net_g, NetG::Resnet | NetG::MobileResnet) {
            return Err(format!("skip is for residual generators; {} has skips of its own.", self.net_g.as_str()));
        }
        if self.is_one_sided() {
            // Its operations, for each backend, would make the worker a twelfth larger.
            if cfg!(target_family = "wasm") {
                return Err([self.model.as_str(), " trains on the command line; in the page CycleGAN does."].concat());
            }
            self.check_one_sided()?;
        }
        let multiple = self.multiple();
        if !self.size.is_multiple_of(multiple) {
            return Err(format!(
                "{} needs a training size that is a multiple of {multiple}, not {}.",
                self.net_g.as_str(),
                self.size
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_exists_and_can_start() {
        for preset in PRESETS {
            let config = TrainConfig::preset(preset.name).expect("listed presets exist");
            assert_eq!(config.preset, preset.name);
            assert_eq!(config.check(), Ok(()));
        }
        assert_eq!(TrainConfig::preset("no such"), None);
    }

    #[test]
    fn one_weight_of_both_cycles_is_the_weight_of_each() {
        let json = |members: &str| TrainConfig::from_json(&format!("{{\"ngf\":8{members}}}")).expect("a configuration");
        assert_eq!(json(""), TrainConfig { ngf: 8, ..TrainConfig::default() });
        assert_eq!(json(r#","lambda_cycle":7"#), TrainConfig { lambda_a: 7.0, lambda_b: 7.0, ..json("") });
        assert_eq!(json(r#","lambda_cycle":7,"lambda_b":2"#), TrainConfig { lambda_a: 7.0, lambda_b: 2.0, ..json("") });
        assert_eq!(json(r#","lambda_a":7"#), TrainConfig { lambda_a: 7.0, ..json("") });
        assert!(TrainConfig::from_json(r#"{"lambda_cycles":7}"#).is_err());
    }

    #[test]
    fn a_training_that_goes_on_may_be_longer_but_no_other() {
        let config = TrainConfig::default();
        let longer =
            TrainConfig { steps: 1, preview_every: 2, checkpoint_every: 3, evaluate_every: 4, ..config.clone() };
        assert!(config.differs(&longer).is_none());
        let other = TrainConfig { gan_mode: GanMode::Hinge, steps: 1, ..config.clone() };
        assert_eq!(config.differs(&other).map(|field| field.name), Some("gan_mode"));
    }

    #[test]
    fn impossible_sizes_are_refused() {
        let config = |size, load_size| TrainConfig { size, load_size, ..TrainConfig::default() };
        assert!(config(254, 286).check().is_err());
        assert!(config(256, 200).check().is_err());
        assert!(config(16, 16).check().is_err());
        assert!(config(32, 32).check().is_ok());
        let skip = |net_g| TrainConfig { skip: true, net_g, ..config(256, 256) };
        assert!(skip(NetG::Unet256).check().is_err_and(|error| error.contains("unet_256")));
        assert_eq!(skip(NetG::MobileResnet).check(), Ok(()));
        let uncut = TrainConfig { preprocess: Preprocess::None, ..config(256, 0) };
        assert_eq!(uncut.check(), Ok(()), "load_size means nothing without scaling");
    }

    #[test]
    fn the_networks_say_what_sides_they_can_work_on() {
        let config = |net_g, n_layers| TrainConfig { net_g, n_layers, ..TrainConfig::default() };
        assert_eq!((config(NetG::Resnet, 3).multiple(), config(NetG::Resnet, 3).smallest_side()), (4, 32));
        assert_eq!(config(NetG::Resnet, 5).smallest_side(), 96);
        assert_eq!(config(NetG::MobileResnet, 6).smallest_side(), 192);
        assert_eq!((config(NetG::Unet128, 3).multiple(), config(NetG::Unet128, 3).smallest_side()), (128, 128));
        assert_eq!((config(NetG::Unet256, 3).multiple(), config(NetG::Unet256, 3).smallest_side()), (256, 256));
        for n_layers in 1..8 {
            let one =
                TrainConfig { size: config(NetG::Resnet, n_layers).smallest_side(), ..config(NetG::Resnet, n_layers) };
            assert!(one.discriminator_map() >= 1, "{n_layers}");
        }
    }
}
