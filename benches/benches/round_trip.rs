//! Round trip parent → worker → parent, for 64 B to 10 MiB.
//!
//! Beside it, in one run: the same messages over bare iceoryx2 with the same adaptive wake and no
//! Python; one call of the same Python code in one process; `multiprocessing.Pipe` doing the same.
//!
//! Two nodes: `Touch` reads the first and the last sample and answers with a few bytes, so that
//! nothing depends on the size; `Double` writes twice its input into a loan. The input is lent, not
//! copied. Run by `cargo xtask bench round_trip`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use benches::raw::{Raw, RawIpc};
use benches::{SIZES, Times, child, python, python_folder, raw, run_python};
use rm_bridge::{
    Incoming, Limits, MultiprocessExecutor, Worker, WorkerConfig, WorkerInput, WorkerOutput,
    WorkerSpec,
};
use rm_core::{AudioFormat, AudioLayout, ChannelId, DataHeader, DataMetadata, NodeId, SessionId};
use rm_ipc::{ChannelOptions, Doorbell, Namespace, Publisher, SharedMemoryChannel, Subscriber};

const CALLS: u32 = 5_000;
const LIMIT: Duration = Duration::from_secs(3);

fn main() -> Result<()> {
    if let Some(role) = child::role()? {
        return raw::answer(&role);
    }
    let python = python()?;
    let raw = Raw::<RawIpc>::start()?;
    let touch = Ours::start(&python, "Touch")?;
    let double = Ours::start(&python, "Double")?;
    let baseline = run_python(&python, "baseline.py")?;
    println!("round trip parent -> worker -> parent, one message in flight, us: median (p99)\n");
    println!(
        "{:<12} {:>16} {:>16} {:>16} {:>18} {:>8} | {:>18} {:>16} {:>20} {:>6}",
        "payload",
        "bare iceoryx2",
        "Python call",
        "Touch",
        "Pipe, same work",
        "ratio",
        "Double in a loan",
        "one process",
        "Pipe, same work",
        "ratio"
    );
    let mut medians = Vec::new();
    for (size, name) in SIZES {
        let raw = measure_raw(&raw, size)?;
        let touched = touch.measure(size, size)?;
        let doubled = double.measure(size, size)?;
        let of = |what: &str| -> Result<(f64, f64)> {
            let times = &baseline[size.to_string()][what];
            let field = |name: &str| times[name].as_f64().context("baseline.py gave no number");
            Ok((field("median_us")?, field("p99_us")?))
        };
        let show = |(median, p99): (f64, f64)| format!("{median:.1} ({p99:.1})");
        let (call, in_process) = (of("touch")?, of("double")?);
        let to_limit = touched.median_us() / (raw.median_us() + call.0);
        let to_process = doubled.median_us() / in_process.0;
        println!(
            "{name:<12} {raw:>16} {:>16} {touched:>16} {:>18} {to_limit:>7.2}x | {doubled:>18} {:>16} {:>20} {to_process:>5.2}x",
            show(call),
            show(of("pipe_touch")?),
            show(in_process),
            show(of("pipe_double")?),
        );
        medians.push((size, touched.median_us()));
    }
    let at = |wanted: usize| medians.iter().find(|(size, _)| *size == wanted).map(|(_, us)| *us);
    if let (Some(frame), Some(large)) = (at(3_840), at(4 << 20)) {
        println!(
            "\nTouch, 4 MiB minus 20 ms audio: {:+.2} us (promised: at most 1)",
            large - frame
        );
    }
    println!("Touch to (bare iceoryx2 + Python call): promised at most 3x at every size");
    println!("Double at 4 MiB to the same call in one process: promised at most 1.8x, aim 1.5x");
    touch.check()?;
    double.check()
}

fn measure_raw(raw: &Raw<RawIpc>, size: usize) -> Result<Times> {
    let once = || raw.round_trip(size, |bytes| raw::touch(bytes, 1), 1);
    // Pays for all chunks that the two sides will use.
    (0..16).try_for_each(|_| once())?;
    Times::measure(CALLS, LIMIT, once)
}

/// A worker with a Python node, a channel to it and one back.
struct Ours {
    to: Publisher,
    from: std::cell::RefCell<Subscriber>,
    channels: [SharedMemoryChannel; 2],
    worker: Worker,
    tokio: tokio::runtime::Runtime,
    answers_are_large: bool,
    _namespace: Namespace,
}

impl Ours {
    fn start(python: &Path, node: &str) -> Result<Self> {
        let namespace = Namespace::create()?;
        let id = |name: &str| ChannelId::new(name);
        let options = ChannelOptions { depth: 4, ..ChannelOptions::default() };
        let there = SharedMemoryChannel::create(&namespace, &id("there")?, options)?;
        let back = SharedMemoryChannel::create(&namespace, &id("back")?, options)?;
        let bell = Arc::new(Doorbell::create(&namespace)?);
        let (to, from) = (there.publisher(&bell)?, back.subscriber(&bell)?);
        let node_type = format!("bench_nodes:{node}");
        let ids = (SessionId::new("bench")?, NodeId::new("node")?);
        let input = WorkerInput { channel: id("there")?, from: None, ports: vec![], seat: None };
        let config = WorkerConfig {
            base_dir: Some(python_folder()),
            inputs: vec![input],
            outputs: vec![WorkerOutput { port: None, channel: id("back")? }],
            ..WorkerConfig::new(ids.0, ids.1, node_type, namespace.folder())
        };
        let (python, limits) = (Some(python.to_owned()), Limits::default());
        let init_timeout = Duration::from_secs(30);
        let (callbacks, stubs, env) = (Arc::default(), None, BTreeMap::new());
        let spec = WorkerSpec { python, init_timeout, limits, env, callbacks, stubs, config };
        let tokio =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let worker = tokio.block_on(async {
            let (worker, mut events) = MultiprocessExecutor::new()?.start(spec).await?;
            loop {
                match events.next().await? {
                    Some(Incoming::Ready) => break anyhow::Ok(worker),
                    Some(Incoming::Progress(_)) => {}
                    other => bail!("the worker is not ready: {other:?}"),
                }
            }
        })?;
        let (channels, from) = ([there, back], from.into());
        let answers_are_large = node == "Double";
        Ok(Self { to, from, channels, worker, tokio, answers_are_large, _namespace: namespace })
    }

    fn measure(&self, size: usize, answer: usize) -> Result<Times> {
        let (format, layout) = (AudioFormat::F32, AudioLayout::Interleaved);
        let metadata = DataMetadata::Audio { sample_rate: 48_000, channels: 1, format, layout };
        let mut from = self.from.borrow_mut();
        let mut once = || -> Result<()> {
            let mut loan = self.to.loan_uninit(size)?;
            let bytes = loan.bytes_mut();
            bytes[..4].copy_from_slice(&1_f32.to_le_bytes());
            bytes[size - 4..].copy_from_slice(&1_f32.to_le_bytes());
            loan.written(&DataHeader::new(metadata.clone(), 0))?.send()?;
            let data = from.recv_timeout(Duration::from_secs(30))?;
            if self.answers_are_large {
                ensure!(data.payload().len() == answer, "wrong answer");
                ensure!(data.payload()[size - 4..] == 2_f32.to_le_bytes(), "wrong last sample");
            } else {
                ensure!(data.payload().as_ref() == b"same", "wrong answer");
            }
            Ok(())
        };
        // Pays for all chunks that the two sides will use.
        (0..16).try_for_each(|_| once())?;
        Times::measure(CALLS, LIMIT, once)
    }

    /// Checks that nothing but the small answers was copied, and ends the worker.
    fn check(self) -> Result<()> {
        let [there, back] = &self.channels;
        ensure!(there.copied_bytes() == 0, "input was copied");
        if self.answers_are_large {
            ensure!(back.copied_bytes() == 0, "output was copied");
        }
        println!("copied on the way in: {} bytes of {}", there.copied_bytes(), there.bytes());
        self.channels.iter().for_each(SharedMemoryChannel::close);
        self.tokio.block_on(self.worker.stop(Duration::from_secs(2)));
        Ok(())
    }
}
