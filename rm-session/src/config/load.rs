//! Settings from a TOML file and from the environment.
//!
//! Main functions: [`RuntimeConfig::load`] and [`settings`]. There is one table of settings; names of
//! variables, checks and messages follow from it.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rm_core::did_you_mean;
use toml::{Table, Value};

use super::RuntimeConfig;

/// What names of variables begin with.
const PREFIX: &str = "REMOTEMEDIA_";
/// The variable that names the file, behind the prefix.
const FILE: &str = "CONFIG";
/// Variables that are no settings of a runtime, behind the prefix: what parent and child tell each
/// other, and switches of tests.
const OTHERS: &[&str] = &[
    FILE,
    "CALLBACK_SOCKET",
    "CGROUP",
    "CONTROL_FD",
    "DEBUG",
    "LOG",
    "LOG_FORMAT",
    "LOG_LEVEL",
    "NAMESPACE",
    "REQUEST_SOCKET",
    "RUNTIME",
];
/// What the names of further such variables begin with, behind the prefix.
const OTHER_PREFIXES: &[&str] = &["CHAOS_", "SIM_", "TEST_"];

/// Longest time that can be set: a day.
const MAX_SECS: f64 = 86_400.0;

const COUNT: &str = "a whole number of at least 1";
const BYTES: &str = "a number of bytes of at least 1";
const POWER_OF_TWO: &str = "a number of bytes that is a power of two";
const SECONDS: &str = "a number of seconds above 0, at most 86400";
const DEPTH: &str = "a whole number from 1 to 65536";
const FLAG: &str = "true or false";
const PATH: &str = "a path, not empty";
const FOLDER: &str = "a path, or false for none";

/// One setting: its key in a file, what it may be, what it does, and how it is set.
struct Setting {
    key: &'static str,
    expected: &'static str,
    meaning: &'static str,
    set: fn(&mut RuntimeConfig, &Value) -> Option<()>,
}

/// All settings.
const SETTINGS: &[Setting] = &[
    Setting {
        key: "max_processes_per_session",
        expected: COUNT,
        meaning: "most worker processes of one session; no limit if absent",
        set: |config, value| to(&mut config.max_processes_per_session, count(value).map(Some)),
    },
    Setting {
        key: "max_processes",
        expected: COUNT,
        meaning: "most worker processes of all sessions together; no limit if absent",
        set: |config, value| to(&mut config.max_processes, count(value).map(Some)),
    },
    Setting {
        key: "max_sessions",
        expected: COUNT,
        meaning: "most sessions at a time; no limit if absent",
        set: |config, value| to(&mut config.max_sessions, count(value).map(Some)),
    },
    Setting {
        key: "max_memory_per_session",
        expected: BYTES,
        meaning: "most bytes of memory that the nodes of a session may need; no limit if absent",
        set: |config, value| {
            to(&mut config.max_memory_per_session, count(value).map(|bytes| Some(bytes as u64)))
        },
    },
    Setting {
        key: "shm_segment_size",
        expected: BYTES,
        meaning: "most bytes of shared memory of a session; 268435456 (256 MiB) if absent",
        set: |config, value| to(&mut config.shm_segment_size, count(value)),
    },
    Setting {
        key: "init_timeout_secs",
        expected: SECONDS,
        meaning: "how long a node may load without progress; 30 if absent",
        set: |config, value| to(&mut config.init_timeout, seconds(value)),
    },
    Setting {
        key: "cleanup_grace_period_secs",
        expected: SECONDS,
        meaning: "how long a worker may take to end; 5 if absent",
        set: |config, value| to(&mut config.cleanup_grace_period, seconds(value)),
    },
    Setting {
        key: "debug_mode",
        expected: FLAG,
        meaning: "whether more is logged and files of failures are kept; false if absent",
        set: |config, value| to(&mut config.debug_mode, value.as_bool()),
    },
    Setting {
        key: "timeline",
        expected: FLAG,
        meaning: "whether it is kept on what the time of each item goes; false if absent",
        set: |config, value| to(&mut config.timeline, value.as_bool()),
    },
    Setting {
        key: "failure_dir",
        expected: PATH,
        meaning: "the folder of files of failures; one in the user's state folder if absent",
        set: |config, value| to(&mut config.failure_dir, path(value).map(Some)),
    },
    Setting {
        key: "python",
        expected: PATH,
        meaning: "the interpreter of workers or the folder of a virtual environment; looked for if absent",
        set: |config, value| to(&mut config.python, path(value).map(Some)),
    },
    Setting {
        key: "callback_stubs",
        expected: FOLDER,
        meaning: "the folder for stubs of callbacks; the user's cache folder if absent",
        set: |config, value| {
            let none = (value.as_bool() == Some(false)).then_some(None);
            to(&mut config.callback_stubs, none.or_else(|| path(value).map(Some)))
        },
    },
    Setting {
        key: "channel_depth",
        expected: DEPTH,
        meaning: "most items that wait in a channel; 100 if absent",
        set: |config, value| {
            let depth = count(value).filter(|depth| *depth <= 65_536);
            to(&mut config.channel_depth, depth.and_then(|depth| depth.try_into().ok()))
        },
    },
    Setting {
        key: "channel_capacity",
        expected: POWER_OF_TWO,
        meaning: "most bytes that wait in a channel; a share of shm_segment_size if absent",
        set: |config, value| {
            let bytes = count(value).filter(|bytes| bytes.is_power_of_two());
            to(&mut config.channel_capacity, bytes.map(Some))
        },
    },
];

fn to<T>(place: &mut T, value: Option<T>) -> Option<()> {
    *place = value?;
    Some(())
}

fn count(value: &Value) -> Option<usize> {
    value.as_integer().and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0)
}

fn seconds(value: &Value) -> Option<Duration> {
    let whole = value.as_integer().map(|n| n as f64);
    let seconds = value.as_float().or(whole).filter(|n| *n > 0.0 && *n <= MAX_SECS)?;
    Duration::try_from_secs_f64(seconds).ok()
}

fn path(value: &Value) -> Option<PathBuf> {
    value.as_str().filter(|text| !text.is_empty()).map(PathBuf::from)
}

/// The settings that a file or the environment can give: the key in a file, what it may be, and what
/// it means. The variable of a key is `REMOTEMEDIA_` and the key in capitals.
pub fn settings() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    SETTINGS.iter().map(|setting| (setting.key, setting.expected, setting.meaning))
}

/// What is wrong with one setting.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SettingError {
    /// There is no such setting.
    Unknown {
        /// The key or the variable.
        name: String,
        /// `; did you mean …?`, or nothing.
        hint: String,
    },
    /// It cannot have this value.
    Value {
        /// The key or the variable.
        name: String,
        /// The value.
        found: String,
        /// What would be right.
        expected: &'static str,
    },
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { name, hint } => write!(f, "unknown setting {name:?}{hint}"),
            Self::Value { name, found, expected } => {
                write!(f, "{name} is {found}, expected {expected}")
            }
        }
    }
}

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read settings from {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is no TOML.
    #[error("invalid TOML in {}", path.display())]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// What is wrong, with line and column.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// Settings that do not exist, or cannot have their value. These are all of them.
    #[error("{place}: {}", joined(settings))]
    Invalid {
        /// The file, or `environment`.
        place: String,
        /// What is wrong; at least one.
        settings: Vec<SettingError>,
    },
}

fn joined(settings: &[SettingError]) -> String {
    settings.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl RuntimeConfig {
    /// The defaults, with what the file says that the variable `REMOTEMEDIA_CONFIG` names, if there
    /// is one, and over that what the other variables say.
    ///
    /// # Errors
    /// [`ConfigError`], with all that is wrong with the file, or all that is with the environment.
    pub fn load() -> Result<Self, ConfigError> {
        Self::load_with(std::env::vars_os())
    }

    /// [`load`](Self::load) with the environment that is given.
    ///
    /// # Errors
    /// Those of [`load`](Self::load).
    pub fn load_with(
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        let variables: Vec<_> = variables.into_iter().collect();
        let names_file = |name: &OsStr| name.to_str() == Some(&format!("{PREFIX}{FILE}"));
        let file = variables.iter().find(|(name, file)| names_file(name) && !file.is_empty());
        let mut config = match file {
            Some((_, file)) => Self::from_toml_file(file)?,
            None => Self::default(),
        };
        config.set_from(&variables)?;
        Ok(config)
    }

    /// The defaults, with what a TOML file says.
    ///
    /// # Errors
    /// [`ConfigError`], with all settings that are unknown or have a wrong value.
    pub fn from_toml_file(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let table: Table = text.parse().map_err(|source| ConfigError::Syntax {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
        let mut config = Self::default();
        let mut wrong = Vec::new();
        for (key, value) in &table {
            let Some(setting) = SETTINGS.iter().find(|setting| setting.key == key) else {
                let hint = did_you_mean(key, SETTINGS.iter().map(|setting| setting.key));
                wrong.push(SettingError::Unknown { name: key.clone(), hint });
                continue;
            };
            if (setting.set)(&mut config, value).is_none() {
                let (name, found) = (key.clone(), value.to_string());
                wrong.push(SettingError::Value { name, found, expected: setting.expected });
            }
        }
        finish(path.display().to_string(), wrong)?;
        Ok(config)
    }

    fn set_from(&mut self, variables: &[(OsString, OsString)]) -> Result<(), ConfigError> {
        let mut wrong = Vec::new();
        let variable = |setting: &Setting| format!("{PREFIX}{}", setting.key.to_uppercase());
        for (name, value) in variables {
            let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else {
                continue;
            };
            let rest = &name[PREFIX.len()..];
            if OTHERS.contains(&rest) || OTHER_PREFIXES.iter().any(|start| rest.starts_with(start))
            {
                continue;
            }
            let Some(setting) = SETTINGS.iter().find(|setting| variable(setting) == name) else {
                let names: Vec<_> = SETTINGS.iter().map(variable).collect();
                // All begin alike, which makes everything look near.
                let known = names.iter().map(|name| &name[PREFIX.len()..]);
                let hint = did_you_mean(rest, known).replace("mean \"", "mean \"REMOTEMEDIA_");
                wrong.push(SettingError::Unknown { name: name.to_owned(), hint });
                continue;
            };
            // An empty variable is one that is not set.
            if value.is_empty() {
                continue;
            }
            let text = value.to_string_lossy();
            // A path that is not UTF-8 is not guessed at.
            let mut values = value.to_str().into_iter().flat_map(meanings);
            if !values.any(|value| (setting.set)(self, &value).is_some()) {
                let (name, found) = (name.to_owned(), format!("{text:?}"));
                wrong.push(SettingError::Value { name, found, expected: setting.expected });
            }
        }
        finish("environment".to_owned(), wrong)
    }
}

/// What a text may mean: a number, a truth, itself.
fn meanings(text: &str) -> impl Iterator<Item = Value> {
    let word = text.trim().to_ascii_lowercase();
    let whole = word.parse().ok().map(Value::Integer);
    let broken = word.parse().ok().filter(|n: &f64| n.is_finite()).map(Value::Float);
    let flag = match word.as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    };
    let itself = Some(Value::String(text.to_owned()));
    [whole, broken, flag.map(Value::Boolean), itself].into_iter().flatten()
}

fn finish(place: String, settings: Vec<SettingError>) -> Result<(), ConfigError> {
    if settings.is_empty() { Ok(()) } else { Err(ConfigError::Invalid { place, settings }) }
}
