//! How large the channels of a session are.
//!
//! Main function: [`channels`]. What a manifest or a runtime gives is kept; the other channels share
//! what is left of the session's shared memory. Which channels there are is decided in `layout`.

use rm_bridge::QueuePolicy;
use rm_core::ChannelId;

use super::print::bytes;
use super::{Consumer, PlannedChannel, Producer, Queue};
use crate::config::RuntimeConfig;
use crate::manifest::{Manifest, QueueSpec};
use crate::problem::{ProblemKind, Report};

/// Largest and smallest capacity that a channel is given unasked, in bytes.
const LARGEST: usize = 64 << 20;
const SMALLEST: usize = 64 << 10;
/// Messages that a channel keeps for a successor, where nobody says how many. Each of them can be
/// as large as the capacity divided by their number, so it is less than for others.
const RETAINED_DEPTH: u32 = 16;

/// A channel whose size is not known yet.
pub(super) struct Wanted {
    pub(super) name: ChannelId,
    pub(super) producer: Producer,
    pub(super) port: Option<String>,
    pub(super) consumers: Vec<Consumer>,
    pub(super) retained: bool,
    pub(super) queue: QueueSpec,
}

impl Wanted {
    pub(super) fn new(
        name: ChannelId,
        producer: Producer,
        port: Option<String>,
        queue: QueueSpec,
    ) -> Self {
        Self { name, producer, port, consumers: Vec::new(), retained: false, queue }
    }
}

/// Gives each channel its size. If they cannot all have one, that is reported.
pub(super) fn channels(
    wanted: Vec<Wanted>,
    manifest: &Manifest,
    config: &RuntimeConfig,
    report: &mut Report,
) -> Vec<PlannedChannel> {
    let of_manifest = manifest.multiprocess().channel_capacity;
    let given =
        |channel: &Wanted| channel.queue.capacity.or(of_manifest).or(config.channel_capacity);
    let limit = config.shm_segment_size;
    let explicit: usize =
        wanted.iter().filter_map(given).fold(0, |sum, size| sum.saturating_add(size));
    let open = wanted.iter().filter(|channel| given(channel).is_none()).count();
    let least = explicit.saturating_add(open.saturating_mul(SMALLEST));
    if least > limit {
        let (needed, limit) = (bytes(least as u64), bytes(limit as u64));
        let count = wanted.len();
        let message = format!(
            "the {count} channels of the pipeline need at least {needed} of shared memory, \
             the limit is {limit} (shm_segment_size); expected smaller capacities or fewer borders"
        );
        let pointer = match of_manifest {
            Some(_) => "/metadata/multiprocess/channel_capacity",
            None => "/connections",
        };
        report.problem(ProblemKind::Limit, pointer, message);
    }
    let share = limit.saturating_sub(explicit) / open.max(1);
    // The largest power of two that is not above the share.
    let share = if share == 0 { SMALLEST } else { 1 << share.ilog2() };
    let share = share.clamp(SMALLEST, LARGEST);
    let size = |channel: Wanted| {
        let capacity = given(&channel).unwrap_or(share);
        let policy = channel.queue.policy.unwrap_or_default();
        let depth = match policy {
            QueuePolicy::Latest => 1,
            _ if channel.retained => channel.queue.depth.unwrap_or(RETAINED_DEPTH),
            _ => channel.queue.depth.unwrap_or(config.channel_depth),
        };
        let Wanted { name, producer, port, consumers, retained, .. } = channel;
        let queue = Queue { policy, depth, capacity };
        let max_message = queue.max_message(retained);
        PlannedChannel { name, producer, port, consumers, queue, retained, max_message }
    };
    wanted.into_iter().map(size).collect()
}
