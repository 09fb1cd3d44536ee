//! How a process sleeps until there is something to do, and how others wake it.
//!
//! Main types: [`Doorbell`], on which one thread waits, and [`Ringer`], by which anybody wakes it.
//! A doorbell is a FIFO, which opens by name in any process, and a "sleeping" flag in shared
//! memory, so that ringing somebody who is awake costs no system call.
//!
//! A doorbell belongs to the thread that waits on it. It carries no message and gives no hang-up:
//! what there is to do is checked by the waiter, and a peer's death is told by its pidfd. Why no
//! wake-up is lost is told in [`handover`].

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::{CWD, Mode, OFlags, mkfifoat};
use serde::{Deserialize, Serialize};
use zerocopy::{FromBytes, IntoBytes};

use rm_core::Spin;

use crate::handover;
use crate::namespace::Namespace;
use crate::segment::SharedPage;
use crate::site::Site;
use crate::sync::AtomicU32;

/// Why a doorbell could not be made or found.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} doorbell {id} of {}", namespace.display())]
pub struct WakeError {
    action: &'static str,
    id: BellId,
    namespace: std::path::PathBuf,
    #[source]
    source: io::Error,
}

impl From<WakeError> for io::Error {
    /// An error of the same kind, with the whole message.
    fn from(error: WakeError) -> Self {
        Self::new(error.source.kind(), error)
    }
}

/// The name of a doorbell within its namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BellId(pub(crate) u64);

impl std::fmt::Display for BellId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl BellId {
    /// Removes the files of a doorbell whose owner is dead.
    pub(crate) fn remove(self, site: &Site) {
        site.remove_file(&self.fifo());
        site.remove_file(&self.flag());
    }

    fn fifo(self) -> String {
        format!("bell-{self}")
    }

    fn flag(self) -> String {
        format!("bell-{self}.flag")
    }
}

#[derive(FromBytes, IntoBytes)]
#[repr(C, align(64))]
struct Flag {
    sleeping: AtomicU32,
    reserved: [AtomicU32; 15],
}

struct Bell {
    id: BellId,
    fifo: File,
    flag: SharedPage<Flag>,
}

impl Bell {
    fn open(site: &Site, id: BellId) -> io::Result<Self> {
        // Opened for reading too, so that writing to a dead process's bell raises no signal.
        let fifo = File::options()
            .read(true)
            .write(true)
            .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
            .open(site.folder().join(id.fifo()))?;
        let flag = SharedPage::map(&site.open_file(&id.flag())?)?;
        Ok(Self { id, fifo, flag })
    }

    fn ring(&self) {
        handover::ring(&self.flag.sleeping, || {
            // The one failure is a full FIFO, and then there is a wake-up under way already. As many
            // bytes as an eventfd wants.
            let _ = (&self.fifo).write(&1_u64.to_ne_bytes());
        });
    }
}

/// Wakes the owner of a doorbell. Clones ring the same bell.
#[derive(Clone)]
pub struct Ringer {
    bell: Arc<Bell>,
}

impl Ringer {
    /// Finds the doorbell `id`.
    ///
    /// # Errors
    /// [`WakeError`] if there is none, because its owner has gone or has never been.
    pub fn open(namespace: &Namespace, id: BellId) -> Result<Self, WakeError> {
        Self::at(namespace.site(), id)
    }

    pub(crate) fn at(site: &Site, id: BellId) -> Result<Self, WakeError> {
        match Bell::open(site, id) {
            Ok(bell) => Ok(Self { bell: Arc::new(bell) }),
            Err(source) => {
                let namespace = site.folder().to_owned();
                Err(WakeError { action: "open", id, namespace, source })
            }
        }
    }

    /// Wakes the owner if it sleeps. What it is to find must be visible before this call.
    pub fn ring(&self) {
        self.bell.ring();
    }
}

impl std::fmt::Debug for Ringer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Ringer").field(&self.bell.id).finish()
    }
}

/// What one thread sleeps on.
pub struct Doorbell {
    bell: Arc<Bell>,
    /// `None` for one that only this process can ring.
    namespace: Option<Namespace>,
    waiter: Mutex<Waiter>,
}

/// What belongs to the thread that waits.
#[derive(Default)]
struct Waiter {
    spin: Spin,
    round: u32,
}

impl Doorbell {
    /// Makes a doorbell.
    ///
    /// # Errors
    /// [`WakeError`] if its files cannot be made.
    pub fn create(namespace: &Namespace) -> Result<Self, WakeError> {
        let error = |id| {
            let namespace = namespace.folder().to_owned();
            move |source| WakeError { action: "create", id, namespace, source }
        };
        let id = getrandom::u64().map_err(|e| error(BellId(0))(io::Error::other(e)))?;
        let id = BellId(id);
        let make = || -> io::Result<Bell> {
            // Written, not just sized: a full file system is an error here and not a signal later.
            namespace.site().create_file(&id.flag())?.write_all(&[0; size_of::<Flag>()])?;
            let path = namespace.folder().join(id.fifo());
            mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR)?;
            Bell::open(namespace.site(), id)
        };
        let made = make().inspect_err(|_| id.remove(namespace.site()));
        let bell = Arc::new(made.map_err(error(id))?);
        Ok(Self { bell, namespace: Some(namespace.clone()), waiter: Mutex::default() })
    }

    /// Makes a doorbell that only this process can ring: it has no files, and no namespace. Ports of
    /// channels cannot have it.
    ///
    /// # Errors
    /// The operating system's error if there can be no further descriptor.
    pub fn local() -> io::Result<Self> {
        let flag = File::from(rustix::fs::memfd_create("bell", rustix::fs::MemfdFlags::CLOEXEC)?);
        flag.set_len(size_of::<Flag>() as u64)?;
        let flag = SharedPage::map(&flag)?;
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let bell = Bell { id: BellId(0), fifo: eventfd(0, flags)?.into(), flag };
        Ok(Self { bell: Arc::new(bell), namespace: None, waiter: Mutex::default() })
    }

    /// Its name, by which others open a [`Ringer`].
    pub fn id(&self) -> BellId {
        self.bell.id
    }

    /// A ringer for other threads of this process.
    pub fn ringer(&self) -> Ringer {
        Ringer { bell: self.bell.clone() }
    }

    /// What becomes readable when this is rung, for one who waits for several things. Ringers have
    /// to be told by [`arm`](Self::arm) that he sleeps.
    pub(crate) fn fifo(&self) -> BorrowedFd<'_> {
        self.bell.fifo.as_fd()
    }

    /// Takes the rings that have come and asks for the next. What they were about has to be looked
    /// for after this.
    pub(crate) fn arm(&self) {
        self.drain();
        let mut waiter = self.waiter();
        handover::announce(&self.bell.flag.sleeping, &mut waiter.round);
    }

    /// Spins for as long as it pays; whether `ready` said so meanwhile.
    #[cfg(feature = "tokio")]
    pub(crate) fn spin(&self, ready: &mut impl FnMut() -> bool) -> bool {
        spin_for(&mut self.waiter().spin, ready, None)
    }

    /// Says that the owner is about to sleep.
    #[cfg(feature = "tokio")]
    pub(crate) fn announce(&self) {
        handover::announce(&self.bell.flag.sleeping, &mut self.waiter().round);
    }

    /// Says that the owner is awake.
    #[cfg(feature = "tokio")]
    pub(crate) fn retract(&self) {
        handover::retract(&self.bell.flag.sleeping);
    }

    /// The FIFO in the reactor of the present tokio runtime.
    #[cfg(feature = "tokio")]
    pub(crate) fn open_pipe(&self) -> io::Result<tokio::net::unix::pipe::Receiver> {
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(io::Error::other("there is no tokio runtime here"));
        }
        let no_files = || io::Error::other("the doorbell has no files");
        let namespace = self.namespace.as_ref().ok_or_else(no_files)?;
        let path = namespace.folder().join(self.id().fifo());
        tokio::net::unix::pipe::OpenOptions::new().read_write(true).open_receiver(path)
    }

    fn waiter(&self) -> std::sync::MutexGuard<'_, Waiter> {
        self.waiter.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Waits until `ready` says so; `false` if `deadline` came first.
    ///
    /// `ready` is called often and has to be cheap. Only one thread waits at a time; a second one
    /// waits for the first to be done.
    pub fn wait(&self, mut ready: impl FnMut() -> bool, deadline: Option<Instant>) -> bool {
        if ready() {
            return true;
        }
        let mut waiter = self.waiter();
        let Waiter { spin, round } = &mut *waiter;
        if spin_for(spin, &mut ready, deadline) {
            return true;
        }
        handover::wait(&self.bell.flag.sleeping, round, ready, || self.sleep(deadline))
    }

    /// Sleeps until somebody rings; `false`, without sleeping, if `deadline` has come.
    fn sleep(&self, deadline: Option<Instant>) -> bool {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return false;
        }
        let timeout = left.map(|left| {
            Timespec::try_from(left).unwrap_or(Timespec { tv_sec: i64::MAX, tv_nsec: 0 })
        });
        let mut fds = [PollFd::new(&self.bell.fifo, PollFlags::IN)];
        // An interrupted or failed poll ends in another look at `ready`, as a wake-up does.
        let _ = poll(&mut fds, timeout.as_ref());
        self.drain();
        true
    }

    fn drain(&self) {
        let mut rings = [0; 64];
        while rustix::io::read(&self.bell.fifo, &mut rings).is_ok_and(|read| read == rings.len()) {}
    }
}

impl Drop for Doorbell {
    fn drop(&mut self) {
        // They may be gone with their namespace.
        if let Some(namespace) = &self.namespace {
            self.id().remove(namespace.site());
        }
    }
}

impl std::fmt::Debug for Doorbell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Doorbell").field(&self.id()).finish()
    }
}

/// Looks for as long as `spin` lets it whether what is waited for has come.
fn spin_for(spin: &mut Spin, ready: &mut impl FnMut() -> bool, deadline: Option<Instant>) -> bool {
    let budget = spin.next_budget();
    if budget.is_zero() {
        return false;
    }
    let end = Instant::now() + budget;
    let end = deadline.map_or(end, |deadline| end.min(deadline));
    let hit = 'spin: loop {
        // The clock is read rarely: it costs as much as a look.
        for _ in 0..8 {
            std::hint::spin_loop();
            if ready() {
                break 'spin true;
            }
        }
        if Instant::now() >= end {
            break false;
        }
    };
    spin.record(budget, hit);
    hit
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    #[test]
    #[cfg_attr(miri, ignore = "it maps memory")]
    fn a_local_doorbell_wakes_its_owner_each_time() {
        let bell = Doorbell::local().unwrap();
        let (ringer, turn, taken) = (bell.ringer(), AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for next in 1..=2_000 {
                    turn.store(next, Ordering::Release);
                    ringer.ring();
                    while taken.load(Ordering::Acquire) < next {
                        std::thread::yield_now();
                    }
                }
            });
            for next in 1..=2_000 {
                assert!(bell.wait(|| turn.load(Ordering::Acquire) >= next, None));
                taken.store(next, Ordering::Release);
            }
        });
        let soon = Instant::now() + Duration::from_millis(5);
        assert!(!bell.wait(|| false, Some(soon)));
    }

    #[test]
    fn no_wake_up_is_lost_between_two_parked_threads() {
        let turns = if cfg!(miri) { 20 } else { 20_000 };
        let (word, published) = (AtomicU32::new(0), AtomicU64::new(0));
        let (taken, sleeper) = (AtomicU64::new(0), std::thread::current());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for turn in 1..=turns {
                    published.store(turn, Ordering::Release);
                    handover::ring(&word, || sleeper.unpark());
                    while taken.load(Ordering::Acquire) < turn {
                        std::hint::spin_loop();
                    }
                }
            });
            let mut round = 0;
            for turn in 1..=turns {
                let ready = || published.load(Ordering::Acquire) == turn;
                let park = || {
                    std::thread::park();
                    true
                };
                assert!(handover::wait(&word, &mut round, ready, park));
                taken.store(turn, Ordering::Release);
            }
        });
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no FIFOs")]
    fn wait_ends_at_the_deadline_when_nobody_rings() {
        let namespace = Namespace::create().unwrap();
        let bell = Doorbell::create(&namespace).unwrap();
        let deadline = Instant::now() + Duration::from_millis(5);
        assert!(!bell.wait(|| false, Some(deadline)));
        assert!(Instant::now() >= deadline);
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no FIFOs")]
    fn no_wake_up_is_lost_between_two_threads() {
        let namespace = Namespace::create().unwrap();
        let [ours, theirs] = [(); 2].map(|()| Doorbell::create(&namespace).unwrap());
        let [ring_ours, ring_theirs] =
            [&ours, &theirs].map(|bell| Ringer::open(&namespace, bell.id()).unwrap());
        let (there, back) = (AtomicU64::new(0), AtomicU64::new(0));
        let give_up = Some(Instant::now() + Duration::from_secs(60));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for turn in 1..=20_000 {
                    assert!(theirs.wait(|| there.load(Ordering::Acquire) == turn, give_up));
                    back.store(turn, Ordering::Release);
                    ring_ours.ring();
                }
            });
            for turn in 1..=20_000 {
                there.store(turn, Ordering::Release);
                ring_theirs.ring();
                assert!(ours.wait(|| back.load(Ordering::Acquire) == turn, give_up));
            }
        });
    }
}
