//! The loop of the election: read, decide, write, sleep.

use super::{LeaseHandle, Settings};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use std::pin::pin;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};
use videotoken_core::lease::{Action, Observed, acquired_spec, released, step};
use videotoken_providers::clock;
use videotoken_providers::redact::quoted;

/// Minimum time limit of one try, unless the lease expires earlier.
const SHORTEST: Duration = Duration::from_secs(1);

/// Time limit of the release. An API server that doesn't answer must not hold up the end of the process (P15).
const RELEASE_TIMEOUT: Duration = Duration::from_secs(2);

/// A process in the election.
#[derive(Debug)]
pub struct Candidate {
    api: Api<Lease>,
    settings: Settings,
    handle: LeaseHandle,
    /// The Lease as last read or written, with its resourceVersion.
    stored: Option<Lease>,
    observed: Option<Observed>,
    failing: bool,
}

/// Number of reads of a standby in a retry period. A standby measures the leader's silence from its own last read, and
/// sees a released lease only when it reads, so this interval is what a takeover costs beyond the lease's duration.
const READS: u32 = 4;

/// Result of a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Held,
    HeldByOther { until: Instant },
}

/// Failure of a try.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Api(#[from] kube::Error),
    #[error("the API server gave no answer within {0:?}")]
    Timeout(Duration),
}

impl Candidate {
    pub(super) fn new(api: Api<Lease>, settings: Settings, handle: LeaseHandle) -> Self {
        Self { api, settings, handle, stored: None, observed: None, failing: false }
    }

    /// Runs until `stop` resolves, then releases the lease, so that a standby takes over at its next try. Resolve
    /// `stop` only after everything that needs the lease has ended.
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        loop {
            tokio::select! {
                biased;
                () = &mut stop => break,
                () = self.run_once() => {}
            }
        }
        self.release().await;
    }

    /// Makes one try and waits for the next.
    async fn run_once(&mut self) {
        let start = Instant::now();
        self.check_expiry(start);
        let outcome = self.try_once(start).await;
        let end = Instant::now();
        let until = self.check_expiry(end);
        let retry = self.settings.retry_period.mul_f64(fastrand::f64().mul_add(0.2, 0.8));
        let next = match outcome {
            Some(Outcome::HeldByOther { until }) => until.min(start + retry / READS),
            Some(Outcome::Held) | None => until.map_or(start + retry, |until| until.min(start + retry)),
        };
        // A try without a response has used up its wait. A lease that expires is lost a moment later.
        sleep_until(next.max(end + Duration::from_millis(10))).await;
    }

    /// Returns the time until which the lease is held, and logs its expiry.
    fn check_expiry(&self, now: Instant) -> Option<Instant> {
        let until = self.handle.until(now);
        if until.is_none() {
            self.mark_lost("it could not be renewed in time");
        }
        until
    }

    /// Makes one try within its time limit. A leader gives each try half of the time that is left: a slow response may
    /// still arrive, and if none arrives, time is left for the next try.
    async fn try_once(&mut self, now: Instant) -> Option<Outcome> {
        let limit = match self.handle.until(now) {
            Some(until) => ((until - now) / 2).max(SHORTEST).min(until - now),
            None => self.settings.renew_deadline / 2,
        };
        let result = match timeout(limit, self.attempt()).await {
            Ok(result) => result.map_err(Failure::Api),
            Err(_) => Err(Failure::Timeout(limit)),
        };
        if let Err(failure) = &result
            && !self.failing
        {
            tracing::warn!(lease = self.settings.name, "the lease can't be read or written: {}", quoted(failure));
        }
        self.failing = result.is_err();
        result.ok()
    }

    /// Reads the Lease if necessary, decides, and writes if the lease is available. If another process wrote first,
    /// reads and decides once more.
    async fn attempt(&mut self) -> Result<Outcome, kube::Error> {
        if !self.is_ours() {
            self.read().await?;
        }
        let mut looked_again = false;
        loop {
            let now = clock::now().mono;
            let action = step(&self.settings.identity, self.observed.as_ref(), self.settings.duration, now);
            if let Action::Wait(until) = action {
                self.mark_lost("another has taken it");
                return Ok(Outcome::HeldByOther { until });
            }
            match self.write(action).await {
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) && !looked_again => {
                    looked_again = true;
                    self.read().await?;
                }
                result => return result.map(|()| Outcome::Held),
            }
        }
    }

    async fn read(&mut self) -> Result<(), kube::Error> {
        let lease = self.api.get_opt(&self.settings.name).await?;
        self.remember(lease);
        Ok(())
    }

    /// Writes the record of this process over the one that the decision was based on.
    async fn write(&mut self, action: Action) -> Result<(), kube::Error> {
        let sent = clock::now();
        let before = self.observed.as_ref().map(|observed| &observed.spec);
        let spec = acquired_spec(&self.settings.identity, action, before, self.settings.duration, sent);
        let lease = self.put(spec).await?;
        self.remember(Some(lease));
        if self.handle.until(Instant::now()).is_none() {
            tracing::info!(lease = self.settings.name, identity = self.settings.identity, "leading");
        }
        let deadline = self.settings.renew_deadline;
        self.handle.hold_until(sent.mono + deadline, sent.wall + deadline);
        Ok(())
    }

    /// Sends one PUT that succeeds only if no other process has written, or one POST if there is no Lease.
    async fn put(&self, spec: LeaseSpec) -> Result<Lease, kube::Error> {
        let how = PostParams::default();
        if let Some(stored) = &self.stored {
            let lease = Lease { metadata: stored.metadata.clone(), spec: Some(spec) };
            return self.api.replace(&self.settings.name, &how, &lease).await;
        }
        let metadata = ObjectMeta { name: Some(self.settings.name.clone()), ..ObjectMeta::default() };
        self.api.create(&how, &Lease { metadata, spec: Some(spec) }).await
    }

    fn remember(&mut self, mut lease: Option<Lease>) {
        let now = clock::now().mono;
        if let Some(lease) = &mut lease {
            // Fields that are absent in a PUT stay unchanged.
            lease.metadata.managed_fields = None;
        }
        let spec = lease.as_ref().map(|lease| lease.spec.clone().unwrap_or_default());
        self.observed = spec.map(|spec| Observed::see(self.observed.take(), spec, now));
        self.stored = lease;
    }

    fn is_ours(&self) -> bool {
        self.observed.as_ref().is_some_and(|observed| observed.holder() == self.settings.identity)
    }

    fn mark_lost(&self, why: &str) {
        if *self.handle.changes().borrow() {
            tracing::warn!(lease = self.settings.name, identity = self.settings.identity, "no longer leading: {why}");
        }
        self.handle.mark_lost();
    }

    /// Releases the lease if this process holds it. After a failure, the standby waits for the duration of the lease.
    async fn release(mut self) {
        self.handle.mark_lost();
        let limit = RELEASE_TIMEOUT.min(self.settings.renew_deadline / 2);
        let result = match timeout(limit, self.try_release()).await {
            Ok(result) => result.map_err(Failure::Api),
            Err(_) => Err(Failure::Timeout(limit)),
        };
        match result {
            Ok(true) => tracing::info!(lease = self.settings.name, "the lease is released"),
            Ok(false) => {}
            Err(failure) => tracing::warn!(lease = self.settings.name, "the lease runs out by itself: {failure}"),
        }
    }

    /// Reads the Lease first, because the stop may have interrupted a try whose write reached the server. Returns true
    /// if the lease was released.
    async fn try_release(&mut self) -> Result<bool, kube::Error> {
        self.read().await?;
        let Some(observed) = self.observed.as_ref().filter(|_| self.is_ours()) else { return Ok(false) };
        self.put(released(&observed.spec, clock::now())).await.map(|_| true)
    }
}

#[cfg(test)]
#[path = "candidate_tests.rs"]
mod tests;
