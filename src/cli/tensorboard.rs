//! Event files for TensorBoard, beside the other records of a run.
//!
//! A file is a row of records: the length, its checksum, an `Event` of TensorFlow's `event.proto`, its checksum
//! (<https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details>).

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::protobuf::Message;

/// An event file that grows.
pub struct EventFile(File);

impl EventFile {
    /// Begins a new file in `folder`; TensorBoard reads all of a folder's files as one run.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn create(folder: &Path) -> io::Result<Self> {
        let name = format!("events.out.tfevents.{:.0}.{}.cyclegan", now(), std::process::id());
        let mut file = Self(File::create(folder.join(name))?);
        file.write(Message::default().text(3, "brain.Event:2"))?;
        Ok(file)
    }

    /// Adds values of a step, each with its name.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn scalars(&mut self, step: u64, values: &[(&str, f32)]) -> io::Result<()> {
        let value = |&(tag, value): &(&str, f32)| Message::default().text(1, tag).float(2, value);
        self.summary(step, values.iter().map(value))
    }

    /// Adds a PNG file of a step.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn picture(&mut self, step: u64, tag: &str, [width, height]: [u32; 2], png: &[u8]) -> io::Result<()> {
        // Colourspace 4 is RGBA.
        let picture = Message::default().int(1, height.into()).int(2, width.into()).int(3, 4).bytes(4, png);
        self.summary(step, [Message::default().text(1, tag).message(4, picture)])
    }

    fn summary(&mut self, step: u64, values: impl IntoIterator<Item = Message>) -> io::Result<()> {
        let summary = values.into_iter().fold(Message::default(), |summary, value| summary.message(1, value));
        self.write(Message::default().int(2, step as i64).message(5, summary))
    }

    fn write(&mut self, event: Message) -> io::Result<()> {
        let Message(event) = event.double(1, now());
        let length = (event.len() as u64).to_le_bytes();
        // One write a record: whoever reads meanwhile sees whole ones.
        let record = [&length[..], &checksum(&length), &event, &checksum(&event)].concat();
        self.0.write_all(&record)
    }
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

/// CRC-32C, rotated and shifted so that a checksum of data that holds checksums is none of them.
fn checksum(bytes: &[u8]) -> [u8; 4] {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_framed_and_summed_up() {
        let folder = std::env::temp_dir().join(format!("cyclegan-tensorboard-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        let mut file = EventFile::create(&folder).expect("a new file");
        file.scalars(7, &[("loss/cycle", 0.5), ("rate", 2e-4)]).expect("it can be written");
        file.picture(7, "preview", [1, 1], b"png").expect("it can be written");
        let path = std::fs::read_dir(&folder).expect("a folder").next().expect("a file").expect("an entry").path();
        let bytes = std::fs::read(&path).expect("the file");
        std::fs::remove_dir_all(&folder).expect("it is ours");
        let mut rest = &bytes[..];
        let mut events = Vec::new();
        while let Some((length, tail)) = rest.split_first_chunk::<8>() {
            assert_eq!(tail[..4], checksum(length));
            let (event, tail) = tail[4..].split_at(u64::from_le_bytes(*length) as usize);
            assert_eq!(tail[..4], checksum(event));
            events.push(event);
            rest = &tail[4..];
        }
        assert_eq!(events.len(), 3);
        let holds = |event: &[u8], text: &[u8]| event.windows(text.len()).any(|window| window == text);
        assert!(holds(events[0], b"brain.Event:2"));
        assert!(holds(events[1], b"loss/cycle") && holds(events[1], &0.5_f32.to_le_bytes()));
        assert!(holds(events[2], b"preview") && holds(events[2], b"png"));
    }

    #[test]
    fn the_checksum_is_the_one_of_the_format() {
        // CRC-32C of "123456789" is 0xE3069283 (RFC 3720, appendix B.4 has the polynomial).
        let expected = 0xE306_9283_u32.rotate_right(15).wrapping_add(0xa282_ead8);
        assert_eq!(checksum(b"123456789"), expected.to_le_bytes());
    }
}
