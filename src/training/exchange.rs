//! Training with several workers: each computes the gradients of its share of a batch, and all make the same step.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::Gradients;

/// What the workers of one training have to tell each other. All call the same functions in the same order.
pub trait Exchange<B: Backend>: std::fmt::Debug {
    /// How many there are.
    fn workers(&self) -> usize;

    /// Which one this is, from 0.
    fn rank(&self) -> usize;

    /// The sum of every worker's tensor: the same bits for all of them.
    ///
    /// # Errors
    /// When another worker is gone, in whole sentences.
    fn sum(&self, tensor: Tensor<B, 1>) -> Result<Tensor<B, 1>, String>;
}

/// The means of loss terms and gradients over all workers, in one exchange.
pub(super) fn average<B: Backend>(
    exchange: &dyn Exchange<B>,
    terms: Tensor<B, 1>,
    gradients: Gradients<B>,
) -> Result<(Tensor<B, 1>, Gradients<B>), String> {
    let Gradients(mut all) = gradients;
    all.insert(0, Some(terms));
    let Some((packed, counts)) = Gradients(all).pack() else { return Err("There is nothing to exchange.".into()) };
    let mean = exchange.sum(packed)? / exchange.workers() as f64;
    let mut all = Gradients::unpack(&mean, counts).0;
    let terms = all.remove(0).ok_or("The loss terms were lost in the exchange.")?;
    Ok((terms, Gradients(all)))
}

/// Every worker's batch joined in the order of their ranks: to a sum in which each has zeros in the others' places.
///
/// # Shapes
/// - batch: `[N, C, H, W]`, the same for all; output: `[workers · N, C, H, W]`
pub(super) fn gather<B: Backend>(exchange: &dyn Exchange<B>, batch: Tensor<B, 4>) -> Result<Tensor<B, 4>, String> {
    let [count, channels, height, width] = batch.dims();
    let device = batch.device();
    let zeros = |batches: usize| Tensor::zeros([batches * count, channels, height, width], &device);
    let (before, after) = (exchange.rank(), exchange.workers() - exchange.rank() - 1);
    let mut parts = vec![batch];
    if before > 0 {
        parts.insert(0, zeros(before));
    }
    if after > 0 {
        parts.push(zeros(after));
    }
    let shape = [exchange.workers() * count, channels, height, width];
    let size: usize = shape.iter().product();
    let all = Tensor::<B, 4>::cat(parts, 0).reshape([size]);
    Ok(exchange.sum(all)?.reshape(shape))
}
