//! What a file is, by its first bytes; its name is never asked.

use super::ImageError;

/// First bytes of things that people drop by mistake, and whether each is an image.
const OTHERS: [(&[u8], bool, &str); 32] = [
    (b"%PDF", false, "a PDF document"),
    (b"PK\x03\x04", false, "a zip archive"),
    (b"\x1F\x8B", false, "a gzip archive"),
    (b"\x7FELF", false, "a program"),
    (b"MZ", false, "a program"),
    (b"ID3", false, "a sound file"),
    (b"OggS", false, "a sound or video file"),
    (b"\x1A\x45\xDF\xA3", false, "a video"),
    (b"8BPS", true, "Photoshop"),
    (b"\xFF\x0A", true, "JPEG XL"),
    (b"\0\0\0\x0CJXL ", true, "JPEG XL"),
    (b"\0\0\0\x0CjP  ", true, "JPEG 2000"),
    (b"\xFF\x4F\xFF\x51", true, "JPEG 2000"),
    (b"II\xBC", true, "JPEG XR"),
    (b"\x76\x2F\x31\x01", true, "OpenEXR"),
    (b"#?RADIANCE", true, "Radiance HDR"),
    (b"#?RGBE", true, "Radiance HDR"),
    (b"\0\0\x01\0", true, "ICO"),
    (b"icns", true, "ICNS"),
    (b"qoif", true, "QOI"),
    (b"FLIF", true, "FLIF"),
    (b"DDS ", true, "DDS"),
    (b"P4\n", true, "PBM"),
    (b"P5\n", true, "PGM"),
    (b"P6\n", true, "PPM"),
    (b"%!PS", true, "PostScript"),
    (b"\xD7\xCD\xC6\x9A", true, "WMF"),
    (b"\x01\xDA", true, "SGI"),
    // Of cameras.
    (b"FUJIFILMCCD-RAW", true, "Raw"),
    (b"IIU\0", true, "Raw"),
    (b"IIRO", true, "Raw"),
    (b"IIRS", true, "Raw"),
];

/// A kind of file that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Jpeg,
    Png,
    WebP,
    Gif,
    Bmp,
    Tiff,
}

/// The kind of a file that can be read.
///
/// # Errors
/// For everything else, saying what it seems to be.
pub fn kind(bytes: &[u8]) -> Result<Kind, ImageError> {
    match bytes {
        [] => return Err(ImageError::Empty),
        [0xFF, 0xD8, 0xFF, ..] => return Ok(Kind::Jpeg),
        [0x89, b'P', b'N', b'G', 13, 10, 26, 10, ..] => return Ok(Kind::Png),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => return Ok(Kind::WebP),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => return Ok(Kind::Gif),
        [b'B', b'M', ..] => return Ok(Kind::Bmp),
        // 42 for TIFF, 43 for BigTIFF.
        [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => return Ok(Kind::Tiff),
        _ => {}
    }
    let known = OTHERS.iter().find(|(magic, ..)| bytes.starts_with(magic));
    Err(match known {
        Some((_, true, format)) => ImageError::Unsupported { format },
        Some((_, false, found)) => ImageError::NotAnImage { found },
        None => iso_media(bytes).unwrap_or_else(|| text_or_unknown(bytes)),
    })
}

/// HEIC, AVIF and videos share one container; its brand tells them apart.
fn iso_media(bytes: &[u8]) -> Option<ImageError> {
    let brand = (bytes.get(4..8)? == b"ftyp").then(|| bytes.get(8..12))??;
    Some(match brand {
        b"avif" | b"avis" => ImageError::Unsupported { format: "AVIF" },
        b"crx " => ImageError::Unsupported { format: "Raw" },
        // Of any picture: the brands that it goes with tell which.
        b"mif1" | b"msf1"
            if bytes.get(16..bytes.len().min(64)).is_some_and(|with| with.as_chunks().0.contains(b"avif")) =>
        {
            ImageError::Unsupported { format: "AVIF" }
        }
        b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"hevx" | b"mif1" | b"msf1" => {
            ImageError::Unsupported { format: "HEIC" }
        }
        _ => ImageError::NotAnImage { found: "a video" },
    })
}

fn text_or_unknown(bytes: &[u8]) -> ImageError {
    let start = &bytes[..bytes.len().min(1024)];
    let text = match std::str::from_utf8(start) {
        Ok(text) => text,
        // The cut may have fallen into the middle of a character.
        Err(error) if error.error_len().is_none() => std::str::from_utf8(&start[..error.valid_up_to()]).unwrap_or(""),
        Err(_) => "",
    };
    let readable = !text.is_empty() && !text.chars().any(|c| c.is_control() && !c.is_whitespace());
    if !readable {
        return ImageError::NotAnImage { found: "an unknown kind of file" };
    }
    let lower = text.to_ascii_lowercase();
    if lower.contains("<svg") {
        ImageError::Unsupported { format: "SVG" }
    } else if lower.contains("<html") || lower.contains("<!doctype html") {
        ImageError::NotAnImage { found: "a web page" }
    } else {
        ImageError::NotAnImage { found: "a text file" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(bytes: &[u8]) -> String {
        kind(bytes).expect_err("not readable").to_string()
    }

    #[test]
    fn things_that_are_no_readable_images_are_named() {
        assert_eq!(kind(b""), Err(ImageError::Empty));
        for (bytes, named) in [
            (&b"%PDF-1.7\n"[..], "a PDF document"),
            (b"PK\x03\x04rest", "a zip archive"),
            (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC"),
            (b"\0\0\0\x18ftypavif\0\0\0\0", "AVIF"),
            (b"\0\0\0\x1Cftypmif1\0\0\0\0mif1avifmiaf", "AVIF"),
            (b"\0\0\0\x18ftypcrx \0\0\0\x01", "Raw"),
            (b"\x76\x2F\x31\x01\x02\0\0\0", "OpenEXR"),
            (b"P6\n2 2\n255\n", "PPM"),
            (b"\0\0\x01\0\x01\0", "ICO"),
            (b"\0\0\0\x18ftypmp42\0\0\0\0", "a video"),
            (b"<?xml version=\"1.0\"?><svg width=\"1\"/>", "SVG"),
            (b"<!DOCTYPE html><title>404</title>", "a web page"),
            ("Grüße".as_bytes(), "a text file"),
            (b"\0\x01\x02\x03\x04\x05", "an unknown kind of file"),
        ] {
            assert!(error(bytes).contains(named), "{named}: {}", error(bytes));
        }
    }

    #[test]
    fn readable_formats_are_told_by_their_first_bytes() {
        assert_eq!(kind(b"\xFF\xD8\xFF\xE0"), Ok(Kind::Jpeg));
        assert_eq!(kind(b"\x89PNG\r\n\x1A\n"), Ok(Kind::Png));
        assert_eq!(kind(b"GIF89a"), Ok(Kind::Gif));
        assert_eq!(kind(b"MM\0\x2B\0\x08"), Ok(Kind::Tiff), "BigTIFF");
    }
}
