//! JPEG files (ITU-T T.81).

use image::metadata::Orientation;
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::decode::{ALL_THERE, Decoded, admit};
use super::raster::{Raster, Samples};
use super::{ImageError, colour};

const FORMAT: &str = "JPEG";

/// What a JPEG's markers say.
#[derive(Debug, Default, PartialEq, Eq)]
struct Markers {
    /// The last byte of the frame's marker, and its bits a sample.
    frame: Option<(u8, u8)>,
    /// Whether the end marker is there.
    has_end: bool,
    /// Components of the frame.
    components: Vec<u8>,
    /// For each component and coefficient: the lowest bit that has come, 255 for none.
    bits: Vec<[u8; 64]>,
}

impl Markers {
    /// Walks the segments to the end marker; a thumbnail inside of a segment has one too, which is why a search for
    /// the bytes would not do.
    fn read(bytes: &[u8]) -> Self {
        let mut markers = Self::default();
        let mut at = 2;
        while let Some(rest) = bytes.get(at..) {
            let Some(start) = rest.windows(2).position(|pair| pair[0] == 0xFF && !matches!(pair[1], 0 | 0xFF)) else {
                break;
            };
            at += start + 2;
            let marker = rest[start + 1];
            match marker {
                0xD9 => {
                    markers.has_end = true;
                    break;
                }
                // Restart markers and the like stand alone.
                0x01 | 0xD0..=0xD8 => {}
                _ => {
                    let Some([high, low]) = bytes.get(at..at + 2) else { break };
                    let length = usize::from(u16::from_be_bytes([*high, *low]));
                    let segment = bytes.get(at + 2..at + length).unwrap_or_default();
                    match marker {
                        0xC0..=0xCF | 0xF7 if !matches!(marker, 0xC4 | 0xC8 | 0xCC) => markers.frame(marker, segment),
                        0xDA => markers.scan(segment),
                        _ => {}
                    }
                    at += length;
                }
            }
        }
        markers
    }

    fn frame(&mut self, marker: u8, segment: &[u8]) {
        if self.frame.is_none() && !segment.is_empty() {
            self.frame = Some((marker, segment[0]));
            self.components = segment.iter().skip(6).step_by(3).copied().collect();
            self.bits = vec![[255; 64]; self.components.len()];
        }
    }

    fn scan(&mut self, segment: &[u8]) {
        let Some((count, rest)) = segment.split_first() else { return };
        let (ids, last) = rest.split_at((2 * usize::from(*count)).min(rest.len()));
        let &[from, to, bits, ..] = last else { return };
        for id in ids.iter().step_by(2) {
            let Some(at) = self.components.iter().position(|component| component == id) else { continue };
            for coefficient in usize::from(from)..=usize::from(to).min(63) {
                self.bits[at][coefficient] = bits & 15;
            }
        }
    }

    /// Whether every bit of every coefficient has had its scan.
    fn has_all_scans(&self) -> bool {
        !self.bits.is_empty() && self.bits.as_flattened().iter().all(|bit| *bit == 0)
    }

    /// The name of a kind that the decoder does not know.
    fn foreign(&self) -> Option<&'static str> {
        match self.frame? {
            (0xC3, _) => Some("Lossless JPEG"),
            (0xC5..=0xC7, _) => Some("Hierarchical JPEG"),
            (0xC9..=0xCF, _) => Some("Arithmetic-coded JPEG"),
            (0xF7, _) => Some("JPEG-LS"),
            (_, 8) => None,
            (_, 12) => Some("12-bit JPEG"),
            _ => Some("JPEG of an unusual depth"),
        }
    }
}

fn options() -> DecoderOptions {
    DecoderOptions::default().set_strict_mode(false).set_max_width(usize::MAX).set_max_height(usize::MAX)
}

fn broken(error: &zune_jpeg::errors::DecodeErrors) -> ImageError {
    let mut reason = error.to_string();
    reason.truncate(reason.trim_end_matches(['.', '"']).len());
    ImageError::Broken { format: FORMAT, reason: reason.trim_start_matches('"').into() }
}

/// The raw samples, in the colours that are best for `input`.
fn samples(bytes: &[u8], input: ColorSpace) -> Result<Vec<u8>, ImageError> {
    let output = match input {
        ColorSpace::Luma | ColorSpace::CMYK | ColorSpace::YCCK => input,
        _ => ColorSpace::RGB,
    };
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options().jpeg_set_out_colorspace(output));
    decoder.decode().map_err(|error| broken(&error))
}

/// Reads a JPEG file.
pub fn read(bytes: &[u8]) -> Result<Decoded, ImageError> {
    let truncated = || ImageError::Truncated { format: FORMAT };
    let markers = Markers::read(bytes);
    if let Some(format) = markers.foreign() {
        return Err(ImageError::Unsupported { format });
    }
    if !markers.has_end && (markers.frame.is_none() || !markers.has_all_scans()) {
        return Err(truncated());
    }
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options());
    decoder.decode_headers().map_err(|error| broken(&error))?;
    let (width, height) = decoder.dimensions().unwrap_or_default();
    let (width, height) = (u32::try_from(width).unwrap_or(u32::MAX), u32::try_from(height).unwrap_or(u32::MAX));
    admit(width, height, FORMAT)?;
    let input = decoder.input_colorspace().unwrap_or(ColorSpace::YCbCr);
    let profile = decoder.icc_profile();
    let orientation = decoder.exif().and_then(|exif| Orientation::from_exif_chunk(exif));
    let mut notes = Vec::new();
    let mut samples = if markers.has_end {
        samples(bytes, input)?
    } else {
        // All pixels are there if nothing that could follow makes a difference; half a marker is not one.
        let bytes = bytes.strip_suffix(&[0xFF]).unwrap_or(bytes);
        let followed_by = |byte: u8| samples(&[bytes, &[byte; 64], &[0xFF, 0xD9]].concat(), input);
        let (one, other) = (followed_by(0x00)?, followed_by(0x55)?);
        if one != other {
            return Err(truncated());
        }
        notes.push(ALL_THERE.into());
        one
    };
    let colours = match input {
        ColorSpace::Luma => 1,
        ColorSpace::CMYK | ColorSpace::YCCK => 4,
        _ => 3,
    };
    if input == ColorSpace::YCCK {
        for pixel in samples.as_chunks_mut::<4>().0 {
            let [r, g, b] = rgb_of_ycbcr([pixel[0], pixel[1], pixel[2]]);
            *pixel = [r, g, b, 255 - pixel[3]];
        }
    } else if colours == 4 {
        // As Adobe writes them, and so everybody: 255 is no ink.
        samples.iter_mut().for_each(|level| *level = 255 - *level);
    }
    let raster = Raster { width, height, colours, has_alpha: false, samples: Samples::Bytes(samples) };
    let conversion = profile.map_or(Ok(None), |profile| colour::from_icc(&profile));
    let picture = raster.into_picture(conversion, &mut notes);
    Ok(Decoded { picture, notes }.turned(orientation))
}

/// Red, green and blue of a pixel as JFIF has them.
pub fn rgb_of_ycbcr(pixel: [u8; 3]) -> [u8; 3] {
    let [y, cb, cr] = pixel.map(f32::from);
    let (cb, cr) = (cb - 128.0, cr - 128.0);
    [y + 1.402 * cr, y - 0.344_136 * cb - 0.714_136 * cr, y + 1.772 * cb].map(|level| level.round() as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_jpeg_is_not_mistaken_for_its_thumbnails() {
        let has_end = |bytes: &[u8]| Markers::read(bytes).has_end;
        let thumbnail = [0xFF, 0xE1, 0, 6, 0xFF, 0xD9, 0xFF, 0xD9];
        let scan = [0xFF, 0xDA, 0, 2, 0x12, 0xFF, 0, 0xFF, 0xD3, 0x34];
        let cut: Vec<u8> = [&[0xFF, 0xD8][..], &thumbnail, &scan].concat();
        assert!(!has_end(&cut));
        assert!(has_end(&[&cut[..], &[0xFF, 0xD9]].concat()));
        assert!(has_end(&[&cut[..], &[0xFF, 0xFF, 0xD9, 1, 2]].concat()), "fill bytes and a tail are allowed");
        assert!(!has_end(&[0xFF, 0xD8, 0xFF, 0xE1, 0xFF]));
    }

    #[test]
    fn kinds_are_told_by_their_frame() {
        let of = |marker: u8, depth: u8| {
            let bytes = [0xFF, 0xD8, 0xFF, marker, 0, 11, depth, 0, 8, 0, 8, 1, 1, 0x11, 0];
            super::super::Picture::decode(&bytes).expect_err("no scan").to_string()
        };
        assert!(of(0xC9, 8).starts_with("Arithmetic-coded JPEG images cannot be read"), "{}", of(0xC9, 8));
        assert!(of(0xC1, 12).starts_with("12-bit JPEG"), "{}", of(0xC1, 12));
        assert!(of(0xC3, 8).starts_with("Lossless JPEG"), "{}", of(0xC3, 8));
        assert!(of(0xF7, 8).starts_with("JPEG-LS"), "{}", of(0xF7, 8));
        assert!(of(0xC0, 8).contains("cut off"), "{}", of(0xC0, 8));
    }
}
