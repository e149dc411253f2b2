//! Pictures in a zip file, unpacked one at a time.

use std::sync::Arc;

use super::source::MAX_FILE_BYTES;
use super::{DataError, Source, names};
use crate::platform::zip::{self, ZipError, ZipWriter};

/// The most entries that are read, folders and all.
const MAX_ENTRIES: u64 = 200_000;

/// Images hardly shrink in a zip: an archive that claims to unpack to more than this many times
/// its size, and to more than a gigabyte, is a bomb.
const MAX_RATIO: u64 = 100;
const ALWAYS_ALLOWED: u64 = 1 << 30;

/// One entry of an archive; cheap to clone.
#[derive(Clone, Debug)]
pub struct Entry {
    archive: Arc<Vec<u8>>,
    entry: zip::Entry,
}

impl Entry {
    /// Unpacks it.
    pub fn read(&self) -> Result<Vec<u8>, DataError> {
        let too_large = |bytes| Err(DataError::FileTooLarge { bytes });
        if self.entry.unpacked > MAX_FILE_BYTES {
            return too_large(self.entry.unpacked);
        }
        let bytes = self.entry.read(&self.archive, MAX_FILE_BYTES);
        let bytes = bytes.map_err(|error| DataError::File { reason: error.to_string() })?;
        if bytes.len() as u64 > MAX_FILE_BYTES { too_large(bytes.len() as u64) } else { Ok(bytes) }
    }
}

/// Every visible file of a zip archive, by its cleaned name; nothing is unpacked yet.
pub fn sources(bytes: Vec<u8>) -> Result<Vec<Source>, DataError> {
    let not_a_zip = |error: ZipError| DataError::NotAZip { reason: error.to_string() };
    let too_many = |entries| DataError::TooManyEntries { entries, limit: MAX_ENTRIES };
    let archive = Arc::new(bytes);
    let entries = match zip::entries(&archive) {
        Err(ZipError::Claims(entries)) if entries > MAX_ENTRIES => return Err(too_many(entries)),
        entries => entries.map_err(not_a_zip)?,
    };
    if entries.claimed() > MAX_ENTRIES {
        return Err(too_many(entries.claimed()));
    }
    let mut found = Vec::new();
    let mut unpacked = 0_u64;
    for entry in entries {
        let entry = entry.map_err(not_a_zip)?;
        unpacked = unpacked.saturating_add(entry.unpacked);
        if !entry.name.ends_with(['/', '\\']) && !names::is_hidden(&entry.name) {
            let name = names::clean(&entry.name);
            found.push(Source::from_entry(name, Entry { archive: Arc::clone(&archive), entry }));
        }
    }
    let packed = archive.len() as u64;
    if unpacked > ALWAYS_ALLOWED.max(packed.saturating_mul(MAX_RATIO)) {
        return Err(DataError::ZipBomb { packed, unpacked });
    }
    Ok(found)
}

/// A zip of two piles of files. Read again it gives the same piles in the same order, whatever the files' names.
///
/// # Errors
/// [`DataError::File`] when it grows too large for a zip.
pub fn pack(a: &[String], b: &[String], files: &[Vec<u8>]) -> Result<Vec<u8>, DataError> {
    let failed = |error: ZipError| DataError::File { reason: error.to_string() };
    let mut writer = ZipWriter::default();
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
        writer.put(&name, file, 1).map_err(failed)?;
    }
    writer.finish().map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use ::zip::write::SimpleFileOptions;
    use ::zip::{CompressionMethod, ZipWriter};

    use super::{DataError, MAX_ENTRIES, Source, pack, sources};
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
        let refused = sources(large);
        assert_eq!(refused.err(), Some(DataError::TooManyEntries { entries: 1 << 40, limit: MAX_ENTRIES }));
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
