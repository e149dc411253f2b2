//! `--backend`

use anyhow::Result;

use super::Console;
use crate::protocol::BackendName;

/// `--backend`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Choice {
    /// CUDA where it is built in, else the processor.
    Auto,
    /// The processor, with this project's kernels.
    Flex,
    /// The processor, through candle.
    Candle,
    /// A GPU through Vulkan, Metal or DirectX 12.
    Wgpu,
    /// An NVIDIA GPU through CUDA.
    Cuda,
}

impl Choice {
    /// The backend that it comes to in this build.
    pub fn name(self) -> BackendName {
        match self {
            Self::Auto if cfg!(feature = "cuda") => BackendName::Cuda,
            Self::Auto | Self::Flex => BackendName::Flex,
            Self::Candle => BackendName::Candle,
            Self::Wgpu => BackendName::Wgpu,
            Self::Cuda => BackendName::Cuda,
        }
    }
}

/// Runs a session on the chosen backend until the console has no more commands; errors when the
/// backend is not built in or its device was lost. The door brings it.
pub type Serve = fn(Choice, &Console) -> Result<()>;
