//! One object, one step after the other: gather, decide, act; and in the end, record.

use super::Context;
use super::call::issue;
use super::dereference::Seen;
use super::fail_point;
use super::record::record;
use super::renders::ASK_AGAIN;
use super::restarts;
use super::secret_io::{is_of, look_inside, move_here, probe, remove_former, render, store, stored};
use super::slots::Slot;
use super::token::Token;
use super::traced;
use crate::api::key::ObjectKey;
use crate::budget::Ask;
use crate::clock;
use crate::plan::decide::{Act, Cause, Decision, Delay, decide};
use chrono::TimeDelta;
use kube::runtime::controller::Action;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

/// More steps than any object needs in a row; the rest is left to the next look.
const STEPS: usize = 12;

/// A call is begun only when the lease lasts at least this long.
pub(super) const SHORTEST_CALL: Duration = Duration::from_secs(2);

/// After a panic the object is left alone this long.
const AFTER_PANIC: TimeDelta = TimeDelta::minutes(1);

/// For kube's Controller. The work runs in a task of its own: one reconcile that computes for long holds up no other, and
/// a panic costs its object alone.
pub(super) async fn reconcile(token: Arc<Token>, context: Arc<Context>) -> Result<Action, Infallible> {
    let key = token.key.clone();
    drop(token);
    let (all, mine) = (context.clone(), key.clone());
    let mut work = Work(tokio::spawn(async move { run(&all, &mine).await }));
    if (&mut work.0).await.is_err_and(|error| error.is_panic()) {
        tracing::error!(%key, "the reconcile panicked: this is a fault of the operator; tried again in a minute");
        drop(context.take_grant(&key));
        context.turns.leave(&key, clock::now());
        context.look_again(&key, AFTER_PANIC);
    }
    Ok(Action::await_change())
}

/// A reconcile's task, which ends with the Controller that awaits it.
struct Work(tokio::task::JoinHandle<()>);

impl Drop for Work {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Takes steps until there is nothing to do but wait.
pub(super) async fn run(context: &Context, key: &ObjectKey) {
    context.timetable.clear(key);
    let in_flight = InFlight::of(context, key);
    for _ in 0..STEPS {
        if !context.lease.is_leader() {
            context.look_again(key, TimeDelta::seconds(1));
            return;
        }
        fail_point::reach("reconcile", key);
        let now = clock::now();
        let Some(seen) = Seen::gather(context, key, now) else {
            context.forget(key);
            context.turns.leave(key, clock::now());
            return;
        };
        if seen.unjudged {
            // what waits for its turn holds nothing: there may be many
            drop(seen);
            let current = || context.tokens.get(key)?.spec().ok().map(|spec| spec.secret);
            if !context.renders.judge(&key.namespace, current).await {
                context.look_again(key, TimeDelta::from_std(ASK_AGAIN).unwrap_or_default());
            }
            continue;
        }
        let mut decision = decide(&seen.view(), now.wall);
        tracing::trace!(%key, act = ?decision.act, cause = ?decision.cause, "decided");
        match act(context, &seen, &decision).await {
            Next::Step => continue,
            Next::Settled => {}
            Next::Held(delay) => decision.delay = delay,
        }
        // the token is stored, or waits: what follows keeps no other waiting
        drop(in_flight);
        let restarted_for = restarts::follow(context, &seen, &decision).await;
        if record(context, &seen, &decision, restarted_for).await {
            let is_unsaved = context.memos.get(key).held.is_some();
            context.traces.settled(key, context.turns.is_queued(key), is_unsaved);
        }
        return;
    }
    context.look_again(key, TimeDelta::seconds(1));
}

/// Counts a granted object from its turn until its token is stored.
struct InFlight<'a> {
    context: &'a Context,
    slot: Option<Slot>,
}

impl<'a> InFlight<'a> {
    fn of(context: &'a Context, key: &ObjectKey) -> Self {
        Self { context, slot: context.take_grant(key) }
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        if self.slot.take().is_some() {
            self.context.turns.room_again();
        }
    }
}

enum Next {
    /// Something was learnt: decide again.
    Step,
    /// Nothing to do but wait.
    Settled,
    /// It may not ask for a turn now: what the status says of it, if the wait has lasted.
    Held(Option<Delay>),
}

async fn act(context: &Context, seen: &Seen, decision: &Decision) -> Next {
    let key = &seen.token.key;
    // what no budget bounds waits its turn here
    let unbounded = matches!(decision.act, Act::Probe | Act::Inspect | Act::Render | Act::Move | Act::RemoveFormer);
    let _slot = if unbounded { Some(context.looks.take(&key.namespace).await) } else { None };
    if !context.lease.is_leader() {
        // a crowd's wait may outlast the lease
        return Next::Step;
    }
    match &decision.act {
        Act::Wait => return Next::Settled,
        Act::Probe => probe(context, seen).await,
        Act::Inspect => look_inside(context, seen).await,
        Act::Render => render(context, seen).await,
        Act::Move => move_here(context, seen).await,
        Act::RemoveFormer => remove_former(context, seen).await,
        Act::Store => store(context, seen, decision.cause).await,
        Act::Discard => match (&seen.memo.held, seen.secret_facts()) {
            // a write whose answer was lost has stored it
            (Some(held), Some(facts)) if is_of(facts, seen, held) => stored(context, seen, held, decision.cause),
            _ => context.memos.change(key, |memo| (memo.held, memo.spare) = (None, None)),
        },
        Act::Withdraw => context.turns.leave(key, clock::now()),
        &Act::Enqueue { expires_at, urgent_at, unplanned } => {
            let Some(account) = &seen.account else { return Next::Settled };
            if let Err(wait) = context.admit(&key.namespace) {
                let left = wait.until.saturating_duration_since(clock::now().mono);
                context.look_again(key, TimeDelta::from_std(left).unwrap_or_default());
                let message = "Secrets of this namespace can't be written now, so no token is issued: see the \
                               VideoAccessTokens of this namespace whose reason is SecretWriteFailed too";
                let delay = Delay { reason: "SecretWriteFailed".to_owned(), message: message.to_owned() };
                return Next::Held(wait.lasts.then_some(delay));
            }
            let ask = Ask { key: key.clone(), expires_at, urgent_at, unplanned };
            let due = decision.renewal.filter(|_| decision.cause == Some(Cause::Due)).map(|renewal| renewal.due);
            context.traces.asked(key, || traced::subject(seen, decision), due);
            context.turns.ask(&account.key, ask, clock::now());
        }
        Act::Issue => issue(context, seen, decision).await,
    }
    Next::Step
}
