//! The sending half of a channel, from tasks and plain threads alike.
//!
//! Main type: [`Outbox`]. A frame is written by the thread that sends it as far as the socket takes it
//! at once; one task writes the rest later. Sending never waits: a sender that wants to bound what
//! piles up awaits [`Outbox::ready`] first. Whether a peer wants more is no matter here.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::Shutdown;
use tokio::io::Interest;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::inbox::Inbox;
use super::socket;
use crate::connection::ConnectionError;
use crate::protocol::{DEFAULT_MAX_FRAME, FrameError, HEADER_LEN, KEPT_CAPACITY, write_header};
use crate::sys;

/// What a queued descriptor counts for where bytes are counted: it is an open file, and behind it is
/// a body too large for a frame.
const ATTACHED_WEIGHT: usize = 64 * 1024;

/// How long the kernel is given to get rid of descriptors, when it holds as many in sockets as this
/// user may have there, or this process has as many as it may have. Nothing tells when there is room
/// again.
const PAUSE: Duration = Duration::from_millis(1);

thread_local! {
    /// Where frames are built, outside of the queue's lock: what encodes may run a caller's code, and
    /// that may take locks of its own, such as Python's.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// What a channel may carry and keep.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TransportOptions {
    /// Longest frame body in either direction, in bytes.
    pub(crate) max_frame: usize,
    /// Bytes waiting to be sent above which [`Outbox::ready`] waits. A descriptor counts for 64 KiB.
    pub(crate) high_water: usize,
}

impl Default for TransportOptions {
    fn default() -> Self {
        Self { max_frame: DEFAULT_MAX_FRAME, high_water: 1024 * 1024 }
    }
}

/// Makes a channel of a connected stream socket. What a full socket did not take at once is written by
/// a task of the current tokio runtime, which needs its I/O and time drivers.
///
/// # Errors
/// The operating system's, or that there is no current runtime.
pub(crate) fn open(stream: UnixStream, options: TransportOptions) -> io::Result<(Outbox, Inbox)> {
    let runtime = Handle::try_current().map_err(io::Error::other)?;
    stream.set_nonblocking(true)?;
    let stream = Arc::new(OwnedFd::from(stream));
    let sent = Arc::<AtomicU64>::default();
    let inbox = Inbox::new(Arc::clone(&stream), options.max_frame, Arc::clone(&sent))?;
    let shared = Arc::new(Shared {
        sent,
        stream,
        options,
        queue: Mutex::default(),
        work: Notify::new(),
        moved: Notify::new(),
    });
    runtime.spawn(write_queued(Writing(Arc::clone(&shared))));
    Ok((Outbox { handle: Arc::new(OutboxHandle(shared)) }, inbox))
}

/// Sends frames. Clones send over the same channel; when the last one is dropped, what is queued
/// still goes out, then the peer sees the end of the stream.
#[derive(Debug, Clone)]
pub(crate) struct Outbox {
    handle: Arc<OutboxHandle>,
}

impl Outbox {
    /// Sends one frame, which never waits: what the socket does not take now is queued. Frames of
    /// several threads arrive one after the other; those of one thread in their order.
    ///
    /// `encode` appends the body to what is there. It runs before any lock is taken, and may use
    /// [`encode_body`](crate::protocol::encode_body).
    ///
    /// # Errors
    /// [`ConnectionError::Frame`] if `encode` fails or the body is longer than allowed; nothing is
    /// sent then, and the channel stays as it is. [`ConnectionError::Closed`] after
    /// [`close`](Self::close) or if the peer is gone.
    pub(crate) fn send(
        &self,
        attached: Option<OwnedFd>,
        encode: impl FnOnce(&mut Vec<u8>) -> Result<(), FrameError>,
    ) -> Result<(), ConnectionError> {
        let shared = &self.handle.0;
        // While a thread ends there may be none any more.
        let mut frame = SCRATCH.try_with(Cell::take).unwrap_or_default();
        frame.clear();
        frame.extend_from_slice(&[0; HEADER_LEN]);
        let has_descriptor = attached.is_some();
        let result = encode(&mut frame)
            .and_then(|()| write_header(&mut frame, has_descriptor, shared.options.max_frame))
            .map_err(ConnectionError::from)
            .and_then(|()| shared.send(&frame, attached));
        shared.sent.fetch_add(1, Ordering::Relaxed);
        if frame.capacity() <= KEPT_CAPACITY {
            let _ = SCRATCH.try_with(|scratch| scratch.set(frame));
        }
        result
    }

    #[cfg(test)]
    fn is_closed(&self) -> bool {
        !matches!(self.handle.0.lock().state, State::Open)
    }

    /// Waits until less than the high-water mark is queued.
    ///
    /// # Errors
    /// As [`send`](Self::send), if the channel is closed.
    pub(crate) async fn ready(&self) -> Result<(), ConnectionError> {
        let high_water = self.handle.0.options.high_water;
        self.wait_until(|queue| match queue.state {
            State::Open => (queue.weight() < high_water).then_some(Ok(())),
            _ => Some(queue.check_open()),
        })
        .await
    }

    /// Waits until the socket has taken all that is queued.
    ///
    /// # Errors
    /// [`ConnectionError`] if the channel has failed before that.
    pub(crate) async fn flushed(&self) -> Result<(), ConnectionError> {
        self.wait_until(|queue| match queue.state {
            State::Over(Some(_)) => Some(queue.check_open()),
            _ => queue.bytes.is_empty().then_some(Ok(())),
        })
        .await
    }

    async fn wait_until<T>(&self, condition: impl Fn(&Queue) -> Option<T>) -> T {
        let shared = &self.handle.0;
        // Mostly there is nothing to wait for.
        if let Some(found) = condition(&shared.lock()) {
            return found;
        }
        loop {
            // Before the look at the queue, lest a change after it is missed.
            let mut moved = std::pin::pin!(shared.moved.notified());
            moved.as_mut().enable();
            let found = condition(&shared.lock());
            match found {
                Some(found) => return found,
                None => moved.await,
            }
        }
    }

    /// Takes no more frames. What is queued goes out, then the peer sees the end of the stream.
    pub(crate) fn close(&self) {
        self.handle.0.close();
    }
}

/// What clones of an outbox share; its end is theirs.
#[derive(Debug)]
struct OutboxHandle(Arc<Shared>);

impl Drop for OutboxHandle {
    fn drop(&mut self) {
        self.0.close();
    }
}

#[derive(Debug)]
struct Shared {
    /// Frames sent, by which the reader knows that an answer may come soon.
    sent: Arc<AtomicU64>,
    stream: Arc<OwnedFd>,
    options: TransportOptions,
    queue: Mutex<Queue>,
    /// Tells the task that there is something to write, or that it may end.
    work: Notify,
    /// Tells those who wait that there is less in the queue, or that its state is another.
    moved: Notify,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // What is done under the lock leaves the queue whole at every point where it could panic.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, frame: &[u8], mut attached: Option<OwnedFd>) -> Result<(), ConnectionError> {
        let mut queue = self.lock();
        queue.check_open()?;
        let was_empty = queue.bytes.is_empty();
        let mut rest = frame;
        if was_empty {
            let descriptor = attached.as_ref().map(OwnedFd::as_fd);
            match socket::send(&self.stream, &[IoSlice::new(frame)], descriptor) {
                Ok(sent) => {
                    rest = &frame[sent..];
                    attached = None;
                }
                Err(Errno::AGAIN | Errno::TOOMANYREFS) => {}
                Err(error) => {
                    queue.end(Some(error));
                    drop(queue);
                    self.work.notify_one();
                    self.moved.notify_waiters();
                    return Err(ConnectionError::from_io(error.into()));
                }
            }
        }
        if !rest.is_empty() {
            queue.append(rest, attached);
            drop(queue);
            if was_empty {
                self.work.notify_one();
            }
        }
        Ok(())
    }

    fn close(&self) {
        let mut queue = self.lock();
        if matches!(queue.state, State::Open) {
            queue.state = State::Closing;
            drop(queue);
            self.work.notify_one();
            self.moved.notify_waiters();
        }
    }
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Open,
    /// Takes no more frames; the task writes what there is.
    Closing,
    /// Nothing is written any more, for this reason if it did not end as it should.
    Over(Option<Errno>),
}

/// What the task does next.
enum Step {
    Write,
    Wait,
    End,
}

/// What waits to be written.
#[derive(Debug, Default)]
struct Queue {
    bytes: VecDeque<u8>,
    /// Bytes that were in the queue and are not any more: the number of its first byte.
    gone: u64,
    /// Descriptors, each by the number of the byte with which it goes.
    attached: VecDeque<(u64, OwnedFd)>,
    state: State,
}

impl Queue {
    fn check_open(&self) -> Result<(), ConnectionError> {
        match self.state {
            State::Open => Ok(()),
            State::Closing | State::Over(None) => Err(ConnectionError::Closed),
            State::Over(Some(error)) => Err(ConnectionError::from_io(error.into())),
        }
    }

    fn weight(&self) -> usize {
        self.bytes.len() + self.attached.len() * ATTACHED_WEIGHT
    }

    fn append(&mut self, bytes: &[u8], attached: Option<OwnedFd>) {
        let at = self.gone + self.bytes.len() as u64;
        self.attached.extend(attached.map(|descriptor| (at, descriptor)));
        self.bytes.extend(bytes);
    }

    /// Writes once. The kernel sends a descriptor with the first byte that it is given, so each call
    /// ends where the next descriptor's frame begins.
    fn write(&mut self, stream: &OwnedFd) -> Result<(), Errno> {
        let first = self.attached.front().filter(|(at, _)| *at == self.gone);
        let next = self.attached.get(usize::from(first.is_some()));
        let until = next.and_then(|(at, _)| usize::try_from(at - self.gone).ok());
        let len = until.unwrap_or(self.bytes.len());
        let (front, back) = self.bytes.as_slices();
        let front = &front[..len.min(front.len())];
        let back = &back[..len - front.len()];
        let descriptor = first.map(|(_, descriptor)| descriptor.as_fd());
        let slices = [IoSlice::new(front), IoSlice::new(back)];
        let sent = socket::send(stream, &slices, descriptor)?;
        if descriptor.is_some() {
            self.attached.pop_front();
        }
        self.bytes.drain(..sent);
        self.gone += sent as u64;
        if self.bytes.is_empty() {
            self.bytes.shrink_to(KEPT_CAPACITY);
        }
        Ok(())
    }

    fn next_step(&mut self) -> Step {
        match self.state {
            State::Over(_) => Step::End,
            _ if !self.bytes.is_empty() => Step::Write,
            State::Open => Step::Wait,
            State::Closing => {
                self.end(None);
                Step::End
            }
        }
    }

    /// Ends it, unless it has ended.
    fn end(&mut self, error: Option<Errno>) {
        if !matches!(self.state, State::Over(_)) {
            *self = Self { state: State::Over(error), ..Self::default() };
        }
    }
}

/// The task's hold on the channel, which ends with it, also when its runtime does.
struct Writing(Arc<Shared>);

impl Drop for Writing {
    fn drop(&mut self) {
        self.0.lock().end(Some(Errno::CANCELED));
        // It fails only where the peer is gone.
        let _ = rustix::net::shutdown(&*self.0.stream, Shutdown::Write);
        self.0.moved.notify_waiters();
    }
}

/// The task that writes what the senders could not.
async fn write_queued(writing: Writing) {
    let shared = &writing.0;
    loop {
        let step = shared.lock().next_step();
        match step {
            Step::Write => {}
            Step::Wait => {
                shared.work.notified().await;
                continue;
            }
            Step::End => return,
        }
        let written = shared.lock().write(&shared.stream);
        match written {
            Ok(()) => {
                // Who waits for room is not woken to find none.
                let has_room = {
                    let queue = shared.lock();
                    queue.bytes.is_empty() || queue.weight() < shared.options.high_water
                };
                if has_room {
                    shared.moved.notify_waiters();
                }
            }
            Err(Errno::AGAIN) => {
                if wait_for_room(&shared.stream).await.is_err() {
                    // This process may open no more files, for now.
                    tokio::time::sleep(PAUSE).await;
                }
            }
            // The kernel counts descriptors on their way, those of other processes too.
            Err(Errno::TOOMANYREFS) => tokio::time::sleep(PAUSE).await,
            Err(error) => return shared.lock().end(Some(error)),
        }
        // A peer that reads without end must not keep other tasks from running.
        tokio::task::coop::consume_budget().await;
    }
}

/// Waits until a socket takes more. It is told by another descriptor than the reader's, which would
/// wake that each time the peer has read.
async fn wait_for_room(stream: &OwnedFd) -> io::Result<()> {
    let writable = sys::awaitable(Arc::new(stream.try_clone()?), Interest::WRITABLE)?;
    writable.writable().await?.retain_ready();
    Ok(())
}

#[cfg(test)]
mod tests;
