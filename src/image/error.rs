//! Why a file did not become a picture, or a picture a file.

use super::{MAX_ANIMATION_PIXELS, MAX_PIXELS};

/// Why a file did not become a picture. Messages are sentences that follow a file's name and a colon.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// No bytes at all.
    #[error("The file is empty.")]
    Empty,
    /// It is something, but no image.
    #[error("This is {found}, not an image. JPEG, PNG, WebP, GIF, BMP and TIFF images can be read.")]
    NotAnImage {
        /// What it is, with its article: `a PDF document`.
        found: &'static str,
    },
    /// It is an image of a format that cannot be read.
    #[error("{format} images cannot be read. Save it as an ordinary JPEG or PNG.")]
    Unsupported {
        /// The format's name.
        format: &'static str,
    },
    /// Its header promises more pixels than are allowed; nothing was decoded.
    #[error(
        "The image says it has {width}×{height} pixels. At most {} million can be read.",
        MAX_PIXELS / 1_000_000
    )]
    TooLarge {
        /// Width in its header.
        width: u32,
        /// Height in its header.
        height: u32,
    },
    /// An animation of more frames than are allowed at its size.
    #[error(
        "The animation has more than {} frames of {width}×{height} pixels, which is as many as are read at this size.",
        MAX_ANIMATION_PIXELS / (u64::from(*width) * u64::from(*height)).max(1)
    )]
    TooLong {
        /// Width of a frame.
        width: u32,
        /// Height of a frame.
        height: u32,
    },
    /// The end is missing.
    #[error("The {format} file is cut off: its end is missing. Copy or download it again.")]
    Truncated {
        /// The format's name.
        format: &'static str,
    },
    /// Anything else that is wrong with its contents.
    #[error("The {format} file is damaged: {reason}.")]
    Broken {
        /// The format's name.
        format: &'static str,
        /// The decoder's words.
        reason: String,
    },
    /// A picture could not be written.
    #[error("The picture cannot be written: {reason}.")]
    Encoding {
        /// The encoder's words.
        reason: String,
    },
}
