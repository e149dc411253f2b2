//! Where commands wait.

use std::cell::RefCell;
use std::collections::VecDeque;

use crate::protocol::{Command, Envelope};

/// Commands in the order of their arrival. For one thread: the host fills it while the session waits.
#[derive(Debug, Default)]
pub struct Inbox(RefCell<VecDeque<Envelope<Command>>>);

impl Inbox {
    /// Adds a command at the end.
    pub fn put(&self, command: Envelope<Command>) {
        self.0.borrow_mut().push_back(command);
    }

    /// Puts a command back as the next to be taken.
    pub fn put_back(&self, command: Envelope<Command>) {
        self.0.borrow_mut().push_front(command);
    }

    /// Takes the oldest command.
    pub fn take(&self) -> Option<Envelope<Command>> {
        self.0.borrow_mut().pop_front()
    }

    /// Whether no command waits.
    pub fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    /// Takes out a waiting [`Command::Cancel`] of `job`; true when there was one.
    pub fn take_cancel(&self, job: u32) -> bool {
        let mut queue = self.0.borrow_mut();
        let position = queue.iter().position(|waiting| waiting.message == Command::Cancel { job });
        position.is_some_and(|position| queue.remove(position).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cancel_overtakes_what_waits_and_only_its_own_job() {
        let inbox = Inbox::default();
        inbox.put(Command::Pause.into());
        inbox.put(Command::Cancel { job: 2 }.into());
        assert!(!inbox.take_cancel(1));
        assert!(inbox.take_cancel(2));
        assert!(!inbox.take_cancel(2));
        assert_eq!(inbox.take().map(|command| command.message), Some(Command::Pause));
        assert!(inbox.is_empty());
    }
}
