//! From luma and chroma, or gray, to the same in another layout, depth or range.
//!
//! Main type: [`Tables`]. Luma stays luma and chroma stays chroma, so nothing goes through RGB: samples
//! are moved, looked up in a table where depth or range differ, and chroma is repeated or averaged where
//! its resolution differs. It does not change the matrix.

use super::Picture;
use crate::video::colour::{Coding, Kind, Layout, Place};

/// Chroma is looked up by the sum of so many samples.
const PARTS: u16 = 4;

/// A conversion between two formats.
pub(super) struct Tables {
    from: Layout,
    to: Layout,
    /// Code values of the target by those of the source; `None` where they are the same.
    luma: Option<Box<[u16]>>,
    /// The same of chroma, by sums of [`PARTS`] samples.
    chroma: Box<[u16]>,
    /// Whether a sample of chroma stays what it is.
    same_chroma: bool,
    sums: Vec<u16>,
    row: Vec<u16>,
}

impl Tables {
    pub(super) fn new(from: Layout, to: Layout, codings: [Coding; 2]) -> Self {
        let table = |entries: u32, parts: u16, chroma: bool| -> Box<[u16]> {
            let entry = |code: u32| {
                let code = f64::from(code) / f64::from(parts);
                // The cast saturates.
                (from.level_in(to, codings, chroma, code).round() as u16).min(to.max())
            };
            (0..entries).map(entry).collect()
        };
        let codes = u32::from(from.max()) + 1;
        let is_same =
            |table: &[u16]| (0_u32..).zip(table).all(|(code, value)| code == u32::from(*value));
        let luma = table(codes, 1, false);
        let luma = (from.bits != to.bits || !is_same(&luma)).then_some(luma);
        let same_chroma = from.bits == to.bits && is_same(&table(codes, 1, true));
        let sums = if from.kind == Kind::Yuv { codes * u32::from(PARTS) } else { 0 };
        let chroma = table(sums, PARTS, true);
        Self { from, to, luma, chroma, same_chroma, sums: Vec::new(), row: Vec::new() }
    }

    pub(super) fn convert(&mut self, source: &Picture<&[u8]>, target: &mut Picture<&mut [u8]>) {
        for y in 0..source.height {
            self.luma_row(source, target, y);
        }
        if self.to.kind == Kind::Yuv {
            let rows = source.height.div_ceil(self.to.down);
            for y in 0..rows {
                for component in 1..3 {
                    self.chroma_row(source, target, y, component);
                }
            }
        }
    }

    fn luma_row(&mut self, source: &Picture<&[u8]>, target: &mut Picture<&mut [u8]>, y: usize) {
        let (from, to) = (self.from.places[0], self.to.places[0]);
        let (input, output) = (source.row(from.plane, y), target.row(to.plane, y));
        match &self.luma {
            None if self.from.bits == 8 => copy(input, from, output, to, source.width),
            None => output.copy_from_slice(input),
            Some(table) => {
                self.row.resize(source.width, 0);
                load(&mut self.row, input, from, &self.from);
                let look_up = |code: &mut u16| *code = table[usize::from(*code)];
                self.row.iter_mut().for_each(look_up);
                store(output, &self.row, to, &self.to);
            }
        }
    }

    fn chroma_row(
        &mut self,
        source: &Picture<&[u8]>,
        target: &mut Picture<&mut [u8]>,
        y: usize,
        component: usize,
    ) {
        let (from, to) = (&self.from, &self.to);
        let place = to.places[component];
        let columns = source.width.div_ceil(to.across);
        let output = target.row(place.plane, y);
        if from.kind == Kind::Gray {
            self.row.clear();
            self.row.resize(columns, 1 << (to.bits - 1));
            return store(output, &self.row, place, to);
        }
        let input = from.places[component];
        // The rows of the source that this row of the target covers.
        let first = y * to.down / from.down;
        let rows = source.height.div_ceil(from.down);
        let last = if to.down > from.down { (first + 1).min(rows - 1) } else { first };
        if self.same_chroma && from.across == to.across && first == last && from.bits == 8 {
            return copy(source.row(input.plane, first), input, output, place, columns);
        }
        self.sums.clear();
        self.sums.resize(columns, 0);
        for y in [first, last] {
            self.row.resize(source.width.div_ceil(from.across), 0);
            load(&mut self.row, source.row(input.plane, y), input, from);
            add(&mut self.sums, &self.row, from.across, to.across);
        }
        let table = &self.chroma;
        self.sums.iter_mut().for_each(|sum| *sum = table[usize::from(*sum)]);
        store(output, &self.sums, place, to);
    }
}

/// Adds twice the sample that lies at each place of `sums`, or the two that do.
fn add(sums: &mut [u16], row: &[u16], from: usize, to: usize) {
    match (from, to) {
        (1, 2) => {
            for (sum, pair) in sums.iter_mut().zip(row.chunks(2)) {
                *sum += pair[0] + pair[pair.len() - 1];
            }
        }
        (2, 1) => {
            for (sums, sample) in sums.chunks_mut(2).zip(row) {
                sums.iter_mut().for_each(|sum| *sum += 2 * sample);
            }
        }
        _ => sums.iter_mut().zip(row).for_each(|(sum, sample)| *sum += 2 * sample),
    }
}

/// Copies `count` 8-bit samples of one component of a row.
fn copy(input: &[u8], from: Place, output: &mut [u8], to: Place, count: usize) {
    if from.step == 1 && to.step == 1 {
        return output[..count].copy_from_slice(&input[..count]);
    }
    let samples = input[from.offset..].iter().step_by(from.step).take(count);
    let places = output[to.offset..].iter_mut().step_by(to.step);
    places.zip(samples).for_each(|(place, sample)| *place = *sample);
}

/// Reads one component of a row.
fn load(values: &mut [u16], row: &[u8], place: Place, layout: &Layout) {
    let Place { offset, step, .. } = place;
    if layout.sample_bytes() == 1 {
        let samples = row[offset..].iter().step_by(step);
        values.iter_mut().zip(samples).for_each(|(value, sample)| *value = u16::from(*sample));
    } else {
        let samples = row[2 * offset..].chunks_exact(2).step_by(step);
        values.iter_mut().zip(samples).for_each(|(value, sample)| {
            *value = u16::from_le_bytes([sample[0], sample[1]]) >> layout.shift();
        });
    }
}

/// Writes one component of a row.
fn store(row: &mut [u8], values: &[u16], place: Place, layout: &Layout) {
    let Place { offset, step, .. } = place;
    if layout.sample_bytes() == 1 {
        let samples = row[offset..].iter_mut().step_by(step);
        samples.zip(values).for_each(|(sample, value)| *sample = *value as u8);
    } else {
        let samples = row[2 * offset..].chunks_exact_mut(2).step_by(step);
        samples.zip(values).for_each(|(sample, value)| {
            sample.copy_from_slice(&(value << layout.shift()).to_le_bytes());
        });
    }
}
