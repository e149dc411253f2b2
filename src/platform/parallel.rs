//! Sharing work between threads: rayon natively, the calling thread in a browser.

use std::ops::Range;

/// Threads that [`map`] and [`chunks_mut`] use.
pub fn threads() -> usize {
    #[cfg(not(target_family = "wasm"))]
    return rayon::current_num_threads();
    #[cfg(target_family = "wasm")]
    1
}

/// `0..count` cut into one run of neighbours a thread; no run is empty.
pub fn shares(count: usize) -> Vec<Range<usize>> {
    let size = count.div_ceil(threads()).max(1);
    (0..count).step_by(size).map(|start| start..(start + size).min(count)).collect()
}

/// `work` on every item, results in the items' order.
pub fn map<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync + Send) -> Vec<R> {
    #[cfg(not(target_family = "wasm"))]
    if items.len() > 1 {
        use rayon::prelude::*;
        return items.par_iter().map(work).collect();
    }
    items.iter().map(work).collect()
}

/// `work(index, chunk)` on every chunk of `size` elements (the last may be shorter).
pub fn chunks_mut<T: Send>(data: &mut [T], size: usize, work: impl Fn(usize, &mut [T]) + Sync + Send) {
    #[cfg(not(target_family = "wasm"))]
    if data.len() > size && threads() > 1 {
        use rayon::prelude::*;
        data.par_chunks_mut(size.max(1)).enumerate().for_each(|(index, chunk)| work(index, chunk));
        return;
    }
    data.chunks_mut(size.max(1)).enumerate().for_each(|(index, chunk)| work(index, chunk));
}

/// `work(index, chunk of left, chunk of right)` on chunks of two slices that are cut into equally many.
pub fn zip_chunks_mut<T: Send>(
    (left, left_size): (&mut [T], usize),
    (right, right_size): (&mut [T], usize),
    work: impl Fn(usize, &mut [T], &mut [T]) + Sync + Send,
) {
    #[cfg(not(target_family = "wasm"))]
    if left.len() > left_size && threads() > 1 {
        use rayon::prelude::*;
        let pairs = left.par_chunks_mut(left_size.max(1)).zip(right.par_chunks_mut(right_size.max(1)));
        pairs.enumerate().for_each(|(index, (left, right))| work(index, left, right));
        return;
    }
    let pairs = left.chunks_mut(left_size.max(1)).zip(right.chunks_mut(right_size.max(1)));
    pairs.enumerate().for_each(|(index, (left, right))| work(index, left, right));
}
