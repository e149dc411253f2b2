//! ONNX graphs of generators, as PyTorch's two exporters and others write them.
//!
//! `tests/reference/make_onnx.py` writes the fixtures.

use std::path::{Path, PathBuf};
use std::process::Command;

use burn::backend::Flex;
use burn::tensor::{Tensor, TensorData};
use cyclegan::model::Generator;
use cyclegan::protobuf::{Field, Fields, Message};
use cyclegan::weights::networks::load_generator;
use cyclegan::weights::{Format, Storage, WeightError, WeightFile, metadata};
use half::{bf16, f16};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/weights/onnx")
}

/// The graphs in a folder, and the names of their networks.
fn graphs(folder: &Path) -> Vec<(PathBuf, String)> {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("readable").path());
    let mut graphs: Vec<_> = entries
        .filter(|path| path.extension().is_some_and(|end| end == "onnx"))
        .map(|path| {
            let name =
                path.file_name().expect("a name").to_string_lossy().split('.').next().expect("a name").to_owned();
            (path, name)
        })
        .collect();
    graphs.sort();
    graphs
}

fn open(path: &Path) -> Result<WeightFile, WeightError> {
    WeightFile::read_from(path).and_then(|file| file.network(None))
}

/// What PyTorch says that the network is, read from its `state_dict`.
fn expected(folder: &Path, name: &str, like: &WeightFile) -> WeightFile {
    let mut file = WeightFile::read_from(&folder.join(format!("{name}.safetensors"))).expect("a state_dict");
    // A `state_dict` does not say whether a network without biases has norms.
    let architecture = like.architecture().expect("a generator").name();
    file.metadata.insert(metadata::ARCHITECTURE.to_owned(), architecture);
    file.network(None).expect("a generator")
}

/// The largest difference between what the generator makes of a picture and what PyTorch made of it.
fn worst_difference(file: &WeightFile, folder: &Path, name: &str) -> f32 {
    let picture = WeightFile::read_from(&folder.join(format!("{name}.expected.safetensors"))).expect("a picture");
    let (input, output) = (picture.tensor("input").expect("there"), picture.tensor("output").expect("there"));
    let generator: Generator<Flex> = load_generator(file.clone(), &Default::default()).expect("a generator");
    let data = TensorData::new(input.values.clone(), input.shape.clone());
    let found = generator.forward(Tensor::<Flex, 4>::from_data(data, &Default::default()));
    assert_eq!(found.dims()[..], output.shape[..]);
    let found: Vec<f32> = found.into_data().iter::<f32>().collect();
    found.iter().zip(&output.values).map(|(left, right)| (left - right).abs()).fold(0.0, f32::max)
}

/// Opens all exports in a folder; returns how many there were.
fn check_all(folder: &Path) -> usize {
    let graphs = graphs(folder).into_iter().filter(|(_, name)| !name.starts_with("refused"));
    let mut count = 0;
    for (path, name) in graphs {
        let file = open(&path).unwrap_or_else(|error| panic!("{error}"));
        let expected = expected(folder, &name, &file);
        assert_eq!(file.architecture().expect("known"), expected.architecture().expect("known"), "{}", path.display());
        assert_eq!((&file.notes, &file.tensors), (&Vec::new(), &expected.tensors), "{}", path.display());
        let difference = worst_difference(&file, folder, &name);
        println!("{}: worst difference {difference:.1e}", path.display());
        // A level of 255 is 2/255 = 0.0078 of the range from -1 to 1.
        assert!(difference <= 1e-4, "{}: {difference}", path.display());
        count += 1;
    }
    count
}

#[test]
fn every_export_of_pytorch_is_read_bit_by_bit_and_computes_the_same() {
    assert_eq!(check_all(&fixtures()), 31);
}

#[test]
#[ignore = "needs PyTorch: tests/reference/run.sh sets it up, `make test` runs this"]
fn what_the_pytorch_at_hand_exports_is_read() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut export = Command::new("bash");
    export.args(["tests/reference/run.sh", "make_onnx.py"]).arg(folder.path()).current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = export.output().expect("bash runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // PyTorch before 2.0 has neither the newer exporter nor 16 bits.
    assert!(check_all(folder.path()) >= 12);
}

#[test]
fn what_no_generator_here_computes_is_refused_with_its_first_node() {
    let cases = [
        (
            "refused_batch_norm.old17.f32.onnx",
            "/model/model.12/BatchNormalization (BatchNormalization)",
            "no batch norms",
        ),
        ("refused_batch_norm.new18.f32.onnx", "(Conv)", "as where a batch norm was folded in"),
        ("refused_zero_padding.old17.f32.onnx", "/model/model.0/Pad (Pad)", "pad by reflection"),
        ("refused_zero_padding.new18.f32.onnx", "(Conv)", "begins with padding by reflection"),
    ];
    for (name, node, why) in cases {
        let said = open(&fixtures().join(name)).map(drop).expect_err(name).to_string();
        assert!(said.contains(name) && said.contains(node) && said.contains(why), "{said}");
    }
}

const OUTSIDE: &str = "affine.new18.f32.onnx";
const DATA: &str = "affine.new18.f32.onnx.data";

#[test]
fn weights_in_a_second_file_are_read_from_beside_the_graph_or_asked_for_by_name() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let graph = std::fs::read(fixtures().join(OUTSIDE)).expect("committed");
    let data = std::fs::read(fixtures().join(DATA)).expect("committed");
    assert_eq!(WeightFile::data_files(&graph).expect("a graph"), [DATA]);
    let path = folder.path().join("model.onnx");
    std::fs::write(&path, &graph).expect("written");
    let said = open(&path).map(drop).expect_err("the weights are elsewhere").to_string();
    assert!(said.contains("model.onnx") && said.contains(DATA) && said.contains("beside"), "{said}");
    std::fs::write(folder.path().join(DATA), &data).expect("written");
    let file = open(&path).expect("now it is whole");
    assert_eq!(file.tensors, open(&fixtures().join(OUTSIDE)).expect("committed").tensors);

    let without = WeightFile::read(&graph).map(drop).expect_err("the weights are elsewhere");
    assert!(matches!(without, WeightError::MissingData { .. }), "{without}");
    let with = |data: Vec<u8>| WeightFile::read_with(&graph, &[(DATA.to_owned(), data)]);
    assert_eq!(with(data.clone()).expect("whole").tensors, file.tensors);
    let short = with(data[..data.len() / 2].to_vec()).map(drop).expect_err("cut off");
    assert!(matches!(short, WeightError::Outside { .. }), "{short}");
}

#[test]
fn paths_to_weights_never_leave_the_folder() {
    let graph = std::fs::read(fixtures().join(OUTSIDE)).expect("committed");
    for location in ["../secret", "/etc/hostname", "a/../../b", "C:\\b", "..", "", "a\\b", "c:b", "./../b"] {
        let graph = with_tensors(&graph, |tensor| {
            let raw = Message::default().text(1, "location").text(2, location);
            header(tensor).message(13, raw).int(14, 1)
        });
        for error in [WeightFile::data_files(&graph).map(drop), WeightFile::read(&graph).map(drop)] {
            let error = error.expect_err(location);
            assert!(matches!(error, WeightError::OutsideFolder { .. }), "{location}: {error}");
        }
    }
    let graph = with_tensors(&graph, |tensor| {
        header(tensor).message(13, Message::default().text(1, "location").text(2, "weights/all.bin")).int(14, 1)
    });
    assert_eq!(WeightFile::data_files(&graph).expect("below the folder"), ["weights/all.bin"]);
}

/// A tensor of a graph.
struct Stored {
    name: String,
    dims: Vec<i64>,
    raw: Vec<u8>,
}

impl Stored {
    fn values(&self) -> impl Iterator<Item = f32> {
        self.raw.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes))
    }
}

/// A tensor of that type without values.
fn typed(tensor: &Stored, data_type: i64) -> Message {
    Message::default().ints(1, tensor.dims.iter().copied()).int(2, data_type).text(8, &tensor.name)
}

fn header(tensor: &Stored) -> Message {
    typed(tensor, 1)
}

/// A model with its stored tensors of floats made anew.
fn with_tensors(model: &[u8], change: impl Fn(&Stored) -> Message) -> Vec<u8> {
    rebuilt(model, 7, |graph| {
        Message(rebuilt(graph, 5, |body| {
            let mut tensor = Stored { name: String::new(), dims: Vec::new(), raw: Vec::new() };
            let mut is_float = false;
            for field in Fields(body) {
                match field.expect("a field") {
                    (1, Field::Number(side)) => tensor.dims.push(side as i64),
                    (1, Field::Bytes(packed)) => tensor.dims.extend(packed.iter().map(|side| i64::from(*side))),
                    (2, Field::Number(number)) => is_float = number == 1,
                    (8, Field::Bytes(name)) => tensor.name = String::from_utf8(name.to_vec()).expect("a name"),
                    (9, Field::Bytes(raw)) => tensor.raw = raw.to_vec(),
                    _ => {}
                }
            }
            if is_float { change(&tensor) } else { Message(body.to_vec()) }
        }))
    })
}

/// A message with the fields of one number made anew.
fn rebuilt(message: &[u8], which: u32, change: impl Fn(&[u8]) -> Message) -> Vec<u8> {
    let message = Fields(message).fold(Message::default(), |message, field| match field.expect("a field") {
        (number, Field::Bytes(bytes)) if number == which => message.message(number, change(bytes)),
        (number, Field::Bytes(bytes)) => message.bytes(number, bytes),
        (number, Field::Number(value)) => message.int(number, value as i64),
    });
    message.0
}

fn committed(name: &str) -> Vec<u8> {
    std::fs::read(fixtures().join(name)).expect("committed")
}

#[test]
fn values_are_read_wherever_and_however_they_are_stored() {
    let graph = committed("resnet.old10.f32.onnx");
    let expected = WeightFile::read(&graph).expect("a generator").tensors;
    let packed = |values: &mut dyn Iterator<Item = u16>| {
        values.fold(Vec::new(), |mut bytes: Vec<u8>, value| {
            let mut left = value;
            while left >= 0x80 {
                bytes.push(left as u8 | 0x80);
                left >>= 7;
            }
            bytes.push(left as u8);
            bytes
        })
    };
    let doubles =
        |tensor: &Stored| tensor.values().flat_map(|value| f64::from(value).to_le_bytes()).collect::<Vec<u8>>();
    type Change<'a> = &'a dyn Fn(&Stored) -> Message;
    let exact: [(&str, Change); 6] = [
        ("floats", &|tensor| header(tensor).bytes(4, &tensor.raw)),
        ("floats one by one", &|tensor| tensor.values().fold(header(tensor), |message, value| message.float(4, value))),
        ("doubles", &|tensor| typed(tensor, 11).bytes(10, &doubles(tensor))),
        ("raw doubles", &|tensor| typed(tensor, 11).bytes(9, &doubles(tensor))),
        ("halves", &|tensor| {
            typed(tensor, 10).bytes(5, &packed(&mut tensor.values().map(|value| f16::from_f32(value).to_bits())))
        }),
        ("raw halves", &|tensor| {
            let halves: Vec<u8> = tensor.values().flat_map(|value| f16::from_f32(value).to_le_bytes()).collect();
            typed(tensor, 10).bytes(9, &halves)
        }),
    ];
    for (name, change) in exact {
        let file = WeightFile::read(&with_tensors(&graph, change)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(file.tensors, expected, "{name}");
    }
    let brains = with_tensors(&graph, |tensor| {
        typed(tensor, 16).bytes(5, &packed(&mut tensor.values().map(|value| bf16::from_f32(value).to_bits())))
    });
    let rounded = WeightFile::read(&brains).expect("a generator").tensors;
    for (found, expected) in rounded.iter().zip(&expected) {
        let is_near = |(left, right): (&f32, &f32)| *left == bf16::from_f32(*right).to_f32();
        assert!(found.values.iter().zip(&expected.values).all(is_near), "{}", found.name);
    }
}

#[test]
fn absurd_claims_are_refused_before_memory_is_taken() {
    let graph = committed("resnet.old10.f32.onnx");
    let refused = |bytes: &[u8]| WeightFile::read(bytes).map(drop).expect_err("absurd").to_string();
    let with_dims = |dims: &[i64]| {
        let dims = dims.to_vec();
        with_tensors(&graph, move |tensor| {
            let dims = if tensor.name == "model.1.weight" { dims.clone() } else { tensor.dims.clone() };
            header(&Stored { name: tensor.name.clone(), dims, raw: Vec::new() }).bytes(9, &tensor.raw)
        })
    };
    for dims in
        [&[i64::MAX, 3, 7, 7][..], &[1 << 40, 3, 7, 7], &[2, -1, 7, 7], &[2, 0, 7, 7], &[1 << 20, 1 << 20, 7, 7]]
    {
        let said = refused(&with_dims(dims));
        assert!(said.contains("absurdly large") || said.contains("damaged"), "{dims:?}: {said}");
    }
    let said = refused(&with_dims(&[8000, 3, 7, 7]));
    assert!(said.contains("[8000, 3, 7, 7] lies outside of its"), "{said}");
    assert!(refused(&with_dims(&[1; 9])).contains("absurd shape"));
    assert!(
        refused(&with_tensors(&graph, |tensor| header(&Stored {
            name: "one".into(),
            dims: tensor.dims.clone(),
            raw: Vec::new()
        })))
        .contains("the tensor `one` twice")
    );
    let nan =
        with_tensors(&graph, |tensor| header(tensor).bytes(4, &f32::NAN.to_le_bytes().repeat(tensor.raw.len() / 4)));
    assert!(refused(&nan).contains("NaN"));

    // A graph that is all nodes, and a file that is all graph.
    let many = rebuilt(&graph, 7, |_| Message::default().bytes(1, &[]).bytes(1, &[]));
    assert!(refused(&many).contains("values instead of one picture"));
    let crowd = rebuilt(&graph, 7, |_| (0..20_000).fold(Message::default(), |graph, _| graph.bytes(1, &[])));
    assert!(refused(&crowd).contains("far more than its size"));
    for cut in [3, 10, 100, 1000, graph.len() - 1] {
        assert!(refused(&graph[..cut]).contains("damaged"), "{cut}");
    }
}

#[test]
fn our_own_exports_come_back_with_what_they_say_of_themselves() {
    let mut file = open(&fixtures().join("affine.safetensors")).expect("a generator");
    file.metadata = [(metadata::DOMAIN_FROM, "horse"), (metadata::DOMAIN_TO, "zébra"), (metadata::STEP, "7")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
    for storage in [Storage::F32, Storage::F16] {
        let bytes = file.write_as(Format::Onnx, storage).expect("written");
        let again = WeightFile::read(&bytes).and_then(|file| file.network(None)).expect("read");
        assert_eq!(again.tensors, file.tensors);
        let info = again.info();
        assert_eq!((info.domain_from.as_str(), info.domain_to.as_str(), info.step), ("horse", "zébra", 7));
    }
}

#[test]
fn the_command_line_takes_graphs_wherever_it_takes_a_model() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let cyclegan = |arguments: &[&Path]| {
        let output = Command::new(env!("CARGO_BIN_EXE_cyclegan")).args(arguments).output().expect("it runs");
        (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let graph = fixtures().join(OUTSIDE);
    let (is_done, said) = cyclegan(&["info".as_ref(), &graph]);
    assert!(is_done && said.contains("resnet_1blocks"), "{said}");
    let converted = folder.path().join("converted.safetensors");
    let (is_done, said) = cyclegan(&["convert".as_ref(), &graph, &converted]);
    assert!(is_done, "{said}");
    assert_eq!(open(&converted).expect("a generator").tensors, open(&graph).expect("a generator").tensors);

    let picture = folder.path().join("picture.png");
    let colour = cyclegan::image::Picture::filled(32, 24, [200, 100, 50, 255]);
    std::fs::write(&picture, colour.encode_png().expect("a picture")).expect("written");
    let translate = |model: &Path, out: &Path| {
        cyclegan(&["translate".as_ref(), "--model".as_ref(), model, &picture, "--out".as_ref(), out])
    };
    let [ours, theirs] = ["ours.png", "theirs.png"].map(|name| folder.path().join(name));
    for (model, out) in [(&converted, &ours), (&graph, &theirs)] {
        let (is_done, said) = translate(model, out);
        assert!(is_done, "{said}");
    }
    assert_eq!(std::fs::read(ours).expect("written"), std::fs::read(theirs).expect("written"));

    let alone = folder.path().join("alone.onnx");
    std::fs::copy(&graph, &alone).expect("copied");
    for (is_done, said) in [translate(&alone, &folder.path().join("none.png")), cyclegan(&["info".as_ref(), &alone])] {
        assert!(!is_done && said.contains(DATA) && said.contains("alone.onnx"), "{said}");
    }
}
