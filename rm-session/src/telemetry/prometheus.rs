//! The figures of a runtime as text for Prometheus.
//!
//! Main type: [`PrometheusMetrics`]. It serves nothing; who has an HTTP server answers a scrape with
//! what it renders.

use metrics_exporter_prometheus::PrometheusBuilder;

use crate::runtime::Runtime;

/// Renders the figures of one runtime, apart from those of others and from any recorder that is
/// installed. Clones render the same.
///
/// ```
/// use rm_core::NodeRegistry;
/// use rm_session::{Runtime, RuntimeConfig};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let runtime = Runtime::new(RuntimeConfig::default(), NodeRegistry::new());
/// let text = runtime.prometheus().render().await;
/// assert!(text.contains("remotemedia_runtime_sessions 0\n"));
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct PrometheusMetrics {
    runtime: Runtime,
}

impl Runtime {
    /// What renders the figures of this runtime for Prometheus.
    pub fn prometheus(&self) -> PrometheusMetrics {
        PrometheusMetrics { runtime: self.clone() }
    }
}

impl PrometheusMetrics {
    /// The text for one scrape, `text/plain; version=0.0.4`: what
    /// [`Runtime::record_metrics`] puts into a recorder, without sessions that have ended.
    ///
    /// # Panics
    /// If it is called outside of a tokio runtime.
    pub async fn render(&self) -> String {
        let reading = self.runtime.reading().await;
        // A recorder never forgets the names of sessions that have ended; a fresh one has none.
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || reading.record());
        recorder.handle().render()
    }
}
