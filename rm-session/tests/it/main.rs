//! Sessions as their users see them: native pipelines, and pipelines with worker processes.
//!
//! The workers here are `examples/rust_worker.rs`, on the same runtime as Python's: the interpreter
//! that the sessions are given is a script that starts it.

mod crash;
mod direct;
mod flush;
mod limits;
mod many;
#[cfg(feature = "prometheus")]
mod metrics;
mod native;
mod order;
mod policies;
mod restart;
mod support;
mod surface;
mod test_node;
mod timeline;
mod workers;
