//! Platforms that no provider type knows, for providers that declare their requests: one server that answers for each
//! of them, since their paths differ.
//!
//! | Platform | Request | What is particular |
//! |---|---|---|
//! | Cloudflare Stream | `POST /client/v4/accounts/{account}/stream/{video}/token`, bearer | `exp` of the token is a text; a rejected token is HTTP 403 with code 10000 |
//! | api.video | `POST /auth/api-key`, the key in JSON | a rejected key is HTTP 400; `X-RateLimit-Retry-After` |
//! | Brightcove | `POST /v4/access_token`, basic, form | OAuth 2.0 is the token API itself; 300 s |
//! | Kaltura | `POST /api_v3/service/session/action/start`, form | the body is a bare JSON string; failures are HTTP 200 |
//! | Ant Media | `GET /rest/v2/broadcasts/{stream}/jwt-token`, bearer | failures are HTTP 200 with `success: false` |
//! | Frigate | `POST /api/login`, JSON | the token is a cookie; a login |
//! | Rooms | `POST /oauth2/token`, then `POST /v1/rooms/{room}/tokens` with its bearer token | two requests; ours |
//! | Projects | `POST /v1/projects/{project}/rooms/{room}/tokens`, bearer | keys of several accounts; ours |
//! | Azure Communication Services | `POST /identities/{id}/:issueAccessToken`, a bearer token of Entra | times with 7 digits; whose bearer token it is, Entra's emulator knows |
//! | Eagle Eye | `POST /een/oauth2/token`, basic, form with a refresh token that stays | the same token until it expires |
//! | Daily | `POST /v1/meeting-tokens`, bearer, JSON | an expiry only in the JWT, and only if it is asked for |
//! | Zoom | `POST /oauth/token`, basic, form | a rejected client is HTTP 400; several tokens are valid at once |
//! | Milestone | `POST /API/IDP/connect/token`, form | a login that locks the user |
//! | Nest | `POST /google/token`, form, then `POST /google/v1/enterprises/{project}/devices/{device}:executeCommand` | two requests; 5 minutes |
//! | Verkada | `POST /token` and `GET /cameras/v1/footage/token`, `x-api-key` | throttles without a wait |
//!
//! Sources: the vendors' documentation, SDKs and servers, as in docs/providers/any-platform.md. Rooms and
//! Projects are no platforms: they have the two requests and the accounts that several have. What a refusal says beyond its status and code isn't documented
//! everywhere; the words are ours.

mod answers;
mod cameras;
mod meetings;

use super::{Call, Control, Dialect, Emulator, Grant, SigningKey, Target, Validity, locked};
use answers::{Refusal, Reply};
use axum::{
    Extension, Router,
    extract::State,
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, StatusCode, header};
use serde_json::{Map, Value, json};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use uuid::Uuid;

/// Accounts and credentials that the server knows.
pub mod example {
    /// Account of Cloudflare.
    pub const ACCOUNT: &str = "023e105f4ecef8ad9ca31a8372d0c353";
    /// Video of that account.
    pub const VIDEO: &str = "5d5bc37ffcf54c9b82e996823bffbb81";
    /// Bearer token of Cloudflare and of Ant Media.
    pub const API_TOKEN: &str = "Sn3lZJTBX6kkg7OdcBUAxOO963GEIyGQqnFTOFYY";
    /// API key of api.video, Daily and Verkada.
    pub const API_KEY: &str = "ntfjxa5oKNLMvM3tnRGSZmXkSwbn3k5bvsx0XqTeKqC";
    /// Client of Brightcove, Rooms, Eagle Eye, Zoom and Nest.
    pub const CLIENT_ID: &str = "8a6d3f04-02c1-4d3b-9f6e-52e7a1b0c9d8";
    /// Its secret.
    pub const CLIENT_SECRET: &str = "Yf7Kq2vXc9RmTz4LwPb8NsHd3JgUe6Aa";
    /// Admin secret of Kaltura.
    pub const ADMIN_SECRET: &str = "e1b9c7d5f3a2841679b0c8d6e4f2a013";
    /// User of Frigate and Milestone.
    pub const USERNAME: &str = "lobby-viewer";
    /// Password of that user.
    pub const PASSWORD: &str = "correct horse battery staple";
    /// Refresh token of Eagle Eye and Nest that stays.
    pub const REFRESH_TOKEN: &str = "een-refresh-4f7c1d9b2a6e8035";
    /// Key of Verkada that may not issue tokens.
    pub const KEY_WITHOUT_PERMISSION: &str = "vkd_api_1f6b0c29e7a84d53b1c0a9d8e7f60514";
    /// Client of a Zoom app that is not a Server-to-Server OAuth app. It has the secret of the other one.
    pub const OTHER_CLIENT_ID: &str = "f0c2b7de-9a51-4b1c-8a3f-0d6c5e4b3a29";
    /// Account of Zoom.
    pub const ZOOM_ACCOUNT: &str = "Ab1Cd2Ef3Gh4Ij5Kl6Mn7O";
    /// Device Access project of Nest.
    pub const NEST_PROJECT: &str = "contoso-project";
    /// Camera of that project.
    pub const NEST_DEVICE: &str = "AVPHwEuBfnPOnTqzVFT4IONX2Qqhu9EJ4ubO-bNnQ";
    /// Camera of that project that is turned off.
    pub const NEST_OFFLINE_DEVICE: &str = "AVPHwEuOffline";
}

/// The server.
pub struct Platforms {
    control: Arc<Control>,
    key: SigningKey,
    /// Token of Eagle Eye and the time of its expiry, in seconds since 1970.
    same: Mutex<Option<(String, i64)>>,
    /// Access tokens that the token endpoints of Rooms and of Google have issued.
    bearers: Mutex<Vec<String>>,
    /// Projects by their keys.
    keys: Mutex<HashMap<String, String>>,
    /// Logins of the user of Milestone that failed since the last success.
    failed_logins: Mutex<u32>,
}

/// How a JWT states its expiry.
#[derive(Clone, Copy)]
enum Exp {
    Number,
    /// As Cloudflare does.
    Text,
    None,
}

impl Platforms {
    /// Creates the server with what [`example`] names.
    pub fn furnished() -> anyhow::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            control: Control::new("platforms", PlatformDialect),
            key: SigningKey::generate("platforms-emulator")?,
            same: Mutex::default(),
            bearers: Mutex::default(),
            keys: Mutex::default(),
            failed_logins: Mutex::default(),
        }))
    }

    /// Lets a key issue tokens of a project.
    pub fn add_key(&self, key: &str, project: &str) {
        locked(&self.keys).insert(key.to_owned(), project.to_owned());
    }

    /// Stops honouring a key of a project.
    pub fn remove_key(&self, key: &str) {
        locked(&self.keys).remove(key);
    }

    /// Stops honouring the access tokens of Rooms and of Google.
    pub fn forget_bearers(&self) {
        locked(&self.bearers).clear();
    }

    fn answer(&self, call: &Call) -> Result<Reply, Refusal> {
        let segments: Vec<&str> = call.path().split('/').skip(1).collect();
        match (call.method.as_str(), segments.as_slice()) {
            ("POST", ["client", "v4", "accounts", account, "stream", video, "token"]) => {
                self.cloudflare(call, account, video)
            }
            ("POST", ["auth", "api-key"]) => self.api_video(call),
            ("POST", ["v4", "access_token"]) => self.brightcove(call),
            ("POST", ["api_v3", "service", "session", "action", "start"]) => self.kaltura(call),
            ("GET", ["rest", "v2", "broadcasts", stream, "jwt-token"]) => self.ant_media(call, stream),
            ("POST", ["api", "login"]) => self.frigate(call),
            ("POST", ["oauth2", "token"]) => self.rooms_oauth(call),
            ("POST", ["v1", "rooms", room, "tokens"]) => self.rooms(call, room),
            ("POST", ["v1", "projects", project, "rooms", room, "tokens"]) => self.projects(call, project, room),
            ("POST", ["identities", user, ":issueAccessToken"]) => self.communication(call, user),
            ("POST", ["een", "oauth2", "token"]) => self.eagle_eye(call),
            ("POST", ["v1", "meeting-tokens"]) => self.daily(call),
            ("POST", ["oauth", "token"]) => self.zoom(call),
            ("POST", ["API", "IDP", "connect", "token"]) => self.milestone(call),
            ("POST", ["google", "token"]) => self.google_oauth(call),
            ("POST", ["google", "v1", "enterprises", project, "devices", device]) => {
                let Some(device) = device.strip_suffix(":executeCommand") else { return Err(no_such_path()) };
                self.nest(call, project, device)
            }
            ("POST", ["token"]) => self.verkada(call),
            ("GET", ["cameras", "v1", "footage", "token"]) => self.verkada_footage(call),
            _ => Err(no_such_path()),
        }
    }

    /// Issues a token. Returns it with the times that it was made for.
    fn told(
        &self,
        call: &Call,
        grant: Grant<'_>,
        encode: impl FnOnce(Validity) -> String,
    ) -> (Option<String>, Validity) {
        let mut told = Validity { issued_at: 0, expires_at: None };
        let (token, _) = self.control.issue(call, grant, |validity| {
            told = validity;
            encode(validity)
        });
        (token, told)
    }

    /// Signs a JWT for what a call asks for.
    fn jwt(&self, call: &Call, grant: Grant<'_>, exp: Exp) -> (Option<String>, Validity) {
        self.told(call, grant, |validity| {
            let mut claims = Map::from_iter([("jti".to_owned(), Value::from(Uuid::new_v4().to_string()))]);
            claims.insert("sub".into(), grant.request.into());
            let stated = validity.expires_at.and_then(|at| match exp {
                Exp::Number => Some(Value::from(at)),
                Exp::Text => Some(at.to_string().into()),
                Exp::None => None,
            });
            claims.extend(stated.map(|at| ("exp".to_owned(), at)));
            self.key.sign(&claims)
        })
    }

    /// Makes an opaque token. Returns the lifetime in seconds that the answer states.
    fn opaque(&self, call: &Call, grant: Grant<'_>) -> (Option<String>, i64) {
        let (token, life) =
            self.control.issue(call, grant, |_| format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple()));
        (token, life)
    }

    fn cloudflare(&self, call: &Call, account: &str, video: &str) -> Result<Reply, Refusal> {
        let failed = |status: StatusCode, code: u32, message: &str| {
            let body = json!({"success": false, "errors": [{"code": code, "message": message}], "messages": [],
                "result": null});
            Refusal::new(status, body)
        };
        if call.bearer() != Some(example::API_TOKEN) {
            return Err(failed(StatusCode::FORBIDDEN, 10_000, "Authentication error"));
        }
        if (account, video) != (example::ACCOUNT, example::VIDEO) {
            return Err(failed(StatusCode::NOT_FOUND, 10_003, "Not Found: Resource not found"));
        }
        let body = if call.body.is_empty() { json!({}) } else { call.json().unwrap_or_default() };
        let now = chrono::Utc::now().timestamp();
        let life = match &body["exp"] {
            Value::Null => 3600,
            exp => exp.as_i64().map(|exp| exp - now).filter(|life| (1..=86_460).contains(life)).ok_or_else(|| {
                failed(StatusCode::BAD_REQUEST, 10_005, "Bad Request: exp must be a number at most 24 hours ahead")
            })?,
        };
        let life = Duration::from_secs(life.unsigned_abs());
        let (token, _) = self.jwt(call, Grant { account, request: video, life }, Exp::Text);
        Ok(Reply::json(json!({"result": {"token": token}, "success": true, "errors": [], "messages": []})))
    }

    fn api_video(&self, call: &Call) -> Result<Reply, Refusal> {
        let body = call.json().unwrap_or_default();
        if body["apiKey"] != example::API_KEY {
            let body = json!({"type": "https://docs.api.video/docs/authentication-invalid-user-credentials",
                "title": "The user credentials were incorrect.", "name": "", "status": 400});
            return Err(Refusal::new(StatusCode::BAD_REQUEST, body));
        }
        let grant = Grant { account: "api.video", request: "api-key", life: Duration::from_hours(1) };
        let (token, life) = self.opaque(call, grant);
        let refresh = format!("def50200{}", Uuid::new_v4().simple());
        Ok(Reply::json(json!({"token_type": "Bearer", "expires_in": life, "access_token": token,
            "refresh_token": refresh})))
    }

    /// Checks the client of an OAuth 2.0 request, in the Authorization header or in the form.
    fn client(call: &Call) -> Result<(), Refusal> {
        let basic = answers::basic(call);
        let form = call.form("client_id").zip(call.form("client_secret"));
        let expected = (example::CLIENT_ID.to_owned(), example::CLIENT_SECRET.to_owned());
        if basic.or(form) == Some(expected) {
            return Ok(());
        }
        let body =
            json!({"error": "invalid_client", "error_description": "The client is unknown or its secret is wrong"});
        Err(Refusal::new(StatusCode::UNAUTHORIZED, body))
    }

    fn brightcove(&self, call: &Call) -> Result<Reply, Refusal> {
        Self::client(call)?;
        if call.form("grant_type").as_deref() != Some("client_credentials") {
            return Err(Refusal::new(StatusCode::BAD_REQUEST, json!({"error": "unsupported_grant_type"})));
        }
        let grant = Grant { account: example::CLIENT_ID, request: "access_token", life: Duration::from_mins(5) };
        let (token, life) = self.opaque(call, grant);
        Ok(Reply::json(json!({"access_token": token, "token_type": "Bearer", "expires_in": life})))
    }

    fn kaltura(&self, call: &Call) -> Result<Reply, Refusal> {
        if call.form("secret").as_deref() != Some(example::ADMIN_SECRET) {
            let body = json!({"objectType": "KalturaAPIException", "code": "START_SESSION_ERROR",
                "message": "Error while starting session for partner [102]", "args": {"PARTNER_ID": "102"}});
            return Err(Refusal::new(StatusCode::OK, body));
        }
        let life = call.form("expiry").and_then(|text| text.parse().ok()).unwrap_or(86_400);
        let user = call.form("userId").unwrap_or_default();
        let grant = Grant { account: "102", request: &user, life: Duration::from_secs(life) };
        let (token, _) = self.opaque(call, grant);
        Ok(Reply::json(token.map_or(json!({"objectType": "KalturaNull"}), Value::from)))
    }

    fn ant_media(&self, call: &Call, stream: &str) -> Result<Reply, Refusal> {
        let failed = |message: &str| Refusal::new(StatusCode::OK, json!({"success": false, "message": message}));
        if call.bearer() != Some(example::API_TOKEN) {
            return Err(Refusal::new(StatusCode::FORBIDDEN, json!({"message": "Invalid App JWT Token"})));
        }
        let now = chrono::Utc::now().timestamp();
        let ahead = call.query("expireDate").and_then(|at| at.parse::<i64>().ok()).map(|at| at - now);
        let life = ahead.filter(|life| *life > 0).ok_or_else(|| failed("expire date is in the past"))?;
        if stream == "missing" {
            return Err(failed("Stream id does not exist"));
        }
        let life = Duration::from_secs(life.unsigned_abs());
        let (token, validity) = self.jwt(call, Grant { account: "live", request: stream, life }, Exp::Number);
        let type_ = call.query("type");
        Ok(Reply::json(json!({"tokenId": token, "streamId": stream, "expireDate": validity.expires_at, "type": type_})))
    }

    fn frigate(&self, call: &Call) -> Result<Reply, Refusal> {
        let body = call.json().unwrap_or_default();
        if body["user"] != example::USERNAME || body["password"] != example::PASSWORD {
            return Err(Refusal::new(StatusCode::UNAUTHORIZED, json!({"message": "Login failed"})));
        }
        let grant = Grant { account: "frigate", request: "login", life: Duration::from_hours(24) };
        let (token, _) = self.jwt(call, grant, Exp::Number);
        let cookie = token.map(|token| format!("frigate_token={token}; HttpOnly; Path=/"));
        Ok(Reply { cookie, ..Reply::json(json!({})) })
    }

    fn rooms_oauth(&self, call: &Call) -> Result<Reply, Refusal> {
        Self::client(call)?;
        let known = match call.form("grant_type").as_deref() {
            Some("client_credentials") => true,
            Some("refresh_token") => call.form("refresh_token").as_deref() == Some(example::REFRESH_TOKEN),
            Some("password") => {
                call.form("username").as_deref() == Some(example::USERNAME)
                    && call.form("password").as_deref() == Some(example::PASSWORD)
            }
            _ => return Err(Refusal::new(StatusCode::BAD_REQUEST, json!({"error": "unsupported_grant_type"}))),
        };
        if !known {
            return Err(Refusal::new(StatusCode::BAD_REQUEST, json!({"error": "invalid_grant"})));
        }
        let bearer = format!("bearer-{}", Uuid::new_v4().simple());
        locked(&self.bearers).push(bearer.clone());
        Ok(Reply::json(json!({"access_token": bearer, "token_type": "Bearer", "expires_in": "3600"})))
    }

    fn communication(&self, call: &Call, user: &str) -> Result<Reply, Refusal> {
        let failed = |status: StatusCode, code: &str| {
            Refusal::new(status, json!({"error": {"code": code, "message": "The request is not valid."}}))
        };
        if call.bearer().is_none_or(str::is_empty) {
            return Err(failed(StatusCode::UNAUTHORIZED, "Denied"));
        }
        if call.query("api-version").is_none() {
            return Err(failed(StatusCode::BAD_REQUEST, "MissingApiVersionParameter"));
        }
        let minutes = call.json().and_then(|body| body["expiresInMinutes"].as_u64());
        let minutes = minutes.filter(|minutes| (60..=1440).contains(minutes));
        let minutes = minutes.ok_or_else(|| failed(StatusCode::BAD_REQUEST, "ValidationError"))?;
        let grant = Grant { account: "communication", request: user, life: Duration::from_mins(minutes) };
        let (token, validity) = self.jwt(call, grant, Exp::Number);
        Ok(Reply::json(json!({"token": token, "expiresOn": seven_digits(validity)})))
    }

    fn rooms(&self, call: &Call, room: &str) -> Result<Reply, Refusal> {
        let known = call.bearer().is_some_and(|bearer| locked(&self.bearers).iter().any(|known| known == bearer));
        if !known {
            return Err(Refusal::new(StatusCode::UNAUTHORIZED, json!({"message": "unknown access token"})));
        }
        let grant = Grant { account: "rooms", request: room, life: Duration::from_hours(2) };
        let (token, validity) = self.jwt(call, grant, Exp::Number);
        Ok(Reply::json(json!({"token": token, "expiresOn": seven_digits(validity)})))
    }

    fn projects(&self, call: &Call, project: &str, room: &str) -> Result<Reply, Refusal> {
        let known = call.bearer().and_then(|key| locked(&self.keys).get(key).cloned());
        if known.as_deref() != Some(project) {
            return Err(Refusal::new(StatusCode::UNAUTHORIZED, json!({"message": "unknown key"})));
        }
        let (token, life) = self.opaque(call, Grant { account: project, request: room, life: Duration::from_hours(1) });
        Ok(Reply::json(json!({"token": token, "expiresIn": life})))
    }

    fn eagle_eye(&self, call: &Call) -> Result<Reply, Refusal> {
        Self::client(call)?;
        if call.form("refresh_token").as_deref() != Some(example::REFRESH_TOKEN) {
            return Err(Refusal::new(StatusCode::BAD_REQUEST, json!({"error": "invalid_grant"})));
        }
        let now = chrono::Utc::now().timestamp();
        let held = locked(&self.same).clone().filter(|(_, expires_at)| *expires_at > now);
        let (token, expires_at) = held.unwrap_or_else(|| {
            let grant = Grant { account: "een", request: "refresh_token", life: Duration::from_hours(12) };
            let (token, life) = self.opaque(call, grant);
            let fresh = (token.unwrap_or_default(), now + life);
            *locked(&self.same) = Some(fresh.clone());
            fresh
        });
        Ok(Reply::json(json!({"access_token": token, "token_type": "Bearer", "expires_in": expires_at - now,
            "refresh_token": example::REFRESH_TOKEN, "httpsBaseUrl": {"hostname": "api.c001.eagleeyenetworks.com"}})))
    }
}

impl Emulator for Platforms {
    fn control(&self) -> &Arc<Control> {
        &self.control
    }

    fn router(self: &Arc<Self>) -> Router {
        self.control.wrap(Router::new().fallback(respond).with_state(self.clone()))
    }
}

fn no_such_path() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, json!({"message": "no such path"}))
}

/// The expiry with seven digits and an offset, as .NET writes it.
fn seven_digits(validity: Validity) -> Option<String> {
    let at = chrono::DateTime::from_timestamp(validity.expires_at?, 324_458_400)?;
    Some(at.format("%Y-%m-%dT%H:%M:%S.3244584+00:00").to_string())
}

/// Every path and method.
async fn respond(State(platforms): State<Arc<Platforms>>, Extension(call): Extension<Arc<Call>>) -> Response {
    match platforms.answer(&call) {
        Ok(reply) => reply.into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

/// Each platform has its own words. Faults that a test plays have the form of the platform whose path it is, if it is
/// documented, and Cloudflare's otherwise.
struct PlatformDialect;

impl PlatformDialect {
    /// Returns true if the platform documents no wait for calls that it throttles.
    fn is_silent(path: &str) -> bool {
        ["/v1/meeting-tokens", "/google/v1/", "/oauth/token", "/token", "/cameras/"]
            .iter()
            .any(|start| path.starts_with(start))
    }
}

impl Dialect for PlatformDialect {
    fn target(&self, call: &Call) -> Target {
        let project = call.path().strip_prefix("/v1/projects/").and_then(|rest| rest.split('/').next());
        Target { account: project.unwrap_or("platforms").to_owned(), operation: call.path().to_lowercase() }
    }

    /// No IDs are documented.
    fn stamp(&self, _call: &Call, _headers: &mut HeaderMap) {}

    fn refuse(&self, call: &Call, status: StatusCode, message: &str) -> Response {
        let path = call.path();
        let refusal = if path == "/v1/meeting-tokens" {
            meetings::daily_failure(status, message)
        } else if path.starts_with("/google/v1/") {
            cameras::google_failure(status, message)
        } else if path == "/token" || path.starts_with("/cameras/") {
            cameras::verkada_failure(status, message)
        } else {
            let body = json!({"success": false, "errors": [{"code": 7003, "message": message}], "result": null});
            Refusal::new(status, body)
        };
        refusal.into_response()
    }

    fn throttle(&self, call: &Call, wait: Option<u64>) -> Response {
        let mut response = self.refuse(call, StatusCode::TOO_MANY_REQUESTS, "Too many requests. Try again later.");
        if let Some(seconds) = wait.filter(|_| !Self::is_silent(call.path())) {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}
