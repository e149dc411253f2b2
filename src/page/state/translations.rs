//! Translations: the job under way.

use std::rc::Rc;

use super::{Effect, Job, Picture, Purpose, Request, Stage, State};
use crate::{
    page::models::Status,
    protocol::{Command, Input, Size},
};

impl State {
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

    /// Networks compute at another size from now on: the picture on the stage, too.
    pub(super) fn set_size(&mut self, size: Size, effects: &mut Vec<Effect>) {
        if std::mem::replace(&mut self.size, size) == size || self.live.is_some() {
            return;
        }
        let is_shown = matches!(self.stage, Stage::Busy | Stage::Done { .. } | Stage::TooLarge { .. });
        let again = self.request.clone().filter(|request| request.purpose == Purpose::There && is_shown);
        if let Some(request) = again.filter(|_| self.reading.is_none()) {
            self.start(Request { max_side: None, size, ..request }, effects);
        }
    }

    /// Does the next thing that can be done for the job, or takes the next picture of the queue.
    pub(super) fn advance(&mut self, effects: &mut Vec<Effect>) {
        if self.job.is_none() && self.reading.is_none() {
            self.take_next(effects);
        }
        let Some(job) = self.job.as_mut().filter(|job| !job.sent) else { return };
        let id = job.request.model.clone();
        match self.models.iter().find(|model| model.id() == id).map(|model| &model.status) {
            Some(Status::Loaded) => {
                job.sent = true;
                let Request { picture, model, max_side, size, .. } = &job.request;
                let command = Command::Translate {
                    job: job.number,
                    model: model.clone(),
                    input: picture.input.clone(),
                    max_side: *max_side,
                    size: *size,
                };
                effects.push(Effect::Translate(command, Rc::clone(picture)));
            }
            Some(Status::Absent) => self.load(&id, effects),
            Some(_) => {}
            None => {
                let job = self.job.take();
                self.job_impossible(job, "That model is no longer here. Choose another one.".into());
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
        let size = done.request.size;
        self.start(Request { picture, model, purpose: Purpose::Back(number), max_side: None, size }, effects);
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
