//! Threads that run a future to its end.

use std::io;

/// Starts a thread for a future that is made, and stays, on it.
///
/// # Errors
/// When the system gives no thread; in a page always: its threads are workers of their own.
#[cfg(not(target_family = "wasm"))]
pub fn spawn<F: Future<Output = ()>>(name: &str, work: impl FnOnce() -> F + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().name(name.into()).spawn(move || pollster::block_on(work())).map(drop)
}

/// As on other systems; here there are none.
///
/// # Errors
/// Always.
#[cfg(target_family = "wasm")]
pub fn spawn<F: Future<Output = ()>>(_name: &str, _work: impl FnOnce() -> F + Send + 'static) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
