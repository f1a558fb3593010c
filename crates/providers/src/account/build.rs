//! From a provider's spec to its issuer: the one place that knows which type needs which credential.

use super::allowed_hosts::{Guarded, shown};
use super::references::{References, ca_source, unfit_ca};
use super::spec::Owner;
use crate::Issuer;
use crate::azure_auth::{AzureAuth, AzureAuthOptions, AzureCredential};
use crate::hosts::{HostPolicy, NetworkGuard, Route};
use crate::http::{Http, HttpOptions, HttpPool, Proxies};
use crate::keyed::KeyedAccount;
use crate::video_indexer::{self, VideoIndexer};
use secrecy::{ExposeSecret, SecretString};
use std::sync::Arc;
use std::time::Duration;
use url::Url;
use videotoken_api::azure::{Auth, Cloud};
use videotoken_api::provider::ProviderSpec;
use videotoken_api::request::FieldError;
use videotoken_api::token_api::Account;
use videotoken_api::video_indexer::VideoIndexerAccount;
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
    match account {
        Account::VideoIndexer(account) => video_indexer(&via, spec, account, references).await,
        Account::VideoIndexerClassic(account) => keyed(&via, spec, account, references).await,
        Account::BlendVision(account) => keyed(&via, spec, account, references).await,
        Account::ArcgisVideoServer(account) => keyed(&via, spec, account, references).await,
        Account::CognitiveServices(account) => keyed(&via, spec, account, references).await,
    }
}

/// How an issuer's calls go out.
struct Via<'a> {
    reach: &'a Reach,
    pool: &'a HttpPool,
    owner: Owner,
}

impl Via<'_> {
    /// The client of a provider object: any host for a `ClusterTokenProvider`, guarded for a namespaced one.
    async fn http(&self, public: &[&str], spec: &ProviderSpec, references: &References<'_>) -> Result<Http, Refusal> {
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

/// An account whose credentials are keys in Secrets.
async fn keyed(
    via: &Via<'_>,
    spec: &ProviderSpec,
    account: &dyn KeyedAccount,
    references: &References<'_>,
) -> Result<Built, Refusal> {
    let (field, text) = account.endpoint();
    let endpoint = Url::parse(text).map_err(|_| unfit(&FieldError::new(field, "must be an absolute URL")))?;
    let http = via.http(account.public_hosts(), spec, references).await?;
    http.admits(&endpoint).map_err(|refusal| Refusal::new("HostNotAllowed", format!("{field}: {refusal}")))?;
    let host = shown(&endpoint);
    let because = match public_host(account.public_hosts(), &endpoint) {
        Err(because) => Some(because),
        Ok(()) => has_own_ca(via.owner, spec).then_some(OWN_CA),
    };
    let references = references.sent_to(guarded(because, || vec![endpoint.clone()]));
    let mut secrets = Vec::new();
    for (field, reference) in account.credentials() {
        secrets.push(references.credential(field, reference).await?);
    }
    let identity = Hash::of(secrets.iter().map(|secret| secret.expose_secret().as_bytes()));
    let issuer = account.issuer(endpoint, secrets, http).map_err(|error| unfit(&error))?;
    Ok(Built { issuer, identity, host })
}

/// A CA of a namespace's own makes no host public: who chooses whose certificates count chooses who reads what is sent.
fn has_own_ca(owner: Owner, spec: &ProviderSpec) -> bool {
    owner == Owner::Namespace && (spec.ca_bundle.is_some() || spec.ca_bundle_ref.is_some())
}

const OWN_CA: &str = ", and with spec.caBundle or spec.caBundleRef of a TokenProvider it must, whatever the host";
const OTHER_PORT: &str = ", and the provider's public hosts count as such on port 443 only";
const OTHER_CLOUD: &str = ", and in another cloud than Public it must";

/// Whether the credential may go there unnamed; else why not.
fn public_host(public: &[&str], url: &Url) -> Result<(), &'static str> {
    if HostPolicy::guarded(public, Arc::default()).admits(url, Route::Direct).is_err() {
        return Err("");
    }
    // without TLS nothing is sent at all
    url.port().is_none().then_some(()).ok_or(OTHER_PORT)
}

fn guarded(because: Option<&'static str>, urls: impl FnOnce() -> Vec<Url>) -> Guarded {
    because.map_or(Guarded::PUBLIC, |because| Guarded { urls: urls(), because })
}

fn unfit(error: &FieldError) -> Refusal {
    Refusal::new("InvalidSpec", error.to_string())
}

async fn video_indexer(
    via: &Via<'_>,
    spec: &ProviderSpec,
    account: &VideoIndexerAccount,
    references: &References<'_>,
) -> Result<Built, Refusal> {
    let endpoints = account.cloud_endpoints().map_err(|error| unfit(&error))?;
    let url = |member: &str, text: &str| {
        Url::parse(text).map_err(|_| {
            unfit(&FieldError::new(format!("spec.videoIndexer.endpoints.{member}"), "must be an absolute URL"))
        })
    };
    let resource_manager = url("resourceManager", &endpoints.resource_manager)?;
    let authority = url("authority", &endpoints.authority)?;
    let http = via.http(&VideoIndexer::PUBLIC_HOSTS, spec, references).await?;
    for (member, url) in [("resourceManager", &resource_manager), ("authority", &authority)] {
        http.admits(url).map_err(|refusal| {
            Refusal::new("HostNotAllowed", format!("spec.videoIndexer.endpoints.{member}: {refusal}"))
        })?;
    }
    let because = match &account.cloud {
        _ if account.endpoints.is_some() => Some(""),
        _ if has_own_ca(via.owner, spec) => Some(OWN_CA),
        Some(cloud) if via.owner == Owner::Namespace && *cloud != Cloud::Public => Some(OTHER_CLOUD),
        _ => None,
    };
    let references = references.sent_to(guarded(because, || {
        // the authority's own path is ignored: the tenant's stands there
        let mut asked = authority.clone();
        asked.set_path(&format!("/{}/oauth2/v2.0/token", tenant(account).unwrap_or_default()));
        vec![resource_manager.clone(), asked]
    }));
    let (credential, identity) = azure_credential(account, &references, endpoints.assertion_audience).await?;
    let settings = video_indexer::VideoIndexerAccount {
        api_version: endpoints.api_version,
        subscription_id: account.subscription_id.clone(),
        resource_group: account.resource_group.clone(),
        account_name: account.account_name.clone(),
        resource_manager,
    };
    let options = AzureAuthOptions {
        authority,
        scope: settings.entra_scope(),
        http: http.clone(),
        metadata_endpoint: via.reach.metadata_endpoint.clone(),
    };
    let auth = AzureAuth::new(credential, options).map_err(|error| unfit(&error))?;
    let host = shown(&settings.resource_manager);
    let issuer = VideoIndexer::new(settings, Arc::new(auth), http).map_err(|error| unfit(&error))?;
    Ok(Built { issuer: Arc::new(issuer), identity, host })
}

/// The tenant that is asked.
fn tenant(account: &VideoIndexerAccount) -> Option<&str> {
    match account.auth.of_cluster().ok()? {
        Auth::ClientSecret(app) => Some(&app.tenant_id),
        Auth::ClientCertificate(app) => Some(&app.tenant_id),
        Auth::WorkloadIdentity(federated) => federated.tenant_id.as_deref(),
        Auth::ManagedIdentity(_) => None,
    }
}

/// The identity that asks Entra, and a hash of all that makes it another.
async fn azure_credential(
    account: &VideoIndexerAccount,
    references: &References<'_>,
    audience: &str,
) -> Result<(AzureCredential, Hash), Refusal> {
    const FIELD: &str = "spec.videoIndexer.auth";
    let auth = match references.owner() {
        Owner::Namespace => account.auth.of_namespace(),
        Owner::Cluster => account.auth.of_cluster(),
    };
    let proof = |parts: &[&str]| Hash::of(parts.iter().map(|part| part.as_bytes()));
    Ok(match auth.map_err(|error| unfit(&error))? {
        Auth::ClientSecret(app) => {
            let secret = references.credential(&format!("{FIELD}.clientSecret.secretRef"), &app.secret_ref).await?;
            let identity = proof(&["secret", &app.tenant_id, &app.client_id, secret.expose_secret()]);
            let (tenant_id, client_id) = (app.tenant_id.clone(), app.client_id.clone());
            (AzureCredential::ClientSecret { tenant_id, client_id, secret }, identity)
        }
        Auth::ClientCertificate(app) => {
            let field = format!("{FIELD}.clientCertificate.secretRef");
            let reference = &app.secret_ref;
            let certificate = references.credential_key(&field, &reference.name, &reference.certificate_key).await?;
            let key = references.credential_key(&field, &reference.name, &reference.private_key_key).await?;
            let pem = SecretString::from(format!("{}\n{}\n", certificate.expose_secret(), key.expose_secret()));
            let identity = proof(&["certificate", &app.tenant_id, &app.client_id, pem.expose_secret()]);
            let (tenant_id, client_id) = (app.tenant_id.clone(), app.client_id.clone());
            (AzureCredential::ClientCertificate { tenant_id, client_id, pem }, identity)
        }
        Auth::ManagedIdentity(machine) => {
            let client_id = machine.client_id.clone();
            let identity = proof(&["machine", client_id.as_deref().unwrap_or_default()]);
            (AzureCredential::ManagedIdentity { client_id }, identity)
        }
        Auth::WorkloadIdentity(federated) => {
            let (tenant, client) = (federated.tenant_id.clone(), federated.client_id.clone());
            let parts = [tenant.as_deref().unwrap_or_default(), client.as_deref().unwrap_or_default()];
            match &federated.service_account_name {
                None => {
                    let environment = |name: &str| std::env::var(name).ok();
                    let ambient = AzureCredential::ambient(tenant.clone(), client.clone(), environment);
                    (ambient.map_err(|error| unfit(&error))?, proof(&["ambient", parts[0], parts[1]]))
                }
                Some(name) => {
                    let namespace = references.namespace();
                    let field = format!("{FIELD}.workloadIdentity.serviceAccountName");
                    let source = references.assertions(&field, name, audience).await?;
                    let from = |variable: &str| std::env::var(variable).unwrap_or_default();
                    let tenant_id = tenant.clone().unwrap_or_else(|| from("AZURE_TENANT_ID"));
                    let client_id = client.clone().unwrap_or_else(|| from("AZURE_CLIENT_ID"));
                    let identity = proof(&["account", namespace, name, &tenant_id, &client_id]);
                    (AzureCredential::Assertion { tenant_id, client_id, source }, identity)
                }
            }
        }
    })
}
