//! What the API server's objects show of the promises, read from each change.

use crate::api_server::store::{Change, Key, Object};
use crate::episode::{Excuse, unexcused};
use crate::token_api::{Call, TokenApi};
use crate::world::epoch;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Longest delay of a renewal that nothing excuses (P17), with two seconds for the steps of a renewal.
const LATE: TimeDelta = TimeDelta::seconds(12);

/// Longest time until the status shows an edit that nothing delays.
const UNSEEN: TimeDelta = TimeDelta::seconds(60);

/// The same with faults by chance, and disturbed requests, which may take half a minute.
const UNSEEN_WITH_FAULTS: TimeDelta = TimeDelta::seconds(180);

/// Longest time from the request of a call to its answer.
const LONGEST_CALL: TimeDelta = TimeDelta::seconds(11);

/// Time that the narrow account's budget takes for all its tokens, if a fault has made them due at once: two windows.
const NARROW_QUEUE: TimeDelta = TimeDelta::minutes(20);

/// Time after the deletion of an object in which a request on its way may still create its Secret.
const ON_ITS_WAY: TimeDelta = TimeDelta::seconds(2);

/// A managed Secret.
#[derive(Debug)]
pub struct Held {
    /// The call that issued its token; `None` if somebody altered it.
    pub call: Option<Call>,
    /// UID of the object that it was written for.
    pub owner: String,
    /// True if the garbage collector deletes it when its object is gone.
    is_collected: bool,
    /// Time of its last write.
    pub since: DateTime<Utc>,
}

/// A `VideoAccessToken`.
#[derive(Debug)]
struct Token {
    uid: String,
    /// Time of its creation.
    created: DateTime<Utc>,
    /// `renewAt` of the status.
    told: Option<DateTime<Utc>>,
    /// The same, not before the time at which it was first written.
    renew_at: Option<DateTime<Utc>>,
    generation: Option<i64>,
    observed: Option<i64>,
    /// Time of the last edit.
    edited: DateTime<Utc>,
    secret: String,
}

/// All objects, and the promises that their changes break.
#[derive(Debug, Default)]
pub struct Ledger {
    secrets: BTreeMap<Key, Held>,
    tokens: BTreeMap<Key, Token>,
    deleted: BTreeMap<String, DateTime<Utc>>,
    /// Numbers of the last calls whose token was stored.
    kept: BTreeSet<u64>,
    /// Times in which renewals may be late.
    pub excuses: Vec<Excuse>,
    /// Times in which edits may stay unseen, although renewals are on time.
    pub blind: Vec<Excuse>,
    /// True if delays count.
    pub strict: bool,
    /// Namespace whose budget delays renewals.
    pub narrow: String,
    /// Tokens stored.
    pub stored: u64,
    /// Broken promises.
    pub faults: Vec<String>,
}

impl Ledger {
    /// Records a change.
    pub fn record(&mut self, kind: &str, change: &Change, api: &TokenApi) {
        let Some(object) = change.new.as_ref().or(change.old.as_ref()) else { return };
        let meta = &object.value["metadata"];
        let key = (text(&meta["namespace"]), text(&meta["name"]));
        match kind {
            "secrets" => self.secret(key, change, api),
            "videoaccesstokens" => self.token(key, change),
            _ => {}
        }
    }

    /// Records a broken promise with the time since the start of the run.
    fn fault(&mut self, now: DateTime<Utc>, what: &str) {
        let at = (now - epoch()).num_seconds();
        self.faults.push(format!("{what} (second {at})"));
    }

    fn secret(&mut self, key: Key, change: &Change, api: &TokenApi) {
        let before = self.secrets.remove(&key);
        let Some(held) = change.new.as_ref().and_then(|object| held(object, change.at, api)) else {
            let is_foreign = key.1 == "foreign" && change.old.is_some();
            if is_foreign {
                self.fault(change.at, &format!("P09: a write to a Secret of others, {}/{}", key.0, key.1));
            }
            self.close(&key, before.as_ref(), change.at);
            return;
        };
        let renewed = before.as_ref().is_none_or(|before| before.call != held.call);
        if let Some(call) = &held.call {
            self.kept.insert(call.number);
            if self.kept.len() > 4096 {
                self.kept.pop_first();
            }
        }
        if renewed {
            self.stored += 1;
            self.close(&key, before.as_ref(), change.at);
            self.renewed(&held, change.at);
        }
        let late = |gone: &&DateTime<Utc>| unexcused(self.excuses.iter(), &key.0, **gone, change.at) > ON_ITS_WAY;
        if before.is_none()
            && !held.is_collected
            && let Some(gone) = self.deleted.get(&held.owner).filter(late)
        {
            let after = (change.at - *gone).as_seconds_f64();
            let what = format!("P15: {}/{} created {after:.1} s after its object was deleted", key.0, key.1);
            self.fault(change.at, &what);
        }
        self.secrets.insert(key, held);
    }

    /// Checks that the renewal that ends now was on time.
    fn renewed(&mut self, held: &Held, now: DateTime<Utc>) {
        let owned = self.tokens.iter().find(|(_, token)| token.uid == held.owner);
        let Some((key, Token { renew_at: Some(due), .. })) = owned else { return };
        let (key, due) = (key.clone(), *due);
        self.late(&key, due, now);
    }

    fn late(&mut self, key: &Key, due: DateTime<Utc>, now: DateTime<Utc>) {
        if self.strict && due < now && key.0 != self.narrow {
            let late = unexcused(self.excuses.iter(), &key.0, due, now);
            if late > LATE {
                let all = (now - due).as_seconds_f64();
                let late = late.num_seconds();
                let what =
                    format!("P17: the renewal of {}/{} is {all:.0} s late, {late} s without a reason", key.0, key.1);
                self.fault(now, &what);
            }
        }
    }

    /// Checks that a token that is replaced had not expired. A renewal begins half-way to the expiry at the latest.
    fn close(&mut self, key: &Key, held: Option<&Held>, now: DateTime<Utc>) {
        let Some(Held { call: Some(call), owner, .. }) = held else { return };
        if now <= call.expires || self.deleted.contains_key(owner) {
            return;
        }
        let life = call.expires - call.issued;
        let due = call.issued + life * 2 / 3;
        let tail = if key.0 == self.narrow { NARROW_QUEUE } else { TimeDelta::zero() };
        let longer = |excuse: &Excuse| Excuse { until: excuse.until + tail, ..excuse.clone() };
        let excuses: Vec<_> = self.excuses.iter().filter(|excuse| !excuse.only_late).map(longer).collect();
        // Faults by chance may take minutes, which is more than a short life has left.
        let enough = if self.strict { LATE } else { TimeDelta::minutes(5) };
        if unexcused(excuses.iter(), &key.0, due, call.expires - life / 10) > enough {
            let late = (now - call.expires).as_seconds_f64();
            self.fault(now, &format!("P01: {}/{} held an expired token for {late:.1} s", key.0, key.1));
        }
    }

    fn token(&mut self, key: Key, change: &Change) {
        let Some(object) = &change.new else {
            if let Some(old) = self.tokens.remove(&key) {
                self.deleted.insert(old.uid, change.at);
            }
            return;
        };
        let (meta, status) = (&object.value["metadata"], &object.value["status"]);
        // A restored etcd brings deleted objects back.
        self.deleted.remove(&text(&meta["uid"]));
        let before = self.tokens.get(&key).filter(|before| meta["uid"] == *before.uid);
        let generation = meta["generation"].as_i64();
        let edited = match before {
            Some(before) if before.generation == generation => before.edited,
            _ => change.at,
        };
        let created = before.map_or(change.at, |before| before.created);
        let (was_edited, was_seen) = before.map_or((change.at, true), |b| (b.edited, b.observed == b.generation));
        let secret = object.value["spec"]["secret"]["name"].as_str().map_or_else(|| key.1.clone(), str::to_owned);
        let observed = status["observedGeneration"].as_i64();
        // A clock that is behind may give a time in the past.
        let renew_at = match status["renewAt"].as_str().and_then(time) {
            told if told == before.and_then(|before| before.told) => before.and_then(|before| before.renew_at),
            told => told.map(|told| told.max(change.at)),
        };
        let token = Token {
            uid: text(&meta["uid"]),
            created,
            told: status["renewAt"].as_str().and_then(time),
            renew_at,
            generation,
            observed,
            edited: if was_seen || observed == generation { edited } else { was_edited },
            secret,
        };
        if observed == generation && !was_seen {
            self.unseen(&key, was_edited, change.at);
        }
        self.tokens.insert(key, token);
    }

    fn unseen(&mut self, key: &Key, edited: DateTime<Utc>, now: DateTime<Utc>) {
        let excuses = self.excuses.iter().chain(&self.blind);
        let most = if self.strict { UNSEEN } else { UNSEEN_WITH_FAULTS };
        if unexcused(excuses, &key.0, edited, now) > most {
            let late = (now - edited).as_seconds_f64();
            self.fault(now, &format!("P14: an edit of {}/{} was not seen for {late:.0} s", key.0, key.1));
        }
    }

    /// Returns true if the Secret of an existing object contains the token of this call, written before `until`.
    pub fn has(&self, call: &Call, until: DateTime<Utc>) -> bool {
        self.secrets.values().any(|held| {
            held.call.as_ref().is_some_and(|held| held.number == call.number)
                && held.since <= until
                && self.tokens.values().any(|token| token.uid == held.owner)
        })
    }

    /// Returns true if the token of this call was never stored, although its object, of this key, has existed since
    /// before the call.
    pub fn has_lost(&self, call: &Call, key: &Key) -> bool {
        let token = self.tokens.get(key);
        !self.kept.contains(&call.number) && token.is_some_and(|token| token.created + LONGEST_CALL < call.issued)
    }

    /// Checks at the end of the run what is still open, and that each managed Secret is the one that its object names.
    pub fn finish(&mut self, now: DateTime<Utc>) {
        for (key, held) in std::mem::take(&mut self.secrets) {
            self.close(&key, Some(&held), now);
            let owner = self.tokens.values().find(|token| token.uid == held.owner);
            if owner.is_some_and(|owner| owner.secret != key.1) {
                self.fault(now, &format!("P09: the Secret {}/{} of an earlier name is left", key.0, key.1));
            }
        }
        let all: Vec<_> = self
            .tokens
            .iter()
            .map(|(key, t)| (key.clone(), t.renew_at, t.edited, t.observed == t.generation))
            .collect();
        for (key, renew_at, edited, seen) in all {
            if let Some(due) = renew_at {
                self.late(&key, due, now);
            }
            if !seen {
                self.unseen(&key, edited, now);
            }
        }
    }
}

fn held(object: &Arc<Object>, since: DateTime<Utc>, api: &TokenApi) -> Option<Held> {
    let owner = object.value["metadata"]["annotations"]["videotoken.dev/owner-uid"].as_str()?.to_owned();
    let values = object.value["data"].as_object().into_iter().flat_map(serde_json::Map::values);
    let call = values.filter_map(Value::as_str).find_map(|value| api.call_of(value));
    let is_collected = object.value["metadata"]["ownerReferences"].as_array().is_some_and(|owners| !owners.is_empty());
    Some(Held { call, owner, is_collected, since })
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn time(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text).ok().map(|at| at.to_utc())
}
