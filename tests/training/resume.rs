//! A training that ended goes on.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cyclegan::config::TrainConfig;
use tempfile::TempDir;

use super::support::{command, cyclegan, data, ends_with};

/// A constant learning rate does not depend on the length of the training.
const TINY: &str = "train --data data --out run --preset quick --ngf 2 --ndf 2 --n-blocks 1 --preview-every 0 \
                    --evaluate-every 0 --decay-from 1 --domains day,night";

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

fn trained(more: &str) -> TempDir {
    let folder = TempDir::new().expect("a folder");
    data(folder.path());
    ends_with(&cyclegan(&[words(TINY), words(more)].concat(), folder.path()), 0);
    folder
}

fn checkpoints(run: &Path) -> Vec<String> {
    let names = std::fs::read_dir(run).expect("a folder").flatten();
    let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> =
        names.filter(|name| name.starts_with("checkpoint-") && name.ends_with(".safetensors")).collect();
    names.sort();
    names
}

fn weights(run: &Path) -> [Vec<u8>; 2] {
    ["day-to-night", "night-to-day"]
        .map(|name| std::fs::read(run.join(format!("{name}.safetensors"))).expect("the weights"))
}

#[test]
fn a_run_remembers_its_pictures_and_keeps_what_it_is() {
    let folder = trained("--steps 4 --checkpoint-every 1 --keep 3");
    let path = folder.path();
    let run = path.join("run");
    assert_eq!(checkpoints(&run), [2, 3, 4].map(|step| format!("checkpoint-000000{step}.safetensors")));
    let config = || TrainConfig::from_toml(&std::fs::read_to_string(run.join("config.toml")).expect("read"));
    assert_eq!(config().expect("TOML").checkpoint_every, 1);

    // From elsewhere.
    let elsewhere = TempDir::new().expect("a folder");
    let name = run.to_str().expect("a plain path");
    let refused = |more: &str| {
        ends_with(&cyclegan(&[&["train", "--resume", name], &words(more)[..]].concat(), elsewhere.path()), 2).1
    };
    let said = refused("--steps 5 --ngf 8");
    assert!(
        said.contains("--ngf is 2 in this run and cannot become 8") && said.contains("may change --steps"),
        "{said}"
    );
    assert!(refused("--preset official").contains("began with the preset quick"));
    assert!(refused("--steps 3").contains("has made 4 steps already"));
    assert!(refused("--out other").contains("two folders"));
    assert!(refused("--data nowhere").contains("nowhere"));
    let (_, said) = ends_with(
        &cyclegan(&["train", "--resume", name, "--steps", "6", "--preview-every", "3", "--ngf", "2"], elsewhere.path()),
        0,
    );
    assert!(said.contains("steps 4 to 6"), "{said}");
    assert!(run.join("preview-0000006.png").exists());
    assert_eq!(checkpoints(&run).len(), 3, "it remembers how many are kept");
    let config = config().expect("TOML");
    assert_eq!((config.steps, config.preview_every, config.ngf), (6, 3, 2));

    let (_, said) = ends_with(&cyclegan(&["train", "--resume"], path), 2);
    assert!(said.contains("--resume RUN"), "{said}");
    let (_, said) = ends_with(&cyclegan(&["train", "--resume", "data"], path), 2);
    assert!(said.contains("data is no run of train"), "{said}");
}

#[test]
fn a_damaged_checkpoint_is_passed_over_and_nothing_is_lost_but_steps() {
    let folder = trained("--steps 6 --checkpoint-every 2 --keep 3");
    let run = folder.path().join("run");
    let whole = weights(&run);
    let newest = run.join("checkpoint-0000006.safetensors");
    let bytes = std::fs::read(&newest).expect("a checkpoint");
    let mut flipped = bytes.clone();
    // The smallest bit of a number.
    flipped[bytes.len() - 4] ^= 1;
    for (found, is_damaged) in [(&bytes[..bytes.len() / 2], true), (&[], true), (&flipped, true), (&bytes, false)] {
        std::fs::write(&newest, found).expect("written");
        for name in ["day-to-night", "night-to-day"] {
            std::fs::remove_file(run.join(format!("{name}.safetensors"))).expect("it is there");
        }
        let (_, said) = ends_with(&cyclegan(&["train", "--resume", "run"], folder.path()), 0);
        assert_eq!(said.contains("checkpoint-0000006.safetensors is damaged: "), is_damaged, "{said}");
        assert_eq!(said.contains("steps 4 to 6"), is_damaged, "{said}");
        assert_eq!(weights(&run), whole, "{said}");
        assert_eq!(std::fs::read(&newest).expect("a checkpoint"), bytes);
    }
    for step in [2, 4, 6] {
        std::fs::write(run.join(format!("checkpoint-000000{step}.safetensors")), b"x").expect("written");
    }
    let (_, said) = ends_with(&cyclegan(&["train", "--resume", "run"], folder.path()), 2);
    assert!(said.contains("no checkpoint is whole"), "{said}");
}

#[test]
fn runs_of_before_and_checkpoints_from_elsewhere_go_on() {
    let folder = trained("--steps 2");
    let path = folder.path();
    std::fs::create_dir(path.join("old")).expect("a folder");
    std::fs::copy(path.join("run/checkpoint-0000002.safetensors"), path.join("old/checkpoint.safetensors"))
        .expect("copied");
    let (_, said) = ends_with(&cyclegan(&words("train --resume old"), path), 2);
    assert!(said.contains("name them with --data"), "{said}");
    ends_with(&cyclegan(&words("train --out old --resume --data data --steps 3"), path), 0);
    let (_, said) = ends_with(&cyclegan(&words("train --resume old --steps 4"), path), 0);
    assert!(said.contains("steps 3 to 4"), "{said}");
    let file = "train --resume run/checkpoint-0000002.safetensors --data data --steps 3";
    assert!(ends_with(&cyclegan(&words(file), path), 2).1.contains("--out"));
    ends_with(&cyclegan(&words(&format!("{file} --out new")), path), 0);
    assert_eq!(checkpoints(&path.join("new")), ["checkpoint-0000003.safetensors"]);
    assert!(ends_with(&cyclegan(&words(&format!("{file} --out new")), path), 2).1.contains("already holds a training"));
}

/// The generators' losses by step.
fn losses(run: &Path) -> Vec<(u64, f64)> {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).expect("metrics");
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
    let losses = |line: serde_json::Value| {
        let losses = line["losses"].as_object()?;
        let generators = losses.iter().filter(|(name, _)| !name.starts_with("discriminator"));
        Some((line["step"].as_u64()?, generators.filter_map(|(_, loss)| loss.as_f64()).sum()))
    };
    lines.filter_map(losses).collect()
}

/// Two steps on each backend come to what eight on one do.
#[test]
fn a_checkpoint_goes_on_under_every_backend_and_back() {
    let whole = trained("--steps 8 --checkpoint-every 1");
    let folder = trained("--steps 2 --checkpoint-every 1");
    for (backend, steps) in [("candle", "4"), ("wgpu", "6"), ("flex", "8")] {
        let resume = ["train", "--resume", "run", "--steps", steps, "--backend", backend];
        ends_with(&cyclegan(&resume, folder.path()), 0);
    }
    let [whole, parts] = [whole, folder].map(|folder| losses(&folder.path().join("run")));
    assert_eq!(whole.iter().map(|(step, _)| *step).collect::<Vec<_>>(), (1..=8).collect::<Vec<_>>());
    assert_eq!(parts.len(), whole.len());
    for ((step, whole), (_, parts)) in whole.into_iter().zip(parts) {
        // Rounding differs, and Adam's first steps magnify it.
        assert!((whole - parts).abs() < 0.01 * whole, "step {step}: {whole} and {parts}");
    }
}

#[test]
fn ctrl_c_saves_and_says_how_to_go_on() {
    let folder = TempDir::new().expect("a folder");
    data(folder.path());
    let mut child = command(&[words(TINY), words("--steps 1000000")].concat(), folder.path())
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("the program is built");
    let run = folder.path().join("run");
    let begun = Instant::now();
    while !run.join("metrics.jsonl").metadata().is_ok_and(|file| file.len() > 0) {
        assert!(begun.elapsed() < Duration::from_secs(60), "no step in a minute");
        std::thread::sleep(Duration::from_millis(10));
    }
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill is everywhere");
    assert!(sent.success());
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    let mut said = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut said).expect("text");
    assert!(said.contains("step 1/1000000  epoch 1"), "a plain line: {said}");
    let line = said.lines().find(|line| line.trim().starts_with("cyclegan train --resume")).expect("how to go on");
    let [kept] = &checkpoints(&run)[..] else { panic!("one checkpoint") };
    let step: u64 = kept["checkpoint-".len()..kept.len() - ".safetensors".len()].parse().expect("a step");
    let steps = (step + 2).to_string();
    let resume: Vec<&str> = line.split_whitespace().skip(1).chain(["--steps", &steps]).collect();
    let (_, said) = ends_with(&cyclegan(&resume, folder.path()), 0);
    assert!(said.contains(&format!("steps {step} to {steps}")), "{said}");
}
