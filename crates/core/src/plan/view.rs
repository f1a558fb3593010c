//! The input of a decision: the known state of a VideoAccessToken at one time.

use super::contest::{Contest, Version};
use super::facts::{Failure, SecretFacts, StatusFacts, Uid};
use super::hash::Hash;
use super::renewal::{self, Renewal};
use super::secret::NotWritable;
use super::unplanned::UnplannedCalls;
use crate::clock::Timestamp;
use chrono::TimeDelta;
use std::borrow::Cow;
use videotoken_api::request::End;
use videotoken_api::video_access_token::RenewBefore;

/// Cause for which a VideoAccessToken is stalled, and the time of the next check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Reason in CamelCase.
    pub reason: Cow<'static, str>,
    /// Message with the field and the required action.
    pub message: String,
    /// Time until the next check without an event. `None`: only a change triggers a check.
    pub retry_after: Option<TimeDelta>,
}

impl Refusal {
    /// Creates a refusal that only a change ends.
    pub fn new(reason: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { reason: reason.into(), message: message.into(), retry_after: None }
    }

    /// Sets the time until the next check, for changes that no watch reports.
    #[must_use]
    pub fn retry_after(mut self, after: TimeDelta) -> Self {
        self.retry_after = Some(after);
        self
    }
}

/// The token that the specs of the VideoAccessToken and its provider declare.
#[derive(Clone, Debug)]
pub struct DesiredToken {
    /// Hash of the token request.
    pub request: Hash,
    /// Hash of the spec that determines the form of the Secret.
    pub render: Hash,
    /// Time of the renewal before the expiry.
    pub renew_before: RenewBefore,
    /// True if `spec.suspend` stops all calls.
    pub suspend: bool,
    /// Maximum lifetime of a token of this request. A longer lifetime in the Secret is not trusted.
    pub max_lifetime: TimeDelta,
    /// Fixed end of the request. No token is issued after it.
    pub ends_at: Option<End>,
}

/// Maximum time between the expiry of the last token and the fixed end. A renewal would produce a token with the same
/// expiry.
const LAST: TimeDelta = TimeDelta::seconds(10);

impl DesiredToken {
    /// Returns the renewal of a token. The last token before a fixed end is not renewed: its renewal is due at that
    /// end. A token that the provider returned again is renewed at its expiry.
    pub fn renewal(&self, (issued_at, expires_at): (Timestamp, Timestamp), returned_again: bool, uid: Uid) -> Renewal {
        let plan = renewal::plan(issued_at, expires_at, self.renew_before, uid.0);
        match &self.ends_at {
            Some(end) if expires_at + LAST >= end.at => Renewal { due: end.at, urgent: end.at, ..plan },
            _ if returned_again => Renewal { due: expires_at, urgent: expires_at, ..plan },
            _ => plan,
        }
    }
}

/// Secret with the declared name.
#[derive(Clone, Copy, Debug)]
pub enum SecretView<'a> {
    /// The watch reports no managed Secret. A GET of the metadata shows whether a Secret exists.
    Unseen,
    /// The API server reported that no Secret exists.
    Absent,
    /// The API server reported a Secret that is not managed by the operator.
    NotOwned,
    /// A managed Secret.
    Known {
        /// Metadata of the Secret.
        facts: &'a SecretFacts,
        /// Known state of its data.
        data: DataView,
        /// True if the VideoAccessToken that owned the Secret no longer exists.
        owner_gone: bool,
    },
}

impl SecretView<'_> {
    /// Returns the version of the managed Secret.
    pub fn version(&self) -> Option<Version> {
        match self {
            Self::Known { facts, .. } => Some(facts.version()),
            Self::Unseen | Self::Absent | Self::NotOwned => None,
        }
    }
}

/// Known state of the data of a Secret. Watches contain only metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataView {
    /// The data is as the operator wrote it.
    Verified,
    /// Another client may have changed the data. A GET of the Secret shows it.
    Unverified,
    /// The token is unchanged, other data is not.
    Altered,
    /// The token is lost or altered.
    Lost,
    /// The Secret can't be written.
    NotWritable(NotWritable),
}

/// An issued token that is not stored yet.
#[derive(Clone, Debug)]
pub struct UnsavedTokenView<'a> {
    /// Hash of the token request.
    pub request: Hash,
    /// Forced renewal that the token serves.
    pub renew_request: Option<&'a str>,
    /// Issue time.
    pub issued_at: Timestamp,
    /// Expiry.
    pub expires_at: Timestamp,
    /// True if the provider returned the token that the Secret already contained.
    pub returned_again: bool,
}

/// State of the VideoAccessToken in the queue of its account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueState {
    /// The request is not in the queue.
    None,
    /// Waiting.
    Waiting(Wait),
    /// Granted: it may call now.
    Granted,
    /// The request is in the queue of an account that the object no longer uses.
    OtherAccount,
}

/// A wait in the queue of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// Start of the wait.
    pub since: Timestamp,
    /// True if more than [`CROWD`] requests of the account wait.
    pub in_crowd: bool,
}

/// Number of waiting requests of an account above which only the status of the provider reports the wait. A status
/// write for each VideoAccessToken would load the API server while it is the bottleneck (P04).
pub const CROWD: usize = 100;

/// Block of a whole account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountBlock {
    /// Reason in CamelCase.
    pub reason: &'static str,
    /// Message for conditions.
    pub message: String,
    /// End of the block, if it is known and lasts for minutes.
    pub until: Option<Timestamp>,
}

/// A failed write of the Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteFailure {
    /// Reason in CamelCase.
    pub reason: &'static str,
    /// Message with the answer of the API server.
    pub message: String,
    /// Time of the next write.
    pub next: Timestamp,
    /// True if the failure needs a change by a user or an administrator.
    pub stalled: bool,
    /// Version of the Secret that caused the failure, `Some(None)` if no Secret existed; the failure ends when that
    /// changes. `None`: the Secret is not the cause.
    pub met: Option<Option<Version>>,
    /// Time of the next write after such a change.
    pub soonest: Timestamp,
}

impl WriteFailure {
    /// Returns the failure for the current version of the Secret.
    #[must_use]
    pub fn for_version(mut self, secret: Option<Version>) -> Self {
        if self.met.is_some_and(|met| met != secret) {
            self.next = self.soonest;
        }
        self
    }
}

/// Maximum wait of a write failure. A later time was computed before the clock was set back.
const LONGEST_TROUBLE: TimeDelta = TimeDelta::minutes(11);

impl WriteFailure {
    /// Returns true if the operator must not write yet.
    pub fn holds(&self, now: Timestamp) -> bool {
        now < self.next && self.next - now <= LONGEST_TROUBLE
    }
}

/// Past events that limit the next call.
#[derive(Clone, Copy, Debug, Default)]
pub struct Before {
    /// Past unplanned calls.
    pub unplanned_calls: UnplannedCalls,
    /// `metadata.generation`.
    pub generation: i64,
    /// True if the last failure does not count, because the inputs changed.
    pub excused: bool,
    /// True if the last failure is only known from the status.
    pub restored: bool,
}

/// Complete input of a decision.
#[derive(Debug)]
pub struct DecisionInput<'a> {
    /// UID of the VideoAccessToken.
    pub uid: Uid,
    /// True if the VideoAccessToken is being deleted.
    pub deleting: bool,
    /// Value of the annotation that forces a renewal.
    pub renew_requested_at: Option<&'a str>,
    /// Facts from its status.
    pub status: &'a StatusFacts,
    /// The desired token, or the cause for which it can't be issued. `None`: its provider is not known yet.
    pub desired: Option<Result<DesiredToken, Refusal>>,
    /// The Secret with the declared name.
    pub secret: SecretView<'a>,
    /// The managed Secret with the previous name, after a rename.
    pub old_secret: Option<&'a SecretFacts>,
    /// An issued token that is not stored yet.
    pub unsaved: Option<UnsavedTokenView<'a>>,
    /// Last failed attempt, if it still counts.
    pub failure: Option<&'a Failure>,
    /// State in the queue of its account.
    pub queue: QueueState,
    /// Block of the whole account.
    pub block: Option<AccountBlock>,
    /// Failed write of the Secret.
    pub write_failure: Option<&'a WriteFailure>,
    /// Changes of the Secret by other clients.
    pub contest: Option<&'a Contest>,
    /// True if another client changed or deleted the Secret and the operator has not repaired it.
    pub damaged: bool,
    /// Past events that limit unplanned calls.
    pub before: Before,
}
