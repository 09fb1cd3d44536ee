//! One trace across a parent, its child and a callback, by what both processes' exporters hold.
//!
//! It has a main function of its own, because it is the child's program, too. It needs the feature
//! `opentelemetry`.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::{SpanKind, TracerProvider};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use rm_process::callback::{
    CallbackStream, DynamicCallbackModule, PythonExecutionError, TypedCallbackHandler,
};
use rm_process::child::{self, Reply, SubprocessIpcChild};
use rm_process::{BackendOptions, CommandSpec, ProcessManager, SubprocessIpcBackend};
use tracing::level_filters::LevelFilter;
use tracing::{Instrument, info_span};
use tracing_subscriber::layer::SubscriberExt;

const ROLE: &str = "RM_PROCESS_TRACE_CHILD";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    if std::env::var_os(ROLE).is_some() {
        child::die_with_parent()?;
        return runtime.block_on(serve());
    }
    // What a test runner asks of its tests.
    if std::env::args().any(|argument| argument == "--list") {
        println!("one_trace_goes_through_parent_child_and_callback: test");
        return Ok(());
    }
    runtime.block_on(one_trace_goes_through_parent_child_and_callback())?;
    println!("test one_trace_goes_through_parent_child_and_callback ... ok");
    println!("\ntest result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out");
    Ok(())
}

/// Records every span from here on.
fn record() -> InMemorySpanExporter {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    let subscriber = tracing_subscriber::registry().with(LevelFilter::DEBUG).with(layer);
    tracing::subscriber::set_global_default(subscriber).expect("there is no other");
    exporter
}

/// A span: its name, its kind, its trace, itself and its parent.
type Row = [String; 5];

fn rows(exporter: &InMemorySpanExporter) -> Vec<Row> {
    let row = |span: SpanData| {
        [
            span.name.to_string(),
            format!("{:?}", span.span_kind),
            span.span_context.trace_id().to_string(),
            span.span_context.span_id().to_string(),
            span.parent_span_id.to_string(),
        ]
    };
    let spans = exporter.get_finished_spans().expect("the exporter is in memory");
    spans.into_iter().map(row).collect()
}

/// The child: `work` has it call back; anything else has it tell its spans.
async fn serve() -> Result<(), Box<dyn std::error::Error>> {
    let exporter = record();
    let child = SubprocessIpcChild::<String>::connect().await?;
    let own = child.handle().clone();
    own.ready()?;
    let answer = move |ask: String, _| {
        let (own, exporter) = (own.clone(), exporter.clone());
        async move {
            if ask == "work" {
                let called = own.callbacks().call::<_, u64>("test.Double", &21).await;
                let called = called.map_err(|error| PythonExecutionError::handler(&error))?;
                return Ok(Reply::one(called.to_string()));
            }
            let rows = serde_json::to_string(&rows(&exporter));
            Ok(Reply::one(rows.map_err(|error| PythonExecutionError::handler(&error))?))
        }
    };
    child.serve(answer).await;
    Ok(())
}

struct Double;

#[async_trait::async_trait]
impl TypedCallbackHandler<u64> for Double {
    type Response = u64;

    async fn handle_callback(
        &self,
        request: u64,
    ) -> Result<CallbackStream<u64>, PythonExecutionError> {
        tracing::info_span!("inside").in_scope(|| ());
        Ok(Box::pin(tokio_stream::once(Ok(request * 2))))
    }

    fn type_name(&self) -> &'static str {
        "Double"
    }
}

async fn one_trace_goes_through_parent_child_and_callback() -> Result<(), Box<dyn std::error::Error>>
{
    let exporter = record();
    let mut module = DynamicCallbackModule::new();
    module.register_handler("test", Double)?;
    let manager = ProcessManager::new()?;
    let spec = CommandSpec::new(std::env::current_exe()?).env(ROLE, "1");
    let options = BackendOptions::new().callbacks(Arc::new(module));
    let child = SubprocessIpcBackend::<String>::spawn_ready(&manager, spec, options).await?;
    let work = "work".to_owned();
    let answer = child.call(&work).instrument(info_span!("root")).await?;
    assert_eq!(answer, "42");
    let theirs: Vec<Row> = serde_json::from_str(&child.call(&"spans".to_owned()).await?)?;
    child.shutdown(Duration::from_secs(30)).await;
    let ours = rows(&exporter);

    let find = |rows: &[Row], name: &str, kind: SpanKind, parent: Option<&str>| -> Row {
        let kind = format!("{kind:?}");
        let found = rows.iter().find(|[its_name, its_kind, .., its_parent]| {
            *its_name == name
                && *its_kind == kind
                && parent.is_none_or(|parent| parent == its_parent)
        });
        found.unwrap_or_else(|| panic!("{name} as {kind} below {parent:?} in {rows:#?}")).clone()
    };
    let string = std::any::type_name::<String>();
    let root = find(&ours, "root", SpanKind::Internal, None);
    let called = find(&ours, string, SpanKind::Client, Some(&root[3]));
    let served = find(&theirs, string, SpanKind::Server, Some(&called[3]));
    let calls_back = find(&theirs, "test.Double", SpanKind::Client, Some(&served[3]));
    let handled = find(&ours, "test.Double", SpanKind::Server, Some(&calls_back[3]));
    let inside = find(&ours, "inside", SpanKind::Internal, Some(&handled[3]));
    for span in [called, served, calls_back, handled, inside] {
        assert_eq!(span[2], root[2], "{} is of the same trace", span[0]);
    }
    Ok(())
}
