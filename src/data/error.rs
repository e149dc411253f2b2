//! Why there is nothing to train on.

use super::MAX_FILE_BYTES;
use crate::image::ImageError;

/// Why a data set or one of its files could not be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DataError {
    /// The bytes are no zip archive, or a damaged one.
    #[error("This is not a zip file that can be read: {reason}.")]
    NotAZip {
        /// The reader's words.
        reason: String,
    },
    /// It would unpack into far more than it is; nothing was unpacked.
    #[error("The zip file says that its {packed} bytes unpack to {unpacked}: it is refused as a zip bomb.")]
    ZipBomb {
        /// Bytes of the archive.
        packed: u64,
        /// Bytes that its entries claim.
        unpacked: u64,
    },
    /// More entries than are allowed.
    #[error("The zip file has {entries} entries; at most {limit} are read.")]
    TooManyEntries {
        /// Entries it has.
        entries: u64,
        /// Entries allowed.
        limit: u64,
    },
    /// None of the four folders.
    #[error(
        "There is no folder trainA or trainB: put the images of A into trainA/ and those of B into trainB/.{}{found}{}",
        if found.is_empty() { "" } else { " There are: " },
        if found.is_empty() { "" } else { "." }
    )]
    NoFolders {
        /// Folders that are there instead, the first of them.
        found: String,
    },
    /// A pile without a file.
    #[error("There are no images in pile {pile}: add at least one.")]
    EmptyPile {
        /// `A` or `B`.
        pile: &'static str,
    },
    /// A pile in which no file could be used.
    #[error("None of the images in pile {pile} can be read; the first one, {file}: {reason}")]
    NoReadableImage {
        /// `A` or `B`.
        pile: &'static str,
        /// The first of its files.
        file: String,
        /// What is wrong with that one.
        reason: String,
    },
    /// A folder that could not be read.
    #[error("The folder {path} cannot be read: {reason}.")]
    Folder {
        /// Its path.
        path: String,
        /// The system's words.
        reason: String,
    },
    /// One file, which could not be read.
    #[error("The file cannot be read: {reason}.")]
    File {
        /// The system's or the archive's words.
        reason: String,
    },
    /// One file, larger than allowed.
    #[error("The file has {bytes} bytes; at most {} MB are read.", MAX_FILE_BYTES >> 20)]
    FileTooLarge {
        /// Its size, or the size it claims.
        bytes: u64,
    },
    /// One file, which is no picture.
    #[error(transparent)]
    Image(#[from] ImageError),
}
