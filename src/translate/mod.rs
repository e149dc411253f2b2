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
    /// Somebody asked to stop.
    #[error("The translation was cancelled.")]
    Cancelled,
    /// The device failed; its own words.
    #[error("The device failed during the translation: {0}")]
    Device(String),
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

    /// How a picture fits, if it does.
    fn fitting(&self, width: u32, height: u32, ngf: usize) -> Option<Way> {
        let map = (f64::from(width) * f64::from(height) * Self::map(ngf)) as u64;
        let row = u64::from(width).max(1) * Self::map(ngf) as u64;
        if self.needed(width, height, ngf) <= self.total && map <= self.tensor {
            Some(Way::Whole)
        } else {
            let rows = (bands::BAND_BYTES / row / 4).max(4) as usize * 4;
            let fits = |whole| self.needed_in_bands(width, height, ngf, whole) <= self.total;
            let whole_blocks = fits(true) && map / 4 <= self.tensor;
            (whole_blocks || fits(false)).then_some(Way::Bands { rows, whole_blocks })
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
    match generator {
        Generator::Resnet(generator) => {
            if let Way::Bands { rows, whole_blocks } = budget.check(width, height, ngf)? {
                return bands::translate(generator, picture, rows, whole_blocks, device, watcher).await;
            }
        }
        Generator::Unet(_) => budget.check_whole(width, height, ngf, generator.multiple() as u32)?,
    }
    let [rows, columns] = [height, width].map(|side| (side as usize).next_multiple_of(generator.multiple()));
    let padded = pad(&picture.to_planes(), [height as usize, width as usize], [rows, columns]);
    let input = Tensor::<B, 4>::from_data(TensorData::new(padded, [1, 3, rows, columns]), device);
    let mut planes = input.clone();
    let stages = generator.stages();
    for stage in 0..stages {
        if watcher.progress(stage as f32 / stages as f32).await.is_break() {
            return Err(TranslateError::Cancelled);
        }
        planes = generator.stage(stage, planes);
    }
    let cropped = generator.finish(planes, input).narrow(2, 0, height as usize).narrow(3, 0, width as usize);
    let data = cropped.into_data_async().await.map_err(|error| TranslateError::Device(format!("{error:?}")))?;
    let values: Vec<f32> = data.iter::<f32>().collect();
    if watcher.progress(1.0).await.is_break() {
        return Err(TranslateError::Cancelled);
    }
    Ok(Picture::from_planes(&values, width, height).with_alpha_of(picture))
}

/// The index that a padded one is read from: to the last pixel, back to the first, and so on.
fn mirrored(index: usize, side: usize) -> usize {
    let place = index % (2 * (side - 1)).max(1);
    if place < side { place } else { 2 * (side - 1) - place }
}

/// Three planes padded on the right and at the bottom, mirrored at the last pixel.
fn pad(planes: &[f32], [height, width]: [usize; 2], [rows, columns]: [usize; 2]) -> Vec<f32> {
    let mut padded = Vec::with_capacity(3 * rows * columns);
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
    use crate::model::parameters::init_normal;

    #[test]
    fn padding_mirrors_at_the_last_pixel() {
        let planes: Vec<f32> = (0..3 * 5 * 6).map(|value| value as f32).collect();
        let padded = pad(&planes, [5, 6], [8, 8]);
        assert_eq!(padded.len(), 3 * 64);
        assert_eq!(padded[..8], [0., 1., 2., 3., 4., 5., 4., 3.]);
        assert_eq!(padded[5 * 8..6 * 8], padded[3 * 8..4 * 8], "row 5 mirrors row 3 at row 4");
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
            compare_blocks(affine, band, whole_blocks, width, height);
        }
    }

    #[test]
    fn bands_add_the_picture_where_the_generator_does() {
        let config = ResnetGeneratorConfig::new().with_ngf(4).with_n_blocks(2).with_skip(true);
        for whole_blocks in [true, false] {
            compare_generators(config.clone(), 12, whole_blocks, 37, 61);
        }
    }

    fn compare_blocks(affine: bool, band: usize, whole_blocks: bool, width: u32, height: u32) {
        let config = ResnetGeneratorConfig::new().with_ngf(4).with_n_blocks(2).with_affine(affine);
        compare_generators(config, band, whole_blocks, width, height);
    }

    fn compare_generators(config: ResnetGeneratorConfig, band: usize, whole_blocks: bool, width: u32, height: u32) {
        let device = Default::default();
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
    fn bands_make_the_same_picture_as_the_whole() {
        compare(false, 12, 37, 61);
        compare(false, 4, 24, 34);
        compare(true, 20, 18, 50);
        // The residual blocks in several bands, the last of them a short one.
        compare(false, 4, 16, 118);
    }
}
