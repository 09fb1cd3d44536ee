//! Tests of the state machine on drawn frames.

use super::*;
use proptest::prelude::*;

const RULES: Rules = Rules {
    enter: 0.5,
    leave: 0.3,
    onset: 2,
    min_silence: 3,
    min_speech: 3,
    padding: 2,
    max_length: 100,
};

/// Segments as `(start, speech_start, speech_end, end)` for frames drawn as `#` (speech),
/// `+` (between the thresholds) and `.` (silence).
fn check(rules: Rules, frames: &str, expected: &[(u64, u64, u64, u64)]) {
    let found: Vec<_> = steps(&mut Segmenter::new(rules), frames)
        .into_iter()
        .filter_map(|step| step.segment)
        .map(|s| (s.start, s.speech_start, s.speech_end, s.end))
        .collect();
    assert_eq!(found, expected, "{frames}");
}

/// What follows from each frame and from the end. The energies are 1, 2, 4 and so on.
fn steps(segmenter: &mut Segmenter, frames: &str) -> Vec<Step> {
    let score = |frame| match frame {
        '#' => 0.9,
        '+' => 0.4,
        _ => 0.0,
    };
    let energy = |place: usize| 2.0_f64.powi(i32::try_from(place).unwrap());
    let mut steps: Vec<_> = frames
        .chars()
        .enumerate()
        .map(|(place, frame)| segmenter.push(score(frame), energy(place)))
        .collect();
    steps.push(segmenter.finish());
    steps
}

/// The turns, each with the number of the frames after which it is known.
fn check_turns(rules: Rules, frames: &str, expected: &[(usize, Turn)]) {
    let steps = steps(&mut Segmenter::new(rules), frames);
    let turns = steps.iter().enumerate();
    let turns: Vec<_> =
        turns.filter_map(|(place, step)| step.turn.map(|turn| (place + 1, turn))).collect();
    assert_eq!(turns, expected, "{frames}");
}

#[test]
fn speech_is_padded_on_both_sides() {
    check(RULES, "....####.....", &[(2, 4, 8, 10)]);
}

#[test]
fn padding_stays_within_the_stream_and_what_was_heard() {
    check(RULES, ".####...", &[(0, 1, 5, 7)]);
    check(RULES, "####.", &[(0, 0, 4, 5)]);
    let wide = Rules { padding: 50, ..RULES };
    check(wide, "..####......", &[(0, 2, 6, 9)]);
}

#[test]
fn padding_never_reaches_into_another_segment() {
    check(RULES, "####...####...", &[(0, 0, 4, 6), (6, 7, 11, 13)]);
}

#[test]
fn a_single_loud_frame_begins_nothing() {
    check(RULES, "..#..#..#...", &[]);
}

#[test]
fn frames_between_the_thresholds_continue_speech_but_do_not_begin_it() {
    check(RULES, "..++++++......", &[]);
    check(RULES, "..##++++......", &[(0, 2, 8, 10)]);
}

#[test]
fn a_short_pause_does_not_split_and_a_long_one_does() {
    check(RULES, "###..###...", &[(0, 0, 8, 10)]);
    check(RULES, "###...###...", &[(0, 0, 3, 5), (5, 6, 9, 11)]);
}

#[test]
fn too_little_speech_is_dropped_and_leaves_its_frames_to_the_next() {
    check(RULES, "##...###...", &[(3, 5, 8, 10)]);
}

#[test]
fn speech_that_goes_on_at_the_end_is_given() {
    check(RULES, "....####", &[(2, 4, 8, 8)]);
}

#[test]
fn endless_speech_is_cut_and_loses_nothing() {
    let rules = Rules { max_length: 5, ..RULES };
    check(rules, "############...", &[(0, 0, 5, 5), (5, 5, 10, 10), (10, 10, 12, 14)]);
    // After a cut even one frame of speech is kept, but silence alone is not.
    check(rules, "######...", &[(0, 0, 5, 5), (5, 5, 6, 8)]);
    check(rules, "#####....", &[(0, 0, 5, 5)]);
    let wide = Rules { padding: 50, ..rules };
    check(wide, "......######...", &[(0, 6, 11, 11), (11, 11, 12, 15)]);
    // Padding does not reach behind a cut, also where nothing was given from there on.
    let wide = Rules { padding: 3, max_length: 6, ..RULES };
    check(wide, "####.....####", &[(0, 0, 4, 6), (6, 9, 13, 13)]);
}

#[test]
fn the_energy_is_that_from_the_first_to_the_last_frame_of_speech() {
    let energies = |rules, frames| -> Vec<_> {
        let steps = steps(&mut Segmenter::new(rules), frames);
        steps.iter().filter_map(|step| step.segment).map(|s| s.energy).collect()
    };
    let from_to = |from: i32, to: i32| (from..to).map(|place| 2.0_f64.powi(place)).sum::<f64>();
    assert_eq!(energies(RULES, "#..####..+.....##"), [from_to(3, 10)]);
    let cut = Rules { max_length: 5, min_silence: 4, ..RULES };
    assert_eq!(energies(cut, ".###.#...#..#....."), [from_to(1, 6), from_to(9, 13)]);
}

#[test]
fn a_turn_is_known_after_the_onset_and_after_the_silence() {
    use Turn::{Begin, End};
    let end = |at, kept| End { at, kept };
    check_turns(RULES, "..#.###..#....", &[(6, Begin { at: 4 }), (13, end(10, true))]);
    check_turns(RULES, "..##.....", &[(4, Begin { at: 2 }), (7, end(4, false))]);
    check_turns(RULES, ".###", &[(3, Begin { at: 1 }), (5, end(4, true))]);
}

#[test]
fn a_cut_is_no_turn_and_the_end_of_speech_may_lie_before_it() {
    use Turn::{Begin, End};
    let rules = Rules { max_length: 5, ..RULES };
    let end = End { at: 7, kept: true };
    check_turns(rules, "#######...", &[(2, Begin { at: 0 }), (10, end)]);
    // The last frame of speech is before the cut, behind which there is none.
    let end = End { at: 4, kept: true };
    check_turns(rules, "####......", &[(2, Begin { at: 0 }), (7, end)]);
}

#[test]
fn what_is_given_up_belongs_to_nothing_that_comes() {
    let mut segmenter = Segmenter::new(Rules { padding: 50, ..RULES });
    for _ in 0..10 {
        segmenter.push(0.9, 1.0);
    }
    segmenter.reset();
    assert_eq!(segmenter.certain(), Certain { speech_from: None, until: 10 });
    let steps = steps(&mut segmenter, "..###....");
    let segment = steps.iter().find_map(|step| step.segment).unwrap();
    assert_eq!((segment.start, segment.speech_start, segment.speech_end), (10, 12, 15));
}

#[test]
fn rules_change_from_the_next_frame_on() {
    let mut segmenter = Segmenter::new(RULES);
    for _ in 0..5 {
        segmenter.push(0.4, 1.0);
    }
    segmenter.set_rules(Rules { enter: 0.4, padding: 50, ..RULES });
    let steps = steps(&mut segmenter, "+++...");
    let segment = steps.iter().find_map(|step| step.segment).unwrap();
    // The wider padding does not reach what was given up under the rules before.
    assert_eq!((segment.start, segment.speech_start, segment.speech_end), (3, 5, 8));
}

/// Rules of any kind.
fn rules() -> impl Strategy<Value = Rules> {
    let lengths = (1_u64..4, 1_u64..6, 0_u64..6, 0_u64..8, 8_u64..40);
    let rules = |(onset, min_silence, min_speech, padding, max_length)| Rules {
        onset,
        min_silence,
        min_speech,
        padding,
        max_length,
        ..RULES
    };
    lengths.prop_map(rules)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn segments_are_ordered_apart_and_never_begin_before_what_is_kept(
        scores in prop::collection::vec(0_u8..10, 0..400),
        rules in rules(),
    ) {
        let mut segmenter = Segmenter::new(rules);
        let Rules { onset, min_silence, padding, max_length, .. } = rules;
        let (mut kept, mut last_end) = (0, 0);
        for (frame, score) in scores.iter().enumerate() {
            let segment = segmenter.push(f32::from(*score) / 10.0, 1.0).segment;
            if let Some(s) = segment {
                prop_assert!(kept <= s.start && last_end <= s.start);
                prop_assert!(s.start <= s.speech_start && s.speech_start < s.speech_end);
                prop_assert!(s.speech_end <= s.end && s.end <= frame as u64 + 1);
                prop_assert!(s.end - s.start <= padding + max_length.max(onset) + min_silence);
                prop_assert_eq!(s.energy, (s.speech_end - s.speech_start) as f64);
                last_end = s.end;
            }
            prop_assert!(segmenter.keep_from() >= kept);
            kept = segmenter.keep_from();
        }
    }

    #[test]
    fn what_is_certain_comes_true_also_where_rules_change(
        parts in prop::collection::vec((rules(), prop::collection::vec(0_u8..10, 0..60)), 1..6),
    ) {
        let mut segmenter = Segmenter::new(parts[0].0);
        let (mut said, mut segments, mut turn_from) = (Vec::new(), Vec::<Segment>::new(), 0);
        let mut speaks = false;
        for (rules, scores) in &parts {
            segmenter.set_rules(*rules);
            for score in scores {
                let step = segmenter.push(f32::from(*score) / 10.0, 1.0);
                if let Some(turn) = step.turn {
                    let (Turn::Begin { at } | Turn::End { at, .. }) = turn;
                    prop_assert!(turn_from <= at);
                    prop_assert_eq!(speaks, matches!(turn, Turn::End { .. }));
                    speaks = !speaks;
                }
                segments.extend(step.segment);
                let Certain { speech_from, until } = segmenter.certain();
                // What was certain before stays so, and the rest is as the segments will say.
                prop_assert!(until >= said.len() as u64);
                let last_end = segments.last().map_or(0, |segment| segment.end);
                while (said.len() as u64) < until {
                    let frame = said.len() as u64;
                    let in_open = speech_from.is_some_and(|from| from <= frame);
                    let in_last = segments.last().is_some_and(|s| s.start <= frame);
                    said.push(in_open || in_last && frame < last_end);
                }
                prop_assert!(segmenter.turn_from() >= turn_from);
                turn_from = segmenter.turn_from();
            }
        }
        segments.extend(segmenter.finish().segment);
        for (frame, said) in said.iter().enumerate() {
            let frame = frame as u64;
            let is_speech = segments.iter().any(|s| (s.start..s.end).contains(&frame));
            prop_assert_eq!(is_speech, *said, "frame {}", frame);
        }
    }
}
