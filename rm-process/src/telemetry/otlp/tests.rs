//! Tests of the export, against an HTTP server that takes one request after the other.

use std::net::TcpListener;
use std::thread::JoinHandle;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry;

use super::super::{CallInfo, CallKind, client_span};
use super::*;

/// One request as the server saw it.
struct Seen {
    head: String,
    body: Vec<u8>,
}

/// Answers one request with `answer`; gives the endpoint, and the request once it has come.
fn serve(answer: &'static str) -> (String, JoinHandle<io::Result<Seen>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let address = listener.local_addr().expect("the listener is bound");
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept()?;
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            reader.read_line(&mut head)?;
        }
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length = length.and_then(|length| length.parse().ok()).unwrap_or_default();
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        stream.write_all(answer.as_bytes())?;
        Ok(Seen { head, body })
    });
    (format!("http://{address}"), server)
}

fn contains(body: &[u8], part: &[u8]) -> bool {
    body.windows(part.len()).any(|window| window == part)
}

#[test]
fn a_span_is_exported_when_the_guard_is_dropped() {
    let (endpoint, server) = serve("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let (layer, guard) = otlp(&endpoint, "night-shift").unwrap();
    let sent = tracing::subscriber::with_default(registry().with(layer), || {
        let (span, context) = client_span(CallInfo {
            kind: CallKind::Request,
            path: "trading.DataFetch",
            peer_pid: 4_711,
        });
        drop(span);
        context.expect("the span is recorded")
    });
    drop(guard);

    let Seen { head, body } = server.join().unwrap().unwrap();
    assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\nhost: 127.0.0.1:"), "{head}");
    assert!(head.contains("content-type: application/x-protobuf\r\n"), "{head}");
    for part in ["night-shift", "trading.DataFetch", "peer_pid"] {
        assert!(contains(&body, part.as_bytes()), "{part}");
    }
    assert!(contains(&body, &sent.trace_id) && contains(&body, &sent.span_id));
}

fn check_endpoint(endpoint: &str, expected: Option<&str>) {
    assert_eq!(traces_url(endpoint).as_deref(), expected, "{endpoint}");
}

#[test]
fn spans_go_to_the_path_of_traces_below_the_endpoint() {
    check_endpoint("http://localhost", Some("http://localhost/v1/traces"));
    check_endpoint("http://[::1]:4318/", Some("http://[::1]:4318/v1/traces"));
    check_endpoint("http://collector:80/otel/", Some("http://collector:80/otel/v1/traces"));
}

#[test]
fn an_endpoint_that_is_no_url_of_plain_http_is_refused() {
    for endpoint in ["", "localhost:4318", "https://localhost:4318", "unix:/run/collector"] {
        check_endpoint(endpoint, None);
    }
    for endpoint in ["http://", "http:///", "http://local host", "http://localhost:port"] {
        check_endpoint(endpoint, None);
    }
    let error = otlp::<registry::Registry>("https://localhost", "x").map(drop).unwrap_err();
    assert_eq!(
        error.to_string(),
        "endpoint \"https://localhost\" is no URL of plain HTTP, such as http://localhost:4318"
    );
}

fn check_response(answer: &str, expected: Result<u16, &str>) {
    let status = read_response(answer.as_bytes()).map(|response| response.status().as_u16());
    let status = status.map_err(|error| error.to_string());
    assert_eq!(status, expected.map_err(str::to_owned), "{answer:?}");
}

#[test]
fn an_answer_is_read_as_far_as_its_head() {
    check_response("HTTP/1.1 200 OK\r\n\r\n", Ok(200));
    check_response("HTTP/1.0 503\r\nretry-after: 1\r\n\r\nlater", Ok(503));
    check_response("", Err("the answer ends in its head"));
    check_response("HTTP/1.1 200 OK\r\n", Err("the answer ends in its head"));
    check_response("SSH-2.0-OpenSSH\r\n", Err("the answer is not HTTP/1"));
    check_response(
        "HTTP/1.1 200 OK\r\nnonsense\r\n\r\n",
        Err("the answer has a header without a colon"),
    );
    assert!(read_response("HTTP/1.1 abc\r\n\r\n".as_bytes()).is_err());
    let endless = "HTTP/1.1 200 OK\r\n".to_owned() + &"a: b\r\n".repeat(20_000);
    check_response(&endless, Err("the answer ends in its head"));
}

#[test]
fn the_delay_that_a_collector_asks_for_is_passed_on() {
    let (endpoint, server) = serve("HTTP/1.1 429 Slow down\r\nRetry-After: 3\r\n\r\n");
    let request = Request::post(format!("{endpoint}/v1/traces")).body(Bytes::from("spans"));
    let response = exchange(&request.unwrap()).unwrap();
    assert_eq!(response.status().as_u16(), 429);
    assert_eq!(response.headers()["retry-after"], "3");
    assert_eq!(server.join().unwrap().unwrap().body, b"spans");
}

#[test]
fn a_collector_that_is_not_there_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}/v1/traces", listener.local_addr().unwrap());
    drop(listener);
    let request = Request::post(endpoint).body(Bytes::new()).unwrap();
    assert!(exchange(&request).is_err());
}
