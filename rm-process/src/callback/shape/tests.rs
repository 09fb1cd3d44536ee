//! Shapes of types with every serde attribute, in a short notation.
//!
//! `?` behind a field: reading does without it; `~`: writing may leave it out; `..`: there may be
//! more fields.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};

use super::*;

fn form(form: &Form, types: &[TypeDef]) -> String {
    let inner = |inner: &Form| self::form(inner, types);
    let list = |forms: &[Form]| forms.iter().map(inner).collect::<Vec<_>>();
    match form {
        Form::Int(name) => (*name).to_owned(),
        Form::Optional(some) => format!("{}|None", inner(some)),
        Form::List(item) => format!("[{}]", inner(item)),
        Form::Set(item) => format!("{{{}}}", inner(item)),
        Form::Tuple(items) => format!("({})", list(items).join(", ")),
        Form::Dict(key, value) => format!("{{{}: {}}}", inner(key), inner(value)),
        Form::Union(forms) => list(forms).join("|"),
        Form::Named(index) => types[*index].name.clone(),
        other => format!("{other:?}"),
    }
}

fn fields(fields: &[Field], is_open: bool, types: &[TypeDef]) -> String {
    let mut parts: Vec<_> = fields
        .iter()
        .map(|field| {
            let (read, written) = (field.is_required, field.may_be_absent);
            let marks = [if read { "" } else { "?" }, if written { "~" } else { "" }].concat();
            format!("{}{marks}: {}", field.name, form(&field.form, types))
        })
        .collect();
    parts.extend(is_open.then(|| "..".to_owned()));
    format!("{{ {} }}", parts.join(", "))
}

fn text(shape: &Shape) -> String {
    let types = &shape.types;
    let mut lines = vec![form(&shape.root, types)];
    for def in types {
        lines.push(match &def.kind {
            TypeKind::Struct { fields: all, is_open } => {
                format!("{} {}", def.name, fields(all, *is_open, types))
            }
            TypeKind::Enum { tagging, variants } => {
                let tagging = match tagging {
                    Tagging::External => String::new(),
                    Tagging::Internal { tag } => format!(" by {tag}"),
                    Tagging::Adjacent { tag, content } => format!(" by {tag}, {content}"),
                };
                let variants: Vec<_> = variants
                    .iter()
                    .map(|variant| match &variant.form {
                        VariantForm::Unit => variant.name.clone(),
                        VariantForm::Value(value) => {
                            format!("{}({})", variant.name, form(value, types))
                        }
                        VariantForm::Struct { fields: all, is_open } => {
                            format!("{} {}", variant.name, fields(all, *is_open, types))
                        }
                    })
                    .collect();
                format!("{}{tagging} = {}", def.name, variants.join(" | "))
            }
        });
    }
    lines.join("\n")
}

#[track_caller]
fn check<T: Serialize + DeserializeOwned>(expected: &str) {
    let expected: Vec<_> =
        expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(text(&Shape::of::<T>()), expected.join("\n"));
}

#[test]
fn plain_types_are_known() {
    check::<bool>("Bool");
    check::<i8>("i8");
    check::<u128>("u128");
    check::<f32>("Float");
    check::<char>("Str");
    check::<String>("Str");
    check::<()>("Null");
    check::<Option<String>>("Str|None");
    check::<Option<Option<u8>>>("u8|None");
    check::<Vec<Vec<f64>>>("[[Float]]");
    check::<(String, i32)>("(Str, i32)");
    check::<[u16; 3]>("(u16, u16, u16)");
    check::<HashSet<String>>("{Str}");
    check::<BTreeSet<u8>>("{u8}");
    check::<HashMap<String, i32>>("{Str: i32}");
    check::<BTreeMap<u32, Vec<bool>>>("{u32: [Bool]}");
    check::<Box<std::num::NonZeroU8>>("u8");
    check::<serde_json::Value>("Any");
    check::<std::net::IpAddr>("Str");
    check::<std::time::Duration>("Duration\nDuration { secs: u64, nanos: u32 }");
}

#[derive(Serialize, Deserialize)]
struct Unit;

#[derive(Serialize, Deserialize)]
struct UserId(u64);

#[derive(Serialize, Deserialize)]
struct Pair(String, UserId);

#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Wrapper {
    inner: Vec<UserId>,
}

#[test]
fn structs_without_names_are_what_they_hold() {
    check::<Unit>("Null");
    check::<UserId>("u64");
    check::<Pair>("(Str, u64)");
    check::<Wrapper>("[u64]");
}

/// Reads and writes a date as chrono does it: as a text that has to be one.
#[derive(Debug, Clone, Default)]
struct Date(String);

impl<'de> Deserialize<'de> for Date {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct DateVisitor;
        impl serde::de::Visitor<'_> for DateVisitor {
            type Value = Date;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a date")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Date, E> {
                match text.split('-').count() {
                    3 => Ok(Date(text.to_owned())),
                    _ => Err(E::custom("input contains invalid characters")),
                }
            }
        }
        deserializer.deserialize_str(DateVisitor)
    }
}

impl Serialize for Date {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

fn seven() -> i32 {
    7
}

#[derive(Serialize, Deserialize)]
#[serde(rename = "Attributes", rename_all = "camelCase")]
struct Everything {
    when: Date,
    plain_name: String,
    #[serde(rename = "class")]
    renamed: bool,
    optional: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    often_absent: Option<Date>,
    #[serde(default = "seven")]
    defaulted: i32,
    #[serde(alias = "a_nother", alias = "zz_other")]
    known_as: u8,
    #[serde(skip)]
    _skipped: i32,
    after_all: (Date, i8),
}

#[test]
fn attributes_of_fields_are_honoured() {
    check::<Everything>(
        "Attributes
         Attributes { when: Str, plainName: Str, class: Bool, optional?: Float|None, \
         oftenAbsent?~: Str|None, defaulted?: i32, knownAs: u8, afterAll: (Str, i8) }",
    );
}

#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct Settings {
    size: usize,
    name: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Strict {
    settings: Settings,
    unit: Unit,
    #[serde(default)]
    none: (),
}

#[test]
fn defaults_of_a_whole_struct_and_denied_fields_are_honoured() {
    check::<Strict>(
        "Strict
         Strict { settings: Settings, unit: Null, none?: Null }
         Settings { size?: u64, name?: Str }",
    );
}

#[derive(Serialize, Deserialize)]
enum Plain {
    First,
    #[serde(rename = "2nd", alias = "second")]
    Second,
    #[serde(skip)]
    _Never,
}

#[derive(Serialize, Deserialize)]
enum Data {
    Unit,
    Newtype(Box<Settings>),
    Tuple(String, i32),
    Struct { field1: String, field2: Option<Plain> },
    Nested(Vec<Data>),
    Maybe(Option<u8>),
}

#[test]
fn enums_are_known_with_their_variants() {
    check::<Plain>("Plain\nPlain = First | 2nd");
    check::<Data>(
        "Data
         Data = Unit | Newtype(Settings) | Tuple((Str, i32)) | Struct { field1: Str, field2?: \
         Plain|None } | Nested([Data]) | Maybe(u8|None)
         Settings { size?: u64, name?: Str }
         Plain = First | 2nd",
    );
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Internal {
    Nothing,
    DataChunk { id: u64, data: Vec<f64>, when: Option<Date>, at: Date },
    Settings(Settings),
    Inner { inner: Inner, map: HashMap<String, i32>, plain: Plain, data: Data },
    OnlyOptional { one: Option<bool>, two: Option<Inner> },
    Bag(HashMap<String, i32>),
}

#[derive(Serialize, Deserialize)]
struct Inner {
    name: String,
    pair: (u8, String),
    #[serde(default)]
    value: serde_json::Value,
}

#[test]
fn internally_tagged_enums_are_known_with_their_fields() {
    check::<Vec<Internal>>(
        "[Internal]
         Internal by type = nothing | data_chunk { id: u64, data: [Float], when?: Str|None, at: Str \
         } | settings { size?: u64, name?: Str } | inner { inner: Inner, map: {Str: i32}, plain: \
         Plain, data: Data } | only_optional { one?: Bool|None, two?: Inner|None } | bag { .. }
         Inner { name: Str, pair: (u8, Str), value?: Any }
         Plain = First | 2nd
         Data = Unit | Newtype(Settings) | Tuple(Any) | Struct { field1: Str, field2?: Plain|None } \
         | Nested([Any]) | Maybe(u8|None)
         Inner { name: Str, pair: (u8, Str), value?: Any }
         Settings { size?: u64, name?: Str }
         Plain = First | 2nd",
    );
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "t", content = "c")]
enum Adjacent {
    Nothing,
    Number(i32),
    Pair(i32, String),
    Fields { name: String, inner: Option<Inner> },
}

#[test]
fn adjacently_tagged_enums_are_known_with_their_contents() {
    check::<Adjacent>(
        "Adjacent
         Adjacent by t, c = Nothing | Number(i32) | Pair((i32, Str)) | Fields { name: Str, inner?: \
         Inner|None }
         Inner { name: Str, pair: (u8, Str), value?: Any }",
    );
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Text(String),
    Number(i64),
    Items(Vec<i32>),
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Vague {
    Fields { name: String },
    Date(Date),
}

#[test]
fn untagged_enums_are_unions_where_it_can_be_known() {
    check::<Untagged>("Str|i64|[Any]");
    check::<Vague>("Any");
}

#[derive(Serialize, Deserialize)]
struct Flattened {
    own: i32,
    optional: Option<bool>,
    #[serde(flatten)]
    inner: Inner,
}

#[derive(Serialize, Deserialize)]
struct Open {
    own: i32,
    #[serde(flatten)]
    rest: HashMap<String, serde_json::Value>,
}

#[derive(Serialize, Deserialize)]
struct Around {
    flattened: Flattened,
    open: Vec<Open>,
}

#[test]
fn flattened_fields_are_found_and_a_flattened_map_is_open() {
    check::<Flattened>(
        "Flattened
         Flattened { own: i32, optional?: Bool|None, name: Str, pair: (u8, Str), value?: Any }",
    );
    check::<Open>("Open\nOpen { own: i32, .. }");
    check::<Around>(
        "Around
         Around { flattened: Flattened, open: [Open] }
         Flattened { own: i32, optional?: Bool|None, name: Str, pair: (u8, Str), value?: Any }
         Open { own: i32, .. }",
    );
}

#[derive(Serialize, Deserialize)]
struct Tree {
    value: i32,
    left: Option<Box<Tree>>,
    children: Vec<Tree>,
}

#[derive(Serialize, Deserialize)]
enum Expression {
    Add(Box<Expression>, Box<Expression>),
    Neg { of: Box<Expression> },
    Number(f64),
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind")]
enum Deep {
    Both { left: Box<Deep>, right: Box<Deep> },
    Leaf,
}

#[derive(Serialize, Deserialize)]
struct Endless {
    own: Box<Endless>,
}

#[test]
fn types_that_contain_themselves_end() {
    check::<Tree>("Tree\nTree { value: i32, left?: Tree|None, children: [Tree] }");
    check::<Expression>(
        "Expression
         Expression = Add((Expression, Expression)) | Neg { of: Expression } | Number(Float)",
    );
    check::<Deep>("Deep\nDeep by kind = Both { .. } | Leaf");
    // There is no value of it, so nothing says that the field has to be there.
    let shape = Shape::of::<Endless>();
    assert_eq!((shape.root, shape.types.len()), (Form::Named(0), 1));
}

#[derive(Serialize, Deserialize)]
struct Generic<T> {
    data: T,
}

#[test]
fn one_generic_type_with_two_parameters_is_two_types() {
    check::<(Generic<String>, Generic<Vec<i32>>, Generic<String>)>(
        "(Generic, Generic, Generic)
         Generic { data: Str }
         Generic { data: [i32] }",
    );
    let shape = Shape::of::<(Generic<String>, Generic<Vec<i32>>, Generic<String>)>();
    assert_eq!(shape.types[0].rust_name.rsplit("::").next(), Some("String>"));
}

#[derive(Serialize)]
struct Panics;

impl<'de> Deserialize<'de> for Panics {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        // Not by a macro: the hook would print it into the test's output.
        std::panic::resume_unwind(Box::new("a panic"))
    }
}

#[derive(Serialize)]
struct Greedy;

impl<'de> Deserialize<'de> for Greedy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items;
        impl<'de> serde::de::Visitor<'de> for Items {
            type Value = Greedy;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("items")
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(
                self,
                mut items: A,
            ) -> Result<Greedy, A::Error> {
                // Never ends by itself where an error is not taken for the end.
                let mut errors = 0;
                while errors < 1_000_000 {
                    match items.next_element::<Endless>() {
                        Ok(None) => return Ok(Greedy),
                        Ok(Some(_)) => {}
                        Err(_) => errors += 1,
                    }
                }
                Err(A::Error::custom("too many errors"))
            }
        }
        deserializer.deserialize_seq(Items)
    }
}

#[derive(Serialize, Deserialize)]
struct Holds {
    bad: Panics,
    good: i32,
    greedy: Greedy,
}

#[test]
fn a_panic_and_a_greedy_reader_make_only_their_own_place_unknown() {
    check::<Holds>(
        "Holds\nHolds { bad?~: Any, good?~: i32, greedy?~: [Endless] }\nEndless { own~: Endless }",
    );
}

#[derive(Serialize, Deserialize)]
struct Many {
    first: Duplex,
    second: Duplex,
}

#[derive(Serialize, Deserialize)]
struct Duplex {
    one: Simplex,
    two: Simplex,
    #[serde(default)]
    when: Option<Date>,
}

#[derive(Serialize, Deserialize)]
struct Simplex {
    text: String,
    date: Date,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind")]
enum Outer {
    Many(Box<Many>),
    Other { many: Vec<Many> },
}

#[test]
fn deep_types_behind_a_tag_are_known_in_bounded_time() {
    let text = text(&Shape::of::<Outer>());
    let lines: BTreeSet<_> = text.lines().skip(1).collect();
    let expected = [
        "Duplex { one: Simplex, two: Simplex, when?: Str|None }",
        "Many { first: Duplex, second: Duplex }",
        "Outer by kind = Many { first: Duplex, second: Duplex } | Other { many: [Many] }",
        "Simplex { text: Str, date: Str }",
    ];
    assert_eq!(lines, BTreeSet::from(expected));
}

#[derive(Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct Email(String);

impl TryFrom<String> for Email {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        if text.contains("://") { Ok(Self(text)) } else { Err(format!("no address: {text}")) }
    }
}

impl From<Email> for String {
    fn from(email: Email) -> Self {
        email.0
    }
}

impl Clone for Email {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

mod with {
    use super::*;

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }

    pub(super) fn serialize<S: serde::Serializer>(value: &i64, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&value.to_string())
    }
}

#[derive(Serialize, Deserialize)]
struct Converted {
    email: Email,
    #[serde(with = "with")]
    number: i64,
    last: bool,
}

#[test]
fn conversions_show_what_is_read() {
    check::<Converted>("Converted\nConverted { email: Str, number: Str, last: Bool }");
}
