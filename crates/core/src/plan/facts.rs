//! What memory keeps of an object and of its Secret: only what a decision needs, in numbers where it can.

use super::hash::Hash;
use super::reason::Reason;
use crate::clock::Timestamp;
use crate::issue::{Class, Excess};
use std::collections::BTreeMap;
use videotoken_api::wire_time;

/// An object's UID as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Uid(pub u128);

impl Uid {
    /// Reads a UUID; any other text becomes a hash of itself, so that a UID never fails to be one.
    pub fn parse(text: &str) -> Self {
        let hex: String = text.chars().filter(|c| *c != '-').collect();
        let number = (hex.len() == 32).then(|| u128::from_str_radix(&hex, 16).ok()).flatten();
        Self(number.unwrap_or_else(|| {
            let hash = Hash::of([text.as_bytes()]);
            u128::from(hash.short()) << 64 | u128::from(hash.short().rotate_left(32))
        }))
    }
}

/// Seconds since the epoch: what memory keeps of a time. 0 is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Seconds(pub i64);

impl Seconds {
    /// From an RFC 3339 text; none if it isn't one.
    pub fn parse(text: &str) -> Self {
        wire_time::parse(text).into()
    }

    /// The time, if there is one.
    pub fn time(self) -> Option<Timestamp> {
        (self.0 != 0).then(|| Timestamp::from_timestamp(self.0, 0)).flatten()
    }
}

impl From<Timestamp> for Seconds {
    fn from(time: Timestamp) -> Self {
        Self(time.timestamp())
    }
}

impl From<Option<Timestamp>> for Seconds {
    fn from(time: Option<Timestamp>) -> Self {
        time.map_or(Self::default(), Self::from)
    }
}

/// What the metadata of a Secret says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretFacts {
    /// The Secret's own UID.
    pub uid: Uid,
    /// The Secret's own UID as a text, for preconditions.
    pub uid_text: Box<str>,
    /// Its resourceVersion. A decimal number in every API server that stores in etcd.
    pub resource_version: u64,
    /// The `VideoAccessToken` that it was written for.
    pub owner: Option<Uid>,
    /// When its token was issued.
    pub issued_at: Seconds,
    /// When its token expires.
    pub expires_at: Seconds,
    /// What was asked of the provider.
    pub request: Option<Hash>,
    /// How the Secret was shaped.
    pub render: Option<Hash>,
    /// Data and annotations together.
    pub content: Option<Hash>,
    /// The forced renewal that it served.
    pub renew_request: Option<Box<str>>,
    /// When `previousToken` expires, if there is one.
    pub previous_expires_at: Seconds,
    /// It carries the label that the operator's watch selects by.
    pub labelled: bool,
    /// It is being deleted.
    pub deleting: bool,
    /// Another object than the one that it was written for is its controller.
    pub controlled: bool,
}

impl SecretFacts {
    /// The Secret as it stands now: another version may be another matter.
    pub fn version(&self) -> (Uid, u64) {
        (self.uid, self.resource_version)
    }

    /// Its token's whole life is known.
    pub fn life(&self) -> Option<(Timestamp, Timestamp)> {
        Some((self.issued_at.time()?, self.expires_at.time()?))
    }
}

/// The names of the annotations, in the order in which the content hash takes them.
pub(super) const HASHED: [&str; 8] = {
    use videotoken_api::names as a;
    [
        a::OWNER_UID,
        a::ISSUED_AT,
        a::EXPIRES_AT,
        a::TOKEN_KEY,
        a::REQUEST_HASH,
        a::RENDER_HASH,
        a::RENEW_REQUEST,
        a::PREVIOUS_EXPIRES_AT,
    ]
};

/// Reads a Secret's metadata. Never fails: what is missing or garbled is absent.
pub fn secret_facts(meta: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) -> SecretFacts {
    use videotoken_api::names as a;
    let none = BTreeMap::new();
    let annotations = meta.annotations.as_ref().unwrap_or(&none);
    let get = |name: &str| annotations.get(name).map(String::as_str);
    let seconds = |name: &str| get(name).map_or(Seconds::default(), Seconds::parse);
    let hash = |name: &str| get(name).and_then(Hash::parse);
    SecretFacts {
        uid: Uid::parse(meta.uid.as_deref().unwrap_or_default()),
        uid_text: meta.uid.as_deref().unwrap_or_default().into(),
        resource_version: resource_version(meta.resource_version.as_deref()),
        owner: get(a::OWNER_UID).map(Uid::parse),
        issued_at: seconds(a::ISSUED_AT),
        expires_at: seconds(a::EXPIRES_AT),
        request: hash(a::REQUEST_HASH),
        render: hash(a::RENDER_HASH),
        content: hash(a::CONTENT_HASH),
        renew_request: get(a::RENEW_REQUEST).map(Into::into),
        previous_expires_at: seconds(a::PREVIOUS_EXPIRES_AT),
        labelled: meta.labels.as_ref().and_then(|l| l.get(a::MANAGED_BY)).is_some_and(|v| v == a::OPERATOR),
        deleting: meta.deletion_timestamp.is_some(),
        controlled: meta
            .owner_references
            .iter()
            .flatten()
            .any(|owner| owner.controller == Some(true) && get(a::OWNER_UID) != Some(owner.uid.as_str())),
    }
}

/// A resourceVersion as a number; 0 for none, and a hash for what isn't a number (no API server known gives one).
pub fn resource_version(text: Option<&str>) -> u64 {
    text.map_or(0, |text| text.parse().unwrap_or_else(|_| Hash::of([text.as_bytes()]).short()))
}

/// What a status says, as far as a decision needs it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct StatusFacts {
    /// `observedGeneration`; -1 on a new object.
    pub observed_generation: i64,
    /// Of the whole status, so that an unchanged one is not written again.
    pub hash: u64,
    /// Ready, Issuing, Stalled: what they say and since when.
    pub conditions: [ConditionFacts; 3],
    /// Ready's reason says that the provider didn't tell the expiry.
    pub expiry_assumed: bool,
    /// What [`OVERPRIVILEGED`](super::status::OVERPRIVILEGED) reports while it holds.
    pub excess: Option<Box<Excess>>,
    /// `expiresAt`.
    pub expires_at: Seconds,
    /// `renewAt`.
    pub renew_at: Seconds,
    /// `secretResourceVersion`.
    pub secret_version: u64,
    /// `secretName`, if it isn't the one that the spec names now.
    pub other_secret: Option<Box<str>>,
    /// `restartedFor`, or `issuedAt` where nothing was restarted yet.
    pub restarted_for: Seconds,
    /// `issuances`.
    pub issuances: u32,
    /// `failedAttempts`.
    pub failed_attempts: u32,
    /// `lastFailure`.
    pub last_failure: Option<Box<Failure>>,
}

/// One condition, without its message.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ConditionFacts {
    /// True, False, or not there.
    pub status: Option<bool>,
    /// Its reason.
    pub reason: Reason,
    /// `lastTransitionTime`.
    pub since: Seconds,
}

/// The last failed attempt, as the status tells it and as memory counts it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// When it failed.
    pub time: Timestamp,
    /// What it means for the next attempt.
    pub class: Class,
    /// One CamelCase word.
    pub reason: String,
    /// What happened, fit for a status.
    pub message: String,
    /// The provider's id of the request.
    pub request_id: Option<String>,
    /// No attempt before this.
    pub next_attempt_at: Option<Timestamp>,
}

impl Failure {
    /// It holds up the whole account, which remembers it: the object waits in the queue, not by itself.
    pub fn is_of_account(&self) -> bool {
        super::issue_failure::is_of_account(self.class)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_is_a_uid() {
        assert_eq!(Uid::parse("00000000-0000-0000-0000-0000000000ff"), Uid(255));
        assert_ne!(Uid::parse("a"), Uid::parse("b"));
        assert_ne!(Uid::parse("zz000000-0000-0000-0000-0000000000ff"), Uid(255));
    }

    #[test]
    fn garbled_metadata_is_absent_not_an_error() {
        let meta = k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
            annotations: Some(
                crate::plan::facts::HASHED.iter().map(|name| ((*name).to_owned(), "garbage".to_owned())).collect(),
            ),
            ..Default::default()
        };
        let facts = secret_facts(&meta);
        assert_eq!((facts.life(), facts.request, facts.render, facts.content), (None, None, None, None));
    }
}
