//! One token's row.

use crate::clock::Timestamp;
use serde::Serialize;
use std::cmp::Ordering;
use videotoken_api::condition::ConditionStatus;
use videotoken_api::video_access_token::{VideoAccessToken, VideoAccessTokenStatus};
use videotoken_api::wire_time;

/// What a token counts as: the first of these that it is. In this order they need a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum State {
    /// The token in the Secret has expired.
    Expired,
    /// Something has to be changed first.
    Stalled,
    /// The last attempt to issue failed, or the account can't be called; it is tried again.
    Failing,
    /// There is no token yet, or another hand changed it.
    Pending,
    /// The Secret holds a live token, and nothing is wrong.
    Ready,
}

impl State {
    /// All of them, the most urgent first.
    pub const ALL: [Self; 5] = [Self::Expired, Self::Stalled, Self::Failing, Self::Pending, Self::Ready];

    /// What the status tells, whatever the time: from its conditions Ready and Stalled, and whether issuing fails.
    pub fn told(ready: bool, stalled: bool, failing: bool) -> Self {
        match (stalled, failing, ready) {
            (true, _, _) => Self::Stalled,
            (false, true, _) => Self::Failing,
            (false, false, false) => Self::Pending,
            (false, false, true) => Self::Ready,
        }
    }

    /// The word for it.
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

/// What there is to see of one token. Plain values: it can be made from an object, or from less.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// Its object's namespace.
    pub namespace: String,
    /// Its object's name.
    pub name: String,
    /// What the status tells. What it is at a time: [`Row::state`].
    #[serde(skip)]
    pub told: State,
    /// Why, in one CamelCase word: of what is wrong, if something is; empty where nothing is known.
    pub reason: String,
    /// `spec.suspend`: nothing is issued.
    pub suspended: bool,
    /// The provider, as kind/name.
    pub provider: String,
    /// The Secret's name.
    pub secret_name: String,
    /// When the token was asked for.
    #[serde(skip_serializing_if = "Option::is_none", with = "wire_time::option")]
    pub issued_at: Option<Timestamp>,
    /// When it expires.
    #[serde(skip_serializing_if = "Option::is_none", with = "wire_time::option")]
    pub expires_at: Option<Timestamp>,
    /// When its renewal is due.
    #[serde(skip_serializing_if = "Option::is_none", with = "wire_time::option")]
    pub renew_at: Option<Timestamp>,
    /// After a failure: no attempt before this.
    #[serde(skip_serializing_if = "Option::is_none", with = "wire_time::option")]
    pub next_attempt_at: Option<Timestamp>,
    /// When its object was created.
    #[serde(skip_serializing_if = "Option::is_none", with = "wire_time::option")]
    pub created_at: Option<Timestamp>,
}

/// A row as it is at one time; the shape of `-o json` and `-o yaml`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Shown<'a> {
    /// The state at that time.
    pub state: State,
    /// What else there is to see.
    #[serde(flatten)]
    pub row: &'a Row,
    /// The share of the token's life that is left, 0 to 1 in thousandths.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub life_left: Option<f64>,
}

/// Reasons of `Issuing` that are no failure: the token is on its way.
const ON_ITS_WAY: [&str; 2] = ["Issuing", "WaitingForBudget"];

/// One condition of a status. The default is one that isn't there.
#[derive(Clone, Copy, Debug, Default)]
pub struct ConditionSummary<'a> {
    /// Its status is `True`.
    pub holds: bool,
    /// Its reason; empty where there is none.
    pub reason: &'a str,
}

/// What a status says of a token.
#[derive(Clone, Copy, Debug, Default)]
pub struct StatusSummary<'a> {
    /// Ready, Issuing, Stalled.
    pub conditions: [ConditionSummary<'a>; 3],
    /// The last attempt failed, for this reason.
    pub failed: Option<&'a str>,
    /// `spec.suspend`.
    pub suspended: bool,
}

impl<'a> StatusSummary<'a> {
    /// Returns the state that the status reports, and why.
    pub fn state(&self) -> (State, &'a str) {
        let [ready, issuing, stalled] = self.conditions;
        let is_hindered = issuing.holds && !ON_ITS_WAY.contains(&issuing.reason);
        let state = State::told(ready.holds, stalled.holds, self.failed.is_some() || is_hindered);
        let reason = match state {
            State::Stalled => stalled.reason,
            State::Failing if is_hindered => issuing.reason,
            State::Failing => self.failed.filter(|reason| !reason.is_empty()).unwrap_or(ready.reason),
            _ if self.suspended => "Suspended",
            // a valid token that waits for a grant
            _ if issuing.holds => issuing.reason,
            _ => ready.reason,
        };
        (state, reason)
    }
}

impl Row {
    /// What a status tells; whose it is the caller knows.
    pub fn of_status(status: &VideoAccessTokenStatus, suspended: bool) -> Self {
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
        let (told, reason) = summary.state();
        Self {
            namespace: String::new(),
            name: String::new(),
            told,
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

    /// What it is at `now`.
    pub fn state(&self, now: Timestamp) -> State {
        if self.expires_at.is_some_and(|expires_at| expires_at <= now) { State::Expired } else { self.told }
    }

    /// The share of the token's life that is left, 0 to 1; none where its life isn't known.
    pub fn life_left(&self, now: Timestamp) -> Option<f64> {
        let (issued_at, expires_at) = (self.issued_at?, self.expires_at?);
        let life = expires_at - issued_at;
        let (left, life) = ((expires_at - now).as_seconds_f64(), life.as_seconds_f64());
        Some(if life > 0.0 { (left / life).clamp(0.0, 1.0) } else { 0.0 })
    }

    /// As it is at `now`, to be serialised.
    pub fn at(&self, now: Timestamp) -> Shown<'_> {
        let thousandths = |share: f64| (share * 1000.0).round() / 1000.0;
        Shown { state: self.state(now), row: self, life_left: self.life_left(now).map(thousandths) }
    }

    /// By state; then what has no token, the oldest first; then the one whose token ends first.
    pub fn by_urgency(&self, other: &Self, now: Timestamp) -> Ordering {
        let key = |row: &Self| (row.state(now), row.expires_at, row.created_at);
        key(self)
            .cmp(&key(other))
            .then_with(|| self.namespace.cmp(&other.namespace))
            .then_with(|| self.name.cmp(&other.name))
    }
}

impl From<&VideoAccessToken> for Row {
    fn from(token: &VideoAccessToken) -> Self {
        let meta = &token.metadata;
        let reference = &token.spec.provider_ref;
        let status = token.status.clone().unwrap_or_default();
        let row = Self::of_status(&status, token.spec.suspend);
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
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_timestamp(1_790_000_000 + seconds, 0).unwrap()
    }

    fn token(suspend: bool, status: &Value) -> Row {
        let object = json!({"apiVersion": "videotoken.dev/v1alpha1", "kind": "VideoAccessToken",
            "metadata": {"namespace": "cinema", "name": "lobby", "creationTimestamp": wire_time::text(at(0))},
            "spec": {"providerRef": {"name": "p"}, "scope": {}, "suspend": suspend}, "status": status});
        Row::from(&serde_json::from_value::<VideoAccessToken>(object).unwrap())
    }

    fn condition(type_: &str, holds: bool, reason: &str) -> Value {
        json!({"type": type_, "status": if holds { "True" } else { "False" }, "reason": reason})
    }

    fn life(issued: i64, expires: i64, conditions: Vec<Value>, more: &Value) -> Value {
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
            let row = Row::of_status(&serde_json::from_value(status.clone()).unwrap(), false);
            assert_eq!(row.next_attempt_at.map(wire_time::text).as_deref(), next, "{status}");
        }
    }

    #[test]
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
            ("live", false, life(0, 100, vec![ready.clone(), fine], &nothing), 50, State::Ready, "TokenIssued"),
            ("live, suspended", true, life(0, 100, vec![ready.clone()], &nothing), 50, State::Ready, "Suspended"),
            (
                "expired while suspended",
                true,
                life(0, 100, vec![expired.clone()], &nothing),
                150,
                State::Expired,
                "Suspended",
            ),
            (
                "its turn is near",
                false,
                life(0, 100, vec![ready.clone(), issuing("WaitingForBudget")], &nothing),
                50,
                State::Ready,
                "WaitingForBudget",
            ),
            (
                "failing",
                false,
                life(0, 100, vec![ready.clone(), issuing("Timeout")], &failure),
                99,
                State::Failing,
                "Timeout",
            ),
            (
                "tried again now",
                false,
                life(0, 100, vec![ready.clone(), issuing("Issuing")], &failure),
                99,
                State::Failing,
                "Timeout",
            ),
            (
                "the account waits",
                false,
                life(0, 100, vec![ready.clone(), issuing("CredentialRejected")], &nothing),
                99,
                State::Failing,
                "CredentialRejected",
            ),
            (
                "failed until its end",
                false,
                life(0, 100, vec![expired.clone(), issuing("Timeout")], &failure),
                100,
                State::Expired,
                "Timeout",
            ),
            (
                "stalled",
                false,
                life(0, 100, vec![ready.clone(), stalled.clone()], &failure),
                99,
                State::Stalled,
                "CredentialsMissing",
            ),
            (
                "stalled until its end",
                false,
                life(0, 100, vec![expired.clone(), stalled], &nothing),
                101,
                State::Expired,
                "CredentialsMissing",
            ),
            ("expired, untold", false, life(0, 100, vec![ready], &nothing), 100, State::Expired, "TokenIssued"),
            (
                "lost",
                false,
                life(0, 100, vec![condition("Ready", false, "TokenLost"), issuing("Issuing")], &nothing),
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
            let row = token(false, &life(issued, expires, vec![], &json!({})));
            let found = row.life_left(at(now)).unwrap();
            assert!((found - left).abs() < 1e-9, "{issued} to {expires} at {now}: {found}");
        }
        assert_eq!(token(false, &json!({"expiresAt": wire_time::text(at(5))})).life_left(at(0)), None);
    }

    #[test]
    fn the_most_urgent_comes_first() {
        let row = |name: &str, told, created: i64, expires: Option<i64>| Row {
            name: name.to_owned(),
            told,
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
        let status = life(
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
            let mut rows: Vec<_> = rows.into_iter().map(|(told, expires, created)| Row {
                told: State::ALL[told],
                expires_at: expires.map(|seconds| at(seconds.into())),
                created_at: Some(at(created.into())),
                ..token(false, &json!({}))
            }).collect();
            rows.sort_by(|a, b| a.by_urgency(b, at(0)));
            prop_assert!(rows.iter().map(|row| row.state(at(0))).is_sorted());
        }
    }
}
