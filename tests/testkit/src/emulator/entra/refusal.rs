//! How Entra says no.
//!
//! Source: "Microsoft Entra authentication and authorization error codes"; where it leaves the status or the OAuth
//! error open, as seen in public clients' reports. The wording is ours: clients go by the numbers.

use crate::emulator::Call;
use axum::{
    Json,
    response::{IntoResponse as _, Response},
};
use chrono::Utc;
use http::StatusCode;
use serde_json::json;
use uuid::Uuid;

/// A refusal: status, OAuth error, AADSTS number, message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    status: StatusCode,
    error: &'static str,
    code: u32,
    message: String,
}

impl Refusal {
    fn new(status: StatusCode, error: &'static str, code: u32, message: impl Into<String>) -> Self {
        Self { status, error, code, message: message.into() }
    }

    fn bad_request(error: &'static str, code: u32, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error, code, message)
    }

    fn unauthorized(code: u32, message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "invalid_client", code, message)
    }

    pub(super) fn unknown_tenant(tenant: &str) -> Self {
        Self::bad_request("invalid_request", 90_002, format!("Tenant '{tenant}' not found."))
    }

    pub(super) fn unknown_application(client_id: &str, tenant: &str) -> Self {
        let message = format!("Application '{client_id}' was not found in the directory '{tenant}'.");
        Self::bad_request("unauthorized_client", 700_016, message)
    }

    pub(super) fn missing(parameter: &str) -> Self {
        Self::bad_request("invalid_request", 900_144, format!("The body must contain the parameter '{parameter}'."))
    }

    pub(super) fn unsupported_grant(grant_type: &str) -> Self {
        Self::bad_request("unsupported_grant_type", 70_003, format!("Grant type '{grant_type}' is not supported."))
    }

    pub(super) fn invalid_scope(scope: &str) -> Self {
        let message = format!("Scope '{scope}' is not valid: client credentials need the resource and '/.default'.");
        Self::bad_request("invalid_scope", 1_002_012, message)
    }

    pub(super) fn unknown_resource(resource: &str) -> Self {
        Self::bad_request("invalid_resource", 500_011, format!("Resource principal '{resource}' was not found."))
    }

    pub(super) fn no_credential() -> Self {
        Self::unauthorized(7_000_216, "'client_assertion' or 'client_secret' is required for client credentials.")
    }

    pub(super) fn invalid_secret(client_id: &str) -> Self {
        Self::unauthorized(7_000_215, format!("Invalid client secret provided for application '{client_id}'."))
    }

    pub(super) fn malformed_assertion() -> Self {
        Self::bad_request("invalid_request", 50_027, "The assertion is not a valid JWT.")
    }

    pub(super) fn invalid_signature(reason: &str) -> Self {
        Self::unauthorized(700_027, format!("Client assertion failed signature validation: {reason}."))
    }

    pub(super) fn out_of_time() -> Self {
        Self::unauthorized(700_024, "Client assertion is not within its valid time range.")
    }

    pub(super) fn wrong_assertion_audience(audience: &str) -> Self {
        Self::unauthorized(700_023, format!("Client assertion audience does not match '{audience}'."))
    }

    pub(super) fn no_federation(issuer: &str) -> Self {
        Self::bad_request("invalid_request", 70_021, format!("No federated identity record. Issuer: '{issuer}'."))
    }

    pub(super) fn unmatched_issuer(issuer: &str) -> Self {
        Self::unauthorized(700_211, format!("No matching federated identity record for issuer '{issuer}'."))
    }

    pub(super) fn unmatched_audience(audience: &str) -> Self {
        Self::unauthorized(700_212, format!("No matching federated identity record for audience '{audience}'."))
    }

    pub(super) fn unmatched_subject(subject: &str) -> Self {
        Self::unauthorized(700_213, format!("No matching federated identity record for subject '{subject}'."))
    }

    pub(super) fn unreachable_issuer(issuer: &str) -> Self {
        Self::bad_request("invalid_request", 90_061, format!("The keys of issuer '{issuer}' could not be read."))
    }

    /// What a test asks for.
    pub(super) fn other(status: StatusCode, message: &str) -> Self {
        let (error, code) = match status {
            StatusCode::TOO_MANY_REQUESTS => ("temporarily_unavailable", 50_196),
            status if status.is_server_error() => ("server_error", 90_033),
            _ => ("invalid_request", 900_144),
        };
        Self::new(status, error, code, message)
    }

    pub(super) fn answer(&self, call: &Call) -> Response {
        let Self { status, error, code, message } = self;
        let trace = call.request_id;
        let correlation = call.header("client-request-id").map_or_else(|| Uuid::new_v4().to_string(), str::to_owned);
        let time = Utc::now().format("%Y-%m-%d %H:%M:%SZ").to_string();
        let body = json!({
            "error": error,
            "error_description":
                format!("AADSTS{code}: {message} Trace ID: {trace} Correlation ID: {correlation} Timestamp: {time}"),
            "error_codes": [code],
            "timestamp": time,
            "trace_id": trace.to_string(),
            "correlation_id": correlation,
            "error_uri": format!("https://{}/error?code={code}", call.authority()),
        });
        (*status, Json(body)).into_response()
    }
}
