//! What happens in the Train place.

use super::{Look, Source};
use crate::{
    config::Field,
    protocol::{Direction, TrainData},
};

/// What happens in the Train place.
#[derive(Clone, Debug)]
pub enum Message {
    /// Which pictures to train on.
    UseSource(Source),
    /// How many files lie in piles A and B.
    Piles([usize; 2]),
    /// A zip is given (or taken back).
    Zip(Option<String>),
    /// What the domain of pile A (`false`) or B (`true`) is called.
    Name(bool, String),
    /// Start from a preset.
    Preset(String),
    /// What the generators from A and from B start from: ids of models, nothing for new weights, or `same`.
    StartFrom([String; 2]),
    /// Set an option; the value as typed.
    Set(&'static Field, String),
    /// Set how often there are previews, in steps, and of how many sample pairs; while it runs, too.
    Previews {
        /// Steps between two.
        every: u64,
        /// Sample pairs.
        rows: u32,
    },
    /// Read the settings from a file.
    LoadSettings {
        /// Its name.
        file: String,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// Write the settings into a file.
    SaveSettings,
    /// Look at one picture.
    Inspect(Look),
    /// Frames are being taken from a video for a pile: how many of how many.
    Frames(Option<(usize, u32, u32)>),
    /// How much the curves are smoothed, 0 to 1.
    Smoothing(f64),
    /// Begin.
    Start,
    /// Pictures are being collected.
    Gathering {
        /// Bytes or files so far.
        done: u64,
        /// Bytes or files in all, if known.
        total: Option<u64>,
    },
    /// The pictures are here, or not: why.
    Gathered(Result<(TrainData, Vec<Vec<u8>>), String>),
    /// Rest after the step under way.
    Pause,
    /// Make one step of a paused training.
    StepOnce,
    /// Go on.
    Resume,
    /// Look at the previews of a step: a place in [`Training::previews`].
    Look(usize),
    /// End.
    Stop,
    /// Go on with the training that has ended, for so many more steps.
    Extend(u64),
    /// Go on with the training that is kept on this machine.
    GoOn,
    /// The same at half the learning rate.
    GoOnSlower,
    /// Delete it.
    Forget,
    /// A checkpoint file is given, to go on with at the next start.
    Import {
        /// Its name.
        file: String,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// Take it back.
    Unimport,
    /// Save the whole training as a checkpoint file.
    SaveAll,
    /// Save a generator as a weight file.
    Save(Direction),
    /// Use a generator in the other place.
    Use(Direction),
}
