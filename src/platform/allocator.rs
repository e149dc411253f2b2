//! How the process asks the system for memory.

/// Keeps freed memory for the next tensor instead of giving it back to the system: a training step frees and takes
/// hundreds of megabytes, and a quarter of its time went into fresh pages. Call once, before other threads start.
/// Only glibc has to be told.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[allow(unsafe_code, reason = "mallopt takes two numbers and is called before other threads start")]
    unsafe {
        // No block is mapped by itself, however large, and the heap's top is not trimmed.
        libc::mallopt(libc::M_MMAP_MAX, 0);
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
    }
}
