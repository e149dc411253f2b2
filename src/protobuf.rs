//! Messages in the format of protocol buffers, which ONNX and TensorBoard files are made of
//! (<https://protobuf.dev/programming-guides/encoding/>).

use quick_protobuf::Writer;

/// How a field's value is laid out: the lower three bits of its tag.
const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const LENGTH_DELIMITED: u32 = 2;
const FIXED32: u32 = 5;

/// A message under construction: its fields in the order in which they are appended.
#[derive(Clone, Default)]
pub struct Message(pub Vec<u8>);

impl Message {
    fn writer(&mut self) -> Writer<&mut Vec<u8>> {
        Writer::new(&mut self.0)
    }

    /// Appends a whole number.
    pub fn int(mut self, field: u32, value: i64) -> Self {
        // Here and below: writing into memory does not fail.
        let _ = self.writer().write_with_tag(field << 3 | VARINT, |writer| writer.write_int64(value));
        self
    }

    /// Appends a repeated whole number.
    pub fn ints(self, field: u32, values: impl IntoIterator<Item = i64>) -> Self {
        values.into_iter().fold(self, |message, value| message.int(field, value))
    }

    /// Appends a `float`.
    pub fn float(mut self, field: u32, value: f32) -> Self {
        let _ = self.writer().write_with_tag(field << 3 | FIXED32, |writer| writer.write_float(value));
        self
    }

    /// Appends a `double`.
    pub fn double(mut self, field: u32, value: f64) -> Self {
        let _ = self.writer().write_with_tag(field << 3 | FIXED64, |writer| writer.write_double(value));
        self
    }

    /// Appends bytes.
    pub fn bytes(mut self, field: u32, value: &[u8]) -> Self {
        self.push(field, value);
        self
    }

    /// Appends a string.
    pub fn text(self, field: u32, value: &str) -> Self {
        self.bytes(field, value.as_bytes())
    }

    /// Appends a repeated string.
    pub fn texts(self, field: u32, values: &[String]) -> Self {
        values.iter().fold(self, |message, value| message.text(field, value))
    }

    /// Appends a message.
    pub fn message(self, field: u32, value: Self) -> Self {
        self.bytes(field, &value.0)
    }

    /// As [`Self::bytes`], in place.
    pub fn push(&mut self, field: u32, value: &[u8]) {
        let _ = self.writer().write_with_tag(field << 3 | LENGTH_DELIMITED, |writer| writer.write_bytes(value));
    }
}
