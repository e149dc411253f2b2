#!/bin/bash
# One would guess that a decoder which hands out RGBA divides the colours of a TIFF by its alpha where the file says that they were
# multiplied by it (ExtraSamples = 1, associated alpha).
# True: image 0.25.10 gives the same pixel for ExtraSamples 1 (associated) and 2 (unassociated); the tag has no effect.
# Why it matters here: a half transparent white (stored 128 128 128 128) becomes a half transparent grey, so that a cut-out laid over
# white gets a dark rim, and a generator learns or translates that rim. We read TIFF ourselves and divide.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
mkdir src
cat >Cargo.toml <<'TOML'
[package]
name = "check"
version = "0.1.0"
edition = "2021"
[dependencies]
image = { version = "=0.25.10", default-features = false, features = ["tiff"] }
TOML
cat >src/main.rs <<'RUST'
/// One RGBA pixel, 8 bits a sample, little-endian, uncompressed.
fn tiff(extra_samples: u32, pixel: [u8; 4]) -> Vec<u8> {
    let (short, long) = (3u16, 4u16);
    let tags = [
        (256u16, short, 1u32, 1u32), (257, short, 1, 1), (258, short, 4, 200), (259, short, 1, 1), (262, short, 1, 2),
        (273, long, 1, 208), (277, short, 1, 4), (278, short, 1, 1), (279, long, 1, 4), (284, short, 1, 1),
        (338, short, 1, extra_samples),
    ];
    let mut file = b"II\x2a\0\x08\0\0\0".to_vec();
    file.extend((tags.len() as u16).to_le_bytes());
    for (tag, kind, count, value) in tags {
        file.extend(tag.to_le_bytes());
        file.extend(kind.to_le_bytes());
        file.extend(count.to_le_bytes());
        file.extend(value.to_le_bytes());
    }
    file.resize(200, 0);
    file.extend([8u8, 0].repeat(4));
    file.extend(pixel);
    file
}

fn main() {
    let read = |extra| {
        let file = tiff(extra, [128, 128, 128, 128]);
        image::load_from_memory_with_format(&file, image::ImageFormat::Tiff).expect("a valid file").to_rgba8()[(0, 0)].0
    };
    let (associated, unassociated) = (read(1), read(2));
    println!("image 0.25.10: associated {associated:?} (right: [255, 255, 255, 128]), unassociated {unassociated:?}");
    std::process::exit(i32::from(associated != [128; 4] || unassociated != [128; 4]));
}
RUST
cargo run --quiet
