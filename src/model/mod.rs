//! The networks of the paper.

pub mod architecture;
pub mod discriminator;
pub mod dual;
pub mod generator;
pub mod layers;
pub mod parameters;

pub use architecture::Architecture;
pub use discriminator::{PatchDiscriminator, PatchDiscriminatorConfig};
pub use dual::Dual;
pub use generator::{ResnetGenerator, ResnetGeneratorConfig};
