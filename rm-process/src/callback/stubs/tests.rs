//! The generated text against `testdata/stubs/expected`, which pytest has type checkers read, and
//! how it comes to its folder.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, thread};

use serde::{Deserialize, Serialize};

use super::*;
use crate::callback::shape::Shape;

#[derive(Serialize, Deserialize)]
struct DataFetchRequest {
    symbol: String,
    start_date: String,
}

#[derive(Serialize, Deserialize)]
struct DataFetchResponse {
    data: Vec<f64>,
    timestamp: String,
}

#[derive(Serialize, Deserialize)]
struct ComplexCallbackRequest {
    operation: String,
    parameters: HashMap<String, serde_json::Value>,
    metadata: CallbackMetadata,
    options: Option<CallbackOptions>,
}

#[derive(Serialize, Deserialize)]
struct CallbackMetadata {
    correlation_id: String,
    timestamp: String,
    source: String,
}

#[derive(Serialize, Deserialize)]
struct CallbackOptions {
    #[serde(default)]
    include_volume: bool,
    adjust_splits: Option<bool>,
}

#[derive(Serialize, Deserialize)]
enum CallbackResponse {
    DataChunk { chunk_id: u64, data: Vec<DataPoint>, is_final: bool },
    Progress { completed: u64, total: u64, message: String },
    Error { error_code: String, message: String, details: Option<serde_json::Value> },
}

#[derive(Serialize, Deserialize)]
struct DataPoint {
    at: (u32, u32),
    value: f64,
}

#[derive(Serialize, Deserialize)]
enum Steer {
    Stop,
    Move(String, i32),
    #[serde(rename = "set-speed")]
    Speed(f64),
    Nested(Box<Steer>),
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Event {
    Started,
    Tick {
        price: f64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        size: Option<u32>,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "t", content = "c")]
enum Adjacent {
    Nothing,
    Number(i32),
    Fields { name: String },
}

/// All that Python cannot say, or says otherwise.
#[derive(Serialize, Deserialize)]
struct Odd {
    class: String,
    #[serde(rename = "with space")]
    space: i32,
    #[serde(default)]
    list: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct Order {
    id: u64,
    #[serde(default = "one")]
    amount: u32,
    note: Option<String>,
    tags: std::collections::BTreeSet<String>,
    command: Steer,
    odd: Option<Odd>,
    point: DataPoint,
    #[serde(flatten)]
    rest: Rest,
}

#[derive(Serialize, Deserialize)]
struct Rest {
    venue: String,
}

fn one() -> u32 {
    1
}

#[derive(Serialize, Deserialize)]
struct Bag {
    id: u64,
    #[serde(flatten)]
    rest: HashMap<String, serde_json::Value>,
}

mod other {
    use super::*;

    /// Of the same name as the one above, and different.
    #[derive(Serialize, Deserialize)]
    pub(super) struct DataPoint {
        pub(super) value: i32,
    }
}

fn callback<C, R>(module: &str, name: &str) -> CallbackShape
where
    C: Serialize + serde::de::DeserializeOwned,
    R: Serialize + serde::de::DeserializeOwned,
{
    let (module, name) = (module.to_owned(), name.to_owned());
    CallbackShape { module, name, request: Shape::of::<C>(), response: Shape::of::<R>() }
}

fn callbacks() -> Vec<CallbackShape> {
    vec![
        callback::<DataFetchRequest, DataFetchResponse>("trading", "DataFetch"),
        callback::<ComplexCallbackRequest, CallbackResponse>("trading", "Complex"),
        callback::<Order, Event>("trading.eu", "Place"),
        callback::<Vec<other::DataPoint>, Adjacent>("trading.eu", "Points"),
        callback::<Steer, Option<DataPoint>>("trading.eu", "Steer"),
        callback::<Event, Order>("shapes", "Tagged"),
        callback::<Adjacent, Bag>("shapes", "Adjacent"),
        callback::<Bag, Steer>("shapes", "Open"),
        callback::<(), String>("shapes", "Nothing"),
        callback::<String, ()>("no-module", "Left"),
        callback::<String, ()>("shapes", "class"),
    ]
}

fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/stubs/expected")
}

fn read_all(root: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the folder is there").flatten() {
            let path = entry.path();
            if path.is_dir() {
                if path.file_name().is_some_and(|name| name != "__pycache__") {
                    folders.push(path);
                }
            } else {
                let name = path.strip_prefix(root).expect("it is inside").display().to_string();
                found.push((name, fs::read_to_string(&path).expect("it is text")));
            }
        }
    }
    found.sort();
    found
}

/// To take over what is generated: `BLESS=1 cargo test -p rm-process stubs`.
#[test]
fn stubs_are_as_expected() {
    let dir = tempfile::tempdir().unwrap();
    let written = write_stubs(dir.path(), &callbacks()).unwrap();
    let found = read_all(&written);
    if std::env::var_os("BLESS").is_some() {
        let _ = fs::remove_dir_all(testdata());
        for (name, text) in &found {
            let path = testdata().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }
    let expected = read_all(&testdata());
    let names = |files: &[(String, String)]| -> Vec<String> {
        files.iter().map(|(name, _)| name.clone()).collect()
    };
    assert_eq!(names(&found), names(&expected));
    for ((name, found), (_, expected)) in found.iter().zip(&expected) {
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn types_are_importable_and_are_dataclasses() {
    let dir = tempfile::tempdir().unwrap();
    let written = write_stubs(dir.path(), &callbacks()).unwrap();
    let program = r#"
import ast, dataclasses, pathlib, sys
root = pathlib.Path(sys.argv[1])
for path in root.rglob("*.py*"):
    compile(path.read_text(), path, "exec", ast.PyCF_ONLY_AST)
sys.path.insert(0, sys.argv[1])
import kameo_types.shapes, kameo_types.trading as trading, kameo_types.trading.eu as eu
request = trading.DataFetchRequest("AAPL", start_date="2024-01-01")
assert dataclasses.asdict(request) == {"symbol": "AAPL", "start_date": "2024-01-01"}
assert trading.CallbackOptions().include_volume is None
assert trading.CallbackOptions.__kameo_absent__ == {"include_volume"}
assert not hasattr(eu, "Odd") and "with space" in eu.OddDict.__annotations__
assert eu.Order(1, set(), "Stop", {}, "XETRA", amount=2).note is None
assert [field.name for field in dataclasses.fields(eu.DataPoint)] == ["at", "value"]
assert [field.name for field in dataclasses.fields(eu.DataPoint2)] == ["value"]
"#;
    let python = std::env::var_os("REMOTEMEDIA_PYTHON").unwrap_or_else(|| "python3".into());
    let output = match Command::new(python).args(["-B", "-c", program]).arg(&written).output() {
        // There is nothing to try it with.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
        output => output.unwrap(),
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_same_callbacks_in_another_order_are_the_same_folder_and_not_rewritten() {
    let dir = tempfile::tempdir().unwrap();
    let first = write_stubs(dir.path(), &callbacks()).unwrap();
    let stub = first.join("kameo/__init__.pyi");
    let before = fs::metadata(&stub).unwrap();
    let mut reversed = callbacks();
    reversed.reverse();
    assert_eq!(write_stubs(dir.path(), &reversed).unwrap(), first);
    assert_eq!(fs::metadata(&stub).unwrap().ino(), before.ino());
    assert_eq!(before.mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(&first).unwrap().mode() & 0o777, 0o700);
    assert_eq!(
        fs::canonicalize(dir.path().join("current")).unwrap(),
        fs::canonicalize(&first).unwrap()
    );
}

#[test]
fn a_damaged_folder_is_made_whole_and_other_callbacks_get_another() {
    let dir = tempfile::tempdir().unwrap();
    let first = write_stubs(dir.path(), &callbacks()).unwrap();
    let stub = first.join("kameo/trading/__init__.pyi");
    let text = fs::read_to_string(&stub).unwrap();
    fs::remove_file(&stub).unwrap();
    assert_eq!(write_stubs(dir.path(), &callbacks()).unwrap(), first);
    assert_eq!(fs::read_to_string(&stub).unwrap(), text);

    let second = write_stubs(dir.path(), &callbacks()[..1]).unwrap();
    assert_ne!(second, first);
    assert!(first.exists());
    assert_eq!(fs::read_link(dir.path().join("current")).unwrap(), second.file_name().unwrap());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
}

#[test]
fn writers_at_once_leave_whole_folders_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let all = callbacks();
    thread::scope(|scope| {
        for count in [1, 2, 1, 2, 1, 2, 1, 2] {
            let (dir, some) = (dir.path(), &all[..count]);
            scope.spawn(move || {
                for _ in 0..20 {
                    let folder = write_stubs(dir, some).unwrap();
                    assert!(folder.join("kameo_types/trading/__init__.py").exists());
                    assert!(dir.join("current/kameo/py.typed").exists());
                }
            });
        }
    });
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
}
