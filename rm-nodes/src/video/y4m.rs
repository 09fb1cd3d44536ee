//! Y4M (YUV4MPEG2): uncompressed video in a file with a header of one line.
//!
//! Main types: [`Y4mReader`] and [`Header`], after the `yuv4mpeg(5)` manual page of mjpegtools. It knows
//! 8-bit 4:2:0, 4:2:2, 4:4:4 and luma alone. How chroma is sited, whether fields are interlaced, and
//! the aspect ratio of pixels are read and left out of account. It does not write.

use std::io::{self, BufRead, Read};

use rm_core::VideoFormat;

use super::frames::MAX_SIDE;
use super::rate::Rate;

const MAGIC: &[u8] = b"YUV4MPEG2";
const FRAME: &[u8] = b"FRAME";
/// Longest line, of the file or of a frame. Real ones have less than 100 bytes.
const MAX_LINE: u64 = 4_096;

/// What the header says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Header {
    pub(crate) size: [u32; 2],
    pub(crate) format: VideoFormat,
    /// `None` where it is unknown.
    pub(crate) rate: Option<Rate>,
}

impl Header {
    /// Reads a header's line, without its end.
    fn parse(line: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(line).map_err(|_| "its header is not text".to_owned())?;
        let mut fields = text.split(' ');
        if fields.next().map(str::as_bytes) != Some(MAGIC) {
            return Err("it does not begin with YUV4MPEG2, so it is no Y4M file".to_owned());
        }
        let (mut width, mut height, mut rate) = (None, None, None);
        let mut format = VideoFormat::Yuv420p;
        for field in fields.filter(|field| !field.is_empty()) {
            let wrong = || format!("its header has a wrong field {field:?}");
            let name = field.chars().next().map_or(0, char::len_utf8);
            let (name, value) = field.split_at(name);
            let side = || {
                let side = value.parse().ok().filter(|side| (1..=MAX_SIDE).contains(side));
                let expected = || format!("{}, expected from 1 to {MAX_SIDE}", wrong());
                side.map(Some).ok_or_else(expected)
            };
            match name {
                "W" => width = side()?,
                "H" => height = side()?,
                "F" => {
                    let (frames, seconds) = fraction(value).ok_or_else(wrong)?;
                    // 0:0 is a rate that is not known.
                    rate = match (frames, seconds) {
                        (0, 0) => None,
                        _ => Some(Rate::new(frames, seconds).ok_or_else(wrong)?),
                    };
                }
                "A" => {
                    fraction(value).ok_or_else(wrong)?;
                }
                "I" if matches!(value, "p" | "t" | "b" | "m" | "?") => {}
                "C" => {
                    format = match value {
                        "420" | "420jpeg" | "420mpeg2" | "420paldv" => VideoFormat::Yuv420p,
                        "422" => VideoFormat::Yuv422p,
                        "444" => VideoFormat::Yuv444p,
                        "mono" => VideoFormat::Gray8,
                        _ => {
                            let known = "420, 420jpeg, 420mpeg2, 420paldv, 422, 444, mono";
                            return Err(format!("{}, expected C with one of {known}", wrong()));
                        }
                    };
                }
                "X" => {}
                _ => return Err(wrong()),
            }
        }
        match (width, height) {
            (Some(width), Some(height)) => Ok(Self { size: [width, height], format, rate }),
            _ => Err("its header has no width (W) or no height (H)".to_owned()),
        }
    }

    /// The header's line with its end; `None` for a format that such files do not hold.
    pub(crate) fn line(&self) -> Option<String> {
        let Self { size: [width, height], format, rate } = *self;
        let chroma = match format {
            VideoFormat::Yuv420p => "420jpeg",
            VideoFormat::Yuv422p => "422",
            VideoFormat::Yuv444p => "444",
            VideoFormat::Gray8 => "mono",
            _ => return None,
        };
        let (frames, seconds) = rate.map_or((0, 0), |rate| (rate.numerator(), rate.denominator()));
        Some(format!("YUV4MPEG2 W{width} H{height} F{frames}:{seconds} Ip A1:1 C{chroma}\n"))
    }
}

fn fraction(text: &str) -> Option<(u32, u32)> {
    let (numerator, denominator) = text.split_once(':')?;
    Some((numerator.parse().ok()?, denominator.parse().ok()?))
}

/// A failure that is the file's.
fn malformed(problem: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem)
}

/// Reads the frames of a file one after another.
pub(crate) struct Y4mReader<R> {
    reader: R,
    header: Header,
    line: Vec<u8>,
    frames: u64,
}

impl<R: BufRead> Y4mReader<R> {
    /// Reads the header. What is wrong with a file is [`io::ErrorKind::InvalidData`] here and below.
    pub(crate) fn new(reader: R) -> io::Result<Self> {
        let header = Header { size: [1, 1], format: VideoFormat::Gray8, rate: None };
        let mut this = Self { reader, header, line: Vec::new(), frames: 0 };
        if !this.read_line()? {
            return Err(malformed("it is empty".to_owned()));
        }
        this.header = Header::parse(&this.line).map_err(malformed)?;
        Ok(this)
    }

    pub(crate) fn header(&self) -> Header {
        self.header
    }

    /// Whether another frame follows, of which then the pixels are next.
    pub(crate) fn next_frame(&mut self) -> io::Result<bool> {
        if !self.read_line()? {
            return Ok(false);
        }
        let parameters = self.line.strip_prefix(FRAME);
        if !parameters.is_some_and(|rest| rest.is_empty() || rest[0] == b' ') {
            let found = String::from_utf8_lossy(&self.line[..self.line.len().min(20)]).into_owned();
            return Err(malformed(format!(
                "frame {} begins with {found:?}, expected FRAME",
                self.frames
            )));
        }
        Ok(true)
    }

    /// Reads the pixels of the frame.
    pub(crate) fn read_pixels(&mut self, pixels: &mut [u8]) -> io::Result<()> {
        self.reader.read_exact(pixels).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                malformed(format!("it ends within frame {}", self.frames))
            }
            _ => error,
        })?;
        self.frames += 1;
        Ok(())
    }

    /// Reads up to the end of a line; false at the end of the file.
    fn read_line(&mut self) -> io::Result<bool> {
        self.line.clear();
        self.reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut self.line)?;
        match self.line.pop() {
            None => Ok(false),
            Some(b'\n') => Ok(true),
            Some(_) => Err(malformed(format!(
                "a line that is expected at frame {} has no end within {MAX_LINE} bytes",
                self.frames
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn headers_are_read_with_all_their_fields() {
        let check = |line: &str, size: [u32; 2], format: VideoFormat, rate: Option<(u32, u32)>| {
            let rate = rate.map(|(n, d)| Rate::new(n, d).unwrap());
            assert_eq!(Header::parse(line.as_bytes()), Ok(Header { size, format, rate }), "{line}");
        };
        let line = "YUV4MPEG2 W720 H480 F30000:1001 It A10:11 C420mpeg2 XYSCSS=420MPEG2 XCOLORRANGE=LIMITED";
        check(line, [720, 480], VideoFormat::Yuv420p, Some((30_000, 1_001)));
        check("YUV4MPEG2 H2 W1", [1, 2], VideoFormat::Yuv420p, None);
        check("YUV4MPEG2 W1 H2 F0:0 C422", [1, 2], VideoFormat::Yuv422p, None);
        check("YUV4MPEG2  W1 H2 I? C444 ", [1, 2], VideoFormat::Yuv444p, None);
        check("YUV4MPEG2 W1 H2 Cmono", [1, 2], VideoFormat::Gray8, None);
    }

    #[test]
    fn wrong_headers_are_refused() {
        let check = |line: &str, expected: &str| {
            let error = Header::parse(line.as_bytes()).unwrap_err();
            assert!(error.contains(expected), "{line}: {error}");
        };
        check("RIFF", "no Y4M file");
        check("YUV4MPEG2", "no width (W)");
        check("YUV4MPEG2 W10", "no height (H)");
        check("YUV4MPEG2 W0 H1", "\"W0\", expected from 1 to 16384");
        check("YUV4MPEG2 W99999999 H1", "\"W99999999\"");
        check("YUV4MPEG2 W1 H1 F1:0", "\"F1:0\"");
        check("YUV4MPEG2 W1 H1 C420p10", "expected C with one of 420,");
        check("YUV4MPEG2 W1 H1 Q1", "\"Q1\"");
        check("YUV4MPEG2 W1 H1 Iz", "\"Iz\"");
        check("YUV4MPEG2 W1 H1 é", "\"é\"");
    }

    #[test]
    fn a_header_that_is_written_reads_back() {
        for format in VideoFormat::ALL {
            let header = Header { size: [5, 3], format: *format, rate: Rate::new(24_000, 1_001) };
            if let Some(line) = header.line() {
                assert_eq!(Header::parse(line.trim_end().as_bytes()), Ok(header));
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), lead in 0..3) {
            let lead: &[u8] = [&b""[..], b"YUV4MPEG2 W2 H2\n", b"YUV4MPEG2 W2 H2\nFRAME\n"][lead as usize];
            let file = [lead, &bytes].concat();
            if let Ok(mut reader) = Y4mReader::new(&file[..]) {
                let header = reader.header();
                let bytes = header.format.frame_bytes(header.size[0], header.size[1]).unwrap();
                let mut pixels = vec![0; bytes.min(1 << 20)];
                while matches!(reader.next_frame(), Ok(true)) && reader.read_pixels(&mut pixels).is_ok() {}
            }
        }
    }
}
