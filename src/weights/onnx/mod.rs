//! A generator as an ONNX graph (<https://onnx.ai>), for any batch, height and width.
//!
//! Tensors keep their official names and each node has the name of its layer in the official `Sequential`.
//! 16-bit weights are stored as such and cast once when the graph is loaded: the arithmetic stays in 32
//! bits, which every runtime has and instance norms need.

mod proto;

use std::collections::BTreeSet;

use super::{Storage, WeightError, WeightFile};
use crate::model::Architecture;
use proto::{Message, Side, data_type, graph};

/// Operators as of 2021: `Pad` that reflects, and nothing newer.
const OPSET: i64 = 17;
/// The version of the file format that came with them.
const IR_VERSION: i64 = 8;
/// Of the instance norms, as everywhere.
const EPSILON: f32 = 1e-5;
const INPUT: &str = "image";
const OUTPUT: &str = "translated";
const DOC: &str = "[batch, channels, height, width], RGB in [-1, 1]; height and width multiples of 4, at least 8";

/// The bytes of the graph of a generator.
pub fn write(file: &WeightFile, storage: Storage) -> Result<Vec<u8>, WeightError> {
    let architecture = file.generator()?;
    let Architecture::Resnet { in_channels, out_channels, .. } = architecture else {
        return Err(WeightError::NotAGenerator { found: architecture.name() });
    };
    let mut builder =
        Builder { file, storage, graph: Message::default(), constants: BTreeSet::new(), current: INPUT.into() };
    builder.generator(architecture)?;
    let planes = |channels| [Side::Named("batch"), Side::Fixed(channels), Side::Named("height"), Side::Named("width")];
    let graph = builder
        .graph
        .text(graph::NAME, &architecture.name())
        .message(graph::INPUT, proto::value(INPUT, &planes(in_channels), DOC))
        .message(graph::OUTPUT, proto::value(OUTPUT, &planes(out_channels), DOC));
    let model = proto::model(IR_VERSION, OPSET, &format!("CycleGAN generator: {DOC}."), graph);
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
}

impl Builder<'_> {
    /// The official `Sequential`, position by position.
    fn generator(&mut self, architecture: Architecture) -> Result<(), WeightError> {
        let Architecture::Resnet { ngf, n_blocks, affine, .. } = architecture else { return Ok(()) };
        let layer = |position: usize| format!("model.{position}");
        self.pad(&layer(0), 3);
        self.convolution(&layer(1), &[])?.norm(&layer(2), ngf, affine)?.unary(&layer(3), "Relu");
        let halving = [proto::ints("strides", &[2, 2]), proto::ints("pads", &[1; 4])];
        for (position, factor) in [(4, 2), (7, 4)] {
            self.convolution(&layer(position), &halving)?;
            self.norm(&layer(position + 1), factor * ngf, affine)?.unary(&layer(position + 2), "Relu");
        }
        for block in 10..10 + n_blocks {
            let inner = |position: usize| format!("model.{block}.conv_block.{position}");
            let before = self.current.clone();
            for half in [0, 4] {
                self.pad(&inner(half), 1);
                self.convolution(&inner(half + 1), &[])?.norm(&inner(half + 2), 4 * ngf, affine)?;
                if half == 0 {
                    self.unary(&inner(3), "Relu");
                }
            }
            let sum = [before, self.current.clone()];
            self.node(&layer(block), "Add", &sum, &[]);
        }
        let up = 10 + n_blocks;
        let doubling = [&halving[..], &[proto::ints("output_padding", &[1, 1])]].concat();
        for (position, factor) in [(up, 2), (up + 3, 1)] {
            self.weighted(&layer(position), "ConvTranspose", &doubling)?;
            self.norm(&layer(position + 1), factor * ngf, affine)?.unary(&layer(position + 2), "Relu");
        }
        self.pad(&layer(up + 6), 3);
        self.convolution(&layer(up + 7), &[])?.unary(OUTPUT, "Tanh");
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
        let inputs = [self.current.clone(), self.stored(name, "weight")?, self.stored(name, "bias")?];
        Ok(self.node(name, op_type, &inputs, attributes))
    }

    fn norm(&mut self, name: &str, channels: usize, affine: bool) -> Result<&mut Self, WeightError> {
        let [scale, shift] = if affine {
            [self.stored(name, "weight")?, self.stored(name, "bias")?]
        } else {
            [("ones", 1.0_f32), ("zeros", 0.0)].map(|(kind, value)| {
                let values = value.to_le_bytes().repeat(channels);
                self.constant(format!("{kind}.{channels}"), channels, data_type::FLOAT, &values)
            })
        };
        let inputs = [self.current.clone(), scale, shift];
        Ok(self.node(name, "InstanceNormalization", &inputs, &[proto::float("epsilon", EPSILON)]))
    }

    /// Reflection on all four sides.
    fn pad(&mut self, name: &str, width: i64) {
        // Before and after each of the four axes.
        let pads = [0, 0, width, width, 0, 0, width, width].map(i64::to_le_bytes);
        let pads = self.constant(format!("pads.{width}"), 8, data_type::INT64, pads.as_flattened());
        let inputs = [self.current.clone(), pads];
        self.node(name, "Pad", &inputs, &[proto::text("mode", "reflect")]);
    }

    /// The name of a vector that is put into the graph at its first use.
    fn constant(&mut self, name: String, length: usize, data_type: i64, values: &[u8]) -> String {
        if self.constants.insert(name.clone()) {
            self.graph.push(graph::INITIALIZER, &proto::tensor(&name, &[length], data_type, values).0);
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
        self.node(&single, "Cast", &[name], &[proto::int("to", data_type::FLOAT)]);
        self.current = before;
        Ok(single)
    }
}
