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
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Segment {
    /// First frame, with padding.
    pub(super) start: u64,
    /// First frame of speech.
    pub(super) speech_start: u64,
    /// Behind the last frame of speech.
    pub(super) speech_end: u64,
    /// Behind the last frame, with padding.
    pub(super) end: u64,
    /// The energies of the frames from the first to the last one of speech, added up.
    pub(super) energy: f64,
}

/// That speech begins or ends. A cut of what is too long is neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Speech began with this frame.
    Begin {
        /// The first frame of speech.
        at: u64,
    },
    /// Speech ended.
    End {
        /// Behind the last frame of speech.
        at: u64,
        /// Whether it was enough for a segment.
        kept: bool,
    },
}

/// What follows from a frame.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Step {
    /// The segment that ends with it.
    pub(super) segment: Option<Segment>,
    /// Whether speech begins or ends.
    pub(super) turn: Option<Turn>,
}

/// What is known for certain of the frames so far, beside the segments that have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Certain {
    /// The first frame of the open segment, if it will not be dropped any more.
    pub(super) speech_from: Option<u64>,
    /// The first frame of which it is open whether it belongs to a segment.
    pub(super) until: u64,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// No segment; so many frames above `enter` in a row, and their energy.
    Silence { run: u64, energy: f64 },
    /// Within a segment.
    Speech(Open),
}

const SILENCE: State = State::Silence { run: 0, energy: 0.0 };

/// A segment that has not ended.
#[derive(Debug, Clone, Copy)]
struct Open {
    start: u64,
    speech_start: u64,
    /// Behind the last frame of speech, which may lie before a cut.
    speech_end: u64,
    speech_frames: u64,
    /// Frames of speech without which it is dropped.
    needed: u64,
    padding: u64,
    /// Energy up to `speech_end`, and of what has come behind it.
    energy: f64,
    energy_behind: f64,
    /// Whether it goes on from a cut.
    is_rest: bool,
}

impl Open {
    fn is_kept(&self) -> bool {
        self.speech_frames >= self.needed
    }
}

/// The state machine.
#[derive(Debug)]
pub(super) struct Segmenter {
    rules: Rules,
    state: State,
    /// Number of the frame that comes next.
    next: u64,
    /// No segment to come may begin earlier: the end of the one before, or what has been given up.
    floor: u64,
}

impl Segmenter {
    pub(super) fn new(rules: Rules) -> Self {
        Self { rules, state: SILENCE, next: 0, floor: 0 }
    }

    /// Takes the next frame's score and energy.
    pub(super) fn push(&mut self, score: f32, energy: f64) -> Step {
        let rules = self.rules;
        let frame = self.next;
        self.next += 1;
        let mut step = Step::default();
        match &mut self.state {
            State::Silence { .. } if score < rules.enter => self.state = SILENCE,
            State::Silence { run, energy: heard } => {
                *run += 1;
                *heard += energy;
                if *run >= rules.onset {
                    let speech_start = self.next - *run;
                    step.turn = Some(Turn::Begin { at: speech_start });
                    self.state = State::Speech(Open {
                        start: speech_start.saturating_sub(rules.padding).max(self.floor),
                        speech_start,
                        speech_end: self.next,
                        speech_frames: *run,
                        needed: rules.min_speech,
                        padding: rules.padding,
                        energy: *heard,
                        energy_behind: 0.0,
                        is_rest: false,
                    });
                }
            }
            State::Speech(open) if score >= rules.leave => {
                open.speech_frames += 1;
                open.speech_end = self.next;
                open.energy += open.energy_behind + energy;
                open.energy_behind = 0.0;
                if open.speech_frames == 1 {
                    // The first speech after a cut.
                    open.speech_start = frame;
                    open.energy = energy;
                }
            }
            State::Speech(open) => open.energy_behind += energy,
        }
        let State::Speech(open) = self.state else {
            return step;
        };
        if self.next - open.speech_end >= rules.min_silence {
            return self.end(open);
        }
        if self.next - open.speech_start >= rules.max_length {
            step.segment = self.close(open);
            if step.segment.is_none() {
                return self.end(open);
            }
            self.floor = self.next;
            self.state = State::Speech(Open {
                start: self.next,
                speech_start: self.next,
                speech_end: open.speech_end,
                speech_frames: 0,
                needed: 1,
                padding: rules.padding,
                energy: 0.0,
                energy_behind: 0.0,
                is_rest: true,
            });
        }
        step
    }

    /// What follows from the end of the stream.
    pub(super) fn finish(&mut self) -> Step {
        match self.state {
            State::Speech(open) => self.end(open),
            State::Silence { .. } => Step::default(),
        }
    }

    /// Other rules from the next frame on. A segment that is open keeps its padding and what it needs
    /// not to be dropped.
    pub(super) fn set_rules(&mut self, rules: Rules) {
        self.floor = self.next_from();
        self.rules = rules;
    }

    /// Gives up everything up to the next frame.
    pub(super) fn reset(&mut self) {
        self.state = SILENCE;
        self.floor = self.next;
    }

    /// The earliest frame that a segment to come may still contain.
    pub(super) fn keep_from(&self) -> u64 {
        self.opened().unwrap_or_else(|| self.next_from())
    }

    /// The first frame of the segment that is open.
    pub(super) fn opened(&self) -> Option<u64> {
        match self.state {
            State::Silence { .. } => None,
            State::Speech(open) => Some(open.start),
        }
    }

    /// The earliest frame at which a segment that is not open yet may begin, and speech that is may
    /// end.
    pub(super) fn turn_from(&self) -> u64 {
        match self.state {
            State::Silence { .. } => self.next_from(),
            State::Speech(open) => self.next_from().min(open.speech_end),
        }
    }

    /// What is known for certain.
    pub(super) fn certain(&self) -> Certain {
        match self.state {
            State::Speech(open) if open.is_kept() => Certain {
                speech_from: Some(open.start),
                until: (open.speech_end + open.padding).min(self.next),
            },
            _ => Certain { speech_from: None, until: self.keep_from() },
        }
    }

    /// The earliest frame at which a segment that is not open yet may begin.
    fn next_from(&self) -> u64 {
        let run = match self.state {
            State::Silence { run, .. } => run,
            State::Speech(_) => 0,
        };
        (self.next - run).saturating_sub(self.rules.padding).max(self.floor)
    }

    fn end(&mut self, open: Open) -> Step {
        let segment = self.close(open);
        let kept = segment.is_some() || open.is_rest;
        Step { segment, turn: Some(Turn::End { at: open.speech_end, kept }) }
    }

    fn close(&mut self, open: Open) -> Option<Segment> {
        self.state = SILENCE;
        if !open.is_kept() {
            return None;
        }
        let end = (open.speech_end + open.padding).min(self.next);
        self.floor = self.floor.max(end);
        Some(Segment {
            start: open.start,
            speech_start: open.speech_start,
            speech_end: open.speech_end,
            end,
            energy: open.energy,
        })
    }
}

#[cfg(test)]
mod tests;
