//! `SentenceCollectorNode`: puts pieces of text together into sentences, for a speech synthesiser.
//!
//! The pieces may be cut anywhere, as a language model gives them. Each sentence is given as soon as it
//! is certain that it has ended, which takes the beginning of the next one: after "3." may come "14". The
//! rest is given at the end, or when nothing has come for `max_wait_ms`. White space before and behind
//! a sentence is dropped, that within it is left alone; nothing else is lost. A sentence carries the
//! time and the language of the piece that it begins in; where the language changes, a sentence ends.
//! What a sentence is stands in `splitter`.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rm_core::{
    DataHeader, DataMetadata, DataType, Node, NodeError, NodeFormats, NodeMetadata, NodeRegistry,
    Output, ParameterKind, ParameterSpec, RegistryError, RuntimeData,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::abbreviations;
use super::splitter::{Rules, Splitter};
use crate::define::{changed, define_with_formats, wrong};
use crate::input::describe_item;

#[derive(Debug, Clone, Deserialize, Serialize)]
struct Params {
    #[serde(flatten)]
    rules: Rules,
    max_wait_ms: u64,
}

impl Params {
    fn checked(mut self) -> Result<Self, NodeError> {
        let Rules { abbreviations, min_chars, max_chars, .. } = &mut self.rules;
        if min_chars > max_chars {
            return Err(wrong("min_chars", min_chars, format!("at most max_chars ({max_chars})")));
        }
        for word in abbreviations {
            word.truncate(word.trim_end_matches('.').len());
        }
        Ok(self)
    }
}

struct SentenceCollector {
    params: Params,
    splitter: Splitter,
    /// What has not been given yet; begins with anything but white space.
    text: String,
    /// Where in the text each piece begins, and its header.
    pieces: VecDeque<(usize, DataHeader)>,
    /// When to give the rest although the sentence has not ended.
    due: Option<Instant>,
}

impl SentenceCollector {
    fn new(params: Params) -> Result<Self, NodeError> {
        let params = params.checked()?;
        Ok(Self {
            splitter: Splitter::new(params.rules.clone()),
            params,
            text: String::new(),
            pieces: VecDeque::new(),
            due: None,
        })
    }

    /// Takes one piece of text that came at `now`.
    fn collect(
        &mut self,
        now: Instant,
        input: &RuntimeData,
        output: &mut Output,
    ) -> Result<(), NodeError> {
        let Some(text) = input.as_text() else {
            return Err(NodeError::Input {
                found: describe_item(input),
                expected: "text in UTF-8".to_owned(),
            });
        };
        let header = input.header();
        if self.pieces.back().is_some_and(|(_, last)| last.metadata != header.metadata) {
            self.give(true, output)?;
        }
        // A piece without text gives its place to the next one.
        if self.pieces.back().is_some_and(|(at, _)| *at == self.text.len()) {
            self.pieces.pop_back();
        }
        self.pieces.push_back((self.text.len(), header.clone()));
        self.text.push_str(text);
        self.give(false, output)?;
        let wait = Duration::from_millis(self.params.max_wait_ms);
        self.due = (!wait.is_zero() && !self.text.is_empty()).then(|| now + wait);
        Ok(())
    }

    /// Gives the sentences that have ended; with the text, all of it has.
    fn give(&mut self, ended: bool, output: &mut Output) -> Result<(), NodeError> {
        let Self { splitter, text, pieces, .. } = self;
        let language = match pieces.back() {
            Some((_, DataHeader { metadata: DataMetadata::Text { language, .. }, .. })) => {
                language.clone()
            }
            _ => None,
        };
        let mut begin = 0;
        loop {
            begin += text[begin..].len() - text[begin..].trim_start().len();
            // The first piece is the one in which what follows begins.
            while pieces.get(1).is_some_and(|(at, _)| *at <= begin) {
                pieces.pop_front();
            }
            let rest = &text[begin..];
            let end = match splitter.first_end(rest, language.as_deref(), ended) {
                Some(end) => end,
                None if ended && !rest.is_empty() => rest.len(),
                None => break,
            };
            if let Some((_, header)) = pieces.front() {
                let sentence = rest[..end].trim_end().to_owned();
                let item = RuntimeData::new(header.metadata.clone(), sentence)?;
                output.push(item.made_from(header));
            }
            begin += end;
        }
        text.drain(..begin);
        for (at, _) in pieces.iter_mut() {
            *at = at.saturating_sub(begin);
        }
        if text.is_empty() {
            pieces.clear();
        }
        Ok(())
    }
}

impl Node for SentenceCollector {
    fn process(&mut self, input: RuntimeData, output: &mut Output) -> Result<(), NodeError> {
        self.collect(Instant::now(), &input, output)
    }

    fn set_params(&mut self, params: &Value) -> Result<(), NodeError> {
        self.params = changed(&self.params, params)?.checked()?;
        self.splitter.rules = self.params.rules.clone();
        Ok(())
    }

    fn flush(&mut self) {
        self.text.clear();
        self.pieces.clear();
        self.due = None;
    }

    fn due(&self) -> Option<Instant> {
        self.due
    }

    fn on_time(&mut self, now: Instant, output: &mut Output) -> Result<(), NodeError> {
        if self.due.is_some_and(|due| due <= now) {
            self.due = None;
            self.give(true, output)?;
        }
        Ok(())
    }

    fn finish(&mut self, output: &mut Output) -> Result<(), NodeError> {
        self.due = None;
        self.give(true, output)
    }
}

pub(crate) fn register(registry: &mut NodeRegistry) -> Result<(), RegistryError> {
    let metadata = NodeMetadata {
        name: "SentenceCollectorNode".to_owned(),
        version: "1.0.0".to_owned(),
        description: "puts pieces of text, cut anywhere, together into sentences, each as soon as it \
                      is certain that it has ended"
            .to_owned(),
        parameters: vec![
            ParameterSpec::optional(
                "min_chars",
                ParameterKind::Integer,
                0,
                "a shorter sentence is given together with the next one",
            )
            .range(0.0, 2_000.0)
            .unit("characters"),
            ParameterSpec::optional(
                "max_chars",
                ParameterKind::Integer,
                400,
                "a longer sentence is cut: behind a comma or the like in its second half, else \
                 between words",
            )
            .range(10.0, 2_000.0)
            .unit("characters"),
            ParameterSpec::optional(
                "max_wait_ms",
                ParameterKind::Integer,
                0,
                "when no text has come for so long, what is there is given although the sentence has \
                 not ended; 0 for never",
            )
            .range(0.0, 600_000.0)
            .unit("ms"),
            ParameterSpec::optional(
                "newlines",
                ParameterKind::String,
                "always",
                "which line ends end a sentence",
            )
            .choices(["always", "blank_line", "never"]),
            ParameterSpec {
                items: Some(ParameterKind::String),
                ..ParameterSpec::optional(
                    "abbreviations",
                    ParameterKind::List,
                    abbreviations::DEFAULT.to_vec(),
                    "words whose full stop ends no sentence, in place of the built-in English and \
                     German ones; a small first letter stands for a capital as well, and what begins \
                     with a hyphen is the end of a word",
                )
            },
        ],
        accepts: vec![DataType::Text],
        produces: vec![DataType::Text],
        timed: true,
        ..NodeMetadata::default()
    };
    let formats = |_: &Params, _: &_| NodeFormats::takes([DataType::Text]);
    define_with_formats(registry, metadata, formats, |params, _| SentenceCollector::new(params))
}

#[cfg(test)]
mod tests;
