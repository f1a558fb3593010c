//! Transport of a request to its host: the network, or a simulation in the same process.

use crate::{Class, IssueError};
use async_trait::async_trait;
use std::sync::Arc;
use std::time::Duration;

/// Carries requests in place of the network. For simulations.
#[async_trait]
pub trait Transport: std::fmt::Debug + Send + Sync {
    /// Returns the response, or the failure of a call without a response. A call without an answer may be pending for
    /// ever: the client keeps the timeout.
    async fn execute(&self, request: reqwest::Request) -> Result<reqwest::Response, IssueError>;
}

/// Client of the network, or what stands in for it.
#[derive(Clone)]
pub(super) enum Carrier {
    Network(reqwest::Client),
    Simulated(Arc<dyn Transport>),
}

/// Failure of a request without a response.
pub(super) enum Unanswered {
    Network(reqwest::Error),
    Simulated(IssueError),
}

impl Carrier {
    /// Sends a request. The network's client keeps the timeout that the request states.
    pub(super) async fn execute(
        &self,
        request: reqwest::Request,
        limit: Duration,
    ) -> Result<reqwest::Response, Unanswered> {
        match self {
            Self::Network(client) => client.execute(request).await.map_err(Unanswered::Network),
            Self::Simulated(transport) => {
                let answer = tokio::time::timeout(limit, transport.execute(request)).await;
                let late =
                    || IssueError::new(Class::Transient, "Timeout", "no answer within the time limit".to_owned());
                answer.unwrap_or_else(|_| Err(late())).map_err(Unanswered::Simulated)
            }
        }
    }
}
