//! One image in, one image out, on any backend.

mod bands;
mod size;

use std::ops::ControlFlow;

use burn::tensor::{Tensor, TensorData};

use crate::image::Picture;
use crate::kernels::Kernels;
use crate::model::Generator;
use crate::protocol::SMALLEST_SIDE;

pub use size::{translate_at, working_size};

/// Why a picture could not be translated.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum TranslateError {
    /// A side is below 16 pixels, the smallest that a generator can do something sensible with.
    #[error("The image is {width}×{height} pixels; both sides must be at least {SMALLEST_SIDE}.")]
    TooSmall {
        /// Its width.
        width: u32,
        /// Its height.
        height: u32,
    },
    /// It would need more memory than there is; nothing was computed.
    #[error(
        "Translating {width}×{height} pixels would take {} MB of memory and {} MB may be used; at most {largest_side} pixels on the longer side fit.",
        needed >> 20, limit >> 20
    )]
    TooLarge {
        /// Its width.
        width: u32,
        /// Its height.
        height: u32,
        /// Bytes it would take.
        needed: u64,
        /// Bytes that may be taken.
        limit: u64,
        /// The longer side of the largest picture of this shape that fits.
        largest_side: u32,
    },
    /// The generator's pictures are none that this program knows.
    #[error("{}", said_of_channels(*.reads, *.writes))]
    Channels {
        /// Channels of the pictures that it reads.
        reads: usize,
        /// Channels of those that it writes.
        writes: usize,
    },
    /// A generator that reads transparency was given a picture without.
    #[error(
        "This generator reads pictures of 4 channels (red, green, blue and alpha), and this one has 3: it is opaque. \
         Translate a picture with transparency, or take a generator for 3 channels."
    )]
    Opaque,
    /// Somebody asked to stop.
    #[error("The translation was cancelled.")]
    Cancelled,
    /// The device failed; its own words.
    #[error("The device failed during the translation: {0}")]
    Device(String),
}

/// What pictures of so many channels are called.
pub fn channel_names(channels: usize) -> String {
    let names = match channels {
        1 => "grey",
        3 => "colour",
        4 => "colour and alpha",
        _ => return format!("{channels} channels"),
    };
    names.into()
}

fn said_of_channels(reads: usize, writes: usize) -> String {
    format!(
        "This generator reads pictures of {reads} channels and writes pictures of {writes}; only pictures of 1 (grey), \
         3 (colour) or 4 channels (colour and alpha) can be translated."
    )
}

/// Whether there are pictures of these channels, in and out.
///
/// # Errors
/// [`TranslateError::Channels`] when there are not.
pub fn check_channels([reads, writes]: [usize; 2]) -> Result<(), TranslateError> {
    let is_known = [reads, writes].iter().all(|channels| matches!(channels, 1 | 3 | 4));
    if is_known { Ok(()) } else { Err(TranslateError::Channels { reads, writes }) }
}

/// What a network of so many channels in takes of a picture: its luminance, its colours, or those and its alpha.
fn planes(picture: &Picture, channels: usize) -> Vec<f32> {
    match channels {
        1 => picture.to_grey_plane(),
        4 => picture.to_rgba_planes(),
        _ => picture.to_planes(),
    }
}

/// The picture of a network of so many channels out.
fn picture_of(planes: &[f32], channels: usize, width: u32, height: u32) -> Picture {
    match channels {
        1 => Picture::from_planes(&planes.repeat(3), width, height),
        _ => Picture::from_planes(planes, width, height),
    }
}

/// A translated picture with the alpha of the original, where neither network's end has an alpha of its own.
fn with_alpha(translated: Picture, original: &Picture, channels: [usize; 2]) -> Picture {
    if channels.contains(&4) { translated } else { translated.with_alpha_of(original) }
}

/// How much memory a translation may take, and how a backend takes it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// Bytes that may be taken in all.
    pub total: u64,
    /// Bytes of the largest single tensor.
    pub tensor: u64,
    /// Full-size feature maps (`ngf` channels) that live at the same time at the worst moment.
    pub maps: f64,
}

impl Budget {
    /// Bytes per pixel for the pictures themselves: planes and RGBA, in and out, and their copies.
    const PER_PIXEL: f64 = 64.0;

    /// Bytes at the worst moment of translating `width`×`height` with `ngf` channels at full size.
    pub fn needed(&self, width: u32, height: u32, ngf: usize) -> u64 {
        let pixels = f64::from(width.next_multiple_of(4)) * f64::from(height.next_multiple_of(4));
        (pixels * (self.maps * Self::map(ngf) + Self::PER_PIXEL)) as u64
    }

    /// Bytes of one pixel of a full-size feature map.
    fn map(ngf: usize) -> f64 {
        4.0 * ngf as f64
    }

    /// Bytes at the worst moment of translating in bands: the maps of a residual block, a quarter of a
    /// full-size one each (or a single one of them), the two pictures with a copy, and the bands.
    fn needed_in_bands(&self, width: u32, height: u32, ngf: usize, whole_blocks: bool) -> u64 {
        let pixels = f64::from(width.next_multiple_of(4)) * f64::from(height.next_multiple_of(4));
        let maps = if whole_blocks { self.maps } else { 1.0 };
        (pixels * (maps * Self::map(ngf) / 4.0 + 12.0) + 3.0 * self.maps * bands::BAND_BYTES as f64) as u64
    }

    /// The same for a generator whose largest tensor is `maps` full-size feature maps. What one tensor may take is only
    /// limited where it is less than all.
    fn of_wide(self, maps: u64) -> Self {
        if self.tensor < self.total { Self { tensor: self.tensor / maps, ..self } } else { self }
    }

    /// How a picture fits, if it does.
    fn fitting(&self, width: u32, height: u32, ngf: usize) -> Option<Way> {
        let map = (f64::from(width) * f64::from(height) * Self::map(ngf)) as u64;
        let row = u64::from(width).max(1) * Self::map(ngf) as u64;
        if self.needed(width, height, ngf) <= self.total && map <= self.tensor {
            Some(Way::Whole)
        } else {
            let is_limited = self.tensor < self.total;
            // A GPU's spectra of a residual block are four times its maps.
            let spectra = if is_limited { 4 } else { 1 };
            // A band comes with the rows around it that its convolutions look at.
            let most = if is_limited { (self.tensor / spectra / row).saturating_sub(8) } else { u64::MAX };
            let rows = (most.min(bands::BAND_BYTES / row) / 4).max(4) * 4;
            let fits = |whole| self.needed_in_bands(width, height, ngf, whole) <= self.total;
            let whole_blocks = fits(true) && map / 4 * spectra <= self.tensor;
            let way = Way::Bands { rows: rows as usize, whole_blocks };
            (rows <= most && (whole_blocks || fits(false))).then_some(way)
        }
    }

    /// How to translate a picture.
    ///
    /// # Errors
    /// [`TranslateError::TooLarge`] with the largest side that fits when this one does not.
    pub fn check(&self, width: u32, height: u32, ngf: usize) -> Result<Way, TranslateError> {
        if let Some(way) = self.fitting(width, height, ngf) {
            return Ok(way);
        }
        let largest_side = largest(width, height, |width, height| self.fitting(width, height, ngf).is_some());
        let (needed, limit) = (self.needed_in_bands(width, height, ngf, false), self.total);
        Err(TranslateError::TooLarge { width, height, needed, limit, largest_side })
    }

    /// Whether a picture padded to a `multiple` fits as a whole.
    ///
    /// # Errors
    /// As [`Budget::check`].
    fn check_whole(&self, width: u32, height: u32, ngf: usize, multiple: u32) -> Result<(), TranslateError> {
        let padded = |width: u32, height: u32| [width, height].map(|side| side.next_multiple_of(multiple));
        let fits = |width, height| {
            let [width, height] = padded(width, height);
            let map = (f64::from(width) * f64::from(height) * Self::map(ngf)) as u64;
            self.needed(width, height, ngf) <= self.total && map <= self.tensor
        };
        if fits(width, height) {
            return Ok(());
        }
        let [columns, rows] = padded(width, height);
        let (needed, limit) = (self.needed(columns, rows, ngf), self.total);
        Err(TranslateError::TooLarge { width, height, needed, limit, largest_side: largest(width, height, fits) })
    }
}

/// The longer side of the largest picture of this shape, smaller than this one, that fits.
fn largest(width: u32, height: u32, fits: impl Fn(u32, u32) -> bool) -> u32 {
    let longer = width.max(height);
    let scaled = |side: u32, to: u32| (u64::from(side) * u64::from(to) / u64::from(longer)).max(1) as u32;
    // `fits` falls once as the side grows: bisect for the last side that does.
    let (mut yes, mut no) = (0, longer);
    while no - yes > 1 {
        let middle = yes + (no - yes) / 2;
        if fits(scaled(width, middle), scaled(height, middle)) { yes = middle } else { no = middle }
    }
    yes
}

/// How a picture is translated; the result is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// All at once.
    Whole,
    /// In bands of so many rows where its feature maps are large.
    Bands {
        /// A multiple of 4.
        rows: usize,
        /// Whether the maps of the residual blocks, a quarter as large, are computed whole.
        whole_blocks: bool,
    },
}

/// Who watches a translation: told how far it is, may end it.
pub trait Watcher {
    /// Called between the generator's stages with the fraction done; `Break` cancels.
    fn progress(&self, fraction: f32) -> impl Future<Output = ControlFlow<()>>;
}

/// Translates a picture; the result has its exact size and its alpha.
///
/// Sides that are no multiples of what the generator needs are padded by reflection and cropped back. A picture whose
/// feature maps do not fit is translated in bands of rows, which takes about half as long again, or three times as long
/// where not even the residual blocks' fit; a U-Net, whose inner maps see the whole picture, cannot do that.
///
/// # Errors
/// When the picture is too small or too large, on cancel, and when the device fails.
pub async fn translate<B: Kernels>(
    generator: &Generator<B>,
    ngf: usize,
    picture: &Picture,
    device: &B::Device,
    budget: Budget,
    watcher: &impl Watcher,
) -> Result<Picture, TranslateError> {
    let Picture { width, height, .. } = *picture;
    if width.min(height) < SMALLEST_SIDE {
        return Err(TranslateError::TooSmall { width, height });
    }
    let channels = generator.channels();
    let [reads, writes] = channels;
    check_channels(channels)?;
    if reads == 4 && picture.is_opaque() {
        return Err(TranslateError::Opaque);
    }
    match generator {
        Generator::Resnet(generator) => {
            // A GPU's spectra of a 3×3 convolution of 2 ngf channels at full size are four times as large as these.
            let is_wide = generator.encoder().iter().chain(&generator.decoder()).any(|layer| layer.is_wide());
            let budget = if is_wide { budget.of_wide(8) } else { budget };
            if let Way::Bands { rows, whole_blocks } = budget.check(width, height, ngf)? {
                return bands::translate(generator, picture, rows, whole_blocks, device, watcher).await;
            }
        }
        Generator::Unet(_) => budget.check_whole(width, height, ngf, generator.multiple() as u32)?,
    }
    let [rows, columns] = [height, width].map(|side| (side as usize).next_multiple_of(generator.multiple()));
    let padded = pad(&planes(picture, reads), [height as usize, width as usize], [rows, columns]);
    let input = Tensor::<B, 4>::from_data(TensorData::new(padded, [1, reads, rows, columns]), device);
    let mut maps = input.clone();
    let stages = generator.stages();
    for stage in 0..stages {
        if watcher.progress(stage as f32 / stages as f32).await.is_break() {
            return Err(TranslateError::Cancelled);
        }
        maps = generator.stage(stage, maps);
    }
    let cropped = generator.finish(maps, input).narrow(2, 0, height as usize).narrow(3, 0, width as usize);
    let data = cropped.into_data_async().await.map_err(|error| TranslateError::Device(format!("{error:?}")))?;
    let values: Vec<f32> = data.iter::<f32>().collect();
    if watcher.progress(1.0).await.is_break() {
        return Err(TranslateError::Cancelled);
    }
    Ok(with_alpha(picture_of(&values, writes, width, height), picture, channels))
}

/// The index that a padded one is read from: to the last pixel, back to the first, and so on.
fn mirrored(index: usize, side: usize) -> usize {
    let place = index % (2 * (side - 1)).max(1);
    if place < side { place } else { 2 * (side - 1) - place }
}

/// Planes padded on the right and at the bottom, mirrored at the last pixel.
fn pad(planes: &[f32], [height, width]: [usize; 2], [rows, columns]: [usize; 2]) -> Vec<f32> {
    let mut padded = Vec::with_capacity(planes.len() / (height * width).max(1) * rows * columns);
    for plane in planes.chunks_exact(height * width) {
        for row in 0..rows {
            let line = &plane[mirrored(row, height) * width..][..width];
            padded.extend_from_slice(line);
            padded.extend((width..columns).map(|column| line[mirrored(column, width)]));
        }
    }
    padded
}

#[cfg(test)]
mod tests {
    use burn::backend::Flex;

    use super::*;
    use crate::model::ResnetGeneratorConfig;
    use crate::model::architecture::{Doubling, Downsample};
    use crate::model::parameters::init_normal;

    #[test]
    fn padding_mirrors_at_the_last_pixel() {
        let planes: Vec<f32> = (0..3 * 5 * 6).map(|value| value as f32).collect();
        let padded = pad(&planes, [5, 6], [8, 8]);
        assert_eq!(padded.len(), 3 * 64);
        assert_eq!(padded[..8], [0., 1., 2., 3., 4., 5., 4., 3.]);
        assert_eq!(padded[5 * 8..6 * 8], padded[3 * 8..4 * 8], "row 5 mirrors row 3 at row 4");
    }

    /// A phone's WebGPU binds 128 MiB at once; this generator's maps of 1024×1024 are 256 MiB.
    #[test]
    fn no_tensor_is_larger_than_a_device_binds() {
        let phone = Budget { total: 2 << 30, tensor: 128 << 20, maps: 8.0 };
        assert_eq!(phone.check(512, 512, 64), Ok(Way::Whole));
        assert_eq!(phone.check(800, 800, 64), Ok(Way::Bands { rows: 120, whole_blocks: false }));
        assert!(matches!(phone.of_wide(8).check(512, 512, 64), Ok(Way::Bands { rows: 24, whole_blocks: false })));
        let Err(TranslateError::TooLarge { largest_side, .. }) = phone.check(40_000, 100, 64) else {
            panic!("16 rows of it are 164 MiB, and their spectra four times as much");
        };
        assert!(phone.check(largest_side, largest_side / 400, 64).is_ok());
        let processor = Budget { total: 1408 << 20, tensor: 1408 << 20, maps: 3.0 };
        assert_eq!(processor.of_wide(8), processor);
        assert!(matches!(processor.check(2400, 2400, 64), Ok(Way::Bands { whole_blocks: true, .. })));
    }

    #[test]
    fn the_largest_side_offered_fits_and_one_more_does_not() {
        let budget = Budget { total: 300 << 20, tensor: 64 << 20, maps: 2.0 };
        assert_eq!(budget.check(256, 256, 64), Ok(Way::Whole));
        let Err(TranslateError::TooLarge { largest_side, needed, limit, .. }) = budget.check(4000, 2000, 64) else {
            panic!("4000×2000 does not fit into 300 MB");
        };
        assert!(needed > limit);
        assert!(matches!(budget.check(largest_side, largest_side / 2, 64), Ok(Way::Bands { .. })));
        assert!(budget.check(largest_side + 8, largest_side / 2 + 4, 64).is_err());
    }

    struct Patient;

    impl Watcher for Patient {
        async fn progress(&self, _fraction: f32) -> ControlFlow<()> {
            ControlFlow::Continue(())
        }
    }

    /// A generator with noise for weights, and a picture whose sides are no multiples of 4.
    fn compare(affine: bool, band: usize, width: u32, height: u32) {
        for whole_blocks in [true, false] {
            compare_blocks(ResnetGeneratorConfig::new().with_affine(affine), band, whole_blocks, width, height);
        }
    }

    #[test]
    fn bands_add_the_picture_where_the_generator_does() {
        for whole_blocks in [true, false] {
            compare_blocks(ResnetGeneratorConfig::new().with_skip(true), 12, whole_blocks, 37, 61);
        }
    }

    fn compare_blocks(config: ResnetGeneratorConfig, band: usize, whole_blocks: bool, width: u32, height: u32) {
        let device = Default::default();
        let config = config.with_ngf(4).with_n_blocks(2);
        let generator = init_normal(config.init::<Flex>(&device), 0.2, 7, "bands");
        let pixels = (0..4 * width * height).map(|i| if i % 4 == 3 { 255 } else { (i * i / 7 % 251) as u8 }).collect();
        let picture = Picture { width, height, pixels };
        let roomy = Budget { total: u64::MAX, tensor: u64::MAX, maps: 3.0 };
        let any = generator.clone().into();
        let whole = translate(&any, 4, &picture, &device, roomy, &Patient);
        let whole = pollster::block_on(whole).expect("everything fits");
        let banded = bands::translate(&generator, &picture, band, whole_blocks, &device, &Patient);
        let banded = pollster::block_on(banded);
        let banded = banded.expect("nobody cancels");
        assert_eq!((banded.width, banded.height), (width, height));
        let worst = whole.pixels.iter().zip(&banded.pixels).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(worst <= Some(1), "bands of {band} rows differ from the whole by {worst:?}");
        assert!(whole.pixels.iter().any(|value| *value != whole.pixels[0]), "the picture has something to compare");
    }

    #[test]
    fn bands_of_every_style_make_the_same_picture_as_the_whole() {
        let config = ResnetGeneratorConfig::new();
        let ups = [Doubling::Resize, Doubling::ResizeZero, Doubling::Bilinear, Doubling::Blurred, Doubling::Transposed];
        let downs = [Downsample::Strided, Downsample::Mirrored, Downsample::Blurred];
        for (index, upsample) in ups.into_iter().enumerate() {
            let styled = config.with_upsample(upsample).with_downsample(downs[index % 3]);
            compare_blocks(styled, 8, index % 2 == 0, 20, 45);
        }
        compare_blocks(config.with_downsample(Downsample::Blurred), 4, false, 18, 70);
    }

    fn run(config: ResnetGeneratorConfig, picture: &Picture) -> Result<Picture, TranslateError> {
        let device = Default::default();
        let generator = init_normal(config.with_ngf(2).with_n_blocks(1).init::<Flex>(&device), 0.3, 7, "channels");
        let roomy = Budget { total: u64::MAX, tensor: u64::MAX, maps: 3.0 };
        let whole = pollster::block_on(translate(&generator.clone().into(), 2, picture, &device, roomy, &Patient))?;
        let bands = pollster::block_on(bands::translate(&generator, picture, 8, true, &device, &Patient))?;
        let worst = whole.pixels.iter().zip(&bands.pixels).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(worst <= Some(1), "{worst:?}");
        Ok(whole)
    }

    #[test]
    fn channels_are_luminance_colours_and_alpha() {
        let config = ResnetGeneratorConfig::new();
        let colour = |i: u32| [(i * 37) as u8, (i * i) as u8, (i / 5) as u8, 255];
        let opaque = Picture { width: 24, height: 20, pixels: (0..480).flat_map(colour).collect() };
        let is_grey = |picture: &Picture| picture.pixels.chunks_exact(4).all(|p| p[0] == p[1] && p[1] == p[2]);
        let grey = run(config.with_out_channels(1), &opaque).expect("three to one");
        assert!(is_grey(&grey) && grey.is_opaque());
        let levels = opaque.to_grey_plane().into_iter().flat_map(|value| {
            let level = ((value + 1.0) * 127.5).round() as u8;
            [level, level, level, 255]
        });
        let luminance = Picture { pixels: levels.collect(), ..opaque.clone() };
        let config_in = config.with_in_channels(1);
        let coloured = run(config_in, &opaque).expect("one to three");
        assert!(!is_grey(&coloured));
        assert_eq!(coloured, run(config_in, &luminance).expect("of its luminance, the same"));
        let with_alpha = config.with_in_channels(4).with_out_channels(4);
        assert_eq!(run(with_alpha, &opaque), Err(TranslateError::Opaque));
        let mut clear = opaque.clone();
        clear.pixels.iter_mut().skip(3).step_by(28).for_each(|alpha| *alpha = 90);
        let result = run(with_alpha, &clear).expect("four to four");
        assert!(!result.is_opaque() && result != clear);
        let refused = run(config.with_in_channels(2), &opaque);
        assert_eq!(refused, Err(TranslateError::Channels { reads: 2, writes: 3 }));
    }

    #[test]
    fn bands_make_the_same_picture_as_the_whole() {
        compare(false, 12, 37, 61);
        compare(false, 4, 24, 34);
        compare(true, 20, 18, 50);
        // The residual blocks in several bands, the last of them a short one.
        compare(false, 4, 16, 118);
    }
}
