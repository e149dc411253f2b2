//! The directory of a TIFF file.

use std::collections::HashMap;

use super::{FORMAT, broken};
use crate::image::ImageError;

/// Numbers of the tags that count.
pub mod tag {
    pub const WIDTH: u16 = 256;
    pub const HEIGHT: u16 = 257;
    pub const BITS: u16 = 258;
    pub const COMPRESSION: u16 = 259;
    pub const PHOTOMETRIC: u16 = 262;
    pub const FILL_ORDER: u16 = 266;
    pub const STRIP_OFFSETS: u16 = 273;
    pub const ORIENTATION: u16 = 274;
    pub const SAMPLES: u16 = 277;
    pub const ROWS_PER_STRIP: u16 = 278;
    pub const STRIP_BYTES: u16 = 279;
    pub const PLANAR: u16 = 284;
    pub const T4_OPTIONS: u16 = 292;
    pub const PREDICTOR: u16 = 317;
    pub const COLOUR_MAP: u16 = 320;
    pub const TILE_WIDTH: u16 = 322;
    pub const TILE_HEIGHT: u16 = 323;
    pub const TILE_OFFSETS: u16 = 324;
    pub const TILE_BYTES: u16 = 325;
    pub const INK_SET: u16 = 332;
    pub const EXTRA_SAMPLES: u16 = 338;
    pub const SAMPLE_FORMAT: u16 = 339;
    pub const JPEG_TABLES: u16 = 347;
    pub const SUBSAMPLING: u16 = 530;
    pub const ICC_PROFILE: u16 = 34675;
}

/// The tags of the first picture.
pub struct Tags<'a> {
    /// Of each tag its type and its bytes.
    entries: HashMap<u16, (u16, &'a [u8])>,
    /// Whether the low byte of a number comes first.
    pub is_little: bool,
}

fn number(bytes: &[u8], is_little: bool) -> u64 {
    let add = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
    if is_little { bytes.iter().rev().fold(0, add) } else { bytes.iter().fold(0, add) }
}

/// Bytes of a value of a type; 0 for unknown types.
fn width(kind: u16) -> usize {
    match kind {
        1 | 2 | 6 | 7 => 1,
        3 | 8 => 2,
        4 | 9 | 11 | 13 => 4,
        5 | 10 | 12 | 16..=18 => 8,
        _ => 0,
    }
}

impl<'a> Tags<'a> {
    /// Reads the first directory of a classic or a big TIFF file.
    pub fn read(bytes: &'a [u8]) -> Result<Self, ImageError> {
        let truncated = || ImageError::Truncated { format: FORMAT };
        let part = |at: u64, length: u64| -> Result<&'a [u8], ImageError> {
            let end = at.checked_add(length).and_then(|end| usize::try_from(end).ok()).ok_or_else(truncated)?;
            bytes.get(at as usize..end).ok_or_else(truncated)
        };
        let is_little = bytes.first() == Some(&b'I');
        let at = |place: u64, length: u64| Ok(number(part(place, length)?, is_little));
        let is_big = at(2, 2)? == 43;
        // Bytes of an offset, of the number of entries and of an entry.
        let (offset, count, entry) = if is_big { (8, 8, 20) } else { (4, 2, 12) };
        let directory = at(if is_big { 8 } else { 4 }, offset)?;
        let entries = at(directory, count)?;
        if directory == 0 || entries == 0 || entries > 4096 {
            return Err(broken("it has no picture"));
        }
        let mut found = HashMap::new();
        for index in 0..entries {
            let place = directory + count + entry * index;
            let (name, kind) = (at(place, 2)? as u16, at(place + 2, 2)? as u16);
            let length = at(place + 4, offset)?.saturating_mul(width(kind) as u64);
            let inside = place + 4 + offset;
            let from = if length <= offset { inside } else { at(inside, offset)? };
            // What nobody asks for need not be whole.
            if let Ok(value) = part(from, length) {
                found.entry(name).or_insert((kind, value));
            }
        }
        Ok(Self { entries: found, is_little })
    }

    /// A tag's bytes.
    pub fn bytes(&self, name: u16) -> Option<&'a [u8]> {
        self.entries.get(&name).map(|(_, bytes)| *bytes).filter(|bytes| !bytes.is_empty())
    }

    /// A tag's whole numbers.
    pub fn numbers(&self, name: u16) -> Option<Vec<u64>> {
        let (kind, bytes) = self.entries.get(&name)?;
        let width = width(*kind);
        let fits = matches!(kind, 1 | 3 | 4 | 6..=9 | 13 | 16..=18) && !bytes.is_empty();
        fits.then(|| bytes.chunks_exact(width).map(|value| number(value, self.is_little)).collect())
    }

    /// A tag's first whole number.
    pub fn number(&self, name: u16) -> Option<u64> {
        self.numbers(name)?.first().copied()
    }
}
