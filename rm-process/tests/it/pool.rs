//! A pool of children: who gets a call, and what happens when a child ends.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rm_process::{
    BackendOptions, Backoff, CommandSpec, NotRestarted, PoolOptions, ProcessError, RestartPolicy,
    SubprocessIpcBackend, SubprocessIpcBackendError, SubprocessPool,
};
use rustix::process::Signal;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::ask::{Answer, Ask};
use crate::support::{Stranger, child, is_known, manager, soon};

type Pool = SubprocessPool<Ask>;

fn of(size: usize) -> PoolOptions {
    PoolOptions::new(NonZeroUsize::new(size).expect("some children"))
}

fn restarting(size: usize, max: u32) -> PoolOptions {
    let initial = Duration::from_millis(1);
    let backoff = Backoff { initial, ..Backoff::default() };
    of(size).restart(RestartPolicy::OnFailure { max, backoff })
}

fn serve(_: usize) -> CommandSpec {
    child("serve")
}

async fn pool(options: PoolOptions) -> Pool {
    let manager = manager();
    let pool = Pool::spawn(&manager, serve, BackendOptions::new(), options);
    soon(pool).await.expect("children that serve")
}

fn pids(pool: &Pool) -> Vec<Option<u32>> {
    pool.status().places.iter().map(|place| place.process_id).collect()
}

fn in_flight(pool: &Pool) -> Vec<usize> {
    pool.status().places.iter().map(|place| place.in_flight).collect()
}

/// Waits until the pool is as `is_so` says.
async fn until(pool: &Pool, is_so: impl Fn(&Pool) -> bool) {
    soon(async {
        while !is_so(pool) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Waits until the operating system has forgotten all of them.
async fn gone(pids: impl IntoIterator<Item = u32>) {
    for pid in pids {
        soon(async {
            while is_known(pid) {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

fn is_ended(error: &SubprocessIpcBackendError) -> bool {
    matches!(error, SubprocessIpcBackendError::ProcessEnded { .. })
}

#[tokio::test]
async fn calls_go_to_the_child_with_the_fewest_and_in_turns_where_all_have_as_many() {
    let pool = pool(of(4)).await;
    assert_eq!(pids(&pool).into_iter().flatten().collect::<HashSet<_>>().len(), 4);
    for given in 0..8 {
        assert_eq!(soon(pool.call(&Ask::Echo(given))).await.unwrap(), Answer::Number(given));
    }
    let each: Vec<_> = pool.status().places.iter().map(|place| place.calls.total).collect();
    assert_eq!(each, [2; 4]);
    let mut hung = Vec::new();
    for round in 1..=3 {
        for _ in 0..4 {
            hung.push(soon(pool.stream(&Ask::Hang)).await.unwrap());
            let loads = in_flight(&pool);
            assert!(loads.iter().all(|load| (round - 1..=round).contains(load)), "{loads:?}");
        }
    }
    // Room at one child draws the next call, whose turn it may be.
    drop(hung.remove(5));
    until(&pool, |pool| in_flight(pool).iter().sum::<usize>() == 11).await;
    let free = in_flight(&pool).iter().position(|load| *load == 2).unwrap();
    let _next = soon(pool.stream(&Ask::Hang)).await.unwrap();
    assert_eq!(in_flight(&pool), [3; 4], "the child {free} was free");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_come_at_once_are_shared_out_evenly() {
    let pool = pool(of(4)).await;
    let mut calls = JoinSet::new();
    for _ in 0..400 {
        let pool = pool.clone();
        calls.spawn(async move { pool.stream(&Ask::Hang).await });
    }
    let hung = soon(calls.join_all()).await;
    assert_eq!(in_flight(&pool), [100; 4]);
    assert!(hung.iter().all(Result::is_ok));
}

#[tokio::test]
async fn a_child_that_hangs_does_not_draw_the_calls_whose_callers_lose_patience() {
    let pool = pool(of(2)).await;
    let blocked = Stranger::new(pids(&pool)[0].unwrap());
    blocked.signal(Signal::STOP);
    blocked.wait_stopped();
    let mut lost = 0;
    for given in 0..20 {
        let echo = Ask::Echo(given);
        let call = pool.request(&echo).timeout(Duration::from_millis(200));
        match soon(call.send()).await {
            Ok(answer) => assert_eq!(answer, Answer::Number(given)),
            Err(SubprocessIpcBackendError::DeadlineExceeded { .. }) => lost += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(lost <= 1, "{lost} calls went to the child that hangs");
}

/// Makes 2,000 calls at once, and kills a child that has got some when half of them are made. Gives how
/// many were answered and how many failed.
async fn storm(pool: &Pool, idempotent: bool) -> (u64, u64) {
    let count = 2_000;
    let killed = Stranger::new(pids(pool)[1].expect("it is there"));
    // So that it has calls when it is killed.
    killed.signal(Signal::STOP);
    killed.wait_stopped();
    let started = Arc::new(Semaphore::new(0));
    let mut calls = JoinSet::new();
    for given in 0..count {
        let (pool, started) = (pool.clone(), Arc::clone(&started));
        calls.spawn(async move {
            let echo = Ask::Echo(given);
            let request = pool.request(&echo);
            let request = if idempotent { request.idempotent() } else { request };
            started.add_permits(1);
            (given, request.send().await)
        });
    }
    drop(soon(started.acquire_many(1_000)).await.expect("it is open"));
    until(pool, |pool| in_flight(pool)[1] > 0).await;
    killed.signal(Signal::KILL);
    let (mut answered, mut failed) = (0, 0);
    while let Some(call) = soon(calls.join_next()).await {
        match call.expect("it does not panic") {
            (given, Ok(answer)) => {
                assert_eq!(answer, Answer::Number(given));
                answered += 1;
            }
            (_, Err(error)) => {
                assert!(is_ended(&error), "{error}");
                failed += 1;
            }
        }
    }
    assert_eq!(answered + failed, count);
    (answered, failed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_call_has_one_end_and_the_place_is_filled_when_one_of_four_is_killed_under_load() {
    let pool = pool(restarting(4, 1)).await;
    let before = pids(&pool);
    let (answered, failed) = storm(&pool, false).await;
    assert!(failed > 0);
    until(&pool, |pool| pool.status().places[1].restarts == 1).await;
    let (status, after) = (pool.status(), pids(&pool));
    assert_eq!((status.calls.total, status.calls.in_flight), (2_000, 0));
    assert_eq!((status.calls.succeeded, status.calls.failed.closed), (answered, failed));
    assert_eq!(status.calls.latency.count, 2_000);
    assert_eq!((status.calls.items_in, status.calls.items_out), (answered, 2_000));
    assert_ne!(after[1], before[1]);
    assert_eq!([after[0], after[2], after[3]], [before[0], before[2], before[3]]);
    let restarts: Vec<_> = status.places.iter().map(|place| place.restarts).collect();
    assert_eq!(restarts, [0, 1, 0, 0]);
    assert_eq!(in_flight(&pool), [0; 4]);
    for given in 0..4 {
        soon(pool.call(&Ask::Echo(given))).await.unwrap();
    }
    let more = pool.status().places[1].calls.succeeded - status.places[1].calls.succeeded;
    assert_eq!(more, 1, "the new child has its turn");
    soon(pool.shutdown(Duration::from_secs(30))).await;
    gone(before.into_iter().chain(after).flatten()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_idempotent_calls_succeed_when_one_of_four_is_killed_under_load() {
    let pool = pool(restarting(4, 1)).await;
    assert_eq!(storm(&pool, true).await, (2_000, 0));
    let status = pool.status();
    assert_eq!((status.calls.total, status.calls.succeeded), (2_000, 2_000));
    assert!(status.retries > 0);
}

#[tokio::test]
async fn an_idempotent_call_is_made_again_until_an_item_was_given() {
    let pool = pool(of(2)).await;
    // A large request, which travels apart, can be made again, too.
    let (sum, hang) = (Ask::Sum(vec![1; 1 << 20]), Ask::Hang);
    let mut hung = soon(pool.request(&hang).idempotent().stream()).await.unwrap();
    let count = Ask::Count { to: 1 << 40, ballast: 1000 };
    let mut counting = soon(pool.request(&count).idempotent().stream()).await.unwrap();
    assert_eq!(in_flight(&pool), [1, 1]);
    soon(counting.next()).await.unwrap().unwrap();
    let [first, second] = [0, 1].map(|place| Stranger::new(pids(&pool)[place].unwrap()));
    first.signal(Signal::STOP);
    first.wait_stopped();
    // The turn is the first child's again.
    let mut stuck = soon(pool.request(&sum).idempotent().stream()).await.unwrap();
    assert_eq!(in_flight(&pool), [2, 1]);
    first.signal(Signal::KILL);
    assert_eq!(soon(stuck.next()).await.unwrap().unwrap(), Answer::Number(1 << 20));
    assert!(soon(stuck.next()).await.is_none());
    let waiting = tokio::time::timeout(Duration::ZERO, hung.next()).await;
    assert!(waiting.is_err(), "the other child has it now");
    assert_eq!(pool.status().retries, 2);
    second.signal(Signal::KILL);
    loop {
        match soon(counting.next()).await.expect("an end") {
            Ok(_) => {}
            Err(error) => break assert!(is_ended(&error), "{error}"),
        }
    }
    assert!(soon(counting.next()).await.is_none());
    let error = soon(hung.next()).await.unwrap().unwrap_err();
    let SubprocessIpcBackendError::PoolEmpty { why, last } = error else { panic!("{error}") };
    assert_eq!(why, NotRestarted::PolicyNever);
    assert!(is_ended(&last), "{last}");
    let failed = pool.status().calls.failed;
    assert_eq!((failed.closed, failed.total()), (2, 2));
}

#[tokio::test]
async fn an_idempotent_call_that_kills_children_kills_no_more_than_its_tries() {
    let pool = pool(restarting(4, 1).tries(2)).await;
    let error = soon(pool.request(&Ask::Abort).idempotent().send()).await.unwrap_err();
    assert!(is_ended(&error), "{error}");
    until(&pool, |pool| pids(pool).iter().all(Option::is_some)).await;
    until(&pool, |pool| pool.status().places.iter().map(|place| place.restarts).sum::<u64>() == 2)
        .await;
    assert_eq!(pool.status().retries, 1);
}

#[tokio::test]
async fn calls_fail_with_the_last_failure_when_no_child_is_left_and_the_limit_is_reached() {
    let pool = pool(restarting(2, 1)).await;
    for _ in 0..4 {
        let error = soon(pool.call(&Ask::Abort)).await.unwrap_err();
        assert!(is_ended(&error), "{error}");
    }
    let error = soon(pool.call(&Ask::Echo(1))).await.unwrap_err();
    let text = error.to_string();
    let SubprocessIpcBackendError::PoolEmpty { why, last } = error else { panic!("{error}") };
    assert_eq!(why, NotRestarted::LimitReached { max: 1 });
    assert!(is_ended(&last), "{last}");
    assert!(text.starts_with("no child of the pool is left"), "{text}");
    let status = pool.status();
    assert!(status.places.iter().all(|place| place.process_id.is_none() && place.restarts == 1));
    assert!(soon(pool.shutdown(Duration::from_secs(30))).await.is_empty());
}

#[tokio::test]
async fn a_start_fails_with_the_first_error_and_leaves_no_process() {
    let started = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (note, ready) = (Arc::clone(&started), Arc::new(Semaphore::new(0)));
    let factory = move |index| {
        let (note, ready) = (Arc::clone(&note), Arc::clone(&ready));
        async move {
            if index == 2 {
                // The last one fails when all others are there.
                ready.acquire_many(3).await.expect("it is open").forget();
            }
            let spec = if index == 2 { child("gives-up") } else { child("serve") };
            let options = BackendOptions::new();
            let born = SubprocessIpcBackend::<Ask>::spawn_ready(&manager(), spec, options).await?;
            note.lock().expect("no panic").push(born.process_id());
            ready.add_permits(1);
            Ok(born)
        }
    };
    let error = soon(Pool::start(factory, of(4))).await.unwrap_err();
    let SubprocessIpcBackendError::Process(ProcessError::InitFailed { message, .. }) = error else {
        panic!("{error}")
    };
    assert_eq!(message, "no model at models/large");
    let started = started.lock().unwrap();
    assert_eq!(started.len(), 3);
    assert!(started.iter().all(|pid| !is_known(*pid)));
}

#[tokio::test]
async fn a_start_that_fails_again_counts_as_a_restart_and_its_error_is_the_last_one() {
    let starts = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&starts);
    let factory = move |_| {
        let start = counted.fetch_add(1, Ordering::SeqCst);
        async move {
            let spec = match start {
                0 => child("serve"),
                2 => panic!("as it is told to"),
                _ => CommandSpec::new("/nonexistent/child"),
            };
            SubprocessIpcBackend::spawn_ready(&manager(), spec, BackendOptions::new()).await
        }
    };
    let pool = soon(Pool::start(factory, restarting(1, 3))).await.unwrap();
    let error = soon(pool.call(&Ask::Abort)).await.unwrap_err();
    assert!(is_ended(&error), "{error}");
    // It waits while a child may still come.
    let error = soon(pool.call(&Ask::Echo(1))).await.unwrap_err();
    let SubprocessIpcBackendError::PoolEmpty { why, last } = error else { panic!("{error}") };
    assert_eq!(why, NotRestarted::LimitReached { max: 3 });
    assert!(matches!(*last, SubprocessIpcBackendError::Process(_)), "{last}");
    assert_eq!(starts.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn calls_wait_for_a_child_that_is_started_again_at_most_until_their_deadline() {
    let (starts, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(1)));
    let (counted, opened) = (Arc::clone(&starts), Arc::clone(&gate));
    let factory = move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        let gate = Arc::clone(&opened);
        async move {
            gate.acquire().await.expect("it is open").forget();
            let options = BackendOptions::new();
            SubprocessIpcBackend::spawn_ready(&manager(), child("serve"), options).await
        }
    };
    let pool = soon(Pool::start(factory, restarting(1, 1))).await.unwrap();
    soon(pool.call(&Ask::Abort)).await.unwrap_err();
    let echo = Ask::Echo(5);
    let call = pool.request(&echo).timeout(Duration::from_millis(20));
    let error = soon(call.send()).await.unwrap_err();
    let SubprocessIpcBackendError::DeadlineExceeded { waited } = error else { panic!("{error}") };
    assert!(waited <= Duration::from_millis(20) && waited > Duration::ZERO, "{waited:?}");
    assert_eq!(pids(&pool), [None]);
    let mut waiting = JoinSet::new();
    for _ in 0..10 {
        let pool = pool.clone();
        waiting.spawn(async move { pool.call(&Ask::Echo(5)).await });
    }
    until(&pool, |pool| pool.status().calls.in_flight == 10).await;
    gate.add_permits(1);
    while let Some(call) = soon(waiting.join_next()).await {
        assert_eq!(call.unwrap().unwrap(), Answer::Number(5));
    }
    assert_eq!(starts.load(Ordering::SeqCst), 2);
    assert_eq!(pool.status().calls.failed.deadline, 1);
}

#[tokio::test]
async fn a_child_that_closes_its_connection_and_lives_on_is_killed_and_replaced() {
    let starts = AtomicUsize::new(0);
    let factory = move |_| {
        let is_first = starts.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            let spec = child(if is_first { "hangs-up" } else { "gets-ready" });
            SubprocessIpcBackend::<()>::spawn(&manager(), spec, BackendOptions::new()).await
        }
    };
    let pool = soon(SubprocessPool::start(factory, restarting(1, 1))).await.unwrap();
    let first = pool.status().places[0].process_id;
    soon(async {
        while pool.status().places[0].restarts == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_ne!(pool.status().places[0].process_id, first);
    gone(first).await;
}

#[tokio::test]
async fn a_shutdown_drains_all_children_together_and_lets_no_call_wait() {
    let pool = pool(of(3)).await;
    let pids: Vec<_> = pids(&pool).into_iter().flatten().collect();
    let mut streams = Vec::new();
    for _ in 0..6 {
        let count = Ask::Count { to: 2_000, ballast: 1000 };
        streams.push(soon(pool.stream(&count)).await.unwrap());
    }
    let ending = tokio::spawn({
        let pool = pool.clone();
        async move { pool.shutdown(Duration::from_secs(60)).await }
    });
    soon(async { while pool.call(&Ask::Echo(1)).await.is_ok() {} }).await;
    let error = soon(pool.request(&Ask::Echo(1)).idempotent().send()).await.unwrap_err();
    assert!(matches!(error, SubprocessIpcBackendError::ShuttingDown), "{error}");
    for mut replies in streams {
        for _ in 0..2_000 {
            soon(replies.next()).await.unwrap().unwrap();
        }
        assert!(soon(replies.next()).await.is_none());
    }
    let exits = soon(ending).await.unwrap();
    assert_eq!(exits.iter().map(|exit| exit.code).collect::<Vec<_>>(), [Some(0); 3]);
    assert!(pids.iter().all(|pid| !is_known(*pid)));
}

#[tokio::test]
async fn a_shutdown_while_a_child_is_started_again_ends_the_calls_that_wait_for_it() {
    let starts = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&starts);
    let factory = move |_| {
        let start = counted.fetch_add(1, Ordering::SeqCst);
        async move {
            if start > 0 {
                std::future::pending::<()>().await;
            }
            let options = BackendOptions::new();
            SubprocessIpcBackend::spawn_ready(&manager(), child("serve"), options).await
        }
    };
    let pool = soon(Pool::start(factory, restarting(1, 1))).await.unwrap();
    soon(pool.call(&Ask::Abort)).await.unwrap_err();
    until(&pool, |_| starts.load(Ordering::SeqCst) == 2).await;
    let waiting = tokio::spawn({
        let pool = pool.clone();
        async move { pool.call(&Ask::Echo(1)).await }
    });
    until(&pool, |pool| pool.status().calls.in_flight == 1).await;
    assert!(soon(pool.shutdown(Duration::from_secs(30))).await.is_empty());
    let error = soon(waiting).await.unwrap().unwrap_err();
    assert!(matches!(error, SubprocessIpcBackendError::ShuttingDown), "{error}");
}

#[tokio::test]
async fn dropping_the_last_handle_ends_all_children_also_one_that_is_being_started() {
    let starting = Arc::new(std::sync::Mutex::new(None));
    let note = Arc::clone(&starting);
    let starts = AtomicUsize::new(0);
    let factory = move |_| {
        let (start, note) = (starts.fetch_add(1, Ordering::SeqCst), Arc::clone(&note));
        async move {
            let options = BackendOptions::new();
            let spec = child("serve");
            let born = SubprocessIpcBackend::spawn_ready(&manager(), spec, options).await?;
            if start == 2 {
                *note.lock().expect("no panic") = Some(born.process_id());
                std::future::pending::<()>().await;
            }
            Ok(born)
        }
    };
    let pool = soon(Pool::start(factory, restarting(2, 1))).await.unwrap();
    let before = pids(&pool);
    soon(pool.call(&Ask::Abort)).await.unwrap_err();
    until(&pool, |_| starting.lock().expect("no panic").is_some()).await;
    let started = starting.lock().unwrap().unwrap();
    drop(pool.clone());
    assert!(is_known(started));
    drop(pool);
    gone(before.into_iter().flatten().chain([started])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_are_counted_exactly_while_children_are_killed_one_after_the_other() {
    let backoff = Backoff { initial: Duration::from_millis(1), ..Backoff::default() };
    let policy = RestartPolicy::Always { backoff: Backoff { factor: 1.0, ..backoff } };
    let pool = pool(of(4).restart(policy).tries(u32::MAX)).await;
    let mut calls = JoinSet::new();
    let is_over = Arc::new(AtomicUsize::new(0));
    for caller in 0..16 {
        let (pool, is_over) = (pool.clone(), Arc::clone(&is_over));
        calls.spawn(async move {
            let (mut answered, mut failed) = (0, 0);
            while is_over.load(Ordering::Relaxed) == 0 {
                let echo = Ask::Echo(caller);
                let request = pool.request(&echo);
                let is_idempotent = caller % 2 == 0;
                let request = if is_idempotent { request.idempotent() } else { request };
                match request.send().await {
                    Ok(answer) => {
                        assert_eq!(answer, Answer::Number(caller));
                        answered += 1;
                    }
                    Err(error) => {
                        // Its death may show late on a busy machine.
                        let is_closed = matches!(error, SubprocessIpcBackendError::Closed);
                        assert!(is_closed || is_ended(&error), "{error}");
                        assert!(!is_idempotent, "{error}");
                        failed += 1;
                    }
                }
            }
            (answered, failed)
        });
    }
    for round in 0..20 {
        let place = round % 4;
        let killed = pids(&pool)[place].and_then(Stranger::find);
        let restarts = pool.status().places[place].restarts;
        drop(killed);
        until(&pool, |pool| pool.status().places[place].restarts > restarts).await;
    }
    is_over.store(1, Ordering::Relaxed);
    let ends = soon(calls.join_all()).await;
    let (answered, failed) = ends.iter().fold((0, 0), |(a, f), end| (a + end.0, f + end.1));
    let calls = pool.status().calls;
    assert_eq!((calls.succeeded, calls.failed.closed), (answered, failed));
    assert_eq!((calls.total, calls.in_flight), (answered + failed, 0));
    assert_eq!(in_flight(&pool), [0; 4]);
}
