//! Workers that die and are started again: those around them see no gap, no repeat and no change of
//! order.

use std::collections::{BTreeMap, BTreeSet};

use rm_session::{SessionError, SessionEvent};
use serde_json::{Value, json};

use crate::support::{
    BOTH, Bench, Items, NATIVE, Ran, Random, WORKER, all, as_text, assert_nothing_is_left, chain,
    manifest, node, of, processes_of, restarts, run, text, until, within,
};

fn plain(id: &str, node_type: &str) -> Value {
    node(id, node_type, json!({}), json!({}))
}

/// A worker that dies where it is told to, once at each place, and comes back.
fn mortal(bench: &Bench, id: &str, at: &str, when: &str, copies: usize) -> Value {
    let marks = bench.marks();
    let params = json!({"die_at": at, "die_when": when, "copies": copies, "marks": marks});
    node(id, WORKER, params, restarts(100))
}

fn places(random: &mut Random, count: usize, below: usize) -> (String, usize) {
    let places: BTreeSet<usize> = (0..count).map(|_| random.below(below)).collect();
    let text: Vec<_> = places.iter().map(ToString::to_string).collect();
    (text.join(","), places.len())
}

/// Gives items to a pipeline and checks that all come once and in order, `copies` of each.
async fn check(
    bench: &Bench,
    manifest: &Value,
    items: &Items,
    copies: usize,
    deaths: usize,
) -> Ran {
    let mut next = 0;
    let ran = run(bench.create(manifest), items.all(), |output| {
        assert_eq!(items.check(&output.data, copies), next);
        next += 1;
    });
    let ran = ran.await;
    if let Err(error) = &ran.end {
        panic!("{error:?} after {next} items");
    }
    assert_eq!(next, items.len() * copies);
    assert_eq!(ran.restarts(), deaths);
    // One that dies at once may not have been heard.
    assert!(ran.restarted() <= deaths);
    let counted: u32 = ran.statistics.nodes.iter().map(|node| node.restarts).sum();
    assert_eq!(counted as usize, deaths);
    ran
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_repeated_when_a_worker_in_the_middle_dies() {
    let mut random = Random(10);
    for when in ["before", "between", "after"] {
        let bench = Bench::new();
        let (at, deaths) = places(&mut random, 8, 3_000);
        let nodes = vec![
            plain("first", NATIVE),
            mortal(&bench, "a", &at, when, 1),
            plain("b", WORKER),
            plain("last", NATIVE),
        ];
        check(&bench, &chain(nodes), &Items::new(3_000, 10, 500), 1, deaths).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_repeated_when_the_reader_of_a_worker_dies() {
    let bench = Bench::new();
    let (at, deaths) = places(&mut Random(11), 8, 3_000);
    let nodes = vec![
        plain("first", NATIVE),
        plain("a", WORKER),
        mortal(&bench, "b", &at, "between", 1),
        plain("last", NATIVE),
    ];
    check(&bench, &chain(nodes), &Items::new(3_000, 11, 500), 1, deaths).await;
}

/// Gives items to a pipeline of which two neighbours die; what is known of an item may be lost with
/// both. Then the session says so: nothing is ever lost or repeated without a word.
async fn check_neighbours(
    bench: &Bench,
    first: &str,
    second: &str,
    when: &str,
    items: &Items,
) -> bool {
    let nodes = vec![
        plain("first", NATIVE),
        mortal(bench, "a", first, when, 1),
        mortal(bench, "b", second, when, 1),
        plain("last", NATIVE),
    ];
    let mut next = 0;
    let ran = run(bench.create(&chain(nodes)), items.all(), |output| {
        assert_eq!(items.check(&output.data, 1), next, "when they die at {first} and {second}");
        next += 1;
    });
    match ran.await.end {
        Ok(()) => {
            assert_eq!(next, items.len());
            true
        }
        Err(SessionError::ItemsLost { node, count, .. }) => {
            assert_eq!((node.as_str(), count > 0), ("b", true));
            false
        }
        Err(error) => panic!("{error:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_repeated_without_a_word_when_two_neighbours_die() {
    let mut random = Random(12);
    let items = Items::new(300, 12, 0);
    for round in 0..12 {
        let bench = Bench::new();
        let (first, _) = places(&mut random, 3, 300);
        let (second, _) = places(&mut random, 3, 300);
        let when = ["before", "between", "after"][round % 3];
        check_neighbours(&bench, &first, &second, when, &items).await;
        let bench = Bench::new();
        check_neighbours(&bench, &first, &first, when, &items).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_neighbours_that_die_one_long_after_the_other_lose_nothing() {
    for when in ["before", "between", "after"] {
        let bench = Bench::new();
        let items = Items::new(300, 13, 0);
        assert!(check_neighbours(&bench, "50,200", "10,120,280", when, &items).await, "{when}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_repeated_when_a_node_dies_that_makes_several_things_of_an_item() {
    let mut random = Random(14);
    for when in ["before", "between", "after"] {
        let bench = Bench::new();
        let (at, deaths) = places(&mut random, 8, 1_000);
        let nodes = vec![
            plain("first", NATIVE),
            mortal(&bench, "a", &at, when, 3),
            plain("b", WORKER),
            plain("last", NATIVE),
        ];
        check(&bench, &chain(nodes), &Items::new(1_000, 14, 500), 3, deaths).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_repeated_when_the_first_or_the_last_node_dies() {
    let mut random = Random(15);
    let (first, deaths) = places(&mut random, 8, 1_000);
    let (last, more) = places(&mut random, 8, 1_000);
    let bench = Bench::new();
    let nodes = vec![
        mortal(&bench, "a", &first, "between", 1),
        plain("middle", NATIVE),
        mortal(&bench, "b", &last, "between", 1),
    ];
    check(&bench, &chain(nodes), &Items::new(1_000, 15, 500), 1, deaths + more).await;
    let bench = Bench::new();
    let only = vec![mortal(&bench, "a", &first, "after", 2)];
    check(&bench, &chain(only), &Items::new(1_000, 15, 500), 2, deaths).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_death_at_the_first_item_the_last_or_the_end_loses_nothing() {
    for at in ["0", "99", "0,99,finish", "finish"] {
        for when in ["before", "after"] {
            let bench = Bench::new();
            let nodes = vec![
                plain("first", NATIVE),
                mortal(&bench, "a", at, when, 1),
                plain("b", WORKER),
                plain("last", NATIVE),
            ];
            let deaths = at.split(',').count();
            check(&bench, &chain(nodes), &Items::new(100, 16, 0), 1, deaths).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_joins_two_ways_dies_and_every_item_of_both_comes_once() {
    for when in ["before", "between", "after"] {
        let bench = Bench::new();
        let (at, deaths) = places(&mut Random(17), 8, 1_000);
        let nodes = vec![
            plain("in", NATIVE),
            plain("left", WORKER),
            node("right", NATIVE, json!({}), json!({"own_thread": true})),
            mortal(&bench, "join", &at, when, 1),
            plain("last", WORKER),
        ];
        let manifest = manifest(
            nodes,
            &[
                ("in", "left"),
                ("in", "right"),
                ("left", "join"),
                ("right", "join"),
                ("join", "last"),
            ],
        );
        let items = Items::new(1_000, 17, 500);
        let mut ways = [0, 0];
        let ran = run(bench.create(&manifest), items.all(), |output| {
            let number = items.check(&output.data, 1);
            let way = ways.iter_mut().find(|next| **next == number);
            *way.unwrap_or_else(|| panic!("{number} is out of order")) += 1;
        });
        let ran = ran.await;
        ran.end.as_ref().unwrap();
        assert_eq!(ways, [1_000, 1_000]);
        assert_eq!(ran.restarts(), deaths);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_branches_see_everything_once_when_one_dies() {
    let bench = Bench::new();
    let (at, deaths) = places(&mut Random(18), 8, 1_000);
    let manifest = manifest(
        vec![
            plain("in", WORKER),
            mortal(&bench, "mortal", &at, "between", 1),
            plain("worker", WORKER),
            plain("native", NATIVE),
        ],
        &[("in", "mortal"), ("in", "worker"), ("in", "native")],
    );
    let items = Items::new(1_000, 18, 500);
    let mut next = BTreeMap::from(["mortal", "worker", "native"].map(|id| (id.to_owned(), 0)));
    let ran = run(bench.create(&manifest), items.all(), |output| {
        let next = next.get_mut(output.node.as_str()).expect("one of the three");
        assert_eq!(items.check(&output.data, 1), *next);
        *next += 1;
    });
    let ran = ran.await;
    ran.end.as_ref().unwrap();
    assert!(next.values().all(|next| *next == 1_000), "{next:?}");
    assert_eq!(ran.restarts(), deaths);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_dies_too_often_ends_the_session_with_its_crash() {
    let bench = Bench::new();
    let mut mortal = mortal(&bench, "a", "10,20,30,40", "before", 1);
    mortal["restart"] = restarts(3)["restart"].clone();
    let manifest = chain(vec![plain("in", NATIVE), mortal, plain("last", NATIVE)]);
    let items = Items::new(100, 19, 0);
    let mut next = 0;
    let ran = run(bench.create(&manifest), items.all(), |output| {
        assert_eq!(items.check(&output.data, 1), next);
        next += 1;
    });
    let ran = ran.await;
    let error = ran.end.as_ref().unwrap_err();
    let SessionError::Crashed { node, when, .. } = error else { panic!("{error}") };
    assert_eq!((node.as_str(), *when), ("a", "while running"));
    assert_eq!(ran.restarts(), 3);
    assert_eq!(next, 40, "what was sent before is delivered");
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_that_were_set_hold_after_a_restart() {
    let bench = Bench::new();
    let manifest = chain(vec![plain("in", NATIVE), mortal(&bench, "a", "5", "before", 1)]);
    let session = bench.start(&manifest).await;
    session.set_params("a", json!({"tag": 7})).await.unwrap();
    for number in 0..10 {
        session.send("in", text(number)).await.unwrap();
    }
    session.finish();
    let mut texts = Vec::new();
    while let Some(output) = within(session.recv()).await.unwrap() {
        texts.push(as_text(&output));
    }
    let expected: Vec<_> = (0..10).map(|number| format!("{number}#7")).collect();
    assert_eq!(texts, expected);
    assert_eq!(of(&session.statistics().await, "a").restarts, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_is_told_when_it_begins_and_when_the_node_is_at_work() {
    let bench = Bench::new();
    let session = bench.start(&chain(vec![mortal(&bench, "a", "0", "before", 1)])).await;
    let died = processes_of(&session);
    let mut events = session.events();
    session.send("a", text(0)).await.unwrap();
    assert!(within(session.recv()).await.unwrap().is_some());
    let mut told = Vec::new();
    loop {
        match within(events.next()).await.expect("the session goes on") {
            SessionEvent::NodeRestarts { node, attempt, report, .. } => {
                assert_eq!((node.as_str(), attempt), ("a", 1));
                assert!(died.contains(&report.pid));
                told.push("restarts");
            }
            SessionEvent::NodeRestarted { node, process_id } => {
                assert_eq!((node.as_str(), told), ("a", vec!["restarts"]));
                assert!(processes_of(&session).contains(&process_id));
                break;
            }
            _ => {}
        }
    }
    within(session.close()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_while_a_node_is_away_drops_what_waits_and_nothing_that_comes_later() {
    let bench = Bench::new();
    let mut mortal = mortal(&bench, "a", "0", "before", 1);
    // Long enough that the flush finds nobody.
    mortal["restart"]["on_failure"]["backoff"] = json!({"initial_ms": 300, "max_ms": 300});
    let session = bench.start(&chain(vec![plain("in", NATIVE), mortal])).await;
    let mut events = session.events();
    for number in 0..5 {
        session.send("in", text(number)).await.unwrap();
    }
    within(async {
        while !matches!(events.next().await, Some(SessionEvent::NodeRestarts { .. })) {}
    })
    .await;
    until(&session, |now| of(now, "in").statistics.items_out == 5).await;
    within(session.flush()).await.unwrap();
    for number in 5..10 {
        session.send("in", text(number)).await.unwrap();
    }
    session.finish();
    let mut texts = Vec::new();
    while let Some(output) = within(session.recv()).await.unwrap() {
        texts.push(as_text(&output));
    }
    assert_eq!(texts, ["5", "6", "7", "8", "9"]);
    assert_eq!(of(&session.statistics().await, "a").statistics.flushed, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_kills_its_node_twice_is_set_aside_and_everything_else_arrives() {
    for copies in [1, 2] {
        for after in BOTH {
            let bench = Bench::new();
            let mut mortal = mortal(&bench, "a", "7,30", "before", copies);
            mortal["params"]["deaths"] = json!(1_000);
            let manifest = chain(vec![plain("in", NATIVE), mortal, plain("last", after)]);
            let items = Items::new(60, 20, 0);
            let mut numbers = Vec::new();
            let ran = run(bench.create(&manifest), items.all(), |output| {
                numbers.push(items.check(&output.data, copies));
            });
            let ran = ran.await;
            ran.end.as_ref().unwrap();
            let is_left = |number: &usize| ![7, 30].contains(&(number / copies));
            assert!(numbers.into_iter().eq((0..60 * copies).filter(is_left)));
            let mut letters = ran.events.iter().filter_map(|event| match event {
                SessionEvent::DeadLetter(letter) => Some(letter),
                _ => None,
            });
            for number in [7, 30] {
                let letter = letters.next().expect("a dead letter");
                assert_eq!(letter.node.as_str(), "a");
                assert_eq!(letter.from.as_ref().map(|from| from.as_str()), Some("in"));
                assert_eq!(letter.sequence, number as u64);
                assert_eq!(items.check(&letter.data, 1), number);
            }
            assert!(letters.next().is_none());
            assert_eq!(ran.restarts(), 4);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_while_a_node_is_away_leaves_nothing() {
    let bench = Bench::new();
    let mut mortal = mortal(&bench, "a", "0", "before", 1);
    mortal["restart"]["on_failure"]["backoff"] = json!({"initial_ms": 60_000, "max_ms": 60_000});
    let session = bench.start(&chain(vec![plain("in", NATIVE), mortal, plain("b", WORKER)])).await;
    let processes = processes_of(&session);
    let mut events = session.events();
    session.send("in", text(0)).await.unwrap();
    within(async {
        while !matches!(events.next().await, Some(SessionEvent::NodeRestarts { .. })) {}
    })
    .await;
    assert_eq!(session.statistics().await.processes, 1);
    within(session.close()).await;
    assert!(within(session.recv()).await.is_ok_and(|end| end.is_none()));
    assert!(
        all(&mut events).await.iter().all(|e| !matches!(e, SessionEvent::NodeRestarted { .. }))
    );
    assert_nothing_is_left(session.id().as_str(), &processes);
}
