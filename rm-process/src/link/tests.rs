//! Two links over one socket, or one link and a peer that does not behave.

use std::os::unix::net::UnixStream;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc as std_mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::link::{Link, Peer, Role, Word};
use super::{CallContext, CallEnd, Caller, IncomingCall, LinkEnd, Replies};
use crate::backend::{OutgoingCall, SubprocessIpcBackendError};
use crate::handshake::IpcLimits;
use crate::protocol::{Control, Payload, WireContext, encode_envelope};
use crate::telemetry::metrics::DirectionMetrics;
use crate::telemetry::{CallInfo, CallKind};
use crate::transport::{self, Body, Inbox, TransportOptions};

/// What only a hang exceeds.
const WATCHDOG: Duration = Duration::from_secs(10);

struct Nobody;

impl Peer for Nobody {
    fn heard(&self, _: Word) {}

    fn gone(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::pending())
    }

    fn explain(&self, end: LinkEnd) -> Pin<Box<dyn Future<Output = LinkEnd> + Send + '_>> {
        Box::pin(std::future::ready(end))
    }
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

fn open(
    role: Role,
    stream: UnixStream,
    limits: IpcLimits,
) -> (Link, mpsc::UnboundedReceiver<IncomingCall>, Inbox) {
    let (outbox, inbox) = transport::open(stream, TransportOptions::default()).expect("a channel");
    let (link, calls) = Link::open(role, outbox, (limits, limits));
    (link, calls, inbox)
}

/// Who calls and who serves, both read.
fn pair(limits: IpcLimits) -> (Caller, Link, mpsc::UnboundedReceiver<IncomingCall>) {
    let (one, other) = UnixStream::pair().expect("sockets");
    let (caller, _, inbox) = open(Role::Caller, one, limits);
    tokio::spawn(caller.clone().read(inbox, Arc::new(Nobody)));
    let (server, calls, inbox) = open(Role::Server, other, limits);
    tokio::spawn(server.clone().read(inbox, Arc::new(Nobody)));
    (Caller::new(caller), server, calls)
}

fn body(len: usize) -> Body {
    Body::Inline(vec![0; len])
}

async fn next(replies: &mut Replies) -> Result<bytes::Bytes, CallEnd> {
    timeout(WATCHDOG, std::future::poll_fn(|context| replies.poll_next(context)))
        .await
        .expect("no hang")
}

#[test]
fn the_place_of_a_call_is_free_at_the_other_side_too_once_its_reply_has_come() {
    let runtime = runtime();
    let limits = IpcLimits { max_in_flight: 1, ..IpcLimits::default() };
    let _entered = runtime.enter();
    let (caller, _server, mut calls) = pair(limits);
    let serve = std::thread::spawn(move || {
        while let Some(mut call) = calls.blocking_recv() {
            call.responder.reply(body(8)).expect("it can be sent");
        }
    });
    runtime.block_on(async {
        for _ in 0..20_000 {
            let mut replies =
                caller.call(body(8), CallContext::default()).await.expect("the link holds");
            next(&mut replies).await.expect("the link holds");
        }
    });
    drop((caller, runtime));
    serve.join().expect("it served");
}

#[test]
fn a_stream_goes_on_while_another_one_uses_up_the_window_of_the_connection() {
    let limits = IpcLimits { connection_window: 10_000, ..IpcLimits::default() };
    runtime().block_on(async {
        let (caller, server, mut calls) = pair(limits);
        let mut wanted = caller.call(body(1), CallContext::default()).await.expect("a call");
        let mut taken = calls.recv().await.expect("a call");
        let _unwanted = caller.call(body(1), CallContext::default()).await.expect("a call");
        let mut left = calls.recv().await.expect("a call");
        for _ in 0..3 {
            taken.responder.send(body(1)).await.expect("there is room");
        }
        left.responder.send(body(20_000)).await.expect("one may always be sent");
        next(&mut wanted).await.expect("an item");
        let sending = tokio::spawn(async move { taken.responder.send(body(1)).await });
        // The answer to the word that items wait has come when this one's has.
        while server.table().calls.values().all(|entry| {
            entry.outgoing.as_ref().is_none_or(|outgoing| outgoing.wakers.sender.is_none())
        }) {
            tokio::task::yield_now().await;
        }
        timeout(WATCHDOG, server_has_told(&server)).await.expect("no hang");
        for _ in 0..3 {
            next(&mut wanted).await.expect("an item");
        }
        timeout(WATCHDOG, sending).await.expect("no hang").expect("no panic").expect("it is sent");
    });
}

#[test]
fn a_stream_that_waits_for_the_connection_goes_on_when_another_one_is_consumed() {
    let limits = IpcLimits { connection_window: 10_000, ..IpcLimits::default() };
    runtime().block_on(async {
        let (caller, server, mut calls) = pair(limits);
        let _unwanted = caller.call(body(1), CallContext::default()).await.expect("a call");
        let mut waits = calls.recv().await.expect("a call");
        let mut wanted = caller.call(body(1), CallContext::default()).await.expect("a call");
        let mut fills = calls.recv().await.expect("a call");
        waits.responder.send(body(1)).await.expect("there is room");
        fills.responder.send(body(20_000)).await.expect("one may always be sent");
        let sending = tokio::spawn(async move { waits.responder.send(body(1)).await });
        while server.table().waiting.is_empty() {
            tokio::task::yield_now().await;
        }
        next(&mut wanted).await.expect("an item");
        timeout(WATCHDOG, sending).await.expect("no hang").expect("no panic").expect("it is sent");
        assert!(server.table().waiting.is_empty());
    });
}

/// Waits until the first credit of the stream that is taken has come.
async fn server_has_told(server: &Link) {
    loop {
        let told = {
            let table = server.table();
            let outgoing = table.calls[&1].outgoing.as_ref().expect("it has replies");
            !outgoing.flow.has_unconsumed(768)
        };
        if told {
            return;
        }
        tokio::task::yield_now().await;
    }
}

#[test]
fn everybody_who_waits_for_a_cancellation_hears_of_it() {
    runtime().block_on(async {
        let (caller, _server, mut calls) = pair(IpcLimits::default());
        let replies = caller.call(body(1), CallContext::default()).await.expect("a call");
        let call = calls.recv().await.expect("a call");
        let waiting: Vec<_> = (0..3).map(|_| tokio::spawn(call.responder.cancelled())).collect();
        while watchers(&call) < 3 {
            tokio::task::yield_now().await;
        }
        drop(replies);
        for waiting in waiting {
            timeout(WATCHDOG, waiting).await.expect("no hang").expect("no panic");
        }
    });
}

fn watchers(call: &IncomingCall) -> usize {
    let table = call.responder.link().table();
    let outgoing = table.calls[&call.responder.id()].outgoing.as_ref();
    outgoing.map_or(0, |outgoing| outgoing.wakers.watchers())
}

#[test]
fn a_last_item_comes_whatever_was_sent_before_it() {
    let limits = IpcLimits { stream_window: 300, ..IpcLimits::default() };
    runtime().block_on(async {
        let (caller, _server, mut calls) = pair(limits);
        let mut replies = caller.call(body(1), CallContext::default()).await.expect("a call");
        let mut call = calls.recv().await.expect("a call");
        call.responder.send(body(300)).await.expect("there is room");
        call.responder.reply(body(2)).expect("it is sent");
        while caller.link().in_flight() != 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(next(&mut replies).await.expect("an item").len(), 300);
        assert_eq!(next(&mut replies).await.expect("an item").len(), 2);
        assert!(matches!(next(&mut replies).await, Err(CallEnd::Done)));
        assert!(caller.link().ended().is_none());
    });
}

#[test]
fn a_deadline_holds_also_for_who_has_always_one_more_item() {
    runtime().block_on(async {
        let (caller, _server, mut calls) = pair(IpcLimits::default());
        let metrics = Arc::new(DirectionMetrics::default());
        let deadline = Instant::now() + Duration::from_millis(50);
        let context = CallContext { deadline: Some(deadline), trace: None };
        let info = CallInfo { kind: CallKind::Request, path: "endless", peer_pid: 0 };
        let call = OutgoingCall::begin(caller, context, info, &metrics, None);
        let mut replies = call.call(body(1)).await.expect("a call");
        let mut call = calls.recv().await.expect("a call");
        for _ in 0..3 {
            call.responder.send(body(1)).await.expect("there is room");
        }
        timeout(WATCHDOG, replies.next())
            .await
            .expect("no hang")
            .expect("an item")
            .expect("in time");
        tokio::time::sleep_until(deadline.into()).await;
        let end = timeout(WATCHDOG, replies.next()).await.expect("no hang");
        assert!(matches!(end, Some(Err(SubprocessIpcBackendError::DeadlineExceeded { .. }))));
        assert!(replies.next().await.is_none());
        timeout(WATCHDOG, call.responder.cancelled()).await.expect("the other side hears of it");
    });
}

#[test]
fn the_items_after_a_request_end_with_its_call() {
    runtime().block_on(async {
        let (caller, _server, mut calls) = pair(IpcLimits::default());
        let (mut replies, _sink) =
            caller.call_with_input(body(1), CallContext::default()).await.expect("a call");
        let IncomingCall { input, mut responder, .. } = calls.recv().await.expect("a call");
        let mut input = input.expect("items follow");
        let reading =
            tokio::spawn(
                async move { std::future::poll_fn(|context| input.poll_next(context)).await },
            );
        responder.reply(body(1)).expect("it is sent");
        next(&mut replies).await.expect("an item");
        let end = timeout(WATCHDOG, reading).await.expect("no hang").expect("no panic");
        assert!(matches!(end, Err(CallEnd::Failed(_))));
    });
}

#[test]
fn a_peer_that_asks_without_end_and_reads_nothing_is_read_no_more() {
    use std::io::Write;

    let runtime = runtime();
    let _entered = runtime.enter();
    let (ours, mut theirs) = UnixStream::pair().expect("sockets");
    let (server, _calls, inbox) = open(Role::Server, ours, IpcLimits::default());
    runtime.spawn(server.read(inbox, Arc::new(Nobody)));
    let ping: Control<Payload<&[u8]>> = Control::Ping;
    let mut body = Vec::new();
    encode_envelope(7, WireContext::default(), ping, &mut body).expect("it can be encoded");
    let mut frame = (body.len() as u32).to_le_bytes().to_vec();
    frame.extend(body);
    let many = frame.repeat(1000);
    theirs.set_write_timeout(Some(Duration::from_millis(500))).expect("a timeout");
    let mut written = 0;
    while written < 64 << 20 {
        match theirs.write(&many) {
            Ok(len) => written += len,
            Err(_) => return,
        }
    }
    panic!("{written} bytes were read, and answered into memory");
}

#[test]
fn calls_end_if_the_task_that_reads_was_never_run() {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (one, _other) = UnixStream::pair().expect("sockets");
        let (caller, _, inbox) = open(Role::Caller, one, IpcLimits::default());
        tokio::spawn(caller.clone().read(inbox, Arc::new(Nobody))).abort();
        let call = async {
            match Caller::new(caller).call(body(1), CallContext::default()).await {
                Ok(mut replies) => next(&mut replies).await.is_err(),
                Err(_) => true,
            }
        };
        assert!(timeout(WATCHDOG, call).await.expect("no hang"));
    });
}

#[test]
fn what_was_consumed_of_idle_streams_does_not_fill_the_window_of_the_connection() {
    let limits = IpcLimits { connection_window: 100_000, ..IpcLimits::default() };
    runtime().block_on(async {
        let (caller, server, mut calls) = pair(limits);
        let mut idle = Vec::new();
        for _ in 0..20 {
            let mut replies = caller.call(body(1), CallContext::default()).await.expect("a call");
            let mut call = calls.recv().await.expect("a call");
            call.responder.send(body(10_000)).await.expect("one may always be sent");
            next(&mut replies).await.expect("an item");
            idle.push((call, replies));
        }
        let has_room = async {
            while server.table().sending.is_full() {
                tokio::task::yield_now().await;
            }
        };
        timeout(WATCHDOG, has_room).await.expect("all was consumed");
    });
}

/// Looks at the link when it is woken, as who schedules may do in another runtime.
struct Curious(Link, AtomicUsize);

impl Wake for Curious {
    fn wake(self: Arc<Self>) {
        self.0.in_flight();
        self.1.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn who_is_woken_may_use_the_link_at_once() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let (caller, server, mut calls) = pair(IpcLimits::default());
    let replies = runtime.block_on(caller.call(body(1), CallContext::default())).expect("a call");
    let call = runtime.block_on(calls.recv()).expect("a call");
    let curious = Arc::new(Curious(server.clone(), AtomicUsize::new(0)));
    let waker = Waker::from(Arc::clone(&curious));
    let mut cancelled = pin!(call.responder.cancelled());
    assert_eq!(cancelled.as_mut().poll(&mut Context::from_waker(&waker)), Poll::Pending);
    drop(replies);
    let (done, is_done) = std_mpsc::channel();
    std::thread::spawn(move || {
        while curious.1.load(Ordering::SeqCst) == 0 {
            std::thread::yield_now();
        }
        let _ = done.send(());
    });
    let woken = is_done.recv_timeout(WATCHDOG);
    if woken.is_err() {
        // Its threads wait for each other for ever.
        runtime.shutdown_background();
        std::process::abort();
    }
}
