//! The reconcile of one object: observe, decide, act, and finally record.

use crate::controller::context::Context;
use crate::controller::fail_point;
use crate::controller::grants::Grants;
use crate::controller::output::slots::Slot;
use crate::controller::settings::PANIC_RETRY_DELAY;
use crate::controller::tokens::call::call_token_api;
use crate::controller::tokens::observe::ObservedToken;
use crate::controller::tokens::renders::ASK_AGAIN;
use crate::controller::tokens::secret_io::{
    copy_from_old_secret, delete_old_secret, inspect_secret, probe, record_stored_token, render, store,
};
use crate::controller::tokens::status_writer::write_status;
use crate::controller::tokens::trace_source;
use crate::controller::workloads::restarts;
use chrono::TimeDelta;
use futures::FutureExt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use videotoken_api::key::ObjectKey;
use videotoken_core::budget::GrantRequest;
use videotoken_core::plan::decide::{Decision, IssueCause, IssueDelay, TokenStep, decide};
use videotoken_core::plan::object_state::ObjectState;
use videotoken_providers::clock;

/// Maximum number of consecutive steps, more than any object needs. The next reconcile continues.
const STEPS: usize = 12;

/// Reconciles each queued object in a task of its own until `stop` becomes true, and returns when the reconciles in
/// progress have ended. A long computation delays no other reconcile, and a panic affects only its own object.
pub(crate) async fn reconcile_all(
    context: Arc<Context>,
    mut queued: mpsc::UnboundedReceiver<ObjectKey>,
    mut stop: watch::Receiver<bool>,
) {
    let (mut running, stopping) = (JoinSet::new(), stop.clone());
    loop {
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            Some(_) = running.join_next() => {}
            Some(key) = queued.recv() => {
                context.tasks.spawn_in(&mut running, reconcile(context.clone(), key, stopping.clone()));
            }
        }
    }
    while running.join_next().await.is_some() {}
}

async fn reconcile(context: Arc<Context>, key: ObjectKey, stopping: watch::Receiver<bool>) {
    loop {
        context.objects.reconciles.begin(&key);
        if AssertUnwindSafe(reconcile_now(&context, &key)).catch_unwind().await.is_err() {
            tracing::error!(%key, "the reconcile panicked: this is a fault of the operator; tried again in a minute");
            drop(context.grants.take_slot(&key));
            context.grants.budgets.leave_queue(&key, clock::now());
            context.requeue_after(&key, PANIC_RETRY_DELAY);
        }
        if !context.objects.reconciles.done(&key) || *stopping.borrow() {
            return;
        }
    }
}

/// Runs steps until the object has to wait.
///
/// | Step | Kind | Effect |
/// |---|---|---|
/// | `observe` | memory | collects all known facts of the object |
/// | `judge` | computes | renders a template for the first time, outside this task |
/// | `decide` | pure | the next step of the object |
/// | `run_step` | IO | one request about the Secret, one call of a token API, or a change of the queue |
/// | `restart_workloads` | IO | one read and one patch for each workload, after a renewal |
/// | `write_status` | IO | the status, the time of the next reconcile, the events |
///
/// After `run_step` the loop observes and decides again, until the decision is to wait, so that each step is decided
/// from fresh facts.
pub(crate) async fn reconcile_now(context: &Context, key: &ObjectKey) {
    context.objects.requeue.clear(key);
    let in_flight = InFlight::of(&context.grants, key);
    let mut resolved = None;
    for _ in 0..STEPS {
        if !context.lease.is_leader() {
            context.requeue_after(key, TimeDelta::seconds(1));
            return;
        }
        fail_point::reach("reconcile", key);
        let now = clock::now();
        let Some(seen) = ObservedToken::observe(context.known(), key, resolved.take(), now) else {
            context.forget(key);
            return context.grants.budgets.leave_queue(key, now);
        };
        if seen.unjudged {
            // Many objects may wait for rendering, so a waiting one must not keep its observation.
            drop(seen);
            judge(context, key).await;
            continue;
        }
        let mut decision = decide(&seen.view(), now.wall);
        tracing::trace!(%key, act = ?decision.step, cause = ?decision.cause, "decided");
        match run_step(context, &seen, &decision).await {
            AfterStep::DecideAgain => {
                resolved = seen.into_resolved();
                continue;
            }
            AfterStep::Wait => {}
            AfterStep::NotAdmitted(delay) => decision.delay = delay,
        }
        // Returns the slot: restarts and the status must not delay the call for another token.
        drop(in_flight);
        let restarted_for = restarts::restart_workloads(context, &seen, &decision).await;
        if write_status(context, &seen, &decision, restarted_for).await {
            let is_unsaved = context.objects.states.get(key).unsaved.is_some();
            context.output.traces.settled(key, context.grants.budgets.is_queued(key), is_unsaved);
        }
        return;
    }
    context.requeue_after(key, TimeDelta::seconds(1));
}

/// Renders the template of the object, so that the next decision knows whether it is valid.
async fn judge(context: &Context, key: &ObjectKey) {
    let current = || context.stores.tokens.get(key)?.spec().ok().map(|spec| spec.secret);
    if !context.objects.renders.judge(&key.namespace, current).await {
        context.requeue_after(key, TimeDelta::from_std(ASK_AGAIN).unwrap_or_default());
    }
}

/// Keeps the slot of a granted object until its token is stored.
struct InFlight<'a> {
    grants: &'a Grants,
    slot: Option<Slot>,
}

impl<'a> InFlight<'a> {
    fn of(grants: &'a Grants, key: &ObjectKey) -> Self {
        Self { grants, slot: grants.take_slot(key) }
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        if self.slot.take().is_some() {
            self.grants.budgets.notify_capacity();
        }
    }
}

enum AfterStep {
    /// New facts are known.
    DecideAgain,
    /// The object has to wait.
    Wait,
    /// The object may not enter the queue now. Contains the reason, if the delay has lasted for some time.
    NotAdmitted(Option<IssueDelay>),
}

async fn run_step(context: &Context, seen: &ObservedToken, decision: &Decision) -> AfterStep {
    let key = &seen.token.key;
    // Requests that no budget limits wait for a permit.
    let unbounded = matches!(
        decision.step,
        TokenStep::Probe | TokenStep::Inspect | TokenStep::Render | TokenStep::CopyToken | TokenStep::DeleteOldSecret
    );
    let _slot = if unbounded { Some(context.output.secret_permits.acquire(&key.namespace).await) } else { None };
    if !context.lease.is_leader() {
        // The lease may have expired during the wait for a permit.
        return AfterStep::DecideAgain;
    }
    match &decision.step {
        TokenStep::Wait => return AfterStep::Wait,
        TokenStep::Probe => probe(context, seen).await,
        TokenStep::Inspect => inspect_secret(context, seen).await,
        TokenStep::Render => render(context, seen).await,
        TokenStep::CopyToken => copy_from_old_secret(context, seen).await,
        TokenStep::DeleteOldSecret => delete_old_secret(context, seen).await,
        TokenStep::Store => store(context, seen, decision.cause).await,
        TokenStep::Discard => match (&seen.observation.state.unsaved, seen.secret_facts()) {
            // A write whose response was lost has stored the token.
            (Some(unsaved), Some(facts)) if unsaved.is_in(facts, seen.token.uid) => {
                record_stored_token(&context.objects, seen, unsaved, decision.cause);
            }
            _ => context.objects.states.change(key, ObjectState::discard),
        },
        TokenStep::Withdraw => context.grants.budgets.leave_queue(key, clock::now()),
        &TokenStep::Enqueue { expires_at, urgent_at, unplanned } => {
            let Some(account) = &seen.account else { return AfterStep::Wait };
            if let Err(wait) = context.grants.admit(&key.namespace) {
                let left = wait.until.saturating_duration_since(clock::now().mono);
                context.requeue_after(key, TimeDelta::from_std(left).unwrap_or_default());
                return AfterStep::NotAdmitted(wait.delay());
            }
            let ask = GrantRequest { key: key.clone(), expires_at, urgent_at, unplanned };
            let due = decision.renewal.filter(|_| decision.cause == Some(IssueCause::Due)).map(|renewal| renewal.due);
            context.output.traces.enqueued(key, || trace_source::subject(seen, decision), due);
            context.grants.budgets.enqueue(&account.key, ask, clock::now());
        }
        TokenStep::Issue => call_token_api(context, seen, decision).await,
    }
    AfterStep::DecideAgain
}
