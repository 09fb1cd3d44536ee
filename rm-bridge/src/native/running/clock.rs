//! What nodes of a stage do without being given anything: sources, and nodes that act by the clock.

use std::time::Instant;

use rm_core::{Produced, TraceContext};

use super::Running;
use crate::native::StageError;
use crate::timeline::Work;

/// A source, and before when it has nothing to give.
#[derive(Debug)]
pub(super) struct Source {
    place: usize,
    pub(super) not_before: Option<Instant>,
}

impl Source {
    pub(super) fn new(place: usize) -> Self {
        Self { place, not_before: None }
    }
}

impl Running {
    /// Has each source make something whose time has come, and drops those that have ended; `false` if
    /// there was none.
    pub(super) fn ask(&mut self, sources: &mut Vec<Source>) -> Result<bool, StageError> {
        let mut asked = false;
        let mut next = 0;
        while let Some(source) = sources.get_mut(next) {
            if source.not_before.is_some_and(|time| time > Instant::now()) {
                next += 1;
                continue;
            }
            asked = true;
            source.not_before = match self.produce(source.place)? {
                Produced::More => None,
                Produced::At(time) => Some(time),
                Produced::End => {
                    sources.remove(next);
                    continue;
                }
            };
            next += 1;
        }
        Ok(asked)
    }

    /// When the next node wants to be called, if one does that has not finished.
    pub(super) fn due(&self) -> Option<Instant> {
        let working = self.nodes.iter().skip(self.finished);
        working.filter_map(|node| node.inner.node.due()).min()
    }

    /// Calls the nodes whose time has come and that have not finished; `false` if there was none.
    pub(super) fn act_on_time(&mut self) -> Result<bool, StageError> {
        if self.due().is_none_or(|due| due > Instant::now()) {
            return Ok(false);
        }
        for place in self.finished..self.nodes.len() {
            self.notice_epoch();
            let now = Instant::now();
            if self.nodes[place].inner.node.due().is_none_or(|due| due > now) {
                continue;
            }
            let epoch = self.epoch;
            self.begin_making(place, Work::Timer, 0);
            let node = &mut self.nodes[place];
            self.called = Some(place);
            let acted = node.inner.node.on_time(now, &mut node.output);
            self.called = None;
            self.controls.meter(place).record(now.elapsed());
            let acted = acted.map_err(|source| node.error("do what was due", source));
            if acted.is_err() {
                self.end_times(place, true);
            }
            acted?;
            self.forward(place, epoch, TraceContext::default())?;
            self.end_times(place, false);
        }
        Ok(true)
    }

    /// Calls a node by the clock until nothing of it is due, if it wants that before it finishes.
    pub(super) fn finish_on_time(&mut self, place: usize) -> Result<(), StageError> {
        while self.nodes[place].inner.node.finishes_on_time()
            && self.nodes[place].inner.node.due().is_some()
        {
            if self.controls.is_stopped() {
                return Err(self.stopped_error());
            }
            self.take_word();
            if !self.act_on_time()? {
                let controls = &self.controls;
                let called = || {
                    let epoch = self.stage.epoch();
                    controls.is_stopped() || controls.has_changes() || epoch != self.epoch
                };
                self.stage.bell.wait(called, self.due());
            }
        }
        Ok(())
    }
}
