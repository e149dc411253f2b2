//! Image files of every awkward kind, made by tests/reference/make_images.py with Pillow: each is
//! either read as Pillow reads it or refused with an error that says what is wrong.

use std::collections::BTreeMap;
use std::path::PathBuf;

use cyclegan::image::{ImageError, Picture};
use serde::Deserialize;

#[derive(Deserialize)]
struct Expected {
    size: [u32; 2],
    /// In levels of 0 to 255.
    tolerance: u8,
    /// x, y, red, green, blue, alpha.
    pixels: Vec<[u32; 6]>,
}

fn fixture(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/images").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn decode(name: &str) -> Result<Picture, ImageError> {
    Picture::decode(&fixture(name))
}

fn picture(name: &str) -> Picture {
    decode(name).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn every_kind_of_image_is_read_as_pillow_reads_it() {
    let expected: BTreeMap<String, Expected> =
        serde_json::from_slice(&fixture("expected.json")).expect("expected.json is what the script writes");
    assert!(expected.len() >= 25, "the fixtures are there");
    let mut wrong = Vec::new();
    for (name, Expected { size: [width, height], tolerance, pixels }) in expected {
        let picture = picture(&name);
        assert_eq!((picture.width, picture.height), (width, height), "{name}");
        assert_eq!(picture.pixels.len() as u32, 4 * width * height, "{name}");
        for [x, y, colour @ ..] in pixels {
            let found = picture.pixel(x, y).unwrap_or_else(|| panic!("{name}: {x}, {y} is outside"));
            // What cannot be seen has no colour.
            let seen = if colour[3] == 0 { 3..4 } else { 0..4 };
            if seen.into_iter().any(|c| u32::from(found[c]).abs_diff(colour[c]) > u32::from(tolerance)) {
                wrong.push(format!("{name} at {x}, {y}: {found:?} instead of {colour:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn all_eight_exif_orientations_come_out_upright() {
    let upright = picture("orientation-1.jpg");
    for number in 2..=8 {
        let turned = picture(&format!("orientation-{number}.jpg"));
        assert!(turned.mean_absolute_error(&upright) < 1.0, "orientation {number}");
    }
    assert!(upright.mean_absolute_error(&upright.flip_horizontal()) > 50.0, "a wrong turn would show");
}

#[test]
fn files_that_are_cut_off_say_so() {
    for (name, format) in [
        ("truncated.jpg", "JPEG"),
        ("truncated-header.jpg", "JPEG"),
        ("truncated.png", "PNG"),
        ("truncated.webp", "WebP"),
        ("truncated.gif", "GIF"),
    ] {
        assert_eq!(decode(name), Err(ImageError::Truncated { format }), "{name}");
    }
}

#[test]
fn damaged_files_say_so() {
    assert!(matches!(decode("damaged.png"), Err(ImageError::Broken { format: "PNG", .. })));
    assert!(matches!(decode("zero.png"), Err(ImageError::Broken { format: "PNG", .. })));
}

#[test]
fn more_pixels_than_allowed_are_refused_by_the_header() {
    assert_eq!(decode("bomb-sides.png"), Err(ImageError::TooLarge { width: 60_000, height: 60_000 }));
    assert_eq!(decode("bomb-area.png"), Err(ImageError::TooLarge { width: 16_384, height: 16_384 }));
}

#[test]
fn things_that_are_no_images_are_named() {
    assert_eq!(decode("empty.png"), Err(ImageError::Empty));
    assert_eq!(decode("document.jpg"), Err(ImageError::NotAnImage { found: "a PDF document" }));
    assert_eq!(decode("text.png"), Err(ImageError::NotAnImage { found: "a text file" }));
    assert_eq!(decode("vector.png"), Err(ImageError::Unsupported { format: "SVG" }));
    assert_eq!(decode("phone.jpg"), Err(ImageError::Unsupported { format: "HEIC" }));
}

/// Every prefix of a file and every file with one byte changed: an error or a picture, never a crash.
#[test]
fn no_damage_makes_the_decoder_panic() {
    for name in
        ["baseline.jpg", "palette-transparent.png", "animated.gif", "lossy-alpha.webp", "deflate.tiff", "plain.bmp"]
    {
        let whole = fixture(name);
        for end in (0..whole.len()).step_by(whole.len() / 150 + 1) {
            let _ = Picture::decode(&whole[..end]);
            let mut damaged = whole.clone();
            damaged[end] ^= 0xA5;
            let _ = Picture::decode(&damaged);
        }
    }
}

#[test]
fn resizing_is_what_pillow_calls_bicubic() {
    let difference = |a: &Picture, b: &Picture| {
        let levels = a.pixels.iter().zip(&b.pixels).map(|(a, b)| a.abs_diff(*b));
        levels.max().unwrap_or(0)
    };
    let noise = picture("noise.png");
    for (width, height) in [(20, 13), (53, 90), (64, 64)] {
        let pillow = picture(&format!("noise-{width}x{height}.png"));
        let ours = noise.resize(width, height);
        assert_eq!((ours.width, ours.height), (pillow.width, pillow.height));
        // Pillow multiplies in fixed point: where a level falls between two it may choose the other.
        assert!(difference(&ours, &pillow) <= 1, "{width}×{height}: {}", difference(&ours, &pillow));
        assert!(ours.mean_absolute_error(&pillow) < 0.25, "{width}×{height}: {}", ours.mean_absolute_error(&pillow));
    }
    let noise = picture("noise-alpha.png");
    for (width, height) in [(20, 13), (53, 90), (64, 64)] {
        let pillow = picture(&format!("noise-alpha-{width}x{height}.png"));
        let error = noise.resize(width, height).mean_absolute_error(&pillow);
        assert!(error < 0.6, "with alpha, {width}×{height}: {error}");
    }
}
