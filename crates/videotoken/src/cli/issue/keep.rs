//! `--watch`: keeps the files fresh. When to renew and how long a failure waits is the operator's plan.

use super::attempt::{Attempts, Outcome};
use super::command::AfterRenewal;
use super::exclusive::Exclusive;
use super::order::{Order, PREVIOUS_MARGIN};
use super::store::Store;
use super::{OTHERS, Stop, describe};
use chrono::TimeDelta;
use std::time::Duration;
use videotoken_api::wire_time;
use videotoken_core::plan::backoff::{self, Tries};
use videotoken_core::plan::secret::{TokenRecord, build_secret};
use videotoken_providers::clock::{self, Timestamp};
use videotoken_providers::{Class, Issued};
use videotoken_runtime::signal;

/// Waits are cut into pieces, so that a clock that jumps is seen, and a credential that is replaced.
const PIECE: TimeDelta = TimeDelta::seconds(5);

/// A token that is kept fresh.
pub(super) struct Keeper<'a> {
    order: &'a Order,
    store: &'a Store,
    attempts: Attempts<'a>,
    command: AfterRenewal<'a>,
    /// In the files, or to be written there.
    token: Option<TokenRecord>,
    /// The token isn't in the files yet.
    unsaved: bool,
    /// The last attempt failed: no other before this.
    attempt_at: Option<Timestamp>,
    failures: u32,
    /// How long the last of them waited.
    waited: Option<TimeDelta>,
    /// The last write failed: no other before this.
    write_at: Option<Timestamp>,
    write_failures: u32,
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Issue,
    Write,
}

impl<'a> Keeper<'a> {
    /// `held` is what an earlier run left in the files.
    pub(super) fn new(
        order: &'a Order,
        store: &'a Store,
        attempts: Attempts<'a>,
        command: AfterRenewal<'a>,
        held: Option<TokenRecord>,
    ) -> Self {
        Self {
            order,
            store,
            attempts,
            command,
            token: held,
            unsaved: false,
            attempt_at: None,
            failures: 0,
            waited: None,
            write_at: None,
            write_failures: 0,
        }
    }

    /// Until SIGTERM or SIGINT. Ends before only if nothing was ever issued and the provider object can't be used.
    /// `renew`: a token that is there is renewed at once.
    pub(super) async fn run(mut self, renew: bool) -> Result<(), Stop> {
        let stopped = signal::stopped();
        tokio::pin!(stopped);
        self.attempt_at = renew.then(|| clock::now().wall);
        self.take_over();
        loop {
            let now = clock::now().wall;
            let (at, step) = self.next(now);
            if at <= now {
                // a call that has begun is brought to its end: the token isn't to be lost
                match step {
                    Step::Issue => self.issue().await?,
                    Step::Write => self.write().await,
                }
                continue;
            }
            let piece = (at - now).min(PIECE).to_std().unwrap_or_default().max(Duration::from_millis(1));
            tokio::select! {
                _ = &mut stopped => break,
                status = self.command.ended() => match status {
                    Ok(status) if status.success() => tracing::debug!("--exec has ended"),
                    Ok(status) => tracing::warn!(%status, "--exec failed"),
                    Err(error) => tracing::warn!(%error, "--exec failed"),
                },
                () = tokio::time::sleep(piece) => {
                    // another credential is tried at once
                    if self.failures > 0 && self.attempts.read_credentials().await.unwrap_or(false) {
                        self.attempt_at = Some(clock::now().wall);
                    }
                }
            }
        }
        if self.unsaved {
            self.write().await;
        }
        self.command.finish().await;
        Ok(())
    }

    /// Says that the token of an earlier run still serves, and runs the command that this one may have left undone.
    fn take_over(&mut self) {
        let now = clock::now().wall;
        let (Some(token), (at, _)) = (&self.token, self.next(now)) else { return };
        let expires_at = token.expires_at;
        if now < at {
            tracing::info!(expires_at = %wire_time::text(expires_at), renew_at = %wire_time::text(at),
                "the files hold a token that still serves");
            if self.command.is_pending() {
                self.start_command(expires_at);
            }
        }
    }

    /// What is to be done next, and when.
    fn next(&self, now: Timestamp) -> (Timestamp, Step) {
        let issue = self.attempt_at.or_else(|| self.due()).unwrap_or(now);
        let previous = self.token.as_ref().and_then(|token| token.previous.as_ref());
        let write = self.write_at.or_else(|| previous.map(|previous| previous.expires_at - PREVIOUS_MARGIN));
        match write.filter(|write| *write < issue) {
            Some(write) => (write, Step::Write),
            None => (issue, Step::Issue),
        }
    }

    async fn issue(&mut self) -> Result<(), Stop> {
        // held until it is written: no other run comes between
        let exclusive = match self.store.exclusive(OTHERS).await {
            Ok(exclusive) => exclusive,
            Err(error) => {
                self.write_failures += 1;
                let next = backoff::next_write(self.write_failures, clock::now().wall, 0);
                self.attempt_at = Some(next);
                tracing::warn!(%error, next_attempt_at = %next, "no token is asked for: it couldn't be stored");
                return Ok(());
            }
        };
        match self.attempts.make().await {
            Outcome::Issued(issued) => self.issued(issued, &exclusive),
            Outcome::Refused(refusal) if self.token.is_none() && self.failures == 0 => {
                return Err(Stop::Refused(refusal.message));
            }
            Outcome::Refused(refusal) => {
                let next = self.failed(Class::Configuration, None);
                tracing::warn!(reason = %refusal.reason, message = refusal.message, next_attempt_at = %next, "not issued");
            }
            Outcome::Failed(error) => {
                let class = if self.attempts.heals(&error) { Class::Transient } else { error.class };
                let next = self.failed(class, error.retry_after);
                tracing::warn!(class = ?error.class, message = describe(&error), attempts = self.failures,
                    next_attempt_at = %next, "the issue failed");
            }
            Outcome::LoginsUsedUp(next) => {
                self.attempt_at = Some(next);
                tracing::warn!(next_attempt_at = %next, "no login is made: failed ones lock the user");
            }
        }
        Ok(())
    }

    fn failed(&mut self, class: Class, retry_after: Option<Duration>) -> Timestamp {
        self.failures += 1;
        let expires_at = self.token.as_ref().map(|token| token.expires_at);
        let now = clock::now().wall;
        let tries = Tries { failed: self.failures, waited: self.waited };
        let next = backoff::next_attempt(class, tries, retry_after, expires_at, now, self.order.uid.0);
        (self.attempt_at, self.waited) = (Some(next), Some(next - now));
        next
    }

    fn issued(&mut self, issued: Issued, exclusive: &Exclusive) {
        (self.failures, self.waited, self.attempt_at) = (0, None, None);
        let before = self.token.take();
        self.token = Some(self.order.record(issued, before));
        self.unsaved = true;
        self.write_into(Ok(exclusive));
    }

    /// Writes the token at hand. What can't be written is tried again, not issued again.
    async fn write(&mut self) {
        let exclusive = self.store.exclusive(OTHERS).await;
        self.write_into(exclusive.as_ref().map_err(ToString::to_string));
    }

    fn write_into(&mut self, exclusive: Result<&Exclusive, String>) {
        let now = clock::now().wall;
        let Some(material) = &mut self.token else { return };
        material.previous = material.previous.take().filter(|previous| now + PREVIOUS_MARGIN < previous.expires_at);
        let expires_at = material.expires_at;
        let written =
            exclusive.and_then(|_| build_secret(self.order.subject(), material).map_err(|error| error.to_string()));
        let written = written.and_then(|shape| {
            let announced = if self.unsaved { self.command.announce() } else { Ok(()) };
            announced.and_then(|()| self.store.write(&shape)).map_err(|error| error.to_string())
        });
        if let Err(error) = written {
            self.write_failures += 1;
            let next = backoff::next_write(self.write_failures, now, 0);
            self.write_at = Some(next);
            tracing::warn!(error, next_attempt_at = %next, "the token isn't stored");
            return;
        }
        (self.write_failures, self.write_at) = (0, None);
        if std::mem::take(&mut self.unsaved) {
            let renew_at = self.due().map(wire_time::text);
            tracing::info!(expires_at = %wire_time::text(expires_at), renew_at, "issued");
            self.start_command(expires_at);
        }
    }

    fn start_command(&mut self, expires_at: Timestamp) {
        if let Err(error) = self.command.start(expires_at) {
            tracing::warn!(%error, "--exec can't be started");
        }
    }

    /// When the token at hand is renewed.
    fn due(&self) -> Option<Timestamp> {
        self.token.as_ref().map(|token| self.order.due(token))
    }
}
