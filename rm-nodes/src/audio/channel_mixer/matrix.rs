//! Which part of each input channel each output channel gets.
//!
//! Main types: [`Rule`], what the parameters ask for, and [`Matrix`], what follows for a number of input
//! channels. Samples are not touched here.

use rm_core::{NodeError, Values};

use super::Params;
use crate::define::wrong;

/// Most channels on either side.
pub(super) const MAX_CHANNELS: usize = 256;
/// Layouts stay as they are.
pub(super) const KEEP: &str = "keep";

/// For what a channel is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speaker {
    FrontLeft,
    FrontRight,
    FrontCentre,
    LowFrequency,
    BackLeft,
    BackRight,
    SideLeft,
    SideRight,
}

use Speaker::{
    BackLeft, BackRight, FrontCentre, FrontLeft, FrontRight, LowFrequency, SideLeft, SideRight,
};

/// The layouts that have a name, their channels in the order of WAVE files. Of two that have the same
/// number of channels the first is what so many channels are taken for.
pub(super) const LAYOUTS: [(&str, &[Speaker]); 8] = [
    ("mono", &[FrontCentre]),
    ("stereo", &[FrontLeft, FrontRight]),
    ("3.0", &[FrontLeft, FrontRight, FrontCentre]),
    ("2.1", &[FrontLeft, FrontRight, LowFrequency]),
    ("quad", &[FrontLeft, FrontRight, BackLeft, BackRight]),
    ("5.0", &[FrontLeft, FrontRight, FrontCentre, BackLeft, BackRight]),
    ("5.1", &[FrontLeft, FrontRight, FrontCentre, LowFrequency, BackLeft, BackRight]),
    (
        "7.1",
        &[
            FrontLeft,
            FrontRight,
            FrontCentre,
            LowFrequency,
            BackLeft,
            BackRight,
            SideLeft,
            SideRight,
        ],
    ),
];

/// The layout that so many channels are taken for.
fn layout_of(channels: usize) -> Option<&'static [Speaker]> {
    let mut layouts = LAYOUTS.iter().map(|(_, speakers)| *speakers);
    layouts.find(|speakers| speakers.len() == channels)
}

/// The number of channels of each layout that has a name, in words.
const NAMED: &str = "1, 2, 3, 4, 5, 6 or 8";

/// What the parameters ask for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Rule {
    /// The channels stay.
    Keep,
    /// From the layout of however many channels come to this one.
    Layout { speakers: &'static [Speaker], normalize: bool },
    /// These rows, one for each output channel.
    Rows(Matrix),
    /// The input channels that the output channels are; `None` for silence.
    Map(Vec<Option<usize>>),
}

impl Rule {
    /// What the parameters say, held against each other.
    pub(super) fn of(params: &Params) -> Result<Self, NodeError> {
        let Params { channels, layout, matrix, map, normalize, .. } = params;
        let named = LAYOUTS.iter().find(|(name, _)| name == layout).map(|(_, speakers)| *speakers);
        let given = [named.is_some(), matrix.is_some(), map.is_some()];
        if given.into_iter().filter(|given| *given).count() > 1 {
            let found = ["layout", "matrix", "map"].into_iter().zip(given);
            let found: Vec<_> = found.filter(|(_, given)| *given).map(|(name, _)| name).collect();
            return Err(wrong(found[1], found.join(" and "), "one of layout, matrix and map only"));
        }
        let rule = if let Some(rows) = matrix {
            Self::Rows(Matrix::of(rows)?.normalized(*normalize))
        } else if let Some(map) = map {
            Self::map(map)?
        } else if let Some(speakers) = named {
            Self::Layout { speakers, normalize: *normalize }
        } else if *channels == 0 {
            Self::Keep
        } else {
            let speakers = layout_of(*channels).ok_or_else(|| {
                let expected = format!("{NAMED} where neither a matrix nor a map is given");
                wrong("channels", channels, expected)
            })?;
            Self::Layout { speakers, normalize: *normalize }
        };
        match rule.outputs() {
            Some(outputs) if *channels != 0 && *channels != outputs => {
                let expected = format!("0 or {outputs}, which is what the other parameters give");
                Err(wrong("channels", channels, expected))
            }
            _ => Ok(rule),
        }
    }

    fn map(map: &[i64]) -> Result<Self, NodeError> {
        if map.is_empty() || map.len() > MAX_CHANNELS {
            let expected = format!("from 1 to {MAX_CHANNELS} input channels");
            return Err(wrong("map", format!("a list of {}", map.len()), expected));
        }
        let channel = |index: &i64| match usize::try_from(*index) {
            Ok(channel) if channel < MAX_CHANNELS => Ok(Some(channel)),
            Err(_) if *index == -1 => Ok(None),
            _ => {
                let last = MAX_CHANNELS - 1;
                let expected = format!("channels from 0 to {last}, or -1 for silence");
                Err(wrong("map", index, expected))
            }
        };
        Ok(Self::Map(map.iter().map(channel).collect::<Result<_, _>>()?))
    }

    /// Channels that come out; `None` for as many as come in.
    pub(super) fn outputs(&self) -> Option<usize> {
        match self {
            Self::Keep => None,
            Self::Layout { speakers, .. } => Some(speakers.len()),
            Self::Rows(matrix) => Some(matrix.outputs()),
            Self::Map(map) => Some(map.len()),
        }
    }

    /// Channels that may come in.
    pub(super) fn inputs(&self) -> Values<u16> {
        let count = |channels: usize| channels as u16;
        match self {
            Self::Keep => Values::Any,
            Self::Layout { .. } => {
                let mut counts = LAYOUTS.map(|(_, speakers)| count(speakers.len())).to_vec();
                counts.dedup();
                Values::OneOf(counts)
            }
            Self::Rows(matrix) => Values::only(count(matrix.inputs)),
            Self::Map(map) => {
                let least = map.iter().flatten().max().map_or(1, |last| last + 1);
                Values::Range(count(least), count(MAX_CHANNELS))
            }
        }
    }

    /// The matrix for so many input channels, which are among [`inputs`](Self::inputs).
    pub(super) fn matrix(&self, inputs: usize) -> Matrix {
        match self {
            Self::Keep => Matrix::from_fn(inputs, inputs, |to, from| f32::from(to == from)),
            Self::Layout { speakers, normalize } => {
                let from = layout_of(inputs).expect("only counts that have a layout are taken");
                Matrix::between(from, speakers).normalized(*normalize)
            }
            Self::Rows(matrix) => matrix.clone(),
            Self::Map(map) => {
                Matrix::from_fn(inputs, map.len(), |to, from| f32::from(map[to] == Some(from)))
            }
        }
    }
}

/// What each output channel gets of each input channel.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Matrix {
    pub(super) inputs: usize,
    /// One row for each output channel.
    pub(super) gains: Vec<f32>,
}

impl Matrix {
    fn from_fn(inputs: usize, outputs: usize, gain: impl Fn(usize, usize) -> f32) -> Self {
        let place = |index| gain(index / inputs, index % inputs);
        Self { inputs, gains: (0..inputs * outputs).map(place).collect() }
    }

    fn of(rows: &[Vec<f32>]) -> Result<Self, NodeError> {
        let inputs = rows.first().map_or(0, Vec::len);
        let fits = |count| (1..=MAX_CHANNELS).contains(&count);
        if !fits(rows.len()) || !fits(inputs) {
            let found = format!("{} rows of {inputs} gains", rows.len());
            let expected = format!(
                "from 1 to {MAX_CHANNELS} rows, one for each output channel, of as many gains, one \
                 for each input channel"
            );
            return Err(wrong("matrix", found, expected));
        }
        for (index, row) in rows.iter().enumerate() {
            if row.len() != inputs {
                let found = format!("a row {index} of {} gains", row.len());
                return Err(wrong("matrix", found, format!("{inputs} in each row as in row 0")));
            }
            if let Some(gain) = row.iter().find(|gain| !gain.is_finite()) {
                return Err(wrong("matrix", gain, "gains that are finite as 32-bit floats"));
            }
        }
        Ok(Self { inputs, gains: rows.concat() })
    }

    /// From one layout to another, by the coefficients of ITU-R BS.775: what a missing centre
    /// or surround channel had goes to its neighbours at half its power, and low frequencies without a
    /// loudspeaker of their own are left out. Of two pairs of surround channels, which that
    /// recommendation does not know, the side ones go to the back at half their power.
    fn between(from: &[Speaker], to: &[Speaker]) -> Self {
        const HALF_POWER: f64 = std::f64::consts::FRAC_1_SQRT_2;
        let gain = |wanted: Speaker, source: Speaker| {
            let mut at = vec![(source, 1.0)];
            let mut sum = 0.0;
            while let Some((speaker, gain)) = at.pop() {
                if to.contains(&speaker) {
                    sum += if speaker == wanted { gain } else { 0.0 };
                    continue;
                }
                let gain = gain * HALF_POWER;
                match speaker {
                    FrontCentre => at.extend([(FrontLeft, gain), (FrontRight, gain)]),
                    FrontLeft | FrontRight => at.push((FrontCentre, gain)),
                    BackLeft => at.push((FrontLeft, gain)),
                    BackRight => at.push((FrontRight, gain)),
                    SideLeft if to.contains(&BackLeft) => at.push((BackLeft, gain)),
                    SideRight if to.contains(&BackRight) => at.push((BackRight, gain)),
                    SideLeft => at.push((FrontLeft, gain)),
                    SideRight => at.push((FrontRight, gain)),
                    LowFrequency => {}
                }
            }
            sum
        };
        Self::from_fn(from.len(), to.len(), |row, column| gain(to[row], from[column]) as f32)
    }

    /// The same, or where it could go beyond full scale, all of it as much quieter as it takes.
    fn normalized(mut self, normalize: bool) -> Self {
        let rows = self.gains.chunks_exact(self.inputs);
        let loudest = rows.map(|row| row.iter().map(|gain| gain.abs()).sum()).fold(0.0, f32::max);
        if normalize && loudest > 1.0 {
            self.gains.iter_mut().for_each(|gain| *gain /= loudest);
        }
        self
    }

    /// Channels that come out.
    pub(super) fn outputs(&self) -> usize {
        self.gains.len() / self.inputs
    }

    /// Whether what comes out is what comes in.
    pub(super) fn is_identity(&self) -> bool {
        self.outputs() == self.inputs
            && (self.gains.iter().enumerate())
                .all(|(at, gain)| *gain == f32::from(at / self.inputs == at % self.inputs))
    }
}
