//! The networks and the training step against PyTorch (float64), on every backend.
//!
//! `tests/reference/golden.py` writes the fixtures. Tolerances: f32 forward within 1e-4 absolute,
//! gradients within 1e-3 of a tensor's norm; PyTorch's own f32 run is within 5e-6 and 2.4e-6.

mod cut;
mod r1;
mod steps;

use std::collections::HashMap;
use std::path::Path;

use burn::backend::Autodiff;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Tensor, TensorData};
use cyclegan::config::TrainConfig;
use cyclegan::kernels::Kernels;
use cyclegan::model::architecture::{Architecture, Parameter};
use cyclegan::model::architecture::{PatchStyle, ResnetStyle};
use cyclegan::model::{PatchDiscriminator, PatchDiscriminatorConfig, ResnetGenerator, ResnetGeneratorConfig};
use cyclegan::training::Trainer;
use cyclegan::weights::networks::{load, load_generator};
use cyclegan::weights::{NamedTensor, WeightFile};

const FORWARD: f32 = 1e-4;
const GRADIENT: f64 = 1e-3;

const GENERATOR: Architecture = Architecture::Resnet {
    in_channels: 3,
    out_channels: 3,
    ngf: 8,
    n_blocks: 2,
    affine: false,
    style: ResnetStyle::PAPER,
};
const DISCRIMINATOR: Architecture =
    Architecture::Patch { in_channels: 3, ndf: 8, n_layers: 3, style: PatchStyle::PAPER };

fn golden(name: &str) -> WeightFile {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/golden").join(name);
    WeightFile::read_from(&path).expect("the golden file is committed")
}

fn config() -> serde_json::Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/golden/config.json");
    serde_json::from_slice(&std::fs::read(path).expect("committed")).expect("JSON")
}

fn values<'a>(file: &'a WeightFile, name: &str) -> &'a NamedTensor {
    file.tensor(name).unwrap_or_else(|| panic!("no {name} in the golden file"))
}

fn tensor<B: Backend>(file: &WeightFile, name: &str, device: &B::Device) -> Tensor<B, 4> {
    let NamedTensor { shape, values, .. } = values(file, name).clone();
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn host<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

#[track_caller]
fn close<B: Backend>(what: &str, found: Tensor<B, 4>, expected: &NamedTensor) {
    assert_eq!(found.dims().to_vec(), expected.shape, "{what}");
    let found = host(found);
    let worst = found.iter().zip(&expected.values).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst <= FORWARD && found.iter().all(|value| value.is_finite()), "{what}: off by {worst}");
}

fn generator<B: Kernels>(prefix: &str, device: &B::Device) -> ResnetGenerator<B> {
    let config = ResnetGeneratorConfig::new().with_ngf(8).with_n_blocks(2);
    load(config.init(device), &GENERATOR.parameters(), &mut golden("init.safetensors"), prefix).expect("fits")
}

fn discriminator<B: Kernels>(prefix: &str, device: &B::Device) -> PatchDiscriminator<B> {
    let config = PatchDiscriminatorConfig::new().with_ndf(8);
    load(config.init(device), &DISCRIMINATOR.parameters(), &mut golden("init.safetensors"), prefix).expect("fits")
}

/// Every layer of a generator, both networks' outputs, a rectangle, affine norms.
fn forward<B: Kernels>(device: &B::Device) {
    let (inputs, expected) = (golden("inputs.safetensors"), golden("forward.safetensors"));
    let [real_a, real_b] = ["real_a", "real_b"].map(|name| tensor::<B>(&inputs, name, device));
    let [ab, ba] = ["generator_ab.", "generator_ba."].map(|prefix| generator::<B>(prefix, device));
    let [of_a, of_b] = ["discriminator_a.", "discriminator_b."].map(|prefix| discriminator::<B>(prefix, device));

    // Positions in the official nn.Sequential after each stage: behind its activation.
    let mut planes = real_a.clone();
    for (stage, layer) in [3, 6, 9, 10, 11, 14, 17, 20].into_iter().enumerate() {
        planes = ab.stage(stage, planes);
        let name = format!("generator_ab.layer.{layer}");
        close(&name, planes.clone(), values(&expected, &name));
    }
    assert_eq!(ab.stages(), 8);

    let fake_b = ab.forward(real_a.clone());
    let fake_a = ba.forward(real_b.clone());
    close("rec_a", ba.forward(fake_b.clone()), values(&expected, "rec_a"));
    close("rec_b", ab.forward(fake_a.clone()), values(&expected, "rec_b"));
    close("idt_a", ba.forward(real_a.clone()), values(&expected, "idt_a"));
    close("idt_b", ab.forward(real_b.clone()), values(&expected, "idt_b"));
    close("D_A real", of_a.forward(real_a.clone()), values(&expected, "discriminator_a.real_a"));
    close("D_A fake", of_a.forward(fake_a.clone()), values(&expected, "discriminator_a.fake_a"));
    close("D_B real", of_b.forward(real_b), values(&expected, "discriminator_b.real_b"));
    close("D_B fake", of_b.forward(fake_b.clone()), values(&expected, "discriminator_b.fake_b"));
    close("fake_b", fake_b, values(&expected, "fake_b"));
    close("fake_a", fake_a, values(&expected, "fake_a"));

    let rectangle = tensor::<B>(&inputs, "rectangle", device);
    let expected = golden("rectangle.safetensors");
    close("rectangle", ab.forward(rectangle.clone()), values(&expected, "fake_b"));
    close("D_A rectangle", of_a.forward(rectangle), values(&expected, "discriminator_a"));

    let affine = load_generator::<B>(golden("affine.safetensors"), device).expect("fits");
    close("affine", affine.forward(real_a), values(&golden("affine_output.safetensors"), "output"));
}

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|value| value * value).sum::<f64>().sqrt()
}

/// Relative distance of two tensors: |found − expected| / |expected|.
fn distance(found: &[f32], expected: &[f32]) -> f64 {
    let difference = norm(found.iter().zip(expected).map(|(a, b)| f64::from(*a) - f64::from(*b)));
    difference / norm(expected.iter().map(|value| f64::from(*value))).max(1e-12)
}

/// Losses, gradients and parameters of three steps.
fn three_steps<A>(device: &A::Device)
where
    A: AutodiffBackend + Kernels,
    A::InnerBackend: Kernels + Backend<Device = A::Device>,
{
    let config = config();
    let options = TrainConfig {
        size: 32,
        ngf: 8,
        ndf: 8,
        n_blocks: 2,
        pool_size: 0,
        steps: 1000,
        decay_from: 1.0,
        ..TrainConfig::default()
    };
    let mut trainer = Trainer::<A>::new(options, device);
    trainer.generators.ab = generator("generator_ab.", device).into();
    trainer.generators.ba = Some(generator("generator_ba.", device).into());
    trainer.discriminators.a = Some(discriminator("discriminator_a.", device));
    trainer.discriminators.b = discriminator("discriminator_b.", device);
    let inputs = golden("inputs.safetensors");
    let [real_a, real_b] = ["real_a", "real_b"].map(|name| tensor::<A::InnerBackend>(&inputs, name, device));

    let idle: Vec<String> = serde_json::from_value(config["without_effect"].clone()).expect("a list of names");
    let gradients = golden("gradients.safetensors");
    let prefixed = |prefix: &str, parameters: Vec<Parameter>| -> Vec<String> {
        parameters.into_iter().map(|(name, _)| format!("{prefix}{name}")).collect()
    };
    let names_of = |prefixes: [&str; 2], architecture: Architecture| {
        prefixes.into_iter().flat_map(|prefix| prefixed(prefix, architecture.parameters())).collect::<Vec<_>>()
    };
    let generators = names_of(["generator_ab.", "generator_ba."], GENERATOR);
    let discriminators = names_of(["discriminator_a.", "discriminator_b."], DISCRIMINATOR);

    for step in 0..3 {
        let losses =
            pollster::block_on(trainer.step(real_a.clone(), real_b.clone()).expect("alone").read()).expect("a device");
        let found: HashMap<String, f64> =
            serde_json::from_value(serde_json::to_value(losses).expect("plain data")).expect("numbers");
        for (term, value) in found {
            let expected = config["losses"][step][&term].as_f64().expect("a golden loss");
            assert!((value - expected).abs() <= 2e-4 * expected.abs(), "step {step}, {term}: {value}, not {expected}");
        }
        if step == 0 {
            // After one step Adam's first moment is (1 − 0.5) times the gradient.
            let moments = trainer.generators_adam.moments.iter().chain(&trainer.discriminators_adam.moments);
            for (name, moments) in generators.iter().chain(&discriminators).zip(moments) {
                if idle.contains(name) {
                    continue;
                }
                let [first, _] = moments.clone().unwrap_or_else(|| panic!("{name} had no gradient"));
                let off = distance(&host(first * 2.0), &values(&gradients, name).values);
                assert!(off <= GRADIENT, "gradient of {name}: off by {off}");
            }
        }
    }

    let (before, after) = (golden("init.safetensors"), golden("after.safetensors"));
    let collect = cyclegan::model::parameters::collect::<A>;
    let found = [collect(&trainer.generators), cyclegan::model::parameters::collect::<A>(&trainer.discriminators)];
    for (name, parameter) in generators.iter().chain(&discriminators).zip(found.into_iter().flatten()) {
        if idle.contains(name) {
            continue;
        }
        let start = &values(&before, name).values;
        let update = |end: &[f32]| -> Vec<f32> { end.iter().zip(start).map(|(end, start)| end - start).collect() };
        let off = distance(&update(&host(parameter)), &update(&values(&after, name).values));
        // Adam divides by the gradient's own size: where that is near zero, rounding moves whole steps.
        assert!(off <= 2e-2, "update of {name}: off by {off}");
    }
}

on_every_backend! {
    #[test]
    fn forward_matches_pytorch() {
        super::forward::<B>(&Default::default());
    }

    #[test]
    fn three_training_steps_match_pytorch() {
        super::three_steps::<super::Autodiff<B>>(&Default::default());
    }
}

#[test]
fn the_official_networks_have_the_official_numbers_of_parameters() {
    type B = burn::backend::Flex;
    use burn::module::Module;
    let device = Default::default();
    let generator = |blocks| ResnetGeneratorConfig::new().with_n_blocks(blocks).init::<B>(&device).num_params();
    assert_eq!(generator(9), 11_378_179);
    assert_eq!(generator(6), 7_837_699);
    let discriminator = PatchDiscriminatorConfig::new().init::<B>(&device);
    assert_eq!(discriminator.num_params(), 2_764_737);
    assert_eq!(discriminator.forward(Tensor::zeros([1, 3, 256, 256], &device)).dims(), [1, 1, 30, 30]);
}
