//! Every option trains, and what is written down says so.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use cyclegan::config::{Kind, TrainConfig};
use tempfile::TempDir;

use super::support::{command, cyclegan, data, ends_with};

/// Tiny networks on tiny pictures.
const TINY: &str = "train --data data --preset quick --ngf 2 --ndf 2 --n-blocks 1 --steps 2 --preview-every 0 \
                    --checkpoint-every 0 --evaluate-every 0";

/// An example of each option: the option, its value, and what that needs.
const EXAMPLES: &[(&str, &str, &str)] = &[
    ("preset", "emoji-64", ""),
    ("domain_a", "horse", ""),
    ("domain_b", "zebra", ""),
    ("data", "my horses", ""),
    ("licence", "CC0-1.0", ""),
    ("preprocess", "scale_width_and_crop", "--load-size 36"),
    ("preprocess", "crop", ""),
    ("preprocess", "none", ""),
    ("size", "36", ""),
    ("load_size", "38", ""),
    ("flip", "false", ""),
    ("rotate", "20", ""),
    ("colour_jitter", "0.25", ""),
    ("diff_augment", "true", ""),
    ("model", "cut", ""),
    ("model", "fastcut", ""),
    ("net_g", "mobile-resnet", ""),
    ("net_g", "unet_128", "--size 128 --steps 1"),
    ("net_g", "unet_256", "--size 256 --steps 1"),
    ("ngf", "3", ""),
    ("n_blocks", "3", ""),
    ("downsample", "blurred", ""),
    ("upsample", "resize", ""),
    ("upsample", "blurred", ""),
    ("skip", "true", ""),
    ("dropout", "true", ""),
    ("net_d", "basic", ""),
    ("net_d", "pixel", ""),
    ("ndf", "3", ""),
    ("n_layers", "2", ""),
    ("net_f", "sample", "--model cut"),
    ("net_f_nc", "16", "--model fastcut"),
    ("spectral_norm", "true", ""),
    ("norm", "none", ""),
    ("affine", "true", ""),
    ("init_type", "xavier", ""),
    ("init_type", "kaiming", ""),
    ("init_type", "orthogonal", ""),
    ("init_gain", "0.03", ""),
    ("init_ab", "first/a-to-b.safetensors", ""),
    ("init_ba", "same", "--init-ab first/a-to-b.safetensors"),
    ("init_da", "first/checkpoint-0000002.safetensors", ""),
    ("init_db", "first/checkpoint-0000002.safetensors", ""),
    ("gan_mode", "vanilla", ""),
    ("gan_mode", "wgangp", ""),
    ("gan_mode", "hinge", ""),
    ("lambda_gp", "5", "--gan-mode wgangp"),
    ("lambda_r1", "0.1", ""),
    ("lambda_a", "5", ""),
    ("lambda_b", "5", ""),
    ("lambda_identity", "0", ""),
    ("lambda_decay_to", "0.5", ""),
    ("lambda_gan", "0.5", "--model cut"),
    ("lambda_nce", "2", "--model cut"),
    ("nce_idt", "true", "--model fastcut"),
    ("nce_layers", "0,4,8", "--model cut"),
    ("nce_t", "0.1", "--model cut"),
    ("num_patches", "64", "--model fastcut"),
    ("nce_includes_all_negatives_from_minibatch", "true", "--model cut --batch-size 2"),
    ("flip_equivariance", "true", "--model cut"),
    ("pool_size", "0", ""),
    ("batch_size", "2", ""),
    ("accumulate", "2", ""),
    ("steps", "3", ""),
    ("minutes", "0.01", "--steps 9"),
    ("learning_rate", "0.0001", ""),
    ("lr_d", "0.0004", ""),
    ("lr_policy", "step", "--lr-decay-steps 1"),
    ("lr_policy", "plateau", "--lr-decay-steps 1"),
    ("lr_policy", "cosine", ""),
    ("decay_from", "0.25", ""),
    ("end_at_zero", "true", ""),
    ("lr_decay_steps", "1", "--lr-policy step"),
    ("warmup_steps", "2", ""),
    ("warmup_d", "1", ""),
    ("beta1", "0.9", ""),
    ("beta2", "0.9", ""),
    ("clip_grad", "1", ""),
    ("ema", "0.9", ""),
    ("checkpoint_activations", "true", ""),
    ("precision", "tf32", ""),
    ("precision", "bf16", ""),
    ("seed", "7", ""),
    ("preview_every", "1", ""),
    ("checkpoint_every", "1", ""),
    ("evaluate_every", "1", ""),
    ("evaluate_every", "2", "--model fastcut"),
];

fn metrics(run: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).expect("metrics");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Trains with an option and looks at what is left behind.
fn example(folder: &Path, name: &str, value: &str, more: &str) {
    let case = format!("{name} = {value}");
    let mut words: Vec<&str> = TINY.split_whitespace().collect();
    let flag = if name == "data" { "--data-name".to_owned() } else { format!("--{}", name.replace('_', "-")) };
    // What is given twice is an error: the example's own values come instead of those of the tiny training.
    let more: Vec<&str> = more.split_whitespace().collect();
    for given in more.iter().chain([&flag.as_str()]).filter(|word| word.starts_with("--")) {
        if let Some(at) = words.iter().position(|word| word == given) {
            words.drain(at..at + 2);
        }
    }
    words.extend(more);
    let run = case.replace(|c: char| !c.is_alphanumeric(), "-");
    words.extend([flag.as_str(), value, "--out", &run]);
    let output = command(&words, folder).env("RAYON_NUM_THREADS", "1").output().expect("the program is built");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{case}: {said}");
    let run = folder.join(run);
    let text = std::fs::read_to_string(run.join("config.toml")).expect("a configuration");
    let config = TrainConfig::from_toml(&text).expect("a good configuration");
    let written = config.get(name).expect("an option");
    let is_same = match (written.parse::<f64>(), value.parse::<f64>()) {
        (Ok(written), Ok(value)) => (written - value).abs() < 1e-6,
        _ => written == value,
    };
    assert!(is_same, "{case}: {written} was written down");
    assert_ne!(Some(written), TrainConfig::preset("quick").expect("a preset").get(name), "{case} is the default");
    let lines = metrics(&run);
    let steps: Vec<_> = lines.iter().filter_map(|line| line["losses"].as_object()).collect();
    assert!(!steps.is_empty(), "{case}: no step was reported");
    for losses in steps {
        assert!(losses.values().all(|loss| loss.as_f64().is_some_and(f64::is_finite)), "{case}: {losses:?}");
    }
    let written = std::fs::read_dir(&run).expect("a folder").flatten().map(|entry| entry.file_name());
    let written: Vec<String> = written.map(|name| name.to_string_lossy().into_owned()).collect();
    let has = |part: &str| written.iter().any(|name| name.contains(part));
    assert!(has("-to-") && has("report.html"), "{case}: {written:?}");
    match name {
        "preview_every" => assert!(has("preview-0000002"), "{case}: {written:?}"),
        "checkpoint_every" => assert!(has("checkpoint-0000001"), "{case}: {written:?}"),
        "evaluate_every" => assert!(lines.iter().any(|line| line["quality"].is_object()), "{case}: {lines:?}"),
        _ => {}
    }
}

#[test]
fn every_option_trains_in_an_example() {
    for field in TrainConfig::FIELDS {
        assert!(EXAMPLES.iter().any(|(name, ..)| *name == field.name), "{} has no example", field.name);
        if let Kind::Choice(names) = field.kind {
            let default = TrainConfig::default().get(field.name);
            for (choice, _) in names.iter().filter(|(choice, _)| default.as_deref() != Some(choice)) {
                let has = EXAMPLES.iter().any(|(name, value, _)| name == &field.name && value == choice);
                assert!(has, "{} = {choice} has no example", field.name);
            }
        }
    }
    let folder = TempDir::new().expect("a folder");
    data(folder.path());
    // What others begin with.
    let first = [&TINY.split_whitespace().collect::<Vec<_>>()[..], &["--out", "first"]].concat();
    ends_with(&cyclegan(&first, folder.path()), 0);
    // Two at a time: half of a start is waiting.
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some((name, value, more)) = EXAMPLES.get(next.fetch_add(1, Ordering::Relaxed)) {
                    example(folder.path(), name, value, more);
                }
            });
        }
    });
}

#[test]
fn every_option_is_in_the_help() {
    let folder = TempDir::new().expect("a folder");
    let (help, _) = ends_with(&cyclegan(&["train", "--help"], folder.path()), 0);
    for field in TrainConfig::FIELDS {
        let flag =
            if field.name == "data" { "--data-name".to_owned() } else { format!("--{}", field.name.replace('_', "-")) };
        assert!(help.contains(&format!("{flag} ")) || help.contains(&format!("{flag}\n")), "{flag} is not in {help}");
        assert!(help.contains(&format!("\n{}:\n", field.group)), "the heading {}", field.group);
        if let Kind::Choice(names) = field.kind {
            for (name, _) in names {
                assert!(help.contains(&format!("- {name}:")), "{name} of {flag}");
            }
        }
    }
    let headings = TrainConfig::FIELDS.iter().map(|field| help.find(&format!("\n{}:\n", field.group)));
    assert!(headings.is_sorted(), "the headings come in the order of the options");
    for official in
        ["netF", "lambda_NCE", "CUT_mode", "netG", "netD", "lambda_A", "lambda_B", "n_layers_D", "lr", "crop_size"]
    {
        assert!(help.contains(&format!("--{official}")), "{official}");
    }
}

#[test]
fn a_configuration_is_printed_read_and_overridden() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path();
    data(path);
    let printed = |words: &str| {
        let words: Vec<&str> = ["train", "--print-config"].into_iter().chain(words.split_whitespace()).collect();
        ends_with(&cyclegan(&words, path), 0).0
    };
    let text = printed("--preset small-128 --gan_mode hinge");
    assert!(text.contains("# The adversarial loss.") && text.contains("#   wgangp: "), "{text}");
    let config = TrainConfig::from_toml(&text).expect("TOML");
    assert_eq!((config.preset.as_str(), config.size, config.checkpoint_every), ("small-128", 128, 500));
    std::fs::write(path.join("my.toml"), &text).expect("written");
    assert_eq!(printed("--config my.toml"), text, "what was printed says all");

    std::fs::write(path.join("my.toml"), "preset = 'quick'\nlr = 1e-3\nngf = 6\n").expect("written");
    let config = TrainConfig::from_toml(&printed("--config my.toml --ngf 5 --netG resnet_6blocks")).expect("TOML");
    assert_eq!((config.size, config.learning_rate, config.ngf, config.n_blocks), (32, 1e-3, 5, 6));

    // Three files in the larger pile make two steps of two.
    let epochs = printed("--data data --batch_size 2 --n_epochs 3 --n_epochs_decay 1");
    let config = TrainConfig::from_toml(&epochs).expect("TOML");
    assert_eq!((config.steps, config.decay_from, config.data.as_str()), (8, 0.75, "data"));
    let config = TrainConfig::from_toml(&printed("--data data --epochs 5")).expect("TOML");
    assert_eq!((config.steps, config.decay_from), (15, 0.5));

    std::fs::write(path.join("bad.toml"), "# mine\nlerning_rate = 1e-3\n").expect("written");
    let (_, said) = ends_with(&cyclegan(&["train", "--config", "bad.toml", "--print-config"], path), 2);
    assert!(said.contains("bad.toml: line 2: there is no option lerning_rate; did you mean learning_rate?"), "{said}");
    let (_, said) = ends_with(&cyclegan(&["train", "--print-config", "--size", "33"], path), 2);
    assert!(said.contains("multiple of 4"), "{said}");
}

#[test]
fn the_example_can_be_used() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/photos.toml");
    let text = std::fs::read_to_string(file).expect("an example");
    let config = TrainConfig::from_toml(&text).expect("good TOML");
    assert_eq!(config.check(), Ok(()));
    assert_eq!((config.domain_b.as_str(), config.ema, config.ngf), ("zebra", 0.999, 64));
}
