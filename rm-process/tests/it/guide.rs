//! The contract's serialization guide, row by row and in both directions: what Python sends is the
//! Rust value, and the Rust value is what Python receives.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;

use chrono::{DateTime, TimeZone, Utc};
use rm_process::value::wire::{Item, Writer};
use rm_process::value::{self, DecodeOptions, EncodeOptions, TupleVariants};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// The bytes of an object as Python writes it; of JSON, that is what Rust writes too.
fn python(object: &serde_json::Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    value::encode(object, &mut bytes, EncodeOptions::default()).expect("JSON has bytes");
    bytes
}

/// The object that Python gets for a value.
fn object(value: &impl Serialize, tuple_variants: TupleVariants) -> serde_json::Value {
    let mut bytes = Vec::new();
    let options = EncodeOptions { tuple_variants, ..EncodeOptions::default() };
    value::encode(value, &mut bytes, options).expect("the value has bytes");
    value::decode(&bytes, DecodeOptions::default()).expect("the value has a JSON form")
}

fn check_sent<T>(sent: &serde_json::Value, expected: &T)
where
    T: DeserializeOwned + PartialEq + Debug,
{
    let found = value::decode::<T>(&python(sent), DecodeOptions::default());
    assert_eq!(found.as_ref(), Ok(expected), "{sent}");
}

fn check<T>(sent: serde_json::Value, value: T)
where
    T: Serialize + DeserializeOwned + PartialEq + Debug,
{
    check_sent(&sent, &value);
    assert_eq!(object(&value, TupleVariants::Map), sent);
}

fn items(items: &[Item<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes);
    items.iter().for_each(|item| writer.item(*item).expect("memory takes everything"));
    bytes
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct BasicTypes {
    integer: i32,
    float: f64,
    string: String,
    boolean: bool,
    optional: Option<String>,
}

#[test]
#[expect(clippy::approx_constant, reason = "it is the guide's number")]
fn basic_types() {
    let basic = |optional: Option<&str>| BasicTypes {
        integer: 42,
        float: 3.14,
        string: "hello".to_owned(),
        boolean: true,
        optional: optional.map(str::to_owned),
    };
    let mut sent = json!({
        "integer": 42, "float": 3.14, "string": "hello", "boolean": true, "optional": "value"
    });
    check(sent.clone(), basic(Some("value")));
    sent["optional"] = json!(null);
    check(sent.clone(), basic(None));
    sent.as_object_mut().unwrap().remove("optional");
    check_sent(&sent, &basic(None));
}

#[test]
fn an_int_is_taken_where_a_float_is_wanted() {
    check_sent(&json!([3, -4]), &[3.0_f64, -4.0]);
    check_sent(&json!([3, -4]), &[3.0_f32, -4.0]);
    check_sent(&json!(u64::MAX), &(u64::MAX as f64));
    let large = items(&[Item::Unsigned(1 << 100)]);
    assert_eq!(value::decode(&large, DecodeOptions::default()), Ok(2.0_f64.powi(100)));
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Collections {
    vector: Vec<String>,
    hashmap: HashMap<String, i32>,
    btreemap: BTreeMap<String, i32>,
    tuple: (String, i32),
    array: [i32; 3],
}

#[test]
fn collections() {
    let map = [("key1".to_owned(), 1), ("key2".to_owned(), 2)];
    check(
        json!({
            "vector": ["a", "b", "c"],
            "hashmap": {"key1": 1, "key2": 2},
            "btreemap": {"key1": 1, "key2": 2},
            "tuple": ["string", 42],
            "array": [1, 2, 3]
        }),
        Collections {
            vector: ["a", "b", "c"].map(str::to_owned).into(),
            hashmap: map.clone().into(),
            btreemap: map.into(),
            tuple: ("string".to_owned(), 42),
            array: [1, 2, 3],
        },
    );
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum SimpleEnum {
    Variant1,
    Variant2,
    Variant3,
}

#[test]
fn simple_enums() {
    check(json!("Variant1"), SimpleEnum::Variant1);
    check(json!("Variant2"), SimpleEnum::Variant2);
    check(json!("Variant3"), SimpleEnum::Variant3);
    check_sent(&json!({"Variant3": null}), &SimpleEnum::Variant3);
    check_sent(&json!(["Variant3"]), &SimpleEnum::Variant3);
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum DataEnum {
    Unit,
    Newtype(Vec<i32>),
    Tuple(String, i32),
    Struct { field1: String, field2: i32 },
    Nested(Box<DataEnum>),
}

#[test]
fn enums_with_data() {
    let tuple = || DataEnum::Tuple("hello".to_owned(), 42);
    check(json!("Unit"), DataEnum::Unit);
    check(json!({"Newtype": [1, 2]}), DataEnum::Newtype(vec![1, 2]));
    check_sent(&json!(["Newtype", [1, 2]]), &DataEnum::Newtype(vec![1, 2]));
    check(json!({"Tuple": ["hello", 42]}), tuple());
    check_sent(&json!(["Tuple", "hello", 42]), &tuple());
    let fields = json!({"Struct": {"field1": "hello", "field2": 42}});
    let value = || DataEnum::Struct { field1: "hello".to_owned(), field2: 42 };
    check(fields, value());
    check_sent(&json!(["Struct", {"field1": "hello", "field2": 42}]), &value());
    check_sent(&json!(["Nested", ["Tuple", "hello", 42]]), &DataEnum::Nested(Box::new(tuple())));
}

#[test]
fn tuple_variants_are_lists_at_any_depth_where_that_is_asked_for() {
    let value = || DataEnum::Nested(Box::new(DataEnum::Tuple("hello".to_owned(), 42)));
    let sent = object(&vec![value(), DataEnum::Unit], TupleVariants::List);
    assert_eq!(sent, json!([{"Nested": ["Tuple", "hello", 42]}, "Unit"]));
    check_sent(&sent, &vec![value(), DataEnum::Unit]);
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum ComplexEnum {
    Success { data: Vec<DataItem>, metadata: HashMap<String, String> },
    Error { code: u32, message: String, details: Option<ErrorDetails> },
    Partial { items: Vec<DataItem>, has_more: bool },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct DataItem {
    id: u64,
    value: String,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct ErrorDetails {
    resource: String,
    id: String,
}

fn data_items() -> Vec<DataItem> {
    vec![DataItem { id: 1, value: "item1".to_owned() }]
}

#[test]
fn complex_nested_enums() {
    let metadata = [("source", "api"), ("version", "1.0")];
    let metadata = metadata.map(|(key, value)| (key.to_owned(), value.to_owned()));
    check(
        json!({"Success": {
            "data": [{"id": 1, "value": "item1"}],
            "metadata": {"source": "api", "version": "1.0"}
        }}),
        ComplexEnum::Success { data: data_items(), metadata: metadata.into() },
    );
    let details = ErrorDetails { resource: "user".to_owned(), id: "12345".to_owned() };
    check(
        json!({"Error": {
            "code": 404,
            "message": "Not found",
            "details": {"resource": "user", "id": "12345"}
        }}),
        ComplexEnum::Error { code: 404, message: "Not found".to_owned(), details: Some(details) },
    );
    check(
        json!({"Partial": {"items": [{"id": 1, "value": "item1"}], "has_more": true}}),
        ComplexEnum::Partial { items: data_items(), has_more: true },
    );
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct OptionalFields {
    required: String,
    optional_string: Option<String>,
    optional_number: Option<i32>,
    optional_struct: Option<SubStruct>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct SubStruct {
    field: String,
}

#[test]
fn optional_fields() {
    check(
        json!({
            "required": "always here",
            "optional_string": "present",
            "optional_number": 42,
            "optional_struct": {"field": "value"}
        }),
        OptionalFields {
            required: "always here".to_owned(),
            optional_string: Some("present".to_owned()),
            optional_number: Some(42),
            optional_struct: Some(SubStruct { field: "value".to_owned() }),
        },
    );
    let none = OptionalFields {
        required: "always here".to_owned(),
        optional_string: None,
        optional_number: None,
        optional_struct: None,
    };
    check_sent(&json!({"required": "always here"}), &none);
    check(
        json!({
            "required": "always here",
            "optional_string": null,
            "optional_number": null,
            "optional_struct": null
        }),
        none,
    );
}

#[test]
fn nested_options_have_one_none() {
    check(json!("inner"), Some(Some(Some("inner".to_owned()))));
    check(json!(null), None::<Option<Option<String>>>);
    assert_eq!(object(&Some(None::<u8>), TupleVariants::Map), json!(null));
}

#[derive(Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
struct UserId(u64);
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Email(String);
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Timestamp(DateTime<Utc>);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct User {
    user_id: UserId,
    email: Email,
    created_at: Timestamp,
}

#[test]
fn newtype_wrappers() {
    let user = || User {
        user_id: UserId(12345),
        email: Email("user@example.com".to_owned()),
        created_at: Timestamp(Utc.with_ymd_and_hms(2024, 1, 15, 10, 30, 0).unwrap()),
    };
    let sent = json!({
        "user_id": 12345,
        "email": "user@example.com",
        "created_at": "2024-01-15T10:30:00Z"
    });
    check(sent.clone(), user());
    // As Python's `datetime.isoformat` writes it.
    let mut sent = sent;
    sent["created_at"] = json!("2024-01-15T11:30:00+01:00");
    check_sent(&sent, &user());
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct GenericContainer<T> {
    data: T,
    metadata: HashMap<String, String>,
}

#[test]
fn generic_types() {
    let metadata = |kind: &str| HashMap::from([("type".to_owned(), kind.to_owned())]);
    check(
        json!({"data": "hello world", "metadata": {"type": "string"}}),
        GenericContainer { data: "hello world".to_owned(), metadata: metadata("string") },
    );
    check(
        json!({"data": [1, 2, 3, 4, 5], "metadata": {"type": "numbers"}}),
        GenericContainer { data: vec![1, 2, 3, 4, 5], metadata: metadata("numbers") },
    );
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct FlexibleMessage {
    command: String,
    payload: serde_json::Value,
    metadata: Option<serde_json::Value>,
}

#[test]
fn json_values() {
    let payload = json!({
        "items": [1, 2.5, -3],
        "config": {"mode": "fast", "limit": 100},
        "nested": {"deep": {"value": "anything"}}
    });
    let metadata = json!({"source": "api", "timestamp": "2024-01-15T10:30:00Z"});
    check(
        json!({"command": "process_data", "payload": payload, "metadata": metadata}),
        FlexibleMessage {
            command: "process_data".to_owned(),
            payload: payload.clone(),
            metadata: Some(metadata.clone()),
        },
    );
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum ParentMessage {
    DataRequest { query: String, filters: HashMap<String, String>, limit: Option<u32> },
    Shutdown { graceful: bool, timeout_seconds: u32 },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum ChildResponse {
    ProcessingResult { success: bool, processed_count: u64, errors: Vec<String> },
}

#[test]
fn requests_and_responses() {
    let filters = [("status", "verified"), ("age", "18+")];
    check(
        json!({"DataRequest": {
            "query": "SELECT * FROM users WHERE active = true",
            "filters": {"status": "verified", "age": "18+"},
            "limit": 100
        }}),
        ParentMessage::DataRequest {
            query: "SELECT * FROM users WHERE active = true".to_owned(),
            filters: filters.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            limit: Some(100),
        },
    );
    check(
        json!({"Shutdown": {"graceful": true, "timeout_seconds": 5}}),
        ParentMessage::Shutdown { graceful: true, timeout_seconds: 5 },
    );
    check(
        json!({"ProcessingResult": {"success": true, "processed_count": 2, "errors": []}}),
        ChildResponse::ProcessingResult { success: true, processed_count: 2, errors: Vec::new() },
    );
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct ComplexCallbackRequest {
    operation: String,
    parameters: HashMap<String, serde_json::Value>,
    options: Option<HashMap<String, bool>>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum CallbackResponse {
    Progress { completed: u64, total: u64, message: String },
    Error { error_code: String, message: String, details: Option<serde_json::Value> },
}

#[test]
fn callbacks() {
    check(
        json!({
            "operation": "fetch_ohlc",
            "parameters": {"symbol": "AAPL", "interval": "1h"},
            "options": {"include_volume": true, "adjust_splits": true}
        }),
        ComplexCallbackRequest {
            operation: "fetch_ohlc".to_owned(),
            parameters: [("symbol", json!("AAPL")), ("interval", json!("1h"))]
                .map(|(key, value)| (key.to_owned(), value))
                .into(),
            options: Some(
                ["include_volume", "adjust_splits"].map(|key| (key.to_owned(), true)).into(),
            ),
        },
    );
    check(
        json!({"Progress": {"completed": 1, "total": 2, "message": "half"}}),
        CallbackResponse::Progress { completed: 1, total: 2, message: "half".to_owned() },
    );
    check(
        json!({"Error": {"error_code": "E1", "message": "no", "details": {"retry": false}}}),
        CallbackResponse::Error {
            error_code: "E1".to_owned(),
            message: "no".to_owned(),
            details: Some(json!({"retry": false})),
        },
    );
}

#[test]
fn bytes_are_bytes_and_lists_of_octets_either_way() {
    use serde_bytes::ByteBuf;
    let sent = items(&[Item::Bytes(b"\x00\xff")]);
    let options = DecodeOptions::default();
    assert_eq!(value::decode(&sent, options), Ok(ByteBuf::from(*b"\x00\xff")));
    assert_eq!(value::decode(&sent, options), Ok(vec![0_u8, 255]));
    assert_eq!(value::decode(&sent, options), Ok((0_u8, 255_u32)));
    assert_eq!(value::decode(&sent, options), Ok([0_u8, 255]));
    check_sent(&json!([0, 255]), &ByteBuf::from(*b"\x00\xff"));
}

#[test]
fn keys_are_what_they_are_or_their_text() {
    check_sent(
        &json!({"1": "a", "-2": "b"}),
        &BTreeMap::from([(1, "a".to_owned()), (-2, "b".to_owned())]),
    );
    check_sent(&json!({"7": 1}), &BTreeMap::from([(UserId(7), 1)]));
    check_sent(&json!({"true": 1, "false": 0}), &BTreeMap::from([(true, 1), (false, 0)]));
    check_sent(&json!({"x": 1}), &BTreeMap::from([('x', 1)]));
    check_sent(&json!({"7": 1}), &BTreeMap::from([(Some(7), 1)]));
    let sent = items(&[
        Item::MapStart,
        Item::ListStart,
        Item::Unsigned(1),
        Item::Str("a"),
        Item::ListEnd,
        Item::Bool(true),
        Item::MapEnd,
    ]);
    let expected = BTreeMap::from([((1_i8, "a".to_owned()), true)]);
    assert_eq!(value::decode(&sent, DecodeOptions::default()), Ok(expected));
}

#[test]
fn types_show_their_readable_form() {
    check(json!("127.0.0.1"), std::net::IpAddr::from([127, 0, 0, 1]));
    check(json!("/var/lib"), std::path::PathBuf::from("/var/lib"));
}
