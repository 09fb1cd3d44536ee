//! Round trip parent → worker → parent, for 64 B to 10 MiB.
//!
//! Beside it, in one run: the same messages over bare iceoryx2 with the same adaptive wake and no
//! Python; one call of the same Python code in one process; `multiprocessing.Pipe` doing the same.
//!
//! Two nodes: `Touch` reads the first and the last sample and answers with a few bytes, so that
//! nothing depends on the size; `Double` writes twice its input into a loan. The input is lent, not
//! copied. Run by `cargo xtask bench round_trip`.

use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use benches::{SIZES, Times, python, python_folder, run_python};
use iceoryx2::port::publisher::Publisher as RawPublisher;
use iceoryx2::port::subscriber::Subscriber as RawSubscriber;
use iceoryx2::prelude::*;
use rm_bridge::{MultiprocessExecutor, Worker, WorkerConfig, WorkerEvent, WorkerInput, WorkerSpec};
use rm_core::{AudioFormat, AudioLayout, ChannelId, DataHeader, DataMetadata, NodeId, SessionId};
use rm_ipc::{BellId, Channel, ChannelOptions, Doorbell, Namespace, Publisher, Ringer, Subscriber};

const CALLS: u32 = 5_000;
const LIMIT: Duration = Duration::from_secs(3);
const RAW_CHILD: &str = "--raw-child";

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().collect();
    if let [_, flag, folder, bell] = &args[..]
        && flag == RAW_CHILD
    {
        return raw_child(Path::new(folder), bell);
    }
    let python = python()?;
    let raw = Raw::start()?;
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
        let raw = raw.measure(size)?;
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

/// A worker with a Python node, a channel to it and one back.
struct Ours {
    to: Publisher,
    from: std::cell::RefCell<Subscriber>,
    channels: [Channel; 2],
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
        let there = Channel::create(&namespace, &id("there")?, options)?;
        let back = Channel::create(&namespace, &id("back")?, options)?;
        let bell = Arc::new(Doorbell::create(&namespace)?);
        let (to, from) = (there.publisher(&bell)?, back.subscribe(&bell)?);
        let config = WorkerConfig {
            session_id: SessionId::new("bench")?,
            node_id: NodeId::new("node")?,
            node_type: format!("bench_nodes:{node}"),
            params: "{}".to_owned(),
            base_dir: Some(python_folder()),
            namespace: namespace.folder().to_owned(),
            inputs: vec![WorkerInput { channel: id("there")?, from: None }],
            output: Some(id("back")?),
        };
        let handshake_timeout = Duration::from_secs(30);
        let spec = WorkerSpec { python: python.to_owned(), handshake_timeout, config };
        let tokio =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let worker = tokio.block_on(async {
            let (worker, mut events) = MultiprocessExecutor::new()?.start(spec).await?;
            loop {
                match events.next().await? {
                    Some(WorkerEvent::Ready) => break anyhow::Ok(worker),
                    Some(WorkerEvent::Progress { .. }) => {}
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
        self.channels.iter().for_each(Channel::close);
        self.tokio.block_on(self.worker.stop(Duration::from_secs(2)));
        Ok(())
    }
}

type Port = iceoryx2::prelude::ipc::Service;

/// Bare iceoryx2 between two processes, with this project's adaptive wake.
struct Raw {
    publisher: RawPublisher<Port, [u8], ()>,
    subscriber: RawSubscriber<Port, [u8], ()>,
    bell: Doorbell,
    peer: Ringer,
    child: Child,
    _namespace: Namespace,
}

type RawPorts = (RawPublisher<Port, [u8], ()>, RawSubscriber<Port, [u8], ()>);

fn raw_ports(folder: &Path, names: [&str; 2]) -> Result<RawPorts> {
    let mut config = Config::default();
    let id = folder.file_name().and_then(|name| name.to_str()).context("a namespace's folder")?;
    // Under the namespace's prefix, so that it is removed with it.
    config.global.prefix = FileName::new(format!("rm{id}_raw").as_bytes())?;
    let root = folder.to_str().context("the path is UTF-8")?;
    config.global.set_root_path(&iceoryx2::prelude::Path::new(root.as_bytes())?);
    let node = NodeBuilder::new()
        .config(&config)
        .signal_handling_mode(SignalHandlingMode::Disabled)
        .create::<Port>()?;
    let service = |name: &str| -> Result<_> {
        let name: ServiceName = name.try_into()?;
        Ok(node
            .service_builder(&name)
            .publish_subscribe::<[u8]>()
            .payload_alignment(Alignment::new(64).context("a power of two")?)
            .subscriber_max_buffer_size(4)
            .enable_safe_overflow(false)
            .open_or_create()?)
    };
    let [to, from] = names;
    let publisher = service(to)?.publisher_builder().initial_max_slice_len(10 << 20).create()?;
    Ok((publisher, service(from)?.subscriber_builder().create()?))
}

impl Raw {
    fn start() -> Result<Self> {
        let namespace = Namespace::create()?;
        let (publisher, subscriber) = raw_ports(namespace.folder(), ["there", "back"])?;
        let bell = Doorbell::create(&namespace)?;
        let told = namespace.folder().join("child-bell");
        let id = serde_json::to_string(&bell.id())?;
        let mut command = Command::new(std::env::current_exe()?);
        let child = command.arg(RAW_CHILD).arg(namespace.folder()).arg(id).spawn()?;
        let peer = loop {
            match std::fs::read(&told).map(|text| serde_json::from_slice::<BellId>(&text)) {
                Ok(Ok(id)) => break Ringer::open(&namespace, id)?,
                _ => std::thread::yield_now(),
            }
        };
        Ok(Self { publisher, subscriber, bell, peer, child, _namespace: namespace })
    }

    fn measure(&self, size: usize) -> Result<Times> {
        let once = || -> Result<()> {
            let mut sample = self.publisher.loan_slice_uninit(size)?;
            sample.payload_mut()[0].write(1);
            sample.payload_mut()[size - 1].write(1);
            // Every byte of the chunk is memory of the kernel's, which has a value.
            #[expect(unsafe_code, reason = "bare iceoryx2 has no other way not to write it all")]
            // SAFETY: shared memory is initialised by the kernel, and `u8` has no invalid value.
            let sample = unsafe { sample.assume_init() };
            sample.send()?;
            self.peer.ring();
            let ready = || self.subscriber.has_samples().unwrap_or(true);
            loop {
                if let Some(answer) = self.subscriber.receive()? {
                    ensure!(answer.payload().len() == 4, "wrong answer");
                    return Ok(());
                }
                self.bell.wait(ready, None);
            }
        };
        (0..16).try_for_each(|_| once())?;
        Times::measure(CALLS, LIMIT, once)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // The child waits for more for ever.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The other side of [`Raw`]: reads the first and the last byte, answers with four.
fn raw_child(folder: &Path, bell: &str) -> Result<()> {
    let namespace = Namespace::open(folder)?;
    let own = Doorbell::create(&namespace)?;
    let (publisher, subscriber) = raw_ports(folder, ["back", "there"])?;
    let peer = Ringer::open(&namespace, serde_json::from_str(bell)?)?;
    let told = folder.join("child-bell");
    std::fs::write(folder.join("child-bell.new"), serde_json::to_string(&own.id())?)?;
    std::fs::rename(folder.join("child-bell.new"), told)?;
    let sum = AtomicU64::new(0);
    loop {
        if let Some(sample) = subscriber.receive()? {
            let payload = sample.payload();
            sum.fetch_add(u64::from(payload[0] + payload[payload.len() - 1]), Ordering::Relaxed);
            let answer = publisher.loan_slice_uninit(4)?;
            answer.write_from_slice(b"same").send()?;
            peer.ring();
        } else {
            own.wait(|| subscriber.has_samples().unwrap_or(true), None);
        }
    }
}
