//! Reads one report of an exception: its frames, its type and message, and the exceptions that it
//! is chained or grouped with.
//!
//! Main function: [`read`]. How the report came to be printed is not its business.

use super::shape::{LONGEST_MESSAGE, exception_line, is_record, message_end};

const HEADER: &str = "Traceback (most recent call last):";
const GROUP_HEADER: &str = "  + Exception Group Traceback (most recent call last):";

/// Stands before each line of a group that is not one of its parts.
const GROUP_MARGIN: &str = "  | ";

const LINKS: &[&str] = &[
    "During handling of the above exception, another exception occurred:",
    "The above exception was the direct cause of the following exception:",
];

/// Most indented lines of a syntax error: its place, the source, the caret.
const LONGEST_SYNTAX_ERROR: usize = 4;

/// A whole report.
pub(super) struct Report<'t> {
    /// The type of the exception, of several in a chain the last.
    pub(super) type_name: &'t str,
    /// Its message.
    pub(super) message: String,
    /// The line after it.
    pub(super) end: usize,
}

/// Whether a traceback begins with this line.
pub(super) fn opens(line: &str) -> bool {
    line == HEADER || line == GROUP_HEADER
}

/// The beginning of the next report, if the words that chain it to the one before are at `at`.
pub(super) fn chained(lines: &[&str], at: usize) -> Option<usize> {
    match lines.get(at..at + 4)? {
        ["", link, "", next] if LINKS.contains(link) && opens(next) => Some(at + 3),
        _ => None,
    }
}

/// The report that begins at `at`.
///
/// # Errors
/// There is no whole one. The value is the line at which to go on.
pub(super) fn read<'t>(lines: &[&'t str], at: usize) -> Result<Report<'t>, usize> {
    read_one(lines, at).map(|report| follow_chain(lines, report))
}

fn follow_chain<'t>(lines: &[&'t str], mut whole: Report<'t>) -> Report<'t> {
    while let Some(next) = chained(lines, whole.end) {
        let Ok(report) = read_one(lines, next) else { break };
        whole = report;
    }
    whole
}

/// The report of which only the end is left at the beginning of the text.
pub(super) fn read_lost<'t>(lines: &[&'t str]) -> Option<Report<'t>> {
    let end = indented(lines, 1);
    let frames = lines.get(1..end)?;
    let is_frame = |line: &&str| line.starts_with("  File \"") && line.contains(", in ");
    if lines[0].ends_with(HEADER) || !frames.iter().any(is_frame) {
        return None;
    }
    exception(lines, end).map(|report| follow_chain(lines, report))
}

fn read_one<'t>(lines: &[&'t str], at: usize) -> Result<Report<'t>, usize> {
    let Some(line) = lines.get(at) else { return Err(at) };
    // The last line of other output may have no end: a progress bar, for instance.
    if line.ends_with(GROUP_HEADER) {
        return read_group(lines, at + 1);
    }
    if line.ends_with(HEADER) {
        let end = indented(lines, at + 1);
        return exception(lines, end).ok_or(end);
    }
    if line.starts_with("  File \"") && !line.contains(", in ") {
        let end = indented(&lines[..lines.len().min(at + LONGEST_SYNTAX_ERROR)], at);
        let report = exception(lines, end).filter(|report| is_syntax_error(report.type_name));
        return report.ok_or(at + 1);
    }
    read_remote(lines, at).ok_or(at + 1)
}

fn is_syntax_error(type_name: &str) -> bool {
    ["SyntaxError", "IndentationError", "TabError"].contains(&type_name)
}

/// What a pool of processes brings along from another one: the type `RemoteTraceback`, whose
/// message is a traceback in quotes.
fn read_remote<'t>(lines: &[&'t str], at: usize) -> Option<Report<'t>> {
    let (type_name, "") = exception_line(lines[at])? else { return None };
    if !type_name.ends_with("RemoteTraceback") || lines.get(at + 1) != Some(&"\"\"\"") {
        return None;
    }
    let quoted = lines[at + 2..].iter().position(|line| *line == "\"\"\"")?;
    let end = at + 2 + quoted;
    Some(Report { type_name, message: lines[at + 2..end].join("\n"), end: end + 1 })
}

/// The first line from `at` that is not indented.
fn indented(lines: &[&str], at: usize) -> usize {
    let rest = lines.get(at..).unwrap_or_default();
    at + rest.iter().take_while(|line| line.starts_with(' ')).count()
}

/// The exception whose type is at `at`, and its message.
fn exception<'t>(lines: &[&'t str], at: usize) -> Option<Report<'t>> {
    let (type_name, first) = exception_line(lines.get(at)?)?;
    if let Some(report) = read_remote(lines, at) {
        return Some(report);
    }
    let end = message_end(lines, at + 1);
    let mut message = first.to_owned();
    for line in &lines[at + 1..end] {
        message.push('\n');
        message.push_str(line);
    }
    message.truncate(message.trim_end().len());
    Some(Report { type_name, message, end })
}

/// The group whose header stands before `at`. It is whole with the rule that closes its parts.
fn read_group<'t>(lines: &[&'t str], at: usize) -> Result<Report<'t>, usize> {
    let end = group_end(lines, at)?;
    let own = lines[at..end].iter().take_while(|line| !line.starts_with("  +"));
    let mut own = own
        .map(|line| line.strip_prefix(GROUP_MARGIN).unwrap_or(line))
        .skip_while(|line| line.starts_with(' '));
    let Some((type_name, start)) = own.next().and_then(exception_line) else { return Err(end) };
    let message = std::iter::once(start).chain(own).collect::<Vec<_>>().join("\n");
    Ok(Report { type_name, message: message.trim_end().to_owned(), end })
}

/// The line after the rule that closes the group whose lines begin at `at`.
fn group_end(lines: &[&str], at: usize) -> Result<usize, usize> {
    let in_margin =
        |line: &&str| line.starts_with("  ") && line.trim_start().starts_with(['|', '+']);
    let mut end = indented(lines, at);
    while !lines[at..end].last().is_some_and(|line| is_closing_rule(line)) {
        // Python before 3.13 prints the second line of a message in a group without the margin.
        let gap = lines[end..].iter().take(LONGEST_MESSAGE);
        let mut gap = gap.take_while(|line| !opens(line) && !is_record(line));
        end = match gap.position(in_margin) {
            Some(length) => indented(lines, end + length),
            None => return Err(end),
        };
    }
    Ok(end)
}

fn is_closing_rule(line: &str) -> bool {
    let dashes = line.trim_start().strip_prefix('+').unwrap_or_default();
    !dashes.is_empty() && dashes.bytes().all(|byte| byte == b'-')
}
