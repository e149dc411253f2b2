//! Seconds of a generator's forward pass and of a training step, on flex: `make bench`.
//!
//! The floor is arithmetic: the official generator does 57 billion multiply-adds on a 256² image,
//! a training step about 18 times a forward pass (six forwards, each with two backward products)
//! and the discriminators' share.

use std::time::Instant;

use burn::backend::{Autodiff, Flex};
use burn::tensor::{Distribution, Tensor};
use cyclegan::config::{PRESETS, TrainConfig};
use cyclegan::training::Trainer;

const WARM_UP: usize = 1;
const RUNS: usize = 5;

/// The median of some runs in milliseconds.
fn median(mut run: impl FnMut()) -> f64 {
    (0..WARM_UP).for_each(|_| run());
    let mut times: Vec<f64> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[RUNS / 2]
}

/// Multiply-adds of a generator's forward pass.
fn work(config: &TrainConfig) -> f64 {
    let (size, ngf) = (f64::from(config.size), f64::from(config.ngf));
    let outer = 2.0 * 3.0 * 49.0 * ngf * size * size;
    // Two halvings and two doublings: 9 · (c · 2c) at half the side and 9 · (2c · 4c) at a quarter.
    let between = 2.0 * 9.0 * (2.0 * ngf * ngf * (size / 2.0).powi(2) + 8.0 * ngf * ngf * (size / 4.0).powi(2));
    let blocks = f64::from(config.n_blocks) * 2.0 * 9.0 * 16.0 * ngf * ngf * (size / 4.0).powi(2);
    outer + between + blocks
}

fn main() {
    println!("{:12}{:>14}{:>14}{:>12}", "preset", "forward ms", "GFLOP/s", "step ms");
    for preset in PRESETS {
        let Some(config) = TrainConfig::preset(preset.name) else { continue };
        let device = Default::default();
        let side = config.size as usize;
        let image = || Tensor::<Flex, 4>::random([1, 3, side, side], Distribution::Uniform(-1.0, 1.0), &device);
        let (a, b) = (image(), image());
        let mut trainer = Trainer::<Autodiff<Flex>>::new(config.clone(), &device);
        let generators = trainer.frozen_generators();
        let forward = median(|| drop(generators.ab.forward(a.clone())));
        let step = median(|| drop(trainer.step(a.clone(), b.clone())));
        let speed = 2.0 * work(&config) / forward / 1e6;
        println!("{:12}{forward:>14.1}{speed:>14.1}{step:>12.1}", preset.name);
    }
}
