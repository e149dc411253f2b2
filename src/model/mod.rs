//! The networks: generators and discriminators of the paper and of its code.

pub mod architecture;
pub mod discriminator;
mod dropout;
pub mod dual;
pub mod features;
pub mod generator;
pub mod heads;
pub mod layers;
mod networks;
pub mod parameters;
mod settings;
mod spectral;
pub mod unet;

pub use architecture::Architecture;
pub use discriminator::{PatchDiscriminator, PatchDiscriminatorConfig};
pub use dropout::Dropout;
pub use dual::Dual;
pub use features::{Feature, Spot};
pub use generator::{ResnetGenerator, ResnetGeneratorConfig};
pub use heads::Heads;
pub use networks::Generator;
pub use spectral::Spectral;
pub use unet::{UnetGenerator, UnetGeneratorConfig};
