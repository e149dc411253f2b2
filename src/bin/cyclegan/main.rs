//! The command line's door.

#[cfg(not(target_family = "wasm"))]
mod backend;

#[cfg(not(target_family = "wasm"))]
fn main() -> std::process::ExitCode {
    cyclegan::platform::allocator::keep_freed_memory();
    match cyclegan::cli::run(backend::serve) {
        Ok(status) => status.into(),
        Err(error) => {
            eprintln!("error: {error:#}");
            std::process::ExitCode::from(2)
        }
    }
}

#[cfg(target_family = "wasm")]
fn main() {}
