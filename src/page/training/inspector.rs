//! One picture on its way through the networks, as the page looks at it.

use std::rc::Rc;

use crate::protocol::{Command, Direction, Envelope, Inspected, Subject};

/// What the page looks at.
#[derive(Clone, Debug, PartialEq)]
pub enum Look {
    /// The next sample, or the one before.
    Step(i32),
    /// Samples of domain A, or of domain B.
    From(Direction),
    /// A picture of the visitor's.
    File {
        /// Its name.
        name: String,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// Whether the discriminators' maps lie over the pictures.
    Maps(bool),
    /// Whether it is on the stage, in place of the previews.
    Open(bool),
}

/// What was seen: see [`crate::protocol::Event::Inspected`].
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// What it is.
    pub about: Inspected,
    /// RGBA8 of the picture, its translation, its reconstruction and its identity mapping.
    pub pictures: [Vec<u8>; 4],
    /// How real each patch of the picture and of its translation is found: 255 for entirely.
    pub maps: [Vec<u8>; 2],
}

/// The inspector.
#[derive(Clone, Debug)]
pub struct Inspector {
    /// Whether it is on the stage.
    pub is_open: bool,
    /// Which domain the picture belongs to.
    pub direction: Direction,
    /// The sample's place in its pile.
    pub sample: u32,
    /// The visitor's own picture, in place of a sample.
    pub file: Option<(String, Rc<Vec<u8>>)>,
    /// Whether the maps are shown.
    pub has_maps: bool,
    /// What was seen last.
    pub seen: Option<Rc<Seen>>,
    /// Whether an answer is on its way, and whether it will be out of date.
    waiting: Option<bool>,
}

impl Default for Inspector {
    fn default() -> Self {
        Self {
            is_open: false,
            direction: Direction::AtoB,
            sample: 0,
            file: None,
            has_maps: true,
            seen: None,
            waiting: None,
        }
    }
}

impl Inspector {
    /// Looks at something else; the command that shows it, unless it is shown already or an answer is awaited.
    pub fn look(&mut self, look: Look) -> Option<Envelope<Command>> {
        match look {
            Look::Maps(has_maps) => {
                self.has_maps = has_maps;
                return None;
            }
            Look::Open(is_open) => self.is_open = is_open,
            Look::File { name, bytes } => (self.file, self.is_open) = (Some((name, Rc::new(bytes))), true),
            // A picture of one's own may be tried on both sides.
            Look::From(direction) => self.direction = direction,
            Look::Step(by) => {
                let count = self.seen.as_ref().map_or(1, |seen| seen.about.samples.max(1));
                if self.file.take().is_none() {
                    self.sample = (i64::from(self.sample) + i64::from(by)).rem_euclid(i64::from(count)) as u32;
                }
            }
        }
        self.ask()
    }

    /// The command that shows the picture as the networks are now, if it is on the stage and no answer is awaited.
    pub fn ask(&mut self) -> Option<Envelope<Command>> {
        if !self.is_open {
            return None;
        }
        if self.waiting.is_some() {
            self.waiting = Some(true);
            return None;
        }
        self.waiting = Some(false);
        let direction = self.direction;
        Some(match &self.file {
            Some((name, bytes)) => {
                let command = Command::Inspect { direction, subject: Subject::File { name: name.clone() } };
                Envelope::with(command, vec![bytes.to_vec()])
            }
            None => Command::Inspect { direction, subject: Subject::Sample { index: self.sample } }.into(),
        })
    }

    /// The answer; what to ask next, if it is out of date.
    pub fn hear(&mut self, about: Inspected, buffers: Vec<Vec<u8>>) -> Option<Envelope<Command>> {
        if let Ok([real, fake, rec, identity, of_real, of_fake]) = <[Vec<u8>; 6]>::try_from(buffers) {
            let seen = Seen { about, pictures: [real, fake, rec, identity], maps: [of_real, of_fake] };
            self.seen = Some(Rc::new(seen));
        }
        self.answered()
    }

    /// There is no answer: the picture is none, or something else went wrong.
    pub fn failed(&mut self) {
        if self.waiting.take().is_some() {
            self.file = None;
        }
    }

    /// The networks are gone.
    pub fn close(&mut self) {
        (self.is_open, self.seen, self.waiting) = (false, None, None);
    }

    fn answered(&mut self) -> Option<Envelope<Command>> {
        if self.waiting.take() == Some(true) { self.ask() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(command: Option<Envelope<Command>>) -> Option<(Direction, Subject, usize)> {
        let Envelope { message, buffers } = command?;
        let Command::Inspect { direction, subject } = message else { panic!("it only inspects") };
        Some((direction, subject, buffers.len()))
    }

    fn buffers() -> Vec<Vec<u8>> {
        (0..6).map(|byte| vec![byte]).collect()
    }

    #[test]
    fn it_asks_when_it_is_open_and_once_at_a_time() {
        let mut inspector = Inspector::default();
        assert_eq!(inspector.ask(), None, "nobody looks");
        let first = subject(inspector.look(Look::Open(true)));
        assert_eq!(first, Some((Direction::AtoB, Subject::Sample { index: 0 }, 0)));
        assert_eq!(inspector.look(Look::From(Direction::BtoA)), None, "an answer is on its way");
        let about = Inspected { samples: 3, ..Inspected::default() };
        let next = subject(inspector.hear(about.clone(), buffers()));
        assert_eq!(next, Some((Direction::BtoA, Subject::Sample { index: 0 }, 0)), "it was out of date");
        assert_eq!(inspector.hear(about, buffers()), None);
        assert_eq!(inspector.seen.as_ref().map(|seen| seen.maps[1][0]), Some(5));
        assert_eq!(inspector.look(Look::Maps(false)), None, "they are here already");
        let last = subject(inspector.look(Look::Step(-1)));
        assert_eq!(last, Some((Direction::BtoA, Subject::Sample { index: 2 }, 0)), "it goes round");
    }

    #[test]
    fn a_picture_of_ones_own_stays_until_samples_are_wanted_or_it_is_refused() {
        let mut inspector = Inspector::default();
        let own = || Look::File { name: "me.png".into(), bytes: vec![1] };
        let asked = subject(inspector.look(own()));
        assert_eq!(asked, Some((Direction::AtoB, Subject::File { name: "me.png".into() }, 1)));
        inspector.hear(Inspected { samples: 9, ..Inspected::default() }, buffers());
        assert_eq!(subject(inspector.look(Look::Step(1))), Some((Direction::AtoB, Subject::Sample { index: 0 }, 0)));
        inspector.hear(Inspected::default(), buffers());
        assert!(inspector.look(own()).is_some());
        inspector.failed();
        assert_eq!(subject(inspector.ask()), Some((Direction::AtoB, Subject::Sample { index: 0 }, 0)));
    }
}
