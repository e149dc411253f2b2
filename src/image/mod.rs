//! Pictures: RGBA8 pixels, the files they come from, and the planes that networks take.

mod animation;
mod augment;
mod canvas;
mod colour;
mod decode;
mod error;
mod gif;
mod jpeg;
mod png;
mod quantise;
mod raster;
mod resize;
mod sniff;
mod tiff;
mod webp;

#[cfg(not(target_family = "wasm"))]
use image::{ExtendedColorType, ImageEncoder};

pub use animation::{Animation, AnimationFormat, AnimationWriter, Frame, Frames, MAX_ANIMATION_PIXELS};
pub use decode::{Decoded, MAX_PIXELS};
pub use error::ImageError;

use crate::platform::blend;

/// A picture: straight (not premultiplied) RGBA8, row by row from the top.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// `4 × width × height` bytes.
    pub pixels: Vec<u8>,
}

impl Picture {
    /// A picture of one colour.
    pub fn filled(width: u32, height: u32, colour: [u8; 4]) -> Self {
        Self { width, height, pixels: colour.repeat(width as usize * height as usize) }
    }

    /// The pixel at column `x` of row `y`, or `None` outside.
    pub fn pixel(&self, x: u32, y: u32) -> Option<[u8; 4]> {
        let index = 4 * (y as usize * self.width as usize + x as usize);
        let inside = x < self.width && y < self.height;
        inside.then(|| self.pixels.get(index..index + 4)?.try_into().ok()).flatten()
    }

    /// Whether no pixel lets anything through.
    pub fn is_opaque(&self) -> bool {
        self.pixels.iter().skip(3).step_by(4).all(|alpha| *alpha == 255)
    }

    /// The bytes of a PNG file: RGB when opaque, RGBA otherwise.
    ///
    /// # Errors
    /// [`ImageError::Encoding`] when a side is 0 or the pixels do not match the sides.
    pub fn encode_png(&self) -> Result<Vec<u8>, ImageError> {
        let failed = |reason: String| ImageError::Encoding { reason };
        if self.pixels.len() as u64 != u64::from(self.width) * u64::from(self.height) * 4 {
            return Err(failed(format!("{} bytes are not {}×{} pixels", self.pixels.len(), self.width, self.height)));
        }
        let mut file = Vec::new();
        let mut encoder = ::png::Encoder::new(&mut file, self.width, self.height);
        let rgb: Vec<u8>;
        let (colours, samples) = if self.is_opaque() {
            rgb = self.pixels.as_chunks().0.iter().flat_map(|[r, g, b, _]| [*r, *g, *b]).collect();
            (::png::ColorType::Rgb, &rgb)
        } else {
            (::png::ColorType::Rgba, &self.pixels)
        };
        encoder.set_color(colours);
        encoder.set_compression(::png::Compression::Balanced);
        encoder.set_filter(::png::Filter::Adaptive);
        let written = encoder.write_header().and_then(|mut writer| writer.write_image_data(samples));
        written.map_err(|error| failed(error.to_string()))?;
        Ok(file)
    }

    /// The bytes of a JPEG file of quality 95, transparency laid on white.
    ///
    /// # Errors
    /// [`ImageError::Encoding`] when a side is 0 or larger than JPEG has.
    #[cfg(not(target_family = "wasm"))]
    pub fn encode_jpeg(&self) -> Result<Vec<u8>, ImageError> {
        let mut file = Vec::new();
        let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut file, 95);
        self.write_rgb(encoder)?;
        Ok(file)
    }

    /// The bytes of a lossless WebP file.
    ///
    /// # Errors
    /// [`ImageError::Encoding`] when a side is 0 or larger than WebP has.
    #[cfg(not(target_family = "wasm"))]
    pub fn encode_webp(&self) -> Result<Vec<u8>, ImageError> {
        let mut file = Vec::new();
        let encoder = image::codecs::webp::WebPEncoder::new_lossless(&mut file);
        if self.is_opaque() {
            self.write_rgb(encoder)?;
        } else {
            let written = encoder.write_image(&self.pixels, self.width, self.height, ExtendedColorType::Rgba8);
            written.map_err(|error| ImageError::Encoding { reason: error.to_string() })?;
        }
        Ok(file)
    }

    #[cfg(not(target_family = "wasm"))]
    fn write_rgb(&self, encoder: impl ImageEncoder) -> Result<(), ImageError> {
        let laid = self.laid_on_white();
        let rgb: Vec<u8> = laid.pixels.as_chunks().0.iter().flat_map(|[r, g, b, _]| [*r, *g, *b]).collect();
        let written = encoder.write_image(&rgb, self.width, self.height, ExtendedColorType::Rgb8);
        written.map_err(|error| ImageError::Encoding { reason: error.to_string() })
    }

    /// The same picture at another size, by a Catmull-Rom filter as wide as the shrinking needs:
    /// what PIL calls `BICUBIC`, the official code's choice. Transparent pixels lend no colour.
    /// A side of 0 is taken as 1.
    pub fn resize(&self, width: u32, height: u32) -> Self {
        let (width, height) = (width.max(1), height.max(1));
        if (width, height) == (self.width, self.height) || self.pixels.is_empty() {
            return self.clone();
        }
        resize::catmull_rom(self, width, height)
    }

    /// Shrunk, shape kept, so that the longer side is at most `max_side`; a smaller picture stays as it is.
    pub fn shrink_to(&self, max_side: u32) -> Self {
        let longer = self.width.max(self.height);
        if longer <= max_side.max(1) {
            return self.clone();
        }
        let scaled = |side: u32| {
            let exact = f64::from(side) * f64::from(max_side.max(1)) / f64::from(longer);
            (exact.round() as u32).max(1)
        };
        self.resize(scaled(self.width), scaled(self.height))
    }

    /// The part of `width`×`height` whose upper left corner is at (`x`, `y`), cut off at the borders.
    pub fn crop(&self, x: u32, y: u32, width: u32, height: u32) -> Self {
        let (x, y) = (x.min(self.width), y.min(self.height));
        let (width, height) = (width.min(self.width - x), height.min(self.height - y));
        let mut pixels = Vec::with_capacity(4 * width as usize * height as usize);
        for row in self.rows().skip(y as usize).take(height as usize) {
            pixels.extend_from_slice(&row[4 * x as usize..4 * (x + width) as usize]);
        }
        Self { width, height, pixels }
    }

    /// Mirrored: left becomes right.
    pub fn flip_horizontal(&self) -> Self {
        let mut pixels = Vec::with_capacity(self.pixels.len());
        for row in self.rows() {
            pixels.extend(row.rchunks_exact(4).flatten());
        }
        Self { pixels, ..*self }
    }

    /// What a network takes: 3 × height × width values, planes R, G, B, each `level / 127.5 − 1`
    /// in [−1, 1], with alpha laid on white.
    pub fn to_planes(&self) -> Vec<f32> {
        let count = self.pixels.len() / 4;
        let mut planes = vec![0.0; 3 * count];
        for (index, pixel) in self.pixels.chunks_exact(4).enumerate() {
            for (channel, level) in on_white(pixel).into_iter().enumerate() {
                planes[channel * count + index] = level / 127.5 - 1.0;
            }
        }
        planes
    }

    /// What a network of grey pictures takes: height × width values in [−1, 1], the luminance of ITU-R BT.601 in whole
    /// levels as Pillow's mode `L` has it (the official code's `Grayscale`), with alpha laid on white.
    pub fn to_grey_plane(&self) -> Vec<f32> {
        let grey = |pixel: &[u8]| {
            let [red, green, blue] = on_white(pixel);
            ((299.0 * red + 587.0 * green + 114.0 * blue) / 1000.0).round() / 127.5 - 1.0
        };
        self.pixels.chunks_exact(4).map(grey).collect()
    }

    /// What a network of pictures with alpha takes: planes R, G, B, A, each `level / 127.5 − 1` in [−1, 1].
    pub fn to_rgba_planes(&self) -> Vec<f32> {
        let plane = |channel: usize| self.pixels.iter().skip(channel).step_by(4);
        (0..4).flat_map(plane).map(|level| f32::from(*level) / 127.5 - 1.0).collect()
    }

    /// The picture of a network's output: planes R, G, B as in [`to_planes`](Self::to_planes) and, where there is a
    /// fourth, alpha, rounded to whole levels and clamped. Values that are missing or no numbers become black; without
    /// alpha it is opaque.
    pub fn from_planes(planes: &[f32], width: u32, height: u32) -> Self {
        let count = width as usize * height as usize;
        let level = |channel: usize, index: usize| {
            let value = planes.get(channel * count + index).copied().unwrap_or(-1.0);
            // A cast to u8 saturates, and makes 0 of NaN.
            ((value + 1.0) * 127.5).round() as u8
        };
        let has_alpha = planes.len() >= 4 * count;
        let alpha = |index: usize| if has_alpha { level(3, index) } else { 255 };
        let pixels = (0..count).flat_map(|index| [level(0, index), level(1, index), level(2, index), alpha(index)]);
        Self { width, height, pixels: pixels.collect() }
    }

    /// `strength` (0 to 1) of this picture and the rest of `original`, which has the same size and alpha; with another
    /// size nothing changes.
    pub fn blended(mut self, original: &Self, strength: f32) -> Self {
        if self.pixels.len() == original.pixels.len() {
            blend(&original.pixels, &mut self.pixels, strength);
        }
        self
    }

    /// This picture with the alpha of another of the same size.
    ///
    /// The colours undo the laying on white of [`to_planes`](Self::to_planes), as far as levels of 0
    /// to 255 can: laid on white again the result looks as this picture does now, so a network that
    /// changes nothing gives a transparent picture back unchanged. With an `original` that is opaque or
    /// of another size nothing changes.
    pub fn with_alpha_of(mut self, original: &Self) -> Self {
        if (self.width, self.height) != (original.width, original.height) || original.is_opaque() {
            return self;
        }
        for (pixel, source) in self.pixels.chunks_exact_mut(4).zip(original.pixels.chunks_exact(4)) {
            let alpha = f32::from(source[3]) / 255.0;
            if alpha > 0.0 {
                for level in &mut pixel[..3] {
                    *level = ((f32::from(*level) - 255.0 * (1.0 - alpha)) / alpha).round() as u8;
                }
            }
            pixel[3] = source[3];
        }
        self
    }

    /// Mean absolute difference in levels of 0 to 255 over the three colours, alpha laid on white.
    /// Pictures of different sizes are as far apart as can be: 255.
    pub fn mean_absolute_error(&self, other: &Self) -> f32 {
        if (self.width, self.height) != (other.width, other.height) {
            return 255.0;
        }
        let pairs = self.pixels.chunks_exact(4).zip(other.pixels.chunks_exact(4));
        let difference = |(a, b): (&[u8], &[u8])| -> f64 {
            on_white(a).into_iter().zip(on_white(b)).map(|(a, b)| f64::from((a - b).abs())).sum()
        };
        let total: f64 = pairs.map(difference).sum();
        (total / (3.0 * (self.pixels.len() / 4).max(1) as f64)) as f32
    }

    /// The rows of pixels, from the top.
    fn rows(&self) -> impl Iterator<Item = &[u8]> {
        self.pixels.chunks_exact(4 * self.width.max(1) as usize)
    }
}

/// Red, green, blue of an RGBA8 pixel laid on white, 0 to 255.
fn on_white(pixel: &[u8]) -> [f32; 3] {
    let alpha = f32::from(pixel[3]) / 255.0;
    [pixel[0], pixel[1], pixel[2]].map(|level| f32::from(level) * alpha + 255.0 * (1.0 - alpha))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every pixel different from its neighbours.
    fn chequered(width: u32, height: u32) -> Picture {
        let pixels = (0..width * height).flat_map(|i| [(i * 37) as u8, (i * 59 + 11) as u8, (i * 83) as u8, 255]);
        Picture { width, height, pixels: pixels.collect() }
    }

    #[test]
    fn planes_and_back_change_nothing() {
        let picture = chequered(7, 5);
        let planes = picture.to_planes();
        assert_eq!(planes.len(), 3 * 35);
        assert_eq!(planes[0], f32::from(picture.pixels[0]) / 127.5 - 1.0);
        assert_eq!(planes[35 + 1], f32::from(picture.pixels[5]) / 127.5 - 1.0, "the second plane is green");
        assert_eq!(Picture::from_planes(&planes, 7, 5), picture);
    }

    #[test]
    fn planes_are_rounded_and_clamped() {
        let picture = Picture::from_planes(&[-3.0, 0.001, f32::NAN], 1, 1);
        assert_eq!(picture.pixels, [0, 128, 0, 255]);
        assert_eq!(Picture::from_planes(&[7.0, 1.0, -1.0], 1, 1).pixels, [255, 255, 0, 255]);
    }

    #[test]
    fn alpha_is_laid_on_white_and_put_back() {
        let mut picture = chequered(16, 16);
        for (index, pixel) in picture.pixels.chunks_exact_mut(4).enumerate() {
            pixel[3] = index as u8;
        }
        let laid = Picture::from_planes(&picture.to_planes(), 16, 16);
        assert!(laid.is_opaque());
        assert_eq!(laid.pixel(0, 0), Some([255, 255, 255, 255]), "a fully transparent pixel is white");
        assert!(laid.mean_absolute_error(&picture) < 0.3, "rounding only");
        let back = laid.with_alpha_of(&picture);
        for (pixel, original) in back.pixels.chunks_exact(4).zip(picture.pixels.chunks_exact(4)) {
            assert_eq!(pixel[3], original[3]);
            if original[3] >= 128 {
                assert!((0..3).all(|c| pixel[c].abs_diff(original[c]) <= 1), "{pixel:?} {original:?}");
            }
        }
        assert!(back.mean_absolute_error(&picture) < 0.3);
    }

    #[test]
    fn grey_and_alpha_planes_are_those_of_pillow() {
        // Image.convert("L") of these: 76, 150, 29, 93.
        let colours = [[255, 0, 0, 255], [0, 255, 0, 255], [0, 0, 255, 255], [10, 140, 70, 255]];
        let picture = Picture { width: 4, height: 1, pixels: colours.concat() };
        let levels: Vec<f32> = picture.to_grey_plane().iter().map(|value| (value + 1.0) * 127.5).collect();
        assert_eq!(levels.iter().map(|level| level.round() as u8).collect::<Vec<_>>(), [76, 150, 29, 93]);
        let clear = Picture { width: 2, height: 1, pixels: vec![0, 51, 102, 0, 255, 0, 204, 153] };
        assert_eq!(clear.to_grey_plane()[0], 1.0, "laid on white");
        assert_eq!(clear.to_rgba_planes().len(), 8);
        assert_eq!(Picture::from_planes(&clear.to_rgba_planes(), 2, 1), clear, "colours and alpha as they are");
    }

    #[test]
    fn crops_and_flips_move_the_right_pixels() {
        let picture = chequered(6, 4);
        let part = picture.crop(2, 1, 3, 2);
        assert_eq!((part.width, part.height, part.pixels.len()), (3, 2, 24));
        assert_eq!(part.pixel(0, 0), picture.pixel(2, 1));
        assert_eq!(part.pixel(2, 1), picture.pixel(4, 2));
        assert_eq!(picture.crop(4, 3, 100, 100).pixels.len(), 2 * 4, "cut off at the borders");
        let flipped = picture.flip_horizontal();
        assert_eq!(flipped.pixel(0, 3), picture.pixel(5, 3));
        assert_eq!(flipped.flip_horizontal(), picture);
    }

    #[test]
    fn a_png_round_trip_keeps_every_pixel() {
        let mut picture = chequered(9, 3);
        for _ in 0..2 {
            let file = picture.encode_png().expect("a picture can be written");
            assert_eq!(Picture::decode(&file).expect("its own file can be read"), picture);
            picture.pixels[3] = 7;
        }
        assert!(Picture { width: 3, height: 3, pixels: vec![0; 4] }.encode_png().is_err());
    }

    #[test]
    fn jpeg_and_webp_files_hold_the_picture() {
        let mut picture = Picture::filled(20, 10, [200, 40, 90, 255]);
        let jpeg = Picture::decode(&picture.encode_jpeg().expect("written")).expect("a JPEG");
        assert!(jpeg.mean_absolute_error(&picture) < 2.0);
        picture.pixels[..4].copy_from_slice(&[9, 8, 7, 6]);
        assert_eq!(Picture::decode(&picture.encode_webp().expect("written")), Ok(picture));
    }

    #[test]
    fn shrinking_keeps_the_shape_and_never_grows() {
        let picture = chequered(100, 50);
        let shrunk = picture.shrink_to(40);
        assert_eq!((shrunk.width, shrunk.height), (40, 20));
        assert_eq!(picture.shrink_to(100), picture);
        let thin = Picture::filled(1000, 1, [1, 2, 3, 255]).shrink_to(10);
        assert_eq!((thin.width, thin.height), (10, 1));
    }

    #[test]
    fn the_mean_absolute_error_is_in_levels() {
        let black = Picture::filled(4, 4, [0, 0, 0, 255]);
        assert_eq!(black.mean_absolute_error(&Picture::filled(4, 4, [3, 0, 0, 255])), 1.0);
        assert_eq!(black.mean_absolute_error(&Picture::filled(4, 4, [0, 0, 0, 0])), 255.0, "transparent is white");
        assert_eq!(black.mean_absolute_error(&black), 0.0);
    }
}
