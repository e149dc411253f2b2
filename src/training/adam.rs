//! Adam over all parameters of a module, with state that can be written down.

use burn::module::{Module, ModuleMapper, Param, list_param_ids};
use burn::tensor::Tensor;
use burn::tensor::backend::AutodiffBackend;

use crate::kernels::{self, AdamStep, Kernels};

/// Official: `torch.optim.Adam(lr, betas=(0.5, 0.999))`, epsilon PyTorch's 1e-8 (Burn's own is 1e-5).
const BETAS: [f64; 2] = [0.5, 0.999];
const EPSILON: f64 = 1e-8;

/// First and second moment of one parameter, each `[count]`.
pub type Moments<B> = [Tensor<B, 1>; 2];

/// The optimiser's state: moments in the order in which the module's parameters are visited.
/// `None` for a parameter that never had a gradient.
#[derive(Debug, Clone)]
pub struct Adam<B: Kernels> {
    /// Steps made.
    pub time: u64,
    /// Moments of every parameter, in order; shorter before the first step.
    pub moments: Vec<Option<Moments<B>>>,
}

impl<B: Kernels> Default for Adam<B> {
    fn default() -> Self {
        Self { time: 0, moments: Vec::new() }
    }
}

impl<B: Kernels> Adam<B> {
    /// The module after one step with these gradients; a parameter without a gradient stays.
    pub fn step<A, M>(&mut self, module: M, gradients: &mut A::Gradients, rate: f64) -> M
    where
        A: AutodiffBackend<InnerBackend = B>,
        M: Module<A>,
    {
        struct Stepper<'a, A: AutodiffBackend>
        where
            A::InnerBackend: Kernels,
        {
            gradients: &'a mut A::Gradients,
            moments: std::slice::IterMut<'a, Option<Moments<A::InnerBackend>>>,
            step: AdamStep,
        }
        impl<A: AutodiffBackend> ModuleMapper<A> for Stepper<'_, A>
        where
            A::InnerBackend: Kernels,
        {
            fn map_float<const D: usize>(&mut self, param: Param<Tensor<A, D>>) -> Param<Tensor<A, D>> {
                let Some(slot) = self.moments.next() else { return param };
                let (id, tensor, mapper) = param.consume();
                let Some(grad) = tensor.grad_remove(self.gradients) else {
                    return Param::from_mapped_value(id, tensor, mapper);
                };
                let shape = grad.dims();
                let flat = |tensor: Tensor<A::InnerBackend, D>| {
                    let count = tensor.shape().num_elements();
                    tensor.reshape([count])
                };
                let grad = flat(grad);
                let moments = slot.take().unwrap_or_else(|| [grad.zeros_like(), grad.zeros_like()]);
                let (value, moments) = kernels::adam(flat(tensor.inner()), grad, moments, self.step);
                *slot = Some(moments);
                Param::from_mapped_value(id, Tensor::from_inner(value.reshape(shape)).require_grad(), mapper)
            }
        }
        self.time += 1;
        let count = list_param_ids(&module).len();
        self.moments.resize(count, None);
        let step = AdamStep { rate, betas: BETAS, epsilon: EPSILON, time: self.time };
        module.map(&mut Stepper::<A> { gradients, moments: self.moments.iter_mut(), step })
    }
}
