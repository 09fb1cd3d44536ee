//! Bringing the two connections to a child to life: the introduction, and the tasks that read.
//!
//! Main type: [`Wires`], the connections of one child. What is called over them is not known here.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::backend::{BackendMetrics, BackendOptions};
use super::peer::{DEATH_AFTER_CLOSE, ProcessPeer, Words};
use crate::callback::{Served, TypedCallbackReceiver};
use crate::child::format_control;
use crate::command::CommandSpec;
use crate::connection::ConnectionError;
use crate::error::ProcessError;
use crate::handshake::{Handshake, HandshakeError, IpcLimits};
use crate::link::{Link, LinkEnd, Peer, Role};
use crate::page::StatusPage;
use crate::process::NodeProcess;
use crate::protocol::{Control, FrameError, WireContext, encode_envelope, read_handshake};
use crate::spawn::ProcessManager;
use crate::state::{Deadline, Event};
use crate::sys;
use crate::transport::{self, Inbox, Outbox, TransportOptions};

/// The connections to one child. Dropping them is the word to end.
#[derive(Debug)]
pub(crate) struct Wires {
    /// Over which the child is called.
    pub(crate) requests: Link,
    /// Over which the child calls.
    pub(crate) callbacks: Link,
    pub(crate) words: Arc<Words>,
    pub(crate) peer_pid: u32,
    tasks: [JoinHandle<()>; 3],
}

impl Drop for Wires {
    fn drop(&mut self) {
        // A child whose socket is full sees the end of the stream instead.
        let _ = self.requests.say(Control::Stop);
        for link in [&self.requests, &self.callbacks] {
            link.end(LinkEnd::LetGo);
        }
        self.tasks.iter().for_each(JoinHandle::abort);
        self.words.end();
    }
}

/// A descriptor that a child is to inherit.
struct Inherited {
    descriptor: OwnedFd,
    /// Its number and its inode.
    name: (i32, u64),
}

impl Inherited {
    fn new(file: OwnedFd) -> io::Result<Self> {
        let descriptor = sys::apart(file)?;
        let (inode, _) = sys::identity(descriptor.as_fd())?;
        let name = (descriptor.as_raw_fd(), inode);
        Ok(Self { descriptor, name })
    }
}

/// One connection before its introduction.
pub(crate) struct Unheard {
    pub(crate) outbox: Outbox,
    pub(crate) inbox: Inbox,
}

impl Unheard {
    pub(crate) fn open(stream: UnixStream, limits: &IpcLimits) -> io::Result<Self> {
        let options = TransportOptions { max_frame: limits.max_frame, ..Default::default() };
        let (outbox, inbox) = transport::open(stream, options)?;
        Ok(Self { outbox, inbox })
    }

    /// Introduces this process.
    pub(crate) fn introduce(&self, handshake: Handshake) -> Result<(), ConnectionError> {
        let word = Control::Handshake(Box::new(handshake));
        self.outbox.send(None, |out| encode_envelope(0, WireContext::default(), word, out))
    }

    /// Waits for the introduction of the other side; `None` if it hangs up.
    pub(crate) async fn hear(&mut self) -> Result<Option<Handshake>, ConnectionError> {
        match self.inbox.next().await {
            Ok(Some(frame)) => Ok(Some(read_handshake(frame.body)?)),
            Ok(None)
            | Err(ConnectionError::Closed | ConnectionError::Frame(FrameError::Truncated { .. })) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    async fn hear_valid(&mut self, expected: Option<u32>) -> Result<Handshake, HandshakeError> {
        let heard = self.hear().await.map_err(HandshakeError::NotAHello)?;
        let heard = heard.ok_or(HandshakeError::Closed)?;
        heard.verify(expected)?;
        Ok(heard)
    }
}

/// Starts a child, and waits for its introduction.
pub(crate) async fn spawn(
    manager: &ProcessManager,
    spec: CommandSpec,
    options: &BackendOptions,
    metrics: &BackendMetrics,
) -> Result<(NodeProcess, Wires), ProcessError> {
    options.limits.check().map_err(|error| ProcessError::InvalidConfig(error.to_string()))?;
    let program = spec.program.to_string_lossy().into_owned();
    let failed = |error: io::Error| ProcessError::from_spawn(&program, &error);
    let (page, file) = StatusPage::create().map_err(failed)?;
    let pair = || {
        let (ours, theirs) = UnixStream::pair()?;
        Ok((Unheard::open(ours, &options.limits)?, Inherited::new(theirs.into())?))
    };
    let (requests, requests_end) = pair().map_err(failed)?;
    let (callbacks, callbacks_end) = pair().map_err(failed)?;
    let file = Inherited::new(file).map_err(failed)?;
    let announcement = format_control([requests_end.name, file.name, callbacks_end.name]);
    let descriptors = vec![requests_end.descriptor, file.descriptor, callbacks_end.descriptor];
    for end in [&requests, &callbacks] {
        let told = end.introduce(options.handshake());
        told.map_err(|error| ProcessError::InvalidConfig(format!("cannot configure: {error}")))?;
    }
    let process = manager.start(spec, descriptors, Some((announcement, page))).await?;
    let heard = hear_process(&process, requests, callbacks).await?;
    // Refused only where it has died meanwhile, as its owner will see.
    let _ = process.core().event(Event::Introduced);
    let words = Arc::new(Words::default());
    let core = Arc::downgrade(process.core());
    let peer = ProcessPeer { core, words: Arc::clone(&words) };
    let wires = Wires::open(heard, (Arc::new(peer), words), options, metrics);
    let link = wires.requests.clone();
    process.core().set_ask(move || {
        link.drain();
        // Where its input is full, SIGTERM says it later.
        let _ = link.say(Control::Stop);
    });
    Ok((process, wires))
}

/// Waits until a process has introduced itself; it is gone where it does not.
async fn hear_process(
    process: &NodeProcess,
    requests: Unheard,
    callbacks: Unheard,
) -> Result<Heard, ProcessError> {
    let heard = tokio::select! {
        biased;
        heard = hear_both(requests, callbacks, Some(process.process_id())) => heard,
        // A deadline that passes ends the process too.
        _ = process.exited() => Err(HandshakeError::Closed),
    };
    match heard {
        Ok(heard) => Ok(heard),
        Err(HandshakeError::Closed) => Err(died_early(process).await),
        Err(error) => {
            process.kill().await;
            Err(ProcessError::foreign(process, error))
        }
    }
}

/// Both connections after their introduction.
pub(crate) struct Heard {
    requests: Unheard,
    callbacks: Unheard,
    handshake: Handshake,
}

impl Heard {
    pub(crate) fn into_parts(self) -> (Unheard, Unheard, Handshake) {
        (self.requests, self.callbacks, self.handshake)
    }
}

/// Waits until the other side has introduced itself on both connections.
pub(crate) async fn hear_both(
    mut requests: Unheard,
    mut callbacks: Unheard,
    expected: Option<u32>,
) -> Result<Heard, HandshakeError> {
    let handshake = requests.hear_valid(expected).await?;
    let again = callbacks.hear_valid(Some(handshake.pid)).await?;
    if handshake.limits != again.limits {
        let what = "an introduction that differs from that on the other connection";
        return Err(HandshakeError::NotAHello(ConnectionError::Protocol { what, call: 0 }));
    }
    Ok(Heard { requests, callbacks, handshake })
}

impl Wires {
    /// Starts to read what comes over connections whose introduction is done.
    pub(crate) fn open(
        heard: Heard,
        (peer, words): (Arc<dyn Peer>, Arc<Words>),
        options: &BackendOptions,
        metrics: &BackendMetrics,
    ) -> Self {
        let Heard { requests, callbacks, handshake } = heard;
        let limits = (options.limits, options.of_child(handshake.limits));
        let (requests_link, _) = Link::open(Role::Caller, requests.outbox, limits);
        let (callbacks_link, calls) = Link::open(Role::Server, callbacks.outbox, limits);
        let receiver = TypedCallbackReceiver::new(Arc::clone(&options.callbacks));
        let served = Served { peer_pid: handshake.pid, metrics: Arc::clone(&metrics.callbacks) };
        let tasks = [
            tokio::spawn(requests_link.clone().read(requests.inbox, Arc::clone(&peer))),
            tokio::spawn(callbacks_link.clone().read(callbacks.inbox, peer)),
            tokio::spawn(receiver.serve(calls, served)),
        ];
        let peer_pid = handshake.pid;
        Self { requests: requests_link, callbacks: callbacks_link, words, peer_pid, tasks }
    }
}

/// What it means that a process is gone, or going, before it was ready.
pub(crate) async fn died_early(process: &NodeProcess) -> ProcessError {
    if timeout(DEATH_AFTER_CLOSE, process.exited()).await.is_err() {
        process.kill().await;
        return ProcessError::foreign(process, HandshakeError::Closed);
    }
    let report = Box::new(process.failure_report());
    if process.core().lifecycle().passed().is_some_and(Deadline::is_of_start) {
        ProcessError::InitTimeout { report }
    } else {
        ProcessError::EarlyExit { report }
    }
}

#[cfg(test)]
mod tests;
