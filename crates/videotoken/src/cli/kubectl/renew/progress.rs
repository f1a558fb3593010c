//! Progress of a renewal, from the status of its VideoAccessToken.

use super::super::tokens::Token;
use std::fmt::Write as _;
use videotoken_api::condition::{Condition, ConditionStatus};
use videotoken_api::video_access_token::{LastFailure, VideoAccessTokenStatus};
use videotoken_api::wire_time;
use videotoken_providers::clock::Timestamp;

/// Status before the renewal. Later differences belong to the renewal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RenewalBaseline {
    issued_at: Option<Timestamp>,
    failed_at: Option<Timestamp>,
}

/// Progress of a renewal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// There is no result yet.
    None,
    /// There is a new token with this expiry.
    Renewed(Timestamp),
    /// The renewal waits, or failed and is retried.
    Delayed(String),
    /// The renewal failed and is retried at this time.
    RetryAt(String, Timestamp),
    /// The renewal failed, and needs a change.
    Failed(String),
}

impl RenewalBaseline {
    /// Records the status before the renewal.
    pub(super) fn new(status: &VideoAccessTokenStatus) -> Self {
        Self { issued_at: status.issued_at, failed_at: status.last_failure.as_ref().and_then(|failure| failure.time) }
    }

    /// Returns the progress that the current status shows.
    pub(super) fn progress(&self, token: &Token) -> Progress {
        let status = &token.status;
        let holds = |type_: &str| {
            status.conditions.iter().find(|says| says.type_ == type_ && says.status == ConditionStatus::True)
        };
        let failure = status.last_failure.as_ref();
        let is_new = failure.is_some_and(|failure| failure.time != self.failed_at);
        if let Some(expires_at) = status.expires_at.filter(|_| status.issued_at != self.issued_at)
            && holds("Issuing").is_none()
        {
            return Progress::Renewed(expires_at);
        }
        if token.row.suspended {
            return Progress::Failed("spec.suspend is true, so nothing is issued".to_owned());
        }
        match (holds("Stalled"), holds("Issuing")) {
            // each request retries what the token API rejected before
            (Some(stalled), _) if !is_new && failure.is_some_and(|failure| failure.reason == stalled.reason) => {
                Progress::None
            }
            (Some(stalled), _) => Progress::Failed(said(stalled, failure.filter(|_| is_new))),
            (None, Some(issuing)) if issuing.reason != "Issuing" && (is_new || failure.is_none()) => {
                let why = said(issuing, failure);
                match failure.and_then(|failure| failure.next_attempt_at) {
                    Some(next) => Progress::RetryAt(why, next),
                    None => Progress::Delayed(why),
                }
            }
            _ => Progress::None,
        }
    }
}

fn said(condition: &Condition, failure: Option<&LastFailure>) -> String {
    let mut said = format!("{}: {}", condition.reason, condition.message);
    if let Some(id) = failure.and_then(|failure| failure.request_id.as_ref()) {
        let _ = write!(said, " (request ID {id})");
    }
    if let Some(next) = failure.and_then(|failure| failure.next_attempt_at) {
        let _ = write!(said, "; the next attempt is at {}", wire_time::text(next));
    }
    said
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn token(suspend: bool, status: &Value) -> Token {
        serde_json::from_value(json!({"metadata": {"namespace": "a", "name": "b"}, "spec": {"suspend": suspend},
            "status": status}))
        .unwrap()
    }

    fn time_at(minute: u32) -> String {
        format!("2026-01-02T03:{minute:02}:00Z")
    }

    fn condition(type_: &str, reason: &str) -> Value {
        json!({"type": type_, "status": "True", "reason": reason, "message": "so"})
    }

    fn status(issued: u32, conditions: &[Value], failed: Option<(&str, u32)>) -> Value {
        let failure = failed.map(|(reason, minute)| {
            json!({"reason": reason, "time": time_at(minute), "requestId": "r-1",
            "nextAttemptAt": time_at(minute + 1)})
        });
        json!({"issuedAt": time_at(issued), "expiresAt": time_at(issued + 30), "conditions": conditions, "lastFailure": failure})
    }

    #[test]
    fn only_news_counts() {
        let expires = |minute| wire_time::parse(&time_at(minute)).unwrap();
        let failed = "Timeout: so (request ID r-1); the next attempt is at 2026-01-02T03:08:00Z";
        let refused = "Forbidden: so (request ID r-1); the next attempt is at 2026-01-02T03:08:00Z";
        let quiet = status(1, &[], None);
        let failing = status(1, &[condition("Issuing", "Timeout")], Some(("Timeout", 5)));
        let refused_before = status(1, &[condition("Stalled", "Forbidden")], Some(("Forbidden", 5)));
        for (what, before, now, suspend, expected) in [
            ("nothing yet", &quiet, quiet.clone(), false, Progress::None),
            ("renewed", &quiet, status(7, &[], None), false, Progress::Renewed(expires(37))),
            (
                "renewed, and a second on its way",
                &quiet,
                status(7, &[condition("Issuing", "Issuing")], None),
                false,
                Progress::None,
            ),
            (
                "suspended during the wait",
                &quiet,
                quiet.clone(),
                true,
                Progress::Failed("spec.suspend is true, so nothing is issued".into()),
            ),
            ("failing as before", &failing, failing.clone(), false, Progress::None),
            (
                "failed again",
                &failing,
                status(1, &[condition("Issuing", "Timeout")], Some(("Timeout", 7))),
                false,
                Progress::RetryAt(failed.into(), expires(8)),
            ),
            (
                "the account waits",
                &quiet,
                status(1, &[condition("Issuing", "Throttled")], None),
                false,
                Progress::Delayed("Throttled: so".into()),
            ),
            ("refused before, asked again", &refused_before, refused_before.clone(), false, Progress::None),
            (
                "refused again",
                &refused_before,
                status(1, &[condition("Stalled", "Forbidden")], Some(("Forbidden", 7))),
                false,
                Progress::Failed(refused.into()),
            ),
            (
                "can't be asked",
                &quiet,
                status(1, &[condition("Stalled", "CredentialsMissing")], None),
                false,
                Progress::Failed("CredentialsMissing: so".into()),
            ),
            ("refused, and now renewed", &refused_before, status(7, &[], None), false, Progress::Renewed(expires(37))),
        ] {
            let baseline = RenewalBaseline::new(&token(false, before).status);
            assert_eq!(baseline.progress(&token(suspend, &now)), expected, "{what}");
        }
    }
}
