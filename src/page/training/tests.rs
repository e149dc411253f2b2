use super::*;
use crate::protocol::Losses;

#[test]
fn a_training_goes_from_idle_to_its_end() {
    let mut training = Training::default();
    assert_eq!(training.missing(), None);
    training.prepare();
    training.update(Message::Gathering { done: 5, total: Some(10) });
    assert_eq!(training.phase, Phase::Gathering { done: 5, total: Some(10) });
    let config = training.gathered(true).expect("it was waiting for its pictures");
    assert_eq!((config.domain_a.as_str(), config.domain_b.as_str()), ("flat", "3D"));
    training.hear(
        Event::TrainingStarted { step: 0, steps: 40, images_a: 3, images_b: 4, parameters: 5, memory_bytes: 6 },
        vec![],
    );
    assert_eq!((&training.phase, training.config.steps), (&Phase::Running, 40));
    let losses = Losses { cycle_a: 1.0, ..Losses::default() };
    let step = Event::Step { step: 20, epoch: 2, losses, learning_rate: 2e-4, steps_per_second: 4.0 };
    training.hear(step, vec![]);
    assert_eq!(training.seconds_left(), 5.0);
    assert!(training.has_generators());
    training.hear(Event::Paused { step: 20 }, vec![]);
    assert_eq!(training.phase, Phase::Paused);
    training.hear(Event::Resumed { step: 20 }, vec![]);
    assert!(training.stop());
    assert!(!training.stop(), "once is enough");
    training.hear(Event::Stopped { step: 21, trouble: None }, vec![]);
    assert_eq!(training.phase, Phase::Ended { trouble: None });
    assert!(training.has_generators());
}

#[test]
fn pictures_that_come_after_a_stop_start_nothing() {
    let mut training = Training::default();
    training.prepare();
    assert!(!training.stop());
    assert_eq!(training.gathered(true), None);
}

#[test]
fn own_pictures_need_both_piles_or_a_zip() {
    let mut training = Training::default();
    training.update(Message::Piles([2, 0]));
    assert_eq!((training.source, training.missing()), (Source::Own, Some("Give pictures for B first.")));
    training.update(Message::Piles([2, 1]));
    assert_eq!(training.missing(), None);
    training.update(Message::Zip(Some("mine.zip".into())));
    training.piles = [0, 0];
    assert_eq!(training.missing(), None);
}

#[test]
fn options_are_set_as_typed_and_nonsense_is_named_and_refused() {
    let mut training = Training::default();
    let set = |training: &mut Training, name, value: &str| {
        training.update(Message::Set(Field::named(name).expect("an option"), value.into()));
    };
    for (field, label) in settings::settings() {
        let before = training.config.get(field.name).expect("an option");
        set(&mut training, field.name, &before);
        assert_eq!(training.config.get(field.name).as_ref(), Some(&before), "{label}");
        assert_eq!(training.mistake, None, "{label}");
    }
    assert_eq!(training.problem(), None);
    set(&mut training, "steps", "-1");
    assert_eq!(training.problem().as_deref(), Some("steps must be a whole number of 0 or more, not -1."));
    set(&mut training, "ngf", "12");
    assert!(training.problem().is_some(), "another option does not make it good");
    set(&mut training, "steps", "");
    assert_eq!(training.problem().as_deref(), Some("steps must be a whole number of 0 or more, not empty."));
    set(&mut training, "steps", " 7 ");
    assert_eq!((training.problem(), training.config.steps, training.config.ngf), (None, 7, 12));
    training.update(Message::Preset("small-128".into()));
    set(&mut training, "size", "64");
    assert_eq!((training.config.size, training.config.load_size), (64, 71), "the margin of the crop is kept");
    set(&mut training, "net_g", "unet_128");
    assert!(training.problem().is_some_and(|text| text.contains("unet_128")), "impossible together");
}

#[test]
fn previews_can_be_changed_and_pictures_looked_at_while_there_are_networks() {
    let mut training = Training::default();
    training.update(Message::Previews { every: 5, rows: 0 });
    assert_eq!((training.config.preview_every, training.preview_rows), (5, 1));
    assert!(!training.has_networks());
    training.phase = Phase::Starting;
    training.hear(
        Event::TrainingStarted { step: 0, steps: 9, images_a: 1, images_b: 1, parameters: 5, memory_bytes: 0 },
        vec![],
    );
    assert!(training.has_networks());
    training.inspector.is_open = true;
    training.worker_gone("Gone.");
    assert!(!training.has_networks() && !training.inspector.is_open);
}

#[test]
fn a_lost_worker_takes_the_generators_with_it() {
    let mut training = Training { phase: Phase::Running, step: 9, ..Training::default() };
    training.worker_gone("Gone.");
    assert_eq!(training.phase, Phase::Ended { trouble: Some("Gone.".into()) });
    assert!(!training.has_generators());
}
