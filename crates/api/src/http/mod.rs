//! Account and scope of a token API that the spec itself declares: one request, and the reading of its answer.
//!
//! The strings of the request are templates. Secrets are no variables of them: a header or a member of the body refers
//! to a Secret as a whole.

pub mod auth;
pub mod request;
pub mod response;

pub use auth::{BasicAuth, EntraAuth, GrantType, HeaderAuth, HttpAuth, Oauth2, SendClient};
pub use request::{HttpHeader, HttpMethod, HttpRequest};
pub use response::{Expires, Failure, FailureClass, HttpResponse, Success, TokenPlace};

use super::cel::{Cel, cel};
use super::duration::GoDuration;
use super::lifetime::LifetimeRule;
use super::limits::AccountLimits;
use super::parameters::{self, AllowedValues, DeclaredLifetime, DeclaredScope, Parameters};
use super::request::{FieldError, TokenRequest};
use super::schema::{site, url};
use super::token_api::{TokenApi, TypedTokenApi, blame_provider, one};
use schemars::{JsonSchema, Schema, transform::Transform};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::time::Duration;

/// A token API: its request and the reading of its answer.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = cel(
    "!has(self.response.expires.asked) || has(self.lifetime)",
    "expires.asked needs lifetime, which says what can be asked for"
).at(".lifetime").required())]
pub struct HttpAccount {
    /// The URL of the API, such as <https://api.example.com/v1>. It is literal: no template changes it.
    #[schemars(transform = literal_url)]
    pub url: String,
    /// How the calls authenticate.
    pub auth: HttpAuth,
    /// Parameters of the templates, which each VideoAccessToken sets in its scope. A template must use each.
    #[serde(default, skip_serializing_if = "Parameters::is_empty")]
    #[schemars(schema_with = "parameters::parameters")]
    pub parameters: Parameters,
    /// The call that issues a token.
    pub request: HttpRequest,
    /// How the answer is read.
    pub response: HttpResponse,
    /// Lifetimes that the API accepts. Default: none, and a lifetime in a VideoAccessToken is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<DeclaredLifetime>,
}

const ACCOUNT: &str = "spec.http";
const SCOPE: &str = "spec.scope.http.parameters";

const NO_TEMPLATE: &str = "is literal: write templates into request.path and request.query only";

/// Schema transform of a field: a URL without a template, so that no parameter selects the host.
pub(super) fn literal_url(schema: &mut Schema) {
    url(schema);
    cel("!self.contains('{{')", NO_TEMPLATE).transform(schema);
}

/// Longest lifetime that an answer may state where none is asked for.
const LONGEST: Duration = Duration::from_hours(366 * 24);

/// The authentication that a spec selects.
#[derive(Clone, Copy, Debug)]
pub enum Auth<'a> {
    /// A bearer token from a Secret.
    Bearer(&'a super::references::SecretKeyRef),
    /// A user name and a password.
    Basic(&'a BasicAuth),
    /// A header with a secret.
    Header(&'a HeaderAuth),
    /// An access token of an OAuth 2.0 token endpoint.
    Oauth2(&'a Oauth2),
    /// An access token of Microsoft Entra.
    Entra(&'a EntraAuth),
    /// None.
    None,
}

impl HttpAccount {
    /// Returns the authentication that the spec selects.
    pub fn auth(&self) -> Result<Auth<'_>, FieldError> {
        let HttpAuth { bearer, basic, header, oauth2, entra, none } = &self.auth;
        let ways = [
            bearer.as_ref().map(Auth::Bearer),
            basic.as_ref().map(Auth::Basic),
            header.as_ref().map(Auth::Header),
            oauth2.as_ref().map(Auth::Oauth2),
            entra.as_ref().map(Auth::Entra),
            none.map(|_| Auth::None),
        ];
        one(ways, "spec.http.auth", "way to authenticate")
    }

    /// Returns the lifetimes that a VideoAccessToken may request.
    fn lifetime_rule(&self) -> Result<LifetimeRule, FieldError> {
        match (&self.lifetime, &self.response.expires.after) {
            (Some(lifetime), _) => lifetime.rule(&format!("{ACCOUNT}.lifetime")),
            (None, after) => {
                let lifetime = after.as_ref().and_then(GoDuration::parse).unwrap_or(LONGEST);
                let message = "the provider declares no lifetime, since its API takes none: remove lifetime";
                Ok(LifetimeRule::Fixed { lifetime, rejection_message: message.into() })
            }
        }
    }

    fn check(&self) -> Result<(), FieldError> {
        parameters::check(&format!("{ACCOUNT}.parameters"), &self.parameters)?;
        self.lifetime_rule()?;
        let token_url = match self.auth()? {
            Auth::Oauth2(oauth2) => Some(("auth.oauth2.tokenUrl", &oauth2.token_url)),
            _ => None,
        };
        let mut urls = [("url", &self.url)].into_iter().chain(token_url);
        if let Some((member, _)) = urls.find(|(_, url)| url.contains("{{")) {
            return Err(FieldError::new(format!("{ACCOUNT}.{member}"), NO_TEMPLATE));
        }
        self.request.check(&format!("{ACCOUNT}.request"))?;
        if let Auth::Header(HeaderAuth { name, .. }) = self.auth()?
            && let Some(n) = self.request.headers.iter().position(|header| header.name.eq_ignore_ascii_case(name))
        {
            let message = "is the header of auth.header: remove one";
            return Err(FieldError::new(format!("{ACCOUNT}.request.headers[{n}].name"), message));
        }
        if self.response.expires.asked.is_some() && self.lifetime.is_none() {
            let message = "must be set: response.expires.asked needs what can be asked for";
            return Err(FieldError::new(format!("{ACCOUNT}.lifetime"), message));
        }
        if self.response.values.len() > response::MOST_VALUES {
            let message = format!("declare at most {} values", response::MOST_VALUES);
            return Err(FieldError::new(format!("{ACCOUNT}.response.values"), message));
        }
        match self.response.values.keys().find(|name| !parameters::is_name(name)) {
            None => Ok(()),
            Some(name) => {
                let message = "must be a word of letters, digits and underscores that begins with a letter";
                Err(FieldError::new(format!("{ACCOUNT}.response.values[{name}]"), message))
            }
        }
    }
}

impl TokenApi for HttpAccount {
    /// Returns the limits of a careful client, because the API is unknown.
    fn limits(&self) -> AccountLimits {
        AccountLimits::new(2, 60, if self.response.lockout { 1 } else { 2 })
    }

    fn identity(&self) -> Result<String, FieldError> {
        self.check()?;
        let site = site(&self.url).ok_or_else(|| {
            FieldError::new("spec.http.url", "must be an absolute URL such as https://api.example.com")
        })?;
        Ok(format!("http/{site}"))
    }

    fn display_name(&self) -> String {
        site(&self.url).unwrap_or_default()
    }

    fn lockout(&self) -> Option<Cow<'static, str>> {
        self.response.lockout.then(|| "spec.http.response.lockout says that failed logins lock the user".into())
    }

    fn parameters(&self) -> Option<&Parameters> {
        Some(&self.parameters)
    }

    fn invalidates_previous(&self) -> bool {
        self.response.invalidates_previous
    }

    fn values(&self) -> Vec<String> {
        self.response.values.keys().cloned().collect()
    }
}

impl TypedTokenApi for HttpAccount {
    type Scope = DeclaredScope;
    type Allowed<'a> = &'a AllowedValues;

    fn rules() -> Vec<Cel> {
        Vec::new()
    }

    /// Builds the request: the templates, the places of the token and the values, the parameters and the lifetime. What
    /// a render adds (times, a UUID) is no part of it, and neither are secrets, the names of their Secrets, the
    /// authentication and the classes of failures.
    fn request(
        &self,
        account: String,
        scope: &DeclaredScope,
        lifetime: Option<&GoDuration>,
    ) -> Result<TokenRequest, FieldError> {
        let parameters = parameters::fill(&self.parameters, SCOPE, &scope.parameters)?;
        let promised_lifetime = self.lifetime_rule().map_err(|error| blame_provider(&error))?.choose(lifetime)?;
        let HttpResponse { token, expires, values, .. } = &self.response;
        let json = |value: serde_json::Result<Value>| value.unwrap_or_default();
        let mut request = json(serde_json::to_value(&self.request));
        request::forget_references(&mut request);
        let mut fields = Map::from_iter([
            ("request".to_owned(), request),
            ("token".to_owned(), json(serde_json::to_value(token))),
            ("expires".to_owned(), json(serde_json::to_value(expires))),
            ("parameters".to_owned(), parameters.into()),
        ]);
        if !values.is_empty() {
            fields.insert("values".to_owned(), json(serde_json::to_value(values)));
        }
        if self.lifetime.is_some() {
            fields.insert("lifetime".to_owned(), promised_lifetime.as_secs().into());
        }
        Ok(TokenRequest { account, operation: "token".into(), fields, promised_lifetime, ends_at: None })
    }

    fn admits(allowed: Self::Allowed<'_>, scope: &DeclaredScope) -> Result<(), FieldError> {
        parameters::admits(allowed, SCOPE, &scope.parameters)
    }
}
