//! `cyclegan evaluate`

use std::cell::RefCell;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use indicatif::ProgressBar;

use super::sheet::{Rows, sheet};
use super::translate::write_whole;
use super::{Choice, Console, ExitStatus, ModelFile, Serve};
use crate::data::UnpairedDataset;
use crate::evaluate::Scores;
use crate::image::Picture;
use crate::protocol::{Command, Direction, Envelope, Event, Input};

/// Compares a generator's pictures with the true ones of the held-out pairs (files of one name in
/// testA/ and testB/), and both with doing nothing.
///
/// Example: cyclegan evaluate --model static/models/flat-to-3d.safetensors --data static/data/emoji.zip
#[derive(clap::Args)]
pub struct Arguments {
    /// The generator's weight file, .safetensors or PyTorch's .pth; FILE:NAME for one network of several.
    #[arg(long, short)]
    model: ModelFile,
    /// A folder or zip with testA/ and testB/.
    #[arg(long)]
    data: PathBuf,
    /// What to compute on.
    #[arg(long, value_enum, default_value = "auto")]
    backend: Choice,
    /// Write a picture of triples input / translated / true to this PNG file.
    #[arg(long)]
    grid: Option<PathBuf>,
    /// Triples on that picture.
    #[arg(long, default_value_t = 20)]
    grid_rows: usize,
    /// Print JSON for machines.
    #[arg(long)]
    json: bool,
}

/// # Errors
/// When the model or the data cannot be used, or there are no pairs.
pub fn run(arguments: &Arguments, serve: Serve) -> Result<ExitStatus> {
    let (file, part) = (arguments.model.to_string(), arguments.model.part.clone());
    let bytes = arguments.model.bytes()?;
    let direction = arguments.model.network()?.direction().unwrap_or(Direction::AtoB);
    let dataset = if arguments.data.is_dir() {
        UnpairedDataset::from_folder(&arguments.data)?
    } else {
        let name = arguments.data.display();
        UnpairedDataset::from_zip(std::fs::read(&arguments.data).with_context(|| format!("cannot read {name}"))?)?
    };
    let (mut inputs, mut truths) = (Vec::new(), Vec::new());
    for (a, b) in dataset.test_pairs() {
        let (a, b) = (a.picture()?, b.picture()?);
        let (input, truth) = if direction == Direction::AtoB { (a, b) } else { (b, a) };
        inputs.push(input);
        truths.push(truth);
    }
    if inputs.is_empty() {
        bail!("{} has no held-out pairs: files of one name in testA and testB", arguments.data.display());
    }

    let produced = RefCell::new(vec![None; inputs.len()]);
    let failure = RefCell::new(None);
    let bar = ProgressBar::new(inputs.len() as u64);
    let load = Envelope::with(Command::LoadModel { model: "model".into(), file, part }, vec![bytes]);
    let translations = inputs.iter().enumerate().map(|(job, picture)| {
        let Picture { width, height, pixels } = picture.clone();
        let (job, input) = (job as u32, Input::Pixels { width, height });
        Envelope::with(Command::Translate { job, model: "model".into(), input, max_side: None }, vec![pixels])
    });
    let console = Console::new(std::iter::once(load).chain(translations), |envelope| match envelope.message {
        Event::Translated { job, width, height, .. } => {
            let pixels = envelope.buffers.into_iter().nth(1).unwrap_or_default();
            produced.borrow_mut()[job as usize] = Some(Picture { width, height, pixels });
            bar.inc(1);
        }
        Event::Failed { message, .. } => {
            failure.borrow_mut().get_or_insert(message);
        }
        _ => {}
    });
    serve(arguments.backend, &console)?;
    drop(console);
    bar.finish_and_clear();
    if let Some(message) = failure.into_inner() {
        bail!(message);
    }
    let produced: Option<Vec<Picture>> = produced.into_inner().into_iter().collect();
    let produced = produced.context("some pictures were not translated")?;

    let ours = Scores::of(&produced, &truths, 0)?;
    let nothing = Scores::of(&inputs, &truths, 0)?;
    if arguments.json {
        println!("{}", serde_json::json!({ "pairs": inputs.len(), "translated": ours, "doing_nothing": nothing }));
    } else {
        println!("{} held-out pairs, {}", inputs.len(), direction.as_str());
        println!("{:15}{:>26}{:>28}{:>10}", "", "SSIM (95 %)", "PSNR dB (95 %)", "SWD");
        for (name, Scores { ssim, psnr, sliced_wasserstein, .. }) in [("translated", ours), ("doing nothing", nothing)]
        {
            let (ssim, psnr) = (format!("{ssim:.3}"), format!("{psnr:.2}"));
            println!("{name:15}{ssim:>26}{psnr:>28}{sliced_wasserstein:>10.4}");
        }
    }
    if let Some(path) = &arguments.grid {
        let count = arguments.grid_rows.min(inputs.len());
        // Evenly spread over the set: nobody chose them.
        let chosen: Vec<usize> = (0..count).map(|index| index * inputs.len() / count).collect();
        let of = |pictures: &[Picture]| chosen.iter().map(|index| pictures[*index].clone()).collect();
        let picture = sheet(Rows { columns: vec![of(&inputs), of(&produced), of(&truths)], groups: 2 });
        write_whole(path, &picture.encode_png()?)?;
    }
    Ok(ExitStatus::Done)
}
