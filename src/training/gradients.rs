//! The gradients of all parameters of an optimiser: added up over passes, averaged over workers, clipped.

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;
use burn::tensor::backend::{AutodiffBackend, Backend};

/// PyTorch's `clip_grad_norm_` divides by the norm and this.
const CLIP_EPSILON: f32 = 1e-6;

/// One gradient `[count]` a parameter, in the order in which a module's parameters are visited; `None` for a parameter
/// that had none (a bias in front of an instance norm).
#[derive(Debug, Clone)]
pub struct Gradients<B: Backend>(pub Vec<Option<Tensor<B, 1>>>);

impl<B: Backend> Gradients<B> {
    /// Takes the gradients of a module's parameters out of those of a backward pass.
    pub fn take<A, M>(module: &M, found: &mut A::Gradients) -> Self
    where
        A: AutodiffBackend<InnerBackend = B>,
        M: Module<A>,
    {
        struct Taker<'a, A: AutodiffBackend> {
            found: &'a mut A::Gradients,
            taken: Vec<Option<Tensor<A::InnerBackend, 1>>>,
        }
        impl<A: AutodiffBackend> ModuleVisitor<A> for Taker<'_, A> {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<A, D>>) {
                let grad = param.val().grad_remove(self.found);
                self.taken.push(grad.map(|grad| {
                    let count = grad.shape().num_elements();
                    grad.reshape([count])
                }));
            }
        }
        let mut taker = Taker::<A> { found, taken: Vec::new() };
        module.visit(&mut taker);
        Self(taker.taken)
    }

    /// Adds the gradients of another pass over the same parameters; there may be none yet.
    pub fn add(&mut self, other: Self) {
        self.0.resize(self.0.len().max(other.0.len()), None);
        for (sum, more) in self.0.iter_mut().zip(other.0) {
            *sum = match (sum.take(), more) {
                (Some(sum), Some(more)) => Some(sum + more),
                (one, None) | (None, one) => one,
            };
        }
    }

    /// Every gradient times `factor`.
    pub fn scale(self, factor: f64) -> Self {
        Self(self.0.into_iter().map(|grad| grad.map(|grad| grad * factor)).collect())
    }

    /// The norm of all gradients together, `[1]` on the device; `None` where there is no gradient.
    pub fn norm(&self) -> Option<Tensor<B, 1>> {
        let squares = self.0.iter().flatten().map(|grad| (grad.clone() * grad.clone()).sum());
        let squares: Vec<_> = squares.collect();
        (!squares.is_empty()).then(|| Tensor::cat(squares, 0).sum().sqrt())
    }

    /// Scaled down so that their norm is at most `limit`, as `torch.nn.utils.clip_grad_norm_` does it; 0 is no limit.
    /// Nothing is read back.
    pub fn clip(self, limit: f32) -> Self {
        let Some(norm) = (limit > 0.0).then(|| self.norm()).flatten() else { return self };
        // Not 0 · ∞ for a limit over a norm of zero, and no rise for a small one.
        let factor = ((norm + CLIP_EPSILON).recip() * limit).clamp_max(1.0);
        Self(self.0.into_iter().map(|grad| grad.map(|grad| grad * factor.clone())).collect())
    }

    /// All gradients in one tensor, and where each lies in it, for [`Gradients::unpack`].
    pub fn pack(self) -> Option<(Tensor<B, 1>, Vec<Option<usize>>)> {
        let counts: Vec<_> = self.0.iter().map(|grad| grad.as_ref().map(|grad| grad.shape().num_elements())).collect();
        let all: Vec<_> = self.0.into_iter().flatten().collect();
        (!all.is_empty()).then(|| (Tensor::cat(all, 0), counts))
    }

    /// The gradients that [`Gradients::pack`] put into one tensor.
    pub fn unpack(packed: &Tensor<B, 1>, counts: Vec<Option<usize>>) -> Self {
        let mut start = 0;
        let mut part = |count: usize| {
            start += count;
            packed.clone().narrow(0, start - count, count)
        };
        Self(counts.into_iter().map(|count| count.map(&mut part)).collect())
    }
}

#[cfg(test)]
mod tests {
    use burn::backend::Flex;
    use burn::tensor::TensorData;
    use serde_json::Value;

    use super::*;

    type B = Flex;

    fn numbers(value: &Value) -> Vec<f32> {
        serde_json::from_value(value.clone()).expect("a list of numbers")
    }

    fn tensor(values: Vec<f32>) -> Tensor<B, 1> {
        let count = values.len();
        Tensor::from_data(TensorData::new(values, [count]), &Default::default())
    }

    #[test]
    fn clipping_is_pytorchs() {
        let golden = include_str!("../../tests/fixtures/golden/optimisation.json");
        let golden: Value = serde_json::from_str(golden).expect("committed");
        let all = golden["clipping"]["gradients"].as_array().expect("a list");
        // A parameter without a gradient changes nothing.
        let gradients = || Gradients(all.iter().map(|one| Some(tensor(numbers(one)))).chain([None]).collect());
        for case in golden["clipping"]["limits"].as_array().expect("a list") {
            let (limit, norm) = (case["limit"].as_f64().expect("a number"), case["norm"].as_f64().expect("a number"));
            let found = gradients().norm().expect("three gradients").into_scalar();
            assert!((f64::from(found) - norm).abs() < 1e-5, "{found}, not {norm}");
            let clipped = gradients().clip(limit as f32).0;
            assert!(clipped[3].is_none());
            for (found, expected) in clipped.into_iter().flatten().zip(case["clipped"].as_array().expect("a list")) {
                let found: Vec<f32> = found.into_data().iter().collect();
                let worst = found.iter().zip(numbers(expected)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(worst < 1e-6, "limit {limit}: off by {worst}");
            }
        }
        let free: Vec<f32> = gradients().clip(0.0).0.remove(0).expect("a gradient").into_data().iter().collect();
        assert_eq!(free, numbers(&all[0]), "0 is no limit");
    }

    #[test]
    fn what_is_packed_comes_out_again() {
        let gradients = Gradients(vec![Some(tensor(vec![1.0, 2.0])), None, Some(tensor(vec![3.0]))]);
        let (packed, counts) = gradients.pack().expect("something to pack");
        let found = Gradients::unpack(&(packed * 2.0), counts).0;
        let host = |index: usize| found[index].clone().map(|grad| grad.into_data().iter::<f32>().collect::<Vec<_>>());
        assert_eq!([host(0), host(1), host(2)], [Some(vec![2.0, 4.0]), None, Some(vec![6.0])]);
        assert!(Gradients::<B>(vec![None]).pack().is_none());
    }
}
