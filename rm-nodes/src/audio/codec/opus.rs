//! Opus packets as samples.
//!
//! Main type: [`OpusPackets`], over the crate `opus-pure`. It takes the packets of an Ogg stream and
//! gives what they hold, delay and padding included; channels in the order of WAVE files.

use opus_pure::{ChannelLayout, MAX_PACKET_SAMPLES, OpusDecoder, OpusMSDecoder};

use super::sound::{SoundError, WAVE_ORDER};

/// The rate at which Opus is decoded, in Hz: its own.
pub(super) const RATE: u32 = 48_000;

enum Decoder {
    One(Box<OpusDecoder>),
    Several(Box<OpusMSDecoder>),
}

/// What decodes the packets of one stream.
pub(super) struct OpusPackets {
    decoder: Decoder,
    order: &'static [usize],
    samples: Vec<f32>,
    /// Frames before the sound begins.
    pub(super) delay: u64,
}

fn opus_error(error: &opus_pure::Error) -> SoundError {
    SoundError::content(format!("it is no valid Opus: {error}"))
}

impl OpusPackets {
    /// Reads the head of a stream (RFC 7845, section 5.1).
    ///
    /// # Errors
    /// [`SoundError`] if it is none, or of a kind that is not known.
    pub(super) fn new(head: &[u8]) -> Result<Self, SoundError> {
        let &[
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            channels,
            low,
            high,
            _,
            _,
            _,
            _,
            g,
            ain,
            family,
            ref table @ ..,
        ] = head
        else {
            return Err(SoundError::content("its Opus head is too short"));
        };
        let channels = usize::from(channels);
        let layout = ChannelLayout::surround(channels, family).map_err(|e| opus_error(&e))?;
        let order = WAVE_ORDER[channels - 1];
        let gain = i32::from(i16::from_le_bytes([g, ain]));
        let decoder = if family == 0 {
            let mut one = OpusDecoder::new(RATE as i32, channels).map_err(|e| opus_error(&e))?;
            one.gain_q8 = gain;
            Decoder::One(Box::new(one))
        } else {
            let usual = [layout.nb_streams as u8, layout.nb_coupled_streams as u8];
            if table.get(..2) != Some(&usual) || table.get(2..2 + channels) != Some(&layout.mapping)
            {
                return Err(SoundError::content("its Opus streams are mapped in an unusual way"));
            }
            let several = OpusMSDecoder::new(RATE as i32, channels, family);
            let mut several = several.map_err(|e| opus_error(&e))?;
            several.streams_mut().iter_mut().for_each(|stream| stream.gain_q8 = gain);
            Decoder::Several(Box::new(several))
        };
        let samples = vec![0.0; MAX_PACKET_SAMPLES * channels];
        Ok(Self { decoder, order, samples, delay: u64::from(u16::from_le_bytes([low, high])) })
    }

    /// Puts the samples of one packet in place of what is in `block`.
    ///
    /// # Errors
    /// [`SoundError`] if it is no packet; the next one may be one.
    pub(super) fn decode(&mut self, packet: &[u8], block: &mut Vec<u8>) -> Result<(), SoundError> {
        block.clear();
        let channels = self.order.len();
        let frames = match &mut self.decoder {
            Decoder::One(one) => one.decode(packet, MAX_PACKET_SAMPLES, &mut self.samples),
            Decoder::Several(all) => all.decode(packet, MAX_PACKET_SAMPLES, &mut self.samples),
        };
        let frames = frames.map_err(|error| opus_error(&error))?;
        for frame in self.samples.chunks_exact(channels).take(frames) {
            block.extend(self.order.iter().flat_map(|place| frame[*place].to_le_bytes()));
        }
        Ok(())
    }

    /// Forgets the packets before, because the next one does not follow them.
    pub(super) fn reset(&mut self) {
        // The only failure is an argument that cannot be wrong: it is the decoder's own.
        let _ = match &mut self.decoder {
            Decoder::One(one) => one.reset_state(),
            Decoder::Several(all) => all.reset_state(),
        };
    }
}
