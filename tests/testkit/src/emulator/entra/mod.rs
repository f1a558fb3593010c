//! Microsoft Entra ID's token endpoint (OAuth 2.0 client credentials, v2.0) and the instance metadata service that
//! managed identities ask.
//!
//! Source: Microsoft identity platform, "OAuth 2.0 client credentials flow", "Certificate credentials",
//! "Workload identity federation", "Microsoft Entra authentication and authorization error codes".

mod assertion;
mod directory;
mod imds;
mod refusal;

pub use assertion::KeySource;
pub use directory::{Federation, TOKEN_EXCHANGE_AUDIENCE};

use super::{Call, Control, Dialect, Grant, SigningKey, Target, jwt::text, locked};
use assertion::Issuers;
use axum::{
    Extension, Json, Router,
    extract::{Path, State},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use chrono::{DateTime, Utc};
use directory::{Application, Directory};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use refusal::Refusal;
use serde_json::{Map, Value, json};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

/// The life of a token for an application.
const LIFE: Duration = Duration::from_secs(3_599);

/// What a client assertion must call itself (RFC 7523).
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Who a token was issued to, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The application's or managed identity's client id.
    pub client_id: String,
    /// Its object id in the tenant.
    pub object_id: String,
    /// The tenant.
    pub tenant_id: String,
    /// The resource.
    pub audience: String,
}

/// Why a bearer token isn't honoured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BearerError {
    /// Not a token of this Entra.
    Unknown,
    /// Its time is over.
    Expired,
    /// Withdrawn.
    Revoked,
}

/// One Entra with any number of tenants.
pub struct Entra {
    control: Arc<Control>,
    directory: Mutex<Directory>,
    issuers: Issuers,
    key: SigningKey,
}

impl Entra {
    /// An Entra that knows nobody.
    pub fn new() -> anyhow::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            control: Control::new("entra", EntraDialect),
            directory: Mutex::default(),
            issuers: Issuers::default(),
            key: SigningKey::generate("entra-emulator")?,
        }))
    }

    /// Faults, limits, lives, holds; requests seen and tokens issued.
    pub fn control(&self) -> &Arc<Control> {
        &self.control
    }

    /// The whole of it, to be served.
    pub fn router(self: &Arc<Self>) -> Router {
        let api = Router::new()
            .route("/{tenant}/oauth2/v2.0/token", post(token))
            .route("/metadata/identity/oauth2/token", get(imds::token))
            .fallback(async || StatusCode::NOT_FOUND)
            .with_state(self.clone());
        self.control.wrap(api)
    }

    /// Registers an application with no credential yet; its tenant comes into being with it. Returns its object id.
    pub fn register_application(&self, tenant_id: &str, client_id: &str) -> String {
        locked(&self.directory).register(tenant_id, client_id)
    }

    /// Takes an application away.
    pub fn remove_application(&self, client_id: &str) {
        locked(&self.directory).applications.remove(client_id);
    }

    /// Adds a client secret beside those that the application has. False: no such application.
    pub fn add_secret(&self, client_id: &str, secret: &str) -> bool {
        self.change(client_id, |application| application.secrets.push(secret.to_owned()))
    }

    /// Revokes a client secret, at once.
    pub fn revoke_secret(&self, client_id: &str, secret: &str) -> bool {
        self.change(client_id, |application| application.secrets.retain(|one| one != secret))
    }

    /// Adds a certificate in PEM. Errors: it can't be read.
    pub fn add_certificate(&self, client_id: &str, certificate_pem: &str) -> anyhow::Result<bool> {
        let certificate = assertion::certificate(certificate_pem)?;
        Ok(self.change(client_id, |application| application.certificates.push(certificate)))
    }

    /// Adds a federated credential: whom of which issuer the application trusts.
    pub fn add_federation(&self, client_id: &str, federation: Federation) -> bool {
        self.change(client_id, |application| application.federations.push(federation))
    }

    /// Takes all federated credentials away.
    pub fn clear_federations(&self, client_id: &str) -> bool {
        self.change(client_id, |application| application.federations.clear())
    }

    /// Says where the keys of an issuer of assertions are; a cluster's `--service-account-issuer`, say.
    pub fn set_issuer_keys(&self, issuer: &str, keys: KeySource) {
        self.issuers.set(issuer, keys);
    }

    /// Gives the machine a managed identity: the system's own, or beside it one that users assign.
    /// Returns its object id.
    pub fn add_managed_identity(&self, tenant_id: &str, client_id: &str, system_assigned: bool) -> String {
        locked(&self.directory).add_managed_identity(tenant_id, client_id, system_assigned)
    }

    /// Issues tokens for this resource. With none added, for any.
    pub fn add_resource(&self, resource: &str) {
        locked(&self.directory).resources.insert(resource.trim_end_matches('/').to_owned());
    }

    /// Who a token is for. An API that trusts this Entra asks here.
    pub fn verify(&self, token: &str) -> Result<Principal, BearerError> {
        let claims = self.key.verify(token).ok_or(BearerError::Unknown)?;
        let expires_at = claims.get("exp").and_then(Value::as_i64).unwrap_or_default();
        if expires_at <= self.now().timestamp() {
            return Err(BearerError::Expired);
        }
        if self.control.knows(token).is_some_and(|token| token.revoked) {
            return Err(BearerError::Revoked);
        }
        let claim = |name| text(&claims, name).to_owned();
        Ok(Principal {
            client_id: claim("appid"),
            object_id: claim("oid"),
            tenant_id: claim("tid"),
            audience: claim("aud"),
        })
    }

    /// The time by Entra's clock.
    fn now(&self) -> DateTime<Utc> {
        Utc::now() + self.control.clock_ahead()
    }

    fn change(&self, client_id: &str, change: impl FnOnce(&mut Application)) -> bool {
        locked(&self.directory).applications.get_mut(client_id).map(change).is_some()
    }

    /// The client credentials flow.
    async fn client_credentials(&self, call: &Call, tenant: &str) -> Result<Response, Refusal> {
        let field = |name| call.form(name).filter(|value| !value.is_empty());
        let grant_type = field("grant_type").ok_or_else(|| Refusal::missing("grant_type"))?;
        let client_id = field("client_id").ok_or_else(|| Refusal::missing("client_id"))?;
        let application = locked(&self.directory).application(tenant, &client_id)?;
        if grant_type != "client_credentials" {
            return Err(Refusal::unsupported_grant(&grant_type));
        }
        let scope = field("scope").ok_or_else(|| Refusal::missing("scope"))?;
        let audience = locked(&self.directory).audience(&scope)?;
        match (field("client_secret"), field("client_assertion")) {
            (Some(secret), _) => application.check_secret(&secret)?,
            (None, Some(assertion)) if field("client_assertion_type").as_deref() == Some(ASSERTION_TYPE) => {
                self.issuers.check(&application, &assertion, &token_url(call), self.now()).await?;
            }
            (None, Some(_)) => return Err(Refusal::missing("client_assertion_type")),
            (None, None) => return Err(Refusal::no_credential()),
        }
        let (token, life) = self.issue(call, &application, &audience, LIFE);
        let mut answer = json!({"token_type": "Bearer", "expires_in": life, "ext_expires_in": life});
        if let Some(token) = token {
            answer["access_token"] = token.into();
        }
        Ok(Json(answer).into_response())
    }

    /// A token for `principal`, and its life in seconds.
    fn issue(&self, call: &Call, principal: &Application, audience: &str, life: Duration) -> (Option<String>, i64) {
        let grant = Grant { account: &principal.client_id, request: audience, life };
        self.control.issue(call, grant, |validity| {
            let mut claims = Map::new();
            let tenant = &principal.tenant_id;
            for (name, value) in [
                ("aud", audience),
                ("iss", &format!("https://sts.windows.net/{tenant}/")),
                ("appid", &principal.client_id),
                ("oid", &principal.object_id),
                ("sub", &principal.object_id),
                ("tid", tenant),
                ("uti", &call.request_id.simple().to_string()),
                ("ver", "1.0"),
            ] {
                claims.insert(name.into(), value.into());
            }
            claims.insert("iat".into(), validity.issued_at.into());
            validity.stamp(0, &mut claims);
            self.key.sign(&claims)
        })
    }
}

/// `POST /{tenant}/oauth2/v2.0/token`.
async fn token(
    State(entra): State<Arc<Entra>>,
    Path(tenant): Path<String>,
    Extension(call): Extension<Arc<Call>>,
) -> Response {
    match entra.client_credentials(&call, &tenant).await {
        Ok(answer) => answer,
        Err(refusal) => refusal.answer(&call),
    }
}

/// What the client called, without its query: the audience of an assertion that an application signs.
fn token_url(call: &Call) -> String {
    format!("https://{}{}", call.authority(), call.path())
}

/// Entra's manners.
struct EntraDialect;

impl Dialect for EntraDialect {
    /// The account is the client id; operations are `token` and `imds`.
    fn target(&self, call: &Call) -> Target {
        if call.path().starts_with("/metadata/") {
            let account = call.query("client_id").unwrap_or_default();
            return Target { account, operation: "imds".into() };
        }
        Target { account: call.form("client_id").unwrap_or_default(), operation: "token".into() }
    }

    fn stamp(&self, call: &Call, headers: &mut HeaderMap) {
        if let Ok(id) = HeaderValue::try_from(call.request_id.to_string()) {
            headers.insert("x-ms-request-id", id);
        }
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store, no-cache"));
    }

    fn refuse(&self, call: &Call, status: StatusCode, message: &str) -> Response {
        Refusal::other(status, message).answer(call)
    }
}
