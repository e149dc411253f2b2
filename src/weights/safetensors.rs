//! The safetensors format: 8 bytes of header length, a JSON header, then the tensors' bytes
//! (<https://huggingface.co/docs/safetensors/index#format>).
//!
//! Read here rather than by the `safetensors` crate: version 0.7 panics on a crafted header in builds
//! with overflow checks (it adds the end of the last tensor and the header's length up unchecked),
//! takes the last of two tensors of one name in silence, does not name the tensor of a type that it
//! does not know, and writes metadata in random order.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use half::{bf16, f16};
use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Deserializer, Serialize};

use super::error::printable;
use super::{NamedTensor, Storage, Unread, WeightError, WeightFile};

/// Longest header that is read. The paper's generator has one of 5 kB.
pub const MAX_HEADER_BYTES: u64 = 4 << 20;
/// Largest file that is read, 1 GiB. The paper's generator has 46 MB.
pub const MAX_FILE_BYTES: u64 = 1 << 30;

/// Bytes of the header's length; the header is padded to a multiple of it, too.
const PREFIX: usize = 8;
const METADATA: &str = "__metadata__";

/// What the header says of one tensor.
#[derive(Serialize, Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<u64>,
    /// First byte and one past the last, counted from the end of the header.
    data_offsets: (u64, u64),
}

/// The header, in the order of the file.
struct Header {
    metadata: BTreeMap<String, String>,
    entries: Vec<(String, Entry)>,
}

/// Parses a whole file: tensors in the order in which they lie in it.
pub(super) fn read(bytes: &[u8]) -> Result<WeightFile, WeightError> {
    let found = bytes.len() as u64;
    if found > MAX_FILE_BYTES {
        return Err(WeightError::FileTooLarge { found });
    }
    let Some((prefix, rest)) = bytes.split_first_chunk::<PREFIX>() else {
        return Err(match looks_like(bytes) {
            Some(looks_like) => WeightError::NotWeights { looks_like },
            None => WeightError::Truncated { expected: PREFIX as u64, found },
        });
    };
    let length = u64::from_le_bytes(*prefix);
    if length > MAX_HEADER_BYTES {
        // Taken for a length, the first bytes of any other kind of file are absurd.
        return Err(match looks_like(bytes) {
            Some(looks_like) => WeightError::NotWeights { looks_like },
            None if rest.first() != Some(&b'{') => WeightError::NotWeights { looks_like: "a file of another program" },
            None => WeightError::HeaderTooLarge { length },
        });
    }
    let Some((header, data)) = rest.split_at_checked(length as usize) else {
        return Err(WeightError::Truncated { expected: PREFIX as u64 + length, found });
    };
    let header = parse_header(header)?;

    let mut entries = header.entries;
    entries.sort_by_key(|(_, entry)| entry.data_offsets);
    let mut end = 0;
    for (name, entry) in &entries {
        end = check(name, entry, end)?;
    }
    // No overflow: `end` passed `check` from tensor to tensor, each bounded by MAX_FILE_BYTES.
    let expected = PREFIX as u64 + length + end;
    if found < expected {
        return Err(WeightError::Truncated { expected, found });
    }
    if found > expected {
        return Err(WeightError::TrailingBytes { expected, found });
    }
    let mut file = WeightFile { metadata: header.metadata, ..WeightFile::default() };
    if entries.iter().any(|(_, entry)| entry.dtype == "F64") {
        file.notes.push(super::ROUNDED.into());
    }
    for (name, entry) in entries {
        if is_weight(&entry.dtype) {
            file.tensors.push(decode(name, &entry, data)?);
        } else {
            Unread::note(&mut file.unread, &name, &entry.dtype, entry.shape.len());
        }
    }
    match file.unread.take_if(|_| file.tensors.is_empty()) {
        Some(unread) => Err(unread.error()),
        None => Ok(file),
    }
}

fn parse_header(bytes: &[u8]) -> Result<Header, WeightError> {
    let invalid = |reason: &dyn fmt::Display| WeightError::Header { reason: printable(&reason.to_string()) };
    let text = std::str::from_utf8(bytes).map_err(|error| invalid(&error))?;
    let header: Header = serde_json::from_str(text).map_err(|error| invalid(&error))?;
    if header.entries.is_empty() {
        return Err(WeightError::NoTensors);
    }
    let mut names = HashSet::new();
    match header.entries.iter().find(|(name, _)| !names.insert(name)) {
        Some((name, _)) => Err(WeightError::Duplicate { tensor: printable(name) }),
        None => Ok(header),
    }
}

/// Checks type, shape and place of one tensor that should start at `start`, before any memory is
/// taken for it. Returns where it ends.
fn check(name: &str, entry: &Entry, start: u64) -> Result<u64, WeightError> {
    let tensor = || printable(name);
    let Some(width) = width(&entry.dtype) else {
        return Err(WeightError::Dtype { tensor: tensor(), dtype: printable(&entry.dtype) });
    };
    let (found, end) = entry.data_offsets;
    let size = entry.shape.iter().try_fold(width, |product, &side| product.checked_mul(side));
    let fits = size.is_some_and(|size| size <= MAX_FILE_BYTES && found.checked_add(size) == Some(end));
    // A side may be absurd next to a side of zero; on wasm32 it may not even be a usize.
    if !fits || entry.shape.iter().any(|&side| side > MAX_FILE_BYTES) || end > MAX_FILE_BYTES {
        let shape = entry.shape.iter().copied().take(8).collect();
        return Err(WeightError::Offsets { tensor: tensor(), shape, start: found, end });
    }
    if found != start {
        return Err(WeightError::Overlap { tensor: tensor(), expected: start, found });
    }
    Ok(end)
}

/// Whether weights are stored in a type; the others are those of counters and the like, which are passed over.
fn is_weight(dtype: &str) -> bool {
    matches!(dtype, "F64" | "F32" | "F16" | "BF16")
}

/// Bytes of a value, for the types that have whole ones.
fn width(dtype: &str) -> Option<u64> {
    match dtype {
        "C128" => Some(16),
        "F64" | "I64" | "U64" | "C64" => Some(8),
        "F32" | "I32" | "U32" => Some(4),
        "F16" | "BF16" | "I16" | "U16" => Some(2),
        "I8" | "U8" | "BOOL" => Some(1),
        _ if dtype.starts_with("F8_") => Some(1),
        _ => None,
    }
}

/// The values of a tensor that passed [`check`], in a buffer that reaches at least to its end.
fn decode(name: String, entry: &Entry, data: &[u8]) -> Result<NamedTensor, WeightError> {
    let (start, end) = entry.data_offsets;
    let bytes = &data[start as usize..end as usize];
    let halves = || bytes.as_chunks::<2>().0.iter();
    let values: Vec<f32> = match entry.dtype.as_str() {
        "F16" => halves().map(|&pair| f16::from_le_bytes(pair).to_f32()).collect(),
        "BF16" => halves().map(|&pair| bf16::from_le_bytes(pair).to_f32()).collect(),
        "F64" => bytes.as_chunks::<8>().0.iter().map(|&eight| f64::from_le_bytes(eight) as f32).collect(),
        _ => bytes.as_chunks::<4>().0.iter().map(|&four| f32::from_le_bytes(four)).collect(),
    };
    let tensor = NamedTensor { name, shape: entry.shape.iter().map(|&side| side as usize).collect(), values };
    tensor.check_finite()?;
    Ok(tensor)
}

/// The bytes of a file that holds the tensors in the order given. The same tensors and metadata
/// always give the same bytes.
pub(super) fn write(file: &WeightFile, storage: Storage) -> Result<Vec<u8>, WeightError> {
    let (dtype, width) = match storage {
        Storage::F32 => ("F32", 4),
        Storage::F16 => ("F16", 2),
    };
    let mut names = HashSet::new();
    let mut entries = Vec::with_capacity(file.tensors.len());
    let mut end = 0;
    for tensor in &file.tensors {
        if !names.insert(&tensor.name) {
            return Err(WeightError::Duplicate { tensor: printable(&tensor.name) });
        }
        tensor.check_count()?;
        let start = end;
        end += width * tensor.values.len() as u64;
        let shape = tensor.shape.iter().map(|&side| side as u64).collect();
        entries.push((tensor.name.clone(), Entry { dtype: dtype.into(), shape, data_offsets: (start, end) }));
    }
    let header = Header { metadata: file.metadata.clone(), entries };
    let mut header = serde_json::to_vec(&header).map_err(|error| WeightError::Header { reason: error.to_string() })?;
    header.resize(header.len().next_multiple_of(PREFIX), b' ');

    let mut bytes = Vec::with_capacity(PREFIX + header.len() + end as usize);
    bytes.extend((header.len() as u64).to_le_bytes());
    bytes.extend(header);
    for tensor in &file.tensors {
        bytes.extend(tensor.bytes(storage)?);
    }
    Ok(bytes)
}

impl Serialize for Header {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if !self.metadata.is_empty() {
            map.serialize_entry(METADATA, &self.metadata)?;
        }
        for (name, entry) in &self.entries {
            map.serialize_entry(name, entry)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = Header;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a JSON object of tensors")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Header, M::Error> {
        let mut header = Header { metadata: BTreeMap::new(), entries: Vec::new() };
        while let Some(name) = map.next_key::<String>()? {
            let in_entry = |error: M::Error| M::Error::custom(format!("at `{}`: {error}", printable(&name)));
            if name == METADATA {
                header.metadata = map.next_value::<Metadata>().map_err(in_entry)?.0;
            } else {
                let entry = map.next_value().map_err(in_entry)?;
                header.entries.push((name, entry));
            }
        }
        Ok(header)
    }
}

/// Metadata of any JSON kind: texts are kept, everything else is passed over, since the format
/// allows only texts but a strange remark is no reason to refuse good weights.
struct Metadata(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Value {
            Text(String),
            Other(IgnoredAny),
        }
        let entries = Option::<BTreeMap<String, Value>>::deserialize(deserializer)?.unwrap_or_default();
        let texts = entries.into_iter().filter_map(|(key, value)| match value {
            Value::Text(text) => Some((key, text)),
            Value::Other(_) => None,
        });
        Ok(Self(texts.collect()))
    }
}

/// What a file that is no safetensors file is, as far as its first bytes tell.
fn looks_like(bytes: &[u8]) -> Option<&'static str> {
    const BEGINNINGS: [(&[u8], &str); 6] = [
        (b"\x89PNG", "a PNG picture"),
        (b"\xff\xd8\xff", "a JPEG picture"),
        (b"GIF8", "a GIF picture"),
        (b"RIFF", "a WebP picture or a sound"),
        (b"\x1f\x8b", "a gzip archive"),
        (b"%PDF", "a PDF document"),
    ];
    if bytes.is_empty() {
        return Some("an empty file");
    }
    let known = BEGINNINGS.into_iter().find(|(beginning, _)| bytes.starts_with(beginning));
    let beginning = &bytes[..bytes.len().min(64)];
    let is_text = beginning.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace());
    known.map(|(_, kind)| kind).or(is_text.then_some("a text file"))
}
