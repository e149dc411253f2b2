//! Files to pictures.

use std::error::Error;
use std::io::{Cursor, ErrorKind};

use image::error::LimitErrorKind;
use image::metadata::Orientation;
use image::{ColorType, ImageDecoder, Limits, RgbaImage, imageops};

use super::raster::{Raster, Samples};
use super::sniff::Kind;
use super::{ImageError, Picture, gif, jpeg, png, sniff, tiff, webp};

/// The most pixels that are read: 2²⁷, as RGBA8 half a gigabyte, which leaves a browser's 4 GiB
/// of WebAssembly memory room for the decoder's own buffers. Of a side there is no limit.
pub const MAX_PIXELS: u64 = 1 << 27;

/// Bytes that a decoder may take in all: [`MAX_PIXELS`] of 16-bit RGBA.
pub(super) const MAX_DECODER_BYTES: u64 = MAX_PIXELS * 8;

/// Said of a file without its last bytes.
pub(super) const ALL_THERE: &str = "The end of the file is missing, but all of its pixels are there.";

/// A picture out of a file, and what is to be said about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// The picture, in sRGB.
    pub picture: Picture,
    /// What was converted, assumed or missing, in whole sentences; most files need none.
    pub notes: Vec<String>,
}

impl Decoded {
    /// The same with the EXIF orientation applied.
    pub(super) fn turned(self, orientation: Option<Orientation>) -> Self {
        let Some(orientation) = orientation.filter(|orientation| *orientation != Orientation::NoTransforms) else {
            return self;
        };
        let Picture { width, height, pixels } = self.picture;
        let image = RgbaImage::from_raw(width, height, pixels).unwrap_or_default();
        let turned = match orientation {
            Orientation::Rotate90 | Orientation::Rotate90FlipH => imageops::rotate90(&image),
            Orientation::Rotate270 | Orientation::Rotate270FlipH => imageops::rotate270(&image),
            Orientation::Rotate180 => imageops::rotate180(&image),
            _ => image,
        };
        let image = match orientation {
            Orientation::FlipHorizontal | Orientation::Rotate90FlipH | Orientation::Rotate270FlipH => {
                imageops::flip_horizontal(&turned)
            }
            Orientation::FlipVertical => imageops::flip_vertical(&turned),
            _ => turned,
        };
        let picture = Picture { width: image.width(), height: image.height(), pixels: image.into_raw() };
        Self { picture, notes: self.notes }
    }
}

impl Picture {
    /// [`read`](Self::read) without what is to be said.
    ///
    /// # Errors
    /// Those of [`read`](Self::read).
    pub fn decode(bytes: &[u8]) -> Result<Self, ImageError> {
        Self::read(bytes).map(|decoded| decoded.picture)
    }

    /// Decodes a JPEG, PNG, WebP, GIF, BMP or TIFF file, told by its contents.
    ///
    /// Any colour type becomes RGBA8 (16-bit rounded, palettes and greys expanded, CMYK converted), colour profiles are
    /// followed to sRGB, the EXIF orientation is applied, and of an animation the first frame is taken. A file without
    /// its last bytes is read if they hold no pixel. The size limit ([`MAX_PIXELS`]) is checked on the header, before
    /// memory is taken.
    ///
    /// # Errors
    /// An [`ImageError`] that says what the file is or what is wrong with it.
    pub fn read(bytes: &[u8]) -> Result<Decoded, ImageError> {
        match sniff::kind(bytes)? {
            Kind::Jpeg => jpeg::read(bytes),
            Kind::Png => png::read(bytes),
            Kind::WebP => webp::read(bytes),
            Kind::Gif => gif::read(bytes),
            Kind::Tiff => tiff::read(bytes),
            Kind::Bmp => bmp(bytes),
        }
    }
}

fn bmp(bytes: &[u8]) -> Result<Decoded, ImageError> {
    let mut decoder = image::codecs::bmp::BmpDecoder::new(Cursor::new(bytes)).map_err(explain)?;
    let (width, height) = decoder.dimensions();
    admit(width, height, "BMP")?;
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_DECODER_BYTES);
    limits.reserve(decoder.total_bytes()).map_err(explain)?;
    decoder.set_limits(limits).map_err(explain)?;
    let (colours, has_alpha) = match decoder.color_type() {
        ColorType::L8 => (1, false),
        ColorType::Rgba8 => (3, true),
        _ => (3, false),
    };
    let mut samples = vec![0; usize::try_from(decoder.total_bytes()).unwrap_or(usize::MAX)];
    decoder.read_image(&mut samples).map_err(explain)?;
    let raster = Raster { width, height, colours, has_alpha, samples: Samples::Bytes(samples) };
    let mut notes = Vec::new();
    let picture = raster.into_picture(Ok(None), &mut notes);
    Ok(Decoded { picture, notes })
}

/// Checks a header against the limit, before memory is taken.
pub(super) fn admit(width: u32, height: u32, format: &'static str) -> Result<(), ImageError> {
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(ImageError::TooLarge { width, height });
    }
    if width.min(height) == 0 {
        return Err(ImageError::Broken { format, reason: format!("its header says {width}×{height} pixels") });
    }
    Ok(())
}

fn explain(error: image::ImageError) -> ImageError {
    let format = "BMP";
    let is_end = |error: &std::io::Error| error.kind() == ErrorKind::UnexpectedEof;
    let at_top = matches!(&error, image::ImageError::IoError(error) if is_end(error));
    let chain = || std::iter::successors(Some(&error as &dyn Error), |error| (*error).source());
    if at_top || chain().any(|error| error.downcast_ref().is_some_and(is_end)) {
        return ImageError::Truncated { format };
    }
    let reason = match &error {
        image::ImageError::Limits(error) if matches!(error.kind(), LimitErrorKind::InsufficientMemory) => {
            "decoding it would take too much memory".into()
        }
        // The decoder's own words are innermost; around them stands what is known already.
        _ => chain().last().map_or_else(String::new, |error| error.to_string().trim_end_matches('.').to_owned()),
    };
    ImageError::Broken { format, reason }
}
