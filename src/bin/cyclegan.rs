//! The command line's door.

#[cfg(not(target_family = "wasm"))]
fn main() -> std::process::ExitCode {
    match cyclegan::cli::run() {
        Ok(status) => status.into(),
        Err(error) => {
            eprintln!("error: {error:#}");
            std::process::ExitCode::from(2)
        }
    }
}

#[cfg(target_family = "wasm")]
fn main() {}
