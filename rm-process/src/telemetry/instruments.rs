//! The counters of all children, as instruments of OpenTelemetry.
//!
//! Main type: [`Instruments`]. It is made once. The instruments read the counters whenever metrics
//! are collected; calls do not know of them. OpenTelemetry cannot take an instrument back, so these
//! stay while children come and go: what belongs to a child is no longer reported once its
//! [`DirectionMetrics`] is dropped.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{AsyncInstrument, Meter};

use super::CallKind;
use super::metrics::{DirectionMetrics, DirectionSnapshot, FailureKind};

/// Reports the counters of children to whoever collects from a [`Meter`], until it is dropped.
#[derive(Debug)]
pub struct Instruments {
    watched: Arc<Mutex<Vec<Watched>>>,
}

#[derive(Debug)]
struct Watched {
    child: KeyValue,
    direction: KeyValue,
    metrics: Weak<DirectionMetrics>,
}

impl Instruments {
    /// Registers the instruments: `rm.calls`, `rm.calls.in_flight`, `rm.calls.failed`, `rm.items`,
    /// `rm.bytes` and `rm.call.latency`, all with the attributes `child` and `direction`.
    pub fn new(meter: &Meter) -> Self {
        let watched = Arc::default();
        meter
            .u64_observable_counter("rm.calls")
            .with_description("Calls begun.")
            .with_callback(for_each(&watched, |now, at| at.observe(now.total, None)))
            .build();
        meter
            .u64_observable_gauge("rm.calls.in_flight")
            .with_description("Calls begun and not ended.")
            .with_callback(for_each(&watched, |now, at| at.observe(now.in_flight, None)))
            .build();
        meter
            .u64_observable_counter("rm.calls.failed")
            .with_description("Calls that failed, by kind.")
            .with_callback(for_each(&watched, |now, at| {
                for kind in FailureKind::ALL {
                    at.observe(now.failed.of(*kind), Some(("kind", kind.as_str())));
                }
            }))
            .build();
        meter
            .u64_observable_counter("rm.items")
            .with_description("Items that went over, by the way they went.")
            .with_callback(for_each(&watched, |now, at| {
                at.observe(now.items_in, Some(("way", "in")));
                at.observe(now.items_out, Some(("way", "out")));
            }))
            .build();
        meter
            .u64_observable_counter("rm.bytes")
            .with_description("Bytes of the items that went over, by the way they went.")
            .with_unit("By")
            .with_callback(for_each(&watched, |now, at| {
                at.observe(now.bytes_in, Some(("way", "in")));
                at.observe(now.bytes_out, Some(("way", "out")));
            }))
            .build();
        meter
            .f64_observable_gauge("rm.call.latency")
            .with_description("How long calls took, from the child's beginning on.")
            .with_unit("us")
            .with_callback(for_each(&watched, |now, at| {
                at.observe(now.latency.median_us, Some(("quantile", "0.5")));
                at.observe(now.latency.p99_us, Some(("quantile", "0.99")));
                at.observe(now.latency.max_us, Some(("quantile", "1")));
            }))
            .build();
        Self { watched }
    }

    /// Reports the counters of `child` in one direction, for as long as somebody holds them.
    pub fn watch(&self, child: &str, direction: CallKind, metrics: &Arc<DirectionMetrics>) {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.retain(|watched| watched.metrics.strong_count() > 0);
        watched.push(Watched {
            child: KeyValue::new("child", child.to_owned()),
            direction: KeyValue::new("direction", direction.as_str()),
            metrics: Arc::downgrade(metrics),
        });
    }
}

/// One instrument, at one child and direction.
struct At<'a, T> {
    instrument: &'a dyn AsyncInstrument<T>,
    watched: &'a Watched,
}

impl<T> At<'_, T> {
    fn observe(&self, value: T, attribute: Option<(&'static str, &'static str)>) {
        let Watched { child, direction, .. } = self.watched;
        match attribute.map(|(key, text)| KeyValue::new(key, text)) {
            Some(third) => {
                self.instrument.observe(value, &[child.clone(), direction.clone(), third]);
            }
            None => self.instrument.observe(value, &[child.clone(), direction.clone()]),
        }
    }
}

/// A callback that has `observe` report each child that there still is.
fn for_each<T>(
    watched: &Arc<Mutex<Vec<Watched>>>,
    observe: impl Fn(&DirectionSnapshot, At<'_, T>) + Send + Sync + 'static,
) -> impl Fn(&dyn AsyncInstrument<T>) + Send + Sync + 'static {
    let watched = Arc::downgrade(watched);
    move |instrument| {
        let Some(watched) = watched.upgrade() else { return };
        for watched in watched.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            if let Some(metrics) = watched.metrics.upgrade() {
                observe(&metrics.snapshot(), At { instrument, watched });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::metrics::MeterProvider;
    use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData};
    use opentelemetry_sdk::metrics::{InMemoryMetricExporter, SdkMeterProvider};

    use super::*;

    /// What is collected now, a line for each value: name, attributes in order, value.
    fn collect(provider: &SdkMeterProvider, exporter: &InMemoryMetricExporter) -> Vec<String> {
        exporter.reset();
        provider.force_flush().expect("the exporter is in memory");
        let line = |name: &str, attributes: &mut dyn Iterator<Item = &KeyValue>, value: f64| {
            let mut texts: Vec<_> = attributes.map(|kv| kv.value.to_string()).collect();
            texts.sort();
            format!("{name} {} {value}", texts.join(" "))
        };
        let finished = exporter.get_finished_metrics().expect("the exporter is in memory");
        let scopes = finished.iter().flat_map(|resource| resource.scope_metrics());
        let mut lines = Vec::new();
        for metric in scopes.flat_map(|scope| scope.metrics()) {
            let name = metric.name();
            match metric.data() {
                AggregatedMetrics::U64(MetricData::Sum(sum)) => lines.extend(
                    sum.data_points()
                        .map(|point| line(name, &mut point.attributes(), point.value() as f64)),
                ),
                AggregatedMetrics::U64(MetricData::Gauge(gauge)) => lines.extend(
                    gauge
                        .data_points()
                        .map(|point| line(name, &mut point.attributes(), point.value() as f64)),
                ),
                AggregatedMetrics::F64(MetricData::Gauge(gauge)) => lines.extend(
                    gauge
                        .data_points()
                        .map(|point| line(name, &mut point.attributes(), point.value())),
                ),
                other => panic!("no instrument of ours: {other:?}"),
            }
        }
        lines
    }

    #[test]
    fn children_are_reported_while_they_exist() {
        let exporter = InMemoryMetricExporter::default();
        let provider = SdkMeterProvider::builder().with_periodic_exporter(exporter.clone()).build();
        let instruments = Instruments::new(&provider.meter("test"));
        let asr = Arc::new(DirectionMetrics::default());
        let tts = Arc::new(DirectionMetrics::default());
        instruments.watch("asr", CallKind::Request, &asr);
        instruments.watch("tts", CallKind::Callback, &tts);

        asr.begin().finish(Ok(()));
        asr.begin().finish(Err(FailureKind::Deadline));
        asr.item_in(7);
        let call = tts.begin();
        let lines = collect(&provider, &exporter);
        for expected in [
            "rm.calls asr request 2",
            "rm.calls callback tts 1",
            "rm.calls.in_flight asr request 0",
            "rm.calls.in_flight callback tts 1",
            "rm.calls.failed asr deadline request 1",
            "rm.calls.failed asr closed request 0",
            "rm.bytes asr in request 7",
            "rm.items asr in request 1",
            "rm.call.latency 0.99 callback tts 0",
        ] {
            assert!(lines.iter().any(|line| line == expected), "{expected} in {lines:#?}");
        }
        let per_child = 1 + 1 + FailureKind::ALL.len() + 2 + 2 + 3;
        assert_eq!(lines.len(), 2 * per_child, "{lines:#?}");

        drop((call, tts));
        let lines = collect(&provider, &exporter);
        assert_eq!(lines.len(), per_child, "{lines:#?}");
        assert!(lines.iter().all(|line| line.contains("asr")), "{lines:#?}");

        drop(instruments);
        assert_eq!(collect(&provider, &exporter), [""; 0]);
    }

    #[test]
    fn children_that_are_gone_are_forgotten() {
        let provider = SdkMeterProvider::builder().build();
        let instruments = Instruments::new(&provider.meter("test"));
        for _ in 0..100 {
            instruments.watch("asr", CallKind::Request, &Arc::default());
        }
        assert_eq!(instruments.watched.lock().unwrap().len(), 1);
    }
}
