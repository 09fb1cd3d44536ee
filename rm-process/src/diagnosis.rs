//! What a dead process said about its end: reads Python's traceback, faulthandler's stacks and the
//! last words of C++ and Rust code out of the last output to stderr.
//!
//! Main function: [`diagnose`], giving a [`Diagnosis`]. It is pure and linear in the length of the
//! text, which may begin anywhere and contain anything. It knows only the text: how the process
//! ended is for the caller to compare with it.

mod shape;
mod stacks;
mod traceback;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use shape::{Preamble, exception_line};
use traceback::Report;

/// What the last output of a process says about its end.
///
/// Where both are there, the exception came first: either the interpreter broke down while it ended
/// because of it, or it had been printed and handled. The signal that ended the process tells.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Diagnosis {
    /// The traceback that explains most, if there is a whole one; its `origin` says whether it can
    /// be the cause.
    pub exception: Option<PythonException>,
    /// What faulthandler or the interpreter printed on a fatal error.
    pub fatal: Option<FatalError>,
    /// What C++ or Rust code printed last before it aborted the process: the line beginning with
    /// `terminate called` or `memory allocation of`, and what follows it.
    pub abort: Option<String>,
}

/// A Python exception as it was printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PythonException {
    /// Its type as printed, such as `numpy.exceptions.AxisError`; of several in a chain the last.
    pub type_name: String,
    /// Its message with its notes; empty if it has none.
    pub message: String,
    /// All of what was printed, the message and the exceptions chained or grouped with it included.
    pub traceback: String,
    /// How it came to be printed.
    pub origin: Origin,
}

/// How a traceback came to be printed, as far as the text tells.
///
/// Python prints an uncaught exception as almost the last thing that it does. Only what belongs to
/// the interpreter's end may follow: exceptions of other threads, in finalisers, `atexit` functions
/// and tasks that nobody awaited, warnings of Python, blank lines, a fatal error. A line of any
/// other kind shows that the process went on, so the exception had been handled. A message may have
/// several lines, and up to 64 that follow are taken for it, unless they look like log records.
///
/// A program can print a traceback itself and then end. Only the exit code tells this apart: the
/// interpreter ends with 1 after an uncaught exception.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Origin {
    /// It ends the output: nobody caught it.
    Uncaught,
    /// The worker's loop printed it as the reason for which it failed.
    Worker,
    /// It ends the output, but directly follows a log record of an error: it was logged, or it is
    /// uncaught and happened right after the record.
    Logged,
    /// It ended a thread other than the main one; the process went on.
    Thread,
    /// Other output followed: it was handled.
    Handled,
}

/// A fatal error of the interpreter, or a signal that faulthandler caught.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FatalError {
    /// Its first line, such as `Fatal Python error: Segmentation fault`; empty if that is lost.
    pub headline: String,
    /// The rest: the stacks of all threads, the most recent call first.
    pub stacks: String,
    /// Whether nothing else follows. If something does, a descendant with the same stderr may have
    /// printed one or the other; a headline that fits the signal of the process is still its own.
    pub ends_output: bool,
}

/// Reads the last output of a process, which may begin in the middle of a line.
///
/// ```
/// use rm_process::diagnosis::{Origin, diagnose};
///
/// let found = diagnose(
///     "loading\nTraceback (most recent call last):\n  File \"node.py\", line 3, in load\n    \
///      open(path)\nFileNotFoundError: [Errno 2] No such file or directory: 'model.bin'\n",
/// );
/// let exception = found.cause().expect("it ends the output");
/// assert_eq!(exception.type_name, "FileNotFoundError");
/// assert_eq!(exception.origin, Origin::Uncaught);
/// ```
pub fn diagnose(stderr: &str) -> Diagnosis {
    let text = without_colours(stderr);
    let lines: Vec<&str> = text.lines().collect();
    let mut reader = Reader { lines: &lines, ..Reader::default() };
    let mut at = reader.read_lost_beginning();
    while at < lines.len() {
        at = reader.step(at);
    }
    reader.finish()
}

impl PythonException {
    /// The type without its module, such as `AxisError`.
    pub fn name(&self) -> &str {
        last_component(&self.type_name)
    }

    /// Whether it can be what ended the process.
    pub fn can_be_cause(&self) -> bool {
        matches!(self.origin, Origin::Uncaught | Origin::Worker)
    }
}

impl Diagnosis {
    /// The exception, if it can be what ended the process.
    pub fn cause(&self) -> Option<&PythonException> {
        self.exception.as_ref().filter(|exception| exception.can_be_cause())
    }

    /// Whether something failed for want of memory, of this machine or of a device: a
    /// `MemoryError`, also as part of a chain or a group, or what numpy, torch, C++ and Rust make
    /// of it. Exceptions that were handled do not count.
    pub fn names_memory(&self) -> bool {
        let failed_allocation = |words: &String| {
            words.contains("std::bad_alloc") || words.starts_with("memory allocation of ")
        };
        self.names_device_memory()
            || self.abort.as_ref().is_some_and(failed_allocation)
            || self.any_exception(|type_name, message| match last_component(type_name) {
                "MemoryError" | "_ArrayMemoryError" => true,
                "OSError" => message.starts_with("[Errno 12]"),
                _ => message.contains("std::bad_alloc") || message.contains("DefaultCPUAllocator"),
            })
    }

    /// Whether torch found no memory on a device, which no limit of the process is to blame for.
    pub fn names_device_memory(&self) -> bool {
        self.any_exception(|type_name, _| last_component(type_name) == "OutOfMemoryError")
    }

    /// Whether something failed because the process had too many files open.
    pub fn names_open_files(&self) -> bool {
        self.any_exception(|_, message| {
            let whole_system = message.contains("in system");
            message.contains("[Errno 24]")
                || (message.contains("Too many open files") && !whole_system)
        })
    }

    /// Whether `is` holds for the type and message of any exception printed.
    fn any_exception(&self, is: impl Fn(&str, &str) -> bool) -> bool {
        let unhandled = |exception: &&PythonException| exception.origin != Origin::Handled;
        self.exception.as_ref().filter(unhandled).is_some_and(|exception| {
            let lines = exception.traceback.lines().map(shape::without_margin);
            lines.filter_map(exception_line).any(|(type_name, message)| is(type_name, message))
        })
    }
}

fn last_component(type_name: &str) -> &str {
    type_name.rsplit('.').next().unwrap_or(type_name)
}

/// The text without the escape sequences for colours.
fn without_colours(text: &str) -> Cow<'_, str> {
    const ESCAPE: &str = "\x1b[";
    if !text.contains(ESCAPE) {
        return Cow::Borrowed(text);
    }
    let mut pieces = text.split(ESCAPE);
    let mut plain = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let rest = piece.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';');
        match rest.strip_prefix('m') {
            Some(rest) => plain.push_str(rest),
            None => plain.extend([ESCAPE, piece]),
        }
    }
    Cow::Owned(plain)
}

/// Goes through the lines once and keeps the last candidate of each kind.
#[derive(Default)]
struct Reader<'t> {
    lines: &'t [&'t str],
    /// The last traceback in the main flow of output.
    last: Option<PythonException>,
    worker: Option<PythonException>,
    thread: Option<PythonException>,
    fatal: Option<FatalError>,
    abort: Option<String>,
    /// The last line in which a worker's loop says that it failed.
    worker_line: Option<usize>,
}

impl Reader<'_> {
    /// Takes what the text begins in the middle of. Gives the line at which to go on.
    fn read_lost_beginning(&mut self) -> usize {
        if let Some((fatal, end)) = stacks::read_lost(self.lines) {
            self.fatal = Some(fatal);
            return end;
        }
        if let Some(report) = traceback::read_lost(self.lines) {
            let end = report.end;
            self.last = Some(self.exception(0, &report, Origin::Uncaught));
            return end;
        }
        0
    }

    /// Takes what begins at `at`. Gives the line at which to go on.
    fn step(&mut self, at: usize) -> usize {
        if let Some((fatal, end)) = stacks::read(self.lines, at) {
            self.fatal = Some(fatal);
            return end;
        }
        if let Some((preamble, header)) = shape::preamble(self.lines, at) {
            return self.take_preamble(preamble, at, header);
        }
        let end = shape::skip_noise(self.lines, at);
        if end > at {
            return end;
        }
        match traceback::read(self.lines, at) {
            Ok(report) => {
                self.take_report(at, &report);
                report.end
            }
            Err(resume) => self.take_other(at, resume),
        }
    }

    fn take_preamble(&mut self, preamble: Preamble, at: usize, header: usize) -> usize {
        match traceback::read(self.lines, header) {
            Ok(report) => {
                if preamble == Preamble::Thread {
                    self.thread = Some(self.exception(at, &report, Origin::Thread));
                }
                report.end
            }
            // An exception without frames has no header.
            Err(_) if self.lines.get(header).is_some_and(|line| exception_line(line).is_some()) => {
                header + 1
            }
            Err(_) => header,
        }
    }

    fn take_report(&mut self, at: usize, report: &Report<'_>) {
        self.interrupt();
        let in_reach = |line: usize| at - line <= shape::LONGEST_MESSAGE;
        if self.worker_line.take().is_some_and(in_reach) {
            self.worker = Some(self.exception(at, report, Origin::Worker));
            return;
        }
        let logged = at > 0 && shape::is_error_record(self.lines[at - 1]);
        let origin = if logged || shape::is_error_record(self.lines[at]) {
            Origin::Logged
        } else {
            Origin::Uncaught
        };
        self.last = Some(self.exception(at, report, origin));
    }

    fn take_other(&mut self, at: usize, resume: usize) -> usize {
        let line = self.lines[at];
        if shape::is_abort(line) {
            let end = shape::message_end(self.lines, at + 1);
            self.abort = Some(self.lines[at..end].join("\n").trim_end().to_owned());
            return end;
        }
        self.interrupt();
        if shape::is_worker_failure(line) {
            self.worker_line = Some(at);
        } else if shape::is_record(line) {
            self.worker_line = None;
        }
        resume
    }

    /// The process has gone on after what came before.
    fn interrupt(&mut self) {
        if let Some(last) = &mut self.last {
            last.origin = Origin::Handled;
        }
        if let Some(fatal) = &mut self.fatal {
            fatal.ends_output = false;
        }
        self.abort = None;
    }

    fn exception(&self, start: usize, report: &Report<'_>, origin: Origin) -> PythonException {
        PythonException {
            type_name: report.type_name.to_owned(),
            message: report.message.clone(),
            traceback: self.lines[start..report.end].join("\n").trim_end().to_owned(),
            origin,
        }
    }

    fn finish(self) -> Diagnosis {
        let rank = |exception: &PythonException| match exception.origin {
            Origin::Uncaught => 4,
            Origin::Worker => 3,
            Origin::Logged => 2,
            Origin::Thread => 1,
            Origin::Handled => 0,
        };
        let candidates = [self.last, self.worker, self.thread];
        Diagnosis {
            exception: candidates.into_iter().flatten().max_by_key(rank),
            fatal: self.fatal,
            abort: self.abort,
        }
    }
}
