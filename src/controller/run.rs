//! Starts the controller, and stops it so that no issued token is lost.

use super::apply::Applier;
use super::reconcile::{reconcile, run as reconcile_now};
use super::{Context, Observers, Settings, provider_status, providers, watches};
use crate::api::key::ObjectKey;
use crate::clock::{self, Now};
use crate::lease::LeaseHandle;
use crate::serve::Health;
use futures::StreamExt;
use kube::Client;
use kube::runtime::controller::{Controller, Error as ControllerError};
use kube::runtime::events::{Recorder, Reporter};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// The wall clock may drift this far from the monotonic one between two ticks before everything is decided again (P14).
const JUMP: chrono::TimeDelta = chrono::TimeDelta::seconds(2);

/// Every provider's status is looked at this often, in ticks.
const PROVIDERS: u64 = 5;

/// After the signal, tokens already issued are stored for this long.
const LAST_WRITES: Duration = Duration::from_secs(8);

/// Runs until `stop` turns true, then stores what was issued and returns.
pub async fn run(
    client: Client,
    settings: Settings,
    lease: LeaseHandle,
    observers: Observers,
    health: Arc<Health>,
    mut stop: watch::Receiver<bool>,
) {
    let Observers { metrics, traces, page } = observers;
    let (waker, woken) = futures::channel::mpsc::unbounded();
    let (tasks, to_do) = mpsc::unbounded_channel();
    let reporter = Reporter { controller: "videotoken.dev/video-token-operator".into(), instance: None };
    let context = Arc::new(Context {
        recorder: Recorder::new(client.clone(), reporter),
        accounts: super::Accounts::new(settings.cluster_providers),
        applier: Applier::new(client.clone()),
        settings,
        http: super::HttpPool::default(),
        lease,
        metrics: metrics.clone(),
        traces,
        tokens: super::Tokens::default(),
        secrets: super::Secrets::default(),
        namespaces: super::Namespaces::default(),
        providers: super::Providers::default(),
        provider_status: provider_status::Written::default(),
        users: provider_status::Users::default(),
        turns: super::Turns::default(),
        memos: super::Memos::default(),
        timetable: super::Timetable::default(),
        restarting: super::UnderWay::default(),
        gate: std::sync::Mutex::default(),
        lanes: super::Lanes::default(),
        in_flight: 0.into(),
        granted: std::sync::Mutex::default(),
        awake: false.into(),
        waker,
        logins: super::Logins::default(),
        tasks,
    });
    metrics.serve_tokens(context.clone(), context.settings.token_metrics);
    metrics.serve_providers(context.clone());
    if let Some(page) = page {
        page.serve(context.clone());
    }
    tokio::spawn(providers::work(context.clone(), to_do));
    let controller = Controller::for_stream(futures::stream::pending(), context.tokens.reader())
        .reconcile_on(woken)
        .graceful_shutdown_on(stopped(stop.clone()));
    let work = controller.run(reconcile, |_, never, _| match *never {}, context.clone());
    let listening = context.clone();
    let work = tokio::spawn(work.for_each(move |result| {
        if let Err(ControllerError::ObjectNotFound(object)) = &result {
            gone(&listening, &ObjectKey::new(object.namespace.as_deref().unwrap_or_default(), &object.name));
        }
        std::future::ready(())
    }));

    tokio::select! {
        () = watches::start(&client, &context) => {}
        () = stopped(stop.clone()) => return,
    }
    provider_status::recall_all(&context);
    health.set_ready("caches", true);
    context.awake.store(true, Ordering::Release);
    context.wake_all();
    tracing::info!(tokens = context.tokens.all().len(), secrets = context.secrets.len(), "the caches are filled");

    let pump = context.clone();
    let pump = tokio::spawn(async move { pump.turns.pump(|| pump.room(), |grant| pump.grant(&grant)).await });
    let ticks = tokio::spawn(tick(context.clone(), health.clone()));
    let _ = stop.wait_for(|stop| *stop).await;
    pump.abort();
    let _ = tokio::time::timeout(LAST_WRITES, work).await;
    let _ = tokio::time::timeout(LAST_WRITES, store_unsaved(&context)).await;
    ticks.abort();
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// A trigger for an object that is gone never reaches the reconcile: give its turn back here.
fn gone(context: &Context, key: &ObjectKey) {
    if context.take_grant(key) {
        context.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
    context.forget(key);
}

/// Tokens that were issued but not written yet are tried until they are.
async fn store_unsaved(context: &Context) {
    loop {
        let unsaved = context.memos.unsaved();
        if unsaved.is_empty() {
            return;
        }
        for key in unsaved {
            reconcile_now(context, &key).await;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Once a second: what is due, the clock, leadership, and now and then the providers' status.
async fn tick(context: Arc<Context>, health: Arc<Health>) {
    let mut every = tokio::time::interval(Duration::from_secs(1));
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut last, mut led, mut ticks) = (clock::now(), context.lease.is_leader(), 0u64);
    let mut leadership = context.lease.changes();
    loop {
        tokio::select! {
            _ = every.tick() => ticks += 1,
            changed = leadership.changed() => if changed.is_err() { every.tick().await; },
        }
        health.beat();
        let now = clock::now();
        let leads = context.lease.is_leader();
        let jumped = jumped(last, now);
        if jumped {
            tracing::warn!(from = %last.wall, to = %now.wall, "the clock jumped: everything is decided again");
        }
        if leads && !led {
            provider_status::recall_all(&context);
        }
        if jumped || (leads && !led) {
            context.wake_all();
        }
        measure(&context, leads, if jumped { now } else { last }, now);
        (last, led) = (now, leads);
        if !leads {
            continue;
        }
        for key in context.timetable.due(now.wall) {
            context.wake(&key);
        }
        if ticks.is_multiple_of(PROVIDERS) {
            provider_status::write_all(&context).await;
        }
    }
}

/// What is measured and not counted where it happens: how things stand now, and what has passed since `last`.
fn measure(context: &Context, leads: bool, last: Now, now: Now) {
    context.metrics.set_leader(leads);
    context.metrics.set_queued(context.turns.depth());
    context.metrics.set_in_flight(context.in_flight.load(Ordering::Relaxed));
    for (account, time) in context.turns.take_throttled(now) {
        if let Some(provider_type) = context.accounts.type_of(&account) {
            context.metrics.throttled(provider_type, time);
        }
    }
    if leads {
        context.metrics.expired(context.expired_between(last.wall, now.wall));
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
