//! Tensors of a graph: their types, shapes, and the four places in which their values may lie.

use std::path::{Component, Path};

use half::{bf16, f16};

use super::graph::{damaged, text};
use super::proto::data_type;
use crate::protobuf::{Field, Fields, varint};
use crate::weights::WeightError;
use crate::weights::error::printable;

/// More axes than any tensor here has, and longer vectors of whole numbers than any operator needs.
const MAX_AXES: usize = 8;
const MAX_INTS: usize = 64;

/// A `TensorProto` whose values are not looked at yet.
#[derive(Clone, Debug)]
pub struct Tensor<'a> {
    /// Its name in the graph; empty for a constant.
    pub name: &'a str,
    /// Its shape.
    pub shape: Vec<usize>,
    data_type: u64,
    body: &'a [u8],
    /// File, first byte and length of values that lie outside.
    outside: Option<Outside<'a>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Outside<'a> {
    location: &'a str,
    offset: u64,
    length: Option<u64>,
}

/// Where values come from, and how much more memory may be taken for them.
pub struct Store<'a> {
    /// Files of values outside of the graph, with their names.
    pub data: &'a [(String, Vec<u8>)],
    /// Bytes.
    pub budget: u64,
}

impl<'a> Tensor<'a> {
    pub fn parse(body: &'a [u8]) -> Result<Self, WeightError> {
        let mut tensor = Self { name: "", shape: Vec::new(), data_type: 0, body, outside: None };
        let mut entries = Outside::default();
        let mut is_outside = false;
        for field in Fields(body) {
            match field.map_err(|_| damaged("a tensor of its graph is cut off"))? {
                (1, field) => {
                    for side in numbers(field) {
                        let side = usize::try_from(side).ok().filter(|_| tensor.shape.len() < MAX_AXES);
                        tensor.shape.push(side.ok_or_else(|| damaged("a tensor of its graph has an absurd shape"))?);
                    }
                }
                (2, Field::Number(number)) => tensor.data_type = number,
                (8, Field::Bytes(name)) => tensor.name = text(name)?,
                (13, Field::Bytes(entry)) => entries.take(entry)?,
                (14, Field::Number(location)) => is_outside = location == 1,
                _ => {}
            }
        }
        tensor.outside = is_outside.then_some(entries);
        Ok(tensor)
    }

    /// Product of the shape; `None` when it overflows.
    pub fn count(&self) -> Option<usize> {
        self.shape.iter().try_fold(1_usize, |product, side| product.checked_mul(*side))
    }

    /// The file that the values lie in, where that is another one.
    ///
    /// # Errors
    /// When the path leaves the folder.
    pub fn location(&self) -> Result<Option<&'a str>, WeightError> {
        let Some(Outside { location, .. }) = self.outside else { return Ok(None) };
        let is_inside = |part: Component| matches!(part, Component::Normal(_));
        // A colon or a backslash may be an absolute path on another system.
        if location.is_empty()
            || location.contains(['\\', ':', '\0'])
            || !Path::new(location).components().all(is_inside)
        {
            return Err(WeightError::OutsideFolder { path: printable(location) });
        }
        Ok(Some(location))
    }

    /// The whole numbers of a short vector; `None` for any other tensor.
    pub fn ints(&self) -> Option<Vec<i64>> {
        let (width, field) = match self.data_type {
            data_type::INT64 => (8, 7),
            data_type::INT32 => (4, 5),
            _ => return None,
        };
        let count = self.count().filter(|count| *count <= MAX_INTS && self.outside.is_none())?;
        let mut found = Vec::new();
        for part in Fields(self.body) {
            match part.ok()? {
                (9, Field::Bytes(raw)) if width == 8 => {
                    found.extend(raw.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).take(MAX_INTS + 1));
                }
                (9, Field::Bytes(raw)) => {
                    let values = raw.as_chunks().0.iter().map(|bytes| i64::from(i32::from_le_bytes(*bytes)));
                    found.extend(values.take(MAX_INTS + 1));
                }
                (number, values) if number == field => {
                    found.extend(numbers(values).map(|value| value as i64).take(MAX_INTS + 1));
                }
                _ => {}
            }
            if found.len() > MAX_INTS {
                return None;
            }
        }
        (found.len() == count).then_some(found)
    }

    /// The values, in 32 bits.
    ///
    /// # Errors
    /// When they are of another type, not where they should be, not as many as the shape says, or not finite.
    pub fn values(&self, store: &mut Store) -> Result<Vec<f32>, WeightError> {
        let tensor = || if self.name.is_empty() { "a constant".into() } else { printable(self.name) };
        let width = match self.data_type {
            data_type::FLOAT => 4,
            data_type::FLOAT16 | data_type::BFLOAT16 => 2,
            data_type::DOUBLE => 8,
            other => return Err(WeightError::Dtype { tensor: tensor(), dtype: format!("{other} of ONNX") }),
        };
        let shape = || self.shape.iter().map(|side| *side as u64).collect();
        let outside = |available: usize| WeightError::Outside {
            tensor: tensor(),
            shape: shape(),
            available: (available / width) as u64,
        };
        let count = self.count().ok_or_else(|| outside(0))?;
        let bytes = count.checked_mul(width).ok_or_else(|| outside(0))?;
        let spent = |left: &u64| left.checked_sub(4 * count as u64).ok_or(WeightError::TooComplex);
        let mut values = Vec::new();
        if let Some(Outside { offset, length, .. }) = self.outside {
            let location = self.location()?.unwrap_or_default();
            let name = location.rsplit('/').next().unwrap_or(location);
            let file = store.data.iter().find(|(found, _)| found == location || found == name);
            let Some((_, file)) = file else {
                return Err(WeightError::MissingData { files: vec![printable(location)] });
            };
            let run = usize::try_from(offset).ok().and_then(|offset| file.get(offset..)).unwrap_or_default();
            let run = run.get(..bytes).filter(|_| length.is_none_or(|length| length == bytes as u64));
            let run = run.ok_or_else(|| outside(file.len().saturating_sub(offset as usize)))?;
            store.budget = spent(&store.budget)?;
            self.decode(run, &mut values);
        } else {
            // What is there is counted before memory is taken for it.
            let mut available = 0;
            for field in Fields(self.body).flatten() {
                available += match (field, self.data_type) {
                    ((9, Field::Bytes(raw)), _) => raw.len() / width,
                    ((4, Field::Bytes(floats)), data_type::FLOAT) => floats.len() / 4,
                    ((10, Field::Bytes(doubles)), data_type::DOUBLE) => doubles.len() / 8,
                    ((5, field), data_type::FLOAT16 | data_type::BFLOAT16) => numbers(field).count(),
                    _ => 0,
                };
            }
            if available != count {
                return Err(outside(available * width));
            }
            store.budget = spent(&store.budget)?;
            values.reserve_exact(count);
            for field in Fields(self.body).flatten() {
                match (field, self.data_type) {
                    ((9, Field::Bytes(run)), _)
                    | ((4, Field::Bytes(run)), data_type::FLOAT)
                    | ((10, Field::Bytes(run)), data_type::DOUBLE) => self.decode(run, &mut values),
                    ((5, field), data_type::FLOAT16 | data_type::BFLOAT16) => {
                        for bits in numbers(field) {
                            self.decode(&(bits as u16).to_le_bytes(), &mut values);
                        }
                    }
                    _ => {}
                }
            }
        }
        match values.iter().position(|value| !value.is_finite()) {
            Some(index) => Err(WeightError::NonFinite { tensor: tensor(), index, value: values[index] }),
            None => Ok(values),
        }
    }

    fn decode(&self, run: &[u8], values: &mut Vec<f32>) {
        match self.data_type {
            data_type::FLOAT16 => values.extend(run.as_chunks().0.iter().map(|two| f16::from_le_bytes(*two).to_f32())),
            data_type::BFLOAT16 => {
                values.extend(run.as_chunks().0.iter().map(|two| bf16::from_le_bytes(*two).to_f32()))
            }
            data_type::DOUBLE => values.extend(run.as_chunks().0.iter().map(|eight| f64::from_le_bytes(*eight) as f32)),
            _ => values.extend(run.as_chunks().0.iter().map(|four| f32::from_le_bytes(*four))),
        }
    }
}

impl<'a> Outside<'a> {
    /// Takes one key and its value.
    fn take(&mut self, entry: &'a [u8]) -> Result<(), WeightError> {
        let (key, value) = pair(entry)?;
        let number = || value.parse().map_err(|_| damaged("a tensor of its graph lies nowhere"));
        match key {
            "location" => self.location = value,
            "offset" => self.offset = number()?,
            "length" => self.length = Some(number()?),
            _ => {}
        }
        Ok(())
    }
}

/// A `StringStringEntryProto`.
pub fn pair(entry: &[u8]) -> Result<(&str, &str), WeightError> {
    let (mut key, mut value) = ("", "");
    for field in Fields(entry) {
        match field.map_err(|_| damaged("a remark in its graph is cut off"))? {
            (1, Field::Bytes(bytes)) => key = text(bytes)?,
            (2, Field::Bytes(bytes)) => value = text(bytes)?,
            _ => {}
        }
    }
    Ok((key, value))
}

/// Whole numbers, one or packed.
pub fn numbers<'a>(field: Field<'a>) -> impl Iterator<Item = u64> + 'a {
    let (one, mut packed) = match field {
        Field::Number(number) => (Some(number), &[][..]),
        Field::Bytes(bytes) => (None, bytes),
    };
    one.into_iter().chain(std::iter::from_fn(move || varint(&mut packed)))
}
