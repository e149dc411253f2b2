//! The widest vector instructions of the processor at hand.

/// Runs `work` compiled for the processor's widest vectors: chosen at run time natively, fixed at
/// compile time in a browser. `work` and what it calls must be inlined to profit.
#[inline(always)]
pub fn vectorised<R>(work: impl FnOnce() -> R) -> R {
    #[cfg(not(target_family = "wasm"))]
    return pulp::Arch::new().dispatch(work);
    #[cfg(target_family = "wasm")]
    work()
}
