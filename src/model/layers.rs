//! The layers that the generator and the discriminator share.

use std::ops::Range;

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::Dual;
use crate::kernels::{self, Geometry, Kernels};

/// A convolution or, with `transposed`, its adjoint, which doubles the size (3×3, stride 2,
/// padding 1, output padding 1). Every one has a bias, as in the official code.
#[derive(Module, Debug)]
pub struct Conv<B: Backend> {
    /// `[outputs, inputs, k, k]`; transposed `[inputs, outputs, k, k]`: PyTorch's order in both cases.
    pub weight: Param<Tensor<B, 4>>,
    /// `[outputs]`.
    pub bias: Param<Tensor<B, 1>>,
    #[module(skip)]
    geometry: Geometry,
    transposed: bool,
}

impl<B: Backend> Conv<B> {
    /// A convolution with zero weights; [`init`](super::init) fills them.
    pub fn new(inputs: usize, outputs: usize, geometry: Geometry, device: &B::Device) -> Self {
        Self::zeros([outputs, inputs], outputs, geometry, false, device)
    }

    /// A transposed convolution that doubles the size.
    pub fn doubling(inputs: usize, outputs: usize, device: &B::Device) -> Self {
        Self::zeros([inputs, outputs], outputs, Geometry::zero(3, 2, 1), true, device)
    }

    fn zeros(channels: [usize; 2], outputs: usize, geometry: Geometry, transposed: bool, device: &B::Device) -> Self {
        let shape = [channels[0], channels[1], geometry.kernel, geometry.kernel];
        Self {
            weight: Param::from_tensor(Tensor::zeros(shape, device)),
            bias: Param::from_tensor(Tensor::zeros([outputs], device)),
            geometry,
            transposed,
        }
    }
}

impl<B: Kernels> Conv<B> {
    /// # Shapes
    /// - input: `[N, inputs, H, W]`
    /// - output: `[N, outputs, geometry.output(H), geometry.output(W)]`, transposed `[N, outputs, 2H, 2W]`
    pub fn forward(&self, input: Tensor<B, 4>) -> Tensor<B, 4> {
        self.run(input, Some(self.bias.val()))
    }

    /// [`Conv::forward`] with its derivative.
    pub fn dual(&self, input: Dual<B>) -> Dual<B> {
        Dual { value: self.forward(input.value), tangent: self.derivative(input.tangent) }
    }

    /// The derivative of [`Conv::forward`] as its input moves along `tangent`: the same without the bias.
    pub fn derivative(&self, tangent: Tensor<B, 4>) -> Tensor<B, 4> {
        self.run(tangent, None)
    }

    /// The input rows, of `height` in all, that a band of output rows is made of.
    pub fn source_rows(&self, rows: Range<usize>, height: usize) -> Range<usize> {
        if self.transposed {
            return rows.start / 2..(rows.end / 2 + 1).min(height);
        }
        let Geometry { kernel, stride, padding, .. } = self.geometry;
        // Whole strides before the band, so that the outputs of the band alone are outputs of the picture.
        let start = (rows.start * stride).saturating_sub(padding.next_multiple_of(stride));
        start..((rows.end - 1) * stride + kernel).saturating_sub(padding).min(height)
    }

    /// The output rows `rows`, from a band of the input that begins at row `start` and holds [`Conv::source_rows`].
    fn rows(&self, band: Tensor<B, 4>, start: usize, rows: Range<usize>, bias: Option<Tensor<B, 1>>) -> Tensor<B, 4> {
        let first = if self.transposed { 2 * start } else { start / self.geometry.stride };
        self.run(band, bias).narrow(2, rows.start - first, rows.len())
    }

    /// [`Conv::forward`] for the output rows `rows`, from a band of the input that begins at row `start`.
    pub fn forward_rows(&self, band: Tensor<B, 4>, start: usize, rows: Range<usize>) -> Tensor<B, 4> {
        self.rows(band, start, rows, Some(self.bias.val()))
    }

    fn run(&self, input: Tensor<B, 4>, bias: Option<Tensor<B, 1>>) -> Tensor<B, 4> {
        let [_, _, height, width] = input.dims();
        if self.transposed {
            kernels::conv_transpose2d(input, self.weight.val(), bias, [2 * height, 2 * width], self.geometry)
        } else {
            kernels::conv2d(input, self.weight.val(), bias, self.geometry)
        }
    }
}

/// Scale and shift of an affine instance norm.
#[derive(Module, Debug)]
pub struct Affine<B: Backend> {
    /// Scale, `[channels]`.
    pub weight: Param<Tensor<B, 1>>,
    /// Shift, `[channels]`.
    pub bias: Param<Tensor<B, 1>>,
}

/// Convolution, instance norm and leaky ReLU.
#[derive(Module, Debug)]
pub struct ConvNorm<B: Backend> {
    conv: Conv<B>,
    affine: Option<Affine<B>>,
    slope: f32,
}

impl<B: Backend> ConvNorm<B> {
    /// `slope` is the leaky ReLU's: 0 for ReLU, 1 for none. `affine`: the norm has a scale (1) and a shift (0).
    pub fn new(conv: Conv<B>, outputs: usize, affine: bool, slope: f32, device: &B::Device) -> Self {
        let affine = affine.then(|| Affine {
            weight: Param::from_tensor(Tensor::ones([outputs], device)),
            bias: Param::from_tensor(Tensor::zeros([outputs], device)),
        });
        Self { conv, affine, slope }
    }
}

impl<B: Kernels> ConvNorm<B> {
    /// # Shapes
    /// As [`Conv::forward`].
    ///
    /// The convolution's bias is left out: an instance norm takes away whatever constant it adds.
    pub fn forward(&self, input: Tensor<B, 4>) -> Tensor<B, 4> {
        let planes = self.conv.run(input, None);
        match &self.affine {
            None => kernels::instance_norm(planes, self.slope),
            Some(_) => self.finish(kernels::instance_norm(planes, 1.0)),
        }
    }

    /// [`ConvNorm::forward`] with its derivative.
    pub fn dual(&self, input: Dual<B>) -> Dual<B> {
        let value = self.conv.run(input.value, None);
        let unit = Dual { value, tangent: self.conv.derivative(input.tangent) }.instance_norm();
        let scaled = match &self.affine {
            Some(affine) => unit.affine(shaped(&affine.weight), shaped(&affine.bias)),
            None => unit,
        };
        scaled.leaky_relu(self.slope)
    }

    /// See [`Conv::source_rows`].
    pub fn source_rows(&self, rows: Range<usize>, height: usize) -> Range<usize> {
        self.conv.source_rows(rows, height)
    }

    /// The convolution alone, as [`Conv::forward_rows`].
    pub fn convolve_rows(&self, band: Tensor<B, 4>, start: usize, rows: Range<usize>) -> Tensor<B, 4> {
        self.conv.rows(band, start, rows, None)
    }

    /// What follows the convolution, with the mean and 1/σ of every channel given, `[1, channels, 1, 1]`.
    pub fn normalise(&self, planes: Tensor<B, 4>, [mean, scale]: [Tensor<B, 4>; 2]) -> Tensor<B, 4> {
        self.finish((planes - mean) * scale)
    }

    /// Scale, shift and activation of normalised planes.
    fn finish(&self, unit: Tensor<B, 4>) -> Tensor<B, 4> {
        let scaled = match &self.affine {
            Some(affine) => unit * shaped(&affine.weight) + shaped(&affine.bias),
            None => unit,
        };
        match self.slope {
            1.0 => scaled,
            0.0 => burn::tensor::activation::relu(scaled),
            slope => burn::tensor::activation::leaky_relu(scaled, f64::from(slope)),
        }
    }
}

/// One value a channel, `[channels]`, beside planes: `[1, channels, 1, 1]`.
fn shaped<B: Backend>(param: &Param<Tensor<B, 1>>) -> Tensor<B, 4> {
    let values = param.val();
    let channels = values.dims()[0];
    values.reshape([1, channels, 1, 1])
}

/// `x + norm(conv(relu(norm(conv(x)))))`, both convolutions 3×3 with reflection padding; no
/// activation after the sum (Johnson et al. 2016 as changed by the CycleGAN code).
#[derive(Module, Debug)]
pub struct ResidualBlock<B: Backend> {
    first: ConvNorm<B>,
    second: ConvNorm<B>,
}

impl<B: Backend> ResidualBlock<B> {
    /// A block on `channels` channels.
    pub fn new(channels: usize, affine: bool, device: &B::Device) -> Self {
        let layer = |slope| {
            let conv = Conv::new(channels, channels, Geometry::reflect(3), device);
            ConvNorm::new(conv, channels, affine, slope, device)
        };
        Self { first: layer(0.0), second: layer(1.0) }
    }
}

impl<B: Kernels> ResidualBlock<B> {
    /// Its two layers: the block's output is its input plus what comes out of the second.
    pub fn layers(&self) -> [&ConvNorm<B>; 2] {
        [&self.first, &self.second]
    }

    /// # Shapes
    /// - input and output: `[N, channels, H, W]`, H and W at least 2
    pub fn forward(&self, input: Tensor<B, 4>) -> Tensor<B, 4> {
        input.clone() + self.second.forward(self.first.forward(input))
    }
}
