//! Pictures in a folder of the file system; a browser has none that goes by its path.

#[cfg(not(target_family = "wasm"))]
pub use native::read;

/// A page has no files that go by a path.
#[cfg(target_family = "wasm")]
pub fn read(_path: &std::path::Path) -> Result<Vec<u8>, super::DataError> {
    Err(super::DataError::File { reason: "a page cannot open files by their path".into() })
}

#[cfg(not(target_family = "wasm"))]
mod native {
    use std::fs;
    use std::path::{Path, PathBuf};

    use crate::data::source::read_bounded;
    use crate::data::{DataError, Source, UnpairedDataset, names};

    /// Folders below a pile are read to this depth; a link that leads upwards ends there.
    const MAX_DEPTH: usize = 8;

    impl UnpairedDataset {
        /// A folder with trainA and trainB (and perhaps testA, testB), or a zip file of one.
        /// Only names are read; pictures are opened when they are needed.
        ///
        /// # Errors
        /// When it cannot be read, or a training folder is missing or without images.
        pub fn from_folder(path: &Path) -> Result<Self, DataError> {
            if path.is_file() {
                let bytes = fs::read(path).map_err(|error| unreadable(path, &error))?;
                return Self::from_zip(bytes);
            }
            let mut files = Vec::new();
            walk(path, "", MAX_DEPTH, &mut files)?;
            Self::from_named(files.into_iter().map(|(name, path)| Source::from_path(name, path)))
        }
    }

    fn unreadable(path: &Path, error: &std::io::Error) -> DataError {
        DataError::Folder { path: path.display().to_string(), reason: error.to_string() }
    }

    fn walk(folder: &Path, prefix: &str, depth: usize, files: &mut Vec<(String, PathBuf)>) -> Result<(), DataError> {
        for entry in fs::read_dir(folder).map_err(|error| unreadable(folder, &error))? {
            let entry = entry.map_err(|error| unreadable(folder, &error))?;
            let name = format!("{prefix}{}", names::clean(&entry.file_name().to_string_lossy()));
            if names::is_hidden(&name) {
                continue;
            }
            let path = entry.path();
            if path.is_dir() {
                if depth > 0 {
                    walk(&path, &format!("{name}/"), depth - 1, files)?;
                }
            } else {
                files.push((name, path));
            }
        }
        Ok(())
    }

    /// The bytes of a file, within the size limit.
    pub fn read(path: &Path) -> Result<Vec<u8>, DataError> {
        let failed = |error: std::io::Error| DataError::File { reason: error.to_string() };
        let file = fs::File::open(path).map_err(failed)?;
        let size = file.metadata().map_err(failed)?.len();
        read_bounded(file, size)
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use crate::image::Picture;

        #[test]
        fn a_folder_is_read_as_a_zip_of_it_would_be() {
            let root = tempfile::tempdir().expect("a temporary folder");
            let png = Picture::filled(2, 3, [1, 2, 3, 255]).encode_png().expect("a picture can be written");
            for name in ["trainA/z.png", "trainA/deep/a.PNG", "trainB/1.png", "trainB/.hidden.png", "trainB/notes.txt"]
            {
                let path = root.path().join(name);
                fs::create_dir_all(path.parent().expect("a parent")).expect("a folder can be made");
                fs::write(path, &png).expect("a file can be written");
            }
            let dataset = UnpairedDataset::from_folder(root.path()).expect("both piles have images");
            let names: Vec<_> = dataset.train_a.iter().map(|source| source.name.as_str()).collect();
            assert_eq!(names, ["trainA/deep/a.PNG", "trainA/z.png"]);
            assert_eq!(dataset.train_b.len(), 1);
            let picture = dataset.train_b[0].picture().expect("the file is there");
            assert_eq!((picture.width, picture.height), (2, 3));
            fs::remove_file(root.path().join("trainB/1.png")).expect("a file can be removed");
            assert!(matches!(dataset.train_b[0].picture(), Err(DataError::File { .. })));
        }

        #[test]
        fn a_missing_folder_is_named() {
            let error = UnpairedDataset::from_folder(Path::new("no/such/folder")).expect_err("it is not there");
            assert!(error.to_string().contains("no/such/folder"), "{error}");
        }
    }
}
