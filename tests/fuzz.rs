//! Every reader of files from outside, fed with damaged and made-up ones: none may panic, hang or take more
//! memory than ten times the file (and a few megabytes).
//!
//! `cargo test` runs a few thousand. For long:
//!
//!     FUZZ_SECONDS=3600 cargo test --release --test fuzz -- --ignored --nocapture
//!
//! A file that fails is written to `target/fuzz/`; put its smallest form into `tests/fixtures/`.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cyclegan::data::UnpairedDataset;
use cyclegan::image::Picture;
use cyclegan::weights::{Format, Storage, WeightFile};
use peak_alloc::PeakAlloc;
use rand::{Rng, RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// What may be taken whatever the file's size.
const ALLOWANCE: usize = 16 << 20;
/// The longest that any file may take in a debug build; a picture may unpack to 128 million pixels.
const LONGEST: Duration = Duration::from_secs(30);

fn fixtures(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(folder);
    let entries = std::fs::read_dir(folder).expect("committed").map(|entry| entry.expect("readable").path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.is_file()).collect();
    files.sort();
    files
}

/// Small good files to begin with.
fn corpus(folders: &[&str]) -> Vec<Vec<u8>> {
    let files = folders.iter().flat_map(|folder| fixtures(folder));
    let files = files.map(|path| std::fs::read(path).expect("readable")).filter(|bytes| bytes.len() < 200_000);
    let files: Vec<_> = files.collect();
    assert!(files.len() > 2, "no corpus");
    files
}

fn weights(bytes: &[u8]) {
    // An ONNX graph's weights may lie in a second file.
    let data = WeightFile::data_files(bytes).unwrap_or_default();
    let data: Vec<_> = data.into_iter().take(2).map(|name| (name, vec![0x3c; 20_000])).collect();
    let Ok(file) = WeightFile::read_with(bytes, &data) else { return };
    assert!(file.tensors.iter().all(|tensor| tensor.values.iter().all(|value| value.is_finite())));
    assert!(file.tensors.iter().all(|tensor| tensor.values.len() == tensor.shape.iter().product::<usize>()));
    let _ = file.info();
    let Ok(network) = file.network(None) else { return };
    let architecture = network.architecture().expect("a network is of a known architecture");
    if architecture.parameter_count() < 100_000 {
        for format in [Format::Safetensors, Format::Pytorch, Format::Onnx] {
            let Ok(bytes) = network.write_as(format, Storage::F32) else { continue };
            let again = WeightFile::read(&bytes).expect("what was written is read");
            // A graph does not tell scales that are all 1 from none.
            if format != Format::Onnx || again.tensors.len() == network.tensors.len() {
                assert_eq!(again.tensors, network.tensors);
            }
        }
    }
}

fn picture(bytes: &[u8]) {
    let _ = Picture::decode(bytes);
}

fn archive(bytes: &[u8]) {
    let Ok(dataset) = UnpairedDataset::from_zip(bytes.to_vec()) else { return };
    for (a, b) in dataset.test_pairs() {
        let _ = (a.picture(), b.picture());
    }
}

/// A zip of two pairs of pictures.
fn data_sets() -> Vec<Vec<u8>> {
    use std::io::Write;
    let methods = [zip::CompressionMethod::Stored, zip::CompressionMethod::Deflated];
    let zips = methods.map(|method| {
        let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        let options = zip::write::SimpleFileOptions::default().compression_method(method);
        for name in ["trainA/1.png", "trainB/1.png", "testA/1.png", "testB/1.png"] {
            writer.start_file(name, options).expect("a zip in memory");
            let picture = Picture::filled(9, 7, [200, 100, 50, 255]).encode_png().expect("a picture");
            writer.write_all(&picture).expect("a zip in memory");
        }
        writer.finish().expect("a zip in memory").into_inner()
    });
    zips.into()
}

/// A damaged copy: what tends to break parsers.
fn damaged(corpus: &[Vec<u8>], random: &mut Pcg64Mcg) -> Vec<u8> {
    let mut pick = |count: usize| random.random_range(0..count.max(1));
    let mut bytes = corpus[pick(corpus.len())].clone();
    for _ in 0..1 + pick(4) {
        if bytes.is_empty() {
            break;
        }
        // What a format says about itself stands at its ends.
        let at = match pick(4) {
            0 => pick(bytes.len().min(4096)),
            1 => bytes.len() - 1 - pick(bytes.len().min(4096)),
            _ => pick(bytes.len()),
        };
        let length = (1 + pick(32)).min(bytes.len() - at);
        match pick(8) {
            0 => bytes[at] ^= 1 << pick(8),
            1 => bytes[at] = pick(256) as u8,
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(at..at + length)),
            4 => {
                let piece = bytes[at..at + length].repeat(1 + pick(3));
                bytes.splice(at..at, piece);
            }
            5 => {
                let numbers =
                    [0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff, i64::MAX as u64, u64::MAX];
                let number = numbers[pick(numbers.len())].to_le_bytes();
                let width = [1, 2, 4, 8][pick(4)].min(bytes.len() - at);
                bytes[at..at + width].copy_from_slice(&number[..width]);
            }
            6 => {
                let other = &corpus[pick(corpus.len())];
                let from = pick(other.len());
                let piece = &other[from..(from + 8 * length).min(other.len())];
                bytes.splice(at..at + length, piece.iter().copied());
            }
            _ => {
                let to = pick(bytes.len());
                bytes.swap(at, to);
            }
        }
    }
    bytes
}

/// A pickle of random operations, with what they need here and there, in the old format's stream.
fn random_pickle(random: &mut Pcg64Mcg) -> Vec<u8> {
    const WORDS: [&[u8]; 22] = [
        b"(",
        b")",
        b"}",
        b"]",
        b"t",
        b"\x85",
        b"\x86",
        b"\x87",
        b"R",
        b"u",
        b"s",
        b"e",
        b"a",
        b"b",
        b"Q",
        b"0",
        b"2",
        b"1",
        b"ccollections\nOrderedDict\n",
        b"ctorch._utils\n_rebuild_tensor_v2\n",
        b"ctorch\nFloatStorage\n",
        b"X\x07\0\0\0storage",
    ];
    let mut pickle =
        b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}.\x80\x02".to_vec();
    for _ in 0..random.random_range(1..200) {
        match random.random_range(0..30) {
            0 => pickle.extend([b'q', random.random_range(0..4)]),
            1 => pickle.extend([b'h', random.random_range(0..4)]),
            2 | 3 => pickle.extend([b'K', random.random()]),
            4 => pickle.extend([&b"J"[..], &random.random::<u32>().to_le_bytes()].concat()),
            5 => pickle.extend(b"X\x01\0\0\0a"),
            6 => pickle.push(random.random()),
            word => pickle.extend(WORDS[word as usize % WORDS.len()]),
        }
    }
    pickle.extend(b".\x80\x02](X\x01\0\0\0ae.\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\x80\x3f");
    pickle
}

/// How the complaint of slowness begins.
const SLOW: &str = "it needed";

/// Runs one file through one reader; says what went wrong.
fn attempt(reader: fn(&[u8]), bytes: &[u8], factor: usize) -> Result<(), String> {
    MEMORY.reset_peak_usage();
    let (before, start) = (MEMORY.current_usage(), Instant::now());
    let outcome = std::panic::catch_unwind(|| reader(bytes));
    let (taken, time) = (MEMORY.peak_usage().saturating_sub(before), start.elapsed());
    if outcome.is_err() {
        return Err("it panicked".into());
    }
    if taken > factor * bytes.len() + ALLOWANCE {
        return Err(format!("it took {taken} bytes for a file of {}", bytes.len()));
    }
    if time > LONGEST { Err(format!("{SLOW} {time:?} for a file of {} bytes", bytes.len())) } else { Ok(()) }
}

/// As [`attempt`]; a machine that sleeps or has other work makes anything slow once, but not three times.
fn attempts(reader: fn(&[u8]), bytes: &[u8], factor: usize) -> Result<(), String> {
    let mut outcome = attempt(reader, bytes, factor);
    for _ in 0..2 {
        if outcome.as_ref().is_err_and(|reason| reason.starts_with(SLOW)) {
            outcome = attempt(reader, bytes, factor);
        }
    }
    outcome
}

/// Pictures may unpack to far more than their file, up to the decoder's own limit.
const UNPACKED: usize = usize::MAX >> 32;

/// A reader and its name, what feeds it, and how many bytes it may take for each of the file's.
type Target = (&'static str, fn(&[u8]), Vec<Vec<u8>>, usize);

fn targets() -> Vec<Target> {
    vec![
        (
            "weights",
            weights,
            corpus(&["weights", "weights/pytorch", "weights/pytorch/hostile", "weights/onnx", "golden"]),
            10,
        ),
        ("picture", picture, corpus(&["images"]), UNPACKED),
        ("archive", archive, data_sets(), UNPACKED),
    ]
}

/// Runs until the clock or the count says stop; returns the executions of each reader.
fn fuzz(seed: u64, go_on: impl Fn(u64) -> bool) -> Vec<(&'static str, u64)> {
    let mut random = Pcg64Mcg::seed_from_u64(seed);
    let targets = targets();
    let mut counts = vec![0; targets.len()];
    let mut round = 0;
    while go_on(round) {
        // Weights are this project's own parsers: most of the work is theirs.
        let index = [0, 0, 0, 0, 1, 2][(round % 6) as usize];
        let (name, reader, corpus, factor) = &targets[index];
        let made_up = index == 0 && random.random_ratio(1, 4);
        let bytes = if made_up { random_pickle(&mut random) } else { damaged(corpus, &mut random) };
        if let Err(reason) = attempts(*reader, &bytes, *factor) {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/fuzz");
            let file = folder.join(format!("{name}-{:016x}", random.next_u64()));
            std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&file, &bytes)).expect("target/ is writable");
            panic!("{name}: {reason}; the file is {}", file.display());
        }
        counts[index] += 1;
        round += 1;
    }
    targets.iter().map(|target| target.0).zip(counts).collect()
}

/// One test, since the memory of others would be counted, too.
#[test]
fn damaged_files_do_no_harm() {
    fuzz(0, |round| round < 3000);
}

#[test]
#[ignore = "a long run: FUZZ_SECONDS says how long, 20 seconds if it does not"]
fn for_long() {
    let seconds = std::env::var("FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(20);
    let seed = std::env::var("FUZZ_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let end = Instant::now() + Duration::from_secs(seconds);
    for (name, count) in fuzz(seed, |_| Instant::now() < end) {
        println!("{name}: {count} executions without a finding");
    }
}
