//! The trace in which the running code is.
//!
//! Main functions: [`current`], [`scope`] for futures, [`enter`] for plain code. One thread-local
//! value serves both: a scoped future puts its context there whenever it is polled, so whatever was
//! entered last is what counts. A context does not follow into spawned tasks and threads; who
//! spawns passes it on.

use std::cell::Cell;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::pin::pin;

use rm_core::TraceContext;

thread_local! {
    static CURRENT: Cell<Option<TraceContext>> = const { Cell::new(None) };
}

/// The context of the running code: of the `tracing` span that is entered, where OpenTelemetry
/// records it (feature `opentelemetry`), else the one given to [`scope`] or [`enter`].
pub fn current() -> Option<TraceContext> {
    #[cfg(feature = "opentelemetry")]
    if let Some(context) = super::bridge::context_of(&tracing::Span::current()) {
        return Some(context);
    }
    CURRENT.get()
}

/// Runs `future` in the trace `context`; in none if there is none, whatever the caller's is.
pub async fn scope<F: Future>(context: Option<TraceContext>, future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|task| {
        let _entered = enter(context);
        future.as_mut().poll(task)
    })
    .await
}

/// Puts this thread into the trace `context` until the guard is dropped, which puts back what was
/// there before. Guards are to be dropped in the opposite order, and not held over an `await`.
#[must_use = "the context ends with the guard"]
pub fn enter(context: Option<TraceContext>) -> Entered {
    Entered { before: CURRENT.replace(context), on_this_thread: PhantomData }
}

/// Ends a context on its thread; from [`enter`].
#[derive(Debug)]
pub struct Entered {
    before: Option<TraceContext>,
    on_this_thread: PhantomData<*const ()>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(self.before);
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use tokio::task::yield_now;

    use super::*;

    fn context(id: u8) -> Option<TraceContext> {
        Some(TraceContext { trace_id: [id; 16], span_id: [id; 8], flags: 1 })
    }

    #[test]
    fn a_guard_puts_back_what_was_there() {
        assert_eq!(current(), None);
        let outer = enter(context(1));
        {
            let _inner = enter(context(2));
            assert_eq!(current(), context(2));
            let _none = enter(None);
            assert_eq!(current(), None);
        }
        assert_eq!(current(), context(1));
        drop(outer);
        assert_eq!(current(), None);
    }

    #[test]
    fn a_panic_leaves_no_context_behind() {
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _entered = enter(context(1));
            panic!("on purpose");
        }));
        assert!(panicked.is_err());
        assert_eq!(current(), None);
    }

    #[test]
    fn another_thread_begins_without_a_context() {
        let _entered = enter(context(1));
        assert_eq!(std::thread::spawn(current).join().unwrap(), None);
    }

    #[tokio::test]
    async fn interleaved_tasks_keep_their_contexts() {
        let task = |id| {
            scope(context(id), async move {
                for _ in 0..100 {
                    assert_eq!(current(), context(id));
                    let inner = scope(context(id + 100), async {
                        yield_now().await;
                        current()
                    });
                    assert_eq!(inner.await, context(id + 100));
                    assert_eq!(current(), context(id));
                    yield_now().await;
                }
            })
        };
        tokio::join!(task(1), task(2), task(3));
        assert_eq!(current(), None);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_task_keeps_its_context_when_threads_take_it_over() {
        let tasks: Vec<_> = (1..=16)
            .map(|id| {
                tokio::spawn(scope(context(id), async move {
                    for _ in 0..200 {
                        assert_eq!(current(), context(id));
                        yield_now().await;
                    }
                }))
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    }
}
