//! Training: one step, the optimiser, and checkpoints.

mod adam;
pub mod checkpoint;
pub mod trainer;

pub use adam::Adam;
pub use trainer::{Discriminators, Generators, StepLosses, Trainer};
