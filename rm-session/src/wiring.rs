//! Turns a plan into stages and worker configurations around one data plane.
//!
//! Main function: [`stages`]. Everything is made and joined here, and nothing runs yet.

use std::collections::HashMap;

use rm_bridge::{
    Call, ChannelOptions, DataPlane, Destination, Feed, FeedSender, Output, Publication, Stage,
    StageError, StageNode, Subscription, WorkerConfig, WorkerInput,
};
use rm_core::{NodeContext, NodeId, NodeRegistry, SessionId};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::config::RuntimeConfig;
use crate::error::SessionError;
use crate::plan::{Consumer, Plan, Producer, Route};

/// Items that wait between the caller and a pipeline, each way.
const BORDER_DEPTH: usize = 16;

/// Makes the channels of a plan.
pub(crate) fn data_plane(plan: &Plan, config: &RuntimeConfig) -> Result<DataPlane, SessionError> {
    let mut data_plane = DataPlane::create()?;
    for channel in &plan.channels {
        let made_here = match channel.producer {
            Producer::Session => true,
            Producer::Node(node) => !plan.workers.contains(&node),
        };
        let is_here = |consumer: &Consumer| !matches!(consumer, Consumer::Worker(_));
        let options = ChannelOptions {
            loopback: made_here && channel.consumers.iter().any(is_here),
            depth: config.channel_depth,
            capacity: plan.multiprocess.channel_capacity.unwrap_or(config.channel_capacity),
            max_subscribers: u32::try_from(channel.consumers.len()).unwrap_or(u32::MAX),
            ..ChannelOptions::default()
        };
        data_plane.add_channel(&channel.name, options)?;
    }
    Ok(data_plane)
}

/// Makes the stages of a plan, then one for each channel between the session's caller and a
/// worker. Gives the senders by which items get in.
pub(crate) fn stages(
    plan: &Plan,
    registry: &NodeRegistry,
    session: &SessionId,
    data_plane: &DataPlane,
    output: &mpsc::Sender<Output>,
) -> Result<(Vec<Stage>, Vec<FeedSender>), SessionError> {
    let mut stages = Vec::new();
    let mut feeds = Vec::new();
    for (index, planned) in plan.stages.iter().enumerate() {
        let place_of: HashMap<usize, usize> =
            planned.nodes.iter().enumerate().map(|(place, node)| (*node, place)).collect();
        let mut stage = empty(format!("stage {index}"), data_plane, output)?;
        for node in &planned.nodes {
            stage.nodes.push(make_node(plan, *node, registry, session)?);
        }
        for edge in &plan.edges {
            let places = (place_of.get(&edge.from), place_of.get(&edge.to));
            if let (Route::Call, (Some(from), Some(to))) = (edge.route, places) {
                stage.calls.push(Call { from: *from, to: *to });
            }
        }
        for (number, channel) in plan.channels.iter().enumerate() {
            if channel.consumers.contains(&Consumer::Stage(index)) {
                let takes = |edge: &&crate::plan::Edge| edge.route == Route::Channel(number);
                let takers = plan.edges.iter().filter(takes);
                let takers = takers.filter_map(|edge| place_of.get(&edge.to));
                let destinations = takers.map(|place| Destination::Node(*place)).collect();
                let subscriber = data_plane.subscribe(number, &stage.bell)?;
                stage.subscriptions.push(Subscription { subscriber, destinations });
            }
            if let Producer::Node(node) = channel.producer
                && let Some(place) = place_of.get(&node)
            {
                let publisher = data_plane.publisher(number, &stage.bell)?;
                stage.publications.push(Publication { publisher, node: Some(*place) });
            }
        }
        let places = |nodes: &[usize]| -> Vec<usize> {
            nodes.iter().filter_map(|node| place_of.get(node)).copied().collect()
        };
        stage.outputs = places(&plan.outputs);
        let inputs = places(&plan.inputs);
        if !inputs.is_empty() {
            let destinations = inputs.into_iter().map(Destination::Node).collect();
            let (sender, feed) = Feed::new(BORDER_DEPTH, destinations, &stage.bell);
            stage.feed = Some(feed);
            feeds.push(sender);
        }
        stages.push(stage);
    }
    for (number, channel) in plan.channels.iter().enumerate() {
        if channel.producer == Producer::Session {
            let mut stage = empty(format!("input {}", channel.name), data_plane, output)?;
            let publisher = data_plane.publisher(number, &stage.bell)?;
            stage.publications.push(Publication { publisher, node: None });
            let destinations = vec![Destination::Channel(0)];
            let (sender, feed) = Feed::new(BORDER_DEPTH, destinations, &stage.bell);
            stage.feed = Some(feed);
            feeds.push(sender);
            stages.push(stage);
        }
        if let (Producer::Node(node), true) =
            (channel.producer, channel.consumers.contains(&Consumer::Session))
        {
            let mut stage = empty(format!("output {}", channel.name), data_plane, output)?;
            let subscriber = data_plane.subscribe(number, &stage.bell)?;
            let destinations = vec![Destination::Output(plan.nodes[node].id.clone())];
            stage.subscriptions.push(Subscription { subscriber, destinations });
            stages.push(stage);
        }
    }
    Ok((stages, feeds))
}

fn empty(
    name: String,
    data_plane: &DataPlane,
    output: &mpsc::Sender<Output>,
) -> Result<Stage, SessionError> {
    Ok(Stage {
        name,
        nodes: Vec::new(),
        calls: Vec::new(),
        subscriptions: Vec::new(),
        publications: Vec::new(),
        outputs: Vec::new(),
        output: output.clone(),
        feed: None,
        bell: data_plane.doorbell()?,
    })
}

fn make_node(
    plan: &Plan,
    node: usize,
    registry: &NodeRegistry,
    session: &SessionId,
) -> Result<StageNode, SessionError> {
    let planned = &plan.nodes[node];
    let base_dir = plan.base_dir.as_ref().and_then(|folder| folder.to_str());
    let base_dir = base_dir.map(|folder| (NodeContext::BASE_DIR.to_owned(), Value::from(folder)));
    let context = NodeContext {
        node_id: planned.id.to_string(),
        node_type: planned.node_type.clone(),
        params: planned.params.clone(),
        session_id: Some(session.to_string()),
        metadata: base_dir.into_iter().collect(),
    };
    let planned_type = "the plan was made with the same registry";
    let factory = registry.factory(&planned.node_type).expect(planned_type);
    let metadata = registry.metadata(&planned.node_type).expect(planned_type);
    let made = factory(&context).map_err(|source| {
        let (node, action) = (planned.id.clone(), "be made".to_owned());
        SessionError::Stage(StageError::Node { node, action, source })
    });
    Ok(StageNode { id: planned.id.clone(), node: made?, source: metadata.source })
}

/// The configuration of a plan's worker, and the edges that its inputs stand for.
pub(crate) fn worker(
    plan: &Plan,
    worker: usize,
    session: &SessionId,
    data_plane: &DataPlane,
) -> WorkerConfig {
    let node = plan.workers[worker];
    let planned = &plan.nodes[node];
    let from = |producer| match producer {
        Producer::Node(node) => Some(plan.nodes[node].id.clone()),
        Producer::Session => None,
    };
    let reads = |channel: &&crate::plan::PlannedChannel| {
        channel.consumers.contains(&Consumer::Worker(worker))
    };
    let inputs = plan.channels.iter().filter(reads);
    let inputs = inputs
        .map(|channel| WorkerInput { channel: channel.name.clone(), from: from(channel.producer) });
    let writes = |channel: &&crate::plan::PlannedChannel| channel.producer == Producer::Node(node);
    WorkerConfig {
        session_id: session.clone(),
        node_id: planned.id.clone(),
        node_type: planned.node_type.clone(),
        params: planned.params.to_string(),
        base_dir: plan.base_dir.clone(),
        namespace: data_plane.folder().to_owned(),
        inputs: inputs.collect(),
        output: plan.channels.iter().find(writes).map(|channel| channel.name.clone()),
    }
}

/// The id under which a session's items travel.
pub(crate) fn session_id(data_plane: &DataPlane) -> SessionId {
    let name = data_plane.folder().file_name().and_then(|name| name.to_str()).unwrap_or("session");
    SessionId::new(name).expect("a namespace is named by sixteen hexadecimal digits")
}

/// A node's id and type, for progress and errors.
pub(crate) fn name_of(plan: &Plan, node: usize) -> (NodeId, String) {
    (plan.nodes[node].id.clone(), plan.nodes[node].node_type.clone())
}
