//! What the discriminators see in one pass, and what they and the generators make of it.

use burn::tensor::Tensor;
use burn::tensor::backend::{AutodiffBackend, Backend};

use super::{Centre, between, diff_augment, discriminator, discriminator_of_both, generator, gradient_penalty, shares};
use crate::config::{GanMode, TrainConfig};
use crate::kernels::{self, Kernels};
use crate::model::PatchDiscriminator;

/// The adversarial side of one pass of a training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adversary {
    mode: GanMode,
    lambda_gp: f32,
    lambda_r1: f32,
    diff_augment: bool,
    seed: u64,
    index: u64,
}

impl Adversary {
    /// The adversary of pass number `index`: all its random decisions are functions of that and of the seed.
    pub fn new(config: &TrainConfig, index: u64) -> Self {
        let &TrainConfig { gan_mode: mode, lambda_gp, lambda_r1, diff_augment, seed, .. } = config;
        Self { mode, lambda_gp, lambda_r1, diff_augment, seed, index }
    }

    /// The pictures as a discriminator is to see them. `name` keeps the random decisions of two looks apart.
    fn seen<B: Backend>(&self, pictures: Tensor<B, 4>, name: &str) -> Tensor<B, 4> {
        if self.diff_augment { diff_augment::apply(pictures, self.seed, name, self.index) } else { pictures }
    }

    /// The adversarial loss of the generator called `name`, whose pictures `fake` this judge looks at.
    ///
    /// # Shapes
    /// - fake: `[N, C, H, W]`; output: `[1]`
    pub fn generator<B: Kernels>(&self, judge: &PatchDiscriminator<B>, fake: Tensor<B, 4>, name: &str) -> Tensor<B, 1> {
        generator(self.mode, judge.forward(self.seen(fake, &format!("diff_augment_{name}"))))
    }

    /// The loss of the discriminator called `name`: how wrong it is about real and generated pictures and, in the mode
    /// `wgangp`, the gradient penalty between them; in every mode the zero-centred penalty on real pictures, where it
    /// has a weight. The penalties are halved like the rest, so their weights relative to it are those of Gulrajani et
    /// al. 2017 and (their γ/2) of Mescheder et al. 2018.
    ///
    /// # Shapes
    /// - real, fake: `[N, C, H, W]`; output: `[1]`
    pub fn discriminator<A>(
        &self,
        judge: &PatchDiscriminator<A>,
        real: Tensor<A::InnerBackend, 4>,
        fake: Tensor<A::InnerBackend, 4>,
        name: &str,
    ) -> Tensor<A, 1>
    where
        A: AutodiffBackend + Kernels,
        A::InnerBackend: Kernels,
    {
        let batch = real.dims()[0];
        let real = self.seen(real, &format!("diff_augment_{name}_real"));
        let fake = self.seen(fake, &format!("diff_augment_{name}_fake"));
        let error = if real.dims() == fake.dims() {
            // Both in one pass: instance norm keeps the samples apart.
            let both = kernels::join(vec![real.clone(), fake.clone()]);
            discriminator_of_both(self.mode, judge.forward(Tensor::from_inner(both)))
        } else {
            let [of_real, of_fake] = [&real, &fake].map(|pictures| judge.forward(Tensor::from_inner(pictures.clone())));
            discriminator(self.mode, of_real, of_fake)
        };
        let error = match self.lambda_r1 {
            0.0 => error,
            lambda => error + gradient_penalty(judge, real.clone(), lambda, Centre::Zero) * 0.5,
        };
        if self.mode != GanMode::Wgangp || self.lambda_gp == 0.0 {
            return error;
        }
        let shares = shares(self.seed, &format!("gradient_penalty_{name}"), self.index, batch);
        let [real, fake] = common(real, fake);
        error + gradient_penalty(judge, between(real, fake, &shares), self.lambda_gp, Centre::One) * 0.5
    }
}

/// The upper left parts that two batches have in common: pictures that are not cropped differ in size.
fn common<B: Backend>(one: Tensor<B, 4>, other: Tensor<B, 4>) -> [Tensor<B, 4>; 2] {
    let ([_, _, height, width], [_, _, other_height, other_width]) = (one.dims(), other.dims());
    let (height, width) = (height.min(other_height), width.min(other_width));
    [one, other].map(|pictures| pictures.narrow(2, 0, height).narrow(3, 0, width))
}
