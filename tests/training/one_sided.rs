//! One-sided trainings from outside: what is written, and what is refused.

use cyclegan::config::{Downsample, ModelKind, TrainConfig, Upsample};
use tempfile::TempDir;

use super::support::{cyclegan, data, ends_with};

const TINY: &str = "train --data data --preset quick --ngf 2 --ndf 2 --net-f-nc 8 --num-patches 16 --steps 4 \
                    --preview-every 4 --checkpoint-every 2 --evaluate-every 4 --domains day,night";

fn run(more: &str, folder: &TempDir) -> std::process::Output {
    let words: Vec<&str> = TINY.split_whitespace().chain(more.split_whitespace()).collect();
    cyclegan(&words, folder.path())
}

#[test]
fn a_run_writes_one_generator_and_goes_on() {
    let folder = TempDir::new().expect("a folder");
    data(folder.path());
    let (_, said) = ends_with(&run("--model cut --out run", &folder), 0);
    assert!(said.contains("NCE_Y") && said.contains("G_GAN") && !said.contains("cycle"), "{said}");
    let run_folder = folder.path().join("run");
    let has = |name: &str| run_folder.join(name).exists();
    assert!(has("day-to-night.safetensors") && has("preview-0000004.png") && has("best-day-to-night.safetensors"));
    assert!(!has("night-to-day.safetensors") && !has("best-night-to-day.safetensors"));
    let text = std::fs::read_to_string(run_folder.join("config.toml")).expect("a configuration");
    let config = TrainConfig::from_toml(&text).expect("TOML");
    assert_eq!((config.model, config.nce_idt, config.lambda_nce), (ModelKind::Cut, true, 1.0));
    assert_eq!((config.downsample, config.upsample), (Downsample::Blurred, Upsample::Blurred));
    let report = std::fs::read_to_string(run_folder.join("report.html")).expect("a report");
    assert!(report.contains("day → night") && report.contains("Contrastive") && !report.contains("Cycle-consistency"));

    // The same weights whether it was stopped in between or not.
    let whole = std::fs::read(run_folder.join("day-to-night.safetensors")).expect("weights");
    std::fs::remove_file(run_folder.join("checkpoint-0000004.safetensors")).expect("it is there");
    std::fs::remove_file(run_folder.join("day-to-night.safetensors")).expect("it is there");
    ends_with(&cyclegan(&["train", "--resume", "run"], folder.path()), 0);
    assert_eq!(std::fs::read(run_folder.join("day-to-night.safetensors")).expect("weights"), whole);

    // It translates, says what it is, and begins other trainings.
    let (info, _) = ends_with(&cyclegan(&["info", "run/day-to-night.safetensors"], folder.path()), 0);
    assert!(info.contains("model         cut\n") && info.contains("day → night"), "{info}");
    ends_with(&run("--model fastcut --init-ab run/day-to-night.safetensors --out more", &folder), 0);
}

#[test]
fn what_it_cannot_be_is_refused() {
    let folder = TempDir::new().expect("a folder");
    data(folder.path());
    let refused = |more: &str| ends_with(&run(more, &folder), 2).1;
    assert!(refused("--model cut --net-g unet_128 --size 128 --out a").contains("residual generator"));
    assert!(refused("--model cut --checkpoint-activations --out b").contains("checkpoint_activations"));
    assert!(refused("--model fastcut --nce-layers 0,4,99 --out c").contains("nce_layers must be a growing list"));
    assert!(refused("--model fastcut --init-ba same --init-ab x --out d").contains("x"));
    assert!(refused("--model fastcut --nce-t 0 --out e").contains("nce_t"));
}
