//! From a provider's spec to its issuer: the one place that knows which type needs which credential.

use super::Context;
use super::accounts::ProviderKey;
use super::assertion::ServiceAccountAssertion;
use super::credentials::References;
use crate::api::azure::Auth;
use crate::api::provider::ProviderSpec;
use crate::api::request::FieldError;
use crate::api::token_api::Account;
use crate::api::video_indexer::VideoIndexerAccount;
use crate::issuer::Issuer;
use crate::issuer::azure_auth::{AzureAuth, AzureAuthOptions, AzureCredential};
use crate::issuer::hosts::{HostPolicy, Route};
use crate::issuer::http::{Http, HttpOptions, Proxies};
use crate::issuer::keyed::KeyedAccount;
use crate::issuer::video_indexer::{self, VideoIndexer};
use crate::plan::hash::Hash;
use crate::plan::view::Refusal;
use secrecy::{ExposeSecret, SecretString};
use std::sync::Arc;
use url::Url;

/// An issuer, and what tells its budget from others'.
pub(super) struct Built {
    /// Who issues.
    pub(super) issuer: Arc<dyn Issuer>,
    /// Of the credential: who lacks it can't touch the budget.
    pub(super) identity: Hash,
    /// The token API's host.
    pub(super) host: String,
}

/// Builds the issuer of one provider object; reads what it refers to.
pub(super) async fn issuer(
    context: &Arc<Context>,
    key: &ProviderKey,
    spec: &ProviderSpec,
    references: &References<'_>,
) -> Result<Built, Refusal> {
    let account = spec.account().map_err(|error| unfit(&error))?;
    account.identity().map_err(|error| unfit(&error))?;
    match account {
        Account::VideoIndexer(account) => video_indexer(context, key, spec, account, references).await,
        Account::VideoIndexerClassic(account) => keyed(context, key, spec, account, references).await,
        Account::BlendVision(account) => keyed(context, key, spec, account, references).await,
        Account::ArcgisVideoServer(account) => keyed(context, key, spec, account, references).await,
        Account::CognitiveServices(account) => keyed(context, key, spec, account, references).await,
    }
}

/// An account whose credentials are keys in Secrets.
async fn keyed(
    context: &Arc<Context>,
    key: &ProviderKey,
    spec: &ProviderSpec,
    account: &dyn KeyedAccount,
    references: &References<'_>,
) -> Result<Built, Refusal> {
    let (field, text) = account.endpoint();
    let endpoint = Url::parse(text).map_err(|_| unfit(&FieldError::new(field, "must be an absolute URL")))?;
    let http = http(context, key, account.public_hosts(), references.ca(spec).await?)?;
    http.admits(&endpoint).map_err(|refusal| Refusal::new("HostNotAllowed", format!("{field}: {refusal}")))?;
    let host = host(&endpoint);
    let public = HostPolicy::guarded(account.public_hosts(), Arc::default()).admits(&endpoint, Route::Direct).is_ok();
    let references = references.sent_to(if public { Vec::new() } else { vec![host.clone()] });
    let mut secrets = Vec::new();
    for (field, reference) in account.credentials() {
        secrets.push(references.credential(field, reference).await?);
    }
    let identity = Hash::of(secrets.iter().map(|secret| secret.expose_secret().as_bytes()));
    let issuer = account.issuer(endpoint, secrets, http).map_err(|error| unfit(&error))?;
    Ok(Built { issuer, identity, host })
}

fn unfit(error: &FieldError) -> Refusal {
    Refusal::new("InvalidSpec", error.to_string())
}

/// The client of a provider object: any host for a `ClusterTokenProvider`, guarded for a namespaced one.
fn http(context: &Context, key: &ProviderKey, public: &[&str], ca_pem: Option<String>) -> Result<Http, Refusal> {
    let hosts = match key.namespace {
        None => HostPolicy::Any,
        Some(_) => HostPolicy::guarded(public, context.settings.network.clone()),
    };
    let options = HttpOptions {
        ca_pem,
        timeout: context.settings.provider_timeout,
        hosts,
        allow_insecure: context.settings.allow_insecure_endpoints,
        proxies: Proxies::Environment,
    };
    context.http.http(&options).map_err(|error| unfit(&error))
}

async fn video_indexer(
    context: &Arc<Context>,
    key: &ProviderKey,
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
    let http = http(context, key, &VideoIndexer::PUBLIC_HOSTS, references.ca(spec).await?)?;
    for (member, url) in [("resourceManager", &resource_manager), ("authority", &authority)] {
        http.admits(url).map_err(|refusal| {
            Refusal::new("HostNotAllowed", format!("spec.videoIndexer.endpoints.{member}: {refusal}"))
        })?;
    }
    let hosts =
        if account.endpoints.is_some() { [&resource_manager, &authority].map(host).to_vec() } else { Vec::new() };
    let references = references.sent_to(hosts);
    let (credential, identity) =
        azure_credential(context, key, account, &references, endpoints.assertion_audience).await?;
    let settings = video_indexer::VideoIndexerAccount {
        api_version: endpoints.api_version.to_owned(),
        subscription_id: account.subscription_id.clone(),
        resource_group: account.resource_group.clone(),
        account_name: account.account_name.clone(),
        resource_manager,
    };
    let options = AzureAuthOptions {
        authority,
        scope: settings.entra_scope(),
        http: http.clone(),
        metadata_endpoint: context.settings.metadata_endpoint.clone(),
    };
    let auth = AzureAuth::new(credential, options).map_err(|error| unfit(&error))?;
    let host = host(&settings.resource_manager);
    let issuer = VideoIndexer::new(settings, Arc::new(auth), http).map_err(|error| unfit(&error))?;
    Ok(Built { issuer: Arc::new(issuer), identity, host })
}

/// `host` or `host:port` as an `allowed-hosts` annotation names it.
fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// The identity that asks Entra, and a hash of all that makes it another.
async fn azure_credential(
    context: &Arc<Context>,
    key: &ProviderKey,
    account: &VideoIndexerAccount,
    references: &References<'_>,
    audience: &str,
) -> Result<(AzureCredential, Hash), Refusal> {
    const FIELD: &str = "spec.videoIndexer.auth";
    let auth = if key.namespace.is_some() { account.auth.of_namespace() } else { account.auth.of_cluster() };
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
                    let own = &context.settings.cluster_resource_namespace;
                    let namespace = key.namespace.as_ref().unwrap_or(own);
                    let source = ServiceAccountAssertion::new(context.applier.client(), namespace, name, audience);
                    let from = |variable: &str| std::env::var(variable).unwrap_or_default();
                    let tenant_id = tenant.clone().unwrap_or_else(|| from("AZURE_TENANT_ID"));
                    let client_id = client.clone().unwrap_or_else(|| from("AZURE_CLIENT_ID"));
                    let identity = proof(&["account", namespace, name, &tenant_id, &client_id]);
                    (AzureCredential::Assertion { tenant_id, client_id, source: Arc::new(source) }, identity)
                }
            }
        }
    })
}
