//! `--watch`: the operator's own decisions, carried out on files instead of a Secret.

use super::call::{Caller, NotIssued};
use super::command::AfterRenewal;
use super::exclusive::Exclusive;
use super::job::{IssueJob, State};
use super::store::Store;
use super::{CommandError, LOCK_TIMEOUT, describe};
use chrono::TimeDelta;
use std::time::Duration;
use videotoken_api::wire_time;
use videotoken_core::budget::{AccountKey, AccountState, Ask, Budgets, Limits, Lock, Outcome, Window};
use videotoken_core::plan::backoff::{self, Tries};
use videotoken_core::plan::decide::{Decision, TokenStep};
use videotoken_core::plan::facts::Failure;
use videotoken_core::plan::issue_failure::{self, FailedAttempt, RefusedAccount};
use videotoken_core::plan::secret::{Material, PREVIOUS_MARGIN, shape};
use videotoken_core::plan::view::{QueueState, Refusal, WriteFailure};
use videotoken_providers::account::Built;
use videotoken_providers::clock::{self, Now, Timestamp};
use videotoken_providers::{Class, IssueError, Issued};
use videotoken_runtime::signal;

/// Longest sleep: the command notices within this time that the clock was set, or that a credential was replaced.
const MAX_SLEEP: Duration = Duration::from_secs(5);

/// Refreshes the token in the files.
pub(super) struct TokenRefresher<'a> {
    job: &'a IssueJob,
    store: &'a Store,
    caller: Caller<'a>,
    command: AfterRenewal<'a>,
    budgets: Budgets,
    /// Issuer with the credentials as they were last read, and the budget that belongs to them.
    account: Option<(Built, AccountKey)>,
    /// Token in the files.
    stored: Option<Material>,
    /// Issued token that is not in the files yet.
    unsaved: Option<Material>,
    /// Renewal that `--renew` requests, until the renewed token is stored.
    renew: Option<String>,
    /// Last failed attempt, unless the credentials have changed since.
    failure: Option<Failure>,
    /// Failed attempts in a row.
    attempts: u32,
    /// Time between the last failure and its next attempt.
    waited: Option<TimeDelta>,
    write_failure: Option<WriteFailure>,
    write_failures: u32,
    /// Refusal that was logged last.
    reported: Option<Refusal>,
}

impl<'a> TokenRefresher<'a> {
    /// `stored` is the valid token that an earlier run left in the files. `renew`: it is renewed at once.
    pub(super) fn new(
        job: &'a IssueJob,
        store: &'a Store,
        caller: Caller<'a>,
        command: AfterRenewal<'a>,
        stored: Option<Material>,
        renew: bool,
    ) -> Self {
        Self {
            job,
            store,
            caller,
            command,
            budgets: Budgets::default(),
            account: None,
            renew: stored.as_ref().filter(|_| renew).map(IssueJob::renew_request),
            stored,
            unsaved: None,
            failure: None,
            attempts: 0,
            waited: None,
            write_failure: None,
            write_failures: 0,
            reported: None,
        }
    }

    /// Refreshes the token until SIGTERM or SIGINT.
    ///
    /// # Errors
    /// The provider object can't be used, and there is no token yet.
    pub(super) async fn run(mut self) -> Result<(), CommandError> {
        let stopped = signal::wait_for_stop();
        tokio::pin!(stopped);
        self.report_stored_token();
        loop {
            let now = clock::now();
            self.budgets.grant(now, 1);
            let decision = self.decide(now);
            // a signal waits for the end of a step: it loses no token
            match decision.step {
                TokenStep::Enqueue { expires_at, urgent_at, unplanned } => {
                    let key = self.job.key.clone();
                    self.enqueue(Ask { key, expires_at, urgent_at, unplanned }).await?;
                    continue;
                }
                TokenStep::Issue => {
                    self.issue().await;
                    continue;
                }
                TokenStep::Store | TokenStep::Render => {
                    self.write().await;
                    continue;
                }
                TokenStep::Discard => {
                    self.unsaved = None;
                    continue;
                }
                TokenStep::Withdraw => {
                    self.budgets.withdraw(&self.job.key);
                    self.budgets.finish(&self.job.key, Outcome::NotCalled, now);
                    continue;
                }
                // the rest reads or moves a Secret in a cluster
                _ => self.report_refusal(decision.refusal.clone()),
            }
            let pause = self.pause(&decision, now);
            tokio::select! {
                _ = &mut stopped => break,
                status = self.command.ended() => match status {
                    Ok(status) if status.success() => tracing::debug!("--exec has ended"),
                    Ok(status) => tracing::warn!(%status, "--exec failed"),
                    Err(error) => tracing::warn!(%error, "--exec failed"),
                },
                () = tokio::time::sleep(pause) => {
                    if self.attempts > 0 {
                        // a failure to read them is reported by the next attempt
                        let _ = self.read_credentials().await;
                    }
                }
            }
        }
        if self.unsaved.is_some() {
            self.write().await;
        }
        self.command.finish().await;
        Ok(())
    }

    fn decide(&self, now: Now) -> Decision {
        let queue = if self.budgets.granted(&self.job.key) {
            QueueState::Granted
        } else if self.budgets.waiting(&self.job.key) {
            QueueState::Waiting(now.wall)
        } else {
            QueueState::None
        };
        let state = State {
            stored: self.stored.as_ref(),
            unsaved: self.unsaved.as_ref(),
            renew: self.renew.as_deref(),
            failure: self.failure.as_ref(),
            write_failure: self.write_failure.as_ref(),
            queue,
        };
        self.job.decide(&state, now.wall)
    }

    /// Returns the time until the next decision.
    fn pause(&self, decision: &Decision, now: Now) -> Duration {
        let requeue = decision.requeue_at.map(|at| (at - now.wall).to_std().unwrap_or_default());
        let grant = self.budgets.next_grant_in(now).filter(|_| self.budgets.waiting(&self.job.key));
        let next = requeue.into_iter().chain(grant).fold(MAX_SLEEP, Duration::min);
        next.max(Duration::from_millis(1))
    }

    /// Reports that the token of an earlier run is still valid, and runs the command that the earlier run may have left
    /// undone.
    fn report_stored_token(&mut self) {
        let decision = self.decide(clock::now());
        let (Some(token), None, Some(renewal)) = (&self.stored, decision.cause, decision.renewal) else { return };
        let expires_at = token.expires_at;
        tracing::info!(expires_at = %wire_time::text(expires_at), renew_at = %wire_time::text(renewal.due),
            "the files contain a valid token");
        if self.command.is_pending() {
            self.start_command(expires_at);
        }
    }

    /// Logs why nothing more is issued, once. Failures are logged when they happen.
    fn report_refusal(&mut self, refusal: Option<Refusal>) {
        let refusal = refusal.filter(|_| self.failure.is_none() && self.write_failure.is_none());
        if let Some(refusal) = refusal.as_ref().filter(|refusal| self.reported.as_ref() != Some(refusal)) {
            tracing::warn!(reason = %refusal.reason, message = refusal.message, "no token is issued");
        }
        self.reported = refusal;
    }

    /// Reads the credentials. Changed ones have a budget of their own, and are tried at once.
    async fn read_credentials(&mut self) -> Result<AccountKey, Refusal> {
        let built = self.caller.issuer().await?;
        let key = AccountKey(built.identity.to_string().into());
        // an issuer whose credentials are the same keeps its Entra token
        if self.account.as_ref().is_none_or(|(_, known)| *known != key) {
            if let Some((_, known)) = self.account.replace((built, key.clone())) {
                self.budgets.retire(&known);
            }
            if let Ok(limits) = self.job.provider.spec.account_limits() {
                let windows = limits.windows.iter();
                let windows =
                    windows.map(|window| Window { requests: window.requests, period: window.period }).collect();
                self.budgets.configure(&key, Limits { windows, concurrency: limits.concurrency });
            }
            self.failure = None;
        }
        Ok(key)
    }

    async fn enqueue(&mut self, ask: Ask) -> Result<(), CommandError> {
        match self.read_credentials().await {
            Ok(account) => self.budgets.enqueue(&account, ask, clock::now()),
            Err(refusal) if self.stored.is_none() && self.attempts == 0 => {
                return Err(CommandError::Refused(refusal.message));
            }
            Err(refusal) => {
                let error = IssueError::new(Class::Configuration, "InvalidSpec", &*refusal.message);
                let next = self.record_failure(&error, error.class, AccountState::default());
                tracing::warn!(reason = %refusal.reason, message = refusal.message, next_attempt_at = %next,
                    "the provider can't be used");
            }
        }
        Ok(())
    }

    /// Makes the call that the budget has granted, and writes the token.
    async fn issue(&mut self) {
        // locked until the token is written, so that no other run writes in between
        let exclusive = match self.store.exclusive(LOCK_TIMEOUT).await {
            Ok(exclusive) => exclusive,
            Err(error) => {
                let next = self.record_write_failure(error.to_string());
                tracing::warn!(%error, next_attempt_at = %next, "no token is requested, because it could not be stored");
                return;
            }
        };
        let (Some((built, key)), now) = (&self.account, clock::now()) else { return };
        let AccountState { proven, has_worked, .. } = self.budgets.state(key, now);
        let Some(begun) = self.budgets.begin(&self.job.key, key, now) else { return };
        let result = self.caller.call(built, proven).await;
        let now = clock::now();
        match result {
            Ok(issued) => {
                self.budgets.end(&begun, Outcome::Issued, now);
                self.store_issued(issued, &exclusive);
            }
            Err(NotIssued::LoginsUsedUp(next)) => {
                self.budgets.end(&begun, Outcome::Failed, now);
                let wait = (next - now.wall).to_std().unwrap_or_default();
                self.budgets.lock(key, Lock::LoginsUsedUp, wait, now);
                tracing::warn!(next_attempt_at = %next, "no login is made, because failed logins lock the user");
            }
            Err(NotIssued::Failed(error)) => {
                let account = RefusedAccount {
                    logs_in: built.issuer.login().is_some(),
                    is_retried_on_demand: built.issuer.is_retried_on_demand(),
                    has_worked,
                    ..RefusedAccount::default()
                };
                let (class, outcome) = issue_failure::classify(&error, account);
                self.budgets.end(&begun, outcome, now);
                let next = self.record_failure(&error, class, self.budgets.state(key, now));
                tracing::warn!(?class, message = describe(&error), attempts = self.attempts, next_attempt_at = %next,
                    "no token was issued");
            }
        }
    }

    /// Records a failed attempt and returns the time of the next one.
    fn record_failure(&mut self, error: &IssueError, class: Class, account: AccountState) -> Timestamp {
        self.attempts += 1;
        let tries = Tries { failed: self.attempts, waited: self.waited };
        let expires_at = self.stored.as_ref().map(|token| token.expires_at);
        let now = clock::now().wall;
        let next = FailedAttempt { error, class, tries, account, expires_at }.next(now, self.job.uid);
        self.waited = Some(next - now);
        self.failure = Some(Failure {
            time: now,
            class,
            reason: error.reason.to_owned(),
            message: error.message.clone(),
            request_id: error.request_id.clone(),
            next_attempt_at: Some(next),
        });
        next
    }

    fn store_issued(&mut self, issued: Issued, exclusive: &Exclusive) {
        (self.attempts, self.waited, self.failure) = (0, None, None);
        self.unsaved = Some(self.job.record(issued, self.stored.clone()));
        self.write_locked(Ok(exclusive));
    }

    /// Writes the issued token, or the stored one without its previous token.
    async fn write(&mut self) {
        let exclusive = self.store.exclusive(LOCK_TIMEOUT).await;
        self.write_locked(exclusive.as_ref().map_err(ToString::to_string));
    }

    fn write_locked(&mut self, exclusive: Result<&Exclusive, String>) {
        let (now, is_new) = (clock::now().wall, self.unsaved.is_some());
        let Some(mut token) = self.unsaved.as_ref().or(self.stored.as_ref()).cloned() else { return };
        token.previous = token.previous.filter(|previous| now + PREVIOUS_MARGIN < previous.expires_at);
        let shape = exclusive.and_then(|_| shape(self.job.subject(), &token).map_err(|error| error.to_string()));
        let written = shape.and_then(|shape| {
            let announced = if is_new { self.command.announce() } else { Ok(()) };
            announced.and_then(|()| self.store.write(&shape)).map_err(|error| error.to_string())
        });
        if let Err(error) = written {
            let next = self.record_write_failure(error.clone());
            tracing::warn!(error, next_attempt_at = %next, "the token can't be stored");
            return;
        }
        (self.write_failures, self.write_failure) = (0, None);
        let expires_at = token.expires_at;
        self.stored = Some(token);
        if is_new {
            (self.unsaved, self.renew) = (None, None);
            let renew_at = self.decide(clock::now()).renewal.map(|renewal| wire_time::text(renewal.due));
            tracing::info!(expires_at = %wire_time::text(expires_at), renew_at, "issued");
            self.start_command(expires_at);
        }
    }

    /// Records a failed write and returns the time of the next one.
    fn record_write_failure(&mut self, message: String) -> Timestamp {
        self.write_failures += 1;
        let next = backoff::next_write(self.write_failures, clock::now().wall, 0);
        let (reason, stalled, met) = ("SecretWriteFailed", false, None);
        self.write_failure = Some(WriteFailure { reason, message, next, stalled, met, soonest: next });
        next
    }

    fn start_command(&mut self, expires_at: Timestamp) {
        if let Err(error) = self.command.start(expires_at) {
            tracing::warn!(%error, "--exec can't be started");
        }
    }
}
