//! The operations of [`Kernels`](super::Kernels) made of Burn's own: the default of every backend
//! and the yardstick for every faster kernel.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use burn::tensor::ops::{ConvOptions, ConvTransposeOptions, FloatTensor};

use super::{Activation, AdamStep, Border, Geometry, Goal, Learned, NORM_EPSILON, float, primitive};

fn options(geometry: Geometry) -> ConvOptions<2> {
    let padding = match geometry.border {
        Border::Zero => geometry.padding,
        Border::Reflect => 0,
    };
    ConvOptions::new([geometry.stride; 2], [padding; 2], [1, 1], 1)
}

fn padded<B: Backend>(input: FloatTensor<B>, geometry: Geometry) -> FloatTensor<B> {
    match geometry.border {
        Border::Zero => input,
        Border::Reflect => {
            let input = float::<B, 4>(input);
            primitive(mirror(mirror(input, 2, geometry.padding), 3, geometry.padding))
        }
    }
}

/// Reflection padding along one axis. (Burn's own `PadMode::Reflect` fails on flex in f64.)
fn mirror<B: Backend>(planes: Tensor<B, 4>, axis: usize, padding: usize) -> Tensor<B, 4> {
    let side = planes.dims()[axis];
    let border = |start: usize| planes.clone().narrow(axis, start, padding).flip([axis as isize]);
    let [before, after] = [border(1), border(side - 1 - padding)];
    Tensor::cat(vec![before, planes, after], axis)
}

/// Planes with `padding` rows and columns on each side.
fn wide<B: Backend>(planes: Tensor<B, 4>, border: Border, padding: usize) -> Tensor<B, 4> {
    if padding == 0 {
        return planes;
    }
    [2, 3].into_iter().fold(planes, |planes, axis| match border {
        Border::Reflect => mirror(planes, axis, padding),
        Border::Zero => {
            let mut shape = planes.dims();
            shape[axis] = padding;
            let zeros = Tensor::<B, 4>::zeros(shape, &planes.device()).cast(planes.dtype());
            Tensor::cat(vec![zeros.clone(), planes, zeros], axis)
        }
    })
}

/// [`Kernels::convolve_depthwise`](super::Kernels::convolve_depthwise): k² shifted copies of the planes, weighted and
/// added.
pub fn depthwise<B: Backend>(input: FloatTensor<B>, weight: FloatTensor<B>, geometry: Geometry) -> FloatTensor<B> {
    let (input, weight) = (float::<B, 4>(input), float::<B, 4>(weight));
    let [_, channels, height, width] = input.dims();
    let [rows, columns] = [height, width].map(|side| geometry.output(side));
    let wide = wide(input, geometry.border, geometry.padding);
    let tap = |place: usize| {
        let (row, column) = (place / geometry.kernel, place % geometry.kernel);
        let weight = weight.clone().narrow(2, row, 1).narrow(3, column, 1).reshape([1, channels, 1, 1]);
        wide.clone().narrow(2, row, rows).narrow(3, column, columns) * weight
    };
    primitive((1..geometry.kernel * geometry.kernel).fold(tap(0), |sum, place| sum + tap(place)))
}

/// The adjoint of [`depthwise`] in its input: the same with the weight turned around, and the border folded back.
pub fn depthwise_input_grad<B: Backend>(
    output_grad: FloatTensor<B>,
    weight: FloatTensor<B>,
    geometry: Geometry,
) -> FloatTensor<B> {
    let turned = primitive(float::<B, 4>(weight).flip([2, 3]));
    let Geometry { kernel, padding, border, .. } = geometry;
    let reflected = if border == Border::Reflect { padding } else { 0 };
    let full = Geometry::zero(kernel, 1, kernel - 1 - (padding - reflected));
    let full = float::<B, 4>(depthwise::<B>(output_grad, turned, full));
    primitive(fold(fold(full, 2, reflected), 3, reflected))
}

/// The adjoint of [`depthwise`] in its weight.
pub fn depthwise_weight_grad<B: Backend>(
    input: FloatTensor<B>,
    output_grad: FloatTensor<B>,
    geometry: Geometry,
) -> FloatTensor<B> {
    let grad = float::<B, 4>(output_grad);
    let [_, channels, rows, columns] = grad.dims();
    let wide = wide(float::<B, 4>(input), geometry.border, geometry.padding);
    let tap = |place: usize| {
        let (row, column) = (place / geometry.kernel, place % geometry.kernel);
        let products = wide.clone().narrow(2, row, rows).narrow(3, column, columns) * grad.clone();
        products.sum_dim(3).sum_dim(2).sum_dim(0).reshape([channels, 1])
    };
    let taps: Vec<_> = (0..geometry.kernel * geometry.kernel).map(tap).collect();
    primitive(Tensor::cat(taps, 1).reshape([channels, 1, geometry.kernel, geometry.kernel]))
}

/// [`Kernels::convolve`](super::Kernels::convolve).
pub fn conv2d<B: Backend>(
    input: FloatTensor<B>,
    weight: FloatTensor<B>,
    bias: Option<FloatTensor<B>>,
    geometry: Geometry,
) -> FloatTensor<B> {
    B::conv2d(padded::<B>(input, geometry), weight, bias, options(geometry))
}

/// [`Kernels::convolve_input_grad`](super::Kernels::convolve_input_grad).
pub fn conv2d_input_grad<B: Backend>(
    output_grad: FloatTensor<B>,
    weight: FloatTensor<B>,
    bias: Option<FloatTensor<B>>,
    input_size: [usize; 2],
    geometry: Geometry,
) -> FloatTensor<B> {
    let output_grad = float::<B, 4>(output_grad);
    let [_, _, rows, columns] = output_grad.dims();
    let Geometry { kernel, stride, padding, border } = geometry;
    let reflected = if border == Border::Reflect { padding } else { 0 };
    let zeros = padding - reflected;
    let rest = |input: usize, output: usize| input + 2 * padding - kernel - (output - 1) * stride;
    let options = ConvTransposeOptions::new(
        [stride; 2],
        [zeros; 2],
        [rest(input_size[0], rows), rest(input_size[1], columns)],
        [1, 1],
        1,
    );
    let full = float::<B, 4>(B::conv_transpose2d(primitive(output_grad), weight, None, options));
    let folded = fold(fold(full, 2, reflected), 3, reflected);
    primitive(biased(folded, bias.map(float)))
}

/// Planes `[N, C, H, W]` and a bias `[C]`.
pub fn biased<B: Backend>(planes: Tensor<B, 4>, bias: Option<Tensor<B, 1>>) -> Tensor<B, 4> {
    let channels = planes.dims()[1];
    match bias {
        Some(bias) => planes + bias.reshape([1, channels, 1, 1]),
        None => planes,
    }
}

/// The adjoint of reflection padding along one axis: every mirrored pixel's gradient is added to
/// the pixel that it mirrors.
fn fold<B: Backend>(padded: Tensor<B, 4>, axis: usize, padding: usize) -> Tensor<B, 4> {
    if padding == 0 {
        return padded;
    }
    let side = padded.dims()[axis] - 2 * padding;
    let border = |start: usize| padded.clone().narrow(axis, start, padding).flip([axis as isize]);
    let [before, after] = [border(0), border(side + padding)];
    let inner = padded.clone().narrow(axis, padding, side);
    let around = |part: Tensor<B, 4>, start: usize| {
        let zeros = |count: usize| {
            let mut shape = part.dims();
            shape[axis] = count;
            // CUDA has no launch of no units.
            (count > 0).then(|| Tensor::<B, 4>::zeros(shape, &part.device()).cast(part.dtype()))
        };
        let parts = [zeros(start), Some(part.clone()), zeros(side - start - padding)];
        Tensor::cat(parts.into_iter().flatten().collect(), axis)
    };
    inner + around(before, 1) + around(after, side - 1 - padding)
}

/// [`Kernels::convolve_weight_grad`](super::Kernels::convolve_weight_grad).
pub fn conv2d_weight_grad<B: Backend>(
    input: FloatTensor<B>,
    output_grad: FloatTensor<B>,
    weight: FloatTensor<B>,
    geometry: Geometry,
) -> FloatTensor<B> {
    B::conv2d_weight_backward(padded::<B>(input, geometry), weight, output_grad, options(geometry))
}

/// [`Kernels::bias_grad`](super::Kernels::bias_grad).
pub fn bias_grad<B: Backend>(output_grad: FloatTensor<B>) -> FloatTensor<B> {
    let grad: Tensor<B, 4> = float(output_grad);
    let [batch, channels, height, width] = grad.dims();
    primitive(grad.reshape([batch, channels, height * width]).sum_dim(2).sum_dim(0).reshape([channels]))
}

/// The normalised input and 1/σ of every plane, `[N, C, 1, 1]`.
pub fn normalised<B: Backend>(input: Tensor<B, 4>) -> (Tensor<B, 4>, Tensor<B, 4>) {
    let mean = plane_mean(input.clone());
    let centred = input - mean;
    let variance = plane_mean(centred.clone() * centred.clone());
    let scale = (variance + NORM_EPSILON).sqrt().recip();
    (centred * scale.clone(), scale)
}

/// The mean of every plane, `[N, C, 1, 1]`.
pub fn plane_mean<B: Backend>(planes: Tensor<B, 4>) -> Tensor<B, 4> {
    let [batch, channels, height, width] = planes.dims();
    planes.reshape([batch, channels, height * width]).mean_dim(2).reshape([batch, channels, 1, 1])
}

/// [`Kernels::instance_norm`](super::Kernels::instance_norm).
pub fn instance_norm<B: Backend>(input: FloatTensor<B>, skipped: Option<FloatTensor<B>>, slope: f32) -> FloatTensor<B> {
    let (unit, _) = normalised::<B>(float(input));
    let output = if slope == 1.0 { unit } else { activated(unit, Activation::LeakyRelu(slope)) };
    primitive(match skipped {
        Some(skipped) => float(skipped) + output,
        None => output,
    })
}

/// [`Kernels::instance_norm_grad`](super::Kernels::instance_norm_grad): with `g` the gradient
/// behind the activation and `u` the normalised input, `(g − mean g − u · mean(g·u)) / σ`.
pub fn instance_norm_grad<B: Backend>(
    input: FloatTensor<B>,
    output_grad: FloatTensor<B>,
    slope: f32,
) -> FloatTensor<B> {
    let (unit, scale) = normalised::<B>(float(input));
    let output_grad = float::<B, 4>(output_grad);
    let grad = if slope == 1.0 {
        output_grad
    } else {
        let weaker = output_grad.clone() * slope;
        output_grad.mask_where(unit.clone().lower_equal_elem(0.0), weaker)
    };
    let mean = plane_mean(grad.clone());
    let along = plane_mean(grad.clone() * unit.clone());
    primitive((grad - mean - unit * along) * scale)
}

fn activated<B: Backend>(planes: Tensor<B, 4>, activation: Activation) -> Tensor<B, 4> {
    match activation {
        Activation::LeakyRelu(0.0) => burn::tensor::activation::relu(planes),
        Activation::LeakyRelu(slope) => burn::tensor::activation::leaky_relu(planes, f64::from(slope)),
        Activation::Tanh => planes.tanh(),
    }
}

/// [`Kernels::activate`](super::Kernels::activate).
pub fn activate<B: Backend>(input: FloatTensor<B>, activation: Activation) -> FloatTensor<B> {
    primitive(activated::<B>(float(input), activation))
}

/// [`Kernels::activate_grad`](super::Kernels::activate_grad).
pub fn activate_grad<B: Backend>(
    output: FloatTensor<B>,
    output_grad: FloatTensor<B>,
    activation: Activation,
) -> FloatTensor<B> {
    let (output, grad) = (float::<B, 4>(output), float::<B, 4>(output_grad));
    primitive(match activation {
        Activation::LeakyRelu(slope) => {
            let weaker = grad.clone() * slope;
            grad.mask_where(output.lower_equal_elem(0.0), weaker)
        }
        Activation::Tanh => grad * (output.clone() * output).neg().add_scalar(1.0),
    })
}

/// The differences of values from the numbers that each half of them is to be near to.
fn differences<B: Backend>(values: Tensor<B, 4>, [first, second]: [f32; 2]) -> Tensor<B, 4> {
    let [batch, ..] = values.dims();
    if first == second {
        return values - first;
    }
    let half = batch / 2;
    let part = |start, count, number: f32| values.clone().narrow(0, start, count) - number;
    Tensor::cat(vec![part(0, half, first), part(half, batch - half, second)], 0)
}

/// [`Kernels::distance`](super::Kernels::distance). Halves that differ are whole samples.
pub fn distance<B: Backend>(values: FloatTensor<B>, goal: Goal<FloatTensor<B>>, weight: f32) -> FloatTensor<B> {
    let values = float::<B, 4>(values);
    let distances = match goal {
        Goal::Planes(planes) => (values - float(planes)).abs(),
        Goal::Numbers(numbers) => {
            let distance = differences(values, numbers);
            distance.clone() * distance
        }
    };
    primitive(distances.mean() * weight)
}

/// [`Kernels::distance_grad`](super::Kernels::distance_grad).
pub fn distance_grad<B: Backend>(
    values: FloatTensor<B>,
    goal: Goal<FloatTensor<B>>,
    weight: f32,
    distance_grad: FloatTensor<B>,
) -> FloatTensor<B> {
    let values = float::<B, 4>(values);
    let share = f64::from(weight) / values.shape().num_elements() as f64;
    let (slope, factor) = match goal {
        Goal::Planes(planes) => ((values - float(planes)).sign(), share),
        Goal::Numbers(numbers) => (differences(values, numbers), 2.0 * share),
    };
    primitive(slope * (float::<B, 1>(distance_grad) * factor).reshape([1, 1, 1, 1]))
}

/// [`Kernels::join`](super::Kernels::join).
pub fn join<B: Backend>(parts: Vec<FloatTensor<B>>) -> FloatTensor<B> {
    primitive(Tensor::cat(parts.into_iter().map(float::<B, 1>).collect(), 0))
}

/// [`Kernels::adam`](super::Kernels::adam).
pub fn adam<B: Backend>(
    all: Vec<(Learned<FloatTensor<B>>, FloatTensor<B>)>,
    step: AdamStep,
) -> Vec<Learned<FloatTensor<B>>> {
    all.into_iter().map(|(learned, grad)| adam_step::<B>(learned, grad, step)).collect()
}

fn adam_step<B: Backend>(
    Learned { parameter, moments: [first, second] }: Learned<FloatTensor<B>>,
    grad: FloatTensor<B>,
    step: AdamStep,
) -> Learned<FloatTensor<B>> {
    let (parameter, grad) = (float::<B, 1>(parameter), float::<B, 1>(grad));
    let [keep_first, keep_second] = step.betas;
    let [correct_first, correct_second] = step.corrections();
    let first = float::<B, 1>(first) * keep_first + grad.clone() * (1.0 - keep_first);
    let second = float::<B, 1>(second) * keep_second + grad.clone() * grad * (1.0 - keep_second);
    let root = (second.clone() / correct_second).sqrt() + step.epsilon;
    let parameter = parameter - first.clone() / root * (step.rate / correct_first);
    Learned { parameter: primitive(parameter), moments: [primitive(first), primitive(second)] }
}
