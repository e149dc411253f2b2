//! Machines that share one training: a connection each to the first of them, which adds up what all bring.
//!
//! Plain TCP, in the clear and without passwords: for a network whose machines trust each other. The first machine
//! listens; whoever joins says which of the machines it is and what it takes for granted (the version, the pictures), and
//! is sent the state to start from. Nothing that arrives decides how much memory is taken.

#[cfg(not(target_family = "wasm"))]
mod tcp;
#[cfg(not(target_family = "wasm"))]
pub use tcp::Peers;

/// Which of several machines one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    /// From 0; the first one listens.
    pub machine: usize,
    /// How many there are.
    pub machines: usize,
}

/// As on other systems; in a page there are none.
#[cfg(target_family = "wasm")]
#[derive(Debug)]
pub enum Peers {}

#[cfg(target_family = "wasm")]
impl Peers {
    /// Which of the machines this one is.
    pub fn seat(&self) -> Seat {
        match *self {}
    }

    /// Sends the others what they start from.
    ///
    /// # Errors
    /// Never: there are none.
    pub fn share(&mut self, _state: &[u8]) -> Result<(), String> {
        match *self {}
    }

    /// The sum of every machine's values.
    ///
    /// # Errors
    /// Never: there are none.
    pub fn sum(&mut self, _values: &mut [f32]) -> Result<(), String> {
        match *self {}
    }
}
