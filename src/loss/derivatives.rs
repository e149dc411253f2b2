//! Every loss against central differences in float64, through the networks that it trains.

use burn::backend::{Autodiff, Flex};
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{DType, Tensor, TensorData};
use rand::RngExt;

use super::*;
use crate::config::{Choice, TrainConfig};
use crate::model::{PatchDiscriminator, PatchDiscriminatorConfig, ResnetGenerator, ResnetGeneratorConfig};
use crate::random;

type A = Autodiff<Flex>;
type Gradients = <A as AutodiffBackend>::Gradients;

/// Uniform in [−1, 1).
fn noise(name: &str, count: usize) -> Vec<f64> {
    let mut stream = random::stream(29, name, count as u64);
    (0..count).map(|_| stream.random::<f64>() * 2.0 - 1.0).collect()
}

fn pictures(name: &str) -> Tensor<Flex, 4> {
    let shape = [2, 3, 16, 16];
    let data = TensorData::new(noise(name, shape.iter().product()), shape);
    Tensor::from_data(data, (&Default::default(), DType::F64))
}

/// The network with float64 parameters: `values` one after the other.
fn with<M: Module<A>>(network: M, values: &[Vec<f64>]) -> M {
    struct Setter<'a>(std::slice::Iter<'a, Vec<f64>>);
    impl ModuleMapper<A> for Setter<'_> {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<A, D>>) -> Param<Tensor<A, D>> {
            let (id, tensor, mapper) = param.consume();
            let values = self.0.next().expect("as many as parameters").clone();
            let data = TensorData::new(values, tensor.dims());
            let tensor = Tensor::from_data(data, (&tensor.device(), DType::F64)).require_grad();
            Param::from_mapped_value(id, tensor, mapper)
        }
    }
    network.map(&mut Setter(values.iter()))
}

/// Random values for every parameter, larger than at a training's start so that nothing is near zero.
fn weights<M: Module<A>>(network: &M, name: &str) -> Vec<Vec<f64>> {
    struct Shapes<'a>(&'a str, Vec<Vec<f64>>);
    impl ModuleVisitor<A> for Shapes<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<A, D>>) {
            let name = format!("{} {}", self.0, self.1.len());
            let values = noise(&name, param.val().shape().num_elements());
            self.1.push(values.into_iter().map(|value| 0.3 * value).collect());
        }
    }
    let mut shapes = Shapes(name, Vec::new());
    network.visit(&mut shapes);
    shapes.1
}

/// The gradient of every parameter, empty where there is none.
fn gradients_of<M: Module<A>>(network: &M, gradients: &Gradients) -> Vec<Vec<f64>> {
    struct Found<'a>(&'a Gradients, Vec<Vec<f64>>);
    impl ModuleVisitor<A> for Found<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<A, D>>) {
            let gradient = param.val().grad(self.0);
            self.1.push(gradient.map(|found| found.into_data().iter::<f64>().collect()).unwrap_or_default());
        }
    }
    let mut found = Found(gradients, Vec::new());
    network.visit(&mut found);
    found.1
}

/// The gradient of `loss` in some parameters of every tensor of the network is what central differences say.
fn check<M: Module<A>>(what: &str, network: M, loss: impl Fn(&M) -> Tensor<A, 1>) {
    const STEP: f64 = 1e-7;
    let values = weights(&network, what);
    let tracked = with(network.clone(), &values);
    let found = gradients_of(&tracked, &loss(&tracked).backward());
    let scale = found.iter().flatten().fold(0.0f64, |scale, value| scale.max(value.abs()));
    assert!(scale > 1e-3, "{what}: no gradient to speak of, {scale:.1e}");
    for (parameter, gradient) in found.iter().enumerate() {
        let count = values[parameter].len();
        for index in (0..count).step_by(count.div_ceil(5)) {
            let at = |by: f64| -> f64 {
                let mut values = values.clone();
                values[parameter][index] += by;
                let loss = loss(&with(network.clone(), &values).no_grad());
                loss.into_data().iter::<f64>().next().expect("one value")
            };
            let slope = (at(STEP) - at(-STEP)) / (2.0 * STEP);
            // A parameter without a gradient is a bias in front of a norm, which moves nothing.
            let gradient = gradient.get(index).copied().unwrap_or(0.0);
            let off = (slope - gradient).abs() / scale;
            assert!(off < 1e-6, "{what}, parameter {parameter}, value {index}: {slope}, not {gradient}");
        }
    }
}

fn judge() -> PatchDiscriminator<A> {
    PatchDiscriminatorConfig::new().with_ndf(2).with_n_layers(Some(2)).init(&Default::default())
}

fn translator() -> ResnetGenerator<A> {
    ResnetGeneratorConfig::new().with_ngf(2).with_n_blocks(1).init(&Default::default())
}

/// Every kind of adversary: with its name.
fn adversaries() -> impl Iterator<Item = (String, Adversary)> {
    let modes = GanMode::ALL.iter().flat_map(|mode| [(*mode, false), (*mode, true)]);
    modes.map(|(gan_mode, diff_augment)| {
        let config = TrainConfig { gan_mode, diff_augment, seed: 5, ..TrainConfig::default() };
        (format!("{} {diff_augment}", gan_mode.as_str()), Adversary::new(&config, 3))
    })
}

#[test]
fn discriminator_losses_have_their_derivatives() {
    for (name, adversary) in adversaries() {
        check(&name, judge(), |judge| adversary.discriminator(judge, pictures("real"), pictures("fake"), "a"));
    }
}

#[test]
fn the_gradient_penalty_has_its_derivative() {
    for centre in [Centre::One, Centre::Zero] {
        check("penalty", judge(), |judge| gradient_penalty(judge, pictures("between"), 10.0, centre));
    }
}

#[test]
fn generator_losses_have_their_derivatives() {
    let fixed = with(judge(), &weights(&judge(), "fixed")).no_grad();
    for (name, adversary) in adversaries() {
        let loss = |generator: &ResnetGenerator<A>| {
            adversary.generator(&fixed, generator.forward(Tensor::from_inner(pictures("real"))), "ab")
        };
        check(&name, translator(), loss);
    }
}

#[test]
fn cycle_and_identity_losses_have_their_derivatives() {
    let real = || Tensor::<A, 4>::from_inner(pictures("real"));
    check("identity", translator(), |generator| l1(generator.forward(real()), real(), 0.7));
    let back = with(translator(), &weights(&translator(), "back")).no_grad();
    check("cycle there", translator(), |generator| l1(back.forward(generator.forward(real())), real(), 1.0));
    check("cycle back", translator(), |generator| l1(generator.forward(back.forward(real())), real(), 1.0));
}

/// The terms at values where each can be computed by hand.
#[test]
fn every_mode_has_the_values_of_its_formula() {
    let map = |values: [f32; 2]| Tensor::<Flex, 4>::from_data([[[values]]], &Default::default());
    let value = |loss: Tensor<Flex, 1>| loss.into_scalar();
    let (real, fake) = ([2.0, -1.0], [-3.0, 0.5]);
    let softplus = |x: f32| x.exp().ln_1p();
    let expected = [
        (GanMode::Lsgan, (16.0 + 0.25) / 2.0, (1.0 + 4.0 + 9.0 + 0.25) / 4.0),
        (
            GanMode::Vanilla,
            (softplus(3.0) + softplus(-0.5)) / 2.0,
            (softplus(-2.0) + softplus(1.0) + softplus(-3.0) + softplus(0.5)) / 4.0,
        ),
        (GanMode::Wgangp, 1.25, (-0.5 - 1.25) / 2.0),
        (GanMode::Hinge, 1.25, (2.0 + 1.5) / 4.0),
    ];
    assert_eq!(expected.map(|(mode, ..)| mode).as_slice(), GanMode::ALL);
    for (mode, of_generator, of_discriminator) in expected {
        assert!((value(generator(mode, map(fake))) - of_generator).abs() < 1e-6, "{mode:?}");
        assert!((value(discriminator(mode, map(real), map(fake))) - of_discriminator).abs() < 1e-6, "{mode:?}");
        let both = Tensor::cat(vec![map(real), map(fake)], 0);
        assert!((value(discriminator_of_both(mode, both)) - of_discriminator).abs() < 1e-6, "{mode:?}");
    }
}

#[test]
fn logits_of_any_size_have_a_finite_cross_entropy() {
    let map = Tensor::<A, 4>::from_data([[[[1e4, -1e4], [0.0, 90.0]]]], &Default::default()).require_grad();
    let loss = generator(GanMode::Vanilla, map.clone()) + discriminator(GanMode::Vanilla, map.clone(), map.clone());
    let gradients = loss.clone().backward();
    // Fooled by 1e4 and by −1e4 once each, and ln 2 for nothing.
    let value = f64::from(loss.into_scalar());
    assert!((value - (1e4 + std::f64::consts::LN_2 + 1e4 + 90.0 / 2.0 + std::f64::consts::LN_2) / 4.0).abs() < 1.0);
    let gradient: Vec<f32> = map.grad(&gradients).expect("tracked").into_data().iter().collect();
    assert!(gradient.iter().all(|value| value.is_finite() && value.abs() <= 0.5), "{gradient:?}");
}

/// A discriminator of no slope has a norm of zero, whose penalty is λ and whose gradient must not be NaN.
#[test]
fn the_penalty_of_a_flat_discriminator_is_a_number() {
    let flat = PatchDiscriminatorConfig::new().with_ndf(2).with_n_layers(Some(2)).init::<A>(&Default::default());
    let pictures = Tensor::<Flex, 4>::ones([1, 3, 16, 16], &Default::default());
    let penalty = gradient_penalty(&flat, pictures, 10.0, Centre::One);
    assert_eq!(penalty.clone().into_scalar(), 10.0);
    let gradients = gradients_of(&flat, &penalty.backward());
    assert!(gradients.iter().flatten().all(|value| value.is_finite()));
}

#[test]
fn pictures_are_changed_when_asked_and_in_the_same_way_at_the_same_step() {
    let judge = with(judge(), &weights(&judge(), "fixed")).no_grad();
    let verdict = |diff_augment, index, name: &str| {
        let config = TrainConfig { diff_augment, seed: 5, ..TrainConfig::default() };
        let fake = Tensor::from_inner(pictures("fake"));
        let loss = Adversary::new(&config, index).generator(&judge, fake, name);
        loss.into_data().iter::<f64>().next().expect("one value")
    };
    let plain = generator(GanMode::Lsgan, judge.forward(Tensor::from_inner(pictures("fake"))));
    assert_eq!(Some(verdict(false, 3, "ab")), plain.into_data().iter::<f64>().next());
    let changed = verdict(true, 3, "ab");
    assert_eq!(changed, verdict(true, 3, "ab"));
    for other in [verdict(false, 3, "ab"), verdict(true, 4, "ab"), verdict(true, 3, "ba")] {
        assert_ne!(changed, other);
    }
}
