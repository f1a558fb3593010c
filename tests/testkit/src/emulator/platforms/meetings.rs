//! Daily and Zoom.
//!
//! Daily: a missing or malformed header is HTTP 400, an unknown key 401 (docs.daily.co/docs/rest-api/errors). A token for
//! which no `exp` is asked never expires.
//!
//! Zoom: an unknown client is HTTP 400 (JubaerHossain/zoom-laravel#3), and so is the client of an app of another type,
//! with `unsupported_grant_type` (developers.zoom.us/blog/s2s-token-generation-troubleshoot). What an unknown account is
//! answered isn't documented.

use super::{Exp, Platforms, Refusal, Reply, answers, example};
use crate::emulator::{Call, Grant};
use http::StatusCode;
use serde_json::{Value, json};
use std::time::Duration;

/// A failure as Daily documents it: `error` is stable, `info` is for people.
pub(super) fn daily_failure(status: StatusCode, info: &str) -> Refusal {
    let error = match status {
        StatusCode::UNAUTHORIZED => "authentication-error",
        StatusCode::FORBIDDEN => "forbidden-error",
        StatusCode::TOO_MANY_REQUESTS => "rate-limit-error",
        status if status.is_server_error() => "server-error",
        _ => "invalid-request-error",
    };
    Refusal::new(status, json!({"error": error, "info": info}))
}

/// A failure of Zoom's token endpoint.
fn zoom_failure(error: &str, reason: &str) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, json!({"reason": reason, "error": error}))
}

impl Platforms {
    pub(super) fn daily(&self, call: &Call) -> Result<Reply, Refusal> {
        let key = call.bearer().filter(|key| !key.is_empty() && !key.contains(char::is_whitespace));
        let Some(key) = key else {
            let body = json!({"error": "authorization-header-error", "info": "bad Authorization header format"});
            return Err(Refusal::new(StatusCode::BAD_REQUEST, body));
        };
        if key != example::API_KEY {
            return Err(daily_failure(StatusCode::UNAUTHORIZED, "unknown API key"));
        }
        let Some(body) = call.json() else {
            let body = json!({"error": "json-parsing-error", "info": "the body is no JSON"});
            return Err(Refusal::new(StatusCode::BAD_REQUEST, body));
        };
        let wrong = |name: &str, type_: &str| {
            Err(daily_failure(StatusCode::BAD_REQUEST, &format!("property '{name}' must be a {type_}")))
        };
        let properties = &body["properties"];
        if !properties["room_name"].is_string() {
            return wrong("room_name", "string");
        }
        if !(properties["is_owner"].is_null() || properties["is_owner"].is_boolean()) {
            return wrong("is_owner", "boolean");
        }
        let asked = match &properties["exp"] {
            Value::Null => None,
            exp if exp.is_i64() => exp.as_i64().map(|exp| exp - chrono::Utc::now().timestamp()),
            _ => return wrong("exp", "number"),
        };
        let life = Duration::from_secs(asked.unwrap_or(i64::from(u32::MAX)).max(0).unsigned_abs());
        let room = properties["room_name"].as_str().unwrap_or_default();
        let grant = Grant { account: "daily", request: room, life };
        let (token, _) = self.jwt(call, grant, if asked.is_some() { Exp::Number } else { Exp::None });
        Ok(Reply::json(json!({"token": token})))
    }

    pub(super) fn zoom(&self, call: &Call) -> Result<Reply, Refusal> {
        let client = answers::basic(call);
        let of = |id: &str| (id.to_owned(), example::CLIENT_SECRET.to_owned());
        let grant_type = call.form("grant_type").or_else(|| call.query("grant_type"));
        let account = call.form("account_id").or_else(|| call.query("account_id"));
        if client != Some(of(example::CLIENT_ID)) && client != Some(of(example::OTHER_CLIENT_ID)) {
            return Err(zoom_failure("invalid_client", "Invalid client_id or client_secret"));
        }
        // the grant is that of Server-to-Server OAuth apps
        if client == Some(of(example::OTHER_CLIENT_ID)) || grant_type.as_deref() != Some("account_credentials") {
            return Err(zoom_failure("unsupported_grant_type", "unsupported grant type"));
        }
        if account.as_deref() != Some(example::ZOOM_ACCOUNT) {
            return Err(zoom_failure("invalid_request", "Bad Request"));
        }
        let grant = Grant { account: example::ZOOM_ACCOUNT, request: "token", life: Duration::from_hours(1) };
        let (token, life) = self.opaque(call, grant);
        Ok(Reply::json(json!({"access_token": token, "token_type": "bearer", "expires_in": life,
            "scope": "meeting:read:meeting:admin", "api_url": "https://api.zoom.us"})))
    }
}
