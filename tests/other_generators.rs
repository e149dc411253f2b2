//! Generators of other people's codes, norms of weights, and files with more than weights: `tests/reference/make_generators.py`
//! writes the fixtures.

use std::path::{Path, PathBuf};

use burn::backend::Flex;
use burn::tensor::{Tensor, TensorData};
use cyclegan::model::Generator;
use cyclegan::model::architecture::{Architecture, Doubling, Downsample, ResnetStyle};
use cyclegan::translate::{TranslateError, check_channels};
use cyclegan::weights::networks::load_generator;
use cyclegan::weights::{Format, Storage, WeightFile};

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/weights/kinds").join(name)
}

fn network(name: &str) -> WeightFile {
    let file = WeightFile::read_from(&path(name)).and_then(|file| file.network(None));
    file.unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn refused(name: &str) -> String {
    let file = WeightFile::read_from(&path(name)).and_then(|file| file.network(None));
    file.map(drop).expect_err(name).to_string()
}

fn style(file: &WeightFile) -> ResnetStyle {
    match file.architecture().expect("known") {
        Architecture::Resnet { style, .. } => style,
        other => panic!("{other:?}"),
    }
}

/// The worst difference from what PyTorch computes.
fn difference(file: WeightFile, name: &str) -> f32 {
    let expected = WeightFile::read_from(&path("expected.safetensors")).expect("committed");
    let of = |part: &str| expected.tensor(&format!("{name}.{part}")).expect("committed").clone();
    let (input, output) = (of("input"), of("output"));
    let generator: Generator<Flex> = load_generator(file, &Default::default()).expect("a generator");
    let planes = Tensor::<Flex, 4>::from_data(TensorData::new(input.values, input.shape), &Default::default());
    let found: Vec<f32> = generator.forward(planes).into_data().iter().collect();
    assert_eq!(found.len(), output.values.len(), "{name}");
    found.iter().zip(&output.values).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn generators_of_other_codes_compute_what_pytorch_computes() {
    let paper = ResnetStyle::PAPER;
    let up = |upsample| ResnetStyle { upsample, ..paper };
    let down = |downsample| ResnetStyle { downsample, ..paper };
    let cases = [
        ("blurred", ResnetStyle { upsample: Doubling::Blurred, ..down(Downsample::Blurred) }, ""),
        ("blurred_down", down(Downsample::Blurred), ""),
        ("blurred_up", up(Doubling::Blurred), ""),
        ("nearest", up(Doubling::ResizeZero), "nearest neighbours"),
        ("bilinear", up(Doubling::Bilinear), "bilinear"),
        ("tutorial", down(Downsample::Mirrored), ""),
        ("grey", paper, ""),
        ("alpha", paper, ""),
        ("spectral_old", paper, "folded"),
        ("spectral_new", paper, "folded"),
        ("weight_old", paper, "folded"),
    ];
    for (name, expected, note) in cases {
        let file = network(&format!("{name}.pth"));
        assert_eq!(style(&file), expected, "{name}");
        assert!(file.notes.join(" ").contains(note) && file.notes.is_empty() == note.is_empty(), "{:?}", file.notes);
        let worst = difference(file, name);
        assert!(worst < 1e-4, "{name}: {worst}");
    }
    for (name, same) in [("nearest_block.pth", "nearest"), ("weight_new.pth", "weight_old")] {
        let worst = difference(network(name), same);
        assert!(worst < 1e-4, "{name}: {worst}");
    }
}

#[test]
fn names_tell_whatever_stands_before_them() {
    for name in ["blurred", "nearest", "bilinear", "tutorial"] {
        let mut file = WeightFile::read_from(&path(&format!("{name}.pth"))).expect("committed");
        file.tensors.iter_mut().for_each(|tensor| tensor.name.insert_str(0, "state_dict."));
        let file = file.network(None).unwrap_or_else(|error| panic!("{name}: {error}"));
        let worst = difference(file, name);
        assert!(worst < 1e-4, "{name}: {worst}");
    }
}

#[test]
fn generators_of_other_codes_come_back_from_every_format() {
    for name in ["blurred", "blurred_down", "blurred_up", "nearest", "bilinear", "tutorial", "grey"] {
        let file = network(&format!("{name}.pth"));
        for format in [Format::Safetensors, Format::Pytorch] {
            let bytes = file.write_as(format, Storage::F32).expect("writable");
            let again = WeightFile::read(&bytes).and_then(|file| file.network(None)).expect(name);
            assert_eq!(
                (again.architecture().ok(), &again.tensors),
                (file.architecture().ok(), &file.tensors),
                "{name}"
            );
        }
        let graph = file.write_as(Format::Onnx, Storage::F32);
        if name == "grey" {
            graph.expect("the official layers");
        } else {
            let said = graph.expect_err(name).to_string();
            assert!(said.contains("ONNX graph of a generator that is not the official code's"), "{said}");
        }
    }
}

#[test]
fn channels_are_told_and_others_refused_by_their_number() {
    assert_eq!(network("grey.pth").info().channels, [1, 1]);
    assert_eq!(network("alpha.pth").info().channels, [4, 4]);
    assert_eq!(network("six.pth").info().channels, [6, 3]);
    let said = check_channels([6, 3]).expect_err("six").to_string();
    assert!(said.contains("reads pictures of 6 channels and writes pictures of 3"), "{said}");
    assert_eq!(check_channels([3, 2]), Err(TranslateError::Channels { reads: 3, writes: 2 }));
    for channels in [[1, 3], [3, 1], [4, 4], [3, 3]] {
        assert_eq!(check_channels(channels), Ok(()));
    }
}

#[test]
fn objects_beside_the_weights_are_passed_over_and_told() {
    let expected = network("plain.safetensors").tensors;
    for name in ["objects.pth", "objects_legacy.pth", "objects_protocol4.pth"] {
        let file = network(name);
        assert_eq!(file.tensors, expected, "{name}");
        let [note] = &file.notes[..] else { panic!("{name}: {:?}", file.notes) };
        for told in ["nothing of them was run", "`args` (argparse.Namespace)", "`best` (numpy", "more."] {
            assert!(note.contains(told), "{name}: {note}");
        }
    }
    let said = refused("only_objects.pth");
    assert!(said.contains("needs argparse.Namespace"), "{said}");
}

#[test]
fn other_types_are_read_or_named() {
    let expected = network("plain.safetensors").tensors;
    assert_eq!(network("int_buffers.safetensors").tensors, expected);
    let wide = network("f64.safetensors");
    assert_eq!(wide.tensors, expected);
    assert!(wide.notes.join(" ").contains("64 bits"), "{:?}", wide.notes);
    for (name, dtype) in [("complex.pth", "complex64"), ("int16.safetensors", "I16")] {
        let said = refused(name);
        assert!(said.contains(&format!("of type {dtype}")) && !said.contains("state_dict"), "{name}: {said}");
    }
}
