//! Azure Video Indexer's classic Authorization API, behind its API Management.
//!
//! `GET {endpoint}/Auth/{location}/Accounts/{accountId}[/Projects/{id} | /Videos/{id}]/AccessToken?allowEdit=`, and
//! `…/AccessTokenWithPermission?permission=`, `/Auth/{location}/Users/me/AccessToken?allowEdit=`.
//!
//! Source: the API's reference, "Get Account Access Token" and its siblings, with its `ErrorType`s; API Management's
//! own answers about keys, quotas and rates. Which `ErrorType` answers an unknown location or video is not
//! documented: here it is ours.

mod refusal;
mod request;

use super::api_management::Gateway;
use super::{Call, Control, Dialect, Emulator, Grant, SigningKey, Target, locked};
use axum::{
    Extension, Json, Router,
    extract::State,
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode};
use refusal::Refusal;
use request::{Ask, Media, Route, Wish};
use serde_json::Map;
use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// What [`VideoIndexerClassic::furnished`] sets up.
pub mod example {
    /// The account's region.
    pub const LOCATION: &str = "eastus";
    /// The account.
    pub const ACCOUNT_ID: &str = "4f1c2d7e-93b4-4a58-8c1b-6a0e2d9f7b35";
    /// A key of its owner.
    pub const OWNERS_KEY: &str = "5d3e9c1f7a2b4c8690e1d2f3a4b5c6d7";
    /// A key of a user who may read.
    pub const READERS_KEY: &str = "a1b2c3d4e5f60718293a4b5c6d7e8f90";
    /// A video of the account.
    pub const VIDEO_ID: &str = "07ec9e38d4";
    /// A project of the account.
    pub const PROJECT_ID: &str = "5fd0a3c1b2";
}

/// The life of every token.
const LIFE: Duration = Duration::from_hours(1);

/// `nbf` lies so many seconds before the issue.
const BACKDATED: i64 = 300;

/// What a user may do with an account; each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// To read.
    Read,
    /// To change.
    Edit,
    /// All.
    Own,
}

impl Access {
    /// What a token's permission takes, by its name.
    fn of(permission: &str) -> Option<Self> {
        match permission {
            "Reader" => Some(Self::Read),
            "Contributor" => Some(Self::Edit),
            "MyAccessAdministrator" | "Owner" => Some(Self::Own),
            _ => None,
        }
    }
}

/// One Video Indexer with any number of classic accounts.
pub struct VideoIndexerClassic {
    control: Arc<Control>,
    gateway: Arc<Gateway>,
    key: SigningKey,
    bare: AtomicBool,
    accounts: Mutex<HashMap<String, Account>>,
}

/// An account, by its id in lower case.
struct Account {
    location: String,
    members: HashMap<String, Access>,
    projects: HashSet<String>,
    videos: HashSet<String>,
}

impl VideoIndexerClassic {
    /// One without accounts and keys.
    pub fn new() -> anyhow::Result<Arc<Self>> {
        let gateway = Arc::<Gateway>::default();
        Ok(Arc::new(Self {
            control: Control::new("videoIndexerClassic", ClassicDialect(gateway.clone())),
            gateway,
            key: SigningKey::generate("video-indexer-classic-emulator")?,
            bare: AtomicBool::default(),
            accounts: Mutex::default(),
        }))
    }

    /// One with what [`example`] names.
    pub fn furnished() -> anyhow::Result<Arc<Self>> {
        let classic = Self::new()?;
        classic.gateway.add_key(example::OWNERS_KEY, "owner");
        classic.gateway.add_key(example::READERS_KEY, "reader");
        classic.add_account(example::LOCATION, example::ACCOUNT_ID);
        classic.add_member(example::ACCOUNT_ID, "owner", Access::Own);
        classic.add_member(example::ACCOUNT_ID, "reader", Access::Read);
        classic.add_video(example::ACCOUNT_ID, example::VIDEO_ID);
        classic.add_project(example::ACCOUNT_ID, example::PROJECT_ID);
        Ok(classic)
    }

    /// Its subscription keys, each a user's, its quota, and how it tells to wait.
    pub fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// Tokens come as bare text from now on, not as JSON strings.
    pub fn set_bare(&self, bare: bool) {
        self.bare.store(bare, Ordering::Relaxed);
    }

    /// Adds an account in a region.
    pub fn add_account(&self, location: &str, account_id: &str) {
        let account = Account {
            location: location.to_owned(),
            members: HashMap::new(),
            projects: HashSet::new(),
            videos: HashSet::new(),
        };
        locked(&self.accounts).entry(account_id.to_lowercase()).or_insert(account);
    }

    /// Lets a user do this with an account. False: no such account.
    pub fn add_member(&self, account_id: &str, user: &str, access: Access) -> bool {
        self.change(account_id, |account| account.members.insert(user.to_owned(), access))
    }

    /// Takes a user's access away.
    pub fn remove_member(&self, account_id: &str, user: &str) -> bool {
        self.change(account_id, |account| account.members.remove(user))
    }

    /// Adds a video. False: no such account.
    pub fn add_video(&self, account_id: &str, video_id: &str) -> bool {
        self.change(account_id, |account| account.videos.insert(video_id.to_owned()))
    }

    /// Adds a project. False: no such account.
    pub fn add_project(&self, account_id: &str, project_id: &str) -> bool {
        self.change(account_id, |account| account.projects.insert(project_id.to_owned()))
    }

    fn change<T>(&self, account_id: &str, change: impl FnOnce(&mut Account) -> T) -> bool {
        locked(&self.accounts).get_mut(&account_id.to_lowercase()).map(change).is_some()
    }

    fn answer(&self, call: &Call) -> Result<Option<String>, Refusal> {
        let route = Route::parse(call)?;
        let user = self.gateway.admit(call).map_err(Refusal::Barred)?;
        let ask = Ask::parse(call, route)?;
        self.authorize(&user, &ask)?;
        Ok(self.issue(call, &user, &ask))
    }

    /// Who has no access doesn't learn what there is.
    fn authorize(&self, user: &str, ask: &Ask) -> Result<(), Refusal> {
        let Ask { route, wish } = ask;
        if route.media == Media::User {
            return Ok(());
        }
        let accounts = locked(&self.accounts);
        let id = &route.account_id;
        let account = accounts.get(&id.to_lowercase());
        let access = account.and_then(|account| account.members.get(user)).copied();
        let (Some(account), Some(access)) = (account, access) else {
            return Err(Refusal::not_allowed(&format!("User not allowed access account '{id}'.")));
        };
        if !account.location.eq_ignore_ascii_case(&route.location) {
            return Err(Refusal::invalid(&format!("Account '{id}' is not in location '{}'.", route.location)));
        }
        if access < wish.takes() {
            return Err(Refusal::not_allowed(&format!("User not allowed to {} account '{id}'.", wish.verb())));
        }
        let (known, id, what) = match &route.media {
            Media::Account | Media::User => return Ok(()),
            Media::Project(id) => (&account.projects, id, "Project"),
            Media::Video(id) => (&account.videos, id, "Video"),
        };
        if known.contains(id) { Ok(()) } else { Err(Refusal::invalid(&format!("{what} '{id}' was not found."))) }
    }

    fn issue(&self, call: &Call, user: &str, ask: &Ask) -> Option<String> {
        let Ask { route, wish } = ask;
        let request = ask.line();
        let grant = Grant { account: &route.account_id.to_lowercase(), request: &request, life: LIFE };
        let (token, _) = self.control.issue(call, grant, |validity| {
            let mut claims = Map::new();
            let permission = match wish {
                Wish::Edit(false) => "Reader",
                Wish::Edit(true) => "Contributor",
                Wish::Permission(name) => name,
            };
            for (name, value) in [
                ("Version", "2.0.0.0"),
                ("KeyVersion", "c1f0a9d2b7e84f5f8b1f2a6d3e4c5b60"),
                ("AccountId", &route.account_id),
                ("AccountType", "Classic"),
                ("Permission", permission),
                ("ExternalUserId", user),
                ("UserType", "MicrosoftCorpAad"),
                ("IssuerLocation", &route.location),
                ("iss", "https://api.videoindexer.ai/"),
                ("aud", "https://api.videoindexer.ai/"),
            ] {
                claims.insert(name.into(), value.into());
            }
            match &route.media {
                Media::Project(id) => claims.insert("ProjectId".into(), id.as_str().into()),
                Media::Video(id) => claims.insert("VideoId".into(), id.as_str().into()),
                Media::Account | Media::User => None,
            };
            claims.insert("jti".into(), call.request_id.to_string().into());
            validity.stamp(BACKDATED, &mut claims);
            self.key.sign(&claims)
        });
        token
    }
}

impl Emulator for VideoIndexerClassic {
    fn control(&self) -> &Arc<Control> {
        &self.control
    }

    fn router(self: &Arc<Self>) -> Router {
        self.control.wrap(Router::new().fallback(respond).with_state(self.clone()))
    }
}

/// Every path and method.
async fn respond(State(classic): State<Arc<VideoIndexerClassic>>, Extension(call): Extension<Arc<Call>>) -> Response {
    match classic.answer(&call) {
        Ok(token) if classic.bare.load(Ordering::Relaxed) => token.unwrap_or_default().into_response(),
        Ok(token) => Json(token.unwrap_or_default()).into_response(),
        Err(refusal) => refusal.answer(&classic.gateway),
    }
}

/// The gateway's and the API's manners.
struct ClassicDialect(Arc<Gateway>);

impl Dialect for ClassicDialect {
    fn target(&self, call: &Call) -> Target {
        match Route::parse(call) {
            Ok(route) => Target { operation: route.operation().into(), account: route.account_id },
            Err(_) => Target::default(),
        }
    }

    fn stamp(&self, call: &Call, headers: &mut HeaderMap) {
        if let Ok(id) = HeaderValue::try_from(call.request_id.to_string()) {
            headers.insert("x-ms-request-id", id);
        }
    }

    fn refuse(&self, _call: &Call, status: StatusCode, message: &str) -> Response {
        Refusal::other(status, message).answer(&self.0)
    }

    fn throttle(&self, _call: &Call, wait: Option<u64>) -> Response {
        self.0.throttle(wait, |words| refusal::of_gateway(StatusCode::TOO_MANY_REQUESTS, words))
    }
}
