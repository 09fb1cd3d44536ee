//! What every port of one channel in one process shares.
//!
//! Main types: [`Shared`], the doors to iceoryx2 and the record of the last messages; and [`Hub`],
//! the control page, the peers' bells, and what follows when somebody leaves or dies. The traffic
//! itself is the ports'.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use iceoryx2::service::port_factory::publish_subscribe::PortFactory;
use rm_core::ChannelId;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::attendant;
use crate::channel::{ChannelError, ChannelState, HeaderBytes};
use crate::control::{ControlPage, Holder, flag, place};
use crate::namespace::{IpcService, Namespace, SHM, lock};
use crate::options::Policy;
use crate::peer::{ChannelRole, Identity};
use crate::segment::{SharedPage, SharedSlots};
use crate::site::{CHANNEL_PREFIX, Site};
use crate::wake::{BellId, Ringer};

/// Shared memory that must be free for the bookkeeping of one more channel or port, in bytes.
const BOOKKEEPING: u64 = 1 << 20;

/// How long a process may take from giving up its files to its end.
const DYING: Duration = Duration::from_secs(1);

/// How long another process may take to clean up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

pub(crate) fn file_name(id: &ChannelId) -> String {
    format!("{CHANNEL_PREFIX}{id}")
}

/// Bytes of shared memory that the machine has left.
pub(crate) fn available_memory() -> std::io::Result<u64> {
    let stat = rustix::fs::statvfs(SHM)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Checks that there is room for iceoryx2's bookkeeping, which it writes without asking.
pub(crate) fn check_memory(channel: &ChannelId) -> Result<(), ChannelError> {
    let available = available_memory().map_err(|error| ChannelError::io(channel, error))?;
    if available < BOOKKEEPING {
        let (channel, needed) = (channel.clone(), BOOKKEEPING);
        return Err(ChannelError::SystemLimit { channel, needed, available });
    }
    Ok(())
}

/// What the ports share, and the attendant works with. It keeps nothing alive that has to be removed.
pub(crate) struct Hub {
    pub(crate) id: ChannelId,
    pub(crate) site: Arc<Site>,
    pub(crate) page: Arc<SharedPage<ControlPage>>,
    /// This process.
    pub(crate) own: Identity,
    joins_seen: AtomicU32,
    /// The bells that have been rung, by name; none any more once the ports are gone.
    ringers: Mutex<Option<BTreeMap<u64, Ringer>>>,
}

/// What every port of one channel in one process shares.
pub(crate) struct Shared {
    hub: Arc<Hub>,
    pub(crate) namespace: Namespace,
    /// Position and length of each of the last messages, as many as the depth.
    pub(crate) slots: SharedSlots<ControlPage>,
    pub(crate) service: PortFactory<IpcService, [u8], HeaderBytes>,
    pub(crate) policy: Policy,
}

impl std::ops::Deref for Shared {
    type Target = Arc<Hub>;

    fn deref(&self) -> &Arc<Hub> {
        &self.hub
    }
}

impl Hub {
    pub(crate) fn state(&self) -> ChannelState {
        ChannelState::from_code(self.page.state.load(Ordering::Acquire))
    }

    /// Moves the channel on in its life; what is further stays.
    pub(crate) fn set_state(&self, state: ChannelState) {
        let before = self.page.state.fetch_max(state as u32, Ordering::SeqCst);
        if state == ChannelState::Destroyed && before < state as u32 {
            self.site.remove_file(&file_name(&self.id));
        }
    }

    /// Says that the publisher leaves, or has died.
    pub(crate) fn drain(&self) {
        if !self.page.has(flag::PERSISTENT) {
            self.set_state(ChannelState::Draining);
        }
    }

    /// Ends the channel if it was used and nobody is left.
    pub(crate) fn settle(&self) {
        if self.page.has(flag::PERSISTENT) || self.state() == ChannelState::Created {
            return;
        }
        let places = self.page.places().map(|sub| &sub.place);
        if places.chain([&self.page.publisher.place]).all(|place| place.holder().is_none()) {
            self.set_state(ChannelState::Destroyed);
        }
    }

    /// Refuses `role` to a process that has the other one.
    pub(crate) fn check_role(&self, role: ChannelRole) -> Result<(), ChannelError> {
        if self.page.has(flag::LOOPBACK) {
            return Ok(());
        }
        let is_own = |place: &Holder| place.user() == Some(self.own);
        let (has_other, other) = match role {
            ChannelRole::Publisher => {
                (self.page.places().any(|sub| is_own(&sub.place)), ChannelRole::Subscriber)
            }
            ChannelRole::Subscriber => (is_own(&self.page.publisher.place), ChannelRole::Publisher),
        };
        if has_other {
            return Err(ChannelError::OtherRole { channel: self.id.clone(), role: other });
        }
        Ok(())
    }

    /// Rings a peer's doorbell. A bell that is gone has nobody to wake.
    pub(crate) fn ring(&self, bell: BellId) {
        if let Ok(Some(ringer)) = self.ringer(bell) {
            ringer.ring();
        }
    }

    /// A peer's doorbell, which is opened at its first use.
    pub(crate) fn ringer(&self, bell: BellId) -> io::Result<Option<Ringer>> {
        let mut ringers = lock(&self.ringers);
        let Some(ringers) = ringers.as_mut().filter(|_| bell.0 != 0) else {
            return Ok(None);
        };
        if let Some(ringer) = ringers.get(&bell.0) {
            return Ok(Some(ringer.clone()));
        }
        let opened = match Ringer::at(&self.site, bell).map_err(io::Error::from) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            opened => Some(opened?),
        };
        if let Some(ringer) = &opened {
            // Those who have left are not rung again.
            let own = &self.page.publisher;
            let publisher = [&own.bell, &own.task_bell, &own.attendant_bell];
            let bells = self.page.taken().map(|sub| &sub.bell).chain(publisher);
            let present: Vec<u64> = bells.map(|bell| bell.load(Ordering::Relaxed)).collect();
            ringers.retain(|id, _| present.contains(id));
            ringers.insert(bell.0, ringer.clone());
        }
        Ok(opened)
    }

    pub(crate) fn ring_subscribers(&self) {
        for sub in self.page.taken() {
            self.ring(BellId(sub.bell.load(Ordering::Acquire)));
        }
    }

    /// Rings whoever of the publisher sleeps, for whatever reason.
    pub(crate) fn ring_publisher(&self) {
        let own = &self.page.publisher;
        if own.state.load(Ordering::Acquire) != place::FREE {
            for bell in [&own.bell, &own.task_bell] {
                let bell = bell.load(Ordering::Acquire);
                if bell != 0 {
                    self.ring(BellId(bell));
                }
            }
        }
    }

    /// Watches whoever has joined since the last look, so that their death is noticed.
    #[inline]
    pub(crate) fn notice_joins(self: &Arc<Self>) {
        if self.page.joins.load(Ordering::Acquire) != self.joins_seen.load(Ordering::Relaxed) {
            // What could not be watched, for want of descriptors, is tried again at the next look.
            let _ = self.watch_peers();
        }
    }

    /// Watches the other processes on the channel, and buries those that are dead.
    #[cold]
    pub(crate) fn watch_peers(self: &Arc<Self>) -> io::Result<()> {
        let joins = self.page.joins.load(Ordering::Acquire);
        let places = self.page.places().map(|sub| &sub.place);
        let holders = places.chain([&self.page.publisher.place]).filter_map(|place| place.holder());
        for peer in holders.filter(|peer| *peer != self.own) {
            attendant::watch(peer, self)?;
        }
        // Their bells are opened now, so that they can be rung also when the namespace is removed.
        let publisher = &self.page.publisher.bell;
        for bell in self.page.taken().map(|sub| &sub.bell).chain([publisher]) {
            self.ringer(BellId(bell.load(Ordering::Acquire)))?;
        }
        self.joins_seen.store(joins, Ordering::Relaxed);
        Ok(())
    }

    /// Buries whoever is dead and has not been noticed yet, or dies now, until `is_done`: a process
    /// gives up its file locks, by which iceoryx2 takes it for dead, shortly before it has ended.
    #[cold]
    pub(crate) fn bury_dying(&self, is_done: impl Fn() -> bool) {
        let deadline = Instant::now() + DYING;
        while !is_done() {
            let holders = self.page.places().filter_map(|sub| sub.place.holder());
            let peers = holders.filter(|peer| *peer != self.own);
            let living: Vec<_> = peers
                .filter_map(|peer| match peer.open() {
                    Ok(None) => {
                        self.bury(peer);
                        None
                    }
                    opened => opened.ok().flatten(),
                })
                .collect();
            let left = deadline.saturating_duration_since(Instant::now());
            if is_done() || left.is_zero() {
                return;
            }
            let mut living: Vec<_> =
                living.iter().map(|pidfd| PollFd::new(pidfd, PollFlags::IN)).collect();
            // Whatever ends the wait, who lives is looked at again.
            let _ = poll(&mut living, Timespec::try_from(left).ok().as_ref());
        }
    }

    /// Frees what a dead process has held of the channel.
    pub(crate) fn bury(&self, dead: Identity) {
        // First of all: the own threads may wait for what the dead has left half-made.
        self.site.free_openers();
        let own = self.own;
        let mut bells = Vec::new();
        for sub in self.page.places().filter(|sub| sub.place.take_over(dead, own)) {
            bells.push(sub.bell.load(Ordering::Acquire));
            sub.leave();
        }
        let publisher = &self.page.publisher;
        // Nobody is to clean up between the two.
        if publisher.place.holder() == Some(dead) {
            self.page.mourn(dead);
        }
        if publisher.place.take_over(dead, own) {
            bells.extend(
                [&publisher.bell, &publisher.task_bell, &publisher.attendant_bell]
                    .map(|bell| bell.load(Ordering::Acquire)),
            );
            // A message that was under way may have reached somebody: he is told to look.
            let sending = publisher.sending.load(Ordering::Acquire);
            if sending > publisher.published.load(Ordering::Acquire) {
                self.page.orphan.store(sending, Ordering::Release);
            }
            publisher.published.fetch_max(sending, Ordering::AcqRel);
            self.page.joins.fetch_add(1, Ordering::AcqRel);
            publisher.state.store(place::FREE, Ordering::SeqCst);
            publisher.forget_bells();
            self.drain();
            publisher.place.release();
        }
        let is_mine = !bells.is_empty();
        bells.into_iter().for_each(|bell| BellId(bell).remove(&self.site));
        // Also if another has freed the places: it may have been killed before it came to this.
        self.settle();
        self.ring_subscribers();
        self.ring_publisher();
        if is_mine {
            self.site.clean_up(Duration::ZERO);
        }
    }

    /// Makes a port in iceoryx2, whose places may be filled by the dead.
    pub(crate) fn make_port<P, E: std::fmt::Debug>(
        &self,
        make: impl Fn() -> Result<P, E>,
    ) -> Result<P, ChannelError> {
        let retry = |_| {
            self.site.clean_up(PATIENCE);
            make()
        };
        // The last resort, if dead publishers fill all places whose messages nobody takes.
        let insist = |_| {
            self.site.clean_up_all(PATIENCE);
            make()
        };
        make().or_else(retry).or_else(insist).map_err(|error| self.refused(error))
    }

    pub(crate) fn refused(&self, by: impl std::fmt::Debug) -> ChannelError {
        ChannelError::IceoryxError(format!("channel {}: {by:?}", self.id))
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        attendant::forget_gone();
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // The attendant may still hold the hub, but opens nothing more.
        *lock(&self.ringers) = None;
        attendant::leave_alone();
    }
}

impl Shared {
    pub(crate) fn new(
        id: ChannelId,
        namespace: Namespace,
        page: SharedPage<ControlPage>,
        slots: SharedSlots<ControlPage>,
        service: PortFactory<IpcService, [u8], HeaderBytes>,
    ) -> Self {
        let policy = Policy::from_code(page.policy.load(Ordering::Relaxed));
        let (own, joins_seen, ringers) =
            (Identity::own(), AtomicU32::new(0), Mutex::new(Some(BTreeMap::new())));
        let (site, page) = (namespace.site().clone(), Arc::new(page));
        let hub = Arc::new(Hub { id, site, page, own, joins_seen, ringers });
        Self { hub, namespace, slots, service, policy }
    }

    /// Position and length of the last messages, oldest first, as far as `slots` reach.
    pub(crate) fn recent(&self) -> impl Iterator<Item = (u64, u64)> {
        let depth = self.slots.len() / 2;
        let messages = self.page.publisher.messages.load(Ordering::Acquire);
        (messages.saturating_sub(depth as u64)..messages).map(move |message| {
            let slot = (message % depth as u64) as usize * 2;
            let number = |at: usize| self.slots[at].load(Ordering::Acquire);
            (number(slot), number(slot + 1))
        })
    }

    /// Position of the first message of the history, if there is one for who joins now.
    pub(crate) fn history(&self) -> Option<u64> {
        let length = self.page.history.load(Ordering::Relaxed) as usize;
        let publisher = &self.page.publisher;
        if length == 0 || publisher.state.load(Ordering::Acquire) != place::ACTIVE {
            return None;
        }
        let began = publisher.began.load(Ordering::Acquire);
        let kept: Vec<u64> = self.recent().map(|(at, _)| at).filter(|at| *at >= began).collect();
        // The oldest may have been overwritten by a newer one under the look.
        kept[kept.len().saturating_sub(length)..].iter().min().copied()
    }

    /// Notes position and length of message number `message`.
    pub(crate) fn note(&self, message: u64, position: u64, len: u64) {
        let slot = (message % (self.slots.len() as u64 / 2)) as usize * 2;
        self.slots[slot].store(position, Ordering::Release);
        self.slots[slot + 1].store(len, Ordering::Release);
    }

    /// Messages and bytes queued for the slowest subscriber.
    pub(crate) fn queued(&self) -> (u64, u64) {
        let moment = || {
            let own = &self.page.publisher;
            let published = own.published.load(Ordering::SeqCst);
            let taken = self.page.done_by_all().unwrap_or(published);
            (published, taken, own.messages.load(Ordering::SeqCst))
        };
        // Looks again while the queue moves; a queue that never rests is seen as it nearly was.
        let (mut before, mut sum) = (moment(), (0, 0));
        for _ in 0..100 {
            let (published, taken, _) = before;
            let queued = self.recent().filter(|(at, _)| (taken..published).contains(at));
            sum = queued.fold((0, 0_u64), |(n, sum), (_, len)| (n + 1, sum.saturating_add(len)));
            let after = moment();
            if after == before {
                break;
            }
            before = after;
        }
        (sum.0, sum.1.min(self.page.capacity.load(Ordering::Relaxed)))
    }
}
