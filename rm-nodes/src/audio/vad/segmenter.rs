//! From one score a frame to segments of speech.
//!
//! Main type: [`Segmenter`], a state machine over frame numbers and scores. It knows nothing of
//! samples, time or where scores come from, so it serves every kind of scorer.

/// When a segment begins and when it ends. Lengths are in frames.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rules {
    /// Least score of a frame that can begin a segment.
    pub(super) enter: f32,
    /// Least score of a frame that counts as speech within a segment.
    pub(super) leave: f32,
    /// Consecutive frames above `enter` that begin a segment; at least 1.
    pub(super) onset: u64,
    /// Consecutive frames below `leave` that end a segment; at least 1.
    pub(super) min_silence: u64,
    /// Least frames of speech in a segment; one with fewer is dropped.
    pub(super) min_speech: u64,
    /// Frames added before the first and after the last frame of speech, as far as there are
    /// any that do not belong to another segment.
    pub(super) padding: u64,
    /// Most frames of a segment without its padding; a longer one is cut here and goes on as the
    /// next one.
    pub(super) max_length: u64,
}

/// A range of frames with speech. The ends are exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    /// First frame, with padding.
    pub(super) start: u64,
    /// First frame of speech.
    pub(super) speech_start: u64,
    /// Behind the last frame of speech.
    pub(super) speech_end: u64,
    /// Behind the last frame, with padding.
    pub(super) end: u64,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// No segment; so many frames above `enter` in a row.
    Silence { run: u64 },
    /// Within a segment.
    Speech(Open),
}

/// A segment that has not ended.
#[derive(Debug, Clone, Copy)]
struct Open {
    start: u64,
    speech_start: u64,
    speech_end: u64,
    speech_frames: u64,
    /// Frames of speech without which it is dropped.
    needed: u64,
}

/// The state machine.
#[derive(Debug)]
pub(super) struct Segmenter {
    rules: Rules,
    state: State,
    /// Number of the frame that comes next.
    next: u64,
    /// End of the segment before this one: nothing may begin earlier.
    floor: u64,
}

impl Segmenter {
    pub(super) fn new(rules: Rules) -> Self {
        Self { rules, state: State::Silence { run: 0 }, next: 0, floor: 0 }
    }

    /// Takes the next frame's score, and gives the segment that ends with it.
    pub(super) fn push(&mut self, score: f32) -> Option<Segment> {
        let rules = self.rules;
        let frame = self.next;
        self.next += 1;
        match &mut self.state {
            State::Silence { run } => {
                *run = if score >= rules.enter { *run + 1 } else { 0 };
                if *run >= rules.onset {
                    let speech_start = self.next - *run;
                    self.state = State::Speech(Open {
                        start: speech_start.saturating_sub(rules.padding).max(self.floor),
                        speech_start,
                        speech_end: self.next,
                        speech_frames: *run,
                        needed: rules.min_speech,
                    });
                }
            }
            State::Speech(open) if score >= rules.leave => {
                open.speech_frames += 1;
                open.speech_end = self.next;
                if open.speech_frames == 1 {
                    // The first speech after a cut.
                    open.speech_start = frame;
                }
            }
            State::Speech(_) => {}
        }
        let State::Speech(open) = self.state else {
            return None;
        };
        if self.next - open.speech_end >= rules.min_silence {
            return self.close(open);
        }
        if self.next - open.speech_start >= rules.max_length {
            let segment = self.close(open);
            if segment.is_some() {
                self.state = State::Speech(Open {
                    start: self.next,
                    speech_start: self.next,
                    speech_end: self.next,
                    speech_frames: 0,
                    needed: 1,
                });
            }
            return segment;
        }
        None
    }

    /// Gives the segment that is open when the stream ends.
    pub(super) fn finish(&mut self) -> Option<Segment> {
        match self.state {
            State::Speech(open) => self.close(open),
            State::Silence { .. } => None,
        }
    }

    /// The earliest frame that a segment to come may still contain.
    pub(super) fn keep_from(&self) -> u64 {
        match self.state {
            State::Silence { run } => {
                let earliest = (self.next - run).saturating_sub(self.rules.padding);
                earliest.max(self.floor)
            }
            State::Speech(open) => open.start,
        }
    }

    fn close(&mut self, open: Open) -> Option<Segment> {
        self.state = State::Silence { run: 0 };
        if open.speech_frames < open.needed {
            return None;
        }
        let end = (open.speech_end + self.rules.padding).min(self.next);
        self.floor = end;
        Some(Segment {
            start: open.start,
            speech_start: open.speech_start,
            speech_end: open.speech_end,
            end,
        })
    }
}

#[cfg(test)]
mod tests {
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
        let mut segmenter = Segmenter::new(rules);
        let score = |frame| match frame {
            '#' => 0.9,
            '+' => 0.4,
            _ => 0.0,
        };
        let mut found: Vec<_> =
            frames.chars().filter_map(|frame| segmenter.push(score(frame))).collect();
        found.extend(segmenter.finish());
        let found: Vec<_> =
            found.iter().map(|s| (s.start, s.speech_start, s.speech_end, s.end)).collect();
        assert_eq!(found, expected, "{frames}");
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
    }

    proptest! {
        #[test]
        fn segments_are_ordered_apart_and_never_begin_before_what_is_kept(
            scores in prop::collection::vec(0_u8..10, 0..400),
            onset in 1_u64..4, min_silence in 1_u64..6, min_speech in 0_u64..6,
            padding in 0_u64..8, max_length in 8_u64..40,
        ) {
            let rules = Rules { onset, min_silence, min_speech, padding, max_length, ..RULES };
            let mut segmenter = Segmenter::new(rules);
            let (mut kept, mut last_end) = (0, 0);
            for (frame, score) in scores.iter().enumerate() {
                let segment = segmenter.push(f32::from(*score) / 10.0);
                if let Some(s) = segment {
                    prop_assert!(kept <= s.start && last_end <= s.start);
                    prop_assert!(s.start <= s.speech_start && s.speech_start < s.speech_end);
                    prop_assert!(s.speech_end <= s.end && s.end <= frame as u64 + 1);
                    prop_assert!(s.end - s.start <= padding + max_length.max(onset) + min_silence);
                    last_end = s.end;
                }
                prop_assert!(segmenter.keep_from() >= kept);
                kept = segmenter.keep_from();
            }
        }
    }
}
