//! Results that are wanted in the order of an index, computed before they are asked for: natively by threads that run
//! ahead, in a page when they are asked for.

/// Computes `work(index)` for the indices to come. `work` must be a function of its index alone, so that it makes no
/// difference who computes a result and when.
pub struct Ahead<T>(imp::Ahead<T>);

impl<T: Send + 'static> Ahead<T> {
    /// At most `depth` results are computed before they are asked for. Threads start with the first one that is taken,
    /// and end when this is dropped.
    pub fn new(depth: usize, work: impl Fn(u64) -> T + Send + Sync + 'static) -> Self {
        Self(imp::Ahead::new(depth, Box::new(work)))
    }

    /// The result at `index`. The ones that follow it are expected next; results of other indices are forgotten.
    pub fn take(&mut self, index: u64) -> T {
        self.0.take(index)
    }
}

type Work<T> = Box<dyn Fn(u64) -> T + Send + Sync>;

#[cfg(target_family = "wasm")]
mod imp {
    pub struct Ahead<T>(super::Work<T>);

    impl<T> Ahead<T> {
        pub fn new(_depth: usize, work: super::Work<T>) -> Self {
            Self(work)
        }

        pub fn take(&mut self, index: u64) -> T {
            (self.0)(index)
        }
    }
}

#[cfg(not(target_family = "wasm"))]
mod imp {
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
    use std::thread;

    /// Threads at most: decoding a picture takes a fraction of a training step.
    const MAX_THREADS: usize = 4;

    pub struct Ahead<T> {
        shared: Arc<Shared<T>>,
        has_threads: bool,
    }

    struct Shared<T> {
        work: super::Work<T>,
        depth: u64,
        queue: Mutex<Queue<T>>,
        changed: Condvar,
    }

    struct Queue<T> {
        /// The first index that is expected.
        next: u64,
        done: BTreeMap<u64, T>,
        in_hand: BTreeSet<u64>,
        is_over: bool,
    }

    impl<T> Shared<T> {
        /// Work is never done under the lock, so a panic leaves the queue whole.
        fn lock(&self) -> MutexGuard<'_, Queue<T>> {
            self.queue.lock().unwrap_or_else(PoisonError::into_inner)
        }

        fn wait<'a>(&self, queue: MutexGuard<'a, Queue<T>>) -> MutexGuard<'a, Queue<T>> {
            self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner)
        }

        fn work_ahead(&self) {
            let mut queue = self.lock();
            while !queue.is_over {
                let expected = queue.next..queue.next.saturating_add(self.depth);
                let open = expected
                    .into_iter()
                    .find(|index| !queue.done.contains_key(index) && !queue.in_hand.contains(index));
                let Some(index) = open else {
                    queue = self.wait(queue);
                    continue;
                };
                queue.in_hand.insert(index);
                drop(queue);
                let guard = InHand { shared: self, index };
                let result = (self.work)(index);
                queue = self.lock();
                if (queue.next..queue.next.saturating_add(self.depth)).contains(&index) || guard.is_waited_for(&queue) {
                    queue.done.insert(index, result);
                }
                drop(queue);
                drop(guard);
                queue = self.lock();
            }
        }
    }

    /// An index that a thread works on. Given back even when the work panics: whoever waits for it then does the work,
    /// and the panic, in its own thread.
    struct InHand<'a, T> {
        shared: &'a Shared<T>,
        index: u64,
    }

    impl<T> InHand<'_, T> {
        /// Whether it is the one before the expected ones: that one is being taken.
        fn is_waited_for(&self, queue: &Queue<T>) -> bool {
            self.index.checked_add(1) == Some(queue.next)
        }
    }

    impl<T> Drop for InHand<'_, T> {
        fn drop(&mut self) {
            self.shared.lock().in_hand.remove(&self.index);
            self.shared.changed.notify_all();
        }
    }

    impl<T: Send + 'static> Ahead<T> {
        pub fn new(depth: usize, work: super::Work<T>) -> Self {
            let queue = Queue { next: 0, done: BTreeMap::new(), in_hand: BTreeSet::new(), is_over: false };
            let shared = Shared { work, depth: depth as u64, queue: Mutex::new(queue), changed: Condvar::new() };
            Self { shared: Arc::new(shared), has_threads: false }
        }

        pub fn take(&mut self, index: u64) -> T {
            let shared = &self.shared;
            let mut queue = shared.lock();
            queue.next = index.saturating_add(1);
            let end = queue.next.saturating_add(shared.depth);
            queue.done.retain(|done, _| (index..end).contains(done));
            if !std::mem::replace(&mut self.has_threads, true) {
                let count = thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
                for _ in 0..count {
                    let shared = Arc::clone(shared);
                    // Where there can be no thread, the work is done when it is asked for.
                    let _ = thread::Builder::new().name("look-ahead".into()).spawn(move || shared.work_ahead());
                }
            }
            shared.changed.notify_all();
            loop {
                if let Some(result) = queue.done.remove(&index) {
                    return result;
                }
                if !queue.in_hand.contains(&index) {
                    break;
                }
                queue = shared.wait(queue);
            }
            drop(queue);
            (shared.work)(index)
        }
    }

    impl<T> Drop for Ahead<T> {
        /// Threads end with what they have in hand; nobody waits for them.
        fn drop(&mut self) {
            self.shared.lock().is_over = true;
            self.shared.changed.notify_all();
        }
    }
}

#[cfg(all(test, not(target_family = "wasm")))]
mod tests {
    use std::sync::mpsc;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use super::Ahead;

    /// Long enough for any machine; only a test that fails waits for it.
    const PATIENCE: Duration = Duration::from_secs(60);

    #[test]
    fn it_runs_ahead_as_far_as_it_may_and_no_further() {
        let (started, begun) = mpsc::channel();
        let started = Mutex::new(started);
        let mut ahead = Ahead::new(5, move |index| {
            started.lock().expect("no test panics here").send(index).expect("the test listens");
            index * index
        });
        assert!(begun.try_recv().is_err(), "nothing is done before the first is asked for");
        for taken in 0..4 {
            assert_eq!(ahead.take(taken), taken * taken);
            // The first time six are begun, then one each time: the five after the one that was taken are ready.
            let count = if taken == 0 { 6 } else { 1 };
            let mut seen: Vec<u64> = (0..count).map(|_| begun.recv_timeout(PATIENCE).expect("it runs ahead")).collect();
            seen.sort_unstable();
            let first = if taken == 0 { 0 } else { taken + 5 };
            assert_eq!(seen, (first..=taken + 5).collect::<Vec<_>>());
        }
        assert!(begun.try_recv().is_err(), "no further");
        drop(ahead);
        assert_eq!(begun.recv_timeout(PATIENCE), Err(mpsc::RecvTimeoutError::Disconnected), "the threads end");
    }

    #[test]
    fn any_index_can_be_asked_for_at_any_time() {
        let mut ahead = Ahead::new(3, |index: u64| index.wrapping_add(1000));
        for index in [0, 1, 2, 40, 41, 7, 7, 8, 10, 9, u64::MAX, 3] {
            assert_eq!(ahead.take(index), index.wrapping_add(1000));
        }
    }

    #[test]
    fn a_panic_reaches_the_one_who_asks_and_nobody_waits_for_ever() {
        let mut ahead = Ahead::new(4, |index: u64| {
            assert!(index != 3, "three is broken");
            index
        });
        assert_eq!((0..3).map(|index| ahead.take(index)).sum::<u64>(), 3);
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| ahead.take(3)));
        assert!(caught.is_err());
        assert_eq!(ahead.take(4), 4);
    }

    #[test]
    fn nothing_is_kept_of_what_was_passed_over() {
        let alive = Arc::new(());
        let held = Arc::clone(&alive);
        let mut ahead = Ahead::new(4, move |_| Arc::clone(&held));
        for index in (0..100).step_by(7) {
            drop(ahead.take(index));
            // This one, the work's own, four ready ones and one in each hand.
            assert!(Arc::strong_count(&alive) <= 2 + 4 + 4, "{}", Arc::strong_count(&alive));
        }
    }
}
