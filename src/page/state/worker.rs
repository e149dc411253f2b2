//! The worker: what it says, and what is to be done when it dies.

use super::{Effect, Frame, Job, Stage, State, Step, Worker, translations::shrunk};
use crate::{
    page::{
        models::{Model, Status},
        training::{Message as Train, Phase},
    },
    protocol::{BackendName, Command, Envelope, Event, PREVIEW_ROWS},
};

impl State {
    pub(super) fn hear(&mut self, envelope: Envelope<Event>, effects: &mut Vec<Effect>) {
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
            Event::Translated { job, width, height, computed, milliseconds, device, notes, .. } => {
                self.ended(job);
                if let Some(model) = self.take_live_job(job) {
                    if let Ok([before, after]) = <[Vec<u8>; 2]>::try_from(buffers) {
                        self.live_translated(Frame { model, width, height, before, after, milliseconds, device });
                    }
                } else if let Some(job) = self.job.take_if(|running| running.number == job) {
                    self.translated(job, (width, height), computed, buffers, milliseconds, (device, notes));
                }
            }
            Event::TooLarge { job, width, height, needed, limit, largest_side } => {
                self.ended(job);
                if self.take_live_job(job).is_some() {
                    self.stage = Stage::Failed("Frames of this size do not fit into memory with this model.".into());
                } else if let Some(job) = self.job.take_if(|running| running.number == job) {
                    self.too_large(&job, (width, height), shrunk(width, height, largest_side), needed, limit);
                }
            }
            Event::Cancelled { job } => self.ended(job),
            Event::Failed { job: Some(job), message, .. } => {
                self.ended(job);
                if self.take_live_job(job).is_some() {
                    self.stage = Stage::Failed(message);
                } else if let Some(job) = self.job.take_if(|running| running.number == job) {
                    self.picture_failed(&job.request.picture.name, message);
                }
            }
            Event::Several { model, parts, .. } => self.split(&model, parts, effects),
            Event::Failed { model: Some(model), message, .. } => self.model_failed(&model, message),
            Event::Failed { message, .. } => {
                self.packing = None;
                self.training.inspector.failed();
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
            Event::Packed { count } => self.packed(count, effects),
            Event::Zip => self.zipped(buffers.into_iter().next().unwrap_or_default(), effects),
            Event::Weights { file, .. } | Event::CheckpointFile { file } => {
                if let Some(bytes) = buffers.into_iter().next() {
                    effects.push(Effect::SaveFile { name: file, bytes });
                }
            }
            Event::Kept { training } => {
                if self.training.keeps(training) {
                    self.train(Train::GoOn, effects);
                }
            }
            Event::TrainingStarted { .. } => {
                self.training.hear(event, buffers);
                if self.training.preview_rows != PREVIEW_ROWS {
                    self.send_previews(effects);
                }
            }
            Event::Preview { .. } => {
                self.training.hear(event, buffers);
                effects.extend(self.training.inspector.ask().map(Effect::Send));
            }
            Event::Inspected(inspected) => {
                effects.extend(self.training.inspector.hear(inspected, buffers).map(Effect::Send));
            }
            Event::Settings { config } => {
                if !self.training.phase.is_active() {
                    self.take_settings(*config);
                }
            }
            Event::SettingsFile => {
                if let Some(bytes) = buffers.into_iter().next() {
                    effects.push(Effect::SaveFile { name: "cyclegan.toml".into(), bytes });
                }
            }
            Event::NotKept { message } => self.tell(message, true),
            Event::Advice { message } => self.tell(message, false),
            event => self.training.hear(event, buffers),
        }
    }

    pub(super) fn ended(&mut self, number: u32) {
        if self.cancelling == Some(number) {
            self.cancelling = None;
        }
    }

    pub(super) fn worker_died(&mut self, reason: &str, effects: &mut Vec<Effect>) {
        self.deaths_in_a_row += 1;
        let reason = reason.trim();
        let reason = if reason.is_empty() { "It gave no reason." } else { reason };
        if self.deaths_in_a_row > 1 {
            let text = ["The part that computes could not be started. ", reason].concat();
            self.training.worker_gone(&text);
            match self.job.take() {
                Some(job) => self.job_impossible(Some(job), [&text, " Your picture is kept."].concat()),
                None if self.live.is_some() => self.stage = Stage::Failed(text.clone()),
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
    pub(super) fn revive(&mut self, training_trouble: &str, effects: &mut Vec<Effect>) {
        let job = self.job.take();
        self.training.worker_gone(training_trouble);
        self.start_worker(effects);
        match job {
            Some(job) if !job.retried => {
                self.job = Some(Job { sent: false, retried: true, progress: None, ..job });
                self.stage = Stage::Busy;
            }
            Some(job) => {
                let text = "The part that computes stopped twice on this picture. Try a smaller one, or another model.";
                self.picture_failed(&job.request.picture.name, text.into());
            }
            None if self.live.is_some() => {
                let text = "The part that computes had to be started again, so the camera was turned off.";
                self.stage = Stage::Failed(text.into());
            }
            None => {}
        }
    }

    /// Gives a worker that was given up another chance.
    pub(super) fn wake_worker(&mut self, effects: &mut Vec<Effect>) {
        if let Worker::Dead(_) = self.worker {
            self.deaths_in_a_row = 0;
            self.start_worker(effects);
        }
    }

    pub(super) fn start_worker(&mut self, effects: &mut Vec<Effect>) {
        self.worker = Worker::Starting;
        self.cancelling = None;
        self.packing = None;
        self.forget_trained();
        for model in &mut self.models {
            if matches!(model.status, Status::Loaded | Status::Loading) {
                model.status = Status::Absent;
            }
        }
        if let Some(job) = &mut self.job {
            (job.sent, job.progress) = (false, None);
        }
        if let Some(live) = &mut self.live {
            live.step = Step::Idle;
        }
        effects.push(Effect::StartWorker);
        effects.push(Effect::Send(Command::Start { backend: self.backend }.into()));
    }
}
