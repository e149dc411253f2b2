//! The loss terms of CycleGAN (Zhu et al. 2017, equations 1–3 and section 5.2), with the official choice of
//! adversarial losses (`GANLoss` and `cal_gradient_penalty` in
//! <https://github.com/junyanz/pytorch-CycleGAN-and-pix2pix/blob/master/models/networks.py>). All are means over
//! every element, as `torch.nn.MSELoss`, `BCEWithLogitsLoss` and `L1Loss` take them.

mod adversary;
#[cfg(test)]
mod derivatives;
pub mod diff_augment;
#[cfg(not(target_family = "wasm"))]
pub mod patch_nce;
mod penalty;

use burn::tensor::Tensor;
use burn::tensor::activation::{log_sigmoid, relu};

use crate::config::GanMode;
use crate::kernels::{self, Goal, Kernels};

pub use adversary::Adversary;
pub use penalty::{Centre, between, gradient_penalty, shares};

/// What a generator is to make small: how far a discriminator is from taking its pictures for real ones.
///
/// # Shapes
/// - of_fake: the discriminator's map of generated pictures, `[N, 1, H', W']`; output: `[1]`
pub fn generator<B: Kernels>(mode: GanMode, of_fake: Tensor<B, 4>) -> Tensor<B, 1> {
    match mode {
        GanMode::Lsgan => kernels::distance(of_fake, Goal::Numbers([1.0; 2]), 1.0),
        GanMode::Vanilla => log_sigmoid(of_fake).mean().neg(),
        GanMode::Wgangp | GanMode::Hinge => of_fake.mean().neg(),
    }
}

/// What a discriminator is to make small: half the sum of its errors on real and on generated pictures (official
/// `backward_D_basic`). The gradient penalty of `wgangp` is [`gradient_penalty`].
///
/// - `lsgan`: squared distance from 1 and from 0 (Mao et al. 2017, <https://arxiv.org/abs/1611.04076>)
/// - `vanilla`: cross-entropy on logits (Goodfellow et al. 2014, <https://arxiv.org/abs/1406.2661>; the generator's
///   is the non-saturating one of section 3)
/// - `wgangp`: −D(real) and D(fake) (Gulrajani et al. 2017, <https://arxiv.org/abs/1704.00028>, equation 3)
/// - `hinge`: what is missing to D(real) ≥ 1 and D(fake) ≤ −1 (Lim and Ye 2017, <https://arxiv.org/abs/1705.02894>)
///
/// # Shapes
/// - of_real, of_fake: maps, `[N, 1, H', W']`; output: `[1]`
pub fn discriminator<B: Kernels>(mode: GanMode, of_real: Tensor<B, 4>, of_fake: Tensor<B, 4>) -> Tensor<B, 1> {
    let [of_real, of_fake] = match mode {
        GanMode::Lsgan => {
            let half = |map, number: f32| kernels::distance(map, Goal::Numbers([number; 2]), 0.5);
            return half(of_real, 1.0) + half(of_fake, 0.0);
        }
        // log σ is computed without overflow for logits of any size.
        GanMode::Vanilla => [log_sigmoid(of_real), log_sigmoid(of_fake.neg())].map(|log| log.mean().neg()),
        GanMode::Wgangp => [of_real.mean().neg(), of_fake.mean()],
        GanMode::Hinge => [of_real.neg(), of_fake].map(|wrong| relu(wrong + 1.0).mean()),
    };
    (of_real + of_fake) * 0.5
}

/// [`discriminator`] of one map for both.
///
/// # Shapes
/// - of_both: maps of as many real as generated pictures, real ones first, `[2N, 1, H', W']`; output: `[1]`
pub fn discriminator_of_both<B: Kernels>(mode: GanMode, of_both: Tensor<B, 4>) -> Tensor<B, 1> {
    if mode == GanMode::Lsgan {
        return kernels::distance(of_both, Goal::Numbers([1.0, 0.0]), 1.0);
    }
    let batch = of_both.dims()[0] / 2;
    let [of_real, of_fake] = [0, batch].map(|start| of_both.clone().narrow(0, start, batch));
    discriminator(mode, of_real, of_fake)
}

/// `weight` times the mean absolute difference, of cycle-consistency and identity losses. The target is a constant.
///
/// # Shapes
/// - output and target: `[N, C, H, W]`; the loss: `[1]`
pub fn l1<B: Kernels>(output: Tensor<B, 4>, target: Tensor<B, 4>, weight: f32) -> Tensor<B, 1> {
    kernels::distance(output, Goal::Planes(target), weight)
}
