//! Stages as a session uses them: fed from outside, joined by channels, stopped, failing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rm_bridge::{
    Call, ChannelOptions, DataPlane, Destination, Doorbell, Feed, FeedSender, Inlet, ItemPolicy,
    Outlet, Outputs, Phase, Publication, Stage, StageError, StageEvent, StageNode, Subscription,
    TimedItems, TimelineSink, Work, outlet, spawn_stage,
};
use rm_core::{ChannelId, Node, NodeError, NodeId, RuntimeData};
use tokio::sync::mpsc;

/// Adds its mark to each text; fails on the text `bad`.
struct Mark(&'static str);

impl Node for Mark {
    fn process(&mut self, input: RuntimeData, out: &mut rm_core::Output) -> Result<(), NodeError> {
        let text = input.as_text().unwrap_or_default();
        if text == "bad" {
            let message = "a bad text".to_owned();
            return Err(NodeError::Failed { message, source: None });
        }
        out.push(RuntimeData::text(format!("{text}{}", self.0))?);
        Ok(())
    }
}

fn id(name: &str) -> NodeId {
    NodeId::new(name).expect("a short name")
}

fn node(mark: &'static str) -> StageNode {
    StageNode {
        id: id(if mark.is_empty() { "same" } else { mark }),
        node_type: "Mark".to_owned(),
        node: Box::new(Mark(mark)),
        source: false,
        policy: ItemPolicy::default(),
    }
}

fn inlet(node: usize, from: Option<&str>) -> Inlet {
    Inlet { node, from: from.map(id), port: None }
}

fn stage(name: &str, bell: Arc<Doorbell>, output: Outlet) -> Stage {
    Stage {
        name: name.to_owned(),
        session: None,
        nodes: Vec::new(),
        inlets: Vec::new(),
        calls: Vec::new(),
        subscriptions: Vec::new(),
        publications: Vec::new(),
        outputs: Vec::new(),
        output,
        feed: None,
        epoch: Arc::default(),
        timeline: None,
        bell,
    }
}

/// Two stages with a channel between them: `a` then `b` in the first, `c` in the second.
struct Pair {
    plane: DataPlane,
    first: Stage,
    second: Stage,
    feed: FeedSender,
    output: Outputs,
}

fn pair() -> Pair {
    let mut plane = DataPlane::create().expect("shared memory");
    let channel = ChannelId::new("b").expect("a short name");
    let options = ChannelOptions { depth: 2, loopback: true, ..ChannelOptions::default() };
    plane.add_channel(&channel, options).expect("a channel");
    let (sender, output) = outlet(4);
    let bells = [(); 2].map(|()| plane.doorbell().expect("a doorbell"));
    let [mut first, mut second] = bells.map(|bell| stage("pair", bell, sender.clone()));
    first.nodes = vec![node("a"), node("b")];
    first.inlets = vec![inlet(0, None), inlet(1, Some("a"))];
    first.calls = vec![Call { from: 0, port: None, to: 1 }];
    let publisher = plane.publisher(0, &first.bell).expect("a publisher");
    first.publications = vec![Publication { publisher, node: Some(1), port: None, kept: false }];
    let (feed, inside) = Feed::new(2, vec![Destination::Node(0)], &first.bell);
    first.feed = Some(inside);
    second.nodes = vec![node("c")];
    second.inlets = vec![inlet(0, Some("b"))];
    let subscriber = plane.subscribe(0, &second.bell).expect("a subscriber");
    let destinations = vec![Destination::Node(0)];
    second.subscriptions = vec![Subscription { subscriber, destinations, kept: false }];
    second.outputs = vec![0];
    Pair { plane, first, second, feed, output }
}

fn start<K: Clone + Send + Sync + 'static>(
    stage: Stage,
    key: K,
    events: &mpsc::UnboundedSender<(K, StageEvent)>,
) -> rm_bridge::StageHandle {
    let handle = spawn_stage(stage, key, events.clone()).expect("a thread");
    handle.start();
    handle
}

fn text(text: &str) -> RuntimeData {
    RuntimeData::text(text).expect("short")
}

#[tokio::test]
async fn items_pass_two_stages_in_order_and_each_connection_is_counted() {
    let Pair { plane, first, second, feed, output } = pair();
    let (sender, mut events) = mpsc::unbounded_channel();
    let handles = [first, second].map(|stage| start(stage, (), &sender));
    let feeds = async {
        for number in 0..100 {
            feed.send(None, text(&number.to_string())).await.expect("the stage runs");
        }
        drop(feed);
    };
    let takes = async {
        for number in 0..100 {
            let output = output.recv().await.expect("an item");
            assert_eq!(output.node, id("c"));
            assert_eq!(output.data.as_text(), Some(&*format!("{number}abc")));
        }
        assert!(output.recv().await.is_none());
    };
    tokio::join!(feeds, takes);
    let mut finished = 0;
    while finished < 2 {
        match events.recv().await.expect("the threads report").1 {
            StageEvent::Finished { nodes, calls, inputs } => {
                finished += 1;
                let counts = nodes.iter().map(|node| &node.statistics);
                let counts: Vec<_> = counts.map(|node| (node.items_in, node.items_out)).collect();
                assert!(counts.iter().all(|counts| *counts == (100, 100)), "{counts:?}");
                assert!(calls.iter().all(|call| (call.messages, call.copied_bytes) == (100, 0)));
                assert!(inputs.iter().all(|input| (input.messages, input.missed) == (100, 0)));
                assert_eq!(calls.len() + inputs.len(), 1);
            }
            StageEvent::Failed(error) => panic!("{error}"),
            StageEvent::Skipped(failure) => panic!("{failure:?}"),
            StageEvent::Ready { .. } => {}
        }
    }
    // "0a".."99a" have 290 bytes, and each got one more on its way into the channel.
    assert_eq!(plane.bytes_copied_in(0), 190 + 200);
    handles.into_iter().for_each(rm_bridge::StageHandle::join);
}

#[tokio::test]
async fn a_failing_node_is_told_before_those_who_only_see_its_channel_go() {
    let Pair { plane: _plane, first, second, feed, output: _output } = pair();
    let (sender, mut events) = mpsc::unbounded_channel();
    let handles = [first, second].map(|stage| start(stage, (), &sender));
    feed.send(None, text("bad")).await.expect("the stage runs");
    let mut failures = Vec::new();
    while failures.len() < 2 {
        if let StageEvent::Failed(error) = events.recv().await.expect("the threads report").1 {
            failures.push(error);
        }
    }
    assert_eq!(failures[0].to_string(), "node a failed to process item 0");
    assert!(matches!(failures[1], StageError::Stopped { .. }), "{}", failures[1]);
    handles.into_iter().for_each(rm_bridge::StageHandle::join);
}

#[tokio::test]
async fn stop_ends_a_stage_that_waits_for_room_and_one_that_waits_for_items() {
    let Pair { plane, first, second, feed, output } = pair();
    let (sender, mut events) = mpsc::unbounded_channel();
    // Nobody reads the channel of depth 2: the first stage comes to wait for room.
    let unread = second;
    let waits = start(first, "room", &sender);
    let fill = async { while feed.send(None, text("x")).await.is_ok() {} };
    assert!(tokio::time::timeout(Duration::from_millis(200), fill).await.is_err());
    plane.close();
    waits.stop();
    let idle = start(unread, "items", &sender);
    idle.stop();
    let mut stopped = Vec::new();
    while stopped.len() < 2 {
        if let (stage, StageEvent::Failed(StageError::Stopped { .. })) =
            events.recv().await.expect("the threads report")
        {
            stopped.push(stage);
        }
    }
    waits.join();
    idle.join();
    drop(output);
}

#[tokio::test]
async fn nothing_is_taken_from_outside_before_the_start_and_a_deep_chain_is_no_overflow() {
    let plane = DataPlane::create().expect("shared memory");
    let (sender, output) = outlet(4);
    let mut deep = stage("deep", plane.doorbell().expect("a doorbell"), sender);
    deep.nodes = (0..2_000).map(|_| node("")).collect();
    deep.calls = (1..2_000).map(|to| Call { from: to - 1, port: None, to }).collect();
    deep.inlets = (0..2_000).map(|place| inlet(place, (place > 0).then_some("same"))).collect();
    deep.outputs = vec![1_999];
    let (feed, inside) = Feed::new(1, vec![Destination::Node(0)], &deep.bell);
    deep.feed = Some(inside);
    let (sender, _events) = mpsc::unbounded_channel();
    let handle = spawn_stage(deep, (), sender).expect("a thread");
    feed.send(None, text("x")).await.expect("the stage runs");
    let early = tokio::time::timeout(Duration::from_millis(50), output.recv()).await;
    assert!(early.is_err(), "{early:?}");
    handle.start();
    assert_eq!(output.recv().await.expect("an item").data.as_text(), Some("x"));
    drop(feed);
    assert!(output.recv().await.is_none());
    handle.join();
}

#[tokio::test]
async fn each_item_of_each_node_is_timed_where_that_is_asked_for() {
    let Pair { plane: _plane, mut first, mut second, feed, output } = pair();
    let told: Arc<Mutex<BTreeMap<String, TimedItems>>> = Arc::default();
    let kept = Arc::clone(&told);
    let sink: TimelineSink = Arc::new(move |node, times| {
        let mut kept = kept.lock().expect("no panic");
        kept.entry(node.to_string()).or_default().extend(times, usize::MAX);
    });
    (first.timeline, second.timeline) = (Some(Arc::clone(&sink)), Some(sink));
    let (sender, _events) = mpsc::unbounded_channel();
    let handles = [first, second].map(|stage| start(stage, (), &sender));
    let feeds = async {
        for number in 0..1_000 {
            feed.send(None, text(&number.to_string())).await.expect("the stage runs");
        }
        drop(feed);
    };
    let takes = async { while output.recv().await.is_some() {} };
    tokio::join!(feeds, takes);
    handles.into_iter().for_each(rm_bridge::StageHandle::join);
    let told = told.lock().expect("no panic");
    for (node, sends) in [("a", Phase::Call), ("b", Phase::Send), ("c", Phase::Send)] {
        let TimedItems { items, dropped } = &told[node];
        assert_eq!((*dropped, items.last().map(|times| times.work)), (0, Some(Work::Finish)));
        let items: Vec<_> = items.iter().filter(|times| times.work == Work::Item).collect();
        assert!(items.iter().map(|times| times.sequence).eq(0..1_000), "{node}");
        assert!(items.iter().map(|times| times.item).eq(0..1_000), "{node}");
        for times in items {
            let phases: u64 = Phase::ALL.iter().map(|phase| times.time_in(*phase)).sum();
            let all = times.queue_ns() + times.wake_ns() + phases;
            assert_eq!(all, times.done_ns() - times.sent_ns);
            assert_eq!(times.phases.last().map(|mark| mark.phase), Some(sends));
            let copied = times.phases.iter().any(|mark| mark.phase == Phase::Copy);
            assert_eq!(copied, node == "b");
            assert_eq!(times.time_in(Phase::Gil), 0);
        }
    }
    // Between the nodes of a stage nobody waits to be woken.
    assert!(told["b"].items.iter().all(|times| times.wake_ns() == 0));
    // What comes by the channel was sent while its producer was at it.
    let sends = |sent_ns: u64| {
        told["b"].items.iter().any(|times| {
            let end = times.phases.last().map_or(0, |mark| mark.until_ns);
            (times.received_ns..=end).contains(&sent_ns)
        })
    };
    assert!(told["c"].items[..1_000].iter().all(|times| sends(times.sent_ns)));
}
