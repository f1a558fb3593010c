//! How gRPC-gateway says no: `{code, message, details}`, with gRPC's codes beside HTTP's.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use serde_json::{Value, json};

#[derive(Clone, Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    message: String,
    detail: Value,
}

impl Refusal {
    fn new(status: StatusCode, message: impl Into<String>, reason: &str) -> Self {
        let detail = json!({"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason,
            "domain": "blendvision.com"});
        Self { status, message: message.into(), detail }
    }

    pub(super) fn unauthenticated() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "the token is missing, unknown or expired", "UNAUTHENTICATED")
    }

    pub(super) fn forbidden(message: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, message, "PERMISSION_DENIED")
    }

    pub(super) fn resource_not_found(id: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("resource {id} not found"), "RESOURCE_NOT_FOUND")
    }

    pub(super) fn no_such_path() -> Self {
        Self::new(StatusCode::NOT_FOUND, "Not Found", "NO_ROUTE")
    }

    pub(super) fn method_not_allowed() -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, "Method Not Allowed", "NO_METHOD")
    }

    pub(super) fn not_json(reason: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, format!("invalid character or value: {reason}"), "BODY")
    }

    /// One field is missing or wrong.
    pub(super) fn field(field: &str, why: &str) -> Self {
        let detail = json!({"@type": "type.googleapis.com/google.rpc.BadRequest",
            "fieldViolations": [{"field": field, "description": why}]});
        Self { status: StatusCode::BAD_REQUEST, message: "invalid argument".to_owned(), detail }
    }

    /// What a test asks for.
    pub(super) fn other(status: StatusCode, message: &str) -> Self {
        Self::new(status, message, "OTHER")
    }

    /// google/rpc/code.proto, as gRPC-gateway maps it.
    fn code(&self) -> u8 {
        match self.status.as_u16() {
            400 => 3,
            401 => 16,
            403 => 7,
            404 => 5,
            429 => 8,
            501 => 12,
            503 => 14,
            _ => 13,
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = json!({"code": self.code(), "message": self.message, "details": [self.detail]});
        (self.status, Json(body)).into_response()
    }
}
