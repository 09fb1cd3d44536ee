//! Where the items of one call wait for who made it.
//!
//! Main type: [`ReplySlot`]. A synchronous reply is a stream of one item. It does not know where the
//! items come from; what `flow` decides to tell the sender is handed to who takes the item.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::end::CallEnd;
use super::flow::{Inflow, cost};

/// One slot for both kinds of replies: the one item of a synchronous call, and the items of a stream.
///
/// It holds at most a window of items that were not taken, and one end, which comes after them and
/// stays.
#[derive(Debug)]
pub struct ReplySlot<R> {
    inner: Mutex<Inner<R>>,
}

#[derive(Debug)]
struct Inner<R> {
    /// Items with their costs.
    items: VecDeque<(R, u64)>,
    end: Option<CallEnd>,
    waker: Option<Waker>,
    flow: Inflow,
}

/// What was taken out of a slot.
#[derive(Debug)]
pub(crate) enum Taken<R> {
    /// An item, what it costs, and of how much consumption the sender is to be told.
    Item(R, u64, Option<u64>),
    /// There are no further items.
    End(CallEnd),
}

impl<R> ReplySlot<R> {
    /// A slot that takes items until `window` bytes of them wait.
    pub(crate) fn new(window: u64) -> Self {
        let inner =
            Inner { items: VecDeque::new(), end: None, waker: None, flow: Inflow::new(window) };
        Self { inner: Mutex::new(inner) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<R>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many items wait to be taken.
    pub fn len(&self) -> usize {
        self.lock().items.len()
    }

    /// Whether no item waits to be taken.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether its end has come, be it that items still wait before it.
    pub fn has_ended(&self) -> bool {
        self.lock().end.is_some()
    }

    /// Puts an item of `len` bytes in; false if the sender had no credit for it.
    #[must_use]
    pub(crate) fn put(&self, item: R, len: u64) -> bool {
        let waker = {
            let mut inner = self.lock();
            if inner.end.is_some() {
                return true;
            }
            let cost = cost(len);
            if !inner.flow.arrived(cost) {
                return false;
            }
            inner.items.push_back((item, cost));
            inner.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }

    /// Puts the last item in, of `len` bytes, which needs no credit: nothing comes after it.
    pub(crate) fn put_last(&self, item: R, len: u64) {
        let waker = {
            let mut inner = self.lock();
            if inner.end.is_some() {
                return;
            }
            let cost = cost(len);
            let _ = inner.flow.arrived(cost);
            inner.items.push_back((item, cost));
            inner.end = Some(CallEnd::Done);
            inner.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Ends it. The first end counts.
    pub(crate) fn end(&self, end: CallEnd) {
        let waker = {
            let mut inner = self.lock();
            if inner.end.is_none() {
                inner.end = Some(end);
            }
            inner.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The sender waits for credit. Gives what it is to be told.
    pub(crate) fn blocked(&self) -> Option<u64> {
        self.lock().flow.blocked()
    }

    /// Gives what the sender is to be told, so that it is not held back any longer.
    pub(crate) fn tell(&self) -> Option<u64> {
        self.lock().flow.tell()
    }

    pub(crate) fn poll_take(&self, context: &mut Context<'_>) -> Poll<Taken<R>> {
        let mut inner = self.lock();
        if let Some((item, cost)) = inner.items.pop_front() {
            let credit = inner.flow.consumed(cost);
            return Poll::Ready(Taken::Item(item, cost, credit));
        }
        if let Some(end) = &inner.end {
            return Poll::Ready(Taken::End(end.clone()));
        }
        match &mut inner.waker {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }
}
