//! The parts of the state.

use std::rc::Rc;

use crate::{
    platform::blend,
    protocol::{BackendName, Input, Size, Stage as Part},
};

/// The two places of the page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// One picture at a time.
    #[default]
    Translate,
    /// Two piles of pictures.
    Train,
}

/// A picture to translate.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// File name, for people.
    pub name: String,
    /// Whether `bytes` is a file or pixels.
    pub input: Input,
    /// The file's bytes or RGBA8 pixels.
    pub bytes: Vec<u8>,
    /// Its address, if it is one of the samples.
    pub sample: Option<String>,
}

/// What a translation is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To see the picture in the other domain.
    There,
    /// To bring the result of that number back.
    Back(u32),
}

/// A wish for one translation; kept until the next, so that it can be tried again.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// What to translate.
    pub picture: Rc<Picture>,
    /// The model's id.
    pub model: String,
    /// What for.
    pub purpose: Purpose,
    /// Shrink to this longer side first.
    pub max_side: Option<u32>,
    /// At which size to compute.
    pub size: Size,
}

/// A translation under way.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// The number that the worker answers with.
    pub number: u32,
    /// What is wanted.
    pub request: Request,
    /// Whether the worker has been asked.
    pub sent: bool,
    /// Whether it has been tried again after the worker died.
    pub retried: bool,
    /// What the worker is doing, and how far it is (0 to 1).
    pub progress: Option<(Part, f32)>,
}

/// A translation at so many percent, the rest original.
pub fn mixed(before: &[u8], after: &[u8], strength: u32) -> Vec<u8> {
    let mut pixels = after.to_vec();
    if strength < 100 {
        blend(before, &mut pixels, strength as f32 / 100.0);
    }
    pixels
}

/// A result brought back by the other generator.
#[derive(Clone, Debug, PartialEq)]
pub struct Reconstruction {
    /// RGBA8, as large as the result.
    pub pixels: Vec<u8>,
    /// Mean absolute difference from the original's colours, in levels of 0–255.
    pub mean_absolute_error: f64,
    /// Time of the generator.
    pub milliseconds: f64,
}

/// A finished translation.
#[derive(Clone, Debug, PartialEq)]
pub struct Done {
    /// Its job's number.
    pub number: u32,
    /// What was wanted.
    pub request: Request,
    /// The model's title then.
    pub title: String,
    /// Width of all its pictures.
    pub width: u32,
    /// Height of all its pictures.
    pub height: u32,
    /// Width and height at which the generator computed.
    pub computed: [u32; 2],
    /// The original as decoded, RGBA8.
    pub before: Vec<u8>,
    /// The translation, RGBA8.
    pub after: Vec<u8>,
    /// Time of the generator.
    pub milliseconds: f64,
    /// What it ran on.
    pub device: String,
    /// What is to be said about the original and the network, in whole sentences.
    pub notes: Vec<String>,
    /// The way back, once asked for.
    pub back: Option<Reconstruction>,
}

impl Done {
    /// The translation at so many percent, the rest original.
    pub fn shown(&self, strength: u32) -> Vec<u8> {
        mixed(&self.before, &self.after, strength)
    }

    /// Bytes that it keeps in memory.
    pub fn bytes(&self) -> u64 {
        let back = self.back.as_ref().map_or(0, |back| back.pixels.len());
        (self.before.len() + self.after.len() + back + self.request.picture.bytes.len()) as u64
    }
}

/// What the stage shows.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Stage {
    /// The chosen model's example, and an invitation.
    #[default]
    Example,
    /// The picture of the running job.
    Busy,
    /// A finished translation.
    Done {
        /// Its number.
        number: u32,
        /// Whether the original is compared with the reconstruction instead of the result.
        back: bool,
    },
    /// An offer to translate a smaller picture.
    TooLarge {
        /// Size asked for.
        asked: (u32, u32),
        /// Size that fits.
        fits: (u32, u32),
        /// Bytes that the size asked for would take.
        needed: u64,
        /// Bytes that may be taken.
        limit: u64,
    },
    /// It did not work: why.
    Failed(String),
    /// The visitor gave up.
    Cancelled,
    /// The queue stands still.
    Halted(Halt),
    /// The camera, and what becomes of it.
    Live,
}

/// Why the queue stands still.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Halt {
    /// The visitor stopped it.
    Stopped,
    /// Its results fill the memory that they may take.
    Full,
    /// None of its pictures would succeed: why.
    Failed(String),
}

/// A picture that waits for its turn.
#[derive(Clone, Debug, PartialEq)]
pub enum Waiting {
    /// In hand.
    Here(Rc<Picture>),
    /// A file of the visitor's, read when its turn comes: hundreds of photos do not fit into memory at once.
    File {
        /// The page's number for it.
        key: u32,
        /// Its name.
        name: String,
    },
}

/// Several pictures given together, done one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// How many they are.
    pub total: usize,
    /// How many have been translated.
    pub done: usize,
    /// What could not be translated, and why: a sentence each, with the file's name.
    pub failures: Vec<String>,
    /// Whether it waits for [`Message::GoOn`](super::Message::GoOn).
    pub is_paused: bool,
    /// Results of higher numbers are its own, and are kept.
    pub(super) since: u32,
}

impl Batch {
    /// The number of the picture under way, from 1.
    pub fn current(&self) -> usize {
        (self.done + self.failures.len() + 1).min(self.total)
    }
}

/// The camera at work. It lives as long as the stage shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Live {
    /// Longer side of its frames, in pixels.
    pub side: u32,
    /// The last frame that came back.
    pub frame: Option<Frame>,
    /// How many came back.
    pub count: u32,
    /// How many pairs were kept as results.
    pub kept: u32,
    /// Whether nobody can see the page.
    pub is_hidden: bool,
    pub(super) step: Step,
}

impl Live {
    pub(super) fn new(side: u32) -> Self {
        Self { side, frame: None, count: 0, kept: 0, is_hidden: false, step: Step::Idle }
    }
}

/// Where the next frame is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Not asked for.
    Idle,
    /// On its way from the camera.
    Asked,
    /// With the worker.
    Sent {
        /// Under this number.
        job: u32,
        /// For this model.
        model: String,
    },
}

/// A frame of the camera and its translation.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// The model's id.
    pub model: String,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// The frame, RGBA8.
    pub before: Vec<u8>,
    /// Its translation, RGBA8.
    pub after: Vec<u8>,
    /// Time of the generator.
    pub milliseconds: f64,
    /// What it ran on.
    pub device: String,
}

/// A zip of the results on its way, one picture at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packing {
    /// The results, and the names of their files.
    pub(super) entries: Vec<(u32, String)>,
    /// How many are packed.
    pub packed: usize,
    /// How much of the translations they show, in percent.
    pub(super) strength: u32,
}

impl Packing {
    /// How many pictures it will hold.
    pub fn total(&self) -> usize {
        self.entries.len()
    }
}

/// The worker, as far as the page knows.
#[derive(Clone, Debug, PartialEq)]
pub enum Worker {
    /// On its way.
    Starting,
    /// At work.
    Ready {
        /// Backend in use.
        backend: BackendName,
        /// Adapter or processor.
        device: String,
        /// Why it is not the one hoped for.
        note: Option<String>,
    },
    /// It died twice without getting ready.
    Dead(String),
}

/// Something that the page has to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Whole sentences.
    pub text: String,
    /// Whether something went wrong.
    pub is_error: bool,
}
