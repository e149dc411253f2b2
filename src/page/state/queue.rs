//! The queue: pictures that wait for their turn, and what becomes of several given together.

use std::rc::Rc;

use super::{Batch, Effect, Halt, Job, Picture, Place, Purpose, Request, Stage, State, Waiting};
use crate::page::format;

impl State {
    /// Takes pictures in. Into a queue that is at work they go last; else they are the newest wish, and what
    /// runs or waits gives way.
    pub(super) fn enqueue(&mut self, pictures: Vec<Waiting>, effects: &mut Vec<Effect>) {
        if pictures.is_empty() {
            return;
        }
        self.place = Place::Translate;
        if let Some(batch) = self.batch.as_mut().filter(|batch| !batch.is_paused) {
            batch.total += pictures.len();
            self.queue.extend(pictures);
            return;
        }
        self.give_up_job(effects);
        self.reading = None;
        let (total, since) = (pictures.len(), self.last_number);
        self.batch = (total > 1).then(|| Batch { total, done: 0, failures: Vec::new(), is_paused: false, since });
        self.queue = pictures.into();
    }

    /// Whether the file of that number will still be read.
    pub fn waits_for(&self, number: u32) -> bool {
        let in_queue = |waiting: &Waiting| matches!(waiting, Waiting::File { key, .. } if *key == number);
        self.reading.as_ref().is_some_and(|(key, _)| *key == number) || self.queue.iter().any(in_queue)
    }

    /// Begins with the next picture of the queue, or ends it.
    pub(super) fn take_next(&mut self, effects: &mut Vec<Effect>) {
        if self.batch.as_ref().is_some_and(|batch| batch.is_paused) {
            return;
        }
        let Some(model) = self.chosen.clone() else {
            if self.models_listed && !self.queue.is_empty() {
                (self.queue, self.batch) = Default::default();
                let text = "There is no model to translate with. Drop a weight file (.safetensors, .pth or .onnx).";
                self.stage = Stage::Failed(text.into());
            }
            return;
        };
        match self.queue.pop_front() {
            Some(Waiting::Here(picture)) => {
                self.start(
                    Request { picture, model, purpose: Purpose::There, max_side: None, size: self.size },
                    effects,
                );
            }
            Some(Waiting::File { key, name }) => {
                self.stage = Stage::Busy;
                self.reading = Some((key, name));
                effects.push(Effect::ReadFile(key));
            }
            None => self.end_batch(),
        }
    }

    /// A file of the queue is here, or not.
    pub(super) fn file_read(&mut self, key: u32, result: Result<Picture, String>, effects: &mut Vec<Effect>) {
        let Some((_, name)) = self.reading.take_if(|(reading, _)| *reading == key) else { return };
        match (result, self.chosen.clone()) {
            (Ok(picture), Some(model)) => {
                let picture = Rc::new(picture);
                self.start(
                    Request { picture, model, purpose: Purpose::There, max_side: None, size: self.size },
                    effects,
                );
            }
            (Ok(picture), None) => self.queue.push_front(Waiting::Here(Rc::new(picture))),
            (Err(problem), _) => {
                // There is nothing that could be tried again.
                self.request = None;
                self.picture_failed(&name, problem);
            }
        }
    }

    /// A picture cannot be translated: the others of its batch go on.
    pub(super) fn picture_failed(&mut self, name: &str, reason: String) {
        match self.batch.as_mut().filter(|batch| !batch.is_paused) {
            Some(batch) if reason.contains(name) => batch.failures.push(reason),
            Some(batch) => batch.failures.push([name, ": ", &reason].concat()),
            None => self.stage = Stage::Failed(reason),
        }
    }

    /// A picture does not fit into memory.
    pub(super) fn too_large(&mut self, job: &Job, asked: (u32, u32), fits: (u32, u32), needed: u64, limit: u64) {
        self.stage = Stage::TooLarge { asked, fits, needed, limit };
        if self.batch.as_ref().is_some_and(|batch| !batch.is_paused) {
            let [asked, fits] = [asked, fits].map(|(width, height)| format::size(width, height));
            let reason = [&asked, " pixels do not fit into memory; ", &fits, " would."].concat();
            self.picture_failed(&job.request.picture.name, reason);
        }
    }

    /// A job cannot be done, and those that wait could not, either: they wait on.
    pub(super) fn job_impossible(&mut self, job: Option<Job>, reason: String) {
        let picture = job.map(|job| Waiting::Here(job.request.picture));
        if !self.pause(picture, Halt::Failed(reason.clone())) {
            self.stage = Stage::Failed(reason);
        }
    }

    /// Counts a picture of the batch as translated.
    pub(super) fn picture_done(&mut self) {
        if let Some(batch) = self.batch.as_mut().filter(|batch| !batch.is_paused) {
            batch.done += 1;
        }
    }

    /// Stops the batch, if one is at work; the picture under way will be the first when it goes on.
    pub(super) fn pause(&mut self, under_way: Option<Waiting>, why: Halt) -> bool {
        let Some(batch) = self.batch.as_mut().filter(|batch| !batch.is_paused) else { return false };
        batch.is_paused = true;
        if let Some(waiting) = under_way {
            self.queue.push_front(waiting);
        }
        self.stage = Stage::Halted(why);
        true
    }

    /// The visitor gives up what is under way.
    pub(super) fn cancel(&mut self, effects: &mut Vec<Effect>) {
        let read = self.reading.take().map(|(key, name)| Waiting::File { key, name });
        let under_way = match &self.job {
            Some(job) => Some(Waiting::Here(job.request.picture.clone())),
            None => read,
        };
        if under_way.is_none() {
            return;
        }
        self.give_up_job(effects);
        if !self.pause(under_way, Halt::Stopped) {
            self.stage = Stage::Cancelled;
        }
    }

    /// The queue that stands still goes on.
    pub(super) fn go_on(&mut self) {
        if self.job.is_some() {
            return;
        }
        let (is_overfull, now) = (self.is_overfull(), self.last_number);
        if let Some(batch) = &mut self.batch {
            batch.is_paused = false;
            // Whoever goes on with a full memory knows that old results make room.
            batch.since = if is_overfull { now } else { batch.since };
        }
    }

    /// Nothing waits any more: says what became of the batch.
    fn end_batch(&mut self) {
        let Some(Batch { total, done, failures, .. }) = self.batch.take() else { return };
        if failures.is_empty() {
            return;
        }
        let [failed, total] = [failures.len(), total].map(|count| count.to_string());
        let text = [&failed, " of ", &total, " pictures could not be translated. ", &failures.join(" ")].concat();
        self.tell(text, true);
        match self.results.last().filter(|_| done > 0).map(|last| (last.number, last.request.clone())) {
            Some((number, request)) => {
                self.stage = Stage::Done { number, back: false };
                self.request = Some(request);
            }
            None => {
                self.request = None;
                self.stage = Stage::Failed([&total, " pictures were given, and none could be translated."].concat());
            }
        }
    }
}
