//! The sending end of a channel.
//!
//! Main type: [`Publisher`]. A message is admitted when it fits both the channel's depth and its
//! capacity for the slowest subscriber; otherwise the publisher waits, without polling, until a
//! subscriber makes room. iceoryx2's own blocking delivery is not used: it polls.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use iceoryx2::port::LoanError as RawLoanError;
use iceoryx2::port::update_connections::UpdateConnections;
use iceoryx2::prelude::*;
use rm_core::{MonotonicStamp, RuntimeData};

use crate::channel::{ChannelError, ChannelState, HeaderBytes};
use crate::control::{Present, place};
use crate::loan::{
    LoanError, Raw, SampleMut, SampleMutUninit, SendError, TrySendError, copy_in, header_mut,
};
use crate::namespace::{IpcService, lock};
use crate::options::Policy;
use crate::peer::{ChannelRole, to_ns};
use crate::populated::{FIRST_CHUNK, Populated};
use crate::shared::{Shared, check_memory};
use crate::stats::monotonic_ns;
use crate::turn::Turn;
use crate::wake::{BellId, Doorbell, Ringer};
use crate::{attendant, handover, segment};

/// Loans that one publisher may hold at once.
const MAX_LOANS: usize = 8;
/// Why data was not published.
#[derive(Debug, Clone, thiserror::Error)]
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
    /// There is no memory to publish it in.
    #[error("no memory to publish in")]
    SystemLimit {
        /// Why.
        #[source]
        source: LoanError,
    },
    /// Another handle or process is the channel's publisher, or this process subscribes to it.
    #[error("not the publisher")]
    NotPublisher(#[source] Arc<ChannelError>),
    /// The channel could not be joined.
    #[error("cannot join as the publisher")]
    Setup(#[source] Arc<ChannelError>),
    /// The channel is closed.
    #[error("channel is closed")]
    ChannelClosed,
    /// iceoryx2 could not deliver although there was room.
    #[error("delivery failed: {0}")]
    Delivery(String),
    /// The task could not be parked: it runs outside of a tokio runtime with I/O.
    #[error("cannot wait for room: {0}")]
    Wait(String),
}

impl From<LoanError> for PublishError {
    fn from(source: LoanError) -> Self {
        match source {
            LoanError::Closed => Self::ChannelClosed,
            LoanError::NotPublisher(source) => Self::NotPublisher(source),
            LoanError::Setup(source) => Self::Setup(source),
            LoanError::OutOfMemory { .. } | LoanError::TooManyLoans { .. } => {
                Self::SystemLimit { source }
            }
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
            SendError::Wait(message) => Self::Wait(message),
        }
    }
}

impl From<TrySendError> for PublishError {
    fn from(error: TrySendError) -> Self {
        error.into_cause().into()
    }
}

/// What is known of the messages under way.
struct Queue {
    /// Positions and payload sizes of those that not all subscribers have taken, oldest first.
    sizes: VecDeque<(u64, u64)>,
    /// Sum of the sizes.
    bytes: u64,
    /// Position at which this publisher began, and whether messages from before may be queued.
    began: u64,
    follows: bool,
    /// Position of the next message.
    next: u64,
    /// Messages sent so far, those of earlier publishers included.
    messages: u64,
    /// Timestamps that earlier publishers have clamped.
    clamped: u64,
    /// Payload bytes sent and copied so far, those of earlier publishers included.
    sent_bytes: u64,
    copied_bytes: u64,
    /// The count of joins that this has been made for.
    joins: u32,
    /// Who was there at the last look.
    present: Present,
    /// By place, the bells that have been rung, and their names.
    ringers: Vec<Option<(u64, Ringer)>>,
}

impl Queue {
    fn forget_before(&mut self, position: u64) {
        while let Some((at, len)) = self.sizes.front()
            && *at < position
        {
            self.bytes = self.bytes.saturating_sub(*len);
            self.sizes.pop_front();
        }
    }

    fn push(&mut self, position: u64, len: u64) {
        self.sizes.push_back((position, len));
        self.bytes = self.bytes.saturating_add(len);
    }
}

/// What is to be done with a message now.
enum Admission {
    Send,
    Wait,
    Drop,
}

pub(crate) type RawPublisher = iceoryx2::port::publisher::Publisher<IpcService, [u8], HeaderBytes>;

/// The part of a publisher that its loans keep alive.
pub(crate) struct Core {
    attended: Option<attendant::Attended>,
    port: Arc<RawPublisher>,
    shared: Arc<Shared>,
    bell: Arc<Doorbell>,
    /// Held by the thread that waits for room: its round on the page.
    turn: Turn<u32>,
    queue: Mutex<Queue>,
    populated: Mutex<Populated>,
    undelivered: AtomicU64,
    stamp: MonotonicStamp,
    #[cfg(feature = "tokio")]
    tasks: crate::task::Turn,
}

/// The sending end of a channel. Dropping it, and its loans, lets the channel drain.
pub struct Publisher {
    core: Arc<Core>,
}

/// Gives the publisher's place back if joining does not succeed.
struct Claim<'a>(Option<&'a Shared>);

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if let Some(shared) = self.0 {
            shared.page.publisher.state.store(place::FREE, Ordering::SeqCst);
            shared.page.publisher.forget_bells();
            shared.page.publisher.place.release();
            // Whoever else has left meanwhile has found this here.
            shared.settle();
        }
    }
}

impl Publisher {
    pub(crate) fn join(shared: Arc<Shared>, bell: Arc<Doorbell>) -> Result<Self, ChannelError> {
        let channel = || shared.id.clone();
        check_memory(&shared.id)?;
        let io = |error| ChannelError::io(&shared.id, error);
        let own = &shared.page.publisher;
        let now = to_ns(SystemTime::now());
        if !own.place.claim(shared.own, now) {
            // Its holder may have died without anybody's notice.
            shared.watch_peers().map_err(io)?;
            if !own.place.claim(shared.own, now) {
                let role = ChannelRole::Publisher;
                return Err(ChannelError::Full { channel: channel(), role, limit: 1 });
            }
        }
        let mut claim = Claim(Some(&shared));
        if shared.state() >= ChannelState::Draining {
            return Err(ChannelError::Closed { channel: channel() });
        }
        shared.check_role(ChannelRole::Publisher)?;
        own.bell.store(bell.id().0, Ordering::Release);
        own.task_bell.store(0, Ordering::Release);
        handover::retract(&own.thread_waits);
        handover::retract(&own.task_waits);
        shared.page.joins.fetch_add(1, Ordering::AcqRel);
        own.state.store(place::JOINING, Ordering::Release);
        let create = || {
            shared
                .service
                .publisher_builder()
                .backpressure_strategy(BackpressureStrategy::DiscardData)
                .max_loaned_samples(MAX_LOANS)
                .initial_max_slice_len(FIRST_CHUNK)
                .allocation_strategy(AllocationStrategy::PowerOfTwo)
                .create()
        };
        let keeps_history = shared.page.history.load(Ordering::Relaxed) > 0;
        let tag = shared.page.tag.load(Ordering::Relaxed);
        // A port that has lingered is as good as a new one, but for its history, which others may
        // have continued.
        let lingered = if keeps_history { None } else { shared.namespace.take_lingering(tag) };
        let follows = lingered.is_none();
        let port = match lingered {
            Some(port) => port,
            None => Arc::new(shared.make_port(create)?),
        };
        let arrivals = keeps_history.then(|| Doorbell::create(&shared.namespace)).transpose();
        let arrivals = arrivals.map_err(|error| shared.refused(error))?;
        let arrivals_id = arrivals.as_ref().map_or(0, |bell| bell.id().0);
        own.attendant_bell.store(arrivals_id, Ordering::Release);
        let next = own.published.load(Ordering::Acquire).max(own.sending.load(Ordering::Acquire));
        own.began.store(next, Ordering::Release);
        let messages = own.messages.load(Ordering::Acquire);
        let clamped = own.clamped.load(Ordering::Relaxed);
        let queue = Queue {
            sizes: VecDeque::new(),
            bytes: 0,
            began: next,
            follows,
            next,
            messages,
            clamped,
            sent_bytes: own.bytes.load(Ordering::Relaxed),
            copied_bytes: own.copied_bytes.load(Ordering::Relaxed),
            joins: 0,
            present: Present::default(),
            ringers: vec![None; shared.page.places().count()],
        };
        let attended = arrivals.map(|bell| attendant::attend(&shared, &port, bell)).transpose();
        let attended = attended.map_err(|error| ChannelError::io(&shared.id, error))?;
        shared.watch_peers().map_err(io)?;
        claim.0 = None;
        drop(claim);
        let core = Arc::new(Core {
            attended,
            port,
            shared,
            bell,
            turn: Turn::new(0),
            queue: Mutex::new(queue),
            populated: Mutex::default(),
            undelivered: AtomicU64::new(0),
            stamp: MonotonicStamp::new(),
            #[cfg(feature = "tokio")]
            tasks: crate::task::Turn::default(),
        });
        let shared = &core.shared;
        shared.page.publisher.state.store(place::ACTIVE, Ordering::Release);
        shared.set_state(ChannelState::Active);
        // They are to watch this process.
        shared.ring_subscribers();
        Ok(Self { core })
    }

    /// Lends `len` bytes of the channel's memory for writing.
    ///
    /// # Errors
    /// [`LoanError`]: `TooLarge` if it could never be sent, `OutOfMemory`, `TooManyLoans`.
    pub fn loan_uninit(&self, len: usize) -> Result<SampleMutUninit, LoanError> {
        Core::loan(&self.core, len)
    }

    /// Copies `data` into the channel's memory and sends it. If the channel is full, it does what its
    /// policy says: by default it waits for room (and for a subscriber, if there is none) on the
    /// doorbell.
    ///
    /// # Errors
    /// [`PublishError::InvalidData`] if it can never be carried, `SystemLimit` if there is no memory,
    /// `ChannelClosed` if the channel is closed, or is while this waits.
    pub fn publish(&self, data: &RuntimeData) -> Result<(), PublishError> {
        Ok(copy_in(&self.core, data)?.send()?)
    }

    /// Copies `data` into the channel's memory; sending it is a step of its own.
    ///
    /// # Errors
    /// [`LoanError`] if it can never be carried, or there is no memory.
    pub fn copy_in(&self, data: &RuntimeData) -> Result<SampleMut, LoanError> {
        copy_in(&self.core, data)
    }

    /// Copies and sends `data` if there is room now.
    ///
    /// # Errors
    /// [`PublishError::ChannelFull`] if there is none; otherwise as [`publish`](Self::publish).
    pub fn try_publish(&self, data: &RuntimeData) -> Result<(), PublishError> {
        Ok(copy_in(&self.core, data)?.try_send()?)
    }

    /// Copies and sends `data`, waiting for room no longer than `timeout`.
    ///
    /// # Errors
    /// [`PublishError::ChannelFull`] if there was none in time; otherwise as
    /// [`publish`](Self::publish).
    pub fn publish_timeout(
        &self,
        data: &RuntimeData,
        timeout: Duration,
    ) -> Result<(), PublishError> {
        Ok(copy_in(&self.core, data)?.send_timeout(timeout)?)
    }

    /// Copies and sends `data`; while there is no room, the task is parked. A future that is dropped
    /// has not sent.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    #[cfg(feature = "tokio")]
    pub async fn publish_async(&self, data: &RuntimeData) -> Result<(), PublishError> {
        Ok(copy_in(&self.core, data)?.send_async().await?)
    }

    /// Waits until every subscriber has taken everything, and every seat has acknowledged it, or for
    /// `timeout`; whether that is so. What is queued goes with this process, and what a seat could be
    /// given again with this publisher, so that one waits before one ends.
    pub fn flush(&self, timeout: Duration) -> bool {
        let core = &self.core;
        let is_done = || core.is_closed() || !core.shared.page.has_queued();
        core.wait_until(is_done, Instant::now().checked_add(timeout))
    }

    /// Counts bytes that were copied to make what is published next, before it came here.
    pub fn note_copied(&self, bytes: u64) {
        let mut queue = lock(&self.core.queue);
        queue.copied_bytes = queue.copied_bytes.wrapping_add(bytes);
        let counted = queue.copied_bytes;
        self.core.shared.page.publisher.copied_bytes.store(counted, Ordering::Relaxed);
    }

    /// What happens to a message for which there is no room.
    pub fn policy(&self) -> Policy {
        self.core.shared.policy
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
    pub(crate) fn loan(core: &Arc<Self>, len: usize) -> Result<SampleMutUninit, LoanError> {
        let limit = usize::try_from(core.shared.page.max_message.load(Ordering::Relaxed));
        let limit = limit.unwrap_or(usize::MAX).min(RuntimeData::MAX_PAYLOAD);
        if len > limit {
            return Err(LoanError::TooLarge { len, limit });
        }
        if core.is_closed() {
            return Err(LoanError::Closed);
        }
        let mut populated = lock(&core.populated);
        populated.check_memory(len)?;
        // A slice of no elements has no place; an empty message takes one byte of room.
        let mut raw = core.port.loan_slice_uninit(len.max(1)).map_err(|error| match error {
            RawLoanError::ExceedsMaxLoans => LoanError::TooManyLoans { limit: MAX_LOANS },
            error => LoanError::OutOfMemory { len, reason: format!("{error:?}") },
        })?;
        populated
            .pay_for(raw.payload_mut())
            .map_err(|errno| LoanError::OutOfMemory { len, reason: errno.to_string() })?;
        drop(populated);
        let raw = segment::as_bytes(raw);
        Ok(SampleMutUninit { raw, len, copied: 0, core: core.clone(), _becomes: PhantomData })
    }

    /// Decides on a message of `len` bytes.
    fn admit(&self, queue: &mut Queue, len: u64) -> Admission {
        let (page, policy) = (&self.shared.page, self.shared.policy);
        let joins = page.joins.load(Ordering::Acquire);
        if queue.joins != joins {
            self.look_again(queue, joins);
        }
        queue.present = page.present();
        // One who is still joining would not get the message.
        if queue.present.active == 0 {
            let is_kept = page.history.load(Ordering::Relaxed) > 0;
            return match policy {
                Policy::Block => Admission::Wait,
                _ if is_kept => Admission::Send,
                _ => Admission::Drop,
            };
        }
        if policy.overflows() {
            return Admission::Send;
        }
        // iceoryx2 keeps no order between two publishers, so what an earlier one has sent comes first.
        if queue.follows && page.taken_by_all().is_some_and(|taken| taken < queue.began) {
            return if policy == Policy::Block { Admission::Wait } else { Admission::Drop };
        }
        queue.follows = false;
        let depth = u64::from(page.depth.load(Ordering::Relaxed));
        let capacity = page.capacity.load(Ordering::Relaxed);
        let fits = |queue: &Queue| {
            let bytes = queue.bytes.checked_add(len);
            (queue.sizes.len() as u64) < depth && bytes.is_some_and(|bytes| bytes <= capacity)
        };
        // The subscribers' positions are read only if those last seen leave no room.
        if !fits(queue) {
            queue.forget_before(page.done_by_all().unwrap_or_default());
        }
        match policy {
            _ if fits(queue) => Admission::Send,
            Policy::Block => Admission::Wait,
            _ => Admission::Drop,
        }
    }

    /// Finds out about those who have joined: their death is to be noticed, and with a history they
    /// have messages queued that all others have taken.
    #[cold]
    fn look_again(&self, queue: &mut Queue, joins: u32) {
        queue.joins = joins;
        self.shared.notice_joins();
        if self.shared.page.history.load(Ordering::Relaxed) > 0 {
            (queue.sizes, queue.bytes) = (VecDeque::new(), 0);
            let recent: Vec<_> = self.shared.recent().collect();
            recent.into_iter().for_each(|(position, len)| queue.push(position, len));
        }
    }

    fn is_closed(&self) -> bool {
        self.shared.state() == ChannelState::Destroyed
    }

    /// Whether a sender of `len` bytes has something to do other than to wait.
    pub(crate) fn is_ready(&self, len: u64) -> bool {
        self.is_closed() || !matches!(self.admit(&mut lock(&self.queue), len), Admission::Wait)
    }

    /// Waits for room, or for the channel's end; `false` if `deadline` came first.
    fn wait_for_room(&self, len: u64, deadline: Option<Instant>) -> bool {
        self.wait_until(|| self.is_ready(len), deadline)
    }

    /// Waits for something that the subscribers' taking brings about; `false` if `deadline` came
    /// first.
    fn wait_until(&self, mut is_ready: impl FnMut() -> bool, deadline: Option<Instant>) -> bool {
        let Some(mut round) = self.turn.take(deadline) else {
            return is_ready();
        };
        let waits = &self.shared.page.publisher.thread_waits;
        // Pairs with `ControlPage::publisher_to_wake`.
        handover::announce(waits, &mut round);
        let is_ready = self.bell.wait(is_ready, deadline);
        handover::retract(waits);
        is_ready
    }

    pub(crate) fn send(
        mut sample: SampleMut,
        deadline: Option<Instant>,
    ) -> Result<(), TrySendError> {
        loop {
            let unsent = match Self::try_send(sample) {
                Err(TrySendError::Full(unsent)) => unsent,
                done => return done,
            };
            if !unsent.core.wait_for_room(unsent.len as u64, deadline) {
                return Err(TrySendError::Full(unsent));
            }
            sample = *unsent;
        }
    }

    #[cfg(feature = "tokio")]
    pub(crate) async fn send_async(mut sample: SampleMut) -> Result<(), SendError> {
        loop {
            let unsent = match Self::try_send(sample) {
                Err(TrySendError::Full(unsent)) => unsent,
                done => return done.map_err(TrySendError::into_cause),
            };
            let (core, len) = (&unsent.core, unsent.len as u64);
            let own = &core.shared.page.publisher;
            let is_ready = || core.is_ready(len);
            let (namespace, bell) = (&core.shared.namespace, &own.task_bell);
            let waited = core.tasks.wait(namespace, bell, &own.task_waits, is_ready).await;
            waited.map_err(|error| SendError::Wait(error.to_string()))?;
            sample = *unsent;
        }
    }

    pub(crate) fn try_send(sample: SampleMut) -> Result<(), TrySendError> {
        let SampleMut { mut raw, len, copied, core, _becomes } = sample;
        let mut queue = lock(&core.queue);
        if core.is_closed() {
            return Err(SendError::Closed.into());
        }
        match core.admit(&mut queue, len as u64) {
            Admission::Send => {
                let header = header_mut(&mut raw);
                header.clamp_timestamp(&core.stamp);
                header.stamp(queue.next, monotonic_ns());
                Ok(core.deliver(&mut queue, raw, len as u64, copied as u64)?)
            }
            Admission::Wait => {
                drop(queue);
                Err(TrySendError::Full(Box::new(SampleMut { raw, len, copied, core, _becomes })))
            }
            Admission::Drop => {
                // It has a position, so that its subscribers see the gap before the next message.
                queue.next = queue.next.saturating_add(1);
                core.shared.page.dropped.fetch_add(1, Ordering::Relaxed);
                if queue.present.active == 0 {
                    // Who joins later has no gap.
                    let own = &core.shared.page.publisher;
                    own.sending.store(queue.next, Ordering::Release);
                    own.published.store(queue.next, Ordering::Release);
                }
                Ok(())
            }
        }
    }

    fn deliver(&self, queue: &mut Queue, raw: Raw, len: u64, copied: u64) -> Result<(), SendError> {
        let page = &self.shared.page;
        let own = &page.publisher;
        let after = queue.next.saturating_add(1);
        // All that is told of the message but that it is there, so that this follows at once.
        own.sending.store(after, Ordering::Release);
        self.shared.note(queue.messages, queue.next, len);
        own.clamped.store(queue.clamped.wrapping_add(self.stamp.clamped()), Ordering::Relaxed);
        own.bytes.store(queue.sent_bytes.wrapping_add(len), Ordering::Relaxed);
        own.copied_bytes.store(queue.copied_bytes.wrapping_add(copied), Ordering::Relaxed);
        own.messages.store(queue.messages.saturating_add(1), Ordering::Release);
        let failure = match raw.send() {
            Ok(delivered) => self.unreached(queue, delivered),
            Err(error) => Some(format!("{error:?}")),
        };
        // Some may have got it in any case, so it counts as sent; who has not, misses it.
        own.published.store(after, Ordering::Release);
        self.ring_subscribers(&mut queue.ringers);
        if !self.shared.policy.overflows() {
            queue.push(queue.next, len);
        }
        queue.next = after;
        queue.messages = queue.messages.saturating_add(1);
        queue.sent_bytes = queue.sent_bytes.wrapping_add(len);
        queue.copied_bytes = queue.copied_bytes.wrapping_add(copied);
        failure.map_or(Ok(()), |failure| {
            self.undelivered.fetch_add(1, Ordering::Relaxed);
            Err(SendError::Delivery(failure))
        })
    }

    /// Says so if somebody is there who should have been reached.
    fn unreached(&self, queue: &Queue, delivered: usize) -> Option<String> {
        if !self.has_missed(queue, delivered) {
            return None;
        }
        // One who is dead may have been freed in iceoryx2 before he was buried here.
        self.shared.bury_dying(|| !self.has_missed(queue, delivered));
        let stayed = self.shared.page.present().active;
        self.has_missed(queue, delivered)
            .then(|| format!("{delivered} of {stayed} subscribers were reached"))
    }

    /// Whether somebody who was there before a message was sent, and still is, did not get it.
    fn has_missed(&self, queue: &Queue, delivered: usize) -> bool {
        let (page, Present { active, joining }) = (&self.shared.page, queue.present);
        // One who left meanwhile is not missed, nor is one who came.
        delivered < active
            && joining == 0
            && page.joins.load(Ordering::Acquire) == queue.joins
            && delivered < page.present().active
    }

    fn ring_subscribers(&self, ringers: &mut [Option<(u64, Ringer)>]) {
        for (sub, known) in self.shared.page.places().zip(ringers) {
            let bell = sub.bell.load(Ordering::Acquire);
            if bell == 0 || sub.state.load(Ordering::Acquire) == place::FREE {
                continue;
            }
            if known.as_ref().is_none_or(|(id, _)| *id != bell) {
                let ringer = self.shared.ringer(BellId(bell)).ok().flatten();
                *known = ringer.map(|ringer| (bell, ringer));
            }
            if let Some((_, ringer)) = known {
                ringer.ring();
            }
        }
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        let own = &self.shared.page.publisher;
        // Who has announced himself is given his history now; nobody is after that.
        if self.attended.take().is_some() && !self.is_closed() {
            let _ = self.port.update_connections();
        }
        if !self.is_closed() && self.shared.page.has_queued() {
            self.shared.namespace.linger(self.shared.page.clone(), self.port.clone());
        }
        own.state.store(place::FREE, Ordering::SeqCst);
        own.forget_bells();
        // Before another can take the place.
        self.shared.drain();
        own.place.release();
        self.shared.settle();
        self.shared.ring_subscribers();
    }
}
