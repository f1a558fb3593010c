//! From a provider's spec to its issuer: what is the same for all types.

use super::allowed_hosts::Guarded;
use super::references::{References, ca_source, unfit_ca};
use super::spec::Owner;
use crate::Issuer;
use crate::hosts::{HostPolicy, NetworkGuard, Route};
use crate::http::{Http, HttpOptions, HttpPool, Proxies};
use crate::provider;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;
use url::Url;
use videotoken_api::provider::ProviderSpec;
use videotoken_api::request::FieldError;
use videotoken_core::plan::hash::Hash;
use videotoken_core::plan::view::Refusal;

/// What a process lets its issuers reach, and how.
#[derive(Clone, Debug)]
pub struct Reach {
    /// What namespaced providers may reach.
    pub network: Arc<NetworkGuard>,
    /// Plain http is permitted.
    pub allow_insecure: bool,
    /// A call takes no longer.
    pub timeout: Duration,
    /// Where the instance metadata service is, if not where Azure has it. For tests.
    pub metadata_endpoint: Option<Url>,
}

/// An issuer, and what tells its budget from others'.
pub struct Built {
    /// Who issues.
    pub issuer: Arc<dyn Issuer>,
    /// Of the credential: who lacks it can't touch the budget.
    pub identity: Hash,
    /// The token API's host.
    pub host: String,
}

/// Builds the issuer of one provider object; reads what it refers to. Its connections come from `pool`.
pub async fn issuer(
    reach: &Reach,
    pool: &HttpPool,
    spec: &ProviderSpec,
    references: &References<'_>,
) -> Result<Built, Refusal> {
    let via = Via { reach, pool, owner: references.owner() };
    let account = spec.account().map_err(|error| unfit(&error))?;
    account.identity().map_err(|error| unfit(&error))?;
    provider(&account).build(&via, spec, references).await
}

/// How an issuer's calls go out.
pub struct Via<'a> {
    pub(crate) reach: &'a Reach,
    pool: &'a HttpPool,
    pub(crate) owner: Owner,
}

impl Via<'_> {
    /// The client of a provider object: any host for a `ClusterTokenProvider`, guarded for a namespaced one.
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

/// A CA of a namespace's own makes no host public: who chooses whose certificates count chooses who reads what is sent.
pub(crate) fn has_own_ca(owner: Owner, spec: &ProviderSpec) -> bool {
    owner == Owner::Namespace && (spec.ca_bundle.is_some() || spec.ca_bundle_ref.is_some())
}

pub(crate) const OWN_CA: &str =
    ", and with spec.caBundle or spec.caBundleRef of a TokenProvider it must, whatever the host";
const OTHER_PORT: &str = ", and the provider's public hosts count as such on port 443 only";

/// Whether the credential may go there unnamed; else why not.
pub(crate) fn public_host(public: &[Cow<'static, str>], url: &Url) -> Result<(), &'static str> {
    if HostPolicy::guarded(public, Arc::default()).admits(url, Route::Direct).is_err() {
        return Err("");
    }
    // without TLS nothing is sent at all
    url.port().is_none().then_some(()).ok_or(OTHER_PORT)
}

pub(crate) fn guarded(because: Option<&'static str>, urls: impl FnOnce() -> Vec<Url>) -> Guarded {
    because.map_or(Guarded::PUBLIC, |because| Guarded { urls: urls(), because })
}

pub(crate) fn unfit(error: &FieldError) -> Refusal {
    Refusal::new("InvalidSpec", error.to_string())
}
