//! The task that watches one process: its end, its deadlines and its output.
//!
//! Main type: [`Monitor`]. It carries events to the state machine and makes the end known; what
//! follows from an event is not decided here.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::exit::ExitStatus;
use crate::leader::{Output, Reaped};
use crate::output::{self, Source};
use crate::report::End;
use crate::state::Event;
use crate::supervision::Core;
use crate::sys;

/// The task that watches one process.
///
/// If the task is dropped before the end (its runtime shuts down), it kills the process and waits
/// for it, so that an end is published in any case and no process is left.
pub(crate) struct Monitor {
    core: Arc<Core>,
    /// What was left of the process, once it is dead and until that is published.
    reaped: Option<Reaped>,
}

impl Monitor {
    /// Starts to watch.
    pub(crate) fn start(core: &Arc<Core>) -> io::Result<()> {
        let (pidfd, output) = {
            let mut leader = core.leader();
            (
                sys::awaitable(Arc::new(leader.clone_pidfd()?), Interest::READABLE)?,
                leader.take_output(),
            )
        };
        let Output { stdout, stderr } = output.expect("there is one monitor");
        let stdout = pipe::Receiver::from_owned_fd(stdout)?;
        let stderr = pipe::Receiver::from_owned_fd(stderr)?;
        let dead = watch::Sender::new(false);
        let drain = |pipe, capture: &Arc<output::Capture>, stream| {
            let (node, session) = (core.spec.label.clone(), core.spec.session_id.clone());
            let source = Source { node, session, stream };
            tokio::spawn(output::drain(pipe, Arc::clone(capture), source, dead.subscribe()))
        };
        let drains = [drain(stdout, &core.stdout, "stdout"), drain(stderr, &core.stderr, "stderr")];
        let monitor = Self { core: Arc::clone(core), reaped: None };
        tokio::spawn(monitor.run(pidfd, dead, drains));
        Ok(())
    }

    async fn run(
        mut self,
        pidfd: AsyncFd<Arc<OwnedFd>>,
        dead: watch::Sender<bool>,
        drains: [JoinHandle<()>; 2],
    ) {
        loop {
            let deadline = self.core.lifecycle().next_deadline();
            let deadline = deadline.and_then(|deadline| self.core.instant_of(deadline));
            let due = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                ready = pidfd.readable() => match ready {
                    // A wake-up alone is no proof of death, and would be a poor reason to kill a
                    // healthy process.
                    Ok(mut ready) => {
                        if self.core.leader().is_dead() {
                            break;
                        }
                        ready.clear_ready();
                    }
                    // The runtime shuts down; the process is killed below.
                    Err(_) => break,
                },
                () = self.core.changed.notified() => {}
                // Never refused.
                () = due => drop(self.core.event(Event::Tick)),
            }
        }
        self.reaped = Some(self.core.leader().reap());
        dead.send_replace(true);
        for drain in drains {
            // An error means that the runtime shuts down; the rest of the output is lost then.
            let _ = drain.await;
        }
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        let reaped = self.reaped.take();
        let mut reaped = reaped.unwrap_or_else(|| self.core.leader().reap());
        self.core.manager.bury(std::mem::take(&mut reaped.remains));
        let (exit, end) = End::explain(&self.core, &reaped);
        let ExitStatus { code, signal, .. } = exit;
        self.core
            .event(Event::Exited { code, signal })
            .expect("this is the one place that tells of the end");
        self.core.publish(exit, end);
    }
}
