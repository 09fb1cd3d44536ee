//! Files of failures, which are kept in debug mode.
//!
//! Main function: [`keep`].

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rm_bridge::{FailureReport, with_causes};
use rm_core::SessionId;
use serde::Serialize;

use crate::config::RuntimeConfig;
use crate::error::SessionError;

/// What is written of a failure.
#[derive(Serialize)]
struct Kept<'a> {
    session: &'a SessionId,
    node: Option<&'a str>,
    error: String,
    report: Option<&'a FailureReport>,
}

/// Writes what is known of a failure into a file of the configured folder, in debug mode. What cannot
/// be written is logged: a failure is told in any case.
pub(crate) fn keep(
    config: &RuntimeConfig,
    session: &SessionId,
    error: &SessionError,
    report: Option<&FailureReport>,
) {
    if !config.debug_mode {
        return;
    }
    let Some(folder) = config.failure_dir.clone().or_else(default_folder) else {
        return tracing::warn!("there is no folder for files of failures: HOME is not set");
    };
    let node = error.node().map(rm_core::NodeId::as_str);
    let kept = Kept { session, node, error: with_causes(error), report: report.or(error.report()) };
    match write(&folder, &kept) {
        Ok(path) => tracing::info!(path = %path.display(), "a file of a failure was written"),
        Err(error) => {
            tracing::warn!(%error, folder = %folder.display(), "a file of a failure is not written");
        }
    }
}

fn write(folder: &Path, kept: &Kept<'_>) -> std::io::Result<PathBuf> {
    std::fs::create_dir_all(folder)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let node = kept.node.unwrap_or("session").replace(':', "-");
    let path = folder.join(format!("{}-{node}-{now}.json", kept.session));
    std::fs::write(&path, serde_json::to_string_pretty(kept)?)?;
    Ok(path)
}

/// `remotemedia/failures` in `$XDG_STATE_HOME` or `~/.local/state`.
fn default_folder() -> Option<PathBuf> {
    let absolute =
        |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME");
    let state = state.or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
    Some(state.join("remotemedia/failures"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_kept_in_debug_mode_only() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("failures");
        let mut config =
            RuntimeConfig { failure_dir: Some(inner.clone()), ..RuntimeConfig::default() };
        let session = SessionId::new("speech").unwrap();
        let error = SessionError::Cancelled;
        keep(&config, &session, &error, None);
        assert!(!inner.exists());
        config.debug_mode = true;
        keep(&config, &session, &error, None);
        let files: Vec<_> = std::fs::read_dir(&inner).unwrap().flatten().collect();
        assert_eq!(files.len(), 1);
        let text = std::fs::read_to_string(files[0].path()).unwrap();
        let kept: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(kept["session"], "speech");
        assert_eq!(kept["error"], "the session was cancelled");
    }
}
