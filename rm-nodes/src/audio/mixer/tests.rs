//! Tests of the mixer: places, waiting, gains, and what comes from hostile timestamps.

use super::*;
use crate::testing::{check_cuts, check_no_allocation, cut, lengths, make, run, samples, sine};
use proptest::prelude::*;
use rm_core::NodeId;
use serde_json::json;

/// The time at which the tests begin.
fn begin() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000)
}

/// A mono item at 1000 Hz that begins so many milliseconds after the begin.
fn item(ms: f64, samples: &[f32]) -> RuntimeData {
    let time = begin() + Duration::from_secs_f64(ms / 1_000.0);
    RuntimeData::audio_f32(samples.to_vec(), 1_000, 1).unwrap().with_timestamp(time)
}

/// A mixer, and what it has given.
struct Bench {
    node: Mixer,
    output: Output,
}

impl Bench {
    fn new(params: Value) -> Self {
        let defaults = json!({
            "inputs": 0, "align": "timestamp", "block_ms": 10, "max_wait_ms": 200,
            "tolerance_ms": 0.5, "gains_db": {},
        });
        let params: Params =
            changed(&serde_json::from_value::<Params>(defaults).unwrap(), &params).unwrap();
        let node = Mixer::new(params, &NodeContext::default()).unwrap();
        Self { node, output: Output::default() }
    }

    fn try_give(&mut self, from: &str, item: RuntimeData) -> Result<(), NodeError> {
        let from = NodeId::new(from).unwrap();
        let site = InputSite { from: Some(&from), port: None };
        self.node.process_from(site, item, &mut self.output)
    }

    fn give(&mut self, from: &str, item: RuntimeData) {
        self.try_give(from, item).unwrap();
    }

    /// What has been given since the last time: milliseconds after the begin, and samples.
    fn taken(&mut self) -> Vec<(f64, Vec<f32>)> {
        let place = |item: &RuntimeData| {
            let time = item.header().timestamp.duration_since(begin()).unwrap_or_default();
            time.as_secs_f64() * 1_000.0
        };
        self.output.drain().map(|item| (place(&item), samples(&[item]))).collect()
    }

    /// The same in one piece.
    fn mixed(&mut self) -> Vec<f32> {
        self.taken().into_iter().flat_map(|(_, samples)| samples).collect()
    }

    fn finish(mut self) -> Vec<f32> {
        self.node.finish(&mut self.output).unwrap();
        self.mixed()
    }

    /// Lets the time pass until something is due.
    fn wait(&mut self) {
        let due = self.node.due().expect("something is waited for");
        self.node.on_time(due - Duration::from_millis(1), &mut self.output).unwrap();
        assert!(self.output.is_empty(), "given before it was due");
        self.node.on_time(due, &mut self.output).unwrap();
    }
}

#[test]
fn inputs_are_added_where_their_timestamps_say() {
    let mut bench = Bench::new(json!({"inputs": 2}));
    bench.give("a", item(0.0, &[1.0; 30]));
    assert_eq!(bench.taken(), []);
    bench.give("b", item(5.0, &[0.5; 12]));
    assert_eq!(bench.taken(), [(0.0, [[1.0; 5], [1.5; 5]].concat())]);
    let rest = [[1.5; 7].as_slice(), &[1.0; 13]].concat();
    assert_eq!(bench.finish(), rest);
}

#[test]
fn with_start_every_input_begins_at_time_zero() {
    let mut bench = Bench::new(json!({"inputs": 2, "align": "start"}));
    bench.give("b", item(7_777.3, &[0.5; 5]));
    bench.give("a", item(0.0, &[1.0; 10]));
    // Timestamps that stand still do not matter either.
    bench.give("b", item(7_777.3, &[0.25; 5]));
    assert_eq!(bench.taken(), [(7_777.3, [[1.5; 5], [1.25; 5]].concat())]);
}

#[test]
fn a_gap_is_silence_and_an_overlap_is_dropped() {
    let mut bench = Bench::new(json!({"inputs": 1}));
    bench.give("a", item(0.0, &[1.0; 10]));
    bench.give("a", item(13.0, &[2.0; 7]));
    bench.give("a", item(15.0, &[3.0; 10]));
    let expected = [&[1.0; 10][..], &[0.0; 3], &[2.0; 7], &[3.0; 5]].concat();
    assert_eq!(bench.finish(), expected);
}

#[test]
fn an_item_about_where_the_one_before_ended_continues_it() {
    let mut bench = Bench::new(json!({"inputs": 1, "tolerance_ms": 3}));
    for (ms, sample) in [(0.0, 1.0), (12.9, 2.0), (17.1, 3.0), (30.0, 4.0)] {
        bench.give("a", item(ms, &[sample; 10]));
    }
    assert_eq!(bench.finish(), [[1.0; 10], [2.0; 10], [3.0; 10], [4.0; 10]].concat());
}

#[test]
fn rounded_timestamps_leave_no_seams() {
    // 10 ms are 441 frames, and nanoseconds do not hit the begin of a frame.
    let sound = sine(440.0, 44_100, 44_100);
    for align in ["timestamp", "start"] {
        let mut bench = Bench::new(json!({"inputs": 2, "align": align}));
        for (n, chunk) in cut(&sound, 44_100, 1, &[100]).into_iter().enumerate() {
            let ns =
                |offset: u64| Duration::from_nanos(n as u64 * 100_000_000_000 / 44_100 + offset);
            bench.give("a", chunk.clone().with_timestamp(begin() + ns(0)));
            bench.give("b", chunk.with_timestamp(begin() + ns(11_337)));
        }
        assert_eq!(bench.finish(), sound.iter().map(|s| s + s).collect::<Vec<_>>(), "{align}");
    }
}

#[test]
fn an_input_that_stays_silent_is_given_up_by_the_clock_and_taken_back() {
    let mut bench = Bench::new(json!({"inputs": 2}));
    bench.give("a", item(0.0, &[1.0; 10]));
    bench.give("b", item(0.0, &[0.5; 10]));
    assert_eq!(bench.mixed(), [1.5; 10]);
    assert_eq!(bench.node.due(), None);
    bench.give("a", item(10.0, &[1.0; 30]));
    bench.wait();
    assert_eq!(bench.mixed(), [1.0; 30]);
    // It is not waited for any more, until it comes back; what is late is dropped.
    bench.give("a", item(40.0, &[1.0; 10]));
    assert_eq!(bench.mixed(), [1.0; 10]);
    bench.give("b", item(45.0, &[0.5; 10]));
    assert_eq!(bench.mixed(), [0.0; 0]);
    bench.give("a", item(50.0, &[1.0; 20]));
    assert_eq!(bench.mixed(), [0.0; 0]);
    bench.give("b", item(55.0, &[0.5; 10]));
    assert_eq!(bench.finish(), [&[1.5; 15][..], &[1.0; 5]].concat());
}

#[test]
fn with_start_an_input_that_was_given_up_goes_on_where_the_mix_is() {
    let mut bench = Bench::new(json!({"inputs": 1, "align": "start"}));
    bench.give("a", item(0.0, &[1.0; 40]));
    assert_eq!(bench.mixed(), [1.0; 40]);
    bench.give("late", item(0.0, &[0.5; 10]));
    bench.give("a", item(40.0, &[1.0; 10]));
    assert_eq!(bench.mixed(), [1.5; 10]);
}

#[test]
fn inputs_that_have_not_come_yet_are_waited_for() {
    let mut bench = Bench::new(json!({"inputs": 2}));
    bench.give("a", item(0.0, &[1.0; 20]));
    bench.wait();
    assert_eq!(bench.mixed(), [1.0; 20]);
    // Where their number is not known, they have the same time.
    let mut bench = Bench::new(json!({}));
    bench.give("a", item(0.0, &[1.0; 20]));
    bench.give("b", item(0.0, &[0.5; 20]));
    assert_eq!(bench.taken(), []);
    bench.wait();
    assert_eq!(bench.mixed(), [1.5; 20]);
    // And for ever, where no time is set.
    let mut bench = Bench::new(json!({"max_wait_ms": null}));
    bench.give("a", item(0.0, &[1.0; 20]));
    assert_eq!((bench.node.due(), bench.taken()), (None, vec![]));
    assert_eq!(bench.finish(), [1.0; 20]);
}

#[test]
fn the_number_of_inputs_comes_from_the_context_where_it_is_not_set() {
    let mut context = NodeContext::default();
    context.metadata.insert(NodeContext::INPUTS.to_owned(), json!(3));
    let params = Bench::new(json!({})).node.params;
    assert_eq!(Mixer::new(params.clone(), &context).unwrap().expected, 3);
    assert_eq!(Mixer::new(Params { inputs: 2, ..params }, &context).unwrap().expected, 2);
}

#[test]
fn what_is_left_of_a_block_is_given_when_nothing_more_comes() {
    let mut bench = Bench::new(json!({"inputs": 1}));
    bench.give("a", item(0.0, &[1.0; 4]));
    bench.wait();
    assert_eq!(bench.mixed(), [[1.0; 4].as_slice(), &[0.0; 6]].concat());
    assert_eq!(bench.node.due(), None);
}

#[test]
fn the_mix_goes_on_behind_a_gap_of_all_inputs_that_is_long() {
    let mut bench = Bench::new(json!({"inputs": 1}));
    bench.give("a", item(0.0, &[1.0; 10]));
    bench.give("a", item(60_003.0, &[1.0; 10]));
    let taken = bench.taken();
    assert_eq!(taken, [(0.0, vec![1.0; 10]), (60_003.0, vec![1.0; 10])]);
}

#[test]
fn nothing_behind_a_long_gap_is_lost_where_items_are_shorter_than_a_block() {
    let items = [(0.0, 10), (60_003.0, 5), (60_008.0, 5), (60_013.0, 10)];
    let mut bench = Bench::new(json!({"inputs": 1}));
    for (ms, frames) in items {
        bench.give("a", item(ms, &vec![1.0; frames]));
    }
    let expected = [(0.0, vec![1.0; 10]), (60_003.0, vec![1.0; 10]), (60_013.0, vec![1.0; 10])];
    assert_eq!(bench.taken(), expected);
    let mut bench = Bench::new(json!({"inputs": 2}));
    for (ms, frames) in items {
        bench.give("a", item(ms, &vec![1.0; frames]));
        bench.give("b", item(ms, &vec![0.5; frames]));
    }
    assert_eq!(bench.taken(), expected.map(|(ms, _)| (ms, vec![1.5; 10])));
}

#[test]
fn after_a_pause_of_all_inputs_each_has_the_time_to_come_back() {
    let mut bench = Bench::new(json!({"inputs": 2}));
    for from in ["a", "b"] {
        bench.give(from, item(0.0, &[1.0; 10]));
    }
    assert_eq!(bench.mixed(), [2.0; 10]);
    let pause_end = Instant::now();
    bench.give("a", item(10.0, &[1.0; 10]));
    assert!(bench.node.due().unwrap() >= pause_end + Duration::from_millis(200));
    bench.wait();
    assert_eq!(bench.mixed(), [1.0; 10]);
}

#[test]
fn a_new_stream_waits_for_inputs_to_show_themselves_again() {
    let mut bench = Bench::new(json!({}));
    bench.give("a", item(0.0, &[1.0; 10]));
    bench.wait();
    assert_eq!(bench.mixed(), [1.0; 10]);
    bench.node.flush();
    bench.give("a", item(0.0, &[1.0; 10]));
    assert_eq!(bench.mixed(), [0.0; 0]);
    bench.wait();
    assert_eq!(bench.mixed(), [1.0; 10]);
    bench.node.finish(&mut bench.output).unwrap();
    bench.give("a", item(0.0, &[1.0; 10]));
    assert_eq!(bench.mixed(), [0.0; 0]);
}

#[test]
fn timestamps_from_anywhere_do_no_harm() {
    let far = SystemTime::UNIX_EPOCH + Duration::from_nanos(u64::MAX);
    for time in [SystemTime::UNIX_EPOCH, far, SystemTime::UNIX_EPOCH - Duration::from_secs(1 << 40)]
    {
        let mut bench = Bench::new(json!({"inputs": 2}));
        let mut total = 0.0;
        for n in 0..20 {
            bench.give("a", item(10.0 * f64::from(n), &[1.0; 10]));
            bench.give("b", item(0.0, &[1.0; 10]).with_timestamp(time));
            total += bench.mixed().iter().sum::<f32>();
        }
        total += bench.finish().iter().sum::<f32>();
        // All of one, and the first item of the other.
        assert_eq!(total, 210.0, "{time:?}");
    }
}

#[test]
fn there_is_no_waiting_once_too_much_is_held() {
    let mut bench = Bench::new(json!({"inputs": 2, "max_wait_ms": null}));
    bench.node.max_held = 110;
    bench.give("b", item(0.0, &[0.5; 10]));
    let mut mixed = Vec::new();
    for n in 0..100 {
        bench.give("a", item(10.0 * f64::from(n), &[1.0; 10]));
        mixed.extend(bench.mixed());
        assert!(bench.node.tracks.iter().map(Track::held).sum::<usize>() <= 110);
    }
    mixed.extend(bench.finish());
    assert_eq!(mixed, [[1.5; 10].as_slice(), &[1.0; 990]].concat());
}

#[test]
fn an_input_of_another_format_is_named() {
    let mut bench = Bench::new(json!({}));
    bench.give("a", item(0.0, &[1.0; 10]));
    let other = RuntimeData::audio_f32(vec![0.0; 4], 2_000, 2).unwrap();
    let error = bench.try_give("other", other).unwrap_err().to_string();
    assert!(error.contains("2 channels at 2000 Hz from node \"other\""), "{error}");
    assert!(error.contains("1 channels at 1000 Hz as from the first input"), "{error}");
}

#[test]
fn inputs_have_gains_by_node_and_a_change_is_a_ramp_over_a_block() {
    let mut bench = Bench::new(json!({"inputs": 2, "gains_db": {"a": -20, "b": 20}}));
    bench.give("a", item(0.0, &[1.0; 10]));
    bench.give("b", item(0.0, &[1.0; 10]));
    assert_eq!(bench.mixed(), [10.1; 10]);
    bench.node.set_params(&json!({"gains_db": {"a": 0, "b": 20}})).unwrap();
    for from in ["a", "b"] {
        bench.give(from, item(10.0, &[1.0; 20]));
    }
    let mixed = bench.mixed();
    for (n, sample) in mixed.iter().enumerate() {
        let expected = 10.1 + 0.9 * ((n + 1).min(10) as f32 / 10.0);
        assert!((sample - expected).abs() < 1e-5, "{n}: {sample} {expected}");
    }
    assert!(bench.node.set_params(&json!({"gains_db": {"a": 61}})).is_err());
    assert!(bench.node.set_params(&json!({"align": "start"})).is_err());
    assert!(make("AudioMixerNode", json!({"gains_db": {"a": "loud"}})).is_err());
}

#[test]
fn ports_make_inputs_of_what_comes_from_outside() {
    let mut node = make("AudioMixerNode", json!({"inputs": 2, "gains_db": {"in2": -20}})).unwrap();
    let mut output = Output::default();
    for port in ["in1", "in2"] {
        let site = InputSite { from: None, port: Some(port) };
        node.process_from(site, item(0.0, &[1.0; 20]), &mut output).unwrap();
    }
    assert_eq!(samples(&output.drain().collect::<Vec<_>>()), [1.1; 20]);
}

#[test]
fn what_is_held_is_dropped_by_a_flush() {
    let mut bench = Bench::new(json!({"inputs": 2}));
    bench.give("a", item(0.0, &[1.0; 30]));
    bench.node.flush();
    for from in ["a", "b"] {
        bench.give(from, item(50.0, &[0.5; 10]));
    }
    assert_eq!(bench.taken(), [(50.0, vec![1.0; 10])]);
}

#[test]
fn steady_work_allocates_nothing() {
    let params = json!({"inputs": 1, "align": "start"});
    let item = RuntimeData::audio_f32(sine(440.0, 48_000, 1_920), 48_000, 2).unwrap();
    check_no_allocation("AudioMixerNode", &params, &item);
}

#[test]
fn one_input_comes_out_as_it_went_in() {
    let sound = sine(440.0, 48_000, 9_600);
    let mut node = make("AudioMixerNode", json!({"align": "start"})).unwrap();
    assert_eq!(samples(&run(node.as_mut(), cut(&sound, 48_000, 2, &[100])).unwrap()), sound);
}

proptest! {
    #[test]
    fn the_mix_is_the_same_in_whatever_order_and_pieces_inputs_come(
        cuts in proptest::array::uniform3(lengths()),
        order in proptest::collection::vec(0..3_usize, 0..60),
        start in any::<bool>(),
    ) {
        let params = json!({
            "inputs": 3, "max_wait_ms": null, "align": if start { "start" } else { "timestamp" },
        });
        let sounds = [440.0, 550.0, 660.0].map(|f| sine(f, 8_000, 6_000));
        let names = ["a", "b", "c"];
        let mut queues: Vec<_> = (0..3).map(|n| {
            let mut place = 0;
            let mut stamped = std::collections::VecDeque::new();
            for item in cut(&sounds[n], 8_000, 1, &cuts[n]) {
                // Inputs begin 1.25 ms, or 10 frames, apart.
                let time = begin() + Duration::from_micros(1_250 * n as u64 + place * 125);
                place += item.as_audio().unwrap().frames() as u64;
                stamped.push_back(item.with_timestamp(time));
            }
            stamped
        }).collect();
        let mut bench = Bench::new(params);
        // In the order asked for, and then all that is left.
        for n in order.into_iter().chain((0..3).cycle().take(30_000)) {
            if let Some(item) = queues[n].pop_front() {
                bench.give(names[n], item);
            }
        }
        let shift = if start { 0 } else { 10 };
        let frames = 6_000 + 2 * shift;
        let mut expected = vec![0.0; frames];
        for (n, sound) in sounds.iter().enumerate() {
            for (place, sample) in expected[n * shift..].iter_mut().zip(sound) {
                *place += sample;
            }
        }
        prop_assert!(bench.finish() == expected);
    }

    #[test]
    fn the_result_does_not_depend_on_how_the_stream_is_cut(lengths in lengths()) {
        let sound = sine(440.0, 48_000, 12_000);
        let params = json!({"align": "start", "block_ms": 7});
        check_cuts("AudioMixerNode", &params, (&sound, 48_000, 2), &lengths);
    }
}
