//! What happens to the page, and what it has to do then.

use std::rc::Rc;

use super::{Notice, Picture, Place};
use crate::{
    page::{models::Listed, training},
    protocol::{Command, Envelope, Event, Size, WeightFormat},
};

/// What happens to the page.
#[derive(Clone, Debug)]
pub enum Message {
    /// The visitor goes to a place.
    Go(Place),
    /// The list of models is here, or not: why.
    ModelsListed(Result<Vec<Listed>, String>),
    /// A model card is chosen.
    ChooseModel(String),
    /// Pictures are given.
    Pictures(Vec<Picture>),
    /// Picture files are given: the page's number for each, and its name.
    Files(Vec<(u32, String)>),
    /// A file has been read, or not: why.
    FileRead {
        /// Its number.
        key: u32,
        /// The picture.
        result: Result<Picture, String>,
    },
    /// A weight file is given.
    WeightFile {
        /// Its name.
        file: String,
        /// Its bytes.
        bytes: Vec<u8>,
        /// Files given with it that an ONNX graph's weights may lie in.
        data: Vec<(String, Vec<u8>)>,
    },
    /// Train a model further on the visitor's pictures: its id.
    FineTune(String),
    /// A loaded model is to be saved.
    SaveModel {
        /// Its id.
        model: String,
        /// As what.
        format: WeightFormat,
    },
    /// Some of a model's bytes are here.
    Downloading {
        /// Its id.
        model: String,
        /// Bytes so far.
        received: u64,
        /// Bytes in all, if known.
        total: Option<u64>,
    },
    /// A model's bytes are here, or not: why.
    Downloaded {
        /// Its id.
        model: String,
        /// Its bytes.
        result: Result<Vec<u8>, String>,
    },
    /// The worker says something.
    Worker(Envelope<Event>),
    /// The worker is dead.
    WorkerDead(String),
    /// Give up the job under way.
    Cancel,
    /// The worker has had time enough to give up this job.
    CancelOverdue(u32),
    /// The queue that stands still goes on.
    GoOn,
    /// All results are wanted in one zip.
    SaveAll,
    /// The last request once more.
    Retry,
    /// The last request, at the size that fits.
    TranslateSmaller,
    /// Compute at another size.
    SetSize(Size),
    /// Show so many percent of the translations.
    Strength(u32),
    /// Bring the result on the stage back.
    BackAgain,
    /// A result of this visit is wanted on the stage.
    ShowDone(u32),
    /// Compare with the reconstruction, or with the result.
    ShowBack(bool),
    /// Something to tell.
    Tell(Notice),
    /// A notice has been read.
    Dismiss(usize),
    /// For the live camera.
    Live(LiveMessage),
    /// For the Train place.
    Train(training::Message),
}

/// What happens to the live camera.
#[derive(Clone, Debug)]
pub enum LiveMessage {
    /// It is on.
    Start,
    /// The frame that was asked for.
    Frame {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// RGBA8.
        pixels: Vec<u8>,
    },
    /// Frames shall have this longer side, in pixels.
    Side(u32),
    /// The page can be seen, or no longer.
    Visible(bool),
    /// The pair on the stage is to be kept as a result.
    Keep,
    /// It is no longer wanted.
    Stop,
    /// It is gone: why.
    Lost(String),
}

/// What the page has to do.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "a handful at a time, carried out at once")]
pub enum Effect {
    /// Read the file of that number, then send [`Message::FileRead`].
    ReadFile(u32),
    /// Take a frame of this longer side from the live camera, then send [`LiveMessage::Frame`].
    TakeFrame(u32),
    /// Turn the live camera off.
    CloseCamera,
    /// Start a worker; the one before it ends.
    StartWorker,
    /// Send a command.
    Send(Envelope<Command>),
    /// Send a [`Command::Translate`] with this picture's bytes.
    Translate(Command, Rc<Picture>),
    /// Fetch the weights of a model.
    Download {
        /// Its id.
        model: String,
        /// Address of the weight file.
        file: String,
    },
    /// Stop fetching them.
    StopDownload(String),
    /// Send [`Message::CancelOverdue`] after a while.
    WatchCancel(u32),
    /// Collect the training data, then send [`training::Message::Gathered`].
    GatherTrainingData {
        /// Addresses of weight files that come before the pictures.
        weights: Vec<String>,
    },
    /// Hand a file to the visitor.
    SaveFile {
        /// Its name.
        name: String,
        /// Its bytes.
        bytes: Vec<u8>,
    },
}
