//! The types of values in PyTorch's storages.

use half::{bf16, f16};

/// A type of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype<'a> {
    /// 16 bits, IEEE 754.
    Half,
    /// The upper 16 bits of a [`Self::Float`].
    BFloat16,
    /// 32 bits.
    Float,
    /// 64 bits.
    Double,
    /// Integers, booleans, complex numbers and floats of fewer bits: PyTorch's name and bytes of a value. No network here
    /// has them.
    Other(&'a str, u8),
}

impl<'a> Dtype<'a> {
    /// The type of `torch.FloatStorage` and its like; `None` for what is no storage.
    pub fn of_storage(name: &str) -> Option<Self> {
        Some(match name.strip_suffix("Storage")? {
            "Half" => Self::Half,
            "BFloat16" => Self::BFloat16,
            "Float" => Self::Float,
            "Double" => Self::Double,
            "Byte" => Self::Other("uint8", 1),
            "Char" => Self::Other("int8", 1),
            "Bool" => Self::Other("bool", 1),
            "Short" => Self::Other("int16", 2),
            "Int" => Self::Other("int32", 4),
            "Long" => Self::Other("int64", 8),
            "ComplexFloat" => Self::Other("complex64", 8),
            "ComplexDouble" => Self::Other("complex128", 16),
            "QInt8" => Self::Other("qint8", 1),
            "QUInt8" => Self::Other("quint8", 1),
            "QInt32" => Self::Other("qint32", 4),
            // Bytes, whose type stands beside the tensor.
            "Untyped" => Self::Other("bytes", 1),
            _ => return None,
        })
    }

    /// The type `torch.` + `name`; `None` for what is none.
    pub fn named(name: &'a str) -> Option<Self> {
        const STARTS: [&str; 9] = ["float", "int", "uint", "complex", "bool", "long", "short", "quint", "qint"];
        Some(match name {
            "half" | "float16" => Self::Half,
            "bfloat16" => Self::BFloat16,
            "float" | "float32" => Self::Float,
            "double" | "float64" => Self::Double,
            _ if STARTS.iter().any(|start| name.starts_with(start)) => Self::Other(name, 1),
            _ => return None,
        })
    }

    /// Bytes of a value.
    pub fn width(self) -> u64 {
        match self {
            Self::Half | Self::BFloat16 => 2,
            Self::Float => 4,
            Self::Double => 8,
            Self::Other(_, width) => width.into(),
        }
    }

    /// Values one after the other.
    pub fn decode(self, bytes: &[u8]) -> Vec<f32> {
        match self {
            Self::Half => bytes.as_chunks().0.iter().map(half).collect(),
            Self::BFloat16 => bytes.as_chunks().0.iter().map(brain).collect(),
            Self::Float => bytes.as_chunks().0.iter().map(single).collect(),
            Self::Double => bytes.as_chunks().0.iter().map(double).collect(),
            Self::Other(..) => Vec::new(),
        }
    }

    /// The value at `index`; 0 where there is none.
    pub fn value(self, bytes: &[u8], index: usize) -> f32 {
        let value = match self {
            Self::Half => bytes.as_chunks().0.get(index).map(half),
            Self::BFloat16 => bytes.as_chunks().0.get(index).map(brain),
            Self::Float => bytes.as_chunks().0.get(index).map(single),
            Self::Double => bytes.as_chunks().0.get(index).map(double),
            Self::Other(..) => None,
        };
        value.unwrap_or_default()
    }
}

fn half(bytes: &[u8; 2]) -> f32 {
    f16::from_le_bytes(*bytes).to_f32()
}

fn brain(bytes: &[u8; 2]) -> f32 {
    bf16::from_le_bytes(*bytes).to_f32()
}

fn single(bytes: &[u8; 4]) -> f32 {
    f32::from_le_bytes(*bytes)
}

fn double(bytes: &[u8; 8]) -> f32 {
    f64::from_le_bytes(*bytes) as f32
}
