//! Nodes for text and JSON, and those for any kind of data.

use std::time::Duration;

use anyhow::Result;
use rm_core::RuntimeData;
use serde_json::{Value, json};

use crate::audio::item;
use crate::bed::{Bed, Item, print_head};

/// Time from one item of text to the next.
const PACE: Duration = Duration::from_millis(50);

/// Small items, where what counts is what a node costs by itself.
pub fn others(bed: &Bed) -> Result<()> {
    let words = Item::new(RuntimeData::text("some words of a sentence. And ")?, PACE);
    print_head("an item of 29 characters of text", "");
    bed.row("SentenceCollectorNode", json!({}), &words, |_| String::new())?;
    let template = "{{ text | upper }} of {{ language }}";
    bed.row("TemplateNode", json!({"template": template}), &words, |_| String::new())?;
    let object = json!({"segments": [{"text": "hello", "words": [1, 2.5]}, {"text": "there"}]});
    let object = Item::new(RuntimeData::json(&object)?, PACE);
    print_head("an item of JSON of 3 levels", "");
    bed.row("JsonSelectNode", json!({"path": "$.segments[*].text"}), &object, |_| String::new())?;
    bed.row("TemplateNode", json!({"template": "{{ segments[0].text }}"}), &object, |_| {
        String::new()
    })?;
    let audio = item(20, 48_000, 2)?;
    print_head("20 ms of f32 stereo at 48 kHz, 7680 bytes", "");
    let rows: [(&str, Value); 7] = [
        ("PassThroughNode", json!({})),
        ("TeeNode", json!({"a": null, "b": {"every": 2}})),
        ("StatisticsNode", json!({})),
        (
            "RateLimiterNode",
            json!({"items_per_second": 1e6, "burst_items": 1e6, "by": "timestamp"}),
        ),
        ("DelayNode", json!({"delay_ms": 10, "mode": "timestamp"})),
        ("BatcherNode", json!({"max_items": 8})),
        ("BatcherNode", json!({"max_items": 50})),
    ];
    for (node_type, params) in rows {
        bed.row(node_type, params, &audio, |_| String::new())?;
    }
    Ok(())
}
