//! The few things that Rust's type system cannot check: what runs between fork and exec, and
//! descriptors whose owner it does not see.
//!
//! Main functions: [`prepare`], [`awaitable`] and [`take_inherited_socket`]. All unsafe code of the crate is
//! here.

#![allow(unsafe_code, reason = "the one file of the crate that may hold unsafe code")]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::libc;
use rustix::fs::FileType;
use rustix::io::{Errno, FdFlags};
use rustix::process::{Pid, Signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Makes `command` start a child that inherits nothing but its standard streams and `control`,
/// and that the kernel kills when the thread that spawns it ends.
pub(crate) fn prepare(command: &mut Command, control: Option<OwnedFd>) {
    let parent = rustix::process::getpid();
    let between_fork_and_exec = move || before_exec(parent, control.as_ref().map(AsFd::as_fd));
    // SAFETY: after fork in a program with threads, only async-signal-safe functions may run.
    // `before_exec` makes plain system calls through rustix and `syscall`, and makes its errors
    // from error numbers: it takes no lock, allocates nothing and cannot panic. It uses what the
    // closure owns, which the fork copied.
    unsafe { command.pre_exec(between_fork_and_exec) };
}

fn before_exec(parent: Pid, control: Option<BorrowedFd<'_>>) -> io::Result<()> {
    close_all_on_exec()?;
    if let Some(control) = control {
        rustix::io::fcntl_setfd(control, FdFlags::empty())?;
    }
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // A parent that died before the line above sends no signal. Its child then has a new parent.
    if rustix::process::getppid() != Some(parent) {
        return Err(Errno::SRCH.into());
    }
    Ok(())
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

/// The inode of a socket, by which both processes know it.
pub(crate) fn socket_inode(fd: BorrowedFd<'_>) -> io::Result<u64> {
    let stat = rustix::fs::fstat(fd)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Socket => Ok(stat.st_ino),
        _ => Err(Errno::NOTSOCK.into()),
    }
}

/// Takes ownership of descriptor `fd` if it is the socket with that inode, and makes it
/// close-on-exec.
///
/// The caller makes sure that it asks only once in a process's life.
pub(crate) fn take_inherited_socket(fd: RawFd, expected_inode: u64) -> io::Result<OwnedFd> {
    if fd < 3 {
        return Err(Errno::BADF.into());
    }
    // SAFETY: the number is not -1, and the borrow ends with this function. If no such descriptor
    // is open, fstat says so (EBADF) and does nothing else.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    if socket_inode(borrowed)? != expected_inode {
        return Err(Errno::BADF.into());
    }
    rustix::io::fcntl_setfd(borrowed, FdFlags::CLOEXEC)?;
    // SAFETY: the descriptor is open, and it is the socket that the parent made for this process:
    // the parent told its inode, and the kernel numbers sockets in order, so another socket could
    // have that number only 2^32 sockets later. Exec replaced the program since it was made, so
    // nothing in this process owns it yet, and the caller asks once, so nothing owns it twice.
    let owned = unsafe { OwnedFd::from_raw_fd(fd) };
    Ok(owned)
}
