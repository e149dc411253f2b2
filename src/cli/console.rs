//! A terminal as the outside of a session.

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::platform::{files, peers::Peers};
use crate::protocol::{Command, Envelope, Event};
use crate::session::{Host, Inbox};

/// A training loses at most so much to a power cut, however slow its steps are.
const KEEP_SECONDS: u32 = 300;

/// Interrupts within this time are one person's wish, however many arrive.
const AT_ONCE: Duration = Duration::from_millis(500);

/// Set by Ctrl-C; see [`Console::interruptible`].
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Commands from an iterator, each made when the session asks for it; events to a closure.
pub struct Console<'a> {
    inbox: Inbox,
    commands: RefCell<Box<dyn Iterator<Item = Envelope<Command>> + 'a>>,
    listener: RefCell<Box<dyn FnMut(Envelope<Event>) + 'a>>,
    stopping: Cell<bool>,
    memory: Option<u64>,
    workers: usize,
    peers: Cell<Option<Peers>>,
    keeps_every: u32,
}

impl<'a> Console<'a> {
    /// A console that gives these commands and tells `listener` every event.
    pub fn new(
        commands: impl IntoIterator<Item = Envelope<Command>, IntoIter: 'a>,
        listener: impl FnMut(Envelope<Event>) + 'a,
    ) -> Self {
        Self {
            inbox: Inbox::default(),
            commands: RefCell::new(Box::new(commands.into_iter())),
            listener: RefCell::new(Box::new(listener)),
            stopping: Cell::new(false),
            memory: None,
            workers: 1,
            peers: Cell::default(),
            keeps_every: KEEP_SECONDS,
        }
    }

    /// The same with a limit of the memory that a translation may take, in bytes.
    pub fn within(self, memory: Option<u64>) -> Self {
        Self { memory, ..self }
    }

    /// The same with so many workers for a training.
    pub fn shared_by(self, workers: usize) -> Self {
        Self { workers, ..self }
    }

    /// The same with other machines for a training. Of those only the first writes it down.
    pub fn among(self, peers: Option<Peers>) -> Self {
        let is_first = peers.as_ref().is_none_or(|peers| peers.seat().machine == 0);
        let keeps_every = if is_first { KEEP_SECONDS } else { 0 };
        Self { peers: Cell::new(peers), keeps_every, ..self }
    }

    /// Bytes that a translation may take, if they are limited.
    pub fn memory(&self) -> Option<u64> {
        self.memory
    }

    /// From now on the first Ctrl-C ends a training after its step, with a checkpoint. The second one changes nothing,
    /// since programs that start others pass theirs on; a third kills, if it does not come at once.
    ///
    /// # Errors
    /// When the system does not let a handler be set.
    pub fn interruptible() -> Result<(), ctrlc::Error> {
        let mut interrupts = Interrupts::default();
        ctrlc::set_handler(move || {
            INTERRUPTED.store(true, Ordering::SeqCst);
            match interrupts.hear(Instant::now()) {
                Heard::First => {}
                Heard::Again => eprintln!("stopping after this step, with a checkpoint; press Ctrl-C again to lose it"),
                Heard::Enough => give_up(),
            }
        })
    }

    /// From now on Ctrl-C ends the program at once, and files that are half written are removed.
    ///
    /// # Errors
    /// When the system does not let a handler be set.
    pub fn tidy_when_interrupted() -> Result<(), ctrlc::Error> {
        ctrlc::set_handler(give_up)
    }
}

fn give_up() {
    files::abandon();
    std::process::exit(130);
}

/// Interrupts so far.
#[derive(Default)]
struct Interrupts {
    count: u32,
    first: Option<Instant>,
}

/// What an interrupt means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    First,
    Again,
    Enough,
}

impl Interrupts {
    fn hear(&mut self, now: Instant) -> Heard {
        self.count += 1;
        let first = *self.first.get_or_insert(now);
        match self.count {
            1 => Heard::First,
            3.. if now.duration_since(first) >= AT_ONCE => Heard::Enough,
            _ => Heard::Again,
        }
    }
}

impl Host for Console<'_> {
    fn keeps_every(&self) -> u32 {
        self.keeps_every
    }

    fn workers(&self) -> usize {
        self.workers
    }

    fn peers(&self) -> Option<Peers> {
        self.peers.take()
    }

    fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    fn emit(&self, event: Envelope<Event>) {
        (self.listener.borrow_mut())(event);
    }

    async fn breathe(&self) {
        if INTERRUPTED.load(Ordering::SeqCst) && !self.stopping.replace(true) {
            self.inbox.put_back(Command::Stop.into());
        }
    }

    async fn wait(&self) -> bool {
        let next = self.commands.borrow_mut().next();
        next.map(|command| self.inbox.put(command)).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_third_and_later_interrupt_kills() {
        let heard = |milliseconds: &[u64]| {
            let (start, mut interrupts) = (Instant::now(), Interrupts::default());
            let hear = |after: &u64| interrupts.hear(start + Duration::from_millis(*after));
            milliseconds.iter().map(hear).collect::<Vec<_>>()
        };
        assert_eq!(heard(&[0, 20]), [Heard::First, Heard::Again]);
        assert_eq!(heard(&[0, 20, 40]), [Heard::First, Heard::Again, Heard::Again]);
        assert_eq!(heard(&[0, 20, 2000]), [Heard::First, Heard::Again, Heard::Enough]);
        assert_eq!(heard(&[0, 9000]), [Heard::First, Heard::Again]);
    }
}
