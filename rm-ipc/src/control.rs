//! The page of counters that the processes on one channel share.
//!
//! Main type: [`ControlPage`]. Positions count messages from 0: the publisher says how many it has
//! sent, each subscriber up to where it has taken them, and the difference is what is queued. Both
//! sides read the other's counters as hostile: a wild value can stall its own channel, nothing more.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use zerocopy::{FromBytes, IntoBytes};

use crate::wake::BellId;

/// Most subscribers of one channel.
pub const MAX_SUBSCRIBERS: usize = 16;

pub(crate) const MAGIC: u32 = u32::from_le_bytes(*b"RMC1");

/// States of a subscriber's or the publisher's place.
pub(crate) mod place {
    pub(crate) const FREE: u32 = 0;
    /// Counts for backpressure, but is not yet connected.
    pub(crate) const JOINING: u32 = 1;
    pub(crate) const ACTIVE: u32 = 2;
}

#[derive(FromBytes, IntoBytes)]
#[repr(C, align(64))]
pub(crate) struct PublisherPlace {
    /// Messages sent so far.
    pub(crate) published: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) copied_bytes: AtomicU64,
    pub(crate) bell: AtomicU64,
    /// The publisher waits for room and is to be woken when some is made.
    pub(crate) waiting: AtomicU32,
    pub(crate) state: AtomicU32,
    pub(crate) pid: AtomicU32,
    reserved: [AtomicU32; 5],
}

#[derive(FromBytes, IntoBytes)]
#[repr(C, align(64))]
pub(crate) struct SubscriberPlace {
    /// Position of the next message to take.
    pub(crate) position: AtomicU64,
    pub(crate) copied_bytes: AtomicU64,
    pub(crate) bell: AtomicU64,
    pub(crate) state: AtomicU32,
    pub(crate) pid: AtomicU32,
    /// Counts who has had this place, so that two of them are not taken for one.
    pub(crate) generation: AtomicU32,
    reserved: [AtomicU32; 7],
}

/// Who is connected at a moment: the generation of each place, zero where nobody is.
pub(crate) type Connected = [u32; MAX_SUBSCRIBERS];

#[derive(FromBytes, IntoBytes)]
#[repr(C, align(64))]
pub(crate) struct ControlPage {
    pub(crate) magic: AtomicU32,
    pub(crate) state: AtomicU32,
    pub(crate) depth: AtomicU32,
    pub(crate) max_subscribers: AtomicU32,
    pub(crate) max_borrowed: AtomicU32,
    reserved: AtomicU32,
    pub(crate) capacity: AtomicU64,
    reserved_tail: [AtomicU32; 8],
    pub(crate) publisher: PublisherPlace,
    pub(crate) subscribers: [SubscriberPlace; MAX_SUBSCRIBERS],
}

impl ControlPage {
    pub(crate) fn taken(&self) -> impl Iterator<Item = &SubscriberPlace> {
        let places = self.max_subscribers.load(Ordering::Relaxed) as usize;
        let taken = |sub: &&SubscriberPlace| sub.state.load(Ordering::Acquire) != place::FREE;
        self.subscribers.iter().take(places).filter(taken)
    }

    /// Position up to which every subscriber has taken the messages; `None` without subscribers.
    pub(crate) fn taken_by_all(&self) -> Option<u64> {
        self.taken().map(|sub| sub.position.load(Ordering::Acquire)).min()
    }

    /// Who is connected now.
    pub(crate) fn connected(&self) -> Connected {
        let mut connected = Connected::default();
        let places = self.max_subscribers.load(Ordering::Relaxed) as usize;
        for (sub, generation) in self.subscribers.iter().zip(&mut connected).take(places) {
            if sub.state.load(Ordering::Acquire) == place::ACTIVE {
                *generation = sub.generation.load(Ordering::Relaxed);
            }
        }
        connected
    }

    /// Whether anybody is connected.
    pub(crate) fn has_connected(&self) -> bool {
        self.taken().any(|sub| sub.state.load(Ordering::Acquire) == place::ACTIVE)
    }

    /// Whether some subscriber has not taken everything.
    pub(crate) fn has_queued(&self) -> bool {
        let published = self.publisher.published.load(Ordering::Acquire);
        self.taken_by_all().is_some_and(|taken| taken < published)
    }

    /// Moves a subscriber's position, and tells whether the publisher is waiting for that.
    pub(crate) fn advance(&self, sub: &SubscriberPlace, position: u64) -> Option<BellId> {
        sub.position.store(position, Ordering::Release);
        self.publisher_to_wake()
    }

    /// The publisher's bell if the publisher waits for room.
    ///
    /// The fence pairs with the one in `Publisher::wait_for_room`: either this side sees that it
    /// waits, or it sees the room that was made before this call.
    pub(crate) fn publisher_to_wake(&self) -> Option<BellId> {
        fence(Ordering::SeqCst);
        let waits = self.publisher.waiting.load(Ordering::Relaxed) != 0;
        waits.then(|| BellId(self.publisher.bell.load(Ordering::Acquire)))
    }
}
