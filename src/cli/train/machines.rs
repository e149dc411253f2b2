//! Several machines that share a training: the first one's run, the others help.

use std::time::Duration;

use anyhow::{Result, bail};

use super::progress::{Progress, Step};
use super::{Arguments, Pictures};
use crate::cli::{Console, ExitStatus, Serve};
use crate::data::{Source, UnpairedDataset};
use crate::platform::peers::{Peers, Seat};
use crate::protocol::{Command, Envelope, Event, Intervals};
use crate::training::checkpoint;

/// More than a machine can need.
const MOST_MACHINES: usize = 1024;

/// `2/3`: the second of three machines.
pub fn seat(text: &str) -> Result<Seat, String> {
    let numbers = text.split_once('/').and_then(|(one, all)| Some((one.parse().ok()?, all.parse().ok()?)));
    match numbers {
        Some((machine @ 1.., machines @ 2..=MOST_MACHINES)) if machine <= machines => {
            Ok(Seat { machine: machine - 1, machines })
        }
        _ => Err("2/3 is the second of three machines".into()),
    }
}

/// What all machines must agree on before they train together.
fn terms(arguments: &Arguments, dataset: &UnpairedDataset) -> [(&'static str, String); 3] {
    let piles = [&dataset.train_a, &dataset.train_b];
    // Draws are by number, so the same files have to stand in the same order.
    let name = |source: &Source| source.name.rsplit('/').next().unwrap_or_default().to_owned();
    let names: Vec<_> = piles.iter().map(|pile| pile.iter().map(name).collect::<Vec<_>>().join("/")).collect();
    let [a, b] = piles.map(Vec::len);
    let checksum = crc32c::crc32c(names.join("//").as_bytes());
    [
        ("version", env!("CARGO_PKG_VERSION").into()),
        ("workers", arguments.workers.to_string()),
        ("pictures", format!("{a} of A and {b} of B, whose names have the checksum {checksum:08x}")),
    ]
}

/// How many machines there are.
pub fn count(arguments: &Arguments) -> u64 {
    arguments.machine.map_or(1, |seat| seat.machines as u64)
}

fn timeout(arguments: &Arguments) -> Duration {
    Duration::from_secs(u64::from(arguments.machine_timeout))
}

/// The first machine waits for the others, where there are any.
///
/// # Errors
/// When they do not come.
pub fn gather(arguments: &Arguments, pictures: &Pictures) -> Result<Option<Peers>> {
    let (Some(address), Some(seat)) = (&arguments.machines, arguments.machine) else { return Ok(None) };
    let terms = terms(arguments, &pictures.dataset()?);
    let peers = Peers::gather(address, seat.machines, &terms, timeout(arguments), |line| eprintln!("{line}"));
    Ok(Some(peers.map_err(anyhow::Error::msg)?))
}

/// Another machine than the first trains with it and keeps nothing.
///
/// # Errors
/// When it is told more than where its pictures are, or the training ends in trouble, there or here.
pub fn help(arguments: &Arguments, seat: Seat, serve: Serve) -> Result<ExitStatus> {
    let Arguments { out, resume, config, keep, domains, flags, epochs, n_epochs, n_epochs_decay, .. } = arguments;
    let is_told = out.is_some()
        || resume.is_some()
        || config.is_some()
        || keep.is_some()
        || domains.is_some()
        || [epochs, n_epochs, n_epochs_decay].iter().any(|epochs| epochs.is_some())
        || flags.0.preset().is_some()
        || flags.0.iter().next().is_some();
    let (Some(address), Some(path), false) = (&arguments.machines, &arguments.data, is_told) else {
        bail!(
            "machine {} of {} is told what to train by the first: it takes --data and, if needed, --backend, --workers \
             and --machine-timeout",
            seat.machine + 1,
            seat.machines
        );
    };
    let pictures = Pictures::read(path)?;
    let terms = terms(arguments, &pictures.dataset()?);
    eprintln!("joining the training at {address}");
    let (peers, state) = Peers::join(address, seat, &terms, timeout(arguments)).map_err(anyhow::Error::msg)?;
    Console::interruptible()?;

    // The first machine looks and measures.
    let intervals = Intervals { preview_every: Some(0), checkpoint_every: Some(0), evaluate_every: Some(0) };
    let command = Command::ResumeTraining { steps: None, intervals, data: pictures.data };
    let (config, _) = checkpoint::describe(&state)?;
    let command = Envelope::with(command, std::iter::once(state).chain(pictures.buffers).collect());
    let mut progress = Progress::new(2 * arguments.images_per_step(&config));
    let mut trouble = None;
    let console = Console::new([command], |envelope| match envelope.message {
        Event::TrainingStarted { step, steps, .. } => {
            progress.begin(step, steps);
            progress.say(&format!("machine {} of {}: steps {step} to {steps}", seat.machine + 1, seat.machines));
        }
        Event::Step { step, epoch, losses, learning_rate, steps_per_second } => {
            progress.step(&Step { step, epoch, losses, learning_rate, steps_per_second });
        }
        Event::ImageSkipped { file, reason } => progress.say(&format!("skipped {file}: {reason}")),
        Event::Stopped { step, trouble: Some(why) } => {
            trouble = Some(format!("the training ended after {step} steps: {why}"));
        }
        Event::Failed { message, .. } => drop(trouble.get_or_insert(message)),
        _ => {}
    });
    serve(arguments.backend, &console.shared_by(usize::from(arguments.workers)).among(Some(peers)))?;
    progress.end();
    match trouble {
        Some(message) => bail!(message),
        None => Ok(ExitStatus::Done),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_says_which_of_how_many_it_is() {
        assert_eq!(seat("2/3"), Ok(Seat { machine: 1, machines: 3 }));
        for wrong in ["", "2", "0/2", "3/2", "1/1", "1/", "a/b", "-1/2", "1/99999", "1/2/3"] {
            assert!(seat(wrong).is_err(), "{wrong}");
        }
    }
}
