//! What the victim's tokens suffer: how late each renewal is, seen from outside.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt as _};
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::stand::wait::video_access_tokens;

const EVERY: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(10);
const OURS: &str = "app.kubernetes.io/managed-by=video-token-operator";

/// A token as one look finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Found {
    /// When it expires, which tells it from the one before.
    expires_at: DateTime<Utc>,
    /// When its renewal is due.
    due: DateTime<Utc>,
}

/// How the renewals of all of a victim's tokens are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Renewals {
    /// The longest time for which a token was still there after its renewal had been due. It is never overstated: a
    /// look counts from its beginning.
    pub(crate) latest: TimeDelta,
    /// Tokens that took the place of another.
    pub(crate) count: u64,
    tokens: BTreeMap<String, DateTime<Utc>>,
}

impl Renewals {
    /// A look that began at `at` found this token.
    fn look(&mut self, at: DateTime<Utc>, name: &str, found: Found) {
        let before = self.tokens.insert(name.to_owned(), found.expires_at);
        self.count += u64::from(before.is_some_and(|before| before != found.expires_at));
        self.latest = self.latest.max(at - found.due);
    }

    /// Whether a token took the place of another.
    pub(crate) fn renewed(&self) -> bool {
        self.count > 0
    }

    /// Whether any renewal fell due at all.
    pub(crate) fn fell_due(&self) -> bool {
        self.count > 0 || self.latest > TimeDelta::zero()
    }
}

/// Looks at all tokens of a namespace until it is dropped.
pub(crate) struct Watch {
    renewals: Arc<Mutex<Renewals>>,
    looking: JoinHandle<()>,
}

impl Watch {
    pub(crate) fn start(client: Client, namespace: String) -> Self {
        let renewals = Arc::<Mutex<Renewals>>::default();
        let kept = renewals.clone();
        let looking = tokio::spawn(async move {
            let mut ticks = interval(EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let at = Utc::now();
                let Ok(Some(found)) = timeout(PATIENCE, look(&client, &namespace)).await else { continue };
                let mut renewals = kept.lock().unwrap_or_else(PoisonError::into_inner);
                for (name, found) in found {
                    renewals.look(at, &name, found);
                }
            }
        });
        Self { renewals, looking }
    }

    /// What was seen so far.
    pub(crate) fn renewals(&self) -> Renewals {
        self.renewals.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.looking.abort();
    }
}

/// One look at all tokens. `None`: the API server didn't say.
async fn look(client: &Client, namespace: &str) -> Option<Vec<(String, Found)>> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let (tokens, selected) = (video_access_tokens(client, namespace), ListParams::default().labels(OURS));
    let every = ListParams::default();
    let (tokens, secrets) = tokio::join!(tokens.list(&every), secrets.list_metadata(&selected));
    let (tokens, secrets) = (tokens.ok()?, secrets.ok()?);
    let statuses: BTreeMap<String, Value> =
        tokens.items.into_iter().map(|token| (token.name_any(), token.data["status"].clone())).collect();
    let found = secrets.items.iter().filter_map(|secret| {
        let name = secret.name_any();
        let time = |key: &str| secret.annotations().get(key).and_then(|time| time.parse().ok());
        let issued_at = time("videotoken.dev/issued-at")?;
        let expires_at = time("videotoken.dev/expires-at")?;
        Some((name.clone(), Found { expires_at, due: due(statuses.get(&name), issued_at, expires_at) }))
    });
    Some(found.collect())
}

/// `renewAt`, where the status speaks of this token; else two thirds of its life, which P02 names as the latest time.
fn due(status: Option<&Value>, issued_at: DateTime<Utc>, expires_at: DateTime<Utc>) -> DateTime<Utc> {
    let time = |field: &str| status?[field].as_str()?.parse::<DateTime<Utc>>().ok();
    match (time("expiresAt"), time("renewAt")) {
        (Some(speaks_of), Some(renew_at)) if speaks_of == expires_at => renew_at,
        _ => issued_at + (expires_at - issued_at) * 2 / 3,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap()
    }

    #[test]
    fn a_renewal_is_as_late_as_the_last_look_that_found_the_old_token() {
        let (old, new) = (Found { expires_at: at(30), due: at(20) }, Found { expires_at: at(55), due: at(45) });
        let mut renewals = Renewals::default();
        renewals.look(at(19), "a", old);
        assert!(!renewals.fell_due());
        renewals.look(at(24), "a", old);
        renewals.look(at(25), "a", new);
        renewals.look(at(26), "a", new);
        assert_eq!((renewals.latest, renewals.count), (TimeDelta::seconds(4), 1));
        assert!(renewals.fell_due());
        // one that never came counts up to the last look
        renewals.look(at(60), "a", new);
        assert_eq!((renewals.latest, renewals.count), (TimeDelta::seconds(15), 1));
    }

    #[test]
    fn a_status_of_another_token_says_nothing_of_this_one() {
        let status = json!({"expiresAt": "2027-01-15T08:00:30Z", "renewAt": "2027-01-15T08:00:19Z"});
        assert_eq!(due(Some(&status), at(0), at(30)), at(19));
        assert_eq!(due(Some(&status), at(30), at(60)), at(50));
        assert_eq!(due(None, at(0), at(30)), at(20));
    }
}
