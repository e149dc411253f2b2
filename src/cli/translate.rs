//! `cyclegan translate`

use std::cell::Cell;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};

use super::{Choice, Console, ExitStatus, ModelFile, Serve};
use crate::image::Picture;
use crate::platform::files;
use crate::protocol::{Command, Envelope, Event, Input};

/// The session's name for the only model.
const MODEL: &str = "model";

const EXTENSIONS: [&str; 8] = ["jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff"];

/// Translates image files, folders of them, or globs. A file that cannot be translated is
/// reported and the others are done; the exit status is then 1.
///
/// Example: cyclegan translate --model horse-to-zebra.safetensors photos/ --out zebras/
#[derive(clap::Args)]
pub struct Arguments {
    /// The generator's weight file, .safetensors or PyTorch's .pth; FILE:NAME for one network of several.
    #[arg(long, short)]
    model: ModelFile,
    /// Images, folders of images, or globs such as 'photos/*.jpg'.
    #[arg(required = true)]
    inputs: Vec<String>,
    /// A folder for the results (each keeps its name, as PNG), or for one image a .png file.
    #[arg(long, short)]
    out: PathBuf,
    /// What to compute on.
    #[arg(long, value_enum, default_value = "auto")]
    backend: Choice,
    /// Shrink images whose longer side has more pixels than this.
    #[arg(long = "max-size", value_name = "PIXELS")]
    max_side: Option<u32>,
    /// Take at most so much memory in all; large images are then computed in bands of rows, to the same result
    /// [default: four fifths of what is free]
    #[arg(long, value_name = "MEGABYTES")]
    memory: Option<u64>,
    /// Print one JSON line an image on stdout.
    #[arg(long)]
    json: bool,
}

/// The image files that the arguments name, each once, in order.
fn expand(inputs: &[String]) -> Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = Vec::new();
    for input in inputs {
        let path = Path::new(input);
        if path.is_dir() {
            let entries = std::fs::read_dir(path).with_context(|| format!("cannot read the folder {input}"))?;
            let mut inside: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
            inside.retain(|file| {
                let extension = file.extension().map(|extension| extension.to_string_lossy().to_lowercase());
                extension.is_some_and(|extension| EXTENSIONS.contains(&extension.as_str()))
            });
            inside.sort();
            if inside.is_empty() {
                bail!("there are no images in the folder {input}");
            }
            files.extend(inside);
        } else if path.exists() || !input.contains(['*', '?', '[']) {
            files.push(path.to_owned());
        } else {
            let before = files.len();
            files.extend(glob::glob(input).with_context(|| format!("{input} is no pattern"))?.filter_map(Result::ok));
            if files.len() == before {
                bail!("nothing matches {input}");
            }
        }
    }
    let mut seen = std::collections::HashSet::new();
    files.retain(|file| seen.insert(file.clone()));
    Ok(files)
}

/// Where each result goes. Two inputs of one name in different folders get numbers.
fn targets(files: &[PathBuf], out: &Path) -> Result<Vec<PathBuf>> {
    let is_png = out.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("png"));
    if is_png && !out.is_dir() {
        if files.len() > 1 {
            bail!("{} is one file, but there are {} images: give a folder", out.display(), files.len());
        }
        return Ok(vec![out.to_owned()]);
    }
    std::fs::create_dir_all(out).with_context(|| format!("cannot make the folder {}", out.display()))?;
    let mut taken = std::collections::HashSet::new();
    let named = files.iter().map(|file| {
        let stem = file.file_stem().map_or("image".into(), |stem| stem.to_string_lossy().into_owned());
        let numbered = (1..).map(|n| if n == 1 { format!("{stem}.png") } else { format!("{stem}-{n}.png") });
        let free = numbered.into_iter().find(|name| taken.insert(name.clone()));
        out.join(free.unwrap_or_default())
    });
    Ok(named.collect())
}

/// [`files::replace`] with the path in its error.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    files::replace(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

/// # Errors
/// When nothing can be translated at all: no model, no images, nowhere to write.
pub fn run(arguments: Arguments, serve: Serve) -> Result<ExitStatus> {
    let (model_file, part) = (arguments.model.to_string(), arguments.model.part.clone());
    let weights = arguments.model.bytes()?;
    let files = expand(&arguments.inputs)?;
    let targets = targets(&files, &arguments.out)?;

    let bar = ProgressBar::new(100 * files.len() as u64).with_style(
        ProgressStyle::with_template("{bar:40} {percent}%  {msg}  {eta} left")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    // Counted by the reader of files and by the listener to events.
    let failures = Cell::new(0usize);
    let complain = |message: &str| {
        failures.set(failures.get() + 1);
        bar.suspend(|| eprintln!("{message}"));
    };
    let mut no_model = None;
    let load = Envelope::with(Command::LoadModel { model: MODEL.into(), file: model_file, part }, vec![weights]);
    let translations = files.iter().enumerate().filter_map(|(job, file)| {
        let name = file.display().to_string();
        let bytes = std::fs::read(file).map_err(|error| complain(&format!("{name}: {error}"))).ok()?;
        let (job, input, max_side) = (job as u32, Input::File { name }, arguments.max_side);
        Some(Envelope::with(Command::Translate { job, model: MODEL.into(), input, max_side }, vec![bytes]))
    });
    let console = Console::new(std::iter::once(load).chain(translations), |envelope| match envelope.message {
        Event::Progress { job, fraction, .. } => {
            bar.set_message(files[job as usize].display().to_string());
            bar.set_position(100 * u64::from(job) + (100.0 * fraction) as u64);
        }
        Event::Translated { job, width, height, milliseconds, device, .. } => {
            let [_, pixels] = <[Vec<u8>; 2]>::try_from(envelope.buffers).unwrap_or_default();
            let target = &targets[job as usize];
            let picture = Picture { width, height, pixels };
            let written = picture.encode_png().map_err(anyhow::Error::from).and_then(|png| write_whole(target, &png));
            if let Err(error) = written {
                return complain(&format!("{error:#}"));
            }
            let (input, output) = (files[job as usize].display().to_string(), target.display().to_string());
            bar.suspend(|| {
                if arguments.json {
                    let line = serde_json::json!({
                        "input": input, "output": output, "width": width, "height": height,
                        "milliseconds": milliseconds, "device": device,
                    });
                    println!("{line}");
                } else {
                    println!("{output}");
                }
            });
        }
        Event::TooLarge { job, width, height, needed, limit, largest_side } => {
            complain(&format!(
                "{}: translating {width}×{height} pixels would take {} MB and {} MB may be used; try --max-size {largest_side}",
                files[job as usize].display(),
                needed >> 20,
                limit >> 20,
            ));
        }
        Event::Failed { model: Some(_), message, .. } | Event::Several { message, .. } => no_model = Some(message),
        Event::Failed { message, .. } if no_model.is_none() => complain(&message),
        _ => {}
    })
    .within(arguments.memory.map(|megabytes| megabytes << 20));
    serve(arguments.backend, &console)?;
    drop(console);
    bar.finish_and_clear();
    match no_model {
        Some(message) => bail!(message),
        None if failures.get() > 0 => Ok(ExitStatus::Incomplete),
        None => Ok(ExitStatus::Done),
    }
}
