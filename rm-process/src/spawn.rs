//! Starting processes.
//!
//! Main type: [`ProcessManager`]. What to start is a [`CommandSpec`]; what was started is a
//! [`NodeProcess`].

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::sync::{oneshot, watch};

use crate::child::format_control;
use crate::command::CommandSpec;
use crate::connection::{Connection, ConnectionError, FrameReader};
use crate::error::ProcessError;
use crate::handshake::{HandshakeError, Hello};
use crate::leader::Leader;
use crate::process::NodeProcess;
use crate::protocol::FrameError;
use crate::sys;

/// How long a child that closed its control channel has until it counts as alive without one: a
/// dying process closes its descriptors a moment before its death can be seen.
const DEATH_AFTER_CLOSE: Duration = Duration::from_millis(500);

/// Starts processes. Clones share one thread, on which all of them are started.
///
/// The kernel's parent-death signal is bound to the thread that starts a child, so that thread
/// must live as long as the child: it ends when the last manager and the last process started by
/// it are gone.
#[derive(Debug, Clone)]
pub struct ProcessManager {
    jobs: mpsc::Sender<Job>,
    /// Closed when the thread ends.
    ended: watch::Receiver<()>,
}

#[derive(Debug)]
struct Job {
    command: Command,
    reply: oneshot::Sender<io::Result<Leader>>,
}

impl ProcessManager {
    /// A manager with its thread.
    ///
    /// # Errors
    /// [`ProcessError::SpawnFailed`] if the operating system has no thread to give.
    pub fn new() -> Result<Self, ProcessError> {
        let (jobs, received) = mpsc::channel::<Job>();
        let (running, ended) = watch::channel(());
        std::thread::Builder::new()
            .name("process-spawner".to_owned())
            .spawn(move || {
                for Job { mut command, reply } in received {
                    let leader = command.spawn().and_then(Leader::new);
                    // The parent's copy of the child's end of the control channel closes here.
                    drop(command);
                    // If nobody waits any longer, the leader comes back and is killed by its drop.
                    drop(reply.send(leader));
                }
                drop(running);
            })
            .map_err(|error| {
                ProcessError::SpawnFailed(format!("cannot start the spawner thread: {error}"))
            })?;
        Ok(Self { jobs, ended })
    }

    /// Waits until everything that was started is dead and reaped, also what was being started when
    /// its future was dropped. It has to have been told to end, and all clones of this manager and
    /// handles of its processes have to be dropped.
    pub async fn finished(self) {
        let Self { jobs, mut ended } = self;
        drop(jobs);
        // Each living process holds a sender of jobs, so the thread ends after the last of them;
        // nothing is ever sent, so an answer means that.
        let _ = ended.changed().await;
    }

    /// Starts a process that uses [`child::connect`](crate::child::connect), and waits until it
    /// has introduced itself. It is then [`Idle`](crate::ProcessStatus::Idle); what it sends and
    /// receives is up to the caller.
    ///
    /// If the returned future is dropped, the process is killed. The process is watched on the
    /// calling tokio runtime and is killed when that runtime ends.
    ///
    /// # Errors
    /// [`ProcessError`]; no process is left then.
    ///
    /// # Panics
    /// If called outside a tokio runtime with I/O and time enabled.
    pub async fn spawn<Tx: Serialize, Rx: DeserializeOwned>(
        &self,
        spec: CommandSpec,
    ) -> Result<(NodeProcess, Connection<Tx, Rx>), ProcessError> {
        let failed = |error: io::Error| {
            ProcessError::SpawnFailed(format!("cannot make a control channel: {error}"))
        };
        let (ours, theirs) = StdUnixStream::pair().map_err(failed)?;
        let theirs = OwnedFd::from(theirs);
        // Above the standard streams, which the child replaces: this process may have closed its
        // own, and then the socket has one of their numbers.
        let theirs = rustix::io::fcntl_dupfd_cloexec(&theirs, 3).map_err(|e| failed(e.into()))?;
        let inode = sys::socket_inode(theirs.as_fd()).map_err(failed)?;
        let announcement = format_control(theirs.as_raw_fd(), inode);
        ours.set_nonblocking(true).map_err(failed)?;
        let ours = UnixStream::from_std(ours).map_err(failed)?;

        let process = self.start(&spec, Some((theirs, announcement))).await?;
        let (mut reader, writer) = FrameReader::new(ours);
        introduce(&process, &mut reader, spec.handshake_timeout).await?;
        Ok((process, Connection::new(reader, writer)))
    }

    /// Starts any executable, without a control channel.
    ///
    /// The process is watched on the calling tokio runtime and is killed when that runtime ends.
    ///
    /// # Errors
    /// [`ProcessError`] if it cannot be started.
    ///
    /// # Panics
    /// If called outside a tokio runtime with I/O and time enabled.
    pub async fn spawn_plain(&self, spec: CommandSpec) -> Result<NodeProcess, ProcessError> {
        self.start(&spec, None).await
    }

    async fn start(
        &self,
        spec: &CommandSpec,
        control: Option<(OwnedFd, String)>,
    ) -> Result<NodeProcess, ProcessError> {
        let has_control = control.is_some();
        let command = spec.to_command(control)?;
        let failed =
            |error: io::Error| ProcessError::from_spawn(&spec.program.to_string_lossy(), &error);
        let (reply, answer) = oneshot::channel();
        self.jobs
            .send(Job { command, reply })
            .expect("the spawner thread lives as long as a sender");
        let leader = answer.await.expect("the spawner thread answers every job").map_err(failed)?;
        NodeProcess::watch(leader, spec, has_control, self.clone()).map_err(failed)
    }
}

/// Waits for the child's introduction. If it does not come, or is wrong, the child is killed.
async fn introduce(
    process: &NodeProcess,
    reader: &mut FrameReader,
    timeout: Duration,
) -> Result<(), ProcessError> {
    let hello = tokio::select! {
        biased;
        hello = reader.recv::<Hello>() => hello,
        _ = process.exited() => Ok(None),
        () = tokio::time::sleep(timeout) => {
            process.kill_at_deadline().await;
            return Err(ProcessError::InitTimeout {
                label: process.label().to_owned(),
                timeout,
                stderr_tail: process.stderr_tail(),
            });
        }
    };
    let source = match hello {
        Ok(Some(hello)) => match hello.verify(process.process_id()) {
            Ok(()) => return Ok(()),
            Err(source) => source,
        },
        Ok(None) | Err(ConnectionError::Frame(FrameError::Truncated { .. })) => {
            let exit = tokio::time::timeout(DEATH_AFTER_CLOSE, process.exited()).await;
            if let Ok(exit) = exit {
                return Err(ProcessError::EarlyExit {
                    label: process.label().to_owned(),
                    exit,
                    stderr_tail: process.stderr_tail(),
                });
            }
            HandshakeError::Closed
        }
        Err(error) => HandshakeError::NotAHello(error),
    };
    process.kill().await;
    Err(ProcessError::ForeignPeer {
        label: process.label().to_owned(),
        source,
        stderr_tail: process.stderr_tail(),
    })
}

#[cfg(test)]
mod tests;
