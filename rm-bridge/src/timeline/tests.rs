//! Recorders, with the machine's clock.

use super::*;

fn item(sequence: u64) -> Which {
    Which { work: Work::Item, input: 0, sequence, item: sequence, bytes: 3 }
}

fn sum(times: &ItemTimes) -> u64 {
    let phases: u64 = Phase::ALL.iter().map(|phase| times.time_in(*phase)).sum();
    times.queue_ns() + times.wake_ns() + phases
}

#[test]
fn the_parts_of_an_item_sum_to_its_time_and_neighbours_of_a_kind_are_one() {
    let mut recorder = Recorder::default();
    let now = monotonic_ns();
    let arrival = Arrival { sent_ns: now - 500, waiting_ns: now - 300, received_ns: now };
    recorder.begin(item(7), arrival);
    for phase in [Phase::Gil, Phase::Convert, Phase::Compute, Phase::Compute, Phase::Convert] {
        recorder.mark(phase, 0);
    }
    recorder.mark_rest();
    recorder.mark(Phase::Send, 9);
    recorder.mark(Phase::Send, 8);
    recorder.mark_rest();
    recorder.end(false);
    let made = recorder.take().expect("a record").items;
    let [times] = made.as_slice() else { panic!("{made:?}") };
    let phases: Vec<_> = times.phases.iter().map(|mark| (mark.phase, mark.bytes)).collect();
    let (gil, convert) = ((Phase::Gil, 0), (Phase::Convert, 0));
    let (compute, send) = ((Phase::Compute, 0), |bytes| (Phase::Send, bytes));
    assert_eq!(phases, [gil, convert, compute, convert, send(9), send(8), compute]);
    assert_eq!((times.queue_ns(), times.wake_ns()), (200, 300));
    assert_eq!(sum(times), times.done_ns() - times.sent_ns);
    assert_eq!(recorder.take(), None);
}

#[test]
fn an_item_that_waits_for_nobody_has_no_queue_and_one_from_the_future_no_negative_time() {
    for (sent_ns, waiting_ns, received_ns) in [(5, 2, 6), (9, 2, 6), (5, 9, 6)] {
        let mut recorder = Recorder::default();
        recorder.begin(item(0), Arrival { sent_ns, waiting_ns, received_ns });
        recorder.end(true);
        let made = recorder.take().expect("a record").items;
        assert!(made[0].is_valid() && made[0].failed);
        assert_eq!(sum(&made[0]), made[0].done_ns() - sent_ns);
    }
}

#[test]
fn work_of_many_parts_goes_on_in_further_records_without_a_gap() {
    let mut recorder = Recorder::default();
    recorder.begin(item(0), Arrival::now());
    for _ in 0..1_000 {
        recorder.mark(Phase::Compute, 0);
        recorder.mark(Phase::Send, 1);
    }
    recorder.end(false);
    let made = recorder.take().expect("records").items;
    assert_eq!(made.len(), 2_000_usize.div_ceil(MAX_PHASES));
    assert!(made.iter().all(ItemTimes::is_valid));
    assert!(made[1..].iter().all(|times| times.work == Work::More && times.queue_ns() == 0));
    assert!(made.windows(2).all(|pair| pair[0].done_ns() == pair[1].received_ns));
}

#[test]
fn what_is_too_much_or_makes_no_sense_is_counted_and_not_kept() {
    let mut recorder = Recorder::default();
    for sequence in 0..TimedItems::MAX as u64 + 2 {
        recorder.begin(item(sequence), Arrival::now());
        recorder.end(false);
    }
    let told = recorder.take().expect("records");
    assert_eq!((told.items.len(), told.dropped), (TimedItems::MAX, 2));
    let mut kept = TimedItems::default();
    let mut few = TimedItems { items: told.items[..4].to_vec(), dropped: 1 };
    few.items[0].received_ns = 0;
    few.items[1].phases = vec![Mark { phase: Phase::Gil, until_ns: 1, bytes: 0 }];
    kept.extend(few, 1);
    assert_eq!((kept.items.len(), kept.dropped), (1, 4));
}

#[test]
fn records_are_due_by_their_number_or_their_age() {
    let mut recorder = Recorder::default();
    recorder.begin(item(0), Arrival::now());
    recorder.end(false);
    assert!(recorder.due().is_some());
    assert_eq!(recorder.take_due(), None);
    for sequence in 1..BATCH as u64 {
        recorder.begin(item(sequence), Arrival::now());
        recorder.end(false);
    }
    assert_eq!(recorder.take_due().map(|made| made.items.len()), Some(BATCH));
    recorder.begin(item(0), Arrival::now());
    recorder.end(false);
    let later = monotonic_ns() + 2 * PATIENCE_NS;
    let late = Arrival { sent_ns: later, waiting_ns: later, received_ns: later };
    recorder.begin(item(1), late);
    recorder.end(false);
    assert_eq!(recorder.take_due().map(|made| made.items.len()), Some(2));
    assert_eq!(recorder.due(), None);
}

#[test]
fn a_record_has_the_same_form_for_sessions_and_for_readers_of_json() {
    let phases = vec![Mark { phase: Phase::Copy, until_ns: 9, bytes: 2 }];
    let times = ItemTimes {
        work: Work::Item,
        input: 1,
        sequence: 2,
        item: 3,
        bytes: 4,
        sent_ns: 5,
        waiting_ns: 6,
        received_ns: 7,
        phases,
        failed: false,
    };
    let json = serde_json::to_value(&times).unwrap();
    assert_eq!(json["phases"], serde_json::json!([["copy", 9, 2]]));
    assert_eq!(serde_json::from_value::<ItemTimes>(json).unwrap(), times);
}
