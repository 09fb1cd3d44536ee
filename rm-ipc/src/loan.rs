//! Memory of a channel on its way from loan to sent.
//!
//! Main types: [`SampleMutUninit`], which is to be written, and [`SampleMut`], which has been
//! written and can be sent. Dropping either gives the memory back.

use std::mem::MaybeUninit;
use std::sync::Arc;

use rm_core::{DataHeader, MessageKind, MetadataError, RuntimeData, WireError, WireHeader};
use zerocopy::{FromBytes, IntoBytes};

use crate::channel::HeaderBytes;
use crate::namespace::IpcService;
use crate::publisher::Core;
use crate::segment;

/// Why memory could not be lent.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LoanError {
    /// The message can never fit.
    #[error("message of {len} bytes can never fit a channel of {capacity} bytes")]
    TooLarge {
        /// Bytes asked for.
        len: usize,
        /// Bytes that a message can have.
        capacity: usize,
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
}

pub(crate) type RawUninit =
    iceoryx2::sample_mut_uninit::SampleMutUninit<IpcService, [MaybeUninit<u8>], HeaderBytes>;
pub(crate) type Raw = iceoryx2::sample_mut::SampleMut<IpcService, [u8], HeaderBytes>;

/// Lent memory that is to be written. What it holds before that is of no meaning.
pub struct SampleMutUninit {
    pub(crate) raw: RawUninit,
    pub(crate) len: usize,
    pub(crate) core: Arc<Core>,
}

impl SampleMutUninit {
    /// The memory, aligned to 64 bytes.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut segment::as_bytes_mut(self.raw.payload_mut())[..self.len]
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
        let mut header = WireHeader::encode(header).map_err(LoanError::Header)?;
        let len = u32::try_from(self.len).expect("a loan is checked to be below 4 GiB");
        header.set_payload_size(len);
        let mut raw = segment::assume_written(self.raw);
        raw.user_header_mut().as_mut_bytes().copy_from_slice(header.as_bytes());
        Ok(SampleMut { raw, len: self.len, core: self.core })
    }

    /// Fills the memory with `payload`, which has to be as long, and counts the copy.
    pub(crate) fn fill(&mut self, payload: &[u8]) {
        self.bytes_mut().copy_from_slice(payload);
        self.core.count_copy(payload.len());
    }
}

/// Written memory that can be sent.
pub struct SampleMut {
    pub(crate) raw: Raw,
    pub(crate) len: usize,
    pub(crate) core: Arc<Core>,
}

impl SampleMut {
    /// The payload.
    pub fn payload(&self) -> &[u8] {
        &self.raw.payload()[..self.len]
    }

    /// Stamps the header with its position and the time of sending.
    pub(crate) fn stamp(&mut self, sequence: u64, sent_ns: u64) {
        let header = self.raw.user_header_mut().as_mut_bytes();
        let header = WireHeader::mut_from_bytes(header);
        header
            .expect("the header's type has as many bytes as a wire header")
            .stamp(sequence, sent_ns);
    }

    /// Sends the message, waiting for room (and for a subscriber, if there is none) on the
    /// publisher's doorbell.
    ///
    /// # Errors
    /// [`SendError::Closed`] if the channel is, or is closed while this waits.
    pub fn send(self) -> Result<(), SendError> {
        let core = self.core.clone();
        core.send(self, true)
    }

    /// Sends the message if there is room now.
    ///
    /// # Errors
    /// [`SendError::Full`] if there is none, [`SendError::Closed`] if the channel is closed.
    pub fn try_send(self) -> Result<(), SendError> {
        let core = self.core.clone();
        core.send(self, false)
    }
}

/// Everything that one item needs to be sent, copied once.
pub(crate) fn copy_in(core: &Arc<Core>, data: &RuntimeData) -> Result<SampleMut, LoanError> {
    let mut loan = Core::loan(core, data.payload().len())?;
    loan.fill(data.payload());
    loan.written(data.header())
}
