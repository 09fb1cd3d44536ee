//! How nodes are made, fed and measured.
//!
//! Main types: [`Bed`] and [`Found`]. What is fed to which node stands with the parts.

use std::hint::black_box;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use benches::Times;
use rm_core::{Node, NodeContext, NodeRegistry, Output, RuntimeData};
use serde_json::Value;

/// How long one row is measured, and what is timed together, so that the clock's own time does not matter.
const ROW: Duration = Duration::from_millis(300);
const BATCH: Duration = Duration::from_micros(20);
/// Least of what is timed, before and while it is.
const LEAST: u32 = 20;
/// Items before anything is measured, unless they take longer than a row, and items for which
/// allocations are counted.
const SETTLE: u32 = 300;
const COUNTED: u32 = 100;

/// What was found out about one item.
pub struct Found {
    times: Times,
    allocations: f64,
}

impl Found {
    /// Median, in microseconds.
    pub fn median_us(&self) -> f64 {
        self.times.median_us()
    }
}

/// Makes nodes, as sessions do.
pub struct Bed(NodeRegistry);

impl Bed {
    /// With all built-in nodes.
    pub fn new() -> Result<Self> {
        let mut registry = NodeRegistry::new();
        rm_nodes::register_all(&mut registry)?;
        Ok(Self(registry))
    }

    /// A node that is ready.
    pub fn node(&self, node_type: &str, params: Value) -> Result<Box<dyn Node>> {
        let factory = self.0.factory(node_type).with_context(|| format!("no {node_type}"))?;
        let context = NodeContext {
            node_id: "bench".to_owned(),
            node_type: node_type.to_owned(),
            params,
            ..NodeContext::default()
        };
        let mut node = factory(&context)?;
        node.initialize()?;
        Ok(node)
    }

    /// Measures a node with one item after another, and prints a row; `beside` stands at its end.
    pub fn row(
        &self,
        node_type: &str,
        params: Value,
        item: &Item,
        beside: impl FnOnce(&Found) -> String,
    ) -> Result<Found> {
        let named = match params.as_object() {
            Some(given) if !given.is_empty() => format!("{node_type} {}", written(&params)),
            _ => node_type.to_owned(),
        };
        let mut node = self.node(node_type, params)?;
        let (mut output, mut turn) = (Output::default(), 0);
        let found = measure(item.count, || {
            for _ in 0..item.count {
                node.process(item.at(turn), &mut output)?;
                turn += 1;
                output.clear();
            }
            Ok(())
        });
        let found = found.with_context(|| named.clone())?;
        print_row(&named, &found, &beside(&found));
        Ok(found)
    }
}

/// Parameters as few characters.
fn written(params: &Value) -> String {
    params.to_string().chars().filter(|char| !['{', '}', '"'].contains(char)).collect()
}

/// One item, which comes again and again as time goes on.
pub struct Item {
    item: RuntimeData,
    length: Duration,
    count: u32,
}

impl Item {
    /// An item that is so long.
    pub fn new(item: RuntimeData, length: Duration) -> Self {
        Self { item, length, count: 1 }
    }

    /// The item so many times in a row, which are timed together: some of them may complete more of
    /// a node's blocks than others.
    pub fn in_a_row(self, count: u32) -> Self {
        Self { count, ..self }
    }

    /// How long it is.
    pub fn length(&self) -> Duration {
        self.length
    }

    /// The item at its turn.
    pub fn at(&self, turn: u32) -> RuntimeData {
        self.item.clone().with_timestamp(SystemTime::UNIX_EPOCH + self.length * turn)
    }

    /// How many bytes it has.
    pub fn len(&self) -> usize {
        self.item.payload().len()
    }
}

/// Prints what stands above rows.
pub fn print_head(title: &str, beside: &str) {
    println!("\n{title}; us an item: median (p99)\n");
    println!("{:<64} {:>18} {:>12}  {beside}", "", "time", "allocations");
}

/// Prints a row.
pub fn print_row(name: &str, found: &Found, beside: &str) {
    let Found { times, allocations } = found;
    let times = format!("{} ({})", digits(times.median_us()), digits(times.p99_us()));
    println!("{}", format!("{name:<64} {times:>18} {allocations:>12.2}  {beside}").trim_end());
}

/// How many times faster than real time a node is with an item that is so long.
pub fn real_time(length: Duration, found: &Found) -> String {
    digits(length.as_secs_f64() * 1e6 / found.median_us())
}

/// A number with three digits.
pub fn digits(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value if value >= 1.0 => format!("{value:.2}"),
        value => format!("{value:.3}"),
    }
}

/// Measures memcpy of so many bytes into memory that is there, and prints a row.
pub fn memcpy(len: usize) -> Result<Found> {
    let (from, mut to) = (vec![1_u8; len], vec![0_u8; len]);
    let found = measure(1, || {
        black_box(&mut to).copy_from_slice(black_box(&from));
        Ok(())
    })?;
    print_row(&format!("memcpy of {len} bytes"), &found, "");
    Ok(found)
}

/// Measures work on so many items in steady state. What is found out is about one of them; the p99 is
/// that of means, where they are several or shorter than [`BATCH`].
pub fn measure(items: u32, mut work: impl FnMut() -> Result<()>) -> Result<Found> {
    let began = Instant::now();
    for done in 0..SETTLE {
        work()?;
        if done >= LEAST && began.elapsed() > ROW {
            break;
        }
    }
    let mut result = Ok(());
    let counted = allocation_counter::measure(|| {
        result = (0..COUNTED).try_for_each(|_| work());
    });
    result?;
    let began = Instant::now();
    (0..LEAST).try_for_each(|_| work())?;
    let once = began.elapsed() / LEAST;
    let batch = (BATCH.as_nanos() / once.as_nanos().max(1)).clamp(1, 10_000) as u32;
    let mut times = Times::new()?;
    let began = Instant::now();
    let mut done = 0;
    while done < LEAST || began.elapsed() < ROW {
        let call = Instant::now();
        (0..batch).try_for_each(|_| work())?;
        times.add(call.elapsed() / (batch * items))?;
        done += 1;
    }
    let allocations = counted.count_total as f64 / f64::from(COUNTED * items);
    Ok(Found { times, allocations })
}
