//! Time of the next attempt of VideoAccessTokens whose account is blocked. The status of the provider contains it.

use super::{State, TokenSummary};
use crate::clock::Timestamp;
use crate::plan::login::{self, Attempt, CredentialHistory};
use chrono::TimeDelta;
use std::collections::BTreeMap;
use videotoken_api::provider_status::ProviderStatus;
use videotoken_api::wire_time;

/// Reasons that concern a whole account.
const ACCOUNT_REASONS: [&str; 5] =
    ["CredentialRejected", "EntraRefused", "LoginsUsedUp", "Throttled", "EntraThrottled"];

/// Wait from which a provider reports its queue.
const MIN_QUEUE_WAIT: TimeDelta = TimeDelta::seconds(30);

/// Providers that the user can read.
#[derive(Clone, Debug, Default)]
pub struct Waits(BTreeMap<(String, String), ProviderStatus>);

/// Returns true if the provider's status may contain the time of the next attempt, which the summary lacks. A
/// VideoAccessToken that has had no reason for half a minute may be in a long queue, which only the status of the
/// provider reports.
pub fn has_account_wait(row: &TokenSummary, now: Timestamp) -> bool {
    let waits = row.state(now) != State::Ready && row.next_attempt_at.is_none_or(|at| at <= now);
    let may_queue = || row.reason.is_empty() && row.created_at.is_none_or(|at| now - at >= MIN_QUEUE_WAIT);
    waits && !row.suspended && (ACCOUNT_REASONS.contains(&&*row.reason) || may_queue())
}

impl Waits {
    /// Adds a provider; `provider` is its kind and name. A ClusterTokenProvider has no namespace.
    pub fn insert(&mut self, namespace: &str, provider: String, status: ProviderStatus) {
        self.0.insert((namespace.to_owned(), provider), status);
    }

    /// Sets the time of the next attempt, if the provider's status contains it, and the reason for a token in a long
    /// queue. In a queue, it is the time until which the token waits at most.
    pub fn set_next_attempt(&self, row: &mut TokenSummary, now: Timestamp) {
        if has_account_wait(row, now) {
            if row.reason.is_empty() {
                let Some(queue) = self.status(row).and_then(|status| status.queue.as_ref()) else { return };
                "WaitingForBudget".clone_into(&mut row.reason);
                row.next_attempt_at = queue.served_at.filter(|at| *at > now);
                return;
            }
            let ahead = self.next(row, now).filter(|at| *at > now);
            row.next_attempt_at = ahead.or(row.next_attempt_at);
        }
    }

    fn status(&self, row: &TokenSummary) -> Option<&ProviderStatus> {
        let is_of_cluster = row.provider.starts_with("ClusterTokenProvider/");
        let namespace = if is_of_cluster { String::new() } else { row.namespace.clone() };
        self.0.get(&(namespace, row.provider.clone()))
    }

    fn next(&self, row: &TokenSummary, now: Timestamp) -> Option<Timestamp> {
        let status = self.status(row)?;
        match &*row.reason {
            "LoginsUsedUp" => self.next_login(status, now),
            "Throttled" | "EntraThrottled" => status.throttled_until,
            _ => status.credentials.as_ref().and_then(|credentials| credentials.next_attempt_at),
        }
    }

    /// Logins are counted over all providers that log in the same user. The status of a provider that made no login
    /// doesn't name its user. Then the result is the time of the only user without safe logins, if there is only one.
    fn next_login(&self, status: &ProviderStatus, now: Timestamp) -> Option<Timestamp> {
        let own = attempts(status).map(|(_, user)| user).chain(status.proven_login.as_deref()).next();
        let mut made: BTreeMap<&str, Vec<_>> = BTreeMap::new();
        for (at, user) in self.0.values().flat_map(attempts) {
            made.entry(user).or_default().push(Attempt { at, by: () });
        }
        let of = |made: Vec<_>| login::next(&login::attempts_in_window(made, now), &(), CredentialHistory::New, &[]);
        if let Some(user) = own {
            return made.remove(user).and_then(of);
        }
        let mut used_up = made.into_values().filter_map(of);
        used_up.next().filter(|_| used_up.next().is_none())
    }
}

/// Reads attempts in the form `TIME USER`, with the user as a hash.
fn attempts(status: &ProviderStatus) -> impl Iterator<Item = (Timestamp, &str)> {
    status.login_attempts.iter().filter_map(|attempt| {
        let (at, user) = attempt.split_once(' ')?;
        Some((wire_time::parse(at)?, user))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::tests::at;
    use serde_json::{Value, json};
    use videotoken_api::video_access_token::VideoAccessTokenStatus;

    fn reported_state(reason: &str, provider: &str, providers: &[(&str, &str, Value)]) -> Option<i64> {
        let status = json!({"provider": provider, "conditions": [
            {"type": "Ready", "status": "False", "reason": "Pending", "message": ""},
            {"type": "Issuing", "status": "True", "reason": reason, "message": ""}]});
        let status: VideoAccessTokenStatus = serde_json::from_value(status).unwrap();
        let mut row = TokenSummary { namespace: "cinema".to_owned(), ..TokenSummary::from_status(&status, false) };
        let mut waits = Waits::default();
        for (namespace, provider, status) in providers {
            waits.insert(namespace, (*provider).to_owned(), serde_json::from_value(status.clone()).unwrap());
        }
        waits.set_next_attempt(&mut row, at(0));
        row.next_attempt_at.map(|next| (next - at(0)).num_seconds())
    }

    #[test]
    fn a_row_tells_when_its_account_is_called_again() {
        let logins = |all: &[(i64, &str)]| {
            let all: Vec<_> = all.iter().map(|(ago, user)| format!("{} {user}", wire_time::text(at(-ago)))).collect();
            json!({"loginAttempts": all})
        };
        let (mine, cluster) = ("TokenProvider/premises", "ClusterTokenProvider/premises");
        let rejected =
            json!({"credentials": {"version": "1", "accepted": false, "nextAttemptAt": wire_time::text(at(700))}});
        let throttled = json!({"throttledUntil": wire_time::text(at(90))});
        for (reason, provider, providers, expected) in [
            ("LoginsUsedUp", mine, vec![("cinema", mine, logins(&[(60, "u"), (50, "u"), (40, "u")]))], Some(900)),
            // made by another provider object of the same user
            (
                "LoginsUsedUp",
                mine,
                vec![
                    ("cinema", mine, logins(&[(60, "u")])),
                    ("other", mine, logins(&[(300, "u"), (290, "u"), (280, "v")])),
                ],
                Some(660),
            ),
            // it never got to log in
            (
                "LoginsUsedUp",
                mine,
                vec![("cinema", mine, json!({})), ("other", mine, logins(&[(30, "u"), (20, "u"), (10, "u")]))],
                Some(930),
            ),
            ("LoginsUsedUp", mine, vec![("cinema", mine, logins(&[(60, "u")]))], None),
            ("LoginsUsedUp", mine, vec![("elsewhere", mine, logins(&[(60, "u"), (50, "u"), (40, "u")]))], None),
            ("CredentialRejected", cluster, vec![("", cluster, rejected.clone())], Some(700)),
            ("CredentialRejected", cluster, vec![("cinema", mine, rejected.clone())], None),
            ("Throttled", mine, vec![("cinema", mine, throttled.clone())], Some(90)),
            ("Timeout", mine, vec![("cinema", mine, throttled)], None),
            (
                "",
                mine,
                vec![("cinema", mine, json!({"queue": {"waiting": 5000, "servedAt": wire_time::text(at(3000))}}))],
                Some(3000),
            ),
            ("", mine, vec![("cinema", mine, json!({}))], None),
            ("CredentialRejected", mine, vec![], None),
        ] {
            assert_eq!(reported_state(reason, provider, &providers), expected, "{reason} {provider} {providers:?}");
        }
    }
}
