//! Tests of playing back.

use super::*;
use crate::testing::{make, run, run_source};
use crate::util::recording::tests::any_item;
use proptest::prelude::*;
use serde_json::json;
use std::error::Error;
use std::fs;
use std::path::Path;

fn time(ms: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000) + Duration::from_millis(ms)
}

fn item(number: u8, ms: u64) -> RuntimeData {
    RuntimeData::binary(vec![number]).unwrap().with_timestamp(time(ms))
}

fn record(path: &Path, items: impl IntoIterator<Item = RuntimeData>) {
    run(make("FileSinkNode", json!({"path": path})).unwrap().as_mut(), items).unwrap();
}

/// A recording of items made at these times, and a source of it.
fn source(times_ms: &[u64], params: Value) -> (tempfile::TempDir, FileSource) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.rec");
    record(&path, times_ms.iter().enumerate().map(|(number, ms)| item(number as u8, *ms)));
    let defaults = json!({
        "path": path, "pace": "realtime", "by": "timestamp", "speed": 1.0, "max_gap_ms": null,
        "start_ms": 0, "end_ms": null,
        "restamp": "original", "loop": 1, "truncated": "error", "max_item_bytes": 1_000_000,
    });
    let defaults: Params = serde_json::from_value(defaults).unwrap();
    let params = changed(&defaults, &params).unwrap();
    (folder, FileSource::new(params, &NodeContext::default()).unwrap())
}

/// When each item is given, in milliseconds since the first one, and what it is, up to a number of them.
fn played(node: &mut FileSource, most: usize) -> Vec<(u64, RuntimeData)> {
    let start = Instant::now();
    let mut now = start;
    let mut output = Output::default();
    let mut played = Vec::new();
    while played.len() < most {
        let wall = time(1_000_000) + (now - start);
        match node.step((now, wall), &mut output).unwrap() {
            Produced::More => {
                let ms = (now - start).as_millis() as u64;
                played.extend(output.drain().map(|item| (ms, item)));
            }
            Produced::At(due) => {
                assert!(due > now && output.is_empty());
                now = due;
            }
            Produced::End => break,
        }
    }
    played
}

fn check(times_ms: &[u64], params: Value, expected: &[(u64, u8)]) {
    let (_folder, mut node) = source(times_ms, params.clone());
    let found: Vec<_> =
        played(&mut node, 20).iter().map(|(ms, item)| (*ms, item.payload()[0])).collect();
    assert_eq!(found, expected, "{params}");
}

#[test]
fn items_are_given_in_their_time() {
    let times = [500, 520, 520, 700, 690, 800];
    check(&times, json!({}), &[(0, 0), (20, 1), (20, 2), (200, 3), (200, 4), (300, 5)]);
    check(&times, json!({"speed": 2.0}), &[(0, 0), (10, 1), (10, 2), (100, 3), (100, 4), (150, 5)]);
    check(
        &times,
        json!({"speed": 0.1}),
        &[(0, 0), (200, 1), (200, 2), (2_000, 3), (2_000, 4), (3_000, 5)],
    );
    check(&times, json!({"pace": "fast"}), &[(0, 0), (0, 1), (0, 2), (0, 3), (0, 4), (0, 5)]);
    let short = json!({"max_gap_ms": 30});
    check(&times, short, &[(0, 0), (20, 1), (20, 2), (50, 3), (50, 4), (80, 5)]);
}

#[test]
fn a_recording_goes_round_with_the_same_gaps() {
    let expected = [(0, 0), (30, 1), (40, 2), (50, 0), (80, 1), (90, 2)];
    check(&[0, 30, 40], json!({"loop": 2}), &expected);
    let (_folder, mut node) = source(&[0, 30, 40], json!({"loop": 0}));
    assert_eq!(played(&mut node, 9).len(), 9);
    check(&[], json!({"loop": 0}), &[]);
    check(&[5], json!({"loop": 3}), &[(0, 0), (0, 0), (0, 0)]);
}

#[test]
fn fewer_passes_than_have_been_played_end_with_the_current_one() {
    let (_folder, mut node) = source(&[0, 30, 40], json!({"loop": 0}));
    assert_eq!(played(&mut node, 7).len(), 7);
    node.set_params(&json!({"loop": 1})).unwrap();
    let rest: Vec<_> = played(&mut node, 9).iter().map(|(_, item)| item.payload()[0]).collect();
    assert_eq!(rest, [1, 2]);
}

#[test]
fn a_part_of_a_recording_can_be_played() {
    let times = [500, 600, 700, 800, 900];
    check(&times, json!({"start_ms": 100, "end_ms": 300}), &[(0, 1), (100, 2)]);
    check(&times, json!({"start_ms": 350}), &[(0, 4)]);
    check(&times, json!({"end_ms": 1}), &[(0, 0)]);
    let around = json!({"start_ms": 300, "loop": 2});
    check(&times, around, &[(0, 3), (100, 4), (200, 3), (300, 4)]);
    check(&times, json!({"start_ms": 401, "loop": 0}), &[]);
}

#[test]
fn lateness_does_not_add_up() {
    let (_folder, mut node) = source(&[0, 10, 20, 30], json!({}));
    let start = Instant::now();
    let ms = |ms| start + Duration::from_millis(ms);
    let mut output = Output::default();
    let mut step = |at| node.step((ms(at), time(0)), &mut output).unwrap();
    assert_eq!(step(0), Produced::More);
    assert_eq!(step(14), Produced::More);
    assert_eq!(step(14), Produced::At(ms(20)));
    assert_eq!(step(27), Produced::More);
    assert_eq!(step(27), Produced::At(ms(30)));
}

#[test]
fn timestamps_are_kept_or_those_of_playing() {
    let stamps = |params: Value| {
        let (_folder, mut node) = source(&[500, 600], params);
        let items = played(&mut node, 9);
        items.iter().map(|(_, item)| item.header().timestamp).collect::<Vec<_>>()
    };
    assert_eq!(stamps(json!({})), [time(500), time(600)]);
    let now = json!({"restamp": "now", "speed": 2.0});
    assert_eq!(stamps(now), [time(1_000_000), time(1_000_050)]);
    let fast = json!({"restamp": "now", "pace": "fast"});
    assert_eq!(stamps(fast), [time(1_000_000), time(1_000_000)]);
}

#[test]
fn a_deadline_is_as_far_away_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.rec");
    let (mut header, payload) = item(0, 0).into_parts();
    header.deadline = Some(time(250));
    record(&path, [RuntimeData::from_parts(header, payload).unwrap()]);
    let (_other, mut node) = source(&[], json!({"path": path}));
    node.path = path;
    let (_, item) = played(&mut node, 1).remove(0);
    assert_eq!(item.header().deadline, Some(time(1_000_250)));
    assert_eq!(item.header().timestamp, time(0));
}

#[test]
fn speed_and_pace_can_be_changed_while_it_plays() {
    let (_folder, mut node) = source(&[0, 100, 200, 300, 400], json!({}));
    let start = Instant::now();
    let ms = |ms| start + Duration::from_millis(ms);
    let mut output = Output::default();
    let step =
        |node: &mut FileSource, at| node.step((ms(at), time(0)), &mut Output::default()).unwrap();
    assert_eq!(node.step((ms(0), time(0)), &mut output).unwrap(), Produced::More);
    assert_eq!(step(&mut node, 100), Produced::More);
    node.set_params(&json!({"speed": 2.0})).unwrap();
    assert_eq!(step(&mut node, 100), Produced::At(ms(150)));
    assert_eq!(step(&mut node, 150), Produced::More);
    node.set_params(&json!({"pace": "fast"})).unwrap();
    assert_eq!(step(&mut node, 151), Produced::More);
    node.set_params(&json!({"pace": "realtime", "speed": 1.0})).unwrap();
    assert_eq!(step(&mut node, 152), Produced::At(ms(252)));
    for fixed in [json!({"path": "other"}), json!({"by": "arrival"})] {
        let error = node.set_params(&fixed).unwrap_err();
        assert!(matches!(error, NodeError::FixedParams), "{error}");
    }
}

#[test]
fn a_truncated_recording_is_played_and_then_told_or_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.rec");
    record(&path, [item(1, 0), item(2, 0)]);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 100]).unwrap();
    let play = |truncated: &str| {
        let params = json!({"path": path, "pace": "fast", "truncated": truncated});
        let mut node = make("FileSourceNode", params).unwrap();
        let mut output = Output::default();
        let end = loop {
            match node.produce(&mut output) {
                Ok(Produced::End) => break Ok(()),
                Ok(_) => {}
                Err(error) => break Err(error),
            }
        };
        (output.drain().count(), end)
    };
    assert!(matches!(play("accept"), (1, Ok(()))));
    let (count, end) = play("error");
    let error = end.unwrap_err();
    assert_eq!((count, error.to_string()), (1, format!("cannot read {}", path.display())));
    assert_eq!(
        error.source().unwrap().to_string(),
        format!("it ends at byte {}, after 1 whole items, without its end", whole.len() - 100)
    );
}

#[test]
fn what_cannot_be_opened_is_told_before_anything_is_played() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.rec");
    let open = || make("FileSourceNode", json!({"path": path})).unwrap().initialize();
    assert!(matches!(open(), Err(NodeError::File { action: "open", .. })));
    fs::write(&path, "not a recording at all").unwrap();
    assert!(matches!(open(), Err(NodeError::File { action: "open", .. })));
    assert!(make("FileSourceNode", json!({"path": ""})).is_err());
    let mut node = make("FileSourceNode", json!({"path": path})).unwrap();
    assert!(node.process(item(1, 0), &mut Output::default()).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_item_comes_back_as_it_was(items in proptest::collection::vec(any_item(), 0..12)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.rec");
        record(&path, items.clone());
        let params = json!({"path": path, "pace": "fast"});
        let played = run_source(make("FileSourceNode", params).unwrap().as_mut()).unwrap();
        prop_assert_eq!(played.len(), items.len());
        for (found, item) in played.iter().zip(&items) {
            let (found, expected) = (found.header(), item.header());
            prop_assert_eq!(&found.metadata, &expected.metadata);
            prop_assert_eq!(found.timestamp, expected.timestamp);
            prop_assert_eq!(found.correlation_id, expected.correlation_id);
            prop_assert_eq!(found.trace, expected.trace);
            prop_assert_eq!(found.deadline.is_some(), expected.deadline.is_some());
            prop_assert_eq!((found.sequence, found.epoch), (0, 0));
            prop_assert!(found.session_id.is_none() && found.origin.is_none());
        }
        for (found, item) in played.iter().zip(&items) {
            prop_assert_eq!(found.payload(), item.payload());
        }
    }
}
