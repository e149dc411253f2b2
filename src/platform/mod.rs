//! What differs between a browser and a native process, behind one API.
//!
//! In a browser, the page and its worker exchange [`crate::protocol::Envelope`]s over `postMessage`:
//! [`worker_handle::WorkerHandle`] is the page's end, [`worker_scope`] the worker's.

pub mod ahead;
#[cfg(not(target_family = "wasm"))]
pub mod allocator;
mod blend;
#[cfg(target_family = "wasm")]
pub mod crew;
pub mod files;
pub mod names;
pub mod parallel;
pub mod peers;
pub mod scratch;
pub mod simd;
pub mod threads;
mod yielding;
pub mod zip;

#[cfg(target_family = "wasm")]
pub mod shelf;
#[cfg(target_family = "wasm")]
mod wire;
#[cfg(target_family = "wasm")]
pub mod worker_handle;
#[cfg(target_family = "wasm")]
pub mod worker_scope;

pub use blend::blend;
pub use yielding::yield_to_event_loop;
