//! The options of the optimisation, each in one training on the processor: what they promise, and that a training that is
//! cut in two by a checkpoint and a new process is the training that never stopped.

use std::cell::{Cell, RefCell};
use std::process::Command;
use std::rc::Rc;

use burn::backend::{Autodiff, Flex};
use burn::tensor::{Tensor, TensorData};
use cyclegan::config::{LrPolicy, Preprocess, TrainConfig};
use cyclegan::data::{Sampler, UnpairedDataset};
use cyclegan::image::Picture;
use cyclegan::model::parameters::collect;
use cyclegan::protocol::{self, Direction, Envelope, Event, TrainData};
use cyclegan::random;
use cyclegan::session::{Host, Inbox, Place, Session};
use cyclegan::training::checkpoint::CheckpointError;
use cyclegan::training::exchange::Threads;
use cyclegan::training::{Adam, Exchange, Trainer};
use cyclegan::translate::Budget;
use cyclegan::weights::{Storage, WeightError, WeightFile};
use rand::RngExt;

type A = Autodiff<Flex>;

fn config() -> TrainConfig {
    TrainConfig {
        size: 32,
        load_size: 36,
        ngf: 4,
        ndf: 4,
        n_blocks: 2,
        n_layers: 2,
        pool_size: 5,
        steps: 20,
        preview_every: 0,
        ..TrainConfig::default()
    }
}

/// With everything that has a state.
fn stateful() -> TrainConfig {
    TrainConfig {
        lr_policy: LrPolicy::Plateau,
        // A window ends in either half, and is cut by the checkpoint.
        lr_decay_steps: 4,
        warmup_steps: 13,
        clip_grad: 1.0,
        ema: 0.9,
        batch_size: 2,
        accumulate: 2,
        checkpoint_activations: true,
        ..config()
    }
}

fn piles() -> [Vec<(String, Vec<u8>)>; 2] {
    ["a", "b"].map(|name| {
        let picture = |index: u64| {
            let mut stream = random::stream(5, name, index);
            let pixels = (0..40 * 40 * 4).map(|_| stream.random::<u8>() | 128).collect();
            let picture = Picture { width: 40, height: 40, pixels };
            (format!("{name}{index}.png"), picture.encode_png().expect("a picture"))
        };
        (0..6).map(picture).collect()
    })
}

fn dataset() -> UnpairedDataset {
    let [a, b] = piles();
    UnpairedDataset::from_piles(a, b).expect("two piles")
}

fn tensor(picture: &Picture) -> Tensor<Flex, 4> {
    Tensor::from_data(TensorData::new(picture.to_planes(), [1, 3, 32, 32]), &Default::default())
}

fn train(trainer: &mut Trainer<A>, to: u64) {
    let (dataset, mut sampler) = (dataset(), Sampler::new(&trainer.config));
    while trainer.step < to {
        let batches = trainer.numbers().map(|numbers| {
            let drawn: Vec<_> = numbers.map(|number| sampler.draw(&dataset, number).expect("readable")).collect();
            let joined = |of: fn(&cyclegan::data::Drawn) -> &Picture| {
                Tensor::cat(drawn.iter().map(|drawn| tensor(of(drawn))).collect(), 0)
            };
            [joined(|drawn| &drawn.a), joined(|drawn| &drawn.b)]
        });
        let batches = batches.collect();
        trainer.step_over(batches).expect("all are there");
        pollster::block_on(trainer.settle()).expect("a processor is not lost");
    }
}

fn trained(config: TrainConfig, to: u64) -> Trainer<A> {
    let mut trainer = Trainer::new(config, &Default::default());
    train(&mut trainer, to);
    trainer
}

fn saved(trainer: &Trainer<A>) -> Vec<u8> {
    pollster::block_on(trainer.checkpoint()).expect("finite values")
}

fn host<const D: usize>(tensor: Tensor<Flex, D>) -> Vec<f32> {
    tensor.into_data().iter().collect()
}

/// All first moments of an optimiser: after one step (1 − β₁) times the gradients.
fn first_moments(adam: &Adam<Flex>) -> Vec<f32> {
    adam.moments.iter().flatten().flat_map(|[first, _]| host(first.clone())).collect()
}

fn norm(values: impl IntoIterator<Item = f32>) -> f64 {
    values.into_iter().map(|value| f64::from(value).powi(2)).sum::<f64>().sqrt()
}

fn distance(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    norm(found.iter().zip(expected).map(|(a, b)| a - b)) / norm(expected.iter().copied())
}

/// A partner that is gone after so many exchanges.
#[derive(Debug)]
struct Leaving(Cell<usize>);

impl Exchange<Flex> for Leaving {
    fn workers(&self) -> usize {
        2
    }

    fn rank(&self) -> usize {
        0
    }

    fn sum(&self, tensor: Tensor<Flex, 1>) -> Result<Tensor<Flex, 1>, String> {
        let left = self.0.get().checked_sub(1).ok_or("Another worker of this training has stopped.")?;
        self.0.set(left);
        Ok(tensor)
    }
}

#[test]
fn a_step_that_another_worker_leaves_changes_nothing() {
    let (dataset, mut sampler) = (dataset(), Sampler::new(&config()));
    let drawn = sampler.draw(&dataset, 0).expect("readable");
    for spectral_norm in [false, true] {
        let mut trainer = trained(TrainConfig { spectral_norm, ema: 0.9, ..config() }, 1);
        let before = saved(&trainer);
        // Gradients of the generators, two pools, gradients of the discriminators.
        for exchanges in 0..4 {
            trainer.exchange = Some(Rc::new(Leaving(Cell::new(exchanges))));
            let trouble = trainer.step(tensor(&drawn.a), tensor(&drawn.b)).expect_err("the other is gone");
            assert!(trouble.contains("has stopped"), "{trouble}");
            assert_eq!(saved(&trainer), before, "after {exchanges} exchanges");
        }
        trainer.exchange = Some(Rc::new(Leaving(Cell::new(4))));
        trainer.step(tensor(&drawn.a), tensor(&drawn.b)).expect("four are enough");
        assert_ne!(saved(&trainer), before);
    }
}

/// Set for the second process of the next test: the file with the checkpoint, which it replaces.
const SECOND_HALF: &str = "CYCLEGAN_TEST_SECOND_HALF";

#[test]
fn twenty_steps_are_ten_and_a_new_process_and_ten_bit_for_bit_with_every_state() {
    if let Ok(path) = std::env::var(SECOND_HALF) {
        let bytes = std::fs::read(&path).expect("written by the first process");
        let mut trainer = Trainer::restore(&bytes, &Default::default()).expect("its own checkpoint");
        assert_eq!(trainer.step, 10);
        assert_eq!(trainer.window.steps, 2, "the checkpoint cuts a window");
        train(&mut trainer, 20);
        return std::fs::write(path, saved(&trainer)).expect("a temporary file");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("checkpoint.safetensors");
    std::fs::write(&path, saved(&trained(stateful(), 10))).expect("a file");
    let name = "twenty_steps_are_ten_and_a_new_process_and_ten_bit_for_bit_with_every_state";
    let program = std::env::current_exe().expect("this test");
    let output = Command::new(program).args(["--exact", name]).env(SECOND_HALF, &path).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));

    let whole = trained(stateful(), 20);
    assert!(whole.plateau.best.is_finite(), "the plateau heard of a window");
    assert!(std::fs::read(&path).expect("written") == saved(&whole), "another training");
}

#[test]
fn several_passes_are_one_pass_of_the_joined_batch() {
    let joined = trained(TrainConfig { batch_size: 4, ..config() }, 1);
    for (batch_size, accumulate) in [(2, 2), (1, 4)] {
        let passes = trained(TrainConfig { batch_size, accumulate, ..config() }, 1);
        for (found, expected) in [
            (&passes.generators_adam, &joined.generators_adam),
            (&passes.discriminators_adam, &joined.discriminators_adam),
        ] {
            let off = distance(&first_moments(found), &first_moments(expected));
            assert!(off < 1e-5, "gradients of {accumulate} passes are off by {off}");
        }
        let pool = |trainer: &Trainer<A>| trainer.pool_a.images().iter().cloned().flat_map(host).collect::<Vec<_>>();
        assert!(distance(&pool(&passes), &pool(&joined)) < 1e-5, "the pools hold the same fakes");
    }
    let single = trained(config(), 1);
    assert!(distance(&first_moments(&single.generators_adam), &first_moments(&joined.generators_adam)) > 0.1);
}

#[test]
fn activations_computed_again_give_the_same_training_bit_for_bit() {
    for lambda_identity in [0.5, 0.0] {
        let kept = TrainConfig { batch_size: 2, lambda_identity, ..config() };
        let again = TrainConfig { checkpoint_activations: true, ..kept.clone() };
        let mut again = trained(again, 3);
        again.config.checkpoint_activations = false;
        assert!(saved(&again) == saved(&trained(kept, 3)), "lambda_identity {lambda_identity}");
    }
}

#[test]
fn generators_with_a_skip_begin_as_the_identity_and_train_the_same_either_way() {
    let kept = TrainConfig { skip: true, ..config() };
    let start = Trainer::<A>::new(kept.clone(), &Default::default());
    let picture = tensor(&dataset().train_a[0].picture().expect("a picture").resize(32, 32));
    let through = start.frozen_generators().ab.forward(picture.clone());
    assert_eq!(through.into_data(), picture.clone().into_data());
    let again = TrainConfig { checkpoint_activations: true, ..kept.clone() };
    let (mut again, kept) = (trained(again, 3), trained(kept, 3));
    again.config.checkpoint_activations = false;
    assert!(saved(&again) == saved(&kept));
    let moved = kept.frozen_generators().ab.forward(picture.clone()) - picture;
    let moved: Vec<f32> = moved.into_data().iter().collect();
    assert!(norm(moved.into_iter()) > 0.1, "it learns");
    let file = pollster::block_on(kept.weights(Direction::AtoB)).expect("weights");
    assert!(file.architecture().is_ok_and(|architecture| architecture.has_skip()), "{:?}", file.metadata);
    let part = WeightFile::read(&saved(&kept)).expect("a checkpoint").network(Some("generator_ab")).expect("a network");
    assert!(part.architecture().is_ok_and(|architecture| architecture.has_skip()), "out of a checkpoint");
}

#[test]
fn pictures_of_any_size_take_turns_without_cropping() {
    let side = |size: [usize; 2], index| {
        let values: Vec<f32> = (0..3 * size[0] * size[1]).map(|i| ((i * 7 + index) % 13) as f32 / 6.5 - 1.0).collect();
        Tensor::<Flex, 4>::from_data(TensorData::new(values, [1, 3, size[0], size[1]]), &Default::default())
    };
    let sizes = [[[32, 48], [48, 32]], [[32, 32], [32, 32]], [[40, 32], [32, 36]]];
    let [kept, again] = [false, true].map(|checkpoint_activations| {
        let pool = TrainConfig { preprocess: Preprocess::None, size: 48, load_size: 48, pool_size: 1, ..config() };
        let config = TrainConfig { checkpoint_activations, ..pool };
        let mut trainer = Trainer::<A>::new(config, &Default::default());
        let mut moments = Vec::new();
        for (step, [of_a, of_b]) in sizes.into_iter().enumerate() {
            // The pool of one fake gives back one of another size now and then.
            trainer.step(side(of_a, step), side(of_b, step + 5)).expect("alone");
            moments.push(first_moments(&trainer.generators_adam));
        }
        let bytes = saved(&trainer);
        let again = Trainer::<A>::restore(&bytes, &Default::default()).expect("a pool of pictures of any size");
        assert!(saved(&again) == bytes);
        moments.swap_remove(0)
    });
    // Three passes of a generator instead of two: their gradients are added up in another order.
    assert!(distance(&again, &kept) < 1e-6);
}

#[test]
fn gradients_are_clipped_to_their_norm_and_small_ones_left_alone() {
    let gradient = |clip_grad| {
        let trainer = trained(TrainConfig { clip_grad, ..config() }, 1);
        [trainer.generators_adam, trainer.discriminators_adam].map(|adam| first_moments(&adam))
    };
    let (free, clipped, large) = (gradient(0.0), gradient(0.1), gradient(1e6));
    for ((free, clipped), large) in free.iter().zip(&clipped).zip(&large) {
        assert!(norm(free.iter().copied()) > 0.06, "there is something to clip");
        // A first moment is half of the gradient.
        assert!((norm(clipped.iter().copied()) - 0.05).abs() < 1e-5);
        assert!(distance(large, free) < 1e-6);
    }
}

#[test]
fn beta1_is_the_configurations() {
    let gradient = |beta1| first_moments(&trained(TrainConfig { beta1, ..config() }, 1).generators_adam);
    let (half, none) = (gradient(0.5), gradient(0.0));
    let doubled: Vec<f32> = half.iter().map(|value| 2.0 * value).collect();
    assert!(distance(&doubled, &none) < 1e-6);
}

#[test]
fn the_average_follows_the_generators_and_is_what_translates() {
    let config = TrainConfig { ema: 0.75, ..config() };
    let mut trainer = trained(config.clone(), 0);
    let flat = |trainer: &Trainer<A>| {
        let parameters = collect(&trainer.generators).into_iter();
        parameters.flat_map(|parameter| host(parameter.inner())).collect::<Vec<_>>()
    };
    let mut expected = flat(&trainer);
    for step in 1..=3 {
        train(&mut trainer, step);
        for (average, current) in expected.iter_mut().zip(flat(&trainer)) {
            *average = 0.75 * *average + 0.25 * current;
        }
    }
    let found: Vec<f32> = collect(&trainer.frozen_generators()).into_iter().flat_map(host).collect();
    assert!(distance(&found, &expected) < 1e-6);
    assert!(distance(&flat(&trainer), &expected) > 1e-3, "the generators themselves are elsewhere");
    let written = pollster::block_on(trainer.weights(Direction::AtoB)).expect("finite values");
    let values: Vec<f32> = written.tensors.into_iter().flat_map(|tensor| tensor.values).collect();
    assert_eq!(values, found[..values.len()], "the weight file is the average's");
    let again = Trainer::<A>::restore(&saved(&trainer), &Default::default()).expect("its own checkpoint");
    assert_eq!(flat(&again), flat(&trainer));
    assert_eq!(collect(&again.frozen_generators()).into_iter().flat_map(host).collect::<Vec<_>>(), found);
}

#[test]
fn a_plateau_lowers_the_rate_after_six_windows_without_progress() {
    let config = TrainConfig { lr_policy: LrPolicy::Plateau, lr_decay_steps: 2, learning_rate: 1e-3, ..config() };
    let mut trainer = Trainer::<A>::new(config, &Default::default());
    // Nothing is ever one percent better than this.
    trainer.plateau.best = 1e-6;
    train(&mut trainer, 11);
    assert_eq!(trainer.learning_rate(), 1e-3);
    train(&mut trainer, 12);
    assert!((trainer.learning_rate() - 2e-4).abs() < 1e-12);
    assert_eq!(trainer.plateau.bad, 0);
}

#[test]
fn warm_up_and_a_last_step_at_zero_reach_the_optimiser() {
    let trainer = Trainer::<A>::new(TrainConfig { warmup_steps: 10, ..config() }, &Default::default());
    assert!((trainer.learning_rate() - 2e-5).abs() < 1e-12);
    let mut trainer = trained(TrainConfig { end_at_zero: true, steps: 2, ..config() }, 1);
    let before = saved(&trainer);
    assert_eq!(trainer.learning_rate(), 0.0);
    train(&mut trainer, 2);
    let [before, after] = [before, saved(&trainer)].map(|bytes| WeightFile::read(&bytes).expect("a checkpoint"));
    let name = "generator_ab.model.1.weight";
    assert_eq!(before.tensor(name), after.tensor(name));
    let moment = "first.generator_ab.model.1.weight";
    assert_ne!(before.tensor(moment), after.tensor(moment));
}

/// What the configuration of a checkpoint was before there were these options.
const OLD: &str = r#"{"preset":"official","domain_a":"A","domain_b":"B","data":"","licence":"","size":32,"load_size":36,
    "flip":true,"ngf":4,"n_blocks":2,"ndf":4,"n_layers":2,"steps":20,"decay_from":0.5,"learning_rate":0.0002,
    "lambda_cycle":10.0,"lambda_identity":0.5,"pool_size":5,"seed":0,"preview_every":0,"checkpoint_every":0,
    "evaluate_every":0}"#;

#[test]
fn a_checkpoint_from_before_these_options_still_goes_on() {
    let whole = trained(config(), 6);
    let mut old = WeightFile::read(&saved(&trained(config(), 3))).expect("a checkpoint");
    old.metadata.insert("config".into(), OLD.into());
    for key in ["plateau", "plateau_window_steps", "checksum"] {
        assert!(old.metadata.remove(key).is_some());
    }
    let bytes = old.write(Storage::F32).expect("finite values");
    let mut trainer = Trainer::restore(&bytes, &Default::default()).expect("an old checkpoint");
    train(&mut trainer, 6);
    assert!(saved(&trainer) == saved(&whole));
}

#[test]
fn a_checkpoint_without_what_its_configuration_needs_is_refused() {
    let whole = saved(&trained(stateful(), 1));
    let damaged = |damage: &dyn Fn(&mut WeightFile)| {
        let mut file = WeightFile::read(&whole).expect("a checkpoint");
        damage(&mut file);
        // What is wrong beside a wrong checksum.
        file.metadata.remove("checksum");
        Trainer::<A>::restore(&file.write(Storage::F32).expect("finite values"), &Default::default()).map(|_| ())
    };
    assert!(damaged(&|_| {}).is_ok());
    let without =
        |start: &'static str| move |file: &mut WeightFile| file.tensors.retain(|t| !t.name.starts_with(start));
    for name in ["generator_ba.", "discriminator_a.", "average_ab.", "plateau_window_sum"] {
        let error = damaged(&without(name)).expect_err(name);
        assert!(
            matches!(&error, CheckpointError::Weights(WeightError::Missing { tensor, .. }) if tensor.starts_with(name))
        );
    }
    for plateau in ["", "1 2", "1 NaN 0", "x 1 0", "1 1 -1"] {
        let error = damaged(&|file| drop(file.metadata.insert("plateau".into(), plateau.into())));
        assert!(matches!(error, Err(CheckpointError::Config(_))), "{plateau:?}");
    }
    for distance in ["", "near", "NaN", "inf", "0.5 0.5"] {
        let error = damaged(&|file| drop(file.metadata.insert("best_distance".into(), distance.into())));
        assert!(matches!(error, Err(CheckpointError::Config(_))), "{distance:?}");
    }
}

/// The outside of a session whose commands are all there at the start.
struct Recorder {
    inbox: Inbox,
    workers: usize,
    events: RefCell<Vec<Envelope<Event>>>,
}

impl Host for Recorder {
    fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    fn emit(&self, event: Envelope<Event>) {
        // Whatever is asked for at the end of a training waits until then.
        if let Event::Stopped { .. } = event.message {
            for direction in [Direction::AtoB, Direction::BtoA] {
                self.inbox.put(protocol::Command::Export { direction }.into());
            }
            self.inbox.put(protocol::Command::ExportCheckpoint.into());
        }
        self.events.borrow_mut().push(event);
    }

    fn workers(&self) -> usize {
        self.workers
    }

    async fn breathe(&self) {}

    async fn wait(&self) -> bool {
        false
    }
}

/// Everything that a session tells about a training.
fn told(config: TrainConfig, budget: u64) -> Vec<Envelope<Event>> {
    told_by(config, budget, 1)
}

fn told_by(config: TrainConfig, budget: u64, workers: usize) -> Vec<Envelope<Event>> {
    let [a, b] = piles();
    let names = |pile: &[(String, Vec<u8>)]| pile.iter().map(|(name, _)| name.clone()).collect();
    let data = TrainData::Piles { a: names(&a), b: names(&b) };
    let buffers = a.into_iter().chain(b).map(|(_, bytes)| bytes).collect();
    let host = Recorder { inbox: Inbox::default(), workers, events: RefCell::default() };
    host.inbox.put(Envelope::with(protocol::Command::Train { config: config.into(), init: Vec::new(), data }, buffers));
    let budget = Budget { total: budget, tensor: u64::MAX, maps: 3.0 };
    let place = Place { device: Default::default(), name: "CPU".into(), budget };
    pollster::block_on(Session::<A, _>::new(&host, place).run());
    host.events.into_inner()
}

#[test]
fn a_training_that_diverges_stops_at_its_last_good_state_and_overwrites_nothing() {
    let config = TrainConfig { learning_rate: 1e18, checkpoint_every: 1, ..config() };
    let events = told(config.clone(), u64::MAX);
    let (step, trouble) = events
        .iter()
        .find_map(|event| match &event.message {
            Event::Stopped { step, trouble } => Some((*step, trouble.clone().expect("it went wrong"))),
            _ => None,
        })
        .expect("it ended");
    assert!(step < 20 && trouble.contains(&format!("step {step}")), "{step}: {trouble}");
    // The state that it is back at, trained to on purpose.
    let mut good = saved(&trained(config.clone(), step));
    let mut files = 0;
    for Envelope { message, buffers } in &events {
        match message {
            // Every one that was written can be read, and none is of a later step.
            Event::Checkpoint { step: at, .. } => {
                assert!(*at <= step, "a checkpoint of step {at}");
                assert_eq!(Trainer::<A>::restore(&buffers[0], &Default::default()).expect("good").step, *at);
            }
            Event::CheckpointFile { .. } => {
                assert!(buffers[0] == std::mem::take(&mut good), "not the last good state");
                files += 1;
            }
            Event::Weights { .. } => {
                let file = WeightFile::read(&buffers[0]).expect("finite values");
                assert!(file.tensors.iter().all(|tensor| tensor.values.iter().all(|value| value.is_finite())));
                files += 1;
            }
            Event::Failed { message, .. } => panic!("{message}"),
            _ => {}
        }
    }
    assert_eq!(files, 3, "both generators and the checkpoint of the last good state");
}

#[test]
fn a_session_draws_whole_batches_and_says_what_memory_it_takes() {
    let config = TrainConfig { batch_size: 2, accumulate: 2, steps: 4, checkpoint_every: 4, ..config() };
    let expected = saved(&trained(config.clone(), 4));
    for (budget, warned) in [(u64::MAX, false), (1 << 20, true)] {
        let events = told(config.clone(), budget);
        let advice = events
            .iter()
            .filter(|event| matches!(&event.message, Event::Advice { message } if message.contains("memory")));
        assert_eq!(advice.count(), usize::from(warned));
        let started = events.iter().find_map(|event| match event.message {
            Event::TrainingStarted { memory_bytes, .. } => Some(memory_bytes),
            _ => None,
        });
        assert!(started > Some(1 << 20));
        // Four images a step from piles of six: the second epoch begins within the second step.
        let epochs = events.iter().filter_map(|event| match event.message {
            Event::Step { step, epoch, .. } => Some((step, epoch)),
            _ => None,
        });
        for (step, epoch) in epochs {
            assert_eq!(epoch, ((step - 1) * 4 / 6) as u32 + 1, "step {step}");
        }
        let checkpoint = events.iter().find(|event| matches!(event.message, Event::Checkpoint { .. }));
        let checkpoint = checkpoint.expect("it was kept");
        assert!(checkpoint.buffers[0] == expected, "other pictures were drawn");
    }
}

/// Workers that train together to step `to`, each in a thread.
fn together(config: &TrainConfig, workers: usize, to: u64) -> Vec<Vec<u8>> {
    std::thread::scope(|scope| {
        let exchanges = Threads::<Flex>::new(workers).into_iter();
        let threads = exchanges.map(|exchange| {
            scope.spawn(move || {
                let mut trainer = Trainer::<A>::new(config.clone(), &Default::default());
                trainer.exchange = Some(Rc::new(exchange));
                train(&mut trainer, to);
                saved(&trainer)
            })
        });
        let threads: Vec<_> = threads.collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    })
}

#[test]
fn workers_make_the_step_of_one_worker_on_the_joined_batch() {
    let shared = TrainConfig { batch_size: 1, accumulate: 2, pool_size: 3, ..stateful() };
    let joined = |workers: u32| TrainConfig { batch_size: workers, ..shared.clone() };
    for workers in [2, 3] {
        // The first step's gradients, by Adam's first moments.
        let first = together(&shared, workers as usize, 1);
        let expected = trained(joined(workers), 1);
        let first = Trainer::<A>::restore(&first[0], &Default::default()).expect("a checkpoint");
        for (found, expected) in [
            (&first.generators_adam, &expected.generators_adam),
            (&first.discriminators_adam, &expected.discriminators_adam),
        ] {
            let off = distance(&first_moments(found), &first_moments(expected));
            assert!(off < 1e-5, "gradients of {workers} workers are off by {off}");
        }
        // All of the state is the same for everybody, bit for bit, the pools and the plateau included.
        let all = together(&shared, workers as usize, 3);
        assert!(all.iter().all(|one| *one == all[0]), "{workers} workers disagree");
        assert!(together(&shared, workers as usize, 3)[0] == all[0], "another run of {workers} workers disagrees");
        let pools = |bytes: &[u8]| {
            let file = WeightFile::read(bytes).expect("a checkpoint");
            let images = file.tensors.into_iter().filter(|tensor| tensor.name.starts_with("pool_"));
            images.flat_map(|image| image.values).collect::<Vec<_>>()
        };
        let off = distance(&pools(&all[0]), &pools(&saved(&trained(joined(workers), 3))));
        assert!(off < 0.05, "after three steps the pools are off by {off}");
    }
}

#[test]
fn a_session_with_workers_trains_as_they_do() {
    let config = TrainConfig { steps: 3, checkpoint_every: 3, ..config() };
    let kept = |workers| {
        let events = told_by(config.clone(), u64::MAX, workers);
        let trouble = events.iter().find_map(|event| match &event.message {
            Event::Stopped { trouble, .. } => trouble.clone(),
            Event::Failed { message, .. } => Some(message.clone()),
            _ => None,
        });
        assert_eq!(trouble, None);
        let checkpoint = events.into_iter().find(|event| matches!(event.message, Event::Checkpoint { .. }));
        checkpoint.expect("it was kept").buffers.remove(0)
    };
    assert!(kept(2) == together(&config, 2, 3)[0]);
    assert!(kept(1) == saved(&trained(config.clone(), 3)));
}
