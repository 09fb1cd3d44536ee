//! Tests of rm-process with real children: `/bin/sh`, and `examples/child.rs`.

#![cfg(test)]

mod chaos;
mod contract;
mod control;
mod death;
mod limits;
mod loading;
mod output;
mod reports;
mod stop;
mod support;
