//! The classic API of Video Indexer in memory, on virtual time: tokens of one hour, and a record of all calls.

use crate::world::{Link, World};
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use serde_json::json;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use videotoken_providers::IssueError;
use videotoken_providers::http::Transport;

/// Lifetime of a token, in seconds.
pub const LIFETIME: i64 = 3600;

/// Calls that each account permits in a minute.
pub const LIMIT: usize = 60;

/// A token API.
#[derive(Debug)]
pub struct TokenApi {
    world: Arc<World>,
    /// Seconds that a renewal may be early.
    early: i64,
    /// What happened.
    pub calls: Mutex<Calls>,
}

/// Calls so far.
#[derive(Debug, Default)]
pub struct Calls {
    /// Tokens issued.
    pub issued: u64,
    /// Tokens issued although the last one for the same request wasn't due.
    pub early: u64,
    /// Calls answered with 429.
    pub throttled: u64,
    /// Calls answered with 500.
    pub failed: u64,
    /// Most calls of one account in a minute.
    pub most: usize,
    recent: BTreeMap<String, VecDeque<Instant>>,
    last: BTreeMap<String, i64>,
}

impl TokenApi {
    /// Returns a token API without calls. A renewal may be so many seconds early.
    pub fn new(world: &Arc<World>, early: i64) -> Arc<Self> {
        Arc::new(Self { world: world.clone(), early, calls: Mutex::default() })
    }

    fn answer(&self, url: &reqwest::Url) -> http::Response<Vec<u8>> {
        let say = |code: u16| http::Response::builder().status(code).header("date", self.world.date());
        let rates = *self.world.rates.lock();
        let mut calls = self.calls.lock();
        calls.count(url);
        if self.world.chance(rates.provider_throttle) {
            calls.throttled += 1;
            let body = json!({"statusCode": 429, "message": "Rate limit is exceeded. Try again in 20 seconds."});
            return say(429).header("retry-after", "20").body(body.to_string().into_bytes()).unwrap_or_default();
        }
        if self.world.chance(rates.provider) {
            calls.failed += 1;
            return say(500).body(b"internal error".to_vec()).unwrap_or_default();
        }
        let now = self.world.now().timestamp();
        calls.issue(url.path(), now, self.early);
        let claims = json!({"exp": now + LIFETIME, "iat": now, "jti": calls.issued, "sub": url.path()});
        let part = |text: String| URL_SAFE_NO_PAD.encode(text);
        let token = format!("{}.{}.c2lnbmF0dXJl", part(json!({"alg": "RS256"}).to_string()), part(claims.to_string()));
        let answer = say(200).header("content-type", "application/json");
        answer.body(format!("\"{token}\"").into_bytes()).unwrap_or_default()
    }
}

impl Calls {
    /// Counts a call. Arrivals may be closer to each other than departures, so the minute is a second shorter.
    fn count(&mut self, url: &reqwest::Url) {
        let account = url.path().split('/').take(5).collect::<Vec<_>>().join("/");
        let (now, minute) = (Instant::now(), Duration::from_secs(59));
        let recent = self.recent.entry(account).or_default();
        recent.push_back(now);
        while recent.front().is_some_and(|at| now - *at >= minute) {
            recent.pop_front();
        }
        self.most = self.most.max(recent.len());
    }

    /// Counts a token. A renewal is due after two thirds of the lifetime, less at most a tenth of the rest.
    fn issue(&mut self, path: &str, now: i64, early: i64) {
        self.issued += 1;
        let due = LIFETIME * 19 / 30 - 1 - early;
        let before = self.last.insert(path.to_owned(), now);
        self.early += u64::from(before.is_some_and(|before| now - before < due));
    }
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
        if link.is_cut() || !api.world.record(&link, "call token-api", detail.as_bytes()) {
            return std::future::pending().await;
        }
        let server = tokio::spawn(async move {
            api.world.pause(10, 150).await;
            let answer = api.answer(&url);
            api.world.pause(10, 150).await;
            (!link.is_cut()).then_some(answer)
        });
        match server.await.ok().flatten() {
            Some(answer) => Ok(answer.into()),
            None => std::future::pending().await,
        }
    }
}
