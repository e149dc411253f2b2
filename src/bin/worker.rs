//! The browser worker's door.

#[cfg(target_family = "wasm")]
fn main() {
    cyclegan::worker::start();
}

#[cfg(not(target_family = "wasm"))]
fn main() {}
