//! What a probe offers of sequences, maps and enums.
//!
//! Main types: [`Items`], [`Entries`], [`Single`], [`Chosen`]. Where they lead is in the path of the
//! [`Probe`] that each holds.

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeSeed, EnumAccess, IgnoredAny, IntoDeserializer, MapAccess, SeqAccess, VariantAccess,
    Visitor,
};

use super::fault::Fault;
use super::fill::Fill;
use super::model::Form;
use super::probe::{Given, Hint, Probe, Step, Turn};

/// The items of a sequence: some before the path, the path, and as many as are wanted behind it.
pub(super) struct Items<'a> {
    pub probe: Probe<'a>,
    pub before: &'a [Form],
    pub next: usize,
    pub rest: Option<&'a [Step]>,
    pub len: Option<usize>,
}

impl<'a> Items<'a> {
    pub(super) fn beside(probe: Probe<'a>, len: usize) -> Self {
        Self { probe, before: &[], next: 0, rest: None, len: Some(len) }
    }
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Fault;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Fault> {
        self.probe.run.count()?;
        let index = self.next;
        self.next += 1;
        if let Some(form) = self.before.get(index) {
            return match self.probe.is_buffered {
                true => seed.deserialize(Fill::new(form, self.probe.run, 0)).map(Some),
                false => seed.deserialize(self.probe.beside()).map(Some),
            };
        }
        if let (Some(rest), true) = (self.rest, index == self.before.len()) {
            return self.probe.further(rest).descend(seed).map(Some);
        }
        if self.len.is_some_and(|len| index < len) {
            return seed.deserialize(self.probe.beside()).map(Some);
        }
        Ok(None)
    }
}

/// A map of one entry, of which the key or the value lies on the path.
pub(super) struct Single<'a> {
    pub probe: Probe<'a>,
    pub rest: &'a [Step],
    pub is_key: bool,
    pub left: u8,
}

impl Single<'_> {
    fn part<'de, S: DeserializeSeed<'de>>(&self, seed: S, is_key: bool) -> Result<S::Value, Fault> {
        match is_key == self.is_key {
            true => self.probe.further(self.rest).descend(seed),
            false if self.probe.is_buffered && is_key => {
                let key: StrDeserializer<'_, Fault> = "1".into_deserializer();
                seed.deserialize(key)
            }
            false => seed.deserialize(self.probe.beside()),
        }
    }
}

impl<'de> MapAccess<'de> for Single<'_> {
    type Error = Fault;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Fault> {
        self.probe.run.count()?;
        if self.left < 2 {
            return Ok(None);
        }
        self.left -= 1;
        self.part(seed, true).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        self.left = 0;
        self.part(seed, false)
    }
}

/// The entries of a map or struct.
pub(super) struct Entries<'a> {
    probe: Probe<'a>,
    /// `None` is the path.
    left: std::vec::IntoIter<(&'a str, Option<&'a Given>)>,
    rest: &'a [Step],
    value: Option<Option<&'a Given>>,
}

impl<'a> Entries<'a> {
    pub(super) fn beside(probe: Probe<'a>, entries: &'a [(String, Given)]) -> Self {
        Self::new(probe.beside(), entries, None, &[])
    }

    pub(super) fn new(
        probe: Probe<'a>,
        beside: &'a [(String, Given)],
        name: Option<&'a str>,
        rest: &'a [Step],
    ) -> Self {
        let beside = beside.iter().filter(|(other, _)| Some(other.as_str()) != name);
        let mut entries: Vec<_> =
            beside.map(|(name, given)| (name.as_str(), Some(given))).collect();
        entries.extend(name.map(|name| (name, None)));
        Self { probe, left: entries.into_iter(), rest, value: None }
    }
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Fault;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Fault> {
        self.probe.run.count()?;
        let Some((name, value)) = self.left.next() else { return Ok(None) };
        self.value = Some(value);
        let key: StrDeserializer<'_, Fault> = name.into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        match self.value.take() {
            None => Err(Fault::Stop),
            Some(None) => self.probe.further(self.rest).descend(seed),
            Some(Some(Given::Text(text))) => {
                let text: StrDeserializer<'_, Fault> = text.as_str().into_deserializer();
                seed.deserialize(text)
            }
            Some(Some(Given::Auto)) => seed.deserialize(self.probe.beside()),
            Some(Some(Given::Form(form, text))) => {
                seed.deserialize(Fill::new(form, self.probe.run, *text))
            }
        }
    }
}

/// A variant of an enum, and the probe for what it holds.
pub(super) struct Chosen<'a> {
    pub probe: Probe<'a>,
    pub name: &'a str,
}

impl<'de, 'a> EnumAccess<'de> for Chosen<'a> {
    type Error = Fault;
    type Variant = Probe<'a>;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Probe<'a>), Fault> {
        let name: StrDeserializer<'_, Fault> = self.name.into_deserializer();
        Ok((seed.deserialize(name)?, self.probe))
    }
}

impl<'de> VariantAccess<'de> for Probe<'_> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        self.turn(Hint::UnitVariant, &IgnoredAny).map(|_| ())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Fault> {
        match self.turn(Hint::NewtypeVariant, &IgnoredAny)? {
            Turn::Step(Step::Held, rest) => self.further(rest).descend(seed),
            Turn::Step(..) => Err(Fault::Stop),
            _ => seed.deserialize(self.beside()),
        }
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Fault> {
        self.tuple(Hint::TupleVariant(len), len, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.fields(Hint::StructVariant(fields), visitor)
    }
}
