//! `cyclegan evaluate`

use std::cell::RefCell;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use burn::backend::Flex;
use indicatif::ProgressBar;

use super::sheet::{Rows, sheet};
use super::translate::write_whole;
use super::{Choice, Console, ExitStatus, ModelFile, Serve};
use crate::data::{Source, UnpairedDataset};
use crate::evaluate::{
    EXTRACTOR, Extractor, FeatureReport, GridEnergy, Interval, KernelDistances, PairedDistance, Report, Sample, Scores,
};
use crate::image::Picture;
use crate::protocol::{Command, Direction, Envelope, Event, Input, Size};

/// The session's name for the generator.
const MODEL: &str = "model";
/// The session's name for the one that leads back.
const BACK: &str = "back";

/// Said wherever distances between features are told.
const NOT_COMPARABLE: &str = "not comparable with published FID, KID or LPIPS, which have other networks";

/// Rows of the grid in one group of columns.
const ROWS_OF_A_GROUP: usize = 10;

/// Measures a generator on the held-out pictures of testA/ and testB/: whether its pictures look like the other set,
/// what of a picture survives the way there and back, and, where files of one name show the same thing, how near it
/// comes to the truth. All of it beside doing nothing, and with 95 % confidence intervals over the pictures.
///
/// Two measures look with a network that recognises things, the first stages of EfficientNet-Lite0: the kernel distance
/// (KID) between sets, and a distance between pictures (LPIPS with equal weights). They are comparable with each other,
/// not with published FID, KID or LPIPS, which have other networks.
///
/// Example: cyclegan evaluate --model horse-to-zebra.safetensors --back zebra-to-horse.safetensors --data horse2zebra
/// --grid grid.png
#[derive(clap::Args)]
pub struct Arguments {
    /// The generator's weight file, .safetensors, PyTorch's .pth or .onnx; FILE:NAME for one network of several.
    #[arg(long, short)]
    model: ModelFile,
    /// The generator of the other direction, for the way there and back.
    #[arg(long)]
    back: Option<ModelFile>,
    /// A folder or zip with testA/ and testB/.
    #[arg(long)]
    data: PathBuf,
    /// Use at most so many pictures of each folder, evenly spread over the names.
    #[arg(long, value_name = "PICTURES")]
    limit: Option<NonZeroUsize>,
    /// Shrink pictures whose longer side has more pixels than this [default: the size the model was trained at].
    #[arg(long = "max-size", value_name = "PIXELS")]
    max_side: Option<u32>,
    /// Files of one name in testA/ and testB/ have nothing to do with each other.
    #[arg(long)]
    unpaired: bool,
    /// What to compute on.
    #[arg(long, value_enum, default_value = "auto")]
    backend: Choice,
    /// Write input, translation, reconstruction (with --back) and truth (with pairs) side by side to this PNG file.
    #[arg(long, value_name = "FILE")]
    grid: Option<PathBuf>,
    /// Pictures on the grid, evenly spread over the names.
    #[arg(long, default_value_t = 40)]
    grid_rows: usize,
    /// Print JSON for machines, or write it to a file.
    #[arg(long, value_name = "FILE", num_args = 0..=1)]
    json: Option<Option<PathBuf>>,
}

/// # Errors
/// When a model or the data cannot be used, or there are no held-out pictures.
pub fn run(arguments: &Arguments, serve: Serve) -> Result<ExitStatus> {
    let network = arguments.model.network()?;
    let direction = network.direction().unwrap_or(Direction::AtoB);
    if let Some(back) = &arguments.back
        && back.network()?.direction() == Some(direction)
    {
        let (model, way) = (&arguments.model, direction.as_str());
        bail!("{model} and {back} translate the same way ({way}): --back wants the generator of the other direction");
    }
    let trained_at = Some(network.info().size).filter(|size| *size > 0);
    drop(network);
    let max_side = arguments.max_side.or(trained_at);
    let mut sample = held_out(arguments, direction, max_side.unwrap_or(u32::MAX))?;
    translate(arguments, &mut sample, serve)?;
    let report = sample.measure(0)?;
    let features = look(&sample)?;
    match &arguments.json {
        None => print(&report, &features, &sample, direction, max_side),
        Some(file) => {
            let mut json = serde_json::to_value(report)?;
            json["features"] = serde_json::to_value(features)?;
            json["features"]["extractor"] = EXTRACTOR.into();
            json["features"]["note"] = NOT_COMPARABLE.into();
            json["direction"] = direction.as_str().into();
            json["inputs"] = sample.inputs.len().into();
            json["real"] = sample.real.len().into();
            json["max_side"] = max_side.into();
            let text = serde_json::to_string_pretty(&json)?;
            match file {
                Some(file) => write_whole(file, format!("{text}\n").as_bytes())?,
                None => println!("{text}"),
            }
        }
    }
    if let Some(path) = &arguments.grid {
        write_whole(path, &grid(&sample, arguments.grid_rows).encode_png()?)?;
    }
    Ok(ExitStatus::Done)
}

/// `count` positions of `0..length`, evenly spread: nobody chose them.
fn spread(length: usize, count: usize) -> impl Iterator<Item = usize> {
    let count = count.min(length);
    (0..count).map(move |index| index * length / count)
}

/// The held-out pictures, before anything is translated.
fn held_out(arguments: &Arguments, direction: Direction, max_side: u32) -> Result<Sample> {
    let name = arguments.data.display();
    let dataset = if arguments.data.is_dir() {
        UnpairedDataset::held_out_from_folder(&arguments.data)?
    } else {
        UnpairedDataset::held_out_from_zip(
            std::fs::read(&arguments.data).with_context(|| format!("cannot read {name}"))?,
        )?
    };
    for (pile, folder) in [(&dataset.test_a, "testA"), (&dataset.test_b, "testB")] {
        if pile.is_empty() {
            bail!("{name} has no held-out pictures: put some that are not trained on into {folder}");
        }
    }
    let (inputs, real) = match direction {
        Direction::AtoB => (&dataset.test_a, &dataset.test_b),
        Direction::BtoA => (&dataset.test_b, &dataset.test_a),
    };
    let limit = arguments.limit.map_or(usize::MAX, NonZeroUsize::get);
    let chosen = |pile: &'_ [Source]| spread(pile.len(), limit).map(|at| pile[at].clone()).collect::<Vec<_>>();
    let (inputs, real) = (chosen(inputs), chosen(real));
    let pairs = inputs.iter().enumerate().filter(|_| !arguments.unpaired);
    let pairs = pairs.filter_map(|(a, input)| Some((a, real.iter().position(|b| b.stem() == input.stem())?)));
    let pairs = pairs.collect();
    let decoded = |pile: &[Source]| -> Result<Vec<Picture>> {
        pile.iter().map(|source| Ok(source.picture()?.shrink_to(max_side))).collect()
    };
    let sample = Sample { inputs: decoded(&inputs)?, real: decoded(&real)?, pairs, ..Sample::default() };
    for &(a, b) in &sample.pairs {
        let [input, truth] = [&sample.inputs[a], &sample.real[b]].map(|picture| (picture.width, picture.height));
        if input != truth {
            let (one, other) = (&inputs[a].name, &real[b].name);
            bail!("{one} and {other} have one name but different sizes: if they are no pairs, add --unpaired");
        }
    }
    Ok(sample)
}

/// Fills in what the generators make of the pictures.
fn translate(arguments: &Arguments, sample: &mut Sample, serve: Serve) -> Result<()> {
    let mut loads = Vec::new();
    for (name, file) in [(MODEL, Some(&arguments.model)), (BACK, arguments.back.as_ref())] {
        let Some(file) = file else { continue };
        loads.push(file.load(name)?);
    }
    let Sample { inputs, real, .. } = &*sample;
    let (there, back) = (inputs.len() + real.len(), if arguments.back.is_some() { inputs.len() } else { 0 });
    let produced = RefCell::new(vec![None; there + back]);
    let failure = RefCell::new(None);
    let bar = ProgressBar::new((there + back) as u64);
    let job = |job: usize, model: &str, picture: Picture| {
        let Picture { width, height, pixels } = picture;
        let (job, model, input) = (job as u32, model.into(), Input::Pixels { width, height });
        let size = Size::Full;
        Envelope::with(Command::Translate { job, model, input, max_side: None, size }, vec![pixels])
    };
    let forward = inputs.iter().chain(real).enumerate().map(|(at, picture)| job(at, MODEL, picture.clone()));
    // Asked for when all of the way there is done.
    let backward = (0..back).filter_map(|at| Some(job(there + at, BACK, produced.borrow()[at].clone()?)));
    let console = Console::new(loads.into_iter().chain(forward).chain(backward), |envelope| match envelope.message {
        Event::Translated { job, width, height, .. } => {
            let pixels = envelope.buffers.into_iter().nth(1).unwrap_or_default();
            produced.borrow_mut()[job as usize] = Some(Picture { width, height, pixels });
            bar.inc(1);
        }
        Event::TooLarge { width, height, needed, limit, largest_side, .. } => {
            failure.borrow_mut().get_or_insert(format!(
                "translating {width}×{height} pixels would take {} MB and {} MB may be used; try --max-size {largest_side}",
                needed >> 20,
                limit >> 20,
            ));
        }
        Event::Failed { message, .. } | Event::Several { message, .. } => {
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
    let mut translated = produced.context("some pictures were not translated")?;
    sample.reconstructed = translated.split_off(there);
    sample.identity = translated.split_off(sample.inputs.len());
    sample.translated = translated;
    Ok(())
}

/// What the network that the project ships sees in them, computed on the processor: the same on every machine.
fn look(sample: &Sample) -> Result<FeatureReport> {
    let weights = include_bytes!("../evaluate/efficientnet-lite0/features.safetensors");
    let extractor = Extractor::<Flex>::read(weights, &Default::default())?;
    let bar = ProgressBar::new(sample.looks() as u64);
    let report = pollster::block_on(sample.measure_features(&extractor, 0, || bar.inc(1)))?;
    bar.finish_and_clear();
    Ok(report)
}

fn print(report: &Report, features: &FeatureReport, sample: &Sample, direction: Direction, max_side: Option<u32>) {
    let size = max_side.map_or(String::new(), |side| format!(", at most {side} pixels a side"));
    let (inputs, real) = (sample.inputs.len(), sample.real.len());
    println!("{inputs} held-out pictures, {}, against {real} real ones{size}", direction.as_str());
    let distances = report.sliced_wasserstein;
    let told = |interval: Interval, digits: usize| format!("{:>26}", format!("{interval:.digits$}"));
    let sure = |value: f64, interval: Option<Interval>| match interval {
        Some(interval) => told(interval, 4),
        None => format!("{value:>8.4}"),
    };
    println!("\npatch sliced Wasserstein distance to the real set (95 %; lower is better)");
    println!("{:26}{}", "translated", sure(distances.translated, distances.translated_interval));
    println!("{:26}{}", "doing nothing", sure(distances.doing_nothing, distances.doing_nothing_interval));
    if let Some(halves) = distances.two_halves {
        println!("{:26}{halves:>8.4}", "two halves of the real set");
    }
    if let Some(KernelDistances { translated, doing_nothing, two_halves }) = features.kernel_distance {
        println!("\nkernel distance (KID) to the real set (95 %; lower is better)");
        println!("{:26} {}", "translated", told(translated, 2));
        println!("{:26} {}", "doing nothing", told(doing_nothing, 2));
        if let Some(halves) = two_halves {
            println!("{:26} {}", "two halves of the real set", told(halves, 2));
        }
    }
    if let Some(PairedDistance { translated, doing_nothing }) = features.paired_distance {
        println!("\nfeature distance to the truth, LPIPS with equal weights (95 %; lower is better)");
        println!("{:26} {}", "translated", told(translated, 4));
        println!("{:26} {}", "doing nothing", told(doing_nothing, 4));
    }
    if features.kernel_distance.is_some() || features.paired_distance.is_some() {
        println!("features of {EXTRACTOR}; {NOT_COMPARABLE}");
    }
    if let Some(GridEnergy { translated, doing_nothing }) = report.grid_energy {
        println!("\ngrid energy, periods of 2 and 4 pixels, over the real set's (1 is no grid)");
        println!("{:26}{translated:>8.2}", "translated");
        println!("{:26}{doing_nothing:>8.2}", "doing nothing");
    }
    println!("\n{:26}{:>8}{:>26}{:>26}{:>26}", "", "pictures", "SSIM (95 %)", "PSNR dB (95 %)", "L1 of 255 (95 %)");
    let paired = report.paired;
    let rows = [
        ("translated / truth", paired.map(|paired| paired.translated)),
        ("doing nothing / truth", paired.map(|paired| paired.doing_nothing)),
        ("there and back / input", report.cycle),
        ("real ones left alone", report.identity),
    ];
    for (name, scores) in rows {
        let Some(Scores { pictures, ssim, psnr, l1 }) = scores else { continue };
        let (ssim, psnr, l1) = (format!("{ssim:.3}"), format!("{psnr:.2}"), format!("{l1:.2}"));
        println!("{name:26}{pictures:>8}{ssim:>26}{psnr:>26}{l1:>26}");
    }
}

fn grid(sample: &Sample, rows: usize) -> Picture {
    let chosen: Vec<usize> = spread(sample.inputs.len(), rows).collect();
    let of = |pictures: &[Picture]| chosen.iter().filter_map(|at| pictures.get(*at).cloned()).collect::<Vec<_>>();
    let truth = |at: &usize| sample.pairs.iter().find(|(a, _)| a == at).map(|&(_, b)| sample.real[b].clone());
    let mut columns = vec![of(&sample.inputs), of(&sample.translated), of(&sample.reconstructed)];
    // A column with holes would stand beside the wrong rows.
    columns.push(chosen.iter().map(truth).collect::<Option<_>>().unwrap_or_default());
    columns.retain(|column| !column.is_empty());
    sheet(Rows { columns, groups: chosen.len().div_ceil(ROWS_OF_A_GROUP) })
}
