//! What a command line names and where results go: folders as people have them, endings, originals, wrong data sets.

use std::path::Path;

use cyclegan::image::Picture;
use tempfile::TempDir;

use super::support::{cyclegan, ends_with, picture};
use super::{TRAIN, trained};

const MODEL: &str = "run/day-to-night.safetensors";

fn write(path: &Path, files: &[(&str, &[u8])]) {
    for (name, bytes) in files {
        let file = path.join(name);
        std::fs::create_dir_all(file.parent().expect("a parent")).expect("a folder");
        std::fs::write(file, bytes).expect("a file");
    }
}

fn translate(path: &Path, more: &[&str], status: i32) -> (String, String) {
    ends_with(&cyclegan(&[&["translate", "--model", MODEL][..], more].concat(), path), status)
}

#[test]
fn folders_endings_and_originals() {
    let folder = trained("1");
    let path = folder.path();
    let (small, other) = (picture(20, 18, 40), picture(18, 20, 90));
    let heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic".to_vec();
    write(
        path,
        &[
            ("in/b.png", &small),
            ("in/2024/may/a.jfif", &other),
            ("in/._b.png", b"fork"),
            ("in/Thumbs.db", b"thumbs"),
            ("in/names [1]/ü (1).png", &small),
            ("in/phone.HEIC", &heic),
        ],
    );
    #[cfg(unix)]
    std::os::unix::fs::symlink("..", path.join("in/2024/up")).expect("a link");
    let (out, err) = translate(path, &["in", "--out", "out"], 1);
    assert!(err.contains("phone.HEIC: HEIC images cannot be read"), "{err}");
    assert!(err.contains("skipped 2 files that are no images") && err.contains("._b.png"), "{err}");
    assert!(err.contains("1 of 4 files could not be translated"), "{err}");
    let mut made: Vec<&str> = out.lines().collect();
    made.sort_unstable();
    assert_eq!(made, ["out/2024/may/a.png", "out/b.png", "out/names [1]/ü (1).png"]);

    // Originals stay as they are.
    let before = std::fs::read(path.join("in/b.png")).expect("there");
    for arguments in [["in", "--out", "in"], ["in/b.png", "--out", "in/b.png"], ["in/b.png", "--out", "in"]] {
        let (_, err) = translate(path, &arguments, 2);
        assert!(err.contains("--overwrite"), "{err}");
    }
    assert_eq!(std::fs::read(path.join("in/b.png")).expect("there"), before);
    translate(path, &["in/b.png", "--out", "in/b.png", "--overwrite"], 0);
    assert_ne!(std::fs::read(path.join("in/b.png")).expect("there"), before);

    // The ending decides.
    for (name, magic) in [("x.jpg", &b"\xFF\xD8\xFF"[..]), ("x.webp", b"RIFF"), ("x.png", b"\x89PNG")] {
        translate(path, &["in/names [1]/*.png", "--out", name], 0);
        let bytes = std::fs::read(path.join(name)).expect("a file of that name");
        assert!(bytes.starts_with(magic), "{name}");
        assert_eq!(Picture::decode(&bytes).map(|picture| (picture.width, picture.height)), Ok((20, 18)));
    }
    assert!(translate(path, &["in/b.png", "--out", "x.tiff"], 2).1.contains(".png, .jpg or .webp"));
    assert!(!path.join("x.tiff").exists());

    // A panorama is as long as it likes.
    let long = Picture::filled(20_000, 20, [90, 120, 40, 255]).encode_png().expect("a picture");
    write(path, &[("long.png", &long)]);
    translate(path, &["long.png", "--out", "long-out.png", "--max-size", "16000"], 0);
}

#[test]
fn colours_and_missing_ends_are_said_where_the_picture_is_made() {
    let folder = trained("1");
    let path = folder.path();
    let kinds = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/kinds");
    for name in ["p3.png", "end-baseline-2.jpg", "cmyk.tif"] {
        std::fs::copy(kinds.join(name), path.join(name)).expect("copied");
    }
    let (out, err) = translate(path, &["p3.png", "end-baseline-2.jpg", "cmyk.tif", "--out", "out", "--json"], 0);
    assert!(err.contains("p3.png: Its colours are converted from Display P3 to sRGB."), "{err}");
    assert!(err.contains("end-baseline-2.jpg: The end of the file is missing"), "{err}");
    let lines: Vec<serde_json::Value> = out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(lines.iter().all(|line| line["notes"].as_array().is_some_and(|notes| notes.len() == 1)), "{out}");
}

#[test]
fn wrong_data_is_told_with_its_reason_last() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path();
    let small = picture(20, 20, 7);
    std::fs::create_dir(path.join("empty")).expect("a folder");
    write(
        path,
        &[
            ("named/horse/1.png", &small),
            ("named/zebra/1.png", &small),
            ("half/trainB/1.png", &small),
            ("text.zip", b"no zip"),
        ],
    );
    for (data, said) in [
        ("named", "There is no folder trainA or trainB"),
        ("named", "horse, zebra"),
        ("half", "There are no images in pile A"),
        ("empty", "There is no folder trainA or trainB"),
        ("text.zip", "This is not a zip file"),
    ] {
        let arguments: Vec<&str> = TRAIN.iter().map(|word| if *word == "data" { data } else { *word }).collect();
        let (out, err) = ends_with(&cyclegan(&[&arguments[..], &["3"]].concat(), path), 2);
        let last = err.lines().last().unwrap_or_default();
        assert!(last.starts_with("error: ") && last.contains(said), "{data}: {err}");
        assert!(!err.contains("report") && !err.contains("could be saved") && out.is_empty(), "{data}: {err}{out}");
    }
}

#[test]
fn held_out_pictures_are_all_that_evaluating_needs() {
    let folder = trained("1");
    let path = folder.path();
    for pile in ["trainA", "trainB"] {
        std::fs::remove_dir_all(path.join("data").join(pile)).expect("removed");
    }
    let (out, _) = ends_with(&cyclegan(&["evaluate", "--model", MODEL, "--data", "data"], path), 0);
    assert!(out.contains("held-out pictures"), "{out}");
}
