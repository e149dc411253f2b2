//! Translating a picture too large to hold its full-size feature maps, exactly.
//!
//! What comes before and after the residual blocks is computed in bands of rows, each with the rows around it
//! that its convolutions look at. Instance norm needs the statistics of the whole plane: every layer is run over
//! all bands once for its own statistics, and again, cheaper than keeping it, for those of the next. So the result
//! is the one of the whole picture up to rounding, without a seam.
//!
//! The residual blocks, at a quarter of the sides, are computed whole, or in bands like the rest, where even three
//! of their maps are too much: then one map lives, and a block costs five convolutions instead of two.

use std::cell::RefCell;
use std::ops::Range;

use burn::tensor::{Tensor, TensorData};

use super::{TranslateError, Watcher, mirrored};
use crate::image::Picture;
use crate::kernels::{Kernels, NORM_EPSILON};
use crate::model::ResnetGenerator;
use crate::model::layers::{ConvNorm, ResidualBlock};

/// Bytes that one full-size feature map of a band aims at.
pub const BAND_BYTES: u64 = 24 << 20;

/// Count, mean and sum of squared deviations of every channel, joined as in Chan, Golub & LeVeque 1983.
#[derive(Default)]
struct Moments {
    count: f64,
    mean: Vec<f64>,
    squares: Vec<f64>,
}

impl Moments {
    async fn of<B: Kernels>(planes: &Tensor<B, 4>) -> Result<Self, TranslateError> {
        let [_, channels, rows, columns] = planes.dims();
        let average = |values: Tensor<B, 4>| values.mean_dim(3).mean_dim(2);
        let mean = average(planes.clone());
        let variance = average((planes.clone() - mean.clone()).powi_scalar(2));
        let values = host(Tensor::cat(vec![mean, variance], 0)).await?;
        let count = (rows * columns) as f64;
        let wide = |values: &[f32], factor: f64| values.iter().map(|value| f64::from(*value) * factor).collect();
        Ok(Self { count, mean: wide(&values[..channels], 1.0), squares: wide(&values[channels..], count) })
    }

    fn join(&mut self, other: Self) {
        if self.count == 0.0 {
            *self = other;
            return;
        }
        let count = self.count + other.count;
        for (channel, (mean, squares)) in self.mean.iter_mut().zip(&mut self.squares).enumerate() {
            let difference = other.mean[channel] - *mean;
            *squares += other.squares[channel] + difference * difference * self.count * other.count / count;
            *mean += difference * other.count / count;
        }
        self.count = count;
    }

    /// Mean and 1/σ, each `[1, channels, 1, 1]`.
    fn tensors<B: Kernels>(&self, device: &B::Device) -> [Tensor<B, 4>; 2] {
        let scale = |squares: &f64| (squares / self.count + NORM_EPSILON).sqrt().recip() as f32;
        let mean: Vec<f32> = self.mean.iter().map(|mean| *mean as f32).collect();
        [mean, self.squares.iter().map(scale).collect()].map(|values| {
            let shape = [1, values.len(), 1, 1];
            Tensor::from_data(TensorData::new(values, shape), device)
        })
    }
}

async fn host<B: Kernels>(tensor: Tensor<B, 4>) -> Result<Vec<f32>, TranslateError> {
    let data = tensor.into_data_async().await.map_err(|error| TranslateError::Device(format!("{error:?}")))?;
    Ok(data.iter::<f32>().collect())
}

/// Layers one after the other, run in bands of rows.
struct Chain<'a, B: Kernels, S> {
    layers: Vec<&'a ConvNorm<B>>,
    /// Rows of every layer's input, and of the last one's output.
    heights: Vec<usize>,
    /// A band of the first layer's input.
    source: S,
    /// Of the layers that were run already.
    moments: Vec<[Tensor<B, 4>; 2]>,
}

impl<B: Kernels, S: Fn(Range<usize>) -> Tensor<B, 4>> Chain<'_, B, S> {
    /// Rows of a layer's convolution.
    fn convolved(&self, layer: usize, rows: Range<usize>) -> Tensor<B, 4> {
        let from = self.layers[layer].source_rows(rows.clone(), self.heights[layer]);
        let start = from.start;
        let band = if layer == 0 { (self.source)(from) } else { self.finished(layer - 1, from) };
        self.layers[layer].convolve_rows(band, start, rows)
    }

    /// Rows of a layer's output; its statistics are known.
    fn finished(&self, layer: usize, rows: Range<usize>) -> Tensor<B, 4> {
        let from = self.layers[layer].blur_rows(rows);
        let start = from.start;
        let planes = self.layers[layer].normalise(self.convolved(layer, from), self.moments[layer].clone());
        self.layers[layer].blurred(planes, start)
    }

    /// Finds the statistics of the first layer that has none, over bands of `band` rows of its convolution.
    async fn measure<W: Watcher>(
        &mut self,
        layer: usize,
        band: usize,
        progress: &mut Progress<'_, W>,
        device: &B::Device,
    ) -> Result<(), TranslateError> {
        let mut moments = Moments::default();
        let height = self.layers[layer].blur_rows(0..self.heights[layer + 1]).end;
        for rows in bands(height, band) {
            progress.step().await?;
            moments.join(Moments::of(&self.convolved(layer, rows)).await?);
        }
        self.moments.push(moments.tensors(device));
        Ok(())
    }

    /// A layer's output in bands of `band` rows.
    fn bands(&self, layer: usize, band: usize) -> impl Iterator<Item = Range<usize>> + use<B, S> {
        bands(self.heights[layer + 1], band)
    }
}

/// What runs through the residual blocks: a map in bands of `rows` rows, the last perhaps shorter.
struct Middle<B: Kernels> {
    bands: RefCell<Vec<Tensor<B, 4>>>,
    rows: usize,
    height: usize,
}

impl<B: Kernels> Middle<B> {
    /// The rows of a range, wherever they lie.
    fn rows(&self, range: Range<usize>) -> Tensor<B, 4> {
        let bands = self.bands.borrow();
        let last = (range.end - 1) / self.rows;
        let pieces = (range.start / self.rows..=last).map(|index| {
            let first = index * self.rows;
            let (from, to) = (range.start.max(first), range.end.min(first + self.rows));
            bands[index].clone().narrow(2, from - first, to - from)
        });
        Tensor::cat(pieces.collect(), 2)
    }

    /// `x + f(x)` for one block, band by band, in the place of `x`.
    async fn add<W: Watcher>(
        &self,
        block: &ResidualBlock<B>,
        progress: &mut Progress<'_, W>,
        device: &B::Device,
    ) -> Result<(), TranslateError> {
        let mut chain = Chain {
            layers: block.layers(),
            heights: vec![self.height; block.layers().len() + 1],
            source: |rows| self.rows(rows),
            moments: Vec::new(),
        };
        let last = chain.layers.len() - 1;
        for layer in 0..=last {
            chain.measure(layer, self.rows, progress, device).await?;
        }
        // The next band still looks at the last rows of this one as they were: the new one waits for it.
        let mut waiting = None;
        for (index, rows) in chain.bands(last, self.rows).enumerate() {
            progress.step().await?;
            let old = self.bands.borrow()[index].clone();
            let new = old + chain.finished(last, rows);
            if let Some(before) = waiting.replace(new) {
                self.bands.borrow_mut()[index - 1] = before;
            }
        }
        if let (Some(new), Some(last)) = (waiting, self.bands.borrow_mut().last_mut()) {
            *last = new;
        }
        Ok(())
    }
}

fn bands(height: usize, band: usize) -> impl Iterator<Item = Range<usize>> {
    (0..height).step_by(band).map(move |start| start..(start + band).min(height))
}

/// Counts steps of work for a [`Watcher`].
struct Progress<'a, W> {
    watcher: &'a W,
    done: usize,
    total: usize,
}

impl<W: Watcher> Progress<'_, W> {
    async fn step(&mut self) -> Result<(), TranslateError> {
        let fraction = self.done as f32 / self.total as f32;
        self.done += 1;
        if self.watcher.progress(fraction).await.is_break() { Err(TranslateError::Cancelled) } else { Ok(()) }
    }
}

/// Translates a picture in bands of `band` full-size rows, a multiple of 4; its residual blocks whole or not.
///
/// # Errors
/// On cancel, and when the device fails.
pub async fn translate<B: Kernels>(
    generator: &ResnetGenerator<B>,
    picture: &Picture,
    band: usize,
    whole_blocks: bool,
    device: &B::Device,
    watcher: &impl Watcher,
) -> Result<Picture, TranslateError> {
    let [rows, columns] = [picture.height, picture.width].map(|side| side.next_multiple_of(4) as usize);
    // A band of the residual blocks is a quarter as large as one of a full-size layer with as many rows.
    let (height, middle_rows) = (rows / 4, if whole_blocks { rows / 4 } else { band });
    let passes = rows.div_ceil(band);
    let block_passes = if whole_blocks { 1 } else { 3 * height.div_ceil(middle_rows) };
    let is_blurred = generator.encoder().iter().any(|layer| layer.is_blurred());
    let total = passes * (generator.encoder().len() + generator.decoder().len() + 1 + usize::from(is_blurred))
        + block_passes * generator.blocks().len();
    let mut progress = Progress { watcher, done: 0, total };

    let mut encoder = Chain {
        layers: generator.encoder(),
        heights: vec![rows, rows, rows / 2, rows / 4],
        source: |rows| planes::<B>(picture, generator.channels()[0], rows, columns, device),
        moments: Vec::new(),
    };
    let mut parts = Vec::new();
    for (layer, scale) in [1, 2, 4].into_iter().enumerate() {
        if is_blurred {
            // Rows of the convolution, of which a blur keeps every second.
            let rows = if layer == 0 { band } else { 2 * band / scale };
            encoder.measure(layer, rows, &mut progress, device).await?;
            continue;
        }
        let mut moments = Moments::default();
        for rows in encoder.bands(layer, band / scale) {
            progress.step().await?;
            let part = encoder.convolved(layer, rows);
            moments.join(Moments::of(&part).await?);
            // The last layer's output is small enough to keep.
            if layer == 2 {
                parts.push(part);
            }
        }
        encoder.moments.push(moments.tensors(device));
    }
    if is_blurred {
        for rows in encoder.bands(2, band / 4) {
            progress.step().await?;
            parts.push(encoder.finished(2, rows));
        }
    }
    let [mean, scale] = encoder.moments[2].clone();
    let mut parts = parts.into_iter().map(|part| match is_blurred {
        true => part,
        false => encoder.layers[2].normalise(part, [mean.clone(), scale.clone()]),
    });
    // Joined one after the other, so that both never exist at once.
    let together = if whole_blocks { usize::MAX } else { 4 };
    let mut joined = Vec::new();
    loop {
        let some: Vec<_> = parts.by_ref().take(together).collect();
        if some.is_empty() {
            break;
        }
        joined.push(Tensor::cat(some, 2));
    }
    let middle = Middle { bands: RefCell::new(joined), rows: middle_rows, height };

    for block in generator.blocks() {
        if whole_blocks {
            progress.step().await?;
            let whole = middle.bands.borrow_mut().pop();
            middle.bands.borrow_mut().extend(whole.map(|whole| block.forward(whole, None, 0)));
        } else {
            middle.add(block, &mut progress, device).await?;
        }
    }

    let mut decoder = Chain {
        layers: generator.decoder(),
        heights: vec![height, rows / 2, rows],
        source: |rows| middle.rows(rows),
        moments: Vec::new(),
    };
    for (layer, scale) in [2, 1].into_iter().enumerate() {
        decoder.measure(layer, band / scale, &mut progress, device).await?;
    }
    let mut result = Picture::filled(picture.width, picture.height, [255; 4]);
    for rows in bands(rows, band) {
        progress.step().await?;
        let from = generator.head().source_rows(rows.clone(), decoder.heights[2]);
        let start = from.start;
        let planes = generator.head().forward_rows(decoder.finished(1, from), start, rows.clone());
        let mut output = generator.activate(planes);
        if generator.has_skip() {
            output =
                generator.finish(output, self::planes(picture, generator.channels()[0], rows.clone(), columns, device));
        }
        let seen = rows.end.min(picture.height as usize).saturating_sub(rows.start);
        let values = host(output.narrow(2, 0, seen).narrow(3, 0, picture.width as usize)).await?;
        let part = super::picture_of(&values, generator.channels()[1], picture.width, seen as u32);
        let bytes = 4 * picture.width as usize;
        result.pixels[rows.start * bytes..][..seen * bytes].copy_from_slice(&part.pixels);
    }
    if watcher.progress(1.0).await.is_break() {
        return Err(TranslateError::Cancelled);
    }
    Ok(super::with_alpha(result, picture, generator.channels()))
}

/// Some rows of the picture's planes, mirrored past its right and lower edge.
fn planes<B: Kernels>(
    picture: &Picture,
    channels: usize,
    rows: Range<usize>,
    columns: usize,
    device: &B::Device,
) -> Tensor<B, 4> {
    let [width, height] = [picture.width, picture.height].map(|side| side as usize);
    let shape = [1, channels, rows.len(), columns];
    let mut pixels = Vec::with_capacity(4 * rows.len() * columns);
    for row in rows {
        let line = &picture.pixels[4 * width * mirrored(row, height)..][..4 * width];
        pixels.extend_from_slice(line);
        for column in width..columns {
            pixels.extend_from_slice(&line[4 * mirrored(column, width)..][..4]);
        }
    }
    let band = Picture { width: columns as u32, height: shape[2] as u32, pixels };
    Tensor::from_data(TensorData::new(super::planes(&band, channels), shape), device)
}
