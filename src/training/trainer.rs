//! One training step, as the official `CycleGANModel.optimize_parameters` does it.

use burn::module::{AutodiffModule, Module};
use burn::tensor::Tensor;
use burn::tensor::backend::{AutodiffBackend, Backend};

use super::Adam;
use crate::config::TrainConfig;
use crate::image_pool::ImagePool;
use crate::kernels::Kernels;
use crate::loss::{self, Adversary};
use crate::model::parameters::init_normal;
use crate::model::{PatchDiscriminator, PatchDiscriminatorConfig, ResnetGenerator, ResnetGeneratorConfig};
use crate::protocol::Losses;
use crate::schedule;

/// Standard deviation of the initial weights (official `init_gain`).
const INIT_DEVIATION: f64 = 0.02;

/// The two generators, optimised together.
#[derive(Module, Debug)]
pub struct Generators<B: Backend> {
    /// Domain A to domain B.
    pub ab: ResnetGenerator<B>,
    /// Domain B to domain A.
    pub ba: ResnetGenerator<B>,
}

/// The two discriminators, named by the domain they judge.
#[derive(Module, Debug)]
pub struct Discriminators<B: Backend> {
    /// Judges images of domain A.
    pub a: PatchDiscriminator<B>,
    /// Judges images of domain B.
    pub b: PatchDiscriminator<B>,
}

impl TrainConfig {
    /// The generators' shape.
    pub fn generator(&self) -> ResnetGeneratorConfig {
        ResnetGeneratorConfig::new().with_ngf(self.ngf as usize).with_n_blocks(self.n_blocks as usize)
    }

    /// The discriminators' shape.
    pub fn discriminator(&self) -> PatchDiscriminatorConfig {
        PatchDiscriminatorConfig::new()
            .with_ndf(self.ndf as usize)
            .with_n_layers(self.patch_layers().unwrap_or(3) as usize)
    }
}

/// The loss terms of a step, still on the device: reading them is left to whoever looks.
#[derive(Debug, Clone)]
pub struct StepLosses<B: Backend>(Tensor<B, 1>);

impl<B: Backend> StepLosses<B> {
    /// Reads the terms back.
    ///
    /// # Errors
    /// When the device is lost.
    pub async fn read(self) -> Result<Losses, String> {
        let data = self.0.into_data_async().await.map_err(|error| format!("{error:?}"))?;
        let terms: Vec<f32> = data.iter::<f32>().collect();
        let [
            adversarial_ab,
            adversarial_ba,
            cycle_a,
            cycle_b,
            identity_a,
            identity_b,
            discriminator_a,
            discriminator_b,
        ] = terms[..]
        else {
            return Err(format!("{} loss terms instead of 8", terms.len()));
        };
        Ok(Losses {
            adversarial_ab,
            adversarial_ba,
            cycle_a,
            cycle_b,
            identity_a,
            identity_b,
            discriminator_a,
            discriminator_b,
        })
    }
}

/// Everything that changes during a training.
#[derive(Debug)]
pub struct Trainer<A: AutodiffBackend>
where
    A::InnerBackend: Kernels,
{
    /// What is trained, and how.
    pub config: TrainConfig,
    /// The generators.
    pub generators: Generators<A>,
    /// The discriminators.
    pub discriminators: Discriminators<A>,
    /// The generators' optimiser.
    pub generators_adam: Adam<A::InnerBackend>,
    /// The discriminators' optimiser.
    pub discriminators_adam: Adam<A::InnerBackend>,
    /// Past fakes of domain A.
    pub pool_a: ImagePool<A::InnerBackend>,
    /// Past fakes of domain B.
    pub pool_b: ImagePool<A::InnerBackend>,
    /// Steps made.
    pub step: u64,
}

impl<A> Trainer<A>
where
    A: AutodiffBackend + Kernels,
    A::InnerBackend: Kernels,
{
    /// Untrained networks with the initial weights of `config.seed`.
    pub fn new(config: TrainConfig, device: &A::Device) -> Self {
        let seed = config.seed;
        let generator = |name| init_normal(config.generator().init(device), INIT_DEVIATION, seed, name);
        let discriminator = |name| init_normal(config.discriminator().init(device), INIT_DEVIATION, seed, name);
        let pool = |name| ImagePool::new(config.pool_size as usize, name);
        Self {
            generators: Generators { ab: generator("generator_ab"), ba: generator("generator_ba") },
            discriminators: Discriminators { a: discriminator("discriminator_a"), b: discriminator("discriminator_b") },
            generators_adam: Adam::default(),
            discriminators_adam: Adam::default(),
            pool_a: pool("pool_a"),
            pool_b: pool("pool_b"),
            step: 0,
            config,
        }
    }

    /// The learning rate of the next step.
    pub fn learning_rate(&self) -> f64 {
        schedule::linear(self.config.learning_rate, self.step, self.config.steps, self.config.decay_from)
    }

    /// One step: both generators together, then both discriminators on fakes made before the
    /// generators changed, drawn from the image pools.
    ///
    /// # Shapes
    /// - real_a, real_b: `[N, 3, size, size]` in [-1, 1]
    pub fn step(
        &mut self,
        real_a: Tensor<A::InnerBackend, 4>,
        real_b: Tensor<A::InnerBackend, 4>,
    ) -> StepLosses<A::InnerBackend> {
        let rate = self.learning_rate();
        let (generator_terms, fake_a, fake_b) = self.step_generators(real_a.clone(), real_b.clone(), rate);
        let (seed, step) = (self.config.seed, self.step);
        let seen_a = self.pool_a.query(fake_a, seed, step);
        let seen_b = self.pool_b.query(fake_b, seed, step);
        let discriminator_terms = self.step_discriminators([real_a, real_b], [seen_a, seen_b], rate);
        self.step += 1;
        StepLosses(Tensor::cat([generator_terms, discriminator_terms].concat(), 0))
    }

    #[allow(clippy::type_complexity, reason = "a list of terms and the two fakes, used once")]
    fn step_generators(
        &mut self,
        real_a: Tensor<A::InnerBackend, 4>,
        real_b: Tensor<A::InnerBackend, 4>,
        rate: f64,
    ) -> (Vec<Tensor<A::InnerBackend, 1>>, Tensor<A::InnerBackend, 4>, Tensor<A::InnerBackend, 4>) {
        let TrainConfig { lambda_a, lambda_b, lambda_identity, .. } = self.config;
        let judges = self.discriminators.clone().no_grad();
        let adversary = Adversary::new(&self.config, self.step);
        let batch = real_a.dims()[0];
        let [real_a, real_b] = [real_a, real_b].map(Tensor::<A, 4>::from_inner);
        let generators = &self.generators;

        // Translation and identity share a forward pass: instance norm keeps the samples apart. Without
        // an identity loss there is no second half.
        let forward = |generator: &ResnetGenerator<A>, real: &Tensor<A, 4>, own: &Tensor<A, 4>| {
            if lambda_identity == 0.0 {
                return (generator.forward(real.clone()), None);
            }
            let both = generator.forward(Tensor::cat(vec![real.clone(), own.clone()], 0));
            (both.clone().narrow(0, 0, batch), Some(both.narrow(0, batch, batch)))
        };
        let identity = |idt: Option<Tensor<A, 4>>, real: Tensor<A, 4>, lambda: f32| match idt {
            Some(idt) => loss::l1(idt, real) * (lambda * lambda_identity),
            None => Tensor::zeros([1], &real.device()),
        };
        let (fake_b, idt_b) = forward(&generators.ab, &real_a, &real_b);
        let (fake_a, idt_a) = forward(&generators.ba, &real_b, &real_a);
        let rec_a = generators.ba.forward(fake_b.clone());
        let rec_b = generators.ab.forward(fake_a.clone());

        let terms = [
            adversary.generator(&judges.b, fake_b.clone(), "generator_ab"),
            adversary.generator(&judges.a, fake_a.clone(), "generator_ba"),
            loss::l1(rec_a, real_a.clone()) * lambda_a,
            loss::l1(rec_b, real_b.clone()) * lambda_b,
            identity(idt_a, real_a, lambda_a),
            identity(idt_b, real_b, lambda_b),
        ];
        let values = terms.iter().map(|term| term.clone().inner()).collect();
        let [fake_a, fake_b] = [fake_a, fake_b].map(Tensor::inner);
        let [ab, ba, cycle_a, cycle_b, identity_a, identity_b] = terms;
        let mut gradients = (ab + ba + cycle_a + cycle_b + identity_a + identity_b).backward();
        self.generators = self.generators_adam.step(self.generators.clone(), &mut gradients, rate);
        (values, fake_a, fake_b)
    }

    fn step_discriminators(
        &mut self,
        reals: [Tensor<A::InnerBackend, 4>; 2],
        fakes: [Tensor<A::InnerBackend, 4>; 2],
        rate: f64,
    ) -> Vec<Tensor<A::InnerBackend, 1>> {
        let adversary = Adversary::new(&self.config, self.step);
        let [real_a, real_b] = reals;
        let [fake_a, fake_b] = fakes;
        let terms = [
            adversary.discriminator(&self.discriminators.a, real_a, fake_a, "discriminator_a"),
            adversary.discriminator(&self.discriminators.b, real_b, fake_b, "discriminator_b"),
        ];
        let values = terms.iter().map(|term| term.clone().inner()).collect();
        let [of_a, of_b] = terms;
        let mut gradients = (of_a + of_b).backward();
        self.discriminators = self.discriminators_adam.step(self.discriminators.clone(), &mut gradients, rate);
        values
    }

    /// The generators without the graph, for translating.
    pub fn frozen_generators(&self) -> Generators<A::InnerBackend> {
        self.generators.valid()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::backend::{Autodiff, Flex};
    use burn::tensor::Distribution;

    type A = Autodiff<Flex>;

    #[test]
    fn without_its_weight_the_identity_loss_costs_no_forward_pass_and_changes_nothing_else() {
        let device = Default::default();
        let picture = || Tensor::<Flex, 4>::random([1, 3, 32, 32], Distribution::Uniform(-1.0, 1.0), &device);
        let (real_a, real_b) = (picture(), picture());
        let after = |lambda_identity: f32| {
            let config =
                TrainConfig { ngf: 8, n_blocks: 1, ndf: 8, n_layers: 2, lambda_identity, ..TrainConfig::default() };
            let mut trainer = Trainer::<A>::new(config, &device);
            let terms: Vec<f32> = trainer.step(real_a.clone(), real_b.clone()).0.into_data().iter().collect();
            let translated: Vec<f32> =
                trainer.frozen_generators().ab.forward(real_a.clone()).into_data().iter().collect();
            (terms, translated)
        };
        let ((none, with_none), (hardly, with_hardly)) = (after(0.0), after(1e-12));
        assert_eq!(none[4..6], [0.0, 0.0]);
        assert!(none[4..6] != hardly[4..6]);
        assert_eq!(none[..4], hardly[..4]);
        let furthest = with_none.iter().zip(with_hardly).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(furthest < 1e-2, "{furthest}");
    }
}
