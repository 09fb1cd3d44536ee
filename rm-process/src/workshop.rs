//! The thread on which processes are started, and what a runtime keeps for all of them.
//!
//! Main type: [`Workshop`]. The kernel's parent-death signal is bound to
//! the thread that starts a child, which is why there is one. It watches nobody.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use rustix::pipe::PipeFlags;
use tokio::sync::{oneshot, watch};

use crate::cgroup::{Cgroup, Cgroups};
use crate::command::CommandSpec;
use crate::identity::{RUNTIME_ENV, marker_of, name_of};
use crate::leader::{Leader, Output, Remains};
use crate::orphans;
use crate::record::{Record, RecordError};
use crate::sentinel::Sentinel;
use crate::supervision::memory_of;
use crate::sys::{self, Launch, Legacy};

/// What the thread is asked for.
#[derive(Debug)]
pub(crate) enum Job {
    /// To start a process.
    Start {
        spec: Box<CommandSpec>,
        /// What tells the child its control channel, if it has one.
        announcement: Option<String>,
        legacy: Legacy,
        reply: oneshot::Sender<io::Result<Started>>,
    },
    /// To remove what a process that is dead was in, and after the last one all that is left.
    Bury(Remains),
    /// To tell when no child is left that is not reaped and buried.
    Idle(oneshot::Sender<()>),
}

/// A process that was started.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) leader: Leader,
    /// What could not be had for it, in words.
    pub(crate) unenforced: Vec<String>,
}

/// The thread, from outside. Dropping this ends it and waits for that.
#[derive(Debug)]
pub(crate) struct Workshop {
    /// Taken when this is dropped.
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    /// The process that has the thread; a fork of it has not.
    process: u32,
    /// Its sender goes with the thread.
    ended: watch::Receiver<()>,
}

impl Workshop {
    /// Starts the thread.
    pub(crate) fn open() -> io::Result<Self> {
        let (jobs, received) = mpsc::channel();
        let (running, ended) = watch::channel(());
        let thread = std::thread::Builder::new().name("process-spawner".to_owned());
        let thread = thread.spawn(move || {
            let mut tools = Tools::default();
            for job in received {
                tools.take(job);
            }
            drop(tools);
            drop(running);
        })?;
        let process = std::process::id();
        Ok(Self { jobs: Some(jobs), thread: Some(thread), process, ended })
    }

    /// Asks for something.
    pub(crate) fn send(&self, job: Job) {
        let jobs = self.jobs.as_ref().expect("taken by the drop only");
        // Without its thread, which only a panic can end, nothing is started or removed any more.
        let _ = jobs.send(job);
    }

    /// Waits until the thread has ended.
    pub(crate) fn ended(&self) -> impl Future<Output = ()> + use<> {
        let mut ended = self.ended.clone();
        // Nothing is ever sent, so an answer means that the sender is gone.
        async move { drop(ended.changed().await) }
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take()
            && self.process == std::process::id()
        {
            // Its panic was reported where it happened.
            let _ = thread.join();
        }
    }
}

/// What a runtime has outside of its own process, as long as it has children.
#[derive(Default)]
struct Tools {
    sentinel: Option<Sentinel>,
    cgroups: Option<Cgroups>,
    record: Option<Record>,
    /// Held by each child that is not reaped and buried.
    tenancy: Arc<()>,
    /// Who waits until nobody holds that.
    waiting: Vec<oneshot::Sender<()>>,
    /// Processes started, by which their cgroups are named.
    count: u64,
    /// Whether a child was started whose descendants no cgroup ends with it.
    has_strays: bool,
}

impl Drop for Tools {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Tools {
    fn take(&mut self, job: Job) {
        match job {
            Job::Start { spec, announcement, legacy, reply } => {
                let started = self.start(&spec, announcement, legacy);
                // If nobody waits any longer, the leader comes back and is killed by its drop.
                drop(reply.send(started));
            }
            Job::Bury(Remains { cgroup, tenancy }) => {
                if let Some(cgroup) = cgroup {
                    // Who is alive in it all the same is left to the sweep.
                    drop(cgroup.remove());
                }
                drop(tenancy);
                if self.is_idle() {
                    self.clear();
                    // Who waited may be gone.
                    for waiting in self.waiting.drain(..) {
                        let _ = waiting.send(());
                    }
                }
            }
            Job::Idle(waiting) => {
                if self.is_idle() {
                    let _ = waiting.send(());
                } else {
                    self.waiting.push(waiting);
                }
            }
        }
    }

    fn is_idle(&self) -> bool {
        Arc::strong_count(&self.tenancy) == 1
    }

    /// Removes all of it, the record last: it says that there may be something to remove.
    fn clear(&mut self) {
        self.end_strays();
        self.sentinel = None;
        let folders = self.cgroups.take().map(|cgroups| cgroups.folders());
        let is_left = folders.is_some_and(|folders| folders.iter().any(|folder| folder.exists()));
        match self.record.take() {
            // Stays locked as long as this process lives, and leads a sweep there after that.
            Some(record) if is_left => std::mem::forget(record),
            record => drop(record),
        }
    }

    /// Ends what children have left outside of their groups, by the mark in their environment. When
    /// the record is gone, nobody will look for it.
    fn end_strays(&mut self) {
        if !std::mem::take(&mut self.has_strays) {
            return;
        }
        let Some(record) = &self.record else { return };
        if let Err(error) = orphans::kill_marked(record.id()) {
            tracing::warn!(%error, "cannot look for what children have left");
        }
    }

    fn start(
        &mut self,
        spec: &CommandSpec,
        announcement: Option<String>,
        mut legacy: Legacy,
    ) -> io::Result<Started> {
        self.furnish();
        let mut unenforced = Vec::new();
        self.count += 1;
        let cgroup = self.cgroup(spec, &mut unenforced);
        // A program that knows nothing of its parent may start others as soon as it runs.
        if announcement.is_none() {
            self.watch_over(cgroup.as_ref());
        }
        // This process may be a descendant of another runtime; then so is its child.
        let outer = std::env::var_os(RUNTIME_ENV);
        let marker = self.record.as_ref().map(|record| marker_of(record.id(), outer.as_deref()));
        let folder = cgroup.as_ref().and_then(Cgroup::kill_folder);
        self.has_strays |= folder.is_none();
        let program = spec.to_program(announcement.as_deref(), marker.as_deref(), folder)?;
        let mut birthplace = None;
        if let Some(cgroup) = &cgroup {
            birthplace = cgroup.birthplace()?;
            cgroup.tasks()?.into_iter().for_each(|tasks| legacy.limits.enter(tasks));
        }
        let input = sys::apart(OpenOptions::new().read(true).open("/dev/null")?.into())?;
        let (stdout, child_stdout) = pipe()?;
        let (stderr, child_stderr) = pipe()?;
        let forked_from = memory_of("self").map_or(0, |memory| memory.peak);
        let child = sys::launch(&Launch {
            program: &program,
            streams: [input.as_fd(), child_stdout.as_fd(), child_stderr.as_fd()],
            legacy: &legacy,
            dies_with_parent: true,
            birthplace: birthplace.as_ref(),
        })?;
        let output = Output { stdout, stderr };
        let leader = Leader::new(child, output, cgroup, forked_from, Arc::clone(&self.tenancy));
        Ok(Started { leader, unenforced })
    }

    /// Removes what killed runtimes have left, and makes what this one has outside of its process.
    /// Without that processes can be started too; what then outlives a killed runtime is not found.
    fn furnish(&mut self) {
        if self.record.is_some() {
            return;
        }
        match orphans::sweep() {
            Ok(swept) if swept.runtimes.is_empty() => {}
            Ok(swept) => tracing::info!(?swept, "removed what killed runtimes left"),
            Err(error) => tracing::warn!(%error, "cannot look for what killed runtimes left"),
        }
        let furnish = || -> Result<(Record, Cgroups), RecordError> {
            let mut record = Record::create()?;
            let cgroups = Cgroups::new(&name_of(record.id()));
            for folder in cgroups.folders() {
                record.add_cgroup(&folder)?;
            }
            Ok((record, cgroups))
        };
        match furnish() {
            Ok((record, cgroups)) => {
                self.record = Some(record);
                self.cgroups = Some(cgroups);
            }
            Err(error) => {
                tracing::warn!(%error, "what outlives this process if it is killed will not be found");
            }
        }
    }

    /// The cgroup of a child.
    fn cgroup(&self, spec: &CommandSpec, unenforced: &mut Vec<String>) -> Option<Cgroup> {
        let max_memory = spec.limits.max_memory;
        let held_alone = "max_memory holds each process by itself, not its descendants with it";
        let Some(cgroups) = &self.cgroups else {
            if max_memory.is_some() {
                unenforced.push(held_alone.to_owned());
            }
            return None;
        };
        let cgroup = cgroups.create(&self.count.to_string(), max_memory);
        if let Some(reason) = cgroup.why_not_held() {
            unenforced.push(format!("{held_alone}: {reason}"));
        }
        if let Some(reason) = cgroup.why_no_tree() {
            tracing::debug!(node = %spec.label, %reason, "descendants are killed by their group only");
        }
        Some(cgroup)
    }

    /// Sees to it that the descendants of a program that knows nothing of its parent end with this
    /// process. Where that cannot be, they are left to the next sweep.
    fn watch_over(&mut self, cgroup: Option<&Cgroup>) {
        let Some(folder) = cgroup.and_then(Cgroup::kill_folder).and_then(Path::parent) else {
            return;
        };
        if !self.sentinel.as_ref().is_some_and(Sentinel::is_alive) {
            match Sentinel::start(folder) {
                Ok(sentinel) => self.sentinel = Some(sentinel),
                Err(error) => tracing::debug!(%error, "no sentinel"),
            }
        }
    }
}

/// A pipe of which a child gets the writing end.
fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    Ok((reader, sys::apart(writer)?))
}
