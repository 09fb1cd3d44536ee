//! Starting one process: back to back, and lone, when the kernel has nothing at hand.
//!
//! Main function: [`starts`]. Many at once are in `many`.

use std::fs::OpenOptions;
use std::hint::black_box;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use benches::promise;
use rm_process::{BackendOptions, NodeProcess, ProcessManager, SubprocessIpcBackend};
use tokio::time::sleep;

use super::program::{Peers, Program, finish};
use super::{CONNECT, SPEAK, Samples, print_row};

/// How often a program is started, how long it is quiet before, and how many bytes the parent has
/// in RAM beside what it needs, which a fork does not copy, but has to mark.
const PACES: [(&str, usize, Duration, usize); 3] = [
    ("back to back", 100, Duration::ZERO, 0),
    ("lone", 25, Duration::from_millis(150), 0),
    ("back to back, parent of 512 MiB", 50, Duration::ZERO, 512 << 20),
];
/// In milliseconds.
const TARGET: f64 = 10.0;
const PROMISE: f64 = 150.0;

/// Measures every pace.
pub async fn starts() -> Result<()> {
    println!("start of one process, ms: median (p99)");
    let mut worst = Vec::new();
    for (pace, turns, pause, ballast) in PACES {
        let ballast = vec![1_u8; ballast];
        let mut over = Vec::new();
        println!();
        print_row(pace, ["std", "tokio", "ours", "beyond std", "first of a runtime"]);
        // Beside another one the runtime's folders are there already.
        let manager = ProcessManager::new()?;
        let keeper = manager.spawn_plain(Program::sleeper().spec()).await?;
        for (name, program) in
            [("true", Program::new("true", &[])), ("python3 -c pass", Program::python()?)]
        {
            let mut ways: [[Samples; 2]; 4] = Default::default();
            for _ in 0..turns {
                for (way, [start, end]) in ways.iter_mut().enumerate() {
                    sleep(pause).await;
                    let [started, ended] = match way {
                        0 => std_start(&program)?,
                        1 => tokio_start(&program).await?,
                        2 => own_start(&manager, &program).await?,
                        _ => first_start(&program).await?,
                    };
                    start.add(started);
                    end.add(ended);
                }
            }
            for (step, what) in ["runs", "has ended"].into_iter().enumerate() {
                let [std, tokio, ours, first] = ways.each_ref().map(|way| &way[step]);
                let (beyond, name) = (ours.beyond(std), format!("{name} {what}"));
                print_row(&name, [std, tokio, ours, &beyond, first]);
                over.push((beyond.median(), name.clone()));
                over.push((first.beyond(std).median(), format!("{name}, first")));
            }
        }
        let (speaking, connecting) = (Program::own(SPEAK)?, Program::own(CONNECT)?);
        let [mut std, mut ours] = [Samples::default(), Samples::default()];
        for _ in 0..turns {
            sleep(pause).await;
            std.add(std_hello(&speaking)?);
            sleep(pause).await;
            ours.add(own_hello(&manager, &connecting).await?);
        }
        let beyond = ours.beyond(&std);
        let cells = [&std.to_string(), "-", &ours.to_string(), &beyond.to_string()];
        print_row("connecting child is introduced", cells);
        over.push((beyond.median(), "connecting child".to_owned()));
        let other = manager.spawn_plain(Program::sleeper().spec()).await?;
        let moved = moves([&keeper, &other], turns, pause).await?;
        let moved = moved.map_or_else(|| "no v2 here".to_owned(), |times| times.to_string());
        print_row("the kernel: into another cgroup", ["-", "-", "-", &moved]);
        drop((keeper, other));
        finish(manager).await;
        drop(black_box(ballast));
        let most = over.into_iter().max_by(|one, other| one.0.total_cmp(&other.0));
        worst.push((pace, most.unwrap_or_default()));
    }
    println!();
    for (pace, (most, what)) in worst {
        let text = format!("start, {pace}: at most {most:.2} ms beyond std's ({what})");
        promise(most < TARGET, &format!("{text}; the target is 10 ms"));
        promise(most < PROMISE, &format!("{text}; promised are 150 ms"));
    }
    Ok(())
}

/// Times until a program runs and until it has ended.
type Times = [Duration; 2];

fn std_start(program: &Program) -> Result<Times> {
    let began = Instant::now();
    let mut peers = Peers::start(program, 1)?;
    let started = began.elapsed();
    peers.0.iter_mut().try_for_each(|child| child.wait().map(drop))?;
    Ok([started, began.elapsed()])
}

async fn tokio_start(program: &Program) -> Result<Times> {
    let began = Instant::now();
    let mut child = program.tokio_command().spawn()?;
    let started = began.elapsed();
    child.wait().await?;
    Ok([started, began.elapsed()])
}

async fn own_start(manager: &ProcessManager, program: &Program) -> Result<Times> {
    let began = Instant::now();
    let process = manager.spawn_plain(program.spec()).await?;
    let started = began.elapsed();
    let exit = process.exited().await;
    let ended = began.elapsed();
    ensure!(exit.success(), "{}", process.failure_report());
    Ok([started, ended])
}

async fn first_start(program: &Program) -> Result<Times> {
    let manager = ProcessManager::new()?;
    let times = own_start(&manager, program).await?;
    manager.finished().await;
    Ok(times)
}

/// Until a program of ours has introduced itself, by a pipe and over its control channels.
fn std_hello(program: &Program) -> Result<Duration> {
    let began = Instant::now();
    let mut peers = Peers::start(program, 1)?;
    peers.hear()?;
    let heard = began.elapsed();
    peers.wait()?;
    Ok(heard)
}

async fn own_hello(manager: &ProcessManager, program: &Program) -> Result<Duration> {
    let began = Instant::now();
    let options = BackendOptions::new();
    let backend = SubprocessIpcBackend::<()>::spawn(manager, program.spec(), options).await?;
    let introduced = began.elapsed();
    let process = backend.process().context("it was started here")?.clone();
    drop(backend);
    process.exited().await;
    Ok(introduced)
}

/// How long the kernel takes to move a living process into another v2 cgroup: the first of two into
/// that of the second and back.
async fn moves(
    processes: [&NodeProcess; 2],
    turns: usize,
    pause: Duration,
) -> Result<Option<Samples>> {
    let folders = processes.map(|process| cgroup_of(process.process_id()));
    let [Some(own), Some(other)] = folders else { return Ok(None) };
    let moved = processes[0].process_id().to_string();
    let mut times = Samples::default();
    for _ in 0..turns {
        for folder in [&other, &own] {
            sleep(pause).await;
            let mut door = OpenOptions::new().write(true).open(folder.join("cgroup.procs"))?;
            let began = Instant::now();
            door.write_all(moved.as_bytes())?;
            times.add(began.elapsed());
        }
    }
    Ok(Some(times))
}

/// The v2 cgroup of a child, as it was told.
fn cgroup_of(pid: u32) -> Option<PathBuf> {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
    let name = format!("{}=", rm_process::child::CGROUP_ENV);
    let mut variables = environment.split(|&byte| byte == 0);
    let folder = variables.find_map(|variable| variable.strip_prefix(name.as_bytes()))?;
    Some(Path::new(std::str::from_utf8(folder).ok()?).to_owned())
}
