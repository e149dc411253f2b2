//! Forward and backward passes of a step: from pictures to loss terms and gradients.

use std::ops::Range;

use burn::module::AutodiffModule;
use burn::tensor::Tensor;
use burn::tensor::backend::{AutodiffBackend, Backend};

use super::{Discriminators, Generators, Gradients};
use crate::config::TrainConfig;
use crate::kernels::Kernels;
use crate::loss;
use crate::model::ResnetGenerator;

/// What a pass of one batch gives.
#[derive(Debug)]
pub struct Pass<B: Backend> {
    /// The loss terms, `[terms]`.
    pub terms: Tensor<B, 1>,
    /// The gradients of both networks.
    pub gradients: Gradients<B>,
    /// The fakes, of domain A and of B.
    pub fakes: [Tensor<B, 4>; 2],
}

/// The pictures that the generators' losses are about.
struct Pictures<B: Backend> {
    real_a: Tensor<B, 4>,
    real_b: Tensor<B, 4>,
    fake_a: Tensor<B, 4>,
    fake_b: Tensor<B, 4>,
    rec_a: Tensor<B, 4>,
    rec_b: Tensor<B, 4>,
    /// Of A and B; `None` without an identity loss.
    identities: Option<[Tensor<B, 4>; 2]>,
}

/// Translation and identity share a forward pass: instance norm keeps the samples apart. Without
/// an identity loss there is no second half.
fn together<B: Backend>(config: &TrainConfig, real: &Tensor<B, 4>, own: &Tensor<B, 4>) -> Tensor<B, 4> {
    if config.lambda_identity == 0.0 {
        return real.clone();
    }
    Tensor::cat(vec![real.clone(), own.clone()], 0)
}

/// Fake and identity out of what a generator made of [`together`].
fn apart<B: Backend>(both: &Tensor<B, 4>, batch: usize) -> (Tensor<B, 4>, Option<Tensor<B, 4>>) {
    if both.dims()[0] == batch {
        return (both.clone(), None);
    }
    (both.clone().narrow(0, 0, batch), Some(both.clone().narrow(0, batch, batch)))
}

/// The generators' pass: adversarial, cycle-consistency and identity terms, with the discriminators as they are.
///
/// # Shapes
/// - reals: of A and B, `[N, 3, H, W]`
pub fn generators<A>(
    config: &TrainConfig,
    generators: &Generators<A>,
    judges: &Discriminators<A>,
    reals: [&Tensor<A::InnerBackend, 4>; 2],
) -> Pass<A::InnerBackend>
where
    A: AutodiffBackend + Kernels,
    A::InnerBackend: Kernels,
{
    if config.checkpoint_activations {
        return generators_again(config, generators, judges, reals);
    }
    let batch = reals[0].dims()[0];
    let [real_a, real_b] = reals.map(|real| Tensor::<A, 4>::from_inner(real.clone()));
    let (fake_b, idt_b) = apart(&generators.ab.forward(together(config, &real_a, &real_b)), batch);
    let (fake_a, idt_a) = apart(&generators.ba.forward(together(config, &real_b, &real_a)), batch);
    let rec_a = generators.ba.forward(fake_b.clone());
    let rec_b = generators.ab.forward(fake_a.clone());
    let fakes = [&fake_a, &fake_b].map(|fake| fake.clone().inner());
    let identities = idt_a.zip(idt_b).map(|(a, b)| [a, b]);
    let pictures = Pictures { real_a, real_b, fake_a, fake_b, rec_a, rec_b, identities };
    let (terms, total) = generator_terms(config, judges, pictures);
    Pass { terms, gradients: Gradients::take(generators, &mut total.backward()), fakes }
}

/// The terms' values, and their sum in the graph.
fn generator_terms<A>(
    config: &TrainConfig,
    judges: &Discriminators<A>,
    pictures: Pictures<A>,
) -> (Tensor<A::InnerBackend, 1>, Tensor<A, 1>)
where
    A: AutodiffBackend + Kernels,
{
    let TrainConfig { lambda_a, lambda_b, lambda_identity, .. } = *config;
    let Pictures { real_a, real_b, fake_a, fake_b, rec_a, rec_b, identities } = pictures;
    let [identity_a, identity_b] = match identities {
        Some([idt_a, idt_b]) => [
            loss::l1(idt_a, real_a.clone()) * (lambda_a * lambda_identity),
            loss::l1(idt_b, real_b.clone()) * (lambda_b * lambda_identity),
        ],
        None => [Tensor::zeros([1], &real_a.device()), Tensor::zeros([1], &real_b.device())],
    };
    let terms = [
        loss::adversarial(judges.b.forward(fake_b), 1.0),
        loss::adversarial(judges.a.forward(fake_a), 1.0),
        loss::l1(rec_a, real_a) * lambda_a,
        loss::l1(rec_b, real_b) * lambda_b,
        identity_a,
        identity_b,
    ];
    let values = terms.iter().map(|term| term.clone().inner()).collect();
    let [ab, ba, cycle_a, cycle_b, identity_a, identity_b] = terms;
    (Tensor::cat(values, 0), ab + ba + cycle_a + cycle_b + identity_a + identity_b)
}

/// The discriminators' pass.
///
/// # Shapes
/// - reals and fakes: of A and B, `[N, 3, H, W]`
pub fn discriminators<A>(
    judges: &Discriminators<A>,
    reals: [Tensor<A::InnerBackend, 4>; 2],
    fakes: [Tensor<A::InnerBackend, 4>; 2],
) -> Pass<A::InnerBackend>
where
    A: AutodiffBackend + Kernels,
    A::InnerBackend: Kernels,
{
    let seen = fakes.clone();
    let mut terms = [(&judges.a, 0), (&judges.b, 1)].map(|(judge, index)| {
        let (real, fake) = (reals[index].clone(), fakes[index].clone());
        let batch = real.dims()[0];
        // Real and fake share a forward pass.
        let map = judge.forward(Tensor::from_inner(Tensor::cat(vec![real, fake], 0)));
        let of_real = loss::adversarial(map.clone().narrow(0, 0, batch), 1.0);
        let of_fake = loss::adversarial(map.narrow(0, batch, batch), 0.0);
        (of_real + of_fake) * 0.5
    });
    let values = terms.iter().map(|term: &Tensor<A, 1>| term.clone().inner()).collect();
    let [of_a, of_b] = &mut terms;
    let mut found = (of_a.clone() + of_b.clone()).backward();
    Pass { terms: Tensor::cat(values, 0), gradients: Gradients::take(judges, &mut found), fakes: seen }
}

/// The same as [`generators`] to the last bit, with less memory and about a third more time: of each of the four
/// forward passes only the inputs of its [`segments`] are kept, and the backward pass computes one segment at a time again.
///
/// The chain rule is written out here, segment by segment, because burn-autodiff 0.21 cannot do it inside of its own
/// backward pass: `GraphMutexClient::backward` (`runtime/graph.rs`) holds the graph's lock while the steps run, and a
/// second `backward` within one ends in `GraphCleaner::cleanup_orphaned_entries`, which waits for that very lock.
fn generators_again<A>(
    config: &TrainConfig,
    generators: &Generators<A>,
    judges: &Discriminators<A>,
    [real_a, real_b]: [&Tensor<A::InnerBackend, 4>; 2],
) -> Pass<A::InnerBackend>
where
    A: AutodiffBackend + Kernels,
    A::InnerBackend: Kernels,
{
    let batch = real_a.dims()[0];
    let frozen = generators.valid();
    let both_b = Trace::forward(&frozen.ab, together(config, real_a, real_b));
    let both_a = Trace::forward(&frozen.ba, together(config, real_b, real_a));
    let (fake_b, _) = apart(&both_b.output, batch);
    let (fake_a, _) = apart(&both_a.output, batch);
    let rec_a = Trace::forward(&frozen.ba, fake_b.clone());
    let rec_b = Trace::forward(&frozen.ab, fake_a.clone());

    // The losses see the pictures as if they came from nowhere.
    let leaves = [&both_a, &both_b, &rec_a, &rec_b];
    let leaves = leaves.map(|trace| Tensor::<A, 4>::from_inner(trace.output.clone()).require_grad());
    let [leaf_a, leaf_b, of_rec_a, of_rec_b] = &leaves;
    let (fake_a_leaf, idt_a) = apart(leaf_a, batch);
    let (fake_b_leaf, idt_b) = apart(leaf_b, batch);
    let pictures = Pictures {
        real_a: Tensor::from_inner(real_a.clone()),
        real_b: Tensor::from_inner(real_b.clone()),
        fake_a: fake_a_leaf,
        fake_b: fake_b_leaf,
        rec_a: of_rec_a.clone(),
        rec_b: of_rec_b.clone(),
        identities: idt_a.zip(idt_b).map(|(a, b)| [a, b]),
    };
    let (terms, total) = generator_terms(config, judges, pictures);
    let mut found = total.backward();
    let [to_both_a, to_both_b, to_rec_a, to_rec_b] = leaves.map(|leaf| {
        let shape = leaf.dims();
        leaf.grad_remove(&mut found).unwrap_or_else(|| Tensor::zeros(shape, &leaf.device()))
    });

    let (of_ab, to_fake_a) = rec_b.backward(&generators.ab, to_rec_b, true);
    let (of_ba, to_fake_b) = rec_a.backward(&generators.ba, to_rec_a, true);
    let (more_ab, _) = both_b.backward(&generators.ab, with_first(to_both_b, to_fake_b), false);
    let (more_ba, _) = both_a.backward(&generators.ba, with_first(to_both_a, to_fake_a), false);
    let mut gradients = of_ab.add(more_ab).0;
    gradients.extend(of_ba.add(more_ba).0);
    Pass { terms, gradients: Gradients(gradients), fakes: [fake_a, fake_b] }
}

/// The gradient of [`together`]'s picture with what came back to its first half added.
fn with_first<B: Backend>(both: Tensor<B, 4>, first: Option<Tensor<B, 4>>) -> Tensor<B, 4> {
    let Some(first) = first else { return both };
    let ([all, ..], [batch, ..]) = (both.dims(), first.dims());
    let sum = both.clone().narrow(0, 0, batch) + first;
    if all == batch { sum } else { Tensor::cat(vec![sum, both.narrow(0, batch, all - batch)], 0) }
}

/// The parts of a generator that are computed again one at a time: all before the residual blocks, each of them, and
/// all behind them. Between them the maps have a quarter of the picture's sides.
fn segments<B: Kernels>(generator: &ResnetGenerator<B>) -> Vec<Range<usize>> {
    let (first, blocks) = (generator.encoder().len(), generator.blocks().len());
    let blocks = (first..first + blocks).map(|stage| stage..stage + 1);
    let last = first + generator.blocks().len();
    std::iter::once(0..first).chain(blocks).chain([last..generator.stages()]).collect()
}

/// A forward pass that can be gone through backwards without a graph.
struct Trace<B: Backend> {
    /// The input of every segment.
    inputs: Vec<Tensor<B, 4>>,
    output: Tensor<B, 4>,
}

impl<B: Kernels> Trace<B> {
    fn forward(generator: &ResnetGenerator<B>, input: Tensor<B, 4>) -> Self {
        let (mut inputs, mut planes) = (Vec::new(), input);
        for segment in segments(generator) {
            inputs.push(planes.clone());
            planes = segment.fold(planes, |planes, stage| generator.stage(stage, planes));
        }
        Self { inputs, output: planes }
    }

    /// The gradients of the generator's parameters and, where wanted, of its input, from that of its output.
    fn backward<A>(
        self,
        generator: &ResnetGenerator<A>,
        output_grad: Tensor<B, 4>,
        wants_input: bool,
    ) -> (Gradients<B>, Option<Tensor<B, 4>>)
    where
        A: AutodiffBackend<InnerBackend = B> + Kernels,
    {
        let mut grad = Some(output_grad);
        let mut all: Option<Gradients<B>> = None;
        for (index, (segment, input)) in segments(generator).into_iter().zip(self.inputs).enumerate().rev() {
            let Some(output_grad) = grad.take() else { break };
            let input = Tensor::<A, 4>::from_inner(input).set_require_grad(index > 0 || wants_input);
            let output = segment.fold(input.clone(), |planes, stage| generator.stage(stage, planes));
            // The gradient of this sum by the output is exactly `output_grad`.
            let mut found = (output * Tensor::from_inner(output_grad)).sum().backward();
            grad = input.grad_remove(&mut found);
            let part = Gradients::take(generator, &mut found);
            all = Some(match all {
                Some(all) => all.add(part),
                None => part,
            });
        }
        (all.unwrap_or_else(|| Gradients(Vec::new())), grad)
    }
}
