//! A training that was stopped and resumed is the training that never stopped.

use burn::backend::{Autodiff, Flex};
use burn::tensor::{Tensor, TensorData};
use cyclegan::config::{Downsample, ModelKind, NetF, TrainConfig, Upsample};
use cyclegan::data::{Sampler, UnpairedDataset};
use cyclegan::image::Picture;
use cyclegan::protocol::Direction;
use cyclegan::random;
use cyclegan::training::Trainer;
use cyclegan::training::checkpoint::{CheckpointError, describe};
use cyclegan::weights::WeightFile;
use rand::RngExt;

type A = Autodiff<Flex>;

fn config() -> TrainConfig {
    TrainConfig {
        size: 32,
        load_size: 36,
        ngf: 4,
        ndf: 4,
        n_blocks: 1,
        n_layers: 2,
        pool_size: 3,
        steps: 20,
        ..TrainConfig::default()
    }
}

fn dataset() -> UnpairedDataset {
    let pile = |name: &str| {
        (0..4u64)
            .map(|index| {
                let mut stream = random::stream(5, name, index);
                let pixels = (0..40 * 40 * 4).map(|_| stream.random::<u8>() | 128).collect();
                let picture = Picture { width: 40, height: 40, pixels };
                (format!("{name}{index}.png"), picture.encode_png().expect("a picture"))
            })
            .collect()
    };
    UnpairedDataset::from_piles(pile("a"), pile("b")).expect("two piles")
}

fn train(trainer: &mut Trainer<A>, to: u64) {
    let (dataset, mut sampler) = (dataset(), Sampler::new(&trainer.config));
    while trainer.step < to {
        let drawn = sampler.draw(&dataset, trainer.step).expect("readable pictures");
        let tensor = |picture: &Picture| {
            Tensor::<Flex, 4>::from_data(TensorData::new(picture.to_planes(), [1, 3, 32, 32]), &Default::default())
        };
        trainer.step(tensor(&drawn.a), tensor(&drawn.b)).expect("alone");
    }
}

fn saved(trainer: &Trainer<A>) -> Vec<u8> {
    pollster::block_on(trainer.checkpoint()).expect("finite values")
}

#[test]
fn twenty_steps_are_ten_and_a_checkpoint_and_ten_bit_for_bit() {
    let device = Default::default();
    let mut whole = Trainer::<A>::new(config(), &device);
    train(&mut whole, 20);

    let mut first = Trainer::<A>::new(config(), &device);
    train(&mut first, 10);
    let mut second = Trainer::<A>::restore(&saved(&first), &device).expect("its own checkpoint");
    assert_eq!(second.step, 10);
    train(&mut second, 20);

    assert_eq!(saved(&second), saved(&whole));
    assert_ne!(saved(&first), saved(&whole));
}

#[test]
fn one_sided_trainings_go_on_bit_for_bit() {
    let device = Default::default();
    let tiny = TrainConfig { ngf: 2, ndf: 2, net_f_nc: 8, num_patches: 16, ..config() };
    let blurred = TrainConfig { downsample: Downsample::Blurred, upsample: Upsample::Blurred, ..tiny.clone() };
    let configs = [
        TrainConfig { model: ModelKind::Cut, nce_idt: true, ema: 0.9, dropout: true, ..blurred.clone() },
        TrainConfig { model: ModelKind::FastCut, flip_equivariance: true, spectral_norm: true, ..blurred },
        TrainConfig { model: ModelKind::FastCut, net_f: NetF::Sample, warmup_d: 1, nce_layers: "0,4,7".into(), ..tiny },
    ];
    for config in configs {
        assert_eq!(config.check(), Ok(()));
        let mut whole = Trainer::<A>::new(config.clone(), &device);
        train(&mut whole, 4);
        let mut first = Trainer::<A>::new(config, &device);
        train(&mut first, 2);
        let checkpoint = saved(&first);
        let mut second = Trainer::<A>::restore(&checkpoint, &device).expect("its own checkpoint");
        assert_eq!(saved(&second), checkpoint);
        train(&mut second, 4);
        assert_eq!(saved(&second), saved(&whole));
        assert_ne!(checkpoint, saved(&whole));
        let file = WeightFile::read(&checkpoint).expect("tensors");
        let has = |part: &str| file.tensors.iter().any(|tensor| tensor.name.starts_with(part));
        assert!(has("generator_ab.") && has("first.generator_ab.") && has("discriminator_b."));
        assert!(!has("generator_ba.") && !has("discriminator_a.") && !has("pool_"));
        let has_heads = second.config.net_f == NetF::MlpSample;
        assert_eq!([has("heads.mlp_4.2.weight"), has("second.heads.mlp_0.0.bias")], [has_heads; 2]);
        assert!(matches!(pollster::block_on(second.weights(Direction::BtoA)), Err(CheckpointError::OneSided)));
    }
}

#[test]
fn a_damaged_checkpoint_is_refused_and_a_weight_file_is_none() {
    let device = Default::default();
    let mut trainer = Trainer::<A>::new(config(), &device);
    train(&mut trainer, 2);
    let bytes = saved(&trainer);
    for length in [0, 7, 100, bytes.len() / 2, bytes.len() - 1] {
        assert!(Trainer::<A>::restore(&bytes[..length], &device).is_err(), "{length} bytes");
    }
    // One bit of a generator, of a moment, of a pool's fake; one digit of the number of steps.
    let header = 8 + u64::from_le_bytes(*bytes.first_chunk().expect("a length")) as usize;
    let steps = bytes.windows(9).position(|text| text == b"\"step\":\"2").expect("the steps") + 8;
    for place in [header, (header + bytes.len()) / 2, bytes.len() - 4, steps] {
        let mut flipped = bytes.clone();
        flipped[place] ^= 1;
        assert!(matches!(Trainer::<A>::restore(&flipped, &device), Err(CheckpointError::Damaged)), "at {place}");
        assert!(matches!(describe(&flipped), Err(CheckpointError::Damaged)), "at {place}");
    }
    let weights = pollster::block_on(trainer.weights(Direction::AtoB)).expect("finite values");
    let weights = weights.write(cyclegan::weights::Storage::F32).expect("finite values");
    assert!(matches!(Trainer::<A>::restore(&weights, &device), Err(CheckpointError::NotACheckpoint)));
}
