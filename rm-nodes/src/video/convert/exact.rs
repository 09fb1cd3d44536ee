//! The general way from any format to any other, in 32-bit floats.
//!
//! Main type: [`Exact`]. Row by row it spreads chroma over the pixels, maps the three components
//! linearly, and takes the mean of chroma over the pixels that share it. It rounds once. It is the way
//! for pairs for which there is no faster one that is as exact.

use super::Picture;
use crate::video::colour::{Affine, Coding, Kind, Layout, Place, Range};

/// A conversion between two formats.
pub(super) struct Exact {
    from: Layout,
    to: Layout,
    factors: [[f32; 3]; 3],
    offsets: [f32; 3],
    /// Luma is taken to be at least this.
    black: f32,
    /// The components of one row, and the sums of chroma of one row of blocks.
    rows: [Vec<f32>; 3],
    sums: [Vec<f32>; 2],
}

impl Exact {
    pub(super) fn new(from: Layout, to: Layout, codings: [Coding; 2]) -> Self {
        let map: Affine = from.map_to(to, codings);
        // As the `yuv` crate, which knows some of these pairs.
        let black = match codings[0].range {
            Range::Limited if from.kind == Kind::Yuv && to.kind == Kind::Rgb => {
                f32::from(16_u16 << (from.bits - 8))
            }
            _ => 0.0,
        };
        Self {
            black,
            from,
            to,
            factors: map.factors.map(|row| row.map(|factor| factor as f32)),
            offsets: map.offsets.map(|offset| offset as f32),
            rows: Default::default(),
            sums: Default::default(),
        }
    }

    pub(super) fn convert(&mut self, source: &Picture<&[u8]>, target: &mut Picture<&mut [u8]>) {
        let (width, height) = (source.width, source.height);
        let (across, down) = (self.to.across, self.to.down);
        self.rows.iter_mut().for_each(|row| row.resize(width, 0.0));
        for top in (0..height).step_by(down) {
            let rows = down.min(height - top);
            self.sums.iter_mut().for_each(|sums| {
                sums.clear();
                sums.resize(width.div_ceil(across), 0.0);
            });
            for y in top..top + rows {
                self.load(source, y);
                self.map();
                self.store(source, target, y);
            }
            if self.to.kind == Kind::Yuv {
                self.store_chroma(target, top / down, rows);
            }
        }
    }

    fn load(&mut self, source: &Picture<&[u8]>, y: usize) {
        let Layout { kind, places, across, down, .. } = self.from;
        for (index, (values, place)) in self.rows.iter_mut().zip(places).enumerate() {
            match (index, kind) {
                (0, _) | (_, Kind::Rgb) => {
                    load(values, source.row(place.plane, y), place, &self.from);
                }
                (_, Kind::Gray) => values.fill(0.0),
                (_, Kind::Yuv) => {
                    let row = source.row(place.plane, y / down);
                    if across == 1 {
                        load(values, row, place, &self.from);
                        continue;
                    }
                    // The samples come to lie in the upper half, and are spread from the left: a pixel
                    // is written only once its sample has been read.
                    let half = values.len() / 2;
                    load(&mut values[half..], row, place, &self.from);
                    for x in 0..values.len() {
                        values[x] = values[half + x / 2];
                    }
                }
            }
        }
    }

    fn map(&mut self) {
        let [a, b, c] = &mut self.rows;
        let (factors, offsets, black) = (self.factors, self.offsets, self.black);
        for ((a, b), c) in a.iter_mut().zip(b).zip(c) {
            let dot = |index: usize| {
                let [first, second, third] = factors[index];
                first * a.max(black) + second * *b + third * *c + offsets[index]
            };
            (*a, *b, *c) = (dot(0), dot(1), dot(2));
        }
    }

    fn store(&mut self, source: &Picture<&[u8]>, target: &mut Picture<&mut [u8]>, y: usize) {
        let Layout { kind, places, across, .. } = self.to;
        let chroma = if kind == Kind::Rgb { 3 } else { 1 };
        for (values, place) in self.rows.iter().zip(places).take(chroma) {
            store(target.row(place.plane, y), values.iter().copied(), place, &self.to);
        }
        if let Some(place) = self.to.alpha {
            let row = target.row(place.plane, y);
            match self.from.alpha {
                Some(from) => {
                    let alpha = source.row(from.plane, y)[from.offset..].iter().step_by(from.step);
                    store(row, alpha.map(|alpha| f32::from(*alpha)), place, &self.to);
                }
                None => store(row, std::iter::repeat_n(255.0, source.width), place, &self.to),
            }
        }
        if kind == Kind::Yuv {
            for (sums, values) in self.sums.iter_mut().zip(&self.rows[1..]) {
                for (sum, values) in sums.iter_mut().zip(values.chunks(across)) {
                    *sum += values.iter().sum::<f32>();
                }
            }
        }
    }

    fn store_chroma(&self, target: &mut Picture<&mut [u8]>, y: usize, rows: usize) {
        let across = self.to.across;
        for (sums, place) in self.sums.iter().zip(&self.to.places[1..]) {
            let full = 1.0 / (across * rows) as f32;
            // The last block of an odd row has one column.
            let last = 1.0 / ((target.width - (sums.len() - 1) * across) * rows) as f32;
            let mean = |(index, sum): (usize, &f32)| {
                sum * if index + 1 == sums.len() { last } else { full }
            };
            let means = sums.iter().enumerate().map(mean);
            store(target.row(place.plane, y), means, *place, &self.to);
        }
    }
}

/// Reads one component of a row.
fn load(values: &mut [f32], row: &[u8], place: Place, layout: &Layout) {
    let Place { offset, step, .. } = place;
    if layout.sample_bytes() == 1 {
        let samples = row[offset..].iter().step_by(step);
        values.iter_mut().zip(samples).for_each(|(value, sample)| *value = f32::from(*sample));
    } else {
        let samples = row[2 * offset..].chunks_exact(2).step_by(step);
        values.iter_mut().zip(samples).for_each(|(value, sample)| {
            let word = u16::from_le_bytes([sample[0], sample[1]]);
            *value = f32::from(word >> layout.shift());
        });
    }
}

/// Writes one component of a row, rounded to the nearest code value.
fn store(row: &mut [u8], values: impl Iterator<Item = f32>, place: Place, layout: &Layout) {
    let Place { offset, step, .. } = place;
    if layout.sample_bytes() == 1 {
        let samples = row[offset..].iter_mut().step_by(step);
        // The cast saturates.
        samples.zip(values).for_each(|(sample, value)| *sample = (value + 0.5) as u8);
    } else {
        let samples = row[2 * offset..].chunks_exact_mut(2).step_by(step);
        samples.zip(values).for_each(|(sample, value)| {
            let code = ((value + 0.5) as u16).min(layout.max());
            sample.copy_from_slice(&(code << layout.shift()).to_le_bytes());
        });
    }
}
