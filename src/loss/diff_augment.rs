//! DiffAugment (Zhao et al. 2020, "Differentiable Augmentation for Data-Efficient GAN Training",
//! <https://arxiv.org/abs/2006.10738>; official `DiffAugment_pytorch.py` with the policy `color,translation,cutout`):
//! the discriminators see real and generated pictures only through random changes, which the generators' gradients go
//! through. So a discriminator cannot learn a small set by heart, and the changes do not leak into what is generated.

use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use rand::{Rng, RngExt};

use crate::random;

/// The random decisions about one picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Draw {
    /// Added to every value, in [−½, ½).
    pub brightness: f64,
    /// What a pixel's distance from its own grey is multiplied with, in [0, 2).
    pub saturation: f64,
    /// What every value's distance from the picture's mean is multiplied with, in [½, 1½).
    pub contrast: f64,
    /// Rows and columns that the picture is moved up and to the left, at most an eighth of its sides; zeros follow.
    pub shift: [i32; 2],
    /// Row and column of the middle of a rectangle of zeros, half as high and as wide as the picture.
    pub hole: [usize; 2],
}

impl Draw {
    /// The decisions about a picture of `sides` rows and columns.
    pub fn new(stream: &mut impl Rng, sides: [usize; 2]) -> Self {
        Self {
            brightness: stream.random::<f64>() - 0.5,
            saturation: stream.random::<f64>() * 2.0,
            contrast: stream.random::<f64>() + 0.5,
            shift: sides.map(|side| {
                let most = (side / 8) as i32;
                stream.random_range(-most..=most)
            }),
            // An even rectangle has its middle between two pixels, and so one place more.
            hole: sides.map(|side| stream.random_range(0..side + 1 - side / 2 % 2)),
        }
    }
}

/// The pictures after random changes, each its own: functions of the seed, the name and the index.
///
/// # Shapes
/// - pictures and output: `[N, C, H, W]` in [−1, 1]
pub fn apply<B: Backend>(pictures: Tensor<B, 4>, seed: u64, name: &str, index: u64) -> Tensor<B, 4> {
    let [_, _, height, width] = pictures.dims();
    let mut stream = random::stream(seed, name, index);
    let changed = pictures.split(1, 0).into_iter().map(|picture| {
        let draw = Draw::new(&mut stream, [height, width]);
        change(picture, &draw)
    });
    Tensor::cat(changed.collect(), 0)
}

/// One picture changed as drawn, or several in the same way.
///
/// # Shapes
/// - picture and output: `[N, C, H, W]`
pub fn change<B: Backend>(picture: Tensor<B, 4>, draw: &Draw) -> Tensor<B, 4> {
    let bright = picture + draw.brightness;
    let vivid = around(bright.clone().mean_dim(1), bright, draw.saturation);
    let mean = vivid.clone().mean_dim(1).mean_dim(2).mean_dim(3);
    let contrasting = around(mean, vivid, draw.contrast);
    let [rows, columns] = draw.shift;
    let moved = shifted(shifted(contrasting, 2, rows), 3, columns);
    let [_, _, height, width] = moved.dims();
    let mask = outside([height, width], draw.hole);
    let mask =
        Tensor::<B, 4>::from_data(TensorData::new(mask, [1, 1, height, width]), (&moved.device(), moved.dtype()));
    moved * mask
}

/// The values at `factor` times their distance from `middle`.
fn around<B: Backend>(middle: Tensor<B, 4>, values: Tensor<B, 4>, factor: f64) -> Tensor<B, 4> {
    (values - middle.clone()) * factor + middle
}

/// The planes moved by `by` towards the start of an axis, with zeros behind.
fn shifted<B: Backend>(planes: Tensor<B, 4>, axis: usize, by: i32) -> Tensor<B, 4> {
    let count = by.unsigned_abs() as usize;
    if count == 0 {
        return planes;
    }
    let mut dims = planes.dims();
    let side = dims[axis];
    dims[axis] = count;
    let zeros = Tensor::zeros(dims, (&planes.device(), planes.dtype()));
    let parts = if by > 0 {
        vec![planes.narrow(axis, count, side - count), zeros]
    } else {
        vec![zeros, planes.narrow(axis, 0, side - count)]
    };
    Tensor::cat(parts, axis)
}

/// 0 in the rectangle around `hole`, which is cut at the borders, and 1 elsewhere: row-major.
fn outside(sides: [usize; 2], hole: [usize; 2]) -> Vec<f32> {
    let within = |axis: usize, at: usize| {
        let size = sides[axis] / 2;
        (hole[axis].saturating_sub(size / 2)..hole[axis] + size - size / 2).contains(&at)
    };
    let place = |row| (0..sides[1]).map(move |column| (row, column));
    let values = (0..sides[0]).flat_map(place);
    values.map(|(row, column)| if within(0, row) && within(1, column) { 0.0 } else { 1.0 }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions_stay_within_their_ranges_and_reach_the_ends() {
        let mut stream = random::stream(3, "draws", 0);
        let draws: Vec<Draw> = (0..4000).map(|_| Draw::new(&mut stream, [32, 12])).collect();
        let reaches = |found: &dyn Fn(&Draw) -> f64, from: f64, to: f64| {
            let values: Vec<f64> = draws.iter().map(found).collect();
            let [least, most] =
                [values.iter().copied().fold(f64::MAX, f64::min), values.iter().copied().fold(f64::MIN, f64::max)];
            let slack = (to - from) / 100.0;
            assert!(least >= from && least <= from + slack && most <= to && most >= to - slack, "{least} to {most}");
        };
        reaches(&|draw| draw.brightness, -0.5, 0.5);
        reaches(&|draw| draw.saturation, 0.0, 2.0);
        reaches(&|draw| draw.contrast, 0.5, 1.5);
        reaches(&|draw| f64::from(draw.shift[0]), -4.0, 4.0);
        reaches(&|draw| f64::from(draw.shift[1]), -1.0, 1.0);
        reaches(&|draw| draw.hole[0] as f64, 0.0, 32.0);
        reaches(&|draw| draw.hole[1] as f64, 0.0, 12.0);
    }

    #[test]
    fn the_hole_is_half_as_high_and_wide_and_cut_at_the_border() {
        let zeros = |sides, hole| outside(sides, hole).into_iter().filter(|value| *value == 0.0).count();
        assert_eq!(zeros([32, 16], [16, 8]), 16 * 8);
        assert_eq!(zeros([32, 16], [0, 16]), 8 * 4);
        // 5 of 10 rows: two before the middle, itself and two behind.
        let columns = outside([10, 2], [4, 1]);
        let hit = columns.iter().skip(1).step_by(2).copied();
        assert_eq!(hit.collect::<Vec<_>>(), [1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
        assert!(columns.iter().step_by(2).all(|value| *value == 1.0));
    }
}
