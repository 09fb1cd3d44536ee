//! What is started, by us and by the peers.
//!
//! Main types: [`Program`], [`Group`] of ours and [`Peers`] of std's. Nothing is measured here.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use benches::child::FLAG;
use rm_process::{BackendOptions, CommandSpec, NodeProcess, ProcessManager, SubprocessIpcBackend};
use rustix::process::{Pid, Signal, kill_process};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::GRACE;

/// A program, for us and for the peers.
#[derive(Clone)]
pub struct Program {
    path: PathBuf,
    args: Vec<OsString>,
}

impl Program {
    pub fn new(path: impl Into<PathBuf>, args: &[&str]) -> Self {
        Self { path: path.into(), args: args.iter().map(OsString::from).collect() }
    }

    /// This binary in a role.
    pub fn own(role: &str) -> Result<Self> {
        Ok(Self::new(std::env::current_exe()?, &[FLAG, role]))
    }

    /// One that does nothing, and, should all else fail, not for ever.
    pub fn sleeper() -> Self {
        Self::new("sleep", &["100"])
    }

    pub fn shell(script: &str) -> Self {
        Self::new("sh", &["-c", script])
    }

    /// The interpreter itself, not a script that finds it.
    pub fn python() -> Result<Self> {
        let name = std::env::var_os("REMOTEMEDIA_PYTHON").unwrap_or_else(|| "python3".into());
        let asked =
            Command::new(name).args(["-c", "import sys; print(sys.executable)"]).output()?;
        ensure!(asked.status.success(), "there is no Python to be started");
        Ok(Self::new(String::from_utf8(asked.stdout)?.trim_end(), &["-c", "pass"]))
    }

    pub fn spec(&self) -> CommandSpec {
        CommandSpec::new(&self.path).args(&self.args)
    }

    /// With the streams and the group that rm-process gives.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.args(&self.args).stdin(Stdio::piped()).process_group(0);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub fn tokio_command(&self) -> tokio::process::Command {
        let mut command = tokio::process::Command::from(self.command());
        command.kill_on_drop(true);
        command
    }
}

/// Children of std. They are killed when this is dropped.
#[derive(Default)]
pub struct Peers(pub Vec<std::process::Child>);

impl Peers {
    pub fn start(program: &Program, count: usize) -> Result<Self> {
        let mut peers = Self::default();
        for _ in 0..count {
            peers.0.push(program.command().spawn()?);
        }
        Ok(peers)
    }

    /// Waits until each has said a line.
    pub fn hear(&mut self) -> Result<()> {
        for child in &mut self.0 {
            let stdout = child.stdout.as_mut().context("a pipe")?;
            ensure!(BufReader::new(stdout).read_line(&mut String::new())? > 0, "it said nothing");
        }
        Ok(())
    }

    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.0.iter().try_for_each(|child| Ok(kill_process(Pid::from_child(child), signal)?))
    }

    /// Closes their input first.
    pub fn wait(mut self) -> Result<()> {
        self.0.iter_mut().for_each(|child| drop(child.stdin.take()));
        self.0.iter_mut().try_for_each(|child| child.wait().map(drop))?;
        Ok(())
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // It has ended already, or waits for ever.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Children of ours, kept alive.
#[derive(Default)]
pub struct Group {
    processes: Vec<NodeProcess>,
    backends: Vec<SubprocessIpcBackend<()>>,
}

impl Group {
    /// Starts them all at once.
    pub async fn start(
        manager: &ProcessManager,
        program: &Program,
        connected: bool,
        count: usize,
    ) -> Result<Self> {
        let mut starting = JoinSet::new();
        for _ in 0..count {
            let (manager, spec) = (manager.clone(), program.spec());
            starting.spawn(async move {
                if !connected {
                    return anyhow::Ok((manager.spawn_plain(spec).await?, None));
                }
                let options = BackendOptions::new();
                let backend = SubprocessIpcBackend::spawn(&manager, spec, options).await?;
                let process = backend.process().context("it was started here")?.clone();
                Ok((process, Some(backend)))
            });
        }
        let mut group = Self::default();
        while let Some(started) = starting.join_next().await {
            let (process, backend) = started??;
            group.processes.push(process);
            group.backends.extend(backend);
        }
        Ok(group)
    }

    /// Waits until each has said something.
    pub async fn hear(&self) {
        for process in &self.processes {
            while process.stdout_tail().is_empty() {
                sleep(Duration::from_millis(1)).await;
            }
        }
    }
}

/// Ends all that a manager has started, and waits until nothing is left of it. All handles have to be
/// dropped.
pub async fn finish(manager: ProcessManager) {
    manager.terminate_all(GRACE).await;
    manager.finished().await;
}
