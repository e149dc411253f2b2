//! At which size networks compute, and how much of a translation is shown.

use super::*;
use crate::protocol::Size;

fn size_asked(effects: &[Effect]) -> Option<Size> {
    match commands(effects)[..] {
        [.., Command::Translate { size, .. }] => Some(*size),
        _ => None,
    }
}

#[test]
fn another_size_translates_the_picture_on_the_stage_again() {
    let mut state = opened();
    assert_eq!(state.update(Message::SetSize(Size::Model)), []);
    let number = under_way(&mut state, None);
    assert_eq!(state.job.as_ref().map(|job| job.request.size), Some(Size::Model), "the model's own is the default");
    // While it runs: the job begins again.
    let effects = state.update(Message::SetSize(Size::Side(512)));
    assert_eq!(commands(&effects)[0], &Command::Cancel { job: number });
    assert_eq!(size_asked(&effects), Some(Size::Side(512)));
    let number = state.job.as_ref().expect("a job runs").number;
    state.update(translated(number, 0, 0));
    assert_eq!(state.results[0].request.size, Size::Side(512));
    // When it is done, too; the same size once more is no news.
    assert_eq!(size_asked(&state.update(Message::SetSize(Size::Full))), Some(Size::Full));
    let number = state.job.as_ref().expect("a job runs").number;
    state.update(translated(number, 0, 0));
    assert_eq!(state.update(Message::SetSize(Size::Full)), []);
    // The way back is computed as the way there was, whatever is chosen meanwhile.
    state.update(Message::BackAgain);
    assert_eq!(state.job.as_ref().map(|job| job.request.size), Some(Size::Full));
    state.update(Message::SetSize(Size::Side(1024)));
    assert_eq!(state.job.as_ref().map(|job| job.request.size), Some(Size::Full));
    // What comes next follows the choice.
    state.update(Message::Pictures(vec![picture(None)]));
    assert_eq!(state.job.as_ref().map(|job| job.request.size), Some(Size::Side(1024)));
}

#[test]
fn a_size_chosen_before_there_is_a_picture_waits_for_it() {
    let mut state = opened();
    assert_eq!(state.update(Message::SetSize(Size::Side(512))), []);
    assert_eq!(state.stage, Stage::Example);
    under_way(&mut state, None);
    assert_eq!(state.job.as_ref().map(|job| job.request.size), Some(Size::Side(512)));
}

#[test]
fn strength_blends_without_computing_and_the_zip_shows_it() {
    let mut state = opened();
    let number = under_way(&mut state, None);
    state.update(translated(number, 0, 200));
    assert_eq!(state.update(Message::Strength(50)), []);
    let done = state.done(number).expect("it is kept");
    assert_eq!(done.after, [200; 8], "what was computed stays");
    assert_eq!((done.shown(50), done.shown(0), done.shown(100)), (vec![100; 8], vec![0; 8], vec![200; 8]));
    let effects = state.update(Message::SaveAll);
    let [Effect::Send(sent)] = &effects[..] else { panic!("one command, not {effects:?}") };
    assert_eq!(sent.buffers, [vec![100; 8]]);
    state.update(Message::Strength(900));
    assert_eq!(state.strength, 100);
}
