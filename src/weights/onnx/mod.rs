//! Generators as ONNX graphs (<https://onnx.ai>): written, and read whoever wrote them.
//!
//! A graph is read by what it computes and not by names, since exporters merge equal tensors, leave zero biases out
//! and rename what they fold. `graph` finds nodes and tensors, `steps` turns nodes into the layers that they
//! are, `read` follows the layers from the picture to the output and says which network has them in this order.

mod graph;
mod proto;
mod read;
mod steps;
mod tensor;
mod write;

pub(super) use graph::{data_files, is_onnx};
pub(super) use read::read;
pub(super) use write::write;

/// Of the instance norms, as everywhere.
const EPSILON: f32 = 1e-5;
/// Of the leaky ReLUs on a U-Net's way down.
const SLOPE: f32 = 0.2;
