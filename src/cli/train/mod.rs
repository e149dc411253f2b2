//! `cyclegan train`

mod flags;
mod folder;
mod init;
mod machines;
mod progress;
mod recorder;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};

use super::report;
use super::{Choice, Console, ExitStatus, Serve};
use crate::config::{Changes, ModelKind, TrainConfig};
use crate::data::UnpairedDataset;
use crate::platform::peers::{Peers, Seat};
use crate::protocol::{Command, Direction, Envelope, Intervals, TrainData};
use flags::{Flags, flag};
pub use folder::read_config;
use folder::{Memory, RunFolder, Start};
use progress::Progress;
pub use recorder::METRICS;
use recorder::Recorder;

/// What a run in a folder writes unless it is told otherwise; the page has a store of its own.
const CHECKPOINT_EVERY: u64 = 500;
const EVALUATE_EVERY: u64 = 1000;
/// Checkpoints that are kept: one more than needed, should the last be damaged.
const KEEP: usize = 2;
/// The official codes', of `--n-epochs` and `--n-epochs-decay`, when only one of them is given.
fn official_epochs(model: ModelKind) -> [u64; 2] {
    match model {
        ModelKind::CycleGan => [100, 100],
        ModelKind::Cut => [200, 200],
        ModelKind::FastCut => [150, 50],
    }
}

/// Trains two generators and two discriminators on images that need no pairs; with --model cut one of each.
///
/// The run's folder receives checkpoints, config.toml, metrics.jsonl, TensorBoard files, preview pictures and, at the
/// end, report.html and the two generators' weight files. Ctrl-C saves and stops; --resume goes on.
///
/// Options count in this order: flags, --config, --preset. The names of the official PyTorch code are understood, too.
///
/// Example: cyclegan train --data horse2zebra --out runs/horse --preset small-128 --domains horse,zebra
///
/// Example: cyclegan train --resume runs/horse --steps 40000
#[derive(clap::Args)]
pub struct Arguments {
    /// A folder or zip with trainA/ and trainB/ (and optionally testA/, testB/); a run remembers it.
    #[arg(id = "path", long = "data", alias = "dataroot", value_name = "PATH",
        required_unless_present_any = ["resume", "print_config"])]
    data: Option<PathBuf>,
    /// The run's folder.
    #[arg(long, value_name = "RUN", required_unless_present_any = ["resume", "print_config", "machines"])]
    out: Option<PathBuf>,
    /// Go on with the run in that folder (or the one of --out), or in a new folder --out with a checkpoint file, such
    /// as one from the page; its length and its intervals may change.
    #[arg(long, value_name = "RUN")]
    resume: Option<Option<PathBuf>>,
    /// A TOML file with any of the options below, named as in --print-config.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the configuration as TOML, each option with its documentation, and do nothing.
    #[arg(long)]
    print_config: bool,
    /// What to compute on.
    #[arg(long, value_enum, default_value = "auto")]
    backend: Choice,
    /// Workers that share every step: threads, each with a batch of its own; with several CUDA GPUs one each.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    workers: u16,
    /// Several machines share every step: the address of the first, which is where that one listens (0.0.0.0:7000 for
    /// all its addresses). Nothing is encrypted: use it in a network that you trust, or through a tunnel.
    #[arg(long, value_name = "HOST:PORT", requires = "machine")]
    machines: Option<String>,
    /// Which of them this is: 1/3 has the run, 2/3 and 3/3 help it with --data alone.
    #[arg(long, value_name = "I/N", requires = "machines", value_parser = machines::seat)]
    machine: Option<Seat>,
    /// Seconds that machines wait for each other; longer than an evaluation takes.
    #[arg(long, value_name = "SECONDS", default_value_t = 600,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    machine_timeout: u32,
    /// The newest checkpoints that are kept [default: 2]
    #[arg(long, value_name = "N")]
    keep: Option<NonZeroUsize>,
    /// Names of the two domains, for the weight files: horse,zebra
    #[arg(long, value_name = "A,B", value_delimiter = ',', help_heading = "Data")]
    domains: Option<Vec<String>>,
    // Before what else has one of its headings: help shows them in the order in which they come up.
    #[command(flatten)]
    flags: Flags,
    /// Epochs in all, instead of --steps; one epoch shows every image of the larger pile once.
    #[arg(long, value_name = "N", conflicts_with = "option:steps", help_heading = "Optimisation")]
    epochs: Option<u64>,
    /// Epochs at the full learning rate, instead of --steps and --decay-from [default: 100 with --n-epochs-decay; of cut 200, of fastcut 150]
    #[arg(long, value_name = "N", alias = "n_epochs", help_heading = "Optimisation",
        conflicts_with_all = ["option:steps", "option:decay_from", "epochs"])]
    n_epochs: Option<u64>,
    /// Epochs over which the learning rate then falls to zero [default: 100 with --n-epochs; of cut 200, of fastcut 50]
    #[arg(long, value_name = "N", alias = "n_epochs_decay", help_heading = "Optimisation",
        conflicts_with_all = ["option:steps", "option:decay_from", "epochs"])]
    n_epochs_decay: Option<u64>,
}

impl Arguments {
    /// What changes the preset, the less important first: the file, the flags.
    fn changes(&self) -> Result<[Changes; 2]> {
        let mut file = Changes::default();
        if let Some(path) = &self.config {
            let name = path.display();
            let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
            file = Changes::from_toml(&text).with_context(|| name.to_string())?;
        }
        let mut flags = self.flags.0.clone();
        match self.domains.as_deref() {
            None => {}
            Some([a, b]) => {
                flags.add("domain_a", a)?;
                flags.add("domain_b", b)?;
            }
            Some(names) => bail!("--domains takes two names such as horse,zebra, not {}", names.len()),
        }
        Ok([file, flags])
    }

    /// The configuration of a new run, but for what depends on its pictures.
    fn config(&self) -> Result<TrainConfig> {
        let [file, flags] = self.changes()?;
        let preset = flags.preset().or(file.preset()).unwrap_or("official");
        let mut config = base(preset);
        let name = self.data.as_deref().and_then(Path::file_stem).map(|name| name.to_string_lossy().into_owned());
        config.data = name.unwrap_or_default();
        config.apply(&file);
        config.apply(&flags);
        init::adopt(&mut config, &[file, flags])?;
        Ok(config)
    }

    /// Images of each domain in a step.
    fn images_per_step(&self, config: &TrainConfig) -> u64 {
        u64::from(config.batch_size) * u64::from(config.accumulate) * u64::from(self.workers) * machines::count(self)
    }

    /// Length and decay from the epochs that were asked for.
    fn count_epochs(&self, config: &mut TrainConfig, data: Option<&Pictures>) -> Result<()> {
        let decaying = (self.n_epochs.is_some() || self.n_epochs_decay.is_some()).then(|| {
            let [full, falling] = official_epochs(config.model);
            [self.n_epochs.unwrap_or(full), self.n_epochs_decay.unwrap_or(falling)]
        });
        let Some(epochs) = decaying.map(|[full, falling]| full.saturating_add(falling)).or(self.epochs) else {
            return Ok(());
        };
        let data = data.ok_or_else(|| anyhow!("epochs can only be counted with --data"))?;
        let images_per_step = self.images_per_step(config);
        let epoch = data.dataset()?.epoch_length().div_ceil(images_per_step.max(1));
        config.steps = epochs.saturating_mul(epoch);
        if let Some([full, _]) = decaying {
            config.decay_from = (full as f64 / epochs.max(1) as f64) as f32;
        }
        Ok(())
    }

    /// The folder that is resumed, if one is.
    fn resumed(&self) -> Result<Option<&Path>> {
        match (&self.resume, &self.out) {
            (None, _) => Ok(None),
            (Some(Some(file)), Some(_)) if file.is_file() => Ok(Some(file)),
            (Some(Some(file)), None) if file.is_file() => {
                bail!("{} is a file: name a folder for the run with --out", file.display())
            }
            (Some(Some(run)), Some(out)) if run != out => {
                bail!(
                    "--resume {} and --out {} are two folders: a run goes on where it is",
                    run.display(),
                    out.display()
                )
            }
            (Some(Some(run)), _) | (Some(None), Some(run)) => Ok(Some(run)),
            (Some(None), None) => bail!("--resume which run? Name its folder: --resume RUN"),
        }
    }
}

/// A preset, with what a run in a folder writes.
fn base(preset: &str) -> TrainConfig {
    TrainConfig {
        checkpoint_every: CHECKPOINT_EVERY,
        evaluate_every: EVALUATE_EVERY,
        ..TrainConfig::preset(preset).unwrap_or_default()
    }
}

/// The pictures as a command carries them.
struct Pictures {
    data: TrainData,
    buffers: Vec<Vec<u8>>,
}

impl Pictures {
    fn read(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        if path.is_dir() {
            return Ok(Self { data: TrainData::Folder { path: name }, buffers: Vec::new() });
        }
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {name}"))?;
        Ok(Self { data: TrainData::Zip { name }, buffers: vec![bytes] })
    }

    fn dataset(&self) -> Result<UnpairedDataset> {
        Ok(match &self.data {
            TrainData::Folder { path } => UnpairedDataset::from_folder(Path::new(path))?,
            _ => UnpairedDataset::from_zip(self.buffers.first().cloned().unwrap_or_default())?,
        })
    }
}

/// A training that can begin.
struct Plan {
    folder: RunFolder,
    config: TrainConfig,
    keep: usize,
    command: Envelope<Command>,
    peers: Option<Peers>,
    notes: Vec<String>,
}

/// A run that begins.
fn begin(arguments: &Arguments) -> Result<Plan> {
    let (Some(path), Some(out)) = (&arguments.data, &arguments.out) else { bail!("--data and --out are needed") };
    let pictures = Pictures::read(path)?;
    let mut config = arguments.config()?;
    arguments.count_epochs(&mut config, Some(&pictures))?;
    config.check().map_err(anyhow::Error::msg)?;
    let folder = RunFolder::create(out)?;
    let memory = Memory { data: absolute(path), keep: arguments.keep.map_or(KEEP, NonZeroUsize::get) };
    folder.describe(&config, &memory)?;
    let peers = machines::gather(arguments, &pictures)?;
    let command = train(&config, pictures)?;
    Ok(Plan { folder, config, keep: memory.keep, command, peers, notes: Vec::new() })
}

/// The command of a new training, with the weights that it begins with.
fn train(config: &TrainConfig, pictures: Pictures) -> Result<Envelope<Command>> {
    let (init, weights) = init::files(config)?;
    let command = Command::Train { config: config.clone().into(), init, data: pictures.data };
    Ok(Envelope::with(command, weights.into_iter().chain(pictures.buffers).collect()))
}

/// A run that goes on: the one in a folder, or one that a checkpoint file has brought from elsewhere.
fn go_on(arguments: &Arguments, run: &Path) -> Result<Plan> {
    let (folder, start) = match &arguments.out {
        Some(out) if run.is_file() => {
            let bytes = std::fs::read(run).with_context(|| format!("cannot read {}", run.display()))?;
            let start = Start::from_checkpoint(bytes).with_context(|| run.display().to_string())?;
            (RunFolder::create(out)?, start)
        }
        _ => {
            let folder = RunFolder::open(run)?;
            let start = folder.start()?;
            (folder, start)
        }
    };
    let Start { checkpoint, config: before, step, notes } = start;
    let remembered = folder.memory()?.unwrap_or_default();
    let data = match &arguments.data {
        Some(path) => absolute(path),
        None if remembered.data.as_os_str().is_empty() => {
            bail!("{} does not say where its pictures are: name them with --data", run.display())
        }
        None => remembered.data,
    };
    let pictures = Pictures::read(&data)?;
    let config = resumed(&before, &arguments.changes()?)?;
    let mut counted = config.clone();
    arguments.count_epochs(&mut counted, Some(&pictures))?;
    let config = same_training(&before, counted)?;
    config.check().map_err(anyhow::Error::msg)?;
    if config.steps < step {
        bail!("the run has made {step} steps already; --steps {} is less", config.steps);
    }
    let keep = arguments.keep.map_or(if remembered.keep == 0 { KEEP } else { remembered.keep }, NonZeroUsize::get);
    folder.put_aside_after(step)?;
    folder.describe(&config, &Memory { data, keep })?;
    let peers = machines::gather(arguments, &pictures)?;
    let command = match checkpoint {
        Some(checkpoint) => {
            let intervals = Intervals {
                preview_every: Some(config.preview_every),
                checkpoint_every: Some(config.checkpoint_every),
                evaluate_every: Some(config.evaluate_every),
            };
            let command = Command::ResumeTraining { steps: Some(config.steps), intervals, data: pictures.data };
            Envelope::with(command, std::iter::once(checkpoint).chain(pictures.buffers).collect())
        }
        None => train(&config, pictures)?,
    };
    Ok(Plan { folder, config, keep, command, peers, notes })
}

/// The configuration of a run with changes, of which most are refused.
fn resumed(before: &TrainConfig, changes: &[Changes; 2]) -> Result<TrainConfig> {
    let mut config = before.clone();
    for change in changes {
        if let Some(preset) = change.preset().filter(|preset| *preset != before.preset) {
            bail!("the run began with the preset {}: it cannot go on with {preset}", before.preset);
        }
        config.apply(change);
    }
    same_training(before, config)
}

fn same_training(before: &TrainConfig, config: TrainConfig) -> Result<TrainConfig> {
    let Some(field) = before.differs(&config) else { return Ok(config) };
    let [was, is] = [before, &config].map(|config| config.get(field.name).unwrap_or_default());
    let may = TrainConfig::MAY_CHANGE.map(|name| format!("--{}", name.replace('_', "-"))).join(", ");
    bail!(
        "--{} is {was} in this run and cannot become {is}: a run that goes on may change {may}, --keep, --data and \
         --backend; for anything else begin a new one",
        flag(field)
    )
}

/// A run can be resumed from another folder.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// # Errors
/// When the training cannot start, or ends in trouble.
pub fn run(arguments: Arguments, serve: Serve) -> Result<ExitStatus> {
    if let Some(seat) = arguments.machine.filter(|seat| seat.machine > 0 && !arguments.print_config) {
        return machines::help(&arguments, seat, serve);
    }
    let run = arguments.resumed()?;
    if arguments.print_config {
        let data = arguments.data.as_deref().map(Pictures::read).transpose()?;
        let mut config = match run {
            Some(run) => resumed(&read_config(run)?, &arguments.changes()?)?,
            None => arguments.config()?,
        };
        arguments.count_epochs(&mut config, data.as_ref())?;
        config.check().map_err(anyhow::Error::msg)?;
        print!("{}", config.to_toml(true));
        return Ok(ExitStatus::Done);
    }
    let plan = match run {
        Some(run) => go_on(&arguments, run)?,
        None => begin(&arguments)?,
    };
    let Plan { folder, config, keep, command, peers, notes } = plan;
    Console::interruptible().context("cannot listen to Ctrl-C")?;

    let images_per_step = 2 * arguments.images_per_step(&config);
    let mut recorder = Recorder::new(&folder, keep, Progress::new(images_per_step))?;
    for note in notes {
        recorder.progress.say(&note);
    }
    let export = |direction| Envelope::from(Command::Export { direction });
    let directions = [Direction::AtoB, Direction::BtoA].into_iter().take(if config.is_one_sided() { 1 } else { 2 });
    let commands: Vec<_> = std::iter::once(command).chain(directions.map(export)).collect();
    let console = Console::new(commands, |envelope| recorder.hear(envelope))
        .shared_by(usize::from(arguments.workers))
        .among(peers);
    serve(arguments.backend, &console)?;
    drop(console);
    recorder.progress.end();
    let page = folder.path().join("report.html");
    // A training that never began has nothing to report.
    if recorder.has_begun {
        match report::write(folder.path(), &page) {
            Ok(()) => println!("{}", page.display()),
            Err(error) => eprintln!("there is no report: {error:#}"),
        }
    }
    match recorder.trouble {
        Some(message) => bail!(message),
        None => Ok(ExitStatus::Done),
    }
}
