//! A picture of 4096×4096 in all three ways: whole, in bands, and in bands with the residual blocks in bands, too.
//! The pictures must be the same, and the memory of each way within what it was allowed.
//!
//! A minute with optimisation and a quarter of an hour without, so it is no part of a debug build:
//!
//!     make large
#![cfg(all(not(debug_assertions), target_os = "linux"))]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use cyclegan::image::Picture;
use cyclegan::model::architecture::Architecture;
use cyclegan::random;
use cyclegan::weights::{NamedTensor, Storage, WeightFile};
use rand::RngExt;
use tempfile::TempDir;

const SIDE: u32 = 4096;

/// Noise for weights.
fn generator(ngf: usize) -> Vec<u8> {
    let architecture = Architecture::resnet(3, 3, ngf, 1, false).expect("a small generator");
    let tensors = architecture.parameters().into_iter().enumerate().map(|(index, (name, shape))| {
        let mut stream = random::stream(1, "large", index as u64);
        let values = (0..shape.iter().product()).map(|_| stream.random_range(-0.1..0.1)).collect();
        NamedTensor { name, shape, values }
    });
    let file = WeightFile { tensors: tensors.collect(), ..WeightFile::default() };
    file.write(Storage::F32).expect("finite values")
}

/// Discs of other colours than their ground, so that the statistics differ from place to place.
fn picture() -> Picture {
    let pixel = |index: u32| {
        let (x, y) = (index % SIDE, index / SIDE);
        let far = (x % 600).abs_diff(300).pow(2) + (y % 800).abs_diff(400).pow(2);
        let level = if far < 40_000 { 255 - (x / 16) as u8 } else { (y / 16) as u8 };
        [level, (x / 16) as u8, 255 - level, 255]
    };
    Picture { width: SIDE, height: SIDE, pixels: (0..SIDE * SIDE).flat_map(pixel).collect() }
}

/// Translates within so many megabytes; the picture and the most memory taken, in megabytes.
fn translated(folder: &Path, memory: u32) -> (Picture, u32) {
    let out = folder.join(format!("{memory}.png"));
    let memory = memory.to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_cyclegan"));
    command.current_dir(folder).args([
        "translate",
        "--model",
        "model.safetensors",
        "large.png",
        "--size",
        "full",
        "--backend",
        "flex",
    ]);
    let mut child =
        command.args(["--memory", &memory, "--out"]).arg(&out).stderr(Stdio::null()).spawn().expect("built");
    let mut peak = 0;
    let status = loop {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()).and_then(|number| number.parse().ok());
        peak = peak.max(kilobytes.unwrap_or(0) / 1024);
        if let Some(status) = child.try_wait().expect("our child") {
            break status;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(status.success(), "within {memory} MB: {status}");
    (Picture::decode(&std::fs::read(&out).expect("written")).expect("a picture"), peak)
}

#[test]
fn bands_within_their_memory_make_the_picture_of_the_whole() {
    let folder = TempDir::new().expect("a folder");
    std::fs::write(folder.path().join("model.safetensors"), generator(13)).expect("a file");
    std::fs::write(folder.path().join("large.png"), picture().encode_png().expect("a picture")).expect("a file");
    let (whole, most) = translated(folder.path(), 6000);
    assert!(most > 1500, "the whole takes {most} MB: more than bands may");
    for memory in [1500, 750] {
        let (banded, peak) = translated(folder.path(), memory);
        println!("{SIDE}×{SIDE} within {memory} MB: {peak} MB, {most} MB as a whole");
        assert!(peak < memory, "{peak} MB instead of at most {memory}");
        let worst = whole.pixels.iter().zip(&banded.pixels).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(worst <= Some(1), "within {memory} MB the picture is another one: {worst:?}");
    }
    let differing = whole.pixels.iter().filter(|value| **value != whole.pixels[0]).count();
    assert!(differing > whole.pixels.len() / 2, "the picture has something to compare");
}
