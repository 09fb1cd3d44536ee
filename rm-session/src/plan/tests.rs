//! Plans of known graphs, and the rules that hold for plans of any.

mod channels;

use super::*;
use crate::machine::SharedMemory;
use std::collections::HashSet;

use proptest::prelude::*;
use rm_core::{
    DataType, Node, NodeError, NodeMetadata, Output, ParameterKind, ParameterSpec, RuntimeData,
};
use serde_json::json;

/// A native node type that exists, but is never made.
struct Unmade;

impl Node for Unmade {
    fn process(&mut self, _: RuntimeData, _: &mut Output) -> Result<(), NodeError> {
        Ok(())
    }
}

pub(super) fn registry() -> NodeRegistry {
    let audio: &[DataType] = &[DataType::Audio];
    let both: &[DataType] = &[DataType::Audio, DataType::Text];
    let rate = ParameterSpec::optional("target_rate", ParameterKind::Integer, 16_000, "new rate");
    let types = [
        ("WavSource", &[][..], audio),
        ("ResampleNode", audio, audio),
        ("SplitNode", audio, audio),
        ("TextNode", &[DataType::Text], &[DataType::Text]),
        ("PassThroughNode", both, both),
        ("WavSink", audio, &[]),
    ];
    let mut registry = NodeRegistry::new();
    for (name, accepts, produces) in types {
        let parameters = match name {
            "ResampleNode" => vec![rate.clone()],
            _ => Vec::new(),
        };
        let metadata = NodeMetadata {
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
            description: String::new(),
            capabilities: Vec::new(),
            parameters,
            accepts: accepts.to_vec(),
            produces: produces.to_vec(),
            source: accepts.is_empty(),
            output_ports: match name {
                "SplitNode" => vec!["left".to_owned(), "right".to_owned()],
                _ => Vec::new(),
            },
            ..NodeMetadata::default()
        };
        registry.register(metadata, |_| Ok(Box::new(Unmade))).unwrap();
    }
    registry
}

/// A manifest of nodes `id type` and connections `from to`.
pub(super) fn manifest(nodes: &[(&str, &str)], connections: &[(&str, &str)]) -> Manifest {
    let nodes: Vec<_> =
        nodes.iter().map(|(id, node_type)| json!({"id": id, "node_type": node_type})).collect();
    let connections: Vec<_> =
        connections.iter().map(|(from, to)| json!({"from": from, "to": to})).collect();
    parse(json!({"version": "v1", "nodes": nodes, "connections": connections}))
}

pub(super) fn parse(document: Value) -> Manifest {
    Manifest::from_json(&document.to_string()).unwrap()
}

#[track_caller]
fn plan(nodes: &[(&str, &str)], connections: &[(&str, &str)]) -> Plan {
    plan_of(manifest(nodes, connections))
}

#[track_caller]
fn plan_of(manifest: Manifest) -> Plan {
    Plan::with(manifest, &registry(), &RuntimeConfig::default(), &machine()).unwrap()
}

/// A machine of two cores and no GPU.
pub(super) fn machine() -> Machine {
    Machine {
        cores: 2,
        cpus: [0, 1].into(),
        arch: "x86_64".to_owned(),
        memory: Some(8 << 30),
        gpus: Vec::new(),
        shared_memory: Some(SharedMemory { free: 1 << 30, total: 2 << 30 }),
    }
}

#[test]
fn the_executor_and_its_reason_follow_the_manifest_then_the_registry_then_the_form() {
    let plan = plan_of(parse(json!({
        "version": "v1",
        "metadata": {"multiprocess": {"executor_overrides": {
            "over.*": "multiprocess", "Wav*": "native", "speech:Recogniser": "native",
        }}},
        "nodes": [
            {"id": "a", "node_type": "ResampleNode"},
            {"id": "b", "node_type": "ResampleNode", "executor": "native"},
            {"id": "c", "node_type": "speech.nodes:Recogniser"},
            {"id": "d", "node_type": "speech:Recogniser", "executor": "multiprocess"},
            {"id": "e", "node_type": "WavSink"},
            {"id": "f", "node_type": "over.there.Node"},
            {"id": "g", "node_type": "speech.nodes.Recogniser"},
        ],
    })));
    let found: Vec<_> = plan.nodes.iter().map(|node| (node.executor, node.reason)).collect();
    assert_eq!(
        found,
        [
            (ExecutorType::Native, Reason::Registered),
            (ExecutorType::Native, Reason::Explicit),
            (ExecutorType::Multiprocess, Reason::Pattern),
            (ExecutorType::Multiprocess, Reason::Explicit),
            (ExecutorType::Native, Reason::Override),
            (ExecutorType::Multiprocess, Reason::Override),
            (ExecutorType::Multiprocess, Reason::Default),
        ]
    );
    assert_eq!(plan.nodes[5].node_type, "over.there:Node");
    assert_eq!(plan.nodes[6].node_type, "speech.nodes:Recogniser");
}

#[test]
fn a_speech_pipeline_has_two_stages_and_two_workers() {
    let plan = plan(
        &[
            ("out", "WavSink"),
            ("up", "ResampleNode"),
            ("tts", "speech:Tts"),
            ("asr", "speech:Asr"),
            ("rate", "ResampleNode"),
            ("in", "WavSource"),
        ],
        &[("in", "rate"), ("rate", "asr"), ("asr", "tts"), ("tts", "up"), ("up", "out")],
    );
    assert_eq!(
        plan.to_string(),
        "pipeline: nodes 6, stages 2, workers 2, channels 3
  stage 0: in (WavSource, native: registered), rate (ResampleNode, native: registered)
  stage 1: up (ResampleNode, native: registered), out (WavSink, native: registered)
  worker 0: asr (speech:Asr, multiprocess: pattern)
  worker 1: tts (speech:Tts, multiprocess: pattern)
  channel rate: stage 0 -> worker 0 (blocks, items 100, 64 MiB, largest 64 MiB)
  channel asr: worker 0 -> worker 1 (blocks, items 100, 64 MiB, largest 64 MiB)
  channel tts: worker 1 -> stage 1 (blocks, items 100, 64 MiB, largest 64 MiB)
  level 0: stage 0
  level 1: worker 0
  level 2: worker 1
  level 3: stage 1
  shared memory: at most 192 MiB of 256 MiB, free in /dev/shm 1 GiB"
    );
    assert!(plan.inputs.is_empty());
    assert!(plan.outputs.is_empty());
    let routes: Vec<_> = plan.edges.iter().map(|edge| edge.route).collect();
    let expected =
        [Route::Call, Route::Channel(0), Route::Channel(1), Route::Channel(2), Route::Call];
    assert_eq!(routes, expected);
}

#[test]
fn the_session_feeds_and_drains_workers_by_channel_and_native_nodes_directly() {
    let plan = plan(
        &[("input-2", "m:A"), ("n", "ResampleNode"), ("w", "m:B"), ("v", "m:C")],
        &[("w", "v")],
    );
    assert_eq!(plan.inputs, [0, 1, 2]);
    assert_eq!(plan.outputs, [0, 1, 3]);
    let channels: Vec<_> = plan
        .channels
        .iter()
        .map(|channel| (channel.name.as_str(), channel.producer, channel.consumers.as_slice()))
        .collect();
    let (session, node) = (Producer::Session, Producer::Node);
    assert_eq!(
        channels,
        [
            ("input-0", session, [Consumer::Worker(0)].as_slice()),
            ("input-2_1", session, &[Consumer::Worker(1)]),
            ("input-2", node(0), &[Consumer::Session]),
            ("w", node(2), &[Consumer::Worker(2)]),
            ("v", node(3), &[Consumer::Session]),
        ]
    );
}

#[test]
fn two_ways_to_one_node_split_the_stage_and_share_a_channel() {
    // The native nodes a and c are neighbours, but c also waits for what a gave to the worker.
    let plan = plan(
        &[
            ("a", "PassThroughNode"),
            ("b", "m:B"),
            ("c", "PassThroughNode"),
            ("d", "PassThroughNode"),
        ],
        &[("a", "b"), ("b", "c"), ("a", "c"), ("a", "d"), ("d", "c")],
    );
    let stages: Vec<_> = plan.stages.iter().map(|stage| stage.nodes.as_slice()).collect();
    assert_eq!(stages, [[0, 3].as_slice(), &[2]]);
    assert_eq!(plan.channels[0].consumers, [Consumer::Worker(0), Consumer::Stage(1)]);
    let routes: Vec<_> = plan.edges.iter().map(|edge| edge.route).collect();
    let channel_of = |node: usize| {
        let is = |channel: &PlannedChannel| channel.producer == Producer::Node(node);
        Route::Channel(plan.channels.iter().position(is).unwrap())
    };
    assert_eq!(routes, [channel_of(0), channel_of(1), channel_of(0), Route::Call, channel_of(3)]);
}

#[test]
fn a_plan_serialises_with_its_settings() {
    let manifest = parse(json!({
        "version": "v1",
        "metadata": {"name": "one", "multiprocess": {"init_timeout_secs": 1.5}},
        "nodes": [{"id": "a", "node_type": "m:A", "params": {"k": 1}, "odd": 0}],
    }));
    let plan = plan_of(manifest);
    assert_eq!(
        serde_json::to_value(&plan).unwrap(),
        json!({
            "name": "one",
            "multiprocess": {
                "max_processes_per_session": null,
                "channel_capacity": null,
                "init_timeout_secs": 1.5,
                "python_executable": null,
                "enable_backpressure": true,
                "executor_overrides": {},
            },
            "base_dir": null,
            "nodes": [{
                "id": "a", "node_type": "m:A", "params": {"k": 1}, "executor": "multiprocess",
                "reason": "pattern", "level": 0,
            }],
            "stages": [],
            "workers": [0],
            "channels": [
                {
                    "name": "input-0", "producer": "session", "consumers": [{"worker": 0}],
                    "queue": {"policy": "block", "depth": 100, "capacity": 67_108_864},
                    "max_message": 67_108_864,
                },
                {
                    "name": "a", "producer": {"node": 0}, "consumers": ["session"],
                    "queue": {"policy": "block", "depth": 100, "capacity": 67_108_864},
                    "max_message": 67_108_864,
                },
            ],
            "edges": [],
            "inputs": [0],
            "outputs": [0],
            "shared_memory": {
                "needed": 134_217_728, "limit": 268_435_456, "free": 1_073_741_824,
            },
            "warnings": [{"pointer": "/nodes/0/odd", "message": "unknown field \"odd\""}],
        })
    );
}

/// A thousand nodes, native and worker in turn, all behind the first one or in a row.
fn thousand(connect: impl Fn(usize) -> usize) -> Plan {
    let ids: Vec<_> = (0..1_000).map(|n| format!("n{n}")).collect();
    let kind = |n: usize| {
        if n.is_multiple_of(2) { "PassThroughNode" } else { "m:C" }
    };
    let nodes: Vec<_> = (0..1_000).map(|n| (ids[n].as_str(), kind(n))).collect();
    let connections: Vec<_> =
        (1..1_000).map(|n| (ids[connect(n)].as_str(), ids[n].as_str())).collect();
    plan(&nodes, &connections)
}

#[test]
fn a_thousand_nodes_are_planned_in_a_chain_and_side_by_side() {
    let chain = thousand(|n| n - 1);
    assert_eq!(chain.nodes[999].level, 999);
    assert_eq!((chain.stages.len(), chain.workers.len()), (500, 500));
    assert_eq!(chain.channels.len(), 1_000);
    check_plan(&chain);

    let fan = thousand(|_| 0);
    assert_eq!((fan.stages.len(), fan.workers.len()), (1, 500));
    assert_eq!(fan.channels[0].consumers.len(), 16);
    let of_first = fan.channels.iter().filter(|channel| channel.producer == Producer::Node(0));
    assert_eq!(of_first.map(|channel| channel.consumers.len()).sum::<usize>(), 500);
    assert_eq!(fan.outputs.len(), 999);
    check_plan(&fan);
}

/// A number for each stage and worker: the level of its nodes.
fn level_of(plan: &Plan, place: Consumer) -> usize {
    match place {
        Consumer::Stage(stage) => plan.nodes[plan.stages[stage].nodes[0]].level,
        Consumer::Worker(worker) => plan.nodes[plan.workers[worker]].level,
        Consumer::Session => usize::MAX,
    }
}

/// Checks what every plan promises.
#[track_caller]
fn check_plan(plan: &Plan) {
    let mut places = vec![Vec::new(); plan.nodes.len()];
    for (index, stage) in plan.stages.iter().enumerate() {
        for &node in &stage.nodes {
            places[node].push(Consumer::Stage(index));
            assert_eq!(plan.nodes[node].executor, ExecutorType::Native);
            assert_eq!(plan.nodes[node].level, level_of(plan, Consumer::Stage(index)));
        }
    }
    for (index, &node) in plan.workers.iter().enumerate() {
        places[node].push(Consumer::Worker(index));
        assert_eq!(plan.nodes[node].executor, ExecutorType::Multiprocess);
    }
    let place: Vec<_> = places
        .iter()
        .map(|places| {
            assert_eq!(places.len(), 1, "a node has one place");
            places[0]
        })
        .collect();

    let mut readers = HashSet::new();
    for edge in &plan.edges {
        match edge.route {
            Route::Call => {
                assert_eq!(place[edge.from], place[edge.to]);
                let Consumer::Stage(stage) = place[edge.from] else {
                    panic!("a call outside of a stage");
                };
                let at = |node| plan.stages[stage].nodes.iter().position(|&n| n == node);
                assert!(at(edge.from) < at(edge.to));
            }
            Route::Channel(channel) => {
                assert_ne!(place[edge.from], place[edge.to]);
                assert_eq!(plan.channels[channel].producer, Producer::Node(edge.from));
                assert!(plan.channels[channel].consumers.contains(&place[edge.to]));
                assert_eq!(plan.channels[channel].port, edge.from_port);
                readers.insert((channel, place[edge.to]));
            }
        }
    }

    let mut names = HashSet::new();
    let mut producers = HashSet::new();
    for (index, channel) in plan.channels.iter().enumerate() {
        assert!(names.insert(&channel.name), "two channels of one name");
        assert!(!channel.consumers.is_empty());
        let distinct: HashSet<_> = channel.consumers.iter().collect();
        assert_eq!(distinct.len(), channel.consumers.len());
        assert!(channel.consumers.len() <= 16);
        let restarts = |consumer: &Consumer| match consumer {
            Consumer::Worker(worker) => {
                plan.nodes[plan.workers[*worker]].restart != RestartPolicy::Never
            }
            _ => false,
        };
        assert_eq!(channel.retained, channel.consumers.iter().any(restarts));
        assert!(!channel.retained || channel.queue.policy == QueuePolicy::Block);
        assert!(channel.queue.capacity.is_power_of_two());
        assert!(channel.max_message <= channel.queue.capacity);
        let node = match channel.producer {
            Producer::Session => {
                let [Consumer::Worker(worker)] = channel.consumers[..] else {
                    panic!("the session's channels lead to one worker each");
                };
                assert!(plan.inputs.contains(&plan.workers[worker]));
                continue;
            }
            Producer::Node(node) => node,
        };
        producers.insert(node);
        for &consumer in &channel.consumers {
            // Levels rise along channels: so stages and workers form no circle.
            assert!(level_of(plan, place[node]) < level_of(plan, consumer));
            match consumer {
                Consumer::Session => assert!(plan.outputs.contains(&node)),
                reader => assert!(readers.contains(&(index, reader)), "nobody reads there"),
            }
        }
    }
    assert!(plan.shared_memory() <= plan.shared_memory.limit);
    for &worker in &plan.workers {
        assert!(producers.contains(&worker), "a worker without a channel");
    }
    let stages = (0..plan.stages.len()).map(Consumer::Stage);
    let workers = (0..plan.workers.len()).map(Consumer::Worker);
    assert!(stages.map(|stage| level_of(plan, stage)).is_sorted());
    assert!(workers.map(|worker| level_of(plan, worker)).is_sorted());
}

/// A node of a random plan: a worker that is started again or not, or a native node with a thread of
/// its own or not; with a queue or without.
fn node_fields() -> impl Strategy<Value = Value> {
    let fields = prop::sample::select(vec![
        json!({"node_type": "m:C"}),
        json!({"node_type": "m:C"}),
        json!({"node_type": "m:C", "restart": {"always": {}}}),
        json!({"node_type": "PassThroughNode"}),
        json!({"node_type": "PassThroughNode"}),
        json!({"node_type": "PassThroughNode", "own_thread": true}),
    ]);
    (fields, prop::option::weighted(0.2, 1_u32..4)).prop_map(|(mut fields, depth)| {
        if let Some(depth) = depth {
            fields["queue"] = json!({"depth": depth});
        }
        fields
    })
}

proptest! {
    #[test]
    fn every_plan_keeps_its_promises(
        fields in prop::collection::vec(node_fields(), 1..24),
        chosen in prop::collection::btree_map(
            (0_usize..24, 0_usize..24, prop::option::weighted(0.2, 0_u8..2)),
            prop::option::weighted(0.2, 1_u32..4),
            0..60,
        ),
        order in Just((0..24).collect::<Vec<usize>>()).prop_shuffle(),
        enable_backpressure in any::<bool>(),
    ) {
        let is_worker = |node: usize| fields[node]["node_type"] == "m:C";
        let nodes: Vec<_> = fields
            .iter()
            .enumerate()
            .map(|(index, fields)| {
                let mut node = fields.clone();
                node["id"] = json!(format!("n{index}"));
                node
            })
            .collect();
        let connections: Vec<_> = chosen
            .iter()
            .filter(|((from, to, _), _)| {
                *from < nodes.len() && *to < nodes.len() && order[*from] < order[*to]
            })
            .map(|((from, to, port), depth)| {
                let mut end = format!("n{from}");
                if let Some(port) = port.filter(|_| is_worker(*from)) {
                    end += &format!(".p{port}");
                }
                let queue = depth.map(|depth| json!({"depth": depth}));
                json!({"from": end, "to": format!("n{to}"), "queue": queue})
            })
            .collect();
        let document = json!({
            "version": "v1",
            "metadata": {"multiprocess": {"enable_backpressure": enable_backpressure}},
            "nodes": nodes,
            "connections": connections,
        });
        // Native nodes have no ports here, so two connections may have become the same one.
        if let Ok(manifest) = Manifest::from_json(&document.to_string()) {
            let plan = plan_of(manifest);
            prop_assert_eq!(plan.edges.len(), connections.len());
            check_plan(&plan);
        }
    }
}

/// The registry of the other tests with a Python class in it.
fn with_class() -> NodeRegistry {
    let mut registry = registry();
    let metadata = NodeMetadata {
        name: "gain".to_owned(),
        parameters: vec![ParameterSpec::optional("factor", ParameterKind::Float, 2.0, "")],
        accepts: vec![DataType::Audio],
        output_ports: vec!["side".to_owned()],
        ..NodeMetadata::default()
    };
    registry.register_class(metadata, "speech.nodes:Gain").unwrap();
    let open = NodeMetadata {
        name: "speech.nodes:Open".to_owned(),
        open_params: true,
        ..NodeMetadata::default()
    };
    registry.register_class(open, "speech.nodes:Open").unwrap();
    registry
}

#[test]
fn a_registered_class_runs_in_a_worker_under_its_name() {
    let manifest = parse(json!({"version": "v1", "nodes": [
        {"id": "a", "node_type": "gain", "params": {"factor": 3}},
        {"id": "b", "node_type": "gain", "executor": "multiprocess"},
        {"id": "c", "node_type": "speech.nodes.Open", "params": {"any": 1}},
        {"id": "d", "node_type": "speech.nodes:Other"},
    ]}));
    let plan = Plan::new(manifest, &with_class()).unwrap();
    let of = |index: usize| {
        let node = &plan.nodes[index];
        let class = node.class.as_ref().map(|class| class.path.as_str());
        assert_eq!(node.executor, ExecutorType::Multiprocess);
        (node.node_type.as_str(), class, node.reason)
    };
    assert_eq!(of(0), ("gain", Some("speech.nodes:Gain"), Reason::Registered));
    assert_eq!(of(1), ("gain", Some("speech.nodes:Gain"), Reason::Explicit));
    assert_eq!(of(2), ("speech.nodes:Open", Some("speech.nodes:Open"), Reason::Default));
    assert_eq!(of(3), ("speech.nodes:Other", None, Reason::Pattern));
    assert!(plan.to_string().contains("worker 0: a (gain, multiprocess: registered)"));
}

#[test]
fn what_a_registered_class_declares_is_checked_as_of_a_native_node() {
    let manifest = parse(json!({
        "version": "v1",
        "nodes": [
            {"id": "text", "node_type": "TextNode"},
            {"id": "gain", "node_type": "gain", "params": {"factr": "x"}},
            {"id": "native", "node_type": "gain", "executor": "native"},
            {"id": "typo", "node_type": "gian"},
            {"id": "sink", "node_type": "speech.nodes:Open", "params": {"any": 1}},
        ],
        "connections": [
            {"from": "text", "to": "gain"},
            {"from": "gain.sied", "to": "sink.any"},
            {"from": "gain.side", "to": "text"},
        ],
    }));
    let error = Plan::new(manifest, &with_class()).unwrap_err();
    let found: Vec<_> = error.problems().iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [
            "/nodes/1/params/factr: unknown parameter \"factr\"; did you mean \"factor\"?",
            "/nodes/2/node_type: unknown native node type \"gain\"; it is the Python class \
             speech.nodes:Gain, which runs as multiprocess",
            "/nodes/3/node_type: unknown node type \"gian\"; did you mean \"gain\"?",
            "/connections/0: \"text\" (TextNode) gives text, but \"gain\" (gain) takes audio",
            "/connections/1/from: \"gain\" (gain) has no output port \"sied\"; did you mean \
             \"side\"?",
            "/connections: cycle: text -> gain -> text",
        ]
    );
}

#[test]
fn a_node_that_waits_for_a_debugger_has_all_the_time_that_there_is() {
    let manifest = parse(json!({"version": "v1", "nodes": [
        {"id": "a", "node_type": "gain", "timeout_secs": 1, "debug": true},
        {"id": "b", "node_type": "gain", "timeout_secs": 1, "debug": 5678},
        {"id": "c", "node_type": "gain", "timeout_secs": 1},
        {"id": "d", "node_type": "ResampleNode"},
    ]}));
    let [a, c] = ["a", "c"].map(|id| rm_core::NodeId::new(id).unwrap());
    let plan = Plan::new(manifest.clone(), &with_class()).unwrap();
    let debug: Vec<_> = plan.nodes.iter().map(|node| node.debug).collect();
    assert_eq!(debug, [Some(0), Some(5678), None, None]);
    let timed: Vec<_> = plan.nodes.iter().map(|node| node.policy.timeout.is_some()).collect();
    assert_eq!(timed, [false, false, true, false]);
    let plan = Plan::new(manifest.clone().with_debug(&c, 7).unwrap(), &with_class()).unwrap();
    assert_eq!(plan.nodes[2].debug, Some(7));
    let missing = rm_core::NodeId::new("none").unwrap();
    assert!(manifest.clone().with_debug(&missing, 0).is_err());
    let native = parse(json!({"version": "v1", "nodes": [
        {"id": "a", "node_type": "ResampleNode", "debug": true},
    ]}));
    let error = Plan::new(native, &with_class()).unwrap_err();
    assert!(error.to_string().contains("/nodes/0/debug: node \"a\" is native, so it has no"));
    assert!(Plan::new(manifest.with_debug(&a, 0).unwrap(), &with_class()).is_ok());
}
