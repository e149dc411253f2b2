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

/// The value of a field that is read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Field<'a> {
    /// A whole number; negative ones are two's complement.
    Number(u64),
    /// Bytes, a string, a message, packed numbers, or the four or eight bytes of a number of fixed width.
    Bytes(&'a [u8]),
}

/// The fields of a message that are still to be read. Nothing is copied.
#[derive(Clone, Debug)]
pub struct Fields<'a>(pub &'a [u8]);

/// The bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Malformed;

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Field<'a>), Malformed>;

    /// After the first error there is nothing more.
    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field.ok_or(Malformed))
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<(u32, Field<'a>)> {
        let tag = u32::try_from(varint(&mut self.0)?).ok()?;
        let length = match tag & 7 {
            VARINT => return Some((tag >> 3, Field::Number(varint(&mut self.0)?))),
            FIXED64 => 8,
            FIXED32 => 4,
            LENGTH_DELIMITED => usize::try_from(varint(&mut self.0)?).ok()?,
            _ => return None,
        };
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some((tag >> 3, Field::Bytes(bytes)))
    }
}

/// Takes a number of variable length from the front; `None` where there is none.
pub fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for (index, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            *bytes = &bytes[index + 1..];
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let message = Message::default().int(1, -1).int(2, 300).text(3, "abc").float(4, 1.5).double(5, -2.0);
        let fields: Vec<_> = Fields(&message.0).map(|field| field.expect("a field")).collect();
        let expected = [
            (1, Field::Number(u64::MAX)),
            (2, Field::Number(300)),
            (3, Field::Bytes(b"abc")),
            (4, Field::Bytes(&[0, 0, 0xc0, 0x3f])),
            (5, Field::Bytes(&[0, 0, 0, 0, 0, 0, 0, 0xc0])),
        ];
        assert_eq!(fields, expected);
    }

    #[test]
    fn what_is_no_message_ends_in_an_error() {
        let cases: [&[u8]; 6] =
            [&[0x08], &[0x0a, 5, 1], &[0x0b], &[0x0d, 1, 2], &[0xff; 11], &[0x0a, 0xff, 0xff, 0xff, 0xff, 0x7f]];
        for bytes in cases {
            assert_eq!(Fields(bytes).last(), Some(Err(Malformed)), "{bytes:?}");
            assert_eq!(Fields(bytes).count(), 1, "{bytes:?}");
        }
    }
}
