//! An ArcGIS Video Server's `generateToken`, and one resource that its tokens open.
//!
//! `POST /arcgis/admin/generateToken`, a form; `GET /arcgis/admin/services?token=…`.
//!
//! Source: the reference's `generateToken` and `services`, 12.0, and those of ArcGIS's other servers; the texts of the
//! errors are those that public clients quote. What isn't documented is strict here: a success doesn't clear the failed
//! logins before it.

mod lockout;
mod refusal;
mod request;

pub use lockout::FailedLogin;

use super::{Call, Control, Dialect, Emulator, Grant, Target, locked};
use crate::tls::Connection;
use axum::{
    Extension, Json, Router,
    extract::State,
    response::{Html, IntoResponse as _, Response},
};
use chrono::Utc;
use http::{HeaderMap, StatusCode, header};
use lockout::Lockout;
use refusal::Refusal;
use request::{Ask, Operation};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex},
    time::Duration,
};
use uuid::Uuid;

/// What [`ArcgisVideoServer::furnished`] sets up.
pub mod example {
    /// A user.
    pub const USERNAME: &str = "Video-Reader";
    /// Its password. It needs escaping in a form, as real ones do.
    pub const PASSWORD: &str = "Tr0ub4dor & 3=sesame+open%";
    /// Where the admin root is, below the server's URL.
    pub const ADMIN_ROOT: &str = "/arcgis/admin";
    /// Where a token's holder finds what there is.
    pub const SERVICES: &str = "/arcgis/admin/services";
}

/// What is told of as unconfirmed: how one server may differ from another. By default as the reference says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)] // each a quirk of its own
pub struct ArcgisManners {
    /// The user's name comes as `user`, and not as `username`.
    pub wants_user: bool,
    /// Errors are `{"status": "error", "messages": […]}`, and not `{"error": {…}}`.
    pub flat_errors: bool,
    /// `expires` and `loginAsPSA` are texts.
    pub texts: bool,
    /// Whoever logs in is the site's administrator: `loginAsPSA` is true.
    pub administrator: bool,
}

/// One server with any number of users.
pub struct ArcgisVideoServer {
    control: Arc<Control>,
    site: Arc<Site>,
}

#[derive(Default)]
struct Site {
    manners: Mutex<ArcgisManners>,
    users: Mutex<HashMap<String, User>>,
    lockout: Mutex<Lockout>,
}

struct User {
    password: String,
    may: bool,
}

impl ArcgisVideoServer {
    /// A server without users.
    #[allow(clippy::new_without_default)] // it is shared from the beginning
    pub fn new() -> Arc<Self> {
        let site = Arc::<Site>::default();
        Arc::new(Self { control: Control::new("arcgisVideoServer", ArcgisDialect(site.clone())), site })
    }

    /// A server with the example's user.
    pub fn furnished() -> Arc<Self> {
        let server = Self::new();
        server.set_user(example::USERNAME, example::PASSWORD);
        server
    }

    /// Adds a user, or gives it another password. Names are the same in any case.
    pub fn set_user(&self, name: &str, password: &str) {
        locked(&self.site.users).insert(name.to_lowercase(), User { password: password.to_owned(), may: true });
    }

    /// Whether the user may have tokens at all. At first it may.
    pub fn set_permission(&self, name: &str, may: bool) {
        if let Some(user) = locked(&self.site.users).get_mut(&name.to_lowercase()) {
            user.may = may;
        }
    }

    /// Speaks like another server from now on.
    pub fn speak(&self, manners: ArcgisManners) {
        *locked(&self.site.manners) = manners;
    }

    /// The time in which five failures lock a user, which is as long as it stays locked: 15 minutes at first.
    pub fn set_lockout(&self, time: Duration) {
        locked(&self.site.lockout).set_time(time);
    }

    /// Every login that failed, by any spelling of the user's name, oldest first; also while it was locked.
    pub fn failed_logins(&self, user: &str) -> Vec<FailedLogin> {
        locked(&self.site.lockout).failures(user)
    }

    /// Whether the user is locked now.
    pub fn is_locked(&self, user: &str) -> bool {
        locked(&self.site.lockout).is_locked(user, Utc::now())
    }

    fn answer(&self, call: &Call, peer: IpAddr) -> Result<Response, Refusal> {
        match Operation::parse(call) {
            Some(Operation::GenerateToken) => self.generate_token(call, peer),
            Some(Operation::Services) => self.services(call, peer).map(|body| Json(body).into_response()),
            None => Ok((StatusCode::NOT_FOUND, Html("<html><title>HTTP Status 404 – Not Found</title></html>"))
                .into_response()),
        }
    }

    fn generate_token(&self, call: &Call, peer: IpAddr) -> Result<Response, Refusal> {
        let manners = *locked(&self.site.manners);
        let ask = Ask::parse(call, manners, peer)?;
        self.log_in(&ask)?;
        let (token, expires) = self.issue(call, &ask);
        if !ask.json {
            return Ok(Html("<html><title>Generate Token</title><body>Token generated.</body></html>").into_response());
        }
        let expires = expires.map(|seconds| seconds * 1000 + 183);
        let (expires, psa) = if manners.texts {
            (expires.map(|expires| json!(expires.to_string())), json!(manners.administrator.to_string()))
        } else {
            (expires.map(|expires| json!(expires)), json!(manners.administrator))
        };
        let mut body = json!({"loginAsPSA": psa});
        for (name, value) in [("token", token.map(Value::from)), ("expires", expires)] {
            if let Some(value) = value {
                body[name] = value;
            }
        }
        Ok(Json(body).into_response())
    }

    /// A locked user is refused whatever the password, administrators too.
    fn log_in(&self, ask: &Ask) -> Result<(), Refusal> {
        let now = Utc::now();
        let may = locked(&self.site.users)
            .get(&ask.user.to_lowercase())
            .filter(|user| user.password == ask.password)
            .map(|user| user.may);
        let mut lockout = locked(&self.site.lockout);
        if lockout.is_locked(&ask.user, now) {
            lockout.fail(&ask.user, now);
            return Err(Refusal::account_locked());
        }
        match may {
            Some(true) => Ok(()),
            Some(false) => Err(Refusal::forbidden()),
            None => {
                lockout.fail(&ask.user, now);
                Err(Refusal::wrong_password())
            }
        }
    }

    /// A token, and when it expires by the server's clock, in seconds since the epoch.
    fn issue(&self, call: &Call, ask: &Ask) -> (Option<String>, Option<i64>) {
        let account = ask.user.to_lowercase();
        let mut expires = None;
        let grant = Grant { account: &account, request: &ask.bound_to, life: ask.life };
        let (token, _) = self.control.issue(call, grant, |validity| {
            expires = validity.expires_at;
            format!("{}_{}..", Uuid::new_v4().simple(), Uuid::new_v4().simple())
        });
        (token, expires)
    }

    /// What there is, for whoever has a token and is who it is bound to.
    fn services(&self, call: &Call, peer: IpAddr) -> Result<Value, Refusal> {
        let token = call.query("token").ok_or_else(Refusal::token_required)?;
        let known = self.control.knows(&token).filter(|known| known.is_good(Utc::now()));
        let known = known.ok_or_else(Refusal::invalid_token)?;
        let bound = match known.request.split_once(' ') {
            Some(("referer", referer)) => {
                call.header(header::REFERER.as_str()).is_some_and(|sent| sent.starts_with(referer))
            }
            Some((_, address)) => address == peer.to_string(),
            None => false,
        };
        if !bound {
            return Err(Refusal::invalid_token());
        }
        let services = ["lobby", "garage"].map(|name| json!({"serviceType": "Video Service", "serviceName": name}));
        Ok(json!({"total": 2, "num": 2, "start": 1, "nextStart": -1, "services": services}))
    }
}

impl Emulator for ArcgisVideoServer {
    fn control(&self) -> &Arc<Control> {
        &self.control
    }

    fn router(self: &Arc<Self>) -> Router {
        self.control.wrap(Router::new().fallback(respond).with_state(self.clone()))
    }
}

/// Every path and method.
async fn respond(
    State(server): State<Arc<ArcgisVideoServer>>,
    Extension(call): Extension<Arc<Call>>,
    connection: Option<Extension<Connection>>,
) -> Response {
    let peer = connection.and_then(|Extension(connection)| connection.peer());
    let manners = *locked(&server.site.manners);
    let answer = server.answer(&call, peer.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    answer.unwrap_or_else(|refusal| refusal.answer(manners))
}

struct ArcgisDialect(Arc<Site>);

impl Dialect for ArcgisDialect {
    /// The account is the user.
    fn target(&self, call: &Call) -> Target {
        let manners = *locked(&self.0.manners);
        match Operation::parse(call) {
            Some(operation) => Target {
                account: call.form(request::user_field(manners)).unwrap_or_default(),
                operation: operation.name().to_owned(),
            },
            None => Target::default(),
        }
    }

    /// No ids.
    fn stamp(&self, _call: &Call, _headers: &mut HeaderMap) {}

    /// With HTTP 200, save for too many requests, which a proxy turns away.
    fn refuse(&self, _call: &Call, status: StatusCode, message: &str) -> Response {
        let mut response = Refusal::new(status.as_u16(), message, []).answer(*locked(&self.0.manners));
        if status == StatusCode::TOO_MANY_REQUESTS {
            *response.status_mut() = status;
        }
        response
    }
}
