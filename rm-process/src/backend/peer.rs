//! Who is at the other end of a backend's connections.
//!
//! Main types: [`ProcessPeer`], a child of this process, and [`AttachedPeer`], one that was started
//! by somebody else. What the child tells of itself waits in [`Words`].

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::backend::FAREWELL;
use super::error::SubprocessIpcBackendError;
use crate::exit::{ExitReason, ExitStatus};
use crate::failure::cut_to;
use crate::link::{LinkEnd, Peer, Word};
use crate::protocol::{Failed, Progress};
use crate::supervision::Core;

/// Longest text of a child's about itself that is kept, in bytes.
const MAX_TEXT: usize = 8 * 1024;

/// How long a child that closed its connection has until it counts as alive without one: a dying
/// process closes its descriptors a moment before its death can be seen.
pub(crate) const DEATH_AFTER_CLOSE: Duration = Duration::from_millis(500);

/// What a child tells of itself.
#[derive(Debug, Clone, PartialEq)]
pub enum ChildStatus {
    /// It is loading what it needs.
    Progress(Progress),
    /// It has what it needs.
    Ready,
    /// It cannot go on, and why.
    Failed(Failed),
}

/// What a child told and nobody heard yet. Of progress only the latest is kept.
#[derive(Debug, Default)]
pub(crate) struct Words {
    inner: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    words: VecDeque<ChildStatus>,
    is_over: bool,
    wakers: Vec<Waker>,
}

/// How many words wait at most: readiness and failure are told once by a child that behaves.
const MAX_WORDS: usize = 8;

impl Words {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, word: ChildStatus) {
        let mut waiting = self.lock();
        let is_newer = matches!(word, ChildStatus::Progress(_))
            && matches!(waiting.words.back(), Some(ChildStatus::Progress(_)));
        if is_newer {
            waiting.words.pop_back();
        }
        if waiting.words.len() < MAX_WORDS {
            waiting.words.push_back(word);
        }
        wake_all(waiting);
    }

    /// Nothing is told any more.
    pub(crate) fn end(&self) {
        let mut waiting = self.lock();
        waiting.is_over = true;
        wake_all(waiting);
    }

    pub(crate) fn poll_next(&self, context: &mut Context<'_>) -> Poll<Option<ChildStatus>> {
        let mut waiting = self.lock();
        if let Some(word) = waiting.words.pop_front() {
            return Poll::Ready(Some(word));
        }
        if waiting.is_over {
            return Poll::Ready(None);
        }
        // Clones of a child may be asked at the same time.
        if !waiting.wakers.iter().any(|waker| waker.will_wake(context.waker())) {
            waiting.wakers.push(context.waker().clone());
        }
        Poll::Pending
    }
}

/// Wakes who waits, after what they look at was let go of.
fn wake_all(mut waiting: MutexGuard<'_, Waiting>) {
    let wakers = std::mem::take(&mut waiting.wakers);
    drop(waiting);
    wakers.into_iter().for_each(Waker::wake);
}

/// What tells the end of a child without keeping it alive.
pub(crate) struct Watch {
    pub(crate) words: Arc<Words>,
    /// `None` for one that somebody else started.
    pub(crate) core: Option<Arc<Core>>,
}

impl Watch {
    /// Waits until the child can be called no more.
    pub(crate) async fn over(&self) {
        while poll_fn(|context| self.words.poll_next(context)).await.is_some() {}
    }

    /// How it ended. One that lives on without its connection is killed after a while.
    pub(crate) async fn end(&self) -> (ExitStatus, SubprocessIpcBackendError) {
        let Some(core) = &self.core else {
            let exit = ExitStatus::from_wait(None, ExitReason::Crash);
            return (exit, SubprocessIpcBackendError::Closed);
        };
        if tokio::time::timeout(FAREWELL, core.exited()).await.is_err() {
            core.kill();
        }
        let exit = core.exited().await;
        let report = Box::new(core.report());
        (exit, SubprocessIpcBackendError::ProcessEnded { report })
    }
}

/// What the child told, in bounds.
fn status_of(word: Word) -> Option<ChildStatus> {
    match word {
        Word::Stop => None,
        Word::Progress(Progress { fraction, mut message }) => {
            let fraction = if fraction.is_nan() { 0.0 } else { fraction.clamp(0.0, 1.0) };
            cut_to(&mut message, MAX_TEXT);
            Some(ChildStatus::Progress(Progress { fraction, message }))
        }
        Word::Ready => Some(ChildStatus::Ready),
        Word::Failed(failed) => Some(ChildStatus::Failed(failed.cut(MAX_TEXT))),
    }
}

/// A child of this process.
pub(crate) struct ProcessPeer {
    pub(crate) core: Weak<Core>,
    pub(crate) words: Arc<Words>,
}

impl Peer for ProcessPeer {
    fn heard(&self, word: Word) {
        let Some(status) = status_of(word) else { return };
        if let Some(core) = self.core.upgrade() {
            core.heard(&status);
        }
        self.words.put(status);
    }

    fn gone(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let core = self.core.upgrade();
        Box::pin(async {
            if let Some(core) = core {
                core.exited().await;
            }
        })
    }

    fn explain(&self, end: LinkEnd) -> Pin<Box<dyn Future<Output = LinkEnd> + Send + '_>> {
        Box::pin(async move {
            self.words.end();
            let (LinkEnd::Closed, Some(core)) = (&end, self.core.upgrade()) else { return end };
            match tokio::time::timeout(DEATH_AFTER_CLOSE, core.exited()).await {
                Ok(_) => LinkEnd::Ended(Box::new(core.report())),
                Err(_) => end,
            }
        })
    }
}

/// A process that somebody else started.
pub(crate) struct AttachedPeer {
    pub(crate) words: Arc<Words>,
}

impl Peer for AttachedPeer {
    fn heard(&self, word: Word) {
        if let Some(status) = status_of(word) {
            self.words.put(status);
        }
    }

    fn gone(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        // Its death shows by its connections.
        Box::pin(std::future::pending())
    }

    fn explain(&self, end: LinkEnd) -> Pin<Box<dyn Future<Output = LinkEnd> + Send + '_>> {
        self.words.end();
        Box::pin(std::future::ready(end))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn everybody_who_waits_for_a_word_hears_that_none_comes() {
        let words = Words::default();
        let woken: Vec<_> = (0..2).map(|_| Arc::new(Woken(AtomicUsize::new(0)))).collect();
        for woken in &woken {
            let waker = Waker::from(Arc::clone(woken));
            assert!(words.poll_next(&mut Context::from_waker(&waker)).is_pending());
        }
        words.end();
        assert!(woken.iter().all(|woken| woken.0.load(Ordering::SeqCst) == 1));
    }
}
