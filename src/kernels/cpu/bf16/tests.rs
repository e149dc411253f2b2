//! All units against the definition in float64 with rounded factors.

use half::bf16;

use super::*;
use crate::kernels::cpu::values;

/// The sums of all three passes by the definition: every pair of a pixel and an output that a tap joins.
fn definition(input: &[f32], weight: &[f32], grad: &[f32], layer: Layer) -> [Vec<f64>; 3] {
    let Layer { batch, inputs, outputs, size: [height, width], geometry } = layer;
    let ([rows, columns], [down, across]) = (layer.axes(), layer.output_size());
    let mut found = [input.len(), weight.len(), grad.len()].map(|count| vec![0.0; count]);
    let at = |values: &[f32], place: usize| f64::from(bf16::from_f32(values[place]).to_f32());
    for image in 0..batch {
        for (y, x) in (0..down).flat_map(|y| (0..across).map(move |x| (y, x))) {
            for tap in 0..layer.taps() {
                let row = rows.source(y * geometry.stride + tap / geometry.kernel);
                let column = columns.source(x * geometry.stride + tap % geometry.kernel);
                let (Some(row), Some(column)) = (row, column) else { continue };
                for i in 0..inputs {
                    let pixel = ((image * inputs + i) * height + row) * width + column;
                    for o in 0..outputs {
                        let (factor, sum) =
                            ((o * inputs + i) * layer.taps() + tap, ((image * outputs + o) * down + y) * across + x);
                        found[2][sum] += at(input, pixel) * at(weight, factor);
                        found[0][pixel] += at(grad, sum) * at(weight, factor);
                        found[1][factor] += at(grad, sum) * at(input, pixel);
                    }
                }
            }
        }
    }
    found
}

#[track_caller]
fn close(what: &str, found: &[f32], expected: &[f64]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(1.0f64, |scale, value| scale.max(value.abs()));
    for (place, (found, expected)) in found.iter().zip(expected).enumerate() {
        let off = (f64::from(*found) - expected).abs() / scale;
        assert!(off < 1e-5, "{what} at {place}: {found}, not {expected}");
    }
}

#[test]
fn every_unit_computes_all_passes_of_every_geometry() {
    for name in ["Amx", "Avx512"] {
        if !Unit::all().iter().any(|unit| format!("{unit:?}") == name) {
            println!("{name}: not here, so not tested");
        }
    }
    let geometries = [
        Geometry::reflect(7),
        Geometry::reflect(3),
        Geometry::zero(3, 1, 1),
        Geometry::zero(3, 2, 1),
        Geometry::zero(4, 2, 1),
        Geometry::zero(4, 1, 1),
        Geometry::zero(1, 1, 0),
        Geometry::zero(3, 1, 2),
        Geometry { stride: 2, ..Geometry::reflect(3) },
        Geometry::zero(1, 2, 0),
        Geometry::zero(5, 3, 4),
    ];
    for geometry in geometries {
        let cases = [(1, 3, 18, [9, 20]), (2, 33, 5, [7, 6]), (3, 1, 1, [8, 5])];
        for (batch, inputs, outputs, size) in cases {
            let layer = Layer { batch, inputs, outputs, size, geometry };
            let [height, width] = layer.output_size();
            let input = values(batch * inputs * size[0] * size[1], 1);
            let (weight, grad) =
                (values(outputs * inputs * layer.taps(), 2), values(batch * outputs * height * width, 3));
            let [input_grad, weight_grad, output] = definition(&input, &weight, &grad, layer);
            let filters = Filters { weight: &weight, bias: None };
            for unit in Unit::all() {
                let what = |pass: &str| format!("{pass} of {layer:?} on {unit:?}");
                close(&what("output"), &conv2d(unit, &input, filters, layer), &output);
                close(&what("input grad"), &conv2d_input_grad(unit, &grad, filters, layer), &input_grad);
                close(&what("weight grad"), &conv2d_weight_grad(unit, &input, &grad, layer), &weight_grad);
            }
        }
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    let pools = [1, 2, 3].map(|count| rayon::ThreadPoolBuilder::new().num_threads(count).build().expect("a pool"));
    let mut units = Unit::all();
    if units.len() > 1 {
        // The slow one, where there is another.
        units.pop();
    }
    for geometry in [Geometry::reflect(7), Geometry::reflect(3), Geometry::zero(3, 2, 1)] {
        for (inputs, outputs) in [(3, 18), (18, 3), (33, 34)] {
            let layer = Layer { batch: 2, inputs, outputs, size: [9, 11], geometry };
            let [height, width] = layer.output_size();
            let (input, grad) = (values(2 * inputs * 9 * 11, 1), values(2 * outputs * height * width, 2));
            let (weight, bias) = (values(inputs * outputs * layer.taps(), 3), values(inputs.max(outputs), 4));
            let filters = |channels: usize| Filters { weight: &weight, bias: Some(&bias[..channels]) };
            for &unit in &units {
                let passes = || {
                    [
                        conv2d(unit, &input, filters(outputs), layer),
                        conv2d_input_grad(unit, &grad, filters(inputs), layer),
                        conv2d_weight_grad(unit, &input, &grad, layer),
                    ]
                };
                let [one, others @ ..] = &pools;
                let alone = one.install(passes);
                assert!(others.iter().all(|pool| pool.install(passes) == alone), "{layer:?} on {unit:?}");
            }
        }
    }
}
