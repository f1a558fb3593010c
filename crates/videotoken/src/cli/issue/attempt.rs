//! One attempt to issue, by the operator's own issuers, and what is remembered from one to the next: whether the
//! credential has worked, and the logins that were made with it.

use super::order::Order;
use super::source::Manifests;
use videotoken_core::plan::login::{self, Attempt, CredentialHistory};
use videotoken_core::plan::view::Refusal;
use videotoken_providers::account::{self, Built, Reach, References};
use videotoken_providers::clock::{self, Timestamp};
use videotoken_providers::http::HttpPool;
use videotoken_providers::{Class, GRACE, IssueError, Issued};

/// What an attempt came to.
pub(super) enum Outcome {
    /// A token.
    Issued(Issued),
    /// No call was made: the provider object can't be used as it is.
    Refused(Refusal),
    /// The provider was asked, and gave none.
    Failed(IssueError),
    /// No call was made: failed logins lock the user, and as many were made as may be. The next at this time.
    LoginsUsedUp(Timestamp),
}

/// Makes the attempts.
pub(super) struct Attempts<'a> {
    order: &'a Order,
    source: &'a Manifests,
    reach: Reach,
    pool: HttpPool,
    built: Option<Built>,
    /// The credential has worked, and wasn't refused since.
    proven: bool,
    /// It has worked.
    has_worked: bool,
    /// Those with a credential that hadn't worked.
    logins: Vec<Attempt<()>>,
}

impl<'a> Attempts<'a> {
    pub(super) fn new(order: &'a Order, source: &'a Manifests, reach: Reach) -> Self {
        Self {
            order,
            source,
            reach,
            pool: HttpPool::default(),
            built: None,
            proven: false,
            has_worked: false,
            logins: Vec::new(),
        }
    }

    /// Reads the credentials anew. Tells whether they are others than before.
    pub(super) async fn read_credentials(&mut self) -> Result<bool, Refusal> {
        let references = References::new(self.source, self.order.owner, &self.order.home);
        let built = account::issuer(&self.reach, &self.pool, &self.order.provider.spec, &references).await?;
        let other = self.built.as_ref().is_none_or(|before| before.identity != built.identity);
        if other {
            // the issuer at work keeps its Entra token
            self.built = Some(built);
            (self.proven, self.has_worked) = (false, false);
        }
        Ok(other)
    }

    /// The refusal may pass without anyone's doing.
    pub(super) fn heals(&self, error: &IssueError) -> bool {
        error.heals.holds(self.has_worked)
    }

    /// One call of the provider at most.
    pub(super) async fn make(&mut self) -> Outcome {
        if let Err(refusal) = self.read_credentials().await {
            return Outcome::Refused(refusal);
        }
        let Some(who) = self.built.as_ref().map(|built| built.issuer.clone()) else {
            return Outcome::Refused(Refusal::new("InvalidSpec", "the provider has no issuer"));
        };
        let logs_in = who.login().is_some();
        let login = logs_in && !self.proven;
        if login {
            let now = clock::now().wall;
            self.logins = login::attempts_in_window(std::mem::take(&mut self.logins), now);
            if let Some(next) = login::next(&self.logins, &(), CredentialHistory::New, &[]) {
                return Outcome::LoginsUsedUp(next);
            }
            self.logins.push(Attempt { at: login::attempt(&self.logins, now), by: () });
        }
        let limit = self.reach.timeout;
        let result = tokio::time::timeout(limit + GRACE, who.issue(&self.order.request)).await;
        if let Some(skew) = who.clock_skew().filter(|skew| skew.abs() > LARGEST_SKEW) {
            tracing::warn!(seconds = skew, "the provider's clock differs from this machine's: one of them is wrong");
        }
        match result.unwrap_or_else(|_| Err(IssueError::timed_out(limit))) {
            Ok(issued) => {
                (self.proven, self.has_worked) = (true, true);
                if issued.expiry_assumed {
                    tracing::debug!(
                        "the answer doesn't tell when the token expires: it is taken to live as long as promised"
                    );
                }
                if login {
                    self.logins.pop();
                }
                Outcome::Issued(issued)
            }
            Err(error) => {
                if login && error.unsent {
                    self.logins.pop();
                } else if error.class == Class::Credential {
                    if logs_in && !login {
                        let at = login::attempt(&self.logins, clock::now().wall);
                        self.logins.push(Attempt { at, by: () });
                    }
                    self.proven = false;
                }
                Outcome::Failed(error)
            }
        }
    }
}

/// In seconds.
const LARGEST_SKEW: i64 = 300;
