//! When the tokens of an account that may not be called are asked for again: told by its provider objects, not by the
//! tokens themselves.

use super::{Row, State};
use crate::clock::Timestamp;
use crate::plan::login::{self, Attempt, Standing};
use std::collections::BTreeMap;
use videotoken_api::provider_status::ProviderStatus;
use videotoken_api::wire_time;

/// Reasons of a whole account.
const OF_ACCOUNTS: [&str; 5] = ["CredentialRejected", "EntraRefused", "LoginsUsedUp", "Throttled", "EntraThrottled"];

/// The provider objects that could be seen.
#[derive(Clone, Debug, Default)]
pub struct Waits(BTreeMap<(String, String), ProviderStatus>);

/// Whether the provider object of this row tells when it is tried again, and the row doesn't.
pub fn is_told_elsewhere(row: &Row, now: Timestamp) -> bool {
    let waits = row.state(now) != State::Ready && row.next_attempt_at.is_none_or(|at| at <= now);
    waits && !row.suspended && OF_ACCOUNTS.contains(&&*row.reason)
}

impl Waits {
    /// Notes a provider object; `provider` is its kind and name. A ClusterTokenProvider has no namespace.
    pub fn note(&mut self, namespace: &str, provider: String, status: ProviderStatus) {
        self.0.insert((namespace.to_owned(), provider), status);
    }

    /// Sets when the row's token is asked for again, where its provider object tells.
    pub fn tell(&self, row: &mut Row, now: Timestamp) {
        if is_told_elsewhere(row, now) {
            let ahead = self.next(row, now).filter(|at| *at > now);
            row.next_attempt_at = ahead.or(row.next_attempt_at);
        }
    }

    fn next(&self, row: &Row, now: Timestamp) -> Option<Timestamp> {
        let is_of_cluster = row.provider.starts_with("ClusterTokenProvider/");
        let namespace = if is_of_cluster { String::new() } else { row.namespace.clone() };
        let status = self.0.get(&(namespace, row.provider.clone()))?;
        match &*row.reason {
            "LoginsUsedUp" => self.next_login(status, now),
            "Throttled" | "EntraThrottled" => status.throttled_until,
            _ => status.credentials.as_ref().and_then(|credentials| credentials.next_attempt_at),
        }
    }

    /// Logins are counted over all provider objects that log the same user in. One that never got to log in doesn't say
    /// whom: then it is the only user whose logins are used up, if there is only one.
    fn next_login(&self, status: &ProviderStatus, now: Timestamp) -> Option<Timestamp> {
        let own = attempts(status).map(|(_, user)| user).chain(status.proven_login.as_deref()).next();
        let mut made: BTreeMap<&str, Vec<_>> = BTreeMap::new();
        for (at, user) in self.0.values().flat_map(attempts) {
            made.entry(user).or_default().push(Attempt { at, by: () });
        }
        let of = |made: Vec<_>| login::next(&login::counting(made, now), &(), Standing::New, &[]);
        if let Some(user) = own {
            return made.remove(user).and_then(of);
        }
        let mut used_up = made.into_values().filter_map(of);
        used_up.next().filter(|_| used_up.next().is_none())
    }
}

/// `TIME USER`, the user as a hash.
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
    use serde_json::{Value, json};
    use videotoken_api::video_access_token::VideoAccessTokenStatus;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_timestamp(1_790_000_000 + seconds, 0).unwrap()
    }

    fn told(reason: &str, provider: &str, providers: &[(&str, &str, Value)]) -> Option<i64> {
        let status = json!({"provider": provider, "conditions": [
            {"type": "Ready", "status": "False", "reason": "Pending", "message": ""},
            {"type": "Issuing", "status": "True", "reason": reason, "message": ""}]});
        let status: VideoAccessTokenStatus = serde_json::from_value(status).unwrap();
        let mut row = Row { namespace: "cinema".to_owned(), ..Row::of_status(&status, false) };
        let mut waits = Waits::default();
        for (namespace, provider, status) in providers {
            waits.note(namespace, (*provider).to_owned(), serde_json::from_value(status.clone()).unwrap());
        }
        waits.tell(&mut row, at(0));
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
            ("CredentialRejected", mine, vec![], None),
        ] {
            assert_eq!(told(reason, provider, &providers), expected, "{reason} {provider} {providers:?}");
        }
    }
}
