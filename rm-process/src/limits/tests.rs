//! Tests of the limits, on children that tell what they see.

use std::process::{Command, Stdio};

use super::*;
use crate::sys;

/// What a shell with those limits prints.
fn output_of(prepared: Prepared, script: &str) -> String {
    let mut command = Command::new("sh");
    command.args(["-c", script]).stdin(Stdio::null()).stderr(Stdio::inherit());
    sys::prepare(&mut command, prepared);
    let output = command.output().expect("sh is there");
    assert!(output.status.success(), "{script}: {}", output.status);
    String::from_utf8(output.stdout).expect("scripts print text")
}

fn allowed_cpus() -> BTreeSet<usize> {
    let mask = rustix::thread::sched_getaffinity(Some(rustix::process::getpid()));
    let mask = mask.expect("the mask has room for the CPUs of this machine");
    (0..CpuSet::MAX_CPU).filter(|&cpu| mask.is_set(cpu)).collect()
}

fn check_refused(limits: Limits, expected: &[&str]) {
    let text = limits.prepare().unwrap_err().to_string();
    for part in expected {
        assert!(text.contains(part), "{text:?} lacks {part:?}");
    }
}

#[test]
fn a_child_sees_the_limits_that_it_was_given() {
    let last = *allowed_cpus().last().unwrap();
    let limits = Limits {
        max_memory: Some(64 << 20),
        cpus: Some(BTreeSet::from([last])),
        niceness: Some(7),
        open_files: Some(50),
    };
    let script = "grep -E 'Max (data size|open files)' /proc/self/limits; \
                  grep Cpus_allowed_list /proc/self/status; cut -d' ' -f19 /proc/self/stat";
    let seen = output_of(limits.prepare().unwrap(), script);
    let words: Vec<_> = seen.split_whitespace().collect();
    let last = last.to_string();
    #[rustfmt::skip]
    let expected = [
        "Max", "data", "size", "67108864", "67108864", "bytes",
        "Max", "open", "files", "50", "50", "files",
        "Cpus_allowed_list:", &last, "7",
    ];
    assert_eq!(words, expected);
}

#[test]
fn without_limits_a_child_sees_those_of_its_parent() {
    let script = "cat /proc/self/limits; grep Cpus_allowed_list /proc/self/status";
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let cpus = status.lines().find(|line| line.starts_with("Cpus_allowed_list")).unwrap();
    let expected = std::fs::read_to_string("/proc/self/limits").unwrap() + cpus + "\n";
    assert_eq!(output_of(Limits::default().prepare().unwrap(), script), expected);
}

#[test]
fn a_process_beyond_its_memory_gets_no_more() {
    let limits = Limits { max_memory: Some(32 << 20), ..Limits::default() };
    // `tail` keeps what may be the last lines; zeros hold no end of a line.
    let script = "head -c 100000000 /dev/zero | tail 2>&1 >/dev/null; exit 0";
    let seen = output_of(limits.prepare().unwrap(), script);
    assert!(seen.contains("memory exhausted"), "{seen:?}");
}

#[test]
fn limits_out_of_range_are_refused_with_what_is_possible() {
    let none = Limits::default;
    check_refused(Limits { max_memory: Some(0), ..none() }, &["max_memory of 0", "4096"]);
    check_refused(Limits { max_memory: Some(4095), ..none() }, &["4095", "at least a page"]);
    check_refused(Limits { niceness: Some(20), ..none() }, &["niceness 20", "-20 to 19"]);
    check_refused(Limits { niceness: Some(-21), ..none() }, &["niceness -21"]);
    check_refused(Limits { open_files: Some(15), ..none() }, &["open_files of 15", "16"]);
    let endless = Limits { open_files: Some(u64::MAX), ..none() };
    check_refused(endless, &["open_files of 18446744073709551615", "hard limit"]);
}

#[test]
fn cpus_that_this_process_may_not_use_are_refused() {
    let allowed = allowed_cpus();
    let listed = Cpus(&allowed).to_string();
    let check = |cpus: BTreeSet<usize>, expected: &str| {
        let limits = Limits { cpus: Some(cpus), ..Limits::default() };
        check_refused(limits, &[expected, &listed]);
    };
    check(BTreeSet::new(), "cpus is empty");
    check(BTreeSet::from([usize::MAX]), "CPU 18446744073709551615");
    let missing = (0..).find(|cpu| !allowed.contains(cpu)).unwrap();
    check(&allowed | &BTreeSet::from([missing]), &format!("CPU {missing} "));
}

#[test]
fn niceness_needs_a_right_below_the_current_one_and_its_limit() {
    assert_eq!(lowest_niceness(0, Some(0)), 0);
    assert_eq!(lowest_niceness(5, Some(0)), 5);
    assert_eq!(lowest_niceness(5, Some(20)), 0);
    assert_eq!(lowest_niceness(5, Some(30)), -10);
    assert_eq!(lowest_niceness(-5, Some(20)), -5);
    assert_eq!(lowest_niceness(0, Some(u64::MAX)), -20);
    assert_eq!(lowest_niceness(0, None), -20);
}

#[test]
fn what_needs_a_right_is_given_with_it_and_refused_without() {
    let current = rustix::process::getpriority_process(Some(rustix::process::getpid())).unwrap();
    let eager = Limits { niceness: Some(-15), ..Limits::default() };
    if has_right(CapabilitySet::SYS_NICE) {
        let seen = output_of(eager.prepare().unwrap(), "cut -d' ' -f19 /proc/self/stat");
        assert_eq!(seen, "-15\n");
    } else if current > -15 && getrlimit(Resource::Nice).current.is_some_and(|limit| limit < 35) {
        check_refused(eager, &["niceness -15", "CAP_SYS_NICE"]);
    }
    let Some(above) = getrlimit(Resource::Nofile).maximum.map(|hard| hard + 1) else { return };
    let many = Limits { open_files: Some(above), ..Limits::default() };
    if !has_right(CapabilitySet::SYS_RESOURCE) {
        check_refused(many, &["open_files", "above the hard limit"]);
    } else if above <= most_open_files().unwrap() {
        let seen = output_of(many.prepare().unwrap(), "ulimit -n");
        assert_eq!(seen, format!("{above}\n"));
    }
}

#[test]
fn a_refusal_after_the_fork_fails_the_start() {
    // What `prepare` would have refused.
    let prepared = Prepared { open_files: Some(both(u64::MAX - 1)), ..Prepared::default() };
    let mut command = Command::new("true");
    sys::prepare(&mut command, prepared);
    let error = command.status().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
}

#[test]
fn a_cgroup_that_cannot_be_entered_fails_the_start() {
    let file = std::fs::File::open("/dev/null").unwrap();
    let mut prepared = Prepared::default();
    prepared.enter(file.into());
    let mut command = Command::new("true");
    sys::prepare(&mut command, prepared);
    assert!(command.status().is_err());
}

#[test]
fn cpus_are_listed_as_ranges() {
    let check = |cpus: &[usize], expected: &str| {
        assert_eq!(Cpus(&cpus.iter().copied().collect()).to_string(), expected);
    };
    check(&[], "");
    check(&[3], "3");
    check(&[0, 1, 2, 5, 7, 8], "0-2,5,7-8");
}

#[test]
fn limits_read_from_a_manifest_may_leave_out_what_they_do_not_limit() {
    let limits: Limits =
        serde_json::from_str(r#"{"max_memory": 1000000, "cpus": [1, 0]}"#).unwrap();
    let cpus = Some(BTreeSet::from([0, 1]));
    assert_eq!(limits, Limits { max_memory: Some(1_000_000), cpus, ..Limits::default() });
    assert!(serde_json::from_str::<Limits>(r#"{"max_memroy": 1}"#).is_err());
    assert_eq!(serde_json::to_string(&Limit::OpenFiles).unwrap(), r#""open_files""#);
    assert_eq!(Limit::OpenFiles.to_string(), "the number of open files");
}
