//! Tests of the frame rate: what is given is checked against the nearest frame at each point.

use super::*;
use crate::testing::{allocations_per_item, make};
use proptest::prelude::*;
use rm_core::VideoFormat;
use std::time::UNIX_EPOCH;

fn at(us: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_000) + Duration::from_micros(us)
}

/// A frame of one pixel that tells its number.
fn frame(number: usize, us: u64) -> RuntimeData {
    let pixel = vec![number as u8, (number >> 8) as u8];
    RuntimeData::video(pixel, 1, 1, VideoFormat::Gray16, 0.0).unwrap().with_timestamp(at(us))
}

/// The number of each frame that is given, its time in us, and the counts at the end.
fn convert(params: Value, times: &[u64]) -> (Vec<(usize, u64)>, Value) {
    let mut node = make("FrameRateNode", params).unwrap();
    let mut output = Output::default();
    for (number, us) in times.iter().enumerate() {
        node.process(frame(number, *us), &mut output).unwrap();
    }
    node.finish(&mut output).unwrap();
    let mut given = Vec::new();
    let mut stats = Value::Null;
    for (port, item) in output.drain_ports() {
        if port == Some("stats") {
            stats = item.parse_json().unwrap();
            continue;
        }
        let number = u16::from_le_bytes([item.payload()[0], item.payload()[1]]);
        let time = item.header().timestamp.duration_since(at(0)).unwrap();
        given.push((usize::from(number), u64::try_from(time.as_micros()).unwrap()));
    }
    (given, stats)
}

#[test]
fn twice_the_rate_repeats_each_frame_and_half_of_it_drops_every_other() {
    let times: Vec<u64> = (0..6).map(|n| n * 40_000).collect();
    let (given, stats) = convert(json!({"fps": 50}), &times);
    let numbers: Vec<_> = given.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5]);
    assert_eq!(given.last(), Some(&(5, 200_000)));
    let expected = json!({"frames_in": 6, "frames_out": 11, "dropped": 0, "duplicated": 5});
    assert_eq!(stats, expected);
    let (given, stats) = convert(json!({"fps": 12.5}), &times);
    assert_eq!(given, [(0, 0), (2, 80_000), (4, 160_000)]);
    let expected = json!({"frames_in": 6, "frames_out": 3, "dropped": 3, "duplicated": 0});
    assert_eq!(stats, expected);
}

#[test]
fn the_grid_does_not_drift_in_an_hour() {
    let times: Vec<u64> = (0..3_600 * 25).map(|n| n * 40_000).collect();
    let mut node = make("FrameRateNode", json!({"fps": "30000/1001"})).unwrap();
    let mut output = Output::default();
    let mut count = 0_u64;
    let mut last = at(0);
    for (number, us) in times.iter().enumerate() {
        node.process(frame(number, *us), &mut output).unwrap();
        for item in output.drain() {
            (count, last) = (count + 1, item.header().timestamp);
            assert_eq!(item.as_video().unwrap().fps, 30_000.0 / 1_001.0);
        }
    }
    let exact = Duration::from_nanos((count - 1) * 1_001 * 1_000_000_000 / 30_000);
    assert!(last.duration_since(at(0)).unwrap().abs_diff(exact) <= Duration::from_nanos(1));
}

#[test]
fn long_gaps_are_filled_up_to_the_bound_or_skipped() {
    let times = [0, 100_000, 200_000, 5_200_000, 5_300_000];
    let numbers = |on_gap: &str| {
        let params = json!({"fps": 10, "on_gap": on_gap, "max_gap_ms": 300});
        convert(params, &times).0
    };
    let before = [(0, 0), (1, 100_000), (2, 200_000)];
    let behind = [(3, 5_200_000), (4, 5_300_000)];
    assert_eq!(numbers("skip"), [&before[..], &behind].concat());
    let filled = [(2, 300_000), (2, 400_000), (2, 500_000)];
    assert_eq!(numbers("duplicate"), [&before[..], &filled, &behind].concat());
}

#[test]
fn regular_frames_are_no_gaps_however_low_the_bound_is() {
    for on_gap in ["duplicate", "skip"] {
        for max_gap_ms in [0, 20] {
            let params = json!({"fps": 10, "on_gap": on_gap, "max_gap_ms": max_gap_ms});
            // Not quite on the grid, as the clocks of cameras have it.
            let (given, stats) = convert(params.clone(), &[0, 140_000, 170_000, 300_000]);
            assert_eq!(given, [(0, 0), (1, 100_000), (2, 200_000), (3, 300_000)], "{params}");
            assert_eq!((&stats["dropped"], &stats["duplicated"]), (&json!(0), &json!(0)));
            let fast: Vec<u64> = (0..=9).map(|n| n * 30_000).collect();
            let (given, _) = convert(params.clone(), &fast);
            assert_eq!(given, [(0, 0), (3, 100_000), (7, 200_000), (9, 300_000)], "{params}");
        }
    }
}

#[test]
fn a_point_behind_a_gap_has_the_frame_that_ends_it() {
    let params = json!({"fps": 10, "on_gap": "duplicate", "max_gap_ms": 300});
    let (given, _) = convert(params, &[0, 310_000]);
    assert_eq!(given, [(0, 0), (0, 100_000), (0, 200_000), (1, 300_000)]);
}

#[test]
fn late_frames_are_dropped_and_a_clock_that_is_set_back_begins_anew() {
    let (given, stats) = convert(json!({"fps": 10}), &[5_000_000, 5_100_000, 5_050_000, 5_200_000]);
    assert_eq!(given.len(), 3);
    assert_eq!(stats["dropped"], 1);
    let (given, _) = convert(json!({"fps": 10}), &[5_000_000, 5_100_000, 30_000, 130_000]);
    assert_eq!(given, [(0, 5_000_000), (1, 5_100_000), (2, 30_000), (3, 130_000)]);
}

#[test]
fn the_rate_can_be_changed_while_it_runs() {
    let mut node = make("FrameRateNode", json!({"fps": 10})).unwrap();
    let mut output = Output::default();
    for number in 0..20 {
        if number == 10 {
            node.set_params(&json!({"fps": 20})).unwrap();
        }
        node.process(frame(number, number as u64 * 100_000), &mut output).unwrap();
    }
    node.finish(&mut output).unwrap();
    let frames = output.drain().filter(|item| item.as_video().is_some());
    assert_eq!(frames.count(), 9 + 2 * 10 + 1);
    assert!(node.set_params(&json!({"fps": "x"})).is_err());
}

#[test]
fn a_flush_drops_what_is_held() {
    let mut node = make("FrameRateNode", json!({"fps": 10})).unwrap();
    let mut output = Output::default();
    node.process(frame(0, 0), &mut output).unwrap();
    node.flush();
    node.process(frame(1, 7_000), &mut output).unwrap();
    node.finish(&mut output).unwrap();
    let first = output.drain().next().unwrap();
    assert_eq!((first.payload()[0], first.header().timestamp), (1, at(7_000)));
}

#[test]
fn wrong_rates_are_refused() {
    for fps in [json!(0), json!("fast"), json!(null), json!(true)] {
        assert!(make("FrameRateNode", json!({"fps": fps})).is_err(), "{fps}");
    }
}

#[test]
fn repeating_allocates_nothing() {
    // Frames of one time are dropped; those given are clones.
    let mut node = make("FrameRateNode", json!({"fps": 1_000})).unwrap();
    assert_eq!(allocations_per_item(node.as_mut(), &frame(0, 0)), 0.0);
}

proptest! {
    #[test]
    fn each_point_has_the_nearest_frame(
        steps in prop::collection::vec(1_u64..300_000, 1..60), fps in 1_u64..200,
    ) {
        let mut times = vec![0];
        for step in steps {
            times.push(times.last().unwrap() + step);
        }
        let (given, stats) = convert(json!({"fps": fps, "max_gap_ms": 1_000}), &times);
        for (point, (number, time)) in given.iter().enumerate() {
            let exact = point as u64 * 1_000_000 / fps;
            prop_assert_eq!(*time, exact);
            let distance = |us: u64| us.abs_diff(exact);
            let nearest = times.iter().map(|us| distance(*us)).min().unwrap();
            prop_assert!(distance(times[*number]) <= nearest + 1);
        }
        let whole = |name: &str| stats[name].as_u64().unwrap();
        prop_assert_eq!(whole("frames_out"), given.len() as u64);
        prop_assert_eq!(whole("frames_in") - whole("dropped") + whole("duplicated"), whole("frames_out"));
    }
}
