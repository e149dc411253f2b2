//! Zip archives: entries as ranges of the archive's bytes, and archives of entries that are stored as they are.
//!
//! The `zip` crate (version 7) takes memory for as many entries as an archive claims before it looks at the first, copies what
//! is stored, and brings a second compressor that a page would download without using it.

use std::io::Read;
use std::ops::Range;

use thiserror::Error;

const END: &[u8] = b"PK\x05\x06";
const END_64: &[u8] = b"PK\x06\x06";
const LOCATOR_64: &[u8] = b"PK\x06\x07";
const ENTRY: &[u8] = b"PK\x01\x02";
const LOCAL: &[u8] = b"PK\x03\x04";
/// Bytes of the records without names, comments and extra fields.
const END_BYTES: usize = 22;
const LOCATOR_64_BYTES: usize = 20;
const ENTRY_BYTES: u64 = 46;
const LOCAL_BYTES: u64 = 30;
const MAX_COMMENT: usize = 0xffff;
/// An extra field that says it is there for alignment, as Android's and PyTorch's archives have.
const ALIGNMENT_FIELD: u16 = 0xd935;
/// January 1st, 1980: archives of the same contents are the same bytes.
const DATE: u16 = 0x21;

/// Why an archive or an entry cannot be read or written.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ZipError {
    /// No end record.
    #[error("the end of its zip archive is missing, so it was cut off")]
    Cut,
    /// The end record leads nowhere.
    #[error("its zip archive's directory is missing")]
    NoDirectory,
    /// More entries than the file has bytes for.
    #[error("it says it has {0} entries, more than fit into it")]
    Claims(u64),
    /// A record of the directory is none.
    #[error("its zip archive's directory cannot be understood")]
    Directory,
    /// An entry's bytes are not all there.
    #[error("a part of its zip archive lies outside of the file")]
    Outside,
    /// An entry is encrypted.
    #[error("it is encrypted")]
    Encrypted,
    /// An entry is compressed in a way other than Deflate.
    #[error("it is compressed by method {0}; stored and deflated entries can be read")]
    Method(u16),
    /// An entry is not what its checksum says.
    #[error("it is damaged: its checksum is another one")]
    Checksum,
    /// Archives of more bytes are not written.
    #[error("it grew beyond the 4 GiB of a zip archive")]
    TooLarge,
}

/// One file or folder of an archive.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its path; folders end in a slash. Letters that are not UTF-8 are replaced.
    pub name: String,
    /// Size in bytes that it claims to have when it is unpacked.
    pub unpacked: u64,
    method: u16,
    encrypted: bool,
    checksum: u32,
    contents: Option<Range<usize>>,
}

impl Entry {
    /// Whether it is neither compressed nor encrypted.
    pub fn is_stored(&self) -> bool {
        self.method == 0 && !self.encrypted
    }

    /// Where its bytes are in the archive, as they are there.
    ///
    /// # Errors
    /// [`ZipError::Outside`] of the archive.
    pub fn range(&self) -> Result<Range<usize>, ZipError> {
        self.contents.clone().ok_or(ZipError::Outside)
    }

    /// Its bytes, unpacked and compared with their checksum; `archive` is what [`entries`] read. No more than `limit` bytes are
    /// unpacked, whatever it claims: more come back as `limit` + 1 bytes, unchecked.
    ///
    /// # Errors
    /// [`ZipError`], when it is encrypted, compressed by other methods, cut off or damaged.
    pub fn read(&self, archive: &[u8], limit: u64) -> Result<Vec<u8>, ZipError> {
        let packed = archive.get(self.range()?).ok_or(ZipError::Outside)?;
        let mut bytes = Vec::new();
        match (self.encrypted, self.method) {
            (true, _) => return Err(ZipError::Encrypted),
            (_, 0) => bytes.extend_from_slice(&packed[..packed.len().min(limit as usize + 1)]),
            (_, 8) => {
                let reader = flate2::bufread::DeflateDecoder::new(packed);
                reader.take(limit + 1).read_to_end(&mut bytes).map_err(|_| ZipError::Checksum)?;
            }
            (_, method) => return Err(ZipError::Method(method)),
        }
        if bytes.len() as u64 <= limit && crc32fast::hash(&bytes) != self.checksum {
            return Err(ZipError::Checksum);
        }
        Ok(bytes)
    }
}

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

/// An archive's directory, which is read entry by entry.
#[derive(Debug)]
pub struct Entries<'a> {
    archive: &'a [u8],
    left: u64,
    at: u64,
    /// Bytes in front of the archive, as of one that unpacks itself: places are counted from behind them.
    before: u64,
}

/// The directory of an archive. Takes no memory.
///
/// # Errors
/// [`ZipError`], when it is no archive, cut off, or claims more entries than it has bytes for.
pub fn entries(archive: &[u8]) -> Result<Entries<'_>, ZipError> {
    let tail = archive.len().saturating_sub(END_BYTES + MAX_COMMENT);
    let end = archive[tail..].windows(END.len()).rposition(|window| window == END).ok_or(ZipError::Cut)? + tail;
    let (left, at, before) = directory(archive, end).ok_or(ZipError::NoDirectory)?;
    if left.saturating_mul(ENTRY_BYTES) > archive.len() as u64 {
        return Err(ZipError::Claims(left));
    }
    Ok(Entries { archive, left, at, before })
}

/// Number of entries, place of the first, and bytes in front of the archive.
fn directory(archive: &[u8], end: usize) -> Option<(u64, u64, u64)> {
    let record = Record(&archive[end..]);
    if (archive.len() - end) as u64 != END_BYTES as u64 + record.number(20, 2)? {
        return None;
    }
    let locator = end.checked_sub(LOCATOR_64_BYTES).and_then(|at| Record::find(archive, at as u64, LOCATOR_64));
    if let Some(locator) = locator {
        let record = Record::find(archive, locator.number(8, 8)?, END_64)?;
        return Some((record.number(32, 8)?, record.number(48, 8)?, 0));
    }
    let (count, length, place) = (record.number(10, 2)?, record.number(12, 4)?, record.number(16, 4)?);
    let before = if count == 0 || Record::find(archive, place, ENTRY).is_some() {
        0
    } else {
        (end as u64).checked_sub(length)?.checked_sub(place)?
    };
    Some((count, place + before, before))
}

impl Entries<'_> {
    /// Entries that the archive says it has.
    pub fn claimed(&self) -> u64 {
        self.left
    }

    fn read(&mut self) -> Option<Entry> {
        let record = Record::find(self.archive, self.at, ENTRY)?;
        let [flags, method] = [record.number(8, 2)?, record.number(10, 2)?];
        let (mut size, mut unpacked, mut start) = (record.number(20, 4)?, record.number(24, 4)?, record.number(42, 4)?);
        let [name, extra, comment] = [record.number(28, 2)?, record.number(30, 2)?, record.number(32, 2)?];
        // Numbers that do not fit stand in an extra field, in this order.
        let full = u64::from(u32::MAX);
        if [unpacked, size, start].contains(&full) {
            let fields = Record(record.slice(ENTRY_BYTES + name, extra)?);
            let mut at = 0;
            while fields.number(at, 2)? != 1 {
                at += 4 + fields.number(at + 2, 2)? as usize;
            }
            at += 4;
            for number in [&mut unpacked, &mut size, &mut start] {
                if *number == full {
                    *number = fields.number(at, 8)?;
                    at += 8;
                }
            }
        }
        let start = start.checked_add(self.before)?;
        let contents = Record::find(self.archive, start, LOCAL).and_then(|local| {
            let skip = LOCAL_BYTES + local.number(26, 2)? + local.number(28, 2)?;
            let begin = usize::try_from(start + skip).ok()?;
            local.slice(skip, size).map(|contents| begin..begin + contents.len())
        });
        let letters = record.slice(ENTRY_BYTES, name)?;
        self.at += ENTRY_BYTES + name + extra + comment;
        Some(Entry {
            name: String::from_utf8_lossy(letters).into_owned(),
            unpacked,
            method: method as u16,
            encrypted: flags & 1 != 0,
            checksum: record.number(16, 4)? as u32,
            contents,
        })
    }
}

impl Iterator for Entries<'_> {
    type Item = Result<Entry, ZipError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        Some(self.read().ok_or_else(|| {
            self.left = 0;
            ZipError::Directory
        }))
    }
}

/// An archive under way, whose entries are stored as they are. The same entries always give the same bytes.
#[derive(Debug, Default)]
pub struct ZipWriter {
    bytes: Vec<u8>,
    directory: Vec<u8>,
    count: u64,
}

impl ZipWriter {
    /// Adds a file whose bytes begin at a multiple of `alignment`, 1 to 32,768.
    ///
    /// # Errors
    /// [`ZipError::TooLarge`] for an archive beyond 4 GiB.
    pub fn put(&mut self, name: &str, contents: &[u8], alignment: usize) -> Result<(), ZipError> {
        let number = |length: usize| u32::try_from(length).map_err(|_| ZipError::TooLarge);
        let (start, size) = (number(self.bytes.len())?, number(contents.len())?);
        let letters = u16::try_from(name.len()).map_err(|_| ZipError::TooLarge)?;
        let past = (self.bytes.len() + LOCAL_BYTES as usize + name.len()) % alignment;
        let gap = (alignment - past) % alignment;
        // A field takes four bytes for its kind and length.
        let extra = if gap == 0 { 0 } else { (gap..).step_by(alignment).find(|&gap| gap >= 4).unwrap_or(gap) };
        // Version 2.0; names are UTF-8; stored; the date; checksum and sizes.
        let mut common = Vec::new();
        for field in [20, 1 << 11, 0, 0, DATE] {
            common.extend(u16::to_le_bytes(field));
        }
        for field in [crc32fast::hash(contents), size, size] {
            common.extend(field.to_le_bytes());
        }
        common.extend(letters.to_le_bytes());

        self.bytes.extend_from_slice(LOCAL);
        self.bytes.extend_from_slice(&common);
        self.bytes.extend((extra as u16).to_le_bytes());
        self.bytes.extend_from_slice(name.as_bytes());
        if extra > 0 {
            self.bytes.extend(ALIGNMENT_FIELD.to_le_bytes());
            self.bytes.extend((extra as u16 - 4).to_le_bytes());
            self.bytes.resize(self.bytes.len() + extra - 4, 0);
        }
        self.bytes.extend_from_slice(contents);
        number(self.bytes.len())?;

        self.directory.extend_from_slice(ENTRY);
        // Made on Unix, where rights are kept: everyone may read, the owner write.
        self.directory.extend([20, 3]);
        self.directory.extend_from_slice(&common);
        self.directory.extend([0; 8]);
        self.directory.extend((0o100_644_u32 << 16).to_le_bytes());
        self.directory.extend(start.to_le_bytes());
        self.directory.extend_from_slice(name.as_bytes());
        self.count += 1;
        Ok(())
    }

    /// The archive's bytes.
    ///
    /// # Errors
    /// [`ZipError::TooLarge`] for an archive beyond 4 GiB.
    pub fn finish(mut self) -> Result<Vec<u8>, ZipError> {
        let number = |length: usize| u32::try_from(length).map_err(|_| ZipError::TooLarge);
        let (start, length) = (number(self.bytes.len())?, number(self.directory.len())?);
        self.bytes.append(&mut self.directory);
        let end = number(self.bytes.len())?;
        let count = u16::try_from(self.count).unwrap_or(u16::MAX);
        if self.count >= u64::from(u16::MAX) {
            self.bytes.extend_from_slice(END_64);
            self.bytes.extend(44_u64.to_le_bytes());
            self.bytes.extend([45, 3, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            for field in [self.count, self.count, length.into(), start.into()] {
                self.bytes.extend(field.to_le_bytes());
            }
            self.bytes.extend_from_slice(LOCATOR_64);
            self.bytes.extend([0; 4]);
            self.bytes.extend(u64::from(end).to_le_bytes());
            self.bytes.extend(1_u32.to_le_bytes());
        }
        self.bytes.extend_from_slice(END);
        self.bytes.extend([0; 4]);
        self.bytes.extend([count.to_le_bytes(); 2].as_flattened());
        for field in [length, start] {
            self.bytes.extend(field.to_le_bytes());
        }
        self.bytes.extend([0; 2]);
        Ok(self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use zip::write::SimpleFileOptions;

    use super::*;

    /// What another writer makes.
    fn packed(files: &[(&str, &[u8], zip::CompressionMethod)]) -> Vec<u8> {
        let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, contents, method) in files {
            let options = SimpleFileOptions::default().compression_method(*method);
            writer.start_file(*name, options).expect("an entry can be begun");
            writer.write_all(contents).expect("an entry can be written");
        }
        writer.finish().expect("an archive").into_inner()
    }

    fn read_all(archive: &[u8]) -> Result<Vec<(String, Vec<u8>)>, ZipError> {
        entries(archive)?
            .map(|entry| entry.and_then(|entry| Ok((entry.name.clone(), entry.read(archive, 1000)?))))
            .collect()
    }

    #[test]
    fn another_writer_s_entries_are_read_stored_deflated_and_behind_other_bytes() {
        use zip::CompressionMethod::{Deflated, Stored};
        let archive = packed(&[("ä/1.png", &[7; 300], Deflated), ("b", b"two", Stored), ("empty", b"", Deflated)]);
        let wanted =
            vec![("ä/1.png".into(), vec![7; 300]), ("b".into(), b"two".to_vec()), ("empty".into(), Vec::new())];
        assert_eq!(read_all(&archive), Ok(wanted.clone()));
        assert_eq!(read_all(&[b"MZ a program", &archive[..]].concat()), Ok(wanted));
    }

    #[test]
    fn another_reader_reads_what_is_written() {
        let mut writer = ZipWriter::default();
        let files = [("one.png", &b"1"[..], 1), ("größe/2", &[2; 100], 64), ("3", b"", 64), ("4", b"4", 64)];
        for (name, contents, alignment) in files {
            writer.put(name, contents, alignment).expect("small enough");
        }
        let bytes = writer.finish().expect("small enough");
        let mut archive = zip::ZipArchive::new(Cursor::new(&bytes)).expect("an archive");
        assert_eq!(archive.len(), files.len());
        for (index, (name, contents, alignment)) in files.into_iter().enumerate() {
            let mut file = archive.by_index(index).expect("an entry");
            assert_eq!((file.name(), file.unix_mode()), (name, Some(0o100_644)));
            assert_eq!(file.data_start().expect("a place") % alignment as u64, 0, "{name}");
            let mut read = Vec::new();
            file.read_to_end(&mut read).expect("whole");
            assert_eq!(read, contents);
        }
        let own: Vec<_> = files.map(|(name, contents, _)| (name.to_owned(), contents.to_vec())).into();
        assert_eq!(read_all(&bytes), Ok(own));
    }

    #[test]
    fn more_files_than_the_old_record_counts_are_written_and_read() {
        let mut writer = ZipWriter::default();
        for number in 0..70_000 {
            writer.put(&number.to_string(), b"", 1).expect("small enough");
        }
        let bytes = writer.finish().expect("small enough");
        assert_eq!(zip::ZipArchive::new(Cursor::new(&bytes)).expect("an archive").len(), 70_000);
        let names = entries(&bytes).expect("an archive").map(|entry| entry.expect("an entry").name);
        assert!(names.eq((0..70_000).map(|number: u32| number.to_string())));
    }

    #[test]
    fn damage_is_told() {
        let archive = packed(&[("a", b"contents", zip::CompressionMethod::Stored)]);
        let place = archive.windows(8).position(|window| window == b"contents").expect("stored");
        let mut other = archive.clone();
        other[place] ^= 1;
        assert_eq!(read_all(&other), Err(ZipError::Checksum));
        for length in 0..archive.len() {
            assert!(read_all(&archive[..length]).is_err(), "{length}");
        }
        // Bits of the directory's entry: encrypted, compressed by LZMA.
        let entry = archive.windows(4).position(|window| window == ENTRY).expect("a directory");
        let changed = |at: usize, value: u8| {
            let mut bytes = archive.clone();
            bytes[entry + at] = value;
            read_all(&bytes)
        };
        assert_eq!(changed(8, 1), Err(ZipError::Encrypted));
        assert_eq!(changed(10, 14), Err(ZipError::Method(14)));
    }

    #[test]
    fn no_more_is_unpacked_than_allowed() {
        for method in [zip::CompressionMethod::Stored, zip::CompressionMethod::Deflated] {
            let archive = packed(&[("bomb", &[0; 100_000], method)]);
            let entry = entries(&archive).expect("an archive").next().expect("one").expect("an entry");
            assert_eq!(entry.read(&archive, 1000).expect("begun").len(), 1001);
        }
    }
}
