//! Channels as their users see them: within one process, across processes, and when one is killed.

mod channel;
mod chaos;
mod conformance;
mod direct;
mod policies;
mod processes;
mod races;
mod redelivery;
mod seats;
#[cfg(feature = "tokio")]
mod tasks;
