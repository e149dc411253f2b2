//! The pool of past fakes that the discriminators see (Shrivastava et al. 2017,
//! <https://arxiv.org/abs/1612.07828>, section 2.3; official `util/image_pool.py`).

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use rand::RngExt;

use crate::random;

/// Up to `capacity` earlier fakes. Until it is full it keeps and returns every fake; then, with
/// probability ½, it swaps the new fake for a random old one.
#[derive(Debug, Clone)]
pub struct ImagePool<B: Backend> {
    capacity: usize,
    name: &'static str,
    images: Vec<Tensor<B, 4>>,
}

impl<B: Backend> ImagePool<B> {
    /// An empty pool; with capacity 0 every fake is returned as it is. `name` keeps the random
    /// streams of two pools apart.
    pub fn new(capacity: usize, name: &'static str) -> Self {
        Self { capacity, name, images: Vec::new() }
    }

    /// The fakes that the discriminator is to see instead of `fakes`, the first of which is number `first` of
    /// all that the training made: it makes no difference how they are cut into batches.
    ///
    /// # Shapes
    /// - fakes and output: `[N, C, H, W]`
    pub fn query(&mut self, fakes: Tensor<B, 4>, seed: u64, first: u64) -> Tensor<B, 4> {
        if self.capacity == 0 {
            return fakes;
        }
        let chosen = fakes.split(1, 0).into_iter().zip(first..).map(|(fake, number)| {
            let mut stream = random::stream(seed, self.name, number);
            if self.images.len() < self.capacity {
                self.images.push(fake.clone());
                fake
            } else if stream.random::<f64>() < 0.5 {
                let slot = stream.random_range(0..self.capacity);
                std::mem::replace(&mut self.images[slot], fake)
            } else {
                fake
            }
        });
        let mut chosen: Vec<_> = chosen.collect();
        // A join of one would be a copy.
        if chosen.len() == 1 { chosen.remove(0) } else { Tensor::cat(chosen, 0) }
    }

    /// The images held, oldest slot first, for a checkpoint.
    pub fn images(&self) -> &[Tensor<B, 4>] {
        &self.images
    }

    /// Puts back what [`ImagePool::images`] gave; more than the capacity is cut off.
    pub fn restore(&mut self, images: Vec<Tensor<B, 4>>) {
        self.images = images;
        self.images.truncate(self.capacity);
    }
}
