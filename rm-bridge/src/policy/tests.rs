//! The machine over failures, without a clock.

use super::*;

fn guard(on_error: OnError) -> ItemGuard {
    ItemGuard::new(ItemPolicy { on_error, ..ItemPolicy::default() })
}

fn retry(delay_ms: u64, attempt: u32) -> Verdict {
    Verdict::Retry { delay: Duration::from_millis(delay_ms), attempt }
}

#[test]
fn transient_failures_are_tried_again_three_times_and_each_item_anew() {
    let now = Instant::now();
    for (on_error, end) in [(OnError::Fail, Verdict::Fail), (OnError::Skip, Verdict::Skip)] {
        let mut guard = guard(on_error);
        for _ in 0..2 {
            assert_eq!(guard.admit(now), Admission::Try);
            let verdicts = [(); 4].map(|()| guard.failed(true, now));
            assert_eq!(verdicts, [retry(100, 1), retry(200, 2), retry(400, 3), end]);
        }
    }
}

#[test]
fn other_failures_are_tried_again_only_where_that_is_asked_for() {
    let now = Instant::now();
    assert_eq!(guard(OnError::Fail).failed(false, now), Verdict::Fail);
    assert_eq!(guard(OnError::Skip).failed(false, now), Verdict::Skip);
    let mut guard = guard(OnError::Retry);
    let verdicts = [(); 4].map(|()| guard.failed(false, now));
    assert_eq!(verdicts, [retry(100, 1), retry(200, 2), retry(400, 3), Verdict::Fail]);
}

#[test]
fn delays_grow_to_the_longest_and_no_further() {
    let policy = RetryPolicy { max_delay: Duration::from_millis(300), ..RetryPolicy::default() };
    assert_eq!([1, 2, 3, 1000].map(|n| policy.delay(n).as_millis()), [100, 200, 300, 300]);
}

#[test]
fn the_circuit_opens_after_five_failures_in_a_row_and_one_item_probes_it() {
    let now = Instant::now();
    let mut guard = guard(OnError::Skip);
    for _ in 0..4 {
        assert_eq!((guard.admit(now), guard.failed(false, now)), (Admission::Try, Verdict::Skip));
    }
    guard.succeeded();
    for _ in 0..5 {
        assert_eq!((guard.admit(now), guard.failed(false, now)), (Admission::Try, Verdict::Skip));
    }
    assert_eq!(guard.admit(now), Admission::Reject { failures: 5 });
    let later = now + CircuitBreaker::default().reset_after;
    assert_eq!(guard.admit(later), Admission::Try);
    // The probe is not tried again, and opens it for as long as before.
    assert_eq!(guard.failed(true, later), Verdict::Skip);
    assert_eq!(guard.admit(later), Admission::Reject { failures: 6 });
    let much_later = later + CircuitBreaker::default().reset_after;
    assert_eq!(guard.admit(much_later), Admission::Try);
    guard.succeeded();
    assert_eq!(guard.admit(much_later), Admission::Try);
}

#[test]
fn a_breaker_of_zero_never_opens() {
    let now = Instant::now();
    let policy = ItemPolicy {
        on_error: OnError::Skip,
        circuit_breaker: CircuitBreaker { failures: 0, ..CircuitBreaker::default() },
        ..ItemPolicy::default()
    };
    let mut guard = ItemGuard::new(policy);
    for _ in 0..100 {
        assert_eq!(guard.admit(now), Admission::Try);
        assert_eq!(guard.failed(false, now), Verdict::Skip);
    }
}
