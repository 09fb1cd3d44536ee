//! Channels: which there are for ports and queues, and how large they are.

use super::super::*;
use super::{machine, parse, plan_of, registry};
use crate::machine::SharedMemory;

use serde_json::json;

/// A manifest of nodes, each an id, a type and further fields, and of connections.
fn document(nodes: &[(&str, &str, Value)], connections: Value) -> Value {
    let node = |(id, node_type, fields): &(&str, &str, Value)| {
        let mut node = json!({"id": id, "node_type": node_type});
        if let (Some(node), Value::Object(fields)) = (node.as_object_mut(), fields) {
            node.extend(fields.clone());
        }
        node
    };
    let nodes: Vec<_> = nodes.iter().map(node).collect();
    json!({"version": "v1", "nodes": nodes, "connections": connections})
}

fn plan(nodes: &[(&str, &str, Value)], connections: Value) -> Plan {
    plan_of(parse(document(nodes, connections)))
}

fn none() -> Value {
    json!({})
}

/// The channels of a plan by name, with the places that read them.
fn channels(plan: &Plan) -> Vec<(&str, String)> {
    let readers = |channel: &PlannedChannel| {
        channel.consumers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    };
    plan.channels.iter().map(|channel| (channel.name.as_str(), readers(channel))).collect()
}

#[test]
fn each_port_and_each_kind_of_queue_has_a_channel() {
    let plan = plan(
        &[
            ("a", "m:A", none()),
            ("a.x", "m:B", none()),
            ("c", "m:C", json!({"queue": {"policy": "latest"}})),
            ("d", "m:D", none()),
        ],
        json!([
            {"from": "a", "to": "a.x"},
            {"from": "a", "to": "c"},
            {"from": "a", "to": "d"},
            {"from": "a.left", "to": "d.in", "queue": {"depth": 3}},
            {"from": "a.left", "to": "c"},
        ]),
    );
    let found: Vec<_> =
        channels(&plan).into_iter().map(|(name, to)| format!("{name}: {to}")).collect();
    assert_eq!(
        found,
        [
            "input-0: worker 0",
            "a: worker 1, worker 3",
            "a.1: worker 2",
            "a.left: worker 3",
            "a.left_1: worker 2",
            "a.x: session",
            "c: session",
            "d: session",
        ]
    );
    let routes: Vec<_> = plan.edges.iter().map(|edge| edge.route).collect();
    assert_eq!(routes, [1, 2, 1, 3, 4].map(Route::Channel));
    let (left, latest) = (&plan.channels[3], &plan.channels[2]);
    assert_eq!(left.port.as_deref(), Some("left"));
    assert_eq!((left.queue.policy, left.queue.depth), (QueuePolicy::Block, 3));
    assert_eq!((latest.queue.policy, latest.queue.depth), (QueuePolicy::Latest, 1));
    assert_eq!(latest.max_message, latest.queue.capacity);
    let edge = &plan.edges[3];
    assert_eq!((edge.from_port.as_deref(), edge.to_port.as_deref()), (Some("left"), Some("in")));
}

#[test]
fn ports_and_ids_that_no_channel_can_be_named_by_get_a_number() {
    let long = "x".repeat(128);
    let plan = plan(
        &[(&long, "m:A", none()), ("b", "m:B", none())],
        json!([
            {"from": format!("{long}.left"), "to": "b"},
            {"from": format!("{long}.a b"), "to": "b"},
        ]),
    );
    let names: Vec<_> = plan.channels.iter().map(|channel| channel.name.as_str()).collect();
    assert_eq!(names, ["input-0", "channel-1", "channel-2", "b"]);
}

#[test]
fn a_thread_or_a_queue_of_its_own_is_a_border_between_native_nodes() {
    let pass = "PassThroughNode";
    let plan = plan(
        &[
            ("a", pass, none()),
            ("b", pass, json!({"own_thread": true})),
            ("c", pass, none()),
            ("d", pass, json!({"queue": {"depth": 2}})),
            ("e", pass, none()),
            ("f", pass, none()),
        ],
        json!([
            {"from": "a", "to": "b"},
            {"from": "b", "to": "c"},
            {"from": "c", "to": "d"},
            {"from": "d", "to": "e"},
            {"from": "e", "to": "f", "queue": {"policy": "drop_oldest", "depth": 4}},
            {"from": "a", "to": "f"},
        ]),
    );
    let stages: Vec<_> = plan.stages.iter().map(|stage| stage.nodes.as_slice()).collect();
    assert_eq!(stages, [[0].as_slice(), &[1], &[2], &[3, 4], &[5]]);
    let calls: Vec<_> = plan.edges.iter().map(|edge| edge.route == Route::Call).collect();
    assert_eq!(calls, [false, false, false, true, false, false]);
    super::check_plan(&plan);
    let waves = plan.waves();
    assert_eq!(waves.len(), 5);
    assert_eq!(waves[3], [Consumer::Stage(3)]);
    let drops = plan.channels.iter().find(|channel| channel.name.as_str() == "e").unwrap();
    assert_eq!(drops.max_message, drops.queue.capacity / 4);
}

#[test]
fn what_waits_for_a_restarted_node_is_kept() {
    let restart = json!({"restart": {"always": {}}});
    let mut document = document(
        &[("a", "m:A", restart.clone()), ("b", "m:B", restart), ("c", "m:C", none())],
        json!([
            {"from": "a", "to": "b"},
            {"from": "a", "to": "c"},
            {"from": "b", "to": "c", "queue": {"depth": 5}},
        ]),
    );
    let of = |document: &Value| {
        let plan = plan_of(parse(document.clone()));
        let of = |channel: &PlannedChannel| {
            let (retained, queue) = (channel.retained, channel.queue);
            (channel.name.to_string(), retained, queue.policy, queue.depth)
        };
        plan.channels.iter().map(of).collect::<Vec<_>>()
    };
    let (block, drop) = (QueuePolicy::Block, QueuePolicy::DropOldest);
    let row = |name: &str, retained, policy, depth| (name.to_owned(), retained, policy, depth);
    assert_eq!(
        of(&document),
        [
            row("input-0", true, block, 16),
            row("a", true, block, 16),
            row("b", false, block, 5),
            row("c", false, block, 100),
        ]
    );
    // Without backpressure only what is kept still makes its sender wait.
    document["metadata"] = json!({"multiprocess": {"enable_backpressure": false}});
    assert_eq!(
        of(&document),
        [
            row("input-0", true, block, 16),
            row("a", true, block, 16),
            row("a.1", false, drop, 100),
            row("b", false, drop, 5),
            row("c", false, drop, 100),
        ]
    );
    let plan = plan_of(parse(document));
    assert_eq!(plan.channels[0].max_message, plan.channels[0].queue.capacity / 16);
    assert!(
        plan.to_string().contains(
            "channel a: worker 0 -> worker 1 (blocks, items 16, 32 MiB, largest 2 MiB, retained)"
        ),
        "{plan}"
    );
}

/// The capacities of the channels of a chain of workers with these settings.
fn capacities(
    workers: usize,
    settings: Value,
    config: &RuntimeConfig,
) -> Result<Vec<usize>, String> {
    let ids: Vec<_> = (0..workers).map(|n| format!("n{n}")).collect();
    let nodes: Vec<_> = ids.iter().map(|id| (id.as_str(), "m:C", none())).collect();
    let connections: Vec<_> =
        ids.windows(2).map(|pair| json!({"from": pair[0], "to": pair[1]})).collect();
    let mut document = document(&nodes, connections.into());
    document["metadata"] = json!({"multiprocess": settings});
    let plan = Plan::with(parse(document), &registry(), config, &machine());
    let plan = plan.map_err(|error| error.to_string())?;
    let sizes: Vec<_> = plan.channels.iter().map(|channel| channel.queue.capacity).collect();
    assert_eq!(plan.shared_memory(), sizes.iter().sum::<usize>() as u64);
    assert!(plan.shared_memory() <= config.shm_segment_size as u64);
    Ok(sizes)
}

#[test]
fn channels_share_the_shared_memory_of_a_session() {
    let config = RuntimeConfig::default();
    let mib = 1 << 20;
    for (workers, expected) in [(1, 64), (3, 64), (4, 32), (7, 32), (8, 16), (16, 8)] {
        let found = capacities(workers, none(), &config);
        assert_eq!(found, Ok(vec![expected * mib; workers + 1]), "{workers}");
    }
    let given = capacities(2, json!({"channel_capacity": mib}), &config);
    assert_eq!(given, Ok(vec![mib; 3]));
    let of_runtime = RuntimeConfig { channel_capacity: Some(2 * mib), ..config.clone() };
    assert_eq!(capacities(1, none(), &of_runtime), Ok(vec![2 * mib; 2]));
    let odd = RuntimeConfig { shm_segment_size: 3_000_000, ..config };
    assert_eq!(capacities(1, none(), &odd), Ok(vec![mib; 2]));
}

#[test]
fn channels_that_do_not_fit_are_refused_with_both_numbers() {
    let config = RuntimeConfig::default();
    let error = capacities(3, json!({"channel_capacity": 128 << 20}), &config).unwrap_err();
    assert_eq!(
        error,
        "the manifest cannot be run: /metadata/multiprocess/channel_capacity: the 4 channels of \
         the pipeline need at least 512 MiB of shared memory, the limit is 256 MiB \
         (shm_segment_size); expected smaller capacities or fewer borders"
    );
    let small = RuntimeConfig { shm_segment_size: 100_000, ..config };
    let error = capacities(1, none(), &small).unwrap_err();
    assert!(error.contains("/connections: the 2 channels of the pipeline need at least 128 KiB of shared memory, the limit is 97.7 KiB"), "{error}");
}

#[test]
fn the_capacity_of_a_connection_goes_before_that_of_its_target() {
    let plan = plan(
        &[
            ("a", "m:A", none()),
            ("b", "m:B", json!({"queue": {"capacity": 4_096, "depth": 9}})),
            ("c", "m:C", none()),
        ],
        json!([
            {"from": "a", "to": "b", "queue": {"capacity": 8_192}},
            {"from": "c", "to": "b"},
        ]),
    );
    let queue = |name: &str| {
        let channel = plan.channels.iter().find(|channel| channel.name.as_str() == name);
        channel.map(|channel| (channel.queue.capacity, channel.queue.depth)).unwrap()
    };
    assert_eq!(queue("a"), (8_192, 9));
    assert_eq!(queue("c"), (4_096, 9));
}

#[test]
fn little_shared_memory_is_a_warning_with_the_hint_for_containers() {
    let manifest = || parse(document(&[("a", "m:A", none())], json!([])));
    let shared_memory = Some(SharedMemory { free: 60 << 20, total: 64 << 20 });
    let container = Machine { shared_memory, ..machine() };
    let config = RuntimeConfig::default();
    let plan = Plan::with(manifest(), &registry(), &config, &container).unwrap();
    assert_eq!(plan.warnings.len(), 1);
    assert_eq!(
        plan.warnings[0].to_string(),
        "/connections: the channels may take 128 MiB of shared memory, 60 MiB are free in \
         /dev/shm; a container has 64 MB unless it is started with --shm-size, and \
         channel_capacity makes the channels smaller"
    );
    assert!(plan.to_string().ends_with("at most 128 MiB of 256 MiB, free in /dev/shm 60 MiB"));
    let unknown = Machine { shared_memory: None, ..machine() };
    assert!(Plan::with(manifest(), &registry(), &config, &unknown).unwrap().warnings.is_empty());
}

#[test]
fn nodes_that_probably_get_nothing_are_warned_about() {
    let plan = plan(
        &[
            ("in", "WavSource", none()),
            ("up", "ResampleNode", none()),
            ("lost", "m:A", none()),
            ("next", "m:B", none()),
            ("alone", "PassThroughNode", none()),
        ],
        json!([{"from": "in", "to": "up"}, {"from": "lost", "to": "next"}]),
    );
    let warnings: Vec<_> = plan.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "/nodes/2: no connection leads to node \"lost\": it gets only what the session is \
             given from outside, although the pipeline has a source, \"in\"",
            "/nodes/4: no connection leads to node \"alone\" or from it",
        ]
    );
    // Without connections and without sources everything is fed by the session.
    let nodes = [("a", "m:A", none()), ("b", "PassThroughNode", none())];
    assert!(self::plan(&nodes, json!([])).warnings.is_empty());
}

#[test]
fn a_plan_does_not_show_the_values_of_variables() {
    let plan = plan(&[("a", "m:A", json!({"env": {"TOKEN": "secret"}}))], json!([]));
    let shown = serde_json::to_string(&plan).unwrap() + &plan.to_string();
    assert!(shown.contains("\"env\":[\"TOKEN\"]") && !shown.contains("secret"), "{shown}");
    assert_eq!(plan.nodes[0].env["TOKEN"], "secret");
}

#[test]
fn an_interpreter_beside_the_manifest_is_found_there() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("venvs/a")).unwrap();
    let text =
        document(&[("a", "m:A", json!({"python": "venvs/a"})), ("b", "m:B", none())], json!([]));
    let path = folder.path().join("pipeline.json");
    std::fs::write(&path, text.to_string()).unwrap();
    let config = RuntimeConfig { python: Some("python3".into()), ..RuntimeConfig::default() };
    let manifest = Manifest::from_file(&path).unwrap();
    let plan = Plan::with(manifest, &registry(), &config, &machine()).unwrap();
    assert_eq!(plan.nodes[0].python, Some(folder.path().join("venvs/a")));
    assert_eq!(plan.nodes[1].python, Some("python3".into()));
}
