//! The few operations the networks live on, behind one seam.
//!
//! [`Kernels`] extends a Burn backend with convolutions whose reflection or zero padding is part
//! of the index arithmetic, and with instance normalisation fused with its activation. Every
//! operation has a portable default made of Burn's own operations ([`portable`]); flex brings its
//! own ([`flex`]); `Autodiff<B>` adds the backward passes once, for every backend ([`autodiff`]).
//!
//! The three convolution operations are all that is needed: a transposed convolution is the
//! adjoint of a convolution, so its forward pass is [`Kernels::convolve_input_grad`], and its
//! backward passes are [`Kernels::convolve`] and [`Kernels::convolve_weight_grad`].

mod autodiff;
mod cpu;
mod flex;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod gpu;
pub mod portable;

#[cfg(any(feature = "wgpu", feature = "cuda"))]
pub use gpu::{Choice, set_tiles, tune};

#[cfg(target_family = "wasm")]
pub use cpu::help;

use std::cell::Cell;

use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{Tensor, TensorPrimitive};

pub use crate::config::Precision;

/// What lies outside the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Border {
    /// Zeros.
    Zero,
    /// The picture mirrored at its outermost pixels, which are not repeated (`ReflectionPad2d`).
    Reflect,
}

/// A square convolution: the same stride and padding on both axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Side of the kernel.
    pub kernel: usize,
    /// Step between outputs.
    pub stride: usize,
    /// Pixels added on every side.
    pub padding: usize,
    /// What they hold.
    pub border: Border,
}

impl Geometry {
    /// A convolution with zero padding.
    pub const fn zero(kernel: usize, stride: usize, padding: usize) -> Self {
        Self { kernel, stride, padding, border: Border::Zero }
    }

    /// A stride-1 convolution with reflection padding that keeps the size.
    pub const fn reflect(kernel: usize) -> Self {
        Self { kernel, stride: 1, padding: kernel / 2, border: Border::Reflect }
    }

    /// Output side for an input side; 0 when the input is too small.
    pub const fn output(&self, input: usize) -> usize {
        match (input + 2 * self.padding).checked_sub(self.kernel) {
            Some(rest) => rest / self.stride + 1,
            None => 0,
        }
    }
}

thread_local! {
    static PRECISION: Cell<Precision> = const { Cell::new(Precision::F32) };
}

/// Runs code whose convolutions, on this thread, are computed in a precision that [`Kernels::multiplies_in`] the backend.
pub fn with_precision<T>(precision: Precision, run: impl FnOnce() -> T) -> T {
    let before = PRECISION.replace(precision);
    let found = run();
    PRECISION.set(before);
    found
}

/// What [`with_precision`] chose.
#[cfg(any(feature = "wgpu", feature = "cuda", target_arch = "x86_64"))]
fn precision() -> Precision {
    PRECISION.get()
}

/// The numbers of one Adam step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamStep {
    /// Learning rate.
    pub rate: f64,
    /// Decay of the first and of the second moment.
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Steps made, this one included: 1 in the first.
    pub time: u64,
}

impl AdamStep {
    /// What the moments are divided by: 1 − βᵗ.
    fn corrections(&self) -> [f64; 2] {
        self.betas.map(|beta| 1.0 - beta.powf(self.time as f64))
    }
}

/// A parameter and what Adam remembers of it.
#[derive(Clone, Debug)]
pub struct Learned<T> {
    /// The parameter.
    pub parameter: T,
    /// The first and the second moment of its gradient.
    pub moments: [T; 2],
}

impl<T> Learned<T> {
    fn map<U>(self, change: impl Fn(T) -> U) -> Learned<U> {
        Learned { parameter: change(self.parameter), moments: self.moments.map(change) }
    }
}

/// What follows a convolution that has no norm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// `v` where `v > 0`, else `slope · v`; a slope of 0 is ReLU, and none is below.
    LeakyRelu(f32),
    /// Hyperbolic tangent.
    Tanh,
}

/// What an output is to come near to, and the distance from it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal<T> {
    /// Other planes: the absolute difference.
    Planes(T),
    /// One number for the first half of the values and one for the others: the squared difference.
    Numbers([f32; 2]),
}

impl<T> Goal<T> {
    /// The same goal with other planes.
    fn map<U>(self, change: impl FnOnce(T) -> U) -> Goal<U> {
        match self {
            Self::Planes(planes) => Goal::Planes(change(planes)),
            Self::Numbers(numbers) => Goal::Numbers(numbers),
        }
    }
}

/// A Burn backend with the operations of this model. Tensors are NCHW, contiguous or not.
pub trait Kernels: Backend {
    /// Whether a device's convolutions can be computed in a precision.
    fn multiplies_in(precision: Precision, _device: &Self::Device) -> bool {
        precision == Precision::F32
    }

    /// Convolution. Floor: `2·N·Cout·Hout·Wout·Cin·k²` operations (by the definition; Winograd needs fewer); the
    /// input, the weight and the output once, 4 bytes a value.
    ///
    /// # Shapes
    /// - input: `[N, Cin, H, W]`, weight: `[Cout, Cin, k, k]`, bias: `[Cout]`
    /// - output: `[N, Cout, geometry.output(H), geometry.output(W)]`
    fn convolve(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: Option<FloatTensor<Self>>,
        geometry: Geometry,
    ) -> FloatTensor<Self> {
        portable::conv2d::<Self>(input, weight, bias, geometry)
    }

    /// The adjoint of [`Kernels::convolve`] in its input: the gradient of the input, and the forward
    /// pass of a transposed convolution (then with a bias). Floor: as [`Kernels::convolve`].
    ///
    /// # Shapes
    /// - output_grad: `[N, Cout, Hout, Wout]`, weight: `[Cout, Cin, k, k]`, bias: `[Cin]`
    /// - output: `[N, Cin, input_size[0], input_size[1]]`
    fn convolve_input_grad(
        output_grad: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: Option<FloatTensor<Self>>,
        input_size: [usize; 2],
        geometry: Geometry,
    ) -> FloatTensor<Self> {
        portable::conv2d_input_grad::<Self>(output_grad, weight, bias, input_size, geometry)
    }

    /// The adjoint of [`Kernels::convolve`] in its weight, shaped like `weight` (whose values are not read).
    /// Floor: the operations of [`Kernels::convolve`]; the input, the gradient and the result once.
    ///
    /// # Shapes
    /// - input: `[N, Cin, H, W]`, output_grad: `[N, Cout, Hout, Wout]`
    /// - output: `[Cout, Cin, k, k]`
    fn convolve_weight_grad(
        input: FloatTensor<Self>,
        output_grad: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        geometry: Geometry,
    ) -> FloatTensor<Self> {
        portable::conv2d_weight_grad::<Self>(input, output_grad, weight, geometry)
    }

    /// The gradient of a convolution's bias: the sum over everything but the channels. Floor: 4 bytes read a value.
    ///
    /// # Shapes
    /// - output_grad: `[N, C, H, W]`; output: `[C]`
    fn bias_grad(output_grad: FloatTensor<Self>) -> FloatTensor<Self> {
        portable::bias_grad::<Self>(output_grad)
    }

    /// A convolution of stride 1 of each channel for itself. Floor: `2·N·C·H·W·k²` operations, the input and the output
    /// once, 4 bytes a value; the default reads and writes about 3·k² as much, beside a 1×1 convolution of
    /// `2·N·C²·H·W` operations that follows it in a separable block.
    ///
    /// # Shapes
    /// - input: `[N, C, H, W]`, weight: `[C, 1, k, k]`
    /// - output: `[N, C, geometry.output(H), geometry.output(W)]`
    fn convolve_depthwise(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        geometry: Geometry,
    ) -> FloatTensor<Self> {
        portable::depthwise::<Self>(input, weight, geometry)
    }

    /// Instance normalisation (Ulyanov et al. 2016, <https://arxiv.org/abs/1607.08022>) of every
    /// plane with its own mean and biased variance, then leaky ReLU: `v` where `v > 0`, else
    /// `slope · v`; then the sum with what was `skipped` around it. A slope of 1 is no activation, 0 is ReLU. Beside
    /// the output, what the backend wants to see again in [`Kernels::instance_norm_grad`]. Floor: 4 bytes read (8 with
    /// a sum) and 4 written a value where a plane stays in the cache between its two passes, else 4 more; about 6
    /// operations.
    ///
    /// # Shapes
    /// - input, skipped and output: `[N, C, H, W]`
    fn instance_norm(
        input: FloatTensor<Self>,
        skipped: Option<FloatTensor<Self>>,
        slope: f32,
    ) -> (FloatTensor<Self>, Option<FloatTensor<Self>>) {
        (portable::instance_norm::<Self>(input, skipped, slope), None)
    }

    /// The gradient of [`Kernels::instance_norm`]'s input, from that input, the moments that came of it and the output's
    /// gradient, which is also that of what was skipped. Floor: 8 bytes read (16 where a plane is not kept in the cache)
    /// and 4 written a value; about 12 operations.
    fn instance_norm_grad(
        input: FloatTensor<Self>,
        moments: Option<FloatTensor<Self>>,
        output_grad: FloatTensor<Self>,
        slope: f32,
    ) -> FloatTensor<Self> {
        let _ = moments;
        portable::instance_norm_grad::<Self>(input, output_grad, slope)
    }

    /// An [`Activation`]. Floor: 4 bytes read and 4 written a value; 2 operations, for a hyperbolic tangent about 10.
    ///
    /// # Shapes
    /// - input and output: `[N, C, H, W]`
    fn activate(input: FloatTensor<Self>, activation: Activation) -> FloatTensor<Self> {
        portable::activate::<Self>(input, activation)
    }

    /// The gradient of [`Kernels::activate`]'s input, from its output and the output's gradient: `g` where the output is
    /// over 0, else `slope · g`; of a hyperbolic tangent `g · (1 − output²)`. Floor: 8 bytes read and 4 written a value;
    /// 3 operations.
    fn activate_grad(
        output: FloatTensor<Self>,
        output_grad: FloatTensor<Self>,
        activation: Activation,
    ) -> FloatTensor<Self> {
        portable::activate_grad::<Self>(output, output_grad, activation)
    }

    /// `weight` times the mean distance from a [`Goal`]. Floor: 8 bytes read a value, 4 where the goal is numbers; 3
    /// operations.
    ///
    /// # Shapes
    /// - values and goal: `[N, C, H, W]`; output: `[1]`
    fn distance(values: FloatTensor<Self>, goal: Goal<FloatTensor<Self>>, weight: f32) -> FloatTensor<Self> {
        portable::distance::<Self>(values, goal, weight)
    }

    /// The gradient of [`Kernels::distance`] in the values, from that of the distance, `[1]`: with `n` values and `d` a
    /// difference `weight/n · g · sign d`, or `2 · weight/n · g · d` where the goal is numbers. Floor: 8 bytes read and 4
    /// written a value, 4 and 4 where the goal is numbers; 3 operations.
    fn distance_grad(
        values: FloatTensor<Self>,
        goal: Goal<FloatTensor<Self>>,
        weight: f32,
        distance_grad: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        portable::distance_grad::<Self>(values, goal, weight, distance_grad)
    }

    /// The values of some tensors one after the other. Floor: 4 bytes read and 4 written a value.
    ///
    /// # Shapes
    /// - each part `[count]`; output: `[sum of the counts]`
    ///
    /// # Panics
    /// Without a part.
    fn join(parts: Vec<FloatTensor<Self>>) -> FloatTensor<Self> {
        portable::join::<Self>(parts)
    }

    /// One step of Adam (Kingma & Ba 2015, <https://arxiv.org/abs/1412.6980>, algorithm 1) on some
    /// parameters with a gradient each. Floor: 16 bytes read and 12 written a value; about 12 operations.
    ///
    /// # Shapes
    /// - all of one parameter `[count]`
    fn adam(
        all: Vec<(Learned<FloatTensor<Self>>, FloatTensor<Self>)>,
        step: AdamStep,
    ) -> Vec<Learned<FloatTensor<Self>>> {
        portable::adam::<Self>(all, step)
    }
}

/// PyTorch's default, which the official code keeps.
pub const NORM_EPSILON: f64 = 1e-5;

#[cfg(feature = "candle")]
#[allow(deprecated, reason = "burn-candle is deprecated after 0.21, on which this project stays")]
impl Kernels for burn::backend::Candle {}

fn float<B: Backend, const D: usize>(primitive: FloatTensor<B>) -> Tensor<B, D> {
    Tensor::from_primitive(TensorPrimitive::Float(primitive))
}

fn primitive<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> FloatTensor<B> {
    tensor.into_primitive().tensor()
}

/// [`Kernels::convolve`] on tensors.
pub fn conv2d<B: Kernels>(
    input: Tensor<B, 4>,
    weight: Tensor<B, 4>,
    bias: Option<Tensor<B, 1>>,
    geometry: Geometry,
) -> Tensor<B, 4> {
    float(B::convolve(primitive(input), primitive(weight), bias.map(primitive), geometry))
}

/// Transposed convolution with weight `[Cin, Cout, k, k]` (PyTorch's order), the adjoint of the
/// convolution `geometry`; `output_size` chooses among the sizes which that convolution maps to
/// the input's.
pub fn conv_transpose2d<B: Kernels>(
    input: Tensor<B, 4>,
    weight: Tensor<B, 4>,
    bias: Option<Tensor<B, 1>>,
    output_size: [usize; 2],
    geometry: Geometry,
) -> Tensor<B, 4> {
    float(B::convolve_input_grad(primitive(input), primitive(weight), bias.map(primitive), output_size, geometry))
}

/// [`Kernels::convolve_depthwise`] on tensors, and a bias `[C]`.
pub fn depthwise_conv2d<B: Kernels>(
    input: Tensor<B, 4>,
    weight: Tensor<B, 4>,
    bias: Option<Tensor<B, 1>>,
    geometry: Geometry,
) -> Tensor<B, 4> {
    portable::biased(float(B::convolve_depthwise(primitive(input), primitive(weight), geometry)), bias)
}

/// [`Kernels::instance_norm`] on tensors.
pub fn instance_norm<B: Kernels>(input: Tensor<B, 4>, skipped: Option<Tensor<B, 4>>, slope: f32) -> Tensor<B, 4> {
    let (output, _) = B::instance_norm(primitive(input), skipped.map(primitive), slope);
    float(output)
}

/// [`Kernels::activate`] on tensors.
pub fn activate<B: Kernels>(input: Tensor<B, 4>, activation: Activation) -> Tensor<B, 4> {
    float(B::activate(primitive(input), activation))
}

/// [`Kernels::distance`] on tensors. The goal is a constant: no gradient goes there.
pub fn distance<B: Kernels>(values: Tensor<B, 4>, goal: Goal<Tensor<B, 4>>, weight: f32) -> Tensor<B, 1> {
    float(B::distance(primitive(values), goal.map(primitive), weight))
}

/// [`Kernels::join`] on tensors, along their first axis.
pub fn join<B: Kernels, const D: usize>(mut parts: Vec<Tensor<B, D>>) -> Tensor<B, D> {
    if parts.len() == 1 {
        return parts.remove(0);
    }
    let mut shape = parts[0].dims();
    shape[0] = parts.iter().map(|part| part.dims()[0]).sum();
    let flat = |part: Tensor<B, D>| {
        let count = part.shape().num_elements();
        primitive::<B, 1>(part.reshape([count]))
    };
    float::<B, 1>(B::join(parts.into_iter().map(flat).collect())).reshape(shape)
}

/// [`Kernels::adam`] on tensors.
pub fn adam<B: Kernels>(all: Vec<(Learned<Tensor<B, 1>>, Tensor<B, 1>)>, step: AdamStep) -> Vec<Learned<Tensor<B, 1>>> {
    let all = all.into_iter().map(|(learned, grad)| (learned.map(primitive), primitive(grad)));
    B::adam(all.collect(), step).into_iter().map(|learned| learned.map(float)).collect()
}
