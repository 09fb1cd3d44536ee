//! Still pictures in files: PNG, JPEG, BMP, PNM and WebP in, PNG and JPEG out.
//!
//! Main types: [`Picture`], and [`Encoder`] over the `image` crate. What a file claims is held to limits
//! before memory is taken for it. A JPEG's turn (by Exif) is applied. Colour profiles are not.

use std::fs::File;
use std::io::{BufReader, Cursor};
use std::path::Path;

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::metadata::Orientation;
use image::{DynamicImage, ExtendedColorType, ImageDecoder, ImageEncoder, ImageReader, Limits};
use rm_core::{NodeError, VideoFormat, VideoView};
use serde::{Deserialize, Serialize};

use super::colour::{Coding, Matrix, Range};
use super::convert::{Converter, Pair};
use super::frames::{MAX_SIDE, frame_bytes, unknown_format};
use crate::files::file_error;

/// Most memory that decoding one file may take, the picture included: 11,000 by 11,000 pixels of RGB.
const MAX_DECODED_BYTES: u64 = 512 << 20;

/// A picture that was decoded.
pub(crate) struct Picture {
    pub(crate) format: VideoFormat,
    pub(crate) size: [u32; 2],
    pub(crate) bytes: Vec<u8>,
}

fn open(path: &Path) -> Result<impl ImageDecoder, NodeError> {
    let file = File::open(path).map_err(|error| file_error("open", path, error))?;
    let mut reader = ImageReader::new(BufReader::new(file))
        .with_guessed_format()
        .map_err(|error| file_error("read", path, error))?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_DECODED_BYTES);
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(|error| file_error("decode", path, error))?;
    let bytes = decoder.total_bytes();
    if bytes > MAX_DECODED_BYTES {
        let (width, height) = decoder.dimensions();
        let problem = format!(
            "its {width} x {height} pixels take {bytes} bytes, expected at most {MAX_DECODED_BYTES}"
        );
        return Err(file_error("decode", path, problem));
    }
    Ok(decoder)
}

/// The size of the picture in a file, without decoding it.
pub(crate) fn size_of(path: &Path) -> Result<[u32; 2], NodeError> {
    let mut decoder = open(path)?;
    let (width, height) = decoder.dimensions();
    let turned = [
        Orientation::Rotate90,
        Orientation::Rotate270,
        Orientation::Rotate90FlipH,
        Orientation::Rotate270FlipH,
    ];
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    Ok(if turned.contains(&orientation) { [height, width] } else { [width, height] })
}

/// Decodes a file. Colours of more than 8 bits become 8 bits, gray keeps its 16.
pub(crate) fn decode(path: &Path) -> Result<Picture, NodeError> {
    let undecodable = |error| file_error("decode", path, error);
    let mut decoder = open(path)?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut image = DynamicImage::from_decoder(decoder).map_err(undecodable)?;
    image.apply_orientation(orientation);
    let size = [image.width(), image.height()];
    let (format, bytes) = match image {
        DynamicImage::ImageLuma8(gray) => (VideoFormat::Gray8, gray.into_raw()),
        DynamicImage::ImageLuma16(gray) => {
            let words = gray.into_raw();
            (VideoFormat::Gray16, words.iter().flat_map(|word| word.to_le_bytes()).collect())
        }
        image if image.color().has_alpha() => (VideoFormat::Rgba32, image.into_rgba8().into_raw()),
        image => (VideoFormat::Rgb24, image.into_rgb8().into_raw()),
    };
    Ok(Picture { format, size, bytes })
}

/// In which form a picture is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Form {
    Png,
    Jpeg,
}

impl Form {
    /// By the end of a file's name.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "png" => Some(Self::Png),
            "jpg" | "jpeg" => Some(Self::Jpeg),
            _ => None,
        }
    }

    /// The format of pixels that holds what a format holds, as far as the form can.
    fn pixels(self, format: VideoFormat) -> (VideoFormat, ExtendedColorType) {
        use VideoFormat as V;
        match (self, format) {
            (_, V::Gray8) | (Self::Jpeg, V::Gray16) => (V::Gray8, ExtendedColorType::L8),
            (Self::Png, V::Gray16) => (V::Gray16, ExtendedColorType::L16),
            (Self::Png, V::Rgba32 | V::Bgra32 | V::Argb32) => (V::Rgba32, ExtendedColorType::Rgba8),
            _ => (V::Rgb24, ExtendedColorType::Rgb8),
        }
    }
}

/// Puts frames into the form of a file.
pub(crate) struct Encoder {
    form: Form,
    /// From 1 to 100, of JPEG.
    quality: u8,
    coding: (Matrix, Range),
    converter: Option<Converter>,
    pixels: Vec<u8>,
}

impl Encoder {
    pub(crate) fn new(form: Form, quality: u8, coding: (Matrix, Range)) -> Self {
        Self { form, quality, coding, converter: None, pixels: Vec::new() }
    }

    pub(crate) fn encode(&mut self, view: &VideoView<'_>) -> Result<Vec<u8>, NodeError> {
        let size = [view.width, view.height];
        let (to, colour) = self.form.pixels(view.format);
        let (matrix, range) = self.coding;
        let coding = Coding::of(matrix, range, view.height);
        let pair = Pair { from: view.format, to, codings: [coding; 2] };
        let pixels = if pair.is_same() {
            view.bytes
        } else {
            self.pixels.resize(frame_bytes(to, size)?, 0);
            let converter = Converter::of(&mut self.converter, pair)
                .ok_or_else(|| unknown_format(view.format))?;
            converter.convert(size, view.bytes, &mut self.pixels);
            &self.pixels
        };
        let mut file = Cursor::new(Vec::new());
        let encoded = match self.form {
            Form::Png if to == VideoFormat::Gray16 => {
                // The encoder takes words of the machine's own order.
                let words = pixels.chunks_exact(2);
                let native: Vec<u8> = words
                    .flat_map(|word| u16::from_le_bytes([word[0], word[1]]).to_ne_bytes())
                    .collect();
                PngEncoder::new(&mut file).write_image(&native, size[0], size[1], colour)
            }
            Form::Png => PngEncoder::new(&mut file).write_image(pixels, size[0], size[1], colour),
            Form::Jpeg => JpegEncoder::new_with_quality(&mut file, self.quality)
                .write_image(pixels, size[0], size[1], colour),
        };
        encoded.map_err(|error| NodeError::Failed {
            message: format!("cannot encode a picture of {} x {} pixels", size[0], size[1]),
            source: Some(Box::new(error)),
        })?;
        Ok(file.into_inner())
    }
}
