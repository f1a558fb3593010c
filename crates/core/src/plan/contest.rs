//! Fights over a Secret (P18): another writer that changes it again and again, and what changes it on its way into the
//! API server's store.
//!
//! The first three repairs within a minute are made at once. From then on the Secret is put right once in five minutes,
//! until a repair stands for those five minutes or the spec changes. A renewal that is due is no repair: it is written
//! at its time, and counts for the pace. Looks at a Secret that changes all the time have a pace of their own.

use super::decide::{Decision, TokenStep};
use super::facts::Uid;
use super::reason::Reason;
use super::secret::Fixed;
use super::view::{Refusal, View};
use crate::clock::Timestamp;
use chrono::TimeDelta;
use std::fmt::Write as _;

/// The reason for another writer of the same fields.
pub const CONTESTED: &str = "SecretContested";

/// The reason for a write that is stored otherwise than it was sent.
pub const OVERRIDDEN: &str = "SecretOverridden";

/// This many repairs within [`WITHIN`] are made at once.
const FREE: usize = 3;

/// Repairs and looks further apart than this are no fight.
const WITHIN: TimeDelta = TimeDelta::minutes(1);

/// In a fight, the time between two writes.
const PACE: TimeDelta = TimeDelta::minutes(5);

/// A repair in a fight has to stand this long before the condition goes.
const CALM: TimeDelta = TimeDelta::seconds(10);

/// This many looks within [`WITHIN`] are taken at once.
const LOOKS: usize = 5;

/// A Secret as it stood at one moment: its UID and resourceVersion.
pub type Version = (Uid, u64);

/// What of ours another writer changed, and who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contender {
    /// The field, as a path within the Secret.
    pub field: String,
    /// Its field manager, as far as the Secret's `managedFields` tell.
    pub manager: Option<String>,
}

/// A write that was stored otherwise than it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overridden {
    /// The Secret as it was stored. Another version is another matter.
    pub at: Version,
    /// The field, what was sent and what was stored.
    pub message: String,
    /// What was stored takes no write any more.
    pub fixed: Option<Fixed>,
    /// Not written again before this.
    pub next: Timestamp,
}

/// What is remembered of the changes that others make to one Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contest {
    /// The object's `metadata.generation`: another one is a new beginning.
    generation: i64,
    /// Repairs of the last minute; in a fight, the last write.
    repairs: Vec<Timestamp>,
    /// It is a fight.
    slowed: bool,
    /// Looks at the Secret within the last minute.
    looks: Vec<Timestamp>,
    contender: Option<Contender>,
    overridden: Option<Overridden>,
}

impl Contest {
    /// Nothing has happened yet.
    pub fn new(generation: i64) -> Self {
        Self { generation, ..Self::default() }
    }

    /// A fight that began at `since`, as a status tells: whoever starts with this status gets no new repairs at once.
    pub fn recalled(generation: i64, since: Timestamp) -> Self {
        Self { generation, repairs: vec![since], slowed: true, ..Self::default() }
    }

    /// Whether it is about this generation of the object.
    pub fn is_of(&self, generation: i64) -> bool {
        self.generation == generation
    }

    /// Repairs have a pace.
    pub fn is_slowed(&self) -> bool {
        self.slowed
    }

    /// Notes a write that reached the API server, taken or not.
    pub fn wrote(&mut self, repair: bool, now: Timestamp) {
        if self.slowed {
            self.repairs = vec![now];
        } else if repair {
            self.repairs.retain(|at| is_within(*at, now));
            self.repairs.push(now);
            self.slowed = self.repairs.len() >= FREE;
        }
    }

    /// Notes what became of a write that was taken.
    pub fn stored(&mut self, at: Version, difference: Option<Difference>, now: Timestamp) {
        self.overridden = difference.map(|difference| Overridden {
            at,
            message: difference.message(),
            fixed: difference.fixed,
            next: now + PACE,
        });
    }

    /// Notes a look at the whole Secret, and who had changed it.
    pub fn looked(&mut self, contender: Option<Contender>, now: Timestamp) {
        self.looks.retain(|at| is_within(*at, now));
        self.looks.push(now);
        // in a fight the first that was seen is told: a message that follows each change would be a write for each
        if contender.is_some() && (!self.slowed || self.contender.is_none()) {
            self.contender = contender;
        }
    }

    /// When the Secret may be put right again; `None`: now.
    pub fn next_repair(&self, now: Timestamp) -> Option<Timestamp> {
        let last = self.repairs.last().filter(|at| self.slowed && **at <= now)?;
        Some(*last + PACE).filter(|next| now < *next)
    }

    /// When the Secret may be looked at again; `None`: now.
    pub fn next_look(&self, now: Timestamp) -> Option<Timestamp> {
        let recent: Vec<_> = self.looks.iter().filter(|at| is_within(**at, now)).collect();
        let oldest = recent.len().checked_sub(LOOKS).and_then(|first| recent.get(first))?;
        Some(**oldest + WITHIN)
    }

    /// What is known to be stored otherwise than it was sent, if the Secret is still the same.
    pub fn overridden(&self, secret: Option<Version>) -> Option<&Overridden> {
        self.overridden.as_ref().filter(|overridden| Some(overridden.at) == secret)
    }

    /// Forgets what is over, while nothing is to be put right, and tells whether all is.
    pub fn forget(&mut self, secret: Option<Version>, now: Timestamp) -> bool {
        if self.next_repair(now).is_none() {
            self.repairs.retain(|at| !self.slowed && is_within(*at, now));
            self.slowed = false;
        }
        self.looks.retain(|at| is_within(*at, now));
        self.overridden.take_if(|overridden| Some(overridden.at) != secret);
        self.repairs.is_empty() && self.looks.is_empty() && self.overridden.is_none()
    }

    /// When there is something to forget.
    fn ends(&self, now: Timestamp) -> Option<Timestamp> {
        let repairs = if self.slowed { PACE } else { WITHIN };
        let ends = [self.repairs.last().map(|at| *at + repairs), self.looks.last().map(|at| *at + WITHIN)];
        ends.into_iter().flatten().filter(|end| now < *end && *end <= now + PACE).max()
    }

    /// Who fights over what.
    pub fn refusal(&self) -> Refusal {
        let mut message = "another writer changes the Secret again and again".to_owned();
        if let Some(Contender { field, manager }) = &self.contender {
            // infallible: a String
            let _ = match manager {
                Some(manager) => write!(message, ": the field manager {manager:?} changes {field}"),
                None => write!(message, ": it changes {field}"),
            };
        }
        message.push_str(
            "; it is put right once in 5 min: let that writer leave it alone, or choose another spec.secret.name",
        );
        Refusal::new(CONTESTED, message)
    }
}

/// The clock may have been put back: a time ahead counts for nothing.
fn is_within(at: Timestamp, now: Timestamp) -> bool {
    at <= now && now < at + WITHIN
}

/// What keeps a repair, and until when.
pub fn keeps(view: &View<'_>, now: Timestamp) -> Option<(Refusal, Timestamp)> {
    let contest = view.contest?;
    if let Some(overridden) = contest.overridden(view.secret.version())
        && now < overridden.next
        && overridden.next <= now + PACE
    {
        return Some((Refusal::new(OVERRIDDEN, overridden.message.clone()), overridden.next));
    }
    Some((contest.refusal(), contest.next_repair(now)?))
}

/// What a decision to wait tells of a fight, and when it is to be looked at again for the fight's sake.
pub fn report(view: &View<'_>, mut decision: Decision, now: Timestamp) -> Decision {
    let Some(contest) = view.contest.filter(|_| decision.step == TokenStep::Wait) else { return decision };
    let mut wake = contest.ends(now);
    if decision.refusal.is_none()
        && decision.cause.is_none()
        && !view.deleting
        && was_reported(view)
        && let Some(until) = contest.next_repair(now).map(|next| next - PACE + CALM).filter(|until| now < *until)
    {
        // the last repair stands, though not for long yet
        decision.refusal = Some(contest.refusal());
        wake = Some(until);
    }
    decision.requeue_at = [decision.requeue_at, wake].into_iter().flatten().min();
    decision
}

fn was_reported(view: &View<'_>) -> bool {
    let stalled = &view.status.conditions[2];
    stalled.status == Some(true) && stalled.reason == Reason::of(CONTESTED)
}

/// Something of ours that was stored otherwise than it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The field, as a path within the Secret.
    pub field: String,
    /// What was sent. `None`: it isn't for everybody's eyes.
    pub sent: Option<String>,
    /// What was stored: nothing, a text, or what isn't for everybody's eyes.
    pub stored: Stored,
    /// What was stored takes no write any more.
    pub fixed: Option<Fixed>,
}

/// What was stored in a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// Nothing.
    Nothing,
    /// A text that may be told.
    Text(String),
    /// Another value.
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
            "{field}: {sent} was sent, and the API server stored {stored}: an admission policy or webhook changes it; \
             exempt this Secret from it, or choose another spec.secret.name; tried again every 5 min"
        )
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
