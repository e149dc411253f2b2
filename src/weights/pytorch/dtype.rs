//! The types of values in PyTorch's storages.

use half::{bf16, f16};

/// A type of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    /// 16 bits, IEEE 754.
    Half,
    /// The upper 16 bits of a [`Self::Float`].
    BFloat16,
    /// 32 bits.
    Float,
    /// 64 bits.
    Double,
    /// Integers, booleans, complex numbers of so many bytes: buffers that no network here has.
    Other(u8),
}

impl Dtype {
    /// The type of `torch.FloatStorage` and its like; `None` for what is no storage.
    pub fn of_storage(name: &str) -> Option<Self> {
        Some(match name.strip_suffix("Storage")? {
            "Half" => Self::Half,
            "BFloat16" => Self::BFloat16,
            "Float" => Self::Float,
            "Double" => Self::Double,
            "Byte" | "Char" | "Bool" => Self::Other(1),
            "Short" => Self::Other(2),
            "Int" => Self::Other(4),
            "Long" | "ComplexFloat" => Self::Other(8),
            "ComplexDouble" => Self::Other(16),
            _ => return None,
        })
    }

    /// Whether `torch.` + `name` is a type of values.
    pub fn is_name(name: &str) -> bool {
        let base = name.trim_end_matches(|c: char| c.is_ascii_digit());
        ["float", "bfloat", "int", "uint", "complex", "bool", "half", "double", "long"].contains(&base)
    }

    /// Bytes of a value.
    pub fn width(self) -> u64 {
        match self {
            Self::Half | Self::BFloat16 => 2,
            Self::Float => 4,
            Self::Double => 8,
            Self::Other(width) => width.into(),
        }
    }

    /// Values one after the other.
    pub fn decode(self, bytes: &[u8]) -> Vec<f32> {
        match self {
            Self::Half => bytes.as_chunks().0.iter().map(half).collect(),
            Self::BFloat16 => bytes.as_chunks().0.iter().map(brain).collect(),
            Self::Float => bytes.as_chunks().0.iter().map(single).collect(),
            Self::Double => bytes.as_chunks().0.iter().map(double).collect(),
            Self::Other(_) => Vec::new(),
        }
    }

    /// The value at `index`; 0 where there is none.
    pub fn value(self, bytes: &[u8], index: usize) -> f32 {
        let value = match self {
            Self::Half => bytes.as_chunks().0.get(index).map(half),
            Self::BFloat16 => bytes.as_chunks().0.get(index).map(brain),
            Self::Float => bytes.as_chunks().0.get(index).map(single),
            Self::Double => bytes.as_chunks().0.get(index).map(double),
            Self::Other(_) => None,
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
