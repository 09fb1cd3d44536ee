//! `RateLimiterNode`: lets so many items or bytes a second through, and drops or holds back the rest.
//!
//! The limit is a token bucket: it fills at the rate, holds a burst, and each item takes its share. Time
//! is that of the clock, or that of the items' timestamps, by which a recorded stream is thinned out as
//! the live one would have been. Order is kept.

use std::time::{Duration, Instant, SystemTime};

use rm_core::{
    DataType, Node, NodeError, NodeMetadata, NodeRegistry, Output, ParameterKind, ParameterSpec,
    RegistryError, RuntimeData,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::held::{DROPPED, Held, Limits};
use super::pass_through::any_formats;
use crate::define::{changed, define_with_formats, wrong};

const MAX_RATE: f64 = 1e12;
/// Part of a token that may be missing, because times are rounded to nanoseconds.
const TOLERANCE: f64 = 1e-6;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Policy {
    Drop,
    Hold,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum By {
    Clock,
    Timestamp,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
struct Params {
    items_per_second: Option<f64>,
    bytes_per_second: Option<f64>,
    burst_items: f64,
    burst_bytes: Option<f64>,
    policy: Policy,
    by: By,
    #[serde(flatten)]
    limits: Limits,
}

/// Tokens that come at a rate and are taken by items. Times are since any fixed moment.
#[derive(Clone, Copy)]
struct Bucket {
    rate: f64,
    size: f64,
    /// What may be in it beyond its size for as long as it does not overflow. So an item that comes a
    /// little late does not put off the next one, and the rate is reached whatever that of the stream is.
    carry: f64,
    tokens: f64,
    filled_at: Option<Duration>,
}

impl Bucket {
    fn new(rate: f64, size: f64, carry: f64) -> Self {
        Self { rate, size, carry, tokens: size, filled_at: None }
    }

    fn fill(&mut self, now: Duration) {
        // Where time goes back, it goes on from there.
        let passed = self.filled_at.map_or(Duration::ZERO, |last| now.saturating_sub(last));
        self.tokens += passed.as_secs_f64() * self.rate;
        if self.tokens >= self.size + self.carry {
            self.tokens = self.size;
        }
        self.filled_at = Some(now);
    }

    /// What an item needs to be let through. One that is larger than the bucket needs a full one, and
    /// leaves it in debt.
    fn needed(&self, cost: f64) -> f64 {
        cost.min(self.size) - TOLERANCE
    }

    /// Since when it was filled last there will be enough.
    fn wait(&self, cost: f64) -> Duration {
        let missing = self.needed(cost) - self.tokens;
        let seconds = if missing > 0.0 { missing / self.rate } else { 0.0 };
        // Rounded up, so that there is enough then.
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX).saturating_add(ONE_NANO)
    }
}

const ONE_NANO: Duration = Duration::from_nanos(1);

/// The buckets of items and of bytes, where these are limited.
#[derive(Clone, Copy)]
struct Buckets {
    items: Option<Bucket>,
    bytes: Option<Bucket>,
}

impl Buckets {
    /// Fills them up to a time.
    fn fill(&mut self, now: Duration) {
        for bucket in [&mut self.items, &mut self.bytes].into_iter().flatten() {
            bucket.fill(now);
        }
    }

    /// Takes what an item of `len` bytes needs, if there is enough.
    fn admit(&mut self, len: usize) -> bool {
        let costs = [(&mut self.items, 1.0), (&mut self.bytes, len as f64)];
        let mut costs = costs.map(|(bucket, cost)| (bucket.as_mut(), cost));
        let is_enough = costs.iter().all(|(bucket, cost)| {
            bucket.as_ref().is_none_or(|bucket| bucket.tokens >= bucket.needed(*cost))
        });
        if is_enough {
            for (bucket, cost) in &mut costs {
                if let Some(bucket) = bucket {
                    bucket.tokens -= *cost;
                }
            }
        }
        is_enough
    }
}

struct RateLimiter {
    params: Params,
    buckets: Buckets,
    held: Held<()>,
    /// What the clock is counted from.
    start: Instant,
}

impl RateLimiter {
    fn new(params: Params, start: Instant) -> Result<Self, NodeError> {
        if params.items_per_second.is_none() && params.bytes_per_second.is_none() {
            let expected = "a number, unless bytes_per_second is one";
            return Err(wrong("items_per_second", "null", expected));
        }
        let burst_bytes = params.burst_bytes.or(params.bytes_per_second).unwrap_or(1.0);
        let items = params.items_per_second;
        let bytes = params.bytes_per_second;
        Ok(Self {
            buckets: Buckets {
                items: items.map(|rate| Bucket::new(rate, params.burst_items, 1.0)),
                bytes: bytes.map(|rate| Bucket::new(rate, burst_bytes.max(1.0), 0.0)),
            },
            held: Held::new(params.limits),
            params,
            start,
        })
    }

    /// Gives what is held back and may go now.
    fn release(&mut self, output: &mut Output) {
        while let Some((_, item)) = self.held.first() {
            let len = item.payload().len();
            if self.params.policy == Policy::Hold && !self.buckets.admit(len) {
                break;
            }
            if let Some((_, item)) = self.held.pop() {
                output.push(item);
            }
        }
    }

    fn since_start(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.start)
    }

    /// Takes an item that came at `now`.
    fn take(
        &mut self,
        now: Instant,
        input: RuntimeData,
        output: &mut Output,
    ) -> Result<(), NodeError> {
        let now = match self.params.by {
            By::Clock => self.since_start(now),
            By::Timestamp => {
                let timestamp = input.header().timestamp;
                timestamp.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
            }
        };
        self.buckets.fill(now);
        let len = input.payload().len();
        if self.params.policy == Policy::Hold {
            let mut buckets = self.buckets;
            self.held.check_room(len, |(), item| buckets.admit(item.payload().len()))?;
        }
        self.release(output);
        if self.held.is_empty() && self.buckets.admit(len) {
            output.push(input);
            return Ok(());
        }
        match self.params.policy {
            Policy::Drop => output.push_to(DROPPED, input),
            Policy::Hold => self.held.push((), input, output)?,
        }
        Ok(())
    }
}

impl Node for RateLimiter {
    fn process(&mut self, input: RuntimeData, output: &mut Output) -> Result<(), NodeError> {
        self.take(Instant::now(), input, output)
    }

    fn set_params(&mut self, params: &Value) -> Result<(), NodeError> {
        let mut new = Self::new(changed(&self.params, params)?, self.start)?;
        if new.params.by == self.params.by {
            let (old, new) = (self.buckets, &mut new.buckets);
            for (new, old) in [(&mut new.items, old.items), (&mut new.bytes, old.bytes)] {
                if let (Some(new), Some(old)) = (new, old) {
                    (new.tokens, new.filled_at) = (old.tokens.min(new.size), old.filled_at);
                }
            }
        }
        std::mem::swap(&mut new.held, &mut self.held);
        new.held.limits = new.params.limits;
        *self = new;
        Ok(())
    }

    fn flush(&mut self) {
        self.held.clear();
    }

    fn due(&self) -> Option<Instant> {
        let (_, item) = self.held.first()?;
        if self.params.policy == Policy::Drop {
            // Nothing is held back any more after the policy has changed.
            return Some(self.start);
        }
        if self.params.by == By::Timestamp {
            return None;
        }
        let Buckets { items, bytes } = &self.buckets;
        let costs = [(items, 1.0), (bytes, item.payload().len() as f64)];
        let due = costs.into_iter().filter_map(|(bucket, cost)| {
            let bucket = bucket.as_ref()?;
            Some(bucket.filled_at.unwrap_or_default().saturating_add(bucket.wait(cost)))
        });
        self.start.checked_add(due.max().unwrap_or_default())
    }

    fn on_time(&mut self, now: Instant, output: &mut Output) -> Result<(), NodeError> {
        if self.params.by == By::Clock {
            self.buckets.fill(self.since_start(now));
        }
        self.release(output);
        Ok(())
    }

    fn finishes_on_time(&self) -> bool {
        self.params.by == By::Clock
    }

    fn finish(&mut self, output: &mut Output) -> Result<(), NodeError> {
        while let Some((_, item)) = self.held.pop() {
            output.push(item);
        }
        Ok(())
    }
}

pub(crate) fn register(registry: &mut NodeRegistry) -> Result<(), RegistryError> {
    let rate = |name: &str, default: Value, unit: &str, description: &str| ParameterSpec {
        nullable: true,
        ..ParameterSpec::optional(name, ParameterKind::Float, default, description)
            .range(1e-6, MAX_RATE)
            .unit(unit)
    };
    let mut parameters = vec![
        rate("items_per_second", 10.0.into(), "items/s", "most items a second; null for any number"),
        rate("bytes_per_second", Value::Null, "bytes/s", "most bytes of payload a second; null for any"),
        ParameterSpec::optional(
            "burst_items",
            ParameterKind::Float,
            1.0,
            "how many items may go at once after a pause",
        )
        .range(1.0, 1e9)
        .unit("items"),
        rate(
            "burst_bytes",
            Value::Null,
            "bytes",
            "how many bytes may go at once after a pause; null for those of one second. A larger item \
             goes when all of them may, and the next one waits accordingly",
        ),
        ParameterSpec::optional(
            "policy",
            ParameterKind::String,
            "drop",
            "whether an item beyond the rate goes to the port dropped, or is held back until it may go",
        )
        .choices(["drop", "hold"]),
        ParameterSpec::optional(
            "by",
            ParameterKind::String,
            "clock",
            "whether the time is that of the clock or of the items' timestamps; by timestamps, what is \
             held back goes when the time of a later item permits, and the rest at the end",
        )
        .choices(["clock", "timestamp"]),
    ];
    parameters.extend(Limits::parameters(256));
    let metadata = NodeMetadata {
        name: "RateLimiterNode".to_owned(),
        version: "1.0.0".to_owned(),
        description:
            "lets so many items or bytes a second through, and drops or holds back the rest"
                .to_owned(),
        parameters,
        accepts: DataType::ALL.to_vec(),
        produces: DataType::ALL.to_vec(),
        output_ports: vec![DROPPED.to_owned()],
        timed: true,
        ..NodeMetadata::default()
    };
    let formats = |_: &Params, _: &_| any_formats();
    define_with_formats(registry, metadata, formats, |params, _| {
        RateLimiter::new(params, Instant::now())
    })
}

#[cfg(test)]
mod tests;
