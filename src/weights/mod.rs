//! Weight files: one network whose tensor names and shapes are exactly those of the official PyTorch
//! `state_dict`, so that `load_state_dict(strict=True)` takes it. Written as `.safetensors`, as PyTorch's
//! own `.pth` or as an ONNX graph, and read from all three, with the tensors of other people's files
//! brought under their official names by [`WeightFile::network`].
//!
//! Everything is checked before anything is replaced: a [`WeightFile`] holds finite numbers, and
//! [`WeightFile::fits`] compares every name and shape with those of a network.

mod disk;
mod error;
mod fold;
pub mod metadata;
pub mod networks;
mod onnx;
mod pytorch;
mod recognise;
mod safetensors;

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap, HashSet};

pub use error::WeightError;
use half::f16;
pub use safetensors::{MAX_FILE_BYTES, MAX_HEADER_BYTES};

use crate::model::architecture::{Architecture, FILTER, Parameter};
pub use crate::protocol::WeightFormat as Format;
use crate::protocol::{Direction, ModelInfo};
use error::printable;

/// One tensor of a weight file.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedTensor {
    /// Its name in the `state_dict`, e.g. `model.10.conv_block.1.weight`.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its values, row by row: as many as the product of the shape.
    pub values: Vec<f32>,
}

/// How the values are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// 32 bits a value: exact.
    F32,
    /// 16 bits a value: half the size, 11 bits of precision, no values beyond ±65504.
    F16,
}

/// The contents of a weight file: usually one network.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WeightFile {
    /// What it says about itself: see [`metadata`].
    pub metadata: BTreeMap<String, String>,
    /// The tensors, in the order of the official PyTorch `state_dict`.
    pub tensors: Vec<NamedTensor>,
    /// What was changed or assumed while reading, in whole sentences; nothing for files of this program.
    pub notes: Vec<String>,
    /// A tensor that is in the file and not among [`Self::tensors`]: a convolution's weight, if there is one.
    pub unread: Option<Unread>,
}

/// Said of values that were rounded.
const ROUNDED: &str = "Values of 64 bits were rounded to 32 bits.";

/// A tensor that could not be read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Unread {
    /// Its name.
    pub tensor: String,
    /// The type of its values, where that is why.
    pub dtype: String,
    /// What would have to be called for it, where that is why.
    pub callable: Option<String>,
    /// Whether it has the four sides of a convolution's weight.
    pub is_kernel: bool,
}

impl Unread {
    /// Takes down a tensor of values that are no weights; most are counters, so that one with four sides goes first.
    fn note(unread: &mut Option<Self>, name: &str, dtype: &str, sides: usize) {
        let is_kernel = sides == 4;
        if unread.as_ref().is_none_or(|unread| is_kernel && !unread.is_kernel && unread.callable.is_none()) {
            let (tensor, dtype) = (printable(name), printable(dtype));
            *unread = Some(Self { tensor, dtype, callable: None, is_kernel });
        }
    }

    /// Why, in a sentence.
    fn error(self) -> WeightError {
        match self.callable {
            Some(what) => WeightError::Forbidden { what },
            None => WeightError::Dtype { tensor: self.tensor, dtype: self.dtype },
        }
    }
}

impl WeightFile {
    /// Reads the bytes of a `.safetensors`, PyTorch or ONNX file, told apart by how they begin, with values
    /// of 16, 32 or 64 bits (these rounded). Names are left as they are: see [`Self::network`]; those
    /// of an ONNX graph, which say little, are the official ones at once.
    ///
    /// # Errors
    /// Names what is wrong; safe on bytes of any origin. Nothing in a pickle is executed, every size is
    /// checked before memory is taken for it, and every value is finite.
    pub fn read(bytes: &[u8]) -> Result<Self, WeightError> {
        Self::read_with(bytes, &[])
    }

    /// As [`Self::read`], with the files that [`Self::data_files`] names.
    ///
    /// # Errors
    /// As [`Self::read`]; [`WeightError::MissingData`] for a file that is not among them.
    pub fn read_with(bytes: &[u8], data: &[(String, Vec<u8>)]) -> Result<Self, WeightError> {
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(WeightError::FileTooLarge { found: bytes.len() as u64 });
        }
        if pytorch::is_pytorch(bytes) {
            return pytorch::read(bytes);
        }
        if onnx::is_onnx(bytes) {
            return onnx::read(bytes, data);
        }
        let mut file = safetensors::read(bytes)?;
        // Other programs order their files by name: model.10 before model.2, bias before weight.
        file.tensors.sort_by(|left, right| official_order(&left.name, &right.name));
        Ok(file)
    }

    /// The files in which an ONNX graph's weights lie beside its own, as paths below its folder; none for other formats.
    ///
    /// # Errors
    /// When it is damaged, or a path leaves the folder.
    pub fn data_files(bytes: &[u8]) -> Result<Vec<String>, WeightError> {
        if onnx::is_onnx(bytes) { onnx::data_files(bytes) } else { Ok(Vec::new()) }
    }

    /// The bytes of a `.safetensors` file. The same contents always give the same bytes.
    ///
    /// # Errors
    /// Names the tensor whose values are not finite, too large for [`Storage::F16`], or do not fit its shape.
    pub fn write(&self, storage: Storage) -> Result<Vec<u8>, WeightError> {
        self.write_as(Format::Safetensors, storage)
    }

    /// The bytes of a file of any format. The same contents always give the same bytes.
    ///
    /// # Errors
    /// As [`Self::write`]; for [`Format::Onnx`] also when it is no generator, for [`Format::Pytorch`] when it is a network
    /// that the official code does not have.
    pub fn write_as(&self, format: Format, storage: Storage) -> Result<Vec<u8>, WeightError> {
        match format {
            Format::Safetensors => safetensors::write(self, storage),
            Format::Pytorch if metadata::says_skip(&self.metadata) => Err(WeightError::NotOfficial),
            Format::Pytorch => pytorch::write(self, storage),
            Format::Onnx => onnx::write(self, storage),
        }
    }

    /// Checks that there are exactly the tensors `expected`, each of its shape.
    ///
    /// # Errors
    /// Names the first that is missing or of another shape, in the order of `expected`; else the
    /// first that has no place.
    pub fn fits(&self, expected: &[Parameter]) -> Result<(), WeightError> {
        fits(&self.shapes(), expected)
    }

    /// The architecture that the weights are of, with every name and shape checked.
    ///
    /// # Errors
    /// [`WeightError::UnknownArchitecture`] when it is neither network, else what [`Self::fits`] finds.
    pub fn architecture(&self) -> Result<Architecture, WeightError> {
        let Some(architecture) = Architecture::infer(&self.shapes()) else {
            return Err(self.unknown());
        };
        let architecture = architecture.with_skip(metadata::says_skip(&self.metadata));
        self.fits(&architecture.parameters())?;
        // Every channel is blurred alike.
        let is_even = |tensor: &NamedTensor| {
            let count = tensor.shape[1..].iter().product();
            let mut filters = tensor.values.chunks(count);
            let first = filters.next();
            filters.all(|filter| Some(filter) == first)
        };
        if !self.tensors.iter().filter(|tensor| tensor.name.ends_with(FILTER)).all(is_even) {
            return Err(self.unknown());
        }
        Ok(architecture)
    }

    /// The architecture of a generator's weights.
    ///
    /// # Errors
    /// [`WeightError::NotAGenerator`] for a discriminator's, else as [`Self::architecture`].
    pub fn generator(&self) -> Result<Architecture, WeightError> {
        let architecture = self.architecture()?;
        if architecture.is_generator() {
            Ok(architecture)
        } else {
            Err(WeightError::NotAGenerator { found: architecture.name() })
        }
    }

    /// What the model is: its metadata, and what the tensors tell. Official exports without
    /// metadata give empty texts and zeroes.
    pub fn info(&self) -> ModelInfo {
        let said = metadata::understand(&self.metadata);
        let architecture = self.architecture().ok();
        let channels = architecture.and_then(|architecture| architecture.generator_channels()).unwrap_or_default();
        ModelInfo {
            architecture: architecture.map_or(said.architecture, |architecture| architecture.name()),
            parameters: self.tensors.iter().map(|tensor| tensor.values.len() as u64).sum(),
            channels: channels.map(|count| count as u32),
            notes: self.notes.clone(),
            ..said
        }
    }

    /// Which generator of its pair it is, when the metadata tells.
    pub fn direction(&self) -> Option<Direction> {
        metadata::direction(&self.metadata)
    }

    /// The tensor of that name.
    pub fn tensor(&self, name: &str) -> Option<&NamedTensor> {
        self.tensors.iter().find(|tensor| tensor.name == name)
    }

    fn unknown(&self) -> WeightError {
        let first = self.tensors.first();
        WeightError::UnknownArchitecture {
            tensor: printable(first.map_or("", |tensor| &tensor.name)),
            shape: first.map_or_else(Vec::new, |tensor| tensor.shape.clone()),
            tensors: self.tensors.len(),
        }
    }

    fn shapes(&self) -> Vec<(&str, &[usize])> {
        self.tensors.iter().map(|tensor| (tensor.name.as_str(), tensor.shape.as_slice())).collect()
    }
}

impl NamedTensor {
    /// Whether there are as many values as the shape says.
    fn check_count(&self) -> Result<(), WeightError> {
        let expected = self.shape.iter().try_fold(1usize, |product, &side| product.checked_mul(side));
        if expected == Some(self.values.len()) {
            return Ok(());
        }
        let (tensor, shape) = (printable(&self.name), self.shape.clone());
        Err(WeightError::Count { tensor, shape, found: self.values.len() })
    }

    /// The values as they are stored, little-endian, with all that could be wrong with them checked.
    fn bytes(&self, storage: Storage) -> Result<Vec<u8>, WeightError> {
        self.check_count()?;
        self.check_finite()?;
        if storage == Storage::F32 {
            return Ok(self.values.iter().flat_map(|value| value.to_le_bytes()).collect());
        }
        let half = |(index, &value): (usize, &f32)| match f16::from_f32(value) {
            half if half.is_finite() => Ok(half.to_le_bytes()),
            _ => Err(WeightError::HalfOverflow { tensor: printable(&self.name), index, value }),
        };
        let halves: Vec<[u8; 2]> = self.values.iter().enumerate().map(half).collect::<Result<_, _>>()?;
        Ok(halves.into_flattened())
    }

    /// Whether every value is a number.
    fn check_finite(&self) -> Result<(), WeightError> {
        match self.values.iter().position(|value| !value.is_finite()) {
            Some(index) => {
                Err(WeightError::NonFinite { tensor: printable(&self.name), index, value: self.values[index] })
            }
            None => Ok(()),
        }
    }
}

/// See [`WeightFile::fits`].
fn fits(found: &[(&str, &[usize])], expected: &[Parameter]) -> Result<(), WeightError> {
    let shapes: HashMap<&str, &[usize]> = found.iter().copied().collect();
    for (name, shape) in expected {
        match shapes.get(name.as_str()) {
            None => return Err(WeightError::Missing { tensor: name.clone(), expected: shape.clone() }),
            Some(&found) if found != shape => {
                let (tensor, expected) = (name.clone(), shape.clone());
                return Err(WeightError::Shape { tensor, expected, found: found.to_vec() });
            }
            Some(_) => {}
        }
    }
    let known: HashSet<&str> = expected.iter().map(|(name, _)| name.as_str()).collect();
    match found.iter().find(|(name, _)| !known.contains(name)) {
        Some((name, shape)) => Err(WeightError::Surplus { tensor: printable(name), found: shape.to_vec() }),
        None => Ok(()),
    }
}

/// The order of a PyTorch `state_dict`: layers by number, weight before bias.
fn official_order(left: &str, right: &str) -> Ordering {
    // Numbers sort before words; a number too long for one is a word.
    let key = |part: &str| match (part.parse::<u64>(), part) {
        (Ok(number), _) => (0, number),
        (_, "weight") => (1, 0),
        (_, "bias") => (1, 1),
        _ => (2, 0),
    };
    let mut parts = left.split('.').zip(right.split('.'));
    let differing =
        parts.find_map(|(l, r)| Some(key(l).cmp(&key(r)).then_with(|| l.cmp(r))).filter(|order| order.is_ne()));
    differing.unwrap_or_else(|| left.len().cmp(&right.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::architecture::{PatchStyle, ResnetStyle};

    #[test]
    fn names_sort_as_pytorch_lists_them() {
        let resnet = Architecture::Resnet {
            in_channels: 3,
            out_channels: 3,
            ngf: 4,
            n_blocks: 9,
            affine: true,
            style: ResnetStyle::PAPER,
        };
        let patch = Architecture::Patch { in_channels: 3, ndf: 4, n_layers: 3, style: PatchStyle::PAPER };
        for architecture in [resnet, patch] {
            let names: Vec<String> = architecture.parameters().into_iter().map(|(name, _)| name).collect();
            let mut sorted = names.clone();
            sorted.sort();
            assert_ne!(sorted, names, "the alphabet is another order");
            sorted.sort_by(|left, right| official_order(left, right));
            assert_eq!(sorted, names);
        }
    }

    #[test]
    fn strange_names_have_a_total_order() {
        let names = ["", ".", "a", "a.b", "a.1", "1", "01", "99999999999999999999999", "model.weight.1", "é"];
        for left in names {
            for right in names {
                assert_eq!(official_order(left, right), official_order(right, left).reverse(), "{left:?} {right:?}");
                assert_eq!(official_order(left, right).is_eq(), left == right, "{left:?} {right:?}");
            }
        }
    }
}
