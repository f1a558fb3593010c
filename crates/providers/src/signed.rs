//! Tokens that the operator signs itself: JSON Web Tokens, signed texts and Agora's AccessToken2. There is no call.
//!
//! The provider object has the key and the templates; a request has the values of the parameters. An issuance renders
//! the templates, signs the result and can't fail for a reason outside of the spec and the key.

mod agora;
mod fips;
mod jws;
mod key;
mod message;
mod rules;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod trial;

use crate::clock::{self, Timestamp};
use crate::provider::{Field, Provider};
use crate::provider_setup::build::unfit;
use crate::provider_setup::{BuiltIssuer, HttpContext, Owner, References};
use crate::{Class, IssueError, Issued, Issuer};
use async_trait::async_trait;
use aws_lc_rs::digest::{SHA256, digest};
use chrono::{SubsecRound, TimeDelta};
use key::Signer;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use url::Url;
use uuid::Uuid;
use videotoken_api::parameters;
use videotoken_api::provider::ProviderSpec;
use videotoken_api::request::{FieldError, TokenRequest};
use videotoken_api::signed::{Form, SignedAccount};
use videotoken_core::plan::hash::Hash;
use videotoken_core::plan::template::declared::RequestVariables;
use videotoken_core::plan::view::Refusal;

pub use trial::content;

/// Field of the key.
const FIELD: &str = "spec.signed.key.secretRef";

/// Maximum characters of a token or a further value.
const LONGEST_TOKEN: usize = 16 * 1024;

#[async_trait]
impl Provider for SignedAccount {
    fn endpoints(&self) -> Result<Vec<(Field, Url)>, FieldError> {
        Ok(Vec::new())
    }

    fn public_hosts(&self) -> Vec<Cow<'static, str>> {
        Vec::new()
    }

    fn secrets(&self) -> Result<Vec<String>, FieldError> {
        Ok(vec![self.key.secret_ref.name.clone()])
    }

    fn check(&self, _owner: Owner) -> Result<(), FieldError> {
        check(self, &Signer::sample(&self.form()?))
    }

    async fn check_secrets(&self, references: &References<'_>) -> Result<(), Refusal> {
        references.signing_key(FIELD, &self.key.secret_ref).await.map(drop)
    }

    async fn build(
        &self,
        _: &HttpContext<'_>,
        _: &ProviderSpec,
        references: &References<'_>,
    ) -> Result<BuiltIssuer, Refusal> {
        let reference = &self.key.secret_ref;
        let text = references.signing_key(FIELD, reference).await?;
        let issuer = Signed::new(self.clone(), &text).map_err(|wrong| match wrong {
            Wrong::Spec(error) => unfit(&error),
            Wrong::Key(why) => {
                let (name, key, namespace) = (&reference.name, &reference.key, references.namespace());
                let message =
                    format!("{FIELD}: what the Secret {name} in namespace {namespace} holds under the key {key} {why}");
                Refusal::new("CredentialsUnusable", message)
            }
        })?;
        let identity = Hash::of([text.expose_secret().as_bytes()]);
        Ok(BuiltIssuer { issuer: Arc::new(issuer), identity, host: String::new() })
    }
}

/// Cause for which a provider object can't sign.
#[derive(Debug)]
enum Wrong {
    /// A field of the spec.
    Spec(FieldError),
    /// The key: what it is, and what to write.
    Key(String),
}

impl From<FieldError> for Wrong {
    fn from(error: FieldError) -> Self {
        Self::Spec(error)
    }
}

/// Issuer that signs with one key.
struct Signed {
    account: SignedAccount,
    signer: Signer,
    fingerprint: String,
}

/// Token with its further values.
#[derive(Debug)]
struct Signature {
    token: SecretString,
    values: BTreeMap<String, SecretString>,
}

/// Renders and signs one token. `uuid` returns the UUID of each further token.
fn sign(
    account: &SignedAccount,
    signer: &Signer,
    variables: &RequestVariables,
    uuid: &mut dyn FnMut() -> String,
) -> Result<Signature, FieldError> {
    match account.form()? {
        Form::Jwt(jwt) => jws::sign(jwt, signer, variables, uuid),
        Form::Message(message) => message::sign(message, signer, variables),
        Form::Agora(agora) => agora::sign(agora, signer, variables),
    }
}

/// Renders all templates with sample values, and checks what they contain.
fn check(account: &SignedAccount, signer: &Signer) -> Result<(), FieldError> {
    if cfg!(feature = "fips") {
        fips::check(&account.form()?)?;
    }
    let sample = || RequestVariables::sample(parameters::samples(&account.parameters));
    rules::places(account)?;
    sign(account, signer, &sample(), &mut || sample().uuid)?;
    rules::check(account)
}

fn uuid() -> String {
    Uuid::new_v4().to_string()
}

/// Returns the variables of a request. The times are whole seconds.
fn variables(request: &TokenRequest, now: Timestamp) -> RequestVariables {
    let issued_at = now.trunc_subsecs(0);
    let lifetime = request.promised_lifetime;
    let expires_at = issued_at + TimeDelta::from_std(lifetime).unwrap_or_else(|_| TimeDelta::hours(1));
    let parameters = request.fields.get("parameters").and_then(Value::as_object).cloned().unwrap_or_default();
    RequestVariables { parameters, issued_at, expires_at, lifetime, uuid: uuid() }
}

impl Signed {
    /// Reads the key, and renders all templates with sample values.
    fn new(account: SignedAccount, text: &SecretString) -> Result<Self, Wrong> {
        let bytes = key::decoded(text, &account.key.encoding).map_err(Wrong::Key)?;
        let signer = Signer::new(&account.form()?, &bytes).map_err(Wrong::Key)?;
        let fingerprint = digest(&SHA256, bytes.as_slice()).as_ref().iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        });
        check(&account, &signer)?;
        Ok(Self { account, signer, fingerprint })
    }

    fn issue_at(&self, now: Timestamp, request: &TokenRequest) -> Result<Issued, FieldError> {
        let variables = variables(request, now);
        let expires_at = variables.expires_at;
        let Signature { token, values } = sign(&self.account, &self.signer, &variables, &mut uuid)?;
        for (what, text) in [("the token", &token)].into_iter().chain(values.iter().map(|(name, text)| (&**name, text)))
        {
            is_token(text).map_err(|why| FieldError::new("spec.signed", format!("{what} {why}")))?;
        }
        Ok(Issued { token, values, issued_at: now, expires_at, expiry_assumed: false, excess: None, request_id: None })
    }
}

/// Checks that a text can be stored and sent as a token.
fn is_token(text: &SecretString) -> Result<(), &'static str> {
    let text = text.expose_secret();
    match text {
        "" => Err("renders to nothing: correct its template"),
        _ if text.len() > LONGEST_TOKEN => Err("renders to more than 16 KiB: shorten its template"),
        _ if !text.bytes().all(|c| c.is_ascii_graphic() || c == b' ') => {
            Err("renders to characters other than visible ASCII: encode them, such as by urlencode or b64urlencode")
        }
        _ => Ok(()),
    }
}

#[async_trait]
impl Issuer for Signed {
    async fn issue(&self, request: &TokenRequest) -> Result<Issued, IssueError> {
        self.issue_at(clock::now().wall, request)
            .map_err(|error| IssueError::new(Class::Configuration, "InvalidTemplate", error.to_string()).unsent())
    }

    fn clock_skew(&self) -> Option<i64> {
        None
    }

    fn key_fingerprint(&self) -> Option<String> {
        Some(self.fingerprint.clone())
    }
}
