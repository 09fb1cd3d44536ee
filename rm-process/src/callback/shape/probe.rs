//! A deserializer that asks a `Deserialize` implementation what it wants at one place of a value.
//!
//! Main type: [`Probe`]. It follows a path of [`Step`]s into the value and offers on the way only
//! what lies on it. At the end it notes what is asked for, [`Seen`], and gives up. Which paths to
//! follow is decided in `explore`.
//!
//! Where a value is buffered before it is looked at (internally tagged and untagged enums, flattened
//! fields), nothing is asked for. There the probe offers bytes that nobody wants, and what the
//! complaint says is right is what is wanted.

use std::any::type_name;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use serde::de::{DeserializeSeed, Deserializer, Expected, Visitor};

use super::access::{Chosen, Entries, Items, Single};
use super::fault::Fault;
use super::model::{Form, TypeDef};

/// Texts that types which read a text are tried with.
pub(super) const TEXTS: [&str; 10] = [
    "",
    "2024-01-01T00:00:00Z",
    "2024-01-01",
    "00:00:00",
    "00000000-0000-4000-8000-000000000000",
    "127.0.0.1",
    "127.0.0.1:80",
    "http://a.example/",
    "1",
    "a",
];

/// How many values are tried for a place of which nothing is known.
pub(super) const GUESSES: usize = TEXTS.len();

/// Calls of one run before it is given up: a loop that ignores errors ends.
const MOST_CALLS: usize = 20_000;

/// How deeply values are made up.
const DEEPEST: usize = 24;

/// One step into a value.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// Into the entry `name` of a map or struct; without a name, the end of the path is this struct
    /// with what stands in `beside`. Otherwise that is offered only where it `is_shown`, or a whole
    /// value is built: whoever only looks at one entry shall not hear complaints about others.
    Entry { beside: Vec<(String, Given)>, is_shown: bool, name: Option<String> },
    /// Into an option.
    Some,
    /// Into a newtype.
    Newtype,
    /// Into an item, behind others of these forms.
    Item { before: Vec<Form> },
    /// Into the key of a map.
    Key,
    /// Into the value behind some key.
    Value,
    /// Into what a newtype variant holds.
    Held,
    /// Into the variant of an enum. Whether it is a unit matters only for buffered values.
    Variant { name: String, is_unit: bool },
}

/// A value that stands beside the path.
#[derive(Debug, Clone)]
pub(super) enum Given {
    /// This text, or the unit variant of this name.
    Text(String),
    /// Whatever is asked for.
    Auto,
    /// A value of this form, with this of [`TEXTS`] in it.
    Form(Form, usize),
}

/// What is asked for at the end of a path.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Hint {
    Leaf(Form),
    Option,
    Newtype,
    Seq,
    Tuple(usize),
    Map,
    Struct { name: &'static str, fields: &'static [&'static str] },
    Enum { name: &'static str, variants: &'static [&'static str] },
    Any { is_buffered: bool },
    Identifier,
    Ignored,
    UnitVariant,
    NewtypeVariant,
    TupleVariant(usize),
    StructVariant(&'static [&'static str]),
}

/// What was seen at the end of a path.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub hint: Hint,
    /// The type that reads, as a name for it.
    pub visitor: &'static str,
    /// The type that is read.
    pub value: &'static str,
    /// What the reader says that it wants.
    pub expecting: String,
}

/// How the reading of the last place outside of buffered values ended.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    pub error: Option<Fault>,
    pub faults: Vec<Fault>,
}

/// What to do at the end of the path.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum End {
    /// Note what is asked for.
    Look,
    /// Offer the guess of this number, where anything is taken.
    Guess(usize),
    /// Offer the text of this number.
    Text(usize),
    /// Offer a whole value, and whole values beside the path.
    Build,
}

/// What has been learnt about visitors, by the names of their types.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Which of [`TEXTS`] they read.
    pub texts: HashMap<&'static str, usize>,
    /// What maps have to hold for them.
    pub entries: HashMap<&'static str, Vec<(String, Given)>>,
    /// The types met so far.
    pub types: Vec<TypeDef>,
}

/// One run of a `Deserialize` implementation.
pub(super) struct Run<'a> {
    pub end: End,
    /// Which of [`GUESSES`] values stands where nothing is known.
    pub guess: usize,
    pub known: &'a Known,
    pub seen: RefCell<Option<Seen>>,
    pub outcome: RefCell<Option<Outcome>>,
    calls: Cell<usize>,
}

impl<'a> Run<'a> {
    pub(super) fn new(end: End, guess: usize, known: &'a Known) -> Self {
        let (seen, outcome, calls) = Default::default();
        Self { end, guess, known, seen, outcome, calls }
    }

    pub(super) fn count(&self) -> Result<(), Fault> {
        self.calls.set(self.calls.get() + 1);
        if self.calls.get() > MOST_CALLS { Err(Fault::Stop) } else { Ok(()) }
    }

    fn note<'de, V: Visitor<'de>>(&self, hint: Hint, visitor: &V) -> Fault {
        let seen = Seen {
            hint,
            visitor: type_name::<V>(),
            value: type_name::<V::Value>(),
            expecting: (visitor as &dyn Expected).to_string(),
        };
        self.seen.borrow_mut().get_or_insert(seen);
        Fault::Stop
    }

    /// Notes how the reading of a place on the path ended; the innermost is the first.
    pub(super) fn ended<T>(&self, result: &Result<T, Fault>) {
        let mut outcome = self.outcome.borrow_mut();
        if outcome.is_none() {
            let error = result.as_ref().err().cloned();
            *outcome = Some(Outcome { error, faults: Fault::take() });
        }
    }
}

/// The deserializer.
pub(super) struct Probe<'a> {
    pub(super) run: &'a Run<'a>,
    /// `None` beside the path, where values are made up.
    path: Option<&'a [Step]>,
    pub(super) is_buffered: bool,
    depth: usize,
}

impl<'a> Probe<'a> {
    pub(super) fn new(run: &'a Run<'a>, path: &'a [Step]) -> Self {
        Self { run, path: Some(path), is_buffered: false, depth: 0 }
    }

    pub(super) fn beside(&self) -> Self {
        Self { path: None, depth: self.depth + 1, ..*self }
    }

    pub(super) fn further(&self, path: &'a [Step]) -> Self {
        Self { path: Some(path), depth: self.depth + 1, ..*self }
    }

    /// Lets `seed` read, and notes how that ends.
    pub(super) fn descend<'de, S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Fault> {
        let is_noted = self.path.is_some() && !self.is_buffered && !is_buffering::<S>();
        let run = self.run;
        let result = seed.deserialize(self);
        if is_noted {
            run.ended(&result);
        }
        result
    }

    /// What to do with a visitor that asks for `hint`.
    pub(super) fn turn<'de, V: Visitor<'de>>(
        &self,
        hint: Hint,
        visitor: &V,
    ) -> Result<Turn<'a>, Fault> {
        self.run.count()?;
        match self.path {
            Some([step, rest @ ..]) => Ok(Turn::Step(step, rest)),
            Some([]) if self.run.end == End::Build => Ok(Turn::Fill),
            Some([]) => match (&hint, self.run.end) {
                (Hint::Leaf(Form::Str), End::Text(index)) => {
                    self.run.note(hint, visitor);
                    Ok(Turn::Text(TEXTS[index]))
                }
                _ => Err(self.run.note(hint, visitor)),
            },
            None if self.depth > DEEPEST => Err(Fault::Stop),
            None => Ok(Turn::Fill),
        }
    }

    /// Offers what lies on the path.
    fn follow<'de, V: Visitor<'de>>(
        self,
        step: &'a Step,
        rest: &'a [Step],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match step {
            Step::Some => visitor.visit_some(self.further(rest)),
            Step::Newtype => visitor.visit_newtype_struct(self.further(rest)),
            Step::Item { before } => {
                let items = Items { probe: self, before, next: 0, rest: Some(rest), len: None };
                visitor.visit_seq(items)
            }
            Step::Held => Err(Fault::Stop),
            Step::Key => visitor.visit_map(Single { probe: self, rest, is_key: true, left: 2 }),
            Step::Value => visitor.visit_map(Single { probe: self, rest, is_key: false, left: 2 }),
            Step::Entry { beside, is_shown, name } => {
                let is_shown = *is_shown || name.is_none() || self.run.end == End::Build;
                let beside = if is_shown { beside.as_slice() } else { &[] };
                visitor.visit_map(Entries::new(self, beside, name.as_deref(), rest))
            }
            Step::Variant { name, is_unit: true } if self.is_buffered => visitor.visit_str(name),
            Step::Variant { name, .. } if self.is_buffered => {
                visitor.visit_map(Entries::new(self, &[], Some(name), rest))
            }
            Step::Variant { name, .. } => {
                visitor.visit_enum(Chosen { probe: self.further(rest), name })
            }
        }
    }

    /// Offers a value where nothing is known of what would be right.
    fn guess<'de, V: Visitor<'de>>(self, guess: usize, visitor: V) -> Result<V::Value, Fault> {
        match guess {
            0 => visitor.visit_unit(),
            1 => visitor.visit_str(""),
            2 => visitor.visit_u64(1),
            3 => visitor.visit_seq(Items::beside(self, 0)),
            4 => visitor.visit_bool(false),
            _ => visitor.visit_map(Entries::beside(self, &[])),
        }
    }

    pub(super) fn tuple<'de, V: Visitor<'de>>(
        self,
        hint: Hint,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match self.turn(hint, &visitor)? {
            Turn::Step(Step::Item { before }, rest) => {
                let len = (self.run.end == End::Build).then_some(len);
                visitor.visit_seq(Items { probe: self, before, next: 0, rest: Some(rest), len })
            }
            Turn::Step(step, rest) => self.follow(step, rest, visitor),
            _ => visitor.visit_seq(Items::beside(self, len)),
        }
    }

    pub(super) fn fields<'de, V: Visitor<'de>>(
        self,
        hint: Hint,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match (self.turn(hint, &visitor)?, self.run.known.entries.get(type_name::<V>())) {
            (Turn::Step(step, rest), _) => self.follow(step, rest, visitor),
            (_, Some(entries)) => visitor.visit_map(Entries::beside(self, entries)),
            // Derived visitors read a sequence too, in which no name and no alias is to be known.
            _ => visitor.visit_seq(Items::beside(self, usize::MAX)),
        }
    }
}

/// What to do with a visitor.
pub(super) enum Turn<'a> {
    Step(&'a Step, &'a [Step]),
    Fill,
    Text(&'static str),
}

/// Says whether the reader only keeps the value for later.
fn is_buffering<V>() -> bool {
    let name = type_name::<V>();
    name.contains("::ContentVisitor") || name.contains("::TaggedContentVisitor")
}

macro_rules! leaves {
    ($($method:ident $form:expr, $visit:ident $value:expr;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            match self.turn(Hint::Leaf($form), &visitor)? {
                Turn::Step(step, rest) => self.follow(step, rest, visitor),
                _ => visitor.$visit($value),
            }
        }
    )*};
}

impl<'de, 'a> Deserializer<'de> for Probe<'a> {
    type Error = Fault;

    leaves! {
        deserialize_bool Form::Bool, visit_bool false;
        deserialize_i8 Form::Int("i8"), visit_i8 1;
        deserialize_i16 Form::Int("i16"), visit_i16 1;
        deserialize_i32 Form::Int("i32"), visit_i32 1;
        deserialize_i64 Form::Int("i64"), visit_i64 1;
        deserialize_i128 Form::Int("i128"), visit_i128 1;
        deserialize_u8 Form::Int("u8"), visit_u8 1;
        deserialize_u16 Form::Int("u16"), visit_u16 1;
        deserialize_u32 Form::Int("u32"), visit_u32 1;
        deserialize_u64 Form::Int("u64"), visit_u64 1;
        deserialize_u128 Form::Int("u128"), visit_u128 1;
        deserialize_f32 Form::Float, visit_f32 1.0;
        deserialize_f64 Form::Float, visit_f64 1.0;
        deserialize_char Form::Str, visit_char 'a';
        deserialize_bytes Form::Bytes, visit_bytes &[];
        deserialize_byte_buf Form::Bytes, visit_byte_buf Vec::new();

    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.turn(Hint::Leaf(Form::Str), &visitor)? {
            Turn::Step(step, rest) => self.follow(step, rest, visitor),
            Turn::Text(text) => visitor.visit_str(text),
            Turn::Fill => {
                let known = self.run.known.texts.get(type_name::<V>());
                visitor.visit_str(TEXTS[known.copied().unwrap_or_default()])
            }
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.turn(Hint::Leaf(Form::Null), &visitor)? {
            Turn::Step(step, rest) => self.follow(step, rest, visitor),
            _ => visitor.visit_unit(),
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.turn(Hint::Option, &visitor)? {
            Turn::Step(step, rest) => self.follow(step, rest, visitor),
            _ => visitor.visit_none(),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match self.turn(Hint::Newtype, &visitor)? {
            Turn::Step(step, rest) => self.follow(step, rest, visitor),
            _ => visitor.visit_newtype_struct(self.beside()),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.turn(Hint::Seq, &visitor)? {
            Turn::Step(step, rest) => self.follow(step, rest, visitor),
            _ => visitor.visit_seq(Items::beside(self, 0)),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Fault> {
        self.tuple(Hint::Tuple(len), len, visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.tuple(Hint::Tuple(len), len, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.turn(Hint::Map, &visitor)? {
            Turn::Step(step, rest) => self.follow(step, rest, visitor),
            _ => {
                let entries = self.run.known.entries.get(type_name::<V>());
                visitor.visit_map(Entries::beside(self, entries.map_or(&[], Vec::as_slice)))
            }
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.fields(Hint::Struct { name, fields }, visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match self.turn(Hint::Enum { name, variants }, &visitor)? {
            Turn::Step(step, rest) => self.follow(step, rest, visitor),
            _ => {
                // Another variant at each depth, so that one that holds its own enum has an end.
                let index = (self.depth + self.run.guess).checked_rem(variants.len());
                let name = variants[index.ok_or(Fault::Stop)?];
                visitor.visit_enum(Chosen { probe: self.beside(), name })
            }
        }
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.turn(Hint::Identifier, &visitor)? {
            Turn::Step(step, rest) => self.follow(step, rest, visitor),
            _ => visitor.visit_str(""),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.turn(Hint::Ignored, &visitor)? {
            Turn::Step(step, rest) => self.follow(step, rest, visitor),
            _ => visitor.visit_unit(),
        }
    }

    fn deserialize_any<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Fault> {
        self.run.count()?;
        let is_buffered = self.is_buffered || is_buffering::<V>();
        match self.path {
            Some([step, rest @ ..]) => {
                self.is_buffered = is_buffered;
                self.follow(step, rest, visitor)
            }
            Some([]) if self.run.end != End::Build => {
                self.run.note(Hint::Any { is_buffered }, &visitor);
                match self.run.end {
                    End::Guess(guess) => self.guess(guess, visitor),
                    End::Text(index) => visitor.visit_str(TEXTS[index]),
                    _ => visitor.visit_bytes(&[0xff, 0xfe]),
                }
            }
            _ if self.depth > DEEPEST => Err(Fault::Stop),
            _ => match (self.run.known.entries.get(type_name::<V>()), self.run.guess) {
                (Some(entries), _) => visitor.visit_map(Entries::beside(self, entries)),
                (None, guess) => self.guess(guess, visitor),
            },
        }
    }
}
