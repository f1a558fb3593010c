//! Calls of the token API, and the state of the credentials between them.

use super::job::IssueJob;
use super::source::Manifests;
use chrono::TimeDelta;
use videotoken_core::plan::issue_failure;
use videotoken_core::plan::login::{self, Attempt, Permit};
use videotoken_core::plan::view::Refusal;
use videotoken_providers::clock::{self, Timestamp};
use videotoken_providers::http::HttpPool;
use videotoken_providers::provider_setup::{self, BuiltIssuer, OutboundPolicy, References};
use videotoken_providers::{Class, GRACE, IssueError, Issued};

/// Why there is no token.
pub(super) enum NotIssued {
    /// The provider object can't be used. No call was made.
    Unusable(Refusal),
    /// The call failed, with this class.
    Failed(IssueError, Class),
    /// No call was made, because further failed logins could lock the user. The next login may be made at this time.
    LoginsUsedUp(Timestamp),
}

/// Difference from the clock of the token API above which the command warns.
const MAX_CLOCK_SKEW: TimeDelta = TimeDelta::minutes(5);

/// Returns the fingerprint of the key that signs the job's token. `None`: a token API issues it.
pub(super) async fn key_fingerprint(
    job: &IssueJob,
    source: &Manifests,
    reach: &OutboundPolicy,
) -> Result<Option<String>, Refusal> {
    if !job.provider.spec.account().is_ok_and(|account| account.is_local()) {
        return Ok(None);
    }
    let references = References::new(source, job.owner, &job.home);
    let built = provider_setup::issuer(reach, &HttpPool::default(), &job.provider.spec, &references).await?;
    Ok(built.issuer.key_fingerprint())
}

/// Makes the calls of one account.
pub(super) struct Caller<'a> {
    job: &'a IssueJob,
    source: &'a Manifests,
    reach: OutboundPolicy,
    pool: HttpPool,
    built: Option<BuiltIssuer>,
    /// The credential has issued a token and wasn't rejected since.
    works: bool,
    /// The credential has issued a token.
    has_worked: bool,
    /// Logins that may have failed. Failed logins lock the user.
    logins: Vec<Attempt<()>>,
}

impl<'a> Caller<'a> {
    pub(super) fn new(job: &'a IssueJob, source: &'a Manifests, reach: OutboundPolicy) -> Self {
        let pool = HttpPool::default();
        Self { job, source, reach, pool, built: None, works: false, has_worked: false, logins: Vec::new() }
    }

    /// Reads the credentials. Returns true if they have changed.
    pub(super) async fn read_credentials(&mut self) -> Result<bool, Refusal> {
        let references = References::new(self.source, self.job.owner, &self.job.home);
        let built = provider_setup::issuer(&self.reach, &self.pool, &self.job.provider.spec, &references).await?;
        let changed = self.built.as_ref().is_none_or(|known| known.identity != built.identity);
        if changed {
            // an issuer with the same credentials keeps its Entra token
            (self.built, self.works, self.has_worked) = (Some(built), false, false);
        }
        Ok(changed)
    }

    /// Makes at most one call of the token API.
    pub(super) async fn call(&mut self) -> Result<Issued, NotIssued> {
        self.read_credentials().await.map_err(NotIssued::Unusable)?;
        let Some(issuer) = self.built.as_ref().map(|built| built.issuer.clone()) else {
            return Err(NotIssued::Unusable(Refusal::new("InvalidSpec", "the provider has no issuer")));
        };
        let logs_in = issuer.login().is_some();
        let recorded = if logs_in { self.record_login()? } else { None };
        let limit = self.reach.timeout;
        let result = tokio::time::timeout(limit + GRACE, issuer.issue(&self.job.request)).await;
        if let Some(skew) = issuer.clock_skew().filter(|skew| skew.abs() > MAX_CLOCK_SKEW.num_seconds()) {
            tracing::warn!(seconds = skew, "the clocks of the token API and of this machine differ: one is wrong");
        }
        let result = result.unwrap_or_else(|_| Err(IssueError::timed_out(limit)));
        if result.as_ref().map_or_else(|error| error.unsent, |_| true) {
            self.logins.retain(|attempt| Some(attempt.at) != recorded);
        }
        match result {
            Ok(token) => {
                (self.works, self.has_worked) = (true, true);
                if token.expiry_assumed {
                    tracing::debug!("the response contains no expiry: the documented lifetime is assumed");
                }
                Ok(token)
            }
            Err(error) => {
                if error.class == Class::Credential {
                    self.works = false;
                    if logs_in && recorded.is_none() {
                        self.add_login(clock::now().wall);
                    }
                }
                let class = issue_failure::class_of_single_token(&error, self.has_worked);
                Err(NotIssued::Failed(error, class))
            }
        }
    }

    /// Records a login that is about to be made, if it could lock the user, and returns the recorded time.
    fn record_login(&mut self) -> Result<Option<Timestamp>, NotIssued> {
        let now = clock::now().wall;
        self.logins = login::attempts_in_window(std::mem::take(&mut self.logins), now);
        if !login::is_recorded(&self.logins, self.works) {
            return Ok(None);
        }
        match login::permit(&self.logins, &(), self.works, &[], now) {
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
