//! What must hold on every backend; one binary, because each backend costs minutes of compiling.

/// Tests on every backend that is built in, in a module of its own for each, with the backend as `B`.
macro_rules! on_every_backend {
    ($($tests:tt)*) => {
        on_backend! { flex, burn::backend::Flex, $($tests)* }
        #[cfg(feature = "candle")]
        on_backend! { candle, burn::backend::Candle, $($tests)* }
        on_every_gpu! { $($tests)* }
    };
}

/// The same on those that may be GPUs.
macro_rules! on_every_gpu {
    ($($tests:tt)*) => {
        #[cfg(feature = "wgpu")]
        on_backend! { wgpu, burn::backend::Wgpu, $($tests)* }
        #[cfg(feature = "cuda")]
        on_backend! { cuda, burn::backend::Cuda, $($tests)* }
    };
}

macro_rules! on_backend {
    ($name:ident, $backend:ty, $($tests:tt)*) => {
        mod $name {
            #[allow(deprecated, reason = "burn-candle is deprecated after 0.21, on which this project stays")]
            type B = $backend;

            $($tests)*
        }
    };
}

mod golden;
mod kernels;
mod networks;
mod optimisation;
mod resume;
