//! What children print becomes log events. A program of its own: `tracing` decides once per
//! process whether anybody listens.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rm_process::{CommandSpec, ProcessManager};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

struct Collector(Arc<Mutex<Vec<String>>>);

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.push_str(&format!("{field}={value:?} "));
    }
}

impl Subscriber for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "rm_process::output"
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        let mut events = self.0.lock().expect("no test panics with it");
        events.push(text.0);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[tokio::test]
async fn each_line_is_an_event_with_the_node_and_the_stream() {
    let events = Arc::new(Mutex::new(Vec::new()));
    let _guard = tracing::subscriber::set_default(Collector(Arc::clone(&events)));
    let script = "echo one; printf two; echo three >&2";
    let mut spec = CommandSpec::new("sh").args(["-c", script]).label("asr");
    spec.session_id = "s1".to_owned();
    let manager = ProcessManager::new().unwrap();
    let process = manager.spawn_plain(spec).await.unwrap();
    let watchdog = Duration::from_secs(10);
    tokio::time::timeout(watchdog, process.exited()).await.unwrap();
    let mut events = events.lock().unwrap().clone();
    events.sort();
    assert_eq!(
        events,
        [
            "message=one node=\"asr\" session=\"s1\" stream=\"stdout\" ",
            "message=three node=\"asr\" session=\"s1\" stream=\"stderr\" ",
            "message=two node=\"asr\" session=\"s1\" stream=\"stdout\" ",
        ]
    );
}
