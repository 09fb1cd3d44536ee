//! Nodes of the benches in Rust: native ones, and a worker that does the same where an interpreter
//! would be.
//!
//! Main functions: [`registry`], [`interpreter`] and [`serve`]. Their like in Python is in
//! `python/bench_nodes.py`. Nothing here is measured but by what the nodes write into items: a list of
//! [`stamps`].

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rm_bridge::{Next, WorkerRuntime, WorkerRuntimeError};
use rm_core::{
    DataHeader, DataMetadata, DataType, Node, NodeError, NodeMetadata, NodeRegistry, Output,
    RuntimeData, TensorType,
};
use rm_ipc::monotonic_ns;
use serde_json::Value;

use crate::child::FLAG;

/// The role of a child that is a worker.
pub const WORKER: &str = "worker";

/// An item of `len` bytes without stamps, at least 8. All of it has been written, so that whoever reads
/// it finds it in memory.
///
/// # Errors
/// If it is larger than a message can be.
pub fn blank(len: usize) -> Result<RuntimeData> {
    let mut payload = vec![1_u8; len];
    if let Some(count) = payload.first_chunk_mut::<8>() {
        *count = [0; 8];
    }
    Ok(RuntimeData::tensor(payload, vec![len], TensorType::U8)?)
}

/// Adds a time to those that a payload carries, if it has room for it.
pub fn stamp(payload: &mut [u8], at_ns: u64) {
    let (words, _) = payload.as_chunks_mut::<8>();
    let Some((count, times)) = words.split_first_mut() else { return };
    let place = u64::from_ne_bytes(*count);
    let free = usize::try_from(place).ok().and_then(|place| times.get_mut(place));
    if let Some(time) = free {
        *time = at_ns.to_ne_bytes();
        *count = (place + 1).to_ne_bytes();
    }
}

/// The times that a payload carries: of each node when it was given the item, and when it gave it on.
pub fn stamps(payload: &[u8]) -> Vec<u64> {
    let (words, _) = payload.as_chunks::<8>();
    let mut words = words.iter().map(|word| u64::from_ne_bytes(*word));
    let count = words.next().and_then(|count| usize::try_from(count).ok()).unwrap_or_default();
    words.take(count).collect()
}

/// Gives on what it gets, with two stamps.
struct Forward;

impl Node for Forward {
    fn process(&mut self, input: RuntimeData, output: &mut Output) -> Result<(), NodeError> {
        let received = monotonic_ns();
        let (header, payload) = input.into_parts();
        // A payload of this process's own is not copied for that.
        let mut payload = Vec::from(payload);
        stamp(&mut payload, received);
        stamp(&mut payload, monotonic_ns());
        output.push(RuntimeData::from_parts(header, payload.into())?);
        Ok(())
    }
}

/// The native nodes: `Forward`.
///
/// # Errors
/// Never: the names differ.
pub fn registry() -> Result<NodeRegistry> {
    let mut registry = NodeRegistry::new();
    let metadata = NodeMetadata {
        name: "Forward".to_owned(),
        accepts: vec![DataType::Tensor],
        produces: vec![DataType::Tensor],
        ..NodeMetadata::default()
    };
    registry.register(metadata, |_| Ok(Box::new(Forward)))?;
    Ok(registry)
}

/// A program that stands where the interpreter would, and runs this binary as a worker. Its file is made
/// in `folder`, and made anew by the next run.
///
/// # Errors
/// If the file cannot be written.
pub fn interpreter(folder: &Path) -> Result<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let own = std::env::current_exe()?;
    let name = own.file_name().context("a program has a name")?;
    let script = folder.join(name).with_extension("sh");
    let text = format!("#!/bin/sh\nexec '{}' {FLAG} {WORKER}\n", own.display());
    std::fs::write(&script, text)?;
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o700))?;
    Ok(script)
}

/// The worker: runs the node that its session names.
///
/// - `bench:Forward` gives on what it gets, with two stamps, written into a loan.
/// - `bench:Burst` makes as many items as its input says, of `size` bytes each.
/// - `bench:Tally` counts them, and gives one item when the last has come.
/// - `bench:Slow` takes `ms` milliseconds for each item.
///
/// # Errors
/// If this process was not started by a session, or the session asks for another node.
pub fn serve() -> Result<()> {
    let mut runtime = WorkerRuntime::connect()?;
    let node_type = runtime.config().node_type.clone();
    let params: Value = serde_json::from_str(&runtime.config().params)?;
    let number = |name: &str| params[name].as_u64().unwrap_or_default();
    let (size, pause) = (number("size") as usize, Duration::from_millis(number("ms")));
    let mut count = 0;
    runtime.ready()?;
    loop {
        match runtime.next_step()? {
            Next::Item { data, .. } => {
                let worked = match node_type.as_str() {
                    "bench:Forward" => forward(&mut runtime, &data),
                    "bench:Burst" => burst(&mut runtime, &data, size),
                    "bench:Tally" => tally(&mut runtime, &data, &mut count),
                    "bench:Slow" => {
                        std::thread::sleep(pause);
                        forward(&mut runtime, &data)
                    }
                    other => bail!("there is no node {other}"),
                };
                match worked.and_then(|()| runtime.done()) {
                    // The session closes the channels when it is over.
                    Err(WorkerRuntimeError::Publish(_)) => return Ok(()),
                    result => result?,
                }
            }
            Next::SetParams(change) => change.refuse("it has no parameters that change"),
            Next::Flush => {}
            Next::End => {
                runtime.finish()?;
                runtime.wait_for_stop();
                return Ok(());
            }
            Next::Stop => return Ok(()),
        }
    }
}

type Worked = Result<(), WorkerRuntimeError>;

/// Lends memory, has it written, and sends it; does nothing where nobody takes it.
fn lend(
    runtime: &mut WorkerRuntime,
    len: usize,
    header: DataHeader,
    write: impl FnOnce(&mut [u8]),
) -> Worked {
    let Some(loan) = runtime.loan(len) else { return Ok(()) };
    let mut loan = loan.map_err(rm_ipc::PublishError::from)?;
    write(loan.bytes_mut());
    runtime.send(loan, header)
}

fn forward(runtime: &mut WorkerRuntime, data: &RuntimeData) -> Worked {
    let received = monotonic_ns();
    let (header, payload) = (data.header().clone(), data.payload());
    lend(runtime, payload.len(), header, |bytes| {
        bytes.copy_from_slice(payload);
        stamp(bytes, received);
        stamp(bytes, monotonic_ns());
    })
}

/// The number in the first bytes of an item.
fn number_in(data: &RuntimeData) -> u64 {
    data.payload().first_chunk().copied().map(u64::from_ne_bytes).unwrap_or_default()
}

fn burst(runtime: &mut WorkerRuntime, data: &RuntimeData, size: usize) -> Worked {
    for left in (0..number_in(data)).rev() {
        let header = DataHeader::new(DataMetadata::Binary, 0);
        lend(runtime, size.max(8), header, |bytes| {
            bytes[..8].copy_from_slice(&left.to_ne_bytes());
        })?;
    }
    Ok(())
}

fn tally(runtime: &mut WorkerRuntime, data: &RuntimeData, count: &mut u64) -> Worked {
    *count += 1;
    if number_in(data) > 0 {
        return Ok(());
    }
    let total = std::mem::take(count);
    let header = DataHeader::new(DataMetadata::Binary, 0);
    lend(runtime, 8, header, |bytes| bytes.copy_from_slice(&total.to_ne_bytes()))
}
