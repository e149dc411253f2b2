//! Trainings that begin with weights, and trainings by the clock.

use std::path::Path;

use cyclegan::config::{TrainConfig, UNSIZED};
use cyclegan::weights::WeightFile;
use tempfile::TempDir;

use super::support::{cyclegan, data, ends_with};

const TINY: &str = "train --data data --preset quick --ndf 2 --preview-every 0 --evaluate-every 0 --domains day,night";

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

#[track_caller]
fn trains(folder: &Path, more: &str) {
    ends_with(&cyclegan(&[words(TINY), words(more)].concat(), folder), 0);
}

#[track_caller]
fn refused(folder: &Path, more: &str) -> String {
    ends_with(&cyclegan(&[words(TINY), words(more)].concat(), folder), 2).1
}

/// A folder with pictures and a small training, `first`, whose generators are of an own width and depth.
fn begun() -> TempDir {
    let folder = TempDir::new().expect("a folder");
    data(folder.path());
    trains(folder.path(), "--out first --ngf 3 --n-blocks 3 --steps 2 --checkpoint-every 1");
    folder
}

fn weights(path: &Path) -> WeightFile {
    WeightFile::read_from(path).expect("a weight file")
}

fn config(run: &Path) -> TrainConfig {
    let text = std::fs::read_to_string(run.join("config.toml")).expect("a configuration");
    TrainConfig::from_toml(&text).expect("TOML")
}

/// The tensors of a checkpoint whose names begin with `prefix`.
fn part(file: &WeightFile, prefix: &str) -> Vec<Vec<f32>> {
    let tensors = file.tensors.iter().filter(|tensor| tensor.name.starts_with(prefix));
    tensors.map(|tensor| tensor.values.clone()).collect()
}

#[test]
fn a_generator_alone_gives_the_networks_their_kind_and_both_their_weights() {
    let folder = begun();
    let path = folder.path();
    let first = weights(&path.join("first/day-to-night.safetensors"));
    ends_with(&cyclegan(&["convert", "first/day-to-night.safetensors", "stranger.pth"], path), 0);
    trains(path, "--init-ab stranger.pth --init-ba same --out run --steps 1 --lr 0");
    let config = config(&path.join("run"));
    assert_eq!((config.ngf, config.n_blocks, config.init_ab.as_str()), (3, 3, "stranger.pth"));
    for name in ["day-to-night", "night-to-day"] {
        let file = weights(&path.join("run").join(format!("{name}.safetensors")));
        assert_eq!(file.tensors, first.tensors, "{name}");
        assert_eq!(file.info().started_from, "stranger.pth");
    }
    // The other way, new weights.
    trains(path, "--init-ab stranger.pth --out one --steps 1 --lr 0");
    assert_ne!(weights(&path.join("one/night-to-day.safetensors")).tensors, first.tensors);
}

#[test]
fn what_contradicts_the_file_is_refused_by_name() {
    let folder = begun();
    let path = folder.path();
    let said = refused(path, "--init-ab first/day-to-night.safetensors --ngf 8 --out no");
    assert!(said.contains("--ngf is 8, but 3 in the network of first/day-to-night.safetensors"), "{said}");
    trains(path, "--init-ab first/day-to-night.safetensors --ngf 3 --out same --steps 1");
    let said = refused(path, "--init-da first/day-to-night.safetensors --out no");
    assert!(said.contains("is no discriminator"), "{said}");
    let said = refused(path, "--init-ba same --out no");
    assert!(said.contains("same stands for the weights of the other generator"), "{said}");
    let said = refused(path, "--init-ab nowhere.pth --out no");
    assert!(said.contains("nowhere.pth"), "{said}");
}

#[test]
fn generators_rest_while_discriminators_warm_up_and_resuming_needs_no_file() {
    let folder = begun();
    let path = folder.path();
    let all = "--init-ab begin.safetensors --init-ba begin.safetensors:generator_ba --init-da begin.safetensors \
               --checkpoint-every 1 --warmup-d 2 --keep 9 --decay-from 1";
    let begin = weights(&path.join("first/checkpoint-0000002.safetensors"));
    std::fs::copy(path.join("first/checkpoint-0000002.safetensors"), path.join("begin.safetensors")).expect("a copy");
    trains(path, &format!("{all} --out whole --steps 4"));
    trains(path, &format!("{all} --out cut --steps 3"));
    let at = |step: u32| weights(&path.join(format!("whole/checkpoint-000000{step}.safetensors")));
    for generator in ["generator_ab.", "generator_ba."] {
        assert_eq!(part(&at(2), generator), part(&begin, generator), "{generator} has not moved");
        assert_ne!(part(&at(3), generator), part(&begin, generator), "{generator} moves");
    }
    assert_ne!(part(&at(1), "discriminator_a."), part(&begin, "discriminator_a."));
    std::fs::remove_file(path.join("begin.safetensors")).expect("it was there");
    ends_with(&cyclegan(&words("train --resume cut --steps 4"), path), 0);
    for name in ["day-to-night", "night-to-day"] {
        let [whole, cut] = ["whole", "cut"].map(|run| weights(&path.join(run).join(format!("{name}.safetensors"))));
        assert_eq!(whole.tensors, cut.tensors, "{name}");
    }
}

#[test]
fn a_training_by_the_clock_ends_with_all_its_steps_and_no_learning_rate_left() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path();
    data(path);
    trains(path, "--minutes 0.1 --ngf 2 --n-blocks 1 --out run --checkpoint-every 500");
    let config = config(&path.join("run"));
    assert!((2..UNSIZED).contains(&config.steps), "{}", config.steps);
    assert!(config.checkpoint_every <= (config.steps / 5).max(1), "{}", config.checkpoint_every);
    let text = std::fs::read_to_string(path.join("run/metrics.jsonl")).expect("metrics");
    let mut lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
    let last = lines.rfind(|line| line["losses"].is_object()).expect("steps");
    assert_eq!(last["step"].as_u64(), Some(config.steps));
    assert!(last["learning_rate"].as_f64().expect("a rate") <= 2e-4 * 2.1 / config.steps as f64, "{last}");
}
