//! Turns a plan into stages and worker configurations around one data plane.
//!
//! Main functions: [`data_plane`], [`stages`] and [`worker`]. Everything is made and joined here, and
//! nothing runs yet.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use rm_bridge::{
    Call, ChannelOptions, DataPlane, Destination, Feed, Inlet, Outlet, Publication, RestartPolicy,
    Stage, StageError, StageNode, Subscription, WorkerConfig, WorkerInput, WorkerOutput,
    WorkerSpec,
};
use rm_core::{NodeContext, NodeId, NodeRegistry, SessionId};
use serde_json::Value;

use crate::error::SessionError;
use crate::plan::{Consumer, Edge, Plan, PlannedChannel, Producer, Route};
use crate::session::{Feeder, Shared};

/// Items that wait between the caller and a pipeline, each way.
const BORDER_DEPTH: usize = 16;

/// Whether a node's process may be started again.
fn restarts(plan: &Plan, node: usize) -> bool {
    plan.nodes[node].restart != RestartPolicy::Never
}

/// The seat of a worker at a channel that keeps what it has not done.
fn seat(plan: &Plan, channel: &PlannedChannel, worker: usize) -> Option<u32> {
    let is_kept = channel.retained && restarts(plan, plan.workers[worker]);
    is_kept.then(|| u32::try_from(worker).unwrap_or(u32::MAX))
}

/// Makes the channels of a plan.
pub(crate) fn data_plane(plan: &Plan) -> Result<DataPlane, SessionError> {
    if plan.channels.is_empty() && plan.workers.is_empty() {
        return Ok(DataPlane::empty());
    }
    let mut data_plane = DataPlane::create()?;
    for (number, channel) in plan.channels.iter().enumerate() {
        let (made_here, again) = match channel.producer {
            Producer::Session => (true, false),
            Producer::Node(node) => (!plan.workers.contains(&node), restarts(plan, node)),
        };
        let is_here = |consumer: &Consumer| !matches!(consumer, Consumer::Worker(_));
        let options = ChannelOptions {
            loopback: made_here && channel.consumers.iter().any(is_here),
            depth: channel.queue.depth,
            capacity: channel.queue.capacity,
            policy: channel.queue.policy,
            max_subscribers: u32::try_from(channel.consumers.len()).unwrap_or(u32::MAX),
            retained: channel.retained,
            max_message: channel.retained.then_some(channel.max_message),
            // Its writer may be followed by another.
            persistent: again,
            ..ChannelOptions::default()
        };
        data_plane.add_channel(&channel.name, options)?;
        for consumer in &channel.consumers {
            if let Consumer::Worker(worker) = consumer
                && let Some(seat) = seat(plan, channel, *worker)
            {
                let reserved = data_plane.channel(number).reserve_seat(seat);
                reserved.map_err(rm_bridge::DataPlaneError::from)?;
            }
        }
    }
    Ok(data_plane)
}

/// What stages are made of.
struct Maker<'a> {
    plan: &'a Plan,
    registry: &'a NodeRegistry,
    session: &'a SessionId,
    data_plane: &'a DataPlane,
    outlet: Outlet,
    epoch: &'a Arc<AtomicU32>,
}

/// Makes the stages of a plan, then one for each channel between the session's caller and a
/// worker. Gives the ends by which items get in.
pub(crate) fn stages(
    plan: &Plan,
    registry: &NodeRegistry,
    session: &SessionId,
    data_plane: &DataPlane,
    outlet: Outlet,
    epoch: &Arc<AtomicU32>,
) -> Result<(Vec<Stage>, Vec<Feeder>), SessionError> {
    let maker = Maker { plan, registry, session, data_plane, outlet, epoch };
    let (mut stages, mut feeds) = (Vec::new(), Vec::new());
    for index in 0..plan.stages.len() {
        let (stage, feed) = maker.stage(index)?;
        stages.push(stage);
        feeds.extend(feed);
    }
    for (number, channel) in plan.channels.iter().enumerate() {
        match channel.producer {
            Producer::Session => {
                let (stage, feed) = maker.way_in(number, channel)?;
                stages.push(stage);
                feeds.push(feed);
            }
            Producer::Node(node) if channel.consumers.contains(&Consumer::Session) => {
                stages.push(maker.way_out(number, channel, node)?);
            }
            Producer::Node(_) => {}
        }
    }
    Ok((stages, feeds))
}

impl Maker<'_> {
    fn empty(&self, name: String) -> Result<Stage, SessionError> {
        Ok(Stage {
            name,
            session: Some(self.session.clone()),
            nodes: Vec::new(),
            inlets: Vec::new(),
            calls: Vec::new(),
            subscriptions: Vec::new(),
            publications: Vec::new(),
            outputs: Vec::new(),
            output: self.outlet.clone(),
            feed: None,
            epoch: Arc::clone(self.epoch),
            timeline: None,
            bell: self.data_plane.doorbell()?,
        })
    }

    /// The native nodes of a planned stage.
    fn stage(&self, index: usize) -> Result<(Stage, Option<Feeder>), SessionError> {
        let plan = self.plan;
        let nodes = &plan.stages[index].nodes;
        let place_of: HashMap<usize, usize> =
            nodes.iter().enumerate().map(|(place, node)| (*node, place)).collect();
        let mut stage = self.empty(format!("stage {index}"))?;
        for node in nodes {
            stage.nodes.push(self.node(*node)?);
        }
        for edge in plan.edges.iter().filter(|edge| edge.route == Route::Call) {
            if let (Some(&from), Some(&to)) = (place_of.get(&edge.from), place_of.get(&edge.to)) {
                let to = add_inlet(&mut stage, self.inlet(edge, to));
                stage.calls.push(Call { from, port: edge.from_port.clone(), to });
            }
        }
        for (number, channel) in plan.channels.iter().enumerate() {
            if channel.consumers.contains(&Consumer::Stage(index)) {
                let mut destinations = Vec::new();
                for edge in plan.edges.iter().filter(|edge| edge.route == Route::Channel(number)) {
                    if let Some(&to) = place_of.get(&edge.to) {
                        let inlet = add_inlet(&mut stage, self.inlet(edge, to));
                        destinations.push(Destination::Node(inlet));
                    }
                }
                let subscriber = self.data_plane.subscribe(number, &stage.bell)?;
                let kept = self.may_return(channel);
                stage.subscriptions.push(Subscription { subscriber, destinations, kept });
            }
            if let Producer::Node(node) = channel.producer
                && let Some(&place) = place_of.get(&node)
            {
                let publisher = self.data_plane.publisher(number, &stage.bell)?;
                let (node, port) = (Some(place), channel.port.clone());
                let kept = channel.retained;
                stage.publications.push(Publication { publisher, node, port, kept });
            }
        }
        let outputs = plan.outputs.iter();
        stage.outputs = outputs.filter_map(|node| place_of.get(node)).copied().collect();
        let feed = self.feed(&mut stage, &place_of);
        Ok((stage, feed))
    }

    /// The way from outside to the nodes of a stage that take items from there.
    fn feed(&self, stage: &mut Stage, place_of: &HashMap<usize, usize>) -> Option<Feeder> {
        let (mut ways, mut destinations) = (Vec::new(), Vec::new());
        for &node in self.plan.inputs.iter().filter(|node| place_of.contains_key(*node)) {
            let inlet = |port| Inlet { node: place_of[&node], from: None, port };
            let to = Destination::Node(add_inlet(stage, inlet(None)));
            destinations.push(to.clone());
            ways.push((node, None, Some(to)));
            let metadata = self.registry.metadata(&self.plan.nodes[node].node_type);
            for port in metadata.iter().flat_map(|metadata| &metadata.input_ports) {
                let to = Destination::Node(add_inlet(stage, inlet(Some(port.clone()))));
                ways.push((node, Some(port.clone()), Some(to)));
            }
        }
        if ways.is_empty() {
            return None;
        }
        let (sender, feed) = Feed::new(BORDER_DEPTH, destinations, &stage.bell);
        stage.feed = Some(feed);
        Some(Feeder { sender, nodes: ways, max_len: None })
    }

    /// Carries items from outside to a worker.
    fn way_in(
        &self,
        number: usize,
        channel: &PlannedChannel,
    ) -> Result<(Stage, Feeder), SessionError> {
        let mut stage = self.empty(format!("input {}", channel.name))?;
        let publisher = self.data_plane.publisher(number, &stage.bell)?;
        let kept = channel.retained;
        stage.publications.push(Publication { publisher, node: None, port: None, kept });
        let destinations = vec![Destination::Channel(0)];
        let (sender, feed) = Feed::new(BORDER_DEPTH, destinations, &stage.bell);
        stage.feed = Some(feed);
        let workers = channel.consumers.iter().filter_map(|consumer| match consumer {
            Consumer::Worker(worker) => Some((self.plan.workers[*worker], None, None)),
            _ => None,
        });
        let max_len = Some(self.data_plane.channel(number).max_message());
        Ok((stage, Feeder { sender, nodes: workers.collect(), max_len }))
    }

    /// Carries what a worker makes to the outside.
    fn way_out(
        &self,
        number: usize,
        channel: &PlannedChannel,
        node: usize,
    ) -> Result<Stage, SessionError> {
        let mut stage = self.empty(format!("output {}", channel.name))?;
        let subscriber = self.data_plane.subscribe(number, &stage.bell)?;
        let destinations = vec![Destination::Output(self.plan.nodes[node].id.clone())];
        let kept = self.may_return(channel);
        stage.subscriptions.push(Subscription { subscriber, destinations, kept });
        Ok(stage)
    }

    /// Whether who writes a channel may be started again.
    fn may_return(&self, channel: &PlannedChannel) -> bool {
        matches!(channel.producer, Producer::Node(node) if restarts(self.plan, node))
    }

    fn inlet(&self, edge: &Edge, to: usize) -> Inlet {
        let from = Some(self.plan.nodes[self.plan.origin(edge.from)].id.clone());
        Inlet { node: to, from, port: edge.to_port.clone() }
    }

    /// How many inputs a node has: pairs of a node that items come from and a port that they come to.
    fn number_of_inputs(&self, node: usize) -> usize {
        let edges = self.plan.edges.iter().filter(|edge| edge.to == node);
        let inputs = edges.map(|edge| (self.plan.origin(edge.from), edge.to_port.as_deref()));
        inputs.collect::<BTreeSet<_>>().len()
    }

    fn node(&self, node: usize) -> Result<StageNode, SessionError> {
        let planned = &self.plan.nodes[node];
        let base_dir = self.plan.base_dir.as_ref().and_then(|folder| folder.to_str());
        let base_dir =
            base_dir.map(|folder| (NodeContext::BASE_DIR.to_owned(), Value::from(folder)));
        let inputs = (NodeContext::INPUTS.to_owned(), self.number_of_inputs(node).into());
        let context = NodeContext {
            node_id: planned.id.to_string(),
            node_type: planned.node_type.clone(),
            params: planned.params.clone(),
            session_id: Some(self.session.to_string()),
            metadata: base_dir.into_iter().chain([inputs]).collect(),
        };
        let planned_type = "the plan was made with the same registry";
        let factory = self.registry.factory(&planned.node_type).expect(planned_type);
        let metadata = self.registry.metadata(&planned.node_type).expect(planned_type);
        let made = factory(&context).map_err(|source| {
            let (node, action) = (planned.id.clone(), "be made".to_owned());
            SessionError::Stage(StageError::Node { node, action, source })
        });
        let (id, source, policy) = (planned.id.clone(), metadata.source, planned.policy);
        let node_type = planned.node_type.clone();
        Ok(StageNode { id, node_type, node: made?, source, policy })
    }
}

fn add_inlet(stage: &mut Stage, inlet: Inlet) -> usize {
    stage.inlets.push(inlet);
    stage.inlets.len() - 1
}

/// The channels that a worker reads.
pub(crate) fn inputs(plan: &Plan, worker: usize) -> Vec<WorkerInput> {
    let node = plan.workers[worker];
    let channels = plan.channels.iter().enumerate();
    let read =
        channels.filter(|(_, channel)| channel.consumers.contains(&Consumer::Worker(worker)));
    read.map(|(number, channel)| {
        let edges = plan.edges.iter();
        let edges = edges.filter(|edge| edge.to == node && edge.route == Route::Channel(number));
        let from = match channel.producer {
            Producer::Node(node) => Some(plan.nodes[plan.origin(node)].id.clone()),
            Producer::Session => None,
        };
        let ports = edges.map(|edge| edge.to_port.clone()).collect();
        WorkerInput {
            channel: channel.name.clone(),
            from,
            ports,
            seat: seat(plan, channel, worker),
        }
    })
    .collect()
}

/// How long a worker may load that waits for a debugger.
const DEBUG_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// What is needed to start a plan's worker.
pub(crate) fn worker(shared: &Shared, worker: usize, init_timeout: Duration) -> WorkerSpec {
    let (plan, config) = (&shared.plan, shared.runtime.config());
    let node = plan.workers[worker];
    let planned = &plan.nodes[node];
    let writes = |channel: &&PlannedChannel| channel.producer == Producer::Node(node);
    let outputs = plan
        .channels
        .iter()
        .filter(writes)
        .map(|channel| WorkerOutput { port: channel.port.clone(), channel: channel.name.clone() });

    let mut env = planned.env.clone();
    if config.debug_mode {
        env.entry("REMOTEMEDIA_LOG_LEVEL".to_owned()).or_insert_with(|| "DEBUG".to_owned());
    }
    let init_timeout = if planned.debug.is_some() { DEBUG_TIMEOUT } else { init_timeout };
    WorkerSpec {
        python: planned.python.clone().or_else(|| config.python.clone()),
        init_timeout,
        limits: planned.limits.clone(),
        env,
        callbacks: Arc::clone(&config.callbacks),
        stubs: config.callback_stubs.clone(),
        config: WorkerConfig {
            class: planned.class.clone(),
            debug: planned.debug,
            params: planned.params.to_string(),
            base_dir: plan.base_dir.clone(),
            inputs: inputs(plan, worker),
            outputs: outputs.collect(),
            policy: planned.policy,
            origins: restarts(plan, node),
            timeline: shared.timeline.is_on(),
            ..WorkerConfig::new(
                shared.id.clone(),
                planned.id.clone(),
                planned.node_type.clone(),
                shared.folder.clone().expect("whoever has workers has shared memory"),
            )
        },
    }
}

/// The id under which a session's items travel.
pub(crate) fn session_id(data_plane: &DataPlane) -> SessionId {
    let folder = data_plane.folder().and_then(Path::file_name);
    let name = folder.map(|name| name.to_string_lossy().into_owned());
    // Nobody finds anything by the name of one that shares nothing: it is only to be unique.
    let name =
        name.unwrap_or_else(|| format!("{:016x}", RandomState::new().build_hasher().finish()));
    SessionId::new(name).expect("it is sixteen hexadecimal digits, as a namespace's name is")
}

/// A node's id and type, for progress and errors.
pub(crate) fn name_of(plan: &Plan, node: usize) -> (NodeId, String) {
    (plan.nodes[node].id.clone(), plan.nodes[node].node_type.clone())
}
