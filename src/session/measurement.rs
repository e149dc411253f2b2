//! How good the generators of a training under way are, measured on pictures that it does not train on.

use burn::tensor::backend::AutodiffBackend;

use super::Host;
use super::planes::{to_picture, to_tensor};
use super::training_run::TrainingRun;
use crate::data::{Recipe, Source, UnpairedDataset};
use crate::evaluate;
use crate::image::Picture;
use crate::kernels::Kernels;
use crate::protocol::{Direction, Envelope, Event, Quality};
use crate::weights::Storage;

/// Pictures of each domain that the generators are measured on.
const MEASURED: usize = 24;

impl<A> TrainingRun<A>
where
    A: AutodiffBackend + Kernels,
    A::InnerBackend: Kernels,
{
    /// Measures the generators on held-out pictures, where there are any.
    pub(super) async fn measure<H: Host>(&mut self, host: &H, device: &A::Device) -> Result<(), String> {
        let held_out = HeldOut::of(&self.dataset, Recipe::new(&self.trainer.config));
        if held_out.a.is_empty() || held_out.b.is_empty() {
            return Ok(());
        }
        let lost = || "The device was lost while the generators were measured.".to_string();
        let generators = self.trainer.frozen_generators();
        let sides = [
            (&held_out.a, &held_out.b, Some(&generators.ab), generators.ba.as_ref()),
            (&held_out.b, &held_out.a, generators.ba.as_ref(), Some(&generators.ab)),
        ];
        let mut quality = Quality::default();
        for (side, (pictures, others, there, back)) in sides.into_iter().enumerate() {
            let Some(there) = there else { continue };
            let mut paired = 0.0;
            let mut fakes = Vec::new();
            let mut cycle = 0.0;
            for real in pictures {
                let fake = there.forward(to_tensor(real, device));
                if let Some(back) = back {
                    let rec = to_picture(back.forward(fake.clone())).await.ok_or_else(lost)?;
                    cycle += evaluate::ssim(real, &rec).map_err(|error| error.to_string())?;
                }
                fakes.push(to_picture(fake).await.ok_or_else(lost)?);
                host.breathe().await;
            }
            let distance = evaluate::sliced_wasserstein(&fakes, others, 0).map_err(|error| error.to_string())?;
            if held_out.is_paired {
                for (fake, other) in fakes.iter().zip(others) {
                    paired += evaluate::ssim(fake, other).map_err(|error| error.to_string())? / fakes.len() as f64;
                }
            }
            quality.cycle_ssim[side] = back.map(|_| (cycle / fakes.len() as f64) as f32);
            quality.distance[side] = Some(distance as f32);
            if held_out.is_paired {
                quality.paired_ssim.get_or_insert_default()[side] = Some(paired as f32);
            }
        }
        let distances = || quality.distance.iter().flatten();
        let mean = distances().sum::<f32>() / distances().count() as f32;
        let is_best = mean.is_finite() && self.trainer.best.is_none_or(|best| mean < best);
        let directions = [Direction::AtoB, Direction::BtoA];
        let mut buffers = Vec::new();
        if is_best {
            // Its file is there from now on, whichever state is gone back to.
            (self.trainer.best, self.good.best) = (Some(mean), Some(mean));
            for direction in directions.into_iter().filter(|way| generators.of(*way).is_some()) {
                let file = self.trainer.weights(direction).await.map_err(|error| error.to_string())?;
                buffers.push(file.write(Storage::F32).map_err(|error| error.to_string())?);
            }
        }
        let files = directions.map(|direction| format!("best-{}", self.file_name(direction)));
        let event = Event::Measured { step: self.trainer.step, quality, is_best, files };
        host.emit(Envelope::with(event, buffers));
        Ok(())
    }
}

/// What is measured with: held-out pictures, and for each the real one that its translation should be, if there is one.
struct HeldOut {
    a: Vec<Picture>,
    b: Vec<Picture>,
    is_paired: bool,
}

impl HeldOut {
    fn of(dataset: &UnpairedDataset, recipe: Recipe) -> Self {
        let read = |source: &Source| Some(recipe.fixed(source.picture().ok()?));
        // Without crops, pictures of one name may still differ in size: then they are not the same thing.
        let pairs = dataset.test_pairs();
        let both = evenly(&pairs, MEASURED).filter_map(|(a, b)| Some((read(a)?, read(b)?)));
        let both = both.filter(|(a, b)| (a.width, a.height) == (b.width, b.height));
        let (a, b): (Vec<Picture>, Vec<Picture>) = both.unzip();
        let is_paired = a.len() >= 2;
        if is_paired {
            return Self { a, b, is_paired };
        }
        let some = |pile: &[Source]| evenly(pile, MEASURED).filter_map(read).collect();
        Self { a: some(&dataset.test_a), b: some(&dataset.test_b), is_paired }
    }
}

/// At most `count` of a list, evenly spread: names in order are often one kind of thing after the other.
fn evenly<T>(all: &[T], count: usize) -> impl Iterator<Item = &T> {
    let count = count.min(all.len());
    (0..count).map(move |index| &all[index * all.len() / count])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_measured_comes_from_the_whole_list() {
        let of = |length: usize| evenly(&(0..length).collect::<Vec<_>>(), 4).copied().collect::<Vec<_>>();
        assert_eq!([of(10), of(4), of(2), of(0)], [vec![0, 2, 5, 7], vec![0, 1, 2, 3], vec![0, 1], vec![]]);
    }
}
