//! Which formats nodes take and give, for whoever connects them before anything runs.
//!
//! Main types: [`Formats`], a set of formats of one type of data, and [`NodeFormats`], what a node
//! does with such sets. They describe; nothing here converts, and what a node finds in an item at
//! run time is up to the node.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::audio::{AudioFormat, AudioLayout};
use crate::header::DataType;
use crate::video::VideoFormat;

/// Which values a property of a format may have. In JSON they are one value, a list of values, or an
/// object with `min` and `max`; any where there is nothing.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(into = "Written<T>", try_from = "Written<T>")]
#[serde(bound(
    serialize = "T: Clone + Serialize",
    deserialize = "T: Deserialize<'de> + PartialOrd"
))]
#[non_exhaustive]
pub enum Values<T> {
    /// Any.
    #[default]
    Any,
    /// One of these, of which there is at least one; the first is the one to convert to.
    OneOf(Vec<T>),
    /// From one to another, both included.
    Range(T, T),
}

/// How values stand in JSON.
#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a value, a list of values, or an object with min and max")]
enum Written<T> {
    One(T),
    List(Vec<T>),
    Range { min: T, max: T },
    Any(Option<()>),
}

impl<T> From<Values<T>> for Written<T> {
    fn from(values: Values<T>) -> Self {
        match values {
            Values::Any => Self::Any(None),
            Values::OneOf(mut values) if values.len() == 1 => Self::One(values.remove(0)),
            Values::OneOf(values) => Self::List(values),
            Values::Range(min, max) => Self::Range { min, max },
        }
    }
}

impl<T: PartialOrd> TryFrom<Written<T>> for Values<T> {
    type Error = &'static str;

    fn try_from(written: Written<T>) -> Result<Self, Self::Error> {
        Ok(match written {
            Written::Any(_) => Self::Any,
            Written::One(value) => Self::OneOf(vec![value]),
            Written::List(values) if values.is_empty() => {
                return Err("a list of values is empty, expected at least one");
            }
            Written::List(values) => Self::OneOf(values),
            Written::Range { min, max } if min <= max => Self::Range(min, max),
            Written::Range { .. } => return Err("the min of a range is above its max"),
        })
    }
}

impl<T> Values<T> {
    fn is_any(&self) -> bool {
        matches!(self, Self::Any)
    }
}

impl<T: Copy + PartialOrd> Values<T> {
    /// This value only.
    pub fn only(value: T) -> Self {
        Self::OneOf(vec![value])
    }

    /// Whether `value` is one of them.
    pub fn contains(&self, value: T) -> bool {
        match self {
            Self::Any => true,
            Self::OneOf(values) => values.contains(&value),
            Self::Range(min, max) => (*min..=*max).contains(&value),
        }
    }

    /// The values in both; `None` where there are none.
    pub fn and(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::Any, values) | (values, Self::Any) => Some(values.clone()),
            (Self::OneOf(values), other) | (other, Self::OneOf(values)) => {
                let both: Vec<_> = values.iter().copied().filter(|v| other.contains(*v)).collect();
                (!both.is_empty()).then_some(Self::OneOf(both))
            }
            (Self::Range(a, b), Self::Range(c, d)) => {
                let (min, max) = (if a < c { *c } else { *a }, if b < d { *b } else { *d });
                (min <= max).then_some(Self::Range(min, max))
            }
        }
    }

    /// Whether all of them are in `other`.
    pub fn is_within(&self, other: &Self) -> bool {
        match (self, other) {
            (_, Self::Any) => true,
            (Self::Any, _) => false,
            (Self::OneOf(values), other) => values.iter().all(|value| other.contains(*value)),
            (Self::Range(a, b), Self::Range(c, d)) => c <= a && b <= d,
            (Self::Range(a, b), Self::OneOf(values)) => a == b && values.contains(a),
        }
    }

    /// The value to convert to from where none of these come: the only one, the first, or the end of
    /// the range that is nearest to `from`. `None` where any will do.
    pub fn target(&self, from: Option<T>) -> Option<T> {
        match (self, from) {
            (Self::Any, _) => None,
            (Self::OneOf(values), _) => values.first().copied(),
            (Self::Range(_, max), Some(from)) if from > *max => Some(*max),
            (Self::Range(min, _), _) => Some(*min),
        }
    }

    /// The value, where there is only one.
    pub fn single(&self) -> Option<T> {
        match self {
            Self::OneOf(values) if values.len() == 1 => values.first().copied(),
            Self::Range(min, max) if min == max => Some(*min),
            _ => None,
        }
    }
}

impl<T: fmt::Display> fmt::Display for Values<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::OneOf(values) => {
                for (place, value) in values.iter().enumerate() {
                    if place > 0 {
                        f.write_str(" or ")?;
                    }
                    value.fmt(f)?;
                }
                Ok(())
            }
            Self::Range(min, max) => write!(f, "{min} to {max}"),
        }
    }
}

/// A set of formats of audio.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AudioFormats {
    /// Samples per second and channel, in Hz.
    #[serde(default, skip_serializing_if = "Values::is_any")]
    pub sample_rate: Values<u32>,
    /// Number of channels.
    #[serde(default, skip_serializing_if = "Values::is_any")]
    pub channels: Values<u16>,
    /// How one sample is stored.
    #[serde(default, skip_serializing_if = "Values::is_any")]
    pub format: Values<AudioFormat>,
    /// How the channels lie in memory; of no meaning where there is one channel.
    #[serde(default, skip_serializing_if = "Values::is_any")]
    pub layout: Values<AudioLayout>,
}

impl AudioFormats {
    /// Audio of any format.
    pub const ANY: Self = Self {
        sample_rate: Values::Any,
        channels: Values::Any,
        format: Values::Any,
        layout: Values::Any,
    };

    /// Interleaved 32-bit floats at any rate, of any number of channels.
    pub fn f32() -> Self {
        Self {
            format: Values::only(AudioFormat::F32),
            layout: Values::only(AudioLayout::Interleaved),
            ..Self::ANY
        }
    }
}

/// A set of formats of video.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VideoFormats {
    /// Width in pixels.
    #[serde(default, skip_serializing_if = "Values::is_any")]
    pub width: Values<u32>,
    /// Height in pixels.
    #[serde(default, skip_serializing_if = "Values::is_any")]
    pub height: Values<u32>,
    /// How the pixels lie in memory.
    #[serde(default, skip_serializing_if = "Values::is_any")]
    pub format: Values<VideoFormat>,
}

impl VideoFormats {
    /// Video of any format.
    pub const ANY: Self = Self { width: Values::Any, height: Values::Any, format: Values::Any };
}

/// A set of formats of one type of data. In JSON it is the name of the type, for everything of it, or
/// an object such as `{"audio": {"sample_rate": 16000, "channels": 1}}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "WrittenFormats")]
#[non_exhaustive]
pub enum Formats {
    /// Audio.
    Audio(AudioFormats),
    /// Video.
    Video(VideoFormats),
    /// Anything of another type.
    Other(DataType),
}

/// How formats stand in JSON.
#[derive(Serialize)]
#[serde(untagged)]
enum WrittenFormats {
    Any(DataType),
    Some(Described),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Described {
    Audio(AudioFormats),
    Video(VideoFormats),
}

impl TryFrom<Value> for Formats {
    type Error = String;

    fn try_from(written: Value) -> Result<Self, String> {
        if let Value::String(name) = &written {
            return DataType::from_name(name).map(Self::any).ok_or_else(|| {
                let known: Vec<_> = DataType::ALL.iter().map(|known| known.name()).collect();
                format!("there is no type of data {name:?}; expected one of {}", known.join(", "))
            });
        }
        match serde_json::from_value(written) {
            Ok(Described::Audio(audio)) => Ok(Self::Audio(audio)),
            Ok(Described::Video(video)) => Ok(Self::Video(video)),
            Err(error) => Err(format!("{error}; {EXAMPLE}")),
        }
    }
}

const EXAMPLE: &str = "expected a type of data, or formats of audio or video such as {\"audio\": \
    {\"sample_rate\": 16000, \"channels\": [1, 2], \"format\": \"f32\"}}";

impl From<Formats> for WrittenFormats {
    fn from(formats: Formats) -> Self {
        match formats {
            Formats::Audio(audio) if audio != AudioFormats::ANY => {
                Self::Some(Described::Audio(audio))
            }
            Formats::Video(video) if video != VideoFormats::ANY => {
                Self::Some(Described::Video(video))
            }
            any => Self::Any(any.data_type()),
        }
    }
}

impl Formats {
    /// Everything of a type.
    pub fn any(data_type: DataType) -> Self {
        match data_type {
            DataType::Audio => Self::Audio(AudioFormats::ANY),
            DataType::Video => Self::Video(VideoFormats::ANY),
            other => Self::Other(other),
        }
    }

    /// The type of data.
    pub fn data_type(&self) -> DataType {
        match self {
            Self::Audio(_) => DataType::Audio,
            Self::Video(_) => DataType::Video,
            Self::Other(other) => *other,
        }
    }

    /// The formats in both; `None` where there are none.
    pub fn and(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::Audio(a), Self::Audio(b)) => Some(Self::Audio(AudioFormats {
                sample_rate: a.sample_rate.and(&b.sample_rate)?,
                channels: a.channels.and(&b.channels)?,
                format: a.format.and(&b.format)?,
                layout: match a.channels.single().or(b.channels.single()) {
                    Some(1) => Values::Any,
                    _ => a.layout.and(&b.layout)?,
                },
            })),
            (Self::Video(a), Self::Video(b)) => Some(Self::Video(VideoFormats {
                width: a.width.and(&b.width)?,
                height: a.height.and(&b.height)?,
                format: a.format.and(&b.format)?,
            })),
            (Self::Other(a), Self::Other(b)) if a == b => Some(self.clone()),
            _ => None,
        }
    }

    /// Whether all of them are in `other`.
    pub fn is_within(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Audio(a), Self::Audio(b)) => {
                a.sample_rate.is_within(&b.sample_rate)
                    && a.channels.is_within(&b.channels)
                    && a.format.is_within(&b.format)
                    && (a.channels.single() == Some(1) || a.layout.is_within(&b.layout))
            }
            (Self::Video(a), Self::Video(b)) => {
                a.width.is_within(&b.width)
                    && a.height.is_within(&b.height)
                    && a.format.is_within(&b.format)
            }
            (Self::Other(a), Self::Other(b)) => a == b,
            _ => false,
        }
    }
}

impl From<AudioFormats> for Formats {
    fn from(formats: AudioFormats) -> Self {
        Self::Audio(formats)
    }
}

impl From<VideoFormats> for Formats {
    fn from(formats: VideoFormats) -> Self {
        Self::Video(formats)
    }
}

impl From<DataType> for Formats {
    fn from(data_type: DataType) -> Self {
        Self::any(data_type)
    }
}

impl fmt::Display for Formats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// What is known of a property, with words around it.
        fn part<T: fmt::Display>(values: &Values<T>, words: [&str; 2]) -> Option<String> {
            let [before, behind] = words;
            (!matches!(values, Values::Any)).then(|| format!("{before}{values}{behind}"))
        }
        let parts = match self {
            Self::Audio(audio) => {
                let layout = match audio.channels.single() {
                    Some(1) => None,
                    _ => part(&audio.layout, ["", ""]),
                };
                let channels = match audio.channels.single() {
                    Some(1) => Some("mono".to_owned()),
                    _ => part(&audio.channels, ["", " channels"]),
                };
                let rate = part(&audio.sample_rate, ["", " Hz"]);
                vec![part(&audio.format, ["", ""]), layout, channels, rate]
            }
            Self::Video(video) => vec![
                part(&video.format, ["", ""]),
                part(&video.width, ["", " pixels wide"]),
                part(&video.height, ["", " pixels high"]),
            ],
            Self::Other(_) => Vec::new(),
        };
        let known: Vec<_> = parts.into_iter().flatten().collect();
        write!(f, "{}", self.data_type())?;
        if known.is_empty() { Ok(()) } else { write!(f, " ({})", known.join(", ")) }
    }
}

type GivenFor = dyn Fn(&Formats) -> Vec<Formats> + Send + Sync;

/// What a node gives, as far as that is known before it runs.
#[derive(Clone)]
enum Gives {
    /// What it takes.
    Same,
    /// Always these.
    These(Vec<Formats>),
    /// What follows from what it takes.
    From(Arc<GivenFor>),
}

/// Which formats a node takes by connections that name no port, and gives by them.
///
/// ```
/// use rm_core::{AudioFormats, DataType, Formats, NodeFormats, Values};
///
/// // Floats at any rate come in and go out at 16 kHz.
/// let resampler = NodeFormats::takes([AudioFormats::f32()]).gives_from(|input| match input {
///     Formats::Audio(audio) => {
///         vec![AudioFormats { sample_rate: Values::only(16_000), ..audio.clone() }.into()]
///     }
///     _ => Vec::new(),
/// });
/// let given = resampler.given(&[Formats::any(DataType::Audio)]);
/// assert_eq!(given[0].to_string(), "audio (f32, interleaved, 16000 Hz)");
/// ```
#[derive(Clone)]
pub struct NodeFormats {
    takes: Vec<Formats>,
    gives: Gives,
}

impl NodeFormats {
    /// A node that takes these formats; it gives what it takes, where nothing else is said.
    pub fn takes(formats: impl IntoIterator<Item = impl Into<Formats>>) -> Self {
        let takes = formats.into_iter().map(Into::into).collect();
        Self { takes, gives: Gives::Same }
    }

    /// A source of these formats.
    pub fn source(formats: impl IntoIterator<Item = impl Into<Formats>>) -> Self {
        Self::takes([] as [Formats; 0]).gives(formats)
    }

    /// The same node, giving these whatever it takes.
    pub fn gives(self, formats: impl IntoIterator<Item = impl Into<Formats>>) -> Self {
        Self { gives: Gives::These(formats.into_iter().map(Into::into).collect()), ..self }
    }

    /// The same node, giving what `formats` says of what it takes: it is asked for each set of formats
    /// that may come and is taken.
    pub fn gives_from(
        self,
        formats: impl Fn(&Formats) -> Vec<Formats> + Send + Sync + 'static,
    ) -> Self {
        Self { gives: Gives::From(Arc::new(formats)), ..self }
    }

    /// What it takes.
    pub fn taken(&self) -> &[Formats] {
        &self.takes
    }

    /// What it may give where `input` may come.
    pub fn given(&self, input: &[Formats]) -> Vec<Formats> {
        let pairs = input.iter().flat_map(|come| self.takes.iter().map(move |take| come.and(take)));
        let mut taken = pairs.flatten();
        match &self.gives {
            Gives::These(formats) => formats.clone(),
            Gives::Same => taken.collect(),
            Gives::From(formats) => {
                let mut given = Vec::new();
                for formats in taken.by_ref().flat_map(|taken| formats(&taken)) {
                    if !given.contains(&formats) {
                        given.push(formats);
                    }
                }
                given
            }
        }
    }
}

impl fmt::Debug for NodeFormats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gives = match &self.gives {
            Gives::Same => "what it takes".to_owned(),
            Gives::These(formats) => format!("{formats:?}"),
            Gives::From(_) => "what follows from what it takes".to_owned(),
        };
        f.debug_struct("NodeFormats").field("takes", &self.takes).field("gives", &gives).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_meet_where_both_have_them() {
        let one = Values::OneOf(vec![8_000, 16_000]);
        let range = Values::Range(10_000, 20_000);
        assert_eq!(one.and(&range), Some(Values::only(16_000)));
        assert_eq!(range.and(&one), Some(Values::only(16_000)));
        assert_eq!(range.and(&Values::Range(20_001, 30_000)), None);
        assert_eq!(range.and(&Values::Range(15_000, 30_000)), Some(Values::Range(15_000, 20_000)));
        assert_eq!(Values::Any.and(&one), Some(one.clone()));
        assert!(Values::only(16_000).is_within(&range) && !one.is_within(&range));
        assert!(range.is_within(&Values::Any) && !Values::Any.is_within(&range));
        assert!(Values::Range(5, 5).is_within(&Values::only(5)));
    }

    #[test]
    fn what_to_convert_to_is_the_first_value_or_the_nearest_end() {
        assert_eq!(Values::OneOf(vec![3, 1]).target(Some(9)), Some(3));
        assert_eq!(Values::Range(2, 8).target(Some(9)), Some(8));
        assert_eq!(Values::Range(2, 8).target(Some(1)), Some(2));
        assert_eq!(Values::Range(2, 8).target(None), Some(2));
        assert_eq!(Values::<u32>::Any.target(Some(1)), None);
    }

    #[test]
    fn the_layout_of_one_channel_does_not_matter() {
        let mono = |layout| AudioFormats {
            channels: Values::only(1),
            layout: Values::only(layout),
            ..AudioFormats::ANY
        };
        let planar = Formats::from(mono(AudioLayout::Planar));
        let interleaved = Formats::from(mono(AudioLayout::Interleaved));
        assert!(planar.is_within(&interleaved));
        assert!(planar.and(&interleaved).is_some());
        assert_eq!(planar.to_string(), "audio (mono)");
    }

    #[test]
    fn types_of_data_do_not_meet() {
        let text = Formats::any(DataType::Text);
        assert_eq!(text.and(&Formats::any(DataType::Audio)), None);
        assert!(text.is_within(&DataType::Text.into()));
        assert_eq!(text.to_string(), "text");
    }

    #[test]
    fn a_node_gives_what_it_takes_unless_it_says_otherwise() {
        let any = [Formats::any(DataType::Audio), Formats::any(DataType::Text)];
        let same = NodeFormats::takes([AudioFormats::f32()]);
        assert_eq!(same.given(&any), [AudioFormats::f32().into()]);
        assert_eq!(same.given(&any[1..]), []);
        let json = same.clone().gives([DataType::Json]);
        assert_eq!(json.given(&any[1..]), [Formats::Other(DataType::Json)]);
        let both = NodeFormats::takes([DataType::Audio, DataType::Text])
            .gives_from(|_| vec![DataType::Json.into()]);
        assert_eq!(both.given(&any), [Formats::Other(DataType::Json)]);
        assert_eq!(NodeFormats::source([DataType::Video]).given(&[]).len(), 1);
    }

    #[test]
    fn formats_are_read_as_they_are_written() {
        let check = |text: &str, formats: Formats| {
            assert_eq!(serde_json::to_string(&formats).unwrap(), text);
            assert_eq!(serde_json::from_str::<Formats>(text).unwrap(), formats);
        };
        check(r#""text""#, DataType::Text.into());
        check(r#""audio""#, AudioFormats::ANY.into());
        let audio = AudioFormats {
            sample_rate: Values::OneOf(vec![8_000, 16_000]),
            channels: Values::only(1),
            format: Values::only(AudioFormat::F32),
            layout: Values::Any,
        };
        check(
            r#"{"audio":{"sample_rate":[8000,16000],"channels":1,"format":"f32"}}"#,
            audio.into(),
        );
        let video = VideoFormats { width: Values::Range(1, 640), ..VideoFormats::ANY };
        check(r#"{"video":{"width":{"min":1,"max":640}}}"#, video.into());
        for (wrong, message) in [
            (r#""sound""#, "there is no type of data \"sound\"; expected one of audio, video"),
            (r#"{"audio":{"rate":1}}"#, "unknown field `rate`, expected one of `sample_rate`"),
            (r#"{"audio":{"channels":[]}}"#, "a list of values is empty"),
            (r#"{"audio":{"channels":{"min":2,"max":1}}}"#, "the min of a range is above its max"),
            (r#"{"audio":{"channels":"two"}}"#, "expected a value, a list of values, or an object"),
            (r#"{"text":{}}"#, "unknown variant `text`, expected `audio` or `video`"),
            ("5", "expected a type of data, or formats of audio or video such as {\"audio\":"),
        ] {
            let error = serde_json::from_str::<Formats>(wrong).unwrap_err().to_string();
            assert!(error.contains(message), "{wrong}: {error}");
        }
    }
}
