//! Zero-copy channels between processes.
//!
//! A [`SharedMemoryChannel`] has one [`Publisher`] and up to [`MAX_SUBSCRIBERS`] subscribers, in
//! different processes. A message is written once, into shared memory that the publisher's process
//! owns; every subscriber reads it where it lies, as an [`rm_core::RuntimeData`] that gives the memory
//! back when it is dropped. A full channel makes its publisher wait: nothing is lost, unless one asks
//! for another [`Policy`]. Nobody polls: whoever waits sleeps on a [`Doorbell`], after a short spin
//! that pays only while traffic is dense. A peer that is killed is noticed, and what it held is freed,
//! but for a [seat](SharedMemoryChannel::subscriber_at), which waits for the consumer's successor.
//!
//! All files and shared memory of a session live in one [`Namespace`], which is removed with its
//! owner, or by [`sweep`] if the owner was killed. The free functions, as [`create_channel`], use a
//! [`default_namespace`].
//!
//! One process, which takes an option (`loopback`) that says so; `examples/` has two of them:
//!
//! ```
//! use rm_core::{ChannelId, RuntimeData};
//! use rm_ipc::{ChannelOptions, Namespace, SharedMemoryChannel};
//!
//! let namespace = Namespace::create()?;
//! let options = ChannelOptions { loopback: true, ..ChannelOptions::default() };
//! let channel = SharedMemoryChannel::create(&namespace, &ChannelId::new("speech")?, options)?;
//! let receiver = channel.subscribe()?;
//!
//! channel.publish(&RuntimeData::text("front center")?)?;
//! assert_eq!(receiver.recv()?.as_text(), Some("front center"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Without copies, a message is written where it will be read:
//!
//! ```
//! # use rm_core::{ChannelId, DataHeader, DataMetadata};
//! # use rm_ipc::{ChannelOptions, Namespace, SharedMemoryChannel};
//! # let namespace = Namespace::create()?;
//! # let options = ChannelOptions { loopback: true, ..ChannelOptions::default() };
//! # let channel = SharedMemoryChannel::create(&namespace, &ChannelId::new("speech")?, options)?;
//! # let receiver = channel.subscribe()?;
//! let mut loan = channel.loan_uninit(4)?;
//! loan.bytes_mut().copy_from_slice(&[1, 2, 3, 4]);
//! loan.written(&DataHeader::new(DataMetadata::Binary, 4))?.send()?;
//! assert_eq!(receiver.recv()?.payload().as_ref(), [1, 2, 3, 4]);
//! assert_eq!(channel.copied_bytes(), 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![deny(unsafe_code)]

#[cfg(not(target_os = "linux"))]
compile_error!(
    "rm-ipc runs on Linux: its doorbell and its cleanup are built on Linux system calls"
);

mod attendant;
mod channel;
mod cleanup;
mod control;
mod direct;
mod handover;
mod loan;
mod namespace;
mod options;
mod peer;
mod populated;
mod publisher;
mod receiver;
mod seat;
mod segment;
mod shared;
mod site;
mod stats;
mod subscriber;
mod sync;
#[cfg(feature = "tokio")]
mod task;
mod turn;
mod wake;

pub use channel::{ChannelError, ChannelSnapshot, ChannelState, SharedMemoryChannel};
pub use cleanup::{Swept, sweep};
pub use control::MAX_SUBSCRIBERS;
pub use direct::{
    NAMESPACE_VARIABLE, create_channel, default_namespace, loan_uninit, open_channel, publish,
    receive, send, subscribe,
};
pub use loan::{LoanError, SampleMut, SampleMutUninit, SendError, TrySendError};
pub use namespace::{Namespace, NamespaceError};
pub use options::{ChannelOptions, Policy};
pub use peer::{ChannelRole, ProcessChannelBinding};
pub use publisher::{PublishError, Publisher};
pub use receiver::{Receiver, Sample, SubscribeError};
pub use stats::{Latencies, LatencySummary, monotonic_ns};
pub use subscriber::{ReceiveError, Subscriber};
pub use wake::{BellId, Doorbell, Ringer, WakeError};

/// The examples of the crate's README are tests too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
