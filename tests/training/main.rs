//! A training as a person runs it: every option, going on, and being killed.

mod init;
mod kill;
mod machines;
mod one_sided;
mod options;
mod resume;
#[path = "../support/mod.rs"]
mod support;
