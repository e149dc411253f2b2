//! Animations, a frame at a time: GIF, WebP and animated PNG in, GIF and animated PNG out.

use std::cell::RefCell;
use std::io::{self, Cursor, Write};
use std::rc::Rc;
use std::sync::Arc;

use image::codecs::gif::GifDecoder;
use image::codecs::png::PngDecoder;
use image::codecs::webp::WebPDecoder;
use image::metadata::LoopCount;
use image::{AnimationDecoder, ColorType, ImageDecoder, ImageFormat};

use super::decode::{admit, explain, is_cut_off};
use super::{ImageError, Picture, sniff};

/// The most pixels of all frames together: an hour of 640×360 pixels at ten frames a second.
/// Memory is taken for one frame at a time; this bounds the time that a crafted file can ask for.
pub const MAX_ANIMATION_PIXELS: u64 = 1 << 33;

/// From 1 to 30: how coarsely 256 colours are chosen for a frame of a GIF; 10 is the crate's advice.
const GIF_SPEED: i32 = 10;

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
    kind: ImageFormat,
    format: &'static str,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// How many frames there are: at least two.
    pub frames: u32,
    /// How often it is played; 0 is for ever.
    pub plays: u32,
}

/// The frames of an [`Animation`], decoded as they are asked for.
pub struct Frames {
    frames: image::Frames<'static>,
    format: &'static str,
}

impl Iterator for Frames {
    type Item = Result<Frame, ImageError>;

    fn next(&mut self) -> Option<Self::Item> {
        let frame = self.frames.next()?.map_err(|error| explain(error, self.format));
        Some(frame.map(|frame| {
            let (numerator, denominator) = frame.delay().numer_denom_ms();
            let milliseconds = (numerator + denominator / 2) / denominator.max(1);
            let pixels = frame.into_buffer();
            let (width, height) = pixels.dimensions();
            Frame { picture: Picture { width, height, pixels: pixels.into_raw() }, milliseconds }
        }))
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
        let Ok((kind, format)) = sniff::format(bytes) else { return Ok(None) };
        if !matches!(kind, ImageFormat::Gif | ImageFormat::WebP | ImageFormat::Png) {
            return Ok(None);
        }
        let mut animation = Self { bytes: bytes.into(), kind, format, width: 0, height: 0, frames: 0, plays: 0 };
        let Some(frames) = animation.decoder()? else { return Ok(None) };
        let of_one = area(animation.width, animation.height);
        for frame in frames {
            frame?;
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
        frames.ok_or(ImageError::Broken { format: self.format, reason: "it is not animated".into() })
    }

    /// Fills in what the header says.
    fn decoder(&mut self) -> Result<Option<Frames>, ImageError> {
        let format = self.format;
        let explain = |error| explain(error, format);
        let file = Cursor::new(Arc::clone(&self.bytes));
        let (frames, plays) = match self.kind {
            ImageFormat::Gif => {
                let mut decoder = GifDecoder::new(file).map_err(explain)?;
                (self.width, self.height) = admit(&mut decoder, format)?;
                // The decoder does not tell "once", which a file says by saying nothing, from "for ever".
                let repeats = self.bytes.windows(11).any(|bytes| bytes == b"NETSCAPE2.0");
                let plays = if repeats { times(decoder.loop_count()) } else { 1 };
                (decoder.into_frames(), plays)
            }
            ImageFormat::WebP => {
                if is_cut_off(&self.bytes, self.kind) {
                    return Err(ImageError::Truncated { format });
                }
                let mut decoder = WebPDecoder::new(file).map_err(explain)?;
                if !decoder.has_animation() {
                    return Ok(None);
                }
                (self.width, self.height) = admit(&mut decoder, format)?;
                let plays = times(decoder.loop_count());
                (decoder.into_frames(), plays)
            }
            _ => {
                let mut decoder = PngDecoder::new(file).map_err(explain)?;
                // Frames of 16 bits are not composed by the decoder: such a file is taken as its first picture.
                let simple =
                    matches!(decoder.color_type(), ColorType::L8 | ColorType::La8 | ColorType::Rgb8 | ColorType::Rgba8);
                if !simple || !decoder.is_apng().map_err(explain)? {
                    return Ok(None);
                }
                (self.width, self.height) = admit(&mut decoder, format)?;
                let decoder = decoder.apng().map_err(explain)?;
                let plays = times(decoder.loop_count());
                (decoder.into_frames(), plays)
            }
        };
        self.plays = plays;
        Ok(Some(Frames { frames, format }))
    }

    /// The format that keeps most of it: GIF for a GIF; PNG, with all colours, for the others
    /// (there is no well-kept encoder of animated WebP in Rust).
    pub fn best_format(&self) -> AnimationFormat {
        if self.kind == ImageFormat::Gif { AnimationFormat::Gif } else { AnimationFormat::Png }
    }
}

fn times(count: LoopCount) -> u32 {
    match count {
        LoopCount::Infinite => 0,
        LoopCount::Finite(times) => times.get(),
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
}

enum Encoder {
    Gif(gif::Encoder<Fresh>),
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
                Encoder::Gif(encoder)
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
        Ok(Self { out, fresh, encoder, width, height })
    }

    /// Adds a frame.
    ///
    /// # Errors
    /// [`ImageError::Encoding`] when it has another size or cannot be written.
    pub fn write(&mut self, mut frame: Frame) -> Result<(), ImageError> {
        let Picture { width, height, pixels } = &mut frame.picture;
        if (*width, *height) != (self.width, self.height) || pixels.len() as u64 != area(self.width, self.height) * 4 {
            return Err(failed(format!("a frame of {width}×{height} pixels among {}×{}", self.width, self.height)));
        }
        match &mut self.encoder {
            Encoder::Gif(encoder) => {
                // Both fit: checked when the encoder was made.
                let mut coloured =
                    gif::Frame::from_rgba_speed(self.width as u16, self.height as u16, pixels, GIF_SPEED);
                coloured.delay = u16::try_from(frame.milliseconds.saturating_add(5) / 10).unwrap_or(u16::MAX);
                // Otherwise this frame would be seen through the holes of the next one.
                coloured.dispose = gif::DisposalMethod::Background;
                encoder.write_frame(&coloured).map_err(failed)?;
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
            Encoder::Gif(encoder) => drop(encoder.into_inner().map_err(failed)?),
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
    fn animated_webp_is_read() {
        let file = include_bytes!("../../tests/fixtures/images/animated.webp");
        let animation = Animation::open(file).expect("whole").expect("animated");
        assert_eq!((animation.width, animation.height, animation.frames), (48, 32, 3));
        assert_eq!(animation.best_format(), AnimationFormat::Png);
        let delays: Vec<u32> = animation.frames().expect("opened").flatten().map(|frame| frame.milliseconds).collect();
        assert_eq!(delays, [100; 3]);
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
        wide[6..8].fill(0xFF);
        assert_eq!(Animation::open(&wide).err(), Some(ImageError::TooLarge { width: 65_535, height: 10 }));
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
