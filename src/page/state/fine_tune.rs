//! Models as what a training starts from.

use super::{Effect, Place, State};
use crate::{
    config::{Changes, SAME, TrainConfig},
    page::{
        models::{Origin, Status},
        training::{Phase, Source},
    },
    protocol::InitFile,
};

/// The options of the two generators' first weights.
const OPTIONS: [&str; 2] = ["init_ab", "init_ba"];

/// Steps that the discriminators, which begin with nothing, are given before they teach.
const WARM_UP: u64 = 100;

impl State {
    /// Leads to the Train place with a model, and the one that goes the other way, to start from.
    pub(super) fn fine_tune(&mut self, id: &str, effects: &mut Vec<Effect>) {
        if self.training.phase.is_active() {
            return self.tell("Stop the training first, then fine-tune another model.", true);
        }
        let Some(model) = self.model(id) else { return };
        let back = model.listed.reverse.clone().filter(|back| self.model(back).is_some());
        let domains = model.info.as_ref().map(|info| [info.domain_from.clone(), info.domain_to.clone()]);
        self.place = Place::Train;
        self.leave_live();
        self.training.imported = None;
        self.training.source = Source::Own;
        if let Some(domains) = domains.filter(|domains| !domains.iter().any(String::is_empty)) {
            self.training.names = domains;
        }
        self.start_from([id.to_owned(), back.unwrap_or_default()], effects);
    }

    /// Sets what the two generators start from: models' ids, nothing for new weights, or [`SAME`].
    pub(super) fn start_from(&mut self, starts: [String; 2], effects: &mut Vec<Effect>) {
        let had_none = self.training.starts.iter().all(String::is_empty);
        let has_none = starts.iter().all(String::is_empty);
        let config = &mut self.training.config;
        if had_none != has_none {
            config.warmup_d = if has_none { 0 } else { WARM_UP.min(config.steps / 10) };
        }
        self.training.starts = starts;
        for id in self.training.starts.clone() {
            if self.model(&id).is_some_and(|model| matches!(model.status, Status::Absent | Status::Failed(_))) {
                self.load(&id, effects);
            }
        }
        self.set_networks();
    }

    /// Makes the networks those of the models that the training starts from, as far as they are known.
    pub(super) fn set_networks(&mut self) {
        if self.training.phase.is_active() {
            return;
        }
        let starts = self.training.starts.clone();
        for (option, id) in OPTIONS.into_iter().zip(&starts) {
            let mut changes = Changes::default();
            let model = self.model(id);
            let file = model.map_or(if id == SAME { SAME } else { "" }, |model| model.file_name());
            // Both have passed through the list of options already.
            let _ = changes.add(option, file);
            for (name, value) in model.and_then(|model| model.info.as_ref()).iter().flat_map(|info| &info.settings) {
                let _ = changes.add(name, value);
            }
            self.training.config.apply(&changes);
        }
    }

    /// Why a training cannot start from its models yet.
    pub(super) fn start_problem(&self) -> Option<String> {
        let model =
            self.training.starts.iter().find_map(|id| self.model(id).filter(|model| model.status != Status::Loaded))?;
        Some(["The weights of ", &model.listed.title, " are not here yet. Start again when they are."].concat())
    }

    /// Addresses of the weight files that have to be fetched for a training.
    pub(super) fn start_addresses(&self) -> Vec<String> {
        let models = self.training.starts.iter().filter_map(|id| self.model(id));
        models.filter(|model| model.origin == Origin::Listed).map(|model| model.listed.file.clone()).collect()
    }

    /// The weights that a training starts from and their bytes, of which `fetched` are some.
    pub(super) fn start_files(&self, fetched: &mut impl Iterator<Item = Vec<u8>>) -> (Vec<InitFile>, Vec<Vec<u8>>) {
        let (mut files, mut buffers) = (Vec::new(), Vec::new());
        for (option, id) in OPTIONS.into_iter().zip(&self.training.starts) {
            let Some(model) = self.model(id) else { continue };
            files.push(InitFile { option: option.into(), part: model.part.clone() });
            buffers.extend(match &model.origin {
                Origin::Own(bytes, _) => Some(bytes.to_vec()),
                _ => fetched.next(),
            });
        }
        (files, buffers)
    }

    /// Other settings as a whole name files that the page does not have.
    pub(super) fn take_settings(&mut self, config: TrainConfig) {
        self.training.take(config);
        self.set_networks();
    }

    /// A model that is gone is nothing to start from.
    pub(super) fn forget_starts(&mut self) {
        if let Phase::Gathering { .. } = self.training.phase {
            return;
        }
        let models = &self.models;
        for id in &mut self.training.starts {
            if id != SAME && !models.iter().any(|model| model.id() == id) {
                id.clear();
            }
        }
    }
}
