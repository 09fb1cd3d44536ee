//! How well the voice activity node finds speech in noise: the recording of `examples/speech`, mixed
//! with white and pink noise at four levels.
//!
//! A frame of 10 ms is speech where the clean recording has at least -40 dB beside its loudest
//! frame, and so are gaps of at most 100 ms between such frames. F1 is the harmonic mean of precision
//! and recall of the frames that the node calls speech by themselves, without rules for pauses and
//! least lengths. `benches/python/vad` measures the same of more voices, beside other detectors.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use std::ops::Range;
use std::path::Path;

use rm_core::{Node, NodeContext, NodeRegistry, Output, Produced, RuntimeData};
use serde_json::{Value, json};

const RATE: usize = 16_000;
/// Samples of a frame of 10 ms.
const FRAME: usize = RATE / 100;
const SNRS_DB: [f64; 4] = [20.0, 10.0, 5.0, 0.0];
/// Where the recording has bursts of noise in place of speech, in frames.
const BURSTS: [Range<usize>; 3] = [135..185, 460..515, 780..835];

fn node(node_type: &str, params: Value) -> Box<dyn Node> {
    let mut registry = NodeRegistry::new();
    rm_nodes::register_all(&mut registry).unwrap();
    let context = NodeContext {
        node_id: "under_test".to_owned(),
        node_type: node_type.to_owned(),
        params,
        ..NodeContext::default()
    };
    let mut node = registry.factory(node_type).unwrap()(&context).unwrap();
    node.initialize().unwrap();
    node
}

/// What goes from the node to connections that name no port.
fn given(output: &mut Output) -> Vec<RuntimeData> {
    output.drain_ports().filter(|(port, _)| port.is_none()).map(|(_, item)| item).collect()
}

/// The speech of the recording at 16 kHz.
fn speech() -> Vec<f32> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/speech/commands.wav");
    let mut source = node("AudioFileSourceNode", json!({"path": path, "gap_ms": 0}));
    let mut chain = [
        node("FormatConverterNode", json!({"format": "f32", "channels": 1})),
        node("ResampleNode", json!({"target_rate": RATE})),
    ];
    let mut output = Output::default();
    while source.produce(&mut output).unwrap() == Produced::More {}
    for node in &mut chain {
        for item in given(&mut output) {
            node.process(item, &mut output).unwrap();
        }
        node.finish(&mut output).unwrap();
    }
    let items = given(&mut output);
    let parts = items.iter().map(|item| item.as_audio().unwrap().as_f32().unwrap());
    let mut samples: Vec<f32> = parts.flatten().copied().collect();
    samples.truncate(samples.len() / FRAME * FRAME);
    for burst in BURSTS {
        samples[burst.start * FRAME..burst.end * FRAME].fill(0.0);
    }
    samples
}

fn power(samples: &[f32]) -> f64 {
    let squares = samples.iter().map(|sample| f64::from(*sample).powi(2));
    squares.sum::<f64>() / samples.len() as f64
}

/// Which frames of the clean recording are speech.
fn labels(clean: &[f32]) -> Vec<bool> {
    let powers: Vec<f64> = clean.chunks_exact(FRAME).map(power).collect();
    let loudest = powers.iter().copied().fold(0.0, f64::max);
    let mut labels: Vec<bool> = powers.iter().map(|power| *power > loudest * 1e-4).collect();
    let mut last = None;
    for frame in 0..labels.len() {
        if !labels[frame] {
            continue;
        }
        if let Some(last) = last
            && frame - last <= 10
        {
            labels[last..frame].fill(true);
        }
        last = Some(frame);
    }
    labels
}

/// White noise of an even distribution.
fn white(count: usize) -> Vec<f32> {
    // Numerical Recipes' linear congruential generator.
    let mut state = 2_026_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// Pink noise: white noise through Paul Kellet's economy filter, exact to 0.5 dB.
fn pink(count: usize) -> Vec<f32> {
    let mut state = [0.0_f32; 3];
    let filter = |white: f32| {
        for (state, (pole, gain)) in
            state.iter_mut().zip([(0.99765, 0.099_046), (0.963, 0.296_516_4), (0.57, 1.052_691_3)])
        {
            *state = pole * *state + white * gain;
        }
        state.iter().sum::<f32>() + white * 0.1848
    };
    white(count).into_iter().map(filter).collect()
}

/// The speech with noise so many decibels below it where it is active.
fn mixed(clean: &[f32], labels: &[bool], noise: &[f32], snr_db: f64) -> Vec<f32> {
    let frames = clean.chunks_exact(FRAME).zip(labels);
    let active: Vec<f32> = frames.filter(|(_, is)| **is).flat_map(|(f, _)| f).copied().collect();
    let gain = (power(&active) / power(noise) / 10.0_f64.powf(snr_db / 10.0)).sqrt() as f32;
    clean.iter().zip(noise).map(|(sample, noise)| sample + gain * noise).collect()
}

/// F1 of what the node finds.
fn f1(mut params: Value, sound: Vec<f32>, labels: &[bool]) -> f64 {
    for rule in ["onset_ms", "min_speech_ms", "min_silence_ms", "padding_ms"] {
        params[rule] = 0.into();
    }
    let mut vad = node("VADNode", params);
    let mut output = Output::default();
    let sound = RuntimeData::audio_f32(sound, u32::try_from(RATE).unwrap(), 1).unwrap();
    vad.process(sound, &mut output).unwrap();
    vad.finish(&mut output).unwrap();
    let mut found = vec![false; labels.len()];
    for segment in given(&mut output) {
        let segment = segment.parse_json().unwrap();
        let frame = |name: &str| (segment[name].as_f64().unwrap() / 10.0).round() as usize;
        let end = frame("end_ms").min(found.len());
        found[frame("start_ms").min(end)..end].fill(true);
    }
    let count = |of: &[bool]| of.iter().filter(|is| **is).count();
    let hits = found.iter().zip(labels).filter(|(found, is)| **found && **is).count();
    2.0 * hits as f64 / (count(&found) + count(labels)) as f64
}

/// Asserts that F1 at each of the four signal-to-noise ratios is at least that.
fn check(params: &Value, noise: fn(usize) -> Vec<f32>, least: [f64; 4]) {
    let clean = speech();
    let labels = labels(&clean);
    let noise = noise(clean.len());
    let found = SNRS_DB.map(|snr_db| {
        let sound = mixed(&clean, &labels, &noise, snr_db);
        f1(params.clone(), sound, &labels)
    });
    let enough = found.iter().zip(least).all(|(found, least)| *found >= least);
    assert!(enough, "{params}: {found:.3?}, expected at least {least:?}");
}

#[test]
fn the_model_finds_speech_in_white_noise() {
    // Measured: 0.909, 0.865, 0.850, 0.835.
    check(&json!({"mode": "model"}), white, [0.89, 0.84, 0.82, 0.80]);
}

#[test]
fn the_model_finds_speech_in_pink_noise() {
    // Measured: 0.918, 0.888, 0.870, 0.729.
    check(&json!({"mode": "model"}), pink, [0.89, 0.86, 0.84, 0.70]);
}

#[test]
fn the_level_tells_speech_from_noise_that_is_below_the_threshold() {
    // The noise at 20 dB has -39 dB, and at 10 dB -29 dB. With all frames called speech F1 is 0.639.
    check(&json!({"mode": "energy", "threshold": -36}), white, [0.93, 0.63, 0.63, 0.63]);
    check(&json!({"mode": "energy", "threshold": -26}), white, [0.77, 0.80, 0.63, 0.63]);
}

#[test]
fn without_noise_both_modes_find_the_speech() {
    let clean = speech();
    let labels = labels(&clean);
    let energy = json!({"mode": "energy", "threshold": -46});
    // Measured: 0.944 and 0.971.
    for (params, least) in [(json!({"mode": "model"}), 0.92), (energy, 0.95)] {
        let found = f1(params.clone(), clean.clone(), &labels);
        assert!(found >= least, "{params}: {found:.3}");
    }
}
