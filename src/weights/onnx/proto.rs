//! The messages of `onnx.proto` (<https://github.com/onnx/onnx/blob/main/onnx/onnx.proto>) that a
//! generator's graph needs. The numbers of the fields are the format.

pub use crate::protobuf::Message;

/// Types of values.
pub mod data_type {
    pub const FLOAT: u64 = 1;
    pub const INT32: u64 = 6;
    pub const INT64: u64 = 7;
    pub const FLOAT16: u64 = 10;
    pub const DOUBLE: u64 = 11;
    pub const BFLOAT16: u64 = 16;
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
pub fn tensor(name: &str, dims: &[usize], data_type: u64, values: &[u8]) -> Message {
    Message::default()
        .ints(1, dims.iter().map(|side| *side as i64))
        .int(2, data_type as i64)
        .text(8, name)
        .bytes(9, values)
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
    let tensor = Message::default().int(1, data_type::FLOAT as i64).message(2, shape);
    Message::default().text(1, name).message(2, Message::default().message(1, tensor)).text(3, doc)
}
