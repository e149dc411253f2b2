//! Random changes of pictures for small sets, given what was drawn. Every pixel is the same on every machine: the
//! arithmetic is plain double precision, and sines come from a library in Rust instead of the system's.

use super::{Picture, on_white};

/// Luma of red, green and blue (ITU-R BT.601), as torchvision has it.
const LUMA: [f64; 3] = [0.2989, 0.587, 0.114];

impl Picture {
    /// The opaque picture that one sees on white.
    pub fn laid_on_white(&self) -> Self {
        if self.is_opaque() {
            return self.clone();
        }
        let laid = |pixel: &[u8]| {
            let [r, g, b] = on_white(pixel).map(|level| level.round() as u8);
            [r, g, b, 255]
        };
        Self { pixels: self.pixels.chunks_exact(4).flat_map(laid).collect(), ..*self }
    }

    /// A crop as [`crop`](Self::crop) gives it, out of the opaque picture turned anticlockwise about its middle by
    /// `degrees`. Beyond its borders the picture is mirrored, so no corner is black. Bilinear, as in PIL.
    pub fn crop_turned(&self, degrees: f64, x: u32, y: u32, width: u32, height: u32) -> Self {
        if self.pixels.is_empty() {
            return self.clone();
        }
        let (sin, cos) = libm::sincos(degrees.to_radians());
        let middle = |side: u32| (f64::from(side) - 1.0) / 2.0;
        let (middle_x, middle_y) = (middle(self.width), middle(self.height));
        let mut pixels = Vec::with_capacity(4 * width as usize * height as usize);
        for row in 0..height {
            for column in 0..width {
                let right = f64::from(x) + f64::from(column) - middle_x;
                let down = f64::from(y) + f64::from(row) - middle_y;
                let at = (middle_x + cos * right - sin * down, middle_y + sin * right + cos * down);
                pixels.extend(self.between(at));
            }
        }
        Self { width, height, pixels }
    }

    /// The colour at a place between pixels.
    fn between(&self, (x, y): (f64, f64)) -> [u8; 4] {
        let (left, top) = (x.floor(), y.floor());
        let (to_right, to_bottom) = (x - left, y - top);
        let columns = [left, left + 1.0].map(|at| mirrored(at, self.width));
        let rows = [top, top + 1.0].map(|at| mirrored(at, self.height));
        let level = |row: usize, column: usize, channel: usize| {
            f64::from(self.pixels[4 * (rows[row] * self.width as usize + columns[column]) + channel])
        };
        let mixed = |channel: usize| {
            let along = |row: usize| level(row, 0, channel) * (1.0 - to_right) + level(row, 1, channel) * to_right;
            (along(0) * (1.0 - to_bottom) + along(1) * to_bottom).round() as u8
        };
        [mixed(0), mixed(1), mixed(2), 255]
    }

    /// The opaque picture with its brightness, contrast and saturation times these factors, one after the other, as
    /// torchvision's `ColorJitter` defines them: a mixture with black, with the mean luma, and with each pixel's luma.
    pub fn recoloured(&self, [brightness, contrast, saturation]: [f64; 3]) -> Self {
        let colours = self.pixels.chunks_exact(4);
        let mut colours: Vec<[f64; 3]> =
            colours.map(|pixel| [0, 1, 2].map(|c| mixture(f64::from(pixel[c]), 0.0, brightness))).collect();
        let mean = colours.iter().map(luma).sum::<f64>() / colours.len().max(1) as f64;
        for colour in &mut colours {
            *colour = colour.map(|level| mixture(level, mean, contrast));
            let grey = luma(colour);
            *colour = colour.map(|level| mixture(level, grey, saturation));
        }
        let bytes = |[r, g, b]: [f64; 3]| [r.round() as u8, g.round() as u8, b.round() as u8, 255];
        Self { pixels: colours.into_iter().flat_map(bytes).collect(), ..*self }
    }
}

fn luma(colour: &[f64; 3]) -> f64 {
    colour[0] * LUMA[0] + colour[1] * LUMA[1] + colour[2] * LUMA[2]
}

/// So much of a level and the rest of another, in levels of 0 to 255.
fn mixture(level: f64, other: f64, factor: f64) -> f64 {
    (level * factor + other * (1.0 - factor)).clamp(0.0, 255.0)
}

/// The pixel that a place along one side shows, the picture mirrored at its edges with the outermost pixels repeated.
fn mirrored(at: f64, side: u32) -> usize {
    let place = at.rem_euclid(2.0 * f64::from(side)) as usize;
    let side = side as usize;
    if place < side { place } else { (2 * side).saturating_sub(place + 1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by tests/reference/make_augment.py with SciPy and Pillow.
    #[derive(serde::Deserialize)]
    struct Golden {
        width: u32,
        height: u32,
        /// RGB.
        picture: Vec<u8>,
        turned: Vec<Turned>,
        recoloured: Vec<Recoloured>,
    }

    #[derive(serde::Deserialize)]
    struct Turned {
        degrees: f64,
        pixels: Vec<u8>,
    }

    #[derive(serde::Deserialize)]
    struct Recoloured {
        factors: [f64; 3],
        pixels: Vec<u8>,
    }

    fn golden() -> (Golden, Picture) {
        let file = include_bytes!("../../tests/fixtures/augment.json");
        let golden: Golden = serde_json::from_slice(file).expect("augment.json is what the script writes");
        let pixels = golden.picture.chunks_exact(3).flat_map(|rgb| [rgb[0], rgb[1], rgb[2], 255]).collect();
        let picture = Picture { width: golden.width, height: golden.height, pixels };
        (golden, picture)
    }

    /// The largest difference in levels.
    fn furthest(picture: &Picture, rgb: &[u8]) -> u8 {
        let colours = picture.pixels.chunks_exact(4).flat_map(|pixel| pixel[..3].iter());
        assert_eq!(3 * picture.pixels.len() / 4, rgb.len());
        colours.zip(rgb).map(|(a, b)| a.abs_diff(*b)).max().expect("there are pixels")
    }

    #[test]
    fn pictures_are_turned_as_scipy_turns_them() {
        let (golden, picture) = golden();
        assert!(golden.turned.len() >= 4);
        for Turned { degrees, pixels } in golden.turned {
            let turned = picture.crop_turned(degrees, 0, 0, picture.width, picture.height);
            // What lies on the boundary between two levels may round either way.
            assert!(furthest(&turned, &pixels) <= 1, "{degrees}");
            let part = picture.crop_turned(degrees, 3, 2, 9, 7);
            assert_eq!(part, turned.crop(3, 2, 9, 7), "{degrees}");
        }
        assert_eq!(picture.crop_turned(0.0, 0, 0, picture.width, picture.height), picture);
    }

    #[test]
    fn colours_change_as_pillow_changes_them() {
        let (golden, picture) = golden();
        assert!(golden.recoloured.len() >= 4);
        for Recoloured { factors, pixels } in golden.recoloured {
            let recoloured = picture.recoloured(factors);
            // Pillow cuts to whole levels after each of the three, and its mean luma is a whole one.
            assert!(furthest(&recoloured, &pixels) <= 3, "{factors:?}");
        }
        assert_eq!(picture.recoloured([1.0; 3]), picture);
    }

    #[test]
    fn what_lets_through_is_laid_on_white() {
        let picture = Picture { width: 2, height: 1, pixels: vec![0, 100, 200, 0, 0, 100, 200, 128] };
        assert_eq!(picture.laid_on_white().pixels, [255, 255, 255, 255, 127, 177, 227, 255]);
    }
}
