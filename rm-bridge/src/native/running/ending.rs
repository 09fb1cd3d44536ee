//! How a stage comes to its end: its nodes finish, and it tells what was done.

use rm_core::TraceContext;

use super::{Reading, Running};
use crate::data_plane::end_stream;
use crate::executor::ExecutorType;
use crate::metrics::{ConnectionReport, InputReport, NodeReport};
use crate::native::{StageError, StageEvent};
use crate::stage::Destination;
use crate::timeline::Work;

impl Running {
    /// Lets the nodes finish, in order.
    pub(super) fn finish(&mut self) -> Result<StageEvent, StageError> {
        for place in 0..self.nodes.len() {
            self.finish_on_time(place)?;
            self.begin_making(place, Work::Finish, 0);
            let node = &mut self.nodes[place];
            self.called = Some(place);
            let finished = node.inner.node.finish(&mut node.output);
            self.called = None;
            let finished = finished.map_err(|source| node.error("finish", source));
            if finished.is_err() {
                self.end_times(place, true);
            }
            finished?;
            self.finished = place + 1;
            self.forward(place, self.stage.epoch(), TraceContext::default())?;
            self.end_times(place, false);
        }
        for channel in 0..self.stage.publications.len() {
            let ended = end_stream(&self.stage.publications[channel].publisher);
            ended.map_err(|source| self.not_published(channel, source))?;
        }
        let mut calls = Vec::new();
        for node in &self.nodes {
            for route in &node.routes {
                if let Destination::Node(inlet) = &route.destination {
                    let inlet = &self.inlets[*inlet];
                    calls.push(ConnectionReport {
                        from: node.inner.id.to_string(),
                        from_port: route.port.clone(),
                        to: self.nodes[inlet.node].inner.id.to_string(),
                        to_port: inlet.port.clone(),
                        messages: route.messages,
                        bytes: route.bytes,
                        copied_bytes: 0,
                        dropped: 0,
                        missed: 0,
                        latency: route.latency.summary(),
                    });
                }
            }
        }
        let nodes = self.nodes.iter().enumerate();
        let nodes = nodes.map(|(place, node)| NodeReport {
            node: node.inner.id.to_string(),
            executor: ExecutorType::Native,
            statistics: self.controls.meter(place).statistics(),
        });
        let nodes = nodes.collect();
        let inputs = self.readings.iter();
        let inputs = inputs.map(|reading| InputReport::of(&reading.input.subscriber)).collect();
        Ok(StageEvent::Finished { nodes, calls, inputs })
    }

    /// Waits until the stage is stopped, if what it has sent may be wanted again, or if who sends to it
    /// may be started again.
    pub(in crate::native) fn keep_ports(&mut self) {
        self.controls.refuse_changes();
        let sends = self.stage.publications.iter().any(|publication| publication.kept);
        self.readings.retain(|reading| reading.input.kept);
        if !sends && self.readings.is_empty() {
            return;
        }
        while !self.controls.is_stopped() {
            let comes = |reading: &Reading| reading.input.subscriber.is_ready();
            let ready = || self.controls.is_stopped() || self.readings.iter().any(comes);
            self.stage.bell.wait(ready, None);
            // What still comes has come before.
            self.readings.retain_mut(|reading| reading.input.subscriber.try_recv().is_ok());
        }
    }
}
