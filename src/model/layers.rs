//! The layers that the generator and the discriminator share.

use std::ops::Range;

use burn::module::{Module, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};

use super::architecture::Doubling;
use super::{Dropout, Dual, Spectral};
use crate::config::Norm;
use crate::kernels::{self, Activation, Geometry, Kernels};

/// What a convolution does besides its [`Geometry`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Every output out of every input.
    Plain,
    /// The adjoint of a plain one of stride 2, which doubles the size.
    Transposed,
    /// A plain one of the input doubled by repeating its pixels.
    Resized,
    /// A plain one of the input doubled by [`spread`] with [`Conv::filter`], or bilinearly without.
    Spread,
    /// Every channel for itself.
    Depthwise,
}

/// A convolution of any [`Kind`].
#[derive(Module, Debug)]
pub struct Conv<B: Backend> {
    /// What doubles the input, `[inputs, 1, 4, 4]`: a value that comes along with the parameters and is not learned.
    pub filter: Option<Param<Tensor<B, 4>>>,
    /// `[outputs, inputs, k, k]`; transposed `[inputs, outputs, k, k]`, depthwise `[channels, 1, k, k]`: PyTorch's order.
    pub weight: Param<Tensor<B, 4>>,
    /// `[outputs]`; the official code leaves it out of networks without norms.
    pub bias: Option<Param<Tensor<B, 1>>>,
    /// Where the weight is divided by its largest singular value.
    pub spectral: Option<Spectral<B>>,
    #[module(skip)]
    geometry: Geometry,
    #[module(skip)]
    kind: Kind,
}

impl<B: Backend> Conv<B> {
    /// A convolution with zero weights; [`init`](super::parameters::init) fills them.
    pub fn new(inputs: usize, outputs: usize, geometry: Geometry, device: &B::Device) -> Self {
        Self::zeros([outputs, inputs], outputs, geometry, Kind::Plain, device)
    }

    /// The adjoint of a convolution of stride 2, which doubles the size.
    pub fn transposed(inputs: usize, outputs: usize, geometry: Geometry, device: &B::Device) -> Self {
        Self::zeros([inputs, outputs], outputs, geometry, Kind::Transposed, device)
    }

    /// A convolution that doubles the size, by its adjoint (3×3, stride 2, padding 1, output padding 1) or by
    /// making the map larger before a 3×3 one.
    pub fn doubling(inputs: usize, outputs: usize, upsample: Doubling, device: &B::Device) -> Self {
        let (geometry, kind) = match upsample {
            Doubling::Transposed => return Self::transposed(inputs, outputs, Geometry::zero(3, 2, 1), device),
            Doubling::Resize => (Geometry::reflect(3), Kind::Resized),
            Doubling::ResizeZero => (Geometry::zero(3, 1, 1), Kind::Resized),
            Doubling::Bilinear => (Geometry::reflect(3), Kind::Spread),
            Doubling::Blurred => (Geometry::zero(3, 1, 1), Kind::Spread),
        };
        let filter = (upsample == Doubling::Blurred)
            .then(|| Param::from_tensor(binomial(inputs, [1.0, 3.0, 3.0, 1.0], 4.0, device)));
        Self { filter, ..Self::zeros([outputs, inputs], outputs, geometry, kind, device) }
    }

    /// A convolution of stride 1 of each channel for itself.
    pub fn depthwise(channels: usize, geometry: Geometry, device: &B::Device) -> Self {
        Self::zeros([channels, 1], channels, geometry, Kind::Depthwise, device)
    }

    fn zeros(channels: [usize; 2], outputs: usize, geometry: Geometry, kind: Kind, device: &B::Device) -> Self {
        let shape = [channels[0], channels[1], geometry.kernel, geometry.kernel];
        Self {
            filter: None,
            weight: Param::from_tensor(Tensor::zeros(shape, device)),
            bias: Some(Param::from_tensor(Tensor::zeros([outputs], device))),
            spectral: None,
            geometry,
            kind,
        }
    }

    /// The same with all weights zero.
    pub fn zeroed(self) -> Self {
        let zeros = |values: Tensor<B, 4>| {
            let tracked = values.is_require_grad();
            values.zeros_like().set_require_grad(tracked)
        };
        Self { weight: self.weight.map(zeros), ..self }
    }

    /// The same with a bias or without.
    pub fn with_bias(self, bias: bool) -> Self {
        Self { bias: self.bias.filter(|_| bias), ..self }
    }

    /// The same with its weight divided by its largest singular value, or not.
    pub fn with_spectral_norm(self, spectral: bool) -> Self {
        let weight = self.weight.val();
        Self { spectral: spectral.then(|| Spectral::new(weight.dims(), &weight.device())), ..self }
    }

    /// The same after one power iteration of its spectral norm, where it has one.
    pub fn iterate(self) -> Self {
        let weight = self.weight.val().set_require_grad(false);
        Self { spectral: self.spectral.map(|spectral| spectral.iterate(weight)), ..self }
    }
}

impl<B: Kernels> Conv<B> {
    /// # Shapes
    /// - input: `[N, inputs, H, W]`
    /// - output: `[N, outputs, geometry.output(H), geometry.output(W)]`, of a doubling one `[N, outputs, 2H, 2W]`
    pub fn forward(&self, input: Tensor<B, 4>) -> Tensor<B, 4> {
        self.run(input, self.bias())
    }

    fn bias(&self) -> Option<Tensor<B, 1>> {
        self.bias.as_ref().map(Param::val)
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
        match self.kind {
            Kind::Transposed => return rows.start / 2..(rows.end / 2 + 1).min(height),
            // Of the larger map the rows beside the band, and of the smaller one the rows beside those.
            Kind::Resized | Kind::Spread => {
                return rows.start.saturating_sub(2) / 2..(rows.end.div_ceil(2) + 1).min(height);
            }
            Kind::Plain | Kind::Depthwise => {}
        }
        let Geometry { kernel, stride, padding, .. } = self.geometry;
        // Whole strides before the band, so that the outputs of the band alone are outputs of the picture.
        let start = (rows.start * stride).saturating_sub(padding.next_multiple_of(stride));
        start..((rows.end - 1) * stride + kernel).saturating_sub(padding).min(height)
    }

    /// The output rows `rows`, from a band of the input that begins at row `start` and holds [`Conv::source_rows`].
    fn rows(&self, band: Tensor<B, 4>, start: usize, rows: Range<usize>, bias: Option<Tensor<B, 1>>) -> Tensor<B, 4> {
        let first = match self.kind {
            Kind::Transposed | Kind::Resized | Kind::Spread => 2 * start,
            Kind::Plain | Kind::Depthwise => start / self.geometry.stride,
        };
        self.run(band, bias).narrow(2, rows.start - first, rows.len())
    }

    /// [`Conv::forward`] for the output rows `rows`, from a band of the input that begins at row `start`.
    pub fn forward_rows(&self, band: Tensor<B, 4>, start: usize, rows: Range<usize>) -> Tensor<B, 4> {
        self.rows(band, start, rows, self.bias())
    }

    /// The input as the convolution proper sees it: made larger, where this is a doubling one of that kind.
    pub fn widen(&self, input: Tensor<B, 4>) -> Tensor<B, 4> {
        match (self.kind, &self.filter) {
            (Kind::Resized, _) => repeated(input),
            (Kind::Spread, Some(filter)) => spread(input, filter.val().set_require_grad(false).narrow(0, 0, 1)),
            (Kind::Spread, None) => {
                let filter = binomial(1, [1.0, 3.0, 3.0, 1.0], 4.0, &input.device());
                spread(input, filter)
            }
            _ => input,
        }
    }

    fn run(&self, input: Tensor<B, 4>, bias: Option<Tensor<B, 1>>) -> Tensor<B, 4> {
        self.convolve(self.widen(input), bias)
    }

    fn convolve(&self, input: Tensor<B, 4>, bias: Option<Tensor<B, 1>>) -> Tensor<B, 4> {
        let [_, _, height, width] = input.dims();
        let weight = self.weight.val();
        let weight = match &self.spectral {
            Some(spectral) => spectral.normalise(weight),
            None => weight,
        };
        match self.kind {
            Kind::Plain | Kind::Resized | Kind::Spread => kernels::conv2d(input, weight, bias, self.geometry),
            Kind::Transposed => kernels::conv_transpose2d(input, weight, bias, [2 * height, 2 * width], self.geometry),
            Kind::Depthwise => kernels::depthwise_conv2d(input, weight, bias, self.geometry),
        }
    }
}

/// Every pixel four times: the size doubled by its nearest neighbours.
fn repeated<B: Backend>(planes: Tensor<B, 4>) -> Tensor<B, 4> {
    let [batch, channels, height, width] = planes.dims();
    let rows = planes.reshape([batch * channels * height, 1, width, 1]).repeat(&[1, 2, 1, 2]);
    rows.reshape([batch, channels, 2 * height, 2 * width])
}

/// The same blur for every channel, `[channels, 1, k, k]`: the products of `row` with itself, with the sum `sum`.
fn binomial<B: Backend, const K: usize>(channels: usize, row: [f32; K], sum: f32, device: &B::Device) -> Tensor<B, 4> {
    let total = row.iter().sum::<f32>().powi(2);
    let products = row.iter().flat_map(|a| row.map(|b| a * b * sum / total));
    let values: Vec<f32> = products.collect();
    Tensor::from_data(TensorData::new(values.repeat(channels), [channels, 1, K, K]), device)
}

/// The size doubled by the adjoint of a blur that keeps every second pixel, `[1, 1, 4, 4]`, with the outermost pixels
/// repeated once around the map (CUT's `Upsample`). With the binomial filter of the sum 4 it is bilinear.
fn spread<B: Kernels>(planes: Tensor<B, 4>, filter: Tensor<B, 4>) -> Tensor<B, 4> {
    let [batch, channels, height, width] = planes.dims();
    let edge = |planes: Tensor<B, 4>, axis: usize| {
        let side = planes.dims()[axis];
        let border = |at: usize| planes.clone().narrow(axis, at, 1);
        Tensor::cat(vec![border(0), planes.clone(), border(side - 1)], axis)
    };
    let wide = edge(edge(planes.reshape([batch * channels, 1, height, width]), 2), 3);
    let large = kernels::conv_transpose2d(wide, filter, None, [2 * height, 2 * width], Geometry::zero(4, 2, 3));
    large.reshape([batch, channels, 2 * height, 2 * width])
}

/// Every second pixel of a map blurred with `[1, 1, 3, 3]` and mirrored around it (CUT's `Downsample`).
fn blur_and_halve<B: Kernels>(planes: Tensor<B, 4>, blur: Tensor<B, 4>) -> Tensor<B, 4> {
    let [batch, channels, height, width] = planes.dims();
    let each = planes.reshape([batch * channels, 1, height, width]);
    let small = kernels::conv2d(each, blur, None, Geometry { stride: 2, ..Geometry::reflect(3) });
    let [_, _, rows, columns] = small.dims();
    small.reshape([batch, channels, rows, columns])
}

/// Every second row and column.
fn halved<B: Backend>(planes: Tensor<B, 4>) -> Tensor<B, 4> {
    let [batch, channels, height, width] = planes.dims();
    let rows = planes.reshape([batch * channels, height / 2, 2, width]).narrow(2, 0, 1);
    let columns = rows.reshape([batch * channels, height / 2, width / 2, 2]).narrow(3, 0, 1);
    columns.reshape([batch, channels, height / 2, width / 2])
}

/// Scale and shift of an affine instance norm.
#[derive(Module, Debug)]
pub struct Affine<B: Backend> {
    /// Scale, `[channels]`.
    pub weight: Param<Tensor<B, 1>>,
    /// Shift, `[channels]`.
    pub bias: Param<Tensor<B, 1>>,
}

/// The normalisation layers of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NormStyle {
    /// Which.
    pub norm: Norm,
    /// Whether they have a scale and a shift.
    pub affine: bool,
}

impl NormStyle {
    /// No normalisation.
    pub const NONE: Self = Self { norm: Norm::None, affine: false };

    /// Whether the convolutions of a network of this style have biases: the official code (`use_bias`) has them in
    /// front of instance norms, where they cancel, and not where there is no norm.
    pub fn leaves_bias(self) -> bool {
        self.norm == Norm::Instance
    }
}

/// Convolution, instance norm where there is one, and leaky ReLU.
#[derive(Module, Debug)]
pub struct ConvNorm<B: Backend> {
    conv: Conv<B>,
    affine: Option<Affine<B>>,
    /// `[outputs, 1, 3, 3]`: after the activation the map is blurred and every second pixel kept. It comes along with the
    /// parameters and is not learned.
    blur: Option<Param<Tensor<B, 4>>>,
    #[module(skip)]
    norm: Norm,
    slope: f32,
}

impl<B: Backend> ConvNorm<B> {
    /// Channels of its input.
    pub fn inputs(&self) -> usize {
        self.conv.weight.dims()[1]
    }

    /// The same with a blur behind it that halves the size.
    pub fn with_blur(self, outputs: usize, device: &B::Device) -> Self {
        Self { blur: Some(Param::from_tensor(binomial(outputs, [1.0, 2.0, 1.0], 1.0, device))), ..self }
    }

    /// Whether a blur halves the size behind it.
    pub fn is_blurred(&self) -> bool {
        self.blur.is_some()
    }

    /// Whether it convolves at the larger of its two sizes: before a blur that halves it, or after a doubling.
    pub fn is_wide(&self) -> bool {
        self.blur.is_some() || matches!(self.conv.kind, Kind::Resized | Kind::Spread)
    }

    /// `slope` is the leaky ReLU's: 0 for ReLU, 1 for none.
    pub fn new(conv: Conv<B>, outputs: usize, style: NormStyle, slope: f32, device: &B::Device) -> Self {
        let affine = (style.affine && style.norm == Norm::Instance).then(|| Affine {
            weight: Param::from_tensor(Tensor::ones([outputs], device)),
            bias: Param::from_tensor(Tensor::zeros([outputs], device)),
        });
        Self { conv, affine, blur: None, norm: style.norm, slope }
    }

    /// See [`Conv::iterate`].
    pub fn iterate(self) -> Self {
        Self { conv: self.conv.iterate(), ..self }
    }
}

impl<B: Kernels> ConvNorm<B> {
    /// # Shapes
    /// As [`Conv::forward`].
    ///
    /// The convolution's bias is left out in front of an instance norm, which takes away whatever constant it adds.
    pub fn forward(&self, input: Tensor<B, 4>) -> Tensor<B, 4> {
        self.blurred(self.beside(input, None), 0)
    }

    /// Every second pixel of the blurred map, where there is a blur, from a band of it that begins at row `start`: at
    /// the first, or one before the first that is kept.
    pub fn blurred(&self, planes: Tensor<B, 4>, start: usize) -> Tensor<B, 4> {
        let Some(blur) = &self.blur else { return planes };
        let blur = blur.val().set_require_grad(false);
        if start == 0 {
            return blur_and_halve(planes, blur.narrow(0, 0, 1));
        }
        let smooth = kernels::depthwise_conv2d(planes, blur, None, Geometry::reflect(3));
        let rows = smooth.dims()[2];
        halved(smooth.narrow(2, 1, rows - 1))
    }

    /// The rows before the blur, where there is one, that a band of output rows is made of.
    pub fn blur_rows(&self, rows: Range<usize>) -> Range<usize> {
        if self.is_blurred() { (2 * rows.start).saturating_sub(1)..2 * rows.end } else { rows }
    }

    /// [`ConvNorm::forward`], and the sum with what was `skipped` around it.
    ///
    /// # Shapes
    /// - skipped: as the output
    fn beside(&self, input: Tensor<B, 4>, skipped: Option<Tensor<B, 4>>) -> Tensor<B, 4> {
        let (planes, _) = self.convolve(self.widen(input));
        self.behind(planes, skipped)
    }

    /// The input as the convolution proper sees it.
    pub fn widen(&self, input: Tensor<B, 4>) -> Tensor<B, 4> {
        self.conv.widen(input)
    }

    /// Whether a norm follows the convolution.
    pub fn has_norm(&self) -> bool {
        self.norm == Norm::Instance
    }

    /// The convolution proper, and the bias that is left out of its output, in front of a norm.
    pub fn convolve(&self, wide: Tensor<B, 4>) -> (Tensor<B, 4>, Option<Tensor<B, 1>>) {
        (self.conv.convolve(wide, self.bias()), self.conv.bias().filter(|_| self.has_norm()))
    }

    /// Norm and activation.
    pub fn activate(&self, planes: Tensor<B, 4>) -> Tensor<B, 4> {
        self.behind(planes, None)
    }

    fn behind(&self, planes: Tensor<B, 4>, skipped: Option<Tensor<B, 4>>) -> Tensor<B, 4> {
        let output = match (self.norm, &self.affine) {
            (Norm::Instance, None) => return kernels::instance_norm(planes, skipped, self.slope),
            (Norm::Instance, Some(_)) => self.finish(kernels::instance_norm(planes, None, 1.0)),
            (Norm::None, _) => self.finish(planes),
        };
        match skipped {
            Some(skipped) => skipped + output,
            None => output,
        }
    }

    /// The bias that makes a difference.
    fn bias(&self) -> Option<Tensor<B, 1>> {
        match self.norm {
            Norm::Instance => None,
            Norm::None => self.conv.bias(),
        }
    }

    /// [`ConvNorm::forward`] with its derivative.
    pub fn dual(&self, input: Dual<B>) -> Dual<B> {
        let value = self.conv.run(input.value, self.bias());
        let planes = Dual { value, tangent: self.conv.derivative(input.tangent) };
        let unit = match self.norm {
            Norm::Instance => planes.instance_norm(),
            Norm::None => planes,
        };
        let scaled = match &self.affine {
            Some(affine) => unit.affine(shaped(&affine.weight), shaped(&affine.bias)),
            None => unit,
        };
        let Dual { value, tangent } = scaled.leaky_relu(self.slope);
        Dual { value: self.blurred(value, 0), tangent: self.blurred(tangent, 0) }
    }

    /// See [`Conv::source_rows`].
    pub fn source_rows(&self, rows: Range<usize>, height: usize) -> Range<usize> {
        self.conv.source_rows(rows, height)
    }

    /// The convolution alone, as [`Conv::forward_rows`].
    pub fn convolve_rows(&self, band: Tensor<B, 4>, start: usize, rows: Range<usize>) -> Tensor<B, 4> {
        self.conv.rows(band, start, rows, self.bias())
    }

    /// What follows the convolution, with the mean and 1/σ of every channel given, `[1, channels, 1, 1]`.
    pub fn normalise(&self, planes: Tensor<B, 4>, [mean, scale]: [Tensor<B, 4>; 2]) -> Tensor<B, 4> {
        match self.norm {
            Norm::Instance => self.finish((planes - mean) * scale),
            Norm::None => self.finish(planes),
        }
    }

    /// Scale, shift and activation of normalised planes.
    fn finish(&self, unit: Tensor<B, 4>) -> Tensor<B, 4> {
        let scaled = match &self.affine {
            Some(affine) => unit * shaped(&affine.weight) + shaped(&affine.bias),
            None => unit,
        };
        match self.slope {
            1.0 => scaled,
            slope => kernels::activate(scaled, Activation::LeakyRelu(slope)),
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
/// activation after the sum (Johnson et al. 2016 as changed by the CycleGAN code). A separable block has for each a
/// depthwise one, a norm and a 1×1 one (`MobileResnetBlock` of Li et al. 2020, <https://arxiv.org/abs/2003.08936>).
#[derive(Module, Debug)]
pub struct ResidualBlock<B: Backend> {
    first: Vec<ConvNorm<B>>,
    second: Vec<ConvNorm<B>>,
}

impl<B: Backend> ResidualBlock<B> {
    /// A block on `channels` channels.
    pub fn new(channels: usize, separable: bool, style: NormStyle, device: &B::Device) -> Self {
        let layer =
            |conv: Conv<B>, slope| ConvNorm::new(conv.with_bias(style.leaves_bias()), channels, style, slope, device);
        let half = |slope| {
            if separable {
                let each = Conv::depthwise(channels, Geometry::reflect(3), device);
                let all = Conv::new(channels, channels, Geometry::zero(1, 1, 0), device);
                vec![layer(each, 1.0), layer(all, slope)]
            } else {
                vec![layer(Conv::new(channels, channels, Geometry::reflect(3), device), slope)]
            }
        };
        Self { first: half(0.0), second: half(1.0) }
    }
}

impl<B: Kernels> ResidualBlock<B> {
    /// Its layers: the block's output is its input plus what comes out of the last.
    pub fn layers(&self) -> Vec<&ConvNorm<B>> {
        self.first.iter().chain(&self.second).collect()
    }

    /// `layer` tells the block's dropout from others' of the same pass.
    ///
    /// # Shapes
    /// - input and output: `[N, channels, H, W]`, H and W at least 2
    pub fn forward(&self, input: Tensor<B, 4>, dropout: Option<Dropout>, layer: usize) -> Tensor<B, 4> {
        let through =
            |layers: &[ConvNorm<B>], planes| layers.iter().fold(planes, |planes, layer| layer.forward(planes));
        let mut half = through(&self.first, input.clone());
        if let Some(dropout) = dropout {
            half = dropout.apply(half, layer);
        }
        match self.second.split_last() {
            Some((last, layers)) => last.beside(through(layers, half), Some(input)),
            None => input + half,
        }
    }
}
