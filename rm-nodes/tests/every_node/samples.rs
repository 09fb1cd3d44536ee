//! Items of all types and many formats.
//!
//! Main functions: [`items`], and [`exact`], the formats of one item.

use rm_core::{
    AudioFormat, AudioFormats, AudioLayout, DataMetadata, DataType, Formats, RuntimeData,
    TensorType, Values, VideoFormat, VideoFormats,
};

/// The formats that only this item has.
pub(crate) fn exact(item: &RuntimeData) -> Formats {
    match &item.header().metadata {
        DataMetadata::Audio { sample_rate, channels, format, layout } => AudioFormats {
            sample_rate: Values::only(*sample_rate),
            channels: Values::only(*channels),
            format: Values::only(*format),
            layout: Values::only(*layout),
        }
        .into(),
        DataMetadata::Video { width, height, format, .. } => VideoFormats {
            width: Values::only(*width),
            height: Values::only(*height),
            format: Values::only(*format),
        }
        .into(),
        other => other.data_type().into(),
    }
}

pub(crate) fn items() -> Vec<RuntimeData> {
    let mut items = Vec::new();
    for format in AudioFormat::ALL {
        for layout in AudioLayout::ALL {
            for (sample_rate, channels) in [(8_000, 1), (16_000, 1), (44_100, 2), (48_000, 6)] {
                for frames in [0, 1, 1_024] {
                    items.push(audio(*format, *layout, sample_rate, channels, frames));
                }
            }
        }
    }
    for format in VideoFormat::ALL {
        for (width, height) in [(64, 48), (33, 17), (1, 1)] {
            let bytes = format.frame_bytes(width, height).unwrap();
            items.push(RuntimeData::video(vec![90; bytes], width, height, *format, 25.0).unwrap());
        }
    }
    for text in ["", "One sentence. Another one?", "{\"a\": [1, 2]}"] {
        items.push(RuntimeData::text(text).unwrap());
    }
    for json in [serde_json::json!(null), serde_json::json!({"a": {"b": [1, "x"]}, "text": "t"})] {
        items.push(RuntimeData::json(&json).unwrap());
    }
    for shape in [vec![], vec![0], vec![4, 3]] {
        let bytes = shape.iter().product::<usize>() * 4;
        let metadata = DataMetadata::Tensor { shape, dtype: TensorType::F32 };
        items.push(RuntimeData::new(metadata, vec![0; bytes]).unwrap());
    }
    for bytes in [vec![], vec![7; 1_000]] {
        items.push(RuntimeData::binary(bytes).unwrap());
    }
    assert!(DataType::ALL.iter().all(|kind| items.iter().any(|item| item.data_type() == *kind)));
    items
}

/// A sound of half the full scale; not-a-numbers among floats are for the nodes' own tests.
fn audio(
    format: AudioFormat,
    layout: AudioLayout,
    sample_rate: u32,
    channels: u16,
    frames: usize,
) -> RuntimeData {
    let samples = frames * usize::from(channels);
    let wave = (0..samples).map(|n| (n as f64 * 0.05).sin() * 0.5);
    let bytes: Vec<u8> = match format {
        AudioFormat::F32 => wave.flat_map(|x| (x as f32).to_le_bytes()).collect(),
        AudioFormat::F64 => wave.flat_map(f64::to_le_bytes).collect(),
        AudioFormat::I16 => wave.flat_map(|x| ((x * 32_767.0) as i16).to_le_bytes()).collect(),
        AudioFormat::I32 => wave.flat_map(|x| ((x * 2e9) as i32).to_le_bytes()).collect(),
        AudioFormat::U8 => wave.map(|x| (x * 127.0 + 128.0) as u8).collect(),
        _ => wave.flat_map(|x| ((x * 8e6) as i32).to_le_bytes()[..3].to_vec()).collect(),
    };
    match layout {
        AudioLayout::Planar => RuntimeData::audio_planar(bytes, sample_rate, channels, format),
        _ => RuntimeData::audio(bytes, sample_rate, channels, format),
    }
    .unwrap()
}
