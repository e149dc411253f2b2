//! What several tests of the command line need.
#![allow(dead_code, reason = "each test takes what it needs")]

use std::path::Path;
use std::process::{Command, Output};

use cyclegan::image::Picture;

pub fn command(arguments: &[&str], folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cyclegan"));
    command.args(arguments).current_dir(folder);
    command
}

pub fn cyclegan(arguments: &[&str], folder: &Path) -> Output {
    command(arguments, folder).output().expect("the program is built")
}

#[track_caller]
pub fn ends_with(output: &Output, status: i32) -> (String, String) {
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    assert_eq!(output.status.code(), Some(status), "stdout: {out}\nstderr: {err}");
    (out, err)
}

pub fn picture(width: u32, height: u32, shade: u8) -> Vec<u8> {
    let mut picture = Picture::filled(width, height, [shade, 255 - shade, 128, 255]);
    for (index, pixel) in picture.pixels.chunks_exact_mut(4).enumerate() {
        pixel[0] = pixel[0].wrapping_add((index * 7) as u8);
    }
    picture.encode_png().expect("a picture")
}

/// A folder with two piles and two held-out pairs.
pub fn data(folder: &Path) {
    for (pile, shade) in [("trainA", 10), ("trainB", 200), ("testA", 60), ("testB", 120)] {
        let pile = folder.join("data").join(pile);
        std::fs::create_dir_all(&pile).expect("a folder");
        for index in 0..2u8 {
            std::fs::write(pile.join(format!("{index}.png")), picture(40, 40, shade + index)).expect("a file");
        }
    }
    std::fs::write(folder.join("data/trainA/broken.png"), b"no picture").expect("a file");
}
