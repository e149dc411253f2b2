//! A buffer that threads fill together, each other places of it.

use std::marker::PhantomData;

use super::unit::TILE;

/// The places of a buffer, to be written by several threads.
pub struct Shared<'a> {
    start: *mut f32,
    length: usize,
    buffer: PhantomData<&'a mut [f32]>,
}

// SAFETY: it only writes, and those who write keep to places of their own.
#[allow(unsafe_code, reason = "threads write outputs that lie between each other's")]
unsafe impl Sync for Shared<'_> {}

impl<'a> Shared<'a> {
    pub fn new(buffer: &'a mut [f32]) -> Self {
        Self { start: buffer.as_mut_ptr(), length: buffer.len(), buffer: PhantomData }
    }

    /// Writes 16 neighbours and adds a number to each. No two threads may write the same place.
    ///
    /// # Panics
    /// Outside the buffer.
    #[inline(always)]
    pub fn write_tile(&self, at: usize, values: &[f32], added: f32) {
        assert!(at + TILE <= self.length && values.len() == TILE);
        for (lane, value) in values.iter().enumerate() {
            #[allow(unsafe_code, reason = "threads write outputs that lie between each other's")]
            // SAFETY: inside the buffer.
            unsafe {
                self.start.add(at + lane).write(value + added);
            }
        }
    }

    /// Writes values so many places apart and adds a number to each. No two threads may write the same place.
    ///
    /// # Panics
    /// Outside the buffer.
    #[inline(always)]
    pub fn write(&self, at: usize, spacing: usize, values: &[f32], added: f32) {
        assert!(values.is_empty() || at + (values.len() - 1) * spacing < self.length);
        for (place, value) in values.iter().enumerate() {
            #[allow(unsafe_code, reason = "threads write outputs that lie between each other's")]
            // SAFETY: inside the buffer.
            unsafe {
                self.start.add(at + place * spacing).write(value + added);
            }
        }
    }
}
