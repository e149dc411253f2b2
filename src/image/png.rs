//! PNG files (W3C PNG, third edition), moving or not.

use std::io::{Cursor, ErrorKind};
use std::sync::Arc;

use image::metadata::Orientation;
use png::{BlendOp, ColorType, Decoder, DecodingError, DisposeOp, InterlaceInfo, Reader, Transformations};

use super::ImageError;
use super::canvas::{Disposal, Part};
use super::colour::{self, Conversion};
use super::decode::{ALL_THERE, Decoded, MAX_DECODER_BYTES, admit};
use super::raster::{Raster, Samples};

const FORMAT: &str = "PNG";

fn explain(error: DecodingError) -> ImageError {
    match error {
        DecodingError::IoError(error) if error.kind() == ErrorKind::UnexpectedEof => {
            ImageError::Truncated { format: FORMAT }
        }
        DecodingError::LimitsExceeded => {
            ImageError::Broken { format: FORMAT, reason: "decoding it would take too much memory".into() }
        }
        error => {
            let reason = error.to_string();
            ImageError::Broken { format: FORMAT, reason: reason.trim_end_matches('.').to_owned() }
        }
    }
}

/// A file, opened and admitted.
pub struct File {
    reader: Reader<Cursor<Arc<[u8]>>>,
    /// Width and height in pixels.
    pub size: (u32, u32),
}

impl File {
    fn open(bytes: Arc<[u8]>, transformations: Transformations) -> Result<Self, ImageError> {
        let mut decoder = Decoder::new_with_limits(
            Cursor::new(bytes),
            png::Limits { bytes: usize::try_from(MAX_DECODER_BYTES).unwrap_or(usize::MAX) },
        );
        decoder.set_transformations(transformations);
        let header = decoder.read_header_info().map_err(explain)?;
        let size = (header.width, header.height);
        admit(size.0, size.1, FORMAT)?;
        Ok(Self { reader: decoder.read_info().map_err(explain)?, size })
    }

    /// The rows of the (part of a) picture that comes next, without what follows them.
    fn rows(&mut self, width: u32, height: u32) -> Result<Vec<u8>, ImageError> {
        let line = self.reader.output_line_size(width).unwrap_or(0);
        let mut pixels = vec![0; line * height as usize];
        if !self.reader.info().interlaced {
            for row in pixels.chunks_exact_mut(line.max(1)) {
                self.reader.read_row(row).map_err(explain)?;
            }
            return Ok(pixels);
        }
        let (colours, depth) = self.reader.output_color_type();
        let bits = (colours.samples() * depth as usize) as u8;
        let mut row = vec![0; line];
        for _ in 0..interlaced_rows(width, height) {
            let place = self.reader.read_row(&mut row).map_err(explain)?;
            if let Some(InterlaceInfo::Adam7(pass)) = place {
                png::expand_interlaced_row(&mut pixels, line, &row, &pass, bits);
            }
        }
        Ok(pixels)
    }

    /// What the file says about its colours, the most certain first.
    pub fn conversion(&self) -> Result<Option<Conversion>, String> {
        let info = self.reader.info();
        if let Some(code) = &info.coding_independent_code_points {
            let full = u8::from(code.is_video_full_range_image);
            return colour::from_cicp([code.color_primaries, code.transfer_function, code.matrix_coefficients, full]);
        }
        if let Some(profile) = &info.icc_profile {
            return colour::from_icc(profile);
        }
        if info.srgb.is_some() || (info.gama_chunk.is_none() && info.chrm_chunk.is_none()) {
            return Ok(None);
        }
        let chromaticities =
            info.chrm_chunk.map(|c| [c.white, c.red, c.green, c.blue].map(|(x, y)| [x.into_value(), y.into_value()]));
        Ok(colour::from_gamma(info.gama_chunk.map(|gamma| gamma.into_value()), chromaticities))
    }
}

/// Rows of the seven passes of an interlaced picture, without empty passes.
fn interlaced_rows(width: u32, height: u32) -> u32 {
    let passes = [(0, 0, 8), (4, 0, 8), (0, 4, 8), (2, 0, 4), (0, 2, 4), (1, 0, 2), (0, 1, 2)];
    let rows = passes.map(|(x, y, step)| if width > x { height.saturating_sub(y).div_ceil(step) } else { 0 });
    rows.iter().sum()
}

/// Whether the last chunk is there.
fn has_end(bytes: &[u8]) -> bool {
    let mut at = 8_usize;
    while let Some(header) = bytes.get(at..at.saturating_add(8)) {
        if &header[4..] == b"IEND" {
            return true;
        }
        let length = u32::from_be_bytes([header[0], header[1], header[2], header[3]]);
        at = at.saturating_add(length as usize).saturating_add(12);
    }
    false
}

/// Reads a PNG file; of a moving one the still picture.
pub fn read(bytes: &[u8]) -> Result<Decoded, ImageError> {
    let mut file = File::open(bytes.into(), Transformations::EXPAND)?;
    let (width, height) = file.size;
    let conversion = file.conversion();
    let orientation = file.reader.info().exif_metadata.as_deref().and_then(Orientation::from_exif_chunk);
    let (colours, depth) = file.reader.output_color_type();
    let pixels = file.rows(width, height)?;
    let mut notes = Vec::new();
    if has_end(bytes) {
        // Checks the checksums of the last rows.
        file.reader.next_row().map_err(explain)?;
    } else {
        notes.push(ALL_THERE.into());
    }
    let raster = Raster {
        width,
        height,
        colours: if matches!(colours, ColorType::Grayscale | ColorType::GrayscaleAlpha) { 1 } else { 3 },
        has_alpha: matches!(colours, ColorType::GrayscaleAlpha | ColorType::Rgba),
        samples: if depth == png::BitDepth::Sixteen { Samples::words(&pixels) } else { Samples::Bytes(pixels) },
    };
    let picture = raster.into_picture(conversion, &mut notes);
    Ok(Decoded { picture, notes }.turned(orientation))
}

/// The frames of a moving PNG.
pub struct Frames {
    file: File,
    left: u32,
    /// Whether the next picture is the first, which may be no frame.
    is_first: bool,
    /// Whether its end is missing.
    pub is_completed: bool,
}

impl Frames {
    /// `None` for a still picture.
    pub fn open(bytes: &Arc<[u8]>) -> Result<Option<Self>, ImageError> {
        let transformations = Transformations::EXPAND | Transformations::STRIP_16;
        let file = File::open(Arc::clone(bytes), transformations)?;
        let control = file.reader.info().animation_control;
        let frames = control.filter(|control| control.num_frames > 1);
        Ok(frames.map(|control| Self { file, left: control.num_frames, is_first: true, is_completed: !has_end(bytes) }))
    }

    /// Width and height of the animation, and how often it is played.
    pub fn about(&self) -> ((u32, u32), u32) {
        (self.file.size, self.file.reader.info().animation_control.map_or(0, |control| control.num_plays))
    }

    /// What is said about its colours.
    pub fn conversion(&self) -> Result<Option<Conversion>, String> {
        self.file.conversion()
    }

    /// The next frame.
    pub fn next(&mut self) -> Result<Option<Part>, ImageError> {
        if self.left == 0 {
            return Ok(None);
        }
        let is_first = std::mem::take(&mut self.is_first);
        if !is_first || self.file.reader.info().frame_control.is_none() {
            self.file.reader.next_frame_info().map_err(explain)?;
        }
        let Some(control) = self.file.reader.info().frame_control else { return Ok(None) };
        let raw = self.file.rows(control.width, control.height)?;
        self.left -= 1;
        let wide = |r, g, b, a| [r, g, b, a];
        let pixels = match self.file.reader.output_color_type().0 {
            ColorType::Grayscale => raw.iter().flat_map(|l| wide(*l, *l, *l, 255)).collect(),
            ColorType::GrayscaleAlpha => raw.as_chunks().0.iter().flat_map(|[l, a]| wide(*l, *l, *l, *a)).collect(),
            ColorType::Rgba => raw,
            _ => raw.as_chunks().0.iter().flat_map(|[r, g, b]| wide(*r, *g, *b, 255)).collect(),
        };
        let seconds = if control.delay_den == 0 { 100 } else { u32::from(control.delay_den) };
        Ok(Some(Part {
            x: control.x_offset,
            y: control.y_offset,
            width: control.width,
            height: control.height,
            pixels,
            is_over: control.blend_op == BlendOp::Over,
            disposal: match control.dispose_op {
                DisposeOp::None => Disposal::Keep,
                DisposeOp::Background => Disposal::Background,
                DisposeOp::Previous => Disposal::Previous,
            },
            milliseconds: (u32::from(control.delay_num) * 1000 + seconds / 2) / seconds,
        }))
    }
}
