//! What a decision sees: all that is known of an object at one moment, in the terms of the decision.

use super::contest::{Contest, Version};
use super::facts::{Failure, SecretFacts, StatusFacts, Uid};
use super::floor::Spells;
use super::hash::Hash;
use super::renewal::{self, Renewal};
use super::secret::Fixed;
use crate::clock::Timestamp;
use chrono::TimeDelta;
use std::borrow::Cow;
use videotoken_api::request::End;
use videotoken_api::video_access_token::RenewBefore;

/// Why an object can't be served, and when to look again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// One CamelCase word.
    pub reason: Cow<'static, str>,
    /// The field and the way out.
    pub message: String,
    /// Looked at again after this long, beside what the watches bring. `None`: only a change helps.
    pub again: Option<TimeDelta>,
}

impl Refusal {
    /// A refusal that only a change can lift.
    pub fn new(reason: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { reason: reason.into(), message: message.into(), again: None }
    }

    /// Looked at again every few minutes, for what the watches can't see.
    #[must_use]
    pub fn again(mut self, after: TimeDelta) -> Self {
        self.again = Some(after);
        self
    }
}

/// What the spec and its provider ask for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// What is asked of the provider.
    pub request: Hash,
    /// How the Secret is shaped.
    pub render: Hash,
    /// When to renew.
    pub renew_before: RenewBefore,
    /// No calls.
    pub suspend: bool,
    /// A token of this request can't live longer, whatever the Secret says.
    pub longest_life: TimeDelta,
    /// No token is asked for after this.
    pub ends_at: Option<End>,
}

/// A token that ends this close to a fixed end is the last: another would end with it.
const LAST: TimeDelta = TimeDelta::seconds(10);

impl Wanted {
    /// When a token with this life is renewed. The last one before a fixed end isn't: its renewal is due at that end.
    pub fn renewal(&self, issued_at: Timestamp, expires_at: Timestamp, uid: Uid) -> Renewal {
        let plan = renewal::plan(issued_at, expires_at, self.renew_before, uid.0);
        match &self.ends_at {
            Some(end) if expires_at + LAST >= end.at => Renewal { due: end.at, urgent: end.at, ..plan },
            _ => plan,
        }
    }
}

/// What stands at the Secret's name.
#[derive(Clone, Copy, Debug)]
pub enum SecretView<'a> {
    /// The watch knows no Secret of ours there; one metadata GET will tell.
    Unseen,
    /// The API server said that there is none.
    Absent,
    /// The API server said that one is there that isn't ours.
    Foreign,
    /// One that carries our annotations.
    Known {
        /// What its metadata says.
        facts: &'a SecretFacts,
        /// What is known of its data.
        data: DataView,
        /// The object that it was written for is gone.
        owner_gone: bool,
    },
}

impl SecretView<'_> {
    /// The Secret of ours as it stands now.
    pub fn version(&self) -> Option<Version> {
        match self {
            Self::Known { facts, .. } => Some(facts.version()),
            Self::Unseen | Self::Absent | Self::Foreign => None,
        }
    }
}

/// What is known of a Secret's data, which no watch shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataView {
    /// As we wrote it.
    Verified,
    /// Another hand may have been there: one GET will tell.
    Unverified,
    /// The token is whole, something else isn't.
    Altered,
    /// The token is lost or altered.
    Lost,
    /// Nothing can be written there, whatever the data is.
    Fixed(Fixed),
}

/// An issued token whose write isn't done.
#[derive(Clone, Debug)]
pub struct HeldView<'a> {
    /// What was asked.
    pub request: Hash,
    /// The forced renewal that it serves.
    pub renew_request: Option<&'a str>,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// When it expires.
    pub expires_at: Timestamp,
}

/// Where the object stands in the budget's queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueState {
    /// Not in it.
    None,
    /// Waiting since then.
    Waiting(Timestamp),
    /// It may call now.
    Granted,
    /// In the queue of an account that it no longer uses.
    OtherAccount,
}

/// What keeps the whole account from calling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountBlock {
    /// One CamelCase word.
    pub reason: &'static str,
    /// What it waits for.
    pub message: String,
    /// Until when, where that is known and stands for minutes.
    pub until: Option<Timestamp>,
}

/// A write to the Secret that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteFailure {
    /// One CamelCase word.
    pub reason: &'static str,
    /// What the API server said.
    pub message: String,
    /// No write before this.
    pub next: Timestamp,
    /// Only a change outside can lift it.
    pub stalled: bool,
    /// It lies in the Secret as it stood then, or in that there was none: it ends when that changes.
    pub met: Option<Option<Version>>,
    /// When that has changed: no write before this.
    pub soonest: Timestamp,
}

impl WriteFailure {
    /// What is left of it where `secret` stands now.
    #[must_use]
    pub fn at(mut self, secret: Option<Version>) -> Self {
        if self.met.is_some_and(|met| met != secret) {
            self.next = self.soonest;
        }
        self
    }
}

/// Longest wait after a failed write. A time further ahead was recorded before the clock was put back.
const LONGEST_TROUBLE: TimeDelta = TimeDelta::minutes(11);

impl WriteFailure {
    /// Nothing is tried yet.
    pub fn holds(&self, now: Timestamp) -> bool {
        now < self.next && self.next - now <= LONGEST_TROUBLE
    }
}

/// What happened before, as far as it bounds what may happen now.
#[derive(Clone, Copy, Debug, Default)]
pub struct Before {
    /// The object's calls that no schedule asked for.
    pub spells: Spells,
    /// `metadata.generation`.
    pub generation: i64,
    /// The last failure doesn't count, since something else is tried now.
    pub excused: bool,
    /// The last failure is known from the status alone.
    pub recalled: bool,
}

/// All that a decision sees.
#[derive(Debug)]
pub struct View<'a> {
    /// The object's UID.
    pub uid: Uid,
    /// It is being deleted.
    pub deleting: bool,
    /// The annotation that forces a renewal.
    pub renew_requested_at: Option<&'a str>,
    /// What its status says.
    pub status: &'a StatusFacts,
    /// What is wanted, or why it can't be served. `None`: its provider isn't known yet.
    pub wanted: Option<Result<Wanted, Refusal>>,
    /// What stands at the Secret's name.
    pub secret: SecretView<'a>,
    /// The Secret under its former name, if it is ours.
    pub former: Option<&'a SecretFacts>,
    /// An issued token whose write isn't done.
    pub held: Option<HeldView<'a>>,
    /// The last failed attempt that still counts.
    pub failure: Option<&'a Failure>,
    /// Where it stands in the budget's queue.
    pub queue: QueueState,
    /// What keeps the whole account from calling.
    pub block: Option<AccountBlock>,
    /// A write that failed.
    pub write_failure: Option<&'a WriteFailure>,
    /// What others do to the Secret.
    pub contest: Option<&'a Contest>,
    /// Another writer has changed or deleted the Secret, and that isn't put right yet.
    pub damaged: bool,
    /// What bounds the calls that no schedule asks for.
    pub before: Before,
}
