//! The Train place as plain data: the settings, how far the training is, its losses and previews.

mod imported;
mod inspector;
mod message;
pub mod settings;

use super::history::History;
use crate::{
    config::{Changes, Field, TrainConfig, UNSIZED},
    protocol::{Event, KeptTraining, PREVIEW_ROWS, PreviewCell},
};

/// Bytes that previews may take.
const PREVIEW_BYTES: usize = 96 << 20;

pub use imported::Imported;
pub use inspector::{Inspector, Look, Seen};
pub use message::Message;

/// Where the two piles come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// The data set that comes with the page.
    #[default]
    BuiltIn,
    /// The visitor's own pictures.
    Own,
}

/// How far the training is.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Phase {
    /// Nothing has been started yet.
    #[default]
    Idle,
    /// The pictures are being fetched or read.
    Gathering {
        /// Bytes or files so far.
        done: u64,
        /// Bytes or files in all, if known.
        total: Option<u64>,
    },
    /// The worker sets the networks up.
    Starting,
    /// Steps are being made.
    Running,
    /// Waiting for [`Message::Resume`].
    Paused,
    /// The step under way is the last.
    Stopping,
    /// Finished, stopped, or in trouble: what went wrong.
    Ended {
        /// Whole sentences.
        trouble: Option<String>,
    },
}

impl Phase {
    /// Whether a training is under way.
    pub fn is_active(&self) -> bool {
        !matches!(self, Self::Idle | Self::Ended { .. })
    }
}

/// The previews of one step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Preview {
    /// Steps made then.
    pub step: u64,
    /// What the pictures are.
    pub cells: Vec<PreviewCell>,
    /// RGBA8 of each.
    pub pixels: Vec<Vec<u8>>,
}

/// What is being trained on, told by the worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Begun {
    /// Images in pile A.
    pub images_a: u32,
    /// Images in pile B.
    pub images_b: u32,
    /// Parameters of one generator.
    pub parameters: u64,
    /// Steps that it will take in all.
    pub steps: u64,
    /// Whether there is one generator.
    pub is_one_sided: bool,
}

/// The Train place.
#[derive(Clone, Debug)]
pub struct Training {
    /// Which pictures.
    pub source: Source,
    /// Files in the visitor's two piles.
    pub piles: [usize; 2],
    /// Name of the visitor's zip, which stands for both piles.
    pub zip: Option<String>,
    /// Names of the visitor's two domains.
    pub names: [String; 2],
    /// Settings of the next or the running training.
    pub config: TrainConfig,
    /// Ids of the models that the generators from A and from B start from; nothing for new weights.
    pub starts: [String; 2],
    /// The option that was last set to something it cannot be, and what is wrong with that.
    pub mistake: Option<(&'static str, String)>,
    /// Sample pairs in each preview.
    pub preview_rows: u32,
    /// Frames of a video on their way into a pile: which, how many, of how many.
    pub frames: Option<(usize, u32, u32)>,
    /// How far it is.
    pub phase: Phase,
    /// What the worker made of the pictures.
    pub begun: Begun,
    /// Steps made.
    pub step: u64,
    /// Epochs begun.
    pub epoch: u32,
    /// Speed.
    pub steps_per_second: f32,
    /// Learning rate of the last step.
    pub learning_rate: f64,
    /// Losses so far.
    pub history: History,
    /// How much the curves are smoothed, 0 to 1.
    pub smoothing: f64,
    /// The previews so far, oldest first; thinned out when they grow too many.
    pub previews: Vec<Preview>,
    /// Which of them is looked at; `None` for the latest.
    pub looked_at: Option<usize>,
    /// Pictures that could not be used: name and reason.
    pub skipped: Vec<(String, String)>,
    /// The training that this machine keeps.
    pub kept: Option<KeptTraining>,
    /// The checkpoint file that the next start goes on with.
    pub imported: Option<Imported>,
    /// Whether the last training ended in numbers that are none.
    pub has_diverged: bool,
    /// One picture on its way through the networks.
    pub inspector: Inspector,
    /// Whether to go on by itself as soon as the new worker says what is kept.
    is_orphaned: bool,
    /// Where it last went on by itself: not twice from the same step.
    revived_at: Option<u64>,
}

impl Default for Training {
    fn default() -> Self {
        Self {
            source: Source::default(),
            piles: [0, 0],
            zip: None,
            names: ["A".into(), "B".into()],
            config: TrainConfig::preset("demo").unwrap_or_default(),
            starts: Default::default(),
            mistake: None,
            preview_rows: PREVIEW_ROWS,
            frames: None,
            phase: Phase::default(),
            begun: Begun::default(),
            step: 0,
            epoch: 0,
            steps_per_second: 0.0,
            learning_rate: 0.0,
            history: History::default(),
            smoothing: 0.8,
            previews: Vec::new(),
            looked_at: None,
            skipped: Vec::new(),
            kept: None,
            imported: None,
            has_diverged: false,
            inspector: Inspector::default(),
            is_orphaned: false,
            revived_at: None,
        }
    }
}

impl Training {
    /// The previews on the screen.
    pub fn preview(&self) -> Option<&Preview> {
        self.looked_at.and_then(|place| self.previews.get(place)).or(self.previews.last())
    }

    /// Takes in the latest previews. Every other old one goes when they take too much memory.
    fn show(&mut self, preview: Preview) {
        self.previews.retain(|old| old.step < preview.step);
        self.previews.push(preview);
        let bytes: usize = self.previews.iter().flat_map(|preview| &preview.pixels).map(Vec::len).sum();
        if bytes > PREVIEW_BYTES && self.previews.len() > 3 {
            let looked_at = self.preview().map(|preview| preview.step);
            let last = self.previews.len() - 1;
            let mut place = 0..;
            self.previews.retain(|_| place.next().is_some_and(|place| place % 2 == 0 || place == last));
            if self.looked_at.is_some() {
                self.looked_at = self.previews.iter().position(|preview| Some(preview.step) >= looked_at);
            }
        }
    }

    /// Why it cannot start, in one sentence.
    pub fn missing(&self) -> Option<&'static str> {
        match (self.source, &self.zip, self.piles) {
            (Source::BuiltIn, ..) | (_, Some(_), _) => None,
            (_, _, [0, 0]) => Some("Give pictures for A and for B first."),
            (_, _, [0, _]) => Some("Give pictures for A first."),
            (_, _, [_, 0]) => Some("Give pictures for B first."),
            _ => None,
        }
    }

    /// Why it cannot start, or nothing: what is missing, what is set to something impossible, or impossible together.
    pub fn problem(&self) -> Option<String> {
        let missing = || self.missing().map(String::from);
        let mistake = || Some(self.mistake.as_ref()?.1.clone());
        missing().or_else(mistake).or_else(|| self.config.check().err())
    }

    /// Whether there are networks that a picture can be taken through, there and back.
    pub fn has_networks(&self) -> bool {
        !self.begun.is_one_sided
            && self.begun.parameters > 0
            && !matches!(self.phase, Phase::Gathering { .. } | Phase::Starting)
    }

    /// Whether the training that is shown, or else the next one, has one generator.
    pub fn is_one_sided(&self) -> bool {
        if self.begun.steps > 0 { self.begun.is_one_sided } else { self.config.is_one_sided() }
    }

    /// Whether there are generators to use or save.
    pub fn has_generators(&self) -> bool {
        self.step > 0 && !matches!(self.phase, Phase::Gathering { .. } | Phase::Starting)
    }

    /// Names of the two domains of the training that is shown.
    pub fn domains(&self) -> [&str; 2] {
        match self.phase {
            Phase::Idle | Phase::Gathering { .. } => self.next_domains(),
            _ => [&self.config.domain_a, &self.config.domain_b],
        }
    }

    fn next_domains(&self) -> [&str; 2] {
        match self.source {
            Source::BuiltIn => ["flat", "3D"],
            Source::Own => [&self.names[0], &self.names[1]],
        }
    }

    /// Whether it trains by the clock and does not know yet how many steps fit into the time.
    pub fn is_unsized(&self) -> bool {
        self.config.steps == UNSIZED
    }

    /// Seconds to the end, at the present speed.
    pub fn seconds_left(&self) -> f64 {
        self.config.steps.saturating_sub(self.step) as f64 / f64::from(self.steps_per_second)
    }

    /// Clears what the training before left, and waits for pictures.
    pub fn prepare(&mut self) {
        self.phase = Phase::Gathering { done: 0, total: None };
        (self.step, self.epoch, self.steps_per_second) = (0, 0, 0.0);
        self.history = History::default();
        (self.previews, self.looked_at) = (Vec::new(), None);
        self.skipped.clear();
        self.begun = Begun::default();
        self.has_diverged = false;
        self.inspector.close();
    }

    /// The pictures are here: what to train, unless it was stopped meanwhile.
    pub fn gathered(&mut self, is_zip: bool) -> Option<TrainConfig> {
        if !matches!(self.phase, Phase::Gathering { .. }) {
            return None;
        }
        self.phase = Phase::Starting;
        if self.imported.is_some() {
            return Some(self.config.clone());
        }
        let [a, b] = self.next_domains().map(String::from);
        let data = match (self.source, is_zip) {
            (Source::BuiltIn, _) => "Fluent Emoji, flat and 3D",
            (Source::Own, true) => self.zip.as_deref().unwrap_or("own pictures"),
            (Source::Own, false) => "own pictures",
        };
        let licence = if self.source == Source::BuiltIn { "MIT" } else { "" };
        (self.config.data, self.config.licence) = (data.into(), licence.into());
        (self.config.domain_a, self.config.domain_b) = (a, b);
        Some(self.config.clone())
    }

    /// Ends it; whether the worker has to be told.
    pub fn stop(&mut self) -> bool {
        match self.phase {
            Phase::Gathering { .. } => {
                self.phase = Phase::Ended { trouble: None };
                false
            }
            Phase::Starting | Phase::Running | Phase::Paused => {
                self.phase = Phase::Stopping;
                true
            }
            _ => false,
        }
    }

    /// How many more steps to offer for a training that ended well: those that are left, or all of them again.
    pub fn more_steps(&self) -> Option<u64> {
        let ended = self.phase == Phase::Ended { trouble: None } && self.imported.is_none();
        let Begun { steps, .. } = self.begun;
        (ended && self.has_generators() && steps > 0).then(|| if self.step < steps { steps - self.step } else { steps })
    }

    /// Goes on for so many more steps; the steps in all, if it can.
    pub fn extend(&mut self, more: u64) -> Option<u64> {
        self.more_steps()?;
        self.phase = Phase::Starting;
        Some(self.step + more.max(1))
    }

    /// Goes on with what is kept; whether there is anything.
    pub fn go_on(&mut self) -> bool {
        let Some(kept) = &self.kept else { return false };
        let config = kept.config.clone();
        self.prepare();
        (self.config, self.phase, self.mistake) = (*config, Phase::Starting, None);
        true
    }

    /// Goes on with what is kept, at half its learning rate, which is the answer.
    pub fn go_on_slower(&mut self) -> Option<f64> {
        self.go_on().then(|| {
            self.config.learning_rate /= 2.0;
            self.config.learning_rate
        })
    }

    /// What this machine keeps has changed; whether a training that lost its worker goes on from there.
    pub fn keeps(&mut self, kept: Option<KeptTraining>) -> bool {
        self.kept = kept;
        let step = self.kept.as_ref().map(|kept| kept.step);
        let goes_on = std::mem::take(&mut self.is_orphaned) && step.is_some() && step != self.revived_at;
        if goes_on {
            self.revived_at = step;
        }
        goes_on
    }

    /// Takes a checkpoint file for the next start.
    ///
    /// # Errors
    /// A sentence, when it is none, or when a training is under way.
    pub fn import(&mut self, file: String, bytes: Vec<u8>) -> Result<(), String> {
        if self.phase.is_active() {
            return Err(["Stop the training first, then give ", &file, " again."].concat());
        }
        let imported = Imported::new(file, bytes)?;
        self.take(imported.config.clone());
        self.imported = Some(imported);
        Ok(())
    }

    /// Takes over other settings as a whole.
    pub fn take(&mut self, config: TrainConfig) {
        (self.config, self.mistake) = (config, None);
    }

    /// Sets an option, if it can be that.
    fn set(&mut self, field: &'static Field, value: &str) {
        let name = field.name;
        if let Some(change) = Changes::of_one(field, value) {
            if name == "model" {
                self.config.forget_model();
            }
            self.config.apply(&change);
            if self.config.is_one_sided() {
                // Nothing goes back that could start from anything.
                self.starts[1].clear();
                self.config.init_ba.clear();
            }
            self.mistake.take_if(|(wrong, _)| *wrong == name);
        } else {
            let expected = field.kind.expected();
            let value = if value.is_empty() { "empty" } else { value };
            self.mistake = Some((name, [name, " must be ", &expected, ", not ", value, "."].concat()));
        }
    }

    /// It did not work.
    pub fn fail(&mut self, trouble: String) {
        self.phase = Phase::Ended { trouble: Some(trouble) };
    }

    /// The worker is gone, and the networks with it.
    pub fn worker_gone(&mut self, trouble: &str) {
        if self.phase.is_active() {
            self.is_orphaned = self.phase == Phase::Running;
            self.fail(trouble.into());
        }
        self.step = 0;
        self.begun = Begun::default();
        self.inspector.close();
    }

    /// Changes the settings.
    pub fn update(&mut self, message: Message) {
        match message {
            Message::UseSource(source) => self.source = source,
            Message::Piles(piles) => {
                (self.piles, self.zip) = (piles, None);
                self.source = Source::Own;
            }
            Message::Zip(zip) => {
                self.source = Source::Own;
                self.zip = zip;
            }
            Message::Name(second, name) => self.names[usize::from(second)] = name,
            Message::Preset(name) => {
                if let Some(config) = TrainConfig::preset(&name) {
                    self.take(config);
                }
            }
            Message::Set(field, value) => self.set(field, value.trim()),
            Message::Previews { every, rows } => {
                (self.config.preview_every, self.preview_rows) = (every, rows.max(1));
            }
            Message::Frames(frames) => self.frames = frames,
            Message::Smoothing(smoothing) => self.smoothing = smoothing.clamp(0.0, 0.99),
            Message::Gathering { done, total } => {
                if let Phase::Gathering { .. } = self.phase {
                    self.phase = Phase::Gathering { done, total };
                }
            }
            Message::Gathered(Err(trouble)) => self.fail(trouble),
            Message::Unimport => self.imported = None,
            Message::Look(place) => self.looked_at = Some(place).filter(|place| place + 1 < self.previews.len()),
            // These need the worker: `State::update` sees to them.
            Message::Gathered(Ok(_))
            | Message::StartFrom(_)
            | Message::Start
            | Message::Pause
            | Message::Resume
            | Message::StepOnce
            | Message::Stop
            | Message::Extend(_)
            | Message::GoOn
            | Message::GoOnSlower
            | Message::LoadSettings { .. }
            | Message::SaveSettings
            | Message::Inspect(_)
            | Message::Forget
            | Message::SaveAll
            | Message::Import { .. }
            | Message::Save(_)
            | Message::Use(_) => {}
        }
    }

    /// Takes in what the worker tells about the training.
    pub fn hear(&mut self, event: Event, buffers: Vec<Vec<u8>>) {
        match event {
            Event::TrainingStarted { step, steps, images_a, images_b, parameters, .. } => {
                self.step = step;
                self.config.steps = steps;
                let is_one_sided = self.config.is_one_sided();
                self.begun = Begun { images_a, images_b, parameters, steps, is_one_sided };
                if self.phase == Phase::Starting {
                    self.phase = Phase::Running;
                }
            }
            Event::Sized { config } => self.config = *config,
            Event::ImageSkipped { file, reason } => self.skipped.push((file, reason)),
            Event::Step { step, epoch, losses, learning_rate, steps_per_second } => {
                (self.step, self.epoch) = (step, epoch);
                (self.learning_rate, self.steps_per_second) = (learning_rate, steps_per_second);
                self.history.push(step, &losses);
            }
            Event::Preview { step, cells } => self.show(Preview { step, cells, pixels: buffers }),
            Event::Paused { step } => {
                self.step = step;
                if self.phase == Phase::Running {
                    self.phase = Phase::Paused;
                }
            }
            Event::Resumed { step } => {
                self.step = step;
                if self.phase == Phase::Paused {
                    self.phase = Phase::Running;
                }
            }
            Event::Diverged { .. } => self.has_diverged = true,
            // The end of a training that a newer one has pushed aside is no news.
            Event::Stopped { step, trouble } if !matches!(self.phase, Phase::Gathering { .. }) => {
                self.step = step;
                self.phase = Phase::Ended { trouble };
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
