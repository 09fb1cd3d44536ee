//! Items into shared memory, and out of it.
//!
//! Main types: [`IPCDataConverter`], and [`IPCMessage`], which says where an item lies. An item is
//! written once; it is read where it lies. Samples of other formats or rates are not made here: that is
//! the work of nodes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bytes::{BufMut, Bytes, BytesMut};
use rm_core::{ChannelId, DataType, MessageKind, RuntimeData, WIRE_HEADER_LEN, WireHeader};
use rm_ipc::{ChannelOptions, PublishError, Receiver, SharedMemoryChannel};
use zerocopy::{FromBytes, IntoBytes};

use super::channels::ChannelRegistry;
use super::error::ConversionError;
use crate::worker::lock;

/// Texts and documents of up to so many bytes go by themselves: to look for them elsewhere would take
/// longer than to carry them.
const MAX_INLINE: usize = 4096;

/// An item on its way.
#[derive(Debug)]
#[non_exhaustive]
pub enum IPCMessage {
    /// It lies in shared memory.
    SharedMemoryRef(SampleRef),
    /// It is here: the 256-byte header, then the payload.
    Inline(Bytes),
}

/// Where in shared memory an item lies. Dropped unread, it lets go of the item.
#[derive(Debug)]
pub struct SampleRef {
    inbox: Arc<Mutex<Inbox>>,
    sequence: u64,
    len: usize,
    channel: ChannelId,
    is_taken: bool,
}

impl SampleRef {
    /// The channel.
    pub fn channel(&self) -> &ChannelId {
        &self.channel
    }

    /// The item's position in the channel, from 0.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The length of its payload in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no payload.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl Drop for SampleRef {
    fn drop(&mut self) {
        if !self.is_taken {
            // What cannot be received now is not there to be let go of.
            let _ = lock(&self.inbox).take(self.sequence);
        }
    }
}

/// What was written and not read yet.
#[derive(Debug)]
struct Inbox {
    receiver: Receiver,
    /// Items that were passed by on the way to later ones.
    arrived: HashMap<u64, RuntimeData>,
}

impl Inbox {
    /// The item at a position: it has been written, so that nobody has to wait for it.
    fn take(&mut self, sequence: u64) -> Result<Option<RuntimeData>, rm_ipc::ReceiveError> {
        if let Some(item) = self.arrived.remove(&sequence) {
            return Ok(Some(item));
        }
        while let Some(sample) = self.receiver.try_recv()? {
            let item = sample.into_inner();
            let found = item.header().sequence;
            if found == sequence {
                return Ok(Some(item));
            }
            self.arrived.insert(found, item);
        }
        Ok(None)
    }
}

/// Takes items into shared memory and out of it, by one channel.
///
/// As many items as the channel is deep can be under way; then [`to_ipc`](Self::to_ipc) waits until one
/// is read or let go of.
///
/// ```
/// use std::sync::Arc;
///
/// use rm_bridge::{ChannelRegistry, IPCDataConverter, IPCMessage};
/// use rm_core::RuntimeData;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let converter = IPCDataConverter::new(Arc::new(ChannelRegistry::new()?))?;
/// let audio = RuntimeData::audio_f32(vec![0.0; 1024], 48_000, 2)?;
/// let message = converter.to_ipc(audio.clone()).await?;
/// assert!(matches!(message, IPCMessage::SharedMemoryRef(_)));
/// assert_eq!(converter.from_ipc(message).await?.payload(), audio.payload());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct IPCDataConverter {
    channel_registry: Arc<ChannelRegistry>,
    id: ChannelId,
    channel: SharedMemoryChannel,
    inbox: Arc<Mutex<Inbox>>,
    /// The position of the next item. Held while one is written.
    next: tokio::sync::Mutex<u64>,
}

impl IPCDataConverter {
    /// A converter with a channel of default options, whose name is chosen.
    ///
    /// # Errors
    /// [`ConversionError`] if the channel cannot be made.
    pub fn new(channel_registry: Arc<ChannelRegistry>) -> Result<Self, ConversionError> {
        let id = (0..).map(|number| format!("convert-{number}"));
        for id in id.map(|id| ChannelId::new(id).expect("a short name")) {
            match Self::with_channel(channel_registry.clone(), &id, ChannelOptions::default()) {
                Err(ConversionError::Channel(rm_ipc::ChannelError::AlreadyExists { .. })) => {}
                made => return made,
            }
        }
        unreachable!("there are more numbers than channels")
    }

    /// A converter with a channel of its own in the registry. Whatever `options` says, this process may
    /// read what it writes.
    ///
    /// # Errors
    /// [`ConversionError`] if the channel cannot be made.
    pub fn with_channel(
        channel_registry: Arc<ChannelRegistry>,
        id: &ChannelId,
        options: ChannelOptions,
    ) -> Result<Self, ConversionError> {
        let options = ChannelOptions { loopback: true, ..options };
        let channel = channel_registry.create(id, options)?;
        let receiver = channel.subscribe()?;
        let inbox = Inbox { receiver, arrived: HashMap::new() };
        Ok(Self {
            channel_registry,
            id: id.clone(),
            channel,
            inbox: Arc::new(Mutex::new(inbox)),
            next: tokio::sync::Mutex::new(0),
        })
    }

    /// Writes an item into shared memory, once; a short text or document, and a message about a
    /// stream, is carried as it is. Waits for room.
    ///
    /// # Errors
    /// [`ConversionError::AllocationFailed`] if there is no memory for it, or can never be;
    /// [`ConversionError::Header`] if its header has no wire form.
    pub async fn to_ipc(&self, data: RuntimeData) -> Result<IPCMessage, ConversionError> {
        let len = data.payload().len();
        let is_text = matches!(data.data_type(), DataType::Text | DataType::Json);
        if (is_text || data.kind() != MessageKind::Data) && len <= MAX_INLINE {
            let mut inline = BytesMut::with_capacity(WIRE_HEADER_LEN + len);
            inline.put_slice(WireHeader::encode(data.header())?.as_bytes());
            inline.put_slice(data.payload());
            return Ok(IPCMessage::Inline(inline.freeze()));
        }
        let mut next = self.next.lock().await;
        // Dropped before it is done, it has not written.
        publish(&self.channel, &data).await?;
        let sequence = *next;
        *next += 1;
        let (inbox, channel) = (self.inbox.clone(), self.id.clone());
        let sample = SampleRef { inbox, sequence, len, channel, is_taken: false };
        Ok(IPCMessage::SharedMemoryRef(sample))
    }

    /// Reads an item where it lies. Its memory is given back when the item is dropped.
    ///
    /// # Errors
    /// [`ConversionError::IPCError`] if the item is not there, [`ConversionError::ChannelNotFound`] if
    /// it lies in the channel of another converter, `Truncated`, `Header` or `Data` for an inline
    /// message that is none.
    pub async fn from_ipc(&self, message: IPCMessage) -> Result<RuntimeData, ConversionError> {
        match message {
            IPCMessage::Inline(inline) => {
                if inline.len() < WIRE_HEADER_LEN {
                    return Err(ConversionError::Truncated { len: inline.len() });
                }
                let wire = WireHeader::ref_from_bytes(&inline[..WIRE_HEADER_LEN])
                    .expect("a wire header is any 256 bytes");
                let header = wire.decode()?;
                Ok(RuntimeData::from_parts(header, inline.slice(WIRE_HEADER_LEN..))?)
            }
            IPCMessage::SharedMemoryRef(mut sample) => {
                if !Arc::ptr_eq(&sample.inbox, &self.inbox) {
                    return Err(ConversionError::ChannelNotFound(sample.channel.to_string()));
                }
                sample.is_taken = true;
                let sequence = sample.sequence;
                let taken = lock(&self.inbox).take(sequence).map_err(|source| {
                    ConversionError::Receive { channel: self.id.clone(), source }
                })?;
                taken.ok_or_else(|| {
                    let message = format!("item {sequence} is not in channel {}", self.id);
                    ConversionError::IPCError(message)
                })
            }
        }
    }

    /// Payload bytes that were copied: into the channel, and out of it where its readers kept more
    /// than the channel has memory for.
    pub fn copied_bytes(&self) -> u64 {
        self.channel.copied_bytes()
    }
}

impl Drop for IPCDataConverter {
    fn drop(&mut self) {
        self.channel_registry.remove(&self.id);
    }
}

/// Writes an item into a channel. Waits for room.
pub(crate) async fn publish(
    channel: &SharedMemoryChannel,
    data: &RuntimeData,
) -> Result<(), ConversionError> {
    channel.publish_async(data).await.map_err(|error| match error {
        PublishError::SystemLimit { source } => {
            ConversionError::AllocationFailed(source.to_string())
        }
        PublishError::InvalidData { source: source @ rm_ipc::LoanError::TooLarge { .. } } => {
            ConversionError::AllocationFailed(source.to_string())
        }
        source => ConversionError::Publish { channel: channel.channel_id().clone(), source },
    })
}
