//! Dropout (Srivastava et al. 2014) whose masks are functions of the step, so that a resumed training drops the same
//! values as an unbroken one, on every backend.

use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use rand::Rng;

use crate::random;

/// The dropout of one forward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dropout {
    /// Seed of the training.
    pub seed: u64,
    /// Name of the pass: no two of a step share one.
    pub name: &'static str,
    /// Number of the step or the batch.
    pub index: u64,
}

impl Dropout {
    /// Half of the values zero and the others doubled (official `nn.Dropout(0.5)`); `layer` tells the masks of one
    /// pass apart.
    ///
    /// # Shapes
    /// - planes and output: `[N, C, H, W]`
    pub fn apply<B: Backend>(self, planes: Tensor<B, 4>, layer: usize) -> Tensor<B, 4> {
        let shape = planes.dims();
        let mut stream = random::stream(self.seed, &format!("{}.{layer}", self.name), self.index);
        let mut mask = Vec::with_capacity(shape.iter().product());
        while mask.len() < mask.capacity() {
            let bits = stream.next_u64();
            let left = mask.capacity() - mask.len();
            mask.extend((0..left.min(64)).map(|bit| ((bits >> bit) & 1) as f32 * 2.0));
        }
        let mask = Tensor::from_data(TensorData::new(mask, shape), &planes.device());
        planes * mask
    }
}

#[cfg(test)]
mod tests {
    use burn::backend::Flex;

    use super::*;

    #[test]
    fn half_of_the_values_are_dropped_and_the_same_ones_again() {
        let device = Default::default();
        let dropped = |index, layer| -> Vec<f32> {
            let dropout = Dropout { seed: 1, name: "fake_b", index };
            dropout.apply(Tensor::<Flex, 4>::ones([2, 3, 10, 11], &device), layer).into_data().iter().collect()
        };
        let first = dropped(5, 0);
        assert!(first.iter().all(|value| [0.0, 2.0].contains(value)));
        let kept = first.iter().filter(|value| **value > 0.0).count();
        assert!((280..380).contains(&kept), "{kept} of 660");
        assert_eq!(first, dropped(5, 0));
        assert_ne!(first, dropped(6, 0));
        assert_ne!(first, dropped(5, 1));
    }
}
