//! Azure clouds and the ways to authenticate to Microsoft Entra.

use super::cel::{cel, union};
use super::references::SecretKeyRef;
use super::request::FieldError;
use super::schema::{data_key, guid, object_name, url};
use super::token_api::one;
use schemars::{JsonSchema, Schema, transform::Transform};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An Azure cloud.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[schemars(transform = super::cel::known)]
pub enum Cloud {
    /// The public cloud.
    #[default]
    Public,
    /// The cloud of the US Government.
    #[serde(rename = "USGovernment")]
    UsGovernment,
    /// The cloud in China.
    China,
    /// A value of another version of this API.
    #[serde(untagged)]
    Other(String),
}

/// The endpoints of a cloud that is not listed.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AzureEndpoints {
    /// Azure Resource Manager, such as <https://management.azure.com>.
    #[schemars(transform = url)]
    pub resource_manager: String,
    /// Microsoft Entra, such as <https://login.microsoftonline.com>.
    #[schemars(transform = url)]
    pub authority: String,
    /// The api-version of the operations of Video Indexer in this cloud. Default: 2025-04-01.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[schemars(transform = cel(
        "self.matches('^[0-9]{4}-[0-9]{2}-[0-9]{2}(-[a-z]+)?$')",
        "must be an api-version such as 2025-04-01"
    ))]
    pub api_version: Option<String>,
}

/// Endpoints and API versions of one cloud.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudEndpoints {
    /// URL of Azure Resource Manager, without a trailing slash.
    pub resource_manager: String,
    /// URL of Microsoft Entra, without a trailing slash.
    pub authority: String,
    /// The `api-version` of the operations of Video Indexer.
    pub api_version: String,
    /// Audience of a federated assertion.
    pub assertion_audience: &'static str,
}

const API_VERSION: &str = "2025-04-01";

impl Cloud {
    /// Returns the endpoints of the cloud, or `None` for an unknown cloud.
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

/// How to authenticate to Microsoft Entra: exactly one way.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = union)]
pub struct AzureAuth {
    /// A federated ServiceAccount. `{}` selects the operator's own, which only a ClusterTokenProvider can use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload_identity: Option<WorkloadIdentity>,
    /// The node's managed identity. Only a ClusterTokenProvider can use it. Not available on Arc-connected clusters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed_identity: Option<ManagedIdentity>,
    /// An app registration with a client secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<ClientSecret>,
    /// An app registration with a certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<ClientCertificate>,
}

/// The way to authenticate that a spec selects.
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
    /// Returns the way that a ClusterTokenProvider selects. `field` is the path of this value.
    pub fn of_cluster(&self, field: &str) -> Result<Auth<'_>, FieldError> {
        let ways = [
            self.workload_identity.as_ref().map(Auth::WorkloadIdentity),
            self.managed_identity.as_ref().map(Auth::ManagedIdentity),
            self.client_secret.as_ref().map(Auth::ClientSecret),
            self.client_certificate.as_ref().map(Auth::ClientCertificate),
        ];
        one(ways, field, "way to authenticate")
    }

    /// Returns the way that a namespaced TokenProvider selects. It must have an identity of its own. `field` is the
    /// path of this value.
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

/// Schema transform of the spec of TokenProvider: adds the rules of [`AzureAuth::of_namespace`] to the innermost field
/// that each rule checks.
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
    /// The ServiceAccount, in this namespace, or in the operator's for a ClusterTokenProvider. Default: the operator's
    /// own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = object_name)]
    pub service_account_name: Option<String>,
    /// The client ID of the application or identity. Default: the operator's `AZURE_CLIENT_ID`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = guid)]
    pub client_id: Option<String>,
    /// The tenant. Default: the operator's `AZURE_TENANT_ID`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = tenant)]
    pub tenant_id: Option<String>,
}

impl WorkloadIdentity {
    /// Returns true if no value is taken from the operator's own identity.
    fn is_own(&self) -> bool {
        self.service_account_name.is_some() && self.client_id.is_some() && self.tenant_id.is_some()
    }
}

/// The node's managed identity.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ManagedIdentity {
    /// The client ID of a user-assigned identity. Default: the system-assigned identity.
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
    /// The client ID of the application.
    #[schemars(transform = guid)]
    pub client_id: String,
    /// The key that contains the client secret.
    pub secret_ref: SecretKeyRef,
}

/// An app registration with a certificate.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientCertificate {
    /// The tenant.
    #[schemars(transform = tenant)]
    pub tenant_id: String,
    /// The client ID of the application.
    #[schemars(transform = guid)]
    pub client_id: String,
    /// The Secret that contains the certificate and the private key.
    pub secret_ref: CertificateRef,
}

/// A Secret with a certificate and its private key, both PEM, that has the label `videotoken.dev/credentials: "true"`.
/// The default keys are those of a Secret of type `kubernetes.io/tls`.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateRef {
    /// Name of the Secret.
    #[schemars(transform = object_name)]
    pub name: String,
    /// Key of the certificate.
    #[serde(default = "tls_crt")]
    #[schemars(transform = data_key)]
    pub certificate_key: String,
    /// Key of the private key.
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

/// Schema transform of a field: a GUID or domain of a tenant.
fn tenant(schema: &mut Schema) {
    schema.insert("maxLength".into(), 253.into());
    cel("self.matches('^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$')", "must be the tenant's GUID or domain")
        .transform(schema);
}
