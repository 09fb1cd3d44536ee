//! Where the runtime's own records go: to stderr, as text or as JSON lines, as `REMOTEMEDIA_LOG` says.
//!
//! Main functions: [`init_logging`] and [`start_from_environment`]. Lines that workers print come out
//! with the id of their node; those that are JSON records themselves stay such. Python's own `logging`
//! is configured elsewhere, in `remotemedia_runtime._logging`, by the same filter.

use std::env;
use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use rm_core::did_you_mean;
use serde::de::IgnoredAny;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{Format, FormatEvent, FormatFields, Full, Json, Writer};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Registry, reload};

/// The variable with the filter.
const FILTER_ENV: &str = "REMOTEMEDIA_LOG";
/// The variable with the format.
const FORMAT_ENV: &str = "REMOTEMEDIA_LOG_FORMAT";
/// The target of the lines that workers print.
const OUTPUT: &str = "rm_process::output";
/// How a JSON record begins, here and in Python.
const RECORD: &str = "{\"timestamp\":";
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// The filter of the subscriber, where it is ours.
static FILTER: OnceLock<Option<reload::Handle<EnvFilter, Registry>>> = OnceLock::new();
/// Whether records are JSON lines.
static AS_JSON: AtomicBool = AtomicBool::new(false);

/// What cannot be followed of how one asks for records.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LogError(String);

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for LogError {}

/// Write the runtime's records to stderr. A second call changes what is written and how.
///
/// What workers print is written at any level, unless the filter names ``rm_process::output``.
///
/// Parameters
/// ----------
/// filter : str
///     Directives ``level`` and ``target=level``, separated by commas; the levels are off, error,
///     warn, info, debug and trace.
/// format : str
///     ``"text"`` or ``"json"``.
///
/// Raises
/// ------
/// ValueError
///     The filter or the format is none.
#[pyfunction(name = "_init_logging")]
pub(crate) fn init_logging(filter: &str, format: &str) -> PyResult<()> {
    init(filter, format).map_err(|error| PyValueError::new_err(error.to_string()))
}

/// Writes records as the environment asks for them, unless that has been decided before. A program
/// that has a subscriber of its own keeps it.
///
/// # Errors
/// [`LogError`] if a variable has a value that it cannot have.
pub(crate) fn start_from_environment() -> Result<(), LogError> {
    let variable = |name| env::var(name).ok().filter(|value| !value.is_empty());
    match variable(FILTER_ENV) {
        Some(filter) if FILTER.get().is_none() => {
            init(&filter, variable(FORMAT_ENV).as_deref().unwrap_or("text"))
        }
        _ => Ok(()),
    }
}

fn init(filter: &str, format: &str) -> Result<(), LogError> {
    let filter = parse(filter)?;
    let as_json = match format {
        "text" => false,
        "json" => true,
        other => {
            let expected = "expected \"text\" or \"json\"";
            return Err(LogError(format!("{FORMAT_ENV}: no log format is {other:?}; {expected}")));
        }
    };
    AS_JSON.store(as_json, Ordering::Relaxed);
    let mut filter = Some(filter);
    let handle = FILTER.get_or_init(|| filter.take().and_then(install));
    if let (Some(handle), Some(filter)) = (handle, filter) {
        // The subscriber lives as long as this process.
        let _ = handle.reload(filter);
    }
    Ok(())
}

fn install(filter: EnvFilter) -> Option<reload::Handle<EnvFilter, Registry>> {
    let (filter, handle) = reload::Layer::new(filter);
    let json = Format::default().json().flatten_event(true);
    let records = Records {
        text: Format::default().with_ansi(false),
        json: json.with_current_span(false).with_span_list(false),
    };
    let written = tracing_subscriber::fmt::layer()
        .event_format(records)
        .with_writer(std::io::stderr)
        // Where stderr is closed there is nobody to tell.
        .log_internal_errors(false);
    let subscriber = Registry::default().with(filter).with(written);
    tracing::subscriber::set_global_default(subscriber).is_ok().then_some(handle)
}

/// The filter of a text, where it is one. Stricter than [`EnvFilter`], which takes a misspelt level
/// for the name of a target.
fn parse(text: &str) -> Result<EnvFilter, LogError> {
    let mut all = String::new();
    for directive in text.split(',').map(str::trim).filter(|directive| !directive.is_empty()) {
        let level = directive.rsplit_once('=').map_or(directive, |(_, level)| level);
        let is_level = LEVELS.contains(&level.to_ascii_lowercase().as_str());
        if !is_level || directive.parse::<tracing_subscriber::filter::Directive>().is_err() {
            let hint = did_you_mean(level, LEVELS);
            return Err(LogError(format!(
                "{FILTER_ENV}: {directive:?} is no filter{hint}; expected a level (off, error, \
                 warn, info, debug, trace) or target=level, several separated by commas"
            )));
        }
        all = format!("{all}{directive},");
    }
    if !text.contains(OUTPUT) {
        all = format!("{all}{OUTPUT}=info");
    }
    EnvFilter::builder().parse(all).map_err(|error| LogError(format!("{FILTER_ENV}: {error}")))
}

/// Writes lines of workers as what they are, and everything else as tracing-subscriber does.
struct Records {
    text: Format<Full>,
    json: Format<Json>,
}

impl<S, N> FormatEvent<S, N> for Records
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let as_json = AS_JSON.load(Ordering::Relaxed);
        if event.metadata().target() == OUTPUT {
            let mut line = Line::default();
            event.record(&mut line);
            let Line { node, session, text } = line;
            if !as_json {
                return writeln!(writer, "{node} | {text}");
            }
            if text.starts_with(RECORD) && serde_json::from_str::<IgnoredAny>(&text).is_ok() {
                let (node, session) = (json(&node), json(&session));
                return writeln!(writer, "{{\"node\":{node},\"session\":{session},{}", &text[1..]);
            }
        }
        match as_json {
            true => self.json.format_event(context, writer, event),
            false => self.text.format_event(context, writer, event),
        }
    }
}

fn json(text: &str) -> serde_json::Value {
    serde_json::Value::from(text)
}

/// A line that a worker has printed.
#[derive(Default)]
struct Line {
    node: String,
    session: String,
    text: String,
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "node" => value.clone_into(&mut self.node),
            "session" => value.clone_into(&mut self.session),
            _ => {}
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.text = format!("{value:?}");
        }
    }
}
