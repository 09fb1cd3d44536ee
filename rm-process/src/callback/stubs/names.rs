//! Names that Python can have.
//!
//! Main type: [`Names`], which gives each name once.

use std::collections::HashSet;

const KEYWORDS: [&str; 35] = [
    "False", "None", "True", "and", "as", "assert", "async", "await", "break", "class", "continue",
    "def", "del", "elif", "else", "except", "finally", "for", "from", "global", "if", "import",
    "in", "is", "lambda", "nonlocal", "not", "or", "pass", "raise", "return", "try", "while",
    "with", "yield",
];

/// Names that the generated text uses itself: a class or a field of such a name would hide them.
const USED: [&str; 28] = [
    "AbstractSet",
    "Any",
    "Call",
    "ClassVar",
    "Literal",
    "Mapping",
    "NotRequired",
    "Sequence",
    "TYPE_CHECKING",
    "TypeAlias",
    "TypedDict",
    "annotations",
    "bool",
    "bytearray",
    "bytes",
    "dataclass",
    "dict",
    "field",
    "final",
    "float",
    "frozenset",
    "int",
    "list",
    "memoryview",
    "self",
    "str",
    "tuple",
    "object",
];

/// Says whether `name` is an identifier. Others than ASCII's are left out for simplicity.
pub(super) fn is_identifier(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && chars.all(|char| char.is_ascii_alphanumeric() || char == '_')
        && !KEYWORDS.contains(&name)
}

/// The names of one module.
#[derive(Default)]
pub(super) struct Names {
    taken: HashSet<String>,
}

impl Names {
    /// Says whether a class may have a field of this name: a name that is used in its annotations
    /// would be hidden, and one with two underscores in front is changed by Python.
    pub(super) fn is_field(&self, name: &str) -> bool {
        is_identifier(name)
            && !name.starts_with("__")
            && !USED.contains(&name)
            && !self.taken.contains(name)
    }

    /// Keeps types from taking this name.
    pub(super) fn reserve(&mut self, name: &str) {
        self.taken.insert(name.to_owned());
    }

    /// The name itself, or made into one with a number behind it; so with all suffixes.
    pub(super) fn unique(&mut self, wanted: &str, suffixes: &[&str]) -> String {
        let mut base: String = wanted
            .chars()
            .map(|char| if char.is_ascii_alphanumeric() { char } else { '_' })
            .collect();
        if !base.starts_with(|first: char| first.is_ascii_alphabetic()) {
            base.insert(0, 'T');
        }
        let is_free = |names: &Self, name: &str| {
            !KEYWORDS.contains(&name) && !USED.contains(&name) && !names.taken.contains(name)
        };
        let all_free = |names: &Self, name: &str| {
            is_free(names, name)
                && suffixes.iter().all(|suffix| is_free(names, &format!("{name}{suffix}")))
        };
        let mut name = base.clone();
        let mut number = 1;
        while !all_free(self, &name) {
            number += 1;
            name = format!("{base}{number}");
        }
        self.reserve(&name);
        for suffix in suffixes {
            self.reserve(&format!("{name}{suffix}"));
        }
        name
    }
}

/// `data_chunk` as `DataChunk`.
pub(super) fn pascal(name: &str) -> String {
    let parts = name.split(|char: char| !char.is_ascii_alphanumeric());
    parts
        .map(|part| {
            let mut chars = part.chars();
            let first = chars.next().map(|first| first.to_ascii_uppercase());
            first.into_iter().chain(chars).collect::<String>()
        })
        .collect()
}

/// A string literal.
pub(super) fn literal(text: &str) -> String {
    let mut literal = String::from("\"");
    for char in text.chars() {
        match char {
            '"' | '\\' => literal.extend(['\\', char]),
            char if char.is_control() || u32::from(char) > 0xffff => {
                literal += &format!("\\U{:08x}", u32::from(char));
            }
            char => literal.push(char),
        }
    }
    literal.push('"');
    literal
}
