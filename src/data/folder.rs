//! Pictures in a folder of the file system; a browser has none that goes by its path.

#[cfg(not(target_family = "wasm"))]
pub use native::{read, walk};

/// A page has no files that go by a path.
#[cfg(target_family = "wasm")]
pub fn read(_path: &std::path::Path) -> Result<Vec<u8>, super::DataError> {
    Err(super::DataError::File { reason: "a page cannot open files by their path".into() })
}

#[cfg(not(target_family = "wasm"))]
mod native {
    use std::collections::HashSet;
    use std::fs;
    use std::io::Read;
    use std::path::{Path, PathBuf};

    use crate::data::source::MAX_FILE_BYTES;
    use crate::data::{DataError, Source, UnpairedDataset, names};

    /// Folders in folders are read to this depth.
    const MAX_DEPTH: usize = 32;

    impl UnpairedDataset {
        /// A folder with trainA and trainB (and perhaps testA, testB), or a zip file of one.
        /// Only names are read; pictures are opened when they are needed.
        ///
        /// # Errors
        /// When it cannot be read, or a training folder is missing or without images.
        pub fn from_folder(path: &Path) -> Result<Self, DataError> {
            Self::any_from_folder(path)?.checked()
        }

        /// The same for its held-out pictures: testA and testB are all that it needs, and may be empty.
        ///
        /// # Errors
        /// When it cannot be read or has none of the four folders.
        pub fn held_out_from_folder(path: &Path) -> Result<Self, DataError> {
            Self::any_from_folder(path)
        }

        fn any_from_folder(path: &Path) -> Result<Self, DataError> {
            if path.is_file() {
                let bytes = fs::read(path).map_err(|error| unreadable(path, &error))?;
                return Self::held_out_from_zip(bytes);
            }
            let visible = walk(path)?.into_iter().filter(|(name, _)| !names::is_hidden(name));
            Self::from_named(visible.map(|(name, path)| Source::from_path(name, path)))
        }
    }

    fn unreadable(path: &Path, error: &std::io::Error) -> DataError {
        DataError::Folder { path: path.display().to_string(), reason: error.to_string() }
    }

    /// Every file in a folder and the folders in it, hidden ones, too: its path from there with forward slashes, and
    /// its path. Links are followed, but each real folder is entered once.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn walk(path: &Path) -> Result<Vec<(String, PathBuf)>, DataError> {
        let mut files = Vec::new();
        enter(path, "", MAX_DEPTH, &mut HashSet::new(), &mut files)?;
        Ok(files)
    }

    fn enter(
        folder: &Path,
        prefix: &str,
        depth: usize,
        entered: &mut HashSet<PathBuf>,
        files: &mut Vec<(String, PathBuf)>,
    ) -> Result<(), DataError> {
        let failed = |error: std::io::Error| unreadable(folder, &error);
        if !entered.insert(fs::canonicalize(folder).map_err(failed)?) {
            return Ok(());
        }
        let mut folders = Vec::new();
        for entry in fs::read_dir(folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = format!("{prefix}{}", names::clean(&entry.file_name().to_string_lossy()));
            let path = entry.path();
            match path.is_dir() {
                true => folders.push((path.is_symlink(), name, path)),
                false => files.push((name, path)),
            }
        }
        // What lies here before what a link leads to, so that a folder has its own name.
        folders.sort();
        for (_, name, path) in folders.into_iter().filter(|(_, name, _)| depth > 0 && !names::is_hidden(name)) {
            enter(&path, &format!("{name}/"), depth - 1, entered, files)?;
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

    /// All of a reader that says it has `claimed` bytes, within [`MAX_FILE_BYTES`] whatever it says.
    fn read_bounded(reader: impl Read, claimed: u64) -> Result<Vec<u8>, DataError> {
        if claimed > MAX_FILE_BYTES {
            return Err(DataError::FileTooLarge { bytes: claimed });
        }
        let mut bytes = Vec::new();
        let read = reader.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes);
        read.map_err(|error| DataError::File { reason: error.to_string() })?;
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(DataError::FileTooLarge { bytes: bytes.len() as u64 });
        }
        Ok(bytes)
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use crate::image::Picture;

        #[test]
        fn a_reader_that_lies_about_its_size_is_stopped() {
            let endless = std::io::repeat(7);
            assert!(matches!(read_bounded(endless, 10), Err(DataError::FileTooLarge { .. })));
            assert_eq!(read_bounded(&[1, 2, 3][..], u64::MAX), Err(DataError::FileTooLarge { bytes: u64::MAX }));
            assert_eq!(read_bounded(&[1, 2, 3][..], 3), Ok(vec![1, 2, 3]));
        }

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

        #[cfg(unix)]
        #[test]
        fn links_in_loops_are_followed_once() {
            let root = tempfile::tempdir().expect("a temporary folder");
            let png = Picture::filled(2, 3, [1, 2, 3, 255]).encode_png().expect("a picture can be written");
            for pile in ["trainA", "trainB"] {
                fs::create_dir_all(root.path().join(pile).join("deep")).expect("a folder can be made");
                fs::write(root.path().join(pile).join("deep/1.png"), &png).expect("a file can be written");
                for (link, to) in [("up", ".."), ("deep/self", "."), ("again", "deep")] {
                    std::os::unix::fs::symlink(to, root.path().join(pile).join(link)).expect("a link can be made");
                }
            }
            let dataset = UnpairedDataset::from_folder(root.path()).expect("both piles have images");
            let names: Vec<_> = dataset.train_a.iter().map(|source| source.name.as_str()).collect();
            assert_eq!(names, ["trainA/deep/1.png"]);
            assert_eq!(dataset.train_b.len(), 1);
        }

        #[test]
        fn a_missing_folder_is_named() {
            let error = UnpairedDataset::from_folder(Path::new("no/such/folder")).expect_err("it is not there");
            assert!(error.to_string().contains("no/such/folder"), "{error}");
        }
    }
}
