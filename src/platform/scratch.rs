//! Working memory that is kept from one kernel call to the next: asking the system for megabytes
//! of fresh pages costs more than the arithmetic done on them.

use std::cell::RefCell;

thread_local! {
    static FREE: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// Runs `work` on `N` buffers of the given lengths, whose contents are left over from earlier use.
/// In debug builds they are NaN, so that a value which was never written shows.
pub fn with<const N: usize, R>(lengths: [usize; N], work: impl FnOnce([&mut [f32]; N]) -> R) -> R {
    let mut buffers = lengths.map(take);
    let mut slices = buffers.iter_mut().zip(lengths).map(|(buffer, length)| &mut buffer[..length]);
    let result = work(std::array::from_fn(|_| slices.next().unwrap_or_default()));
    drop(slices);
    FREE.with_borrow_mut(|free| free.extend(buffers));
    result
}

/// The smallest free buffer that is long enough, else the longest made longer.
fn take(length: usize) -> Vec<f32> {
    let mut buffer = FREE.with_borrow_mut(|free| {
        let fitting =
            (0..free.len()).filter(|&index| free[index].len() >= length).min_by_key(|&index| free[index].len());
        let chosen = fitting.or_else(|| (0..free.len()).max_by_key(|&index| free[index].len()));
        chosen.map(|index| free.swap_remove(index)).unwrap_or_default()
    });
    if buffer.len() < length {
        buffer = Vec::new();
        buffer.resize(length, 0.0);
    }
    if cfg!(debug_assertions) {
        // All bits set is a NaN, and setting bytes is fast without optimisation, too.
        bytemuck::cast_slice_mut::<f32, u8>(&mut buffer[..length]).fill(0xff);
    }
    buffer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back() {
        let place = |length| with([length], |[buffer]| (buffer.as_ptr(), buffer.len()));
        let (first, _) = place(1000);
        assert_eq!(place(10), (first, 10), "one buffer is enough for one after the other");
        with([4, 6], |[left, right]| {
            assert_ne!(left.as_ptr(), right.as_ptr());
            assert!(left.iter().chain(right.iter()).all(|value| value.is_nan()), "debug builds poison them");
        });
    }
}
