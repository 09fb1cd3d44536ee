//! `StatisticsNode`: gives items on untouched, and says on the port `statistics` how they come.
//!
//! A report is JSON: for each type of data how many items and bytes there were, how many a second, the
//! time between two items and its jitter, and the age of items, that is, the time from their timestamp
//! until they come here. There are figures since the last report and of the whole stream. Percentiles
//! are exact to 1 % and take fixed memory (hdrhistogram).

use std::time::{Duration, Instant, SystemTime};

use hdrhistogram::Histogram;
use rm_core::{
    DataType, Node, NodeError, NodeMetadata, NodeRegistry, Output, ParameterKind, ParameterSpec,
    RegistryError, RuntimeData,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::pass_through::any_formats;
use crate::define::{changed, define_with_formats};

const PORT: &str = "statistics";
/// Longest time that is told apart, in nanoseconds: an hour. A longer one counts as this.
const LONGEST_NS: u64 = 3_600_000_000_000;

#[derive(Debug, Clone, Deserialize, Serialize)]
struct Params {
    interval_ms: u64,
    every: u64,
}

/// Figures of some of the items of one type.
struct Figures {
    items: u64,
    bytes: u64,
    between: Histogram<u64>,
    age: Histogram<u64>,
}

impl Figures {
    fn new() -> Self {
        let histogram = || {
            Histogram::new_with_bounds(1, LONGEST_NS, 2).expect(
                "the bounds are in order and 2 is a \
                                                                 number of digits",
            )
        };
        Self { items: 0, bytes: 0, between: histogram(), age: histogram() }
    }

    /// Adds those of `part`, and empties it.
    fn absorb(&mut self, part: &mut Self) {
        self.items += part.items;
        self.bytes += part.bytes;
        const SAME: &str = "both have the same bounds";
        self.between.add(&part.between).expect(SAME);
        self.age.add(&part.age).expect(SAME);
        (part.items, part.bytes) = (0, 0);
        part.between.reset();
        part.age.reset();
    }

    fn report(&self, passed: Duration, jitter_ns: f64) -> Value {
        let seconds = passed.as_secs_f64();
        let rate = |count: u64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
        json!({
            "items": self.items,
            "bytes": self.bytes,
            "items_per_s": rate(self.items),
            "bytes_per_s": rate(self.bytes),
            "between_ms": percentiles(&self.between),
            "jitter_ms": jitter_ns / 1e6,
            "age_ms": percentiles(&self.age),
        })
    }
}

fn percentiles(histogram: &Histogram<u64>) -> Value {
    if histogram.is_empty() {
        return Value::Null;
    }
    let ms = |nanos: u64| nanos as f64 / 1e6;
    let at = |quantile| ms(histogram.value_at_quantile(quantile));
    json!({
        "mean": histogram.mean() / 1e6,
        "p50": at(0.5),
        "p90": at(0.9),
        "p99": at(0.99),
        "max": ms(histogram.max()),
    })
}

/// The items of one type.
struct Stream {
    total: Figures,
    recent: Figures,
    last: Option<(Instant, SystemTime)>,
    jitter_ns: f64,
}

impl Stream {
    fn new() -> Self {
        let (total, recent) = (Figures::new(), Figures::new());
        Self { total, recent, last: None, jitter_ns: 0.0 }
    }

    /// Notes an item that came at `now`, which is the moment `wall`.
    fn note(&mut self, now: Instant, wall: SystemTime, item: &RuntimeData) {
        let timestamp = item.header().timestamp;
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.recent.items += 1;
        self.recent.bytes += item.payload().len() as u64;
        if let Some((last_now, last_timestamp)) = self.last {
            let between = nanos(now.saturating_duration_since(last_now));
            self.recent.between.saturating_record(between.min(LONGEST_NS));
            // Mean deviation of the time between two items from that between their timestamps, smoothed
            // as that of RTP is (RFC 3550, 6.4.1).
            let planned = match timestamp.duration_since(last_timestamp) {
                Ok(later) => later.as_nanos() as f64,
                Err(earlier) => -(earlier.duration().as_nanos() as f64),
            };
            self.jitter_ns += ((between as f64 - planned).abs() - self.jitter_ns) / 16.0;
        }
        self.last = Some((now, timestamp));
        // What comes from a clock that is ahead has no age.
        let age = nanos(wall.duration_since(timestamp).unwrap_or_default());
        self.recent.age.saturating_record(age.min(LONGEST_NS));
    }
}

struct Statistics {
    params: Params,
    /// By type, in the order of [`DataType::ALL`].
    streams: [Option<Box<Stream>>; DataType::ALL.len()],
    began: Option<Instant>,
    reported: Option<Instant>,
    items_since: u64,
}

impl Statistics {
    fn new(params: Params) -> Self {
        let streams = Default::default();
        Self { params, streams, began: None, reported: None, items_since: 0 }
    }

    /// Begins to count time.
    fn begin(&mut self, now: Instant) {
        self.began.get_or_insert(now);
        self.reported.get_or_insert(now);
    }

    /// Takes an item that came at `now`, which is the moment `wall`.
    fn take(
        &mut self,
        (now, wall): (Instant, SystemTime),
        input: RuntimeData,
        output: &mut Output,
    ) -> Result<(), NodeError> {
        self.begin(now);
        let kind = input.data_type();
        let place = DataType::ALL.iter().position(|known| *known == kind);
        if let Some(stream) = place.and_then(|place| self.streams.get_mut(place)) {
            stream.get_or_insert_with(|| Box::new(Stream::new())).note(now, wall, &input);
        }
        output.push(input);
        self.items_since += 1;
        if self.params.every > 0 && self.items_since >= self.params.every {
            self.report(now, false, output)?;
        }
        Ok(())
    }

    /// Gives a report.
    fn report(
        &mut self,
        now: Instant,
        is_last: bool,
        output: &mut Output,
    ) -> Result<(), NodeError> {
        let since = |begin: Option<Instant>| {
            begin.map_or(Duration::ZERO, |begin| now.saturating_duration_since(begin))
        };
        let (elapsed, interval) = (since(self.began), since(self.reported));
        let (mut recent, mut total) = (Map::new(), Map::new());
        for (stream, kind) in self.streams.iter_mut().zip(DataType::ALL) {
            let Some(stream) = stream else { continue };
            recent.insert(kind.to_string(), stream.recent.report(interval, stream.jitter_ns));
            stream.total.absorb(&mut stream.recent);
            total.insert(kind.to_string(), stream.total.report(elapsed, stream.jitter_ns));
        }
        (self.reported, self.items_since) = (Some(now), 0);
        let report = json!({
            "elapsed_s": elapsed.as_secs_f64(),
            "interval_s": interval.as_secs_f64(),
            "final": is_last,
            "interval": recent,
            "total": total,
        });
        output.push_to(PORT, RuntimeData::json(&report)?);
        Ok(())
    }
}

impl Node for Statistics {
    fn initialize(&mut self) -> Result<(), NodeError> {
        self.begin(Instant::now());
        Ok(())
    }

    fn process(&mut self, input: RuntimeData, output: &mut Output) -> Result<(), NodeError> {
        self.take((Instant::now(), SystemTime::now()), input, output)
    }

    fn set_params(&mut self, params: &Value) -> Result<(), NodeError> {
        self.params = changed(&self.params, params)?;
        Ok(())
    }

    fn due(&self) -> Option<Instant> {
        let interval = Duration::from_millis(self.params.interval_ms);
        if interval.is_zero() { None } else { Some(self.reported? + interval) }
    }

    fn on_time(&mut self, now: Instant, output: &mut Output) -> Result<(), NodeError> {
        if let Some(due) = self.due().filter(|due| *due <= now) {
            self.report(now, false, output)?;
            // The next one is due by the clock, not by when this one was made, unless it was late.
            let interval = Duration::from_millis(self.params.interval_ms);
            self.reported = Some(if now < due + interval { due } else { now });
        }
        Ok(())
    }

    fn finish(&mut self, output: &mut Output) -> Result<(), NodeError> {
        self.report(Instant::now(), true, output)
    }
}

pub(crate) fn register(registry: &mut NodeRegistry) -> Result<(), RegistryError> {
    let metadata = NodeMetadata {
        name: "StatisticsNode".to_owned(),
        version: "1.0.0".to_owned(),
        description:
            "gives items on untouched, and on the port statistics JSON of rates, times between \
                      items, jitter and age, by type of data"
                .to_owned(),
        parameters: vec![
            ParameterSpec::optional(
                "interval_ms",
                ParameterKind::Integer,
                1_000,
                "time between two reports; 0 for none by time",
            )
            .range(0.0, 86_400_000.0)
            .unit("ms"),
            ParameterSpec::optional(
                "every",
                ParameterKind::Integer,
                0,
                "number of items between two reports; 0 for none by number. There is always one at \
                 the end",
            )
            .range(0.0, 9_007_199_254_740_991.0)
            .unit("items"),
        ],
        accepts: DataType::ALL.to_vec(),
        produces: DataType::ALL.to_vec(),
        output_ports: vec![PORT.to_owned()],
        timed: true,
        ..NodeMetadata::default()
    };
    let formats = |_: &Params, _: &_| any_formats();
    define_with_formats(registry, metadata, formats, |params, _| Ok(Statistics::new(params)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::check_no_allocation;
    use rm_core::RuntimeData;

    fn statistics(interval_ms: u64, every: u64) -> Statistics {
        Statistics::new(Params { interval_ms, every })
    }

    /// What was given on, and the reports.
    fn drain(output: &mut Output) -> (Vec<RuntimeData>, Vec<Value>) {
        let (mut items, mut reports) = (Vec::new(), Vec::new());
        for (port, item) in output.drain_ports() {
            match port {
                None => items.push(item),
                Some(port) => {
                    assert_eq!(port, "statistics");
                    reports.push(item.parse_json().unwrap());
                }
            }
        }
        (items, reports)
    }

    fn check_near(found: &Value, expected: f64) {
        let found = found.as_f64().unwrap();
        assert!((found - expected).abs() <= expected * 0.01, "{found} is not {expected}");
    }

    /// Items of 10 bytes that come every 20 ms, 5 ms after they were made.
    fn steady(node: &mut Statistics, count: u64) -> (Vec<RuntimeData>, Vec<Value>) {
        let (start, wall) = (Instant::now(), SystemTime::UNIX_EPOCH + Duration::from_secs(1_000));
        let mut output = Output::default();
        for number in 0..count {
            let at = Duration::from_millis(number * 20);
            let item = RuntimeData::binary(vec![0; 10]).unwrap().with_timestamp(wall + at);
            let now = (start + at, wall + at + Duration::from_millis(5));
            node.take(now, item, &mut output).unwrap();
        }
        drain(&mut output)
    }

    #[test]
    fn a_report_tells_rates_times_and_age() {
        let (items, reports) = steady(&mut statistics(0, 51), 102);
        assert_eq!(items.len(), 102);
        assert_eq!(reports.len(), 2);
        let (first, second) =
            (&reports[0]["interval"]["binary"], &reports[1]["interval"]["binary"]);
        assert_eq!((&first["items"], &first["bytes"]), (&json!(51), &json!(510)));
        check_near(&first["items_per_s"], 51.0);
        check_near(&first["bytes_per_s"], 510.0);
        check_near(&second["items_per_s"], 50.0);
        for name in ["mean", "p50", "p90", "p99", "max"] {
            check_near(&first["between_ms"][name], 20.0);
            check_near(&second["age_ms"][name], 5.0);
        }
        assert_eq!(first["jitter_ms"], 0.0);
        assert_eq!(reports[1]["total"]["binary"]["items"], 102);
        check_near(&reports[1]["elapsed_s"], 2.02);
        check_near(&reports[1]["interval_s"], 1.02);
        assert_eq!(reports[1]["final"], false);
    }

    #[test]
    fn a_report_comes_at_each_interval_and_at_the_end() {
        let mut node = statistics(1_000, 0);
        let mut output = Output::default();
        let start = Instant::now();
        let ms = |ms| start + Duration::from_millis(ms);
        node.begin(start);
        assert_eq!(node.due(), Some(ms(1_000)));
        node.on_time(ms(999), &mut output).unwrap();
        assert!(output.is_empty());
        node.on_time(ms(1_010), &mut output).unwrap();
        assert_eq!(node.due(), Some(ms(2_000)));
        node.on_time(ms(9_000), &mut output).unwrap();
        assert_eq!(node.due(), Some(ms(10_000)));
        node.set_params(&json!({"interval_ms": 500})).unwrap();
        assert_eq!(node.due(), Some(ms(9_500)));
        let (_, reports) = drain(&mut output);
        assert_eq!(reports.len(), 2);
        assert_eq!(reports[0]["total"], json!({}));
        steady(&mut node, 10);
        node.finish(&mut output).unwrap();
        let (_, reports) = drain(&mut output);
        assert_eq!(reports[0]["final"], true);
        assert_eq!(reports[0]["total"]["binary"]["items"], 10);
    }

    #[test]
    fn jitter_grows_where_items_come_otherwise_than_they_were_made() {
        let mut node = statistics(0, 200);
        let (start, wall) = (Instant::now(), SystemTime::UNIX_EPOCH + Duration::from_secs(1_000));
        let mut output = Output::default();
        for number in 0..200 {
            let at = Duration::from_millis(number * 20);
            let late = Duration::from_millis(number % 2 * 8);
            let item = RuntimeData::text("a").unwrap().with_timestamp(wall + at);
            node.take((start + at + late, wall + at + late), item, &mut output).unwrap();
        }
        let (_, reports) = drain(&mut output);
        check_near(&reports[0]["total"]["text"]["jitter_ms"], 8.0);
        check_near(&reports[0]["total"]["text"]["age_ms"]["p99"], 8.0);
    }

    #[test]
    fn odd_times_are_counted_as_the_nearest_that_make_sense() {
        let mut node = statistics(0, 4);
        let (now, wall) = (Instant::now(), SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000));
        let mut output = Output::default();
        let year = Duration::from_secs(31_557_600);
        for stamp in [SystemTime::UNIX_EPOCH, wall + year, SystemTime::UNIX_EPOCH - year, wall] {
            let item = RuntimeData::text("a").unwrap().with_timestamp(stamp);
            node.take((now, wall), item, &mut output).unwrap();
        }
        let (_, reports) = drain(&mut output);
        check_near(&reports[0]["total"]["text"]["age_ms"]["max"], 3_600_000.0);
        assert_eq!(reports[0]["total"]["text"]["age_ms"]["p50"], 0.0);
    }

    #[test]
    fn counting_allocates_nothing() {
        let item = RuntimeData::binary(vec![1]).unwrap();
        check_no_allocation("StatisticsNode", &json!(null), &item);
    }
}
