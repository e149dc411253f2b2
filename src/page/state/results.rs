//! The results: how many are kept, and how they leave as one zip.

use super::{Done, Effect, Halt, Job, Packing, Purpose, Reconstruction, Stage, State};
use crate::platform::names::lowercase;
use crate::protocol::{Command, Envelope};

/// The most results that are kept.
pub(super) const KEPT_RESULTS: usize = 500;
/// The most bytes of pictures that are kept: about 2,000 results of 256² or ten photos of 12 megapixels.
pub const KEPT_BYTES: u64 = 1_000_000_000;

/// The zip's name.
const ZIP: &str = "cyclegan-results.zip";

impl State {
    /// Bytes of pictures that are kept.
    pub fn kept_bytes(&self) -> u64 {
        self.results.iter().map(Done::bytes).sum()
    }

    pub(super) fn is_overfull(&self) -> bool {
        self.results.len() > KEPT_RESULTS || self.kept_bytes() > self.memory
    }

    /// A translation is done.
    pub(super) fn translated(
        &mut self,
        job: Job,
        size: (u32, u32),
        computed: [u32; 2],
        buffers: Vec<Vec<u8>>,
        milliseconds: f64,
        (device, mut notes): (String, Vec<String>),
    ) {
        let (width, height) = size;
        let mut buffers = buffers.into_iter();
        let (Some(before), Some(after)) = (buffers.next(), buffers.next()) else {
            let text = "The worker sent a result without its pictures. Please try again.";
            return self.picture_failed(&job.request.picture.name, text.into());
        };
        if let Purpose::Back(number) = job.request.purpose {
            let Some(done) = self.results.iter_mut().find(|done| done.number == number) else { return };
            let mean_absolute_error = mean_absolute_error(&done.before, &after);
            done.back = Some(Reconstruction { pixels: after, mean_absolute_error, milliseconds });
            // What can be tried again is the way there.
            self.request = Some(done.request.clone());
            self.stage = Stage::Done { number, back: true };
            return;
        }
        let model = self.model(&job.request.model);
        // What was assumed of the network may make every picture wrong.
        notes.extend(model.and_then(|model| model.info.as_ref()).into_iter().flat_map(|info| info.notes.clone()));
        let title = model.map(|model| model.listed.title.clone()).unwrap_or_default();
        let Job { number, request, .. } = job;
        self.stage = Stage::Done { number, back: false };
        self.picture_done();
        let back = None;
        let done =
            Done { number, request, title, width, height, computed, before, after, milliseconds, device, notes, back };
        self.keep(done);
    }

    /// Keeps a result. Old ones make room, but never those of the batch at work: it stops, and says so.
    pub(super) fn keep(&mut self, done: Done) {
        self.results.push(done);
        while self.results.len() > 1 && self.packing.is_none() && self.is_overfull() {
            let oldest = self.results[0].number;
            if self.batch.as_ref().is_some_and(|batch| !batch.is_paused && oldest > batch.since) {
                if !self.queue.is_empty() {
                    self.pause(None, Halt::Full);
                }
                return;
            }
            self.results.remove(0);
            self.forgotten += 1;
        }
    }

    /// Begins a zip of all results.
    pub(super) fn save_all(&mut self, effects: &mut Vec<Effect>) {
        if self.packing.is_some() || self.results.is_empty() {
            return;
        }
        self.wake_worker(effects);
        let names = zip_names(self.results.iter().map(|done| done.request.picture.name.as_str()));
        let entries = self.results.iter().map(|done| done.number).zip(names).collect();
        self.packing = Some(Packing { entries, packed: 0, strength: self.strength });
        self.pack_next(effects);
    }

    /// That many pictures are in the zip: sends the next one. One at a time, so that there are never two copies of all.
    pub(super) fn packed(&mut self, count: u32, effects: &mut Vec<Effect>) {
        if let Some(packing) = &mut self.packing {
            packing.packed = count as usize;
            self.pack_next(effects);
        }
    }

    fn pack_next(&mut self, effects: &mut Vec<Effect>) {
        let Some(packing) = &self.packing else { return };
        let Some((number, name)) = packing.entries.get(packing.packed) else { return };
        let Some(done) = self.done(*number) else { return };
        let command = Command::Pack {
            name: name.clone(),
            width: done.width,
            height: done.height,
            index: packing.packed as u32,
            count: packing.entries.len() as u32,
        };
        effects.push(Effect::Send(Envelope::with(command, vec![done.shown(packing.strength)])));
    }

    /// The zip is here.
    pub(super) fn zipped(&mut self, bytes: Vec<u8>, effects: &mut Vec<Effect>) {
        if self.packing.take().is_some() {
            effects.push(Effect::SaveFile { name: ZIP.into(), bytes });
        }
    }
}

/// Names of PNG files after those of the originals, no two alike, on systems that take A for a, too.
fn zip_names<'a>(originals: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut taken = std::collections::HashSet::new();
    originals
        .map(|original| {
            let plain = original.replace(['/', '\\', ':'], "-");
            let stem = plain.rsplit_once('.').map_or(plain.as_str(), |(stem, _)| stem);
            let stem = if stem.is_empty() { "picture" } else { stem };
            let numbered = (1..).map(|number: u32| match number {
                1 => [stem, ".png"].concat(),
                _ => [stem, "-", &number.to_string(), ".png"].concat(),
            });
            numbered.into_iter().find(|name| taken.insert(lowercase(name))).unwrap_or_default()
        })
        .collect()
}

/// Mean absolute difference of the colours of two RGBA8 pictures of one size, in levels of 0–255.
fn mean_absolute_error(a: &[u8], b: &[u8]) -> f64 {
    let pixels = a.chunks_exact(4).zip(b.chunks_exact(4));
    let sum: u64 = pixels.map(|(a, b)| (0..3).map(|c| u64::from(a[c].abs_diff(b[c]))).sum::<u64>()).sum();
    sum as f64 / (a.len() / 4 * 3).max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::zip_names;

    #[test]
    fn files_in_the_zip_are_named_after_the_originals_and_numbered() {
        let originals =
            ["photo.jpg", "photo.webp", "Photo.JPG", "photo-2.png", "a.b.tiff", "plain", ".jpg", "x/../y.png"];
        let names = zip_names(originals.into_iter());
        let expected = [
            "photo.png",
            "photo-2.png",
            "Photo-3.png",
            "photo-2-2.png",
            "a.b.png",
            "plain.png",
            "picture.png",
            "x-..-y.png",
        ];
        assert_eq!(names, expected);
    }
}
