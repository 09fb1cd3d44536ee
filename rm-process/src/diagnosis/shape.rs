//! What kind of line it is: the words by which Python's reports, log records and the noise of an
//! interpreter's end are told apart.
//!
//! Main functions: [`exception_line`], [`message_end`], [`preamble`], [`skip_noise`]. Whole reports
//! are read by [`traceback`](super::traceback) and [`stacks`](super::stacks).

use super::{stacks, traceback};

/// Most lines that are taken for the rest of an exception's message. What is longer is no message,
/// but the output of a process that goes on.
pub(super) const LONGEST_MESSAGE: usize = 64;

/// The type and message in a line such as `pkg.SomeError: message` or `SomeError`.
pub(super) fn exception_line(line: &str) -> Option<(&str, &str)> {
    let (type_name, message) = line.split_once(": ").unwrap_or((line, ""));
    let is_name = |part: &str| {
        let mut letters = part.chars();
        letters.next().is_some_and(|c| c.is_alphabetic() || c == '_')
            && letters.all(|c| c.is_alphanumeric() || c == '_')
    };
    // A class made inside a function is called `function.<locals>.Class`.
    let is_part = |part: &str| is_name(part) || part == "<locals>" || part == "<lambda>";
    type_name.split('.').all(is_part).then_some((type_name, message))
}

/// The line without the margin that it has inside an exception group.
pub(super) fn without_margin(line: &str) -> &str {
    line.trim_start().strip_prefix("| ").unwrap_or(line)
}

/// The end of the message whose second line would be at `at`.
pub(super) fn message_end(lines: &[&str], at: usize) -> usize {
    let longest = lines.len().min(at + LONGEST_MESSAGE);
    let ends = |&index: &usize| {
        let line = lines[index];
        traceback::opens(line)
            || stacks::headline(line).is_some()
            || traceback::chained(lines, index).is_some()
            || preamble(lines, index).is_some()
            || is_warning(line)
            || is_record(line)
            || is_abort(line)
    };
    (at..longest).find(ends).unwrap_or(longest)
}

/// What a line says about the traceback after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Preamble {
    /// It ended a thread.
    Thread,
    /// It ended nothing.
    Ignored,
}

/// Whether lines about a traceback begin here, and the line after them.
pub(super) fn preamble(lines: &[&str], at: usize) -> Option<(Preamble, usize)> {
    let line = lines[at];
    let next_begins =
        |word: &str| lines.get(at + 1).is_some_and(|next| next.starts_with(word)).then_some(at + 2);
    // Of asyncio, printed or logged.
    if line.contains("exception was never retrieved") {
        return next_begins("future: <").map(|header| (Preamble::Ignored, header));
    }
    if line.contains("Exception in callback ") {
        return next_begins("handle: <").map(|header| (Preamble::Ignored, header));
    }
    if line.contains("Task was destroyed but it is pending!") {
        return next_begins("task: <").map(|header| (Preamble::Ignored, header));
    }
    if line.starts_with("Exception ignored in thread started by") {
        return Some((Preamble::Thread, at + 1));
    }
    if line.starts_with("Exception ignored ") || line == "Error in sys.excepthook:" {
        return Some((Preamble::Ignored, at + 1));
    }
    let thread = line.starts_with("Exception in thread ")
        && lines.get(at + 1).is_some_and(|next| traceback::opens(next));
    thread.then_some((Preamble::Thread, at + 1))
}

/// The end of what is blank or belongs to the interpreter's end, if such a thing begins here.
pub(super) fn skip_noise(lines: &[&str], at: usize) -> usize {
    let line = lines[at];
    if line.trim().is_empty() || line.starts_with("ResourceWarning: Enable tracemalloc") {
        at + 1
    } else if is_warning(line) {
        // The line of source that caused it.
        at + 1 + usize::from(lines.get(at + 1).is_some_and(|next| next.starts_with("  ")))
    } else {
        at
    }
}

/// Whether it is a warning as Python prints it, `node.py:3: ResourceWarning: unclosed file`.
fn is_warning(line: &str) -> bool {
    let Some((head, _)) = line.split_once("Warning: ") else { return false };
    let Some((place, category)) = head.rsplit_once(": ") else { return false };
    let number = place.rsplit_once(':').map_or("", |(_, number)| number);
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    is_number && category.chars().all(|c| c.is_alphanumeric() || "._".contains(c))
}

const LEVELS: &[&str] = &["DEBUG", "INFO", "WARN", "WARNING", "ERROR", "CRITICAL", "FATAL"];
const ERROR_LEVELS: &[&str] = &["ERROR", "CRITICAL", "FATAL"];

/// Whether it looks like a log record of any level.
pub(super) fn is_record(line: &str) -> bool {
    has_level(line, LEVELS)
}

/// Whether it looks like a log record of an error, as it stands before a traceback that was logged.
pub(super) fn is_error_record(line: &str) -> bool {
    has_level(line, ERROR_LEVELS)
}

/// Whether the line begins with one of `levels`, or with a number, as in a time, and has one of
/// them as a word among its first hundred letters.
fn has_level(line: &str, levels: &[&str]) -> bool {
    let line = line.trim_start_matches('[');
    let end = line.char_indices().nth(100).map_or(line.len(), |(end, _)| end);
    let mut words = line[..end].split(|c: char| !c.is_alphanumeric() && c != '_');
    let dated = line.starts_with(|c: char| c.is_ascii_digit());
    words.by_ref().next().is_some_and(|word| levels.contains(&word))
        || (dated && words.any(|word| levels.contains(&word)))
}

/// Whether C++ or Rust code says that it aborts the process.
pub(super) fn is_abort(line: &str) -> bool {
    line.starts_with("terminate called ")
        || (line.starts_with("memory allocation of ") && line.ends_with(" bytes failed"))
}

/// Whether a worker's loop says in which step of its node's life it failed, as in
/// `failed to process item 3: ValueError: no`.
pub(super) fn is_worker_failure(line: &str) -> bool {
    let Some((_, step)) = line.split_once("failed to ") else { return false };
    let Some((step, reason)) = step.split_once(": ") else { return false };
    let (step, item) = step.split_once(' ').unwrap_or((step, ""));
    let names_item = item.is_empty()
        || item.strip_prefix("item ").is_some_and(|n| n.bytes().all(|byte| byte.is_ascii_digit()));
    let names_step = ["load", "initialize", "process", "finish"].contains(&step);
    names_step && names_item && exception_line(reason).is_some() && !is_record(line)
}
