//! Values between Rust and a real interpreter: the rows of the contract's guide in both directions, and
//! arbitrary values of every shape there and back.

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rm_process::value::TupleVariants;
use rm_process::{BackendOptions, KameoChildProcessMessage, ProcessManager, SubprocessIpcBackend};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::shapes::{Shapes, any_json, any_shapes, any_variants};
use super::support::{end, handler, soon};

/// A row of the guide.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Row {
    Basic(BasicTypes),
    Collections(Collections),
    Simple(Vec<SimpleEnum>),
    Data(Vec<DataEnum>),
    Complex(Vec<ComplexEnum>),
    Optional(OptionalFields),
    Newtypes(Newtypes),
    Flexible(FlexibleMessage),
    Bytes(#[serde(with = "serde_bytes")] Vec<u8>),
    Large(Large),
    Keys(BTreeMap<i64, String>),
}

/// Whether the row came as the guide says, the row as it is sent back, and in another form.
impl KameoChildProcessMessage for Row {
    type Reply = (bool, Row, Row);
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct BasicTypes {
    integer: i32,
    float: f64,
    string: String,
    boolean: bool,
    optional: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Collections {
    vector: Vec<String>,
    hashmap: HashMap<String, i32>,
    btreemap: BTreeMap<String, i32>,
    tuple: (String, i32),
    array: [i32; 3],
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum SimpleEnum {
    Variant1,
    Variant2,
    Variant3,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum DataEnum {
    Unit,
    Tuple(String, i32),
    Struct { field1: String, field2: i32 },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum ComplexEnum {
    Success { data: Vec<DataItem>, metadata: HashMap<String, String> },
    Error { code: u32, message: String, details: Option<BTreeMap<String, String>> },
    Partial { items: Vec<DataItem>, has_more: bool },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct DataItem {
    id: u64,
    value: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct OptionalFields {
    required: String,
    optional_string: Option<String>,
    optional_number: Option<i32>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct UserId(u64);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Email(String);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Newtypes {
    user_id: UserId,
    email: Email,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct FlexibleMessage {
    command: String,
    payload: Value,
    metadata: Option<Value>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Large {
    unsigned: u128,
    signed: i128,
}

#[expect(clippy::approx_constant, reason = "it is the guide's number")]
fn rows() -> Vec<Row> {
    let text = str::to_owned;
    let map = [(text("key1"), 1), (text("key2"), 2)];
    let item = |id, value| DataItem { id, value: text(value) };
    let texts = |pairs: [(&str, &str); 2]| pairs.map(|(key, value)| (text(key), text(value)));
    vec![
        Row::Basic(BasicTypes {
            integer: 42,
            float: 3.14,
            string: text("hello"),
            boolean: true,
            optional: Some(text("value")),
        }),
        Row::Collections(Collections {
            vector: ["a", "b", "c"].map(text).into(),
            hashmap: map.clone().into(),
            btreemap: map.into(),
            tuple: (text("string"), 42),
            array: [1, 2, 3],
        }),
        Row::Simple(vec![SimpleEnum::Variant1, SimpleEnum::Variant2, SimpleEnum::Variant3]),
        Row::Data(vec![
            DataEnum::Unit,
            DataEnum::Tuple(text("hello"), 42),
            DataEnum::Struct { field1: text("hello"), field2: 42 },
        ]),
        Row::Complex(vec![
            ComplexEnum::Success {
                data: vec![item(1, "item1"), item(2, "item2")],
                metadata: texts([("source", "api"), ("version", "1.0")]).into(),
            },
            ComplexEnum::Error {
                code: 404,
                message: text("Not found"),
                details: Some(texts([("resource", "user"), ("id", "12345")]).into()),
            },
            ComplexEnum::Partial { items: vec![item(1, "item1")], has_more: true },
        ]),
        Row::Optional(OptionalFields {
            required: text("always here"),
            optional_string: None,
            optional_number: Some(42),
        }),
        Row::Newtypes(Newtypes { user_id: UserId(12345), email: Email(text("user@example.com")) }),
        Row::Flexible(FlexibleMessage {
            command: text("process_data"),
            payload: json!({"items": [1, 2.5, -3], "config": {"mode": "fast", "limit": 100}}),
            metadata: None,
        }),
        Row::Bytes(b"\x00\xff raw".to_vec()),
        Row::Large(Large { unsigned: u128::MAX, signed: i128::MIN }),
        Row::Keys([(1, text("one")), (-2, text("minus two"))].into()),
    ]
}

async fn child<M: KameoChildProcessMessage>(
    module: &str,
    function: &str,
    options: BackendOptions,
) -> Option<SubprocessIpcBackend<M>> {
    let handler = handler(module, function)?;
    let manager = ProcessManager::new().expect("a manager");
    let child = soon(SubprocessIpcBackend::spawn_python(&manager, handler, options)).await;
    Some(child.unwrap_or_else(|error| panic!("{error}")))
}

#[tokio::test]
async fn the_rows_of_the_guide_are_as_it_says_in_both_directions() {
    let Some(child) = child::<Row>("guide", "serve", BackendOptions::new()).await else { return };
    for row in rows() {
        let answer =
            soon(child.call(&row)).await.unwrap_or_else(|error| panic!("{row:?}: {error}"));
        assert_eq!(answer, (true, row.clone(), row));
    }
    end(child).await;
}

/// Arrives in Python in the list form where that is asked for.
#[derive(Debug, Serialize, Deserialize)]
struct Variant(DataEnum);

impl KameoChildProcessMessage for Variant {
    type Reply = (String,);
}

#[tokio::test]
async fn tuple_variants_arrive_in_the_form_that_is_asked_for() {
    for (form, expected) in [
        (TupleVariants::Map, "{'Tuple': ['hello', 42]}"),
        (TupleVariants::List, "['Tuple', 'hello', 42]"),
    ] {
        let options = BackendOptions::new().tuple_variants(form);
        let Some(child) = child::<Variant>("guide", "lists", options).await else { return };
        let variant = Variant(DataEnum::Tuple("hello".to_owned(), 42));
        assert_eq!(soon(child.call(&variant)).await.unwrap(), (expected.to_owned(),));
        end(child).await;
    }
}

impl KameoChildProcessMessage for Shapes {
    type Reply = Shapes;
}

/// Has arbitrary values echoed by a real interpreter, one after the other.
fn check_echo<T>(values: impl Strategy<Value = T>, cases: u32)
where
    T: KameoChildProcessMessage<Reply = T> + Clone + PartialEq + std::fmt::Debug,
{
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let Some(child) = runtime.block_on(child::<T>("served", "echo", BackendOptions::new())) else {
        return;
    };
    let config = Config { failure_persistence: None, ..Config::with_cases(cases) };
    let checked = TestRunner::new(config).run(&values, |value| {
        let answer = runtime.block_on(soon(child.call(&value)));
        prop_assert_eq!(answer.map_err(|error| TestCaseError::fail(error.to_string()))?, value);
        Ok(())
    });
    runtime.block_on(end(child));
    checked.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn arbitrary_values_of_every_shape_come_back_as_they_were() {
    check_echo(any_shapes(), 500);
}

#[test]
fn arbitrary_variants_come_back_as_they_were() {
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Wrapped(super::shapes::Variants);

    impl KameoChildProcessMessage for Wrapped {
        type Reply = Wrapped;
    }

    check_echo(any_variants().prop_map(Wrapped), 300);
}

#[test]
fn arbitrary_json_comes_back_as_it_was() {
    check_echo(any_json(), 500);
}
