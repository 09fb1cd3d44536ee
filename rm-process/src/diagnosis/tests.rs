//! What is read out of the output of real interpreters: kept in `testdata/diagnosis`, one folder
//! for each version, by its `make.py`; and printed by the one that is here.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use proptest::prelude::*;

use super::*;
use crate::python::OPTIONS;

const VERSIONS: &[&str] = &["3.10", "3.12", "3.13"];

fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/diagnosis")
}

/// The kept output of all versions, by version and case.
fn kept() -> &'static BTreeMap<(String, String), String> {
    static KEPT: OnceLock<BTreeMap<(String, String), String>> = OnceLock::new();
    KEPT.get_or_init(|| {
        let mut kept = BTreeMap::new();
        for version in VERSIONS {
            for file in fs::read_dir(testdata().join(version)).expect("the folder is kept") {
                let path = file.expect("it can be listed").path();
                let case = path.file_stem().expect("it has a name").to_string_lossy().into_owned();
                let text = fs::read_to_string(path).expect("it is text");
                kept.insert(((*version).to_owned(), case), text);
            }
        }
        kept
    })
}

fn kept_case(version: &str, case: &str) -> &'static str {
    kept().get(&(version.to_owned(), case.to_owned())).expect("the case is kept")
}

/// What the interpreter that is here prints now.
fn printed(case: &str) -> String {
    let mut python = Command::new("python3");
    python.args(OPTIONS).args(["cases.py", case]).current_dir(testdata());
    let output = python.env("PYTHONDONTWRITEBYTECODE", "1").output().expect("python3 is here");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

use Origin::{Handled, Logged, Thread, Uncaught, Worker};

/// Case, type without module, message, origin.
const EXCEPTIONS: &[(&str, &str, &str, Origin)] = &[
    ("uncaught", "ValueError", "a bad item", Uncaught),
    ("uncaught_without_message", "KeyboardInterrupt", "", Uncaught),
    ("own_type", "Inner", "nested", Uncaught),
    ("own_module", "QueueEmpty", "none left", Uncaught),
    ("multi_line", "ValueError", "1 problem:\n  field: missing\n\nConsider passing it.", Uncaught),
    ("multi_line_statement", "ValueError", "over several lines", Uncaught),
    ("syntax_error", "SyntaxError", "invalid syntax", Uncaught),
    (
        "indentation_error",
        "IndentationError",
        "expected an indented block after 'if' statement on line 1",
        Uncaught,
    ),
    ("syntax_error_imported", "SyntaxError", "invalid syntax", Uncaught),
    ("recursion", "RecursionError", "maximum recursion depth exceeded", Uncaught),
    ("during_handling", "KeyError", "'second'", Uncaught),
    ("colours", "KeyError", "'second'", Uncaught),
    ("direct_cause", "NodeError", "cannot load", Uncaught),
    ("remote", "ValueError", "in a pool", Uncaught),
    ("thread", "ValueError", "a bad item", Thread),
    ("thread_then_uncaught", "ValueError", "in the main thread", Uncaught),
    ("uncaught_then_thread", "ValueError", "in the main thread", Uncaught),
    ("logged", "ValueError", "handled", Logged),
    ("logged_then_more", "ValueError", "handled", Handled),
    ("printed_then_uncaught", "ValueError", "not handled", Uncaught),
    ("info_then_uncaught", "ValueError", "a bad item", Uncaught),
    ("progress_bar_then_uncaught", "ValueError", "a bad item", Uncaught),
    ("worker_loop", "ValueError", "two\nlines", Worker),
    ("ignored_then_uncaught", "ValueError", "a bad item", Uncaught),
    ("uncaught_then_ignored", "ValueError", "a bad item", Uncaught),
    ("uncaught_then_warnings", "ValueError", "a bad item", Uncaught),
    ("uncaught_then_task", "ValueError", "in the main task", Uncaught),
    ("uncaught_then_abort", "ValueError", "a bad item", Uncaught),
    ("bad_excepthook", "ValueError", "the original", Uncaught),
    ("memory", "MemoryError", "", Uncaught),
    (
        "memory_of_torch",
        "OutOfMemoryError",
        "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total of 8 GiB.",
        Uncaught,
    ),
    ("open_files", "OSError", "[Errno 24] Too many open files: '/dev/null'", Uncaught),
];

/// The same for what Python 3.10 does not have.
const SINCE_3_11: &[(&str, &str, &str, Origin)] = &[
    ("notes", "ValueError", "with notes\nfirst note\nof two lines\nsecond note", Uncaught),
    ("group", "ExceptionGroup", "several nodes failed (2 sub-exceptions)", Uncaught),
    ("group_with_cause", "ExceptionGroup", "outer (1 sub-exception)", Uncaught),
    ("cause_is_group", "NodeError", "cannot go on", Uncaught),
];

/// Case, headline, the function in which it happened.
const FATAL: &[(&str, &str, &str)] = &[
    ("segfault", "Fatal Python error: Segmentation fault", "in string_at"),
    ("segfault_with_threads", "Fatal Python error: Segmentation fault", "in wait"),
    ("segfault_in_a_bare_thread", "Fatal Python error: Segmentation fault", "in segfault_in_a"),
    ("stack_overflow", "Fatal Python error: Segmentation fault", "in stack_overflow"),
    ("abort", "Fatal Python error: Aborted", "in abort"),
    ("uncaught_then_abort", "Fatal Python error: Aborted", "<no Python frame>"),
    ("bus_error", "Fatal Python error: Bus error", "in bus_error"),
    ("illegal", "Fatal Python error: Illegal instruction", "in illegal"),
    ("timeout", "Timeout (0:00:00.050000)!", "in timeout"),
    ("bad_alloc", "Fatal Python error: Aborted", "in bad_alloc"),
];

/// The same for what the interpreter says of itself: the versions have other words for it.
const FATAL_OF_THE_INTERPRETER: &[(&str, &str)] = &[
    ("fatal_of_the_interpreter", "in fatal_of_the_interpreter"),
    ("fatal_after_an_exception", "in fatal_after_an_exception"),
    ("lost_standard_library", "<no Python frame>"),
    ("arithmetic", "in arithmetic"),
];

fn check_exception(text: &str, expected: (&str, &str, &str, Origin)) {
    let (case, name, message, origin) = expected;
    let exception = diagnose(text).exception.unwrap_or_else(|| panic!("{case} in {text}"));
    assert_eq!(
        (exception.name(), exception.message.as_str(), exception.origin),
        (name, message, origin),
        "{case} in {text}"
    );
    assert!(exception.traceback.contains(&exception.type_name), "{case}");
}

fn check_fatal(text: &str, (case, headline, place): (&str, &str, &str)) {
    let fatal = diagnose(text).fatal.unwrap_or_else(|| panic!("{case} in {text}"));
    assert!(fatal.headline.starts_with(headline), "{case}: {fatal:?}");
    assert!(fatal.stacks.contains(place), "{case}: {fatal:?}");
    assert!(fatal.ends_output, "{case}: {fatal:?}");
}

#[test]
fn the_exception_is_found_in_the_output_of_every_version() {
    for version in VERSIONS {
        let since_3_11 = SINCE_3_11.iter().filter(|_| *version != "3.10");
        for expected in EXCEPTIONS.iter().chain(since_3_11) {
            check_exception(kept_case(version, expected.0), *expected);
        }
    }
}

#[test]
fn the_fatal_error_is_found_in_the_output_of_every_version() {
    for version in VERSIONS {
        let of_interpreter = FATAL_OF_THE_INTERPRETER
            .iter()
            .map(|(case, place)| (*case, "Fatal Python error: ", *place));
        for expected in FATAL.iter().copied().chain(of_interpreter) {
            check_fatal(kept_case(version, expected.0), expected);
        }
    }
}

#[test]
fn the_interpreter_that_is_here_is_understood() {
    let cases = ["uncaught", "direct_cause", "remote", "thread", "worker_loop", "memory"];
    for expected in EXCEPTIONS.iter().filter(|expected| cases.contains(&expected.0)) {
        check_exception(&printed(expected.0), *expected);
    }
    for expected in FATAL.iter().filter(|expected| ["segfault", "abort"].contains(&expected.0)) {
        check_fatal(&printed(expected.0), *expected);
    }
    assert!(diagnose(&printed("memory")).names_memory());
    assert!(diagnose(&printed("bad_alloc")).names_memory());
    assert!(diagnose(&printed("open_files")).names_open_files());
    assert_eq!(diagnose(&printed("killed")), Diagnosis::default());
}

#[test]
fn nothing_is_found_where_nothing_was_said() {
    for ((_, case), text) in kept() {
        if ["exits", "killed", "dump_and_go_on"].contains(&case.as_str()) {
            assert_eq!(diagnose(text), Diagnosis::default(), "{text}");
        }
    }
}

#[test]
fn a_handled_exception_is_no_cause_however_the_process_ends() {
    for ((_, case), text) in kept() {
        let handled = ["logged", "logged_then_more", "printed_then_chatter", "exits_after_logging"];
        if handled.contains(&case.as_str()) {
            let found = diagnose(text);
            assert!(found.exception.is_some() && found.cause().is_none(), "{text}");
        }
    }
}

#[test]
fn what_belongs_to_the_end_of_the_interpreter_does_not_hide_the_fatal_error() {
    let noise = kept_case("3.13", "uncaught_then_warnings").lines().rev().take(2);
    let noise: Vec<&str> = noise.collect::<Vec<_>>().into_iter().rev().collect();
    assert!(noise[0].contains("resource_tracker"));
    let text = kept_case("3.13", "segfault").to_owned() + &noise.join("\n");
    check_fatal(&text, FATAL[0]);
}

#[test]
fn the_stack_of_c_that_python_prints_since_3_14_belongs_to_the_fatal_error() {
    let name = "(most recent call first):";
    let text = format!(
        "{}\nCurrent thread's C stack trace {name}\n  Binary file \"python\", at \
         _Py_DumpStack+0x42 [0x5b27f7d7147e]\n  <truncated rest of calls>\n\nExtension modules: \
         _ctypes (total: 1)\n",
        kept_case("3.13", "segfault").replace(name, &format!("[python] {name}"))
    );
    check_fatal(&text, ("3.14", "Fatal Python error: Segmentation fault", "_Py_DumpStack+0x42"));
    check_fatal(&text, ("3.14", "Fatal Python error: Segmentation fault", "(total: 1)"));
}

#[test]
fn a_crash_of_a_child_is_marked_as_followed_by_other_output() {
    let fatal = diagnose(kept_case("3.13", "segfault_of_a_child")).fatal.unwrap();
    assert!(!fatal.ends_output);
    assert!(fatal.stacks.ends_with("in <module>"));
}

#[test]
fn memory_and_open_files_are_named_by_those_cases_only() {
    for ((version, case), text) in kept() {
        let found = diagnose(text);
        let groups = version != "3.10";
        let memory = match case.as_str() {
            "memory" | "memory_of_numpy" | "memory_of_torch" | "direct_cause" | "bad_alloc" => true,
            "cause_is_group" => groups,
            _ => false,
        };
        assert_eq!(found.names_memory(), memory, "{version} {case}");
        assert_eq!(found.names_device_memory(), case == "memory_of_torch", "{case}");
        assert_eq!(found.names_open_files(), case == "open_files", "{case}");
    }
}

#[test]
fn the_last_words_of_cpp_and_rust_are_kept() {
    let found = diagnose(kept_case("3.13", "bad_alloc"));
    let words = "terminate called after throwing an instance of 'std::bad_alloc'\n  \
                 what():  std::bad_alloc";
    assert_eq!(found.abort.as_deref(), Some(words));
    // What a program in Rust 1.95 prints that asks for 2^60 bytes.
    let rust = "loading\nmemory allocation of 1152921504606846976 bytes failed\nstack backtrace:\n   \
                0: std::alloc::rust_oom\n";
    assert!(diagnose(rust).names_memory());
    assert!(!diagnose(&format!("{rust}INFO:root:go on\n")).names_memory());
}

#[test]
fn a_traceback_whose_beginning_is_lost_is_found() {
    let text = kept_case("3.13", "recursion");
    for lost in [40, 100, 1000, text.len() / 2] {
        let exception = diagnose(&text[lost..]).exception.unwrap();
        assert_eq!((exception.name(), exception.origin), ("RecursionError", Uncaught), "{lost}");
    }
    let text = kept_case("3.13", "direct_cause");
    let exception = diagnose(&text[10..]).exception.unwrap();
    assert_eq!((exception.name(), exception.origin), ("NodeError", Uncaught));
    let text = kept_case("3.13", "segfault_with_threads");
    let fatal = diagnose(&text[120..]).fatal.unwrap();
    assert_eq!(fatal.headline, "");
    assert!(fatal.ends_output && fatal.stacks.ends_with("in <module>"));
}

#[test]
fn a_traceback_without_its_end_is_not_taken_for_a_whole_one() {
    let text = kept_case("3.13", "uncaught");
    let cut = text.rfind("ValueError: ").unwrap();
    assert_eq!(diagnose(&text[..cut]).exception, None);
    let both = format!("{}{}", kept_case("3.13", "open_files"), &text[..cut]);
    let exception = diagnose(&both).exception.unwrap();
    assert_eq!((exception.name(), exception.origin), ("OSError", Handled));
}

#[test]
fn reading_is_linear_whatever_is_repeated() {
    // Half a megabyte of each; a quadratic reader would not come to an end here.
    let pieces = [
        "Traceback (most recent call last):\n",
        "Traceback (most recent call last):\n  File \"a.py\", line 1, in f\n",
        "  + Exception Group Traceback (most recent call last):\n  | \n",
        "  + Exception Group Traceback (most recent call last):\nx\n",
        "  File \"a.py\", line 1\n",
        "Fatal Python error: Aborted\n",
        "Fatal Python error: Aborted\nPython runtime state: initialized\n",
        "a.RemoteTraceback: \n\"\"\"\n",
        "Exception ignored in: <x>\n",
        "Exception in thread a:\nTraceback (most recent call last):\n",
        "terminate called without an active exception\n",
        "x.py:1: UserWarning: Warning: ",
        "failed to process item 1: ",
        "ERROR failed to load: ValueError: x\n",
        "\x1b[1;",
        "\n",
        ": ",
    ];
    for piece in pieces {
        diagnose(&piece.repeat(500_000 / piece.len()));
    }
}

#[test]
fn the_record_survives_its_journey() {
    for text in kept().values() {
        let found = diagnose(text);
        let bytes = serde_brief::to_vec(&found).unwrap();
        assert_eq!(serde_brief::from_slice::<Diagnosis>(&bytes).unwrap(), found);
    }
}

/// Lines that mean something, in any order.
fn lines() -> impl Strategy<Value = String> {
    let all: Vec<String> = kept()
        .iter()
        .filter(|((version, case), _)| version == "3.13" && case != "printed_then_chatter")
        .flat_map(|(_, text)| text.lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    proptest::collection::vec(proptest::sample::select(all), 0..60).prop_map(|all| all.join("\n"))
}

proptest! {
    #[test]
    fn any_text_can_be_read(text in "(?s).{0,400}", mixed in lines()) {
        diagnose(&text);
        let found = diagnose(&mixed);
        if let Some(exception) = found.exception {
            prop_assert!(!exception.type_name.is_empty() && !exception.traceback.is_empty());
        }
    }

    #[test]
    fn any_part_of_real_output_can_be_read(case in 0_usize..1000, from in 0.0..1.0, to in 0.0..1.0) {
        let text = kept().values().nth(case % kept().len()).unwrap().as_bytes();
        #[expect(clippy::cast_sign_loss, clippy::cast_possible_truncation, reason = "in range")]
        let place = |part: f64| (text.len() as f64 * part) as usize;
        let (from, to) = (place(f64::min(from, to)), place(f64::max(from, to)));
        diagnose(&String::from_utf8_lossy(&text[from..to]));
    }

    #[test]
    fn what_was_printed_before_does_not_hide_the_cause(
        before in lines(),
        expected in proptest::sample::select(EXCEPTIONS)
            .prop_filter("it is a cause", |expected| expected.3 == Uncaught),
    ) {
        let earlier = format!("{before}\nINFO:root:starting\n");
        check_exception(&(earlier + kept_case("3.13", expected.0)), expected);
    }
}
