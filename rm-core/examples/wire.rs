//! The wire form in two programs: one writes a few messages to its output, the other reads them
//! from its input and explains them.
//!
//! ```text
//! cargo run -p rm-core --example wire -- write | cargo run -p rm-core --example wire -- read
//! ```
//!
//! Each message is a header of 256 bytes and the payload that it announces. Through a pipe it has to
//! be copied; the crate rm-ipc carries the same messages through shared memory.

use std::error::Error;
use std::io::{self, IsTerminal, Read, Write};

use rm_core::{MessageKind, RuntimeData, SessionClock, SessionId, VideoFormat, WireHeader};
use zerocopy::{FromZeros, IntoBytes};

/// Longest payload that the reader is ready for, in bytes; a header may claim anything.
const MAX_PAYLOAD: u32 = 16 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    match std::env::args().nth(1).as_deref() {
        Some("write") if !io::stdout().is_terminal() => write(io::stdout().lock()),
        Some("read") => read(io::stdin().lock()),
        _ => Err("usage: wire write | wire read".into()),
    }
}

fn write(mut output: impl Write) -> Result<(), Box<dyn Error>> {
    let clock = SessionClock::start();
    let session = SessionId::new("wire-example")?;
    let tone: Vec<i16> =
        (0..480).map(|i| (f32::sin(i as f32 * 0.0576) * 16_384.0) as i16).collect();
    let messages = [
        RuntimeData::audio_i16(tone, 48_000, 1)?,
        RuntimeData::video(vec![128; 96], 8, 8, VideoFormat::Nv12, 25.0)?,
        RuntimeData::text_in("grüß dich", "de")?,
        RuntimeData::tensor_of(vec![0.5_f32, 1.5, 2.5, 3.5, 4.5, 5.5], vec![2, 3])?,
        RuntimeData::end_of_stream(),
    ];
    for (sequence, message) in (0..).zip(messages) {
        let message = message.with_session(session.clone()).with_timestamp(clock.now());
        let mut wire = WireHeader::encode(message.header())?;
        wire.stamp(sequence, 0);
        output.write_all(wire.as_bytes())?;
        output.write_all(message.payload())?;
    }
    Ok(output.flush()?)
}

fn read(mut input: impl Read) -> Result<(), Box<dyn Error>> {
    loop {
        let mut wire = WireHeader::new_zeroed();
        input.read_exact(wire.as_mut_bytes())?;
        let header = wire.decode()?;
        if header.payload_size > MAX_PAYLOAD {
            let size = header.payload_size;
            return Err(format!("payload of {size} bytes is above {MAX_PAYLOAD}").into());
        }
        let mut payload = vec![0; header.payload_size as usize];
        input.read_exact(&mut payload)?;
        let message = RuntimeData::from_parts(header, payload.into())?;
        explain(&wire, &message);
        if message.kind() == MessageKind::EndOfStream {
            return Ok(());
        }
    }
}

fn explain(wire: &WireHeader, message: &RuntimeData) {
    let header = message.header();
    let session = header.session_id.as_ref().map_or("none", SessionId::as_str);
    println!(
        "message {} of session {session}: {}, {} in {} bytes",
        header.sequence,
        message.kind(),
        message.data_type(),
        header.payload_size,
    );
    if let Some(audio) = message.as_audio() {
        let (duration, rate) = (audio.duration(), audio.sample_rate);
        println!("  {duration:?} of {} audio at {rate} Hz, {}", audio.format, audio.layout);
    } else if let Some(video) = message.as_video() {
        println!("  {} x {} pixels in {}", video.width, video.height, video.format);
        for plane in 0.. {
            let Some(bytes) = video.plane(plane) else { break };
            println!("  plane {plane}: {} rows, {} bytes", video.rows(plane).count(), bytes.len());
        }
    } else if let Some(tensor) = message.as_tensor() {
        println!("  shape {:?} of {}: {:?}", tensor.shape, tensor.dtype, tensor.as_slice::<f32>());
    } else if let Some(text) = message.as_text() {
        println!("  {text:?}");
    }
    for (line, bytes) in wire.as_bytes().chunks(16).enumerate() {
        let hex = bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
        println!("  {:3}  {hex}", line * 16);
    }
}
