//! The parts of a zip archive, as slices of its bytes.
//!
//! Read here rather than by the `zip` crate: PyTorch stores its parts uncompressed, so that nothing needs
//! to be copied, and version 7 takes memory for as many entries as an archive claims, up to one for each
//! of its bytes.

use super::super::WeightError;
use super::pickle::damaged;

const END: &[u8] = b"PK\x05\x06";
const END_64: &[u8] = b"PK\x06\x06";
const LOCATOR_64: &[u8] = b"PK\x06\x07";
const ENTRY: &[u8] = b"PK\x01\x02";
const LOCAL: &[u8] = b"PK\x03\x04";
/// Bytes of [`END`]'s record without its comment, and of the longest comment.
const END_BYTES: usize = 22;
const MAX_COMMENT: usize = 0xffff;

/// Name and contents of one part.
pub type Part<'a> = (&'a str, &'a [u8]);

/// Little-endian numbers at fixed places.
struct Record<'a>(&'a [u8]);

impl<'a> Record<'a> {
    /// The record of that signature at `at`.
    fn find(bytes: &'a [u8], at: u64, signature: &[u8]) -> Option<Self> {
        let found = bytes.get(usize::try_from(at).ok()?..)?;
        found.starts_with(signature).then_some(Self(found))
    }

    fn number(&self, at: usize, width: usize) -> Option<u64> {
        let mut number = [0; 8];
        number.get_mut(..width)?.copy_from_slice(self.0.get(at..at.checked_add(width)?)?);
        Some(u64::from_le_bytes(number))
    }

    fn slice(&self, at: u64, length: u64) -> Option<&'a [u8]> {
        let start = usize::try_from(at).ok()?;
        self.0.get(start..start.checked_add(usize::try_from(length).ok()?)?)
    }
}

/// All parts of an archive.
///
/// # Errors
/// When the archive is damaged, compressed or encrypted.
pub fn parts(bytes: &[u8]) -> Result<Vec<Part<'_>>, WeightError> {
    let search = &bytes[bytes.len().saturating_sub(END_BYTES + MAX_COMMENT)..];
    let end = search.windows(END.len()).rposition(|window| window == END);
    let end = end.ok_or_else(|| damaged("the end of its zip archive is missing, so it was cut off"))?;
    let end = bytes.len() - search.len() + end;
    let (count, mut at) = directory(bytes, end).ok_or_else(|| damaged("its zip archive's directory is missing"))?;
    let mut parts = Vec::new();
    for _ in 0..count {
        let record = Record::find(bytes, at, ENTRY);
        let entry = record.as_ref().and_then(|record| entry(bytes, record));
        let entry = entry.ok_or_else(|| damaged("its zip archive's directory cannot be understood"))?;
        // Only the source code of a TorchScript program is; the caller knows such a file by its other parts.
        let is_code = entry.name.windows(6).any(|name| name == b"/code/");
        if entry.packed && is_code {
            at += entry.length;
            continue;
        }
        if entry.packed {
            return Err(WeightError::Packed);
        }
        let Some(contents) = entry.contents else {
            return Err(damaged("a part of its zip archive lies outside of the file"));
        };
        // PyTorch's names are plain; a part with another name is none of its.
        if let Ok(name) = std::str::from_utf8(entry.name) {
            parts.push((name, contents));
        }
        at += entry.length;
    }
    Ok(parts)
}

/// Number of entries and place of the first. PyTorch always writes the 64-bit form, too.
fn directory(bytes: &[u8], end: usize) -> Option<(u64, u64)> {
    let comment = Record(&bytes[end..]).number(20, 2)?;
    if (bytes.len() - end) as u64 != END_BYTES as u64 + comment {
        return None;
    }
    let locator = end.checked_sub(20).and_then(|at| Record::find(bytes, at as u64, LOCATOR_64));
    match locator {
        Some(locator) => {
            let end = Record::find(bytes, locator.number(8, 8)?, END_64)?;
            Some((end.number(32, 8)?, end.number(48, 8)?))
        }
        None => {
            let end = Record(&bytes[end..]);
            Some((end.number(10, 2)?, end.number(16, 4)?))
        }
    }
}

struct Entry<'a> {
    name: &'a [u8],
    /// Compressed or encrypted.
    packed: bool,
    /// `None` outside of the file.
    contents: Option<&'a [u8]>,
    /// Bytes of the entry in the directory.
    length: u64,
}

fn entry<'a>(bytes: &'a [u8], record: &Record<'a>) -> Option<Entry<'a>> {
    let [flags, method] = [record.number(8, 2)?, record.number(10, 2)?];
    let (mut size, mut start) = (record.number(20, 4)?, record.number(42, 4)?);
    let [name, extra, comment] = [record.number(28, 2)?, record.number(30, 2)?, record.number(32, 2)?];
    // Numbers that do not fit stand in an extra field, in this order: unpacked size, packed size, place.
    let full = u64::from(u32::MAX);
    if record.number(24, 4)? == full || size == full || start == full {
        let fields = Record(record.slice(46 + name, extra)?);
        let mut at = 0;
        while fields.number(at, 2)? != 1 {
            at += 4 + fields.number(at + 2, 2)? as usize;
        }
        at += 4;
        let mut next = |number: &mut u64| -> Option<()> {
            if *number == full {
                *number = fields.number(at, 8)?;
                at += 8;
            }
            Some(())
        };
        next(&mut record.number(24, 4)?)?;
        next(&mut size)?;
        next(&mut start)?;
    }
    let contents = Record::find(bytes, start, LOCAL).and_then(|local| {
        let skip = 30 + local.number(26, 2)? + local.number(28, 2)?;
        local.slice(skip, size)
    });
    Some(Entry {
        name: record.slice(46, name)?,
        packed: flags & 1 != 0 || method != 0,
        contents,
        length: 46 + name + extra + comment,
    })
}
