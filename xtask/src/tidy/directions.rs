//! Which crate may depend on which: the order of the floor plan.
//!
//! Main type: [`Crate`], what these checks need to know of a package. Dev-dependencies follow the
//! same rules as all others.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Package};

/// Each crate with those of the workspace that it may name.
const ALLOWED: [(&str, &[&str]); 7] = [
    ("rm-core", &[]),
    ("rm-ipc", &["rm-core"]),
    ("rm-process", &["rm-core"]),
    ("rm-nodes", &["rm-core"]),
    ("rm-bridge", &["rm-core", "rm-ipc", "rm-process", "rm-nodes"]),
    ("rm-session", &["rm-core", "rm-process", "rm-nodes", "rm-bridge"]),
    ("rm-ffi", &["rm-core", "rm-ipc", "rm-process", "rm-nodes", "rm-bridge", "rm-session"]),
];

/// Crates that may name all others and that nobody may name.
const FREE: [&str; 2] = ["benches", "xtask"];

/// Dependencies from outside that would break what a crate is for.
const FORBIDDEN: [(&str, &[&str]); 4] = [
    ("rm-core", &["tokio", "nix", "rustix", "iceoryx2"]),
    ("rm-nodes", &["tokio", "nix", "rustix", "iceoryx2"]),
    ("rm-process", &["iceoryx2"]),
    ("rm-session", &["iceoryx2"]),
];

/// One crate of the workspace.
#[derive(Debug, Default)]
pub struct Crate {
    /// Its name.
    pub name: String,
    /// The folder that it lies in, relative to the root, with a slash at the end.
    pub folder: String,
    /// What it names as dependencies of any kind.
    pub dependencies: Vec<Dependency>,
    /// Its features, each with what it pulls.
    pub features: BTreeMap<String, Vec<String>>,
}

/// One dependency of a crate.
#[derive(Debug, Default)]
pub struct Dependency {
    /// The package's name.
    pub name: String,
    /// The name that the crate gives it.
    pub key: String,
    /// Whether it is there with every set of features, and not for tests only.
    pub always: bool,
}

impl From<&Package> for Crate {
    fn from(package: &Package) -> Self {
        let dependency = |dependency: &cargo_metadata::Dependency| Dependency {
            name: dependency.name.clone(),
            key: dependency.rename.clone().unwrap_or_else(|| dependency.name.clone()),
            always: !dependency.optional && dependency.kind == DependencyKind::Normal,
        };
        let folder = package.manifest_path.parent().map_or("", |path| path.as_str());
        let root = crate::cmd::root().to_string_lossy();
        let folder = folder.strip_prefix(&*root).unwrap_or(folder).trim_start_matches('/');
        Self {
            name: package.name.to_string(),
            folder: format!("{folder}/"),
            dependencies: package.dependencies.iter().map(dependency).collect(),
            features: package.features.clone(),
        }
    }
}

/// Problems with the directions of dependency.
pub fn check(crates: &[Crate]) -> Vec<String> {
    let members: BTreeSet<_> = crates.iter().map(|c| c.name.as_str()).collect();
    let mut problems = Vec::new();
    for (name, _) in ALLOWED {
        if !members.contains(name) {
            problems.push(format!("{name} is not in the workspace"));
        }
    }
    for krate in crates {
        let name = krate.name.as_str();
        if FREE.contains(&name) {
            continue;
        }
        let Some(allowed) = look_up(&ALLOWED, name) else {
            problems.push(format!("{name} has no place in the order of the crates"));
            continue;
        };
        let forbidden = look_up(&FORBIDDEN, name).unwrap_or_default();
        for dependency in &krate.dependencies {
            let other = dependency.name.as_str();
            if members.contains(other) && !allowed.contains(&other) {
                problems.push(format!("{name} may not depend on {other}"));
            }
            if forbidden.contains(&other) {
                problems.push(format!("{name} may not depend on {other}, which is not its job"));
            }
        }
        if name == "rm-session" && pulled_by_default(krate).contains("rm-nodes") {
            problems.push("rm-session pulls rm-nodes without being asked to".to_owned());
        }
    }
    problems
}

fn look_up(
    table: &[(&str, &'static [&'static str])],
    name: &str,
) -> Option<&'static [&'static str]> {
    table.iter().find(|(key, _)| *key == name).map(|(_, list)| *list)
}

/// The dependencies that a crate has with its default features.
fn pulled_by_default(krate: &Crate) -> BTreeSet<&str> {
    let always = krate.dependencies.iter().filter(|dependency| dependency.always);
    let mut pulled: BTreeSet<_> = always.map(|dependency| dependency.key.as_str()).collect();
    let mut seen = BTreeSet::new();
    let mut open = vec!["default"];
    while let Some(feature) = open.pop() {
        if !seen.insert(feature) {
            continue;
        }
        for part in krate.features.get(feature).into_iter().flatten() {
            match part.split_once('/') {
                // `name?/feature` asks for a feature only if something else pulls the dependency.
                Some((name, _)) if name.ends_with('?') => {}
                Some((name, _)) => drop(pulled.insert(name)),
                None => match part.strip_prefix("dep:") {
                    Some(name) => drop(pulled.insert(name)),
                    None => open.push(part),
                },
            }
        }
    }
    pulled
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dependency(name: &str, always: bool) -> Dependency {
        Dependency { name: name.to_owned(), key: name.to_owned(), always }
    }

    /// A workspace as it should be, save that `name` has one more dependency.
    fn workspace_with(name: &str, extra: Dependency) -> Vec<Crate> {
        let mut crates: Vec<_> = ALLOWED
            .iter()
            .map(|(name, allowed)| Crate {
                name: (*name).to_owned(),
                dependencies: allowed.iter().map(|name| dependency(name, false)).collect(),
                ..Crate::default()
            })
            .collect();
        crates.push(Crate { name: "xtask".to_owned(), ..Crate::default() });
        let krate = crates.iter_mut().find(|krate| krate.name == name).unwrap();
        krate.dependencies.push(extra);
        crates
    }

    fn check_extra(name: &str, extra: &str, expected: &[&str]) {
        let crates = workspace_with(name, dependency(extra, false));
        assert_eq!(check(&crates), expected, "{name} → {extra}");
    }

    #[test]
    fn what_is_above_may_be_named() {
        check_extra("rm-session", "rm-bridge", &[]);
        check_extra("rm-core", "serde", &[]);
        check_extra("xtask", "rm-ffi", &[]);
    }

    #[test]
    fn what_is_below_or_beside_may_not() {
        check_extra("rm-core", "rm-ipc", &["rm-core may not depend on rm-ipc"]);
        check_extra("rm-process", "rm-ipc", &["rm-process may not depend on rm-ipc"]);
        check_extra("rm-ipc", "rm-process", &["rm-ipc may not depend on rm-process"]);
        check_extra("rm-nodes", "rm-process", &["rm-nodes may not depend on rm-process"]);
        check_extra("rm-session", "rm-ipc", &["rm-session may not depend on rm-ipc"]);
        check_extra("rm-bridge", "xtask", &["rm-bridge may not depend on xtask"]);
        check_extra(
            "rm-session",
            "iceoryx2",
            &["rm-session may not depend on iceoryx2, which is not its job"],
        );
    }

    #[test]
    fn a_crate_outside_the_plan_is_found_and_a_missing_one_too() {
        let mut crates = workspace_with("xtask", dependency("serde", true));
        crates[0].name = "rm-kernel".to_owned();
        let problems = check(&crates);
        assert!(problems.contains(&"rm-core is not in the workspace".to_owned()));
        assert!(problems.contains(&"rm-kernel has no place in the order of the crates".to_owned()));
    }

    #[test]
    fn nodes_may_be_a_feature_of_the_session_but_not_a_default_one() {
        let problem = ["rm-session pulls rm-nodes without being asked to"];
        let always = workspace_with("rm-session", dependency("rm-nodes", true));
        assert_eq!(check(&always), problem);

        for (features, expected) in [
            (vec![("default", vec![]), ("nodes", vec!["dep:rm-nodes"])], &[][..]),
            (vec![("default", vec!["dep:rm-nodes"])], &problem[..]),
            (vec![("default", vec!["all"]), ("all", vec!["rm-nodes/x"])], &problem[..]),
            (vec![("default", vec!["rm-nodes?/x"])], &[][..]),
        ] {
            let mut crates = workspace_with("rm-session", dependency("serde", true));
            let session = crates.iter_mut().find(|c| c.name == "rm-session").unwrap();
            let owned = |list: Vec<&str>| list.into_iter().map(str::to_owned).collect();
            session.features =
                features.into_iter().map(|(name, parts)| (name.to_owned(), owned(parts))).collect();
            assert_eq!(check(&crates), expected);
        }
    }
}
