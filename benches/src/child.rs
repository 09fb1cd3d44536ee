//! The other process of a bench: this binary again, in another role.
//!
//! Main types: [`Child`], which the parent holds, and [`Role`], which the child finds. They talk in
//! lines over the child's standard streams. A child ends with its parent, however that ends.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, set_parent_process_death_signal};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

/// The argument after which a child finds the name of its role. [`Child::start`] gives it.
pub const FLAG: &str = "--child-role";

/// What a process that was started by [`Child::start`] is to do.
#[derive(Debug)]
pub struct Role {
    /// Which part of the bench.
    pub name: String,
    /// What the parent gave it.
    pub args: Vec<String>,
}

/// The role of this process; `None` in the parent.
///
/// # Errors
/// If the process cannot be tied to its parent's life.
pub fn role() -> Result<Option<Role>> {
    let mut args = std::env::args().skip(1);
    if args.next().is_none_or(|flag| flag != FLAG) {
        return Ok(None);
    }
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let name = args.next().context("a role has a name")?;
    Ok(Some(Role { name, args: args.collect() }))
}

/// A child process. It is killed when this is dropped.
#[derive(Debug)]
pub struct Child {
    process: std::process::Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Child {
    /// Starts this binary in the role `name` with one end of a socket as its standard input, which
    /// [`inherited_socket`] gives there; gives the other end.
    ///
    /// # Errors
    /// What the operating system refuses.
    pub fn start_on_socket(name: &str, args: &[&str]) -> Result<(UnixStream, Self)> {
        let (ours, theirs) = UnixStream::pair()?;
        let child = Self::start_with(name, args, Stdio::from(OwnedFd::from(theirs)))?;
        Ok((ours, child))
    }

    /// Starts this binary in the role `name`.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(name: &str, args: &[&str]) -> Result<Self> {
        Self::start_with(name, args, Stdio::piped())
    }

    /// Starts this binary in the role `name`, with `stdin` as its standard input.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start_with(name: &str, args: &[&str], stdin: Stdio) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args([FLAG, name]).args(args).stdin(stdin).stdout(Stdio::piped());
        let mut process = command.spawn()?;
        let stdin = process.stdin.take();
        let stdout = process.stdout.take().context("the child's output is a pipe")?;
        Ok(Self { process, stdin, stdout: BufReader::new(stdout) })
    }

    /// Says one line to it.
    ///
    /// # Errors
    /// If it is gone.
    pub fn say(&mut self, line: &str) -> Result<()> {
        let stdin = self.stdin.as_mut().context("the child's input is not a pipe of its own")?;
        Ok(writeln!(stdin, "{line}")?)
    }

    /// The next line that it says.
    ///
    /// # Errors
    /// If it ends instead.
    pub fn hear(&mut self) -> Result<String> {
        let mut line = String::new();
        ensure!(self.stdout.read_line(&mut line)? > 0, "the child process ended too early");
        Ok(line.trim_end().to_owned())
    }

    /// The next line that it says, as figures.
    ///
    /// # Errors
    /// If it ends instead, or says something else.
    pub fn hear_figures(&mut self) -> Result<Vec<f64>> {
        let line = self.hear()?;
        line.split(' ').map(|word| word.parse().with_context(|| line.clone())).collect()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It has ended already, or waits for more for ever.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Where the two sides run. The kernel likes to put two processes that wake each other on one core,
/// and leaves them there; that has another cost than a core for each.
#[derive(Debug)]
pub struct Cores(CpuSet);

impl Cores {
    /// The cores that this thread may use.
    ///
    /// # Errors
    /// The system's.
    pub fn find() -> Result<Self> {
        Ok(Self(sched_getaffinity(None)?))
    }

    /// Leaves this thread and `children` to the kernel.
    ///
    /// # Errors
    /// The system's.
    pub fn free(&self, children: &[&Child]) -> Result<()> {
        Self::place(&self.0, &self.0, children)
    }

    /// Gives this thread one core and `children` another.
    ///
    /// # Errors
    /// If there is only one.
    pub fn apart(&self, children: &[&Child]) -> Result<()> {
        let mut cores = (0..CpuSet::MAX_CPU).filter(|core| self.0.is_set(*core));
        let mut next = || -> Result<CpuSet> {
            let mut one = CpuSet::new();
            one.set(cores.next().context("a single core cannot hold two sides apart")?);
            Ok(one)
        };
        let (here, there) = (next()?, next()?);
        Self::place(&here, &there, children)
    }

    fn place(here: &CpuSet, there: &CpuSet, children: &[&Child]) -> Result<()> {
        sched_setaffinity(None, here)?;
        for child in children {
            sched_setaffinity(Some(Pid::from_child(&child.process)), there)?;
        }
        Ok(())
    }
}

/// CPU time that this process has used.
pub fn cpu_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default()
}

/// The end of a socket that [`Child::start_on_socket`] has left for this child.
///
/// # Errors
/// What the operating system refuses.
pub fn inherited_socket() -> Result<UnixStream> {
    Ok(UnixStream::from(rustix::io::dup(std::io::stdin())?))
}
