//! PyTorch's `.pth` and `.pt` files, in both formats: the zip archive of PyTorch 1.6 and later, and
//! the stream of pickles before it (`torch/serialization.py`).
//!
//! Nothing in a file is executed: see `pickle.rs`. What it claims is compared with what is there before
//! memory is taken for it.

mod archive;
mod dtype;
mod pickle;
mod write;

use std::collections::{HashMap, HashSet};

use super::error::printable;
use super::{NamedTensor, Unread, WeightError, WeightFile};
use dtype::Dtype;
use pickle::{Container, Global, Object, Pickle, Value, damaged};
pub(super) use write::write;

/// What may be taken beside four times the size of the file.
const ALLOWANCE: u64 = 4 << 20;
/// What an old file begins with, after the pickle's version: the number 0x1950a86a20f9469cfc6c.
const MAGIC: &[u8] = b"\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";
/// The only version of the old format.
const OLD_VERSION: i64 = 1001;
/// Our own part of an archive: the metadata, as JSON. PyTorch passes over it.
const METADATA: &str = "cyclegan.json";
/// Objects beside the weights that are told by name; the others are counted.
const TOLD: usize = 4;
/// Deepest nesting of dictionaries and longest name of a tensor.
const MAX_DEPTH: usize = 16;
const MAX_NAME: usize = 1000;

/// Whether a file begins like one of PyTorch's. A safetensors file begins with a length, which may look
/// alike: it ends in zeroes, which are neither a zip's signature nor an operation of a pickle.
pub(super) fn is_pytorch(bytes: &[u8]) -> bool {
    matches!(bytes, [b'P', b'K', ..] | [0x80, 2..=5, ..]) && !matches!(bytes, [_, _, _, 0, 0, 0, 0, 0, ..])
}

/// Parses a whole file: tensors in the order of the file; keys of nested dictionaries are joined by dots.
pub(super) fn read(bytes: &[u8]) -> Result<WeightFile, WeightError> {
    let mut budget = ALLOWANCE + 4 * bytes.len() as u64;
    if bytes.starts_with(b"PK") { read_archive(bytes, &mut budget) } else { read_stream(bytes, &mut budget) }
}

fn read_archive(bytes: &[u8], budget: &mut u64) -> Result<WeightFile, WeightError> {
    let parts = archive::parts(bytes)?;
    let Some((root, program)) =
        parts.iter().find_map(|(name, contents)| Some((name.strip_suffix("data.pkl")?, *contents)))
    else {
        return Err(WeightError::NotWeights { looks_like: "a zip archive that PyTorch did not write" });
    };
    let inside: HashMap<&str, &[u8]> =
        parts.iter().filter_map(|(name, contents)| Some((name.strip_prefix(root)?, *contents))).collect();
    if inside.contains_key("constants.pkl") {
        return Err(WeightError::NotWeights { looks_like: "a TorchScript program, not a state_dict" });
    }
    if inside.get("byteorder").is_some_and(|order| *order != b"little") {
        return Err(damaged("its numbers are big-endian, which is not read"));
    }
    let (pickle, _) = Pickle::read(program, budget)?;
    let mut runs = HashMap::new();
    for storage in &pickle.storages {
        if let Some(run) = inside.get(format!("data/{}", storage.key).as_str()) {
            runs.insert(storage.key, *run);
        }
    }
    let mut file = tensors(&pickle, &runs, budget)?;
    if let Some(metadata) = inside.get(METADATA) {
        // A strange remark is no reason to refuse good weights.
        file.metadata = serde_json::from_slice(metadata).unwrap_or_default();
    }
    Ok(file)
}

fn read_stream(bytes: &[u8], budget: &mut u64) -> Result<WeightFile, WeightError> {
    let (magic, rest) = Pickle::read(bytes, budget)?;
    if magic.root != Value::Bytes(MAGIC) {
        return Err(WeightError::NotWeights { looks_like: "a Python pickle that PyTorch did not write" });
    }
    let (version, rest) = Pickle::read(rest, budget)?;
    if version.root != Value::Int(OLD_VERSION) {
        return Err(damaged("it is of an unknown version"));
    }
    let (_system, rest) = Pickle::read(rest, budget)?;
    let (pickle, rest) = Pickle::read(rest, budget)?;
    let (keys, mut rest) = Pickle::read(rest, budget)?;
    let mut types: HashMap<&str, Dtype> = HashMap::new();
    for storage in &pickle.storages {
        // A tensor may have another type than its storage, whose own comes first.
        types.entry(storage.key).or_insert(storage.dtype);
    }
    if pickle.tensors.is_empty()
        && let Some(what) = maker(&pickle, pickle.root)
    {
        return Err(WeightError::Forbidden { what });
    }
    let mut runs = HashMap::new();
    for key in keys.items(keys.root).ok_or_else(|| damaged("its list of storages is missing"))? {
        let Value::Text(key) = *key else { return Err(damaged("its list of storages has no names")) };
        let dtype = types.get(key).ok_or_else(|| damaged("it has a storage that nothing uses"))?;
        let run = rest.split_first_chunk().and_then(|(count, rest)| {
            let size = u64::from_le_bytes(*count).checked_mul(dtype.width())?;
            rest.split_at_checked(usize::try_from(size).ok()?)
        });
        let (run, after) = run.ok_or_else(|| damaged("it is cut off"))?;
        rest = after;
        runs.insert(key, run);
    }
    tensors(&pickle, &runs, budget)
}

/// What would have made an object, if the value is one, or the name that it is.
fn maker(pickle: &Pickle, value: Value) -> Option<String> {
    let (module, name) = match value {
        Value::Global(Global::Unknown(module, name)) => (module, name),
        _ => pickle.object(value)?.1.maker,
    };
    Some(printable(&[module, ".", name].concat()))
}

/// Every tensor of floats that can be reached through dictionaries and lists.
fn tensors<'a>(pickle: &Pickle<'a>, runs: &HashMap<&str, &[u8]>, budget: &mut u64) -> Result<WeightFile, WeightError> {
    let mut file = WeightFile::default();
    let mut names = HashSet::new();
    // Containers may be shared, or hold themselves: each is walked once.
    let mut seen = HashSet::new();
    let mut left = vec![(String::new(), pickle.root, 0)];
    let (mut passed, mut told, mut first) = (0, Vec::new(), None);
    while let Some((name, value, depth)) = left.pop() {
        let is_new = match value {
            Value::Container(index) => seen.insert(index),
            _ => true,
        };
        if !is_new {
            continue;
        }
        if let Some(what) = maker(pickle, value) {
            passed += 1;
            first.get_or_insert_with(|| what.clone());
            if told.len() < TOLD {
                told.push(if name.is_empty() { what.clone() } else { format!("`{}` ({what})", printable(&name)) });
            }
            if pickle.object(value).is_some_and(|(_, object)| object.is_tensor) && file.unread.is_none() {
                file.unread = Some(Unread { tensor: printable(&name), callable: Some(what), ..Unread::default() });
            }
        }
        match value {
            Value::Container(index) if depth < MAX_DEPTH => {
                let mut children = Vec::new();
                let mut child = |key: &str, value: Value<'a>| {
                    let is_looked_at =
                        matches!(value, Value::Container(_) | Value::Tensor(_) | Value::Global(Global::Unknown(..)));
                    if is_looked_at && name.len() + key.len() < MAX_NAME {
                        let path = if name.is_empty() { key.to_owned() } else { format!("{name}.{key}") };
                        spend(budget, 2 * (path.capacity() + size_of::<(String, Value, usize)>()))?;
                        children.push((path, value));
                    }
                    Ok::<(), WeightError>(())
                };
                match &pickle.containers[index] {
                    Container::Dict(pairs) | Container::Object(Object { pairs, .. }) => {
                        // Numbers for keys are an optimiser's.
                        for (key, value) in pairs {
                            if let Value::Text(key) = key {
                                child(key, *value)?;
                            }
                        }
                    }
                    Container::List(items) | Container::Tuple(items) => {
                        for (index, item) in items.iter().enumerate() {
                            child(&index.to_string(), *item)?;
                        }
                    }
                }
                left.extend(children.into_iter().rev().map(|(path, value)| (path, value, depth + 1)));
            }
            Value::Tensor(index) => {
                let tensor = &pickle.tensors[index];
                if let Dtype::Other(dtype, _) = pickle.storages[tensor.storage].dtype {
                    Unread::note(&mut file.unread, &name, dtype, tensor.shape.len());
                    continue;
                }
                let tensor = decode(name, index, pickle, runs, budget)?;
                if !names.insert(tensor.name.clone()) {
                    return Err(WeightError::Duplicate { tensor: printable(&tensor.name) });
                }
                file.tensors.push(tensor);
            }
            _ => {}
        }
    }
    if file.tensors.is_empty() {
        return Err(match (file.unread, first) {
            (Some(unread), _) => unread.error(),
            (None, Some(what)) => WeightError::Forbidden { what },
            (None, None) => WeightError::NoTensors,
        });
    }
    if pickle.storages.iter().any(|storage| storage.dtype == Dtype::Double) {
        file.notes.push(super::ROUNDED.into());
    }
    if passed > 0 {
        let more = if passed > told.len() { format!(" and {} more", passed - told.len()) } else { String::new() };
        let told = told.join(", ");
        file.notes
            .push(format!("Objects beside the weights were passed over, and nothing of them was run: {told}{more}."));
    }
    Ok(file)
}

fn spend(budget: &mut u64, bytes: usize) -> Result<(), WeightError> {
    *budget = budget.checked_sub(bytes as u64).ok_or(WeightError::TooComplex)?;
    Ok(())
}

/// The values of one tensor, row by row, however it lies in its storage.
fn decode(
    name: String,
    index: usize,
    pickle: &Pickle,
    runs: &HashMap<&str, &[u8]>,
    budget: &mut u64,
) -> Result<NamedTensor, WeightError> {
    let tensor = &pickle.tensors[index];
    let storage = &pickle.storages[tensor.storage];
    let run = runs.get(storage.key).copied().unwrap_or_default();
    let width = storage.dtype.width();
    let outside = || WeightError::Outside {
        tensor: printable(&name),
        shape: tensor.shape.iter().copied().take(8).collect(),
        available: run.len() as u64 / width,
    };
    if tensor.shape.len() != tensor.strides.len() {
        return Err(outside());
    }
    let count = tensor.shape.iter().try_fold(1_u64, |product, side| product.checked_mul(*side)).ok_or_else(outside)?;
    let start = storage.offset.checked_add(tensor.offset).ok_or_else(outside)?;
    // One past the last value.
    let end = tensor
        .shape
        .iter()
        .zip(&tensor.strides)
        .try_fold(start, |end, (side, stride)| end.checked_add(side.saturating_sub(1).checked_mul(*stride)?));
    let end = if count == 0 { Some(start) } else { end.and_then(|last| last.checked_add(1)) };
    let end = end.filter(|end| end.checked_mul(width).is_some_and(|end| end <= run.len() as u64));
    let (Some(end), Ok(values)) = (end, usize::try_from(count)) else { return Err(outside()) };
    let shape: Option<Vec<usize>> = tensor.shape.iter().map(|side| usize::try_from(*side).ok()).collect();
    let shape = shape.ok_or_else(outside)?;
    // A tensor may repeat its values (stride 0), and tensors may share them: what comes out can be larger than the file.
    spend(budget, values.saturating_mul(4).saturating_add(2 * name.len() + 8 * shape.len() + 128))?;

    let run = &run[(start * width) as usize..(end * width) as usize];
    let values = match count {
        0 => Vec::new(),
        _ if is_dense(tensor) => storage.dtype.decode(run),
        _ => gather(tensor, values, |place| storage.dtype.value(run, place)),
    };
    let tensor = NamedTensor { name, shape, values };
    tensor.check_finite()?;
    Ok(tensor)
}

/// Whether the values lie one after the other, row by row.
fn is_dense(tensor: &pickle::Tensor) -> bool {
    let mut expected = 1;
    tensor.shape.iter().zip(&tensor.strides).rev().all(|(side, stride)| {
        let fits = *side == 1 || *stride == expected;
        expected *= side;
        fits
    })
}

/// The values at the tensor's strides; `at` reads one, counted from the tensor's first.
fn gather(tensor: &pickle::Tensor, count: usize, at: impl Fn(usize) -> f32) -> Vec<f32> {
    let mut steps = vec![0; tensor.shape.len()];
    let mut place = 0;
    let mut values = Vec::with_capacity(count);
    for _ in 0..count {
        values.push(at(place as usize));
        for axis in (0..steps.len()).rev() {
            steps[axis] += 1;
            place += tensor.strides[axis];
            if steps[axis] < tensor.shape[axis] {
                break;
            }
            place -= steps[axis] * tensor.strides[axis];
            steps[axis] = 0;
        }
    }
    values
}
