//! Token APIs with keys in Secrets as credentials and one call for each token. Only Azure Resource Manager differs.
//!
//! An API implements two pure functions: one builds the call for a request, the other reads the token from the
//! response. Sending, timing, the provider's clock and transport failures are common to all APIs.

use super::expiry::ResponseTimes;
use super::http::{Call, ClockSkew, Http, ProviderResponse};
use super::provider::{Credential, Field, Provider, url};
use super::{IssueError, Issued, Issuer, jwt};
use crate::clock::{self, Timestamp};
use crate::provider_setup::build::{OWN_CA, guarded, has_own_ca, public_host, unfit};
use crate::provider_setup::{BuiltIssuer, HttpContext, References, shown};
use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use url::Url;
use videotoken_api::provider::ProviderSpec;
use videotoken_api::request::{FieldError, TokenRequest};
use videotoken_core::plan::hash::Hash;
use videotoken_core::plan::view::Refusal;

/// Account of such an API, with everything that its issuer needs.
pub trait KeyedAccount: Sync {
    /// Returns the provider's public hosts, each a host or `*.suffix`. A namespaced provider may call only these hosts,
    /// unless the operator's administrator permits more. A credential for another host must name that host in its
    /// annotation.
    fn public_hosts(&self) -> Vec<Cow<'static, str>>;

    /// Returns the field of the called URL, as a path from the root of a provider object, and its text.
    fn endpoint(&self) -> (Field, &str);

    /// Returns the keys that the issuer needs, each with its field.
    fn credentials(&self) -> Vec<Credential<'_>>;

    /// Creates the functions of this API. `secrets` have the order of [`KeyedAccount::credentials`].
    fn exchange(&self, endpoint: Url, secrets: Vec<SecretString>) -> Result<Box<dyn Exchange>, FieldError>;

    /// Creates the issuer, which sends its calls through `http`.
    fn issuer(&self, endpoint: Url, secrets: Vec<SecretString>, http: Http) -> Result<Arc<dyn Issuer>, FieldError> {
        let exchange = self.exchange(endpoint, secrets)?;
        Ok(Arc::new(KeyIssuer { exchange, http, skew: ClockSkew::default() }))
    }
}

#[async_trait]
impl<A: KeyedAccount> Provider for A {
    fn endpoints(&self) -> Result<Vec<(Field, Url)>, FieldError> {
        let (field, text) = self.endpoint();
        Ok(vec![url(field, text)?])
    }

    fn public_hosts(&self) -> Vec<Cow<'static, str>> {
        KeyedAccount::public_hosts(self)
    }

    fn secrets(&self) -> Result<Vec<String>, FieldError> {
        Ok(self.credentials().into_iter().map(|(_, reference)| reference.name.clone()).collect())
    }

    async fn check_secrets(&self, references: &References<'_>) -> Result<(), Refusal> {
        let (field, text) = self.endpoint();
        let (_, endpoint) = url(field, text).map_err(|error| unfit(&error))?;
        let because = public_host(&KeyedAccount::public_hosts(self), &endpoint).err();
        let references = references.for_hosts(guarded(because, || vec![endpoint]));
        for (field, reference) in self.credentials() {
            references.credential(&field, reference).await?;
        }
        Ok(())
    }

    async fn build(
        &self,
        via: &HttpContext<'_>,
        spec: &ProviderSpec,
        references: &References<'_>,
    ) -> Result<BuiltIssuer, Refusal> {
        let (field, text) = self.endpoint();
        let (field, endpoint) = url(field, text).map_err(|error| unfit(&error))?;
        let public = KeyedAccount::public_hosts(self);
        let http = via.http(&public, spec, references).await?;
        http.admits(&endpoint).map_err(|refusal| Refusal::new("HostNotAllowed", format!("{field}: {refusal}")))?;
        let host = shown(&endpoint);
        let because = match public_host(&public, &endpoint) {
            Err(because) => Some(because),
            Ok(()) => has_own_ca(via.owner, spec).then_some(OWN_CA),
        };
        let references = references.for_hosts(guarded(because, || vec![endpoint.clone()]));
        let mut secrets = Vec::new();
        for (field, reference) in self.credentials() {
            secrets.push(references.credential(&field, reference).await?);
        }
        let identity = Hash::of(secrets.iter().map(|secret| secret.expose_secret().as_bytes()));
        let issuer = self.issuer(endpoint, secrets, http).map_err(|error| unfit(&error))?;
        Ok(BuiltIssuer { issuer, identity, host })
    }
}

/// Functions of one API, without I/O.
pub trait Exchange: Send + Sync {
    /// Builds the call for a token.
    fn call(&self, request: &TokenRequest) -> Result<Call, IssueError>;

    /// Returns the token in a response, or the failure that the response describes.
    fn read(&self, answer: &ProviderResponse, request: &TokenRequest, now: Timestamp) -> Result<Issued, IssueError>;

    /// See [`Issuer::credential_expires_at`].
    fn credential_expires_at(&self) -> Option<Timestamp> {
        None
    }

    /// See [`Issuer::login`].
    fn login(&self) -> Option<String> {
        None
    }
}

/// Issuer for the API of `exchange`.
struct KeyIssuer {
    exchange: Box<dyn Exchange>,
    http: Http,
    skew: ClockSkew,
}

#[async_trait]
impl Issuer for KeyIssuer {
    async fn issue(&self, request: &TokenRequest) -> Result<Issued, IssueError> {
        let answer = self.http.send(self.exchange.call(request)?).await?;
        self.skew.record(&answer);
        self.exchange.read(&answer, request, clock::now().wall)
    }

    fn clock_skew(&self) -> Option<i64> {
        self.skew.seconds()
    }

    fn credential_expires_at(&self) -> Option<Timestamp> {
        self.exchange.credential_expires_at()
    }

    fn login(&self) -> Option<String> {
        self.exchange.login()
    }
}

/// Creates an issuance from the token in a response. `said` is the expiry that the response states. If the token has an
/// `exp` too, the earlier of both applies.
pub fn issued(
    answer: &ProviderResponse,
    token: &str,
    said: Option<Timestamp>,
    request: &TokenRequest,
    now: Timestamp,
) -> Result<Issued, IssueError> {
    let token = token.trim();
    if !is_token(token) {
        return Err(answer.not_understood("no token in it"));
    }
    let times = ResponseTimes {
        ends: [jwt::exp(token), said].into_iter().flatten().min(),
        issued: jwt::iat(token),
        date: answer.date,
        sent_at: answer.sent_at,
        arrived_at: now,
    };
    let (expires_at, expiry_assumed) = times
        .expiry(request.promised_lifetime)
        .map_err(|error| answer.failure(error.class, error.reason, error.message))?;
    Ok(Issued {
        token: token.into(),
        values: BTreeMap::new(),
        issued_at: answer.sent_at,
        expires_at,
        expiry_assumed,
        excess: None,
        request_id: answer.request_id.clone(),
    })
}

/// Minimum length of a token. Shorter text is a reply such as `OK`.
const SHORTEST: usize = 16;

/// Minimum length of a token without digits. Shorter text may be a phrase such as `ServiceUnavailable`. Of random texts
/// with 16 letters and digits, 1 in 15 has no digit and is requested again. With 40 characters it is 1 in 1,000.
const LONGEST_WORD: usize = 40;

/// Returns true if a text can be a token. Words, markup, URLs and two concatenated tokens can't.
fn is_token(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_graphic() && !b"<>\"'`\\{}".contains(&b);
    let has = |kind: fn(&u8) -> bool| text.as_bytes().iter().any(kind);
    let is_mixed = has(u8::is_ascii_lowercase) && has(u8::is_ascii_uppercase);
    let is_chance = has(u8::is_ascii_digit) || (is_mixed && text.len() >= LONGEST_WORD);
    let is_one = !text.starts_with("eyJ") || text.split('.').count() <= 3 || jwt::is_jwt(text);
    text.len() >= SHORTEST && text.bytes().all(plain) && is_chance && !text.contains("://") && is_one
}

/// Returns `endpoint` with the encoded segments appended to its path, and without a query.
pub fn below<'a>(endpoint: &Url, segments: impl IntoIterator<Item = &'a str>) -> Url {
    let mut url = endpoint.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(segments);
    }
    url.set_query(None);
    url.set_fragment(None);
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_a_token_is_none() {
        let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjE3NjMzOTI1NDR9.c2lnbmF0dXJl";
        for (text, expected) in [
            (jwt, true),
            ("0123456789abcdef0123456789abcdef", true),
            ("kX81_pQ-vR20+aBc/", true),
            ("3f0c8a4e9b1d4f6a_3f0c8a4e9b1d4f6a..", true),
            ("eyJpdiI6IjEyMzQ1Njc4OTAifQ==", true),
            ("uKsl2-mZxQprTbWd|7", true),
            ("", false),
            ("OK", false),
            ("unauthorized", false),
            ("authentication_required", false),
            ("ServiceUnavailable", false),
            ("TokenGenerationFailed", false),
            ("https://login.example/?code=1", false),
            ("AbCdEfGhIjKlMnOpQrStUvWxYzAbCdEfGhIjKlMnOpQr", true),
            ("ACCESS-DENIED-BY-POLICY", false),
            ("<html>login1</html>", false),
            (&format!("{jwt}.{jwt}"), false),
            (&format!("{jwt}{jwt}"), false),
            (&format!("/*c*/\"{jwt}\""), false),
            ("0123456789 abcdef", false),
            ("0123456789äabcdef", false),
            ("{token:0123456789abcdef}", false),
        ] {
            assert_eq!(is_token(text), expected, "{text}");
        }
    }
}
