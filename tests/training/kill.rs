//! A training that is killed at any moment can always go on, and loses nothing but steps.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use burn::backend::{Autodiff, Flex};
use cyclegan::random;
use cyclegan::training::Trainer;
use rand::RngExt;
use tempfile::TempDir;

use super::support::{command, cyclegan, data, ends_with};

const KILLS: u64 = 20;
/// A checkpoint every second step: some kills meet one half written. The learning rate does not depend on the length.
const TINY: &str = "--preset quick --ngf 1 --ndf 2 --n-blocks 1 --preview-every 0 --evaluate-every 0 --decay-from 1 \
                    --checkpoint-every 2 --domains day,night";
/// Much longer than it lives.
const LONG: &str = "1000000";

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

fn start(arguments: &[&str], folder: &Path, said: &Path) -> Child {
    let said = File::create(said).expect("a file");
    command(arguments, folder).stdout(Stdio::null()).stderr(said).spawn().expect("the program is built")
}

fn size(path: &Path) -> u64 {
    path.metadata().map_or(0, |file| file.len())
}

fn newest(run: &Path) -> Option<PathBuf> {
    let files = std::fs::read_dir(run).expect("a folder").flatten().map(|entry| entry.path());
    let is_checkpoint = |path: &PathBuf| {
        let name = path.file_name().expect("a name").to_string_lossy();
        name.starts_with("checkpoint-") && name.ends_with(".safetensors")
    };
    files.filter(is_checkpoint).max()
}

/// The step of the last checkpoint that was announced.
fn announced(run: &Path) -> u64 {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).expect("metrics");
    let lines = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    lines
        .filter(|line| line["checkpoint"].is_string())
        .filter_map(|line| line["step"].as_u64())
        .next_back()
        .unwrap_or(0)
}

#[test]
fn killed_at_twenty_random_moments_it_always_goes_on_and_ends_as_if_nothing_had_been() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path();
    data(path);
    let run = path.join("run");
    let metrics = run.join("metrics.jsonl");
    let said = path.join("said.txt");
    let mut delays = random::stream(4, "kills", 0);
    let mut reached = 0;
    for kill in 0..KILLS {
        let begin = [words("train --data data --out run --steps"), vec![LONG], words(TINY)].concat();
        let before = size(&metrics);
        let mut child = match kill {
            0 => start(&begin, path, &said),
            _ => start(&words("train --resume run"), path, &said),
        };
        // However fast the machine is: some lines of metrics after the first step's, and a moment.
        let begun = Instant::now();
        let mut seen = before;
        for _ in 0..delays.random_range(1..=6) {
            while size(&metrics) == seen {
                assert!(
                    child.try_wait().expect("a child").is_none(),
                    "{}",
                    std::fs::read_to_string(&said).expect("text")
                );
                assert!(begun.elapsed() < Duration::from_secs(60), "no step in a minute");
                std::thread::sleep(Duration::from_millis(1));
            }
            seen = size(&metrics);
        }
        std::thread::sleep(Duration::from_millis(delays.random_range(0..=200)));
        child.kill().expect("it runs");
        child.wait().expect("it is gone");

        let text = std::fs::read_to_string(&said).expect("text");
        assert!(text.contains(&format!("steps {reached} to {LONG}")), "kill {kill}: from {reached}: {text}");
        let loaded = newest(&run).map_or(0, |newest| {
            let bytes = std::fs::read(&newest).expect("a checkpoint");
            let trainer = Trainer::<Autodiff<Flex>>::restore(&bytes, &Default::default());
            trainer.unwrap_or_else(|error| panic!("kill {kill}: {}: {error}", newest.display())).step
        });
        assert!(loaded >= announced(&run), "kill {kill}: {loaded} after {}", announced(&run));
        assert!(loaded >= reached, "kill {kill}: from {reached} back to {loaded}");
        reached = loaded;
    }
    assert!(reached > KILLS / 2, "it got on in between: {reached}");

    // Whole steps after the last checkpoint, and no checkpoint on the way: the end writes one.
    let end = (reached + 2).to_string();
    ends_with(&cyclegan(&["train", "--resume", "run", "--steps", &end], path), 0);
    let whole = [words("train --data data --out whole --steps"), vec![&end], words(TINY)].concat();
    ends_with(&cyclegan(&whole, path), 0);
    for file in ["day-to-night.safetensors", "night-to-day.safetensors", &format!("checkpoint-{:0>7}.safetensors", end)]
    {
        let [parts, whole] = ["run", "whole"].map(|run| std::fs::read(path.join(run).join(file)).expect("written"));
        assert!(parts == whole, "{file} differs");
    }
}

/// As from a wrapper that passes Ctrl-C on to a program that got it, too.
#[cfg(unix)]
#[test]
fn two_interrupts_at_once_save_once() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path();
    data(path);
    let begin = [words("train --data data --out run --steps"), vec![LONG], words(TINY)].concat();
    let said = path.join("said.txt");
    let mut child = start(&begin, path, &said);
    let begun = Instant::now();
    while size(&path.join("run/metrics.jsonl")) == 0 {
        assert!(begun.elapsed() < Duration::from_secs(60), "no step in a minute");
        std::thread::sleep(Duration::from_millis(5));
    }
    for _ in 0..2 {
        let pid = child.id().to_string();
        assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().expect("kill is there").success());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(child.wait().expect("it ends").success(), "{}", std::fs::read_to_string(&said).expect("text"));
    let text = std::fs::read_to_string(&said).expect("text");
    assert!(text.contains("stopped and saved after"), "{text}");
    let saved = newest(&path.join("run")).expect("a checkpoint");
    let left = std::fs::read_dir(path.join("run")).expect("a folder").flatten();
    let partial = left.filter(|entry| entry.file_name().to_string_lossy().ends_with("partial")).count();
    assert_eq!(partial, 0);
    let trainer = Trainer::<Autodiff<Flex>>::restore(&std::fs::read(&saved).expect("read"), &Default::default());
    assert!(trainer.is_ok(), "{}", saved.display());
}
