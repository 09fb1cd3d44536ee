//! How a plan prints.
//!
//! Main function: the `Display` of [`Plan`]. It is for people; programs read its JSON.

use std::fmt;

use rm_bridge::QueuePolicy;

use super::{Consumer, Plan, PlannedChannel, Producer};

/// A number of bytes in the largest unit of which there is one.
pub(super) fn bytes(number: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let fitting = UNITS.into_iter().find(|(_, size)| number >= *size);
    let Some((unit, size)) = fitting else { return format!("{number} B") };
    if number.is_multiple_of(size) {
        return format!("{} {unit}", number / size);
    }
    format!("{:.1} {unit}", number as f64 / size as f64)
}

fn name(policy: QueuePolicy) -> &'static str {
    match policy {
        QueuePolicy::DropOldest => "drops the oldest",
        QueuePolicy::DropNewest => "drops the newest",
        QueuePolicy::Latest => "keeps the latest",
        _ => "blocks",
    }
}

fn write_all<T: fmt::Display>(
    f: &mut fmt::Formatter<'_>,
    items: impl IntoIterator<Item = T>,
) -> fmt::Result {
    for (place, item) in items.into_iter().enumerate() {
        f.write_str(if place == 0 { "" } else { ", " })?;
        write!(f, "{item}")?;
    }
    Ok(())
}

impl fmt::Display for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stage(stage) => write!(f, "stage {stage}"),
            Self::Worker(worker) => write!(f, "worker {worker}"),
            Self::Session => f.write_str("session"),
        }
    }
}

impl Plan {
    fn write_node(&self, f: &mut fmt::Formatter<'_>, node: usize) -> fmt::Result {
        let node = &self.nodes[node];
        let (executor, reason) = (node.executor.name(), node.reason);
        write!(f, "{} ({}, {executor}: {reason})", node.id, node.node_type)
    }

    fn write_channel(&self, f: &mut fmt::Formatter<'_>, channel: &PlannedChannel) -> fmt::Result {
        write!(f, "\n  channel {}: ", channel.name)?;
        match channel.producer {
            Producer::Node(node) => write!(f, "{}", self.place_of(node))?,
            Producer::Session => f.write_str("session")?,
        }
        f.write_str(" -> ")?;
        write_all(f, &channel.consumers)?;
        let (queue, items) = (channel.queue, channel.queue.depth);
        let (capacity, largest) = (bytes(queue.capacity as u64), bytes(channel.max_message as u64));
        write!(f, " ({}, items {items}, {capacity}, largest {largest}", name(queue.policy))?;
        f.write_str(if channel.retained { ", retained)" } else { ")" })
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (nodes, stages) = (self.nodes.len(), self.stages.len());
        let (workers, channels) = (self.workers.len(), self.channels.len());
        write!(f, "{}: nodes {nodes}, stages {stages}, ", self.name)?;
        write!(f, "workers {workers}, channels {channels}")?;
        for (index, stage) in self.stages.iter().enumerate() {
            write!(f, "\n  stage {index}: ")?;
            for (place, &node) in stage.nodes.iter().enumerate() {
                f.write_str(if place == 0 { "" } else { ", " })?;
                self.write_node(f, node)?;
            }
        }
        for (index, &worker) in self.workers.iter().enumerate() {
            write!(f, "\n  worker {index}: ")?;
            self.write_node(f, worker)?;
        }
        for conversion in &self.conversions {
            let (from, to) = (&self.nodes[conversion.from].id, &self.nodes[conversion.to].id);
            write!(f, "\n  {from} -> {to}: {} becomes ", conversion.given)?;
            write!(f, "{} by ", conversion.taken)?;
            write_all(f, conversion.by.iter().map(|node| &self.nodes[*node].id))?;
        }
        for channel in &self.channels {
            self.write_channel(f, channel)?;
        }
        for (level, wave) in self.waves().iter().enumerate() {
            write!(f, "\n  level {level}: ")?;
            write_all(f, wave)?;
        }
        if !self.channels.is_empty() {
            let memory = self.shared_memory;
            let (needed, limit) = (bytes(memory.needed), bytes(memory.limit));
            write!(f, "\n  shared memory: at most {needed} of {limit}")?;
            if let Some(free) = memory.free {
                write!(f, ", free in /dev/shm {}", bytes(free))?;
            }
        }
        Ok(())
    }
}
