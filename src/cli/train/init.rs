//! The weights that a run begins with: `--init-ab`, `--init-ba`, `--init-da`, `--init-db`.

use std::ffi::OsString;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};

use super::flags::flag;
use crate::cli::ModelFile;
use crate::config::{Changes, Field, INITS, SAME, TrainConfig};
use crate::protocol::InitFile;
use crate::training::Init;

/// Where models are found by their names.
const MODELS: &str = "static/models";

/// Sets the options that are decided by the networks of the files that a configuration begins with.
///
/// # Errors
/// When a file cannot be read, or was asked to be something else by one of `given`.
pub fn adopt(config: &mut TrainConfig, given: &[Changes]) -> Result<()> {
    let mut inits = Vec::new();
    for (option, file) in named(config) {
        let name = config.get(option).unwrap_or_default();
        inits.push(Init::read(option, &name, &file.bytes()?, file.part.as_deref()).map_err(anyhow::Error::msg)?);
    }
    for init in &inits {
        if init.fits(config).is_ok() {
            continue;
        }
        for (name, value) in init.settings() {
            let field = Field::named(name).ok_or_else(|| anyhow!("there is no option {name}"))?;
            let is = config.get(name).unwrap_or_default();
            let is_given = given.iter().flat_map(Changes::asked).any(|(changed, _)| changed.name == name);
            if is == value {
                continue;
            }
            if is_given {
                bail!("--{} is {is}, but {value} in the network of {}: leave it away", flag(field), init.name());
            }
            config.apply(&Changes::of_one(field, &value).ok_or_else(|| anyhow!("{name} cannot be {value}"))?);
        }
    }
    // Two files may be of two kinds.
    inits.iter().try_for_each(|init| init.fits(config)).map_err(anyhow::Error::msg)
}

/// The files that a configuration begins with, and their bytes.
///
/// # Errors
/// When one cannot be read.
pub fn files(config: &TrainConfig) -> Result<(Vec<InitFile>, Vec<Vec<u8>>)> {
    let (mut files, mut buffers) = (Vec::new(), Vec::new());
    for (option, file) in named(config) {
        buffers.push(file.bytes().with_context(|| format!("--{}", option.replace('_', "-")))?);
        files.push(InitFile { option: option.to_owned(), part: file.part });
    }
    Ok((files, buffers))
}

/// The options that name a file, and the file.
fn named(config: &TrainConfig) -> Vec<(&'static str, ModelFile)> {
    let named = INITS.into_iter().filter_map(|option| {
        let text = config.get(option).filter(|text| !text.is_empty() && text != SAME)?;
        Some((option, found(&text)))
    });
    named.collect()
}

/// The file that a text names: one in the file system, or else the model of that name.
fn found(text: &str) -> ModelFile {
    let file = ModelFile::from(OsString::from(text));
    let is_name = text.chars().all(|c| c.is_alphanumeric() || c == '-');
    let model = Path::new(MODELS).join(format!("{text}.safetensors"));
    if is_name && !file.path.exists() && model.is_file() { ModelFile { path: model, part: None } } else { file }
}
