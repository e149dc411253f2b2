//! Whole sessions, on the CPU.

use std::cell::RefCell;

use burn::backend::{Autodiff, Flex};

use super::{End, Host, Inbox, Place, Session};
use crate::config::{GanMode, Preprocess, TrainConfig};
use crate::image::Picture;
use crate::protocol::{Command, Envelope, Event, Input, Intervals, Quality, Size, TRAINED_A_TO_B, TrainData};
use crate::translate::Budget;
use crate::weights::{Storage, WeightFile};

/// Sends commands in, and keeps every event.
#[derive(Default)]
struct Recorder {
    inbox: Inbox,
    events: RefCell<Vec<Envelope<Event>>>,
}

impl Host for Recorder {
    fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    fn emit(&self, event: Envelope<Event>) {
        self.events.borrow_mut().push(event);
    }

    async fn breathe(&self) {}

    async fn wait(&self) -> bool {
        false
    }
}

fn served(commands: Vec<Envelope<Command>>) -> Vec<Envelope<Event>> {
    served_within(Budget { total: 1 << 30, tensor: 1 << 30, maps: 5.0 }, commands)
}

fn served_within(budget: Budget, commands: Vec<Envelope<Command>>) -> Vec<Envelope<Event>> {
    let host = Recorder::default();
    for command in commands {
        host.inbox.put(command);
    }
    let place = Place { device: Default::default(), name: "CPU".into(), budget };
    assert_eq!(pollster::block_on(Session::<Autodiff<Flex>, _>::new(&host, place).run()), End::Done);
    host.events.into_inner()
}

fn train(config: TrainConfig, a: Vec<(&str, Vec<u8>)>, b: Vec<(&str, Vec<u8>)>) -> Envelope<Command> {
    let names = |pile: &[(&str, Vec<u8>)]| pile.iter().map(|(name, _)| (*name).to_owned()).collect();
    let data = TrainData::Piles { a: names(&a), b: names(&b) };
    let buffers = a.into_iter().chain(b).map(|(_, bytes)| bytes).collect();
    Envelope::with(Command::Train { config: config.into(), init: Vec::new(), data }, buffers)
}

fn tiny() -> TrainConfig {
    TrainConfig {
        size: 32,
        load_size: 36,
        ngf: 2,
        n_blocks: 1,
        ndf: 2,
        n_layers: 2,
        pool_size: 2,
        preview_every: 0,
        evaluate_every: 0,
        ..TrainConfig::default()
    }
}

/// Told of pictures that could not be used, and of a training's end.
fn trouble(events: &[Envelope<Event>]) -> Vec<&Event> {
    let told = events.iter().map(|event| &event.message);
    told.filter(|event| match event {
        Event::ImageSkipped { .. } | Event::Failed { .. } => true,
        Event::Stopped { trouble, .. } => trouble.is_some(),
        _ => false,
    })
    .collect()
}

fn steps(events: &[Envelope<Event>]) -> u64 {
    let stopped = events.iter().find_map(|event| match event.message {
        Event::Stopped { step, .. } => Some(step),
        _ => None,
    });
    stopped.expect("the training has ended")
}

/// A batch of one is 2 × 2 maps of 32×32 values of 4 bytes: 16 KiB.
#[test]
fn a_training_whose_largest_tensor_the_device_cannot_hold_is_refused() {
    let file = || vec![("1.png", include_bytes!("../../tests/fixtures/images/plain.png").to_vec())];
    let config = TrainConfig { steps: 1, batch_size: 2, ..tiny() };
    for (tensor, fits) in [(32 << 10, true), ((32 << 10) - 1, false)] {
        let budget = Budget { total: 1 << 30, tensor, maps: 5.0 };
        let events = served_within(budget, vec![train(config.clone(), file(), file())]);
        let refused = events.iter().find_map(|event| match &event.message {
            Event::Failed { message, .. } => Some(message.as_str()),
            _ => None,
        });
        assert_eq!(refused.is_none(), fits, "{refused:?}");
        assert!(refused.is_none_or(|message| message.contains("in one piece")), "{refused:?}");
    }
}

#[test]
fn a_pause_is_told_when_the_training_is_written_down() {
    let file = || vec![("1.png", include_bytes!("../../tests/fixtures/images/plain.png").to_vec())];
    let config = TrainConfig { steps: 9, checkpoint_every: 9, ..tiny() };
    let events = served(vec![train(config, file(), file()), Command::Pause.into()]);
    let place = |wanted: &dyn Fn(&Event) -> bool| events.iter().position(|event| wanted(&event.message));
    let written = place(&|event| matches!(event, Event::Checkpoint { step: 0, .. }));
    let told = place(&|event| matches!(event, Event::Paused { step: 0 }));
    assert!(written.is_some() && written < told, "{written:?} {told:?}");
}

#[test]
fn files_of_every_awkward_kind_are_trained_on() {
    macro_rules! file {
        ($name:literal) => {
            ($name, include_bytes!(concat!("../../tests/fixtures/images/", $name)).to_vec())
        };
    }
    let a = vec![
        file!("rgb16.png"),
        file!("grey16.png"),
        file!("cmyk.jpg"),
        file!("grey.jpg"),
        file!("grey-alpha.png"),
        file!("orientation-6.jpg"),
        file!("animated.gif"),
        file!("animated.webp"),
    ];
    let b = vec![file!("bilevel.png"), file!("palette-transparent.png"), file!("deflate.tiff")];
    let config = TrainConfig { steps: 8, rotate: 10.0, colour_jitter: 0.2, ..tiny() };
    let events = served(vec![train(config.clone(), a.clone(), b.clone())]);
    assert_eq!((steps(&events), trouble(&events)), (8, vec![]));

    let mut with_broken = a;
    with_broken.insert(3, file!("truncated-header.jpg"));
    let events = served(vec![train(TrainConfig { steps: 18, ..config }, with_broken, b)]);
    assert_eq!(steps(&events), 18, "two rounds");
    let told = trouble(&events);
    assert!(matches!(told[..], [Event::ImageSkipped { file, .. }] if file == "truncated-header.jpg"), "{told:?}");
}

#[test]
fn pictures_of_any_shape_are_trained_on_with_every_preprocessing() {
    let picture = |width: u32, height: u32| {
        let pixels = (0..width * height).flat_map(|i| [(i % 251) as u8, (i / width * 3) as u8, 90, 255]).collect();
        Picture { width, height, pixels }.encode_png().expect("a picture can be written")
    };
    let a = vec![("wide.png", picture(64, 20)), ("high.png", picture(30, 61)), ("one.png", picture(1, 1))];
    let b = vec![("square.png", picture(44, 44)), ("long.png", picture(300, 8))];
    for preprocess in [Preprocess::ResizeAndCrop, Preprocess::ScaleWidthAndCrop, Preprocess::Crop, Preprocess::None] {
        for checkpoint_activations in [false, true] {
            let config = TrainConfig {
                preprocess,
                checkpoint_activations,
                size: 48,
                load_size: 52,
                steps: 5,
                preview_every: 5,
                ..tiny()
            };
            let events = served(vec![train(config, a.clone(), b.clone())]);
            assert_eq!((steps(&events), trouble(&events)), (5, vec![]), "{preprocess:?}");
            let seen = events.iter().rev().find_map(|event| match &event.message {
                Event::Preview { cells, .. } => {
                    Some(cells.iter().map(|cell| (cell.width, cell.height)).collect::<Vec<_>>())
                }
                _ => None,
            });
            let seen = seen.expect("a preview at the end");
            if preprocess == Preprocess::None {
                assert_eq!(
                    seen[..9],
                    [(48, 32), (48, 32), (48, 32), (32, 48), (32, 48), (32, 48), (32, 32), (32, 32), (32, 32)]
                );
                assert_eq!(seen[9..], [(44, 44), (44, 44), (44, 44), (48, 32), (48, 32), (48, 32)]);
            } else {
                assert!(seen.len() == 15 && seen.iter().all(|sides| *sides == (48, 48)), "{seen:?}");
            }
        }
    }
}

#[test]
fn a_gradient_penalty_and_augmented_looks_do_without_crops() {
    let picture = |width: u32, height: u32| {
        Picture::filled(width, height, [width as u8, 90, 200, 255]).encode_png().expect("a picture can be written")
    };
    let a = vec![("1.png", picture(32, 48)), ("2.png", picture(48, 32))];
    let b = vec![("1.png", picture(40, 40))];
    let config = TrainConfig {
        preprocess: Preprocess::None,
        gan_mode: GanMode::Wgangp,
        diff_augment: true,
        size: 48,
        steps: 4,
        ..tiny()
    };
    let events = served(vec![train(config, a, b)]);
    assert_eq!((steps(&events), trouble(&events)), (4, vec![]));
}

#[test]
fn a_training_without_crops_goes_on_from_its_checkpoint_as_if_it_had_never_stopped() {
    let picture = |width: u32, height: u32| {
        let pixels = (0..width * height).flat_map(|i| [(i % 83) as u8, (i / width * 5) as u8, 40, 255]).collect();
        Picture { width, height, pixels }.encode_png().expect("a picture can be written")
    };
    let a = vec![("1.png", picture(32, 40)), ("2.png", picture(48, 36)), ("3.png", picture(40, 40))];
    let b = vec![("1.png", picture(36, 36)), ("2.png", picture(32, 48))];
    let config = TrainConfig { preprocess: Preprocess::None, size: 48, checkpoint_every: 4, ..tiny() };
    let checkpoints = |events: &[Envelope<Event>]| -> Vec<Vec<u8>> {
        let kept = events.iter().filter(|event| matches!(event.message, Event::Checkpoint { .. }));
        kept.map(|event| event.buffers[0].clone()).collect()
    };
    let whole = checkpoints(&served(vec![train(TrainConfig { steps: 8, ..config }, a.clone(), b.clone())]));
    assert!(whole.len() >= 2);
    let Envelope { message: Command::Train { data, .. }, mut buffers } = train(tiny(), a, b) else {
        panic!("it is a training");
    };
    buffers.insert(0, whole[0].clone());
    let resumed = served(vec![Envelope::with(
        Command::ResumeTraining { steps: None, intervals: Intervals::default(), data },
        buffers,
    )]);
    assert_eq!(trouble(&resumed), Vec::<&Event>::new());
    assert!(checkpoints(&resumed).last() == whole.last(), "the same to the last bit");
}

/// Each measurement: when, what came of it, and whether its generators, which then come with it, are the best so far.
fn measured(events: &[Envelope<Event>]) -> Vec<(u64, Quality, bool)> {
    let told = events.iter().filter_map(|event| match event.message {
        Event::Measured { step, quality, is_best, .. } => {
            assert_eq!(!event.buffers.is_empty(), is_best);
            Some((step, quality, is_best))
        }
        _ => None,
    });
    told.collect()
}

#[test]
fn a_resumed_training_remembers_how_good_its_best_generators_were() {
    let folder = tempfile::tempdir().expect("a folder");
    for (pile, shade) in [("trainA", 10), ("trainB", 200), ("testA", 60), ("testB", 120)] {
        let pile = folder.path().join(pile);
        std::fs::create_dir(&pile).expect("a folder");
        for index in 0..2_u8 {
            let picture = Picture::filled(40, 40, [shade + index, 90, 255 - shade, 255]).encode_png();
            std::fs::write(pile.join(format!("{index}.png")), picture.expect("a picture")).expect("written");
        }
    }
    let data = || TrainData::Folder { path: folder.path().to_string_lossy().into_owned() };
    let config = TrainConfig { evaluate_every: 1, checkpoint_every: 1, steps: 4, learning_rate: 0.01, ..tiny() };
    let whole = served(vec![Envelope::from(Command::Train { config: config.into(), init: Vec::new(), data: data() })]);
    let checkpoints: Vec<Vec<u8>> = whole
        .iter()
        .filter(|event| matches!(event.message, Event::Checkpoint { .. }))
        .map(|event| event.buffers[0].clone())
        .collect();
    let whole = measured(&whole);
    assert_eq!(whole.len(), 4, "{whole:?}");
    let resumed = |checkpoint: &[u8], steps: usize| {
        let steps = Some(steps as u64);
        let resume = Command::ResumeTraining { steps, intervals: Intervals::default(), data: data() };
        measured(&served(vec![Envelope::with(resume, vec![checkpoint.to_vec()])]))
    };
    // The first one after the resume is worse than one of before.
    let step = whole.iter().rposition(|(.., is_best)| !is_best).expect("a measurement that is not the best");
    let checkpoint = &checkpoints[step - 1];
    assert_eq!(resumed(checkpoint, step + 1), whole[step..=step]);
    let mut old = WeightFile::read(checkpoint).expect("a checkpoint");
    assert!(old.metadata.remove("best_distance").is_some() && old.metadata.remove("checksum").is_some());
    let begun = resumed(&old.write(Storage::F32).expect("finite values"), step + 1);
    assert!(begun[0].2, "a checkpoint of before tells of no better one");
}

fn two_greys() -> [Vec<(&'static str, Vec<u8>)>; 2] {
    let png = |level| Picture::filled(40, 40, [level, level, level, 255]).encode_png().expect("a picture");
    [vec![("a.png", png(40))], vec![("b.png", png(200))]]
}

#[test]
fn a_training_that_has_ended_goes_on_for_more_steps() {
    let [a, b] = two_greys();
    let extend = |steps| Command::Extend { steps }.into();
    let commands = vec![
        extend(9),
        train(TrainConfig { steps: 4, ..tiny() }, a, b),
        extend(9),
        Command::Stop.into(),
        extend(0),
        extend(2),
    ];
    let events = served(commands);
    let told: Vec<_> = events.iter().map(|event| &event.message).collect();
    let failures: Vec<_> = trouble(&events);
    assert!(
        matches!(&failures[..], [Event::Failed { message: first, .. }, Event::Failed { message: second, .. }, Event::Failed { message: third, .. }]
            if first.starts_with("There is no training") && second.contains("not ended") && third.contains("give it more")),
        "{failures:?}"
    );
    let started = told.iter().filter_map(|event| match event {
        Event::TrainingStarted { step, steps, .. } => Some((*step, *steps)),
        _ => None,
    });
    assert_eq!(started.collect::<Vec<_>>(), [(0, 4), (0, 2)]);
    let stopped = told.iter().filter_map(|event| match event {
        Event::Stopped { step, .. } => Some(*step),
        _ => None,
    });
    assert_eq!(stopped.collect::<Vec<_>>(), [0, 2]);
}

#[test]
fn a_picture_is_computed_at_the_models_size_and_comes_back_at_its_own() {
    let [a, b] = two_greys();
    let picture = Picture::filled(96, 64, [90, 120, 30, 255]);
    let translate = |size| {
        let input = Input::Pixels { width: picture.width, height: picture.height };
        let model = TRAINED_A_TO_B.into();
        Envelope::with(Command::Translate { job: 1, model, input, max_side: None, size }, vec![picture.pixels.clone()])
    };
    let sizes = [Size::Model, Size::Side(48), Size::Side(500), Size::Full];
    let commands = [train(TrainConfig { steps: 1, ..tiny() }, a, b), Command::Stop.into()];
    let events = served(commands.into_iter().chain(sizes.map(translate)).collect());
    let done = events.iter().filter_map(|event| match event.message {
        Event::Translated { width, height, computed, .. } => Some((width, height, computed, event.buffers[1].len())),
        _ => None,
    });
    let expected = [[32, 21], [48, 32], [96, 64], [96, 64]];
    let expected = expected.map(|computed| (96, 64, computed, 4 * 96 * 64));
    assert_eq!(done.collect::<Vec<_>>(), expected);
}
