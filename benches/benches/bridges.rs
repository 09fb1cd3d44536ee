//! What single calls over bridges cost: items into shared memory and out of it, nodes in this process
//! and in workers, one call at a time and many at once, and carrying items from one bridge to another.
//!
//! Beside it, in one run: memcpy, a round trip over a bare Unix socket. Run by `cargo xtask bench
//! bridges`; without `REMOTEMEDIA_PYTHON` what needs Python is left out. Arguments run only the parts of
//! these names:
//!
//! | part | what its rows are | beside it |
//! |---|---|---|
//! | `convert` | `to_ipc` and `from_ipc` of one item by one converter | memcpy of it: an item is written once and read where it lies |
//! | `execute` | `execute_node` of a node that gives on what it gets, by each bridge; then calls a second of several callers of one node | 8 bytes there and back over a socket; two memcpy, of the question and of the answer |
//! | `transfer` | `DataBridge::transfer` of an item as it left its node, and what the metrics count | memcpy of it |

use std::hint::black_box;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use benches::child::{self, Child, Role};
use benches::nodes::{self, blank};
use benches::{Times, median, promise};
use rm_bridge::{
    ChannelRegistry, DataBridge, ExecutorBridge, IPCDataConverter, MultiprocessBridgeOptions,
    MultiprocessExecutor, MultiprocessExecutorBridge, NativeExecutorBridge,
};
use rm_core::RuntimeData;
use serde_json::json;
use tokio::runtime::Runtime;

const CALLS: u32 = 3_000;
const LIMIT: Duration = Duration::from_secs(1);
const AT_ONCE: [usize; 3] = [1, 4, 16];
const ROUNDS: usize = 5;
/// Stereo, as the contract has it.
const SAMPLES: usize = 1_024;
const CONVERT_MS: f64 = 2.0;
const ITEMS: [(usize, &str); 3] =
    [(3_840, "20 ms audio"), (1 << 20, "1 MiB"), (6_220_800, "1080p")];
/// The role of a child that answers over a bare socket.
const ECHO: &str = "echo";

/// What the bench measures, by name.
type Part = (&'static str, fn(&Runtime) -> Result<()>);

fn main() -> Result<()> {
    if let Some(role) = child::role()? {
        return play(&role);
    }
    let parts: [Part; 3] = [("convert", convert), ("execute", execute), ("transfer", transfer)];
    // Cargo adds `--bench`.
    let wanted: Vec<_> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    if let Some(unknown) = wanted.iter().find(|name| parts.iter().all(|part| part.0 != *name)) {
        bail!("there is no part {unknown:?}; there are {}", parts.map(|part| part.0).join(", "));
    }
    let runtime = Runtime::new()?;
    for (name, part) in parts {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            println!("\n== {name}");
            part(&runtime)?;
        }
    }
    Ok(())
}

fn play(role: &Role) -> Result<()> {
    match role.name.as_str() {
        nodes::WORKER => nodes::serve(),
        ECHO => echo(),
        other => bail!("there is no role {other}"),
    }
}

/// Sends back what comes over standard input, 8 bytes at a time.
fn echo() -> Result<()> {
    let mut socket = UnixStream::from(rustix::io::dup(std::io::stdin())?);
    let mut message = [0; 8];
    while socket.read_exact(&mut message).is_ok() {
        socket.write_all(&message)?;
    }
    Ok(())
}

fn converter() -> Result<Arc<IPCDataConverter>> {
    Ok(Arc::new(IPCDataConverter::new(Arc::new(ChannelRegistry::new()?))?))
}

/// Into shared memory and out of it.
fn convert(runtime: &Runtime) -> Result<()> {
    println!("to_ipc and from_ipc, us: median (p99)\n");
    println!("{:<22} {:>18} {:>18}", "item", "both", "memcpy of it");
    let samples = RuntimeData::audio_f32(vec![0.5; SAMPLES], 48_000, 2)?;
    let mut items = vec![(format!("{SAMPLES} samples f32"), samples)];
    for (len, name) in ITEMS {
        items.push((name.to_owned(), blank(len)?));
    }
    let mut first = None;
    for (name, item) in items {
        let converter = converter()?;
        let times = Times::measure(CALLS, LIMIT, || {
            runtime.block_on(async {
                let message = converter.to_ipc(item.clone()).await?;
                let back = converter.from_ipc(message).await?;
                ensure!(back.payload().len() == item.payload().len(), "an item of another length");
                Ok(())
            })
        })?;
        println!("{name:<22} {times:>18} {:>18}", memcpy(item.payload().len())?);
        first.get_or_insert(times);
    }
    let p99_ms = first.map_or(f64::NAN, |times| times.p99_us() / 1e3);
    println!();
    let text = format!("{SAMPLES} samples there and back: {p99_ms:.4} ms at the 99th percentile");
    promise(p99_ms <= CONVERT_MS, &format!("{text}; promised {CONVERT_MS} ms"));
    Ok(())
}

fn memcpy(len: usize) -> Result<Times> {
    let (from, mut to) = (vec![1_u8; len], vec![0_u8; len]);
    Times::measure(CALLS, LIMIT / 2, || {
        black_box(&mut to).copy_from_slice(black_box(&from));
        Ok(())
    })
}

/// A bridge, and the type of its node that gives on what it gets.
struct Side {
    name: &'static str,
    bridge: Arc<dyn ExecutorBridge>,
    workers: Option<Arc<MultiprocessExecutorBridge>>,
    node_type: &'static str,
}

impl Side {
    fn native() -> Result<Self> {
        let bridge = Arc::new(NativeExecutorBridge::new(Arc::new(nodes::registry()?)));
        Ok(Self { name: "native", bridge, workers: None, node_type: "Forward" })
    }

    fn workers(name: &'static str, python: &Path, node_type: &'static str) -> Result<Self> {
        let options = MultiprocessBridgeOptions {
            python: Some(python.to_owned()),
            base_dir: Some(benches::python_folder()),
            ..MultiprocessBridgeOptions::default()
        };
        let executor = Arc::new(MultiprocessExecutor::new()?);
        let bridge = Arc::new(MultiprocessExecutorBridge::new(executor, "bench", options)?);
        Ok(Self { name, bridge: bridge.clone(), workers: Some(bridge), node_type })
    }

    fn rust() -> Result<Self> {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        Self::workers("Rust worker", &nodes::interpreter(&folder)?, "bench:Forward")
    }

    fn all() -> Result<Vec<Self>> {
        let mut sides = vec![Self::native()?, Self::rust()?];
        match benches::python() {
            Ok(python) => {
                sides.push(Self::workers("Python worker", &python, "bench_nodes:Forward")?);
            }
            Err(error) => println!("not measured: Python ({error})"),
        }
        Ok(sides)
    }

    async fn call(&self, item: RuntimeData) -> Result<RuntimeData> {
        Ok(self.bridge.execute_node("node", self.node_type, item, &json!({})).await?)
    }

    async fn close(self) -> Result<()> {
        match self.workers {
            Some(workers) => Ok(workers.close().await?),
            None => Ok(self.bridge.cleanup_node("node").await?),
        }
    }
}

/// Single calls, and many at once.
fn execute(runtime: &Runtime) -> Result<()> {
    let sides = Side::all()?;
    println!("execute_node, one call at a time, us: median (p99)\n");
    print!("{:<16}", "");
    ITEMS.iter().for_each(|(_, name)| print!(" {name:>20}"));
    println!();
    for side in &sides {
        print!("{:<16}", side.name);
        for (len, _) in ITEMS {
            let item = blank(len)?;
            let times = Times::measure(CALLS, LIMIT, || {
                runtime.block_on(async {
                    let answer = side.call(item.clone()).await?;
                    ensure!(answer.payload().len() == len, "an answer of another length");
                    Ok(())
                })
            })?;
            print!(" {times:>20}");
        }
        println!();
    }
    print!("{:<16}", "limit: 2 memcpy");
    for (len, _) in ITEMS {
        let times = memcpy(len)?;
        let twice = format!("{:.1} ({:.1})", 2.0 * times.median_us(), 2.0 * times.p99_us());
        print!(" {twice:>20}");
    }
    println!("\n{:<16} {:>20}", "peer: socket", round_trip()?);

    println!("\ncalls a second to one node, 20 ms audio, {ROUNDS} rounds\n");
    print!("{:<16}", "");
    AT_ONCE.iter().for_each(|count| print!(" {:>20}", format!("{count} at once")));
    println!();
    for side in sides {
        let side = Arc::new(side);
        print!("{:<16}", side.name);
        for count in AT_ONCE {
            let rounds = (0..ROUNDS).map(|_| runtime.block_on(at_once(&side, count)));
            let rate = median(rounds.collect::<Result<Vec<_>>>()?);
            print!(" {rate:>20.0}");
        }
        println!();
        let side = Arc::into_inner(side).context("nobody else has the bridge")?;
        runtime.block_on(side.close())?;
    }
    Ok(())
}

/// Calls a second of so many callers, each of which gets its own answers.
async fn at_once(side: &Arc<Side>, count: usize) -> Result<f64> {
    let (began, each) = (Instant::now(), CALLS as usize / count);
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..count as u64 {
        let side = side.clone();
        callers.spawn(async move {
            for call in 0..each as u64 {
                let number = caller << 32 | call;
                let item = blank(3_840)?.with_correlation(number);
                let answer = side.call(item).await?;
                ensure!(answer.header().correlation_id == number, "another call's answer");
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = callers.join_next().await {
        done??;
    }
    Ok((each * count) as f64 / began.elapsed().as_secs_f64())
}

/// 8 bytes there and back over a bare socket, in microseconds.
fn round_trip() -> Result<Times> {
    let (mut ours, theirs) = UnixStream::pair()?;
    let _child = Child::start_with(ECHO, &[], Stdio::from(OwnedFd::from(theirs)))?;
    Times::measure(CALLS, LIMIT, || {
        let mut message = [1; 8];
        ours.write_all(&message)?;
        Ok(ours.read_exact(&mut message)?)
    })
}

/// From one bridge to another.
fn transfer(runtime: &Runtime) -> Result<()> {
    let (native, rust) = (Side::native()?, Side::rust()?);
    println!("DataBridge.transfer, us: median (p99)\n");
    println!(
        "{:<30} {:<12} {:>18} {:>12} {:>14} {:>14} {:>18}",
        "from, to", "item", "transfer", "items", "conversions", "bytes copied", "memcpy of it"
    );
    let mut untouched = true;
    for (from, to) in [(&native, &native), (&native, &rust), (&rust, &native), (&rust, &rust)] {
        for (len, name) in ITEMS {
            let bridge = DataBridge::new(from.bridge.clone(), to.bridge.clone(), converter()?);
            // Where it lies when it leaves its node.
            let item = runtime.block_on(from.call(blank(len)?))?;
            let times = Times::measure(CALLS, LIMIT, || {
                let carried = runtime.block_on(bridge.transfer(item.clone()))?;
                ensure!(carried.payload().len() == len, "an item of another length");
                Ok(())
            })?;
            let stats = bridge.metrics().get_stats();
            let way = format!("{} -> {}", from.name, to.name);
            println!(
                "{way:<30} {name:<12} {times:>18} {:>12} {:>14} {:>14} {:>18}",
                stats.transfers,
                stats.conversions,
                stats.copied_bytes,
                memcpy(len)?
            );
            if from.name == to.name {
                untouched &= (stats.conversions, stats.copied_bytes) == (0, 0);
            }
        }
    }
    println!();
    promise(
        untouched,
        "from worker to worker nothing is converted and no byte copied, by the metrics",
    );
    runtime.block_on(async {
        native.close().await?;
        rust.close().await
    })
}
