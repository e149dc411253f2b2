//! All that the page knows, and how it changes: [`State::update`] takes a [`Message`], changes the
//! state and says what is to be done as [`Effect`]s. No browser in here, so all of it is tested natively.

use std::{collections::VecDeque, rc::Rc};

use super::{
    models::{Listed, Model, Origin, Status},
    training::{Phase, Training},
};
use crate::protocol::{
    BackendName, Command, Direction, Envelope, Event, Input, ModelInfo, Stage as Part, TrainData, WeightFormat,
};

/// The two places of the page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// One picture at a time.
    #[default]
    Translate,
    /// Two piles of pictures.
    Train,
}

/// A picture to translate.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// File name, for people.
    pub name: String,
    /// Whether `bytes` is a file or pixels.
    pub input: Input,
    /// The file's bytes or RGBA8 pixels.
    pub bytes: Vec<u8>,
    /// Its address, if it is one of the samples.
    pub sample: Option<String>,
}

/// What a translation is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To see the picture in the other domain.
    There,
    /// To bring the result of that number back.
    Back(u32),
}

/// A wish for one translation; kept until the next, so that it can be tried again.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// What to translate.
    pub picture: Rc<Picture>,
    /// The model's id.
    pub model: String,
    /// What for.
    pub purpose: Purpose,
    /// Shrink to this longer side first.
    pub max_side: Option<u32>,
}

/// A translation under way.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// The number that the worker answers with.
    pub number: u32,
    /// What is wanted.
    pub request: Request,
    /// Whether the worker has been asked.
    pub sent: bool,
    /// Whether it has been tried again after the worker died.
    pub retried: bool,
    /// What the worker is doing, and how far it is (0 to 1).
    pub progress: Option<(Part, f32)>,
}

/// A result brought back by the other generator.
#[derive(Clone, Debug, PartialEq)]
pub struct Reconstruction {
    /// RGBA8, as large as the result.
    pub pixels: Vec<u8>,
    /// Mean absolute difference from the original's colours, in levels of 0–255.
    pub mean_absolute_error: f64,
    /// Time of the generator.
    pub milliseconds: f64,
}

/// A finished translation.
#[derive(Clone, Debug, PartialEq)]
pub struct Done {
    /// Its job's number.
    pub number: u32,
    /// What was wanted.
    pub request: Request,
    /// The model's title then.
    pub title: String,
    /// Width of all its pictures.
    pub width: u32,
    /// Height of all its pictures.
    pub height: u32,
    /// The original as decoded, RGBA8.
    pub before: Vec<u8>,
    /// The translation, RGBA8.
    pub after: Vec<u8>,
    /// Time of the generator.
    pub milliseconds: f64,
    /// What it ran on.
    pub device: String,
    /// The way back, once asked for.
    pub back: Option<Reconstruction>,
}

/// What the stage shows.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Stage {
    /// The chosen model's example, and an invitation.
    #[default]
    Example,
    /// The picture of the running job.
    Busy,
    /// A finished translation.
    Done {
        /// Its number.
        number: u32,
        /// Whether the original is compared with the reconstruction instead of the result.
        back: bool,
    },
    /// An offer to translate a smaller picture.
    TooLarge {
        /// Size asked for.
        asked: (u32, u32),
        /// Size that fits.
        fits: (u32, u32),
        /// Bytes that the size asked for would take.
        needed: u64,
        /// Bytes that may be taken.
        limit: u64,
    },
    /// It did not work: why.
    Failed(String),
    /// The visitor gave up.
    Cancelled,
}

/// The worker, as far as the page knows.
#[derive(Clone, Debug, PartialEq)]
pub enum Worker {
    /// On its way.
    Starting,
    /// At work.
    Ready {
        /// Backend in use.
        backend: BackendName,
        /// Adapter or processor.
        device: String,
        /// Why it is not the one hoped for.
        note: Option<String>,
    },
    /// It died twice without getting ready.
    Dead(String),
}

/// Something that the page has to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Whole sentences.
    pub text: String,
    /// Whether something went wrong.
    pub is_error: bool,
}

/// What happens to the page.
#[derive(Clone, Debug)]
pub enum Message {
    /// The visitor goes to a place.
    Go(Place),
    /// The list of models is here, or not: why.
    ModelsListed(Result<Vec<Listed>, String>),
    /// A model card is chosen.
    ChooseModel(String),
    /// Pictures are given.
    Pictures(Vec<Picture>),
    /// A weight file is given.
    WeightFile {
        /// Its name.
        file: String,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// A loaded model is to be saved.
    SaveModel {
        /// Its id.
        model: String,
        /// As what.
        format: WeightFormat,
    },
    /// Some of a model's bytes are here.
    Downloading {
        /// Its id.
        model: String,
        /// Bytes so far.
        received: u64,
        /// Bytes in all, if known.
        total: Option<u64>,
    },
    /// A model's bytes are here, or not: why.
    Downloaded {
        /// Its id.
        model: String,
        /// Its bytes.
        result: Result<Vec<u8>, String>,
    },
    /// The worker says something.
    Worker(Envelope<Event>),
    /// The worker is dead.
    WorkerDead(String),
    /// Give up the job under way.
    Cancel,
    /// The worker has had time enough to give up this job.
    CancelOverdue(u32),
    /// The last request once more.
    Retry,
    /// The last request, at the size that fits.
    TranslateSmaller,
    /// Bring the result on the stage back.
    BackAgain,
    /// A result of this visit is wanted on the stage.
    ShowDone(u32),
    /// Compare with the reconstruction, or with the result.
    ShowBack(bool),
    /// Something to tell.
    Tell(Notice),
    /// A notice has been read.
    Dismiss(usize),
    /// For the Train place.
    Train(super::training::Message),
}

/// What the page has to do.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "a handful at a time, carried out at once")]
pub enum Effect {
    /// Start a worker; the one before it ends.
    StartWorker,
    /// Send a command.
    Send(Envelope<Command>),
    /// Fetch the weights of a model.
    Download {
        /// Its id.
        model: String,
        /// Address of the weight file.
        file: String,
    },
    /// Stop fetching them.
    StopDownload(String),
    /// Send [`Message::CancelOverdue`] after a while.
    WatchCancel(u32),
    /// Collect the training data, then send [`super::training::Message::Gathered`].
    GatherTrainingData,
    /// Hand a file to the visitor.
    SaveFile {
        /// Its name.
        name: String,
        /// Its bytes.
        bytes: Vec<u8>,
    },
}

/// Results kept for the strip; the oldest go first.
const KEPT_RESULTS: usize = 24;

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
    /// The translation under way.
    pub job: Option<Job>,
    /// The last wish.
    pub request: Option<Request>,
    /// Pictures that wait for their turn.
    pub queue: VecDeque<Picture>,
    /// This visit's results, oldest first.
    pub results: Vec<Done>,
    /// What there is to tell.
    pub notices: Vec<Notice>,
    /// The Train place.
    pub training: Training,
    deaths_in_a_row: u32,
    cancelling: Option<u32>,
    last_number: u32,
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
            job: None,
            request: None,
            queue: VecDeque::new(),
            results: Vec::new(),
            notices: Vec::new(),
            training: Training::default(),
            deaths_in_a_row: 0,
            cancelling: None,
            last_number: 0,
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
            Message::ChooseModel(_) | Message::Pictures(_) | Message::WeightFile { .. } | Message::Retry
        ) {
            self.notices.clear();
        }
        match message {
            Message::Go(place) => self.place = place,
            Message::ModelsListed(Ok(list)) => self.list_models(list),
            Message::ModelsListed(Err(error)) => {
                self.models_listed = true;
                self.tell(error, true);
            }
            Message::ChooseModel(id) => self.choose_model(id, &mut effects),
            Message::Pictures(pictures) => self.take_pictures(pictures, &mut effects),
            Message::WeightFile { file, bytes } => self.take_weight_file(file, bytes, &mut effects),
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
            Message::Retry => {
                if let Some(request) = self.request.clone() {
                    self.start(request, &mut effects);
                }
            }
            Message::TranslateSmaller => {
                if let (Stage::TooLarge { fits, .. }, Some(request)) = (&self.stage, self.request.clone()) {
                    let max_side = Some(fits.0.max(fits.1));
                    self.start(Request { max_side, ..request }, &mut effects);
                }
            }
            Message::BackAgain => self.back_again(&mut effects),
            Message::ShowDone(number) => {
                if self.job.is_none() && self.done(number).is_some() {
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
            Message::Train(message) => self.train(message, &mut effects),
        }
        self.advance(&mut effects);
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

    fn list_models(&mut self, list: Vec<Listed>) {
        self.models_listed = true;
        // Weight files dropped before the list arrived stay, after the list's own.
        let dropped = std::mem::take(&mut self.models);
        self.models = list.into_iter().map(Model::listed).chain(dropped).collect();
        if self.chosen.is_none() {
            self.chosen = self.models.first().map(|model| model.id().to_owned());
        }
    }

    fn choose_model(&mut self, id: String, effects: &mut Vec<Effect>) {
        let Some(model) = self.model(&id) else { return };
        let again = self.request.clone().filter(|request| {
            request.purpose == Purpose::There
                && request.picture.sample.as_deref().is_none_or(|sample| model.suits(sample))
        });
        self.chosen = Some(id.clone());
        match again.map(|request| Request { model: id, max_side: None, ..request }) {
            // Whoever cancelled will say when to go on.
            Some(request) if self.stage == Stage::Cancelled => self.request = Some(request),
            Some(request) => self.start(request, effects),
            None => {
                self.give_up_job(effects);
                self.stage = Stage::Example;
                self.request = None;
            }
        }
    }

    fn take_pictures(&mut self, pictures: Vec<Picture>, effects: &mut Vec<Effect>) {
        if pictures.is_empty() {
            return;
        }
        self.place = Place::Translate;
        // A new picture is the newest wish: what runs or waits for its turn gives way.
        self.give_up_job(effects);
        self.queue = pictures.into();
    }

    fn take_weight_file(&mut self, file: String, bytes: Vec<u8>, effects: &mut Vec<Effect>) {
        self.last_number += 1;
        let model = Model::own(self.last_number, file, None, Rc::new(bytes));
        let id = model.id().to_owned();
        self.place = Place::Translate;
        self.models.push(model);
        self.load(&id, effects);
        self.choose_model(id, effects);
    }

    /// Brings a model into the worker, wherever its weights are.
    fn load(&mut self, id: &str, effects: &mut Vec<Effect>) {
        let Some(model) = self.model_mut(id) else { return };
        let file = model.listed.file.clone();
        match &model.origin {
            Origin::Listed => {
                model.status = Status::Downloading { received: 0, total: None };
                effects.push(Effect::Download { model: id.into(), file });
            }
            Origin::Own(bytes) => {
                let command = Command::LoadModel { model: id.into(), file, part: model.part.clone() };
                effects.push(Effect::Send(Envelope::with(command, vec![bytes.to_vec()])));
                model.status = Status::Loading;
            }
            Origin::Trained => {}
        }
    }

    fn downloaded(&mut self, id: &str, result: Result<Vec<u8>, String>, effects: &mut Vec<Effect>) {
        let Some(model) = self.model_mut(id) else { return };
        match result {
            Ok(bytes) => {
                let command = Command::LoadModel { model: id.into(), file: file_name(&model.listed.file), part: None };
                model.status = Status::Loading;
                effects.push(Effect::Send(Envelope::with(command, vec![bytes])));
            }
            Err(reason) => self.model_failed(id, reason),
        }
    }

    fn model_failed(&mut self, id: &str, reason: String) {
        let Some(model) = self.model_mut(id) else { return };
        model.status = Status::Failed(reason.clone());
        let is_own = matches!(model.origin, Origin::Own(_));
        if is_own {
            self.models.retain(|model| model.id() != id);
            if self.chosen.as_deref() == Some(id) {
                self.chosen = self.models.first().map(|model| model.id().to_owned());
            }
        }
        match self.job.take_if(|job| job.request.model == id) {
            Some(_) => self.stage = Stage::Failed(reason),
            None => self.tell(reason, true),
        }
    }

    /// A weight file of the visitor's with several generators becomes as many cards: its own for the first.
    fn split(&mut self, id: &str, parts: Vec<String>, effects: &mut Vec<Effect>) {
        let Some(index) = self.models.iter().position(|model| model.id() == id) else { return };
        let Origin::Own(bytes) = self.models[index].origin.clone() else { return };
        let file = self.models[index].listed.file.clone();
        for (place, part) in parts.into_iter().enumerate() {
            self.last_number += 1;
            let mut model = Model::own(self.last_number, file.clone(), Some(part), bytes.clone());
            if place == 0 {
                model.listed.id = id.to_owned();
                self.models[index] = model;
            } else {
                self.models.insert(index + place, model);
            }
        }
        self.load(id, effects);
    }

    fn start(&mut self, request: Request, effects: &mut Vec<Effect>) {
        self.give_up_job(effects);
        self.wake_worker(effects);
        self.last_number += 1;
        self.request = Some(request.clone());
        self.stage = Stage::Busy;
        // A model that failed before gets another chance.
        if let Some(model) = self.model_mut(&request.model).filter(|model| matches!(model.status, Status::Failed(_))) {
            model.status = Status::Absent;
        }
        self.job = Some(Job { number: self.last_number, request, sent: false, retried: false, progress: None });
    }

    /// Does the next thing that can be done for the job, or takes the next picture of the queue.
    fn advance(&mut self, effects: &mut Vec<Effect>) {
        if self.job.is_none()
            && let Some(model) = self.chosen.clone()
            && let Some(picture) = self.queue.pop_front()
        {
            let picture = Rc::new(picture);
            self.start(Request { picture, model, purpose: Purpose::There, max_side: None }, effects);
        }
        if self.models_listed && self.chosen.is_none() && self.queue.pop_front().is_some() {
            self.stage =
                Stage::Failed("There is no model to translate with. Drop a weight file (.safetensors or .pth).".into());
        }
        let Some(job) = self.job.as_mut().filter(|job| !job.sent) else { return };
        let id = job.request.model.clone();
        match self.models.iter().find(|model| model.id() == id).map(|model| &model.status) {
            Some(Status::Loaded) => {
                job.sent = true;
                let Request { picture, model, max_side, .. } = &job.request;
                let command = Command::Translate {
                    job: job.number,
                    model: model.clone(),
                    input: picture.input.clone(),
                    max_side: *max_side,
                };
                effects.push(Effect::Send(Envelope::with(command, vec![picture.bytes.clone()])));
            }
            Some(Status::Absent) => self.load(&id, effects),
            Some(_) => {}
            None => {
                self.job = None;
                self.stage = Stage::Failed("That model is no longer here. Choose another one.".into());
            }
        }
    }

    fn give_up_job(&mut self, effects: &mut Vec<Effect>) {
        let Some(job) = self.job.take() else { return };
        if job.sent {
            effects.push(Effect::Send(Command::Cancel { job: job.number }.into()));
            effects.push(Effect::WatchCancel(job.number));
            self.cancelling = Some(job.number);
        } else if let Some(model) = self.model_mut(&job.request.model)
            && matches!(model.status, Status::Downloading { .. })
        {
            model.status = Status::Absent;
            effects.push(Effect::StopDownload(job.request.model));
        }
    }

    fn cancel(&mut self, effects: &mut Vec<Effect>) {
        if self.job.is_some() {
            self.give_up_job(effects);
            self.queue.clear();
            self.stage = Stage::Cancelled;
        }
    }

    fn back_again(&mut self, effects: &mut Vec<Effect>) {
        let Some(model) = self.way_back().map(|model| model.id().to_owned()) else { return };
        let Stage::Done { number, .. } = self.stage else { return };
        let Some(done) = self.done(number) else { return };
        if done.back.is_some() {
            self.stage = Stage::Done { number, back: true };
            return;
        }
        let picture = Rc::new(Picture {
            name: done.request.picture.name.clone(),
            input: Input::Pixels { width: done.width, height: done.height },
            bytes: done.after.clone(),
            sample: None,
        });
        self.start(Request { picture, model, purpose: Purpose::Back(number), max_side: None }, effects);
    }

    fn hear(&mut self, envelope: Envelope<Event>, effects: &mut Vec<Effect>) {
        let Envelope { message: event, buffers } = envelope;
        match event {
            Event::Loaded => {}
            Event::Ready { backend, device, note } => {
                self.deaths_in_a_row = 0;
                self.worker = Worker::Ready { backend, device, note };
            }
            Event::ModelLoaded { model, info } => self.model_loaded(&model, info),
            Event::Progress { job, stage, fraction } => {
                if let Some(job) = self.job.as_mut().filter(|running| running.number == job) {
                    job.progress = Some((stage, fraction));
                }
            }
            Event::Translated { job, width, height, milliseconds, device, .. } => {
                self.ended(job);
                if let Some(job) = self.job.take_if(|running| running.number == job) {
                    self.translated(job, (width, height), buffers, milliseconds, device);
                }
            }
            Event::TooLarge { job, width, height, needed, limit, largest_side } => {
                self.ended(job);
                if self.job.take_if(|running| running.number == job).is_some() {
                    let fits = shrunk(width, height, largest_side);
                    self.stage = Stage::TooLarge { asked: (width, height), fits, needed, limit };
                }
            }
            Event::Cancelled { job } => self.ended(job),
            Event::Failed { job: Some(job), message, .. } => {
                self.ended(job);
                if self.job.take_if(|running| running.number == job).is_some() {
                    self.stage = Stage::Failed(message);
                }
            }
            Event::Several { model, parts, .. } => self.split(&model, parts, effects),
            Event::Failed { model: Some(model), message, .. } => self.model_failed(&model, message),
            Event::Failed { message, .. } => {
                if self.training.phase == Phase::Starting {
                    self.training.fail(message);
                } else {
                    self.tell(message, true);
                }
            }
            Event::DeviceLost { reason } => {
                self.backend = Some(BackendName::Flex);
                let reason = if reason.is_empty() { String::new() } else { [" (", &reason, ")"].concat() };
                let text = ["The graphics card was lost", &reason, ". The work goes on on the processor."];
                self.tell(text.concat(), true);
                self.revive("The training ended with the graphics card.", effects);
            }
            Event::Crashed { message } => self.worker_died(&message, effects),
            Event::Saved { model, format } => {
                let name = self.model(&model).map_or_else(|| "model".into(), Model::plain_name);
                if let Some(bytes) = buffers.into_iter().next() {
                    effects.push(Effect::SaveFile { name: [&name, format.ending()].concat(), bytes });
                }
            }
            Event::Weights { file, .. } => {
                if let Some(bytes) = buffers.into_iter().next() {
                    effects.push(Effect::SaveFile { name: file, bytes });
                }
            }
            event => self.training.hear(event, buffers),
        }
    }

    fn ended(&mut self, number: u32) {
        if self.cancelling == Some(number) {
            self.cancelling = None;
        }
    }

    fn model_loaded(&mut self, id: &str, info: ModelInfo) {
        let Some(model) = self.model_mut(id) else { return };
        model.status = Status::Loaded;
        if matches!(model.origin, Origin::Own(_)) && !info.domain_from.is_empty() && !info.domain_to.is_empty() {
            model.listed.title = [&info.domain_from, " → ", &info.domain_to].concat();
            model.listed.sentence = ["Your file ", &model.listed.file, "."].concat();
            model.listed.licence = info.licence.clone();
        }
        model.info = Some(info);
    }

    fn translated(&mut self, job: Job, size: (u32, u32), buffers: Vec<Vec<u8>>, milliseconds: f64, device: String) {
        let (width, height) = size;
        let mut buffers = buffers.into_iter();
        let (Some(before), Some(after)) = (buffers.next(), buffers.next()) else {
            self.stage = Stage::Failed("The worker sent a result without its pictures. Please try again.".into());
            return;
        };
        if let Purpose::Back(number) = job.request.purpose {
            let Some(done) = self.results.iter_mut().find(|done| done.number == number) else { return };
            let mean_absolute_error = mean_absolute_error(&done.before, &after);
            done.back = Some(Reconstruction { pixels: after, mean_absolute_error, milliseconds });
            // What can be tried again is the way there.
            self.request = Some(done.request.clone());
            self.stage = Stage::Done { number, back: true };
            return;
        }
        let title = self.model(&job.request.model).map(|model| model.listed.title.clone()).unwrap_or_default();
        let Job { number, request, .. } = job;
        self.stage = Stage::Done { number, back: false };
        self.results.push(Done {
            number,
            request,
            title,
            width,
            height,
            before,
            after,
            milliseconds,
            device,
            back: None,
        });
        if self.results.len() > KEPT_RESULTS {
            self.results.remove(0);
        }
    }

    fn worker_died(&mut self, reason: &str, effects: &mut Vec<Effect>) {
        self.deaths_in_a_row += 1;
        let reason = reason.trim();
        let reason = if reason.is_empty() { "It gave no reason." } else { reason };
        if self.deaths_in_a_row > 1 {
            let text = ["The part that computes could not be started. ", reason].concat();
            self.training.worker_gone(&text);
            match self.job.take() {
                Some(_) => self.stage = Stage::Failed([&text, " Your picture is kept."].concat()),
                None => self.tell(text.clone(), true),
            }
            self.worker = Worker::Dead(text);
            return;
        }
        let on_gpu = matches!(self.worker, Worker::Ready { backend: BackendName::Wgpu, .. });
        let how = if on_gpu && self.job.is_some() {
            // What made it stop on the graphics card would most likely do so again.
            self.backend = Some(BackendName::Flex);
            "started again on the processor. "
        } else {
            "started again. "
        };
        self.tell(["The part that computes stopped because of an error and was ", how, reason].concat(), true);
        self.revive("The training ended with an error in the part that computes. Your pictures are kept.", effects);
    }

    /// A new worker, and the job once more, if it was not tried again already.
    fn revive(&mut self, training_trouble: &str, effects: &mut Vec<Effect>) {
        let job = self.job.take();
        self.training.worker_gone(training_trouble);
        self.start_worker(effects);
        match job {
            Some(job) if !job.retried => {
                self.job = Some(Job { sent: false, retried: true, progress: None, ..job });
                self.stage = Stage::Busy;
            }
            Some(_) => {
                self.stage = Stage::Failed(
                    "The part that computes stopped twice on this picture. Try a smaller one, or another model.".into(),
                );
            }
            None => {}
        }
    }

    /// Gives a worker that was given up another chance.
    fn wake_worker(&mut self, effects: &mut Vec<Effect>) {
        if let Worker::Dead(_) = self.worker {
            self.deaths_in_a_row = 0;
            self.start_worker(effects);
        }
    }

    fn start_worker(&mut self, effects: &mut Vec<Effect>) {
        self.worker = Worker::Starting;
        self.cancelling = None;
        self.forget_trained();
        for model in &mut self.models {
            if matches!(model.status, Status::Loaded | Status::Loading) {
                model.status = Status::Absent;
            }
        }
        if let Some(job) = &mut self.job {
            (job.sent, job.progress) = (false, None);
        }
        effects.push(Effect::StartWorker);
        effects.push(Effect::Send(Command::Start { backend: self.backend }.into()));
    }

    fn forget_trained(&mut self) {
        self.models.retain(|model| model.origin != Origin::Trained);
        if self.chosen_model().is_none() {
            self.chosen = self.models.first().map(|model| model.id().to_owned());
        }
    }

    fn train(&mut self, message: super::training::Message, effects: &mut Vec<Effect>) {
        use super::training::Message as Train;
        match message {
            Train::Start => {
                if let Err(problem) = self.training.config.check() {
                    self.training.fail(problem);
                } else if !self.training.phase.is_active() {
                    self.wake_worker(effects);
                    self.training.prepare();
                    effects.push(Effect::GatherTrainingData);
                }
            }
            Train::Gathered(Ok((data, buffers))) => {
                if let Some(config) = self.training.gathered(matches!(data, TrainData::Zip { .. })) {
                    // The generators of the training before are gone once this one begins.
                    self.forget_trained();
                    effects.push(Effect::Send(Envelope::with(Command::Train { config, data }, buffers)));
                }
            }
            Train::Pause => effects.push(Effect::Send(Command::Pause.into())),
            Train::Resume => effects.push(Effect::Send(Command::Resume.into())),
            Train::Stop => {
                if self.training.stop() {
                    effects.push(Effect::Send(Command::Stop.into()));
                }
            }
            Train::Save(direction) => effects.push(Effect::Send(Command::Export { direction }.into())),
            Train::Use(direction) => {
                let (a, b) = (self.training.config.domain_a.clone(), self.training.config.domain_b.clone());
                self.models.retain(|model| model.origin != Origin::Trained);
                self.models.extend([Direction::AtoB, Direction::BtoA].map(|way| Model::trained(way, &a, &b)));
                self.place = Place::Translate;
                self.choose_model(Model::trained(direction, &a, &b).listed.id, effects);
            }
            message => self.training.update(message),
        }
    }
}

/// The largest size of the same shape whose longer side is at most `longer`.
fn shrunk(width: u32, height: u32, longer: u32) -> (u32, u32) {
    let now = width.max(height).max(1);
    if now <= longer {
        return (width, height);
    }
    let side = |side: u32| ((u64::from(side) * u64::from(longer) + u64::from(now) / 2) / u64::from(now)).max(1) as u32;
    (side(width), side(height))
}

/// Mean absolute difference of the colours of two RGBA8 pictures of one size, in levels of 0–255.
fn mean_absolute_error(a: &[u8], b: &[u8]) -> f64 {
    let pixels = a.chunks_exact(4).zip(b.chunks_exact(4));
    let sum: u64 = pixels.map(|(a, b)| (0..3).map(|c| u64::from(a[c].abs_diff(b[c]))).sum::<u64>()).sum();
    sum as f64 / (a.len() / 4 * 3).max(1) as f64
}

/// The last part of an address.
fn file_name(address: &str) -> String {
    address.rsplit('/').next().unwrap_or(address).into()
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
