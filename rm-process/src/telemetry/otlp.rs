//! Export of spans by OTLP: protobuf over plain HTTP, in batches, from a thread of its own.
//!
//! Main function: [`otlp`]; main type: [`OtlpGuard`]. The few lines of HTTP that it needs are here,
//! so that no HTTP client and no TLS comes into the build: it talks to a collector nearby, which is
//! where TLS, authentication and further routing belong.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry::trace::TracerProvider;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{
    ExporterBuildError, Protocol, SpanExporter, WithExportConfig, WithHttpConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::registry::LookupSpan;

/// How long the collector may take to accept, to read on and to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Longest answer that is read.
const LONGEST_ANSWER: u64 = 64 * 1024;

/// Why spans cannot be exported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OtlpError {
    /// The endpoint is not one of plain HTTP.
    #[error("endpoint {endpoint:?} is no URL of plain HTTP, such as http://localhost:4318")]
    Endpoint {
        /// The endpoint as given.
        endpoint: String,
    },
    /// A variable `OTEL_EXPORTER_OTLP_…` of the environment makes no sense.
    #[error("exporter to {endpoint:?} cannot be made: {source}")]
    Exporter {
        /// The endpoint as given.
        endpoint: String,
        /// What is wrong.
        source: ExporterBuildError,
    },
}

/// Exports the spans of a subscriber until it is dropped; dropping it sends what is left, which
/// takes five seconds at most.
#[derive(Debug)]
#[must_use = "export ends when the guard is dropped"]
pub struct OtlpGuard {
    provider: SdkTracerProvider,
}

/// A layer that exports spans to the collector at `endpoint`, such as `http://localhost:4318`, as
/// those of the service `service_name`, and the guard that ends it.
///
/// It exports every span that reaches it. Spans of calls have the level `DEBUG`.
///
/// ```no_run
/// use rm_process::telemetry;
/// use tracing_subscriber::layer::SubscriberExt;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (layer, _guard) = telemetry::otlp("http://localhost:4318", "remotemedia")?;
/// let subscriber = tracing_subscriber::registry().with(layer);
/// tracing::subscriber::set_global_default(subscriber)?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`OtlpError::Endpoint`] if it is no URL of plain HTTP. Whether somebody listens there shows
/// later, and is logged: spans that cannot be sent are dropped.
pub fn otlp<S>(
    endpoint: &str,
    service_name: &str,
) -> Result<(impl Layer<S> + Send + Sync + use<S>, OtlpGuard), OtlpError>
where
    S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
{
    let Some(url) = traces_url(endpoint) else {
        return Err(OtlpError::Endpoint { endpoint: endpoint.to_owned() });
    };
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(PlainHttp::default())
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(url)
        .build()
        .map_err(|source| OtlpError::Exporter { endpoint: endpoint.to_owned(), source })?;
    let resource = Resource::builder().with_service_name(service_name.to_owned()).build();
    let provider =
        SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
    let layer = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("rm-process"))
        .with_location(false)
        .with_threads(false);
    Ok((layer, OtlpGuard { provider }))
}

/// Where a collector takes spans, if `endpoint` is a URL of plain HTTP with a host.
fn traces_url(endpoint: &str) -> Option<String> {
    let rest = endpoint.strip_prefix("http://")?;
    let url = format!("http://{}/v1/traces", rest.trim_end_matches('/'));
    let request = Request::post(&url).body(()).ok()?;
    let authority = request.uri().authority()?;
    // A port that is no number is kept as text, and would be taken for none.
    let is_whole = authority.port_u16().is_some() || authority.as_str() == authority.host();
    is_whole.then_some(url)
}

impl OtlpGuard {
    /// Sends the spans that have ended so far, and waits until they are sent. It blocks.
    pub fn flush(&self) {
        if let Err(error) = self.provider.force_flush() {
            tracing::warn!(%error, "spans could not be exported");
        }
    }
}

impl Drop for OtlpGuard {
    fn drop(&mut self) {
        if let Err(error) = self.provider.shutdown_with_timeout(PATIENCE) {
            tracing::warn!(%error, "the last spans could not be exported");
        }
    }
}

/// Sends requests from the exporter's own thread, where blocking keeps nobody waiting.
#[derive(Debug, Default)]
struct PlainHttp {
    failing: AtomicBool,
}

impl HttpClient for PlainHttp {
    fn send_bytes<'life0, 'async_trait>(
        &'life0 self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'async_trait>>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        let response = exchange(&request);
        // Said once, not with every batch.
        match (&response, self.failing.swap(response.is_err(), Ordering::Relaxed)) {
            (Err(error), false) => tracing::warn!(%error, uri = %request.uri(), "spans are lost"),
            (Ok(_), true) => tracing::info!(uri = %request.uri(), "spans are exported again"),
            _ => {}
        }
        Box::pin(std::future::ready(response))
    }
}

fn exchange(request: &Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
    let authority = request.uri().authority().ok_or("the endpoint names no host")?;
    let port = authority.port_u16().unwrap_or(80);
    let mut stream = connect(&format!("{}:{port}", authority.host()))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;

    let path = request.uri().path();
    let length = request.body().len();
    let mut head = format!("{} {path} HTTP/1.1\r\nhost: {authority}\r\n", request.method());
    head += &format!("content-length: {length}\r\nconnection: close\r\n");
    for (name, value) in request.headers() {
        head += &format!("{name}: {}\r\n", value.to_str()?);
    }
    stream.write_all((head + "\r\n").as_bytes())?;
    stream.write_all(request.body())?;
    read_response(stream)
}

fn connect(address: &str) -> io::Result<TcpStream> {
    let mut failure = io::ErrorKind::AddrNotAvailable.into();
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// Reads status and headers. The body says nothing that anybody here would act upon.
fn read_response(stream: impl Read) -> Result<Response<Bytes>, HttpError> {
    let mut lines = BufReader::new(stream.take(LONGEST_ANSWER)).lines();
    let mut next = || lines.next().ok_or("the answer ends in its head")?.map_err(HttpError::from);
    let status_line = next()?;
    let status = status_line.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1));
    let mut response = Response::builder().status(status.ok_or("the answer is not HTTP/1")?);
    loop {
        let line = next()?;
        match line.split_once(':') {
            Some((name, value)) => response = response.header(name, value.trim()),
            None if line.is_empty() => break,
            None => return Err("the answer has a header without a colon".into()),
        }
    }
    Ok(response.body(Bytes::new())?)
}

#[cfg(test)]
mod tests;
