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

/// `a · b + c`: one instruction where the processor has it, two roundings in a browser.
#[inline(always)]
pub fn multiply_add(a: f32, b: f32, c: f32) -> f32 {
    #[cfg(not(target_family = "wasm"))]
    return a.mul_add(b, c);
    #[cfg(target_family = "wasm")]
    return a * b + c;
}
