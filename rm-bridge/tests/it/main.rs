//! Bridges as callers use them.

mod carried;
mod conformance;
mod multiprocess;
mod native;
mod nodes;
mod support;
