//! The atomics that the handover between sleeper and ringer is built on.
//!
//! It is a module of its own, without code, so that the model checker in `tests/loom.rs` can put
//! its own atomics in their place.

pub(crate) use std::sync::atomic::{AtomicU32, Ordering, fence};
