//! Adam over all parameters of a module, with state that can be written down.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::Tensor;
use burn::tensor::backend::AutodiffBackend;

use super::Gradients;
use crate::kernels::{self, AdamStep, Kernels, Learned};
use crate::model::parameters;

/// PyTorch's (Burn's own is 1e-5).
const EPSILON: f64 = 1e-8;

/// First and second moment of one parameter, each `[count]`.
pub type Moments<B> = [Tensor<B, 1>; 2];

/// What a step of [`Adam`] depends on besides its state.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// The learning rate.
    pub rate: f64,
    /// Decays of the first and of the second moment. Official: `torch.optim.Adam(lr, betas=(opt.beta1, 0.999))`.
    pub betas: [f64; 2],
}

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
    pub fn step<A, M>(&mut self, module: M, gradients: Gradients<B>, pace: Pace) -> M
    where
        A: AutodiffBackend<InnerBackend = B>,
        M: Module<A>,
    {
        struct Setter<B: Kernels>(std::vec::IntoIter<Option<Tensor<B, 1>>>);
        impl<A> ModuleMapper<A> for Setter<A::InnerBackend>
        where
            A: AutodiffBackend,
            A::InnerBackend: Kernels,
        {
            fn map_float<const D: usize>(&mut self, param: Param<Tensor<A, D>>) -> Param<Tensor<A, D>> {
                let Some(value) = self.0.next().flatten() else { return param };
                let (id, tensor, mapper) = param.consume();
                let value = value.reshape(tensor.shape());
                Param::from_mapped_value(id, Tensor::from_inner(value).require_grad(), mapper)
            }
        }
        self.time += 1;
        self.moments.resize(gradients.0.len(), None);
        let step = AdamStep { rate: pace.rate, betas: pace.betas, epsilon: EPSILON, time: self.time };
        let parameters = parameters::collect(&module).into_iter().map(Tensor::inner);
        let (mut places, mut all) = (Vec::new(), Vec::new());
        for (place, (parameter, grad)) in parameters.zip(gradients.0).enumerate() {
            let Some(grad) = grad else { continue };
            let moments = self.moments[place].take().unwrap_or_else(|| [grad.zeros_like(), grad.zeros_like()]);
            places.push(place);
            all.push((Learned { parameter, moments }, grad));
        }
        let mut values = vec![None; self.moments.len()];
        for (place, Learned { parameter, moments }) in places.into_iter().zip(kernels::adam(all, step)) {
            values[place] = Some(parameter);
            self.moments[place] = Some(moments);
        }
        module.map(&mut Setter(values.into_iter()))
    }
}

#[cfg(test)]
mod tests {
    use burn::backend::{Autodiff, Flex};
    use burn::tensor::TensorData;
    use serde_json::Value;

    use super::super::ema;
    use super::*;

    type A = Autodiff<Flex>;

    #[derive(Module, Debug)]
    struct One<B: burn::tensor::backend::Backend> {
        value: Param<Tensor<B, 1>>,
    }

    fn numbers(value: &Value) -> Vec<f32> {
        serde_json::from_value(value.clone()).expect("a list of numbers")
    }

    fn tensor(values: Vec<f32>) -> Tensor<Flex, 1> {
        let count = values.len();
        Tensor::from_data(TensorData::new(values, [count]), &Default::default())
    }

    #[track_caller]
    fn close(found: Tensor<Flex, 1>, expected: &Value) {
        let found: Vec<f32> = found.into_data().iter().collect();
        let worst = found.iter().zip(numbers(expected)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-6, "{found:?}, not {expected}");
    }

    #[test]
    fn another_beta1_and_a_moving_average_are_pytorchs() {
        let golden = include_str!("../../tests/fixtures/golden/optimisation.json");
        let golden: Value = serde_json::from_str(golden).expect("committed");
        let golden = &golden["adam"];
        let number = |key: &str| golden[key].as_f64().expect("a number");
        let start = tensor(numbers(&golden["start"]));
        let mut module = One { value: Param::from_tensor(Tensor::<A, 1>::from_inner(start.clone())) };
        let mut average = One::<Flex> { value: Param::from_tensor(start) };
        let mut adam = Adam::<Flex>::default();
        for step in 0..3 {
            let gradients = Gradients(vec![Some(tensor(numbers(&golden["gradients"][step])))]);
            let pace = Pace { rate: number("rate"), betas: [number("beta1"), 0.999] };
            module = adam.step::<A, _>(module, gradients, pace);
            let current: Vec<_> = parameters::collect(&module).into_iter().map(Tensor::inner).collect();
            close(current[0].clone(), &golden["parameters"][step]);
            average = ema::follow(average, current, number("decay") as f32);
            close(average.value.val(), &golden["averages"][step]);
        }
    }
}
