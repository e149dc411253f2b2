//! Weights that travel: PyTorch's files as people save them, and our exports in PyTorch and onnxruntime.
//!
//! `tests/reference/make_weights.py` writes the fixtures.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use burn::backend::{Autodiff, Flex};
use burn::tensor::{Tensor, TensorData};
use cyclegan::config::{Downsample, ModelKind, Norm, TrainConfig, Upsample};
use cyclegan::model::architecture::{Doubling, ResnetStyle};
use cyclegan::model::{Architecture, Generator};
use cyclegan::protocol::Direction;
use cyclegan::training::Trainer;
use cyclegan::weights::networks::load_generator;
use cyclegan::weights::{Format, NamedTensor, Storage, WeightError, WeightFile, metadata};
use half::f16;
use proptest::prelude::*;

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/weights/pytorch").join(name)
}

fn read(name: &str) -> WeightFile {
    WeightFile::read_from(&path(name)).unwrap_or_else(|error| panic!("{error}"))
}

fn network(name: &str) -> WeightFile {
    read(name).network(None).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn refused(name: &str, part: Option<&str>) -> String {
    let file = WeightFile::read_from(&path(name)).and_then(|file| file.network(part));
    file.map(drop).expect_err(name).to_string()
}

const GENERATOR: Architecture = Architecture::Resnet {
    in_channels: 3,
    out_channels: 3,
    ngf: 2,
    n_blocks: 2,
    affine: false,
    style: ResnetStyle::PAPER,
};

#[test]
fn one_network_saved_in_many_ways_is_read_bit_by_bit() {
    let expected = network("expected.safetensors").tensors;
    let renamed = "other names";
    let cases = [
        ("zip.pth", ""),
        ("legacy.pth", ""),
        ("protocol4.pth", ""),
        ("data_parallel.pth", ""),
        ("parameters.pth", ""),
        ("strided.pth", ""),
        ("strided_legacy.pth", ""),
        ("f16.pth", ""),
        ("bf16.pth", ""),
        ("f64.pth", "64 bits"),
        ("running.pth", "Running statistics, which"),
        ("dropout.pth", "Dropout"),
        ("block.pth", renamed),
        ("foreign.pth", renamed),
        ("lightning.pth", ""),
    ];
    for (name, note) in cases {
        let file = network(name);
        assert_eq!(file.architecture().expect(name), GENERATOR, "{name}");
        assert_eq!(file.tensors, expected, "{name}");
        if note.is_empty() {
            assert_eq!(file.notes, Vec::<String>::new(), "{name}");
        } else {
            assert!(file.notes.len() == 1 && file.notes[0].contains(note), "{name}: {:?}", file.notes);
        }
    }
}

#[test]
fn an_affine_generator_keeps_its_scales() {
    let file = network("affine.pth");
    assert_eq!(file.tensors, network("expected_affine.safetensors").tensors);
    assert!(matches!(file.architecture(), Ok(Architecture::Resnet { affine: true, .. })));
}

#[test]
fn missing_biases_are_zero() {
    let (file, expected) = (network("no_bias.pth"), network("expected.safetensors"));
    for (found, expected) in file.tensors.iter().zip(&expected.tensors) {
        assert_eq!((&found.name, &found.shape), (&expected.name, &expected.shape));
        let is_kept = !found.name.ends_with("bias") || found.name.starts_with("model.19.");
        assert!(if is_kept { found == expected } else { found.values.iter().all(|value| *value == 0.0) });
    }
    assert!(file.notes.iter().any(|note| note.contains("zero")), "{:?}", file.notes);
}

#[test]
fn one_network_of_a_checkpoint_is_chosen_by_name() {
    let both = refused("checkpoint.pth", None);
    assert!(both.contains("2 networks: netG_A, netG_B") && both.contains("FILE:netG_A"), "{both}");
    let a = read("checkpoint.pth").network(Some("netG_A")).expect("there");
    assert_eq!(a.tensors, network("expected.safetensors").tensors);
    let b = read("checkpoint.pth").network(Some("netG_B")).expect("there, with `module.`");
    assert_ne!(b.tensors, a.tensors);
    assert_eq!(b.architecture().expect("a generator"), GENERATOR);
    let judge = read("checkpoint.pth").network(Some("netD_A")).expect("there");
    assert_eq!(judge.tensors, network("discriminator.pth").tensors);
    assert!(matches!(judge.generator(), Err(WeightError::NotAGenerator { .. })));
    let none = refused("checkpoint.pth", Some("netG_C"));
    assert!(none.contains("no network `netG_C`; it has: netG_A, netG_B, netD_A"), "{none}");
}

#[test]
fn our_own_checkpoints_have_networks_to_choose_from() {
    let state = network("expected.safetensors");
    let copy = |prefix: &str| {
        let tensors = state.tensors.iter().cloned();
        tensors
            .map(move |tensor| NamedTensor { name: format!("{prefix}.{}", tensor.name), ..tensor })
            .collect::<Vec<_>>()
    };
    let tensors = ["generator_ab", "generator_ba", "first.generator_ab"].iter().flat_map(|prefix| copy(prefix));
    let file = WeightFile { tensors: tensors.collect(), ..WeightFile::default() };
    let found = file.clone().network(None).expect_err("two").to_string();
    assert!(found.contains("2 networks: generator_ab, generator_ba."), "moments are no networks: {found}");
    assert_eq!(file.network(Some("generator_ba")).expect("there").tensors, state.tensors);
}

#[test]
fn what_does_not_fit_is_named() {
    let cases = [
        ("misfit.pth", "`model.4.weight` has the shape [4, 3, 3, 3] but [4, 2, 3, 3] is needed"),
        ("misfit_foreign.pth", "`down.0.conv.weight` has the shape [4, 3, 3, 3] but [4, 2, 3, 3] is needed"),
        ("unet.pth", "U-Net"),
        ("batch_norm.pth", "batch norm"),
        ("hostile/module.pth", "needs torch.nn.modules.conv.Conv2d"),
        ("hostile/plain.pkl", "a Python pickle that PyTorch did not write"),
    ];
    for (name, expected) in cases {
        let message = refused(name, None);
        assert!(message.contains(expected), "{name}: {message}");
    }
    for name in ["hostile/system.pth", "hostile/system_legacy.pth"] {
        let file = network(name);
        assert_eq!(file.tensors, network("expected.safetensors").tensors, "{name}");
        assert!(file.notes.join(" ").contains("nothing of them was run: `x` (posix.system)"), "{:?}", file.notes);
    }
    assert!(!Path::new("/tmp/pwned").exists(), "a pickle was executed");
}

#[test]
fn every_cut_of_a_file_is_refused() {
    for name in ["zip.pth", "legacy.pth"] {
        let bytes = std::fs::read(path(name)).expect("committed");
        let step = if name == "zip.pth" { 97 } else { 31 };
        for length in (0..bytes.len()).step_by(step).chain(bytes.len() - 30..bytes.len()) {
            assert!(WeightFile::read(&bytes[..length]).is_err(), "{name}: {length} of {} bytes", bytes.len());
        }
    }
}

/// A file of the old format around a pickle, with one storage `0` of four ones.
fn stream(program: &[u8]) -> Vec<u8> {
    let head = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}.\x80\x02";
    let tail = [&b"\x80\x02](X\x01\0\0\x000e.\x04\0\0\0\0\0\0\0"[..], &1.0_f32.to_le_bytes().repeat(4)].concat();
    [&head[..], program, &tail].concat()
}

/// The pickle of `{"w": tensor}` with these numbers, each an operation of its own.
fn tensor(offset: &[u8], shape: &[u8], strides: &[u8]) -> Vec<u8> {
    let storage = b"((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x04tQ";
    let start = b"}X\x01\0\0\0wctorch._utils\n_rebuild_tensor_v2\n";
    [&start[..], storage, offset, b"(", shape, b"t(", strides, b"t\x89}tRs."].concat()
}

#[test]
fn hostile_pickles_are_named() {
    let read = |program: &[u8]| WeightFile::read(&stream(program)).map(|file| file.tensors);
    let good = read(&tensor(b"K\x00", b"K\x02K\x02", b"K\x02K\x01")).expect("the pattern is sound");
    assert_eq!((good[0].shape.as_slice(), good[0].values.as_slice()), (&[2, 2][..], &[1.0; 4][..]));
    let repeated = read(&tensor(b"K\x03", b"K\x64", b"K\x00")).expect("a stride of 0 repeats");
    assert_eq!(repeated[0].values, [1.0; 100]);
    let huge = b"\x8a\x06\0\0\0\0\0\x01";
    let largest = b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f";
    let nested = [&b"]".repeat(10_000)[..], &b"a".repeat(9_999), b"."].concat();
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("past the end", tensor(b"K\x01", b"K\x02K\x02", b"K\x02K\x01"), "outside of its 4 stored values"),
        ("a long stride", tensor(b"K\x00", b"K\x02", b"K\x04"), "outside of its 4"),
        ("a negative stride", tensor(b"K\x00", b"K\x02", b"J\xff\xff\xff\xff"), "impossible sides"),
        ("a negative side", tensor(b"K\x00", b"J\xff\xff\xff\xff", b"K\x01"), "impossible sides"),
        ("sides without strides", tensor(b"K\x00", b"K\x02K\x02", b"K\x01"), "outside of its 4"),
        ("a tebibyte of one value", tensor(b"K\x00", huge, b"K\x00"), "claims far more"),
        ("a product that overflows", tensor(b"K\x00", &[&huge[..], huge].concat(), b"K\x00K\x00"), "outside of its 4"),
        ("a stride that overflows", tensor(b"K\x00", b"K\x03", largest), "outside of its 4"),
        ("an offset that overflows", tensor(largest, b"K\x01", largest), "outside of its 4"),
        ("a list in itself", b"]q\x00h\x00a.".to_vec(), "nothing uses"),
        ("a dictionary in itself", b"}q\x00X\x01\0\0\0ah\x00s.".to_vec(), "nothing uses"),
        ("deep lists", nested, "nothing uses"),
        ("a tall stack", b"N".repeat(100_000), "claims far more"),
        ("many marks", b"(".repeat(100_000), "claims far more"),
        ("many lists", b"]0".repeat(1_000_000), "claims far more"),
        ("a list that doubles", [&b"](K\x00"[..], &b"K\x00".repeat(1000), b"e."].concat(), "nothing uses"),
        ("a text past the end", b"X\xff\xff\xff\xffa.".to_vec(), "cut off"),
        ("bytes past the end", b"\x8e\xff\xff\xff\xff\xff\xff\xff\xff.".to_vec(), "cut off"),
        ("nothing to pop", b"0.".to_vec(), "takes more than there is"),
        ("below the mark", b"N(0.".to_vec(), "takes more than there is"),
        ("an unknown memory", b"h\x07.".to_vec(), "recalls what it never stored"),
        ("eval", b"c__builtin__\neval\n.".to_vec(), "needs __builtin__.eval"),
        ("a name from the stack", b"\x8c\x02os\x8c\x06system\x93.".to_vec(), "needs os.system"),
        ("a dotted name", b"\x8c\x05torch\x8c\x0dserialization\x93.".to_vec(), "needs torch.serialization"),
        ("torch.load itself", b"ctorch.storage\n_load_from_bytes\n.".to_vec(), "needs torch.storage._load_from_bytes"),
        ("an extension", b"\x82\x01.".to_vec(), "operation EXT"),
        ("INST", b"(ios\nsystem\n.".to_vec(), "needs os.system"),
        ("OBJ", b"(cos\nsystem\no.".to_vec(), "needs os.system"),
        ("NEWOBJ", b"cos\nsystem\n)\x81.".to_vec(), "needs os.system"),
        ("NEWOBJ_EX", b"cos\nsystem\n)}\x92.".to_vec(), "needs os.system"),
        ("a method of an object", b"c__builtin__\ngetattr\n)R)R.".to_vec(), "needs __builtin__.getattr"),
        ("a storage called", b"ctorch\nFloatStorage\nK\x01\x85R.".to_vec(), "arguments that do not fit"),
    ];
    for (name, program, expected) in cases {
        match read(&program) {
            Ok(_) => panic!("{name}: it was read"),
            Err(error) => assert!(error.to_string().contains(expected), "{name}: {error}"),
        }
    }
}

/// The pickle of `{"w": tensor}` of four kernels of one value, of a type that came with PyTorch 2.1, and what makes it.
fn typed(maker: &str, dtype: &str) -> Vec<u8> {
    let storage = b"((X\x07\0\0\0storagectorch\nUntypedStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x10tQ";
    let maker = format!("}}X\x01\0\0\0wctorch._utils\n{maker}\n");
    let sides = b"K\0(K\x04K\x01K\x01K\x01t(K\x01K\x01K\x01K\x01t\x89}";
    [maker.as_bytes(), storage, sides, format!("ctorch\n{dtype}\ntRs.").as_bytes()].concat()
}

#[test]
fn types_that_are_not_read_and_makers_that_are_not_called_are_named() {
    let refused = |program: &[u8]| {
        let file = WeightFile::read(&stream(program)).and_then(|file| file.network(None));
        file.map(drop).expect_err("no weights").to_string()
    };
    for dtype in ["float8_e4m3fn", "float8_e5m2", "uint16", "uint32"] {
        let said = refused(&typed("_rebuild_tensor_v3", dtype));
        assert!(said.contains(&format!("`w` holds values of type {dtype}")) && !said.contains("state_dict"), "{said}");
    }
    let said = refused(&typed("_rebuild_qtensor", "quint8"));
    assert!(said.contains("needs torch._utils._rebuild_qtensor for its tensors"), "{said}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_damage_makes_it_crash(
        name in prop_oneof![Just("zip.pth"), Just("legacy.pth"), Just("strided_legacy.pth"), Just("checkpoint.pth")],
        writes in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..6),
        cut in prop_oneof![4 => Just(usize::MAX), 1 => any::<usize>()],
    ) {
        let mut bytes = std::fs::read(path(name)).expect("committed");
        // The old format begins with what it says of itself, the new one also ends with it.
        let reach = bytes.len().min(3000);
        for (place, byte) in writes {
            let place = if place % 2 == 0 { place % reach } else { bytes.len() - 1 - place % reach };
            bytes[place] = byte;
        }
        bytes.truncate(cut.max(1));
        if let Ok(file) = WeightFile::read(&bytes) {
            for tensor in &file.tensors {
                prop_assert_eq!(tensor.values.len(), tensor.shape.iter().product::<usize>());
            }
            let _ = file.network(None);
        }
    }

    #[test]
    fn no_pickle_makes_it_crash(program in proptest::collection::vec(any::<u8>(), 0..120)) {
        let head = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}.";
        let _ = WeightFile::read(&[&head[..], &program].concat());
    }
}

#[test]
fn pytorch_files_of_ours_come_back_the_same() {
    let mut file = network("expected_affine.safetensors");
    file.metadata = [("step".to_owned(), "7".to_owned()), ("domain_to".to_owned(), "zébra".to_owned())].into();
    for storage in [Storage::F32, Storage::F16] {
        let bytes = file.write_as(Format::Pytorch, storage).expect("writable");
        assert_eq!(file.write_as(Format::Pytorch, storage).expect("writable"), bytes, "the same bytes every time");
        let again = WeightFile::read(&bytes).expect("readable");
        assert_eq!(again.metadata, file.metadata);
        let pairs = again.tensors.iter().zip(&file.tensors);
        let worst = pairs.flat_map(|(l, r)| l.values.iter().zip(&r.values)).map(|(l, r)| (l - r).abs());
        // The fixture's values have 8 bits; 16-bit floats hold all but the smallest exactly.
        assert!(worst.fold(0.0, f32::max) <= if storage == Storage::F32 { 0.0 } else { 1e-7 });
        assert_eq!(again.architecture().expect("known"), file.architecture().expect("known"));
    }
    assert!(matches!(
        network("discriminator.pth").write_as(Format::Onnx, Storage::F32),
        Err(WeightError::NotAGenerator { .. })
    ));
}

#[test]
fn formats_are_told_by_their_ending() {
    let of = |name: &str| Format::of(name);
    assert_eq!(of("runs/a.b/latest_net_G_A.PTH"), Some(Format::Pytorch));
    assert_eq!([of("a.pt"), of("a.onnx")], [Some(Format::Pytorch), Some(Format::Onnx)]);
    assert_eq!([of("a.safetensors"), of("a.bin"), of("onnx")], [Some(Format::Safetensors), None, None]);
}

/// A small generator of each kind besides the paper's.
fn other_kinds() -> Vec<(&'static str, Architecture)> {
    let paper = ResnetStyle::PAPER;
    let resnet =
        |affine, style| Architecture::Resnet { in_channels: 3, out_channels: 3, ngf: 3, n_blocks: 2, affine, style };
    let unet =
        |halvings, norm, affine| Architecture::Unet { in_channels: 3, out_channels: 3, ngf: 2, halvings, norm, affine };
    let separable = ResnetStyle { separable: true, ..paper };
    let resize = ResnetStyle { upsample: Doubling::Resize, ..paper };
    vec![
        ("separable", resnet(false, separable)),
        ("separable_affine", resnet(true, separable)),
        ("resize", resnet(false, resize)),
        ("skip", resnet(false, ResnetStyle { skip: true, ..resize })),
        ("without_norm", resnet(false, ResnetStyle { norm: Norm::None, ..paper })),
        ("all", resnet(false, ResnetStyle { separable: true, norm: Norm::None, ..resize })),
        ("unet", unet(5, Norm::Instance, false)),
        ("unet_affine", unet(6, Norm::Instance, true)),
        ("unet_without_norm", unet(5, Norm::None, false)),
    ]
}

/// Weights of such a size that signals neither fade nor grow, exact in 16 bits.
fn weights(architecture: Architecture) -> WeightFile {
    let mut state = 1_u64;
    let mut noise = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    let tensors = architecture.parameters().into_iter().map(|(name, shape)| {
        let (middle, reach) = match shape[..] {
            [_, inputs, rows, columns] => (0.0, (6.0 / (inputs * rows * columns) as f32).sqrt()),
            _ if name.ends_with("weight") => (1.0, 0.3),
            _ => (0.0, 0.3),
        };
        let count = shape.iter().product();
        let values = std::iter::repeat_with(|| f16::from_f32(middle + reach * noise()).to_f32()).take(count).collect();
        NamedTensor { name, shape, values }
    });
    let metadata = [(metadata::ARCHITECTURE.to_owned(), architecture.name())].into();
    WeightFile { tensors: tensors.collect(), metadata, ..WeightFile::default() }
}

#[test]
fn every_kind_comes_back_from_every_format_and_computes_the_same() {
    for (name, architecture) in other_kinds() {
        let file = weights(architecture);
        let expected = expected_output(&file, [1, 3, 64, 64]);
        for format in [Format::Safetensors, Format::Pytorch, Format::Onnx] {
            if format == Format::Pytorch && architecture.has_skip() {
                let error = file.write_as(format, Storage::F32).expect_err("no official network");
                assert!(error.to_string().contains(".safetensors or .onnx"), "{error}");
                continue;
            }
            for storage in [Storage::F32, Storage::F16] {
                let bytes = file.write_as(format, storage).expect(name);
                let again = WeightFile::read(&bytes).and_then(|file| file.network(None));
                let again = again.unwrap_or_else(|error| panic!("{name}: {error}"));
                assert_eq!(again.architecture().expect(name), architecture, "{name}");
                assert_eq!((&again.notes, &again.tensors), (&Vec::new(), &file.tensors), "{name}");
                assert_eq!(expected_output(&again, [1, 3, 64, 64]).tensors, expected.tensors, "{name}");
            }
        }
    }
}

#[test]
fn a_file_that_does_not_say_it_has_no_norms_is_read_with_a_warning() {
    let without_norms = other_kinds().into_iter().filter(|(_, architecture)| architecture.is_without_norm());
    for (name, architecture) in without_norms {
        let file = WeightFile { metadata: Default::default(), ..weights(architecture) };
        let bytes = file.write_as(Format::Pytorch, Storage::F32).expect("writable");
        let again = WeightFile::read(&bytes).and_then(|file| file.network(None));
        let again = again.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(again.architecture().expect("known"), architecture.with_norm(Norm::Instance), "{name}");
        let [note] = &again.notes[..] else { panic!("{name}: {:?}", again.notes) };
        assert!(note.contains("if the network was trained without norms, its pictures will be wrong"), "{note}");
    }
}

/// Our network's output for planes of noise, as a file with both.
fn expected_output(file: &WeightFile, shape: [usize; 4]) -> WeightFile {
    let count = shape.iter().product::<usize>();
    let noise: Vec<f32> = (0..count as u64).map(|index| (index * 7919 % 2003) as f32 / 1001.0 - 1.0).collect();
    let generator: Generator<Flex> = load_generator(file.clone(), &Default::default()).expect("a generator");
    let input = Tensor::<Flex, 4>::from_data(TensorData::new(noise.clone(), shape), &Default::default());
    let output = generator.forward(input);
    let tensor = |name: &str, shape: &[usize], values| NamedTensor { name: name.into(), shape: shape.to_vec(), values };
    let (sides, values) = (output.dims(), output.into_data().iter::<f32>().collect());
    let tensors = vec![tensor("input", &shape, noise), tensor("output", &sides, values)];
    WeightFile { tensors, ..WeightFile::default() }
}

#[test]
fn what_holds_no_plain_weights_is_named() {
    // TorchScript compresses its source code, and PyTorch nothing else.
    let script = |code: &str| {
        let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        let parts = [("data.pkl", false), (code, true), ("constants.pkl", false)];
        for (name, packed) in parts {
            let method = if packed { zip::CompressionMethod::Deflated } else { zip::CompressionMethod::Stored };
            let options = zip::write::SimpleFileOptions::default().compression_method(method);
            archive.start_file(format!("net/{name}"), options).expect("a part");
            archive.write_all(&[b'.'; 200]).expect("written");
        }
        let bytes = archive.finish().expect("written").into_inner();
        WeightFile::read(&bytes).map(drop).expect_err("no weights").to_string()
    };
    let said = script("code/__torch__/net.py");
    assert!(said.contains("a TorchScript program, not a state_dict"), "{said}");
    let said = script("data/0");
    assert!(said.contains("compressed or encrypted"), "{said}");
}

#[test]
#[ignore = "needs PyTorch: tests/reference/run.sh sets it up, `make test` runs this"]
fn pytorch_computes_the_same_with_cuts_networks() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, downsample, upsample) in [
        ("both", Downsample::Blurred, Upsample::Blurred),
        ("down", Downsample::Blurred, Upsample::Transposed),
        ("up", Downsample::Strided, Upsample::Blurred),
    ] {
        let config =
            TrainConfig { ngf: 3, n_blocks: 5, ndf: 2, init_gain: 0.2, downsample, upsample, ..TrainConfig::default() };
        let config = TrainConfig { model: ModelKind::FastCut, ..config };
        let trainer = Trainer::<Autodiff<Flex>>::new(config, &Default::default());
        let mut file = pollster::block_on(trainer.weights(Direction::AtoB)).expect("finite values");
        assert_eq!(file.metadata.get("model").map(String::as_str), Some("fastcut"));
        // What is read again is what is written.
        file = WeightFile::read(&file.write(Storage::F32).expect("finite values")).expect("its own file");
        let expected = folder.path().join(format!("{name}-expected.safetensors"));
        expected_output(&file, [2, 3, 24, 40]).write_to(&expected, Storage::F32).expect("written");
        let paths = ["pth", "safetensors"].map(|ending| folder.path().join(format!("{name}.{ending}")));
        for path in &paths {
            file.write_to(path, Storage::F32).expect("written");
        }
        let mut strict = Command::new("bash");
        strict.args(["tests/reference/run.sh", "check_strict.py", "--expected"]).arg(expected).args(paths);
        let output = strict.current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("bash runs");
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{name}: {printed}{}", String::from_utf8_lossy(&output.stderr));
        assert!(printed.contains("2 passed, 0 failed"), "{printed}");
    }
}

#[test]
#[ignore = "needs PyTorch and onnxruntime: tests/reference/run.sh sets them up, `make test` runs this"]
fn pytorch_and_onnxruntime_compute_the_same_with_every_export() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let paper = ["expected.safetensors", "expected_affine.safetensors"].map(|name| (name, network(name)));
    let others = other_kinds().into_iter().map(|(name, architecture)| (name, weights(architecture)));
    for (name, file) in paper.into_iter().chain(others) {
        let (_, multiple) = file.generator().expect(name).generator_size().expect(name);
        let sides = [[16, 16], [24, 40], [64, 36]].map(|sides| sides.map(|side: u32| side.next_multiple_of(multiple)));
        let mut strict = Command::new("bash");
        strict.args(["tests/reference/run.sh", "check_strict.py"]).current_dir(env!("CARGO_MANIFEST_DIR"));
        for (batch, [height, width]) in [1, 2, 1].into_iter().zip(sides) {
            let shape = [batch, 3, height as usize, width as usize];
            let path = folder.path().join(format!("{name}-{shape:?}.safetensors"));
            expected_output(&file, shape).write_to(&path, Storage::F32).expect("written");
            strict.arg("--expected").arg(path);
        }
        // The official code has no network with a skip: only the graph says all of it.
        let is_official = !file.generator().expect(name).has_skip();
        let endings: &[&str] = if is_official { &["safetensors", "pth", "onnx"] } else { &["onnx"] };
        for ending in endings {
            for storage in [Storage::F32, Storage::F16] {
                // The values are exact in 16 bits, too, up to a few tiny ones of the fixtures.
                let path = folder.path().join(format!("{storage:?}-{name}.{ending}"));
                file.write_to(&path, storage).expect("written");
                strict.arg(path);
            }
        }
        let output = strict.output().expect("bash runs");
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
        assert!(
            printed.contains(&format!("{} passed, 0 failed", 2 * endings.len()))
                && printed.matches("worst difference").count() == 6 * endings.len(),
            "{printed}"
        );
        println!("{printed}");
    }
}
