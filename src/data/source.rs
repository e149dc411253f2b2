//! One picture of a pile, not yet decoded.

use std::path::PathBuf;
use std::sync::Arc;

use super::{DataError, archive, folder};
use crate::image::Picture;

/// The largest file that is read, in bytes.
pub const MAX_FILE_BYTES: u64 = 256 << 20;

/// A picture's name and where its bytes are.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its path within the data set, with forward slashes; for messages and for sorting.
    pub name: String,
    content: Content,
}

#[derive(Clone, Debug)]
enum Content {
    Bytes(Arc<Vec<u8>>),
    Entry(archive::Entry),
    Path(PathBuf),
}

impl Source {
    /// A picture whose bytes are at hand.
    pub fn from_bytes(name: String, bytes: Vec<u8>) -> Self {
        Self { name, content: Content::Bytes(Arc::new(bytes)) }
    }

    /// A picture in a file.
    pub fn from_path(name: String, path: PathBuf) -> Self {
        Self { name, content: Content::Path(path) }
    }

    pub(super) fn from_entry(name: String, entry: archive::Entry) -> Self {
        Self { name, content: Content::Entry(entry) }
    }

    /// The file's name without folders and without what follows the last dot.
    pub fn stem(&self) -> &str {
        let file = self.name.rsplit('/').next().unwrap_or_default();
        file.rsplit_once('.').map_or(file, |(stem, _)| stem)
    }

    /// Reads and decodes it; nothing is kept.
    ///
    /// # Errors
    /// When the file cannot be read, is too large or is no picture.
    pub fn picture(&self) -> Result<Picture, DataError> {
        Ok(match &self.content {
            Content::Bytes(bytes) => Picture::decode(bytes)?,
            Content::Entry(entry) => Picture::decode(&entry.read()?)?,
            Content::Path(path) => Picture::decode(&folder::read(path)?)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stem_is_the_file_name_without_its_ending() {
        let stem = |name: &str| Source::from_bytes(name.into(), vec![]).stem().to_owned();
        assert_eq!(stem("a.b/1f34a.webp"), "1f34a");
        assert_eq!(stem("x.y.png"), "x.y");
        assert_eq!(stem("plain"), "plain");
    }
}
