//! Watches, the reconcile, and the only writes to Kubernetes.
//!
//! | File | What lives there |
//! |---|---|
//! | `watches` | each watch feeds a store in place and wakes whom its event concerns |
//! | `token`, `tokens`, `secrets`, `namespaces` | the stores, slim; own writes enter by the same door as the watch |
//! | `providers`, `accounts`, `references`, `assertion`, `provider_status`, `logins` | provider objects, and what `account` makes of them |
//! | `reconcile` | gather (`dereference`), decide, act, `record` |
//! | `restarts` | workloads after a renewal |
//! | `memo`, `timetable`, `turns`, `index` | what is under way, what is due, whose turn it is, who refers to what |
//! | `apply`, `lanes` | the requests to the API server; how many at once |
//! | `shown`, `traced` | what of all this the status page and a trace are told |
//!
//! May not enter: HTTP to providers.

mod accounts;
mod apply;
mod assertion;
mod dereference;
mod events;
mod index;
mod lanes;
mod logins;
mod memo;
mod namespaces;
mod provider_status;
mod providers;
mod reconcile;
mod record;
mod references;
mod relist;
mod restarts;
mod run;
mod secrets;
mod shown;
mod timetable;
mod token;
mod tokens;
mod traced;
mod turns;
mod watches;

pub use run::run;

use crate::account::Reach;
use crate::api::key::ObjectKey;
use crate::budget::Grant;
use crate::clock::{self, Timestamp};
use crate::issuer::http::HttpPool;
use crate::lease::LeaseHandle;
use crate::metrics::{Metrics, ProviderGauge, ProviderSource, TokenGauge, TokenSource};
use crate::page::Page;
use crate::telemetry::traces::Traces;
use accounts::{Account, Accounts, ProviderKey, Resolved};
use apply::Applier;
use chrono::TimeDelta;
use futures::channel::mpsc::UnboundedSender;
use kube::runtime::events::Recorder;
use kube::runtime::reflector::ObjectRef;
use lanes::Lanes;
use logins::Logins;
use memo::Memos;
use namespaces::Namespaces;
use providers::{Providers, Task};
use restarts::UnderWay;
use secrets::{Secrets, lock};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use timetable::Timetable;
use token::Token;
use tokens::Tokens;
use tokio::sync::mpsc;
use turns::Turns;

/// A lease that is left less than this is left too little to call a provider and to store what it issued.
pub const LEAST_LEASE: Duration = apply::WRITE_TIMEOUT.saturating_add(reconcile::SHORTEST_CALL);

/// What the controller is told at start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Only these namespaces; empty for all.
    pub watch_namespaces: Vec<String>,
    /// `ClusterTokenProvider`s are served.
    pub cluster_providers: bool,
    /// Where a `ClusterTokenProvider`'s references resolve.
    pub cluster_resource_namespace: String,
    /// What providers may reach, and how.
    pub reach: Reach,
    /// Tokens between grant and stored.
    pub max_in_flight: usize,
    /// Each token has its own series of metrics.
    pub token_metrics: bool,
}

/// Who is told of what happens.
pub struct Observers {
    /// Counted.
    pub metrics: Metrics,
    /// Followed.
    pub traces: Traces,
    /// Shown, if there is a page.
    pub page: Option<Page>,
}

/// What a reconcile works with.
pub struct Context {
    settings: Settings,
    applier: Applier,
    recorder: Recorder,
    http: HttpPool,
    lease: LeaseHandle,
    metrics: Metrics,
    traces: Traces,
    tokens: Tokens,
    secrets: Secrets,
    namespaces: Namespaces,
    providers: Providers,
    provider_status: provider_status::Written,
    users: provider_status::Users,
    accounts: Accounts,
    turns: Turns,
    memos: Memos,
    timetable: Timetable,
    restarting: UnderWay,
    gate: Mutex<Gate>,
    lanes: Lanes,
    in_flight: AtomicUsize,
    granted: Mutex<HashSet<ObjectKey>>,
    awake: AtomicBool,
    waker: UnboundedSender<ObjectRef<Token>>,
    logins: Logins,
    tasks: mpsc::UnboundedSender<Task>,
}

/// Closed while the API server can't be written to: no provider is called for a token that couldn't be stored.
#[derive(Debug, Default)]
struct Gate {
    closed_until: Option<tokio::time::Instant>,
}

/// A closed gate opens at the first write that succeeds, and is ajar after this: one object whose Secret can't be written
/// holds up no other for longer.
const GATE: Duration = Duration::from_secs(5);

/// How the gate stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Passage {
    /// Writes succeed.
    Open,
    /// A write failed a while ago: one at a time, and only if the API server answers.
    Ajar,
    /// A write failed a moment ago.
    Closed,
}

impl Context {
    /// Reconciles the object soon.
    fn wake(&self, key: &ObjectKey) {
        // before the caches are filled nothing could be decided: then all are woken
        if self.awake.load(Ordering::Acquire) {
            if self.lease.is_leader() {
                self.traces.woken(key);
            }
            let _ = self.waker.unbounded_send(tokens::reference(key));
        }
    }

    fn wake_all(self: &Arc<Self>) {
        self.wake_paced(self.tokens.all().iter().map(|token| token.key.clone()).collect());
    }

    fn wake_namespace(self: &Arc<Self>, namespace: &str) {
        let all = self.tokens.all();
        let mine = all.iter().filter(|token| *token.key.namespace == *namespace);
        self.wake_paced(mine.map(|token| token.key.clone()).collect());
    }

    /// Wakes many, a few at a time: kube's Controller keeps the room that its longest queue ever took.
    fn wake_paced(self: &Arc<Self>, keys: Vec<ObjectKey>) {
        let context = self.clone();
        tokio::spawn(async move {
            for few in keys.chunks(64) {
                for key in few {
                    context.wake(key);
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
    }

    /// A provider changed: its tokens, or for a cluster's, all.
    fn wake_tokens_of(self: &Arc<Self>, provider: &ProviderKey) {
        match &provider.namespace {
            Some(namespace) => self.wake_namespace(namespace),
            None => self.wake_all(),
        }
    }

    /// The API server said that the Secret is gone. The watch will tell nothing new then, so whoever waits for the name
    /// is woken here.
    fn secret_gone(&self, secret: &ObjectKey) {
        self.secrets.forget(secret);
        for key in self.tokens.claimants(secret) {
            self.wake(&key);
        }
    }

    /// Looks at the object again after this long.
    fn look_again(&self, key: &ObjectKey, after: TimeDelta) {
        if self.lease.is_leader() {
            self.timetable.set(key, clock::now().wall + after);
        }
    }

    fn resolve_soon(&self, key: ProviderKey) {
        let _ = self.tasks.send(Task::Resolve(key));
    }

    fn resolve_later(&self, key: ProviderKey, after: Duration) {
        let tasks = self.tasks.clone();
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            let _ = tasks.send(Task::Resolve(key));
        });
    }

    /// The provider object's status has something new to tell.
    fn report_soon(&self, key: &ProviderKey) {
        let _ = self.tasks.send(Task::Report(key.clone()));
    }

    /// How many more tokens may be in flight.
    fn room(&self) -> usize {
        let most = match self.passage() {
            _ if !self.lease.is_leader() => 0,
            Passage::Open => self.settings.max_in_flight,
            Passage::Ajar => 1,
            Passage::Closed => 0,
        };
        most.saturating_sub(self.in_flight.load(Ordering::Relaxed))
    }

    /// A turn was granted: the object decides again and calls.
    fn grant(&self, grant: &Grant) {
        self.metrics.budget_granted(grant.waited);
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.traces.granted(&grant.key);
        lock(&self.granted).insert(grant.key.clone());
        self.wake(&grant.key);
    }

    /// Takes the mark of a grant, once.
    fn take_grant(&self, key: &ObjectKey) -> bool {
        lock(&self.granted).remove(key)
    }

    /// The object is gone.
    fn forget(&self, key: &ObjectKey) {
        self.memos.forget(key);
        self.traces.gone(key);
        self.turns.leave(key, clock::now());
    }

    fn close_gate(&self) {
        lock(&self.gate).closed_until = Some(tokio::time::Instant::now() + GATE);
    }

    fn open_gate(&self) {
        if lock(&self.gate).closed_until.take().is_some() {
            self.turns.room_again();
        }
    }

    fn passage(&self) -> Passage {
        match lock(&self.gate).closed_until {
            None => Passage::Open,
            Some(until) if tokio::time::Instant::now() < until => Passage::Closed,
            Some(_) => Passage::Ajar,
        }
    }

    /// How many seconds Secrets held expired tokens between the two times, all together.
    fn expired_between(&self, from: Timestamp, to: Timestamp) -> f64 {
        let mut sum = TimeDelta::zero();
        self.tokens.each(|token| {
            if let Some(expires_at) = token.status.expires_at.time() {
                sum += (to - expires_at.max(from)).max(TimeDelta::zero());
            }
        });
        sum.as_seconds_f64()
    }

    fn note_skew(&self, account: &Account) {
        if let Some(skew) = account.issuer.clock_skew() {
            self.metrics.set_clock_skew(account.type_name, skew);
        }
    }
}

impl TokenSource for Context {
    fn visit(&self, each: &mut dyn FnMut(&ObjectKey, TokenGauge)) {
        let now = clock::now().wall.timestamp();
        self.tokens.each(|token| {
            let status = &token.status;
            let [ready, _, stalled] = status.conditions.map(|condition| condition.status == Some(true));
            let gauge = TokenGauge {
                expires_at: second(status.expires_at),
                renew_at: second(status.renew_at),
                ready: ready && status.expires_at.0 > now,
                stalled,
                failing: status.failed_attempts > 0,
            };
            each(&token.key, gauge);
        });
    }
}

fn second(at: crate::plan::facts::Seconds) -> Option<i64> {
    (at.0 != 0).then_some(at.0)
}

impl ProviderSource for Context {
    fn providers(&self) -> Vec<ProviderGauge> {
        let gauge = |(key, resolved): (ProviderKey, Resolved)| ProviderGauge {
            kind: key.kind(),
            ready: self.providers.get(&key).is_some_and(|object| provider_status::is_ready(&object)),
            credential_expires_at: resolved
                .state
                .ok()
                .and_then(|account| account.issuer.credential_expires_at())
                .map(|at| at.timestamp()),
            namespace: key.namespace.unwrap_or_default(),
            name: key.name,
        };
        self.accounts.all().into_iter().map(gauge).collect()
    }
}
