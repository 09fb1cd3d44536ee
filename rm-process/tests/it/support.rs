//! What the tests share: the example child, watchdogs, and waiting for processes that are not
//! one's own children.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rm_process::{
    BackendOptions, CommandSpec, KameoChildProcessMessage, NodeProcess, ProcessError,
    ProcessManager, SubprocessIpcBackend, SubprocessIpcBackendError,
};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal};

/// Against hangs only; nothing here needs more than a fraction of it.
pub const WATCHDOG: Duration = Duration::from_secs(10);

/// The example child doing `behaviour`.
///
/// Cargo builds examples before it runs the tests of a package; where only this test was asked
/// for, it is built here.
pub fn child(behaviour: &str) -> CommandSpec {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    let path = PATH.get_or_init(|| {
        let test = std::env::current_exe().unwrap();
        let profile = test.parent().and_then(|deps| deps.parent()).unwrap();
        let path = profile.join("examples/child");
        if !path.exists() {
            let mut cargo = Command::new(env!("CARGO"));
            cargo.args(["build", "--package", "rm-process", "--example", "child"]);
            if !cfg!(debug_assertions) {
                cargo.arg("--release");
            }
            assert!(cargo.status().unwrap().success());
        }
        path
    });
    CommandSpec::new(path).arg(behaviour).label(behaviour)
}

/// A Python program with its fault handler and without buffers on its output, as nodes are started.
pub fn python(script: &str) -> CommandSpec {
    CommandSpec::new("python3").args(rm_process::python::OPTIONS).args(["-c", script])
}

pub fn sh(script: &str) -> CommandSpec {
    CommandSpec::new("sh").args(["-c", script])
}

pub fn manager() -> ProcessManager {
    ProcessManager::new().unwrap()
}

/// A child that was started and has introduced itself, and its process.
pub async fn start<M: KameoChildProcessMessage>(
    spec: CommandSpec,
) -> (NodeProcess, SubprocessIpcBackend<M>) {
    let started = soon(SubprocessIpcBackend::spawn(&manager(), spec, BackendOptions::new())).await;
    let backend = started.expect("a child that connects");
    let process = backend.process().expect("it was started here").clone();
    (process, backend)
}

/// Why a process that was to introduce itself was not taken.
pub async fn refused(spec: CommandSpec) -> ProcessError {
    let options = BackendOptions::new();
    match soon(SubprocessIpcBackend::<()>::spawn(&manager(), spec, options)).await {
        Err(SubprocessIpcBackendError::Process(error)) => error,
        other => panic!("it was not refused: {other:?}"),
    }
}

/// `future`, or a panic if it hangs.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    let result = tokio::time::timeout(WATCHDOG, future).await;
    result.expect("it hangs")
}

/// A process known by its pid while it surely exists; killed when dropped, so that a failing test
/// leaves nothing.
pub struct Stranger {
    pidfd: OwnedFd,
    pid: u32,
}

impl Stranger {
    pub fn new(pid: u32) -> Self {
        let raw = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        let pidfd = rustix::process::pidfd_open(raw, PidfdFlags::empty()).unwrap();
        Self { pidfd, pid }
    }

    /// The same for a process that may be dead and forgotten already.
    pub fn find(pid: u32) -> Option<Self> {
        is_known(pid).then(|| Self::new(pid))
    }

    pub fn signal(&self, signal: Signal) {
        rustix::process::pidfd_send_signal(&self.pidfd, signal).unwrap();
    }

    /// Waits until it is dead, reaped or not.
    pub fn wait_dead(&self) {
        assert!(self.is_dead_within(WATCHDOG), "{} lives on", self.pid);
    }

    pub fn is_alive(&self) -> bool {
        !self.is_dead_within(Duration::ZERO)
    }

    /// Waits until it is stopped by a signal.
    pub fn wait_stopped(&self) {
        let end = Instant::now() + WATCHDOG;
        while self.state() != Some('T') {
            assert!(Instant::now() < end, "{} does not stop", self.pid);
            std::thread::yield_now();
        }
    }

    fn state(&self) -> Option<char> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok()?;
        stat.rsplit_once(") ")?.1.chars().next()
    }

    fn is_dead_within(&self, time: Duration) -> bool {
        let time = Timespec::try_from(time).unwrap();
        let mut watched = [PollFd::new(&self.pidfd, PollFlags::IN)];
        rustix::event::poll(&mut watched, Some(&time)).unwrap() == 1
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
    }
}

/// Waits until the process has written `text` to stdout.
pub async fn wrote(process: &NodeProcess, text: &str) {
    soon(async {
        while !process.stdout_tail().contains(text) {
            assert_eq!(process.try_exit_status(), None);
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Whether the operating system still knows the process, be it as a zombie.
pub fn is_known(pid: u32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

/// An argument for `sleep` that no other process has.
pub fn unique_argument() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("1000.{}{count:04}", std::process::id())
}

/// Waits until no process has this argument. What is killed with its group may be seen for a
/// moment longer than the leader of the group.
pub async fn gone(argument: &str) {
    soon(async {
        while is_running_with(argument) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Whether a process has this argument.
fn is_running_with(argument: &str) -> bool {
    std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let mut words = line.split(|&byte| byte == 0);
        words.any(|word| word == argument.as_bytes())
    })
}
