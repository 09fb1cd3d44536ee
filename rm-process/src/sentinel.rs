//! Ends a runtime's cgroup the moment the runtime's process dies, however it dies.
//!
//! Main type: [`Sentinel`]. It needs a v2 cgroup with `cgroup.kill`, which makes the kernel kill
//! all processes in it at once, even while they fork. It does not make the cgroup; what it cannot
//! do is left to the sweep of [`orphans`](crate::orphans).

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, Signal};

use crate::launch::Program;
use crate::sys::{self, Born, Launch, Legacy};

/// Reads until the parent is gone, kills, and removes the cgroup with all that is below it.
///
/// A cgroup can be removed when the last of its killed processes has ended, which takes a moment
/// and cannot be awaited here, so it is tried again for five seconds. The loop variable of the
/// function is not local, which does no harm: the shell has expanded the list before.
const SCRIPT: &str = r#"
trap "" HUP INT TERM QUIT
remove() {
    for below in "$1"/*/; do [ -d "$below" ] && remove "${below%/}"; done
    rmdir "$1"
}
read _
echo 1 > "$1/cgroup.kill"
tries=0
while remove "$1"; [ -d "$1" ] && [ $tries -lt 500 ]; do
    tries=$((tries + 1))
    sleep 0.01
done
"#;

/// A process that outlives this one for long enough to kill a cgroup.
///
/// It waits at a pipe whose other end only this process holds, and which the kernel closes when
/// this process dies. (A process that this one forks and that never calls exec holds it too, and
/// delays it.) If this is dropped, it goes without killing anything.
///
/// It is not a child like others: it is not in the cgroup, does not carry the mark of the runtime,
/// and does not get the kernel's signal when the parent dies.
#[derive(Debug)]
pub struct Sentinel {
    #[cfg_attr(not(test), expect(dead_code, reason = "its pidfd is enough"))]
    pid: Pid,
    pidfd: OwnedFd,
    /// The end of the pipe that it waits at.
    #[expect(dead_code, reason = "the kernel closes it when this process dies")]
    lifeline: OwnedFd,
    /// The process that started it; a fork of that has a copy of this, and no right to it.
    parent: u32,
}

impl Sentinel {
    /// Starts it for the cgroup with this folder.
    ///
    /// # Errors
    /// The operating system's error, such as that there is no `/bin/sh` or that `folder` has no
    /// `cgroup.kill`. What is left by a runtime without a sentinel is found by the next sweep.
    pub fn start(folder: &Path) -> io::Result<Self> {
        std::fs::metadata(folder.join("cgroup.kill"))?;
        let args = ["-c", SCRIPT, "sentinel"].map(OsString::from);
        let args: Vec<_> = args.into_iter().chain([folder.into()]).collect();
        let env = BTreeMap::from([("PATH".into(), "/usr/bin:/bin".into())]);
        let program = Program::new(OsStr::new("/bin/sh"), &args, env, Some(Path::new("/")))?;
        let (input, lifeline) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        let input = sys::apart(input)?;
        let null = sys::apart(OpenOptions::new().write(true).open("/dev/null")?.into())?;
        let Born { pid, pidfd } = sys::launch(&Launch {
            program: &program,
            streams: [input.as_fd(), null.as_fd(), null.as_fd()],
            legacy: &Legacy::default(),
            dies_with_parent: false,
            birthplace: None,
        })?;
        Ok(Self { pid, pidfd, lifeline, parent: std::process::id() })
    }
}

impl Sentinel {
    /// Whether it is there still: somebody may have killed it.
    pub(crate) fn is_alive(&self) -> bool {
        // Fails for the dead, reaped or not.
        let asked = PollFd::new(&self.pidfd, PollFlags::IN);
        rustix::event::poll(&mut [asked], Some(&Timespec::default())) == Ok(0)
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        if std::process::id() != self.parent {
            return;
        }
        // Before the pipe closes, so that it does not do its work.
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
        sys::wait(self.pidfd.as_fd());
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{BufRead, BufReader};
    use std::path::PathBuf;
    use std::process::{Child, Command, Stdio};

    use rustix::event::{PollFd, PollFlags, Timespec};

    use super::*;
    use crate::identity::{name_of, random_id};

    const CGROUP_ENV: &str = "RM_PROCESS_TEST_CGROUP";

    /// A v2 cgroup for one test, with another in it.
    struct Cgroup(PathBuf);

    impl Cgroup {
        /// `None`, and a line about it, where this user cannot make one.
        fn make() -> Option<Self> {
            let mounts = fs::read_to_string("/proc/self/mounts").expect("mounts");
            let mut mounts = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
            let mount = mounts.find(|fields| fields.get(2) == Some(&"cgroup2"));
            let name = name_of(random_id().expect("a number"));
            let made = mount.map(|fields| Path::new(fields[1]).join(name)).filter(|folder| {
                fs::create_dir_all(folder.join("inner/innermost")).is_ok()
                    && folder.join("cgroup.kill").exists()
            });
            if made.is_none() {
                eprintln!("skipped: this user cannot make a v2 cgroup here");
            }
            made.map(Self)
        }

        /// Starts a sleeper in a cgroup in this one that has left its session.
        fn start(&self, below: &str) -> Child {
            let script = "echo $$ > \"$0/cgroup.procs\" && echo in && exec setsid sleep 1000";
            let mut command = Command::new("sh");
            command.args(["-c", script]).arg(self.0.join(below)).stdout(Stdio::piped());
            let mut child = command.spawn().expect("sh");
            let mut line = String::new();
            BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("it");
            assert_eq!(line, "in\n");
            child
        }
    }

    impl Drop for Cgroup {
        fn drop(&mut self) {
            let _ = fs::write(self.0.join("cgroup.kill"), "1");
            for below in ["inner/innermost", "inner", ""] {
                let _ = fs::remove_dir(self.0.join(below));
            }
        }
    }

    fn wait_gone(process: &OwnedFd) {
        let watchdog = Timespec { tv_sec: 20, tv_nsec: 0 };
        let mut watched = [PollFd::new(process, PollFlags::IN)];
        assert_eq!(rustix::event::poll(&mut watched, Some(&watchdog)), Ok(1), "it lives on");
    }

    /// Has a sentinel, tells who that is, and waits to be killed.
    #[test]
    #[ignore = "the parent that other tests start and kill"]
    fn be_a_parent() {
        let Some(folder) = std::env::var_os(CGROUP_ENV) else { return };
        let sentinel = Sentinel::start(folder.as_ref()).unwrap();
        println!("\nready {}", sentinel.pid.as_raw_pid().unsigned_abs());
        std::io::stdin().read_line(&mut String::new()).unwrap();
    }

    #[test]
    fn the_cgroup_is_killed_and_removed_when_the_parent_is_killed() {
        let Some(cgroup) = Cgroup::make() else { return };
        let mut inside = ["inner", "inner/innermost", ""].map(|below| cgroup.start(below));
        let mut parent = Command::new(std::env::current_exe().unwrap());
        parent.args(["--exact", "sentinel::tests::be_a_parent", "--ignored", "--nocapture"]);
        parent.env(CGROUP_ENV, &cgroup.0).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut parent = parent.spawn().unwrap();
        let mut lines = BufReader::new(parent.stdout.take().unwrap()).lines().map_while(Result::ok);
        let pid = lines.find_map(|line| line.split_once("ready ")?.1.parse().ok()).unwrap();
        let pid = Pid::from_raw(pid).unwrap();
        let sentinel =
            rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
        for signal in [Signal::HUP, Signal::INT, Signal::TERM] {
            // It may not have come to ignore them yet, but it surely has when it reads.
            while !is_reading(pid) {
                std::thread::yield_now();
            }
            rustix::process::pidfd_send_signal(&sentinel, signal).unwrap();
        }
        assert!(inside.iter_mut().all(|child| child.try_wait().unwrap().is_none()));

        parent.kill().unwrap();
        parent.wait().unwrap();
        let exits = inside.map(|mut child| child.wait().unwrap());
        for exit in exits {
            assert_eq!(std::os::unix::process::ExitStatusExt::signal(&exit), Some(9));
        }
        wait_gone(&sentinel);
        assert!(!cgroup.0.exists());
    }

    /// Whether the process waits in a pipe.
    fn is_reading(pid: Pid) -> bool {
        let path = format!("/proc/{}/stat", pid.as_raw_nonzero());
        let waits = fs::read_to_string(path).is_ok_and(|stat| stat.contains(") S "));
        let args = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
        waits && args.starts_with(b"/bin/sh\0")
    }

    #[test]
    fn a_sentinel_that_is_dropped_is_reaped_and_kills_nobody() {
        let Some(cgroup) = Cgroup::make() else { return };
        let mut inside = cgroup.start("inner");
        for _ in 0..20 {
            let sentinel = Sentinel::start(&cgroup.0).unwrap();
            let pid = sentinel.pid.as_raw_pid().unsigned_abs();
            drop(sentinel);
            assert!(!Path::new(&format!("/proc/{pid}")).exists());
        }
        assert_eq!(inside.try_wait().unwrap(), None);
        inside.kill().unwrap();
        inside.wait().unwrap();
    }

    #[test]
    fn a_folder_that_is_no_such_cgroup_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let error = Sentinel::start(folder.path()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
