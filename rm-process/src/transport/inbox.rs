//! The receiving half of a channel.
//!
//! Main type: [`Inbox`]. It hands out frames whole, in their order, and with the descriptors that
//! travelled with them; it does not look into their bodies.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rm_core::Spin;
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::socket::{self, Received};
use crate::connection::ConnectionError;
use crate::protocol::{FrameDecoder, FrameError, Head};
use crate::sys;

/// How long it takes from one look to the next at most, while nothing else runs. Who was kept away for
/// longer may have kept the peer from this core, and had better slept.
const KEPT_AWAY: Duration = Duration::from_micros(4);

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
    /// Events of writing would wake the reader each time the peer has read.
    stream: AsyncFd<Arc<OwnedFd>>,
    intake: Intake,
    is_over: bool,
    /// How long to look again before sleeping: to wake a sleeper takes longer than most answers.
    spin: Spin,
    /// Frames that this side has sent.
    sent: Arc<AtomicU64>,
}

/// What was taken in.
#[derive(Debug)]
struct Intake {
    decoder: FrameDecoder,
    /// Descriptors of frames that are not given out yet: one of the frame that is on its way, and
    /// while a call looks at what it has read one more.
    attached: VecDeque<OwnedFd>,
    /// Whether the last look has taken all that was there.
    is_drained: bool,
}

impl Inbox {
    pub(super) fn new(
        stream: Arc<OwnedFd>,
        max_frame: usize,
        sent: Arc<AtomicU64>,
    ) -> io::Result<Self> {
        Ok(Self {
            stream: sys::awaitable(stream, Interest::READABLE)?,
            intake: Intake {
                decoder: FrameDecoder::new(max_frame),
                attached: VecDeque::new(),
                is_drained: false,
            },
            is_over: false,
            spin: Spin::default(),
            sent,
        })
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
                Ok(Some(Frame { body: self.intake.decoder.take(head), attached }))
            }
            end => {
                self.is_over = true;
                self.intake.attached.clear();
                end.map(|_| None)
            }
        }
    }

    /// Reads until a frame is complete. `None` at the end of the stream.
    async fn complete(&mut self) -> Result<Option<(Head, Option<OwnedFd>)>, ConnectionError> {
        loop {
            let head = self.intake.decoder.head()?;
            if let Some(head) = head.filter(|head| head.is_complete) {
                let attached = if head.has_descriptor {
                    Some(self.intake.attached.pop_front().ok_or(FrameError::MissingDescriptor)?)
                } else {
                    None
                };
                return Ok(Some((head, attached)));
            }
            // A descriptor comes with the first byte of its frame, so only the frame of which a part
            // is here can still account for one.
            let may_have = match head {
                Some(head) => head.has_descriptor,
                None => self.intake.decoder.finish().is_err(),
            };
            if self.intake.attached.len() > usize::from(may_have) {
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
                self.intake.decoder.finish()?;
                return Ok(None);
            }
        }
    }

    /// Waits for bytes and takes them in.
    async fn receive(&mut self) -> io::Result<Received> {
        // A peer that writes without end must not keep other tasks from running.
        tokio::task::coop::consume_budget().await;
        if !self.intake.is_drained
            && let Some(received) = self.look()
        {
            return received;
        }
        if let Some(received) = self.look_again().await? {
            return Ok(received);
        }
        loop {
            let mut readable = self.stream.readable().await?;
            let received = self.intake.look(readable.get_inner());
            // What comes from here on is told anew. Of what was told now it may all have been read
            // before, while this task was awake.
            if self.intake.is_drained {
                readable.clear_ready();
            }
            if let Some(received) = received {
                return received;
            }
        }
    }

    /// Takes in what is there, if there is anything.
    fn look(&mut self) -> Option<io::Result<Received>> {
        self.intake.look(self.stream.get_ref())
    }

    /// Looks as long as that pays whether something comes, while other tasks run.
    async fn look_again(&mut self) -> io::Result<Option<Received>> {
        let budget = self.spin.next_budget();
        if budget.is_zero() {
            return Ok(None);
        }
        let mut looked = Instant::now();
        let (mut end, mut sent) = (looked + budget, self.sent.load(Ordering::Relaxed));
        // Who sends a stream sends again and again, and hears little.
        let last = end + LONGEST_SPIN * budget;
        loop {
            // Should this future be dropped here, the next one looks at once.
            self.intake.is_drained = false;
            // Lets all others run, also the future that the runtime blocks on.
            tokio::task::yield_now().await;
            let sent_by_now = self.sent.load(Ordering::Relaxed);
            if sent_by_now != sent {
                // What is waited for may be the answer to that.
                (end, sent) = ((Instant::now() + budget).min(last), sent_by_now);
            }
            if let Some(received) = self.look() {
                self.spin.record(budget, looked.elapsed() < KEPT_AWAY);
                return received.map(Some);
            }
            looked = Instant::now();
            if looked >= end {
                self.spin.record(budget, false);
                return Ok(None);
            }
        }
    }
}

impl Intake {
    /// Takes in what is there, if there is anything.
    fn look(&mut self, stream: &OwnedFd) -> Option<io::Result<Received>> {
        let room = self.decoder.room();
        let len = room.len();
        let received = socket::receive(stream, room, &mut self.attached);
        // Where a descriptor came, the kernel has stopped behind its message.
        self.is_drained = match &received {
            Ok(received) => received.bytes < len && received.descriptors == 0,
            Err(error) => *error == Errno::AGAIN,
        };
        match received {
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
}

#[cfg(test)]
mod tests;
