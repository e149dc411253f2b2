//! The folder of a run: what a training keeps there, and what it is resumed from.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::cli::translate::write_whole;
use crate::config::TrainConfig;
use crate::platform::files;
use crate::training::checkpoint;

/// The configuration as it was resolved.
const CONFIG: &str = "config.toml";
/// What a resumed run needs to know and is no part of its configuration.
const MEMORY: &str = "run.json";
/// Held by the process that trains.
const LOCK: &str = ".lock";
/// The only checkpoint of runs of version 0.1.
const OLD_CHECKPOINT: &str = "checkpoint.safetensors";
const OLD_CONFIG: &str = "config.json";

/// What a run remembers besides its configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Where its pictures are.
    pub data: PathBuf,
    /// Checkpoints that are kept.
    pub keep: usize,
}

/// Where a run can go on.
#[derive(Debug)]
pub struct Start {
    /// A checkpoint's bytes; `None` when the run ended before its first.
    pub checkpoint: Option<Vec<u8>>,
    /// What is trained.
    pub config: TrainConfig,
    /// Steps made.
    pub step: u64,
    /// What was found on the way, for people.
    pub notes: Vec<String>,
}

impl Start {
    /// Where a checkpoint goes on.
    ///
    /// # Errors
    /// When the bytes are no checkpoint, or are damaged.
    pub fn from_checkpoint(bytes: Vec<u8>) -> Result<Self> {
        let (config, step) = checkpoint::describe(&bytes)?;
        Ok(Self { checkpoint: Some(bytes), config, step, notes: Vec::new() })
    }
}

/// A run's folder, in which no other process trains meanwhile.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    _lock: Option<File>,
}

impl RunFolder {
    /// A folder for a new run.
    ///
    /// # Errors
    /// When it cannot be made, or already holds a training.
    pub fn create(path: &Path) -> Result<Self> {
        fs::create_dir_all(path).with_context(|| format!("cannot make the folder {}", path.display()))?;
        let run = Self::locked(path)?;
        if !run.checkpoints()?.is_empty() {
            bail!("{} already holds a training: go on with --resume, or choose another folder", path.display());
        }
        Ok(run)
    }

    /// The folder of a run that shall go on.
    ///
    /// # Errors
    /// When there is none.
    pub fn open(path: &Path) -> Result<Self> {
        if !path.join(CONFIG).is_file() && checkpoints(path)?.is_empty() {
            bail!("{} is no run of train: it has no {CONFIG} and no checkpoint", path.display());
        }
        Self::locked(path)
    }

    fn locked(path: &Path) -> Result<Self> {
        let lock = File::create(path.join(LOCK)).with_context(|| format!("cannot write into {}", path.display()))?;
        let lock = match lock.try_lock() {
            Ok(()) => Some(lock),
            Err(TryLockError::WouldBlock) => bail!("another process is training in {}", path.display()),
            // Some network file systems have no locks.
            Err(TryLockError::Error(_)) => None,
        };
        files::remove_partial(path).with_context(|| format!("cannot tidy up {}", path.display()))?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes down what is trained, and what has to be remembered.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn describe(&self, config: &TrainConfig, memory: &Memory) -> Result<()> {
        write_whole(&self.path.join(MEMORY), serde_json::to_string_pretty(memory)?.as_bytes())?;
        self.describe_again(config)
    }

    /// Writes down what is trained, since it has changed.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn describe_again(&self, config: &TrainConfig) -> Result<()> {
        write_whole(&self.path.join(CONFIG), config.to_toml(false).as_bytes())
    }

    /// What was remembered; nothing in runs of version 0.1.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn memory(&self) -> Result<Option<Memory>> {
        let path = self.path.join(MEMORY);
        if !path.exists() {
            return Ok(None);
        }
        let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("{} cannot be understood", path.display()))
    }

    /// The newest checkpoint that is whole; the run's beginning when it ended before its first one.
    ///
    /// # Errors
    /// When there are checkpoints, but every one is damaged.
    pub fn start(&self) -> Result<Start> {
        let checkpoints = self.checkpoints()?;
        let mut notes = Vec::new();
        for path in &checkpoints {
            let read = || -> Result<_> {
                let bytes = fs::read(path)?;
                Start::from_checkpoint(bytes)
            };
            match read() {
                Ok(start) => {
                    if !notes.is_empty() {
                        notes.push(format!("going on from {} (step {})", path.display(), start.step));
                    }
                    return Ok(Start { notes, ..start });
                }
                Err(error) => notes.push(format!("{} is damaged: {error:#}", path.display())),
            }
        }
        if !checkpoints.is_empty() {
            bail!("no checkpoint is whole: {}", notes.join("; "));
        }
        notes.push("the run ended before its first checkpoint: starting again".into());
        Ok(Start { checkpoint: None, config: read_config(&self.path)?, step: 0, notes })
    }

    /// Puts checkpoints of later steps than the one a run goes on from out of the way: they are damaged.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn put_aside_after(&self, step: u64) -> Result<()> {
        for path in self.checkpoints()? {
            if step_of(&path).is_some_and(|of| of > step) {
                let aside = path.with_extension("safetensors.damaged");
                fs::rename(&path, &aside).with_context(|| format!("cannot rename {}", path.display()))?;
            }
        }
        Ok(())
    }

    /// Writes a checkpoint, and then deletes all but the `keep` newest.
    ///
    /// # Errors
    /// Those of the file system; older checkpoints are then still there.
    pub fn save(&self, step: u64, bytes: &[u8], keep: usize) -> Result<String> {
        let name = format!("checkpoint-{step:07}.safetensors");
        write_whole(&self.path.join(&name), bytes)?;
        for old in self.checkpoints()?.iter().skip(keep.max(1)) {
            fs::remove_file(old).with_context(|| format!("cannot delete {}", old.display()))?;
        }
        Ok(name)
    }

    fn checkpoints(&self) -> Result<Vec<PathBuf>> {
        checkpoints(&self.path)
    }
}

/// All checkpoints of a run, the newest first.
fn checkpoints(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        found.extend(step_of(&path).map(|step| (step, path)));
    }
    found.sort();
    Ok(found.into_iter().rev().map(|(_, path)| path).collect())
}

/// The steps behind a checkpoint, by its name.
fn step_of(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    if name == OLD_CHECKPOINT {
        // Of no known step: newer ones have it in their names.
        return Some(0);
    }
    name.strip_prefix("checkpoint-")?.strip_suffix(".safetensors")?.parse().ok()
}

/// The configuration that is written down in a run's folder.
///
/// # Errors
/// When the folder holds no run.
pub fn read_config(folder: &Path) -> Result<TrainConfig> {
    let path = folder.join(CONFIG);
    if let Ok(text) = fs::read_to_string(&path) {
        return TrainConfig::from_toml(&text).with_context(|| path.display().to_string());
    }
    let old = folder.join(OLD_CONFIG);
    let text = fs::read_to_string(&old).with_context(|| format!("{} is no run of train", folder.display()))?;
    TrainConfig::from_json(&text).with_context(|| format!("{} cannot be understood", old.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> (tempfile::TempDir, RunFolder) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let run = RunFolder::create(folder.path()).expect("a new run");
        (folder, run)
    }

    fn names(run: &RunFolder) -> Vec<String> {
        let paths = run.checkpoints().expect("a folder");
        paths.iter().map(|path| path.file_name().expect("a name").to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn the_newest_are_kept() {
        let (folder, run) = run();
        fs::write(folder.path().join(OLD_CHECKPOINT), b"old").expect("written");
        fs::write(folder.path().join("checkpoint-of-mine.safetensors"), b"mine").expect("written");
        for step in [5, 100, 99, 10_000_000] {
            run.save(step, b"x", 3).expect("written");
        }
        let kept =
            ["checkpoint-10000000.safetensors", "checkpoint-0000100.safetensors", "checkpoint-0000099.safetensors"];
        assert_eq!(names(&run), kept);
        assert!(folder.path().join("checkpoint-of-mine.safetensors").exists());
        run.save(10_000_001, b"x", 0).expect("written");
        assert_eq!(names(&run), ["checkpoint-10000001.safetensors"], "one at least");
    }

    #[test]
    fn two_processes_do_not_train_in_one_folder() {
        let (folder, run) = run();
        let second = RunFolder::create(folder.path()).expect_err("it is taken");
        assert!(second.to_string().starts_with("another process is training in"), "{second}");
        drop(run);
        fs::write(folder.path().join(".checkpoint-0000001.safetensors.0.partial"), b"half").expect("written");
        RunFolder::create(folder.path()).expect("it is free");
        let left: Vec<_> = fs::read_dir(folder.path()).expect("a folder").flatten().map(|e| e.file_name()).collect();
        assert_eq!(left, [LOCK], "what was half written is gone");
    }

    #[test]
    fn only_a_run_can_go_on_and_one_without_a_checkpoint_begins_again() {
        let (folder, run) = run();
        drop(run);
        let error = RunFolder::open(folder.path()).expect_err("no run");
        assert!(error.to_string().contains("is no run of train"), "{error}");
        let run = RunFolder::create(folder.path()).expect("a new run");
        let config = TrainConfig::preset("quick").expect("a preset");
        let memory = Memory { data: "pictures".into(), keep: 4 };
        run.describe(&config, &memory).expect("written");
        drop(run);
        let run = RunFolder::open(folder.path()).expect("a run");
        assert_eq!(run.memory().expect("it can be read"), Some(memory));
        let start = run.start().expect("its beginning");
        assert_eq!((start.config, start.step, start.checkpoint), (config, 0, None));
        run.save(3, b"", 2).expect("written");
        run.save(4, b"half a checkpoint", 2).expect("written");
        let error = run.start().expect_err("both are damaged").to_string();
        assert!(error.contains("checkpoint-0000003") && error.contains("checkpoint-0000004"), "{error}");
    }
}
