//! Watching a training: previews, one picture through all networks, settings as files, and numbers that are none.

use super::*;
use crate::{
    config::{Field, TrainConfig},
    page::training::{Look, Message as Train},
    protocol::{Inspected, KeptTraining, Subject},
};

fn started() -> Message {
    event(Event::TrainingStarted { step: 0, steps: 600, images_a: 1, images_b: 1, parameters: 1, memory_bytes: 0 })
}

fn running() -> State {
    let mut state = opened();
    state.training.phase = Phase::Starting;
    state.update(started());
    state
}

#[test]
fn previews_are_changed_while_it_runs_and_stay_changed_when_it_goes_on() {
    let mut state = opened();
    let change = Message::Train(Train::Previews { every: 7, rows: 5 });
    assert_eq!(state.update(change.clone()), [], "the next start knows it");
    state.training.phase = Phase::Starting;
    let command = Command::SetPreviews { every: 7, rows: 5 };
    assert_eq!(commands(&state.update(started())), [&command]);
    assert_eq!(commands(&state.update(change)), [&command]);
}

#[test]
fn a_picture_is_looked_at_again_with_every_preview() {
    let mut state = opened();
    let open = Message::Train(Train::Inspect(Look::Open(true)));
    assert_eq!(state.update(open.clone()), [], "there are no networks yet");
    let mut state = running();
    let inspect = Command::Inspect { direction: Direction::AtoB, subject: Subject::Sample { index: 0 } };
    assert_eq!(commands(&state.update(open)), [&inspect]);
    let preview = || event(Event::Preview { step: 1, cells: vec![] });
    assert_eq!(state.update(preview()), [], "an answer is on its way");
    let answer = || Message::Worker(Envelope::with(Event::Inspected(Inspected::default()), vec![vec![0]; 6]));
    assert_eq!(commands(&state.update(answer())), [&inspect], "it was out of date");
    assert_eq!(state.update(answer()), []);
    assert_eq!(commands(&state.update(preview())), [&inspect]);
    state.update(event(Event::Failed { job: None, model: None, message: "x.png: no picture".into() }));
    assert_eq!(commands(&state.update(preview())), [&inspect], "a refusal is an answer, too");
}

#[test]
fn settings_go_out_and_come_in_as_a_file() {
    let mut state = opened();
    let config = Box::new(TrainConfig { ngf: 5, ..TrainConfig::default() });
    state.training.config = *config.clone();
    assert_eq!(commands(&state.update(Message::Train(Train::SaveSettings))), [&Command::WriteSettings { config }]);
    let effects = state.update(Message::Worker(Envelope::with(Event::SettingsFile, vec![vec![1]])));
    assert!(matches!(&effects[..], [Effect::SaveFile { name, .. }] if name.ends_with(".toml")));
    let load = || Message::Train(Train::LoadSettings { file: "a.toml".into(), bytes: vec![2] });
    assert_eq!(commands(&state.update(load())), [&Command::ReadSettings { file: "a.toml".into() }]);
    let settings = |ngf| event(Event::Settings { config: Box::new(TrainConfig { ngf, ..TrainConfig::default() }) });
    state.training.update(Train::Set(Field::named("ngf").expect("an option"), "x".into()));
    state.update(settings(9));
    assert_eq!((state.training.config.ngf, state.training.problem()), (9, None));
    let mut state = running();
    assert_eq!(state.update(load()), []);
    assert!(state.notices[0].text.starts_with("Stop the training first"));
    let before = state.training.config.clone();
    state.update(settings(11));
    assert_eq!(state.training.config, before, "it came too late");
}

#[test]
fn a_training_that_diverged_goes_on_from_its_last_good_state_at_half_the_rate() {
    let mut state = running();
    let config = Box::new(TrainConfig { learning_rate: 4e-4, ..TrainConfig::default() });
    let kept = KeptTraining { step: 30, config, time: 1.0, bytes: 1 };
    state.update(event(Event::Kept { training: Some(kept) }));
    state.update(event(Event::Diverged { step: 30 }));
    state.update(event(Event::Stopped { step: 30, trouble: Some("Diverged.".into()) }));
    assert!(state.training.has_diverged && state.training.has_generators());
    let effects = state.update(Message::Train(Train::GoOnSlower));
    assert_eq!(commands(&effects), [&Command::ResumeKept { learning_rate: Some(2e-4), steps: None }]);
    assert_eq!((state.training.has_diverged, state.training.config.learning_rate), (false, 2e-4));
}
