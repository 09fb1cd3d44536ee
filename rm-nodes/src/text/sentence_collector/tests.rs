//! Tests of the sentence collector.

use super::*;
use crate::testing::{make, run};
use proptest::prelude::*;
use serde_json::json;
use std::time::SystemTime;

const NAME: &str = "SentenceCollectorNode";

fn text(text: &str) -> RuntimeData {
    RuntimeData::text(text).unwrap()
}

fn texts(items: &[RuntimeData]) -> Vec<&str> {
    items.iter().map(|item| item.as_text().unwrap()).collect()
}

fn collector(params: Value) -> SentenceCollector {
    let defaults = json!({
        "abbreviations": ["Dr."], "newlines": "always", "min_chars": 0, "max_chars": 400,
        "max_wait_ms": 0,
    });
    let defaults: Params = serde_json::from_value(defaults).unwrap();
    SentenceCollector::new(changed(&defaults, &params).unwrap()).unwrap()
}

#[test]
fn tokens_become_sentences_as_early_as_they_are_certain() {
    let mut node = collector(json!({}));
    let mut output = Output::default();
    let now = Instant::now();
    let mut given = |token: &str| {
        node.collect(now, &text(token), &mut output).unwrap();
        let items: Vec<_> = output.drain().collect();
        texts(&items).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    for token in ["Hel", "lo, Dr", ".", " Who", "! ", ""] {
        assert!(given(token).is_empty(), "{token}");
    }
    assert_eq!(given("It is 3."), ["Hello, Dr. Who!"]);
    assert!(given("14").is_empty());
    assert_eq!(given(".\n"), ["It is 3.14."]);
    assert!(given("rest").is_empty());
    node.finish(&mut output).unwrap();
    assert_eq!(texts(&output.drain().collect::<Vec<_>>()), ["rest"]);
}

#[test]
fn a_sentence_carries_the_time_and_the_language_of_the_piece_it_begins_in() {
    let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let piece = |seconds, text: &str, language: &str| {
        RuntimeData::text_in(text, language)
            .unwrap()
            .with_timestamp(at(seconds))
            .with_correlation(7)
    };
    let mut node = make(NAME, json!(null)).unwrap();
    let pieces = [
        piece(1, "One ", "en"),
        piece(2, "two. ", "en"),
        piece(3, " ", "en"),
        piece(4, " Three", "en"),
        piece(5, " four. Five", "en"),
        piece(6, "Am 3. Mai", "de"),
    ];
    let out = run(node.as_mut(), pieces).unwrap();
    assert_eq!(texts(&out), ["One two.", "Three four.", "Five", "Am 3. Mai"]);
    let times: Vec<_> = out.iter().map(|item| item.header().timestamp).collect();
    assert_eq!(times, [at(1), at(4), at(5), at(6)]);
    assert!(out.iter().all(|item| item.header().correlation_id == 7));
    let german = RuntimeData::text_in("", "de").unwrap();
    assert_eq!(out[3].header().metadata, german.header().metadata);
    assert_ne!(out[2].header().metadata, german.header().metadata);
}

#[test]
fn the_rest_is_given_when_nothing_came_for_long_enough() {
    let mut node = collector(json!({"max_wait_ms": 100}));
    let mut output = Output::default();
    let start = Instant::now();
    let ms = |ms| start + Duration::from_millis(ms);
    assert_eq!(node.due(), None);
    node.collect(ms(0), &text("  "), &mut output).unwrap();
    assert_eq!(node.due(), None);
    node.collect(ms(10), &text("Hello. "), &mut output).unwrap();
    node.collect(ms(50), &text("Wor"), &mut output).unwrap();
    assert_eq!(node.due(), Some(ms(150)));
    output.clear();
    node.on_time(ms(149), &mut output).unwrap();
    assert!(output.is_empty());
    node.on_time(ms(150), &mut output).unwrap();
    assert_eq!(texts(&output.drain().collect::<Vec<_>>()), ["Wor"]);
    assert_eq!(node.due(), None);
    node.on_time(ms(500), &mut output).unwrap();
    assert!(output.is_empty());
}

#[test]
fn pieces_without_text_take_no_memory() {
    let mut node = collector(json!({}));
    let mut output = Output::default();
    for _ in 0..1_000 {
        for piece in ["", " ", "a", ""] {
            node.collect(Instant::now(), &text(piece), &mut output).unwrap();
        }
        assert!(node.pieces.len() < 1_000);
    }
}

#[test]
fn a_flush_drops_what_is_held() {
    let mut node = collector(json!({"max_wait_ms": 100}));
    let mut output = Output::default();
    node.collect(Instant::now(), &text("Hello"), &mut output).unwrap();
    node.flush();
    assert_eq!(node.due(), None);
    node.finish(&mut output).unwrap();
    assert!(output.is_empty());
}

#[test]
fn rules_can_be_changed_while_text_is_held() {
    let mut node = collector(json!({}));
    let mut output = Output::default();
    let now = Instant::now();
    node.collect(now, &text("I asked Dr. Who"), &mut output).unwrap();
    node.set_params(&json!({"abbreviations": [], "max_chars": 20})).unwrap();
    node.collect(now, &text(" and"), &mut output).unwrap();
    assert_eq!(texts(&output.drain().collect::<Vec<_>>()), ["I asked Dr."]);
    let error = node.set_params(&json!({"min_chars": 30})).unwrap_err();
    assert_eq!(error.to_string(), "parameter \"min_chars\" is 30, expected at most max_chars (20)");
}

#[test]
fn only_text_in_utf8_is_taken() {
    let metadata = DataMetadata::Text { encoding: "latin1".to_owned(), language: None };
    let latin = RuntimeData::new(metadata, vec![0xfc]).unwrap();
    for item in [latin, RuntimeData::json(&json!("x")).unwrap()] {
        let error = run(make(NAME, json!(null)).unwrap().as_mut(), [item]).unwrap_err();
        assert!(error.to_string().ends_with("takes text in UTF-8"), "{error}");
    }
}

/// Text with everything that rules look at.
fn any_text() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        4 => "[a-zA-Z]{1,6}",
        2 => Just(" ".to_owned()),
        2 => prop::sample::select(vec![
            ".", "!", "?", "…", "...", "。", "！", ",", "\"", ")", "\n", "\r\n", "\n\n", "\u{2028}",
            "\u{301}", "3", "3.14", "Dr.", "z. B.", " A", "文", "🇩🇪", "\u{a0}", "-", "\u{85}",
        ]).prop_map(str::to_owned),
        1 => any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(part, 0..60).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn the_cut_of_the_text_does_not_matter(
        whole in any_text(),
        lengths in prop::collection::vec(1..9_usize, 1..8),
        newlines in prop::sample::select(vec!["always", "blank_line", "never"]),
        min_chars in 0..12_usize,
        max_chars in prop::sample::select(vec![12, 40, 400]),
    ) {
        let params = json!({
            "newlines": newlines, "min_chars": min_chars, "max_chars": max_chars,
        });
        let given = |pieces: Vec<String>| {
            let mut node = make(NAME, params.clone()).unwrap();
            let out = run(node.as_mut(), pieces.iter().map(|piece| text(piece))).unwrap();
            out.iter().map(|item| item.as_text().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let mut letters = whole.chars();
        let mut pieces = Vec::new();
        for length in lengths.iter().cycle() {
            let piece: String = letters.by_ref().take(*length).collect();
            if piece.is_empty() {
                break;
            }
            pieces.push(piece);
        }
        let sentences = given(vec![whole.clone()]);
        prop_assert_eq!(&given(pieces), &sentences);

        let bare = |text: &str| text.split_whitespace().collect::<String>();
        prop_assert_eq!(bare(&sentences.concat()), bare(&whole));
        for sentence in &sentences {
            prop_assert!(!sentence.is_empty() && sentence.trim() == sentence);
            prop_assert!(sentence.chars().count() <= max_chars);
        }
    }
}
