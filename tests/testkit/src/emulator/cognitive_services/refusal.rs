//! How the token API says no: `{"error": {"code", "message"}}` or `{"code", "message"}`; a code may be the status as
//! text.

use crate::emulator::api_management::{Barrier, Gateway};
use axum::{
    Json,
    response::{Html, IntoResponse as _, Response},
};
use http::StatusCode;
use serde_json::json;

/// Where code and message stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Nested,
    Flat,
}

impl Form {
    pub(super) fn response(self, status: StatusCode, code: &str, message: &str) -> Response {
        let error = json!({"code": code, "message": message});
        let body = if self == Self::Nested { json!({"error": error}) } else { error };
        (status, Json(body)).into_response()
    }
}

/// A refusal.
#[derive(Clone, Debug)]
pub(super) enum Refusal {
    /// Status, code, message.
    Own(StatusCode, &'static str, String),
    /// Of the gateway, about key or quota.
    Barred(Barrier),
    /// Of the web server, which wants to know how long a body is, also when it is empty.
    NoLength,
}

impl Refusal {
    pub(super) fn bad_argument(message: &str) -> Self {
        Self::Own(StatusCode::BAD_REQUEST, "BadArgument", message.to_owned())
    }

    pub(super) fn no_operation() -> Self {
        Self::Own(StatusCode::NOT_FOUND, "404", "Resource not found".to_owned())
    }

    pub(super) fn not_json() -> Self {
        let message = "Unsupported media type. The content type must be application/json.";
        Self::Own(StatusCode::UNSUPPORTED_MEDIA_TYPE, "415", message.to_owned())
    }

    pub(super) fn unsupported_feature(features: &str) -> Self {
        let message = format!(
            "Feature is not supported, missing approval for one or more of the following features: {features}. Please \
             apply for access."
        );
        Self::Own(StatusCode::FORBIDDEN, "UnsupportedFeature", message)
    }

    pub(super) fn answer(self, gateway: &Gateway, form: Form) -> Response {
        const KEY: &str = "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a \
                           valid key for an active subscription and use a correct regional API endpoint for your \
                           resource.";
        match self {
            Self::Own(status, code, message) => form.response(status, code, &message),
            Self::Barred(barrier @ Barrier::NoQuota(wait)) => {
                gateway.no_quota(wait, |words| form.response(barrier.status(), "403", words))
            }
            Self::Barred(barrier) => form.response(barrier.status(), "401", KEY),
            Self::NoLength => {
                let page = "<!DOCTYPE HTML><HTML><HEAD><TITLE>Length Required</TITLE></HEAD><BODY><h2>Length \
                            Required</h2><hr><p>HTTP Error 411. The request must be chunked or have a content length.\
                            </p></BODY></HTML>";
                (StatusCode::LENGTH_REQUIRED, Html(page)).into_response()
            }
        }
    }
}
