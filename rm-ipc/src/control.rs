//! The page of counters that the processes on one channel share.
//!
//! Main type: [`ControlPage`]. Positions count messages from 0: the publisher says how many it has
//! sent, each subscriber up to where it has taken them, and the difference is what is queued. Both
//! sides read the other's counters as hostile: a wild value can stall its own channel, nothing more.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use zerocopy::{FromBytes, IntoBytes};

use crate::handover;
use crate::peer::Identity;
use crate::wake::BellId;

/// Most subscribers of one channel.
pub const MAX_SUBSCRIBERS: usize = 16;

pub(crate) const MAGIC: u32 = u32::from_le_bytes(*b"RMC2");

/// States of a subscriber's or the publisher's place.
pub(crate) mod place {
    pub(crate) const FREE: u32 = 0;
    /// Counts for backpressure, but is not yet connected.
    pub(crate) const JOINING: u32 = 1;
    pub(crate) const ACTIVE: u32 = 2;
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
    reserved: [AtomicU64; 4],

    /// Position of the next message to take.
    pub(crate) position: AtomicU64,
    pub(crate) copied_bytes: AtomicU64,
    reserved_tail: [AtomicU64; 6],
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
    /// Whether somebody is joining, who may or may not get what is sent now.
    pub(crate) joining: bool,
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
    reserved: [AtomicU64; 6],
    pub(crate) publisher: PublisherPlace,
    pub(crate) subscribers: [SubscriberPlace; MAX_SUBSCRIBERS],
}

/// Bits of [`ControlPage::flags`].
pub(crate) mod flag {
    pub(crate) const LOOPBACK: u32 = 1;
    pub(crate) const PERSISTENT: u32 = 2;
}

impl ControlPage {
    pub(crate) fn has(&self, flag: u32) -> bool {
        self.flags.load(Ordering::Relaxed) & flag != 0
    }

    /// The places that can be taken.
    pub(crate) fn places(&self) -> impl Iterator<Item = &SubscriberPlace> {
        self.subscribers.iter().take(self.max_subscribers.load(Ordering::Relaxed) as usize)
    }

    /// The places of those who count for backpressure.
    pub(crate) fn taken(&self) -> impl Iterator<Item = &SubscriberPlace> {
        self.places().filter(|sub| sub.state.load(Ordering::Acquire) != place::FREE)
    }

    /// Position up to which every subscriber has taken the messages; `None` without subscribers.
    pub(crate) fn taken_by_all(&self) -> Option<u64> {
        self.taken().map(|sub| sub.position.load(Ordering::Acquire)).min()
    }

    /// Who is there now.
    pub(crate) fn present(&self) -> Present {
        let mut present = Present::default();
        for sub in self.places() {
            match sub.state.load(Ordering::Acquire) {
                place::FREE => {}
                place::ACTIVE => present.active += 1,
                _ => present.joining = true,
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

    /// Whether some subscriber has not taken everything.
    pub(crate) fn has_queued(&self) -> bool {
        let published = self.publisher.published.load(Ordering::Acquire);
        self.taken_by_all().is_some_and(|taken| taken < published)
    }

    /// Moves a subscriber's position. Gives the publisher's bells to ring: those of its waiters.
    pub(crate) fn advance(&self, sub: &SubscriberPlace, position: u64) -> [Option<BellId>; 2] {
        sub.position.store(position, Ordering::Release);
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
