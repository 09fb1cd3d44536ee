//! What is wrong with a manifest, and where.
//!
//! Main type: [`Problem`]. Problems are collected, so that one look at a manifest reports all of
//! them. Nothing is checked here.

use std::fmt;

use rm_core::did_you_mean;
use serde::Serialize;

/// Which rule a manifest breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ProblemKind {
    /// The manifest is of a version that this runtime does not read.
    Version,
    /// A field that must be there is not.
    Missing,
    /// A field has a value of the wrong type or out of its range.
    Value,
    /// A text that cannot be a node's id.
    NodeId,
    /// Two nodes have the same id.
    DuplicateNode,
    /// A connection names a node that there is not.
    DanglingConnection,
    /// A connection leads from a node to itself.
    SelfConnection,
    /// The same connection is given twice.
    DuplicateConnection,
    /// The connections lead in a circle.
    Cycle,
    /// There is no such node type. Python raises `KeyError` for it.
    UnknownNodeType,
    /// A node cannot run by the executor that the manifest asks for.
    Executor,
    /// A node of a registered type does not take a parameter, or lacks one.
    Parameter,
    /// A connection leads into a source or out of a sink.
    Connection,
    /// A connection names a port that a node does not have.
    Port,
    /// A field makes no sense for the node that has it, or beside another one.
    Setting,
    /// The machine lacks what a node needs.
    Capability,
    /// The interpreter that is asked for is not there.
    Interpreter,
    /// Two connected nodes have no type of data in common.
    DataType,
    /// Two connected nodes have a type of data in common, but no format of it.
    Format,
    /// The pipeline needs more than a limit allows.
    Limit,
    /// Stands for the problems after the first hundred.
    Further,
}

/// One thing that is wrong with a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Problem {
    /// Which rule is broken.
    pub kind: ProblemKind,
    /// Where, as a JSON pointer (RFC 6901) such as `/nodes/2/params/target_rate`; empty for the
    /// manifest as a whole.
    pub pointer: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// One thing in a manifest that is probably a mistake, but stops nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Warning {
    /// Where, as a JSON pointer.
    pub pointer: String,
    /// What is odd, and what may have been meant.
    pub message: String,
}

fn write_at(f: &mut fmt::Formatter<'_>, pointer: &str, message: &str) -> fmt::Result {
    let place = if pointer.is_empty() { "manifest" } else { pointer };
    write!(f, "{place}: {message}")
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_at(f, &self.pointer, &self.message)
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_at(f, &self.pointer, &self.message)
    }
}

/// The problems as part of an error message: one behind a blank, several on a line each.
pub(crate) fn list(problems: &[Problem]) -> String {
    match problems {
        [only] => format!(" {only}"),
        all => all.iter().map(|problem| format!("\n  {problem}")).collect(),
    }
}

/// Most problems that are told one by one. It bounds the work that a hostile manifest causes.
const MAX_PROBLEMS: usize = 100;

/// Collects problems and warnings.
#[derive(Debug, Default)]
pub(crate) struct Report {
    problems: Vec<Problem>,
    further: usize,
    /// What is odd but stops nothing.
    pub(crate) warnings: Vec<Warning>,
}

impl Report {
    pub(crate) fn problem(
        &mut self,
        kind: ProblemKind,
        pointer: impl Into<String>,
        message: impl Into<String>,
    ) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(Problem { kind, pointer: pointer.into(), message: message.into() });
        } else {
            self.further += 1;
        }
    }

    pub(crate) fn warning(&mut self, pointer: impl Into<String>, message: impl Into<String>) {
        self.warnings.push(Warning { pointer: pointer.into(), message: message.into() });
    }

    /// `; did you mean "…"?`, as long as there is room for the problem that it belongs to.
    pub(crate) fn hint<'a>(
        &self,
        name: &str,
        candidates: impl IntoIterator<Item = &'a str>,
    ) -> String {
        if self.problems.len() < MAX_PROBLEMS {
            did_you_mean(name, candidates)
        } else {
            String::new()
        }
    }

    /// Whether there is no problem so far.
    pub(crate) fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }

    /// The warnings if there is no problem, else all problems.
    pub(crate) fn finish(mut self) -> Result<Vec<Warning>, Vec<Problem>> {
        if self.problems.is_empty() {
            return Ok(self.warnings);
        }
        if self.further > 0 {
            self.problems.push(Problem {
                kind: ProblemKind::Further,
                pointer: String::new(),
                message: format!("{} further problems", self.further),
            });
        }
        Err(self.problems)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_after_the_first_hundred_are_counted() {
        let mut report = Report::default();
        for n in 0..1_000 {
            report.problem(ProblemKind::Value, format!("/nodes/{n}"), "wrong");
        }
        assert_eq!(report.hint("verison", ["version"]), "");
        let problems = report.finish().unwrap_err();
        assert_eq!(problems.len(), MAX_PROBLEMS + 1);
        let last = problems.last().unwrap();
        assert_eq!(last.kind, ProblemKind::Further);
        assert_eq!(last.to_string(), "manifest: 900 further problems");
    }

    #[test]
    fn one_problem_stays_on_the_line_and_several_get_a_line_each() {
        let problem = |pointer: &str| Problem {
            kind: ProblemKind::Value,
            pointer: pointer.to_owned(),
            message: "wrong".to_owned(),
        };
        assert_eq!(list(&[problem("/a")]), " /a: wrong");
        assert_eq!(list(&[problem("/a"), problem("")]), "\n  /a: wrong\n  manifest: wrong");
    }
}
