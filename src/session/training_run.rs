//! A training as a session runs it: data in, steps, and what there is to see.

use std::collections::VecDeque;
use std::rc::Rc;

use burn::tensor::Tensor;
use burn::tensor::backend::AutodiffBackend;
use web_time::Instant;

use super::clock::{Clock, spread};
use super::planes::to_tensor;
use super::{Host, Inner, advice::Advice, translation::Model, workers};
use crate::config::{Choice, Precision, Preprocess, TrainConfig, UNSIZED};
use crate::data::{DataError, Sampler, UnpairedDataset};
use crate::kernels::Kernels;
use crate::platform::peers::Peers;
use crate::protocol::{Direction, Envelope, Event, InitFile, Intervals, PREVIEW_ROWS, TrainData};
use crate::training::{Init, StepLosses, Trainer, memory};
use crate::weights::Storage;

/// Pairs of pictures in a preview at most.
const MOST_PREVIEW_ROWS: u32 = 16;

/// Losses are read back at most this often: on a GPU a read-back waits for all work before it.
const REPORT_SECONDS: f64 = 0.2;

/// Steps between two reports at most, whatever the time.
const REPORT_STEPS: usize = 20;

/// Writing checkpoints takes at most one part in so many of the time.
const CHECKPOINT_SHARE: f64 = 20.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Going,
    Paused,
    Ended,
}

/// The training of a session.
pub struct TrainingRun<A>
where
    A: AutodiffBackend + Kernels,
    A::InnerBackend: Kernels,
{
    pub(super) trainer: Trainer<A>,
    /// The training as it was when its losses and parameters were last seen to be numbers.
    pub(super) good: Box<Trainer<A>>,
    pub(super) dataset: UnpairedDataset,
    sampler: Sampler,
    state: State,
    /// Pairs of pictures in a preview.
    pub(super) rows: u32,
    /// When the last steps ended, for the speed.
    pace: VecDeque<Instant>,
    reported: Option<Instant>,
    unreported: usize,
    /// When it was last written down, and how many seconds that took.
    saved: (Instant, f64),
    /// Whether a step was made since it began or was resumed.
    is_new: bool,
    advice: Advice,
    clock: Clock,
    /// Workers that share this one's device, itself included.
    on_device: u64,
}

impl<A> TrainingRun<A>
where
    A: AutodiffBackend + Kernels,
    A::InnerBackend: Kernels,
{
    /// A new training, of which some networks may begin with weights.
    pub fn start(
        mut config: TrainConfig,
        inits: Vec<Init>,
        data: TrainData,
        buffers: Vec<Vec<u8>>,
        device: &A::Device,
    ) -> Result<Self, String> {
        if config.minutes > 0.0 {
            config.steps = UNSIZED;
        }
        config.check()?;
        let dataset = open(data, buffers)?;
        Ok(Self::around(Trainer::begin(config, inits, device)?, dataset))
    }

    /// Goes on at another learning rate; `None` for the one of before.
    pub fn at_rate(mut self, learning_rate: Option<f64>) -> Result<Self, String> {
        let config = &mut self.trainer.config;
        config.learning_rate = learning_rate.unwrap_or(config.learning_rate);
        config.check()?;
        Ok(self)
    }

    /// A training that goes on from a checkpoint.
    pub fn resume(
        checkpoint: &[u8],
        steps: Option<u64>,
        intervals: Intervals,
        data: TrainData,
        buffers: Vec<Vec<u8>>,
        device: &A::Device,
    ) -> Result<Self, String> {
        let mut trainer = Trainer::restore(checkpoint, device).map_err(|error| error.to_string())?;
        let dataset = open(data, buffers)?;
        let config = &mut trainer.config;
        // Whoever says how long it is to be has the last word.
        trainer.spent.is_sized |= steps.is_some_and(|steps| steps != config.steps);
        for (value, given) in [
            (&mut config.steps, steps),
            (&mut config.preview_every, intervals.preview_every),
            (&mut config.checkpoint_every, intervals.checkpoint_every),
            (&mut config.evaluate_every, intervals.evaluate_every),
        ] {
            *value = given.unwrap_or(*value);
        }
        Ok(Self::around(trainer, dataset))
    }

    fn around(trainer: Trainer<A>, dataset: UnpairedDataset) -> Self {
        let sampler = Sampler::new(&trainer.config);
        Self {
            good: Box::new(trainer.clone()),
            clock: Clock::new(trainer.spent),
            trainer,
            dataset,
            sampler,
            state: State::Going,
            rows: PREVIEW_ROWS,
            pace: VecDeque::new(),
            reported: None,
            unreported: 0,
            saved: (Instant::now(), 0.0),
            is_new: true,
            advice: Advice::default(),
            on_device: 1,
        }
    }

    /// Shares every step with `workers − 1` more threads, and with other machines.
    ///
    /// # Errors
    /// When they cannot be started.
    pub async fn recruit(&mut self, workers: usize, peers: Option<Peers>, device: &A::Device) -> Result<(), String> {
        if self.trainer.config.preprocess == Preprocess::None {
            return Err("Without cropping, pictures differ in size: one worker has to train alone.".into());
        }
        let exchange = workers::start(workers, peers, &self.trainer, &self.dataset, device).await?;
        self.trainer.exchange = Some(Rc::new(exchange));
        self.on_device = workers.div_ceil(workers::devices::<A>(device)) as u64;
        *self.good = self.trainer.clone();
        Ok(())
    }

    /// The event that says it has begun.
    pub fn started(&self) -> Event {
        let config = &self.trainer.config;
        Event::TrainingStarted {
            step: self.trainer.step,
            steps: config.steps,
            images_a: self.dataset.train_a.len() as u32,
            images_b: self.dataset.train_b.len() as u32,
            parameters: config.generator_architecture().parameter_count(),
            memory_bytes: self.memory(),
        }
    }

    /// Bytes that it takes on its device, about.
    fn memory(&self) -> u64 {
        memory::estimate(&self.trainer.config).saturating_mul(self.on_device)
    }

    /// Why the device cannot hold the training's largest tensor, of which it takes so many bytes.
    pub fn check_largest(&self, limit: u64) -> Result<(), String> {
        let needed = memory::largest_tensor(&self.trainer.config);
        if needed <= limit {
            return Ok(());
        }
        Err(format!(
            "This training needs {} MB in one piece, and this device takes at most {} MB: choose a smaller size, a narrower \
             network or a smaller batch_size (with accumulate for the same effect).",
            needed >> 20,
            limit >> 20
        ))
    }

    /// A warning when the training is going to take more than the bytes that there are.
    pub fn advice_on_memory(&self, budget: u64) -> Option<Event> {
        let needed = self.memory();
        (needed > budget).then(|| Event::Advice {
            message: format!(
                "This training takes about {} MB of memory and about {} MB are free: it may fail or become very slow. \
                 Smaller pictures, narrower networks, a smaller batch_size (with accumulate for the same effect) or \
                 checkpoint_activations need less.",
                needed >> 20,
                budget >> 20
            ),
        })
    }

    /// A word about a precision that the device does not have.
    pub fn advice_on_precision(&self, device: &A::Device) -> Option<Event> {
        let precision = self.trainer.config.precision;
        (!A::multiplies_in(precision, device)).then(|| Event::Advice {
            message: format!(
                "This device has no {name}, so the training computes in f32: {name} is for {who}.",
                name = precision.as_str(),
                who = match precision {
                    Precision::Bf16 => "processors with AMX or AVX512-BF16 and for NVIDIA GPUs through CUDA",
                    _ => "NVIDIA GPUs through CUDA",
                }
            ),
        })
    }

    /// Whether there is a step to make.
    pub fn is_going(&self) -> bool {
        self.state == State::Going
    }

    /// Pauses, and writes the training down where checkpoints are wanted: many leave as soon as they are told.
    pub async fn pause<H: Host>(&mut self, host: &H) {
        let was_going = self.state == State::Going;
        if was_going {
            self.state = State::Paused;
            self.clock.stop();
        }
        if was_going && self.is_kept(host) {
            self.checkpoint(host).await;
            host.settle().await;
        }
        host.emit(Event::Paused { step: self.trainer.step }.into());
    }

    /// Goes on after a pause.
    pub fn go_on(&mut self) -> Event {
        if self.state == State::Paused {
            self.state = State::Going;
            self.pace.clear();
        }
        Event::Resumed { step: self.trainer.step }
    }

    /// Goes on after its end, up to `steps` in all; the schedule follows the new length, as with a resumed one's.
    ///
    /// # Errors
    /// When it has not ended, or has made as many steps already.
    pub fn extend(&mut self, steps: u64) -> Result<Event, String> {
        if self.state != State::Ended {
            return Err("The training has not ended yet.".into());
        }
        if steps <= self.trainer.step {
            return Err(format!("The training has made {} steps; give it more to go on.", self.trainer.step));
        }
        (self.trainer.config.steps, self.good.config.steps) = (steps, steps);
        (self.state, self.unreported, self.reported) = (State::Going, 0, None);
        self.pace.clear();
        Ok(self.started())
    }

    /// Makes one step of a paused training, shows what came of it, and pauses again.
    pub async fn step_once<H: Host>(&mut self, host: &H, device: &A::Device) {
        if self.state != State::Paused {
            return;
        }
        self.reported = None;
        self.advance(host, device).await;
        self.clock.stop();
        if self.state == State::Paused {
            self.preview(host, device).await;
            host.emit(Event::Paused { step: self.trainer.step }.into());
        }
    }

    /// Ends it; the generators stay.
    pub async fn stop<H: Host>(&mut self, host: &H) {
        if self.state != State::Ended {
            self.end(None, host).await;
        }
    }

    async fn end<H: Host>(&mut self, trouble: Option<String>, host: &H) {
        self.state = State::Ended;
        // Lets the other workers go.
        (self.trainer.exchange, self.good.exchange) = (None, None);
        if trouble.is_none() && self.is_kept(host) {
            self.checkpoint(host).await;
            host.settle().await;
        }
        host.emit(Event::Stopped { step: self.trainer.step, trouble }.into());
    }

    /// Ends a training that has diverged, back at its last good state. That is not written down: what led to it may
    /// be wrong already, and the last checkpoint is from before.
    async fn give_up<H: Host>(&mut self, host: &H, device: &A::Device) {
        let config = self.trainer.config.clone();
        self.trainer = (*self.good).clone();
        // It may have been given other previews since.
        self.trainer.config = config;
        let step = self.trainer.step;
        let message = format!(
            "A loss is no longer a number: the training has diverged. It is back at step {step}, where all was well. \
             Go on from its last checkpoint with a lower learning rate."
        );
        host.emit(Event::Diverged { step }.into());
        self.preview(host, device).await;
        self.end(Some(message), host).await;
    }

    /// Changes the previews, and makes one.
    pub async fn set_previews<H: Host>(&mut self, every: u64, rows: u32, host: &H, device: &A::Device) {
        self.trainer.config.preview_every = every;
        self.rows = rows.clamp(1, MOST_PREVIEW_ROWS);
        self.preview(host, device).await;
    }

    /// One of its generators, for translating, if there is such a one.
    pub fn model(&self, direction: Direction) -> Option<Model<Inner<A>>> {
        let generators = self.trainer.frozen_generators();
        let generator = generators.of(direction)?.clone();
        let TrainConfig { ngf, size, .. } = self.trainer.config;
        Some(Model { generator, ngf: ngf as usize, size, origin: None })
    }

    /// Sends out the weight file of one of its generators.
    pub async fn export<H: Host>(&self, direction: Direction, host: &H) {
        let file = self.trainer.weights(direction).await;
        let bytes = file.and_then(|file| Ok(file.write(Storage::F32)?));
        host.emit(match bytes {
            Ok(bytes) => Envelope::with(Event::Weights { file: self.file_name(direction), direction }, vec![bytes]),
            Err(error) => Event::Failed { job: None, model: None, message: error.to_string() }.into(),
        });
    }

    /// The name of the weight file of one of its generators.
    pub(super) fn file_name(&self, direction: Direction) -> String {
        let config = &self.trainer.config;
        let (from, to) = match direction {
            Direction::AtoB => (&config.domain_a, &config.domain_b),
            Direction::BtoA => (&config.domain_b, &config.domain_a),
        };
        format!("{}-to-{}.safetensors", plain(from), plain(to))
    }

    async fn checkpoint<H: Host>(&mut self, host: &H) {
        // What is no number must not take the place of what is; the next report says so.
        if self.trainer.is_finite().await == Ok(false) {
            return;
        }
        let before = Instant::now();
        let event = Event::Checkpoint { step: self.trainer.step, config: self.trainer.config.clone().into() };
        self.write(event, host).await;
        self.saved = (Instant::now(), before.elapsed().as_secs_f64());
    }

    /// Sends out a checkpoint as a file for people.
    pub async fn export_checkpoint<H: Host>(&self, host: &H) {
        let TrainConfig { domain_a, domain_b, .. } = &self.trainer.config;
        let file =
            format!("{}-and-{}-step-{}.checkpoint.safetensors", plain(domain_a), plain(domain_b), self.trainer.step);
        self.write(Event::CheckpointFile { file }, host).await;
    }

    async fn write<H: Host>(&self, event: Event, host: &H) {
        host.emit(match self.trainer.checkpoint().await {
            Ok(bytes) => Envelope::with(event, vec![bytes]),
            Err(error) => Event::Failed { job: None, model: None, message: error.to_string() }.into(),
        });
    }

    /// Whether checkpoints are wanted at all.
    fn is_kept<H: Host>(&self, host: &H) -> bool {
        self.trainer.config.checkpoint_every > 0 || host.keeps_every() > 0
    }

    /// Whether the last checkpoint is older than wanted, and so old that the next one costs little beside it.
    fn is_checkpoint_due<H: Host>(&self, host: &H) -> bool {
        let (time, took) = self.saved;
        let wanted = host.keeps_every();
        wanted > 0 && time.elapsed().as_secs_f64() >= f64::from(wanted).max(CHECKPOINT_SHARE * took)
    }

    /// Makes one step and tells what there is to tell.
    pub async fn advance<H: Host>(&mut self, host: &H, device: &A::Device) {
        if self.trainer.step >= self.trainer.config.steps {
            return self.end(None, host).await;
        }
        self.clock.tick(&mut self.trainer.spent);
        if std::mem::take(&mut self.is_new) {
            self.preview(host, device).await;
        }
        let skipped = |file, reason| host.emit(Event::ImageSkipped { file, reason }.into());
        let batches = match draw(&self.trainer, &mut self.sampler, &self.dataset, device, skipped) {
            Ok(batches) => batches,
            Err(error) => return self.end(Some(error.to_string()), host).await,
        };
        let rate = self.trainer.learning_rate();
        let losses = match self.trainer.step_over(batches) {
            Ok(losses) => losses,
            Err(trouble) => {
                // The workers that are left go home with what all of them had done.
                if self.is_kept(host) {
                    self.checkpoint(host).await;
                }
                return self.end(Some(trouble), host).await;
            }
        };
        if let Err(trouble) = self.trainer.settle().await {
            return self.end(Some(trouble), host).await;
        }
        self.unreported += 1;
        let config = &self.trainer.config;
        let every = |period: u64| period > 0 && self.trainer.step.is_multiple_of(period);
        let measure = every(config.evaluate_every);
        let (preview, checkpoint) =
            (every(config.preview_every), every(config.checkpoint_every) || self.is_checkpoint_due(host));
        let due = self.reported.is_none_or(|last| last.elapsed().as_secs_f64() >= REPORT_SECONDS);
        // Losses that are no numbers end a training before it is written down over its last good state.
        let is_last = self.trainer.step >= self.trainer.config.steps;
        if due || checkpoint || is_last || self.unreported >= REPORT_STEPS {
            match self.report(losses, rate, host).await {
                Ok(true) => {}
                Ok(false) => return self.give_up(host, device).await,
                Err(trouble) => return self.end(Some(trouble), host).await,
            }
            // Until losses are read, a device may be behind by some steps.
            if !is_last {
                self.size(host);
            }
        }
        if preview {
            self.preview(host, device).await;
        }
        if measure && let Err(trouble) = self.measure(host, device).await {
            return self.end(Some(trouble), host).await;
        }
        if checkpoint {
            self.checkpoint(host).await;
        }
        if is_last {
            self.end(None, host).await;
        }
    }

    /// Looks at the clock of a training by the clock; the first worker's is the one that counts.
    fn size<H: Host>(&mut self, host: &H) {
        let trainer = &mut self.trainer;
        if trainer.config.minutes == 0.0 || trainer.exchange.as_ref().is_some_and(|exchange| exchange.rank() > 0) {
            return;
        }
        self.clock.tick(&mut trainer.spent);
        if let Some(steps) = self.clock.size(trainer.step, &mut trainer.spent, &trainer.config) {
            spread(&mut trainer.config, steps);
            host.emit(Event::Sized { config: trainer.config.clone().into() }.into());
        }
    }

    /// Tells the losses; `false` when they, or what came of them, are no numbers any more.
    async fn report<H: Host>(&mut self, losses: StepLosses<Inner<A>>, rate: f64, host: &H) -> Result<bool, String> {
        let losses = losses.read().await.map_err(|reason| format!("The device was lost: {reason}"))?;
        // The losses are those of the parameters before the step: both are looked at.
        if !losses.is_finite() || !self.trainer.is_finite().await? {
            return Ok(false);
        }
        *self.good = self.trainer.clone();
        let now = Instant::now();
        self.pace.extend(std::iter::repeat_n(now, self.unreported));
        self.pace.drain(..self.pace.len().saturating_sub(50));
        let seconds = self.pace.front().map_or(0.0, |first| (now - *first).as_secs_f64());
        let spanned = self.pace.iter().filter(|time| Some(*time) != self.pace.front()).count();
        (self.reported, self.unreported) = (Some(now), 0);
        let step = self.trainer.step;
        let images = (step - 1) * self.trainer.images_per_step();
        let epoch = (images / self.dataset.epoch_length().max(1)) as u32 + 1;
        let steps_per_second = if seconds > 0.0 { (spanned as f64 / seconds) as f32 } else { 0.0 };
        host.emit(Event::Step { step, epoch, losses, learning_rate: rate, steps_per_second }.into());
        if let Some(message) = self.advice.hear(&losses, &self.trainer.config) {
            host.emit(Event::Advice { message }.into());
        }
        Ok(true)
    }
}

/// The batches of a trainer's next step, each `[real_a, real_b]`; `skipped` is told the name of every image that
/// cannot be used, and why.
///
/// # Errors
/// When a pile has no image that can be used.
pub(super) fn draw<A>(
    trainer: &Trainer<A>,
    sampler: &mut Sampler,
    dataset: &UnpairedDataset,
    device: &A::Device,
    mut skipped: impl FnMut(String, String),
) -> Result<Vec<[Tensor<Inner<A>, 4>; 2]>, DataError>
where
    A: AutodiffBackend + Kernels,
    A::InnerBackend: Kernels,
{
    let mut batches = Vec::new();
    for numbers in trainer.numbers() {
        let (mut a, mut b) = (Vec::new(), Vec::new());
        for number in numbers {
            let drawn = sampler.draw(dataset, number)?;
            drawn.skipped.into_iter().for_each(|(file, reason)| skipped(file, reason));
            a.push(to_tensor(&drawn.a, device));
            b.push(to_tensor(&drawn.b, device));
        }
        batches.push([Tensor::cat(a, 0), Tensor::cat(b, 0)]);
    }
    Ok(batches)
}

/// The weights that the networks of a training begin with, from the first of its buffers.
pub fn inits(
    config: &TrainConfig,
    files: Vec<InitFile>,
    buffers: &mut impl Iterator<Item = Vec<u8>>,
) -> Result<Vec<Init>, String> {
    let init = |InitFile { option, part }: InitFile| {
        let name = config.get(&option).unwrap_or_default();
        Init::read(&option, &name, &buffers.next().unwrap_or_default(), part.as_deref())
    };
    // All buffers are taken, whatever is wrong with one: the pictures follow.
    let all: Vec<_> = files.into_iter().map(init).collect();
    all.into_iter().collect()
}

/// A name as part of a file's.
fn plain(name: &str) -> String {
    name.replace(|c: char| !c.is_alphanumeric(), "-").to_lowercase()
}

fn open(data: TrainData, mut buffers: Vec<Vec<u8>>) -> Result<UnpairedDataset, String> {
    match data {
        TrainData::Zip { name } => {
            let bytes = buffers.pop().ok_or("The zip file did not arrive.")?;
            UnpairedDataset::from_zip(bytes).map_err(|error| format!("{name}: {error}"))
        }
        TrainData::Piles { a, b } => {
            let of_b = buffers.split_off(a.len().min(buffers.len()));
            let named = |names: Vec<String>, files: Vec<Vec<u8>>| names.into_iter().zip(files).collect();
            UnpairedDataset::from_piles(named(a, buffers), named(b, of_b)).map_err(|error| error.to_string())
        }
        TrainData::Folder { path } => from_folder(&path),
    }
}

#[cfg(not(target_family = "wasm"))]
fn from_folder(path: &str) -> Result<UnpairedDataset, String> {
    UnpairedDataset::from_folder(std::path::Path::new(path)).map_err(|error| format!("{path}: {error}"))
}

#[cfg(target_family = "wasm")]
fn from_folder(_path: &str) -> Result<UnpairedDataset, String> {
    Err("A page cannot read folders by their path: drop the folders on it.".into())
}
