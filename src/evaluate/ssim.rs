//! Structural similarity (Wang et al. 2004, "Image quality assessment: from error visibility to
//! structural similarity", <https://doi.org/10.1109/TIP.2003.819861>, equation 13).

use super::{EvaluateError, levels};
use crate::image::Picture;

/// Pixels on each side of the middle of the Gaussian window: 11×11 in all, as in the paper.
const RADIUS: usize = 5;
const SIDE: usize = 2 * RADIUS + 1;
const SIGMA: f64 = 1.5;
/// (0.01 · 255)² and (0.03 · 255)².
const C1: f64 = 6.5025;
const C2: f64 = 58.5225;

/// Structural similarity of two pictures, −1 to 1: computed on red, green and blue apart and
/// averaged, over the windows that lie inside of the picture. That is scikit-image's
/// `structural_similarity(channel_axis=2, gaussian_weights=True, use_sample_covariance=False, data_range=255)`.
///
/// # Errors
/// When the sizes differ or a side is below 11.
pub fn ssim(a: &Picture, b: &Picture) -> Result<f64, EvaluateError> {
    let (planes_a, planes_b) = levels(a, b)?;
    let (width, height) = (a.width as usize, a.height as usize);
    if width.min(height) < SIDE {
        return Err(EvaluateError::TooSmall { window: SIDE as u32 });
    }
    let planes = planes_a.chunks_exact(width * height).zip(planes_b.chunks_exact(width * height));
    Ok(planes.map(|(a, b)| of_planes(a, b, width)).sum::<f64>() / 3.0)
}

fn of_planes(a: &[f64], b: &[f64], width: usize) -> f64 {
    let product = |one: &[f64], other: &[f64]| -> Vec<f64> { one.iter().zip(other).map(|(x, y)| x * y).collect() };
    let blurred = |plane: &[f64]| blur(plane, width);
    let means = blurred(a).into_iter().zip(blurred(b));
    let squares = blurred(&product(a, a)).into_iter().zip(blurred(&product(b, b)));
    let local = means.zip(squares).zip(blurred(&product(a, b))).map(|(((mean_a, mean_b), (aa, bb)), ab)| {
        let (variances, covariance) = (aa - mean_a * mean_a + bb - mean_b * mean_b, ab - mean_a * mean_b);
        let (squares, products) = (mean_a * mean_a + mean_b * mean_b, mean_a * mean_b);
        (2.0 * products + C1) * (2.0 * covariance + C2) / ((squares + C1) * (variances + C2))
    });
    let local: Vec<f64> = local.collect();
    local.iter().sum::<f64>() / local.len() as f64
}

/// Gaussian means over every window that lies inside.
fn blur(plane: &[f64], width: usize) -> Vec<f64> {
    let weights: [f64; SIDE] = std::array::from_fn(|tap| {
        let distance = tap as f64 - RADIUS as f64;
        (-0.5 * (distance / SIGMA).powi(2)).exp()
    });
    let total: f64 = weights.iter().sum();
    let weights = weights.map(|weight| weight / total);
    let sum = |values: &mut dyn Iterator<Item = f64>| values.zip(weights).map(|(value, weight)| value * weight).sum();
    let across: Vec<f64> = plane
        .chunks_exact(width)
        .flat_map(|row| row.windows(SIDE).map(|window| sum(&mut window.iter().copied())))
        .collect();
    let inner = width + 1 - SIDE;
    let rows = plane.len() / width + 1 - SIDE;
    (0..rows * inner).map(|start| sum(&mut across[start..].iter().step_by(inner).copied())).collect()
}
