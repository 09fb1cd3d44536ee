//! What one process does until it is killed: it receives, checks, keeps and sends, as fast as it can.
//!
//! Main types: [`Player`], and [`Check`], which knows what may come next. Every payload says who
//! sent it and as which message; the rest of it follows from that, so that a message that was torn,
//! mixed up or written over while it was held is seen.

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rm_core::{DataHeader, DataMetadata, RuntimeData};
use rm_ipc::{
    Doorbell, LoanError, Publisher, ReceiveError, SendError, SharedMemoryChannel, Subscriber,
};

/// Smallest and largest payload.
const LEN: std::ops::RangeInclusive<usize> = 64..=256 << 10;
/// Offsets in the table of noise at which payloads begin.
const OFFSETS: usize = 64 << 10;
/// Messages after which a player has got going: more than a channel queues.
const GOING: u64 = 40;

/// Pseudo-random numbers (SplitMix64).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// Lets time pass without sleeping, which would end at the same point of the others' work each time.
pub fn spin(time: Duration) {
    let started = Instant::now();
    while started.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// What message `number` of sender `serial` holds after its head.
fn noise(serial: u64, number: u64, len: usize) -> &'static [u8] {
    static TABLE: OnceLock<Vec<u8>> = OnceLock::new();
    let table = TABLE.get_or_init(|| {
        let mut random = Random::new(1);
        (0..(OFFSETS + LEN.end()) / 8).flat_map(|_| random.next().to_le_bytes()).collect()
    });
    let offset = Random::new(serial << 32 ^ number).below(OFFSETS as u64) as usize;
    &table[offset..offset + len]
}

/// Bytes that say who sent a message, as which of his, and how long it is.
const HEAD: usize = 24;

fn fill(payload: &mut [u8], serial: u64, number: u64) {
    let len = payload.len();
    let (head, rest) = payload.split_at_mut(HEAD);
    for (place, value) in head.chunks_exact_mut(8).zip([serial, number, len as u64]) {
        place.copy_from_slice(&value.to_le_bytes());
    }
    rest.copy_from_slice(noise(serial, number, len - HEAD));
}

/// Checks a message against what it says it is: who sent it, and as which of his.
fn look(data: &RuntimeData) -> (u64, u64) {
    let (head, rest) = data.payload().split_at(HEAD);
    let mut head = head
        .chunks_exact(8)
        .map(|bytes| u64::from_le_bytes(bytes.try_into().expect("chunks of eight")));
    let [serial, number, len] = [(); 3].map(|()| head.next().expect("a head of three"));
    let at = data.header().sequence;
    assert_eq!(data.payload().len() as u64, len, "message {at}, {number} of {serial}");
    let is_whole = rest == noise(serial, number, rest.len());
    assert!(is_whole, "message {at} is not what {serial} sent as its {number}");
    (serial, number)
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    position: u64,
    serial: u64,
    number: u64,
}

/// Checks what comes, and again what was kept.
#[derive(Default)]
pub struct Check {
    last: Option<Seen>,
    kept: VecDeque<RuntimeData>,
}

impl Check {
    /// Checks a message; whether it is the first of its sender.
    pub fn add(&mut self, data: RuntimeData, keep: usize) -> bool {
        let (serial, number) = look(&data);
        let now = Seen { position: data.header().sequence, serial, number };
        let is_new = self.last.is_none_or(|last| last.serial != serial);
        if let Some(last) = self.last {
            // Only a message that was under way when its sender died may be missing.
            let lost = now.position.checked_sub(last.position + 1);
            let fits = if is_new {
                serial > last.serial
                    && number == 0
                    && lost.is_some_and(|lost| lost <= serial - last.serial)
            } else {
                number == last.number + 1 && lost == Some(0)
            };
            assert!(fits, "{now:?} after {last:?}");
        }
        self.last = Some(now);
        self.kept.push_back(data);
        while self.kept.len() > keep {
            let given_back = self.kept.pop_front().expect("one more than are kept");
            look(&given_back);
        }
        is_new
    }
}

/// Where a player is in its work, for whoever kills it. The letters are what it writes.
#[derive(Clone, Copy)]
pub enum Phase {
    Start = b's' as isize,
    Join = b'j' as isize,
    Receive = b'r' as isize,
    Release = b'g' as isize,
    Loan = b'l' as isize,
    Write = b'w' as isize,
    Send = b'e' as isize,
}

impl Phase {
    pub fn name(letter: u8) -> &'static str {
        match letter {
            b's' => "start",
            b'j' => "join",
            b'r' => "receive",
            b'g' => "release",
            b'l' => "loan",
            b'w' => "write",
            b'e' => "send",
            _ => "unknown",
        }
    }
}

/// What a player tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    Joined,
    /// It has received or sent more messages than the channel queues.
    Going,
    /// It has received the first message of that sender; and how many descriptors and mappings
    /// its process has.
    Met(u64, u64, u64),
    /// The channel was closed.
    Closed,
}

/// One who takes part.
pub struct Player {
    pub serial: u64,
    pub random: Random,
    /// Where its phase is written, if that is wanted: it takes time off the work that is to be hit.
    pub phase: Option<File>,
    pub tell: Box<dyn FnMut(News) + Send>,
}

impl Player {
    pub fn enter(&self, phase: Phase) {
        if let Some(file) = &self.phase {
            file.write_all_at(&[phase as u8], 0).expect("a file of one byte");
        }
    }

    /// Takes part until a channel is closed: receives from `from`, and for each message, or without
    /// that all the time, sends to `to`.
    pub fn play(
        mut self,
        bell: &Arc<Doorbell>,
        from: Option<&SharedMemoryChannel>,
        to: Option<&SharedMemoryChannel>,
    ) {
        self.enter(Phase::Join);
        let mut from = from.map(|from| from.subscriber(bell).expect("a place to subscribe"));
        let to = to.map(|to| to.publisher(bell).expect("a place to publish"));
        (self.tell)(News::Joined);
        let mut check = Check::default();
        for number in 0.. {
            let goes_on = from.as_mut().is_none_or(|from| self.receive(from, &mut check))
                && to.as_ref().is_none_or(|to| self.send(to, number));
            if !goes_on {
                break;
            }
            if number == GOING {
                (self.tell)(News::Going);
            }
        }
        (self.tell)(News::Closed);
    }

    fn receive(&mut self, from: &mut Subscriber, check: &mut Check) -> bool {
        self.enter(Phase::Receive);
        let data = match from.recv() {
            Ok(data) => data,
            Err(ReceiveError::ChannelClosed) => return false,
            Err(error) => panic!("player {}: {error:?}", self.serial),
        };
        self.enter(Phase::Release);
        let serial = look(&data).0;
        let keep = self.random.below(7) as usize;
        if check.add(data, keep) {
            let entries = std::fs::read_dir("/proc/self/fd").expect("/proc").count() as u64;
            let maps = std::fs::read_to_string("/proc/self/maps").expect("/proc").lines().count();
            (self.tell)(News::Met(serial, entries, maps as u64));
        }
        // Now and then it is slow, so that there is something queued.
        if self.random.below(64) == 0 {
            spin(Duration::from_nanos(self.random.below(200_000)));
        }
        true
    }

    fn len(&mut self, number: u64) -> usize {
        // Some grow, so that their subscribers have to follow into new memory.
        let most =
            if self.serial.is_multiple_of(2) { 1 << 18 } else { 256 << (number / 16).min(10) };
        let bits = if self.random.below(8) == 0 { 18 } else { 12 };
        let bits = self.random.below(bits + 1);
        let len = self.random.below(1 << bits) as usize;
        len.min(most).clamp(*LEN.start(), *LEN.end())
    }

    fn send(&mut self, to: &Publisher, number: u64) -> bool {
        self.enter(Phase::Loan);
        let len = self.len(number);
        let mut loan = match to.loan_uninit(len) {
            Ok(loan) => loan,
            Err(LoanError::Closed) => return false,
            Err(error) => panic!("player {}, loan of {len}: {error:?}", self.serial),
        };
        self.enter(Phase::Write);
        fill(loan.bytes_mut(), self.serial, number);
        let header = DataHeader::new(DataMetadata::Binary, 0);
        let sample = loan.written(&header).expect("any binary can be carried");
        self.enter(Phase::Send);
        match sample.send() {
            Ok(()) => true,
            Err(SendError::Closed) => false,
            Err(error) => panic!("player {}, message {number}: {error:?}", self.serial),
        }
    }
}
