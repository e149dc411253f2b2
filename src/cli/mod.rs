//! The command line: arguments, progress bars and exit codes around a [session](crate::session).
//!
//! Results go to stdout, progress and complaints to stderr.

mod backend;
mod console;
mod info;
mod train;
mod translate;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// CycleGAN: translate images from one world into another, and learn to, from unpaired examples.
///
/// Examples:
///
///   cyclegan translate --model horse-to-zebra.safetensors photo.jpg --out zebra.png
///
///   cyclegan train --data horse2zebra --out runs/horse --preset small-128
///
///   cyclegan info horse-to-zebra.safetensors
#[derive(Parser)]
#[command(version, verbatim_doc_comment, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Translate images with a generator.
    Translate(translate::Arguments),
    /// Train two generators on two piles of images.
    Train(train::Arguments),
    /// Say what a weight file is.
    Info(info::Arguments),
}


/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// Everything asked for was done.
    Done,
    /// Some of it was not; stderr says what.
    Incomplete,
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        match status {
            ExitStatus::Done => Self::SUCCESS,
            ExitStatus::Incomplete => Self::FAILURE,
        }
    }
}

/// Runs the command line of this process.
///
/// # Errors
/// What went wrong, with its cause, for stderr.
pub fn run() -> Result<ExitStatus> {
    match Arguments::parse().command {
        Command::Translate(arguments) => translate::run(arguments),
        Command::Train(arguments) => train::run(arguments),
        Command::Info(arguments) => info::run(&arguments),
    }
}
