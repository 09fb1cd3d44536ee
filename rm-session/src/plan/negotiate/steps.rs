//! Which converters turn what comes into what is taken.
//!
//! Main function: [`needed`]. It knows the converters of rm-nodes by their names and parameters; those
//! that are not registered are not used.

use std::fmt;

use rm_core::{
    AudioFormat, AudioFormats, AudioLayout, DataType, Formats, NodeRegistry, Values, VideoFormats,
};
use serde_json::{Map, Value, json};

/// A node that is put between two others.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Step {
    pub(super) node_type: &'static str,
    /// What it changes, in one word, for its id.
    pub(super) what: &'static str,
    pub(super) params: Value,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.node_type, self.params)
    }
}

/// The converters, and what comes out of the last of them. Without steps there is nothing to convert,
/// or no way to.
pub(super) fn needed(
    come: &[Formats],
    taken: &[Formats],
    registry: &NodeRegistry,
) -> (Vec<Step>, Vec<Formats>) {
    let has =
        |formats: &[Formats], of: DataType| formats.iter().any(|formats| formats.data_type() == of);
    // A converter would be in the way of what else comes and is taken.
    let shared = DataType::ALL.iter().filter(|of| has(come, **of) && has(taken, **of));
    if shared.count() != 1 {
        return (Vec::new(), Vec::new());
    }
    let audio: Vec<_> = come.iter().filter_map(audio).cloned().collect();
    let video: Vec<_> = come.iter().filter_map(video).cloned().collect();
    let (steps, becomes) =
        if let (false, Some(take)) = (audio.is_empty(), taken.iter().find_map(self::audio)) {
            audio_steps(audio, take)
        } else if let (false, Some(take)) = (video.is_empty(), taken.iter().find_map(self::video)) {
            video_steps(video, take)
        } else {
            return (Vec::new(), Vec::new());
        };
    if steps.iter().any(|step| registry.factory(step.node_type).is_none()) {
        return (Vec::new(), Vec::new());
    }
    (steps, becomes)
}

fn audio(formats: &Formats) -> Option<&AudioFormats> {
    match formats {
        Formats::Audio(audio) => Some(audio),
        _ => None,
    }
}

fn video(formats: &Formats) -> Option<&VideoFormats> {
    match formats {
        Formats::Video(video) => Some(video),
        _ => None,
    }
}

/// The value that a property has to be converted to; `None` where it can stay. What is not known is
/// converted only where there is one choice.
fn target<'a, T, F: 'a>(
    come: impl IntoIterator<Item = &'a F> + Clone,
    property: impl Fn(&F) -> &Values<T>,
    take: &Values<T>,
) -> Option<T>
where
    T: Copy + PartialOrd + 'a,
{
    if come.clone().into_iter().all(|come| property(come).is_within(take)) {
        return None;
    }
    if come.clone().into_iter().all(|come| property(come).and(take).is_none()) {
        return take.target(single(come, property));
    }
    take.single()
}

/// The value of a property that all have.
fn single<'a, T, F: 'a>(
    come: impl IntoIterator<Item = &'a F>,
    property: impl Fn(&F) -> &Values<T>,
) -> Option<T>
where
    T: Copy + PartialOrd + 'a,
{
    let mut known = come.into_iter().map(|come| property(come).single());
    let first = known.next().flatten()?;
    known.all(|other| other == Some(first)).then_some(first)
}

fn audio_steps(come: Vec<AudioFormats>, take: &AudioFormats) -> (Vec<Step>, Vec<Formats>) {
    let rate = target(&come, |audio| &audio.sample_rate, &take.sample_rate);
    let channels = target(&come, |audio| &audio.channels, &take.channels);
    let format = target(&come, |audio| &audio.format, &take.format);
    let is_mono = channels.or(take.channels.single()) == Some(1);
    let layout = target(&come, |audio| &audio.layout, &take.layout).filter(|_| !is_mono);
    let mut steps = Vec::new();
    let mut now = come;
    let known_channels = now.iter().all(|audio| audio.channels.single().is_some_and(|n| n > 1));
    let mixes = channels.filter(|to| *to > 1 && known_channels);
    // The resampler and the mixer work on interleaved floats.
    if rate.is_some() || mixes.is_some() {
        convert(
            &mut steps,
            &mut now,
            Some(AudioFormat::F32),
            Some(AudioLayout::Interleaved),
            channels.filter(|_| mixes.is_none()),
        );
    }
    if let Some(channels) = mixes {
        let params = json!({"channels": channels});
        steps.push(Step { node_type: "ChannelMixerNode", what: "channels", params });
        now.iter_mut().for_each(|audio| audio.channels = Values::only(channels));
    }
    if let Some(rate) = rate {
        let params = json!({"target_rate": rate});
        steps.push(Step { node_type: "ResampleNode", what: "rate", params });
        now.iter_mut().for_each(|audio| audio.sample_rate = Values::only(rate));
    }
    // Converting to floats on the way may have undone what was right.
    let format = format.or_else(|| target(&now, |audio| &audio.format, &take.format));
    let layout =
        layout.or_else(|| target(&now, |audio| &audio.layout, &take.layout)).filter(|_| !is_mono);
    convert(&mut steps, &mut now, format, layout, channels);
    (steps, now.into_iter().map(Formats::from).collect())
}

/// Adds a converter to a format, a layout and a number of channels, where that is not what comes.
fn convert(
    steps: &mut Vec<Step>,
    now: &mut [AudioFormats],
    format: Option<AudioFormat>,
    layout: Option<AudioLayout>,
    channels: Option<u16>,
) {
    let is = |audio: &AudioFormats| {
        let is_mono = audio.channels.single() == Some(1);
        format.is_none_or(|format| audio.format.single() == Some(format))
            && layout.is_none_or(|layout| is_mono || audio.layout.single() == Some(layout))
            && channels.is_none_or(|channels| audio.channels.single() == Some(channels))
    };
    if now.iter().all(is) {
        return;
    }
    let mut params = Map::new();
    params.insert("format".to_owned(), format.map_or("keep", AudioFormat::name).into());
    params.insert("layout".to_owned(), layout.map_or("keep", AudioLayout::name).into());
    if let Some(channels) = channels {
        params.insert("channels".to_owned(), channels.into());
    }
    steps.push(Step { node_type: "FormatConverterNode", what: "format", params: params.into() });
    for audio in now {
        audio.format = format.map_or_else(|| audio.format.clone(), Values::only);
        audio.layout = layout.map_or_else(|| audio.layout.clone(), Values::only);
        audio.channels = channels.map_or_else(|| audio.channels.clone(), Values::only);
    }
}

/// Rows of a picture from which on its colours are those of BT.709 where nobody says otherwise.
const ROWS_OF_709: u32 = 720;

fn video_steps(come: Vec<VideoFormats>, take: &VideoFormats) -> (Vec<Step>, Vec<Formats>) {
    let width = target(&come, |video| &video.width, &take.width);
    let height = target(&come, |video| &video.height, &take.height);
    let format = target(&come, |video| &video.format, &take.format);
    let rows = single(&come, |video| &video.height);
    let mut steps = Vec::new();
    let mut now = come;
    let scales = width.is_some() || height.is_some();
    if scales {
        // 0 keeps the proportions, which is right only where any size is.
        let size = |target: Option<u32>, take: &Values<u32>, known: Option<u32>| {
            let known = known.filter(|_| *take != Values::Any);
            target.or(take.single()).or(known).unwrap_or(0)
        };
        let columns = single(&now, |video| &video.width);
        let (width, height) = (size(width, &take.width, columns), size(height, &take.height, rows));
        let params = json!({"width": width, "height": height});
        steps.push(Step { node_type: "VideoScaleNode", what: "scale", params });
        let only = |size: u32| if size == 0 { Values::Any } else { Values::only(size) };
        for video in &mut now {
            (video.width, video.height) = (only(width), only(height));
        }
    }
    if let Some(format) = format {
        let mut params = json!({"format": format.name()});
        if let Some(rows) = rows.filter(|_| scales) {
            // The size behind the scaler does not say any more by which matrix the colours were made.
            params["source_matrix"] = if rows >= ROWS_OF_709 { "bt709" } else { "bt601" }.into();
        }
        steps.push(Step { node_type: "VideoConverterNode", what: "format", params });
        now.iter_mut().for_each(|video| video.format = Values::only(format));
    }
    (steps, now.into_iter().map(Formats::from).collect())
}
