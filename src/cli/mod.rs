//! The command line: arguments, progress bars and exit codes around a [session](crate::session).
//!
//! Results go to stdout, progress and complaints to stderr.

mod chart;
mod choice;
mod clip;
mod console;
mod convert;
mod evaluate;
mod info;
mod inputs;
mod model_file;
mod report;
mod sheet;
mod tensorboard;
mod train;
mod translate;
mod video;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

pub use choice::{Choice, Serve};
pub use console::Console;
pub use model_file::ModelFile;

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

// Each command's help is the documentation of its arguments.
#[derive(Subcommand)]
enum Command {
    Translate(translate::Arguments),
    Train(train::Arguments),
    Info(info::Arguments),
    Convert(convert::Arguments),
    Evaluate(evaluate::Arguments),
    Report(report::Arguments),
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
pub fn run(serve: Serve) -> Result<ExitStatus> {
    match Arguments::parse().command {
        Command::Translate(arguments) => translate::run(&arguments, serve),
        Command::Train(arguments) => train::run(arguments, serve),
        Command::Info(arguments) => info::run(&arguments),
        Command::Convert(arguments) => convert::run(&arguments),
        Command::Evaluate(arguments) => evaluate::run(&arguments, serve),
        Command::Report(arguments) => report::run(&arguments),
    }
}
