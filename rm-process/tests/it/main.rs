//! Tests of rm-process with real children: `/bin/sh`, and `examples/child.rs`.

#![cfg(test)]

mod control;
mod death;
mod output;
mod stop;
mod support;
