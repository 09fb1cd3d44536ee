//! Runs a stage: native nodes on one thread, by plain calls.
//!
//! Main function: [`spawn_stage`]. An item is carried through all nodes of the stage before the
//! next one is taken, so there is no queue inside. The thread waits on one doorbell for all of its
//! channels, and for room in those that it writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use rm_core::{MessageKind, NodeError, NodeId, Produced, RuntimeData};
use rm_ipc::{Latencies, PublishError, ReceiveError, Ringer};
use tokio::sync::mpsc;

use crate::executor::ExecutorType;
use crate::metrics::{ConnectionReport, InputReport, NodeReport};
use crate::stage::{Destination, Output, Publication, Stage, StageNode, Subscription};

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
    /// The stage was told to stop, or what it works with was taken away.
    #[error("stage {stage} was stopped")]
    Stopped {
        /// Which stage.
        stage: String,
    },
    /// A node panicked.
    #[error("stage {stage} panicked: {message}")]
    Panicked {
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

/// A running stage.
pub struct StageHandle {
    started: Arc<AtomicBool>,
    stopped: Arc<AtomicBool>,
    ringer: Ringer,
    thread: Option<JoinHandle<()>>,
}

impl StageHandle {
    /// Lets sources and the feed begin. Channels are taken from in any case.
    pub fn start(&self) {
        self.started.store(true, Ordering::Release);
        self.ringer.ring();
    }

    /// Makes the stage end as soon as the call in which it is returns. Its channels should be
    /// closed too: a stage that waits for room in one is woken by that.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.ringer.ring();
    }

    /// Waits until the thread has ended. Blocks.
    pub fn join(mut self) {
        if let Some(thread) = self.thread.take() {
            // A panic has been reported as an event.
            let _ = thread.join();
        }
    }
}

/// Starts the thread of a stage. It initialises its nodes at once, then works until all of its
/// inputs have ended; what happens is told to `events` together with `key`.
///
/// # Errors
/// The operating system's error if there can be no further thread.
pub fn spawn_stage<K: Clone + Send + 'static>(
    stage: Stage,
    key: K,
    events: mpsc::UnboundedSender<(K, StageEvent)>,
) -> std::io::Result<StageHandle> {
    let started = Arc::new(AtomicBool::new(false));
    let stopped = Arc::new(AtomicBool::new(false));
    let ringer = stage.bell.ringer();
    let (name, nodes) = (stage.name.clone(), stage.nodes.len());
    let flags = (started.clone(), stopped.clone());
    let run = move || {
        let stage_name = stage.name.clone();
        let ready = {
            let (events, key) = (events.clone(), key.clone());
            // The session may have gone; then nobody needs to know.
            move |nodes| drop(events.send((key, StageEvent::Ready { nodes })))
        };
        let mut running = Running::new(stage, flags);
        let work = std::panic::AssertUnwindSafe(|| running.run(ready));
        let event = match std::panic::catch_unwind(work) {
            Ok(Ok(finished)) => finished,
            Ok(Err(error)) => StageEvent::Failed(error),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
                let message = text.unwrap_or("no message").to_owned();
                StageEvent::Failed(StageError::Panicked { stage: stage_name, message })
            }
        };
        // Told before the ports are dropped: those who only see a port go know less of the cause.
        let _ = events.send((key, event));
        drop(running);
    };
    // An item goes through the nodes by nested calls, so the depth of the stack is that of the graph.
    let stack = STACK_BASE + nodes * STACK_PER_NODE;
    let thread = std::thread::Builder::new().name(name).stack_size(stack).spawn(run)?;
    Ok(StageHandle { started, stopped, ringer, thread: Some(thread) })
}

struct RunningNode {
    inner: StageNode,
    routes: Vec<Route>,
    output: rm_core::Output,
    items_in: u64,
    items_out: u64,
    time: Latencies,
}

/// One of the ways that a node's items take, and what went there.
struct Route {
    destination: Destination,
    messages: u64,
    bytes: u64,
    latency: Latencies,
}

struct Running {
    name: String,
    nodes: Vec<RunningNode>,
    subscriptions: Vec<(Subscription, bool)>,
    stage: Borders,
    started: Arc<AtomicBool>,
    stopped: Arc<AtomicBool>,
}

struct Borders {
    publications: Vec<Publication>,
    output: mpsc::Sender<Output>,
    feed: Option<crate::stage::Feed>,
    bell: Arc<rm_ipc::Doorbell>,
}

impl Running {
    fn new(stage: Stage, (started, stopped): (Arc<AtomicBool>, Arc<AtomicBool>)) -> Self {
        let routes_of = |place: usize, id: &NodeId| {
            let calls = stage.calls.iter().filter(|call| call.from == place);
            let calls = calls.map(|call| Destination::Node(call.to));
            let channels = stage.publications.iter().enumerate();
            let channels = channels.filter(|(_, publication)| publication.node == Some(place));
            let channels = channels.map(|(channel, _)| Destination::Channel(channel));
            let outputs = stage.outputs.iter().filter(|output| **output == place);
            let outputs = outputs.map(|_| Destination::Output(id.clone()));
            let route = |destination| Route {
                destination,
                messages: 0,
                bytes: 0,
                latency: Latencies::new(),
            };
            calls.chain(channels).chain(outputs).map(route).collect::<Vec<_>>()
        };
        let routes: Vec<_> = stage
            .nodes
            .iter()
            .enumerate()
            .map(|(place, node)| routes_of(place, &node.id))
            .collect();
        let running = |(inner, routes)| RunningNode {
            inner,
            routes,
            output: rm_core::Output::default(),
            items_in: 0,
            items_out: 0,
            time: Latencies::new(),
        };
        let Stage { name, nodes, subscriptions, publications, output, feed, bell, .. } = stage;
        Self {
            name,
            nodes: nodes.into_iter().zip(routes).map(running).collect(),
            subscriptions: subscriptions.into_iter().map(|input| (input, true)).collect(),
            stage: Borders { publications, output, feed, bell },
            started,
            stopped,
        }
    }

    fn run(&mut self, ready: impl FnOnce(Vec<NodeId>)) -> Result<StageEvent, StageError> {
        for node in &mut self.nodes {
            let initialized = node.inner.node.initialize();
            initialized.map_err(|source| node.error("initialize", source))?;
        }
        ready(self.nodes.iter().map(|node| node.inner.id.clone()).collect());
        let mut sources: Vec<_> =
            (0..self.nodes.len()).filter(|place| self.nodes[*place].inner.source).collect();
        loop {
            if self.stopped.load(Ordering::Acquire) {
                return Err(self.stopped_error());
            }
            let mut idle = true;
            for input in 0..self.subscriptions.len() {
                idle &= !self.receive(input)?;
            }
            if self.started.load(Ordering::Acquire) {
                // Before the start consumers may still be joining.
                idle &= !self.take_from_feed()?;
                let mut ended = Vec::new();
                for place in &sources {
                    idle = false;
                    if self.produce(*place)? == Produced::End {
                        ended.push(*place);
                    }
                }
                sources.retain(|place| !ended.contains(place));
            }
            let open = self.subscriptions.iter().any(|(_, open)| *open);
            if sources.is_empty() && !open && self.stage.feed.is_none() {
                break;
            }
            if idle {
                self.wait(!sources.is_empty());
            }
        }
        self.finish()
    }

    fn wait(&self, has_sources: bool) {
        let ready = || {
            let started = self.started.load(Ordering::Acquire);
            self.stopped.load(Ordering::Acquire)
                || (started && has_sources)
                || self
                    .subscriptions
                    .iter()
                    .any(|(input, open)| *open && input.subscriber.is_ready())
                || (started && self.stage.feed.as_ref().is_some_and(crate::stage::Feed::is_ready))
        };
        self.stage.bell.wait(ready, None);
    }

    fn stopped_error(&self) -> StageError {
        StageError::Stopped { stage: self.name.clone() }
    }

    /// Takes one item from a channel; `false` if there was none.
    fn receive(&mut self, input: usize) -> Result<bool, StageError> {
        let (subscription, open) = &mut self.subscriptions[input];
        if !*open {
            return Ok(false);
        }
        let data = match subscription.subscriber.try_recv() {
            Ok(Some(data)) => data,
            Ok(None) => return Ok(false),
            // Streams end by a message; a channel that just closes was taken away.
            Err(ReceiveError::ChannelClosed) => return Err(self.stopped_error()),
            Err(source) => return Err(StageError::Receive { stage: self.name.clone(), source }),
        };
        if data.header().kind == MessageKind::EndOfStream {
            *open = false;
            return Ok(true);
        }
        for destination in subscription.destinations.clone() {
            self.deliver(&destination, data.clone())?;
        }
        Ok(true)
    }

    fn take_from_feed(&mut self) -> Result<bool, StageError> {
        let Some(feed) = &mut self.stage.feed else { return Ok(false) };
        match feed.items.try_recv() {
            Ok(data) => {
                for destination in feed.destinations.clone() {
                    self.deliver(&destination, data.clone())?;
                }
                Ok(true)
            }
            Err(mpsc::error::TryRecvError::Empty) => Ok(false),
            Err(mpsc::error::TryRecvError::Disconnected) => {
                self.stage.feed = None;
                Ok(true)
            }
        }
    }

    fn produce(&mut self, place: usize) -> Result<Produced, StageError> {
        let node = &mut self.nodes[place];
        let began = Instant::now();
        node.items_in += 1;
        let produced = node.inner.node.produce(&mut node.output);
        node.record(began);
        let produced = produced.map_err(|source| node.error("produce", source))?;
        self.forward(place)?;
        Ok(produced)
    }

    fn process(&mut self, place: usize, data: RuntimeData) -> Result<(), StageError> {
        let node = &mut self.nodes[place];
        let (began, item) = (Instant::now(), node.items_in);
        node.items_in += 1;
        let processed = node.inner.node.process(data, &mut node.output);
        node.record(began);
        processed.map_err(|source| node.error(&format!("process item {item}"), source))?;
        self.forward(place)
    }

    /// Sends on what a node has made.
    fn forward(&mut self, place: usize) -> Result<(), StageError> {
        if self.nodes[place].output.is_empty() {
            return Ok(());
        }
        let mut made = std::mem::take(&mut self.nodes[place].output);
        let emitted = Instant::now();
        for data in made.drain() {
            self.nodes[place].items_out += 1;
            for route in 0..self.nodes[place].routes.len() {
                let way = &mut self.nodes[place].routes[route];
                way.messages += 1;
                way.bytes += data.payload().len() as u64;
                way.latency.record(u64::try_from(emitted.elapsed().as_nanos()).unwrap_or(u64::MAX));
                let destination = way.destination.clone();
                self.deliver(&destination, data.clone())?;
            }
        }
        self.nodes[place].output = made;
        Ok(())
    }

    fn deliver(&mut self, destination: &Destination, data: RuntimeData) -> Result<(), StageError> {
        match destination {
            Destination::Node(place) => self.process(*place, data),
            Destination::Channel(channel) => self.publish(*channel, &data),
            Destination::Output(node) => {
                let output = Output { node: node.clone(), data };
                // Nobody takes the items any more: the session is over.
                self.stage.output.blocking_send(output).map_err(|_| self.stopped_error())
            }
        }
    }

    fn publish(&self, channel: usize, data: &RuntimeData) -> Result<(), StageError> {
        let publication = &self.stage.publications[channel];
        publication.publisher.publish(data).map_err(|source| match source {
            PublishError::ChannelClosed => self.stopped_error(),
            source => {
                let node = publication.node.map(|place| self.nodes[place].inner.id.to_string());
                StageError::Publish { node: node.unwrap_or_else(|| "input".to_owned()), source }
            }
        })
    }

    fn finish(&mut self) -> Result<StageEvent, StageError> {
        for place in 0..self.nodes.len() {
            let node = &mut self.nodes[place];
            let finished = node.inner.node.finish(&mut node.output);
            finished.map_err(|source| node.error("finish", source))?;
            self.forward(place)?;
        }
        for channel in 0..self.stage.publications.len() {
            self.publish(channel, &RuntimeData::end_of_stream())?;
        }
        let id_of = |place: &usize| self.nodes[*place].inner.id.to_string();
        let mut calls = Vec::new();
        for node in &self.nodes {
            for route in &node.routes {
                if let Destination::Node(to) = &route.destination {
                    calls.push(ConnectionReport {
                        from: node.inner.id.to_string(),
                        to: id_of(to),
                        messages: route.messages,
                        bytes: route.bytes,
                        copied_bytes: 0,
                        missed: 0,
                        latency: route.latency.summary(),
                    });
                }
            }
        }
        let nodes = self.nodes.iter().map(RunningNode::report).collect();
        let inputs = self
            .subscriptions
            .iter()
            .map(|(input, _)| InputReport::of(&input.subscriber))
            .collect();
        Ok(StageEvent::Finished { nodes, calls, inputs })
    }
}

impl RunningNode {
    fn record(&mut self, began: Instant) {
        self.time.record(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX));
    }

    fn error(&self, action: &str, source: NodeError) -> StageError {
        StageError::Node { node: self.inner.id.clone(), action: action.to_owned(), source }
    }

    fn report(&self) -> NodeReport {
        NodeReport {
            node: self.inner.id.to_string(),
            executor: ExecutorType::Native,
            items_in: self.items_in,
            items_out: self.items_out,
            time: self.time.summary(),
        }
    }
}
