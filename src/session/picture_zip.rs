//! Results packed into a zip of PNG files, one picture at a time.

use crate::image::Picture;
use crate::platform::zip::ZipWriter;

/// The zip under way; only one at a time.
#[derive(Default)]
pub struct PictureZip(Option<ZipWriter>);

impl PictureZip {
    /// Adds the picture at `index` of `count`; the zip's bytes after the last. Index 0 begins a new zip.
    /// The error is a sentence, and the end of this zip.
    pub fn add(&mut self, name: &str, picture: &Picture, index: u32, count: u32) -> Result<Option<Vec<u8>>, String> {
        let mut writer = match self.0.take() {
            _ if index == 0 => ZipWriter::default(),
            Some(writer) => writer,
            None => return Err("The zip was not complete. Please save it again.".into()),
        };
        let failed = |reason: String| format!("{name} could not be packed: {}.", reason.trim_end_matches('.'));
        let file = picture.encode_png().map_err(|error| failed(error.to_string()))?;
        writer.put(name, &file, 1).map_err(|error| failed(error.to_string()))?;
        if index + 1 < count {
            self.0 = Some(writer);
            return Ok(None);
        }
        writer.finish().map(Some).map_err(|error| failed(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Read};

    use super::*;

    #[test]
    fn pictures_come_out_as_they_went_in() {
        let pictures = [Picture::filled(3, 2, [9, 8, 7, 255]), Picture::filled(1, 4, [1, 2, 3, 128])];
        let mut zip = PictureZip::default();
        assert_eq!(zip.add("left over.png", &pictures[0], 0, 9), Ok(None));
        assert_eq!(zip.add("zèbre.png", &pictures[0], 0, 2), Ok(None), "index 0 begins anew");
        let bytes = zip.add("b.png", &pictures[1], 1, 2).expect("it can be written").expect("it is complete");
        let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).expect("a zip");
        assert_eq!(archive.len(), 2);
        for (index, name) in ["zèbre.png", "b.png"].into_iter().enumerate() {
            let mut file = archive.by_index(index).expect("it is there");
            assert_eq!((file.name(), file.compression()), (name, zip::CompressionMethod::Stored));
            let mut png = Vec::new();
            file.read_to_end(&mut png).expect("it can be read");
            assert_eq!(Picture::decode(&png).expect("a PNG"), pictures[index]);
        }
    }

    #[test]
    fn a_zip_without_a_beginning_is_refused() {
        let picture = Picture::filled(1, 1, [0; 4]);
        assert!(PictureZip::default().add("a.png", &picture, 1, 2).is_err());
        let broken = Picture { width: 2, ..picture };
        assert!(PictureZip::default().add("a.png", &broken, 0, 1).is_err_and(|text| text.starts_with("a.png")));
    }
}
