//! How the server says no: with HTTP 200, in one of two shapes.

use super::ArcgisManners;
use axum::{
    Json,
    response::{IntoResponse as _, Response},
};
use serde_json::json;

#[derive(Clone, Debug)]
pub(super) struct Refusal {
    code: u16,
    message: String,
    details: Vec<String>,
}

impl Refusal {
    pub(super) fn new<const N: usize>(code: u16, message: &str, details: [&str; N]) -> Self {
        Self { code, message: message.to_owned(), details: details.map(str::to_owned).into() }
    }

    fn no_token(detail: &str) -> Self {
        Self::new(400, "Unable to generate token.", [detail])
    }

    pub(super) fn wrong_password() -> Self {
        Self::no_token("Invalid username or password.")
    }

    pub(super) fn account_locked() -> Self {
        Self::no_token("The account is locked: too many failed login attempts. Try again later.")
    }

    /// A field of the form is missing or wrong.
    pub(super) fn field(detail: &str) -> Self {
        Self::no_token(detail)
    }

    pub(super) fn forbidden() -> Self {
        Self::new(403, "You do not have permissions to access this resource or perform this operation.", [])
    }

    pub(super) fn method(method: &str) -> Self {
        Self::new(405, &format!("The method {method} is not supported: use POST."), [])
    }

    pub(super) fn invalid_token() -> Self {
        Self::new(498, "Invalid token.", [])
    }

    pub(super) fn token_required() -> Self {
        Self::new(499, "Token required.", [])
    }

    pub(super) fn answer(self, manners: ArcgisManners) -> Response {
        let Self { code, message, details } = self;
        let body = if manners.flat_errors {
            let messages: Vec<_> = std::iter::once(message).chain(details).collect();
            json!({"status": "error", "messages": messages, "code": code})
        } else {
            json!({"error": {"code": code, "message": message, "details": details}})
        };
        Json(body).into_response()
    }
}
