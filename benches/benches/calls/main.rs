//! What calls between a parent and its child cost: round trips in Rust and in Python, callbacks,
//! thousands of calls at once, streams, and large payloads.
//!
//! Beside it, in one run and in turn: bare Unix sockets, `multiprocessing.Connection`, memcpy. Run by
//! `cargo xtask bench calls`; without `REMOTEMEDIA_PYTHON` what needs Python is left out. An argument
//! runs only the part with that name: `round-trips`, `at-once`, `streams`, `large` or `python`.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use benches::child::{self, Role};
use benches::promise;

mod ask;
mod echo;
mod large;
mod many;
mod ours;
mod python;
mod round_trip;
mod traced;

use echo::{Async, Blocking};
use ours::{Ours, Threads};
use python::{Function, Functions};
use round_trip::Side;
use traced::Traced;

/// Roles of children: with tokio, and without.
const SERVE: &str = "serve";
const SERVE_BLOCKING: &str = "serve-blocking";

/// What is promised of a round trip from Rust to Rust, and of a callback from Python, to a bare socket.
const RUST_LIMIT: f64 = 1.5;
const PYTHON_LIMIT: f64 = 2.0;

/// What the bench measures, by name.
type Part = (&'static str, fn() -> Result<()>);

fn main() -> Result<()> {
    if let Some(role) = child::role()? {
        return play(&role);
    }
    let parts: [Part; 5] = [
        ("round-trips", rust),
        ("python", in_python),
        ("at-once", many::at_once),
        ("streams", many::streams),
        ("large", large::large),
    ];
    // Cargo adds `--bench`.
    let wanted: Vec<_> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    for (name, part) in parts {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            part()?;
        }
    }
    Ok(())
}

fn play(role: &Role) -> Result<()> {
    match (role.name.as_str(), &role.args[..]) {
        (SERVE, []) => ask::serve(),
        (SERVE_BLOCKING, []) => ask::serve_blocking(),
        (traced::PARENT, []) => traced::be_parent(),
        (traced::CHILD, []) => traced::be_child(),
        (echo::BLOCKING, []) => echo::answer(1),
        (echo::ITEMS, [items]) => echo::answer(items.parse()?),
        (echo::SUM, [len]) => echo::answer_sum(len.parse()?),
        (echo::ASYNC, []) => echo::answer_async(),
        (other, _) => bail!("there is no role {other}"),
    }
}

/// Calls from Rust to Rust.
fn rust() -> Result<()> {
    let (mut blocking, mut tokio) = (Blocking::echo()?, Async::echo()?);
    let current = Ours::start(SERVE, Threads::Current)?;
    let multi = Ours::start(SERVE, Threads::Multi)?;
    let plain = Ours::start(SERVE_BLOCKING, Threads::Current)?;
    let mut traced = Traced::start()?;
    let ours = "Rust child, parent on one thread";
    let mut sides = [
        Side::new("bare socket, blocking", |calls| each(calls, || blocking.round_trip(1)))?,
        Side::new("bare socket, tokio", |calls| {
            let mut times = Vec::new();
            tokio.round_trips(calls, |time| {
                times.push(time);
                Ok(())
            })?;
            Ok(times)
        })?,
        Side::new(ours, |calls| current.round_trips(calls))?,
        Side::new("Rust child, parent on two threads", |calls| multi.round_trips(calls))?,
        Side::new("Rust child without tokio", |calls| plain.round_trips(calls))?,
        Side::new("Rust child, spans in both processes", |calls| traced.round_trips(calls))?,
        Side::new("Rust child, callback to its parent", |calls| current.callbacks(calls))?,
    ];
    round_trip::measure(&mut sides)?;
    let ratios = round_trip::print("round trip of a small message", &sides);
    promised(&ratios, ours, RUST_LIMIT);
    Ok(())
}

/// Calls to Python, and callbacks from there.
fn in_python() -> Result<()> {
    let python = match benches::python() {
        Ok(python) => python,
        Err(error) => {
            println!("\nnot measured: Python ({error})");
            return Ok(());
        }
    };
    let functions = Functions::start(&python)?;
    let mut blocking = Blocking::echo()?;
    let within = |function, what| {
        let functions = &functions;
        move |calls| functions.within(function, what, calls)
    };
    let mut calls = [
        Side::new("bare socket, blocking, Rust at both ends", |calls| {
            each(calls, || blocking.round_trip(1))
        })?,
        Side::new("Python's socket, Python at both ends", within(Function::Plain, "socket"))?,
        Side::new("multiprocessing.Connection", within(Function::Plain, "connection"))?,
        Side::new("Rust -> Python function", |calls| {
            functions.round_trips(Function::Plain, calls)
        })?,
        Side::new("Rust -> Python coroutine", |calls| {
            functions.round_trips(Function::Async, calls)
        })?,
    ];
    round_trip::measure(&mut calls)?;
    round_trip::print("round trip of a small message, Python", &calls);
    let (plain, in_loop) = ("callback by .result()", "callback by await");
    let mut sides = [
        Side::new("Python's socket, Python at both ends", within(Function::Plain, "socket"))?,
        Side::new(plain, within(Function::Plain, "callback"))?,
    ];
    round_trip::measure(&mut sides)?;
    let ratios = round_trip::print("callback Python -> Rust -> Python", &sides);
    promised(&ratios, plain, PYTHON_LIMIT);
    let mut sides = [
        Side::new("Python's socket in asyncio", within(Function::Async, "socket"))?,
        Side::new(in_loop, within(Function::Async, "callback"))?,
    ];
    round_trip::measure(&mut sides)?;
    let ratios = round_trip::print("callback Python -> Rust -> Python, asyncio", &sides);
    promised(&ratios, in_loop, PYTHON_LIMIT);
    Ok(())
}

fn promised(ratios: &[(&'static str, f64)], name: &str, limit: f64) {
    if let Some((_, ratio)) = ratios.iter().find(|(side, _)| *side == name) {
        let text = format!("{name}: {ratio:.2}x of the bare socket, promised at most {limit}x");
        promise(*ratio <= limit, &text);
    }
}

/// How long each of `calls` calls of `work` took.
fn each(calls: u32, mut work: impl FnMut() -> Result<()>) -> Result<Vec<Duration>> {
    let time = |_| {
        let began = Instant::now();
        work()?;
        Ok(began.elapsed())
    };
    (0..calls).map(time).collect()
}
