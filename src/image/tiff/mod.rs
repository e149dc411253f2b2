//! TIFF files (revision 6.0, with its supplements, and BigTIFF): the first picture in them.
//!
//! Our own, since the tiff crate has no palettes, no alpha beside greys, no Group 3 and no premultiplied alpha; the
//! compressions are those of crates that other formats bring along.

mod fax;
mod strips;
mod tags;

use image::metadata::Orientation;

use super::decode::{Decoded, admit};
use super::jpeg::rgb_of_ycbcr;
use super::raster::{Raster, Samples};
use super::{ImageError, colour};
use strips::{Layout, Plane};
use tags::{Tags, tag};

const FORMAT: &str = "TIFF";

fn broken(reason: &str) -> ImageError {
    ImageError::Broken { format: FORMAT, reason: reason.into() }
}

fn unsupported<T>(format: &'static str) -> Result<T, ImageError> {
    Err(ImageError::Unsupported { format })
}

/// PhotometricInterpretation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Colours {
    WhiteIsZero,
    BlackIsZero,
    Rgb,
    Palette,
    Inks,
    Ycbcr,
}

impl Colours {
    fn read(tags: &Tags) -> Result<Self, ImageError> {
        Ok(match tags.number(tag::PHOTOMETRIC) {
            Some(0) => Self::WhiteIsZero,
            Some(1) => Self::BlackIsZero,
            Some(2) => Self::Rgb,
            Some(3) => Self::Palette,
            Some(5) if tags.number(tag::INK_SET).unwrap_or(1) == 1 => Self::Inks,
            Some(5) => return unsupported("TIFF (with other inks than CMYK)"),
            Some(6) => Self::Ycbcr,
            Some(8..=10) => return unsupported("TIFF (with colours of CIE Lab)"),
            Some(32803 | 34892) => return unsupported("TIFF (raw, of a camera)"),
            None => return Err(broken("it does not say what its colours are")),
            _ => return unsupported("TIFF (of an unusual kind of colours)"),
        })
    }

    fn count(self) -> usize {
        match self {
            Self::WhiteIsZero | Self::BlackIsZero | Self::Palette => 1,
            Self::Rgb | Self::Ycbcr => 3,
            Self::Inks => 4,
        }
    }
}

/// What stands beside the colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alpha {
    None,
    Straight,
    Premultiplied,
}

impl Alpha {
    fn read(tags: &Tags, extra: usize) -> Self {
        match tags.number(tag::EXTRA_SAMPLES) {
            _ if extra == 0 => Self::None,
            Some(0) => Self::None,
            Some(1) => Self::Premultiplied,
            _ => Self::Straight,
        }
    }
}

/// Reads a TIFF file.
pub fn read(bytes: &[u8]) -> Result<Decoded, ImageError> {
    let tags = Tags::read(bytes)?;
    let [width, height] = [tag::WIDTH, tag::HEIGHT].map(|name| tags.number(name).and_then(|n| u32::try_from(n).ok()));
    let (Some(width), Some(height)) = (width, height) else { return Err(broken("it does not say how large it is")) };
    admit(width, height, FORMAT)?;
    let mut colours = Colours::read(&tags)?;
    let layout = Layout::read(&tags, width, height)?;
    let extra = layout.samples.checked_sub(colours.count()).ok_or_else(|| broken("it has too few channels"))?;
    let alpha = Alpha::read(&tags, extra);
    let plane = layout.plane(&tags, bytes, colours == Colours::Ycbcr)?;
    if plane.is_rgb {
        colours = Colours::Rgb;
    }
    let mut notes = Vec::new();
    let words = picked(plane, &layout, colours.count() + usize::from(alpha != Alpha::None), &mut notes)?;
    let samples = finished(words, colours, alpha, &tags, layout.bits)?;
    let has_alpha = alpha != Alpha::None;
    let colours = if matches!(colours, Colours::Palette | Colours::Ycbcr) { 3 } else { colours.count() };
    let profile = tags.bytes(tag::ICC_PROFILE);
    let conversion = profile.map_or(Ok(None), colour::from_icc);
    let raster = Raster { width, height, colours, has_alpha, samples };
    let picture = raster.into_picture(conversion, &mut notes);
    let orientation = tags.number(tag::ORIENTATION).and_then(|turn| Orientation::from_exif(turn as u8));
    Ok(Decoded { picture, notes }.turned(orientation))
}

/// The first `wanted` of each pixel's channels, in 16 bits where there are more than 8. Palettes' numbers stay as
/// they are: see [`Layout::plane`].
fn picked(plane: Plane, layout: &Layout, wanted: usize, notes: &mut Vec<String>) -> Result<Samples, ImageError> {
    let each = layout.samples;
    fn pick<T: Copy>(all: Vec<T>, each: usize, wanted: usize) -> Vec<T> {
        if each == wanted { all } else { all.chunks_exact(each).flat_map(|pixel| &pixel[..wanted]).copied().collect() }
    }
    Ok(match plane.values {
        strips::Values::Bytes(all) => Samples::Bytes(pick(all, each, wanted)),
        strips::Values::Words(all) => Samples::Words(pick(all, each, wanted)),
        strips::Values::Floats(all) => {
            let all = pick(all, each, wanted);
            let most = all.iter().copied().fold(0.0, f32::max);
            let least = all.iter().copied().fold(0.0, f32::min);
            let white = if most <= 1.001 { 1.0 } else { 255.0 };
            if least < -0.001 || most > 255.5 {
                return unsupported("TIFF (of decimal numbers beyond black and white)");
            }
            if white > 1.0 {
                notes.push("Its decimal numbers are taken as levels of 0 to 255.".into());
            }
            // The cast clamps, and makes 0 of NaN.
            Samples::Words(all.into_iter().map(|value| (value / white * 65_535.0).round() as u16).collect())
        }
    })
}

/// The samples with palettes looked up, YCbCr and inverted greys as they should be, and alpha taken out of the colours.
fn finished(samples: Samples, colours: Colours, alpha: Alpha, tags: &Tags, bits: u32) -> Result<Samples, ImageError> {
    let each = colours.count() + usize::from(alpha != Alpha::None);
    let mut samples = match (colours, samples) {
        (Colours::Palette, samples) => {
            let map = tags.numbers(tag::COLOUR_MAP).ok_or_else(|| broken("its palette is missing"))?;
            let size = map.len() / 3;
            // Some programs write palettes of 8 bits.
            let scale = if map.iter().all(|level| *level < 256) { 257 } else { 1 };
            let of = |number: u16, alpha: Option<u16>| {
                let at =
                    |channel: usize| map.get(channel * size + usize::from(number)).map_or(0, |l| (l * scale) as u16);
                [at(0), at(1), at(2)].into_iter().chain(alpha)
            };
            let wide = if bits > 8 { 1 } else { 257 };
            let numbers: Vec<u16> = match samples {
                Samples::Bytes(all) => all.into_iter().map(u16::from).collect(),
                Samples::Words(all) => all,
            };
            let pixels = numbers.chunks_exact(each);
            Samples::Words(pixels.flat_map(|pixel| of(pixel[0], pixel.get(1).map(|alpha| alpha * wide))).collect())
        }
        (Colours::Ycbcr, Samples::Bytes(mut all)) => {
            for pixel in all.chunks_exact_mut(each) {
                let rgb = rgb_of_ycbcr([pixel[0], pixel[1], pixel[2]]);
                pixel[..3].copy_from_slice(&rgb);
            }
            Samples::Bytes(all)
        }
        (Colours::Ycbcr, _) => return unsupported("TIFF (YCbCr of more than 8 bits)"),
        (Colours::WhiteIsZero, Samples::Bytes(mut all)) => {
            all.iter_mut().step_by(each).for_each(|level| *level = !*level);
            Samples::Bytes(all)
        }
        (Colours::WhiteIsZero, Samples::Words(mut all)) => {
            all.iter_mut().step_by(each).for_each(|level| *level = !*level);
            Samples::Words(all)
        }
        (_, samples) => samples,
    };
    if alpha == Alpha::Premultiplied {
        let each = if colours == Colours::Palette { 4 } else { each };
        match &mut samples {
            Samples::Bytes(all) => all.chunks_exact_mut(each).for_each(|pixel| divide(pixel, 255)),
            Samples::Words(all) => all.chunks_exact_mut(each).for_each(|pixel| divide(pixel, 65_535)),
        }
    }
    Ok(samples)
}

/// Takes the last channel out of the others.
fn divide<T: Copy + Into<u32> + TryFrom<u32>>(pixel: &mut [T], white: u32) {
    let Some((alpha, colours)) = pixel.split_last_mut() else { return };
    let alpha: u32 = (*alpha).into();
    for level in colours {
        let straight = ((*level).into() * white + alpha / 2).checked_div(alpha).unwrap_or(0);
        *level = T::try_from(straight.min(white)).unwrap_or(*level);
    }
}
