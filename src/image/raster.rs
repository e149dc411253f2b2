//! Samples as a decoder gives them, and the picture that they become.

use super::Picture;
use super::colour::Conversion;

/// Samples, interleaved.
#[derive(Debug)]
pub enum Samples {
    /// Of 8 bits.
    Bytes(Vec<u8>),
    /// Of 16 bits.
    Words(Vec<u16>),
}

impl Samples {
    /// Of big-endian bytes.
    pub fn words(bytes: &[u8]) -> Self {
        Self::Words(bytes.as_chunks().0.iter().map(|two| u16::from_be_bytes(*two)).collect())
    }
}

/// What a file holds, before its colours are known.
#[derive(Debug)]
pub struct Raster {
    pub width: u32,
    pub height: u32,
    /// 1 for grey, 3 for red, green and blue, 4 for inks: cyan, magenta, yellow and black, where 0 is no ink.
    pub colours: usize,
    /// Whether alpha follows the colours, not multiplied into them.
    pub has_alpha: bool,
    pub samples: Samples,
}

impl Raster {
    /// The picture, with what is to be said about its colours added to `notes`.
    pub fn into_picture(self, conversion: Result<Option<Conversion>, String>, notes: &mut Vec<String>) -> Picture {
        let Self { width, height, colours, has_alpha, samples } = self;
        let conversion = match conversion {
            Ok(conversion) => conversion,
            Err(name) => {
                notes.push(format!("Its colours may be wrong: its colour profile, {name}, cannot be followed."));
                None
            }
        };
        let conversion = conversion.filter(|conversion| {
            // A grey is red, green and blue alike.
            let fits = conversion.inputs == colours || (conversion.inputs, colours) == (3, 1);
            if fits {
                notes.push(told(conversion));
            } else {
                let name = &conversion.name;
                notes.push(format!(
                    "Its colours may be wrong: its colour profile, {name}, is for another kind of picture."
                ));
            }
            fits
        });
        if colours == 4 && conversion.is_none() {
            notes.push(
                "Its inks (CMYK) are converted by a rule of thumb, since no colour profile describes them.".into(),
            );
        }
        let pixels = match samples {
            Samples::Bytes(bytes) if conversion.is_none() && (colours, has_alpha) == (3, true) => bytes,
            Samples::Bytes(bytes) => {
                let wide = |level: &u8| u16::from(*level) * 257;
                pixels(bytes.iter().map(wide), colours, has_alpha, conversion.as_ref(), 257)
            }
            Samples::Words(words) => pixels(words.into_iter(), colours, has_alpha, conversion.as_ref(), 1),
        };
        Picture { width, height, pixels }
    }
}

/// What is said of a conversion.
pub fn told(conversion: &Conversion) -> String {
    let cut = if conversion.is_hdr { " What is brighter than white is cut off." } else { "" };
    format!("Its colours are converted from {} to sRGB.{cut}", conversion.name)
}

fn pixels(
    mut samples: impl ExactSizeIterator<Item = u16>,
    colours: usize,
    has_alpha: bool,
    conversion: Option<&Conversion>,
    step: usize,
) -> Vec<u8> {
    let mut prepared = conversion.map(|conversion| conversion.prepare(step));
    let count = samples.len() / (colours + usize::from(has_alpha));
    let mut pixels = Vec::with_capacity(4 * count);
    let byte = |word: u16| ((u32::from(word) * 255 + 32_767) / 65_535) as u8;
    for _ in 0..count {
        let mut colour = [0; 4];
        for level in &mut colour[..colours] {
            *level = samples.next().unwrap_or(0);
        }
        if colours == 1 {
            colour = [colour[0]; 4];
        }
        let rgb = match &mut prepared {
            Some(prepared) => prepared.srgb(colour),
            None if colours == 1 => [byte(colour[0]); 3],
            None if colours == 3 => [byte(colour[0]), byte(colour[1]), byte(colour[2])],
            None => {
                let [c, m, y, k] = colour.map(|ink| 65_535 - u32::from(ink));
                [c, m, y].map(|light| byte((light * k / 65_535) as u16))
            }
        };
        pixels.extend(rgb);
        pixels.push(if has_alpha { samples.next().map_or(255, byte) } else { 255 });
    }
    pixels
}
