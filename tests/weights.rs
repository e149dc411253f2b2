//! Weight files from outside: good ones of PyTorch, and broken ones of every kind.

use std::path::PathBuf;
use std::process::Command;

use cyclegan::model::architecture::Architecture;
use cyclegan::model::architecture::{PatchStyle, ResnetStyle};
use cyclegan::protocol::{Direction, ModelInfo};
use cyclegan::weights::{NamedTensor, Storage, WeightError, WeightFile, metadata};
use proptest::prelude::*;

const GENERATOR: Architecture = Architecture::Resnet {
    in_channels: 3,
    out_channels: 3,
    ngf: 2,
    n_blocks: 2,
    affine: false,
    style: ResnetStyle::PAPER,
};
const DISCRIMINATOR: Architecture =
    Architecture::Patch { in_channels: 3, ndf: 2, n_layers: 3, style: PatchStyle::PAPER };

/// A network with values that 16 bits hold exactly, each tensor with its own.
fn network(architecture: Architecture) -> WeightFile {
    let mut counter = 0;
    let mut tensor = |(name, shape): (String, Vec<usize>)| {
        let count = shape.iter().product();
        let values = std::iter::repeat_with(|| {
            counter += 1;
            (counter % 1999 - 1000) as f32 / 1024.0
        });
        NamedTensor { name, shape, values: values.take(count).collect() }
    };
    let tensors = architecture.parameters().into_iter().map(&mut tensor).collect();
    let info = ModelInfo {
        architecture: architecture.name(),
        domain_from: "horse".into(),
        domain_to: "zebra".into(),
        size: 64,
        step: 1234,
        data: "horse2zebra".into(),
        licence: "MIT".into(),
        model: String::new(),
        ..ModelInfo::default()
    };
    WeightFile { metadata: metadata::describe(&info, Some(Direction::AtoB)), tensors, ..WeightFile::default() }
}

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/weights").join(name)
}

#[test]
fn a_round_trip_changes_nothing() {
    for architecture in [GENERATOR, DISCRIMINATOR] {
        for storage in [Storage::F32, Storage::F16] {
            let file = network(architecture);
            let bytes = file.write(storage).expect("writable");
            let again = WeightFile::read(&bytes).expect("readable");
            assert_eq!(again, file);
            assert_eq!(again.architecture().expect("known"), architecture);
            assert_eq!(again.write(storage).expect("writable"), bytes, "the same contents, the same bytes");
        }
    }
}

#[test]
fn the_official_reader_takes_our_files() {
    for storage in [Storage::F32, Storage::F16] {
        let file = network(GENERATOR);
        let bytes = file.write(storage).expect("writable");
        let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).expect("a sound header");
        assert_eq!(header.metadata().as_ref().map(|metadata| metadata.len()), Some(file.metadata.len()));
        let official = safetensors::SafeTensors::deserialize(&bytes).expect("a sound file");
        assert_eq!(official.len(), file.tensors.len());
        for tensor in &file.tensors {
            let view = official.tensor(&tensor.name).expect("every tensor is there");
            assert_eq!(view.shape(), tensor.shape);
            if storage == Storage::F32 {
                let expected: Vec<u8> = tensor.values.iter().flat_map(|value| value.to_le_bytes()).collect();
                assert_eq!(view.data(), expected);
            }
        }
    }
}

#[test]
fn sixteen_bits_round_to_nearest() {
    let mut file = network(GENERATOR);
    file.tensors[0].values[0] = 0.1;
    let bytes = file.write(Storage::F16).expect("writable");
    let stored = WeightFile::read(&bytes).expect("readable").tensors[0].values[0];
    assert_eq!(stored, 0.099_975_586);
    assert!(bytes.len() < file.write(Storage::F32).expect("writable").len() * 6 / 10);
}

#[test]
fn files_of_pytorch_are_read_in_official_order() {
    let exact = WeightFile::read_from(&fixture("discriminator_f32.safetensors")).expect("readable");
    let architecture = exact.architecture().expect("a discriminator");
    assert_eq!(architecture, Architecture::Patch { in_channels: 3, ndf: 4, n_layers: 3, style: PatchStyle::PAPER });
    let names: Vec<_> = exact.tensors.iter().map(|tensor| (tensor.name.clone(), tensor.shape.clone())).collect();
    assert_eq!(names, architecture.parameters());
    assert!(exact.tensors.iter().flat_map(|tensor| &tensor.values).any(|&value| value != 0.0));
    // Half of the last of 11 and of 8 bits, for values up to 0.25.
    for (name, tolerance) in [("discriminator_f16.safetensors", 6.2e-5), ("discriminator_bf16.safetensors", 4.9e-4)] {
        let rounded = WeightFile::read_from(&fixture(name)).expect("readable");
        for (rounded, exact) in rounded.tensors.iter().zip(&exact.tensors) {
            assert_eq!((&rounded.name, &rounded.shape), (&exact.name, &exact.shape));
            let pairs = rounded.values.iter().zip(&exact.values);
            let worst = pairs.map(|(r, e)| (r - e).abs()).fold(0.0, f32::max);
            assert!(worst <= tolerance, "{name}, {}: {worst}", exact.name);
        }
    }
}

#[test]
#[ignore = "needs PyTorch: tests/reference/run.sh sets it up, `make test` runs this"]
fn pytorch_takes_our_files_with_strict_keys() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let affine = Architecture::Resnet {
        in_channels: 3,
        out_channels: 1,
        ngf: 2,
        n_blocks: 1,
        affine: true,
        style: ResnetStyle::PAPER,
    };
    let mut strict = Command::new("bash");
    strict.args(["tests/reference/run.sh", "check_strict.py"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    for architecture in [GENERATOR, DISCRIMINATOR, affine] {
        for storage in [Storage::F32, Storage::F16] {
            let path = folder.path().join(format!("{architecture:?} {storage:?}.safetensors"));
            network(architecture).write_to(&path, storage).expect("written");
            strict.arg(path);
        }
    }
    let output = strict.output().expect("bash runs");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
    assert!(printed.contains("resnet_2blocks") && printed.contains("6 passed, 0 failed"), "{printed}");
}

#[test]
fn the_shapes_of_the_full_networks_are_those_of_pytorch() {
    let text = include_str!("fixtures/golden/shapes.json");
    let networks: serde_json::Value = serde_json::from_str(text).expect("JSON");
    let resnet = |n_blocks, affine| Architecture::Resnet {
        in_channels: 3,
        out_channels: 3,
        ngf: 64,
        n_blocks,
        affine,
        style: ResnetStyle::PAPER,
    };
    let ours = [
        ("resnet_9blocks", resnet(9, false)),
        ("resnet_6blocks", resnet(6, false)),
        ("resnet_9blocks_affine", resnet(9, true)),
        ("patch_3layers", Architecture::Patch { in_channels: 3, ndf: 64, n_layers: 3, style: PatchStyle::PAPER }),
    ];
    for (name, architecture) in ours {
        let expected = &networks[name];
        assert_eq!(serde_json::json!(architecture.parameters()), expected["parameters"], "{name}");
        assert_eq!(serde_json::json!(architecture.parameter_count()), expected["count"], "{name}");
    }
}

#[test]
fn a_file_tells_what_it_is() {
    let info = network(GENERATOR).info();
    assert_eq!(info.architecture, "resnet_2blocks");
    assert_eq!(info.parameters, GENERATOR.parameter_count());
    assert_eq!((info.domain_from.as_str(), info.domain_to.as_str()), ("horse", "zebra"));
    assert_eq!((info.size, info.step), (64, 1234));
    assert_eq!(network(GENERATOR).direction(), Some(Direction::AtoB));

    let plain = WeightFile::read_from(&fixture("discriminator_f32.safetensors")).expect("readable");
    let known = ModelInfo { architecture: "patch_3layers".into(), parameters: 11_517, ..ModelInfo::default() };
    assert_eq!(plain.info(), known);
    assert_eq!(plain.direction(), None);
}

#[test]
fn a_misfit_is_named() {
    let expected = GENERATOR.parameters();
    let fits = |change: &dyn Fn(&mut WeightFile)| {
        let mut file = network(GENERATOR);
        change(&mut file);
        file.fits(&expected)
    };
    fits(&|_| ()).expect("the unchanged file fits");
    fits(&|file| file.tensors.reverse()).expect("any order fits");
    let missing = fits(&|file| drop(file.tensors.remove(3))).expect_err("one is missing");
    assert!(matches!(&missing, WeightError::Missing { tensor, .. } if tensor == "model.4.bias"), "{missing}");
    let shape = fits(&|file| file.tensors[2].shape.swap(0, 1)).expect_err("a side is wrong");
    assert!(
        matches!(&shape, WeightError::Shape { tensor, expected, found }
            if tensor == "model.4.weight" && expected == &[4, 2, 3, 3] && found == &[2, 4, 3, 3]),
        "{shape}"
    );
    let renamed = fits(&|file| file.tensors[5].name = "model.7.scale".into()).expect_err("a name is wrong");
    assert!(matches!(&renamed, WeightError::Missing { tensor, .. } if tensor == "model.7.bias"), "{renamed}");
    let extra = NamedTensor { name: "model.2.running_mean".into(), shape: vec![2], values: vec![0.0; 2] };
    let surplus = fits(&|file| file.tensors.push(extra.clone())).expect_err("one is too many");
    assert!(matches!(&surplus, WeightError::Surplus { tensor, .. } if tensor == "model.2.running_mean"), "{surplus}");
}

#[test]
fn the_wrong_network_is_named() {
    let judge = network(DISCRIMINATOR).generator().expect_err("a discriminator is no generator");
    assert!(matches!(&judge, WeightError::NotAGenerator { found } if found == "patch_3layers"), "{judge}");
    let other = NamedTensor { name: "conv1.weight".into(), shape: vec![1], values: vec![0.0] };
    let other = WeightFile { tensors: vec![other], ..WeightFile::default() }.architecture();
    assert!(
        matches!(&other, Err(WeightError::UnknownArchitecture { tensor, .. }) if tensor == "conv1.weight"),
        "{other:?}"
    );
    assert!(matches!(WeightFile::default().architecture(), Err(WeightError::UnknownArchitecture { .. })));
    let mut swapped = network(GENERATOR);
    swapped.tensors[0].shape.swap(0, 1);
    swapped.architecture().expect_err("7×7 convolutions with in and out swapped are of no network here");
}

#[test]
fn values_that_cannot_be_stored_are_named() {
    for (value, storage) in [(f32::NAN, Storage::F32), (f32::INFINITY, Storage::F16), (65_536.0, Storage::F16)] {
        let mut file = network(GENERATOR);
        file.tensors[2].values[7] = value;
        let error = file.write(storage).expect_err("not storable").to_string();
        assert!(error.contains("`model.4.weight`") && error.contains("index 7"), "{error}");
    }
    let mut large = network(GENERATOR);
    large.tensors[2].values[7] = 65_504.0;
    large.write(Storage::F16).expect("the largest 16-bit number");
    let mut short = network(GENERATOR);
    short.tensors[1].values.pop();
    assert!(matches!(short.write(Storage::F32), Err(WeightError::Count { tensor, .. }) if tensor == "model.1.bias"));
    let mut twice = network(GENERATOR);
    twice.tensors.push(twice.tensors[0].clone());
    assert!(matches!(twice.write(Storage::F32), Err(WeightError::Duplicate { .. })));
}

/// A file of this header and so many bytes of data, all 0.
fn crafted(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(vec![0; data]);
    bytes
}

/// A header of one tensor `w`.
fn one(dtype: &str, shape: &str, offsets: &str) -> String {
    format!(r#"{{"w":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#)
}

#[test]
fn broken_files_are_named() {
    let good = crafted(&one("F32", "[2,2]", "[0,16]"), 16);
    WeightFile::read(&good).expect("the pattern of the broken ones is sound");
    let nan = |value: f32| {
        let mut bytes = good.clone();
        let at = bytes.len() - 4;
        bytes[at..].copy_from_slice(&value.to_le_bytes());
        bytes
    };
    let half_infinity = {
        let mut bytes = crafted(&one("F16", "[2]", "[0,4]"), 4);
        let at = bytes.len() - 1;
        bytes[at] = 0x7c;
        bytes
    };
    let two = |first: &str, second: &str| {
        let entry = |offsets: &str| format!(r#"{{"dtype":"F32","shape":[2],"data_offsets":{offsets}}}"#);
        crafted(&format!(r#"{{"a":{},"b":{}}}"#, entry(first), entry(second)), 16)
    };
    let lengthy = |length: u64| [&length.to_le_bytes()[..], &good[8..]].concat();
    // The last ends at 2^64 - 8, which wraps around once the 8 bytes of the header's length are added.
    let wrapping: Vec<String> = (0..9u64)
        .map(|n| {
            let each = (1u64 << 59) - 1;
            let (start, count) = (n * each * 4, if n == 8 { 6 } else { each });
            let end = start + count * 4;
            format!(r#""t{n}":{{"dtype":"F32","shape":[{count}],"data_offsets":[{start},{end}]}}"#)
        })
        .collect();
    let entry = r#""w":{"dtype":"F32","shape":[1],"data_offsets":"#;
    let twice = format!("{{{entry}[0,4]}},{entry}[4,8]}}}}");
    let nested = format!(r#"{{"w":{}"#, "[".repeat(100_000));
    let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
    let long_name = format!(r#"{{"{}":{{"dtype":"I8","shape":[1],"data_offsets":[0,1]}}}}"#, "n".repeat(100_000));
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("empty", vec![], "looks like an empty file"),
        ("seven bytes", vec![0; 7], "cut off: it should have 8 bytes but has 7"),
        ("only a length", good[..8].to_vec(), "cut off"),
        ("cut in the header", good[..30].to_vec(), "cut off"),
        ("cut in the data", good[..good.len() - 1].to_vec(), "cut off"),
        ("no data at all", good[..good.len() - 16].to_vec(), "cut off"),
        ("a byte too many", [&good[..], b"x"].concat(), "tensors end after"),
        ("a text", b"Dear reader, these are no weights at all.".to_vec(), "looks like a text file"),
        ("a short text", b"no".to_vec(), "looks like a text file"),
        ("a PNG", png, "looks like a PNG"),
        ("a JPEG", b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01".to_vec(), "looks like a JPEG"),
        ("a zip bomb renamed", b"PK\x03\x04\x14\0\0\0\x08\0bomb".to_vec(), "end of its zip archive is missing"),
        ("a pickle", b"\x80\x02\x8a\x0alf\x9cF\xf9 j\xa8P\x19.".to_vec(), "a Python pickle that PyTorch did not write"),
        ("a huge header", lengthy(u64::MAX), "header claims 18446744073709551615"),
        ("a header past the file", lengthy(1000), "cut off: it should have 1008"),
        ("a header of 4 MiB and a byte", lengthy((4 << 20) + 1), "header claims 4194305"),
        ("a header too short", lengthy(20), "header cannot be understood"),
        ("an empty header", lengthy(0), "header cannot be understood"),
        ("no UTF-8", crafted(&"\u{0}".repeat(8), 0).iter().map(|&b| b | 0x80).collect(), "a file of another program"),
        ("bytes for JSON", [&8u64.to_le_bytes()[..], &[0xff; 8]].concat(), "header cannot be understood"),
        ("a list for a header", crafted("[1,2,3]", 0), "expected a JSON object of tensors"),
        ("a deep header", crafted(&nested, 0), "header cannot be understood"),
        ("no tensors", crafted("{}", 0), "holds no tensors"),
        ("metadata alone", crafted(r#"{"__metadata__":{"format":"pt"}}"#, 0), "holds no tensors"),
        ("metadata of a wrong kind", crafted(r#"{"__metadata__":7}"#, 0), "at `__metadata__`"),
        ("a number for a tensor", crafted(r#"{"w":7}"#, 0), "at `w`"),
        ("no shape", crafted(r#"{"w":{"dtype":"F32","data_offsets":[0,4]}}"#, 4), "missing field `shape`"),
        ("integers", crafted(&one("I32", "[2,2]", "[0,16]"), 16), "tensor `w` holds values of type I32"),
        ("doubles of a wrong width", crafted(&one("F64", "[2]", "[0,8]"), 8), "cannot lie at bytes"),
        ("an invented type", crafted(&one("F33", "[2]", "[0,16]"), 16), "values of type F33"),
        ("a long name", crafted(&long_name, 1), "nnn…` holds values"),
        ("NaN", nan(f32::NAN), "tensor `w` holds NaN at index 3"),
        ("infinity", nan(f32::NEG_INFINITY), "tensor `w` holds -inf at index 3"),
        ("infinity in 16 bits", half_infinity, "tensor `w` holds inf at index 1"),
        ("a negative side", crafted(&one("F32", "[-2,-2]", "[0,16]"), 16), "at `w`"),
        ("half a side", crafted(&one("F32", "[2.5]", "[0,10]"), 10), "at `w`"),
        ("a wrong shape", crafted(&one("F32", "[2,3]", "[0,16]"), 16), "shape [2, 3] cannot lie at bytes 0 to 16"),
        ("a wrong width", crafted(&one("F16", "[2,2]", "[0,16]"), 16), "cannot lie at bytes"),
        ("an overflowing shape", crafted(&one("F32", "[4294967296,4294967296]", "[0,0]"), 0), "cannot lie at bytes"),
        ("a wrapping shape", crafted(&one("F32", "[4611686018427387904]", "[0,0]"), 0), "cannot lie at bytes"),
        ("a huge side of nothing", crafted(&one("F32", "[18446744073709551615,0]", "[0,0]"), 0), "cannot lie at bytes"),
        ("a tensor past the file", crafted(&one("F32", "[1000]", "[0,4000]"), 16), "cut off"),
        ("a tensor of a terabyte", crafted(&one("F32", "[274877906944]", "[0,1099511627776]"), 0), "cannot lie"),
        ("ends before it starts", crafted(&one("F32", "[2]", "[8,0]"), 8), "cannot lie at bytes 8 to 0"),
        (
            "the last byte there is",
            crafted(&one("F32", "[1]", "[18446744073709551612,18446744073709551615]"), 4),
            "cannot lie",
        ),
        ("ends that wrap around", crafted(&format!("{{{}}}", wrapping.join(",")), 0), "cannot lie at bytes"),
        ("overlapping", two("[0,8]", "[4,12]"), "tensor `b` starts at byte 4, not right after the one before it, at 8"),
        ("the same place twice", two("[0,8]", "[0,8]"), "tensor `b` starts at byte 0"),
        ("a gap", two("[0,8]", "[12,20]"), "tensor `b` starts at byte 12"),
        ("a late start", crafted(&one("F32", "[2]", "[8,16]"), 16), "tensor `w` starts at byte 8"),
        ("one name twice", crafted(&twice, 8), "holds the tensor `w` twice"),
    ];
    for (name, bytes, expected) in cases {
        match WeightFile::read(&bytes) {
            Ok(_) => panic!("{name}: it was read"),
            Err(error) => {
                let message = error.to_string();
                assert!(message.contains(expected), "{name}: {message}");
                assert!(message.len() < 400, "{name}: the message is too long");
            }
        }
    }
}

#[test]
fn headers_of_any_length_are_told_from_other_formats() {
    // 640 begins like a pickle, 19,280 like a zip archive, 66,176 like a longer pickle.
    for length in [640, 896, 19_280, 66_176] {
        let plain = one("F32", "[1]", "[0,4]");
        let bytes = crafted(&format!("{plain}{}", " ".repeat(length - plain.len())), 4);
        assert_eq!(WeightFile::read(&bytes).expect("safetensors").tensors.len(), 1, "{length}");
    }
}

#[test]
fn every_cut_of_a_file_is_refused() {
    let bytes = network(DISCRIMINATOR).write(Storage::F16).expect("writable");
    for length in 0..bytes.len() {
        assert!(WeightFile::read(&bytes[..length]).is_err(), "{length} of {} bytes", bytes.len());
    }
}

#[test]
fn odd_but_sound_files_are_read() {
    let shuffled = r#"{"model.10.weight":{"dtype":"F32","shape":[1],"data_offsets":[4,8]},"__metadata__":null,
        "model.2.bias":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]},"model.2.weight":{"shape":[],"data_offsets":[8,12],"dtype":"F32"},
        "empty":{"dtype":"F16","shape":[3,0],"data_offsets":[12,12]}}      "#;
    let file = WeightFile::read(&crafted(shuffled, 12)).expect("a sound file");
    let names: Vec<_> = file.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(names, ["empty", "model.2.weight", "model.2.bias", "model.10.weight"]);
    let remarks =
        r#"{"__metadata__":{"step":"7","notes":{"a":[1]}},"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    let remarks = WeightFile::read(&crafted(remarks, 4)).expect("strange remarks do no harm");
    assert_eq!(remarks.info().step, 7);
}

/// One way to damage a file: bytes overwritten, a piece removed or doubled.
fn damage() -> impl Strategy<Value = (Vec<(usize, u8)>, usize, usize, bool)> {
    (proptest::collection::vec((any::<usize>(), any::<u8>()), 0..8), any::<usize>(), 0usize..40, any::<bool>())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_damage_makes_it_crash((writes, at, length, double) in damage(), in_header in any::<bool>()) {
        let tiny = Architecture::Patch { in_channels: 1, ndf: 1, n_layers: 1, style: PatchStyle::PAPER };
        let mut bytes = network(tiny).write(Storage::F32).expect("writable");
        let header = 8 + u64::from_le_bytes(bytes[..8].try_into().expect("8 bytes")) as usize;
        let reach = if in_header { header } else { bytes.len() };
        for (position, byte) in writes {
            bytes[position % reach] = byte;
        }
        let start = at % reach;
        let piece = start..(start + length).min(bytes.len());
        if double {
            let copy = bytes[piece].to_vec();
            bytes.splice(start..start, copy);
        } else {
            bytes.drain(piece);
        }
        if let Ok(file) = WeightFile::read(&bytes) {
            prop_assert!(file.tensors.iter().flat_map(|tensor| &tensor.values).all(|value| value.is_finite()));
            let _ = file.architecture();
            let _ = file.info();
            let again = file.write(Storage::F32).expect("what was read can be written");
            prop_assert_eq!(WeightFile::read(&again).expect("and read again"), file);
        }
    }

    #[test]
    fn no_numbers_in_the_header_make_it_crash(
        shape in proptest::collection::vec(prop_oneof![0u64..4, any::<u64>(), Just(1 << 30), Just(u64::MAX)], 0..5),
        start in prop_oneof![Just(0u64), any::<u64>()],
        end in prop_oneof![0u64..64, any::<u64>()],
        data in 0usize..64,
    ) {
        let header = one("F32", &format!("{shape:?}"), &format!("[{start},{end}]"));
        if let Ok(file) = WeightFile::read(&crafted(&header, data)) {
            prop_assert_eq!(file.tensors[0].values.len() * 4, data);
        }
    }

    #[test]
    fn no_bytes_make_it_crash(bytes in proptest::collection::vec(any::<u8>(), 0..200), length in 0u64..220) {
        let _ = WeightFile::read(&bytes);
        let _ = WeightFile::read(&[&length.to_le_bytes()[..], &bytes].concat());
    }
}
