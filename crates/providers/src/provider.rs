//! What every provider type brings, as values: a type that is declared in YAML can bring the same.

use crate::account::{Built, References, Via};
use async_trait::async_trait;
use std::borrow::Cow;
use url::Url;
use videotoken_api::provider::{ProviderSpec, SecretKeyRef};
use videotoken_api::request::FieldError;
use videotoken_core::plan::view::Refusal;

/// A field, as a path from a provider object's root, such as `spec.blendVision.endpoint`.
pub type Field = Cow<'static, str>;

/// One account at one token API, as a provider object's spec names it.
#[async_trait]
pub trait Provider: Sync {
    /// Returns the URLs that are called, each with its field.
    fn endpoints(&self) -> Result<Vec<(Field, Url)>, FieldError>;

    /// Returns the provider's own hosts, each a host or `*.suffix`: all that a namespaced provider may call unless the
    /// operator's admin allows more. A credential for another host must name it in its annotation.
    fn public_hosts(&self) -> Vec<Cow<'static, str>>;

    /// Returns the names of the Secrets that hold its credentials.
    fn secrets(&self) -> Result<Vec<String>, FieldError>;

    /// Builds its issuer, with the credentials that `references` reads.
    async fn build(&self, via: &Via<'_>, spec: &ProviderSpec, references: &References<'_>) -> Result<Built, Refusal>;
}

/// Returns the URL in a field.
pub fn url(field: impl Into<Field>, text: &str) -> Result<(Field, Url), FieldError> {
    let field = field.into();
    match Url::parse(text) {
        Ok(url) => Ok((field, url)),
        Err(_) => Err(FieldError::new(field, "must be an absolute URL")),
    }
}

/// Returns the hosts of a list that is known at compile time.
pub fn hosts(list: &'static [&'static str]) -> Vec<Cow<'static, str>> {
    list.iter().map(|host| Cow::Borrowed(*host)).collect()
}

/// One key of a Secret with the field that refers to it.
pub type Credential<'a> = (Field, &'a SecretKeyRef);
