//! Norms of weights: what `torch.nn.utils.spectral_norm`, `weight_norm` and their newer forms in `parametrizations` leave in
//! a `state_dict`, made into the weight that PyTorch computes with when it does not train.

use std::collections::{HashMap, HashSet};

use super::NamedTensor;

/// How the parts of a normed weight are called after its layer: what is normed, and the two vectors of a spectral norm
/// (Miyato et al. 2018) or the one length a channel of a weight norm (Salimans & Kingma 2016).
const FORMS: [[&str; 3]; 4] = [
    [".weight_orig", ".weight_u", ".weight_v"],
    [".parametrizations.weight.original", ".parametrizations.weight.0._u", ".parametrizations.weight.0._v"],
    [".weight_v", ".weight_g", ""],
    [".parametrizations.weight.original1", ".parametrizations.weight.original0", ""],
];

/// Replaces the parts of every normed convolution's weight but those at the places `kept` by the weight, at the place of the
/// layer's first tensor. Whether there was one.
pub fn fold(tensors: &mut Vec<NamedTensor>, kept: &HashSet<usize>) -> bool {
    let places: HashMap<&str, usize> =
        tensors.iter().enumerate().map(|(place, tensor)| (tensor.name.as_str(), place)).collect();
    let mut weights = HashMap::new();
    let mut used = HashSet::new();
    for (place, tensor) in tensors.iter().enumerate() {
        for [normed, first, second] in FORMS {
            let Some(layer) = tensor.name.strip_suffix(normed) else { continue };
            let part = |ending: &str| places.get([layer, ending].concat().as_str()).copied();
            let (Some(first), second) = (part(first), part(second)) else { continue };
            let parts: Vec<usize> = [place, first].into_iter().chain(second).collect();
            if tensor.shape.len() != 4 || parts.iter().any(|part| kept.contains(part)) {
                continue;
            }
            let values = match second {
                Some(second) => spectral(tensor, &tensors[first].values, &tensors[second].values),
                None => weighted(tensor, &tensors[first]),
            };
            let Some(values) = values.filter(|values| values.iter().all(|value| value.is_finite())) else { continue };
            let weight = NamedTensor { name: [layer, ".weight"].concat(), shape: tensor.shape.clone(), values };
            weights.insert(layer.to_owned(), weight);
            used.extend(parts);
        }
    }
    let is_any = !weights.is_empty();
    if is_any {
        let all = std::mem::take(tensors);
        for (place, tensor) in all.into_iter().enumerate() {
            let layer = FORMS.iter().flatten().chain(&[".bias"]).filter(|ending| !ending.is_empty());
            let layer = layer.filter_map(|ending| tensor.name.strip_suffix(ending)).next();
            tensors.extend(layer.and_then(|layer| weights.remove(layer)));
            if !used.contains(&place) {
                tensors.push(tensor);
            }
        }
    }
    is_any
}

/// `W / (uᵀ W v)`, W as a matrix with a row for each output: the first side, or the second of a transposed convolution,
/// whichever fits the vectors; where both do it is the second only if they are the singular vectors of that one.
fn spectral(weight: &NamedTensor, u: &[f32], v: &[f32]) -> Option<Vec<f32>> {
    let [first, second, ..] = weight.shape[..] else { return None };
    let taps: usize = weight.shape[2..].iter().product();
    // With the cosine of the angle between W v and u, which is 1 for singular vectors.
    let sigma = |rows: usize, columns: usize, place: &dyn Fn(usize) -> [usize; 2]| {
        let fits = u.len() == rows && v.len() == columns;
        fits.then(|| {
            let mut products = vec![0.0; rows];
            for (index, value) in weight.values.iter().enumerate() {
                let [row, column] = place(index);
                products[row] += f64::from(*value) * f64::from(v[column]);
            }
            let sigma: f64 = products.iter().zip(u).map(|(product, u)| product * f64::from(*u)).sum();
            let length = products.iter().map(|product| product * product).sum::<f64>().sqrt();
            (sigma, sigma / length)
        })
    };
    let rest = second * taps;
    let plain = sigma(first, rest, &|index| [index / rest, index % rest]);
    let turned = sigma(second, first * taps, &|index| [index / taps % second, index / rest * taps + index % taps]);
    let sigma = match (plain, turned) {
        (Some((sigma, one)), Some((turned, other))) => {
            if other > one.max(0.8) {
                turned
            } else {
                sigma
            }
        }
        (plain, turned) => plain.or(turned)?.0,
    };
    Some(weight.values.iter().map(|value| (f64::from(*value) / sigma) as f32).collect())
}

/// `g · v / ‖v‖`, the norm over all sides along which there is one `g`.
fn weighted(direction: &NamedTensor, lengths: &NamedTensor) -> Option<Vec<f32>> {
    let count = lengths.values.len();
    let along = lengths.shape.iter().position(|side| *side > 1);
    let fits = match along {
        Some(side) => direction.shape.get(side) == Some(&count),
        None => count == 1,
    };
    if !fits || lengths.shape.len() > direction.shape.len() {
        return None;
    }
    let below: usize = direction.shape[along.map_or(0, |side| side + 1)..].iter().product();
    let channel = |index: usize| index / below.max(1) % count;
    let mut squares = vec![0.0; count];
    for (index, value) in direction.values.iter().enumerate() {
        squares[channel(index)] += f64::from(*value).powi(2);
    }
    let scale = |index: usize| f64::from(lengths.values[channel(index)]) / squares[channel(index)].sqrt();
    Some(direction.values.iter().enumerate().map(|(index, value)| (f64::from(*value) * scale(index)) as f32).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A square convolution whose vectors have had no training, which do not tell the sides apart: PyTorch's `Conv2d`.
    #[test]
    fn a_square_spectral_norm_without_training_is_a_convolutions() {
        let values: Vec<f32> = vec![1.0, -2.0, 3.0, 0.5];
        let weight = NamedTensor { name: String::new(), shape: vec![2, 2, 1, 1], values };
        // torch.nn.utils.spectral_norm(Conv2d(2, 2, 1)).eval() with u = (0.6, 0.8), v = (0.8, 0.6): uᵀ W v = 1.92.
        let folded = spectral(&weight, &[0.6, 0.8], &[0.8, 0.6]).expect("they fit");
        for (found, wanted) in folded.iter().zip([0.520_833_3, -1.041_666_6, 1.5625, 0.260_416_67]) {
            assert!((found - wanted).abs() < 1e-6, "{folded:?}");
        }
        // NumPy's singular vectors of the turned matrix, as a transposed convolution's are after training: σ = 3.169094.
        let turned = spectral(&weight, &[0.996_296, -0.085_989], &[0.368_646, 0.929_57]).expect("they fit");
        assert!((turned[2] - 3.0 / 3.169_094).abs() < 1e-5, "{turned:?}");
    }
}
