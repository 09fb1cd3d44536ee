//! Who the processes on a channel are, and which part each has.
//!
//! Main types: [`Identity`], which tells a process from any other that gets its number later, and
//! [`ProcessChannelBinding`], a process's part in a channel.

use std::time::{Duration, SystemTime};

use rm_core::ChannelId;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

/// Bits of a process id on 64-bit Linux, where it is at most 2^22.
const PID_BITS: u32 = 22;

/// What a process does on a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChannelRole {
    /// It writes to the channel.
    Publisher,
    /// It reads from the channel.
    Subscriber,
}

impl std::fmt::Display for ChannelRole {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Publisher => "publisher",
            Self::Subscriber => "subscriber",
        })
    }
}

/// One process's part in one channel. It ends with the port, and with the process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessChannelBinding {
    /// The operating system's number of the process.
    pub process_id: u32,
    /// Which channel.
    pub channel_id: ChannelId,
    /// What it does there.
    pub role: ChannelRole,
    /// When it joined.
    pub connected_at: SystemTime,
}

/// A process: its id, and when it started, in clock ticks since boot. Never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Identity(u64);

impl Identity {
    /// This process.
    pub(crate) fn own() -> Self {
        let pid = std::process::id();
        Self::new(pid, start_time(pid).unwrap_or_default())
    }

    fn new(pid: u32, started: u64) -> Self {
        // The last bit is left to those who store it.
        Self((u64::from(pid) | started << PID_BITS) & (u64::MAX >> 1))
    }

    /// What [`code`](Self::code) gave; `None` for zero.
    pub(crate) fn from_code(code: u64) -> Option<Self> {
        (code != 0).then_some(Self(code))
    }

    pub(crate) fn code(self) -> u64 {
        self.0
    }

    pub(crate) fn pid(self) -> u32 {
        (self.0 & ((1 << PID_BITS) - 1)) as u32
    }

    /// A descriptor that becomes readable when the process ends; `None` if it has ended.
    pub(crate) fn open(self) -> std::io::Result<Option<OwnedFd>> {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        let Some(pid) = pid else {
            return Ok(None);
        };
        let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
            // The number may be a thread's by now.
            Err(Errno::SRCH | Errno::NOENT | Errno::INVAL) => return Ok(None),
            opened => opened?,
        };
        // Looked at only now: while the descriptor is open, the number stands for one process.
        let started = start_time(self.pid());
        let is_other = started.is_some_and(|started| Self::new(self.pid(), started) != self);
        Ok((!is_other && !has_ended(&pidfd)).then_some(pidfd))
    }
}

fn has_ended(pidfd: &OwnedFd) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&now)).is_ok_and(|ended| ended > 0)
}

/// When a process started: field 22 of `/proc/PID/stat` (proc_pid_stat(5)).
fn start_time(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field, the command, is in parentheses and may hold anything.
    let after_command = &stat[stat.rfind(')')? + 1..];
    after_command.split_ascii_whitespace().nth(19)?.parse().ok()
}

pub(crate) fn to_ns(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

pub(crate) fn from_ns(ns: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_nanos(ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_living_process_is_told_from_one_that_had_its_number_before() {
        let own = Identity::own();
        assert_eq!(own.pid(), std::process::id());
        assert!(own.open().unwrap().is_some());
        let started = own.code() >> PID_BITS;
        assert!(started > 0);
        assert!(Identity::new(own.pid(), started - 1).open().unwrap().is_none());
    }

    #[test]
    fn a_process_that_has_ended_is_known_also_before_it_is_reaped() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        let started = start_time(pid).unwrap_or(1);
        let identity = Identity::new(pid, started);
        if let Some(pidfd) = identity.open().unwrap() {
            poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], None).unwrap();
        }
        assert!(identity.open().unwrap().is_none(), "a zombie");
        child.wait().unwrap();
        assert!(identity.open().unwrap().is_none(), "reaped");
    }
}
