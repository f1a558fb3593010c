//! `--watch`: keeps the files fresh. When to renew and how long a failure waits is the operator's plan.

use super::attempt::{Attempts, Outcome};
use super::command::AfterRenewal;
use super::order::{Order, PREVIOUS_MARGIN};
use super::store::Store;
use super::{Stop, describe};
use crate::api::wire_time;
use crate::cli::signal;
use crate::clock::{self, Timestamp};
use crate::issuer::{Class, Issued};
use crate::plan::backoff;
use crate::plan::secret::{Material, shape};
use chrono::TimeDelta;
use std::time::Duration;

/// Waits are cut into pieces, so that a clock that jumps is seen, and a credential that is replaced.
const PIECE: TimeDelta = TimeDelta::seconds(5);

/// A token that is kept fresh.
pub(super) struct Keeper<'a> {
    order: &'a Order,
    store: &'a Store,
    attempts: Attempts<'a>,
    command: AfterRenewal<'a>,
    /// In the files, or to be written there.
    token: Option<Material>,
    /// The token isn't in the files yet.
    unsaved: bool,
    write_failures: u32,
    failures: u32,
}

/// What is to be done next, and when.
struct Next {
    at: Timestamp,
    step: Step,
}

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
        held: Option<Material>,
    ) -> Self {
        Self { order, store, attempts, command, token: held, unsaved: false, write_failures: 0, failures: 0 }
    }

    /// Until SIGTERM or SIGINT. Ends before only if nothing was ever issued and the provider object can't be used.
    /// `renew`: a token that is there is renewed at once.
    pub(super) async fn run(mut self, renew: bool) -> Result<(), Stop> {
        let stopped = signal::stopped();
        tokio::pin!(stopped);
        let now = clock::now().wall;
        let mut next = self.after_write();
        if renew {
            next = Next { at: now, step: Step::Issue };
        }
        if let Some(expires_at) = self.token.as_ref().map(|held| held.expires_at).filter(|_| now < next.at) {
            tracing::info!(expires_at = %wire_time::text(expires_at), renew_at = %wire_time::text(next.at),
                "the files hold a token that still serves");
            if self.command.is_pending() {
                self.start_command(expires_at);
            }
        }
        loop {
            let now = clock::now().wall;
            if next.at <= now {
                // a call that has begun is brought to its end: the token isn't to be lost
                next = match next.step {
                    Step::Issue => self.issue().await?,
                    Step::Write => self.write(),
                };
                continue;
            }
            let piece = (next.at - now).min(PIECE).to_std().unwrap_or_default().max(Duration::from_millis(1));
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
                        next = Next { at: clock::now().wall, step: Step::Issue };
                    }
                }
            }
        }
        if self.unsaved {
            self.write();
        }
        self.command.finish().await;
        Ok(())
    }

    async fn issue(&mut self) -> Result<Next, Stop> {
        match self.attempts.make().await {
            Outcome::Issued(issued) => Ok(self.issued(issued)),
            Outcome::Refused(refusal) if self.token.is_none() && self.failures == 0 => {
                Err(Stop::Refused(refusal.message))
            }
            Outcome::Refused(refusal) => {
                let next = self.failed(Class::Configuration, None);
                tracing::warn!(reason = %refusal.reason, message = refusal.message, next_attempt_at = %next.at, "not issued");
                Ok(next)
            }
            Outcome::Failed(error) => {
                let next = self.failed(error.class, error.retry_after);
                tracing::warn!(class = ?error.class, message = describe(&error), attempts = self.failures,
                    next_attempt_at = %next.at, "the issue failed");
                Ok(next)
            }
            Outcome::LoginsUsedUp(at) => {
                tracing::warn!(next_attempt_at = %at, "no login is made: failed ones lock the user");
                Ok(Next { at, step: Step::Issue })
            }
        }
    }

    fn failed(&mut self, class: Class, retry_after: Option<Duration>) -> Next {
        self.failures += 1;
        let expires_at = self.token.as_ref().map(|token| token.expires_at);
        let now = clock::now().wall;
        let at = backoff::next_attempt(class, self.failures, retry_after, expires_at, now, self.order.uid.0);
        Next { at, step: Step::Issue }
    }

    fn issued(&mut self, issued: Issued) -> Next {
        self.failures = 0;
        let before = self.token.take();
        self.token = Some(self.order.record(issued, before));
        self.unsaved = true;
        self.write()
    }

    /// Writes the token at hand. What can't be written is tried again, not issued again.
    fn write(&mut self) -> Next {
        let now = clock::now().wall;
        let Some(material) = &mut self.token else { return Next { at: now, step: Step::Issue } };
        material.previous = material.previous.take().filter(|previous| now + PREVIOUS_MARGIN < previous.expires_at);
        let expires_at = material.expires_at;
        let written = shape(self.order.subject(), material).map_err(|error| error.to_string()).and_then(|shape| {
            let announced = if self.unsaved { self.command.announce() } else { Ok(()) };
            announced.and_then(|()| self.store.write(&shape)).map_err(|error| error.to_string())
        });
        if let Err(error) = written {
            self.write_failures += 1;
            let next = Next { at: backoff::next_write(self.write_failures, now), step: Step::Write };
            tracing::warn!(error, next_attempt_at = %next.at, "the token isn't stored");
            return self.due().filter(|due| *due < next.at).map_or(next, |at| Next { at, step: Step::Issue });
        }
        self.write_failures = 0;
        let next = self.after_write();
        if std::mem::take(&mut self.unsaved) {
            tracing::info!(expires_at = %wire_time::text(expires_at), renew_at = ?self.due().map(wire_time::text), "issued");
            self.start_command(expires_at);
        }
        next
    }

    fn start_command(&mut self, expires_at: Timestamp) {
        if let Err(error) = self.command.start(expires_at) {
            tracing::warn!(%error, "--exec can't be started");
        }
    }

    /// The renewal, or before it the end of the previous token.
    fn after_write(&self) -> Next {
        let due = self.due().unwrap_or_else(|| clock::now().wall);
        let previous = self.token.as_ref().and_then(|token| token.previous.as_ref());
        match previous.map(|previous| previous.expires_at - PREVIOUS_MARGIN).filter(|ends| *ends < due) {
            Some(at) => Next { at, step: Step::Write },
            None => Next { at: due, step: Step::Issue },
        }
    }

    /// When the token at hand is renewed.
    fn due(&self) -> Option<Timestamp> {
        self.token.as_ref().map(|token| self.order.due(token))
    }
}
