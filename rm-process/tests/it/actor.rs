//! A child as an actor.

use std::time::Duration;

use kameo::actor::{ActorRef, Spawn};
use kameo::error::{ActorStopReason, SendError};
use rm_process::{
    BackendOptions, PythonExecutionError, StreamOf, SubprocessIpcActor, SubprocessIpcBackend,
    SubprocessIpcBackendError,
};
use tokio::task::JoinSet;

use crate::ask::{Answer, Ask, Failure};
use crate::support::{child, is_known, manager, soon};

type Child = SubprocessIpcActor<Ask>;

async fn serve() -> (SubprocessIpcBackend<Ask>, ActorRef<Child>) {
    let (manager, options) = (manager(), BackendOptions::new());
    let backend = SubprocessIpcBackend::spawn_ready(&manager, child("serve"), options);
    let backend = soon(backend).await.expect("a child that serves");
    let actor = Child::new(backend.clone()).grace(Duration::from_secs(30));
    (backend, Child::spawn(actor))
}

/// Asks for what the child has seen given up, until it is so many.
async fn dropped(actor: &ActorRef<Child>, expected: u64) {
    let asked = async || actor.ask(Ask::Dropped).await.expect("an answer");
    soon(async { while asked().await != Answer::Number(expected) {} }).await;
}

/// Why the actor has stopped, when it has.
async fn stopped(actor: &ActorRef<Child>) -> ActorStopReason {
    let reason = actor.wait_for_shutdown_with_result(|result| result.ok().cloned());
    soon(reason).await.expect("it stops without a failure")
}

#[tokio::test]
async fn questions_are_answered_at_the_same_time_and_do_not_wait_for_one_that_hangs() {
    let (_backend, actor) = serve().await;
    let asker = actor.clone();
    let hung = tokio::spawn(async move { asker.ask(Ask::Hang).await });
    let mut asked = JoinSet::new();
    for given in 0..1_000 {
        let actor = actor.clone();
        asked.spawn(async move { (given, actor.ask(Ask::Echo(given)).await) });
    }
    while let Some(answer) = soon(asked.join_next()).await {
        let (given, answer) = answer.unwrap();
        assert_eq!(answer.unwrap(), Answer::Number(given));
    }
    let mut replies =
        soon(actor.ask(StreamOf(Ask::Count { to: 3, ballast: 0 })).into_future()).await.unwrap();
    for number in 0..3 {
        assert_eq!(soon(replies.next()).await.unwrap().unwrap(), Answer::Number(number));
    }
    assert!(soon(replies.next()).await.is_none());
    hung.abort();
    let _ = hung.await;
    // The stream, which is over, and what hung.
    dropped(&actor, 2).await;
}

#[tokio::test]
async fn a_failure_comes_back_as_the_failure_of_the_call_and_the_actor_goes_on() {
    let (_backend, actor) = serve().await;
    let fails = Ask::Fail { after: 0, how: Failure::Error };
    let error = soon(actor.ask(fails).into_future()).await.unwrap_err();
    let SendError::HandlerError(SubprocessIpcBackendError::Remote(failure)) = error else {
        panic!("{error}")
    };
    assert!(matches!(failure, PythonExecutionError::Handler { .. }), "{failure}");
    let answer = soon(actor.ask(Ask::Echo(1)).into_future()).await.unwrap();
    assert_eq!(answer, Answer::Number(1));
}

#[tokio::test]
async fn a_question_whose_time_is_up_is_cancelled_in_the_child() {
    let (_backend, actor) = serve().await;
    let asked = actor.ask(Ask::Hang).reply_timeout(Duration::from_millis(50));
    let error = soon(asked.into_future()).await.unwrap_err();
    assert!(matches!(error, SendError::Timeout(_)), "{error}");
    dropped(&actor, 1).await;
}

#[tokio::test]
async fn a_message_that_is_told_is_called() {
    let (backend, actor) = serve().await;
    soon(actor.tell(Ask::Echo(1)).into_future()).await.unwrap();
    soon(async {
        while backend.request_metrics().succeeded != 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn the_actor_stops_with_the_end_of_its_child_as_the_reason() {
    let (backend, actor) = serve().await;
    let pid = backend.process_id();
    drop(backend);
    let error = soon(actor.ask(Ask::Abort).into_future()).await.unwrap_err();
    let SendError::HandlerError(SubprocessIpcBackendError::ProcessEnded { report }) = error else {
        panic!("{error}")
    };
    assert!(report.to_string().contains("serve"), "{report}");
    let reason = stopped(&actor).await;
    let ActorStopReason::Panicked(reason) = reason else { panic!("{reason}") };
    let is_ended = reason.with_downcast_ref(|error: &SubprocessIpcBackendError| {
        matches!(error, SubprocessIpcBackendError::ProcessEnded { .. })
    });
    assert_eq!(is_ended, Some(true));
    let error = soon(actor.ask(Ask::Echo(1)).into_future()).await.unwrap_err();
    assert!(matches!(error, SendError::ActorNotRunning(Ask::Echo(1))), "{error}");
    assert!(!is_known(pid));
}

#[tokio::test]
async fn stopping_the_actor_lets_the_child_finish_and_leaves_no_process() {
    let (backend, actor) = serve().await;
    let pid = backend.process_id();
    drop(backend);
    let count = StreamOf(Ask::Count { to: 2_000, ballast: 1000 });
    let mut replies = soon(actor.ask(count).into_future()).await.unwrap();
    soon(actor.stop_gracefully()).await.unwrap();
    let mut items = 0;
    while let Some(item) = soon(replies.next()).await {
        item.unwrap();
        items += 1;
    }
    assert_eq!(items, 2_000);
    let reason = stopped(&actor).await;
    assert!(reason.is_normal(), "{reason}");
    assert!(!is_known(pid));
}

#[tokio::test]
async fn killing_the_actor_or_dropping_its_last_handle_ends_the_child() {
    for is_killed in [true, false] {
        let (backend, actor) = serve().await;
        let process = backend.process().expect("it is a child").clone();
        drop(backend);
        if is_killed {
            actor.kill();
            stopped(&actor).await;
        } else {
            drop(actor);
        }
        assert_eq!(soon(process.exited()).await.code, Some(0));
    }
}
