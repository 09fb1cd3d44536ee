//! Tests of the chunker: lengths, places, times and the last chunk.

use super::*;
use crate::testing::{check_cuts, check_no_allocation, cut, lengths, make, run, samples, sine};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::time::{Duration, SystemTime};

/// The samples 0, 1, 2 and so on, whose values are their places.
fn places(frames: usize) -> Vec<f32> {
    (0..frames).map(|n| n as f32).collect()
}

/// The first place and the length of each chunk of a mono stream.
fn chunks(params: Value, frames: usize, rate: u32, cuts: &[usize]) -> Vec<(usize, usize)> {
    let mut node = make("AudioChunkerNode", params).unwrap();
    let items = run(node.as_mut(), cut(&places(frames), rate, 1, cuts)).unwrap();
    let chunk = |item: &RuntimeData| {
        let samples = samples(std::slice::from_ref(item));
        for pair in samples.windows(2) {
            assert!(pair[1] == pair[0] + 1.0 || pair[1] == 0.0, "{pair:?}");
        }
        (samples[0] as usize, samples.len())
    };
    items.iter().map(chunk).collect()
}

fn frames(size: f64, hop: f64, last: &str) -> Value {
    json!({"unit": "frames", "size": size, "hop": hop, "last": last})
}

#[test]
fn chunks_follow_overlap_or_leave_gaps() {
    let check = |hop: f64, expected: &[(usize, usize)]| {
        for cuts in [[1], [3], [5], [100]] {
            assert_eq!(chunks(frames(4.0, hop, "drop"), 13, 8_000, &cuts), expected, "{hop}");
        }
    };
    check(4.0, &[(0, 4), (4, 4), (8, 4)]);
    check(3.0, &[(0, 4), (3, 4), (6, 4), (9, 4)]);
    check(1.0, &(0..10).map(|start| (start, 4)).collect::<Vec<_>>());
    check(6.0, &[(0, 4), (6, 4)]);
}

#[test]
fn the_last_chunk_is_padded_kept_or_dropped() {
    let check = |last: &str, hop: f64, expected: &[(usize, usize)]| {
        for cuts in [[1], [3], [100]] {
            let given = chunks(frames(4.0, hop, last), 10, 8_000, &cuts);
            assert_eq!(given.last(), expected.last(), "{last} {hop}");
            assert_eq!(given.len(), expected.len(), "{last} {hop}");
        }
    };
    check("keep", 4.0, &[(0, 4), (4, 4), (8, 2)]);
    check("pad", 4.0, &[(0, 4), (4, 4), (8, 4)]);
    check("drop", 4.0, &[(0, 4), (4, 4)]);
    // The chunk at 6 has held all that was left.
    check("pad", 3.0, &[(0, 4), (3, 4), (6, 4)]);
    check("keep", 9.0, &[(0, 4), (9, 1)]);
    // The next one would begin behind the end.
    check("pad", 10.0, &[(0, 4)]);
}

#[test]
fn padding_is_silence_in_every_format() {
    for (format, silence) in [(AudioFormat::U8, 128), (AudioFormat::I16, 0)] {
        let width = format.bytes_per_sample();
        let mut node = make("AudioChunkerNode", frames(2.0, 2.0, "pad")).unwrap();
        let item = RuntimeData::audio(vec![7; width], 8_000, 1, format).unwrap();
        let items = run(node.as_mut(), [item]).unwrap();
        assert_eq!(*items[0].payload(), [vec![7; width], vec![silence; width]].concat());
    }
}

#[test]
fn lengths_in_milliseconds_alternate_without_drift() {
    let given = chunks(json!({"size": 10.0}), 22_050, 22_050, &[1_000]);
    assert_eq!(given[..4], [(0, 220), (220, 221), (441, 220), (661, 221)]);
    assert_eq!((given.len(), given[99]), (100, (21_829, 221)));
    assert_eq!(chunks(json!({"size": 10}), 44_100, 44_100, &[7]), {
        (0..100).map(|n| (n * 441, 441)).collect::<Vec<_>>()
    });
}

#[test]
fn a_chunk_carries_the_time_of_its_first_frame() {
    let begin = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
    let mut items = cut(&places(3_000), 1_000, 1, &[700]);
    for (n, item) in items.iter_mut().enumerate() {
        *item = item.clone().with_timestamp(begin + Duration::from_millis(700) * n as u32);
    }
    let mut node = make("AudioChunkerNode", json!({"size": 100, "hop": 30})).unwrap();
    for (n, chunk) in run(node.as_mut(), items).unwrap().iter().enumerate() {
        let time = begin + Duration::from_millis(30) * n as u32;
        assert_eq!(chunk.header().timestamp, time, "{n}");
    }
}

#[test]
fn a_chunk_within_one_item_is_not_copied() {
    let mut node = make("AudioChunkerNode", frames(10.0, 10.0, "keep")).unwrap();
    let input = RuntimeData::audio_f32(places(30), 8_000, 1).unwrap();
    let items = run(node.as_mut(), [input.clone()]).unwrap();
    for (n, item) in items.iter().enumerate() {
        assert_eq!(item.payload().as_ptr(), input.payload()[n * 40..].as_ptr());
    }
}

#[test]
fn what_is_held_is_dropped_by_a_flush() {
    let mut node = make("AudioChunkerNode", frames(4.0, 4.0, "keep")).unwrap();
    let mut output = Output::default();
    let item = |sample: f32| RuntimeData::audio_f32(vec![sample; 3], 8_000, 1).unwrap();
    node.process(item(1.0), &mut output).unwrap();
    node.flush();
    node.process(item(2.0), &mut output).unwrap();
    node.finish(&mut output).unwrap();
    assert_eq!(samples(&output.drain().collect::<Vec<_>>()), [2.0; 3]);
}

#[test]
fn sizes_that_make_no_sense_are_refused() {
    for params in [frames(0.5, 1.0, "keep"), frames(4.0, 2.5, "keep"), json!({"size": 0})] {
        assert!(make("AudioChunkerNode", params).is_err());
    }
    let refused = |params: Value, rate, channels| {
        let mut node = make("AudioChunkerNode", params).unwrap();
        let item = RuntimeData::audio_f32(vec![], rate, channels).unwrap();
        run(node.as_mut(), [item]).unwrap_err().to_string()
    };
    assert!(refused(json!({"size": 0.1}), 1_000, 1).contains("1 frame"));
    assert!(refused(json!({"size": 10_000_000}), 384_000, 256).contains("256 MiB"));
}

#[test]
fn planar_audio_is_refused_with_advice() {
    let mut node = make("AudioChunkerNode", json!({})).unwrap();
    let item = RuntimeData::audio_planar(vec![0; 16], 8_000, 2, AudioFormat::F32).unwrap();
    let error = run(node.as_mut(), [item]).unwrap_err().to_string();
    assert!(error.contains("FormatConverterNode"), "{error}");
}

#[test]
fn steady_work_allocates_nothing() {
    let item = RuntimeData::audio_f32(sine(440.0, 48_000, 1_920), 48_000, 2).unwrap();
    for params in [json!({}), json!({"size": 32, "hop": 10}), json!({"size": 5, "hop": 33})] {
        check_no_allocation("AudioChunkerNode", &params, &item);
    }
}

proptest! {
    #[test]
    fn chunks_do_not_depend_on_how_the_stream_is_cut(
        lengths in lengths(), size in 1_u32..300, hop in 1_u32..400, l in 0..3_usize,
    ) {
        let last = ["pad", "keep", "drop"][l];
        let params = frames(f64::from(size), f64::from(hop), last);
        let one = chunks(params.clone(), 6_000, 8_000, &[6_000]);
        prop_assert_eq!(chunks(params.clone(), 6_000, 8_000, &lengths), one);
        check_cuts("AudioChunkerNode", &params, (&places(6_000), 8_000, 2), &lengths);
    }
}
