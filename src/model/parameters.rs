//! A network's parameters as a flat list, in the order of the official `state_dict`.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use rand::{Rng, RngExt};

use crate::config::InitType;
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

/// Fields of layers whose values come along with the parameters and are not learned.
const FILTERS: [&str; 2] = ["filter", "blur"];

/// The new values of a parameter of a shape, if it gets some.
type Values<'a> = &'a mut dyn FnMut(&[usize], bool) -> Option<Vec<f32>>;

/// Applies a function to every parameter in turn; it hears the shape, and whether it is a filter that is not learned.
fn map<B: Backend, M: Module<B>>(network: M, values: Values) -> M {
    struct Setter<'a> {
        values: Values<'a>,
        filters: u32,
    }
    impl<B: Backend> ModuleMapper<B> for Setter<'_> {
        fn enter_module(&mut self, name: &str, _container_type: &str) {
            self.filters += u32::from(FILTERS.contains(&name));
        }

        fn exit_module(&mut self, name: &str, _container_type: &str) {
            self.filters -= u32::from(FILTERS.contains(&name));
        }

        fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
            let shape = param.val().dims();
            match (self.values)(&shape, self.filters > 0) {
                Some(values) => param.map(|old| {
                    let tracked = old.is_require_grad();
                    Tensor::from_data(TensorData::new(values, shape), &old.device()).set_require_grad(tracked)
                }),
                None => param,
            }
        }
    }
    network.map(&mut Setter { values, filters: 0 })
}

/// The network with every parameter set to the next of `values` (row-major, one `Vec` a parameter).
///
/// # Panics
/// When a length differs from its parameter's: check names and shapes first.
pub fn replace<B: Backend, M: Module<B>>(network: M, values: impl IntoIterator<Item = Vec<f32>>) -> M {
    let mut values = values.into_iter();
    map(network, &mut |_, _| values.next())
}

/// Initial weights of convolutions as the official `init_weights` draws them, with `gain`; biases and the norms'
/// scales stay as they are. The same numbers on every backend.
pub fn init<B: Backend, M: Module<B>>(network: M, kind: InitType, gain: f64, seed: u64, name: &str) -> M {
    let mut index = 0;
    map(network, &mut |shape, is_filter| {
        let mut stream = random::stream(seed, name, index);
        index += 1;
        if is_filter {
            return None;
        }
        let [outputs, inputs, rest @ ..] = shape else { return None };
        let taps: usize = rest.iter().product();
        // PyTorch's names for the second and the first side of a weight, those of transposed convolutions, too.
        let (fan_in, fan_out) = ((inputs * taps) as f64, (outputs * taps) as f64);
        let deviation = match kind {
            InitType::Normal => gain,
            InitType::Xavier => gain * (2.0 / (fan_in + fan_out)).sqrt(),
            InitType::Kaiming => (2.0 / fan_in).sqrt(),
            InitType::Orthogonal => 1.0,
        };
        let count: usize = shape.iter().product();
        let mut values: Vec<f64> = (0..count).map(|_| deviation * standard_normal(&mut stream)).collect();
        if kind == InitType::Orthogonal {
            values = orthogonal(&values, *outputs, inputs * taps);
            values.iter_mut().for_each(|value| *value *= gain);
        }
        Some(values.into_iter().map(|value| value as f32).collect())
    })
}

/// [`init`] from normal(0, `deviation`), the paper's.
pub fn init_normal<B: Backend, M: Module<B>>(network: M, deviation: f64, seed: u64, name: &str) -> M {
    init(network, InitType::Normal, deviation, seed, name)
}

/// The rows, or where there are more of them the columns, of a matrix made orthonormal one after the other (Gram and
/// Schmidt; twice, which is enough: Giraud et al. 2005).
fn orthogonal(matrix: &[f64], rows: usize, columns: usize) -> Vec<f64> {
    let is_wide = rows <= columns;
    let (count, length) = if is_wide { (rows, columns) } else { (columns, rows) };
    let at = |vector: usize, place: usize| if is_wide { vector * columns + place } else { place * columns + vector };
    let mut basis: Vec<Vec<f64>> = Vec::with_capacity(count);
    for vector in 0..count {
        let mut next: Vec<f64> = (0..length).map(|place| matrix[at(vector, place)]).collect();
        for _ in 0..2 {
            for before in &basis {
                let along: f64 = next.iter().zip(before).map(|(a, b)| a * b).sum();
                next.iter_mut().zip(before).for_each(|(value, before)| *value -= along * before);
            }
            let norm = next.iter().map(|value| value * value).sum::<f64>().sqrt();
            next.iter_mut().for_each(|value| *value /= norm);
        }
        basis.push(next);
    }
    let mut result = vec![0.0; matrix.len()];
    for (vector, values) in basis.iter().enumerate() {
        values.iter().enumerate().for_each(|(place, value)| result[at(vector, place)] = *value);
    }
    result
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

    /// The weight of a convolution `[24, 16, 3, 3]` and its bias.
    fn drawn(kind: InitType, gain: f64, inputs: usize) -> Vec<f64> {
        let conv = Conv::<Flex>::new(inputs, 24, Geometry::reflect(3), &Default::default());
        let conv = init(conv, kind, gain, 3, "conv");
        assert!(conv.bias.as_ref().is_some_and(|bias| bias.val().into_data().iter::<f32>().all(|value| value == 0.0)));
        conv.weight.val().into_data().iter::<f64>().collect()
    }

    #[test]
    fn initial_weights_have_the_deviations_of_their_formulas() {
        let cases = [
            (InitType::Normal, 0.02, 0.02),
            (InitType::Xavier, 0.5, 0.5 * (2.0_f64 / (16.0 * 9.0 + 24.0 * 9.0)).sqrt()),
            (InitType::Kaiming, 0.02, (2.0_f64 / (16.0 * 9.0)).sqrt()),
        ];
        for (kind, gain, expected) in cases {
            let values = drawn(kind, gain, 16);
            let count = values.len() as f64;
            let mean = values.iter().sum::<f64>() / count;
            let deviation = (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt();
            // Three standard errors of a deviation, and of a mean.
            let error = 3.0 * expected / (2.0 * count).sqrt();
            assert!((deviation - expected).abs() < error && mean.abs() < 1.5 * error, "{kind:?}: {mean}, {deviation}");
        }
    }

    #[test]
    fn orthogonal_weights_are_orthogonal() {
        for inputs in [16, 2] {
            let (values, columns) = (drawn(InitType::Orthogonal, 0.5, inputs), inputs * 9);
            let is_wide = columns >= 24;
            let (count, length) = if is_wide { (24, columns) } else { (columns, 24) };
            let at = |vector: usize, place: usize| {
                values[if is_wide { vector * columns + place } else { place * columns + vector }]
            };
            for one in 0..count {
                for other in 0..=one {
                    let product: f64 = (0..length).map(|place| at(one, place) * at(other, place)).sum();
                    let expected = if one == other { 0.25 } else { 0.0 };
                    assert!((product - expected).abs() < 1e-6, "{one}, {other}: {product}");
                }
            }
        }
    }

    #[test]
    fn collected_values_are_outside_of_the_graph() {
        let conv = Conv::<Autodiff<Flex>>::new(3, 8, Geometry::reflect(3), &Default::default());
        let tracked = conv.weight.val().sum().backward();
        assert!(conv.weight.grad(&tracked).is_some());
        let collected = collect(&conv)[0].clone().sum().backward();
        assert!(conv.weight.grad(&collected).is_none());
    }
}
