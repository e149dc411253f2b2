//! Spectral normalisation (Miyato et al. 2018, <https://arxiv.org/abs/1802.05957>, algorithm 1), as
//! `torch.nn.utils.spectral_norm` does it.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

/// What PyTorch adds to a vector's norm before it divides by it.
const EPSILON: f32 = 1e-12;

/// Estimates of the first singular vectors of a convolution's weight, read as a matrix `[outputs, inputs · k · k]`.
/// They are values that come along with the parameters and are not learned.
#[derive(Module, Debug)]
pub struct Spectral<B: Backend> {
    /// The left one, `[outputs]`.
    pub u: Param<Tensor<B, 1>>,
    /// The right one, `[inputs · k · k]`.
    pub v: Param<Tensor<B, 1>>,
}

impl<B: Backend> Spectral<B> {
    /// Estimates from which the iteration finds the singular vectors of any weight.
    pub fn new([outputs, inputs, height, width]: [usize; 4], device: &B::Device) -> Self {
        let unit = |count: usize| {
            let value = 1.0 / (count as f64).sqrt();
            Param::from_tensor(Tensor::<B, 1>::ones([count], device) * value)
        };
        Self { u: unit(outputs), v: unit(inputs * height * width) }
    }

    /// The weight divided by its largest singular value, σ = uᵀ W v; gradients pass through σ but not into u and v.
    ///
    /// # Shapes
    /// - weight and output: `[outputs, inputs, k, k]`
    pub fn normalise(&self, weight: Tensor<B, 4>) -> Tensor<B, 4> {
        let (u, v) = (constant(&self.u), constant(&self.v));
        let sigma = (matrix(weight.clone()) * row(v) * column(u)).sum();
        weight / sigma.reshape([1, 1, 1, 1])
    }

    /// The estimates after one power iteration: v = Wᵀ u / ‖Wᵀ u‖, u = W v / ‖W v‖.
    ///
    /// # Shapes
    /// - weight: `[outputs, inputs, k, k]`, outside of the graph
    pub fn iterate(self, weight: Tensor<B, 4>) -> Self {
        let weight = matrix(weight);
        let [outputs, inputs] = weight.dims();
        // Sums of products, not Burn's matrix product, which alone would be a quarter of the page's worker.
        let v = unit((weight.clone() * column(constant(&self.u))).sum_dim(0).reshape([inputs]));
        let u = unit((weight * row(v.clone())).sum_dim(1).reshape([outputs]));
        let replace = |param: Param<Tensor<B, 1>>, value: Tensor<B, 1>| {
            param.map(|old| value.set_require_grad(old.is_require_grad()))
        };
        Self { u: replace(self.u, u), v: replace(self.v, v) }
    }
}

/// A value outside of the graph.
fn constant<B: Backend>(param: &Param<Tensor<B, 1>>) -> Tensor<B, 1> {
    param.val().set_require_grad(false)
}

fn matrix<B: Backend>(weight: Tensor<B, 4>) -> Tensor<B, 2> {
    let [outputs, inputs, height, width] = weight.dims();
    weight.reshape([outputs, inputs * height * width])
}

fn column<B: Backend>(vector: Tensor<B, 1>) -> Tensor<B, 2> {
    let count = vector.dims()[0];
    vector.reshape([count, 1])
}

fn row<B: Backend>(vector: Tensor<B, 1>) -> Tensor<B, 2> {
    let count = vector.dims()[0];
    vector.reshape([1, count])
}

fn unit<B: Backend>(vector: Tensor<B, 1>) -> Tensor<B, 1> {
    let norm = (vector.clone() * vector.clone()).sum().sqrt() + EPSILON;
    vector / norm
}

#[cfg(test)]
mod tests {
    use burn::backend::Flex;
    use burn::tensor::TensorData;

    use super::*;

    #[test]
    fn the_largest_singular_value_becomes_one() {
        let device = Default::default();
        // diag(3, 1, 2) with a rotation mixed in would do as well: the singular values are 3, 2, 1.
        let values: Vec<f32> = vec![0.0, 3.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, -2.0];
        let weight = Tensor::<Flex, 4>::from_data(TensorData::new(values, [3, 3, 1, 1]), &device);
        let mut spectral = Spectral::new([3, 3, 1, 1], &device);
        for _ in 0..40 {
            spectral = spectral.iterate(weight.clone());
        }
        let found: Vec<f32> = spectral.normalise(weight).into_data().iter().collect();
        assert!((found[1] - 1.0).abs() < 1e-5 && (found[8] + 2.0 / 3.0).abs() < 1e-5, "{found:?}");
    }
}
