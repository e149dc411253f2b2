//! Translations: the job under way, the pictures that wait, the results.

use std::rc::Rc;

use super::{Done, Effect, Job, Picture, Place, Purpose, Reconstruction, Request, Stage, State};
use crate::{
    page::models::Status,
    protocol::{Command, Envelope, Input},
};

/// Results kept for the strip; the oldest go first.
pub(super) const KEPT_RESULTS: usize = 24;

impl State {
    pub(super) fn take_pictures(&mut self, pictures: Vec<Picture>, effects: &mut Vec<Effect>) {
        if pictures.is_empty() {
            return;
        }
        self.place = Place::Translate;
        // A new picture is the newest wish: what runs or waits for its turn gives way.
        self.give_up_job(effects);
        self.queue = pictures.into();
    }

    pub(super) fn start(&mut self, request: Request, effects: &mut Vec<Effect>) {
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
    pub(super) fn advance(&mut self, effects: &mut Vec<Effect>) {
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

    pub(super) fn give_up_job(&mut self, effects: &mut Vec<Effect>) {
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

    pub(super) fn cancel(&mut self, effects: &mut Vec<Effect>) {
        if self.job.is_some() {
            self.give_up_job(effects);
            self.queue.clear();
            self.stage = Stage::Cancelled;
        }
    }

    pub(super) fn back_again(&mut self, effects: &mut Vec<Effect>) {
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

    pub(super) fn translated(
        &mut self,
        job: Job,
        size: (u32, u32),
        buffers: Vec<Vec<u8>>,
        milliseconds: f64,
        device: String,
    ) {
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
}

/// The largest size of the same shape whose longer side is at most `longer`.
pub(super) fn shrunk(width: u32, height: u32, longer: u32) -> (u32, u32) {
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
