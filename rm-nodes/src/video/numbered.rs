//! Paths with a number in them: `frame_{index:06}.png`.
//!
//! Main type: [`Numbered`]. It does not look at the disk.

use std::path::PathBuf;

/// Most digits that a number is filled up to.
const MAX_DIGITS: usize = 20;

/// A path with a place for a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Numbered {
    before: String,
    digits: usize,
    behind: String,
}

impl Numbered {
    /// `None` for a path without `{index}`.
    ///
    /// # Errors
    /// What would be right, for one with other braces.
    pub(crate) fn parse(path: &str) -> Result<Option<Self>, &'static str> {
        let expected = "a path with one {index}, or {index:06} for a number of at least 6 digits";
        let Some((before, rest)) = path.split_once("{index") else { return Ok(None) };
        let (digits, behind) = rest.split_once('}').ok_or(expected)?;
        let digits = match digits.strip_prefix(":0") {
            Some(digits) => digits.parse().ok().filter(|digits| *digits <= MAX_DIGITS),
            None => digits.is_empty().then_some(0),
        };
        let digits = digits.ok_or(expected)?;
        if behind.contains("{index") {
            return Err(expected);
        }
        Ok(Some(Self { before: before.to_owned(), digits, behind: behind.to_owned() }))
    }

    pub(crate) fn path(&self, number: u64) -> PathBuf {
        let Self { before, digits, behind } = self;
        PathBuf::from(format!("{before}{number:0digits$}{behind}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_take_their_place() {
        let path = |pattern: &str| {
            let numbered = Numbered::parse(pattern).unwrap().unwrap();
            numbered.path(7).to_string_lossy().into_owned()
        };
        assert_eq!(path("a/{index}.png"), "a/7.png");
        assert_eq!(path("a_{index:04}b.png"), "a_0007b.png");
        assert_eq!(Numbered::parse("a.png"), Ok(None));
        for wrong in ["{index", "{index:4}", "{index:0x}", "{index:099}", "{index}{index}"] {
            assert!(Numbered::parse(wrong).is_err(), "{wrong}");
        }
    }
}
