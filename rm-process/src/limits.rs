//! What a child may use of this machine.
//!
//! Main type: [`Limits`]. [`Limits::prepare`] asks in the parent whether this machine can enforce
//! them; [`Prepared::apply`] puts them on the child between fork and exec. The limit of a whole
//! tree of processes is a cgroup's, which a [`Prepared`] only enters.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, CpuSet};
use serde::{Deserialize, Serialize};

/// The fewest open files with which a program still starts: its standard streams, the shared
/// libraries that the loader opens one after the other, and a few of its own.
const LEAST_OPEN_FILES: u64 = 16;

/// What a child may use. Nothing is limited at first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes of memory, at least a page. Each process of the tree is held to it by its data
    /// segment (`RLIMIT_DATA`: heap and private writable mappings, touched or not); the tree as a
    /// whole by a cgroup, where the process may make one.
    pub max_memory: Option<u64>,
    /// The CPUs it may run on, by number from 0; not empty.
    pub cpus: Option<BTreeSet<usize>>,
    /// How willingly it gives way to others: -20 (least) to 19 (most). Below this process's own
    /// niceness only with `CAP_SYS_NICE` or within `RLIMIT_NICE`.
    pub niceness: Option<i32>,
    /// How many descriptors each process of the tree may have open, at least 16.
    pub open_files: Option<u64>,
}

/// A limit that can be exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Limit {
    /// Bytes of memory.
    Memory,
    /// Open descriptors of a process.
    OpenFiles,
    /// Processes of the runtime or of the user.
    Processes,
    /// Processes of one session.
    SessionProcesses,
    /// Seconds of CPU time.
    CpuTime,
    /// Bytes of a file.
    FileSize,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "memory",
            Self::OpenFiles => "the number of open files",
            Self::Processes => "the number of processes",
            Self::SessionProcesses => "the number of processes of a session",
            Self::CpuTime => "CPU time",
            Self::FileSize => "the size of a file",
        })
    }
}

/// A limit that this machine cannot enforce.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LimitError {
    /// No process fits into so little memory.
    #[error(
        "max_memory of {asked} bytes is too little: it must be at least a page of {least} bytes"
    )]
    MemoryTooLittle {
        /// The bytes asked for.
        asked: u64,
        /// The fewest possible.
        least: u64,
    },
    /// This process may not raise its own hard limit.
    #[error(
        "max_memory of {asked} bytes is above the hard limit on the data segment, \
         which is {most} bytes here"
    )]
    MemoryTooMuch {
        /// The bytes asked for.
        asked: u64,
        /// The most possible.
        most: u64,
    },
    /// A process needs somewhere to run.
    #[error("cpus is empty: it must name at least one of the CPUs {}", Cpus(allowed))]
    NoCpus {
        /// The CPUs that this process may use.
        allowed: BTreeSet<usize>,
    },
    /// The CPU does not exist, or this process may not use it.
    #[error("CPU {asked} is not one that this process may use: those are {}", Cpus(allowed))]
    Cpu {
        /// The CPU asked for.
        asked: usize,
        /// The CPUs that this process may use.
        allowed: BTreeSet<usize>,
    },
    /// The kernel did not say which CPUs there are.
    #[error("cannot tell which CPUs this process may use")]
    UnknownCpus(#[source] io::Error),
    /// There is no such niceness.
    #[error("niceness {asked} does not exist: it must be from -20 to 19")]
    Niceness {
        /// The niceness asked for.
        asked: i32,
    },
    /// Only the privileged may take from others.
    #[error(
        "niceness {asked} needs CAP_SYS_NICE or a higher RLIMIT_NICE: \
         the lowest that this process may give is {lowest}"
    )]
    NicenessRight {
        /// The niceness asked for.
        asked: i32,
        /// The lowest possible.
        lowest: i32,
    },
    /// The kernel did not say how nice this process is.
    #[error("cannot tell the niceness of this process")]
    UnknownNiceness(#[source] io::Error),
    /// No program starts with so few.
    #[error("open_files of {asked} is too few: a program needs at least {least} to start")]
    OpenFilesTooFew {
        /// The number asked for.
        asked: u64,
        /// The fewest possible.
        least: u64,
    },
    /// This process may not raise its own hard limit.
    #[error("open_files of {asked} is above the hard limit, which is {most} here")]
    OpenFilesTooMany {
        /// The number asked for.
        asked: u64,
        /// The most possible.
        most: u64,
    },
}

/// CPUs as the kernel lists them: `0-3,8`.
struct Cpus<'a>(&'a BTreeSet<usize>);

impl fmt::Display for Cpus<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut cpus = self.0.iter().copied().peekable();
        let mut comma = "";
        while let Some(first) = cpus.next() {
            let mut last = first;
            while let Some(next) = cpus.next_if_eq(&(last + 1)) {
                last = next;
            }
            write!(f, "{comma}{first}")?;
            if last > first {
                write!(f, "-{last}")?;
            }
            comma = ",";
        }
        Ok(())
    }
}

impl Limits {
    /// What is put on a child before its program begins, if this machine can enforce all of it.
    ///
    /// Rights and CPUs are those of this process's main thread.
    ///
    /// # Errors
    /// [`LimitError`], which names the limit, what was asked and what is possible.
    pub fn prepare(&self) -> Result<Prepared, LimitError> {
        self.check_memory()?;
        self.check_niceness()?;
        self.check_open_files()?;
        Ok(Prepared {
            data: self.max_memory.map(both),
            open_files: self.open_files.map(both),
            cpus: self.cpus.as_ref().map(cpu_set).transpose()?,
            niceness: self.niceness,
            procs: Vec::new(),
        })
    }

    fn check_memory(&self) -> Result<(), LimitError> {
        let Some(asked) = self.max_memory else { return Ok(()) };
        let least = rustix::param::page_size() as u64;
        if asked < least {
            return Err(LimitError::MemoryTooLittle { asked, least });
        }
        match getrlimit(Resource::Data).maximum {
            Some(most) if asked > most && !has_right(CapabilitySet::SYS_RESOURCE) => {
                Err(LimitError::MemoryTooMuch { asked, most })
            }
            _ => Ok(()),
        }
    }

    fn check_niceness(&self) -> Result<(), LimitError> {
        let Some(asked) = self.niceness else { return Ok(()) };
        if !(-20..=19).contains(&asked) {
            return Err(LimitError::Niceness { asked });
        }
        let process = Some(rustix::process::getpid());
        let current = rustix::process::getpriority_process(process)
            .map_err(|error| LimitError::UnknownNiceness(error.into()))?;
        let lowest = lowest_niceness(current, getrlimit(Resource::Nice).current);
        if asked < lowest && !has_right(CapabilitySet::SYS_NICE) {
            return Err(LimitError::NicenessRight { asked, lowest });
        }
        Ok(())
    }

    fn check_open_files(&self) -> Result<(), LimitError> {
        let Some(asked) = self.open_files else { return Ok(()) };
        if asked < LEAST_OPEN_FILES {
            return Err(LimitError::OpenFilesTooFew { asked, least: LEAST_OPEN_FILES });
        }
        let hard = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
        // The privileged may go beyond the hard limit, but nobody beyond `fs.nr_open`.
        let most = if has_right(CapabilitySet::SYS_RESOURCE) {
            hard.max(most_open_files().unwrap_or(hard))
        } else {
            hard
        };
        if asked > most {
            return Err(LimitError::OpenFilesTooMany { asked, most });
        }
        Ok(())
    }
}

/// The lowest niceness that needs no right, after getrlimit(2): `RLIMIT_NICE` of n allows 20 - n.
fn lowest_niceness(current: i32, limit: Option<u64>) -> i32 {
    let limit = limit.map_or(40, |limit| limit.min(40)) as i32;
    current.min(20 - limit)
}

fn most_open_files() -> Option<u64> {
    std::fs::read_to_string("/proc/sys/fs/nr_open").ok()?.trim().parse().ok()
}

/// Whether the main thread has a right in effect, and has it over the machine: the rights of a
/// root in a user namespace of its own do not reach limits and priorities.
fn has_right(right: CapabilitySet) -> bool {
    let process = Some(rustix::process::getpid());
    let effective = rustix::thread::capabilities(process).map(|sets| sets.effective);
    let users = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    effective.is_ok_and(|effective| effective.contains(right))
        && users.split_whitespace().eq(["0", "0", "4294967295"])
}

fn cpu_set(asked: &BTreeSet<usize>) -> Result<CpuSet, LimitError> {
    let process = Some(rustix::process::getpid());
    let mask = rustix::thread::sched_getaffinity(process)
        .map_err(|error| LimitError::UnknownCpus(error.into()))?;
    let allowed: BTreeSet<usize> = (0..CpuSet::MAX_CPU).filter(|&cpu| mask.is_set(cpu)).collect();
    if asked.is_empty() {
        return Err(LimitError::NoCpus { allowed });
    }
    let mut set = CpuSet::new();
    for &cpu in asked {
        if !allowed.contains(&cpu) {
            return Err(LimitError::Cpu { asked: cpu, allowed });
        }
        set.set(cpu);
    }
    Ok(set)
}

/// Soft and hard limit at once, so that the child cannot raise it again.
fn both(limit: u64) -> Rlimit {
    Rlimit { current: Some(limit), maximum: Some(limit) }
}

/// Limits that this machine can enforce, and cgroups to enter, ready for one child.
#[derive(Debug, Default)]
pub struct Prepared {
    data: Option<Rlimit>,
    open_files: Option<Rlimit>,
    cpus: Option<CpuSet>,
    niceness: Option<i32>,
    procs: Vec<OwnedFd>,
}

impl Prepared {
    /// Has the child enter one more cgroup. `procs` is that cgroup's `cgroup.procs` or `tasks`, open
    /// for writing, close-on-exec and above the standard streams, which the child replaces.
    pub fn enter(&mut self, procs: OwnedFd) {
        self.procs.push(procs);
    }

    /// Puts the limits on the calling process, and has it enter the cgroups.
    ///
    /// Meant for the child between fork and exec: it makes plain system calls, allocates nothing,
    /// takes no lock and does not panic.
    ///
    /// # Errors
    /// What the kernel says; some limits may be in effect then.
    pub fn apply(&self) -> io::Result<()> {
        for procs in &self.procs {
            // "0" is whoever writes it.
            rustix::io::write(procs, b"0")?;
        }
        if let Some(cpus) = &self.cpus {
            rustix::thread::sched_setaffinity(None, cpus)?;
        }
        if let Some(niceness) = self.niceness {
            rustix::process::setpriority_process(None, niceness)?;
        }
        if let Some(limit) = self.open_files {
            setrlimit(Resource::Nofile, limit)?;
        }
        if let Some(limit) = self.data {
            setrlimit(Resource::Data, limit)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
