//! Serving one [`Command::Inspect`](crate::protocol::Command::Inspect): a picture through all four networks.

use burn::module::AutodiffModule;
use burn::tensor::backend::AutodiffBackend;

use super::planes::{to_picture, to_tensor};
use super::training_run::TrainingRun;
use crate::config::GanMode;
use crate::image::Picture;
use crate::kernels::Kernels;
use crate::protocol::{Direction, Envelope, Event, Inspected, Subject};

impl<A> TrainingRun<A>
where
    A: AutodiffBackend + Kernels,
    A::InnerBackend: Kernels,
{
    /// What becomes of a picture, as it stands now; `bytes` is the file of a [`Subject::File`]. The error is a sentence.
    pub async fn inspect(
        &self,
        direction: Direction,
        subject: Subject,
        bytes: &[u8],
        device: &A::Device,
    ) -> Result<Envelope<Event>, String> {
        let is_a = direction == Direction::AtoB;
        let (test, train) = match is_a {
            true => (&self.dataset.test_a, &self.dataset.train_a),
            false => (&self.dataset.test_b, &self.dataset.train_b),
        };
        let samples = if test.is_empty() { train } else { test };
        let (name, picture) = match subject {
            Subject::Sample { index } => {
                let source = samples.get(index as usize % samples.len().max(1)).ok_or("There are no samples.")?;
                (source.name.clone(), source.picture().map_err(|error| error.to_string()))
            }
            Subject::File { name } => (name, Picture::decode(bytes).map_err(|error| error.to_string())),
        };
        let picture = picture.map_err(|reason| format!("{name}: {reason}"))?;
        let side = self.trainer.config.size;
        let real = middle(&picture, side);

        let generators = self.trainer.frozen_generators();
        let judges = self.trainer.discriminators.valid();
        let (Some(ba), Some(of_a)) = (&generators.ba, &judges.a) else {
            return Err("A one-sided training takes no picture back: there is nothing to inspect.".into());
        };
        let (there, back, own_judge, other_judge) = match is_a {
            true => (&generators.ab, ba, of_a, &judges.b),
            false => (ba, &generators.ab, &judges.b, of_a),
        };
        let planes = to_tensor(&real, device);
        let fake = there.forward(planes.clone());
        let [rec, identity] = [back.forward(fake.clone()), back.forward(planes.clone())];
        let maps = [own_judge.forward(planes), other_judge.forward(fake.clone())];
        let [_, _, height, width] = maps[0].dims();

        let lost = || "The device was lost.".to_string();
        let mut buffers = vec![real.pixels];
        for image in [fake, rec, identity] {
            buffers.push(to_picture(image).await.ok_or_else(lost)?.pixels);
        }
        let mut outputs = [Vec::new(), Vec::new()];
        for (output, map) in outputs.iter_mut().zip(maps) {
            let data = map.into_data_async().await.map_err(|_| lost())?;
            *output = data.iter::<f32>().collect();
        }
        let maps = realness(self.trainer.config.gan_mode, outputs);
        let mean = |map: &[f32]| map.iter().sum::<f32>() / map.len().max(1) as f32;
        let realness = [mean(&maps[0]), mean(&maps[1])];
        buffers.extend(maps.map(|map| map.into_iter().map(|value| (value * 255.0).round() as u8).collect()));
        let inspected = Inspected {
            step: self.trainer.step,
            picture: name,
            samples: samples.len() as u32,
            side,
            map: [width as u32, height as u32],
            realness,
        };
        Ok(Envelope::with(Event::Inspected(inspected), buffers))
    }
}

/// The middle square of a picture, at the training size.
fn middle(picture: &Picture, side: u32) -> Picture {
    let square = picture.width.min(picture.height);
    let [x, y] = [picture.width, picture.height].map(|whole| (whole - square) / 2);
    picture.crop(x, y, square, square).resize(side, side)
}

/// What discriminators say of a real picture and of a translation, from 0 (generated) to 1 (real).
fn realness(mode: GanMode, maps: [Vec<f32>; 2]) -> [Vec<f32>; 2] {
    let all = || maps.iter().flatten().copied().filter(|value| value.is_finite());
    let (least, most) = (all().fold(f32::INFINITY, f32::min), all().fold(f32::NEG_INFINITY, f32::max));
    let real = |value: f32| match mode {
        // Their targets are 0 and 1.
        GanMode::Lsgan => value,
        GanMode::Vanilla => 1.0 / (1.0 + (-value).exp()),
        // Margins at -1 and 1.
        GanMode::Hinge => (value + 1.0) / 2.0,
        // A critic's scores mean something beside each other only.
        GanMode::Wgangp => (value - least) / (most - least).max(f32::MIN_POSITIVE),
    };
    let clamped = |value: f32| if value.is_nan() { 0.0 } else { real(value).clamp(0.0, 1.0) };
    maps.map(|map| map.into_iter().map(clamped).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_loss_has_its_own_scale_of_realness() {
        let maps = || [vec![-9.0, 0.0, 1.0], vec![0.5, 3.0, f32::NAN]];
        assert_eq!(realness(GanMode::Lsgan, maps()), [vec![0.0, 0.0, 1.0], vec![0.5, 1.0, 0.0]]);
        assert_eq!(realness(GanMode::Hinge, maps()), [vec![0.0, 0.5, 1.0], vec![0.75, 1.0, 0.0]]);
        assert_eq!(realness(GanMode::Wgangp, maps()), [vec![0.0, 0.75, 10.0 / 12.0], vec![9.5 / 12.0, 1.0, 0.0]]);
        let [real, fake] = realness(GanMode::Vanilla, maps());
        assert!(real[0] < 0.001 && real[1] == 0.5 && (0.73..0.74).contains(&real[2]) && fake[1] > 0.95);
    }

    #[test]
    fn a_picture_of_any_shape_is_looked_at_in_its_middle() {
        let mut wide = Picture::filled(30, 10, [0, 0, 0, 255]);
        for pixel in wide.pixels.chunks_exact_mut(4).enumerate().filter(|(at, _)| (10..20).contains(&(at % 30))) {
            pixel.1[0] = 200;
        }
        assert_eq!(middle(&wide, 4), Picture::filled(4, 4, [200, 0, 0, 255]));
        assert_eq!(middle(&Picture::filled(1, 7, [9, 9, 9, 255]), 32).pixels.len(), 32 * 32 * 4);
    }
}
