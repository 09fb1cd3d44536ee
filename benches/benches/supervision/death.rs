//! From the death of a process until it is known.
//!
//! Main function: [`deaths`]. How processes are ended is in `many`.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result};
use benches::promise;
use rm_process::ProcessManager;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid,
};
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::program::{Peers, Program, finish};
use super::{DIE, LIFE, Samples, print_row};

const TURNS: usize = 200;
/// In milliseconds.
const PROMISE: f64 = 5.0;

/// The clock that all processes share.
pub fn now() -> Duration {
    Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap_or_default()
}

/// How a child comes to its end, for whoever measures when that is seen.
#[derive(Clone, Copy, PartialEq)]
enum Death {
    /// By SIGKILL: the time begins before that is sent.
    Killed,
    /// By itself: it says the time right before.
    ByItself,
}

impl Death {
    fn program(self) -> Result<Program> {
        match self {
            Self::Killed => Ok(Program::sleeper()),
            Self::ByItself => Program::own(DIE),
        }
    }

    /// Lets everybody come to wait, and kills it if it is to be killed.
    async fn bring(self, pidfd: impl AsFd) -> Result<Duration> {
        sleep(LIFE / 2).await;
        let began = now();
        if self == Self::Killed {
            pidfd_send_signal(pidfd, Signal::KILL)?;
        }
        Ok(began)
    }

    /// When it died, from when it was killed and from what it said.
    fn moment(self, killed: Duration, said: &str) -> Result<Duration> {
        match self {
            Self::Killed => Ok(killed),
            Self::ByItself => Ok(Duration::from_nanos(said.trim().parse()?)),
        }
    }
}

/// A thread that waits for nothing else.
async fn seen_by_thread(death: Death) -> Result<Duration> {
    let mut peers = Peers::start(&death.program()?, 1)?;
    let pid = Pid::from_child(&peers.0[0]);
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    let thread = std::thread::spawn(move || {
        let waited = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
        waited.map(|_| now())
    });
    let killed = death.bring(pidfd).await?;
    let seen = thread.join().ok().context("the thread panicked")??;
    let mut said = String::new();
    peers.0[0].stdout.take().context("a pipe")?.read_to_string(&mut said)?;
    Ok(seen - death.moment(killed, &said)?)
}

async fn seen_by_tokio(death: Death) -> Result<Duration> {
    let mut child = death.program()?.tokio_command().spawn()?;
    let pid = Pid::from_raw(child.id().context("it lives")?.cast_signed()).context("a number")?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    let stdout = child.stdout.take().context("a pipe")?.into_owned_fd()?;
    let task = tokio::spawn(async move { child.wait().await.map(|_| now()) });
    let killed = death.bring(pidfd).await?;
    let seen = task.await??;
    let mut said = String::new();
    File::from(stdout).read_to_string(&mut said)?;
    Ok(seen - death.moment(killed, &said)?)
}

/// By a task in `exited` and by a handler.
async fn seen_by_us(manager: &ProcessManager, death: Death) -> Result<[Duration; 2]> {
    let process = manager.spawn_plain(death.program()?.spec()).await?;
    let (handled, told) = oneshot::channel();
    let handled = Mutex::new(Some(handled));
    process.on_exit(move |_| {
        let seen = now();
        if let Some(handled) = handled.lock().ok().and_then(|mut handled| handled.take()) {
            let _ = handled.send(seen);
        }
    });
    let waiting = process.clone();
    let task = tokio::spawn(async move {
        waiting.exited().await;
        now()
    });
    let killed = death.bring(process.process_handle()?).await?;
    let seen = [task.await?, told.await?];
    let died = death.moment(killed, &process.stdout_tail())?;
    Ok(seen.map(|seen| seen - died))
}

/// Measures both deaths.
pub async fn deaths() -> Result<()> {
    println!("\nfrom the death of a process until it is known, ms: median (p99)\n");
    let heads =
        ["thread in waitid", "tokio wait", "ours: exited", "ours: on_exit", "beyond waitid"];
    print_row("", heads);
    let manager = ProcessManager::new()?;
    let keeper = manager.spawn_plain(Program::sleeper().spec()).await?;
    let mut worst: f64 = 0.0;
    for (name, death) in
        [("killed, from before the signal", Death::Killed), ("ends by itself", Death::ByItself)]
    {
        let mut ways: [Samples; 4] = Default::default();
        for _ in 0..TURNS {
            ways[0].add(seen_by_thread(death).await?);
            ways[1].add(seen_by_tokio(death).await?);
            let [exited, handled] = seen_by_us(&manager, death).await?;
            ways[2].add(exited);
            ways[3].add(handled);
        }
        let [thread, tokio, exited, handled] = &ways;
        print_row(name, [thread, tokio, exited, handled, &exited.beyond(thread)]);
        worst = worst.max(exited.median()).max(handled.median());
    }
    drop(keeper);
    finish(manager).await;
    println!();
    let text = format!("an end is known, and handlers run, within 5 ms; median {worst:.2} ms");
    promise(worst < PROMISE, &text);
    Ok(())
}
