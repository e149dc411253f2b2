//! The loss terms of CycleGAN (Zhu et al. 2017, equations 1–3 and section 5.2). All are means over
//! every element, as `torch.nn.MSELoss` and `L1Loss` take them.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

/// Least-squares adversarial loss (Mao et al. 2017, <https://arxiv.org/abs/1611.04076>): the mean
/// squared distance of a discriminator's map from `target`, 1 for real and 0 for fake.
///
/// # Shapes
/// - map: `[N, 1, H', W']`; output: `[1]`
pub fn adversarial<B: Backend>(map: Tensor<B, 4>, target: f32) -> Tensor<B, 1> {
    let distance = map - target;
    (distance.clone() * distance).mean()
}

/// Mean absolute difference, of cycle-consistency and identity losses.
///
/// # Shapes
/// - both `[N, C, H, W]`; output: `[1]`
pub fn l1<B: Backend>(output: Tensor<B, 4>, target: Tensor<B, 4>) -> Tensor<B, 1> {
    (output - target).abs().mean()
}
