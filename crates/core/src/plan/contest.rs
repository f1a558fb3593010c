//! Contested Secrets (P18): another client changes the Secret repeatedly, or a policy or webhook changes it when it is
//! stored.
//!
//! The operator makes the first three repairs within one minute at once. After that it repairs the Secret every 5
//! minutes, until a repair lasts for 5 minutes or the spec changes. A renewal that is due is not a repair: the
//! operator writes it at its time, and it counts in the interval. Reads of a Secret that changes repeatedly have a
//! limit of their own.

use super::decide::{Decision, TokenStep};
use super::facts::Uid;
use super::secret::NotWritable;
use super::view::{DecisionInput, Refusal};
use crate::clock::Timestamp;
use chrono::TimeDelta;
use std::fmt::Write as _;

/// Reason for another client that writes the same fields.
pub const CONTESTED: &str = "SecretContested";

/// Reason for a write that the API server stored with other values.
pub const OVERRIDDEN: &str = "SecretOverridden";

/// Number of repairs within [`FIGHT_WINDOW`] that are made at once.
const FREE_REPAIRS: usize = 3;

/// Time within which repairs and reads count together.
const FIGHT_WINDOW: TimeDelta = TimeDelta::minutes(1);

/// Time between two writes of a contested Secret.
const REPAIR_INTERVAL: TimeDelta = TimeDelta::minutes(5);

/// Time that a repair of a contested Secret must last until the condition ends.
const CALM_TIME: TimeDelta = TimeDelta::seconds(10);

/// Number of reads within [`FIGHT_WINDOW`] that are made at once.
const MAX_INSPECTIONS: usize = 5;

/// Version of a Secret: its UID and resourceVersion.
pub type Version = (Uid, u64);

/// Field of the operator that another client changed, and the client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Contender {
    /// Field, as a path in the Secret.
    pub field: String,
    /// Field manager of the client, if `managedFields` contains it.
    pub manager: Option<String>,
}

/// A write that the API server stored with other values.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Overridden {
    /// Version of the stored Secret. The record applies only to this version.
    pub at: Version,
    /// Message with the field, the sent value and the stored value.
    pub message: String,
    /// Cause for which the stored Secret can't be written again.
    pub not_writable: Option<NotWritable>,
    /// Time of the next write.
    pub next: Timestamp,
}

/// Record of the changes of one Secret by other clients.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Contest {
    /// `metadata.generation` of the VideoAccessToken. Another generation starts a new record.
    generation: i64,
    /// Times of the repairs of the last minute; for a contested Secret, the time of the last write.
    repairs: Vec<Timestamp>,
    /// True if the Secret is contested.
    slowed: bool,
    /// Times of the reads of the last minute, at most the last [`MAX_INSPECTIONS`].
    inspections: Vec<Timestamp>,
    contender: Option<Contender>,
    overridden: Option<Overridden>,
}

impl Contest {
    /// Creates an empty record.
    pub fn new(generation: i64) -> Self {
        Self { generation, ..Self::default() }
    }

    /// Creates the record of a Secret that a status reports as contested since `since`. A new leader makes no repairs
    /// at once.
    pub fn restored(generation: i64, since: Timestamp) -> Self {
        Self { generation, repairs: vec![since], slowed: true, ..Self::default() }
    }

    /// Returns true if the record belongs to this generation.
    pub fn is_of(&self, generation: i64) -> bool {
        self.generation == generation
    }

    /// Returns true if the Secret is contested.
    pub fn is_slowed(&self) -> bool {
        self.slowed
    }

    /// Records a write that reached the API server, accepted or not.
    pub fn record_write(&mut self, repair: bool, now: Timestamp) {
        if self.slowed {
            self.repairs = vec![now];
        } else if repair {
            self.repairs.retain(|at| is_within(*at, now));
            self.repairs.push(now);
            self.slowed = self.repairs.len() >= FREE_REPAIRS;
        }
    }

    /// Records the stored result of an accepted write.
    pub fn record_stored(&mut self, at: Version, difference: Option<Difference>, now: Timestamp) {
        self.overridden = difference.map(|difference| Overridden {
            at,
            message: difference.message(),
            not_writable: difference.not_writable,
            next: now + REPAIR_INTERVAL,
        });
    }

    /// Records a read of the Secret, and the client that changed it.
    pub fn record_inspection(&mut self, contender: Option<Contender>, now: Timestamp) {
        self.inspections.retain(|at| is_within(*at, now));
        self.inspections.push(now);
        let surplus = self.inspections.len().saturating_sub(MAX_INSPECTIONS);
        self.inspections.drain(..surplus);
        // for a contested Secret, the first client is reported: a message for each change would be a write for each
        if contender.is_some() && (!self.slowed || self.contender.is_none()) {
            self.contender = contender;
        }
    }

    /// Returns the time of the next repair. `None`: now.
    pub fn next_repair(&self, now: Timestamp) -> Option<Timestamp> {
        let last = self.repairs.last().filter(|at| self.slowed && **at <= now)?;
        Some(*last + REPAIR_INTERVAL).filter(|next| now < *next)
    }

    /// Returns the time of the next read. `None`: now.
    pub fn next_inspection(&self, now: Timestamp) -> Option<Timestamp> {
        let recent: Vec<_> = self.inspections.iter().filter(|at| is_within(**at, now)).collect();
        let oldest = recent.len().checked_sub(MAX_INSPECTIONS).and_then(|first| recent.get(first))?;
        Some(**oldest + FIGHT_WINDOW)
    }

    /// Returns the record of an overridden write, if the Secret still has that version.
    pub fn overridden(&self, secret: Option<Version>) -> Option<&Overridden> {
        self.overridden.as_ref().filter(|overridden| Some(overridden.at) == secret)
    }

    /// Removes expired entries if no repair is pending. Returns true if the record is empty.
    pub fn forget(&mut self, secret: Option<Version>, now: Timestamp) -> bool {
        if self.next_repair(now).is_none() {
            self.repairs.retain(|at| !self.slowed && is_within(*at, now));
            self.slowed = false;
        }
        self.inspections.retain(|at| is_within(*at, now));
        self.overridden.take_if(|overridden| Some(overridden.at) != secret);
        self.repairs.is_empty() && self.inspections.is_empty() && self.overridden.is_none()
    }

    /// Returns the time at which an entry expires.
    fn ends(&self, now: Timestamp) -> Option<Timestamp> {
        let repairs = if self.slowed { REPAIR_INTERVAL } else { FIGHT_WINDOW };
        let ends = [self.repairs.last().map(|at| *at + repairs), self.inspections.last().map(|at| *at + FIGHT_WINDOW)];
        ends.into_iter().flatten().filter(|end| now < *end && *end <= now + REPAIR_INTERVAL).max()
    }

    /// Returns the refusal for a contested Secret, with the client and the field.
    pub fn refusal(&self) -> Refusal {
        let mut message = "Another client changes the Secret repeatedly".to_owned();
        if let Some(Contender { field, manager }) = &self.contender {
            // writing to a String can't fail
            let _ = match manager {
                Some(manager) => write!(message, ": the field manager {manager:?} changes {field}"),
                None => write!(message, ": it changes {field}"),
            };
        }
        message.push_str(
            ". Stop that client, or choose another spec.secret.name. The operator repairs the Secret every 5 minutes.",
        );
        Refusal::new(CONTESTED, message)
    }
}

/// Times in the future are ignored: the clock may have been set back.
fn is_within(at: Timestamp, now: Timestamp) -> bool {
    at <= now && now < at + FIGHT_WINDOW
}

/// Returns the cause that delays a repair, and its end.
pub fn repair_block(input: &DecisionInput<'_>, now: Timestamp) -> Option<(Refusal, Timestamp)> {
    let contest = input.contest?;
    if let Some(overridden) = contest.overridden(input.secret.version())
        && now < overridden.next
        && overridden.next <= now + REPAIR_INTERVAL
    {
        return Some((Refusal::new(OVERRIDDEN, overridden.message.clone()), overridden.next));
    }
    Some((contest.refusal(), contest.next_repair(now)?))
}

/// Adds the state of a contested Secret to a decision to wait.
pub fn report(input: &DecisionInput<'_>, mut decision: Decision, now: Timestamp) -> Decision {
    let Some(contest) = input.contest.filter(|_| decision.step == TokenStep::Wait) else { return decision };
    let mut requeue_at = contest.ends(now);
    if decision.refusal.is_none()
        && decision.cause.is_none()
        && !input.deleting
        && was_reported(input)
        && let Some(until) =
            contest.next_repair(now).map(|next| next - REPAIR_INTERVAL + CALM_TIME).filter(|until| now < *until)
    {
        // the last repair has not lasted long enough
        decision.refusal = Some(contest.refusal());
        requeue_at = Some(until);
    }
    decision.requeue_at = [decision.requeue_at, requeue_at].into_iter().flatten().min();
    decision
}

fn was_reported(input: &DecisionInput<'_>) -> bool {
    let stalled = &input.status.conditions[2];
    stalled.status == Some(true) && *stalled.reason == *CONTESTED
}

/// A field that the API server stored with another value than the operator sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Field, as a path in the Secret.
    pub field: String,
    /// Sent value. `None`: the value must not be shown.
    pub sent: Option<String>,
    /// Stored value.
    pub stored: Stored,
    /// Cause for which the stored Secret can't be written again.
    pub not_writable: Option<NotWritable>,
}

/// Stored value of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// The value is absent.
    Nothing,
    /// A text that may be shown.
    Text(String),
    /// Another value, which must not be shown.
    Another,
}

impl Difference {
    fn message(&self) -> String {
        let Self { field, sent, stored, .. } = self;
        let sent = sent.as_ref().map_or_else(|| "its value".to_owned(), |sent| format!("{sent:?}"));
        let stored = match stored {
            Stored::Nothing => "nothing".to_owned(),
            Stored::Text(text) => format!("{text:?}"),
            Stored::Another => "another value".to_owned(),
        };
        format!(
            "{field}: the operator sent {sent}, and the API server stored {stored}. An admission policy or webhook changes it. Exempt this Secret, or choose another spec.secret.name. The operator retries every 5 minutes."
        )
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
