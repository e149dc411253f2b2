//! Training with several workers: each computes the gradients of its share of a batch, and all make the same step.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

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

/// Workers that are threads of this process, each with a device of its own or all with the same. Whatever order they
/// come in, sums are taken in the order of their ranks: the same training gives the same bits.
///
/// (`burn-collective` 0.21 would reach other machines, too. It sums in the order of a `HashMap`, so three workers or more
/// do not give the same bits twice; its server is one for the process, so a second training there must wait for the first; and
/// it always brings axum, tokio and tungstenite.)
#[derive(Debug)]
pub struct Threads<B: Backend> {
    meeting: Arc<Meeting<B>>,
    rank: usize,
}

/// Where they meet.
#[derive(Debug)]
struct Meeting<B: Backend> {
    round: Mutex<Round<B>>,
    changed: Condvar,
}

#[derive(Debug)]
struct Round<B: Backend> {
    /// Rounds that are over.
    number: u64,
    /// What was brought to this one, by rank.
    parts: Vec<Option<Tensor<B, 1>>>,
    /// What came of the last one. It stays until all have come to the next, so everybody has seen it by then.
    sum: Option<Tensor<B, 1>>,
    /// Whether a worker has left for good.
    is_over: bool,
}

impl<B: Backend> Threads<B> {
    /// One exchange a worker, by rank.
    pub fn new(workers: usize) -> Vec<Self> {
        let round = Round { number: 0, parts: vec![None; workers], sum: None, is_over: false };
        let meeting = Arc::new(Meeting { round: Mutex::new(round), changed: Condvar::new() });
        (0..workers).map(|rank| Self { meeting: meeting.clone(), rank }).collect()
    }
}

impl<B: Backend> Meeting<B> {
    /// A worker that panicked leaves the round as it was, which is sound.
    fn round(&self) -> MutexGuard<'_, Round<B>> {
        self.round.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B: Backend> Exchange<B> for Threads<B> {
    fn workers(&self) -> usize {
        self.meeting.round().parts.len()
    }

    fn rank(&self) -> usize {
        self.rank
    }

    fn sum(&self, tensor: Tensor<B, 1>) -> Result<Tensor<B, 1>, String> {
        let device = tensor.device();
        let mut round = self.meeting.round();
        let number = round.number;
        round.parts[self.rank] = Some(tensor);
        if round.parts.iter().all(Option::is_some) {
            let parts = round.parts.iter_mut().filter_map(Option::take);
            let sum = parts.reduce(|sum, part| {
                let device = sum.device();
                sum + part.to_device(&device)
            });
            round.sum = sum;
            round.number += 1;
            self.meeting.changed.notify_all();
        }
        while round.number == number {
            if round.is_over {
                return Err("Another worker of this training has stopped.".into());
            }
            round = self.meeting.changed.wait(round).unwrap_or_else(PoisonError::into_inner);
        }
        let sum = round.sum.clone().ok_or("The workers had nothing to exchange.")?;
        Ok(sum.to_device(&device))
    }
}

impl<B: Backend> Drop for Threads<B> {
    fn drop(&mut self) {
        self.meeting.round().is_over = true;
        self.meeting.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use burn::backend::Flex;
    use burn::tensor::TensorData;

    use super::*;

    fn tensor(values: [f32; 2]) -> Tensor<Flex, 1> {
        Tensor::from_data(TensorData::from(values), &Default::default())
    }

    #[test]
    fn all_hear_the_same_sum_in_the_order_of_ranks_round_after_round() {
        let exchanges = Threads::<Flex>::new(3);
        // In another order the small one would be lost.
        let values = [1e8, -1e8, 1.0];
        let heard = std::thread::scope(|scope| {
            let threads = exchanges.into_iter().map(|exchange| {
                scope.spawn(move || {
                    let rank = exchange.rank();
                    let rounds = (0..50).map(|round| {
                        let sum = exchange.sum(tensor([values[rank], round as f32])).expect("all are there");
                        sum.into_data().iter::<f32>().collect::<Vec<_>>()
                    });
                    rounds.collect::<Vec<_>>()
                })
            });
            let threads: Vec<_> = threads.collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect::<Vec<_>>()
        });
        for rounds in heard {
            for (round, sum) in rounds.into_iter().enumerate() {
                assert_eq!(sum, [1.0, 3.0 * round as f32]);
            }
        }
    }

    #[test]
    fn whoever_waits_for_a_worker_that_left_is_told() {
        let mut exchanges = Threads::<Flex>::new(2);
        let left = exchanges.pop();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| exchanges[0].sum(tensor([1.0, 2.0])));
            drop(left);
            assert!(waiting.join().expect("no panic").is_err());
        });
        assert!(exchanges[0].sum(tensor([1.0, 2.0])).is_err(), "and from then on");
    }
}
