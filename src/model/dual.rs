//! Forward-mode differentiation: planes together with their derivative along one direction of the input.
//!
//! Everything here is made of differentiable operations, so what comes out can be differentiated once more in the
//! parameters; see [`crate::loss::gradient_penalty`].

use burn::tensor::Tensor;
use burn::tensor::activation::leaky_relu;
use burn::tensor::backend::Backend;

use crate::kernels::portable::{normalised, plane_mean};

/// Planes and how they change as the input moves.
#[derive(Debug, Clone)]
pub struct Dual<B: Backend> {
    /// The planes, `[N, C, H, W]`.
    pub value: Tensor<B, 4>,
    /// Their derivative along the direction, of the same shape.
    pub tangent: Tensor<B, 4>,
}

impl<B: Backend> Dual<B> {
    /// Leaky ReLU: the tangent is scaled where the value is.
    pub fn leaky_relu(self, slope: f32) -> Self {
        if slope == 1.0 {
            return self;
        }
        let weakened = self.value.clone().lower_equal_elem(0.0);
        let weaker = self.tangent.clone() * slope;
        Self { value: leaky_relu(self.value, f64::from(slope)), tangent: self.tangent.mask_where(weakened, weaker) }
    }

    /// Instance norm: with `u` the normalised planes and `t` the tangent, `(t − mean t − u · mean(u·t)) / σ`.
    pub fn instance_norm(self) -> Self {
        let (unit, scale) = normalised(self.value);
        let mean = plane_mean(self.tangent.clone());
        let along = plane_mean(self.tangent.clone() * unit.clone());
        let tangent = (self.tangent - mean - unit.clone() * along) * scale;
        Self { value: unit, tangent }
    }

    /// A scale and a shift for every channel, both `[1, C, 1, 1]`: the shift moves no tangent.
    pub fn affine(self, scale: Tensor<B, 4>, shift: Tensor<B, 4>) -> Self {
        Self { value: self.value * scale.clone() + shift, tangent: self.tangent * scale }
    }
}
