//! The instance metadata service: `GET /metadata/identity/oauth2/token`, which a machine asks for its managed
//! identity's token.
//!
//! The real one answers plain HTTP on 169.254.169.254; here it stands beside the token endpoint, and a test's
//! transport leads there. Source: "How to use managed identities … to acquire an access token".

use super::Entra;
use crate::emulator::{Call, locked};
use axum::{
    Extension, Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use http::StatusCode;
use serde_json::json;
use std::{sync::Arc, time::Duration};

/// Managed identities get a day.
const LIFE: Duration = Duration::from_hours(24);

pub(super) async fn token(State(entra): State<Arc<Entra>>, Extension(call): Extension<Arc<Call>>) -> Response {
    answer(&entra, &call).unwrap_or_else(|message| {
        let body = json!({"error": "invalid_request", "error_description": message});
        (StatusCode::BAD_REQUEST, Json(body)).into_response()
    })
}

fn answer(entra: &Entra, call: &Call) -> Result<Response, &'static str> {
    if !call.header("metadata").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Err("Required metadata header not specified");
    }
    if call.query("api-version").is_none() {
        return Err("Required query variable 'api-version' is missing");
    }
    let resource = call.query("resource").ok_or("Required audience parameter not specified")?;
    let id = ["client_id", "object_id"].into_iter().find_map(|name| call.query(name));
    let (identity, audience) = {
        let directory = locked(&entra.directory);
        let identity = directory.managed_identity(id.as_deref()).ok_or("Identity not found")?;
        (identity, directory.resource(&resource).ok_or("The resource principal was not found")?)
    };
    let (token, life) = entra.issue(call, &identity, &audience, LIFE);
    let now = entra.now().timestamp();
    let mut body = json!({
        "client_id": identity.client_id,
        "expires_in": life.to_string(),
        "expires_on": (now + life).to_string(),
        "ext_expires_in": life.to_string(),
        "not_before": now.to_string(),
        "resource": resource,
        "token_type": "Bearer",
    });
    if let Some(token) = token {
        body["access_token"] = token.into();
    }
    Ok(Json(body).into_response())
}
