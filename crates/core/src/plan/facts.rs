//! The facts about a VideoAccessToken and its Secret that memory keeps: only what a decision needs, as numbers where
//! possible.

use super::hash::Hash;
use crate::clock::Timestamp;
use crate::issue::{Class, Excess};
use std::collections::BTreeMap;
use videotoken_api::wire_time;

/// UID of an object, as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Uid(pub u128);

impl Uid {
    /// Reads a UUID. Any other text becomes a hash, so that this function can't fail.
    pub fn parse(text: &str) -> Self {
        let hex: String = text.chars().filter(|c| *c != '-').collect();
        let number = (hex.len() == 32).then(|| u128::from_str_radix(&hex, 16).ok()).flatten();
        Self(number.unwrap_or_else(|| {
            let hash = Hash::of([text.as_bytes()]);
            u128::from(hash.short()) << 64 | u128::from(hash.short().rotate_left(32))
        }))
    }
}

/// A time in seconds since 1970; 0 is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Seconds(pub i64);

impl Seconds {
    /// Reads an RFC 3339 time. Any other text becomes none.
    pub fn parse(text: &str) -> Self {
        wire_time::parse(text).into()
    }

    /// Returns the time, if there is one.
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

/// Facts from the metadata of a Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)] // facts that are independent of each other
pub struct SecretFacts {
    /// UID of the Secret.
    pub uid: Uid,
    /// UID of the Secret as a string, for preconditions.
    pub uid_text: Box<str>,
    /// resourceVersion, which is a decimal number in every API server that stores in etcd.
    pub resource_version: u64,
    /// UID of the `VideoAccessToken` for which the Secret was written.
    pub owner: Option<Uid>,
    /// Issue time of the token.
    pub issued_at: Seconds,
    /// Expiry of the token.
    pub expires_at: Seconds,
    /// Hash of the token request.
    pub request: Option<Hash>,
    /// Hash of the spec that determines the form of the Secret.
    pub render: Option<Hash>,
    /// Hash of the data and the operator's annotations.
    pub content: Option<Hash>,
    /// Forced renewal that the token served.
    pub renew_request: Option<Box<str>>,
    /// Expiry of `previousToken`, if there is one.
    pub previous_expires_at: Seconds,
    /// True if the provider returned the token that the Secret already contained. Its renewal is due at its expiry.
    pub returned_again: bool,
    /// True if the Secret has the label that the operator's watch selects.
    pub labelled: bool,
    /// True if the Secret is being deleted.
    pub deleting: bool,
    /// True if another object than the owner is the controller of the Secret.
    pub controlled: bool,
}

impl SecretFacts {
    /// Returns the version of the Secret.
    pub fn version(&self) -> (Uid, u64) {
        (self.uid, self.resource_version)
    }

    /// Returns the issue time and the expiry of the token, if both are known.
    pub fn lifetime(&self) -> Option<(Timestamp, Timestamp)> {
        Some((self.issued_at.time()?, self.expires_at.time()?))
    }
}

/// Names of the annotations in the content hash, in the order of hashing.
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

/// Reads the metadata of a Secret. Missing and invalid values are none; the function can't fail.
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
        returned_again: get(a::RETURNED_AGAIN) == Some("true"),
        labelled: meta.labels.as_ref().and_then(|l| l.get(a::MANAGED_BY)).is_some_and(|v| v == a::OPERATOR),
        deleting: meta.deletion_timestamp.is_some(),
        controlled: meta
            .owner_references
            .iter()
            .flatten()
            .any(|owner| owner.controller == Some(true) && get(a::OWNER_UID) != Some(owner.uid.as_str())),
    }
}

/// Returns a resourceVersion as a number: 0 for none, a hash for other texts, which no known API server returns.
pub fn resource_version(text: Option<&str>) -> u64 {
    text.map_or(0, |text| text.parse().unwrap_or_else(|_| Hash::of([text.as_bytes()]).short()))
}

/// Facts from the status of a VideoAccessToken.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct StatusFacts {
    /// `observedGeneration`; -1 for a new object.
    pub observed_generation: i64,
    /// Hash of the status, so that an unchanged status is not written again.
    pub hash: u64,
    /// Conditions Ready, Issuing and Stalled.
    pub conditions: [ConditionFacts; 3],
    /// True if the reason of Ready is `ExpiryAssumed`.
    pub expiry_assumed: bool,
    /// Excess permissions that [`OVERPRIVILEGED`](super::status::OVERPRIVILEGED) reports.
    pub excess: Option<Box<Excess>>,
    /// `expiresAt`.
    pub expires_at: Seconds,
    /// `renewAt`.
    pub renew_at: Seconds,
    /// `secretResourceVersion`.
    pub secret_version: u64,
    /// `secretName`, if the spec declares another name now.
    pub other_secret: Option<Box<str>>,
    /// `restartedFor`, or `issuedAt` before the first restart.
    pub restarted_for: Seconds,
    /// `issuances`.
    pub issuances: u32,
    /// `failedAttempts`.
    pub failed_attempts: u32,
    /// `lastFailure`.
    pub last_failure: Option<Box<Failure>>,
}

/// A condition without its message.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ConditionFacts {
    /// True, False, or missing.
    pub status: Option<bool>,
    /// Reason.
    pub reason: Box<str>,
    /// `lastTransitionTime`.
    pub since: Seconds,
}

/// Last failed attempt to issue a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Time of the failure.
    pub time: Timestamp,
    /// Failure class.
    pub class: Class,
    /// Reason in CamelCase.
    pub reason: String,
    /// Description without secrets, for a status.
    pub message: String,
    /// ID of the request at the token API.
    pub request_id: Option<String>,
    /// Time of the next attempt.
    pub next_attempt_at: Option<Timestamp>,
}

impl Failure {
    /// Returns true if the failure blocks the whole account: the VideoAccessToken then waits in the queue and has no
    /// back-off of its own.
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
        assert_eq!((facts.lifetime(), facts.request, facts.render, facts.content), (None, None, None, None));
    }
}
