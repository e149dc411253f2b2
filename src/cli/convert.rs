//! `cyclegan convert`

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use super::inputs::is_same_file;
use super::{ExitStatus, ModelFile};
use crate::platform::files;
use crate::weights::{Format, Storage};

/// Writes a weight file in another format, told by the file's ending: .safetensors, .pth or .pt
/// (PyTorch's official layout), or .onnx (a graph for other runtimes, generators only).
///
/// Example: cyclegan convert latest_net_G_A.pth horse-to-zebra.onnx --f16
#[derive(clap::Args)]
pub struct Arguments {
    /// The weight file to read, .safetensors, PyTorch or .onnx; FILE:NAME for one network of several.
    input: ModelFile,
    /// The file to write.
    output: PathBuf,
    /// Store values in 16 bits: half the size, three significant digits.
    #[arg(long)]
    f16: bool,
    /// Let the output take the place of the input.
    #[arg(long)]
    overwrite: bool,
}

/// # Errors
/// When the input is no weight file, a value does not fit, or the output cannot be written.
pub fn run(arguments: &Arguments) -> Result<ExitStatus> {
    let output = arguments.output.display();
    let format = Format::of(&arguments.output.to_string_lossy())
        .with_context(|| format!("{output} ends with none of .safetensors, .pth, .pt, .onnx"))?;
    if is_same_file(&arguments.input.path, &arguments.output) && !arguments.overwrite {
        bail!("{output} is the original: give another name, or replace it with --overwrite");
    }
    let file = arguments.input.network()?;
    for note in &file.notes {
        eprintln!("{}: {note}", arguments.input);
    }
    let storage = if arguments.f16 { Storage::F16 } else { Storage::F32 };
    let bytes = file.write_as(format, storage).with_context(|| arguments.input.to_string())?;
    files::replace(&arguments.output, &bytes).with_context(|| format!("cannot write {output}"))?;
    println!("{output}");
    Ok(ExitStatus::Done)
}
