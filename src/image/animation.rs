//! Animations, a frame at a time: GIF, WebP and animated PNG in, GIF and animated PNG out.

use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;
use std::sync::Arc;

use super::canvas::{Canvas, Part};
use super::colour::Conversion;
use super::decode::ALL_THERE;
use super::raster::told;
use super::sniff::Kind;
use super::{ImageError, Picture, gif as gif_file, png as png_file, quantise, sniff, webp};

/// The most pixels of all frames together: an hour of 640×360 pixels at ten frames a second.
/// Memory is taken for one frame at a time; this bounds the time that a crafted file can ask for.
pub const MAX_ANIMATION_PIXELS: u64 = 1 << 33;

/// One frame, whole: what is seen while it lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What is seen.
    pub picture: Picture,
    /// How long, in milliseconds.
    pub milliseconds: u32,
}

/// An animation in a file.
#[derive(Clone, Debug)]
pub struct Animation {
    bytes: Arc<[u8]>,
    kind: Kind,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// How many frames there are: at least two.
    pub frames: u32,
    /// How often it is played; 0 is for ever.
    pub plays: u32,
    /// Whether something can be seen through in one of the frames.
    pub has_holes: bool,
    /// What was converted, assumed or missing, in whole sentences.
    pub notes: Vec<String>,
}

/// The frames of an [`Animation`], decoded as they are asked for.
pub struct Frames {
    file: File,
    canvas: Canvas,
    size: (u32, u32),
    conversion: Option<Conversion>,
    is_over: bool,
}

enum File {
    Gif(Box<gif_file::Frames>),
    Png(Box<png_file::Frames>),
    WebP(webp::Frames),
}

impl File {
    fn next(&mut self) -> Result<Option<Part>, ImageError> {
        match self {
            Self::Gif(frames) => frames.next(),
            Self::Png(frames) => frames.next(),
            Self::WebP(frames) => frames.next(),
        }
    }
}

impl Iterator for Frames {
    type Item = Result<Frame, ImageError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let part = self.file.next();
        self.is_over = !matches!(part, Ok(Some(_)));
        let part = match part {
            Ok(part) => part?,
            Err(error) => return Some(Err(error)),
        };
        let mut pixels = self.canvas.lay(&part);
        if let Some(conversion) = &self.conversion {
            conversion.apply(&mut pixels);
        }
        let (width, height) = self.size;
        Some(Ok(Frame { picture: Picture { width, height, pixels }, milliseconds: part.milliseconds }))
    }
}

impl Animation {
    /// Opens an animated GIF, WebP or PNG file. `None` for a still picture and for everything else, which
    /// [`Picture::decode`] is for. All frames are decoded once, one after the other, to count them.
    ///
    /// # Errors
    /// When it is larger than a picture may be, has too many frames ([`MAX_ANIMATION_PIXELS`]), is cut off or damaged.
    pub fn open(bytes: &[u8]) -> Result<Option<Self>, ImageError> {
        Self::open_within(bytes, MAX_ANIMATION_PIXELS)
    }

    fn open_within(bytes: &[u8], most_pixels: u64) -> Result<Option<Self>, ImageError> {
        let Ok(kind @ (Kind::Gif | Kind::WebP | Kind::Png)) = sniff::kind(bytes) else { return Ok(None) };
        let notes = Vec::new();
        let bytes = bytes.into();
        let mut animation = Self { bytes, kind, width: 0, height: 0, frames: 0, plays: 0, has_holes: false, notes };
        let Some(frames) = animation.decoder()? else { return Ok(None) };
        let of_one = area(animation.width, animation.height);
        for frame in frames {
            animation.has_holes |= !frame?.picture.is_opaque();
            animation.frames += 1;
            if u64::from(animation.frames) * of_one > most_pixels {
                return Err(ImageError::TooLong { width: animation.width, height: animation.height });
            }
        }
        Ok((animation.frames > 1).then_some(animation))
    }

    /// Its frames from the first on.
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    pub fn frames(&self) -> Result<Frames, ImageError> {
        let frames = self.clone().decoder()?;
        frames.ok_or(ImageError::Broken { format: "image", reason: "it is not animated".into() })
    }

    /// Fills in what the header says.
    fn decoder(&mut self) -> Result<Option<Frames>, ImageError> {
        let is_completed;
        let (file, (size, plays), conversion) = match self.kind {
            Kind::Gif => {
                let frames = gif_file::Frames::open(&self.bytes)?;
                is_completed = frames.is_completed;
                let (about, conversion) = (frames.about(), frames.conversion());
                (File::Gif(Box::new(frames)), about, conversion)
            }
            Kind::WebP => {
                let Some(frames) = webp::Frames::open(&self.bytes)? else { return Ok(None) };
                is_completed = frames.is_completed;
                let (about, conversion) = (frames.about(), frames.conversion());
                (File::WebP(frames), about, conversion)
            }
            _ => {
                let Some(frames) = png_file::Frames::open(&self.bytes)? else { return Ok(None) };
                is_completed = frames.is_completed;
                let (about, conversion) = (frames.about(), frames.conversion());
                (File::Png(Box::new(frames)), about, conversion)
            }
        };
        self.notes.clear();
        if is_completed {
            self.notes.push(ALL_THERE.into());
        }
        let conversion = match conversion {
            Ok(conversion) => conversion.filter(|conversion| conversion.inputs < 4),
            Err(name) => {
                let note = format!("Its colours may be wrong: its colour profile, {name}, cannot be followed.");
                self.notes.push(note);
                None
            }
        };
        self.notes.extend(conversion.as_ref().map(told));
        (self.width, self.height, self.plays) = (size.0, size.1, plays);
        Ok(Some(Frames { file, canvas: Canvas::new(size.0, size.1), size, conversion, is_over: false }))
    }

    /// The format that keeps most of it: GIF for a GIF; PNG, with all colours, for the others
    /// (there is no well-kept encoder of animated WebP in Rust).
    pub fn best_format(&self) -> AnimationFormat {
        if self.kind == Kind::Gif { AnimationFormat::Gif } else { AnimationFormat::Png }
    }
}

/// What an animation is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnimationFormat {
    /// 256 colours a frame, transparent or not.
    Gif,
    /// Animated PNG: all colours and transparencies; a program that does not know it shows the first frame.
    Png,
}

impl AnimationFormat {
    /// What its files' names end in.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Gif => "gif",
            Self::Png => "png",
        }
    }
}

/// Writes an animation frame by frame.
pub struct AnimationWriter<W: Write> {
    out: W,
    /// What the encoder wrote since the last frame: encoders keep what they write to.
    fresh: Fresh,
    encoder: Encoder,
    width: u32,
    height: u32,
    has_holes: bool,
}

enum Encoder {
    /// With the last frame, which waits for the next one: what becomes of its place depends on that.
    Gif(gif::Encoder<Fresh>, Option<Frame>),
    Png(Box<png::Writer<Fresh>>),
}

/// Bytes that two hold.
#[derive(Clone, Default)]
struct Fresh(Rc<RefCell<Vec<u8>>>);

impl Write for Fresh {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<W: Write> AnimationWriter<W> {
    /// Begins an animation of so many `frames` of `width`×`height` pixels, `plays` times (0 is for ever).
    ///
    /// # Errors
    /// [`ImageError::Encoding`] when it is too large for the format.
    pub fn new(
        out: W,
        format: AnimationFormat,
        (width, height): (u32, u32),
        frames: u32,
        plays: u32,
    ) -> Result<Self, ImageError> {
        let fresh = Fresh::default();
        let encoder = match format {
            AnimationFormat::Gif => {
                let side = |side: u32| u16::try_from(side).map_err(failed);
                let mut encoder = gif::Encoder::new(fresh.clone(), side(width)?, side(height)?, &[]).map_err(failed)?;
                let plays = u16::try_from(plays).unwrap_or(0);
                if plays != 1 {
                    let repeat = if plays == 0 { gif::Repeat::Infinite } else { gif::Repeat::Finite(plays) };
                    encoder.set_repeat(repeat).map_err(failed)?;
                }
                Encoder::Gif(encoder, None)
            }
            AnimationFormat::Png => {
                let mut encoder = png::Encoder::new(fresh.clone(), width, height);
                encoder.set_color(png::ColorType::Rgba);
                encoder.set_depth(png::BitDepth::Eight);
                encoder.set_animated(frames, plays).map_err(failed)?;
                encoder.validate_sequence(true);
                Encoder::Png(Box::new(encoder.write_header().map_err(failed)?))
            }
        };
        Ok(Self { out, fresh, encoder, width, height, has_holes: false })
    }

    /// With holes to come, every frame of a GIF has a transparent colour: some programs, Pillow among them, see none in
    /// later frames when the first has none.
    pub fn expecting_holes(self, has_holes: bool) -> Self {
        Self { has_holes, ..self }
    }

    /// Adds a frame.
    ///
    /// # Errors
    /// [`ImageError::Encoding`] when it has another size or cannot be written.
    pub fn write(&mut self, frame: Frame) -> Result<(), ImageError> {
        let Picture { width, height, pixels } = &frame.picture;
        if (*width, *height) != (self.width, self.height) || pixels.len() as u64 != area(self.width, self.height) * 4 {
            return Err(failed(format!("a frame of {width}×{height} pixels among {}×{}", self.width, self.height)));
        }
        match &mut self.encoder {
            Encoder::Gif(encoder, waiting) => {
                let has_hole = pixels.iter().skip(3).step_by(4).any(|alpha| quantise::is_hole(*alpha));
                if let Some(before) = waiting.replace(frame) {
                    write_gif(encoder, &before, has_hole, self.has_holes)?;
                }
            }
            Encoder::Png(writer) => {
                let milliseconds = u16::try_from(frame.milliseconds).unwrap_or(u16::MAX);
                writer.set_frame_delay(milliseconds, 1000).map_err(failed)?;
                writer.write_image_data(pixels).map_err(failed)?;
            }
        }
        self.pass_on()
    }

    /// Writes what stands at the end and gives back what was written to.
    ///
    /// # Errors
    /// [`ImageError::Encoding`] when it cannot be written or frames are missing.
    pub fn finish(mut self) -> Result<W, ImageError> {
        match self.encoder {
            Encoder::Gif(mut encoder, waiting) => {
                if let Some(last) = waiting {
                    write_gif(&mut encoder, &last, false, self.has_holes)?;
                }
                encoder.into_inner().map_err(failed)?;
            }
            Encoder::Png(writer) => writer.finish().map_err(failed)?,
        }
        self.out.write_all(&self.fresh.0.take()).map_err(failed)?;
        Ok(self.out)
    }

    fn pass_on(&mut self) -> Result<(), ImageError> {
        let bytes = self.fresh.0.take();
        self.out.write_all(&bytes).map_err(failed)
    }
}

/// Writes a frame, which goes before the next one if that has holes: it would be seen through them. Programs that clear
/// its place to the file's background do not when it has a transparent colour itself.
fn write_gif(encoder: &mut gif::Encoder<Fresh>, frame: &Frame, goes: bool, has_holes: bool) -> Result<(), ImageError> {
    let Frame { picture: Picture { width, height, pixels }, milliseconds } = frame;
    let quantise::Coloured { palette, numbers, transparent } = quantise::coloured(pixels, goes || has_holes);
    let mut coloured = gif::Frame {
        // Both fit: checked when the encoder was made.
        width: *width as u16,
        height: *height as u16,
        palette: Some(palette),
        buffer: numbers.into(),
        transparent,
        ..gif::Frame::default()
    };
    coloured.delay = u16::try_from(milliseconds.saturating_add(5) / 10).unwrap_or(u16::MAX);
    coloured.dispose = if goes { gif::DisposalMethod::Background } else { gif::DisposalMethod::Keep };
    encoder.write_frame(&coloured).map_err(failed)
}

fn area(width: u32, height: u32) -> u64 {
    u64::from(width) * u64::from(height)
}

fn failed(reason: impl std::fmt::Display) -> ImageError {
    ImageError::Encoding { reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLOURS: [[u8; 4]; 3] = [[250, 20, 30, 255], [20, 240, 40, 255], [30, 10, 220, 255]];

    fn written(format: AnimationFormat, plays: u32) -> Vec<u8> {
        let mut writer = AnimationWriter::new(Vec::new(), format, (20, 10), 3, plays).expect("a writer");
        for (index, colour) in COLOURS.into_iter().enumerate() {
            let mut picture = Picture::filled(20, 10, colour);
            picture.pixels[..4].fill(0);
            writer.write(Frame { picture, milliseconds: 40 + 30 * index as u32 }).expect("written");
        }
        writer.finish().expect("finished")
    }

    #[test]
    fn frames_delays_and_plays_come_back() {
        for (format, plays) in [(AnimationFormat::Gif, 0), (AnimationFormat::Gif, 1), (AnimationFormat::Png, 7)] {
            let file = written(format, plays);
            let animation = Animation::open(&file).expect("whole").expect("animated");
            assert_eq!((animation.width, animation.height, animation.frames, animation.plays), (20, 10, 3, plays));
            assert_eq!(animation.best_format(), format);
            let frames: Result<Vec<Frame>, _> = animation.frames().expect("opened before").collect();
            let frames = frames.expect("whole");
            assert_eq!(frames.iter().map(|frame| frame.milliseconds).collect::<Vec<_>>(), [40, 70, 100]);
            for (frame, colour) in frames.iter().zip(COLOURS) {
                assert_eq!(frame.picture.pixel(0, 0).map(|pixel| pixel[3]), Some(0), "{format:?}: transparency");
                assert_eq!(frame.picture.pixel(12, 7), Some(colour), "{format:?}");
            }
        }
    }

    #[test]
    fn a_frame_before_holes_goes_and_has_a_transparent_colour() {
        [true, false].into_iter().for_each(frames_before_holes);
    }

    /// Some programs, Pillow among them, clear a frame's place to the file's background unless the frame has a transparent
    /// colour.
    fn frames_before_holes(told: bool) {
        let writer = AnimationWriter::new(Vec::new(), AnimationFormat::Gif, (20, 15), 3, 0).expect("a writer");
        let mut writer = writer.expecting_holes(told);
        let many = (0..300_u32).flat_map(|i| [(i * 37) as u8, (i * 59) as u8, (i * 83) as u8, 255]);
        let full = Picture { width: 20, height: 15, pixels: many.collect() };
        let mut holes = full.clone();
        holes.pixels[3] = 0;
        for picture in [&full, &full, &holes] {
            writer.write(Frame { picture: picture.clone(), milliseconds: 50 }).expect("written");
        }
        let file = writer.finish().expect("finished");
        let mut decoder = gif::DecodeOptions::new().read_info(&file[..]).expect("a GIF");
        let mut found = Vec::new();
        while let Some(frame) = decoder.read_next_frame().expect("whole") {
            found.push((frame.dispose, frame.transparent.is_some()));
        }
        use gif::DisposalMethod::{Background, Keep};
        assert_eq!(found, [(Keep, told), (Background, true), (Keep, true)]);
        let animation = Animation::open(&file).expect("whole").expect("animated");
        assert!(animation.has_holes);
        let frames = animation.frames().expect("opened");
        let alphas: Vec<u8> = frames.map(|frame| frame.expect("whole").picture.pixels[3]).collect();
        assert_eq!(alphas, [255, 255, 0]);
    }

    #[test]
    fn animated_webp_is_read() {
        let file = include_bytes!("../../tests/fixtures/images/animated.webp");
        let animation = Animation::open(file).expect("whole").expect("animated");
        assert_eq!((animation.width, animation.height, animation.frames), (48, 32, 3));
        assert_eq!(animation.best_format(), AnimationFormat::Png);
        let delays: Vec<u32> = animation.frames().expect("opened").flatten().map(|frame| frame.milliseconds).collect();
        assert_eq!(delays, [100; 3]);
    }

    /// A chunk that browsers do not know stands at the end, and its end is missing; then the last frame's.
    #[test]
    fn a_moving_webp_without_its_end_is_shown_where_all_frames_are_there() {
        let frames = |file: &[u8]| {
            let animation = Animation::open(file)?.expect("animated");
            let frames: Result<Vec<Frame>, _> = animation.frames()?.collect();
            frames.map(|frames| (frames, animation.notes))
        };
        let whole = include_bytes!("../../tests/fixtures/images/animated.webp");
        let mut longer = [&whole[..], b"NONE\x04\0\0\0abcd"].concat();
        let size = (longer.len() as u32 - 8).to_le_bytes();
        longer[4..8].copy_from_slice(&size);
        let (found, notes) = frames(&longer[..longer.len() - 2]).expect("all frames are there");
        assert_eq!(found, frames(whole).expect("whole").0);
        assert_eq!(notes, [ALL_THERE]);
        for lost in [12 + 40, 12 + 80] {
            let cut = frames(&longer[..longer.len() - lost]).expect_err("a part of the last frame is missing");
            assert_eq!(cut, ImageError::Truncated { format: "WebP" });
        }
    }

    #[test]
    fn still_pictures_are_no_animations_and_broken_ones_say_so() {
        let png = Picture::filled(5, 5, [1, 2, 3, 255]).encode_png().expect("a picture");
        let still: [&[u8]; 4] = [&png, b"", b"nothing", include_bytes!("../../tests/fixtures/images/baseline.jpg")];
        for bytes in still {
            assert!(Animation::open(bytes).is_ok_and(|animation| animation.is_none()));
        }
        for (format, file) in [("GIF", written(AnimationFormat::Gif, 0)), ("PNG", written(AnimationFormat::Png, 0))] {
            let cut = Animation::open(&file[..file.len() * 2 / 3]).expect_err("cut off");
            assert!(cut.to_string().contains(format), "{cut}");
        }
    }

    #[test]
    fn too_many_frames_are_refused() {
        let file = written(AnimationFormat::Gif, 0);
        assert!(Animation::open_within(&file, 3 * 200).is_ok());
        let refused = Animation::open_within(&file, 3 * 200 - 1).expect_err("one pixel too many");
        assert_eq!(refused, ImageError::TooLong { width: 20, height: 10 });
        assert!(refused.to_string().contains("frames of 20×10 pixels"), "{refused}");
        // A crafted header is refused before its canvas is made.
        let mut wide = file.clone();
        wide[6..10].fill(0xFF);
        assert_eq!(Animation::open(&wide).err(), Some(ImageError::TooLarge { width: 65_535, height: 65_535 }));
    }

    #[test]
    fn no_damage_makes_the_decoders_panic() {
        let webp = include_bytes!("../../tests/fixtures/images/animated.webp").to_vec();
        for whole in [written(AnimationFormat::Gif, 0), written(AnimationFormat::Png, 0), webp] {
            for at in 0..whole.len() {
                let _ = Animation::open(&whole[..at]);
                for change in [0x01, 0x80, 0xFF] {
                    let mut damaged = whole.clone();
                    damaged[at] ^= change;
                    if let Ok(Some(animation)) = Animation::open(&damaged) {
                        assert!(animation.frames > 1);
                    }
                }
            }
        }
    }
}
