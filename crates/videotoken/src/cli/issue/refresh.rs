//! `--watch`: carries out the operator's decisions on files instead of a Secret.

use super::call::{Caller, NotIssued};
use super::command::AfterRenewal;
use super::exclusive::Exclusive;
use super::job::{IssueJob, State};
use super::store::Store;
use super::{CommandError, LOCK_TIMEOUT, describe};
use chrono::TimeDelta;
use std::time::Duration;
use videotoken_api::wire_time;
use videotoken_core::plan::backoff::{self, Tries};
use videotoken_core::plan::decide::{Decision, TokenStep};
use videotoken_core::plan::facts::Failure;
use videotoken_core::plan::secret::{PREVIOUS_MARGIN, build_secret};
use videotoken_core::plan::view::WriteFailure;
use videotoken_providers::Class;
use videotoken_providers::clock::{self, Timestamp};
use videotoken_runtime::signal;

/// Longest sleep: the command notices within this time that the clock was set, or that a credential was replaced.
const MAX_SLEEP: Duration = Duration::from_secs(5);

/// Refreshes the token in the files.
pub(super) struct TokenRefresher<'a> {
    job: &'a IssueJob,
    store: &'a Store,
    caller: Caller<'a>,
    command: AfterRenewal<'a>,
    state: State,
    /// Failed attempts in a row.
    attempts: u32,
    /// Time between the last failure and its next attempt.
    waited: Option<TimeDelta>,
    write_failures: u32,
}

impl<'a> TokenRefresher<'a> {
    /// `state`: the token that an earlier run left in the files, and the renewal that the user requests.
    pub(super) fn new(
        job: &'a IssueJob,
        store: &'a Store,
        caller: Caller<'a>,
        command: AfterRenewal<'a>,
        state: State,
    ) -> Self {
        Self { job, store, caller, command, state, attempts: 0, waited: None, write_failures: 0 }
    }

    /// Refreshes the token until SIGTERM or SIGINT.
    ///
    /// # Errors
    /// The provider object can't be used, and there is no token yet.
    pub(super) async fn run(mut self) -> Result<(), CommandError> {
        let stopped = signal::wait_for_stop();
        tokio::pin!(stopped);
        self.report_stored_token();
        let mut is_reported = false;
        loop {
            let now = clock::now().wall;
            let decision = self.job.decide(&self.state, now);
            // a signal waits for the end of a step, so that no token is lost
            match decision.step {
                // a single token has no queue: its calls are granted at once
                TokenStep::Enqueue { .. } | TokenStep::Issue => {
                    self.issue().await?;
                    continue;
                }
                TokenStep::Store | TokenStep::Render => {
                    self.write().await;
                    continue;
                }
                TokenStep::Discard => {
                    self.state.unsaved = None;
                    continue;
                }
                // the other steps wait, or are for a Secret in a cluster
                _ => {}
            }
            if let Some(refusal) = decision.refusal.as_ref().filter(|_| !self.state.has_failed())
                && !std::mem::replace(&mut is_reported, true)
            {
                tracing::warn!(reason = %refusal.reason, message = refusal.message, "no token is issued");
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
                    // changed credentials are tried at once
                    if self.attempts > 0 && self.caller.read_credentials().await.unwrap_or(false) {
                        self.state.failure = None;
                    }
                }
            }
        }
        if self.state.unsaved.is_some() {
            self.write().await;
        }
        self.command.finish().await;
        Ok(())
    }

    /// Returns the time until the next decision.
    fn pause(&self, decision: &Decision, now: Timestamp) -> Duration {
        let next = self.state.failure.as_ref().and_then(|failure| failure.next_attempt_at).filter(|next| *next > now);
        let next = decision.requeue_at.into_iter().chain(next).min();
        let pause = next.map_or(MAX_SLEEP, |next| (next - now).to_std().unwrap_or_default());
        pause.clamp(Duration::from_millis(1), MAX_SLEEP)
    }

    /// Reports that the token of an earlier run is still valid, and runs the command that the earlier run may have left
    /// undone.
    fn report_stored_token(&mut self) {
        let decision = self.job.decide(&self.state, clock::now().wall);
        let (Some(token), None, Some(renewal)) = (&self.state.stored, decision.cause, decision.renewal) else { return };
        let expires_at = token.expires_at;
        tracing::info!(expires_at = %wire_time::text(expires_at), renew_at = %wire_time::text(renewal.due),
            "the files contain a valid token");
        if self.command.is_pending() {
            self.start_command(expires_at);
        }
    }

    async fn issue(&mut self) -> Result<(), CommandError> {
        // locked until the token is written, so that no other run writes in between
        let exclusive = match self.store.exclusive(LOCK_TIMEOUT).await {
            Ok(exclusive) => exclusive,
            Err(error) => {
                let next = self.record_write_failure(error.to_string());
                tracing::warn!(%error, next_attempt_at = %next, "no token is requested, because it could not be stored");
                return Ok(());
            }
        };
        match self.caller.call().await {
            Ok(issued) => {
                (self.attempts, self.waited, self.state.failure) = (0, None, None);
                self.state.unsaved = Some(self.job.record(issued, self.state.stored.clone()));
                self.write_locked(Ok(&exclusive));
            }
            Err(NotIssued::Unusable(refusal)) if self.state.stored.is_none() && self.attempts == 0 => {
                return Err(CommandError::Refused(refusal.message));
            }
            Err(NotIssued::Unusable(refusal)) => {
                let next = self.record_failure(Class::Configuration, None);
                tracing::warn!(reason = %refusal.reason, message = refusal.message, next_attempt_at = %next,
                    "the provider can't be used");
            }
            Err(NotIssued::Failed(error, class)) => {
                let next = self.record_failure(class, error.retry_after);
                tracing::warn!(?class, message = describe(&error), attempts = self.attempts, next_attempt_at = %next,
                    "no token was issued");
            }
            Err(NotIssued::LoginsUsedUp(next)) => {
                self.state.failure = Some(failure(Class::Credential, clock::now().wall, next));
                tracing::warn!(next_attempt_at = %next, "no login is made, because failed logins lock the user");
            }
        }
        Ok(())
    }

    /// Records a failed attempt and returns the time of the next one.
    fn record_failure(&mut self, class: Class, retry_after: Option<Duration>) -> Timestamp {
        self.attempts += 1;
        let tries = Tries { failed: self.attempts, waited: self.waited };
        let expires_at = self.state.stored.as_ref().map(|token| token.expires_at);
        let now = clock::now().wall;
        let next = backoff::next_attempt(class, tries, retry_after, expires_at, now, self.job.uid.0);
        (self.waited, self.state.failure) = (Some(next - now), Some(failure(class, now, next)));
        next
    }

    /// Writes the issued token, or the stored one without its previous token.
    async fn write(&mut self) {
        let exclusive = self.store.exclusive(LOCK_TIMEOUT).await;
        self.write_locked(exclusive.as_ref().map_err(ToString::to_string));
    }

    fn write_locked(&mut self, exclusive: Result<&Exclusive, String>) {
        let (now, is_new) = (clock::now().wall, self.state.unsaved.is_some());
        let Some(mut token) = self.state.unsaved.as_ref().or(self.state.stored.as_ref()).cloned() else { return };
        token.previous = token.previous.filter(|previous| now + PREVIOUS_MARGIN < previous.expires_at);
        let secret =
            exclusive.and_then(|_| build_secret(self.job.subject(), &token).map_err(|error| error.to_string()));
        let written = secret.and_then(|secret| {
            let announced = if is_new { self.command.announce() } else { Ok(()) };
            announced.and_then(|()| self.store.write(&secret)).map_err(|error| error.to_string())
        });
        if let Err(error) = written {
            let next = self.record_write_failure(error.clone());
            tracing::warn!(error, next_attempt_at = %next, "the token can't be stored");
            return;
        }
        let expires_at = token.expires_at;
        self.write_failures = 0;
        if is_new {
            self.state = State { stored: Some(token), ..State::default() };
            let renewal = self.job.decide(&self.state, now).renewal;
            let renew_at = renewal.map(|renewal| wire_time::text(renewal.due));
            tracing::info!(expires_at = %wire_time::text(expires_at), renew_at, "issued");
            self.start_command(expires_at);
        } else {
            (self.state.stored, self.state.write_failure) = (Some(token), None);
        }
    }

    /// Records a failed write and returns the time of the next one.
    fn record_write_failure(&mut self, message: String) -> Timestamp {
        self.write_failures += 1;
        let next = backoff::next_write(self.write_failures, clock::now().wall, 0);
        let (reason, stalled, met) = ("SecretWriteFailed", false, None);
        self.state.write_failure = Some(WriteFailure { reason, message, next, stalled, met, soonest: next });
        next
    }

    fn start_command(&mut self, expires_at: Timestamp) {
        if let Err(error) = self.command.start(expires_at) {
            tracing::warn!(%error, "--exec can't be started");
        }
    }
}

/// Returns the part of a failure that decisions need. Its message is in the log.
fn failure(class: Class, now: Timestamp, next: Timestamp) -> Failure {
    let (reason, message, request_id) = (String::new(), String::new(), None);
    Failure { time: now, class, reason, message, request_id, next_attempt_at: Some(next) }
}
