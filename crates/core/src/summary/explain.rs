//! Explains the state of a VideoAccessToken: its cause, the next step and its time, in sentences.

use super::reasons::{self, ReasonHelp};
use super::text::{relative_time, span};
use super::{State, TokenSummary};
use crate::clock::Timestamp;
use chrono::TimeDelta;
use videotoken_api::condition::{Condition, ConditionStatus};
use videotoken_api::video_access_token::VideoAccessTokenStatus;
use videotoken_api::wire_time;

/// Explanation of a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Cause of the state.
    pub why: String,
    /// Next step, and its time.
    pub next: String,
    /// Meaning of the reason and required action, if the state is not Ready.
    pub hint: Option<&'static ReasonHelp>,
}

/// Delay of a renewal, or of the first status, after which the explanation refers to `kubectl videotoken doctor`.
const LATE_AFTER: TimeDelta = TimeDelta::minutes(2);

const NO_OPERATOR: &str = " The operator might not be running. Run `kubectl videotoken doctor`.";

/// Returns the explanation at `now`. `generation` is that of the VideoAccessToken, which may be newer than its status.
pub fn explain(row: &TokenSummary, status: &VideoAccessTokenStatus, generation: i64, now: Timestamp) -> Explanation {
    let holds = |type_: &str| status.conditions.iter().find(|c| c.type_ == type_ && c.status == ConditionStatus::True);
    let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready");
    let state = row.state(now);
    if status.conditions.is_empty() && row.reason == "WaitingForBudget" {
        let why = format!(
            "The first token waits for the request budget of the account, and many other tokens wait too. status.queue of {} shows how many.",
            row.provider
        );
        let next = match row.next_attempt_at {
            Some(at) => format!("The operator issues it before {}, if the rate stays as it is.", wire_time::text(at)),
            None => "The operator issues it when the budget of the account allows the call.".to_owned(),
        };
        return Explanation { why, next, hint: reasons::find(&row.reason) };
    }
    if status.conditions.is_empty() {
        let age = row.created_at.map(|at| now - at).unwrap_or_default();
        let late = if age > LATE_AFTER { NO_OPERATOR.to_owned() } else { String::new() };
        let why =
            format!("The operator has not processed the VideoAccessToken yet, {} after its creation.{late}", span(age));
        return Explanation { why, next: "The operator issues the first token.".to_owned(), hint: None };
    }
    let problem = holds("Stalled").or_else(|| holds("Issuing").filter(|issuing| issuing.reason != "Issuing"));
    let message = problem.or(ready).map(|condition| condition.message.clone()).unwrap_or_default();
    let why = match (state, row.expires_at) {
        (State::Expired, Some(at)) => {
            let is_reported = ready.is_none_or(|ready| ready.status != ConditionStatus::True);
            let cause =
                if is_reported { format!(": {}.", message.trim_end_matches('.')) } else { format!(".{NO_OPERATOR}") };
            format!("The token in the Secret expired {}{cause}", relative_time(at, now))
        }
        (State::Failing, _) if problem.is_none() => {
            status.last_failure.as_ref().map_or(message, |failure| failure.message.clone())
        }
        _ => message,
    };
    let unseen = status.observed_generation.unwrap_or(-1) < generation;
    let unseen = if unseen { "The operator processes the newest spec first. " } else { "" };
    let next = format!("{unseen}{}", next(row, state, problem, now));
    Explanation { why, next, hint: reasons::find(&row.reason).filter(|_| state != State::Ready) }
}

fn next(row: &TokenSummary, state: State, problem: Option<&Condition>, now: Timestamp) -> String {
    let left = match row.expires_at.filter(|at| *at > now) {
        Some(at) => format!(" The token in the Secret is valid for another {}.", span(at - now)),
        None => String::new(),
    };
    if row.suspended {
        return format!("The operator does nothing while spec.suspend is true.{left}");
    }
    let at = |what: &str, at: Timestamp| format!("{what} {} ({})", relative_time(at, now), wire_time::text(at));
    let attempt = row.next_attempt_at.filter(|at| *at > now);
    match (state, attempt) {
        (State::Stalled, None) => format!("The operator continues at once after the required change.{left}"),
        (State::Stalled | State::Failing | State::Expired | State::Pending, Some(next)) => {
            format!("{}, or at once after a change.{left}", at("The next attempt is", next))
        }
        (State::Ready, _) => match row.renew_at {
            Some(due) if now - due > LATE_AFTER => {
                let cause = problem.map_or_else(
                    || format!(".{NO_OPERATOR}"),
                    |problem| format!(": {}.", problem.message.trim_end_matches('.')),
                );
                format!("The renewal was due {}{cause}{left}", relative_time(due, now))
            }
            Some(due) => format!("{}.{left}", at("The operator renews the token", due)),
            None => format!("The operator renews the token when it is due.{left}"),
        },
        (State::Pending, None) => "The operator stores the token as soon as it is issued.".to_owned(),
        (State::Failing | State::Expired, None) => {
            format!("The operator retries as soon as the account allows it.{left}")
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::tests::at;
    use serde_json::{Value, json};

    fn condition_of(type_: &str, holds: bool, reason: &str, message: &str) -> Value {
        let status = if holds { "True" } else { "False" };
        json!({"type": type_, "status": status, "reason": reason, "message": message})
    }

    fn explained(suspend: bool, status: &Value, seconds: i64) -> Explanation {
        let status: VideoAccessTokenStatus = serde_json::from_value(status.clone()).unwrap();
        let row = TokenSummary { created_at: Some(at(0)), ..TokenSummary::from_status(&status, suspend) };
        explain(&row, &status, 3, at(seconds))
    }

    fn lifetime(conditions: Vec<Value>, more: &Value) -> Value {
        let mut status = json!({"observedGeneration": 3, "issuedAt": wire_time::text(at(0)),
            "expiresAt": wire_time::text(at(3600)), "renewAt": wire_time::text(at(2400)), "conditions": Value::from(conditions)});
        status.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        status
    }

    fn ready() -> Value {
        condition_of("Ready", true, "TokenIssued", "The Secret contains a valid token.")
    }

    fn timeout() -> Value {
        condition_of("Issuing", true, "Timeout", "no answer in time")
    }

    fn failed() -> Value {
        json!({"failedAttempts": 1, "lastFailure": {"reason": "Timeout", "message": "no answer in time",
            "nextAttemptAt": wire_time::text(at(2500))}})
    }

    /// Name, suspended, status, time, expected cause and next step.
    type Case = (&'static str, bool, Value, i64, &'static str, &'static str);

    fn holds(cases: Vec<Case>, hint: Option<&str>) {
        for (what, suspend, status, now, why, next) in cases {
            let explain = explained(suspend, &status, now);
            assert!(explain.why.contains(why), "{what}: {explain:?}");
            assert!(explain.next.contains(next), "{what}: {explain:?}");
            assert_eq!(explain.hint, hint.and_then(reasons::find), "{what}");
        }
    }

    #[test]
    fn what_is_well_says_when_it_is_renewed() {
        let none = json!({});
        let good = "The token in the Secret is valid for another 50m.";
        let valid = lifetime(vec![ready()], &none);
        let newer = lifetime(vec![ready()], &json!({"observedGeneration": 2}));
        let renewed = "The operator renews the token in 30m (2026-09-21T14:53:20Z). The token in the Secret is valid for another 50m.";
        let cases = vec![
            (
                "new",
                false,
                json!({"observedGeneration": -1}),
                5,
                "The operator has not processed the VideoAccessToken yet, 5s after",
                "The operator issues the first token.",
            ),
            ("new for long", false, none, 600, "kubectl videotoken doctor", "the first token"),
            ("valid", false, valid.clone(), 600, "contains a valid token", renewed),
            (
                "late",
                false,
                valid.clone(),
                3000,
                "contains a valid token",
                "The renewal was due 10m ago. The operator might not be running.",
            ),
            ("suspended", true, valid.clone(), 600, "contains a valid token", good),
            (
                "a newer spec",
                false,
                newer,
                600,
                "valid token",
                "The operator processes the newest spec first. The operator renews the token in 30m",
            ),
            (
                "expired, not reported",
                false,
                valid,
                3660,
                "expired 1m ago. The operator might not be running.",
                "The operator retries",
            ),
        ];
        holds(cases, None);
    }

    #[test]
    fn what_is_not_well_says_why_and_when_it_is_tried_again() {
        let missing = condition_of("Stalled", true, "CredentialsMissing", "Secret azure-login isn't there");
        let expired = condition_of("Ready", false, "Expired", "The token in the Secret has expired.");
        let failing = lifetime(vec![ready(), timeout()], &failed());
        let soon = "The next attempt is in 50s (2026-09-21T14:55:00Z), or at once after a change. The token";
        let cases = vec![
            ("failing", false, failing, 2450, "no answer in time", soon),
            (
                "expired",
                false,
                lifetime(vec![expired, timeout()], &failed()),
                3660,
                "expired 1m ago: no answer in time",
                "The operator retries as soon as the account allows it.",
            ),
        ];
        holds(cases, Some("Timeout"));
        let stalled = lifetime(vec![ready(), missing], &json!({}));
        let nothing = "The operator continues at once after the required change. The token";
        holds(vec![("stalled", false, stalled, 2450, "azure-login isn't there", nothing)], Some("CredentialsMissing"));
    }
}
