//! Starting processes, and keeping count of them.
//!
//! Main type: [`ProcessManager`]. What to start is a [`CommandSpec`]; what was started is a
//! [`NodeProcess`], or with its connections a [`SubprocessIpcBackend`]. Processes are started on the thread in `workshop`.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::backend::{BackendOptions, SubprocessIpcBackend};
use crate::command::CommandSpec;
use crate::error::ProcessError;
use crate::exit::ExitStatus;
use crate::leader::Remains;
use crate::limits::Limit;
use crate::page::StatusPage;
use crate::process::NodeProcess;
use crate::state::Event;
use crate::supervision::{Core, Watched};
use crate::sys::Legacy;
use crate::workshop::{Job, Started, Workshop};

/// How many processes a manager may have at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ManagerOptions {
    /// Most processes; `None` for no limit but the operating system's.
    pub max_processes: Option<usize>,
    /// Most processes of one session, those without a session being of one too.
    pub max_processes_per_session: Option<usize>,
}

/// Starts processes. Clones share one thread, on which all of them are started, and one count.
///
/// The kernel's parent-death signal is bound to the thread that starts a child, so that thread
/// must live as long as the child: it ends when the last manager and the last process started by
/// it are gone. Dropping the last of these waits for that: a matter of milliseconds, unless descendants
/// that were killed do not die.
#[derive(Debug, Clone)]
pub struct ProcessManager {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    workshop: Workshop,
    options: ManagerOptions,
    table: Mutex<Table>,
}

/// What is known of each process by its number.
#[derive(Debug, Default)]
struct Table {
    entries: HashMap<u32, Entry>,
    /// Living processes, and those being started, by session.
    counts: HashMap<String, usize>,
    count: usize,
}

#[derive(Debug)]
enum Entry {
    Living(Weak<Core>),
    /// Stays until another process gets the number.
    Ended(ExitStatus),
}

/// A process's place among those that there may be. It is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    shared: Weak<Shared>,
    session: String,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Some(shared) = self.shared.upgrade() else { return };
        let mut table = shared.table();
        table.count -= 1;
        if let Some(count) = table.counts.get_mut(&self.session) {
            *count -= 1;
            if *count == 0 {
                table.counts.remove(&self.session);
            }
        }
    }
}

impl Shared {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A process by its number.
pub(crate) enum Found {
    Living(Arc<Core>),
    Ended(ExitStatus),
}

impl ProcessManager {
    /// A manager with its thread, without a limit to the number of processes.
    ///
    /// # Errors
    /// [`ProcessError::SpawnFailed`] if the operating system has no thread to give.
    pub fn new() -> Result<Self, ProcessError> {
        Self::with_options(ManagerOptions::default())
    }

    /// A manager with its thread.
    ///
    /// # Errors
    /// [`ProcessError::SpawnFailed`] if the operating system has no thread to give.
    pub fn with_options(options: ManagerOptions) -> Result<Self, ProcessError> {
        let workshop = Workshop::open().map_err(|error| {
            ProcessError::SpawnFailed(format!("cannot start the spawner thread: {error}"))
        })?;
        let table = Mutex::default();
        Ok(Self { shared: Arc::new(Shared { workshop, options, table }) })
    }

    /// Waits until everything that was started is dead and reaped, also what was being started when
    /// its future was dropped. It has to have been told to end, and all clones of this manager and
    /// handles of its processes have to be dropped.
    pub async fn finished(self) {
        let ended = self.shared.workshop.ended();
        drop(self);
        ended.await;
    }

    /// Waits until no process is left, as [`finished`](Self::finished) does, also while this manager and
    /// handles on its processes are kept. Another process may have been started when this returns.
    pub async fn idle(&self) {
        let (idle, is_idle) = oneshot::channel();
        self.shared.workshop.send(Job::Idle(idle));
        // The thread ends before its manager only by a panic, which was reported.
        let _ = is_idle.await;
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
        self.start(spec, Vec::new(), None).await
    }

    /// Starts a process with which nothing but its life is shared, and which uses
    /// [`child`](crate::child) to tell of that: waits until it has told that it is ready.
    ///
    /// # Errors
    /// [`ProcessError`]; no process is left then.
    ///
    /// # Panics
    /// If called outside a tokio runtime with I/O and time enabled.
    pub async fn spawn_ready(&self, spec: CommandSpec) -> Result<NodeProcess, ProcessError> {
        let backend = SubprocessIpcBackend::<()>::start(self, spec, BackendOptions::new()).await?;
        backend.ready().await?;
        let process = backend.process().expect("it was started here").clone();
        // The child sees the end of its connections as the word to end, so they stay.
        process.core().keep(backend.into_wires());
        Ok(process)
    }

    /// Ends every process of a session within `grace`, all of them together, and waits for their
    /// ends, which come with the processes' numbers; see [`NodeProcess::terminate`]. One that is
    /// still being started is not among them.
    pub async fn terminate_session(
        &self,
        session_id: &str,
        grace: Duration,
    ) -> Vec<(u32, ExitStatus)> {
        let members = self.living(|core| core.spec.session_id == session_id);
        self.terminate_all_of(members, grace).await
    }

    /// Ends every process within `grace`, all of them together, and waits for their ends.
    pub async fn terminate_all(&self, grace: Duration) -> Vec<(u32, ExitStatus)> {
        let all = self.living(|_| true);
        self.terminate_all_of(all, grace).await
    }

    async fn terminate_all_of(
        &self,
        members: Vec<Arc<Core>>,
        grace: Duration,
    ) -> Vec<(u32, ExitStatus)> {
        for core in &members {
            // Refused only where the process has ended.
            let _ = core.event(Event::Stop { grace });
        }
        let mut ends = Vec::with_capacity(members.len());
        for core in members {
            ends.push((core.pid(), core.exited().await));
        }
        ends
    }

    fn living(&self, wanted: impl Fn(&Core) -> bool) -> Vec<Arc<Core>> {
        let entries = |table: &Table| {
            let living = table.entries.values().filter_map(|entry| match entry {
                Entry::Living(core) => core.upgrade(),
                Entry::Ended(_) => None,
            });
            living.collect::<Vec<_>>()
        };
        let mut living = entries(&self.shared.table());
        living.retain(|core| wanted(core));
        living
    }

    pub(crate) fn find(&self, pid: u32) -> Result<Found, ProcessError> {
        match self.shared.table().entries.get(&pid) {
            Some(Entry::Ended(exit)) => Ok(Found::Ended(exit.clone())),
            Some(Entry::Living(core)) => match core.upgrade() {
                Some(core) => Ok(Found::Living(core)),
                None => Err(ProcessError::NoSuchProcess { pid }),
            },
            None => Err(ProcessError::NoSuchProcess { pid }),
        }
    }

    pub(crate) fn note_start(&self, pid: u32, core: &Arc<Core>) {
        let mut table = self.shared.table();
        // The end may have been noted meanwhile.
        if core.exit_status().is_none() {
            table.entries.insert(pid, Entry::Living(Arc::downgrade(core)));
        }
    }

    pub(crate) fn note_exit(&self, pid: u32, core: &Core, exit: &ExitStatus) {
        let mut table = self.shared.table();
        // The number is free since the process was reaped, and may be another's by now.
        let is_taken = match table.entries.get(&pid) {
            Some(Entry::Living(other)) => !std::ptr::eq(other.as_ptr(), core),
            Some(Entry::Ended(_)) | None => false,
        };
        if !is_taken {
            table.entries.insert(pid, Entry::Ended(exit.clone()));
        }
    }

    /// Has what is left of a process removed in the background.
    pub(crate) fn bury(&self, remains: Remains) {
        self.shared.workshop.send(Job::Bury(remains));
    }

    fn take_slot(&self, spec: &CommandSpec) -> Result<Slot, ProcessError> {
        let options = &self.shared.options;
        let mut table = self.shared.table();
        let in_session = table.counts.get(&spec.session_id).copied().unwrap_or(0);
        for (count, max, limit) in [
            (in_session, options.max_processes_per_session, Limit::SessionProcesses),
            (table.count, options.max_processes, Limit::Processes),
        ] {
            if let Some(max) = max.filter(|max| count >= *max) {
                return Err(ProcessError::ResourceLimit {
                    program: spec.display(),
                    limit,
                    detail: match limit {
                        Limit::SessionProcesses => {
                            format!("session {:?} may have {max}", spec.session_id)
                        }
                        _ => format!("this runtime may have {max}"),
                    },
                });
            }
        }
        table.count += 1;
        *table.counts.entry(spec.session_id.clone()).or_default() += 1;
        Ok(Slot { shared: Arc::downgrade(&self.shared), session: spec.session_id.clone() })
    }

    pub(crate) async fn start(
        &self,
        spec: CommandSpec,
        descriptors: Vec<OwnedFd>,
        control: Option<(String, StatusPage)>,
    ) -> Result<NodeProcess, ProcessError> {
        spec.check()?;
        let limits = spec.limits.prepare()?;
        let slot = self.take_slot(&spec)?;
        let program = spec.program.to_string_lossy().into_owned();
        let failed = |error: io::Error| ProcessError::from_spawn(&program, &error);
        let (announcement, page) = control.unzip();
        // Dropped after the answer and whatever comes with it.
        let _rest = Rest(self);
        let (reply, answer) = oneshot::channel();
        let job = Job::Start {
            spec: Box::new(spec.clone()),
            announcement,
            legacy: Legacy { descriptors, limits },
            reply,
        };
        self.shared.workshop.send(job);
        let started = answer.await.unwrap_or_else(|_| {
            Err(io::Error::other("the thread that starts processes has ended"))
        });
        let Started { leader, unenforced } = started.map_err(failed)?;
        for missing in &unenforced {
            tracing::warn!(node = %spec.label, "{missing}");
        }
        let watched = Watched { spec, page, unenforced, slot, manager: self.clone() };
        NodeProcess::watch(leader, watched).map_err(failed)
    }
}

/// Has what the runtime keeps outside of its process removed if, after a start that failed or was
/// given up, it keeps it for nobody.
struct Rest<'a>(&'a ProcessManager);

impl Drop for Rest<'_> {
    fn drop(&mut self) {
        self.0.bury(Remains::default());
    }
}
