//! How Resource Manager and Video Indexer say no: `{"error": {code, message, target?, details?, additionalInfo?}}`.

use super::request::Resource;
use crate::emulator::Principal;
use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

/// A refusal: status and the `error` object.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    error: Value,
}

impl Refusal {
    fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self { status, error: json!({"code": code, "message": message.into()}) }
    }

    fn bad_request(code: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    fn unauthorized(code: &str, message: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, code, message)
    }

    pub(super) fn no_bearer() -> Self {
        Self::unauthorized("AuthenticationFailed", "Authentication failed. There is no 'Authorization' header.")
    }

    pub(super) fn invalid_bearer() -> Self {
        Self::unauthorized("InvalidAuthenticationToken", "The access token is invalid.")
    }

    pub(super) fn expired_bearer() -> Self {
        Self::unauthorized("ExpiredAuthenticationToken", "The access token has expired.")
    }

    pub(super) fn wrong_audience(audience: &str) -> Self {
        let message = format!("The access token was obtained for the wrong audience '{audience}'.");
        Self::unauthorized("InvalidAuthenticationTokenAudience", &message)
    }

    pub(super) fn not_found(path: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "InvalidResourceType", format!("No resource type answers at '{path}'."))
    }

    pub(super) fn method_not_allowed(method: &str) -> Self {
        let message = format!("The requested resource does not support the method '{method}'.");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "UnsupportedHttpMethod", message)
    }

    pub(super) fn no_version() -> Self {
        Self::bad_request("MissingApiVersionParameter", "The query parameter 'api-version' is required.")
    }

    pub(super) fn unknown_version(version: &str, known: &str) -> Self {
        let message = format!("The api-version '{version}' is not supported for this operation. Supported: {known}.");
        Self::bad_request("NoRegisteredProviderFound", message)
    }

    pub(super) fn forbidden(principal: &Principal, resource: &Resource) -> Self {
        let message = format!(
            "The client '{}' with object id '{}' may not perform 'Microsoft.VideoIndexer/accounts/{}/action' over \
             '{}', or the scope is invalid.",
            principal.client_id,
            principal.object_id,
            resource.operation.name,
            resource.id(),
        );
        Self::new(StatusCode::FORBIDDEN, "AuthorizationFailed", message)
    }

    pub(super) fn account_not_found(resource: &Resource) -> Self {
        let message = format!("The account '{}' was not found.", resource.account);
        Self::bad_request("AccountNotFound", message).target("accountName")
    }

    pub(super) fn extension_not_found(extension: &str) -> Self {
        let message = format!("The extension '{extension}' is not connected to this account.");
        Self::bad_request("ExtensionNotFound", message).target("extensionId")
    }

    pub(super) fn not_json(reason: &str) -> Self {
        Self::bad_request("InvalidRequestContent", format!("The request content could not be read: {reason}."))
    }

    pub(super) fn not_json_type() -> Self {
        let message = "The request content has to be 'application/json'.";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType", message)
    }

    /// One field of the body is missing or wrong. The details repeat it, as validation errors do.
    pub(super) fn field(field: &str, message: &str) -> Self {
        let message = format!("{field}: {message}");
        let mut refusal = Self::bad_request("InvalidArgument", message.as_str()).target(field);
        refusal.error["details"] = json!([{"code": "InvalidArgument", "message": message, "target": field}]);
        refusal.error["additionalInfo"] = json!([{"type": "ValidationError", "info": {"field": field}}]);
        refusal
    }

    /// What a test asks for.
    pub(super) fn other(status: StatusCode, message: &str) -> Self {
        let code = match status {
            StatusCode::TOO_MANY_REQUESTS => "TooManyRequests",
            StatusCode::CONFLICT => "Conflict",
            status if status.is_server_error() => "InternalServerError",
            _ => "InvalidRequest",
        };
        Self::new(status, code, message)
    }

    fn target(mut self, target: &str) -> Self {
        self.error["target"] = target.into();
        self
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(json!({"error": self.error}))).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer error=\"invalid_token\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}
