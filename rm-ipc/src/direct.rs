//! Channels without ports: publish, subscribe and lend on the handle itself, and the free functions
//! that do so in one default namespace.
//!
//! Main functions: [`create_channel`], [`open_channel`], [`publish`](fn@publish), [`subscribe`],
//! [`loan_uninit`], [`send`] and [`receive`]. All are thin: what they do is done by [`Publisher`] and
//! [`Receiver`], which can be had by themselves.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rm_core::{ChannelId, RuntimeData};

use crate::channel::{ChannelError, SharedMemoryChannel};
use crate::loan::{LoanError, SampleMut, SampleMutUninit, SendError};
use crate::namespace::{Namespace, WeakNamespace, lock};
use crate::options::{ChannelOptions, Policy};
use crate::publisher::{PublishError, Publisher};
use crate::receiver::{Receiver, Sample, SubscribeError};
use crate::subscriber::ReceiveError;
use crate::wake::Doorbell;

/// Names the folder of the namespace that is the default one, where that is not this process's own.
pub const NAMESPACE_VARIABLE: &str = "REMOTEMEDIA_NAMESPACE";

/// What a handle and its clones do on the channel by themselves.
#[derive(Default)]
pub(crate) struct Bound {
    publisher: Mutex<Option<Arc<Publisher>>>,
    subscribed: Arc<AtomicBool>,
}

impl SharedMemoryChannel {
    /// This handle's publisher, which joins at the first use and leaves with the last clone.
    fn own_publisher(&self) -> Result<Arc<Publisher>, LoanError> {
        let mut publisher = lock(&self.bound.publisher);
        if let Some(publisher) = &*publisher {
            return Ok(publisher.clone());
        }
        let not_publisher = |error: ChannelError| match error {
            ChannelError::Closed { .. } => LoanError::Closed,
            error @ (ChannelError::Full { .. } | ChannelError::OtherRole { .. }) => {
                LoanError::NotPublisher(Arc::new(error))
            }
            error => LoanError::Setup(Arc::new(error)),
        };
        let bell = Doorbell::create(&self.shared.namespace)
            .map_err(|error| ChannelError::io(self.channel_id(), error.into()))
            .map_err(not_publisher)?;
        let joined = Arc::new(Self::publisher(self, &Arc::new(bell)).map_err(not_publisher)?);
        Ok(publisher.insert(joined).clone())
    }

    /// Publishes `data`, joining as the publisher if this handle has not. What happens when the
    /// channel is full is its policy's matter: by default this waits.
    ///
    /// # Errors
    /// [`PublishError`]: `NotPublisher` if another handle or process publishes, or this process
    /// subscribes; otherwise as [`Publisher::publish`].
    pub fn publish(&self, data: &RuntimeData) -> Result<(), PublishError> {
        self.own_publisher()?.publish(data)
    }

    /// Publishes `data` if there is room now.
    ///
    /// # Errors
    /// [`PublishError::ChannelFull`] if there is none; otherwise as [`publish`](Self::publish).
    pub fn try_publish(&self, data: &RuntimeData) -> Result<(), PublishError> {
        self.own_publisher()?.try_publish(data)
    }

    /// Publishes `data`, waiting for room no longer than `timeout`.
    ///
    /// # Errors
    /// [`PublishError::ChannelFull`] if there was none in time; otherwise as
    /// [`publish`](Self::publish).
    pub fn publish_timeout(
        &self,
        data: &RuntimeData,
        timeout: Duration,
    ) -> Result<(), PublishError> {
        self.own_publisher()?.publish_timeout(data, timeout)
    }

    /// Publishes `data`; while there is no room, the task is parked.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    #[cfg(feature = "tokio")]
    pub async fn publish_async(&self, data: &RuntimeData) -> Result<(), PublishError> {
        self.own_publisher()?.publish_async(data).await
    }

    /// Subscribes to what is published from now on.
    ///
    /// # Errors
    /// [`SubscribeError`]: `AlreadySubscribed` while this handle has a receiver, `IsPublisher` if
    /// this process publishes, `NotAuthorized`, `ChannelClosed`.
    pub fn subscribe(&self) -> Result<Receiver, SubscribeError> {
        Receiver::new(self, &self.bound.subscribed)
    }

    /// Waits until every subscriber has taken what this handle has published, or for `timeout`;
    /// whether it has. True if it has published nothing.
    pub fn flush(&self, timeout: Duration) -> bool {
        let publisher = lock(&self.bound.publisher).clone();
        publisher.is_none_or(|publisher| publisher.flush(timeout))
    }

    /// Lends `size` bytes of the channel's memory, joining as the publisher if this handle has not.
    ///
    /// # Errors
    /// [`LoanError`]: `TooLarge` if it could never be sent, `NotPublisher`, `OutOfMemory`,
    /// `TooManyLoans`.
    pub fn loan_uninit(&self, size: usize) -> Result<SampleMutUninit, LoanError> {
        self.own_publisher()?.loan_uninit(size)
    }
}

/// The namespace of the free functions.
///
/// It is made at the first use, after what dead processes have left was swept, and is removed when
/// the last channel in it is dropped; the next use makes another. Where the environment variable
/// `REMOTEMEDIA_NAMESPACE` names the folder of one, that is opened instead: so processes share it.
///
/// # Errors
/// [`ChannelError::Namespace`].
pub fn default_namespace() -> Result<Namespace, ChannelError> {
    static DEFAULT: Mutex<Option<WeakNamespace>> = Mutex::new(None);
    let mut default = lock(&DEFAULT);
    if let Some(living) = default.as_ref().and_then(WeakNamespace::upgrade) {
        return Ok(living);
    }
    let namespace = match std::env::var_os(NAMESPACE_VARIABLE) {
        Some(folder) => Namespace::open(Path::new(&folder)),
        None => {
            // What cannot be swept now is swept by a later start.
            let _ = crate::sweep();
            Namespace::create()
        }
    }?;
    *default = Some(namespace.downgrade());
    Ok(namespace)
}

/// Creates a channel of `capacity` bytes in the default namespace. With `backpressure`, a full
/// channel makes its publisher wait; without, its oldest messages make way.
///
/// # Errors
/// [`ChannelError`]: `InvalidName`, `InvalidCapacity` unless the capacity is a power of two,
/// `AlreadyExists`, `SystemLimit`.
///
/// ```
/// use rm_ipc::{ChannelError, create_channel};
///
/// let channel = create_channel("speech", 1 << 20, true)?;
/// assert_eq!(channel.buffer_capacity(), 1 << 20);
/// assert!(matches!(create_channel("speech", 1 << 20, true), Err(ChannelError::AlreadyExists { .. })));
/// # Ok::<(), ChannelError>(())
/// ```
pub fn create_channel(
    name: &str,
    capacity: usize,
    backpressure: bool,
) -> Result<SharedMemoryChannel, ChannelError> {
    let policy = if backpressure { Policy::Block } else { Policy::DropOldest };
    let options = ChannelOptions { capacity, policy, ..ChannelOptions::default() };
    SharedMemoryChannel::create(&default_namespace()?, &ChannelId::new(name)?, options)
}

/// Opens a channel of the default namespace that another handle or process has created.
///
/// # Errors
/// [`ChannelError`]: `InvalidName`, `NotFound`, `NotAuthorized`.
pub fn open_channel(name: &str) -> Result<SharedMemoryChannel, ChannelError> {
    SharedMemoryChannel::open(&default_namespace()?, &ChannelId::new(name)?)
}

/// Publishes `data`; see [`SharedMemoryChannel::publish`].
///
/// # Errors
/// As that.
pub fn publish(channel: &SharedMemoryChannel, data: RuntimeData) -> Result<(), PublishError> {
    channel.publish(&data)
}

/// Subscribes; see [`SharedMemoryChannel::subscribe`].
///
/// # Errors
/// As that.
pub fn subscribe(channel: &SharedMemoryChannel) -> Result<Receiver<RuntimeData>, SubscribeError> {
    channel.subscribe()
}

/// Lends `size` bytes; see [`SharedMemoryChannel::loan_uninit`].
///
/// # Errors
/// As that.
pub fn loan_uninit(
    channel: &SharedMemoryChannel,
    size: usize,
) -> Result<SampleMutUninit<RuntimeData>, LoanError> {
    channel.loan_uninit(size)
}

/// Sends what was lent and written; see [`SampleMut::send`].
///
/// # Errors
/// As that.
pub fn send(sample: SampleMut<RuntimeData>) -> Result<(), SendError> {
    sample.send()
}

/// Receives the next message, waiting for it; see [`Receiver::recv`].
///
/// # Errors
/// As that.
pub fn receive(receiver: &Receiver<RuntimeData>) -> Result<Sample<RuntimeData>, ReceiveError> {
    receiver.recv()
}
