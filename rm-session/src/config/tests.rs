//! Settings from files and variables, right and wrong.

use super::*;

use std::ffi::OsString;
use std::fs;

fn variables(list: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    list.iter().map(|(name, value)| (name.into(), value.into())).collect()
}

#[track_caller]
fn check_variables(list: &[(&str, &str)], expected: &str) {
    let error = RuntimeConfig::load_with(variables(list)).unwrap_err();
    assert_eq!(error.to_string(), expected);
}

#[track_caller]
fn check_file(text: &str, expected: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("runtime.toml");
    fs::write(&path, text).unwrap();
    let error = RuntimeConfig::from_toml_file(&path).unwrap_err();
    assert_eq!(error.to_string(), format!("{}: {expected}", path.display()));
}

#[test]
fn the_defaults_are_those_of_the_contract() {
    let config = RuntimeConfig::load_with(variables(&[("HOME", "/")])).unwrap();
    assert_eq!(config.max_processes_per_session, None);
    assert_eq!(config.shm_segment_size, 256 * 1024 * 1024);
    assert_eq!(config.init_timeout, Duration::from_secs(30));
    assert_eq!(config.cleanup_grace_period, Duration::from_secs(5));
    assert!(!config.debug_mode);
}

#[test]
fn a_file_goes_over_the_defaults_and_the_environment_over_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("runtime.toml");
    let text = "
        max_processes_per_session = 3
        max_sessions = 7
        init_timeout_secs = 2.5
        debug_mode = true
        callback_stubs = false
        channel_capacity = 65536
    ";
    fs::write(&path, text).unwrap();
    let config = RuntimeConfig::load_with(variables(&[
        ("REMOTEMEDIA_CONFIG", path.to_str().unwrap()),
        ("REMOTEMEDIA_MAX_PROCESSES_PER_SESSION", "5"),
        ("REMOTEMEDIA_DEBUG_MODE", "0"),
        ("REMOTEMEDIA_PYTHON", "/opt/python"),
        ("REMOTEMEDIA_MAX_PROCESSES", ""),
    ]))
    .unwrap();
    assert_eq!(config.max_processes_per_session, Some(5));
    assert_eq!(config.max_sessions, Some(7));
    assert_eq!(config.max_processes, None);
    assert_eq!(config.init_timeout, Duration::from_millis(2_500));
    assert!(!config.debug_mode);
    assert_eq!(config.callback_stubs, None);
    assert_eq!(config.channel_capacity, Some(65_536));
    assert_eq!(config.python, Some("/opt/python".into()));
    assert_eq!(config.channel_depth, 100);
}

#[test]
fn every_setting_can_be_given_by_file_and_by_variable() {
    let values = [
        ("max_processes_per_session", "2"),
        ("max_processes", "2"),
        ("max_sessions", "2"),
        ("max_memory_per_session", "2000"),
        ("shm_segment_size", "1000000"),
        ("init_timeout_secs", "1"),
        ("cleanup_grace_period_secs", "0.5"),
        ("debug_mode", "true"),
        ("timeline", "true"),
        ("failure_dir", "\"/failures\""),
        ("python", "\"3\""),
        ("callback_stubs", "\"/stubs\""),
        ("channel_depth", "65536"),
        ("channel_capacity", "1024"),
    ];
    let keys: Vec<_> = settings().map(|(key, ..)| key).collect();
    assert_eq!(keys, values.map(|(key, _)| key));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("runtime.toml");
    let lines = values.map(|(key, value)| format!("{key} = {value}\n"));
    fs::write(&path, lines.concat()).unwrap();
    let from_file = RuntimeConfig::from_toml_file(&path).unwrap();
    let names = values.map(|(key, value)| {
        let name = format!("REMOTEMEDIA_{}", key.to_uppercase());
        (OsString::from(name), OsString::from(value.trim_matches('"')))
    });
    let from_variables = RuntimeConfig::load_with(names).unwrap();
    let shown = |config: RuntimeConfig| {
        format!("{:?}", RuntimeConfig { callbacks: Arc::default(), ..config })
    };
    assert_eq!(shown(from_file.clone()), shown(from_variables));
    assert_ne!(shown(from_file), shown(RuntimeConfig::default()));
}

#[test]
fn the_readme_names_every_setting() {
    let readme = include_str!("../../README.md");
    for (key, ..) in settings() {
        assert!(readme.contains(&format!("| `{key}` |")), "{key}");
    }
}

#[test]
fn what_is_unknown_is_named_with_what_is_near() {
    check_file(
        "max_proceses = 3\nxyz = 1",
        "unknown setting \"max_proceses\"; did you mean \"max_processes\"?; unknown setting \"xyz\"",
    );
    check_variables(
        &[("REMOTEMEDIA_INIT_TIMEOUT", "3"), ("REMOTEMEDIA_QQQ", "")],
        "environment: unknown setting \"REMOTEMEDIA_INIT_TIMEOUT\"; \
         did you mean \"REMOTEMEDIA_INIT_TIMEOUT_SECS\"?; unknown setting \"REMOTEMEDIA_QQQ\"",
    );
}

#[test]
fn variables_of_workers_and_tests_are_no_settings() {
    let others = [
        "RUNTIME",
        "CGROUP",
        "CONTROL_FD",
        "DEBUG",
        "NAMESPACE",
        "CALLBACK_SOCKET",
        "REQUEST_SOCKET",
        "CHAOS_SEED",
        "CHAOS_KILLS",
        "SIM_SEED",
        "SIM_SCHEDULES",
        "TEST_PYTHON",
    ];
    let names = others.map(|name| (OsString::from(format!("REMOTEMEDIA_{name}")), "1".into()));
    assert!(RuntimeConfig::load_with(names).is_ok());
}

#[test]
fn a_wrong_value_is_named_with_what_would_be_right() {
    check_file(
        "init_timeout_secs = \"soon\"\nchannel_depth = 65537\nmax_sessions = 0\n[python]",
        "channel_depth is 65537, expected a whole number from 1 to 65536; \
         init_timeout_secs is \"soon\", expected a number of seconds above 0, at most 86400; \
         max_sessions is 0, expected a whole number of at least 1; \
         python is {}, expected a path, not empty",
    );
    check_variables(
        &[("REMOTEMEDIA_CHANNEL_CAPACITY", "1000"), ("REMOTEMEDIA_DEBUG_MODE", "2")],
        "environment: REMOTEMEDIA_CHANNEL_CAPACITY is \"1000\", \
         expected a number of bytes that is a power of two; \
         REMOTEMEDIA_DEBUG_MODE is \"2\", expected true or false",
    );
}

#[test]
fn a_file_that_is_missing_or_no_toml_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("runtime.toml");
    let names = variables(&[("REMOTEMEDIA_CONFIG", path.to_str().unwrap())]);
    let error = RuntimeConfig::load_with(names.clone()).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot read settings from {}", path.display()));
    fs::write(&path, "debug_mode = \n").unwrap();
    let error = RuntimeConfig::load_with(names).unwrap_err();
    assert_eq!(error.to_string(), format!("invalid TOML in {}", path.display()));
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("line 1, column 14"), "{source}");
}
