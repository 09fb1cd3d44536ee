//! Where unsafe code may stand: in a few named files, and nowhere else.
//!
//! The compiler's `forbid` and `deny` do the work; this checks that they are there, and that
//! exceptions from `deny` stay in those files. It does not parse Rust: it only tells code from
//! comments and strings.

use super::files::Source;

/// The files that may hold unsafe code.
const ALLOWED: [&str; 5] = [
    "rm-ipc/src/segment.rs",
    "rm-process/src/sys.rs",
    "rm-process/src/page.rs",
    "rm-ffi/src/array.rs",
    "benches/src/raw.rs",
];

/// What each crate's root must say.
const ROOTS: [(&str, &str); 9] = [
    ("rm-core/src/lib.rs", "#![forbid(unsafe_code)]"),
    ("rm-nodes/src/lib.rs", "#![forbid(unsafe_code)]"),
    ("rm-bridge/src/lib.rs", "#![forbid(unsafe_code)]"),
    ("rm-session/src/lib.rs", "#![forbid(unsafe_code)]"),
    ("xtask/src/main.rs", "#![forbid(unsafe_code)]"),
    ("rm-ipc/src/lib.rs", "#![deny(unsafe_code)]"),
    ("rm-process/src/lib.rs", "#![deny(unsafe_code)]"),
    ("rm-ffi/src/lib.rs", "#![deny(unsafe_code)]"),
    ("benches/src/lib.rs", "#![deny(unsafe_code)]"),
];

/// Crate roots without their lint, and unsafe code where none may be.
pub fn check(sources: &[Source]) -> Vec<String> {
    let mut problems = Vec::new();
    for (path, lint) in ROOTS {
        let root = sources.iter().find(|source| source.path == path);
        let lines = root.map(|source| code_only(&source.text)).unwrap_or_default();
        // `forbid` also does what `deny` does.
        let stricter = lint.replace("deny", "forbid");
        if !lines.lines().any(|line| line.trim() == lint || line.trim() == stricter) {
            problems.push(format!("{path} does not say `{lint}`"));
        }
    }
    for source in sources.iter().filter(|source| source.is_rust()) {
        let allowed = ALLOWED.contains(&source.path.as_str());
        if !allowed && words(&code_only(&source.text)).any(|word| word == "unsafe") {
            let list = ALLOWED.join(", ");
            problems.push(format!("{} holds `unsafe`; only {list} may", source.path));
        }
    }
    problems
}

/// The identifiers and keywords of a piece of code.
pub fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !c.is_alphanumeric() && c != '_')
}

/// Rust source with comments taken out and strings and characters emptied; lines stay lines.
pub fn code_only(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = match chars[at] {
            '/' if chars.get(at + 1) == Some(&'/') => line_comment_end(&chars, at),
            '/' if chars.get(at + 1) == Some(&'*') => block_comment_end(&chars, at),
            '"' => string_end(&chars, at),
            'r' => raw_string_end(&chars, at),
            '\'' => char_end(&chars, at),
            _ => at,
        };
        if end == at {
            code.push(chars[at]);
            at += 1;
        } else {
            code.extend(chars[at..end].iter().filter(|c| **c == '\n'));
            code.push(' ');
            at = end;
        }
    }
    code
}

fn line_comment_end(chars: &[char], at: usize) -> usize {
    let rest = chars[at..].iter().position(|c| *c == '\n');
    rest.map_or(chars.len(), |length| at + length)
}

fn block_comment_end(chars: &[char], mut at: usize) -> usize {
    let mut depth = 0;
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => depth += 1,
            ('*', Some('/')) => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            break;
        }
    }
    at.min(chars.len())
}

fn string_end(chars: &[char], mut at: usize) -> usize {
    at += 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

/// `at` itself if no raw string begins there.
fn raw_string_end(chars: &[char], at: usize) -> usize {
    let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
    if chars.get(at + 1 + hashes) != Some(&'"') {
        return at;
    }
    let mut end = at + 2 + hashes;
    while end < chars.len() {
        let closing = chars[end + 1..].iter().take_while(|c| **c == '#').count();
        if chars[end] == '"' && closing >= hashes {
            return end + 1 + hashes;
        }
        end += 1;
    }
    end
}

/// `at` itself if it is a lifetime and no character.
fn char_end(chars: &[char], at: usize) -> usize {
    match (chars.get(at + 1), chars.get(at + 2)) {
        (Some('\\'), _) => {
            let rest = chars[(at + 3).min(chars.len())..].iter().position(|c| *c == '\'');
            rest.map_or(chars.len(), |length| at + 3 + length + 1)
        }
        (Some(_), Some('\'')) => at + 3,
        _ => at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(extra: &[(&str, &str)]) -> Vec<Source> {
        let good = ROOTS.iter().map(|(path, lint)| (*path, *lint));
        let changed = |path: &str| extra.iter().any(|(other, _)| *other == path);
        let kept = good.filter(|(path, _)| !changed(path));
        kept.chain(extra.iter().copied())
            .map(|(path, text)| Source { path: path.to_owned(), text: text.to_owned() })
            .collect()
    }

    #[test]
    fn unsafe_code_in_the_named_files_passes() {
        let ok = [(ALLOWED[0], "fn f() { unsafe { g() } }"), ("a/src/b.rs", "fn f() {}")];
        assert_eq!(check(&sources(&ok)), Vec::<String>::new());
    }

    #[test]
    fn unsafe_code_elsewhere_is_named() {
        for code in ["unsafe fn f() {}", "fn f() { unsafe{ g() } }", "#[unsafe(no_mangle)]"] {
            let problems = check(&sources(&[("rm-ipc/src/wake.rs", code)]));
            assert_eq!(problems.len(), 1, "{code}");
            assert!(problems[0].starts_with("rm-ipc/src/wake.rs holds `unsafe`"), "{code}");
        }
    }

    #[test]
    fn a_root_without_its_lint_is_named() {
        let problems = check(&sources(&[("rm-core/src/lib.rs", "// #![forbid(unsafe_code)]")]));
        assert_eq!(problems, ["rm-core/src/lib.rs does not say `#![forbid(unsafe_code)]`"]);
        let weaker = check(&sources(&[("rm-core/src/lib.rs", "#![deny(unsafe_code)]")]));
        assert_eq!(weaker.len(), 1);
        let stricter = check(&sources(&[("rm-ipc/src/lib.rs", "#![forbid(unsafe_code)]")]));
        assert_eq!(stricter, Vec::<String>::new());
    }

    #[test]
    fn comments_strings_and_characters_are_no_code() {
        for text in [
            "// unsafe",
            "/* unsafe /* unsafe */ unsafe */",
            r#""unsafe \" unsafe""#,
            "r##\"unsafe \"# unsafe\"##",
            "br\"unsafe\"",
            r"'\'' /* unsafe */",
            "'\"' // unsafe \"",
            "\"open unsafe",
            "unsafe_code",
        ] {
            assert!(!words(&code_only(text)).any(|word| word == "unsafe"), "{text}");
        }
    }

    #[test]
    fn code_after_comments_strings_characters_and_lifetimes_is_seen() {
        for text in [
            "// c\nunsafe",
            "/* c */ unsafe",
            r#""s" unsafe"#,
            "r#\"s\"# unsafe",
            "'\"' unsafe '\"'",
            r"'\\' unsafe",
            r"'\u{1F600}' unsafe",
            "fn f<'a>(x: &'a str) { unsafe {} }",
            "for unsafe",
        ] {
            assert!(words(&code_only(text)).any(|word| word == "unsafe"), "{text}");
        }
    }
}
