//! The 256 colours of a GIF's frame.

use std::collections::HashMap;

/// Colours that a palette has.
const MOST: usize = 256;

/// Different colours up to which each counts by itself; beyond, those alike in their upper bits count as one.
const MOST_POINTS: usize = 1 << 14;

/// Rounds in which the palette's colours move to the middle of what they stand for.
const ROUNDS: usize = 5;

/// A frame in few colours.
pub struct Coloured {
    /// Red, green, blue of each colour.
    pub palette: Vec<u8>,
    /// A colour's number for each pixel.
    pub numbers: Vec<u8>,
    /// The number that stands for nothing, if there is one.
    pub transparent: Option<u8>,
}

/// Whether so much alpha is none in a GIF.
pub fn is_hole(alpha: u8) -> bool {
    alpha < 128
}

/// A colour, and how many pixels have it.
type Point = ([f32; 3], f32);

/// Straight RGBA8 pixels in at most 256 colours, exactly where there are no more; otherwise boxes of colours are cut in
/// two where it lowers the error most (Wu 1991), and Lloyd's algorithm moves what comes of it. Nothing is dithered: in a
/// moving picture the dots would swim.
///
/// With `with_hole` a number stands for nothing even where no pixel is transparent.
pub fn coloured(pixels: &[u8], with_hole: bool) -> Coloured {
    let pixels = pixels.as_chunks::<4>().0;
    let is_seen = |pixel: &&[u8; 4]| !is_hole(pixel[3]);
    let has_hole = with_hole || pixels.iter().any(|pixel| is_hole(pixel[3]));
    let room = MOST - usize::from(has_hole);
    let mut counts: HashMap<[u8; 3], f32> = HashMap::new();
    for [r, g, b, _] in pixels.iter().filter(is_seen) {
        *counts.entry([*r, *g, *b]).or_default() += 1.0;
    }
    // Sorted, so that a picture has one palette.
    let mut exact: Vec<[u8; 3]> = counts.keys().copied().collect();
    exact.sort_unstable();
    let palette: Vec<[u8; 3]> = if exact.len() <= room {
        exact
    } else {
        let points = exact.iter().map(|colour| (colour.map(f32::from), counts[colour]));
        let points = if exact.len() <= MOST_POINTS { points.collect() } else { joined(points) };
        chosen(points, room)
    };
    let mut nearest: HashMap<[u8; 3], u8> = HashMap::new();
    let transparent = has_hole.then_some(palette.len() as u8);
    let number = |[r, g, b, alpha]: [u8; 4]| match transparent {
        Some(hole) if is_hole(alpha) => hole,
        _ => *nearest.entry([r, g, b]).or_insert_with(|| closest(&palette, [r, g, b].map(f32::from)) as u8),
    };
    let numbers = pixels.iter().copied().map(number).collect();
    let hole = transparent.map(|_| [0; 3]);
    Coloured { palette: palette.iter().copied().chain(hole).flatten().collect(), numbers, transparent }
}

/// Colours alike in their upper five bits as one.
fn joined(points: impl Iterator<Item = Point>) -> Vec<Point> {
    let mut sums = vec![([0.0_f32; 3], 0.0_f32); 1 << 15];
    for (colour, weight) in points {
        let [r, g, b] = colour.map(|level| level as usize >> 3);
        let (sum, count) = &mut sums[r << 10 | g << 5 | b];
        *count += weight;
        for (sum, level) in sum.iter_mut().zip(colour) {
            *sum += weight * level;
        }
    }
    sums.retain(|(_, count)| *count > 0.0);
    sums.into_iter().map(|(sum, count)| (sum.map(|sum| sum / count), count)).collect()
}

/// Mean and squared error of a box along each axis.
fn spread(points: &[Point]) -> ([f32; 3], [f32; 3]) {
    let weight: f32 = points.iter().map(|(_, weight)| weight).sum();
    let mean = [0, 1, 2].map(|axis| points.iter().map(|(colour, w)| colour[axis] * w).sum::<f32>() / weight);
    let error = [0, 1, 2].map(|axis: usize| points.iter().map(|(c, w)| (c[axis] - mean[axis]).powi(2) * w).sum());
    (mean, error)
}

/// `count` colours that stand for all points.
fn chosen(mut points: Vec<Point>, count: usize) -> Vec<[u8; 3]> {
    // Each box is a range of the points, with its mean and its errors.
    let (mean, error) = spread(&points);
    let mut boxes = vec![(0..points.len(), mean, error)];
    let worst = |error: &[f32; 3]| error.iter().copied().fold(0.0, f32::max);
    while boxes.len() < count {
        let split = (0..boxes.len()).max_by(|a, b| worst(&boxes[*a].2).total_cmp(&worst(&boxes[*b].2)));
        let Some((range, mean, error)) = split.map(|at| boxes.swap_remove(at)) else { break };
        let axis = (0..3).max_by(|a, b| error[*a].total_cmp(&error[*b])).unwrap_or(0);
        let inside = &mut points[range.clone()];
        inside.sort_by(|one, other| one.0[axis].total_cmp(&other.0[axis]));
        let middle = inside.partition_point(|(colour, _)| colour[axis] <= mean[axis]);
        if middle == 0 || middle == inside.len() {
            boxes.push((range, mean, error));
            break;
        }
        for part in [range.start..range.start + middle, range.start + middle..range.end] {
            let (mean, error) = spread(&points[part.clone()]);
            boxes.push((part, mean, error));
        }
    }
    let rounded = |colour: [f32; 3]| colour.map(|level| level.round() as u8);
    let mut palette: Vec<[u8; 3]> = boxes.into_iter().map(|(_, mean, _)| rounded(mean)).collect();
    for _ in 0..ROUNDS {
        let mut sums = vec![([0.0_f32; 3], 0.0_f32); palette.len()];
        for (colour, weight) in &points {
            let (sum, count) = &mut sums[closest(&palette, *colour)];
            *count += weight;
            for (sum, level) in sum.iter_mut().zip(colour) {
                *sum += weight * level;
            }
        }
        for (colour, (sum, count)) in palette.iter_mut().zip(sums) {
            if count > 0.0 {
                *colour = rounded(sum.map(|sum| sum / count));
            }
        }
    }
    palette.sort_unstable();
    palette.dedup();
    palette
}

fn closest(palette: &[[u8; 3]], colour: [f32; 3]) -> usize {
    let distance = |other: &[u8; 3]| (0..3).map(|axis| (colour[axis] - f32::from(other[axis])).powi(2)).sum::<f32>();
    let places = palette.iter().map(distance).enumerate();
    places.min_by(|one, other| one.1.total_cmp(&other.1)).map_or(0, |(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean_error(pixels: &[u8], coloured: &Coloured) -> f32 {
        let pairs = pixels.as_chunks::<4>().0.iter().zip(&coloured.numbers);
        let off = |(pixel, number): (&[u8; 4], &u8)| -> u32 {
            (0..3).map(|c| u32::from(pixel[c].abs_diff(coloured.palette[3 * usize::from(*number) + c]))).sum()
        };
        pairs.map(off).sum::<u32>() as f32 / (pixels.len() / 4 * 3) as f32
    }

    #[test]
    fn few_colours_stay_exact_and_holes_stay_holes() {
        let pixels: Vec<u8> = (0..255_u8).flat_map(|i| [i, 255 - i, i / 2, 255]).chain([9, 9, 9, 0]).collect();
        let coloured = coloured(&pixels, false);
        assert_eq!((coloured.palette.len(), coloured.transparent), (3 * 256, Some(255)));
        assert_eq!(coloured.numbers.last(), Some(&255));
        assert_eq!(mean_error(&pixels[..4 * 255], &coloured), 0.0);
    }

    #[test]
    fn many_colours_become_256_near_ones() {
        let smooth =
            |x: f32, y: f32| [128.0 + 100.0 * (x + y).sin(), 128.0 + 100.0 * (x - y).cos(), 2.0 * x * y, 255.0];
        for (side, most) in [(64_u32, 2.4), (200, 2.8)] {
            let of = |i: u32| {
                let scale = 4.0 / side as f32;
                smooth((i % side) as f32 * scale, (i / side) as f32 * scale).map(|level| level as u8)
            };
            let pixels: Vec<u8> = (0..side * side).flat_map(of).collect();
            let coloured = coloured(&pixels, false);
            assert!((250..=256).contains(&(coloured.palette.len() / 3)), "{}", coloured.palette.len() / 3);
            assert!(mean_error(&pixels, &coloured) < most, "{}", mean_error(&pixels, &coloured));
        }
    }
}
