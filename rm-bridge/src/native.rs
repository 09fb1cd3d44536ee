//! Runs a stage: native nodes on one thread, by plain calls.
//!
//! Main function: [`spawn_stage`]. An item is carried through all nodes of the stage before the
//! next one is taken, so there is no queue inside. The thread waits on one doorbell for all of its
//! channels, and for room in those that it writes.

mod controls;
mod running;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rm_core::{NodeError, NodeId};
use rm_ipc::{PublishError, ReceiveError, Ringer};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use self::controls::{Change, Controls};
use self::running::Running;
use crate::metrics::{ConnectionReport, InputReport, NodeReport, NodeStatistics};
use crate::protocol::ItemFailure;
use crate::stage::Stage;

/// Stack of a stage's thread, in bytes: what any node may use, and what each call to a next node
/// takes at most in a build without optimisation. Only what is used becomes memory.
const STACK_BASE: usize = 4 << 20;
const STACK_PER_NODE: usize = 32 << 10;

/// Why a stage has failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StageError {
    /// A node could not start, or could not do its work.
    #[error("node {node} failed to {action}")]
    Node {
        /// Which node.
        node: NodeId,
        /// `"initialize"`, `"produce"`, `"finish"`, or `"process item 17"`.
        action: String,
        /// Why.
        #[source]
        source: NodeError,
    },
    /// A node was at one item for longer than it may.
    #[error("node {node} has been at item {item} for more than {timeout:?}")]
    TimedOut {
        /// Which node.
        node: NodeId,
        /// The item's position, counted from 0 over all inputs of the node.
        item: u64,
        /// How long it may take.
        timeout: Duration,
    },
    /// An item could not be sent on.
    #[error("items of node {node} cannot be sent on")]
    Publish {
        /// Which node.
        node: String,
        /// Why.
        #[source]
        source: PublishError,
    },
    /// A channel gave something that cannot be.
    #[error("stage {stage} cannot receive")]
    Receive {
        /// Which stage.
        stage: String,
        /// Why.
        #[source]
        source: ReceiveError,
    },
    /// Items were sent to the stage that cannot come any more.
    #[error("{count} items for stage {stage} were lost: their sender died with them")]
    Lost {
        /// Which stage.
        stage: String,
        /// How many.
        count: u64,
    },
    /// The stage was told to stop, or what it works with was taken away.
    #[error("stage {stage} was stopped")]
    Stopped {
        /// Which stage.
        stage: String,
    },
    /// A node panicked.
    #[error(
        "{} panicked: {message}",
        node.as_ref().map_or_else(|| stage.clone(), |node| format!("node {node}"))
    )]
    Panicked {
        /// Which node, if it was one.
        node: Option<NodeId>,
        /// Which stage.
        stage: String,
        /// What the panic said.
        message: String,
    },
}

/// What a stage tells its session.
#[derive(Debug)]
pub enum StageEvent {
    /// All of its nodes are initialised.
    Ready {
        /// Its nodes.
        nodes: Vec<NodeId>,
    },
    /// A node has failed on an item, which was left out.
    Skipped(ItemFailure),
    /// It has taken and given everything, and has ended.
    Finished {
        /// What its nodes did.
        nodes: Vec<NodeReport>,
        /// What went over the connections inside.
        calls: Vec<ConnectionReport>,
        /// What came in by its channels, in the order of its subscriptions.
        inputs: Vec<InputReport>,
    },
    /// It has ended before its time.
    Failed(StageError),
}

/// What can be said to a running stage, from any thread. Clones are the same stage's.
#[derive(Clone)]
pub struct StageRemote {
    controls: Arc<Controls>,
    ringer: Ringer,
}

impl StageRemote {
    /// Lets sources and the feed begin. Channels are taken from in any case.
    pub fn start(&self) {
        self.controls.start();
        self.ringer.ring();
    }

    /// Makes the stage end as soon as the call in which it is returns. Its channels should be
    /// closed too: a stage that waits for room in one is woken by that.
    pub fn stop(&self) {
        self.controls.stop();
        self.ringer.ring();
    }

    /// Lets the stage see that the epoch has changed: nodes then drop what they hold back.
    pub fn notice_epoch(&self) {
        self.ringer.ring();
    }

    /// Gives a node, by its place in the stage, new values of parameters between two items. What is
    /// received is the node's answer; nothing, if the stage has ended.
    pub fn set_params(
        &self,
        node: usize,
        params: Value,
    ) -> oneshot::Receiver<Result<(), NodeError>> {
        let (answer, answered) = oneshot::channel();
        self.controls.change(Change { node, params, answer });
        self.ringer.ring();
        answered
    }

    /// What a node, by its place in the stage, has done so far.
    pub fn statistics(&self, node: usize) -> NodeStatistics {
        self.controls.meter(node).statistics()
    }
}

/// A running stage.
pub struct StageHandle {
    remote: StageRemote,
    thread: Option<JoinHandle<()>>,
    /// Completes when the thread has let go of everything.
    ended: oneshot::Receiver<()>,
}

impl StageHandle {
    /// By which the stage is spoken to.
    pub fn remote(&self) -> &StageRemote {
        &self.remote
    }

    /// As [`StageRemote::start`].
    pub fn start(&self) {
        self.remote.start();
    }

    /// As [`StageRemote::stop`].
    pub fn stop(&self) {
        self.remote.stop();
    }

    /// Waits, at most so long, until the thread has ended; whether it has. A node that never returns
    /// keeps its thread.
    pub async fn ended(mut self, patience: Duration) -> bool {
        // The sender is dropped by the thread, with nothing sent.
        let ended = tokio::time::timeout(patience, &mut self.ended).await.is_ok();
        if ended {
            self.join();
        }
        ended
    }

    /// Waits until the thread has ended. Blocks.
    pub fn join(mut self) {
        if let Some(thread) = self.thread.take() {
            // A panic has been reported as an event.
            let _ = thread.join();
        }
    }
}

/// Runs a stage until its end, whatever that is, and says which.
fn work(running: &mut Running, stage: String, go_on: &mut dyn FnMut() -> bool) -> StageEvent {
    let work = std::panic::AssertUnwindSafe(|| running.run(go_on));
    let ended = std::panic::catch_unwind(work);
    running.tell_times();
    match ended {
        Ok(Ok(finished)) => finished,
        Ok(Err(error)) => StageEvent::Failed(error),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            let message = text.unwrap_or("no message").to_owned();
            let node = running.in_call();
            StageEvent::Failed(StageError::Panicked { node, stage, message })
        }
    }
}

/// Runs a stage without channels on the calling thread, which needs room for as many nested calls as
/// there are nodes. What happens meanwhile is told to `tell`; how it ended is returned. Before each
/// item that is taken or made, `go_on` is asked; if it says no, the stage is stopped. It may give the
/// stage items, which is waited for while there are none.
pub fn run_stage(
    stage: Stage,
    tell: impl Fn(StageEvent) + Send + Sync + 'static,
    go_on: &mut dyn FnMut() -> bool,
) -> StageEvent {
    let (controls, name) = (Arc::new(Controls::new(stage.nodes.len())), stage.name.clone());
    controls.start();
    work(&mut Running::new(stage, controls, Arc::new(tell)), name, go_on)
}

/// Starts the thread of a stage. It initialises its nodes at once, then works until all of its
/// inputs have ended; what happens is told to `events` together with `key`.
///
/// # Errors
/// The operating system's error if there can be no further thread.
pub fn spawn_stage<K: Clone + Send + Sync + 'static>(
    stage: Stage,
    key: K,
    events: mpsc::UnboundedSender<(K, StageEvent)>,
) -> std::io::Result<StageHandle> {
    let controls = Arc::new(Controls::new(stage.nodes.len()));
    let ringer = stage.bell.ringer();
    let (name, nodes) = (stage.name.clone(), stage.nodes.len());
    let shared = Arc::clone(&controls);
    let (ending, ended) = oneshot::channel::<()>();
    let run = move || {
        let stage_name = stage.name.clone();
        let tell = {
            let (events, key) = (events.clone(), key.clone());
            // The session may have gone; then nobody needs to know.
            Arc::new(move |event| drop(events.send((key.clone(), event))))
        };
        let mut running = Running::new(stage, shared, tell);
        let event = work(&mut running, stage_name, &mut || true);
        // Told before the ports are dropped: those who only see a port go know less of the cause.
        let has_finished = matches!(event, StageEvent::Finished { .. });
        let _ = events.send((key, event));
        if has_finished {
            running.keep_ports();
        }
        drop(running);
        drop(ending);
    };
    // An item goes through the nodes by nested calls, so the depth of the stack is that of the graph.
    let stack = STACK_BASE + nodes * STACK_PER_NODE;
    let thread = std::thread::Builder::new().name(name).stack_size(stack).spawn(run)?;
    Ok(StageHandle { remote: StageRemote { controls, ringer }, thread: Some(thread), ended })
}
