//! Azure's clouds and the ways to authenticate to Entra.

use super::cel::{cel, union};
use super::provider::SecretKeyRef;
use super::request::FieldError;
use super::schema::{data_key, guid, object_name, url};
use super::token_api::one;
use schemars::{JsonSchema, Schema, transform::Transform};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One of Azure's clouds.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[schemars(transform = super::cel::known)]
pub enum Cloud {
    /// The public one.
    #[default]
    Public,
    /// That of the US Government.
    #[serde(rename = "USGovernment")]
    UsGovernment,
    /// That of China.
    China,
    /// A word of another version of this API.
    #[serde(untagged)]
    Other(String),
}

/// The endpoints of a cloud that isn't listed.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AzureEndpoints {
    /// Azure Resource Manager, such as <https://management.azure.com>.
    #[schemars(transform = url)]
    pub resource_manager: String,
    /// Entra, such as <https://login.microsoftonline.com>.
    #[schemars(transform = url)]
    pub authority: String,
    /// The api-version of Video Indexer's operations there. Default: 2025-04-01.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[schemars(transform = cel(
        "self.matches('^[0-9]{4}-[0-9]{2}-[0-9]{2}(-[a-z]+)?$')",
        "must be an api-version such as 2025-04-01"
    ))]
    pub api_version: Option<String>,
}

/// Where to call in one cloud, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudEndpoints {
    /// Azure Resource Manager; without a slash at the end.
    pub resource_manager: String,
    /// Entra; without a slash at the end.
    pub authority: String,
    /// The api-version of Video Indexer's operations.
    pub api_version: String,
    /// The audience of a federated assertion.
    pub assertion_audience: &'static str,
}

const API_VERSION: &str = "2025-04-01";

impl Cloud {
    /// Its endpoints; `None` for a cloud that is not known.
    pub fn endpoints(&self) -> Option<CloudEndpoints> {
        let (resource_manager, authority, api_version, assertion_audience) = match self {
            Self::Public => (
                "https://management.azure.com",
                "https://login.microsoftonline.com",
                API_VERSION,
                "api://AzureADTokenExchange",
            ),
            Self::UsGovernment => (
                "https://management.usgovcloudapi.net",
                "https://login.microsoftonline.us",
                "2024-01-01",
                "api://AzureADTokenExchangeUSGov",
            ),
            Self::China => (
                "https://management.chinacloudapi.cn",
                "https://login.chinacloudapi.cn",
                API_VERSION,
                "api://AzureADTokenExchangeChina",
            ),
            Self::Other(_) => return None,
        };
        Some(CloudEndpoints {
            resource_manager: resource_manager.into(),
            authority: authority.into(),
            api_version: api_version.into(),
            assertion_audience,
        })
    }
}

impl From<AzureEndpoints> for CloudEndpoints {
    fn from(endpoints: AzureEndpoints) -> Self {
        Self {
            resource_manager: endpoints.resource_manager.trim_end_matches('/').into(),
            authority: endpoints.authority.trim_end_matches('/').into(),
            api_version: endpoints.api_version.unwrap_or_else(|| API_VERSION.into()),
            assertion_audience: "api://AzureADTokenExchange",
        }
    }
}

/// How to authenticate to Entra: exactly one way.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = union)]
pub struct AzureAuth {
    /// A federated ServiceAccount. `{}` is the operator's own, for a ClusterTokenProvider only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload_identity: Option<WorkloadIdentity>,
    /// The node's managed identity, for a ClusterTokenProvider only. Not on Arc-connected clusters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed_identity: Option<ManagedIdentity>,
    /// An app registration with a client secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<ClientSecret>,
    /// An app registration with a certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<ClientCertificate>,
}

/// The one way that a spec names.
#[derive(Clone, Copy, Debug)]
pub enum Auth<'a> {
    /// A federated ServiceAccount.
    WorkloadIdentity(&'a WorkloadIdentity),
    /// The node's managed identity.
    ManagedIdentity(&'a ManagedIdentity),
    /// A client secret.
    ClientSecret(&'a ClientSecret),
    /// A certificate.
    ClientCertificate(&'a ClientCertificate),
}

const NOT_MANAGED: &str = "the node's identity serves ClusterTokenProviders only: use workloadIdentity with a \
                           ServiceAccount of this namespace, clientSecret or clientCertificate";
const OWN_ACCOUNT: &str = "the operator's identity serves ClusterTokenProviders only: set serviceAccountName, clientId \
                           and tenantId";

impl AzureAuth {
    /// Returns the one way that it names; of a ClusterTokenProvider. `field` is the path of this value.
    pub fn of_cluster(&self, field: &str) -> Result<Auth<'_>, FieldError> {
        let ways = [
            self.workload_identity.as_ref().map(Auth::WorkloadIdentity),
            self.managed_identity.as_ref().map(Auth::ManagedIdentity),
            self.client_secret.as_ref().map(Auth::ClientSecret),
            self.client_certificate.as_ref().map(Auth::ClientCertificate),
        ];
        one(ways, field, "way to authenticate")
    }

    /// Returns the one way that it names; of a namespaced TokenProvider, which must bring an identity of its own.
    pub fn of_namespace(&self, field: &str) -> Result<Auth<'_>, FieldError> {
        let auth = self.of_cluster(field)?;
        match auth {
            Auth::ManagedIdentity(_) => Err(FieldError::new(format!("{field}.managedIdentity"), NOT_MANAGED)),
            Auth::WorkloadIdentity(identity) if !identity.is_own() => {
                Err(FieldError::new(format!("{field}.workloadIdentity"), OWN_ACCOUNT))
            }
            _ => Ok(auth),
        }
    }
}

/// A transform of TokenProvider's spec: the rules of [`AzureAuth::of_namespace`], put where they blame least.
pub(super) fn own_identity(schema: &mut Schema) {
    let types = schema.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten();
    for (_, type_) in types {
        let auth =
            type_.pointer_mut("/properties/auth").filter(|auth| !auth["properties"]["workloadIdentity"].is_null());
        let Some(auth) = auth.and_then(|auth| <&mut Schema>::try_from(auth).ok()) else { continue };
        let own = ["serviceAccountName", "clientId", "tenantId"].map(|m| format!("has(self.workloadIdentity.{m})"));
        cel("!has(self.managedIdentity)", NOT_MANAGED).at(".managedIdentity").forbidden().transform(auth);
        cel(format!("!has(self.workloadIdentity) || ({})", own.join(" && ")), OWN_ACCOUNT)
            .at(".workloadIdentity")
            .required()
            .transform(auth);
    }
}

/// A ServiceAccount that an app registration or managed identity trusts.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadIdentity {
    /// The ServiceAccount; in this namespace, or the operator's for a ClusterTokenProvider. Default: the
    /// operator's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = object_name)]
    pub service_account_name: Option<String>,
    /// The application's or identity's client id. Default: the operator's `AZURE_CLIENT_ID`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = guid)]
    pub client_id: Option<String>,
    /// The tenant. Default: the operator's `AZURE_TENANT_ID`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = tenant)]
    pub tenant_id: Option<String>,
}

impl WorkloadIdentity {
    /// Nothing of it is the operator's.
    fn is_own(&self) -> bool {
        self.service_account_name.is_some() && self.client_id.is_some() && self.tenant_id.is_some()
    }
}

/// The node's managed identity.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ManagedIdentity {
    /// The client id of a user-assigned identity. Default: the system-assigned one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = guid)]
    pub client_id: Option<String>,
}

/// An app registration with a client secret.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientSecret {
    /// The tenant.
    #[schemars(transform = tenant)]
    pub tenant_id: String,
    /// The application's client id.
    #[schemars(transform = guid)]
    pub client_id: String,
    /// Where its secret is.
    pub secret_ref: SecretKeyRef,
}

/// An app registration with a certificate.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientCertificate {
    /// The tenant.
    #[schemars(transform = tenant)]
    pub tenant_id: String,
    /// The application's client id.
    #[schemars(transform = guid)]
    pub client_id: String,
    /// Where certificate and private key are.
    pub secret_ref: CertificateRef,
}

/// A Secret with a certificate and its private key, both PEM, that is labelled `videotoken.dev/credentials: "true"`.
/// A Secret of type `kubernetes.io/tls` fits as it is.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateRef {
    /// The Secret's name.
    #[schemars(transform = object_name)]
    pub name: String,
    /// The key that holds the certificate.
    #[serde(default = "tls_crt")]
    #[schemars(transform = data_key)]
    pub certificate_key: String,
    /// The key that holds the private key.
    #[serde(default = "tls_key")]
    #[schemars(transform = data_key)]
    pub private_key_key: String,
}

fn tls_crt() -> String {
    "tls.crt".into()
}

fn tls_key() -> String {
    "tls.key".into()
}

/// A field's transform: a tenant's GUID or domain.
fn tenant(schema: &mut Schema) {
    schema.insert("maxLength".into(), 253.into());
    cel("self.matches('^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$')", "must be the tenant's GUID or domain")
        .transform(schema);
}
