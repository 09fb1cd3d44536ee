//! Waiting on a doorbell without holding up a thread.
//!
//! Main types: [`TaskWaiter`], for one task that has a doorbell to itself, and [`Turn`], for tasks
//! that share a publisher. The FIFO sits in tokio's reactor; the adaptive spin happens inside the
//! task, before it is parked.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::unix::pipe;

use crate::handover;
use crate::namespace::Namespace;
use crate::wake::Doorbell;

/// A task's side of a doorbell.
#[derive(Default)]
pub(crate) struct TaskWaiter {
    pipe: Option<pipe::Receiver>,
    is_announced: bool,
}

impl TaskWaiter {
    /// Waits until `ready` says so. Whoever polls has the bell to himself.
    pub(crate) fn poll_wait(
        &mut self,
        context: &mut Context<'_>,
        bell: &Doorbell,
        mut ready: impl FnMut() -> bool,
    ) -> Poll<io::Result<()>> {
        if ready() || bell.spin(&mut ready) {
            if std::mem::take(&mut self.is_announced) {
                bell.retract();
            }
            return Poll::Ready(Ok(()));
        }
        loop {
            bell.announce();
            self.is_announced = true;
            if ready() {
                self.is_announced = false;
                bell.retract();
                return Poll::Ready(Ok(()));
            }
            let is_new = self.pipe.is_none();
            let pipe = match &mut self.pipe {
                Some(pipe) => pipe,
                none => none.insert(bell.open_pipe()?),
            };
            let mut rings = [0; 64];
            let read = Pin::new(pipe).poll_read(context, &mut ReadBuf::new(&mut rings));
            match ready!(read) {
                // It belongs to the reactor of a runtime that is gone; another is tried in this one.
                Err(_) if !is_new => self.pipe = None,
                read => read?,
            }
        }
    }
}

/// Tasks that wait for one publisher's room, one after another.
#[derive(Default)]
pub(crate) struct Turn {
    holder: tokio::sync::Mutex<Option<Waiting>>,
}

struct Waiting {
    bell: Doorbell,
    waiter: TaskWaiter,
    round: u32,
}

/// Says that no task waits any more, also if the waiting task is dropped.
struct Announced<'a>(&'a AtomicU32);

impl Drop for Announced<'_> {
    fn drop(&mut self) {
        handover::retract(self.0);
    }
}

impl Turn {
    /// Waits until `ready` says so, on a bell whose name is in `bell_name` while `waits` is set.
    pub(crate) async fn wait(
        &self,
        namespace: &Namespace,
        bell_name: &AtomicU64,
        waits: &AtomicU32,
        mut ready: impl FnMut() -> bool,
    ) -> io::Result<()> {
        let mut holder = self.holder.lock().await;
        let Waiting { bell, waiter, round } = match &mut *holder {
            Some(waiting) => waiting,
            none => {
                let bell = Doorbell::create(namespace).map_err(io::Error::other)?;
                bell_name.store(bell.id().0, Ordering::Release);
                none.insert(Waiting { bell, waiter: TaskWaiter::default(), round: 0 })
            }
        };
        let _announced = Announced(waits);
        handover::announce(waits, round);
        std::future::poll_fn(|context| waiter.poll_wait(context, bell, &mut ready)).await
    }
}
