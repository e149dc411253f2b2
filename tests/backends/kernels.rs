//! Every kernel of every backend against the portable default in float64, and that against finite
//! differences.

use burn::backend::{Autodiff, Flex};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{DType, Tensor, TensorData, TensorPrimitive};
use cyclegan::config::{PRESETS, TrainConfig};
use cyclegan::kernels::{self, Activation, AdamStep, Border, Geometry, Goal, Kernels, Learned, Precision, portable};
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
    (Geometry::zero(4, 2, 1), [128, 256], [9, 17]),
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
    /// Whether what is multiplied are numbers of bf16.
    rounded: bool,
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
                rounded: false,
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
        let mut values = noise(name, shape.iter().product());
        if self.rounded {
            values.iter_mut().for_each(|value| *value = half::bf16::from_f64(*value).to_f64());
        }
        values
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

/// Planes smaller and larger than what one group of units takes, with and without a sum, far from zero in the mean.
fn norms<B: Kernels>() {
    let cases = [
        ([1, 8, 16, 16], 0.0, false),
        ([2, 5, 3, 7], 0.2, true),
        ([1, 3, 33, 17], 1.0, true),
        ([2, 7, 64, 65], 0.0, false),
        ([1, 2, 101, 173], 0.2, true),
        ([3, 1, 1, 1], 1.0, false),
    ];
    for (shape, slope, skips) in cases {
        let count = shape.iter().product();
        let values: Vec<f64> = noise("norm", count).into_iter().map(|value| f64::from(value as f32 + 3.0)).collect();
        let (grads, skipped) = (noise("norm grad", count), noise("skipped", count));
        let at = |values: &[f64]| raw(tensor::<B, 4>(values, shape, DType::F32));
        let exact = |values: &[f64]| raw(tensor::<Flex, 4>(values, shape, DType::F64));
        let sum = skips.then(|| exact(&skipped));
        let expected = host::<Flex, 4>(portable::instance_norm::<Flex>(exact(&values), sum, slope));
        let (found, moments) = B::instance_norm(at(&values), skips.then(|| at(&skipped)), slope);
        close(&format!("instance norm of {shape:?}"), &host::<B, 4>(found), &expected, 1e-5);
        let expected = host::<Flex, 4>(portable::instance_norm_grad::<Flex>(exact(&values), exact(&grads), slope));
        for moments in [moments, None] {
            let found = host::<B, 4>(B::instance_norm_grad(at(&values), moments, at(&grads), slope));
            close(&format!("instance norm grad of {shape:?}"), &found, &expected, 1e-5);
        }
    }
}

/// What is skipped has the output's gradient, the input that of the norm; of either alone, too.
fn norms_in_a_graph<B: Kernels>() {
    type A<B> = Autodiff<B>;
    let shape = [2, 3, 5, 7];
    let count = shape.iter().product();
    let at = |name: &str| tensor::<B, 4>(&noise(name, count), shape, DType::F32);
    let grad_of = |tensor: &Tensor<A<B>, 4>, found: &<A<B> as AutodiffBackend>::Gradients| {
        tensor.grad(found).map(|grad| host::<B, 4>(raw(grad)))
    };
    let exact = |name: &str| raw(tensor::<Flex, 4>(&noise(name, count), shape, DType::F64));
    let of_input = host::<Flex, 4>(portable::instance_norm_grad::<Flex>(exact("norm"), exact("norm grad"), 0.2));
    for (tracks_input, tracks_skipped) in [(true, true), (true, false), (false, true)] {
        let input = Tensor::<A<B>, 4>::from_inner(at("norm")).set_require_grad(tracks_input);
        let skipped = Tensor::<A<B>, 4>::from_inner(at("skipped")).set_require_grad(tracks_skipped);
        let output = kernels::instance_norm(input.clone(), Some(skipped.clone()), 0.2);
        let found = (output * Tensor::from_inner(at("norm grad"))).sum().backward();
        let [to_input, to_skipped] = [(&input, tracks_input), (&skipped, tracks_skipped)].map(|(tensor, tracks)| {
            let grad = if tracks { grad_of(tensor, &found) } else { None };
            assert_eq!(grad.is_some(), tracks);
            grad
        });
        to_input.into_iter().for_each(|grad| close("norm's input", &grad, &of_input, 1e-5));
        to_skipped.into_iter().for_each(|grad| close("what is skipped", &grad, &noise("norm grad", count), 1e-6));
    }
}

fn biases<B: Kernels>() {
    for shape in [[2, 3, 5, 7], [3, 2, 64, 65], [1, 1, 1, 1], [2, 3, 301, 200]] {
        let grad = noise("bias grad", shape.iter().product());
        let found = host::<B, 1>(B::bias_grad(raw(tensor::<B, 4>(&grad, shape, DType::F32))));
        let expected = portable::bias_grad::<Flex>(raw(tensor::<Flex, 4>(&grad, shape, DType::F64)));
        close(&format!("bias grad of {shape:?}"), &found, &host::<Flex, 1>(expected), 1e-5);
    }
}

fn activations<B: Kernels>() {
    let shape = [2, 3, 7, 11];
    let count = shape.iter().product();
    // Wide enough for a hyperbolic tangent of 1, and with a zero in the middle.
    let mut values: Vec<f64> = noise("values", count).into_iter().map(|value| 32.0 * value).collect();
    values[count / 2] = 0.0;
    let grads = noise("activation grad", count);
    let at = |values: &[f64]| raw(tensor::<B, 4>(values, shape, DType::F32));
    let exact = |values: &[f64]| raw(tensor::<Flex, 4>(values, shape, DType::F64));
    for activation in [Activation::LeakyRelu(0.2), Activation::LeakyRelu(0.0), Activation::Tanh] {
        let expected = host::<Flex, 4>(portable::activate::<Flex>(exact(&values), activation));
        close(&format!("{activation:?}"), &host::<B, 4>(B::activate(at(&values), activation)), &expected, 1e-6);
        // Both from the same output, which is near 1.
        let output: Vec<f64> = expected.iter().map(|value| f64::from(*value as f32)).collect();
        let expected = portable::activate_grad::<Flex>(exact(&output), exact(&grads), activation);
        let found = B::activate_grad(at(&output), at(&grads), activation);
        close(&format!("{activation:?} grad"), &host::<B, 4>(found), &host::<Flex, 4>(expected), 1e-6);
    }
}

/// Of a map, of more values than one group of units takes, and of more than all of them do.
fn distances<B: Kernels>() {
    for shape in [[2, 1, 3, 5], [1, 3, 64, 65], [2, 3, 500, 501]] {
        let count = shape.iter().product();
        let (values, planes) = (noise("values", count), noise("planes", count));
        let at = |values: &[f64]| raw(tensor::<B, 4>(values, shape, DType::F32));
        let exact = |values: &[f64]| raw(tensor::<Flex, 4>(values, shape, DType::F64));
        let mut numbers = vec![[0.9, 0.9]];
        if shape[0] == 2 {
            numbers.push([1.0, -0.5]);
        }
        let to_numbers = numbers.into_iter().map(|numbers| (Goal::Numbers(numbers), Goal::Numbers(numbers)));
        for (goal, expected) in
            [(Goal::Planes(at(&planes)), Goal::Planes(exact(&planes)))].into_iter().chain(to_numbers)
        {
            let what = format!("distance of {shape:?}");
            let found = host::<B, 1>(B::distance(at(&values), goal.clone(), 10.0));
            let distance = portable::distance::<Flex>(exact(&values), expected.clone(), 10.0);
            // Candle adds up one value after the other, which costs a sum of a million 7e-4.
            let tolerance = if count > 1 << 20 { 2e-3 } else { 1e-5 };
            close(&what, &found, &host::<Flex, 1>(distance), tolerance);
            // Scaled so that a gradient is around one.
            let grad = [0.125 * count as f64];
            let (line, exact_line) =
                (tensor::<B, 1>(&grad, [1], DType::F32), tensor::<Flex, 1>(&grad, [1], DType::F64));
            let found = host::<B, 4>(B::distance_grad(at(&values), goal, 10.0, raw(line)));
            let grads = portable::distance_grad::<Flex>(exact(&values), expected, 10.0, raw(exact_line));
            close(&format!("{what} grad"), &found, &host::<Flex, 4>(grads), 1e-5);
        }
    }
}

/// As many tensors as need several launches, of sizes that leave gaps.
const COUNTS: [usize; 20] = [77, 1, 64, 3, 128, 65, 1000, 63, 2, 5, 7, 64, 256, 4099, 11, 13, 500, 17, 19, 23];

fn joins<B: Kernels>() {
    let parts = COUNTS.map(|count| noise("part", count));
    let at = parts.each_ref().map(|part| raw(tensor::<B, 1>(part, [part.len()], DType::F32)));
    assert_eq!(host::<B, 1>(B::join(at.to_vec())), parts.concat());
    let [one, other] = [[2, 3, 4, 5], [1, 3, 4, 5]]
        .map(|shape| tensor::<B, 4>(&noise("join", shape.iter().product()), shape, DType::F32));
    let joined = kernels::join(vec![one.clone(), other.clone()]);
    assert_eq!(joined.dims(), [3, 3, 4, 5]);
    assert_eq!(host::<B, 4>(raw(joined)), [one, other].map(|part| host::<B, 4>(raw(part))).concat());
}

/// Two steps, the second from what the first one gave.
fn adam<B: Kernels>() {
    type All<T> = Vec<(Learned<T>, T)>;
    fn start<K: Backend>(dtype: DType) -> All<K::FloatTensorPrimitive> {
        let one = |count: usize| {
            let line = |name: &str| raw(tensor::<K, 1>(&noise(name, count), [count], dtype));
            let second: Vec<f64> =
                noise("second", count).into_iter().map(|value| f64::from(value.abs() as f32)).collect();
            let moments = [line("first"), raw(tensor::<K, 1>(&second, [count], dtype))];
            (Learned { parameter: line("value"), moments }, line("grad"))
        };
        COUNTS.into_iter().map(one).collect()
    }
    fn grads<K: Backend>(after: Vec<Learned<K::FloatTensorPrimitive>>, dtype: DType) -> All<K::FloatTensorPrimitive> {
        let grad = |count: usize| raw(tensor::<K, 1>(&noise("another grad", count), [count], dtype));
        after.into_iter().zip(COUNTS).map(|(learned, count)| (learned, grad(count))).collect()
    }
    fn told<K: Backend>(after: Vec<Learned<K::FloatTensorPrimitive>>) -> Vec<Vec<f64>> {
        let parts =
            after.into_iter().flat_map(|Learned { parameter, moments: [first, second] }| [parameter, first, second]);
        parts.map(host::<K, 1>).collect()
    }
    let step = |time| AdamStep { rate: 2e-4, betas: [0.5, 0.999], epsilon: 1e-8, time };
    let found = B::adam(grads::<B>(B::adam(start::<B>(DType::F32), step(3)), DType::F32), step(4));
    let expected = portable::adam::<Flex>(start::<Flex>(DType::F64), step(3));
    let expected = portable::adam::<Flex>(grads::<Flex>(expected, DType::F64), step(4));
    let (found, expected) = (told::<B>(found), told::<Flex>(expected));
    assert_eq!(found.len(), 3 * COUNTS.len());
    for (which, (found, expected)) in found.iter().zip(&expected).enumerate() {
        close(&format!("adam, result {which}"), found, expected, 1e-6);
    }
    // A gradient next to zero moves less than the last digit.
    let before = COUNTS.iter().flat_map(|count| noise("value", *count));
    let moved = found.iter().step_by(3).flatten().zip(before).filter(|(after, before)| *after != before).count();
    let all: usize = COUNTS.iter().sum();
    assert!(moved * 100 > all * 99, "{moved} of {all} parameters move");
}

on_every_backend! {
    #[test]
    fn convolutions_match_float64() {
        super::convolutions::<B>(super::Case::all(), 1e-5);
    }

    #[test]
    fn wide_convolutions_match_float64() {
        // Winograd's F(4×4, 3×3) on a processor loses a digit in sums over 256 channels.
        super::convolutions::<B>(super::Case::of(&[1, 2], &super::WIDE), 1e-4);
    }

    #[test]
    fn norms_match_float64() {
        super::norms::<B>();
    }

    #[test]
    fn norms_hand_gradients_to_both_parents() {
        super::norms_in_a_graph::<B>();
    }

    #[test]
    fn bias_gradients_match_float64() {
        super::biases::<B>();
    }

    #[test]
    fn activations_match_float64() {
        super::activations::<B>();
    }

    #[test]
    fn distances_match_float64() {
        super::distances::<B>();
    }

    #[test]
    fn joined_tensors_lie_one_after_the_other() {
        super::joins::<B>();
    }

    #[test]
    fn adam_matches_float64() {
        super::adam::<B>();
    }
}

/// Every layer of the networks of every preset, on maps that fill no tile.
fn layers_of_presets() -> Vec<(Geometry, [usize; 2], [usize; 2])> {
    let mut layers = Vec::new();
    for preset in PRESETS {
        let config = TrainConfig::preset(preset.name).expect("a preset");
        let (n, d) = (config.ngf as usize, config.ndf as usize);
        layers.extend([
            (Geometry::reflect(7), [3, n], [10, 13]),
            (Geometry::zero(3, 2, 1), [n, 2 * n], [9, 14]),
            (Geometry::zero(3, 2, 1), [2 * n, 4 * n], [8, 7]),
            (Geometry::reflect(3), [4 * n, 4 * n], [7, 10]),
            (Geometry::reflect(3), [4 * n, 2 * n], [6, 5]),
            (Geometry::reflect(7), [n, 3], [9, 12]),
            (Geometry::zero(4, 2, 1), [3, d], [18, 15]),
            (Geometry::zero(4, 2, 1), [d, 2 * d], [10, 13]),
            (Geometry::zero(4, 2, 1), [2 * d, 4 * d], [6, 9]),
            (Geometry::zero(4, 1, 1), [4 * d, 8 * d], [5, 6]),
            (Geometry::zero(4, 1, 1), [8 * d, 1], [5, 4]),
        ]);
    }
    layers.sort_by_key(|(geometry, channels, size)| (geometry.kernel, geometry.stride, *channels, *size));
    layers.dedup();
    layers
}

/// A processor rounds factors and nothing else: sums of bf16's products come as near to float64 as those of f32.
#[test]
fn a_processor_multiplies_in_bf16() {
    if !Flex::multiplies_in(Precision::Bf16, &Default::default()) {
        println!("neither AMX nor AVX512-BF16 is here: only the unit tests' own sums were tested");
        return;
    }
    let layers = layers_of_presets();
    let cases = Case::of(&[1, 3], &CONVOLUTIONS).chain(Case::of(&[2], &WIDE)).chain(Case::of(&[1], &layers));
    kernels::with_precision(Precision::Bf16, || {
        convolutions::<Flex>(cases.map(|case| Case { rounded: true, ..case }), 1e-5);
        // Other numbers are rounded: each by 2⁻⁹ at most, most of which cancels.
        let [case] = &Case::of(&[1], &WIDE[5..6]).collect::<Vec<_>>()[..] else { panic!("one case") };
        let (found, expected) = (case.run::<Flex>(DType::F32, false), case.run::<Flex>(DType::F64, true));
        for (found, expected) in found.iter().zip(&expected) {
            close("rounded factors", found, expected, 1e-2);
            let most = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(most > 1e-4, "nothing was rounded");
        }
    });
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

        /// What comes out ahead, after both ways gave the same.
        #[test]
        fn the_faster_way_to_convolve_is_taken() {
            use burn::tensor::{Distribution, Tensor};
            use cyclegan::kernels::{Geometry, conv2d, set_tiles, tune};
            let device = Default::default();
            let choice = pollster::block_on(tune::<B>(&device)).expect("a device that is there");
            let [without, with] = choice.times;
            assert_eq!(choice.tiles, with < without);
            assert!(choice.difference > 0.0 && choice.difference < 1e-5, "{choice:?}");
            let noise = |shape: [usize; 4]| Tensor::<B, 4>::random(shape, Distribution::Default, &device);
            let (input, weight) = (noise([1, 64, 32, 32]), noise([64, 64, 3, 3]));
            let output = || {
                let output = conv2d(input.clone(), weight.clone(), None, Geometry::reflect(3));
                output.into_data().to_vec::<f32>().expect("f32")
            };
            let chosen = output();
            let [other, same] = [!choice.tiles, choice.tiles].map(|tiles| {
                set_tiles(Some(tiles));
                output()
            });
            assert!(chosen == same && chosen != other, "{choice:?}");
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
        let output = host::<Flex, 4>(portable::instance_norm::<Flex>(at(values), None, 0.2));
        output.iter().zip(&grads).map(|(a, b)| a * b).sum()
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
