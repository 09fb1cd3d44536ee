//! `TeeNode`: gives each item on, and copies of chosen items on the ports `a`, `b`, `c` and `d`.
//!
//! A copy shares the payload of its item. Which items a port gets is the port's policy: all, every n-th,
//! the first n, a random share, or at most so many a second by the items' own times. It holds nothing
//! back.

use std::time::{Duration, SystemTime};

use rm_core::{
    DataType, Node, NodeError, NodeMetadata, NodeRegistry, Output, ParameterKind, ParameterSpec,
    RegistryError, RuntimeData,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::pass_through::any_formats;
use crate::define::{changed, define_with_formats, wrong};

const PORTS: [&str; 4] = ["a", "b", "c", "d"];
/// What a policy may be, for messages.
const EXPECTED: &str = "null for all items, or an object with one of every (from 1), first (from 0), \
                        probability (from 0 to 1) and per_second (above 0)";

/// Which items a port gets.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Policy {
    Every(u64),
    First(u64),
    Probability(f64),
    PerSecond(f64),
}

/// Parameters as they are given, so that a wrong policy is told under its port's name.
#[derive(Debug, Clone, Deserialize, Serialize)]
struct Params {
    a: Value,
    b: Value,
    c: Value,
    d: Value,
    seed: u64,
}

impl Params {
    fn policies(&self) -> Result<[Option<Policy>; 4], NodeError> {
        let mut policies = [None; 4];
        let given = [&self.a, &self.b, &self.c, &self.d];
        for ((policy, given), port) in policies.iter_mut().zip(given).zip(PORTS) {
            *policy = serde_json::from_value(given.clone())
                .ok()
                .filter(|policy| match policy {
                    None | Some(Policy::First(_)) => true,
                    Some(Policy::Every(every)) => *every > 0,
                    Some(Policy::Probability(share)) => (0.0..=1.0).contains(share),
                    Some(Policy::PerSecond(rate)) => (1e-6..=1e9).contains(rate),
                })
                .ok_or_else(|| wrong(port, given, EXPECTED))?;
        }
        Ok(policies)
    }
}

/// One port: its policy, and how far it is.
#[derive(Clone, Copy)]
struct Port {
    policy: Option<Policy>,
    /// Items seen.
    seen: u64,
    /// State of the random numbers.
    random: u64,
    /// Since 1970, when the next item is to be given by [`Policy::PerSecond`].
    next: Duration,
}

impl Port {
    fn new(policy: Option<Policy>, seed: u64) -> Self {
        Self { policy, seen: 0, random: seed, next: Duration::ZERO }
    }

    /// Whether it gets the next item, which is of this time.
    fn admits(&mut self, timestamp: SystemTime) -> bool {
        let index = self.seen;
        self.seen = self.seen.wrapping_add(1);
        match self.policy {
            None => true,
            Some(Policy::Every(every)) => index.is_multiple_of(every),
            Some(Policy::First(first)) => {
                self.seen = self.seen.min(first);
                index < first
            }
            Some(Policy::Probability(share)) => self.fraction() < share,
            Some(Policy::PerSecond(rate)) => self.is_due(timestamp, rate),
        }
    }

    /// The next random number from 0 up to, but not, 1: SplitMix64 (Steele, Lea and Flood, 2014), of
    /// which 53 bits make a fraction.
    fn fraction(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Whether the next of `rate` items a second is due. The times at which they are go on by themselves,
    /// so that a stream at 30 a second gives 10 a second however its times are rounded; after a pause,
    /// or when times go back, they begin anew.
    fn is_due(&mut self, timestamp: SystemTime, rate: f64) -> bool {
        let period = Duration::from_secs_f64(1.0 / rate);
        let at = timestamp.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let went_back = at + period + period < self.next;
        if at < self.next && !went_back {
            return false;
        }
        let follows = at.saturating_sub(self.next) < period && !went_back;
        self.next = if follows { self.next } else { at } + period;
        true
    }
}

struct Tee {
    params: Params,
    ports: [Port; 4],
}

impl Tee {
    fn new(params: Params) -> Result<Self, NodeError> {
        let mut number = 0;
        let ports = params.policies()?.map(|policy| {
            number += 1;
            Port::new(policy, params.seed.wrapping_add(number))
        });
        Ok(Self { params, ports })
    }
}

impl Node for Tee {
    fn process(&mut self, input: RuntimeData, output: &mut Output) -> Result<(), NodeError> {
        let timestamp = input.header().timestamp;
        for (port, name) in self.ports.iter_mut().zip(PORTS) {
            if port.admits(timestamp) {
                output.push_to(name, input.clone());
            }
        }
        output.push(input);
        Ok(())
    }

    /// A port whose policy stays goes on where it was.
    fn set_params(&mut self, params: &Value) -> Result<(), NodeError> {
        let mut new = Self::new(changed(&self.params, params)?)?;
        let same_seed = new.params.seed == self.params.seed;
        for (new, old) in new.ports.iter_mut().zip(&self.ports) {
            if new.policy == old.policy && same_seed {
                *new = *old;
            }
        }
        *self = new;
        Ok(())
    }
}

pub(crate) fn register(registry: &mut NodeRegistry) -> Result<(), RegistryError> {
    let policy = |port: &str| ParameterSpec {
        nullable: true,
        ..ParameterSpec::optional(
            port,
            ParameterKind::Object,
            Value::Null,
            "which items this port gets: all, or by one of {\"every\": n}, {\"first\": n}, \
             {\"probability\": p} and {\"per_second\": r} (by the items' times)",
        )
    };
    let mut parameters: Vec<_> = PORTS.into_iter().map(policy).collect();
    parameters.push(
        ParameterSpec::optional(
            "seed",
            ParameterKind::Integer,
            0,
            "begin of the random numbers of the policy probability; the same one chooses the same \
             items",
        )
        .range(0.0, 9_007_199_254_740_991.0),
    );
    let metadata = NodeMetadata {
        name: "TeeNode".to_owned(),
        version: "1.0.0".to_owned(),
        description:
            "gives each item on, and chosen ones on the ports a, b, c and d as well, without \
                      copying payloads"
                .to_owned(),
        parameters,
        accepts: DataType::ALL.to_vec(),
        produces: DataType::ALL.to_vec(),
        output_ports: PORTS.map(str::to_owned).to_vec(),
        ..NodeMetadata::default()
    };
    let formats = |_: &Params, _: &_| any_formats();
    define_with_formats(registry, metadata, formats, |params, _| Tee::new(params))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check_no_allocation, make};
    use proptest::prelude::*;
    use serde_json::json;

    fn item(number: usize, ms: u64) -> RuntimeData {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000) + Duration::from_millis(ms);
        RuntimeData::binary(number.to_le_bytes().to_vec()).unwrap().with_timestamp(at)
    }

    /// Which of `count` items came to each port, the one without a name first. They are `period_ms` apart.
    fn given(node: &mut dyn Node, count: usize, period_ms: u64) -> [Vec<usize>; 5] {
        let mut output = Output::default();
        let items: Vec<_> = (0..count).map(|n| item(n, n as u64 * period_ms)).collect();
        let mut given = <[Vec<usize>; 5]>::default();
        for item in &items {
            node.process(item.clone(), &mut output).unwrap();
            for (port, copy) in output.drain_ports() {
                assert_eq!(&copy, item);
                assert_eq!(copy.payload().as_ptr(), item.payload().as_ptr());
                let place =
                    port.map_or(0, |name| 1 + PORTS.iter().position(|p| *p == name).unwrap());
                given[place].push(usize::from_le_bytes(copy.payload()[..].try_into().unwrap()));
            }
        }
        given
    }

    #[test]
    fn every_port_gets_what_its_policy_says() {
        let params = json!({"a": {"every": 3}, "b": {"first": 2}, "c": {"per_second": 10}});
        let mut node = make("TeeNode", params).unwrap();
        let [all, a, b, c, d] = given(node.as_mut(), 10, 50);
        assert_eq!(all, (0..10).collect::<Vec<_>>());
        assert_eq!((a, b, c), (vec![0, 3, 6, 9], vec![0, 1], vec![0, 2, 4, 6, 8]));
        assert_eq!(d, all);
    }

    #[test]
    fn a_rate_is_kept_whatever_the_rate_of_the_stream_is() {
        for (period_ms, rate, count, expected) in
            [(33, 10.0, 300, 99), (10, 29.97, 1_000, 300), (100, 50.0, 40, 40), (1, 1.0, 3_001, 4)]
        {
            let mut node = make("TeeNode", json!({"a": {"per_second": rate}})).unwrap();
            let [_, a, ..] = given(node.as_mut(), count, period_ms);
            assert_eq!(a.len(), expected, "{rate} of one each {period_ms} ms");
        }
    }

    #[test]
    fn a_pause_gives_no_burst_and_times_that_go_back_begin_anew() {
        let mut port = Port::new(Some(Policy::PerSecond(10.0)), 0);
        let mut admits = |ms| port.admits(item(0, ms).header().timestamp);
        assert!(admits(10_000));
        assert!(!admits(10_050));
        assert!(admits(60_000));
        assert!(!admits(60_001));
        assert!(!admits(59_950));
        assert!(admits(100));
        assert!(!admits(150));
        assert!(port.admits(SystemTime::UNIX_EPOCH - Duration::from_secs(1)));
    }

    #[test]
    fn a_random_share_follows_its_seed() {
        let chosen = |seed: u64| {
            let params =
                json!({"a": {"probability": 0.25}, "b": {"probability": 0.25}, "seed": seed});
            given(make("TeeNode", params).unwrap().as_mut(), 4_000, 1)
        };
        let [_, a, b, ..] = chosen(1);
        // Five standard deviations of a binomial distribution: sqrt(4000 * 0.25 * 0.75) is 27.4.
        assert!(a.len().abs_diff(1_000) < 137, "{}", a.len());
        assert_ne!(a, b);
        assert_eq!(chosen(1)[1], a);
        assert_ne!(chosen(2)[1], a);
        for (share, count) in [(0.0, 0), (1.0, 100)] {
            let mut node = make("TeeNode", json!({"a": {"probability": share}})).unwrap();
            assert_eq!(given(node.as_mut(), 100, 1)[1].len(), count);
        }
    }

    #[test]
    fn a_changed_policy_begins_anew_and_the_others_go_on() {
        let params = json!({"a": {"every": 4}, "b": {"first": 3}});
        let mut node = make("TeeNode", params).unwrap();
        given(node.as_mut(), 2, 1);
        node.set_params(&json!({"b": {"first": 1}})).unwrap();
        let [_, a, b, ..] = given(node.as_mut(), 4, 1);
        assert_eq!((a, b), (vec![2], vec![0]));
        assert!(node.set_params(&json!({"a": {"every": 0}})).is_err());
    }

    #[test]
    fn a_wrong_policy_is_told_with_its_port() {
        for policy in [
            json!({"every": 0}),
            json!({"every": 1.5}),
            json!({"first": -1}),
            json!({"probability": 1.1}),
            json!({"per_second": 0}),
            json!({"sometimes": 1}),
            json!({"every": 1, "first": 1}),
            json!({}),
        ] {
            let error = make("TeeNode", json!({"c": policy})).err().unwrap();
            assert_eq!(
                error.to_string(),
                format!("parameter \"c\" is {policy}, expected {EXPECTED}")
            );
        }
    }

    #[test]
    fn copies_allocate_nothing() {
        let policies = json!({"a": {"probability": 0.5}, "b": {"per_second": 5.0}});
        check_no_allocation("TeeNode", &policies, &item(1, 1));
    }

    proptest! {
        #[test]
        fn no_window_of_time_holds_more_than_the_rate_allows(
            gaps in proptest::collection::vec(0..400_u64, 1..100),
            rate in 0.5..30.0_f64,
        ) {
            let mut port = Port::new(Some(Policy::PerSecond(rate)), 0);
            let mut at = 0;
            let mut admitted = Vec::new();
            for gap in gaps {
                at += gap;
                if port.admits(item(0, at).header().timestamp) {
                    admitted.push(at);
                }
            }
            for (index, from) in admitted.iter().enumerate() {
                for (count, to) in admitted[index..].iter().enumerate() {
                    let most = (to - from) as f64 / 1_000.0 * rate + 2.0;
                    prop_assert!((count + 1) as f64 <= most + 1e-6);
                }
            }
        }
    }
}
