//! One attempt to issue a token, from the trigger of the reconcile to the status write that reports the result, and the
//! spans of its trace.
//!
//! The module is pure: callers pass the times. A span contains names, constant text, an ID, and messages that may
//! appear in a status. It never contains the token.

use chrono::TimeDelta;
use std::borrow::Cow;
use videotoken_core::issue::Class;
use videotoken_core::plan::status::class_name;
use videotoken_providers::clock::Timestamp;

/// Maximum number of writes that a trace records. If writes fail for hours, it contains the first ones.
const STEPS: usize = 24;

/// If a reconcile was triggered within this time after the renewal was due, the trace begins when it was due.
const DUE_TOLERANCE: TimeDelta = TimeDelta::seconds(5);

/// The VideoAccessToken of an attempt, and the cause of the issuance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceSubject {
    /// Namespace of the VideoAccessToken.
    pub namespace: String,
    /// Name of the VideoAccessToken.
    pub name: String,
    /// UID of the VideoAccessToken.
    pub uid: String,
    /// Provider as "Kind/name".
    pub provider: String,
    /// Cause of the issuance.
    pub cause: &'static str,
}

/// Result of one call of the token API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderCall {
    /// Provider type.
    pub provider_type: &'static str,
    /// Time at which the call began.
    pub start: Timestamp,
    /// Time at which the response was read.
    pub end: Timestamp,
    /// Request ID of the token API.
    pub request_id: Option<String>,
    /// Failure of the call, if any.
    pub failure: Option<SpanError>,
}

/// A failure, as a status reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpanError {
    /// Failure class; `None` for a write.
    pub class: Option<Class>,
    /// Reason in one CamelCase word.
    pub reason: Cow<'static, str>,
    /// Description of the failure.
    pub message: String,
}

/// A write to the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteTarget {
    /// Write of the Secret.
    Secret,
    /// Write of the status of the VideoAccessToken.
    Status,
}

/// A span of a trace.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// Name of the span, from a fixed set.
    pub name: &'static str,
    /// True if the span is a request to another process.
    pub client: bool,
    /// Start time.
    pub start: Timestamp,
    /// End time.
    pub end: Timestamp,
    /// Attributes of the span.
    pub attributes: Vec<(&'static str, String)>,
    /// Error message, if the operation failed.
    pub error: Option<String>,
}

/// An attempt in progress.
#[derive(Clone, Debug)]
pub struct IssueTrace {
    triggered: Timestamp,
    enqueued: Option<(Timestamp, TraceSubject)>,
    granted: Option<Timestamp>,
    call: Option<ProviderCall>,
    writes: Vec<(WriteTarget, Timestamp, Timestamp, Option<SpanError>)>,
}

impl IssueTrace {
    /// Starts an attempt for a reconcile that was triggered at `triggered`.
    pub fn new(triggered: Timestamp) -> Self {
        Self { triggered, enqueued: None, granted: None, call: None, writes: Vec::new() }
    }

    /// Records that the call entered the queue. `due` is the time at which the renewal was due.
    pub fn enqueue(&mut self, subject: TraceSubject, due: Option<Timestamp>, now: Timestamp) {
        if let Some(due) = due.filter(|due| *due < self.triggered && self.triggered - due < DUE_TOLERANCE) {
            self.triggered = due;
        }
        if self.enqueued.is_none() {
            self.enqueued = Some((now, subject));
        }
    }

    /// Records the grant.
    pub fn grant(&mut self, now: Timestamp) {
        self.granted = Some(now);
    }

    /// Records the call of the token API.
    pub fn call(&mut self, call: ProviderCall) {
        self.call = Some(call);
    }

    /// Records a write that succeeded or failed.
    pub fn write(&mut self, what: WriteTarget, start: Timestamp, end: Timestamp, failure: Option<SpanError>) {
        if self.writes.len() < STEPS {
            self.writes.push((what, start, end, failure));
        }
    }

    /// Returns true if the token API was called.
    pub fn is_called(&self) -> bool {
        self.call.is_some()
    }

    /// Returns the spans of the trace. The first is the root, and all others are its children. Returns none if no call
    /// was made.
    pub fn spans(&self, end: Timestamp) -> Vec<Span> {
        let (Some(call), Some((enqueued, subject))) = (&self.call, &self.enqueued) else { return Vec::new() };
        let mut spans = vec![self.root(call, subject, end)];
        spans.push(Span::new("reconcile", (self.triggered, *enqueued), Vec::new()));
        spans.push(Span::new("budget wait", (*enqueued, self.granted.unwrap_or(call.start)), Vec::new()));
        let mut attributes = vec![("videotoken.provider.type", call.provider_type.to_owned())];
        attributes.extend(call.request_id.clone().map(|id| ("videotoken.request.id", id)));
        let called = Span::new("provider call", (call.start, call.end), attributes);
        spans.push(called.with_client_kind().failed(call.failure.as_ref()));
        for (what, start, end, failure) in &self.writes {
            let name = match what {
                WriteTarget::Secret => "Secret write",
                WriteTarget::Status => "status write",
            };
            spans.push(Span::new(name, (*start, *end), Vec::new()).with_client_kind().failed(failure.as_ref()));
        }
        spans
    }

    fn root(&self, call: &ProviderCall, subject: &TraceSubject, end: Timestamp) -> Span {
        let stored = self.writes.iter().any(|(what, _, _, failure)| *what == WriteTarget::Secret && failure.is_none());
        let outcome = match (&call.failure, stored) {
            (Some(_), _) => "failed",
            (None, true) => "stored",
            (None, false) => "dropped",
        };
        let mut attributes = vec![
            ("k8s.namespace.name", subject.namespace.clone()),
            ("k8s.object.kind", "VideoAccessToken".to_owned()),
            ("k8s.object.name", subject.name.clone()),
            ("k8s.object.uid", subject.uid.clone()),
            ("videotoken.provider", subject.provider.clone()),
            ("videotoken.provider.type", call.provider_type.to_owned()),
            ("videotoken.cause", subject.cause.to_owned()),
            ("videotoken.outcome", outcome.to_owned()),
        ];
        attributes.extend(call.request_id.clone().map(|id| ("videotoken.request.id", id)));
        Span::new("issue token", (self.triggered, end), attributes).failed(call.failure.as_ref())
    }
}

impl Span {
    fn new(name: &'static str, (start, end): (Timestamp, Timestamp), attributes: Vec<(&'static str, String)>) -> Self {
        // If the clock was set back, a span ends when it began.
        Self { name, client: false, start, end: end.max(start), attributes, error: None }
    }

    fn with_client_kind(self) -> Self {
        Self { client: true, ..self }
    }

    fn failed(mut self, fault: Option<&SpanError>) -> Self {
        if let Some(fault) = fault {
            self.attributes.push(("error.type", fault.reason.to_string()));
            self.attributes.extend(fault.class.map(|class| ("videotoken.failure.class", class_name(class).to_owned())));
            self.error = Some(fault.message.clone());
        }
        self
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_timestamp_millis(1_790_000_000_000 + millis).unwrap()
    }

    fn subject() -> TraceSubject {
        TraceSubject {
            namespace: "lobby".into(),
            name: "screen".into(),
            uid: "u-1".into(),
            provider: "TokenProvider/indexer".into(),
            cause: "Due",
        }
    }

    fn call(failure: Option<SpanError>) -> ProviderCall {
        ProviderCall {
            provider_type: "videoIndexer",
            start: at(700),
            end: at(900),
            request_id: Some("r-1".to_owned()),
            failure,
        }
    }

    fn attribute<'a>(span: &'a Span, name: &str) -> Option<&'a str> {
        span.attributes.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    #[test]
    fn an_issuance_is_one_root_and_a_child_for_each_stretch_of_its_time() {
        let mut trace = IssueTrace::new(at(400));
        trace.enqueue(subject(), Some(at(0)), at(450));
        trace.grant(at(690));
        trace.call(call(None));
        let conflict = SpanError { class: None, reason: "Conflict".into(), message: "it changed".into() };
        trace.write(WriteTarget::Secret, at(910), at(920), Some(conflict));
        trace.write(WriteTarget::Secret, at(930), at(940), None);
        trace.write(WriteTarget::Status, at(945), at(960), None);
        let spans = trace.spans(at(961));
        let found: Vec<_> = spans.iter().map(|span| (span.name, span.start, span.end, span.error.is_some())).collect();
        assert_eq!(
            found,
            [
                // The root span begins when the renewal was due, not when the operator noticed.
                ("issue token", at(0), at(961), false),
                ("reconcile", at(0), at(450), false),
                ("budget wait", at(450), at(690), false),
                ("provider call", at(700), at(900), false),
                ("Secret write", at(910), at(920), true),
                ("Secret write", at(930), at(940), false),
                ("status write", at(945), at(960), false),
            ]
        );
        for (name, expected) in [
            ("k8s.namespace.name", "lobby"),
            ("k8s.object.name", "screen"),
            ("videotoken.cause", "Due"),
            ("videotoken.outcome", "stored"),
            ("videotoken.request.id", "r-1"),
        ] {
            assert_eq!(attribute(&spans[0], name), Some(expected), "{name}");
        }
        assert!(!spans[0].client && spans[3].client && !spans[2].client);
    }

    #[test]
    fn a_failure_is_told_by_the_call_and_by_the_root() {
        let mut trace = IssueTrace::new(at(0));
        trace.enqueue(subject(), None, at(1));
        let fault = SpanError { class: Some(Class::Denied), reason: "Forbidden".into(), message: "no role".into() };
        trace.call(call(Some(fault)));
        let spans = trace.spans(at(1000));
        for span in [&spans[0], &spans[3]] {
            assert_eq!(span.error.as_deref(), Some("no role"));
            assert_eq!(attribute(span, "error.type"), Some("Forbidden"));
            assert_eq!(attribute(span, "videotoken.failure.class"), Some("Denied"));
        }
        assert_eq!(attribute(&spans[0], "videotoken.outcome"), Some("failed"));
    }

    #[test]
    fn without_a_call_there_is_no_trace_and_a_long_overdue_renewal_begins_when_it_was_woken() {
        let mut trace = IssueTrace::new(at(60_000));
        trace.enqueue(subject(), Some(at(0)), at(60_001));
        assert_eq!(trace.spans(at(60_002)), []);
        trace.call(call(None));
        assert_eq!(trace.spans(at(61_000))[0].start, at(60_000));
    }

    #[test]
    fn writes_that_fail_for_hours_take_no_more_room() {
        let mut trace = IssueTrace::new(at(0));
        trace.enqueue(subject(), None, at(1));
        trace.call(call(None));
        for _ in 0..1000 {
            trace.write(WriteTarget::Secret, at(910), at(920), None);
        }
        assert_eq!(trace.spans(at(1000)).len(), 4 + STEPS);
    }
}
