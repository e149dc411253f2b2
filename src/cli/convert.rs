//! `cyclegan convert`

use std::path::PathBuf;

use anyhow::Result;

use super::ExitStatus;
use crate::weights::{Storage, WeightFile};

/// Writes a weight file anew, with its values in 16 or 32 bits.
///
/// Example: cyclegan convert runs/horse/horse-to-zebra.safetensors small.safetensors --storage f16
#[derive(clap::Args)]
pub struct Arguments {
    /// The weight file to read.
    input: PathBuf,
    /// The weight file to write.
    output: PathBuf,
    /// Bits of the values: f16 halves the file.
    #[arg(long, value_enum, default_value = "f32")]
    storage: Bits,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Bits {
    F32,
    F16,
}

/// # Errors
/// When the input is no weight file, a value does not fit, or the output cannot be written.
pub fn run(arguments: &Arguments) -> Result<ExitStatus> {
    let file = WeightFile::read_from(&arguments.input)?;
    file.architecture()?;
    let storage = match arguments.storage {
        Bits::F32 => Storage::F32,
        Bits::F16 => Storage::F16,
    };
    file.write_to(&arguments.output, storage)?;
    println!("{}", arguments.output.display());
    Ok(ExitStatus::Done)
}
