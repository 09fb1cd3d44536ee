//! Where a sentence ends, as early as that is certain.
//!
//! Main type: [`Splitter`]. Boundaries are those of Unicode Standard Annex #29, less those that come
//! from abbreviations, initials, ordinal numbers, list numbers and quoted exclamations. What it finds
//! does not depend on how much of the text was there when it was asked: a boundary is told only when no
//! further text can take it back. It holds no text; that is for the node.

use serde::{Deserialize, Serialize};
use unicode_segmentation::UnicodeSegmentation;

use super::abbreviations::is_known;

/// Which line ends end a sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Newlines {
    /// Each.
    Always,
    /// Those before an empty line.
    BlankLine,
    /// None; they are white space like any other.
    Never,
}

/// What a sentence is, beyond Unicode's rules.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub(super) struct Rules {
    /// Words whose full stop ends no sentence, without that full stop.
    pub(super) abbreviations: Vec<String>,
    /// Which line ends end a sentence.
    pub(super) newlines: Newlines,
    /// Shorter sentences are given together with the next one.
    pub(super) min_chars: usize,
    /// Longer ones are cut.
    pub(super) max_chars: usize,
}

/// Languages that write ordinal numbers with a full stop.
const DOTTED_ORDINALS: &[&str] = &[
    "de", "da", "nb", "nn", "no", "is", "fi", "et", "lv", "cs", "sk", "sl", "hr", "bs", "sr", "hu",
    "pl", "tr",
];
/// What may close behind the mark that ends a sentence.
const CLOSING: &str = "\"'”’“‘»«›‹)]}」』】〉》〕）］｝*_`~";
/// What may open before a word.
const OPENING: &str = "\"'„“‚‘»«›‹([{「『【〈《〔（［｛";
/// What only opens, in scripts that write no space before it. Unicode's rules take it for something that
/// may close.
const WIDE_OPENING: &str = "「『【〈《〔（［｛";
/// How Markdown marks words; behind the end of a sentence they close.
const MARKUP: &str = "*_`~";
/// Marks after which a long sentence is best cut, where white space follows.
const CLAUSE: &str = ",;:–—";
/// The same in scripts that write no space behind them.
const WIDE_CLAUSE: &str = "，、；：،؛";
/// Words that end with an initial and do end sentences.
const NOT_INITIALS: &[&str] = &["I", "a.m", "p.m", "A.M", "P.M"];

/// Finds the ends of sentences.
pub(super) struct Splitter {
    pub(super) rules: Rules,
    /// The text as Unicode's rules are to see it; kept for its memory.
    seen: String,
    /// Places in it before which something was left out, each with the bytes left out up to there.
    left_out: Vec<(usize, usize)>,
}

impl Splitter {
    pub(super) fn new(rules: Rules) -> Self {
        Self { rules, seen: String::new(), left_out: Vec::new() }
    }

    /// Where the first sentence of `text` ends, in bytes; `text` begins with anything but white space.
    /// `None` where that is not certain yet, or, when the text has `ended`, if it is all one sentence.
    pub(super) fn first_end(
        &mut self,
        text: &str,
        language: Option<&str>,
        ended: bool,
    ) -> Option<usize> {
        // What is decided for a sentence that is too long must not depend on what else is there, so no
        // more than the first character too many is looked at.
        let extra = text.char_indices().nth(self.rules.max_chars);
        let window = match extra {
            Some((at, character)) => &text[..at + character.len_utf8()],
            None => text,
        };
        self.see(window);
        if !ended || extra.is_some() {
            // Unicode's rules look ahead for a small letter behind a full stop (SB8). With one behind all
            // that is there, only what no further text can take back is a boundary.
            self.seen.push('a');
        }
        let Self { rules, seen, left_out } = self;
        let bounds = seen.split_sentence_bound_indices().map(|(begin, _)| begin).skip(1);
        let mut ends = bounds.map(|seen_at| {
            let known = left_out.partition_point(|(at, _)| *at <= seen_at);
            let bytes = known.checked_sub(1).map_or(0, |last| left_out[last].1);
            (seen_at + bytes, seen[..seen_at].ends_with(is_line_end))
        });
        let end = ends.find_map(|(end, is_line)| {
            let (before, after) = window.split_at(end);
            let next = after.chars().next();
            // Nothing is known of what follows the last character, unless that ends a line.
            let is_known = next.is_some() || is_line;
            (is_known && rules.is_end(before, next, is_line, language)).then_some(end)
        });
        end.or_else(|| extra.map(|(limit, _)| long_end(window, limit)))
    }

    /// Writes `text` as Unicode's rules are to see it, with as many bytes for each character. Of several
    /// spaces or closing marks in a row there is only the first: they mean no more than one, and looking
    /// ahead from each of them would take a time that grows with the square of their number.
    fn see(&mut self, text: &str) {
        self.seen.clear();
        self.left_out.clear();
        let mut rest = text.chars();
        let mut last = ' ';
        let (mut last_seen, mut bytes_left_out) = ('a', 0);
        while let Some(character) = rest.next() {
            let keeps_line = || match self.rules.newlines {
                Newlines::Always => true,
                Newlines::Never => false,
                Newlines::BlankLine => {
                    let blank = |c: &char| matches!(c, ' ' | '\t' | '\r');
                    rest.clone().find(|c| !blank(c)) == Some('\n')
                }
            };
            let seen = match character {
                // An ellipsis behaves as the three full stops that it stands for.
                '…' => '\u{2024}',
                // A letter, which never closes.
                opening if WIDE_OPENING.contains(opening) => 'ア',
                mark if MARKUP.contains(mark)
                    && (".!?…".contains(last) || CLOSING.contains(last)) =>
                {
                    '"'
                }
                '\n' if !keeps_line() => ' ',
                '\r' => ' ',
                // No-break space and em space have as many bytes as what they replace.
                '\u{85}' if self.rules.newlines != Newlines::Always => '\u{a0}',
                '\u{2028}' if self.rules.newlines != Newlines::Always => '\u{2003}',
                '\u{2029}' if self.rules.newlines == Newlines::Never => '\u{2003}',
                other => other,
            };
            let both = |kind: fn(char) -> bool| kind(seen) && kind(last_seen);
            if both(is_space) || both(is_closing) {
                bytes_left_out += character.len_utf8();
                self.left_out.push((self.seen.len(), bytes_left_out));
            } else {
                self.seen.push(seen);
            }
            (last, last_seen) = (character, seen);
        }
    }
}

fn is_line_end(c: char) -> bool {
    matches!(c, '\n' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// Whether a character is of the class Sp.
fn is_space(c: char) -> bool {
    c.is_whitespace() && !is_line_end(c)
}

/// Whether a character of those in [`CLOSING`] is of the class Close.
fn is_closing(c: char) -> bool {
    CLOSING.contains(c) && !MARKUP.contains(c)
}

impl Rules {
    /// Whether a boundary by Unicode's rules is one here. It follows from what stands before it and the
    /// next character alone.
    fn is_end(
        &self,
        before: &str,
        next: Option<char>,
        is_line: bool,
        language: Option<&str>,
    ) -> bool {
        let sentence = before.trim_end();
        // Without a letter it is the number of a list item, or nothing that can be spoken.
        if !sentence.contains(char::is_alphabetic)
            || sentence.chars().take(self.min_chars).count() < self.min_chars
        {
            return false;
        }
        if is_line {
            return true;
        }
        if sentence.len() == before.len() && is_address(last_word(sentence)) {
            return false;
        }
        let bare = sentence.trim_end_matches(|c| CLOSING.contains(c));
        if bare.ends_with(['!', '?']) {
            // "Stop!" he said.
            let is_quoted = bare.len() < sentence.len();
            return !(is_quoted && next.is_some_and(char::is_lowercase));
        }
        let Some(stem) = bare.strip_suffix('.') else { return true };
        let word = last_word(stem);
        !(is_known(word, &self.abbreviations) || is_initial(word) || is_ordinal(word, language))
    }
}

/// What stands behind the last white space or opening mark.
fn last_word(text: &str) -> &str {
    let cut = |c: char| c.is_whitespace() || OPENING.contains(c);
    text.rsplit(cut).next().unwrap_or(text)
}

/// Whether a word looks like an address on the net, in which marks end nothing.
fn is_address(word: &str) -> bool {
    word.contains("://") || word.contains('@') || word.starts_with("www.")
}

/// Whether a word is or ends with one letter, as `J`, `J.R.R` and the `B` of `z. B`.
fn is_initial(word: &str) -> bool {
    let mut last = word.rsplit(['.', '-']).next().unwrap_or(word).chars();
    let letter = last.next().is_some_and(|c| c.is_uppercase() || c.is_lowercase());
    letter && last.next().is_none() && !NOT_INITIALS.contains(&word)
}

/// Whether a number is the day of a month, or a small ordinal, in a language that marks it by a full stop.
fn is_ordinal(word: &str, language: Option<&str>) -> bool {
    let primary = language.and_then(|tag| tag.split('-').next()).unwrap_or_default();
    word.bytes().all(|byte| byte.is_ascii_digit())
        && word.parse::<u8>().is_ok_and(|number| (1..=31).contains(&number))
        && DOTTED_ORDINALS.iter().any(|known| primary.eq_ignore_ascii_case(known))
}

/// Where to cut a sentence of which at most `limit` bytes may be given; `window` has one more character.
fn long_end(window: &str, limit: usize) -> usize {
    let ends = window.char_indices().zip(window.char_indices().skip(1));
    let (mut clause, mut word) = (None, None);
    for ((_, character), (end, next)) in ends {
        let is_wide = WIDE_CLAUSE.contains(character);
        if is_wide || (CLAUSE.contains(character) && next.is_whitespace()) {
            clause = Some(end);
        }
        if next.is_whitespace() && !character.is_whitespace() {
            word = Some(end);
        }
    }
    // A clause that would leave more than half for later is worse than a word.
    let letter = || window.grapheme_indices(true).map(|(begin, _)| begin).rfind(|at| *at <= limit);
    clause
        .filter(|end| *end >= limit / 2)
        .or(word)
        .or_else(|| letter().filter(|end| *end > 0))
        .unwrap_or(limit)
}

#[cfg(test)]
mod tests;
