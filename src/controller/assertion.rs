//! Client assertions from the API server: a TokenRequest for a `ServiceAccount`.

use crate::issuer::azure_auth::AssertionSource;
use crate::issuer::{Class, IssueError};
use async_trait::async_trait;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::PostParams;
use kube::{Api, Client};
use secrecy::SecretString;

/// How long an assertion lives, in seconds: the API server's least.
const LIFE: i64 = 600;

/// One `ServiceAccount`'s assertions.
pub(super) struct ServiceAccountAssertion {
    api: Api<ServiceAccount>,
    namespace: String,
    name: String,
    audience: String,
}

impl ServiceAccountAssertion {
    /// Assertions of this account for this audience.
    pub(super) fn new(client: Client, namespace: &str, name: &str, audience: &str) -> Self {
        let api = Api::namespaced(client, namespace);
        Self { api, namespace: namespace.to_owned(), name: name.to_owned(), audience: audience.to_owned() }
    }

    fn refused(&self, error: &kube::Error) -> IssueError {
        let (namespace, name) = (&self.namespace, &self.name);
        match error {
            kube::Error::Api(status) if status.code == 403 => IssueError::new(
                Class::Configuration,
                "TokenRequestForbidden",
                format!(
                    "the operator may not request tokens of ServiceAccount {name}: its namespace's owner grants it: \
                     kubectl create role {name}-token -n {namespace} --verb=create --resource=serviceaccounts/token \
                     --resource-name={name}; kubectl create rolebinding {name}-token -n {namespace} \
                     --role={name}-token --serviceaccount=<the operator's namespace>:<its ServiceAccount>"
                ),
            ),
            kube::Error::Api(status) if status.code == 404 => IssueError::new(
                Class::Configuration,
                "ServiceAccountMissing",
                format!("there is no ServiceAccount {name} in namespace {namespace}: create it"),
            ),
            // other errors may quote the answer, which holds the token
            _ => IssueError::new(Class::Transient, "TokenRequestFailed", "the API server gave no ServiceAccount token"),
        }
    }
}

#[async_trait]
impl AssertionSource for ServiceAccountAssertion {
    async fn assertion(&self) -> Result<SecretString, IssueError> {
        let spec = TokenRequestSpec {
            audiences: vec![self.audience.clone()],
            expiration_seconds: Some(LIFE),
            bound_object_ref: None,
        };
        let request = TokenRequest { spec, ..TokenRequest::default() };
        let answer = self.api.create_token_request(&self.name, &PostParams::default(), &request).await;
        let answer = answer.map_err(|error| self.refused(&error))?;
        let token = answer.status.map(|status| status.token).filter(|token| !token.is_empty());
        token.map(SecretString::from).ok_or_else(|| {
            IssueError::new(Class::Transient, "TokenRequestFailed", "the API server's answer has no token")
        })
    }
}
