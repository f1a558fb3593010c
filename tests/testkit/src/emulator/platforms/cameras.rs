//! Milestone, Google Nest and Verkada.
//!
//! Milestone: the identity provider of the management server, with the grant `password` for basic users
//! (milestonesys/mipsdk-samples-protocol, `AlarmsRestApiPython/identity_provider.py`). Failures have the form of RFC 6749
//! with `error_description`. Failed logins lock the user. The vendor doesn't document after how many, and how a locked user
//! is answered: here after five, as a wrong password, until the test unlocks the user.
//!
//! Nest: an access token of Google's token endpoint, then a command to the Smart Device Management API, whose failures are
//! those of its error reference (developers.google.com/nest/device-access/reference/errors/api).
//!
//! Verkada: the key as `x-api-key`. An unknown key is HTTP 401, one without the permission 403
//! (apidocs.verkada.com/reference-link/response-codes).

use super::{Exp, Platforms, Refusal, Reply, example};
use crate::emulator::{Call, Grant, locked};
use chrono::{DateTime, SecondsFormat};
use http::StatusCode;
use serde_json::json;
use std::time::Duration;
use uuid::Uuid;

/// Failed logins that lock a user of Milestone.
const LOCKING_LOGINS: u32 = 5;

/// The command that asks for an RTSP stream.
const GENERATE_RTSP: &str = "sdm.devices.commands.CameraLiveStream.GenerateRtspStream";

/// A failure of Google's APIs.
pub(super) fn google_failure(status: StatusCode, message: &str) -> Refusal {
    let word = match status {
        StatusCode::BAD_REQUEST => "INVALID_ARGUMENT",
        StatusCode::UNAUTHORIZED => "UNAUTHENTICATED",
        StatusCode::FORBIDDEN => "PERMISSION_DENIED",
        StatusCode::NOT_FOUND => "NOT_FOUND",
        StatusCode::TOO_MANY_REQUESTS => "RESOURCE_EXHAUSTED",
        _ => "INTERNAL",
    };
    google_failure_of(status, word, message)
}

fn google_failure_of(status: StatusCode, word: &str, message: &str) -> Refusal {
    Refusal::new(status, json!({"error": {"code": status.as_u16(), "message": message, "status": word}}))
}

/// A failure of Verkada. `id` differs between failures.
pub(super) fn verkada_failure(status: StatusCode, message: &str) -> Refusal {
    Refusal::new(status, json!({"id": "0e2d", "message": message, "data": null}))
}

/// A failure as RFC 6749 §5.2 has it.
fn oauth_failure(status: StatusCode, error: &str, description: &str) -> Refusal {
    Refusal::new(status, json!({"error": error, "error_description": description}))
}

impl Platforms {
    /// Enables the user of Milestone again.
    pub fn unlock_user(&self) {
        *locked(&self.failed_logins) = 0;
    }

    pub(super) fn milestone(&self, call: &Call) -> Result<Reply, Refusal> {
        let failed = |error: &str, description: &str| oauth_failure(StatusCode::BAD_REQUEST, error, description);
        if call.form("client_id").as_deref() != Some("GrantValidatorClient") {
            return Err(failed("invalid_client", "unknown client"));
        }
        if call.form("grant_type").as_deref() != Some("password") {
            return Err(failed("unsupported_grant_type", "the grant is not supported here"));
        }
        let (Some(user), Some(password)) = (call.form("username"), call.form("password")) else {
            return Err(failed("invalid_request", "username and password are required"));
        };
        let mut logins = locked(&self.failed_logins);
        let right = (user.as_str(), password.as_str()) == (example::USERNAME, example::PASSWORD);
        if *logins >= LOCKING_LOGINS || !right {
            *logins = logins.saturating_add(1);
            return Err(failed("invalid_grant", "invalid_username_or_password"));
        }
        *logins = 0;
        drop(logins);
        let grant = Grant { account: "milestone", request: "token", life: Duration::from_hours(1) };
        let (token, validity) = self.jwt(call, grant, Exp::Number);
        let life = validity.expires_at.map(|at| at - validity.issued_at);
        Ok(Reply::json(json!({"access_token": token, "expires_in": life, "token_type": "Bearer",
            "scope": "managementserver"})))
    }

    /// Google's token endpoint.
    pub(super) fn google_oauth(&self, call: &Call) -> Result<Reply, Refusal> {
        let client = call.form("client_id").zip(call.form("client_secret"));
        if client != Some((example::CLIENT_ID.to_owned(), example::CLIENT_SECRET.to_owned())) {
            let text = "The OAuth client was not found.";
            return Err(oauth_failure(StatusCode::UNAUTHORIZED, "invalid_client", text));
        }
        let failed = |error: &str, description: &str| oauth_failure(StatusCode::BAD_REQUEST, error, description);
        if call.form("grant_type").as_deref() != Some("refresh_token") {
            return Err(failed("unsupported_grant_type", "Invalid grant_type"));
        }
        match call.form("refresh_token").as_deref() {
            None => return Err(failed("invalid_request", "Missing required parameter: refresh_token")),
            Some(example::REFRESH_TOKEN) => {}
            Some(_) => return Err(failed("invalid_grant", "Token has been expired or revoked.")),
        }
        let bearer = format!("ya29.{}", Uuid::new_v4().simple());
        locked(&self.bearers).push(bearer.clone());
        Ok(Reply::json(json!({"access_token": bearer, "token_type": "Bearer", "expires_in": 3599,
            "scope": "https://www.googleapis.com/auth/sdm.service"})))
    }

    pub(super) fn nest(&self, call: &Call, project: &str, device: &str) -> Result<Reply, Refusal> {
        let known = call.bearer().is_some_and(|bearer| {
            bearer.starts_with("ya29.") && locked(&self.bearers).iter().any(|known| known == bearer)
        });
        if !known {
            let text = "Request had invalid authentication credentials.";
            return Err(google_failure(StatusCode::UNAUTHORIZED, text));
        }
        if project != example::NEST_PROJECT {
            return Err(google_failure(StatusCode::NOT_FOUND, &format!("Enterprise enterprises/{project} not found.")));
        }
        let offline = device == example::NEST_OFFLINE_DEVICE;
        if !offline && device != example::NEST_DEVICE {
            let text = format!("Device enterprises/{project}/devices/{device} not found.");
            return Err(google_failure(StatusCode::NOT_FOUND, &text));
        }
        if call.json().unwrap_or_default()["command"] != GENERATE_RTSP {
            return Err(google_failure(StatusCode::BAD_REQUEST, "Command does not exist."));
        }
        if offline {
            let text = "The camera is not available for streaming.";
            return Err(google_failure_of(StatusCode::BAD_REQUEST, "FAILED_PRECONDITION", text));
        }
        let grant = Grant { account: project, request: device, life: Duration::from_mins(5) };
        let opaque = |_| format!("g.0.{}", Uuid::new_v4().simple());
        let (token, validity) = self.told(call, grant, opaque);
        let expires_at = validity.expires_at.and_then(|at| DateTime::from_timestamp(at, 0));
        let expires_at = expires_at.map(|at| at.to_rfc3339_opts(SecondsFormat::Millis, true));
        let url = format!("rtsps://stream.example/{device}?auth={}", token.as_deref().unwrap_or_default());
        Ok(Reply::json(json!({"results": {"streamUrls": {"rtspUrl": url}, "streamToken": token,
            "streamExtensionToken": format!("CjY5{}", Uuid::new_v4().simple()), "expiresAt": expires_at}})))
    }

    /// Checks the key of a call to Verkada.
    fn verkada_key(call: &Call) -> Result<(), Refusal> {
        match call.header("x-api-key") {
            Some(example::API_KEY) => Ok(()),
            Some(example::KEY_WITHOUT_PERMISSION) => {
                Err(verkada_failure(StatusCode::FORBIDDEN, "API key does not have required permissions"))
            }
            _ => Err(verkada_failure(StatusCode::UNAUTHORIZED, "Missing or invalid API key")),
        }
    }

    pub(super) fn verkada(&self, call: &Call) -> Result<Reply, Refusal> {
        Self::verkada_key(call)?;
        let grant = Grant { account: "verkada", request: "token", life: Duration::from_mins(30) };
        let (token, _) = self.told(call, grant, |_| format!("v2_{}", Uuid::new_v4().simple()));
        Ok(Reply::json(json!({"token": token})))
    }

    pub(super) fn verkada_footage(&self, call: &Call) -> Result<Reply, Refusal> {
        Self::verkada_key(call)?;
        let grant = Grant { account: "verkada", request: "footage", life: Duration::from_mins(30) };
        let (token, validity) = self.jwt(call, grant, Exp::Number);
        let life = validity.expires_at.map(|at| at - validity.issued_at);
        Ok(Reply::json(json!({"jwt": token, "expiration": life, "expiresAt": validity.expires_at,
            "permission": ["live"], "accessibleCameras": [], "accessibleSites": []})))
    }
}
