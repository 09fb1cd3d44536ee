//! A flush: what was sent before does not come out after it, what is sent later does.

use serde_json::{Value, json};

use rm_session::Session;

use crate::support::{
    BOTH, Bench, NATIVE, WORKER, as_text, chain, manifest, node, of, text, until, within,
};

fn plain(id: &str, node_type: &str) -> Value {
    node(id, node_type, json!({}), json!({}))
}

async fn texts(session: &Session) -> Vec<String> {
    let mut texts = Vec::new();
    while let Some(output) = within(session.recv()).await.expect("it runs") {
        texts.push(as_text(&output));
    }
    texts
}

/// All that the nodes and the border have dropped because it was of an older epoch.
async fn flushed(session: &Session) -> u64 {
    let statistics = session.statistics().await;
    let nodes = statistics.nodes.iter().map(|node| node.statistics.flushed);
    nodes.sum::<u64>() + statistics.flushed_outputs
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_was_queued_comes_out_after_a_flush() {
    for first in BOTH {
        for second in BOTH {
            let bench = Bench::new();
            let gated = json!({"gate": bench.gate()});
            let own = |thread| if thread { json!({"own_thread": true}) } else { json!({}) };
            let session = bench
                .start(&chain(vec![
                    plain("in", NATIVE),
                    node("a", first, gated.clone(), own(first == NATIVE)),
                    node("b", second, gated, own(second == NATIVE)),
                ]))
                .await;
            for number in 0..50 {
                session.send("in", text(number)).await.unwrap();
            }
            until(&session, |now| of(now, "in").statistics.items_out == 50).await;
            until(&session, |now| of(now, "a").statistics.items_in == 1).await;
            within(session.flush()).await.unwrap();
            bench.open_gate();
            for number in 50..80 {
                session.send("in", text(number)).await.unwrap();
            }
            session.finish();
            let expected: Vec<_> = (50..80).map(|number| number.to_string()).collect();
            assert_eq!(texts(&session).await, expected, "{first} {second}");
            assert_eq!(flushed(&session).await, 50, "{first} {second}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_empties_what_waits_for_the_caller() {
    for node_type in BOTH {
        let bench = Bench::new();
        let session = bench.start(&chain(vec![plain("a", node_type)])).await;
        for number in 0..30 {
            session.send("a", text(number)).await.unwrap();
        }
        until(&session, |now| now.waiting_outputs == 30).await;
        within(session.flush()).await.unwrap();
        let statistics = session.statistics().await;
        assert_eq!((statistics.waiting_outputs, statistics.flushed_outputs), (0, 30));
        session.send("a", text(30)).await.unwrap();
        session.finish();
        assert_eq!(texts(&session).await, ["30"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_old_comes_after_any_of_many_flushes_while_items_flow() {
    let bench = Bench::new();
    let slow = json!({"slow_us": 50});
    let manifest = manifest(
        vec![
            plain("in", NATIVE),
            node("left", WORKER, slow.clone(), json!({})),
            node("right", NATIVE, slow, json!({"own_thread": true})),
            plain("join", WORKER),
            plain("out", NATIVE),
        ],
        &[("in", "left"), ("in", "right"), ("left", "join"), ("right", "join"), ("join", "out")],
    );
    let session = bench.start(&manifest).await;
    let taker = session.clone();
    let (told, flushed) = tokio::sync::watch::channel(0);
    let take = tokio::spawn(async move {
        let mut count = 0;
        loop {
            // What was flushed before an item is asked for does not come any more.
            let least = *flushed.borrow();
            let Some(output) = taker.recv().await.expect("it runs to its end") else {
                return count;
            };
            let number: usize = as_text(&output).parse().expect("a number");
            assert!(number >= least, "{number} came after all before {least} were flushed");
            count += 1;
        }
    });
    let mut number = 0;
    for _ in 0..20 {
        for _ in 0..100 {
            session.send("in", text(number)).await.unwrap();
            number += 1;
        }
        within(session.flush()).await.unwrap();
        told.send(number).expect("somebody takes items");
    }
    let last = number;
    session.send("in", text(last)).await.unwrap();
    session.finish();
    assert!(within(take).await.unwrap() >= 2, "the last item comes by both ways");
    let statistics = session.statistics().await;
    assert_eq!(
        of(&statistics, "in").statistics.items_in as usize
            + of(&statistics, "in").statistics.flushed as usize,
        last + 1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_drop_what_they_hold_back() {
    for node_type in BOTH {
        let bench = Bench::new();
        let holds = node("holds", node_type, json!({"hold": true}), json!({}));
        let session = bench.start(&chain(vec![plain("in", NATIVE), holds])).await;
        for number in 0..5 {
            session.send("in", text(number)).await.unwrap();
        }
        until(&session, |now| of(now, "holds").statistics.items_in == 5).await;
        within(session.flush()).await.unwrap();
        for number in 5..7 {
            session.send("in", text(number)).await.unwrap();
        }
        session.finish();
        assert_eq!(texts(&session).await, ["5", "6"], "{node_type}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sources_go_on_after_a_flush() {
    for node_type in BOTH {
        let bench = Bench::new();
        let count = node("count", "Count", json!({"limit": 1_000_000_000}), json!({}));
        let session = bench.start(&chain(vec![count, plain("a", node_type)])).await;
        let mut last = -1;
        for _ in 0..5 {
            within(session.flush()).await.unwrap();
            for _ in 0..100 {
                let output = within(session.recv()).await.unwrap().expect("a source without end");
                let number: i64 = as_text(&output).parse().unwrap();
                assert!(number > last);
                last = number;
            }
        }
        within(session.close()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_before_the_first_item_and_after_the_end_does_nothing() {
    let bench = Bench::new();
    let session = bench.start(&chain(vec![plain("a", WORKER), plain("b", NATIVE)])).await;
    within(session.flush()).await.unwrap();
    session.send("a", text(1)).await.unwrap();
    session.finish();
    assert_eq!(texts(&session).await, ["1"]);
    within(session.flush()).await.unwrap();
    within(session.close()).await;
    within(session.flush()).await.unwrap();
}
