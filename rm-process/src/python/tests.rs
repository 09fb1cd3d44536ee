//! What [`find_interpreter`] and [`environment`] make of folders, links and variables.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use tempfile::TempDir;

use super::*;

/// A folder with a program `bin/python3`, a virtual environment `venv` whose interpreter is a link
/// to it, a folder that is none, a broken environment and a file that is not executable.
fn machine() -> TempDir {
    let root = tempfile::tempdir().expect("a folder can be made");
    let at = |path: &str| root.path().join(path);
    for folder in ["bin", "venv/bin", "other", "broken/bin"] {
        fs::create_dir_all(at(folder)).expect("a folder can be made");
    }
    fs::write(at("bin/python3"), "#!/bin/sh\n").expect("a file can be written");
    let executable = fs::Permissions::from_mode(0o755);
    fs::set_permissions(at("bin/python3"), executable).expect("it is our file");
    symlink(at("bin/python3"), at("venv/bin/python")).expect("a link can be made");
    symlink(at("bin/gone"), at("broken/bin/python")).expect("a link can be made");
    for file in ["venv/pyvenv.cfg", "broken/pyvenv.cfg", "plain"] {
        fs::write(at(file), "").expect("a file can be written");
    }
    root
}

fn variables(set: &[(&str, &Path)]) -> impl Fn(&str) -> Option<OsString> + use<> {
    let set: Vec<(String, OsString)> =
        set.iter().map(|(name, value)| ((*name).to_owned(), value.into())).collect();
    move |name| set.iter().find(|(set, _)| set == name).map(|(_, value)| value.clone())
}

#[test]
fn a_path_a_folder_and_a_name_lead_to_an_interpreter() {
    let root = machine();
    let at = |path: &str| root.path().join(path);
    let path = at("bin");
    let check = |configured: &Path, expected: &str| {
        let found = find_with(Some(configured), variables(&[("PATH", &path)])).unwrap();
        assert_eq!(found, at(expected));
    };
    check(&at("bin/python3"), "bin/python3");
    check(&at("venv"), "venv/bin/python");
    // The link is not followed: the interpreter behind it does not know the environment.
    check(&at("venv/bin/python"), "venv/bin/python");
    check(Path::new("python3"), "bin/python3");
}

#[test]
fn the_configuration_goes_before_the_variable_before_the_active_environment_before_the_path() {
    let root = machine();
    let at = |path: &str| root.path().join(path);
    let (venv, path, plain) = (at("venv"), at("bin"), at("bin/python3"));
    let all = [(PYTHON_ENV, &*plain), ("VIRTUAL_ENV", &*venv), ("PATH", &*path)];
    let find = |configured: Option<&Path>, set: &[(&str, &Path)]| {
        find_with(configured, variables(set)).unwrap()
    };
    assert_eq!(find(Some(&venv), &all), at("venv/bin/python"));
    assert_eq!(find(None, &all), plain);
    assert_eq!(find(None, &all[1..]), at("venv/bin/python"));
    assert_eq!(find(None, &all[2..]), plain);
    let unset = [(PYTHON_ENV, Path::new("")), ("VIRTUAL_ENV", Path::new("")), all[2]];
    assert_eq!(find(None, &unset), plain);
}

#[test]
fn what_is_no_interpreter_is_refused_and_the_error_says_what_would_be_one() {
    let root = machine();
    let at = |path: &str| root.path().join(path);
    let path = at("bin");
    let check = |configured: &Path, expected: &str| {
        let error = find_with(Some(configured), variables(&[("PATH", &path)])).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(expected), "{text}");
        assert!(text.contains(configured.to_str().unwrap()), "{text}");
        assert!(text.contains("configured"), "{text}");
    };
    check(&at("gone"), "does not exist");
    check(&at("other"), "without pyvenv.cfg; expected is a virtual environment's folder");
    check(&at("broken"), "no usable bin/python");
    check(&at("plain"), "not an executable file");
    check(Path::new("python9.9"), path.to_str().unwrap());
}

#[test]
fn a_variable_that_leads_nowhere_is_an_error_although_there_is_an_interpreter() {
    let root = machine();
    let (path, gone) = (root.path().join("bin"), root.path().join("gone"));
    for name in [PYTHON_ENV, "VIRTUAL_ENV"] {
        let error = find_with(None, variables(&[(name, &gone), ("PATH", &path)])).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn where_there_is_no_interpreter_the_error_lists_what_was_looked_for() {
    let root = machine();
    let empty = root.path().join("other");
    let error = find_with(None, variables(&[("PATH", &empty)])).unwrap_err().to_string();
    for part in [PYTHON_ENV, "VIRTUAL_ENV", "python3", empty.to_str().unwrap()] {
        assert!(error.contains(part), "{error}");
    }
    assert!(matches!(find_with(None, |_| None), Err(InterpreterError::NoneFound { .. })));
}

fn value<'v>(variables: &'v [(OsString, OsString)], name: &str) -> Option<&'v OsStr> {
    variables.iter().find(|(set, _)| set == name).map(|(_, value)| value.as_os_str())
}

#[test]
fn module_paths_are_added_before_those_that_are_there_each_once() {
    let extra = ["/a".into(), "/b".into(), "/a".into()];
    let there = variables(&[("PYTHONPATH", Path::new("/c:/b:d"))]);
    let set = environment(Path::new("/usr/bin/python3"), &extra, there).unwrap();
    assert_eq!(set, [("PYTHONPATH".into(), "/a:/b:/c:d".into())]);
    let set = environment(Path::new("/usr/bin/python3"), &extra[..1], |_| None).unwrap();
    assert_eq!(set, [("PYTHONPATH".into(), "/a".into())]);
}

#[test]
fn a_relative_module_path_means_the_parents_working_directory() {
    let set = environment(Path::new("/usr/bin/python3"), &["nodes".into()], |_| None).unwrap();
    let expected = env::current_dir().unwrap().join("nodes");
    assert_eq!(value(&set, "PYTHONPATH"), Some(expected.as_os_str()));
}

#[test]
fn nothing_is_set_where_nothing_is_to_be_added() {
    let there = variables(&[("PYTHONPATH", Path::new("/c")), ("PATH", Path::new("/bin"))]);
    assert_eq!(environment(Path::new("/usr/bin/python3"), &[], there).unwrap(), []);
}

#[test]
fn a_module_path_that_cannot_be_expressed_is_refused() {
    let check = |path: &str, expected: &str| {
        let error = environment(Path::new("python3"), &[path.into()], |_| None).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    };
    check("/with:colon", "/with:colon");
    check("", "absolute");
}

#[test]
fn an_environments_interpreter_finds_its_own_programs_first() {
    let root = machine();
    let venv = root.path().join("venv");
    let there = variables(&[("PATH", Path::new("/usr/bin:/bin"))]);
    let set = environment(&venv.join("bin/python"), &[], there).unwrap();
    assert_eq!(value(&set, "VIRTUAL_ENV"), Some(venv.as_os_str()));
    let path = format!("{}/bin:/usr/bin:/bin", venv.display());
    assert_eq!(value(&set, "PATH"), Some(OsStr::new(&path)));
    assert_eq!(value(&set, "PYTHONPATH"), None);
}

#[test]
fn a_node_inherits_what_finds_devices_and_models_and_nothing_that_breaks_it() {
    for name in [
        "CUDA_VISIBLE_DEVICES",
        "HF_HOME",
        "OMP_NUM_THREADS",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "PYTHONPATH",
        "PYTORCH_CUDA_ALLOC_CONF",
        "REMOTEMEDIA_PYTHON",
        "SSL_CERT_FILE",
        "XDG_CACHE_HOME",
        "https_proxy",
        "NO_PROXY",
    ] {
        assert!(is_node_env(OsStr::new(name)), "{name}");
    }
    for name in NOT_INHERITED.iter().chain(&["SECRET", "AWS_SESSION_TOKEN", "LD_PRELOAD", ""]) {
        assert!(!is_node_env(OsStr::new(name)), "{name}");
    }
}

#[test]
fn the_lists_of_variables_have_no_entry_twice() {
    for list in [NODE_ENV, NODE_ENV_PREFIXES, NOT_INHERITED] {
        let mut once = list.to_vec();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), list.len());
    }
    let covered = |name: &&str| NODE_ENV_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    assert!(!NODE_ENV.iter().any(covered));
    assert!(NOT_INHERITED.iter().all(covered));
}

#[test]
fn a_real_environments_interpreter_imports_from_all_paths() {
    let root = tempfile::tempdir().unwrap();
    let venv = root.path().join("venv");
    let mut make = Command::new("python3");
    make.args(["-m", "venv", "--without-pip"]).arg(&venv);
    assert!(make.status().unwrap().success());
    for name in ["extra", "there"] {
        let folder = root.path().join(name);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join(format!("module_{name}.py")), "").unwrap();
    }

    let python = find_with(Some(&venv), |_| None).unwrap();
    let there = root.path().join("there");
    let inherited = |name: &str| match name {
        "PYTHONPATH" => Some(there.clone().into_os_string()),
        _ => env::var_os(name),
    };
    let set = environment(&python, &[root.path().join("extra")], inherited).unwrap();
    let mut child = Command::new(&python);
    child.args(OPTIONS).env_remove("PYTHONHOME").envs(set);
    let code = "import faulthandler, module_extra, module_there, sys\n\
                assert faulthandler.is_enabled()\n\
                print(sys.prefix, end='')";
    let output = child.args(["-c", code]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout), venv.to_str().unwrap());
}
