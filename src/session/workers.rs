//! The other workers of a data-parallel training: threads that make the same steps as the session, each with its share
//! of every batch, and that nobody sees. Other machines have sessions and threads of their own.

use std::rc::Rc;
use std::sync::Arc;

use burn::prelude::DeviceOps;
use burn::tensor::backend::{AutodiffBackend, Backend};

use super::Inner;
use super::training_run::draw;
use crate::data::{Sampler, UnpairedDataset};
use crate::kernels::Kernels;
use crate::platform::peers::Peers;
use crate::platform::threads;
use crate::training::Trainer;
use crate::training::exchange::Threads;

/// Starts `workers − 1` threads that train beside this one from the same state, and returns this one's exchange. They
/// end with the training, when the exchange is dropped, or when they fail: then the exchange says so. With `peers`, the
/// exchange reaches the workers of other machines, and the first machine sends them its state.
///
/// Each takes a device of its own where there are several of the kind, else they share it.
///
/// # Errors
/// When the state cannot be read from the device, a thread cannot be started, or another machine is gone.
pub async fn start<A>(
    workers: usize,
    mut peers: Option<Peers>,
    trainer: &Trainer<A>,
    dataset: &UnpairedDataset,
    device: &A::Device,
) -> Result<Threads<Inner<A>>, String>
where
    A: AutodiffBackend + Kernels,
    A::InnerBackend: Kernels,
{
    let checkpoint = Arc::new(trainer.checkpoint().await.map_err(|error| error.to_string())?);
    if let Some(peers) = &mut peers {
        peers.share(&checkpoint)?;
    }
    let mut exchanges = Threads::with_peers(workers, peers).into_iter();
    let own = exchanges.next().ok_or("A training needs at least one worker.")?;
    for exchange in exchanges {
        let (checkpoint, dataset) = (checkpoint.clone(), dataset.clone());
        let rank = exchange.thread();
        let device = other::<A>(device, rank);
        let work = async move || {
            let Ok(mut trainer) = Trainer::<A>::restore(&checkpoint, &device) else { return };
            drop(checkpoint);
            trainer.exchange = Some(Rc::new(exchange));
            let mut sampler = Sampler::new(&trainer.config);
            // An image that cannot be used is named by the worker that meets it, if everybody sees that one.
            while let Ok(batches) = draw(&trainer, &mut sampler, &dataset, &device, |_, _| {}) {
                if trainer.step_over(batches).is_err() || trainer.settle().await.is_err() {
                    return;
                }
            }
        };
        threads::spawn(&format!("worker {rank}"), work).map_err(|error| format!("Worker {rank}: {error}"))?;
    }
    Ok(own)
}

/// How many devices of a kind there are.
pub fn devices<A: Backend>(device: &A::Device) -> usize {
    A::device_count(device.to_id().type_id).max(1)
}

/// The device of worker `rank`, when the first has `device`.
fn other<A: Backend>(device: &A::Device, rank: usize) -> A::Device {
    let (mut id, count) = (device.to_id(), devices::<A>(device));
    if count == 1 {
        return device.clone();
    }
    id.index_id = ((usize::from(id.index_id) + rank) % count) as u16;
    A::Device::from_id(id)
}
