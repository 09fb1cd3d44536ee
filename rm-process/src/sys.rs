//! The few things that Rust's type system cannot check: what runs between fork and exec, how a
//! child is waited for with its usage, and descriptors whose owner it does not see.
//!
//! Main functions: [`prepare`], [`wait`], [`awaitable`] and [`take_inherited`]. The crate's other
//! unsafe code is in `page`.

#![allow(unsafe_code, reason = "one of the two files of the crate that may hold unsafe code")]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use nix::libc;
use rustix::fs::FileType;
use rustix::io::{Errno, FdFlags};
use rustix::process::{Pid, Signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::limits::Prepared;

/// What a child keeps of its parent's, and what it is made to be before its program begins.
#[derive(Debug, Default)]
pub(crate) struct Legacy {
    /// Descriptors that it inherits beyond its standard streams.
    pub(crate) descriptors: Vec<OwnedFd>,
    /// The limits that it is held to.
    pub(crate) limits: Prepared,
}

/// Makes `command` start a child that inherits nothing but its standard streams and what `legacy`
/// names, and that the kernel kills when the thread that spawns it ends.
pub(crate) fn prepare(command: &mut Command, legacy: Legacy) {
    let parent = rustix::process::getpid();
    let between_fork_and_exec = move || before_exec(parent, &legacy);
    // SAFETY: after fork in a program with threads, only async-signal-safe functions may run.
    // `before_exec` makes plain system calls through rustix and `syscall`, and makes its errors
    // from error numbers: it takes no lock, allocates nothing and cannot panic. It uses what the
    // closure owns, which the fork copied.
    unsafe { command.pre_exec(between_fork_and_exec) };
}

/// Makes `command` start a process that inherits nothing but its standard streams, and outlives
/// whoever starts it.
pub(crate) fn prepare_apart(command: &mut Command) {
    // SAFETY: as in `prepare`; this makes one system call and may make an error of its number.
    unsafe { command.pre_exec(close_all_on_exec) };
}

fn before_exec(parent: Pid, legacy: &Legacy) -> io::Result<()> {
    close_all_on_exec()?;
    for kept in &legacy.descriptors {
        rustix::io::fcntl_setfd(kept, FdFlags::empty())?;
    }
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // A parent that died before the line above sends no signal. Its child then has a new parent.
    if rustix::process::getppid() != Some(parent) {
        return Err(Errno::SRCH.into());
    }
    legacy.limits.apply()
}

/// Marks every descriptor above the standard streams to be closed by exec, those too that some
/// library in this process opened without saying so.
fn close_all_on_exec() -> io::Result<()> {
    let first: libc::c_uint = 3;
    // SAFETY: close_range(2) with this flag reads no memory and closes nothing; it sets
    // close-on-exec in the calling process, which here is the forked child.
    let result = unsafe {
        libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC)
    };
    if result == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    match Errno::from_io_error(&error) {
        // Linux before 5.11: what std and this crate open is marked anyway.
        Some(Errno::NOSYS | Errno::INVAL) => Ok(()),
        _ => Err(error),
    }
}

/// A descriptor that tasks of the current tokio runtime can await until it is readable.
pub(crate) fn awaitable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open until it is dropped, always gives the same number, and cannot
    // be made to refer to something else. It moves into the `AsyncFd`, which keeps it until the
    // registration ends and hands it to nobody.
    let registered = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
    registered.map_err(io::Error::from)
}

/// What a process has used up to its end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Most memory that it, or a descendant that it waited for, had in RAM at once, in bytes.
    pub(crate) peak_memory: u64,
    /// Processor time in the program itself, with that of descendants it waited for.
    pub(crate) user_time: Duration,
    /// Processor time in the kernel on its behalf.
    pub(crate) system_time: Duration,
}

/// Waits for the end of a child, and makes the operating system forget it. `None` if it has been
/// forgotten before.
pub(crate) fn wait(pid: Pid) -> Option<(ExitStatus, Usage)> {
    let mut status: libc::c_int = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    loop {
        // SAFETY: both pointers are to values of this frame of the types that wait4(2) writes.
        let waited = unsafe { libc::wait4(pid.as_raw_pid(), &mut status, 0, usage.as_mut_ptr()) };
        if waited == pid.as_raw_pid() {
            break;
        }
        if Errno::from_io_error(&io::Error::last_os_error()) != Some(Errno::INTR) {
            return None;
        }
    }
    // SAFETY: every field is an integer, for which zero is a value too.
    let usage = unsafe { usage.assume_init() };
    let time = |time: libc::timeval| {
        let whole = Duration::from_secs(u64::try_from(time.tv_sec).unwrap_or(0));
        whole + Duration::from_micros(u64::try_from(time.tv_usec).unwrap_or(0))
    };
    let usage = Usage {
        // The kernel counts this one in KiB.
        peak_memory: u64::try_from(usage.ru_maxrss).unwrap_or(0).saturating_mul(1024),
        user_time: time(usage.ru_utime),
        system_time: time(usage.ru_stime),
    };
    Some((ExitStatus::from_raw(status), usage))
}

/// The inode of an open file, by which two processes know it, and its type.
pub(crate) fn identity(fd: BorrowedFd<'_>) -> io::Result<(u64, FileType)> {
    let stat = rustix::fs::fstat(fd)?;
    Ok((stat.st_ino, FileType::from_raw_mode(stat.st_mode)))
}

/// Whether descriptor `fd` is open and is the file of that inode and type.
pub(crate) fn is_open(fd: RawFd, expected: (u64, FileType)) -> bool {
    if fd < 0 {
        return false;
    }
    // SAFETY: the number is not -1, and the borrow ends with this function, which only asks fstat;
    // that says so (EBADF) if no such descriptor is open.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    identity(borrowed).is_ok_and(|found| found == expected)
}

/// Takes ownership of descriptor `fd` if it is the file of type `kind` with that inode, and makes it
/// close-on-exec.
///
/// The caller makes sure that it asks only once in a process's life for each file that its parent
/// left to it.
pub(crate) fn take_inherited(fd: RawFd, expected: (u64, FileType)) -> io::Result<OwnedFd> {
    if fd < 3 {
        return Err(Errno::BADF.into());
    }
    // SAFETY: the number is not -1, and the borrow ends with this function. If no such descriptor
    // is open, fstat says so (EBADF) and does nothing else.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    if identity(borrowed)? != expected {
        return Err(Errno::BADF.into());
    }
    rustix::io::fcntl_setfd(borrowed, FdFlags::CLOEXEC)?;
    // SAFETY: the descriptor is open, and it is the file that the parent made for this process:
    // the parent told its inode, and the kernel numbers sockets and files in memory in order, so
    // another one could have that number only 2^32 of them later. Exec replaced the program since it
    // was made, so nothing in this process owns it yet, and the caller asks once, so nothing owns it
    // twice.
    let owned = unsafe { OwnedFd::from_raw_fd(fd) };
    Ok(owned)
}
