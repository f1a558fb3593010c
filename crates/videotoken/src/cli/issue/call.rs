//! Calls of the token API, with the credentials as the manifests and flags supply them at the time.

use super::job::IssueJob;
use super::source::Manifests;
use chrono::TimeDelta;
use videotoken_core::plan::login::{self, Attempt, Permit};
use videotoken_core::plan::view::Refusal;
use videotoken_providers::account::{self, Built, Reach, References};
use videotoken_providers::clock::{self, Timestamp};
use videotoken_providers::http::HttpPool;
use videotoken_providers::{Class, GRACE, IssueError, Issued};

/// Why there is no token.
pub(super) enum NotIssued {
    /// The call failed.
    Failed(IssueError),
    /// No call was made, because further failed logins could lock the user. The next login may be made at this time.
    LoginsUsedUp(Timestamp),
}

/// Difference from the clock of the token API above which the command warns.
const MAX_CLOCK_SKEW: TimeDelta = TimeDelta::minutes(5);

/// Makes the calls of one account.
pub(super) struct Caller<'a> {
    job: &'a IssueJob,
    source: &'a Manifests,
    reach: Reach,
    pool: HttpPool,
    /// Logins that may have failed. Each may lock the user.
    logins: Vec<Attempt<()>>,
}

impl<'a> Caller<'a> {
    pub(super) fn new(job: &'a IssueJob, source: &'a Manifests, reach: Reach) -> Self {
        Self { job, source, reach, pool: HttpPool::default(), logins: Vec::new() }
    }

    /// Reads the credentials and returns an issuer that uses them.
    pub(super) async fn issuer(&self) -> Result<Built, Refusal> {
        let references = References::new(self.source, self.job.owner, &self.job.home);
        account::issuer(&self.reach, &self.pool, &self.job.provider.spec, &references).await
    }

    /// Makes at most one call of the token API. `works`: the credential has issued a token and wasn't rejected since.
    pub(super) async fn call(&mut self, built: &Built, works: bool) -> Result<Issued, NotIssued> {
        let issuer = &built.issuer;
        let recorded = if issuer.login().is_some() { self.record_login(works)? } else { None };
        let limit = self.reach.timeout;
        let result = tokio::time::timeout(limit + GRACE, issuer.issue(&self.job.request)).await;
        let result = result.unwrap_or_else(|_| Err(IssueError::timed_out(limit)));
        if let Some(skew) = issuer.clock_skew().filter(|skew| skew.abs() > MAX_CLOCK_SKEW.num_seconds()) {
            tracing::warn!(seconds = skew, "the clocks of the token API and of this machine differ: one is wrong");
        }
        match &result {
            Ok(token) if token.expiry_assumed => {
                tracing::debug!(
                    "the response contains no expiry: the lifetime that the token API documents is assumed"
                );
            }
            Err(error) if recorded.is_none() && issuer.login().is_some() && error.class == Class::Credential => {
                self.add_login(clock::now().wall);
            }
            _ => {}
        }
        if result.as_ref().map_or_else(|error| error.unsent, |_| true) {
            self.logins.retain(|attempt| Some(attempt.at) != recorded);
        }
        result.map_err(NotIssued::Failed)
    }

    /// Records a login that is about to be made, if it could lock the user, and returns the recorded time.
    fn record_login(&mut self, works: bool) -> Result<Option<Timestamp>, NotIssued> {
        let now = clock::now().wall;
        self.logins = login::counting(std::mem::take(&mut self.logins), now);
        if !login::is_recorded(&self.logins, works) {
            return Ok(None);
        }
        match login::permit(&self.logins, &(), works, &[], now) {
            Permit::Record(_) => Ok(Some(self.add_login(now))),
            Permit::UsedUp(next) => Err(NotIssued::LoginsUsedUp(next)),
        }
    }

    fn add_login(&mut self, now: Timestamp) -> Timestamp {
        let at = login::attempt(&self.logins, now);
        self.logins.push(Attempt { at, by: () });
        at
    }
}
