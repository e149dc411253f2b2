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
    /// A buffer that has its values.
    pub fn new(buffer: &'a mut [f32]) -> Self {
        Self { start: buffer.as_mut_ptr(), length: buffer.len(), buffer: PhantomData }
    }

    /// The first values of the room behind a buffer's own, which need not be anything yet.
    pub fn room(buffer: &'a mut Vec<f32>, length: usize) -> Self {
        let room = buffer.spare_capacity_mut();
        assert!(room.len() >= length);
        Self { start: room.as_mut_ptr().cast(), length, buffer: PhantomData }
    }

    /// Writes neighbours and adds a number to each. No two threads may write the same place.
    ///
    /// # Panics
    /// Outside the buffer.
    #[inline(always)]
    pub fn write(&self, at: usize, values: &[f32], added: f32) {
        assert!(at + values.len() <= self.length);
        // What is in the way most often, so that it becomes one vector.
        if let Ok(values) = <&[f32; TILE]>::try_from(values) {
            self.put(at, values, added);
        } else if let Ok(values) = <&[f32; 2 * TILE]>::try_from(values) {
            self.put(at, values, added);
        } else {
            self.put(at, values, added);
        }
    }

    /// The place `at`, which is inside the buffer or just behind it.
    #[allow(unsafe_code, reason = "what is written there is up to the caller")]
    pub fn place(&self, at: usize) -> *mut f32 {
        assert!(at <= self.length);
        // SAFETY: see above.
        unsafe { self.start.add(at) }
    }

    /// How many places there are.
    pub fn len(&self) -> usize {
        self.length
    }

    #[inline(always)]
    fn put(&self, at: usize, values: &[f32], added: f32) {
        for (place, value) in values.iter().enumerate() {
            #[allow(unsafe_code, reason = "threads write outputs that lie between each other's")]
            // SAFETY: inside the buffer, as `write` has made sure.
            unsafe {
                self.start.add(at + place).write(value + added);
            }
        }
    }
}
