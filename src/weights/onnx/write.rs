//! Writing a generator as an ONNX graph, for any batch, height and width.
//!
//! Tensors keep their official names and each node has the name of its layer in the official `Sequential`.
//! 16-bit weights are stored as such and cast once when the graph is loaded: the arithmetic stays in 32
//! bits, which every runtime has and instance norms need.

use std::collections::BTreeSet;

use super::proto::{self, Message, Side, data_type, graph};
use super::{EPSILON, SLOPE};
use crate::config::Norm;
use crate::model::Architecture;
use crate::model::architecture::{Doubling, Downsample, ResnetStyle};
use crate::weights::{Storage, WeightError, WeightFile};

/// Operators as of 2021: `Pad` that reflects, and nothing newer.
const OPSET: i64 = 17;
/// The version of the file format that came with them.
const IR_VERSION: i64 = 8;
const INPUT: &str = "image";
const OUTPUT: &str = "translated";

/// The bytes of the graph of a generator.
pub fn write(file: &WeightFile, storage: Storage) -> Result<Vec<u8>, WeightError> {
    let architecture = file.generator()?;
    let mut builder = Builder {
        file,
        storage,
        graph: Message::default(),
        constants: BTreeSet::new(),
        current: INPUT.into(),
        norm: Norm::Instance,
        affine: false,
    };
    let (in_channels, out_channels, sides) = match architecture {
        Architecture::Resnet { in_channels, out_channels, ngf, n_blocks, affine, style } => {
            (builder.norm, builder.affine) = (style.norm, affine);
            builder.resnet(ngf, n_blocks, style)?;
            // The paddings mirror up to three pixels of the picture, and one of its quarter.
            (in_channels, out_channels, ", at least 8")
        }
        Architecture::Unet { in_channels, out_channels, ngf, halvings, norm, affine } => {
            (builder.norm, builder.affine) = (norm, affine);
            builder.unet(ngf, halvings)?;
            (in_channels, out_channels, "")
        }
        Architecture::Patch { .. } => return Err(WeightError::NotAGenerator { found: architecture.name() }),
    };
    let multiple = architecture.generator_size().map_or(1, |(_, multiple)| multiple);
    let doc =
        format!("[batch, channels, height, width], RGB in [-1, 1]; height and width multiples of {multiple}{sides}");
    let planes = |channels| [Side::Named("batch"), Side::Fixed(channels), Side::Named("height"), Side::Named("width")];
    let graph = builder
        .graph
        .text(graph::NAME, &architecture.name())
        .message(graph::INPUT, proto::value(INPUT, &planes(in_channels), &doc))
        .message(graph::OUTPUT, proto::value(OUTPUT, &planes(out_channels), &doc));
    let model = proto::model(IR_VERSION, OPSET, &format!("CycleGAN generator: {doc}."), graph);
    Ok(file.metadata.iter().fold(model, |model, (key, value)| proto::with_metadata(model, key, value)).0)
}

/// A graph under construction: a chain of layers.
struct Builder<'a> {
    file: &'a WeightFile,
    storage: Storage,
    graph: Message,
    /// Names of the tensors in the graph that are not the file's.
    constants: BTreeSet<String>,
    /// The value that the last layer gave.
    current: String,
    /// The normalisation layers, and whether they scale and shift.
    norm: Norm,
    affine: bool,
}

impl Builder<'_> {
    /// The official `Sequential` of a residual generator, position by position.
    fn resnet(&mut self, ngf: usize, n_blocks: usize, style: ResnetStyle) -> Result<(), WeightError> {
        let is_official = style.downsample == Downsample::Strided
            && matches!(style.upsample, Doubling::Transposed | Doubling::Resize);
        if !is_official {
            let reason = "an ONNX graph of a generator that is not the official code's (blurs, mirrored or bilinear \
                          layers) is not known here; .safetensors and .pth are"
                .to_owned();
            return Err(WeightError::Unwritable { reason });
        }
        let layer = |position: usize| format!("model.{position}");
        self.pad(&layer(0), 3);
        self.convolution(&layer(1), &[])?.normalise(&layer(2), ngf)?.unary(&layer(3), "Relu");
        let halving = [proto::ints("strides", &[2, 2]), proto::ints("pads", &[1; 4])];
        for (position, factor) in [(4, 2), (7, 4)] {
            self.convolution(&layer(position), &halving)?;
            self.normalise(&layer(position + 1), factor * ngf)?.unary(&layer(position + 2), "Relu");
        }
        for block in 10..10 + n_blocks {
            self.block(&layer(block), 4 * ngf, style.separable)?;
        }
        let up = 10 + n_blocks;
        let doubling = [&halving[..], &[proto::ints("output_padding", &[1, 1])]].concat();
        for (position, factor) in [(up, 2), (up + 3, 1)] {
            match style.upsample {
                Doubling::Transposed => self.weighted(&layer(position), "ConvTranspose", &doubling)?,
                _ => {
                    self.resize(&format!("{}.resize", layer(position)));
                    self.pad(&format!("{}.pad", layer(position)), 1);
                    self.convolution(&layer(position), &[])?
                }
            };
            self.normalise(&layer(position + 1), factor * ngf)?.unary(&layer(position + 2), "Relu");
        }
        self.pad(&layer(up + 6), 3);
        self.convolution(&layer(up + 7), &[])?;
        if style.skip {
            let sum = [INPUT.to_owned(), self.current.clone()];
            self.node("skip", "Add", &sum, &[]);
            let [low, high] = [("low", -1.0_f32), ("high", 1.0)]
                .map(|(name, bound)| self.constant(name.into(), &[], data_type::FLOAT, &bound.to_le_bytes()));
            let inputs = [self.current.clone(), low, high];
            self.node(OUTPUT, "Clip", &inputs, &[]);
        } else {
            self.unary(OUTPUT, "Tanh");
        }
        Ok(())
    }

    /// A residual block; a separable one has a layer of dropout, which is nothing here, and for each convolution one of
    /// every channel for itself and one of single pixels.
    fn block(&mut self, name: &str, channels: usize, separable: bool) -> Result<(), WeightError> {
        let inner = |position: usize| format!("{name}.conv_block.{position}");
        let before = self.current.clone();
        for half in [0, if separable { 5 } else { 4 }] {
            self.pad(&inner(half), 1);
            let convolution = inner(half + 1);
            if separable {
                self.convolution(&format!("{convolution}.conv.0"), &[proto::int("group", channels as i64)])?;
                self.normalise(&format!("{convolution}.conv.1"), channels)?;
                self.convolution(&format!("{convolution}.conv.2"), &[])?;
            } else {
                self.convolution(&convolution, &[])?;
            }
            self.normalise(&inner(half + 2), channels)?;
            if half == 0 {
                self.unary(&inner(3), "Relu");
            }
        }
        let sum = [before, self.current.clone()];
        self.node(name, "Add", &sum, &[]);
        Ok(())
    }

    /// The official U-Net: its modules lie one inside the other, and each ends by joining what it was given, through
    /// its leaky ReLU, to what it made of it.
    fn unet(&mut self, ngf: usize, halvings: usize) -> Result<(), WeightError> {
        let channels = |level: usize| ngf << (level - 1).min(3);
        let module = |level: usize| format!("model.model.1{}", ".model.3".repeat(level - 2));
        let layer = |level: usize, position: usize| format!("{}.model.{position}", module(level));
        let halving = [proto::ints("strides", &[2, 2]), proto::ints("pads", &[1; 4])];
        self.convolution("model.model.0", &halving)?;
        let mut given = Vec::new();
        for level in 2..=halvings {
            let input = [self.current.clone()];
            self.node(&layer(level, 0), "LeakyRelu", &input, &[proto::float("alpha", SLOPE)]);
            given.push(self.current.clone());
            self.convolution(&layer(level, 1), &halving)?;
            if level < halvings {
                self.normalise(&layer(level, 2), channels(level))?;
            }
        }
        for level in (2..=halvings).rev() {
            // The innermost has neither a norm on the way down nor a module inside.
            let relu = if level == halvings { 2 } else { 4 };
            self.unary(&layer(level, relu), "Relu");
            self.weighted(&layer(level, relu + 1), "ConvTranspose", &halving)?;
            self.normalise(&layer(level, relu + 2), channels(level - 1))?;
            let joined: Vec<String> = given.pop().into_iter().chain([self.current.clone()]).collect();
            self.node(&module(level), "Concat", &joined, &[proto::int("axis", 1)]);
        }
        self.unary("model.model.2", "Relu");
        self.weighted("model.model.3", "ConvTranspose", &halving)?.unary(OUTPUT, "Tanh");
        Ok(())
    }

    fn node(&mut self, name: &str, op_type: &str, inputs: &[String], attributes: &[Message]) -> &mut Self {
        self.graph.push(graph::NODE, &proto::node(name, op_type, inputs, attributes).0);
        self.current = name.into();
        self
    }

    fn unary(&mut self, name: &str, op_type: &str) -> &mut Self {
        let input = [self.current.clone()];
        self.node(name, op_type, &input, &[])
    }

    fn convolution(&mut self, name: &str, attributes: &[Message]) -> Result<&mut Self, WeightError> {
        self.weighted(name, "Conv", attributes)
    }

    fn weighted(&mut self, name: &str, op_type: &str, attributes: &[Message]) -> Result<&mut Self, WeightError> {
        let mut inputs = vec![self.current.clone(), self.stored(name, "weight")?];
        // The names were checked before: what has no bias here does without.
        if self.file.tensor(&format!("{name}.bias")).is_some() {
            inputs.push(self.stored(name, "bias")?);
        }
        Ok(self.node(name, op_type, &inputs, attributes))
    }

    /// The normalisation layer, where the network has them.
    fn normalise(&mut self, name: &str, channels: usize) -> Result<&mut Self, WeightError> {
        if self.norm == Norm::None {
            return Ok(self);
        }
        let [scale, shift] = if self.affine {
            [self.stored(name, "weight")?, self.stored(name, "bias")?]
        } else {
            [("ones", 1.0_f32), ("zeros", 0.0)].map(|(kind, value)| {
                let values = value.to_le_bytes().repeat(channels);
                self.constant(format!("{kind}.{channels}"), &[channels], data_type::FLOAT, &values)
            })
        };
        let inputs = [self.current.clone(), scale, shift];
        Ok(self.node(name, "InstanceNormalization", &inputs, &[proto::float("epsilon", EPSILON)]))
    }

    /// Reflection on all four sides.
    fn pad(&mut self, name: &str, width: i64) {
        // Before and after each of the four axes.
        let pads = [0, 0, width, width, 0, 0, width, width].map(i64::to_le_bytes);
        let pads = self.constant(format!("pads.{width}"), &[8], data_type::INT64, pads.as_flattened());
        let inputs = [self.current.clone(), pads];
        self.node(name, "Pad", &inputs, &[proto::text("mode", "reflect")]);
    }

    /// Every pixel four times: twice the size.
    fn resize(&mut self, name: &str) {
        let scales = [1.0_f32, 1.0, 2.0, 2.0].map(f32::to_le_bytes);
        let scales = self.constant("scales.2".into(), &[4], data_type::FLOAT, scales.as_flattened());
        // Between them the region of interest, which this mode has none of.
        let inputs = [self.current.clone(), String::new(), scales];
        let modes = [("mode", "nearest"), ("coordinate_transformation_mode", "asymmetric"), ("nearest_mode", "floor")];
        self.node(name, "Resize", &inputs, &modes.map(|(name, mode)| proto::text(name, mode)));
    }

    /// The name of a tensor that is put into the graph at its first use.
    fn constant(&mut self, name: String, shape: &[usize], data_type: u64, values: &[u8]) -> String {
        if self.constants.insert(name.clone()) {
            self.graph.push(graph::INITIALIZER, &proto::tensor(&name, shape, data_type, values).0);
        }
        name
    }

    /// A tensor of the file; the name under which the graph has it in 32 bits.
    fn stored(&mut self, layer: &str, part: &str) -> Result<String, WeightError> {
        let name = format!("{layer}.{part}");
        let Some(tensor) = self.file.tensor(&name) else {
            return Err(WeightError::Missing { tensor: name, expected: Vec::new() });
        };
        let data_type = match self.storage {
            Storage::F32 => data_type::FLOAT,
            Storage::F16 => data_type::FLOAT16,
        };
        let values = tensor.bytes(self.storage)?;
        self.graph.push(graph::INITIALIZER, &proto::tensor(&name, &tensor.shape, data_type, &values).0);
        if self.storage == Storage::F32 {
            return Ok(name);
        }
        let single = format!("{name}.f32");
        let before = std::mem::take(&mut self.current);
        self.node(&single, "Cast", &[name], &[proto::int("to", data_type::FLOAT as i64)]);
        self.current = before;
        Ok(single)
    }
}
