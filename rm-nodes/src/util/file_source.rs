//! `FileSourceNode`: plays back what `FileSinkNode` has recorded, with its timing or as fast as it goes.
//!
//! In real time each item is given when as much time has passed since the first one as when it was
//! recorded, by timestamps or by when items came; lateness does not add up. Payload, metadata,
//! correlation and trace are those of the recording; session, sequence, epoch and origin are not, since
//! they belong to the session that was recorded. A deadline is as far away as it was. Truncated files are
//! played up to their last whole item.

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use rm_core::{
    DataType, Node, NodeContext, NodeError, NodeFormats, NodeMetadata, NodeRegistry, Output,
    ParameterKind, ParameterSpec, Produced, RegistryError, RuntimeData,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::recording::{Reader, Record, RecordingError};
use crate::define::{changed, define_with_formats, wrong};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Pace {
    Realtime,
    Fast,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum By {
    Timestamp,
    Arrival,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Restamp {
    Original,
    Now,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Truncated {
    Accept,
    Error,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
struct Params {
    path: String,
    pace: Pace,
    by: By,
    speed: f64,
    max_gap_ms: Option<u64>,
    start_ms: u64,
    end_ms: Option<u64>,
    restamp: Restamp,
    #[serde(rename = "loop")]
    passes: u64,
    truncated: Truncated,
    max_item_bytes: u64,
}

/// When items are due: how far they are from where time is counted from.
#[derive(Default)]
struct Schedule {
    /// Where time is counted from, by both clocks.
    base: Option<(Instant, SystemTime)>,
    /// From there to the current item, in the recording's time.
    offset: Duration,
    /// The recorded time of the current item, and how long after the one before that was.
    last: Option<Duration>,
    gap: Duration,
}

impl Schedule {
    /// Goes on to an item of this recorded time. The first one of a later pass follows the last one of
    /// the pass before as that followed the one before it.
    fn advance(&mut self, time: Duration, max_gap: Duration, is_later_pass: bool) {
        match self.last {
            Some(last) => self.gap = time.saturating_sub(last).min(max_gap),
            None if is_later_pass => {}
            None => self.gap = Duration::ZERO,
        }
        self.offset = self.offset.saturating_add(self.gap);
        // Times that go back are played as if they stood still.
        self.last = Some(self.last.unwrap_or_default().max(time));
    }

    /// How long after the base the current item is due.
    fn due_after(&self, speed: f64) -> Duration {
        let seconds = self.offset.as_secs_f64() / speed;
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }

    /// Counts time from the current item.
    fn rebase(&mut self, speed: f64) {
        let passed = self.due_after(speed);
        let base = self.base.take();
        self.base = base
            .and_then(|(now, wall)| Some((now.checked_add(passed)?, wall.checked_add(passed)?)));
        self.offset = Duration::ZERO;
    }
}

struct FileSource {
    params: Params,
    path: PathBuf,
    reader: Option<Reader>,
    schedule: Schedule,
    /// What is due next.
    next: Option<Record>,
    /// The recorded time of the first item in the file.
    first: Option<Duration>,
    /// Whole passes, and items of this one.
    passes: u64,
    items: u64,
}

impl FileSource {
    fn new(params: Params, context: &NodeContext) -> Result<Self, NodeError> {
        if params.path.is_empty() {
            return Err(wrong("path", "\"\"", "the path of a recording"));
        }
        let path = context.resolve_path(&params.path);
        Ok(Self {
            params,
            path,
            reader: None,
            schedule: Schedule::default(),
            next: None,
            first: None,
            passes: 0,
            items: 0,
        })
    }

    fn error(&self, action: &'static str, error: RecordingError) -> NodeError {
        NodeError::File { action, path: self.path.clone(), source: Box::new(error) }
    }

    /// The recorded time that an item is played by.
    fn time_of(&self, record: &Record) -> Duration {
        let timestamp = record.header.timestamp;
        match self.params.by {
            By::Arrival => record.at,
            By::Timestamp => timestamp.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default(),
        }
    }

    /// Reads the next item that is to be played, also of the next pass; `None` where there is no more.
    fn read(&mut self) -> Result<Option<Record>, NodeError> {
        const OPEN: &str = "the file is opened first";
        self.initialize()?;
        loop {
            let read = match self.reader.as_mut().expect(OPEN).next() {
                Err(RecordingError::Truncated { .. })
                    if self.params.truncated == Truncated::Accept =>
                {
                    None
                }
                read => read.map_err(|error| self.error("read", error))?,
            };
            if let Some(record) = read {
                let time = self.time_of(&record);
                let since = time.saturating_sub(*self.first.get_or_insert(time));
                if since < Duration::from_millis(self.params.start_ms) {
                    continue;
                }
                if self.params.end_ms.is_none_or(|end| since < Duration::from_millis(end)) {
                    self.items += 1;
                    return Ok(Some(record));
                }
            }
            self.passes += 1;
            // How many there are may have been lowered, and 0 is without end. A recording without items
            // would go round for ever.
            let last = self.params.passes;
            if (last > 0 && self.passes >= last) || self.items == 0 {
                return Ok(None);
            }
            self.items = 0;
            self.schedule.last = None;
            let rewound = self.reader.as_mut().expect(OPEN).rewind();
            rewound.map_err(|error| self.error("read", error))?;
        }
    }

    /// Gives the next item, if it is due at `now`, which is the moment `wall`.
    fn step(
        &mut self,
        (now, wall): (Instant, SystemTime),
        output: &mut Output,
    ) -> Result<Produced, NodeError> {
        let Params { pace, speed, max_gap_ms, restamp, .. } = self.params;
        if self.next.is_none() {
            let Some(record) = self.read()? else { return Ok(Produced::End) };
            let time = self.time_of(&record);
            let max_gap = max_gap_ms.map_or(Duration::MAX, Duration::from_millis);
            self.schedule.advance(time, max_gap, self.passes > 0);
            self.next = Some(record);
        }
        let (base, base_wall) = *self.schedule.base.get_or_insert((now, wall));
        let mut played = wall;
        if pace == Pace::Realtime {
            let after = self.schedule.due_after(speed);
            let due = base.checked_add(after).zip(base_wall.checked_add(after));
            let Some((due, due_wall)) = due else {
                let message = format!(
                    "the next item of {} is due in more years than can be counted; max_gap_ms \
                     shortens pauses",
                    self.path.display()
                );
                return Err(NodeError::Failed { message, source: None });
            };
            if due > now {
                return Ok(Produced::At(due));
            }
            played = due_wall;
        }
        let Some(Record { mut header, payload, .. }) = self.next.take() else {
            return Ok(Produced::More);
        };
        let recorded = header.timestamp;
        if let Some(deadline) = header.deadline {
            let left = deadline.duration_since(recorded).unwrap_or_default();
            header.deadline = played.checked_add(left);
        }
        if restamp == Restamp::Now {
            header.timestamp = played;
        }
        (header.session_id, header.origin) = (None, None);
        (header.sequence, header.epoch) = (0, 0);
        output.push(RuntimeData::from_parts(header, payload)?);
        Ok(Produced::More)
    }
}

impl Node for FileSource {
    fn initialize(&mut self) -> Result<(), NodeError> {
        if self.reader.is_none() {
            let opened = Reader::open(&self.path, self.params.max_item_bytes);
            self.reader = Some(opened.map_err(|error| self.error("open", error))?);
        }
        Ok(())
    }

    fn process(&mut self, input: RuntimeData, _: &mut Output) -> Result<(), NodeError> {
        Err(NodeError::Input {
            found: input.data_type().to_string(),
            expected: "nothing; it is a source".to_owned(),
        })
    }

    fn produce(&mut self, output: &mut Output) -> Result<Produced, NodeError> {
        self.step((Instant::now(), SystemTime::now()), output)
    }

    fn set_params(&mut self, params: &Value) -> Result<(), NodeError> {
        let new: Params = changed(&self.params, params)?;
        let fixed = |params: &Params| (params.path.clone(), params.by, params.max_item_bytes);
        if fixed(&new) != fixed(&self.params) {
            return Err(NodeError::FixedParams);
        }
        // What is to come is counted from the current item on.
        self.schedule.rebase(self.params.speed);
        if new.pace != self.params.pace {
            self.schedule.base = None;
        }
        self.params = new;
        Ok(())
    }
}

pub(crate) fn register(registry: &mut NodeRegistry) -> Result<(), RegistryError> {
    let word = |name: &str, choices: [&'static str; 2], description: &str| {
        ParameterSpec::optional(name, ParameterKind::String, choices[0], description)
            .choices(choices)
    };
    let metadata = NodeMetadata {
        name: "FileSourceNode".to_owned(),
        version: "1.0.0".to_owned(),
        description:
            "plays back what FileSinkNode has recorded, with its timing or as fast as it goes"
                .to_owned(),
        parameters: vec![
            ParameterSpec::required("path", ParameterKind::String, "the recording"),
            word("pace", ["realtime", "fast"], "whether items are given in their time or at once"),
            word(
                "by",
                ["timestamp", "arrival"],
                "which recorded times real time goes by: the items' timestamps, or when they came to \
                 the recorder",
            ),
            ParameterSpec::optional(
                "speed",
                ParameterKind::Float,
                1.0,
                "how many seconds of the recording are played in one second",
            )
            .range(0.001, 1_000.0),
            ParameterSpec {
                nullable: true,
                ..ParameterSpec::optional(
                    "max_gap_ms",
                    ParameterKind::Integer,
                    Value::Null,
                    "a longer pause between two items is shortened to this; null for none",
                )
                .range(0.0, 1e12)
                .unit("ms")
            },
            ParameterSpec::optional(
                "start_ms",
                ParameterKind::Integer,
                0,
                "where in the recording to begin, counted from its first item",
            )
            .range(0.0, 1e12)
            .unit("ms"),
            ParameterSpec {
                nullable: true,
                ..ParameterSpec::optional(
                    "end_ms",
                    ParameterKind::Integer,
                    Value::Null,
                    "the first item that is so long after the first one, or longer, is not played, nor \
                     what follows it; null to play to the end",
                )
                .range(0.0, 1e12)
                .unit("ms")
            },
            word(
                "restamp",
                ["original", "now"],
                "whether items keep their timestamps, or get those of when they are played; deadlines \
                 are moved in either case",
            ),
            ParameterSpec::optional(
                "loop",
                ParameterKind::Integer,
                1,
                "how many times the recording is played; 0 for without end",
            )
            .range(0.0, 9_007_199_254_740_991.0),
            word(
                "truncated",
                ["error", "accept"],
                "what becomes of a recording without its end, once its whole items have been played",
            ),
            ParameterSpec::optional(
                "max_item_bytes",
                ParameterKind::Integer,
                268_435_456,
                "an item with a longer payload is an error",
            )
            .range(0.0, f64::from(u32::MAX))
            .unit("bytes"),
        ],
        produces: DataType::ALL.to_vec(),
        source: true,
        ..NodeMetadata::default()
    };
    let formats = |_: &Params, _: &_| NodeFormats::source(DataType::ALL.iter().copied());
    define_with_formats(registry, metadata, formats, FileSource::new)
}

#[cfg(test)]
mod tests;
