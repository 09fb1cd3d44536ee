//! Vorbis packets of more than two channels as samples.
//!
//! Main type: [`VorbisPackets`], over the crate `lewton`. The decoder of `symphonia` 0.6.1 undoes the
//! coupling of channels in the wrong order where there is more than one pair (Vorbis I, section 4.3.5),
//! so it is used for up to two channels only. Channels come in the order of WAVE files.

use lewton::audio::{PreviousWindowRight, read_audio_packet_generic};
use lewton::header::{IdentHeader, SetupHeader, read_header_ident, read_header_setup};

use super::sound::{SoundError, WAVE_ORDER};

/// Bytes of the identification header (Vorbis I, section 4.2.2), behind which the setup header follows.
const IDENT_LEN: usize = 30;

/// What decodes the packets of one stream.
pub(super) struct VorbisPackets {
    ident: IdentHeader,
    setup: SetupHeader,
    before: PreviousWindowRight,
    order: &'static [usize],
    /// Samples that belong to the next packet: `lewton` gives all that is complete, which before a
    /// shorter block is more than the packet's part (Vorbis I, section 4.3.8).
    ready: Vec<u8>,
}

impl VorbisPackets {
    /// Reads the identification and the setup header, one behind the other.
    ///
    /// # Errors
    /// [`SoundError`] if they are none.
    pub(super) fn new(headers: &[u8]) -> Result<Self, SoundError> {
        let wrong = || SoundError::content("its Vorbis headers are not valid");
        let (ident, setup) = headers.split_at_checked(IDENT_LEN).ok_or_else(wrong)?;
        let ident = read_header_ident(ident).map_err(|_| wrong())?;
        let channels = ident.audio_channels;
        let sizes = (ident.blocksize_0, ident.blocksize_1);
        let setup = read_header_setup(setup, channels, sizes).map_err(|_| wrong())?;
        let order = usize::from(channels).checked_sub(1).and_then(|place| WAVE_ORDER.get(place));
        let order = order.ok_or_else(wrong)?;
        Ok(Self { ident, setup, before: PreviousWindowRight::new(), order, ready: Vec::new() })
    }

    /// Puts the samples of one packet, which stands for so many frames, in place of what is in `block`.
    ///
    /// # Errors
    /// [`SoundError`] if it is no packet; the next one may be one.
    pub(super) fn decode(
        &mut self,
        packet: &[u8],
        frames: u64,
        block: &mut Vec<u8>,
    ) -> Result<(), SoundError> {
        block.clear();
        let planes: Vec<Vec<f32>> =
            read_audio_packet_generic(&self.ident, &self.setup, packet, &mut self.before)
                .map_err(|_| SoundError::content("it is no valid Vorbis"))?;
        let frame_len = 4 * self.order.len();
        let (begin, found) = (self.ready.len(), planes.iter().map(Vec::len).min().unwrap_or(0));
        self.ready.resize(begin + found * frame_len, 0);
        for (channel, place) in self.order.iter().enumerate() {
            let slots = self.ready[begin..].chunks_exact_mut(frame_len);
            for (slot, sample) in slots.zip(&planes[*place]) {
                slot[4 * channel..][..4].copy_from_slice(&sample.to_le_bytes());
            }
        }
        let wanted = usize::try_from(frames).unwrap_or(usize::MAX);
        let len = wanted.saturating_mul(frame_len).min(self.ready.len());
        block.extend(self.ready.drain(..len));
        Ok(())
    }
}
