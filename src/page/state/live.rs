//! The camera, live: one frame at a time goes to the worker, the next is taken when its result is back.

use std::rc::Rc;

use super::{Done, Effect, Frame, Live, LiveMessage, Picture, Place, Purpose, Request, Stage, State, Step};
use crate::{
    page::models::Status,
    protocol::{BackendName, Command, Envelope, Input, Size},
};

/// Longer side of the frames, in pixels, until the visitor chooses: on a graphics card, on a processor.
const SIDES: [u32; 2] = [256, 128];

impl State {
    /// Something happens to the camera.
    pub(super) fn live(&mut self, message: LiveMessage, effects: &mut Vec<Effect>) {
        if let LiveMessage::Start = message {
            return self.start_live(effects);
        }
        let Some(live) = &mut self.live else { return };
        match message {
            LiveMessage::Start => {}
            LiveMessage::Frame { width, height, pixels } => self.live_frame((width, height), pixels, effects),
            LiveMessage::Side(side) => live.side = side,
            LiveMessage::Visible(is_visible) => live.is_hidden = !is_visible,
            LiveMessage::Keep => self.keep_frame(),
            LiveMessage::Stop => self.leave_live(),
            LiveMessage::Lost(reason) => self.stage = Stage::Failed(reason),
        }
    }

    fn start_live(&mut self, effects: &mut Vec<Effect>) {
        self.notices.clear();
        self.place = Place::Translate;
        self.cancel(effects);
        self.wake_worker(effects);
        let on_gpu = matches!(self.worker, super::Worker::Ready { backend: BackendName::Wgpu, .. });
        self.request = None;
        self.stage = Stage::Live;
        self.live = Some(Live::new(SIDES[usize::from(!on_gpu)]));
        // A model that failed before gets another chance.
        if let Some(model) = self.chosen.clone().and_then(|id| self.model_mut(&id))
            && matches!(model.status, Status::Failed(_))
        {
            model.status = Status::Absent;
        }
    }

    /// Asks for the next frame once the model is there and the last result is back.
    pub(super) fn advance_live(&mut self, effects: &mut Vec<Effect>) {
        let Some(live) = self.live.as_mut().filter(|live| live.step == Step::Idle && !live.is_hidden) else { return };
        let chosen = self.models.iter().find(|model| self.chosen.as_deref() == Some(model.id()));
        match chosen.map(|model| (model.id().to_owned(), &model.status)) {
            Some((_, Status::Loaded)) => {
                live.step = Step::Asked;
                effects.push(Effect::TakeFrame(live.side));
            }
            Some((id, Status::Absent)) => self.load(&id, effects),
            Some((_, Status::Failed(reason))) => self.stage = Stage::Failed(reason.clone()),
            Some(_) => {}
            None if self.models_listed => {
                let text = "There is no model to translate with. Drop a weight file (.safetensors, .pth or .onnx).";
                self.stage = Stage::Failed(text.into());
            }
            None => {}
        }
    }

    fn live_frame(&mut self, (width, height): (u32, u32), pixels: Vec<u8>, effects: &mut Vec<Effect>) {
        let Some(live) = self.live.as_mut().filter(|live| live.step == Step::Asked) else { return };
        let Some(model) = self.chosen.clone() else { return live.step = Step::Idle };
        self.last_number += 1;
        let job = self.last_number;
        live.step = Step::Sent { job, model: model.clone() };
        let input = Input::Pixels { width, height };
        let command = Command::Translate { job, model, input, max_side: None, size: Size::Full };
        effects.push(Effect::Send(Envelope::with(command, vec![pixels])));
    }

    /// Whether that job is the frame under way; if so, the next one may come.
    pub(super) fn take_live_job(&mut self, number: u32) -> Option<String> {
        let live = self.live.as_mut()?;
        let Step::Sent { job, model } = &live.step else { return None };
        let model = (*job == number).then(|| model.clone())?;
        live.step = Step::Idle;
        Some(model)
    }

    /// A frame is translated.
    pub(super) fn live_translated(&mut self, frame: Frame) {
        if let Some(live) = &mut self.live {
            live.count += 1;
            live.frame = Some(frame);
        }
    }

    /// Keeps the pair on the stage as a result.
    fn keep_frame(&mut self) {
        let Some(live) = &mut self.live else { return };
        let Some(frame) = &live.frame else { return };
        live.kept += 1;
        self.last_number += 1;
        let &Frame { width, height, milliseconds, .. } = frame;
        let picture = Picture {
            name: ["camera-", &self.last_number.to_string(), ".png"].concat(),
            input: Input::Pixels { width, height },
            bytes: frame.before.clone(),
            sample: None,
        };
        let model = frame.model.clone();
        let title = self.models.iter().find(|listed| listed.id() == model).map(|model| model.listed.title.clone());
        let done = Done {
            number: self.last_number,
            request: Request {
                picture: Rc::new(picture),
                model,
                purpose: Purpose::There,
                max_side: None,
                size: self.size,
            },
            title: title.unwrap_or_default(),
            width,
            height,
            computed: [width, height],
            before: frame.before.clone(),
            after: frame.after.clone(),
            milliseconds,
            device: frame.device.clone(),
            notes: Vec::new(),
            back: None,
        };
        self.keep(done);
    }

    /// Leaves the camera for the last frame kept, or for the model's example.
    pub(super) fn leave_live(&mut self) {
        let Some(live) = &self.live else { return };
        let last = self.results.last().filter(|_| live.kept > 0);
        self.request = last.map(|done| done.request.clone());
        self.stage = last.map_or(Stage::Example, |done| Stage::Done { number: done.number, back: false });
    }

    /// The stage shows something else: the camera is turned off.
    pub(super) fn end_live(&mut self, effects: &mut Vec<Effect>) {
        let Some(live) = self.live.take_if(|_| self.stage != Stage::Live) else { return };
        if let Step::Sent { job, .. } = live.step {
            effects.push(Effect::Send(Command::Cancel { job }.into()));
        }
        effects.push(Effect::CloseCamera);
    }
}
