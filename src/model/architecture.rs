//! Which network a set of weights belongs to: the architectures of the paper and of its code, their
//! parameters' names and shapes.
//!
//! Names and order are those of the official PyTorch `state_dict`
//! (<https://github.com/junyanz/pytorch-CycleGAN-and-pix2pix>, `models/networks.py`): each
//! network is one `nn.Sequential` called `model`, so a name holds the position of a layer among
//! *all* layers, paddings and activations included.

use std::ops::RangeInclusive;

use burn::tensor::backend::Backend;
use serde::{Deserialize, Serialize};

use super::{Generator, PatchDiscriminator, PatchDiscriminatorConfig, ResnetGeneratorConfig, UnetGeneratorConfig};
use crate::config::{self, Norm, Upsample};

/// A parameter's name and shape.
pub type Parameter = (String, Vec<usize>);

/// How the name of a network without normalisation layers ends.
pub const WITHOUT_NORM: &str = "_without_norm";
/// In the name of a generator that adds its input to its output.
pub const SKIP: &str = "_skip";

/// How the names of a blur's filters end.
pub const FILTER: &str = ".filt";

/// Bounds of [`Architecture::infer`]: far above any real network, low enough for any arithmetic.
const MAX_CHANNELS: usize = 1 << 13;
const MAX_BLOCKS: usize = 1 << 10;
/// A U-Net has its blocks of dropout from five halvings on; with ten its pictures are multiples of 1024.
const HALVINGS: RangeInclusive<usize> = 5..=10;

/// A network, up to the values of its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Architecture {
    /// The generator of Johnson et al. 2016, as in the CycleGAN paper's appendix 7.2.
    Resnet {
        /// Channels of the images it reads; 3 for RGB.
        in_channels: usize,
        /// Channels of the images it writes; 3 for RGB.
        out_channels: usize,
        /// Channels after the first convolution; 64 in the paper.
        ngf: usize,
        /// Residual blocks; 9 in the paper for images of 256 pixels, 6 for 128.
        n_blocks: usize,
        /// Whether the instance norms scale and shift; not in the paper's networks.
        affine: bool,
        /// What else differs from the paper's; nothing by default.
        style: ResnetStyle,
    },
    /// The U-Net generator of Isola et al. 2017 (official `unet_128` and `unet_256`).
    Unet {
        /// Channels of the images it reads; 3 for RGB.
        in_channels: usize,
        /// Channels of the images it writes; 3 for RGB.
        out_channels: usize,
        /// Channels after the first convolution.
        ngf: usize,
        /// Halvings of the size: 7 for images of 128 pixels, 8 for 256.
        halvings: usize,
        /// Its normalisation layers.
        norm: Norm,
        /// Whether they scale and shift.
        affine: bool,
    },
    /// The PatchGAN discriminator of Isola et al. 2017.
    Patch {
        /// Channels of the images it judges; 3 for RGB.
        in_channels: usize,
        /// Channels after the first convolution; 64 in the paper.
        ndf: usize,
        /// Layers before the last two; 3 gives the 70×70 PatchGAN.
        n_layers: usize,
        /// What else differs from the paper's; nothing by default.
        style: PatchStyle,
    },
}

/// How a residual generator differs from the paper's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ResnetStyle {
    /// Whether its blocks are depthwise separable (`mobile-resnet`).
    pub separable: bool,
    /// How the size is halved.
    #[serde(default)]
    pub downsample: Downsample,
    /// How the size is doubled.
    pub upsample: Doubling,
    /// The normalisation layers.
    pub norm: Norm,
    /// Whether its output is its input plus what its layers give, within [-1, 1]; there is no tanh then. Tensors do not
    /// tell: a weight file's metadata does.
    #[serde(default)]
    pub skip: bool,
}

/// How a residual generator halves the size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Downsample {
    /// A convolution of stride 2 with zeroes around the map: the paper's.
    #[default]
    Strided,
    /// One of stride 2 with the map mirrored around it, under the names of Aladdin Persson's tutorial.
    Mirrored,
    /// One of stride 1, its activation, and a blur of which every second pixel is kept: the default of CUT (Park et al.
    /// 2020, <https://arxiv.org/abs/2007.15651>) after Zhang 2019 (<https://arxiv.org/abs/1904.11486>).
    Blurred,
}

/// How a residual generator doubles the size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Doubling {
    /// A transposed convolution: the paper's.
    #[default]
    Transposed,
    /// Nearest neighbours, and a convolution with the map mirrored around it: this program's.
    Resize,
    /// Nearest neighbours, and a convolution with zeroes around the map: `nn.Upsample` and `nn.Conv2d`.
    ResizeZero,
    /// Bilinear, and a convolution with the map mirrored around it: `nn.Upsample`, `nn.ReflectionPad2d` and `nn.Conv2d` of
    /// the official code's questions and answers.
    Bilinear,
    /// A blur between the pixels put apart, and a convolution with zeroes around the map: the default of CUT.
    Blurred,
}

impl From<Upsample> for Doubling {
    fn from(upsample: Upsample) -> Self {
        match upsample {
            Upsample::Transposed => Self::Transposed,
            Upsample::Resize => Self::Resize,
            Upsample::Blurred => Self::Blurred,
        }
    }
}

impl From<config::Downsample> for Downsample {
    fn from(downsample: config::Downsample) -> Self {
        match downsample {
            config::Downsample::Strided => Self::Strided,
            config::Downsample::Blurred => Self::Blurred,
        }
    }
}

/// How a discriminator differs from the paper's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PatchStyle {
    /// Whether it judges single pixels (official `pixel`); then it has one layer.
    pub pixel: bool,
    /// The normalisation layers.
    pub norm: Norm,
    /// Whether they scale and shift.
    pub affine: bool,
    /// Whether every weight is divided by its largest singular value.
    pub spectral: bool,
    /// Whether the size is halved by blurs, the default of CUT; never of one that judges single pixels.
    #[serde(default)]
    pub blurred: bool,
}

impl ResnetStyle {
    /// As in the paper.
    pub const PAPER: Self = Self {
        separable: false,
        downsample: Downsample::Strided,
        upsample: Doubling::Transposed,
        norm: Norm::Instance,
        skip: false,
    };
}

impl PatchStyle {
    /// As in the paper.
    pub const PAPER: Self = Self { pixel: false, norm: Norm::Instance, affine: false, spectral: false, blurred: false };
}

impl Architecture {
    /// A short name: the official code's `resnet_9blocks` or `unet_256` for a generator, `patch_3layers` for a
    /// discriminator (the official `basic`); a network without norms says so.
    pub fn name(&self) -> String {
        let kind = match self {
            Self::Resnet { n_blocks, style, .. } => {
                let separable = if style.separable { "mobile_" } else { "" };
                let skip = if style.skip { SKIP } else { "" };
                format!("{separable}resnet_{n_blocks}blocks{skip}")
            }
            Self::Unet { halvings, .. } => format!("unet_{}", 1_u64 << halvings.min(&63)),
            Self::Patch { style: PatchStyle { pixel: true, .. }, .. } => "pixel".into(),
            Self::Patch { n_layers, .. } => format!("patch_{n_layers}layers"),
        };
        if self.is_without_norm() { kind + WITHOUT_NORM } else { kind }
    }

    /// Whether it has no normalisation layers.
    pub fn is_without_norm(&self) -> bool {
        let norm = match self {
            Self::Resnet { style, .. } => style.norm,
            Self::Unet { norm, .. } => *norm,
            Self::Patch { style, .. } => style.norm,
        };
        norm == Norm::None
    }

    /// The same network with this normalisation.
    pub fn with_norm(mut self, new: Norm) -> Self {
        match &mut self {
            Self::Resnet { style, .. } => style.norm = new,
            Self::Unet { norm, .. } => *norm = new,
            Self::Patch { style, .. } => style.norm = new,
        }
        self
    }

    /// The same generator with its input added to its output; any other network as it is.
    pub fn with_skip(mut self, new: bool) -> Self {
        if let Self::Resnet { in_channels, out_channels, style, .. } = &mut self {
            style.skip = new && in_channels == out_channels;
        }
        self
    }

    /// The same with [`Downsample::Mirrored`], where it is a residual generator.
    pub fn mirrored(mut self) -> Self {
        if let Self::Resnet { style, .. } = &mut self {
            style.downsample = Downsample::Mirrored;
        }
        self
    }

    /// Whether it adds its input to its output, which the official code has no network for.
    pub fn has_skip(&self) -> bool {
        matches!(self, Self::Resnet { style: ResnetStyle { skip: true, .. }, .. })
    }

    /// Whether it is a generator.
    pub fn is_generator(&self) -> bool {
        matches!(self, Self::Resnet { .. } | Self::Unet { .. })
    }

    /// Channels of the pictures that a generator reads and writes; `None` for a discriminator.
    pub fn generator_channels(&self) -> Option<[usize; 2]> {
        match *self {
            Self::Resnet { in_channels, out_channels, .. } | Self::Unet { in_channels, out_channels, .. } => {
                Some([in_channels, out_channels])
            }
            Self::Patch { .. } => None,
        }
    }

    /// Channels of a generator's largest maps, and what the sides of its pictures are multiples of; `None` for a
    /// discriminator.
    pub fn generator_size(&self) -> Option<(usize, u32)> {
        match *self {
            Self::Resnet { ngf, style, .. } => {
                // A map is made larger before its channels become fewer, or smaller after they became more.
                let is_wide = style.downsample == Downsample::Blurred || style.upsample != Doubling::Transposed;
                Some((if is_wide { 2 * ngf } else { ngf }, 4))
            }
            Self::Unet { ngf, halvings, .. } => Some((ngf, 1 << halvings)),
            Self::Patch { .. } => None,
        }
    }

    /// Every parameter in the official order.
    ///
    /// # Shapes
    /// Convolution `[out, in, k, k]`, transposed convolution `[in, out, k, k]`, bias and norm `[channels]`.
    pub fn parameters(&self) -> Vec<Parameter> {
        let mut list = List::default();
        match *self {
            Self::Resnet { in_channels, out_channels, ngf, n_blocks, affine, style } => {
                list.resnet([in_channels, out_channels, ngf], n_blocks, affine, style);
            }
            Self::Unet { in_channels, out_channels, ngf, halvings, norm, affine } => {
                list.unet([in_channels, out_channels, ngf], halvings, norm, affine);
            }
            Self::Patch { in_channels, ndf, n_layers, style } => list.patch(in_channels, ndf, n_layers, style),
        }
        list.found
    }

    /// Number of parameters: 11,378,179 for the paper's generator with 9 blocks, 7,837,699 with 6,
    /// 2,764,737 for its discriminator.
    pub fn parameter_count(&self) -> u64 {
        let given = [".weight_u", ".weight_v", FILTER];
        let learned = |(name, _): &&Parameter| !given.iter().any(|end| name.ends_with(end));
        let size = |(_, shape): &Parameter| shape.iter().map(|&n| n as u64).product::<u64>();
        self.parameters().iter().filter(learned).map(size).sum()
    }

    /// A residual generator within the bounds of [`Self::infer`].
    pub fn styled(
        in_channels: usize,
        out_channels: usize,
        ngf: usize,
        n_blocks: usize,
        affine: bool,
        style: ResnetStyle,
    ) -> Option<Self> {
        Self::Resnet { in_channels, out_channels, ngf, n_blocks, affine, style }.within_bounds()
    }

    /// The paper's discriminator within the bounds of [`Self::infer`].
    pub fn patch(in_channels: usize, ndf: usize, n_layers: usize) -> Option<Self> {
        Self::Patch { in_channels, ndf, n_layers, style: PatchStyle::default() }.within_bounds()
    }

    fn within_bounds(self) -> Option<Self> {
        let channels = |all: &[usize]| all.iter().all(|n| (1..=MAX_CHANNELS).contains(n));
        let is_sound = match self {
            Self::Resnet { in_channels, out_channels, ngf, n_blocks, .. } => {
                channels(&[in_channels, out_channels, ngf]) && (1..=MAX_BLOCKS).contains(&n_blocks)
            }
            Self::Unet { in_channels, out_channels, ngf, halvings, .. } => {
                channels(&[in_channels, out_channels, ngf]) && HALVINGS.contains(&halvings)
            }
            Self::Patch { in_channels, ndf, n_layers, .. } => {
                channels(&[in_channels, ndf]) && (1..=MAX_BLOCKS).contains(&n_layers)
            }
        };
        is_sound.then_some(self)
    }

    /// The one architecture that tensors of these names and shapes can belong to, judged by the
    /// few that tell; the others are not looked at. `None` when it is no network of these.
    ///
    /// A convolution with neither a bias nor a norm with a scale behind it has no norm at all: in the official code
    /// only batch norms, which have scales, and missing norms go without biases.
    pub fn infer(tensors: &[(&str, &[usize])]) -> Option<Self> {
        let shape = |name: &str| tensors.iter().find(|(other, _)| *other == name).map(|(_, shape)| *shape);
        let has = |name: &str| shape(name).is_some();
        let norm = |conv: &str, affine| {
            if affine || has(&format!("{conv}.bias")) { Norm::Instance } else { Norm::None }
        };
        let mirrored = has("initial.0.weight") && has("down_blocks.0.conv.0.weight");
        if let Some(&[ngf, in_channels, 7, 7]) = shape(if mirrored { "initial.0.weight" } else { "model.1.weight" }) {
            let downsample = match mirrored {
                true => Downsample::Mirrored,
                false if has("model.7.filt") => Downsample::Blurred,
                false => Downsample::Strided,
            };
            let mut names = ResnetNames { downsample, upsample: Doubling::Transposed, n_blocks: 0 };
            let separable = has(&format!("{}.conv.0.weight", names.block(0)[0]));
            let inner = if separable { ".conv.0" } else { "" };
            let is_block = |block: usize| has(&format!("{}{inner}.weight", names.block(block)[0]));
            names.n_blocks = (0..=MAX_BLOCKS).find(|block| !is_block(*block)).filter(|&n| n > 0)?;
            let ups = [Doubling::Blurred, Doubling::Resize, Doubling::ResizeZero, Doubling::Bilinear];
            let upsample = ups.into_iter().find(|&upsample| {
                let [conv, _, filter] = ResnetNames { upsample, ..names }.up(0);
                let is_wide = matches!(shape(&(conv + ".weight")), Some(&[outputs, inputs, ..]) if outputs < inputs);
                !mirrored && is_wide && has(&(filter + FILTER)) == (upsample == Doubling::Blurred)
            });
            names.upsample = upsample.unwrap_or_default();
            let out_channels = match shape(&(names.head() + ".weight")) {
                Some(&[out_channels, ..]) => out_channels,
                _ => 3,
            };
            let [conv, norm_name] = names.stem();
            let affine = has(&(norm_name + ".weight"));
            let style =
                ResnetStyle { separable, downsample, upsample: names.upsample, norm: norm(&conv, affine), skip: false };
            let n_blocks = names.n_blocks;
            return Self::Resnet { in_channels, out_channels, ngf, n_blocks, affine, style }.within_bounds();
        }
        if let Some(&[ngf, in_channels, 4, 4]) = shape("model.model.0.weight") {
            let below = |level: usize| format!("model.model.1.model.{}", "3.model.".repeat(level));
            let halvings = 1 + (0..MAX_BLOCKS.min(64)).find(|level| !has(&format!("{}1.weight", below(*level))))?;
            let out_channels = match shape("model.model.3.weight") {
                Some(&[_, out_channels, ..]) => out_channels,
                _ => 3,
            };
            let affine = has(&format!("{}2.weight", below(0)));
            let norm = norm("model.model.0", affine);
            return Self::Unet { in_channels, out_channels, ngf, halvings, norm, affine }.within_bounds();
        }
        if let Some(&[ndf, in_channels, 1, 1]) = shape("net.0.weight").or(shape("net.0.weight_orig")) {
            let affine = has("net.3.weight");
            let spectral = has("net.0.weight_orig");
            let style = PatchStyle { pixel: true, norm: norm("net.2", affine), affine, spectral, blurred: false };
            return Self::Patch { in_channels, ndf, n_layers: 1, style }.within_bounds();
        }
        let spectral = has("model.0.weight_orig");
        let weight = if spectral { "weight_orig" } else { "weight" };
        if let Some(&[ndf, in_channels, 4, 4]) = shape(&format!("model.0.{weight}")) {
            let blurred = has("model.2.filt");
            let modules = if blurred { 4 } else { 3 };
            let is_layer = |layer: usize| has(&format!("model.{}.{weight}", modules * layer - 1));
            let layers = (1..=MAX_BLOCKS).find(|&layer| !is_layer(layer))? - 1;
            // The last of them is the map itself, but behind blurs, where the layer before it has none.
            let n_layers = if blurred { layers } else { layers.checked_sub(1)? };
            if n_layers == 0 {
                return None;
            }
            let affine = has(&format!("model.{modules}.weight"));
            let norm = norm(&format!("model.{}", modules - 1), affine);
            let style = PatchStyle { pixel: false, norm, affine, spectral, blurred };
            return Self::Patch { in_channels, ndf, n_layers, style }.within_bounds();
        }
        None
    }

    /// The generator of this architecture with all weights zero; `None` for a discriminator.
    pub fn generator<B: Backend>(&self, device: &B::Device) -> Option<Generator<B>> {
        Some(match *self {
            Self::Resnet { in_channels, out_channels, ngf, n_blocks, affine, style } => {
                let ResnetStyle { separable, downsample, upsample, norm, skip } = style;
                let config = ResnetGeneratorConfig {
                    in_channels,
                    out_channels,
                    ngf,
                    n_blocks,
                    affine,
                    separable,
                    downsample,
                    upsample,
                    norm,
                    skip,
                };
                Generator::Resnet(config.init(device))
            }
            Self::Unet { in_channels, out_channels, ngf, halvings, norm, affine } => {
                let config = UnetGeneratorConfig { in_channels, out_channels, ngf, halvings, norm, affine };
                Generator::Unet(config.init(device))
            }
            Self::Patch { .. } => return None,
        })
    }

    /// The discriminator of this architecture with all weights zero; `None` for a generator.
    pub fn discriminator<B: Backend>(&self, device: &B::Device) -> Option<PatchDiscriminator<B>> {
        let Self::Patch { in_channels, ndf, n_layers, style } = *self else { return None };
        let PatchStyle { pixel, norm, affine, spectral, blurred } = style;
        let n_layers = (!pixel).then_some(n_layers);
        Some(PatchDiscriminatorConfig { in_channels, ndf, n_layers, norm, affine, spectral, blurred }.init(device))
    }
}

/// Names of a residual generator's layers: the code that each style comes from numbers its modules, paddings and
/// activations included, except the one with [`Downsample::Mirrored`].
#[derive(Clone, Copy, Debug)]
pub struct ResnetNames {
    /// How the size is halved.
    pub downsample: Downsample,
    /// How it is doubled.
    pub upsample: Doubling,
    /// Residual blocks.
    pub n_blocks: usize,
}

impl ResnetNames {
    fn is_mirrored(self) -> bool {
        self.downsample == Downsample::Mirrored
    }

    /// Position of the first block.
    fn start(self) -> usize {
        if self.downsample == Downsample::Blurred { 12 } else { 10 }
    }

    /// Modules of one doubling, and those of them before its convolution.
    fn doubling(self) -> [usize; 2] {
        match self.upsample {
            Doubling::Transposed | Doubling::Resize => [3, 0],
            Doubling::ResizeZero | Doubling::Blurred => [4, 1],
            Doubling::Bilinear => [5, 2],
        }
    }

    /// The first convolution and its norm.
    pub fn stem(self) -> [String; 2] {
        let root = if self.is_mirrored() { "initial.0 initial.1" } else { "model.1 model.2" };
        let (conv, norm) = root.split_once(' ').unwrap_or_default();
        [conv.into(), norm.into()]
    }

    /// A halving convolution, 0 or 1, its norm, and the blur behind it.
    pub fn down(self, index: usize) -> [String; 3] {
        if self.is_mirrored() {
            return [0, 1, 3].map(|part| format!("down_blocks.{index}.conv.{part}"));
        }
        let first = 4 + index * (self.start() - 4) / 2;
        [0, 1, 3].map(|part| format!("model.{}", first + part))
    }

    /// The convolutions of a block, from 0, and their norms.
    pub fn halves(self, block: usize, separable: bool) -> [[String; 2]; 2] {
        if self.is_mirrored() {
            let layer = |half, part| format!("res_blocks.{block}.block.{half}.conv.{part}");
            return [0, 1].map(|half| [layer(half, 0), layer(half, 1)]);
        }
        let position = self.start() + block;
        let layer = |part| format!("model.{position}.conv_block.{part}");
        [1, if separable { 6 } else { 5 }].map(|part| [layer(part), layer(part + 1)])
    }

    /// The first convolution of a block and its norm.
    fn block(self, block: usize) -> [String; 2] {
        let [first, _] = self.halves(block, false);
        first
    }

    /// A doubling convolution, 0 or 1, its norm, and the blur before it.
    pub fn up(self, index: usize) -> [String; 3] {
        if self.is_mirrored() {
            return [0, 1, 3].map(|part| format!("up_blocks.{index}.conv.{part}"));
        }
        let [modules, before] = self.doubling();
        let first = self.start() + self.n_blocks + index * modules;
        [before, before + 1, 0].map(|part| format!("model.{}", first + part))
    }

    /// The last convolution.
    pub fn head(self) -> String {
        if self.is_mirrored() {
            return "last".into();
        }
        format!("model.{}", self.start() + self.n_blocks + 2 * self.doubling()[0] + 1)
    }
}

/// The parameters so far.
#[derive(Default)]
struct List {
    found: Vec<Parameter>,
    /// Whether convolutions have biases, but where it is said otherwise.
    biased: bool,
    spectral: bool,
}

impl List {
    fn resnet(&mut self, [inputs, outputs, ngf]: [usize; 3], n_blocks: usize, affine: bool, style: ResnetStyle) {
        let ResnetStyle { separable, downsample, upsample, norm, .. } = style;
        let names = ResnetNames { downsample, upsample, n_blocks };
        let affine = affine && norm == Norm::Instance;
        self.biased = norm == Norm::Instance;
        let [conv, after] = names.stem();
        self.convolution(&conv, ngf, inputs, 7).norm(&after, ngf, affine);
        for (index, from, to) in [(0, ngf, 2 * ngf), (1, 2 * ngf, 4 * ngf)] {
            let [conv, after, filter] = names.down(index);
            self.convolution(&conv, to, from, 3).norm(&after, to, affine);
            if downsample == Downsample::Blurred {
                self.filter(filter, to, 3);
            }
        }
        let width = 4 * ngf;
        for block in 0..n_blocks {
            for half in names.halves(block, separable) {
                let [conv, after] = half;
                if separable {
                    // [pad, [depthwise, norm, pointwise], norm, relu, dropout, pad, [depthwise, norm, pointwise], norm]
                    let inner = |index: usize| format!("{conv}.conv.{index}");
                    self.convolution(&inner(0), width, 1, 3).norm(&inner(1), width, affine);
                    self.convolution(&inner(2), width, width, 1);
                } else {
                    // [pad, conv, norm, relu, pad, conv, norm]
                    self.convolution(&conv, width, width, 3);
                }
                self.norm(&after, width, affine);
            }
        }
        for (index, from, to) in [(0, 4 * ngf, 2 * ngf), (1, 2 * ngf, ngf)] {
            let [conv, after, filter] = names.up(index);
            if upsample == Doubling::Blurred {
                self.filter(filter, from, 4);
            }
            match upsample {
                Doubling::Transposed => self.transposed(&conv, from, to, 3),
                _ => self.convolution(&conv, to, from, 3),
            };
            self.norm(&after, to, affine);
        }
        self.biased = true;
        self.convolution(&names.head(), outputs, ngf, 7);
    }

    /// A filter for each channel.
    fn filter(&mut self, layer: String, channels: usize, side: usize) {
        self.found.push((layer + FILTER, vec![channels, 1, side, side]));
    }

    /// The modules of a U-Net lie one inside the other; each level's names begin where the level above ends.
    fn unet(&mut self, [inputs, outputs, ngf]: [usize; 3], halvings: usize, norm: Norm, affine: bool) {
        let affine = affine && norm == Norm::Instance;
        self.biased = norm == Norm::Instance;
        let channels = |level: usize| ngf << (level - 1).min(3);
        let inside = |level: usize| format!("model.model.1.model.{}", "3.model.".repeat(level - 2));
        self.convolution("model.model.0", ngf, inputs, 4);
        for level in 2..=halvings {
            self.convolution(&format!("{}1", inside(level)), channels(level), channels(level - 1), 4);
            if level < halvings {
                self.norm(&format!("{}2", inside(level)), channels(level), affine);
            }
        }
        for level in (2..=halvings).rev() {
            let (position, inputs) = if level == halvings { (3, channels(level)) } else { (5, 2 * channels(level)) };
            self.transposed(&format!("{}{position}", inside(level)), inputs, channels(level - 1), 4);
            self.norm(&format!("{}{}", inside(level), position + 1), channels(level - 1), affine);
        }
        self.biased = true;
        self.transposed("model.model.3", 2 * ngf, outputs, 4);
    }

    fn patch(&mut self, inputs: usize, ndf: usize, n_layers: usize, style: PatchStyle) {
        let PatchStyle { pixel, norm, affine, spectral, blurred } = style;
        let affine = affine && norm == Norm::Instance;
        let (root, kernel) = if pixel { ("net", 1) } else { ("model", 4) };
        let width = |layer: usize| ndf * (1 << layer.min(3));
        // [conv, norm, leaky relu, blur], of which the first layer has no norm and the last none behind it.
        let modules = if blurred { 4 } else { 3 };
        (self.spectral, self.biased) = (spectral, true);
        self.convolution(&format!("{root}.0"), ndf, inputs, kernel);
        if blurred {
            self.filter(format!("{root}.2"), ndf, 3);
        }
        self.biased = norm == Norm::Instance;
        for layer in 1..=n_layers {
            let first = modules * layer - 1;
            self.convolution(&format!("{root}.{first}"), width(layer), width(layer - 1), kernel);
            self.norm(&format!("{root}.{}", first + 1), width(layer), affine);
            if blurred && layer < n_layers {
                self.filter(format!("{root}.{}", first + 3), width(layer), 3);
            }
        }
        self.biased |= !pixel;
        self.convolution(&format!("{root}.{}", modules * n_layers + 2), 1, width(n_layers), kernel);
    }

    fn convolution(&mut self, layer: &str, outputs: usize, inputs: usize, kernel: usize) -> &mut Self {
        self.weight(layer, vec![outputs, inputs, kernel, kernel], outputs)
    }

    fn transposed(&mut self, layer: &str, inputs: usize, outputs: usize, kernel: usize) -> &mut Self {
        self.weight(layer, vec![inputs, outputs, kernel, kernel], outputs)
    }

    /// A weight, its bias, and what a spectral norm knows of it under PyTorch's names.
    fn weight(&mut self, layer: &str, shape: Vec<usize>, outputs: usize) -> &mut Self {
        let vectors = [shape[0], shape[1..].iter().product()];
        let name = if self.spectral { "weight_orig" } else { "weight" };
        self.found.push((format!("{layer}.{name}"), shape));
        if self.biased {
            self.found.push((format!("{layer}.bias"), vec![outputs]));
        }
        if self.spectral {
            self.found.push((format!("{layer}.weight_u"), vec![vectors[0]]));
            self.found.push((format!("{layer}.weight_v"), vec![vectors[1]]));
        }
        self
    }

    fn norm(&mut self, layer: &str, channels: usize, affine: bool) -> &mut Self {
        if affine {
            self.found.push((format!("{layer}.weight"), vec![channels]));
            self.found.push((format!("{layer}.bias"), vec![channels]));
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESNET: ResnetStyle = ResnetStyle::PAPER;
    const PATCH: PatchStyle = PatchStyle::PAPER;
    const GENERATOR: Architecture =
        Architecture::Resnet { in_channels: 3, out_channels: 3, ngf: 64, n_blocks: 9, affine: false, style: RESNET };
    const DISCRIMINATOR: Architecture = Architecture::Patch { in_channels: 3, ndf: 64, n_layers: 3, style: PATCH };

    fn inferred(parameters: &[Parameter]) -> Option<Architecture> {
        let tensors: Vec<_> = parameters.iter().map(|(name, shape)| (name.as_str(), shape.as_slice())).collect();
        Architecture::infer(&tensors)
    }

    #[test]
    fn parameter_counts_are_those_of_the_paper() {
        let six = Architecture::Resnet {
            in_channels: 3,
            out_channels: 3,
            ngf: 64,
            n_blocks: 6,
            affine: false,
            style: RESNET,
        };
        assert_eq!(GENERATOR.parameter_count(), 11_378_179);
        assert_eq!(six.parameter_count(), 7_837_699);
        assert_eq!(DISCRIMINATOR.parameter_count(), 2_764_737);
    }

    #[test]
    fn names_are_those_of_the_official_code() {
        let names = |architecture: Architecture| -> Vec<String> {
            architecture
                .parameters()
                .into_iter()
                .map(|(name, _)| name)
                .filter(|name| name.ends_with("weight"))
                .collect()
        };
        let generator = names(GENERATOR);
        assert_eq!(generator.len(), 24);
        assert_eq!(generator[3], "model.10.conv_block.1.weight");
        assert_eq!(generator[20], "model.18.conv_block.5.weight");
        assert_eq!(generator[21..], ["model.19.weight", "model.22.weight", "model.26.weight"]);
        let expected = ["model.0.weight", "model.2.weight", "model.5.weight", "model.8.weight", "model.11.weight"];
        assert_eq!(names(DISCRIMINATOR), expected);
        assert_eq!(GENERATOR.name(), "resnet_9blocks");
        assert_eq!(DISCRIMINATOR.name(), "patch_3layers");
    }

    #[test]
    fn every_architecture_is_inferred_from_its_own_parameters() {
        let blurred = ResnetStyle { downsample: Downsample::Blurred, ..RESNET };
        let styles = [
            RESNET,
            ResnetStyle { separable: true, ..RESNET },
            ResnetStyle { upsample: Doubling::Resize, ..RESNET },
            ResnetStyle { upsample: Doubling::ResizeZero, ..RESNET },
            ResnetStyle { upsample: Doubling::Bilinear, ..RESNET },
            ResnetStyle { upsample: Doubling::Blurred, ..RESNET },
            ResnetStyle { downsample: Downsample::Mirrored, ..RESNET },
            blurred,
            ResnetStyle { upsample: Doubling::Blurred, ..blurred },
        ];
        for (n_blocks, style) in [1, 2, 6, 9, 12].into_iter().cycle().zip(styles) {
            for affine in [false, true] {
                let resnet = Architecture::Resnet { in_channels: 1, out_channels: 4, ngf: 5, n_blocks, affine, style };
                assert_eq!(inferred(&resnet.parameters()), Some(resnet));
            }
        }
        let style = ResnetStyle { skip: true, ..RESNET };
        let skip = Architecture::Resnet { in_channels: 3, out_channels: 3, ngf: 4, n_blocks: 2, affine: false, style };
        assert_eq!(inferred(&skip.parameters()), Some(skip.with_skip(false)), "tensors do not tell");
        assert_eq!((skip.name().as_str(), skip.with_skip(false).has_skip()), ("resnet_2blocks_skip", false));
        let style = ResnetStyle { norm: Norm::None, ..RESNET };
        let bare = Architecture::Resnet { in_channels: 3, out_channels: 3, ngf: 4, n_blocks: 2, affine: false, style };
        assert_eq!(inferred(&bare.parameters()), Some(bare));
        for (halvings, norm, affine) in [(5, Norm::Instance, false), (7, Norm::Instance, true), (8, Norm::None, false)]
        {
            let unet = Architecture::Unet { in_channels: 1, out_channels: 2, ngf: 3, halvings, norm, affine };
            assert_eq!(inferred(&unet.parameters()), Some(unet));
        }
        for pixel in [false, true] {
            for (norm, affine) in [(Norm::Instance, false), (Norm::Instance, true), (Norm::None, false)] {
                for (spectral, blurred) in [(false, false), (true, false), (false, !pixel), (true, !pixel)] {
                    let style = PatchStyle { pixel, norm, affine, spectral, blurred };
                    let n_layers = if blurred { 3 } else { 1 };
                    let patch = Architecture::Patch { in_channels: 3, ndf: 5, n_layers, style };
                    assert_eq!(inferred(&patch.parameters()), Some(patch));
                }
            }
        }
        for n_layers in 1..6 {
            let patch = Architecture::Patch { in_channels: 6, ndf: 7, n_layers, style: PATCH };
            assert_eq!(inferred(&patch.parameters()), Some(patch));
        }
    }

    #[test]
    fn other_networks_and_absurd_sizes_are_not_inferred() {
        assert_eq!(inferred(&[]), None);
        assert_eq!(inferred(&[("conv1.weight".into(), vec![64, 3, 7, 7])]), None);
        assert_eq!(inferred(&[("model.0.weight".into(), vec![64, 3, 4, 4])]), None);
        let mut huge = GENERATOR.parameters();
        huge[0].1 = vec![usize::MAX, 0, 7, 7];
        assert_eq!(inferred(&huge), None);
    }

    #[test]
    fn channels_of_the_discriminator_stop_at_eight_times_ndf() {
        let deep = Architecture::Patch { in_channels: 3, ndf: 8, n_layers: 5, style: PATCH }.parameters();
        let weights: Vec<_> = deep.iter().filter(|(name, _)| name.ends_with("weight")).map(|(_, s)| s[0]).collect();
        assert_eq!(weights, [8, 16, 32, 64, 64, 64, 1]);
    }
}
