//! Starting and stopping many processes at once.
//!
//! Main function: [`many`]. What they take meanwhile is in `resources`.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use benches::promise;
use rm_process::ProcessManager;
use rustix::process::Signal;

use super::program::{Group, Peers, Program};
use super::{CONNECT, GRACE, MANY, SPEAK, Samples, print_row};

const ROUNDS: usize = 9;
const STUBBORN_GRACE: Duration = Duration::from_millis(500);

/// What the many do, and how the peer ends them.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Plain,
    Connected,
    Stubborn,
}

/// Times until all run, until all have ended, and until nothing is left of them.
struct Turn {
    started: Duration,
    stopped: Duration,
    removed: Duration,
}

impl Kind {
    /// Our child, and the peer's.
    fn programs(self) -> Result<[Program; 2]> {
        let stubborn = || Program::shell("trap '' TERM; echo ready; exec sleep 100");
        Ok(match self {
            Self::Plain => [Program::sleeper(), Program::sleeper()],
            Self::Connected => [Program::own(CONNECT)?, Program::own(SPEAK)?],
            Self::Stubborn => [stubborn(), stubborn()],
        })
    }

    async fn ours(self) -> Result<Turn> {
        let [program, _] = self.programs()?;
        let manager = ProcessManager::new()?;
        let began = Instant::now();
        let group = Group::start(&manager, &program, self == Self::Connected, MANY).await?;
        if self == Self::Stubborn {
            group.hear().await;
        }
        let started = began.elapsed();
        let grace = if self == Self::Stubborn { STUBBORN_GRACE } else { GRACE };
        let began = Instant::now();
        let ends = manager.terminate_all(grace).await;
        let stopped = began.elapsed();
        ensure!(ends.len() == MANY, "{} of {MANY} were ended", ends.len());
        drop(group);
        manager.finished().await;
        Ok(Turn { started, stopped, removed: began.elapsed() })
    }

    fn peer(self) -> Result<Turn> {
        let [_, program] = self.programs()?;
        let began = Instant::now();
        let mut peers = Peers::start(&program, MANY)?;
        if self != Self::Plain {
            peers.hear()?;
        }
        let started = began.elapsed();
        let began = Instant::now();
        match self {
            Self::Plain => peers.signal(Signal::TERM)?,
            Self::Connected => {}
            Self::Stubborn => peers.signal(Signal::KILL)?,
        }
        peers.wait()?;
        Ok(Turn { started, stopped: began.elapsed(), removed: began.elapsed() })
    }
}

/// Measures all kinds.
pub async fn many() -> Result<()> {
    println!("\n{MANY} processes at once, ms: median (worst) of {ROUNDS} rounds\n");
    let heads =
        ["start: std", "start: ours", "stop: kill, wait", "stop: ours", "ours, all removed"];
    print_row("", heads);
    let mut longest: f64 = 0.0;
    for (name, kind) in [
        ("sleep, by SIGTERM", Kind::Plain),
        ("connecting, over their channels", Kind::Connected),
        ("deaf to SIGTERM, 500 ms", Kind::Stubborn),
    ] {
        let mut samples: [Samples; 5] = Default::default();
        for _ in 0..ROUNDS {
            let (peer, ours) = (kind.peer()?, kind.ours().await?);
            let times = [peer.started, ours.started, peer.stopped, ours.stopped, ours.removed];
            samples.iter_mut().zip(times).for_each(|(samples, time)| samples.add(time));
        }
        print_row(name, samples.each_ref());
        if kind == Kind::Stubborn {
            longest = samples[3].at(1.0);
        }
    }
    println!();
    let text = format!("{MANY} deaf ones end together within the grace; worst {longest:.0} ms");
    promise(longest <= STUBBORN_GRACE.as_secs_f64() * 1e3, &text);
    Ok(())
}
