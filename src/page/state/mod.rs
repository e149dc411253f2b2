//! All that the page knows, and how it changes: [`State::update`] takes a [`Message`], changes the
//! state and says what is to be done as [`Effect`]s. No browser in here, so all of it is tested natively.

mod fine_tune;
mod live;
mod messages;
mod queue;
mod results;
mod translations;
mod types;
mod weights;
mod worker;

use std::{collections::VecDeque, rc::Rc};

use super::{
    models::{Model, Origin, Status},
    training::{Message as Train, Training},
};
use crate::protocol::{BackendName, Command, Direction, Envelope, Intervals, Size, TrainData};

pub use messages::{Effect, LiveMessage, Message};
pub use results::KEPT_BYTES;
use types::Step;
pub use types::{
    Batch, Done, Frame, Halt, Job, Live, Notice, Packing, Picture, Place, Purpose, Reconstruction, Request, Stage,
    Waiting, Worker, mixed,
};

/// All that the page knows.
#[derive(Clone, Debug)]
pub struct State {
    /// Where the visitor is.
    pub place: Place,
    /// The worker.
    pub worker: Worker,
    /// The backend asked for in the address, or flex once the GPU was lost.
    pub backend: Option<BackendName>,
    /// All models; `None` until the list is here.
    pub models: Vec<Model>,
    /// Whether the list is here.
    pub models_listed: bool,
    /// The chosen model's id.
    pub chosen: Option<String>,
    /// What the stage shows.
    pub stage: Stage,
    /// At which size networks compute.
    pub size: Size,
    /// How much of the translations is shown, in percent; the rest is the original.
    pub strength: u32,
    /// The translation under way.
    pub job: Option<Job>,
    /// The last wish.
    pub request: Option<Request>,
    /// Pictures that wait for their turn.
    pub queue: VecDeque<Waiting>,
    /// The file that is being read: its number and name.
    pub reading: Option<(u32, String)>,
    /// What several pictures given together have come to.
    pub batch: Option<Batch>,
    /// This visit's results, oldest first.
    pub results: Vec<Done>,
    /// How many results had to make room for newer ones.
    pub forgotten: usize,
    /// The zip of the results, while it is being made.
    pub packing: Option<Packing>,
    /// The live camera.
    pub live: Option<Live>,
    /// What there is to tell.
    pub notices: Vec<Notice>,
    /// The Train place.
    pub training: Training,
    deaths_in_a_row: u32,
    cancelling: Option<u32>,
    last_number: u32,
    /// Bytes that results may take.
    memory: u64,
}

impl State {
    /// The page as it opens.
    pub fn new(backend: Option<BackendName>) -> Self {
        Self {
            place: Place::default(),
            worker: Worker::Starting,
            backend,
            models: Vec::new(),
            models_listed: false,
            chosen: None,
            stage: Stage::default(),
            size: Size::default(),
            strength: 100,
            job: None,
            request: None,
            queue: VecDeque::new(),
            reading: None,
            batch: None,
            results: Vec::new(),
            forgotten: 0,
            packing: None,
            live: None,
            notices: Vec::new(),
            training: Training::default(),
            deaths_in_a_row: 0,
            cancelling: None,
            last_number: 0,
            memory: KEPT_BYTES,
        }
    }

    /// The model of that id.
    pub fn model(&self, id: &str) -> Option<&Model> {
        self.models.iter().find(|model| model.id() == id)
    }

    /// The chosen model.
    pub fn chosen_model(&self) -> Option<&Model> {
        self.chosen.as_deref().and_then(|id| self.model(id))
    }

    /// The result of that number, while it is kept.
    pub fn done(&self, number: u32) -> Option<&Done> {
        self.results.iter().find(|done| done.number == number)
    }

    /// The model that could bring the result on the stage back.
    pub fn way_back(&self) -> Option<&Model> {
        let Stage::Done { number, .. } = self.stage else { return None };
        let model = self.model(&self.done(number)?.request.model)?;
        self.model(model.listed.reverse.as_deref()?)
    }

    /// Changes the state as `message` says; returns what is to be done.
    pub fn update(&mut self, message: Message) -> Vec<Effect> {
        let mut effects = Vec::new();
        // Whoever goes on has read what there was to read.
        if matches!(
            message,
            Message::ChooseModel(_)
                | Message::Pictures(_)
                | Message::Files(_)
                | Message::WeightFile { .. }
                | Message::GoOn
                | Message::Retry
        ) {
            self.notices.clear();
        }
        match message {
            Message::Go(place) => {
                self.place = place;
                if place != Place::Translate {
                    self.leave_live();
                }
            }
            Message::ModelsListed(Ok(list)) => self.list_models(list),
            Message::ModelsListed(Err(error)) => {
                self.models_listed = true;
                self.tell(error, true);
            }
            Message::ChooseModel(id) => self.choose_model(id, &mut effects),
            Message::Pictures(pictures) => {
                let pictures = pictures.into_iter().map(|picture| Waiting::Here(Rc::new(picture)));
                self.enqueue(pictures.collect(), &mut effects);
            }
            Message::Files(files) => {
                let files = files.into_iter().map(|(key, name)| Waiting::File { key, name });
                self.enqueue(files.collect(), &mut effects);
            }
            Message::FileRead { key, result } => self.file_read(key, result, &mut effects),
            Message::WeightFile { file, bytes, data } => self.take_weight_file(file, bytes, data, &mut effects),
            Message::FineTune(id) => self.fine_tune(&id, &mut effects),
            Message::SaveModel { model, format } => {
                effects.push(Effect::Send(Command::SaveModel { model, format }.into()));
            }
            Message::Downloading { model, received, total } => {
                if let Some(model) = self.model_mut(&model).filter(|model| model.status != Status::Absent) {
                    model.status = Status::Downloading { received, total };
                }
            }
            Message::Downloaded { model, result } => self.downloaded(&model, result, &mut effects),
            Message::Worker(envelope) => self.hear(envelope, &mut effects),
            Message::WorkerDead(reason) => self.worker_died(&reason, &mut effects),
            Message::Cancel => self.cancel(&mut effects),
            Message::CancelOverdue(number) => {
                // Ending the worker always works, but a training in it would be lost.
                if self.cancelling == Some(number) && !self.training.phase.is_active() {
                    self.start_worker(&mut effects);
                }
            }
            Message::GoOn => self.go_on(),
            Message::SaveAll => self.save_all(&mut effects),
            Message::Retry => {
                if let Some(request) = self.request.clone() {
                    self.start(Request { size: self.size, ..request }, &mut effects);
                }
            }
            Message::TranslateSmaller => {
                if let (Stage::TooLarge { fits, .. }, Some(request)) = (&self.stage, self.request.clone()) {
                    let max_side = Some(fits.0.max(fits.1));
                    self.start(Request { max_side, ..request }, &mut effects);
                }
            }
            Message::SetSize(size) => self.set_size(size, &mut effects),
            Message::Strength(percent) => self.strength = percent.min(100),
            Message::BackAgain => self.back_again(&mut effects),
            Message::ShowDone(number) => {
                if self.job.is_none() && self.reading.is_none() && self.done(number).is_some() {
                    self.stage = Stage::Done { number, back: false };
                    self.request = self.done(number).map(|done| done.request.clone());
                }
            }
            Message::ShowBack(wanted) => {
                if let Stage::Done { back, .. } = &mut self.stage {
                    *back = wanted;
                }
            }
            Message::Tell(notice) => self.tell(notice.text, notice.is_error),
            Message::Dismiss(index) => {
                if index < self.notices.len() {
                    self.notices.remove(index);
                }
            }
            Message::Live(message) => self.live(message, &mut effects),
            Message::Train(message) => self.train(message, &mut effects),
        }
        self.advance(&mut effects);
        self.advance_live(&mut effects);
        self.end_live(&mut effects);
        effects
    }
    fn model_mut(&mut self, id: &str) -> Option<&mut Model> {
        self.models.iter_mut().find(|model| model.id() == id)
    }

    fn tell(&mut self, text: impl Into<String>, is_error: bool) {
        let notice = Notice { text: text.into(), is_error };
        if !self.notices.contains(&notice) {
            self.notices.push(notice);
        }
        // More than three at once is a wall; the oldest have been seen.
        let surplus = self.notices.len().saturating_sub(3);
        self.notices.drain(..surplus);
    }

    fn train(&mut self, message: Train, effects: &mut Vec<Effect>) {
        match message {
            Train::Start => {
                if self.training.phase.is_active() {
                    return;
                }
                let is_new = self.training.imported.is_none();
                let waits = || self.start_problem().filter(|_| is_new);
                if let Some(problem) = self.training.problem().or_else(waits) {
                    self.training.fail(problem);
                } else {
                    self.wake_worker(effects);
                    self.training.prepare();
                    let weights = if is_new { self.start_addresses() } else { Vec::new() };
                    effects.push(Effect::GatherTrainingData { weights });
                }
            }
            Train::Gathered(Ok((data, buffers))) => {
                if let Some(config) = self.training.gathered(matches!(data, TrainData::Zip { .. })) {
                    // The generators of the training before are gone once this one begins.
                    self.forget_trained();
                    effects.push(Effect::Send(match self.training.imported.take() {
                        Some(imported) => {
                            let checkpoint = Rc::unwrap_or_clone(imported.bytes);
                            let command = Command::ResumeTraining {
                                steps: Some(config.steps),
                                intervals: Intervals::default(),
                                data,
                            };
                            Envelope::with(command, std::iter::once(checkpoint).chain(buffers).collect())
                        }
                        None => {
                            let mut buffers = buffers.into_iter();
                            let (init, weights) = self.start_files(&mut buffers);
                            let command = Command::Train { config: config.into(), init, data };
                            Envelope::with(command, weights.into_iter().chain(buffers).collect())
                        }
                    }));
                }
            }
            Train::StartFrom(starts) => {
                if !self.training.phase.is_active() {
                    self.start_from(starts, effects);
                }
            }
            Train::Preset(name) => {
                self.training.update(Train::Preset(name));
                self.set_networks();
            }
            Train::Pause => effects.push(Effect::Send(Command::Pause.into())),
            Train::StepOnce => effects.push(Effect::Send(Command::StepOnce.into())),
            Train::Resume => effects.push(Effect::Send(Command::Resume.into())),
            Train::Stop => {
                if self.training.stop() {
                    effects.push(Effect::Send(Command::Stop.into()));
                }
            }
            Train::Extend(more) => {
                if let Some(steps) = self.training.extend(more) {
                    effects.push(Effect::Send(Command::Extend { steps }.into()));
                }
            }
            Train::GoOn => {
                if !self.training.phase.is_active() && self.training.go_on() {
                    self.resume_kept(None, effects);
                }
            }
            Train::GoOnSlower => {
                if !self.training.phase.is_active()
                    && let Some(rate) = self.training.go_on_slower()
                {
                    self.resume_kept(Some(rate), effects);
                }
            }
            Train::Previews { every, rows } => {
                self.training.update(Train::Previews { every, rows });
                if self.training.phase.is_active() && self.training.has_networks() {
                    self.send_previews(effects);
                }
            }
            Train::Inspect(look) => {
                if self.training.has_networks() {
                    effects.extend(self.training.inspector.look(look).map(Effect::Send));
                }
            }
            Train::LoadSettings { file, bytes } => {
                if self.training.phase.is_active() {
                    self.tell(["Stop the training first, then give ", &file, " again."].concat(), true);
                } else {
                    let command = Command::ReadSettings { file };
                    effects.push(Effect::Send(Envelope::with(command, vec![bytes])));
                }
            }
            Train::SaveSettings => {
                let config = Box::new(self.training.config.clone());
                effects.push(Effect::Send(Command::WriteSettings { config }.into()));
            }
            Train::Import { file, bytes } => {
                if let Err(trouble) = self.training.import(file, bytes) {
                    self.tell(trouble, true);
                }
            }
            Train::Forget => effects.push(Effect::Send(Command::ForgetKept.into())),
            Train::SaveAll => effects.push(Effect::Send(Command::ExportCheckpoint.into())),
            Train::Save(direction) => effects.push(Effect::Send(Command::Export { direction }.into())),
            Train::Use(direction) => {
                let (a, b) = (self.training.config.domain_a.clone(), self.training.config.domain_b.clone());
                self.models.retain(|model| model.origin != Origin::Trained);
                let ways = if self.training.is_one_sided() { 1 } else { 2 };
                let ways = [Direction::AtoB, Direction::BtoA].into_iter().take(ways);
                self.models.extend(ways.map(|way| Model::trained(way, &a, &b)));
                self.place = Place::Translate;
                self.choose_model(Model::trained(direction, &a, &b).listed.id, effects);
            }
            message => {
                let chooses_model = matches!(&message, Train::Set(field, _) if field.name == "model");
                self.training.update(message);
                if chooses_model {
                    self.set_networks();
                }
            }
        }
    }

    fn resume_kept(&mut self, learning_rate: Option<f64>, effects: &mut Vec<Effect>) {
        self.wake_worker(effects);
        self.forget_trained();
        // One that has come to its end goes on for as many steps again.
        let kept = self.training.kept.as_ref();
        let steps = kept.filter(|kept| kept.is_complete()).map(|kept| kept.step + kept.config.steps);
        effects.push(Effect::Send(Command::ResumeKept { learning_rate, steps }.into()));
    }

    pub(super) fn send_previews(&self, effects: &mut Vec<Effect>) {
        let (every, rows) = (self.training.config.preview_every, self.training.preview_rows);
        effects.push(Effect::Send(Command::SetPreviews { every, rows }.into()));
    }
}

#[cfg(test)]
mod tests;
