//! What nodes of any data have in common.

use super::recording::tests::any_item;
use crate::testing::make;
use proptest::prelude::*;
use rm_core::{DataHeader, DataMetadata, Output, RuntimeData};
use serde_json::json;

/// The item's header with its payload, which is what nodes of any data keep.
fn whole(item: RuntimeData) -> (DataHeader, Vec<u8>) {
    let (header, payload) = item.into_parts();
    (header, payload.to_vec())
}

proptest! {
    #[test]
    fn nodes_of_any_data_give_every_item_as_it_came(
        items in proptest::collection::vec(any_item(), 0..8),
    ) {
        for (name, params) in [
            ("PassThroughNode", json!(null)),
            ("TeeNode", json!({"a": {"first": 0}})),
            ("DelayNode", json!({"delay_ms": 60_000})),
            ("DelayNode", json!({"mode": "timestamp"})),
            ("RateLimiterNode", json!({"policy": "hold"})),
            ("StatisticsNode", json!({"every": 2})),
        ] {
            let mut node = make(name, params).unwrap();
            let mut output = Output::default();
            node.initialize().unwrap();
            for item in &items {
                node.process(item.clone(), &mut output).unwrap();
            }
            node.finish(&mut output).unwrap();
            let given = output.drain_ports().filter(|(port, _)| port.is_none());
            let given: Vec<_> = given.map(|(_, item)| whole(item)).collect();
            let came: Vec<_> = items.iter().cloned().map(whole).collect();
            prop_assert_eq!(given, came, "{}", name);
        }
    }

    #[test]
    fn a_batcher_takes_all_data_that_it_says(item in any_item()) {
        let is_taken = match &item.header().metadata {
            DataMetadata::Binary => false,
            DataMetadata::Json => item.parse_json().is_ok(),
            DataMetadata::Tensor { shape, .. } => shape.len() < 8,
            DataMetadata::Video { format, .. } => format.planes(9, 9).unwrap().len() == 1
                && !format.name().ends_with("422"),
            _ => true,
        };
        let mut node = make("BatcherNode", json!({"max_items": 2})).unwrap();
        let mut output = Output::default();
        let mut taken = || node.process(item.clone(), &mut output).is_ok();
        prop_assert_eq!((taken(), taken()), (is_taken, is_taken));
        prop_assert_eq!(output.drain().count(), usize::from(is_taken));
    }
}
