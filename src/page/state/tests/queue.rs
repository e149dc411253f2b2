//! Many pictures at once.

use super::*;

fn named(name: &str) -> Picture {
    Picture { name: name.into(), input: Input::File { name: name.into() }, bytes: vec![1], sample: None }
}

/// Gives files `0.png`, `1.png`, … with the chosen model in the worker, and answers for the page as it reads them.
fn given(state: &mut State, count: u32) {
    under_way(state, None);
    state.update(Message::Cancel);
    let effects = state.update(Message::Files((0..count).map(|key| (key, format!("{key}.png"))).collect()));
    assert_eq!(effects, [Effect::ReadFile(0)], "one file is read at a time");
    read(state, 0);
}

fn read(state: &mut State, key: u32) -> Vec<Effect> {
    state.update(Message::FileRead { key, result: Ok(named(&format!("{key}.png"))) })
}

fn number(state: &State) -> u32 {
    state.job.as_ref().expect("a job runs").number
}

fn answer(state: &mut State) -> Vec<Effect> {
    let number = number(state);
    state.update(translated(number, 1, 2))
}

fn failed(state: &mut State, message: &str) -> Vec<Effect> {
    let job = Some(number(state));
    state.update(event(Event::Failed { job, model: None, message: message.into() }))
}

fn progress(state: &State) -> (usize, usize) {
    state.batch.as_ref().map_or((0, 0), |batch| (batch.current(), batch.total))
}

#[test]
fn files_are_read_and_done_one_after_the_other() {
    let mut state = opened();
    given(&mut state, 3);
    for key in 1..3 {
        assert_eq!(progress(&state), (key as usize, 3));
        assert_eq!(answer(&mut state), [Effect::ReadFile(key)]);
        assert_eq!(state.stage, Stage::Busy, "no result flashes by");
        assert_eq!(state.update(Message::FileRead { key: 77, result: Err("late".into()) }), []);
        assert!(matches!(commands(&read(&mut state, key))[..], [Command::Translate { .. }]));
    }
    assert_eq!(answer(&mut state), []);
    assert_eq!((state.results.len(), &state.batch, &state.notices[..]), (3, &None, &[][..]));
    assert!(matches!(state.stage, Stage::Done { .. }));
}

#[test]
fn what_cannot_be_translated_is_named_and_the_others_go_on() {
    let mut state = opened();
    given(&mut state, 5);
    answer(&mut state);
    state.update(Message::FileRead { key: 1, result: Err("1.png could not be read.".into()) });
    read(&mut state, 2);
    failed(&mut state, "That is no picture.");
    read(&mut state, 3);
    answer(&mut state);
    assert_eq!(progress(&state), (5, 5));
    read(&mut state, 4);
    let job = number(&state);
    let too_large = Event::TooLarge { job, width: 6000, height: 4000, needed: 9, limit: 5, largest_side: 1500 };
    state.update(event(too_large));
    assert_eq!(state.results.len(), 2);
    let last = state.results[1].number;
    assert_eq!(state.stage, Stage::Done { number: last, back: false });
    assert_eq!(state.request.as_ref().map(|request| request.picture.name.as_str()), Some("3.png"));
    let [Notice { text, is_error: true }] = &state.notices[..] else { panic!("one message, not {:?}", state.notices) };
    assert!(text.starts_with("3 of 5 pictures could not be translated. 1.png could not be read."), "{text}");
    assert!(text.contains("2.png: That is no picture.") && text.contains("1500 × 1000"), "{text}");
}

#[test]
fn a_batch_of_nothing_but_broken_files_says_so() {
    let mut state = opened();
    given(&mut state, 2);
    failed(&mut state, "0.png is cut.");
    state.update(Message::FileRead { key: 1, result: Err("1.png is cut.".into()) });
    assert!(matches!(&state.stage, Stage::Failed(text) if text.starts_with('2')));
    assert!(state.notices[0].text.ends_with("0.png is cut. 1.png is cut."));
    assert_eq!((&state.request, &state.batch), (&None, &None));
}

#[test]
fn one_broken_file_alone_leaves_nothing_to_try_again() {
    let mut state = opened();
    state.update(Message::Files(vec![(4, "x.png".into())]));
    assert_eq!((&state.stage, &state.batch), (&Stage::Busy, &None));
    state.update(Message::FileRead { key: 4, result: Err("x.png is gone.".into()) });
    assert_eq!((&state.stage, &state.request), (&Stage::Failed("x.png is gone.".into()), &None));
}

#[test]
fn cancel_stops_all_and_going_on_begins_where_it_stopped() {
    let mut state = opened();
    given(&mut state, 3);
    answer(&mut state);
    read(&mut state, 1);
    let stopped = number(&state);
    let effects = state.update(Message::Cancel);
    assert_eq!(effects, [Effect::Send(Command::Cancel { job: stopped }.into()), Effect::WatchCancel(stopped)]);
    assert_eq!((&state.stage, state.queue.len()), (&Stage::Halted(Halt::Stopped), 2));
    state.update(translated(stopped, 0, 0));
    assert_eq!((state.results.len(), &state.job), (1, &None), "what was done stays, what comes late does not");

    let shown = state.results[0].number;
    state.update(Message::ShowDone(shown));
    assert_eq!(state.stage, Stage::Done { number: shown, back: false }, "meanwhile the results can be looked at");
    state.update(Message::Retry);
    answer(&mut state);
    assert_eq!((state.results.len(), &state.job), (2, &None), "other work does not wake it");

    let effects = state.update(Message::GoOn);
    assert!(matches!(commands(&effects)[..], [Command::Translate { .. }]), "that picture has been read already");
    assert_eq!(progress(&state), (2, 3));
    assert_eq!(answer(&mut state), [Effect::ReadFile(2)]);
    assert_eq!(state.update(Message::Cancel), [], "cancelled while it reads");
    assert_eq!(state.update(Message::FileRead { key: 2, result: Ok(named("2.png")) }), []);
    assert_eq!(state.update(Message::GoOn), [Effect::ReadFile(2)]);
    read(&mut state, 2);
    answer(&mut state);
    assert_eq!((state.results.len(), &state.batch), (4, &None));
}

#[test]
fn more_pictures_join_a_queue_at_work_and_push_aside_one_that_stands() {
    let mut state = opened();
    given(&mut state, 2);
    state.update(Message::Files(vec![(8, "8.png".into())]));
    assert_eq!((progress(&state), state.queue.len()), ((1, 3), 2));
    state.update(Message::Cancel);
    let effects = state.update(Message::Files(vec![(9, "9.png".into())]));
    assert_eq!((effects, &state.batch), (vec![Effect::ReadFile(9)], &None));
}

#[test]
fn a_model_that_fails_stops_the_queue_and_not_each_picture() {
    let mut state = opened();
    state.update(Message::Pictures(vec![named("a.png"), named("b.png")]));
    state.update(Message::Downloaded { model: "ab".into(), result: Err("No network.".into()) });
    assert_eq!((&state.stage, state.queue.len()), (&Stage::Halted(Halt::Failed("No network.".into())), 2));
    assert!(matches!(state.update(Message::GoOn)[..], [Effect::Download { .. }]), "another chance");
}

#[test]
fn a_crash_costs_one_picture_at_most() {
    let mut state = opened();
    given(&mut state, 2);
    for _ in 0..2 {
        state.update(event(Event::Ready { backend: BackendName::Flex, device: "CPU".into(), note: None }));
        state.update(event(Event::Crashed { message: "boom".into() }));
    }
    assert_eq!(state.batch.as_ref().map(|batch| batch.failures.len()), Some(1));
    assert_eq!(state.reading, Some((1, "1.png".into())), "the next one has its turn");
}

#[test]
fn a_queue_that_fills_the_memory_stops_before_it_loses_anything() {
    let mut state = opened();
    let number = under_way(&mut state, None);
    state.update(translated(number, 0, 0));
    // 17 bytes each: two pictures of eight and a file of one.
    state.memory = 40;
    state.update(Message::Pictures((0..5).map(|index| named(&format!("{index}.png"))).collect()));
    answer(&mut state);
    assert_eq!((state.results.len(), state.forgotten), (2, 0));
    answer(&mut state);
    assert_eq!((state.results.len(), state.forgotten), (2, 1), "what was there before makes room");
    answer(&mut state);
    assert_eq!((&state.stage, state.results.len(), state.queue.len()), (&Stage::Halted(Halt::Full), 3, 2));
    state.update(Message::GoOn);
    answer(&mut state);
    assert_eq!((state.results.len(), state.forgotten), (2, 3), "it was told before");
    answer(&mut state);
    assert_eq!((state.results.len(), &state.batch), (2, &None));
}

#[test]
fn all_results_are_packed_one_by_one() {
    let mut state = opened();
    given(&mut state, 3);
    for key in 1..3 {
        answer(&mut state);
        read(&mut state, key);
    }
    answer(&mut state);
    let mut effects = state.update(Message::SaveAll);
    assert_eq!(state.update(Message::SaveAll), [], "one zip at a time");
    for index in 0..3 {
        let [Effect::Send(sent)] = &effects[..] else { panic!("one picture at a time, not {effects:?}") };
        let name = format!("{index}.png");
        assert_eq!(sent.message, Command::Pack { name, width: 2, height: 1, index, count: 3 });
        assert_eq!(sent.buffers, [vec![2; 8]]);
        effects = state.update(event(Event::Packed { count: index + 1 }));
    }
    let effects = state.update(Message::Worker(Envelope::with(Event::Zip, vec![vec![5]])));
    assert_eq!(effects, [Effect::SaveFile { name: "cyclegan-results.zip".into(), bytes: vec![5] }]);
    assert_eq!(state.packing, None);
}

#[test]
fn a_zip_under_way_ends_with_its_worker_and_nothing_makes_room_meanwhile() {
    let mut state = opened();
    state.memory = 1;
    given(&mut state, 2);
    answer(&mut state);
    state.update(Message::SaveAll);
    state.update(Message::GoOn);
    read(&mut state, 1);
    answer(&mut state);
    assert_eq!((state.results.len(), state.forgotten), (2, 0));
    state.update(event(Event::Crashed { message: String::new() }));
    assert_eq!(state.packing, None);
    assert!(matches!(commands(&state.update(Message::SaveAll))[..], [Command::Pack { index: 0, count: 2, .. }]));
}
