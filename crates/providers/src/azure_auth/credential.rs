//! Authentication of an identity to Entra: by a secret, a certificate, an assertion of another issuer, or the machine's
//! identity.

use super::super::http::{Http, HttpOptions, Proxies};
use super::super::{Class, IssueError};
use super::EntraTokenOptions;
use super::certificate::{self, CertificateAssertion};
use super::transport::{self, Caller, EntraTransport};
use crate::clock::Timestamp;
use async_trait::async_trait;
use azure_core::cloud::{CloudConfiguration, CustomConfiguration};
use azure_core::credentials::{AccessToken, TokenCredential};
use azure_core::error::ErrorKind;
use azure_core::http::{ClientMethodOptions, ClientOptions, RetryOptions, Transport, UserAgentOptions};
use azure_identity::{
    ClientAssertion, ClientAssertionCredential, ClientAssertionCredentialOptions, ClientSecretCredential,
    ClientSecretCredentialOptions, ManagedIdentityCredential, ManagedIdentityCredentialOptions, UserAssignedId,
};
use chrono::DateTime;
use secrecy::{ExposeSecret, SecretString};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use videotoken_api::request::FieldError;

/// Credential that authenticates an identity to Entra.
#[derive(Clone)]
pub enum AzureCredential {
    /// Client secret.
    ClientSecret {
        /// ID or domain of the tenant.
        tenant_id: String,
        /// ID of the application.
        client_id: String,
        /// The secret string.
        secret: SecretString,
    },
    /// Certificate that is registered with the application.
    ClientCertificate {
        /// ID or domain of the tenant.
        tenant_id: String,
        /// ID of the application.
        client_id: String,
        /// Certificate and its RSA key (PKCS #8) in PEM, in any order. If there are several certificates, the first is
        /// used.
        pem: SecretString,
    },
    /// Token of another issuer that the application trusts, such as the token of a Kubernetes `ServiceAccount`.
    Assertion {
        /// ID or domain of the tenant.
        tenant_id: String,
        /// ID of the application.
        client_id: String,
        /// Source of the assertions.
        source: Arc<dyn AssertionSource>,
    },
    /// Identity of the machine, on Azure's virtual machines and App Service.
    ManagedIdentity {
        /// Client ID of the user-assigned identity. `None` selects the system-assigned identity.
        client_id: Option<String>,
    },
}

/// Supplies client assertions, which are tokens signed by another issuer. Called for each fetch, a few times per hour.
#[async_trait]
pub trait AssertionSource: Send + Sync {
    /// Returns a valid assertion.
    async fn assertion(&self) -> Result<SecretString, IssueError>;
}

/// Token that the kubelet projects into a file and renews there.
#[derive(Clone, Debug)]
pub struct ProjectedToken {
    path: PathBuf,
}

impl ProjectedToken {
    const MAX: u64 = 64 * 1024;

    /// Creates a source that reads `path` for each fetch.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    fn read(path: &Path) -> Result<SecretString, IssueError> {
        let fail = |why: &str| {
            let message = format!("the projected token {}: {why}", path.display());
            IssueError::new(Class::Transient, "AssertionFailed", message)
        };
        let mut text = String::new();
        let file = std::fs::File::open(path).map_err(|error| fail(&error.kind().to_string()))?;
        file.take(Self::MAX).read_to_string(&mut text).map_err(|error| fail(&error.kind().to_string()))?;
        let token = text.trim();
        if token.is_empty() { Err(fail("is empty")) } else { Ok(token.into()) }
    }
}

#[async_trait]
impl AssertionSource for ProjectedToken {
    async fn assertion(&self) -> Result<SecretString, IssueError> {
        let path = self.path.clone();
        tokio::task::spawn_blocking(move || Self::read(&path))
            .await
            .unwrap_or_else(|_| Err(IssueError::new(Class::Transient, "AssertionFailed", "its reader was stopped")))
    }
}

impl AzureCredential {
    /// Returns the expiry of the credential: that of the certificate, or `None` for credentials without a known expiry.
    pub(super) fn expires_at(&self) -> Option<Timestamp> {
        match self {
            Self::ClientCertificate { pem, .. } => certificate::expires_at(pem),
            Self::ClientSecret { .. } | Self::Assertion { .. } | Self::ManagedIdentity { .. } => None,
        }
    }

    /// Returns the operator's own workload identity from the environment variables that the Azure webhook sets.
    /// `AZURE_FEDERATED_TOKEN_FILE` names the file with the token. `AZURE_TENANT_ID` and `AZURE_CLIENT_ID` apply if the
    /// spec doesn't set them. `field` is the path of the spec's `auth`.
    pub fn ambient(
        field: &str,
        tenant_id: Option<String>,
        client_id: Option<String>,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, FieldError> {
        let from = |variable: &str| environment(variable).filter(|value| !value.is_empty());
        let missing = |variable: &str| {
            FieldError::new(
                format!("{field}.workloadIdentity"),
                format!("the operator has no workload identity of its own: {variable} is not set in its environment"),
            )
        };
        let or_from =
            |given: Option<String>, variable| given.or_else(|| from(variable)).ok_or_else(|| missing(variable));
        let path = from("AZURE_FEDERATED_TOKEN_FILE").ok_or_else(|| missing("AZURE_FEDERATED_TOKEN_FILE"))?;
        Ok(Self::Assertion {
            tenant_id: or_from(tenant_id, "AZURE_TENANT_ID")?,
            client_id: or_from(client_id, "AZURE_CLIENT_ID")?,
            source: Arc::new(ProjectedToken::new(path)),
        })
    }

    /// Returns the name of the credential's field below `auth`.
    fn field(&self) -> &'static str {
        match self {
            Self::ClientSecret { .. } => "clientSecret",
            Self::ClientCertificate { .. } => "clientCertificate",
            Self::Assertion { .. } => "workloadIdentity",
            Self::ManagedIdentity { .. } => "managedIdentity",
        }
    }
}

impl std::fmt::Debug for AzureCredential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.field())
    }
}

/// Client of Entra for one identity and one scope.
pub(super) struct Entra {
    proof: Proof,
    scope: String,
    client: ClientOptions,
}

enum Proof {
    Secret { tenant_id: String, client_id: String, secret: SecretString },
    Assertion { tenant_id: String, client_id: String, source: Arc<dyn AssertionSource> },
    Machine { client_id: Option<String> },
}

impl Entra {
    /// Creates the client, and checks everything that needs no call.
    pub(super) fn new(credential: AzureCredential, options: EntraTokenOptions) -> Result<Self, FieldError> {
        let path = format!("{}.auth.{}", options.field, credential.field());
        if options.authority.scheme() != "https" || options.authority.host().is_none() {
            return Err(FieldError::new(
                format!("{}.endpoints.authority", options.field),
                "Entra is called by https only",
            ));
        }
        let client = client_options(&credential, &options)?;
        let proof = match credential {
            AzureCredential::ClientSecret { tenant_id, client_id, secret } => {
                Proof::Secret { tenant_id, client_id, secret: secret.expose_secret().trim().into() }
            }
            AzureCredential::Assertion { tenant_id, client_id, source } => {
                Proof::Assertion { tenant_id, client_id, source }
            }
            AzureCredential::ClientCertificate { tenant_id, client_id, pem } => {
                let audience = token_url(&options.authority, &tenant_id)
                    .ok_or_else(|| FieldError::new(format!("{path}.tenantId"), "no tenant id or domain"))?;
                let source = CertificateAssertion::new(&pem, &client_id, audience)
                    .map_err(|why| FieldError::new(format!("{path}.secretRef"), why))?;
                Proof::Assertion { tenant_id, client_id, source: Arc::new(source) }
            }
            AzureCredential::ManagedIdentity { client_id } => Proof::Machine { client_id },
        };
        proof.check(&path)?;
        let entra = Self { proof, scope: options.scope, client };
        // Only the library detects the remaining errors: managed identities of Azure Arc and other unsupported
        // machines.
        entra.credential().map_err(|_| {
            FieldError::new(path, "this machine's kind of managed identity isn't supported; use workloadIdentity")
        })?;
        Ok(entra)
    }

    /// Fetches a token with one call, never from a cache.
    pub(super) async fn fetch(&self) -> Result<(SecretString, Timestamp), IssueError> {
        let credential = self.credential().map_err(|error| transport::classed(&error))?;
        let AccessToken { token, expires_on, .. } =
            credential.get_token(&[&self.scope], None).await.map_err(|error| transport::classed(&error))?;
        let expires_at = DateTime::from_timestamp(expires_on.unix_timestamp(), 0)
            .ok_or_else(|| IssueError::new(Class::Transient, "BadAnswer", "Entra: a token without a usable expiry"))?;
        Ok((token.secret().into(), expires_at))
    }

    /// Returns a credential without a cache. A cache of the library would keep a rejected token.
    fn credential(&self) -> azure_core::Result<Arc<dyn TokenCredential>> {
        let client_options = self.client.clone();
        Ok(match &self.proof {
            Proof::Secret { tenant_id, client_id, secret } => ClientSecretCredential::new(
                tenant_id,
                client_id.clone(),
                secret.expose_secret().to_owned().into(),
                Some(ClientSecretCredentialOptions { client_options }),
            )?,
            Proof::Assertion { tenant_id, client_id, source } => ClientAssertionCredential::new(
                tenant_id.clone(),
                client_id.clone(),
                Assertion(Arc::clone(source)),
                Some(ClientAssertionCredentialOptions { client_options }),
            )?,
            Proof::Machine { client_id } => ManagedIdentityCredential::new(Some(ManagedIdentityCredentialOptions {
                user_assigned_id: client_id.clone().map(UserAssignedId::ClientId),
                client_options,
            }))?,
        })
    }
}

impl std::fmt::Debug for Entra {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (kind, client_id) = match &self.proof {
            Proof::Secret { client_id, .. } => ("secret", Some(client_id)),
            Proof::Assertion { client_id, .. } => ("assertion", Some(client_id)),
            Proof::Machine { client_id } => ("machine", client_id.as_ref()),
        };
        f.debug_struct("Entra").field("proof", &kind).field("client_id", &client_id).finish_non_exhaustive()
    }
}

impl Proof {
    /// Rejects the values that `azure_identity` would reject, with the field in the error.
    fn check(&self, path: &str) -> Result<(), FieldError> {
        let (tenant_id, client_id) = match self {
            Self::Secret { secret, .. } if secret.expose_secret().is_empty() => {
                return Err(FieldError::new(format!("{path}.secretRef"), "the client secret is empty"));
            }
            Self::Secret { tenant_id, client_id, .. } | Self::Assertion { tenant_id, client_id, .. } => {
                (Some(tenant_id), Some(client_id))
            }
            Self::Machine { client_id } => (None, client_id.as_ref()),
        };
        if tenant_id.is_some_and(|id| !is_tenant(id)) {
            return Err(FieldError::new(format!("{path}.tenantId"), "no tenant id or domain"));
        }
        if client_id.is_some_and(|id| id.trim().is_empty()) {
            return Err(FieldError::new(format!("{path}.clientId"), "is empty"));
        }
        Ok(())
    }
}

/// Returns true if `id` is a GUID or a domain, and thus safe in the path of the token URL.
fn is_tenant(id: &str) -> bool {
    !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.') && !id.starts_with('.')
}

/// Returns the token URL of a tenant, which is the audience of a certificate's assertion.
fn token_url(authority: &url::Url, tenant_id: &str) -> Option<String> {
    let url = authority.join(&format!("/{tenant_id}/oauth2/v2.0/token"));
    is_tenant(tenant_id).then(|| url.ok().map(String::from))?
}

/// Returns options for `azure_core` without its retries and with the operator's HTTP client.
fn client_options(credential: &AzureCredential, options: &EntraTokenOptions) -> Result<ClientOptions, FieldError> {
    let is_machine = matches!(credential, AzureCredential::ManagedIdentity { .. });
    let (http, caller) = match (&options.metadata_endpoint, is_machine) {
        (_, false) => (options.http.clone(), Caller::Entra),
        (Some(endpoint), true) => (options.http.clone(), Caller::Metadata { instead: Some(endpoint.clone()) }),
        (None, true) => (metadata_client(&options.http)?, Caller::Metadata { instead: None }),
    };
    let transport = EntraTransport { http, caller, field: options.field.clone() };
    let mut cloud = CustomConfiguration::default();
    cloud.authority_host = options.authority.to_string();
    Ok(ClientOptions {
        transport: Some(Transport::new(Arc::new(transport))),
        retry: RetryOptions::none(),
        user_agent: UserAgentOptions { application_id: Some("video-token-operator".to_owned()) },
        cloud: Some(Arc::new(CloudConfiguration::Custom(cloud))),
        ..ClientOptions::default()
    })
}

/// Returns the client of the instance metadata service. The service is link-local, so the client uses plain HTTP and no
/// proxy.
fn metadata_client(http: &Http) -> Result<Http, FieldError> {
    Http::new(&HttpOptions {
        timeout: http.timeout(),
        allow_insecure: true,
        proxies: Proxies::Never,
        ..HttpOptions::default()
    })
}

/// Adapter from an [`AssertionSource`] to the trait of `azure_identity`.
struct Assertion(Arc<dyn AssertionSource>);

#[async_trait]
impl ClientAssertion for Assertion {
    async fn secret(&self, _: Option<ClientMethodOptions<'_>>) -> azure_core::Result<String> {
        let assertion = self.0.assertion().await.map_err(|error| azure_core::Error::new(ErrorKind::Other, error))?;
        Ok(assertion.expose_secret().trim().to_owned())
    }
}

impl std::fmt::Debug for Assertion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Assertion")
    }
}
