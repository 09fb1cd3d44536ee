//! What a call and an item of a stream allocate, in the parent and in the child: no more than is said
//! here, and nothing that grows with what was done before.
//!
//! The child is this program again, and tells at its end what it has allocated. Only differences
//! between two runs count, so what is allocated once is not in them.

use std::time::Duration;

use allocation_counter::measure;
use rm_process::child::{self, Reply, SubprocessIpcChild};
use rm_process::{BackendOptions, CommandSpec, ProcessManager, SubprocessIpcBackend};
use tokio::runtime::{Builder, Runtime};

const CHILD: &str = "child";

/// Most allocations of one call, and of one item of a stream.
const CALL: Bounds = Bounds { parent: 6.0, child: 8.0 };
const ITEM: Bounds = Bounds { parent: 2.0, child: 2.0 };

/// Calls or items in the shorter run; the longer one has twice as many.
const COUNT: u64 = 2_000;

struct Bounds {
    parent: f64,
    child: f64,
}

fn main() {
    if std::env::args().nth(1).as_deref() == Some(CHILD) {
        return serve();
    }
    check("a call", CALL, |count| vec![0; count as usize]);
    check("an item", ITEM, |count| vec![count]);
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Answers 0 with one number, and any other with as many.
fn serve() {
    child::die_with_parent().expect("it is a child");
    let runtime = runtime();
    let allocated = measure(|| {
        runtime.block_on(async {
            let child = SubprocessIpcChild::<u64>::connect().await.expect("it is a child");
            let answer = |to: u64, _| async move {
                Ok(match to {
                    0 => Reply::one(0),
                    to => Reply::stream(tokio_stream::iter((0..to).map(Ok))),
                })
            };
            child.serve(answer).await;
        });
    });
    println!("{}", allocated.count_total);
}

/// Checks what one more request, or one more item, of `requests` allocates.
fn check(what: &str, bounds: Bounds, requests: impl Fn(u64) -> Vec<u64>) {
    let (short, long) = (run(&requests(COUNT)), run(&requests(2 * COUNT)));
    for (side, bound, short, long) in
        [("parent", bounds.parent, short.0, long.0), ("child", bounds.child, short.1, long.1)]
    {
        let each = (long as f64 - short as f64) / COUNT as f64;
        println!("{what}, {side}: {each:.2} allocations, {bound} allowed");
        assert!(each <= bound, "{what} allocates {each:.2} times in the {side}");
    }
}

/// What the parent and the child allocate in a run.
fn run(requests: &[u64]) -> (u64, u64) {
    let runtime = runtime();
    let mut told = String::new();
    let allocated = measure(|| {
        runtime.block_on(async {
            let program = std::env::current_exe().expect("this program");
            let spec = CommandSpec::new(program).args([CHILD]);
            let manager = ProcessManager::new().expect("a manager");
            let started = SubprocessIpcBackend::<u64>::spawn(&manager, spec, BackendOptions::new());
            let child = started.await.expect("it starts");
            for request in requests {
                let mut replies = child.stream(request).await.expect("it is called");
                while let Some(reply) = replies.next().await {
                    reply.expect("it answers");
                }
            }
            child.shutdown(Duration::from_secs(60)).await;
            let process = child.process().expect("it was started here");
            process.exited().await;
            told = process.stdout_tail();
        });
    });
    (allocated.count_total, told.trim().parse().expect("it tells a number"))
}
