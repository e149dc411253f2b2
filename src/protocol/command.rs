//! What the page asks of the worker.

use serde::{Deserialize, Serialize};

#[cfg(doc)]
use super::Event;
use super::{BackendName, Direction, Size, WeightFormat};
use crate::config::TrainConfig;

/// What the picture of a [`Command::Translate`] is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Input {
    /// The bytes of an image file of any supported format; `name` is for messages.
    File {
        /// File name, for messages.
        name: String,
    },
    /// Straight RGBA8, row by row.
    Pixels {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
}

/// What a [`Command::Inspect`] looks at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Subject {
    /// A picture of the data: of the test pile, or of the training pile where there is no test pile.
    Sample {
        /// Its place in the pile; beyond the end it begins again.
        index: u32,
    },
    /// The buffer: the bytes of an image file.
    File {
        /// File name, for messages.
        name: String,
    },
}

/// Page → worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// Choose a backend and get ready: answered by [`Event::Ready`]. Always the first message.
    /// `None`: WebGPU when there is a real adapter with all that is needed, else flex.
    Start {
        /// The backend asked for.
        backend: Option<BackendName>,
    },
    /// Load a generator. Buffers: the weight file, then those of `data`. Answered by [`Event::ModelLoaded`], [`Event::Several`] or
    /// [`Event::Failed`].
    LoadModel {
        /// The page's name for it; later commands use it.
        model: String,
        /// File name, for messages.
        file: String,
        /// Which network, for a file that holds several: `netG_A`.
        part: Option<String>,
        /// Names of the files in which an ONNX graph's weights lie.
        #[serde(default)]
        data: Vec<String>,
    },
    /// Translate one image. Buffers: the file's bytes or the pixels. Answered by any number of
    /// [`Event::Progress`] and then one of `Translated`, `TooLarge`, `Cancelled`, `Failed`.
    Translate {
        /// The page's number for this translation; every answer carries it.
        job: u32,
        /// A loaded model's name, or [`TRAINED_A_TO_B`] / [`TRAINED_B_TO_A`] for the generators in training.
        model: String,
        /// What the buffer holds.
        input: Input,
        /// Shrink the image first so that its longer side is at most this; the result is no larger, either.
        max_side: Option<u32>,
        /// At which size to compute.
        size: Size,
    },
    /// Give up a translation.
    Cancel {
        /// The translation's number.
        job: u32,
    },
    /// Start a training. Buffers: the files of `init`, then those of [`TrainData`]. Ends any training already running.
    Train {
        /// Architecture, recipe and length.
        config: Box<TrainConfig>,
        /// The weights that networks begin with.
        #[serde(default)]
        init: Vec<InitFile>,
        /// Where the images come from.
        data: TrainData,
    },
    /// Go on with a saved training. Buffers: the checkpoint, then those of [`TrainData`]. Answered like [`Command::Train`].
    ResumeTraining {
        /// Steps to reach in all; `None` for those of the checkpoint's configuration.
        steps: Option<u64>,
        /// How often it does what is no training.
        #[serde(default)]
        intervals: Intervals,
        /// Where the images come from.
        data: TrainData,
    },
    /// Go on with the training that has ended, for more steps; its schedule follows the new length. Answered by
    /// [`Event::TrainingStarted`] or [`Event::Failed`].
    Extend {
        /// Steps to reach in all.
        steps: u64,
    },
    /// Go on with the training that the browser keeps (see [`Event::Kept`]). Answered like [`Command::Train`].
    ResumeKept {
        /// The learning rate from now on; `None` for that of before.
        learning_rate: Option<f64>,
        /// Steps to reach in all; `None` for as many as before.
        steps: Option<u64>,
    },
    /// Delete the training that the browser keeps: answered by [`Event::Kept`] with nothing.
    ForgetKept,
    /// Pause the training after the step under way: answered by [`Event::Paused`].
    Pause,
    /// Go on with a paused training: answered by [`Event::Resumed`].
    Resume,
    /// Make one step of a paused training: answered by [`Event::Step`], [`Event::Preview`] and [`Event::Paused`].
    StepOnce,
    /// Change the previews of the training under way, and make one now: answered by [`Event::Preview`].
    SetPreviews {
        /// A preview every so many steps; 0 for none.
        every: u64,
        /// Sample pairs in each.
        rows: u32,
    },
    /// Take one picture through all networks of the training. Buffers: the file, for [`Subject::File`]. Answered by
    /// [`Event::Inspected`] or [`Event::Failed`].
    Inspect {
        /// [`Direction::AtoB`] when it belongs to domain A.
        direction: Direction,
        /// Which picture.
        subject: Subject,
    },
    /// Read the settings of a training from a TOML file, the buffer. Answered by [`Event::Settings`] or
    /// [`Event::Failed`].
    ReadSettings {
        /// File name, for messages.
        file: String,
    },
    /// Write settings as a TOML file: answered by [`Event::SettingsFile`].
    WriteSettings {
        /// The settings.
        config: Box<TrainConfig>,
    },
    /// End the training: answered by [`Event::Stopped`]. Its generators stay usable and exportable.
    Stop,
    /// Write the weight file of a generator in training: answered by [`Event::Weights`].
    Export {
        /// Which of the two.
        direction: Direction,
    },
    /// Write a checkpoint of the training, to go on with it elsewhere: answered by [`Event::CheckpointFile`].
    ExportCheckpoint,
    /// Write a loaded model's weight file: answered by [`Event::Saved`] or [`Event::Failed`].
    SaveModel {
        /// The name given in [`Command::LoadModel`].
        model: String,
        /// What to write.
        format: WeightFormat,
    },
    /// Put a picture into a zip, as a PNG file. Buffers: its RGBA8 pixels. Answered by [`Event::Packed`], after the
    /// last one by [`Event::Zip`], or by [`Event::Failed`]. Pictures of one zip come in order, the next after the answer.
    Pack {
        /// Name of the file in the zip.
        name: String,
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// Its place in the zip; 0 begins a new one.
        index: u32,
        /// How many pictures the zip will hold.
        count: u32,
    },
    /// Tests only: panic in the worker, to show that the page survives it.
    Crash,
}

/// A weight file for one of the networks of a [`Command::Train`], which the configuration names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InitFile {
    /// One of [`INITS`](crate::config::INITS).
    pub option: String,
    /// Which network, for a file that holds several.
    pub part: Option<String>,
}

/// Steps between what a training does besides; `None` for as many as before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intervals {
    /// Of `TrainConfig::preview_every`.
    pub preview_every: Option<u64>,
    /// Of `TrainConfig::checkpoint_every`.
    pub checkpoint_every: Option<u64>,
    /// Of `TrainConfig::evaluate_every`.
    pub evaluate_every: Option<u64>,
}

/// The model name of generator_ab of the current training.
pub const TRAINED_A_TO_B: &str = "trained:AtoB";
/// The model name of generator_ba of the current training.
pub const TRAINED_B_TO_A: &str = "trained:BtoA";

/// The two piles of a training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum TrainData {
    /// One buffer: a zip with folders trainA/ and trainB/ (and optionally testA/, testB/).
    Zip {
        /// File name, for messages.
        name: String,
    },
    /// One buffer a file: first all of A, then all of B.
    Piles {
        /// File names of pile A.
        a: Vec<String>,
        /// File names of pile B.
        b: Vec<String>,
    },
    /// No buffer: a folder with trainA/ and trainB/; native only.
    Folder {
        /// Its path.
        path: String,
    },
}
