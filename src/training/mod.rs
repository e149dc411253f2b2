//! Training: one step, the optimiser, and checkpoints.

mod adam;
pub mod checkpoint;
mod ema;
pub mod exchange;
mod gradients;
mod init;
pub mod memory;
mod networks;
#[cfg(not(target_family = "wasm"))]
mod one_sided;
mod passes;
pub mod trainer;

pub use adam::Adam;
pub use exchange::Exchange;
pub use gradients::Gradients;
pub use init::Init;
pub use trainer::{Discriminators, Generators, StepLosses, Trainer, Window};
