//! One channel: a queue of messages with one publisher and several subscribers.
//!
//! Main type: [`SharedMemoryChannel`], the handle from which ports are made. Who creates a channel
//! chooses its options; other processes open it by name.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use iceoryx2::prelude::*;
use iceoryx2::service::port_factory::publish_subscribe::PortFactory;
use rm_core::{ChannelId, IdError, WIRE_HEADER_LEN};
use serde::{Deserialize, Serialize};

use crate::control::{ControlPage, MAGIC, MAX_SUBSCRIBERS, Present, place};
use crate::direct::Bound;
use crate::namespace::{IpcService, Namespace, NamespaceError};
use crate::options::{ChannelOptions, Policy};
use crate::peer::{ChannelRole, ProcessChannelBinding, from_ns};
use crate::segment::{SharedPage, SharedSlots};
use crate::shared::{Shared, check_memory, file_name};
use crate::wake::Doorbell;
use crate::{Publisher, Subscriber};

/// The header as iceoryx2 carries it: as many bytes as a wire header, of a type that it knows.
pub(crate) type HeaderBytes = [u64; WIRE_HEADER_LEN / 8];

/// Payloads start at multiples of this, so that any sample type can be viewed in place.
pub(crate) const PAYLOAD_ALIGNMENT: usize = 64;

/// Publishers that iceoryx2 is to have room for: the present one, and dead ones whose messages are
/// still being taken.
const RAW_PUBLISHERS: usize = 4;

/// Subscribers that iceoryx2 is to have room for beyond the channel's own: one who has left and keeps
/// messages still has his place there, and so may one who was killed while he took it.
const SPARE_SUBSCRIBERS: usize = 1;

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
        value: u64,
        /// What would be right.
        expected: String,
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
    #[error("channel {channel} has no place for another {role}; it has {limit}")]
    Full {
        /// Which channel.
        channel: ChannelId,
        /// Of what.
        role: ChannelRole,
        /// How many there can be.
        limit: u32,
    },
    /// Subscribers that have left still keep messages, and with them their places in iceoryx2.
    #[error(
        "channel {channel} has a place for another subscriber only when messages that former ones \
         keep are dropped"
    )]
    Kept {
        /// Which channel.
        channel: ChannelId,
    },
    /// The holder of a seat lives.
    #[error(
        "seat {seat} of channel {channel} is taken by process {process}; it is free when that ends"
    )]
    SeatTaken {
        /// Which channel.
        channel: ChannelId,
        /// Which seat.
        seat: u32,
        /// Whose it is.
        process: u32,
    },
    /// The channel has no seats.
    #[error("channel {channel} has no seats; it is not made with the option retained")]
    NotRetained {
        /// Which channel.
        channel: ChannelId,
    },
    /// This process has the other part in the channel already.
    #[error(
        "this process is a {role} of channel {channel} already; it cannot publish and subscribe to \
         one channel, unless that is made with the option loopback"
    )]
    OtherRole {
        /// Which channel.
        channel: ChannelId,
        /// What this process is.
        role: ChannelRole,
    },
    /// The file permissions do not let this process have the channel.
    #[error("channel {channel} is not open to this user")]
    NotAuthorized {
        /// Which channel.
        channel: ChannelId,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The channel's processes have process ids of their own, which mean nothing here.
    #[error("channel {channel} belongs to another process-id namespace; share it, as in one pod")]
    OtherPidNamespace {
        /// Which channel.
        channel: ChannelId,
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
    /// The name cannot be that of a channel.
    #[error(transparent)]
    InvalidName(#[from] IdError),
    /// There is no default namespace.
    #[error("no namespace for channels")]
    Namespace(#[from] NamespaceError),
    /// iceoryx2 refused: which channel, and what it said.
    #[error("iceoryx2 refused {0}")]
    IceoryxError(String),
}

impl ChannelError {
    pub(crate) fn io(channel: &ChannelId, source: std::io::Error) -> Self {
        let channel = channel.clone();
        match source.kind() {
            std::io::ErrorKind::PermissionDenied => Self::NotAuthorized { channel, source },
            _ => Self::Io { channel, source },
        }
    }
}

/// Where a channel is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u32)]
pub enum ChannelState {
    /// Nobody has joined.
    Created = 0,
    /// In use.
    Active = 1,
    /// The publisher has left; subscribers take what is queued.
    Draining = 2,
    /// Closed, or left by everybody.
    Destroyed = 3,
}

impl ChannelState {
    pub(crate) fn from_code(code: u32) -> Self {
        match code {
            0 => Self::Created,
            1 => Self::Active,
            2 => Self::Draining,
            _ => Self::Destroyed,
        }
    }
}

/// A channel at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelSnapshot {
    /// Its name.
    pub channel_id: ChannelId,
    /// Its name as text.
    pub channel_name: String,
    /// Where it is in its life.
    pub state: ChannelState,
    /// Most bytes queued for the slowest subscriber.
    pub buffer_capacity: usize,
    /// Bytes queued for the slowest subscriber. Never more than the capacity.
    pub current_occupancy: usize,
    /// Messages queued for the slowest subscriber.
    pub queued: u64,
    /// Number of publishers: 0 or 1.
    pub publisher_count: u32,
    /// Number of subscribers.
    pub subscriber_count: u32,
    /// Whether a full channel makes its publisher wait.
    pub backpressure_enabled: bool,
    /// Messages sent so far.
    pub messages: u64,
    /// Payload bytes sent so far.
    pub bytes: u64,
    /// Payload bytes lent and written in place, of those sent.
    pub lent_bytes: u64,
    /// Payload bytes copied, on the way in and by subscribers that kept too much.
    pub copied_bytes: u64,
    /// Messages dropped by the channel's policy.
    pub dropped: u64,
    /// Timestamps that would have gone backwards and were set to the last one instead.
    pub clamped: u64,
}

/// A channel. Clones are handles on the same one, and cheap.
#[derive(Clone)]
pub struct SharedMemoryChannel {
    pub(crate) shared: Arc<Shared>,
    /// What the calling process does on the channel without ports of its own.
    pub(crate) bound: Arc<Bound>,
}

/// A number that two process-id namespaces never share, or zero where `/proc` does not tell.
fn pid_namespace() -> u64 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self/ns/pid").map_or(0, |namespace| namespace.ino())
}

impl SharedMemoryChannel {
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
        let options = options.checked()?;
        let io = |source| ChannelError::io(id, source);
        check_memory(id)?;
        let (site, name) = (namespace.site(), file_name(id));
        let exists = || ChannelError::AlreadyExists { channel: id.clone() };
        if site.open_file(&name).is_ok() {
            return Err(exists());
        }
        let tag = getrandom::u64().map_err(|error| io(std::io::Error::other(error)))?;
        // Under another name until it is complete, so that nobody opens what is half-made.
        let draft = format!("draft-{tag:016x}");
        let mut file = site.create_file(&draft).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => ChannelError::Closed { channel: id.clone() },
            _ => io(error),
        })?;
        let mut make = || {
            // Written, not just sized: a full file system is an error here and not a signal later.
            let slots = options.depth as usize * 2;
            let len = SharedSlots::<ControlPage>::file_len(slots);
            file.write_all(&vec![0; len]).map_err(io)?;
            let page = SharedPage::<ControlPage>::map(&file).map_err(io)?;
            let slots = SharedSlots::map(&file, slots).map_err(io)?;
            page.note_options(&options);
            page.pid_namespace.store(pid_namespace(), Ordering::Relaxed);
            page.tag.store(tag, Ordering::Relaxed);
            page.magic.store(MAGIC, Ordering::Release);
            let service = service(namespace, id, tag, &options, |builder| {
                builder.create().map_err(|error| format!("{error:?}"))
            })?;
            site.link_file(&draft, &name).map_err(|error| match error.kind() {
                std::io::ErrorKind::AlreadyExists => exists(),
                _ => io(error),
            })?;
            Ok(Self::new(namespace, id, page, slots, service))
        };
        let made = make();
        site.remove_file(&draft);
        made
    }

    /// Opens a channel that another process (or this one) has made.
    ///
    /// # Errors
    /// [`ChannelError`]: `NotFound`, `NotAuthorized` if its files are not for this user, or
    /// `BadControlPage` if what is there is no channel.
    pub fn open(namespace: &Namespace, id: &ChannelId) -> Result<Self, ChannelError> {
        let file =
            namespace.site().open_file(&file_name(id)).map_err(|error| match error.kind() {
                std::io::ErrorKind::NotFound => ChannelError::NotFound { channel: id.clone() },
                _ => ChannelError::io(id, error),
            })?;
        let bad = || ChannelError::BadControlPage { channel: id.clone() };
        let page = SharedPage::<ControlPage>::map(&file)
            .ok()
            .filter(|page| page.magic.load(Ordering::Acquire) == MAGIC)
            .ok_or_else(bad)?;
        let depth = page.depth.load(Ordering::Relaxed) as usize;
        // A file that is too short for its depth is refused; so is a depth of nothing.
        let slots = SharedSlots::map(&file, depth * 2).ok().filter(|_| depth > 0);
        let slots = slots.ok_or_else(bad)?;
        let (ours, theirs) = (pid_namespace(), page.pid_namespace.load(Ordering::Relaxed));
        if ours != 0 && theirs != 0 && ours != theirs {
            return Err(ChannelError::OtherPidNamespace { channel: id.clone() });
        }
        let tag = page.tag.load(Ordering::Relaxed);
        let options = page.noted_options().checked().map_err(|_| bad())?;
        // It has gone with its last user if the channel is persistent, or has had none yet.
        let open = || {
            service(namespace, id, tag, &options, |builder| {
                builder.open_or_create().map_err(|error| format!("{error:?}"))
            })
        };
        // The dead may fill its places for processes.
        let retry = |_| {
            namespace.clean_up();
            open()
        };
        let service = open().or_else(retry)?;
        Ok(Self::new(namespace, id, page, slots, service))
    }

    fn new(
        namespace: &Namespace,
        id: &ChannelId,
        page: SharedPage<ControlPage>,
        slots: SharedSlots<ControlPage>,
        service: Service,
    ) -> Self {
        let shared = Shared::new(id.clone(), namespace.clone(), page, slots, service);
        Self { shared: Arc::new(shared), bound: Arc::default() }
    }

    /// Joins as the publisher. It waits for room on `bell`, on which its thread waits for other
    /// things as well.
    ///
    /// # Errors
    /// [`ChannelError`]: `Full` if there is a publisher, `OtherRole` if this process subscribes,
    /// `Closed` if the channel is.
    pub fn publisher(&self, bell: &Arc<Doorbell>) -> Result<Publisher, ChannelError> {
        Publisher::join(self.shared.clone(), bell.clone())
    }

    /// Joins as a subscriber, which gets every message sent from now on, after the history if the
    /// channel keeps one. It waits on `bell`. On a retained channel it has no history, and what it has
    /// received is as good as acknowledged; [`subscriber_at`](Self::subscriber_at) gives the others.
    ///
    /// # Errors
    /// [`ChannelError`]: `Full` if all places are taken, `OtherRole` if this process publishes,
    /// `Closed` if the channel is.
    pub fn subscriber(&self, bell: &Arc<Doorbell>) -> Result<Subscriber, ChannelError> {
        Subscriber::join(self.shared.clone(), bell.clone(), None)
    }

    /// Closes the channel at once: everybody who waits on it is woken and told.
    pub fn close(&self) {
        self.shared.set_state(ChannelState::Destroyed);
        self.shared.ring_subscribers();
        self.shared.ring_publisher();
    }

    /// Its name.
    pub fn channel_id(&self) -> &ChannelId {
        &self.shared.id
    }

    /// Its name as text.
    pub fn channel_name(&self) -> &str {
        self.shared.id.as_str()
    }

    /// Name of the iceoryx2 service that carries it.
    pub fn service(&self) -> String {
        iceoryx2::service::port_factory::PortFactory::name(&self.shared.service).to_string()
    }

    /// Where it is in its life.
    pub fn state(&self) -> ChannelState {
        self.shared.state()
    }

    /// The options that it was made with, as they took effect.
    pub fn options(&self) -> ChannelOptions {
        self.shared.page.noted_options()
    }

    /// Most bytes queued for the slowest subscriber.
    pub fn buffer_capacity(&self) -> usize {
        usize::try_from(self.shared.page.capacity.load(Ordering::Relaxed)).unwrap_or(usize::MAX)
    }

    /// Payload bytes queued for the slowest subscriber now. Never more than the capacity.
    pub fn current_occupancy(&self) -> usize {
        usize::try_from(self.shared.queued().1).unwrap_or(usize::MAX)
    }

    /// Whether a full channel makes its publisher wait.
    pub fn backpressure_enabled(&self) -> bool {
        self.shared.policy == Policy::Block
    }

    /// Number of publishers now: 0 or 1.
    pub fn publisher_count(&self) -> u32 {
        u32::from(self.shared.page.publisher.state.load(Ordering::Acquire) != place::FREE)
    }

    /// Number of subscribers now. Seats that nobody has do not count.
    pub fn subscriber_count(&self) -> u32 {
        let Present { active, joining } = self.shared.page.present();
        u32::try_from(active + joining).unwrap_or(u32::MAX)
    }

    /// Which processes are on the channel now, the publisher first, and since when.
    pub fn bindings(&self) -> Vec<ProcessChannelBinding> {
        let page = &self.shared.page;
        let subscribers = page.places().map(|sub| (ChannelRole::Subscriber, &sub.place));
        let all = std::iter::once((ChannelRole::Publisher, &page.publisher.place));
        let bindings = all.chain(subscribers).filter_map(|(role, place)| {
            let holder = place.user()?;
            // One that has just died may not be buried yet.
            let lives = holder == self.shared.own || matches!(holder.open(), Ok(Some(_)) | Err(_));
            lives.then(|| ProcessChannelBinding {
                process_id: holder.pid(),
                channel_id: self.shared.id.clone(),
                role,
                connected_at: from_ns(place.since_ns()),
            })
        });
        bindings.collect()
    }

    /// All of that at one moment.
    pub fn snapshot(&self) -> ChannelSnapshot {
        let (queued, occupancy) = self.shared.queued();
        ChannelSnapshot {
            channel_id: self.shared.id.clone(),
            channel_name: self.channel_name().to_owned(),
            state: self.state(),
            buffer_capacity: self.buffer_capacity(),
            current_occupancy: usize::try_from(occupancy).unwrap_or(usize::MAX),
            queued,
            publisher_count: self.publisher_count(),
            subscriber_count: self.subscriber_count(),
            backpressure_enabled: self.backpressure_enabled(),
            messages: self.messages(),
            bytes: self.bytes(),
            lent_bytes: self.lent_bytes(),
            copied_bytes: self.copied_bytes(),
            dropped: self.dropped(),
            clamped: self.clamped(),
        }
    }

    /// Messages queued for the slowest subscriber now.
    pub fn queued(&self) -> u64 {
        self.shared.queued().0
    }

    /// Messages sent so far.
    pub fn messages(&self) -> u64 {
        self.shared.page.publisher.messages.load(Ordering::Acquire)
    }

    /// Payload bytes sent so far.
    pub fn bytes(&self) -> u64 {
        self.shared.page.publisher.bytes.load(Ordering::Relaxed)
    }

    /// Payload bytes sent so far that were written where they are read.
    pub fn lent_bytes(&self) -> u64 {
        self.bytes().saturating_sub(self.bytes_copied_in())
    }

    /// Most payload bytes of one message.
    pub fn max_message(&self) -> usize {
        let limit = self.shared.page.max_message.load(Ordering::Relaxed);
        usize::try_from(limit).unwrap_or(usize::MAX)
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

    /// Messages that the channel's policy has dropped so far: the oldest ones once for each
    /// subscriber that did not get them, when it takes a later one; the newest once. Zero under
    /// [`Policy::Block`].
    pub fn dropped(&self) -> u64 {
        self.shared.page.dropped.load(Ordering::Relaxed)
    }

    /// Timestamps that would have gone backwards and were set to the last one instead.
    pub fn clamped(&self) -> u64 {
        self.shared.page.publisher.clamped.load(Ordering::Relaxed)
    }
}

impl std::fmt::Debug for SharedMemoryChannel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedMemoryChannel")
            .field("id", self.channel_id())
            .field("state", &self.state())
            .finish()
    }
}

type Builder =
    iceoryx2::service::builder::publish_subscribe::Builder<[u8], HeaderBytes, IpcService>;
type Service = PortFactory<IpcService, [u8], HeaderBytes>;

fn service(
    namespace: &Namespace,
    id: &ChannelId,
    tag: u64,
    options: &ChannelOptions,
    finish: impl FnOnce(Builder) -> Result<Service, String>,
) -> Result<Service, ChannelError> {
    let refused = |message| ChannelError::IceoryxError(format!("channel {id}: {message}"));
    let name: ServiceName = format!("{id}.{tag:016x}")
        .as_str()
        .try_into()
        .map_err(|error| refused(format!("{error:?}")))?;
    let alignment = Alignment::new(PAYLOAD_ALIGNMENT).expect("64 is a power of two");
    let overflows = options.policy.overflows();
    // One message may be under way when somebody joins who is given a full history. Of what a seat is
    // given, nothing may count for backpressure.
    let full = options.depth as usize * if options.retained { 2 } else { 1 };
    let buffer = full + usize::from(options.history > 0 && !overflows);
    namespace
        .with_node(|node| {
            let builder = node
                .service_builder(&name)
                .publish_subscribe::<[u8]>()
                .user_header::<HeaderBytes>()
                .payload_alignment(alignment)
                .enable_safe_overflow(overflows)
                .history_size(options.history as usize)
                .subscriber_max_buffer_size(buffer)
                .subscriber_max_borrowed_samples(options.max_borrowed as usize)
                .max_publishers(RAW_PUBLISHERS)
                .max_subscribers(options.max_subscribers as usize + SPARE_SUBSCRIBERS)
                .max_nodes(MAX_SUBSCRIBERS + RAW_PUBLISHERS + 2);
            finish(builder).map_err(refused)
        })
        .unwrap_or_else(|| Err(ChannelError::Closed { channel: id.clone() }))
}
