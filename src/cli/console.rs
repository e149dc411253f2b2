//! A terminal as the outside of a session.

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::platform::peers::Peers;
use crate::protocol::{Command, Envelope, Event};
use crate::session::{Host, Inbox};

/// A training loses at most so much to a power cut, however slow its steps are.
const KEEP_SECONDS: u32 = 300;

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

    /// From now on the first Ctrl-C ends a training after its step, with a checkpoint; the second kills.
    ///
    /// # Errors
    /// When the system does not let a handler be set.
    pub fn interruptible() -> Result<(), ctrlc::Error> {
        ctrlc::set_handler(|| {
            if INTERRUPTED.swap(true, Ordering::SeqCst) {
                std::process::exit(130);
            }
        })
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
