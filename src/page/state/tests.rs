use super::{results::KEPT_RESULTS, translations::shrunk, *};
use crate::{
    page::{
        models::Listed,
        training::{Phase, Source},
    },
    protocol::{Event, Input, ModelInfo, WeightFormat},
};

mod kept;
mod live;
mod queue;
mod tuning;
mod watch;

fn listed(id: &str, reverse: &str, samples: &[&str]) -> Listed {
    Listed {
        id: id.into(),
        title: id.to_uppercase(),
        file: format!("static/models/{id}.safetensors"),
        reverse: Some(reverse.into()),
        samples: samples.iter().map(|sample| (*sample).into()).collect(),
        ..Listed::default()
    }
}

fn opened() -> State {
    let mut state = State::new(None);
    state.update(Message::ModelsListed(Ok(vec![listed("ab", "ba", &["a.png"]), listed("ba", "ab", &["b.png"])])));
    state
}

fn picture(sample: Option<&str>) -> Picture {
    let input = Input::File { name: "cat.jpg".into() };
    Picture { name: "cat.jpg".into(), input, bytes: vec![1, 2, 3], sample: sample.map(Into::into) }
}

fn event(event: Event) -> Message {
    Message::Worker(event.into())
}

fn commands(effects: &[Effect]) -> Vec<&Command> {
    fn sent(effect: &Effect) -> Option<&Command> {
        match effect {
            Effect::Send(envelope) => Some(&envelope.message),
            Effect::Translate(command, _) => Some(command),
            _ => None,
        }
    }
    effects.iter().filter_map(sent).collect()
}

/// Gives a picture and brings the chosen model into the worker; returns the job's number.
fn under_way(state: &mut State, sample: Option<&str>) -> u32 {
    let effects = state.update(Message::Pictures(vec![picture(sample)]));
    let model = state.chosen.clone().expect("a model is chosen");
    if !effects.is_empty() && matches!(effects.last(), Some(Effect::Download { .. })) {
        state.update(Message::Downloaded { model: model.clone(), result: Ok(vec![9]) });
        state.update(event(Event::ModelLoaded { model, info: ModelInfo::default() }));
    }
    let job = state.job.as_ref().expect("a job runs");
    assert!(job.sent);
    job.number
}

fn translated(job: u32, before: u8, after: u8) -> Message {
    let event = Event::Translated {
        job,
        width: 2,
        height: 1,
        computed: [2, 1],
        milliseconds: 5.0,
        device: "CPU".into(),
        mean_absolute_error: 0.0,
        notes: vec!["Its colours are converted from Display P3 to sRGB.".into()],
    };
    Message::Worker(Envelope::with(event, vec![vec![before; 8], vec![after; 8]]))
}

#[test]
fn a_picture_goes_through_download_load_and_translation() {
    let mut state = opened();
    let effects = state.update(Message::Pictures(vec![picture(None)]));
    assert_eq!(effects, [Effect::Download { model: "ab".into(), file: "static/models/ab.safetensors".into() }]);
    assert_eq!(state.stage, Stage::Busy);
    state.update(Message::Downloading { model: "ab".into(), received: 4, total: Some(8) });
    assert_eq!(
        state.chosen_model().map(|model| &model.status),
        Some(&Status::Downloading { received: 4, total: Some(8) })
    );

    let effects = state.update(Message::Downloaded { model: "ab".into(), result: Ok(vec![7]) });
    let load = Command::LoadModel { model: "ab".into(), file: "ab.safetensors".into(), part: None, data: Vec::new() };
    assert_eq!(effects, [Effect::Send(Envelope::with(load, vec![vec![7]]))]);

    let info = ModelInfo { notes: vec!["Padding by reflection was assumed.".into()], ..ModelInfo::default() };
    let effects = state.update(event(Event::ModelLoaded { model: "ab".into(), info }));
    assert!(matches!(commands(&effects)[..], [Command::Translate { model, max_side: None, .. }] if model == "ab"));
    let number = state.job.as_ref().expect("a job runs").number;
    state.update(translated(number, 10, 30));
    assert_eq!(state.stage, Stage::Done { number, back: false });
    assert_eq!(state.results[0].after, [30; 8]);
    let said = ["Its colours are converted from Display P3 to sRGB.", "Padding by reflection was assumed."];
    assert_eq!(state.results[0].notes, said, "of the picture and of the network");
    assert_eq!(state.job, None);
}

#[test]
fn a_picture_given_before_the_list_is_here_waits() {
    let mut state = State::new(None);
    assert_eq!(state.update(Message::Pictures(vec![picture(None)])), []);
    let effects = state.update(Message::ModelsListed(Ok(vec![listed("ab", "ba", &[])])));
    assert!(matches!(effects[..], [Effect::Download { .. }]));
}

#[test]
fn without_any_model_the_page_says_so() {
    let mut state = State::new(None);
    state.update(Message::ModelsListed(Err("No list.".into())));
    assert_eq!(state.notices, [Notice { text: "No list.".into(), is_error: true }]);
    state.update(Message::Pictures(vec![picture(None)]));
    assert!(matches!(&state.stage, Stage::Failed(text) if text.contains("weight file")));
    assert_eq!(state.notices, [], "whoever goes on has read it");
}

#[test]
fn several_pictures_are_done_one_after_the_other() {
    let mut state = opened();
    let first = under_way(&mut state, None);
    state.update(Message::Pictures(vec![picture(None), picture(None)]));
    assert_ne!(state.job.as_ref().map(|job| job.number), Some(first), "the newest wish comes first");
    for left in [1, 0] {
        assert_eq!(state.queue.len(), left);
        let number = state.job.as_ref().expect("a job runs").number;
        state.update(translated(number, 0, 0));
    }
    assert_eq!((state.results.len(), &state.job), (2, &None));
}

#[test]
fn a_late_answer_of_a_cancelled_job_is_ignored() {
    let mut state = opened();
    let number = under_way(&mut state, None);
    let effects = state.update(Message::Cancel);
    assert_eq!(effects, [Effect::Send(Command::Cancel { job: number }.into()), Effect::WatchCancel(number)]);
    assert_eq!(state.stage, Stage::Cancelled);
    state.update(translated(number, 0, 0));
    assert_eq!((&state.stage, state.results.len()), (&Stage::Cancelled, 0));
    assert_eq!(state.update(Message::CancelOverdue(number)), [], "it did answer");

    assert_eq!(state.update(Message::ChooseModel("ba".into())), [], "a cancelled picture waits to be asked for");
    assert!(matches!(&state.update(Message::Retry)[..], [Effect::Download { model, .. }] if model == "ba"));
}

#[test]
fn a_worker_that_does_not_give_up_is_replaced_unless_it_trains() {
    let mut state = opened();
    let number = under_way(&mut state, None);
    state.update(Message::Cancel);
    state.training.phase = Phase::Running;
    assert_eq!(state.update(Message::CancelOverdue(number)), []);
    state.training.phase = Phase::Idle;
    assert!(state.update(Message::CancelOverdue(number)).contains(&Effect::StartWorker));
    assert_eq!(state.chosen_model().map(|model| &model.status), Some(&Status::Absent));
}

#[test]
fn a_job_that_waits_behind_a_stuck_one_is_sent_to_the_next_worker() {
    let mut state = opened();
    let stuck = under_way(&mut state, None);
    state.update(Message::Cancel);
    let waiting = under_way(&mut state, None);
    let effects = state.update(Message::CancelOverdue(stuck));
    assert!(matches!(effects.last(), Some(Effect::Download { .. })));
    assert_eq!(state.job.as_ref().map(|job| (job.number, job.sent)), Some((waiting, false)));
}

#[test]
fn cancelling_a_download_stops_it() {
    let mut state = opened();
    state.update(Message::Pictures(vec![picture(None)]));
    assert_eq!(state.update(Message::Cancel), [Effect::StopDownload("ab".into())]);
    state.update(Message::Downloading { model: "ab".into(), received: 1, total: None });
    assert_eq!(state.chosen_model().map(|model| &model.status), Some(&Status::Absent));
    assert!(matches!(state.update(Message::Retry)[..], [Effect::Download { .. }]));
}

#[test]
fn choosing_a_model_translates_a_picture_that_suits_it() {
    let mut state = opened();
    let number = under_way(&mut state, None);
    state.update(translated(number, 0, 0));
    let effects = state.update(Message::ChooseModel("ba".into()));
    assert!(matches!(effects[..], [Effect::Download { .. }]), "a picture of one's own suits every model");

    let mut state = opened();
    let number = under_way(&mut state, Some("a.png"));
    state.update(translated(number, 0, 0));
    assert_eq!(state.update(Message::ChooseModel("ba".into())), []);
    assert_eq!(state.stage, Stage::Example, "a sample of the other model does not");
}

#[test]
fn back_again_measures_against_the_original() {
    let mut state = opened();
    let there = under_way(&mut state, None);
    state.update(translated(there, 10, 200));
    let effects = state.update(Message::BackAgain);
    assert!(matches!(&effects[..], [Effect::Download { model, .. }] if model == "ba"));
    state.update(Message::Downloaded { model: "ba".into(), result: Ok(vec![]) });
    let effects = state.update(event(Event::ModelLoaded { model: "ba".into(), info: ModelInfo::default() }));
    let [Effect::Translate(_, sent)] = &effects[..] else { panic!("one command, not {effects:?}") };
    assert_eq!(sent.bytes, [200; 8], "the result is what goes back");
    let job = state.job.as_ref().expect("a job runs");
    assert!(Rc::ptr_eq(sent, &job.request.picture), "its bytes are not copied in the page");
    let back = state.job.as_ref().expect("a job runs").number;
    state.update(translated(back, 200, 16));
    assert_eq!(state.stage, Stage::Done { number: there, back: true });
    let measured = state.results[0].back.as_ref().map(|back| back.mean_absolute_error);
    assert_eq!(measured, Some(6.0));
    assert_eq!(state.results.len(), 1);
    assert_eq!(state.request.as_ref().map(|request| request.model.as_str()), Some("ab"));
}

#[test]
fn too_large_becomes_an_offer_that_fits() {
    let mut state = opened();
    let job = under_way(&mut state, None);
    let too_large = Event::TooLarge { job, width: 6000, height: 4000, needed: 9, limit: 5, largest_side: 1500 };
    state.update(event(too_large));
    assert!(matches!(state.stage, Stage::TooLarge { fits: (1500, 1000), .. }));
    let effects = state.update(Message::TranslateSmaller);
    assert!(matches!(commands(&effects)[..], [Command::Translate { max_side: Some(1500), .. }]));
}

#[test]
fn a_crash_is_told_and_the_job_tried_once_more() {
    let mut state = opened();
    state.worker = Worker::Ready { backend: BackendName::Flex, device: "CPU".into(), note: None };
    let number = under_way(&mut state, None);
    let effects = state.update(event(Event::Crashed { message: "boom".into() }));
    assert_eq!(effects[0], Effect::StartWorker);
    assert!(matches!(commands(&effects)[0], Command::Start { backend: None }));
    assert!(matches!(effects.last(), Some(Effect::Download { .. })), "a new worker knows no model");
    assert!(state.notices[0].is_error && state.notices[0].text.contains("boom"));
    assert_eq!(state.job.as_ref().map(|job| (job.number, job.retried)), Some((number, true)));

    state.update(event(Event::Ready { backend: BackendName::Flex, device: "CPU".into(), note: None }));
    let effects = state.update(Message::WorkerDead(String::new()));
    assert!(effects.contains(&Effect::StartWorker));
    assert!(matches!(&state.stage, Stage::Failed(text) if text.contains("twice")));
    assert!(state.request.is_some(), "the picture is kept");
}

#[test]
fn a_crash_on_the_graphics_card_goes_on_on_the_processor() {
    for lost in [Event::DeviceLost { reason: "gone".into() }, Event::Crashed { message: "gone".into() }] {
        let mut state = opened();
        state.worker = Worker::Ready { backend: BackendName::Wgpu, device: "GPU".into(), note: None };
        under_way(&mut state, None);
        let effects = state.update(event(lost));
        assert!(matches!(commands(&effects)[0], Command::Start { backend: Some(BackendName::Flex) }));
        assert!(state.notices[0].text.contains("on the processor"));
        assert_eq!(state.stage, Stage::Busy);
    }
}

#[test]
fn a_worker_that_never_gets_ready_is_given_up() {
    let mut state = opened();
    state.update(Message::Pictures(vec![picture(None)]));
    assert!(state.update(Message::WorkerDead("404".into())).contains(&Effect::StartWorker));
    assert!(!state.update(Message::WorkerDead("404".into())).contains(&Effect::StartWorker));
    assert!(matches!(&state.worker, Worker::Dead(text) if text.contains("404")));
    assert!(matches!(state.stage, Stage::Failed(_)));
    assert!(state.update(Message::Retry).contains(&Effect::StartWorker), "another wish is another chance");
}

#[test]
fn a_broken_weight_file_leaves_no_card_behind() {
    let mut state = opened();
    let effects =
        state.update(Message::WeightFile { file: "mine.safetensors".into(), bytes: vec![1], data: Vec::new() });
    assert!(matches!(commands(&effects)[..], [Command::LoadModel { .. }]));
    let id = state.chosen.clone().expect("it is chosen at once");
    let failed = Event::Failed { job: None, model: Some(id.clone()), message: "mine.safetensors is cut.".into() };
    state.update(event(failed));
    assert_eq!((state.model(&id), state.chosen.as_deref()), (None, Some("ab")));
    assert_eq!(state.notices[0].text, "mine.safetensors is cut.");
}

#[test]
fn the_files_of_a_graphs_weights_go_to_the_worker_with_it() {
    let mut state = opened();
    let data = vec![("mine.onnx.data".to_owned(), vec![2, 3])];
    let effects = state.update(Message::WeightFile { file: "mine.onnx".into(), bytes: vec![1], data });
    let id = state.chosen.clone().expect("it is chosen at once");
    let load = Command::LoadModel {
        model: id.clone(),
        file: "mine.onnx".into(),
        part: None,
        data: vec!["mine.onnx.data".into()],
    };
    assert!(effects.contains(&Effect::Send(Envelope::with(load, vec![vec![1], vec![2, 3]]))), "{effects:?}");
    assert_eq!(state.model(&id).map(|model| model.listed.title.as_str()), Some("mine"));
}

#[test]
fn a_file_of_several_generators_becomes_as_many_cards() {
    let mut state = opened();
    state.update(Message::WeightFile { file: "both.pth".into(), bytes: vec![1], data: Vec::new() });
    let id = state.chosen.clone().expect("it is chosen at once");
    let parts = vec!["netG_A".to_owned(), "netG_B".to_owned()];
    let effects = state.update(event(Event::Several { model: id.clone(), parts, message: String::new() }));
    let part = |command: &&Command| match command {
        Command::LoadModel { model, part, .. } => (model == &id).then(|| part.clone()).flatten(),
        _ => None,
    };
    assert_eq!(commands(&effects).iter().find_map(part).as_deref(), Some("netG_A"));
    let titles: Vec<_> = state.models.iter().map(|model| model.listed.title.as_str()).collect();
    assert!(titles.ends_with(&["both: netG_A", "both: netG_B"]), "{titles:?}");
    assert_eq!(state.chosen, Some(id));
    assert_eq!(state.models.last().and_then(|model| model.part.as_deref()), Some("netG_B"));
}

#[test]
fn a_loaded_model_is_saved_under_its_name() {
    let mut state = opened();
    state.update(Message::WeightFile { file: "mine.pth".into(), bytes: vec![1], data: Vec::new() });
    let id = state.chosen.clone().expect("it is chosen at once");
    state.update(event(Event::ModelLoaded { model: id.clone(), info: ModelInfo::default() }));
    let format = WeightFormat::Onnx;
    let effects = state.update(Message::SaveModel { model: id.clone(), format });
    assert_eq!(commands(&effects), [&Command::SaveModel { model: id.clone(), format }]);
    let effects = state.update(Message::Worker(Envelope::with(Event::Saved { model: id, format }, vec![vec![7]])));
    assert_eq!(effects, [Effect::SaveFile { name: "mine.onnx".into(), bytes: vec![7] }]);
}

#[test]
fn a_weight_file_survives_a_restart_of_the_worker() {
    let mut state = opened();
    state.update(Message::WeightFile { file: "mine.safetensors".into(), bytes: vec![5], data: Vec::new() });
    let id = state.chosen.clone().expect("it is chosen at once");
    let info = ModelInfo { domain_from: "horse".into(), domain_to: "zebra".into(), ..ModelInfo::default() };
    state.update(event(Event::ModelLoaded { model: id.clone(), info }));
    assert_eq!(state.model(&id).map(|model| model.listed.title.as_str()), Some("horse → zebra"));
    under_way(&mut state, None);
    let effects = state.update(event(Event::Crashed { message: String::new() }));
    let Some(Effect::Send(sent)) = effects.last() else { panic!("it is loaded again") };
    assert_eq!(sent.buffers, [vec![5]]);
}

#[test]
fn training_starts_ends_and_lends_its_generators() {
    let mut state = opened();
    assert_eq!(state.update(Message::Train(Train::Start)), [Effect::GatherTrainingData { weights: vec![] }]);
    assert_eq!(state.update(Message::Train(Train::Start)), [], "one at a time");
    let data = TrainData::Zip { name: "emoji.zip".into() };
    let effects = state.update(Message::Train(Train::Gathered(Ok((data, vec![vec![1]])))));
    assert!(matches!(commands(&effects)[..], [Command::Train { .. }]));
    state.update(event(Event::TrainingStarted {
        step: 0,
        steps: 10,
        images_a: 1,
        images_b: 1,
        parameters: 1,
        memory_bytes: 1,
    }));
    let effects = state.update(Message::Train(Train::Use(Direction::BtoA)));
    assert_eq!(effects, []);
    assert_eq!(state.place, Place::Translate);
    assert_eq!(state.chosen_model().map(|model| model.listed.title.as_str()), Some("3D → flat"));
    let effects = state.update(Message::Pictures(vec![picture(None)]));
    assert!(matches!(commands(&effects)[..], [Command::Translate { model, .. }] if model == "trained:BtoA"));
    assert_eq!(commands(&state.update(Message::Train(Train::Stop))), [&Command::Stop]);
}

#[test]
fn a_model_is_fine_tuned_with_the_one_that_goes_back() {
    let mut state = opened();
    let effects = state.update(Message::FineTune("ab".into()));
    assert_eq!((state.place, state.training.source), (Place::Train, Source::Own));
    let wanted = |effect: &Effect| matches!(effect, Effect::Download { .. });
    assert_eq!(effects.iter().filter(|effect| wanted(effect)).count(), 2);
    state.update(Message::Train(Train::UseSource(Source::BuiltIn)));
    state.update(Message::Train(Train::Start));
    assert!(matches!(&state.training.phase, Phase::Ended { trouble: Some(text) } if text.contains("not here yet")));
    let settings = vec![("ngf".to_owned(), "24".to_owned()), ("n_blocks".to_owned(), "4".to_owned())];
    for model in ["ab", "ba"] {
        state.update(Message::Downloaded { model: model.into(), result: Ok(vec![9]) });
        let info = ModelInfo { settings: settings.clone(), ..ModelInfo::default() };
        state.update(event(Event::ModelLoaded { model: model.into(), info }));
    }
    let config = &state.training.config;
    assert_eq!((config.ngf, config.n_blocks, config.init_ba.as_str()), (24, 4, "ba.safetensors"));
    assert!(config.warmup_d > 0);
    // Another preset has other networks, but not of these models.
    state.update(Message::Train(Train::Preset("small-128".into())));
    assert_eq!((state.training.config.ngf, state.training.config.init_ab.as_str()), (24, "ab.safetensors"));
    let weights = ["ab", "ba"].map(|id| format!("static/models/{id}.safetensors")).to_vec();
    assert_eq!(state.update(Message::Train(Train::Start)), [Effect::GatherTrainingData { weights }]);
    let data = TrainData::Zip { name: "emoji.zip".into() };
    let effects = state.update(Message::Train(Train::Gathered(Ok((data, vec![vec![1], vec![2], vec![3]])))));
    let Some(Effect::Send(Envelope { message: Command::Train { init, .. }, buffers })) = effects.last() else {
        panic!("it starts: {effects:?}")
    };
    assert_eq!(init.iter().map(|file| file.option.as_str()).collect::<Vec<_>>(), ["init_ab", "init_ba"]);
    assert_eq!(*buffers, [vec![1], vec![2], vec![3]]);
}

#[test]
fn a_weight_file_of_the_visitors_is_fine_tuned_both_ways_and_not_any_more() {
    let mut state = opened();
    state.update(Message::WeightFile { file: "mine.pth".into(), bytes: vec![5], data: Vec::new() });
    let id = state.chosen.clone().expect("it is chosen at once");
    state.update(event(Event::ModelLoaded { model: id.clone(), info: ModelInfo::default() }));
    state.update(Message::FineTune(id.clone()));
    assert_eq!(state.training.starts, [id.clone(), String::new()]);
    state.update(Message::Train(Train::StartFrom([id, "same".into()])));
    assert_eq!([&state.training.config.init_ab, &state.training.config.init_ba], ["mine.pth", "same"]);
    state.update(Message::Train(Train::UseSource(Source::BuiltIn)));
    assert_eq!(state.update(Message::Train(Train::Start)), [Effect::GatherTrainingData { weights: vec![] }]);
    let data = TrainData::Zip { name: "emoji.zip".into() };
    let effects = state.update(Message::Train(Train::Gathered(Ok((data, vec![vec![1]])))));
    let Some(Effect::Send(sent)) = effects.last() else { panic!("it starts: {effects:?}") };
    assert_eq!(sent.buffers, [vec![5], vec![1]]);
    state.training.fail("It stopped.".into());
    state.update(Message::Train(Train::StartFrom(Default::default())));
    assert_eq!((state.training.config.init_ab.as_str(), state.training.config.warmup_d), ("", 0));
}

#[test]
fn a_training_that_cannot_be_says_why() {
    let mut state = opened();
    state.training.config.steps = 0;
    assert_eq!(state.update(Message::Train(Train::Start)), []);
    assert!(matches!(&state.training.phase, Phase::Ended { trouble: Some(text) } if text.contains("one step")));
    state.update(Message::Train(Train::UseSource(Source::Own)));
    assert_eq!(state.training.source, Source::Own);
}

#[test]
fn old_results_make_room() {
    let mut state = opened();
    for _ in 0..KEPT_RESULTS + 3 {
        let number = under_way(&mut state, None);
        state.update(translated(number, 0, 0));
    }
    assert_eq!(state.results.len(), KEPT_RESULTS);
    let oldest = state.results[0].number;
    state.update(Message::ShowDone(oldest));
    assert_eq!(state.stage, Stage::Done { number: oldest, back: false });
}

#[test]
fn shrinking_keeps_the_shape() {
    assert_eq!(shrunk(6000, 4000, 1500), (1500, 1000));
    assert_eq!(shrunk(100, 80, 200), (100, 80));
    assert_eq!(shrunk(10_000, 1, 100), (100, 1));
}
