//! On what the time of items goes, by node: in stages, in workers, and across a restart.

use rm_bridge::{ItemTimes, Phase, Work};
use rm_session::{
    CancelToken, InitStatus, NodeRun, NodeTimeline, Plan, RuntimeConfig, Session, Timeline,
};
use serde_json::json;

use crate::support::{Bench, NATIVE, WORKER, chain, node, restarts, run, text};

const ITEMS: usize = 500;

/// Runs a pipeline over numbered texts, to its end.
async fn timeline(session: Session) -> Timeline {
    let kept = session.clone();
    run(session, (0..ITEMS).map(text), |_| {}).await.end.expect("it ends well");
    kept.timeline().expect("it is asked for")
}

fn sum(times: &ItemTimes) -> u64 {
    let phases: u64 = Phase::ALL.iter().map(|phase| times.time_in(*phase)).sum();
    times.queue_ns() + times.wake_ns() + phases
}

fn items(node: &NodeTimeline) -> impl Iterator<Item = &ItemTimes> {
    let times = node.runs.iter().flat_map(|run| &run.timed.items);
    times.filter(|times| times.work == Work::Item)
}

fn has(times: &ItemTimes, phase: Phase) -> bool {
    times.phases.iter().any(|mark| mark.phase == phase)
}

/// Three nodes: two native ones with a worker between them.
fn mixed(bench: &Bench) -> Plan {
    let plain = |id, node_type| node(id, node_type, json!({}), json!({}));
    bench.plan(&chain(vec![plain("a", NATIVE), plain("b", WORKER), plain("c", NATIVE)]))
}

fn create(bench: &Bench, plan: Plan) -> Session {
    Session::create(&bench.runtime, plan, CancelToken::new()).expect("a session")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_item_is_timed_in_each_node_from_when_it_was_sent_to_when_it_was_done() {
    let bench = Bench::new();
    let mut plan = mixed(&bench);
    plan.timeline = true;
    let told = timeline(create(&bench, plan)).await;
    assert_eq!(told.process_id, std::process::id());
    let ids = told.nodes.iter().map(|node| node.node.as_str());
    assert!(ids.eq(["a", "b", "c"]));
    for node in &told.nodes {
        let [run] = node.runs.as_slice() else { panic!("{:?}", node.runs) };
        assert_eq!((run.timed.dropped, &run.end), (0, &None));
        let steps: Vec<_> = run.steps.iter().map(|step| &step.status).collect();
        let is_worker = node.node.as_str() == "b";
        let (own, loading) = (run.process_id == told.process_id, InitStatus::LoadingModel);
        if is_worker {
            let (starting, connecting) = (InitStatus::Starting, InitStatus::Connecting);
            assert_eq!(steps, [&starting, &connecting, &loading, &InitStatus::Ready]);
        } else {
            assert_eq!(steps, [&loading, &InitStatus::Ready]);
        }
        assert!(run.steps.iter().map(|step| step.at_ns).is_sorted());
        assert!(run.steps[0].at_ns >= told.began_ns);
        assert_eq!(own, !is_worker);
        assert!(items(node).map(|times| times.sequence).eq(0..ITEMS as u64));
        assert!(items(node).map(|times| times.item).eq(0..ITEMS as u64));
        for times in items(node) {
            assert!(times.is_valid() && !times.failed, "{times:?}");
            assert_eq!(sum(times), times.done_ns() - times.sent_ns);
            assert!(times.bytes > 0 && has(times, Phase::Compute) && has(times, Phase::Send));
            // The last one gives its items to the caller, as they are.
            assert_eq!(has(times, Phase::Copy), node.node.as_str() != "c");
        }
        let starts = items(node).map(|times| times.received_ns);
        assert!(starts.is_sorted());
    }
    let [a, b, c] = told.nodes.as_slice() else { panic!("three nodes") };
    assert_eq!(a.inputs.first(), Some(&None));
    for (node, from) in [(b, a), (c, b)] {
        assert_eq!(node.inputs, [Some(from.node.clone())]);
        // It was sent while the one before was at it.
        for (before, times) in items(from).zip(items(node)) {
            assert!((before.received_ns..=before.done_ns()).contains(&times.sent_ns));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_kept_unless_it_is_asked_for_by_the_plan_or_the_configuration() {
    let bench = Bench::new();
    let session = create(&bench, mixed(&bench));
    let kept = session.clone();
    run(session, (0..3).map(text), |_| {}).await.end.expect("it ends well");
    assert_eq!(kept.timeline(), None);
    let bench = Bench::with(RuntimeConfig { timeline: true, ..RuntimeConfig::default() });
    let plan = mixed(&bench);
    assert!(plan.timeline);
    assert_eq!(items(&timeline(create(&bench, plan)).await.nodes[1]).count(), ITEMS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_shows_as_a_second_run_that_goes_on_with_the_items() {
    let bench = Bench::new();
    let params = json!({"die_at": "300", "marks": bench.marks(), "slow_us": 1_000});
    let mortal = node("mortal", WORKER, params, restarts(1));
    let mut plan = bench.plan(&chain(vec![mortal]));
    plan.timeline = true;
    let told = timeline(create(&bench, plan)).await;
    let [first, second] = told.nodes[0].runs.as_slice() else { panic!("{:?}", told.nodes[0]) };
    assert_ne!(first.process_id, second.process_id);
    let end = first.end.as_ref().expect("it has died");
    assert!(end.reason.contains("mortal"), "{}", end.reason);
    assert!(second.steps[0].at_ns >= end.at_ns && second.end.is_none());
    let sequences = |run: &NodeRun| -> Vec<u64> {
        let items = run.timed.items.iter().filter(|times| times.work == Work::Item);
        items.map(|times| times.sequence).collect()
    };
    // It takes the last tenth of a second with it: here at most 100 items, of a millisecond each.
    let (before, after) = (sequences(first), sequences(second));
    let told = before.len() as u64;
    assert!((190..=300).contains(&told), "{told}");
    assert!(before.into_iter().eq(0..told));
    assert!(after.into_iter().eq(300..ITEMS as u64));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_is_left_out_is_told_with_its_tries_and_waits() {
    for node_type in [NATIVE, WORKER] {
        let bench = Bench::new();
        let policy = json!({
            "on_error": "skip",
            "retry": {"max": 2, "initial_ms": 1},
        });
        let params = json!({"fail_at": "7", "transient": true});
        let mut plan = bench.plan(&chain(vec![node("hard", node_type, params, policy)]));
        plan.timeline = true;
        let told = timeline(create(&bench, plan)).await;
        let failed = items(&told.nodes[0]).filter(|times| times.failed);
        let [times] = failed.collect::<Vec<_>>().try_into().expect("one has failed");
        let phases: Vec<_> = times.phases.iter().map(|mark| mark.phase).collect();
        let (compute, retry) = (Phase::Compute, Phase::Retry);
        assert_eq!((times.item, phases), (7, vec![compute, retry, compute, retry, compute]));
    }
}
