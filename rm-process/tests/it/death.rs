//! Nobody outlives who started it.

use rm_process::{ExitReason, NodeProcess, SubprocessIpcBackend};
use rustix::process::Signal;

use crate::support::{Stranger, child, manager, sh, soon, start};

/// A process that is itself a parent, with its child and its grandchild. It would end in good
/// order if its backend were dropped, which is not the point.
struct Generations {
    parent: NodeProcess,
    child: Stranger,
    grandchild: Stranger,
    _backend: SubprocessIpcBackend<serde_json::Value>,
}

async fn three_generations() -> Generations {
    generations("family").await
}

async fn generations(kind: &str) -> Generations {
    let spec = child("parent").arg(kind);
    let (parent, backend) = start(spec).await;
    let pids = soon(backend.call(&serde_json::Value::Null)).await.unwrap();
    let (child, grandchild): (u32, u32) = serde_json::from_value(pids).unwrap();
    let (child, grandchild) = (Stranger::new(child), Stranger::new(grandchild));
    assert!(child.is_alive());
    assert!(grandchild.is_alive());
    Generations { parent, child, grandchild, _backend: backend }
}

#[tokio::test]
async fn child_and_grandchild_die_when_the_parent_is_killed() {
    let family = three_generations().await;
    soon(family.parent.kill()).await;
    family.child.wait_dead();
    family.grandchild.wait_dead();
}

#[tokio::test]
async fn child_and_grandchild_die_when_the_parent_is_killed_while_the_child_is_stopped() {
    let family = three_generations().await;
    family.child.signal(Signal::STOP);
    family.child.wait_stopped();
    soon(family.parent.kill()).await;
    family.child.wait_dead();
    family.grandchild.wait_dead();
}

#[tokio::test]
async fn a_grandchild_dies_with_the_parent_also_if_the_child_ends_when_its_channel_does() {
    for _ in 0..10 {
        let family = generations("leaves").await;
        soon(family.parent.kill()).await;
        family.child.wait_dead();
        family.grandchild.wait_dead();
    }
}

#[tokio::test]
async fn any_executable_dies_with_its_last_handle() {
    let process = manager().spawn_plain(sh("exec sleep 1000")).await.unwrap();
    let stranger = Stranger::new(process.process_id());
    let clone = process.clone();
    drop(process);
    assert!(stranger.is_alive());
    drop(clone);
    stranger.wait_dead();
}

#[tokio::test]
async fn a_process_outlives_the_manager_that_started_it() {
    let manager = manager();
    let process = manager.spawn_plain(sh("exec sleep 1000")).await.unwrap();
    drop(manager);
    // The thread that the kernel ties the process to would be gone by the time of a second spawn.
    let other = crate::support::manager();
    let second = other.spawn_plain(sh("exit 0")).await.unwrap();
    soon(second.exited()).await;
    assert_eq!(process.try_exit_status(), None);
    let exit = soon(process.kill()).await;
    assert_eq!(exit.reason, ExitReason::Killed);
}

#[test]
fn a_process_does_not_outlive_the_runtime_that_watches_it() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let spec = sh("exec sleep 1000");
    let process = runtime.block_on(manager().spawn_plain(spec)).unwrap();
    drop(runtime);
    let exit = process.try_exit_status().expect("the end is known");
    assert_eq!(exit.signal_name(), Some("SIGKILL"));
    assert!(!crate::support::is_known(process.process_id()));
}
