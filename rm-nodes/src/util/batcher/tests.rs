//! Tests of the batcher.

use super::*;
use crate::testing::{allocations_per_item, make, run};
use proptest::prelude::*;
use rm_core::{AudioFormat, NodeContext};
use serde_json::json;

fn batches(params: Value, items: Vec<RuntimeData>) -> Result<Vec<RuntimeData>, NodeError> {
    run(make("BatcherNode", params)?.as_mut(), items)
}

fn text(text: &str) -> RuntimeData {
    RuntimeData::text(text).unwrap()
}

fn texts(items: impl IntoIterator<Item = RuntimeData>) -> Vec<String> {
    items.into_iter().map(|item| item.as_text().unwrap().to_owned()).collect()
}

#[test]
fn texts_are_joined() {
    let items = ["a", "b", "c", "d", "e"].map(text).to_vec();
    let out = batches(json!({"max_items": 2, "separator": ", "}), items).unwrap();
    assert_eq!(texts(out), ["a, b", "c, d", "e"]);
}

#[test]
fn audio_becomes_longer() {
    let audio = |samples: &[i16]| RuntimeData::audio_i16(samples.to_vec(), 8_000, 2).unwrap();
    let out = batches(
        json!({"max_items": 3}),
        vec![audio(&[1, 2]), audio(&[]), audio(&[3, 4, 5, 6]), audio(&[7, 8])],
    );
    let out = out.unwrap();
    assert_eq!(out.len(), 2);
    let samples = |item: &RuntimeData| item.as_audio().unwrap().as_i16().unwrap().to_vec();
    assert_eq!((samples(&out[0]), samples(&out[1])), (vec![1, 2, 3, 4, 5, 6], vec![7, 8]));
    let planar = |samples: &[u8]| {
        RuntimeData::audio_planar(samples.to_vec(), 8_000, 2, AudioFormat::U8).unwrap()
    };
    let out = batches(json!(null), vec![planar(&[1, 2, 11, 12]), planar(&[3, 13])]).unwrap();
    assert_eq!(out[0].payload()[..], [1, 2, 3, 11, 12, 13]);
}

#[test]
fn json_becomes_a_list_and_what_is_no_json_is_refused() {
    let json = |text: &str| RuntimeData::new(DataMetadata::Json, text.to_owned()).unwrap();
    let long = "123456789012345678901234567890.10";
    let out = batches(json!({"max_items": 2}), vec![json("{\"a\": 1}"), json(long), json("2")]);
    let out = out.unwrap();
    assert_eq!(out[0].payload(), format!("[{{\"a\": 1}},{long}]").as_bytes());
    assert_eq!(out[1].payload(), "[2]");
    for broken in ["1],[2", "", "{", "1 2"] {
        let error = batches(json!(null), vec![json("1"), json(broken)]).unwrap_err();
        assert!(matches!(error, NodeError::Data(DataError::NotJson { .. })), "{broken}: {error}");
    }
}

#[test]
fn tensors_and_frames_are_stacked() {
    let tensor = |values: [f32; 2]| RuntimeData::tensor_of(values.to_vec(), vec![2]).unwrap();
    let out =
        batches(json!({"max_items": 2}), [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]].map(tensor).to_vec());
    let out = out.unwrap();
    let view = out[0].as_tensor().unwrap();
    assert_eq!((view.shape, view.as_slice()), (&[2, 2][..], Some(&[1.0_f32, 2.0, 3.0, 4.0][..])));
    assert_eq!(out[1].as_tensor().unwrap().shape, [1, 2]);

    for (format, dtype, samples) in PACKED {
        let len = 6 * samples * dtype.bytes_per_element();
        let frame = RuntimeData::video(vec![9; len], 3, 2, format, 30.0).unwrap();
        let out = batches(json!(null), vec![frame.clone(), frame]).unwrap();
        let view = out[0].as_tensor().unwrap();
        assert_eq!((view.shape, view.dtype), (&[2, 2, 3, samples][..], dtype));
    }
}

#[test]
fn an_item_that_does_not_fit_ends_the_batch() {
    let out = batches(
        json!(null),
        vec![
            text("a"),
            text("b"),
            RuntimeData::text_in("c", "de").unwrap(),
            RuntimeData::json(&json!(1)).unwrap(),
            RuntimeData::tensor_of(vec![1_u8], vec![1]).unwrap(),
            RuntimeData::tensor_of(vec![1_u8, 2], vec![2]).unwrap(),
            RuntimeData::audio_i16(vec![1], 8_000, 1).unwrap(),
            RuntimeData::audio_i16(vec![1], 16_000, 1).unwrap(),
        ],
    )
    .unwrap();
    assert_eq!(out.len(), 7);
    assert_eq!(out[0].as_text(), Some("ab"));
}

#[test]
fn what_cannot_be_put_together_is_refused_and_the_batch_stays() {
    let mut node = make("BatcherNode", json!(null)).unwrap();
    let mut output = Output::default();
    node.process(text("a"), &mut output).unwrap();
    for item in [
        RuntimeData::binary(vec![1]).unwrap(),
        RuntimeData::tensor_of(vec![1_u8], vec![1; 8]).unwrap(),
        RuntimeData::tensor(Vec::new(), vec![usize::MAX / 2, 0], TensorType::U8).unwrap(),
        RuntimeData::video(vec![0; 6], 2, 2, VideoFormat::Nv12, 0.0).unwrap(),
    ] {
        let error = node.process(item, &mut output).unwrap_err();
        assert!(matches!(error, NodeError::Input { .. }), "{error}");
    }
    node.finish(&mut output).unwrap();
    assert_eq!(texts(output.drain()), ["a"]);
}

#[test]
fn a_batch_is_given_when_it_has_waited_for_long_enough() {
    let params = json!({"max_items": 3, "max_wait_ms": 100, "max_bytes": 1_000, "separator": ""});
    let mut node = Batcher::new(serde_json::from_value(params).unwrap());
    let mut output = Output::default();
    let start = Instant::now();
    let ms = |ms| start + Duration::from_millis(ms);
    node.take(ms(10), text("a"), &mut output).unwrap();
    node.take(ms(50), text("b"), &mut output).unwrap();
    assert_eq!(node.due(), Some(ms(110)));
    node.on_time(ms(109), &mut output).unwrap();
    assert!(output.is_empty());
    node.on_time(ms(110), &mut output).unwrap();
    assert_eq!(texts(output.drain()), ["ab"]);
    assert_eq!(node.due(), None);
    for part in ["c", "d", "e"] {
        node.take(ms(200), text(part), &mut output).unwrap();
    }
    assert_eq!(node.due(), None);
    node.take(ms(300), text("f"), &mut output).unwrap();
    node.take(ms(300), text("g"), &mut output).unwrap();
    node.set_params(&json!({"max_items": 2})).unwrap();
    assert_eq!(node.due(), Some(ms(300)));
    node.on_time(ms(300), &mut output).unwrap();
    node.take(ms(300), text("h"), &mut output).unwrap();
    node.flush();
    node.finish(&mut output).unwrap();
    assert_eq!(texts(output.drain()), ["cde", "fg"]);
    assert!(!node.finishes_on_time());
}

#[test]
fn bytes_are_bounded() {
    let items = ["aaa", "bb", "c", "dddddd", "e"].map(text).to_vec();
    let out = batches(json!({"max_bytes": 5}), items).unwrap();
    assert_eq!(texts(out), ["aaabb", "c", "dddddd", "e"]);
}

#[test]
fn separators_count_as_bytes_of_a_batch() {
    let params = json!({"max_bytes": 5, "separator": "ü"});
    let out = batches(params.clone(), ["aa", "b", "cc", "d"].map(text).to_vec()).unwrap();
    assert_eq!(texts(out), ["aaüb", "ccüd"]);
    let out = batches(params.clone(), ["aa", "bb", "", "", ""].map(text).to_vec()).unwrap();
    assert_eq!(texts(out), ["aa", "bbü", "ü"]);
    // Nothing stands between other items.
    let tensor = RuntimeData::tensor_of(vec![1_u8, 2], vec![2]).unwrap();
    assert_eq!(batches(params, vec![tensor.clone(), tensor]).unwrap().len(), 1);
}

#[test]
fn a_batch_carries_the_header_of_its_first_item() {
    let items: Vec<_> = (1..=4).map(|n| text("a").with_correlation(n)).collect();
    let times: Vec<_> = items.iter().map(|item| item.header().timestamp).collect();
    let out = batches(json!({"max_items": 2}), items).unwrap();
    let headers: Vec<_> = out.iter().map(|item| item.header()).collect();
    assert_eq!((headers[0].correlation_id, headers[1].correlation_id), (1, 3));
    assert_eq!((headers[0].timestamp, headers[1].timestamp), (times[0], times[2]));
}

#[test]
fn batches_of_audio_allocate_nothing() {
    let mut node = make("BatcherNode", json!({"max_items": 4})).unwrap();
    let item = RuntimeData::audio_i16(vec![1; 160], 16_000, 1).unwrap();
    assert_eq!(allocations_per_item(node.as_mut(), &item), 0.0);
}

#[test]
fn what_is_taken_and_given_is_what_the_formats_say() {
    let mut registry = NodeRegistry::new();
    register(&mut registry).unwrap();
    let context = NodeContext { node_type: "BatcherNode".into(), ..NodeContext::default() };
    let formats = registry.formats(&context).unwrap();
    let any: Vec<_> = DataType::ALL.iter().map(|kind| Formats::any(*kind)).collect();
    let given: Vec<_> = formats.given(&any).iter().map(Formats::data_type).collect();
    assert_eq!(given, [DataType::Audio, DataType::Tensor, DataType::Text, DataType::Json]);
}

proptest! {
    #[test]
    fn nothing_is_lost_and_the_limits_hold(
        parts in proptest::collection::vec("[a-z]{0,9}", 0..40),
        max_items in 1..7_usize,
        max_bytes in 1..30_u64,
    ) {
        let items = parts.iter().map(|part| text(part)).collect();
        let params = json!({"max_items": max_items, "max_bytes": max_bytes, "separator": "|"});
        let out = texts(batches(params, items).unwrap());
        let all: Vec<_> = out.iter().flat_map(|batch| batch.split('|')).collect();
        prop_assert_eq!(all, parts.iter().map(String::as_str).collect::<Vec<_>>());
        for batch in &out {
            let count = batch.split('|').count();
            prop_assert!(count <= max_items);
            prop_assert!(count == 1 || batch.len() as u64 <= max_bytes);
        }
    }
}
