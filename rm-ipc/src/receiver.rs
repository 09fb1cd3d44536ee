//! A subscription as a handle that waits by itself.
//!
//! Main types: [`Receiver`], a [`Subscriber`] with a doorbell of its own, and [`Sample`], what comes
//! out of it. It adds the ways to wait: for a thread, for a time, for a task, as an iterator, as a
//! stream.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rm_core::RuntimeData;

use crate::channel::{ChannelError, SharedMemoryChannel};
use crate::peer::ChannelRole;
use crate::subscriber::{ReceiveError, Subscriber};
use crate::turn::{Held, Turn};
use crate::wake::Doorbell;

/// Why a process was not subscribed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// This handle has a receiver already.
    #[error("this handle of channel {channel} is subscribed already; drop that receiver first")]
    AlreadySubscribed {
        /// Which channel.
        channel: rm_core::ChannelId,
    },
    /// The channel is closed.
    #[error("channel is closed")]
    ChannelClosed,
    /// The file permissions do not let this process have the channel.
    #[error("not authorized")]
    NotAuthorized(#[source] ChannelError),
    /// This process publishes on the channel.
    #[error("the publisher cannot subscribe")]
    IsPublisher(#[source] ChannelError),
    /// It could not be set up.
    #[error("cannot subscribe")]
    Setup(#[source] ChannelError),
}

impl From<ChannelError> for SubscribeError {
    fn from(error: ChannelError) -> Self {
        match error {
            ChannelError::Closed { .. } => Self::ChannelClosed,
            ChannelError::NotAuthorized { .. } => Self::NotAuthorized(error),
            ChannelError::OtherRole { role: ChannelRole::Publisher, .. } => {
                Self::IsPublisher(error)
            }
            error => Self::Setup(error),
        }
    }
}

/// One received message. It lies where its sender wrote it, and is given back when the last clone
/// of its payload is dropped.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample<T = RuntimeData> {
    data: T,
}

impl<T> Sample<T> {
    /// The message by itself.
    pub fn into_inner(self) -> T {
        self.data
    }
}

impl<T> std::ops::Deref for Sample<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.data
    }
}

/// Says that a handle is subscribed, for as long as it lives.
struct Subscribed(Arc<AtomicBool>);

impl Drop for Subscribed {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// The receiving end of a channel, with a doorbell of its own.
///
/// The methods that take `&self` may be called from several threads; each message goes to one of
/// them, one after another.
///
/// As an [`Iterator`] it blocks, and ends when the channel is closed; as a stream
/// (`futures_core::Stream`, with the feature `tokio`) it does the same without blocking. Both go on
/// after a message that is not valid, which is an `Err`.
pub struct Receiver<T = RuntimeData> {
    subscriber: Turn<Subscriber>,
    #[cfg(feature = "tokio")]
    waiter: crate::task::TaskWaiter,
    #[cfg(feature = "tokio")]
    bell: Arc<Doorbell>,
    _subscribed: Subscribed,
    _gives: PhantomData<fn() -> T>,
}

impl Receiver<RuntimeData> {
    /// Subscribes for `channel`, unless that handle or a clone of it is subscribed.
    pub(crate) fn new(
        channel: &SharedMemoryChannel,
        subscribed: &Arc<AtomicBool>,
    ) -> Result<Self, SubscribeError> {
        if subscribed.swap(true, Ordering::AcqRel) {
            return Err(SubscribeError::AlreadySubscribed {
                channel: channel.channel_id().clone(),
            });
        }
        let subscribed = Subscribed(subscribed.clone());
        let bell = Doorbell::create(&channel.shared.namespace)
            .map_err(|error| ChannelError::io(channel.channel_id(), error.into()))?;
        let bell = Arc::new(bell);
        let subscriber = Turn::new(channel.subscriber(&bell)?);
        Ok(Self {
            subscriber,
            #[cfg(feature = "tokio")]
            waiter: crate::task::TaskWaiter::default(),
            #[cfg(feature = "tokio")]
            bell,
            _subscribed: subscribed,
            _gives: PhantomData,
        })
    }

    fn take(&self) -> Held<'_, Subscriber> {
        self.subscriber.take(None).expect("there is no deadline")
    }

    /// The next message, waiting for it.
    ///
    /// # Errors
    /// [`ReceiveError::ChannelClosed`] at the end; `Header`, `Payload` or `Sequence` for a message
    /// that is not valid.
    pub fn recv(&self) -> Result<Sample, ReceiveError> {
        Ok(Sample { data: self.take().recv()? })
    }

    /// The next message, if there is one.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub fn try_recv(&self) -> Result<Option<Sample>, ReceiveError> {
        // Where another thread waits for a message there is none.
        let Some(mut subscriber) = self.subscriber.take(Some(Instant::now())) else {
            return Ok(None);
        };
        Ok(subscriber.try_recv()?.map(|data| Sample { data }))
    }

    /// The next message, waiting for it no longer than `timeout`.
    ///
    /// # Errors
    /// [`ReceiveError::TimedOut`], or as [`recv`](Self::recv).
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Sample, ReceiveError> {
        let deadline = Instant::now().checked_add(timeout);
        let subscriber = self.subscriber.take(deadline);
        let mut subscriber = subscriber.ok_or(ReceiveError::TimedOut(timeout))?;
        let data = subscriber.recv_until(deadline)?;
        Ok(Sample { data: data.ok_or(ReceiveError::TimedOut(timeout))? })
    }

    /// The next message; until there is one, the task is parked. A future that is dropped has taken
    /// none. The runtime in which a task first waits has to be driven as long as it exists.
    ///
    /// # Errors
    /// [`ReceiveError::Wait`] outside of a tokio runtime with I/O, or as [`recv`](Self::recv).
    #[cfg(feature = "tokio")]
    pub async fn recv_async(&mut self) -> Result<Sample, ReceiveError> {
        std::future::poll_fn(|context| self.poll_recv(context)).await
    }

    #[cfg(feature = "tokio")]
    fn poll_recv(
        &mut self,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<Sample, ReceiveError>> {
        let subscriber = self.subscriber.get_mut();
        loop {
            if let Some(data) = subscriber.try_recv()? {
                return std::task::Poll::Ready(Ok(Sample { data }));
            }
            let is_ready = || subscriber.is_ready();
            let waited = self.waiter.poll_wait(context, &self.bell, is_ready);
            std::task::ready!(waited).map_err(|error| ReceiveError::Wait(error.to_string()))?;
        }
    }

    /// The subscription's counters: latencies, bytes, what was missed, dropped or not valid. Waits for
    /// a thread that is receiving.
    pub fn with_subscriber<R>(&self, look: impl FnOnce(&Subscriber) -> R) -> R {
        look(&self.take())
    }
}

fn until_closed(
    received: Result<Sample, ReceiveError>,
) -> Option<Result<RuntimeData, ReceiveError>> {
    match received {
        Err(ReceiveError::ChannelClosed) => None,
        received => Some(received.map(Sample::into_inner)),
    }
}

impl Iterator for Receiver<RuntimeData> {
    type Item = Result<RuntimeData, ReceiveError>;

    fn next(&mut self) -> Option<Self::Item> {
        until_closed(self.recv())
    }
}

#[cfg(feature = "tokio")]
impl futures_core::Stream for Receiver<RuntimeData> {
    type Item = Result<RuntimeData, ReceiveError>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.poll_recv(context).map(until_closed)
    }
}

impl std::fmt::Debug for Receiver<RuntimeData> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.subscriber.take(Some(Instant::now())) {
            Some(subscriber) => f.debug_tuple("Receiver").field(&*subscriber).finish(),
            None => f.write_str("Receiver(in use)"),
        }
    }
}
