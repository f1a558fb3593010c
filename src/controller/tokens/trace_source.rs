//! Input of a trace. It contains only facts that a status may report too.

use crate::controller::tokens::observe::ObservedToken;
use crate::telemetry::issue_trace::{ProviderCall, SpanError, TraceSubject};
use videotoken_core::plan::decide::{Decision, IssueCause};
use videotoken_core::plan::write_failure::ApiError;
use videotoken_providers::clock::Timestamp;
use videotoken_providers::{IssueError, Issued};

/// Returns the VideoAccessToken whose token is issued, and the cause.
pub(crate) fn subject(seen: &ObservedToken, decision: &Decision) -> TraceSubject {
    TraceSubject {
        namespace: seen.token.key.namespace.to_string(),
        name: seen.token.key.name.to_string(),
        uid: seen.token.uid_text().to_owned(),
        provider: seen.provider.clone().unwrap_or_default(),
        cause: decision.cause.map_or("", IssueCause::name),
    }
}

/// Returns the result of a call. Contains only the request ID of an issued token.
pub(crate) fn call(
    provider_type: &'static str,
    (start, end): (Timestamp, Timestamp),
    result: &Result<Issued, IssueError>,
) -> ProviderCall {
    let (request_id, failure) = match result {
        Ok(issued) => (issued.request_id.clone(), None),
        Err(error) => {
            let fault =
                SpanError { class: Some(error.class), reason: error.reason.clone(), message: error.message.clone() };
            (error.request_id.clone(), Some(fault))
        }
    };
    ProviderCall { provider_type, start, end, request_id, failure }
}

/// Returns the failure of a write.
pub(crate) fn fault(error: &ApiError) -> SpanError {
    SpanError { class: None, reason: error.name().into(), message: error.to_string() }
}
