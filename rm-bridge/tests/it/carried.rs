//! Items into shared memory and back, and from one executor to another.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use rm_bridge::{
    AudioBuffer, BridgeError, ChannelOptions, ChannelRegistry, ConversionError, DataBridge,
    ExecutorBridge, IPCDataConverter, IPCMessage, ServiceError,
};
use rm_core::{ChannelId, RuntimeData, SessionId, TensorType};
use serde_json::json;

use crate::support::{multiprocess, native, soon, text};

fn converter(options: ChannelOptions) -> IPCDataConverter {
    let registry = Arc::new(ChannelRegistry::new().expect("shared memory"));
    let id = ChannelId::new("convert").expect("a short name");
    IPCDataConverter::with_channel(registry, &id, options).expect("a channel")
}

fn audio() -> RuntimeData {
    RuntimeData::audio_f32(vec![0.5; 1024], 48_000, 2).expect("a multiple of two")
}

/// Where this process has mapped shared memory.
fn is_shared(place: *const u8) -> bool {
    let place = place.addr();
    let maps = std::fs::read_to_string("/proc/self/maps").expect("a list of mappings");
    maps.lines().filter(|line| line.contains("/dev/shm/")).any(|line| {
        let range = line.split_whitespace().next().expect("a range");
        let (from, to) = range.split_once('-').expect("two ends");
        let number = |hex| usize::from_str_radix(hex, 16).expect("a number");
        (number(from)..number(to)).contains(&place)
    })
}

#[tokio::test]
async fn an_item_is_written_once_and_read_where_it_lies() {
    let converter = converter(ChannelOptions::default());
    let items = [
        audio(),
        RuntimeData::tensor(vec![1; 24], vec![6], TensorType::F32).unwrap(),
        RuntimeData::binary(vec![3; 1 << 20]).unwrap(),
        RuntimeData::text("long ".repeat(4_000)).unwrap(),
    ];
    let mut copied = 0;
    for (place, item) in items.into_iter().enumerate() {
        let time = UNIX_EPOCH + Duration::from_secs(place as u64);
        let session = SessionId::new("s").unwrap();
        let item = item.with_timestamp(time).with_session(session).with_correlation(9);
        let message = converter.to_ipc(item.clone()).await.unwrap();
        copied += item.payload().len() as u64;
        let IPCMessage::SharedMemoryRef(sample) = &message else { panic!("{message:?}") };
        assert_eq!((sample.sequence(), sample.len()), (place as u64, item.payload().len()));
        assert_eq!(sample.channel().as_str(), "convert");
        let read = converter.from_ipc(message).await.unwrap();
        assert_eq!(read.payload(), item.payload());
        assert!(is_shared(read.payload().as_ptr()) && !is_shared(item.payload().as_ptr()));
        let (mut header, _) = read.into_parts();
        header.sequence = 0;
        assert_eq!(&header, item.header());
        assert_eq!(converter.copied_bytes(), copied);
    }
}

#[tokio::test]
async fn audio_of_a_worker_is_a_buffer_where_it_lies() {
    let converter = converter(ChannelOptions::default());
    let message = converter.to_ipc(audio()).await.unwrap();
    let buffer = AudioBuffer::try_from(converter.from_ipc(message).await.unwrap()).unwrap();
    assert!(is_shared(buffer.samples.as_ptr().cast()));
    assert_eq!((buffer.num_samples, buffer.channels), (1024, 2));
}

#[tokio::test]
async fn short_texts_and_messages_are_inline_with_their_header() {
    let converter = converter(ChannelOptions::default());
    let time = UNIX_EPOCH + Duration::from_secs(5);
    let items = [
        RuntimeData::text_in("grüß dich", "de").unwrap(),
        RuntimeData::json(&json!({"a": 1})).unwrap(),
        RuntimeData::end_of_stream(),
    ];
    for item in items {
        let item = item.with_timestamp(time).with_correlation(3);
        let message = converter.to_ipc(item.clone()).await.unwrap();
        let IPCMessage::Inline(bytes) = &message else { panic!("{message:?}") };
        let payload = bytes[256..].as_ptr();
        let read = converter.from_ipc(message).await.unwrap();
        assert_eq!(read, item);
        assert!(item.payload().is_empty() || read.payload().as_ptr() == payload);
    }
    assert_eq!(converter.copied_bytes(), 0);
}

#[tokio::test]
async fn items_can_be_read_in_any_order_and_what_is_dropped_makes_room() {
    let converter = converter(ChannelOptions { depth: 4, ..ChannelOptions::default() });
    for round in 0..20_u8 {
        let mut messages = Vec::new();
        for number in 0..4_u8 {
            let item = RuntimeData::binary(vec![round, number]).unwrap();
            messages.push(converter.to_ipc(item).await.unwrap());
        }
        let last = converter.from_ipc(messages.pop().unwrap()).await.unwrap();
        assert_eq!(last.payload().as_ref(), [round, 3]);
        let first = converter.from_ipc(messages.remove(0)).await.unwrap();
        assert_eq!(first.payload().as_ref(), [round, 0]);
    }
}

#[tokio::test]
async fn what_cannot_be_converted_is_told_by_type() {
    let small = ChannelOptions { capacity: 1024, ..ChannelOptions::default() };
    let converter = converter(small);
    let large = RuntimeData::binary(vec![0; 2000]).unwrap();
    let error = converter.to_ipc(large).await.unwrap_err();
    assert!(matches!(&error, ConversionError::AllocationFailed(_)), "{error}");

    let short = converter.from_ipc(IPCMessage::Inline(vec![0; 9].into())).await.unwrap_err();
    assert!(matches!(short, ConversionError::Truncated { len: 9 }), "{short}");
    let garbled = converter.from_ipc(IPCMessage::Inline(vec![7; 300].into())).await.unwrap_err();
    assert!(matches!(garbled, ConversionError::Header(_)), "{garbled}");
    let IPCMessage::Inline(whole) = converter.to_ipc(text("abc")).await.unwrap() else {
        panic!("a short text is inline")
    };
    let cut = converter.from_ipc(IPCMessage::Inline(whole.slice(..257))).await.unwrap_err();
    assert!(matches!(cut, ConversionError::Data(_)), "{cut}");

    let registry = Arc::new(ChannelRegistry::new().unwrap());
    let other = IPCDataConverter::new(registry.clone()).unwrap();
    let message = other.to_ipc(audio()).await.unwrap();
    let error = converter.from_ipc(message).await.unwrap_err();
    assert!(matches!(&error, ConversionError::ChannelNotFound(_)), "{error}");
    let error = registry.get_publisher("nobody").unwrap_err();
    assert_eq!(error.to_string(), "channel not found: nobody");
    assert_eq!(registry.len(), 1);
    drop(other);
    assert!(registry.is_empty());
}

/// A data bridge between executors that run no node.
fn carried(source: Arc<dyn ExecutorBridge>, target: Arc<dyn ExecutorBridge>) -> DataBridge {
    DataBridge::new(source, target, Arc::new(converter(ChannelOptions::default())))
}

#[tokio::test(flavor = "multi_thread")]
async fn items_are_converted_only_between_executors_of_different_kinds() {
    let (native, workers) = (native().into_any(), multiprocess().into_any());
    let (native, workers) = (&native.bridge, &workers.bridge);
    let item = audio();
    let len = item.payload().len() as u64;
    let pairs = [
        (native, native, 0, 0),
        (workers, workers, 0, 0),
        (native, workers, 1, len),
        (workers, native, 1, 0),
    ];
    for (source, target, conversions, copied) in pairs {
        let bridge = carried(source.clone(), target.clone());
        let moved = bridge.transfer(item.clone()).await.unwrap();
        assert_eq!(moved.payload(), item.payload());
        let stats = bridge.metrics().get_stats();
        assert_eq!((stats.transfers, stats.bytes, stats.latency.count), (1, len, 1));
        assert_eq!((stats.conversions, stats.copied_bytes), (conversions, copied));
        assert_eq!(moved.payload().as_ptr() == item.payload().as_ptr(), copied == 0);
        assert_eq!(is_shared(moved.payload().as_ptr()), copied > 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_cannot_be_converted_is_told_as_the_bridge_s_failure() {
    let (native, workers) = (native().into_any(), multiprocess().into_any());
    let small = converter(ChannelOptions { capacity: 1024, ..ChannelOptions::default() });
    let bridge = DataBridge::new(native.bridge, workers.bridge, Arc::new(small));
    let error = bridge.transfer_with_backpressure(audio()).await.unwrap_err();
    assert!(
        matches!(
            error,
            ServiceError::Bridge(BridgeError::ConversionFailed(ConversionError::AllocationFailed(
                _
            )))
        ),
        "{error}"
    );
    assert_eq!(bridge.buffered(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_goes_from_native_to_a_worker_and_back() {
    let (native, workers) = (native().into_any(), multiprocess().into_any());
    let there = carried(native.bridge.clone(), workers.bridge.clone());
    let back = carried(workers.bridge.clone(), native.bridge.clone());
    let none = json!({});
    let ends = soon(async {
        let item = native.bridge.execute_node("first", "Echo", audio(), &none).await?;
        let item = there.transfer(item).await?;
        let item = workers.bridge.execute_node("second", "Echo", item, &none).await?;
        let item = back.transfer(item).await?;
        native.bridge.execute_node("third", "Echo", item, &none).await
    });
    let item = ends.await.unwrap();
    assert_eq!(item.payload(), audio().payload());
    // It still lies where the worker wrote it.
    assert!(is_shared(item.payload().as_ptr()));
}

fn same_process() -> DataBridge {
    let native = native().into_any();
    carried(native.bridge.clone(), native.bridge)
}

#[tokio::test]
async fn a_full_buffer_makes_a_transfer_wait_until_somebody_takes() {
    let bridge = same_process().with_capacity(2);
    let sends = async {
        for number in 0..100 {
            bridge.transfer_with_backpressure(text(&number.to_string())).await.unwrap();
            assert!(bridge.buffered() <= 2);
        }
    };
    let takes = async {
        for number in 0..100 {
            assert_eq!(bridge.take().await.unwrap().as_text(), Some(&*number.to_string()));
        }
    };
    soon(async { tokio::join!(sends, takes) }).await;
    assert_eq!(bridge.metrics().get_stats().transfers, 100);
}

#[tokio::test]
async fn a_transfer_for_which_nobody_makes_room_is_told_so() {
    let timeout = Duration::from_millis(10);
    let bridge = same_process().with_capacity(1).with_timeout(timeout);
    bridge.transfer_with_backpressure(text("a")).await.unwrap();
    let error = soon(bridge.transfer_with_backpressure(text("b"))).await.unwrap_err();
    assert!(
        matches!(error, ServiceError::Bridge(BridgeError::BackpressureTimeout(t)) if t == timeout)
    );
    assert_eq!(bridge.try_take().unwrap().unwrap().as_text(), Some("a"));
    assert!(bridge.try_take().unwrap().is_none());
    bridge.transfer_with_backpressure(text("c")).await.unwrap();
}

#[tokio::test]
async fn closing_returns_what_is_buffered_and_tells_those_who_wait() {
    let bridge = same_process().with_capacity(2);
    for item in ["a", "b"] {
        bridge.transfer_with_backpressure(text(item)).await.unwrap();
    }
    let waits = bridge.transfer_with_backpressure(text("c"));
    let closes = async { bridge.close().await.unwrap() };
    let (waited, rest) = soon(async { tokio::join!(waits, closes) }).await;
    let is_closed =
        |error: &ServiceError| matches!(error, ServiceError::Bridge(BridgeError::BridgeClosed));
    assert!(is_closed(&waited.unwrap_err()));
    let rest: Vec<_> = rest.iter().filter_map(RuntimeData::as_text).collect();
    assert_eq!(rest, ["a", "b"]);
    assert!(is_closed(&bridge.transfer(text("d")).await.unwrap_err()));
    assert!(is_closed(&bridge.take().await.unwrap_err()));
    assert!(bridge.close().await.unwrap().is_empty());

    let bridge = same_process();
    let closes = async { bridge.close().await.unwrap() };
    let (taken, _) = soon(async { tokio::join!(bridge.take(), closes) }).await;
    assert!(is_closed(&taken.unwrap_err()));
}
