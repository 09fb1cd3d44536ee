//! The licences of what is linked into the wheel, as a file that goes into its metadata.
//!
//! Main function: [`write()`]. The texts are those in the packages as cargo has unpacked them. Whether
//! a licence is allowed at all is checked by `cargo xtask tidy`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package, PackageId};

use crate::cmd::{host, root};

/// Where the file goes; `license-files` in `pyproject.toml` finds it there.
const FILE: &str = "rm-ffi/LICENSE-THIRD-PARTY.txt";

/// What the names of files with licences begin with, in capitals.
const NAMES: [&str; 6] = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE"];

const HEAD: &str = "\
This package is under the MIT licence or the Apache License 2.0, at your choice. It contains the
following works of others, which are linked into its native module. Their licences follow the list.

the Rust standard library (MIT OR Apache-2.0), https://github.com/rust-lang/rust
";

/// Writes the file, if it would change.
///
/// # Errors
/// A package names no licence whose text can be had.
pub fn write() -> Result<()> {
    let metadata = MetadataCommand::new()
        .current_dir(root())
        .other_options(["--filter-platform".to_owned(), host()?])
        .exec()?;
    let mut works = Vec::new();
    for package in linked(&metadata, "rm-ffi")? {
        works.push(Work::read(package)?);
    }
    let own = |name: &str| fs::read_to_string(root().join(name)).context("cannot read a licence");
    let text = text_of(&works, &own("LICENSE-APACHE")?, &own("LICENSE-MIT")?)?;
    let path = root().join(FILE);
    if fs::read_to_string(&path).ok().as_deref() != Some(&*text) {
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Packages from elsewhere that are linked into `name`, by name and version.
fn linked<'a>(metadata: &'a Metadata, name: &str) -> Result<Vec<&'a Package>> {
    let resolve = metadata.resolve.as_ref().context("cargo has resolved nothing")?;
    let nodes: BTreeMap<_, _> = resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    let packages: BTreeMap<_, _> = metadata.packages.iter().map(|p| (&p.id, p)).collect();
    let root = metadata.workspace_packages().into_iter().find(|package| package.name == name);
    let mut seen: BTreeSet<&PackageId> = BTreeSet::new();
    let mut next = vec![&root.with_context(|| format!("there is no package {name}"))?.id];
    while let Some(id) = next.pop() {
        // Macros run in the compiler, and are no part of what it makes.
        let runs_here = packages[id].targets.iter().any(cargo_metadata::Target::is_proc_macro);
        if runs_here || !seen.insert(id) {
            continue;
        }
        let is_linked = |dep: &&cargo_metadata::NodeDep| {
            dep.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal)
        };
        next.extend(nodes[id].deps.iter().filter(is_linked).map(|dep| &dep.pkg));
    }
    let mut found: Vec<_> = seen.into_iter().map(|id| packages[id]).collect();
    found.retain(|package| package.source.is_some());
    found.sort_by_key(|package| (package.name.to_string(), package.version.clone()));
    Ok(found)
}

/// What has to be said of a package.
struct Work {
    name: String,
    licence: String,
    authors: String,
    home: String,
    texts: Vec<String>,
}

impl Work {
    fn read(package: &Package) -> Result<Self> {
        let folder = package.manifest_path.parent().context("a manifest lies in a folder")?;
        Ok(Self {
            name: format!("{} {}", package.name, package.version),
            licence: package.license.clone().unwrap_or_else(|| "see its text".to_owned()),
            authors: package.authors.join(", "),
            home: package.repository.clone().unwrap_or_default(),
            texts: texts_in(folder.as_std_path())?,
        })
    }
}

fn texts_in(folder: &Path) -> Result<Vec<String>> {
    let mut paths = Vec::new();
    for entry in
        fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?
    {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
        if path.is_file() && NAMES.iter().any(|start| name.starts_with(start)) {
            paths.push(path);
        }
    }
    paths.sort();
    let read = |path: std::path::PathBuf| {
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(String::from_utf8_lossy(&bytes).replace("\r\n", "\n").trim().to_owned())
    };
    paths.into_iter().map(read).collect()
}

/// The whole file: the list, then each text once. A package without a text gets the one that its
/// licence names.
fn text_of(works: &[Work], apache: &str, mit: &str) -> Result<String> {
    let (_, mit_terms) = mit.split_once("\n\n").context("LICENSE-MIT has no terms")?;
    let mit_terms = mit_terms.find("Permission is hereby").map(|start| &mit_terms[start..]);
    let mit_terms = mit_terms.context("LICENSE-MIT has no terms")?.trim();
    let mut out = HEAD.to_owned();
    let mut texts: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    texts.entry(apache.trim().to_owned()).or_default().push("the Rust standard library");
    for work in works {
        let Work { name, licence, home, .. } = work;
        out += &format!("{name} ({licence}), {home}\n");
        let standard = if !work.texts.is_empty() {
            work.texts.clone()
        } else if licence.contains("Apache-2.0") {
            vec![apache.trim().to_owned()]
        } else if licence.contains("MIT") {
            vec![format!("Copyright (c) {}\n\n{mit_terms}", work.authors)]
        } else {
            bail!("{name} has no text of its licence {licence}");
        };
        for text in standard {
            texts.entry(text).or_default().push(name);
        }
    }
    for (text, names) in texts {
        out += &format!("\n{:=<80}\n{}:\n\n{text}\n", "", names.join(", "));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIT: &str = "MIT License\n\nCopyright (c) us\n\nPermission is hereby granted";

    fn work(name: &str, licence: &str, texts: &[&str]) -> Work {
        Work {
            name: name.to_owned(),
            licence: licence.to_owned(),
            authors: "Ann".to_owned(),
            home: "https://example.org".to_owned(),
            texts: texts.iter().map(|text| (*text).to_owned()).collect(),
        }
    }

    #[test]
    fn equal_texts_stand_once_with_all_their_names() {
        let works = [work("a 1.0", "ISC", &["terms"]), work("b 2.0", "ISC", &["terms", "more"])];
        let text = text_of(&works, "apache", MIT).unwrap();
        assert!(text.contains("a 1.0 (ISC), https://example.org\nb 2.0 (ISC)"), "{text}");
        assert!(text.contains("=\na 1.0, b 2.0:\n\nterms\n"), "{text}");
        assert!(text.contains("=\nb 2.0:\n\nmore\n"), "{text}");
    }

    #[test]
    fn a_package_without_a_text_gets_that_of_its_licence() {
        let works = [work("a 1.0", "MIT OR Apache-2.0", &[]), work("b 2.0", "MIT", &[])];
        let text = text_of(&works, "apache", MIT).unwrap();
        assert!(text.contains("the Rust standard library, a 1.0:\n\napache"), "{text}");
        assert!(text.contains("b 2.0:\n\nCopyright (c) Ann\n\nPermission is hereby"), "{text}");
    }

    #[test]
    fn a_licence_without_a_text_to_be_had_is_an_error() {
        let error = text_of(&[work("a 1.0", "ISC", &[])], "apache", MIT).err().unwrap();
        assert_eq!(error.to_string(), "a 1.0 has no text of its licence ISC");
    }

    #[test]
    fn the_wheel_is_linked_with_what_its_crates_need_and_no_macros() {
        let metadata = MetadataCommand::new().current_dir(root()).exec().unwrap();
        let names: Vec<_> =
            linked(&metadata, "rm-ffi").unwrap().iter().map(|p| p.name.to_string()).collect();
        assert!(names.contains(&"pyo3".to_owned()), "{names:?}");
        assert!(!names.contains(&"pyo3-macros".to_owned()), "{names:?}");
        assert!(!names.contains(&"criterion".to_owned()), "{names:?}");
    }
}
