//! The patch-wise contrastive loss of CUT (Park et al. 2020, <https://arxiv.org/abs/2007.15651>, equations 2 to 4): a
//! patch of a translation is to be told by its features as that of the same place among others of the picture.

use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, TensorData};
use rand::RngExt;

use crate::kernels::{self, Geometry, Kernels};
use crate::model::Feature;
use crate::random;

/// The similarity that CUT's code has in the place of a patch's with itself among the negatives.
const MASKED: f64 = -10.0;
/// Added to a norm before it divides (`Normalize` of CUT's code).
const NORM_EPSILON: f64 = 1e-7;
/// Added to a squared norm, far below what 32 bits see beside any other: the root of 0 has no derivative.
const ROOT_EPSILON: f64 = 1e-20;

/// `count` different places of `all` in random order, all of them where there are fewer.
pub fn places(seed: u64, name: &str, index: u64, count: u32, all: u32) -> Vec<u32> {
    let mut stream = random::stream(seed, name, index);
    let mut order: Vec<u32> = (0..all).collect();
    let count = count.min(all);
    for place in 0..count {
        order.swap(place as usize, stream.random_range(place..all) as usize);
    }
    order.truncate(count as usize);
    order
}

/// How many places a feature has: rows by columns, its margin included.
pub fn area<B: Backend>(feature: &Feature<B>) -> u32 {
    let [_, _, height, width] = feature.planes.dims();
    ((height + 2 * feature.margin) * (width + 2 * feature.margin)) as u32
}

/// The vectors of a feature at some places, which are counted row by row with the margin included; of the feature of a
/// mirrored picture at the places that they have come to lie.
///
/// # Shapes
/// - output: `[N, channels, places, 1]`
pub fn patches<B: Backend>(feature: Feature<B>, places: &[u32], is_mirrored: bool) -> Tensor<B, 4> {
    let Feature { planes, bias, margin } = feature;
    let [batch, channels, height, width] = planes.dims();
    let wide = width + 2 * margin;
    // A place of the margin is that of the pixel that is mirrored there.
    let source = |at: usize, side: usize| {
        let at = at.abs_diff(margin);
        if at < side { at } else { 2 * (side - 1) - at }
    };
    let index = |place: &u32| {
        let (row, column) = (*place as usize / wide, *place as usize % wide);
        let column = if is_mirrored { wide - 1 - column } else { column };
        (source(row, height) * width + source(column, width)) as i32
    };
    let indices: Vec<i32> = places.iter().map(index).collect();
    let indices = Tensor::<B, 1, Int>::from_data(TensorData::new(indices, [places.len()]), &planes.device());
    let found = planes.reshape([batch, channels, height * width]).select(2, indices);
    let found = found.reshape([batch, channels, places.len(), 1]);
    match bias {
        Some(bias) => found + bias.reshape([1, channels, 1, 1]),
        None => found,
    }
}

/// Every vector divided by its length.
///
/// # Shapes
/// - vectors and output: `[N, channels, patches, 1]`
pub fn normalised<B: Backend>(vectors: Tensor<B, 4>) -> Tensor<B, 4> {
    let squares = (vectors.clone() * vectors.clone()).sum_dim(1) + ROOT_EPSILON;
    vectors / (squares.sqrt() + NORM_EPSILON)
}

/// The mean cross-entropy of finding every query's key among those of its picture, or of all pictures of the batch, by
/// their similarity over the temperature. No gradient goes to the keys.
///
/// # Shapes
/// - queries, keys: `[N, channels, patches, 1]`, each vector of length 1; output: `[1]`
pub fn patch_nce<B: Kernels>(
    queries: Tensor<B, 4>,
    keys: Tensor<B, 4>,
    temperature: f32,
    is_of_batch: bool,
) -> Tensor<B, 1> {
    let [batch, channels, patches, _] = queries.dims();
    let [queries, keys] = [queries, keys.detach()].map(|vectors| match is_of_batch {
        true => vectors.swap_dims(0, 1).reshape([1, channels, batch * patches, 1]),
        false => vectors,
    });
    let groups = queries.dims()[0];
    let terms = (0..groups).map(|group| {
        let [queries, keys] = [&queries, &keys].map(|vectors| vectors.clone().narrow(0, group, 1));
        of_one(queries, keys, temperature)
    });
    kernels::join(terms.collect()).mean()
}

/// The same within one picture: `[1, channels, patches, 1]` to `[1]`.
fn of_one<B: Kernels>(queries: Tensor<B, 4>, keys: Tensor<B, 4>, temperature: f32) -> Tensor<B, 1> {
    let [_, channels, patches, _] = queries.dims();
    let scale = 1.0 / f64::from(temperature);
    let own = (queries.clone() * keys.clone()).sum_dim(1) * scale;
    // Products of vectors are a convolution of single positions with the keys as its filters.
    let filters = keys.reshape([channels, patches]).swap_dims(0, 1).reshape([patches, channels, 1, 1]);
    let logits = kernels::conv2d(queries, filters, None, Geometry::zero(1, 1, 0)) * scale;
    let largest = logits.clone().detach().max_dim(1);
    let masked = (largest.clone().neg() + MASKED * scale).exp();
    let sum = (logits - largest.clone()).exp().sum_dim(1) + masked;
    (sum.log() + largest - own).mean()
}

#[cfg(test)]
mod tests {
    use burn::backend::Flex;

    use super::*;

    #[test]
    fn places_are_different_and_the_same_again() {
        let found = places(3, "patches", 7, 256, 1000);
        let mut sorted = found.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!((sorted.len(), sorted.last().is_some_and(|last| *last < 1000)), (256, true));
        assert_eq!(found, places(3, "patches", 7, 256, 1000));
        assert_ne!(found, places(3, "patches", 8, 256, 1000));
        assert_eq!(places(3, "patches", 7, 256, 9).len(), 9);
    }

    #[test]
    fn a_margin_is_mirrored_and_a_mirrored_picture_turned_back() {
        let planes =
            Tensor::<Flex, 4>::from_data([[[[0.0, 1.0, 2.0], [3.0, 4.0, 5.0], [6.0, 7.0, 8.0]]]], &Default::default());
        let found = |planes: Tensor<Flex, 4>, margin, is_mirrored| -> Vec<f32> {
            let feature = Feature { planes, bias: None, margin };
            let all: Vec<u32> = (0..area(&feature)).collect();
            patches(feature, &all, is_mirrored).into_data().iter().collect()
        };
        let plain: Vec<f32> = (0..9).map(|value| value as f32).collect();
        assert_eq!(found(planes.clone(), 0, false), plain);
        assert_eq!(found(planes.clone().flip([3]), 0, true), plain);
        let wide = found(planes.clone(), 1, false);
        assert_eq!(wide[..10], [4.0, 3.0, 4.0, 5.0, 4.0, 1.0, 0.0, 1.0, 2.0, 1.0]);
        assert_eq!(found(planes.flip([3]), 1, true), wide);
    }

    #[test]
    fn a_loss_is_that_of_its_formula() {
        let vectors =
            |values: [[f32; 3]; 2]| Tensor::<Flex, 2>::from_data(values, &Default::default()).reshape([1, 2, 3, 1]);
        let (queries, keys) = ([[1.0, 0.6, 0.0], [0.0, 0.8, 1.0]], [[0.8, 0.6, -1.0], [0.6, 0.8, 0.0]]);
        let dot = |one: usize, other: usize| (0..2).map(|at| queries[at][one] * keys[at][other]).sum::<f32>();
        for temperature in [0.07_f32, 2.0] {
            let of = |query: usize| {
                let exp = |similarity: f32| f64::from(similarity / temperature).exp();
                let negatives =
                    (0..3).filter(|key| *key != query).map(|key| exp(dot(query, key))).sum::<f64>() + exp(-10.0);
                -(exp(dot(query, query)) / (exp(dot(query, query)) + negatives)).ln()
            };
            let expected = (0..3).map(of).sum::<f64>() / 3.0;
            let found = patch_nce(vectors(queries), vectors(keys), temperature, false).into_scalar();
            assert!((f64::from(found) - expected).abs() < 1e-5 * expected.max(1.0), "{found}, not {expected}");
        }
    }
}
