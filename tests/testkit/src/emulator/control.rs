//! The test's hand on one emulator, wrapped around its API as middleware.

use super::{
    Call, Fault, Hold, HoldPoint, IssuedToken, Limit, Rule, Seen, Target, call::Log, fault::Rules, gate::Gate,
    ledger::Ledger, limits::Limits, locked, pipeline,
};
use axum::{Router, middleware, response::Response};
use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use http::{HeaderMap, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::sync::watch;
use uuid::Uuid;

/// The newest requests that are kept unless [`Control::keep_requests`] says otherwise.
const KEPT_REQUESTS: usize = 4_096;

/// What one API does in its own way, whatever is asked of it.
pub trait Dialect: Send + Sync + 'static {
    /// What a request is for.
    fn target(&self, call: &Call) -> Target;

    /// The headers that every answer carries.
    fn stamp(&self, call: &Call, headers: &mut HeaderMap);

    /// A refusal with this status and message.
    fn refuse(&self, call: &Call, status: StatusCode, message: &str) -> Response;

    /// A refusal for too many requests; `wait` is what it tells, in whole seconds.
    fn throttle(&self, call: &Call, wait: Option<u64>) -> Response {
        let message = "Too many requests. Try again later.";
        let mut response = self.refuse(call, StatusCode::TOO_MANY_REQUESTS, message);
        if let Some(seconds) = wait {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

/// How long the tokens live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Life {
    /// As long as the API promises.
    #[default]
    Promised,
    /// So many seconds, whatever was promised.
    Seconds(u32),
    /// The promised life times this, at least a second.
    Scaled(f64),
    /// From so many seconds to so many, spread over what is asked for: the same request always gets the same.
    Between(u32, u32),
}

impl Life {
    /// Of a token for `request` that was promised this long.
    fn of(self, promised: Duration, request: &str) -> TimeDelta {
        let seconds = match self {
            Self::Promised => promised.as_secs_f64(),
            Self::Seconds(seconds) => f64::from(seconds),
            Self::Scaled(factor) => promised.as_secs_f64() * factor,
            Self::Between(least, most) => f64::from(least + spread(request) % (most.saturating_sub(least) + 1)),
        };
        // A token's times are whole seconds.
        let life = Duration::try_from_secs_f64(seconds.round()).unwrap_or_default();
        TimeDelta::from_std(life).unwrap_or(TimeDelta::MAX).max(TimeDelta::seconds(1))
    }
}

/// A number that depends on the request alone (FNV-1a, then its upper half).
#[allow(clippy::cast_possible_truncation)] // half of it is meant
fn spread(request: &str) -> u32 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    (request.bytes().fold(0xcbf2_9ce4_8422_2325, step) >> 32) as u32
}

/// What an API grants: the words that its token is remembered by, and the life that it promises.
#[derive(Clone, Copy, Debug)]
pub struct Grant<'a> {
    /// The account.
    pub account: &'a str,
    /// Operation and what tells one token from another, in one line.
    pub request: &'a str,
    /// The life that the API promises.
    pub life: Duration,
}

/// From when to when a token is good, by the provider's clock, in seconds since the epoch.
#[derive(Clone, Copy, Debug)]
pub struct Validity {
    /// When it was issued.
    pub issued_at: i64,
    /// When it expires; `None` where it shall not say so.
    pub expires_at: Option<i64>,
}

impl Validity {
    /// Adds `nbf`, so many seconds back, and `exp`.
    pub fn stamp(self, backdated: i64, claims: &mut Map<String, Value>) {
        claims.insert("nbf".into(), (self.issued_at - backdated).into());
        if let Some(expires_at) = self.expires_at {
            claims.insert("exp".into(), expires_at.into());
        }
    }
}

/// How often what has happened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counters {
    /// Requests that arrived.
    pub requests: u64,
    /// Tokens issued.
    pub issued: u64,
    /// Requests that a [`Limit`] turned away.
    pub throttled: u64,
    /// Requests that a fault was played on.
    pub faults: u64,
    /// Requests in hand now.
    pub in_flight: u64,
    /// The most that were in hand at once.
    pub most_in_flight: u64,
    /// Answers, by status.
    pub statuses: BTreeMap<u16, u64>,
}

#[derive(Default)]
pub(super) struct Knobs {
    life: Life,
    pub(super) latency: Duration,
    clock_ahead: TimeDelta,
}

/// One emulator's controls and its truth.
pub struct Control {
    name: &'static str,
    pub(super) dialect: Box<dyn Dialect>,
    pub(super) log: Log,
    pub(super) ledger: Ledger,
    pub(super) rules: Rules,
    pub(super) limits: Limits,
    pub(super) gate: Gate,
    pub(super) knobs: Mutex<Knobs>,
    pub(super) counters: Mutex<Counters>,
    pub(super) answered: watch::Sender<u64>,
}

impl Control {
    /// `name` is what the control endpoint calls this emulator.
    pub fn new(name: &'static str, dialect: impl Dialect) -> Arc<Self> {
        Arc::new(Self {
            name,
            dialect: Box::new(dialect),
            log: Log::new(KEPT_REQUESTS),
            ledger: Ledger::default(),
            rules: Rules::default(),
            limits: Limits::default(),
            gate: Gate::default(),
            knobs: Mutex::default(),
            counters: Mutex::default(),
            answered: watch::Sender::new(0),
        })
    }

    /// The emulator's name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Puts the controls around an API. Its handlers find the `Arc<Call>` in the request's extensions.
    pub fn wrap(self: &Arc<Self>, api: Router) -> Router {
        api.layer(middleware::from_fn_with_state(self.clone(), pipeline::around))
    }

    /// Plays a fault, on every request or as a [`Rule`] says. The oldest rule that matches wins.
    pub fn play(&self, rule: impl Into<Rule>) {
        self.rules.add(rule.into());
    }

    /// Plays a fault on the next request.
    pub fn play_once(&self, fault: Fault) {
        self.play(Rule::new(fault).times(1));
    }

    /// Ends all faults.
    pub fn clear_faults(&self) {
        self.rules.clear();
    }

    /// Sets the rate limits, for each account on its own. None are in force at first.
    pub fn set_limits(&self, limits: impl Into<Vec<Limit>>) {
        self.limits.set(limits.into());
    }

    /// Sets the life of the tokens issued from now on.
    pub fn set_life(&self, life: Life) {
        locked(&self.knobs).life = life;
    }

    /// Each request takes that much longer.
    pub fn set_latency(&self, latency: Duration) {
        locked(&self.knobs).latency = latency;
    }

    /// Puts the provider's clock ahead of the true one: Date headers and all times in tokens. The truth stays true.
    pub fn set_clock_ahead(&self, ahead: TimeDelta) {
        locked(&self.knobs).clock_ahead = ahead;
    }

    /// How far the provider's clock is ahead.
    pub fn clock_ahead(&self) -> TimeDelta {
        locked(&self.knobs).clock_ahead
    }

    /// Holds the next request, or the next of one operation, until the [`Hold`] is released or dropped.
    pub fn hold(&self, point: HoldPoint, operation: Option<&str>) -> Hold {
        self.gate.hold(point, operation)
    }

    /// Keeps so many of the newest requests.
    pub fn keep_requests(&self, capacity: usize) {
        self.log.keep(capacity);
    }

    /// The requests seen, oldest first.
    pub fn requests(&self) -> Vec<Seen> {
        self.log.seen()
    }

    /// The values of `x-ms-client-request-id` that came twice or are no GUIDs.
    pub fn reused_client_request_ids(&self) -> Vec<String> {
        self.log.reused_client_ids()
    }

    /// How often what has happened.
    pub fn counters(&self) -> Counters {
        let mut counters = locked(&self.counters).clone();
        counters.issued = self.ledger.issued();
        counters
    }

    /// Waits until so many requests have been answered, in all. Bound it with a timeout.
    pub async fn answered(&self, requests: u64) {
        let mut answered = self.answered.subscribe();
        let _ = answered.wait_for(|count| *count >= requests).await;
    }

    /// Every token issued, oldest first.
    pub fn tokens(&self) -> Vec<IssuedToken> {
        self.ledger.tokens()
    }

    /// What is known of a token; `None`: not issued here.
    pub fn knows(&self, token: &str) -> Option<IssuedToken> {
        self.ledger.knows(token)
    }

    /// Stops honouring a token. False: not issued here.
    pub fn revoke(&self, token: &str) -> bool {
        self.ledger.revoke(token)
    }

    /// Stops honouring every token that an account was issued so far.
    pub fn revoke_all(&self, account: &str) {
        self.ledger.revoke_all(account);
    }

    /// Issues a token: asks `encode` for it, remembers it and plays the faults that tokens can have.
    /// `None`: the answer shall hold no token. The life returned is what the answer may promise, in seconds.
    pub fn issue(
        &self,
        call: &Call,
        grant: Grant<'_>,
        encode: impl FnOnce(Validity) -> String,
    ) -> (Option<String>, i64) {
        let life = locked(&self.knobs).life.of(grant.life, grant.request);
        let ahead = self.ahead(call);
        let now = Utc::now().trunc_subsecs(0);
        let fault = call.fault();
        let expires_at = match fault {
            Some(Fault::NoToken) => return (None, life.num_seconds()),
            Some(Fault::ExpiredToken) => now - TimeDelta::hours(1),
            _ => now.checked_add_signed(life).unwrap_or(DateTime::<Utc>::MAX_UTC),
        };
        let token = match fault {
            Some(Fault::OpaqueToken) => format!("vi{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple()),
            // the header is {"alg":"HS256"}
            Some(Fault::NotJwt) => format!("eyJhbGciOiJIUzI1NiJ9.{0}.{0}", Uuid::new_v4().simple()),
            _ => {
                let expires_at = match fault {
                    Some(Fault::NoExpiry) => None,
                    Some(Fault::TellsExpiry(seconds)) => Some(*seconds),
                    _ => Some((expires_at + ahead).timestamp()),
                };
                encode(Validity { issued_at: (now + ahead).timestamp(), expires_at })
            }
        };
        self.ledger.remember(&token, (now, expires_at), [grant.account, grant.request], call.number);
        (Some(token), life.num_seconds())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lives_are_spread_over_what_is_asked_for_and_stay_the_same() {
        let life = |request: &str| Life::Between(30, 120).of(Duration::from_hours(1), request).num_seconds();
        let lives: std::collections::BTreeSet<_> = (0..1_000).map(|n| life(&format!("video {n}"))).collect();
        assert!(lives.len() > 80 && lives.iter().all(|life| (30..=120).contains(life)), "{lives:?}");
        assert_eq!(life("video 7"), life("video 7"));
    }
}
