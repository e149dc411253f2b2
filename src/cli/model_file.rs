//! `FILE` or `FILE:NAME`

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::protocol::{Command, Envelope};
use crate::weights::WeightFile;

/// A weight file, and which of its networks where it holds several.
#[derive(Clone, Debug)]
pub struct ModelFile {
    /// The file.
    pub path: PathBuf,
    /// The network's name in it.
    pub part: Option<String>,
}

impl From<OsString> for ModelFile {
    /// A file's own name may have a colon: what exists is a file.
    fn from(argument: OsString) -> Self {
        let path = PathBuf::from(&argument);
        let split = argument.to_str().and_then(|text| text.rsplit_once(':'));
        match split {
            Some((file, part)) if !path.exists() && !part.is_empty() && PathBuf::from(file).is_file() => {
                Self { path: file.into(), part: Some(part.to_owned()) }
            }
            _ => Self { path, part: None },
        }
    }
}

impl fmt::Display for ModelFile {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "{}", self.path.display())
    }
}

impl ModelFile {
    /// The command that loads it under the name `model`.
    ///
    /// # Errors
    /// When it cannot be read, or a file that its weights lie in is not beside it.
    pub fn load(&self, model: &str) -> Result<Envelope<Command>> {
        let bytes = self.bytes()?;
        let (data, files): (_, Vec<_>) = WeightFile::data_beside(&self.path, &bytes)?.into_iter().unzip();
        let load = Command::LoadModel { model: model.into(), file: self.to_string(), part: self.part.clone(), data };
        Ok(Envelope::with(load, std::iter::once(bytes).chain(files).collect()))
    }

    /// Its bytes.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn bytes(&self) -> Result<Vec<u8>> {
        std::fs::read(&self.path).with_context(|| format!("cannot read {self}"))
    }

    /// The network in it under its official names.
    ///
    /// # Errors
    /// When the file cannot be read or is none of this program's networks.
    pub fn network(&self) -> Result<WeightFile> {
        let file = WeightFile::read_from(&self.path)?.network(self.part.as_deref());
        file.with_context(|| self.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colon_names_a_network_unless_it_is_the_files_own() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let parse = |name: &str| {
            let model = ModelFile::from(folder.path().join(name).into_os_string());
            (model.path.file_name().expect("a name").to_string_lossy().into_owned(), model.part)
        };
        std::fs::write(folder.path().join("both.pth"), b"").expect("written");
        std::fs::write(folder.path().join("own:name.pth"), b"").expect("written");
        assert_eq!(parse("both.pth"), ("both.pth".into(), None));
        assert_eq!(parse("both.pth:netG_A"), ("both.pth".into(), Some("netG_A".into())));
        assert_eq!(parse("own:name.pth"), ("own:name.pth".into(), None));
        assert_eq!(parse("own:name.pth:netG_A"), ("own:name.pth".into(), Some("netG_A".into())));
        assert_eq!(parse("missing.pth:netG_A"), ("missing.pth:netG_A".into(), None));
    }
}
