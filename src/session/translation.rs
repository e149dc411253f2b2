//! Serving one [`Command::Translate`](crate::protocol::Command::Translate).

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use burn::tensor::backend::Backend;
use web_time::Instant;

use super::{Host, Place};
use crate::image::{Decoded, Picture};
use crate::kernels::Kernels;
use crate::model::{Architecture, Generator};
use crate::protocol::{Envelope, Event, Input, ModelInfo, Size, Stage};
use crate::translate::{TranslateError, Watcher, translate_at};
use crate::weights::networks::{export, load_generator};
use crate::weights::{Format, Storage, WeightError, WeightFile};

/// A generator ready to translate.
#[derive(Clone, Debug)]
pub struct Model<B: Backend> {
    /// The network.
    pub generator: Generator<B>,
    /// Its width, which decides the memory it takes.
    pub ngf: usize,
    /// Side in pixels of the images it was trained on; 0 when unknown.
    pub size: u32,
    /// What its weight file says besides the weights; `None` for a generator in training.
    pub origin: Option<Origin>,
}

/// What it takes to write a loaded generator's weight file again.
#[derive(Clone, Debug)]
pub struct Origin {
    architecture: Architecture,
    metadata: BTreeMap<String, String>,
}

impl<B: Kernels> Model<B> {
    /// The generator in a weight file's bytes (that of the name `part`, if given), and what it is; `data` are the files
    /// that [`WeightFile::data_files`] asks for.
    pub fn load(
        bytes: &[u8],
        data: &[(String, Vec<u8>)],
        part: Option<&str>,
        device: &B::Device,
    ) -> Result<(Self, ModelInfo), WeightError> {
        let file = WeightFile::read_with(bytes, data)?.network(part)?;
        let architecture = file.generator()?;
        let settings = architecture.settings().unwrap_or_default();
        let settings = settings.into_iter().map(|(option, value)| (option.to_owned(), value)).collect();
        let info = ModelInfo { settings, ..file.info() };
        let Some((ngf, _)) = architecture.generator_size() else {
            return Err(WeightError::NotAGenerator { found: architecture.name() });
        };
        let origin = Some(Origin { architecture, metadata: file.metadata.clone() });
        Ok((Self { generator: load_generator(file, device)?, ngf, size: info.size, origin }, info))
    }

    /// The bytes of its weight file; the error is a sentence.
    pub async fn save(&self, format: Format) -> Result<Vec<u8>, String> {
        let Some(Origin { architecture, metadata }) = &self.origin else {
            return Err("A generator in training is saved from where it trains.".into());
        };
        let tensors = export(&self.generator, &architecture.parameters(), "").await?;
        let file = WeightFile { metadata: metadata.clone(), tensors, ..WeightFile::default() };
        file.write_as(format, Storage::F32).map_err(|error| error.to_string())
    }
}

/// One picture to translate.
pub struct Request {
    /// The page's number.
    pub job: u32,
    /// What `bytes` are.
    pub input: Input,
    /// A file or RGBA8 pixels.
    pub bytes: Vec<u8>,
    /// Shrink to this longer side first.
    pub max_side: Option<u32>,
    /// At which size to compute.
    pub size: Size,
}

struct Reporter<'a, H> {
    job: u32,
    host: &'a H,
}

impl<H: Host> Watcher for Reporter<'_, H> {
    async fn progress(&self, fraction: f32) -> ControlFlow<()> {
        self.host.emit(Event::Progress { job: self.job, stage: Stage::Translating, fraction }.into());
        self.host.breathe().await;
        if self.host.inbox().take_cancel(self.job) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// Translates and reports. `Err`: the device is lost, in its own words, and the command should be tried elsewhere.
pub async fn serve<B: Kernels, H: Host>(
    model: &Model<B>,
    request: Request,
    place: &Place<B::Device>,
    host: &H,
) -> Result<(), String> {
    let Request { job, input, bytes, max_side, size } = request;
    let named = match &input {
        Input::File { name } => format!("{name}: "),
        Input::Pixels { .. } => String::new(),
    };
    host.emit(Event::Progress { job, stage: Stage::Decoding, fraction: 0.0 }.into());
    host.breathe().await;
    let (picture, notes) = match decoded(input, bytes) {
        Ok(Decoded { picture, notes }) => match max_side {
            Some(side) => (picture.shrink_to(side), notes),
            None => (picture, notes),
        },
        Err(message) => {
            host.emit(Event::Failed { job: Some(job), model: None, message }.into());
            return Ok(());
        }
    };
    let start = Instant::now();
    let reporter = Reporter { job, host };
    let side = size.side(model.size);
    let Model { generator, ngf, .. } = model;
    let result = translate_at(generator, *ngf, &picture, side, &place.device, place.budget, &reporter).await;
    let event = match result {
        Ok((result, computed)) => {
            let event = Event::Translated {
                job,
                width: result.width,
                height: result.height,
                computed,
                milliseconds: start.elapsed().as_secs_f64() * 1e3,
                device: place.name.clone(),
                mean_absolute_error: picture.mean_absolute_error(&result),
                notes,
            };
            Envelope::with(event, vec![picture.pixels, result.pixels])
        }
        Err(TranslateError::TooLarge { width, height, needed, limit, largest_side }) => {
            Event::TooLarge { job, width, height, needed, limit, largest_side }.into()
        }
        Err(TranslateError::Cancelled) => Event::Cancelled { job }.into(),
        Err(TranslateError::Device(reason)) => return Err(reason),
        Err(error @ (TranslateError::TooSmall { .. } | TranslateError::Channels { .. } | TranslateError::Opaque)) => {
            Event::Failed { job: Some(job), model: None, message: format!("{named}{error}") }.into()
        }
    };
    host.emit(event);
    Ok(())
}

fn decoded(input: Input, bytes: Vec<u8>) -> Result<Decoded, String> {
    match input {
        Input::File { name } => Picture::read(&bytes).map_err(|error| format!("{name}: {error}")),
        Input::Pixels { width, height } => {
            let expected = u64::from(width) * u64::from(height) * 4;
            if bytes.len() as u64 == expected {
                Ok(Decoded { picture: Picture { width, height, pixels: bytes }, notes: Vec::new() })
            } else {
                Err(format!("A picture of {width}×{height} needs {expected} bytes, not {}.", bytes.len()))
            }
        }
    }
}
