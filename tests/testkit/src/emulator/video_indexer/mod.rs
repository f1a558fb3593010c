//! Azure Video Indexer's four token operations, as Azure Resource Manager offers them.
//!
//! `POST {arm}/subscriptions/…/resourceGroups/…/providers/Microsoft.VideoIndexer/accounts/{name}/{operation}`
//!
//! Source: Microsoft.VideoIndexer REST reference, api-version 2025-04-01, "Generate - Access Token" and its three
//! siblings; Azure Resource Manager's "Common deployment errors" and "Request limits and throttling". The codes of
//! the refusals that Video Indexer makes itself are not documented: here they are ours.

mod refusal;
mod request;

pub use request::OPERATIONS;

use super::{BearerError, Call, Control, Dialect, Entra, Grant, Limit, Principal, SigningKey, Target, locked};
use axum::{
    Extension, Json, Router,
    extract::State,
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode};
use refusal::Refusal;
use request::{Ask, Resource};
use serde_json::{Map, Value, json};
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
    time::Duration,
};
use uuid::Uuid;

/// The life of a token where none can be asked for.
const LIFE: Duration = Duration::from_hours(1);

/// `nbf` lies so many seconds before the issue.
const BACKDATED: i64 = 300;

/// The length of a real token.
const TOKEN_LENGTH: usize = 1_260;

/// The names by which Entra knows Resource Manager's public cloud.
const PUBLIC_AUDIENCES: [&str; 2] = ["https://management.azure.com", "https://management.core.windows.net"];

/// What the real ones allow each account: Video Indexer 10 a second and 120 a minute (seen), Resource Manager a
/// bucket of 200 writes that refills at 10 a second (documented; per subscription and principal).
pub const REAL_LIMITS: [Limit; 3] = [
    Limit::Window { requests: 10, seconds: 1 },
    Limit::Window { requests: 120, seconds: 60 },
    Limit::Bucket { capacity: 200, per_second: 10 },
];

/// Which of the four operations a role allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operations {
    /// All of them.
    All,
    /// These, by their names in the path.
    Only(Vec<String>),
}

impl Operations {
    fn allow(&self, operation: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.iter().any(|name| name.eq_ignore_ascii_case(operation)),
        }
    }
}

/// One Resource Manager with any number of Video Indexer accounts.
pub struct VideoIndexer {
    control: Arc<Control>,
    entra: Arc<Entra>,
    key: SigningKey,
    estate: Mutex<Estate>,
}

/// What there is. Resource ids are in lower case, since they compare so.
#[derive(Default)]
struct Estate {
    accounts: HashMap<String, Account>,
    roles: Vec<Role>,
    audiences: HashSet<String>,
}

#[derive(Clone)]
struct Account {
    id: Uuid,
    extensions: HashSet<String>,
}

struct Role {
    client_id: String,
    scope: String,
    operations: Operations,
}

impl VideoIndexer {
    /// A Resource Manager with no accounts, which trusts `entra`.
    pub fn new(entra: Arc<Entra>) -> anyhow::Result<Arc<Self>> {
        let estate = Estate { audiences: PUBLIC_AUDIENCES.map(String::from).into(), ..Estate::default() };
        Ok(Arc::new(Self {
            control: Control::new("videoIndexer", ArmDialect),
            entra,
            key: SigningKey::generate("video-indexer-emulator")?,
            estate: Mutex::new(estate),
        }))
    }

    /// Faults, limits, lives, holds; requests seen and tokens issued.
    pub fn control(&self) -> &Arc<Control> {
        &self.control
    }

    /// The whole of it, to be served.
    pub fn router(self: &Arc<Self>) -> Router {
        self.control.wrap(Router::new().fallback(respond).with_state(self.clone()))
    }

    /// Adds an account by its resource id, `/subscriptions/…/accounts/{name}`.
    pub fn add_account(&self, resource_id: &str) {
        let fresh = || Account { id: Uuid::new_v4(), extensions: HashSet::new() };
        locked(&self.estate).accounts.entry(resource_id.to_lowercase()).or_insert_with(fresh);
    }

    /// Takes an account away.
    pub fn remove_account(&self, resource_id: &str) {
        locked(&self.estate).accounts.remove(&resource_id.to_lowercase());
    }

    /// Connects an Arc extension to an account. False: no such account.
    pub fn add_extension(&self, account: &str, extension_id: &str) -> bool {
        let mut estate = locked(&self.estate);
        let account = estate.accounts.get_mut(&account.to_lowercase());
        account.map(|account| account.extensions.insert(extension_id.to_lowercase())).is_some()
    }

    /// Disconnects it.
    pub fn remove_extension(&self, account: &str, extension_id: &str) {
        if let Some(account) = locked(&self.estate).accounts.get_mut(&account.to_lowercase()) {
            account.extensions.remove(&extension_id.to_lowercase());
        }
    }

    /// Assigns a role to an application, by its client id, on everything at or below a resource id.
    pub fn assign_role(&self, client_id: &str, scope: &str, operations: Operations) {
        let scope = scope.trim_end_matches('/').to_lowercase();
        locked(&self.estate).roles.push(Role { client_id: client_id.to_owned(), scope, operations });
    }

    /// Takes all of an application's roles away.
    pub fn remove_roles(&self, client_id: &str) {
        locked(&self.estate).roles.retain(|role| role.client_id != client_id);
    }

    /// A resource whose Entra tokens are taken here, beside the public cloud's.
    pub fn add_audience(&self, audience: &str) {
        locked(&self.estate).audiences.insert(audience.trim_end_matches('/').to_owned());
    }

    fn answer(&self, call: &Call) -> Result<Value, Refusal> {
        let principal = self.authenticate(call)?;
        let resource = Resource::parse(call)?;
        request::check_version(call, &resource)?;
        let account = self.authorize(&principal, &resource)?;
        let ask = Ask::parse(call, &resource)?;
        if let Some(extension) = &ask.extension_id
            && !account.extensions.contains(&extension.to_lowercase())
        {
            return Err(Refusal::extension_not_found(extension));
        }
        let token = self.issue(call, &resource, &account, &ask);
        Ok(token.map_or_else(|| json!({}), |token| json!({"accessToken": token})))
    }

    fn authenticate(&self, call: &Call) -> Result<Principal, Refusal> {
        let bearer = call.bearer().ok_or_else(Refusal::no_bearer)?;
        let principal = self.entra.verify(bearer).map_err(|error| match error {
            BearerError::Expired => Refusal::expired_bearer(),
            BearerError::Unknown | BearerError::Revoked => Refusal::invalid_bearer(),
        })?;
        let known = locked(&self.estate).audiences.contains(&principal.audience);
        if known { Ok(principal) } else { Err(Refusal::wrong_audience(&principal.audience)) }
    }

    /// The account, if the principal may do this with it. Who has no role doesn't learn what there is.
    fn authorize(&self, principal: &Principal, resource: &Resource) -> Result<Account, Refusal> {
        let id = resource.id();
        let estate = locked(&self.estate);
        let allowed = estate.roles.iter().any(|role| {
            role.client_id == principal.client_id
                && id.strip_prefix(role.scope.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
                && role.operations.allow(resource.operation.name)
        });
        if !allowed {
            return Err(Refusal::forbidden(principal, resource));
        }
        estate.accounts.get(&id).cloned().ok_or_else(|| Refusal::account_not_found(resource))
    }

    fn issue(&self, call: &Call, resource: &Resource, account: &Account, ask: &Ask) -> Option<String> {
        let id = resource.id();
        let request = ask.line(resource.operation);
        let grant = Grant { account: &id, request: &request, life: ask.life(resource.operation) };
        let (token, _) = self.control.issue(call, grant, |validity| {
            let mut claims = Map::new();
            for (name, value) in [
                ("Version", "2.0.0.0"),
                ("KeyVersion", "8d0f2f3ac2b44a0b9f2f6c9f1d5b7e31"),
                ("AccountId", &account.id.to_string()),
                ("AccountType", "Arm"),
                ("Permission", &ask.permission),
                ("ExternalUserId", &call.request_id.simple().to_string()),
                ("UserType", "MicrosoftCorpAad"),
                ("IssuerLocation", "eastus"),
                ("iss", "https://api.videoindexer.ai/"),
                ("aud", "https://api.videoindexer.ai/"),
            ] {
                claims.insert(name.into(), value.into());
            }
            for (name, value) in
                [("VideoId", &ask.video_id), ("ProjectId", &ask.project_id), ("ExtensionId", &ask.extension_id)]
            {
                if let Some(value) = value {
                    claims.insert(name.into(), value.as_str().into());
                }
            }
            validity.stamp(BACKDATED, &mut claims);
            self.pad(&mut claims);
            self.key.sign(&claims)
        });
        token
    }

    /// Brings the token to the length of a real one.
    fn pad(&self, claims: &mut Map<String, Value>) {
        const ENTRY: usize = r#","Features":"""#.len();
        let length = serde_json::to_string(claims).map_or(0, |json| json.len());
        let missing = self.key.room(TOKEN_LENGTH).saturating_sub(length + ENTRY);
        claims.insert("Features".into(), "0".repeat(missing).into());
    }
}

/// Every path and method.
async fn respond(State(video_indexer): State<Arc<VideoIndexer>>, Extension(call): Extension<Arc<Call>>) -> Response {
    match video_indexer.answer(&call) {
        Ok(body) => Json(body).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

/// Resource Manager's manners.
struct ArmDialect;

impl Dialect for ArmDialect {
    /// The account is its resource id.
    fn target(&self, call: &Call) -> Target {
        match Resource::parse(call) {
            Ok(resource) => Target { account: resource.id(), operation: resource.operation.name.into() },
            Err(_) => Target::default(),
        }
    }

    fn stamp(&self, call: &Call, headers: &mut HeaderMap) {
        let id = call.request_id.to_string();
        for name in ["x-ms-request-id", "x-ms-correlation-request-id"] {
            if let Ok(id) = HeaderValue::try_from(&id) {
                headers.insert(name, id);
            }
        }
    }

    fn refuse(&self, _call: &Call, status: StatusCode, message: &str) -> Response {
        Refusal::other(status, message).into_response()
    }
}
