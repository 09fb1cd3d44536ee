//! What telemetry costs a call where nobody listens: no allocation. Times are printed, not judged;
//! they are worth something with `cargo test --release … -- --nocapture`.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use allocation_counter::measure;
use rm_core::TraceContext;
use rm_process::telemetry::metrics::{DirectionMetrics, FailureKind};
use rm_process::telemetry::{self, CallInfo, CallKind, ItemInfo};

const CONTEXT: TraceContext = TraceContext { trace_id: [1; 16], span_id: [2; 8], flags: 1 };
const CALL: CallInfo<'_> = CallInfo { kind: CallKind::Request, path: "analyse", peer_pid: 2 };

/// Checks that `work` allocates nothing, once what threads allocate at first use is there.
fn check_free(name: &str, mut work: impl FnMut()) {
    const TIMES: u32 = 200_000;
    work();
    let begin = Instant::now();
    let allocations = measure(|| (0..TIMES).for_each(|_| work()));
    println!("{name:<40} {:>6.1} ns", begin.elapsed().as_nanos() as f64 / f64::from(TIMES));
    assert_eq!((name, allocations.count_total), (name, 0));
}

#[test]
fn spans_that_nobody_wants_allocate_nothing() {
    check_free("current", || {
        black_box(telemetry::current());
    });
    check_free("client_span", || {
        black_box(telemetry::client_span(black_box(CALL)));
    });
    check_free("server_span", || {
        black_box(telemetry::server_span(black_box(CALL), 1, black_box(Some(CONTEXT))));
    });
    let item = ItemInfo { node: "asr", node_type: "Recogniser", session: "s", sequence: 1 };
    check_free("item_span of no trace", || {
        black_box(telemetry::item_span(black_box(item), black_box(TraceContext::default())));
    });
    check_free("item_span", || {
        black_box(telemetry::item_span(black_box(item), black_box(CONTEXT)));
    });
    let nobody = tracing::Span::none();
    check_free("record_failure", || {
        telemetry::record_failure(black_box(&nobody), FailureKind::Remote, &"no such model");
    });
    check_free("enter and leave", || drop(telemetry::enter(black_box(Some(CONTEXT)))));
}

#[test]
fn a_scope_allocates_nothing() {
    check_free("scope, polled once", || {
        let mut future = std::pin::pin!(telemetry::scope(Some(CONTEXT), async {
            black_box(telemetry::current())
        }));
        let mut task = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(future.as_mut().poll(&mut task).is_ready());
    });
}

#[test]
fn counting_a_call_allocates_nothing() {
    let metrics = Arc::new(DirectionMetrics::default());
    check_free("begin, finish", || metrics.begin().finish(Ok(())));
    check_free("begin, two items, finish", || {
        let call = metrics.begin();
        call.metrics().item_out(black_box(100));
        call.metrics().item_in(black_box(100));
        call.finish(Err(FailureKind::Remote));
    });
    check_free("clock alone, read twice", || {
        black_box(Instant::now().elapsed());
    });
}
