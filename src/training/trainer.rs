//! One training step, as the official `CycleGANModel.optimize_parameters` does it.

use std::ops::Range;
use std::rc::Rc;

use burn::module::{AutodiffModule, Module};
use burn::tensor::Tensor;
use burn::tensor::backend::{AutodiffBackend, Backend};

use super::adam::Pace;
use super::exchange::{self, Exchange};
#[cfg(not(target_family = "wasm"))]
use super::one_sided;
use super::{Adam, Gradients, ema, passes};
use crate::config::{LrPolicy, Precision, TrainConfig};
use crate::image_pool::ImagePool;
use crate::kernels::{self, Kernels, with_precision};
use crate::loss::Adversary;
use crate::model::{Generator, Heads, PatchDiscriminator, parameters};
use crate::protocol::{Direction, Losses};
use crate::schedule::{self, Plateau};

/// The generators, optimised together.
#[derive(Module, Debug)]
pub struct Generators<B: Backend> {
    /// Domain A to domain B.
    pub ab: Generator<B>,
    /// Domain B to domain A; none in a one-sided training.
    pub ba: Option<Generator<B>>,
    /// What a one-sided training compares patches by, where it has heads.
    pub heads: Option<Heads<B>>,
}

impl<B: Backend> Generators<B> {
    /// The one that goes back. A training is one-sided or has all that it needs: see [`Trainer::new`].
    ///
    /// # Panics
    /// In a one-sided training.
    pub(super) fn back(&self) -> &Generator<B> {
        let Some(ba) = &self.ba else { panic!("a one-sided training has no way back") };
        ba
    }

    /// The generator of a direction, if there is one.
    pub fn of(&self, direction: Direction) -> Option<&Generator<B>> {
        match direction {
            Direction::AtoB => Some(&self.ab),
            Direction::BtoA => self.ba.as_ref(),
        }
    }
}

/// The discriminators, named by the domain they judge.
#[derive(Module, Debug)]
pub struct Discriminators<B: Backend> {
    /// Judges images of domain A; none in a one-sided training.
    pub a: Option<PatchDiscriminator<B>>,
    /// Judges images of domain B.
    pub b: PatchDiscriminator<B>,
}

impl<B: Backend> Discriminators<B> {
    /// The one of A.
    ///
    /// # Panics
    /// In a one-sided training, as [`Generators::back`].
    pub(super) fn of_a(&self) -> &PatchDiscriminator<B> {
        let Some(a) = &self.a else { panic!("a one-sided training judges B alone") };
        a
    }

    /// Both after one power iteration of their spectral norms, where they have any.
    pub fn iterate(self) -> Self {
        Self { a: self.a.map(PatchDiscriminator::iterate), b: self.b.iterate() }
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
        if let [adversarial_ab, nce, ref nce_y @ .., discriminator_b] = terms[..]
            && nce_y.len() < 2
        {
            let (nce, nce_y) = (Some(nce), nce_y.first().copied());
            return Ok(Losses { adversarial_ab, nce, nce_y, discriminator_b, ..Losses::default() });
        }
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
            ..Losses::default()
        })
    }
}

/// Everything that changes during a training.
#[derive(Debug, Clone)]
pub struct Trainer<A: AutodiffBackend>
where
    A::InnerBackend: Kernels,
{
    /// What is trained, and how.
    pub config: TrainConfig,
    /// The generators.
    pub generators: Generators<A>,
    /// Their moving average, where the configuration wants one: see [`Trainer::frozen_generators`].
    pub average: Option<Generators<A::InnerBackend>>,
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
    /// What a learning rate of the policy `plateau` has come to.
    pub plateau: Plateau,
    /// The losses that the plateau has not heard of yet.
    pub window: Window<A::InnerBackend>,
    /// The smallest mean distance from held-out pictures that the generators were measured at, if they were.
    pub best: Option<f32>,
    /// Steps made.
    pub step: u64,
    /// The time behind it, for a training by the clock.
    pub spent: Spent,
    /// The other workers, where there are any.
    pub exchange: Option<Rc<dyn Exchange<A::InnerBackend>>>,
}

/// What a training by the clock has used of its time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Spent {
    /// Seconds of training.
    pub seconds: f64,
    /// Whether the configuration's number of steps is what fits into the time; before, it is [`UNSIZED`].
    ///
    /// [`UNSIZED`]: crate::config::UNSIZED
    pub is_sized: bool,
}

/// Loss terms and gradients, averaged over all workers.
type Agreed<B> = (Tensor<B, 1>, Gradients<B>);

/// The generators' total losses since the learning rate was last looked at, added up on the device.
#[derive(Debug, Clone)]
pub struct Window<B: Backend> {
    /// Their sum, `[1]`; `None` before the first.
    pub sum: Option<Tensor<B, 1>>,
    /// How many they are.
    pub steps: u64,
}

impl<B: Backend> Default for Window<B> {
    fn default() -> Self {
        Self { sum: None, steps: 0 }
    }
}

impl<A> Trainer<A>
where
    A: AutodiffBackend + Kernels,
    A::InnerBackend: Kernels,
{
    /// Untrained networks with the initial weights of `config.seed`.
    pub fn new(config: TrainConfig, device: &A::Device) -> Self {
        let generator = |name| config.initialised(config.generator(device), name).starting_as_identity();
        let discriminator = |name| config.initialised(config.discriminator(device), name);
        let both = !config.is_one_sided();
        let generators = Generators {
            ab: generator("generator_ab"),
            ba: both.then(|| generator("generator_ba")),
            heads: config.heads(device).map(|heads| config.initialised(heads, "heads")),
        };
        let discriminators =
            Discriminators { a: both.then(|| discriminator("discriminator_a")), b: discriminator("discriminator_b") };
        Self::around(config, generators, discriminators)
    }

    /// A training of these networks that has not begun.
    pub(super) fn around(config: TrainConfig, generators: Generators<A>, discriminators: Discriminators<A>) -> Self {
        let pool = |name| ImagePool::new(config.pool_size as usize, name);
        Self {
            average: (config.ema > 0.0).then(|| generators.valid()),
            generators,
            discriminators,
            generators_adam: Adam::default(),
            discriminators_adam: Adam::default(),
            pool_a: pool("pool_a"),
            pool_b: pool("pool_b"),
            plateau: Plateau::default(),
            window: Window::default(),
            best: None,
            step: 0,
            spent: Spent::default(),
            exchange: None,
            config,
        }
    }

    /// The learning rate of the next step.
    pub fn learning_rate(&self) -> f64 {
        schedule::rate(&self.config, self.step, self.plateau.factor)
    }

    /// One step: both generators together, then both discriminators on fakes made before the
    /// generators changed, drawn from the image pools.
    ///
    /// # Shapes
    /// - real_a, real_b: `[N, 3, size, size]` in [-1, 1]
    ///
    /// # Errors
    /// Those of [`Trainer::step_over`].
    pub fn step(
        &mut self,
        real_a: Tensor<A::InnerBackend, 4>,
        real_b: Tensor<A::InnerBackend, 4>,
    ) -> Result<StepLosses<A::InnerBackend>, String> {
        self.step_over(vec![[real_a, real_b]])
    }

    /// One step over several batches, whose gradients are averaged before the parameters change: that of all of them
    /// joined, with the memory of one. (Instance norm keeps samples apart, and every loss is a mean.) With an
    /// [`Exchange`], the step is that of the joined batches of all workers.
    ///
    /// # Shapes
    /// - each `[real_a, real_b]`, `[N, 3, size, size]` in [-1, 1]
    ///
    /// # Errors
    /// When another worker cannot be heard, in whole sentences: then nothing has changed, and the training is where it
    /// was before the step. Without an [`Exchange`], never.
    ///
    /// # Panics
    /// Without a batch.
    pub fn step_over(
        &mut self,
        batches: Vec<[Tensor<A::InnerBackend, 4>; 2]>,
    ) -> Result<StepLosses<A::InnerBackend>, String> {
        self.agree_on_steps(batches.first())?;
        with_precision(self.precision(batches.first()), || {
            #[cfg(not(target_family = "wasm"))]
            if self.config.is_one_sided() {
                return self.one_sided_step(batches);
            }
            self.two_sided_step(batches)
        })
    }

    /// The precision of the configuration where the device has it, else f32: a training goes on anywhere.
    fn precision(&self, batch: Option<&[Tensor<A::InnerBackend, 4>; 2]>) -> Precision {
        let has = |[real, _]: &[Tensor<A::InnerBackend, 4>; 2]| A::multiplies_in(self.config.precision, &real.device());
        if batch.is_some_and(has) { self.config.precision } else { Precision::F32 }
    }

    /// In a training by the clock, the first worker's is the one that counts; the learning rate depends on the steps.
    fn agree_on_steps(&mut self, batch: Option<&[Tensor<A::InnerBackend, 4>; 2]>) -> Result<(), String> {
        let (true, Some(exchange), Some([real, _])) = (self.config.minutes > 0.0, &self.exchange, batch) else {
            return Ok(());
        };
        let own = if exchange.rank() == 0 { self.config.steps as f32 } else { 0.0 };
        let sum = exchange.sum(Tensor::from_data([own], &real.device()))?;
        let data = sum.try_into_data().map_err(|error| format!("The device was lost: {error:?}"))?;
        self.config.steps = data.iter::<f32>().next().map_or(self.config.steps, |steps| steps as u64);
        Ok(())
    }

    /// The discriminator learns first, and the generator from what it has become. All that another worker could fail
    /// in comes before anything of this training changes.
    #[cfg(not(target_family = "wasm"))]
    fn one_sided_step(
        &mut self,
        batches: Vec<[Tensor<A::InnerBackend, 4>; 2]>,
    ) -> Result<StepLosses<A::InnerBackend>, String> {
        let is_warming = self.warms_up();
        let config = self.config.clone();
        let mut first = self.step * batches.iter().map(|[real, _]| self.of_all_workers(real)).sum::<u64>();
        let mut judges = self.discriminators.clone();
        if config.spectral_norm {
            judges = judges.iterate();
        }
        // One batch keeps its graph for the generator; more would take as much memory as they are.
        let is_kept = batches.len() == 1 && !is_warming;
        let translate = |[real_a, real_b]: &[Tensor<A::InnerBackend, 4>; 2], number| {
            let reals = [real_a, real_b].map(|real| Tensor::from_inner(real.clone()));
            one_sided::translate(&config, &self.generators.ab, reals, number)
        };
        let mut seen = Vec::with_capacity(batches.len());
        let mut discriminator = Mean::default();
        for reals in batches {
            let own = first + self.rank() * reals[0].dims()[0] as u64;
            first += self.of_all_workers(&reals[0]);
            let adversary = Adversary::new(&config, own);
            let (fakes, kept) = if is_kept {
                let translated = translate(&reals, own);
                (translated.fakes().inner(), Some(translated))
            } else {
                let frozen = self.generators.ab.valid();
                (one_sided::translate(&config, &frozen, reals.clone(), own).fakes(), None)
            };
            let (term, mut found) = one_sided::discriminator(&judges.b, adversary, reals[1].clone(), fakes);
            discriminator.add(term, Gradients::take(&judges, &mut found));
            seen.push((adversary, reals, kept, own));
        }
        let (discriminator_terms, gradients) = self.agreed(discriminator)?;
        let pace = self.pace(schedule::of_discriminators(&config, self.step, self.plateau.factor));
        let mut discriminators_adam = self.discriminators_adam.clone();
        let judges = discriminators_adam.step(judges, gradients, pace);

        let generator_terms = if is_warming {
            // Terms that nobody has computed.
            Tensor::zeros([2 + usize::from(config.nce_idt)], &discriminator_terms.device())
        } else {
            let frozen = judges.b.clone().no_grad();
            let mut generator = Mean::default();
            for (adversary, reals, kept, own) in seen {
                let translated = kept.unwrap_or_else(|| translate(&reals, own));
                let pass = one_sided::generator(&config, &self.generators, adversary, &frozen, translated, reals, own);
                generator.add(pass.terms, pass.gradients);
            }
            let (terms, gradients) = self.agreed(generator)?;
            self.learn(terms, gradients)
        };
        (self.discriminators, self.discriminators_adam) = (judges, discriminators_adam);
        self.step += 1;
        Ok(StepLosses(kernels::join(vec![generator_terms, discriminator_terms])))
    }

    /// The generators, their average and what a plateau hears, one step further.
    fn learn(
        &mut self,
        terms: Tensor<A::InnerBackend, 1>,
        gradients: Gradients<A::InnerBackend>,
    ) -> Tensor<A::InnerBackend, 1> {
        let pace = self.pace(self.learning_rate());
        self.generators = self.generators_adam.step(self.generators.clone(), gradients, pace);
        if let Some(average) = self.average.take() {
            let current = parameters::collect(&self.generators).into_iter().map(Tensor::inner).collect();
            self.average = Some(ema::follow(average, current, self.config.ema));
        }
        if self.config.lr_policy == LrPolicy::Plateau {
            let total = terms.clone().sum();
            self.window.sum = Some(self.window.sum.take().map_or(total.clone(), |sum| sum + total));
            self.window.steps += 1;
        }
        terms
    }

    /// All that another worker could fail in comes first; then everything changes at once.
    fn two_sided_step(
        &mut self,
        batches: Vec<[Tensor<A::InnerBackend, 4>; 2]>,
    ) -> Result<StepLosses<A::InnerBackend>, String> {
        let is_warming = self.warms_up();
        let config = schedule::weights(&self.config, self.step);
        let mut first = self.step * batches.iter().map(|[real, _]| self.of_all_workers(real)).sum::<u64>();
        let mut judges = self.discriminators.clone();
        if config.spectral_norm {
            judges = judges.iterate();
        }
        let frozen = judges.clone().no_grad();
        let mut generators = Mean::default();
        let mut seen = Vec::with_capacity(batches.len());
        for [real_a, real_b] in batches {
            let number = first;
            first += self.of_all_workers(&real_a);
            // No two passes of a training draw the same random numbers, of whatever worker they are.
            let own = number + self.rank() * real_a.dims()[0] as u64;
            let adversary = Adversary::new(&config, own);
            let reals = [&real_a, &real_b];
            let fakes = if is_warming {
                passes::fakes(&self.generators, reals)
            } else {
                let (pass, fakes) = passes::generators(&config, &self.generators, adversary, &frozen, reals, own);
                generators.add(pass.terms, pass.gradients);
                fakes
            };
            seen.push((adversary, [real_a, real_b], fakes, number));
        }
        let of_generators = if is_warming { None } else { Some(self.agreed(generators)?) };

        // As cheap as the lists of their pictures.
        let mut pools = [self.pool_a.clone(), self.pool_b.clone()];
        let mut discriminators = Mean::default();
        for (adversary, reals, [fake_a, fake_b], number) in seen {
            let [pool_a, pool_b] = &mut pools;
            let fakes = [self.pooled(pool_a, fake_a, number)?, self.pooled(pool_b, fake_b, number)?];
            let pass = passes::discriminators(&judges, adversary, reals, fakes);
            discriminators.add(pass.terms, pass.gradients);
        }
        let (discriminator_terms, gradients) = self.agreed(discriminators)?;

        [self.pool_a, self.pool_b] = pools;
        let generator_terms = match of_generators {
            Some((terms, gradients)) => self.learn(terms, gradients),
            // Six terms that nobody has computed.
            None => Tensor::zeros([6], &discriminator_terms.device()),
        };
        let pace = self.pace(schedule::of_discriminators(&config, self.step, self.plateau.factor));
        self.discriminators = self.discriminators_adam.step(judges, gradients, pace);
        self.step += 1;
        Ok(StepLosses(kernels::join(vec![generator_terms, discriminator_terms])))
    }

    /// Whether the next step is the discriminators' alone, since they know less than the generators.
    fn warms_up(&self) -> bool {
        self.step < self.config.warmup_d
    }

    /// A step of Adam at that rate.
    fn pace(&self, rate: f64) -> Pace {
        Pace { rate, betas: [self.config.beta1, self.config.beta2] }
    }

    /// What is left to do after a step: once in `lr_decay_steps` steps a learning rate of the policy `plateau` looks at
    /// the losses, which are read back for it.
    ///
    /// # Errors
    /// When the device is lost.
    pub async fn settle(&mut self) -> Result<(), String> {
        if self.window.steps >= self.config.lr_decay_steps
            && let Some(sum) = self.window.sum.take()
        {
            let data = sum.into_data_async().await.map_err(|error| format!("{error:?}"))?;
            let sum = data.iter::<f64>().next().unwrap_or(f64::NAN);
            self.plateau.hear(sum / self.window.steps as f64, self.config.learning_rate);
            self.window.steps = 0;
        }
        Ok(())
    }

    /// Images of each domain that a step takes, over all workers.
    pub fn images_per_step(&self) -> u64 {
        let workers = self.exchange.as_ref().map_or(1, |exchange| exchange.workers()) as u64;
        u64::from(self.config.batch_size) * u64::from(self.config.accumulate) * workers
    }

    /// Which images the next step is made of, batch by batch: running numbers for [`crate::data::Sampler::draw`]. The
    /// workers' shares of a batch follow each other, so that together they draw what one worker with the joined
    /// batch would.
    pub fn numbers(&self) -> impl Iterator<Item = Range<u64>> + use<A> {
        let rank = self.rank();
        let (batch, passes) = (u64::from(self.config.batch_size), u64::from(self.config.accumulate));
        let (first, joined) = (self.step * self.images_per_step(), self.images_per_step() / passes);
        (0..passes).map(move |pass| {
            let start = first + pass * joined + rank * batch;
            start..start + batch
        })
    }

    /// Whether every parameter is a number: one read-back.
    ///
    /// # Errors
    /// When the device is lost.
    pub async fn is_finite(&self) -> Result<bool, String> {
        let parameters = [parameters::collect(&self.generators), parameters::collect(&self.discriminators)];
        // A sum of finite numbers of any sensible size is finite, and nothing else is.
        let sums = parameters.into_iter().flatten().map(|parameter| parameter.inner().sum()).collect();
        let data = Tensor::cat(sums, 0).into_data_async().await.map_err(|error| format!("{error:?}"))?;
        Ok(data.iter::<f32>().all(f32::is_finite))
    }

    fn rank(&self) -> u64 {
        self.exchange.as_ref().map_or(0, |exchange| exchange.rank()) as u64
    }

    /// Images of one domain in a batch of every worker together.
    fn of_all_workers(&self, batch: &Tensor<A::InnerBackend, 4>) -> u64 {
        let workers = self.exchange.as_ref().map_or(1, |exchange| exchange.workers());
        (batch.dims()[0] * workers) as u64
    }

    /// The means of terms and gradients over the batches of all workers, and the gradients clipped.
    fn agreed(&self, found: Mean<A::InnerBackend>) -> Result<Agreed<A::InnerBackend>, String> {
        let (mut terms, mut gradients) = found.take();
        if let Some(exchange) = &self.exchange {
            (terms, gradients) = exchange::average(exchange.as_ref(), terms, gradients)?;
        }
        Ok((terms, gradients.clip(self.config.clip_grad)))
    }

    /// The fakes that a discriminator is to see. Every worker's pool holds the fakes of all.
    fn pooled(
        &self,
        pool: &mut ImagePool<A::InnerBackend>,
        fakes: Tensor<A::InnerBackend, 4>,
        first: u64,
    ) -> Result<Tensor<A::InnerBackend, 4>, String> {
        let seed = self.config.seed;
        let Some(exchange) = self.exchange.as_ref().filter(|_| self.config.pool_size > 0) else {
            return Ok(pool.query(fakes, seed, first));
        };
        let [count, ..] = fakes.dims();
        let all = exchange::gather(exchange.as_ref(), fakes)?;
        Ok(pool.query(all, seed, first).narrow(0, exchange.rank() * count, count))
    }

    /// The generators without the graph, for translating: their moving average where there is one.
    pub fn frozen_generators(&self) -> Generators<A::InnerBackend> {
        self.average.clone().unwrap_or_else(|| self.generators.valid())
    }
}

/// The mean of what several passes gave.
struct Mean<B: Backend> {
    passes: usize,
    sum: Option<(Tensor<B, 1>, Gradients<B>)>,
}

impl<B: Backend> Default for Mean<B> {
    fn default() -> Self {
        Self { passes: 0, sum: None }
    }
}

impl<B: Backend> Mean<B> {
    fn add(&mut self, terms: Tensor<B, 1>, gradients: Gradients<B>) {
        self.passes += 1;
        self.sum = Some(match self.sum.take() {
            Some((sum, mut all)) => {
                all.add(gradients);
                (sum + terms, all)
            }
            None => (terms, gradients),
        });
    }

    fn take(self) -> (Tensor<B, 1>, Gradients<B>) {
        match self.sum {
            Some(one) if self.passes == 1 => one,
            Some((sum, all)) => (sum / self.passes as f64, all.scale(1.0 / self.passes as f64)),
            None => panic!("a step needs a batch"),
        }
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
            let terms: Vec<f32> =
                trainer.step(real_a.clone(), real_b.clone()).expect("alone").0.into_data().iter().collect();
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
