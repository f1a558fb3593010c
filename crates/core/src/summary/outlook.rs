//! Why a token is in its state, what happens next and when, in sentences.

use super::reasons::{self, Reason};
use super::text::{span, when};
use super::{Row, State};
use crate::clock::Timestamp;
use chrono::TimeDelta;
use videotoken_api::condition::{Condition, ConditionStatus};
use videotoken_api::video_access_token::VideoAccessTokenStatus;
use videotoken_api::wire_time;

/// What there is to say of a token's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outlook {
    /// Why it is in its state.
    pub why: String,
    /// What happens next, and when.
    pub next: String,
    /// The way out, where there is something to do.
    pub hint: Option<&'static Reason>,
}

/// A renewal, or an operator's first look, that is late by more wants a doctor.
const LATE: TimeDelta = TimeDelta::minutes(2);

const NOBODY: &str = "no operator may be at work here: `kubectl videotoken doctor`";

/// The outlook at `now`. `generation` is the object's, which the status may not have caught up with.
pub fn outlook(row: &Row, status: &VideoAccessTokenStatus, generation: i64, now: Timestamp) -> Outlook {
    let holds = |type_: &str| status.conditions.iter().find(|c| c.type_ == type_ && c.status == ConditionStatus::True);
    let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready");
    let state = row.state(now);
    if status.conditions.is_empty() {
        let age = row.created_at.map(|at| now - at).unwrap_or_default();
        let late = if age > LATE { format!("; {NOBODY}") } else { String::new() };
        let why = format!("no operator has looked at it yet, {} after it was created{late}", span(age));
        return Outlook { why, next: "the operator issues the first token".to_owned(), hint: None };
    }
    let trouble = holds("Stalled").or_else(|| holds("Issuing").filter(|issuing| issuing.reason != "Issuing"));
    let said = trouble.or(ready).map(|condition| condition.message.clone()).unwrap_or_default();
    let why = match (state, row.expires_at) {
        (State::Expired, Some(at)) => {
            let unwatched =
                if ready.is_some_and(|ready| ready.status == ConditionStatus::True) { NOBODY } else { &said };
            format!("the token in the Secret expired {}: {unwatched}", when(at, now))
        }
        (State::Failing, _) if trouble.is_none() => {
            status.last_failure.as_ref().map_or(said, |failure| failure.message.clone())
        }
        _ => said,
    };
    let unseen = status.observed_generation.unwrap_or(-1) < generation;
    let unseen = if unseen { "the operator takes up the newest spec; then " } else { "" };
    let next = format!("{unseen}{}", next(row, state, trouble, now));
    Outlook { why, next, hint: reasons::of(&row.reason).filter(|_| state != State::Ready) }
}

fn next(row: &Row, state: State, trouble: Option<&Condition>, now: Timestamp) -> String {
    let left = match row.expires_at.filter(|at| *at > now) {
        Some(at) => format!("; the token in the Secret is good for another {}", span(at - now)),
        None => String::new(),
    };
    if row.suspended {
        return format!("nothing, while spec.suspend is true{left}");
    }
    let at = |what: &str, at: Timestamp| format!("{what} {} ({})", when(at, now), wire_time::text(at));
    let attempt = row.next_attempt_at.filter(|at| *at > now);
    match (state, attempt) {
        (State::Stalled, None) => format!("nothing, until that is changed; then it is taken up at once{left}"),
        (State::Stalled | State::Failing | State::Expired | State::Pending, Some(next)) => {
            format!("{}, or at once when something changes{left}", at("the next attempt is", next))
        }
        (State::Ready, _) => match row.renew_at {
            Some(due) if now - due > LATE => {
                let why = trouble.map_or_else(|| NOBODY.to_owned(), |trouble| trouble.message.clone());
                format!("its renewal was due {}: {why}{left}", when(due, now))
            }
            Some(due) => format!("{}{left}", at("it is renewed", due)),
            None => format!("it is renewed when it is due{left}"),
        },
        (State::Pending, None) => "the token is stored as soon as it is issued".to_owned(),
        (State::Failing | State::Expired, None) => format!("it is tried again as soon as it may be{left}"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_timestamp(1_790_000_000 + seconds, 0).unwrap()
    }

    fn says(type_: &str, holds: bool, reason: &str, message: &str) -> Value {
        let status = if holds { "True" } else { "False" };
        json!({"type": type_, "status": status, "reason": reason, "message": message})
    }

    fn look(suspend: bool, status: &Value, seconds: i64) -> Outlook {
        let status: VideoAccessTokenStatus = serde_json::from_value(status.clone()).unwrap();
        let row = Row { created_at: Some(at(0)), ..Row::of_status(&status, suspend) };
        outlook(&row, &status, 3, at(seconds))
    }

    fn life(conditions: Vec<Value>, more: &Value) -> Value {
        let mut status = json!({"observedGeneration": 3, "issuedAt": wire_time::text(at(0)),
            "expiresAt": wire_time::text(at(3600)), "renewAt": wire_time::text(at(2400)), "conditions": Value::from(conditions)});
        status.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        status
    }

    fn ready() -> Value {
        says("Ready", true, "TokenIssued", "the Secret holds a live token")
    }

    fn timeout() -> Value {
        says("Issuing", true, "Timeout", "no answer in time")
    }

    fn failed() -> Value {
        json!({"failedAttempts": 1, "lastFailure": {"reason": "Timeout", "message": "no answer in time",
            "nextAttemptAt": wire_time::text(at(2500))}})
    }

    /// What is looked at, suspended or not, its status, the time; and what is to be said: why, what next.
    type Case = (&'static str, bool, Value, i64, &'static str, &'static str);

    fn holds(cases: Vec<Case>, hint: Option<&str>) {
        for (what, suspend, status, now, why, next) in cases {
            let outlook = look(suspend, &status, now);
            assert!(outlook.why.contains(why), "{what}: {outlook:?}");
            assert!(outlook.next.contains(next), "{what}: {outlook:?}");
            assert_eq!(outlook.hint, hint.and_then(reasons::of), "{what}");
        }
    }

    #[test]
    fn what_is_well_says_when_it_is_renewed() {
        let none = json!({});
        let good = "the token in the Secret is good for another 50m";
        let live = life(vec![ready()], &none);
        let newer = life(vec![ready()], &json!({"observedGeneration": 2}));
        let renewed = "it is renewed in 30m (2026-09-21T14:53:20Z); the token in the Secret is good for another 50m";
        let cases = vec![
            (
                "new",
                false,
                json!({"observedGeneration": -1}),
                5,
                "no operator has looked at it yet, 5s after",
                "the operator issues the first token",
            ),
            ("new for long", false, none, 600, "kubectl videotoken doctor", "the first token"),
            ("live", false, live.clone(), 600, "holds a live token", renewed),
            (
                "late",
                false,
                live.clone(),
                3000,
                "holds a live token",
                "its renewal was due 10m ago: no operator may be at work",
            ),
            ("suspended", true, live.clone(), 600, "holds a live token", good),
            (
                "a newer spec",
                false,
                newer,
                600,
                "live token",
                "the operator takes up the newest spec; then it is renewed in 30m",
            ),
            (
                "expired and nobody told",
                false,
                live,
                3660,
                "expired 1m ago: no operator may be at work here",
                "it is tried again",
            ),
        ];
        holds(cases, None);
    }

    #[test]
    fn what_is_not_well_says_why_and_when_it_is_tried_again() {
        let missing = says("Stalled", true, "CredentialsMissing", "Secret azure-login isn't there");
        let expired = says("Ready", false, "Expired", "the token in the Secret has expired");
        let failing = life(vec![ready(), timeout()], &failed());
        let soon = "the next attempt is in 50s (2026-09-21T14:55:00Z), or at once when something changes; the token";
        let cases = vec![
            ("failing", false, failing, 2450, "no answer in time", soon),
            (
                "expired",
                false,
                life(vec![expired, timeout()], &failed()),
                3660,
                "expired 1m ago: no answer in time",
                "it is tried again as soon as it may be",
            ),
        ];
        holds(cases, Some("Timeout"));
        let stalled = life(vec![ready(), missing], &json!({}));
        let nothing = "nothing, until that is changed; then it is taken up at once; the token";
        holds(vec![("stalled", false, stalled, 2450, "azure-login isn't there", nothing)], Some("CredentialsMissing"));
    }
}
