//! Nodes for audio, items of 20 or 30 ms and a million samples.

use std::time::Duration;

use anyhow::{Result, bail};
use benches::promise;
use rm_core::{AudioFormat, InputSite, NodeId, Output, RuntimeData};
use serde_json::{Value, json};

use crate::bed::{Bed, Found, Item, digits, measure, memcpy, print_head, print_row, real_time};

const RATE: u32 = 48_000;
const LOW: u32 = 16_000;
const SAMPLES: usize = 1_000_000;
/// What is promised of a frame of the detector by level and of a million samples from i16 to f32, and
/// what is aimed at, in microseconds.
const FRAME_US: f64 = 50.0;
const FRAME_AIM_US: f64 = 2.0;
const MILLION_US: f64 = 100.0;

/// Noise, the same each time: a linear congruential generator (constants by Knuth, MMIX).
pub fn noise(samples: usize, amplitude: f32) -> Vec<f32> {
    let mut state = 1_u64;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f32 / (1 << 23) as f32 - 1.0) * amplitude
    };
    (0..samples).map(|_| next()).collect()
}

/// So many milliseconds of noise.
pub fn item(length_ms: u32, rate: u32, channels: u16) -> Result<Item> {
    let samples = (rate * length_ms / 1_000) as usize * usize::from(channels);
    let item = RuntimeData::audio_f32(noise(samples, 0.25), rate, channels)?;
    Ok(Item::new(item, Duration::from_millis(length_ms.into())))
}

/// What changes or measures sound.
pub fn effects(bed: &Bed) -> Result<()> {
    let item = item(20, RATE, 2)?.in_a_row(50);
    print_head(
        "20 ms of f32 stereo at 48 kHz, a second of it at a time",
        "times faster than real time",
    );
    memcpy(item.len())?;
    let rows: [(&str, Value); 20] = [
        ("PassThroughNode", json!({})),
        ("GainNode", json!({"gain_db": -6})),
        ("DcBlockNode", json!({})),
        ("HighPassNode", json!({"order": 2})),
        ("HighPassNode", json!({"order": 8})),
        ("LimiterNode", json!({"ceiling_db": -20})),
        ("LevelMeterNode", json!({"loudness": false, "true_peak": false})),
        ("LevelMeterNode", json!({"loudness": true, "true_peak": false})),
        ("LevelMeterNode", json!({"loudness": true, "true_peak": true})),
        ("SilenceDetectorNode", json!({})),
        ("ClippingDetectorNode", json!({})),
        ("AudioChunkerNode", json!({"size": 30})),
        ("AudioChunkerNode", json!({"size": 25, "hop": 10})),
        ("AudioBufferNode", json!({"min_ms": 1_000})),
        ("FormatConverterNode", json!({"format": "i16"})),
        ("FormatConverterNode", json!({"format": "i16", "dither": "triangular"})),
        ("FormatConverterNode", json!({"format": "f32", "channels": 1})),
        ("FormatConverterNode", json!({"format": "f32", "layout": "planar"})),
        ("ChannelMixerNode", json!({"channels": 1})),
        ("AudioEncoderNode", json!({"format": "wav"})),
    ];
    let beside = |found: &Found| real_time(item.length(), found);
    for (node_type, params) in rows {
        bed.row(node_type, params, &item, beside)?;
    }
    mixer(bed, &item)?;
    let params = json!({"format": "i16"});
    let integers = converted(bed, params, &item)?.in_a_row(50);
    print_head(
        "20 ms of i16 stereo at 48 kHz, a second of it at a time",
        "times faster than real time",
    );
    for (node_type, params) in [
        ("FormatConverterNode", json!({"format": "f32"})),
        ("AudioEncoderNode", json!({"format": "wav"})),
        ("AudioEncoderNode", json!({"format": "flac"})),
    ] {
        bed.row(node_type, params, &integers, beside)?;
    }
    Ok(())
}

/// Two streams become one.
fn mixer(bed: &Bed, item: &Item) -> Result<()> {
    let sources = [NodeId::new("a")?, NodeId::new("b")?];
    let mut node = bed.node("AudioMixerNode", json!({"inputs": 2}))?;
    let (mut output, mut turn) = (Output::default(), 0);
    let found = measure(1, || {
        for from in &sources {
            let site = InputSite { from: Some(from), port: None };
            node.process_from(site, item.at(turn), &mut output)?;
        }
        turn += 1;
        output.clear();
        Ok(())
    })?;
    print_row(
        "AudioMixerNode, 2 inputs, an item of each",
        &found,
        &real_time(item.length(), &found),
    );
    Ok(())
}

/// Detectors of speech.
pub fn speech(bed: &Bed) -> Result<()> {
    let (frame, second) = (item(30, LOW, 1)?.in_a_row(100), item(1_000, LOW, 1)?);
    print_head(
        "30 ms of f32 mono at 16 kHz, three seconds of it at a time",
        "times faster than real time",
    );
    memcpy(frame.len())?;
    let beside = |found: &Found| real_time(frame.length(), found);
    let energy = bed.row("VADNode", json!({}), &frame, beside)?;
    bed.row("VADNode", json!({"output": "gated"}), &frame, beside)?;
    bed.row("VADNode", json!({"output": "speech"}), &frame, beside)?;
    bed.row("VADNode", json!({"mode": "model"}), &frame, beside)?;
    print_head("a second of it as one item", "times faster than real time");
    let beside = |found: &Found| real_time(second.length(), found);
    bed.row("VADNode", json!({}), &second, beside)?;
    bed.row("VADNode", json!({"mode": "model"}), &second, beside)?;
    println!();
    let frame_us = energy.median_us();
    for (limit, name) in [(FRAME_US, "promised"), (FRAME_AIM_US, "aim")] {
        let text = format!("a frame of 30 ms by its level: {} us", digits(frame_us));
        promise(frame_us < limit, &format!("{text}; {name} below {limit} us"));
    }
    Ok(())
}

/// All pairs of sample formats.
pub fn formats(bed: &Bed) -> Result<()> {
    let mut million = None;
    for from in AudioFormat::ALL {
        let source = in_format(bed, *from)?;
        print_head(&format!("a million mono samples in {from}"), "beside memcpy");
        for to in AudioFormat::ALL.iter().filter(|to| *to != from) {
            let longer = from.bytes_per_sample().max(to.bytes_per_sample());
            let limit = memcpy(SAMPLES * longer)?;
            let beside = |found: &Found| digits(found.median_us() / limit.median_us());
            let params = json!({"format": to.name()});
            let found = bed.row("FormatConverterNode", params, &source, beside)?;
            if (*from, *to) == (AudioFormat::I16, AudioFormat::F32) {
                million = Some((found.median_us(), limit.median_us()));
            }
        }
    }
    let Some((us, limit)) = million else { return Ok(()) };
    println!();
    let text = format!("a million samples from i16 to f32: {} us", digits(us));
    promise(us < MILLION_US, &format!("{text}; promised below {MILLION_US} us"));
    let text =
        format!("the same: {} times memcpy of 4 MB; aim: memcpy's speed", digits(us / limit));
    promise(us < limit * 1.25, &text);
    Ok(())
}

/// A million samples in a format.
fn in_format(bed: &Bed, format: AudioFormat) -> Result<Item> {
    let samples = RuntimeData::audio_f32(noise(SAMPLES, 0.9), RATE, 1)?;
    let item = Item::new(samples, Duration::from_secs(20));
    converted(bed, json!({"format": format.name()}), &item)
}

/// The item in another format.
fn converted(bed: &Bed, params: Value, item: &Item) -> Result<Item> {
    let mut node = bed.node("FormatConverterNode", params)?;
    let mut output = Output::default();
    node.process(item.at(0), &mut output)?;
    let mut items = output.drain();
    let (Some(made), None) = (items.next(), items.next()) else { bail!("not one item of one") };
    Ok(Item::new(made, item.length()))
}
