//! Token APIs that a spec declares: the request, its credential and the reading of the answer.
//!
//! | File | Content |
//! |---|---|
//! | `build` | issuer of an account, with its secrets |
//! | `request` | the call, from templates |
//! | `rules` | what the templates of a call must contain |
//! | `auth`, `oauth2` | credential of the calls, and access tokens that precede them |
//! | `reader` | token and further values of an answer |
//! | `response_rules` | success and failure, and the class of a failure |
//! | `expiry` | expiry in the declared form |
//! | `path` | JSON paths that lead to one value |
//! | `trial` | the declaration without its secrets, for checks and trials |

mod auth;
mod build;
mod expiry;
mod oauth2;
mod path;
mod reader;
mod request;
mod response_rules;
mod rules;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod trial;

pub use build::secret_refs;
pub use reader::Reader;
pub use trial::{Declared, saved_answer, send};

use crate::bearer::BearerToken;
use crate::clock::{self, Timestamp};
use crate::http::{Call, ClockSkew, Http, ProviderResponse, length};
use crate::{Class, IssueError, Issued, Issuer};
use async_trait::async_trait;
use auth::Auth;
use request::{Template, asked, unfit, variables};
use tokio::time::Instant;
use videotoken_api::request::TokenRequest;

/// Issuer for one declared account.
struct DeclaredHttp {
    template: Template,
    auth: Auth,
    reader: Reader,
    http: Http,
    skew: ClockSkew,
    login: Option<String>,
}

impl DeclaredHttp {
    /// Builds the call for a token, with its credential.
    fn call(&self, request: &TokenRequest, token: Option<&BearerToken>, now: Timestamp) -> Result<Call, IssueError> {
        let call = self.template.call(&variables(request, now)).map_err(|error| unfit(&error))?;
        Ok(self.auth.apply(call, token))
    }

    /// Returns what the answer says, and reports to the issuer of the access token whether the API accepted it.
    fn read(
        &self,
        answer: &ProviderResponse,
        request: &TokenRequest,
        token: Option<&BearerToken>,
    ) -> Result<Issued, IssueError> {
        let read = self.reader.read(answer, asked(request), clock::now().wall, &mut |_| {});
        match &read {
            Err(error) if error.class == Class::Credential && self.auth.refused(token) => {
                let message = format!("{}; the next try has a fresh access token", error.message);
                Err(answer.failure(Class::Transient, "AccessTokenRefused", message))
            }
            Ok(_) => {
                self.auth.accepted(token);
                read
            }
            Err(_) => read,
        }
    }
}

#[async_trait]
impl Issuer for DeclaredHttp {
    /// Issues one token. The timeout of the client limits it, including the fetch of an access token.
    async fn issue(&self, request: &TokenRequest) -> Result<Issued, IssueError> {
        let limit = self.http.timeout();
        let end = Instant::now() + limit;
        let late = || {
            let message = format!("no answer within {}", length(limit));
            IssueError::new(Class::Transient, "Timeout", message)
        };
        let token = tokio::time::timeout_at(end, self.auth.token()).await.map_err(|_| late())??;
        let call = self.call(request, token.as_ref(), clock::now().wall)?;
        if token.is_none() {
            // The client has the same limit, and names the host.
            return self.read(&self.send(call).await?, request, None);
        }
        let answer = tokio::time::timeout_at(end, self.send(call)).await.map_err(|_| late())??;
        self.read(&answer, request, token.as_ref())
    }

    fn clock_skew(&self) -> Option<i64> {
        self.skew.seconds()
    }

    fn credential_expires_at(&self) -> Option<Timestamp> {
        self.auth.expires_at()
    }

    fn is_retried_on_demand(&self) -> bool {
        matches!(self.auth, Auth::Entra(_))
    }

    fn login(&self) -> Option<String> {
        self.login.clone()
    }
}

impl DeclaredHttp {
    async fn send(&self, call: Call) -> Result<ProviderResponse, IssueError> {
        let answer = self.http.send(call).await?;
        self.skew.record(&answer);
        Ok(answer)
    }
}
