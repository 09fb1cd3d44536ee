//! What sessions are compared with: bare sockets, memcpy; and what keeps the cores busy.
//!
//! Main functions: [`one_way`], [`memcpy`] and [`streamed`]; main type: [`Spinners`].

use std::hint::black_box;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use benches::Times;
use benches::child::{Child, inherited_socket};
use rm_ipc::monotonic_ns;

/// Roles of children: to say that it is there, to do nothing but spin, to take what comes over a socket and tell how late it was,
/// and to send it back.
pub const SPEAK: &str = "speak";
pub const SPIN: &str = "spin";
pub const TAKE: &str = "take";
pub const ECHO: &str = "echo";

/// One process for each core that does nothing but spin. They end when this is dropped.
pub struct Spinners(#[expect(dead_code, reason = "it keeps them alive")] Vec<Child>);

impl Spinners {
    pub fn start() -> Result<Self> {
        let cores = std::thread::available_parallelism()?.get();
        Ok(Self((0..cores).map(|_| Child::start(SPIN, &[])).collect::<Result<_>>()?))
    }
}

pub fn spin() -> Result<()> {
    loop {
        std::hint::spin_loop();
    }
}

/// How late `items` messages of `len` bytes, 8 at least, come over a bare socket to a process that waits
/// for them: median and 99th percentile in microseconds.
pub fn one_way(len: usize, items: u32, every: Duration) -> Result<[f64; 2]> {
    let (mut socket, mut child) = Child::start_on_socket(TAKE, &[&len.to_string()])?;
    let mut message = vec![1_u8; len];
    for _ in 0..items {
        std::thread::sleep(every);
        message[..8].copy_from_slice(&monotonic_ns().to_ne_bytes());
        socket.write_all(&message)?;
    }
    drop(socket);
    let figures = child.hear_figures()?;
    figures.try_into().ok().context("two figures")
}

pub fn take(len: usize) -> Result<()> {
    let mut socket = inherited_socket()?;
    let (mut message, mut times) = (vec![0; len], Times::new()?);
    while socket.read_exact(&mut message).is_ok() {
        let (sent, _) = message.split_first_chunk().context("a message starts with its time")?;
        let late = monotonic_ns().saturating_sub(u64::from_ne_bytes(*sent));
        times.add(Duration::from_nanos(late))?;
    }
    println!("{} {}", times.median_us(), times.p99_us());
    Ok(())
}

/// How long it takes to copy `items` items of `len` bytes within one process, each after a pause and into
/// other memory than the last one: the least that an item costs which is written once.
pub fn memcpy(len: usize, items: u32, every: Duration) -> Result<Times> {
    let mut targets = vec![vec![0_u8; len]; 4];
    let mut times = Times::new()?;
    for number in 0..items as usize {
        std::thread::sleep(every);
        let from = vec![1_u8; len];
        let target = &mut targets[number % 4];
        let began = Instant::now();
        black_box(target).copy_from_slice(black_box(&from));
        times.add(began.elapsed())?;
    }
    Ok(times)
}

/// How many messages of `len` bytes go each second through a process that sends them back, over a bare
/// socket with as many under way as it holds.
pub fn streamed(len: usize, limit: Duration) -> Result<f64> {
    let (socket, _child) = Child::start_on_socket(ECHO, &[])?;
    let mut writer = socket.try_clone()?;
    let began = Instant::now();
    let sender = std::thread::spawn(move || -> Result<u64> {
        let (message, mut sent) = (vec![1_u8; len], 0);
        while began.elapsed() < limit {
            writer.write_all(&message)?;
            sent += 1;
        }
        writer.shutdown(std::net::Shutdown::Write)?;
        Ok(sent)
    });
    let (mut reader, mut message, mut came) = (socket, vec![0; len], 0);
    while reader.read_exact(&mut message).is_ok() {
        came += 1;
    }
    let took = began.elapsed();
    let sent = sender.join().ok().context("the sender has panicked")??;
    ensure!(sent == came, "{came} of {sent} messages came back");
    Ok(came as f64 / took.as_secs_f64())
}

pub fn echo() -> Result<()> {
    let (mut socket, mut buffer) = (inherited_socket()?, vec![0; 64 << 10]);
    loop {
        match socket.read(&mut buffer)? {
            0 => return Ok(()),
            len => socket.write_all(&buffer[..len])?,
        }
    }
}
