//! BlendVision One: its three token operations, and the playback session that a token opens.
//!
//! `POST /bv/cms/v1/{resources/tokens, resources/tokens:admin, tokens}`, JSON both ways;
//! `POST /bv/playback/v1/sessions/{device}:start` with a token of those.
//!
//! Source: the reference's "Create an access token", "Create playback token" and the players' quick start; gRPC-gateway
//! for the errors. Not documented, and ours here: the form of a token, a playback token's life where none is asked for,
//! and what the details of an error hold.

mod estate;
mod refusal;
mod request;

pub use estate::{ApiToken, Privacy};

use super::{Call, Control, Dialect, Emulator, Grant, SigningKey, Target, locked};
use axum::{
    Extension, Json, Router,
    extract::State,
    response::{IntoResponse as _, Response},
};
use chrono::{DateTime, SecondsFormat, Utc};
use estate::Estate;
use http::{HeaderMap, StatusCode, header};
use refusal::Refusal;
use request::{Ask, Operation};
use serde_json::{Map, Value, json};
use std::sync::{Arc, Mutex};
use uuid::Uuid;

/// What [`BlendVision::furnished`] sets up.
pub mod example {
    /// The organization.
    pub const ORGANIZATION: &str = "b2f6c1a4-7d3e-4c58-9a10-5e8f3d7b9c21";
    /// A video that all may see.
    pub const VOD_ID: &str = "0b9d5a7e-3c41-4f86-8e2d-71a6f0c4d935";
    /// A live stream for known viewers only.
    pub const LIVE_ID: &str = "c5e8a3f1-9b27-4d60-b3c4-2f7d8e1a6095";
}

/// What the tokens look like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenForm {
    /// Nobody can read them.
    #[default]
    Opaque,
    /// JWTs with `exp`, where they expire at all.
    Jwt,
    /// JWTs that don't tell when they expire.
    JwtWithoutExp,
}

/// One BlendVision with any number of organizations.
pub struct BlendVision {
    control: Arc<Control>,
    key: SigningKey,
    estate: Mutex<Estate>,
    form: Mutex<TokenForm>,
}

impl BlendVision {
    /// Without organizations.
    pub fn new() -> anyhow::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            control: Control::new("blendVision", GatewayDialect),
            key: SigningKey::generate("blend-vision-emulator")?,
            estate: Mutex::default(),
            form: Mutex::default(),
        }))
    }

    /// The example's organization, and an API token of it that may do all and doesn't expire.
    pub fn furnished() -> anyhow::Result<(Arc<Self>, String)> {
        let blend_vision = Self::new()?;
        let organization = example::ORGANIZATION;
        blend_vision.add_resource(organization, example::VOD_ID, "RESOURCE_TYPE_VOD", Privacy::Public);
        blend_vision.add_resource(organization, example::LIVE_ID, "RESOURCE_TYPE_LIVE", Privacy::Token);
        let api_token = blend_vision.add_api_token(&ApiToken::of(organization));
        Ok((blend_vision, api_token))
    }

    /// Adds a resource to an organization, which comes into being with it.
    pub fn add_resource(&self, organization: &str, id: &str, type_: &str, privacy: Privacy) {
        locked(&self.estate).add_resource(organization, id, type_, privacy);
    }

    /// Takes a resource away.
    pub fn remove_resource(&self, organization: &str, id: &str) {
        locked(&self.estate).remove_resource(organization, id);
    }

    /// Creates an API token: a JWT, as the console gives it.
    pub fn add_api_token(&self, api_token: &ApiToken) -> String {
        let mut claims = Map::new();
        let jti = Uuid::new_v4().to_string();
        for (name, value) in [("iss", "account.blendvision.com"), ("sub", &api_token.organization), ("jti", &jti)] {
            claims.insert(name.into(), value.into());
        }
        if let Some(expires_at) = api_token.expires_at {
            claims.insert("exp".into(), expires_at.timestamp().into());
        }
        let token = self.key.sign(&claims);
        locked(&self.estate).add_api_token(&token, api_token.clone());
        token
    }

    /// Deletes an API token. What was issued by it stays good.
    pub fn revoke_api_token(&self, token: &str) {
        locked(&self.estate).revoke_api_token(token);
    }

    /// What the tokens look like from now on.
    pub fn set_form(&self, form: TokenForm) {
        *locked(&self.form) = form;
    }

    fn answer(&self, call: &Call) -> Result<Value, Refusal> {
        let operation = Operation::parse(call)?;
        if let Operation::Start { device } = operation {
            return self.start(call, &device);
        }
        let organization = call.header("x-bv-org-id").unwrap_or_default();
        let ask = {
            let estate = locked(&self.estate);
            let api_token = call.bearer().and_then(|token| estate.api_token(token, Utc::now()));
            let api_token = api_token.ok_or_else(Refusal::unauthenticated)?;
            if organization.is_empty() {
                return Err(Refusal::field("x-bv-org-id", "the header is required"));
            }
            if api_token.organization != organization {
                return Err(Refusal::forbidden("the API token is of another organization"));
            }
            if operation == Operation::Admin && !api_token.may_administer {
                return Err(Refusal::forbidden("the API token may not administer resources"));
            }
            Ask::parse(call, &operation, &estate, organization)?
        };
        Ok(self.issue(call, organization, &operation, &ask))
    }

    fn issue(&self, call: &Call, organization: &str, operation: &Operation, ask: &Ask) -> Value {
        let form = *locked(&self.form);
        let request = ask.line(operation);
        let grant = Grant { account: organization, request: &request, life: ask.life(operation) };
        let mut expires_at = None;
        let (token, _) = self.control.issue(call, grant, |validity| {
            expires_at = validity.expires_at.filter(|_| !ask.is_endless(operation));
            if form == TokenForm::Opaque {
                return format!("bv-{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
            }
            let mut claims = Map::new();
            for (name, value) in [("org_id", organization), ("resource_id", &ask.resource_id)] {
                claims.insert(name.into(), value.into());
            }
            claims.insert("jti".into(), Uuid::new_v4().to_string().into());
            if let Some(expires_at) = expires_at.filter(|_| form == TokenForm::Jwt) {
                claims.insert("exp".into(), expires_at.into());
            }
            self.key.sign(&claims)
        });
        let mut answer = json!({});
        if let Some(token) = token {
            answer["token"] = token.into();
        }
        // the playback answer has the token alone
        let told = expires_at.filter(|_| *operation != Operation::Playback);
        if let Some(at) = told.and_then(|at| DateTime::from_timestamp(at, 0)) {
            answer["expired_at"] = at.to_rfc3339_opts(SecondsFormat::Secs, true).into();
        }
        answer
    }

    /// A playback session, for whoever has a token; bare, as the players send it, or as bearer.
    fn start(&self, call: &Call, device: &str) -> Result<Value, Refusal> {
        let token = call.bearer().or_else(|| call.header(header::AUTHORIZATION.as_str()));
        let known = token.and_then(|token| self.control.knows(token));
        let known = known.filter(|known| known.is_good(Utc::now())).ok_or_else(Refusal::unauthenticated)?;
        let resource = known.request.split(' ').nth(1).unwrap_or_default();
        Ok(json!({"device_id": device, "resource_id": resource, "drm_server_endpoint": "https://drm.example"}))
    }
}

impl Emulator for BlendVision {
    fn control(&self) -> &Arc<Control> {
        &self.control
    }

    fn router(self: &Arc<Self>) -> Router {
        self.control.wrap(Router::new().fallback(respond).with_state(self.clone()))
    }
}

/// Every path and method.
async fn respond(State(blend_vision): State<Arc<BlendVision>>, Extension(call): Extension<Arc<Call>>) -> Response {
    match blend_vision.answer(&call) {
        Ok(body) => Json(body).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

/// gRPC-gateway's manners.
struct GatewayDialect;

impl Dialect for GatewayDialect {
    /// The account is the organization.
    fn target(&self, call: &Call) -> Target {
        let account = call.header("x-bv-org-id").unwrap_or_default().to_owned();
        let operation = Operation::parse(call).map(|operation| operation.name().to_owned()).unwrap_or_default();
        Target { account, operation }
    }

    /// No ids are documented.
    fn stamp(&self, _call: &Call, _headers: &mut HeaderMap) {}

    fn refuse(&self, _call: &Call, status: StatusCode, message: &str) -> Response {
        Refusal::other(status, message).into_response()
    }
}
