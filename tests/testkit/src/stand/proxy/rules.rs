//! What the proxy does to some requests, and the handles by which a test says so.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot, watch};
use tokio::time::timeout;

use super::request::{Matcher, Request};

const PATIENCE: Duration = Duration::from_secs(30);

/// How a request fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It is not forwarded; a Kubernetes Status of this code is the answer.
    Status(u16),
    /// It is not forwarded; the connection is closed without an answer.
    Closed,
    /// It is forwarded and served; then the connection is closed without an answer.
    LostAnswer,
    /// It is forwarded and served; of the answer's body this many bytes arrive. The rest never does, and the connection
    /// stays open.
    StalledBody(usize),
}

/// When a request is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Before the API server has seen it.
    Before,
    /// After the API server has served it and before the client sees the answer.
    Answered,
}

/// What becomes of a held request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Release,
    Close,
}

#[derive(Debug)]
pub(super) enum Action {
    Fail(Failure),
    Delay(Duration),
    Hold(Stage, Arc<Waiting>),
}

#[derive(Debug)]
pub(super) struct Entry {
    matcher: Matcher,
    pub(super) action: Action,
    hits: AtomicU64,
}

/// The rules in force, oldest first.
#[derive(Debug, Default)]
pub(super) struct Rules(Mutex<Vec<Arc<Entry>>>);

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Rules {
    pub(super) fn add(self: &Arc<Self>, matcher: Matcher, action: Action) -> Rule {
        let entry = Arc::new(Entry { matcher, action, hits: AtomicU64::new(0) });
        lock(&self.0).push(Arc::clone(&entry));
        Rule { rules: Arc::clone(self), entry }
    }

    /// The rules that a request meets. Counts it as a hit of each.
    pub(super) fn meeting(&self, request: &Request) -> Vec<Arc<Entry>> {
        let rules = lock(&self.0);
        let met = rules.iter().filter(|entry| {
            entry.matcher.matches(request) && {
                let before = entry.hits.fetch_add(1, Ordering::Relaxed);
                let skipped = entry.matcher.skipped;
                before >= skipped && entry.matcher.limit.is_none_or(|limit| before - skipped < limit)
            }
        });
        met.cloned().collect()
    }

    fn remove(&self, entry: &Arc<Entry>) {
        lock(&self.0).retain(|other| !Arc::ptr_eq(other, entry));
    }
}

/// A rule that is in force until this is dropped.
#[derive(Debug)]
#[must_use = "the rule ends when this is dropped"]
pub struct Rule {
    rules: Arc<Rules>,
    entry: Arc<Entry>,
}

impl Rule {
    /// How many requests it was applied to.
    pub fn hits(&self) -> u64 {
        let matched = self.entry.hits.load(Ordering::Relaxed).saturating_sub(self.entry.matcher.skipped);
        self.entry.matcher.limit.map_or(matched, |limit| matched.min(limit))
    }
}

impl Drop for Rule {
    fn drop(&mut self) {
        self.rules.remove(&self.entry);
    }
}

/// Which watches are silent, and from which version lists are answered meanwhile.
#[derive(Debug)]
struct Stale {
    matcher: Matcher,
    lists_at: Option<u64>,
}

/// The stale views in force.
#[derive(Debug, Default)]
pub(super) struct Freezes {
    all: Mutex<Vec<Arc<Stale>>>,
    changes: watch::Sender<u64>,
}

impl Freezes {
    pub(super) fn add(self: &Arc<Self>, matcher: Matcher, lists_at: Option<u64>) -> Frozen {
        let stale = Arc::new(Stale { matcher, lists_at });
        lock(&self.all).push(Arc::clone(&stale));
        Frozen { freezes: Arc::clone(self), stale }
    }

    /// The version from which a list of this kind is to be answered, if it isn't the newest.
    pub(super) fn lists_at(&self, request: &Request) -> Option<u64> {
        lock(&self.all).iter().filter(|stale| stale.matcher.matches(request)).find_map(|stale| stale.lists_at)
    }

    /// Waits while the watch is silent.
    pub(super) async fn thawed(&self, request: &Request) {
        let mut changes = self.changes.subscribe();
        while lock(&self.all).iter().any(|stale| stale.matcher.matches(request)) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }
}

/// A stale view: it lasts until this is dropped, and then the watches tell all that they held back.
#[derive(Debug)]
#[must_use = "the view is fresh again when this is dropped"]
pub struct Frozen {
    freezes: Arc<Freezes>,
    stale: Arc<Stale>,
}

impl Drop for Frozen {
    fn drop(&mut self) {
        lock(&self.freezes.all).retain(|other| !Arc::ptr_eq(other, &self.stale));
        self.freezes.changes.send_modify(|changes| *changes += 1);
    }
}

/// Requests that stand still, by number in their order.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    held: Mutex<Line>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Line {
    next: u64,
    told: u64,
    ended: Option<Verdict>,
    requests: BTreeMap<u64, (Request, oneshot::Sender<Verdict>)>,
}

impl Waiting {
    /// Stands still until somebody says what is to become of the request.
    pub(super) async fn stand(&self, request: &Request) -> Verdict {
        let verdict = {
            let mut line = lock(&self.held);
            if let Some(verdict) = line.ended {
                return verdict;
            }
            let (say, verdict) = oneshot::channel();
            let number = line.next;
            line.next += 1;
            line.requests.insert(number, (request.clone(), say));
            verdict
        };
        self.arrived.notify_waiters();
        verdict.await.unwrap_or(Verdict::Close)
    }
}

/// Requests that are held, and a rule that holds more. Dropped, it lets them go on.
#[derive(Debug)]
#[must_use = "the requests go on when this is dropped"]
pub struct Held {
    waiting: Arc<Waiting>,
    _rule: Rule,
    what: String,
}

impl Held {
    pub(super) fn new(waiting: Arc<Waiting>, rule: Rule) -> Self {
        let what = rule.entry.matcher.to_string();
        Self { waiting, _rule: rule, what }
    }

    /// Waits for the next request that is held and that this has not told of yet.
    ///
    /// # Panics
    /// After 30 s without one.
    pub async fn wait(&self) -> Request {
        let Ok(request) = timeout(PATIENCE, self.next()).await else {
            panic!("no request was held within {PATIENCE:?}: {}", self.what);
        };
        request
    }

    /// Waits, for as long as it takes, for the next request that is held and that this has not told of yet.
    pub async fn next(&self) -> Request {
        loop {
            let arrived = self.waiting.arrived.notified();
            {
                let mut line = lock(&self.waiting.held);
                let told = line.told;
                if let Some((&number, (request, _))) = line.requests.range(told..).next() {
                    let request = request.clone();
                    line.told = number + 1;
                    return request;
                }
            }
            arrived.await;
        }
    }

    /// How many requests are held now.
    pub fn len(&self) -> usize {
        lock(&self.waiting.held).requests.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Lets the oldest held request go on; the rest stay and more will be held. False if there is none.
    pub fn release_one(&self) -> bool {
        match lock(&self.waiting.held).requests.pop_first() {
            // Who no longer waits has gone with the proxy.
            Some((_, (_, say))) => say.send(Verdict::Release).is_ok(),
            None => false,
        }
    }

    /// Lets all go on, also those whose client has gone, and holds no more.
    pub fn release(self) {
        self.end(Verdict::Release);
    }

    /// Closes their connections without an answer and holds no more. What was held before the API server saw it never
    /// reaches it.
    pub fn drop_all(self) {
        self.end(Verdict::Close);
    }

    fn end(&self, verdict: Verdict) {
        let held = {
            let mut line = lock(&self.waiting.held);
            line.ended.get_or_insert(verdict);
            std::mem::take(&mut line.requests)
        };
        for (_, (_, say)) in held {
            let _ = say.send(verdict);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.end(Verdict::Release);
    }
}
