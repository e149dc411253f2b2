//! Files to pictures.

use std::error::Error;
use std::io::{Cursor, ErrorKind};

use image::error::LimitErrorKind;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};

use super::{ImageError, Picture, sniff};

/// The longest side that is read, in pixels.
pub const MAX_SIDE: u32 = 16_384;

/// The most pixels that are read: 2²⁷, as RGBA8 half a gigabyte, which leaves a browser's 4 GiB
/// of WebAssembly memory room for the decoder's own buffers.
pub const MAX_PIXELS: u64 = 1 << 27;

/// Bytes that a decoder may take in all: [`MAX_PIXELS`] of 16-bit RGBA.
const MAX_DECODER_BYTES: u64 = MAX_PIXELS * 8;

impl Picture {
    /// Decodes a JPEG, PNG, WebP, GIF, BMP or TIFF file, told by its contents.
    ///
    /// Any colour type becomes RGBA8 (16-bit rounded, palettes and greys expanded, CMYK converted),
    /// the EXIF orientation is applied, and of an animation the first frame is taken.
    /// Size limits ([`MAX_SIDE`], [`MAX_PIXELS`]) are checked on the header, before memory is taken.
    ///
    /// # Errors
    /// An [`ImageError`] that says what the file is or what is wrong with it.
    pub fn decode(bytes: &[u8]) -> Result<Self, ImageError> {
        let (kind, format) = sniff::format(bytes)?;
        let image = read(bytes, kind, format)?;
        let rgba = image.into_rgba8();
        Ok(Self { width: rgba.width(), height: rgba.height(), pixels: rgba.into_raw() })
    }
}

fn read(bytes: &[u8], kind: ImageFormat, format: &'static str) -> Result<DynamicImage, ImageError> {
    let explain = |error| explain(error, format);
    if is_cut_off(bytes, kind) {
        return Err(ImageError::Truncated { format });
    }
    let mut reader = ImageReader::with_format(Cursor::new(bytes), kind);
    // The sides are checked below, where the header's numbers are at hand for the message.
    reader.limits(limits());
    let mut decoder = reader.into_decoder().map_err(explain)?;
    admit(&mut decoder, format)?;
    // A broken EXIF block is no reason to refuse the picture.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut image = DynamicImage::from_decoder(decoder).map_err(explain)?;
    image.apply_orientation(orientation);
    Ok(image)
}

fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_DECODER_BYTES);
    limits
}

/// Checks the header against the limits, before memory is taken, and gives the width and height.
pub(super) fn admit(decoder: &mut impl ImageDecoder, format: &'static str) -> Result<(u32, u32), ImageError> {
    let explain = |error| explain(error, format);
    let (width, height) = decoder.dimensions();
    if width.max(height) > MAX_SIDE || u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(ImageError::TooLarge { width, height });
    }
    if width.min(height) == 0 {
        return Err(ImageError::Broken { format, reason: format!("its header says {width}×{height} pixels") });
    }
    let mut limits = limits();
    limits.reserve(decoder.total_bytes()).map_err(explain)?;
    decoder.set_limits(limits).map_err(explain)?;
    Ok((width, height))
}

pub(super) fn explain(error: image::ImageError, format: &'static str) -> ImageError {
    let is_end = |error: &std::io::Error| error.kind() == ErrorKind::UnexpectedEof;
    let at_top = matches!(&error, image::ImageError::IoError(error) if is_end(error));
    let chain = || std::iter::successors(Some(&error as &dyn Error), |error| (*error).source());
    // The decoder's own words are innermost; around them stands what is known already.
    let words = chain().last().map_or_else(String::new, ToString::to_string);
    // The GIF decoder has an error of its own for it, which only its words tell.
    let said = words.eq_ignore_ascii_case("unexpected end of file");
    if said || at_top || chain().any(|error| error.downcast_ref().is_some_and(is_end)) {
        return ImageError::Truncated { format };
    }
    let reason = match &error {
        image::ImageError::Limits(error) if matches!(error.kind(), LimitErrorKind::InsufficientMemory) => {
            "decoding it would take too much memory".into()
        }
        _ => words.trim_end_matches('.').to_owned(),
    };
    ImageError::Broken { format, reason }
}

/// Whether the end of a file is missing, for the formats whose decoders would not say so:
/// the JPEG decoder fills what is missing with grey.
pub(super) fn is_cut_off(bytes: &[u8], kind: ImageFormat) -> bool {
    match kind {
        ImageFormat::Jpeg => !has_jpeg_end(bytes),
        ImageFormat::WebP => {
            let size = bytes.get(4..8).and_then(|size| size.try_into().ok()).map_or(0, u32::from_le_bytes);
            (bytes.len() as u64) < u64::from(size) + 8
        }
        _ => false,
    }
}

/// Walks the segments of a JPEG (ITU-T T.81, annex B) to its end marker; a thumbnail inside of a
/// segment has one too, which is why a search for the bytes would not do.
fn has_jpeg_end(bytes: &[u8]) -> bool {
    let mut at = 2;
    while let Some(rest) = bytes.get(at..) {
        let Some(start) = rest.windows(2).position(|pair| pair[0] == 0xFF && !matches!(pair[1], 0 | 0xFF)) else {
            return false;
        };
        at += start + 2;
        match rest[start + 1] {
            0xD9 => return true,
            // Restart markers and the like stand alone.
            0x01 | 0xD0..=0xD8 => {}
            _ => match bytes.get(at..at + 2) {
                Some(length) => at += usize::from(u16::from_be_bytes([length[0], length[1]])),
                None => return false,
            },
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_jpeg_is_not_mistaken_for_its_thumbnails() {
        let thumbnail = [0xFF, 0xE1, 0, 6, 0xFF, 0xD9, 0xFF, 0xD9];
        let scan = [0xFF, 0xDA, 0, 2, 0x12, 0xFF, 0, 0xFF, 0xD3, 0x34];
        let cut: Vec<u8> = [&[0xFF, 0xD8][..], &thumbnail, &scan].concat();
        assert!(!has_jpeg_end(&cut));
        assert!(has_jpeg_end(&[&cut[..], &[0xFF, 0xD9]].concat()));
        assert!(has_jpeg_end(&[&cut[..], &[0xFF, 0xFF, 0xD9, 1, 2]].concat()), "fill bytes and a tail are allowed");
        assert!(!has_jpeg_end(&[0xFF, 0xD8, 0xFF, 0xE1, 0xFF]));
    }
}
