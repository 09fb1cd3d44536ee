//! What the tests of sessions share.
//!
//! Main types: [`Bench`], a runtime whose workers are `examples/rust_worker.rs`, and [`Items`], numbered
//! items of random sizes that show whether they are whole. A session that has ended is looked after by
//! [`assert_nothing_is_left`].

use std::collections::BTreeSet;
use std::future::Future;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rm_bridge::Output;
use rm_core::{Node, NodeContext, RuntimeData};
use rm_session::{
    CancelToken, Manifest, NodeSummary, Plan, Runtime, RuntimeConfig, Session, SessionError,
    SessionEvent, SessionEvents, SessionStatistics,
};
use serde_json::{Value, json};

use crate::test_node::{NAME, TestNode};

/// A native node and one in a worker.
pub const BOTH: [&str; 2] = [NAME, WORKER];
pub const NATIVE: &str = NAME;
pub const WORKER: &str = "test:Node";

/// A script that stands where the interpreter stands: it runs `examples/rust_worker.rs`.
pub fn interpreter(folder: &Path) -> PathBuf {
    let script = folder.join("python");
    let binary = std::env::current_exe().expect("a test binary");
    let profile = binary.parent().and_then(Path::parent).expect("target/PROFILE/deps/it");
    let worker = profile.join("examples/rust_worker");
    assert!(worker.exists(), "`cargo test` without --test builds {}", worker.display());
    let text = format!("#!/bin/sh\nexec '{}'\n", worker.display());
    std::fs::write(&script, text).expect("a script");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o700)).expect("a script");
    script
}

/// What a test has to itself.
pub struct Bench {
    pub runtime: Runtime,
    folder: tempfile::TempDir,
    /// Locked while others are to wait.
    _alone: Option<std::fs::File>,
}

impl Bench {
    pub fn new() -> Self {
        Self::with(RuntimeConfig::default())
    }

    /// With channels that hold little, and one at a time, in whatever process: a container has 64 MB of
    /// shared memory for all tests that run at once.
    pub fn frugal() -> Self {
        let (channel_depth, channel_capacity) = (16, Some(2 << 20));
        let config = RuntimeConfig { channel_depth, channel_capacity, ..RuntimeConfig::default() };
        let binary = std::env::current_exe().and_then(std::fs::File::open);
        let binary = binary.expect("the binary of this test");
        binary.lock().expect("a file can be locked");
        Self { _alone: Some(binary), ..Self::with(config) }
    }

    pub fn with(config: RuntimeConfig) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let python = Some(interpreter(folder.path()));
        let mut registry = crate::native::registry();
        let test_node = |context: &NodeContext| {
            Ok(Box::new(TestNode::new(&context.node_id, context.params.clone())) as Box<dyn Node>)
        };
        registry.register(TestNode::metadata(), test_node).expect("the names differ");
        let config = RuntimeConfig { python, callback_stubs: None, ..config };
        Self { runtime: Runtime::new(config, registry), folder, _alone: None }
    }

    /// A path for a mark or a gate.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn marks(&self) -> String {
        self.folder.path().display().to_string()
    }

    pub fn gate(&self) -> String {
        self.path("gate").display().to_string()
    }

    /// Lets those work that wait at the gate.
    pub fn open_gate(&self) {
        std::fs::write(self.path("gate"), "").expect("a file");
    }

    pub fn plan(&self, manifest: &Value) -> Plan {
        let manifest = Manifest::from_json(&manifest.to_string()).expect("a valid manifest");
        Plan::with(
            manifest,
            self.runtime.registry(),
            self.runtime.config(),
            &rm_session::Machine::probe(),
        )
        .expect("a plan")
    }

    pub fn create(&self, manifest: &Value) -> Session {
        self.try_create(manifest).expect("a session")
    }

    pub fn try_create(&self, manifest: &Value) -> Result<Session, SessionError> {
        Session::create(&self.runtime, self.plan(manifest), CancelToken::new())
    }

    /// A session whose nodes are ready.
    pub async fn start(&self, manifest: &Value) -> Session {
        let session = self.create(manifest);
        within(session.initialize(|_| {})).await.expect("the nodes get ready");
        session
    }
}

/// One node of a manifest; `extra` has fields beside `params`.
pub fn node(id: &str, node_type: &str, params: Value, extra: Value) -> Value {
    let mut node = json!({"id": id, "node_type": node_type, "params": params});
    if let (Some(fields), Value::Object(extra)) = (node.as_object_mut(), extra) {
        fields.extend(extra);
    }
    node
}

/// A manifest; connections are `(from, to)`.
pub fn manifest(nodes: Vec<Value>, connections: &[(&str, &str)]) -> Value {
    let connections: Vec<_> =
        connections.iter().map(|(from, to)| json!({"from": from, "to": to})).collect();
    json!({"version": "v1", "nodes": nodes, "connections": connections})
}

/// The nodes one behind the other.
pub fn chain(nodes: Vec<Value>) -> Value {
    let id = |node: &Value| node["id"].as_str().expect("nodes have ids").to_owned();
    let ids: Vec<String> = nodes.iter().map(id).collect();
    let pairs: Vec<_> = ids.windows(2).map(|pair| (pair[0].as_str(), pair[1].as_str())).collect();
    manifest(nodes, &pairs)
}

/// So often in a row, at once.
pub fn restarts(max: u32) -> Value {
    json!({"restart": {"on_failure": {"max": max, "backoff": {"initial_ms": 1, "max_ms": 2}}}})
}

/// Waits for something that happens; nothing in a test takes so long.
pub async fn within<T>(what: impl Future<Output = T>) -> T {
    let watchdog = tokio::time::timeout(Duration::from_secs(180), what);
    watchdog.await.expect("it hangs")
}

/// Waits until the session's statistics are as they should be.
pub async fn until(session: &Session, is_so: impl Fn(&SessionStatistics) -> bool) {
    within(async {
        while !is_so(&session.statistics().await) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// What a node has done.
pub fn of<'a>(statistics: &'a SessionStatistics, node: &str) -> &'a NodeSummary {
    let mut nodes = statistics.nodes.iter();
    nodes.find(|summary| summary.node.as_str() == node).expect("the node is there")
}

/// Random numbers that are the same in each run (Steele, Lea and Flood, 2014: SplitMix64).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

/// Numbered items of random sizes; each is a piece of one random text, which shows where it begins.
pub struct Items {
    pool: Vec<u8>,
    pieces: Vec<(usize, usize)>,
}

const KIB: usize = 1 << 10;

impl Items {
    /// Sizes from nothing to 64 KiB, most of them small; each `1 / large` is of 1 MiB, none if 0.
    pub fn new(count: usize, seed: u64, large: usize) -> Self {
        let mut random = Random(seed);
        let words = std::iter::repeat_with(|| random.next().to_le_bytes());
        let pool: Vec<u8> = words.take(2 * KIB * KIB / 8).flatten().collect();
        let piece = |_| {
            let len = match random.below(100) {
                _ if large > 0 && random.below(large) == 0 => KIB * KIB,
                0..10 => 0,
                10..80 => random.below(KIB),
                _ => random.below(64 * KIB + 1),
            };
            (random.below(pool.len() - len), len)
        };
        let pieces = (0..count).map(piece).collect();
        Self { pool, pieces }
    }

    pub fn len(&self) -> usize {
        self.pieces.len()
    }

    fn piece(&self, number: usize) -> &[u8] {
        let (start, len) = self.pieces[number];
        &self.pool[start..start + len]
    }

    pub fn bytes(&self) -> u64 {
        self.pieces.iter().map(|(_, len)| *len as u64).sum()
    }

    pub fn item(&self, number: usize) -> RuntimeData {
        let item = RuntimeData::binary(self.piece(number).to_vec()).expect("far below 4 GiB");
        item.with_correlation(number as u64)
    }

    pub fn all(&self) -> impl Iterator<Item = RuntimeData> + '_ {
        (0..self.len()).map(|number| self.item(number))
    }

    /// Checks that an item is whole; gives its number.
    pub fn check(&self, data: &RuntimeData, copies: usize) -> usize {
        let number = data.header().correlation_id as usize;
        assert!(&data.payload()[..] == self.piece(number / copies), "item {number} is not whole");
        number
    }
}

/// A numbered text.
pub fn text(number: usize) -> RuntimeData {
    let text = RuntimeData::text(number.to_string()).expect("far below 4 GiB");
    text.with_correlation(number as u64)
}

pub fn as_text(output: &Output) -> String {
    output.data.as_text().expect("a text").to_owned()
}

/// What came of a session.
pub struct Ran {
    pub end: Result<(), SessionError>,
    pub events: Vec<SessionEvent>,
    pub statistics: SessionStatistics,
}

impl Ran {
    pub fn restarted(&self) -> usize {
        let is_one = |event: &&SessionEvent| matches!(event, SessionEvent::NodeRestarted { .. });
        self.events.iter().filter(is_one).count()
    }

    pub fn restarts(&self) -> usize {
        let is_one = |event: &&SessionEvent| matches!(event, SessionEvent::NodeRestarts { .. });
        self.events.iter().filter(is_one).count()
    }
}

/// Starts a session that was made, gives it items, takes what comes, and sees that nothing is left.
pub async fn run(
    session: Session,
    items: impl Iterator<Item = RuntimeData>,
    mut take: impl FnMut(Output),
) -> Ran {
    let mut heard = session.events();
    let mut processes = BTreeSet::new();
    let started = within(session.initialize(|_| {})).await;
    processes.extend(session.processes().iter().map(rm_bridge::NodeProcess::process_id));
    let give = async {
        for item in items {
            // The session has ended, and says itself why.
            if session.send_all(item).await.is_err() {
                break;
            }
        }
        session.finish();
    };
    let receive = async {
        loop {
            match session.recv().await {
                Ok(Some(output)) => take(output),
                Ok(None) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    };
    let end = match started {
        Ok(()) => within(async { tokio::join!(give, receive) }).await.1,
        Err(error) => Err(error),
    };
    within(session.close()).await;
    let events = all(&mut heard).await;
    for event in &events {
        if let SessionEvent::NodeRestarted { process_id, .. } = event {
            processes.insert(*process_id);
        }
    }
    let statistics = session.statistics().await;
    assert_nothing_is_left(session.id().as_str(), &processes);
    Ran { end, events, statistics }
}

/// What a session has told until its end.
pub async fn all(events: &mut SessionEvents) -> Vec<SessionEvent> {
    let mut told = Vec::new();
    while let Some(event) = within(events.next()).await {
        told.push(event);
    }
    told
}

pub fn processes_of(session: &Session) -> BTreeSet<u32> {
    session.processes().iter().map(rm_bridge::NodeProcess::process_id).collect()
}

/// Files of a session in shared memory.
pub fn files_of(session: &str) -> Vec<String> {
    let folders = std::fs::read_dir("/dev/shm").into_iter().flatten().flatten();
    let folders: Vec<_> = folders.map(|entry| entry.path()).collect();
    let inner = folders.iter().filter_map(|path| std::fs::read_dir(path).ok()).flatten().flatten();
    let all = folders.iter().cloned().chain(inner.map(|entry| entry.path()));
    all.map(|path| path.display().to_string()).filter(|path| path.contains(session)).collect()
}

/// Whether a process runs; one that nobody has waited for yet does not.
pub fn lives(process: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let state = status.rsplit_once(") ").map(|(_, rest)| rest);
    state.is_some_and(|rest| !rest.starts_with(['Z', 'X']))
}

pub fn assert_nothing_is_left(session: &str, processes: &BTreeSet<u32>) {
    let living: Vec<_> = processes.iter().filter(|process| lives(**process)).collect();
    assert!(living.is_empty(), "processes {living:?} are left");
    assert_eq!(files_of(session), [""; 0], "shared memory is left");
}

/// Gives all items to a node, and ends the input.
pub async fn give(session: &Session, node: &str, items: &Items) {
    for item in items.all() {
        session.send(node, item).await.expect("the session runs");
    }
    session.finish();
}
