//! The networks besides the paper's against PyTorch (float64), on every backend.
//!
//! `tests/reference/golden_networks.py` writes the fixture: of outputs and gradients the norms and two projections on
//! vectors from a hash, which the weights and pictures come from, too. Tolerances as in `golden.rs`, relative to norms.

use std::collections::BTreeMap;
use std::path::Path;

use burn::backend::Autodiff;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Tensor, TensorData};
use cyclegan::kernels::Kernels;
use cyclegan::model::Architecture;
use cyclegan::model::architecture::Parameter;
use cyclegan::model::parameters::{collect, replace};
use cyclegan::training::Gradients;
use serde::Deserialize;

const FORWARD: f64 = 1e-5;
const GRADIENT: f64 = 1e-3;

#[derive(Deserialize)]
struct Golden {
    cases: BTreeMap<String, Case>,
    full: BTreeMap<String, Full>,
}

#[derive(Deserialize)]
struct Case {
    architecture: Architecture,
    side: usize,
    seed: u64,
    shape: [usize; 4],
    output: Told,
    gradients: BTreeMap<String, Told>,
    #[serde(default)]
    iterated: BTreeMap<String, Told>,
}

#[derive(Deserialize)]
struct Full {
    architecture: Architecture,
    count: u64,
    parameters: Vec<Parameter>,
}

/// What is told of a tensor.
#[derive(Deserialize)]
pub struct Told {
    norm: f64,
    projections: [f64; 2],
}

impl Told {
    /// How far values are from those told of, relative to their norm.
    pub fn distance(&self, found: &[f32], key: u64) -> f64 {
        let norm = found.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
        let projection = |index: u64| -> f64 {
            let onto = uniform(key + index, found.len());
            found.iter().zip(onto).map(|(a, b)| f64::from(*a) * f64::from(b)).sum()
        };
        let off = |found: f64, expected: f64| (found - expected).abs() / self.norm.max(1e-9);
        let projections = (0..2).map(|index| off(projection(index), self.projections[index as usize]));
        projections.fold(off(norm, self.norm), f64::max)
    }
}

fn golden() -> Golden {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/golden/networks.json");
    serde_json::from_slice(&std::fs::read(path).expect("committed")).expect("its shape")
}

/// One round of SplitMix64.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

/// Values in [-1, 1) of that key.
pub fn uniform(key: u64, count: usize) -> Vec<f32> {
    let start = mix(key);
    (0..count as u64).map(|index| (mix(start ^ index) >> 40) as f32 / 8_388_608.0 - 1.0).collect()
}

/// The values that the script fills a network with.
fn filled(parameters: &[Parameter], seed: u64) -> Vec<Vec<f32>> {
    let fill = |(number, (name, shape)): (usize, &Parameter)| -> Vec<f32> {
        let random = uniform(seed + number as u64, shape.iter().product());
        let scaled =
            |factor: f64, shift: f64| random.iter().map(|value| (f64::from(*value) * factor + shift) as f32).collect();
        if name.ends_with("weight_u") || name.ends_with("weight_v") {
            let norm = random.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
            scaled(1.0 / norm, 0.0)
        } else if shape.len() == 1 {
            if name.ends_with("weight") { scaled(0.3, 1.0) } else { scaled(0.1, 0.0) }
        } else {
            let fan_in: usize = shape[1..].iter().product();
            scaled((3.0 / fan_in as f64).sqrt() * 1.2, 0.0)
        }
    };
    parameters.iter().enumerate().map(fill).collect()
}

fn host<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

fn picture<B: Backend>(key: u64, shape: [usize; 4], device: &B::Device) -> Tensor<B, 4> {
    Tensor::from_data(TensorData::new(uniform(key, shape.iter().product()), shape), device)
}

fn every_case<A>(device: &A::Device)
where
    A: AutodiffBackend + Kernels,
    A::InnerBackend: Kernels + Backend<Device = A::Device>,
{
    for (name, case) in golden().cases {
        let Case { architecture, side, seed, shape, output, gradients, iterated } = case;
        let parameters = architecture.parameters();
        let values = filled(&parameters, seed);
        let input = picture::<A>(seed + 900, [2, 3, side, side], device);
        let onto = picture::<A>(seed + 901, shape, device);
        let backward = |found: Tensor<A, 4>| {
            assert_eq!(found.dims(), shape, "{name}");
            let off = output.distance(&host(found.clone()), seed + 902);
            assert!(off <= FORWARD, "{name}: output off by {off}");
            (found * onto.clone()).sum().backward()
        };
        let found = if let Some(generator) = architecture.generator::<A>(device) {
            let generator = replace(generator, values);
            Gradients::<A::InnerBackend>::take(&generator, &mut backward(generator.forward(input)))
        } else {
            let network = architecture.discriminator::<A>(device).expect("a discriminator");
            let network = replace(network, values);
            let gradients = Gradients::take(&network, &mut backward(network.forward(input)));
            let after = collect(&network.iterate());
            for ((name, _), value) in parameters.iter().zip(after) {
                if let Some(expected) = iterated.get(name) {
                    let off = expected.distance(&host(value), seed + 903);
                    assert!(off <= FORWARD, "{name} after an iteration: off by {off}");
                }
            }
            gradients
        };
        let mut compared = 0;
        for (number, ((key, _), gradient)) in parameters.iter().zip(found.0).enumerate() {
            let Some(expected) = gradients.get(key) else {
                assert!(gradient.is_none(), "{name}: {key} is not learned");
                continue;
            };
            // A bias in front of an instance norm.
            if expected.norm < 1e-9 {
                continue;
            }
            let gradient = gradient.unwrap_or_else(|| panic!("{name}: {key} had no gradient"));
            let off = expected.distance(&host(gradient), seed + 10 * number as u64);
            assert!(off <= GRADIENT, "{name}: gradient of {key} off by {off}");
            compared += 1;
        }
        assert!(compared >= 3, "{name}: {compared} gradients");
    }
}

on_every_backend! {
    #[test]
    fn every_network_matches_pytorch() {
        super::every_case::<super::Autodiff<B>>(&Default::default());
    }
}

#[test]
fn names_shapes_and_counts_are_pytorchs() {
    for (name, Full { architecture, count, parameters }) in golden().full {
        assert_eq!(architecture.name(), name);
        assert_eq!(architecture.parameters(), parameters, "{name}");
        assert_eq!(architecture.parameter_count(), count, "{name}");
    }
}
