//! Resizing by convolution, one axis after the other.

use super::Picture;

/// The pixels that one output pixel is made of: the first one, and a weight for each.
struct Taps {
    first: usize,
    weights: Vec<f32>,
}

/// Keys's cubic with a = −½ (Keys 1981, "Cubic convolution interpolation for digital image
/// processing"), alias Catmull-Rom, alias PIL's `BICUBIC`; zero from 2 on.
fn cubic(distance: f64) -> f64 {
    let x = distance.abs();
    if x < 1.0 {
        (1.5 * x - 2.5) * x * x + 1.0
    } else if x < 2.0 {
        ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    } else {
        0.0
    }
}

/// The taps of every output pixel along one axis. Shrinking widens the filter by the same factor,
/// so that every input pixel counts (antialiasing). The windows are cut as PIL cuts them.
fn taps(from: u32, to: u32) -> Vec<Taps> {
    let scale = f64::from(from) / f64::from(to);
    let stretch = scale.max(1.0);
    let support = 2.0 * stretch;
    let one = |index: u32| {
        let centre = (f64::from(index) + 0.5) * scale;
        let first = (centre - support + 0.5).max(0.0) as usize;
        let last = ((centre + support + 0.5) as usize).min(from as usize);
        let weight = |pixel: usize| cubic((pixel as f64 + 0.5 - centre) / stretch);
        let total: f64 = (first..last).map(weight).sum();
        Taps { first, weights: (first..last).map(|pixel| (weight(pixel) / total) as f32).collect() }
    };
    (0..to).map(one).collect()
}

/// The picture at a new size. Colours are weighted by alpha on the way, so that the colour of what
/// cannot be seen does not leak into what can.
pub fn catmull_rom(picture: &Picture, width: u32, height: u32) -> Picture {
    let (columns, rows) = (taps(picture.width, width), taps(picture.height, height));
    let opaque = picture.is_opaque();
    // Only the input rows of the window slide through memory, each already at the new width.
    let mut lines: Vec<Option<Vec<f32>>> = Vec::new();
    lines.resize_with(picture.height as usize, || None);
    let mut pixels = Vec::with_capacity(4 * width as usize * height as usize);
    let mut sum = vec![0.0_f32; 4 * width as usize];
    let mut done = 0;
    for row in &rows {
        lines[done..row.first].fill_with(|| None);
        done = row.first;
        sum.fill(0.0);
        for (offset, weight) in row.weights.iter().enumerate() {
            let index = row.first + offset;
            let line = lines[index].get_or_insert_with(|| horizontal(picture, index, &columns, opaque));
            for (sum, value) in sum.iter_mut().zip(line) {
                *sum += weight * *value;
            }
        }
        pixels.extend(sum.as_chunks().0.iter().flat_map(|pixel| finish(*pixel, opaque)));
    }
    Picture { width, height, pixels }
}

/// One input row at the new width, as premultiplied levels of 0 to 255.
fn horizontal(picture: &Picture, row: usize, columns: &[Taps], opaque: bool) -> Vec<f32> {
    let stride = 4 * picture.width as usize;
    let bytes = &picture.pixels[row * stride..][..stride];
    let line: Vec<[f32; 4]> = bytes
        .as_chunks::<4>()
        .0
        .iter()
        .map(|pixel| {
            let [r, g, b, a] = pixel.map(f32::from);
            let alpha = if opaque { 1.0 } else { a / 255.0 };
            [r * alpha, g * alpha, b * alpha, a]
        })
        .collect();
    let mut out = Vec::with_capacity(4 * columns.len());
    for Taps { first, weights } in columns {
        let mut sum = [0.0_f32; 4];
        for (pixel, weight) in line[*first..].iter().zip(weights) {
            for (sum, value) in sum.iter_mut().zip(pixel) {
                *sum += weight * value;
            }
        }
        // PIL keeps whole levels between its two passes; without that its overshoots would differ.
        out.extend(sum.map(|value| value.round().clamp(0.0, 255.0)));
    }
    out
}

/// Premultiplied floats to straight bytes; the casts clamp.
fn finish([r, g, b, a]: [f32; 4], opaque: bool) -> [u8; 4] {
    let byte = |value: f32| value.round() as u8;
    if opaque {
        return [byte(r), byte(g), byte(b), 255];
    }
    if a < 0.5 {
        return [0; 4];
    }
    let straight = |value: f32| byte(value * 255.0 / a);
    [straight(r), straight(g), straight(b), byte(a)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_colour_stays_one_colour() {
        let picture = Picture::filled(31, 17, [10, 200, 77, 255]);
        for (width, height) in [(8, 5), (64, 64), (31, 40), (1, 1)] {
            assert_eq!(picture.resize(width, height), Picture::filled(width, height, [10, 200, 77, 255]));
        }
    }

    #[test]
    fn shrinking_averages_and_does_not_alias() {
        // Columns alternate between black and white: sampling would give all black or all white.
        let pixels = (0..64 * 64).flat_map(|i| if i % 2 == 0 { [0, 0, 0, 255] } else { [255; 4] }).collect();
        let small = Picture { width: 64, height: 64, pixels }.resize(16, 16);
        assert!(small.pixels.chunks_exact(4).all(|pixel| (108..=147).contains(&pixel[0])), "{:?}", &small.pixels[..64]);
    }

    #[test]
    fn unseen_colours_do_not_leak() {
        // Left half opaque red, right half transparent green.
        let pixels = (0..16 * 16).flat_map(|i| if i % 16 < 8 { [255, 0, 0, 255] } else { [0, 255, 0, 0] }).collect();
        let picture = Picture { width: 16, height: 16, pixels };
        for side in [5, 23] {
            let resized = picture.resize(side, side);
            assert!(!resized.is_opaque());
            for pixel in resized.pixels.chunks_exact(4).filter(|pixel| pixel[3] > 0) {
                assert!(pixel[1] == 0 && pixel[0] >= 250, "{pixel:?}");
            }
        }
    }

    #[test]
    fn the_filter_is_a_partition_of_unity() {
        for (from, to) in [(7, 3), (3, 7), (286, 256), (1, 9), (1000, 1)] {
            for taps in taps(from, to) {
                assert!((taps.weights.iter().sum::<f32>() - 1.0).abs() < 1e-5);
                assert!(taps.first + taps.weights.len() <= from as usize && !taps.weights.is_empty());
            }
        }
    }
}
