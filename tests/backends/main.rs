//! What must hold on every backend; one binary, because each backend costs minutes of compiling.

mod golden;
mod kernels;
mod networks;
mod optimisation;
mod resume;
