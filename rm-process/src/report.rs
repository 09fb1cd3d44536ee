//! What is known about a process that failed.
//!
//! Main type: [`FailureReport`]. It is a plain record, made by
//! [`NodeProcess::failure_report`](crate::NodeProcess::failure_report). Why a process ended is
//! decided in `verdict`, what Python said is read in `diagnosis`.

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::diagnosis::{Diagnosis, FatalError, Origin, PythonException, diagnose};
use crate::error::Tail;
use crate::exit::ExitStatus;
use crate::leader::Reaped;
use crate::page::{self, ItemInWork};
use crate::protocol::Progress;
use crate::status::ProcessStatus;
use crate::supervision::{Core, memory_of};
use crate::verdict::{Evidence, Verdict};

/// What is known about a process that failed. Its `Display` is for a person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FailureReport {
    /// What the process is called, such as a node's id.
    pub label: String,
    /// The type of the node that it runs; may be empty.
    pub node_type: String,
    /// The session that it belongs to; may be empty.
    pub session_id: String,
    /// Its command line.
    pub command: String,
    /// The operating system's number of it.
    pub pid: u32,
    /// Where it was in its life.
    pub status: ProcessStatus,
    /// The deadline that it missed and was ended for, in words.
    pub deadline: Option<String>,
    /// The last that it told of its loading.
    pub last_progress: Option<Progress>,
    /// How it ended, and for which reason, if it has ended.
    pub exit: Option<ExitStatus>,
    /// How long it ran.
    pub uptime: Duration,
    /// What was found out at its end.
    #[serde(flatten)]
    pub end: End,
    /// The last 64 KiB of what it wrote to stdout.
    pub stdout_tail: String,
    /// The last 64 KiB of what it wrote to stderr.
    pub stderr_tail: String,
}

/// The most memory that a process had in RAM at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PeakMemory {
    /// How much, in bytes.
    pub bytes: u64,
    /// Whether it may have been less: the operating system counts in what this process had itself
    /// when it forked the child, so a smaller peak of the child's is not seen.
    pub is_bound: bool,
}

/// What is found out about a process at its end.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct End {
    /// Whether the end may have come from a lack of memory, without proof of it.
    pub possibly_memory: bool,
    /// Most memory that it had in RAM at once.
    pub peak_memory: Option<PeakMemory>,
    /// Most memory that it and its descendants had together, in bytes, where a cgroup counted it.
    pub peak_tree_memory: Option<u64>,
    /// Processor time that it used in its program and in the kernel; `None` while it lives.
    pub cpu_time: Option<Duration>,
    /// The item that it worked on, where it keeps a status page.
    pub item: Option<ItemInWork>,
    /// The Python exception that ended it.
    pub exception: Option<PythonException>,
    /// What Python's fault handler printed: the stacks of all threads.
    pub fatal: Option<FatalError>,
    /// What C++ or Rust code printed last before it aborted the process.
    pub abort: Option<String>,
}

impl End {
    /// What can be known while the process lives.
    pub(crate) fn of_living(core: &Core) -> Self {
        let memory = memory_of(&core.pid().to_string());
        let peak_memory = memory.map(|memory| PeakMemory { bytes: memory.peak, is_bound: false });
        Self { item: item_of(core), peak_memory, ..Self::default() }
    }

    /// What can be known from what a process has left behind.
    pub(crate) fn explain(core: &Core, reaped: &Reaped) -> (ExitStatus, Self) {
        let stderr = core.stderr.tail();
        let mut said = diagnose(&stderr);
        let (exception, fatal) = (own_exception(&said, reaped), own_fault(&mut said, reaped));
        let Verdict { reason, possibly_memory } = {
            let lifecycle = core.lifecycle();
            Verdict::of(&Evidence {
                status: reaped.status,
                deadline_passed: lifecycle.passed().is_some(),
                was_told_to_end: lifecycle.status() == &ProcessStatus::Stopping,
                limits: &core.spec.limits,
                oom_kills: reaped.oom_kills,
                peak_memory: reaped.peak_memory,
                peak_tree_memory: reaped.tree_peak,
                said: &said,
                exception: exception.as_ref(),
            })
        };
        let usage = reaped.usage;
        let end = Self {
            possibly_memory,
            peak_memory: Some(reaped.peak_memory),
            peak_tree_memory: reaped.tree_peak,
            cpu_time: Some(usage.user_time + usage.system_time),
            item: item_of(core),
            exception,
            fatal,
            abort: said.abort,
        };
        (ExitStatus::from_wait(reaped.status, reason), end)
    }
}

/// The exception that ended the process. The interpreter ends with 1 after one that nobody caught; a
/// process that ends otherwise had handled it, unless the worker's loop said that it ends of it.
fn own_exception(said: &Diagnosis, reaped: &Reaped) -> Option<PythonException> {
    let ends_with_one = reaped.status.and_then(|status| status.code()) == Some(1);
    let is_own = |exception: &&PythonException| match exception.origin {
        Origin::Worker => true,
        Origin::Uncaught | Origin::Logged => ends_with_one,
        _ => false,
    };
    said.exception.as_ref().filter(is_own).cloned()
}

/// What the fault handler printed for the signal that ended the process, or for SIGABRT before it was
/// killed. Descendants print to the same stream, but seldom as the last thing.
fn own_fault(said: &mut Diagnosis, reaped: &Reaped) -> Option<FatalError> {
    let died_of_signal = reaped.status.is_some_and(|status| status.signal().is_some());
    said.fatal.take().filter(|fatal| fatal.ends_output || died_of_signal)
}

fn item_of(core: &Core) -> Option<ItemInWork> {
    core.page()?.item(page::monotonic())
}

impl FailureReport {
    /// The Python exception that ended the process, or else the stacks that its fault handler printed.
    pub fn traceback(&self) -> Option<String> {
        match (&self.end.exception, &self.end.fatal) {
            (Some(exception), _) => Some(exception.traceback.trim_end().to_owned()),
            (None, Some(fatal)) => Some(format!("{}\n{}", fatal.headline, fatal.stacks.trim_end())),
            (None, None) => None,
        }
    }

    /// The last output of which `traceback` is no part: what came before it, or what is in stdout
    /// where stderr has nothing.
    fn other_output(&self, traceback: Option<&str>) -> &str {
        let stderr = match traceback {
            None => &self.stderr_tail,
            Some(text) => {
                let first = text.lines().next().filter(|line| !line.is_empty());
                let at = first.and_then(|line| self.stderr_tail.rfind(line));
                at.map_or("", |at| &self.stderr_tail[..at])
            }
        };
        if stderr.trim().is_empty() { &self.stdout_tail } else { stderr }
    }
}

/// What happened comes first, on one line, then where, then what was printed, then figures. The
/// alternate form leaves out which process it is.
impl fmt::Display for FailureReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !f.alternate() {
            write!(f, "{} (pid {}) ", self.label, self.pid)?;
        }
        match &self.exit {
            Some(exit) => {
                write!(f, "{exit} after {:.1?}: {}", self.uptime, exit.reason)?;
                if self.end.possibly_memory {
                    f.write_str(", possibly memory")?;
                }
            }
            None => write!(f, "runs for {:.1?} and is {}", self.uptime, self.status)?,
        }
        if let Some(deadline) = &self.deadline {
            write!(f, "; {deadline}")?;
            if let Some(Progress { message, .. }) = &self.last_progress {
                write!(f, ", the last was {message:?}")?;
            }
        }
        if let Some(ItemInWork { item, for_time, .. }) = self.end.item {
            write!(f, "; item {item} was in work for {for_time:.1?}")?;
        }
        let traceback = self.traceback();
        if let Some(traceback) = &traceback {
            write!(f, "\n{traceback}")?;
        }
        write!(f, "{}", Tail(self.other_output(traceback.as_deref())))?;
        write!(f, "\npid {}", self.pid)?;
        if let Some(peak) = self.end.peak_memory {
            let at_most = if peak.is_bound { "at most " } else { "" };
            write!(f, "; peak memory {at_most}{}", Mebibytes(peak.bytes))?;
        }
        if let Some(peak) = self.end.peak_tree_memory {
            write!(f, ", with its descendants {}", Mebibytes(peak))?;
        }
        if let Some(time) = self.end.cpu_time {
            write!(f, "; processor time {time:.1?}")?;
        }
        write!(f, "; command: {}", self.command)
    }
}

struct Mebibytes(u64);

impl fmt::Display for Mebibytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // One decimal of a size is no matter of precision.
        write!(f, "{:.1} MiB", self.0 as f64 / f64::from(1 << 20))
    }
}
