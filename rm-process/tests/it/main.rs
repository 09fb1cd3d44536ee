//! Tests of rm-process with real children: `/bin/sh`, and `examples/child`.

#![cfg(test)]

#[cfg(feature = "kameo")]
mod actor;
mod ask;
mod attach;
mod calls;
mod chaos;
mod contract;
mod control;
mod death;
mod guide;
mod kameo;
mod limits;
mod loading;
mod output;
mod pool;
mod reports;
mod shapes;
mod stop;
mod support;
mod values;
