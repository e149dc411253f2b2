//! Holds the house to its floors: every `crate::…` and `cyclegan::…` path in `src/` must point down.
//! ARCHITECTURE.md draws the floors; the table here is the same picture.

use std::fs;
use std::path::{Path, PathBuf};

/// The rooms, by floor. Sideways is allowed but on the top floor, whose rooms never know each other.
const FLOORS: [&[&str]; 6] = [
    &["kernels", "protocol", "platform", "config", "random", "error", "protobuf"],
    &["model", "image"],
    &["loss", "image_pool", "schedule", "augment", "data", "weights"],
    &["training", "translate", "evaluate"],
    &["session"],
    &["cli", "worker", "page"],
];
const TOP: usize = FLOORS.len() - 1;

/// The doors (binaries), each with the room it opens.
const DOORS: [(&str, &str); 3] = [("cyclegan", "cli"), ("worker", "worker"), ("page", "page")];

/// All that the page may use: anything else would link Burn into it.
const PAGE_MAY_USE: [&str; 3] = ["protocol", "config", "platform"];

/// Where a path was written, and the room it leads to.
#[derive(Debug, PartialEq)]
struct Arrow {
    to: String,
    line: usize,
}

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

/// Why `file` (relative to `src/`) may not lead to the room `to`, if so.
fn objection(file: &Path, to: &str) -> Option<String> {
    let Some(below) = floor(to) else {
        return Some(format!("`{to}` has no floor: give it one in tests/layering.rs and in ARCHITECTURE.md"));
    };
    let parts = module_path(file);
    let first = parts.first().map_or("", String::as_str);
    let from = match first {
        "bin" => {
            let door = parts.get(1).map_or("", String::as_str);
            let Some((_, room)) = DOORS.iter().find(|(name, _)| *name == door) else {
                return Some(format!("the door `{door}` is not in tests/layering.rs"));
            };
            *room
        }
        room => room,
    };
    let Some(above) = floor(from) else {
        return Some(format!("`{from}` has no floor: give it one in tests/layering.rs and in ARCHITECTURE.md"));
    };
    if from == to {
        None
    } else if from == "page" && !PAGE_MAY_USE.contains(&to) {
        Some(format!("the page may use {PAGE_MAY_USE:?} alone, not `{to}`"))
    } else if above == TOP && below == TOP {
        Some(format!("`{from}` and `{to}` are both on the top floor and must not know each other"))
    } else if below > above {
        Some(format!("`{from}` (floor {above}) points up to `{to}` (floor {below})"))
    } else {
        None
    }
}

/// `model/layers.rs` → `[model, layers]`, `model/mod.rs` and `model.rs` → `[model]`.
fn module_path(file: &Path) -> Vec<String> {
    let mut parts: Vec<String> =
        file.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if parts.last().is_some_and(|last| last == "mod") {
        parts.pop();
    }
    parts
}

/// The source with comments, strings and character literals blanked; line breaks stay.
fn code_only(source: &str) -> String {
    let chars: Vec<char> = source.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let mut out = String::with_capacity(source.len());
    let mut i = 0;
    while i < chars.len() {
        let end = match (at(i), at(i + 1)) {
            ('/', '/') => (i..chars.len()).find(|&j| at(j) == '\n').unwrap_or(chars.len()),
            ('/', '*') => {
                let (mut depth, mut j) = (1, i + 2);
                while depth > 0 && j < chars.len() {
                    match (at(j), at(j + 1)) {
                        ('*', '/') => (depth, j) = (depth - 1, j + 2),
                        ('/', '*') => (depth, j) = (depth + 1, j + 2),
                        _ => j += 1,
                    }
                }
                j
            }
            ('r', '"' | '#') if i == 0 || !(at(i - 1).is_alphanumeric() || at(i - 1) == '_') => {
                let hashes = (i + 1..).take_while(|&j| at(j) == '#').count();
                if at(i + 1 + hashes) != '"' {
                    i + 1 // a raw identifier
                } else {
                    let close: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
                    let body = i + 2 + hashes;
                    (body..chars.len())
                        .find(|&j| chars[j..].starts_with(&close))
                        .map_or(chars.len(), |j| j + close.len())
                }
            }
            ('"', _) => {
                let mut j = i + 1;
                while j < chars.len() && at(j) != '"' {
                    j += if at(j) == '\\' { 2 } else { 1 };
                }
                j + 1
            }
            ('\'', '\\') => (i + 3..chars.len()).find(|&j| at(j) == '\'').map_or(chars.len(), |j| j + 1),
            ('\'', _) if at(i + 2) == '\'' => i + 3,
            _ => {
                out.push(at(i));
                i += 1;
                continue;
            }
        };
        out.extend(chars[i..end.min(chars.len())].iter().map(|&c| if c == '\n' { '\n' } else { ' ' }));
        i = end;
    }
    out
}

/// Identifiers and single punctuation marks, each with its line.
fn tokens(source: &str) -> Vec<(String, usize)> {
    let mut out: Vec<(String, usize)> = Vec::new();
    let mut line = 1;
    let mut word_open = false;
    for c in code_only(source).chars() {
        let is_word = c.is_alphanumeric() || c == '_';
        match out.last_mut() {
            Some((word, _)) if is_word && word_open => word.push(c),
            _ if !c.is_whitespace() => out.push((c.to_string(), line)),
            _ => {}
        }
        word_open = is_word;
        line += usize::from(c == '\n');
    }
    out
}

/// Every room that `source`, the file of module path `module`, names from the crate's root.
fn arrows(module: &[String], source: &str) -> Vec<Arrow> {
    let tokens = tokens(source);
    let word = |i: usize| tokens.get(i).map_or("", |(text, _)| text.as_str());
    let is_path = |i: usize| word(i) == ":" && word(i + 1) == ":";
    let mut out = Vec::new();
    let mut push = |i: usize| {
        if word(i).starts_with(|c: char| c.is_ascii_lowercase() || c == '_') && word(i) != "self" {
            out.push(Arrow { to: word(i).into(), line: tokens[i].1 });
        }
    };
    let mut depth = 0_usize;
    let mut i = 0;
    while i < tokens.len() {
        match word(i) {
            "{" => depth += 1,
            "}" => depth = depth.saturating_sub(1),
            _ => {}
        }
        // As many `super` as the file is deep also lead to the root (inside an inline module they don't).
        let supers = (0..).take_while(|n| word(i + 3 * n) == "super" && is_path(i + 3 * n + 1)).count();
        let after_root = if ["crate", "cyclegan"].contains(&word(i)) && is_path(i + 1) {
            Some(i + 3)
        } else if supers > 0 && depth == 0 && supers == module.len() {
            Some(i + 3 * supers)
        } else {
            None
        };
        if let Some(start) = after_root {
            if word(start) == "{" {
                let (mut nested, mut j) = (1, start + 1);
                push(j);
                while nested > 0 && j < tokens.len() {
                    match word(j) {
                        "{" => nested += 1,
                        "}" => nested -= 1,
                        "," if nested == 1 => push(j + 1),
                        _ => {}
                    }
                    j += 1;
                }
                i = j;
                continue;
            }
            push(start);
        }
        i += if supers > 0 { 3 * supers } else { 1 };
    }
    out
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("src/ can be read") {
        let path = entry.expect("src/ can be read").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// All objections to one file, as lines for people.
fn objections(file: &Path, source: &str) -> Vec<String> {
    arrows(&module_path(file), source)
        .into_iter()
        .filter_map(|arrow| Some(format!("src/{}:{}: {}", file.display(), arrow.line, objection(file, &arrow.to)?)))
        .collect()
}

#[test]
fn every_arrow_points_down() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut seen = 0;
    let mut found = Vec::new();
    for path in rust_files(&src) {
        let file = path.strip_prefix(&src).expect("it was found there").to_path_buf();
        if file == Path::new("lib.rs") {
            continue;
        }
        let source = fs::read_to_string(&path).expect("source files are text");
        seen += arrows(&module_path(&file), &source).len();
        found.extend(objections(&file, &source));
    }
    assert!(found.is_empty(), "{} arrows point the wrong way:\n{}", found.len(), found.join("\n"));
    assert!(seen > 0, "no path was read at all: the reader is broken");
}

#[test]
fn planted_arrows_are_found() {
    let planted = [
        ("model/mod.rs", "use crate::training::Trainer;"),
        ("loss.rs", "use crate::{\n    config::TrainConfig,\n    session::{Session, Stream},\n};"),
        ("data/sampler.rs", "fn f() { crate::session::run() }"),
        ("kernels/mod.rs", "use super::model::Generator;"),
        ("kernels/conv.rs", "use super::super::model::Generator;"),
        ("page/view.rs", "use crate::model::ResnetGenerator;"),
        ("page/view.rs", "use crate::error::Error;"),
        ("cli/mod.rs", "use crate::worker::start;"),
        ("bin/page.rs", "fn main() { cyclegan::worker::start() }"),
        ("attic.rs", "use crate::config::TrainConfig;"),
        ("model/mod.rs", "use crate::attic::Box;"),
    ];
    for (file, source) in planted {
        assert_eq!(objections(Path::new(file), source).len(), 1, "in {file}: {source}");
    }
}

#[test]
fn honest_code_passes() {
    let honest = [
        ("training/mod.rs", "use crate::{loss::{cycle, session_like}, model::init, config::*};"),
        (
            "model/mod.rs",
            "// use crate::session::X\n/* crate::cli */ const S: &str = \"crate::cli\"; const R: &str = r#\"\"crate::cli\"#;",
        ),
        ("model/mod.rs", "const QUOTE: char = '\"'; fn f<'a>(x: &'a str) {} mod tests { use super::layers; }"),
        ("training/config.rs", "use super::trainer::Trainer; use crate::config::TrainConfig;"),
        ("session.rs", "use crate::{translate, training};"),
        ("page/mod.rs", "use crate::protocol::Command; use crate::page::view;"),
        ("bin/worker.rs", "fn main() { cyclegan::worker::start() }"),
    ];
    for (file, source) in honest {
        assert_eq!(objections(Path::new(file), source), Vec::<String>::new(), "in {file}");
    }
}

#[test]
fn lines_are_counted() {
    let found = arrows(&["model".into()], "/* one\ntwo */\nuse crate::{\n    kernels::pad,\n    image,\n};\n");
    let arrow = |to: &str, line| Arrow { to: to.into(), line };
    assert_eq!(found, [arrow("kernels", 4), arrow("image", 5)]);
}
