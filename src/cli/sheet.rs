//! Several pictures on one.

use crate::image::Picture;

/// Pixels between pictures.
const GAP: u32 = 4;

/// Pictures in columns; the rows are broken into `groups` side by side.
pub struct Rows {
    /// One list of pictures a column, all of one length; smaller pictures stand in the corner of their place.
    pub columns: Vec<Vec<Picture>>,
    /// Groups of columns next to each other.
    pub groups: usize,
}

/// One picture of them all, on white.
pub fn sheet(Rows { columns, groups }: Rows) -> Picture {
    let count = columns.iter().map(Vec::len).max().unwrap_or(0);
    let all = || columns.iter().flatten();
    let width = all().map(|picture| picture.width).max().unwrap_or(0);
    let height = all().map(|picture| picture.height).max().unwrap_or(0);
    let rows = count.div_ceil(groups.max(1)).max(1);
    let across = (columns.len() * groups.max(1)) as u32;
    // Groups stand three gaps apart, pictures one.
    let left = |column: u32, group: u32| GAP + column * (width + GAP) + group * 3 * GAP;
    let sheet_width = left(across, groups.max(1) as u32 - 1);
    let mut sheet = Picture::filled(sheet_width, GAP + rows as u32 * (height + GAP), [255; 4]);
    for (column, pictures) in columns.iter().enumerate() {
        for (index, picture) in pictures.iter().enumerate() {
            let (group, row) = (index / rows, (index % rows) as u32);
            let x = left((group * columns.len() + column) as u32, group as u32);
            paste(&mut sheet, picture, x, GAP + row * (height + GAP));
        }
    }
    sheet
}

fn paste(sheet: &mut Picture, picture: &Picture, x: u32, y: u32) {
    for (row, line) in picture.pixels.chunks_exact(4 * picture.width as usize).enumerate() {
        let start = 4 * ((y as usize + row) * sheet.width as usize + x as usize);
        sheet.pixels[start..start + line.len()].copy_from_slice(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_picture_stands_where_its_row_and_column_are() {
        let colour = |value: u8| Picture::filled(8, 8, [value, 0, 0, 255]);
        let columns = vec![vec![colour(1), colour(2), colour(3)], vec![colour(4), colour(5), colour(6)]];
        let sheet = sheet(Rows { columns, groups: 2 });
        assert_eq!((sheet.width, sheet.height), (4 + 4 * 12 + 12, 4 + 2 * 12));
        let at = |x, y| sheet.pixel(x, y).map(|pixel| pixel[0]);
        assert_eq!(at(5, 5), Some(1));
        assert_eq!(at(5, 17), Some(2));
        assert_eq!(at(17, 17), Some(5));
        assert_eq!(at(28 + 12, 5), Some(3));
        assert_eq!(at(0, 0), Some(255));
    }
}
