//! Rules for single files: each says at its head what it is for, none is too long, and the
//! changelog has a place for what comes next.
//!
//! Main type: [`Source`], a Rust or Python file of the repository.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::cmd::root;

/// The longest a file may be, in lines.
const LONGEST: usize = 700;
/// A file that a program of ours writes, which nobody reads from its beginning to its end.
const WRITTEN: &str = "rm-ffi/python/remotemedia/nodes.py";

/// A file that git knows or would take.
#[derive(Debug)]
pub struct Source {
    /// Relative to the root.
    pub path: String,
    /// Its content.
    pub text: String,
}

impl Source {
    /// All Rust and Python files, also those not yet committed, without what git ignores.
    ///
    /// # Errors
    /// git failed, or a file is not text.
    pub fn read_all() -> Result<Vec<Self>> {
        let output = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .args(["--", "*.rs", "*.py"])
            .current_dir(root())
            .output()
            .context("cannot start git")?;
        ensure!(
            output.status.success(),
            "`git ls-files` failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        let paths = String::from_utf8(output.stdout).context("a file name is not UTF-8")?;
        let mut sources = Vec::new();
        for path in paths.split_terminator('\0') {
            match fs::read_to_string(root().join(path)) {
                Ok(text) => sources.push(Self { path: path.to_owned(), text }),
                // Removed, and the removal is not yet committed.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(error).with_context(|| format!("cannot read {path}")),
            }
        }
        ensure!(!sources.is_empty(), "git knows no source files here");
        Ok(sources)
    }

    /// Whether it is Rust.
    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }
}

/// Files that do not open with what they are for.
pub fn check_heads(sources: &[Source]) -> Vec<String> {
    let headless = sources.iter().filter(|source| !has_head(source));
    headless
        .map(|source| {
            let expected = if source.is_rust() { "`//!` and a sentence" } else { "a docstring" };
            format!("{} does not open with {expected}", source.path)
        })
        .collect()
}

fn has_head(source: &Source) -> bool {
    let mut lines = source.text.lines().peekable();
    if source.is_rust() {
        return lines.next().is_some_and(|line| says_something(line, &["//!"]));
    }
    lines.next_if(|line| line.starts_with("#!"));
    lines.next().is_some_and(|line| says_something(line, &["\"\"\"", "r\"\"\""]))
}

fn says_something(line: &str, openings: &[&str]) -> bool {
    let rest = openings.iter().find_map(|opening| line.strip_prefix(opening));
    rest.is_some_and(|rest| rest.contains(char::is_alphabetic))
}

/// Files that are too long.
pub fn check_lengths(sources: &[Source]) -> Vec<String> {
    let lines = sources
        .iter()
        .filter(|source| source.path != WRITTEN)
        .map(|source| (source, source.text.lines().count()));
    lines
        .filter(|(_, lines)| *lines > LONGEST)
        .map(|(source, lines)| format!("{} has {lines} lines, more than {LONGEST}", source.path))
        .collect()
}

/// A changelog without a section for what comes next.
pub fn check_changelog(changelog: &str) -> Vec<String> {
    if changelog.lines().any(|line| line.trim_end() == "## [Unreleased]") {
        Vec::new()
    } else {
        vec!["CHANGELOG.md has no section `## [Unreleased]`".to_owned()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source { path: path.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn a_file_with_a_head_passes() {
        for (path, text) in [
            ("a.rs", "//! What it is for.\n"),
            ("a.py", "\"\"\"What it is for.\"\"\"\n"),
            ("a.py", "#!/usr/bin/env python3\nr\"\"\"What it is for.\n\"\"\"\n"),
        ] {
            assert!(check_heads(&[source(path, text)]).is_empty(), "{text}");
        }
    }

    #[test]
    fn a_file_without_a_head_is_named() {
        for (path, text) in [
            ("a.rs", ""),
            ("a.rs", "//!\n"),
            ("a.rs", "use std::fs;\n//! Too late.\n"),
            ("a.rs", "// An ordinary comment.\n"),
            ("a.py", ""),
            ("a.py", "import os\n\"\"\"Too late.\"\"\"\n"),
            ("a.py", "# A comment.\n"),
        ] {
            assert_eq!(check_heads(&[source(path, text)]).len(), 1, "{path}: {text}");
        }
    }

    #[test]
    fn a_long_file_is_named_with_its_length() {
        let fits = source("a.rs", &"x\n".repeat(LONGEST));
        let long = source("b.py", &"x\n".repeat(LONGEST + 1));
        assert_eq!(check_lengths(&[fits, long]), ["b.py has 701 lines, more than 700"]);
    }

    #[test]
    fn a_changelog_needs_a_place_for_what_comes_next() {
        assert!(check_changelog("# Changelog\n\n## [Unreleased]\n").is_empty());
        assert_eq!(check_changelog("# Changelog\n\n## [0.1.0]\n").len(), 1);
        assert_eq!(check_changelog("").len(), 1);
    }
}
