//! One picture in every kind of TIFF, colour profile and cut-off file, made by tests/reference/make_kinds.py: each is
//! read to what is wanted within 2 of 255, or refused by name; and animations, frame by frame.

use std::path::{Path, PathBuf};

use cyclegan::image::{Animation, Decoded, Frame, Picture};

const TOLERANCE: u8 = 2;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/kinds")
}

fn bytes(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn read(name: &str) -> Decoded {
    Picture::read(&bytes(&folder().join(name))).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Mean and largest difference of what can be seen; 255 where the sizes differ.
fn difference(found: &Picture, wanted: &Picture) -> (f32, u8) {
    if (found.width, found.height) != (wanted.width, wanted.height) {
        return (255.0, 255);
    }
    let of = |(a, b): (&[u8; 4], &[u8; 4])| -> u8 {
        let seen = if b[3] == 0 { 3..4 } else { 0..4 };
        seen.map(|c| a[c].abs_diff(b[c])).max().unwrap_or(0)
    };
    let pairs = found.pixels.as_chunks::<4>().0.iter().zip(wanted.pixels.as_chunks::<4>().0);
    let all: Vec<u8> = pairs.map(of).collect();
    let sum: u32 = all.iter().map(|one| u32::from(*one)).sum();
    (sum as f32 / all.len() as f32, all.into_iter().max().unwrap_or(0))
}

#[test]
fn every_kind_is_seen_as_it_should() {
    let mut wanted: Vec<String> = std::fs::read_dir(folder())
        .expect("the fixtures are there")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.strip_suffix(".want.png").map(String::from))
        .collect();
    wanted.sort();
    assert!(wanted.len() >= 60, "{}", wanted.len());
    let mut wrong = Vec::new();
    for name in wanted {
        let found = match Picture::read(&bytes(&folder().join(&name))) {
            Ok(found) => found.picture,
            Err(error) => {
                wrong.push(format!("{name}: {error}"));
                continue;
            }
        };
        let seen = Picture::decode(&bytes(&folder().join(format!("{name}.want.png")))).expect("a PNG");
        let (mean, most) = difference(&found, &seen);
        // Decoders of JPEG differ by a few levels, which a wide colour space makes larger.
        let is_jpeg = name.ends_with("jpg") || name.contains("jpeg");
        if if is_jpeg { mean > 2.0 || most > 24 } else { most > TOLERANCE } {
            wrong.push(format!("{name}: {mean} on average, {most} at most"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_was_converted_or_is_missing_is_said() {
    for (name, said) in [
        ("p3.png", "Its colours are converted from Display P3 to sRGB."),
        ("p3.jpg", "Display P3"),
        ("adobe.png", "Adobe RGB (1998)"),
        ("grey.tif", "Grey gamma 1.8"),
        ("inks.jpg", "A press"),
        ("gamma-1.png", "gamma 1"),
        ("cicp-p3.png", "Display P3"),
        ("cmyk.tif", "rule of thumb"),
        ("float-levels.tif", "0 to 255"),
        ("end-12.png", "all of its pixels are there"),
        ("end-1.gif", "all of its pixels are there"),
        ("end-1.webp", "all of its pixels are there"),
        ("end-baseline-1.jpg", "all of its pixels are there"),
        ("end-and-more.jpg", "all of its pixels are there"),
    ] {
        let notes = read(name).notes;
        assert!(notes.len() == 1 && notes[0].contains(said), "{name}: {notes:?}");
    }
    for name in ["cicp-srgb.png", "gamma-22.png", "gamma-srgb.png", "palette.tif", "premultiplied.tif"] {
        assert_eq!(read(name).notes, [""; 0], "{name}");
    }
}

#[test]
fn what_cannot_be_read_is_named_and_never_damaged() {
    for (name, said) in [
        ("zstd.tif", "TIFF (with Zstandard) images cannot be read"),
        ("webp.tif", "TIFF (with WebP)"),
        ("lzma.tif", "TIFF (with LZMA)"),
        ("signed.tif", "TIFF (of numbers with a sign)"),
        ("lab.tif", "TIFF (with colours of CIE Lab)"),
        ("end-60.png", "cut off"),
        ("end-30.gif", "cut off"),
        ("end-40.webp", "cut off"),
        ("end-baseline-30.jpg", "cut off"),
        ("end-progressive-40.jpg", "cut off"),
    ] {
        let error = Picture::read(&bytes(&folder().join(name))).expect_err(name).to_string();
        assert!(error.contains(said) && !error.contains("damaged"), "{name}: {error}");
    }
}

#[test]
fn animations_are_composed_as_browsers_do() {
    for name in ["transparent.webp", "previous-after-background.png", "no-trailer.gif"] {
        let animation = Animation::open(&bytes(&folder().join(name))).expect(name).expect("animated");
        let frames: Result<Vec<Frame>, _> = animation.frames().expect("opened").collect();
        let frames = frames.expect("whole");
        assert!(frames.len() >= 3, "{name}");
        for (index, frame) in frames.iter().enumerate() {
            let wanted = bytes(&folder().join(format!("{name}.frames/{index:02}.png")));
            let wanted = Picture::decode(&wanted).expect("a PNG");
            let (mean, most) = difference(&frame.picture, &wanted);
            assert!(most <= TOLERANCE, "{name}, frame {index}: {mean} on average, {most} at most");
        }
        assert_eq!(animation.notes.is_empty(), name != "no-trailer.gif", "{:?}", animation.notes);
    }
}

/// Every prefix of a file and every file with one byte changed: an error or a picture, never a crash.
#[test]
fn no_damage_makes_a_reader_panic() {
    for name in [
        "group3-2d.tif",
        "runs.tif",
        "tiles.tif",
        "big-be.tif",
        "float-predicted.tif",
        "palette-4.tif",
        "mAB-4.tif",
        "mft1-2.tif",
        "ycbcr-jpeg.tif",
        "p3.png",
        "inks.jpg",
        "sampled.png",
    ] {
        let whole = bytes(&folder().join(name));
        for at in (0..whole.len()).step_by(whole.len() / 120 + 1).chain(0..whole.len().min(200)) {
            let _ = Picture::decode(&whole[..at]);
            for change in [0x01, 0x80, 0xFF] {
                let mut damaged = whole.clone();
                damaged[at] ^= change;
                let _ = Picture::decode(&damaged);
            }
        }
    }
}
