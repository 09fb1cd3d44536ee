//! One channel: a queue of messages with one publisher and several subscribers.
//!
//! Main type: [`Channel`], the handle from which ports are made. Who creates a channel closes it;
//! other processes open it by name.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use iceoryx2::prelude::*;
use iceoryx2::service::port_factory::publish_subscribe::PortFactory;
use rm_core::{ChannelId, WIRE_HEADER_LEN};
use serde::{Deserialize, Serialize};

use crate::control::{ControlPage, MAGIC, place};
use crate::namespace::{IpcService, Namespace, SHM};
use crate::segment::SharedPage;
use crate::wake::{BellId, Doorbell, Ringer};
use crate::{Publisher, Subscriber};

pub use crate::control::MAX_SUBSCRIBERS;

/// The header as iceoryx2 carries it: as many bytes as a wire header, of a type that it knows.
pub(crate) type HeaderBytes = [u64; WIRE_HEADER_LEN / 8];

/// Payloads start at multiples of this, so that any sample type can be viewed in place.
pub(crate) const PAYLOAD_ALIGNMENT: usize = 64;

/// Shared memory that must be free for the bookkeeping of one more channel or port, in bytes.
const BOOKKEEPING: u64 = 1 << 20;

/// How much a channel holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelOptions {
    /// Most messages queued for the slowest subscriber, at least 1.
    pub depth: u32,
    /// Most bytes queued for the slowest subscriber: a power of two. A single message can never
    /// be larger. Nothing is reserved for it.
    pub capacity: usize,
    /// Most subscribers at a time, from 1 to [`MAX_SUBSCRIBERS`].
    pub max_subscribers: u32,
    /// How many messages a subscriber may keep without copies, at least 2; beyond that it is
    /// given counted copies.
    pub max_borrowed: u32,
}

impl Default for ChannelOptions {
    /// 100 messages, 64 MiB, 4 subscribers, 32 borrowed messages.
    fn default() -> Self {
        Self { depth: 100, capacity: 64 << 20, max_subscribers: 4, max_borrowed: 32 }
    }
}

/// Why a channel could not be made, opened or joined.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// There is a channel of that name in the namespace.
    #[error("channel {channel} exists already")]
    AlreadyExists {
        /// Which channel.
        channel: ChannelId,
    },
    /// There is no channel of that name in the namespace.
    #[error("channel {channel} does not exist")]
    NotFound {
        /// Which channel.
        channel: ChannelId,
    },
    /// The capacity is not a power of two.
    #[error("capacity of {capacity} bytes is not a power of two; the next is {next}")]
    InvalidCapacity {
        /// The capacity asked for, in bytes.
        capacity: usize,
        /// The next power of two.
        next: usize,
    },
    /// Another option is out of its range.
    #[error("channel option {name} is {value}, expected {expected}")]
    InvalidOption {
        /// Which option.
        name: &'static str,
        /// Its value.
        value: u32,
        /// What would be right.
        expected: &'static str,
    },
    /// The machine has not enough shared memory left.
    #[error("channel {channel} needs {needed} bytes of shared memory, {available} are available")]
    SystemLimit {
        /// Which channel.
        channel: ChannelId,
        /// Bytes needed.
        needed: u64,
        /// Bytes left.
        available: u64,
    },
    /// All places of the channel are taken.
    #[error("channel {channel} has its {limit} {role} already")]
    Full {
        /// Which channel.
        channel: ChannelId,
        /// `"publisher"` or `"subscribers"`.
        role: &'static str,
        /// How many there can be.
        limit: u32,
    },
    /// The channel is closed, or its namespace has been removed.
    #[error("channel {channel} is closed")]
    Closed {
        /// Which channel.
        channel: ChannelId,
    },
    /// The channel's file is damaged, or from an incompatible version.
    #[error("channel {channel} has a control page that is not one")]
    BadControlPage {
        /// Which channel.
        channel: ChannelId,
    },
    /// A file of the channel could not be made or opened.
    #[error("cannot set up channel {channel}")]
    Io {
        /// Which channel.
        channel: ChannelId,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// iceoryx2 refused.
    #[error("iceoryx2 refused channel {channel}: {message}")]
    Iceoryx {
        /// Which channel.
        channel: ChannelId,
        /// What it said.
        message: String,
    },
}

/// Where a channel is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[repr(u32)]
pub enum ChannelState {
    /// Nobody has joined.
    Created = 0,
    /// In use.
    Active = 1,
    /// The publisher has left; subscribers take what is queued.
    Draining = 2,
    /// Closed.
    Destroyed = 3,
}

impl ChannelState {
    fn from_code(code: u32) -> Self {
        match code {
            0 => Self::Created,
            1 => Self::Active,
            2 => Self::Draining,
            _ => Self::Destroyed,
        }
    }
}

/// What every port of one channel in one process shares.
pub(crate) struct Shared {
    pub(crate) id: ChannelId,
    pub(crate) namespace: Namespace,
    pub(crate) page: Arc<SharedPage<ControlPage>>,
    pub(crate) service: PortFactory<IpcService, [u8], HeaderBytes>,
    ringers: Mutex<BTreeMap<u64, Ringer>>,
}

impl Shared {
    pub(crate) fn state(&self) -> ChannelState {
        ChannelState::from_code(self.page.state.load(Ordering::Acquire))
    }

    pub(crate) fn set_state(&self, state: ChannelState) {
        // A destroyed channel stays so.
        self.page.state.fetch_max(state as u32, Ordering::AcqRel);
    }

    /// Rings a peer's doorbell, which is opened at its first use.
    pub(crate) fn ring(&self, bell: BellId) {
        let mut ringers = self.ringers.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(ringer) = ringers.get(&bell.0) {
            ringer.ring();
        } else if let Ok(ringer) = Ringer::open(&self.namespace, bell) {
            // A bell that is gone has nobody to wake.
            ringer.ring();
            // Those who have left are not rung again.
            let publisher = self.page.publisher.bell.load(Ordering::Relaxed);
            let bells = self.page.taken().map(|sub| sub.bell.load(Ordering::Relaxed));
            let present: Vec<u64> = bells.chain([publisher]).collect();
            ringers.retain(|id, _| present.contains(id));
            ringers.insert(bell.0, ringer);
        }
    }

    pub(crate) fn ring_subscribers(&self) {
        for sub in self.page.taken() {
            self.ring(BellId(sub.bell.load(Ordering::Acquire)));
        }
    }

    pub(crate) fn ring_publisher(&self) {
        if self.page.publisher.state.load(Ordering::Acquire) != place::FREE {
            self.ring(BellId(self.page.publisher.bell.load(Ordering::Acquire)));
        }
    }

    pub(crate) fn iceoryx(&self, error: impl std::fmt::Debug) -> ChannelError {
        ChannelError::Iceoryx { channel: self.id.clone(), message: format!("{error:?}") }
    }
}

/// A channel. Clones are handles on the same one.
#[derive(Clone)]
pub struct Channel {
    pub(crate) shared: Arc<Shared>,
}

fn file_name(id: &ChannelId) -> String {
    format!("channel-{id}")
}

/// Bytes of shared memory that the machine has left.
pub(crate) fn available_memory() -> std::io::Result<u64> {
    let stat = rustix::fs::statvfs(SHM)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Checks that there is room for iceoryx2's bookkeeping, which it writes without asking.
pub(crate) fn check_memory(channel: &ChannelId) -> Result<(), ChannelError> {
    let io = |source| ChannelError::Io { channel: channel.clone(), source };
    let available = available_memory().map_err(io)?;
    if available < BOOKKEEPING {
        let (channel, needed) = (channel.clone(), BOOKKEEPING);
        return Err(ChannelError::SystemLimit { channel, needed, available });
    }
    Ok(())
}

fn check(options: &ChannelOptions) -> Result<(), ChannelError> {
    let ChannelOptions { depth, capacity, max_subscribers, max_borrowed } = *options;
    if !capacity.is_power_of_two() {
        let next = capacity.checked_next_power_of_two().unwrap_or(1 << (usize::BITS - 1));
        return Err(ChannelError::InvalidCapacity { capacity, next });
    }
    let wrong = |name, value, expected| Err(ChannelError::InvalidOption { name, value, expected });
    if !(1..=65_536).contains(&depth) {
        return wrong("depth", depth, "1 to 65536 messages");
    }
    if !(1..=MAX_SUBSCRIBERS as u32).contains(&max_subscribers) {
        return wrong("max_subscribers", max_subscribers, "1 to 16");
    }
    if !(2..=65_536).contains(&max_borrowed) {
        return wrong("max_borrowed", max_borrowed, "2 to 65536 messages");
    }
    Ok(())
}

impl Channel {
    /// Makes a channel in `namespace`.
    ///
    /// # Errors
    /// [`ChannelError`]: `AlreadyExists`, `InvalidCapacity`, `InvalidOption`, `SystemLimit` if
    /// shared memory is exhausted, `Closed` if the namespace is gone.
    pub fn create(
        namespace: &Namespace,
        id: &ChannelId,
        options: ChannelOptions,
    ) -> Result<Self, ChannelError> {
        check(&options)?;
        let io = |source| ChannelError::Io { channel: id.clone(), source };
        check_memory(id)?;
        let mut file =
            namespace.create_file(&file_name(id)).map_err(|error| match error.kind() {
                std::io::ErrorKind::AlreadyExists => {
                    ChannelError::AlreadyExists { channel: id.clone() }
                }
                std::io::ErrorKind::NotFound => ChannelError::Closed { channel: id.clone() },
                _ => io(error),
            })?;
        // Written, not just sized: a full file system is an error here and not a signal later.
        file.write_all(&[0; size_of::<ControlPage>()]).map_err(io)?;
        let page = SharedPage::<ControlPage>::map(&file).map_err(io)?;
        page.depth.store(options.depth, Ordering::Relaxed);
        page.capacity.store(options.capacity as u64, Ordering::Relaxed);
        page.max_subscribers.store(options.max_subscribers, Ordering::Relaxed);
        page.max_borrowed.store(options.max_borrowed, Ordering::Relaxed);
        let service = service(namespace, id, |builder| {
            builder
                .enable_safe_overflow(false)
                .history_size(0)
                .subscriber_max_buffer_size(options.depth as usize)
                .subscriber_max_borrowed_samples(options.max_borrowed as usize)
                .max_publishers(1)
                .max_subscribers(options.max_subscribers as usize)
                .max_nodes(MAX_SUBSCRIBERS + 2)
                .create()
                .map_err(|error| format!("{error:?}"))
        })
        .inspect_err(|_| namespace.remove_file(&file_name(id)))?;
        page.magic.store(MAGIC, Ordering::Release);
        Ok(Self::new(namespace, id, page, service))
    }

    /// Opens a channel that another process (or this one) has made.
    ///
    /// # Errors
    /// [`ChannelError`]: `NotFound`, or `BadControlPage` if what is there is no channel.
    pub fn open(namespace: &Namespace, id: &ChannelId) -> Result<Self, ChannelError> {
        let channel = || id.clone();
        let file = namespace.open_file(&file_name(id)).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => ChannelError::NotFound { channel: channel() },
            _ => ChannelError::Io { channel: channel(), source: error },
        })?;
        let page = SharedPage::<ControlPage>::map(&file)
            .ok()
            .filter(|page| page.magic.load(Ordering::Acquire) == MAGIC)
            .ok_or_else(|| ChannelError::BadControlPage { channel: channel() })?;
        let service =
            service(namespace, id, |builder| builder.open().map_err(|error| format!("{error:?}")))?;
        Ok(Self::new(namespace, id, page, service))
    }

    fn new(
        namespace: &Namespace,
        id: &ChannelId,
        page: SharedPage<ControlPage>,
        service: PortFactory<IpcService, [u8], HeaderBytes>,
    ) -> Self {
        let (id, namespace, page) = (id.clone(), namespace.clone(), Arc::new(page));
        Self {
            shared: Arc::new(Shared { id, namespace, page, service, ringers: Mutex::default() }),
        }
    }

    /// Joins as the publisher. It waits for room on `bell`, on which its thread waits for other
    /// things as well.
    ///
    /// # Errors
    /// [`ChannelError`]: `Full` if there is a publisher, `Closed` if the channel is.
    pub fn publisher(&self, bell: &Arc<Doorbell>) -> Result<Publisher, ChannelError> {
        Publisher::join(self.shared.clone(), bell.clone())
    }

    /// Joins as a subscriber, which gets every message sent from now on. It waits on `bell`.
    ///
    /// # Errors
    /// [`ChannelError`]: `Full` if all places are taken, `Closed` if the channel is.
    pub fn subscribe(&self, bell: &Arc<Doorbell>) -> Result<Subscriber, ChannelError> {
        Subscriber::join(self.shared.clone(), bell.clone())
    }

    /// Closes the channel at once: everybody who waits on it is woken and told.
    pub fn close(&self) {
        self.shared.set_state(ChannelState::Destroyed);
        self.shared.ring_subscribers();
        self.shared.ring_publisher();
    }

    /// Its name.
    pub fn id(&self) -> &ChannelId {
        &self.shared.id
    }

    /// Where it is in its life.
    pub fn state(&self) -> ChannelState {
        self.shared.state()
    }

    /// Number of subscribers now.
    pub fn subscriber_count(&self) -> usize {
        self.shared.page.taken().count()
    }

    /// Messages queued for the slowest subscriber now.
    pub fn queued(&self) -> u64 {
        let published = self.shared.page.publisher.published.load(Ordering::Acquire);
        published.saturating_sub(self.shared.page.taken_by_all().unwrap_or(published))
    }

    /// Messages sent so far.
    pub fn messages(&self) -> u64 {
        self.shared.page.publisher.published.load(Ordering::Acquire)
    }

    /// Payload bytes sent so far.
    pub fn bytes(&self) -> u64 {
        self.shared.page.publisher.bytes.load(Ordering::Relaxed)
    }

    /// Payload bytes that were copied on the way in.
    pub fn bytes_copied_in(&self) -> u64 {
        self.shared.page.publisher.copied_bytes.load(Ordering::Relaxed)
    }

    /// Payload bytes that were copied, on the way in and by subscribers that kept too much.
    pub fn copied_bytes(&self) -> u64 {
        let subscribers = self.shared.page.subscribers.iter();
        let by_subscribers = subscribers.map(|sub| sub.copied_bytes.load(Ordering::Relaxed));
        by_subscribers.fold(self.bytes_copied_in(), u64::wrapping_add)
    }
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channel").field("id", self.id()).field("state", &self.state()).finish()
    }
}

type Builder =
    iceoryx2::service::builder::publish_subscribe::Builder<[u8], HeaderBytes, IpcService>;
type Service = PortFactory<IpcService, [u8], HeaderBytes>;

fn service(
    namespace: &Namespace,
    id: &ChannelId,
    finish: impl FnOnce(Builder) -> Result<Service, String>,
) -> Result<Service, ChannelError> {
    let iceoryx = |message| ChannelError::Iceoryx { channel: id.clone(), message };
    let name: ServiceName = id.as_str().try_into().map_err(|e| iceoryx(format!("{e:?}")))?;
    let alignment = Alignment::new(PAYLOAD_ALIGNMENT).expect("64 is a power of two");
    namespace
        .with_node(|node| {
            let builder = node
                .service_builder(&name)
                .publish_subscribe::<[u8]>()
                .user_header::<HeaderBytes>()
                .payload_alignment(alignment);
            finish(builder).map_err(iceoryx)
        })
        .unwrap_or_else(|| Err(ChannelError::Closed { channel: id.clone() }))
}
