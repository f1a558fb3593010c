//! Starts the controller, and stops it without losing an issued token.

use super::context::{Context, Known};
use super::grants::{Grants, recall};
use super::keyed_work::KeyedWork;
use super::metrics_source::ScrapedContext;
use super::output::api::Applier;
use super::output::{Output, events};
use super::providers::last_written::LastWritten;
use super::providers::registry::ProviderRegistry;
use super::providers::work::Work;
use super::providers::{Providers, resolve, status};
use super::requeue::RequeueSchedule;
use super::settings::{Observers, Settings};
use super::stores::Stores;
use super::tasks::{TaskEnded, Tasks};
use super::tokens::Objects;
use super::tokens::reconcile::{reconcile_all, reconcile_now};
use super::watches;
use super::workloads::in_progress::RestartsInProgress;
use crate::http_server::Health;
use crate::lease::LeaseHandle;
use crate::metrics::Metrics;
use kube::Client;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use videotoken_providers::clock::{self, Now};
use videotoken_providers::http::HttpPool;

/// Drift of the wall clock from the monotonic clock between two ticks after which all objects are decided again (P14).
const JUMP: chrono::TimeDelta = chrono::TimeDelta::seconds(2);

/// Interval, in ticks, at which the status of every provider is checked.
const PROVIDERS: u64 = 5;

/// Shortest time after the stop signal in which calls in flight may end and be stored. A longer timeout of a call
/// extends it.
const LAST_CALLS: Duration = Duration::from_secs(11);

/// Time after the timeout of a call in which its token is stored.
const LAST_STORE: Duration = Duration::from_secs(1);

/// Additional time to store tokens that are issued and not stored yet.
const LAST_WRITES: Duration = Duration::from_secs(4);

/// Runs until `stop` becomes true, then stores the issued tokens and returns.
///
/// # Errors
/// Returns an error if a task that must run as long as the process ended, or if a task panicked. The process must then
/// exit and be restarted.
pub async fn run(
    client: Client,
    settings: Settings,
    lease: LeaseHandle,
    observers: Observers,
    health: Arc<Health>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), TaskEnded> {
    let Observers { metrics, traces, page } = observers;
    let stop_granting = stop.clone();
    let (reconciles, to_reconcile) = KeyedWork::new();
    let (resolves, to_resolve) = Work::new();
    let (reports, to_report) = Work::new();
    let (queued_events, to_publish) = events::queue();
    let applier = Applier::new(client.clone(), lease.clone());
    let context = Arc::new(Context {
        lease,
        stores: Stores::default(),
        providers: Providers {
            registry: ProviderRegistry::new(settings.cluster_providers),
            last_written: LastWritten::default(),
            requeue: RequeueSchedule::default(),
            resolves,
            reports,
            http: HttpPool::over(settings.reach.transport.clone()),
        },
        grants: Grants::new(settings.max_in_flight),
        objects: Objects::new(reconciles),
        output: Output::new(applier, queued_events, metrics.clone(), traces, settings.max_in_flight),
        restarts: RestartsInProgress::default(),
        settings,
        tasks: Tasks::default(),
    });
    // Also if this future is dropped, as when its process is killed in a simulation, its tasks end with it.
    let _tasks_end = AbortOnDrop(context.clone());
    let scraped = Arc::new(ScrapedContext(Arc::downgrade(&context)));
    metrics.serve_tokens(scraped.clone(), context.settings.token_metrics);
    metrics.serve_providers(scraped);
    if let Some(page) = page {
        page.set_source(context.clone());
    }
    let tasks = &context.tasks;
    tasks.lasting("resolves", resolve::resolve_all(context.clone(), to_resolve));
    tasks.lasting("reports", resolve::report_all(context.clone(), to_report));
    tasks.lasting("events", events::publish_all(to_publish, client.clone()));
    let mut work = tasks.owned(reconcile_all(context.clone(), to_reconcile, stop.clone()));

    tokio::select! {
        biased;
        () = watches::start(&client, &context) => {}
        () = stopped(stop.clone()) => return Ok(()),
        failed = tasks.failed() => return Err(failed),
    }
    // From here on, the tick notices changes of leadership.
    let (led, leadership) = (context.lease.is_leader(), context.lease.changes());
    recall::follow_leadership(context.known(), led);
    tasks.passing("readiness", report_readiness(context.clone(), health.clone()));

    let granting = context.clone();
    tasks.lasting("grants", async move {
        let stopped = stopped(stop_granting);
        let grants = granting.grants.budgets.run_grants(
            || if granting.lease.is_leader() { granting.grants.capacity() } else { 0 },
            |grant| granting.grant(&grant),
        );
        tokio::select! {
            biased;
            () = grants => {}
            // After the stop signal, no call is granted.
            () = stopped => std::future::pending().await,
        }
    });
    tasks.lasting("tick", tick(context.clone(), health.clone(), led, leadership));
    let ended = tokio::select! {
        biased;
        _ = stop.wait_for(|stop| *stop) => false,
        failed = tasks.failed() => return Err(failed),
        _ = &mut work.0 => true,
    };
    // `reconcile_all` ends at the stop signal too, which may arrive between two polls. That is no failure.
    if ended && !*stop.borrow() {
        return Err(TaskEnded::of("reconciles"));
    }
    let last_calls = LAST_CALLS.max(context.settings.reach.timeout + LAST_STORE);
    if !ended && tokio::time::timeout(last_calls, &mut work.0).await.is_err() {
        // Two concurrent runs of one object could overwrite each other.
        work.0.abort();
        let _ = (&mut work.0).await;
    }
    let _ = tokio::time::timeout(LAST_WRITES, store_unsaved(&context)).await;
    Ok(())
}

/// Aborts the tasks of the controller when the controller ends, however it ends.
struct AbortOnDrop(Arc<Context>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.tasks.abort();
    }
}

/// Reports readiness when the caches of all namespaces that can be listed are complete.
async fn report_readiness(context: Arc<Context>, health: Arc<Health>) {
    context.stores.scopes.settled().await;
    health.set_ready("caches", true);
    tracing::info!(
        tokens = context.stores.tokens.all().len(),
        secrets = context.stores.secrets.len(),
        "the caches are filled"
    );
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Retries the writes of unsaved tokens until all are stored.
async fn store_unsaved(context: &Context) {
    loop {
        let unsaved = context.objects.states.keys_with_unsaved_token();
        if unsaved.is_empty() {
            return;
        }
        for key in unsaved {
            reconcile_now(context, &key).await;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Runs once a second: triggers due objects, detects clock jumps and changes of leadership, and checks the statuses of
/// providers at intervals. Awaits no request, so that due objects run on time and `/livez` reports on this process
/// alone (P17).
async fn tick(context: Arc<Context>, health: Arc<Health>, mut led: bool, mut leadership: watch::Receiver<bool>) {
    let mut every = tokio::time::interval(Duration::from_secs(1));
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut last, mut ticks) = (clock::now(), 0u64);
    loop {
        // A lease that was lost and won again between two ticks is also a change.
        let changed = tokio::select! {
            biased;
            changed = leadership.changed() => {
                if changed.is_err() {
                    every.tick().await;
                }
                true
            }
            _ = every.tick() => {
                ticks += 1;
                false
            }
        };
        health.record_heartbeat();
        let now = clock::now();
        let leads = context.lease.is_leader();
        let jumped = jumped(last, now);
        if jumped {
            tracing::warn!(from = %last.wall, to = %now.wall, "the clock jumped: everything is decided again");
        }
        if jumped && now.wall < last.wall {
            context.clock_went_back();
        }
        let won = leads && (changed || !led);
        if won {
            // Another process may have led in between: closed here, so that `follow_leadership` restores its calls and
            // opens the budgets again.
            context.grants.budgets.close();
        }
        let won = recall::follow_leadership(context.known(), leads) || won;
        if jumped || won {
            context.trigger_all();
        }
        measure(context.known(), &context.output.metrics, leads, if jumped { now } else { last }, now);
        (last, led) = (now, leads);
        context.output.tick();
        context.providers.resolves.tick();
        context.providers.reports.tick();
        for key in context.providers.requeue.due(now.wall) {
            context.providers.resolve_soon(&key);
        }
        if !leads {
            continue;
        }
        for key in context.objects.requeue.due(now.wall) {
            context.trigger(&key);
        }
        if ticks.is_multiple_of(PROVIDERS) {
            status::report_all(&context.providers);
        }
    }
}

/// Updates the gauges, and adds the times since `last` to the counters.
fn measure(known: Known<'_>, metrics: &Metrics, leads: bool, last: Now, now: Now) {
    metrics.set_leader(leads);
    metrics.set_queued(known.grants.budgets.depth());
    metrics.set_in_flight(known.grants.in_flight.taken());
    for (account, time) in known.grants.budgets.take_throttled(now) {
        if let Some(provider_type) = known.providers.registry.type_of(&account) {
            metrics.throttled(provider_type, time);
        }
    }
    if leads {
        metrics.expired(known.stores.tokens.expired_between(last.wall, now.wall));
    }
}

fn jumped(last: Now, now: Now) -> bool {
    let passed = chrono::TimeDelta::from_std(now.mono - last.mono).unwrap_or_default();
    ((now.wall - last.wall) - passed).abs() > JUMP
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn p14_a_jump_of_the_wall_clock_is_seen_and_a_long_pause_is_none() {
        let start = clock::now();
        let later = |wall_ms: i64, mono_ms: u64| Now {
            wall: start.wall + chrono::TimeDelta::milliseconds(wall_ms),
            mono: start.mono + Duration::from_millis(mono_ms),
        };
        for (wall, mono, expected) in [
            (1000, 1000, false),
            (600_000, 600_000, false),
            (2900, 1000, false),
            (3100, 1000, true),
            (-5000, 1000, true),
            (3_600_000, 1000, true),
        ] {
            assert_eq!(jumped(start, later(wall, mono)), expected, "{wall} ms against {mono} ms");
        }
    }
}
