//! WebP files, moving or not.

use std::io::Cursor;
use std::sync::Arc;

use image::metadata::Orientation;
use image_webp::{DecodingError, LoopCount, WebPDecoder};

use super::ImageError;
use super::canvas::{Canvas, Disposal, Part};
use super::colour::{self, Conversion};
use super::decode::{ALL_THERE, Decoded, MAX_DECODER_BYTES, admit};
use super::raster::{Raster, Samples};

const FORMAT: &str = "WebP";

/// Where a file's first chunk is.
const START: usize = 12;

/// The most bytes at the end of a file whose loss may do no harm.
const MOST_MISSING: usize = 64;

fn explain(error: DecodingError) -> ImageError {
    match error {
        DecodingError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            ImageError::Truncated { format: FORMAT }
        }
        error => {
            let reason = error.to_string();
            ImageError::Broken { format: FORMAT, reason: reason.trim_end_matches('.').to_owned() }
        }
    }
}

/// One type of bytes for all, so that there is one decoder in the program.
type Reader = WebPDecoder<Cursor<Arc<[u8]>>>;

fn open(bytes: Arc<[u8]>) -> Result<Reader, ImageError> {
    let mut decoder = WebPDecoder::new(Cursor::new(bytes)).map_err(explain)?;
    let (width, height) = decoder.dimensions();
    admit(width, height, FORMAT)?;
    decoder.set_memory_limit(usize::try_from(MAX_DECODER_BYTES).unwrap_or(usize::MAX));
    Ok(decoder)
}

/// How many bytes are missing by what the header says.
fn missing(bytes: &[u8]) -> usize {
    let size = bytes.get(4..8).and_then(|size| size.try_into().ok()).map_or(0, u32::from_le_bytes);
    (size as usize).saturating_add(8).saturating_sub(bytes.len())
}

fn samples(decoder: &mut Reader) -> Result<Vec<u8>, ImageError> {
    let mut samples = vec![0; decoder.output_buffer_size().unwrap_or(0)];
    decoder.read_image(&mut samples).map_err(explain)?;
    Ok(samples)
}

fn conversion(decoder: &mut Reader) -> Result<Option<Conversion>, String> {
    let profile = decoder.icc_profile().ok().flatten();
    profile.map_or(Ok(None), |profile| colour::from_icc(&profile))
}

/// Reads a WebP file; of a moving one the first frame.
pub fn read(bytes: &[u8]) -> Result<Decoded, ImageError> {
    let (lost, mut notes) = (missing(bytes), Vec::new());
    let filled = |byte: u8| [bytes, &vec![byte; lost]].concat();
    if lost > 0 {
        // All pixels are there if nothing that could follow makes a difference.
        let read = |byte: u8| open(filled(byte).into()).and_then(|mut decoder| samples(&mut decoder)).ok();
        match (lost <= MOST_MISSING).then(|| read(0)).flatten() {
            Some(one) if Some(&one) == read(255).as_ref() => notes.push(ALL_THERE.into()),
            _ => return Err(ImageError::Truncated { format: FORMAT }),
        }
    }
    let whole: Arc<[u8]> = if lost > 0 { filled(0).into() } else { bytes.into() };
    let mut decoder = open(Arc::clone(&whole))?;
    let (width, height) = decoder.dimensions();
    let exif = decoder.exif_metadata().ok().flatten();
    let orientation = exif.as_deref().and_then(Orientation::from_exif_chunk);
    let conversion = conversion(&mut decoder);
    let (has_alpha, samples) = match Frames::open(&whole)? {
        Some(mut frames) => {
            let part = frames.next()?.ok_or(ImageError::Truncated { format: FORMAT })?;
            (true, Canvas::new(width, height).lay(&part))
        }
        None => (decoder.has_alpha(), samples(&mut decoder)?),
    };
    let raster = Raster { width, height, colours: 3, has_alpha, samples: Samples::Bytes(samples) };
    let picture = raster.into_picture(conversion, &mut notes);
    Ok(Decoded { picture, notes }.turned(orientation))
}

/// The frames of a moving WebP. The decoder's own composition starts from black where there is no alpha and from a
/// colour of the file's choice where there is; libwebp's and every browser's is transparent.
pub struct Frames {
    bytes: Arc<[u8]>,
    at: usize,
    size: (u32, u32),
    plays: u32,
    /// Whether something was put at its end.
    pub is_completed: bool,
}

impl Frames {
    /// `None` for a still picture.
    pub fn open(bytes: &Arc<[u8]>) -> Result<Option<Self>, ImageError> {
        let lost = missing(bytes);
        if lost == 0 {
            return Self::whole(bytes);
        }
        let filled = |byte: u8| -> Arc<[u8]> { [bytes, &vec![byte; lost.min(MOST_MISSING)][..]].concat().into() };
        let (one, other) = (Self::whole(&filled(0))?, Self::whole(&filled(255))?);
        let (Some(mut one), Some(mut other)) = (one, other) else { return Ok(None) };
        if lost > MOST_MISSING {
            return Err(ImageError::Truncated { format: FORMAT });
        }
        // All pixels are there if nothing that could follow makes a difference.
        while let (Ok(a), Ok(b)) = (one.next(), other.next()) {
            match (a, b) {
                (Some(a), Some(b)) if a.pixels == b.pixels => {}
                (None, None) => return Ok(Some(Self { at: START, is_completed: true, ..one })),
                _ => break,
            }
        }
        Err(ImageError::Truncated { format: FORMAT })
    }

    fn whole(bytes: &Arc<[u8]>) -> Result<Option<Self>, ImageError> {
        let decoder = open(Arc::clone(bytes))?;
        if !decoder.is_animated() {
            return Ok(None);
        }
        let plays = match decoder.loop_count() {
            LoopCount::Forever => 0,
            LoopCount::Times(times) => u32::from(times.get()),
        };
        let (bytes, size) = (Arc::clone(bytes), decoder.dimensions());
        Ok(Some(Self { bytes, at: START, size, plays, is_completed: false }))
    }

    /// Width and height of the animation, and how often it is played.
    pub fn about(&self) -> ((u32, u32), u32) {
        (self.size, self.plays)
    }

    /// What is said about its colours.
    pub fn conversion(&self) -> Result<Option<Conversion>, String> {
        open(Arc::clone(&self.bytes)).map_or(Ok(None), |mut decoder| conversion(&mut decoder))
    }

    /// The next frame.
    pub fn next(&mut self) -> Result<Option<Part>, ImageError> {
        let broken = || ImageError::Broken { format: FORMAT, reason: "a frame is not whole".into() };
        while let Some(header) = self.bytes.get(self.at..self.at.saturating_add(8)) {
            let length = number(&header[4..]) as usize;
            let from = self.at + 8;
            let is_frame = &header[..4] == b"ANMF";
            self.at = from.saturating_add(length).saturating_add(length % 2);
            if !is_frame {
                continue;
            }
            let frame = self.bytes.get(from..from.saturating_add(length)).ok_or_else(broken)?;
            let (header, data) = frame.split_at_checked(16).ok_or_else(broken)?;
            let three = |at: usize| number(&header[at..at + 3]);
            let (width, height) = (three(6) + 1, three(9) + 1);
            return Ok(Some(Part {
                x: 2 * three(0),
                y: 2 * three(3),
                width,
                height,
                pixels: still(data, width, height)?,
                is_over: header[15] & 2 == 0,
                disposal: if header[15] & 1 > 0 { Disposal::Background } else { Disposal::Keep },
                milliseconds: three(12),
            }));
        }
        Ok(None)
    }
}

/// A little-endian number of up to four bytes.
fn number(bytes: &[u8]) -> u32 {
    bytes.iter().take(4).rev().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

/// Straight RGBA8 of a frame's chunks, as a file of its own.
fn still(data: &[u8], width: u32, height: u32) -> Result<Vec<u8>, ImageError> {
    let size = |bytes: usize| (bytes as u32).to_le_bytes();
    let [w, h] = [width - 1, height - 1].map(u32::to_le_bytes);
    // What has alpha says so; an opaque picture is opaque with it, too.
    let flags = if data.starts_with(b"VP8 ") { 0 } else { 0x10 };
    let extended = [flags, 0, 0, 0, w[0], w[1], w[2], h[0], h[1], h[2]];
    let file = [b"RIFF", &size(22 + data.len())[..], b"WEBPVP8X", &size(10), &extended, data].concat();
    let mut decoder = open(file.into())?;
    if decoder.dimensions() != (width, height) {
        return Err(ImageError::Broken { format: FORMAT, reason: "a frame is of another size".into() });
    }
    let pixels = samples(&mut decoder)?;
    Ok(match decoder.has_alpha() {
        true => pixels,
        false => pixels.as_chunks().0.iter().flat_map(|[r, g, b]| [*r, *g, *b, 255]).collect(),
    })
}
