//! `cyclegan translate`

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};

use super::clip::Clip;
use super::{Choice, Console, ExitStatus, ModelFile, Serve};
use crate::image::{Animation, Picture};
use crate::platform::files;
use crate::protocol::{Command, Envelope, Event, Input, SMALLEST_SIDE, Size};

/// The session's name for the only model.
const MODEL: &str = "model";

const EXTENSIONS: [&str; 8] = ["jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff"];

/// Translates image files, folders of them, or globs. A file that cannot be translated is
/// reported and the others are done; the exit status is then 1.
///
/// Animations are translated frame by frame and keep their delays: a GIF becomes a GIF, an animated WebP or PNG an
/// animated PNG. So are videos (.mp4, .m4v, .mov, .mkv, .webm, .avi; named or by a glob, not from folders) where ffmpeg
/// is on the PATH; they keep their ending and their sound.
///
/// A network knows things at the size at which it was shown them. Larger pictures are therefore computed at a longer
/// side of twice the training's (its own for networks trained at 64 pixels or less) and brought back to their own size;
/// --size chooses another one.
///
/// Example: cyclegan translate --model horse-to-zebra.safetensors photos/ --out zebras/
#[derive(clap::Args)]
pub struct Arguments {
    /// The generator's weight file, .safetensors or PyTorch's .pth; FILE:NAME for one network of several.
    #[arg(long, short)]
    model: ModelFile,
    /// Images, videos, folders of images, or globs such as 'photos/*.jpg'.
    #[arg(required = true)]
    inputs: Vec<String>,
    /// A folder for the results (each keeps its name; stills become PNG), or for one input a .png, .jpg, .gif or video
    /// file.
    #[arg(long, short)]
    out: PathBuf,
    /// What to compute on.
    #[arg(long, value_enum, default_value = "auto")]
    backend: Choice,
    /// Shrink images whose longer side has more pixels than this.
    #[arg(long = "max-size", value_name = "PIXELS")]
    max_side: Option<u32>,
    /// Compute at the longer side that suits the model, at so many pixels, or at the picture's own size; the result has
    /// the picture's own size in any case.
    #[arg(long, value_name = "model|PIXELS|full", value_parser = parse_size, default_value = "model")]
    size: Size,
    /// How much of the translation to show, 0 to 1; the rest is the original.
    #[arg(long, value_name = "0..1", value_parser = parse_strength, default_value_t = 1.0)]
    strength: f32,
    /// Take at most so much memory in all; large images are then computed in bands of rows, to the same result
    /// [default: four fifths of what is free]
    #[arg(long, value_name = "MEGABYTES")]
    memory: Option<u64>,
    /// Print one JSON line an image on stdout.
    #[arg(long)]
    json: bool,
}

fn parse_size(text: &str) -> Result<Size, String> {
    match text {
        "model" => Ok(Size::Model),
        "full" => Ok(Size::Full),
        side => match side.parse() {
            Ok(side) if side >= SMALLEST_SIDE => Ok(Size::Side(side)),
            _ => Err(format!("it is model, full, or a number of pixels from {SMALLEST_SIDE} on")),
        },
    }
}

fn parse_strength(text: &str) -> Result<f32, String> {
    text.parse::<f32>()
        .ok()
        .filter(|strength| (0.0..=1.0).contains(strength))
        .ok_or("it is a number from 0 to 1".into())
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

/// Where a result goes.
enum Target {
    /// Exactly there.
    File(PathBuf),
    /// There, with the ending of what it becomes.
    Stem(PathBuf),
}

impl Target {
    fn with(&self, extension: &str) -> PathBuf {
        match self {
            Self::File(path) => path.clone(),
            // A stem may have dots of its own.
            Self::Stem(path) => {
                let mut path = path.clone().into_os_string();
                path.push(".");
                path.push(extension);
                path.into()
            }
        }
    }

    /// Writes a still picture; returns where.
    fn write_still(&self, picture: &Picture) -> Result<PathBuf> {
        let path = self.with("png");
        let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        let bytes = match extension.as_str() {
            "png" => picture.encode_png()?,
            "jpg" | "jpeg" => picture.encode_jpeg()?,
            _ => bail!("a still picture is written as .png or .jpg, not as {}", path.display()),
        };
        write_whole(&path, &bytes)?;
        Ok(path)
    }
}

/// Where each result goes. Two inputs of one name in different folders get numbers.
fn targets(files: &[PathBuf], out: &Path) -> Result<Vec<Target>> {
    let is_picture = out.extension().is_some_and(|extension| {
        ["png", "jpg", "jpeg", "gif"].iter().any(|picture| extension.eq_ignore_ascii_case(picture))
    });
    if (is_picture || Clip::is_video(out)) && !out.is_dir() {
        if files.len() > 1 {
            bail!("{} is one file, but there are {} images: give a folder", out.display(), files.len());
        }
        return Ok(vec![Target::File(out.to_owned())]);
    }
    std::fs::create_dir_all(out).with_context(|| format!("cannot make the folder {}", out.display()))?;
    let mut taken = std::collections::HashSet::new();
    let named = files.iter().map(|file| {
        let stem = file.file_stem().map_or("image".into(), |stem| stem.to_string_lossy().into_owned());
        let numbered = (1..).map(|n| if n == 1 { stem.clone() } else { format!("{stem}-{n}") });
        let free = numbered.into_iter().find(|name| taken.insert(name.clone()));
        Target::Stem(out.join(free.unwrap_or_default()))
    });
    Ok(named.collect())
}

/// [`files::replace`] with the path in its error.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    files::replace(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

/// What is being translated.
#[derive(Default)]
struct Current {
    /// `None` for a still picture.
    clip: Option<Clip>,
    /// Translated so far.
    frames: u32,
    /// Of the generator alone.
    milliseconds: f64,
    size: (u32, u32),
    /// At which the generator computed.
    computed: [u32; 2],
    device: String,
}

/// One run of the command: files become commands, events become files.
struct Run<'a> {
    arguments: &'a Arguments,
    files: &'a [PathBuf],
    targets: &'a [Target],
    bar: ProgressBar,
    failures: Cell<usize>,
    has_mentioned: Cell<bool>,
    current: RefCell<Current>,
}

/// How a result was made.
struct Made {
    /// Of the generator alone.
    milliseconds: f64,
    /// Width and height at which it computed.
    computed: [u32; 2],
    /// On what.
    device: String,
}

impl Run<'_> {
    fn complain(&self, message: &str) {
        self.failures.set(self.failures.get() + 1);
        self.bar.suspend(|| eprintln!("{message}"));
    }

    /// The command for a file, or for the first frame of a clip.
    fn open(&self, file: usize) -> Option<Envelope<Command>> {
        self.bar.set_position(100 * file as u64);
        let path = &self.files[file];
        self.bar.set_message(path.display().to_string());
        *self.current.borrow_mut() = Current::default();
        let opened = || -> Result<Result<Clip, Vec<u8>>> {
            if Clip::is_video(path) {
                let extension = path.extension().unwrap_or_default().to_string_lossy().into_owned();
                return Ok(Ok(Clip::video(path, &self.targets[file].with(&extension))?));
            }
            let bytes = std::fs::read(path)?;
            match Animation::open(&bytes)? {
                Some(animation) => {
                    let target = self.targets[file].with(animation.best_format().extension());
                    Ok(Ok(Clip::animation(animation, target)?))
                }
                None => Ok(Err(bytes)),
            }
        };
        match opened() {
            Ok(Err(bytes)) => {
                let input = Input::File { name: path.display().to_string() };
                Some(self.command(file, input, bytes))
            }
            Ok(Ok(clip)) => {
                self.current.borrow_mut().clip = Some(clip);
                self.next_frame(file)
            }
            Err(error) => {
                self.complain(&format!("{}: {error:#}", path.display()));
                None
            }
        }
    }

    /// The command for the next frame; `None` when the clip is done or was given up.
    fn next_frame(&self, file: usize) -> Option<Envelope<Command>> {
        let mut current = self.current.borrow_mut();
        match current.clip.as_mut()?.next() {
            Ok(Some(Picture { width, height, pixels })) => {
                Some(self.command(file, Input::Pixels { width, height }, pixels))
            }
            Ok(None) => None,
            Err(error) => {
                current.clip = None;
                self.complain(&format!("{}: {error:#}", self.files[file].display()));
                None
            }
        }
    }

    fn command(&self, file: usize, input: Input, bytes: Vec<u8>) -> Envelope<Command> {
        let (job, Arguments { max_side, size, .. }) = (file as u32, self.arguments);
        let (max_side, size) = (*max_side, *size);
        Envelope::with(Command::Translate { job, model: MODEL.into(), input, max_side, size }, vec![bytes])
    }

    /// A translated picture has come back.
    fn translated(&self, file: usize, [before, after]: [Picture; 2], run: Made) {
        let picture = after.blended(&before, self.arguments.strength);
        let mut current = self.current.borrow_mut();
        current.frames += 1;
        current.milliseconds += run.milliseconds;
        (current.size, current.computed) = ((picture.width, picture.height), run.computed);
        current.device = run.device;
        self.mention_size(&current);
        let frames = current.frames;
        let done = match current.clip.as_mut() {
            Some(clip) => {
                let of = clip.length().map_or(String::new(), |length| format!(" of {length}"));
                self.bar.set_message(format!("{}, frame {frames}{of}", self.files[file].display()));
                let part = clip.length().map_or(0, |length| 100 * u64::from(frames) / u64::from(length.max(1)));
                self.bar.set_position(100 * file as u64 + part);
                clip.put(picture)
            }
            None => self.targets[file].write_still(&picture).map(|target| self.report(file, &current, &target)),
        };
        if let Err(error) = done {
            current.clip = None;
            self.complain(&format!("{}: {error:#}", self.files[file].display()));
        }
    }

    /// Says once that pictures are computed at another size than their own, unless that was asked for.
    fn mention_size(&self, current: &Current) {
        let ([columns, rows], (width, height)) = (current.computed, current.size);
        if self.arguments.size == Size::Model && [columns, rows] != [width, height] && !self.has_mentioned.replace(true)
        {
            self.bar.suspend(|| {
                eprintln!(
                    "Computed at {columns}×{rows}, which suits the model, and brought back to {width}×{height}; \
                     --size full computes at the picture's own size."
                );
            });
        }
    }

    /// A picture could not be translated, and so neither can the rest of its clip.
    fn failed(&self, file: usize, message: &str) {
        match self.current.borrow_mut().clip.take() {
            Some(_) => self.complain(&format!("{}: {message}", self.files[file].display())),
            // The session names files that it was given whole.
            None => self.complain(message),
        }
    }

    /// Ends the file under way, if it is a clip.
    fn close(&self, file: usize) {
        let mut current = self.current.take();
        let Some(clip) = current.clip.take() else { return };
        let target = clip.target().to_owned();
        match clip.finish() {
            Ok(()) => self.report(file, &current, &target),
            Err(error) => self.complain(&format!("{}: {error:#}", self.files[file].display())),
        }
    }

    fn report(&self, file: usize, current: &Current, target: &Path) {
        let (input, output) = (self.files[file].display().to_string(), target.display().to_string());
        let Current { frames, milliseconds, size: (width, height), computed, device, .. } = current;
        self.bar.suspend(|| {
            if self.arguments.json {
                let line = serde_json::json!({
                    "input": input, "output": output, "width": width, "height": height, "computed": computed, "frames": frames,
                    "milliseconds": milliseconds, "device": device,
                });
                println!("{line}");
            } else {
                println!("{output}");
            }
        });
    }
}

/// # Errors
/// When nothing can be translated at all: no model, no images, nowhere to write.
pub fn run(arguments: &Arguments, serve: Serve) -> Result<ExitStatus> {
    let (model_file, part) = (arguments.model.to_string(), arguments.model.part.clone());
    let weights = arguments.model.bytes()?;
    let files = expand(&arguments.inputs)?;
    let targets = targets(&files, &arguments.out)?;
    let bar = ProgressBar::new(100 * files.len() as u64).with_style(
        ProgressStyle::with_template("{bar:40} {percent}%  {msg}  {eta} left")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    let run = Run {
        arguments,
        files: &files,
        targets: &targets,
        bar,
        failures: Cell::new(0),
        has_mentioned: Cell::new(false),
        current: RefCell::default(),
    };
    let load = Envelope::with(Command::LoadModel { model: MODEL.into(), file: model_file, part }, vec![weights]);
    let mut begun = 0;
    // Asked for when the command before is done.
    let translations = std::iter::from_fn(|| {
        loop {
            if begun > 0 {
                if let Some(frame) = run.next_frame(begun - 1) {
                    return Some(frame);
                }
                run.close(begun - 1);
            }
            if begun == files.len() {
                return None;
            }
            begun += 1;
            if let Some(command) = run.open(begun - 1) {
                return Some(command);
            }
        }
    });
    let mut no_model = None;
    let console = Console::new(std::iter::once(load).chain(translations), |envelope| match envelope.message {
        Event::Progress { job, fraction, .. } if run.current.borrow().clip.is_none() => {
            run.bar.set_position(100 * u64::from(job) + (100.0 * fraction) as u64);
        }
        Event::Translated { job, width, height, computed, milliseconds, device, .. } => {
            let pictures = <[Vec<u8>; 2]>::try_from(envelope.buffers).unwrap_or_default();
            let pictures = pictures.map(|pixels| Picture { width, height, pixels });
            run.translated(job as usize, pictures, Made { milliseconds, computed, device });
        }
        Event::TooLarge { job, width, height, needed, limit, largest_side } => {
            // Clips have their name put in front.
            let name = files[job as usize].display().to_string();
            let name = if run.current.borrow().clip.is_some() { String::new() } else { format!("{name}: ") };
            let (needed, limit) = (needed >> 20, limit >> 20);
            run.failed(job as usize, &format!(
                "{name}translating {width}×{height} pixels would take {needed} MB and {limit} MB may be used; try --max-size {largest_side}"
            ));
        }
        Event::Failed { model: Some(_), message, .. } | Event::Several { message, .. } => no_model = Some(message),
        Event::Failed { job, message, .. } if no_model.is_none() => match job {
            Some(job) => run.failed(job as usize, &message),
            None => run.complain(&message),
        },
        Event::Failed { .. } => run.current.borrow_mut().clip = None,
        _ => {}
    })
    .within(arguments.memory.map(|megabytes| megabytes << 20));
    serve(arguments.backend, &console)?;
    drop(console);
    run.bar.finish_and_clear();
    match no_model {
        Some(message) => bail!(message),
        None if run.failures.get() > 0 => Ok(ExitStatus::Incomplete),
        None => Ok(ExitStatus::Done),
    }
}
