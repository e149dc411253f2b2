//! The models and their weight files, on their way into the worker.

use std::rc::Rc;

use super::{Effect, Place, Purpose, Request, Stage, State};
use crate::{
    page::models::{Listed, Model, Origin, Status},
    protocol::{Command, Envelope, ModelInfo},
};

impl State {
    pub(super) fn list_models(&mut self, list: Vec<Listed>) {
        self.models_listed = true;
        // Weight files dropped before the list arrived stay, after the list's own.
        let dropped = std::mem::take(&mut self.models);
        self.models = list.into_iter().map(Model::listed).chain(dropped).collect();
        if self.chosen.is_none() {
            self.chosen = self.models.first().map(|model| model.id().to_owned());
        }
    }

    pub(super) fn choose_model(&mut self, id: String, effects: &mut Vec<Effect>) {
        let Some(model) = self.model(&id) else { return };
        if self.reading.is_some() || self.live.is_some() {
            // What is on its way, or comes next, will be translated with it.
            self.chosen = Some(id);
            return;
        }
        let again = self.request.clone().filter(|request| {
            request.purpose == Purpose::There
                && request.picture.sample.as_deref().is_none_or(|sample| model.suits(sample))
        });
        self.chosen = Some(id.clone());
        match again.map(|request| Request { model: id, max_side: None, size: self.size, ..request }) {
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

    pub(super) fn take_weight_file(
        &mut self,
        file: String,
        bytes: Vec<u8>,
        data: Vec<(String, Vec<u8>)>,
        effects: &mut Vec<Effect>,
    ) {
        self.last_number += 1;
        let model = Model::own(self.last_number, file, None, Origin::Own(Rc::new(bytes), Rc::new(data)));
        let id = model.id().to_owned();
        self.place = Place::Translate;
        self.models.push(model);
        self.load(&id, effects);
        self.choose_model(id, effects);
    }

    /// Brings a model into the worker, wherever its weights are.
    pub(super) fn load(&mut self, id: &str, effects: &mut Vec<Effect>) {
        let Some(model) = self.model_mut(id) else { return };
        let file = model.listed.file.clone();
        match &model.origin {
            Origin::Listed => {
                model.status = Status::Downloading { received: 0, total: None };
                effects.push(Effect::Download { model: id.into(), file });
            }
            Origin::Own(bytes, files) => {
                let data = files.iter().map(|(name, _)| name.clone()).collect();
                let command = Command::LoadModel { model: id.into(), file, part: model.part.clone(), data };
                let buffers = std::iter::once(bytes.to_vec()).chain(files.iter().map(|(_, bytes)| bytes.clone()));
                effects.push(Effect::Send(Envelope::with(command, buffers.collect())));
                model.status = Status::Loading;
            }
            Origin::Trained => {}
        }
    }

    pub(super) fn downloaded(&mut self, id: &str, result: Result<Vec<u8>, String>, effects: &mut Vec<Effect>) {
        let Some(model) = self.model_mut(id) else { return };
        match result {
            Ok(bytes) => {
                let file = model.file_name().to_owned();
                let command = Command::LoadModel { model: id.into(), file, part: None, data: Vec::new() };
                model.status = Status::Loading;
                effects.push(Effect::Send(Envelope::with(command, vec![bytes])));
            }
            Err(reason) => self.model_failed(id, reason),
        }
    }

    pub(super) fn model_loaded(&mut self, id: &str, info: ModelInfo) {
        let Some(model) = self.model_mut(id) else { return };
        model.status = Status::Loaded;
        if matches!(model.origin, Origin::Own(..)) && !info.domain_from.is_empty() && !info.domain_to.is_empty() {
            model.listed.title = [&info.domain_from, " → ", &info.domain_to].concat();
            model.listed.sentence = ["Your file ", &model.listed.file, "."].concat();
            model.listed.licence = info.licence.clone();
        }
        model.info = Some(info);
        if self.training.starts.iter().any(|start| start == id) {
            self.set_networks();
        }
    }

    pub(super) fn model_failed(&mut self, id: &str, reason: String) {
        let Some(model) = self.model_mut(id) else { return };
        model.status = Status::Failed(reason.clone());
        let is_own = matches!(model.origin, Origin::Own(..));
        if is_own {
            self.models.retain(|model| model.id() != id);
            self.forget_starts();
            if self.chosen.as_deref() == Some(id) {
                self.chosen = self.models.first().map(|model| model.id().to_owned());
            }
        }
        match self.job.take_if(|job| job.request.model == id) {
            Some(job) => self.job_impossible(Some(job), reason),
            // It tells by itself.
            None if self.live.is_some() && !is_own => {}
            None => self.tell(reason, true),
        }
    }

    /// A weight file of the visitor's with several generators becomes as many cards: its own for the first.
    pub(super) fn split(&mut self, id: &str, parts: Vec<String>, effects: &mut Vec<Effect>) {
        let Some(index) = self.models.iter().position(|model| model.id() == id) else { return };
        let origin @ Origin::Own(..) = self.models[index].origin.clone() else { return };
        let file = self.models[index].listed.file.clone();
        for (place, part) in parts.into_iter().enumerate() {
            self.last_number += 1;
            let mut model = Model::own(self.last_number, file.clone(), Some(part), origin.clone());
            if place == 0 {
                model.listed.id = id.to_owned();
                self.models[index] = model;
            } else {
                self.models.insert(index + place, model);
            }
        }
        self.load(id, effects);
    }

    pub(super) fn forget_trained(&mut self) {
        self.models.retain(|model| model.origin != Origin::Trained);
        if self.chosen_model().is_none() {
            self.chosen = self.models.first().map(|model| model.id().to_owned());
        }
    }
}
