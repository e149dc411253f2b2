//! What the page and the worker (and the command line and a session) say to each other.
//!
//! A message is plain data (JSON on the wire) plus any number of byte buffers. When a message crosses into or out of a
//! browser worker, a buffer is copied out of one WebAssembly memory and into the other; in between it is transferred.
//! Which buffers a message carries, and in which order, is said on each variant.

mod command;
mod event;
mod size;

use serde::{Deserialize, Serialize};

pub use command::{Command, InitFile, Input, Intervals, Subject, TRAINED_A_TO_B, TRAINED_B_TO_A, TrainData};
pub use event::{Event, Inspected, KeptTraining, Losses, ModelInfo, PreviewCell, Quality, Stage};
pub use size::{SMALLEST_SIDE, Size};

/// A message and the byte buffers that travel with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Envelope<M> {
    /// The message itself.
    pub message: M,
    /// The buffers, in the order that the message's variant documents.
    pub buffers: Vec<Vec<u8>>,
}

impl<M> From<M> for Envelope<M> {
    fn from(message: M) -> Self {
        Self { message, buffers: Vec::new() }
    }
}

impl<M> Envelope<M> {
    /// A message with buffers.
    pub fn with(message: M, buffers: Vec<Vec<u8>>) -> Self {
        Self { message, buffers }
    }
}

/// The compute backends a person can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendName {
    /// GPU through WebGPU (page) or Vulkan / Metal / DX12 (native).
    Wgpu,
    /// NVIDIA GPU through CUDA, native only.
    Cuda,
    /// CPU, burn-flex with this project's kernels.
    Flex,
    /// CPU, burn-candle.
    Candle,
}

impl BackendName {
    /// The name as typed in `--backend` and `?backend=`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Wgpu => "wgpu",
            Self::Cuda => "cuda",
            Self::Flex => "flex",
            Self::Candle => "candle",
        }
    }

    /// The backend of that name; `None` for an unknown one (and for `auto`).
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Wgpu, Self::Cuda, Self::Flex, Self::Candle].into_iter().find(|backend| backend.as_str() == name)
    }
}

/// Which generator of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Direction {
    /// generator_ab: domain A to domain B.
    AtoB,
    /// generator_ba: domain B to domain A.
    BtoA,
}

impl Direction {
    /// `AtoB` or `BtoA`, as written in weight files and file names.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AtoB => "AtoB",
            Self::BtoA => "BtoA",
        }
    }

    /// The other way round.
    pub fn reversed(self) -> Self {
        match self {
            Self::AtoB => Self::BtoA,
            Self::BtoA => Self::AtoB,
        }
    }
}

/// Sample pairs in a preview, unless others are asked for.
pub const PREVIEW_ROWS: u32 = 3;

/// The kinds of weight files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WeightFormat {
    /// <https://huggingface.co/docs/safetensors>
    Safetensors,
    /// `torch.save(state_dict)`, the zip archive of PyTorch 1.6 and later.
    Pytorch,
    /// A graph for other runtimes (<https://onnx.ai>).
    Onnx,
}

impl WeightFormat {
    /// The ending of its files' names.
    pub fn ending(self) -> &'static str {
        match self {
            Self::Safetensors => ".safetensors",
            Self::Pytorch => ".pth",
            Self::Onnx => ".onnx",
        }
    }

    /// The format that a file's name ends with; `None` for an unknown ending.
    pub fn of(name: &str) -> Option<Self> {
        let (_, ending) = name.rsplit_once('.')?;
        match ending.to_ascii_lowercase().as_str() {
            "safetensors" => Some(Self::Safetensors),
            "pth" | "pt" => Some(Self::Pytorch),
            "onnx" => Some(Self::Onnx),
            _ => None,
        }
    }
}
