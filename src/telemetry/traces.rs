//! Traces over OTLP, as an option: one for each attempt to issue a token.
//!
//! Only what [`journey`](super::journey) says is exported, never a log line or a span of another crate. The `OTEL_…`
//! variables of the OpenTelemetry specification hold: headers, timeout, sampler, batches, resource. A collector that
//! doesn't answer costs spans and nothing else: they wait in a bounded queue and are dropped when it is full.

use super::journey::{Call, Fault, Journey, Span, Subject, Written};
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

/// A collector that takes longer is one that doesn't answer.
const TIMEOUT: Duration = Duration::from_secs(5);

const PROTOBUF: &str = "application/x-protobuf";

/// The last spans are sent within this.
const LAST_SPANS: Duration = Duration::from_secs(2);

/// The variables that switch traces on where no flag does.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];

/// Why traces can't be sent.
#[derive(Debug, thiserror::Error)]
#[error("--otlp-endpoint or OTEL_EXPORTER_OTLP_ENDPOINT: {0}")]
pub struct TracesError(String);

/// Who follows the attempts. Switched off it does nothing and keeps nothing. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Traces(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    under_way: Mutex<HashMap<ObjectKey, Journey>>,
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

impl Traces {
    /// Sends to the collector at `endpoint`, to which `/v1/traces` is added, or to where the environment says; off if
    /// neither names one. Within a tokio runtime.
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
        Ok(Self(Some(Arc::new(Inner { under_way: Mutex::default(), provider, tracer }))))
    }

    /// Something woke the object.
    pub fn woken(&self, key: &ObjectKey) {
        let Some(mut all) = self.under_way() else { return };
        all.entry(key.clone()).or_insert_with(|| Journey::new(clock::now().wall));
    }

    /// It asks for a turn; `due` is when its renewal was.
    pub fn asked(&self, key: &ObjectKey, subject: impl FnOnce() -> Subject, due: Option<Timestamp>) {
        let Some(mut all) = self.under_way() else { return };
        let now = clock::now().wall;
        all.entry(key.clone()).or_insert_with(|| Journey::new(now)).ask(subject(), due, now);
    }

    /// Its turn has come.
    pub fn granted(&self, key: &ObjectKey) {
        self.note(key, |journey| journey.grant(clock::now().wall));
    }

    /// Its provider was called.
    pub fn called(&self, key: &ObjectKey, call: impl FnOnce() -> Call) {
        self.note(key, |journey| journey.call(call()));
    }

    /// Something of it was written since `begun`, or refused.
    pub fn wrote(&self, key: &ObjectKey, what: Written, begun: Timestamp, failure: impl FnOnce() -> Option<Fault>) {
        self.note(key, |journey| journey.write(what, begun, clock::now().wall, failure()));
    }

    /// Its status says how things stand. `waits`: a turn is asked for; `holds`: a token is still to be stored.
    pub fn settled(&self, key: &ObjectKey, waits: bool, holds: bool) {
        let Some(mut all) = self.under_way() else { return };
        let goes_on = all.get(key).is_none_or(|journey| if journey.is_called() { holds } else { waits });
        let done = if goes_on { None } else { all.remove(key) };
        drop(all);
        if let (Some(journey), Some(inner)) = (done, &self.0) {
            inner.export(&journey.spans(clock::now().wall));
        }
    }

    /// The object is gone: what was done for it is told all the same.
    pub fn gone(&self, key: &ObjectKey) {
        self.settled(key, false, false);
    }

    /// Sends what is left, within two seconds.
    pub async fn stop(&self) {
        let Some(inner) = self.0.clone() else { return };
        let stop = tokio::task::spawn_blocking(move || inner.provider.shutdown_with_timeout(LAST_SPANS));
        // who doesn't listen misses the last of it
        let _ = tokio::time::timeout(LAST_SPANS, stop).await;
    }

    fn note(&self, key: &ObjectKey, note: impl FnOnce(&mut Journey)) {
        let Some(mut all) = self.under_way() else { return };
        if let Some(journey) = all.get_mut(key) {
            note(journey);
        }
    }

    fn under_way(&self) -> Option<MutexGuard<'_, HashMap<ObjectKey, Journey>>> {
        self.0.as_ref().map(|inner| inner.under_way.lock())
    }
}

impl Inner {
    /// The first is the parent of the others.
    fn export(&self, spans: &[Span]) {
        let Some((root, children)) = spans.split_first() else { return };
        // the caller's own context, if it has one, is no part of this
        let context = Context::new().with_span(self.begin(root, &Context::new()));
        for child in children {
            self.begin(child, &context).end_with_timestamp(child.ended.into());
        }
        context.span().end_with_timestamp(root.ended.into());
    }

    fn begin(&self, span: &Span, parent: &Context) -> opentelemetry_sdk::trace::Span {
        let attributes = span.attributes.iter().map(|(name, value)| KeyValue::new(*name, value.clone()));
        let builder = self.tracer.span_builder(span.name).with_attributes(attributes.collect::<Vec<_>>());
        let builder = builder.with_start_time(SystemTime::from(span.begun));
        let builder = builder.with_kind(if span.client { SpanKind::Client } else { SpanKind::Internal });
        let mut begun = builder.start_with_context(&self.tracer, parent);
        if let Some(message) = &span.error {
            begun.set_status(Status::error(message.clone()));
        }
        begun
    }
}

/// Who sends: named by us where the environment doesn't, with the Pod that it runs in.
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

/// The collector, asked by the operator's own HTTP client, on its runtime.
struct Collector {
    http: Http,
    runtime: Handle,
    /// The last batch was not taken: told once, until one is.
    away: AtomicBool,
}

impl Collector {
    fn new() -> Result<Self, TracesError> {
        // who starts the operator names it: any host, and inside the cluster without TLS
        let options = HttpOptions { timeout: TIMEOUT, allow_insecure: true, ..HttpOptions::default() };
        let http = Http::new(&options).map_err(|error| TracesError(error.to_string()))?;
        let runtime = Handle::try_current().map_err(|error| TracesError(error.to_string()))?;
        Ok(Self { http, runtime, away: AtomicBool::new(false) })
    }

    fn note(&self, problem: Option<&str>) {
        match (problem, self.away.swap(problem.is_some(), Ordering::Relaxed)) {
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

/// The same request for the operator's client. Each header of the environment's may be a login.
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
        // whoever exports does so on a thread of its own, without a runtime
        let answer = self.runtime.spawn(async move { http.send(call).await }).await?;
        let problem = match &answer {
            Ok(answer) if answer.is_success() => None,
            Ok(answer) => Some(answer.refusal().message),
            Err(error) => Some(error.message.clone()),
        };
        self.note(problem.as_deref());
        let answer = answer?;
        Ok(Response::builder().status(answer.status).body(answer.body.into())?)
    }
}
