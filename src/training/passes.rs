//! Forward and backward passes of a step: from pictures to loss terms and gradients.

use std::ops::Range;

use burn::module::AutodiffModule;
use burn::tensor::Tensor;
use burn::tensor::backend::{AutodiffBackend, Backend};

use super::{Discriminators, Generators, Gradients};
use crate::config::TrainConfig;
use crate::kernels::{self, Kernels};
use crate::loss::{self, Adversary};
use crate::model::{Dropout, Generator};

/// What a pass of one batch gives.
#[derive(Debug)]
pub struct Pass<B: Backend> {
    /// The loss terms, `[terms]`.
    pub terms: Tensor<B, 1>,
    /// The gradients of both networks.
    pub gradients: Gradients<B>,
}

/// Pictures of domain A and of B.
type Both<B> = [Tensor<B, 4>; 2];

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

/// What a generator is to make fakes and identities of. Both share a forward pass where they have one size, since
/// instance norm keeps the samples apart. Without an identity loss there is no second half.
fn inputs<B: Kernels>(config: &TrainConfig, real: &Tensor<B, 4>, own: &Tensor<B, 4>) -> Vec<Tensor<B, 4>> {
    if config.lambda_identity == 0.0 {
        vec![real.clone()]
    } else if real.dims() == own.dims() {
        vec![kernels::join(vec![real.clone(), own.clone()])]
    } else {
        vec![real.clone(), own.clone()]
    }
}

/// The fakes of a batch and the identities out of what a generator made of its [`inputs`].
fn outputs<B: Backend>(made: &[Tensor<B, 4>], batch: usize) -> (Tensor<B, 4>, Option<Tensor<B, 4>>) {
    let first = made[0].clone();
    if first.dims()[0] == batch {
        return (first, made.get(1).cloned());
    }
    (first.clone().narrow(0, 0, batch), Some(first.narrow(0, batch, batch)))
}

/// The generators' pass: adversarial, cycle-consistency and identity terms, with the discriminators as they are; and
/// the fakes that it made.
///
/// # Shapes
/// - reals: of A and B, `[N, 3, H, W]`; `number` is the first one's, which tells random decisions apart
pub fn generators<A>(
    config: &TrainConfig,
    generators: &Generators<A>,
    adversary: Adversary,
    judges: &Discriminators<A>,
    reals: [&Tensor<A::InnerBackend, 4>; 2],
    number: u64,
) -> (Pass<A::InnerBackend>, Both<A::InnerBackend>)
where
    A: AutodiffBackend + Kernels,
    A::InnerBackend: Kernels,
{
    if config.checkpoint_activations {
        return generators_again(config, generators, adversary, judges, reals, number);
    }
    let batch = reals[0].dims()[0];
    let [for_a, for_b, for_rec_a, for_rec_b] = dropouts(config, number);
    let translated = |generator: &Generator<A>, real, own, dropout: [_; 2]| {
        let made = inputs(config, real, own).into_iter().zip(dropout);
        let forward = |(input, dropout)| generator.forward_with(Tensor::from_inner(input), dropout);
        outputs(&made.map(forward).collect::<Vec<_>>(), batch)
    };
    let (fake_b, idt_b) = translated(&generators.ab, reals[0], reals[1], for_b);
    let (fake_a, idt_a) = translated(generators.back(), reals[1], reals[0], for_a);
    let [real_a, real_b] = reals.map(|real| Tensor::<A, 4>::from_inner(real.clone()));
    let rec_a = generators.back().forward_with(fake_b.clone(), for_rec_a[0]);
    let rec_b = generators.ab.forward_with(fake_a.clone(), for_rec_b[0]);
    let fakes = [&fake_a, &fake_b].map(|fake| fake.clone().inner());
    let identities = idt_a.zip(idt_b).map(|(a, b)| [a, b]);
    let pictures = Pictures { real_a, real_b, fake_a, fake_b, rec_a, rec_b, identities };
    let (terms, total) = generator_terms(config, adversary, judges, pictures);
    (Pass { terms, gradients: Gradients::take(generators, &mut total.backward()) }, fakes)
}

/// What the generators make of a batch, without a graph: for steps in which they do not change.
///
/// # Shapes
/// - reals and output: of A and B, `[N, 3, H, W]`
pub fn fakes<A>(generators: &Generators<A>, [real_a, real_b]: [&Tensor<A::InnerBackend, 4>; 2]) -> Both<A::InnerBackend>
where
    A: AutodiffBackend + Kernels,
    A::InnerBackend: Kernels,
{
    let frozen = generators.valid();
    [frozen.back().forward(real_b.clone()), frozen.ab.forward(real_a.clone())]
}

/// Dropout of the passes that give A's fakes and identities (the second where the two are not made together), B's, and
/// the reconstructions of A and B.
fn dropouts(config: &TrainConfig, number: u64) -> [[Option<Dropout>; 2]; 4] {
    let names =
        [["dropout_a", "dropout_idt_a"], ["dropout_b", "dropout_idt_b"], ["dropout_rec_a", ""], ["dropout_rec_b", ""]];
    let dropout = |name| config.dropout.then_some(Dropout { seed: config.seed, name, index: number });
    names.map(|names| names.map(dropout))
}

/// The terms' values, and their sum in the graph.
fn generator_terms<A>(
    config: &TrainConfig,
    adversary: Adversary,
    judges: &Discriminators<A>,
    pictures: Pictures<A>,
) -> (Tensor<A::InnerBackend, 1>, Tensor<A, 1>)
where
    A: AutodiffBackend + Kernels,
    A::InnerBackend: Kernels,
{
    let TrainConfig { lambda_a, lambda_b, lambda_identity, .. } = *config;
    let Pictures { real_a, real_b, fake_a, fake_b, rec_a, rec_b, identities } = pictures;
    let [identity_a, identity_b] = match identities {
        Some([idt_a, idt_b]) => [
            loss::l1(idt_a, real_a.clone(), lambda_a * lambda_identity),
            loss::l1(idt_b, real_b.clone(), lambda_b * lambda_identity),
        ],
        None => [Tensor::zeros([1], &real_a.device()), Tensor::zeros([1], &real_b.device())],
    };
    let terms = [
        adversary.generator(&judges.b, fake_b, "generator_ab"),
        adversary.generator(judges.of_a(), fake_a, "generator_ba"),
        loss::l1(rec_a, real_a, lambda_a),
        loss::l1(rec_b, real_b, lambda_b),
        identity_a,
        identity_b,
    ];
    let values = terms.iter().map(|term| term.clone().inner()).collect();
    let [ab, ba, cycle_a, cycle_b, identity_a, identity_b] = terms;
    (kernels::join(values), ab + ba + cycle_a + cycle_b + identity_a + identity_b)
}

/// The discriminators' pass.
///
/// # Shapes
/// - reals and fakes: of A and B, `[N, 3, H, W]`
pub fn discriminators<A>(
    judges: &Discriminators<A>,
    adversary: Adversary,
    reals: Both<A::InnerBackend>,
    fakes: Both<A::InnerBackend>,
) -> Pass<A::InnerBackend>
where
    A: AutodiffBackend + Kernels,
    A::InnerBackend: Kernels,
{
    let ([real_a, real_b], [fake_a, fake_b]) = (reals, fakes);
    let terms = [
        adversary.discriminator(judges.of_a(), real_a, fake_a, "discriminator_a"),
        adversary.discriminator(&judges.b, real_b, fake_b, "discriminator_b"),
    ];
    let values = terms.iter().map(|term| term.clone().inner()).collect();
    let [of_a, of_b] = terms;
    let mut found = (of_a + of_b).backward();
    Pass { terms: kernels::join(values), gradients: Gradients::take(judges, &mut found) }
}

/// The same as [`generators`] (to the last bit where the pictures of both domains have one size) with less memory and
/// one more forward pass: of each pass only the inputs of its [`segments`] are kept, and on the way back one segment at
/// a time is computed again.
///
/// The chain rule is written out here, segment by segment, because burn-autodiff 0.21 cannot do it inside of its own
/// backward pass: `GraphMutexClient::backward` (`runtime/graph.rs`) holds the graph's lock while the steps run, and a
/// second `backward` within one ends in `GraphCleaner::cleanup_orphaned_entries`, which waits for that very lock.
fn generators_again<A>(
    config: &TrainConfig,
    generators: &Generators<A>,
    adversary: Adversary,
    judges: &Discriminators<A>,
    [real_a, real_b]: [&Tensor<A::InnerBackend, 4>; 2],
    number: u64,
) -> (Pass<A::InnerBackend>, Both<A::InnerBackend>)
where
    A: AutodiffBackend + Kernels,
    A::InnerBackend: Kernels,
{
    let batch = real_a.dims()[0];
    let frozen = generators.valid();
    let [for_a, for_b, for_rec_a, for_rec_b] = dropouts(config, number);
    let traced = |generator: &Generator<A::InnerBackend>, real, own, dropout: [_; 2]| {
        let inputs = inputs(config, real, own).into_iter().zip(dropout);
        inputs.map(|(input, dropout)| Trace::forward(generator, input, dropout)).collect::<Vec<_>>()
    };
    let (of_b, of_a) = (traced(&frozen.ab, real_a, real_b, for_b), traced(frozen.back(), real_b, real_a, for_a));
    let fake = |traces: &[Trace<A::InnerBackend>]| traces[0].output.clone().narrow(0, 0, batch);
    let (fake_b, fake_a) = (fake(&of_b), fake(&of_a));
    let rec_a = Trace::forward(frozen.back(), fake_b.clone(), for_rec_a[0]);
    let rec_b = Trace::forward(&frozen.ab, fake_a.clone(), for_rec_b[0]);

    // The losses see the pictures as if they came from nowhere.
    let leaf = |trace: &Trace<A::InnerBackend>| Tensor::<A, 4>::from_inner(trace.output.clone()).require_grad();
    let [leaves_b, leaves_a] = [&of_b, &of_a].map(|traces| traces.iter().map(leaf).collect::<Vec<_>>());
    let (leaf_rec_a, leaf_rec_b) = (leaf(&rec_a), leaf(&rec_b));
    let (leaf_fake_a, idt_a) = outputs(&leaves_a, batch);
    let (leaf_fake_b, idt_b) = outputs(&leaves_b, batch);
    let pictures = Pictures {
        real_a: Tensor::from_inner(real_a.clone()),
        real_b: Tensor::from_inner(real_b.clone()),
        fake_a: leaf_fake_a,
        fake_b: leaf_fake_b,
        rec_a: leaf_rec_a.clone(),
        rec_b: leaf_rec_b.clone(),
        identities: idt_a.zip(idt_b).map(|(a, b)| [a, b]),
    };
    let (terms, total) = generator_terms(config, adversary, judges, pictures);
    let mut found = total.backward();
    let mut grad = |leaf: Tensor<A, 4>| {
        let zeros = || Tensor::zeros(leaf.dims(), &leaf.device());
        leaf.grad_remove(&mut found).unwrap_or_else(zeros)
    };

    let (mut of_ab, to_fake_a) = rec_b.backward(&generators.ab, grad(leaf_rec_b), true);
    let (mut of_ba, to_fake_b) = rec_a.backward(generators.back(), grad(leaf_rec_a), true);
    let parts = [
        (&generators.ab, &mut of_ab, of_b, leaves_b, to_fake_b),
        (generators.back(), &mut of_ba, of_a, leaves_a, to_fake_a),
    ];
    for (generator, sum, traces, leaves, mut to_fake) in parts {
        for (trace, leaf) in traces.into_iter().zip(leaves) {
            let (more, _) = trace.backward(generator, with_first(grad(leaf), to_fake.take()), false);
            sum.add(more);
        }
    }
    of_ab.0.extend(of_ba.0);
    (Pass { terms, gradients: of_ab }, [fake_a, fake_b])
}

/// The gradient of a generator's output, with what came back to the fakes in it, its first samples, added.
fn with_first<B: Backend>(made: Tensor<B, 4>, fakes: Option<Tensor<B, 4>>) -> Tensor<B, 4> {
    let Some(fakes) = fakes else { return made };
    let ([all, ..], [batch, ..]) = (made.dims(), fakes.dims());
    let sum = made.clone().narrow(0, 0, batch) + fakes;
    if all == batch { sum } else { Tensor::cat(vec![sum, made.narrow(0, batch, all - batch)], 0) }
}

/// The parts of a generator that are computed again one at a time: all before the residual blocks, each of them, and
/// all behind them; a U-Net is one part. Between them the maps have a quarter of the picture's sides.
fn segments<B: Kernels>(generator: &Generator<B>) -> Vec<Range<usize>> {
    let Generator::Resnet(resnet) = generator else { return std::iter::once(0..generator.stages()).collect() };
    let (first, blocks) = (resnet.encoder().len(), resnet.blocks().len());
    let last = first + blocks;
    let blocks = (first..last).map(|stage| stage..stage + 1);
    std::iter::once(0..first).chain(blocks).chain(std::iter::once(last..generator.stages())).collect()
}

/// A forward pass that can be gone through backwards without a graph.
struct Trace<B: Backend> {
    /// The input of every segment.
    inputs: Vec<Tensor<B, 4>>,
    output: Tensor<B, 4>,
    dropout: Option<Dropout>,
}

impl<B: Kernels> Trace<B> {
    fn forward(generator: &Generator<B>, input: Tensor<B, 4>, dropout: Option<Dropout>) -> Self {
        let (mut inputs, mut planes) = (Vec::new(), input.clone());
        for segment in segments(generator) {
            inputs.push(planes.clone());
            planes = segment.fold(planes, |planes, stage| generator.stage_with(stage, planes, dropout));
        }
        Self { inputs, output: generator.finish(planes, input), dropout }
    }

    /// The gradients of the generator's parameters and, where wanted, of its input, from that of its output.
    fn backward<A>(
        self,
        generator: &Generator<A>,
        output_grad: Tensor<B, 4>,
        wants_input: bool,
    ) -> (Gradients<B>, Option<Tensor<B, 4>>)
    where
        A: AutodiffBackend<InnerBackend = B> + Kernels,
    {
        let dropout = self.dropout;
        let mut grad = Some(output_grad);
        // What reaches the input past all layers, where the generator has a skip.
        let mut skipped = None;
        let picture = self.inputs.first().cloned();
        let mut all = Gradients(Vec::new());
        for (index, (segment, input)) in segments(generator).into_iter().zip(self.inputs).enumerate().rev() {
            let Some(output_grad) = grad.take() else { break };
            let is_last = segment.end == generator.stages();
            let input = Tensor::<A, 4>::from_inner(input).set_require_grad(index > 0 || wants_input);
            let mut output = segment.fold(input.clone(), |planes, stage| generator.stage_with(stage, planes, dropout));
            let picture = picture.clone().filter(|_| is_last);
            let picture = picture.map(|planes| Tensor::<A, 4>::from_inner(planes).set_require_grad(wants_input));
            if let Some(picture) = picture.clone() {
                output = generator.finish(output, picture);
            }
            // The gradient of this sum by the output is exactly `output_grad`.
            let mut found = (output * Tensor::from_inner(output_grad)).sum().backward();
            grad = input.grad_remove(&mut found);
            skipped = picture.and_then(|picture| picture.grad_remove(&mut found)).or(skipped);
            all.add(Gradients::take(generator, &mut found));
        }
        let grad = match (grad, skipped) {
            (Some(grad), Some(skipped)) if wants_input => Some(skipped + grad),
            (grad, _) => grad,
        };
        (all, grad)
    }
}
