//! Whatever the way: items come in order, none is lost, none comes twice, all are whole.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::support::{
    BOTH, Bench, Items, NATIVE, WORKER, chain, give, manifest, node, of, run, until, within,
};

fn plain(id: &str, node_type: &str) -> Value {
    node(id, node_type, json!({}), json!({}))
}

#[tokio::test(flavor = "multi_thread")]
async fn items_of_all_sizes_come_whole_and_in_order_through_native_nodes_and_workers() {
    let bench = Bench::frugal();
    let session = bench.create(&chain(vec![
        plain("first", NATIVE),
        plain("a", WORKER),
        plain("b", WORKER),
        plain("last", NATIVE),
    ]));
    let items = Items::new(20_000, 1, 1000);
    let mut next = 0;
    let ran = run(session, items.all(), |output| {
        assert_eq!(items.check(&output.data, 1), next);
        next += 1;
    });
    let ran = ran.await;
    ran.end.unwrap();
    assert_eq!(next, items.len());
    for channel in &ran.statistics.channels {
        // The last message says that nothing follows.
        let sent = (channel.messages - 1, channel.bytes, channel.dropped);
        assert_eq!(sent, (items.len() as u64, items.bytes(), 0), "{}", channel.channel_name);
    }
    for id in ["first", "a", "b", "last"] {
        let node = &of(&ran.statistics, id).statistics;
        assert_eq!((node.items_in, node.items_out), (20_000, 20_000), "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_branch_and_every_way_into_a_node_keeps_its_order() {
    let bench = Bench::frugal();
    let session = bench.create(&manifest(
        vec![
            plain("in", NATIVE),
            plain("left", WORKER),
            plain("right", WORKER),
            node("own", NATIVE, json!({}), json!({"own_thread": true})),
            plain("join", WORKER),
            plain("native_join", NATIVE),
            plain("aside", WORKER),
        ],
        &[
            ("in", "left"),
            ("in", "right"),
            ("in", "own"),
            ("left", "join"),
            ("right", "join"),
            ("own", "join"),
            ("join", "native_join"),
            ("left", "native_join"),
            ("left", "aside"),
        ],
    ));
    let items = Items::new(5_000, 2, 0);
    let mut seen: HashMap<(String, usize), usize> = HashMap::new();
    let mut last: HashMap<String, Vec<usize>> = HashMap::new();
    let ran = run(session, items.all(), |output| {
        let number = items.check(&output.data, 1);
        *seen.entry((output.node.to_string(), number)).or_default() += 1;
        last.entry(output.node.to_string()).or_default().push(number);
    });
    ran.await.end.unwrap();
    for number in 0..items.len() {
        assert_eq!(seen.get(&("native_join".to_owned(), number)), Some(&4), "{number}");
        assert_eq!(seen.get(&("aside".to_owned(), number)), Some(&1), "{number}");
    }
    assert!(last["aside"].is_sorted());
    assert_eq!(last["native_join"].len(), 4 * items.len());
    assert!(is_merge_of(&last["native_join"], 4));
}

/// Whether a sequence can be taken apart into so many sorted ones, each with every number once.
fn is_merge_of(numbers: &[usize], ways: usize) -> bool {
    // The next number that each way has to bring.
    let mut next = vec![0; ways];
    numbers.iter().all(|number| match next.iter_mut().find(|next| **next == *number) {
        Some(next) => {
            *next += 1;
            true
        }
        None => false,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_consumer_holds_the_others_up_and_nothing_is_lost() {
    for slow in BOTH {
        let bench = Bench::frugal();
        let session = bench.create(&manifest(
            vec![
                plain("in", NATIVE),
                plain("a", WORKER),
                node("slow", slow, json!({"slow_us": 100}), json!({"queue": {"depth": 4}})),
                plain("fast", WORKER),
            ],
            &[("in", "a"), ("a", "slow"), ("a", "fast")],
        ));
        let items = Items::new(4_000, 3, 1000);
        let mut next = HashMap::from([("slow".to_owned(), 0), ("fast".to_owned(), 0)]);
        let ran = run(session, items.all(), |output| {
            let next = next.get_mut(output.node.as_str()).expect("one of the last two");
            assert_eq!(items.check(&output.data, 1), *next);
            *next += 1;
        });
        ran.await.end.unwrap();
        assert!(next.values().all(|next| *next == items.len()), "{next:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_caller_holds_the_pipeline_up_and_nothing_is_lost() {
    let bench = Bench::frugal();
    let session = bench.start(&chain(vec![plain("a", WORKER), plain("b", NATIVE)])).await;
    let items = Items::new(2_000, 4, 100);
    let give = give(&session, "a", &items);
    let take = async {
        let mut next = 0;
        while let Some(output) = session.recv().await.unwrap() {
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
            assert_eq!(items.check(&output.data, 1), next);
            next += 1;
        }
        assert_eq!(next, items.len());
    };
    within(async { tokio::join!(give, take) }).await;
}

/// Gives more than fits to a consumer that is held up, and counts what is missing.
async fn check_dropping(policy: &str, before: &str, consumer: &str) {
    let bench = Bench::frugal();
    let params = json!({"gate": bench.gate()});
    let mut queue = json!({"queue": {"policy": policy, "depth": 8, "capacity": 1 << 20}});
    if policy == "latest" {
        queue = json!({"queue": {"policy": policy}});
    }
    let session =
        bench.start(&chain(vec![plain("in", before), node("slow", consumer, params, queue)])).await;
    let items = Items::new(3_000, 5, 0);
    for item in items.all() {
        session.send("in", item).await.expect("it runs");
    }
    session.finish();
    until(&session, |now| of(now, "in").statistics.items_out == 3_000).await;
    bench.open_gate();
    let mut numbers = Vec::new();
    let what = format!("{policy} from {before} to {consumer}");
    while let Some(output) = within(session.recv()).await.expect(&what) {
        numbers.push(items.check(&output.data, 1));
    }
    let statistics = session.statistics().await;
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{what}: {numbers:?}");
    let missing = (items.len() - numbers.len()) as u64;
    assert!(missing > 2_900, "{what}: {missing}");
    let dropped: u64 = statistics.channels.iter().map(|channel| channel.dropped).sum();
    assert_eq!(dropped, missing, "{what}: {:?}", statistics.channels);
    let (_, connections) = session.reports();
    assert_eq!((connections[0].dropped, connections[0].missed), (missing, 0), "{what}");
    assert_eq!(connections[0].messages, numbers.len() as u64, "{what}");
    assert_eq!(of(&statistics, "slow").statistics.items_in, numbers.len() as u64, "{what}");
    let newest = *numbers.last().expect("some come");
    match policy {
        "drop_newest" => assert_eq!(numbers[..8], [0, 1, 2, 3, 4, 5, 6, 7], "{what}"),
        _ => assert_eq!(newest, items.len() - 1, "{what}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn counted_drops_are_the_missing_items_under_every_dropping_policy() {
    for policy in ["drop_oldest", "drop_newest", "latest"] {
        for before in BOTH {
            for consumer in BOTH {
                check_dropping(policy, before, consumer).await;
            }
        }
    }
}
