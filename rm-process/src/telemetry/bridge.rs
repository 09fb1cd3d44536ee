//! Between our trace contexts and the spans that OpenTelemetry keeps for `tracing`.
//!
//! Main functions: [`context_of`] and [`set_parent`]. Spans that nobody records have no context,
//! and asking them costs nothing.

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use rm_core::TraceContext;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The context of a span, if OpenTelemetry records it.
pub(super) fn context_of(span: &Span) -> Option<TraceContext> {
    if span.is_disabled() {
        return None;
    }
    let context = span.context();
    let span = context.span();
    let own = span.span_context();
    own.is_valid().then(|| TraceContext {
        trace_id: own.trace_id().to_bytes(),
        span_id: own.span_id().to_bytes(),
        flags: own.trace_flags().to_u8(),
    })
}

/// Puts a span that has not begun yet below one of another process.
pub(super) fn set_parent(span: &Span, parent: TraceContext) {
    if span.is_disabled() || !parent.is_valid() {
        return;
    }
    let remote = SpanContext::new(
        TraceId::from_bytes(parent.trace_id),
        SpanId::from_bytes(parent.span_id),
        TraceFlags::new(parent.flags),
        true,
        TraceState::NONE,
    );
    // It fails where no layer of OpenTelemetry listens: then there is nothing to put below.
    let _ = span.set_parent(Context::new().with_remote_span_context(remote));
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{SpanKind, Status, TracerProvider};
    use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
    use tokio::task::yield_now;
    use tracing::level_filters::LevelFilter;
    use tracing::{Instrument, info_span};
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::registry;

    use super::super::metrics::FailureKind;
    use super::super::{
        CallInfo, CallKind, client_span, current, enter, record_failure, scope, server_span,
    };
    use super::*;

    fn call(kind: CallKind, path: &str) -> CallInfo<'_> {
        CallInfo { kind, path, peer_pid: 2 }
    }

    /// Runs `work` where spans of `level` are recorded, and gives those that ended.
    fn spans_of<F: Future>(level: LevelFilter, work: impl FnOnce() -> F) -> Vec<SpanData> {
        let exporter = InMemorySpanExporter::default();
        let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let subscriber = registry().with(level).with(layer);
        tracing::subscriber::with_default(subscriber, || {
            runtime.expect("a runtime without I/O needs nothing").block_on(work());
        });
        exporter.get_finished_spans().expect("the exporter is in memory")
    }

    /// What arrives at the other process.
    fn over_the_wire(context: Option<TraceContext>) -> Option<TraceContext> {
        let bytes = serde_brief::to_vec(&context).expect("a context can be encoded");
        serde_brief::from_slice(&bytes).expect("a context can be decoded")
    }

    /// One process calls the other, whose handler calls back.
    async fn call_with_callback() {
        let (client, sent) = client_span(call(CallKind::Request, "analyse"));
        let arrived = over_the_wire(sent);
        let handler = async {
            yield_now().await;
            let (client, sent) = client_span(call(CallKind::Callback, "trading.DataFetch"));
            let arrived = over_the_wire(sent);
            let serving = server_span(call(CallKind::Callback, "trading.DataFetch"), 2, arrived);
            scope(arrived, yield_now()).instrument(serving).await;
            drop(client);
        };
        let serving = server_span(call(CallKind::Request, "analyse"), 1, arrived);
        scope(arrived, handler).instrument(serving).await;
        drop(client);
    }

    #[test]
    fn call_handler_and_callback_are_one_trace() {
        let spans =
            spans_of(LevelFilter::DEBUG, || call_with_callback().instrument(info_span!("root")));
        let find = |name: &str, kind: SpanKind| {
            let mut found = spans.iter().filter(|span| span.name == name && span.span_kind == kind);
            found.next().unwrap_or_else(|| panic!("{name} as {kind:?} in {spans:#?}"))
        };
        let chain = [
            find("root", SpanKind::Internal),
            find("analyse", SpanKind::Client),
            find("analyse", SpanKind::Server),
            find("trading.DataFetch", SpanKind::Client),
            find("trading.DataFetch", SpanKind::Server),
        ];
        assert_eq!(spans.len(), chain.len());
        assert_eq!(chain[0].parent_span_id, SpanId::INVALID);
        for pair in chain.windows(2) {
            assert_eq!(pair[1].parent_span_id, pair[0].span_context.span_id());
            assert_eq!(pair[1].span_context.trace_id(), pair[0].span_context.trace_id());
        }
        let remote = chain.map(|span| span.parent_span_is_remote);
        assert_eq!(remote, [false, false, true, false, true]);
    }

    #[test]
    fn a_trace_goes_on_where_spans_of_calls_are_not_wanted() {
        let spans = spans_of(LevelFilter::INFO, || {
            async {
                let own = context_of(&Span::current());
                assert!(own.is_some());
                let (client, sent) = client_span(call(CallKind::Request, "analyse"));
                assert!(client.is_disabled());
                assert_eq!(sent, own);
            }
            .instrument(info_span!("root"))
        });
        assert_eq!(spans.len(), 1);
    }

    #[test]
    fn an_entered_span_counts_before_an_entered_context() {
        let context = Some(TraceContext { trace_id: [1; 16], span_id: [2; 8], flags: 1 });
        let spans = spans_of(LevelFilter::DEBUG, || async move {
            let _entered = enter(context);
            assert_eq!(current(), context);
            let span = info_span!("inner").entered();
            let inside = current();
            assert!(inside.is_some() && inside != context);
            drop(span);
            assert_eq!(current(), context);
        });
        assert_eq!(spans.len(), 1);
    }

    #[test]
    fn a_served_call_is_below_nothing_of_its_own_process() {
        let spans = spans_of(LevelFilter::DEBUG, || {
            async {
                let nobody = Some(TraceContext::default());
                for parent in [None, nobody] {
                    drop(server_span(call(CallKind::Request, "analyse"), 1, parent));
                }
            }
            .instrument(info_span!("engine"))
        });
        let served: Vec<_> = spans.iter().filter(|span| span.name == "analyse").collect();
        assert_eq!(served.len(), 2);
        assert!(served.iter().all(|span| span.parent_span_id == SpanId::INVALID));
    }

    #[test]
    fn a_caller_that_does_not_sample_is_obeyed() {
        let unsampled = TraceContext { trace_id: [1; 16], span_id: [2; 8], flags: 0 };
        let spans = spans_of(LevelFilter::DEBUG, || async move {
            let span = server_span(call(CallKind::Request, "analyse"), 1, Some(unsampled));
            let own = context_of(&span).expect("a span that is not sampled has a context too");
            assert_eq!((own.trace_id, own.is_sampled()), (unsampled.trace_id, false));
        });
        assert!(spans.is_empty());
    }

    #[test]
    fn a_failed_call_says_so_in_its_span() {
        let spans = spans_of(LevelFilter::DEBUG, || async {
            let (client, _) = client_span(call(CallKind::Request, "analyse"));
            record_failure(&client, FailureKind::Remote, &"ValueError: no such model");
        });
        assert_eq!(spans[0].status, Status::error("ValueError: no such model"));
        let failure = spans[0].attributes.iter().find(|kv| kv.key.as_str() == "failure");
        assert_eq!(failure.map(|kv| kv.value.as_str()).as_deref(), Some("remote"));
    }
}
