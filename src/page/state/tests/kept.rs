//! The training that survives: a worker that dies, a tab that closes, a file that goes elsewhere.

use super::*;
use crate::{
    config::TrainConfig,
    page::training::Message as Train,
    protocol::{Intervals, KeptTraining},
};

fn kept(step: u64) -> Message {
    let config = TrainConfig { domain_a: "cat".into(), ..TrainConfig::preset("quick").expect("it exists") };
    event(Event::Kept { training: Some(KeptTraining { step, config: config.into(), time: 1.0, bytes: 9 }) })
}

fn started(step: u64) -> Message {
    event(Event::TrainingStarted { step, steps: 600, images_a: 1, images_b: 1, parameters: 1, memory_bytes: 1 })
}

fn ready() -> Message {
    event(Event::Ready { backend: BackendName::Wgpu, device: "GPU".into(), note: None })
}

#[test]
fn what_an_earlier_visit_left_is_gone_on_with_or_deleted() {
    let mut state = opened();
    assert!(state.update(Message::Train(Train::GoOn)).is_empty(), "nothing is kept");
    assert!(state.update(kept(340)).is_empty());
    assert_eq!(state.training.phase, Phase::Idle);
    let effects = state.update(Message::Train(Train::GoOn));
    assert_eq!(commands(&effects), [&Command::ResumeKept { learning_rate: None, steps: None }]);
    assert_eq!((&state.training.phase, state.training.domains()[0]), (&Phase::Starting, "cat"));
    assert!(state.update(Message::Train(Train::GoOn)).is_empty(), "once is enough");
    state.update(started(340));
    assert_eq!((&state.training.phase, state.training.step), (&Phase::Running, 340));
    assert_eq!(commands(&state.update(Message::Train(Train::Forget))), [&Command::ForgetKept]);
    state.update(event(Event::Kept { training: None }));
    assert_eq!(state.training.kept, None);
}

#[test]
fn a_training_whose_device_is_lost_goes_on_from_what_is_kept_but_not_twice_from_the_same_step() {
    let mut state = opened();
    state.update(ready());
    state.training.phase = Phase::Running;
    state.update(kept(20));
    let lost = || event(Event::DeviceLost { reason: String::new() });
    state.update(lost());
    assert!(matches!(state.training.phase, Phase::Ended { .. }));
    assert_eq!(commands(&state.update(kept(20))), [&Command::ResumeKept { learning_rate: None, steps: None }]);
    state.update(ready());
    state.update(started(20));
    state.update(lost());
    assert!(state.update(kept(20)).is_empty(), "it would be lost again");
    // A later loss, after more was kept.
    state.update(Message::Train(Train::GoOn));
    state.update(started(20));
    state.update(kept(40));
    state.update(lost());
    assert_eq!(commands(&state.update(kept(40))), [&Command::ResumeKept { learning_rate: None, steps: None }]);
}

#[test]
fn a_paused_training_waits_for_its_visitor() {
    let mut state = opened();
    state.training.phase = Phase::Paused;
    state.update(event(Event::DeviceLost { reason: String::new() }));
    assert!(state.update(kept(20)).is_empty());
}

#[test]
fn a_checkpoint_file_is_gone_on_with_on_the_chosen_pictures() {
    let mut state = opened();
    let import = |bytes| Message::Train(Train::Import { file: "run.safetensors".into(), bytes });
    state.update(import(vec![1, 2, 3]));
    assert!(state.notices[0].text.starts_with("run.safetensors holds no training"));
    let config = serde_json::to_string(&TrainConfig { steps: 900, ..TrainConfig::default() }).expect("plain data");
    let header = serde_json::json!({ "__metadata__": { "step": "340", "config": config } }).to_string();
    let bytes = [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat();
    state.update(import(bytes.clone()));
    assert_eq!(state.training.imported.as_ref().map(|imported| imported.step), Some(340));
    assert_eq!(state.update(Message::Train(Train::Start)), [Effect::GatherTrainingData { weights: vec![] }]);
    state.update(import(bytes.clone()));
    assert!(state.notices.last().is_some_and(|notice| notice.text.starts_with("Stop the training first")));
    let data = TrainData::Zip { name: "emoji.zip".into() };
    let effects = state.update(Message::Train(Train::Gathered(Ok((data.clone(), vec![vec![7]])))));
    let expected = Envelope::with(
        Command::ResumeTraining { steps: Some(900), intervals: Intervals::default(), data },
        vec![bytes, vec![7]],
    );
    assert_eq!(effects, [Effect::Send(expected)]);
    assert_eq!(state.training.imported, None);
}

#[test]
fn what_cannot_be_kept_is_told_and_a_checkpoint_is_handed_out() {
    let mut state = opened();
    state.update(event(Event::NotKept { message: "The disk is full.".into() }));
    assert_eq!(state.notices[0].text, "The disk is full.");
    assert_eq!(commands(&state.update(Message::Train(Train::SaveAll))), [&Command::ExportCheckpoint]);
    let file = Event::CheckpointFile { file: "cat.safetensors".into() };
    let effects = state.update(Message::Worker(Envelope::with(file, vec![vec![5]])));
    assert_eq!(effects, [Effect::SaveFile { name: "cat.safetensors".into(), bytes: vec![5] }]);
}

#[test]
fn a_training_that_is_done_goes_on_for_more_steps() {
    let mut state = opened();
    state.update(Message::Train(Train::Start));
    let data = TrainData::Zip { name: "emoji.zip".into() };
    state.update(Message::Train(Train::Gathered(Ok((data, vec![vec![1]])))));
    state.update(started(0));
    assert_eq!(state.training.more_steps(), None, "not while it runs");
    assert_eq!(state.update(Message::Train(Train::Extend(50))), []);
    let stopped = |step, trouble: Option<&str>| event(Event::Stopped { step, trouble: trouble.map(String::from) });
    state.update(stopped(600, None));
    assert_eq!(state.training.more_steps(), Some(600), "as many again");
    let effects = state.update(Message::Train(Train::Extend(50)));
    assert_eq!(commands(&effects), [&Command::Extend { steps: 650 }]);
    assert_eq!(state.update(Message::Train(Train::Extend(50))), [], "once is enough");
    let event_started =
        Event::TrainingStarted { step: 600, steps: 650, images_a: 1, images_b: 1, parameters: 1, memory_bytes: 1 };
    state.update(event(event_started));
    assert_eq!((&state.training.phase, state.training.config.steps), (&Phase::Running, 650));
    state.update(stopped(620, None));
    assert_eq!(state.training.more_steps(), Some(30), "what was left of a stopped one");
    state.update(stopped(620, Some("The device was lost.")));
    assert_eq!(state.training.more_steps(), None);
}

#[test]
fn a_kept_training_that_is_done_goes_on_for_as_many_steps_again() {
    let mut state = opened();
    state.update(kept(600));
    let effects = state.update(Message::Train(Train::GoOn));
    assert_eq!(commands(&effects), [&Command::ResumeKept { learning_rate: None, steps: Some(1200) }]);
}
