//! The one thread of a process that learns what no port of it waits for: that a peer has died, and
//! that somebody has joined who is to be given a history.
//!
//! Main functions: [`watch`] and [`attend`]. The thread starts with the first peer from another
//! process, sleeps on descriptors, and has no part in the traffic.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, OnceLock, Weak};

use iceoryx2::port::update_connections::UpdateConnections;
use rustix::event::epoll;
use rustix::fd::{AsFd, OwnedFd};

use crate::namespace::lock;
use crate::peer::Identity;
use crate::publisher::RawPublisher;
use crate::shared::Hub;
use crate::wake::Doorbell;

enum Watched {
    /// A process, and the channels on which it has been seen.
    Peer { pidfd: OwnedFd, peer: Identity, channels: Vec<Weak<Hub>> },
    /// The bell on which subscribers announce themselves to a publisher that keeps a history.
    Arrivals { bell: Doorbell, port: Arc<RawPublisher>, channel: Arc<Hub> },
}

#[derive(Default)]
struct Watches {
    by_key: BTreeMap<u64, Watched>,
    last_key: u64,
    peers: BTreeMap<Identity, u64>,
}

struct Attendant {
    /// The process that its thread runs in: a fork has the rest, but not the thread.
    process: u32,
    epoll: OwnedFd,
    watches: Mutex<Watches>,
    /// Held while it works on channels that it does not own.
    working: Mutex<()>,
}

static ATTENDANT: OnceLock<Attendant> = OnceLock::new();
static STARTING: Mutex<()> = Mutex::new(());

/// The attendant, which is started if it does not run yet.
fn attendant() -> io::Result<&'static Attendant> {
    let _one_at_a_time = lock(&STARTING);
    let process = std::process::id();
    match ATTENDANT.get() {
        Some(running) if running.process == process => return Ok(running),
        Some(_) => return Err(io::Error::other("a fork cannot use its parent's channels")),
        None => {}
    }
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let attendant =
        Attendant { process, epoll, watches: Mutex::default(), working: Mutex::default() };
    let thread = std::thread::Builder::new().name("rm-ipc attendant".to_owned());
    // It waits for what is set here.
    thread.spawn(|| ATTENDANT.wait().run())?;
    Ok(ATTENDANT.get_or_init(|| attendant))
}

/// Buries `peer` on `channel` when it dies; at once, if it is dead.
pub(crate) fn watch(peer: Identity, channel: &Arc<Hub>) -> io::Result<()> {
    let attendant = attendant()?;
    let mut watches = lock(&attendant.watches);
    if let Some(Watched::Peer { channels, .. }) =
        watches.peers.get(&peer).copied().and_then(|key| watches.by_key.get_mut(&key))
    {
        if !channels.iter().any(|known| std::ptr::eq(known.as_ptr(), Arc::as_ptr(channel))) {
            channels.push(Arc::downgrade(channel));
        }
        return Ok(());
    }
    let Some(pidfd) = peer.open()? else {
        drop(watches);
        channel.bury(peer);
        return Ok(());
    };
    let channels = vec![Arc::downgrade(channel)];
    let key = attendant.add(&mut watches, &pidfd)?;
    watches.by_key.insert(key, Watched::Peer { pidfd, peer, channels });
    watches.peers.insert(peer, key);
    Ok(())
}

/// Has iceoryx2 give the history to whoever rings `bell`, until the returned value is dropped.
pub(crate) fn attend(
    channel: &Arc<Hub>,
    port: &Arc<RawPublisher>,
    bell: Doorbell,
) -> io::Result<Attended> {
    let attendant = attendant()?;
    let mut watches = lock(&attendant.watches);
    let key = attendant.add(&mut watches, bell.fifo())?;
    bell.arm();
    let (channel, port) = (channel.clone(), port.clone());
    watches.by_key.insert(key, Watched::Arrivals { bell, port, channel });
    Ok(Attended(key))
}

/// A publisher that is attended. Dropping this ends it, before the attendant touches the port again.
pub(crate) struct Attended(u64);

impl Drop for Attended {
    fn drop(&mut self) {
        let gone = ATTENDANT.get().and_then(|attendant| {
            let gone = lock(&attendant.watches).by_key.remove(&self.0);
            if let Some(Watched::Arrivals { bell, .. }) = &gone {
                attendant.forget(bell.fifo());
            }
            gone
        });
        // What drops with it must not meet the lock.
        drop(gone);
    }
}

/// Waits until the attendant does not use a channel that has been let go of, so that nothing of it is
/// open any more. Not to be called by the attendant, or while it could wait for the caller.
pub(crate) fn leave_alone() {
    if let Some(attendant) = ATTENDANT.get()
        && attendant.process == std::process::id()
    {
        drop(lock(&attendant.working));
    }
}

/// Forgets what is watched for channels that are gone.
pub(crate) fn forget_gone() {
    let Some(attendant) = ATTENDANT.get() else {
        return;
    };
    let mut gone = Vec::new();
    let mut watches = lock(&attendant.watches);
    let Watches { by_key, peers, .. } = &mut *watches;
    for (key, watched) in by_key.iter_mut() {
        if let Watched::Peer { channels, .. } = watched {
            channels.retain(|channel| channel.strong_count() > 0);
            if channels.is_empty() {
                gone.push(*key);
            }
        }
    }
    let gone: Vec<_> = gone.into_iter().filter_map(|key| by_key.remove(&key)).collect();
    for watched in &gone {
        if let Watched::Peer { peer, pidfd, .. } = watched {
            attendant.forget(pidfd);
            peers.remove(peer);
        }
    }
    // Their descriptors close here; what drops with them must not meet the lock.
    drop(watches);
}

impl Attendant {
    fn add(&self, watches: &mut Watches, fd: impl AsFd) -> io::Result<u64> {
        watches.last_key += 1;
        let data = epoll::EventData::new_u64(watches.last_key);
        epoll::add(&self.epoll, fd, data, epoll::EventFlags::IN)?;
        Ok(watches.last_key)
    }

    /// A fork may keep a descriptor open, so closing it is not enough.
    fn forget(&self, fd: impl AsFd) {
        let _ = epoll::delete(&self.epoll, fd);
    }

    fn run(&self) {
        let mut events = Vec::with_capacity(16);
        loop {
            events.clear();
            // An interrupted wait is repeated.
            let _ = epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), None);
            events.iter().for_each(|event: &epoll::Event| self.handle(event.data.u64()));
        }
    }

    fn handle(&self, key: u64) {
        let _working = lock(&self.working);
        let mut watches = lock(&self.watches);
        match watches.by_key.get(&key) {
            Some(Watched::Peer { .. }) => {
                let Some(Watched::Peer { peer, channels, pidfd }) = watches.by_key.remove(&key)
                else {
                    return;
                };
                watches.peers.remove(&peer);
                self.forget(&pidfd);
                drop(watches);
                for channel in channels.iter().filter_map(Weak::upgrade) {
                    channel.bury(peer);
                }
            }
            Some(Watched::Arrivals { bell, port, channel }) => {
                bell.arm();
                // What fails here is tried again by the next message.
                let _ = port.update_connections();
                let channel = channel.clone();
                drop(watches);
                channel.ring_subscribers();
            }
            None => {}
        }
    }
}
