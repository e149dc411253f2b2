//! The gradient penalty (Gulrajani et al. 2017, <https://arxiv.org/abs/1704.00028>, equation 3; official
//! `cal_gradient_penalty` of type `mixed` with the constant 1): `λ · mean (‖∇D(x̂)‖ − 1)²` over pictures x̂ between a
//! real and a generated one; and the zero-centred one, R1 (Mescheder et al. 2018, <https://arxiv.org/abs/1801.04406>,
//! equation 9): `λ · mean ‖∇D(x)‖²` over real pictures x.
//!
//! Its gradient is a second derivative of the discriminator, which Burn cannot take. Pearlmutter's trick (1994, "Fast
//! exact multiplication by the Hessian") needs none. With g = ∇ₓD(x̂), the penalty's gradient in the parameters θ is
//! `Σ v · ∂g/∂θ` for `v = 2λ/N · (‖g‖ − 1)/‖g‖ · g` (for R1 `v = 2λ/N · g`) held constant. As `v · g` is the derivative of D along v, that is
//! the ordinary gradient of a directional derivative, which a pass of [`PatchDiscriminator::derivative_along`]
//! computes out of differentiable operations. It is exact, for a forward and a backward pass more.

use burn::module::Module;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Tensor, TensorData};
use rand::RngExt;

use crate::kernels::Kernels;
use crate::model::PatchDiscriminator;
use crate::random;

/// Added to every derivative before the norm, so that a norm of zero can be divided by (official, as it is).
const EPSILON: f64 = 1e-16;

/// How much of the real picture is in each of `count` pictures between: uniform in [0, 1).
pub fn shares(seed: u64, name: &str, index: u64, count: usize) -> Vec<f32> {
    let mut stream = random::stream(seed, name, index);
    (0..count).map(|_| stream.random()).collect()
}

/// `share · real + (1 − share) · fake`, with one share a sample.
///
/// # Shapes
/// - real, fake and output: `[N, C, H, W]`; shares: N
pub fn between<B: Backend>(real: Tensor<B, 4>, fake: Tensor<B, 4>, shares: &[f32]) -> Tensor<B, 4> {
    let of = |values: Vec<f32>| {
        let data = TensorData::new(values, [shares.len(), 1, 1, 1]);
        Tensor::<B, 4>::from_data(data, (&real.device(), real.dtype()))
    };
    let (of_real, of_fake) = (of(shares.to_vec()), of(shares.iter().map(|share| 1.0 - share).collect()));
    real * of_real + fake * of_fake
}

/// The norm that a discriminator's gradient should have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Centre {
    /// 1: of a Wasserstein critic.
    One,
    /// 0: of a discriminator that is done.
    Zero,
}

/// The penalty at the pictures `x`, as a term whose value is the penalty and whose gradient in the judge's parameters
/// is the penalty's.
///
/// # Shapes
/// - x: `[N, C, H, W]`; output: `[1]`
pub fn gradient_penalty<A>(
    judge: &PatchDiscriminator<A>,
    x: Tensor<A::InnerBackend, 4>,
    lambda: f32,
    centre: Centre,
) -> Tensor<A, 1>
where
    A: AutodiffBackend + Kernels,
    A::InnerBackend: Kernels,
{
    let lambda = f64::from(lambda);
    let batch = x.dims()[0] as f64;
    let input = Tensor::<A, 4>::from_inner(x.clone()).require_grad();
    // The sum over the whole map, as in the official code: samples do not mix, so each has its own gradient.
    let gradients = judge.clone().no_grad().forward(input.clone()).sum().backward();
    let slope = input.grad(&gradients).unwrap_or_else(|| x.zeros_like());
    let (penalty, direction) = match centre {
        Centre::One => {
            let slope = slope + EPSILON;
            let norm = (slope.clone() * slope.clone()).sum_dim(1).sum_dim(2).sum_dim(3).sqrt();
            let excess = norm.clone() - 1.0;
            let penalty = (excess.clone() * excess.clone()).mean() * lambda;
            (penalty, slope * (excess / norm * (2.0 * lambda / batch)))
        }
        Centre::Zero => {
            let penalty = (slope.clone() * slope.clone()).sum() * (lambda / batch);
            (penalty, slope * (2.0 * lambda / batch))
        }
    };
    let along = judge.derivative_along(Tensor::from_inner(x), Tensor::from_inner(direction)).sum();
    let value = along.clone().inner();
    along - Tensor::from_inner(value) + Tensor::from_inner(penalty)
}
