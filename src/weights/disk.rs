//! Weight files on disk.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::{Format, MAX_FILE_BYTES, Storage, WeightError, WeightFile};
use crate::platform::files;

impl WeightFile {
    /// Reads the file at `path`, and those beside it that an ONNX graph's weights lie in: see [`WeightFile::read`].
    ///
    /// # Errors
    /// Those of [`WeightFile::read`] and of the file system, with the path.
    pub fn read_from(path: &Path) -> Result<Self, WeightError> {
        let bytes = read(path, MAX_FILE_BYTES)?;
        let data = Self::data_beside(path, &bytes)?;
        Self::read_with(&bytes, &data).map_err(|reason| in_file(path, reason))
    }

    /// What [`WeightFile::data_files`] asks for, out of the folder of the file at `path`.
    ///
    /// # Errors
    /// [`WeightError::MissingData`] with all that are not there, else those of [`WeightFile::data_files`] and of the file
    /// system, with the path.
    pub fn data_beside(path: &Path, bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>, WeightError> {
        let names = Self::data_files(bytes).map_err(|reason| in_file(path, reason))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        // Anything else than a plain file could keep a reader waiting.
        let missing: Vec<String> = names.iter().filter(|name| !folder.join(name).is_file()).cloned().collect();
        if !missing.is_empty() {
            return Err(in_file(path, WeightError::MissingData { files: missing }));
        }
        let mut left = MAX_FILE_BYTES;
        let mut data = Vec::with_capacity(names.len());
        for name in names {
            let file = folder.join(&name);
            let bytes = read(&file, left)?;
            left = left
                .checked_sub(bytes.len() as u64)
                .ok_or_else(|| in_file(&file, WeightError::FileTooLarge { found: bytes.len() as u64 }))?;
            data.push((name, bytes));
        }
        Ok(data)
    }

    /// Writes the file at `path`, in the format of its ending (safetensors for an unknown one), replacing what was there. The new file is written beside it,
    /// synced and renamed: at any moment `path` holds either the old file or the new one, whole.
    ///
    /// # Errors
    /// Those of [`WeightFile::write`] and of the file system, with the path.
    pub fn write_to(&self, path: &Path, storage: Storage) -> Result<(), WeightError> {
        let format = Format::of(&path.to_string_lossy()).unwrap_or(Format::Safetensors);
        let bytes = self.write_as(format, storage).map_err(|reason| in_file(path, reason))?;
        files::replace(path, &bytes).map_err(|reason| WeightError::Io {
            path: path.to_owned(),
            action: "written",
            reason,
        })
    }
}

/// The first bytes of a file, one more than `most` if there are more.
fn read(path: &Path, most: u64) -> Result<Vec<u8>, WeightError> {
    // One byte too many is enough to see that it is too large; a pipe or a device has no length to ask for.
    let bytes = File::open(path).and_then(|file| {
        let mut bytes = Vec::new();
        file.take(most + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    });
    bytes.map_err(|reason| WeightError::Io { path: path.to_owned(), action: "read", reason })
}

fn in_file(path: &Path, reason: WeightError) -> WeightError {
    WeightError::InFile { path: path.to_owned(), reason: Box::new(reason) }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::weights::NamedTensor;

    fn file(value: f32) -> WeightFile {
        let tensor = NamedTensor { name: "model.0.bias".into(), shape: vec![2], values: vec![value, 1.0] };
        WeightFile { tensors: vec![tensor], ..WeightFile::default() }
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("the folder exists");
        entries.map(|entry| entry.expect("readable").file_name().display().to_string()).collect()
    }

    #[test]
    fn a_file_is_replaced_whole_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("a model.safetensors");
        for value in [1.0, 2.0] {
            file(value).write_to(&path, Storage::F32).expect("written");
            assert_eq!(WeightFile::read_from(&path).expect("read"), file(value));
        }
        assert_eq!(names(folder.path()), ["a model.safetensors"]);
    }

    #[test]
    fn what_cannot_be_stored_leaves_the_old_file_alone() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("model.safetensors");
        file(1.0).write_to(&path, Storage::F32).expect("written");
        let error = file(1e6).write_to(&path, Storage::F16).expect_err("too large for 16 bits").to_string();
        assert!(error.contains("model.safetensors") && error.contains("model.0.bias"), "{error}");
        assert_eq!(WeightFile::read_from(&path).expect("read"), file(1.0));
        assert_eq!(names(folder.path()), ["model.safetensors"]);
    }

    #[test]
    fn an_unfinished_neighbour_is_not_touched() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let neighbour = folder.path().join(".model.safetensors.0.partial");
        fs::write(&neighbour, "of another process").expect("written");
        let path = folder.path().join("model.safetensors");
        file(1.0).write_to(&path, Storage::F16).expect("written");
        assert_eq!(fs::read_to_string(&neighbour).expect("still there"), "of another process");
    }

    #[test]
    fn errors_name_the_path() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let missing = folder.path().join("none.safetensors");
        let nowhere = folder.path().join("no folder/model.safetensors");
        let text = folder.path().join("notes.txt");
        fs::write(&text, "These are notes, no weights.").expect("written");
        let errors = [
            (WeightFile::read_from(&missing).map(drop), "none.safetensors could not be read"),
            (WeightFile::read_from(folder.path()).map(drop), "could not be read"),
            (WeightFile::read_from(&text).map(drop), "notes.txt: This is not a weight file"),
            (file(1.0).write_to(&nowhere, Storage::F32), "model.safetensors could not be written"),
            (file(1.0).write_to(Path::new("/"), Storage::F32), "/ could not be written"),
        ];
        for (result, expected) in errors {
            let error = result.expect_err(expected).to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
