//! The messages of `onnx.proto` (<https://github.com/onnx/onnx/blob/main/onnx/onnx.proto>) that a
//! generator's graph needs. The numbers of the fields are the format.

use quick_protobuf::Writer;

/// Types of values.
pub mod data_type {
    pub const FLOAT: i64 = 1;
    pub const INT64: i64 = 7;
    pub const FLOAT16: i64 = 10;
}

/// How a field's value is laid out: the lower three bits of its tag.
const VARINT: u32 = 0;
const LENGTH_DELIMITED: u32 = 2;
const FIXED32: u32 = 5;

/// A message under construction.
#[derive(Clone, Default)]
pub struct Message(pub Vec<u8>);

impl Message {
    fn writer(&mut self) -> Writer<&mut Vec<u8>> {
        Writer::new(&mut self.0)
    }

    pub fn int(mut self, field: u32, value: i64) -> Self {
        // Here and below: writing into memory does not fail.
        let _ = self.writer().write_with_tag(field << 3 | VARINT, |writer| writer.write_int64(value));
        self
    }

    pub fn ints(self, field: u32, values: impl IntoIterator<Item = i64>) -> Self {
        values.into_iter().fold(self, |message, value| message.int(field, value))
    }

    pub fn float(mut self, field: u32, value: f32) -> Self {
        let _ = self.writer().write_with_tag(field << 3 | FIXED32, |writer| writer.write_float(value));
        self
    }

    pub fn bytes(mut self, field: u32, value: &[u8]) -> Self {
        self.push(field, value);
        self
    }

    pub fn text(self, field: u32, value: &str) -> Self {
        self.bytes(field, value.as_bytes())
    }

    pub fn texts(self, field: u32, values: &[String]) -> Self {
        values.iter().fold(self, |message, value| message.text(field, value))
    }

    pub fn message(self, field: u32, value: Self) -> Self {
        self.bytes(field, &value.0)
    }

    /// As [`Self::bytes`], in place.
    pub fn push(&mut self, field: u32, value: &[u8]) {
        let _ = self.writer().write_with_tag(field << 3 | LENGTH_DELIMITED, |writer| writer.write_bytes(value));
    }
}

/// A `ModelProto` for the default operators of version `opset`.
pub fn model(ir_version: i64, opset: i64, doc: &str, graph: Message) -> Message {
    Message::default()
        .int(1, ir_version)
        .text(2, env!("CARGO_PKG_NAME"))
        .text(3, env!("CARGO_PKG_VERSION"))
        .text(6, doc)
        .message(7, graph)
        .message(8, Message::default().text(1, "").int(2, opset))
}

/// Adds to a `ModelProto`'s metadata.
pub fn with_metadata(model: Message, key: &str, value: &str) -> Message {
    model.message(14, Message::default().text(1, key).text(2, value))
}

/// Fields of a `GraphProto`.
pub mod graph {
    pub const NODE: u32 = 1;
    pub const NAME: u32 = 2;
    pub const INITIALIZER: u32 = 5;
    pub const INPUT: u32 = 11;
    pub const OUTPUT: u32 = 12;
}

/// A `NodeProto` whose output has its name.
pub fn node(name: &str, op_type: &str, inputs: &[String], attributes: &[Message]) -> Message {
    let node = Message::default().texts(1, inputs).text(2, name).text(3, name).text(4, op_type);
    attributes.iter().fold(node, |node, attribute| node.bytes(5, &attribute.0))
}

/// An `AttributeProto` of one float.
pub fn float(name: &str, value: f32) -> Message {
    Message::default().text(1, name).float(2, value).int(20, 1)
}

/// An `AttributeProto` of one integer.
pub fn int(name: &str, value: i64) -> Message {
    Message::default().text(1, name).int(3, value).int(20, 2)
}

/// An `AttributeProto` of a text.
pub fn text(name: &str, value: &str) -> Message {
    Message::default().text(1, name).text(4, value).int(20, 3)
}

/// An `AttributeProto` of integers.
pub fn ints(name: &str, values: &[i64]) -> Message {
    Message::default().text(1, name).ints(8, values.iter().copied()).int(20, 7)
}

/// A `TensorProto`; `values` are little-endian.
pub fn tensor(name: &str, dims: &[usize], data_type: i64, values: &[u8]) -> Message {
    Message::default().ints(1, dims.iter().map(|side| *side as i64)).int(2, data_type).text(8, name).bytes(9, values)
}

/// A side of a shape.
pub enum Side {
    /// That many.
    Fixed(usize),
    /// Any number, of this name.
    Named(&'static str),
}

/// A `ValueInfoProto` of floats.
pub fn value(name: &str, sides: &[Side], doc: &str) -> Message {
    let shape = sides.iter().fold(Message::default(), |shape, side| {
        let side = match side {
            Side::Fixed(side) => Message::default().int(1, *side as i64),
            Side::Named(name) => Message::default().text(2, name),
        };
        shape.message(1, side)
    });
    let tensor = Message::default().int(1, data_type::FLOAT).message(2, shape);
    Message::default().text(1, name).message(2, Message::default().message(1, tensor)).text(3, doc)
}
