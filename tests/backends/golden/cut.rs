//! Five steps of CUT and FastCUT against PyTorch (float64): `tests/reference/golden_cut.py` writes the fixture, of
//! gradients and parameters the norms and two projections, as that of `networks.rs`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::module::Module;
use cyclegan::config::{Downsample, ModelKind, NetD, Upsample};
use cyclegan::loss::patch_nce::places;
use cyclegan::model::heads;
use cyclegan::model::parameters::{collect, replace};
use cyclegan::random;
use rand::RngExt;
use serde::{Deserialize, Serialize};

use super::*;
use crate::networks::{Told, uniform};

/// How far a loss may be from the golden one, relative to it, in the first step and later; seen on flex, candle and wgpu
/// were 1.8e-6 and 1.4e-5.
const LOSSES: [f64; 2] = [1e-5, 1e-4];
/// The same for gradients of the first step, of norm and projections, relative to the norm; 2.4e-5 was seen.
const GRADIENTS: f64 = 1e-4;
/// The same for what all steps did to a parameter: Adam divides a gradient by its own size, so rounding of one near zero
/// moves a value a whole step; 1.2e-2 was seen.
const UPDATES: f64 = 5e-2;

const SIDE: usize = 32;
const NUM_PATCHES: u32 = 24;
const SEED: u64 = 6;
const STEPS: u64 = 5;

#[derive(Deserialize)]
struct Golden {
    cases: BTreeMap<String, Case>,
}

#[derive(Deserialize)]
struct Case {
    blurred: bool,
    n_blocks: u32,
    batch: u32,
    lambda_nce: f32,
    nce_idt: bool,
    flip: bool,
    whole_batch: bool,
    seed: u64,
    losses: Vec<HashMap<String, f64>>,
    gradients: BTreeMap<String, Told>,
    updates: BTreeMap<String, Told>,
}

/// What is drawn in the steps of the cases with blurs, and of those without.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Drawn {
    /// Of each step, of each loss, of each feature the places.
    places: Vec<BTreeMap<String, Vec<Vec<u32>>>>,
    mirrored: Vec<bool>,
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/golden").join(name)
}

impl Case {
    fn config(&self) -> TrainConfig {
        let (downsample, upsample) = match self.blurred {
            true => (Downsample::Blurred, Upsample::Blurred),
            false => (Downsample::Strided, Upsample::Transposed),
        };
        TrainConfig {
            model: if self.nce_idt { ModelKind::Cut } else { ModelKind::FastCut },
            size: SIDE as u32,
            ngf: 4,
            ndf: 4,
            n_layers: 2,
            net_d: NetD::NLayers,
            n_blocks: self.n_blocks,
            net_f_nc: 16,
            downsample,
            upsample,
            batch_size: self.batch,
            lambda_nce: self.lambda_nce,
            nce_idt: self.nce_idt,
            flip_equivariance: self.flip,
            nce_includes_all_negatives_from_minibatch: self.whole_batch,
            num_patches: NUM_PATCHES,
            seed: SEED,
            steps: STEPS,
            decay_from: 1.0,
            ..TrainConfig::default()
        }
    }
}

/// What the script fills a network with, whose blurs stay as they are.
fn filled<A: AutodiffBackend>(network: impl Module<A>, parameters: &[Parameter], seed: u64) -> Vec<Vec<f32>> {
    let fill = |(number, ((name, shape), value)): (usize, (&Parameter, Tensor<A, 1>))| {
        if name.ends_with(".filt") {
            return host(value);
        }
        let random = uniform(seed + number as u64, shape.iter().product());
        let fan_in: usize = shape[1..].iter().product();
        let scale = if shape.len() == 1 { 0.1 } else { (3.0 / fan_in as f64).sqrt() * 1.2 };
        random.into_iter().map(|value| (f64::from(value) * scale) as f32).collect()
    };
    parameters.iter().zip(collect(&network)).enumerate().map(fill).collect()
}

pub fn train<A>(device: &A::Device)
where
    A: AutodiffBackend + Kernels,
    A::InnerBackend: Kernels + Backend<Device = A::Device>,
{
    let text = std::fs::read(fixture("cut.json")).expect("committed");
    let golden: Golden = serde_json::from_slice(&text).expect("its shape");
    let (mut wrong, mut wrong_losses) = (Vec::new(), Vec::new());
    for (name, case) in golden.cases {
        let config = case.config();
        let (generator, discriminator) = (config.generator_architecture(), config.discriminator_architecture());
        let head_parameters = heads::parameters(&[3, 8, 16, 16, 16], 16);
        let [generator, discriminator] = [generator, discriminator].map(|architecture| architecture.parameters());
        let mut trainer = Trainer::<A>::new(config, device);
        let ab = trainer.generators.ab.clone();
        trainer.generators.ab = replace(ab.clone(), filled(ab, &generator, case.seed));
        let heads = trainer.generators.heads.take().expect("it has heads");
        trainer.generators.heads = Some(replace(heads.clone(), filled(heads, &head_parameters, case.seed + 200)));
        let judge = trainer.discriminators.b.clone();
        trainer.discriminators.b = replace(judge.clone(), filled(judge, &discriminator, case.seed + 400));
        assert!(trainer.generators.ba.is_none() && trainer.discriminators.a.is_none());

        let prefixed = |prefix: &str, parameters: &[Parameter]| -> Vec<String> {
            parameters.iter().map(|(name, _)| format!("{prefix}{name}")).collect()
        };
        let names = [
            prefixed("generator_ab.", &generator),
            prefixed("heads.", &head_parameters),
            prefixed("discriminator_b.", &discriminator),
        ]
        .concat();
        let now = |trainer: &Trainer<A>| -> Vec<Vec<f32>> {
            let all = [collect(&trainer.generators), collect(&trainer.discriminators)];
            all.into_iter().flatten().map(host).collect()
        };
        let before = now(&trainer);
        let mut compare = |what: &str, told: &BTreeMap<String, Told>, found: &[Vec<f32>], limit: f64| {
            let mut worst: f64 = 0.0;
            for (index, (key, expected)) in told.iter().enumerate() {
                let place = names.iter().position(|name| name == key).expect("a parameter");
                let off = expected.distance(&found[place], case.seed + 100 + index as u64);
                worst = worst.max(off);
                if off > limit {
                    wrong.push(format!("{name}: {what} of {key} is off by {off:.1e}"));
                }
            }
            println!("{name}: {what} are off by at most {worst:.1e}");
        };
        let mut losses_off = [0.0_f64; 2];
        for (step, expected) in case.losses.iter().enumerate() {
            let shape = [case.batch as usize, 3, SIDE, SIDE];
            let picture = |domain: u64| {
                let values = uniform(case.seed + 700 + 2 * step as u64 + domain, shape.iter().product());
                Tensor::from_data(TensorData::new(values, shape), device)
            };
            let losses = trainer.step(picture(0), picture(1)).expect("alone");
            let losses = serde_json::to_value(pollster::block_on(losses.read()).expect("a device")).expect("data");
            for (term, expected) in expected {
                let value = losses[term].as_f64().unwrap_or(f64::NAN);
                let off = (value / expected - 1.0).abs();
                losses_off[step.min(1)] = losses_off[step.min(1)].max(off);
                if off > LOSSES[step.min(1)] {
                    wrong_losses.push(format!("{name}, step {step}, {term}: {value}, not {expected}"));
                }
            }
            assert_eq!(losses["nce_y"].is_null(), !case.nce_idt);
            if step == 0 {
                // After one step Adam's first moment is half of the gradient.
                let moments = trainer.generators_adam.moments.iter().chain(&trainer.discriminators_adam.moments);
                let gradients = moments.map(|moments| moments.clone().map(|[first, _]| host(first * 2.0)));
                let gradients: Vec<_> = gradients.map(Option::unwrap_or_default).collect();
                compare("gradient", &case.gradients, &gradients, GRADIENTS);
            }
        }
        println!("{name}: losses are off by at most {:.1e}, later {:.1e}", losses_off[0], losses_off[1]);
        let updates = now(&trainer).into_iter().zip(&before);
        let updates: Vec<Vec<f32>> =
            updates.map(|(after, before)| after.iter().zip(before).map(|(a, b)| a - b).collect()).collect();
        compare("update", &case.updates, &updates, UPDATES);
        for (key, update) in names.iter().zip(&updates).filter(|(key, _)| key.ends_with(".filt")) {
            assert!(update.iter().all(|value| *value == 0.0), "{key} is not learned");
        }
    }
    assert!(wrong.is_empty() && wrong_losses.is_empty(), "{wrong:#?} {wrong_losses:#?}");
}

/// The places and mirrored steps that the script was given are those that are drawn here. With GOLDEN_WRITE they are
/// written for it.
#[test]
fn the_script_knows_which_patches_are_drawn() {
    let drawn = |blurred: bool| {
        let batch = if blurred { 1 } else { 2 };
        let sides: [usize; 5] = if blurred { [SIDE + 6, 32, 16, 8, 8] } else { [SIDE + 6, 16, 8, 8, 8] };
        let of = |loss: &str, number: u64| -> Vec<Vec<u32>> {
            let feature = |(layer, side): (usize, &usize)| {
                places(SEED, &format!("patches_{loss}_{layer}"), number, NUM_PATCHES, (side * side) as u32)
            };
            sides.iter().enumerate().map(feature).collect()
        };
        let numbers = || (0..STEPS).map(|step| step * batch);
        let chance = |number| random::stream(SEED, "flip_equivariance", number).random::<f64>();
        Drawn {
            places: numbers()
                .map(|number| ["nce", "nce_y"].map(|loss| (loss.to_owned(), of(loss, number))).into())
                .collect(),
            mirrored: numbers().map(|number| chance(number) < 0.5).collect(),
        }
    };
    let found: BTreeMap<String, Drawn> = [("blurred".into(), drawn(true)), ("strided".into(), drawn(false))].into();
    assert!(found.values().all(|drawn| drawn.mirrored.contains(&true) && drawn.mirrored.contains(&false)));
    let path = fixture("cut_places.json");
    if std::env::var_os("GOLDEN_WRITE").is_some() {
        std::fs::write(&path, serde_json::to_string(&found).expect("plain data") + "\n").expect("written");
    }
    let stored = std::fs::read(path).expect("committed");
    assert_eq!(serde_json::from_slice::<BTreeMap<String, Drawn>>(&stored).expect("its shape"), found);
}

on_every_backend! {

    #[test]
    fn five_one_sided_steps_match_pytorch() {
        super::train::<super::Autodiff<B>>(&Default::default());
    }
}
