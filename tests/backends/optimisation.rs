//! Clipping, moving average, several passes, activations computed again: on every backend as on the processor without
//! them.

use burn::backend::{Autodiff, Flex};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Tensor, TensorData};
use cyclegan::config::{LrPolicy, TrainConfig};
use cyclegan::kernels::Kernels;
use cyclegan::model::parameters::collect;
use cyclegan::random;
use cyclegan::training::Trainer;
use rand::RngExt;

fn config() -> TrainConfig {
    TrainConfig { size: 32, load_size: 32, ngf: 4, ndf: 4, n_blocks: 1, n_layers: 2, ..TrainConfig::default() }
}

fn pictures<B: Backend>(name: &str, count: usize) -> Tensor<B, 4> {
    let mut stream = random::stream(9, name, 0);
    let values: Vec<f32> = (0..count * 3 * 32 * 32).map(|_| stream.random_range(-1.0..1.0)).collect();
    Tensor::from_data(TensorData::new(values, [count, 3, 32, 32]), &Default::default())
}

fn host<B: Backend>(tensor: Tensor<B, 1>) -> Vec<f32> {
    tensor.into_data().iter().collect()
}

/// The generators' first moments after one step over these batches, and their moving average.
fn after_one_step<A>(config: TrainConfig, passes: usize) -> [Vec<f32>; 2]
where
    A: AutodiffBackend + Kernels,
    A::InnerBackend: Kernels + Backend<Device = A::Device>,
{
    let mut trainer = Trainer::<A>::new(config, &Default::default());
    let [a, b] = ["a", "b"].map(|name| pictures::<A::InnerBackend>(name, 2));
    let each = 2 / passes;
    let batch = |pass: usize| [&a, &b].map(|pictures| pictures.clone().narrow(0, pass * each, each));
    trainer.step_over((0..passes).map(batch).collect()).expect("alone");
    pollster::block_on(trainer.settle()).expect("the device is there");
    assert!(pollster::block_on(trainer.is_finite()).expect("the device is there"));
    let moments = trainer.generators_adam.moments.iter().flatten().flat_map(|[first, _]| host(first.clone())).collect();
    [moments, collect(&trainer.frozen_generators()).into_iter().flat_map(host).collect()]
}

fn norm(values: impl Iterator<Item = f32>) -> f64 {
    values.map(|value| f64::from(value).powi(2)).sum::<f64>().sqrt()
}

fn all_at_once<A>()
where
    A: AutodiffBackend + Kernels,
    A::InnerBackend: Kernels + Backend<Device = A::Device>,
{
    let [plain, _] = after_one_step::<Autodiff<Flex>>(config(), 1);
    let everything = TrainConfig {
        clip_grad: 0.5,
        ema: 0.5,
        checkpoint_activations: true,
        lr_policy: LrPolicy::Plateau,
        lr_decay_steps: 1,
        ..config()
    };
    let [found, average] = after_one_step::<A>(everything, 2);
    // A first moment is half of the gradient.
    let scale = (0.25 / norm(plain.iter().copied())) as f32;
    assert!(scale < 1.0, "there is something to clip");
    let off = norm(found.iter().zip(&plain).map(|(found, plain)| found - scale * plain)) / 0.25;
    assert!(off < 1e-3, "gradients are off by {off}");
    // Adam's first step has the length of the learning rate; the average goes half of it.
    let start: Vec<f32> = collect(&Trainer::<A>::new(config(), &Default::default()).frozen_generators())
        .into_iter()
        .flat_map(host)
        .collect();
    let furthest = average.iter().zip(&start).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!((furthest - 1e-4).abs() < 1e-6, "{furthest}");
}

on_every_backend! {
    #[test]
    fn all_at_once() {
        super::all_at_once::<super::Autodiff<B>>();
    }
}
