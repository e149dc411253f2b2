//! The page: plain state that is told what happened ([`state`], [`models`], [`training`], [`history`],
//! [`rate`], [`format`]) and, in a browser only, the part that shows it and listens to people.
//!
//! It knows the worker through [`crate::protocol`] alone and links none of the networks.

pub mod format;
pub mod history;
pub mod models;
pub mod rate;
pub mod state;
pub mod training;

#[cfg(target_family = "wasm")]
mod app;
#[cfg(target_family = "wasm")]
mod camera;
#[cfg(target_family = "wasm")]
mod cards;
#[cfg(target_family = "wasm")]
mod chart;
#[cfg(target_family = "wasm")]
mod dom;
#[cfg(target_family = "wasm")]
mod frames;
#[cfg(target_family = "wasm")]
mod inspector_view;
#[cfg(target_family = "wasm")]
mod intake;
#[cfg(target_family = "wasm")]
mod live_view;
#[cfg(target_family = "wasm")]
mod net;
#[cfg(target_family = "wasm")]
mod picture_view;
#[cfg(target_family = "wasm")]
mod piles;
#[cfg(target_family = "wasm")]
mod settings_view;
#[cfg(target_family = "wasm")]
mod strip;
#[cfg(target_family = "wasm")]
mod train_view;
#[cfg(target_family = "wasm")]
mod tuning_view;
#[cfg(target_family = "wasm")]
mod view;

#[cfg(target_family = "wasm")]
pub use app::start;
