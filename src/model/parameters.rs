//! A network's parameters as a flat list, in the order of the official `state_dict`.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use rand::{Rng, RngExt};

use crate::random;

/// Every parameter flattened to one axis, still on its device, outside of any graph: what is computed from
/// a tracked parameter and never reached by a backward pass would stay in burn-autodiff's books for good.
pub fn collect<B: Backend>(network: &impl Module<B>) -> Vec<Tensor<B, 1>> {
    struct Collector<B: Backend>(Vec<Tensor<B, 1>>);
    impl<B: Backend> ModuleVisitor<B> for Collector<B> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
            let tensor = param.val().set_require_grad(false);
            let count = tensor.shape().num_elements();
            self.0.push(tensor.reshape([count]));
        }
    }
    let mut collector = Collector(Vec::new());
    network.visit(&mut collector);
    collector.0
}

/// Applies a function to every parameter in turn.
fn map<B: Backend, M: Module<B>>(network: M, values: &mut dyn FnMut(&[usize]) -> Option<Vec<f32>>) -> M {
    struct Setter<'a>(&'a mut dyn FnMut(&[usize]) -> Option<Vec<f32>>);
    impl<B: Backend> ModuleMapper<B> for Setter<'_> {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
            let shape = param.val().dims();
            match (self.0)(&shape) {
                Some(values) => param.map(|old| {
                    let tracked = old.is_require_grad();
                    Tensor::from_data(TensorData::new(values, shape), &old.device()).set_require_grad(tracked)
                }),
                None => param,
            }
        }
    }
    network.map(&mut Setter(values))
}

/// The network with every parameter set to the next of `values` (row-major, one `Vec` a parameter).
///
/// # Panics
/// When a length differs from its parameter's: check names and shapes first.
pub fn replace<B: Backend, M: Module<B>>(network: M, values: impl IntoIterator<Item = Vec<f32>>) -> M {
    let mut values = values.into_iter();
    map(network, &mut |_| values.next())
}

/// Initial weights: normal(0, `deviation`) for convolutions (official `init_weights`); biases and
/// the norms' scales stay as they are. The same numbers on every backend.
pub fn init_normal<B: Backend, M: Module<B>>(network: M, deviation: f64, seed: u64, name: &str) -> M {
    let mut index = 0;
    map(network, &mut |shape| {
        let mut stream = random::stream(seed, name, index);
        index += 1;
        let count = shape.iter().product();
        (shape.len() > 1).then(|| (0..count).map(|_| (deviation * standard_normal(&mut stream)) as f32).collect())
    })
}

/// One draw of normal(0, 1) by the transform of Box and Muller (1958).
fn standard_normal(stream: &mut impl Rng) -> f64 {
    // 1 − u lies in (0, 1]: its logarithm is finite.
    let radius = (-2.0 * (1.0 - stream.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * stream.random::<f64>()).cos()
}

#[cfg(test)]
mod tests {
    use burn::backend::{Autodiff, Flex};

    use super::super::layers::Conv;
    use super::*;
    use crate::kernels::Geometry;

    #[test]
    fn collected_values_are_outside_of_the_graph() {
        let conv = Conv::<Autodiff<Flex>>::new(3, 8, Geometry::reflect(3), &Default::default());
        let tracked = conv.weight.val().sum().backward();
        assert!(conv.weight.grad(&tracked).is_some());
        let collected = collect(&conv)[0].clone().sum().backward();
        assert!(conv.weight.grad(&collected).is_none());
    }
}
