//! The networks on a backend, alone (`cargo bench --bench networks`: a table of the presets) and as one
//! contender of `make bench` (benches/peers/), which starts it with a command. `--backend NAME` chooses among those built
//! in; flex is the default.
//!
//! - `prepare DIR`: the official networks, untrained, as DIR/generator.safetensors (generator_ab) and
//!   DIR/training.safetensors (a checkpoint with all four)
//! - `forward WEIGHTS INPUT SIDE OUTPUT`: one generator on one image; files of f32, planes R, G, B
//! - `step A B SIDE`: the official training, one pair of images
//! - `memory A B SIDE`: two such steps, and the memory they took (on flex)
//! - `share SIDE NGF BLOCKS STEPS`: a step of a small training over six forward passes, by processor time: on a software
//!   graphics card it counts what the card does, too
//!
//! `forward` and `step` warm up, say so in a line of JSON, and then make one timed run a line on
//! standard input: contenders take turns, so that a machine's moods meet them all.
//!
//! The floor is arithmetic: the official generator does 57 billion multiply-adds on a 256² image,
//! a training step about 18 times a forward pass (six forwards, each with two backward products)
//! and the discriminators' share.

use std::io::{BufRead, stdin};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use burn::backend::{Autodiff, Flex};
use burn::tensor::{Distribution, Tensor, TensorData};
use cyclegan::config::{Choice, PRESETS, TrainConfig};
use cyclegan::kernels::{Kernels, Precision, with_precision};
use cyclegan::protocol::{Direction, Losses};
use cyclegan::training::Trainer;
use cyclegan::weights::networks::load_generator;
use cyclegan::weights::{Storage, WeightFile};
use serde_json::json;

const WARM_UP: usize = 1;
const RUNS: usize = 5;

fn main() -> Result<()> {
    cyclegan::platform::allocator::keep_freed_memory();
    // `cargo bench` adds its own flag.
    let mut arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let backend = match arguments.iter().position(|argument| argument == "--backend") {
        Some(place) => arguments.drain(place..).nth(1).context("--backend comes last, with a name")?,
        None => "flex".into(),
    };
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match backend.as_str() {
        "flex" => run::<Flex>(&arguments, "CPU"),
        #[cfg(feature = "candle")]
        #[allow(deprecated, reason = "burn-candle is deprecated after 0.21, on which this project stays")]
        "candle" => run::<burn::backend::Candle>(&arguments, "CPU"),
        #[cfg(feature = "wgpu")]
        "wgpu" => {
            use burn::backend::wgpu::{graphics::AutoGraphicsApi, init_setup};
            let setup = init_setup::<AutoGraphicsApi>(&Default::default(), Default::default());
            run::<burn::backend::Wgpu>(&arguments, &setup.adapter.get_info().name)
        }
        #[cfg(feature = "cuda")]
        "cuda" => run::<burn::backend::Cuda>(&arguments, "CUDA GPU"),
        other => bail!("the backend {other} is not built in"),
    }
}

fn run<B: Kernels>(arguments: &[&str], device: &str) -> Result<()> {
    match *arguments {
        [] => presets::<B>(device),
        ["prepare", folder] => prepare(Path::new(folder)),
        ["forward", weights, input, side, output] => forward::<B>(weights, input, side.parse()?, output, device),
        ["step", a, b, side] => step::<B>(a, b, side.parse()?, device),
        ["memory", a, b, side] => memory(a, b, side.parse()?),
        ["share", side, ngf, blocks, steps] => share::<B>(side.parse()?, ngf.parse()?, blocks.parse()?, steps.parse()?),
        _ => bail!("unknown command {arguments:?}: see the top of benches/networks.rs"),
    }
}

/// The official training on images of another side: the networks do not depend on it.
fn official(side: usize) -> TrainConfig {
    TrainConfig { size: side as u32, load_size: side as u32, seed: 1, precision: precision(), ..TrainConfig::default() }
}

/// What convolutions are computed in: PRECISION in the environment, else f32.
fn precision() -> Precision {
    std::env::var("PRECISION").ok().and_then(|name| Precision::parse(&name)).unwrap_or_default()
}

fn prepare(folder: &Path) -> Result<()> {
    let trainer = Trainer::<Autodiff<Flex>>::new(official(256), &Default::default());
    let generator = pollster::block_on(trainer.weights(Direction::AtoB))?;
    generator.write_to(&folder.join("generator.safetensors"), Storage::F32)?;
    std::fs::write(folder.join("training.safetensors"), pollster::block_on(trainer.checkpoint())?)?;
    Ok(())
}

fn read_image<B: Kernels>(path: &str, side: usize) -> Result<Tensor<B, 4>> {
    let bytes = std::fs::read(path).with_context(|| format!("{path} cannot be read"))?;
    let values: Vec<f32> = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    if values.len() != 3 * side * side {
        bail!("{path} holds {} values, not 3 × {side} × {side}", values.len());
    }
    Ok(Tensor::from_data(TensorData::new(values, [1, 3, side, side]), &Default::default()))
}

/// One timed run for every line on standard input.
fn serve(mut run: impl FnMut() -> Result<()>) -> Result<()> {
    for line in stdin().lock().lines() {
        line?;
        let start = Instant::now();
        run()?;
        println!("{}", json!({ "milliseconds": start.elapsed().as_secs_f64() * 1e3 }));
    }
    Ok(())
}

fn forward<B: Kernels>(weights: &str, input: &str, side: usize, output: &str, device: &str) -> Result<()> {
    let generator = load_generator::<B>(WeightFile::read_from(Path::new(weights))?, &Default::default())?;
    let image = read_image::<B>(input, side)?;
    let run = || with_precision(precision(), || generator.forward(image.clone()).into_data());
    let bytes: Vec<u8> = run().iter::<f32>().flat_map(f32::to_le_bytes).collect();
    std::fs::write(output, bytes)?;
    println!("{}", json!({ "ready": true, "device": device, "threads": rayon::current_num_threads() }));
    serve(|| {
        std::hint::black_box(run());
        Ok(())
    })
}

/// Makes one step and reads its losses, as a training that reports does.
fn one_step<B: Kernels>(trainer: &mut Trainer<Autodiff<B>>, a: &Tensor<B, 4>, b: &Tensor<B, 4>) -> Result<Losses> {
    pollster::block_on(trainer.step(a.clone(), b.clone()).map_err(anyhow::Error::msg)?.read())
        .map_err(anyhow::Error::msg)
}

fn step<B: Kernels>(a: &str, b: &str, side: usize, device: &str) -> Result<()> {
    let (a, b) = (read_image(a, side)?, read_image(b, side)?);
    let mut trainer = Trainer::<Autodiff<B>>::new(official(side), &Default::default());
    // The second step's losses depend on the first one's gradients and updates.
    let losses = [one_step(&mut trainer, &a, &b)?, one_step(&mut trainer, &a, &b)?];
    let threads = rayon::current_num_threads();
    println!("{}", json!({ "ready": true, "device": device, "threads": threads, "losses": losses }));
    serve(|| one_step(&mut trainer, &a, &b).map(drop))
}

fn memory(a: &str, b: &str, side: usize) -> Result<()> {
    let (a, b) = (read_image(a, side)?, read_image(b, side)?);
    let mut trainer = Trainer::<Autodiff<Flex>>::new(official(side), &Default::default());
    // Adam's moments are there from the second step on.
    one_step(&mut trainer, &a, &b)?;
    let first = peak()?;
    one_step(&mut trainer, &a, &b)?;
    println!("{}", json!({ "first": first, "peak": peak()?, "live": live(&trainer.config) }));
    Ok(())
}

/// Seconds of processor time that this process has had, over all threads.
fn processor_time() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // Behind the name, which is in parentheses: user and system time are the 12th and the 13th field, in ticks.
    let (_, fields) = stat.rsplit_once(')').context("the kernel tells no times")?;
    let ticks: u64 = fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(ticks as f64 / 100.0)
}

/// `steps` rounds of six forward passes of one image and one step; a table by round, the medians last.
fn share<B: Kernels>(side: usize, ngf: u32, n_blocks: u32, steps: usize) -> Result<()> {
    let config = TrainConfig { ngf, ndf: ngf, n_blocks, ..official(side) };
    let device = Default::default();
    let image = || Tensor::<B, 4>::random([1, 3, side, side], Distribution::Uniform(-1.0, 1.0), &device);
    let (a, b) = (image(), image());
    let mut trainer = Trainer::<Autodiff<B>>::new(config, &device);
    let mut rounds = Vec::new();
    for round in 0..=steps {
        let start = processor_time()?;
        let generators = trainer.frozen_generators();
        (0..6).for_each(|_| drop(generators.ab.forward(a.clone()).into_data()));
        let between = processor_time()?;
        one_step(&mut trainer, &a, &b)?;
        let (forwards, step) = (between - start, processor_time()? - between);
        // The first one compiles kernels.
        if round > 0 {
            println!("six forwards {forwards:.2} s, step {step:.2} s: {:.2}", step / forwards);
            rounds.push([forwards, step, step / forwards]);
        }
    }
    let middle = |which: usize| {
        let mut values: Vec<f64> = rounds.iter().map(|round| round[which]).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    };
    println!("six forwards {:.2} s, step {:.2} s: {:.2}", middle(0), middle(1), middle(2));
    Ok(())
}

/// The most memory this process ever had, in bytes.
fn peak() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("the kernel gives no VmHWM")?;
    let kibibytes: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kibibytes << 10)
}

/// Bytes that must live when the generators' backward pass begins, nothing being computed twice:
///
/// - parameters and both moments of the four networks, and the two real images;
/// - of six passes of a generator: the input of every convolution, for the weight's gradient, the input of
///   every norm, for its own, and the output (a norm's output with its ReLU *is* the next convolution's input);
/// - of two passes of a discriminator, whose weights have no gradient then: the input of every norm and
///   the first layer's output.
///
/// Gradients are not counted: each takes the place of feature maps that are needed no more.
fn live(config: &TrainConfig) -> u64 {
    let (side, ngf, ndf) = (u64::from(config.size), u64::from(config.ngf), u64::from(config.ndf));
    let [whole, half, quarter] = [1, 2, 4].map(|scale| (side / scale).pow(2));
    // The stem and the last doubling; the others beside them; norm, ReLU, norm and sum of each block.
    let outer = 2 * 2 * ngf * whole;
    let between = 2 * 2 * 2 * ngf * half + 2 * 4 * ngf * quarter;
    let blocks = u64::from(config.n_blocks) * 4 * 4 * ngf * quarter;
    let generator = outer + between + blocks + 3 * whole;
    let mut rows = side / 2;
    let mut discriminator = ndf * rows * rows;
    for layer in 1..=config.n_layers {
        rows = if layer == config.n_layers { rows - 1 } else { rows / 2 };
        discriminator += (ndf << layer.min(3)) * rows * rows;
    }
    let parameters =
        config.generator_architecture().parameter_count() + config.discriminator_architecture().parameter_count();
    4 * (3 * 2 * parameters + 2 * 3 * whole + 6 * generator + 2 * discriminator)
}

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

fn presets<B: Kernels>(device: &str) -> Result<()> {
    println!("{device}");
    println!("{:12}{:>14}{:>14}{:>12}", "preset", "forward ms", "GFLOP/s", "step ms");
    for preset in PRESETS {
        let Some(config) = TrainConfig::preset(preset.name) else { continue };
        let device = Default::default();
        let side = config.size as usize;
        let image = || Tensor::<B, 4>::random([1, 3, side, side], Distribution::Uniform(-1.0, 1.0), &device);
        let (a, b) = (image(), image());
        let mut trainer = Trainer::<Autodiff<B>>::new(config.clone(), &device);
        let generators = trainer.frozen_generators();
        let forward = median(|| drop(generators.ab.forward(a.clone()).into_data()));
        let step = median(|| drop(one_step(&mut trainer, &a, &b)));
        let speed = 2.0 * work(&config) / forward / 1e6;
        println!("{:12}{forward:>14.1}{speed:>14.1}{step:>12.1}", preset.name);
    }
    Ok(())
}
