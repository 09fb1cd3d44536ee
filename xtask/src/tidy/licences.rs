//! Each package in the build has a licence that `deny.toml` allows, and comes from crates.io.
//!
//! The same rules as `cargo deny check licenses sources`, whose file this reads, without another
//! program to install. It trusts what a package says about itself.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use cargo_metadata::Package;
use serde::Deserialize;
use spdx::{Expression, ParseMode};

#[derive(Debug, Deserialize)]
struct Deny {
    licenses: Licenses,
}

#[derive(Debug, Deserialize)]
struct Licenses {
    allow: Vec<String>,
}

/// What is looked at of a package.
struct Licensed<'a> {
    name: &'a str,
    licence: Option<&'a str>,
    from_elsewhere: bool,
}

/// Packages whose licence is not allowed, and allowed licences that nobody has.
///
/// # Errors
/// `deny.toml` cannot be understood.
pub fn check(packages: &[Package], deny: &str) -> Result<Vec<String>> {
    let packages = packages.iter().map(|package| Licensed {
        name: package.name.as_str(),
        licence: package.license.as_deref(),
        from_elsewhere: package.source.as_ref().is_some_and(|source| !source.is_crates_io()),
    });
    check_licensed(packages, deny)
}

fn check_licensed<'a>(
    packages: impl Iterator<Item = Licensed<'a>>,
    deny: &str,
) -> Result<Vec<String>> {
    let deny: Deny = toml::from_str(deny).context("cannot understand deny.toml")?;
    let allow = deny.licenses.allow;
    let mut met = BTreeSet::new();
    let mut problems = Vec::new();
    for package in packages {
        let name = package.name;
        if package.from_elsewhere {
            problems.push(format!("{name} does not come from crates.io"));
        }
        let Some(licence) = package.licence else {
            problems.push(format!("{name} names no licence"));
            continue;
        };
        // Older packages write `MIT/Apache-2.0`.
        let Ok(expression) = Expression::parse_mode(licence, ParseMode::LAX) else {
            problems
                .push(format!("{name} has the licence {licence:?}, which is no SPDX expression"));
            continue;
        };
        met.extend(expression.requirements().map(|part| part.req.to_string()));
        if !expression.evaluate(|licence| allow.contains(&licence.to_string())) {
            problems.push(format!("{name} is under {licence}, which deny.toml does not allow"));
        }
    }
    let unmet = allow.iter().filter(|licence| !met.contains(*licence));
    problems.extend(unmet.map(|licence| format!("deny.toml allows {licence}, which nothing has")));
    Ok(problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DENY: &str = "[licenses]\nallow = [\"MIT\", \"Apache-2.0\"]\n";

    fn check_licence(licence: Option<&str>, from_elsewhere: bool) -> Vec<String> {
        let both =
            Licensed { name: "both", licence: Some("MIT OR Apache-2.0"), from_elsewhere: false };
        let one = Licensed { name: "one", licence, from_elsewhere };
        check_licensed([both, one].into_iter(), DENY).unwrap()
    }

    #[test]
    fn expressions_that_the_list_satisfies_pass() {
        for licence in ["MIT", "GPL-3.0-only OR MIT", "MIT/Apache-2.0", "MIT AND Apache-2.0"] {
            assert_eq!(check_licence(Some(licence), false), Vec::<String>::new(), "{licence}");
        }
    }

    #[test]
    fn expressions_that_it_does_not_satisfy_are_named() {
        for licence in ["GPL-3.0-only", "MIT AND GPL-3.0-only", "Apache-2.0 WITH LLVM-exception"] {
            let expected = format!("one is under {licence}, which deny.toml does not allow");
            assert_eq!(check_licence(Some(licence), false), [expected]);
        }
    }

    #[test]
    fn a_missing_or_meaningless_licence_is_named() {
        assert_eq!(check_licence(None, false), ["one names no licence"]);
        assert_eq!(
            check_licence(Some("mine"), false),
            ["one has the licence \"mine\", which is no SPDX expression"]
        );
    }

    #[test]
    fn a_package_from_elsewhere_is_named() {
        assert_eq!(check_licence(Some("MIT"), true), ["one does not come from crates.io"]);
    }

    #[test]
    fn an_allowance_that_nobody_needs_is_named() {
        let problems = check_licensed(std::iter::empty(), DENY).unwrap();
        assert_eq!(
            problems,
            [
                "deny.toml allows MIT, which nothing has",
                "deny.toml allows Apache-2.0, which nothing has"
            ]
        );
    }

    #[test]
    fn an_allow_list_that_cannot_be_read_is_an_error() {
        assert!(check_licensed(std::iter::empty(), "").is_err());
    }
}
