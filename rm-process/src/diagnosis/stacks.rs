//! Reads what faulthandler and the interpreter print on a fatal error.
//!
//! Main function: [`read`]. A dump of stacks without such an error, which a program can make at any
//! time, is not taken for one.

use super::FatalError;
use super::shape::is_record;

const RUNTIME_STATE: &str = "Python runtime state: ";

/// Most lines between the headline and the first stack.
const LONGEST_EXPLANATION: usize = 64;

/// The headline of a fatal error in this line, which may begin with the rest of other output.
pub(super) fn headline(line: &str) -> Option<&str> {
    // faulthandler.dump_traceback_later(exit=True) ends the process after a timeout.
    if line.starts_with("Timeout (") && line.ends_with(")!") {
        return Some(line);
    }
    line.find("Fatal Python error: ").map(|start| &line[start..])
}

/// The fatal error that begins at `at`, and the line after it.
pub(super) fn read(lines: &[&str], at: usize) -> Option<(FatalError, usize)> {
    let headline = headline(lines[at])?;
    let end = stacks_end(lines, first_stack(lines, at + 1));
    Some((fatal(headline, &lines[at + 1..end]), end))
}

/// The first stack of a fatal error whose headline stands before `at`. What the interpreter says of
/// itself may come between, such as an exception.
fn first_stack(lines: &[&str], at: usize) -> usize {
    if !lines.get(at).is_some_and(|line| line.starts_with(RUNTIME_STATE)) {
        return at;
    }
    let ends = |line: &str| is_stack(line) || headline(line).is_some() || is_record(line);
    let mut explanation = lines[at..].iter().take(LONGEST_EXPLANATION);
    let end = explanation.position(|line| ends(line)).map_or(at, |length| at + length);
    if is_stack(lines[end]) { end } else { at }
}

/// The fatal error of which only the last stacks are left at the beginning of the text.
pub(super) fn read_lost(lines: &[&str]) -> Option<(FatalError, usize)> {
    let is_frame = |line: &&str| line.starts_with("  File \"") && !line.contains(", in ");
    let in_frames = lines.len() > 1 && !is_stack(lines[0]) && is_frame(&lines[1]);
    let end = stacks_end(lines, 1);
    let stacks = lines.get(1..end)?;
    (in_frames && stacks.iter().any(|line| is_stack(line))).then(|| (fatal("", stacks), end))
}

fn fatal(headline: &str, stacks: &[&str]) -> FatalError {
    let stacks = stacks.join("\n").trim_matches('\n').trim_end().to_owned();
    FatalError { headline: headline.to_owned(), stacks, ends_output: true }
}

/// Whether the stack of a thread, of Python or of C, begins after this line.
fn is_stack(line: &str) -> bool {
    line.ends_with(" (most recent call first):")
}

fn stacks_end(lines: &[&str], at: usize) -> usize {
    let belongs = |line: &&&str| {
        line.is_empty()
            || line.starts_with("  ")
            || is_stack(line)
            || line.starts_with(RUNTIME_STATE)
            || line.starts_with("Extension modules: ")
            || line.starts_with("<no Python frame>")
    };
    let rest = lines.get(at..).unwrap_or_default();
    at + rest.iter().take_while(belongs).count()
}
