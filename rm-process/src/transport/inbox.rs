//! The receiving half of a channel.
//!
//! Main type: [`Inbox`]. It hands out frames whole, in their order, and with the descriptors that
//! travelled with them; it does not look into their bodies.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Instant;

use rm_core::Spin;
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::net::UnixStream;

use super::socket::{self, Received};
use crate::connection::ConnectionError;
use crate::protocol::{FrameDecoder, FrameError, Head};

/// By how many budgets what is sent meanwhile may prolong a spin.
const LONGEST_SPIN: u32 = 2;

/// What came: it lies in the inbox until the next frame is asked for.
#[derive(Debug)]
pub(crate) struct Frame<'a> {
    /// The body.
    pub(crate) body: &'a [u8],
    /// The descriptor that travelled with it, close-on-exec. It is the peer's choice what it is.
    pub(crate) attached: Option<OwnedFd>,
}

/// Receives frames.
#[derive(Debug)]
pub(crate) struct Inbox {
    stream: Arc<UnixStream>,
    decoder: FrameDecoder,
    /// Descriptors of frames that are not given out yet: one of the frame that is on its way, and
    /// while a call looks at what it has read one more.
    attached: VecDeque<OwnedFd>,
    is_over: bool,
    /// How long to look again before sleeping: to wake a sleeper takes longer than most answers.
    spin: Spin,
    /// Frames that this side has sent.
    sent: Arc<AtomicU64>,
}

impl Inbox {
    pub(super) fn new(stream: Arc<UnixStream>, max_frame: usize, sent: Arc<AtomicU64>) -> Self {
        let decoder = FrameDecoder::new(max_frame);
        Self {
            stream,
            decoder,
            attached: VecDeque::new(),
            is_over: false,
            spin: Spin::default(),
            sent,
        }
    }

    /// The next frame; `None` at the end of the stream, and always after an error. Nothing is lost if
    /// the returned future is dropped.
    ///
    /// # Errors
    /// [`ConnectionError::Frame`] if the peer did not keep to the protocol or died in the middle of a
    /// frame, [`ConnectionError::Io`].
    pub(crate) async fn next(&mut self) -> Result<Option<Frame<'_>>, ConnectionError> {
        if self.is_over {
            return Ok(None);
        }
        match self.complete().await {
            Ok(Some((head, attached))) => {
                Ok(Some(Frame { body: self.decoder.take(head), attached }))
            }
            end => {
                self.is_over = true;
                self.attached.clear();
                end.map(|_| None)
            }
        }
    }

    /// Reads until a frame is complete. `None` at the end of the stream.
    async fn complete(&mut self) -> Result<Option<(Head, Option<OwnedFd>)>, ConnectionError> {
        loop {
            let head = self.decoder.head()?;
            if let Some(head) = head.filter(|head| head.is_complete) {
                let attached = if head.has_descriptor {
                    Some(self.attached.pop_front().ok_or(FrameError::MissingDescriptor)?)
                } else {
                    None
                };
                return Ok(Some((head, attached)));
            }
            // A descriptor comes with the first byte of its frame, so only the frame of which a part
            // is here can still account for one.
            let may_have = match head {
                Some(head) => head.has_descriptor,
                None => self.decoder.finish().is_err(),
            };
            if self.attached.len() > usize::from(may_have) {
                return Err(FrameError::UnexpectedDescriptor.into());
            }
            let received = self.receive().await.map_err(ConnectionError::from_io)?;
            if received.is_cut {
                return Err(FrameError::DescriptorLost.into());
            }
            if received.descriptors > 1 {
                return Err(FrameError::UnexpectedDescriptor.into());
            }
            if received.bytes == 0 {
                self.decoder.finish()?;
                return Ok(None);
            }
        }
    }

    /// Waits for bytes and takes them in.
    async fn receive(&mut self) -> io::Result<Received> {
        // A peer that writes without end must not keep other tasks from running.
        tokio::task::coop::consume_budget().await;
        if let Some(received) = self.look().transpose()? {
            return Ok(received);
        }
        if let Some(received) = self.look_again().await? {
            return Ok(received);
        }
        loop {
            self.stream.readable().await?;
            let mut found = None;
            let stream = Arc::clone(&self.stream);
            let attempt = stream.try_io(Interest::READABLE, || match self.look() {
                None => Err(io::ErrorKind::WouldBlock.into()),
                Some(received) => {
                    found = Some(received?);
                    Ok(())
                }
            });
            match (found, attempt) {
                (Some(received), _) => return Ok(received),
                // What was told of has been read before, while this task was awake.
                (None, Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
                (None, Err(error)) => return Err(error),
                (None, Ok(())) => unreachable!("what is found is kept"),
            }
        }
    }

    /// Takes in what is there, if there is anything.
    fn look(&mut self) -> Option<io::Result<Received>> {
        let room = self.decoder.room();
        match socket::receive(&self.stream, room, &mut self.attached) {
            Ok(received) => {
                self.decoder.filled(received.bytes);
                Some(Ok(received))
            }
            // A peer that died with unread input resets the channel; all it sent came before.
            Err(Errno::CONNRESET) => Some(Ok(Received { bytes: 0, descriptors: 0, is_cut: false })),
            Err(Errno::AGAIN) => None,
            Err(error) => Some(Err(error.into())),
        }
    }

    /// Looks as long as that pays whether something comes, while other tasks run.
    async fn look_again(&mut self) -> io::Result<Option<Received>> {
        let budget = self.spin.next_budget();
        if budget.is_zero() {
            return Ok(None);
        }
        let (mut end, mut sent) = (Instant::now() + budget, self.sent.load(Ordering::Relaxed));
        // Who sends a stream sends again and again, and hears little.
        let last = end + LONGEST_SPIN * budget;
        loop {
            let_others_run().await;
            let sent_by_now = self.sent.load(Ordering::Relaxed);
            if sent_by_now != sent {
                // What is waited for may be the answer to that.
                (end, sent) = ((Instant::now() + budget).min(last), sent_by_now);
            }
            if let Some(received) = self.look() {
                self.spin.record(budget, true);
                return received.map(Some);
            }
            if Instant::now() >= end {
                self.spin.record(budget, false);
                return Ok(None);
            }
        }
    }
}

/// Goes to the end of the queue of tasks that can run. Tokio's own way would ask the operating system
/// for events each time.
async fn let_others_run() {
    let mut has_waited = false;
    poll_fn(|context| {
        if std::mem::replace(&mut has_waited, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests;
