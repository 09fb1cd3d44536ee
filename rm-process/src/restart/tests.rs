//! The policies one by one, their JSON, and the bounds of every delay.

use std::time::SystemTime;

use proptest::prelude::*;

use super::*;

fn ended(code: i32) -> ExitStatus {
    let reason = if code == 0 { ExitReason::Normal } else { ExitReason::Crash };
    ExitStatus { code: Some(code), signal: None, timestamp: SystemTime::UNIX_EPOCH, reason }
}

fn steady() -> Backoff {
    Backoff { jitter: 0.0, ..Backoff::default() }
}

fn restarts(policy: RestartPolicy) -> Restarts {
    Restarts::new(policy).expect("the policy is valid")
}

const SHORT: Duration = Duration::from_millis(5);
const LONG: Duration = Duration::from_secs(60);

#[test]
fn a_process_that_fails_again_and_again_is_restarted_ever_later_up_to_the_limit() {
    let mut node = restarts(RestartPolicy::OnFailure { max: 3, backoff: steady() });
    for (attempt, delay_ms) in [(1, 100), (2, 200), (3, 400)] {
        let delay = Duration::from_millis(delay_ms);
        let expected = Restart::After { delay, attempt };
        assert_eq!(node.on_exit(&ended(1), false, SHORT, 0.5), expected);
    }
    let refused = Restart::No { why: NotRestarted::LimitReached { max: 3 } };
    assert_eq!(node.on_exit(&ended(1), false, SHORT, 0.5), refused);
    assert_eq!(node.on_exit(&ended(1), false, LONG - SHORT, 0.5), refused);
}

#[test]
fn a_long_run_begins_a_new_row() {
    let mut node = restarts(RestartPolicy::OnFailure { max: 1, backoff: steady() });
    let first = Restart::After { delay: Duration::from_millis(100), attempt: 1 };
    assert_eq!(node.on_exit(&ended(1), false, SHORT, 0.5), first);
    assert_eq!(node.on_exit(&ended(1), false, LONG, 0.5), first);
}

#[test]
fn what_ended_well_or_was_stopped_is_restarted_only_where_the_policy_says_so() {
    let no = |why| Restart::No { why };
    let first = Restart::After { delay: Duration::from_millis(100), attempt: 1 };
    let never = RestartPolicy::Never;
    let on_failure = RestartPolicy::OnFailure { max: 3, backoff: steady() };
    let always = RestartPolicy::Always { backoff: steady() };
    let check = |policy, code, wanted, expected| {
        let decision = restarts(policy).on_exit(&ended(code), wanted, SHORT, 0.5);
        assert_eq!(decision, expected, "{policy:?}, code {code}, wanted: {wanted}");
    };
    check(never, 1, false, no(NotRestarted::PolicyNever));
    check(never, 0, false, no(NotRestarted::PolicyNever));
    check(on_failure, 1, false, first);
    check(on_failure, 0, false, no(NotRestarted::EndedWell));
    check(always, 1, false, first);
    check(always, 0, false, first);
    for policy in [never, on_failure, always] {
        check(policy, 1, true, no(NotRestarted::Wanted));
        check(policy, 0, true, no(NotRestarted::Wanted));
    }
}

#[test]
fn the_longest_row_stays_at_the_longest_delay() {
    let mut node = restarts(RestartPolicy::Always { backoff: steady() });
    node.in_a_row = u32::MAX - 1;
    let expected = Restart::After { delay: Duration::from_secs(30), attempt: u32::MAX };
    assert_eq!(node.on_exit(&ended(0), false, SHORT, 0.0), expected);
    assert_eq!(node.on_exit(&ended(0), false, SHORT, 0.0), expected);

    let longest = Duration::MAX;
    let endless = Backoff { initial: longest, max: longest, factor: f64::MAX, ..steady() };
    assert_eq!(endless.delay(u32::MAX, 0.0), longest);
    assert_eq!(endless.delay(1, 0.0), longest);
}

#[test]
fn policies_have_a_short_form_in_json() {
    let check = |json: &str, expected: RestartPolicy| {
        let policy: RestartPolicy = serde_json::from_str(json).expect(json);
        assert_eq!(policy, expected);
        let again = serde_json::to_string(&policy).expect("a policy can be written");
        assert_eq!(serde_json::from_str::<RestartPolicy>(&again).expect(&again), expected);
    };
    let slow = Backoff { initial: Duration::from_millis(500), ..Backoff::default() };
    check(r#""never""#, RestartPolicy::default());
    check(r#"{"always": {}}"#, RestartPolicy::Always { backoff: Backoff::default() });
    check(
        r#"{"on_failure": {"max": 3, "backoff": {"initial_ms": 500}}}"#,
        RestartPolicy::OnFailure { max: 3, backoff: slow },
    );
}

#[test]
fn a_backoff_out_of_range_is_refused_with_the_name_of_the_field() {
    let check = |json: &str, expected: &str| {
        let error = serde_json::from_str::<Backoff>(json).expect_err(json).to_string();
        assert!(error.starts_with(expected), "{error}");
    };
    check(r#"{"initial_ms": 0}"#, "`initial` of the backoff is 0ns, expected at least 1ms");
    check(r#"{"factor": 0.5}"#, "`factor` of the backoff is 0.5, expected a number from 1");
    check(
        r#"{"initial_ms": 200, "max_ms": 100}"#,
        "`max` of the backoff is 100ms, expected at least its `initial`, 200ms",
    );
    check(r#"{"jitter": 1.5}"#, "`jitter` of the backoff is 1.5, expected a number from 0 to 1");
    check(r#"{"reset_after_ms": 0}"#, "`reset_after` of the backoff is 0ns, expected at least 1ms");
    check(r#"{"inital_ms": 5}"#, "unknown field `inital_ms`");

    let refused = |backoff| Restarts::new(RestartPolicy::Always { backoff }).is_err();
    assert!(refused(Backoff { factor: f64::NAN, ..steady() }));
    assert!(refused(Backoff { factor: f64::INFINITY, ..steady() }));
    assert!(refused(Backoff { jitter: f64::NAN, ..steady() }));
    assert!(refused(Backoff { jitter: -0.1, ..steady() }));
}

/// Any valid backoff.
fn backoff() -> impl Strategy<Value = Backoff> {
    let initial_ms = prop_oneof![1_u64..100_000, 1..=u64::MAX];
    let factor = prop_oneof![1.0..10.0, 1.0..=f64::MAX];
    (initial_ms, factor, any::<u64>(), 0.0..=1.0).prop_map(|(initial_ms, factor, more, jitter)| {
        let initial = Duration::from_millis(initial_ms);
        let max = Duration::from_millis(initial_ms.saturating_add(more));
        Backoff { initial, factor, max, jitter, ..Backoff::default() }
    })
}

fn attempt() -> impl Strategy<Value = u32> {
    prop_oneof![1_u32..100, 1..=u32::MAX]
}

proptest! {
    #[test]
    fn a_delay_is_never_above_the_maximum_nor_below_what_the_jitter_leaves(
        backoff in backoff(), attempt in attempt(), random in 0.0..1.0,
    ) {
        backoff.validate().expect("it was made to be valid");
        let delay = backoff.delay(attempt, random);
        prop_assert!(delay <= backoff.max);
        let least = backoff.initial.as_secs_f64() * (1.0 - backoff.jitter);
        prop_assert!(delay.as_secs_f64() >= least * (1.0 - 1e-9) - 1e-9, "{delay:?}");
    }

    #[test]
    fn the_median_of_the_delays_does_not_fall_within_a_row(
        backoff in backoff(), attempt in 1_u32..u32::MAX,
    ) {
        prop_assert!(backoff.delay(attempt, 0.5) <= backoff.delay(attempt + 1, 0.5));
    }

    #[test]
    fn no_number_taken_for_random_makes_a_delay_that_is_too_long(
        backoff in backoff(), attempt in attempt(), random in any::<f64>(),
    ) {
        prop_assert!(backoff.delay(attempt, random) <= backoff.max);
    }

    #[test]
    fn restarts_in_a_row_are_never_more_than_the_limit(
        max in 0_u32..20, codes in proptest::collection::vec(0..3, 0..60),
    ) {
        let mut node = restarts(RestartPolicy::OnFailure { max, backoff: Backoff::default() });
        let decisions = codes.iter().map(|code| node.on_exit(&ended(*code), false, SHORT, 0.3));
        let done = decisions.filter(|decision| matches!(decision, Restart::After { .. })).count();
        let failures = codes.iter().filter(|code| **code != 0).count();
        prop_assert_eq!(done, failures.min(max as usize));
    }
}
