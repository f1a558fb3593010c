//! Interface that every provider type implements. Its results are values, so a type declared in YAML can implement it
//! too.

use crate::provider_setup::{BuiltIssuer, HttpContext, Owner, References};
use async_trait::async_trait;
use std::borrow::Cow;
use url::Url;
use videotoken_api::provider::{ProviderSpec, SecretKeyRef};
use videotoken_api::request::FieldError;
use videotoken_core::plan::view::Refusal;

/// Field of a provider object as a path from its root, such as `spec.blendVision.endpoint`.
pub type Field = Cow<'static, str>;

/// Account of one token API, as the spec of a provider object declares it.
#[async_trait]
pub trait Provider: Sync {
    /// Returns the URLs that are called, each with its field.
    fn endpoints(&self) -> Result<Vec<(Field, Url)>, FieldError>;

    /// Returns the provider's public hosts, each a host or `*.suffix`. A namespaced provider may call only these hosts,
    /// unless the operator's administrator permits more. A credential for another host must name that host in its
    /// annotation.
    fn public_hosts(&self) -> Vec<Cow<'static, str>>;

    /// Returns the names of the Secrets that contain the account's credentials.
    fn secrets(&self) -> Result<Vec<String>, FieldError>;

    /// Checks what the spec of a provider of this owner declares, beyond what the schema can check.
    fn check(&self, _owner: Owner) -> Result<(), FieldError> {
        Ok(())
    }

    /// Reads the Secrets of the account, and checks that each permits its use here. Nothing is sent. A type that reads
    /// them only together with other objects checks nothing.
    async fn check_secrets(&self, _references: &References<'_>) -> Result<(), Refusal> {
        Ok(())
    }

    /// Builds the account's issuer with the credentials that `references` reads.
    async fn build(
        &self,
        via: &HttpContext<'_>,
        spec: &ProviderSpec,
        references: &References<'_>,
    ) -> Result<BuiltIssuer, Refusal>;
}

/// Parses the URL in a field.
pub fn url(field: impl Into<Field>, text: &str) -> Result<(Field, Url), FieldError> {
    let field = field.into();
    match Url::parse(text) {
        Ok(url) => Ok((field, url)),
        Err(_) => Err(FieldError::new(field, "must be an absolute URL")),
    }
}

/// Returns the hosts of a constant list.
pub fn hosts(list: &'static [&'static str]) -> Vec<Cow<'static, str>> {
    list.iter().map(|host| Cow::Borrowed(*host)).collect()
}

/// Key of a Secret, with the field that refers to it.
pub type Credential<'a> = (Field, &'a SecretKeyRef);
