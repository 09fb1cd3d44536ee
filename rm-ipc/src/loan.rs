//! Memory of a channel on its way from loan to sent.
//!
//! Main types: [`SampleMutUninit`], which is to be written, and [`SampleMut`], which has been
//! written and can be sent. Dropping either gives the memory back. Both become a [`RuntimeData`] where
//! they are received; that is what their type parameter says.

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rm_core::{DataHeader, MessageKind, MetadataError, RuntimeData, WireError, WireHeader};
use zerocopy::{FromBytes, IntoBytes};

use crate::channel::{ChannelError, HeaderBytes};
use crate::namespace::IpcService;
use crate::publisher::Core;

/// Why memory could not be lent.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum LoanError {
    /// The message can never fit.
    #[error("message of {len} bytes can never fit a channel whose messages have {limit} at most")]
    TooLarge {
        /// Bytes asked for.
        len: usize,
        /// Bytes that a message can have.
        limit: usize,
    },
    /// There is no shared memory left on the machine, or the process may not have more.
    #[error("no shared memory for {len} bytes: {reason}")]
    OutOfMemory {
        /// Bytes asked for.
        len: usize,
        /// What the system said.
        reason: String,
    },
    /// Too many loans are held at once.
    #[error("{limit} loans are held already; send or drop one first")]
    TooManyLoans {
        /// How many may be held.
        limit: usize,
    },
    /// The header cannot be carried.
    #[error("header cannot be carried")]
    Header(#[source] WireError),
    /// The payload is not what its header says.
    #[error("payload is not what its header says")]
    Payload(#[source] MetadataError),
    /// Another handle or process is the channel's publisher, or this process subscribes to it.
    #[error("not the publisher")]
    NotPublisher(#[source] Arc<ChannelError>),
    /// The channel could not be joined.
    #[error("cannot join as the publisher")]
    Setup(#[source] Arc<ChannelError>),
    /// The channel is closed.
    #[error("channel is closed")]
    Closed,
}

/// Why a message was not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The channel is closed.
    #[error("channel is closed")]
    Closed,
    /// The channel is full, and the caller would not wait.
    #[error("channel is full")]
    Full,
    /// iceoryx2 could not deliver although there was room.
    #[error("delivery failed: {0}")]
    Delivery(String),
    /// The task could not be parked: it runs outside of a tokio runtime with I/O.
    #[error("cannot wait for room: {0}")]
    Wait(String),
}

pub(crate) type RawUninit =
    iceoryx2::sample_mut_uninit::SampleMutUninit<IpcService, [MaybeUninit<u8>], HeaderBytes>;
pub(crate) type Raw = iceoryx2::sample_mut::SampleMut<IpcService, [u8], HeaderBytes>;

/// Lent memory that is to be written. What it holds before that is of no meaning.
pub struct SampleMutUninit<T = RuntimeData> {
    pub(crate) raw: Raw,
    pub(crate) len: usize,
    /// Bytes that were copied in from elsewhere.
    pub(crate) copied: usize,
    pub(crate) core: Arc<Core>,
    pub(crate) _becomes: PhantomData<fn() -> T>,
}

impl SampleMutUninit<RuntimeData> {
    /// The memory, aligned to 64 bytes.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.raw.payload_mut()[..self.len]
    }

    /// Declares the memory written, under a header whose payload size is set to its length.
    ///
    /// # Errors
    /// [`LoanError::Payload`] if the length is not that of the header's metadata,
    /// [`LoanError::Header`] if the header cannot be carried.
    pub fn written(self, header: &DataHeader) -> Result<SampleMut, LoanError> {
        if header.kind == MessageKind::Data {
            header.metadata.check_payload_len(self.len).map_err(LoanError::Payload)?;
        }
        let Self { raw, len, copied, core, .. } = self;
        let mut sample = SampleMut { raw, len, copied, core, _becomes: PhantomData };
        let wire = header_mut(&mut sample.raw);
        wire.encode_from(header).map_err(LoanError::Header)?;
        wire.set_payload_size(u32::try_from(len).expect("a loan is checked to be below 4 GiB"));
        Ok(sample)
    }

    /// Fills the memory with `payload`, which has to be as long, and counts the copy.
    pub(crate) fn fill(&mut self, payload: &[u8]) {
        self.bytes_mut().copy_from_slice(payload);
        self.copied = payload.len();
    }
}

/// Written memory that can be sent.
pub struct SampleMut<T = RuntimeData> {
    pub(crate) raw: Raw,
    pub(crate) len: usize,
    pub(crate) copied: usize,
    pub(crate) core: Arc<Core>,
    pub(crate) _becomes: PhantomData<fn() -> T>,
}

impl SampleMut<RuntimeData> {
    /// The payload.
    pub fn payload(&self) -> &[u8] {
        &self.raw.payload()[..self.len]
    }

    /// Sends the message. If the channel is full, it does what its policy says: by default it waits
    /// for room (and for a subscriber, if there is none) on the publisher's doorbell.
    ///
    /// # Errors
    /// [`SendError::Closed`] if the channel is, or is closed while this waits.
    pub fn send(self) -> Result<(), SendError> {
        Core::send(self, None).map_err(TrySendError::into_cause)
    }

    /// Sends the message if there is room now.
    ///
    /// # Errors
    /// [`TrySendError::Full`] with the message if there is none; `Failed` with
    /// [`SendError::Closed`] if the channel is closed.
    pub fn try_send(self) -> Result<(), TrySendError> {
        Core::try_send(self)
    }

    /// Sends the message, waiting for room no longer than `timeout`.
    ///
    /// # Errors
    /// [`TrySendError::Full`] with the message if there was none in time; otherwise as
    /// [`try_send`](Self::try_send).
    pub fn send_timeout(self, timeout: Duration) -> Result<(), TrySendError> {
        // A time that no clock can show is no limit.
        let deadline = Instant::now().checked_add(timeout);
        Core::send(self, deadline)
    }

    /// Sends the message; while there is no room, the task is parked. A future that is dropped has
    /// not sent.
    ///
    /// # Errors
    /// [`SendError::Closed`] if the channel is, or is closed while this waits.
    #[cfg(feature = "tokio")]
    pub async fn send_async(self) -> Result<(), SendError> {
        Core::send_async(self).await
    }
}

/// The header of a message, as it lies in memory.
pub(crate) fn header_mut(raw: &mut Raw) -> &mut WireHeader {
    WireHeader::mut_from_bytes(raw.user_header_mut().as_mut_bytes())
        .expect("the header's type has as many bytes as a wire header")
}

/// Why a message was not sent by one who would not wait for ever.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum TrySendError {
    /// There is no room. The message can be sent later.
    #[error("channel is full")]
    Full(Box<SampleMut>),
    /// It cannot be sent at all.
    #[error(transparent)]
    Failed(#[from] SendError),
}

impl TrySendError {
    /// The cause alone; a message that it carries is given back unsent.
    pub fn into_cause(self) -> SendError {
        match self {
            Self::Full(_) => SendError::Full,
            Self::Failed(error) => error,
        }
    }
}

impl std::fmt::Debug for TrySendError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Full(sample) => f.debug_tuple("Full").field(&sample.len).finish(),
            Self::Failed(error) => f.debug_tuple("Failed").field(error).finish(),
        }
    }
}

/// Everything that one item needs to be sent, copied once.
pub(crate) fn copy_in(core: &Arc<Core>, data: &RuntimeData) -> Result<SampleMut, LoanError> {
    let mut loan = Core::loan(core, data.payload().len())?;
    loan.fill(data.payload());
    loan.written(data.header())
}
