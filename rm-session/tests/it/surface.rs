//! What a caller does with a session besides giving and taking items: names and ports, parameters,
//! status, events, statistics, streams.

use std::collections::BTreeSet;

use rm_session::{InputError, ParamsError, SessionError, SessionEvent, SessionStatus};
use serde_json::{Value, json};
use tokio_stream::StreamExt;

use crate::support::{
    BOTH, Bench, Items, NATIVE, WORKER, all, as_text, chain, give, manifest, node, of,
    processes_of, text, until, within,
};

fn plain(id: &str, node_type: &str) -> Value {
    node(id, node_type, json!({}), json!({}))
}

fn sited(id: &str, node_type: &str) -> Value {
    node(id, node_type, json!({"show_site": true}), json!({}))
}

async fn next(session: &rm_session::Session) -> String {
    as_text(&within(session.recv()).await.expect("it runs").expect("an item"))
}

#[tokio::test(flavor = "multi_thread")]
async fn items_are_sent_to_a_node_to_one_of_its_ports_or_to_all() {
    let bench = Bench::new();
    let nodes = vec![sited("native", NATIVE), sited("worker", WORKER)];
    let session = bench.start(&manifest(nodes, &[])).await;
    session.send("native", text(0)).await.unwrap();
    assert_eq!(next(&session).await, "0 outside.none");
    session.send("native.a", text(1)).await.unwrap();
    assert_eq!(next(&session).await, "1 outside.a");
    session.send("worker", text(2)).await.unwrap();
    assert_eq!(next(&session).await, "2 outside.none");
    session.send_all(text(3)).await.unwrap();
    let both = [next(&session).await, next(&session).await];
    assert_eq!(both, ["3 outside.none", "3 outside.none"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_between_ports_carry_what_is_for_them() {
    for middle in BOTH {
        for last in BOTH {
            let bench = Bench::new();
            let splits = node("splits", middle, json!({"ports": true}), json!({}));
            let own = if last == NATIVE { json!({"own_thread": true}) } else { json!({}) };
            let joins = node("joins", last, json!({"show_site": true}), own);
            let manifest = manifest(
                vec![plain("in", NATIVE), splits, joins],
                &[("in", "splits"), ("splits.even", "joins.a"), ("splits.odd", "joins.b")],
            );
            let session = bench.start(&manifest).await;
            for number in 0..20 {
                session.send("in", text(number)).await.unwrap();
            }
            session.finish();
            let mut seen = Vec::new();
            while let Some(output) = within(session.recv()).await.unwrap() {
                seen.push(as_text(&output));
            }
            let of_port = |port: &str| {
                let is_of = |text: &&String| text.ends_with(port);
                seen.iter().filter(is_of).cloned().collect::<Vec<_>>()
            };
            let expected = |first, port| {
                (first..20).step_by(2).map(|n| format!("{n} splits.{port}")).collect::<Vec<_>>()
            };
            assert_eq!(of_port(".a"), expected(0, "a"), "{middle} {last}");
            assert_eq!(of_port(".b"), expected(1, "b"), "{middle} {last}");
            assert_eq!(seen.len(), 20);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_name_is_refused_with_the_names_that_there_are() {
    let bench = Bench::new();
    let session = bench.start(&chain(vec![plain("first", NATIVE), plain("last", WORKER)])).await;
    let refused = |name: &'static str| {
        let session = session.clone();
        async move { session.send(name, text(0)).await.unwrap_err().to_string() }
    };
    let known = "the pipeline takes items for: first, first.a, first.b";
    let hint = "; did you mean \"first\"?";
    assert_eq!(refused("frist").await, format!("no input \"frist\"{hint}; {known}"));
    assert!(refused("last").await.contains(known), "{}", refused("last").await);
    let port = refused("first.c").await;
    assert!(port.starts_with("no input \"first.c\"; did you mean \"first."), "{port}");
    session.send("first", text(1)).await.unwrap();
    assert_eq!(next(&session).await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn items_are_refused_before_a_session_is_ready_and_after_its_input_has_ended() {
    let bench = Bench::new();
    let session = bench.create(&chain(vec![plain("a", WORKER)]));
    let early = session.send("a", text(0)).await.unwrap_err();
    assert_eq!(early, InputError::NotReady { status: SessionStatus::Initializing });
    assert!(matches!(session.send_all(text(0)).await, Err(InputError::NotReady { .. })));
    within(session.initialize(|_| {})).await.unwrap();
    session.send("a", text(1)).await.unwrap();
    session.finish();
    assert_eq!(session.send("a", text(2)).await, Err(InputError::Ended));
    assert_eq!(next(&session).await, "1");
    assert!(within(session.recv()).await.unwrap().is_none());
    assert!(within(session.recv()).await.unwrap().is_none());
    within(session.close()).await;
    assert_eq!(session.send("a", text(3)).await, Err(InputError::Ended));
    let again = within(session.initialize(|_| {})).await.unwrap_err();
    assert!(matches!(again, SessionError::AlreadyInitialized { .. }), "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn outputs_are_a_stream_that_ends_with_the_session() {
    let bench = Bench::new();
    let session = bench.start(&chain(vec![plain("a", WORKER)])).await;
    let items = Items::new(200, 40, 0);
    let give = give(&session, "a", &items);
    let take = async {
        let mut outputs = std::pin::pin!(session.outputs());
        let mut number = 0;
        while let Some(output) = outputs.next().await {
            assert_eq!(items.check(&output.unwrap().data, 1), number);
            number += 1;
        }
        number
    };
    let (_, count) = within(async { tokio::join!(give, take) }).await;
    assert_eq!(count, 200);
    let params = json!({"die_at": "0", "marks": bench.marks()});
    let session = bench.start(&chain(vec![node("a", WORKER, params, json!({}))])).await;
    session.send("a", text(0)).await.unwrap();
    let mut outputs = std::pin::pin!(session.outputs());
    let error = within(outputs.next()).await.expect("an error").unwrap_err();
    assert!(matches!(error, SessionError::Crashed { .. }), "{error}");
    assert!(within(outputs.next()).await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_goes_the_documented_way() {
    use SessionStatus::{Initializing, Ready, Running, Stopped, Stopping};
    let bench = Bench::new();
    let session = bench.create(&chain(vec![plain("a", WORKER), plain("b", NATIVE)]));
    assert_eq!(session.status(), Initializing);
    let mut events = session.events();
    let mut changes = session.status_changes();
    within(session.initialize(|_| {})).await.unwrap();
    assert_eq!(*changes.borrow_and_update(), Ready);
    session.send("a", text(0)).await.unwrap();
    assert_eq!(*changes.borrow_and_update(), Running);
    session.finish();
    assert_eq!(next(&session).await, "0");
    assert!(within(session.recv()).await.unwrap().is_none());
    assert_eq!(*changes.borrow_and_update(), Stopped);
    let told: Vec<_> = all(&mut events)
        .await
        .into_iter()
        .filter_map(|event| match event {
            SessionEvent::Status(status) => Some(status),
            _ => None,
        })
        .collect();
    assert_eq!(told, [Ready, Running, Stopping, Stopped]);
    assert!(within(session.events().next()).await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_change_between_two_items() {
    for node_type in BOTH {
        let bench = Bench::new();
        let session = bench.start(&chain(vec![plain("in", NATIVE), plain("a", node_type)])).await;
        for tag in 0..10 {
            within(session.set_params("a", json!({"tag": tag}))).await.unwrap();
            session.send("in", text(tag)).await.unwrap();
            assert_eq!(next(&session).await, format!("{tag}#{tag}"), "{node_type}");
        }
        // Those that are not named stay.
        within(session.set_params("a", json!({"show_site": true}))).await.unwrap();
        session.send("in", text(1)).await.unwrap();
        assert_eq!(next(&session).await, "1#9 in.none", "{node_type}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_are_taken_while_a_node_has_nothing_to_do_and_after_the_item_in_work() {
    for node_type in BOTH {
        let bench = Bench::new();
        let gated = node("a", node_type, json!({"gate": bench.gate()}), json!({}));
        let session = bench.start(&chain(vec![plain("in", WORKER), gated])).await;
        session.send("in", text(0)).await.unwrap();
        until(&session, |now| of(now, "a").statistics.items_in == 1).await;
        let mut change = std::pin::pin!(session.set_params("a", json!({"tag": 5})));
        // It is asked for, and cannot be answered while the item is in work.
        tokio::select! {
            biased;
            taken = &mut change => panic!("{taken:?} while an item is in work"),
            () = std::future::ready(()) => {}
        }
        bench.open_gate();
        within(change).await.unwrap();
        session.send("in", text(1)).await.unwrap();
        assert_eq!([next(&session).await, next(&session).await], ["0", "1#5"], "{node_type}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_parameters_are_refused_by_name_and_change_nothing() {
    for node_type in BOTH {
        let bench = Bench::new();
        let session = bench.start(&chain(vec![plain("only", node_type)])).await;
        within(session.set_params("only", json!({"tag": 1}))).await.unwrap();
        for (params, what, right) in [
            (json!({"show_sites": true}), "\"show_sites\"", "did you mean \"show_site\"?"),
            (json!({"tag": "two"}), "\"tag\"", "expected a whole number"),
            (json!({"tag": 10}), "\"tag\"", "expected from 0 to 9"),
            (json!({"tag": 2, "hold": true}), "\"hold\"", "expected tag"),
        ] {
            let refused = within(session.set_params("only", params)).await.unwrap_err();
            let cause = std::error::Error::source(&refused).map(ToString::to_string);
            let shown = format!("{refused}: {}", cause.unwrap_or_default());
            assert!(shown.contains("only") && shown.contains(what), "{node_type}: {shown}");
            assert!(shown.contains(right), "{node_type}: {shown}");
            let is_typed = match &refused {
                ParamsError::Invalid { .. } | ParamsError::Node { .. } => node_type == NATIVE,
                ParamsError::Refused { .. } => node_type == WORKER,
                _ => false,
            };
            assert!(is_typed, "{refused:?}");
        }
        let refused = within(session.set_params("only", json!([1]))).await.unwrap_err();
        assert!(matches!(refused, ParamsError::NotAnObject { .. }), "{refused}");
        let refused = within(session.set_params("onyl", json!({}))).await.unwrap_err();
        let expected = "no node \"onyl\" in the session; did you mean \"only\"?";
        assert_eq!(refused.to_string(), expected);
        session.send("only", text(0)).await.unwrap();
        assert_eq!(next(&session).await, "0#1", "{node_type}");
        within(session.close()).await;
        let refused = within(session.set_params("only", json!({"tag": 2}))).await.unwrap_err();
        assert!(matches!(refused, ParamsError::NotRunning { .. }), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_numbers_of_nodes_and_channels_are_right_while_it_runs_and_after_its_end() {
    let bench = Bench::new();
    let session = bench
        .start(&chain(vec![
            plain("in", NATIVE),
            node("a", WORKER, json!({"copies": 2}), json!({})),
            plain("b", NATIVE),
        ]))
        .await;
    let items = Items::new(30, 41, 0);
    for item in items.all() {
        session.send("in", item).await.unwrap();
    }
    until(&session, |now| now.waiting_outputs == 60).await;
    let check = |now: &rm_session::SessionStatistics, ended: bool| {
        for (id, taken, made) in [("in", 30, 30), ("a", 30, 60), ("b", 60, 60)] {
            let done = &of(now, id).statistics;
            assert_eq!((done.items_in, done.items_out), (taken, made), "{id}");
            assert_eq!((done.errors, done.skipped, done.flushed, done.repeated), (0, 0, 0, 0));
            assert_eq!(done.time.count, taken, "{id}");
            assert!((0.0..=1.0).contains(&done.busy), "{id}");
        }
        let of_channel = |name: &str| {
            let mut channels = now.channels.iter();
            channels.find(|channel| channel.channel_name == name).expect("it is there")
        };
        let end = u64::from(ended);
        let (first, second) = (of_channel("in"), of_channel("a"));
        assert_eq!((first.messages, first.bytes), (30 + end, items.bytes()));
        assert_eq!((second.messages, second.bytes), (60 + end, 2 * items.bytes()));
        assert_eq!(first.copied_bytes, items.bytes());
        for channel in [first, second] {
            assert_eq!((channel.dropped, channel.queued, channel.current_occupancy), (0, 0, 0));
        }
        let processes = if ended { 0 } else { 1 };
        assert_eq!(now.processes, processes);
        assert_eq!(now.memory_bytes > 0, !ended);
        assert_eq!(of(now, "a").process_id.is_some(), !ended);
    };
    check(&session.statistics().await, false);
    session.finish();
    let mut count = 0;
    while within(session.recv()).await.unwrap().is_some() {
        count += 1;
    }
    assert_eq!(count, 60);
    check(&session.statistics().await, true);
    let json = serde_json::to_value(session.statistics().await).unwrap();
    assert_eq!((&json["nodes"][1]["items_out"], &json["status"]), (&json!(60), &json!("stopped")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_shows_processes_and_channels_and_serialises() {
    let bench = Bench::new();
    let session = bench.start(&chain(vec![plain("in", NATIVE), plain("a", WORKER)])).await;
    let snapshot = session.snapshot();
    let pids: BTreeSet<u32> = processes_of(&session);
    assert_eq!((snapshot.processes.len(), pids.len()), (1, 1));
    assert_eq!(snapshot.channels.len(), 2);
    let json = serde_json::to_value(&snapshot).unwrap();
    assert_eq!(json["status"], json!("ready"));
    assert_eq!(json["id"], json!(session.id().as_str()));
    assert_eq!(json["processes"][0]["process_id"], json!(pids.first()));
    assert_eq!(json["channels"][0]["channel_name"], json!("in"));
    within(session.close()).await;
    let after = session.snapshot();
    assert_eq!((after.processes.len(), after.status), (0, SessionStatus::Stopped));
    assert!(after.created_at <= std::time::SystemTime::now());
}
