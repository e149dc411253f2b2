//! CycleGAN (Zhu et al. 2017, <https://arxiv.org/abs/1703.10593>): unpaired image-to-image
//! translation that trains and translates natively and in a browser, on one model code.
//!
//! ARCHITECTURE.md walks through the rooms; arrows point down only.

// What a file or a person can cause is an error and never a panic; tests may expect what they like.
#![cfg_attr(not(test), warn(clippy::expect_used))]

#[cfg(not(target_family = "wasm"))]
pub mod cli;
pub mod config;
pub mod data;
pub mod evaluate;
pub mod image;
pub mod image_pool;
pub mod kernels;
pub mod loss;
pub mod model;
pub mod page;
pub mod platform;
pub mod protobuf;
pub mod protocol;
pub mod random;
pub mod schedule;
pub mod session;
pub mod training;
pub mod translate;
pub mod weights;
#[cfg(target_family = "wasm")]
pub mod worker;
