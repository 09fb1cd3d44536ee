//! Sessions as their users see them: native pipelines, and pipelines with worker processes.
//!
//! The workers here are `examples/rust_worker.rs`, on the same runtime as Python's: the interpreter
//! that the sessions are given is a script that starts it.

mod native;
mod workers;
