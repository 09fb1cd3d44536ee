//! `DelayNode`: gives each item some time after it came, or moves its timestamp, or both.
//!
//! What is held back is bounded; what is still held when the stream ends is given in its time as well.
//! It does not look into the items, so a delay of audio is not exact to a sample.

use std::time::{Duration, Instant, SystemTime};

use rm_core::{
    DataType, Node, NodeError, NodeMetadata, NodeRegistry, Output, ParameterKind, ParameterSpec,
    RegistryError, RuntimeData,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::held::{DROPPED, Held, Limits};
use super::pass_through::any_formats;
use crate::define::{changed, define_with_formats, wrong};

/// A day: longest delay, in milliseconds.
const MAX_DELAY_MS: f64 = 86_400_000.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Mode {
    Hold,
    Timestamp,
    Both,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
struct Params {
    delay_ms: f64,
    mode: Mode,
    #[serde(flatten)]
    limits: Limits,
}

impl Params {
    fn checked(self) -> Result<Self, NodeError> {
        if self.delay_ms < 0.0 && self.mode != Mode::Timestamp {
            let expected = "at least 0 ms; only a timestamp can be moved back (mode timestamp)";
            return Err(wrong("delay_ms", self.delay_ms, expected));
        }
        Ok(self)
    }

    fn delay(&self) -> Duration {
        Duration::from_secs_f64(self.delay_ms.abs() / 1_000.0)
    }
}

struct Delay {
    params: Params,
    /// Items with the time at which they came.
    held: Held<Instant>,
}

impl Delay {
    fn new(params: Params) -> Result<Self, NodeError> {
        let params = params.checked()?;
        Ok(Self { held: Held::new(params.limits), params })
    }

    /// Takes an item that came at `now`.
    fn take(
        &mut self,
        now: Instant,
        input: RuntimeData,
        output: &mut Output,
    ) -> Result<(), NodeError> {
        let input = if self.params.mode == Mode::Hold { input } else { self.moved(input)? };
        if self.params.mode == Mode::Timestamp && self.held.is_empty() {
            output.push(input);
            return Ok(());
        }
        self.held.check_room(input.payload().len(), |came, _| self.due_of(*came) <= now)?;
        // What is due goes first, so that it does not take the room of the new one.
        self.release(now, output);
        self.held.push(now, input, output)?;
        self.release(now, output);
        Ok(())
    }

    /// The item with its timestamp moved, and the deadline, which goes with it.
    fn moved(&self, item: RuntimeData) -> Result<RuntimeData, NodeError> {
        let delay = self.params.delay();
        let shift = |time: SystemTime| match self.params.delay_ms < 0.0 {
            true => time.checked_sub(delay).unwrap_or(SystemTime::UNIX_EPOCH),
            false => time.checked_add(delay).unwrap_or(time),
        };
        let first = SystemTime::UNIX_EPOCH;
        let timestamp = shift(item.header().timestamp).max(first);
        let Some(deadline) = item.header().deadline else {
            return Ok(item.with_timestamp(timestamp));
        };
        let (mut header, payload) = item.into_parts();
        // On the wire, a deadline at the start of 1970 stands for none.
        let deadline = shift(deadline).max(first + Duration::from_nanos(1));
        (header.timestamp, header.deadline) = (timestamp, Some(deadline));
        Ok(RuntimeData::from_parts(header, payload)?)
    }

    /// When an item is given that came then.
    fn due_of(&self, came: Instant) -> Instant {
        match self.params.mode {
            // Nothing is held back any more after the mode has changed.
            Mode::Timestamp => came,
            Mode::Hold | Mode::Both => came + self.params.delay(),
        }
    }

    /// Gives what has been held for long enough.
    fn release(&mut self, now: Instant, output: &mut Output) {
        while self.due().is_some_and(|due| due <= now)
            && let Some((_, item)) = self.held.pop()
        {
            output.push(item);
        }
    }
}

impl Node for Delay {
    fn process(&mut self, input: RuntimeData, output: &mut Output) -> Result<(), NodeError> {
        self.take(Instant::now(), input, output)
    }

    fn set_params(&mut self, params: &Value) -> Result<(), NodeError> {
        self.params = changed(&self.params, params)?.checked()?;
        self.held.limits = self.params.limits;
        Ok(())
    }

    fn flush(&mut self) {
        self.held.clear();
    }

    fn due(&self) -> Option<Instant> {
        let (came, _) = self.held.first()?;
        Some(self.due_of(*came))
    }

    fn on_time(&mut self, now: Instant, output: &mut Output) -> Result<(), NodeError> {
        self.release(now, output);
        Ok(())
    }

    fn finishes_on_time(&self) -> bool {
        true
    }

    fn finish(&mut self, output: &mut Output) -> Result<(), NodeError> {
        // Whoever does not wait for what is due gets it all the same.
        while let Some((_, item)) = self.held.pop() {
            output.push(item);
        }
        Ok(())
    }
}

pub(crate) fn register(registry: &mut NodeRegistry) -> Result<(), RegistryError> {
    let mut parameters = vec![
        ParameterSpec::optional(
            "delay_ms",
            ParameterKind::Float,
            0.0,
            "how much later an item is given, or its timestamp is",
        )
        .range(-MAX_DELAY_MS, MAX_DELAY_MS)
        .unit("ms"),
        ParameterSpec::optional(
            "mode",
            ParameterKind::String,
            "hold",
            "whether items are held back, or only their timestamps and deadlines are moved (also \
             back), or both, as if they had come into being later",
        )
        .choices(["hold", "timestamp", "both"]),
    ];
    parameters.extend(Limits::parameters(4_096));
    let metadata = NodeMetadata {
        name: "DelayNode".to_owned(),
        version: "1.0.0".to_owned(),
        description: "gives items later, in order, or moves their timestamps".to_owned(),
        parameters,
        accepts: DataType::ALL.to_vec(),
        produces: DataType::ALL.to_vec(),
        output_ports: vec![DROPPED.to_owned()],
        timed: true,
        ..NodeMetadata::default()
    };
    let formats = |_: &Params, _: &_| any_formats();
    define_with_formats(registry, metadata, formats, |params, _| Delay::new(params))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check_no_allocation, make, run};
    use proptest::prelude::*;
    use serde_json::json;

    fn delay(params: Value) -> Delay {
        let defaults = json!({
            "delay_ms": 100.0, "mode": "hold", "max_items": 10, "max_bytes": 1_000,
            "overflow": "drop_oldest",
        });
        let defaults: Params = serde_json::from_value(defaults).unwrap();
        Delay::new(changed(&defaults, &params).unwrap()).unwrap()
    }

    fn item(number: u8) -> RuntimeData {
        RuntimeData::binary(vec![number]).unwrap()
    }

    fn numbers(output: &mut Output) -> Vec<u8> {
        output.drain().map(|item| item.payload()[0]).collect()
    }

    #[test]
    fn items_are_given_when_they_have_been_held_for_long_enough() {
        let mut node = delay(json!({}));
        let mut output = Output::default();
        let start = Instant::now();
        let ms = |ms| start + Duration::from_millis(ms);
        for (number, at) in [(1, 0), (2, 10), (3, 50)] {
            node.take(ms(at), item(number), &mut output).unwrap();
        }
        assert!(output.is_empty());
        assert_eq!(node.due(), Some(ms(100)));
        node.on_time(ms(99), &mut output).unwrap();
        assert!(output.is_empty());
        node.on_time(ms(110), &mut output).unwrap();
        assert_eq!(numbers(&mut output), [1, 2]);
        assert_eq!(node.due(), Some(ms(150)));
        node.take(ms(160), item(4), &mut output).unwrap();
        assert_eq!(numbers(&mut output), [3]);
        assert!(node.finishes_on_time());
        node.on_time(ms(260), &mut output).unwrap();
        assert_eq!(numbers(&mut output), [4]);
        assert_eq!(node.due(), None);
    }

    #[test]
    fn timestamps_and_deadlines_are_moved_without_holding_anything() {
        let at = |ms| SystemTime::UNIX_EPOCH + Duration::from_millis(ms);
        let (mut header, payload) = item(1).with_timestamp(at(1_000)).into_parts();
        header.deadline = Some(at(1_500));
        let item = RuntimeData::from_parts(header, payload).unwrap();
        for (delay_ms, timestamp, deadline) in
            [(250, 1_250, 1_750), (-250, 750, 1_250), (-5_000, 0, 0)]
        {
            let mut node =
                make("DelayNode", json!({"delay_ms": delay_ms, "mode": "timestamp"})).unwrap();
            let mut output = Output::default();
            node.process(item.clone(), &mut output).unwrap();
            let out = output.drain().next().unwrap();
            assert_eq!(out.header().timestamp, at(timestamp));
            if delay_ms > -1_000 {
                assert_eq!(out.header().deadline, Some(at(deadline)));
            }
            assert_eq!(out.payload(), item.payload());
        }
        let mut node = delay(json!({"mode": "both"}));
        let mut output = Output::default();
        let now = Instant::now();
        node.take(now, item.clone(), &mut output).unwrap();
        assert!(output.is_empty());
        node.on_time(now + Duration::from_millis(100), &mut output).unwrap();
        assert_eq!(output.drain().next().unwrap().header().timestamp, at(1_100));
    }

    #[test]
    fn a_delay_can_be_changed_while_items_are_held() {
        let mut node = delay(json!({}));
        let mut output = Output::default();
        let start = Instant::now();
        node.take(start, item(1), &mut output).unwrap();
        node.set_params(&json!({"delay_ms": 20})).unwrap();
        assert_eq!(node.due(), Some(start + Duration::from_millis(20)));
        node.set_params(&json!({"delay_ms": -20, "mode": "timestamp"})).unwrap();
        assert_eq!(node.due(), Some(start));
        node.take(start, item(2), &mut output).unwrap();
        assert_eq!(numbers(&mut output), [1, 2]);
        let error = node.set_params(&json!({"mode": "hold"})).unwrap_err();
        assert!(error.to_string().starts_with("parameter \"delay_ms\" is -20"), "{error}");
    }

    #[test]
    fn what_is_held_is_bounded_flushed_and_given_at_the_end() {
        let mut node = delay(json!({"max_items": 2}));
        let mut output = Output::default();
        let now = Instant::now();
        for number in 1..=3 {
            node.take(now, item(number), &mut output).unwrap();
        }
        let dropped: Vec<_> = output.drain_ports().map(|(port, _)| port).collect();
        assert_eq!(dropped, [Some("dropped")]);
        node.finish(&mut output).unwrap();
        assert_eq!(numbers(&mut output), [2, 3]);
        node.take(now, item(4), &mut output).unwrap();
        node.flush();
        node.finish(&mut output).unwrap();
        assert!(output.is_empty() && node.due().is_none());
    }

    #[test]
    fn an_item_that_there_is_no_room_for_takes_no_other_with_it() {
        let mut node = delay(json!({"max_bytes": 4, "overflow": "error"}));
        let mut output = Output::default();
        let start = Instant::now();
        let ms = |ms| start + Duration::from_millis(ms);
        for (number, at) in [(1, 0), (2, 50)] {
            node.take(ms(at), item(number), &mut output).unwrap();
        }
        let large = || RuntimeData::binary(vec![3; 4]).unwrap();
        // The first one is due, but without it there is no room either.
        let error = node.take(ms(120), large(), &mut output).unwrap_err();
        assert!(error.to_string().starts_with("1 items of 1 bytes are held back"), "{error}");
        assert!(output.is_empty());
        assert_eq!(node.due(), Some(ms(100)));
        // Where all that is held is due, there is.
        node.take(ms(150), large(), &mut output).unwrap();
        assert_eq!(numbers(&mut output), [1, 2]);
    }

    #[test]
    fn no_delay_gives_items_at_once() {
        let out =
            run(make("DelayNode", json!(null)).unwrap().as_mut(), [item(1), item(2)]).unwrap();
        assert_eq!(out.len(), 2);
        check_no_allocation("DelayNode", &json!(null), &item(1));
        let params = json!({"delay_ms": 5, "mode": "timestamp"});
        check_no_allocation("DelayNode", &params, &item(1));
        let params = json!({"delay_ms": 60_000, "max_items": 50});
        check_no_allocation("DelayNode", &params, &item(1));
    }

    proptest! {
        #[test]
        fn every_item_comes_once_in_order_and_in_its_time(
            steps in proptest::collection::vec((0..80_u64, any::<bool>()), 1..60),
            delay_ms in 0..200_u64,
        ) {
            let mut node = delay(json!({"delay_ms": delay_ms, "max_items": 100}));
            let mut output = Output::default();
            let start = Instant::now();
            let (mut at, mut came, mut given) = (0, Vec::new(), Vec::new());
            for (index, (gap, is_item)) in steps.iter().enumerate() {
                at += gap;
                let now = start + Duration::from_millis(at);
                if *is_item {
                    came.push((index as u8, at));
                    node.take(now, item(index as u8), &mut output).unwrap();
                } else {
                    node.on_time(now, &mut output).unwrap();
                }
                for number in numbers(&mut output) {
                    let (_, came) = came.iter().find(|(item, _)| *item == number).unwrap();
                    prop_assert!(came + delay_ms <= at);
                    given.push(number);
                }
                let due = came.get(given.len()).map(|(_, came)| came + delay_ms);
                prop_assert_eq!(node.due(), due.map(|ms| start + Duration::from_millis(ms)));
            }
            node.finish(&mut output).unwrap();
            given.extend(numbers(&mut output));
            let came: Vec<_> = came.iter().map(|(number, _)| *number).collect();
            prop_assert_eq!(given, came);
        }
    }
}
