//! The command line as a person uses it.

use std::path::Path;
use std::process::{Command, Output};

use cyclegan::image::Picture;
use tempfile::TempDir;

fn cyclegan(arguments: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cyclegan"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("the program is built")
}

#[track_caller]
fn ends_with(output: &Output, status: i32) -> (String, String) {
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    assert_eq!(output.status.code(), Some(status), "stdout: {out}\nstderr: {err}");
    (out, err)
}

fn picture(width: u32, height: u32, shade: u8) -> Vec<u8> {
    let mut picture = Picture::filled(width, height, [shade, 255 - shade, 128, 255]);
    for (index, pixel) in picture.pixels.chunks_exact_mut(4).enumerate() {
        pixel[0] = pixel[0].wrapping_add((index * 7) as u8);
    }
    picture.encode_png().expect("a picture")
}

/// A folder with two piles and two held-out pairs.
fn data(folder: &Path) {
    for (pile, shade) in [("trainA", 10), ("trainB", 200), ("testA", 60), ("testB", 120)] {
        let pile = folder.join("data").join(pile);
        std::fs::create_dir_all(&pile).expect("a folder");
        for index in 0..2u8 {
            std::fs::write(pile.join(format!("{index}.png")), picture(40, 40, shade + index)).expect("a file");
        }
    }
    std::fs::write(folder.join("data/trainA/broken.png"), b"no picture").expect("a file");
}

const TRAIN: [&str; 12] =
    ["train", "--data", "data", "--out", "run", "--preset", "quick", "--domains", "day,night", "--ngf", "4", "--steps"];

fn trained(steps: &str) -> TempDir {
    let folder = TempDir::new().expect("a folder");
    data(folder.path());
    let output = cyclegan(&[&TRAIN[..], &[steps, "--preview-every", "2"]].concat(), folder.path());
    let (out, err) = ends_with(&output, 0);
    assert!(out.contains("day-to-night.safetensors") && out.contains("night-to-day.safetensors"), "{out}");
    assert!(err.contains("broken.png"), "the broken image is named: {err}");
    folder
}

#[test]
fn train_resume_translate_evaluate() {
    let folder = trained("3");
    let path = folder.path();
    for file in ["checkpoint.safetensors", "metrics.jsonl", "config.json", "preview-0000002.png"] {
        assert!(path.join("run").join(file).exists(), "{file}");
    }

    let again = cyclegan(&[&TRAIN[..], &["3"]].concat(), path);
    assert!(ends_with(&again, 2).1.contains("--resume"), "a run is not overwritten");
    ends_with(&cyclegan(&["train", "--data", "data", "--out", "run", "--resume", "--steps", "5"], path), 0);
    let model = "run/day-to-night.safetensors";
    let info = ends_with(&cyclegan(&["info", model, "--json"], path), 0).0;
    let info: serde_json::Value = serde_json::from_str(&info).expect("JSON");
    assert_eq!((info["step"].as_u64(), info["domain_to"].as_str()), (Some(5), Some("night")));

    let half = cyclegan(&["convert", model, "half.safetensors", "--f16"], path);
    ends_with(&half, 0);
    let size = |file: &str| std::fs::metadata(path.join(file)).expect("a file").len();
    assert!(size("half.safetensors") * 10 < size(model) * 7);

    std::fs::create_dir(path.join("photos")).expect("a folder");
    for (name, bytes) in [("a.png", picture(33, 18, 5)), ("b.png", b"nothing".to_vec()), ("c.png", picture(16, 50, 9))]
    {
        std::fs::write(path.join("photos").join(name), bytes).expect("a file");
    }
    let output = cyclegan(&["translate", "--model", "half.safetensors", "photos", "--out", "out", "--json"], path);
    let (out, err) = ends_with(&output, 1);
    assert!(err.contains("b.png"), "{err}");
    assert_eq!(out.lines().count(), 2, "{out}");
    let result = Picture::decode(&std::fs::read(path.join("out/a.png")).expect("written")).expect("a picture");
    assert_eq!((result.width, result.height), (33, 18), "any size comes back as it was");

    let small = ["translate", "--model", model, "photos/a.png", "--out", "small.png", "--max-size", "30"];
    ends_with(&cyclegan(&small, path), 0);
    let small = Picture::decode(&std::fs::read(path.join("small.png")).expect("written")).expect("a picture");
    assert_eq!((small.width, small.height), (30, 16));

    let candle = ["translate", "--model", model, "photos/a.png", "--out", "candle.png", "--backend", "candle"];
    ends_with(&cyclegan(&candle, path), 0);
    ends_with(&cyclegan(&["translate", "--model", model, "photos/a.png", "--out", "flex.png"], path), 0);
    let read = |file| Picture::decode(&std::fs::read(path.join(file)).expect("written")).expect("a picture");
    assert!(read("candle.png").mean_absolute_error(&read("flex.png")) < 0.1, "backends agree");

    let back = "run/night-to-day.safetensors";
    let both = ["evaluate", "--model", model, "--back", back, "--data", "data"];
    let evaluated = |more: &[&str]| ends_with(&cyclegan(&[&both[..], more].concat(), path), 0).0;
    let scores = evaluated(&["--json", "--grid", "grid.png"]);
    assert_eq!(scores, evaluated(&["--json"]), "the same each time");
    let scores: serde_json::Value = serde_json::from_str(&scores).expect("JSON");
    assert_eq!((scores["inputs"].as_u64(), scores["max_side"].as_u64()), (Some(2), Some(32)), "{scores}");
    for part in ["/paired/translated", "/paired/doing_nothing", "/cycle", "/identity"] {
        assert_eq!(scores.pointer(part).and_then(|part| part["pictures"].as_u64()), Some(2), "{part} of {scores}");
    }
    let grid = Picture::decode(&std::fs::read(path.join("grid.png")).expect("written")).expect("a picture");
    assert_eq!((grid.width, grid.height), (4 + 4 * 36, 4 + 2 * 36), "input, translated, back again, truth");
    let both = ["evaluate", "--model", model, "--back", model, "--data", "data"];
    assert!(ends_with(&cyclegan(&both, path), 2).1.contains("the other direction"));
}

#[test]
fn evaluate_without_pairs() {
    let folder = trained("1");
    let path = folder.path();
    std::fs::write(path.join("data/testB/other.png"), picture(50, 36, 130)).expect("a file");
    std::fs::rename(path.join("data/testB/0.png"), path.join("data/testB/third.png")).expect("renamed");
    let base = ["evaluate", "--model", "run/night-to-day.safetensors", "--data", "data", "--max-size", "40"];
    let evaluated = |more: &[&str], status| ends_with(&cyclegan(&[&base[..], more].concat(), path), status);
    evaluated(&["--unpaired", "--json", "scores.json", "--grid", "grid.png"], 0);
    let scores = std::fs::read(path.join("scores.json")).expect("written");
    let scores: serde_json::Value = serde_json::from_slice(&scores).expect("JSON");
    assert_eq!((scores["inputs"].as_u64(), scores["real"].as_u64()), (Some(3), Some(2)), "B to A: {scores}");
    assert!(scores["paired"].is_null() && scores["cycle"].is_null() && scores["identity"].is_object(), "{scores}");
    for set in ["translated", "doing_nothing", "two_halves"] {
        assert!(scores["sliced_wasserstein"][set].as_f64().is_some_and(|distance| distance > 0.0), "{set}: {scores}");
    }
    let grid = Picture::decode(&std::fs::read(path.join("grid.png")).expect("written")).expect("a picture");
    assert_eq!((grid.width, grid.height), (4 + 2 * 44, 4 + 3 * 44));
    let (out, _) = evaluated(&["--limit", "1"], 0);
    assert!(out.contains("1 held-out pictures, BtoA, against 1 real ones") && !out.contains("halves"), "{out}");

    std::fs::write(path.join("data/testA/other.png"), picture(20, 36, 130)).expect("a file");
    assert!(evaluated(&[], 2).1.contains("--unpaired"), "one name, two sizes");
    std::fs::remove_dir_all(path.join("data/testA")).expect("removed");
    assert!(evaluated(&[], 2).1.contains("into testA"));
}

#[test]
fn what_cannot_work_is_said_and_ends_with_2() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path();
    std::fs::write(path.join("model.safetensors"), b"nothing").expect("a file");
    std::fs::write(path.join("a.png"), picture(20, 20, 1)).expect("a file");
    let no_model = ["translate", "--model", "model.safetensors", "a.png", "--out", "b.png"];
    let cases: [(&[&str], &str); 5] = [
        (&no_model, "model.safetensors"),
        (&["translate", "--model", "missing.safetensors", "a.png", "--out", "b.png"], "missing.safetensors"),
        (&["train", "--data", "nowhere", "--out", "run"], "nowhere"),
        (&["train", "--data", "a.png", "--out", "run", "--preset", "huge"], "emoji-64"),
        (&["info", "a.png"], "PNG"),
    ];
    for (arguments, said) in cases {
        let (_, err) = ends_with(&cyclegan(arguments, path), 2);
        assert!(err.contains(said), "{arguments:?}: {err}");
    }
    assert!(!path.join("b.png").exists());
}

#[test]
fn help_shows_examples() {
    let folder = TempDir::new().expect("a folder");
    for command in ["translate", "train", "evaluate", "convert"] {
        let (out, _) = ends_with(&cyclegan(&[command, "--help"], folder.path()), 0);
        assert!(out.contains(&format!("Example: cyclegan {command}")), "{out}");
    }
}
