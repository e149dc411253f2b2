//! Pictures in a zip file, unpacked one at a time.

use std::io::{Cursor, Write};
use std::sync::Arc;

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use super::source::read_bounded;
use super::{DataError, Source, names};

/// The most entries that are read, folders and all.
const MAX_ENTRIES: usize = 200_000;

/// Images hardly shrink in a zip: an archive that claims to unpack to more than this many times
/// its size, and to more than a gigabyte, is a bomb.
const MAX_RATIO: u64 = 100;
const ALWAYS_ALLOWED: u64 = 1 << 30;

/// The archive's bytes, shared by all of its entries.
#[derive(Clone, Debug)]
struct Shared(Arc<Vec<u8>>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// One entry of an archive; cheap to clone.
#[derive(Clone, Debug)]
pub struct Entry {
    archive: ZipArchive<Cursor<Shared>>,
    index: usize,
}

impl Entry {
    /// Unpacks it.
    pub fn read(&self) -> Result<Vec<u8>, DataError> {
        // Reading moves the cursor: a clone shares the bytes and the directory, and moves its own.
        let mut archive = self.archive.clone();
        let file = archive.by_index(self.index).map_err(|error| DataError::File { reason: plain(&error) })?;
        let size = file.size();
        read_bounded(file, size)
    }
}

/// Every visible file of a zip archive, by its cleaned name; nothing is unpacked yet.
pub fn sources(bytes: Vec<u8>) -> Result<Vec<Source>, DataError> {
    let not_a_zip = |error: &zip::result::ZipError| DataError::NotAZip { reason: plain(error) };
    let packed = bytes.len() as u64;
    check_claims(&bytes)?;
    let mut archive = ZipArchive::new(Cursor::new(Shared(Arc::new(bytes)))).map_err(|error| not_a_zip(&error))?;
    if archive.len() > MAX_ENTRIES {
        return Err(DataError::TooManyEntries { entries: archive.len(), limit: MAX_ENTRIES });
    }
    let mut found = Vec::new();
    let mut unpacked = 0_u64;
    for index in 0..archive.len() {
        let file = archive.by_index_raw(index).map_err(|error| not_a_zip(&error))?;
        unpacked = unpacked.saturating_add(file.size());
        if file.is_file() && !names::is_hidden(file.name()) {
            found.push((names::clean(file.name()), index));
        }
    }
    if unpacked > ALWAYS_ALLOWED.max(packed.saturating_mul(MAX_RATIO)) {
        return Err(DataError::ZipBomb { packed, unpacked });
    }
    let source = |(name, index)| Source::from_entry(name, Entry { archive: archive.clone(), index });
    Ok(found.into_iter().map(source).collect())
}

/// An entry takes at least so many bytes in an archive's directory.
const LEAST_ENTRY_BYTES: u64 = 46;

/// Refuses an archive that says it has more entries than are read or than it has room for: the reader would take memory
/// for them before it looks at the first.
fn check_claims(bytes: &[u8]) -> Result<(), DataError> {
    let number = |record: &[u8], at: usize, width: usize| {
        let field = record.get(at..at + width).unwrap_or_default();
        field.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
    };
    // What closes an archive may be followed by anything, and the reader looks for it everywhere. The record of a large
    // archive is one if its locator follows.
    for (at, four) in bytes.windows(4).enumerate().filter(|(_, four)| four.starts_with(b"PK")) {
        let record = &bytes[at..];
        let claimed = match four {
            b"PK\x05\x06" => number(record, 10, 2).max(number(record, 8, 2)),
            b"PK\x06\x06" => {
                let end = usize::try_from(number(record, 4, 8)).unwrap_or(usize::MAX).saturating_add(12);
                let is_one = record.get(end..).is_some_and(|rest| rest.starts_with(b"PK\x06\x07"));
                if is_one { number(record, 32, 8).max(number(record, 24, 8)) } else { 0 }
            }
            _ => 0,
        };
        // What stands for "see the large record".
        let claimed = if claimed == 0xFFFF && four == b"PK\x05\x06" { 0 } else { claimed };
        if claimed > MAX_ENTRIES as u64 {
            let entries = usize::try_from(claimed).unwrap_or(usize::MAX);
            return Err(DataError::TooManyEntries { entries, limit: MAX_ENTRIES });
        }
        if claimed.saturating_mul(LEAST_ENTRY_BYTES) > bytes.len() as u64 {
            return Err(DataError::NotAZip {
                reason: format!("it says it has {claimed} entries, more than fit into it"),
            });
        }
    }
    Ok(())
}

/// A zip of two piles of files. Read again it gives the same piles in the same order, whatever the files' names.
///
/// # Errors
/// [`DataError::File`] when it grows too large for a zip.
pub fn pack(a: &[String], b: &[String], files: &[Vec<u8>]) -> Result<Vec<u8>, DataError> {
    let failed = |error: zip::result::ZipError| DataError::File { reason: plain(&error) };
    // Pictures are compressed already.
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let numbered = |(pile, names): (&'static str, &[String])| -> Vec<String> {
        let name = |(number, name): (usize, &String)| {
            // The folders in it would say in which pile it lies.
            let short = name.rsplit(['/', '\\']).next().unwrap_or_default();
            let short = if names::is_hidden(name) { ".hidden" } else { short };
            // What counts as an image by its place in a pile has to count by its name from now on.
            let ending = if names::is_image(short) { "" } else { ".png" };
            format!("{pile}/{number:06}/{}{ending}", names::clean(short))
        };
        names.iter().enumerate().map(name).collect()
    };
    let names = [("trainA", a), ("trainB", b)].into_iter().flat_map(numbered);
    for (name, file) in names.zip(files) {
        writer.start_file(name, options).map_err(failed)?;
        writer.write_all(file).map_err(|error| failed(error.into()))?;
    }
    Ok(writer.finish().map_err(failed)?.into_inner())
}

fn plain(error: &zip::result::ZipError) -> String {
    error.to_string().trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::UnpairedDataset;
    use crate::image::Picture;

    fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        for (index, (name, bytes)) in files.iter().enumerate() {
            let method = [CompressionMethod::Deflated, CompressionMethod::Stored][index % 2];
            let options = SimpleFileOptions::default().compression_method(method);
            writer.start_file(*name, options).expect("an entry can be begun");
            writer.write_all(bytes).expect("an entry can be written");
        }
        writer.finish().expect("the archive can be ended").into_inner()
    }

    #[test]
    fn hidden_files_are_left_out_and_names_are_cleaned() {
        let bytes = zip(&[
            ("set/trainA/1.png", b"one"),
            ("__MACOSX/set/trainA/._1.png", b"fork"),
            ("set/trainA/.DS_Store", b"folder"),
            ("../../trainB/2.png", b"two"),
        ]);
        let found = sources(bytes).expect("a good archive");
        let names: Vec<_> = found.iter().map(|source| source.name.as_str()).collect();
        assert_eq!(names, ["set/trainA/1.png", "trainB/2.png"]);
    }

    #[test]
    fn entries_are_unpacked_stored_or_deflated() {
        let bytes = zip(&[("a.png", b"aaaaaaaaaaaaaaaaaaaaaaaa"), ("b.png", b"b")]);
        let archive = ZipArchive::new(Cursor::new(Shared(Arc::new(bytes)))).expect("a good archive");
        let read = |index| Entry { archive: archive.clone(), index }.read();
        assert_eq!(read(0).as_deref(), Ok(&b"aaaaaaaaaaaaaaaaaaaaaaaa"[..]));
        assert_eq!(read(1).as_deref(), Ok(&b"b"[..]));
    }

    #[test]
    fn packed_piles_are_the_same_piles() {
        let owned = |names: [&str; 3]| names.map(String::from).to_vec();
        let (a, b) = (owned(["z.png", "a", "m.jpg"]), owned(["2.png", ".DS_Store", "trainA/1.png"]));
        let file = |level| Picture::filled(1, 1, [level, 0, 0, 255]).encode_png().expect("a picture");
        let files: Vec<Vec<u8>> = (0..6).map(file).collect();
        let pile = |names: &[String], files: &[Vec<u8>]| names.iter().cloned().zip(files.iter().cloned()).collect();
        let piles = UnpairedDataset::from_piles(pile(&a, &files[..3]), pile(&b, &files[3..])).expect("two piles");
        let packed = pack(&a, &b, &files).expect("small enough");
        let packed = UnpairedDataset::from_zip(packed).expect("a good archive");
        let levels = |pile: &[Source]| -> Vec<u8> {
            pile.iter().map(|source| source.picture().expect("a picture").pixels[0]).collect()
        };
        assert_eq!(
            (levels(&packed.train_a), levels(&packed.train_b)),
            (levels(&piles.train_a), levels(&piles.train_b))
        );
        assert_eq!((packed.train_a.len(), packed.train_b.len()), (3, 2));
    }

    #[test]
    fn what_is_no_archive_or_a_cut_one_is_refused() {
        let whole = zip(&[("trainA/1.png", &[7; 5000]), ("trainB/1.png", &[8; 5000])]);
        for bytes in [&b""[..], b"just text", &whole[..whole.len() - 30], &whole[..100]] {
            assert!(matches!(sources(bytes.to_vec()), Err(DataError::NotAZip { .. })));
        }
    }

    #[test]
    fn more_entries_than_fit_are_refused_before_memory_is_taken() {
        let whole = zip(&[("trainA/1.png", &[0; 100])]);
        let end = whole.len() - 22;
        let mut many = whole.clone();
        many[end + 8..end + 12].copy_from_slice(&[0xFE, 0xFF, 0xFE, 0xFF]);
        assert!(matches!(sources(many), Err(DataError::NotAZip { reason }) if reason.contains("65534 entries")));
        // The records of a large archive before the usual one.
        let mut large = whole[..end].to_vec();
        large.extend(b"PK\x06\x06");
        large.extend(44_u64.to_le_bytes());
        large.extend([45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        for field in [1 << 40, 1 << 40, 60_u64, 0] {
            large.extend(field.to_le_bytes());
        }
        large.extend(b"PK\x06\x07\0\0\0\0");
        large.extend((end as u64).to_le_bytes());
        large.extend([1, 0, 0, 0]);
        large.extend(&whole[end..end + 8]);
        large.extend([0xFF; 12]);
        large.extend([0, 0]);
        let refused = Some(DataError::TooManyEntries { entries: 1 << 40, limit: MAX_ENTRIES });
        assert_eq!(sources(large.clone()).err(), refused);
        // Somewhere before what the locator says, and with much behind it.
        let moved = [&vec![7; 3 << 16], &large[..], &vec![8; 3 << 16]].concat();
        assert_eq!(sources(moved).err(), refused);
    }

    #[test]
    fn an_archive_that_claims_too_much_is_refused_before_it_is_unpacked() {
        let mut bytes = zip(&[("trainA/1.png", &[0; 100])]);
        // The uncompressed size stands 24 bytes into the entry of the central directory.
        let directory = bytes.windows(4).position(|four| four == b"PK\x01\x02").expect("a directory");
        bytes[directory + 24..directory + 28].copy_from_slice(&0xF000_0000_u32.to_le_bytes());
        assert!(matches!(sources(bytes), Err(DataError::ZipBomb { unpacked: 0xF000_0000, .. })));
    }
}
