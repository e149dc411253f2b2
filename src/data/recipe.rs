//! From a picture to what the networks see of it, as the official `data/base_dataset.py` does it.

use rand::RngExt;
use rand_pcg::Pcg64;

use crate::config::{Preprocess, TrainConfig};
use crate::image::Picture;

/// Of a picture that is longer than so many times its other side only the middle is used: scaled to a width of
/// hundreds of pixels, a line of pixels would be larger than memory.
const LONGEST: u32 = 8;

/// How a training wants its pictures: the options of [`TrainConfig`] that say so.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recipe {
    preprocess: Preprocess,
    load_size: u32,
    size: u32,
    multiple: u32,
    smallest: u32,
    flip: bool,
    rotate: f64,
    colour_jitter: f64,
}

impl Recipe {
    /// The recipe of a training.
    pub fn new(config: &TrainConfig) -> Self {
        let TrainConfig { preprocess, load_size, size, flip, rotate, colour_jitter, .. } = *config;
        Self {
            preprocess,
            load_size: load_size.max(size),
            size,
            multiple: config.multiple(),
            smallest: config.smallest_side().min(size),
            flip,
            rotate: rotate.into(),
            colour_jitter: colour_jitter.into(),
        }
    }

    /// The picture as it is before anything random happens to it. Where crops are taken both sides are at least `size`
    /// long, without crops the sides are what they are trained at.
    pub(super) fn load(&self, picture: Picture) -> Picture {
        match self.preprocess {
            Preprocess::ResizeAndCrop => picture.resize(self.load_size, self.load_size),
            Preprocess::ScaleWidthAndCrop => {
                let picture = without_ends(picture);
                if picture.width == self.load_size && picture.height >= self.size {
                    return picture;
                }
                // Too flat a picture is stretched, as in the official code.
                let height = scaled(picture.height, self.load_size, picture.width).max(self.size);
                picture.resize(self.load_size, height)
            }
            Preprocess::Crop => {
                let shorter = picture.width.min(picture.height);
                if shorter >= self.size {
                    return picture;
                }
                let picture = without_ends(picture);
                let side = |side: u32| scaled(side, self.size, shorter).max(self.size);
                picture.resize(side(picture.width), side(picture.height))
            }
            Preprocess::None => {
                let picture = picture.shrink_to(self.size);
                let side = |side: u32| {
                    let rounded = (side + self.multiple / 2) / self.multiple * self.multiple;
                    rounded.clamp(self.smallest, self.size)
                };
                picture.resize(side(picture.width), side(picture.height))
            }
        }
    }

    /// What a step sees of a picture that was [loaded](Self::load): a random crop, turned, mirrored and recoloured.
    pub(super) fn augment(&self, picture: &Picture, mut stream: Pcg64) -> Picture {
        let (width, height) = self.trained_at(picture);
        let mut place = |side: u32, part: u32| stream.random_range(0..=side.saturating_sub(part));
        let (x, y) = (place(picture.width, width), place(picture.height, height));
        let is_flipped = self.flip && stream.random::<bool>();
        // From here on nothing is drawn for what is turned off: a training without it draws what it always drew.
        let mut around = |middle: f64, reach: f64| middle + reach * (2.0 * stream.random::<f64>() - 1.0);
        let mut crop = if self.rotate > 0.0 {
            picture.laid_on_white().crop_turned(around(0.0, self.rotate), x, y, width, height)
        } else {
            picture.crop(x, y, width, height)
        };
        if is_flipped {
            crop = crop.flip_horizontal();
        }
        if self.colour_jitter > 0.0 {
            crop = crop.laid_on_white().recoloured([(); 3].map(|()| around(1.0, self.colour_jitter)));
        }
        crop
    }

    /// The picture as previews and measurements look at it, with nothing random: scaled as in training, but so that the
    /// crop, out of its middle, holds as much as it can.
    pub fn fixed(&self, picture: Picture) -> Picture {
        let loaded = Self { load_size: self.size, ..*self }.load(picture);
        let (width, height) = self.trained_at(&loaded);
        loaded.crop((loaded.width - width) / 2, (loaded.height - height) / 2, width, height)
    }

    /// Width and height of what is trained on out of a loaded picture.
    fn trained_at(&self, picture: &Picture) -> (u32, u32) {
        match self.preprocess {
            Preprocess::None => (picture.width, picture.height),
            Preprocess::ResizeAndCrop | Preprocess::ScaleWidthAndCrop | Preprocess::Crop => (self.size, self.size),
        }
    }

    /// Bytes of the largest picture that [`augment`](Self::augment) gives.
    pub(super) fn largest(&self) -> usize {
        4 * self.size as usize * self.size as usize
    }
}

/// `side · to / from`, rounded down.
fn scaled(side: u32, to: u32, from: u32) -> u32 {
    (u64::from(side) * u64::from(to) / u64::from(from.max(1))) as u32
}

/// The middle of a picture that is longer than [`LONGEST`] times its other side.
fn without_ends(picture: Picture) -> Picture {
    let part = |side: u32, other: u32| side.min(other.saturating_mul(LONGEST));
    let (width, height) = (part(picture.width, picture.height), part(picture.height, picture.width));
    if (width, height) == (picture.width, picture.height) {
        return picture;
    }
    picture.crop((picture.width - width) / 2, (picture.height - height) / 2, width, height)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::NetG;
    use crate::random;

    fn recipe(preprocess: Preprocess) -> Recipe {
        let config = TrainConfig { preprocess, size: 64, load_size: 72, flip: false, ..TrainConfig::default() };
        Recipe::new(&config)
    }

    /// Red grows to the right and green to the bottom, a level a pixel as far as they go.
    fn ramp(width: u32, height: u32) -> Picture {
        let pixels = (0..width * height).flat_map(|i| [(i % width).min(255) as u8, (i / width).min(255) as u8, 7, 255]);
        Picture { width, height, pixels: pixels.collect() }
    }

    fn sides(picture: &Picture) -> (u32, u32) {
        (picture.width, picture.height)
    }

    #[test]
    fn pictures_of_every_shape_are_brought_to_the_official_sizes() {
        let loaded = |preprocess, width, height| sides(&recipe(preprocess).load(ramp(width, height)));
        for (width, height) in [(100, 50), (50, 100), (9, 9), (72, 72), (1, 300), (300, 1)] {
            assert_eq!(loaded(Preprocess::ResizeAndCrop, width, height), (72, 72));
        }
        // Official `__scale_width`: w = load_size, h = int(max(load_size · oh / ow, crop_size)).
        for ((width, height), expected) in [
            ((144, 288), 144),
            ((100, 151), 108),
            ((100, 50), 64),
            ((72, 64), 64),
            ((72, 500), 500),
            ((72, 40), 64),
            ((1, 300), 72 * LONGEST),
        ] {
            assert_eq!(loaded(Preprocess::ScaleWidthAndCrop, width, height), (72, expected), "{width}×{height}");
        }
        let crops = [
            ((100, 70), (100, 70)),
            ((64, 64), (64, 64)),
            ((32, 48), (64, 96)),
            ((200, 60), (213, 64)),
            ((2, 300), (64, 64 * LONGEST)),
        ];
        for ((width, height), expected) in crops {
            assert_eq!(loaded(Preprocess::Crop, width, height), expected, "{width}×{height}");
        }
        for ((width, height), expected) in [
            ((61, 50), (60, 52)),
            ((64, 64), (64, 64)),
            ((128, 90), (64, 44)),
            ((300, 20), (64, 32)),
            ((5, 5), (32, 32)),
        ] {
            assert_eq!(loaded(Preprocess::None, width, height), expected, "{width}×{height}");
        }
    }

    #[test]
    fn sides_without_crops_suit_the_generator() {
        let config = TrainConfig {
            preprocess: Preprocess::None,
            net_g: NetG::Unet128,
            size: 512,
            load_size: 512,
            ..TrainConfig::default()
        };
        assert_eq!(config.check(), Ok(()));
        let recipe = Recipe::new(&config);
        for ((width, height), expected) in [((500, 330), (512, 384)), ((2000, 900), (512, 256)), ((10, 20), (128, 128))]
        {
            assert_eq!(sides(&recipe.load(ramp(width, height))), expected, "{width}×{height}");
        }
    }

    #[test]
    fn crops_are_parts_of_the_picture_from_all_over_it() {
        let recipe = recipe(Preprocess::Crop);
        let picture = ramp(100, 80);
        let crops: Vec<Picture> = (0..200).map(|i| recipe.augment(&picture, random::stream(1, "x", i))).collect();
        for crop in &crops {
            let [x, y, ..] = crop.pixel(0, 0).expect("it has pixels");
            assert_eq!(*crop, picture.crop(x.into(), y.into(), 64, 64));
        }
        let corners = |channel: usize| crops.iter().map(move |crop| crop.pixels[channel]);
        assert_eq!((corners(0).min(), corners(0).max()), (Some(0), Some(36)));
        assert_eq!((corners(1).min(), corners(1).max()), (Some(0), Some(16)));
    }

    #[test]
    fn what_is_looked_at_has_the_trained_size_and_shows_the_middle() {
        let fixed = |preprocess| recipe(preprocess).fixed(ramp(128, 160));
        assert_eq!(fixed(Preprocess::ResizeAndCrop), ramp(128, 160).resize(64, 64));
        assert_eq!(fixed(Preprocess::ScaleWidthAndCrop), ramp(128, 160).resize(64, 80).crop(0, 8, 64, 64));
        assert_eq!(fixed(Preprocess::Crop), ramp(128, 160).crop(32, 48, 64, 64));
        assert_eq!(sides(&fixed(Preprocess::None)), (52, 64));
    }

    #[test]
    fn augmentation_turns_and_recolours_within_its_bounds_and_is_drawn_last() {
        let plain = Recipe { flip: true, ..recipe(Preprocess::ResizeAndCrop) };
        let picture = plain.load(Picture::filled(80, 80, [100, 150, 50, 255]));
        let draw = |recipe: Recipe, index| recipe.augment(&picture, random::stream(1, "x", index));
        let jittered = Recipe { colour_jitter: 0.2, ..plain };
        let reds: Vec<u8> = (0..300).map(|index| draw(jittered, index).pixels[0]).collect();
        // Brightness alone moves red by a fifth; saturation, about a luma of 124, by up to 7 more of its levels.
        assert!(reds.iter().all(|red| (68..=132).contains(red)), "{reds:?}");
        assert!(reds.iter().any(|red| *red < 85) && reds.iter().any(|red| *red > 115), "{reds:?}");
        // Mirroring and place are what they would be without it.
        let picture = ramp(72, 72);
        let turned = Recipe { rotate: 1e-9, ..plain };
        for index in 0..20 {
            let stream = || random::stream(2, "x", index);
            assert_eq!(turned.augment(&picture, stream()), plain.augment(&picture, stream()));
        }
    }

    /// Bits that any machine must draw: the page and a native process go on with each other's trainings.
    #[test]
    fn augmented_pictures_are_the_same_on_every_machine() {
        let config =
            TrainConfig { rotate: 180.0, colour_jitter: 0.7, size: 64, load_size: 72, ..TrainConfig::default() };
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for preprocess in [Preprocess::ResizeAndCrop, Preprocess::Crop, Preprocess::None] {
            let recipe = Recipe::new(&TrainConfig { preprocess, ..config.clone() });
            let loaded = recipe.load(ramp(90, 75));
            for index in 0..8 {
                for byte in recipe.augment(&loaded, random::stream(3, "augment_A", index)).pixels {
                    // FNV-1a.
                    hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
                }
            }
        }
        assert_eq!(hash, 0x4b53_e790_15e0_126e, "{hash:#x}");
    }
}
