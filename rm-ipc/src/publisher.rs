//! The sending end of a channel.
//!
//! Main type: [`Publisher`]. A message is admitted when it fits both the channel's depth and its
//! capacity for the slowest subscriber; otherwise the publisher waits, without polling, until a
//! subscriber makes room. iceoryx2's own blocking delivery is not used: it polls.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};

use iceoryx2::port::LoanError as RawLoanError;
use iceoryx2::prelude::*;
use rm_core::RuntimeData;

use crate::channel::{
    ChannelError, ChannelState, HeaderBytes, Shared, available_memory, check_memory,
};
use crate::control::{Connected, place};
use crate::loan::{LoanError, SampleMut, SampleMutUninit, SendError, copy_in};
use crate::namespace::IpcService;
use crate::segment;
use crate::stats::monotonic_ns;
use crate::wake::Doorbell;

/// Loans that one publisher may hold at once.
const MAX_LOANS: usize = 8;
/// Size of the chunks that a publisher starts with; they grow with the messages, by powers of two.
const FIRST_CHUNK: usize = 4096;

/// Shared memory that has to be free beside a message for which new memory may be needed, in bytes.
const MARGIN: u64 = 256 << 10;

/// Why data was not published.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// There is no room, and the caller would not wait.
    #[error("channel is full")]
    ChannelFull,
    /// The data cannot be carried by this channel.
    #[error("data cannot be published")]
    InvalidData {
        /// Why.
        #[source]
        source: LoanError,
    },
    /// The channel is closed.
    #[error("channel is closed")]
    ChannelClosed,
    /// iceoryx2 could not deliver although there was room.
    #[error("delivery failed: {0}")]
    Delivery(String),
}

impl From<LoanError> for PublishError {
    fn from(source: LoanError) -> Self {
        match source {
            LoanError::Closed => Self::ChannelClosed,
            source => Self::InvalidData { source },
        }
    }
}

impl From<SendError> for PublishError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Closed => Self::ChannelClosed,
            SendError::Full => Self::ChannelFull,
            SendError::Delivery(message) => Self::Delivery(message),
        }
    }
}

/// Memory that has been paid for, so that it is not paid for again.
#[derive(Default)]
struct Populated {
    /// How many bytes from the start of each chunk, by address.
    chunks: BTreeMap<usize, usize>,
    /// Largest payload so far, rounded up; beyond it iceoryx2 maps a new segment.
    size_class: usize,
    /// Whether the last loan was of memory that had been paid for.
    settled: bool,
}

struct Queue {
    /// Payload sizes of the messages that not all subscribers have taken, oldest first.
    sizes: VecDeque<u64>,
    /// Their sum.
    bytes: u64,
    /// Position of the next message.
    next: u64,
}

impl Queue {
    fn forget_before(&mut self, position: u64) {
        while self.next.saturating_sub(self.sizes.len() as u64) < position.min(self.next)
            && !self.sizes.is_empty()
        {
            self.bytes -= self.sizes.pop_front().unwrap_or_default();
        }
    }
}

pub(crate) type RawPublisher = iceoryx2::port::publisher::Publisher<IpcService, [u8], HeaderBytes>;

/// The part of a publisher that its loans keep alive.
pub(crate) struct Core {
    port: Arc<RawPublisher>,
    shared: Arc<Shared>,
    bell: Arc<Doorbell>,
    queue: Mutex<Queue>,
    populated: Mutex<Populated>,
    undelivered: AtomicU64,
}

/// The sending end of a channel. Dropping it, and its loans, lets the channel drain.
pub struct Publisher {
    core: Arc<Core>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Publisher {
    pub(crate) fn join(shared: Arc<Shared>, bell: Arc<Doorbell>) -> Result<Self, ChannelError> {
        let channel = || shared.id.clone();
        if shared.state() >= ChannelState::Draining {
            return Err(ChannelError::Closed { channel: channel() });
        }
        check_memory(&shared.id)?;
        let own = &shared.page.publisher;
        let claim = own.state.compare_exchange(
            place::FREE,
            place::JOINING,
            Ordering::AcqRel,
            Ordering::Acquire,
        );
        if claim.is_err() {
            return Err(ChannelError::Full { channel: channel(), role: "publisher", limit: 1 });
        }
        own.bell.store(bell.id().0, Ordering::Release);
        own.pid.store(std::process::id(), Ordering::Relaxed);
        let port = shared
            .service
            .publisher_builder()
            .backpressure_strategy(BackpressureStrategy::DiscardData)
            .max_loaned_samples(MAX_LOANS)
            .initial_max_slice_len(FIRST_CHUNK)
            .allocation_strategy(AllocationStrategy::PowerOfTwo)
            .create();
        let port = port.map_err(|error| {
            own.state.store(place::FREE, Ordering::Release);
            shared.iceoryx(error)
        })?;
        own.state.store(place::ACTIVE, Ordering::Release);
        shared.set_state(ChannelState::Active);
        let next = own.published.load(Ordering::Acquire);
        let queue = Mutex::new(Queue { sizes: VecDeque::new(), bytes: 0, next });
        let (populated, undelivered) = (Mutex::default(), AtomicU64::new(0));
        let core = Core { port: Arc::new(port), shared, bell, queue, populated, undelivered };
        Ok(Self { core: Arc::new(core) })
    }

    /// Lends `len` bytes of the channel's memory for writing.
    ///
    /// # Errors
    /// [`LoanError`]: `TooLarge` if it could never be sent, `OutOfMemory`, `TooManyLoans`.
    pub fn loan_uninit(&self, len: usize) -> Result<SampleMutUninit, LoanError> {
        Core::loan(&self.core, len)
    }

    /// Copies `data` into the channel's memory and sends it, waiting for room (and for a
    /// subscriber, if there is none) on the doorbell.
    ///
    /// # Errors
    /// [`PublishError::InvalidData`] if it can never be carried, `ChannelClosed` if the channel
    /// is closed, or is while this waits.
    pub fn publish(&self, data: &RuntimeData) -> Result<(), PublishError> {
        Ok(copy_in(&self.core, data)?.send()?)
    }

    /// Copies and sends `data` if there is room now.
    ///
    /// # Errors
    /// [`PublishError::ChannelFull`] if there is none; otherwise as [`publish`](Self::publish).
    pub fn try_publish(&self, data: &RuntimeData) -> Result<(), PublishError> {
        Ok(copy_in(&self.core, data)?.try_send()?)
    }

    /// Messages that iceoryx2 did not deliver to every subscriber although there was room. Zero,
    /// unless something is wrong.
    pub fn undelivered(&self) -> u64 {
        self.core.undelivered.load(Ordering::Relaxed)
    }
}

impl std::fmt::Debug for Publisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Publisher").field(&self.core.shared.id).finish()
    }
}

impl Core {
    fn capacity(&self) -> u64 {
        self.shared.page.capacity.load(Ordering::Relaxed)
    }

    pub(crate) fn loan(core: &Arc<Self>, len: usize) -> Result<SampleMutUninit, LoanError> {
        let capacity = usize::try_from(core.capacity()).unwrap_or(usize::MAX);
        let capacity = capacity.min(RuntimeData::MAX_PAYLOAD);
        if len > capacity {
            return Err(LoanError::TooLarge { len, capacity });
        }
        if core.shared.state() >= ChannelState::Draining {
            return Err(LoanError::Closed);
        }
        core.check_memory(len)?;
        // A slice of no elements has no place; an empty message takes one byte of room.
        let mut raw = core.port.loan_slice_uninit(len.max(1)).map_err(|error| match error {
            RawLoanError::ExceedsMaxLoans => LoanError::TooManyLoans { limit: MAX_LOANS },
            error => LoanError::OutOfMemory { len, reason: format!("{error:?}") },
        })?;
        core.pay_for(raw.payload_mut())
            .map_err(|errno| LoanError::OutOfMemory { len, reason: errno.to_string() })?;
        Ok(SampleMutUninit { raw, len, core: core.clone() })
    }

    /// Checks that there is memory left before iceoryx2 writes a header into what may be a chunk
    /// that nobody has paid for: the first one, one of a larger size, or one after such a one.
    fn check_memory(&self, len: usize) -> Result<(), LoanError> {
        let populated = lock(&self.populated);
        if populated.settled && len <= populated.size_class {
            return Ok(());
        }
        let out = |reason| Err(LoanError::OutOfMemory { len, reason });
        match available_memory() {
            Ok(available) if available < len as u64 + MARGIN => {
                out(format!("{available} bytes are available, {MARGIN} more than that are needed"))
            }
            Ok(_) => Ok(()),
            Err(error) => out(error.to_string()),
        }
    }

    fn pay_for(&self, memory: &mut [std::mem::MaybeUninit<u8>]) -> rustix::io::Result<()> {
        let mut populated = lock(&self.populated);
        let size_class = memory.len().next_power_of_two().max(FIRST_CHUNK);
        if size_class > populated.size_class {
            *populated = Populated { chunks: BTreeMap::new(), size_class, settled: false };
        }
        let Populated { chunks, settled, .. } = &mut *populated;
        let paid = chunks.entry(memory.as_ptr().addr()).or_default();
        *settled = *paid >= memory.len();
        if !*settled {
            segment::populate(memory)?;
            *paid = memory.len();
        }
        Ok(())
    }

    pub(crate) fn count_copy(&self, bytes: usize) {
        self.shared.page.publisher.copied_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn has_room(&self, queue: &mut Queue, len: u64) -> bool {
        let page = &self.shared.page;
        // One who is still joining counts for the room, but would not get the message.
        let Some(taken) = page.taken_by_all().filter(|_| page.has_connected()) else {
            return false;
        };
        queue.forget_before(taken);
        let depth = u64::from(page.depth.load(Ordering::Relaxed));
        (queue.sizes.len() as u64) < depth && queue.bytes + len <= self.capacity()
    }

    fn is_closed(&self) -> bool {
        self.shared.state() == ChannelState::Destroyed
    }

    fn wait_for_room(&self, queue: &mut Queue, len: u64) {
        let waiting = &self.shared.page.publisher.waiting;
        waiting.store(1, Ordering::Relaxed);
        // Pairs with the fence in `ControlPage::publisher_to_wake`.
        fence(Ordering::SeqCst);
        self.bell.wait(|| self.is_closed() || self.has_room(queue, len), None);
        waiting.store(0, Ordering::Relaxed);
    }

    pub(crate) fn send(&self, mut sample: SampleMut, wait: bool) -> Result<(), SendError> {
        let page = &self.shared.page;
        let mut queue = match self.queue.try_lock() {
            Ok(queue) => queue,
            // Another thread sends, and perhaps waits for room.
            Err(TryLockError::WouldBlock) if !wait => return Err(SendError::Full),
            Err(_) => lock(&self.queue),
        };
        let len = sample.len as u64;
        if !self.has_room(&mut queue, len) {
            if !wait && !self.is_closed() {
                return Err(SendError::Full);
            }
            self.wait_for_room(&mut queue, len);
        }
        if self.is_closed() {
            return Err(SendError::Closed);
        }
        let before = page.connected();
        sample.stamp(queue.next, monotonic_ns());
        let delivered = sample.raw.send().map_err(|e| SendError::Delivery(format!("{e:?}")))?;
        let count = |connected: &Connected| connected.iter().filter(|who| **who != 0).count();
        if delivered < count(&before) {
            // One who left meanwhile is not missed, nor is one who came.
            let mut stayed = page.connected();
            stayed.iter_mut().zip(before).for_each(|(now, then)| *now *= u32::from(*now == then));
            let stayed = count(&stayed);
            if delivered < stayed {
                self.undelivered.fetch_add(1, Ordering::Relaxed);
                let message = format!("{delivered} of {stayed} subscribers were reached");
                return Err(SendError::Delivery(message));
            }
        }
        queue.next = queue.next.saturating_add(1);
        queue.sizes.push_back(len);
        queue.bytes += len;
        page.publisher.bytes.fetch_add(len, Ordering::Relaxed);
        page.publisher.published.store(queue.next, Ordering::Release);
        drop(queue);
        self.shared.ring_subscribers();
        Ok(())
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.shared.set_state(ChannelState::Draining);
        self.shared.page.publisher.state.store(place::FREE, Ordering::Release);
        if self.shared.page.has_queued() {
            self.shared.namespace.linger(self.shared.page.clone(), self.port.clone());
        }
        self.shared.ring_subscribers();
    }
}
