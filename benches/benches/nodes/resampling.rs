//! `ResampleNode`: pairs of rates, qualities, and numbers of channels.

use anyhow::Result;
use benches::promise;
use serde_json::json;

use crate::audio::item;
use crate::bed::{Bed, Found, digits, print_head, real_time};

const PAIRS: [(u32, u32); 5] =
    [(48_000, 16_000), (44_100, 16_000), (16_000, 48_000), (44_100, 48_000), (48_000, 44_100)];
/// What is promised of a second from 48 to 16 kHz, in microseconds.
const SECOND_US: f64 = 2_000.0;

/// A second as one item, and in items of 20 ms.
pub fn resampling(bed: &Bed) -> Result<()> {
    let mut promised = Vec::new();
    for (source, target) in PAIRS {
        for length_ms in [1_000, 20] {
            let items = 1_000 / length_ms;
            let item = item(length_ms, source, 1)?.in_a_row(items);
            print_head(
                &format!("{length_ms} ms of f32 mono, {source} to {target} Hz, a second at a time"),
                "us a second, times faster than real time",
            );
            let beside = |found: &Found| {
                let second = digits(found.median_us() * f64::from(items));
                format!("{second}, {}", real_time(item.length(), found))
            };
            for quality in ["high", "medium", "low"] {
                let params = json!({"target_rate": target, "quality": quality});
                let found = bed.row("ResampleNode", params, &item, beside)?;
                if (source, target, quality) == (48_000, 16_000, "high") {
                    promised.push((length_ms, found.median_us() * f64::from(items)));
                }
            }
        }
    }
    print_head(
        "a second of f32 in items of 20 ms, 48000 to 16000 Hz",
        "times faster than real time",
    );
    for channels in [1, 2, 8] {
        let item = item(20, 48_000, channels)?.in_a_row(50);
        println!("channels: {channels}");
        bed.row("ResampleNode", json!({"target_rate": 16_000}), &item, |found| {
            real_time(item.length(), found)
        })?;
    }
    println!();
    for (length_ms, us) in promised {
        let text =
            format!("a second from 48 to 16 kHz, items of {length_ms} ms: {} us", digits(us));
        promise(us < SECOND_US, &format!("{text}; promised below {SECOND_US} us"));
    }
    Ok(())
}
