//! An OpenTelemetry collector: takes traces over OTLP in http/protobuf, and shows what came.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::post;
use axum::{Router, serve};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::tls::{self, CertificateAuthority};

/// A span as it arrived.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// Its name.
    pub name: String,
    /// Which trace it belongs to.
    pub trace: Vec<u8>,
    /// Its own id.
    pub id: Vec<u8>,
    /// Its parent's; empty: it is a root.
    pub parent: Vec<u8>,
    /// Unix nanoseconds.
    pub begun: u64,
    /// Unix nanoseconds.
    pub ended: u64,
    /// 1 internal, 3 client.
    pub kind: i32,
    /// The texts among its attributes.
    pub attributes: BTreeMap<String, String>,
    /// The message of an error.
    pub error: Option<String>,
    /// The texts among its resource's attributes.
    pub resource: BTreeMap<String, String>,
}

#[derive(Debug, Default)]
struct Received {
    spans: Vec<Span>,
    bytes: Vec<u8>,
    headers: Vec<HeaderMap>,
}

/// The collector. It is gone when this is dropped.
#[derive(Debug)]
pub struct Collector {
    url: String,
    received: Arc<Mutex<Received>>,
    _serving: Serving,
}

/// What serves it, plain or with TLS; gone when dropped.
#[derive(Debug)]
enum Serving {
    Plain(JoinHandle<()>),
    Tls { _server: tls::Server },
}

impl Collector {
    /// Starts one on a free port.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let received = Arc::new(Mutex::new(Received::default()));
        let routes = routes(&received);
        let serving = tokio::spawn(async move {
            // axum retries a failed accept by itself and never returns an error
            let _ = serve(listener, routes).await;
        });
        Ok(Self { url, received, _serving: Serving::Plain(serving) })
    }

    /// The same over TLS.
    pub async fn start_tls(ca: &CertificateAuthority) -> Result<Self> {
        let received = Arc::new(Mutex::new(Received::default()));
        let server = tls::serve(routes(&received), ca).await?;
        Ok(Self { url: server.url(), received, _serving: Serving::Tls { _server: server } })
    }

    /// What `--otlp-endpoint` is told.
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// All spans so far.
    pub fn spans(&self) -> Vec<Span> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).spans.clone()
    }

    /// All bytes so far, as they came.
    pub fn bytes(&self) -> Vec<u8> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).bytes.clone()
    }

    /// Every text in all spans so far: names, attributes, messages, each on a line.
    pub fn text(&self) -> String {
        let lines = |span: Span| {
            let attributes = span.attributes.into_iter().chain(span.resource);
            let attributes = attributes.flat_map(|(name, value)| [name, value]);
            [span.name].into_iter().chain(attributes).chain(span.error).collect::<Vec<_>>()
        };
        self.spans().into_iter().flat_map(lines).collect::<Vec<_>>().join("\n")
    }

    /// The headers of each request.
    pub fn headers(&self) -> Vec<HeaderMap> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).headers.clone()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if let Self::Plain(serving) = self {
            serving.abort();
        }
    }
}

fn routes(received: &Arc<Mutex<Received>>) -> Router {
    Router::new().route("/v1/traces", post(take)).with_state(received.clone())
}

async fn take(State(received): State<Arc<Mutex<Received>>>, headers: HeaderMap, body: Bytes) -> impl IntoResponse {
    let protobuf = "application/x-protobuf";
    if headers.get(header::CONTENT_TYPE).is_none_or(|type_| type_ != protobuf) {
        return StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response();
    }
    let Ok(request) = ExportTraceServiceRequest::decode(body.clone()) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let mut received = received.lock().unwrap_or_else(PoisonError::into_inner);
    received.bytes.extend_from_slice(&body);
    received.headers.push(headers);
    for resource in request.resource_spans {
        let of = texts(&resource.resource.unwrap_or_default().attributes);
        let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
        received.spans.extend(spans.map(|span| Span {
            name: span.name,
            trace: span.trace_id,
            id: span.span_id,
            parent: span.parent_span_id,
            begun: span.start_time_unix_nano,
            ended: span.end_time_unix_nano,
            kind: span.kind,
            attributes: texts(&span.attributes),
            // 2 is an error
            error: span.status.filter(|status| status.code == 2).map(|status| status.message),
            resource: of.clone(),
        }));
    }
    ([(header::CONTENT_TYPE, protobuf)], ExportTraceServiceResponse::default().encode_to_vec()).into_response()
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |one: &KeyValue| match one.value.as_ref()?.value.as_ref()? {
        any_value::Value::StringValue(text) => Some((one.key.clone(), text.clone())),
        _ => None,
    };
    attributes.iter().filter_map(text).collect()
}
