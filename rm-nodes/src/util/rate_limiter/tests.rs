//! Tests of the rate limiter.

use super::*;
use crate::testing::{check_no_allocation, make};
use proptest::prelude::*;
use serde_json::json;

fn limiter(params: Value, start: Instant) -> RateLimiter {
    let defaults = json!({
        "items_per_second": 10.0, "bytes_per_second": null, "burst_items": 1.0, "burst_bytes": null,
        "policy": "drop", "by": "clock", "max_items": 100, "max_bytes": 10_000,
        "overflow": "drop_oldest",
    });
    let defaults: Params = serde_json::from_value(defaults).unwrap();
    RateLimiter::new(changed(&defaults, &params).unwrap(), start).unwrap()
}

/// An item of `len` bytes, made `ms` milliseconds after the first one.
fn item(number: u8, len: usize, ms: u64) -> RuntimeData {
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000) + Duration::from_millis(ms);
    RuntimeData::binary(vec![number; len]).unwrap().with_timestamp(at)
}

/// The numbers of the items that were let through, and of those that were dropped.
fn numbers(output: &mut Output) -> (Vec<u8>, Vec<u8>) {
    let (mut passed, mut dropped) = (Vec::new(), Vec::new());
    for (port, item) in output.drain_ports() {
        if port.is_none() { &mut passed } else { &mut dropped }.push(item.payload()[0]);
    }
    (passed, dropped)
}

/// What becomes of items of `len` bytes that come at these times, by the clock as by their timestamps.
fn check(params: Value, len: usize, times_ms: &[u64], passed: &[u8]) {
    for by in ["clock", "timestamp"] {
        let start = Instant::now();
        let mut node = limiter(params.clone(), start);
        node.set_params(&json!({"by": by})).unwrap();
        let mut output = Output::default();
        for (number, ms) in times_ms.iter().enumerate() {
            let now = if by == "clock" { start + Duration::from_millis(*ms) } else { start };
            let stamp = if by == "clock" { 0 } else { *ms };
            node.take(now, item(number as u8, len, stamp), &mut output).unwrap();
        }
        let (found, dropped) = numbers(&mut output);
        assert_eq!(found, passed, "{params} by {by}");
        assert_eq!(found.len() + dropped.len(), times_ms.len());
    }
}

#[test]
fn items_beyond_the_rate_are_dropped() {
    check(json!({}), 1, &[0, 50, 99, 100, 101, 199, 200], &[0, 3, 6]);
    check(json!({"burst_items": 2.0}), 1, &[0, 0, 0, 100, 500, 500, 500], &[0, 1, 3, 4, 5]);
    let thirds = json!({"items_per_second": 3.0});
    check(thirds, 1, &[0, 333, 334, 667, 1_000, 1_001], &[0, 2, 3, 4]);
}

#[test]
fn bytes_beyond_the_rate_are_dropped() {
    let params = json!({"items_per_second": null, "bytes_per_second": 100.0});
    check(params.clone(), 50, &[0, 0, 0, 400, 500], &[0, 1, 4]);
    // One that is larger than a burst waits for a full one, and takes the time that it needs.
    check(params, 250, &[0, 1_000, 2_400, 2_500], &[0, 3]);
    let params = json!({"items_per_second": 10.0, "bytes_per_second": 100.0, "burst_items": 5.0});
    check(params, 50, &[0, 0, 0, 500], &[0, 1, 3]);
}

#[test]
fn an_item_that_may_not_go_yet_is_held_back_in_order() {
    let start = Instant::now();
    let ms = |ms| start + Duration::from_millis(ms);
    let mut node = limiter(json!({"policy": "hold"}), start);
    let mut output = Output::default();
    assert!(node.finishes_on_time());
    for number in 0..4 {
        node.take(ms(10), item(number, 1, 0), &mut output).unwrap();
    }
    assert_eq!(numbers(&mut output).0, [0]);
    let mut at = Vec::new();
    while let Some(due) = node.due() {
        node.on_time(due - Duration::from_millis(1), &mut output).unwrap();
        assert!(output.is_empty());
        let due = node.due().unwrap();
        node.on_time(due, &mut output).unwrap();
        assert_eq!(numbers(&mut output).0, [at.len() as u8 + 1]);
        at.push(due.duration_since(ms(10)).as_millis());
    }
    // An item may go a ten-thousandth of a millisecond early.
    assert_eq!(at, [99, 199, 299]);
}

#[test]
fn by_timestamps_what_is_held_goes_with_later_items_and_the_rest_at_the_end() {
    let start = Instant::now();
    let mut node = limiter(json!({"policy": "hold", "by": "timestamp"}), start);
    let mut output = Output::default();
    for (number, ms) in [(0, 0), (1, 10), (2, 20), (3, 150), (4, 260)] {
        node.take(start, item(number, 1, ms), &mut output).unwrap();
    }
    assert_eq!(node.due(), None);
    assert!(!node.finishes_on_time());
    assert_eq!(numbers(&mut output).0, [0, 1, 2]);
    node.finish(&mut output).unwrap();
    assert_eq!(numbers(&mut output).0, [3, 4]);
}

#[test]
fn what_there_is_no_room_for_is_dropped() {
    let start = Instant::now();
    for (overflow, expected) in
        [("drop_oldest", (vec![0, 2, 3], vec![1])), ("drop_newest", (vec![0, 1, 2], vec![3]))]
    {
        let params = json!({"policy": "hold", "max_items": 2, "overflow": overflow});
        let mut node = limiter(params, start);
        let mut output = Output::default();
        for number in 0..4 {
            node.take(start, item(number, 1, 0), &mut output).unwrap();
        }
        node.finish(&mut output).unwrap();
        assert_eq!(numbers(&mut output), expected);
    }
}

#[test]
fn an_item_that_there_is_no_room_for_takes_no_other_and_no_token_with_it() {
    let start = Instant::now();
    let ms = |ms| start + Duration::from_millis(ms);
    let params = json!({"policy": "hold", "max_bytes": 4, "overflow": "error"});
    let mut node = limiter(params, start);
    let mut output = Output::default();
    for number in 0..3 {
        node.take(start, item(number, 1, 0), &mut output).unwrap();
    }
    assert_eq!(numbers(&mut output).0, [0]);
    // The next one may go, but without it there is no room either.
    let error = node.take(ms(100), item(3, 4, 0), &mut output).unwrap_err();
    assert!(error.to_string().starts_with("1 items of 1 bytes are held back"), "{error}");
    assert!(output.is_empty());
    node.on_time(ms(100), &mut output).unwrap();
    assert_eq!(numbers(&mut output).0, [1]);
    // Where all that is held may go, there is.
    node.take(ms(200), item(4, 4, 0), &mut output).unwrap();
    assert_eq!(numbers(&mut output).0, [2]);
}

#[test]
fn a_rate_can_be_changed_while_items_are_held() {
    let start = Instant::now();
    let mut node = limiter(json!({"policy": "hold"}), start);
    let mut output = Output::default();
    for number in 0..3 {
        node.take(start, item(number, 1, 0), &mut output).unwrap();
    }
    let slow = node.due().unwrap();
    node.set_params(&json!({"items_per_second": 1_000.0})).unwrap();
    let fast = node.due().unwrap();
    assert!(fast < slow && fast <= start + Duration::from_millis(1));
    node.set_params(&json!({"policy": "drop"})).unwrap();
    assert_eq!(node.due(), Some(start));
    node.on_time(start, &mut output).unwrap();
    assert_eq!(numbers(&mut output).0, [0, 1, 2]);
    let error = node.set_params(&json!({"items_per_second": null})).unwrap_err();
    assert_eq!(
        error.to_string(),
        "parameter \"items_per_second\" is null, expected a number, unless bytes_per_second is one"
    );
    for number in 0..3 {
        node.take(start, item(number, 1, 0), &mut output).unwrap();
    }
    node.flush();
    assert_eq!(node.due(), None);
}

#[test]
fn times_that_go_back_do_not_stop_the_stream() {
    let mut node = limiter(json!({"by": "timestamp"}), Instant::now());
    let mut output = Output::default();
    for (number, ms) in [(0, 100_000), (1, 0), (2, 100), (3, 150), (4, 200)] {
        node.take(Instant::now(), item(number, 1, ms), &mut output).unwrap();
    }
    assert_eq!(numbers(&mut output).0, [0, 2, 4]);
}

#[test]
fn limiting_allocates_nothing() {
    for policy in ["drop", "hold"] {
        let params = json!({"policy": policy, "max_items": 50, "bytes_per_second": 1e6});
        check_no_allocation("RateLimiterNode", &params, &item(1, 100, 0));
    }
    let fast = json!({"items_per_second": 1e9, "burst_items": 1e9});
    check_no_allocation("RateLimiterNode", &fast, &item(1, 100, 0));
    assert!(make("RateLimiterNode", json!({"items_per_second": 0})).is_err());
}

proptest! {
    #[test]
    fn nothing_is_lost_or_out_of_order_and_the_rate_is_kept(
        gaps in proptest::collection::vec((0..300_u64, 0..200_usize), 1..80),
        hold in any::<bool>(),
        rate in 1.0..50.0_f64,
        burst in 1.0..5.0_f64,
    ) {
        let start = Instant::now();
        let policy = if hold { "hold" } else { "drop" };
        let params = json!({
            "policy": policy, "items_per_second": rate, "burst_items": burst,
            "bytes_per_second": 1_000.0, "max_bytes": 1_000_000,
        });
        let mut node = limiter(params, start);
        let (mut passed, mut dropped, mut at) = (Vec::new(), Vec::new(), Duration::ZERO);
        let mut output = Output::default();
        let note = |output: &mut Output, at: Duration, passed: &mut Vec<_>, dropped: &mut Vec<_>| {
            for (port, item) in output.drain_ports() {
                let number = item.payload()[0];
                if port.is_none() { passed.push((number, at)) } else { dropped.push(number) }
            }
        };
        for (number, (gap, len)) in gaps.iter().enumerate() {
            at += Duration::from_millis(*gap);
            while let Some(due) = node.due().filter(|due| *due <= start + at) {
                node.on_time(due, &mut output).unwrap();
                note(&mut output, due - start, &mut passed, &mut dropped);
            }
            node.take(start + at, item(number as u8, len + 1, 0), &mut output).unwrap();
            note(&mut output, at, &mut passed, &mut dropped);
        }
        while let Some(due) = node.due() {
            node.on_time(due, &mut output).unwrap();
            note(&mut output, due - start, &mut passed, &mut dropped);
        }
        prop_assert!(passed.is_sorted());
        prop_assert_eq!(passed.len() + dropped.len(), gaps.len());
        prop_assert!(!hold || dropped.is_empty());
        for (index, (_, from)) in passed.iter().enumerate() {
            for (count, (_, to)) in passed[index..].iter().enumerate() {
                let most = (*to - *from).as_secs_f64() * rate + burst + 1.0 + 1e-3;
                prop_assert!((count + 1) as f64 <= most);
            }
        }
    }
}
