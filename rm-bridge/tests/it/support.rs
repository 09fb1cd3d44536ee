//! What the tests of bridges share.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rm_bridge::{
    BridgeMetrics, ExecutorBridge, MultiprocessBridgeOptions, MultiprocessExecutor,
    MultiprocessExecutorBridge, NativeExecutorBridge,
};
use rm_core::RuntimeData;

use crate::nodes::registry;

/// A bridge, and what it stands on.
pub(crate) struct Subject<B: ?Sized = dyn ExecutorBridge> {
    pub(crate) metrics: Arc<BridgeMetrics>,
    pub(crate) bridge: Arc<B>,
    pub(crate) folder: tempfile::TempDir,
}

impl<B: ExecutorBridge + 'static> Subject<B> {
    pub(crate) fn into_any(self) -> Subject {
        let Self { metrics, bridge, folder } = self;
        Subject { metrics, bridge, folder }
    }
}

pub(crate) fn native() -> Subject<NativeExecutorBridge> {
    let bridge = NativeExecutorBridge::new(Arc::new(registry()));
    let folder = tempfile::tempdir().expect("a folder");
    Subject { metrics: bridge.metrics().clone(), bridge: Arc::new(bridge), folder }
}

/// A script that stands where the interpreter stands: it runs `examples/node_worker.rs`.
fn interpreter(folder: &Path) -> PathBuf {
    let script = folder.join("python");
    let binary = std::env::current_exe().expect("a test binary");
    let profile = binary.parent().and_then(Path::parent).expect("target/PROFILE/deps/it");
    let worker = profile.join("examples/node_worker");
    assert!(worker.exists(), "`cargo test` without --test builds {}", worker.display());
    let text = format!("#!/bin/sh\nexec '{}'\n", worker.display());
    std::fs::write(&script, text).expect("a script");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o700)).expect("a script");
    script
}

pub(crate) fn options(folder: &Path) -> MultiprocessBridgeOptions {
    MultiprocessBridgeOptions {
        python: Some(interpreter(folder)),
        ..MultiprocessBridgeOptions::default()
    }
}

pub(crate) fn multiprocess() -> Subject<MultiprocessExecutorBridge> {
    multiprocess_with(|options| options)
}

pub(crate) fn multiprocess_with(
    change: impl FnOnce(MultiprocessBridgeOptions) -> MultiprocessBridgeOptions,
) -> Subject<MultiprocessExecutorBridge> {
    let folder = tempfile::tempdir().expect("a folder");
    let executor = MultiprocessExecutor::new().expect("a spawner");
    let options = change(options(folder.path()));
    let bridge = MultiprocessExecutorBridge::new(Arc::new(executor), "test-session", options);
    let bridge = bridge.expect("shared memory");
    Subject { metrics: bridge.metrics().clone(), bridge: Arc::new(bridge), folder }
}

pub(crate) fn text(text: &str) -> RuntimeData {
    RuntimeData::text(text).expect("short")
}

/// Nothing may hang.
pub(crate) async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), work).await.expect("nothing hangs")
}
