//! `cyclegan train`

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};

use super::report;
use super::sheet::{Rows, sheet};
use super::tensorboard::EventFile;
use super::translate::write_whole;
use super::{Choice, Console, ExitStatus, Serve};
use crate::config::TrainConfig;
use crate::image::Picture;
use crate::protocol::{Command, Direction, Envelope, Event, PreviewCell, Quality, TrainData};

/// Name of the checkpoint inside a run's folder.
const CHECKPOINT: &str = "checkpoint.safetensors";
/// Name of the file with one JSON line a reported step.
const METRICS: &str = "metrics.jsonl";

/// Trains two generators and two discriminators on images that need no pairs.
///
/// The run's folder receives checkpoints, metrics.jsonl, preview pictures and, at the end, the two
/// generators' weight files. Ctrl-C saves and stops; the same command with --resume goes on.
///
/// Example: cyclegan train --data horse2zebra --out runs/horse --preset small-128 --domains horse,zebra
#[derive(clap::Args)]
pub struct Arguments {
    /// A folder or zip with trainA/ and trainB/ (and optionally testA/, testB/).
    #[arg(long)]
    data: PathBuf,
    /// The run's folder.
    #[arg(long)]
    out: PathBuf,
    /// Where to start from: quick, emoji-64, small-128 or official.
    #[arg(long, default_value = "official")]
    preset: String,
    /// Go on with the run in --out; only --steps may change.
    #[arg(long)]
    resume: bool,
    /// What to compute on.
    #[arg(long, value_enum, default_value = "auto")]
    backend: Choice,
    /// Workers that share every step: threads, each with a batch of its own; with several CUDA GPUs one each.
    #[arg(long, default_value = "1", value_parser = clap::value_parser!(u16).range(1..=64))]
    workers: u16,
    /// Training steps in all.
    #[arg(long)]
    steps: Option<u64>,
    /// Epochs in all, instead of --steps; one epoch shows every image of the larger pile once.
    #[arg(long, conflicts_with = "steps")]
    epochs: Option<u64>,
    /// Seed of every random decision.
    #[arg(long)]
    seed: Option<u64>,
    /// Side of the training images in pixels.
    #[arg(long)]
    size: Option<u32>,
    /// Side that images are resized to before a random crop.
    #[arg(long)]
    load_size: Option<u32>,
    /// Channels after the generator's first convolution.
    #[arg(long)]
    ngf: Option<u32>,
    /// Residual blocks of the generator.
    #[arg(long)]
    blocks: Option<u32>,
    /// Channels after the discriminator's first convolution.
    #[arg(long)]
    ndf: Option<u32>,
    /// Learning rate of Adam.
    #[arg(long)]
    learning_rate: Option<f64>,
    /// Weight of the cycle-consistency losses.
    #[arg(long)]
    lambda_cycle: Option<f32>,
    /// Weight of the identity losses, relative to --lambda-cycle.
    #[arg(long)]
    lambda_identity: Option<f32>,
    /// Fraction of the steps after which the learning rate falls.
    #[arg(long)]
    decay_from: Option<f32>,
    /// Names of the two domains, for the weight files: horse,zebra
    #[arg(long, value_delimiter = ',')]
    domains: Option<Vec<String>>,
    /// Licence of the weights that come out, for their metadata.
    #[arg(long)]
    licence: Option<String>,
    /// A preview picture every so many steps; 0 for none.
    #[arg(long)]
    preview_every: Option<u64>,
    /// A checkpoint every so many steps.
    #[arg(long, default_value_t = 500)]
    checkpoint_every: u64,
    /// Measure the generators on held-out pictures every so many steps, and keep the best (best-*.safetensors); 0 for
    /// never.
    #[arg(long, default_value_t = 1000)]
    evaluate_every: u64,
}

impl Arguments {
    fn config(&self) -> Result<TrainConfig> {
        let Some(mut config) = TrainConfig::preset(&self.preset) else {
            let known: Vec<&str> = crate::config::PRESETS.iter().map(|preset| preset.name).collect();
            bail!("there is no preset {}; there are {}", self.preset, known.join(", "));
        };
        fn set<T: Clone>(value: &mut T, given: &Option<T>) {
            if let Some(given) = given {
                value.clone_from(given);
            }
        }
        set(&mut config.steps, &self.steps);
        set(&mut config.seed, &self.seed);
        if let Some(size) = self.size {
            // Keep the preset's margin for the random crop unless it is given.
            config.load_size = (u64::from(config.load_size) * u64::from(size) / u64::from(config.size)) as u32;
            config.size = size;
        }
        set(&mut config.load_size, &self.load_size);
        set(&mut config.ngf, &self.ngf);
        set(&mut config.n_blocks, &self.blocks);
        set(&mut config.ndf, &self.ndf);
        set(&mut config.learning_rate, &self.learning_rate);
        set(&mut config.lambda_a, &self.lambda_cycle);
        set(&mut config.lambda_b, &self.lambda_cycle);
        set(&mut config.lambda_identity, &self.lambda_identity);
        set(&mut config.decay_from, &self.decay_from);
        set(&mut config.licence, &self.licence);
        set(&mut config.preview_every, &self.preview_every);
        config.checkpoint_every = self.checkpoint_every;
        config.evaluate_every = self.evaluate_every;
        match self.domains.as_deref() {
            None => {}
            Some([a, b]) => (config.domain_a, config.domain_b) = (a.clone(), b.clone()),
            Some(names) => bail!("--domains takes two names such as horse,zebra, not {}", names.len()),
        }
        let name = self.data.file_stem().map(|name| name.to_string_lossy().into_owned());
        config.data = name.unwrap_or_default();
        Ok(config)
    }

    /// The data as a command carries it.
    fn data(&self) -> Result<(TrainData, Vec<Vec<u8>>)> {
        let name = self.data.display().to_string();
        if self.data.is_dir() {
            return Ok((TrainData::Folder { path: name }, Vec::new()));
        }
        let bytes = std::fs::read(&self.data).with_context(|| format!("cannot read {name}"))?;
        Ok((TrainData::Zip { name }, vec![bytes]))
    }
}

/// # Errors
/// When the training cannot start, or ends in trouble.
pub fn run(arguments: Arguments, serve: Serve) -> Result<ExitStatus> {
    let out = arguments.out.clone();
    let (data, mut buffers) = arguments.data()?;
    let command = if arguments.resume {
        let path = out.join(CHECKPOINT);
        let checkpoint = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        buffers.insert(0, checkpoint);
        Command::ResumeTraining { steps: arguments.steps, data }
    } else {
        let mut config = arguments.config()?;
        if let Some(epochs) = arguments.epochs {
            config.steps = epochs * epoch_length(&data, &buffers)?;
        }
        config.check().map_err(anyhow::Error::msg)?;
        if out.join(CHECKPOINT).exists() {
            bail!("{} already holds a training: go on with --resume, or choose another folder", out.display());
        }
        std::fs::create_dir_all(&out).with_context(|| format!("cannot make the folder {}", out.display()))?;
        write_whole(&out.join("config.json"), serde_json::to_string_pretty(&config)?.as_bytes())?;
        Command::Train { config: config.into(), data }
    };
    Console::interruptible().context("cannot listen to Ctrl-C")?;

    let mut recorder = Recorder::new(&out)?;
    let export = |direction| Envelope::from(Command::Export { direction });
    let commands = [Envelope::with(command, buffers), export(Direction::AtoB), export(Direction::BtoA)];
    let console = Console::new(commands, |envelope| recorder.hear(envelope)).shared_by(usize::from(arguments.workers));
    serve(arguments.backend, &console)?;
    drop(console);
    recorder.bar.finish_and_clear();
    let page = out.join("report.html");
    match report::write(&out, &page) {
        Ok(()) => println!("{}", page.display()),
        // A training that ended before its first step has nothing to report.
        Err(error) => eprintln!("there is no report: {error:#}"),
    }
    match recorder.trouble {
        Some(message) => bail!(message),
        None => Ok(ExitStatus::Done),
    }
}

fn epoch_length(data: &TrainData, buffers: &[Vec<u8>]) -> Result<u64> {
    use crate::data::UnpairedDataset;
    let dataset = match data {
        TrainData::Folder { path } => UnpairedDataset::from_folder(Path::new(path))?,
        _ => UnpairedDataset::from_zip(buffers.first().cloned().unwrap_or_default())?,
    };
    Ok(dataset.epoch_length())
}

/// Writes down what a training tells.
struct Recorder {
    out: PathBuf,
    metrics: std::io::LineWriter<std::fs::File>,
    tensorboard: EventFile,
    bar: ProgressBar,
    steps: u64,
    trouble: Option<String>,
    plain: bool,
    last_line: Option<std::time::Instant>,
}

impl Recorder {
    fn new(out: &Path) -> Result<Self> {
        let path = out.join(METRICS);
        let metrics = std::fs::OpenOptions::new().create(true).append(true).open(&path);
        let metrics = metrics.with_context(|| format!("cannot write {}", path.display()))?;
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len}  {msg}  {eta} left");
        let bar = ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Ok(Self {
            out: out.to_owned(),
            metrics: std::io::LineWriter::new(metrics),
            tensorboard: EventFile::create(out).with_context(|| format!("cannot write into {}", out.display()))?,
            plain: bar.is_hidden(),
            bar,
            steps: 0,
            trouble: None,
            last_line: None,
        })
    }

    fn hear(&mut self, envelope: Envelope<Event>) {
        let outcome = self.record(envelope);
        if let Err(error) = outcome {
            self.say(&format!("{error:#}"));
        }
    }

    fn say(&self, line: &str) {
        self.bar.suspend(|| eprintln!("{line}"));
    }

    fn record(&mut self, envelope: Envelope<Event>) -> Result<()> {
        match envelope.message {
            Event::TrainingStarted { step, steps, images_a, images_b, parameters, memory_bytes } => {
                self.steps = steps;
                self.bar.set_length(steps);
                self.bar.set_position(step);
                self.bar.reset_eta();
                self.say(&format!(
                    "{images_a} images of A, {images_b} of B; generators of {parameters} parameters; about {} MB of memory; \
                     steps {step} to {steps}",
                    memory_bytes >> 20
                ));
            }
            Event::Step { step, epoch, losses, learning_rate, steps_per_second } => {
                let line = serde_json::json!({
                    "step": step, "epoch": epoch, "losses": losses,
                    "learning_rate": learning_rate, "steps_per_second": steps_per_second,
                });
                std::io::Write::write_all(&mut self.metrics, format!("{line}\n").as_bytes())
                    .context("cannot write metrics.jsonl")?;
                let scalars = [
                    ("adversarial/a_to_b", losses.adversarial_ab),
                    ("adversarial/b_to_a", losses.adversarial_ba),
                    ("cycle/a", losses.cycle_a),
                    ("cycle/b", losses.cycle_b),
                    ("identity/a", losses.identity_a),
                    ("identity/b", losses.identity_b),
                    ("discriminator/a", losses.discriminator_a),
                    ("discriminator/b", losses.discriminator_b),
                    ("learning_rate", learning_rate as f32),
                    ("steps_per_second", steps_per_second),
                ];
                self.tensorboard.scalars(step, &scalars).context("cannot write the TensorBoard file")?;
                let message = format!(
                    "epoch {epoch}  generators {:.3}  discriminators {:.3}  {steps_per_second:.2} steps/s",
                    losses.generators(),
                    losses.discriminator_a + losses.discriminator_b
                );
                if self.plain && self.last_line.is_none_or(|last| last.elapsed().as_secs() >= 30) {
                    self.last_line = Some(std::time::Instant::now());
                    eprintln!("step {step}/{}  {message}", self.steps);
                }
                self.bar.set_position(step);
                self.bar.set_message(message);
            }
            Event::Advice { message } => self.say(&message),
            Event::ImageSkipped { file, reason } => self.say(&format!("skipped {file}: {reason}")),
            Event::Preview { step, cells } => {
                let sheet = contact_sheet(&cells, envelope.buffers);
                let png = sheet.encode_png()?;
                self.tensorboard.picture(step, "preview", [sheet.width, sheet.height], &png)?;
                write_whole(&self.out.join(format!("preview-{step:07}.png")), &png)?;
            }
            Event::Measured { step, quality, files, .. } => {
                let line = serde_json::json!({ "step": step, "quality": quality });
                std::io::Write::write_all(&mut self.metrics, format!("{line}\n").as_bytes())
                    .context("cannot write metrics.jsonl")?;
                let Quality { cycle_ssim, distance, paired_ssim } = quality;
                let both = |name: &str, [ab, ba]: [f32; 2]| format!("{name} {ab:.3} / {ba:.3}");
                let mut parts = vec![both("cycle SSIM", cycle_ssim), both("patch distance", distance)];
                let mut scalars = vec![
                    ("held_out/cycle_ssim_a", cycle_ssim[0]),
                    ("held_out/cycle_ssim_b", cycle_ssim[1]),
                    ("held_out/distance_a_to_b", distance[0]),
                    ("held_out/distance_b_to_a", distance[1]),
                ];
                if let Some(paired) = paired_ssim {
                    parts.push(both("paired SSIM", paired));
                    scalars.extend([("held_out/paired_a_to_b", paired[0]), ("held_out/paired_b_to_a", paired[1])]);
                }
                self.tensorboard.scalars(step, &scalars)?;
                let is_best = if envelope.buffers.is_empty() { "" } else { ", the best so far" };
                self.say(&format!("step {step}, held-out pictures: {}{is_best}", parts.join(", ")));
                for (file, bytes) in files.iter().zip(&envelope.buffers) {
                    write_whole(&self.out.join(file), bytes)?;
                }
            }
            Event::Checkpoint { .. } => {
                let bytes = envelope.buffers.first().map_or(&[][..], Vec::as_slice);
                write_whole(&self.out.join(CHECKPOINT), bytes)?;
            }
            Event::Weights { file, .. } => {
                let path = self.out.join(file);
                write_whole(&path, envelope.buffers.first().map_or(&[][..], Vec::as_slice))?;
                self.bar.suspend(|| println!("{}", path.display()));
            }
            Event::Stopped { step, trouble } => {
                if trouble.is_none() && step < self.steps {
                    self.say(&format!("stopped after {step} steps; go on with --resume"));
                }
                self.trouble = trouble.map(|trouble| format!("the training ended after {step} steps: {trouble}"));
            }
            Event::Failed { message, .. } => self.trouble = Some(message),
            _ => {}
        }
        Ok(())
    }
}

/// The cells of a preview on one picture: a row a sample, its kinds side by side.
fn contact_sheet(cells: &[PreviewCell], buffers: Vec<Vec<u8>>) -> Picture {
    let mut columns: Vec<(&str, Vec<Picture>)> = Vec::new();
    for (cell, pixels) in cells.iter().zip(buffers) {
        let picture = Picture { width: cell.width, height: cell.height, pixels };
        match columns.iter_mut().find(|(kind, _)| *kind == cell.kind) {
            Some((_, pictures)) => pictures.push(picture),
            None => columns.push((&cell.kind, vec![picture])),
        }
    }
    sheet(Rows { columns: columns.into_iter().map(|(_, pictures)| pictures).collect(), groups: 1 })
}
