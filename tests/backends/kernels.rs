//! Every kernel of every backend against the portable default in float64, and that against finite
//! differences.

use burn::backend::Flex;
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor, TensorData, TensorPrimitive};
use cyclegan::kernels::{AdamStep, Border, Geometry, Kernels, portable};
use cyclegan::random;
use rand::RngExt;

/// Kernel, stride, padding and border of every convolution in the networks; sizes small and odd.
const CONVOLUTIONS: [(Geometry, [usize; 2], [usize; 2]); 12] = [
    (Geometry::reflect(7), [3, 8], [16, 12]),
    (Geometry::reflect(7), [8, 3], [9, 21]),
    (Geometry::zero(3, 2, 1), [8, 16], [16, 12]),
    (Geometry::zero(3, 2, 1), [4, 6], [15, 9]),
    (Geometry::reflect(3), [16, 16], [8, 8]),
    (Geometry::reflect(3), [5, 7], [2, 3]),
    (Geometry::reflect(3), [9, 11], [13, 37]),
    (Geometry::zero(3, 1, 1), [12, 20], [5, 18]),
    (Geometry::reflect(3), [24, 8], [2, 67]),
    (Geometry::zero(4, 2, 1), [3, 8], [32, 20]),
    (Geometry::zero(4, 1, 1), [8, 16], [8, 5]),
    (Geometry::zero(4, 1, 1), [16, 1], [7, 7]),
];

/// The official networks' layers with their channels, on maps that fill no tile, and some that fill several.
const WIDE: [(Geometry, [usize; 2], [usize; 2]); 13] = [
    (Geometry::reflect(7), [3, 64], [17, 20]),
    (Geometry::reflect(7), [64, 3], [17, 9]),
    (Geometry::zero(3, 2, 1), [64, 128], [22, 18]),
    (Geometry::zero(3, 2, 1), [128, 256], [15, 11]),
    (Geometry::reflect(3), [256, 256], [9, 12]),
    (Geometry::reflect(3), [64, 64], [33, 31]),
    (Geometry::zero(3, 1, 1), [70, 131], [6, 7]),
    (Geometry::zero(4, 2, 1), [3, 64], [30, 34]),
    (Geometry::zero(4, 2, 1), [64, 128], [16, 16]),
    (Geometry::zero(4, 2, 1), [128, 256], [9, 16]),
    (Geometry::zero(4, 1, 1), [256, 512], [7, 6]),
    (Geometry::zero(4, 1, 1), [512, 1], [8, 5]),
    (Geometry::zero(1, 1, 0), [64, 128], [8, 9]),
];

fn noise(name: &str, count: usize) -> Vec<f64> {
    let mut stream = random::stream(11, name, count as u64);
    // Values that are the same number in f32 and in f64.
    (0..count).map(|_| f64::from(stream.random::<f32>() * 2.0 - 1.0)).collect()
}

fn tensor<B: Backend, const D: usize>(values: &[f64], shape: [usize; D], dtype: DType) -> Tensor<B, D> {
    let device = B::Device::default();
    Tensor::from_data(TensorData::new(values.to_vec(), shape).convert_dtype(dtype), (&device, dtype))
}

fn raw<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> B::FloatTensorPrimitive {
    tensor.into_primitive().tensor()
}

fn host<B: Backend, const D: usize>(primitive: B::FloatTensorPrimitive) -> Vec<f64> {
    let tensor = Tensor::<B, D>::from_primitive(TensorPrimitive::Float(primitive));
    tensor.into_data().convert::<f64>().iter::<f64>().collect()
}

#[track_caller]
fn close(what: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(1.0f64, |scale, value| scale.max(value.abs()));
    let worst = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) / scale;
    assert!(worst <= tolerance && found.iter().all(|value| value.is_finite()), "{what}: off by {worst:.2e}");
}

struct Case {
    batch: usize,
    geometry: Geometry,
    channels: [usize; 2],
    input: [usize; 2],
    output: [usize; 2],
}

impl Case {
    fn all() -> impl Iterator<Item = Self> {
        Self::of(&[1, 3], &CONVOLUTIONS)
    }

    fn of(batches: &[usize], convolutions: &[(Geometry, [usize; 2], [usize; 2])]) -> impl Iterator<Item = Self> {
        batches.iter().flat_map(|&batch| {
            convolutions.iter().map(move |&(geometry, channels, input)| Self {
                batch,
                geometry,
                channels,
                input,
                output: input.map(|side| geometry.output(side)),
            })
        })
    }

    fn name(&self, what: &str) -> String {
        format!("{what} of {:?} {:?} {:?} × {}", self.geometry, self.channels, self.input, self.batch)
    }

    fn input_shape(&self) -> [usize; 4] {
        [self.batch, self.channels[0], self.input[0], self.input[1]]
    }

    fn output_shape(&self) -> [usize; 4] {
        [self.batch, self.channels[1], self.output[0], self.output[1]]
    }

    fn weight_shape(&self) -> [usize; 4] {
        [self.channels[1], self.channels[0], self.geometry.kernel, self.geometry.kernel]
    }

    fn noise(&self, name: &str, shape: &[usize]) -> Vec<f64> {
        noise(name, shape.iter().product())
    }

    /// Output, input gradient and weight gradient by the functions of one backend.
    fn run<B: Kernels>(&self, dtype: DType, portable_only: bool) -> [Vec<f64>; 3] {
        let at = |name: &str, shape: [usize; 4]| raw(tensor::<B, 4>(&self.noise(name, &shape), shape, dtype));
        let (input, weight) = (at("input", self.input_shape()), at("weight", self.weight_shape()));
        let grad = at("grad", self.output_shape());
        let line = |name: &str, count: usize| raw(tensor::<B, 1>(&noise(name, count), [count], dtype));
        let (bias, bias_in) = (line("bias", self.channels[1]), line("bias_in", self.channels[0]));
        let geometry = self.geometry;
        let results = if portable_only {
            [
                portable::conv2d::<B>(input.clone(), weight.clone(), Some(bias), geometry),
                portable::conv2d_input_grad::<B>(grad.clone(), weight.clone(), Some(bias_in), self.input, geometry),
                portable::conv2d_weight_grad::<B>(input, grad, weight, geometry),
            ]
        } else {
            [
                B::convolve(input.clone(), weight.clone(), Some(bias), geometry),
                B::convolve_input_grad(grad.clone(), weight.clone(), Some(bias_in), self.input, geometry),
                B::convolve_weight_grad(input, grad, weight, geometry),
            ]
        };
        results.map(host::<B, 4>)
    }
}

fn convolutions<B: Kernels>(cases: impl Iterator<Item = Case>, tolerance: f64) {
    for case in cases {
        let expected = case.run::<Flex>(DType::F64, true);
        let found = case.run::<B>(DType::F32, false);
        for ((what, found), expected) in ["output", "input grad", "weight grad"].iter().zip(&found).zip(&expected) {
            close(&case.name(what), found, expected, tolerance);
        }
    }
}

fn norms<B: Kernels>() {
    for (shape, slope) in [([1, 8, 16, 16], 0.0), ([2, 5, 3, 7], 0.2), ([1, 3, 33, 17], 1.0), ([2, 7, 64, 65], 0.0)] {
        let count = shape.iter().product();
        let (values, grads) = (noise("norm", count), noise("norm grad", count));
        let at = |values: &[f64]| raw(tensor::<B, 4>(values, shape, DType::F32));
        let exact = |values: &[f64]| raw(tensor::<Flex, 4>(values, shape, DType::F64));
        let found = host::<B, 4>(B::instance_norm(at(&values), slope));
        let expected = host::<Flex, 4>(portable::instance_norm::<Flex>(exact(&values), slope));
        close("instance norm", &found, &expected, 1e-5);
        let found = host::<B, 4>(B::instance_norm_grad(at(&values), at(&grads), slope));
        let expected = host::<Flex, 4>(portable::instance_norm_grad::<Flex>(exact(&values), exact(&grads), slope));
        close("instance norm grad", &found, &expected, 1e-5);
    }
}

fn adam<B: Kernels>() {
    let count = 77;
    let step = AdamStep { rate: 2e-4, betas: [0.5, 0.999], epsilon: 1e-8, time: 3 };
    let [value, grad, first] = ["value", "grad", "first"].map(|name| noise(name, count));
    let second: Vec<f64> = noise("second", count).into_iter().map(|value| f64::from(value.abs() as f32)).collect();
    fn moved<K: Backend>(result: (K::FloatTensorPrimitive, [K::FloatTensorPrimitive; 2])) -> Vec<f64> {
        let (value, [first, second]) = result;
        [value, first, second].map(host::<K, 1>).concat()
    }
    let at = |values: &[f64]| raw(tensor::<B, 1>(values, [count], DType::F32));
    let exact = |values: &[f64]| raw(tensor::<Flex, 1>(values, [count], DType::F64));
    let found = moved::<B>(B::adam(at(&value), at(&grad), [at(&first), at(&second)], step));
    let moments = [exact(&first), exact(&second)];
    let expected = moved::<Flex>(portable::adam::<Flex>(exact(&value), exact(&grad), moments, step));
    close("adam", &found, &expected, 1e-6);
    assert!(found[..count].iter().zip(&value).all(|(after, before)| after != before), "every parameter moves");
}

on_every_backend! {
    #[test]
    fn convolutions_match_float64() {
        super::convolutions::<B>(super::Case::all(), 1e-5);
    }

    #[test]
    fn wide_convolutions_match_float64() {
        super::convolutions::<B>(super::Case::of(&[1, 2], &super::WIDE), 1e-5);
    }

    #[test]
    fn norms_match_float64() {
        super::norms::<B>();
    }

    #[test]
    fn adam_matches_float64() {
        super::adam::<B>();
    }
}

/// What only an adapter that may be a GPU has.
mod gpus {
    use super::*;

    on_every_gpu! {
        /// Both ways to convolve, whichever the adapter would get.
        #[test]
        fn convolutions_match_float64_with_and_without_tiles() {
            use super::{CONVOLUTIONS, Case, WIDE};
            for tiles in [true, false] {
                cyclegan::kernels::set_tiles(Some(tiles));
                let wide: &[_] = if tiles { &WIDE } else { &[] };
                super::convolutions::<B>(Case::of(&[1, 3], &CONVOLUTIONS).chain(Case::of(&[2], wide)), 1e-5);
                super::norms::<B>();
            }
        }

        /// Twenty times the same bits, and no value left from what was in the memory before.
        #[test]
        fn convolutions_repeat_themselves() {
            use burn::tensor::DType;
            for tiles in [true, false] {
                cyclegan::kernels::set_tiles(Some(tiles));
                for case in super::Case::of(&[2], &super::WIDE[5..9]).step_by(2) {
                    let first = case.run::<B>(DType::F32, false);
                    assert!((1..20).all(|_| case.run::<B>(DType::F32, false) == first), "{}", case.name("a repetition"));
                }
            }
        }

        /// Tensor cores round the factors to 11 and to 8 bits; 4 of 5 errors cancel over the sums here.
        #[test]
        fn tensor_cores_round_no_more_than_their_factors() {
            use cyclegan::kernels::{Kernels, Precision, with_precision};
            for (precision, tolerance) in [(Precision::Tf32, 1e-3), (Precision::Bf16, 1e-2)] {
                if B::multiplies_in(precision, &Default::default()) {
                    let cases = super::Case::of(&[1, 3], &super::CONVOLUTIONS).chain(super::Case::of(&[2], &super::WIDE));
                    with_precision(precision, || super::convolutions::<B>(cases, tolerance));
                }
            }
        }
    }
}

/// ⟨conv(x), g⟩ has the gradients that the portable adjoints say, by central differences in float64.
#[test]
fn the_portable_adjoints_are_the_derivatives() {
    for case in Case::all().filter(|case| case.batch == 1) {
        let [_, with_bias, weight_grad] = case.run::<Flex>(DType::F64, true);
        let shapes = [case.input_shape(), case.weight_shape()];
        let [input, weight] =
            [("input", shapes[0]), ("weight", shapes[1])].map(|(name, shape)| case.noise(name, &shape));
        let grad = case.noise("grad", &case.output_shape());
        let product = |input: &[f64], weight: &[f64]| -> f64 {
            let at = |values: &[f64], shape| raw(tensor::<Flex, 4>(values, shape, DType::F64));
            let output = portable::conv2d::<Flex>(at(input, shapes[0]), at(weight, shapes[1]), None, case.geometry);
            host::<Flex, 4>(output).iter().zip(&grad).map(|(a, b)| a * b).sum()
        };
        let moved = |values: &[f64], index: usize, by: f64| {
            let mut values = values.to_vec();
            values[index] += by;
            values
        };
        let plane = case.input[0] * case.input[1];
        let bias = noise("bias_in", case.channels[0]);
        let step = 1e-3;
        // The product is linear in each, so a large step has no truncation error.
        for index in (0..input.len()).step_by(input.len().div_ceil(7)) {
            let slope = (product(&moved(&input, index, step), &weight)
                - product(&moved(&input, index, -step), &weight))
                / (2.0 * step);
            let adjoint = with_bias[index] - bias[index / plane % case.channels[0]];
            assert!((slope - adjoint).abs() < 1e-8, "{}: {slope} {adjoint}", case.name("input grad"));
        }
        for index in (0..weight.len()).step_by(weight.len().div_ceil(7)) {
            let slope = (product(&input, &moved(&weight, index, step))
                - product(&input, &moved(&weight, index, -step)))
                / (2.0 * step);
            assert!((slope - weight_grad[index]).abs() < 1e-8, "{}", case.name("weight grad"));
        }
    }
}

/// The derivative of instance norm with leaky ReLU, away from its kink, by central differences.
#[test]
fn the_portable_norm_gradient_is_the_derivative() {
    let shape = [1, 2, 4, 5];
    let (values, grads) = (noise("norm", 40), noise("norm grad", 40));
    let at = |values: &[f64]| raw(tensor::<Flex, 4>(values, shape, DType::F64));
    let product = |values: &[f64]| -> f64 {
        host::<Flex, 4>(portable::instance_norm::<Flex>(at(values), 0.2)).iter().zip(&grads).map(|(a, b)| a * b).sum()
    };
    let found = host::<Flex, 4>(portable::instance_norm_grad::<Flex>(at(&values), at(&grads), 0.2));
    for (index, grad) in found.into_iter().enumerate() {
        let moved = |by: f64| {
            let mut values = values.clone();
            values[index] += by;
            product(&values)
        };
        let slope = (moved(1e-6) - moved(-1e-6)) / 2e-6;
        assert!((slope - grad).abs() < 1e-6, "{index}: {slope}, not {grad}");
    }
}

/// The networks' own geometries keep or halve sizes as the paper's do.
#[test]
fn output_sizes_are_those_of_the_paper() {
    assert_eq!(Geometry::reflect(7).output(256), 256);
    assert_eq!(Geometry::zero(3, 2, 1).output(256), 128);
    assert_eq!(Geometry::zero(4, 2, 1).output(256), 128);
    assert_eq!(Geometry::zero(4, 1, 1).output(32), 31);
    assert_eq!(Geometry { kernel: 7, stride: 1, padding: 0, border: Border::Zero }.output(6), 0);
}
