//! The zero-centred gradient penalty on real pictures against PyTorch (float64), which differentiates twice:
//! `tests/reference/golden_r1.py` writes the fixture.

use cyclegan::loss::{self, Centre};
use cyclegan::training::Gradients;
use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
struct Golden {
    weight: f32,
    value: f64,
    gradient_norms: HashMap<String, f64>,
    whole: String,
    values: Vec<f32>,
}

/// The penalty of two samples and its gradient.
pub fn penalty<A>(device: &A::Device)
where
    A: AutodiffBackend + Kernels,
    A::InnerBackend: Kernels + Backend<Device = A::Device>,
{
    let stored: Golden = serde_json::from_str(include_str!("../../fixtures/golden/r1.json")).expect("committed");
    let inputs = golden("inputs.safetensors");
    let pictures = ["real_a", "real_b"].map(|name| tensor::<A::InnerBackend>(&inputs, name, device));
    let judge = discriminator::<A>("discriminator_a.", device);
    let penalty = loss::gradient_penalty(&judge, Tensor::cat(pictures.to_vec(), 0), stored.weight, Centre::Zero);
    let value = f64::from(host(penalty.clone().inner())[0]);
    assert!((value - stored.value).abs() <= 1e-4 * stored.value, "{value}, not {}", stored.value);

    let gradients = Gradients::take(&judge, &mut penalty.backward()).0;
    let mut compared = 0;
    for ((name, _), gradient) in DISCRIMINATOR.parameters().into_iter().zip(gradients) {
        let name = format!("discriminator_a.{name}");
        let Some(expected) = stored.gradient_norms.get(&name) else { continue };
        let gradient = host(gradient.expect("it has a gradient"));
        let found = norm(gradient.iter().map(|value| f64::from(*value)));
        assert!((found - expected).abs() <= 1e-3 * expected, "{name}: norm {found}, not {expected}");
        if name == stored.whole {
            let off = distance(&gradient[..stored.values.len()], &stored.values);
            assert!(off <= GRADIENT, "{name}: off by {off}");
        }
        compared += 1;
    }
    assert_eq!(compared, stored.gradient_norms.len());
}

on_every_backend! {
    #[test]
    fn the_penalty_on_real_pictures_matches_pytorch() {
        super::penalty::<super::Autodiff<B>>(&Default::default());
    }
}
