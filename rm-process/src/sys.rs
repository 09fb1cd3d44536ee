//! The few things that Rust's type system cannot check: how a child is born and what it does before
//! its program begins, how it is waited for with its usage, and descriptors whose owner it does not
//! see.
//!
//! Main functions: [`launch`], [`wait`], [`awaitable`] and [`take_inherited`]. The crate's other
//! unsafe code is in `page`.

#![allow(unsafe_code, reason = "one of the two files of the crate that may hold unsafe code")]

use std::ffi::CString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use nix::libc;
use nix::sys::signal::{SigSet, SigmaskHow};
use rustix::fs::FileType;
use rustix::io::{Errno, FdFlags};
use rustix::process::{Pid, Signal, WaitOptions};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::cgroup::Birthplace;
use crate::launch::Program;
use crate::limits::Prepared;

/// What a child keeps of its parent's, and what it is made to be before its program begins.
#[derive(Debug, Default)]
pub(crate) struct Legacy {
    /// Descriptors that it inherits beyond its standard streams.
    pub(crate) descriptors: Vec<OwnedFd>,
    /// The limits that it is held to.
    pub(crate) limits: Prepared,
}

/// How a child is started.
pub(crate) struct Launch<'a> {
    pub(crate) program: &'a Program,
    /// Its standard input, output and error; above the standard streams themselves.
    pub(crate) streams: [BorrowedFd<'a>; 3],
    pub(crate) legacy: &'a Legacy,
    /// Whether the kernel kills it when the thread that starts it ends.
    pub(crate) dies_with_parent: bool,
    /// The v2 cgroup in which it is to be.
    pub(crate) birthplace: Option<&'a Birthplace>,
}

/// A child that was started, and leads a process group of its own.
#[derive(Debug)]
pub(crate) struct Born {
    pub(crate) pid: Pid,
    /// Means this child for ever.
    pub(crate) pidfd: OwnedFd,
}

/// What a child reads while it shares its parent's memory, and where it says what went wrong.
struct Plan<'a> {
    launch: &'a Launch<'a>,
    args: Vec<*const libc::c_char>,
    env: Vec<*const libc::c_char>,
    parent: Pid,
    /// Whether it still has to move to its cgroup.
    is_outside: AtomicBool,
    /// The step that failed, above the error number; zero while none has.
    failure: AtomicU64,
}

/// What a child does before its program begins, for errors.
const STEPS: [&str; 7] = [
    "close what it is not to inherit",
    "lead a process group",
    "be tied to its parent",
    "take its standard streams",
    "change to its working directory",
    "take its limits",
    "reset its signals",
];

/// Stack of a child until its program begins, in bytes. It makes no deep calls there.
const CHILD_STACK: usize = 64 * 1024;

/// Starts a child: without a copy of this process's memory, which would take some 50 ms for each
/// gigabyte, and where it is asked for as a member of a cgroup, which spares the move there.
///
/// The child shares this process's memory until its program begins; the calling thread waits for
/// that (vfork(2)).
///
/// # Errors
/// The operating system's; one that comes from a step before the program says which.
pub(crate) fn launch(launch: &Launch<'_>) -> io::Result<Born> {
    let pointers = |texts: &[CString]| {
        let pointers = texts.iter().map(|text| text.as_ptr());
        pointers.chain([std::ptr::null()]).collect::<Vec<_>>()
    };
    let plan = Plan {
        launch,
        args: pointers(&launch.program.args),
        env: pointers(&launch.program.env),
        parent: rustix::process::getpid(),
        is_outside: AtomicBool::new(false),
        failure: AtomicU64::new(0),
    };
    let mut stack = vec![0_u128; CHILD_STACK / size_of::<u128>()];
    // No handler of this process may run in the child, where it would work on this memory.
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
    let born = clone(&plan, &mut stack);
    before.thread_set_mask()?;
    let child = born?;

    let failure = plan.failure.load(Ordering::Relaxed);
    if failure == 0 {
        return Ok(child);
    }
    wait(child.pidfd.as_fd());
    let error = io::Error::from_raw_os_error((failure & u64::from(u32::MAX)) as i32);
    // Above them all is the program itself, whose error speaks for itself.
    match STEPS.get((failure >> 32) as usize - 1) {
        Some(step) => Err(io::Error::new(error.kind(), format!("it cannot {step}: {error}"))),
        None => Err(error),
    }
}

fn clone(plan: &Plan<'_>, stack: &mut [u128]) -> io::Result<Born> {
    if let Some(birthplace) = plan.launch.birthplace {
        if let Some(child) = clone_into(birthplace.folder.as_fd(), plan, stack) {
            return Ok(child);
        }
        // The kernel or a sandbox has not this call, or the cgroup takes nobody.
        plan.is_outside.store(true, Ordering::Relaxed);
    }
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
    let mut pidfd: RawFd = -1;
    let data = std::ptr::from_ref(plan).cast_mut().cast();
    let top = stack.as_mut_ptr_range().end.cast();
    // SAFETY: `become_program` runs on a stack of its own, whose end is aligned and which nobody
    // else uses; `plan` outlives it, because CLONE_VFORK suspends this thread until the child has
    // executed its program or exited. What it may do in memory that it shares is proven there. The
    // kernel writes one descriptor to where the fifth argument points.
    let pid = unsafe { libc::clone(become_program, top, flags, data, &raw mut pidfd) };
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    born(i64::from(pid), pidfd).ok_or(Errno::NOSYS.into())
}

/// The child of which a call that started it has told.
fn born(pid: i64, pidfd: RawFd) -> Option<Born> {
    let pid = Pid::from_raw(i32::try_from(pid).ok().filter(|pid| *pid > 0)?)?;
    if pidfd < 0 {
        // An emulator that does not know the flag.
        let _ = rustix::process::kill_process(pid, Signal::KILL);
        let _ = rustix::process::waitpid(Some(pid), WaitOptions::empty());
        return None;
    }
    // SAFETY: the call has succeeded, so the kernel has opened this descriptor for it, and nobody
    // else has heard of the number.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Some(Born { pid, pidfd })
}

/// clone3(2) into a cgroup, which glibc does not offer.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn clone_into(cgroup: BorrowedFd<'_>, plan: &Plan<'_>, stack: &mut [u128]) -> Option<Born> {
    /// The flag of linux/sched.h.
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

    /// `struct clone_args` of linux/sched.h in its third size.
    #[repr(C, align(8))]
    #[derive(Default)]
    struct CloneArgs {
        flags: u64,
        pidfd: u64,
        child_tid: u64,
        parent_tid: u64,
        exit_signal: u64,
        stack: u64,
        stack_size: u64,
        tls: u64,
        set_tid: u64,
        set_tid_size: u64,
        cgroup: u64,
    }

    let flags = u64::try_from(libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD).ok()?;
    let mut pidfd: RawFd = -1;
    let args = CloneArgs {
        flags: flags | CLONE_INTO_CGROUP,
        pidfd: &raw mut pidfd as u64,
        exit_signal: u64::try_from(libc::SIGCHLD).ok()?,
        stack: stack.as_mut_ptr() as u64,
        stack_size: size_of_val(stack) as u64,
        cgroup: u64::try_from(cgroup.as_raw_fd()).ok()?,
        ..CloneArgs::default()
    };
    let data: *mut libc::c_void = std::ptr::from_ref(plan).cast_mut().cast();
    let child: extern "C" fn(*mut libc::c_void) -> libc::c_int = become_program;
    let result: i64;
    // SAFETY: the system call returns twice. The parent goes on behind the block with the result;
    // the registers that the kernel overwrites are declared. The child, for which the result is
    // zero, has the stack given, whose end is aligned as a call wants it, calls `become_program`
    // there and does not come back from it. As for `libc::clone` above, `plan` outlives that, and the
    // kernel writes one descriptor.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r12",
            "call r13",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone3 => result,
            in("rdi") &raw const args,
            in("rsi") size_of::<CloneArgs>(),
            in("r12") data,
            in("r13") child,
            out("rcx") _,
            out("r11") _,
        );
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        std::arch::asm!(
            "svc 0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x0, x20",
            "blr x21",
            "brk 1",
            "2:",
            in("x8") libc::SYS_clone3,
            inlateout("x0") &raw const args => result,
            in("x1") size_of::<CloneArgs>(),
            in("x20") data,
            in("x21") child,
        );
    }
    born(result, pidfd)
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn clone_into(_: BorrowedFd<'_>, _: &Plan<'_>, _: &mut [u128]) -> Option<Born> {
    None
}

/// The child, until its program begins.
///
/// # What it may do
/// It shares memory with its parent, whose other threads go on, and has its own stack, descriptors,
/// working directory and signal handlers. It makes plain system calls through rustix and libc, and
/// makes its errors from error numbers: it takes no lock, allocates nothing, cannot panic, and
/// writes nothing but its stack, the thread's `errno` (its parent's thread is suspended) and the one
/// atomic number by which it says what went wrong.
extern "C" fn become_program(data: *mut libc::c_void) -> libc::c_int {
    // SAFETY: it is the plan that `clone` and `clone_into` have passed on, which they keep until
    // this has ended.
    let plan = unsafe { &*data.cast::<Plan<'_>>() };
    let (step, error) = match before_exec(plan) {
        Err((step, error)) => (step, error),
        Ok(()) => {
            let path = plan.launch.program.path.as_ptr();
            // SAFETY: the path and each text in both lists end in a zero byte, both lists end in
            // a null pointer, and all live as long as the plan.
            unsafe { libc::execve(path, plan.args.as_ptr(), plan.env.as_ptr()) };
            (STEPS.len(), io::Error::last_os_error())
        }
    };
    let error = error.raw_os_error().unwrap_or(libc::EINVAL).unsigned_abs();
    let failure = ((step as u64 + 1) << 32) | u64::from(error);
    plan.failure.store(failure, Ordering::Relaxed);
    // SAFETY: ends the child, without the handlers that exit(3) runs, which are its parent's.
    unsafe { libc::_exit(127) }
}

/// What comes before the program. An error comes with the number of its step in [`STEPS`].
fn before_exec(plan: &Plan<'_>) -> Result<(), (usize, io::Error)> {
    let Launch { legacy, streams, dies_with_parent, program, birthplace } = plan.launch;
    let at = |step| move |error: Errno| (step, io::Error::from(error));
    close_all_on_exec().map_err(|error| (0, error))?;
    for kept in &legacy.descriptors {
        rustix::io::fcntl_setfd(kept, FdFlags::empty()).map_err(at(0))?;
    }
    rustix::process::setpgid(None, None).map_err(at(1))?;
    if *dies_with_parent {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(at(2))?;
        // A parent that died before the line above sends no signal. Its child then has a new one.
        if rustix::process::getppid() != Some(plan.parent) {
            return Err(at(2)(Errno::SRCH));
        }
    }
    rustix::stdio::dup2_stdin(streams[0]).map_err(at(3))?;
    rustix::stdio::dup2_stdout(streams[1]).map_err(at(3))?;
    rustix::stdio::dup2_stderr(streams[2]).map_err(at(3))?;
    if let Some(directory) = &program.directory {
        rustix::process::chdir(directory.as_c_str()).map_err(at(4))?;
    }
    if let Some(birthplace) = birthplace.filter(|_| plan.is_outside.load(Ordering::Relaxed)) {
        // "0" is whoever writes it.
        rustix::io::write(&birthplace.procs, b"0").map_err(at(5))?;
    }
    legacy.limits.apply().map_err(|error| (5, error))?;
    reset_signals().map_err(|error| (6, error))
}

/// Gives every signal that has a handler, and SIGPIPE, which Rust ignores, its default action, and
/// then blocks none, so that the program begins as others do.
fn reset_signals() -> io::Result<()> {
    for signal in 1..=libc::SIGRTMAX() {
        let mut action = MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: the kernel writes one action to where one has room.
        let found = unsafe { libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) };
        if found != 0 {
            // One that the C library keeps for itself.
            continue;
        }
        // SAFETY: sigaction(2) has filled it.
        let mut action = unsafe { action.assume_init() };
        let is_ignored = action.sa_sigaction == libc::SIG_IGN;
        let stops = [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU].contains(&signal) && !is_ignored;
        if stops {
            // Ignoring it discards one that came while this was in its parent's group. It would stop
            // the child where the SIGCONT to that group does not reach it, and its parent with it.
            action.sa_sigaction = libc::SIG_IGN;
            // SAFETY: to be ignored is an action for these; the handlers are the child's own.
            unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) };
        }
        let is_default = action.sa_sigaction == libc::SIG_DFL;
        if !(is_default || is_ignored) || stops || signal == libc::SIGPIPE {
            action.sa_sigaction = libc::SIG_DFL;
            action.sa_flags = 0;
            // SAFETY: the default action is one for every signal; the handlers are the child's own.
            unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) };
        }
    }
    SigSet::empty().thread_set_mask().map_err(io::Error::from)
}

/// Makes std start a child that takes these limits, for tests of the limits alone.
#[cfg(test)]
pub(crate) fn prepare(command: &mut std::process::Command, limits: Prepared) {
    use std::os::unix::process::CommandExt;

    let before_exec = move || {
        close_all_on_exec()?;
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        limits.apply()
    };
    // SAFETY: after a fork only async-signal-safe functions may run; these make plain system calls.
    unsafe { command.pre_exec(before_exec) };
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
        // Linux before 5.11, or a sandbox: what std and this crate open is marked anyway.
        Some(Errno::NOSYS | Errno::INVAL | Errno::PERM) => Ok(()),
        _ => Err(error),
    }
}

/// A descriptor that tasks of the current tokio runtime can await until it is readable or writable.
pub(crate) fn awaitable(fd: Arc<OwnedFd>, until: Interest) -> io::Result<AsyncFd<Arc<OwnedFd>>> {
    // SAFETY: an `OwnedFd` is open until it is dropped, always gives the same number, and cannot
    // be made to refer to something else. The `AsyncFd` keeps a share of it until the registration
    // ends, so that nobody can take it out before.
    let registered = unsafe { AsyncFd::register_with_interest(fd, until) };
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
pub(crate) fn wait(child: BorrowedFd<'_>) -> Option<(ExitStatus, Usage)> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    loop {
        // SAFETY: both pointers are to values of this frame of the types that waitid(2) writes. The C
        // library's function does not have the last argument.
        let waited = unsafe {
            libc::syscall(
                libc::SYS_waitid,
                libc::P_PIDFD,
                child.as_raw_fd(),
                info.as_mut_ptr(),
                libc::WEXITED,
                usage.as_mut_ptr(),
            )
        };
        if waited == 0 {
            break;
        }
        if Errno::from_io_error(&io::Error::last_os_error()) != Some(Errno::INTR) {
            return None;
        }
    }
    // SAFETY: every field is an integer, for which zero is a value too.
    let info = unsafe { info.assume_init() };
    // SAFETY: what waitid(2) writes is of the kind that has a status.
    let status = unsafe { info.si_status() };
    // As wait(2) would have it.
    let status = ExitStatus::from_raw(match info.si_code {
        libc::CLD_EXITED => (status & 0xff) << 8,
        libc::CLD_DUMPED => status | 0x80,
        _ => status,
    });
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
    Some((status, usage))
}

/// The inode of an open file, by which two processes know it, and its type.
pub(crate) fn identity(fd: BorrowedFd<'_>) -> io::Result<(u64, FileType)> {
    let stat = rustix::fs::fstat(fd)?;
    Ok((stat.st_ino, FileType::from_raw_mode(stat.st_mode)))
}

/// The same file by a descriptor above the standard streams, which a child replaces: this process may
/// have closed its own, and then a new one has one of their numbers.
pub(crate) fn apart(file: OwnedFd) -> io::Result<OwnedFd> {
    match file.as_raw_fd() {
        ..=2 => Ok(rustix::io::fcntl_dupfd_cloexec(&file, 3)?),
        _ => Ok(file),
    }
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

#[cfg(test)]
mod tests;
