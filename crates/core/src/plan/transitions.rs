//! Events of a `VideoAccessToken`, published only on transitions of its status (P16).

use super::contest::{CONTESTED, OVERRIDDEN};
use super::decide::{ENDED, TOO_OFTEN};
use super::facts::StatusFacts;
use super::status::OVERPRIVILEGED;
use videotoken_api::condition::ConditionStatus;
use videotoken_api::video_access_token::VideoAccessTokenStatus;

/// An event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// True if the type of the event is `Warning`, false for `Normal`.
    pub is_warning: bool,
    /// Reason in CamelCase.
    pub reason: String,
    /// Action of the operator in CamelCase.
    pub action: &'static str,
    /// Message. It may be longer than the limit of an event's note.
    pub note: String,
}

impl Transition {
    fn warning(reason: impl Into<String>, action: &'static str, note: String) -> Self {
        Self { is_warning: true, reason: reason.into(), action, note }
    }

    fn normal(reason: impl Into<String>, action: &'static str, note: String) -> Self {
        Self { is_warning: false, reason: reason.into(), action, note }
    }

    /// Returns true if the event reports a changed Secret.
    pub fn is_about_secret(&self) -> bool {
        [CONTESTED, OVERRIDDEN].contains(&self.reason.as_str())
    }
}

/// Inputs of the events besides the two statuses.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// True if the VideoAccessToken is being deleted.
    pub deleting: bool,
    /// True if another client changed or deleted the Secret since the last status.
    pub repaired: bool,
    /// Name of the Secret.
    pub secret_name: &'a str,
}

/// Returns the events of the transition from the status `before` to `status`, in order.
pub fn transitions(
    before: &StatusFacts,
    status: &VideoAccessTokenStatus,
    circumstances: Circumstances<'_>,
) -> Vec<Transition> {
    let Circumstances { deleting, repaired, secret_name } = circumstances;
    let condition = |type_: &str| status.conditions.iter().find(|condition| condition.type_ == type_);
    let holds = |type_: &str| condition(type_).filter(|condition| condition.status == ConditionStatus::True);
    let note = |type_: &str| condition(type_).map(|condition| condition.message.clone()).unwrap_or_default();
    let [was_ready, _, was_stalled] = before.conditions.each_ref().map(|condition| condition.status);
    let (failing, was_failing) = (status.failed_attempts > 0, before.failed_attempts > 0);
    let mut events = Vec::new();

    if let Some(stalled) = holds("Stalled").filter(|_| was_stalled != Some(true)) {
        let (reason, message) = (stalled.reason.clone(), stalled.message.clone());
        events.push(if reason == ENDED {
            Transition::normal(reason, "Refuse", message)
        } else {
            Transition::warning(reason, "Refuse", message)
        });
    } else if failing && !was_failing {
        let failure = status.last_failure.as_ref().map(|f| format!("{}: {}", f.reason, f.message)).unwrap_or_default();
        events.push(Transition::warning("IssueFailed", "Issue", failure));
    }
    let often = condition("Issuing").filter(|issuing| issuing.reason == TOO_OFTEN);
    if let Some(often) = often.filter(|_| *before.conditions[1].reason != *TOO_OFTEN) {
        events.push(Transition::warning(TOO_OFTEN, "Issue", often.message.clone()));
    }
    if let Some(excess) = holds(OVERPRIVILEGED).filter(|_| before.excess.is_none()) {
        events.push(Transition::warning(excess.reason.clone(), "Issue", excess.message.clone()));
    }
    let expired = condition("Ready").is_some_and(|ready| ready.reason == "Expired");
    if expired && was_ready == Some(true) {
        events.push(Transition::warning("Expired", "Renew", note("Ready")));
    }
    let well = !failing && holds("Stalled").is_none() && holds("Ready").is_some() && !deleting;
    // not ready since the expiry of the token, and not since an earlier time, as after a change by another client
    let was_expired = was_ready == Some(false)
        && before.expires_at.time().is_some()
        && before.expires_at <= before.conditions[0].since;
    if well && (was_failing || was_stalled == Some(true) || was_expired) {
        events.push(Transition::normal("Recovered", "Issue", note("Ready")));
    }
    // the end of a contest for the Secret is reported as Recovered
    if repaired && well && was_stalled != Some(true) {
        let note = format!("Another client changed or deleted the Secret {secret_name}. The operator restored it.");
        events.push(Transition::normal("Repaired", "Repair", note));
    }
    events
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::plan::facts::Seconds;
    use crate::plan::status::status_facts;
    use crate::tests::at;
    use videotoken_api::condition::Condition;
    use videotoken_api::video_access_token::LastFailure;

    /// A status of these conditions, as type and reason; "!" before the reason of one that doesn't hold.
    fn status(conditions: &[(&str, &str)], failed_attempts: i64) -> VideoAccessTokenStatus {
        let conditions = conditions.iter().map(|(type_, reason)| Condition {
            type_: (*type_).to_owned(),
            status: if reason.starts_with('!') { ConditionStatus::False } else { ConditionStatus::True },
            reason: reason.trim_start_matches('!').to_owned(),
            message: format!("{type_} says why"),
            last_transition_time: at(0),
            ..Condition::default()
        });
        let failure =
            LastFailure { reason: "BadRequest".to_owned(), message: "no".to_owned(), ..LastFailure::default() };
        VideoAccessTokenStatus {
            conditions: conditions.collect(),
            failed_attempts,
            last_failure: (failed_attempts > 0).then_some(failure),
            ..VideoAccessTokenStatus::default()
        }
    }

    const NEW: &[(&str, &str)] = &[];
    const WELL: &[(&str, &str)] = &[("Ready", "TokenIssued"), ("Issuing", "!UpToDate"), ("Stalled", "!AsExpected")];
    const WAITING: &[(&str, &str)] = &[("Ready", "!Pending"), ("Issuing", "Issuing"), ("Stalled", "!AsExpected")];
    const EXPIRED: &[(&str, &str)] = &[("Ready", "!Expired"), ("Issuing", "Issuing"), ("Stalled", "!AsExpected")];
    const STALLED: &[(&str, &str)] = &[("Ready", "!BadRequest"), ("Issuing", "!Stalled"), ("Stalled", "BadRequest")];
    const FOUGHT: &[(&str, &str)] = &[("Ready", "TokenIssued"), ("Issuing", "!Stalled"), ("Stalled", CONTESTED)];
    const OVER: &[(&str, &str)] = &[("Ready", "!Ended"), ("Issuing", "!Stalled"), ("Stalled", ENDED)];
    const OFTEN: &[(&str, &str)] = &[("Ready", "TokenIssued"), ("Issuing", TOO_OFTEN), ("Stalled", "!AsExpected")];

    /// "Warning Reason Action" of each event.
    fn words(before: &StatusFacts, status: &VideoAccessTokenStatus, deleting: bool, repaired: bool) -> Vec<String> {
        let circumstances = Circumstances { deleting, repaired, secret_name: "s" };
        let word = |event: &Transition| {
            format!("{} {} {}", if event.is_warning { "Warning" } else { "Normal" }, event.reason, event.action)
        };
        transitions(before, status, circumstances).iter().map(word).collect()
    }

    #[test]
    fn p16_each_transition_has_its_events_and_a_state_that_stays_has_none() {
        // conditions and failures before and after, repaired, events
        type Side<'a> = (&'a [(&'a str, &'a str)], i64);
        let cases: [(Side<'_>, Side<'_>, bool, &[&str]); 20] = [
            ((NEW, 0), (WAITING, 0), false, &[]),
            ((NEW, 0), (WELL, 0), false, &[]),
            ((WELL, 0), (WELL, 0), false, &[]),
            ((WAITING, 0), (WAITING, 1), false, &["Warning IssueFailed Issue"]),
            ((WAITING, 1), (WAITING, 2), false, &[]),
            ((WAITING, 2), (WELL, 0), false, &["Normal Recovered Issue"]),
            ((WAITING, 0), (STALLED, 1), false, &["Warning BadRequest Refuse"]),
            ((STALLED, 1), (STALLED, 2), false, &[]),
            ((STALLED, 1), (WELL, 0), false, &["Normal Recovered Issue"]),
            ((WELL, 0), (EXPIRED, 0), false, &["Warning Expired Renew"]),
            ((EXPIRED, 0), (EXPIRED, 0), false, &[]),
            ((WELL, 0), (OVER, 0), false, &["Normal Ended Refuse"]),
            ((WELL, 0), (FOUGHT, 0), true, &["Warning SecretContested Refuse"]),
            ((FOUGHT, 0), (WELL, 0), true, &["Normal Recovered Issue"]),
            ((WELL, 0), (WELL, 0), true, &["Normal Repaired Repair"]),
            ((WELL, 0), (WAITING, 0), true, &[]),
            ((WELL, 0), (OFTEN, 0), false, &["Warning IssuedTooOften Issue"]),
            ((OFTEN, 0), (OFTEN, 0), false, &[]),
            ((WELL, 0), (EXPIRED, 1), false, &["Warning IssueFailed Issue", "Warning Expired Renew"]),
            ((WELL, 1), (WELL, 0), true, &["Normal Recovered Issue", "Normal Repaired Repair"]),
        ];
        for ((before, failed_before), (after, failed), repaired, expected) in cases {
            let before = status_facts(&status(before, failed_before), "s");
            let after = status(after, failed);
            assert_eq!(words(&before, &after, false, repaired), expected, "{before:?} {after:?}");
        }
    }

    #[test]
    fn p16_a_token_that_had_expired_recovers_and_one_that_was_lost_does_not() {
        for (expired_at, expected) in [(0, &["Normal Recovered Issue"] as &[_]), (1, &[])] {
            let before =
                StatusFacts { expires_at: Seconds::from(at(expired_at)), ..status_facts(&status(EXPIRED, 0), "s") };
            assert_eq!(words(&before, &status(WELL, 0), false, false), expected, "{expired_at}");
            assert!(words(&before, &status(WELL, 0), true, false).is_empty(), "being deleted");
        }
    }

    #[test]
    fn p16_rights_beyond_what_was_asked_are_told_once() {
        let excess = ("Overprivileged", "SiteAdministrator");
        let after = status(&[WELL, &[excess]].concat(), 0);
        let before = status_facts(&status(WELL, 0), "s");
        assert_eq!(words(&before, &after, false, false), ["Warning SiteAdministrator Issue"]);
        assert!(words(&status_facts(&after, "s"), &after, false, false).is_empty());
    }
}
