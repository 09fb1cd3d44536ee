//! What Python code calls in its parent: `kameo.test.One(request)`, from every kind of function, from
//! threads and from several loops.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rm_core::TraceContext;
use rm_process::callback::{CallbackStream, DynamicCallbackModule, TypedCallbackHandler};
use rm_process::{PythonExecutionError, SubprocessIpcBackendError, telemetry};
use serde_json::{Value, json};

use super::support::{Child, child_with, end, failure, soon};

/// Counts the answers that were dropped before their end.
type Dropped = Arc<AtomicU64>;

struct Counted(Dropped);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[derive(Debug, thiserror::Error)]
#[error("no data for {0}")]
struct NoData(u64);

enum Kind {
    One,
    Three,
    Nothing,
    Fails,
    FailsLater,
    Panics,
    Hangs(Dropped),
    Endless(Dropped),
    Context,
}

struct Handler(Kind);

#[async_trait::async_trait]
impl TypedCallbackHandler<u64> for Handler {
    type Response = Value;

    async fn handle_callback(
        &self,
        number: u64,
    ) -> Result<CallbackStream<Value>, PythonExecutionError> {
        let items = |items: Vec<Value>| -> CallbackStream<Value> {
            Box::pin(tokio_stream::iter(items.into_iter().map(Ok)))
        };
        match &self.0 {
            Kind::One => Ok(items(vec![json!(number)])),
            Kind::Three => Ok(items((number..number + 3).map(Value::from).collect())),
            Kind::Nothing => Ok(items(vec![])),
            Kind::Fails => Err(PythonExecutionError::handler(&NoData(number))),
            Kind::FailsLater => {
                let error = PythonExecutionError::handler(&NoData(number));
                Ok(Box::pin(tokio_stream::iter([Ok(json!(1)), Err(error)])))
            }
            Kind::Panics => panic!("on purpose"),
            Kind::Hangs(dropped) => {
                let _counted = Counted(Arc::clone(dropped));
                std::future::pending().await
            }
            Kind::Endless(dropped) => {
                let counted = Counted(Arc::clone(dropped));
                let ballast = "x".repeat(1000);
                Ok(Box::pin(tokio_stream::iter(0_u64..).map_items(move |number| {
                    let _whole = &counted;
                    json!([number, ballast])
                })))
            }
            Kind::Context => {
                let trace = telemetry::current().map(|trace| trace.to_string());
                Ok(items(vec![json!(trace)]))
            }
        }
    }

    fn type_name(&self) -> &'static str {
        match self.0 {
            Kind::One => "One",
            Kind::Three => "Three",
            Kind::Nothing => "Nothing",
            Kind::Fails => "Fails",
            Kind::FailsLater => "FailsLater",
            Kind::Panics => "Panics",
            Kind::Hangs(_) => "Hangs",
            Kind::Endless(_) => "Endless",
            Kind::Context => "Context",
        }
    }
}

/// Makes items of what a stream gives.
trait MapItems: tokio_stream::Stream<Item = u64> + Send + Sized + 'static {
    fn map_items(
        self,
        mut make: impl FnMut(u64) -> Value + Send + 'static,
    ) -> impl tokio_stream::Stream<Item = Result<Value, PythonExecutionError>> + Send {
        tokio_stream::StreamExt::map(self, move |number| Ok(make(number)))
    }
}

impl<S: tokio_stream::Stream<Item = u64> + Send + 'static> MapItems for S {}

async fn child(function: &str) -> Option<(Child, Dropped)> {
    let dropped = Dropped::default();
    let mut module = DynamicCallbackModule::new();
    for kind in [
        Kind::One,
        Kind::Three,
        Kind::Nothing,
        Kind::Fails,
        Kind::FailsLater,
        Kind::Panics,
        Kind::Hangs(Arc::clone(&dropped)),
        Kind::Endless(Arc::clone(&dropped)),
        Kind::Context,
    ] {
        module.register_handler("test", Handler(kind)).expect("a new path");
    }
    module.register_handler("test.deep", Handler(Kind::One)).expect("a new path");
    Some((child_with(function, module).await?, dropped))
}

async fn call(child: &Child, request: Value) -> Value {
    soon(child.call(&request)).await.unwrap_or_else(|error| panic!("{request}: {error}"))
}

#[tokio::test]
async fn callbacks_of_three_kinds_come_back_complete_and_in_order() {
    for function in ["storm", "storm_by_threads", "storm_by_loops"] {
        let Some((child, _)) = child(function).await else { return };
        assert_eq!(call(&child, json!(100)).await, json!([100, 100, 100]), "{function}");
        assert_eq!(child.callback_metrics().total, 300);
        end(child).await;
    }
}

#[tokio::test]
async fn a_thousand_at_once_come_back_complete_and_in_order() {
    let Some((child, _)) = child("storm").await else { return };
    assert_eq!(call(&child, json!(3000)).await, json!([3000, 3000, 3000]));
    end(child).await;
}

#[tokio::test]
async fn paths_are_attributes_and_modules_and_unknown_ones_name_the_nearest() {
    let Some((child, _)) = child("callback").await else { return };
    assert_eq!(call(&child, json!("same")).await, json!(true));
    assert_eq!(call(&child, json!("imported")).await, json!(1));
    assert_eq!(
        call(&child, json!("dir")).await,
        json!([
            ["Call", "test"],
            [
                "Context",
                "Endless",
                "Fails",
                "FailsLater",
                "Hangs",
                "Nothing",
                "One",
                "Panics",
                "Three",
                "deep"
            ],
            ["One"]
        ])
    );
    for (path, expected) in [
        ("kameo.test.deep.One", "<callback test.deep.One>"),
        ("kameo.test.One(1)", "<call of test.One>"),
    ] {
        assert_eq!(call(&child, json!({ "lookup": path })).await, json!(expected));
    }
    let unknown = call(&child, json!({"lookup": "kameo.test.Tree"})).await;
    assert_eq!(unknown[0], "CallbackNotFound");
    let message = unknown[1].as_str().unwrap();
    let expected = "no callback 'kameo.test.Tree'; nearest are: kameo.test.Three";
    assert!(message.starts_with(expected), "{message}");
    end(child).await;
}

#[tokio::test]
async fn a_handlers_error_is_an_exception_with_its_type_and_message() {
    let Some((child, _)) = child("callback").await else { return };
    let kinds = ["CallbackError", "_CallFailure", "RemoteMediaError", "RuntimeError", "Exception"];
    let error_type = std::any::type_name::<NoData>();
    for path in ["test.Fails", "test.FailsLater"] {
        let caught = call(&child, json!({"path": path, "value": 7})).await;
        let kinds_found = caught[0].as_array().unwrap();
        assert_eq!(kinds_found[..kinds.len()], kinds, "{caught}");
        assert_eq!(
            (&caught[1], &caught[2], &caught[3]),
            (
                &json!(error_type),
                &json!("no data for 7"),
                &json!(format!("{error_type}: no data for 7"))
            )
        );
    }
    let caught = call(&child, json!({"path": "test.Panics", "value": 7})).await;
    assert_eq!(
        (&caught[1], &caught[2]),
        (&json!("Panicked"), &json!("handler panicked: on purpose"))
    );
    let caught = call(&child, json!({"path": "test.One", "value": "seven"})).await;
    assert_eq!(
        (&caught[1], &caught[2]),
        (&json!("Deserialization"), &json!("request: expected int, got str"))
    );
    assert_eq!(
        call(&child, json!("unsendable")).await,
        json!(["MarshalingError", "request.a[0]: cannot send an object of type object"])
    );
    end(child).await;
}

#[tokio::test]
async fn one_item_is_expected_of_an_awaited_call() {
    let Some((plain, _)) = child("callback").await else { return };
    let many = json!(["ManyReplies", "test.Three gave more than one item; iterate the call"]);
    let answer = call(&plain, json!("one_of_three")).await;
    assert_eq!(answer, json!([[1, 2, 3], many]));
    assert_eq!(
        call(&plain, json!("one_of_none")).await,
        json!(["NoReply", "test.Nothing gave no item; iterate the call to have none"])
    );
    end(plain).await;
    let Some((child, _)) = child("callback_async").await else { return };
    assert_eq!(call(&child, json!("one_of_three")).await, many);
    end(child).await;
}

#[tokio::test]
async fn an_exception_that_is_not_caught_goes_back_to_the_parent_whole() {
    let Some((child, _)) = child("callback").await else { return };
    let raised = failure(soon(child.call(&json!("uncaught"))).await);
    let PythonExecutionError::Raised { exception, message, traceback } = raised else {
        panic!("{raised:?}");
    };
    assert_eq!(exception, "remotemedia_runtime.errors.CallbackError");
    assert!(message.ends_with("NoData: no data for 1"), "{message}");
    assert!(traceback.contains("kameo.test.Fails(1).result()"), "{traceback}");
    end(child).await;
}

#[tokio::test]
async fn a_callback_has_the_deadline_of_the_request_that_is_served() {
    for (function, request) in [
        ("callback", json!("hang")),
        ("callback", json!("hang_in_thread")),
        ("callback_async", json!("hang")),
    ] {
        let Some((child, dropped)) = child(function).await else { return };
        // Who notices first, and whether an answer is in time then, is open. The handler is dropped
        // with the callback.
        let timeout = Duration::from_millis(50);
        match soon(child.request(&request).timeout(timeout).send()).await {
            Ok(caught) => assert!(caught.to_string().contains("no answer within"), "{caught}"),
            Err(SubprocessIpcBackendError::DeadlineExceeded { .. }) => {}
            other => panic!("{other:?}"),
        }
        let gone = async {
            while dropped.load(Ordering::SeqCst) == 0 {
                tokio::task::yield_now().await;
            }
        };
        soon(gone).await;
        let simple = if function == "callback" { json!("imported") } else { json!(1) };
        assert_eq!(call(&child, simple).await, json!(1));
        end(child).await;
    }
}

#[tokio::test]
async fn a_callback_is_part_of_the_trace_of_the_request_that_is_served() {
    for function in ["callback", "callback_async"] {
        let Some((child, _)) = child(function).await else { return };
        let trace = TraceContext { trace_id: [7; 16], span_id: [9; 8], flags: 1 };
        let request = json!("context");
        let found = soon(child.request(&request).trace(trace).send()).await.unwrap();
        assert_eq!(found, json!(trace.to_string()));
        assert_eq!(call(&child, request).await, Value::Null);
        end(child).await;
    }
}

#[tokio::test]
async fn a_call_that_is_closed_or_forgotten_is_dropped_by_the_parent() {
    for (function, count) in [("callback", 3), ("callback_async", 1)] {
        let Some((child, dropped)) = child(function).await else { return };
        let firsts = call(&child, json!("drop")).await;
        assert!(firsts[0] == 0 || firsts[0][0] == 0, "{firsts}");
        let gone = async {
            while dropped.load(Ordering::SeqCst) < count {
                tokio::task::yield_now().await;
            }
        };
        soon(gone).await;
        end(child).await;
    }
}
