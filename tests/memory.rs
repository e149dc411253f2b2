//! What a training takes of memory: as estimated, less with activations computed again, and nothing for a checkpoint
//! that lies about its size. One test, because memory is the process's.

use burn::backend::{Autodiff, Flex};
use burn::tensor::{Distribution, Tensor};
use cyclegan::config::{Downsample, ModelKind, TrainConfig, Upsample};
use cyclegan::training::checkpoint::CheckpointError;
use cyclegan::training::{Trainer, memory};
use cyclegan::weights::{Storage, WeightError, WeightFile};
use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

type A = Autodiff<Flex>;

fn config(size: u32, ngf: u32) -> TrainConfig {
    TrainConfig { size, load_size: size, ngf, n_blocks: 2, ndf: ngf, pool_size: 4, steps: 10, ..TrainConfig::default() }
}

/// The most memory that a training takes, beyond what was taken before.
fn peak(config: &TrainConfig) -> usize {
    let before = MEMORY.current_usage();
    let device = Default::default();
    let [batch, side] = [config.batch_size, config.size].map(|number| number as usize);
    let picture = || Tensor::<Flex, 4>::random([batch, 3, side, side], Distribution::Uniform(-1.0, 1.0), &device);
    let step = |trainer: &mut Trainer<A>| {
        trainer.step_over((0..config.accumulate).map(|_| [picture(), picture()]).collect()).expect("alone");
    };
    MEMORY.reset_peak_usage();
    let mut trainer = Trainer::<A>::new(config.clone(), &device);
    step(&mut trainer);
    // A session keeps the training as it last saw it to be good.
    let _good = trainer.clone();
    step(&mut trainer);
    step(&mut trainer);
    MEMORY.peak_usage() - before
}

#[test]
fn a_training_takes_what_was_estimated_and_a_checkpoint_cannot_ask_for_more_than_it_holds() {
    // Threads, tables and scratch memory that stay.
    peak(&config(32, 4));
    let estimated = |config: TrainConfig| {
        let (peak, estimated) = (peak(&config), memory::estimate(&config) as usize);
        let ratio = estimated as f64 / peak as f64;
        println!("{} pixels: {} KB, estimated {} KB, {ratio:.3}", config.size, peak >> 10, estimated >> 10);
        assert!((0.75..1.25).contains(&ratio), "{peak} bytes instead of {estimated}: {config:?}");
        peak
    };
    for (model, nce_idt) in [(ModelKind::FastCut, false), (ModelKind::Cut, true)] {
        let (downsample, upsample) = (Downsample::Blurred, Upsample::Blurred);
        let one_sided =
            TrainConfig { model, nce_idt, downsample, upsample, n_blocks: 5, net_f_nc: 32, ..config(64, 16) };
        estimated(one_sided);
    }
    estimated(TrainConfig { batch_size: 2, accumulate: 2, ema: 0.9, ..config(32, 16) });
    for (size, ngf) in [(48, 12), (64, 16)] {
        let kept = config(size, ngf);
        let again = TrainConfig { checkpoint_activations: true, ..kept.clone() };
        let peaks = [kept, again].map(estimated);
        assert!(peaks[1] < peaks[0] * 9 / 10, "activations computed again take {} of {} bytes", peaks[1], peaks[0]);
    }

    let trainer = Trainer::<A>::new(config(32, 4), &Default::default());
    let bytes = pollster::block_on(trainer.checkpoint()).expect("finite values");
    let mut file = WeightFile::read(&bytes).expect("a checkpoint");
    // Networks of 300 GB.
    let huge = TrainConfig { ngf: 512, ndf: 512, n_blocks: 512, ..config(32, 4) };
    file.metadata.insert("config".into(), serde_json::to_string(&huge).expect("plain data"));
    file.metadata.remove("checksum");
    let bytes = file.write(Storage::F32).expect("finite values");
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let error = Trainer::<A>::restore(&bytes, &Default::default()).map(|_| ()).expect_err("it does not fit");
    assert!(matches!(error, CheckpointError::Weights(WeightError::Shape { .. })), "{error}");
    let taken = MEMORY.peak_usage() - before;
    assert!(taken < 4 * bytes.len() + (4 << 20), "{taken} bytes for a file of {}", bytes.len());
}
