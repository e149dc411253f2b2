//! What the worker tells the page.

use serde::{Deserialize, Serialize};

#[cfg(doc)]
use super::Command;
use super::{BackendName, Direction, WeightFormat};
use crate::config::TrainConfig;

/// What a loaded generator is: the metadata of its weight file, with what could be inferred filled in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// `resnet_9blocks`-like name of the architecture.
    pub architecture: String,
    /// Number of parameters.
    pub parameters: u64,
    /// Channels of the pictures that it reads and writes: 1 for grey, 3 for colour, 4 with alpha; 0 when unknown.
    #[serde(default)]
    pub channels: [u32; 2],
    /// Name of the domain it reads, e.g. `horse`.
    pub domain_from: String,
    /// Name of the domain it writes, e.g. `zebra`.
    pub domain_to: String,
    /// Side in pixels of the images it was trained on; 0 when unknown.
    pub size: u32,
    /// Training steps behind it; 0 when unknown.
    pub step: u64,
    /// Data set it was trained on.
    pub data: String,
    /// Licence of the weights.
    pub licence: String,
    /// What was trained, where it was no pair of generators: `cut`, `fastcut`; else empty.
    #[serde(default)]
    pub model: String,
    /// Name of the file whose weights its training began with; empty for new weights.
    #[serde(default)]
    pub started_from: String,
    /// What was changed or assumed while the weight file was read, in whole sentences.
    #[serde(default)]
    pub notes: Vec<String>,
    /// The options of a training of such networks, with their values; nothing where there can be none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settings: Vec<(String, String)>,
}

/// The loss terms of one step, already weighted as they enter the total (official names).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Losses {
    /// Adversarial loss of generator_ab (discriminator_b judges fake_b).
    pub adversarial_ab: f32,
    /// Adversarial loss of generator_ba (discriminator_a judges fake_a).
    pub adversarial_ba: f32,
    /// Cycle-consistency loss A → B → A, times lambda_a.
    pub cycle_a: f32,
    /// Cycle-consistency loss B → A → B, times lambda_b.
    pub cycle_b: f32,
    /// Identity loss |generator_ba(real_a) − real_a|, times its weight.
    pub identity_a: f32,
    /// Identity loss |generator_ab(real_b) − real_b|, times its weight.
    pub identity_b: f32,
    /// Loss of discriminator_a.
    pub discriminator_a: f32,
    /// Loss of discriminator_b.
    pub discriminator_b: f32,
    /// Contrastive loss of the translations of A, times its weight: of a one-sided training, which has no terms of the
    /// other direction, of cycles and of identities; they are 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nce: Option<f32>,
    /// The same of pictures of B and their own translations, where there is one; then half of each is in the total.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nce_y: Option<f32>,
}

impl Losses {
    /// The generators' total: adversarial + cycle + identity, both ways; or adversarial + contrastive.
    pub fn generators(&self) -> f32 {
        if let Some(nce) = self.nce {
            return self.adversarial_ab + self.nce_y.map_or(nce, |nce_y| (nce + nce_y) / 2.0);
        }
        self.adversarial_ab + self.adversarial_ba + self.cycle_a + self.cycle_b + self.identity_a + self.identity_b
    }

    /// Whether every term is a number.
    pub fn is_finite(&self) -> bool {
        (self.generators() + self.discriminator_a + self.discriminator_b).is_finite()
    }
}

/// A training that the browser keeps, with its pictures, until it is deleted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeptTraining {
    /// Steps made.
    pub step: u64,
    /// What is trained, and how.
    pub config: Box<TrainConfig>,
    /// When it was kept, in milliseconds since 1970.
    pub time: f64,
    /// What it takes on this machine, in bytes.
    pub bytes: u64,
}

impl KeptTraining {
    /// Whether it has made all of its steps.
    pub fn is_complete(&self) -> bool {
        self.step >= self.config.steps
    }
}

/// How good the generators are, on pictures that the training never sees. Each `[A to B, B to A]`; a one-sided training
/// has distances and pairs of the first alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// Structural similarity of a picture to itself after going there and back.
    pub cycle_ssim: [Option<f32>; 2],
    /// Patch sliced Wasserstein distance of translations to real pictures.
    pub distance: [Option<f32>; 2],
    /// Structural similarity of translations to their counterparts, where the data has pairs.
    pub paired_ssim: Option<[Option<f32>; 2]>,
}

/// Which part of a translation is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// Decoding the file.
    Decoding,
    /// The generator is running.
    Translating,
}

/// One picture of a [`Event::Preview`]; its RGBA8 pixels are the buffer at the same position.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviewCell {
    /// What it is: `real_a`, `fake_b`, `rec_a`, `real_b`, `fake_a`, `rec_b`.
    pub kind: String,
    /// Row of the grid: one fixed sample pair a row.
    pub row: u32,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

/// One picture on its way through the networks of a training.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Inspected {
    /// Steps made so far.
    pub step: u64,
    /// The picture's name.
    pub picture: String,
    /// How many samples there are to look at in its domain.
    pub samples: u32,
    /// Width and height in pixels of all four pictures: the training size.
    pub side: u32,
    /// Width and height of a discriminator's map.
    pub map: [u32; 2],
    /// How real the discriminators find the picture and its translation on average: 0 not at all, 1 entirely.
    pub realness: [f32; 2],
}

/// Worker → page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// The worker's wasm runs and waits for [`Command::Start`].
    Loaded,
    /// The backend is up.
    Ready {
        /// The backend in use.
        backend: BackendName,
        /// Adapter or processor, for people: `NVIDIA H100 (WebGPU)`, `CPU (WebAssembly SIMD)`.
        device: String,
        /// Why it is not the one asked for or hoped for, in plain words.
        note: Option<String>,
    },
    /// A generator is loaded.
    ModelLoaded {
        /// The name given in [`Command::LoadModel`].
        model: String,
        /// What it is.
        info: ModelInfo,
    },
    /// The weight file holds several generators, and the command said not which.
    Several {
        /// The name given in [`Command::LoadModel`].
        model: String,
        /// Their names, each good for [`Command::LoadModel`].
        parts: Vec<String>,
        /// The same for people.
        message: String,
    },
    /// A translation goes on.
    Progress {
        /// The translation's number.
        job: u32,
        /// Which part.
        stage: Stage,
        /// 0 to 1.
        fraction: f32,
    },
    /// A translation is done. Buffers: the input as decoded (EXIF-rotated, possibly shrunk) and the result, both RGBA8.
    Translated {
        /// The translation's number.
        job: u32,
        /// Width of both pictures.
        width: u32,
        /// Height of both pictures.
        height: u32,
        /// Width and height at which the generator computed.
        computed: [u32; 2],
        /// Time of the generator alone.
        milliseconds: f64,
        /// Backend and device it ran on, for people.
        device: String,
        /// Mean absolute difference between the two pictures, in levels of 0–255.
        mean_absolute_error: f32,
        /// What was converted, assumed or missing when the file was decoded, in whole sentences.
        #[serde(default)]
        notes: Vec<String>,
    },
    /// The image would not fit into memory: nothing was computed.
    TooLarge {
        /// The translation's number.
        job: u32,
        /// Width asked for.
        width: u32,
        /// Height asked for.
        height: u32,
        /// Bytes that this would take.
        needed: u64,
        /// Bytes that may be taken.
        limit: u64,
        /// The longer side of the largest image that fits: pass it as `max_side`.
        largest_side: u32,
    },
    /// A translation was cancelled.
    Cancelled {
        /// The translation's number.
        job: u32,
    },
    /// Something went wrong; the worker goes on.
    Failed {
        /// The translation it belongs to, if any.
        job: Option<u32>,
        /// The model that was being loaded, if any.
        model: Option<String>,
        /// What was wrong, with which file, and what to do. Whole sentences.
        message: String,
    },
    /// The GPU device was lost; the worker goes on with the backend of the [`Event::Ready`] that follows.
    DeviceLost {
        /// The browser's reason.
        reason: String,
    },
    /// The worker is about to die of a bug; the page restarts it.
    Crashed {
        /// The panic's message.
        message: String,
    },
    /// A training has begun.
    TrainingStarted {
        /// Steps already made: 0 unless it was resumed.
        step: u64,
        /// Steps it will take in all.
        steps: u64,
        /// Images in pile A.
        images_a: u32,
        /// Images in pile B.
        images_b: u32,
        /// Parameters of one generator.
        parameters: u64,
        /// Bytes that it will take at its worst moment, about.
        memory_bytes: u64,
    },
    /// A training by the clock knows how many steps fit into its time, or that it is another number.
    Sized {
        /// Its configuration from now on.
        config: Box<TrainConfig>,
    },
    /// An image of a pile could not be used.
    ImageSkipped {
        /// Its name.
        file: String,
        /// Why.
        reason: String,
    },
    /// A training step was made.
    Step {
        /// Steps made so far.
        step: u64,
        /// Epochs begun so far, from 1.
        epoch: u32,
        /// The loss terms.
        losses: Losses,
        /// Learning rate of this step.
        learning_rate: f64,
        /// Steps a second, smoothed.
        steps_per_second: f32,
    },
    /// The generators were measured on held-out pictures.
    Measured {
        /// Steps made so far.
        step: u64,
        /// How good they are.
        quality: Quality,
        /// Whether they were never better (by the mean distance): then their weight files are the buffers, A to B first.
        is_best: bool,
        /// Suggested names of the files.
        files: [String; 2],
    },
    /// What the losses say about the training, when there is trouble.
    Advice {
        /// In whole sentences.
        message: String,
    },
    /// Pictures of the fixed samples. Buffers: one RGBA8 picture a cell.
    Preview {
        /// Steps made so far.
        step: u64,
        /// The cells, in the order of the buffers.
        cells: Vec<PreviewCell>,
    },
    /// What became of the picture of a [`Command::Inspect`]. Buffers: RGBA8 of the picture, its translation, its
    /// reconstruction and its identity mapping; then how real the discriminator of its own domain finds each patch of
    /// the picture, and that of the other domain each patch of the translation (a byte each, 255 for entirely).
    Inspected(Inspected),
    /// Settings as read from a file.
    Settings {
        /// The settings.
        config: Box<TrainConfig>,
    },
    /// Settings as a file. Buffers: its bytes.
    SettingsFile,
    /// The training came to numbers that are none, and ends at its last good state: [`Event::Stopped`] follows.
    Diverged {
        /// The step it is back at.
        step: u64,
    },
    /// The training as it stands, for whoever keeps it. Buffers: a checkpoint file's bytes.
    Checkpoint {
        /// Steps made so far.
        step: u64,
        /// What is trained, and how.
        config: Box<TrainConfig>,
    },
    /// A checkpoint that was asked for. Buffers: its bytes.
    CheckpointFile {
        /// Suggested file name.
        file: String,
    },
    /// The training that the browser keeps: told at the start, and whenever it changes.
    Kept {
        /// `None` when it keeps none.
        training: Option<KeptTraining>,
    },
    /// The training cannot be kept; it goes on.
    NotKept {
        /// Why, and what to do, in whole sentences.
        message: String,
    },
    /// The training is paused.
    Paused {
        /// Steps made so far.
        step: u64,
    },
    /// The training goes on.
    Resumed {
        /// Steps made so far.
        step: u64,
    },
    /// The training has ended: finished, stopped or in trouble.
    Stopped {
        /// Steps made in all.
        step: u64,
        /// `None` when it was stopped or came to its end; else what went wrong.
        trouble: Option<String>,
    },
    /// A loaded model as a weight file. Buffers: its bytes.
    Saved {
        /// The name given in [`Command::LoadModel`].
        model: String,
        /// What was written.
        format: WeightFormat,
    },
    /// A picture is in the zip.
    Packed {
        /// How many there are now.
        count: u32,
    },
    /// The zip is complete. Buffers: its bytes.
    Zip,
    /// A weight file. Buffers: its bytes.
    Weights {
        /// Suggested file name.
        file: String,
        /// Which generator.
        direction: Direction,
    },
}
