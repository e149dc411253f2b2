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
        Event::TrainingStarted { step: 0, steps: 40, images_a: 3, images_b: 4, parameters: 5, memory_bytes: 0 },
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
fn fields_round_trip_and_refuse_nonsense() {
    let mut training = Training::default();
    for (field, id) in Field::ALL {
        let before = field.get(&training.config);
        training.update(Message::Set(field, f64::NAN));
        training.update(Message::Set(field, -1.0));
        assert_eq!(field.get(&training.config), before, "{id}");
        training.update(Message::Set(field, 1.0));
        assert_eq!(field.get(&training.config), 1.0, "{id}");
    }
    training.update(Message::Preset("small-128".into()));
    training.update(Message::Set(Field::Size, 64.0));
    assert_eq!((training.config.size, training.config.load_size), (64, 72));
    assert_eq!(Field::LearningRate.get(&training.config), 2.0);
}

#[test]
fn a_lost_worker_takes_the_generators_with_it() {
    let mut training = Training { phase: Phase::Running, step: 9, ..Training::default() };
    training.worker_gone("Gone.");
    assert_eq!(training.phase, Phase::Ended { trouble: Some("Gone.".into()) });
    assert!(!training.has_generators());
}
