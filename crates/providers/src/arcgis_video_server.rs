//! Tokens of ArcGIS Video Server's `generateToken`, which takes a form. The status of its response is not significant.
//!
//! Source: the reference of `generateToken`, version 12.0. Errors have the HTTP status 200 and one of two formats. Only
//! a response with a `token` is a success. The server locks a user after five failed logins, so every error that may be
//! a failed login is a credential failure and isn't retried soon.

mod complaint;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;

use super::expiry::parse_expiry;
use super::hosts::canonical_host;
use super::http::{Call, ProviderResponse};
use super::keyed::{Exchange, KeyedAccount, below, issued};
use super::provider::{Credential, Field};
use super::{Class, Excess, IssueError, Issued};
use crate::clock::Timestamp;
use complaint::Complaint;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use url::Url;
use videotoken_api::arcgis_video_server::ArcgisVideoServerAccount;
use videotoken_api::request::{FieldError, TokenRequest};

/// Placeholder for the username in a value of `extraParameters`.
const USERNAME: &str = "$(username)";

/// Issuer for one user of one server.
pub struct ArcgisVideoServer {
    url: Url,
    username: SecretString,
    password: SecretString,
    /// Additional token in the form.
    token: Option<SecretString>,
    /// Rejects a token of the primary site administrator.
    refuse_site_administrator: bool,
    login: String,
}

impl KeyedAccount for ArcgisVideoServerAccount {
    /// Returns no hosts, because every server is on its owner's premises.
    fn public_hosts(&self) -> Vec<Cow<'static, str>> {
        Vec::new()
    }

    fn endpoint(&self) -> (Field, &str) {
        ("spec.arcgisVideoServer.url".into(), self.root())
    }

    fn credentials(&self) -> Vec<Credential<'_>> {
        let login = [
            ("spec.arcgisVideoServer.usernameRef".into(), &self.username_ref),
            ("spec.arcgisVideoServer.passwordRef".into(), &self.password_ref),
        ];
        login
            .into_iter()
            .chain(self.token_ref.as_ref().map(|key| ("spec.arcgisVideoServer.tokenRef".into(), key)))
            .collect()
    }

    fn exchange(&self, endpoint: Url, secrets: Vec<SecretString>) -> Result<Box<dyn Exchange>, FieldError> {
        let mut secrets = secrets.into_iter();
        let (username, password) = (secrets.next().unwrap_or_default(), secrets.next().unwrap_or_default());
        let server = ArcgisVideoServer::new(self, &endpoint, username, password)?;
        Ok(Box::new(ArcgisVideoServer { token: secrets.next(), ..server }))
    }
}

impl ArcgisVideoServer {
    /// Adds a warning to a token with the rights of the primary site administrator, or rejects it.
    fn bounded(
        &self,
        answer: &ProviderResponse,
        issued: Issued,
        site_administrator: bool,
    ) -> Result<Issued, IssueError> {
        if !site_administrator {
            return Ok(issued);
        }
        if self.refuse_site_administrator {
            let message = "the server logs this user in as the primary site administrator (loginAsPSA), and \
                           spec.arcgisVideoServer.refuseSiteAdministrator is true: use a user with fewer rights";
            return Err(answer.failure(Class::Denied, "SiteAdministrator", message.to_owned()));
        }
        Ok(Issued { excess: Some(SITE_ADMINISTRATOR), ..issued })
    }

    /// Creates the issuer. Fails if the form contains two users, because only the server knows which of them a failed
    /// login locks.
    fn new(
        account: &ArcgisVideoServerAccount,
        endpoint: &Url,
        username: SecretString,
        password: SecretString,
    ) -> Result<Self, FieldError> {
        let named: BTreeSet<String> = users(account, &username).iter().map(|user| canonical_user(user)).collect();
        let user = match (named.first(), named.len()) {
            (Some(user), 1) => user.clone(),
            (None, _) => canonical_user(username.expose_secret()),
            _ => {
                let message = "names two users: give the user's name once, and where a server wants `user` set \
                               {user: $(username), username: \"\"}";
                return Err(FieldError::new("spec.arcgisVideoServer.extraParameters", message));
            }
        };
        let login = login(endpoint, &user);
        let refuse_site_administrator = account.refuse_site_administrator;
        let url = below(endpoint, ["generateToken"]);
        Ok(Self { url, username, password, token: None, refuse_site_administrator, login })
    }

    /// Returns the form, without empty fields.
    fn form<'a>(&'a self, request: &'a TokenRequest) -> BTreeMap<&'a str, Cow<'a, str>> {
        let mut form = BTreeMap::from([("username", Cow::from(self.username.expose_secret()))]);
        for (name, value) in &request.fields {
            let value = match value {
                Value::String(text) => expanded(text, &self.username),
                other => Cow::from(other.to_string()),
            };
            form.insert(name, value);
        }
        form.insert("password", self.password.expose_secret().into());
        form.insert("f", "json".into());
        if let Some(token) = &self.token {
            form.insert("token", token.expose_secret().into());
        }
        form.retain(|_, value| !value.is_empty());
        form
    }
}

/// Returns true if the reference's `loginAsPSA` is the boolean or the text `true`.
fn is_true(value: &Value) -> bool {
    value.as_bool().unwrap_or_else(|| value.as_str().is_some_and(|text| text.trim().eq_ignore_ascii_case("true")))
}

/// Returns `value` with the placeholder replaced by the username.
fn expanded<'a>(value: &'a str, username: &SecretString) -> Cow<'a, str> {
    if value.contains(USERNAME) { value.replace(USERNAME, username.expose_secret()).into() } else { value.into() }
}

/// Returns the users in the form. A server may ignore the case of field names.
fn users(account: &ArcgisVideoServerAccount, username: &SecretString) -> Vec<String> {
    let extra = &account.extra_parameters;
    let named = |name: &String| ["username", "user"].iter().any(|field| name.trim().eq_ignore_ascii_case(field));
    let given = extra.iter().filter(|(name, _)| named(name)).map(|(_, value)| expanded(value, username).into_owned());
    let plain = (!extra.contains_key("username")).then(|| username.expose_secret().to_owned());
    given.chain(plain).filter(|user| !user.trim().is_empty()).collect()
}

/// Returns the canonical name of a user. The server ignores the case of names.
fn canonical_user(user: &str) -> String {
    user.trim().to_lowercase()
}

/// Returns a hash that identifies a login without revealing the user. All ports, paths and spellings of a host have the
/// same hash, because they share their users.
fn login(endpoint: &Url, user: &str) -> String {
    let host = canonical_host(endpoint).unwrap_or_default();
    let hash = Sha256::digest(format!("{host}\n{}", canonical_user(user)));
    hash.iter().take(16).fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

impl Exchange for ArcgisVideoServer {
    fn call(&self, request: &TokenRequest) -> Result<Call, IssueError> {
        let form = self.form(request);
        let call = Call::post(self.url.clone()).form(form.iter().map(|(name, value)| (*name, value.as_ref())));
        let call = call.knows(&self.username).knows(&self.password);
        Ok(match &self.token {
            Some(token) => call.knows(token),
            None => call,
        })
    }

    fn read(&self, answer: &ProviderResponse, request: &TokenRequest, now: Timestamp) -> Result<Issued, IssueError> {
        let body = serde_json::from_slice::<Value>(&answer.body).ok();
        let token = body.as_ref().and_then(|body| body.get("token")?.as_str()).filter(|token| !token.is_empty());
        if let (true, Some(body), Some(token)) = (answer.is_success(), &body, token) {
            let issued = issued(answer, token, body.get("expires").and_then(parse_expiry), request, now)?;
            return self.bounded(answer, issued, body.get("loginAsPSA").is_some_and(is_true));
        }
        if answer.status == 401 && body.is_none() && answer.wants_windows_login {
            return Err(self.behind_windows_login(answer));
        }
        Err(match (body.as_ref().and_then(|body| Complaint::read(body, request)), answer.is_success()) {
            (Some(complaint), _) => complaint.failure(answer),
            (None, true) if body.is_some() => answer.not_understood("neither a token nor an error in it"),
            (None, true) => with(answer.not_understood("no JSON"), WAY_OUT),
            (None, false) if answer.status == 404 => with(answer.refusal(), WAY_OUT),
            (None, false) => answer.refusal(),
        })
    }

    fn login(&self) -> Option<String> {
        Some(self.login.clone())
    }
}

impl ArcgisVideoServer {
    /// Returns the failure for a web server that requires its own login. No form reached ArcGIS, so no login took
    /// place.
    fn behind_windows_login(&self, answer: &ProviderResponse) -> IssueError {
        let host = self.url.host_str().unwrap_or_default();
        let message = format!(
            "HTTP 401: the web server at {host} asks for Windows authentication (Negotiate or NTLM), before the form reaches \
             ArcGIS: let it pass {} without, or set spec.arcgisVideoServer.url to the server's own port, such as \
             https://{host}:21443/arcgis/admin",
            self.url.path()
        );
        answer.failure(Class::Configuration, "WindowsAuthentication", message).unsent()
    }
}

/// Excess rights of the primary site administrator.
pub(super) const SITE_ADMINISTRATOR: Excess = Excess {
    reason: Cow::Borrowed("SiteAdministrator"),
    message: Cow::Borrowed(
        "the server logged the user in as the primary site administrator (loginAsPSA): a client with the token may administer \
     the site; use a user with fewer rights, or set spec.arcgisVideoServer.refuseSiteAdministrator of the provider",
    ),
};

const WAY_OUT: &str =
    "spec.arcgisVideoServer.url must be the server's admin root, such as https://host.example:21443/arcgis/admin";

fn with(error: IssueError, way_out: &str) -> IssueError {
    IssueError { message: format!("{}; {way_out}", error.message), ..error }
}
