//! Zero-copy channels between processes.
//!
//! A [`Channel`] has one [`Publisher`] and up to [`MAX_SUBSCRIBERS`] [`Subscriber`]s, in any
//! processes. A message is written once, into shared memory that the publisher's process owns;
//! every subscriber reads it where it lies, as an [`rm_core::RuntimeData`] that gives the memory
//! back when it is dropped. A full channel makes its publisher wait: nothing is lost. Nobody polls:
//! whoever waits sleeps on a [`Doorbell`], after a short spin that pays only while traffic is dense.
//!
//! All files and shared memory of a session live in one [`Namespace`], which is removed with its
//! owner, or by [`sweep`] if the owner was killed.
//!
//! ```
//! use std::sync::Arc;
//! use rm_core::{ChannelId, RuntimeData};
//! use rm_ipc::{Channel, ChannelOptions, Doorbell, Namespace};
//!
//! let namespace = Namespace::create()?;
//! let channel = Channel::create(&namespace, &ChannelId::new("speech")?, ChannelOptions::default())?;
//! let bell = Arc::new(Doorbell::create(&namespace)?);
//! let mut subscriber = channel.subscribe(&bell)?;
//! let publisher = channel.publisher(&bell)?;
//!
//! publisher.publish(&RuntimeData::text("front center")?)?;
//! assert_eq!(subscriber.recv()?.as_text(), Some("front center"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![deny(unsafe_code)]

#[cfg(not(target_os = "linux"))]
compile_error!(
    "rm-ipc runs on Linux: its doorbell and its cleanup are built on Linux system calls"
);

mod channel;
mod cleanup;
mod control;
mod loan;
mod namespace;
mod publisher;
mod segment;
mod stats;
mod subscriber;
mod wake;

pub use channel::{Channel, ChannelError, ChannelOptions, ChannelState, MAX_SUBSCRIBERS};
pub use cleanup::{Swept, sweep};
pub use loan::{LoanError, SampleMut, SampleMutUninit, SendError};
pub use namespace::{Namespace, NamespaceError};
pub use publisher::{PublishError, Publisher};
pub use stats::{Latencies, LatencySummary, monotonic_ns};
pub use subscriber::{ReceiveError, Subscriber};
pub use wake::{BellId, Doorbell, Ringer, WakeError};
