//! What each managed Secret held, read from the changes in the API server.

use crate::api_server::store::{Change, Key};
use chrono::{DateTime, TimeDelta, Utc};
use std::collections::BTreeMap;

const EXPIRES_AT: &str = "videotoken.dev/expires-at";

/// Tokens of all Secrets.
#[derive(Debug, Default)]
pub struct Ledger {
    held: BTreeMap<Key, DateTime<Utc>>,
    /// Seconds for which a Secret held an expired token, and the Secret.
    pub expired: Vec<(f64, Key)>,
    /// Tokens stored.
    pub stored: u64,
    /// Writes to Secrets that aren't managed.
    pub foreign: u64,
}

impl Ledger {
    /// Records a change of a Secret.
    pub fn record(&mut self, change: &Change) {
        let Some(object) = change.new.as_ref().or(change.old.as_ref()) else { return };
        let meta = &object.value["metadata"];
        let text = |name: &str| meta[name].as_str().unwrap_or_default().to_owned();
        let key = (text("namespace"), text("name"));
        let expires = meta["annotations"][EXPIRES_AT].as_str().and_then(|at| DateTime::parse_from_rfc3339(at).ok());
        let Some(expires) = expires.map(|at| at.to_utc()) else {
            self.foreign += u64::from(change.old.is_some() && key.1 == "foreign");
            return;
        };
        self.close(&key, change.at);
        let before = self.held.remove(&key);
        if change.new.is_some() {
            self.stored += u64::from(before != Some(expires));
            self.held.insert(key, expires);
        }
    }

    /// Records at the end of the run the Secrets that hold expired tokens.
    pub fn finish(&mut self, now: DateTime<Utc>) {
        for key in self.held.keys().cloned().collect::<Vec<_>>() {
            self.close(&key, now);
        }
    }

    fn close(&mut self, key: &Key, now: DateTime<Utc>) {
        let Some(expires) = self.held.get(key) else { return };
        let late = now - *expires;
        if late > TimeDelta::zero() {
            self.expired.push((late.as_seconds_f64(), key.clone()));
        }
    }
}
