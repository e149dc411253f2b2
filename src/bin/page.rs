//! The page's door: everything is in [`cyclegan::page`]. Outside a browser there is nothing to start.

fn main() {
    #[cfg(target_family = "wasm")]
    cyclegan::page::start();
}
