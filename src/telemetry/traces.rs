//! Optional traces over OTLP: one for each attempt to issue a token.
//!
//! Exports only the content of [`issue_trace`](super::issue_trace), never log lines or spans of other crates. The `OTEL_…`
//! variables of the OpenTelemetry specification apply: headers, timeout, sampler, batches, resource. If a collector
//! doesn't respond, only spans are lost: they wait in a bounded queue and are dropped when it is full.

use super::issue_trace::{IssueTrace, ProviderCall, Span, SpanError, TraceSubject, WriteTarget};
use async_trait::async_trait;
use opentelemetry::trace::{Span as _, SpanKind, Status, TraceContextExt, Tracer, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use parking_lot::{Mutex, MutexGuard};
use reqwest::header::{CONTENT_TYPE, USER_AGENT};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};
use tokio::runtime::Handle;
use url::Url;
use videotoken_api::key::ObjectKey;
use videotoken_providers::clock::{self, Timestamp};
use videotoken_providers::http::{Call as HttpCall, Http, HttpOptions};

/// Time after which a collector counts as unreachable.
const TIMEOUT: Duration = Duration::from_secs(5);

const PROTOBUF: &str = "application/x-protobuf";

/// Time limit for sending the last spans.
const LAST_SPANS: Duration = Duration::from_secs(2);

/// Variables that enable traces if no flag does.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];

/// Error that prevents the export of traces.
#[derive(Debug, thiserror::Error)]
#[error("--otlp-endpoint or OTEL_EXPORTER_OTLP_ENDPOINT: {0}")]
pub struct TracesError(String);

/// Records one trace for each attempt to issue a token. If tracing is disabled, all methods are no-ops. Clones share
/// state.
#[derive(Clone, Debug, Default)]
pub struct Traces(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    open_traces: Mutex<HashMap<ObjectKey, IssueTrace>>,
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

impl Traces {
    /// Starts the export to the collector at `endpoint` plus `/v1/traces`, or to the endpoint of the environment.
    /// Returns a disabled instance if neither is set. Requires a tokio runtime.
    pub fn start(endpoint: Option<&Url>) -> Result<Self, TracesError> {
        let named = ENDPOINTS.into_iter().any(|name| std::env::var(name).is_ok_and(|value| !value.is_empty()));
        if endpoint.is_none() && !named {
            return Ok(Self::default());
        }
        let exporter = SpanExporter::builder().with_http().with_http_client(Collector::new()?);
        let exporter = exporter.with_protocol(Protocol::HttpBinary).with_timeout(TIMEOUT);
        let exporter = match endpoint {
            Some(base) => exporter.with_endpoint(format!("{}/v1/traces", base.as_str().trim_end_matches('/'))),
            None => exporter,
        };
        let exporter = exporter.build().map_err(|error| TracesError(error.to_string()))?;
        let provider = SdkTracerProvider::builder().with_resource(resource()).with_batch_exporter(exporter).build();
        let tracer = provider.tracer(env!("CARGO_PKG_NAME"));
        Ok(Self(Some(Arc::new(Inner { open_traces: Mutex::default(), provider, tracer }))))
    }

    /// Records the trigger of a reconcile.
    pub fn triggered(&self, key: &ObjectKey) {
        let Some(mut all) = self.open_traces() else { return };
        all.entry(key.clone()).or_insert_with(|| IssueTrace::new(clock::now().wall));
    }

    /// Records that the call entered the queue. `due` is the time at which the renewal was due.
    pub fn enqueued(&self, key: &ObjectKey, subject: impl FnOnce() -> TraceSubject, due: Option<Timestamp>) {
        let Some(mut all) = self.open_traces() else { return };
        let now = clock::now().wall;
        all.entry(key.clone()).or_insert_with(|| IssueTrace::new(now)).enqueue(subject(), due, now);
    }

    /// Records the grant.
    pub fn granted(&self, key: &ObjectKey) {
        self.record(key, |trace| trace.grant(clock::now().wall));
    }

    /// Records the call of the token API.
    pub fn called(&self, key: &ObjectKey, call: impl FnOnce() -> ProviderCall) {
        self.record(key, |trace| trace.call(call()));
    }

    /// Records a write that began at `start` and succeeded or failed.
    pub fn wrote(
        &self,
        key: &ObjectKey,
        what: WriteTarget,
        start: Timestamp,
        failure: impl FnOnce() -> Option<SpanError>,
    ) {
        self.record(key, |trace| trace.write(what, start, clock::now().wall, failure()));
    }

    /// Records that the status is up to date, and exports the trace unless the attempt continues. `waits` means that a
    /// call is queued, `holds` that a token is not stored yet.
    pub fn settled(&self, key: &ObjectKey, waits: bool, holds: bool) {
        let Some(mut all) = self.open_traces() else { return };
        let goes_on = all.get(key).is_none_or(|trace| if trace.is_called() { holds } else { waits });
        let done = if goes_on { None } else { all.remove(key) };
        drop(all);
        if let (Some(trace), Some(inner)) = (done, &self.0) {
            inner.export(&trace.spans(clock::now().wall));
        }
    }

    /// Exports the attempt of a deleted object.
    pub fn deleted(&self, key: &ObjectKey) {
        self.settled(key, false, false);
    }

    /// Sends the remaining spans, for up to two seconds.
    pub async fn stop(&self) {
        let Some(inner) = self.0.clone() else { return };
        let stop = tokio::task::spawn_blocking(move || inner.provider.shutdown_with_timeout(LAST_SPANS));
        // A collector that doesn't respond misses the last spans.
        let _ = tokio::time::timeout(LAST_SPANS, stop).await;
    }

    fn record(&self, key: &ObjectKey, record: impl FnOnce(&mut IssueTrace)) {
        let Some(mut all) = self.open_traces() else { return };
        if let Some(trace) = all.get_mut(key) {
            record(trace);
        }
    }

    fn open_traces(&self) -> Option<MutexGuard<'_, HashMap<ObjectKey, IssueTrace>>> {
        self.0.as_ref().map(|inner| inner.open_traces.lock())
    }
}

impl Inner {
    /// Exports the spans. The first is the parent of the others.
    fn export(&self, spans: &[Span]) {
        let Some((root, children)) = spans.split_first() else { return };
        // A context of the caller is not part of this trace.
        let context = Context::new().with_span(self.begin(root, &Context::new()));
        for child in children {
            self.begin(child, &context).end_with_timestamp(child.end.into());
        }
        context.span().end_with_timestamp(root.end.into());
    }

    fn begin(&self, span: &Span, parent: &Context) -> opentelemetry_sdk::trace::Span {
        let attributes = span.attributes.iter().map(|(name, value)| KeyValue::new(*name, value.clone()));
        let builder = self.tracer.span_builder(span.name).with_attributes(attributes.collect::<Vec<_>>());
        let builder = builder.with_start_time(SystemTime::from(span.start));
        let builder = builder.with_kind(if span.client { SpanKind::Client } else { SpanKind::Internal });
        let mut started = builder.start_with_context(&self.tracer, parent);
        if let Some(message) = &span.error {
            started.set_status(Status::error(message.clone()));
        }
        started
    }
}

/// Returns the resource of the spans: the name from the environment, else the operator's, and the Pod it runs in.
fn resource() -> Resource {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let mut attributes = vec![KeyValue::new("service.version", env!("CARGO_PKG_VERSION"))];
    for (attribute, variable) in [("k8s.pod.name", "POD_NAME"), ("k8s.namespace.name", "POD_NAMESPACE")] {
        attributes.extend(set(variable).map(|value| KeyValue::new(attribute, value)));
    }
    let named = set("OTEL_SERVICE_NAME").is_some()
        || set("OTEL_RESOURCE_ATTRIBUTES").is_some_and(|all| all.contains("service.name="));
    let builder = Resource::builder().with_attributes(attributes);
    if named { builder.build() } else { builder.with_service_name(env!("CARGO_PKG_NAME")).build() }
}

/// Connection to the collector through the operator's own HTTP client and its runtime. A second client would need proxies,
/// CAs and redaction of its own.
struct Collector {
    http: Http,
    runtime: Handle,
    /// True after a rejected batch until one succeeds, so that the failure is logged once.
    unreachable: AtomicBool,
}

impl Collector {
    fn new() -> Result<Self, TracesError> {
        // The administrator of the operator configures the collector: any host is permitted, and HTTP without
        // TLS inside the cluster.
        let options = HttpOptions { timeout: TIMEOUT, allow_insecure: true, ..HttpOptions::default() };
        let http = Http::new(&options).map_err(|error| TracesError(error.to_string()))?;
        let runtime = Handle::try_current().map_err(|error| TracesError(error.to_string()))?;
        Ok(Self { http, runtime, unreachable: AtomicBool::new(false) })
    }

    fn log_change(&self, problem: Option<&str>) {
        match (problem, self.unreachable.swap(problem.is_some(), Ordering::Relaxed)) {
            (Some(problem), false) => {
                tracing::warn!(problem, "the collector takes no traces: they are dropped until it does");
            }
            (None, true) => tracing::info!("the collector takes traces again"),
            _ => {}
        }
    }
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector").finish_non_exhaustive()
    }
}

/// Converts the request for the operator's HTTP client. Each header from the environment is treated as a credential.
fn call(request: Request<Bytes>) -> Result<HttpCall, HttpError> {
    let (parts, body) = request.into_parts();
    let mut call = HttpCall::new(parts.method, parts.uri.to_string().parse()?).body(body.to_vec(), PROTOBUF);
    for (name, value) in &parts.headers {
        if name != CONTENT_TYPE && name != USER_AGENT {
            call = call.secret_header(name.clone(), &value.to_str()?.into());
        }
    }
    Ok(call)
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (http, call) = (self.http.clone(), call(request)?);
        // The exporter runs on a thread of its own, without a runtime.
        let answer = self.runtime.spawn(async move { http.send(call).await }).await?;
        let problem = match &answer {
            Ok(answer) if answer.is_success() => None,
            Ok(answer) => Some(answer.refusal().message),
            Err(error) => Some(error.message.clone()),
        };
        self.log_change(problem.as_deref());
        let answer = answer?;
        Ok(Response::builder().status(answer.status).body(answer.body.into())?)
    }
}
