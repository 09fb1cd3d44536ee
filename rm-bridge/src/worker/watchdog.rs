//! Ends a process, or tells, when one item takes too long.
//!
//! Main type: [`Watchdog`]. It wakes at most once in the time that an item may take, and not at all
//! while there is no item: telling it of each item costs two stores and no system call.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// Nobody is at work.
const IDLE: u64 = u64::MAX;

#[derive(Debug)]
struct Shared {
    began: Instant,
    /// When work on the present item began, in nanoseconds since `began`.
    since: AtomicU64,
    item: AtomicU64,
    sleeps: AtomicBool,
    ended: AtomicBool,
}

/// Watches over the time of each item.
#[derive(Debug)]
pub(crate) struct Watchdog {
    shared: Arc<Shared>,
    thread: Thread,
}

impl Watchdog {
    /// Starts it. `overdue` is called, once, with the number of the item that is at work for longer
    /// than `timeout`.
    pub(crate) fn start(
        timeout: Duration,
        overdue: impl FnOnce(u64) + Send + 'static,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            began: Instant::now(),
            since: AtomicU64::new(IDLE),
            item: AtomicU64::new(0),
            sleeps: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        });
        let watched = Arc::clone(&shared);
        let watch = move || {
            if let Some(item) = watched.watch(timeout) {
                overdue(item);
            }
        };
        let builder = std::thread::Builder::new().name("watchdog".to_owned());
        let thread = builder.spawn(watch)?.thread().clone();
        Ok(Self { shared, thread })
    }

    /// Work on an item begins.
    pub(crate) fn begin(&self, item: u64) {
        self.shared.item.store(item, Ordering::Relaxed);
        self.shared.since.store(self.shared.now(), Ordering::SeqCst);
        if self.shared.sleeps.load(Ordering::SeqCst) {
            self.thread.unpark();
        }
    }

    /// Work on it has ended.
    pub(crate) fn end(&self) {
        self.shared.since.store(IDLE, Ordering::Relaxed);
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }
}

impl Shared {
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(IDLE - 1)
    }

    /// The item that is overdue; `None` when there is nothing more to watch.
    fn watch(&self, timeout: Duration) -> Option<u64> {
        let timeout = u64::try_from(timeout.as_nanos()).unwrap_or(IDLE);
        loop {
            if self.ended.load(Ordering::SeqCst) {
                return None;
            }
            let since = self.since.load(Ordering::SeqCst);
            if since == IDLE {
                self.sleeps.store(true, Ordering::SeqCst);
                // Either this sees the item that began meanwhile, or its beginner sees the sleeper.
                if self.since.load(Ordering::SeqCst) == IDLE && !self.ended.load(Ordering::SeqCst) {
                    std::thread::park();
                }
                self.sleeps.store(false, Ordering::SeqCst);
                continue;
            }
            let item = self.item.load(Ordering::Relaxed);
            let elapsed = self.now().saturating_sub(since);
            if elapsed < timeout {
                std::thread::park_timeout(Duration::from_nanos(timeout - elapsed));
            } else if self.since.load(Ordering::SeqCst) == since {
                return Some(item);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn an_item_that_takes_too_long_is_told_and_those_before_it_are_not() {
        let (sender, overdue) = mpsc::channel();
        let timeout = Duration::from_millis(50);
        let watchdog = Watchdog::start(timeout, move |item| {
            sender.send(item).expect("the test waits");
        });
        let watchdog = watchdog.unwrap();
        for item in 0..100 {
            watchdog.begin(item);
            watchdog.end();
        }
        watchdog.begin(100);
        assert_eq!(overdue.recv(), Ok(100));
    }

    #[test]
    fn a_watchdog_ends_with_its_owner_and_says_nothing() {
        let (sender, overdue) = mpsc::channel::<u64>();
        let watchdog = Watchdog::start(Duration::from_secs(3600), move |item| {
            sender.send(item).expect("the test waits");
        });
        let watchdog = watchdog.unwrap();
        watchdog.begin(1);
        drop(watchdog);
        assert_eq!(overdue.recv(), Err(mpsc::RecvError));
    }
}
