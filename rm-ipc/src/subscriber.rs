//! The receiving end of a channel.
//!
//! Main type: [`Subscriber`]. Messages are seen where they lie; each is given back to its sender
//! when the last clone of its payload is dropped. What is read from shared memory is hostile: a
//! message that is not valid is a typed error, and the next one is not affected.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use iceoryx2::port::subscriber::SubscriberCreateError;
use rm_core::{DataError, MessageKind, RuntimeData, WireError, WireHeader};
use zerocopy::{FromBytes, IntoBytes};

use crate::channel::{ChannelError, ChannelState, HeaderBytes};
use crate::control::{SubscriberPlace, flag, place};
use crate::namespace::IpcService;
use crate::options::Policy;
use crate::peer::ChannelRole;
use crate::shared::{Shared, check_memory};
use crate::stats::{Latencies, LatencySummary, monotonic_ns};
use crate::wake::{BellId, Doorbell};

/// Why nothing was received.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiveError {
    /// The channel is closed, or its publisher has left and everything has been taken.
    #[error("channel is closed")]
    ChannelClosed,
    /// Nothing came in time.
    #[error("nothing was received within {0:?}")]
    TimedOut(Duration),
    /// A message's header cannot be read. The message is dropped and counted.
    #[error("message {position} has an unreadable header")]
    Header {
        /// Its position in the channel.
        position: u64,
        /// What is wrong with it.
        #[source]
        source: WireError,
    },
    /// A message's payload is not what its header says. The message is dropped and counted.
    #[error("message {position} is not what its header says")]
    Payload {
        /// Its position in the channel.
        position: u64,
        /// What is wrong with it.
        #[source]
        source: DataError,
    },
    /// A message claims a place in the channel that it cannot have. It is dropped and counted.
    #[error("message {position} claims to be message {found}")]
    Sequence {
        /// The position that it should have, or come after.
        position: u64,
        /// The position that it claims.
        found: u64,
    },
    /// The task could not be parked: it runs outside of a tokio runtime with I/O.
    #[error("cannot wait for a message: {0}")]
    Wait(String),
    /// iceoryx2 could not reach the sender's memory.
    #[error("reception failed: {0}")]
    Reception(String),
}

type RawSample = iceoryx2::sample::Sample<IpcService, [u8], HeaderBytes>;

type RawSubscriber = iceoryx2::port::subscriber::Subscriber<IpcService, [u8], HeaderBytes>;

fn wire_header(sample: &RawSample) -> &WireHeader {
    WireHeader::ref_from_bytes(sample.user_header().as_bytes())
        .expect("the header's type has as many bytes as a wire header")
}

/// A sample on loan from its sender, as an owner of bytes.
struct Borrowed {
    sample: RawSample,
    len: usize,
    // A sender takes the samples of a port that is gone for given back, and writes into them. Dropped
    // after the sample: its count is that of the borrowed samples, and only when this one has been
    // given back may another be borrowed in its place.
    _port: Arc<RawSubscriber>,
}

impl AsRef<[u8]> for Borrowed {
    fn as_ref(&self) -> &[u8] {
        &self.sample.payload()[..self.len]
    }
}

/// The receiving end of a channel. Dropping it frees its place, unless it has a seat.
pub struct Subscriber {
    port: Arc<RawSubscriber>,
    shared: Arc<Shared>,
    bell: Arc<Doorbell>,
    index: usize,
    /// What has become of its messages, if it has a seat.
    seat: Option<Seat>,
    /// Position before which everything that comes was acknowledged before this joined; zero once
    /// something else has come.
    repeated: u64,
    /// Position of the next message.
    next: u64,
    /// Whether there are messages of before this joined that it is to be given.
    has_history: bool,
    /// Position from which on every message has to come: those before may have been under way when
    /// this was connected.
    owed: u64,
    /// The count of joins at the last look for what is to be passed over.
    joins: u32,
    /// Whether anything has come: before that, a gap is what was sent before this joined.
    started: bool,
    latencies: Latencies,
    /// When the last message was sent and received.
    passage_ns: (u64, u64),
    copied_bytes: u64,
    bytes: u64,
    missed: u64,
    orphaned: u64,
    dropped: u64,
    invalid: u64,
}

/// Positions after the last message that was given out and the last that was acknowledged, and what
/// the publisher has been told.
#[derive(Clone, Copy)]
struct Seat {
    given: u64,
    acknowledged: u64,
    told: u64,
}

/// Gives a subscriber's place back if joining does not succeed.
struct Claim<'a>(Option<(&'a Shared, &'a SubscriberPlace)>);

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if let Some((shared, own)) = self.0 {
            own.leave();
            // Whoever else has left meanwhile has found this here.
            shared.settle();
        }
    }
}

impl Subscriber {
    pub(crate) fn join(
        shared: Arc<Shared>,
        bell: Arc<Doorbell>,
        seat: Option<u32>,
    ) -> Result<Self, ChannelError> {
        check_memory(&shared.id)?;
        let page = &shared.page;
        let index = match seat {
            Some(seat) => shared.take_seat(seat)?,
            None => shared.claim_place()?,
        };
        let own = &page.subscribers[index];
        let mut claim = Claim(Some((&shared, own)));
        if shared.state() >= ChannelState::Draining {
            return Err(ChannelError::Closed { channel: shared.id.clone() });
        }
        shared.check_role(ChannelRole::Subscriber)?;
        own.bell.store(bell.id().0, Ordering::Release);
        let published = || page.publisher.published.load(Ordering::SeqCst);
        let is_retained = page.has(flag::RETAINED);
        match seat {
            // What it has is known when it is connected.
            Some(_) => own.received.store(0, Ordering::Release),
            None => own.position.store(published(), Ordering::Release),
        }
        // Watched from here on, in case that this process dies while it joins.
        page.joins.fetch_add(1, Ordering::SeqCst);
        own.state.store(place::JOINING, Ordering::SeqCst);
        // Counts for backpressure from here on, as if everything sent since were on its way; what
        // is not, because the port was not connected yet, is found out by `try_recv`.
        let published = published();
        let history = match seat {
            // A message may be received before it counts as published.
            Some(_) => {
                let sending = page.publisher.sending.load(Ordering::SeqCst);
                Some(own.position.load(Ordering::SeqCst).min(sending.max(published)))
            }
            None if is_retained => None,
            None => shared.history(),
        };
        let next = history.unwrap_or(published);
        let place = if seat.is_some() { &own.received } else { &own.position };
        place.store(next, Ordering::Release);
        // Looked at again, for the position that counts.
        page.joins.fetch_add(1, Ordering::SeqCst);
        let create = || {
            let builder = shared.service.subscriber_builder();
            let has_none = is_retained && seat.is_none();
            if has_none { builder.history_request(0) } else { builder }.create()
        };
        let port = shared.make_port(create).or_else(|refused| {
            create().map_err(|error| match error {
                SubscriberCreateError::ExceedsMaxSupportedSubscribers => {
                    ChannelError::Kept { channel: shared.id.clone() }
                }
                _ => refused,
            })
        });
        let port = Arc::new(port?);
        // A seat is owed everything from where its last holder ended.
        let owed = seat.map_or_else(|| page.publisher.sending.load(Ordering::SeqCst), |_| 0);
        own.state.store(place::ACTIVE, Ordering::SeqCst);
        shared.watch_peers().map_err(|error| ChannelError::io(&shared.id, error))?;
        claim.0 = None;
        drop(claim);
        shared.set_state(ChannelState::Active);
        // A publisher that waits for a subscriber has one now.
        shared.ring_publisher();
        if history.is_some() {
            shared.ring(BellId(shared.page.publisher.attendant_bell.load(Ordering::Acquire)));
        }
        let own = &shared.page.subscribers[index];
        let before = |count: &AtomicU64| seat.map_or(0, |_| count.load(Ordering::Relaxed));
        Ok(Self {
            missed: before(&own.missed),
            orphaned: before(&own.orphaned),
            port,
            shared,
            bell,
            index,
            seat: seat.map(|_| Seat { given: next, acknowledged: next, told: next }),
            repeated: seat.map_or(0, |_| next),
            next,
            has_history: history.is_some(),
            owed,
            joins: 0,
            started: false,
            latencies: Latencies::new(),
            passage_ns: (0, 0),
            copied_bytes: 0,
            bytes: 0,
            dropped: 0,
            invalid: 0,
        })
    }

    fn own(&self) -> &SubscriberPlace {
        &self.shared.page.subscribers[self.index]
    }

    fn advance_to(&mut self, position: u64) {
        self.next = position;
        if self.seat.is_none() {
            return self.tell(&self.own().position, position);
        }
        self.tell(&self.own().received, position);
        self.tell_acknowledged();
    }

    /// Tells the publisher what may give it room.
    fn tell(&self, place: &AtomicU64, position: u64) {
        for bell in self.shared.page.advance(place, position).into_iter().flatten() {
            self.shared.ring(bell);
        }
    }

    /// Tells the publisher what is acknowledged. That includes what does not come, or could not be
    /// given out, after the last message that was.
    fn tell_acknowledged(&mut self) {
        if let Some(seat) = &mut self.seat {
            let is_all = seat.acknowledged >= seat.given;
            let position = if is_all { self.next } else { seat.acknowledged };
            if position > seat.told {
                seat.told = position;
                self.tell(&self.own().position, position);
            }
        }
    }

    /// Says that everything up to and including the message `sequence` is done. On a seat, that is what
    /// gives the publisher room, and what a successor is not given again. What has not been received
    /// cannot be acknowledged; without a seat, this does nothing.
    pub fn acknowledge(&mut self, sequence: u64) {
        if let Some(seat) = &mut self.seat {
            let end = sequence.saturating_add(1).min(seat.given);
            seat.acknowledged = seat.acknowledged.max(end);
            self.tell_acknowledged();
        }
    }

    /// As [`acknowledge`](Self::acknowledge), with a note for whoever has the seat next. If this process
    /// is killed in between, the note may be there without the acknowledgement, or its second half without
    /// its first; never the acknowledgement without the note.
    pub fn acknowledge_with(&mut self, sequence: u64, memo: [u64; 2]) {
        if self.seat.is_some() {
            let noted = &self.own().memo;
            noted[1].store(memo[1], Ordering::Release);
            noted[0].store(memo[0], Ordering::Release);
        }
        self.acknowledge(sequence);
    }

    /// What was noted last in this seat; zeros if nothing was, or without a seat.
    pub fn memo(&self) -> [u64; 2] {
        if self.seat.is_none() {
            return [0; 2];
        }
        self.own().memo.each_ref().map(|memo| memo.load(Ordering::Acquire))
    }

    /// Whether [`try_recv`](Self::try_recv) has something to say: a message, or that the channel
    /// is closed. Cheap: this is what a waiter calls in its spin.
    pub fn is_ready(&self) -> bool {
        self.port.has_samples().unwrap_or(true) || self.is_ready_otherwise()
    }

    /// Whether there is something to say other than a message.
    fn is_ready_otherwise(&self) -> bool {
        self.shared.notice_joins();
        // What was sent before this was connected does not come, and has to be passed over; and so
        // does a message with which its sender died, for whom another has joined or is to.
        self.shared.page.joins.load(Ordering::Acquire) != self.joins
            || self.shared.state() >= ChannelState::Draining
            || !self.started && self.passed() > self.next
    }

    /// Position before which nothing more comes, if nothing is there after this was read.
    ///
    /// A message is delivered before it is published. So what is published and not there was sent
    /// before this was connected, or dropped, or its sender died with it. Only a history comes when the
    /// publisher's attendant has been rung; and to a seat everything that the present publisher has
    /// sent.
    fn passed(&self) -> u64 {
        let published = self.published();
        let publisher = &self.shared.page.publisher;
        if self.seat.is_some() && publisher.state.load(Ordering::Acquire) == place::ACTIVE {
            return published.min(publisher.began.load(Ordering::Acquire));
        }
        if self.awaits_history() { 0 } else { published }
    }

    /// Whether the publisher still owes messages from before this joined.
    fn awaits_history(&self) -> bool {
        let publisher = &self.shared.page.publisher;
        self.has_history
            && self.next < self.owed
            && publisher.state.load(Ordering::Acquire) == place::ACTIVE
            && publisher.began.load(Ordering::Acquire) <= self.next
    }

    fn published(&self) -> u64 {
        self.shared.page.publisher.published.load(Ordering::Acquire)
    }

    /// The next message, if there is one.
    ///
    /// # Errors
    /// [`ReceiveError::ChannelClosed`] at the end; `Header`, `Payload` or `Sequence` for a message
    /// that is not valid.
    pub fn try_recv(&mut self) -> Result<Option<RuntimeData>, ReceiveError> {
        // Read first: what was sent before they changed is then seen below.
        self.joins = self.shared.page.joins.load(Ordering::Acquire);
        let state = self.shared.state();
        if state == ChannelState::Destroyed {
            return Err(ReceiveError::ChannelClosed);
        }
        if let Some(sample) = self.receive()? {
            return self.accept(sample).map(Some);
        }
        let passed = self.passed();
        if let Some(sample) = self.receive()? {
            return self.accept(sample).map(Some);
        }
        if passed > self.next {
            self.skip_to(passed);
        }
        if state != ChannelState::Draining {
            return Ok(None);
        }
        // What its dead sender had queued has been taken.
        if self.shared.page.publisher_died() {
            self.shared.namespace.clean_up();
        }
        Err(ReceiveError::ChannelClosed)
    }

    fn receive(&self) -> Result<Option<RawSample>, ReceiveError> {
        loop {
            let received = self.port.receive();
            let received =
                received.map_err(|error| ReceiveError::Reception(format!("{error:?}")))?;
            let is_repeated = |sample: &RawSample| {
                wire_header(sample).decode().is_ok_and(|header| header.sequence < self.repeated)
            };
            match received {
                Some(sample) if self.repeated > 0 && is_repeated(&sample) => {}
                received => return Ok(received),
            }
        }
    }

    /// Takes the messages before `position` as not to come.
    fn skip_to(&mut self, position: u64) {
        let from = if self.started { self.next } else { self.next.max(self.owed) };
        let skipped = position.saturating_sub(from);
        let policy = self.shared.policy;
        if policy == Policy::Block {
            let orphan = self.shared.page.orphan.load(Ordering::Acquire);
            let orphaned = u64::from(from < orphan && orphan <= position);
            self.orphaned = self.orphaned.saturating_add(orphaned);
            self.missed = self.missed.saturating_add(skipped - orphaned);
            if self.seat.is_some() {
                // Before the positions, so that it is rather counted twice than not at all.
                self.own().missed.store(self.missed, Ordering::Relaxed);
                self.own().orphaned.store(self.orphaned, Ordering::Release);
            }
        } else {
            self.dropped = self.dropped.saturating_add(skipped);
            // The newest are counted by the publisher, who drops them.
            if policy.overflows() {
                self.shared.page.dropped.fetch_add(skipped, Ordering::Relaxed);
            }
        }
        self.advance_to(position);
    }

    /// The next message, waiting for it on the doorbell.
    ///
    /// # Errors
    /// As [`try_recv`](Self::try_recv).
    pub fn recv(&mut self) -> Result<RuntimeData, ReceiveError> {
        loop {
            if let Some(data) = self.wait(None)? {
                return Ok(data);
            }
        }
    }

    /// The next message, waiting for it no longer than `timeout`.
    ///
    /// # Errors
    /// [`ReceiveError::TimedOut`], or as [`try_recv`](Self::try_recv).
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<RuntimeData, ReceiveError> {
        // A time that no clock can show is no limit.
        let deadline = Instant::now().checked_add(timeout);
        self.recv_until(deadline)?.ok_or(ReceiveError::TimedOut(timeout))
    }

    /// The next message, or none if `deadline` comes first.
    pub(crate) fn recv_until(
        &mut self,
        deadline: Option<Instant>,
    ) -> Result<Option<RuntimeData>, ReceiveError> {
        loop {
            if let Some(data) = self.wait(deadline)? {
                return Ok(Some(data));
            }
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Ok(None);
            }
        }
    }

    /// Waits until there is something to say, or until `deadline`. A message is taken in the look
    /// that finds it: to look and to take cost the same.
    #[inline]
    fn wait(&mut self, deadline: Option<Instant>) -> Result<Option<RuntimeData>, ReceiveError> {
        let mut found = Ok(None);
        let is_ready = || {
            found = self.receive();
            !matches!(found, Ok(None)) || self.is_ready_otherwise()
        };
        self.bell.wait(is_ready, deadline);
        match found? {
            Some(sample) if self.shared.state() != ChannelState::Destroyed => {
                self.accept(sample).map(Some)
            }
            _ => self.try_recv(),
        }
    }

    #[inline]
    fn accept(&mut self, sample: RawSample) -> Result<RuntimeData, ReceiveError> {
        let received_ns = monotonic_ns();
        let wire = wire_header(&sample);
        let sent_ns = wire.sent_ns();
        self.passage_ns = (sent_ns, received_ns);
        let header = match wire.decode() {
            Ok(header) if self.may_follow(header.sequence) => header,
            Ok(header) => {
                let (position, found) = (self.next, header.sequence);
                // The position of one that comes late has been passed over already.
                self.invalid += 1;
                if found >= position {
                    self.advance_to(position.saturating_add(1));
                }
                return Err(ReceiveError::Sequence { position, found });
            }
            Err(source) => {
                let position = self.next;
                self.invalid += 1;
                self.advance_to(position.saturating_add(1));
                return Err(ReceiveError::Header { position, source });
            }
        };
        if header.sequence > self.next {
            self.skip_to(header.sequence);
        }
        (self.started, self.repeated) = (true, 0);
        let before = self.seat;
        if let Some(seat) = &mut self.seat {
            // Only now, and not if it cannot be given out, does it need to be acknowledged.
            seat.given = header.sequence.saturating_add(1);
        }
        self.advance_to(header.sequence.saturating_add(1));
        let len = header.payload_size as usize;
        if len > sample.payload().len() {
            self.refuse(before);
            let source = DataError::LengthMismatch { claimed: len, actual: sample.payload().len() };
            return Err(ReceiveError::Payload { position: header.sequence, source });
        }
        let position = header.sequence;
        let payload = self.borrow_or_copy(sample, len);
        let data = RuntimeData::from_parts(header, payload).map_err(|source| {
            self.refuse(before);
            ReceiveError::Payload { position, source }
        })?;
        if data.header().kind == MessageKind::Data {
            self.bytes += len as u64;
            self.latencies.record(received_ns.saturating_sub(sent_ns));
        }
        Ok(data)
    }

    /// Counts a message that is not valid, and takes it as not given out.
    fn refuse(&mut self, before: Option<Seat>) {
        self.invalid += 1;
        self.seat = before;
        self.tell_acknowledged();
    }

    /// Whether the next message can be number `sequence`: after a gap, only one that was sent, or is
    /// being sent, which is told before it is delivered.
    fn may_follow(&self, sequence: u64) -> bool {
        let sending = || self.shared.page.publisher.sending.load(Ordering::Acquire);
        let is_later = sequence > self.next || !self.started;
        sequence == self.next || is_later && sequence < sending()
    }

    fn borrow_or_copy(&mut self, sample: RawSample, len: usize) -> Bytes {
        let limit = self.shared.page.max_borrowed.load(Ordering::Relaxed) as usize;
        // One borrow is kept back for the next message to be received at all.
        if Arc::strong_count(&self.port) - 1 < limit.saturating_sub(1) {
            return Bytes::from_owner(Borrowed { sample, len, _port: self.port.clone() });
        }
        self.copied_bytes += len as u64;
        self.own().copied_bytes.fetch_add(len as u64, Ordering::Relaxed);
        Bytes::copy_from_slice(&sample.payload()[..len])
    }

    /// When the last message was sent and received, in nanoseconds of the
    /// [machine's monotonic clock](crate::monotonic_ns); zeros before the first.
    pub fn last_passage_ns(&self) -> (u64, u64) {
        self.passage_ns
    }

    /// Times from sending to reception of all items received so far. End of stream and the like are
    /// no items.
    pub fn latency(&self) -> LatencySummary {
        self.latencies.summary()
    }

    /// Payload bytes received so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Payload bytes that were copied because too many messages were kept.
    pub fn copied_bytes(&self) -> u64 {
        self.copied_bytes
    }

    /// Messages that the channel's policy has kept from this subscriber, as far as it has seen them
    /// missing: those that were sent before it joined are not counted.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Messages that were sent and never came, although nothing is to be dropped. Zero, unless
    /// something is wrong: the publisher died, or left, before what it had sent could be given to the
    /// successor in a seat, for one. In a seat, those of all its holders together.
    pub fn missed(&self) -> u64 {
        self.missed
    }

    /// Messages with which their publisher died half-way, so that they have a number and did not come.
    /// They were never sent to the end, and are not [missed](Self::missed). In a seat, those of all its
    /// holders together.
    pub fn orphaned(&self) -> u64 {
        self.orphaned
    }

    /// Messages that came and were not valid.
    pub fn invalid(&self) -> u64 {
        self.invalid
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.own().leave();
        self.shared.settle();
        // Its share of the queue is room for others now.
        for bell in self.shared.page.publisher_to_wake().into_iter().flatten() {
            self.shared.ring(bell);
        }
    }
}

impl std::fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Subscriber").field(&self.shared.id).finish()
    }
}
