//! The classic API of Video Indexer in memory, on virtual time: tokens of five minutes to an hour, and a record of all calls.

use crate::episode::Episode;
use crate::world::{Link, Strike, World, epoch};
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::Mutex;
use serde_json::json;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use videotoken_providers::IssueError;
use videotoken_providers::http::Transport;

/// Lifetime of a token of each account, in seconds.
const LIFETIMES: [i64; 4] = [3600, 3600, 600, 300];

/// Calls that each account permits in a minute, except for that of [`NARROW`].
pub const LIMIT: usize = 60;

/// Account whose window is ten minutes, for half of its tokens.
pub const NARROW: u64 = 1;

/// A token API.
#[derive(Debug)]
pub struct TokenApi {
    world: Arc<World>,
    /// Seconds that a renewal may be early.
    early: i64,
    /// Calls that the narrow account permits in ten minutes.
    narrow: usize,
    /// What happened.
    pub calls: Mutex<Calls>,
    /// The video of the last call, which changes when a call begins.
    pub begun: watch::Sender<String>,
}

/// A call that issued a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Number of the call.
    pub number: u64,
    /// The video that the token is for.
    pub video: String,
    /// Operator that called.
    pub by: String,
    /// Time of the answer.
    pub issued: DateTime<Utc>,
    /// Expiry of the token.
    pub expires: DateTime<Utc>,
    /// True if a clock was wrong, so that objects may record another time.
    pub misdated: bool,
}

/// Calls so far.
#[derive(Debug, Default)]
pub struct Calls {
    /// Tokens issued.
    pub issued: u64,
    /// Tokens issued by video although the last one wasn't due.
    pub early: BTreeMap<String, u64>,
    /// Early tokens that each video may have.
    pub caused: BTreeMap<String, u64>,
    /// Calls answered with 429.
    pub throttled: u64,
    /// Calls answered with 500 or 401.
    pub failed: u64,
    /// Calls of each account beyond its limit, and the second of the first.
    pub above: BTreeMap<String, (u64, i64)>,
    recent: BTreeMap<String, VecDeque<Recent>>,
    /// Last call for each video.
    pub last: BTreeMap<String, Call>,
    by_token: BTreeMap<String, Call>,
    /// Videos for which a call of this operator is in progress.
    pub open: BTreeMap<(String, String), u64>,
}

/// A call that counts in its window. Without an object that records it, a later leader doesn't know of it.
#[derive(Debug)]
struct Recent {
    at: Instant,
    /// Operator that called.
    by: String,
    call: Option<Call>,
}

impl TokenApi {
    /// Returns a token API without calls. A renewal may be so many seconds early.
    pub fn new(world: &Arc<World>, early: i64, tokens: u64) -> Arc<Self> {
        let begun = watch::Sender::new(String::new());
        Arc::new(Self { world: world.clone(), early, narrow: narrow_limit(tokens), calls: Mutex::default(), begun })
    }

    fn answer(&self, by: &str, url: &reqwest::Url, strike: Option<Strike>) -> http::Response<Vec<u8>> {
        let say = |code: u16| http::Response::builder().status(code).header("date", self.world.date());
        let rates = *self.world.rates.lock();
        let account = account_of(url);
        let namespace = format!("tenant-{account}");
        let mut calls = self.calls.lock();
        if let Some(Strike::Status(code @ 500..)) = strike {
            calls.failed += 1;
            return say(code).body(b"struck".to_vec()).unwrap_or_default();
        }
        if self.world.suffers(Episode::CredentialRefused, &namespace) {
            calls.failed += 1;
            let body = json!({"statusCode": 401, "message": "Access denied due to invalid subscription key."});
            return say(401).body(body.to_string().into_bytes()).unwrap_or_default();
        }
        if strike == Some(Strike::Status(429)) || self.world.chance(rates.provider_throttle) {
            calls.throttled += 1;
            let body = json!({"statusCode": 429, "message": "Rate limit is exceeded. Try again in 20 seconds."});
            return say(429).header("retry-after", "20").body(body.to_string().into_bytes()).unwrap_or_default();
        }
        if self.world.suffers(Episode::ProviderFails, &namespace) || self.world.chance(rates.provider) {
            calls.failed += 1;
            return say(500).body(b"internal error".to_vec()).unwrap_or_default();
        }
        let life = LIFETIMES[usize::try_from(account).unwrap_or_default() % LIFETIMES.len()];
        let now = self.world.now();
        let mut call = calls.issue(&video_of(url), by, now, (life, self.early));
        if matches!(strike, Some(Strike::Lost | Strike::Late(_))) {
            // The operator may have given up, and calls again.
            *calls.caused.entry(call.video.clone()).or_default() += 1;
        }
        call.misdated = self.world.is_misdated();
        let claims =
            json!({"exp": call.expires.timestamp(), "iat": now.timestamp(), "jti": call.number, "sub": url.path()});
        let part = |text: String| URL_SAFE_NO_PAD.encode(text);
        let token = format!("{}.{}.c2lnbmF0dXJl", part(json!({"alg": "RS256"}).to_string()), part(claims.to_string()));
        calls.by_token.insert(STANDARD.encode(&token), call.clone());
        if let Some(Recent { call: last, .. }) = calls
            .recent
            .get_mut(&account.to_string())
            .and_then(|recent| recent.iter_mut().rev().find(|it| it.call.is_none()))
        {
            *last = Some(call);
        }
        let answer = say(200).header("content-type", "application/json");
        answer.body(format!("\"{token}\"").into_bytes()).unwrap_or_default()
    }

    /// Counts a call. Arrivals may be closer to each other than departures, so the window is a second shorter.
    fn count(&self, by: &str, url: &reqwest::Url) {
        let account = account_of(url);
        let (limit, window) =
            if account == NARROW { (self.narrow, Duration::from_mins(10)) } else { (LIMIT, Duration::from_mins(1)) };
        let now = Instant::now();
        let mut calls = self.calls.lock();
        *calls.open.entry((by.to_owned(), video_of(url))).or_default() += 1;
        self.begun.send_replace(video_of(url));
        let recent = calls.recent.entry(account.to_string()).or_default();
        recent.push_back(Recent { at: now, by: by.to_owned(), call: None });
        while recent.front().is_some_and(|it| now - it.at + Duration::from_secs(1) >= window) {
            recent.pop_front();
        }
        let above = recent.len().saturating_sub(limit);
        if above > 0 {
            let second = (self.world.now() - epoch()).num_seconds();
            calls.above.entry(account.to_string()).or_insert((0, second)).0 += 1;
        }
    }

    /// Returns the call that issued the token, as a Secret contains it.
    pub fn call_of(&self, encoded: &str) -> Option<Call> {
        self.calls.lock().by_token.get(encoded).cloned()
    }
}

impl Calls {
    /// Issues a token. A renewal is due after two thirds of the lifetime, less at most a tenth of the rest.
    fn issue(&mut self, video: &str, by: &str, now: DateTime<Utc>, (life, early): (i64, i64)) -> Call {
        self.issued += 1;
        let issued = DateTime::from_timestamp(now.timestamp(), 0).unwrap_or_default();
        let (number, video, by) = (self.issued, video.to_owned(), by.to_owned());
        let call = Call { number, video, by, issued, expires: issued + TimeDelta::seconds(life), misdated: false };
        let due = life * 19 / 30 - 1 - early;
        let before = self.last.insert(call.video.clone(), call.clone());
        if before.is_some_and(|before| (issued - before.issued).num_seconds() < due) {
            *self.early.entry(call.video.clone()).or_default() += 1;
        }
        if self.issued.is_multiple_of(1000) {
            self.by_token.retain(|_, call| call.expires + TimeDelta::days(2) > now);
        }
        call
    }

    /// Allows one early token for each video whose last token satisfies `lost`.
    pub fn allow(&mut self, lost: impl Fn(&Call) -> bool) {
        for call in self.last.values().filter(|call| lost(call)) {
            *self.caused.entry(call.video.clone()).or_default() += 1;
        }
        for (_, video) in self.open.keys() {
            *self.caused.entry(video.clone()).or_default() += 1;
        }
    }

    /// Forgets the calls that this leader can't know: those of others that no object records.
    pub fn keep_recent(&mut self, leader: Option<&str>, recorded: impl Fn(&Call) -> bool) {
        let is_known = |it: &Recent| it.call.as_ref().is_some_and(|call| !call.misdated && recorded(call));
        for recent in self.recent.values_mut() {
            recent.retain(|it| leader == Some(it.by.as_str()) || is_known(it));
        }
    }
}

/// Returns the calls that the narrow account permits in ten minutes.
pub fn narrow_limit(tokens: u64) -> usize {
    usize::try_from(tokens / 8).unwrap_or_default().max(4)
}

/// Returns the number of the account, which is that of its namespace.
fn account_of(url: &reqwest::Url) -> u64 {
    let id = url.path().split('/').nth(4).unwrap_or_default();
    id.rsplit('-').next().and_then(|digits| digits.parse().ok()).unwrap_or_default()
}

fn video_of(url: &reqwest::Url) -> String {
    url.path().split('/').nth(6).unwrap_or_default().to_owned()
}

/// Connection of one operator to the token API.
#[derive(Debug)]
pub struct Route {
    /// The token API.
    pub api: Arc<TokenApi>,
    /// The operator.
    pub link: Arc<Link>,
}

#[async_trait]
impl Transport for Route {
    async fn execute(&self, request: reqwest::Request) -> Result<reqwest::Response, IssueError> {
        let (api, link, url) = (self.api.clone(), self.link.clone(), request.url().clone());
        let detail = format!("{} {url}", request.method());
        if link.is_cut() {
            return std::future::pending().await;
        }
        let strike = api.world.strike(&link, "call token-api", detail.as_bytes());
        if strike == Some(Strike::CrashBefore) {
            return std::future::pending().await;
        }
        api.count(&link.name, &url);
        let server = tokio::spawn(async move {
            api.world.pause(10, 150).await;
            if let Some(strike) = strike.filter(|strike| strike.is_of_others()) {
                api.world.bring_on(strike, &link.name).await;
            }
            if api.world.suffers(Episode::SlowProvider, &format!("tenant-{}", account_of(&url))) {
                api.world.pause(8500, 9700).await;
            }
            let answer = api.answer(&link.name, &url, strike);
            api.world.pause(10, 150).await;
            let call = (link.name.clone(), video_of(&url));
            let mut calls = api.calls.lock();
            if let Some(open) = calls.open.get_mut(&call) {
                *open -= 1;
                if *open == 0 {
                    calls.open.remove(&call);
                }
            }
            drop(calls);
            (!link.is_cut()).then_some(answer)
        });
        let answer = server.await.ok().flatten();
        match strike {
            Some(Strike::Late(seconds)) => tokio::time::sleep(Duration::from_secs(seconds)).await,
            Some(Strike::Lost) => std::future::pending().await,
            _ => {}
        }
        match answer {
            Some(answer) => Ok(answer.into()),
            None => std::future::pending().await,
        }
    }
}
