//! What children take of their parent: memory, descriptors, threads, processor time.
//!
//! Main functions: [`resources`], and [`be_parent`] in the fresh process that is measured. What the
//! kernel keeps for them is not counted.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use benches::child::{Child, cpu_time};
use benches::promise;
use rm_process::ProcessManager;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::program::{Group, Peers, Program};
use super::{CONNECT, GRACE, MANY, PARENT, print_row};

const IDLE: Duration = Duration::from_secs(5);
/// Per cent of one core.
const PROMISE: f64 = 0.1;

/// Measures each kind in a process of its own.
pub fn resources() -> Result<()> {
    println!("\nwhat children take of a parent of their own, and its processor time while idle\n");
    let heads = ["KiB each", "descriptors each", "threads in all", "idle, ms of 5 s", "percent"];
    print_row("", heads);
    let mut most: f64 = 0.0;
    for (name, kind, count) in [
        ("256 under std, unread", "std", 256),
        ("256 under tokio, unread", "tokio", 256),
        ("256 plain", "plain", 256),
        ("64 plain, 1 MiB printed by each", "printing", MANY),
        ("64 connected", "connected", MANY),
    ] {
        let mut parent = Child::start(PARENT, &[kind, &count.to_string()])?;
        let figures = parent.hear_figures()?;
        let [rss, descriptors, threads, idle_ms] = figures[..] else { bail!("four figures") };
        let percent = idle_ms / IDLE.as_secs_f64() / 10.0;
        let cells = [
            format!("{rss:.1}"),
            format!("{descriptors:.2}"),
            format!("{threads:.0}"),
            format!("{idle_ms:.2}"),
            format!("{percent:.3}"),
        ];
        print_row(name, cells);
        ensure!(parent.hear()? == "done", "the parent did not end its children");
        if !matches!(kind, "std" | "tokio") {
            most = most.max(percent);
        }
    }
    println!();
    promise(most < PROMISE, &format!("nothing polls: {most:.3} % of one core while all are idle"));
    Ok(())
}

/// The process that is measured: starts children, says the figures, ends them.
pub async fn be_parent(kind: &str, count: usize) -> Result<()> {
    let sleeper = Program::sleeper();
    let printer =
        Program::shell("head -c 1048576 /dev/zero; head -c 1048576 /dev/zero >&2; exec sleep 100");
    let program = match kind {
        "connected" => Program::own(CONNECT)?,
        "printing" => printer,
        _ => sleeper,
    };
    match kind {
        "std" => {
            let _first = Peers::start(&program, 1)?;
            let before = own_usage()?;
            let _peers = Peers::start(&program, count)?;
            tell(before, count).await
        }
        "tokio" => {
            let start = || program.tokio_command().spawn();
            let _first = start()?;
            let before = own_usage()?;
            let mut waiting = JoinSet::new();
            for _ in 0..count {
                let mut child = start()?;
                waiting.spawn(async move { child.wait().await });
            }
            tell(before, count).await?;
            waiting.shutdown().await;
            Ok(())
        }
        _ => {
            let manager = ProcessManager::new()?;
            let connected = kind == "connected";
            let first = Group::start(&manager, &program, connected, 1).await?;
            sleep(Duration::from_millis(200)).await;
            let before = own_usage()?;
            let group = Group::start(&manager, &program, connected, count).await?;
            tell(before, count).await?;
            manager.terminate_all(GRACE).await;
            drop((first, group));
            manager.finished().await;
            Ok(())
        }
    }
}

/// Says what each of `count` children takes of this process, and the time it uses while idle.
async fn tell(before: [f64; 3], count: usize) -> Result<()> {
    // Children that print have done so by then.
    sleep(Duration::from_secs(1)).await;
    let after = own_usage()?;
    let [rss, descriptors] = [0, 1].map(|which| (after[which] - before[which]) / count as f64);
    let used = cpu_time();
    sleep(IDLE).await;
    let used = (cpu_time() - used).as_secs_f64() * 1e3;
    println!("{rss} {descriptors} {} {used}", after[2]);
    Ok(())
}

/// What a fresh parent takes: its resident KiB, descriptors and threads.
fn own_usage() -> Result<[f64; 3]> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let field = |name: &str| -> Result<f64> {
        let value = status.lines().find_map(|line| line.strip_prefix(name)).context("a field")?;
        Ok(value.trim().trim_end_matches(" kB").parse()?)
    };
    let descriptors = std::fs::read_dir("/proc/self/fd")?.count() as f64;
    Ok([field("VmRSS:")?, descriptors, field("Threads:")?])
}
