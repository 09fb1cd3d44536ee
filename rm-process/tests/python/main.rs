//! Calls to Python functions, and their callbacks, with the real interpreter and the real wheel.
//!
//! `REMOTEMEDIA_TEST_PYTHON` names an interpreter in whose environment the wheel is installed;
//! `cargo xtask test` sets it. Without it nothing is tested here, which is said on stderr. What needs
//! no Python is tested in `it`.

mod callbacks;
mod imports;
mod kinds;
mod mapping;
#[path = "../it/shapes.rs"]
mod shapes;
mod support;
mod types;
