//! Builds an issuer from a provider's spec: the steps that all types share.

use super::allowed_hosts::Guarded;
use super::references::{References, ca_source, unfit_ca};
use super::spec::Owner;
use crate::Issuer;
use crate::hosts::{HostPolicy, NetworkGuard, Route};
use crate::http::{Http, HttpOptions, HttpPool, Proxies, Transport};
use crate::provider;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;
use url::Url;
use videotoken_api::provider::ProviderSpec;
use videotoken_api::request::FieldError;
use videotoken_core::plan::hash::Hash;
use videotoken_core::plan::view::Refusal;

/// Limits of a process for the calls of its issuers.
#[derive(Clone, Debug)]
pub struct OutboundPolicy {
    /// Network rules for namespaced providers.
    pub network: Arc<NetworkGuard>,
    /// Permits plain HTTP.
    pub allow_insecure: bool,
    /// Timeout of a call.
    pub timeout: Duration,
    /// Replacement for Azure's instance metadata service. For tests.
    pub metadata_endpoint: Option<Url>,
    /// Carrier of calls in place of the network. For simulations.
    pub transport: Option<Arc<dyn Transport>>,
}

/// Issuer and the values that identify its budget.
pub struct BuiltIssuer {
    /// Issuer of the tokens.
    pub issuer: Arc<dyn Issuer>,
    /// Hash of the credential. A provider without the credential can't use the budget.
    pub identity: Hash,
    /// Host of the token API.
    pub host: String,
}

/// Builds the issuer of one provider object, and reads its references. Its connections come from `pool`.
pub async fn issuer(
    reach: &OutboundPolicy,
    pool: &HttpPool,
    spec: &ProviderSpec,
    references: &References<'_>,
) -> Result<BuiltIssuer, Refusal> {
    let via = HttpContext::new(reach, pool, references.owner());
    let account = spec.account().map_err(|error| unfit(&error))?;
    account.identity().map_err(|error| unfit(&error))?;
    provider(&account).build(&via, spec, references).await
}

/// Client settings for the calls of an issuer.
pub struct HttpContext<'a> {
    pub(crate) reach: &'a OutboundPolicy,
    pool: &'a HttpPool,
    pub(crate) owner: Owner,
}

impl<'a> HttpContext<'a> {
    /// Creates the settings of one provider object.
    pub(crate) fn new(reach: &'a OutboundPolicy, pool: &'a HttpPool, owner: Owner) -> Self {
        Self { reach, pool, owner }
    }

    /// Returns the client of a provider object. It may call any host for a `ClusterTokenProvider`, and only permitted
    /// hosts for a namespaced provider.
    pub(crate) async fn http(
        &self,
        public: &[Cow<'static, str>],
        spec: &ProviderSpec,
        references: &References<'_>,
    ) -> Result<Http, Refusal> {
        let ca_pem = references.ca(spec).await?;
        let hosts = match self.owner {
            Owner::Cluster => HostPolicy::Any,
            Owner::Namespace => HostPolicy::guarded(public, self.reach.network.clone()),
        };
        let options = HttpOptions {
            ca_pem,
            ca_source: ca_source(spec),
            timeout: self.reach.timeout,
            hosts,
            allow_insecure: self.reach.allow_insecure,
            proxies: Proxies::Environment,
        };
        self.pool.http(&options).map_err(|error| unfit_ca(spec, &error))
    }
}

/// Returns true if a namespaced provider sets its own CA. Then no host counts as public, because the owner of that CA
/// could read the credential.
pub(crate) fn has_own_ca(owner: Owner, spec: &ProviderSpec) -> bool {
    owner == Owner::Namespace && (spec.ca_bundle.is_some() || spec.ca_bundle_ref.is_some())
}

pub(crate) const OWN_CA: &str =
    ", and with spec.caBundle or spec.caBundleRef of a TokenProvider it must, whatever the host";
const OTHER_PORT: &str = ", and the provider's public hosts count as such on port 443 only";

/// Checks whether the credential may be sent to `url` without an annotation. The error explains why not.
pub(crate) fn public_host(public: &[Cow<'static, str>], url: &Url) -> Result<(), &'static str> {
    if HostPolicy::guarded(public, Arc::default()).admits(url, Route::Direct).is_err() {
        return Err("");
    }
    // Without TLS nothing is sent.
    url.port().is_none().then_some(()).ok_or(OTHER_PORT)
}

pub(crate) fn guarded(because: Option<&'static str>, urls: impl FnOnce() -> Vec<Url>) -> Guarded {
    because.map_or(Guarded::PUBLIC, |because| Guarded { urls: urls(), because })
}

pub(crate) fn unfit(error: &FieldError) -> Refusal {
    Refusal::new("InvalidSpec", error.to_string())
}
