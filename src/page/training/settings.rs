//! The settings of a training as the page shows them: the options of the one list in [`crate::config`], each under a
//! name for people.

use crate::config::{Field, GanMode, Kind, LrPolicy, NetD, NetG, Preprocess, TrainConfig};

/// The options that can be set, with their names for people. They stand in the order and the groups of
/// [`TrainConfig::FIELDS`].
pub const SETTINGS: [(&str, &str); 46] = [
    ("preprocess", "Bringing to size"),
    ("size", "Image side, px"),
    ("load_size", "Resized to, px"),
    ("flip", "Mirror at random"),
    ("rotate", "Rotation, degrees"),
    ("colour_jitter", "Change of colours"),
    ("diff_augment", "DiffAugment"),
    ("net_g", "Generator"),
    ("ngf", "Generator width"),
    ("n_blocks", "Residual blocks"),
    ("upsample", "Upsampling"),
    ("skip", "Skip to the output"),
    ("dropout", "Dropout"),
    ("net_d", "Discriminator"),
    ("ndf", "Discriminator width"),
    ("n_layers", "Discriminator layers"),
    ("spectral_norm", "Spectral norm"),
    ("norm", "Normalisation"),
    ("affine", "Affine norms"),
    ("init_type", "First weights"),
    ("init_gain", "Their scale"),
    ("gan_mode", "Adversarial loss"),
    ("lambda_gp", "Gradient penalty"),
    ("lambda_r1", "Penalty at real pictures"),
    ("lambda_a", "Cycle weight of A"),
    ("lambda_b", "Cycle weight of B"),
    ("lambda_identity", "Identity weight"),
    ("lambda_decay_to", "Cycle weights at the end"),
    ("pool_size", "Image pool"),
    ("batch_size", "Batch size"),
    ("accumulate", "Accumulated passes"),
    ("steps", "Steps"),
    ("learning_rate", "Learning rate"),
    ("lr_d", "Discriminators’ rate"),
    ("lr_policy", "Its course"),
    ("decay_from", "Falls from"),
    ("end_at_zero", "An epoch at zero"),
    ("lr_decay_steps", "Falls every, steps"),
    ("warmup_steps", "Warm-up, steps"),
    ("warmup_d", "Discriminators first, steps"),
    ("beta1", "Adam’s β₁"),
    ("beta2", "Adam’s β₂"),
    ("clip_grad", "Gradient clipping"),
    ("ema", "Moving average"),
    ("checkpoint_activations", "Save memory"),
    ("seed", "Seed"),
];

/// The options that are shown, each with its name for people.
pub fn settings() -> impl Iterator<Item = (&'static Field, &'static str)> {
    TrainConfig::FIELDS.iter().filter_map(|field| {
        let (_, label) = SETTINGS.iter().find(|(name, _)| *name == field.name)?;
        Some((field, *label))
    })
}

/// What a group of options is called in the page.
pub fn group_title(group: &'static str) -> &'static str {
    if group == "Data" { "Pictures" } else { group }
}

/// Whether an option means anything beside the others.
pub fn applies(name: &str, config: &TrainConfig) -> bool {
    let is_resnet = matches!(config.net_g, NetG::Resnet | NetG::MobileResnet);
    match name {
        "load_size" => matches!(config.preprocess, Preprocess::ResizeAndCrop | Preprocess::ScaleWidthAndCrop),
        "n_blocks" | "upsample" | "skip" => is_resnet,
        "n_layers" => config.net_d == NetD::NLayers,
        "lambda_gp" => config.gan_mode == GanMode::Wgangp,
        "steps" => config.minutes == 0.0,
        "decay_from" | "end_at_zero" => config.lr_policy == LrPolicy::Linear,
        "lr_decay_steps" => matches!(config.lr_policy, LrPolicy::Step | LrPolicy::Plateau),
        _ => true,
    }
}

/// One sentence about an option as it is set: for one of a few names, what that name stands for.
pub fn about(field: &Field, value: &str) -> String {
    if let Kind::Choice(names) = field.kind
        && let Some((_, about)) = names.iter().find(|(name, _)| *name == value)
    {
        return (*about).into();
    }
    plain(&field.about())
}

/// How many settings of a group are not as in the preset.
pub fn changed(group: &str, config: &TrainConfig) -> usize {
    let Some(preset) = TrainConfig::preset(&config.preset) else { return 0 };
    let of_group = settings().filter(|(field, _)| field.group == group);
    of_group.filter(|(field, _)| config.get(field.name) != preset.get(field.name)).count()
}

/// A documentation text without its marks for code and its addresses.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(", <") {
        plain.push_str(before);
        rest = after.split_once('>').map_or("", |(_, after)| after);
    }
    plain.push_str(rest);
    plain.replace('`', "")
}

/// What a curve shows, in the order of [`CURVES`](crate::page::history::CURVES).
pub fn about_curve(curve: usize, mode: GanMode) -> &'static str {
    match (curve, mode) {
        (0, GanMode::Lsgan) => {
            "How well the generators fool the discriminators. About 0.25 means nobody can tell any more."
        }
        (0, GanMode::Vanilla) => {
            "How well the generators fool the discriminators. About 0.69 means nobody can tell any more."
        }
        (0, GanMode::Hinge) => {
            "The discriminators’ score of generated pictures, negated. About 0 means nobody can tell any more."
        }
        (0, GanMode::Wgangp) => "The critics’ score of generated pictures, negated. Only its course says something.",
        (1, _) => "How far a picture is from itself after going there and back. It keeps the scene; it should fall.",
        (2, _) => "How much a picture that already belongs there is changed. It keeps the colours.",
        (_, GanMode::Lsgan) => {
            "How often the discriminators are wrong about real and generated. Near 0 they win; 0.25 is a guess."
        }
        (_, GanMode::Vanilla) => {
            "How often the discriminators are wrong about real and generated. Near 0 they win; 0.69 is a guess."
        }
        (_, GanMode::Hinge) => {
            "How often the discriminators are wrong about real and generated. Near 0 they win; 1 is a guess."
        }
        (_, GanMode::Wgangp) => {
            "How much better the critics score real pictures than generated ones, negated. It should come near 0."
        }
    }
}

/// The side in pixels of the patch that each value of a discriminator's map judges.
pub fn patch_side(config: &TrainConfig) -> u32 {
    // From the back: two 4×4 convolutions, then the halvings.
    config.patch_layers().map_or(1, |layers| (0..layers.min(16)).fold(7, |side: u32, _| 2 * (side - 1) + 4))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Choice;

    /// Set elsewhere in the page, or by the page itself.
    const ELSEWHERE: [&str; 26] = [
        "init_ab",
        "init_ba",
        // A page has no weights of discriminators.
        "init_da",
        "init_db",
        "minutes",
        "preset",
        "domain_a",
        "domain_b",
        "data",
        "licence",
        "preview_every",
        // Browsers offer no tensor cores.
        "precision",
        // One-sided trainings are the command line's.
        "model",
        "downsample",
        "net_f",
        "net_f_nc",
        "lambda_gan",
        "lambda_nce",
        "nce_idt",
        "nce_layers",
        "nce_t",
        "num_patches",
        "nce_includes_all_negatives_from_minibatch",
        "flip_equivariance",
        // The worker keeps the training by the clock, and the page shows no measurements.
        "checkpoint_every",
        "evaluate_every",
    ];

    #[test]
    fn every_option_is_in_the_page_or_said_to_be_elsewhere() {
        for field in TrainConfig::FIELDS {
            let shown = SETTINGS.iter().filter(|(name, _)| *name == field.name).count();
            assert_eq!(shown + usize::from(ELSEWHERE.contains(&field.name)), 1, "{}", field.name);
        }
        assert_eq!(settings().count(), SETTINGS.len(), "no name is misspelt");
    }

    #[test]
    fn every_setting_is_explained_in_plain_words() {
        let config = TrainConfig::default();
        for (field, label) in settings() {
            let about = about(field, &config.get(field.name).expect("an option"));
            assert!(about.len() > 20 && about.ends_with('.') && !about.contains(['`', '<']), "{label}: {about}");
        }
        assert_eq!(plain("So (A 2020, <https://x.y/z>): `n` is."), "So (A 2020): n is.");
        let net = Field::named("net_g").expect("an option");
        assert_eq!(about(net, "unet_128"), NetG::Unet128.about());
    }

    #[test]
    fn what_another_setting_switches_off_does_not_apply() {
        let config = TrainConfig::default();
        assert!(applies("n_blocks", &config) && applies("decay_from", &config) && applies("load_size", &config));
        assert!(!applies("lambda_gp", &config) && !applies("lr_decay_steps", &config));
        let other = TrainConfig {
            net_g: NetG::Unet128,
            net_d: NetD::Pixel,
            gan_mode: GanMode::Wgangp,
            lr_policy: LrPolicy::Step,
            preprocess: Preprocess::Crop,
            ..config
        };
        assert!(!applies("n_blocks", &other) && !applies("n_layers", &other) && !applies("load_size", &other));
        assert!(applies("lambda_gp", &other) && applies("lr_decay_steps", &other) && !applies("decay_from", &other));
    }

    #[test]
    fn changes_are_counted_by_group() {
        let config = TrainConfig::preset("quick").expect("it exists");
        assert_eq!(changed("Losses", &config), 0);
        let other = TrainConfig { gan_mode: GanMode::Hinge, lambda_a: 5.0, ngf: 9, ..config };
        assert_eq!([changed("Losses", &other), changed("Networks", &other), changed("Data", &other)], [2, 1, 0]);
    }

    #[test]
    fn patches_are_as_large_as_in_the_paper() {
        let side = |net_d, n_layers| patch_side(&TrainConfig { net_d, n_layers, ..TrainConfig::default() });
        assert_eq!([side(NetD::Basic, 9), side(NetD::NLayers, 1), side(NetD::NLayers, 5)], [70, 16, 286]);
        assert_eq!(side(NetD::Pixel, 3), 1);
    }
}
