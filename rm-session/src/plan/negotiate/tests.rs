//! Which converters are put between which formats, and what is said where none are.

use std::sync::{Arc, Mutex};

use super::*;
use crate::plan::{Plan, PlanError};
use crate::run::RunEvent;
use crate::{Machine, Runtime, RuntimeConfig};
use rm_core::{
    AudioFormat, AudioFormats, AudioLayout, DataType, Node, NodeError, NodeMetadata, Output,
    ParameterKind, ParameterSpec, RuntimeData, Values, VideoFormat, VideoFormats,
};
use serde_json::json;

/// Gives on what it is given.
struct Same;

impl Node for Same {
    fn process(&mut self, input: RuntimeData, output: &mut Output) -> Result<(), NodeError> {
        output.push(input);
        Ok(())
    }
}

/// The nodes of rm-nodes, and ones that take or give what a test says.
fn registry(nodes: impl IntoIterator<Item = (&'static str, NodeFormats)>) -> NodeRegistry {
    let mut registry = NodeRegistry::new();
    rm_nodes::register_all(&mut registry).unwrap();
    for (name, formats) in nodes {
        let types = |formats: &[Formats]| formats.iter().map(Formats::data_type).collect();
        let metadata = NodeMetadata {
            name: name.to_owned(),
            accepts: types(formats.taken()),
            produces: DataType::ALL.to_vec(),
            source: formats.taken().is_empty(),
            parameters: vec![ParameterSpec::optional("x", ParameterKind::Any, 0, "nothing")],
            ..NodeMetadata::default()
        };
        registry.register(metadata, |_| Ok(Box::new(Same))).unwrap();
        registry.register_formats(name, move |_| Ok(formats.clone())).unwrap();
    }
    registry
}

fn audio(format: AudioFormat, layout: AudioLayout, channels: u16, rate: u32) -> AudioFormats {
    AudioFormats {
        sample_rate: Values::only(rate),
        channels: Values::only(channels),
        format: Values::only(format),
        layout: Values::only(layout),
    }
}

fn speech() -> AudioFormats {
    AudioFormats {
        channels: Values::only(1),
        sample_rate: Values::only(16_000),
        ..AudioFormats::f32()
    }
}

fn plan(auto_convert: bool, types: &[&str], registry: &NodeRegistry) -> Result<Plan, PlanError> {
    let nodes: Vec<_> = types
        .iter()
        .enumerate()
        .map(|(place, node_type)| json!({"id": format!("n{place}"), "node_type": node_type}))
        .collect();
    let connections: Vec<_> = (1..types.len())
        .map(|place| json!({"from": format!("n{}", place - 1), "to": format!("n{place}")}))
        .collect();
    let manifest = json!({
        "version": "v1", "auto_convert": auto_convert, "nodes": nodes, "connections": connections,
    });
    let manifest = Manifest::from_json(&manifest.to_string()).unwrap();
    Plan::with(manifest, registry, &RuntimeConfig::default(), &Machine::probe())
}

/// What is put between a node that gives `come` and one that takes `take`: types and parameters.
fn put_between(come: impl Into<Formats>, take: impl Into<Formats>) -> Vec<String> {
    let nodes =
        [("From", NodeFormats::source([come.into()])), ("To", NodeFormats::takes([take.into()]))];
    let registry = registry(nodes);
    let plan = plan(true, &["From", "To"], &registry).unwrap();
    let by: Vec<_> = plan.conversions.iter().flat_map(|conversion| conversion.by.clone()).collect();
    for &node in &by {
        let node = &plan.nodes[node];
        assert_eq!((node.reason, node.executor), (Reason::Inserted, ExecutorType::Native));
        let metadata = registry.metadata(&node.node_type).unwrap();
        assert_eq!(metadata.check_params(&node.params), [], "{}", node.node_type);
    }
    by.iter()
        .map(|node| format!("{} {}", plan.nodes[*node].node_type, plan.nodes[*node].params))
        .collect()
}

#[test]
fn only_what_differs_is_converted() {
    use AudioFormat::{F32, I16};
    use AudioLayout::{Interleaved, Planar};
    let check = |come: AudioFormats, take: AudioFormats, expected: &[&str]| {
        assert_eq!(put_between(come.clone(), take.clone()), expected, "{come:?} to {take:?}");
    };
    let to_f32 = r#"FormatConverterNode {"channels":1,"format":"f32","layout":"interleaved"}"#;
    let to_16k = r#"ResampleNode {"target_rate":16000}"#;
    check(audio(F32, Interleaved, 1, 16_000), speech(), &[]);
    check(audio(F32, Planar, 1, 16_000), speech(), &[]);
    check(audio(F32, Interleaved, 1, 48_000), speech(), &[to_16k]);
    check(audio(I16, Interleaved, 2, 48_000), speech(), &[to_f32, to_16k]);
    check(AudioFormats::ANY, speech(), &[to_f32, to_16k]);
    // The resampler works on floats, wherever it stands.
    let telephone = audio(I16, Interleaved, 1, 8_000);
    let back = r#"FormatConverterNode {"format":"i16","layout":"keep"}"#;
    let floats = r#"FormatConverterNode {"format":"f32","layout":"interleaved"}"#;
    let to_8k = r#"ResampleNode {"target_rate":8000}"#;
    check(audio(I16, Interleaved, 1, 16_000), telephone, &[floats, to_8k, back]);
    // Several channels into several others need to be mixed.
    let surround = audio(I16, Interleaved, 6, 48_000);
    let mixed = r#"ChannelMixerNode {"channels":2}"#;
    let stereo = AudioFormats { channels: Values::only(2), ..AudioFormats::f32() };
    check(surround, stereo.clone(), &[floats, mixed]);
    let copies = r#"FormatConverterNode {"channels":2,"format":"keep","layout":"keep"}"#;
    check(audio(F32, Interleaved, 1, 48_000), stereo, &[copies]);
    // Any of several will do, and the nearest end of a range.
    let either =
        AudioFormats { sample_rate: Values::OneOf(vec![8_000, 16_000]), ..AudioFormats::f32() };
    check(audio(F32, Interleaved, 1, 16_000), either.clone(), &[]);
    check(audio(F32, Interleaved, 1, 48_000), either, &[to_8k]);
    let range = AudioFormats { sample_rate: Values::Range(1_000, 16_000), ..AudioFormats::f32() };
    check(audio(F32, Interleaved, 1, 48_000), range.clone(), &[to_16k]);
    // Of what is not known nothing is assumed that could be wrong.
    check(AudioFormats::f32(), range, &[]);
}

#[test]
fn pictures_are_scaled_and_then_converted() {
    let nv12 = VideoFormats {
        width: Values::only(1920),
        height: Values::only(1080),
        format: Values::only(VideoFormat::Nv12),
    };
    let model = VideoFormats {
        width: Values::only(640),
        height: Values::only(640),
        format: Values::only(VideoFormat::Rgb24),
    };
    assert_eq!(
        put_between(nv12, model),
        [
            r#"VideoScaleNode {"height":640,"width":640}"#,
            r#"VideoConverterNode {"format":"rgb24","source_matrix":"bt709"}"#
        ]
    );
}

#[test]
fn a_size_that_is_within_its_range_stays() {
    let take = VideoFormats {
        width: Values::Range(1, 640),
        height: Values::only(480),
        format: Values::Any,
    };
    let come = VideoFormats {
        width: Values::only(400),
        height: Values::only(100),
        format: Values::only(VideoFormat::Rgb24),
    };
    assert_eq!(put_between(come, take), [r#"VideoScaleNode {"height":480,"width":400}"#]);
}

#[test]
fn of_several_known_formats_none_of_which_is_taken_each_is_converted() {
    let come = VideoFormats {
        format: Values::OneOf(vec![VideoFormat::Yuv420p, VideoFormat::Gray8]),
        ..VideoFormats::ANY
    };
    let take = VideoFormats {
        format: Values::OneOf(vec![VideoFormat::Rgb24, VideoFormat::Bgr24]),
        ..VideoFormats::ANY
    };
    assert_eq!(put_between(come, take), [r#"VideoConverterNode {"format":"rgb24"}"#]);
}

#[test]
fn nothing_is_put_in_the_way_of_other_types_that_are_taken() {
    let both = [Formats::from(speech()), DataType::Text.into()];
    let registry = registry([("To", NodeFormats::takes(both))]);
    let plan = plan(true, &["some.module:Class", "To"], &registry).unwrap();
    assert_eq!(plan.conversions, []);
}

#[test]
fn what_does_not_agree_is_a_problem_that_names_the_converters() {
    let stereo = audio(AudioFormat::I16, AudioLayout::Interleaved, 2, 48_000);
    let registry = registry([
        ("From", NodeFormats::source([stereo])),
        ("To", NodeFormats::takes([speech()])),
        ("Text", NodeFormats::takes([DataType::Text])),
    ]);
    let refused = plan(false, &["From", "To"], &registry).unwrap_err();
    assert_eq!(refused.problems()[0].kind, ProblemKind::Format);
    assert_eq!(
        refused.to_string(),
        "the manifest cannot be run: /connections/0: \"n0\" (From) gives audio (i16, interleaved, \
         2 channels, 48000 Hz), but \"n1\" (To) takes audio (f32, mono, 16000 Hz); put \
         FormatConverterNode {\"channels\":1,\"format\":\"f32\",\"layout\":\"interleaved\"}, then \
         ResampleNode {\"target_rate\":16000} between them, or set \"auto_convert\": true"
    );
    for auto_convert in [false, true] {
        let refused = plan(auto_convert, &["From", "Text"], &registry).unwrap_err();
        assert_eq!(refused.problems()[0].kind, ProblemKind::DataType);
        assert!(refused.to_string().ends_with("48000 Hz), but \"n1\" (Text) takes text"));
    }
}

#[test]
fn formats_are_followed_through_nodes_that_keep_them() {
    let stereo = audio(AudioFormat::F32, AudioLayout::Interleaved, 2, 48_000);
    let registry =
        registry([("From", NodeFormats::source([stereo])), ("To", NodeFormats::takes([speech()]))]);
    assert!(plan(false, &["From", "PassThroughNode", "To"], &registry).is_err());
    let converted = plan(true, &["From", "PassThroughNode", "To"], &registry).unwrap();
    let text = converted.to_string();
    assert!(
        text.contains(
            "n1 -> n2: audio (f32, interleaved, 2 channels, 48000 Hz) becomes audio (f32, mono, \
             16000 Hz) by n1-n2-format, n1-n2-rate"
        ),
        "{text}"
    );
    assert!(text.contains("n1-n2-rate (ResampleNode, native: inserted)"), "{text}");
    // Who takes anything is not asked, and who is not known gives anything.
    assert!(plan(false, &["From", "PassThroughNode"], &registry).is_ok());
    let mut unknown = plan(false, &["From", "some.module:Class", "To"], &registry).unwrap();
    assert_eq!(unknown.conversions, []);
    unknown = plan(true, &["From", "some.module:Class", "To"], &registry).unwrap();
    assert_eq!(unknown.conversions.len(), 1);
}

#[test]
fn new_ids_are_free_and_the_queue_stays_at_the_old_target() {
    let registry = registry([
        (
            "From",
            NodeFormats::source([audio(AudioFormat::I16, AudioLayout::Interleaved, 1, 8_000)]),
        ),
        ("To", NodeFormats::takes([speech()])),
    ]);
    let long = "x".repeat(128);
    let manifest = json!({
        "version": "v1", "auto_convert": true,
        "nodes": [
            {"id": "a", "node_type": "From"}, {"id": &long, "node_type": "To"},
            {"id": format!("a-{}-rate", &long[..24]), "node_type": "To"},
        ],
        "connections": [
            {"from": "a", "to": &long, "queue": {"depth": 3}},
            {"from": "a", "to": format!("a-{}-rate", &long[..24])},
        ],
    });
    let manifest = Manifest::from_json(&manifest.to_string()).unwrap();
    let plan = Plan::new(manifest, &registry).unwrap();
    let ids: Vec<_> = plan.nodes.iter().map(|node| node.id.as_str().len()).collect();
    assert_eq!(ids.len(), 7, "{plan}");
    let distinct: std::collections::BTreeSet<_> = plan.nodes.iter().map(|node| &node.id).collect();
    assert_eq!(distinct.len(), 7);
    let to = |node: usize| plan.edges.iter().filter(|edge| edge.to == node).count();
    assert!((1..7).all(|node| to(node) == 1));
}

/// Notes the formats that come.
struct Seen(Arc<Mutex<Vec<Formats>>>);

impl Node for Seen {
    fn process(&mut self, input: RuntimeData, output: &mut Output) -> Result<(), NodeError> {
        let view = input.as_audio().expect("audio comes");
        let came = audio(view.format, view.layout, view.channels, view.sample_rate);
        self.0.lock().expect("no panic").push(came.into());
        output.push(input);
        Ok(())
    }
}

#[test]
fn what_comes_at_run_time_is_what_the_plan_says() {
    let planar = audio(AudioFormat::I24, AudioLayout::Planar, 2, 44_100);
    let mut registry = registry([("From", NodeFormats::takes([planar]))]);
    let seen: Arc<Mutex<Vec<Formats>>> = Arc::default();
    let kept = Arc::clone(&seen);
    let metadata = NodeMetadata {
        name: "To".to_owned(),
        accepts: vec![DataType::Audio],
        produces: vec![DataType::Audio],
        ..NodeMetadata::default()
    };
    registry.register(metadata, move |_| Ok(Box::new(Seen(kept.clone())))).unwrap();
    registry.register_formats("To", |_| Ok(NodeFormats::takes([speech()]))).unwrap();
    let plan = plan(true, &["From", "To"], &registry).unwrap();
    assert!(plan.runs_inline());
    let item = || {
        let silence = vec![0_u8; 2 * 3 * 441];
        RuntimeData::audio_planar(silence, 44_100, 2, AudioFormat::I24).unwrap()
    };
    let runtime = Runtime::new(RuntimeConfig::default(), registry);
    let mut frames = 0;
    let count = |event| {
        if let RunEvent::Output(output) = event {
            frames += output.data.as_audio().expect("audio").frames();
        }
    };
    let input = (0..100).map(|_| item()).collect();
    crate::run_inline(&runtime, plan, input, count, || true).unwrap();
    assert_eq!(frames, 16_000);
    let seen = seen.lock().unwrap();
    assert!(!seen.is_empty() && seen.iter().all(|formats| formats.is_within(&speech().into())));
}
