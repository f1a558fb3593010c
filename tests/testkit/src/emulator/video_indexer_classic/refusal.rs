//! How the classic API says no: Video Indexer with `{"ErrorType", "Message"}`, the gateway with
//! `{"statusCode", "message"}`.

use crate::emulator::api_management::{Barrier, Gateway};
use axum::{
    Json,
    response::{IntoResponse as _, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

/// A refusal.
#[derive(Clone, Debug)]
pub(super) enum Refusal {
    /// Of Video Indexer: status, `ErrorType`, `Message`.
    Own(StatusCode, &'static str, String),
    /// Of the gateway, which knows no such operation.
    NoOperation,
    /// Of the gateway, about key or quota.
    Barred(Barrier),
}

impl Refusal {
    pub(super) fn invalid(message: &str) -> Self {
        Self::Own(StatusCode::BAD_REQUEST, "INVALID_INPUT", message.to_owned())
    }

    pub(super) fn not_allowed(message: &str) -> Self {
        Self::Own(StatusCode::UNAUTHORIZED, "USER_NOT_ALLOWED", message.to_owned())
    }

    /// What a test asks for.
    pub(super) fn other(status: StatusCode, message: &str) -> Self {
        let kind = match status {
            StatusCode::GATEWAY_TIMEOUT => "SERVER_TIMEOUT",
            StatusCode::UNAUTHORIZED => "USER_NOT_ALLOWED",
            status if status.is_server_error() => "GENERAL",
            _ => "INVALID_INPUT",
        };
        Self::Own(status, kind, message.to_owned())
    }

    pub(super) fn answer(self, gateway: &Gateway) -> Response {
        match self {
            Self::Own(status, kind, message) => {
                (status, Json(json!({"ErrorType": kind, "Message": message}))).into_response()
            }
            Self::NoOperation => of_gateway(StatusCode::NOT_FOUND, "Resource not found"),
            Self::Barred(barrier) => barred(barrier, gateway),
        }
    }
}

fn barred(barrier: Barrier, gateway: &Gateway) -> Response {
    const MISSING: &str = "Access denied due to missing subscription key. Make sure to include subscription key when \
                           making requests to an API.";
    const WRONG: &str = "Access denied due to invalid subscription key. Make sure to provide a valid key for an \
                         active subscription.";
    let status = barrier.status();
    let mut response = match barrier {
        Barrier::NoKey => of_gateway(status, MISSING),
        Barrier::WrongKey => of_gateway(status, WRONG),
        Barrier::NoQuota(wait) => return gateway.no_quota(wait, |words| of_gateway(status, words)),
    };
    let challenge = "AzureApiManagementKey realm=\"https://api.videoindexer.ai/Auth\",\
                     name=\"Ocp-Apim-Subscription-Key\",type=\"header\"";
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    response
}

/// The gateway's own form.
pub(super) fn of_gateway(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({"statusCode": status.as_u16(), "message": message}))).into_response()
}
