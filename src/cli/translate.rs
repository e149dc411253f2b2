//! `cyclegan translate`

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};

use super::clip::Clip;
use super::inputs::{Inputs, Source, Still, Target};
use super::{Choice, Console, ExitStatus, ModelFile, Serve};
use crate::image::{Animation, Picture};
use crate::platform::files;
use crate::protocol::{Command, Envelope, Event, Input, SMALLEST_SIDE, Size};

/// The session's name for the only model.
const MODEL: &str = "model";

/// Names that are listed at most.
const MOST_NAMES: usize = 8;

/// Translates image files, folders with all folders in them, or globs. A file that cannot be translated is
/// reported and the others are done; the exit status is then 1. What is no image is skipped, and said.
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
    /// The generator's weight file, .safetensors, PyTorch's .pth or .onnx; FILE:NAME for one network of several.
    #[arg(long, short)]
    model: ModelFile,
    /// Images, videos, folders of images, or globs such as 'photos/*.jpg'.
    #[arg(required = true)]
    inputs: Vec<String>,
    /// A folder for the results (each keeps its name and its folders; stills become PNG), or for one input a .png, .jpg,
    /// .webp, .gif or video file.
    #[arg(long, short)]
    out: PathBuf,
    /// Let results take the place of originals.
    #[arg(long)]
    overwrite: bool,
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
    /// What is to be said about it.
    notes: Vec<String>,
}

/// One run of the command: files become commands, events become files.
struct Run<'a> {
    arguments: &'a Arguments,
    files: &'a [Source],
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
    /// What is to be said about it.
    notes: Vec<String>,
}

impl Run<'_> {
    fn complain(&self, message: &str) {
        self.failures.set(self.failures.get() + 1);
        self.bar.suspend(|| eprintln!("{message}"));
    }

    /// The command for a file, or for the first frame of a clip.
    fn open(&self, file: usize) -> Option<Envelope<Command>> {
        self.bar.set_position(100 * file as u64);
        let path = &self.files[file].path;
        self.bar.set_message(path.display().to_string());
        *self.current.borrow_mut() = Current::default();
        let opened = || -> Result<Result<Clip, Vec<u8>>> {
            self.targets[file].make_folder()?;
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
                self.complain(&format!("{}: {error:#}", self.files[file].path.display()));
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
        current.notes.extend(run.notes);
        self.mention_size(&current);
        let frames = current.frames;
        let done = match current.clip.as_mut() {
            Some(clip) => {
                let of = clip.length().map_or(String::new(), |length| format!(" of {length}"));
                self.bar.set_message(format!("{}, frame {frames}{of}", self.files[file].path.display()));
                let part = clip.length().map_or(0, |length| 100 * u64::from(frames) / u64::from(length.max(1)));
                self.bar.set_position(100 * file as u64 + part);
                clip.put(picture)
            }
            None => self.targets[file].still().and_then(|(target, still)| {
                let bytes = match still {
                    Still::Png => picture.encode_png(),
                    Still::Jpeg => picture.encode_jpeg(),
                    Still::WebP => picture.encode_webp(),
                };
                write_whole(&target, &bytes?)?;
                self.report(file, &current, &target);
                Ok(())
            }),
        };
        if let Err(error) = done {
            current.clip = None;
            self.complain(&format!("{}: {error:#}", self.files[file].path.display()));
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
            Some(_) => self.complain(&format!("{}: {message}", self.files[file].path.display())),
            // The session names files that it was given whole.
            None => self.complain(message),
        }
    }

    /// Ends the file under way, if it is a clip.
    fn close(&self, file: usize) {
        let mut current = self.current.take();
        let Some(clip) = current.clip.take() else { return };
        let target = clip.target().to_owned();
        current.notes.extend(clip.notes());
        match clip.finish() {
            Ok(()) => self.report(file, &current, &target),
            Err(error) => self.complain(&format!("{}: {error:#}", self.files[file].path.display())),
        }
    }

    fn report(&self, file: usize, current: &Current, target: &Path) {
        let (input, output) = (self.files[file].path.display().to_string(), target.display().to_string());
        let Current { frames, milliseconds, size: (width, height), computed, device, notes, .. } = current;
        self.bar.suspend(|| {
            notes.iter().for_each(|note| eprintln!("{input}: {note}"));
            if self.arguments.json {
                let line = serde_json::json!({
                    "input": input, "output": output, "width": width, "height": height, "computed": computed, "frames": frames,
                    "milliseconds": milliseconds, "device": device, "notes": notes,
                });
                println!("{line}");
            } else {
                println!("{output}");
            }
        });
    }
}

fn files_of(count: usize) -> String {
    if count == 1 { "1 file".into() } else { format!("{count} files") }
}

/// # Errors
/// When nothing can be translated at all: no model, no images, nowhere to write.
pub fn run(arguments: &Arguments, serve: Serve) -> Result<ExitStatus> {
    let load = arguments.model.load(MODEL)?;
    let inputs = Inputs::read(&arguments.inputs, &arguments.out)?;
    let targets = inputs.targets(&arguments.out, arguments.overwrite)?;
    let Inputs { files, others, .. } = inputs;
    if !others.is_empty() {
        let more = if others.len() > MOST_NAMES { ", …" } else { "" };
        let names = others[..others.len().min(MOST_NAMES)].join(", ");
        eprintln!("skipped {} that are no images: {names}{more}", files_of(others.len()));
    }
    Console::tidy_when_interrupted().context("cannot listen to Ctrl-C")?;
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
        Event::Translated { job, width, height, computed, milliseconds, device, notes, .. } => {
            let pictures = <[Vec<u8>; 2]>::try_from(envelope.buffers).unwrap_or_default();
            let pictures = pictures.map(|pixels| Picture { width, height, pixels });
            run.translated(job as usize, pictures, Made { milliseconds, computed, device, notes });
        }
        Event::ModelLoaded { info, .. } => {
            // What was assumed of the network may make every picture wrong.
            info.notes.iter().for_each(|note| run.bar.suspend(|| eprintln!("{}: {note}", arguments.model)));
        }
        Event::TooLarge { job, width, height, needed, limit, largest_side } => {
            // Clips have their name put in front.
            let name = files[job as usize].path.display().to_string();
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
        None if run.failures.get() > 0 => {
            if files.len() > 1 {
                eprintln!("{} of {} could not be translated", run.failures.get(), files_of(files.len()));
            }
            Ok(ExitStatus::Incomplete)
        }
        None => Ok(ExitStatus::Done),
    }
}
