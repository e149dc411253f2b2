//! A generator as an ONNX graph (<https://onnx.ai>), for any batch, height and width.
//!
//! Tensors keep their official names and each node has the name of its layer in the official `Sequential`.
//! 16-bit weights are stored as such and cast once when the graph is loaded: the arithmetic stays in 32
//! bits, which every runtime has and instance norms need.

mod proto;

use prost::Message;

use super::{Storage, WeightError, WeightFile};
use crate::model::Architecture;
use proto::{Attribute, Dimension, Graph, Model, Node, Tensor, ValueInfo, data_type};

/// Operators as of 2021: `Pad` that reflects, and nothing newer.
const OPSET: i64 = 17;
/// The version of the file format that came with them.
const IR_VERSION: i64 = 8;
/// Of the instance norms, as everywhere.
const EPSILON: f32 = 1e-5;
const INPUT: &str = "image";
const OUTPUT: &str = "translated";

/// The bytes of the graph of a generator.
pub fn write(file: &WeightFile, storage: Storage) -> Result<Vec<u8>, WeightError> {
    let architecture = file.generator()?;
    let Architecture::Resnet { in_channels, out_channels, .. } = architecture else {
        return Err(WeightError::NotAGenerator { found: architecture.name() });
    };
    let mut builder = Builder { file, storage, graph: Graph::default(), current: INPUT.into() };
    builder.generator(architecture)?;
    let size = "[batch, channels, height, width], RGB in [-1, 1]; height and width multiples of 4, at least 8";
    let graph = Graph {
        name: architecture.name(),
        input: vec![planes(INPUT, in_channels, size)],
        output: vec![planes(OUTPUT, out_channels, size)],
        ..builder.graph
    };
    let pair = |(key, value): (&String, &String)| proto::StringPair { key: key.clone(), value: value.clone() };
    let model = Model {
        ir_version: IR_VERSION,
        producer_name: env!("CARGO_PKG_NAME").into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        doc_string: format!("CycleGAN generator. {size}."),
        graph: Some(graph),
        opset_import: vec![proto::OperatorSet { domain: String::new(), version: OPSET }],
        metadata_props: file.metadata.iter().map(pair).collect(),
    };
    Ok(model.encode_to_vec())
}

/// An input or output: `[batch, channels, height, width]` with the channels alone fixed.
fn planes(name: &str, channels: usize, doc: &str) -> ValueInfo {
    let named = |name: &str| Dimension { dim_param: Some(name.into()), ..Dimension::default() };
    let channels = Dimension { dim_value: Some(channels as i64), ..Dimension::default() };
    let shape = proto::Shape { dim: vec![named("batch"), channels, named("height"), named("width")] };
    let tensor_type = proto::TensorType { elem_type: data_type::FLOAT, shape: Some(shape) };
    ValueInfo {
        name: name.into(),
        r#type: Some(proto::Type { tensor_type: Some(tensor_type) }),
        doc_string: doc.into(),
    }
}

/// A graph under construction: a chain of layers.
struct Builder<'a> {
    file: &'a WeightFile,
    storage: Storage,
    graph: Graph,
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
        let halving = [Attribute::ints("strides", &[2, 2]), Attribute::ints("pads", &[1; 4])];
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
            let sum = vec![before, self.current.clone()];
            self.node(&layer(block), "Add", sum, Vec::new());
        }
        let up = 10 + n_blocks;
        let doubling = [&halving[..], &[Attribute::ints("output_padding", &[1, 1])]].concat();
        for (position, factor) in [(up, 2), (up + 3, 1)] {
            self.weighted(&layer(position), "ConvTranspose", &doubling)?;
            self.norm(&layer(position + 1), factor * ngf, affine)?.unary(&layer(position + 2), "Relu");
        }
        self.pad(&layer(up + 6), 3);
        self.convolution(&layer(up + 7), &[])?.unary(OUTPUT, "Tanh");
        Ok(())
    }

    fn node(&mut self, name: &str, op_type: &str, input: Vec<String>, attribute: Vec<Attribute>) -> &mut Self {
        let output = vec![name.to_owned()];
        self.graph.node.push(Node { input, output, name: name.into(), op_type: op_type.into(), attribute });
        self.current = name.into();
        self
    }

    fn unary(&mut self, name: &str, op_type: &str) -> &mut Self {
        let input = vec![self.current.clone()];
        self.node(name, op_type, input, Vec::new())
    }

    fn convolution(&mut self, name: &str, attributes: &[Attribute]) -> Result<&mut Self, WeightError> {
        self.weighted(name, "Conv", attributes)
    }

    fn weighted(&mut self, name: &str, op_type: &str, attributes: &[Attribute]) -> Result<&mut Self, WeightError> {
        let input = vec![self.current.clone(), self.stored(name, "weight")?, self.stored(name, "bias")?];
        Ok(self.node(name, op_type, input, attributes.to_vec()))
    }

    fn norm(&mut self, name: &str, channels: usize, affine: bool) -> Result<&mut Self, WeightError> {
        let [scale, shift] = if affine {
            [self.stored(name, "weight")?, self.stored(name, "bias")?]
        } else {
            [("ones", 1.0), ("zeros", 0.0)].map(|(kind, value)| self.constant(kind, value, channels))
        };
        let input = vec![self.current.clone(), scale, shift];
        Ok(self.node(name, "InstanceNormalization", input, vec![Attribute::float("epsilon", EPSILON)]))
    }

    /// Reflection on all four sides.
    fn pad(&mut self, name: &str, width: i64) {
        let pads = format!("pads.{width}");
        if !self.has(&pads) {
            // Before and after each of the four axes.
            let numbers = [0, 0, width, width, 0, 0, width, width];
            let raw_data = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
            self.initialise(Tensor { dims: vec![8], data_type: data_type::INT64, name: pads.clone(), raw_data });
        }
        let input = vec![self.current.clone(), pads];
        self.node(name, "Pad", input, vec![Attribute::text("mode", "reflect")]);
    }

    fn has(&self, name: &str) -> bool {
        self.graph.initializer.iter().any(|tensor| tensor.name == name)
    }

    fn initialise(&mut self, tensor: Tensor) {
        self.graph.initializer.push(tensor);
    }

    /// So many values that are all the same.
    fn constant(&mut self, kind: &str, value: f32, channels: usize) -> String {
        let name = format!("{kind}.{channels}");
        if !self.has(&name) {
            let raw_data = value.to_le_bytes().repeat(channels);
            let dims = vec![channels as i64];
            self.initialise(Tensor { dims, data_type: data_type::FLOAT, name: name.clone(), raw_data });
        }
        name
    }

    /// A tensor of the file; the name under which the graph has it in 32 bits.
    fn stored(&mut self, layer: &str, part: &str) -> Result<String, WeightError> {
        let name = format!("{layer}.{part}");
        let Some(tensor) = self.file.tensor(&name) else {
            return Err(WeightError::Missing { tensor: name, expected: Vec::new() });
        };
        let dims = tensor.shape.iter().map(|side| *side as i64).collect();
        let data_type = match self.storage {
            Storage::F32 => data_type::FLOAT,
            Storage::F16 => data_type::FLOAT16,
        };
        let raw_data = tensor.bytes(self.storage)?;
        self.initialise(Tensor { dims, data_type, name: name.clone(), raw_data });
        if self.storage == Storage::F32 {
            return Ok(name);
        }
        let single = format!("{name}.f32");
        let to = vec![Attribute::int("to", data_type::FLOAT.into())];
        let before = std::mem::take(&mut self.current);
        self.node(&single, "Cast", vec![name], to);
        self.current = before;
        Ok(single)
    }
}
