//! Which of the two ways to convolve a GPU takes that nobody has measured.

use std::time::Duration;

use burn::tensor::{Tensor, TensorData};
use web_time::Instant;

use super::set_tiles;
use crate::kernels::{Geometry, Kernels, conv2d};

/// Channels of a residual block's 3×3 convolution, most of a generator's work, on maps of [`SIDE`]²: the official one and,
/// tried first, a sixteenth of its arithmetic.
const LAYERS: [usize; 2] = [64, 256];
const SIDE: usize = 64;

/// A measurement may take about so long: far more than the 0.1 ms that browsers round their clocks to, and no one notices.
const ENOUGH: Duration = Duration::from_millis(20);
const MOST_RUNS: u32 = 64;

/// Outputs of both ways may differ by so much of the largest: their roundings differ.
const TOLERANCE: f32 = 1e-3;

/// What [`tune`] found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// Whether convolutions are computed by tiles.
    pub tiles: bool,
    /// Channels of the layer that decided.
    pub channels: usize,
    /// One convolution without tiles and with them.
    pub times: [Duration; 2],
    /// How far apart their outputs were, of the largest.
    pub difference: f32,
}

/// Tries both ways on the device, has this thread take the faster one from then on, and says which. Takes some tenths of a second
/// beside the compilation of both; a slow adapter is judged by the small layer. Tiles whose outputs are not those of
/// the other way, by a driver's fault, are not taken.
///
/// # Errors
/// When the device is lost; then nothing is chosen.
pub async fn tune<B: Kernels>(device: &B::Device) -> Result<Choice, String> {
    let chosen = measure::<B>(device).await;
    set_tiles(chosen.as_ref().ok().map(|choice| choice.tiles));
    chosen
}

async fn measure<B: Kernels>(device: &B::Device) -> Result<Choice, String> {
    let mut choice = Choice { tiles: false, channels: 0, times: Default::default(), difference: 0.0 };
    for channels in LAYERS {
        let layer = Layer::<B>::new(channels, device);
        set_tiles(Some(false));
        let (without, expected) = layer.time().await?;
        set_tiles(Some(true));
        let (with, found) = layer.time().await?;
        let largest = expected.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
        let apart = expected.iter().zip(&found).map(|(one, other)| (one - other).abs());
        // Neither the largest nor a comparison may lose a NaN.
        let difference = apart.fold(0.0, |most: f32, apart| if apart <= most { most } else { apart }) / largest;
        let agree = difference <= TOLERANCE;
        choice = Choice { tiles: agree && with < without, channels, times: [without, with], difference };
        if !agree || without + with > ENOUGH {
            break;
        }
    }
    Ok(choice)
}

struct Layer<B: Kernels> {
    input: Tensor<B, 4>,
    weight: Tensor<B, 4>,
}

impl<B: Kernels> Layer<B> {
    fn new(channels: usize, device: &B::Device) -> Self {
        let noise = |shape: [usize; 4]| {
            let values = (0..shape.iter().product::<usize>()).map(|index| (index * 7919 % 2003) as f32 / 1001.0 - 1.0);
            Tensor::from_data(TensorData::new(values.collect(), shape), device)
        };
        Self { input: noise([1, channels, SIDE, SIDE]), weight: noise([channels, channels, 3, 3]) }
    }

    /// The outputs after so many convolutions.
    async fn run(&self, times: u32) -> Result<Vec<f32>, String> {
        let convolve = || conv2d(self.input.clone(), self.weight.clone(), None, Geometry::reflect(3));
        let last = (1..times).fold(convolve(), |_, _| convolve());
        let data = last.into_data_async().await.map_err(|error| format!("{error:?}"))?;
        data.into_vec().map_err(|error| format!("{error:?}"))
    }

    /// Time of one convolution, and its outputs.
    async fn time(&self) -> Result<(Duration, Vec<f32>), String> {
        // Compiles it.
        let outputs = self.run(1).await?;
        let mut runs = 1;
        loop {
            let start = Instant::now();
            self.run(runs).await?;
            let time = start.elapsed();
            if time >= ENOUGH || runs >= MOST_RUNS {
                return Ok((time / runs, outputs));
            }
            runs *= 4;
        }
    }
}
