//! Answers of the platforms, and the credential that a request brings.

use crate::emulator::Call;
use axum::{
    Json,
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderValue, StatusCode, header};
use serde_json::Value;

/// A success.
pub(super) struct Reply {
    pub(super) body: Value,
    pub(super) cookie: Option<String>,
}

impl Reply {
    pub(super) fn json(body: Value) -> Self {
        Self { body, cookie: None }
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let mut response = Json(self.body).into_response();
        if let Some(cookie) = self.cookie.and_then(|cookie| HeaderValue::try_from(cookie).ok()) {
            response.headers_mut().append(header::SET_COOKIE, cookie);
        }
        response
    }
}

/// A failure, which some platforms send with status 200.
pub(super) struct Refusal {
    status: StatusCode,
    body: Value,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, body: Value) -> Self {
        Self { status, body }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(self.body)).into_response()
    }
}

/// Returns user name and password of an `Authorization: Basic` header, form-decoded as RFC 6749 §2.3.1 has it.
pub(super) fn basic(call: &Call) -> Option<(String, String)> {
    let pair = call.header(header::AUTHORIZATION.as_str())?.strip_prefix("Basic ")?;
    let pair = String::from_utf8(STANDARD.decode(pair).ok()?).ok()?;
    let (id, secret) = pair.split_once(':')?;
    let decoded = |text: &str| form_urlencoded::parse(text.as_bytes()).next().map(|(name, _)| name.into_owned());
    Some((decoded(id)?, decoded(secret)?))
}
