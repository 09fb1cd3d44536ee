//! From text to a document, JSON or YAML.
//!
//! Main function: [`document`]. What the document means is not looked at here.

use std::fmt;
use std::path::Path;

use serde_json::Value;

use super::{Manifest, ManifestError};

/// The language of a manifest's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// JSON (RFC 8259).
    Json,
    /// YAML 1.2, of which only what JSON can say is used.
    Yaml,
}

impl Format {
    /// The format of a file, by the end of its name.
    pub(super) fn of(path: &Path) -> Self {
        let extension = path.extension().map(|end| end.to_string_lossy().to_lowercase());
        match extension.as_deref() {
            Some("yaml" | "yml") => Self::Yaml,
            _ => Self::Json,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Json => "JSON",
            Self::Yaml => "YAML",
        })
    }
}

/// The document of a text.
pub(super) fn document(
    text: &[u8],
    format: Format,
    file: Option<&Path>,
) -> Result<Value, ManifestError> {
    if text.len() > Manifest::MAX_LEN {
        return Err(ManifestError::TooLong { max: Manifest::MAX_LEN });
    }
    let read = match format {
        Format::Json => json(text),
        Format::Yaml => yaml(text),
    };
    read.map_err(|(line, column, message)| {
        let file = file.map(Path::to_owned);
        ManifestError::Syntax { format, file, line, column, message }
    })
}

/// Line, column, and what is wrong there.
type Wrong = (usize, usize, String);

fn json(text: &[u8]) -> Result<Value, Wrong> {
    serde_json::from_slice(text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let message = error.to_string();
        let place = format!(" at line {line} column {column}");
        (line, column, message.strip_suffix(&place).unwrap_or(&message).to_owned())
    })
}

/// Numbers of nodes, depth, aliases and of what these stand for are bounded by the reader's own
/// defaults, so a short text cannot become a large document.
fn yaml(text: &[u8]) -> Result<Value, Wrong> {
    let options = serde_saphyr::options! {
        strict_booleans: true,
        with_snippet: false,
    };
    serde_saphyr::from_slice_with_options(text, options).map_err(|error| {
        let number = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        let (line, column) =
            error.location().map_or((0, 0), |place| (number(place.line()), number(place.column())));
        let message = error.to_string();
        // The message ends with the place, which is told apart from it.
        let end = [" at line ", " (line ", "line "].iter().find_map(|mark| message.rfind(mark));
        let short = message[..end.unwrap_or(message.len())].trim_end_matches([',', ' ', ':']);
        (line, column, short.to_owned())
    })
}
