//! What can be wrong with a weight file, in whole sentences.

use std::path::PathBuf;

use super::safetensors::{MAX_FILE_BYTES, MAX_HEADER_BYTES};

/// Why a weight file could not be read, written or used. Each names the first offender.
#[derive(Debug, thiserror::Error)]
pub enum WeightError {
    /// The file holds something else; `looks_like` says what, as far as its first bytes tell.
    #[error("This is not a weight file (.safetensors, PyTorch's .pth or .onnx): it looks like {looks_like}.")]
    NotWeights {
        /// `a PNG picture`, `an empty file`, …
        looks_like: &'static str,
    },
    /// The file ends before all that its beginning promises.
    #[error("The weight file is cut off: it should have {expected} bytes but has {found}. Copy or download it again.")]
    Truncated {
        /// Bytes that the file should have.
        expected: u64,
        /// Bytes that it has.
        found: u64,
    },
    /// The file goes on after its last tensor.
    #[error("The weight file has {found} bytes where its tensors end after {expected}. Copy or download it again.")]
    TrailingBytes {
        /// Bytes that the file should have.
        expected: u64,
        /// Bytes that it has.
        found: u64,
    },
    /// The file is larger than any network of this program.
    #[error("The weight file has {found} bytes; more than {} are not read.", MAX_FILE_BYTES)]
    FileTooLarge {
        /// Bytes that it has.
        found: u64,
    },
    /// The header's length is absurd.
    #[error(
        "The weight file is damaged: its header claims {length} bytes; no more than {} can be right.",
        MAX_HEADER_BYTES
    )]
    HeaderTooLarge {
        /// The length that the file states.
        length: u64,
    },
    /// The header is not the JSON object that it should be.
    #[error("The weight file is damaged: its header cannot be understood ({reason}).")]
    Header {
        /// What the parser found.
        reason: String,
    },
    /// The header lists no tensor.
    #[error("The weight file holds no tensors.")]
    NoTensors,
    /// Two tensors share a name.
    #[error("The weight file is damaged: it holds the tensor `{tensor}` twice.")]
    Duplicate {
        /// The tensor's name.
        tensor: String,
    },
    /// Values of a type that weights are not stored in.
    #[error(
        "The tensor `{tensor}` holds values of type {dtype}; weights are read in float32, float64, float16 and bfloat16. \
         Convert them (in PyTorch `tensor.float()`) and save them again."
    )]
    Dtype {
        /// The tensor's name.
        tensor: String,
        /// The type that the file states.
        dtype: String,
    },
    /// Dimensions and place in the file do not agree, or overflow.
    #[error(
        "The weight file is damaged: the tensor `{tensor}` of shape {shape:?} cannot lie at bytes {start} to {end}."
    )]
    Offsets {
        /// The tensor's name.
        tensor: String,
        /// Its shape as the file states it.
        shape: Vec<u64>,
        /// First byte, counted from the end of the header.
        start: u64,
        /// One past the last byte.
        end: u64,
    },
    /// The tensors overlap or leave a gap.
    #[error(
        "The weight file is damaged: the tensor `{tensor}` starts at byte {found}, not right after the one before it, at {expected}."
    )]
    Overlap {
        /// The tensor's name.
        tensor: String,
        /// Where it should start.
        expected: u64,
        /// Where it starts.
        found: u64,
    },
    /// A PyTorch file that is not as PyTorch writes it.
    #[error("The weight file is damaged: {reason}.")]
    Damaged {
        /// A half sentence.
        reason: String,
    },
    /// Something in a pickle that tensors do not need.
    #[error(
        "This file needs {what} for its tensors, which is not run here, and neither was anything else in it. \
         If you made it, save `model.state_dict()`."
    )]
    Forbidden {
        /// A Python name or an operation.
        what: String,
    },
    /// A network that the official code does not have was to be written in its layout.
    #[error(
        "The official PyTorch code has no generator with a skip from input to output, so this one cannot be a .pth file. \
         Save it as .safetensors or .onnx."
    )]
    NotOfficial,
    /// A zip archive with compressed or encrypted parts.
    #[error(
        "The weight file's parts are compressed or encrypted, which PyTorch never does. Unpack it and save it with PyTorch."
    )]
    Packed,
    /// A file out of which more would come than it has.
    #[error("The weight file claims far more than its size can hold: it is damaged or made to exhaust the memory.")]
    TooComplex,
    /// A tensor that reaches beyond its storage.
    #[error(
        "The weight file is damaged: the tensor `{tensor}` of shape {shape:?} lies outside of its {available} stored values."
    )]
    Outside {
        /// The tensor's name.
        tensor: String,
        /// Its shape as the file states it.
        shape: Vec<u64>,
        /// Values that there are.
        available: u64,
    },
    /// A graph that computes something else than a generator.
    #[error("This ONNX graph is none of this program's generators. The first node that does not fit is {node}: {why}.")]
    Graph {
        /// Its name and operator.
        node: String,
        /// A half sentence.
        why: &'static str,
    },
    /// A graph that is not of one picture.
    #[error(
        "This ONNX graph is none of this program's generators: it is given {inputs} values instead of one picture."
    )]
    GraphEnds {
        /// Number of its inputs.
        inputs: usize,
    },
    /// A graph whose values lie in files that were not given.
    #[error(
        "The weights of this ONNX graph lie in another file, {}, which is not here. Put it beside the .onnx file; in a \
         browser, give both together.",
        files.join(", ")
    )]
    MissingData {
        /// The files' names.
        files: Vec<String>,
    },
    /// A graph that wants to read a file from elsewhere.
    #[error(
        "This ONNX graph asks for the file `{path}`, which is not in its own folder: it was not opened. Weights are \
         read from beside the graph only."
    )]
    OutsideFolder {
        /// As the graph says it.
        path: String,
    },
    /// Several networks, and nobody said which.
    #[error(
        "This file holds {} networks: {}. Name one after a colon, as in FILE:{}.",
        found.len(), found.join(", "), found.first().map_or("", String::as_str)
    )]
    Several {
        /// Their names.
        found: Vec<String>,
    },
    /// No network of the name that was asked for.
    #[error("This file holds no network `{part}`; it has: {}.", found.join(", "))]
    NoPart {
        /// The name asked for.
        part: String,
        /// The names that there are.
        found: Vec<String>,
    },
    /// A network that is known but not built here.
    #[error(
        "These are the weights of {what}; this program has ResNet and U-Net generators with instance norm or none."
    )]
    OtherNetwork {
        /// `a U-Net generator with batch norm (as of pix2pix)`
        what: &'static str,
    },
    /// The file could not be put together.
    #[error("The weight file could not be written: {reason}.")]
    Unwritable {
        /// The reason.
        reason: String,
    },
    /// A value that is no number.
    #[error("The tensor `{tensor}` holds {value} at index {index}: these weights are broken.")]
    NonFinite {
        /// The tensor's name.
        tensor: String,
        /// Position in the row-major tensor.
        index: usize,
        /// `NaN`, `inf` or `-inf`.
        value: f32,
    },
    /// A value too large for 16 bits.
    #[error("The tensor `{tensor}` holds {value} at index {index}, too large for 16-bit storage. Store it in 32 bits.")]
    HalfOverflow {
        /// The tensor's name.
        tensor: String,
        /// Position in the row-major tensor.
        index: usize,
        /// The value.
        value: f32,
    },
    /// The number of values is not what the shape says. Only when writing.
    #[error("The tensor `{tensor}` of shape {shape:?} has {found} values.")]
    Count {
        /// The tensor's name.
        tensor: String,
        /// Its shape.
        shape: Vec<usize>,
        /// Its number of values.
        found: usize,
    },
    /// A tensor of another shape than the network needs.
    #[error(
        "The tensor `{tensor}` has the shape {found:?} but {expected:?} is needed: these weights are of another network."
    )]
    Shape {
        /// The tensor's name.
        tensor: String,
        /// The shape that the network needs.
        expected: Vec<usize>,
        /// The shape in the file.
        found: Vec<usize>,
    },
    /// A tensor that the network needs is not there.
    #[error("The tensor `{tensor}` of shape {expected:?} is missing: these weights are of another network.")]
    Missing {
        /// The tensor's name.
        tensor: String,
        /// The shape that the network needs.
        expected: Vec<usize>,
    },
    /// A tensor that the network does not have.
    #[error("The tensor `{tensor}` of shape {found:?} has no place in the network: these weights are of another one.")]
    Surplus {
        /// The tensor's name.
        tensor: String,
        /// The shape in the file.
        found: Vec<usize>,
    },
    /// Neither a generator nor a discriminator.
    #[error(
        "These are not the weights of a CycleGAN generator or discriminator, which begin with a convolution over the \
         colours of a picture: of {tensors} tensors the first is `{tensor}` of shape {shape:?}."
    )]
    UnknownArchitecture {
        /// Name of the file's first tensor.
        tensor: String,
        /// Its shape.
        shape: Vec<usize>,
        /// How many there are.
        tensors: usize,
    },
    /// A discriminator where a generator is needed.
    #[error("These are the weights of a discriminator ({found}); a generator's are needed to translate images.")]
    NotAGenerator {
        /// Name of the architecture found.
        found: String,
    },
    /// The file system refused.
    #[error("{} could not be {action}: {reason}.", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// `read` or `written`.
        action: &'static str,
        /// The system's reason.
        reason: std::io::Error,
    },
    /// Any of the others, with the file that it was found in.
    #[error("{}: {reason}", path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: Box<WeightError>,
    },
}

/// Longest tensor name repeated in a message: a file may state names of any length.
const MAX_NAME: usize = 100;

/// A name from a file made fit for a message: no control characters, not too long.
pub(super) fn printable(name: &str) -> String {
    let clean = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    let mut text: String = name.chars().take(MAX_NAME).map(clean).collect();
    if name.chars().nth(MAX_NAME).is_some() {
        text.push('…');
    }
    text
}
