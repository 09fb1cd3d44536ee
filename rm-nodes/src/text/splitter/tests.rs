//! Tests of where sentences end.

use super::*;
use crate::text::abbreviations::DEFAULT;

fn rules() -> Rules {
    Rules {
        abbreviations: DEFAULT.iter().map(|word| (*word).to_owned()).collect(),
        newlines: Newlines::Always,
        min_chars: 0,
        max_chars: 400,
    }
}

/// The sentences of a whole text.
fn split(rules: Rules, language: Option<&str>, text: &str) -> Vec<String> {
    let mut splitter = Splitter::new(rules);
    let (mut rest, mut sentences) = (text.trim(), Vec::new());
    while !rest.is_empty() {
        let end = splitter.first_end(rest, language, true).unwrap_or(rest.len());
        sentences.push(rest[..end].trim_end().to_owned());
        rest = rest[end..].trim_start();
    }
    sentences
}

/// Checks that a text, in which `|` marks the ends of sentences, is split there and nowhere else.
fn check_in(language: Option<&str>, marked: &str) {
    let expected: Vec<_> = marked.split('|').map(|part| part.trim().to_owned()).collect();
    assert_eq!(split(rules(), language, &marked.replace('|', "")), expected);
}

fn check(marked: &str) {
    check_in(None, marked);
}

#[test]
fn sentences_end_at_their_marks() {
    check("Hello there.| How are you?| Fine!| So am I.| Then go.");
    check("hey! |how are you? |ok");
    check("Really?! |Yes.");
    check("He left .| Then she came.");
    check("Visit example.com or see file.Txt today.| Done.");
    check("あなたは誰ですか？|私は猫です。|「名前はまだない。」|そうか！|はい");
    check("你好，世界。|再见！");
    check("क्या हाल है? |मैं ठीक हूँ। |अच्छा।");
    check("هل أنت بخير؟ |نعم.");
}

#[test]
fn numbers_are_whole() {
    check("It costs 3.14 or .5 euros, version 1.2.3 of it.| Done.");
    check("In 2024 it was 42.| Then 43.");
    check("1. Open the door. |2. Close it.");
}

#[test]
fn abbreviations_and_initials_end_nothing() {
    check("Dr. Smith met Mrs. Jones, e.g. Monday, approx. 5 times.| Then he left.");
    check("E.g. Smith wrote it.| J. R. R. Tolkien, J.R.R. Tolkien and C.-G. Jung did not.");
    check("Das ist z. B. Holz, z.B. Eiche, d.h. Material, ca. 3 Mio. Euro, vgl. Abb. 3.| Gut.");
    check("Apples, pears etc. are fruit.| Cats, dogs etc.| Then came birds.");
    check("Call at 5 p.m.| We wait.");
    check("No.| I do not.| That is Max.| He is here.");
    check("(Approx. Monday.) |Then.");
}

#[test]
fn ordinals_end_nothing_in_languages_that_mark_them_by_a_full_stop() {
    check_in(Some("de"), "Am 3. Mai kam der 21. Besucher.| Er war 42.| Dann ging er.");
    check_in(Some("de-AT"), "Am 3. Mai.");
    check_in(Some("en"), "There were 3.| May I?");
}

#[test]
fn an_ellipsis_ends_a_sentence_before_a_capital_only() {
    check("Well... maybe.| Well...| No.");
    check("Well… maybe.| Well…| No.");
}

#[test]
fn what_closes_belongs_to_the_sentence_before() {
    check(
        "He said \"Stop!\" and left.| \"Stop!\"| He left.| (Really.)| \u{201e}Nein.\u{201c}| So.",
    );
    check("«Non !» dit-il.");
    check("**Stop!** |Now *here.* |Then _there_.");
    check("そう。|（はい。）|「うん」。");
}

#[test]
fn a_line_end_is_what_the_parameter_says() {
    let text = "# Title\nfirst line\nof two. next\n \nSecond Dr.\nNo. Three";
    let given = |newlines| split(Rules { newlines, ..rules() }, None, text);
    assert_eq!(
        given(Newlines::Always),
        ["# Title", "first line", "of two. next", "Second Dr.", "No.", "Three"]
    );
    assert_eq!(
        given(Newlines::BlankLine),
        ["# Title\nfirst line\nof two. next", "Second Dr.\nNo.", "Three"]
    );
    assert_eq!(
        given(Newlines::Never),
        ["# Title\nfirst line\nof two. next\n \nSecond Dr.\nNo.", "Three"]
    );
    assert_eq!(split(rules(), None, "a\r\nb\u{2029}c"), ["a", "b", "c"]);
}

#[test]
fn a_short_sentence_goes_with_the_next() {
    let rules = Rules { min_chars: 8, ..rules() };
    let text = "Yes. Oh. I know that. You do? So.";
    assert_eq!(split(rules, None, text), ["Yes. Oh.", "I know that.", "You do? So."]);
}

#[test]
fn a_long_sentence_is_cut_behind_a_clause_or_a_word() {
    let cut = |text: &str| split(Rules { max_chars: 20, ..rules() }, None, text);
    assert_eq!(cut("a word, and another, and more"), ["a word, and another,", "and more"]);
    assert_eq!(cut("a, word and one more word here"), ["a, word and one more", "word here"]);
    assert_eq!(cut(&"x".repeat(50)), ["x".repeat(20), "x".repeat(20), "x".repeat(10)]);
    assert_eq!(cut(&"文，".repeat(11)), ["文，".repeat(10), "文，".to_owned()]);
    let flags = "🇩🇪".repeat(11);
    assert!(cut(&flags).iter().all(|part| part.chars().count() % 2 == 0));
    assert_eq!(
        cut("12345678901234567,890 is one number"),
        ["12345678901234567,89", "0 is one number"]
    );
    assert_eq!(cut("Just twenty letters.  Next"), ["Just twenty letters.", "Next"]);
}

#[test]
fn runs_of_spaces_and_closing_marks_are_like_one() {
    check("One. |\u{a0}\t  Two.)))\"   |Three! |\u{3000} (Four.)\u{2003}  |«Five.»»  |Six");
    check("Dr.   Smith said 'no.'')   and left.   |He did.");
}

#[test]
fn nothing_is_said_before_it_is_certain() {
    let mut splitter = Splitter::new(rules());
    let mut end = |text| splitter.first_end(text, None, false);
    for text in ["Hello", "Hello.", "Hello. ", "Hello. 3", "Hello. \"", "Hello!", "Hello! "] {
        assert_eq!(end(text), None, "{text}");
    }
    for text in ["Hello. H", "Hello. \"H", "Hello! h", "Hello! 3"] {
        assert_eq!(end(text), Some(7), "{text}");
    }
    assert_eq!(end("Hello\n"), Some(6));
    assert_eq!(end("Hello. h"), None);
}

#[test]
fn everyday_text_is_split_as_people_would() {
    check("Mail ann@Example.org or open https://example.org/A.b?c=1.D today.| Thanks.");
    check("Open p. 12 at 18.30 on 24.12.2026, it costs $4.50.| Or 1.234,56 €.| Bye.");
    check("Ask Smith & Co. at noon.| Ask Smith & Co.| They know.");
    check("Sure! |First, call them. |Then wait 10 min. and retry. |OK? |See Sec. 4.2. |Bye.");
    check("It is 10. |I paid $5. |Version 2.0. |So what?!| Go!!| Wait... what? |No.");
    check("¿Qué tal? |¡Muy bien! |Gracias. |Voilà M. Dupont, 45 ans.");
    check("She said, 'It is good.' and left.| \"It is.\"| She left.");
    check("Er wohnt in der Hauptstr. 5, Hausnr. 7.| Gut.");
    check("Was it?! |“Yes . . .” |(See above.) |So.");
}
