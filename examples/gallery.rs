//! Renders what the page's gallery shows with the weights that are there: for every model in static/models/models.json
//! its `picture` from its `before`, and, where it lists `failures`, a sheet of them (left the photo, right what became of
//! it) as static/models/ID-failures.jpg, for its card to show with `![What it fails at](ID-failures.jpg)`.
//!
//! `make gallery`, after weights, samples or the list have changed.

use std::error::Error;
use std::ops::ControlFlow;
use std::path::Path;

use burn::backend::Flex;
use cyclegan::image::Picture;
use cyclegan::model::Generator;
use cyclegan::protocol::Size;
use cyclegan::translate::{Budget, Watcher, translate_at};
use cyclegan::weights::WeightFile;
use cyclegan::weights::networks::load_generator;
use serde::Deserialize;

/// Width of a picture on a sheet of failures, in pixels.
const CELL: u32 = 320;

/// What of an entry of the list matters here. Addresses are relative to the repository, as to the page.
#[derive(Deserialize)]
struct Entry {
    id: String,
    file: String,
    before: Option<String>,
    picture: Option<String>,
    #[serde(default)]
    failures: Vec<String>,
}

struct Patient;

impl Watcher for Patient {
    async fn progress(&self, _fraction: f32) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

struct Model {
    generator: Generator<Flex>,
    ngf: usize,
    side: Option<u32>,
}

impl Model {
    fn load(file: &str) -> Result<Self, Box<dyn Error>> {
        let file = WeightFile::read_from(Path::new(file))?.network(None)?;
        let (ngf, _) = file.generator()?.generator_size().ok_or("no generator")?;
        let side = Size::Model.side(file.info().size);
        Ok(Self { generator: load_generator(file, &Default::default())?, ngf, side })
    }

    fn translate(&self, address: &str) -> Result<[Picture; 2], Box<dyn Error>> {
        let before = Picture::decode(&std::fs::read(address)?)?;
        let budget = Budget { total: 4 << 30, tensor: 4 << 30, maps: 3.0 };
        let Self { generator, ngf, side } = self;
        let device = Default::default();
        let after = translate_at(generator, *ngf, &before, *side, &device, budget, &Patient);
        let (after, _) = pollster::block_on(after)?;
        Ok([before, after])
    }
}

fn write(picture: &Picture, address: &str) -> Result<(), Box<dyn Error>> {
    let bytes = if address.ends_with(".png") { picture.encode_png()? } else { picture.encode_jpeg()? };
    println!("{address}: {}×{}, {} kB", picture.width, picture.height, bytes.len() / 1000);
    Ok(std::fs::write(address, bytes)?)
}

/// Pairs below each other, each as wide as [`CELL`] on either side.
fn sheet(pairs: &[[Picture; 2]]) -> Picture {
    let cells = |pair: &[Picture; 2]| {
        let height = CELL * pair[0].height / pair[0].width.max(1);
        pair.each_ref().map(|picture| picture.resize(CELL, height).laid_on_white())
    };
    let mut pixels = Vec::new();
    for [before, after] in pairs.iter().map(cells) {
        let row = 4 * CELL as usize;
        for (left, right) in before.pixels.chunks_exact(row).zip(after.pixels.chunks_exact(row)) {
            pixels.extend_from_slice(left);
            pixels.extend_from_slice(right);
        }
    }
    let width = 2 * CELL;
    Picture { width, height: (pixels.len() / (4 * width as usize)) as u32, pixels }
}

fn main() -> Result<(), Box<dyn Error>> {
    let list = std::env::args().nth(1).unwrap_or("static/models/models.json".into());
    let entries: Vec<Entry> = serde_json::from_slice(&std::fs::read(list)?)?;
    for entry in entries {
        let model = Model::load(&entry.file)?;
        if let (Some(before), Some(picture)) = (&entry.before, &entry.picture) {
            write(&model.translate(before)?[1], picture)?;
        }
        let failures: Result<Vec<_>, _> = entry.failures.iter().map(|address| model.translate(address)).collect();
        let failures = failures?;
        if !failures.is_empty() {
            write(&sheet(&failures), &format!("static/models/{}-failures.jpg", entry.id))?;
        }
    }
    Ok(())
}
