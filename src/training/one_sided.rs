//! A step of CUT and FastCUT (Park et al. 2020, <https://arxiv.org/abs/2007.15651>; `models/cut_model.py` of
//! <https://github.com/taesungp/contrastive-unpaired-translation>): the discriminator first, then the generator and its
//! projection heads, of which each patch of a translation is to be found again among those of the picture.

use burn::module::AutodiffModule;
use burn::tensor::Tensor;
use burn::tensor::backend::{AutodiffBackend, Backend};
use rand::RngExt;

use super::passes::Pass;
use super::{Generators, Gradients};
use crate::config::TrainConfig;
use crate::kernels::{self, Kernels};
use crate::loss::{Adversary, patch_nce};
use crate::model::{Dropout, Feature, Generator, Heads, PatchDiscriminator, Spot};
use crate::random;

/// The streams of the places of the two contrastive losses.
const STREAMS: [&str; 2] = ["patches_nce", "patches_nce_y"];

/// What the features of one map are at its places: a tensor a feature.
type Vectors<B> = Vec<Tensor<B, 4>>;

/// The translations of a batch, and what they are to be compared with.
pub struct Translated<B: Backend> {
    /// Of A and, where there is an identity loss, of B: one tensor of both where the pictures have one size.
    fakes: Vec<Tensor<B, 4>>,
    /// Features of the pictures in the same order, where they were wanted and are those of these translations.
    features: Option<Vec<Vec<Feature<B>>>>,
    /// Pictures of each domain.
    batch: usize,
    is_mirrored: bool,
}

impl<B: Kernels> Translated<B> {
    /// The translations of A alone.
    pub fn fakes(&self) -> Tensor<B, 4> {
        self.fakes[0].clone().narrow(0, 0, self.batch)
    }
}

fn dropout(config: &TrainConfig, name: &'static str, index: u64) -> Option<Dropout> {
    config.dropout.then_some(Dropout { seed: config.seed, name, index })
}

/// Pictures of A and, where there is an identity loss, of B.
fn inputs<B: Kernels>(config: &TrainConfig, [real_a, real_b]: [Tensor<B, 4>; 2]) -> Vec<Tensor<B, 4>> {
    match (config.nce_idt, real_a.dims() == real_b.dims()) {
        (false, _) => vec![real_a],
        (true, true) => vec![kernels::join(vec![real_a, real_b])],
        (true, false) => vec![real_a, real_b],
    }
}

/// A pass through a residual generator, which is all that a one-sided training has.
fn pass<B: Kernels>(
    generator: &Generator<B>,
    input: Tensor<B, 4>,
    spots: &[Spot],
    to_end: bool,
    dropout: Option<Dropout>,
) -> (Vec<Feature<B>>, Tensor<B, 4>) {
    let Generator::Resnet(generator) = generator else { unreachable!("TrainConfig::check asks for a residual one") };
    let (features, output) = generator.with_features(input.clone(), spots, to_end, dropout);
    (features, output.unwrap_or(input))
}

/// Translates a batch.
///
/// # Shapes
/// - reals: of A and B, `[N, 3, H, W]`; `number` is the first one's, which tells random decisions apart
pub fn translate<B: Kernels>(
    config: &TrainConfig,
    generator: &Generator<B>,
    reals: [Tensor<B, 4>; 2],
    number: u64,
) -> Translated<B> {
    let batch = reals[0].dims()[0];
    let chance: f64 = random::stream(config.seed, "flip_equivariance", number).random();
    let is_mirrored = config.flip_equivariance && chance < 0.5;
    // Features of a mirrored picture are not those of the picture, and dropout draws anew for them.
    let spots = if is_mirrored || config.dropout { Vec::new() } else { config.spots() };
    let made = inputs(config, reals).into_iter().zip(["dropout_b", "dropout_idt_b"]);
    let made = made.map(|(input, name)| {
        let input = if is_mirrored { input.flip([3]) } else { input };
        pass(generator, input, &spots, true, dropout(config, name, number))
    });
    let (features, fakes): (Vec<_>, _) = made.unzip();
    Translated { fakes, features: (!spots.is_empty()).then_some(features), batch, is_mirrored }
}

/// The vectors that the contrastive losses compare, of each loss one a feature, of length 1.
fn embedded<B: Kernels>(
    config: &TrainConfig,
    heads: Option<&Heads<B>>,
    features: Vec<Vec<Feature<B>>>,
    batch: usize,
    number: u64,
    is_mirrored: bool,
) -> Vec<Vectors<B>> {
    let losses = 1 + usize::from(config.nce_idt);
    let of_each = losses / features.len();
    let mut found = vec![Vec::new(); losses];
    for (part, features) in features.into_iter().enumerate() {
        for (layer, feature) in features.into_iter().enumerate() {
            let all = patch_nce::area(&feature);
            let places = |loss: usize| {
                let name = [STREAMS[loss], "_", &layer.to_string()].concat();
                patch_nce::places(config.seed, &name, number, config.num_patches, all)
            };
            let losses = part * of_each..(part + 1) * of_each;
            let places: Vec<Vec<u32>> = losses.clone().map(places).collect();
            let count = places[0].len();
            // Those of both losses at once: the way back writes a map of zeros but once.
            let vectors = patch_nce::patches(feature, &places.concat(), is_mirrored);
            for (own, loss) in losses.enumerate() {
                let vectors = vectors.clone().narrow(0, own * batch, batch).narrow(2, own * count, count);
                let vectors = match heads {
                    Some(heads) => heads.forward(layer, vectors),
                    None => vectors,
                };
                found[loss].push(patch_nce::normalised(vectors));
            }
        }
    }
    found
}

/// The discriminator's pass.
///
/// # Shapes
/// - real, fake: of B, `[N, 3, H, W]`
pub fn discriminator<A>(
    judge: &PatchDiscriminator<A>,
    adversary: Adversary,
    real: Tensor<A::InnerBackend, 4>,
    fake: Tensor<A::InnerBackend, 4>,
) -> (Tensor<A::InnerBackend, 1>, A::Gradients)
where
    A: AutodiffBackend + Kernels,
    A::InnerBackend: Kernels,
{
    let term = adversary.discriminator(judge, real, fake, "discriminator_b");
    (term.clone().inner(), term.backward())
}

/// The generator's pass: the adversarial term, with the discriminator as it has become, and the contrastive ones.
///
/// # Shapes
/// - reals: of A and B, `[N, 3, H, W]`, those of `translated`, of which `number` is the first one's
pub fn generator<A>(
    config: &TrainConfig,
    generators: &Generators<A>,
    adversary: Adversary,
    judge: &PatchDiscriminator<A>,
    translated: Translated<A>,
    reals: [Tensor<A::InnerBackend, 4>; 2],
    number: u64,
) -> Pass<A::InnerBackend>
where
    A: AutodiffBackend + Kernels,
    A::InnerBackend: Kernels,
{
    let device = reals[0].device();
    let mut terms: Vec<Tensor<A, 1>> = Vec::new();
    terms.push(match config.lambda_gan {
        0.0 => Tensor::zeros([1], &device),
        lambda => adversary.generator(judge, translated.fakes(), "generator_ab") * lambda,
    });
    let losses = 1 + usize::from(config.nce_idt);
    if config.lambda_nce == 0.0 {
        terms.resize(1 + losses, Tensor::zeros([1], &device));
    } else {
        let Translated { fakes, features, batch, is_mirrored } = translated;
        let spots = config.spots();
        let keys = {
            let inner = |Feature { planes, bias, margin }: Feature<A>| Feature {
                planes: planes.inner(),
                bias: bias.map(Tensor::inner),
                margin,
            };
            let features = match features {
                Some(features) => features.into_iter().map(|part| part.into_iter().map(inner).collect()).collect(),
                None => {
                    let frozen = generators.ab.valid();
                    let inputs = inputs(config, reals).into_iter().zip(["dropout_key", "dropout_key_y"]);
                    let of = |(input, name)| pass(&frozen, input, &spots, false, dropout(config, name, number)).0;
                    inputs.map(of).collect()
                }
            };
            let heads = generators.heads.as_ref().map(AutodiffModule::valid);
            embedded(config, heads.as_ref(), features, batch, number, false)
        };
        let fakes = fakes.into_iter().zip(["dropout_query", "dropout_query_y"]);
        let of = |(fake, name)| pass(&generators.ab, fake, &spots, false, dropout(config, name, number)).0;
        let features: Vec<_> = fakes.map(of).collect();
        let queries = embedded(config, generators.heads.as_ref(), features, batch, number, is_mirrored);
        let is_of_batch = config.nce_includes_all_negatives_from_minibatch;
        for (queries, keys) in queries.into_iter().zip(keys) {
            let weight = config.lambda_nce / queries.len().max(1) as f32;
            let pairs = queries.into_iter().zip(keys);
            let losses = pairs.map(|(query, key)| {
                patch_nce::patch_nce(query, Tensor::from_inner(key), config.nce_t, is_of_batch) * weight
            });
            terms.push(kernels::join(losses.collect()).sum());
        }
    }
    let values = terms.iter().map(|term| term.clone().inner()).collect();
    let total = match &terms[..] {
        [gan, nce, nce_y] => gan.clone() + (nce.clone() + nce_y.clone()) * 0.5,
        [gan, nce] => gan.clone() + nce.clone(),
        _ => unreachable!("one or two contrastive losses"),
    };
    Pass { terms: kernels::join(values), gradients: Gradients::take(generators, &mut total.backward()) }
}
