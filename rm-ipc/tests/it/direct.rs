//! The contract's free functions, under its names.

use std::process::{Command, Stdio};

use rm_core::{DataHeader, DataMetadata, RuntimeData};
use rm_ipc::{
    ChannelError, ChannelRole, ChannelState, LoanError, NAMESPACE_VARIABLE, ProcessChannelBinding,
    PublishError, ReceiveError, Receiver, Sample, SampleMut, SendError, SharedMemoryChannel,
    SubscribeError, create_channel, default_namespace, loan_uninit, open_channel, publish, receive,
    send, subscribe,
};

use crate::channel::files_of;

const ROLE: &str = "RM_IPC_DIRECT_ROLE";

/// A child that makes a default namespace, uses it, and tells its name.
#[test]
fn leaver_entry() {
    if std::env::var_os(ROLE).is_none() {
        return;
    }
    let channel = create_channel("left", 1 << 16, true).unwrap();
    let _receiver = subscribe(&channel).unwrap();
    let namespace = default_namespace().unwrap();
    assert!(!files_of(&namespace.id().to_string()).is_empty());
    println!("\nnamespace {}", namespace.id());
}

#[test]
fn the_default_namespace_goes_with_its_last_channel() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "direct::leaver_entry", "--nocapture"])
        .env(ROLE, "leaver")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let name = text.lines().find_map(|line| line.strip_prefix("namespace "));
    assert_eq!(files_of(name.expect(&text)), [""; 0]);
}

/// A child that shares this process's default namespace and doubles what it is sent.
#[test]
fn doubler_entry() {
    if std::env::var_os(ROLE).is_none() {
        return;
    }
    let there: SharedMemoryChannel = open_channel("there").unwrap();
    let back = open_channel("back").unwrap();
    let numbers: Receiver<RuntimeData> = subscribe(&there).unwrap();
    loop {
        let sample: Sample<RuntimeData> = match receive(&numbers) {
            Ok(sample) => sample,
            Err(ReceiveError::ChannelClosed) => break,
            Err(error) => panic!("{error}"),
        };
        let doubled: Vec<u8> = sample.payload().iter().map(|byte| byte * 2).collect();
        publish(&back, RuntimeData::binary(doubled).unwrap()).unwrap();
    }
}

#[test]
fn two_processes_talk_through_the_default_namespace() {
    let there = create_channel("there", 1 << 16, true).unwrap();
    let back = create_channel("back", 1 << 16, true).unwrap();
    let namespace = default_namespace().unwrap();
    let answers = subscribe(&back).unwrap();
    let mut doubler = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "direct::doubler_entry"])
        .env(ROLE, "doubler")
        .env(NAMESPACE_VARIABLE, namespace.folder())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();

    publish(&there, RuntimeData::binary(vec![1, 2]).unwrap()).unwrap();
    assert_eq!(receive(&answers).unwrap().payload().as_ref(), [2, 4]);
    let mut loan = loan_uninit(&there, 3).unwrap();
    loan.bytes_mut().copy_from_slice(&[3, 4, 5]);
    let sample: SampleMut<RuntimeData> =
        loan.written(&DataHeader::new(DataMetadata::Binary, 3)).unwrap();
    send(sample).unwrap();
    assert_eq!(receive(&answers).unwrap().payload().as_ref(), [6, 8, 10]);

    let bindings: Vec<ProcessChannelBinding> = back.bindings();
    let parts: Vec<_> = bindings.iter().map(|of| (of.process_id, of.role)).collect();
    let own = std::process::id();
    assert_eq!(parts, [(doubler.id(), ChannelRole::Publisher), (own, ChannelRole::Subscriber)]);
    assert!(bindings.iter().all(|of| of.channel_id == *back.channel_id()));
    assert!(bindings.iter().all(|of| of.connected_at.elapsed().is_ok()));
    assert_eq!((there.publisher_count(), there.subscriber_count()), (1, 1));

    // Every handle of the publisher is gone, so its channel drains; then the child leaves the other.
    drop(there);
    assert!(doubler.wait().unwrap().success());
    assert_eq!(receive(&answers).unwrap_err(), ReceiveError::ChannelClosed);
}

#[test]
fn what_cannot_be_is_refused_under_the_name_that_the_contract_gives_it() {
    let bad = create_channel("a b", 1 << 16, true).unwrap_err();
    assert!(matches!(bad, ChannelError::InvalidName(_)), "{bad}");
    let bad = create_channel("refused", 1000, true).unwrap_err();
    assert!(matches!(bad, ChannelError::InvalidCapacity { capacity: 1000, next: 1024 }), "{bad}");
    let none = open_channel("refused").unwrap_err();
    assert!(matches!(none, ChannelError::NotFound { .. }), "{none}");

    let channel = create_channel("refused", 1 << 16, true).unwrap();
    assert!(channel.backpressure_enabled());
    assert_eq!((channel.channel_name(), channel.buffer_capacity()), ("refused", 1 << 16));
    assert_eq!((channel.current_occupancy(), channel.subscriber_count()), (0, 0));
    assert!(channel.service().starts_with("refused."), "{}", channel.service());
    let snapshot = serde_json::to_value(channel.snapshot()).unwrap();
    assert_eq!(snapshot["channel_id"], "refused");
    assert_eq!(snapshot["state"], "created");
    let again = create_channel("refused", 1 << 16, true).unwrap_err();
    assert!(matches!(again, ChannelError::AlreadyExists { .. }), "{again}");

    let receiver = subscribe(&channel).unwrap();
    let again = subscribe(&channel).unwrap_err();
    assert!(matches!(again, SubscribeError::AlreadySubscribed { .. }), "{again}");
    let data = || RuntimeData::binary(vec![1]).unwrap();
    let subscribed = publish(&channel, data()).unwrap_err();
    assert!(matches!(subscribed, PublishError::NotPublisher(_)), "{subscribed}");
    assert_eq!(channel.state(), ChannelState::Active);
    drop(receiver);
    assert_eq!(channel.state(), ChannelState::Destroyed, "nobody is left");
    let closed = subscribe(&channel).unwrap_err();
    assert!(matches!(closed, SubscribeError::ChannelClosed), "{closed}");

    let channel = create_channel("published", 1 << 16, true).unwrap();
    let large = loan_uninit(&channel, (1 << 16) + 1).map(drop).unwrap_err();
    assert!(matches!(large, LoanError::TooLarge { len: 65_537, limit: 65_536 }), "{large}");
    let publishes = subscribe(&channel).unwrap_err();
    assert!(matches!(publishes, SubscribeError::IsPublisher(_)), "{publishes}");
    let other = open_channel("published").unwrap();
    let second = publish(&other, data()).unwrap_err();
    assert!(matches!(second, PublishError::NotPublisher(_)), "{second}");
    let full = channel.try_publish(&data()).unwrap_err();
    assert!(matches!(full, PublishError::ChannelFull), "nobody subscribes: {full}");
    let sample = loan_uninit(&channel, 1).unwrap();
    let sample = sample.written(&DataHeader::new(DataMetadata::Binary, 1)).unwrap();
    channel.close();
    assert_eq!(send(sample).unwrap_err(), SendError::Closed);
}

#[test]
fn without_backpressure_the_oldest_make_way() {
    let channel = create_channel("lossy", 1 << 20, false).unwrap();
    assert!(!channel.backpressure_enabled());
    for n in 0..200 {
        publish(&channel, RuntimeData::binary(vec![n]).unwrap()).unwrap();
    }
    assert_eq!(channel.dropped(), 200, "nobody was there");
}
