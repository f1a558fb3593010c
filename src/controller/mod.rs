//! Watches, the reconcile, and the only writes to Kubernetes.
//!
//! | File | What lives there |
//! |---|---|
//! | `watches` | each watch feeds a store in place and wakes whom its event concerns |
//! | `scopes` | which namespaces are listed, and so served |
//! | `token`, `tokens`, `weights`, `secrets`, `namespaces` | the stores, slim; own writes enter by the same door as the watch |
//! | `providers`, `work`, `accounts`, `references`, `assertion`, `provider_status`, `logins` | provider objects, and what `account` makes of them |
//! | `recall` | what a new leader takes in of calls made before |
//! | `reconcile` | gather (`dereference`), decide, act (`secret_io`, `call`), `record` |
//! | `restarts` | workloads after a renewal |
//! | `contests` | what others and admission do to the Secrets |
//! | `memo`, `timetable`, `turns`, `index` | what is under way, what is due, whose turn it is, who refers to what |
//! | `renders` | templates are rendered off the reconcile, each verdict once, what is large within a budget |
//! | `apply`, `slots`, `events` | the requests to the API server; how many at once |
//! | `tasks`, `fail_point` | the tasks of the process, none of which ends unnoticed; faults on purpose, in tests |
//! | `shown`, `traced` | what of all this the status page and a trace are told |
//!
//! May not enter: HTTP to providers.

mod accounts;
mod apply;
mod assertion;
mod call;
mod contests;
mod dereference;
mod events;
mod fail_point;
mod index;
mod logins;
mod memo;
mod namespaces;
mod provider_status;
mod providers;
mod recall;
mod reconcile;
mod record;
mod references;
mod relist;
mod renders;
mod restarts;
mod run;
mod scopes;
mod secret_io;
mod secrets;
mod shown;
mod slots;
mod tasks;
mod timetable;
mod token;
mod tokens;
mod traced;
mod turns;
mod watches;
mod weights;
mod work;

pub use run::run;
pub use tasks::TaskEnded;

use crate::account::Reach;
use crate::api::key::ObjectKey;
use crate::budget::{AccountKey, Grant};
use crate::clock::{self, Timestamp};
use crate::issuer::http::HttpPool;
use crate::lease::LeaseHandle;
use crate::metrics::{Metrics, ProviderGauge, ProviderSource, TokenGauge, TokenSource};
use crate::page::Page;
use crate::plan::provider_status::MAX_CLOCK_SKEW;
use crate::plan::write_breaker::{BreakerState, Wait, WriteBreaker};
use crate::plan::write_failure::Extent;
use crate::telemetry::traces::Traces;
use accounts::{Account, Accounts, ProviderKey, Resolved};
use apply::Applier;
use chrono::TimeDelta;
use events::Events;
use futures::channel::mpsc::UnboundedSender;
use kube::runtime::reflector::ObjectRef;
use logins::Logins;
use memo::Memos;
use namespaces::Namespaces;
use parking_lot::Mutex;
use providers::Providers;
use renders::Renders;
use restarts::UnderWay;
use scopes::Scopes;
use secrets::{Look, Secrets};
use slots::{Slot, Slots};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tasks::Tasks;
use timetable::Timetable;
use token::Token;
use tokens::{Changes, Tokens};
use tokio::time::Instant;
use turns::Turns;
use work::Work;

/// A lease that has less than this left is no ground to begin a call of a provider.
pub const LEAST_LEASE: Duration = reconcile::SHORTEST_CALL;

/// So many looks at Secrets, and so many status writes, are under way at once: more at once are no faster.
const AT_ONCE: usize = 24;

/// So many of them may be of one namespace, also when they hang.
const AT_ONCE_OF_A_NAMESPACE: usize = 16;

/// Each object is decided again after this at the latest, whatever woke it or did not (P14).
const DECIDE_WITHIN: TimeDelta = TimeDelta::minutes(10);

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
    events: Events,
    http: HttpPool,
    lease: LeaseHandle,
    metrics: Metrics,
    traces: Traces,
    tokens: Tokens,
    secrets: Secrets,
    namespaces: Namespaces,
    providers: Providers,
    provider_status: provider_status::Written,
    accounts: Accounts,
    turns: Turns,
    memos: Memos,
    timetable: Timetable<ObjectKey>,
    provider_timetable: Timetable<ProviderKey>,
    resolves: Work,
    reports: Work,
    restarting: UnderWay,
    write_breaker: Mutex<WriteBreaker>,
    /// Looks at Secrets, and writes of Secrets from the tokens in them.
    looks: Arc<Slots>,
    /// Writes of tokens' statuses.
    statuses: Arc<Slots>,
    /// Writes of new tokens into their Secrets.
    writes: Arc<Slots>,
    /// Tokens between grant and stored.
    in_flight: Arc<Slots>,
    granted: Mutex<HashMap<ObjectKey, Slot>>,
    renders: Renders,
    scopes: Scopes,
    waker: UnboundedSender<ObjectRef<Token>>,
    logins: Logins,
    recalled: recall::Recalled,
    tasks: Tasks,
}

impl Context {
    /// Reconciles the object soon.
    fn wake(&self, key: &ObjectKey) {
        // before its namespace is listed nothing could be decided: then all are woken
        if self.scopes.is_awake(&key.namespace) {
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
        self.tasks.passing("wake", async move {
            for few in keys.chunks(64) {
                for key in few {
                    context.wake(key);
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
    }

    /// A provider changed: its tokens.
    fn wake_tokens_of(self: &Arc<Self>, provider: &ProviderKey) {
        self.wake_paced(self.tokens.using(provider));
    }

    /// Objects came, changed or went.
    fn take(&self, changes: &Changes) {
        for key in &changes.gone {
            // what is remembered must not pass to another object of the same name
            self.forget(key);
        }
        for key in &changes.demanded {
            if let Some(account) = self.account_of(key) {
                self.turns.try_again(&account.key, clock::now());
            }
        }
        for key in &changes.wake {
            self.wake(key);
        }
    }

    /// The account that the object's token is issued by, if its provider is resolved.
    fn account_of(&self, key: &ObjectKey) -> Option<Arc<Account>> {
        self.accounts.get(&self.tokens.get(key)?.provider()?)?.state.ok()
    }

    /// Does another object use this budget, of which the next renewal would tell whether the credential works? Not one
    /// that is suspended, or that never had a token.
    fn has_peer(&self, account: &AccountKey, key: &ObjectKey) -> bool {
        let sharing = self.accounts.sharing(account);
        let mut others = sharing.iter().flat_map(|account| self.tokens.using(&account.of)).filter(|other| other != key);
        others.any(|other| {
            let Some(token) = self.tokens.get(&other) else { return false };
            let [ready, ..] = &token.status.conditions;
            ready.status == Some(true) && !token.deleting() && !token.provider_and_suspension().1
        })
    }

    /// The API server said that the Secret is gone. The watch will tell nothing new then, so who waits for the name is
    /// woken here.
    fn secret_gone(&self, look: Look<'_>) {
        let secret = look.key().clone();
        look.gone();
        for key in self.tokens.concerned(&secret, None) {
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
        self.resolves.ask(key);
    }

    /// The provider object's status has something new to tell.
    fn report_soon(&self, key: &ProviderKey) {
        self.reports.ask(key.clone());
    }

    /// Returns how many more grants may be given now.
    fn grant_capacity(&self) -> usize {
        if !self.lease.is_leader() {
            return 0;
        }
        let (free, most) = (self.in_flight.room(), self.settings.max_in_flight);
        self.write_breaker.lock().grant_capacity(free, most, Instant::now())
    }

    /// A turn was granted: the object decides again and calls.
    fn grant(&self, grant: &Grant) {
        self.metrics.budget_granted(grant.waited);
        self.traces.granted(&grant.key);
        let slot = self.in_flight.occupy(&grant.key.namespace);
        self.granted.lock().insert(grant.key.clone(), slot);
        self.wake(&grant.key);
    }

    /// Takes the slot of a grant, once.
    fn take_grant(&self, key: &ObjectKey) -> Option<Slot> {
        self.granted.lock().remove(key)
    }

    /// The object is gone. A turn that it was granted isn't given back here: its reconcile may be calling, and does so
    /// itself if it isn't (P20).
    fn forget(&self, key: &ObjectKey) {
        self.memos.forget(key);
        self.traces.gone(key);
        self.turns.withdraw(key);
    }

    /// A write of this namespace failed.
    fn write_failed(&self, namespace: &Arc<str>, extent: Extent) {
        self.write_breaker.lock().failed(namespace, extent, Instant::now());
    }

    /// The API server took a write of this namespace that is no Secret's.
    fn api_server_reached(&self, namespace: &Arc<str>) {
        if self.write_breaker.lock().reached(namespace, Instant::now()) {
            self.turns.room_again();
        }
    }

    /// A Secret of this namespace was written.
    fn write_succeeded(&self, namespace: &Arc<str>) {
        if self.write_breaker.lock().succeeded(namespace, Instant::now()) {
            self.turns.room_again();
        }
    }

    /// Whether an object of this namespace may ask for a turn: not where what is issued can't be stored.
    fn admit(&self, namespace: &str) -> Result<(), Wait> {
        self.write_breaker.lock().admit(namespace, Instant::now())
    }

    /// Returns whether a token of this namespace could be stored now, as far as is known.
    fn breaker_state(&self, namespace: &str) -> BreakerState {
        self.write_breaker.lock().for_namespace(namespace, Instant::now())
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
        let Some(skew) = account.issuer.clock_skew() else { return };
        let before = self.metrics.clock_skew(account.type_name);
        self.metrics.set_clock_skew(account.type_name, skew);
        if [Some(skew), before].into_iter().flatten().any(|skew| skew.abs() > MAX_CLOCK_SKEW) {
            self.report_soon(&account.of);
        }
    }
}

impl TokenSource for Context {
    fn visit(&self, each: &mut dyn FnMut(&ObjectKey, TokenGauge)) {
        let now = clock::now().wall.timestamp();
        self.tokens.each(|token| {
            let status = &token.status;
            let [ready, _, stalled] = status.conditions.each_ref().map(|condition| condition.status == Some(true));
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
