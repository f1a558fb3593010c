//! Client assertions from the API server, requested by a TokenRequest for a `ServiceAccount`.
//!
//! Errors never quote the response, because it contains the token.

use crate::controller::output::api::Applier;
use async_trait::async_trait;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use secrecy::SecretString;
use videotoken_api::key::ObjectKey;
use videotoken_api::names;
use videotoken_providers::azure_auth::AssertionSource;
use videotoken_providers::provider_setup::{Guarded, not_allowed};
use videotoken_providers::{Class, IssueError};

/// Lifetime of an assertion in seconds, the minimum that the API server issues.
const LIFETIME: i64 = 600;

/// Assertions of one `ServiceAccount`.
pub(crate) struct ServiceAccountAssertion {
    applier: Applier,
    account: ObjectKey,
    audience: String,
    /// Hosts that the `ServiceAccount` must allow. They are checked for each assertion, because no watch reports a
    /// change.
    sent_to: Guarded,
}

impl ServiceAccountAssertion {
    /// Creates a source of assertions of this account for this audience. The account must allow the hosts of `sent_to`.
    pub(crate) fn new(applier: Applier, account: &ObjectKey, audience: &str, sent_to: Guarded) -> Self {
        Self { applier, account: account.clone(), audience: audience.to_owned(), sent_to }
    }

    /// Returns an error unless the account allows its assertions to be sent to these hosts.
    async fn permit(&self) -> Result<(), IssueError> {
        if self.sent_to.urls.is_empty() {
            return Ok(());
        }
        let read = self.applier.service_account(&self.account).await;
        let annotations = read.map_err(|error| {
            let message = format!("where the ServiceAccount {} lets its tokens be sent: {error}", self.account.name);
            IssueError::new(Class::Transient, "TokenRequestFailed", message)
        })?;
        let annotations = annotations.unwrap_or_default();
        let refusal =
            not_allowed(&self.sent_to, annotations.get(names::ALLOWED_HOSTS), "serviceaccount", &self.account);
        refusal.map_or(Ok(()), |why| Err(IssueError::new(Class::Configuration, "CredentialsHostNotAllowed", why)))
    }

    fn refused(&self, error: &kube::Error) -> IssueError {
        let ObjectKey { namespace, name } = &self.account;
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
            // Other errors may quote the response, which contains the token.
            _ => IssueError::new(Class::Transient, "TokenRequestFailed", "the API server gave no ServiceAccount token"),
        }
    }
}

#[async_trait]
impl AssertionSource for ServiceAccountAssertion {
    async fn assertion(&self) -> Result<SecretString, IssueError> {
        self.permit().await?;
        let spec = TokenRequestSpec {
            audiences: vec![self.audience.clone()],
            expiration_seconds: Some(LIFETIME),
            bound_object_ref: None,
        };
        let request = TokenRequest { spec, ..TokenRequest::default() };
        let answer = self.applier.request_token(&self.account, &request).await;
        let answer = answer.map_err(|error| self.refused(&error))?;
        let token = answer.status.map(|status| status.token).filter(|token| !token.is_empty());
        token.map(SecretString::from).ok_or_else(|| {
            IssueError::new(Class::Transient, "TokenRequestFailed", "the API server's answer has no token")
        })
    }
}
