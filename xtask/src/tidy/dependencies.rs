//! Each dependency has a reason written above it, and somebody who uses it.
//!
//! A comment counts for all lines below it up to the next empty one. The workspace's own crates
//! need no reason.

use std::collections::BTreeSet;

use anyhow::{Context, Result};

use super::directions::Crate;
use super::files::Source;
use super::unsafe_code::{code_only, words};

/// Dependencies without a reason, without a crate that names them, or named by a crate whose code
/// does not mention them.
///
/// # Errors
/// The manifest is not TOML, or has no `[workspace.dependencies]`.
pub fn check(manifest: &str, crates: &[Crate], sources: &[Source]) -> Result<Vec<String>> {
    let table: toml::Table = manifest.parse().context("Cargo.toml is not TOML")?;
    let declared = table
        .get("workspace")
        .and_then(|workspace| workspace.get("dependencies"))
        .and_then(toml::Value::as_table)
        .context("Cargo.toml has no [workspace.dependencies]")?;
    let external: BTreeSet<_> = declared
        .iter()
        .filter(|(_, value)| value.get("path").is_none())
        .map(|(key, _)| key.as_str())
        .collect();
    let mut problems = without_reason(manifest, &external);
    for key in declared.keys() {
        let is_named = |krate: &Crate| krate.dependencies.iter().any(|d| d.key == *key);
        if !crates.iter().any(is_named) {
            problems.push(format!("no crate depends on {key}"));
        }
    }
    problems.extend(crates.iter().flat_map(|krate| unmentioned(krate, sources)));
    Ok(problems)
}

fn without_reason(manifest: &str, external: &BTreeSet<&str>) -> Vec<String> {
    let mut problems = Vec::new();
    let mut inside = false;
    let mut reason = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.trim_end() == "[workspace.dependencies]";
            reason = false;
        } else if line.trim().is_empty() {
            reason = false;
        } else if line.starts_with('#') {
            reason = true;
        } else if inside && !reason {
            // Continuation lines of a list are indented or closing brackets: no key of ours.
            let key = line.split([' ', '=', '.']).next().unwrap_or_default();
            if external.contains(key) {
                problems.push(format!("{key} has no comment above it that says why it is there"));
            }
        }
    }
    problems
}

fn unmentioned(krate: &Crate, sources: &[Source]) -> Vec<String> {
    let own = sources.iter().filter(|source| source.path.starts_with(&krate.folder));
    let code: Vec<_> = own
        .filter(|source| source.is_rust())
        .map(|source| code_and_doctests(&source.text))
        .collect();
    let mentioned: BTreeSet<_> = code.iter().flat_map(|code| words(code)).collect();
    let unused = |key: &str| !mentioned.contains(key.replace('-', "_").as_str());
    let keys: BTreeSet<_> = krate.dependencies.iter().map(|d| d.key.as_str()).collect();
    keys.into_iter()
        .filter(|key| unused(key))
        .map(|key| format!("{} depends on {key}, but its code does not mention it", krate.name))
        .collect()
}

/// Code, together with the documentation, whose examples may be the only ones to use something.
fn code_and_doctests(text: &str) -> String {
    let is_doc = |line: &&str| line.starts_with("///") || line.starts_with("//!");
    let docs = text.lines().map(str::trim_start).filter(is_doc);
    docs.fold(code_only(text), |code, line| code + "\n" + line)
}

#[cfg(test)]
mod tests {
    use super::super::directions::Dependency;
    use super::*;

    const MANIFEST: &str = "
[workspace.dependencies]
rm-core = { path = \"rm-core\" }

# Slices.
bytes = \"1\"
# Errors.
thiserror = { version = \"2\", features = [
    \"std\",
] }
";

    fn krate(name: &str, keys: &[&str]) -> Crate {
        let dependency = |key: &&str| Dependency {
            name: (*key).to_owned(),
            key: (*key).to_owned(),
            ..Dependency::default()
        };
        Crate {
            name: name.to_owned(),
            folder: format!("{name}/"),
            dependencies: keys.iter().map(dependency).collect(),
            ..Crate::default()
        }
    }

    fn check_manifest(manifest: &str, keys: &[&str], code: &str, expected: &[&str]) {
        let source = Source { path: "rm-ipc/src/lib.rs".to_owned(), text: code.to_owned() };
        let problems = check(manifest, &[krate("rm-ipc", keys)], &[source]).unwrap();
        assert_eq!(problems, expected);
    }

    const ALL: [&str; 3] = ["rm-core", "bytes", "thiserror"];
    const CODE: &str = "use bytes::Bytes; use rm_core::X; #[derive(thiserror::Error)]";

    #[test]
    fn explained_and_used_dependencies_pass() {
        check_manifest(MANIFEST, &ALL, CODE, &[]);
        check_manifest(MANIFEST, &ALL, "/// use bytes;\nuse rm_core::thiserror;", &[]);
    }

    #[test]
    fn a_dependency_without_a_reason_is_named() {
        let manifest = MANIFEST.replace("# Slices.", "");
        let problem = "bytes has no comment above it that says why it is there";
        check_manifest(&manifest, &ALL, CODE, &[problem]);
    }

    #[test]
    fn a_reason_ends_at_an_empty_line() {
        let manifest = MANIFEST.replace("# Errors.", "");
        let problem = "thiserror has no comment above it that says why it is there";
        check_manifest(&manifest, &ALL, CODE, &[problem]);
    }

    #[test]
    fn a_dependency_that_no_crate_names_is_named() {
        check_manifest(MANIFEST, &ALL[..2], CODE, &["no crate depends on thiserror"]);
    }

    #[test]
    fn a_dependency_that_no_code_mentions_is_named() {
        check_manifest(
            MANIFEST,
            &ALL,
            "use rm_core::X; // bytes\nuse thiserror::Error;",
            &["rm-ipc depends on bytes, but its code does not mention it"],
        );
    }

    #[test]
    fn a_manifest_without_the_table_is_an_error() {
        assert!(check("[package]\n", &[], &[]).is_err());
        assert!(check("[", &[], &[]).is_err());
    }
}
