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
    /// Real, translated and reconstructed pictures of the first test pairs (training ones where there are no others).
    pub(super) async fn preview<H: Host>(&self, host: &H, device: &A::Device) {
        let recipe = Recipe::new(&self.trainer.config);
        let fixed = |test: &[Source], train: &[Source]| -> Vec<Picture> {
            let chosen = if test.is_empty() { train } else { test };
            let decoded = chosen.iter().filter_map(|source| source.picture().ok());
            decoded.take(self.rows as usize).map(|picture| recipe.fixed(picture)).collect()
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
