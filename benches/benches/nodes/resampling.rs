//! `ResampleNode`: pairs of rates, qualities, and numbers of channels.

use anyhow::Result;
use benches::promise;
use serde_json::json;

use crate::audio::item;
use crate::bed::{Bed, Found, digits, print_head};

const PAIRS: [(u32, u32); 5] =
    [(48_000, 16_000), (44_100, 16_000), (16_000, 48_000), (44_100, 48_000), (48_000, 44_100)];
/// What is promised of a second from 48 to 16 kHz, in microseconds.
const SECOND_US: f64 = 2_000.0;

/// A second as one item, and in items of 20 ms.
pub fn resampling(bed: &Bed) -> Result<()> {
    let mut promised = Vec::new();
    for (source, target) in PAIRS {
        for length_ms in [1_000, 20] {
            let item = item(length_ms, source, 1)?;
            let title = format!("{length_ms} ms of f32 mono, {source} to {target} Hz");
            print_head(&title, "us a second; times faster than real time");
            for quality in ["high", "medium", "low"] {
                let params = json!({"target_rate": target, "quality": quality});
                let beside = |found: &Found| by_second(found, length_ms);
                let found = bed.row("ResampleNode", params, &item, beside)?;
                if (source, target, quality) == (48_000, 16_000, "high") {
                    promised.push((length_ms, per_second(&found, length_ms)));
                }
            }
        }
    }
    for channels in [2, 8] {
        print_head(&format!("20 ms of f32, {channels} channels, 48000 to 16000 Hz"), "us a second");
        let params = json!({"target_rate": 16_000, "quality": "high"});
        bed.row("ResampleNode", params, &item(20, 48_000, channels)?, |found| {
            by_second(found, 20)
        })?;
    }
    println!();
    for (length_ms, us) in promised {
        let text = format!("48 to 16 kHz, items of {length_ms} ms: {} us a second", digits(us));
        promise(us < SECOND_US, &format!("{text}; promised below {SECOND_US} us"));
    }
    Ok(())
}

/// Microseconds for a second of audio, where an item is so long. Items that complete no block of the
/// resampler cost less than others, so that the median of short items is no measure: the mean is.
fn per_second(found: &Found, length_ms: u32) -> f64 {
    found.mean_us() * 1_000.0 / f64::from(length_ms)
}

fn by_second(found: &Found, length_ms: u32) -> String {
    let us = per_second(found, length_ms);
    format!("{}; {}", digits(us), digits(1e6 / us))
}
