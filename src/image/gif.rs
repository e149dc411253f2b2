//! GIF files.

use std::io::Cursor;
use std::num::NonZeroU64;
use std::sync::Arc;

use gif::{ColorOutput, DecodeOptions, Decoder, DecodingError, DisposalMethod, MemoryLimit};

use super::ImageError;
use super::canvas::{Canvas, Disposal, Part};
use super::colour::{self, Conversion};
use super::decode::{ALL_THERE, Decoded, MAX_DECODER_BYTES, admit};
use super::raster::{Raster, Samples};

const FORMAT: &str = "GIF";

/// What closes a file.
const TRAILER: u8 = 0x3B;

fn explain(error: DecodingError) -> ImageError {
    match error {
        DecodingError::Io(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            ImageError::Truncated { format: FORMAT }
        }
        error => {
            let words = error.to_string();
            match words.eq_ignore_ascii_case("unexpected end of file") {
                true => ImageError::Truncated { format: FORMAT },
                false => ImageError::Broken { format: FORMAT, reason: words.trim_end_matches('.').to_owned() },
            }
        }
    }
}

/// What would complete a file whose end is missing after its last pixel.
fn missing(bytes: &[u8]) -> Option<&'static [u8]> {
    let byte = |at: usize| bytes.get(at).copied();
    let table = |flags: u8| if flags & 0x80 > 0 { 6 << (flags & 7) } else { 0 };
    let mut at = 13 + table(byte(10)?);
    loop {
        match byte(at) {
            // Between two blocks.
            None => return (at == bytes.len()).then_some(&[TRAILER]),
            Some(0x21) => at += 2,
            Some(0x2C) => at += 11 + table(byte(at + 9)?),
            Some(_) => return None,
        }
        loop {
            match byte(at) {
                None => return (at == bytes.len()).then_some(&[0, TRAILER]),
                Some(0) => break,
                Some(length) => at += 1 + usize::from(length),
            }
        }
        at += 1;
    }
}

/// The frames of a GIF.
pub struct Frames {
    decoder: Decoder<Cursor<Arc<[u8]>>>,
    size: (u32, u32),
    plays: u32,
    /// Whether something was put at its end.
    pub is_completed: bool,
}

impl Frames {
    /// Opens a file, moving or not.
    pub fn open(bytes: &Arc<[u8]>) -> Result<Self, ImageError> {
        let tail = missing(bytes);
        let whole = tail.map_or_else(|| Arc::clone(bytes), |tail| [bytes, tail].concat().into());
        let mut options = DecodeOptions::new();
        options.set_color_output(ColorOutput::RGBA);
        options.set_memory_limit(NonZeroU64::new(MAX_DECODER_BYTES).map_or(MemoryLimit::Unlimited, MemoryLimit::Bytes));
        let decoder = options.read_info(Cursor::new(whole)).map_err(explain)?;
        let size = (u32::from(decoder.width()), u32::from(decoder.height()));
        admit(size.0, size.1, FORMAT)?;
        // The decoder does not tell "once", which a file says by saying nothing, from "for ever".
        let repeats = bytes.windows(11).any(|bytes| bytes == b"NETSCAPE2.0");
        let plays = match decoder.repeat() {
            _ if !repeats => 1,
            gif::Repeat::Infinite => 0,
            gif::Repeat::Finite(times) => u32::from(times),
        };
        Ok(Self { decoder, size, plays, is_completed: tail.is_some() })
    }

    /// Width and height of the animation, and how often it is played.
    pub fn about(&self) -> ((u32, u32), u32) {
        (self.size, self.plays)
    }

    /// What is said about its colours.
    pub fn conversion(&self) -> Result<Option<Conversion>, String> {
        self.decoder.icc_profile().map_or(Ok(None), colour::from_icc)
    }

    /// The next frame.
    pub fn next(&mut self) -> Result<Option<Part>, ImageError> {
        let Some(frame) = self.decoder.read_next_frame().map_err(explain)? else { return Ok(None) };
        Ok(Some(Part {
            x: frame.left.into(),
            y: frame.top.into(),
            width: frame.width.into(),
            height: frame.height.into(),
            pixels: frame.buffer.to_vec(),
            is_over: true,
            disposal: match frame.dispose {
                DisposalMethod::Any | DisposalMethod::Keep => Disposal::Keep,
                DisposalMethod::Background => Disposal::Background,
                DisposalMethod::Previous => Disposal::Previous,
            },
            milliseconds: u32::from(frame.delay) * 10,
        }))
    }
}

/// Reads a GIF file; of a moving one the first frame.
pub fn read(bytes: &[u8]) -> Result<Decoded, ImageError> {
    let mut frames = Frames::open(&bytes.into())?;
    let (width, height) = frames.size;
    let Some(part) = frames.next()? else {
        return Err(ImageError::Broken { format: FORMAT, reason: "there is no picture in it".into() });
    };
    let samples = Samples::Bytes(Canvas::new(width, height).lay(&part));
    let mut notes = if frames.is_completed { vec![ALL_THERE.into()] } else { Vec::new() };
    let raster = Raster { width, height, colours: 3, has_alpha: true, samples };
    let picture = raster.into_picture(frames.conversion(), &mut notes);
    Ok(Decoded { picture, notes })
}
