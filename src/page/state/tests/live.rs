//! The camera, live.

use super::*;

fn live(message: LiveMessage) -> Message {
    Message::Live(message)
}

/// A live camera whose model is in the worker.
fn started(state: &mut State) {
    under_way(state, None);
    state.update(Message::Cancel);
    let effects = state.update(live(LiveMessage::Start));
    assert_eq!(effects, [Effect::TakeFrame(128)], "modest on a processor");
    assert_eq!(state.stage, Stage::Live);
}

/// The camera gives the frame that was asked for; the job's number.
fn frame(state: &mut State) -> u32 {
    let effects = state.update(live(LiveMessage::Frame { width: 2, height: 1, pixels: vec![7; 8] }));
    let [Command::Translate { job, max_side: None, .. }] = commands(&effects)[..] else { panic!("not {effects:?}") };
    *job
}

fn counts(state: &State) -> Option<(u32, u32)> {
    state.live.as_ref().map(|live| (live.count, live.kept))
}

#[test]
fn the_next_frame_is_taken_when_the_last_one_is_back() {
    let mut state = opened();
    started(&mut state);
    for count in 1..4 {
        let job = frame(&mut state);
        let early = LiveMessage::Frame { width: 2, height: 1, pixels: vec![0; 8] };
        assert_eq!(state.update(live(early)), [], "one at a time");
        assert_eq!(state.update(translated(job, 7, 9)), [Effect::TakeFrame(128)]);
        assert_eq!(counts(&state), Some((count, 0)));
    }
    assert_eq!(state.results.len(), 0);
    state.update(live(LiveMessage::Side(96)));
    let job = frame(&mut state);
    assert_eq!(state.update(translated(job, 7, 9)), [Effect::TakeFrame(96)]);
}

#[test]
fn a_frame_that_is_kept_becomes_a_result_and_the_camera_goes_on() {
    let mut state = opened();
    started(&mut state);
    assert_eq!(state.update(live(LiveMessage::Keep)), [], "there is nothing to keep yet");
    let job = frame(&mut state);
    state.update(translated(job, 7, 9));
    state.update(live(LiveMessage::Keep));
    assert_eq!((counts(&state), &state.stage), (Some((1, 1)), &Stage::Live));
    let done = &state.results[0];
    assert_eq!((&done.before[..], &done.after[..], done.title.as_str()), (&[7; 8][..], &[9; 8][..], "AB"));
    let number = done.number;
    let effects = state.update(live(LiveMessage::Stop));
    assert_eq!(effects, [Effect::CloseCamera]);
    assert_eq!((&state.stage, &state.live), (&Stage::Done { number, back: false }, &None));
    assert!(state.request.is_some(), "it can be translated with another model");
}

#[test]
fn a_hidden_page_takes_no_frames() {
    let mut state = opened();
    started(&mut state);
    let job = frame(&mut state);
    state.update(live(LiveMessage::Visible(false)));
    assert_eq!(state.update(translated(job, 7, 9)), []);
    assert_eq!(state.update(live(LiveMessage::Visible(true))), [Effect::TakeFrame(128)]);
}

#[test]
fn whatever_takes_the_stage_turns_the_camera_off() {
    let ends: [fn(&mut State) -> Vec<Effect>; 4] = [
        |state| state.update(Message::Go(Place::Train)),
        |state| state.update(live(LiveMessage::Stop)),
        |state| state.update(live(LiveMessage::Lost("Unplugged.".into()))),
        |state| state.update(Message::Files(vec![(1, "1.png".into())])),
    ];
    for end in ends {
        let mut state = opened();
        started(&mut state);
        let job = frame(&mut state);
        let effects = end(&mut state);
        assert!(effects.contains(&Effect::Send(Command::Cancel { job }.into())), "{effects:?}");
        assert!(effects.contains(&Effect::CloseCamera), "{effects:?}");
        assert_eq!(state.live, None);
        let stage = state.stage.clone();
        assert_eq!(state.update(translated(job, 7, 9)), []);
        assert_eq!((state.stage, state.results.len()), (stage, 0), "what comes late is not shown");
    }
}

#[test]
fn another_model_takes_over_in_mid_stream() {
    let mut state = opened();
    started(&mut state);
    let job = frame(&mut state);
    assert_eq!(state.update(Message::ChooseModel("ba".into())), []);
    let effects = state.update(translated(job, 7, 9));
    assert!(matches!(&effects[..], [Effect::Download { model, .. }] if model == "ba"), "{effects:?}");
    assert_eq!(state.live.as_ref().and_then(|live| live.frame.as_ref()).map(|frame| frame.model.as_str()), Some("ab"));
    let effects = state.update(Message::Downloaded { model: "ba".into(), result: Err("No network.".into()) });
    assert_eq!(effects, [Effect::CloseCamera]);
    assert_eq!((&state.stage, &state.notices[..]), (&Stage::Failed("No network.".into()), &[][..]));
}

#[test]
fn the_camera_ends_with_its_worker() {
    let mut state = opened();
    started(&mut state);
    frame(&mut state);
    let effects = state.update(event(Event::Crashed { message: "boom".into() }));
    assert!(effects.contains(&Effect::CloseCamera) && effects.contains(&Effect::StartWorker));
    assert!(matches!(&state.stage, Stage::Failed(text) if text.contains("camera")));
}

#[test]
fn a_queue_at_work_waits_for_the_camera_to_end() {
    let mut state = opened();
    state.update(Message::Pictures(vec![picture(None), picture(None)]));
    state.update(live(LiveMessage::Start));
    assert!(state.batch.as_ref().is_some_and(|batch| batch.is_paused));
    assert_eq!((&state.stage, state.queue.len(), &state.job), (&Stage::Live, 2, &None));
    let effects = state.update(Message::GoOn);
    assert!(effects.contains(&Effect::CloseCamera), "{effects:?}");
    assert!(state.job.is_some());
}
