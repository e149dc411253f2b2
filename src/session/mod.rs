//! One session: a stream of events from a stream of commands, with no screen and no terminal.
//!
//! The browser worker and the command line both drive it, through a [`Host`]: commands arrive in
//! its [`Inbox`], events leave through [`Host::emit`]. All compute stays on the caller's thread
//! (Burn's streams are thread-local); between stages and steps the session lets the host breathe,
//! so that messages arrive and a training can be paused while a picture is translated.

mod advice;
mod clock;
mod inbox;
mod inspect;
mod measurement;
mod picture_zip;
mod planes;
mod previews;
#[cfg(test)]
mod tests;
mod training_run;
mod translation;
mod workers;

use std::collections::HashMap;

use burn::tensor::backend::AutodiffBackend;

pub use inbox::Inbox;
use picture_zip::PictureZip;
use training_run::TrainingRun;
use translation::Model;

use crate::config::TrainConfig;
use crate::image::Picture;
use crate::kernels::Kernels;
use crate::platform::peers::Peers;
use crate::protocol::{Command, Direction, Envelope, Event, Intervals, TRAINED_A_TO_B, TRAINED_B_TO_A, TrainData};
use crate::translate::{Budget, check_channels};
use crate::weights::WeightError;

/// The outside of a session.
pub trait Host {
    /// Where commands wait.
    fn inbox(&self) -> &Inbox;

    /// Sends an event out.
    fn emit(&self, event: Envelope<Event>);

    /// Lets waiting messages arrive; returns soon.
    fn breathe(&self) -> impl Future<Output = ()>;

    /// Waits until a command has arrived; false when none will ever come.
    fn wait(&self) -> impl Future<Output = bool>;

    /// Seconds after which a training is to be written down again, besides what its configuration says; 0 for never.
    fn keeps_every(&self) -> u32 {
        0
    }

    /// Workers that share a training's steps: more threads of this process, each with a batch of its own a step.
    fn workers(&self) -> usize {
        1
    }

    /// Other machines that share a training's steps, each with as many workers: for the first training that asks.
    fn peers(&self) -> Option<Peers> {
        None
    }

    /// A training is about to begin with these pictures. A host that keeps trainings takes a copy, and keeps every
    /// [`Event::Checkpoint`] with it.
    fn begins(&self, _data: &TrainData, _buffers: &[Vec<u8>]) -> impl Future<Output = ()> {
        async {}
    }

    /// Waits until the checkpoints that were sent out are kept.
    fn settle(&self) -> impl Future<Output = ()> {
        async {}
    }

    /// The training that the host keeps: its checkpoint, and a zip of its pictures; or why there is none.
    fn kept(&self) -> impl Future<Output = Result<[Vec<u8>; 2], String>> {
        async { Err("No training is kept here.".into()) }
    }

    /// Forgets the training that the host keeps.
    fn forget(&self) -> impl Future<Output = ()> {
        async {}
    }
}

/// The device a session computes on, in its own words.
#[derive(Clone, Debug)]
pub struct Place<D> {
    /// Burn's handle.
    pub device: D,
    /// For people: `CPU (WebAssembly SIMD)`.
    pub name: String,
    /// What a translation may take.
    pub budget: Budget,
}

/// Why a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// No more commands.
    Done,
    /// The device is gone. The host may start another session elsewhere with the same inbox, whose
    /// first command is the one that failed.
    DeviceLost(String),
}

type Inner<A> = <A as AutodiffBackend>::InnerBackend;

/// Models loaded and the training under way.
pub struct Session<'a, A, H>
where
    A: AutodiffBackend + Kernels,
    A::InnerBackend: Kernels,
{
    host: &'a H,
    place: Place<A::Device>,
    models: HashMap<String, Model<Inner<A>>>,
    training: Option<TrainingRun<A>>,
    zip: PictureZip,
}

impl<'a, A, H> Session<'a, A, H>
where
    A: AutodiffBackend + Kernels,
    A::InnerBackend: Kernels,
    H: Host,
{
    /// A session on one device.
    pub fn new(host: &'a H, place: Place<A::Device>) -> Self {
        Self { host, place, models: HashMap::new(), training: None, zip: PictureZip::default() }
    }

    /// Serves commands until there are no more; a training goes on while no command waits.
    pub async fn run(mut self) -> End {
        loop {
            while let Some(command) = self.host.inbox().take() {
                if let Err(end) = self.handle(command).await {
                    return end;
                }
            }
            match &mut self.training {
                Some(run) if run.is_going() => {
                    run.advance(self.host, &self.place.device).await;
                    self.host.breathe().await;
                }
                _ if self.host.wait().await => {}
                _ => return End::Done,
            }
        }
    }

    async fn handle(&mut self, Envelope { message, buffers }: Envelope<Command>) -> Result<(), End> {
        let mut buffers = buffers.into_iter();
        match message {
            // The host has chosen the device before the session began.
            Command::Start { .. } => {}
            Command::LoadModel { model, file, part, data } => {
                let bytes = buffers.next().unwrap_or_default();
                let data: Vec<_> = data.into_iter().zip(buffers).collect();
                match Model::load(&bytes, &data, part.as_deref(), &self.place.device) {
                    Ok((loaded, info)) => match check_channels(loaded.generator.channels()) {
                        Ok(()) => {
                            self.models.insert(model.clone(), loaded);
                            self.host.emit(Event::ModelLoaded { model, info }.into());
                        }
                        Err(error) => self.fail(None, Some(model), format!("{file}: {error}")),
                    },
                    Err(error) => {
                        let message = format!("{file}: {error}");
                        match error {
                            WeightError::Several { found: parts } => {
                                self.host.emit(Event::Several { model, parts, message }.into());
                            }
                            _ => self.fail(None, Some(model), message),
                        }
                    }
                }
            }
            Command::Translate { job, model, input, max_side, size } => {
                let bytes = buffers.next().unwrap_or_default();
                let trained = |direction| self.training.as_ref().and_then(|run| run.model(direction));
                let chosen = match model.as_str() {
                    TRAINED_A_TO_B => trained(Direction::AtoB),
                    TRAINED_B_TO_A => trained(Direction::BtoA),
                    name => self.models.get(name).cloned(),
                };
                let Some(chosen) = chosen else {
                    self.fail(Some(job), None, format!("The model {model} is not loaded."));
                    return Ok(());
                };
                let request = translation::Request { job, input, bytes, max_side, size };
                if let Err(lost) = translation::serve(&chosen, request, &self.place, self.host).await {
                    return Err(End::DeviceLost(lost));
                }
            }
            // A translation under way takes its own cancel; this one came too late.
            Command::Cancel { job } => self.host.emit(Event::Cancelled { job }.into()),
            Command::Train { config, init, data } => {
                let inits = training_run::inits(&config, init, &mut buffers);
                let buffers: Vec<_> = buffers.collect();
                self.host.begins(&data, &buffers).await;
                let start = |inits| TrainingRun::start(*config, inits, data, buffers, &self.place.device);
                self.begin(inits.and_then(start)).await;
            }
            Command::ResumeTraining { steps, intervals, data } => {
                let checkpoint = buffers.next().unwrap_or_default();
                let buffers: Vec<_> = buffers.collect();
                self.host.begins(&data, &buffers).await;
                let run = TrainingRun::resume(&checkpoint, steps, intervals, data, buffers, &self.place.device);
                self.begin(run).await;
            }
            Command::ResumeKept { learning_rate, steps } => {
                let resumed = self.host.kept().await.and_then(|[checkpoint, zip]| {
                    let data = TrainData::Zip { name: "the kept pictures".into() };
                    let device = &self.place.device;
                    TrainingRun::resume(&checkpoint, steps, Intervals::default(), data, vec![zip], device)?
                        .at_rate(learning_rate)
                });
                self.begin(resumed).await;
            }
            Command::Extend { steps } => match self.training.as_mut().map(|run| run.extend(steps)) {
                Some(Ok(event)) => self.host.emit(event.into()),
                Some(Err(message)) => self.fail(None, None, message),
                None => self.fail(None, None, "There is no training that could go on.".into()),
            },
            Command::ForgetKept => self.host.forget().await,
            Command::Pause => {
                if let Some(run) = &mut self.training {
                    run.pause(self.host).await;
                }
            }
            Command::Resume => {
                if let Some(run) = &mut self.training {
                    self.host.emit(run.go_on().into());
                }
            }
            Command::StepOnce => {
                if let Some(run) = &mut self.training {
                    run.step_once(self.host, &self.place.device).await;
                }
            }
            Command::SetPreviews { every, rows } => {
                if let Some(run) = &mut self.training {
                    run.set_previews(every, rows, self.host, &self.place.device).await;
                }
            }
            Command::Inspect { direction, subject } => {
                let bytes = buffers.next().unwrap_or_default();
                let seen = match &self.training {
                    Some(run) => run.inspect(direction, subject, &bytes, &self.place.device).await,
                    None => Err("There is no training whose networks could be looked at.".into()),
                };
                match seen {
                    Ok(inspected) => self.host.emit(inspected),
                    Err(message) => self.fail(None, None, message),
                }
            }
            Command::ReadSettings { file } => {
                let bytes = buffers.next().unwrap_or_default();
                let text = std::str::from_utf8(&bytes).map_err(|_| "it is no text".to_string());
                match text.and_then(|text| TrainConfig::from_toml(text).map_err(|error| error.to_string())) {
                    Ok(config) => self.host.emit(Event::Settings { config: Box::new(config) }.into()),
                    Err(reason) => self.fail(None, None, format!("{file}: {reason}.")),
                }
            }
            Command::WriteSettings { config } => {
                let text = config.to_toml(true).into_bytes();
                self.host.emit(Envelope::with(Event::SettingsFile, vec![text]));
            }
            Command::ExportCheckpoint => match &self.training {
                Some(run) => run.export_checkpoint(self.host).await,
                None => self.fail(None, None, "There is no training that could be saved.".into()),
            },
            Command::Stop => {
                if let Some(run) = &mut self.training {
                    run.stop(self.host).await;
                }
            }
            Command::Export { direction } => match &self.training {
                Some(run) => run.export(direction, self.host).await,
                None => self.fail(None, None, "There is no training whose generators could be saved.".into()),
            },
            Command::SaveModel { model, format } => {
                let saved = match self.models.get(&model) {
                    Some(loaded) => loaded.save(format).await,
                    None => Err(format!("The model {model} is not loaded.")),
                };
                match saved {
                    Ok(bytes) => self.host.emit(Envelope::with(Event::Saved { model, format }, vec![bytes])),
                    Err(message) => self.fail(None, None, message),
                }
            }
            Command::Pack { name, width, height, index, count } => {
                let picture = Picture { width, height, pixels: buffers.next().unwrap_or_default() };
                match self.zip.add(&name, &picture, index, count) {
                    Ok(None) => self.host.emit(Event::Packed { count: index + 1 }.into()),
                    Ok(Some(bytes)) => self.host.emit(Envelope::with(Event::Zip, vec![bytes])),
                    Err(message) => self.fail(None, None, message),
                }
            }
            Command::Crash => panic!("asked to crash"),
        }
        Ok(())
    }

    async fn begin(&mut self, started: Result<TrainingRun<A>, String>) {
        let (workers, peers) = (self.host.workers(), self.host.peers());
        let started = started.and_then(|run| run.check_largest(self.place.budget.tensor).map(|()| run));
        let started = match started {
            Ok(mut run) if workers > 1 || peers.is_some() => {
                run.recruit(workers, peers, &self.place.device).await.map(|()| run)
            }
            started => started,
        };
        match started {
            Ok(run) => {
                self.host.emit(run.started().into());
                let advice =
                    [run.advice_on_memory(self.place.budget.total), run.advice_on_precision(&self.place.device)];
                advice.into_iter().flatten().for_each(|advice| self.host.emit(advice.into()));
                self.training = Some(run);
            }
            Err(message) => self.fail(None, None, message),
        }
    }

    fn fail(&self, job: Option<u32>, model: Option<String>, message: String) {
        self.host.emit(Event::Failed { job, model, message }.into());
    }
}
