//! Pictures of a training under way: what its generators make of a few fixed ones.

use burn::tensor::backend::AutodiffBackend;

use super::Host;
use super::planes::{to_picture, to_tensor};
use super::training_run::TrainingRun;
use crate::data::{Recipe, Source};
use crate::image::Picture;
use crate::kernels::Kernels;
use crate::protocol::{Envelope, Event, PreviewCell};

impl<A> TrainingRun<A>
where
    A: AutodiffBackend + Kernels,
    A::InnerBackend: Kernels,
{
    /// Real, translated and reconstructed test pictures (training ones where there are no others).
    pub(super) async fn preview<H: Host>(&self, host: &H, device: &A::Device) {
        let recipe = Recipe::new(&self.trainer.config);
        let fixed = |test: &[Source], train: &[Source]| {
            spread(if test.is_empty() { train } else { test }, self.rows as usize)
                .into_iter()
                .map(|picture| recipe.fixed(picture))
                .collect::<Vec<_>>()
        };
        let generators = self.trainer.frozen_generators();
        let (mut cells, mut buffers) = (Vec::new(), Vec::new());
        let sides = [
            (
                fixed(&self.dataset.test_a, &self.dataset.train_a),
                Some(&generators.ab),
                generators.ba.as_ref(),
                ["real_a", "fake_b", "rec_a"],
            ),
            (
                fixed(&self.dataset.test_b, &self.dataset.train_b),
                generators.ba.as_ref(),
                Some(&generators.ab),
                ["real_b", "fake_a", "rec_b"],
            ),
        ];
        for (pictures, there, back, kinds) in sides {
            // One-sided, there are the translations of A.
            let Some(there) = there else { continue };
            for (row, real) in pictures.into_iter().enumerate() {
                let fake = there.forward(to_tensor(&real, device));
                let rec = back.map(|back| back.forward(fake.clone()));
                let mut shown = vec![real];
                for made in std::iter::once(fake).chain(rec) {
                    let Some(made) = to_picture(made).await else { return };
                    shown.push(made);
                }
                for (kind, picture) in kinds.into_iter().zip(shown) {
                    let Picture { width, height, pixels } = picture;
                    cells.push(PreviewCell { kind: kind.into(), row: row as u32, width, height });
                    buffers.push(pixels);
                }
                host.breathe().await;
            }
        }
        host.emit(Envelope::with(Event::Preview { step: self.trainer.step, cells }, buffers));
    }
}

/// As many pictures at even distances: neighbours in a list are often alike. In place of one that cannot be read the next one.
fn spread(sources: &[Source], count: usize) -> Vec<Picture> {
    let parts = (0..count).map(|part| &sources[part * sources.len() / count..(part + 1) * sources.len() / count]);
    parts
        .filter_map(|part| {
            let (before, after) = part.split_at(part.len() / 2);
            after.iter().chain(before).find_map(|source| source.picture().ok())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn previews_show_pictures_from_the_whole_list() {
        let file = |level| Picture::filled(1, 1, [level, 0, 0, 255]).encode_png().expect("a picture");
        let mut sources: Vec<_> = (0..30).map(|level| Source::from_bytes(level.to_string(), file(level))).collect();
        sources[15] = Source::from_bytes("broken".into(), b"no picture".to_vec());
        let levels = |sources: &[Source], count| -> Vec<u8> {
            spread(sources, count).iter().map(|picture| picture.pixels[0]).collect()
        };
        assert_eq!(levels(&sources, 3), [5, 16, 25]);
        assert_eq!(levels(&sources[..2], 3), [0, 1], "no picture twice");
        assert!(levels(&[], 3).is_empty());
    }
}
