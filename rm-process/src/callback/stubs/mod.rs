//! Stubs of callbacks for Python: what editors complete and type checkers check.
//!
//! Main items: [`CallbackShape`] and [`write_stubs`]. It re-exports, and does nothing else.

mod merge;
mod names;
mod python;
mod store;

#[cfg(test)]
mod tests;

pub use store::{CallbackShape, StubError, default_stub_dir, write_stubs};
