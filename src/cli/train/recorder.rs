//! Writes down what a training tells.

use std::fs::{File, OpenOptions};
use std::io::{LineWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

use anyhow::{Context, Result};

use super::folder::RunFolder;
use super::progress::{Progress, Step};
use crate::cli::sheet::{Rows, sheet};
use crate::cli::tensorboard::EventFile;
use crate::cli::translate::write_whole;
use crate::config::UNSIZED;
use crate::image::Picture;
use crate::protocol::{Envelope, Event, PreviewCell, Quality};

/// Name of the file with one JSON line a reported step, measurement or checkpoint.
pub const METRICS: &str = "metrics.jsonl";

/// Events become lines, files and what one sees.
pub struct Recorder<'a> {
    folder: &'a RunFolder,
    /// Checkpoints to keep.
    keep: usize,
    metrics: LineWriter<File>,
    tensorboard: EventFile,
    /// What one sees.
    pub progress: Progress,
    steps: u64,
    /// The step of the last checkpoint that is on the disk.
    saved: Option<u64>,
    /// What went wrong first, if the training ended in trouble.
    pub trouble: Option<String>,
    /// Whether it has begun at all.
    pub has_begun: bool,
}

impl<'a> Recorder<'a> {
    /// A recorder into a run's folder.
    ///
    /// # Errors
    /// When nothing can be written there.
    pub fn new(folder: &'a RunFolder, keep: usize, progress: Progress) -> Result<Self> {
        let path = folder.path();
        let tensorboard = EventFile::create(path).with_context(|| format!("cannot write into {}", path.display()))?;
        let metrics = LineWriter::new(metrics(&path.join(METRICS))?);
        Ok(Self {
            folder,
            keep,
            metrics,
            tensorboard,
            progress,
            steps: 0,
            saved: None,
            trouble: None,
            has_begun: false,
        })
    }

    /// Takes down an event.
    pub fn hear(&mut self, envelope: Envelope<Event>) {
        if let Err(error) = self.record(envelope) {
            self.progress.say(&format!("{error:#}"));
        }
    }

    fn line(&mut self, line: &serde_json::Value) -> Result<()> {
        self.metrics.write_all(format!("{line}\n").as_bytes()).with_context(|| format!("cannot write {METRICS}"))
    }

    fn record(&mut self, envelope: Envelope<Event>) -> Result<()> {
        let first = |buffers: Vec<Vec<u8>>| buffers.into_iter().next().unwrap_or_default();
        let folder = self.folder.path();
        match envelope.message {
            Event::TrainingStarted { step, steps, images_a, images_b, parameters, memory_bytes } => {
                (self.steps, self.has_begun) = (steps, true);
                self.progress.begin(step, steps);
                let memory = match memory_bytes {
                    0 => String::new(),
                    bytes => format!("; about {} MB of memory at its peak", bytes >> 20),
                };
                let until = if steps == UNSIZED { "the time is up".to_owned() } else { steps.to_string() };
                self.progress.say(&format!(
                    "{images_a} images of A, {images_b} of B; generators of {parameters} parameters; \
                     steps {step} to {until}{memory}"
                ));
            }
            Event::Sized { config } => {
                self.steps = config.steps;
                self.folder.describe_again(&config)?;
                self.progress.length(config.steps);
                self.progress.say(&format!("{} steps fit into {} minutes", config.steps, config.minutes));
            }
            Event::Step { step, epoch, losses, learning_rate, steps_per_second } => {
                self.line(&serde_json::json!({
                    "step": step, "epoch": epoch, "losses": losses,
                    "learning_rate": learning_rate, "steps_per_second": steps_per_second,
                }))?;
                let mut scalars = vec![
                    ("adversarial/a_to_b", losses.adversarial_ab),
                    ("discriminator/b", losses.discriminator_b),
                    ("learning_rate", learning_rate as f32),
                    ("steps_per_second", steps_per_second),
                ];
                match losses.nce {
                    Some(nce) => scalars.push(("nce/a", nce)),
                    None => scalars.extend([
                        ("adversarial/b_to_a", losses.adversarial_ba),
                        ("cycle/a", losses.cycle_a),
                        ("cycle/b", losses.cycle_b),
                        ("identity/a", losses.identity_a),
                        ("identity/b", losses.identity_b),
                        ("discriminator/a", losses.discriminator_a),
                    ]),
                }
                scalars.extend(losses.nce_y.map(|nce_y| ("nce/b", nce_y)));
                self.tensorboard.scalars(step, &scalars).context("cannot write the TensorBoard file")?;
                self.progress.step(&Step { step, epoch, losses, learning_rate, steps_per_second });
            }
            Event::Advice { message } => self.progress.say(&message),
            Event::ImageSkipped { file, reason } => self.progress.say(&format!("skipped {file}: {reason}")),
            Event::Preview { step, cells } => {
                let sheet = contact_sheet(&cells, envelope.buffers);
                let png = sheet.encode_png()?;
                self.tensorboard.picture(step, "preview", [sheet.width, sheet.height], &png)?;
                write_whole(&folder.join(format!("preview-{step:07}.png")), &png)?;
            }
            Event::Measured { step, quality, files, .. } => {
                self.line(&serde_json::json!({ "step": step, "quality": quality }))?;
                let is_best = !envelope.buffers.is_empty();
                self.measured(step, quality, is_best)?;
                for (file, bytes) in files.iter().zip(&envelope.buffers) {
                    write_whole(&self.folder.path().join(file), bytes)?;
                }
            }
            Event::Checkpoint { step, .. } => {
                let file = self.folder.save(step, &first(envelope.buffers), self.keep)?;
                // Only what is on the disk is announced.
                self.saved = Some(step);
                self.line(&serde_json::json!({ "step": step, "checkpoint": file }))?;
            }
            Event::Weights { file, .. } => {
                let path = folder.join(file);
                write_whole(&path, &first(envelope.buffers))?;
                self.progress.result(&path.display().to_string());
            }
            Event::Stopped { step, trouble } => {
                if let Some(trouble) = trouble {
                    self.trouble.get_or_insert(format!("the training ended after {step} steps: {trouble}"));
                } else if self.saved != Some(step) {
                    self.trouble
                        .get_or_insert(format!("the training ended after {step} steps, but could not be saved"));
                } else if step < self.steps {
                    let resume = resume_command(folder);
                    self.progress.say(&format!("stopped and saved after {step} steps; go on with\n  {resume}"));
                }
            }
            // What follows is a consequence.
            Event::Failed { message, .. } => drop(self.trouble.get_or_insert(message)),
            _ => {}
        }
        Ok(())
    }

    fn measured(&mut self, step: u64, quality: Quality, is_best: bool) -> Result<()> {
        let Quality { cycle_ssim, distance, paired_ssim } = quality;
        let told = [
            ("cycle SSIM", cycle_ssim, ["held_out/cycle_ssim_a", "held_out/cycle_ssim_b"]),
            ("patch distance", distance, ["held_out/distance_a_to_b", "held_out/distance_b_to_a"]),
            ("paired SSIM", paired_ssim.unwrap_or_default(), ["held_out/paired_a_to_b", "held_out/paired_b_to_a"]),
        ];
        let (mut parts, mut scalars) = (Vec::new(), Vec::new());
        for (name, values, names) in told {
            let numbers: Vec<String> = values.iter().flatten().map(|value| format!("{value:.3}")).collect();
            if !numbers.is_empty() {
                parts.push(format!("{name} {}", numbers.join(" / ")));
            }
            scalars.extend(names.into_iter().zip(values).filter_map(|(name, value)| Some((name, value?))));
        }
        self.tensorboard.scalars(step, &scalars)?;
        let is_best = if is_best { ", the best so far" } else { "" };
        self.progress.say(&format!("step {step}, held-out pictures: {}{is_best}", parts.join(", ")));
        Ok(())
    }
}

/// The command that goes on with the run in `folder`, for a POSIX shell.
pub fn resume_command(folder: &Path) -> String {
    let folder = folder.display().to_string();
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+:@%".contains(c);
    let folder = match !folder.starts_with('-') && !folder.is_empty() && folder.chars().all(is_plain) {
        true => folder,
        false => format!("'{}'", folder.replace('\'', r"'\''")),
    };
    format!("cyclegan train --resume {folder}")
}

/// The file of metrics, to be continued: a line that a crash cut off is ended first.
fn metrics(path: &Path) -> Result<File> {
    let open = || -> std::io::Result<File> {
        let mut file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
        let mut last = [b'\n'];
        if file.seek(SeekFrom::End(0))? > 0 {
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
        }
        if last != *b"\n" {
            file.write_all(b"\n")?;
        }
        Ok(file)
    };
    open().with_context(|| format!("cannot write {}", path.display()))
}

/// The cells of a preview on one picture: a row a sample, its kinds side by side.
fn contact_sheet(cells: &[PreviewCell], buffers: Vec<Vec<u8>>) -> Picture {
    let mut columns: Vec<(&str, Vec<Picture>)> = Vec::new();
    for (cell, pixels) in cells.iter().zip(buffers) {
        let picture = Picture { width: cell.width, height: cell.height, pixels };
        match columns.iter_mut().find(|(kind, _)| *kind == cell.kind) {
            Some((_, pictures)) => pictures.push(picture),
            None => columns.push((&cell.kind, vec![picture])),
        }
    }
    sheet(Rows { columns: columns.into_iter().map(|(_, pictures)| pictures).collect(), groups: 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_that_resumes_can_be_pasted() {
        let command = |folder: &str| resume_command(Path::new(folder));
        assert_eq!(command("runs/horse-2"), "cyclegan train --resume runs/horse-2");
        assert_eq!(command("my runs/it's"), r"cyclegan train --resume 'my runs/it'\''s'");
    }

    #[test]
    fn a_cut_line_of_metrics_is_ended() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join(METRICS);
        for (before, after) in [("", ""), ("{}\n", "{}\n"), ("{}\n{\"st", "{}\n{\"st\n")] {
            std::fs::write(&path, before).expect("written");
            let mut file = metrics(&path).expect("it can be opened");
            file.write_all(b"x").expect("written");
            assert_eq!(std::fs::read_to_string(&path).expect("read"), format!("{after}x"));
        }
    }
}
