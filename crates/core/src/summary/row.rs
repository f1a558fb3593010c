//! Summary of one VideoAccessToken.

use crate::clock::Timestamp;
use serde::Serialize;
use std::cmp::Ordering;
use videotoken_api::condition::ConditionStatus;
use videotoken_api::video_access_token::{VideoAccessToken, VideoAccessTokenStatus};
use videotoken_api::wire_time;

/// State of a VideoAccessToken: the first of these that applies, the most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum State {
    /// The token in the Secret has expired.
    Expired,
    /// A user or an administrator must change something.
    Stalled,
    /// The last attempt failed, or the account is blocked. The operator retries.
    Failing,
    /// There is no token yet, or another client changed it.
    Pending,
    /// The Secret contains a valid token, and there is no problem.
    Ready,
}

impl State {
    /// States, the most urgent first.
    pub const ALL: [Self; 5] = [Self::Expired, Self::Stalled, Self::Failing, Self::Pending, Self::Ready];

    /// Returns the state from the conditions Ready and Stalled and from the failures. It does not depend on the time.
    pub fn from_conditions(ready: bool, stalled: bool, failing: bool) -> Self {
        match (stalled, failing, ready) {
            (true, _, _) => Self::Stalled,
            (false, true, _) => Self::Failing,
            (false, false, false) => Self::Pending,
            (false, false, true) => Self::Ready,
        }
    }

    /// Returns the name of the state.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "Expired",
            Self::Stalled => "Stalled",
            Self::Failing => "Failing",
            Self::Pending => "Pending",
            Self::Ready => "Ready",
        }
    }
}

/// Summary of a VideoAccessToken in plain values, from an object or from a part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenSummary {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// State that the status reports. For the state at a time, see [`TokenSummary::state`].
    #[serde(skip)]
    pub reported_state: State,
    /// Reason of the state in CamelCase; empty if it is unknown.
    pub reason: String,
    /// True if `spec.suspend` stops issuances.
    pub suspended: bool,
    /// Provider as `Kind/name`.
    pub provider: String,
    /// Name of the Secret.
    pub secret_name: String,
    /// Issue time of the token.
    #[serde(skip_serializing_if = "Option::is_none", with = "wire_time::option")]
    pub issued_at: Option<Timestamp>,
    /// Expiry of the token.
    #[serde(skip_serializing_if = "Option::is_none", with = "wire_time::option")]
    pub expires_at: Option<Timestamp>,
    /// Time of the renewal.
    #[serde(skip_serializing_if = "Option::is_none", with = "wire_time::option")]
    pub renew_at: Option<Timestamp>,
    /// Time of the next attempt after a failure.
    #[serde(skip_serializing_if = "Option::is_none", with = "wire_time::option")]
    pub next_attempt_at: Option<Timestamp>,
    /// Creation time.
    #[serde(skip_serializing_if = "Option::is_none", with = "wire_time::option")]
    pub created_at: Option<Timestamp>,
}

/// Summary at one time, in the form of `-o json` and `-o yaml`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenSummaryAt<'a> {
    /// State at that time.
    pub state: State,
    /// Other fields.
    #[serde(flatten)]
    pub row: &'a TokenSummary,
    /// Remaining part of the token's lifetime, 0 to 1 in thousandths.
    #[serde(rename = "lifeLeft", skip_serializing_if = "Option::is_none")]
    pub lifetime_left: Option<f64>,
}

/// Reasons of `Issuing` that are not failures.
const IN_PROGRESS_REASONS: [&str; 2] = ["Issuing", "WaitingForBudget"];

/// A condition of a status. The default is a missing condition.
#[derive(Clone, Copy, Debug, Default)]
pub struct ConditionSummary<'a> {
    /// True if its status is `True`.
    pub holds: bool,
    /// Reason; empty if it is missing.
    pub reason: &'a str,
}

/// Facts from a status.
#[derive(Clone, Copy, Debug, Default)]
pub struct StatusSummary<'a> {
    /// Ready, Issuing, Stalled.
    pub conditions: [ConditionSummary<'a>; 3],
    /// Reason of the last failed attempt.
    pub failed: Option<&'a str>,
    /// `spec.suspend`.
    pub suspended: bool,
}

impl<'a> StatusSummary<'a> {
    /// Returns the state that the status reports, and its reason.
    pub fn state(&self) -> (State, &'a str) {
        let [ready, issuing, stalled] = self.conditions;
        let is_blocked = issuing.holds && !IN_PROGRESS_REASONS.contains(&issuing.reason);
        let state = State::from_conditions(ready.holds, stalled.holds, self.failed.is_some() || is_blocked);
        let reason = match state {
            State::Stalled => stalled.reason,
            State::Failing if is_blocked => issuing.reason,
            State::Failing => self.failed.filter(|reason| !reason.is_empty()).unwrap_or(ready.reason),
            _ if self.suspended => "Suspended",
            // a valid token that waits for a grant
            _ if issuing.holds => issuing.reason,
            _ => ready.reason,
        };
        (state, reason)
    }
}

impl TokenSummary {
    /// Creates a summary from a status, without namespace and name.
    pub fn from_status(status: &VideoAccessTokenStatus, suspended: bool) -> Self {
        let condition = |type_: &str| {
            let found = status.conditions.iter().find(|condition| condition.type_ == type_);
            found.map_or(ConditionSummary::default(), |found| ConditionSummary {
                holds: found.status == ConditionStatus::True,
                reason: &found.reason,
            })
        };
        let failed = status.last_failure.as_ref().map_or("", |failure| &failure.reason);
        let summary = StatusSummary {
            conditions: ["Ready", "Issuing", "Stalled"].map(condition),
            failed: (status.failed_attempts > 0).then_some(failed),
            suspended,
        };
        let (reported_state, reason) = summary.state();
        Self {
            namespace: String::new(),
            name: String::new(),
            reported_state,
            reason: reason.to_owned(),
            suspended,
            provider: status.provider.clone().unwrap_or_default(),
            secret_name: status.secret_name.clone().unwrap_or_default(),
            issued_at: status.issued_at,
            expires_at: status.expires_at,
            renew_at: status.renew_at,
            next_attempt_at: status
                .held_until
                .or_else(|| status.last_failure.as_ref().and_then(|failure| failure.next_attempt_at)),
            created_at: None,
        }
    }

    /// Returns the state at `now`.
    pub fn state(&self, now: Timestamp) -> State {
        if self.expires_at.is_some_and(|expires_at| expires_at <= now) { State::Expired } else { self.reported_state }
    }

    /// Returns the remaining part of the token's lifetime, 0 to 1. `None`: the lifetime is unknown.
    pub fn lifetime_left(&self, now: Timestamp) -> Option<f64> {
        let (issued_at, expires_at) = (self.issued_at?, self.expires_at?);
        let lifetime = expires_at - issued_at;
        let (left, lifetime) = ((expires_at - now).as_seconds_f64(), lifetime.as_seconds_f64());
        Some(if lifetime > 0.0 { (left / lifetime).clamp(0.0, 1.0) } else { 0.0 })
    }

    /// Returns the summary at `now` for serialisation.
    pub fn at(&self, now: Timestamp) -> TokenSummaryAt<'_> {
        let thousandths = |share: f64| (share * 1000.0).round() / 1000.0;
        TokenSummaryAt { state: self.state(now), row: self, lifetime_left: self.lifetime_left(now).map(thousandths) }
    }

    /// Compares by state, then by expiry with missing tokens first, then by creation time.
    pub fn by_urgency(&self, other: &Self, now: Timestamp) -> Ordering {
        let key = |row: &Self| (row.state(now), row.expires_at, row.created_at);
        key(self)
            .cmp(&key(other))
            .then_with(|| self.namespace.cmp(&other.namespace))
            .then_with(|| self.name.cmp(&other.name))
    }
}

impl From<&VideoAccessToken> for TokenSummary {
    fn from(token: &VideoAccessToken) -> Self {
        let meta = &token.metadata;
        let reference = &token.spec.provider_ref;
        let status = token.status.clone().unwrap_or_default();
        let row = Self::from_status(&status, token.spec.suspend);
        let or = |text: String, otherwise: String| if text.is_empty() { otherwise } else { text };
        Self {
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            provider: or(row.provider.clone(), format!("{}/{}", reference.kind.as_str(), reference.name)),
            secret_name: or(row.secret_name.clone(), token.secret_name().to_owned()),
            created_at: meta.creation_timestamp.as_ref().and_then(|at| Timestamp::from_timestamp(at.0.as_second(), 0)),
            ..row
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::tests::at;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn token(suspend: bool, status: &Value) -> TokenSummary {
        let object = json!({"apiVersion": "videotoken.dev/v1alpha1", "kind": "VideoAccessToken",
            "metadata": {"namespace": "cinema", "name": "lobby", "creationTimestamp": wire_time::text(at(0))},
            "spec": {"providerRef": {"name": "p"}, "scope": {}, "suspend": suspend}, "status": status});
        TokenSummary::from(&serde_json::from_value::<VideoAccessToken>(object).unwrap())
    }

    fn condition(type_: &str, holds: bool, reason: &str) -> Value {
        json!({"type": type_, "status": if holds { "True" } else { "False" }, "reason": reason})
    }

    fn lifetime(issued: i64, expires: i64, conditions: Vec<Value>, more: &Value) -> Value {
        let mut status = json!({"issuedAt": wire_time::text(at(issued)), "expiresAt": wire_time::text(at(expires)),
            "conditions": Value::from(conditions)});
        status.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        status
    }

    #[test]
    fn what_holds_the_account_back_tells_the_next_attempt() {
        let [failed, held] = ["2026-01-01T00:00:05Z", "2026-01-01T00:15:00Z"];
        let failure = json!({"reason": "Unauthorized", "nextAttemptAt": failed});
        for (status, next) in [
            (json!({"lastFailure": failure}), Some(failed)),
            (json!({"lastFailure": failure, "heldUntil": held}), Some(held)),
            (json!({"heldUntil": held}), Some(held)),
            (json!({}), None),
        ] {
            let row = TokenSummary::from_status(&serde_json::from_value(status.clone()).unwrap(), false);
            assert_eq!(row.next_attempt_at.map(wire_time::text).as_deref(), next, "{status}");
        }
    }

    #[test]
    #[allow(clippy::too_many_lines)] // a table
    fn a_state_is_the_first_that_holds_and_its_reason_is_of_what_is_wrong() {
        let ready = condition("Ready", true, "TokenIssued");
        let expired = condition("Ready", false, "Expired");
        let pending = condition("Ready", false, "Pending");
        let stalled = condition("Stalled", true, "CredentialsMissing");
        let fine = condition("Stalled", false, "AsExpected");
        let issuing = |reason| condition("Issuing", true, reason);
        let failure = json!({"failedAttempts": 2, "lastFailure": {"reason": "Timeout"}});
        let nothing = json!({});
        for (what, suspend, status, now, state, reason) in [
            ("new", false, json!({"observedGeneration": -1}), 0, State::Pending, ""),
            ("first issue", false, json!({"conditions": [pending]}), 0, State::Pending, "Pending"),
            (
                "queued",
                false,
                json!({"conditions": [pending, issuing("WaitingForBudget")]}),
                0,
                State::Pending,
                "WaitingForBudget",
            ),
            ("valid", false, lifetime(0, 100, vec![ready.clone(), fine], &nothing), 50, State::Ready, "TokenIssued"),
            ("valid, suspended", true, lifetime(0, 100, vec![ready.clone()], &nothing), 50, State::Ready, "Suspended"),
            (
                "expired while suspended",
                true,
                lifetime(0, 100, vec![expired.clone()], &nothing),
                150,
                State::Expired,
                "Suspended",
            ),
            (
                "waits for a grant",
                false,
                lifetime(0, 100, vec![ready.clone(), issuing("WaitingForBudget")], &nothing),
                50,
                State::Ready,
                "WaitingForBudget",
            ),
            (
                "failing",
                false,
                lifetime(0, 100, vec![ready.clone(), issuing("Timeout")], &failure),
                99,
                State::Failing,
                "Timeout",
            ),
            (
                "tried again now",
                false,
                lifetime(0, 100, vec![ready.clone(), issuing("Issuing")], &failure),
                99,
                State::Failing,
                "Timeout",
            ),
            (
                "the account waits",
                false,
                lifetime(0, 100, vec![ready.clone(), issuing("CredentialRejected")], &nothing),
                99,
                State::Failing,
                "CredentialRejected",
            ),
            (
                "failed until its end",
                false,
                lifetime(0, 100, vec![expired.clone(), issuing("Timeout")], &failure),
                100,
                State::Expired,
                "Timeout",
            ),
            (
                "stalled",
                false,
                lifetime(0, 100, vec![ready.clone(), stalled.clone()], &failure),
                99,
                State::Stalled,
                "CredentialsMissing",
            ),
            (
                "stalled until its end",
                false,
                lifetime(0, 100, vec![expired.clone(), stalled], &nothing),
                101,
                State::Expired,
                "CredentialsMissing",
            ),
            (
                "expired, not reported",
                false,
                lifetime(0, 100, vec![ready], &nothing),
                100,
                State::Expired,
                "TokenIssued",
            ),
            (
                "lost",
                false,
                lifetime(0, 100, vec![condition("Ready", false, "TokenLost"), issuing("Issuing")], &nothing),
                50,
                State::Pending,
                "Issuing",
            ),
        ] {
            let row = token(suspend, &status);
            assert_eq!((row.state(at(now)), &*row.reason), (state, reason), "{what}");
        }
    }

    #[test]
    fn what_the_operator_has_not_told_yet_is_read_from_the_spec() {
        let row = token(false, &json!({}));
        assert_eq!((&*row.provider, &*row.secret_name), ("TokenProvider/p", "lobby"));
        let row = token(false, &json!({"provider": "ClusterTokenProvider/q", "secretName": "s"}));
        assert_eq!((&*row.provider, &*row.secret_name), ("ClusterTokenProvider/q", "s"));
    }

    #[test]
    fn the_share_of_life_left_lies_between_nothing_and_all() {
        for (issued, expires, now, left) in [
            (0, 100, 0, 1.0),
            (0, 100, 25, 0.75),
            (0, 100, 100, 0.0),
            (0, 100, 1000, 0.0),
            (0, 100, -5, 1.0), // its issuer's clock is ahead
            (100, 100, 50, 0.0),
            (200, 100, 50, 0.0),
        ] {
            let row = token(false, &lifetime(issued, expires, vec![], &json!({})));
            let found = row.lifetime_left(at(now)).unwrap();
            assert!((found - left).abs() < 1e-9, "{issued} to {expires} at {now}: {found}");
        }
        assert_eq!(token(false, &json!({"expiresAt": wire_time::text(at(5))})).lifetime_left(at(0)), None);
    }

    #[test]
    fn the_most_urgent_comes_first() {
        let row = |name: &str, reported_state, created: i64, expires: Option<i64>| TokenSummary {
            name: name.to_owned(),
            reported_state,
            created_at: Some(at(created)),
            expires_at: expires.map(at),
            ..token(false, &json!({}))
        };
        let sorted = [
            row("expired long ago", State::Failing, 0, Some(-500)),
            row("expired", State::Ready, 0, Some(-5)),
            row("stalled without a token", State::Stalled, 0, None),
            row("stalled", State::Stalled, 0, Some(900)),
            row("failing, near its end", State::Failing, 0, Some(10)),
            row("failing", State::Failing, 0, Some(100)),
            row("waits for long", State::Pending, -9, None),
            row("waits", State::Pending, -5, None),
            row("ready a", State::Ready, 0, Some(50)),
            row("ready b", State::Ready, 0, Some(50)),
            row("ready c", State::Ready, 0, Some(5000)),
        ];
        let mut rows = sorted.to_vec();
        rows.reverse();
        rows.sort_by(|a, b| a.by_urgency(b, at(0)));
        assert_eq!(rows, sorted);
    }

    #[test]
    fn a_row_is_written_as_a_script_reads_it() {
        let status = lifetime(
            0,
            3600,
            vec![condition("Ready", true, "TokenIssued")],
            &json!({"renewAt": wire_time::text(at(2400))}),
        );
        let row = token(false, &status);
        let expected = json!({"namespace": "cinema", "name": "lobby", "state": "Ready", "reason": "TokenIssued",
            "suspended": false, "provider": "TokenProvider/p", "secretName": "lobby", "issuedAt": "2026-09-21T14:13:20Z",
            "expiresAt": "2026-09-21T15:13:20Z", "renewAt": "2026-09-21T14:53:20Z", "createdAt": "2026-09-21T14:13:20Z",
            "lifeLeft": 0.667});
        assert_eq!(serde_json::to_value(row.at(at(1200))).unwrap(), expected);
    }

    proptest! {
        #[test]
        fn urgency_is_an_order(rows in proptest::collection::vec((0..5usize, any::<Option<i8>>(), any::<i8>()), 0..20)) {
            let mut rows: Vec<_> = rows.into_iter().map(|(reported_state, expires, created)| TokenSummary {
                reported_state: State::ALL[reported_state],
                expires_at: expires.map(|seconds| at(seconds.into())),
                created_at: Some(at(created.into())),
                ..token(false, &json!({}))
            }).collect();
            rows.sort_by(|a, b| a.by_urgency(b, at(0)));
            prop_assert!(rows.iter().map(|row| row.state(at(0))).is_sorted());
        }
    }
}
