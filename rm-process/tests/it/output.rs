//! What children print.

use rm_process::ExitReason;

use crate::support::{Stranger, child, manager, sh, soon, start, wrote};

#[tokio::test]
async fn a_child_that_prints_without_end_neither_blocks_nor_is_kept_whole() {
    let (process, backend) = start::<u64>(child("shout")).await;
    // A gigabyte over both streams.
    let bytes = 512 << 20;
    assert_eq!(soon(backend.call(&bytes)).await.unwrap(), bytes);
    let exit = soon(process.exited()).await;
    assert_eq!(exit.reason, ExitReason::Normal);
    for (tail, end) in
        [(process.stdout_tail(), "end of stdout"), (process.stderr_tail(), "end of stderr")]
    {
        assert_eq!(tail.len(), 64 * 1024);
        assert!(tail.ends_with(end));
    }
}

#[tokio::test]
async fn all_that_a_child_wrote_is_there_when_its_end_is_known() {
    for _ in 0..50 {
        let process = manager().spawn_plain(sh("echo out; echo err >&2")).await.unwrap();
        soon(process.exited()).await;
        assert_eq!(process.stdout_tail(), "out\n");
        assert_eq!(process.stderr_tail(), "err\n");
    }
}

#[tokio::test]
async fn output_can_be_read_while_the_child_runs_and_bytes_that_are_no_text_are_replaced() {
    let script = "printf 'caf\\303\\251 \\377 ready'; exec sleep 1000";
    let process = manager().spawn_plain(sh(script)).await.unwrap();
    wrote(&process, "ready").await;
    assert_eq!(process.stdout_tail(), "café \u{fffd} ready");
    soon(process.kill()).await;
}

#[tokio::test]
async fn the_end_is_known_although_a_descendant_outside_the_group_holds_the_pipes() {
    // The descendant says that it has left the group before the child exits, and whether it has a
    // cgroup, in which it is found.
    let descendant =
        "setsid sh -c 'echo $$ ${REMOTEMEDIA_CGROUP:+held}; kill -USR1 $PPID; exec sleep 60'";
    let script = format!("trap 'exit 0' USR1; {descendant} & while :; do wait; done");
    let process = manager().spawn_plain(sh(&script)).await.unwrap();
    let exit = soon(process.exited()).await;
    assert_eq!(exit.code, Some(0));
    let output = process.stdout_tail();
    let (escaped, held) = output.trim_end().split_once(' ').unwrap_or((output.trim_end(), ""));
    let escaped: u32 = escaped.parse().unwrap();
    match held {
        "held" => drop(Stranger::find(escaped).inspect(Stranger::wait_dead)),
        _ => assert!(Stranger::new(escaped).is_alive()),
    }
}
