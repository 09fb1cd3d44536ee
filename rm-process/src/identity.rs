//! Who a runtime is: the id that its descendants carry, and the process that owns it.
//!
//! Main types: [`RuntimeId`] and [`Owner`]. They say what `/proc` says; what follows from it is
//! decided elsewhere.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;

use rm_core::RuntimeId;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

/// The variable by which every descendant of a runtime is known: the ids of the runtimes that it
/// lives under, outermost first, separated by commas.
pub const RUNTIME_ENV: &str = "REMOTEMEDIA_RUNTIME";

/// The kernel allows arguments and environment three quarters of 8 MiB together.
const LONGEST_ENVIRONMENT: usize = 6 << 20;

/// How often to look again at a process that shows no environment: it has none, or is at its exec,
/// where it shows none for some 100 µs.
const EXEC_TRIES: u32 = 50;

/// The id of a new runtime.
///
/// # Errors
/// The operating system's error if it has no random number to give.
pub(crate) fn random_id() -> Result<RuntimeId, getrandom::Error> {
    getrandom::u64().map(RuntimeId::new)
}

/// What things of a runtime that have a name of their own, such as cgroups, are called.
pub(crate) fn name_of(id: RuntimeId) -> String {
    format!("remotemedia-{id}")
}

/// The value of [`RUNTIME_ENV`] for the children of a runtime. `outer` is the value that this process
/// has itself, which may be the child of another runtime.
pub(crate) fn marker_of(id: RuntimeId, outer: Option<&OsStr>) -> String {
    let outer = outer.map(|outer| listed_ids(outer.as_bytes())).unwrap_or_default();
    let ids: Vec<_> = outer.into_iter().chain([id]).map(String::from).collect();
    ids.join(",")
}

/// The ids in a value of [`RUNTIME_ENV`]; what is none is passed over.
fn listed_ids(value: &[u8]) -> Vec<RuntimeId> {
    let words = value.split(|&byte| byte == b',');
    words.filter_map(|word| std::str::from_utf8(word).ok()?.parse().ok()).collect()
}

/// The runtimes that a process was started under, as far as its environment shows.
///
/// `/proc/PID/environ` is the environment that the process got from exec, whatever it has done to
/// its variables since. It is empty for a zombie and for what the caller may not look into. A
/// program that writes its title over its environment has none either.
///
/// # Errors
/// The operating system's error for anything else than a process that is gone or not the caller's.
pub fn runtimes_of(pid: u32) -> io::Result<Vec<RuntimeId>> {
    let mut environment = read_environment(pid)?;
    for _ in 0..EXEC_TRIES {
        // Without a program it is a zombie, or part of the kernel.
        if !environment.is_empty() || fs::read_link(format!("/proc/{pid}/exe")).is_err() {
            break;
        }
        std::thread::yield_now();
        environment = read_environment(pid)?;
    }
    let variables = environment.split(|&byte| byte == 0);
    let values = variables
        .filter_map(|variable| variable.strip_prefix(RUNTIME_ENV.as_bytes())?.strip_prefix(b"="));
    Ok(values.flat_map(listed_ids).collect())
}

/// Reads it by a single call: an exec between two would cut it short.
fn read_environment(pid: u32) -> io::Result<Vec<u8>> {
    let mut len = 1 << 16;
    loop {
        let mut environment = vec![0; len];
        let read = File::open(format!("/proc/{pid}/environ"))
            .and_then(|mut file| file.read(&mut environment));
        match read {
            Ok(read) if read == len && len < LONGEST_ENVIRONMENT => len = LONGEST_ENVIRONMENT,
            Ok(read) => {
                environment.truncate(read);
                return Ok(environment);
            }
            Err(error) if is_gone(&error) || error.kind() == ErrorKind::PermissionDenied => {
                return Ok(Vec::new());
            }
            Err(error) => return Err(error),
        }
    }
}

/// Whether an error about a file in `/proc` means that its process is no more.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == ErrorKind::NotFound || Errno::from_io_error(error) == Some(Errno::SRCH)
}

/// What this module needs of `/proc/PID/stat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessStat {
    /// The pid of its parent; 0 for none that can be seen from here.
    pub parent: u32,
    /// When it was started, in clock ticks since the machine was.
    pub start_ticks: u64,
    /// Whether it still runs: a zombie does not.
    pub runs: bool,
}

impl ProcessStat {
    /// The process with this pid; `None` if there is none.
    ///
    /// # Errors
    /// The operating system's error, or [`ErrorKind::InvalidData`].
    pub fn of(pid: u32) -> io::Result<Option<Self>> {
        let path = format!("/proc/{pid}/stat");
        match fs::read(&path) {
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error),
            Ok(line) => match Self::parse(&String::from_utf8_lossy(&line)) {
                None => Err(io::Error::new(ErrorKind::InvalidData, format!("{path} is malformed"))),
                stat => Ok(stat),
            },
        }
    }

    fn parse(line: &str) -> Option<Self> {
        // The second field is the program's name in parentheses, which may hold anything.
        let mut fields = line.rsplit_once(')')?.1.split_ascii_whitespace();
        let state = fields.next()?;
        let parent = fields.next()?.parse().ok()?;
        // Field 22 of proc_pid_stat(5), counted from 1; two after the name are taken.
        let start_ticks = fields.nth(22 - 5)?.parse().ok()?;
        Some(Self { parent, start_ticks, runs: !matches!(state, "Z" | "X" | "x") })
    }
}

/// A process that cannot be mistaken for another with the same pid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Its pid.
    pub pid: u32,
    /// When it was started, in clock ticks since the machine was.
    pub start_ticks: u64,
    /// Which start of the machine that was.
    pub boot_id: String,
}

impl Owner {
    /// The calling process.
    ///
    /// # Errors
    /// The operating system's error if `/proc` cannot be read.
    pub fn this_process() -> io::Result<Self> {
        let pid = std::process::id();
        let stat = ProcessStat::of(pid)?.ok_or(Errno::SRCH)?;
        Ok(Self { pid, start_ticks: stat.start_ticks, boot_id: boot_id()? })
    }

    /// Whether the process still runs. A zombie does not.
    ///
    /// # Errors
    /// The operating system's error if `/proc` cannot be read.
    pub fn is_alive(&self) -> io::Result<bool> {
        if boot_id()? != self.boot_id {
            return Ok(false);
        }
        let found = ProcessStat::of(self.pid)?;
        Ok(found.is_some_and(|found| found.runs && found.start_ticks == self.start_ticks))
    }
}

/// A number that the kernel draws when the machine starts.
fn boot_id() -> io::Result<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(id.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_written_and_nothing_else_is_one() {
        let id = random_id().unwrap();
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(name_of(id), format!("remotemedia-{id}"));
        for bad in ["", "0", "+123456789abcdef", "0123456789ABCDEF", "0123456789abcdef0", "../x"] {
            let error = bad.parse::<RuntimeId>().unwrap_err();
            assert!(error.to_string().contains("16 hexadecimal digits"), "{bad}: {error}");
        }
    }

    #[test]
    fn a_marker_lists_outer_runtimes_first_and_passes_over_what_is_none() {
        let (outer, inner) = (RuntimeId::new(1), RuntimeId::new(0xabc));
        let alone = marker_of(outer, None);
        assert_eq!(alone, "0000000000000001");
        let nested = marker_of(inner, Some(OsStr::new(&format!("junk,,{alone}"))));
        assert_eq!(nested, "0000000000000001,0000000000000abc");
        assert_eq!(listed_ids(nested.as_bytes()), [outer, inner]);
    }

    #[test]
    fn the_start_time_is_found_whatever_the_program_is_called() {
        let line = "7 (a) R 1 (b) S 4 7 7 0 -1 1 2 3 4 5 6 7 8 9 20 0 1 0 4711 1000 2";
        let expected = ProcessStat { parent: 4, start_ticks: 4711, runs: true };
        assert_eq!(ProcessStat::parse(line), Some(expected));
        let zombie = line.replace(" S ", " Z ");
        assert_eq!(ProcessStat::parse(&zombie), Some(ProcessStat { runs: false, ..expected }));
        for bad in ["", "7 (sh", "7 (sh) S", "7 (sh) S 4 7 7"] {
            assert_eq!(ProcessStat::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_process_is_alive_until_it_ends_reaped_or_not_and_is_no_other() {
        let own = Owner::this_process().unwrap();
        assert!(own.is_alive().unwrap());
        let later = Owner { start_ticks: own.start_ticks + 1, ..own.clone() };
        assert!(!later.is_alive().unwrap());
        let before_restart = Owner { boot_id: "another".to_owned(), ..own.clone() };
        assert!(!before_restart.is_alive().unwrap());

        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let stat = ProcessStat::of(child.id()).unwrap().unwrap();
        let owner = Owner { pid: child.id(), start_ticks: stat.start_ticks, ..own };
        assert!(owner.is_alive().unwrap() && stat.parent == std::process::id());
        drop(child.stdin.take());
        // Waits without reaping.
        let wait = rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT;
        let id = rustix::process::WaitId::Pid(rustix::process::Pid::from_child(&child));
        rustix::process::waitid(id, wait).unwrap();
        assert!(!owner.is_alive().unwrap());
        child.wait().unwrap();
        assert!(!owner.is_alive().unwrap());
        assert_eq!(runtimes_of(owner.pid).unwrap(), []);
    }
}
