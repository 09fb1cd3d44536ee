//! The page of counters that the processes on one channel share.
//!
//! Main type: [`ControlPage`]. Positions count messages from 0: the publisher says how many it has
//! sent, each subscriber up to where it has taken them, and the difference is what is queued. Both
//! sides read the other's counters as hostile: a wild value can stall its own channel, nothing more.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use zerocopy::{FromBytes, IntoBytes};

use crate::handover;
use crate::options::{ChannelOptions, Policy};
use crate::peer::Identity;
use crate::wake::BellId;

/// Most subscribers of one channel.
pub const MAX_SUBSCRIBERS: usize = 16;

pub(crate) const MAGIC: u32 = u32::from_le_bytes(*b"RMC3");

/// States of a subscriber's or the publisher's place.
pub(crate) mod place {
    pub(crate) const FREE: u32 = 0;
    /// Counts for backpressure, but is not yet connected.
    pub(crate) const JOINING: u32 = 1;
    pub(crate) const ACTIVE: u32 = 2;
    /// A seat that nobody has, which counts for backpressure.
    pub(crate) const VACANT: u32 = 3;
}

/// A place that one port takes: its process's [`Identity`], or zero, and when it was taken.
#[derive(FromBytes, IntoBytes)]
#[repr(C)]
pub(crate) struct Holder {
    owner: AtomicU64,
    since_ns: AtomicU64,
}

impl Holder {
    /// Set while the owner is not the place's user, but frees it. No identity is as large.
    const BURIES: u64 = 1 << 63;

    /// Takes the place, if it is free.
    pub(crate) fn claim(&self, who: Identity, now_ns: u64) -> bool {
        let (free, own) = (0, who.code());
        let claimed =
            self.owner.compare_exchange(free, own, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        if claimed {
            self.since_ns.store(now_ns, Ordering::Relaxed);
        }
        claimed
    }

    /// Takes the place from a process that has ended, to free it. Only one of those who try
    /// succeeds, and if it ends before it is done, the place is taken from it in turn.
    pub(crate) fn take_over(&self, dead: Identity, who: Identity) -> bool {
        let own = who.code() | Self::BURIES;
        let (success, failure) = (Ordering::SeqCst, Ordering::SeqCst);
        let is_taken = |code| self.owner.compare_exchange(code, own, success, failure).is_ok();
        is_taken(dead.code()) || is_taken(dead.code() | Self::BURIES)
    }

    pub(crate) fn release(&self) {
        self.owner.store(0, Ordering::SeqCst);
    }

    /// Whose end would free the place.
    pub(crate) fn holder(&self) -> Option<Identity> {
        Identity::from_code(self.owner.load(Ordering::SeqCst) & !Self::BURIES)
    }

    /// Who has a port here, and is not just freeing the place.
    pub(crate) fn user(&self) -> Option<Identity> {
        let owner = self.owner.load(Ordering::SeqCst);
        if owner & Self::BURIES == 0 { Identity::from_code(owner) } else { None }
    }

    pub(crate) fn since_ns(&self) -> u64 {
        self.since_ns.load(Ordering::Relaxed)
    }
}

/// What the publisher says. In lines of 64 bytes by how often they change, as are the subscribers'
/// places: a line that is written for every message and read for every message has to cross over
/// each time. In steady traffic nobody reads the first one.
#[derive(FromBytes, IntoBytes)]
#[repr(C, align(64))]
pub(crate) struct PublisherPlace {
    /// Position after the last message that has been sent.
    pub(crate) published: AtomicU64,
    /// Position after the last message that may have been sent: ahead of `published` only while a
    /// message is under way, or if its sender died with it.
    pub(crate) sending: AtomicU64,
    /// Messages sent so far. Those that were dropped before sending have positions, but do not count.
    pub(crate) messages: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) copied_bytes: AtomicU64,
    pub(crate) clamped: AtomicU64,
    reserved_counts: [AtomicU64; 2],

    /// Set while a thread, or a task, of the publisher waits for room.
    pub(crate) thread_waits: AtomicU32,
    pub(crate) task_waits: AtomicU32,
    pub(crate) state: AtomicU32,
    reserved_state: AtomicU32,
    /// Where its waiting thread, its waiting tasks and the attendant of its process are rung.
    pub(crate) bell: AtomicU64,
    pub(crate) task_bell: AtomicU64,
    pub(crate) attendant_bell: AtomicU64,
    pub(crate) place: Holder,
    /// Position at which the present publisher began.
    pub(crate) began: AtomicU64,
}

impl PublisherPlace {
    /// Before the place is given back: whoever takes it may be killed before he has named his own
    /// bells, and what is named here is removed with him.
    pub(crate) fn forget_bells(&self) {
        for bell in [&self.bell, &self.task_bell, &self.attendant_bell] {
            bell.store(0, Ordering::Release);
        }
    }
}

#[derive(FromBytes, IntoBytes)]
#[repr(C, align(64))]
pub(crate) struct SubscriberPlace {
    pub(crate) state: AtomicU32,
    reserved_state: AtomicU32,
    pub(crate) bell: AtomicU64,
    pub(crate) place: Holder,
    /// One more than the number of the seat that this is, or zero.
    pub(crate) seat: AtomicU64,
    reserved: [AtomicU64; 3],

    /// Position of the next message to take; on a seat, of the first that is not acknowledged.
    pub(crate) position: AtomicU64,
    pub(crate) copied_bytes: AtomicU64,
    /// Position of the next message to take, where somebody has a seat.
    pub(crate) received: AtomicU64,
    /// What all who had the seat have missed: one who counted may have been killed right after.
    pub(crate) missed: AtomicU64,
    pub(crate) orphaned: AtomicU64,
    /// What the holder of a seat has noted for his successor.
    pub(crate) memo: [AtomicU64; 2],
    reserved_tail: [AtomicU64; 1],
}

impl SubscriberPlace {
    pub(crate) fn is(&self, seat: u32) -> bool {
        self.seat.load(Ordering::SeqCst) == u64::from(seat) + 1
    }

    /// Position of the next message to take, acknowledged or not.
    fn taken(&self) -> u64 {
        let is_held = self.state.load(Ordering::Acquire) != place::VACANT;
        let taken = if is_held && self.is_seat() { &self.received } else { &self.position };
        taken.load(Ordering::Acquire)
    }

    fn is_seat(&self) -> bool {
        self.seat.load(Ordering::SeqCst) != 0
    }

    /// Takes the place, if it is free and no seat.
    pub(crate) fn claim(&self, who: Identity, now_ns: u64) -> bool {
        if self.is_seat() || !self.place.claim(who, now_ns) {
            return false;
        }
        // It may have become one in between.
        let is_seat = self.is_seat();
        if is_seat {
            self.place.release();
        }
        !is_seat
    }

    /// Gives the place back. A seat stays taken by nobody.
    pub(crate) fn leave(&self) {
        let state = if self.is_seat() { place::VACANT } else { place::FREE };
        self.state.store(state, Ordering::SeqCst);
        // The next holder may be killed before he has named his own bell.
        self.bell.store(0, Ordering::Release);
        self.place.release();
    }
}

/// Dead publishers whose messages are kept, at most.
const MAX_MOURNED: usize = 4;

/// A publisher that died: its [`Identity`], or zero, and the position after its last message.
#[derive(FromBytes, IntoBytes)]
#[repr(C)]
struct Mourned {
    who: AtomicU64,
    end: AtomicU64,
}

/// How many subscribers there are at a moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Present {
    pub(crate) active: usize,
    /// How many are joining, who may or may not get what is sent now.
    pub(crate) joining: usize,
}

#[derive(FromBytes, IntoBytes)]
#[repr(C, align(64))]
pub(crate) struct ControlPage {
    pub(crate) magic: AtomicU32,
    pub(crate) state: AtomicU32,
    /// Counts who has joined: whoever sees it move looks at the places again.
    pub(crate) joins: AtomicU32,
    reserved_state: AtomicU32,
    pub(crate) depth: AtomicU32,
    pub(crate) max_subscribers: AtomicU32,
    pub(crate) max_borrowed: AtomicU32,
    pub(crate) history: AtomicU32,
    pub(crate) policy: AtomicU32,
    pub(crate) flags: AtomicU32,
    pub(crate) capacity: AtomicU64,
    pub(crate) max_message: AtomicU64,
    /// Tells a channel from others that had its name before.
    pub(crate) tag: AtomicU64,
    /// Messages dropped by the channel's policy.
    pub(crate) dropped: AtomicU64,
    /// The process-id namespace that all processes on the channel share, or zero.
    pub(crate) pid_namespace: AtomicU64,
    /// Publishers that died, while messages of them may be queued.
    mourned: [Mourned; MAX_MOURNED],
    /// Position after the last message with which its sender died, so that it may have reached some
    /// subscribers and not others. No more is sent until all have passed it.
    pub(crate) orphan: AtomicU64,
    reserved: [AtomicU64; 5],
    pub(crate) publisher: PublisherPlace,
    pub(crate) subscribers: [SubscriberPlace; MAX_SUBSCRIBERS],
}

/// Bits of [`ControlPage::flags`].
pub(crate) mod flag {
    pub(crate) const LOOPBACK: u32 = 1;
    pub(crate) const PERSISTENT: u32 = 2;
    pub(crate) const RETAINED: u32 = 4;
}

impl ControlPage {
    pub(crate) fn has(&self, flag: u32) -> bool {
        self.flags.load(Ordering::Relaxed) & flag != 0
    }

    pub(crate) fn note_options(&self, options: &ChannelOptions) {
        self.depth.store(options.depth, Ordering::Relaxed);
        self.capacity.store(options.capacity as u64, Ordering::Relaxed);
        let max_message = options.max_message.unwrap_or(options.capacity);
        self.max_message.store(max_message as u64, Ordering::Relaxed);
        self.max_subscribers.store(options.max_subscribers, Ordering::Relaxed);
        self.max_borrowed.store(options.max_borrowed, Ordering::Relaxed);
        self.history.store(options.history, Ordering::Relaxed);
        self.policy.store(options.policy as u32, Ordering::Relaxed);
        let flags = [
            (options.loopback, flag::LOOPBACK),
            (options.persistent, flag::PERSISTENT),
            (options.retained, flag::RETAINED),
        ];
        let flags = flags.iter().filter(|(is_set, _)| *is_set).map(|(_, flag)| flag).sum();
        self.flags.store(flags, Ordering::Relaxed);
    }

    pub(crate) fn noted_options(&self) -> ChannelOptions {
        let size = |number: &AtomicU64| {
            usize::try_from(number.load(Ordering::Relaxed)).unwrap_or(usize::MAX)
        };
        ChannelOptions {
            depth: self.depth.load(Ordering::Relaxed),
            capacity: size(&self.capacity),
            max_message: Some(size(&self.max_message)),
            max_subscribers: self.max_subscribers.load(Ordering::Relaxed),
            max_borrowed: self.max_borrowed.load(Ordering::Relaxed),
            history: self.history.load(Ordering::Relaxed),
            policy: Policy::from_code(self.policy.load(Ordering::Relaxed)),
            loopback: self.has(flag::LOOPBACK),
            persistent: self.has(flag::PERSISTENT),
            retained: self.has(flag::RETAINED),
        }
    }

    /// The places that can be taken.
    pub(crate) fn places(&self) -> impl Iterator<Item = &SubscriberPlace> {
        self.subscribers.iter().take(self.max_subscribers.load(Ordering::Relaxed) as usize)
    }

    /// The places of those who count for backpressure.
    pub(crate) fn taken(&self) -> impl Iterator<Item = &SubscriberPlace> {
        self.places().filter(|sub| sub.state.load(Ordering::Acquire) != place::FREE)
    }

    /// Position up to which every subscriber has made room for others; `None` without subscribers.
    pub(crate) fn done_by_all(&self) -> Option<u64> {
        self.taken().map(|sub| sub.position.load(Ordering::Acquire)).min()
    }

    /// Position up to which every subscriber has taken the messages, acknowledged or not. Where nobody
    /// has a seat, that is where the next in it begins: he is to see what is missing.
    pub(crate) fn taken_by_all(&self) -> Option<u64> {
        self.taken().map(SubscriberPlace::taken).min()
    }

    /// Who is there now.
    pub(crate) fn present(&self) -> Present {
        let mut present = Present::default();
        for sub in self.places() {
            match sub.state.load(Ordering::Acquire) {
                place::FREE | place::VACANT => {}
                place::ACTIVE => present.active += 1,
                _ => present.joining += 1,
            }
        }
        present
    }

    /// Notes that `dead` was the publisher, before its place is freed: what it has sent is to be
    /// taken first. A second note of the same does no harm.
    pub(crate) fn mourn(&self, dead: Identity) {
        let end = self.publisher.sending.load(Ordering::Acquire);
        let end = end.max(self.publisher.published.load(Ordering::Acquire));
        let is_free = |mourned: &&Mourned| {
            let who = mourned.who.load(Ordering::Acquire);
            who == 0 || who == dead.code() || !self.is_queued_before(mourned)
        };
        // If there are that many, messages of the dead may be lost.
        if let Some(mourned) = self.mourned.iter().find(is_free) {
            mourned.end.store(end, Ordering::Release);
            mourned.who.store(dead.code(), Ordering::Release);
        }
    }

    /// Whether some subscriber has not taken everything that a dead publisher has sent.
    fn is_queued_before(&self, mourned: &Mourned) -> bool {
        let end = mourned.end.load(Ordering::Acquire);
        self.taken_by_all().is_some_and(|taken| taken < end)
    }

    /// Whether a publisher has died; forgets those who have, if they are not mourned any more.
    pub(crate) fn publisher_died(&self) -> bool {
        let done = self.mourned.iter().filter(|mourned| !self.is_queued_before(mourned));
        done.fold(false, |any, mourned| any | (mourned.who.swap(0, Ordering::AcqRel) != 0))
    }

    /// Process ids of publishers that are dead, or may be, and of whom not everything is taken.
    pub(crate) fn mourned(&self) -> impl Iterator<Item = u32> {
        let mourned = self.mourned.iter().filter(|mourned| self.is_queued_before(mourned));
        let mourned = mourned.map(|mourned| mourned.who.load(Ordering::Acquire));
        let present = self.publisher.place.holder().filter(|_| self.has_queued());
        mourned.filter_map(Identity::from_code).chain(present).map(Identity::pid)
    }

    /// Whether some subscriber is not done with everything.
    pub(crate) fn has_queued(&self) -> bool {
        let published = self.publisher.published.load(Ordering::Acquire);
        self.done_by_all().is_some_and(|taken| taken < published)
    }

    /// Moves a subscriber's position, or what a seat has received. Gives the publisher's bells to
    /// ring: those of its waiters.
    pub(crate) fn advance(&self, moved: &AtomicU64, position: u64) -> [Option<BellId>; 2] {
        moved.store(position, Ordering::Release);
        self.publisher_to_wake()
    }

    /// The publisher's bells on which it waits for room.
    ///
    /// Either this side sees that it waits, or it sees the room that was made before this call.
    pub(crate) fn publisher_to_wake(&self) -> [Option<BellId>; 2] {
        let own = &self.publisher;
        let bell = |bell: &AtomicU64| BellId(bell.load(Ordering::Acquire));
        let thread = handover::announced(&own.thread_waits).map(|_| bell(&own.bell));
        // After the same fence.
        let task_waits = own.task_waits.load(Ordering::Relaxed) != 0;
        [thread, task_waits.then(|| bell(&own.task_bell))]
    }
}
