//! Training with several workers: each computes the gradients of its share of a batch, and all make the same step.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};

use super::Gradients;
use crate::platform::peers::{Peers, Seat};

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

/// Workers that are threads of this process, each with a device of its own or all with the same; and, with [`Peers`],
/// those of other machines, which have as many each. Whatever order they come in, sums are taken in the order of their
/// ranks: the same training gives the same bits.
///
/// (Why not with `burn-collective`: ARCHITECTURE.md tells what came of trying.)
#[derive(Debug)]
pub struct Threads<B: Backend> {
    meeting: Arc<Meeting<B>>,
    /// Among the threads of this process.
    rank: usize,
}

/// Where they meet.
#[derive(Debug)]
struct Meeting<B: Backend> {
    /// Which machine this is.
    seat: Seat,
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
    /// The other machines.
    peers: Option<Peers>,
    /// Why there is no next round.
    trouble: Option<String>,
}

impl<B: Backend> Threads<B> {
    /// One exchange a worker, by rank.
    pub fn new(workers: usize) -> Vec<Self> {
        Self::with_peers(workers, None)
    }

    /// One exchange a worker of this machine, by rank; the other machines have to have as many workers.
    pub fn with_peers(workers: usize, peers: Option<Peers>) -> Vec<Self> {
        let seat = peers.as_ref().map_or(Seat { machine: 0, machines: 1 }, Peers::seat);
        let round = Round { number: 0, parts: vec![None; workers], sum: None, peers, trouble: None };
        let meeting = Arc::new(Meeting { seat, round: Mutex::new(round), changed: Condvar::new() });
        (0..workers).map(|rank| Self { meeting: meeting.clone(), rank }).collect()
    }

    /// Its number among the workers of this machine.
    pub fn thread(&self) -> usize {
        self.rank
    }
}

impl<B: Backend> Meeting<B> {
    /// A worker that panicked leaves the round as it was, which is sound.
    fn round(&self) -> MutexGuard<'_, Round<B>> {
        self.round.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B: Backend> Round<B> {
    /// The sum of all parts, when all are there.
    fn add_up(&mut self) -> Result<Option<Tensor<B, 1>>, String> {
        let parts = self.parts.iter_mut().filter_map(Option::take);
        let sum = parts.reduce(|sum, part| {
            let device = sum.device();
            sum + part.to_device(&device)
        });
        match (sum, &mut self.peers) {
            (Some(sum), Some(peers)) => across(peers, sum).map(Some),
            (sum, _) => Ok(sum),
        }
    }
}

/// The sum of every machine's tensor.
fn across<B: Backend>(peers: &mut Peers, tensor: Tensor<B, 1>) -> Result<Tensor<B, 1>, String> {
    let device = tensor.device();
    let data = tensor.try_into_data().map_err(|error| format!("The device was lost: {error:?}"))?;
    let mut values: Vec<f32> = data.iter::<f32>().collect();
    peers.sum(&mut values)?;
    let count = values.len();
    Ok(Tensor::from_data(TensorData::new(values, [count]), &device))
}

impl<B: Backend> Exchange<B> for Threads<B> {
    fn workers(&self) -> usize {
        self.meeting.round().parts.len() * self.meeting.seat.machines
    }

    fn rank(&self) -> usize {
        self.meeting.round().parts.len() * self.meeting.seat.machine + self.rank
    }

    fn sum(&self, tensor: Tensor<B, 1>) -> Result<Tensor<B, 1>, String> {
        let device = tensor.device();
        let mut round = self.meeting.round();
        if let Some(trouble) = &round.trouble {
            return Err(trouble.clone());
        }
        let number = round.number;
        round.parts[self.rank] = Some(tensor);
        if round.parts.iter().all(Option::is_some) {
            match round.add_up() {
                Ok(sum) => (round.sum, round.number) = (sum, number + 1),
                Err(trouble) => round.trouble = Some(trouble),
            }
            self.meeting.changed.notify_all();
        }
        while round.number == number {
            if let Some(trouble) = &round.trouble {
                return Err(trouble.clone());
            }
            round = self.meeting.changed.wait(round).unwrap_or_else(PoisonError::into_inner);
        }
        let sum = round.sum.clone().ok_or("The workers had nothing to exchange.")?;
        Ok(sum.to_device(&device))
    }
}

impl<B: Backend> Drop for Threads<B> {
    fn drop(&mut self) {
        let mut round = self.meeting.round();
        round.trouble.get_or_insert("Another worker of this training has stopped.".into());
        // The other machines hear of it now, not when the last thread here has ended.
        round.peers = None;
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
