//! Who gets which place of a channel, and the places that are kept for a consumer that is restarted.
//!
//! A *seat* is a subscriber's place with a number. It outlives whoever has it: what he has not
//! acknowledged keeps counting for backpressure, so that it stays in the publisher's history, which is
//! given to his successor. Main methods: [`SharedMemoryChannel::subscriber_at`] and those beside it.
//! What is received and acknowledged is the subscriber's matter.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime};

use rustix::fs::{FlockOperation, flock};

use crate::Subscriber;
use crate::channel::{ChannelError, ChannelState, SharedMemoryChannel};
use crate::control::{SubscriberPlace, flag, place};
use crate::peer::{ChannelRole, to_ns};
use crate::shared::{PATIENCE, Shared, file_name};
use crate::wake::Doorbell;

impl SharedMemoryChannel {
    /// Joins a retained channel in `seat`, a number of the caller's choice that no other consumer of
    /// the channel has. It waits on `bell`.
    ///
    /// Messages count for backpressure until they are [acknowledged](Subscriber::acknowledge). If this
    /// process is killed, or drops the subscriber, the seat stays taken, and the next who joins in it is
    /// given everything that was not acknowledged once more, in order. What is not there to be given,
    /// because its publisher has gone, is counted in [`missed`](Subscriber::missed).
    ///
    /// A seat that is not there yet is reserved first, and stays reserved if this fails.
    ///
    /// # Errors
    /// [`ChannelError`]: `NotRetained`, `SeatTaken` if its holder lives, otherwise as
    /// [`subscriber`](Self::subscriber).
    pub fn subscriber_at(
        &self,
        bell: &Arc<Doorbell>,
        seat: u32,
    ) -> Result<Subscriber, ChannelError> {
        Subscriber::join(self.shared.clone(), bell.clone(), Some(seat))
    }

    /// Keeps a place for `seat` before anybody joins in it: whoever does is given everything that is
    /// sent from now on. A seat that is there stays as it is.
    ///
    /// # Errors
    /// [`ChannelError`]: `NotRetained`, `Full` if all places are taken, `Closed` if the channel is.
    pub fn reserve_seat(&self, seat: u32) -> Result<(), ChannelError> {
        self.shared.reserve_seat(seat)
    }

    /// Frees `seat`, which nobody is to have any more: its messages are room for others. Whether it was
    /// there.
    ///
    /// # Errors
    /// [`ChannelError::SeatTaken`] if its holder lives.
    pub fn release_seat(&self, seat: u32) -> Result<bool, ChannelError> {
        let Some(index) = self.shared.claim_seat(seat)? else {
            return Ok(false);
        };
        let sub = &self.shared.page.subscribers[index];
        // If this process is killed between the two, the seat is as it was.
        sub.state.store(place::FREE, Ordering::SeqCst);
        sub.seat.store(0, Ordering::SeqCst);
        sub.leave();
        self.shared.ring_publisher();
        Ok(true)
    }

    /// Position of the first message that has not been acknowledged in `seat`; `None` if there is no
    /// such seat.
    pub fn seat_position(&self, seat: u32) -> Option<u64> {
        let (_, sub) = self.shared.find_seat(seat)?;
        Some(sub.position.load(Ordering::Acquire))
    }
}

fn now_ns() -> u64 {
    to_ns(SystemTime::now())
}

impl Shared {
    /// Claims a place that is nobody's.
    pub(crate) fn claim_place(&self) -> Result<usize, ChannelError> {
        let now = now_ns();
        let claim = || self.page.places().position(|sub| sub.claim(self.own, now));
        let claimed = claim().or_else(|| {
            // Some holder may have died without anybody's notice.
            self.watch_peers().ok()?;
            claim()
        });
        claimed.ok_or_else(|| {
            let limit = self.page.max_subscribers.load(Ordering::Relaxed);
            ChannelError::Full { channel: self.id.clone(), role: ChannelRole::Subscriber, limit }
        })
    }

    /// Claims the place of a seat, which is made if it is not there.
    pub(crate) fn take_seat(&self, seat: u32) -> Result<usize, ChannelError> {
        loop {
            self.reserve_seat(seat)?;
            // It may have been released in between.
            if let Some(index) = self.claim_seat(seat)? {
                return Ok(index);
            }
        }
    }

    fn find_seat(&self, seat: u32) -> Option<(usize, &SubscriberPlace)> {
        self.page.places().enumerate().find(|(_, sub)| sub.is(seat))
    }

    fn reserve_seat(&self, seat: u32) -> Result<(), ChannelError> {
        let channel = || self.id.clone();
        if !self.page.has(flag::RETAINED) {
            return Err(ChannelError::NotRetained { channel: channel() });
        }
        if self.state() >= ChannelState::Draining {
            return Err(ChannelError::Closed { channel: channel() });
        }
        let _locked = self.lock_seats()?;
        if self.find_seat(seat).is_some() {
            return Ok(());
        }
        let sub = &self.page.subscribers[self.claim_place()?];
        let published = || self.page.publisher.published.load(Ordering::SeqCst);
        sub.missed.store(0, Ordering::Relaxed);
        sub.orphaned.store(0, Ordering::Relaxed);
        sub.memo.iter().for_each(|memo| memo.store(0, Ordering::Relaxed));
        sub.position.store(published(), Ordering::Release);
        // Watched from here on, as one who joins.
        self.page.joins.fetch_add(1, Ordering::SeqCst);
        sub.state.store(place::VACANT, Ordering::SeqCst);
        // Counts for backpressure from here on.
        sub.position.store(published(), Ordering::Release);
        self.page.joins.fetch_add(1, Ordering::SeqCst);
        // From here on it outlives this process.
        sub.seat.store(u64::from(seat) + 1, Ordering::SeqCst);
        sub.leave();
        Ok(())
    }

    /// Waits until nobody else makes a seat, so that none is made twice. The kernel gives the lock back
    /// with its holder.
    fn lock_seats(&self) -> Result<File, ChannelError> {
        let opened = self.site.open_file(&file_name(&self.id)).and_then(|file| {
            rustix::io::retry_on_intr(|| flock(&file, FlockOperation::LockExclusive))?;
            Ok(file)
        });
        opened.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => ChannelError::Closed { channel: self.id.clone() },
            _ => ChannelError::io(&self.id, error),
        })
    }

    /// Claims the place of a seat when nobody has it; `None` if there is no such seat.
    fn claim_seat(&self, seat: u32) -> Result<Option<usize>, ChannelError> {
        let deadline = Instant::now() + PATIENCE;
        while let Some((index, sub)) = self.find_seat(seat) {
            if sub.place.claim(self.own, now_ns()) {
                if sub.is(seat) {
                    return Ok(Some(index));
                }
                sub.place.release();
                continue;
            }
            let Some(holder) = sub.place.holder() else {
                continue;
            };
            let lives = holder == self.own
                || holder.open().map_err(|error| ChannelError::io(&self.id, error))?.is_some();
            // One who is just burying, or finds that this is a seat, is done at once.
            let has_it = sub.place.user().is_some()
                && sub.state.load(Ordering::SeqCst) != place::VACANT
                || Instant::now() >= deadline;
            if !lives {
                self.bury(holder);
            } else if has_it {
                let (channel, process) = (self.id.clone(), holder.pid());
                return Err(ChannelError::SeatTaken { channel, seat, process });
            } else {
                std::thread::yield_now();
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests;
